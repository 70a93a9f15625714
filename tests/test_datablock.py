"Loaders of a `DataBlock` take rows of every kind, in the form in which its functions got theirs."
import random
from operator import itemgetter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from datasets import Dataset
from fastai.callback.core import CancelBatchException
from fastai.data.core import Datasets, TfmdLists
from fastai.data.load import SkipItemException
from fastai.data.transforms import Categorize, ItemGetter
from fastcore.foundation import L
from fasttransform import Pipeline

from blurlike.all import (Callback, CategoryBlock, ColReader, CrossEntropyLossFlat, DataBlock, MaskedLMBlock, MultiCategoryBlock, FetchPredsCallback, Interpretation, Metric, IndexSplitter, RandomSplitter, RegressionBlock, TransformersLearner, TransformersTextBlock, TokenTensor, Transform, load_learner,
    sequence_classification_learner)
from blurlike.data.batch import TransformersDL
from blurlike.data.rows import Rows
from blurlike.data.tokens import TokenizeText
from blurlike.model.pretrained import label_maps
from blurlike.model.text_limit import max_positions
from blurlike.model.tokenizer import load_tokenizer
from small import SMALL, close, learner

def text_attribute(r): return r.text
def text_entry(r): return r['text']

def of_block(bert, get_x, get_y, source):
    dls = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock), get_x=get_x, get_y=get_y, splitter=RandomSplitter(seed=1)).dataloaders(source, bs=4)
    return TransformersLearner(dls, bert),dls

BLOCK_ROWS = [dict(text=t, label='p' if 'good' in t else 'n') for t in ['a good film','a bad film','good','bad bad']*4]
READERS = dict(columns=(ColReader('text'), ColReader('label'), pd.DataFrame(BLOCK_ROWS)), attributes=(text_attribute, ColReader('label'), pd.DataFrame(BLOCK_ROWS)),
    entries=(text_entry, itemgetter('label'), BLOCK_ROWS))
TABLES = dict(frame=pd.DataFrame, dataset=Dataset.from_list, dicts=list, series=lambda rows: [pd.Series(r) for r in rows])

@pytest.mark.parametrize('readers', READERS)
@pytest.mark.parametrize('table', TABLES)
def test_a_datablock_takes_every_kind_of_row(readers, table, bert, in_tmp):
    learn,dls = of_block(bert, *READERS[readers])
    assert learn.dls is dls
    learn.export('learn.pkl')
    want = learn.predict_logits([r['text'] for r in BLOCK_ROWS[:4]])
    rows = TABLES[table](BLOCK_ROWS[:4])
    if readers=='entries' and table=='series': rows = BLOCK_ROWS[:4] # its rows were dicts
    for made in (learn, load_learner('learn.pkl')):
        torch.testing.assert_close(made.predict_logits(made.texts_of(rows)), want)
        torch.testing.assert_close(made.get_preds(dl=made.dls.test_dl(rows))[0], want.softmax(-1))
    preds,targets = learn.get_preds(dl=learn.dls.test_dl(rows, with_labels=True))
    assert [learn.names[i] for i in targets]==[r['label'] for r in BLOCK_ROWS[:4]]
    torch.testing.assert_close(preds, want.softmax(-1))

PLACED = pd.DataFrame([dict(other='bad '*k, label=r['label'], text=r['text'], third='film') for k,r in enumerate(BLOCK_ROWS)])
def first_of(r): return r.iloc[0]
def named_rows(r): return f'{r.text} {r.name}'
def labels_from(r): return r.iloc[1]
PLACES = dict(numbers=(ColReader(2), ColReader(1), PLACED), first=(first_of, labels_from, PLACED[['text','label','other']]), headless=(ColReader(0), ColReader(1), PLACED[['text','label']].set_axis([0, 1], axis=1)),
    named=(named_rows, ColReader('label'), PLACED.set_axis([f'film {i}' for i in range(len(PLACED))])))

