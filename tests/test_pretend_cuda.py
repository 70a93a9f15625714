"""What a GPU would find of tensors that nobody moved, on a machine that has none: `pretend_cuda.py`, by which all of `test_device.py` can be run."""
import subprocess,sys
from pathlib import Path

import pytest
from fresh import fresh_process, here

HERE = Path(__file__).parent

def test_marks_go_with_what_is_computed():
    found = fresh_process('''
import json, torch
import pretend_cuda
x = torch.ones(2, 3).to('cuda')
layer = torch.nn.Linear(3, 4).to('cuda')
layer(x).sum().backward()
def error(f):
    try: f()
    except (RuntimeError, TypeError) as e: return str(e)
on = [o.device.type for o in (x, x+1, x[0], x[x>0], torch.zeros(2, device='cuda'), torch.tensor([1.], device=x.device), x.new_tensor([1]), layer.weight, layer.weight.grad, x.cpu(), torch.ones(2), layer(x).detach().cpu())]
print(json.dumps(dict(on=on, errors=[error(f) for f in (lambda: x+torch.ones(2, 3), lambda: layer(torch.ones(1, 3)), lambda: torch.ones(3)[torch.tensor([0]).cuda()], x.numpy, lambda: x+torch.tensor(2.))])))
''', cwd=HERE)
    assert found['on']==['cuda']*9+['cpu']*3
    mixed,layer,index,numpy,number = found['errors']
    assert 'same device' in mixed and 'same device' in layer and 'indices' in index and 'numpy' in numpy and number is None

@pytest.mark.slow
def test_each_task_moves_all_that_it_needs():
    told = here(PYTHONPATH=f'{HERE.parent}:{HERE}', BLURLIKE_DEVICE='cuda')
    command = [sys.executable, '-m', 'pytest', '-p', 'pretend_cuda', '-p', 'no:cacheprovider', '-n', '0', '-m', '', 'test_device.py', '-k', 'trains_as_on_the_cpu or explains_as or waits_for or wait_for or option_waits']
    out = subprocess.run(command, capture_output=True, text=True, cwd=HERE, env=told, timeout=900)
    assert out.returncode==0 and ' passed' in out.stdout, out.stdout[-4000:]
