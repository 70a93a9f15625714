"""Modules stand in rooms (folders), and the numbers of the notebooks are their order in a room: a module imports only from rooms
before its own (`ROOMS` of tools/nb2md.py), and from lower numbers in it. What stands in no room comes before all.

The task modules are leaves: only the doors, `all.py`, `cli.py`, `cli_arguments.py` and `demo.py`, import them. Nothing imports a door.
A task that is long is a folder in `tasks`, a slice: its notebooks are numbered from 00 and import from lower numbers of their own folder."""
import ast,json,re,sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT/'tools'))
from nb2md import ROOMS

LIB,DOORS = 'blurlike',{'__main__', 'all', 'cli', 'cli_arguments', 'demo', 'tracking'}
_number,_default_exp = re.compile(r'^(\d\d)_'),re.compile(r'^#\|\s*default_exp:?\s+(\S+)', re.M)

def default_exp(nb):
    "The module that notebook `nb` exports to, `None` where it exports nothing."
    found = (_default_exp.search(''.join(c['source'])) for c in json.loads(nb.read_text())['cells'] if c['cell_type']=='code')
    return next((m[1] for m in found if m), None)

def slice_of(mod):
    "The folder of its own task in which module `mod` stands: `tasks.tagging.tables` -> `tasks.tagging`; none: ''."
    return mod.rpartition('.')[0] if mod.startswith('tasks.') and mod.count('.')>1 else ''

def module_order(root):
    "Each module's place `(room, folder of a task, number)`, and what is wrong with rooms and numbers."
    order,wrong = {},[]
    for nb in sorted((root/'nbs').rglob('*.ipynb')):
        rel = nb.relative_to(root/'nbs')
        if rel.parts[0].startswith(('.','_')) or not (mod := default_exp(nb)): continue
        m,folders = _number.match(nb.name),rel.parts[:-1]
        room = folders[0] if folders else ''
        want = '.'.join([*folders, nb.stem[3:]])
        if not m: wrong.append(f'{rel} exports {mod} but has no number')
        elif room and room not in ROOMS: wrong.append(f'{rel}: there is no room {room}')
        elif len(folders)>1 and (room!='tasks' or len(folders)>2): wrong.append(f'{rel}: only tasks have folders in their room')
        elif mod in order: wrong.append(f'{rel} exports {mod}, and so does another notebook')
        elif mod!=want: wrong.append(f'{rel} exports {mod}, not {want}')
        else:
            place = (ROOMS.index(room)+1 if room else 0, slice_of(mod), int(m[1]))
            if place in order.values(): wrong.append(f'{rel}: its number is taken')
            order[mod] = place
    return order,wrong

def package_modules(root):
    "Each module of the package by its name below it (the package itself is `''`), with its file."
    for p in sorted((root/LIB).rglob('*.py')):
        parts = p.relative_to(root/LIB).with_suffix('').parts
        yield '.'.join(parts[:-1] if parts[-1]=='__init__' else parts), p

def imports(mod, path, known): return _imports(mod, path, frozenset(known))

@cache
def _imports(mod, path, known):
    "The modules of ours, by name below the package, that module `mod` at `path` imports anywhere in its code."
    pkg = [LIB, *filter(None, mod.split('.'))]
    if path.name!='__init__.py': pkg.pop()
    found = []
    for n in ast.walk(ast.parse(path.read_text())):
        if isinstance(n, ast.Import): names = [a.name for a in n.names]
        elif isinstance(n, ast.ImportFrom):
            base = '.'.join([*pkg[:len(pkg)-n.level+1], *filter(None, [n.module])]) if n.level else n.module
            sub = [f'{base}.{a.name}' for a in n.names]   # `from . import block` names a module, `from .block import x` does not
            names = [s for s in sub if s.removeprefix(f'{LIB}.') in known] or [base]
        else: continue
        found += [nm.removeprefix(LIB).lstrip('.') for nm in names if nm==LIB or nm.startswith(f'{LIB}.')]
    return found

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
            elif o.split('.')[0]=='tasks' and not (slice_of(o) and slice_of(o)==slice_of(mod)): wrong.append(f'{mod} imports {o}: only {" and ".join(sorted(DOORS))} may')
            elif o not in order: wrong.append(f'{mod} imports {o}, which no notebook exports')
            elif mod in order and order[o]>=order[mod]: wrong.append(f'{mod} imports {o}, which comes later')
    return wrong

def test_modules_import_only_what_comes_earlier():
    assert module_order(ROOT)[0], 'no notebook exports a module'
    assert breaches(ROOT)==[]

def reached(mods, mod):
    "`mod`, and all modules that it imports, or that those import."
    seen,todo = set(),[mod]
    while todo:
        o = todo.pop()
        if o in seen or o not in mods: continue
        seen.add(o)
        todo += imports(o, mods[o], mods)
    return seen

def test_the_learner_of_a_task_brings_all_of_its_folder():
    "Displays and metrics register themselves: who imports a task's learner alone has them too."
    mods = dict(package_modules(ROOT))
    of = {m.rpartition('.')[0] for m in mods if m.endswith('.learner') and slice_of(m)}
    apart = {m for m in mods if slice_of(m) in of and m!=slice_of(m) and m not in reached(mods, slice_of(m)+'.learner')}
    assert of and apart<=set(), apart

