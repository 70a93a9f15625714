"Two processes on CPUs, each with half of every batch, are one process: losses, metrics, predictions, checkpoints."
import json,os,socket,subprocess,sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fresh import here, run_fresh
from small import learner

pytestmark = pytest.mark.slow # two processes that train all tasks
HERE = Path(__file__).parent
ENV = here(OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
CODE = "import runpy, warnings\nwarnings.simplefilter('ignore')\nrunpy.run_path('two_processes.py')"

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return str(s.getsockname()[1])

def run_ranks(world, *args, code=CODE, cwd=HERE):
    "`two_processes.py` in `world` processes, with what a launcher tells each of them; what each printed."
    port = free_port()
    def start(rank):
        told = dict(WORLD_SIZE=world, LOCAL_WORLD_SIZE=world, RANK=rank, LOCAL_RANK=rank, MASTER_ADDR='127.0.0.1', MASTER_PORT=port) if world>1 else {}
        return run_fresh(code, *args, cwd=cwd, CUDA_VISIBLE_DEVICES='', **{k:str(v) for k,v in told.items()})
    with ThreadPoolExecutor(world) as pool: ended = list(pool.map(start, range(world)))
    for r in ended: assert r.returncode==0, r.stderr[-4000:]
    return [r.stdout for r in ended]

@pytest.fixture(scope='module')
def found(bert, tmp_path_factory):
    "What one process told, and what two that `torchrun` started."
    folder = tmp_path_factory.mktemp('two')
    run_ranks(1, bert, folder/'one.json', 8)
    command = [sys.executable, '-W', 'ignore', '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', 'two_processes.py', bert, folder/'two.json', '4']
    out = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=HERE, env=ENV)
    assert out.returncode==0, out.stderr[-4000:]
    return json.loads((folder/'one.json').read_text()),json.loads((folder/'two.json').read_text())

@pytest.mark.parametrize('task', ['single','choice','weights','multi','tokens_a_batch','tags','windows','gaps','answers','texts','summaries'])
def test_two_are_one(task, found):
    one,two = (f[task] for f in found)
    assert len(one['losses'])==len(two['losses'])>5
    for k in ('losses','table','valid'): np.testing.assert_allclose(two[k], one[k], rtol=2e-4, atol=2e-5, err_msg=k)
    assert len(one['preds'])==len(two['preds'])
    for p,q in zip(one['preds'], two['preds']): np.testing.assert_allclose(p, q, rtol=2e-3, atol=2e-4)
    assert one['norm']==pytest.approx(two['norm'], rel=1e-5)

@pytest.mark.parametrize('name', ['accumulation','weighted_accumulation'])
def test_accumulation(name, found):
    "Two processes that gather the rows of `GradientAccumulation` each are one that gathers twice as many"
    one,two = (f[name] for f in found)
    np.testing.assert_allclose(two['table'], one['table'], rtol=2e-4)
    assert one['norm']==pytest.approx(two['norm'], rel=1e-6)

def test_reports_and_decisions_are_of_all_rows_in_each_process(found):
    (one,),two = (f['decided']['ranks'] for f in found)
    assert len(two)==2 and repr(two[0])==repr(two[1]) # `nan` is not itself
    def numbers(o): return [v for part in (o.values() if isinstance(o, dict) else o) for v in numbers(part)] if isinstance(o, (dict, list)) else [np.nan if o is None else o]
    assert one['decisions']['conformal']['rows']==10
    np.testing.assert_allclose(numbers(two[0]), numbers(one), rtol=2e-3, atol=2e-4)

def test_tracked(found):
    "Only the first process logs, and what it logs is of all of them; the table of predictions stops nobody"
    one,two = (f['tracked'] for f in found)
    for f in found: np.testing.assert_allclose(f['tracked']['table'], f['single']['table'], rtol=1e-6)
    assert len(one['sent'])==len(two['sent'])==2*5+2 and len(one['tables'])==len(two['tables'])==2
    for k in ('raw_loss','lr_0','epoch','valid_loss','accuracy'): np.testing.assert_allclose([o[k] for o in two['sent'] if k in o], [o[k] for o in one['sent'] if k in o], rtol=2e-4, err_msg=k)
    for a,b in zip(one['tables'], two['tables']):
        assert [r[:3] for r in a]==[r[:3] for r in b] and len(a)==12
        np.testing.assert_allclose([r[3:] for r in a], [r[3:] for r in b], rtol=2e-3)

