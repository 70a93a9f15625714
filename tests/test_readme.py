"README.md is what `tools/nb2md.py` makes of `nbs/index.ipynb`."
import difflib,subprocess,sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

def test_readme_follows_its_notebook(tmp_path):
    made = tmp_path/'README.md'
    r = subprocess.run([sys.executable, 'tools/nb2md.py', 'readme', str(made)], cwd=ROOT, capture_output=True, text=True)
    assert r.returncode==0, r.stdout+r.stderr
    old,new = (ROOT/'README.md').read_text(),made.read_text()
    diff = ''.join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), 'README.md', 'made of nbs/index.ipynb'))
    assert old==new, f'run `python tools/nb2md.py readme README.md`\n{diff}'
    figures = lambda folder: {p.name:p.read_bytes() for p in (folder/'README_files').glob('*')}
    assert figures(ROOT)==figures(tmp_path)
