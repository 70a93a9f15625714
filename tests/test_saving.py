"Saved folders: the same predictions in a process that knows nothing, no pickle, plain Hugging Face reads them too, and a failed save harms nothing."
import hashlib,importlib,json,warnings

import numpy as np
import pytest
import torch
import transformers
from blurlike.all import (CategoryBlock, ClassificationInterpretation, ColReader, CSVLogger, DataBlock, GradientClip, Interpretation, MaskedLMBlock, ModelLoss, RandomSplitter, TransformersLearner, TransformersTextBlock, accuracy, noop, layerwise_splitter, load_tokenizer, output_names, scratch_checkpoint, trainable_params)
from blurlike.model.fingerprints import tokenizer_hash
from blurlike.save.lost_code import lost_code
from blurlike.save.saved_facts import FORMAT, write_facts
from fresh import fresh_process
from safetensors.torch import load_file
from small import ARCHS, AUTO_MODELS, BS, FRAMES, KINDS, MORE_KINDS, SAME_WIDTH, SMALL, TEXTS, VOCABS, WRITING, activated, asked_of, changed, close, direct_logits, direct_preds, first, head_names, learner, table, texts_of, valid_frame, weights, with_answers
from pathlib import Path
from transformers.modeling_outputs import SequenceClassifierOutput

pytestmark = pytest.mark.usefixtures('in_tmp')

@pytest.fixture(scope='module')
def saved(trained, tmp_path_factory):
    "For each kind: a trained learner and its folder; for reading only."
    root = tmp_path_factory.mktemp('saved')
    return {k:(trained(k), trained(k).save_pretrained(root/k)) for k in MORE_KINDS}

@pytest.fixture
def learn(kind, saved): return saved[kind][0]
@pytest.fixture
def folder(kind, saved): return saved[kind][1]
@pytest.fixture
def again(folder):
    res = TransformersLearner.from_pretrained(folder)
    with res.no_bar(), res.no_logging(): yield res

def hashes(folder): return {p.relative_to(folder).as_posix():hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(Path(folder).rglob('*')) if p.is_file()}

READ = '''import json,sys,torch
from blurlike.all import *
items,res = json.loads(sys.argv[2]),{}
for kind,(texts,rows) in items.items():
    learn = TransformersLearner.from_pretrained(f'{sys.argv[1]}/{kind}')
    texts = [tuple(t) if isinstance(t, list) else t for t in texts]
    with learn.no_bar(): res[kind] = dict(batch=learn.predict_batch(texts), one=[torch.as_tensor(learn.predict(t)[2]).tolist() for t in texts], preds=[torch.as_tensor(p).tolist() for p in learn.get_preds(dl=learn.dls.test_dl(rows, with_labels=learn.task.target is not None))[0]])
print(json.dumps(res))'''

@pytest.fixture(scope='module')
def elsewhere(saved, tmp_path_factory): # predictions of all kinds in one new process
    frames = {k:valid_frame(learn, k) for k,(learn,_) in saved.items()}
    items = {k:(asked_of(k, df), json.loads(df.to_json(orient='records'))) for k,df in frames.items()}
    return fresh_process(READ, saved['single'][1].parent, json.dumps(items), cwd=tmp_path_factory.mktemp('elsewhere'))

@with_answers
def test_equal_predictions_in_a_fresh_process(kind, learn, elsewhere):
    texts = asked_of(kind, valid_frame(learn, kind))
    direct = direct_preds(kind, learn, valid_frame(learn, kind))
    for told,want in zip(elsewhere[kind]['preds'], direct): close(told, want)
    def of(item, want):
        if kind in WRITING: return learn.predict(item)[2]
        return want[:len(item[1])] if kind=='choice' else want[0] if kind=='answers' else want
    for told,item,want in zip(elsewhere[kind]['one'], texts, direct): close(told, of(item, want))
    ours = learn.predict_batch(texts)
    assert json.loads(json.dumps(ours))==elsewhere[kind]['batch']

@with_answers
def test_the_reloaded_learner_is_the_same(kind, learn, again):
    df = valid_frame(learn, kind)
    for (n,p),(m,q) in zip(learn.model.named_parameters(), again.model.named_parameters()): assert n==m and torch.equal(p, q)
    assert output_names(again.dls)==VOCABS[kind] and again.task is learn.task and not again.model.training
    with learn.no_bar(): close(list(again.validate(dl=again.dls.test_dl(df, with_labels=learn.task.target is not None))), list(learn.validate()))
    assert again.predict_batch(df)==learn.predict_batch(df) # the columns are known

# What is in the folder

@with_answers
def test_no_pickle(folder):
    for p in folder.rglob('*'):
        start = p.read_bytes()[:16]
        assert p.suffix in ('.json','.safetensors','.txt','.jinja','.model') and not start.startswith((b'\x80', b'PK', b'\x1f\x8b')), p
    assert {'config.json','model.safetensors','tokenizer.json','tokenizer_config.json','blurlike.json'}<=set(hashes(folder))