@pytest.mark.parametrize('given', ['frame','dicts'])
@pytest.mark.parametrize('readers', PLACES)
def test_what_is_read_by_its_place_is_read_so_in_new_rows(readers, given, bert, in_tmp):
    get_x,get_y,df = PLACES[readers]
    learn,dls = of_block(bert, get_x, get_y, df)
    texts = [get_x(df.iloc[i]) for i in range(len(df))]
    if given=='dicts' and readers=='named': return # a dict has no name
    rows = df if given=='frame' else df.to_dict('records')
    want = learn.predict_logits(texts)
    torch.testing.assert_close(learn.predict_logits(learn.texts_of(rows)), want)
    preds,targets = learn.get_preds(dl=dls.test_dl(rows, with_labels=True))
    torch.testing.assert_close(preds, want.softmax(-1))
    assert [learn.names[i] for i in targets]==PLACED.label.tolist()
    learn.predict_batch(rows, out='out.jsonl')
    assert pd.read_json('out.jsonl', lines=True).label.tolist()==[o['label'] for o in learn.predict_batch(texts)]

def test_rows_as_dicts_keep_the_order_of_the_columns():
    df = pd.DataFrame([[1, 2, 3]], columns=['b','a','b'])
    assert list(Rows(df)[0].items())==[('b', 1), ('a', 2)]

class LastWord(Transform):
    def encodes(self, x:str): return x.split()[-1]
def last_word(t): return t.split()[-1]
class Other(Callback): "One of the user's"
class OtherFirst(Transform):
    def encodes(self, x:TokenTensor):
        x = x.clone()
        x[:,0,1] = 9 # another word at the beginning
        return x
CHANGES = dict(item=dict(item_tfms=LastWord()), getter=dict(get_x=Pipeline([ColReader('text'), last_word])), batch=dict(batch_tfms=OtherFirst()))

@pytest.mark.parametrize('how', CHANGES)
def test_what_changes_a_text_changes_it_in_predictions_too(how, bert, in_tmp):
    rows = pd.DataFrame(BLOCK_ROWS)
    getters = dict(get_x=ColReader('text'), get_y=ColReader('label')) | CHANGES[how]
    dls = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock), splitter=RandomSplitter(seed=1), **getters).dataloaders(rows, bs=4)
    learn = TransformersLearner(dls, bert)
    with learn.no_bar(), learn.no_logging(): learn.fit(8, 1e-2) # so that texts differ
    learn.export('learn.pkl')
    some,texts = rows[:4],rows.text[:4].tolist()
    want = learn.get_preds(dl=learn.dls.test_dl(some))[0]
    assert want.std(0).max()>.01
    for made in (learn, load_learner('learn.pkl')):
        for given in (some, texts): torch.testing.assert_close(torch.tensor([o['score'] for o in made.predict_batch(given)]), want.max(1).values)
        torch.testing.assert_close(torch.stack([made.predict(t)[2] for t in texts]), want)
        made.add_cb(Other())
        torch.testing.assert_close(torch.stack([made.predict(t)[2] for t in texts]), want) # by way of fastai's own
    with pytest.warns(UserWarning, match="texts are changed by .*(LastWord|last_word|OtherFirst), which a folder"): learn.save_pretrained('saved')
    if how!='batch':
        with pytest.raises(IndexError, match='item 1: list index'): learn.predict_batch(['good', ' '])

@pytest.mark.parametrize('passes', [0, 1])
def test_transforms_that_come_later(passes, bert):
    "What was remembered of the texts before is forgotten."
    learn = learner('single', bert)
    with learn.no_bar(), learn.no_logging(): learn.fit(passes, 1e-3)
    learn.dls.add_tfms([LastWord()], 'after_item')
    tfm = learn.dls.text_tfm
    for dl in learn.dls.loaders: assert all(len(str(tfm.decode(o)).split())==1 for x,_ in dl for o in x)

@pytest.mark.parametrize('items,match', [(dict(text=['a','b']), "this dict has 'text'"), ('a good film', 'takes a list of texts'), ([3], 'item 0.*got int'),
    ([('a good film','p')], 'item 0.*one text a row'), ((o for o in 'ab'), 'generator')])
def test_what_a_datablock_cannot_read(items, match, bert):
    learn,_ = of_block(bert, *READERS['columns'])
    with pytest.raises(TypeError, match=match): learn.dls.test_dl(items)

