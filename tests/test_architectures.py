"The families that users reach for first, through all that `architectures/check.py` does with every type of transformers; that takes about ten minutes on two cores and is run by hand."
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE/'architectures'))
import check
from excluded import EXCLUDED, NO_TEXT, PADDING, PADDING_OF
from models import MAPPINGS, TASKS

FAMILIES = 'bert distilbert roberta xlm-roberta deberta-v2 electra albert mpnet modernbert xlnet t5 bart gpt2 llama qwen2 gemma'.split()
FIRST = 'bert','deberta-v2','t5','gpt2' # the others are slow
def marks(kind): return () if kind in FIRST else pytest.mark.slow

@pytest.mark.parametrize('kind,task', [pytest.param(k, t, marks=marks(k)) for i,k in enumerate(FAMILIES) for j,t in enumerate(TASKS)
    if k in MAPPINGS[t] and (j==i%2 or j>1) and check.reason(k, t) is None]) # each with one kind of labels in turn, with gaps and with choices
def test_family(kind, task, tmp_path, in_tmp): check.run(kind, task, tmp_path)

@pytest.mark.slow
def test_a_classifier_that_inherits_from_a_writer(tmp_path, in_tmp):
    "It has the method that makes a decoder's input, and makes its own."
    check.run('t5gemma2', 'sequence_classification', tmp_path)

def test_what_is_left_out_exists():
    kinds = {k for m in MAPPINGS.values() for k in m}
    assert {*NO_TEXT, *EXCLUDED, *PADDING, *PADDING_OF}<=kinds
    assert all(len(why)>15 for why in [*NO_TEXT.values(), *PADDING.values(), *(w for e in (*EXCLUDED.values(), *PADDING_OF.values()) for w in e.values())])

def test_the_table_is_of_these_types():
    "`docs/architectures.md` was written by a whole run in which nothing failed"
    text = (HERE.parent/'docs'/'architectures.md').read_text()
    rows = {line.split('|')[1].strip() for line in text.splitlines() if line.startswith('| ')}-{'Type'}
    assert ' fail' not in text.split('| Type')[0] and len(rows)>100 and not {k for k in FAMILIES if k not in rows}
