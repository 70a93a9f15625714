"What the label column says is what is learnt."
import ast,datetime,decimal,enum,json,re,shlex,uuid,warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import transformers
from blurlike.all import Callback, Rows, TokenCategoryBlock, TransformersLearner, TransformersTextBlock, load_learner, masked_lm_learner, sequence_classification_learner, token_classification_learner
from blurlike.cli import main
from blurlike.data.label_columns import label_counts
from blurlike.data.target_kinds import alike_labels
from blurlike.data.targets import read_target
from datasets import ClassLabel, Dataset, Features, Sequence, Value
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ColReader
from small import FRAMES, TEXTS
from transformers import pipeline as tf_pipeline

pytestmark = pytest.mark.usefixtures('in_tmp')
N = 24
VALID = [0,5,10,15,20,23]
SPLITS = [i for i in range(N) if i not in VALID],VALID

def cycle(*labels): return [labels[i%len(labels)] for i in range(N)]
def frame(label): return pd.DataFrame(dict(text=TEXTS[:N])).assign(label=pd.Series(label).array if isinstance(label, list) else label)
def dataset(label, feature): return Dataset.from_dict(dict(text=TEXTS[:N], label=label), features=Features(text=Value('string'), label=feature))
def table(label): return label if isinstance(label, (pd.DataFrame, Dataset, str)) else frame(label)
def make(bert, data, **kwargs): return sequence_classification_learner(table(data), bert, **dict(valid=VALID, bs=6) | kwargs)
def targets(learn): return [y.tolist() for _,y in learn.dls.valid_ds]
def scored(learn, rows): return torch.cat([torch.as_tensor(y) for _,y in learn.dls.test_dl(rows, with_labels=True)]).tolist()
def read(label, columns='label', problem_type=None, vocab=None, splits=SPLITS): return read_target(Rows(table(label)), splits, columns, problem_type, vocab)
def refused(label, match, error=ValueError, **kwargs):
    with pytest.raises(error, match=match): read(label, **kwargs)

def silent(f):
    "The result of `f()`, which warns of nothing."
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        return f()

# Vectors of 0 and 1

HOT = [[1,0,0],[0,1,1],[1,1,0],[0,0,0]]
WAYS = dict(lists=list, tuples=tuple, arrays=np.array, floats=lambda o: [float(i) for i in o], bools=lambda o: [bool(i) for i in o], text=lambda o: [str(i) for i in o])

@pytest.mark.parametrize('way', list(WAYS))
def test_vectors_are_indicators(way, bert):
    data = frame([WAYS[way](HOT[i%4]) for i in range(N)])
    with pytest.warns(UserWarning, match='3 times 0 or 1 are read as vectors.*vocab='): learn = make(bert, data)
    assert list(learn.dls.vocab)==[0,1,2] and targets(learn)==[HOT[i%4] for i in VALID]
    assert learn.model.config.problem_type=='multi_label_classification'
    assert scored(learn, data.iloc[:4])==HOT
    kind,vocab,y = silent(lambda: read(data, vocab=['a','b','c']))
    assert vocab==['a','b','c'] and y(Rows(data)[1])==['b','c']
    assert label_counts(vocab, y, Rows(data)).tolist()==[12,12,6]

@pytest.mark.parametrize('feature', [Sequence(Value('float32')), Sequence(Value('int64'), length=3), Sequence(Value('bool')), Sequence(ClassLabel(names=['a','b','c']))], ids=str)
def test_vectors_of_a_dataset(feature):
    ds = dataset(cycle(*HOT), feature)
    _,vocab,y = silent(lambda: read(ds, vocab=None if hasattr(feature.feature, 'names') else ['a','b','c']))
    assert vocab==['a','b','c']
    assert [y(r) for r in Rows(ds)][:4]==[['a'],['b','c'],['a','b'],[]]
    assert y.read_many(Rows(ds), [2,1])[0]==[['a','b'],['b','c']]

def test_a_saved_learner_reads_vectors(bert):
    data = frame(cycle(*HOT))
    with pytest.warns(UserWarning, match='read as vectors'): learn = make(bert, data)
    learn.save_pretrained('saved')
    again = TransformersLearner.from_pretrained('saved')
    assert list(again.dls.vocab)==[0,1,2]
    assert scored(again, data.iloc[:4])==HOT==scored(again, Dataset.from_pandas(data.iloc[:4]))
    with pytest.raises(ValueError, match=r'row 0.*vector of 3 times'): scored(again, pd.DataFrame(dict(text=['a'], label=[[1,0]])))

@pytest.mark.parametrize('lists,vocab,want', [(cycle([0,1],[0],[1]), [0,1], [0,1]), (cycle([0],[1]), [0,1], [0]), (cycle([0,1,2],[1,0,2]), [0,1,2], [0,1,2]), (cycle([],[0,1],[1]), [0,1], [])], ids=str)
def test_lists_of_ids_are_labels(lists, vocab, want):
    kind,v,y = silent(lambda: read(lists))
    assert v==vocab and y(dict(label=lists[0]))==want and kind=='multi_label_classification'

def test_ids_of_a_class_label_are_no_vector():
    ds = dataset(cycle([0,1],[1,2],[0,2]), Sequence(ClassLabel(names=['a','b','c'])))
    _,vocab,y = read(ds)
    assert vocab==['a','b','c'] and y(Rows(ds)[1])==['b','c']

@pytest.mark.parametrize('label,vocab,match', [(cycle([1,0,-1],[0,1,1]), None, '-1, 0 and 1'), (cycle([.2,.8],[.9,.1]), None, 'lists of fractions, e.g. 0.'), (cycle([1,0,1],[0,1,1]), ['a','b'], '3 times 0 or 1, but there are 2 names'),
    (cycle([[1],[0]],[[1]]), None, 'lists of list'), (cycle(['a',1],['a']), None, 'mixes types of labels: int, str')], ids=['minus','fractions','names','nested','mixed'])
