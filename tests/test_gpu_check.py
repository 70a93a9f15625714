"The check of a GPU runs on a CPU too, with toys: it must work when its day comes."
import json,subprocess,sys

import pytest
from fresh import ROOT

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
