"Multiple choice: several texts an item, in one notebook; every tool works with it, or says that it does not."
import importlib.util,json,warnings

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from datasets import ClassLabel, Dataset, Features, List, Value
from fastai.callback.core import Callback
from fastai.interpret import ClassificationInterpretation, Interpretation
from fastai.losses import CrossEntropyLossFlat, LabelSmoothingCrossEntropy, LabelSmoothingCrossEntropyFlat
from runs import Cut
from small import CUES, FILLERS, FRAMES, TEXTS, in_tmp, learner # noqa: F401 (fixture)

from blurlike import cli
from blurlike.all import (LEARNERS, CategoryBlock, Checkpoints, ColReader, DataBlock, IndexSplitter, ModelLoss, RightChoiceBlock, TextChoicesBlock, TransformersLearner, TransformersTextBlock,
    export_onnx, gradio_app, load_learner, load_onnx, model_card, multiple_choice, multiple_choice_learner)
from blurlike.tasks.multiple_choice.choices import choices_in
from blurlike.tasks.multiple_choice.right_choice import choice_number

needs_captum = pytest.mark.skipif(importlib.util.find_spec('captum') is None, reason='captum is not installed')

# --- data

def table(n=24):
    "Questions after a word of one of three kinds, with two to four choices, the right one of that kind."
    rng,rows = np.random.default_rng(0),[]
    for i in range(n):
        kinds = [list(CUES)[j] for j in rng.permutation(3)]
        choices = [rng.choice(CUES[k]).item() for k in kinds[:2+i%2]]+['the film']*(i%5==0)
        rows.append(dict(question=f"which is {kinds[0]}"+' '.join(['', *rng.choice(FILLERS, i%9)]), choices=choices, label=0))
        shift = int(rng.integers(len(choices)))
        rows[-1] |= dict(choices=choices[-shift:]+choices[:-shift], label=shift)
    return pd.DataFrame(rows)

FRAME = table()
ITEMS = list(zip(FRAME.question, FRAME.choices))

def questions(data, bert, **kwargs): return multiple_choice_learner(data, bert, text='question', **dict(valid=.25, bs=5) | kwargs)

@pytest.fixture
def learn(bert):
    res = questions(FRAME, bert)
    res.remove_cb(res.progress)
    return res

@torch.no_grad()
def direct(model, tok, item):
    "(W,) logits of the plain model."
    q,choices = item
    enc = tok([q]*len(choices), list(choices), padding=True, return_tensors='pt')
    return model.eval()(**{k:v[None] for k,v in enc.items()}).logits[0]

def close(a, b): torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)

SMOOTH = [CrossEntropyLossFlat(label_smoothing=.2), torch.nn.CrossEntropyLoss(label_smoothing=.2), LabelSmoothingCrossEntropyFlat(eps=.2), LabelSmoothingCrossEntropy(eps=.2)]
@pytest.mark.parametrize('loss', SMOOTH, ids=lambda o: type(o).__name__)
def test_labels_are_smoothed_over_the_choices_that_a_row_has(loss, bert):
    learn = questions(FRAME, bert, loss_func=loss)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3)
        losses = learn.get_preds(with_loss=True)[-1]
        validated = learn.validate()[0]
    rows = FRAME.iloc[learn.dls.valid_ds.items.idxs]
    logits = [direct(learn.model, learn.dls.tokenizer, o) for o in zip(rows.question, rows.choices)]
    want = torch.stack([torch.nn.functional.cross_entropy(l, torch.tensor(i), label_smoothing=.2) for l,i in zip(logits, rows.label)])
    assert np.isfinite(learn.recorder.values).all() and validated==pytest.approx(want.mean().item(), rel=1e-4)
    close(losses, want)
    learn.loss_func = loss # later, too
    with learn.no_bar(): assert learn.validate()[0]==pytest.approx(validated)

# --- every tool

def test_logits_are_those_of_the_plain_model(learn):
    tok = learn.dls.tokenizer
    got = learn.predict_logits(ITEMS, bs=4) # batches of differing widths
    assert {len(c) for _,c in ITEMS}=={2,3,4} and got.shape==(len(ITEMS), 4)
    for row,item in zip(got, ITEMS):
        close(row[:len(item[1])], direct(learn.model, tok, item))
        assert (row[len(item[1]):]==-torch.inf).all()

