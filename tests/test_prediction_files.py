"Predictions in a file: those of `predict_batch`, in order, also when the job was killed under way."
import json,os,signal,subprocess,sys,threading
from pathlib import Path

import pandas as pd
import pytest
import torch
from blurlike.all import TransformersLearner, predict_to_file, token_classification_learner
from blurlike.cli import main
from blurlike.predict.prediction_files import _write_part
from blurlike.support.one_writer import OneWriter
from blurlike.support.warn import warn_user
from datasets import Dataset
from safetensors import SafetensorError
from fresh import here, run_fresh
from runs import WORDS, gaps
from small import ARCH, EVERY_KIND, FRAMES, TEXTS, WRITING, asked_of, learner, texts_of

pytestmark = pytest.mark.usefixtures('in_tmp')

def from_cell(v): return json.loads(v) if isinstance(v, str) and v[0] in '[{' else v

def read(path):
    if Path(path).suffix=='.jsonl': rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    elif Path(path).suffix=='.csv': rows = [{k:from_cell(v) for k,v in row.items()} for row in pd.read_csv(path).to_dict('records')]
    else: rows = json.loads(pd.read_parquet(path).to_json(orient='records', double_precision=15))
    return [r['predictions'] if isinstance(r, dict) and set(r)=={'predictions'} else r for r in rows]

def same(a, b): # numbers go through another printed form
    if isinstance(a, dict): return a.keys()==b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list): return len(a)==len(b) and all(map(same, a, b))
    return abs(a-b)<1e-6 if isinstance(a, float) else a==b

@pytest.fixture
def single(bert): return learner('single', bert)

def test_a_job_that_predicted_nothing_leaves_nothing(single):
    for bad in ([3, 'a film'], {'a film'}, dict(text=['a film'])):
        with pytest.raises(TypeError): single.predict_batch(bad, out='p.jsonl')
        assert os.listdir()==[]
    assert len(read(single.predict_batch(TEXTS[:3], out='p.jsonl')))==3
    with pytest.raises(TypeError): single.predict_batch([*TEXTS[:3], 3], bs=1, out='q.jsonl', ) # of one part: nothing of it stays
    assert sorted(os.listdir())==['.p.jsonl.job', 'p.jsonl']
    with pytest.raises(TypeError): predict_to_file(single, [*TEXTS[:3], 3], 'q.jsonl', part=2) # of two, one of which was made
    with pytest.raises(FileExistsError, match='interrupted job'): single.predict_batch(TEXTS[:4], out='q.jsonl')

@pytest.mark.parametrize('suffix', ['parquet','jsonl','csv'])
@pytest.mark.parametrize('task', ['single','multi','regression','choice','tags','gaps'])
def test_the_same_as_in_memory(task, suffix, bert):
    if task=='tags': learn,items,kwargs = token_classification_learner(WORDS, bert, bs=8),[['the','film'],[' '],*WORDS.tokens[:9]],dict(aggregation_strategy='first')
    elif task=='gaps': learn,items,kwargs = gaps(bert),['the [MASK] was','a [MASK] and [MASK]']*4,dict(top_k=3)
    else: learn,items,kwargs = learner(task, bert),texts_of(task, FRAMES[task])[:11],{}
    expected = json.loads(json.dumps(learn.predict_batch(items, **kwargs)))
    if task=='gaps' and suffix!='jsonl': expected = [[o | (dict(gap=None) if suffix=='parquet' else {}) for o in row] if isinstance(row[0], dict) else [o | dict(gap=k) for k,part in enumerate(row) for o in part] for row in expected]
    out = learn.predict_batch(items, bs=2, out=f'p.{suffix}', **kwargs)
    assert out==Path(f'p.{suffix}').absolute() and same(read(out), expected)
    assert sorted(os.listdir())==[f'.{out.name}.job', out.name]

