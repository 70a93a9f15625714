"Any table as rows that are read only when asked for."
import re

import numpy as np
import pandas as pd
import pytest
import torch
from blurlike.all import Column, Rows, check_columns, check_texts, name_rows, read_rows, split_rows
from small import FRAMES, TEXTS, learner
from datasets import ClassLabel, Dataset, Features, Sequence, Value, concatenate_datasets

pytestmark = pytest.mark.usefixtures('in_tmp')
DF = FRAMES['single'].assign(n=range(48), x=[i/7 for i in range(48)])
DS = Dataset.from_pandas(DF)
ORDER = [40,3,17,3,0,47]

def on_disk(ds, folder):
    ds.save_to_disk(folder)
    return Dataset.load_from_disk(folder)

SOURCES = dict(frame=lambda: DF, other_index=lambda: DF.set_index(pd.Index([i//2 for i in range(48)])), one_dtype=lambda: DF.astype(object), dataset=lambda: DS, disk=lambda: on_disk(DS, 'disk'),
    parts=lambda: concatenate_datasets([Dataset.from_pandas(DF[:20]), Dataset.from_pandas(DF[20:].reset_index(drop=True))]), as_torch=lambda: DS.with_format('torch'), as_pandas=lambda: DS.with_format('pandas'), some_columns=lambda: DS.with_format('numpy', columns=['n']))
PICKS = dict(all=(lambda s: s, list(range(48))), select=(lambda s: s.select(ORDER), ORDER), shuffle=(lambda s: s.shuffle(seed=1), DS.shuffle(seed=1)['n']), sort=(lambda s: s.sort('n', reverse=True), list(range(47,-1,-1))),
    filter=(lambda s: s.filter(lambda r: r['n']%5==0, load_from_cache_file=False), list(range(0,48,5))), shard=(lambda s: s.shard(3, 1), DS.shard(3, 1)['n']), again=(lambda s: s.shuffle(seed=1).select(range(7)), DS.shuffle(seed=1)['n'][:7]))

@pytest.fixture(params=list(SOURCES))
def rows(request, in_tmp): return Rows(SOURCES[request.param]())

def plain(row): return dict(row)
def is_row(row, i):
    assert {k:row[k] for k in DF.columns}==DF.iloc[i].to_dict() and type(row) is dict and isinstance(row['text'], str)

def test_each_row_is_a_dict(rows):
    assert len(rows)==48 and set(rows.columns)>=set(DF.columns)
    for i in (0,5,47,-1,-48): is_row(rows[i], i%48)
    is_row(rows[np.int64(3)], 3)

def test_rows_are_iterated(rows):
    seen = list(rows)
    assert [r['n'] for r in seen]==list(range(48)) and [r['n'] for r in rows.itertuples()]==list(range(48))

@pytest.mark.parametrize('i', [48,-49,1000])
def test_rows_that_are_not_there(i, rows):
    with pytest.raises(IndexError, match=f'row {i} of 48'): rows[i]

@pytest.mark.parametrize('as_', [list, tuple, np.array, torch.tensor, pd.Series])
def test_subsets(as_, rows):
    some = rows.iloc[as_(ORDER)] if as_ is not tuple else rows[ORDER]
    assert isinstance(some, Rows) and len(some)==6 and [r['n'] for r in some]==ORDER
    for i,want in enumerate(ORDER): is_row(some[i], want)
    is_row(some[-1], 47)
    with pytest.raises(IndexError): some[6]
    deeper = some[[5,1]][1:]
    assert [r['n'] for r in deeper]==[3]
    assert [r['n'] for r in rows[10:20:3]]==[10,13,16,19]
    assert [r['n'] for r in rows[ORDER][::-1]]==ORDER[::-1]
    assert len(rows[[]])==0 and list(rows[[]])==[]

def test_one_column(rows):
    assert rows.column('n').tolist()==list(range(48))
    assert rows[ORDER].column('n').tolist()==ORDER
    assert rows[ORDER].column('text').tolist()==[TEXTS[i] for i in ORDER]
    assert rows[ORDER].column('text').index.tolist()==list(range(6))

@pytest.mark.parametrize('pick', list(PICKS))
@pytest.mark.parametrize('disk', [False,True])
def test_datasets_that_were_picked_from(pick, disk, in_tmp):
    how,want = PICKS[pick]
    ds = how(on_disk(DS, 'disk') if disk else DS)
    rows,want = Rows(ds),list(want)
    assert len(rows)==len(ds)==len(want) and [r['n'] for r in rows]==want
    for i,n in enumerate(want): is_row(rows[i], n)
    assert rows.column('text').tolist()==[TEXTS[n] for n in want] and rows.arrow('n').to_pylist()==want
    back = list(range(len(want)))[::-2]
    assert [r['n'] for r in rows[back]]==[want[i] for i in back]
    assert rows[back].column('n').tolist()==[want[i] for i in back]
    assert rows[back].arrow('n').to_pylist()==[want[i] for i in back]

def test_a_learner_on_a_dataset_that_was_picked_from(bert):
    ds = DS.shuffle(seed=1).select(range(40))
    a,b = learner('single', bert, ds),learner('single', bert, ds.flatten_indices().to_pandas())
    assert a.texts_of(a.dls.valid_ds.items)==b.texts_of(b.dls.valid_ds.items)
    assert [int(y) for _,y in a.dls.train_ds]==[int(y) for _,y in b.dls.train_ds]
    with a.no_bar(), b.no_bar(): assert torch.equal(a.get_preds()[0], b.get_preds()[0]) and torch.equal(torch.as_tensor(a.get_preds()[1]), torch.as_tensor(b.get_preds()[1]))

# Nothing is read before it is needed

class Count:
    def __init__(self): self.single,self.iterated,self.listed = 0,0,0

@pytest.fixture
def reads(monkeypatch):
    count,get,walk,tolist = Count(),Dataset.__getitem__,Dataset.__iter__,Dataset.to_list
    def one(self, key):
        count.single += isinstance(key, (int, np.integer))
        return get(self, key)
    def each(self):
        count.iterated += 1
        return walk(self)
    def whole(self, *args, **kwargs):
        count.listed += 1
        return tolist(self, *args, **kwargs)
    for name,f in (('__getitem__',one), ('__iter__',each), ('to_list',whole)): monkeypatch.setattr(Dataset, name, f)
    return count

def test_building_a_learner_reads_no_more_of_a_larger_dataset(bert, reads):
    seen = []
    for times in (1,20):
        ds = concatenate_datasets([DS]*times)
        reads.single = 0
        learn = learner('single', bert, ds)
        seen.append(reads.single)
        assert len(learn.dls.train_ds)+len(learn.dls.valid_ds)==48*times
        assert isinstance(learn.dls.train_ds.items, Rows) and isinstance(learn.dls.train_ds.tls[0].items, Rows)
    assert seen[0]==seen[1]<=8 and reads.iterated==reads.listed==0

def test_an_epoch_reads_each_row_once(bert, reads):
    learn = learner('single', bert, DS)
    reads.single = 0
    assert sum(len(x) for x,_ in learn.dls.train)==36 and reads.iterated==reads.listed==0
    assert reads.single<=36*2 # text and label may each read the row

def test_a_dataset_stays_in_its_files(in_tmp):
    ds = on_disk(DS, 'disk')
    rows = Rows(ds)[ORDER]
    assert rows.source.cache_files==ds.cache_files!=[]
    assert type(rows.source.data) is type(ds.data)
    assert 'MemoryMapped' in type(ds.data).__name__

# Columns

def test_column_reads_one_or_several():
    row = dict(a='x', b=[2,0], c=1)
    assert Column('a')(row)=='x' and tuple(Column(['a','c'])(row))==('x',1)
    assert Column('c', ['no','yes'])(row)=='yes'
    assert Column('b', ['u','v','w'])(row)==['w','u']
    assert Column('a')(pd.Series(row))=='x'
    with pytest.raises(KeyError, match=r"'z'.*\['a', 'b', 'c'\]"): Column('z')(row)

def test_label_names():
    ds = Dataset.from_dict(dict(a=[0,1], b=[[0],[1,0]], c=['x','y']), features=Features(a=ClassLabel(names=['p','q']), b=Sequence(ClassLabel(names=['r','s'])), c=Value('string')))
    rows = Rows(ds)
    assert [rows.label_names(c) for c in 'abc']==[['p','q'],['r','s'],None] and Rows(DF).label_names('label') is None

def test_check_columns():
    check_columns(Rows(DF), 'text', 'n')
    with pytest.raises(KeyError, match=r"'nn'.*\['text', 'label', 'n', 'x'\]"): check_columns(Rows(DS), 'text', 'nn')

def test_name_rows():
    assert name_rows([False,True,False])=='row 1'
    assert name_rows(np.array([1,1,0,1],dtype=bool))=='rows 0, 1, 3'
    assert name_rows([True]*25)=='rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... (25 in all)'

@pytest.mark.parametrize('form', [lambda df: df, Dataset.from_pandas], ids=['frame','dataset'])
def test_check_texts_looks_at_every_row(form):
    texts = [f't{i}' for i in range(25_000)]
    check_texts(Rows(form(pd.DataFrame(dict(t=texts)))), 't')
    for i in (0,9_999,10_000,24_999):
        bad = texts.copy()
        bad[i] = None
        with pytest.raises(ValueError, match=rf"'t'.*row {i}\b"): check_texts(Rows(form(pd.DataFrame(dict(t=bad)))), 't')
        bad[i] = ' '
        with pytest.warns(UserWarning, match=rf"'t'.*row {i}\b"): check_texts(Rows(form(pd.DataFrame(dict(t=bad)))), 't')
    for i in (0,9_999,10_000,24_999):
        with pytest.raises(ValueError, match=rf"row {i}\b.*surrogate"): check_texts(Rows(pd.DataFrame(dict(t=pd.Series([*texts[:i],'\udfff',*texts[i+1:]], dtype=object)))), 't')

def test_row_numbers_are_positions_whatever_the_index():
    df = pd.DataFrame(dict(t=['a',None,'c']), index=[7,7,'x'])
    with pytest.raises(ValueError, match=r'row 1\b'): check_texts(Rows(df), 't')

# Splits

@pytest.mark.parametrize('n,valid', [(10,.2), (48,.25), (7,.5), (1000,.1), (3,.34)])
def test_a_fraction_leaves_no_row_out(n, valid):
    rows = Rows(pd.DataFrame(dict(a=range(n))))
    trn,val = split_rows(rows, {}, valid, 42)
    assert sorted([*trn,*val])==list(range(n)) and len(val)==round(n*valid)
    again = split_rows(rows, {}, valid, 42)
    assert (again[0]==trn).all() and (again[1]==val).all()

def test_splits_are_drawn_at_random():
    picks = [set(split_rows(Rows(DF), {}, .25, s)[1].tolist()) for s in range(20)]
    assert len(set(map(frozenset, picks)))==20 and set().union(*picks)==set(range(48))
    assert set(split_rows(Rows(DF), {}, .25, 0)[1])!=set(range(36,48))

def test_named_parts():
    from datasets import DatasetDict
    parts = DatasetDict(train=DS.select(range(30)), validation=DS.select(range(30,40)), test=DS.select(range(40,48)))
    rows,where = read_rows(parts)
    assert [r['n'] for r in rows]==list(range(48))
    assert {k:v.tolist() for k,v in where.items()}==dict(train=list(range(30)), validation=list(range(30,40)), test=list(range(40,48)))
    for valid,want in ((.2,range(30,40)), ('validation',range(30,40)), ('test',range(40,48)), ([1,2],[1,2])): assert split_rows(rows, where, valid, 42)[1].tolist()==list(want)
    assert split_rows(rows, where, 'test', 42)[0].tolist()==list(range(30))

@pytest.mark.parametrize('name,content,said', [('a.csv', 'text,label\ncaf\u00e9,a\n'.encode('latin-1'), "'a.csv' is not UTF-8 text (byte 0xe9)"), ('a.jsonl', b'{"text": "caf\xe9"}\n', "'a.jsonl' is not UTF-8"),
    ('a.csv', b'', "'a.csv' cannot be read as csv: No columns"), ('a.jsonl', b'{"text": ', "'a.jsonl' cannot be read as jsonl"), ('a.parquet', b'no', "'a.parquet' cannot be read as parquet"), ('a.csv', b'text,label\n"a,b\n', "'a.csv', line 2: a quote")])
def test_files_that_cannot_be_read_are_named(name, content, said, tmp_path):
    (tmp_path/name).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(said)): read_rows(tmp_path/name)

@pytest.mark.parametrize('sign', [';', '\t', '|'])
def test_a_table_divided_by_another_sign(sign, tmp_path):
    (tmp_path/'a.csv').write_text(f'text{sign}label\na film{sign}good\n')
    rows,_ = read_rows(tmp_path/'a.csv')
    with pytest.raises(KeyError) as e: check_columns(rows, 'text')
    assert f'divided by {sign!r}' in e.value.args[0] and ('.tsv' in e.value.args[0])==(sign=='\t')
    (tmp_path/'b.csv').write_text('a;b,c\n1,2\n')
    with pytest.raises(KeyError) as e: check_columns(read_rows(tmp_path/'b.csv')[0], 'text')
    assert 'divided' not in e.value.args[0]

@pytest.mark.parametrize('form', [lambda df: df, Dataset.from_pandas], ids=['frame','dataset'])
def test_rows_come_in_the_order_in_which_they_are_asked_for(form):
    asked = [7, 2, 5, 0, 3] # no exchange of pairs, which would be its own reverse
    assert Rows(form(DF)).read(asked, ['text'])[0]==DF.text[asked].tolist()

def test_a_mask_of_rows():
    rows = Rows(pd.DataFrame(dict(a=range(6))))
    for mask in ([True,False,True,False,False,True], np.array([1,0,1,0,0,1], dtype=bool)): assert rows[mask].column('a').tolist()==[0,2,5]
    with pytest.raises(IndexError, match='a mask of 2 for 6 rows'): rows[[True,False]]
    assert rows[[1,0]].column('a').tolist()==[1,0] and len(rows[[]])==0
