"`learn.relabel`: labels put right in place, seen by all that looks at rows afterwards; the user's table stays, and an error changes nothing."
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict
from small import FRAMES, TEXTS, learner, sentences

from blurlike.all import (CategoryBlock, Callback, ColReader, DataBlock, Rows, TransformersLearner, TransformersTextBlock, compare, masked_lm_learner,
    question_answering_learner, sequence_classification_learner, token_classification_learner)
from blurlike.train.run_facts import run_facts

pytestmark = [pytest.mark.usefixtures('in_tmp'), pytest.mark.filterwarnings('ignore')]
DF = FRAMES['single']
TAGGED = pd.DataFrame(dict(tokens=[t.split() for t in TEXTS], tags=[['B-X' if w in ('great','lovely','superb') else 'O' for w in t.split()] for t in TEXTS]))
HOT = pd.DataFrame(dict(text=TEXTS, a=[i%2 for i in range(48)], b=[i%3==0 for i in range(48)]))
VECTORS = pd.DataFrame(dict(text=TEXTS, v=[[i%2, int(i%3==0), 1] for i in range(48)]))
NUMBERS = pd.DataFrame(dict(text=TEXTS, a=[i/7 for i in range(48)], b=[i/9 for i in range(48)]))
NAMED = Dataset.from_pandas(DF).cast_column('label', ClassLabel(names=['bad','fine','good']))

def targets_of(dl): return [t for *_,y in dl.new(shuffle=False, drop_last=False) for t in y.as_subclass(torch.Tensor).tolist()]

# kind -> learner, new label of row 0, what stood there in the column, and the encoded target
WAYS = dict(
    single=(lambda c: learner('single', c, valid=range(36, 48)), 'good', 'bad', 2),
    boolean=(lambda c: learner('pair', c, valid=range(36, 48)), True, bool(FRAMES['pair'].same[0]), 1),
    numbered=(lambda c: sequence_classification_learner(DF.assign(label=[i%3 for i in range(48)]), c, bs=5, valid=range(36, 48)), np.int64(2), 0, 2),
    vocab=(lambda c: sequence_classification_learner(DF.assign(label=[i%3 for i in range(48)]), c, bs=5, valid=range(36, 48), vocab=['x','y','z']), 'z', 0, 2),
    named=(lambda c: sequence_classification_learner(NAMED, c, bs=5, valid=range(36, 48)), 'good', 'bad', 2),
    several=(lambda c: learner('multi', c, valid=range(36, 48)), ['sure','good'], FRAMES['multi'].tags[0], [0, 1, 1]),
    none=(lambda c: learner('multi', c, valid=range(36, 48)), [], FRAMES['multi'].tags[0], [0, 0, 0]),
    hot=(lambda c: sequence_classification_learner(HOT, c, label=['a','b'], bs=5, valid=range(36, 48)), ['a'], dict(a=0, b=True), [1, 0]),
    vector=(lambda c: sequence_classification_learner(VECTORS, c, label='v', vocab=['a','b','c'], bs=5, valid=range(36, 48)), {'a'}, [0, 1, 1], [1, 0, 0]),
    number=(lambda c: learner('regression', c, valid=range(36, 48)), 3, FRAMES['regression'].score[0], 3.),
    several_numbers=(lambda c: sequence_classification_learner(NUMBERS, c, label=['a','b'], bs=5, valid=range(36, 48)), np.array([1., 2.]), dict(a=0., b=0.), [1., 2.]),
    choice=(lambda c: learner('choice', c, valid=range(36, 48)), 1-int(FRAMES['choice'].label[0]), FRAMES['choice'].label[0], 1-int(FRAMES['choice'].label[0])))

@pytest.mark.parametrize('way', list(WAYS))
def test_the_new_label_is_what_is_read(way, bert):
    make,label,before,target = WAYS[way]
    learn = make(bert)
    next(iter(learn.dls.train)) # some rows are remembered
    list(learn.dls.valid)
    old = targets_of(learn.dls.train)
    done = learn.relabel([0], [label])
    assert done.columns.tolist()==['row','part','before','label','text'] and done.row.tolist()==[0] and done.part.tolist()==['training']
    assert done.before[0]==before or dict(done.before[0])==before
    now = targets_of(learn.dls.train)
    assert now[0]==target and now[1:]==old[1:] and torch.as_tensor(learn.dls.train_ds[0][1]).tolist()==target

