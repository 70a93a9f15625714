"A task that the library does not know, in one file: multiple choice, several texts an item. Every tool works with it, or says that it does not."
import json

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.data.block import TransformBlock
from fastai.interpret import Interpretation
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.torch_core import TensorCategory
from fasttransform import Transform
from small import CUES, FILLERS

from blurlike import cli
from blurlike.all import (LEARNERS, Column, LabelPredictions, Task, TextPair, TokenizeText, TransformersDL, TransformersLearner, build_learner, export_onnx,
    model_card, read_split, register_learner, register_task, split_rows)

# --- the task

class Choices(tuple):
    "A question and its choices"
    def cells(self): return dict(question=self[0], choices=' | '.join(self[1]))

class TokenizeChoices(TokenizeText):
    "Each choice is read beside the question"
    join = 'compare'
    def check(self, o):
        is_choices = isinstance(o, tuple) and len(o)==2 and isinstance(o[0], str) and not isinstance(o[1], str) and len(o[1]) and all(isinstance(c, str) for c in o[1])
        if not is_choices: raise TypeError(f"expected a question and a list of choices, got {o!r:.60}")
    def as_item(self, o, columns=None, check=None):
        (check or self.check)(o)
        return Choices((o[0], list(o[1])))
    def encodes(self, o): return self.as_item(o)
    def parts(self, o): return [o[0], *o[1]]
    def spread(self, items): return [(q, c) for q,choices in items for c in choices],np.array([len(choices) for _,choices in items], dtype=np.int32)
    def example(self, columns=None, words=('a',)): return ' '.join(words),['a','b']
    def shown_example(self, columns=None): return 'A question?',['yes','no']
    def check_rows(self, rows, *columns): rows.read([0], list(columns))
    def decodes(self, o): # (W*F,L)
        pairs = [super(TokenizeChoices, self).decodes(w) for w in o.reshape(-1, len(self.fields), o.shape[-1])]
        pairs = [p for p in pairs if isinstance(p, TextPair)]
        return Choices((pairs[0][0], [c for _,c in pairs]))

class ChoiceNumber(Transform):
    "The number of the right choice"
    vocab,order = (),1 # outputs have no names
    def encodes(self, o): return TensorCategory(int(o))
    def decodes(self, o:TensorCategory): return int(o)

class ChoicePredictions(LabelPredictions):
    "The answer, its number, and the probabilities of all"
    def many(self, learn, items, bs=64):
        items = learn.texts_of(items)
        probs = learn.loss_func.activation(learn.predict_logits(items, bs))
        return [dict(label=i, score=s, answer=o[1][i]) for o,i,s in zip(items, probs.argmax(1).tolist(), probs.amax(1).tolist())]
    def one(self, learn, item, rm_type_tfms=None, with_input=False):
        item = learn.texts_of([item])[0]
        probs = learn.loss_func.activation(learn.predict_logits([item]))[0]
        return (*([item] if with_input else []), item[1][int(probs.argmax())], probs.argmax(), probs)

def choice_block(tokenizer, max_length=None): return TransformBlock(type_tfms=TokenizeChoices(tokenizer, max_length), dl_type=TransformersDL, dls_kwargs=dict(drop_last=False, num_workers=0))

multiple_choice = register_task(Task('multiple_choice', 'AutoModelForMultipleChoice', block=choice_block, target=lambda vocab: TransformBlock(type_tfms=ChoiceNumber()), read=Column,
    loss=lambda weights: CrossEntropyLossFlat(), metrics=lambda vocab: [accuracy], predictions=ChoicePredictions(None), fits=lambda dls: isinstance(getattr(dls, 'text_tfm', None), TokenizeChoices),
    example=lambda vocab: 0))

@register_learner
def multiple_choice_learner(data, checkpoint, text=('question','choices'), label='label', valid=.25, bs=5, max_length=None, seed=42, **kwargs):
    rows,parts,valid = read_split(data, valid)
    return build_learner(multiple_choice, [], checkpoint, None, rows, split_rows(rows, parts, valid, seed), Column(list(text)), Column(label), bs=bs, max_length=max_length, **kwargs)

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

@pytest.fixture
def learn(bert):
    res = multiple_choice_learner(FRAME, bert)
    res.remove_cb(res.progress)
    return res

@torch.no_grad()
def direct(model, tok, item):
    "(W,) logits of the plain model."
    q,choices = item
    enc = tok([q]*len(choices), list(choices), padding=True, return_tensors='pt')
    return model.eval()(**{k:v[None] for k,v in enc.items()}).logits[0]