def test_logits_are_those_of_transformers_collator(bert):
    "On rows with equally many choices, which it wants; in one padded batch each"
    data = pd.DataFrame(dict(question=FRAME.question, choices=[(c+['people','town'])[:4] for c in FRAME.choices], label=FRAME.label))
    learn = questions(data, bert)
    tok = learn.dls.tokenizer
    rows = [dict(tok([q]*4, cs, truncation='only_first'), labels=l) for q,cs,l in zip(data.question, data.choices, data.label)]
    batch = transformers.DataCollatorForMultipleChoice(tok)(rows)
    with torch.no_grad(): want = learn.model.eval()(**batch)
    torch.testing.assert_close(learn.predict_logits(list(zip(data.question, data.choices)), bs=len(data)), want.logits, atol=1e-6, rtol=0)
    with learn.no_bar(): assert learn.validate(dl=learn.dls.test_dl(data, with_labels=True))[0]==pytest.approx(want.loss.item(), abs=1e-6)

def test_it_trains_and_shows(learn, capsys):
    learn.dls.show_batch(max_n=2)
    learn.fit_one_cycle(2, 1e-3)
    assert all(np.isfinite(v) for row in learn.recorder.values for v in row)
    preds,targets = learn.get_preds()
    rows = FRAME.iloc[learn.dls.valid_ds.items.idxs]
    assert targets.tolist()==rows.label.tolist()
    for p,o in zip(preds, zip(rows.question, rows.choices)): close(p[:len(o[1])], direct(learn.model, learn.dls.tokenizer, o).softmax(0))
    learn.show_results(max_n=2)
    Interpretation.from_learner(learn).plot_top_losses(2)
    shown = capsys.readouterr().out
    assert shown.count('choices')>=3 and 'which is' in shown and ' | ' in shown and ' ✓' in shown and 'A) ' in shown

def test_choices_are_no_classes_to_confuse(learn):
    with pytest.raises(ValueError, match='no classes that could be confused.*Interpretation.from_learner'): ClassificationInterpretation.from_learner(learn)

def test_predictions(learn):
    many = learn.predict_batch(FRAME)
    assert many==learn.predict_batch(ITEMS) and {m['answer'] in o[1] for m,o in zip(many, ITEMS)}=={True}
    answer,i,probs = learn.predict(ITEMS[0])
    assert answer==many[0]['answer']==ITEMS[0][1][int(i)] and len(probs)==len(ITEMS[0][1])
    assert learn.predict(FRAME.iloc[0])[0]==answer
    with pytest.raises(TypeError, match='expected a text and a list of choices'): learn.predict('which?')

def test_predict_heeds_callbacks_of_the_users(learn):
    item = ITEMS[0]
    class Turns(Callback):
        def after_pred(self): self.learn.pred = -100*self.pred
    plain = learn.predict_logits(learn.texts_of([item]))
    with learn.added_cbs(Turns()): choice,index,probs = learn.predict(item)
    close(probs, (-100*plain).softmax(-1)[0])
    assert int(index)==int(plain.argmin()) and choice==item[1][int(index)]

def test_loaders_of_new_items(learn):
    for items,kwargs in ((ITEMS, {}), (FRAME, {}), (FRAME, dict(with_labels=True))):
        close(learn.get_preds(dl=learn.dls.test_dl(items, **kwargs))[0], learn.loss_func.activation(learn.predict_logits(ITEMS)))
    with pytest.raises(TypeError, match='item 1: expected a text'): learn.dls.test_dl([ITEMS[0], 'which?'])

def test_plain_torch_gets_all_choices(learn):
    with pytest.warns(UserWarning, match='rows have 2 to . choices; a plain model scores missing ones too') as said: batches = list(learn.dls.valid.as_torch())
    assert len(said)==1 and len(batches)>1
    batch = batches[0]
    logits = learn.model.eval()(**batch).logits.masked_fill(~batch['attention_mask'].any(-1), -torch.inf) # as the warning says
    assert torch.nn.functional.cross_entropy(logits, batch['labels']).item()==pytest.approx(learn.validate(dl=[learn.dls.valid.one_batch()])[0], abs=1e-5)
    n,width,_ = batch['input_ids'].shape
    assert n==5 and width==max(len(c) for c in FRAME.choices.iloc[learn.dls.valid_ds.items.idxs[:5]])
    out = learn.model.eval()(**batch)
    item = ITEMS[learn.dls.valid_ds.items.idxs[0]]
    close(out.logits[0,:len(item[1])], direct(learn.model, learn.dls.tokenizer, item))