def test_rows_of_tuples(bert):
    pairs = [(r['text'], r['label']) for r in BLOCK_ROWS]
    learn,_ = of_block(bert, ItemGetter(0), ItemGetter(1), pairs)
    want = learn.get_preds(dl=learn.dls.test_dl([t for t,_ in pairs[:3]]))[0]
    preds,targets = learn.get_preds(dl=learn.dls.test_dl(pairs[:3], with_labels=True))
    torch.testing.assert_close(preds, want)
    assert [learn.names[i] for i in targets]==[y for _,y in pairs[:3]]
    for call in (learn.dls.test_dl, learn.predict_batch):
        with pytest.raises(TypeError, match='item 0: expected a text.*got dict'): call(BLOCK_ROWS[:2])
    assert len(learn.dls.test_dl([]))==0

@pytest.mark.parametrize('kind', ['single','multi','regression'])
def test_a_head_begins_as_that_of_a_table(kind, bert):
    table = learner(kind, bert)
    for made in (sequence_classification_learner(table.dls, bert), TransformersLearner(table.dls, bert)):
        assert made.model.classifier.bias.allclose(table.model.classifier.bias) and table.model.classifier.bias.any()

def test_the_head_of_a_block_of_functions_begins_with_frequencies(bert):
    learn,dls = of_block(bert, *READERS['entries'])
    counts = torch.bincount(torch.tensor([dls.vocab.o2i[r['label']] for r in dls.train_ds.items]), minlength=2)+1
    assert torch.allclose(learn.model.classifier.bias, (counts/counts.sum()).log())
    weighed = TransformersLearner(dls, bert, loss_func=CrossEntropyLossFlat(weight=torch.tensor([1.,3.])))
    assert not weighed.model.classifier.bias.any()

@pytest.mark.parametrize('kwargs,said', [(dict(max_len=8), "no argument 'max_len'; did you mean 'max_length'"), (dict(trunction=True), "did you mean 'truncation'"), (dict(foo=3), "'foo': these go to each call of the tokenizer")])
@pytest.mark.parametrize('block', [TransformersTextBlock, MaskedLMBlock])
def test_a_block_refuses_what_no_tokenizer_reads(block, kwargs, said, bert):
    with pytest.raises(TypeError, match=said): block(bert, **kwargs)
    block(bert, add_special_tokens=False) if block is TransformersTextBlock else block(bert, max_length=9)


# What is read may be another text each time

class DropAWord(Transform):
    "Of training rows: another text in each pass"
    split_idx = 0
    def __init__(self): self.rng = random.Random(0)
    def encodes(self, x:str):
        words = x.split()
        words.pop(self.rng.randrange(len(words)))
        return ' '.join(words)

class FirstWord(Transform):
    split_idx = 0
    def encodes(self, x:str): return x.split()[0]

LONG_ROWS = [dict(text=f'{"good" if i%2 else "bad"} a film the it was is {i%7}', label='p' if i%2 else 'n') for i in range(24)]

def of_long_rows(bert, dl_kwargs=None, **kwargs):
    dls = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'), splitter=RandomSplitter(.25, seed=1),
        **kwargs).dataloaders(pd.DataFrame(LONG_ROWS), bs=4, **(dl_kwargs or {}))
    return TransformersLearner(dls, bert),dls

def texts_of(dl): # by the places of their rows
    return {int(i): tuple(row[0][row[0]>0].tolist()) for x,_ in dl for row,i in zip(x, dl.now)}

LOOKS = dict(get_preds=lambda l: l.get_preds(ds_idx=0), tta=lambda l: l.tta(ds_idx=0, n=1), loader=lambda l: list(l.dls.train.new(shuffle=False)),
    losses=lambda l: Interpretation.from_learner(l, ds_idx=0), during=lambda l: l.fit(1, 1e-3, cbs=FetchPredsCallback(ds_idx=0)))

@pytest.mark.parametrize('how', LOOKS)
def test_a_look_at_training_rows_freezes_nothing(how, bert):
    learn,dls = of_long_rows(bert, item_tfms=DropAWord())
    with learn.no_bar(), learn.no_logging(): LOOKS[how](learn)
    one,two = texts_of(dls.train),texts_of(dls.train)
    assert len(one)==18 and sum(one[i]==two[i] for i in one)<9