@pytest.mark.parametrize('kind', EVERY_KIND)
def test_no_rows_have_the_columns_of_a_prediction(kind, checkpoints):
    learn = learner(kind, checkpoints(ARCH[kind]))
    kwargs = dict(max_new_tokens=1) if kind in WRITING else {}
    row = learn.predict_batch(asked_of(kind, FRAMES[kind])[:1], **kwargs)[0]
    names = [*row] if isinstance(row, dict) else ['predictions']
    for suffix in ('csv','parquet','jsonl'): learn.predict_batch([], out=f'p.{suffix}', **kwargs)
    assert pd.read_csv('p.csv').columns.tolist()==pd.read_parquet('p.parquet').columns.tolist()==names
    assert len(pd.read_csv('p.csv'))==len(pd.read_parquet('p.parquet'))==len(Path('p.jsonl').read_text())==0

def test_a_file_of_no_rows(bert, capsys):
    learn = learner('single', bert)
    Path('none.csv').write_text('text,label\n')
    assert learn.predict_batch('none.csv')==[] and learn.predict_logits('none.csv').shape[0]==learn.embed('none.csv').shape[0]==0
    assert len(learn.dls.test_dl('none.csv'))==0
    with pytest.raises(ValueError, match='the data has no rows'): learn.report('none.csv')
    learn.save_pretrained('saved')
    assert main(['predict', 'saved', 'none.csv'])==0 and capsys.readouterr().out==''
    assert main(['predict', 'saved', 'none.csv', '--out', 'p.csv'])==0 and 'label' in pd.read_csv('p.csv').columns
    assert main(['report', 'saved', 'none.csv'])==2

@pytest.mark.parametrize('kind', ['list','series','frame','dataset'])
def test_sources(kind, single):
    df = FRAMES['single'][:13].set_index(pd.Index(range(7, 20)))
    items = dict(list=df.text.tolist(), series=df.text, frame=df, dataset=Dataset.from_pandas(df, preserve_index=False))[kind]
    predict_to_file(single, items, 'p.jsonl', bs=2, part=4)
    assert same(read('p.jsonl'), single.predict_batch(df.text.tolist()))

def test_csv_keeps_what_a_cell_can_hold(tmp_path):
    "Quotes, commas, lines and letters of all languages; columns that only some rows have; lists and dicts as JSON."
    class Toy:
        task = None
        def prediction_facts(self): return {}
        def texts_of(self, items, check): return list(items)
        def predict_batch(self, items, bs): return items
    rows = [dict(label='a "b", c\nd'), dict(label='über 日本', scores=dict(é=.25, b=1.)), dict(label=None, scores={}, tags=['x,"y"', None])]
    out = predict_to_file(Toy(), rows, tmp_path/'p.csv', part=1)
    back = pd.read_csv(out, keep_default_na=False).to_dict('records')
    assert [r['label'] for r in back]==['a "b", c\nd', 'über 日本', '']
    assert [r['scores'] for r in back]==['', '{"é": 0.25, "b": 1.0}', '{}'] and [r['tags'] for r in back]==['', '', '["x,\\"y\\"", null]']

def test_no_rows(single):
    assert single.predict_batch([], out='p.csv').read_text().strip()==','.join(single.predict_batch(TEXTS[:1])[0])
    assert read(single.predict_batch([], out='p.jsonl'))==[]
    assert len(pd.read_parquet(single.predict_batch([], out='p.parquet')))==0

def test_refusals(single, bert):
    predict_to_file(single, TEXTS[:4], 'p.jsonl')
    with pytest.raises(FileExistsError, match='is there already'): single.predict_batch(TEXTS[:4], out='p.jsonl')
    with pytest.raises(ValueError, match='resume=True.*out='): single.predict_batch(TEXTS[:4], resume=True)
    with pytest.warns(UserWarning, match='complete'): single.predict_batch(TEXTS[:4], out='p.jsonl', resume=True)
    with pytest.raises(ValueError, match='.parquet, .jsonl or .csv'): single.predict_batch(TEXTS[:4], out='p.txt')
    with pytest.raises(TypeError, match='^item 3: .*NoneType'): predict_to_file(single, ['a','b','c',None], 'q.jsonl', part=2)
    with pytest.raises(FileExistsError, match='interrupted job.*resume=True'): predict_to_file(single, ['a','b','c','d'], 'q.jsonl', part=2)
    with pytest.raises(ValueError, match='had other rows than this one'): predict_to_file(single, ['a','b'], 'q.jsonl', part=2, resume=True)
    with pytest.raises(ValueError, match=r'had other texts \(rows 0 to 1\) than this one'): predict_to_file(single, ['a','x','c','d'], 'q.jsonl', part=2, resume=True)
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

