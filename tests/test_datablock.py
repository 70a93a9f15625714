"Loaders of a `DataBlock` take rows of every kind, in the form in which its functions got theirs."
from operator import itemgetter

import pandas as pd
import pytest
import torch
from datasets import Dataset
from fastai.data.transforms import ItemGetter

from blurlike.all import (CategoryBlock, ColReader, CrossEntropyLossFlat, DataBlock, RandomSplitter, TransformersLearner, TransformersTextBlock, load_learner,
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
