"""Every notebook runs from top to bottom in a fresh process, with nbdev's own runner; cells marked `slow` or `cuda` are left out.
The tutorials run in a browser instead where there is one (`test_browser.py`).

Run one: `python -m pytest -m '' tests/test_notebooks.py -k data/23_batch`."""
import importlib.util,json,shutil
from pathlib import Path

import pytest
from fresh import run_fresh

ROOT = Path(__file__).parents[1]
RUN = 'import sys; from nbdev.test import nbdev_test; nbdev_test(sys.argv[1], n_workers=0)'
TIMEOUT = 1200      # seconds for one notebook; nbdev's own limit for a cell is 600

def notebooks(root):
    "The notebooks that nbdev would test: nothing below a name that starts with `_` or `.`"
    nbs = root/'nbs'
    return {p.relative_to(nbs).with_suffix('').as_posix():p for p in sorted(nbs.rglob('*.ipynb')) if not any(o[0] in '._' for o in p.relative_to(nbs).parts)}

NOTEBOOKS = notebooks(ROOT)
BROWSERS = 'chromium','chromium-browser','google-chrome'
IN_BROWSER = all(map(importlib.util.find_spec, ('jupyterlab','playwright'))) and any(map(shutil.which, BROWSERS)) # then test_browser.py runs the tutorials

def run_notebook(path):
    "Run the notebook at `path` in a process of its own, offline; what it printed, if it failed."
    r = run_fresh(RUN, path, cwd=path.parent, timeout=TIMEOUT)
    ran = r.returncode==0 and r.stdout.rstrip().endswith('Success.')
    return '' if ran else f'{r.stdout}\n{r.stderr}\nexit status {r.returncode}'

@pytest.mark.slow
@pytest.mark.parametrize('name', [n for n in NOTEBOOKS if not (IN_BROWSER and n.startswith('tutorials/'))])
def test_notebook_runs(name, monkeypatch):
    monkeypatch.setenv('NO_COLOR', '1')
    said = run_notebook(NOTEBOOKS[name])
    if said: pytest.fail(f'nbs/{name}.ipynb\n{said}', pytrace=False)

def stored_errors(path):
    "What went wrong in the stored outputs of the notebook at `path`."
    return [f"cell {c.get('id')}: {o['ename']}: {o['evalue']}" for c in json.loads(path.read_text())['cells'] for o in c.get('outputs', []) if o['output_type']=='error']

@pytest.mark.parametrize('name', NOTEBOOKS)
def test_no_stored_output_is_an_error(name): assert stored_errors(NOTEBOOKS[name])==[]

def made_up(root, *sources, outputs=()):
    "A notebook of code cells `sources` in a made-up project at `root`."
    (root/'nbs').mkdir()
    (root/'pyproject.toml').write_text((ROOT/'pyproject.toml').read_text())
    cells = [dict(cell_type='code', id=f'c{i}', metadata={}, execution_count=None, outputs=list(outputs), source=s) for i,s in enumerate(sources)]
    path = root/'nbs'/'00_made_up.ipynb'
    path.write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)))
    return path

def test_there_are_notebooks(tmp_path):
    assert NOTEBOOKS
    made_up(tmp_path, '1')
    (tmp_path/'nbs'/'.ipynb_checkpoints').mkdir()
    for name in ('.ipynb_checkpoints/00_made_up-checkpoint', '_draft'): (tmp_path/'nbs'/f'{name}.ipynb').write_text('{}')
    assert list(notebooks(tmp_path))==['00_made_up']

@pytest.mark.slow
def test_a_failing_cell_is_reported(tmp_path):
    said = run_notebook(made_up(tmp_path, 'x = 1', 'assert x==2, "x is not two"'))
    assert 'x is not two' in said and 'exit status 1' in said

def test_marked_cells_are_left_out(tmp_path):
    marked = [f'#| {flag}\nraise ValueError' for flag in ('slow', 'cuda', 'eval: false')]
    assert run_notebook(made_up(tmp_path, *marked, 'import os; assert os.environ["HF_HUB_OFFLINE"]=="1"'))==''

def test_a_stored_error_is_found(tmp_path):
    path = made_up(tmp_path, 'raise KeyError(1)', outputs=[dict(output_type='error', ename='KeyError', evalue='1', traceback=[])])
    assert stored_errors(path)==['cell c0: KeyError: 1']