def test_check_and_lengths(bert, recwarn):
    twice = pd.concat([FRAME, FRAME.iloc[:1], FRAME.iloc[:1].assign(label=1-FRAME.label[0])], ignore_index=True)
    learn = questions(twice, bert, valid=list(range(6)), max_length=14)
    report = learn.check()
    found = {f.what:f for f in report if f.part!='validation' or f.what=='leakage'}
    assert 'leakage' in found and 'cut' in found and not report.tables.keys()&{'labels'}
    longest = [max(len(learn.dls.tokenizer(q, c)['input_ids']) for c in cs) for q,cs in zip(twice.question[6:], twice.choices[6:])]
    assert learn.dls.train.uncut_lengths().tolist()==longest
    assert found['cut'].rows.tolist()==[i+6 for i,n in enumerate(longest) if n>14]
    learn.dls.train.plot_lengths()
    with pytest.raises(ValueError, match='labels=True'): learn.check(labels=True)

def test_reading_of_an_item(learn, capsys):
    learn.show_tokens(ITEMS[0])
    shown = capsys.readouterr().out
    assert all(c in shown for c in ITEMS[0][1][0].split()) and shown.count('tokens,')==len(ITEMS[0][1])
    tokens,weights = learn.attention(ITEMS[0], window=1)
    assert weights.shape[-1]==len(tokens) and ITEMS[0][1][1].split()[0] in tokens
    with pytest.raises(ValueError, match='there are 2|in 2|2 '): learn.attention(ITEMS[1 if len(ITEMS[1][1])==2 else 2], window=7)

@pytest.mark.parametrize('method', [pytest.param('integrated_gradients', marks=needs_captum), 'occlusion'])
def test_what_speaks_for_a_choice(learn, method):
    question,choices = item = ITEMS[2]
    with learn.no_bar(), learn.no_logging(): learn.fit(2, 3e-3)
    answer,i,probs = learn.predict(item)
    told = learn.explain(item, method=method, steps=8)
    assert told.words==[*question.split(), *answer.split()] and [r['label'] for r in told.rows]==[answer]
    assert told.rows[0]['score']==pytest.approx(float(probs[i]), abs=1e-5)
    every = learn.explain(item, labels=choices[::-1], method=method, steps=8)
    assert every.names==choices[::-1] and len(every.frame)==sum(len(question.split())+len(c.split()) for c in choices)
    np.testing.assert_allclose(every.rows[choices[::-1].index(answer)]['words'], told.rows[0]['words'], atol=1e-5)
    assert every.frame[answer].notna().sum()==len(told.words) and all(c in every._repr_html_() for c in choices)
    with pytest.raises(ValueError, match='the labels are'): learn.explain(item, labels='none')

def test_a_hidden_word_of_a_choice_by_hand(learn):
    question,choices = item = ITEMS[2]
    with learn.no_bar(), learn.no_logging(): learn.fit(2, 3e-3)
    told = learn.explain(item, labels=choices[1], method='occlusion')
    hidden = [choices[0], ' '.join(['[MASK]']*len(choices[1].split())), *choices[2:]]
    full,rest = (direct(learn.model, learn.dls.tokenizer, (question, c))[1] for c in (choices, hidden))
    assert len(choices[1].split())==1 and told.rows[0]['words'][-1]==pytest.approx(float(full-rest), abs=1e-5)

def test_saving_and_loading(learn, tmp_path):
    want = learn.predict_batch(ITEMS)
    again = TransformersLearner.from_pretrained(learn.save_pretrained(tmp_path/'model'))
    assert again.task is multiple_choice and again.predict_batch(FRAME)==want
    assert again.predict(ITEMS[0])[0]==want[0]['answer']
    assert json.loads((tmp_path/'model'/'blurlike.json').read_text())['text']==['question','choices']
    again.dls = learn.dls
    again.fit(1, 1e-3)

def test_card(learn):
    card = model_card(learn)
    assert "learn.predict_batch([('A text.', ['yes', 'no'])])" in card
    assert '`question`, `choices`' in card and 'pipeline(' not in card

@pytest.mark.slow
def test_in_onnx(learn, tmp_path):
    for name in ('onnx','onnxscript','onnxruntime'): pytest.importorskip(name)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    served = load_onnx(export_onnx(learn, tmp_path/'onnx'))
    torch.testing.assert_close(served.predict_logits(ITEMS, bs=5), learn.predict_logits(ITEMS), atol=1e-5, rtol=1e-4)
    assert served.predict(ITEMS[1])[:2]==learn.predict(ITEMS[1])[:2] and served.predict_batch(FRAME.iloc[:1])[0]['answer'] in FRAME.choices[0]
    q,choices = ITEMS[2]
    enc = learn.dls.tokenizer([q]*len(choices), choices, padding=True, return_tensors='np')
    by_hand, = served.model.session.run(['logits'], {k:v[None] for k,v in enc.items()}) # as the plain model takes them: (1,choices,L)
    close(torch.from_numpy(by_hand[0]), direct(learn.model, learn.dls.tokenizer, ITEMS[2]))

