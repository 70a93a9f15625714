"""The numbers of the notebooks are the order of the modules: a module imports only from lower numbers.

The task modules are leaves: only the doors, `all.py`, `cli.py` and `demo.py`, import them. Nothing imports a door."""
import ast,json,re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIB,DOORS = 'blurlike',{'all', 'cli', 'demo'}
_number,_default_exp = re.compile(r'^(\d+)([a-z]?)_'),re.compile(r'^#\|\s*default_exp:?\s+(\S+)', re.M)

def default_exp(nb):
    "The module that notebook `nb` exports to, `None` where it exports nothing."
    found = (_default_exp.search(''.join(c['source'])) for c in json.loads(nb.read_text())['cells'] if c['cell_type']=='code')
    return next((m[1] for m in found if m), None)

def module_order(root):
    "Each module's place `(number, letter)`, and what is wrong with the notebooks' numbers."
    order,wrong = {},[]
    for nb in sorted((root/'nbs').rglob('*.ipynb')):
        if nb.relative_to(root).parts[1].startswith(('.','_')) or not (mod := default_exp(nb)): continue
        m = _number.match(nb.name)
        place = (int(m[1]), m[2]) if m else None
        if not m: wrong.append(f'{nb.name} exports {mod} but has no number')
        elif mod in order: wrong.append(f'{nb.name} exports {mod}, and so does another notebook')
        elif place in order.values(): wrong.append(f'{nb.name}: its number is taken')
        else: order[mod] = place
    return order,wrong

def package_modules(root):
    "Each module of the package by its name below it (the package itself is `''`), with its file."
    for p in sorted((root/LIB).rglob('*.py')):
        parts = p.relative_to(root/LIB).with_suffix('').parts
        yield '.'.join(parts[:-1] if parts[-1]=='__init__' else parts), p

def imports(mod, path, known):
    "The modules of ours, by name below the package, that module `mod` at `path` imports anywhere in its code."
    pkg = [LIB, *filter(None, mod.split('.'))]
    if path.name!='__init__.py': pkg.pop()
    for n in ast.walk(ast.parse(path.read_text())):
        if isinstance(n, ast.Import): names = [a.name for a in n.names]
        elif isinstance(n, ast.ImportFrom):
            base = '.'.join([*pkg[:len(pkg)-n.level+1], *filter(None, [n.module])]) if n.level else n.module
            sub = [f'{base}.{a.name}' for a in n.names]   # `from . import block` names a module, `from .block import x` does not
            names = [s for s in sub if s.removeprefix(f'{LIB}.') in known] or [base]
        else: continue
        yield from (nm.removeprefix(LIB).lstrip('.') for nm in names if nm==LIB or nm.startswith(f'{LIB}.'))

def breaches(root):
    "Everything in the project at `root` that breaks the order, one line each."
    order,wrong = module_order(root)
    mods = dict(package_modules(root))
    for mod,path in mods.items():
        if path.name=='_modidx.py' or mod in DOORS: continue
        if path.name!='__init__.py' and mod not in order: wrong.append(f'{mod}: no notebook exports it')
        for o in imports(mod, path, mods):
            if o=='': continue                                      # `blurlike` itself: the version
            if path.name=='__init__.py': wrong.append(f'{mod or LIB}/__init__.py imports {o}')
            elif o in DOORS: wrong.append(f'{mod} imports the door {o}')
            elif o.split('.')[0]=='tasks': wrong.append(f'{mod} imports {o}: only {" and ".join(sorted(DOORS))} may')
            elif o not in order: wrong.append(f'{mod} imports {o}, which no notebook exports')
            elif mod in order and order[o]>=order[mod]: wrong.append(f'{mod} imports {o}, which comes later')
    return wrong

def test_modules_import_only_what_comes_earlier():
    assert module_order(ROOT)[0], 'no notebook exports a module'
    assert breaches(ROOT)==[]

SOUND = {'00_task':('task', 'import torch'), '03_block':('block', 'import blurlike\nfrom .task import Task'),
    '09a_learner':('learner', 'from . import __version__, block\nfrom blurlike.task import Task'), '20_tasks.tagging':('tasks.tagging', 'from ..learner import fit')}

def project(root, notebooks, **extra):
    "A made-up project at `root`: notebooks `{stem: (module, its code)}` with their modules, and `extra` modules without a notebook."
    (root/'nbs').mkdir()
    for stem,(mod,_) in notebooks.items():
        cells = [dict(cell_type='markdown', source=['# A title']), dict(cell_type='code', source=[f'#| default_exp {mod}'])]
        (root/'nbs'/f'{stem}.ipynb').write_text(json.dumps(dict(cells=cells)))
    for mod,code in [*notebooks.values(), ('__init__', "__version__ = '0'"), ('tasks.__init__', ''), *extra.items()]:
        path = root/LIB/(mod.replace('.', '/')+'.py')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    return root

def test_a_sound_project_passes(tmp_path):
    assert breaches(project(tmp_path, SOUND, all='from .block import *\nfrom .tasks.tagging import *', _modidx='d = {}'))==[]

@pytest.mark.parametrize('stem,mod,code,said', [
    ('03_block', 'block', 'from .learner import fit', 'block imports learner, which comes later'),
    ('03_block', 'block', 'from . import learner', 'block imports learner, which comes later'),
    ('03_block', 'block', 'import blurlike.learner', 'block imports learner, which comes later'),
    ('03_block', 'block', 'def f():\n    from blurlike.learner import fit', 'block imports learner, which comes later'),
    ('03_block', 'block', 'from blurlike.all import *', 'block imports the door all'),
    ('30_late', 'late', 'from .tasks.tagging import x', 'late imports tasks.tagging: only all and cli and demo may'),
    ('30_late', 'late', 'from .tasks import tagging', 'late imports tasks.tagging: only all and cli and demo may'),
    ('21_tasks.other', 'tasks.other', 'from .tagging import x', 'tasks.other imports tasks.tagging: only all and cli and demo may'),
    ('21_tasks.other', 'tasks.other', 'from .. import nowhere\nfrom ..gone import x', 'tasks.other imports gone, which no notebook exports'),
    ('03_other', 'other', '', '03_other.ipynb: its number is taken'),
    ('other', 'other', '', 'other.ipynb exports other but has no number'),
    ('04_block', 'block', '', '04_block.ipynb exports block, and so does another notebook')])
def test_a_breach_is_found(tmp_path, stem, mod, code, said): assert said in breaches(project(tmp_path, {**SOUND, stem:(mod, code)}))

def test_a_module_without_a_notebook_is_found(tmp_path): assert breaches(project(tmp_path, SOUND, helpers='x = 1'))==['helpers: no notebook exports it']
