"Which rows train, and which validate: drawn label by label, kept together, or as the user says; and what is no set of rows."

import re
import warnings
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from blurlike.all import (CategoryBlock, Checkpoints, ColReader, CSVLogger, DataBlock, GroupSplitter, Rows, SaveModelCallback, TransformersLearner, TransformersTextBlock, masked_lm_learner, model_card, question_answering_learner, read_corpus, read_rows, read_split, row_numbers, sequence_classification_learner, split_rows,
    token_classification_learner, used_rows)
from blurlike.cli import main
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from fastai.data.transforms import ColSplitter, EndSplitter, FuncSplitter, IndexSplitter, RandomSplitter, TrainTestSplitter
from blurlike.data.draws import _earlier, _first
from runs import questions
from small import FRAMES, TEXTS, first, learner

pytestmark = pytest.mark.usefixtures('in_tmp')
DF = FRAMES['single']
ROWS = Rows(DF)

def labels_of(label, valid=.2, seed=42, parts=None, **kwargs):
    "Both parts of a table of that label column."
    col = pd.Series(label)
    trn,val = split_rows(Rows(pd.DataFrame(dict(label=col)) if not isinstance(label, Dataset) else label), parts or {}, valid, seed, ['label'])
    return col.iloc[trn],col.iloc[val]

def parts_with(labels, columns, seed):
    df = pd.DataFrame(labels).assign(text=TEXTS[:len(next(iter(labels.values())))])
    trn,val = split_rows(Rows(df), {}, .2, seed, columns)
    return df.iloc[trn],df.iloc[val]

@pytest.mark.parametrize('yes,no', [('1','0'), ('true','False'), (1,0), (True,False)])
def test_a_rare_label_trains_however_it_is_written(yes, no):
    for seed in range(12):
        trn,val = parts_with(dict(x=[yes if i%2 else no for i in range(40)], y=[yes if i==5 else no for i in range(40)]), ['x','y'], seed)
        assert (trn.y==yes).sum()==1 and len(val)==8

def test_a_rare_place_of_a_vector_trains():
    for seed in range(12):
        trn,val = parts_with(dict(label=[[i%2, int(i==5)] for i in range(40)]), ['label'], seed)
        assert sum(v[1] for v in trn.label)==1 and len(val)==8

# Labels

@pytest.mark.parametrize('n_classes,each,share', [(150,3,.2), (10,2,.3), (7,50,.1), (3,100,.9), (40,5,.5)])
def test_every_label_trains_and_has_its_share_in_validation(n_classes, each, share):
    for seed in range(5):
        trn,val = labels_of(np.arange(n_classes*each)%n_classes, share, seed)
        counts = np.bincount(val, minlength=n_classes)
        assert len(val)==round(n_classes*each*share) and trn.nunique()==n_classes and len(trn)+len(val)==n_classes*each
        assert np.abs(counts-each*share).max()<1

def test_uneven_labels_keep_their_shares():
    label = ['a']*900+['b']*90+['c']*9+['once']
    trn,val = labels_of(label, .1)
    assert val.value_counts().to_dict()==dict(a=90, b=9, c=1) and set(trn)=={'a','b','c','once'}

def test_a_label_that_occurs_once_trains():
    for seed in range(30): assert not set('xyz') & set(labels_of([*'ab'*20, *'xyz'], .4, seed)[1])

def test_where_labels_are_about_as_many_as_rows_the_draw_is_blind():
    trn,val = labels_of([f'l{i}' for i in range(50)])
    assert len(val)==10 and (val.index!=range(10)).any()

@pytest.mark.parametrize('label', [[.5*i for i in range(40)], [[]]*40, [['a'],'b']*20, [{'a':1}]*40], ids=['numbers','no labels','mixed','dicts'])
def test_what_are_no_labels_changes_nothing(label):
    plain = split_rows(Rows(pd.DataFrame(dict(label=range(40)))), {}, .2, 42)
    assert labels_of(label)[1].index.tolist()==plain[1].tolist()

def test_the_same_seed_gives_the_same_rows():
    picks = [tuple(labels_of(DF.label, .25, s)[1].index) for s in (1,1,2,None,None)]
    assert picks[0]==picks[1]!=picks[2] and len(set(picks))==4

@pytest.mark.parametrize('form', [lambda df: df, lambda df: df.astype('category'), Dataset.from_pandas, lambda df: Dataset.from_pandas(df).cast(Features(label=ClassLabel(names=['bad','fine','good'])))], ids=['frame','category','dataset','class'])
def test_every_kind_of_table_is_split_alike(form):
    want = split_rows(Rows(DF[['label']]), {}, .25, 3, ['label'])
    got = split_rows(Rows(form(DF[['label']])), {}, .25, 3, ['label'])
    assert all((a==b).all() for a,b in zip(want, got)) and DF.label[want[1]].value_counts().tolist()==[4,4,4]

@pytest.mark.parametrize('form', [lambda df: df, Dataset.from_pandas], ids=['frame','dataset'])
def test_of_several_labels_each_stays_in_training(form):
    tags = [['a'],['a','b'],[]]*20+[['rare','a'],['b','rarer']]
    for seed in range(20):
        trn,val = split_rows(Rows(form(pd.DataFrame(dict(tags=tags)))), {}, .5, seed, ['tags'])
        assert {t for i in trn for t in tags[i]}=={'a','b','rare','rarer'} and len(val)==31

@pytest.mark.parametrize('form', ['lists','columns'])
def test_of_several_labels_the_rare_ones_have_their_share(form):
    rng,names = np.random.default_rng(0),[f'l{k}' for k in range(20)]
    has = rng.random((500, 20))<.03
    df = pd.DataFrame(has.astype(int), columns=names) if form=='columns' else pd.DataFrame(dict(tags=[[n for n,h in zip(names, row) if h] for row in has]))
    for seed in range(10):
        _,val = split_rows(Rows(df), {}, .2, seed, list(df.columns))
        shares = has[val].sum(0)/has.sum(0)
        assert len(val)==100 and shares.min()>=.09 and shares.max()<=.41

def test_of_one_hot_columns_each_stays_in_training():
    df = pd.DataFrame(dict(a=[True,False]*10, b=[0]*19+[1], score=np.linspace(0, 1, 20)))
    for seed in range(10): assert df.b[split_rows(Rows(df), {}, .5, seed, ['a','b'])[0]].any()
    plain = split_rows(Rows(df), {}, .5, 1)[1]
    assert (split_rows(Rows(df), {}, .5, 1, ['score','a'])[1]==plain).all() # several numbers

def test_a_part_is_drawn_from_the_rows_that_train():
    ds = Dataset.from_pandas(DF)
    rows,parts = read_rows(DatasetDict(train=ds.select(range(30)), test=ds.select(range(30, 48))))
    trn,val = split_rows(rows, parts, .2, 0, ['label'])
    assert set(trn)|set(val)==set(range(30)) and DF.label[val].value_counts().tolist()==[2,2,2]

def test_learners_draw_by_label(bert):
    df = pd.DataFrame(dict(text=[f'{t} {i}' for i,t in enumerate(TEXTS)], label=[f'l{i%16}' for i in range(48)]))
    learn = learner('single', bert, df, valid=.2)
    assert len(learn.dls.vocab)==16 and len(learn.dls.valid_ds)==10
    words = pd.DataFrame(dict(tokens=[t.split() for t in TEXTS], tags=[['B-RARE' if i==4 and k==0 else 'O' for k,_ in enumerate(t.split())] for i,t in enumerate(TEXTS)]))
    for seed in (0,1,2): assert 'B-RARE' in token_classification_learner(words, bert, bs=8, valid=.5, seed=seed).dls.vocab