def test_resumed(found):
    one,two = (f['resumed'] for f in found)
    np.testing.assert_allclose(two['table'], one['table'], rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(two['table'], found[1]['single']['table'], rtol=1e-6) # the very run that was not interrupted
    assert len(two['losses'])==len(found[1]['single']['losses'])

def test_one_process_that_should_be_several_says_so(bert, in_tmp, monkeypatch):
    monkeypatch.setenv('ACCELERATE_USE_CPU', 'true')
    learn = learner('single', bert)
    with pytest.warns(UserWarning, match='only process.*torchrun'):
        with learn.distrib_ctx(): pass

@pytest.mark.parametrize('said', ['False','false',None])
def test_one_process_that_should_be_one_does_not(said, bert, in_tmp, monkeypatch, recwarn):
    monkeypatch.delenv('ACCELERATE_USE_CPU', raising=False)
    if said is not None: monkeypatch.setenv('ACCELERATE_USE_CPU', said)
    with learner('single', bert).distrib_ctx(): pass
    assert not [w for w in recwarn if 'only process' in str(w.message)]

def test_accelerate_launch(bert, tmp_path):
    "`accelerate launch --cpu --num_processes 2` runs one process, and we say so"
    script = tmp_path/'train.py'
    script.write_text(f"""
from small import FRAMES
from blurlike.all import sequence_classification_learner
learn = sequence_classification_learner(FRAMES['single'], {str(bert)!r}, bs=8)
with learn.distrib_ctx(), learn.no_bar(): learn.fit(1, 1e-3)
""")
    env = ENV | dict(PYTHONPATH=f"{ENV['PYTHONPATH']}{os.pathsep}{HERE}")
    out = subprocess.run([sys.executable, '-m', 'accelerate.commands.launch', '--cpu', '--num_processes', '2', str(script)], capture_output=True, text=True, cwd=tmp_path, env=env)
    assert out.returncode==0, out.stderr[-3000:]
    assert 'this is the only process' in out.stderr and out.stdout.count('[0,')==1

# What happens in one process alone

def apart(what, bert, folder, world=2):
    code = f"import runpy, sys\nsys.path.insert(0, {str(HERE)!r})\nrunpy.run_path({str(HERE/'ranks_apart.py')!r})"
    return [json.loads(out.splitlines()[-1]) for out in run_ranks(world, what, bert, code=code, cwd=folder)]

def test_a_loss_that_is_nan_in_one_process_leaves_all_weights_sound(bert, tmp_path):
    found = apart('nan', bert, tmp_path)
    for o in found: assert o['sound'] and 'the training loss is nan' in o['said'] and 'the weights are still those before' in o['said']
    assert found[0]['norm']==found[1]['norm']

def test_the_models_own_loss_is_of_all_rows(bert, tmp_path):
    (one,),(first,second) = apart('loss', bert, tmp_path, 1),apart('loss', bert, tmp_path)
    assert first['values']==second['values']
    np.testing.assert_allclose(first['values'], one['values'], rtol=1e-5)

def test_processes_that_are_stopped_a_batch_apart_leave_together(bert, tmp_path):
    found = apart('stop', bert, tmp_path)
    assert [o['said'] for o in found]==['SystemExit: 143']*2 and found[0]['steps'][-1]=='step-000000003'

def test_lr_find_leaves_the_weights_of_all_processes(bert, tmp_path):
    first,second = apart('rates', bert, tmp_path)
    assert first['values']==second['values'] and first['values'][1]==0 and first['norm']==second['norm'] and not first['said']
    assert not (tmp_path/'models').exists() and not [*tmp_path.rglob('.lr_find*')]

def test_texts_without_labels_are_predicted_by_all_processes(bert, tmp_path):
    (one,),(first,second) = apart('texts', bert, tmp_path, 1),apart('texts', bert, tmp_path)
    assert first['values']==second['values'] and len(one['values'])>11*3
    np.testing.assert_allclose(first['values'], one['values'], rtol=2e-4, atol=2e-5)

def test_each_process_scores_the_answers_of_its_own_training_rows(bert, tmp_path):
    "fastai gathers nothing after a training batch"
    (one,),(first,second) = apart('answers', bert, tmp_path, 1),apart('answers', bert, tmp_path)
    assert not first['said']+second['said'] and 0<one['values'][0]<1
    assert first['values'][0]+second['values'][0]==pytest.approx(2*one['values'][0])

def test_tokens_that_are_added_between_two_fits(bert, tmp_path):
    "Of a fit that is over nothing is left that knows the shapes of its gradients."
    first,second = apart('grown', bert, tmp_path)
    assert not first['said']+second['said'] and first['values']==second['values']==[0] and first['norm']==second['norm']