def test_vectors_that_mean_nothing(label, vocab, match): refused(label, match, (ValueError, TypeError), vocab=vocab)

def test_a_place_that_is_never_set_is_told_of():
    with pytest.warns(UserWarning, match="no training row has the labels 'c'"): assert read(cycle([1,0,0],[1,1,0]), vocab=['a','b','c'])[1]==['a','b','c']

# One-hot columns

def hot(a, b=(1,0)): return pd.DataFrame(dict(text=TEXTS[:N], a=cycle(*a), b=cycle(*b)))

@pytest.mark.parametrize('a', [(-1,1), ('no','yes'), (0.1,0,1), ('0','x'), (2,1), (np.nan,1)], ids=str)
@pytest.mark.parametrize('problem_type', [None, 'multi_label_classification'])
def test_one_hot_columns_hold_0_and_1(a, problem_type): refused(hot(a), "column 'a' (holds|has no label in rows 0)", columns=['a','b'], problem_type=problem_type)

FLAGS = dict(whole=[0,1,0], bools=[True,False,False], floats=[0.,1.,0.], text=['0','1','1'], words=['False','true','TRUE '], nullable=pd.array([0,1,1]*(N//3), dtype='Int64'))
ALONE = dict(columns='spam', problem_type='multi_label_classification')

@pytest.mark.parametrize('way', list(FLAGS))
def test_a_column_of_0_and_1_may_be_one_label(way, bert):
    data = pd.DataFrame(dict(text=TEXTS[:N])).assign(spam=FLAGS[way] if way=='nullable' else FLAGS[way]*(N//3))
    learn = make(bert, data, label='spam', problem_type='multi_label_classification')
    want = [[float(str(v).strip().lower() in ('1','1.0','true'))] for v in data.spam]
    assert learn.names==['spam'] and targets(learn)==[want[i] for i in VALID] and label_counts(['spam'], learn.dls.train_ds.tls[1].tfms.fs[0], Rows(data)).item()==sum(v for v, in want)
    learn.threshold = .3
    folder = learn.save_pretrained('m')
    learn.export('m.pkl')
    for other in (TransformersLearner.from_pretrained(folder), load_learner('m.pkl')):
        assert other.names==['spam'] and other.threshold==learn.threshold and scored(other, data)==scored(learn, data)==[v for v in want]
        assert other.predict_batch(data)==learn.predict_batch(data)
    with pytest.raises(TypeError, match=r"row 0: 1 is no list of labels, such as \['spam'\] or \[\]"): learn.relabel([0], [1])
    learn.relabel([VALID[0]], [['spam'] if want[VALID[0]]==[0.] else []])
    assert targets(learn)==[[1-want[0][0]], *[want[i] for i in VALID[1:]]]
    model = tf_pipeline('text-classification', model=str(folder), truncation=True, top_k=None)
    assert [[o['label'] for o in row] for row in model(TEXTS[:2])]==[['spam']]*2
    np.testing.assert_allclose([r[0]['score'] for r in model(TEXTS[:2])], [r[0]['score'] for r in learn.predict_batch(TEXTS[:2], top_k=1)], rtol=1e-4)

@pytest.mark.parametrize('values,said', [([0,1,2], r"must hold lists of labels .*, or 0 and 1 \(has a row this one label\?\), it holds 2. For one label, e.g. `df\['spam'\]==2`$"), (['no','yes','no'], r"it holds '(no|yes)'. For one label, e.g. `df\['spam'\]=='(no|yes)'`; for lists split it"), ([0,1,np.nan], "has no label in rows 2"), ([0,0,0], 'no training row has this label')])
def test_what_is_no_single_label(values, said):
    refused(pd.DataFrame(dict(text=TEXTS[:N], spam=values*(N//3))), said, **ALONE)
    refused(pd.DataFrame(dict(text=TEXTS[:N], spam=[0,1,0]*(N//3))), r"vocab=\['ham'\] must name the columns", vocab=['ham'], **ALONE)

def test_a_row_to_score_has_the_label_or_not(bert):
    learn = make(bert, pd.DataFrame(dict(text=TEXTS[:N], spam=[0,1,0]*(N//3))), label='spam', problem_type='multi_label_classification')
    for odd in (2, 'yes', [1,0], None):
        with pytest.raises(ValueError, match=r"row 1: .*0 or 1 is expected"): scored(learn, [dict(text='a', spam=1), dict(text='b', spam=odd)])
    assert scored(learn, [dict(text='a', spam=[1]), dict(text='b', spam=False)])==[[1.], [0.]]

@pytest.mark.parametrize('a', [(-1,0,1), (0,1,.5), (-1,1)], ids=str)
def test_numbers_beside_0_and_1_are_asked_about(a):
    refused(hot(a), "problem_type='regression'", columns=['a','b'])
    assert read(hot(a), ['a','b'], 'regression')[0]=='regression'
def test_several_numbers_are_numbers(): assert silent(lambda: read(hot((1,5,2), (.5,2)), ['a','b']))[0]=='regression'

@pytest.mark.parametrize('a', [('0','1'), ('False','True'), (' false','TRUE '), ('0',True)], ids=str)
def test_text_spells_0_and_1(a, bert):
    with pytest.warns(UserWarning, match="'a' holds text: '1' and 'true' are read as set") if a[1] is not True else warnings.catch_warnings(): learn = make(bert, hot(a), label=['a','b'])
    assert targets(learn)==[[i%2,1-i%2] for i in VALID] and scored(learn, hot(a).iloc[:2])==[[0,1],[1,0]]
    with pytest.raises(ValueError, match=r"rows 0, 2.*column 'a' holds -1"): scored(learn, hot((-1,1)))

def test_the_vocab_orders_one_hot_columns():
    assert read(hot((0,1)), ['a','b'], vocab=['b','a'])[1]==['b','a']
    refused(hot((0,1)), 'must name the columns', columns=['a','b'], vocab=['b','c'])

# A label twice in a row

def test_a_label_twice_in_a_row_counts_once(bert):
    learn = make(bert, cycle(['x','x','x'],['y'],['x','y']))
    assert torch.isfinite(learn.model.classifier.bias).all()
    assert np.isfinite(learn.validate()[0])
    assert learn.check().labels.training.sum()==sum(map(len, map(set, cycle(['x','x','x'],['y'],['x','y'])))) - sum(learn.check().labels.validation)
    assert (make(bert, cycle(['x','x','x'],['y'],['x','y']), class_weights='balanced').loss_func.func.pos_weight>0).all()

# Names and numbers of a ClassLabel

NAMES = ClassLabel(names=['neg','pos'])
def named(label, names=('neg','pos')): return dataset(label, ClassLabel(names=list(names)))

def test_minus_one_is_no_label(bert):
    refused(dataset(cycle([0],[1,-1]), Sequence(NAMES)), r'no label in rows 1, 3')
    refused(named(cycle(0,1,-1)), r'no label in rows 2, 5')
    learn = make(bert, named(cycle(0,1)))
    for rows in (named(cycle(-1,1)), frame(cycle(-1,1))):
        with pytest.raises((ValueError, KeyError), match='rows 0, 2.*(None|-1)'): scored(learn, rows)

def test_names_are_compared_and_both_spellings_read(bert):
    learn = make(bert, named(cycle(0,1)))
    for rows in (named(cycle(0,1)), named(cycle(1,0), ('pos','neg')), frame(cycle('neg','pos')), frame(cycle(0,1)), named(cycle(0,2), ('neg','odd','pos'))): assert scored(learn, rows)==cycle(0,1)
    with pytest.raises((ValueError, KeyError), match='rows 1, 3.*odd'): scored(learn, named(cycle(0,1), ('neg','odd')))
    learn.save_pretrained('saved')
    again = TransformersLearner.from_pretrained('saved')
    for rows in (named(cycle(0,1)), named(cycle(1,0), ('pos','neg')), frame(cycle('neg','pos'))): assert scored(again, rows)==cycle(0,1)
    names = make(bert, frame(cycle('neg','pos')))
    assert scored(names, named(cycle(1,0), ('pos','neg')))==cycle(0,1)

def test_numbers_that_may_be_names_are_asked_about(bert):
    "Of a learner whose labels are the names '1' and '0', a new table with numbers says nothing of which is meant; a csv of them holds names."
    learn = make(bert, named(cycle(0,1), ('1','0')))
    for rows in (frame(cycle(1,0)), frame(cycle([1],[0])).assign(label=cycle(0,1))):
        with pytest.raises(ValueError, match="column 'label' holds [01], which may be the label '[01]', or label number [01], '[01]'"): scored(learn, rows)
    assert scored(learn, frame(cycle('1','0')))==scored(learn, named(cycle(0,1), ('1','0')))==cycle(0,1)
    frame(cycle('1','0')).to_csv('names.csv', index=False)
    assert learn.report('names.csv').metrics==learn.report(frame(cycle('1','0'))).metrics
    assert scored(make(bert, named(cycle(0,1), ('0','1'))), frame(cycle(1,0)))==cycle(1,0)

class Mood(str, enum.Enum):
    JOY,FEAR = 'joy','fear'
class Part(str, enum.Enum):
    NONE,BEGIN,IN = 'O','B-PER','I-PER'
PAIRS = [['Ada','Lovelace','met'] for _ in range(N)]
def single_moods(bert): return make(bert, frame(pd.Series([Mood.JOY, Mood.FEAR]*(N//2), dtype=object)))
def several_moods(bert): return make(bert, frame([[Mood.JOY]*(i%2)+[Mood.FEAR]*(i%3>0) for i in range(N)]))
def moods_in_order(bert): return make(bert, cycle('joy','fear'), vocab=[*Mood])
def mood_tags(bert): return token_classification_learner(pd.DataFrame(dict(tokens=PAIRS, tags=[[Part.BEGIN,Part.IN,Part.NONE] for _ in range(N)])), bert, valid=VALID)
def mood_spans(bert): return token_classification_learner(pd.DataFrame(dict(text=[' '.join(w) for w in PAIRS], spans=[[(0, 3, Mood.JOY)] for _ in range(N)])), bert, words='text', tags='spans', valid=VALID)
MOODS = {single_moods:['fear','joy'], several_moods:['fear','joy'], moods_in_order:['joy','fear'], mood_tags:['O','B-PER','I-PER'], mood_spans:['O','B-joy','I-joy']}

@pytest.mark.parametrize('made', MOODS, ids=lambda f: f.__name__)
def test_members_of_text_enums_are_their_text(made, bert):
    learn = made(bert)
    assert learn.names==[*learn.dls.vocab]==MOODS[made] and {type(n) for n in learn.names}=={str}
    again = TransformersLearner.from_pretrained(learn.save_pretrained('m'))
    assert again.names==learn.names and again.predict_batch(TEXTS[:2])==learn.predict_batch(TEXTS[:2])

@pytest.mark.parametrize('names', [('True','False'), ('true','false'), ('False','True')])
def test_true_is_the_name_and_no_number(names, bert):
    "A csv holds True where the text 'true' was written; as a number it would be the second name."
    learn,ids = make(bert, named(cycle(0,1), names)),cycle(*([0,1] if names[0].lower()=='true' else [1,0]))
    assert scored(learn, frame(cycle(True,False)))==ids
    both = sequence_classification_learner((named(cycle(0,1), names), frame(cycle(True,False))), bert)
    assert targets(both)==ids and both.names==list(names)
    with pytest.raises(ValueError, match='holds True'): scored(make(bert, named(cycle(0,1))), frame(cycle(True,False)))

@pytest.mark.parametrize('labels,said', [([2**70,5], '64 bits'), ([float(2**53),5.], 'floats'), ([[2**64],[5]], '64 bits')])
def test_whole_numbers_that_no_file_keeps(labels, said):
    refused(cycle(*labels), f'label .* a number of more digits than {said} tell apart: make the labels text', **(dict(problem_type='single_label_classification') if said=='floats' else {}))

def test_digits_with_underscores_are_no_number():
    refused(cycle('1_0','2.5'), "must hold numbers for regression, it holds '1_0'", problem_type='regression')
    refused(cycle('nan','2.5'), "holds nan: missing and infinite values", problem_type='regression')

def test_lists_of_names_and_numbers(bert):
    learn = make(bert, dataset(cycle([0],[1,0],[]), Sequence(NAMES)))
    for rows in (frame(cycle(['neg'],['pos','neg'],[])), frame(cycle([0],[1,0],[])), dataset(cycle([1],[0,1],[]), Sequence(ClassLabel(names=['pos','neg'])))): assert scored(learn, rows)[:3]==[[1,0],[1,1],[0,0]]

def test_numbers_stand_for_the_names_in_vocab():
    _,vocab,y = read(cycle(0,1), vocab=['neg','pos'])
    assert vocab==['neg','pos'] and y(dict(label=1))=='pos'
    assert label_counts(vocab, y, Rows(frame([0,1,1]+[0]*(N-3)))).tolist()==[N-2,2]
    _,vocab,y = read(cycle([0],[1,1]), vocab=['neg','pos'])
    assert y(dict(label=[1,1]))==['pos']
    refused(cycle(0,2), r"labels? 0, 2 are not in vocab, 'neg', 'pos' \(rows 0, 1", vocab=['neg','pos'])
    refused(cycle(1,0), "not in vocab, '0', '1'", vocab=['0','1'])
    refused(cycle('a','b'), "'b' is not in vocab, 'a', 'c'", vocab=['a','c'])
    refused(cycle('a','b'), 'list of different labels', vocab=['a','a'])
    refused(cycle(.5,1), 'vocab= is for labels', vocab=['a','b'])
    assert read(['a' if i in SPLITS[0] and i%2 else 'b' if i%2 else 'c' for i in range(N)], vocab=['b','c','a','d'])[1]==['b','c','a','d'] # more than there are

def test_categories_that_are_tuples(bert):
    lists = cycle(('a','b'), ('b',))
    both = [make(bert, frame(o)) for o in (lists, pd.Categorical(pd.Index(lists, tupleize_cols=False)))]
    assert both[0].names==both[1].names==['a','b'] and both[1].task.name=='multi_label_classification'
    targets = [[t.tolist() for _,t in o.dls.valid] for o in both]
    assert targets[0]==targets[1]

NEG_POS = {'label2id':{'pos':1, 'neg':0}, 'id2label':{0:'neg', 1:'pos'}, 'of_json':{'0':'neg', '1':'pos'}, 'numpy':{np.int64(1):'pos', np.int64(0):'neg'}, 'feature':ClassLabel(names=['neg','pos'])}

@pytest.mark.parametrize('form', NEG_POS)
def test_a_vocab_in_other_forms(form, bert):
    _,vocab,y = read(cycle(0,1), vocab=NEG_POS[form])
    assert vocab==['neg','pos'] and [y(dict(label=i)) for i in (0,1)]==vocab
    assert read(cycle('pos','neg'), vocab=NEG_POS[form])[1]==vocab
    tags = frame([['neg','pos']]*N).assign(tokens=[['a','b']]*N), frame([[0,1]]*N).assign(tokens=[['a','b']]*N)
    for data in tags: assert token_classification_learner(data, bert, tags='label', vocab=NEG_POS[form], bs=6).names==vocab
    assert list(TokenCategoryBlock(NEG_POS[form]).type_tfms[0].vocab)==vocab

@pytest.mark.parametrize('vocab,error,said', [({'neg','pos'},TypeError,'in order, is expected, not a set'), (frozenset(['neg','pos']),TypeError,'not a frozenset'), ('ab',TypeError,"vocab='ab'.*not a str"),
    ({'neg':1, 'pos':2},ValueError,r'from 0 to 1; or pass a list'), ({'neg':0, 'pos':0},ValueError,'label2id'), ({'neg':'a', 'pos':'b'},ValueError,'id2label'), ({0:1, 1:0},ValueError,'id2label'), ({},ValueError,'vocab={}')], ids=['set','frozenset','text','from_one','twice','names','both','empty'])
def test_a_vocab_without_an_order(vocab, error, said, bert):
    refused(cycle(0,1), said, error, vocab=vocab)
    with pytest.raises(error, match=said): token_classification_learner(frame([[0,1]]*N).assign(tokens=[['a','b']]*N), bert, tags='label', vocab=vocab)
    with pytest.raises(error, match=said): TokenCategoryBlock(vocab)

# What can be a label

ODD = dict(date=[datetime.date(2024,5,i%2+1) for i in range(N)], stamp=pd.to_datetime(cycle('2024-01-01','2024-01-02')), decimal=cycle(decimal.Decimal('1'), decimal.Decimal('2')), bytes=cycle(b'a', b'b'), uuid=cycle(uuid.UUID(int=1), uuid.UUID(int=2)),
    interval=cycle(pd.Interval(0,1), pd.Interval(1,2)), cut=pd.cut(range(N), 2), surrogate=pd.Series(cycle('a\ud800','b'), dtype=object), surrogates=cycle(['a\ud800'],['b','c']), dict=cycle(dict(a=1), dict(b=1)), complex=cycle(1j, 2j), tuple_of_dates=cycle((datetime.date(2024,1,1),)))

@pytest.mark.parametrize('kind', list(ODD))
def test_labels_that_no_file_can_hold(kind): refused(ODD[kind], "column 'label' holds|label 'a.*lone surrogate", (ValueError, TypeError))

COLUMNS = dict(category=lambda v: pd.Categorical(v), arrow=lambda v: pd.array(v, dtype=pd.ArrowDtype(pa.array(v).type)), objects=lambda v: np.array(v, dtype=object), sparse=lambda v: pd.arrays.SparseArray(v))
VALUES = dict(text=('a','b'), ints=(3,7), bools=(False,True), fractions=(.25,1.5))

@pytest.mark.parametrize('values', list(VALUES))
@pytest.mark.parametrize('column', list(COLUMNS))
def test_columns_of_every_dtype_are_read_as_plain_ones(column, values, bert):
    if (column, values)==('sparse','text'): pytest.skip('pandas has no sparse text')
    plain,odd = make(bert, cycle(*VALUES[values])),make(bert, frame(COLUMNS[column](cycle(*VALUES[values]))))
    assert odd.task is plain.task and list(odd.names)==list(plain.names)
    assert [type(o) for o in odd.names]==[type(o) for o in plain.names]
    assert targets(odd)==targets(plain)
    with odd.no_bar(), plain.no_bar(): assert odd.validate()==plain.validate()

def test_decimals_are_numbers(bert):
    data = frame(cycle(decimal.Decimal('1.5'), decimal.Decimal('2')))
    for d in (data, Dataset(pa.Table.from_pandas(data))): assert make(bert, d).task.name=='regression' and targets(make(bert, d))==[[1.5,2.][i%2] for i in VALID]

def test_unused_categories_get_no_output():
    with pytest.warns(UserWarning, match="no row has the categories 'c'"): assert read(frame(pd.Categorical(cycle('b','a'), ['c','b','a'])))[1]==['b','a']
    assert silent(lambda: read(frame(pd.Categorical(cycle('b','a'), ['c','b','a'])), vocab=['c','b','a']))[1]==['c','b','a']

@pytest.mark.parametrize('way', [tuple, set, frozenset, np.array, lambda o: pd.array(o, dtype=pd.ArrowDtype(pa.string())).to_numpy()])
def test_any_collection_of_labels(way, bert):
    data = frame([way(o) for o in cycle(['a'],['b','a'],['b'])])
    learn = make(bert, data)
    assert list(learn.dls.vocab)==['a','b']
    assert targets(learn)==[[[1,0],[1,1],[0,1]][i%3] for i in VALID]
    assert scored(learn, data.iloc[:3])==[[1,0],[1,1],[0,1]]
    with learn.no_bar(): assert np.isfinite(learn.validate()[0])

def test_categories_of_whole_floats():
    for values in ([1.,2.], [2,1]): assert read(pd.Categorical(cycle(*values), categories=sorted(values)), problem_type='single_label_classification')[1]==[1,2]
    assert [type(v) for v in read(pd.Categorical(cycle(1., 2.)), problem_type='single_label_classification')[1]]==[int,int]

def test_missing_values_in_lists(): refused(frame([['a',pd.NA] if i==3 else ['a','b'] if i%2 else ['b'] for i in range(N)]), r'no label in row 3\b')

@pytest.mark.parametrize('data,bad', [(cycle('a','b'), [None,np.nan,'c',3]), (cycle(['a'],['b','a']), [None,[None],[np.nan],['c'],'a',3]), (cycle(1.5,2), [None,np.nan,np.inf,'c'])], ids=['label','labels','number'])
def test_rows_to_score_name_the_row_that_has_no_label(data, bad, bert):
    learn = make(bert, data)
    for v in bad:
        with pytest.raises((ValueError, KeyError, TypeError), match="row 1.*(label'? holds|was not included|were not included|its label is missing)"): scored(learn, frame([data[0],v]+data[2:]))

def test_a_missing_label_is_not_called_another_one(bert):
    learn = make(bert, cycle('nan','b'))
    for v in (None, np.nan, pd.NA):
        with pytest.raises(ValueError, match='row 1: its label is missing'): scored(learn, frame(['b',v]+cycle('nan','b')[2:]))

@pytest.mark.parametrize('labels,odd,said', [(('1','2','x'), 1, r"rows 1, 3: the number 1 is no label here; the learner knows the text '1': .*astype\(str\)"), (('1','2','x'), 2., r"the number 2.0 .*the text '2'"), ((1,2), '1', r"the text '1' .*the number 1: .*astype\(int\)"),
    ((True,False), 'True', r"the text 'True' .*the truth value True: .*== 'True'"), (('True','no'), True, "the truth value True .*the text 'True'"), ((['1'],['2','1']), [1], "the number 1 .*the text '1'")], ids=str)
def test_a_label_of_another_type_is_told(labels, odd, said, bert):
    data = cycle(*labels)
    learn = make(bert, data)
    with pytest.raises(KeyError, match=said): scored(learn, frame([data[0],odd,data[2],odd]+data[4:]))

# Labels that look alike

def test_labels_that_look_alike_are_told_of():
    for twin in ('neg ','NEG','neg\u00a0','\uff4eeg'):
        with pytest.warns(UserWarning, match="'(neg|NEG)' and .* differ only by case"): assert len(read(cycle('neg',twin,'pos'))[1])==3
    assert alike_labels(['a','b',1,True,'A','1'])==[['a','A'],[1,'1']]

def test_alike_labels_are_a_finding(bert):
    with pytest.warns(UserWarning, match='differ only by case'): learn = make(bert, cycle('pos','neg','pos','neg','pos','neg '))
    report = learn.check()
    assert report.rows('alike', 'training').tolist()==[i for i in SPLITS[0] if i%6==5]
    assert report.rows('alike', 'validation').tolist()==[5,23]
    assert "'neg' and 'neg '" in next(f.message for f in report if f.what=='alike')
    assert not make(bert, cycle('pos','neg')).check().rows('alike').size
    with pytest.warns(UserWarning, match='differ only by case'): several = make(bert, cycle(['a'],['b','A'],['a','b']))
    assert several.check().rows('alike', 'training').tolist()==[i for i in SPLITS[0] if i%3==1]
    tagger = token_classification_learner(pd.DataFrame(dict(tokens=[['a','b']]*10, tags=[['B-PER','O']]*9+[['B-Per','O']])), bert, valid=[0,1], bs=4)
    assert tagger.check().rows('alike').tolist()==[9]

# The type of a label

TYPES = dict(ints=(3,7), bools=(False,True), text=('a','b'), numbered=('1','2'))

@pytest.mark.parametrize('kind', list(TYPES))
def test_predictions_have_the_type_of_the_data(kind, bert, monkeypatch):
    data = frame(cycle(*TYPES[kind]))
    learn = make(bert, data)
    learn.save_pretrained('saved')
    learn.export('learner.pkl')
    if kind in ('ints','bools'): monkeypatch.setattr(learn.model.classifier, 'forward', lambda x: torch.tensor([[0.,1.]]).expand(len(x), 2))
    want = type(TYPES[kind][0])
    for one in (learn, TransformersLearner.from_pretrained('saved'), load_learner('learner.pkl')):
        preds = one.predict_batch(data)
        assert {type(p['label']) for p in preds}=={want} and {p['label'] for p in preds}<=set(data.label)
        label,index,_ = one.predict(TEXTS[0])
        assert isinstance(label, want) and label==one.dls.vocab[index]==preds[0]['label']
        one.add_cb(type('Mine', (Callback,), {})())
        assert one.predict(TEXTS[0])[0]==label and isinstance(one.predict(TEXTS[0], with_input=True)[1], want)
    for path in ('p.jsonl','p.parquet'): learn.predict_batch(data, out=path)
    for rows in ([json.loads(l) for l in open('p.jsonl')], pd.read_parquet('p.parquet').to_dict('records')): assert {type(r['label']) for r in rows}=={want} and [r['label'] for r in rows]==[p['label'] for p in learn.predict_batch(data)]

def test_predictions_of_several_labels_have_the_type_of_the_data(bert):
    learn = make(bert, cycle([3],[7],[3,7]))
    learn.loss_func.thresh = 0.
    assert {type(o['label']) for p in learn.predict_batch(TEXTS[:4]) for o in p}<={int}
    assert all(isinstance(o, int) for o in learn.predict(TEXTS[0])[0])

def test_the_command_line_tells_labels_as_the_data_has_them(bert, capsys):
    frame(cycle(3,7)).to_json('d.jsonl', orient='records', lines=True)
    make(bert, 'd.jsonl').save_pretrained('saved')
    assert main(['predict', 'saved', 'd.jsonl'])==0
    assert {type(json.loads(l)['label']) for l in capsys.readouterr().out.splitlines()}=={int}

def test_a_block_of_numpy_labels(bert):
    dls = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock(vocab=np.array([3,7]))), get_x=ColReader('text'), get_y=ColReader('label')).dataloaders(frame(cycle(3,7)), bs=6)
    learn = sequence_classification_learner(dls, bert)
    learn.save_pretrained('saved')
    assert type(learn.predict_batch(TEXTS[:1])[0]['label']) is int
    assert TransformersLearner.from_pretrained('saved').names==[3,7]
    dls = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label')).dataloaders(frame(ODD['date']), bs=6)
    with pytest.raises(TypeError, match='is date'): sequence_classification_learner(dls, bert)

# A head that was trained for other labels

@pytest.fixture(scope='module')
def trained(bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained')
    learn = sequence_classification_learner(frame(cycle('negative','positive')), bert, valid=VALID, bs=6, path=folder)
    with torch.no_grad(): learn.model.classifier.weight.fill_(5.)
    return learn.save_pretrained(folder/'saved')

def kept(learn): return bool((learn.model.classifier.weight==5).all())

def test_a_head_of_other_labels_starts_anew(trained):
    for data in (cycle('z_bad','a_good'), cycle(0,1), cycle(['a'],['a','b'])):
        with pytest.warns(UserWarning, match="trained for 'negative', 'positive'.*starts anew"): learn = make(trained, data)
        assert not kept(learn) and learn.model.classifier.weight.std()<.1
        assert {'classifier.weight','classifier.bias'}<=learn.model.new_weights
        guess = learn.model.classifier.bias.detach()
        assert isinstance(data[0], list) or torch.allclose(guess.softmax(-1), torch.tensor([.5,.5]), atol=.2)
    with pytest.warns(UserWarning, match='starts anew'): assert not kept(make(TransformersLearner.from_pretrained(trained), cycle('x','y')))

@pytest.mark.parametrize('names', [('negative','positive'), ('POSITIVE','Negative')])
def test_a_head_of_the_same_labels_is_kept(names, trained):
    learn = silent(lambda: make(trained, cycle(*names)))
    assert kept(learn) and [n.lower() for n in learn.dls.vocab]==['negative','positive']
    assert learn.model.config.id2label=={0:learn.dls.vocab[0], 1:learn.dls.vocab[1]}

@pytest.mark.parametrize('cls', ['bert','roberta'])
def test_a_head_of_more_or_fewer_labels_starts_anew_and_says_so(cls, checkpoints):
    make(checkpoints(cls), cycle('a','b','c')).save_pretrained('three')
    with pytest.warns(UserWarning, match=r"trained for 'a', 'b', 'c'; the labels are now 'a', 'b', 'c', 'd' \(new 'd'\): their head starts anew.*name the labels"): make('three', cycle('a','b','c','d'))
    with pytest.warns(UserWarning, match=r"the labels are now 'a', 'b' \(gone 'c'\): their head starts anew.*pass vocab= with all"): make('three', cycle('a','b'))
    with pytest.warns(UserWarning, match=r"now 'a', 'x', 'y', 'z' \(gone 'b', 'c'; new 'x', 'y', 'z'\)"): make('three', cycle('a','x','y','z'))
    silent(lambda: make('three', cycle('a','b'), vocab=['a','b','c']))
    silent(lambda: make(checkpoints(cls), cycle('a','b','c'))) # of labels that nobody named
    silent(lambda: make('three', cycle('x','y'))) # another task, with a head of its own
    silent(lambda: masked_lm_learner(frame(cycle('a','b')), 'three', bs=6))

def test_loaders_with_the_labels_in_another_order(trained):
    dls = DataBlock(blocks=(TransformersTextBlock(trained), CategoryBlock(vocab=['positive','negative'], sort=False)), get_x=ColReader('text'), get_y=ColReader('label')).dataloaders(frame(cycle('negative','positive')), bs=6)
    with pytest.warns(UserWarning, match='starts anew'): assert not kept(TransformersLearner(dls, trained))

def test_a_loaded_model_tells_which_label_now_stands_for_which(trained, bert):
    load = transformers.AutoModelForSequenceClassification.from_pretrained
    with pytest.warns(UserWarning, match="'negative' now is 'a_good', 'positive' now is 'z_bad'"): assert kept(make(load(trained), cycle('z_bad','a_good'), tokenizer=trained))
    silent(lambda: make(load(trained), cycle('negative','positive'), tokenizer=trained))
    silent(lambda: make(load(bert, num_labels=2), cycle('x','y'), tokenizer=bert)) # LABEL_0 is no name

def test_a_head_that_nobody_named_is_kept(trained):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(trained, id2label={0:'LABEL_0', 1:'LABEL_1'}, label2id=dict(LABEL_0=0, LABEL_1=1))
    model.save_pretrained('unnamed')
    assert kept(silent(lambda: make('unnamed', cycle('x','y'), tokenizer=trained)))

def test_a_tagger_with_other_tags_starts_anew(bert):
    def tagger(checkpoint, *tags): return token_classification_learner(pd.DataFrame(dict(tokens=[['a','b']]*8, tags=[list(tags)]*8)), checkpoint, bs=4)
    learn = tagger(bert, 'B-PER', 'O')
    with torch.no_grad(): learn.model.classifier.weight.fill_(5.)
    learn.save_pretrained('tagger')
    assert kept(silent(lambda: tagger('tagger', 'B-PER', 'O')))
    with pytest.warns(UserWarning, match="trained for .*'B-PER'.*starts anew"): assert not kept(tagger('tagger', 'B-LOC', 'O'))

def test_several_numbers_in_another_order(bert):
    data = hot((1,5,2.5), (.5,2))
    learn = make(bert, data, label=['a','b'])
    with torch.no_grad(): learn.model.classifier.weight.fill_(5.)
    learn.save_pretrained('saved')
    assert kept(silent(lambda: make('saved', data, label=['a','b'])))
    with pytest.warns(UserWarning, match='starts anew'): assert not kept(make('saved', data, label=['b','a']))

# Texts in columns of every dtype

@pytest.mark.parametrize('column', ['category','arrow','objects'])
def test_texts_in_columns_of_every_dtype(column, bert):
    data = frame(cycle('a','b')).assign(text=pd.Series(COLUMNS[column](TEXTS[:N])))
    learn,plain = silent(lambda: make(bert, data)),make(bert, frame(cycle('a','b')))
    assert learn.texts_of(data)==TEXTS[:N] and scored(learn, data)==cycle(0,1)
    with learn.no_bar(), plain.no_bar(): assert learn.validate()==plain.validate()

# The names that the user gives

def test_named_vectors_train_save_and_score(bert):
    data = frame(cycle(*HOT))
    learn = silent(lambda: make(bert, data, vocab=['a','b','c']))
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    learn.save_pretrained('saved')
    again = TransformersLearner.from_pretrained('saved')
    assert again.names==['a','b','c'] and scored(again, data.iloc[:4])==HOT
    assert {o['label'] for p in again.predict_batch(data) for o in p}<=set('abc')
    assert silent(lambda: make('saved', data, vocab=['a','b','c'])).names==['a','b','c']
    with pytest.raises(ValueError, match=r"checkpoint's labels are \['a', 'b', 'c'\], in this order"): make('saved', data, vocab=['c','b','a'])

def test_named_numbers_train(bert):
    learn = silent(lambda: make(bert, cycle(0,1), vocab=['neg','pos']))
    assert learn.names==['neg','pos'] and targets(learn)==[i%2 for i in VALID]
    assert scored(learn, frame(cycle('pos',0)))[:2]==[1,0]

def test_labels_that_are_joined_are_told_of(bert):
    joined = FRAMES['single'].assign(label=[('a','b','a|b','b|a')[i%4] for i in range(48)])
    with pytest.warns(UserWarning, match=r"'a\|b', 'b\|a' are each a class.*str.split\('\|'\)"): sequence_classification_learner(joined, bert)
    spaced = joined.assign(label=joined.label.str.replace('|', ' '))
    with pytest.warns(UserWarning, match=r"'a b', 'b a' are each a class.*str.split\(' '\)"): sequence_classification_learner(spaced, bert)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        sequence_classification_learner(joined, bert, problem_type='single_label_classification')
        sequence_classification_learner(joined.assign(label=joined.label.replace({'a|b':'c|d', 'b|a':'e, f'})), bert) # parts of their own

def code_in(message): return re.findall('`(.*?)`', str(message))[-1]

def followed(df, message): # the column `label` as the advice makes it
    return df.assign(label=eval(code_in(message), dict(df=df, ast=ast, shlex=shlex)))

@pytest.mark.parametrize('joined', [['joy, anger','joy','anger','joy, sad','sad'], [' joy | anger','joy','anger ','sad|joy','sad'], ['joy;anger','joy','anger','joy;sad','sad']], ids=str)
def test_joined_labels_are_split_as_is_advised(joined, bert):
    df = pd.DataFrame(dict(text=TEXTS[:25], label=joined*5))
    with pytest.warns(UserWarning, match='a class of its own') as said: sequence_classification_learner(df, bert)
    with pytest.raises(ValueError, match='for lists split it') as refused: sequence_classification_learner(df, bert, problem_type='multi_label_classification')
    told = next(w for w in said if 'a class of its own' in str(w.message))
    assert code_in(told.message)==code_in(refused.value)
    assert silent(lambda: sequence_classification_learner(followed(df, told.message), bert)).names==['anger','joy','sad']

@pytest.mark.parametrize('written', [["['joy' 'anger']","['joy']",'["don\'t"]'], ["['joy', 'anger']",'["joy"]','["don\'t"]'], ["[joy, anger]","[joy]","[don t]"], ["[1 2]","[1]","[3]"]], ids=str)
def test_written_lists_are_read_as_is_advised(written, bert):
    df = pd.DataFrame(dict(text=TEXTS[:24], label=written*8))
    for kind in (None, 'multi_label_classification'):
        with pytest.raises(ValueError, match='jsonl or parquet') as e: sequence_classification_learner(df, bert, problem_type=kind)
        names = silent(lambda: sequence_classification_learner(followed(df, e.value), bert)).names
        assert names==([1,2,3] if '1' in written[0] else ['anger','don t' if 'don t' in written[2] else "don't",'joy'])

def test_words_in_lists_of_numpy_are_read_as_is_advised(bert):
    df = pd.DataFrame(dict(tokens=["['Ada' \"isn't\" 'here']"]*8, label=["['B-PER' 'O' 'O']"]*8))
    with pytest.raises(TypeError, match='keeps lists as text') as e: token_classification_learner(df, bert, tags='label')
    df = df.assign(tokens=eval(code_in(e.value), dict(df=df, shlex=shlex)), label=df.label.str[1:-1].map(shlex.split))
    assert df.tokens[0]==['Ada',"isn't",'here'] and 'B-PER' in token_classification_learner(df, bert, tags='label').names

def test_labels_in_lists_are_joined_as_is_advised(bert):
    df = pd.DataFrame(dict(text=TEXTS[:24], label=[['Joy','sad'],['joy '],['sad']]*8))
    with pytest.warns(UserWarning, match="'Joy' and 'joy ' differ") as said: sequence_classification_learner(df, bert)
    assert silent(lambda: sequence_classification_learner(followed(df, said[0].message), bert)).names==['joy','sad']
    df = pd.DataFrame(dict(text=TEXTS[:24], Joy=[0,1]*12, joy=[1,0]*12))
    with pytest.warns(UserWarning, match="'Joy' and 'joy' differ.*Make one of them"): sequence_classification_learner(df, bert, label=['Joy','joy'])

def test_types_in_lists_are_made_one_as_is_advised(bert):
    df = pd.DataFrame(dict(text=TEXTS[:24], label=[['a',1],['b'],[1]]*8))
    with pytest.raises(ValueError, match='mixes types of labels: int, str') as e: sequence_classification_learner(df, bert)
    df['label'] = eval("df['label']"+code_in(e.value), dict(df=df))
    learn = silent(lambda: sequence_classification_learner(df, bert))
    assert learn.names==['1','a','b']
    with pytest.raises(KeyError, match='the number 1 is no label here') as e: learn.validate(dl=learn.dls.test_dl(df.assign(label=[['a',1]]*24), with_labels=True))
    assert ".map(lambda o: [str(v) for v in o])" in str(e.value)

@pytest.mark.parametrize('name,said', [('batch_size','bs= is'), ('label_delim','as a list'), ('num_labels','vocab=')])
def test_arguments_of_others_lead_to_ours(name, said, bert):
    with pytest.raises(TypeError, match=f"there is no argument '{name}': .*{said}"): sequence_classification_learner(FRAMES['single'], bert, **{name:1})

def test_a_seed_may_be_numpys(bert):
    a,b = (sequence_classification_learner(FRAMES['single'], bert, seed=s) for s in (3, np.int64(3)))
    assert (a.dls.valid_ds.items.numbers==b.dls.valid_ds.items.numbers).all() and all(map(torch.equal, a.model.parameters(), b.model.parameters()))

@pytest.mark.parametrize('label', [['a','','b'], ['a','  ','b'], [['a'],['a',''],['b']]])
def test_empty_labels_are_told_of(label, bert):
    df = pd.DataFrame(dict(text=TEXTS[:24], label=label*8))
    with pytest.warns(UserWarning, match='empty text is learnt as a label of its own'): learn = sequence_classification_learner(df, bert)
    assert len(learn.names)==3

def test_quantities_that_were_read_as_text(bert):
    df = FRAMES['single'].assign(label=[f'{i%7/2+.25:.2f}' for i in range(48)])
    with pytest.warns(UserWarning, match=r"numbers written as text.*astype\(float\)"): sequence_classification_learner(df, bert)
    for kind,labels in ((dict(problem_type='single_label_classification'), df.label), ({}, [f'1.{i%4}' if i%8 else '1.10' for i in range(48)])): # versions
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            sequence_classification_learner(df.assign(label=labels), bert, **kind)