@with_answers
def test_loading_opens_no_pickle(folder, learn, kind, monkeypatch):
    def never(*args, **kwargs): raise AssertionError('a pickle was opened')
    for place in ('pickle.load','pickle.loads','pickle.Unpickler','torch.load'): monkeypatch.setattr(place, never)
    assert TransformersLearner.from_pretrained(folder).predict_batch(valid_frame(learn, kind))==learn.predict_batch(valid_frame(learn, kind))

def test_facts(kind, learn, folder):
    facts = json.loads((folder/'blurlike.json').read_text())
    want = dict(format='blurlike', format_version=FORMAT, task=learn.task.name, vocab=VOCABS[kind], text=dict(pair=['one','two'], choice=['text','choices']).get(kind, 'text'), label=dict(single='label', pair='same', multi='tags', regression='score', choice=['label','choices'])[kind],
        max_length=64, overlap=None, bs=BS, metrics=[m.name for m in learn.metrics], splitter='transformer_splitter')
    assert want.items()<=facts.items() and {'blurlike','fastai','torch','transformers'}<=set(facts['versions'])
    blob = b''.join(p.read_bytes() for p in folder.rglob('*'))
    assert not any(t.encode() in blob for t in TEXTS if len(t)>30) # no data
    assert str(folder.parent).encode() not in blob # nor where it was made

@pytest.mark.parametrize('kind', [k for k in MORE_KINDS if k not in WRITING]) # some of whose configs come with names
def test_labels_in_the_config(kind, folder):
    config = json.loads((folder/'config.json').read_text())
    names = [str(v) for v in VOCABS[kind]]
    assert config.get('id2label', {})=={str(i):n for i,n in enumerate(names)}
    assert config.get('label2id', {})=={n:i for i,n in enumerate(names)}

# Plain Hugging Face

def test_auto_model_gives_equal_logits(kind, learn, folder):
    model,tok = getattr(transformers, AUTO_MODELS[kind]).from_pretrained(folder),transformers.AutoTokenizer.from_pretrained(folder)
    texts = texts_of(kind, valid_frame(learn, kind))
    close(direct_logits(model, tok, texts), learn.predict_logits(texts))

@pytest.mark.parametrize('kind', [k for k in KINDS if k!='choice']) # which has no pipeline
def test_pipeline_gives_equal_scores(kind, learn, folder):
    pipe,texts = transformers.pipeline('text-classification', model=str(folder)),texts_of(kind, valid_frame(learn, kind))
    ours,probs = learn.predict_batch(texts),activated(kind, learn.predict_logits(texts))
    for t,o,p in zip(texts, ours, probs):
        said = pipe(dict(text=t[0], text_pair=t[1]) if kind=='pair' else t, top_k=None, **(dict(function_to_apply='none') if kind=='regression' else {}))
        said = {d['label']:d['score'] for d in said}
        close([said[str(v)] for v in VOCABS[kind]], p.reshape(-1))
        if kind in ('single','pair'): assert str(o['label'])==max(said, key=said.get)

@pytest.mark.parametrize('arch', list(ARCHS))
def test_pipeline_reads_a_long_text(arch, checkpoints): # raw Hugging Face folders crash here
    learn = learner('single', checkpoints(arch))
    long = 'the film was great '*200
    pipe = transformers.pipeline('text-classification', model=str(learn.save_pretrained('m')))
    close(pipe(long, truncation=True)[0]['score'], learn.predict_logits([long]).softmax(-1).max())

@pytest.mark.parametrize('arch', list(ARCHS))
def test_every_architecture_comes_back(arch, checkpoints):
    learn = learner('single', checkpoints(arch))
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    again = TransformersLearner.from_pretrained(learn.save_pretrained('m'))
    close(again.predict_logits(TEXTS[:5]), learn.predict_logits(TEXTS[:5]), 1e-6)

# What is remembered

@pytest.mark.parametrize('kwargs', [dict(max_length=10), dict(max_length=10, overlap=3), dict(max_length=33)], ids=str)
def test_lengths_are_remembered(kwargs, bert):
    learn = learner('single', bert, **kwargs)
    again = TransformersLearner.from_pretrained(learn.save_pretrained('m'))
    assert (again.dls.text_tfm.max_length,again.dls.text_tfm.overlap)==(kwargs['max_length'],kwargs.get('overlap'))
    close(again.predict_logits(TEXTS), learn.predict_logits(TEXTS), 1e-6)
    assert transformers.AutoTokenizer.from_pretrained('m').model_max_length==kwargs['max_length']
    assert learn.dls.tokenizer.model_max_length==64

@pytest.mark.parametrize('kind,class_weights', [('single',[1,2,.5]), ('pair',dict([(False,1.),(True,3.)])), ('multi','balanced')])
def test_class_weights_are_remembered(kind, class_weights, bert):
    learn = learner(kind, bert, class_weights=class_weights)
    again = TransformersLearner.from_pretrained(learn.save_pretrained('m'))
    with learn.no_bar(), again.no_bar(): theirs,ours = again.get_preds(dl=again.dls.test_dl(valid_frame(learn, kind), with_labels=True), with_loss=True)[2],learn.get_preds(with_loss=True)[2]
    close(theirs, ours)
    with learn.no_bar(): assert (learner(kind, learn.model, tokenizer=learn.dls.tokenizer).get_preds(with_loss=True)[2]-ours).abs().max()>.05 # without weights it is another loss

