"Texts as they come: what is cut, tokens that were added, odd items, adapters of every kind, devices by name."
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from datasets import Dataset, DatasetDict, Sequence, Value
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ColReader, IndexSplitter, RandomSplitter
from fastai.torch_core import set_seed
from runs import Cut
from small import ARCHS, BS, FRAMES, TEXTS, asked_of, close, direct_logits, first, learner
from test_checkpoints import Stop
from tokenizers.processors import TemplateProcessing

from blurlike.all import Checkpoints, TokenCategoryBlock, TokenizeText, TransformersLearner, TransformersTextBlock, export_onnx, load_learner, load_onnx, load_tokenizer, masked_lm_learner, sequence_classification_learner, token_classification_learner

pytestmark = pytest.mark.usefixtures('in_tmp')

def quiet(learn, f):
    with learn.no_bar(), learn.no_logging(): return f()

def said_in(f):
    "The cut-off warnings in a call of `f`."
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter('always')
        f()
    return [str(w.message) for w in record if 'longer than max_length' in str(w.message)]

# --- what is cut is told once

LOOKS = dict(batch=lambda learn: learn.dls.one_batch(), shown=lambda learn: learn.dls.show_batch(show=False), unique=lambda learn: learn.dls.train.show_batch(unique=True, show=False),
    shapes=lambda learn: learn.summary(), valid=lambda learn: learn.dls.valid.one_batch())

@pytest.mark.parametrize('kwargs', first([{}, dict(memory=0), dict(max_tokens=64)]), ids=['remembered','forgotten','tokens'])
@pytest.mark.parametrize('look', first(LOOKS, 2))
def test_a_look_at_a_batch_hides_no_cut(look, kwargs, bert):
    def said(first):
        learn = learner('single', bert, max_length=8, dl_kwargs=kwargs)
        early = said_in(lambda: LOOKS[look](learn)) if first else []
        return early+said_in(lambda: quiet(learn, lambda: learn.fit(1)))
    assert said(True)[-1:]==said(False) and len(said(False))==1 and ' of 36 texts' in said(False)[0] # the lengths of validation rows may have been told of before

def test_a_cut_is_told_once_a_learner(bert):
    learn = learner('single', bert, max_length=8)
    def use():
        for _ in range(2):
            quiet(learn, lambda: learn.fit(1))
            learn.predict_batch(TEXTS)
            learn.predict(max(TEXTS, key=len))
            quiet(learn, lambda: learn.get_preds(dl=learn.dls.test_dl(TEXTS)))
            quiet(learn, learn.validate)
    assert len(said_in(use))==1 and said_in(use)==[]
    learn.save_pretrained('m')
    learn.export('m.pkl')
    for again in (TransformersLearner.from_pretrained('m'), load_learner('m.pkl')): # another process, other eyes
        assert len(said_in(lambda: [again.predict_batch(TEXTS) for _ in range(2)]))==1

def test_a_prediction_hides_no_cut_in_training(bert):
    learn = learner('single', bert, max_length=8)
    assert said_in(lambda: learn.predict('the '*20))==['1 of 1 texts (100.0%) are longer than max_length=8: 14 of 22 tokens (63.6%) were cut off.']
    said, = said_in(lambda: quiet(learn, lambda: learn.fit(2)))
    assert ' of 36 texts' in said

@pytest.mark.parametrize('given', [True, False])
def test_advice_only_where_nobody_chose(given, bert):
    learn = learner('single', bert, pd.DataFrame(dict(text=['the '*90, 'film', 'town', 'river']*2, label=list('abab')*2)), max_length=64 if given else None)
    said, = said_in(lambda: quiet(learn, lambda: learn.fit(1)))
    assert said.endswith('were cut off.')==given and ('overlap=' in said)!=given