SOUND = {'00_task':('task', 'import torch'), 'data/03_block':('data.block', 'import blurlike\nfrom ..task import Task'),
    'train/01_learner':('train.learner', 'from .. import __version__\nfrom ..data import block\nfrom blurlike.task import Task'), 'tasks/00_tagging':('tasks.tagging', 'from ..train.learner import fit'),
    'tasks/long/00_target':('tasks.long.target', 'from ...data.block import x'), 'tasks/long/01_tables':('tasks.long.tables', 'from .target import x\nfrom ...train.learner import fit')}

def project(root, notebooks, **extra):
    "A made-up project at `root`: notebooks `{stem: (module, its code)}` with their modules, and `extra` modules without a notebook."
    (root/'nbs').mkdir()
    for stem,(mod,_) in notebooks.items():
        cells = [dict(cell_type='markdown', source=['# A title']), dict(cell_type='code', source=[f'#| default_exp {mod}'])]
        path = root/'nbs'/f'{stem}.ipynb'
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(dict(cells=cells)))
    rooms = {m.rpartition('.')[0] for m,_ in notebooks.values()}-{''}
    for mod,code in [*notebooks.values(), ('__init__', "__version__ = '0'"), *((f'{r}.__init__', '') for r in rooms), *extra.items()]:
        path = root/LIB/(mod.replace('.', '/')+'.py')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    return root

def test_a_sound_project_passes(tmp_path):
    assert breaches(project(tmp_path, SOUND, all='from .data.block import *\nfrom .tasks.tagging import *', _modidx='d = {}'))==[]

@pytest.mark.parametrize('stem,mod,code,said', [
    ('data/03_block', 'data.block', 'from ..train.learner import fit', 'data.block imports train.learner, which comes later'),
    ('data/03_block', 'data.block', 'from ..train import learner', 'data.block imports train.learner, which comes later'),
    ('data/03_block', 'data.block', 'import blurlike.train.learner', 'data.block imports train.learner, which comes later'),
    ('data/03_block', 'data.block', 'def f():\n    from blurlike.train.learner import fit', 'data.block imports train.learner, which comes later'),
    ('data/03_block', 'data.block', 'from blurlike.all import *', 'data.block imports the door all'),
    ('data/02_early', 'data.early', 'from .block import x', 'data.early imports data.block, which comes later'),
    ('share/30_late', 'share.late', 'from ..tasks.tagging import x', 'share.late imports tasks.tagging: only __main__ and all and cli and cli_arguments and demo and tracking may'),
    ('share/30_late', 'share.late', 'from ..tasks import tagging', 'share.late imports tasks.tagging: only __main__ and all and cli and cli_arguments and demo and tracking may'),
    ('tasks/01_other', 'tasks.other', 'from .tagging import x', 'tasks.other imports tasks.tagging: only __main__ and all and cli and cli_arguments and demo and tracking may'),
    ('tasks/01_other', 'tasks.other', 'from .. import nowhere\nfrom ..gone import x', 'tasks.other imports gone, which no notebook exports'),
    ('data/03_other', 'data.other', '', 'data/03_other.ipynb: its number is taken'),
    ('tasks/long/00_target', 'tasks.long.target', 'from .tables import x', 'tasks.long.target imports tasks.long.tables, which comes later'),
    ('tasks/long/02_late', 'tasks.long.late', 'from ..tagging import x', 'tasks.long.late imports tasks.tagging: only __main__ and all and cli and cli_arguments and demo and tracking may'),
    ('tasks/other/00_late', 'tasks.other.late', 'from ..long.target import x', 'tasks.other.late imports tasks.long.target: only __main__ and all and cli and cli_arguments and demo and tracking may'),
    ('tasks/02_late', 'tasks.late', 'from .long.target import x', 'tasks.late imports tasks.long.target: only __main__ and all and cli and cli_arguments and demo and tracking may'),
    ('share/30_late', 'share.late', 'from ..tasks.long.target import x', 'share.late imports tasks.long.target: only __main__ and all and cli and cli_arguments and demo and tracking may'),
    ('data/long/00_late', 'data.long.late', '', 'data/long/00_late.ipynb: only tasks have folders in their room'),
    ('data/other', 'data.other', '', 'data/other.ipynb exports data.other but has no number'),
    ('attic/00_other', 'attic.other', '', 'attic/00_other.ipynb: there is no room attic'),
    ('data/05_other', 'train.other', '', 'data/05_other.ipynb exports train.other, not data.other'),
    ('data/04_block', 'data.block', '', 'data/04_block.ipynb exports data.block, and so does another notebook')])
def test_a_breach_is_found(tmp_path, stem, mod, code, said): assert said in breaches(project(tmp_path, {**SOUND, stem:(mod, code)}))

def test_a_module_without_a_notebook_is_found(tmp_path): assert breaches(project(tmp_path, SOUND, helpers='x = 1'))==['helpers: no notebook exports it']
