#!/usr/bin/env python
"""How dense the code of a tree is: `tools/measure_style.py [PACKAGE [NOTEBOOKS]]`, by default `blurlike` and `nbs`.

`faults` names what breaks the house rules in one module; `tests/test_style.py` holds the modules to them."""
import ast,io,json,re,sys,tokenize
from pathlib import Path

import numpy as np

CODE,PROSE,COMPLEX,CELL,ARGUMENTS = 120,160,10,30,6
DEFS = (ast.FunctionDef, ast.AsyncFunctionDef)
_branches = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.comprehension, ast.match_case)
_one_line = re.compile(r'\s*(if|for|while|try|with|else|elif|except|finally)\b.*:\s+\S')
_plain = (ast.Name, ast.Constant, ast.Attribute)

# What a line holds
def comment_starts(source):
    "The column at which the comment of a line begins, by line."
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]:t.start[1] for t in tokens if t.type==tokenize.COMMENT}

def n_spaces(node):
    "How many a text has; one with values in it has those between them, on whichever lines a Python puts its parts."
    if isinstance(node, ast.JoinedStr): return sum(map(n_spaces, node.values))
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return node.value.count(' ') if is_text else 0

def prose_lines(tree):
    "Lines with a text of several words on them: messages and docstrings."
    texts = (n for n in ast.walk(tree) if n_spaces(n)>3)
    return {i for n in texts for i in range(n.lineno, n.end_lineno+1)}

def exported_lines(tree):
    "The lines of `__all__`, which nbdev writes."
    assigned = (n for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0])=='__all__')
    return {i for n in assigned for i in range(n.lineno, n.end_lineno+1)}

def is_computed(node):
    "Is it more than a name, a constant or an empty container?"
    if isinstance(node, ast.UnaryOp): return is_computed(node.operand)
    empty = isinstance(node, (ast.List, ast.Tuple, ast.Dict)) and not list(ast.iter_child_nodes(node))[:-1]
    return not (isinstance(node, _plain) or empty)

def packed_lines(tree):
    "Lines on which a tuple is assigned to, with two or more computed sides."
    tuples = (n for n in ast.walk(tree) if isinstance(n, ast.Assign) and isinstance(n.value, ast.Tuple))
    unpacked = (n for n in tuples if isinstance(n.targets[0], ast.Tuple))
    return [n.lineno for n in unpacked if sum(map(is_computed, n.value.elts))>1]

def nodes_a_line(tree):
    "How many nodes of the syntax tree begin on each line that has any."
    lines = [n.lineno for n in ast.walk(tree) if hasattr(n, 'lineno')]
    return np.unique(lines, return_counts=True)[1]

# What a function holds
def functions(tree): return [n for n in ast.walk(tree) if isinstance(n, DEFS)]

def own_nodes(node):
    "The nodes of a function without those of the functions in it."
    for o in ast.iter_child_nodes(node):
        if isinstance(o, DEFS): continue
        yield o
        yield from own_nodes(o)

def complexity(func):
    "One and the number of branches: conditions, loops, handlers, parts of a comprehension, `and` and `or`."
    nodes = list(own_nodes(func))
    joined = sum(len(n.values)-1 for n in nodes if isinstance(n, ast.BoolOp))
    filters = sum(len(n.ifs) for n in nodes if isinstance(n, ast.comprehension))
    return 1 + joined + filters + sum(isinstance(n, _branches) for n in nodes)

def is_private(func):
    "Is it for its module alone? What is registered by type (`@show_batch.dispatch`) takes what others call it with."
    dispatched = any(ast.unparse(d).endswith('.dispatch') for d in func.decorator_list)
    return func.name.startswith('_') and not func.name.endswith('__') and not dispatched

def n_arguments(func):
    "The arguments of a function, without `self`, `*args` and `**kwargs`."
    args = [o.arg for o in [*func.args.posonlyargs, *func.args.args, *func.args.kwonlyargs]]
    return len(args) - (args[:1] in (['self'], ['cls']))

