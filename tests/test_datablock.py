"Loaders of a `DataBlock` take rows of every kind, in the form in which its functions got theirs."
from operator import itemgetter

import pandas as pd
import pytest
import torch
from datasets import Dataset
from fastai.data.transforms import ItemGetter
from fasttransform import Pipeline

from blurlike.all import (Callback, CategoryBlock, ColReader, CrossEntropyLossFlat, DataBlock, MaskedLMBlock, RandomSplitter, TransformersLearner, TransformersTextBlock, TokenTensor, Transform, load_learner,
    sequence_classification_learner)
from small import learner

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