def test_splitter_and_batch_size_are_remembered(bert):
    again = TransformersLearner.from_pretrained(learner('single', bert, splitter=layerwise_splitter, bs=7).save_pretrained('m'))
    assert again.splitter is layerwise_splitter and again.dls.train.bs==7

def of_ones_own(pred, targ): return 1.

@with_answers
def test_arguments_of_the_learner_are_passed_on(kind, folder):
    again = TransformersLearner.from_pretrained(folder, splitter=layerwise_splitter, metrics=of_ones_own, cbs=GradientClip(.5))
    assert again.splitter is layerwise_splitter
    assert [m.name for m in again.metrics]==['of_ones_own']
    if kind in KINDS: assert [m.name for m in TransformersLearner.from_pretrained(folder, metrics=accuracy).metrics]==['accuracy']
    else: # it would compare tokens, padding too
        with pytest.raises(ValueError, match='accuracy of fastai'): TransformersLearner.from_pretrained(folder, metrics=accuracy)
    assert again.gradient_clip.max_norm==.5

def test_the_models_own_loss_is_remembered_or_asked_for(kind, bert):
    learn = learner(kind, bert, SAME_WIDTH.get(kind, FRAMES[kind]), loss_func=ModelLoss())
    learn.save_pretrained('m')
    again = TransformersLearner.from_pretrained('m')
    assert again.predict_batch(valid_frame(learn, kind))==learn.predict_batch(valid_frame(learn, kind))
    rows = SAME_WIDTH.get(kind, FRAMES[kind]).iloc[learn.dls.valid_ds.items.idxs]
    with learn.no_bar(), again.no_bar(): close(again.validate(dl=again.dls.test_dl(rows, with_labels=True))[0], learn.validate()[0])

def test_own_code_is_not_saved_and_missed(bert):
    learn = learner('single', bert, loss_func=ModelLoss(), splitter=lambda m: [list(m.parameters())])
    learn.save_pretrained('m')
    with pytest.warns(UserWarning, match="loss_func 'ModelLoss'.*Pass loss_func="): TransformersLearner.from_pretrained('m')
    with pytest.warns(UserWarning, match="splitter '<lambda>'"): again = TransformersLearner.from_pretrained('m', loss_func=ModelLoss())
    assert isinstance(again.loss_func, ModelLoss) and again.predict_batch(TEXTS[:1])==learn.predict_batch(TEXTS[:1])
    assert TransformersLearner.from_pretrained('m', loss_func=ModelLoss(), splitter=trainable_params).splitter is trainable_params

def test_a_compiled_model_is_saved_plain(bert):
    learn = learner('single', bert)
    expected = learn.predict_logits(TEXTS[:2])
    learn.model = torch.compile(learn.model, backend='eager')
    again = TransformersLearner.from_pretrained(learn.save_pretrained('m'))
    assert torch.equal(again.predict_logits(TEXTS[:2]), expected)

def test_sides_that_were_set_later_come_back(bert, in_tmp):
    tok = load_tokenizer(bert)
    tok.padding_side = tok.truncation_side = 'left'
    learn = learner('single', bert, tokenizer=tok, max_length=8)
    again = TransformersLearner.from_pretrained(learn.save_pretrained('m'))
    assert again.dls.tokenizer.padding_side==again.dls.tokenizer.truncation_side=='left'
    with pytest.warns(UserWarning, match='cut'): assert again.predict_batch(TEXTS)==learn.predict_batch(TEXTS)
    assert 'truncation_side' not in learn.dls.tokenizer.init_kwargs

@pytest.mark.parametrize('set_later', [dict(model_input_names=['input_ids','attention_mask']), dict(split_special_tokens=True), dict(do_lower_case=False), dict(cls_token='[MASK]'), dict(add_eos_token=True)], ids=str)
def test_what_was_set_later_is_read_again(set_later):
    bert = scratch_checkpoint(TEXTS) # of a class of its own, which makes its parts anew
    tok = load_tokenizer(bert)
    for k,v in set_later.items(): setattr(tok, k, v)
    learn = learner('single', bert, tokenizer=tok)
    again = TransformersLearner.from_pretrained(learn.save_pretrained('m'))
    texts = ['A [SEP] great FILM', *TEXTS[:3]]
    ids,want = (o.dls.text_tfm.tokenize(texts)[0].flat[0].tolist() for o in (again, learn))
    assert ids==want
    assert again.dls.text_tfm.fields==learn.dls.text_tfm.fields and again.predict_batch(texts)==learn.predict_batch(texts)
    for o in ('m', learn, again): assert learner('single', o).dls.text_tfm.tokenize(texts)[0].flat[0].tolist()==want
    assert tokenizer_hash(again.dls.tokenizer)==tokenizer_hash(tok)