@pytest.mark.parametrize('seen', [False, True])
def test_tta_augments_and_leaves_no_trace(seen, bert):
    learn,_ = of_long_rows(bert, item_tfms=FirstWord())
    torch.nn.init.normal_(learn.model.classifier.weight) # so that texts differ
    valid = learn.dls.valid_ds.items.text.tolist()
    if seen: learn.validate()
    whole,first = (learn.predict_logits(t).softmax(-1) for t in (valid, [t.split()[0] for t in valid]))
    close(learn.tta(n=2, beta=0)[0], first, 1e-5)
    close(learn.get_preds()[0], whole, 1e-5)
    assert not torch.allclose(whole, first, atol=1e-4)

def test_rows_that_were_changed_by_hand_are_read_as_they_are(bert):
    learn,dls = of_long_rows(bert)
    learn.get_preds(ds_idx=0)
    learn.validate()
    for part in (dls.train_ds, dls.valid_ds):
        part.tls[1].items['label'] = 'p'
        part.tls[0].items['text'] = 'good'
    good = dls.tokenizer('good').input_ids
    for dl in dls: assert {y for _,ys in dl for y in ys.tolist()}=={1} and {*texts_of(dl).values()}=={tuple(good)}
    assert set(learn.get_preds()[1].tolist())=={1}

class EveryOther(TransformersDL):
    def get_idxs(self): return super().get_idxs()[::2]

def test_a_loader_with_rows_of_its_own_choice(bert):
    learn,_ = of_long_rows(bert, dl_type=EveryOther)
    learn.metrics = L(Count())
    assert learn.validate()[1]==3 and len(learn.get_preds()[0])==3

class Count(Metric):
    name = 'rows'
    def reset(self): self.n = 0
    def accumulate(self, learn): self.n += len(learn.y)
    @property
    def value(self): return self.n

class SkipShort(Transform):
    def encodes(self, x:str):
        if x.endswith(' 6'): raise SkipItemException()
        return x

def test_rows_that_a_transform_skips_are_not_validated_on(bert):
    learn,dls = of_long_rows(bert, item_tfms=SkipShort())
    n = sum(not t.endswith(' 6') for t in dls.valid_ds.items.text)
    learn.metrics = L(Count())
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert learn.recorder.values[-1][-1]==n<len(dls.valid_ds)
    with pytest.raises(ValueError, match='skips items'): learn.get_preds()

class CancelsFirst(Callback):
    steps = 0
    def before_batch(self):
        if self.training and self.iter==0: raise CancelBatchException()
    def after_step(self): self.steps += 1

def test_a_first_batch_may_be_cancelled(bert):
    learn,_ = of_long_rows(bert)
    first = CancelsFirst()
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3, cbs=first)
    assert first.steps==len(learn.dls.train)-1

class HearsAll(Callback):
    def __init__(self): self.heard = []
    def __call__(self, event_name):
        self.heard.append(event_name)
        super().__call__(event_name)

class PassesOn(Callback):
    def __init__(self, other): self.other = other
    def __getattr__(self, k): return getattr(self.__dict__['other'], k) if k=='after_batch' else super().__getattr__(k)

def test_callbacks_that_find_events_in_their_own_way_hear_them(bert):
    learn,_ = of_long_rows(bert)
    every,batches = HearsAll(),[]
    other = SimpleNamespace(after_batch=lambda: batches.append(1))
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3, cbs=[every, PassesOn(other)])
    assert every.heard.count('after_batch')==len(batches)==len(learn.dls.train)+len(learn.dls.valid) and 'before_step' in every.heard

def begun(): "Called in each worker, without arguments"

def test_workers_begin_as_with_fastai(bert):
    _,dls = of_long_rows(bert, dict(num_workers=1, wif=begun))
    assert len(texts_of(dls.train))==18

def test_lists_without_targets_are_no_rows(bert):
    tfm = TokenizeText(load_tokenizer(bert))
    with pytest.raises(TypeError, match='`Datasets` are read, got TfmdLists'): TfmdLists(['a','b'], [tfm]).dataloaders(dl_type=TransformersDL)
    dls = Datasets(BLOCK_ROWS, [[itemgetter('text'), tfm], [itemgetter('label'), Categorize()]], splits=[range(8), range(8, 16)]).dataloaders(bs=4)
    with pytest.raises(TypeError, match='dl_type=TransformersDL'): TransformersLearner(dls, bert)