def test_each_kind_of_warning_is_told(bert):
    learn,long = learner('single', bert, max_length=6),'the film was shown in a small town'
    with pytest.warns(UserWarning) as said: predict_to_file(learn, [long, '', long, 'a \ud800', '', '', long, long, ''], 'p.jsonl', part=3)
    empty,cut,lone = (str(w.message) for w in said)
    assert empty.startswith('rows 0 to 2: empty text in item 1') and empty.endswith('(and 2 warnings like it, of other rows)')
    assert 'cut off' in cut and lone.startswith('rows 3 to 5: a text holds lone surrogates')

def test_an_error_of_another_form_is_placed(single, monkeypatch):
    "Those of decoding and of JSON are made of more than a message."
    def fails(*args, **kwargs): b'\xff'.decode()
    monkeypatch.setattr(single, 'predict_batch', fails)
    with pytest.raises(ValueError, match="^rows 0 and on: 'utf-8' codec"): predict_to_file(single, TEXTS[:2], 'p.jsonl')

def test_a_job_holds_back_no_warnings_of_other_threads(single, monkeypatch):
    "Filters belong to the process: of two jobs at once, the second would put back those of the first, for good."
    predict = single.predict_batch
    def meanwhile(*args, **kwargs):
        thread = threading.Thread(target=lambda: warn_user('said elsewhere'))
        thread.start()
        thread.join()
        return predict(*args, **kwargs)
    monkeypatch.setattr(single, 'predict_batch', meanwhile)
    with pytest.warns(UserWarning, match='^said elsewhere'): predict_to_file(single, TEXTS[:2], 'p.jsonl')

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

@pytest.mark.slow
def test_a_killed_job_goes_on(single):
    single.save_pretrained('m')
    def run(n): return run_fresh(JOB, 'm', n)
    def whole(): return {p.name:p.stat().st_mtime_ns for p in Path('.p.parquet.parts').glob('0*.json')} # a part counts when its sum is there
    assert run(7).returncode==-signal.SIGKILL and not Path('p.parquet').exists()
    parts = whole()
    assert len(parts)==2 and len(list(Path('.p.parquet.parts').glob('0*.parquet')))==3
    assert run(17).returncode==-signal.SIGKILL # while the parts were joined
    assert len(whole())==10 and not Path('p.parquet').exists()
    assert parts.items()<=whole().items() # not made again
    assert run(2).returncode==-signal.SIGKILL and not Path('p.parquet').exists() # what tells of the job is there before the result
    done = run(99)
    assert done.returncode==0, done.stderr
    again = TransformersLearner.from_pretrained('m')
    assert same(read('p.parquet'), again.predict_batch([f'a film of {i} days' for i in range(40)]))
    assert not Path('.p.parquet.parts').exists()

# A job is what it depends on

def test_a_finished_file_of_another_job(single, bert, tmp_path):
    "What is there counts as done only if it is of the same texts, learner and options."
    out = single.predict_batch(TEXTS[:6], out='p.jsonl')
    before = out.read_bytes()
    def other(match, learn=single, items=TEXTS[:6], **kwargs):
        with pytest.raises(ValueError, match=match): learn.predict_batch(items, out='p.jsonl', resume=True, **kwargs)
    other('had other texts', items=TEXTS[1:7])
    other('had other texts', items=pd.Series(TEXTS[:5]+['another']))
    other('had other rows', items=TEXTS[:5])
    other('had other max_length', learner('single', bert, max_length=9))
    other('had other max_length, overlap than', learner('single', bert, max_length=20, overlap=3))
    renamed = learner('single', bert, FRAMES['single'].assign(label=FRAMES['single'].label.map(lambda o: 'x'+o)))
    other('labels', renamed)
    half = learner('single', bert, precision='bf16')
    half.model.load_state_dict(single.model.state_dict())
    other('had other precision than', half)
    upper = learner('single', bert)
    upper.dls.tokenizer.truncation_side = 'left'
    other('had other tokenizer than', upper)
    assert out.read_bytes()==before and sorted(os.listdir())==['.p.jsonl.job','p.jsonl']
    with pytest.warns(UserWarning, match='complete'): single.predict_batch(Dataset.from_dict(dict(text=TEXTS[:6])), bs=3, out='p.jsonl', resume=True) # the same texts from elsewhere
    out.write_bytes(before[:-9])
    other('is not as it was written')
    out.write_bytes(before)
    Path('.p.jsonl.job').unlink()
    other('would tell of which job it is')