@pytest.mark.slow
def test_page(bert, learn):
    pytest.importorskip('gradio')
    page,(q,choices) = gradio_app(learn),ITEMS[1]
    assert [c.label for c in page.input_components]==['question','choices']
    told = page.fn(q, '\n'.join(choices)+'\n\n')
    close(torch.tensor(list(told.values())), learn.predict((q, choices))[2])
    assert [k[:3] for k in told]==['A) ','B) ','C) '][:len(choices)]
    for typed,said in ((('', 'a\nb'), 'Write a text'), ((q, 'only one'), 'two choices or more'), ((q, None), 'two choices')):
        with pytest.raises(Exception, match=said): page.fn(*typed)
    columns = gradio_app(multiple_choice_learner(asked(), bert, text='context', question='ask', choices=['a','b','c'], label='right'))
    assert len(columns.input_components)==5 and list(columns.fn('the film', 'who', 'people', 'rain', ''))==['A) people','B) rain']

def test_the_models_own_loss(bert):
    with pytest.raises(ValueError, match='items of 2 to . choices.*leave loss_func=ModelLoss'):
        with questions(FRAME, bert, loss_func=ModelLoss()).no_bar() as learn: learn.validate()

def test_ready_loaders(bert, tmp_path):
    data = two(['A','B'])
    def block(columns): return DataBlock((TextChoicesBlock(bert, question=True), RightChoiceBlock('letter')), get_x=ColReader(columns), get_y=ColReader(['label','choices']), splitter=IndexSplitter([0,1]))
    dls = block(['text','ask','choices']).dataloaders(data.assign(ask='what'), bs=4)
    learn = multiple_choice_learner(dls, bert)
    assert learn.task is multiple_choice and dls.valid.one_batch()[1].tolist()==[0,1] and [m.name for m in learn.metrics]==['accuracy']
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert learn.predict((TEXTS[0], 'what', ['people','rain']))[0] in ('people','rain')
    text = DataBlock((TransformersTextBlock(bert), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'), splitter=IndexSplitter([0,1])).dataloaders(data, bs=4)
    with pytest.raises(ValueError, match='TextChoicesBlock and RightChoiceBlock'): multiple_choice_learner(text, bert)

def test_the_command_line_knows_what_is_registered(bert, tmp_path, capsys):
    FRAME.to_json(tmp_path/'q.jsonl', orient='records', lines=True)
    args = ['train', str(tmp_path/'q.jsonl'), str(bert), '--task', 'multiple_choice', '--text', 'question', '--out', str(tmp_path/'m'), '--epochs', '1', '--lr', '1e-3']
    assert LEARNERS['multiple_choice'] is multiple_choice_learner and cli.main(args)==0
    assert cli.main(['predict', str(tmp_path/'m'), str(tmp_path/'q.jsonl')])==0
    lines = [json.loads(l) for l in capsys.readouterr().out.splitlines() if l.startswith('{')]
    assert lines==TransformersLearner.from_pretrained(tmp_path/'m').predict_batch(FRAME)
    assert cli.main(['report', str(tmp_path/'m'), str(tmp_path/'q.jsonl'), '--rows', '2'])==0
    assert '24 rows: loss' in capsys.readouterr().out
    assert cli.main(['predict', str(tmp_path/'m'), '-'])==2 and 'question' in capsys.readouterr().err

def test_the_command_line_knows_the_columns_of_a_task(bert, tmp_path, capsys):
    pd.DataFrame(asked()).to_csv(tmp_path/'q.csv', index=False)
    train = ['train', str(tmp_path/'q.csv'), str(bert), '--out', str(tmp_path/'m'), '--epochs', '1', '--lr', '1e-3', '--text', 'context', '--label', 'right']
    assert cli.main([*train, '--task', 'multiple_choice', '--question', 'ask', '--choices', 'a', 'b', 'c'])==0
    learn = TransformersLearner.from_pretrained(tmp_path/'m')
    assert learn.dls.text_tfm.question and cli.main(['report', str(tmp_path/'m'), str(tmp_path/'q.csv'), '--rows', '0'])==0
    capsys.readouterr()
    for rest in (['--task', 'multiple_choice', '--choces', 'a'], ['--question', 'ask'], ['--task', 'none', '--question', 'ask']):
        with pytest.raises(SystemExit): cli.main([*train, *rest])
        assert 'unrecognized arguments' in capsys.readouterr().err
    with pytest.raises(SystemExit): cli.main(['report', 'm', 'q.csv', '--question', 'ask'])
    own = cli.read_arguments([*train, '--task', 'masked_lm', '--whole-word', '--mlm-probability', '.3'])
    assert vars(own).items()>=dict(whole_word=True, mlm_probability=[.3]).items()

# --- what the data may hold

def asked(n=12): return [dict(context='the film was shown by the river', ask=f'who saw it {i}', a='people', b='rain', c='roofs' if i%2 else None, right='AB'[i%2]) for i in range(n)]

def test_columns_with_a_choice_each_and_a_question(bert, tmp_path):
    learn = multiple_choice_learner(asked(), bert, text='context', question='ask', choices=['a','b','c'], label='right', bs=4)
    item = ('the film was shown by the river', 'who saw it 1', ['people','rain','roofs'])
    x,y = learn.dls.train.one_batch()
    assert x.shape[1]==9 and set(y.tolist())<={0,1}
    tok = learn.dls.tokenizer
    enc = tok([item[0]]*3, [f'{item[1]} {c}' for c in item[2]], padding=True, return_tensors='pt')
    with torch.no_grad(): want = learn.model.eval()(**{k:v[None] for k,v in enc.items()}).logits
    close(learn.predict_logits([item]), want)
    assert learn.predict(asked()[1])[0]==learn.predict(item)[0]
    again = TransformersLearner.from_pretrained(learn.save_pretrained(tmp_path/'m'))
    assert again.predict_batch(asked())==learn.predict_batch(asked()) and again.dls.text_tfm.question
    again.dls = learn.dls
    assert again.validate()==learn.validate()

LABELS = dict(number=[1, 0], text=['1','0'], letter=['B','A'], small=['b','a'], itself=['rain','people'], whole=[1., 0.], of_numpy=np.array([1, 0]), arrow=pd.array([1, 0], dtype='int64[pyarrow]'))
def two(label, choices=('people','rain'), n=6): return pd.DataFrame(dict(text=TEXTS[:2]*n, choices=[list(choices)]*2*n, label=list(label)*n))

@pytest.mark.parametrize('how', LABELS)
def test_what_a_label_may_be(how, bert):
    learn = multiple_choice_learner(two(LABELS[how]), bert, valid=[0, 1], bs=2)
    assert learn.dls.valid.one_batch()[1].tolist()==[1, 0]
    assert learn.get_preds()[1].tolist()==[1, 0]

def test_label_names_of_a_dataset_are_letters(bert):
    features = Features(dict(text=Value('string'), choices=List(Value('string')), label=ClassLabel(names=['A','B'])))
    ds = Dataset.from_dict(two([1, 0]).to_dict('list'), features=features)
    learn = multiple_choice_learner(ds, bert, valid=[0, 1], bs=2)
    assert learn.dls.valid.one_batch()[1].tolist()==[1, 0]
    assert learn.predict_batch(ds)==learn.predict_batch(two([1, 0]))

def test_a_letter_that_is_a_choice(bert):
    "Where each label is one of its choices, it is that one, and no letter."
    data = two(['B','A'], choices=('B','A'))
    assert multiple_choice_learner(data, bert, valid=[0, 1], bs=2).dls.valid.one_batch()[1].tolist()==[0, 1]
    data.at[3,'choices'] = ['x','y']
    with pytest.raises(ValueError, match="row 0: the label 'B' is the letter of one choice, and another choice itself"): multiple_choice_learner(data, bert)

def put(row, **values):
    data = two(['people','rain'][::-1])
    for k,v in values.items(): data[k] = [v if i==row else o for i,o in enumerate(data[k])]
    return data

BAD = dict(none=(put(3, choices=None), TypeError, 'row 3: expected a list of choices, got None'), empty=(put(3, choices=[]), TypeError, 'row 3: expected two choices or more'),
    one=(put(3, choices=['rain']), TypeError, 'row 3: expected two choices or more'), gap=(put(3, choices=['rain',None,'people']), TypeError, 'row 3: choice 1 is None'),
    blank=(put(3, choices=['rain',' ']), TypeError, 'row 3: choice 1 is empty'), number=(put(3, choices=['rain',7]), TypeError, 'row 3: choice 1 is 7, and no text'),
    hole=(put(3, choices=['rain',None,'sun']), TypeError, 'row 3: choice 1 is None, and no text: leave it out'), nan=(put(3, choices=['rain',float('nan'),'sun']), TypeError, 'row 3: choice 1 is nan, and no text: leave it out'),
    of_numpy=(put(3, choices=np.array([4, 5])), TypeError, 'row 3: choice 0 is 4, and no text: convert it'),
    a_text=(put(3, choices="['rain','people']"), TypeError, 'row 3: expected a list of choices, got the text'), no_label=(put(3, label=None), ValueError, 'row 3: no label'),
    another=(put(3, label='roofs'), ValueError, "row 3: the label 'roofs' is none of the choices"), twice=(put(3, choices=['people','people','rain']), ValueError, "row 3: the label 'people' is several"),
    a_dict=(put(3, choices=dict(text=['a','b'], label=['A','B'])), TypeError, r"row 3: expected a list of choices, got a dict of text, label: make a column of its list"),
    a_set=(put(3, choices={'a','b'}), TypeError, 'row 3: expected a list of choices'), of_bytes=(put(3, choices=[b'a','b']), TypeError, "row 3: choice 0 is b'a', and no text"), broken=(put(3, choices=['a\ud800','b']), ValueError, 'row 3: a choice holds a lone surrogate'),
    half=(two([1., .5]), ValueError, 'row 1: the label 0.5'), yes=(two([True, False]), ValueError, 'row 0: the label True'),
    outside=(two([1, 2]), ValueError, 'row 1: the label 2 is choice number 2, and there are 2'), below=(two([0, -1]), ValueError, 'row 1: the label -1'),
    no_text=(put(3, text=None), ValueError, "column 'text' has no text in row 3"))

@pytest.mark.parametrize('name', BAD)
def test_rows_that_cannot_be_used_are_named(name, bert):
    data,error,message = BAD[name]
    with pytest.raises(error, match=message): multiple_choice_learner(data, bert)

def test_a_choice_that_stands_twice_is_told(bert):
    with pytest.warns(UserWarning, match="a choice stands twice in 1 row, e.g. row 3: choices 0, 2 are 'rain'"): multiple_choice_learner(put(3, choices=['rain','people','rain'], label='people'), bert)

def test_long_texts_are_cut_and_long_choices_are_not(bert):
    data = two([1, 0]).assign(text=' '.join(FILLERS))
    learn = multiple_choice_learner(data, bert, max_length=12, bs=4)
    with pytest.warns(UserWarning, match='longer than max_length=12.*cut off.$'): learn.predict_batch(data)
    learn.dls.text_tfm.limit_given = False # where the model says how much, others could be read in windows
    learn.dls.text_tfm.reported.clear()
    with pytest.warns(UserWarning, match='cut off.$'): learn.predict_batch(data)
    assert 'overlap' not in next(f.remedy for f in learn.check() if f.what=='cut')
    decoded = learn.dls.text_tfm.decode(learn.dls.valid.one_batch()[0][0])
    assert decoded.choices==['people','rain'] and data.text[0].startswith(decoded.text)
    data.at[5,'choices'] = ['people', ' '.join(FILLERS)]
    with pytest.raises(ValueError, match='row 5: a choice has .* tokens, which leaves max_length=12 no room'): multiple_choice_learner(data, bert, max_length=12)
    with pytest.raises(ValueError, match='item 5: a choice has .* tokens'): learn.predict_batch(data)
    data['choices'] = [['people', ' '.join(FILLERS)]]*len(data)
    with pytest.raises(ValueError, match=r'^rows \d+, \d+.*: a choice has'): multiple_choice_learner(data, bert, max_length=12)

def test_models_without_the_head_are_refused(checkpoints):
    with pytest.raises(ValueError, match='gpt2|GPT2'): multiple_choice_learner(two([1, 0]), checkpoints('gpt2'))

def test_arguments_of_other_tasks_are_refused(bert):
    with pytest.raises(ValueError, match='multiple_choice reads no text in windows: leave overlap= away'): multiple_choice_learner(two([1, 0]), bert, overlap=2)
    with pytest.raises(ValueError, match='class_weights= is for labels, and multiple_choice has none'): multiple_choice_learner(two([1, 0]), bert, class_weights='balanced')

def test_what_is_given_to_predict(learn):
    assert type(learn.predict(('which?', np.array(['good','bad'])))[0]) is str
    for item in ('which?', ('which?', 'good'), ('which?', ['good']), ('which?', ['good', None, 'bad']), (['good','bad'], 'which?'), 7):
        with pytest.raises(TypeError, match='expected|choice'): learn.predict(item)
    assert learn.predict(('which?', 'good', 'bad'))[0]==learn.predict(('which?', ['good','bad']))[0] # as a row of columns

# --- what a run and a file promise

def test_a_resumed_run_is_as_if_left_alone(bert, in_tmp):
    def train(cbs, fails=('never', 1)):
        learn = questions(FRAME, bert, seed=3)
        learn.add_cb(Cut(*fails))
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 1e-3, cbs=cbs)
        return learn
    whole = train(Checkpoints('whole'))
    with pytest.raises(KeyboardInterrupt): train(Checkpoints('run', steps=1), fails=('after_batch', 6, KeyboardInterrupt()))
    learn = questions(FRAME, bert, seed=3)
    learn.add_cb(Cut('never', 1))
    with learn.no_bar(), learn.no_logging(): learn.resume('run')
    assert all(torch.equal(a, b) for a,b in zip(whole.model.state_dict().values(), learn.model.state_dict().values()))
    assert whole.recorder.values==learn.recorder.values

def test_exported_and_in_a_file(learn, in_tmp):
    want = learn.predict_batch(FRAME)
    learn.path = in_tmp
    learn.export('learn.pkl')
    assert load_learner('learn.pkl').predict_batch(FRAME)==want
    learn.predict_batch(FRAME, out='p.jsonl', bs=5)
    assert [json.loads(line)['answer'] for line in open('p.jsonl')]==[w['answer'] for w in want]

def test_small_parts():
    assert choices_in([np.array(['a','b'], dtype=object)])==['a','b'] and choices_in(['a','b',float('nan'),pd.NA])==['a','b']
    with pytest.raises(ValueError, match='several of the choices'): choice_number('a', ['a','b','a'], 'choice')
    with pytest.raises(ValueError, match="how='word'"): multiple_choice.target([], how='word')

def test_lone_surrogates_are_read_as_elsewhere(bert):
    learn = multiple_choice_learner(table(), bert, text='question', bs=8)
    items = [('one\ud800',['the film','bad']), ('two',['the\udc00','film'])]
    with pytest.warns(UserWarning, match='lone surrogates'): found = learn.predict_logits(items)
    plain = learn.predict_logits([('one\ufffd',['the film','bad']), ('two',['the\ufffd','film'])])
    assert torch.equal(found, plain)

def test_label_names_that_are_numbers(bert):
    "Of a `ClassLabel` names are read: where they are other numbers or letters than its ids, either might be meant."
    def made(names): return Dataset.from_dict(two([1, 0]).to_dict('list'), features=Features(dict(text=Value('string'), choices=List(Value('string')), label=ClassLabel(names=names))))
    with pytest.raises(ValueError, match="ClassLabel whose names, '1', '2', are other numbers or letters than its ids.*cast_column"): multiple_choice_learner(made(['1','2']), bert)
    with pytest.raises(ValueError, match="ClassLabel whose names, 'B', 'A', are other"): multiple_choice_learner(made(['B','A']), bert)
    for ds in (made(['0','1']), made(['1','2']).cast_column('label', Value('int64'))):
        assert multiple_choice_learner(ds, bert, valid=[0, 1], bs=2).dls.valid.one_batch()[1].tolist()==[1, 0]

def digits(label, n=6): return pd.DataFrame(dict(text=TEXTS[:2]*n, a='4', b='7', c='1', label=list(label)*n))

@pytest.mark.parametrize('label,places', [(['7','4'], [1,0]), (['7','1'], [1,2]), (['2','0'], [2,0])])
def test_choices_that_are_digits_are_read_alike_from_every_file(label, places, bert, in_tmp):
    rows = digits(label)
    rows.to_csv('rows.csv', index=False)
    rows.to_json('rows.jsonl', orient='records', lines=True)
    rows.to_parquet('rows.parquet')
    for data in (rows, 'rows.csv', 'rows.jsonl', 'rows.parquet'):
        learn = multiple_choice_learner(data, bert, choices=['a','b','c'], valid=[0, 1], bs=2)
        assert learn.dls.valid.one_batch()[1].tolist()==places
    assert learn.report('rows.csv').metrics==learn.report(rows).metrics
    learn.save_pretrained('m')
    assert cli.main(['report', 'm', 'rows.csv', '--rows', '0'])==0
    new = rows.rename(columns=dict(a='x', b='y', c='z')) # columns that others call otherwise
    new.to_csv('new.csv', index=False)
    assert cli.main(['report', 'm', 'new.csv', '--rows', '0', '--text', 'text', *'xyz', '--label', 'label', *'xyz'])==0

def test_numbers_of_a_column_that_had_gaps(bert, in_tmp):
    "pandas writes them as floats."
    rows = pd.DataFrame(dict(text=TEXTS[:12], a='one', b='other', label=[1.,0.]*6))
    rows.to_csv('rows.csv', index=False)
    for data in (rows, 'rows.csv'): assert multiple_choice_learner(data, bert, choices=['a','b'], valid=[0, 1], bs=2).dls.valid.one_batch()[1].tolist()==[1,0]
    assert choice_number('1.0', ['1.0','x'], 'choice')==0 and choice_number(' 2 ', list('abc'), 'number')==2
    with pytest.raises(ValueError, match='none of the choices'): choice_number('1.5', list('abc'), 'number')
    rows.assign(label=[1.,None,*[0.,1.]*5]).to_csv('gaps.csv', index=False)
    with pytest.raises(ValueError, match='row 1.*no label|no label.*row 1'): multiple_choice_learner('gaps.csv', bert, choices=['a','b'], valid=[0, 2], bs=2)

def test_a_label_that_is_a_choice_and_a_number(bert):
    "Text that names one choice and counts another is asked about; where each label is a choice it is one, and a word says so."
    with pytest.warns(UserWarning, match="'label': each label is one of the choices of its row.* would be the number of one"):
        learn = multiple_choice_learner(two(['1','2'], ('2','1','x')), bert, valid=[0, 1], bs=2)
    assert learn.dls.valid.one_batch()[1].tolist()==[1, 0]
    with pytest.raises(ValueError, match="the label 1 is the number of one choice, and another choice itself: give the text"):
        learn.dls.test_dl(two([1, 2], ('1','2','x')), with_labels=True).one_batch()
    plain = multiple_choice_learner(two([1, 2], ('2','1','x')), bert, valid=[0, 1], bs=2) # numbers are numbers
    assert plain.dls.valid.one_batch()[1].tolist()==[1, 2]
    with pytest.raises(ValueError, match="the label '1' is the number of one choice, and another choice itself: give letters"):
        plain.dls.test_dl(two(['1', '0'], ('1','x','y')), with_labels=True).one_batch()

def test_new_rows_with_names_that_are_other_numbers_than_ids(bert):
    learn = multiple_choice_learner(two([1, 0]), bert, valid=[0, 1], bs=2)
    features = Features(dict(text=Value('string'), choices=List(Value('string')), label=ClassLabel(names=['1','2'])))
    ds = Dataset.from_dict(two([1, 0]).to_dict('list'), features=features)
    for read in (lambda: learn.dls.test_dl(ds, with_labels=True), lambda: learn.report(ds)):
        with pytest.raises(ValueError, match='ClassLabel whose names'): read()

def test_relabel_takes_what_predictions_name(checkpoints):
    df = FRAMES['choice']
    learn = learner('choice', checkpoints('bert'))
    row = int(learn.dls.train.row_numbers()[0])
    wrong = next(c for i,c in enumerate(df.choices[row]) if i!=df.label[row])
    learn.relabel([row], [wrong])
    place = learn.dls.train.row_numbers().tolist().index(row)
    assert df.choices[row][int(learn.dls.train.targets_of(np.array([place]))[0][0])]==wrong

def test_sets_hold_no_choice_that_a_row_has_not(bert):
    rows = pd.DataFrame(dict(text=TEXTS[:12], choices=[['good','bad','rain'][:2+i%2] for i in range(12)], label=[i//2%2 for i in range(12)]))
    learn = multiple_choice_learner((rows, rows), bert, bs=5)
    with torch.no_grad(): learn.model.classifier.weight.mul_(1e8) # sure, and sometimes wrong
    told = learn.conformal(alpha=.1)
    assert told['labels a row']==np.mean([len(s) for s in learn.predict_batch(rows, sets=True)])<=2.5

def test_empty_columns_at_the_end_of_a_row_are_no_choices(bert):
    df = pd.DataFrame(dict(text=TEXTS[:8], a='good', b='bad', c='', d='', label=[0,1]*4))
    def made(df):
        with warnings.catch_warnings():
            warnings.simplefilter('error', UserWarning) # none stands twice
            return multiple_choice_learner(df, bert, choices=list('abcd'), valid=[4,5], bs=4)
    assert made(df).validate()==made(df.replace('', None)).validate()
    for label,said in ((3, 'row 0: .*3'), ('odd', "none of the choices .'good', 'bad'")):
        for rows in (df, df.replace('', None)):
            with pytest.raises(ValueError, match=said): made(rows.assign(label=[label]+(['good','bad']*4)[1:] if label=='odd' else [label,*df.label[1:]]))

@pytest.mark.parametrize('nothing', [None, np.nan, ''])
def test_the_last_columns_of_a_row_may_be_empty(nothing, bert):
    df = pd.DataFrame(dict(text=['it rains']*8, a=['rain']*8, b=['roofs']*8, c=['people', nothing]*4, label=[2, 0]*4))
    learn = multiple_choice_learner(df, bert, choices=['a','b','c'], valid=[0, 1], bs=2)
    assert [len(learn.dls.train_ds[i][0].choices) for i in (0, 1)]==[3, 2]