def test_special_tokens_that_are_split_are_told_apart(bert):
    tok = load_tokenizer(bert)
    before = tokenizer_hash(tok)
    learn = learner('single', bert, tokenizer=tok)
    def read(): return learn.dls.test_dl(['a [SEP] great film']).one_batch()[0].tolist(),learn.dls.text_tfm.tokenize(['a [SEP] great film'])[0].flat[0].tolist()
    whole = read()
    tok.split_special_tokens = True
    assert tokenizer_hash(tok)!=before and all(a!=b for a,b in zip(read(), whole))

def test_label_types_come_back(bert):
    for label,vocab in (([i%3 for i in range(48)],[0,1,2]), ([bool(i%2) for i in range(48)],[False,True])):
        again = TransformersLearner.from_pretrained(learner('single', bert, FRAMES['single'].assign(label=label)).save_pretrained('m'))
        assert list(again.dls.vocab)==vocab and type(again.dls.vocab[0]) is type(vocab[0])
        with again.no_bar(): assert np.isfinite(again.validate(dl=again.dls.test_dl(FRAMES['single'].assign(label=label), with_labels=True))[0])

LONG = ' '.join(TEXTS[:6])

@pytest.mark.parametrize('kwargs', [dict(max_length=12), dict(overlap=4), dict(max_length=12, overlap=2), dict(overlap=None), dict(max_length=None)], ids=str)
def test_reading_may_be_other_than_it_was(kwargs, bert):
    learn = learner('single', bert, max_length=24, overlap=None if 'overlap' in kwargs and kwargs['overlap'] else 3)
    again = TransformersLearner.from_pretrained(learn.save_pretrained('m'), bs=2, dl_kwargs=dict(megabatch=3), **kwargs)
    want = learner('single', learn.model, tokenizer=bert, **(dict(max_length=24, overlap=learn.dls.text_tfm.overlap) | kwargs))
    assert torch.equal(again.predict_logits([LONG, *TEXTS[:4]]), want.predict_logits([LONG, *TEXTS[:4]]))
    assert not torch.allclose(again.predict_logits([LONG]), learn.predict_logits([LONG]), rtol=0, atol=1e-6) # of a model that is not trained; rounding is a tenth of it
    assert (again.dls.train.bs,again.dls.train.megabatch)==(2,3)

@pytest.mark.parametrize('kwargs,message', [(dict(overlap=62), 'overlap=62 must be.*less than the 62'), (dict(max_length=65), 'max_length=65 is more than the 64'), (dict(max_length=2), 'no room for text'), (dict(overlap=-1), 'overlap=-1'),
    (dict(bs=0), 'bs=0'), (dict(bs=None), 'bs=None'), (dict(max_length='10'), "max_length='10'"), (dict(overlap=True), 'overlap=True')], ids=str)
def test_reading_that_cannot_be(kwargs, message, saved):
    with pytest.raises(ValueError, match=message): TransformersLearner.from_pretrained(saved['single'][1], **kwargs)
    with pytest.raises(ValueError, match='reads no text in windows'): TransformersLearner.from_pretrained(saved['choice'][1], overlap=2)

@pytest.mark.parametrize('name', ['x','y','rows','splits','task','tokenizer','vocab','options','class_weights','first_guess','dls','checkpoint','text','label','data','max_lenght','batch_size','nonsense'])
def test_what_the_folder_tells_is_no_argument(name, saved, monkeypatch):
    monkeypatch.setattr(transformers.AutoModelForSequenceClassification, 'from_pretrained', lambda *a, **k: pytest.fail('the model was loaded'))
    way = dict(max_lenght="did you mean 'max_length'", batch_size='bs= is', class_weights='pass loss_func=', nonsense='takes bs, max_length').get(name, 'the folder tells it')
    with pytest.raises(TypeError, match=f"no argument '{name}'.*{way}"): TransformersLearner.from_pretrained(saved['single'][1], **{name:'single_label_classification'})

@with_answers
def test_model_kwargs_of_a_reloaded_learner(kind, learn, folder):
    again = TransformersLearner.from_pretrained(folder, model_kwargs=dict(attn_implementation='eager', dtype=torch.float64))
    assert again.model.config._attn_implementation=='eager' and again.model.dtype is torch.float64
    if kind not in WRITING: assert json.loads(json.dumps(again.predict_batch(asked_of(kind, valid_frame(learn, kind))[:2])))

def test_model_kwargs_that_are_not_to_be_chosen(saved, monkeypatch):
    folder = saved['single'][1]
    assert TransformersLearner.from_pretrained(folder, model_kwargs=dict(use_safetensors=True, trust_remote_code=False, hidden_dropout_prob=.3)).model.config.hidden_dropout_prob==.3
    for kwargs,message in ((dict(trust_remote_code=True), 'pass trust_remote_code= itself'), (dict(use_safetensors=False), 'True is needed')):
        with pytest.raises(ValueError, match=f'model_kwargs hold {[*kwargs][0]}=.*{message}'): TransformersLearner.from_pretrained(folder, model_kwargs=kwargs)
    with pytest.raises(TypeError, match="model_kwargs hold 'id2label'"): TransformersLearner.from_pretrained(folder, model_kwargs=dict(id2label={0:'a'}))