@pytest.fixture
def half_done(single, monkeypatch):
    "A job of three parts of which two are there; and its texts."
    predict = single.predict_batch
    def interrupted(items, **kwargs):
        if items[0]==TEXTS[4]: raise KeyboardInterrupt
        return predict(items, **kwargs)
    with monkeypatch.context() as m:
        m.setattr(single, 'predict_batch', interrupted)
        with pytest.raises(KeyboardInterrupt): predict_to_file(single, TEXTS[:6], 'p.jsonl', part=2)
    return Path('.p.jsonl.parts').absolute()

def _empty(a, b): a.write_text('')
def _double(a, b): a.write_text(a.read_text()*2)
def _swap(a, b): a.write_text(b.read_text())
def _swap_with_sums(a, b): _swap(a, b), _swap(a.with_suffix('.json'), b.with_suffix('.json'))
def _no_sum(a, b): a.with_suffix('.json').unlink()
def _odd_sum(a, b): a.with_suffix('.json').write_text('[1]')
def _gone(a, b): a.unlink()

@pytest.mark.parametrize('harm', [_empty, _double, _swap, _swap_with_sums, _no_sum, _odd_sum, _gone])
def test_a_damaged_part_is_predicted_anew(single, half_done, harm):
    a,b = sorted(half_done.glob('0*.jsonl'))
    harm(a, b)
    single.predict_batch(TEXTS[:6], out='p.jsonl', resume=True)
    assert same(read('p.jsonl'), single.predict_batch(TEXTS[:6]))

def test_what_a_killed_job_began_goes_away(single, half_done):
    for p in (half_done/'.000000000004.jsonl.abcd1234', half_done.parent/'.p.jsonl.abcd1234', half_done.parent/'..p.jsonl.job.abcd1234'): p.write_text('half')
    single.predict_batch(TEXTS[:6], out='p.jsonl', resume=True)
    assert sorted(os.listdir())==['.p.jsonl.job','p.jsonl']

def test_two_writers(single, half_done):
    "The second is refused while the first lives; a process that died leaves nothing locked."
    code = 'import sys,time; from blurlike.support.one_writer import OneWriter; lock = OneWriter(sys.argv[1]); print("mine", flush=True); time.sleep(60)'
    with subprocess.Popen([sys.executable, '-c', code, half_done/'lock'], stdout=subprocess.PIPE, text=True, env=here()) as first:
        assert first.stdout.readline()=='mine\n'
        with pytest.raises(BlockingIOError, match='another process or thread is writing in .*p.jsonl'): single.predict_batch(TEXTS[:6], out='p.jsonl', resume=True)
        first.kill()
    assert same(read(single.predict_batch(TEXTS[:6], out='p.jsonl', resume=True)), single.predict_batch(TEXTS[:6]))

def test_workers_do_not_hold_the_lock_of_a_killed_process(tmp_path):
    "Workers of a loader are forks, with a copy of every open file, and outlive a killed process for seconds."
    code = '''if True:
        import os,signal,sys
        from blurlike.support.one_writer import OneWriter
        lock = OneWriter(sys.argv[1])
        if os.fork(): signal.pause()
        print(os.getpid(), flush=True)
        signal.pause()'''
    with subprocess.Popen([sys.executable, '-c', code, tmp_path/'lock'], stdout=subprocess.PIPE, text=True, env=here()) as first:
        worker = int(first.stdout.readline())
        with pytest.raises(BlockingIOError): OneWriter(tmp_path/'lock')
        first.kill()
        first.wait()
        try: OneWriter(tmp_path/'lock').release()
        finally: os.kill(worker, signal.SIGKILL)

def test_weights_of_any_shape_and_type_are_told_apart():
    from blurlike.model.fingerprints import weights_hash
    def of(t):
        m = torch.nn.Module()
        m.register_buffer('b', t)
        return weights_hash(m)
    ones = [torch.tensor(1., dtype=torch.bfloat16), torch.tensor([1.], dtype=torch.bfloat16), torch.tensor(1.), torch.tensor(True), torch.ones(2, 2)[:,0], torch.zeros(0)]
    assert len({of(t) for t in ones})==len(ones) and of(torch.ones(2, 2)[:,0])==of(torch.ones(2))

