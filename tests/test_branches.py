"""No tool asks which task it has: what differs is a field of `Task`, a method of the text transform or of the kind of targets, or a registration.

Read from the code of all modules outside `tasks` and the register: comparisons with names of tasks, learners and kinds, lookups by them, and questions for the types of one task's targets."""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TASKS = {'single_label_classification','multi_label_classification','regression','token_classification','masked_lm','multiple_choice','question_answering','causal_lm','seq2seq'}
NAMES = TASKS | {'sequence_classification', 'text-classification','token-classification','fill-mask', 'single','several','tags','number'} # of learners, of transformers' pipelines, of kinds
TYPES = {'Categorize','MultiCategorize','EncodedMultiCategorize','RegressionSetup','TensorCategory','TensorMultiCategory', 'TokenCategorize','TensorTokenCategory',
    'TokenizeMasked','TensorMasked', 'LabelPredictions','WordPredictions','MaskPredictions', 'TokenizeQuestions','TensorAnswer','AnswerPredictions', 'TokenizeNext','TensorNext','NextTokenPredictions', 'TokenizeSource','TensorTarget','TokenizeTarget','Seq2SeqPredictions'}
ITEMS = {'data/text_items.py','data/tokenizer_calls.py','data/tokens.py','data/block.py'} # where it is known that an item may be a list of words

def _is_name_of(n): # `learn.task.name`, `kind.name`
    owner = n.value if isinstance(n, ast.Attribute) and n.attr=='name' else None
    return getattr(owner, 'attr', getattr(owner, 'id', None)) in ('task','kind')

def _is_task(n): return getattr(n, 'attr', getattr(n, 'id', None))=='task'
def _holds(n, values): return any(isinstance(o, ast.Constant) and isinstance(o.value, str) and o.value in values for o in ast.walk(n))
def _of_config(n): return any(isinstance(o, ast.Attribute) and o.attr=='problem_type' and getattr(o.value, 'id', getattr(o.value, 'attr', None))=='config' for o in ast.walk(n)) # transformers' own word for a model's loss

def _compares(n):
    sides = [n.left, *n.comparators]
    if any(map(_is_name_of, sides)): return True
    is_same = isinstance(n.ops[0], (ast.Is, ast.IsNot, ast.Eq, ast.NotEq)) and not any(isinstance(o, ast.Constant) and o.value is None for o in sides) # has it one? may be asked
    if is_same and any(map(_is_task, sides)): return True
    return any(_holds(o, NAMES) for o in sides) and not _of_config(n)

def _looks_up(n):
    if isinstance(n, ast.Subscript): return _is_name_of(n.slice)
    return isinstance(n.func, ast.Attribute) and n.func.attr=='get' and any(map(_is_name_of, n.args))

def _asks_type(n):
    if getattr(n.func, 'id', None) not in ('isinstance','issubclass'): return False
    return any(isinstance(o, (ast.Name, ast.Attribute)) and getattr(o, 'id', getattr(o, 'attr', None)) in TYPES for o in ast.walk(n.args[1]))

def branches(code, name='module.py'):
    "The places in `code` that ask which task they have, one line each."
    for n in ast.walk(ast.parse(code)):
        found = isinstance(n, ast.Compare) and _compares(n)
        found = found or isinstance(n, (ast.Subscript, ast.Call)) and _looks_up(n)
        found = found or isinstance(n, ast.Call) and _asks_type(n)
        found = found or isinstance(n, ast.MatchValue) and _holds(n, NAMES)
        found = found or isinstance(n, ast.Attribute) and n.attr=='is_split_into_words' and name not in ITEMS
        if found: yield f'{name}:{n.lineno}: {ast.unparse(n)[:100]}' if hasattr(n, 'lineno') else name

def modules():
    package = ROOT/'blurlike'
    res = {p.relative_to(package).as_posix():p for p in sorted(package.rglob('*.py')) if p.name!='_modidx.py'}
    return {k:p for k,p in res.items() if not k.startswith('tasks/') and k!='task.py'} | {'tests/architectures/check.py':ROOT/'tests'/'architectures'/'check.py'}

def test_the_names_are_those_of_the_tasks():
    import blurlike.all
    ours = {n for n,t in blurlike.all.TASKS.items() if t.predictions is not None and type(t.predictions).__module__.startswith('blurlike.')}
    assert ours==TASKS and TASKS-blurlike.all.LEARNERS.keys()=={'single_label_classification','multi_label_classification','regression'}
    assert {t.kind.name for n,t in blurlike.all.TASKS.items() if n in TASKS and t.kind is not None}<=NAMES

def test_no_tool_asks_which_task_it_has(): assert [b for name,p in modules().items() for b in branches(p.read_text(), name)]==[]

@pytest.mark.parametrize('code', [
    "def f(learn):\n    if learn.task.name=='token_classification': return 1", "x = task.name in ('regression',)", "x = {'masked_lm':1}[learn.task.name]", "x = table.get(kind.name, 2)",
    "if learn.task is masked_lm: pass", "ok = kind=='tags'", "if problem_type=='regression': pass", "f = [isinstance(t, Categorize) for t in tfms]", "isinstance(y, (TensorBase, types.TensorTokenCategory))",
    "match name:\n    case 'masked_lm': pass", "words = dls.text_tfm.is_split_into_words", "tag = _pipeline(learn.task)=='fill-mask'", "if not issubclass(type(p), WordPredictions): pass"])
def test_a_planted_branch_is_found(code): assert list(branches(code))

@pytest.mark.parametrize('code', ["if learn.task is None: pass", "x = learn.task.kind.several", "facts = dict(task=learn.task.name)", "f = LEARNERS[args.task]", "one = model.config.problem_type in (None, 'regression')",
    "@page_output.register\ndef _(predictions:LabelPredictions): pass", "raise ValueError(f'{task.name}: none')"])
def test_what_asks_the_task_itself_is_let_through(code): assert not list(branches(code))