def test_numbers_are_not_drawn_by_value(bert):
    df = DF.assign(label=[i//2 for i in range(48)])
    by_number = learner('single', bert, df, problem_type='regression', valid=.25).dls.valid_ds.items.idxs
    assert by_number.tolist()==split_rows(Rows(df), {}, .25, 42)[1].tolist()

@pytest.mark.parametrize('form', [lambda df: (df, df, df), lambda df: [df, df, df], lambda df: ('a.csv', 'a.csv', df)], ids=['tuple','list','files'])
def test_three_tables_are_too_many(form, bert):
    DF.to_csv('a.csv', index=False)
    with pytest.raises(ValueError, match='data holds 3 tables.*or a pair'): learner('single', bert, form(DF))

@pytest.mark.parametrize('form', [lambda o: np.array(o, dtype=object), lambda o: pd.Series(o, dtype=object)], ids=['array','series'])
def test_rows_that_are_objects(form):
    mask = [i%4==1 for i in range(48)]
    wanted = list(range(1, 48, 4))
    for given in (mask, wanted):
        assert split_rows(ROWS, {}, form(given))[1].tolist()==wanted
        assert ROWS[form(given)].numbers.tolist()==wanted
    with pytest.raises(TypeError, match='it holds None'): split_rows(ROWS, {}, form([True, None]))

# Groups

AUTHORS = DF.assign(author=[f'a{i*i%11}' for i in range(48)])

@pytest.mark.parametrize('form', [lambda df: df, Dataset.from_pandas, lambda df: df.to_dict('records')], ids=['frame','dataset','dicts'])
def test_a_group_is_on_one_side(form, bert):
    learn = learner('single', bert, form(AUTHORS), valid='group:author')
    sides = [{r['author'] for r in ds.items} for ds in (learn.dls.train_ds, learn.dls.valid_ds)]
    assert not sides[0] & sides[1] and sides[0]|sides[1]==set(AUTHORS.author) and 6<=len(learn.dls.valid_ds)<=13

def test_groups_by_seed_and_share():
    rows = Rows(pd.DataFrame(dict(g=np.random.default_rng(0).integers(0, 100, 1000))))
    a,b,c = (tuple(split_rows(rows, {}, 'group:g', s)[1]) for s in (1,1,2))
    assert a==b!=c and abs(len(a)-200)<=10
    assert abs(len(split_rows(rows, {}, GroupSplitter('g', .5), 1)[1])-500)<=10
    assert (split_rows(rows, {}, GroupSplitter('g', .5, seed=3), 1)[1]==GroupSplitter('g', .5, seed=3)(rows.source)[1]).all()

def test_groups_of_any_size():
    most = pd.DataFrame(dict(g=['big']*90+['s1']*4+['s2']*6))
    for seed in range(5): assert set(most.g[split_rows(Rows(most), {}, 'group:g', seed)[1]])<={'s1','s2'}
    few = pd.DataFrame(dict(g=['a']*40+['b']*30+['c']*30)) # none of them fits into a fifth
    assert {len(split_rows(Rows(few), {}, 'group:g', s)[1]) for s in range(5)}=={30}

def test_a_label_of_one_group_trains_if_it_can():
    df = pd.DataFrame(dict(g=[i//5 for i in range(100)], label=['rare' if i//5 in (3,7) else 'usual' for i in range(100)]))
    for seed in range(20): assert 'rare' in set(df.label[split_rows(Rows(df), {}, GroupSplitter('g', .5), seed, ['label'])[0]])

@pytest.mark.parametrize('groups', ['A x,B yz,C yz', 'A uy,B y', 'A ab,B ab,C c'], ids=str)
@pytest.mark.parametrize('valid_pct', [.2, .9])
def test_all_labels_train_if_they_can(groups, valid_pct):
    df = pd.DataFrame([dict(g=g, label=o) for g,labels in map(str.split, groups.split(',')) for o in labels for _ in range(2)])
    for seed in range(20):
        train,valid = split_rows(Rows(df), {}, GroupSplitter('g', valid_pct), seed, ['label'])
        assert set(df.label[train])==set(df.label) and len(valid)

def test_whole_groups_come_as_near_as_they_can():
    rng = np.random.default_rng(0)
    for _ in range(100):
        sizes = rng.integers(1, 30, rng.integers(2, 8))
        df = pd.DataFrame(dict(g=np.repeat(np.arange(len(sizes)), sizes)))
        share = rng.uniform(.02, .98)
        possible = [sum(c) for k in range(1, len(sizes)) for c in combinations(sizes.tolist(), k)]
        n = min(max(round(len(df)*share), 1), len(df)-1)
        assert abs(len(GroupSplitter('g', share, 0)(df)[1])-n)==min(abs(m-n) for m in possible)
    many = pd.DataFrame(dict(g=np.repeat(np.arange(1000), rng.integers(1, 30, 1000))))
    assert [len(GroupSplitter('g', .3, seed)(many)[1]) for seed in range(5)]==[round(len(many)*.3)]*5

def test_some_group_trains_whatever_the_share(bert):
    df = pd.DataFrame(dict(text=TEXTS[:4], label=list('abab'), g=list('abcd')))
    block = DataBlock([TransformersTextBlock(bert), CategoryBlock(vocab=['a','b'])], get_x=ColReader('text'), get_y=ColReader('label'), splitter=GroupSplitter('g', .9))
    dls = block.dataloaders(df, bs=2)
    assert (len(dls.train_ds),len(dls.valid_ds))==(1,3)

@pytest.mark.parametrize('group,error,said', [(['x']*48,ValueError,"one group only, 'x'"), ([None,*'x'*47],ValueError,r"names no group in row 0\b"), ([['a'],['b']]*24,TypeError,'holds lists, which name no group'), ([2020]*48,ValueError,'one group only, 2020:'), (None,KeyError,"no column 'author'")])
def test_groups_that_are_none(group, error, said):
    df = DF if group is None else DF.assign(author=group)
    with pytest.raises(error, match=said): split_rows(Rows(df), {}, 'group:author')
    if group is None: assert split_rows(Rows(DF.assign(**{'group:author':[True]+[False]*47})), {}, 'group:author')[1].tolist()==[0] # a column of that very name

# Splitters of fastai's, and of the user's

@pytest.mark.parametrize('splitter,want', [(RandomSplitter(.25, seed=1),12), (EndSplitter(.25),12), (IndexSplitter([3,5]),2), (TrainTestSplitter(.25, random_state=1, stratify=DF.label),12),
    (FuncSplitter(lambda row: row['text'].startswith('t')),sum(t[0]=='t' for t in TEXTS)), (ColSplitter('late'),4), (lambda rows: (range(10), torch.arange(40, 48)),8)], ids='random end index stratified function column own'.split())
def test_splitters(splitter, want, bert):
    learn = learner('single', bert, DF.assign(late=[False]*44+[True]*4), valid=splitter)
    assert len(learn.dls.valid_ds)==want

def test_a_splitter_sees_the_rows_that_train():
    ds = Dataset.from_pandas(DF)
    rows,parts = read_rows(DatasetDict(test=ds.select(range(8)), train=ds.select(range(8, 48))))
    trn,val = split_rows(rows, parts, EndSplitter(.25))
    assert val.tolist()==list(range(38, 48)) and trn.tolist()==list(range(8, 38))

@pytest.mark.parametrize('splitter,error,said', [(lambda rows: [1,2,3],TypeError,'two lists'), (RandomSplitter,TypeError,'two lists'), (lambda rows: ([0,1],[1,2]),ValueError,r'row 1\b.*both parts'),
    (lambda rows: ([0,1],[48]),ValueError,'up to 48'), (lambda rows: ([0,1],[]),ValueError,'validation part is empty')], ids='one class both beyond none'.split())
def test_splitters_that_do_not_split(splitter, error, said):
    with pytest.raises(error, match=said): split_rows(ROWS, {}, splitter)

# Row numbers

def test_an_index_is_looked_up():
    df = DF.assign(n=range(48)).set_index(pd.Index(range(100, 148))).sample(frac=1, random_state=0)
    for some in (df.index[df.label=='bad'], df[df.n>40].index, pd.Index([100,147])):
        assert df.iloc[split_rows(Rows(df), {}, some)[1]].index.tolist()==some.tolist()
    with pytest.raises(KeyError, match=r'no 3\b.*2 such'): split_rows(Rows(df), {}, pd.Index([3,100,5]))
    with pytest.raises(ValueError, match=r'has 7 more than once.*reset_index'): split_rows(Rows(DF.set_index(pd.Index([7]*48))), {}, pd.Index([7]))
    assert split_rows(ROWS, {}, DF.index[DF.label=='good'])[1].tolist()==np.flatnonzero(DF.label=='good').tolist()
    assert split_rows(Rows(Dataset.from_pandas(DF)), {}, DF.index[:3])[1].tolist()==[0,1,2]

def test_a_filtered_frame_and_one_with_two_levels():
    df = DF.assign(author=AUTHORS.author)[DF.label!='fine']
    want = np.flatnonzero(df.author=='a0')
    assert split_rows(Rows(df), {}, df.index[df.author=='a0'])[1].tolist()==want.tolist()
    deep = df.assign(n=range(len(df))).set_index(['author','n'])
    assert split_rows(Rows(deep), {}, deep.index[want])[1].tolist()==want.tolist()
    assert split_rows(Rows(df), {}, df.author=='a0')[1].tolist()==want.tolist() # a mask of its own

@pytest.mark.parametrize('given', [[40,3], (40,3,5), range(5), np.array([3,1]), pd.Series([5,6]), torch.tensor([1,2]), pd.array([3,4], dtype='Int64'), {3,4}], ids=lambda o: type(o).__name__)
def test_row_numbers_in_any_form(given): assert row_numbers(ROWS, given).tolist()==[int(i) for i in given]

@pytest.mark.parametrize('given,want', [(slice(0, 5),range(5)), (slice(-5, None),range(43, 48)), (slice(None, None, 10),range(0, 48, 10)), ([True]+[False]*47,[0]), (np.arange(48)>45,[46,47]), (torch.arange(48)>46,[47]), (pd.Series([False]*47+[True]),[47]), (pd.Index([True]+[False]*47),[0])], ids=str)
def test_slices_and_masks(given, want):
    trn,val = split_rows(ROWS, {}, given)
    assert val.tolist()==list(want) and sorted([*trn,*val])==list(range(48))

@pytest.mark.parametrize('given,error,said', [(True,TypeError,'valid=True.*expected'), ({},TypeError,'valid={}'), (['1'],TypeError,"whole numbers.*'1'"), ([1.5,2.7,5],TypeError,'whole numbers.*1.5'), ([1.,2.],TypeError,'whole numbers'), (object(),TypeError,'expected'),
    (b'x',TypeError,'expected'), ([[1],[2,3],[4]],TypeError,'expected'), (np.zeros((2,3)),TypeError,'whole numbers'), ([None,1],TypeError,'whole numbers.*None'), ([3,3,4],ValueError,r'row 3 more than once'), ([-1],ValueError,'from -1 up to -1, but there are 48'), ([True]*3,ValueError,'mask of 3 rows, but there are 48'),
    (pd.Series([True]+[False]*47, index=range(1, 49)),ValueError,'another index.*to_numpy'), (pd.Series([True,None]*24, dtype='boolean'),TypeError,'whole numbers.*it holds <NA>'), (2,ValueError,'not a fraction'), (-.5,ValueError,'not a fraction'), (float('nan'),ValueError,'not a fraction'),
    (slice('a', 'c'),TypeError,r"row number.*df\.loc\['a':'c'\]\.index"), (DatasetDict(dev=Dataset.from_pandas(DF)),TypeError,r"valid=other\['dev'\]")], ids=lambda o: type(o).__name__ if type(o) is object else str(o))
@pytest.mark.parametrize('make', [learner, None], ids=['learner','tags_and_gaps'])
def test_what_is_no_set_of_rows(given, error, said, make, bert):
    if make is not None:
        with pytest.raises(error, match=said): learner('single', bert, valid=given)
        return
    words = pd.DataFrame(dict(text=TEXTS, tokens=[['a']]*48, tags=[['O']]*48))
    with pytest.raises(error, match=said): masked_lm_learner(words, bert, valid=given)
    with pytest.raises(error, match=said): token_classification_learner(words, bert, valid=given)

def test_a_pair_of_row_numbers(bert):
    learn = learner('single', bert, valid=(range(20), [40,41]))
    assert [len(ds) for ds in (learn.dls.train_ds, learn.dls.valid_ds)]==[20,2]
    assert learn.dls.valid_ds.items.idxs.tolist()==[40,41]
    assert split_rows(ROWS, {}, (slice(0, 9), slice(9, None)))[0].tolist()==list(range(9))
    with pytest.raises(ValueError, match=r'rows 2, 3 in both'): split_rows(ROWS, {}, ([1,2,3], [2,3]))

@pytest.mark.parametrize('flags,said', [(['True','False']*24,r"'flag' must hold True.*\['True', 'False'\].*=='True'"), ([['x']]*48,"'flag' must hold True"), ([1.,None]*24,"'flag' must hold True"), ([2,0]*24,"'flag' must hold True"), (pd.array([True,None]*24, dtype='boolean'),"'flag' must hold True")], ids='texts lists missing numbers nullable'.split())
def test_columns_of_flags(flags, said):
    with pytest.raises(ValueError, match=said): split_rows(Rows(DF.assign(flag=flags)), {}, 'flag')
    for good in ([True]+[False]*47, [1]+[0]*47, [1.]+[0.]*47, pd.array([True]+[False]*47, dtype='boolean')): assert split_rows(Rows(DF.assign(flag=good)), {}, 'flag')[1].tolist()==[0]

def test_only_the_part_for_training_trains():
    ds = Dataset.from_pandas(DF.assign(flag=[True]*4+[False]*44))
    rows,parts = read_rows(DatasetDict(train=ds.select(range(30)), validation=ds.select(range(30, 40)), test=ds.select(range(40, 48))))
    for valid,want in (([1,2],[0,*range(3, 30)]), ('flag',range(4, 30)), ('test',range(30)), (None,range(30))): assert split_rows(rows, parts, valid)[0].tolist()==list(want)
    with pytest.raises(ValueError, match='training part is empty'): split_rows(rows, parts, 'train')

# Two tables

TRAIN,VALID = DF[:36],DF[36:].reset_index(drop=True)

def is_split(learn):
    texts = [learn.texts_of(ds.items) for ds in (learn.dls.train_ds, learn.dls.valid_ds)]
    assert texts[0]==TRAIN.text.tolist() and texts[1]==VALID.text.tolist()

@pytest.mark.parametrize('form', [lambda df, n: df, lambda df, n: Dataset.from_pandas(df, preserve_index=False), lambda df, n: df.to_dict('records'), lambda df, n: df.to_csv(f'{n}.csv', index=False) or f'{n}.csv'], ids=['frames','datasets','dicts','files'])
def test_two_tables(form, bert):
    train,valid = form(TRAIN.assign(extra=1), 'train'),form(VALID, 'dev')
    is_split(learner('single', bert, (train, valid), valid=.2))
    is_split(learner('single', bert, train, valid=valid))
    learn = masked_lm_learner((train, valid), bert, bs=8)
    assert [len(ds) for ds in (learn.dls.train_ds, learn.dls.valid_ds)]==[36,12]

def test_a_frame_beside_a_dataset(bert): is_split(learner('single', bert, Dataset.from_pandas(TRAIN), valid=VALID))

def test_two_tables_tell_rows_of_their_own(bert):
    learn = learner('single', bert, (TRAIN, pd.concat([VALID, TRAIN[:1]])), valid=.2)
    leak = next(f for f in learn.check() if f.what=='leakage')
    assert leak.rows.tolist()==[12]

def test_two_tables_that_are_no_pair(bert):
    for data,valid,error,said in (((TRAIN,VALID),.3,ValueError,'two tables.*leave out valid=0.3'), ((TRAIN,VALID),VALID,ValueError,'two tables'), (TRAIN,VALID.rename(columns=dict(text='t', label='l')),ValueError,'share no column'),
        (TRAIN,VALID[['text']],KeyError,"no column 'label'"), (('train.csv','gone.csv'),.2,FileNotFoundError,'train.csv')):
        with pytest.raises(error, match=said): learner('single', bert, data, valid=valid)
    with pytest.raises(KeyError, match="nor a file"): learner('single', bert, TRAIN, valid='gone.csv')

def test_two_conll_files(bert, in_tmp):
    (in_tmp/'a.conll').write_text('the O\nsea B-X\n\n'*6)
    (in_tmp/'b.conll').write_text('a O\nhill B-X\n\n'*2)
    for data,valid in ((('a.conll','b.conll'),.2), ('a.conll','b.conll'), (in_tmp/'a.conll',in_tmp/'b.conll')):
        learn = token_classification_learner(data, bert, valid=valid, bs=2)
        assert [len(ds) for ds in (learn.dls.train_ds, learn.dls.valid_ds)]==[6,2]
        assert learn.dls.valid_ds.items[0]['tokens']==['a','hill']

def test_two_text_files(bert, in_tmp):
    for n,some in dict(a=TEXTS[:36], b=TEXTS[36:]).items(): (in_tmp/f'{n}.txt').write_text('\n'.join(some))
    for data,valid in ((('a.txt','b.txt'),.2), ('a.txt','b.txt')):
        learn = masked_lm_learner(data, bert, valid=valid, bs=4, block_size=0)
        assert [len(ds) for ds in (learn.dls.train_ds, learn.dls.valid_ds)]==[36,12]
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert len(masked_lm_learner(['a.txt','b.txt'], bert, bs=4, block_size=0, valid=.25).dls.valid_ds)==12 # a list is one corpus

def test_rows_that_are_not_used_are_not_looked_at(bert):
    df = DF.astype(object)
    df.loc[[0,47],'text'] = None
    learner('single', bert, df, valid=(range(1, 30), range(30, 47)))
    with pytest.raises(ValueError, match=r'row 47\b'): learner('single', bert, df, valid=(range(1, 30), range(30, 48)))
    assert used_rows(ROWS, ([4,2], [9])).column('text').tolist()==[TEXTS[i] for i in (2,4,9)]

# Parts that have other names

def test_parts_of_other_names():
    ds = Dataset.from_pandas(DF)
    def split(*names, valid=.2):
        parts = DatasetDict({k:ds.select(range(12*i, 12*i+12)) for i,k in enumerate(names)})
        return [o.tolist() for o in split_rows(*read_rows(parts), valid)]
    rows = [list(range(12*i, 12*i+12)) for i in range(4)]
    assert split('training','validation')==split('training','validation','test')==split('training','val',valid='val')==rows[:2]
    assert split('a','b',valid='b')==rows[:2] and split('test','train','dev')==rows[1:3] and split('training','test',valid=None)==[rows[0],[]]
    assert split('a','b','c',valid=(range(3), range(5, 9)))==[[0,1,2],[5,6,7,8]] # as it is told
    assert split('Test','Train','Validation')==[rows[1],rows[2]] and split('a','b','c',valid='c')==[rows[0]+rows[1],rows[2]]
    for names,kwargs in ((['validation','test'], {}), (['a','b','c'], {}), (['a','b'], dict(valid=None)), (['validation','test'], dict(valid='validation')), (['validation','test'], dict(valid=range(3)))):
        with pytest.raises(ValueError, match=f"the parts {', '.join(map(repr, names))}, and none called 'train': pass two"): split(*names, **kwargs)
    other = pd.DataFrame(dict(text=TEXTS[:3], label=['bad','fine','good']))
    rows,parts,valid = read_split(DatasetDict(training=ds.select(range(12)), test=ds.select(range(12, 24))), other)
    assert [len(o) for o in split_rows(rows, parts, valid)]==[12,3]

def test_parts_that_validate_by_other_names():
    ds = Dataset.from_pandas(DF)
    def parts(*names): return read_rows(DatasetDict({k:ds.select(range(12*i, 12*i+12)) for i,k in enumerate(names)}))
    for name in ('eval','evaluation','Eval','validation_matched','dev-clean','val.0'):
        for train in ('train','training'): assert split_rows(*parts(train, name))[1].tolist()==list(range(12, 24))
        assert split_rows(*parts('train', name, 'validation'))[1].tolist()==list(range(24, 36))
    mnli = 'train','validation_matched','validation_mismatched','test_matched'
    for valid in (.2, .3):
        with pytest.raises(ValueError, match="parts 'validation_matched', 'validation_mismatched' for validation: say which, e.g. valid='validation_matched'"): split_rows(*parts(*mnli), valid)
    for train in ('train','training'): assert [o.tolist() for o in split_rows(*parts(train, *mnli[1:]), 'validation_mismatched')]==[list(range(12)),list(range(24, 36))]

@pytest.mark.parametrize('names', [('dev_a','dev_b'), ('test2020','test2021'), ('valid_books','valid_films'), ('test_x','eval_x')])
def test_of_parts_that_are_all_called_so_one_is_asked_for(names):
    ds = Dataset.from_pandas(DF)
    def split(valid, *more):
        parts = {k:ds.select(range(12*i, 12*i+12)) for i,k in enumerate((*names, *more))}
        return [o.tolist() for o in split_rows(*read_rows(DatasetDict(parts)), valid)]
    assert split(names[1])==[[*range(12)],[*range(12, 24)]] and split(names[0])==[[*range(12, 24)],[*range(12)]]
    assert split('eval_c', 'eval_c', 'test')==[[*range(24)],[*range(24, 36)]]
    with pytest.raises(ValueError, match="none called 'train': pass two"): split(.2)

CHAPTERS = {('a','evaluation','b'):(115,29), ('train','dev-guide'):(38,10), ('train','dev_a','dev_b'):(38,10), ('a','dev_a','dev_b'):(115,29),
    ('train','evaluation'):(48,48), ('a','eval'):(48,48), ('test','evaluation'):(38,10)}
@pytest.mark.parametrize('files', CHAPTERS, ids='-'.join)
@pytest.mark.filterwarnings('ignore:a random part')
def test_names_of_files_count_as_a_whole(files, in_tmp):
    for n in files: (in_tmp/f'{n}.txt').write_text('\n'.join(f'text {i}' for i in range(48)))
    assert tuple(map(len, split_rows(*read_corpus([f'{n}.txt' for n in files]))))==CHAPTERS[files]

def test_a_part_that_is_not_used_is_told_of(in_tmp, bert):
    ds = Dataset.from_pandas(DF)
    data = DatasetDict(train=ds, unsupervised=ds, test=ds)
    with pytest.warns(UserWarning, match="a random part of the training rows validates, and the data's 'unsupervised' is not used: valid='unsupervised'"): split_rows(*read_rows(data))
    with pytest.warns(UserWarning, match="the data's 'more' is not used"): question_answering_learner(DatasetDict({k:Dataset.from_pandas(questions()) for k in ('train','more')}), bert, max_length=64)
    for n in ('train','book'): (in_tmp/f'{n}.txt').write_text('\n'.join(TEXTS))
    with pytest.warns(UserWarning, match="'book' is not used"): split_rows(*read_corpus(in_tmp))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        split_rows(*read_rows(DatasetDict(train=ds, test=ds, test_small=ds)))
        split_rows(*read_rows(data), 'unsupervised')

def test_files_with_names_that_begin_as_those_of_parts(in_tmp):
    for n in ('a','dev_notes','test-driven'): (in_tmp/f'{n}.txt').write_text('\n'.join(TEXTS))
    rows,parts = read_corpus(in_tmp)
    assert [len(o) for o in split_rows(rows, parts)]==[115,29] # of all files

UNLIKE = dict(absent=lambda ds: ds.remove_columns('label'), null=lambda ds: ds.remove_columns('label').add_column('label', [None]*len(ds)), more=lambda ds: ds.add_column('more', list(range(len(ds)))))

@pytest.mark.parametrize('unlike', UNLIKE)
def test_a_part_that_is_not_read_may_be_unlike(unlike, bert):
    ds = Dataset.from_pandas(DF)
    train,valid,test = ds.select(range(30)),ds.select(range(30, 40)),UNLIKE[unlike](ds.select(range(40, 48)))
    for valid_part,kwargs in ((valid, {}), (valid, dict(valid='validation')), (test, dict(valid=valid)), (test, dict(valid='other'))):
        data = DatasetDict(test=test, train=train, validation=valid_part, other=valid)
        learn = learner('single', bert, data, **dict(valid=.2) | kwargs)
        assert [learn.texts_of(o.items) for o in (learn.dls.train_ds, learn.dls.valid_ds)]==[train['text'][:],valid['text'][:]]
        assert learn.dls.valid.row_numbers().tolist()==list(range(10))
    for valid in (.25, None, RandomSplitter(.25)):
        learn = learner('single', bert, DatasetDict(train=train, test=test), valid=valid)
        assert sum(map(len, (learn.dls.train_ds, learn.dls.valid_ds)))==30
    assert len(learner('single', bert, DatasetDict(train=train, validation_matched=train, test=test), valid=.2).dls.valid_ds)==30 # same rows, another part
    for asked in ('test', range(3)):
        with pytest.raises(ValueError, match="'train' and 'test' have different features"): learner('single', bert, DatasetDict(train=train, test=test), valid=asked)

def test_files_of_a_corpus_that_are_held_out(in_tmp):
    for i,n in enumerate(('a','test','b','valid')): (in_tmp/f'{n}.txt').write_text('\n'.join(TEXTS[12*i:12*i+12]))
    rows,parts = read_corpus([f'{n}.txt' for n in ('a','test','b','valid')])
    assert [[rows[int(i)]['text'] for i in o] for o in split_rows(rows, parts)]==[[t for t in TEXTS[:12]+TEXTS[24:36] if t], [t for t in TEXTS[36:48] if t]]

# No validation

@pytest.mark.parametrize('valid', [None, 0, 0., np.float64(0)], ids=repr)
def test_no_validation(valid):
    trn,val = split_rows(ROWS, {}, valid)
    assert trn.tolist()==list(range(48)) and len(val)==0

WORDS = pd.DataFrame(dict(tokens=[t.split() for t in TEXTS], tags=[['B-X' if w in ('great','awful') else 'O' for w in t.split()] for t in TEXTS]))
ALL = dict(single=lambda c: learner('single', c, valid=None), multi=lambda c: learner('multi', c, valid=0), regression=lambda c: learner('regression', c, valid=None), tags=lambda c: token_classification_learner(WORDS, c, bs=8, valid=None),
    gaps=lambda c: masked_lm_learner(pd.DataFrame(dict(text=TEXTS)), c, bs=8, valid=None), blocks=lambda c: masked_lm_learner(pd.DataFrame(dict(text=TEXTS)), c, bs=8, valid=0, block_size=20))

@pytest.mark.parametrize('name', first(ALL, 2))
def test_all_rows_train(name, bert):
    learn = ALL[name](bert)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(2, 1e-3, cbs=[Checkpoints('run', steps=2), CSVLogger()])
        assert learn.recorder.metric_names==['epoch','train_loss','time']
        assert [len(v) for v in learn.recorder.values]==[1,1]
        assert open('history.csv').readline().strip()=='epoch,train_loss,time' and len(learn.metrics)>1
        assert len(learn.get_preds()[0])==0 and len(learn.get_preds(ds_idx=0)[0])==len(learn.dls.train_ds)
        learn.get_preds(with_input=True, with_loss=name!='gaps' and name!='blocks')
        assert {f.part for f in learn.check()}<={'training','both'}
        with pytest.raises(ValueError, match='train_loss: there are no validation rows'): learn.fit(1, cbs=SaveModelCallback())
        learn.fit(1, 1e-4, cbs=SaveModelCallback(monitor='train_loss'))
        some = ['the [MASK] film' if name in ('gaps','blocks') else 'the film']
        assert TransformersLearner.from_pretrained(learn.save_pretrained('saved')).predict_batch(some)==learn.predict_batch(some)
        scores = learn.validate(dl=learn.dls.test_dl(learn.dls.train_ds.items[:5], with_labels=True))
        assert scores[0] is not None and len(scores)==1+len(learn.metrics)

def test_a_run_on_all_rows_goes_on(bert):
    def fit(learn):
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 1e-3, cbs=Checkpoints('run', steps=3))
    whole = ALL['single'](bert)
    fit(whole)
    again = ALL['single'](bert)
    with again.no_bar(), again.no_logging(): again.resume('run')
    assert again.recorder.values==whole.recorder.values
    assert all(torch.equal(a, b) for a,b in zip(whole.model.parameters(), again.model.parameters()))

# Columns and arguments

NUMBERED = pd.DataFrame({0:DF.label, 1:DF.text, 2:[TEXTS[-i] for i in range(48)], 3:[i/7 for i in range(48)], 4:[i%2 for i in range(48)], 5:[int(i%3==0) for i in range(48)]})

@pytest.mark.parametrize('kwargs', first([dict(text=1, label=0), dict(text=[1], label=[4,5]), dict(text=[1,2], label=0), dict(text=np.int64(1), label=3), dict(text=(1,2), label=pd.Index([3]), problem_type='regression')], 2), ids=str)
def test_columns_named_by_numbers(kwargs, bert):
    learn = learner('single', bert, NUMBERED, **kwargs)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3)
        learn.check()
        loaded = TransformersLearner.from_pretrained(learn.save_pretrained('saved'))
        assert loaded.predict_batch(NUMBERED[:3])==learn.predict_batch(NUMBERED[:3].to_dict('records'))
        assert [tl.tfms.fs[0].names for tl in loaded.dls.valid_ds.tls]==[tl.tfms.fs[0].names for tl in learn.dls.valid_ds.tls]
        assert loaded.validate(dl=loaded.dls.test_dl(NUMBERED[:6], with_labels=True))[0]==pytest.approx(learn.validate(dl=learn.dls.test_dl(NUMBERED[:6], with_labels=True))[0])
        assert learn.predict(NUMBERED.iloc[0])[0] is not None
    assert '`1`' in model_card(learn)

def test_tags_gaps_and_flags_in_columns_named_by_numbers(bert):
    df = WORDS.rename(columns=dict(tokens=7, tags=8)).assign(**{'x':TEXTS})
    learn = token_classification_learner(df, bert, words=7, tags=8, bs=8)
    assert TransformersLearner.from_pretrained(learn.save_pretrained('saved')).predict_batch(df[:2])==learn.predict_batch(df[:2])
    assert len(masked_lm_learner(NUMBERED, bert, text=2, bs=8, valid=5).dls.valid_ds)==16
    assert len(masked_lm_learner(NUMBERED, bert, text=2, bs=8, valid='group:0').dls.valid_ds)==16

def test_a_column_that_stands_twice(bert):
    df = pd.concat([DF, DF.text.rename('note'), DF.label.rename('note')], axis=1)
    learn = learner('single', bert, df)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert learn.predict_batch(df[:2])
    assert token_classification_learner(WORDS.assign(a=1, b=1).rename(columns=dict(a='n', b='n')), bert, bs=8)
    for kwargs in (dict(text='note'), dict(label='note'), dict(text=['text','note']), dict(valid='note'), dict(valid='group:note')):
        with pytest.raises(ValueError, match=r"'note' stands 2 times.*duplicated"): learner('single', bert, df, **kwargs)
    with pytest.raises(ValueError, match="'note' stands 2 times"): learner('single', bert, DF.rename(columns=dict(text='note')), text='note').predict_batch(df)

@pytest.mark.parametrize('kwargs,error,said', [(dict(text=None),TypeError,'text=None: the name'), (dict(text=[]),ValueError,r'text=\[\]: the name'), (dict(text=1.5),TypeError,'text=1.5'), (dict(text=True),TypeError,'text=True'), (dict(text={'a':1}),TypeError,'text={'), (dict(text=[None]),TypeError,r'text=\[None\]'),
    (dict(label=[]),ValueError,r'label=\[\]: the name'), (dict(label=None),TypeError,'label=None'), (dict(label=[1.5]),TypeError,'label='), (dict(bs=0),ValueError,'bs=0: a whole number of at least 1'), (dict(bs=2.5),ValueError,'bs=2.5'), (dict(bs='8'),ValueError,"bs='8'"), (dict(bs=None),ValueError,'bs=None'), (dict(bs=True),ValueError,'bs=True'),
    (dict(max_length='8'),ValueError,"max_length='8'"), (dict(max_length=8.5),ValueError,'max_length=8.5'), (dict(max_length=0),ValueError,'max_length=0: a whole number of at least 1'), (dict(overlap='2'),ValueError,"overlap='2'"), (dict(overlap=-1),ValueError,'overlap=-1'), (dict(overlap=1.5),ValueError,'overlap=1.5'), (dict(seed='x'),ValueError,"seed='x'"), (dict(seed=-1),ValueError,'seed=-1'), (dict(seed=1.5),ValueError,'seed=1.5')], ids=str)
def test_arguments_that_are_none(kwargs, error, said, bert):
    with pytest.raises(error, match=said): learner('single', bert, **kwargs)
    name,v = next(iter(kwargs.items()))
    if name!='overlap' and name!='label' and v!=['text','body']:
        with pytest.raises(error, match=said): masked_lm_learner(DF, bert, **kwargs)
    tagged = dict(words=v) if name=='text' else dict(tags=v) if name=='label' else kwargs
    with pytest.raises(error, match=said.replace('text=', 'words=').replace('label=', 'tags=')): token_classification_learner(WORDS, bert, **tagged)

@pytest.mark.parametrize('kwargs,error,said', [(dict(mlm_probability='a'),TypeError,"mlm_probability='a': a number"), (dict(mlm_probability=None),TypeError,'mlm_probability=None'), (dict(mlm_probability=True),TypeError,'mlm_probability=True'), (dict(mlm_probability=1.5),ValueError,'mlm_probability=1.5'), (dict(mask_share='x'),TypeError,"mask_share='x'"),
    (dict(random_share=None),TypeError,'random_share=None'), (dict(block_size='9'),ValueError,"block_size='9'"), (dict(block_size=-4),ValueError,'block_size=-4'), (dict(block_size=7.5),ValueError,'block_size=7.5'), (dict(text=['text','label']),ValueError,r"text=\['text', 'label'\]: the name of a column is expected$")], ids=str)
def test_arguments_of_gaps_that_are_none(kwargs, error, said, bert):
    with pytest.raises(error, match=said): masked_lm_learner(DF, bert, **kwargs)

def test_labels_in_the_order_of_a_vocab(bert):
    learn = learner('single', bert, vocab=['good','bad','fine','superb'])
    assert list(learn.dls.vocab)==['good','bad','fine','superb']
    assert TransformersLearner.from_pretrained(learn.save_pretrained('saved')).dls.vocab==learn.dls.vocab
    with pytest.raises(ValueError, match=r"'fine' is not in vocab.*row"): learner('single', bert, vocab=['good','bad'])
    df = DF.assign(label=['new' if i==4 else o for i,o in enumerate(DF.label)])
    assert len(learner('single', bert, df, vocab=['bad','fine','good','new'], valid=[4,5]).dls.valid_ds)==2 # no training row has it

# Neighbours: pairs by fastai's reader, and what predictions take

def test_pairs_by_fastais_reader(bert):
    df,block = FRAMES['pair'],(TransformersTextBlock(bert, max_length=32), CategoryBlock)
    learns = [TransformersLearner(DataBlock(blocks=block, get_x=x, get_y=ColReader('same'), splitter=IndexSplitter(list(range(12)))).dataloaders(df, bs=8), bert) for x in (ColReader(['one','two']), lambda r: (r['one'],r['two']))]
    assert torch.equal(*(next(iter(l.dls.valid))[0] for l in learns))
    learn = learns[0]
    learn.dls.show_batch()
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3)
        items = list(zip(df.one, df.two))[:5]
        assert learn.predict_batch(df[:5])==learn.predict_batch(items)==TransformersLearner.from_pretrained(learn.save_pretrained('saved')).predict_batch(df[:5])
        assert len(learn.get_preds(dl=learn.dls.test_dl(df[:5]))[0])==5
        assert learn.predict(df.iloc[0])[0]==learn.predict(items[0])[0]

def test_a_reader_of_one_column_is_remembered(bert):
    df = DF.rename(columns=dict(text='body', label='class'))
    dls = DataBlock(blocks=(TransformersTextBlock(bert, max_length=32), CategoryBlock), get_x=ColReader('body'), get_y=ColReader('class'), splitter=IndexSplitter([0,1])).dataloaders(df, bs=8)
    learn = TransformersLearner(dls, bert)
    assert TransformersLearner.from_pretrained(learn.save_pretrained('saved')).predict_batch(df[:3])==learn.predict_batch(df[:3])

@pytest.mark.parametrize('name,call,said', [('single','predict_batch',r'no topk= here; did you mean top_k=\? \(it takes bs, out, resume, precision, top_k, abstain, sets, threshold\)'), ('tags','predict_batch',r'no aggregation= here; did you mean aggregation_strategy=\?'), ('gaps','predict_batch',r'no topk= here; did you mean top_k=\? \(it takes bs, out, resume, precision, top_k, targets\)'),
    ('gaps','predict',r'no temperatur= here; did you mean temperature=\?.*rm_type_tfms, with_input, temperature, seed, targets'), ('single','predict',r'no topk= here')])
def test_unknown_arguments_of_predictions(name, call, said, bert):
    learn = ALL[name](bert)
    word = 'aggregation' if name=='tags' else 'temperatur' if call=='predict' and name=='gaps' else 'topk'
    with pytest.raises(TypeError, match=said): getattr(learn, call)('the [MASK]' if call=='predict' else ['the [MASK]'], **{word:1})
    if call=='predict_batch':
        with pytest.raises(TypeError, match=said): learn.predict_batch(['the [MASK]'], out='p.jsonl', **{word:1})
        for bs in (0, 2.5, '8'):
            with pytest.raises(ValueError, match=f'bs={bs!r}'): learn.predict_batch(['the [MASK]'], bs=bs)

def test_targets_of_gaps(bert):
    learn = ALL['gaps'](bert)
    texts = ['the [MASK] was in a small town', 'they [MASK] and [MASK] home']
    with learn.no_bar():
        every,some = learn.predict_batch(texts, top_k=10_000),learn.predict_batch(texts, targets=['film','river','Town','river'])
        for one,chosen in [(every[0],some[0]), *zip(every[1], some[1])]: assert [g for g in one if g['token_str'] in ('film','river','town')]==chosen and len(chosen)==3
        assert [len(g) for g in learn.predict_batch(texts[:1], targets='film', top_k=2)]==[1]
        assert learn.predict(texts[0], targets=['film','river'])[1]==learn.predict_batch(texts[:1], targets=['film','river'])[0][0]['token_str']
        assert learn.predict(texts[0], targets=['river'], temperature=5., seed=1)[0]=='the river was in a small town'
        for odd,said in ((['film','boringly'],"'boringly' is no token of this model, but"), ([],r'targets=\[\]'), ([3],r'targets=\[3\]'), (['\u4e00'],'no token'), ([''],"'' is no token of this model, but nothing")):
            with pytest.raises(ValueError, match=said): learn.predict_batch(texts, targets=odd)
        with pytest.raises(ValueError, match='top_k=0'): learn.predict_batch(texts, top_k=0)
    transformers = pytest.importorskip('transformers')
    theirs = transformers.pipeline('fill-mask', model=str(learn.save_pretrained('saved')))(texts[0], targets=['film','river'])
    assert [(g['token'],g['sequence']) for g in theirs]==[(g['token'],g['sequence']) for g in learn.predict_batch(texts[:1], targets=['film','river'])[0]]

@pytest.mark.parametrize('valid,trains,validates', [('group:author','\\d+','\\d+'), ('dev.csv',36,12), ('0',48,0), ('flag',44,4)])
def test_the_command_line(valid, trains, validates, bert, in_tmp, capsys):
    df = AUTHORS.assign(flag=[False]*44+[True]*4)
    (df[:36] if valid=='dev.csv' else df).to_csv('data.csv', index=False)
    df[36:].to_csv('dev.csv', index=False)
    assert main(['train', 'data.csv', str(bert), '--valid', valid, '--epochs', '1', '--lr', '1e-3', '--bs', '8', '--out', 'm'])==0
    assert re.search(rf'^{trains} rows to train on, {validates} to validate', capsys.readouterr().out, re.M)

@pytest.mark.parametrize('n,labels', [(1, 1), (50, 3), (5000, 300), (100_000, 70_000)])
def test_a_draw_is_that_of_a_stable_sort(n, labels):
    "Numbers of more than 16 bits too, and many equal turns."
    rng = np.random.default_rng(n)
    codes = pd.factorize(rng.integers(0, labels, n))[0]
    assert np.array_equal(_earlier(codes), pd.Series(codes).groupby(codes).cumcount())
    turns = np.where(rng.random(n)<.2, np.inf, rng.integers(0, 5, n)/5)
    for k in {0, 1, n//3, n-1, n}: assert set(_first(turns, k))==set(np.argsort(turns, kind='stable')[:k])

F = Features(dict(text=Value('string'), label=ClassLabel(names=['good','fine','bad'])))
IDS = DF.label.map(dict(good=0, fine=1, bad=2))

def with_classes(data, bert, **kwargs): return sequence_classification_learner(data, bert, bs=8, **kwargs)

@pytest.mark.parametrize('order', [1, -1], ids=['dataset_first','frame_first'])
@pytest.mark.parametrize('kind', ['ids','names'])
def test_ids_of_a_class_label_beside_a_frame(kind, order, bert):
    ds = Dataset.from_dict(dict(text=TEXTS[:30], label=IDS[:30].tolist()), features=F)
    frame = DF[30:].assign(label=DF.label[30:] if kind=='names' else IDS[30:])
    learn = with_classes((ds, frame)[::order], bert)
    assert learn.names==['good','fine','bad'] and learn.model.config.id2label=={0:'good', 1:'fine', 2:'bad'}
    parts = [[r['label'] for r in part.items] for part in (learn.dls.train_ds, learn.dls.valid_ds)]
    assert parts[::order]==[DF.label[:30].tolist(), DF.label[30:].tolist()]
    if order==1: assert with_classes(ds, bert, valid=frame).names==learn.names

@pytest.mark.parametrize('order', [1, -1], ids=['dataset_first','frame_first'])
@pytest.mark.parametrize('several', [False, True], ids=['one','several'])
def test_names_that_no_row_has_beside_a_frame(several, order, bert):
    as_given = (lambda o: [o]) if several else (lambda o: o)
    names = ClassLabel(names=['other','good','fine','bad','none'])
    ds = Dataset.from_dict(dict(text=TEXTS[:30], label=[as_given(names.str2int(o)) for o in DF.label[:30]]), features=Features(text=Value('string'), label=List(names) if several else names))
    frame = DF[30:].assign(label=[as_given(o) for o in DF.label[30:]])
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        for data in ((ds, frame)[::order], (ds, ds)): assert with_classes(data, bert).names==names.names
        assert with_classes((frame, frame), bert).names==sorted({*DF.label})
    odd = frame.assign(label=[as_given('odd'), *frame.label[1:]])
    assert with_classes((odd, ds), bert).names==['bad','fine','good','odd'] # which the `ClassLabel` has not

def test_no_label_of_a_class_label_beside_a_frame(bert):
    ds = Dataset.from_dict(dict(text=TEXTS[:30], label=[-1, *IDS[1:30].tolist()]), features=F)
    with pytest.raises(ValueError, match='no label in row 0 of train'): with_classes((ds, DF[30:].assign(label=IDS[30:])), bert)
    gap = IDS[30:].astype(float).mask(np.arange(len(DF)-30)==2)
    whole = Dataset.from_dict(dict(text=TEXTS[:30], label=IDS[:30].tolist()), features=F)
    with pytest.raises(ValueError, match='no label in row 2 of validation'): with_classes((whole, DF[30:].assign(label=gap)), bert)

def test_a_fraction_in_an_array():
    for share in (np.array(.25), torch.tensor(.25), np.float32(.25)):
        for part,same in zip(split_rows(ROWS, {}, share), split_rows(ROWS, {}, .25)): assert part.tolist()==same.tolist()

def test_a_function_of_a_row_is_no_splitter(bert):
    with pytest.raises(TypeError, match="read by number.*FuncSplitter"): split_rows(ROWS, {}, lambda row: row['label']=='bad')

@pytest.mark.parametrize('values,named', [(('train','valid'),'valid'), (('0','1'),'1'), (('fit','Validation'),'Validation'), (('False','True'),'True')])
def test_a_column_of_texts_is_told_by_the_text_for_validation(values, named, bert):
    df = DF.assign(part=[values[i%4==0] for i in range(len(DF))])
    with pytest.raises(ValueError, match=re.escape(f"valid=(df['part']=={named!r}).to_numpy()")): learner('single', bert, df, valid='part')
    assert learner('single', bert, df, valid=(df['part']==named).to_numpy())

@pytest.mark.parametrize('names,there,said', [(['1','0'], [1,0], True), (['1','2','3'], [1,2], True), (['0','1'], [0,1], False), (['a','b'], [0,1], False), (['1','0'], ['1','0'], False)])
def test_numbers_beside_names_that_are_numbers(names, there, said):
    own = Dataset.from_dict(dict(text=list('abcd'), label=[0,1]*2), features=Features(dict(text=Value('string'), label=ClassLabel(names=names))))
    other = pd.DataFrame(dict(text=list('efgh'), label=there*2))
    for pair in ((own, other), (other, own)):
        if said:
            with pytest.raises(ValueError, match="may be a name, or the number of one"): read_split(pair, .2)
        else: assert len(read_split(pair, .2)[0])==8

@pytest.mark.parametrize('first,second', [(['0','1','unknown'], ['0','1']), (['0','1'], ['0','1','unknown']), (['True','False','maybe'], ['True','False'])])
def test_labels_of_two_files_are_of_one_type(first, second, bert, in_tmp):
    for name,labels in (('train', first), ('valid', second)): pd.DataFrame(dict(text=TEXTS[:12], label=(labels*12)[:12])).to_csv(f'{name}.csv', index=False)
    wanted = sorted({*first, *second})
    for data,more in ((('train.csv','valid.csv'), {}), ('train.csv', dict(valid='valid.csv'))):
        assert sequence_classification_learner(data, bert, vocab=wanted, **more).dls.vocab==wanted

def test_columns_of_one_name_in_two_tables_are_left_out(bert):
    more = FRAMES['single'][['label']].rename(columns=dict(label='x'))
    one,two = (pd.concat([FRAMES['single'], *[more]*n], axis=1) for n in (2, 1))
    for pair in ((one, two), (one, one)): assert sequence_classification_learner(pair, bert).dls.vocab==['bad','fine','good']

def test_rows_that_are_neither_are_not_trained_on(bert):
    df = DF.assign(sp=['train']*30+['test']*8+['valid']*10)
    with pytest.raises(ValueError, match=r"drop the rows of 'test', which would be trained on, and pass valid=\(df\['sp'\]=='valid'\)"): learner('single', bert, df, valid='sp')

def test_a_fraction_of_data_with_a_part_of_its_own(bert):
    data = DatasetDict(train=Dataset.from_pandas(DF), validation=Dataset.from_pandas(DF.head(12)))
    with pytest.raises(ValueError, match="valid=0.1: the data has a part 'validation'"): sequence_classification_learner(data, bert, valid=.1)
    assert len(sequence_classification_learner(data, bert).dls.valid_ds)==12

def test_a_series_of_numbers_that_the_index_has_elsewhere():
    df = DF.set_index(pd.Index(range(10, 58)))
    with pytest.warns(UserWarning, match=r'pass pd.Index\(valid\)'): assert row_numbers(Rows(df), pd.Series([20,21])).tolist()==[20,21]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        row_numbers(Rows(DF), pd.Series([20,21]))
        row_numbers(Rows(df), [20,21])

@pytest.mark.parametrize('name,values', [('is_valid', [False, True]), ('is_valid', [0, 1]), ('split', ['train','valid']), ('split', ['train','dev','test'])])
def test_a_column_that_says_which_rows_validate_is_told_of(name, values, bert):
    df = FRAMES['single'].assign(**{name:[values[i] for i in np.random.default_rng(0).integers(len(values), size=len(FRAMES['single']))]})
    with pytest.warns(UserWarning, match=f"a random part validates, although column '{name}'") as said: learner('single', bert, df, valid=.2)
    told = str(said[-1].message)
    assert ("drop the rows of 'test'" in told)==(len(values)>2)
    way = told.split('pass valid=')[1]
    if len(values)>2: df = df[df[name]!='test']
    learn = learner('single', bert, df, valid=eval(way, dict(df=df)))
    assert set(learn.dls.valid_ds.items.column(name))=={values[1]} and values[1] not in set(learn.dls.train_ds.items.column(name))

def test_a_column_that_is_called_so_by_chance_is_let_be(bert):
    df = FRAMES['single']
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='a random part')
        learner('single', bert, df.assign(split=[f'{i%3} to {i%2}' for i in range(len(df))]), valid=.2)
        learner('single', bert, df.assign(split='train'), valid=.2)
        learner('single', bert, df.assign(is_valid=[bool(i%2) for i in range(len(df))]), valid='is_valid')

def test_small_groups_validate_though_they_hold_the_last_of_a_label():
    df = pd.DataFrame(dict(g=['A']*900+['B']*50+['C']*50, text='a', label=['x','y']*450+['x']*50+['y']*50))
    for seed in range(12): assert len(split_rows(Rows(df), {}, GroupSplitter('g', .2), seed, ['label'])[1])<=200

def test_a_test_part_that_trains_is_told():
    rows,parts = read_rows(DatasetDict(validation_matched=Dataset.from_dict(dict(text=['a']*4)), test_matched=Dataset.from_dict(dict(text=['b']*6))))
    with pytest.warns(UserWarning, match="no part is called 'train': 'test_matched' trains"): assert len(split_rows(rows, parts, 'validation_matched')[0])==6
