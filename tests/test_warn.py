"A warning names the user's line, whatever way the call went."
import inspect
import os
import re
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pandas as pd
import pytest

import blurlike
import small
from blurlike.support import warn
from blurlike.all import Checkpoints, sweep, token_classification_learner
from blurlike.support.warn import warn_user
from small import BS, FRAMES, TEXTS, learner

LONG = 'the film was great '*40

def quiet(learn, call):
    with learn.no_bar(), learn.no_logging(): call(learn)

def leaky():
    df = pd.DataFrame(dict(text=[f'{t} and a few more words' for t in TEXTS], label=FRAMES['single'].label))
    return pd.concat([df, df.iloc[:12]], ignore_index=True)

def tags(words): return ['I-X']+['O']*(len(words)-1)

def finished(learn):
    learn.fit(1, 1e-3, cbs=Checkpoints('run'))
    learn.resume('run')

def sometimes():
    values = iter(['no number', 1.])
    return lambda x: float(next(values))

DOORS = dict( # what is warned of, and a call
    pad=('no pad token', lambda bert, checkpoints: learner('single', checkpoints('gpt2'))),
    empty=('empty text in row', lambda bert, checkpoints: learner('single', bert, pd.DataFrame(dict(text=['', *TEXTS[1:]], label=FRAMES['single'].label)))),
    tags=('begin an entity with I-', lambda bert, checkpoints: token_classification_learner([dict(tokens=t.split(), tags=tags(t.split())) for t in TEXTS], bert, bs=BS)),
    predict=('cut off', lambda bert, checkpoints: quiet(learner('single', bert), lambda learn: learn.predict(LONG))),
    fastai_predict=('cut off', lambda bert, checkpoints: quiet(learner('single', bert), lambda learn: learn.fastai_predict(LONG))),
    predict_batch=('cut off', lambda bert, checkpoints: learner('single', bert).predict_batch([LONG])),
    nothing=('empty text in item', lambda bert, checkpoints: learner('single', bert).predict_batch([''])),
    ahead=('surrogates', lambda bert, checkpoints: learner('single', bert).predict_batch([*TEXTS*3, 'a \ud800 film'], bs=1)), # in a thread
    file=('cut off', lambda bert, checkpoints: learner('single', bert).predict_batch([LONG], out='p.jsonl')),
    first_look=('validation rows', lambda bert, checkpoints: quiet(learner('single', bert, leaky(), valid=list(range(12))), lambda learn: learn.fit(1, 1e-3))),
    fit=('cut off', lambda bert, checkpoints: quiet(learner('single', bert, max_length=8), lambda learn: learn.fit(1, 1e-3))),
    one_cycle=('cut off', lambda bert, checkpoints: quiet(learner('single', bert, max_length=8), lambda learn: learn.fit_one_cycle(1, 1e-3))),
    fine_tune=('cut off', lambda bert, checkpoints: quiet(learner('single', bert, max_length=8), lambda learn: learn.fine_tune(1, 1e-3))),
    get_preds=('cut off', lambda bert, checkpoints: quiet(learner('single', bert, max_length=8), lambda learn: learn.get_preds())),
    loop=('cut off', lambda bert, checkpoints: [*learner('single', bert, max_length=8).dls.valid]),
    resume=('is finished', lambda bert, checkpoints: quiet(learner('single', bert), finished)),
    sweep=('trial 0', lambda bert, checkpoints: sweep(sometimes(), dict(x=(0, 9)), n_trials=2, backend='optuna')))

@pytest.mark.parametrize('door', DOORS)
def test_the_line_is_the_users(door, bert, checkpoints, in_tmp):
    said,call = DOORS[door]
    with pytest.warns(UserWarning, match=said) as record: call(bert, checkpoints)
    assert {w.filename for w in record if re.search(said, str(w.message))}<={__file__, small.__file__}