def test_words_that_were_cut_off_are_told_of_once(bert):
    df = pd.DataFrame(dict(tokens=[t.split()*2 for t in TEXTS[:12]], tags=[['O','B-X']*len(t.split()) for t in TEXTS[:12]]))
    learn = token_classification_learner(df, bert, max_length=8, valid=.25, bs=4)
    said = said_in(lambda: (quiet(learn, lambda: learn.fit(2)), [learn.predict_batch(df.tokens.tolist()) for _ in range(2)], learn.predict(df.tokens[0])))
    assert len(said)==2 and said[1].startswith('Words that were cut off get no prediction of their own.')

def test_a_cut_is_told_by_workers_too(bert):
    learn = learner('single', bert, max_length=8, dl_kwargs=dict(num_workers=1))
    assert said_in(lambda: (learn.dls.show_batch(show=False), quiet(learn, lambda: learn.fit(1))))==said_in(lambda: quiet(o := learner('single', bert, max_length=8), lambda: o.fit(1)))!=[]

# --- devices by name

@pytest.mark.parametrize('device', ['cpu', torch.device('cpu')], ids=repr)
@pytest.mark.parametrize('by', ['line','block','to'])
def test_a_device_by_its_name(by, device, bert):
    from blurlike.share.tracking import WandbCallback
    import wandb
    wandb.init(mode='disabled')
    if by=='block': learn = TransformersLearner(DataBlock((TransformersTextBlock(bert), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'), splitter=RandomSplitter(.25, 0)).dataloaders(FRAMES['single'], bs=BS, device=device), bert, precision='bf16')
    else: learn = learner('single', bert, precision='bf16', dl_kwargs=dict(device=device) if by=='line' else {})
    if by=='to': learn.dls.to(device)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        quiet(learn, lambda: learn.fit(1, cbs=WandbCallback(log_preds=False)))
    assert learn.dls.device==torch.device('cpu') and learn.gather_args()['device']=='cpu'

# --- tokens that were added

ADDED = ['<drug>','<date>','[NEW]']

def grown_tokenizer(folder, **special):
    tok = transformers.AutoTokenizer.from_pretrained(folder)
    tok.add_tokens(ADDED)
    if special: tok.add_special_tokens(special)
    return tok

def with_added(texts): return [f'<drug> {t} <date>' for t in texts]

def told_of_tokens(f):
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter('always')
        res = f()
    return res,[str(w.message) for w in record if 'embeddings grow' in str(w.message)]

MAKERS = dict(labels=lambda ck, **k: learner('single', ck, FRAMES['single'].assign(text=with_added(TEXTS)), **k),
    tags=lambda ck, **k: token_classification_learner(pd.DataFrame(dict(tokens=[t.split() for t in with_added(TEXTS)], tags=[['O']*(len(t.split())+1)+['B-DATE'] for t in TEXTS])), ck, valid=.25, bs=BS, **k),
    gaps=lambda ck, **k: masked_lm_learner(pd.DataFrame(dict(text=with_added(TEXTS))), ck, valid=.25, bs=BS, **k))
ITEMS = dict(labels=with_added(TEXTS[:3]), tags=[t.split() for t in with_added(TEXTS[:3])], gaps=['<drug> [MASK] <date>','<drug> <mask> <date>'])

def outputs(learn, task):
    items = [t for t in ITEMS[task] if task!='gaps' or learn.dls.tokenizer.mask_token in t]
    return learn.predict_batch(items)

def alike(a, b):
    "Predictions, their numbers to within five decimals."
    if isinstance(a, dict): return a.keys()==b.keys() and all(alike(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a)==len(b) and all(map(alike, a, b))
    return a==pytest.approx(b, abs=1e-5)

@pytest.mark.parametrize('task,arch', [('labels','bert'),('labels','roberta'),('tags','roberta'),('gaps','bert'), *(pytest.param(*o, marks=pytest.mark.slow) for o in
    [*(('labels',a) for a in ARCHS if a not in ('bert','roberta')), ('tags','bert'),('gaps','roberta'),('gaps','deberta'),('gaps','distilbert')])])
def test_added_tokens_are_learnt_and_saved(task, arch, checkpoints):
    ck = checkpoints(arch)
    tok,n = grown_tokenizer(ck),len(transformers.AutoTokenizer.from_pretrained(ck))
    learn,said = told_of_tokens(lambda: MAKERS[task](ck, tokenizer=tok))
    assert len(said)==1 and '3 more tokens' in said[0]
    assert '<drug>, <date>, [NEW]' in said[0] and f'from {n:,} to {n+3:,} rows' in said[0]
    table = learn.model.get_input_embeddings().weight
    assert learn.model.config.vocab_size==len(table)==len(tok)
    assert torch.allclose(table[n:].mean(0), table[:n].mean(0), atol=.05)
    out = learn.model.get_output_embeddings()
    assert out is None or out.weight is table
    before = table.detach().clone()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        quiet(learn, lambda: learn.fit(1, 1e-2))
        assert not torch.equal(before[tok.convert_tokens_to_ids('<drug>')], table[tok.convert_tokens_to_ids('<drug>')])
        want = outputs(learn, task)
        again,said = told_of_tokens(lambda: TransformersLearner.from_pretrained(learn.save_pretrained('m')))
        assert not said and alike(outputs(again, task), want)
        learn.export('m.pkl')
        assert alike(outputs(load_learner('m.pkl'), task), want)
        further,said = told_of_tokens(lambda: MAKERS[task](learn)) # a learner as checkpoint
        assert not said and len(further.model.get_input_embeddings().weight)==n+3

def test_added_tokens_for_a_loaded_model_and_a_learner(bert):
    tok,config = grown_tokenizer(bert),dict(num_labels=3)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(bert, **config)
    old = model.get_input_embeddings().weight.detach().clone()
    learn,said = told_of_tokens(lambda: learner('single', model, tokenizer=tok))
    assert len(said)==1 and learn.model is model
    assert model.config.vocab_size==len(tok)
    assert torch.equal(model.get_input_embeddings().weight[:len(old)], old)
    first = learner('single', bert)
    second,said = told_of_tokens(lambda: learner('single', first, tokenizer=tok))
    assert len(said)==1 and second.model.config.vocab_size==len(tok) and first.model.config.vocab_size==len(tok)-3
    dls = DataBlock((TransformersTextBlock(tok), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'), splitter=RandomSplitter(.25, 0)).dataloaders(FRAMES['single'], bs=BS)
    third,said = told_of_tokens(lambda: TransformersLearner(dls, bert))
    assert len(said)==1 and third.model.config.vocab_size==len(tok)

UNKNOWN = r'the tokenizer has [\d,]+ tokens, and \w+ has embeddings for [\d,]+: tokens were added. Call learn.model.resize_token_embeddings'

@pytest.mark.parametrize('kind', ['single','prompts','summaries', *(pytest.param(k, marks=pytest.mark.slow) for k in ('choice','answers','chats'))], indirect=True)
def test_tokens_that_are_added_to_a_learner(kind, checkpoint):
    "An `IndexError` of PyTorch's, on a GPU the end of the process; before that what is remembered is read anew."
    learn = learner(kind, checkpoint)
    df = FRAMES[kind][:2]
    quiet(learn, lambda: learn.fit(1, 1e-3))
    learn.dls.tokenizer.add_tokens(['fil'])
    new = learn.dls.tokenizer.convert_tokens_to_ids('fil')
    for call in (lambda: learn.predict_batch(df), lambda: learn.predict(asked_of(kind, df)[0]), learn.validate, learn.get_preds, lambda: learn.fit(1), learn.lr_find):
        with pytest.raises(ValueError, match=UNKNOWN): call()
    learn.model.resize_token_embeddings(len(learn.dls.tokenizer))
    before = learn.model.get_input_embeddings().weight.detach().clone()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        quiet(learn, lambda: learn.fit(1, 1e-3))
    assert any((x==new).any() for x,*_ in learn.dls.train)
    assert not torch.equal(learn.model.get_input_embeddings().weight[new], before[new])
    assert len(learn.predict_batch(df))==2

@pytest.mark.parametrize('arch', ['bert','gpt2','roberta','bart'])
def test_a_pad_token_of_ones_own(arch, checkpoints):
    tok = grown_tokenizer(checkpoints(arch), pad_token='<own pad>')
    learn,said = told_of_tokens(lambda: MAKERS['labels'](checkpoints(arch), tokenizer=tok))
    assert len(said)==1 and '4 more' in said[0]
    texts = with_added(TEXTS[:6])
    close(learn.predict_logits(texts), direct_logits(learn.model, tok, texts))
    close(TransformersLearner.from_pretrained(learn.save_pretrained('m')).predict_logits(texts), learn.predict_logits(texts))

def test_a_larger_table_stays(bert, tmp_path):
    model = transformers.AutoModel.from_pretrained(bert)
    model.resize_token_embeddings(512)
    model.save_pretrained(tmp_path/'large')
    tok = grown_tokenizer(bert)
    learn,said = told_of_tokens(lambda: learner('single', tmp_path/'large', tokenizer=tok))
    assert not said and learn.model.config.vocab_size==512==len(learn.model.get_input_embeddings().weight)

def test_added_tokens_in_a_resumed_run(bert):
    tok = grown_tokenizer(bert)
    def make():
        set_seed(3)
        return told_of_tokens(lambda: MAKERS['labels'](bert, tokenizer=tok))[0]
    whole = make()
    quiet(whole, lambda: whole.fit(2, 1e-2))
    cut = make()
    with pytest.raises(Stop): quiet(cut, lambda: cut.fit(2, 1e-2, cbs=[Checkpoints('run', steps=4), Cut('after_batch', 6, Stop('x'))]))
    again = make()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        quiet(again, lambda: again.resume('run', cbs=Cut('never', 1)))
    close(again.predict_logits(ITEMS['labels']), whole.predict_logits(ITEMS['labels']))

@pytest.mark.slow
def test_added_tokens_in_onnx(bert):
    for name in ('onnx','onnxscript','onnxruntime'): pytest.importorskip(name, reason=f'serving needs {name}')
    learn = told_of_tokens(lambda: MAKERS['labels'](bert, tokenizer=grown_tokenizer(bert)))[0]
    assert alike(load_onnx(export_onnx(learn, 'o')).predict_batch(ITEMS['labels']), learn.predict_batch(ITEMS['labels']))

# --- pairs in windows

def long_pairs(rows):
    df = FRAMES['pair'].copy()
    df.loc[rows, 'one'] = 'the film '*20
    return df

SOURCES = dict(frame=lambda df: df, dataset=Dataset.from_pandas, arrow=lambda df: df.convert_dtypes(dtype_backend='pyarrow'))

@pytest.mark.parametrize('source', SOURCES)
def test_long_first_texts_are_named_before_training(source, bert, capsys):
    with pytest.raises(ValueError, match=r'^rows 3, 17, 30: the first text of the pair has 40 tokens.*raise max_length'):
        learner('pair', bert, SOURCES[source](long_pairs([3,17,30])), max_length=32, overlap=4)
    assert 'one pass' not in capsys.readouterr().out
    with pytest.raises(ValueError, match=r'^rows 0, 1, 2, .*\(48 in all\)'): learner('pair', bert, long_pairs(range(48)), max_length=32, overlap=4)

def test_long_first_texts_are_named_in_loaders_and_predictions(bert, capsys):
    learn,df = learner('pair', bert, max_length=32, overlap=4),long_pairs([3,17,30])
    pairs = list(zip(df.one, df.two))
    for ask,what in ((lambda: learn.predict_batch(df), 'items 3, 17, 30'), (lambda: learn.predict_batch(pairs, bs=1), 'items 3, 17, 30'), (lambda: learn.get_preds(dl=learn.dls.test_dl(df)), 'rows 3, 17, 30'),
            (lambda: learn.predict(pairs[3]), 'item 0'), (lambda: list(learn.dls.test_dl(df, bs=1)), 'rows 3, 17, 30'), (lambda: list(learn.dls.test_dl(df, bs=1, megabatch=5)), 'rows 3, 17, 30')):
        with pytest.raises(ValueError, match=f'^{what}: the first text'), learn.no_bar(): ask()
    block = DataBlock((TransformersTextBlock(bert, max_length=32, overlap=4), CategoryBlock), get_x=lambda r: (r['one'], r['two']), get_y=ColReader('same'), splitter=IndexSplitter([40,41]))
    with pytest.raises(ValueError, match='^rows 0, 17, 30: the first text'): block.dataloaders(df.loc[[3,*range(3),*range(4,48)]], bs=BS)
    with pytest.raises(ValueError, match='^rows 3, 17, 30: the first text'): list(block.dataloaders(df, bs=BS).train)
    assert 'one pass' not in capsys.readouterr().out

def test_pairs_that_are_short_are_not_measured(bert, monkeypatch):
    monkeypatch.setattr(TokenizeText, 'raw_ids', lambda *a: 1/0)
    learn = learner('pair', bert, pd.concat([FRAMES['pair'].assign(one='the film')]*50), max_length=32, overlap=4)
    assert len(learn.dls.train_ds)>1000

# --- odd items

ODD = dict(none=None, nan=float('nan'), bytes=b'x', number=3, nested=['a',['b']], half=('a',None), missing=pd.NA, no_time=pd.NaT, three=['a','b','c'], numbers=[1,2], ids=np.array([1,2]), empty=[], set={'a'})
GOOD = dict(labels='a film', pairs=('a','film'), tags=['a','film'], gaps='a [MASK] film')

@pytest.fixture(scope='module')
def odd_learners(checkpoints):
    ck = checkpoints('bert')
    return dict(labels=learner('single', ck), pairs=learner('pair', ck), tags=MAKERS['tags'](ck, tokenizer=ck), gaps=masked_lm_learner(pd.DataFrame(dict(text=TEXTS)), ck, valid=.25, bs=BS))

@pytest.mark.parametrize('task', GOOD)
@pytest.mark.parametrize('name', ODD)
def test_odd_items_are_named(name, task, odd_learners):
    learn,odd = odd_learners[task],ODD[name]
    if task=='tags' and name in ('three','empty'): return # words
    for ask,where in ((lambda: learn.predict(odd), 'item 0'), (lambda: learn.predict_batch([GOOD[task], odd]), 'item 1'), (lambda: list(learn.dls.test_dl([GOOD[task], GOOD[task], odd])), 'item 2')):
        with pytest.raises(TypeError, match=f'^{where}: expected a (text|list of words|pair)'), learn.no_bar(): ask()

@pytest.mark.parametrize('task', GOOD)
@pytest.mark.parametrize('name', ['none','bytes','nested','half','three'])
def test_odd_rows_are_named(name, task, odd_learners):
    learn,columns = odd_learners[task],dict(labels='text', pairs=['one','two'], tags='tokens', gaps='text')[task]
    if task=='tags' and name=='three': return
    rows = [GOOD[task], ODD[name], GOOD[task], ODD[name]]
    df = pd.DataFrame({columns:rows}) if isinstance(columns, str) else pd.DataFrame(dict(one=['a']*4, two=['film',ODD[name]]*2))
    with pytest.raises((TypeError,ValueError), match='^rows 1, 3: expected'), learn.no_bar(): list(learn.dls.test_dl(df))

def test_texts_and_pairs_are_not_mixed(bert):
    tfm = TokenizeText(transformers.AutoTokenizer.from_pretrained(bert))
    for texts in (['ab',('a','b')], [('a','b'),'ab']):
        with pytest.raises(TypeError, match="texts and pairs of texts are mixed, e.g. 'ab'"): tfm.tokenize(texts)
    for texts in (['ab',None], [('a','b'),('a','b','c')], ['ab',['a','b','c']]):
        with pytest.raises(TypeError, match='expected a text'): tfm.tokenize(texts)

def test_numpy_strings_and_arrays_of_words(bert, tmp_path):
    learn = learner('single', bert)
    assert learn.predict_batch([np.str_('film'), np.array('film')])==learn.predict_batch(['film']*2)
    words,tags = [t.split() for t in with_added(TEXTS)],[['O']*(len(t.split())+1)+['B-DATE'] for t in TEXTS]
    pd.DataFrame(dict(tokens=words, tags=tags)).to_parquet(tmp_path/'w.parquet') # read back as arrays
    by_list,by_array = (token_classification_learner(d, bert, valid=.25, bs=BS) for d in (pd.DataFrame(dict(tokens=words, tags=tags)), tmp_path/'w.parquet'))
    for a,b in zip(by_list.dls.valid, by_array.dls.valid): assert all(torch.equal(x, y) for x,y in zip(a, b))
    assert by_list.predict_batch([np.array(words[0])])==by_list.predict_batch([words[0]])

# --- one way of reading

@pytest.mark.parametrize('kwargs', [dict(add_special_tokens=False), dict(add_special_tokens=False, max_length=8), dict(add_special_tokens=False, max_length=8, overlap=2), dict(max_length=8, overlap=2)], ids=str)
def test_arguments_of_the_tokenizer_count_in_predictions_of_words(kwargs, bert):
    words,tags = [t.split() for t in TEXTS],[['O']*(len(t.split())-1)+['B-X'] for t in TEXTS]
    block = DataBlock((TransformersTextBlock(bert, is_split_into_words=True, **kwargs), TokenCategoryBlock()), get_x=lambda i: words[i], get_y=lambda i: tags[i], splitter=IndexSplitter([0,1,2]))
    learn = TransformersLearner(block.dataloaders(list(range(len(words))), bs=BS), bert)
    with learn.no_bar(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        preds = learn.get_preds()[0]
        for i in range(3): close(learn.predict(words[i])[2], preds[i])
        assert len(learn.predict_batch(['a\ud800b film']))==1

# --- texts as they come from the wild

WILD = ['a\x00b film', '\x00', '\u200b', '\u200b\u200d\ufeff', 'a\u200bfilm', '\u200fפילם\u200e film', 'the film\r\nby the river\r\n', 'the\tfilm\x0b\x0c', 'cafe\u0301 film', '\u2028film\u2029', 'film '*20_000]

@pytest.mark.parametrize('arch', ['bert','roberta','gpt2'])
def test_wild_texts_have_the_tokens_of_the_tokenizer(arch, checkpoints):
    tok = load_tokenizer(checkpoints(arch))
    for limit in (None, 8):
        tfm = TokenizeText(tok, limit)
        tokens = tfm.tokenize(WILD)[0]
        for i,text in enumerate(WILD):
            want = tok(text, verbose=False, **dict(truncation=True, max_length=limit) if limit else {})['input_ids']
            assert tokens.pick(np.array([i])).flat[0].tolist()==want

BOTH = pytest.mark.parametrize('source', [lambda df: df, Dataset.from_pandas], ids=['frame','dataset'])

@BOTH
def test_a_column_of_token_ids_is_refused(source, bert):
    "Under any name but that which Hugging Face gives it."
    tok = load_tokenizer(bert)
    with pytest.raises(TypeError, match="column 'ids' must hold text.*name the column of the texts.*in a column 'input_ids'") as e: learner('single', bert, source(FRAMES['single'].assign(ids=[tok(t)['input_ids'] for t in TEXTS])), text='ids')
    assert 'astype' not in str(e.value) # which would make texts like '[2, 17, 3]'

def tokenised(bert, df=FRAMES['single'], **kwargs): return df.assign(**load_tokenizer(bert)(df.text.tolist(), **kwargs)) # a tokenizer, or the place of one

def fitted(learn):
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    return learn.validate(),learn.predict_batch(TEXTS[:4])

@BOTH
@pytest.mark.parametrize('padded', [False,True])
def test_texts_that_are_tokenised_already(source, padded, bert, in_tmp):
    "The same numbers as from the texts: tokens are taken as they are, but for padding."
    df = tokenised(bert, **dict(padding='max_length', max_length=40) if padded else {})
    want = fitted(plain := learner('single', bert))
    assert fitted(learn := learner('single', bert, source(df), text='input_ids'))==want
    rows = source(df[:4])
    for ask in (rows, df.input_ids[:4].tolist(), TEXTS[:4]): assert learn.predict_batch(ask)==want[1]
    assert learn.predict(df.input_ids[0])[0]==want[1][0]['label']
    read = [learn.dls.tokenizer.decode(o, skip_special_tokens=True) for o in df.input_ids[:4]]
    assert len(found := learn.uncertain(rows, 2))==2 and [*found.text]==[read[i] for i in found.row]
    assert learn.validate(dl=learn.dls.test_dl(source(df[:12]), with_labels=True))==plain.validate(dl=plain.dls.test_dl(df[:12], with_labels=True))
    again = TransformersLearner.from_pretrained(learn.save_pretrained('saved'))
    assert again.predict_batch(rows)==want[1]
    assert repr(learn.check())==repr(plain.check())
    with pytest.raises(TypeError, match='token ids have no words'): learn.explain(df.input_ids[0])

def test_token_ids_that_code_reads(bert):
    rows = tokenised(bert).to_dict('records')
    def made(name): return TransformersLearner(DataBlock((TransformersTextBlock(bert), CategoryBlock), get_x=lambda r: r[name], get_y=lambda r: r['label'], splitter=IndexSplitter(range(12))).dataloaders(rows, bs=BS), bert)
    set_seed(0)
    plain = made('text')
    set_seed(0)
    learn = made('input_ids')
    assert learn.validate()==plain.validate() and learn.predict_batch(rows[:4])==plain.predict_batch(rows[:4])==learn.predict_batch(TEXTS[:4])

def test_gaps_in_texts_that_are_tokenised_already(bert):
    df = tokenised(bert)
    plain,learn = (masked_lm_learner(df, bert, text=c, valid=.25, bs=BS) for c in ('text','input_ids'))
    assert learn.validate()==plain.validate() and learn.predict('a [MASK] film')[0]==plain.predict('a [MASK] film')[0]
    for size in (0,16):
        with pytest.raises(ValueError, match='whole_word=True needs texts'): masked_lm_learner(df, bert, text='input_ids', valid=.25, bs=BS, whole_word=True, block_size=size)
    for special in (True,False): # the blocks are those of the texts, whether or not there is something around each
        df = tokenised(bert, add_special_tokens=special)
        blocks,same = (masked_lm_learner(df, bert, text=c, valid=.25, bs=BS, block_size=16).dls for c in ('text','input_ids'))
        assert len(blocks.train_ds)==len(same.train_ds)>2
        for i in range(len(blocks.train_ds)): assert blocks.train_ds.tls[0].items[i]['text'].tolist()==same.train_ds.tls[0].items[i]['input_ids'].tolist()

def test_padding_that_is_the_end_of_a_text(checkpoints):
    tok = transformers.AutoTokenizer.from_pretrained(checkpoints('gpt2'))
    tok.pad_token = tok.eos_token
    tfm,end = TokenizeText(tok),tok.eos_token_id
    def own(tfm): return [tfm.own_ids(o).tolist() for o in ([7,8], [7,8,end], [7,8,end,end,end], [end,7,8], [end]*4+[7,8])]
    assert own(tfm)==[[7,8], [7,8,end], [7,8,end], [end,7,8], [7,8]]
    tok.padding_side = 'left'
    assert own(TokenizeText(tok))==[[7,8], [7,8,end], [7,8,end], [7,8], [7,8]]
    tok._tokenizer.post_processor = TemplateProcessing(single=f'{tok.eos_token} $A', special_tokens=[(tok.eos_token, end)])
    assert own(TokenizeText(tok))[3:]==[[end,7,8]]*2, 'the tokenizer sets it'

@pytest.mark.parametrize('side', ['left','right'])
def test_padding_on_either_side_where_the_end_pads(side, checkpoints):
    tok = transformers.AutoTokenizer.from_pretrained(checkpoints('gpt2'), padding_side=side)
    tok.pad_token = tok.eos_token
    padded = tokenised(tok, padding=True)
    learn = learner('single', checkpoints('gpt2'), padded, text='input_ids', tokenizer=tok)
    assert learn.predict_batch(padded)==learn.predict_batch(TEXTS)

ODD_IDS = dict(beyond=([2,10**6], "rows? .*token id 1000000 is none of this tokenizer's"), negative=([-1,5], 'token id -1 is none'), long=([7]*600, '600 token ids are more than max_length=64'), none=([], "'input_ids' holds no tokens in row 5: drop"))

@pytest.mark.parametrize('name', ODD_IDS)
def test_odd_token_ids(name, bert):
    ids,said = ODD_IDS[name]
    df = tokenised(bert)
    df.at[5,'input_ids'] = ids
    with pytest.raises(ValueError, match=said): fitted(learner('single', bert, df, text='input_ids', max_length=64))

def test_token_ids_of_one_length(bert):
    df = tokenised(bert, padding='max_length', max_length=40)
    ds = Dataset.from_pandas(df[['input_ids','label']]).cast_column('input_ids', Sequence(Value('int32'), length=40))
    assert learner('single', bert, ds, text='input_ids').predict_batch(ds)==learner('single', bert, df, text='input_ids').predict_batch(TEXTS)

def test_token_ids_that_a_csv_file_holds_as_text(bert, in_tmp):
    tokenised(bert)[['input_ids','label']].to_csv('rows.csv', index=False)
    with pytest.raises(ValueError, match="'input_ids' holds lists written as text.*json.loads"): learner('single', bert, 'rows.csv', text='input_ids')

def test_token_ids_where_texts_are_read(bert):
    with pytest.raises(TypeError, match="got token ids, which a learner takes that reads them from a column 'input_ids'; this one reads 'text'"): learner('single', bert).predict([5,6,7])

def test_token_ids_of_pairs(bert):
    df = FRAMES['pair']
    df = df.assign(**load_tokenizer(bert)(df.one.tolist(), df.two.tolist()))
    with pytest.raises(ValueError, match="'token_type_ids' marks second texts.*Pass both texts"): sequence_classification_learner(df, bert, text='input_ids', label='same')
    with pytest.raises(ValueError, match='overlap= needs texts'): learner('single', bert, tokenised(bert), text='input_ids', overlap=2, max_length=16)

def test_a_pair_is_no_single_text(bert):
    block = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'), splitter=RandomSplitter(seed=1))
    for learn in (learner('single', bert), TransformersLearner(block.dataloaders(FRAMES['single'], bs=8), bert)):
        for call in (lambda o: learn.predict(o), lambda o: learn.predict_batch([o])):
            with pytest.raises(TypeError, match='got a pair: this learner reads one text'): call(('who?','where?'))
        with pytest.raises(TypeError, match='got a list of 2'): learn.predict(['who?','where?'])
    assert len(learner('pair', bert).predict(('who?','where?'))[2])==2

@pytest.mark.parametrize('name', ['valid.txt','dev.txt','test.txt','train.txt'])
def test_one_file_is_cut_whatever_its_name(name, bert):
    Path(name).write_text('\n'.join(TEXTS))
    learn = masked_lm_learner(name, bert, bs=8)
    assert (len(learn.dls.train_ds), len(learn.dls.valid_ds))==(10, 3)

def test_a_validation_part_alone(bert):
    with pytest.raises(ValueError, match="part 'validation' and none to train on: .*data\\['validation'\\]"): learner('single', bert, DatasetDict(validation=Dataset.from_pandas(FRAMES['single'])))

def test_texts_in_a_column_of_that_name(bert):
    "that begin as a list would"
    df = FRAMES['single'].assign(input_ids=['[1] '+t for t in TEXTS])
    assert learner('single', bert, df, text='input_ids').dls.train_ds[0]