@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_weights_keep_their_type(dtype, bert):
    learn = learner('single', bert, model_kwargs=dict(dtype=dtype))
    torch.nn.init.normal_(learn.model.classifier.weight)
    again = TransformersLearner.from_pretrained(learn.save_pretrained('m'))
    assert {p.dtype for p in again.model.parameters()}=={dtype} and again.predict_batch(TEXTS)==learn.predict_batch(TEXTS)
    as_kept = learner('single', 'm', model_kwargs=dict(dtype='auto'))
    assert as_kept.model.dtype is dtype and TransformersLearner.from_pretrained(as_kept.save_pretrained('n')).predict_batch(TEXTS)==learn.predict_batch(TEXTS)
    assert TransformersLearner.from_pretrained('m', model_kwargs=dict(dtype=torch.float32)).model.dtype is torch.float32
    assert learner('single', 'm').model.dtype is torch.float32 # half precision does not train well

def test_mixed_precision_leaves_the_type_of_weights(bert):
    learn = learner('single', bert, precision='bf16')
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    again = TransformersLearner.from_pretrained(learn.save_pretrained('m'), precision='bf16')
    assert {p.dtype for p in again.model.parameters()}=={torch.float32} and again.predict_batch(TEXTS)==learn.predict_batch(TEXTS)

# How the tokenizer is called