@pytest.mark.parametrize('bs', [1, 64])
@pytest.mark.parametrize('suffix', ['parquet','jsonl'])
def test_columns_that_the_first_row_lacks(suffix, bs, bert): # a context has a number where there are several
    learn = learner('answers', bert)
    items = [('the film was', TEXTS[0]), ('the film was', TEXTS[1:3]), ('the film was', TEXTS[3])]
    expected = learn.predict_batch(items)
    assert 'context' in expected[1] and 'context' not in expected[0]
    for order in (1, -1):
        found = read(predict_to_file(learn, items[::order], f'{order}.{suffix}', bs=64, part=bs))[::order]
        assert [o.get('context') for o in found]==[o.get('context') for o in expected] and [o['answer'] for o in found]==[o['answer'] for o in expected]

@pytest.mark.parametrize('part', [-1, 0, 2.5])
def test_a_part_has_rows(part, single, tmp_path):
    with pytest.raises(ValueError, match='part='): predict_to_file(single, TEXTS, tmp_path/'p.jsonl', part=part)
    assert not (tmp_path/'p.jsonl').exists()

def test_each_part_draws_its_own(checkpoints, tmp_path):
    learn = learner('prompts', checkpoints('llama'))
    path = predict_to_file(learn, ['is it so: the film']*12, tmp_path/'p.jsonl', part=3, temperature=3., seed=0, max_new_tokens=8)
    drawn = [json.loads(l)['generated_text'] for l in path.read_text().splitlines()]
    assert len(set(drawn))>6

@pytest.mark.parametrize('begun', [False, True])
def test_a_full_disk_is_told_with_what_is_kept(begun, single, monkeypatch):
    written = []
    def write(preds, path, kind):
        written.append(path)
        if len(written)>begun: raise OSError(28, 'No space left on device', str(path))
        return _write_part(preds, path, kind)
    with monkeypatch.context() as m:
        m.setattr('blurlike.predict.prediction_files._write_part', write)
        with pytest.raises(OSError, match="/p.csv' could not be written: No space left on device"+('; .*resume=True goes on' if begun else '$')):
            predict_to_file(single, TEXTS[:4], 'p.csv', part=2)
    assert os.listdir()==['.p.csv.parts']*begun
    assert len(read(predict_to_file(single, TEXTS[:4], 'p.csv', resume=begun, part=2)))==4

@pytest.mark.parametrize('error', [RuntimeError('iostream error of my store'), Exception('connection refused (os error 111)'),
    SafetensorError('Error while deserializing header: header too small')])
def test_what_a_model_raises_is_no_error_of_writing(error, single):
    def boom(*args): raise error
    hook = single.model.register_forward_pre_hook(boom)
    with pytest.raises(type(error)) as told: predict_to_file(single, TEXTS[:4], 'p.csv', part=2)
    hook.remove()
    assert told.value is error

class Mine(ValueError): pass

def test_an_error_of_ones_own_class_is_placed(single, monkeypatch):
    def fails(*args, **kwargs): raise Mine('no')
    monkeypatch.setattr(single, 'predict_batch', fails)
    with pytest.raises(Mine, match='^rows 0 and on: no'): predict_to_file(single, TEXTS[:2], 'p.jsonl')

@pytest.mark.parametrize('name,said', [('a'*235+'.jsonl', 'too long: files beside it have names of 15 more'), ('分'*79+'.jsonl', 'too long'), ('link.csv', 'is a disk missing')])
def test_a_place_where_no_file_can_be_is_told_before_the_work(name, said, single, monkeypatch):
    os.symlink('/no_disk/p.csv', 'link.csv')
    monkeypatch.setattr(single, 'predict_batch', None)
    with pytest.raises(OSError, match=said): predict_to_file(single, TEXTS, name)
    assert os.listdir()==['link.csv']

def test_a_long_name(single):
    name = 'a'*(240-6)+'.jsonl'
    assert len(read(single.predict_batch(TEXTS[:3], out=name)))==3
