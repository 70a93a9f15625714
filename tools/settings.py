"""Write `settings.ini` from `pyproject.toml`: `settings.py` writes it, `settings.py --check` compares and exits 1 with a diff.

nbdev 3 reads `pyproject.toml` alone; the ini file repeats its facts for scripts that expect it."""
import difflib,re,sys,tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER = '# Generated from pyproject.toml by `python tools/settings.py`: edit that file, not this one.\n[DEFAULT]\n'

def read_version(root, attr):
    "The version string that `attr` (`package.__version__`) names, read without importing the package."
    path = root/attr.split('.')[0]/'__init__.py'
    if not path.exists(): raise SystemExit(f'{path.relative_to(root)} is missing: run nbdev-export first')
    m = re.search(r'^__version__\s*=\s*[\'"]([^\'"]+)', path.read_text(), re.M)
    if not m: raise SystemExit(f'no `__version__ = "..."` line in {path.relative_to(root)}')
    return m[1]

def settings(root=ROOT):
    "The text of `settings.ini` for the project at `root`."
    conf = tomllib.loads((root/'pyproject.toml').read_text())
    proj,tool = conf['project'],conf['tool']
    extras,nbdev = proj.get('optional-dependencies', {}),tool['nbdev']
    facts = dict(lib_name=proj['name'], lib_path=nbdev.get('lib_path', proj['name']), version=read_version(root, tool['setuptools']['dynamic']['version']['attr']),
        description=proj['description'], author=', '.join(a['name'] for a in proj['authors']), license=proj['license'],
        keywords=' '.join(proj.get('keywords', [])), min_python=proj['requires-python'].removeprefix('>='),
        requirements=' '.join(proj['dependencies']), **{f'{k}_requirements':' '.join(v) for k,v in extras.items()},
        nbs_path=nbdev.get('nbs_path', 'nbs'), doc_path=nbdev['doc_path'], tst_flags=nbdev['tst_flags'], readme_nb=nbdev.get('readme_nb', 'index.ipynb'))
    return HEADER+''.join(f'{k} = {v}\n' for k,v in facts.items())

def main(check=False):
    path,new = ROOT/'settings.ini',settings()
    if not check: return path.write_text(new)
    old = path.read_text() if path.exists() else ''
    sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), 'settings.ini', 'settings.ini from pyproject.toml'))
    if old!=new: raise SystemExit('settings.ini is out of date: run `python tools/settings.py`')

if __name__=='__main__':
    if sys.argv[1:] not in ([], ['--check']): raise SystemExit(__doc__)
    main(check=bool(sys.argv[1:]))
