"One name, one thing: what a module makes public has a name of its own, and hides nothing of fastai's in a star-import that was not meant to be replaced."
import ast
import collections
from pathlib import Path

ROOT = Path(__file__).parents[1]
REPLACED = {'load_learner','CSVLogger','ProgressCallback'} # fastai's own, which read more of ours
HTML = {'Table'} # fastai passes elements of fastcore's html on by accident

def public(tree): # names in `__all__`
    lists = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0])=='__all__']
    return ast.literal_eval(lists[0]) if lists else []

def of_modules():
    found = collections.defaultdict(list)
    for path in sorted((ROOT/'blurlike').rglob('*.py')):
        if path.name=='all.py': continue # a choice of them
        for name in public(ast.parse(path.read_text())): found[name].append(path.stem)
    return found

def test_a_public_name_is_of_one_module():
    found = of_modules()
    assert len(found)>600
    assert {name:places for name,places in found.items() if len(places)>1}=={}

def test_names_of_fastai_stay_fastais():
    import fastai.basics
    import fastai.callback.all
    import fastai.interpret
    import blurlike.all
    fastais = {name:getattr(m, name) for m in (fastai.basics, fastai.callback.all, fastai.interpret) for name in dir(m) if not name.startswith('_')}
    hidden = {name for name in of_modules() if name in fastais and getattr(blurlike.all, name, fastais[name]) is not fastais[name]}
    assert hidden==REPLACED|HTML

def star_import():
    found = {}
    exec('from blurlike.all import *', found)
    return found

def test_the_star_import_gives_what_users_call_and_no_more():
    import fastai.basics
    import blurlike.all
    found,modules = star_import(),of_modules().keys()
    fastais = set(blurlike.all._OF_FASTAI)
    chosen = set(blurlike.all.__all__)-fastais
    assert chosen<=modules and found.keys() & modules-fastais==chosen and 50<len(chosen)<100
    assert found['noop'] is fastai.basics.noop and found['load_learner'] is blurlike.all.load_learner is not fastai.basics.load_learner
    assert blurlike.all.lower_is_better # by its name the rest can be had too
