"Predictions in a file: those of `predict_batch`, in order, also when the job was killed under way."
import json,os,signal,subprocess,sys
from pathlib import Path

import pandas as pd
import pytest
from blurlike.all import TransformersLearner, predict_to_file, token_classification_learner
from datasets import Dataset
from runs import WORDS, gaps
from small import FRAMES, TEXTS, in_tmp, learner # noqa: F401

pytestmark = pytest.mark.usefixtures('in_tmp')

def read(path):
    if Path(path).suffix=='.jsonl': rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    else: rows = json.loads(pd.read_parquet(path).to_json(orient='records', double_precision=15))
    return [r['predictions'] if isinstance(r, dict) and set(r)=={'predictions'} else r for r in rows]

def same(a, b): # numbers go through another printed form
    if isinstance(a, dict): return a.keys()==b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list): return len(a)==len(b) and all(map(same, a, b))
    return abs(a-b)<1e-6 if isinstance(a, float) else a==b

@pytest.fixture
def single(bert): return learner('single', bert)

@pytest.mark.parametrize('suffix', ['parquet','jsonl'])
@pytest.mark.parametrize('task', ['single','multi','regression','tags','gaps'])
def test_the_same_as_in_memory(task, suffix, bert):
    if task=='tags': learn,items,kwargs = token_classification_learner(WORDS, bert, bs=8),[['the','film'],[' '],*WORDS.tokens[:9]],dict(aggregation_strategy='first')
    elif task=='gaps': learn,items,kwargs = gaps(bert),['the [MASK] was','a [MASK] and [MASK]']*4,dict(top_k=3)
    else: learn,items,kwargs = learner(task, bert),TEXTS[:11],{}
    expected = json.loads(json.dumps(learn.predict_batch(items, **kwargs)))
    if task=='gaps' and suffix=='parquet': expected = [[o | dict(gap=None) for o in row] if isinstance(row[0], dict) else [o | dict(gap=k) for k,part in enumerate(row) for o in part] for row in expected]
    out = learn.predict_batch(items, bs=2, out=f'p.{suffix}', **kwargs)
    assert out==Path(f'p.{suffix}').absolute() and same(read(out), expected) and os.listdir()==[out.name]

@pytest.mark.parametrize('kind', ['list','series','frame','dataset'])
def test_sources(kind, single):
    df = FRAMES['single'][:13].set_index(pd.Index(range(7, 20)))
    items = dict(list=df.text.tolist(), series=df.text, frame=df, dataset=Dataset.from_pandas(df, preserve_index=False))[kind]
    predict_to_file(single, items, 'p.jsonl', bs=2, part=4)
    assert same(read('p.jsonl'), single.predict_batch(df.text.tolist()))

def test_no_rows(single):
    assert read(single.predict_batch([], out='p.jsonl'))==[] and len(pd.read_parquet(single.predict_batch([], out='p.parquet')))==0

def test_refusals(single, bert):
    predict_to_file(single, TEXTS[:4], 'p.jsonl')
    with pytest.raises(FileExistsError, match='is there already'): single.predict_batch(TEXTS[:4], out='p.jsonl')
    with pytest.warns(UserWarning, match='complete'): single.predict_batch(TEXTS[:4], out='p.jsonl', resume=True)
    with pytest.raises(ValueError, match='.parquet or .jsonl'): single.predict_batch(TEXTS[:4], out='p.csv')
    with pytest.raises(TypeError, match='rows 2 and on: item 1: .*NoneType'): predict_to_file(single, ['a','b','c',None], 'q.jsonl', part=2)
    with pytest.raises(FileExistsError, match='interrupted job.*resume=True'): predict_to_file(single, ['a','b','c','d'], 'q.jsonl', part=2)
    with pytest.raises(ValueError, match='had other rows than this one'): predict_to_file(single, ['a','b'], 'q.jsonl', part=2, resume=True)
    other = learner('single', bert)
    other.model.classifier.bias.data += 1
    with pytest.raises(ValueError, match='had other weights than this one'): predict_to_file(other, ['a','b','c','d'], 'q.jsonl', part=2, resume=True)
    predict_to_file(single, ['a','b','c','d'], 'q.jsonl', part=2, resume=True)
    assert same(read('q.jsonl'), single.predict_batch(['a','b','c','d']))

def test_cuts_are_reported_once(bert):
    learn = learner('single', bert, max_length=6)
    with pytest.warns(UserWarning) as said: predict_to_file(learn, ['the film was shown in a small town']*9, 'p.jsonl', part=3)
    said = [str(w.message) for w in said if 'max_length' in str(w.message)]
    assert len(said)==1 and said[0].startswith('rows 0 to 2: 3 of 3 texts')

JOB = '''import os,signal,sys,warnings
warnings.simplefilter('ignore')
from blurlike.all import *
learn,left,replace = TransformersLearner.from_pretrained(sys.argv[1]),[int(sys.argv[2])],os.replace
def counted(a, b):
    left[0] -= 1
    if left[0]==0: os.kill(os.getpid(), signal.SIGKILL)
    replace(a, b)
os.replace = counted
with learn.no_bar(): predict_to_file(learn, [f'a film of {i} days' for i in range(40)], 'p.parquet', bs=4, part=4, resume=True)'''

def test_a_killed_job_goes_on(single):
    single.save_pretrained('m')
    def run(n): return subprocess.run([sys.executable, '-c', JOB, 'm', str(n)], capture_output=True, text=True, env=os.environ | dict(PYTHONPATH=os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get('PYTHONPATH')]))))
    assert run(5).returncode==-signal.SIGKILL and not Path('p.parquet').exists()
    parts = {p.name:p.stat().st_mtime_ns for p in Path('.p.parquet.parts').glob('0*')}
    assert len(parts)==3
    assert run(8).returncode==-signal.SIGKILL # while the parts were joined
    assert len(list(Path('.p.parquet.parts').glob('0*')))==10 and not Path('p.parquet').exists()
    assert parts.items()<={p.name:p.stat().st_mtime_ns for p in Path('.p.parquet.parts').glob('0*')}.items() # not made again
    done = run(99)
    assert done.returncode==0, done.stderr
    again = TransformersLearner.from_pretrained('m')
    assert same(read('p.parquet'), again.predict_batch([f'a film of {i} days' for i in range(40)])) and not Path('.p.parquet.parts').exists()