def test_numbers_of_numpy_are_labels():
    assert label_maps([np.int64(3), np.float32(.5)])==label_maps([3, .5]) and label_maps(np.array([True, False]))['id2label']=={0:'True',1:'False'}

FRAME = pd.DataFrame(dict(text=[f'a {w} film' for w in 'good bad it was good is'.split()]*3, other=['the', 'a b']*9,
    label=pd.Series(['p','n']*9, dtype='string'), kind=pd.Categorical(['x','y','z']*6, categories=['z','y','x','w']), flag=[True, False]*9,
    number=pd.array([1, 2, 3]*6, dtype='Int64'), score=np.arange(18)/7, several=['p|q','q','']*6))
COLUMNS = dict(text=(ColReader('text'), CategoryBlock, ColReader('label')), category=(ColReader('text'), CategoryBlock, ColReader('kind')),
    flag=(ColReader('text'), CategoryBlock, ColReader('flag')), whole=(ColReader('text'), CategoryBlock, ColReader('number')),
    number=(ColReader('text'), RegressionBlock, ColReader('score')), numbers=(ColReader('text'), lambda: RegressionBlock(n_out=2), ColReader(['score','number'])),
    pair=(ColReader(['text','other']), CategoryBlock, ColReader('label')), changed=(ColReader('text', pref='well ', suff='!'), CategoryBlock, ColReader('label', suff='s')),
    several=(ColReader('text'), MultiCategoryBlock, ColReader('several', label_delim='|')), alone=(ColReader('text'), None, None))

def block_of_columns(bert, source, get_x, target, get_y, **kwargs):
    blocks = (TransformersTextBlock(bert), *([target()] if target else []))
    return DataBlock(blocks, get_x=get_x, get_y=get_y, splitter=RandomSplitter(.25, seed=1), **kwargs).dataloaders(source, bs=4)

def alike(a, b): return type(a) is type(b) and (torch.equal(a, b) if isinstance(a, torch.Tensor) else a==b)

@pytest.mark.parametrize('index', ['numbers','names'])
@pytest.mark.parametrize('kind', COLUMNS)
def test_columns_of_a_frame_are_read_as_fastai_reads_its_rows(kind, index, bert, monkeypatch):
    source = FRAME if index=='numbers' else FRAME.set_axis([f'r{i%5}' for i in range(18)])
    dls = block_of_columns(bert, source, *COLUMNS[kind])
    for dl in dls.loaders:
        idxs = np.arange(len(dl.dataset))[::-1]
        want = [dl.do_item(int(i)) for i in idxs]
        with monkeypatch.context() as m:
            m.setattr(type(dl), 'do_item', lambda self, i: pytest.fail('row by row'))
            texts,targets = dl.reader(idxs)
        assert len(texts)==len(targets)==len(want) and texts!=texts[::-1]
        for row in zip(zip(texts, *zip(*targets)), want): assert all(map(alike, *row)), row

class OwnReader(ColReader):
    def _do_one(self, r, c): return super()._do_one(r, c).upper() if hasattr(r, 'iloc') else pytest.fail('no row')

class OwnFrame(pd.DataFrame):
    @property
    def _constructor(self): return OwnFrame

def test_what_asks_for_more_than_columns_gets_rows_of_pandas(bert):
    twice = FRAME[['text','label','label']]
    upper = block_of_columns(bert, FRAME, OwnReader('text'), CategoryBlock, ColReader('label'))
    assert all(t==t.upper() for t in upper.train.reader(np.arange(5))[0])
    for source,get_x in [(twice, ColReader('text')), (FRAME, ColReader(0)), (OwnFrame(FRAME), ColReader('text')), (FRAME, lambda r: r.iloc[0])]:
        dl = block_of_columns(bert, source, get_x, CategoryBlock, ColReader('label') if source is not twice else lambda r: r.iloc[1]).train
        rows = dl.dataset.items
        assert dl.reader(np.arange(5))[0]==rows.iloc[:5,0].tolist() and len(rows)==14