def test_a_correction_is_what_counted_before_the_next_one(bert):
    learn = learner('single', bert, DF, valid=range(36, 48))
    first,second,third = DF.label[0],*[o for o in learn.names if o!=DF.label[0]][:2]
    assert [learn.relabel([0], [o]).before[0] for o in (second, third, first)]==[first, second, third]

def test_tags_and_answers(bert):
    tagger = token_classification_learner(TAGGED, bert, bs=5, valid=range(36, 48))
    list(tagger.dls.train)
    n = len(TAGGED.tokens[0])
    tagger.relabel([0], [['B-X']*n])
    assert tagger.dls.train_ds[0][1].tolist()==[1]*n and TAGGED.tags[0]!=['B-X']*n
    _,y = next(iter(tagger.dls.train.new(shuffle=False)))
    assert (y[0][y[0]>=0]==1).all()
    a = FRAMES['answers']
    for data,names in ((a, 'answers'), (a.assign(t=a.answers.map(lambda o: o['text']), s=a.answers.map(lambda o: o['answer_start'])), ['t','s'])):
        learn = question_answering_learner(data, bert, answers=names, bs=5, valid=range(36, 48))
        list(learn.dls.train)
        learn.relabel([0], [dict(text=[a.context[0][:4]], answer_start=[0])])
        assert learn.dls.train_ds[0][1].tolist()==[0, len(a.context[0][:4].rstrip())]
        with pytest.raises(ValueError, match='^row 0: the answer .* does not stand'): learn.relabel([0], [dict(text=['zzz'], answer_start=[0])])

def test_all_that_looks_at_rows_sees_it(bert):
    df = DF.copy()
    learn = learner('single', bert, df, valid=range(36, 48))
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-2)
    right = learn.report()
    counts = learn.check().tables['labels']
    guess = learn.predict_batch(df[36:])
    rows,labels = list(range(36, 48)),[g['label'] for g in guess]
    learn.relabel(rows, labels)
    assert learn.report().scores.score['accuracy']==1 and learn.validate()[1]==1 and right.scores.score['accuracy']<1
    assert learn.report(by='label').slices.index.get_level_values('value').tolist()==pd.Series(labels).value_counts().index.tolist()
    now = learn.check().tables['labels'].set_index('label').validation
    assert now.to_dict()=={v:labels.count(v) for v in learn.names} and now.to_dict()!=counts.set_index('label').validation.to_dict()
    assert compare(learn, learn).a.scores.score['accuracy']==1
    assert learn.get_preds()[1].tolist()==[learn.names.index(l) for l in labels]
    assert pd.Series(learn.dls.valid_ds.items.column('label')).tolist()==labels
    pd.testing.assert_frame_equal(df, DF)

def test_training_learns_the_new_labels(bert):
    learn = learner('single', bert, valid=range(36, 48))
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(1, 1e-2)
        learn.relabel(range(36), ['fine']*36)
        learn.fit_one_cycle(3, 1e-2)
    assert {p['label'] for p in learn.predict_batch(TEXTS)}=={'fine'}

def test_suspects_relabel_fit(bert):
    texts,labels = sentences(200)
    df = pd.DataFrame(dict(text=texts, label=labels))
    wrong = {7:'good', 33:'good', 160:'bad'}
    assert all(df.label[i]!=l for i,l in wrong.items())
    noisy = df.assign(label=[wrong.get(i, l) for i,l in enumerate(labels)])
    learn = learner('single', bert, noisy, valid=range(150, 200))
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    found = learn.check(labels=True).suspects
    mine = found[found.row.isin(wrong)]
    assert 7 in set(mine.row) and all(labels[r]==l for r,l in zip(mine.row, mine.likelier))
    learn.relabel(mine.row, mine.likelier, mine.part)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert not set(mine.row)&set(learn.check(labels=True).suspects.row)
    stands = [*learn.dls.train_ds.items.column('label'), *learn.dls.valid_ds.items.column('label')]
    assert [stands[r] for r in mine.row]==[labels[r] for r in mine.row]

def test_top_losses_name_the_rows_to_relabel(bert):
    from blurlike.all import Interpretation
    learn = learner('single', bert, valid=[3,9,14,20,25,31])
    worst = Interpretation.from_learner(learn)
    rows = worst.dl.row_numbers(worst.top_losses(2)[1])
    assert set(rows)<={3,9,14,20,25,31}
    learn.relabel(rows, ['fine']*2)
    assert [learn.dls.valid_ds.items.column('label')[[3,9,14,20,25,31].index(r)] for r in rows]==['fine']*2

# --------------------------------------------------------------------------- whose rows

