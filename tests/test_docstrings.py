"`help`, `?` and Shift-Tab tell each parameter of ours, from the comment beside it."
import copy,inspect,pickle,pydoc

import pytest
from fastcore.docments import docments
from IPython.core.oinspect import getdoc
import blurlike.all
from blurlike.all import TransformersLearner, sequence_classification_learner

OURS = {n:o for n,o in vars(blurlike.all).items() if n[0]!='_' and (getattr(o, '__module__', None) or '').startswith('blurlike.') and (inspect.isfunction(o) or inspect.isclass(o))}
METHODS = {f'{c.__name__}.{n}':getattr(TransformersLearner, n) for c in TransformersLearner.__mro__ for n,m in vars(c).items()
    if n[0]!='_' and (getattr(getattr(m, '__func__', m), '__module__', None) or '').startswith('blurlike.') and inspect.isroutine(getattr(TransformersLearner, n))}

def untold(name, f): # parameters with a comment that the docstring lacks
    doc = inspect.getdoc(f) or ''
    return [f'{name}: {k}' for k,comment in docments(f).items() if comment and (f'    {k}' if k!='return' else 'Returns:') not in doc]

def test_every_public_name_and_method_tells_its_parameters():
    assert len(OURS)>400 and len(METHODS)>30
    assert [o for name,f in (OURS | METHODS).items() if f.__doc__ for o in untold(name, f)]==[]

@pytest.mark.parametrize('name', ['sequence_classification','token_classification','masked_lm','multiple_choice','causal_lm','seq2seq','question_answering'])
def test_help_of_a_learner(name):
    said = pydoc.plain(pydoc.render_doc(getattr(blurlike.all, f'{name}_learner')))
    for told in ('checkpoint: Name on the Hub', 'bs=', "precision=None: `'bf16'`", 'wd_bn_bias=False: Apply weight decay', 'Returns:'): assert told in said # ours, the learner's, fastai's

def test_a_notebook_tells_the_same():
    told = getdoc(sequence_classification_learner)
    assert told==inspect.getdoc(sequence_classification_learner) and 'overlap=None: Tokens shared by neighbouring windows' in told
    assert 'resume=False: Go on' in getdoc(TransformersLearner.predict_batch)
    assert 'cuda_graphs=False' in getdoc(TransformersLearner) and 'checkpoint' not in TransformersLearner.__doc__

def test_names_of_fastai_are_left_alone():
    assert type(blurlike.all.Learner.__doc__) is str and type(blurlike.all.Learner.fit.__doc__) is str

def test_without_source_the_line_remains():
    here = {}
    exec("def f(\n    a # One\n): 'A line.'\nf.__module__ = 'blurlike.frozen'", here)
    blurlike.all._tell_parameters(here)
    assert inspect.getdoc(here['f'])=='A line.'

def test_an_object_that_carries_a_docstring_is_copied_and_pickled(): # as fastai's losses do
    doc = sequence_classification_learner.__doc__
    again = copy.deepcopy(doc)
    assert again==doc and type(again) is str and b'told_parameters' not in pickle.dumps(doc) and b'FullDoc' not in pickle.dumps(doc)