def test_a_frame_that_is_edited_is_read_anew_and_its_faults_are_named(bert):
    dls = block_of_columns(bert, FRAME.copy(), *COLUMNS['text'])
    learn = TransformersLearner(dls, bert)
    drawn = torch.Generator().manual_seed(0) # whatever checkpoint this process has made: texts must make a difference
    for p in learn.model.parameters(): torch.nn.init.normal_(p, std=.5, generator=drawn)
    before = learn.get_preds()[0]
    texts,labels = (tl.items for tl in dls.valid_ds.tls)
    at = texts.index[1]
    texts.loc[at,'text'] = 'bad bad bad'
    after,targets = learn.get_preds()
    assert ((before-after).abs()>1e-4).any(1).tolist()==[False, True, False, False]
    labels.loc[at,'label'] = 'n' if labels.loc[at,'label']=='p' else 'p'
    assert (learn.get_preds()[1]!=targets).tolist()==[False, True, False, False]
    labels.loc[at,'label'] = 'q'
    with pytest.raises(KeyError, match=rf"row {at}: .*'q'"): learn.validate()
    labels.loc[at,'label'] = 'p'
    texts.loc[at,'text'] = None
    with pytest.raises(TypeError, match=f'row {at}: '): learn.validate()

@pytest.mark.parametrize('get_y', [ColReader('score'), lambda r: r['score']], ids=['column','function'])
def test_a_missing_number_is_called_so(get_y, bert):
    def made(row):
        df = FRAME.assign(score=[float('nan') if i==row else 1. for i in range(18)])
        block = DataBlock((TransformersTextBlock(bert), RegressionBlock), get_x=ColReader('text'), get_y=get_y, splitter=IndexSplitter([14,15,16,17]))
        return TransformersLearner(block.dataloaders(df, bs=4), bert)
    learn = made(16)
    with learn.no_bar(), learn.no_logging():
        with pytest.warns(UserWarning, match=r'validation loss is nan: row 16: the target is missing \(nan\)'): learn.validate()
        with pytest.warns(UserWarning, match=r'validation loss of epoch 0 is nan: row 16: the target is missing'): learn.fit(1, 1e-3)
    learn = made(3)
    with learn.no_bar(), learn.no_logging(), pytest.raises(ValueError, match=r'^row 3: the training loss is nan .*: the target is missing'): learn.fit(1, 1e-3)

@pytest.mark.parametrize('arch', ['Roberta','MPNet','IBert','Bert'])
def test_positions_that_are_left_are_told_of_a_config_and_a_folder(arch, bert, in_tmp):
    config = getattr(transformers, arch+'Config')(vocab_size=210, max_position_embeddings=40, pad_token_id=1, **SMALL)
    model = getattr(transformers, arch+'ForSequenceClassification')(config).eval()
    tok = load_tokenizer(bert)
    tok.model_max_length = int(1e30)
    model.save_pretrained('m'); tok.save_pretrained('m')
    state = torch.get_rng_state()
    n = max_positions('m')
    asked = type(config)()
    max_positions(asked)
    asked.output_attentions = True # which a config refuses that a model was made of
    assert n==max_positions(model)==max_positions(config)==(40 if arch=='Bert' else 38) and torch.equal(torch.get_rng_state(), state)
    block = TransformersTextBlock('m')
    assert block.type_tfms[0].max_length==n
    with pytest.raises(ValueError, match=f'more than the {n} tokens'): TransformersTextBlock('m', max_length=n+1)
    ids = torch.from_numpy(block.type_tfms[0].tokenize(['good film '*50])[0].flat[0].astype(int))[None]
    assert ids.shape==(1, n) and model(input_ids=ids).logits.isfinite().all()
    assert max_positions(TransformersLearner(DataBlock((block, CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label')).dataloaders(pd.DataFrame(BLOCK_ROWS), bs=4), model))==n

@pytest.mark.parametrize('kwargs', [dict(return_tensors=None), dict(return_overflowing_tokens=False)], ids=str)
def test_defaults_of_tokenizers_change_nothing(kwargs, bert):
    tfm,plain = (TransformersTextBlock(bert, **k).type_tfms[0] for k in (kwargs, {}))
    assert torch.equal(tfm.stack(tfm.tokenize(['a good film'])[0]), plain.stack(plain.tokenize(['a good film'])[0]))