MARKED = ['a [SEP] great film', *TEXTS[:3]]
def by_hand(bert, **kwargs):
    block = DataBlock((TransformersTextBlock(bert, **kwargs), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'), splitter=RandomSplitter(seed=1))
    res = TransformersLearner(block.dataloaders(FRAMES['single'], bs=BS), bert)
    torch.nn.init.normal_(res.model.classifier.weight)
    return res

@pytest.mark.parametrize('kwargs', [dict(add_special_tokens=False), dict(split_special_tokens=True), dict(add_special_tokens=False, split_special_tokens=True, truncation='longest_first')], ids=str)
def test_settings_of_the_tokenizers_calls_come_back(kwargs, bert):
    learn = by_hand(bert, **kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        again = TransformersLearner.from_pretrained(learn.save_pretrained('m'))
        third = TransformersLearner.from_pretrained(again.save_pretrained('n'))
    assert 'call_settings' not in learn.dls.tokenizer.init_kwargs
    want = learn.predict_batch(MARKED)
    assert by_hand(bert).dls.test_dl(MARKED).one_batch()[0].tolist()!=learn.dls.test_dl(MARKED).one_batch()[0].tolist()
    others = again,third,learner('single', learn),learner('single', 'm'),learner('single', again)
    for o in others: assert o.predict_batch(MARKED)==want and o.dls.text_tfm.tokenizer_kwargs==kwargs
    over = by_hand(again, **{k:k=='add_special_tokens' for k in kwargs if k!='truncation'}) # what the user says goes first
    assert over.dls.test_dl(MARKED).one_batch()[0].tolist()==by_hand(bert).dls.test_dl(MARKED).one_batch()[0].tolist()
    assert TransformersLearner.from_pretrained(over.save_pretrained('o')).dls.text_tfm.tokenizer_kwargs==over.dls.text_tfm.tokenizer_kwargs

def test_settings_of_a_gap_fillers_tokenizer(bert):
    dls = DataBlock(MaskedLMBlock(bert, split_special_tokens=True), get_x=ColReader('text'), splitter=RandomSplitter(seed=1)).dataloaders(FRAMES['single'], bs=BS)
    learn = TransformersLearner(dls, bert)
    again = TransformersLearner.from_pretrained(learn.save_pretrained('m'))
    assert again.dls.test_dl(MARKED).one_batch()[0].tolist()==learn.dls.test_dl(MARKED).one_batch()[0].tolist()
    assert learner('single', 'm').dls.text_tfm.tokenizer_kwargs==dict(split_special_tokens=True)

def test_settings_that_are_lost_are_told(bert):
    learn = by_hand(bert, padding_side='right', add_special_tokens=False)
    with pytest.warns(UserWarning, match="called with padding_side='right', which no folder"): learn.save_pretrained('m')
    assert TransformersLearner.from_pretrained('m').dls.text_tfm.tokenizer_kwargs==dict(add_special_tokens=False)
    with pytest.warns(UserWarning, match="called with padding_side='right'"): learner('single', learn)

# Going on

def test_show_results_of_new_data(kind, learn, again, capsys):
    df = valid_frame(learn, kind)
    again.show_results(dl=again.dls.test_dl(df, with_labels=True), max_n=3, trunc_at=4, shuffle=False)
    out = capsys.readouterr().out
    assert ('prediction' in out or kind=='choice') and len(out.splitlines())==4
    assert ' '.join((df.one if kind=='pair' else df.text)[0].split()[:4]) in out

@with_answers
@pytest.mark.parametrize('how', first(['dls','checkpoint']))
def test_training_goes_on_with_new_data(how, kind, learn, folder, again):
    new = learner(kind, folder, table(kind, 32, seed=9), bs=4)
    assert not new.model.new_weights and output_names(new.dls)==VOCABS[kind]
    texts,rows = asked_of(kind, table(kind, 8, seed=9)),new.dls.valid
    with new.no_bar(), learn.no_bar(): close(*(l.get_preds(dl=rows, act=noop)[0] for l in (new,learn)), 1e-6)
    if how=='dls': again.dls = new.dls
    on = again if how=='dls' else new
    before = weights(on.model)
    with on.no_bar(), on.no_logging():
        on.fit_one_cycle(2, 1e-2, cbs=CSVLogger())
        on.show_results(max_n=2)
        assert changed(on.model, before)==set(before) and len(on.get_preds()[0])==8
        on.freeze()
        assert {n for n,p in on.model.named_parameters() if p.requires_grad}==head_names(kind, on.model)
    there = TransformersLearner.from_pretrained(on.save_pretrained('next'))
    assert there.predict_batch(texts)==on.predict_batch(texts)

@pytest.mark.parametrize('kind', ['single'])
def test_a_learner_without_rows_says_so(again):
    assert len(again.dls.train_ds)==len(again.dls.valid_ds)==0
    before = weights(again.model)
    with pytest.raises(ValueError, match='no (training )?rows'): again.fit(1)
    assert not changed(again.model, before)
    for look in (again.show_results, again.dls.show_batch, again.summary, again.dls.one_batch):
        with pytest.raises(ValueError, match='there are no rows: a learner that was loaded'): look()
    for kind in (Interpretation, ClassificationInterpretation):
        with again.no_bar(), pytest.raises(ValueError, match='no rows whose losses'): kind.from_learner(again)

# Failures

class Full(OSError): pass
def fail(*args, **kwargs): raise Full('no space left')

@pytest.mark.parametrize('place', ['model','tokenizer','facts'])
@pytest.mark.parametrize('error', [Full('no space left'), KeyboardInterrupt()], ids=['full','interrupt'])
def test_a_save_that_fails_half_way_leaves_the_previous_one(error, place, bert, in_tmp, monkeypatch):
    learn = learner('single', bert)
    learn.save_pretrained('m')
    before,was = hashes('m'),learn.predict_batch(TEXTS[:3])
    def stop(*args, **kwargs): raise error
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-2)
    target = dict(model=(type(learn.model), 'save_pretrained'), tokenizer=(type(learn.dls.tokenizer), 'save_pretrained'), facts=(json, 'dumps'))[place]
    with monkeypatch.context() as m:
        m.setattr(*target, stop)
        with pytest.raises(type(error)): learn.save_pretrained('m')
    assert hashes('m')==before and [p.name for p in in_tmp.iterdir()]==['m']
    assert TransformersLearner.from_pretrained('m').predict_batch(TEXTS[:3])==was
    assert TransformersLearner.from_pretrained(learn.save_pretrained('m')).predict_batch(TEXTS[:3])==learn.predict_batch(TEXTS[:3])!=was

@pytest.mark.parametrize('error', [Full('no space left'), KeyboardInterrupt()], ids=['full','interrupt'])
@pytest.mark.parametrize('nth', [1,2])
def test_a_failure_while_the_folders_change_places(nth, error, bert, in_tmp, monkeypatch):
    learn,calls,rename = learner('single', bert),[],Path.rename
    learn.save_pretrained('m')
    before = hashes('m')
    def stop(self, target):
        calls.append(target)
        if len(calls)==nth: raise error
        return rename(self, target)
    with monkeypatch.context() as m:
        m.setattr('blurlike.support.files.exchange', lambda a, b: False) # as where the system has no single step
        m.setattr(Path, 'rename', stop)
        with pytest.raises(type(error)): learn.save_pretrained('m')
    assert hashes('m')==before and [p.name for p in in_tmp.iterdir()]==['m']

@pytest.mark.parametrize('where', ['save.folder.check_folder','save.folder.load_tokenizer','train.assembly.load_transformer','save.folder.keep_facts'])
def test_a_folder_that_is_replaced_while_it_is_read(where, bert, monkeypatch):
    "Each file is of the save that was there at the end; before, labels of one save stood beside the weights of another."
    before,after = (learner('single', bert, vocab=vocab, max_length=n) for vocab,n in ((['bad','fine','good'], 12), (['good','bad','fine'], 24)))
    before.save_pretrained('m')
    module,_,name = f'blurlike.{where}'.rpartition('.')
    original,calls = getattr(importlib.import_module(module), name),[]
    def replacing(*args, **kwargs):
        calls.append(1)
        if len(calls)==1: after.save_pretrained('m')
        return original(*args, **kwargs)
    monkeypatch.setattr(f'{module}.{name}', replacing)
    again = TransformersLearner.from_pretrained('m')
    assert len(calls)==2 and again.names==after.names and again.dls.text_tfm.max_length==24
    assert torch.equal(again.predict_logits(TEXTS[:3]), after.predict_logits(TEXTS[:3]))
    monkeypatch.setattr(f'{module}.{name}', lambda *args, **kwargs: (after.save_pretrained('m'), original(*args, **kwargs))[1])
    with pytest.raises(OSError, match="'m' was replaced 10 times while it was read"): TransformersLearner.from_pretrained('m')

def test_a_first_save_that_fails_leaves_nothing(bert, in_tmp, monkeypatch):
    learn = learner('single', bert)
    monkeypatch.setattr(type(learn.dls.tokenizer), 'save_pretrained', fail)
    with pytest.raises(Full): learn.save_pretrained('deep/m')
    assert not (in_tmp/'deep'/'m').exists() and list(in_tmp.glob('deep/*'))==[]

def test_folders_that_are_no_save_are_left_alone(bert, in_tmp):
    learn = learner('single', bert)
    (in_tmp/'thesis').mkdir()
    (in_tmp/'thesis'/'chapter.txt').write_text('years of work')
    with pytest.raises(FileExistsError, match='thesis'): learn.save_pretrained('thesis')
    (in_tmp/'file').write_text('x')
    with pytest.raises(FileExistsError, match='file'): learn.save_pretrained('file')
    assert (in_tmp/'thesis'/'chapter.txt').read_text()=='years of work' and (in_tmp/'file').read_text()=='x'
    (in_tmp/'empty').mkdir()
    assert (learn.save_pretrained('empty')/'config.json').is_file()

def test_the_learner_goes_on_after_a_failed_save(bert, monkeypatch):
    learn = learner('single', bert)
    with monkeypatch.context() as m:
        m.setattr(type(learn.model), 'save_pretrained', fail)
        with pytest.raises(Full): learn.save_pretrained('m')
    before = weights(learn.model)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert changed(learn.model, before)==set(before)

# Folders that were tampered with

@pytest.fixture
def copy(bert, in_tmp): return learner('single', bert).save_pretrained('copy')

def edit(folder, **kwargs): # with all sums, as one who tampers would
    facts = json.loads((folder/'blurlike.json').read_text()) | kwargs
    write_facts(folder, {k:v for k,v in facts.items() if k not in ('sha256','facts_sha256')})
rehash = edit

@pytest.mark.parametrize('change,message', [(dict(vocab=['good','fine','bad']),'changed after saving.*good'), (dict(format_version=99),'version 99.*upgrade')], ids=['vocab','version'])
def test_changed_facts_are_refused(change, message, copy):
    edit(copy, **change)
    with pytest.raises(ValueError, match=message): TransformersLearner.from_pretrained(copy)

def test_an_unknown_task_is_refused(copy):
    edit(copy, task='poetry')
    with pytest.raises(KeyError, match='poetry.*single_label_classification'): TransformersLearner.from_pretrained(copy)

@pytest.mark.parametrize('how', ['missing','shape'])
def test_incomplete_weights_are_refused(how, copy):
    from safetensors.torch import load_file, save_file
    tensors = load_file(copy/'model.safetensors')
    if how=='missing': del tensors['classifier.weight']
    else: tensors['classifier.weight'] = torch.zeros(7,32)
    save_file(tensors, copy/'model.safetensors', metadata=dict(format='pt'))
    rehash(copy)
    with pytest.raises(ValueError, match='classifier.weight'): TransformersLearner.from_pretrained(copy)

def test_unexpected_weights_are_refused(copy):
    from safetensors.torch import load_file, save_file
    save_file(load_file(copy/'model.safetensors') | dict(extra=torch.zeros(3)), copy/'model.safetensors', metadata=dict(format='pt'))
    rehash(copy)
    with pytest.raises(ValueError, match='extra'): TransformersLearner.from_pretrained(copy)

def test_a_flipped_byte_is_noticed(copy):
    blob = bytearray((copy/'model.safetensors').read_bytes())
    blob[-100] ^= 64
    (copy/'model.safetensors').write_bytes(blob)
    with pytest.raises(ValueError, match='model.safetensors'): TransformersLearner.from_pretrained(copy)

def test_a_pickle_beside_the_weights_is_not_opened(copy):
    (copy/'model.safetensors').rename(copy/'away')
    torch.save({}, copy/'pytorch_model.bin')
    with pytest.raises(ValueError, match='model.safetensors.*missing'): TransformersLearner.from_pretrained(copy)

@pytest.mark.parametrize('name,error,message', [('./gone',FileNotFoundError,'gone.*does not exist'), ('runs/of/gone',FileNotFoundError,'gone.*does not exist'), ('bare',FileNotFoundError,'no blurlike.json.*checkpoint')])
def test_no_saved_folder(name, error, message, in_tmp):
    (in_tmp/'bare').mkdir()
    with pytest.raises(error, match=message): TransformersLearner.from_pretrained(name)

@pytest.mark.parametrize('where', ['.', '..', 'ABSOLUTE', 'link'])
def test_the_folder_one_works_in_is_not_replaced(where, trained, in_tmp, monkeypatch):
    learn = trained('single')
    learn.save_pretrained('saved')
    (in_tmp/'saved'/'mine').mkdir()
    here = in_tmp/'saved'/'mine' if where=='..' else in_tmp/'saved'
    (here/'link').symlink_to(here)
    monkeypatch.chdir(here)
    with pytest.raises(FileExistsError, match='is the folder you work in, or one above it'): learn.save_pretrained(here if where=='ABSOLUTE' else where)
    learn.save_pretrained('model') # the folder is still there
    assert (here/'model'/'config.json').exists()

def test_a_full_disk_is_an_error_of_the_system(trained, in_tmp, monkeypatch):
    from safetensors import SafetensorError
    learn = trained('single')
    def full(*args, **kwargs): raise SafetensorError('Error while serializing: I/O error: No space left on device (os error 28)')
    monkeypatch.setattr(type(learn.model), 'save_pretrained', full)
    with pytest.raises(OSError, match="'.*saved' could not be written: .*No space left"): learn.save_pretrained('saved')
    assert not list(in_tmp.iterdir())

def test_a_folder_tells_how_much_its_model_could_read(bert):
    "a learner that read less, such as one of blocks, is the checkpoint of one that reads as much as it can"
    short = learner('single', bert, max_length=12)
    short.save_pretrained('short')
    assert transformers.AutoTokenizer.from_pretrained('short').model_max_length==12 # other tools cut where it did
    back = TransformersLearner.from_pretrained('short')
    assert back.dls.text_tfm.max_length==12
    back.save_pretrained('again')
    lengths = [learner('single', c).dls.text_tfm.max_length for c in (bert, short, 'short', back, 'again')]
    assert len(set(lengths))==1 and lengths[0]>12

# What is more than its config

class MeanPooled(transformers.BertForSequenceClassification):
    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None, **kwargs):
        hidden = self.bert(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).last_hidden_state
        return SequenceClassifierOutput(logits=self.classifier(hidden.mean(1)))

class WithMore(MeanPooled):
    def __init__(self, config):
        super().__init__(config)
        self.more = torch.nn.Linear(3, 3)

class SavedAlong(MeanPooled): _auto_class = 'AutoModelForSequenceClassification'

def model_of(kind): return kind(transformers.BertConfig(vocab_size=400, max_position_embeddings=64, num_labels=3, initializer_range=.5, **SMALL))

def with_part(name, part):
    model = model_of(transformers.BertForSequenceClassification)
    owner,_,last = name.rpartition('.')
    setattr(model.get_submodule(owner), last, part)
    return model

OTHERWISE = dict(own=(lambda: model_of(MeanPooled), 'MeanPooled is a class of your own .*BertForSequenceClassification'),
    part=(lambda: with_part('bert.pooler.activation', torch.nn.GELU()), 'bert.pooler.activation of this BertForSequenceClassification is not'))
REFUSED = dict(more=(lambda: model_of(WithMore), 'WithMore is a class of your own'),
    head=(lambda: with_part('classifier', torch.nn.Sequential(torch.nn.Linear(32, 3), torch.nn.ReLU())), 'classifier of this BertForSequenceClassification is not'),
    bias=(lambda: with_part('classifier', torch.nn.Linear(32, 3, bias=False)), 'classifier of this BertForSequenceClassification is not'))

@pytest.mark.parametrize('case', OTHERWISE)
def test_a_model_that_would_answer_otherwise_is_told_of(case, bert, in_tmp):
    make,said = OTHERWISE[case]
    learn = learner('single', make(), tokenizer=bert)
    with pytest.warns(UserWarning, match=f'{said}.* may answer otherwise.*learn.export'): learn.save_pretrained('a')
    assert TransformersLearner.from_pretrained('a').predict_batch(TEXTS)!=learn.predict_batch(TEXTS)
    again = learner('single', make(), tokenizer='a') # the way that the warning tells
    again.model.load_state_dict(load_file('a/model.safetensors'))
    assert again.predict_batch(TEXTS)==learn.predict_batch(TEXTS)

@pytest.mark.parametrize('case', REFUSED)
def test_a_model_that_would_be_refused_is_told_of(case, bert, in_tmp):
    make,said = REFUSED[case]
    learn = learner('single', make(), tokenizer=bert)
    with pytest.warns(UserWarning, match=f'{said}.*`from_pretrained` refuses it'): learn.save_pretrained('a')
    with pytest.raises(ValueError): TransformersLearner.from_pretrained('a')

def test_what_a_config_holds_is_not_warned_of(bert, in_tmp, recwarn):
    lora = pytest.importorskip('peft').LoraConfig(target_modules=['query'])
    padding_free = learner('single', bert, padding_free=True)
    learner('single', bert).save_pretrained('a')
    for learn in (learner('single', model_of(SavedAlong), tokenizer=bert), learner('single', bert, peft=lora), padding_free): assert lost_code(learn)==('', False)
    assert lost_code(TransformersLearner.from_pretrained('a'))==('', False)
    assert not [w for w in recwarn if 'folder without code' in str(w.message)]

@with_answers
def test_no_kind_of_model_is_taken_for_another(learn): assert lost_code(learn)==('', False)