def two_parts(how):
    if how=='dict': return DatasetDict(train=NAMED.select(range(30)), validation=NAMED.select(range(30, 48)), test=NAMED.select(range(5))),{}
    if how=='tables': return (DF[:30], DF[30:]),{}
    return DF[:30].reset_index(drop=True),dict(valid=DF[30:])

@pytest.mark.parametrize('how', ['dict','tables','valid'])
def test_each_part_counts_its_own_rows(how, bert):
    data,kwargs = two_parts(how)
    learn = sequence_classification_learner(data, bert, bs=5, **kwargs)
    with pytest.raises(ValueError, match="each part counts its own rows: pass part='training' or 'validation'"): learn.relabel([3], ['good'])
    done = learn.relabel([3, 3], ['good','fine'], pd.Series(['validation','training']))
    assert done.part.tolist()==['validation','training'] and done.before.tolist()==[DF.label[33], DF.label[3]]
    assert learn.dls.valid_ds[3][1]==2 and learn.dls.train_ds[3][1]==1
    with pytest.raises(ValueError, match='row 25: no such row'): learn.relabel([25], ['good'], 'validation')

def test_row_numbers_are_places_in_the_table(bert):
    df = DF.set_index(pd.Index(range(100, 148)))
    valid = [40, 3, 17]
    learn = learner('single', bert, df, valid=valid)
    done = learn.relabel([17, 0, 40], ['fine','fine','good'])
    assert done.part.tolist()==['validation','training','validation'] and done.before.tolist()==DF.label[[17, 0, 40]].tolist()
    assert learn.dls.valid_ds.items.column('label').tolist()==['good', DF.label[3], 'fine']

@pytest.mark.parametrize('source', ['frame','dataset','parquet','dicts'])
def test_the_users_own_data_stays(source, bert, tmp_path):
    df = DF.copy()
    if source=='parquet': df.to_parquet(tmp_path/'a.parquet')
    data = dict(frame=df, dataset=Dataset.from_pandas(df), parquet=tmp_path/'a.parquet', dicts=df.to_dict('records'))[source]
    learn = learner('single', bert, data)
    learn.relabel(range(48), ['fine']*48)
    now = pd.read_parquet(data) if source=='parquet' else pd.DataFrame(list(data)) if source!='frame' else data
    assert now.label.tolist()==DF.label.tolist()
    assert set(learn.dls.train_ds.items.column('label'))=={'fine'}=={r['label'] for r in learn.dls.valid_ds.items}

@pytest.mark.parametrize('way', list(WAYS))
def test_a_label_that_was_there_already_is_told(way, bert):
    make,label,_,_ = WAYS[way]
    learn = make(bert)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        done = learn.relabel([0], [label])
    with pytest.warns(UserWarning, match='^row 0 had the label given already.*row numbers are those of your table.*learn.dls.valid.row_numbers'): learn.relabel([0], [label])
    text = FRAMES['pair'].one[0] if way=='boolean' else FRAMES['choice'].text[0] if way=='choice' else TEXTS[0]
    assert done.text[0].startswith(text[:12])

def test_two_learners_over_the_same_rows(bert):
    rows = Rows(DF)
    one,other = (learner('single', bert, rows) for _ in range(2))
    one.relabel(range(48), ['fine']*48)
    assert set(other.dls.train_ds.items.column('label'))=={'bad','fine','good'}==set(rows.column('label'))

# --------------------------------------------------------------------------- what is refused

BAD = dict(several=(([38, 3, 5, 0], ['x','bad','y','z']), ValueError, "^row 38: unknown label 'x'.* \\(rows 5, 0 cannot be read either\\)$"),
    label=(([0], ['x']), ValueError, "row 0: unknown label 'x'; the learner knows 'bad', 'fine', 'good'"), twice=(([0, 5, 0], ['bad']*3), ValueError, 'row 0 more than once'),
    twice_found=(([0, 5, 0], ['bad']*3, ['training', None, None]), ValueError, 'row 0 more than once'),
    negative=(([-1], ['bad']), ValueError, 'row -1: no such row'), far=(([1, 48, 99], ['bad']*3), ValueError, 'rows 48, 99: no such row'), huge=(([10**30], ['bad']), ValueError, 'no such row'),
    boolean=(([True], ['bad']), TypeError, 'rows holds True'), flag=((np.array([True]), ['bad']), TypeError, 'rows holds True'), fraction=(([3.], ['bad']), TypeError, 'rows holds 3.0'),
    text=((['3'], ['bad']), TypeError, "rows holds '3'"), one=((3, 'bad'), TypeError, 'rows=3: a list of row numbers'), string=(('3', ['bad']), TypeError, "rows='3': a list"),
    set=(({3}, ['bad']), TypeError, 'a list of row numbers'), one_label=(([3], 'bad'), TypeError, "labels='bad': a list of labels"), lengths=(([3, 4], ['bad']), ValueError, '2 rows and 1 labels'),
    parts=(([3, 4], ['bad']*2, ['training']), ValueError, '2 rows and 1 part'), missing=(([3], [None]), ValueError, 'row 3: unknown label None'), nan=(([3], [float('nan')]), ValueError, 'row 3: unknown label nan'),
    na=(([3], [pd.NA]), ValueError, 'row 3: unknown label <NA>'), many=(([3], [['bad']]), ValueError, "row 3: unknown label \\['bad'\\]"), part=(([3], ['bad'], 'test'), ValueError, "part='test': 'training' or 'validation'"),
    other_part=(([47], ['bad'], 'training'), ValueError, 'row 47: no such row'))