def faults(path):
    "What breaks the rules in the module at `path`, by line: `(line, what)`."
    source = Path(path).read_text()
    tree = ast.parse(source)
    comments = comment_starts(source)
    prose = prose_lines(tree)
    exported = exported_lines(tree)
    found = []
    for i,line in enumerate(source.splitlines(), 1):
        code = line[:comments.get(i)].rstrip()
        if i in exported or line.startswith('# %%'): continue
        if len(line)>PROSE: found.append((i, f'{len(line)} characters'))
        elif len(code)>CODE and i not in prose: found.append((i, f'{len(code)} characters of code'))
        elif len(code)>CODE and _one_line.match(code): found.append((i, f'condition, loop or handler with its body on one line of {len(code)} characters'))
    found += [(i, 'two computed sides assigned to a tuple') for i in packed_lines(tree)]
    for f in functions(tree):
        if (n := complexity(f))>COMPLEX: found.append((f.lineno, f'{f.name} has complexity {n}'))
        if is_private(f) and (n := n_arguments(f))>ARGUMENTS: found.append((f.lineno, f'{f.name} takes {n} arguments'))
    return sorted(found)

# What the cells of a notebook hold
def cells_of(path):
    "The notebook's prose, its exported cells and its examples, each a list of texts."
    cells = [(c['cell_type'], ''.join(c['source'])) for c in json.loads(Path(path).read_text())['cells']]
    code = [s for kind,s in cells if kind=='code']
    exported = [s for s in code if re.search(r'^#\|\s*export', s, re.M)]
    examples = [s for s in code if not s.startswith('#|') and 'nbdev_export' not in s]
    return [s for kind,s in cells if kind=='markdown'],exported,examples

def n_lines(cell): return sum(bool(l.strip()) and not l.startswith('#|') for l in cell.splitlines())

def is_import(cell): return all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.parse(cell).body)

# The table
def measure_code(package):
    "Figures of the modules below folder `package`."
    paths = [p for p in sorted(Path(package).rglob('*.py')) if p.name!='_modidx.py']
    sources = [p.read_text() for p in paths]
    trees = [ast.parse(s) for s in sources]
    lines = [l for s in sources for l in s.splitlines() if l.strip()]
    too_long = sum(len(l)>PROSE for l in lines)
    funcs = [f for t in trees for f in functions(t)]
    private = [f for f in funcs if is_private(f)]
    return {'lines': f'{len(lines):,}',
        f'lines over {PROSE} characters': f'{too_long} ({too_long/len(lines):.1%})',
        f'one-line if/for/try over {CODE}': sum(len(l)>CODE and bool(_one_line.match(l)) for l in lines),
        'syntax nodes a line, 90th percentile': int(np.quantile(np.concatenate([nodes_a_line(t) for t in trees if t.body]), .9)),
        f'functions of complexity over {COMPLEX}': f'{np.mean([complexity(f)>COMPLEX for f in funcs]):.1%} of {len(funcs):,}',
        'tuple assignments with two or more computed sides': sum(len(packed_lines(t)) for t in trees),
        f'private functions with over {ARGUMENTS} arguments': sum(n_arguments(f)>ARGUMENTS for f in private)}

def measure_cells(notebooks):
    "Figures of the notebooks below folder `notebooks` that make a module."
    parts = [cells_of(p) for p in sorted(Path(notebooks).rglob('*.ipynb')) if '.ipynb_checkpoints' not in p.parts]
    parts = [p for p in parts if p[1]]
    sizes = np.array([n_lines(s) for _,exported,_ in parts for s in exported if not is_import(s)])
    words = sum(len(s.split()) for prose,*_ in parts for s in prose)
    examples = sum(len(e) for *_,e in parts)
    large = sizes>CELL
    return {f'exported cells over {CELL} lines (share of all lines in them)': f'{large.mean():.1%} ({sizes[large].sum()/sizes.sum():.1%})',
        'words of prose an exported line': f'{words/sizes.sum():.1f}', 'examples an exported cell': f'{examples/len(sizes):.1f}'}

def main(package='blurlike', notebooks='nbs'):
    for k,v in (measure_code(package) | (measure_cells(notebooks) if Path(notebooks).is_dir() else {})).items(): print(f'{k:70}{v}')

if __name__=='__main__': main(*sys.argv[1:])