SCRIPT = """import sys
from blurlike.all import *
learn = sequence_classification_learner([dict(text=t, label=t[:3]) for t in ('the sea','the wood','our house','our boat')*4], sys.argv[1])
learn.remove_cb(ProgressCallback)
long = 'sea '*200
learn.predict(long)
for _ in range(3): learn.predict(long)
learn.predict(long+'sea')
learn.predict_batch([long])
"""

@pytest.mark.slow
def test_what_is_printed(bert, tmp_path):
    "With Python's own filters: the user's line"
    (tmp_path/'script.py').write_text(SCRIPT)
    env = {k:v for k,v in os.environ.items() if k!='PYTHONWARNINGS'} | dict(PYTHONPATH=str(Path(blurlike.__file__).parents[1]))
    r = subprocess.run([sys.executable, 'script.py', str(bert)], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert r.returncode==0, r.stderr
    assert re.findall(r'^(.*?):(\d+): UserWarning: 1 of 1 texts.*\n  (.*)', r.stderr, re.M)==[(str(tmp_path/'script.py'), '6', 'learn.predict(long)')] # once a learner

def test_a_thread_of_the_users_is_his():
    with pytest.warns(UserWarning, match='mine') as record:
        thread = threading.Thread(target=lambda: warn_user('mine'))
        thread.start()
        thread.join()
    assert record[0].filename==__file__ and record[0].lineno==inspect.currentframe().f_lineno-3

def test_without_any_frame_of_the_users(monkeypatch):
    "As under `python -m`, or where all is ours"
    monkeypatch.setattr(warn, '_between', warn._between | {__name__, '_pytest', 'pluggy', 'pytest', '__main__', 'runpy', 'importlib'} | set(sys.modules))
    with pytest.warns(FutureWarning, match='all the same'): warn_user('all the same', FutureWarning)

def test_as_errors():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with pytest.raises(UserWarning, match='once'): warn_user('once')

def test_nobody_warns_in_another_way():
    for p in Path(blurlike.__file__).parent.rglob('*.py'):
        if p.name!='warn.py': assert not re.search(r'warnings\.warn\(|stacklevel', p.read_text()), p

def folds(bert, where=range(2)):
    for k in where: quiet(learner('single', bert, max_length=8+k, valid=list(range(k*8, k*8+8))), lambda learn: learn.fit(1, 1e-3))

def said_cuts(call):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        call()
    return [str(w.message) for w in said if 'cut off' in str(w.message)]

@pytest.mark.slow
def test_cut_texts_are_told_once_of_a_line(bert):
    "Learners that are made and trained in a loop say it once; another length, another line or another run of the cell say it again."
    def same(): return folds(bert, [0, 0, 0])
    assert [len(said_cuts(same)), len(said_cuts(same))]==[1, 1] # other filters: to Python's own memory too the second is new
    assert len(said_cuts(lambda: folds(bert, [0, 1, 0])))==2
    learns = [learner('single', bert) for _ in range(3)]
    assert len(said_cuts(lambda: [learn.predict_batch([LONG]) for learn in learns]))==1
    assert len(said_cuts(lambda: [exec("tell_user('3 texts were cut off', 'cut')", dict(tell_user=warn.tell_user, __name__='__main__')) for _ in range(2)]))==2

@pytest.mark.parametrize('notebook', [True, False], ids=['notebook','script'])
def test_a_notebook_paints_cut_texts_not_red(notebook, monkeypatch, capsys):
    def show(m, c, f, n, file=None, line=None): sys.stderr.write(warnings.formatwarning(m, c, f, n, line)) # as Python does; pytest records instead
    monkeypatch.setattr(warn, 'IN_NOTEBOOK', notebook)
    with warnings.catch_warnings():
        monkeypatch.setattr(warnings, 'showwarning', show)
        warnings.simplefilter('default')
        warn.tell_user('3 texts were cut off', 'cut')
        shown = capsys.readouterr()
        assert shown==('3 texts were cut off\n','') if notebook else shown.out=='' and 'UserWarning: 3 texts were cut off' in shown.err
        warnings.simplefilter('ignore')
        warn.tell_user('3 texts were cut off', 'cut')
        assert capsys.readouterr()==('','')