@pytest.mark.parametrize('case', list(BAD))
def test_what_cannot_be_done_is_said(case, bert):
    args,error,said = BAD[case]
    learn = learner('single', bert, valid=range(36, 48))
    before = targets_of(learn.dls.train)
    with pytest.raises(error, match=said): learn.relabel(*args)
    assert targets_of(learn.dls.train)==before and learn.dls.train_ds.items.changed=={}

@pytest.mark.parametrize('kind,label,error,said', [('multi', 'bad', TypeError, "row 1: 'bad' is no list of labels"), ('multi', ['bad', None], ValueError, 'row 1: unknown label None'),
    ('regression', float('nan'), ValueError, "row 1: column 'score' holds nan"), ('regression', 'x', ValueError, "row 1: column 'score' holds 'x'"), ('regression', [1.], ValueError, 'a number is expected'),
    ('choice', 7, ValueError, 'row 1: the label 7 is choice number 7'), ('choice', None, ValueError, 'row 1: no label'), ('pair', 1, ValueError, 'row 1: unknown label 1; the learner knows False, True')])
def test_one_bad_label_changes_nothing(kind, label, error, said, bert):
    learn = learner(kind, bert, valid=range(36, 48))
    list(learn.dls.train)
    good = targets_of(learn.dls.train)
    mine = learn.dls.train_ds.items.column(learn.dls.train_ds.tls[1].tfms.fs[0].names if kind!='choice' else 'label').tolist()
    with pytest.raises(error, match=said): learn.relabel([2, 1], [mine[0], label])
    assert targets_of(learn.dls.train)==good and not any(learn.dls.train_ds.items.changed.values())

def test_tags_must_fit(bert):
    learn = token_classification_learner(TAGGED, bert, bs=5, valid=range(36, 48))
    n = len(TAGGED.tokens[2])
    for label,error,said in ((['O']*(n+1), ValueError, f'row 2: {n} words and {n+1} tags'), (['B-Y']*n, ValueError, "row 2: unknown tag 'B-Y'"), ('O', TypeError, "row 2: 'O' is no list of tags"), ({'O'}, TypeError, 'row 2')):
        with pytest.raises(error, match=said): learn.relabel([2], [label])
    numbers = sequence_classification_learner(NUMBERS, bert, label=['a','b'], bs=5)
    for label in ([1.], 1., [1., 2., 3.]):
        with pytest.raises(ValueError, match="row 0: .* are no 2 numbers, one for each of 'a', 'b'"): numbers.relabel([0], [label])

def test_no_rows_are_no_change(bert):
    learn = learner('single', bert)
    done = learn.relabel([], [])
    assert len(done)==0 and done.columns.tolist()==['row','part','before','label','text']

def test_learners_whose_labels_stand_nowhere(bert):
    with pytest.raises(TypeError, match='the text is its own target'): masked_lm_learner(DF[['text']], bert, bs=5).relabel([0], ['x'])
    dls = DataBlock([TransformersTextBlock(bert), CategoryBlock], get_x=ColReader('text'), get_y=ColReader('label')).dataloaders(DF, bs=5)
    with pytest.raises(TypeError, match='made by a DataBlock'): sequence_classification_learner(dls, bert).relabel([0], ['good'])
    learn = TransformersLearner.from_pretrained(learner('single', bert).save_pretrained('saved'))
    with pytest.raises(ValueError, match='has no rows: it was loaded from a folder'): learn.relabel([0], ['good'])

