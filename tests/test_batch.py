"Rows and loaders: every row once, lengths together, nothing read before its time."
import random

import numpy as np
import pandas as pd
import pytest
import torch
from blurlike.all import CategoryBlock, Column, DataBlock, Rows, TransformersTextBlock, load_tokenizer, set_seed
from conftest import sentence
from datasets import Dataset

def loaders(checkpoint, n, bs, **kwargs):
    rng = random.Random(0)
    df = pd.DataFrame(dict(text=[sentence(rng, 'sea') for _ in range(n)], label=['x','y']*(n//2)+['x']*(n%2)))
    dblock = DataBlock(blocks=(TransformersTextBlock(checkpoint), CategoryBlock(vocab=['x','y'])), getters=[Column('text'), Column('label')], splitter=lambda o: (list(range(n)), [0]))
    return df,dblock.dataloaders(Rows(df), bs=bs, **kwargs)

@pytest.mark.parametrize('n,bs', [(1,4),(3,8),(8,8),(9,8),(50,7),(450,8),(401,8)])
def test_every_row_once(checkpoint, n, bs):
    df,dls = loaders(checkpoint, n, bs)
    for dl in (dls.train, dls.train.new(shuffle=False), dls.train.new(shuffle=False).by_length()):
        batches = list(dl)
        assert len(batches)==len(dl)==-(-n//bs)
        seen = [tuple(r) for xb,_ in batches for r in map(lambda x: x[0][x[2]==1].tolist(), xb)]
        every = [tuple(dls.tokenizer(t).input_ids[:64]) for t in df.text]
        assert sorted(seen)==sorted(every)

def test_like_length_and_longest_first(checkpoint):
    _,dls = loaders(checkpoint, 400, 8)
    sizes = [x.shape[-1] for x,_ in dls.train]
    assert sizes[0]==max(sizes)
    pad = lambda dl: 1-sum(x[:,2].sum().item() for x,_ in dl)/sum(x[:,2].numel() for x,_ in dl)
    assert pad(dls.train)<0.06<0.3<pad(dls.train.new(shuffle=False)) and pad(dls.train.new(shuffle=False).by_length())<0.06

def test_labels_stay_with_their_texts(checkpoint):
    df,dls = loaders(checkpoint, 100, 8)
    truth = {tuple(dls.tokenizer(t).input_ids):l for t,l in zip(df.text, df.label)}
    for x,y in dls.train:
        for r,l in zip(x, y): assert truth[tuple(r[0][r[2]==1].tolist())]==dls.vocab[l]

def test_order_comes_from_the_seed(checkpoint):
    def order(seed):
        set_seed(seed)
        _,dls = loaders(checkpoint, 100, 8)
        return [[x.tolist() for x,_ in dls.train] for _ in range(2)]
    a,b,c = order(1),order(1),order(2)
    assert a==b and a!=c and a[0]!=a[1]

@pytest.mark.parametrize('side', ['left','right'])
def test_padding_side(checkpoint, side):
    tok = load_tokenizer(checkpoint); tok.padding_side = side
    _,dls = loaders(tok, 40, 8)
    x,_ = dls.valid.new(dls.train_ds).one_batch()
    expected = tok.pad([tok(t) for t in [dls.text_tfm.decode(o) for o in x]], return_tensors='pt')
    for f,v in zip(tok.model_input_names, x.unbind(1)): assert torch.equal(v.as_subclass(torch.Tensor), expected[f])

def test_workers_give_the_same_rows(checkpoint):
    _,dls = loaders(checkpoint, 50, 8)
    rows = lambda dl: sorted(tuple(r[0][r[2]==1].tolist()) for x,_ in dl for r in x)
    assert rows(dls.train.new(num_workers=2))==rows(dls.train)

def test_as_torch(checkpoint):
    import transformers
    _,dls = loaders(checkpoint, 40, 8)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=2).eval()
    dl = dls.valid.new(dls.train_ds).as_torch()
    assert isinstance(dl, torch.utils.data.DataLoader) and len(dl)==5
    for b,(x,y) in zip(dl, dls.valid.new(dls.train_ds)):
        assert all(type(v) is torch.Tensor for v in b.values()) and torch.equal(b['labels'], y.as_subclass(torch.Tensor))
        assert model(**b).loss.item()==pytest.approx(torch.nn.functional.cross_entropy(model(**{k:v for k,v in b.items() if k!='labels'}).logits, b['labels']).item(), abs=1e-6)
    _,dls = loaders(checkpoint, 40, 8)
    dls.text_tfm.overlap = 2
    with pytest.raises(ValueError, match='overlap'): dls.train.as_torch()

class Counting(Rows):
    reads = 0
    def __getitem__(self, i):
        if isinstance(i, (int, np.integer)): Counting.reads += 1
        res = super().__getitem__(i)
        return Counting(res.source, res.idxs) if isinstance(res, Rows) else res

def test_building_reads_no_rows(checkpoint):
    n = 5000
    ds = Dataset.from_dict(dict(text=['the sea']*n, label=['x','y']*(n//2)))
    Counting.reads = 0
    dblock = DataBlock(blocks=(TransformersTextBlock(checkpoint), CategoryBlock(vocab=['x','y'])), getters=[Column('text'), Column('label')], splitter=lambda o: (np.arange(4000), np.arange(4000,5000)))
    dls = dblock.dataloaders(Counting(ds), bs=8)
    assert Counting.reads<20 and isinstance(dls.train_ds.items, Counting)

@pytest.mark.parametrize('change', [lambda d: d, lambda d: d.shuffle(seed=1), lambda d: d.select([5,3,1,0,9]), lambda d: d.with_format('torch')])
def test_rows_over_a_dataset(change):
    ds = change(Dataset.from_dict(dict(text=[f't{i}' for i in range(10)], label=list(range(10)))))
    rows = Rows(ds); plain = ds.with_format(None)
    assert [rows[i] for i in range(len(rows))]==list(plain) and rows.column('text').tolist()==plain['text'][:]
    part = rows[[4,0,2]]
    assert [r['text'] for r in part]==[plain[i]['text'] for i in (4,0,2)]==part.column('text').tolist() and rows[-1]==plain[len(plain)-1]
    with pytest.raises(IndexError): rows[len(rows)]
