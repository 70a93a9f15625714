"A line holds one idea: each module keeps the limits that `tools/measure_style.py` knows."
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT/'tools'))
import measure_style
from measure_style import complexity, faults, functions

def module_name(path): return '.'.join(path.relative_to(ROOT).with_suffix('').parts)

MODULES = {module_name(p):p for p in sorted((ROOT/'blurlike').rglob('*.py')) if p.name not in ('_modidx.py', '__init__.py')}

@pytest.mark.parametrize('name', sorted(MODULES))
def test_a_module_keeps_the_limits(name): assert faults(MODULES[name])==[]

def found(tmp_path, code):
    (tmp_path/'m.py').write_text(code)
    return [what for _,what in faults(tmp_path/'m.py')]

LONG = ' + '.join(['value']*16) # 125 characters
MESSAGE = 'a text of several words that says what was found and what to do, and where, so that a reader need not look it up again'

@pytest.mark.parametrize('code,said', [
    (f'x = {LONG}', ['129 characters of code'.replace('129', str(len(LONG)+4))]),
    (f'raise ValueError({MESSAGE!r})', []),
    (f'if wrong: raise ValueError({MESSAGE!r})', [f'condition, loop or handler with its body on one line of {len(MESSAGE)+30} characters']),
    (f'if wrong:\n    raise ValueError({MESSAGE!r})', []),
    (f'x = "{MESSAGE}, {MESSAGE}"', [f'{2*len(MESSAGE)+8} characters']),
    (f'x = 1 # {MESSAGE}', []),
    ('a,b = x,y.z', []), ('a,b = [],None', []), ('a,b = f(x),y', []), ('a,b = pair(x)', []),
    ('a,b = f(x),g(y)', ['two computed sides assigned to a tuple']),
    ('a,b,c = [1],x,-y[0]', ['two computed sides assigned to a tuple']),
    ('def _f(a, b, c, d, e, *, g): pass', []),
    ('def _f(a, b, c, d, e, *, g, h): pass', ['_f takes 7 arguments']),
    ('class A:\n    def _f(self, a, b, c, d, e, g, *args, **kwargs): pass', []),
    ('def f(a, b, c, d, e, g, h): pass', []),
    ('@show_batch.dispatch\ndef _f(a, b, c, d, e, g, h): pass', []),
    ('def f(x):\n' + '    if x: x = x or 1\n'*5, ['f has complexity 11']),
    ('def f(x):\n    def g(y): return y or 1\n' + '    if x: x = x or 1\n'*4 + '    return g', [])])
def test_what_breaks_the_limits(tmp_path, code, said): assert found(tmp_path, code)==said

@pytest.mark.parametrize('code,n', [('pass', 1), ('if a and b or c: pass', 4), ('[x for x in y if x]', 3), ('try: pass\n    except A: pass\n    except B: pass', 3),
    ('return a if b else c', 2), ('for i in a:\n        while i: pass', 3)])
def test_complexity(code, n):
    import ast
    assert complexity(functions(ast.parse(f'def f():\n    {code}'))[0])==n

@pytest.mark.slow
def test_the_table_counts_this_tree(capsys):
    measure_style.main(ROOT/'blurlike', ROOT/'nbs')
    assert 'functions of complexity over 10' in capsys.readouterr().out
