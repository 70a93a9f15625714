"The families that users reach for first, and a sample of types that were once wrong, through all that `architectures/check.py` does with every type of transformers; that takes twenty minutes or more and is run by hand."
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE/'architectures'))
import check
from excluded import EXCLUDED, NO_TEXT, PADDING, PADDING_OF
from models import MAPPINGS, TASKS

FAMILIES = 'bert distilbert roberta xlm-roberta deberta-v2 electra albert mpnet modernbert xlnet t5 bart gpt2 llama qwen2 gemma'.split()
FIRST = 'bert','t5' # the others are slow
def marks(kind): return () if kind in FIRST else pytest.mark.slow

@pytest.mark.parametrize('kind,task', [pytest.param(k, t, marks=marks(k)) for i,k in enumerate(FAMILIES) for j,t in enumerate(TASKS)
    if k in MAPPINGS[t] and (j==i%2 or j>1) and check.reason(k, t) is None]) # each with one kind of labels in turn, with gaps and with choices
def test_family(kind, task, tmp_path, in_tmp): check.run(kind, task, tmp_path)

@pytest.mark.slow
def test_a_classifier_that_inherits_from_a_writer(tmp_path, in_tmp):
    "It has the method that makes a decoder's input, and makes its own."
    check.run('t5gemma2', 'sequence_classification', tmp_path)

SAMPLE = dict(causal_lm='reformer mpt falcon_h1 qwen3_5'.split(), seq2seq='fsmt switch_transformers marian encoder-decoder seamless_m4t'.split()) # the gate's part of what is run by hand

@pytest.mark.slow
@pytest.mark.parametrize('kind,task', [(k, t) for t,kinds in SAMPLE.items() for k in kinds])
def test_sample(kind, task, tmp_path, in_tmp): check.run(kind, task, tmp_path)

def test_what_is_found_is_kept(tmp_path, monkeypatch, capsys):
    "A run that was stopped goes on where it was; a pair that is named runs again, and its line is replaced."
    ran = []
    class Here:
        def __init__(self, *args, **kwargs): pass
        def __enter__(self): return self
        def __exit__(self, *args): pass
        def imap_unordered(self, f, todo): return map(f, todo)
    def attempt(job):
        ran.append(job)
        if len(ran)==2: raise KeyboardInterrupt
        return dict(kind=job[0], task=job[1], error=('E', 'trace') if job[0]=='bart' else None, apart=True)
    monkeypatch.setattr(check, 'attempt', attempt)
    monkeypatch.setattr(check, 'jobs', lambda: [(k, 'seq2seq') for k in ('bart','t5','voxtral')])
    monkeypatch.setattr(check.multiprocessing, 'get_context', lambda how: type('Context', (), dict(Pool=Here)))
    def main(*args):
        monkeypatch.setattr(sys, 'argv', ['check.py', *args, '--found', str(tmp_path/'f.jsonl'), '--out', str(tmp_path/'t.md')])
        with pytest.raises(SystemExit) as e: check.main()
        return e.value.code
    with pytest.raises(KeyboardInterrupt): main()
    assert [k for k,_ in check.kept(tmp_path/'f.jsonl')]==['bart'] and ran==[('bart','seq2seq'),('t5','seq2seq')]
    assert not main() and ran[2:]==[('t5','seq2seq')]
    page = (tmp_path/'t.md').read_text()
    assert '| bart |' in page and 'fails' in page and '1 fail' in page and '**voxtral**' in page
    del ran[2:]
    assert main('bart') and ran[2:]==[('bart','seq2seq')]

def test_what_is_left_out_exists():
    kinds = {k for m in MAPPINGS.values() for k in m}
    assert {*NO_TEXT, *EXCLUDED, *PADDING, *PADDING_OF}<=kinds
    assert all(len(why)>15 for why in [*NO_TEXT.values(), *PADDING.values(), *(w for e in (*EXCLUDED.values(), *PADDING_OF.values()) for w in e.values())])

def test_the_table_is_of_these_types():
    "`docs/architectures.md` was written by a whole run in which nothing failed"
    text = (HERE.parent/'docs'/'architectures.md').read_text()
    rows = {line.split('|')[1].strip() for line in text.splitlines() if line.startswith('| ')}-{'Type'}
    assert ' fail' not in text.split('| Type')[0] and len(rows)>100 and not {k for k in FAMILIES if k not in rows}
