"The check of a GPU runs on a CPU too, with toys: it must work when its day comes."
import json,os,subprocess,sys
from pathlib import Path

import pytest
from fresh import ROOT
from small import SHARED

THIS = os.environ | dict(PATH=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}') # `python3` is this one

@pytest.mark.slow
def test_on_a_cpu(tmp_path):
    parts = ['device','correct','train','graphs','profile','predict','causal','attention']
    done = subprocess.run([sys.executable, ROOT/'benchmarks'/'gpu'/'check.py', *parts, '--device', 'cpu', '--tiny', '--rounds', '1', '--out', tmp_path], capture_output=True, text=True)
    assert done.returncode==0, done.stderr
    assert [l.split(':')[0] for l in done.stdout.splitlines() if l.startswith('== ')]==[f'== {p}' for p in parts]
    assert json.loads((tmp_path/'correct.json').read_text())['code']==0
    found = json.loads((tmp_path/'train-bert.json').read_text())
    for side in ('raw loop, the same batches', 'blurlike', 'blurlike, packed', 'Trainer', 'Trainer, by length'): assert found[side]['rates'][0]>0
    told = (tmp_path/'gpu.md').read_text()
    assert 'error' not in told and all(f'## {o}' in told for o in ('Correct','train-bert','graphs-bert','profile','predict','causal','one'))

@pytest.mark.slow
def test_a_part_that_fails_hides_no_other(tmp_path):
    (tmp_path/'device.json').mkdir() # it cannot write there
    done = subprocess.run([sys.executable, ROOT/'benchmarks'/'gpu'/'check.py', 'device', 'attention', '--device', 'cpu', '--tiny', '--out', tmp_path], capture_output=True, text=True)
    assert '== device: 1' in done.stdout and '== attention: 0' in done.stdout

@pytest.mark.slow
@pytest.mark.skipif(not (SHARED/'models').exists(), reason='there is no pretrained encoder here')
def test_short_runs_that_ended_are_kept(tmp_path):
    few = ['--shared', SHARED, '--rows', '32', '--epochs', '1', '--arms', 'one_cycle']
    lists = [*few, '--sets', 'trec', '--seeds', '0', '--', *few, '--sets', 'sst2', '--seeds', *map(str, range(1000))]
    for seconds in (60, 240): # the second where the machine is busy
        done = subprocess.run([ROOT/'benchmarks'/'gpu'/'short_runs', tmp_path, '', str(seconds), '1', *lists], capture_output=True, text=True, timeout=600, env=THIS)
        runs = [json.loads(l) for l in (tmp_path/'ablation.jsonl').read_text().splitlines()]
        if len(runs)>1: break
    assert done.returncode==0 and [(r['set'],r['seed']) for r in runs[:2]]==[('trec',0),('sst2',0)] and len(runs)<1000, done.stdout+done.stderr
    assert not subprocess.run(['pgrep','-f','ablation.py --share 0/1'], capture_output=True, text=True).stdout # none goes on

def test_a_run_on_one_device_is_not_one_on_another(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT/'benchmarks')
    from quality import Runs
    def scores(log, *runs): return [Runs(log, 'abc').get(r, lambda: dict(score=len(log.read_text().splitlines()) if log.exists() else 0))['score'] for r in runs]
    cpu = dict(arm='trainer', seed=0)
    cuda = cpu | dict(device='cuda')
    assert scores(tmp_path/'log.jsonl', cuda, cpu, cuda, cpu, cpu|dict(seed=1))==[0,1,0,1,2]