def test_not_during_a_fit(bert):
    class Meddler(Callback):
        def after_batch(self): self.learn.relabel([0], ['good'])
    learn = learner('single', bert)
    with learn.no_bar(), learn.no_logging(), pytest.raises(RuntimeError, match='during a fit'): learn.fit(1, 1e-3, cbs=Meddler())
    learn.relabel([0], ['good'])

# --------------------------------------------------------------------------- what lasts

def test_several_calls_and_a_change_of_mind(bert):
    learn = learner('single', bert, valid=range(36, 48))
    before = targets_of(learn.dls.train)
    done = learn.relabel([0, 1], ['good','good'])
    learn.relabel([0], ['fine'])
    assert targets_of(learn.dls.train)[:2]==[1, 2]
    learn.relabel(done.row, done.before)
    assert targets_of(learn.dls.train)==before

def test_remembered_rows_and_loaders_made_before(bert):
    learn = learner('single', bert, valid=range(36, 48))
    list(learn.dls.train), learn.validate(), learn.get_preds()
    made = learn.dls.valid.new(shuffle=False)
    list(made)
    want = [0]*12
    learn.relabel(range(36, 48), ['bad']*12)
    assert targets_of(made)==want==learn.get_preds()[1].tolist() and learn.dls.valid.by_length().memory is learn.dls.valid.memory
    assert [t for *_,y in learn.dls.valid.by_length() for t in y.tolist()]==want
    learn.relabel(range(36), ['good']*36)
    assert {t for *_,y in learn.dls.train for t in y.tolist()}=={2} # shuffled

def test_loaders_that_read_row_by_row(bert):
    learn = learner('single', bert, valid=range(36, 48), dl_kwargs=dict(after_item=lambda o: o))
    assert not learn.dls.train.reader.by_column
    list(learn.dls.train), list(learn.dls.valid)
    learn.relabel([0, 40], ['good','good'])
    assert targets_of(learn.dls.train)[0]==2==targets_of(learn.dls.valid)[4]

def test_a_run_with_other_labels_is_told(bert):
    one,other = (learner('single', bert, valid=range(36, 48)) for _ in range(2))
    plain = run_facts(one)
    assert plain==run_facts(other)
    one.relabel([0], ['good'])
    assert run_facts(one)['training data']!=plain['training data'] and run_facts(one)['validation data']==plain['validation data']
    fixed = learner('single', bert, DF.assign(label=['good', *DF.label[1:]]), valid=range(36, 48))
    assert run_facts(one)['training data']==run_facts(fixed)['training data'] # as if the table had been corrected

def test_one_row_among_many_is_told(bert):
    "Facts read some rows of many: one that was changed is among them."
    from blurlike.train.run_facts import data_facts
    learn = learner('single', bert, valid=range(36, 48))
    before = data_facts(learn.dls.train, most=4)
    learn.relabel([5], ['bad' if DF.label[5]!='bad' else 'good'])
    assert data_facts(learn.dls.train, most=4)!=before

def test_what_was_decided_with_the_labels_before_is_told(bert):
    learn = learner('single', bert, valid=range(36, 48))
    learn.calibrate()
    with pytest.warns(UserWarning, match='^calibration: found on validation rows'): learn.relabel([40], ['good'])
    a = FRAMES['answers']
    plain = learner('answers', bert, a.assign(answers=[dict(text=[], answer_start=[])]+a.answers[1:].tolist()), valid=range(36, 48))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        learn.relabel([0], ['good'])
        plain.relabel([40], [dict(text=[], answer_start=[])])

def test_folders_and_exports_as_ever(bert):
    from blurlike.all import load_learner
    learn = learner('single', bert)
    learn.relabel([0], ['good'])
    want = learn.predict_batch(TEXTS[:3])
    assert TransformersLearner.from_pretrained(learn.save_pretrained('saved')).predict_batch(TEXTS[:3])==want
    learn.export('a.pkl')
    assert load_learner('a.pkl').predict_batch(TEXTS[:3])==want

def test_parts_may_be_called_as_the_loaders_are(bert):
    learn = learner('single', bert, DatasetDict(train=Dataset.from_pandas(DF), valid=Dataset.from_pandas(DF[:8])))
    assert learn.relabel([0], ['fine'], part='train').part.tolist()==['training']
    assert learn.relabel([0], ['fine'], part='valid').part.tolist()==['validation']

@pytest.mark.parametrize('kind', ['single','multi','regression'])
def test_what_predict_gives_is_a_label(kind, bert):
    learn = learner(kind, bert, valid=range(36, 48))
    if kind=='multi': learn.threshold = .01
    given = learn.predict(TEXTS[0])[0]
    assert len(learn.relabel([0], [given]))==1