def close(a, b): torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)

# --- every tool

def test_logits_are_those_of_the_plain_model(learn):
    tok = learn.dls.tokenizer
    got = learn.predict_logits(ITEMS, bs=4) # batches of differing widths
    assert {len(c) for _,c in ITEMS}=={2,3,4} and got.shape==(len(ITEMS), 4)
    for row,item in zip(got, ITEMS):
        close(row[:len(item[1])], direct(learn.model, tok, item))
        assert (row[len(item[1]):]==-torch.inf).all()

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
    assert shown.count('question')>=3 and 'which is' in shown and ' | ' in shown

def test_predictions(learn):
    many = learn.predict_batch(FRAME)
    assert many==learn.predict_batch(ITEMS) and {m['answer'] in o[1] for m,o in zip(many, ITEMS)}=={True}
    answer,i,probs = learn.predict(ITEMS[0])
    assert answer==many[0]['answer']==ITEMS[0][1][int(i)] and len(probs)==len(ITEMS[0][1])
    assert learn.predict(FRAME.iloc[0])[0]==answer
    with pytest.raises(TypeError, match='expected a question and a list of choices'): learn.predict('which?')

def test_loaders_of_new_items(learn):
    for items,kwargs in ((ITEMS, {}), (FRAME, {}), (FRAME, dict(with_labels=True))):
        close(learn.get_preds(dl=learn.dls.test_dl(items, **kwargs))[0], learn.loss_func.activation(learn.predict_logits(ITEMS)))
    with pytest.raises(TypeError, match='item 1: expected a question'): learn.dls.test_dl([ITEMS[0], 'which?'])

def test_plain_torch_gets_all_choices(learn):
    batch = next(iter(learn.dls.valid.as_torch()))
    n,width,_ = batch['input_ids'].shape
    assert n==5 and width==max(len(c) for c in FRAME.choices.iloc[learn.dls.valid_ds.items.idxs[:5]])
    out = learn.model.eval()(**batch)
    item = ITEMS[learn.dls.valid_ds.items.idxs[0]]
    close(out.logits[0,:len(item[1])], direct(learn.model, learn.dls.tokenizer, item))

def test_check_and_lengths(bert, recwarn):
    twice = pd.concat([FRAME, FRAME.iloc[:1], FRAME.iloc[:1].assign(label=1-FRAME.label[0])], ignore_index=True)
    learn = multiple_choice_learner(twice, bert, valid=list(range(6)), max_length=14)
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
    with pytest.raises(ValueError, match='explain'): learn.explain(ITEMS[0])

def test_saving_and_loading(learn, tmp_path):
    want = learn.predict_batch(ITEMS)
    again = TransformersLearner.from_pretrained(learn.save_pretrained(tmp_path/'model'))
    assert again.task is multiple_choice and again.predict_batch(FRAME)==want
    assert again.predict(ITEMS[0])[0]==want[0]['answer']
    assert json.loads((tmp_path/'model'/'blurlike.json').read_text())['text']==['question','choices']
    again.dls = learn.dls
    again.fit(1, 1e-3)

def test_card_page_and_export(learn, tmp_path):
    card = model_card(learn)
    assert "learn.predict_batch([('A question?', ['yes', 'no'])])" in card
    assert '`question`, `choices`' in card and 'pipeline(' not in card
    with pytest.raises(ValueError, match='compares'): export_onnx(learn, tmp_path/'onnx')

def test_the_command_line_knows_what_is_registered(bert, tmp_path, capsys):
    FRAME.to_json(tmp_path/'q.jsonl', orient='records', lines=True)
    args = ['train', str(tmp_path/'q.jsonl'), str(bert), '--task', 'multiple_choice', '--out', str(tmp_path/'m'), '--epochs', '1', '--lr', '1e-3']
    assert LEARNERS['multiple_choice'] is multiple_choice_learner and cli.main(args)==0
    assert cli.main(['predict', str(tmp_path/'m'), str(tmp_path/'q.jsonl')])==0
    lines = [json.loads(l) for l in capsys.readouterr().out.splitlines() if l.startswith('{')]
    assert lines==TransformersLearner.from_pretrained(tmp_path/'m').predict_batch(FRAME)
    assert cli.main(['report', str(tmp_path/'m'), str(tmp_path/'q.jsonl'), '--rows', '2'])==0
    assert '24 rows: loss' in capsys.readouterr().out
    assert cli.main(['predict', str(tmp_path/'m'), '-'])==2 and 'question' in capsys.readouterr().err
