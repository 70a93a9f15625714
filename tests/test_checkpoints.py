"A run that was interrupted ends as if nothing had happened; nothing is lost, and nothing that is read is code."
import json,os,random,re,shutil,signal,subprocess,sys,threading,warnings
from collections import Counter, defaultdict, deque
from enum import Enum, IntEnum
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from blurlike.all import Adam, Callback, CancelFitException, Checkpoints, CSVLogger, EarlyStoppingCallback, GradientAccumulation, Metric, ReduceLROnPlateau, SaveModelCallback, TensorBase, TransformersLearner, layerwise_splitter, question_answering_learner, seq2seq_metrics, sequence_classification_learner, set_seed
from blurlike.train.resume import last_checkpoint
from blurlike.train.training_state import untaken
from blurlike.support.files import file_hash, write_folder
from blurlike.support.one_writer import OneWriter
from blurlike.support.plain_data import from_plain, load_state, plain_vars, save_state, to_plain
from fresh import here
from runs import CUTS, SCENARIOS, Cut, classifier, gaps, questions, summarizer, tagger, train, writer
from small import BS, FRAMES, TEXTS, first, weights

pytestmark = pytest.mark.usefixtures('in_tmp')

def table(learn): return [list(row) for row in learn.recorder.values]
def same(a, b): return all(torch.equal(p, q) for p,q in zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True)) and table(a)==table(b)
def equal(a, b): return all(torch.equal(p, b[n]) for n,p in a.items())
def quiet(learn, f):
    with learn.no_bar(), learn.no_logging(): return f()

@pytest.fixture(scope='module')
def whole(bert, tmp_path_factory):
    "`whole(name)`: a run that nothing disturbed, and that made no checkpoints."
    made = {}
    def get(name):
        if name not in made:
            s = SCENARIOS[name]
            set_seed(3)
            learn = s['make'](bert)
            learn.add_cb(Cut('never', 1))
            quiet(learn, lambda: getattr(learn, s['call'])(*s['args'], cbs=s.get('cbs', list)()))
            made[name] = learn
        return made[name]
    return get

@pytest.mark.slow
def test_killed_at_random(bert, tmp_path):
    "`kill -9` at random steps, in validation, and in the middle of writing a checkpoint"
    tests = Path(__file__).parent
    out = subprocess.run([sys.executable, '-W', 'ignore', tests/'killed_runs.py', bert, tmp_path/'runs', '6', str(pd.Timestamp.now().day_of_year)], capture_output=True, text=True, cwd=tests, env=here())
    assert out.returncode==0, out.stderr[-3000:]
    runs = [json.loads(line) for line in out.stdout.splitlines() if line.startswith('{')]
    assert len(runs)==6*len(SCENARIOS) and sum(len(r['kills']) for r in runs)>20
    assert [r for r in runs if not r['same']]==[]

class Stop(Exception): pass

@pytest.mark.parametrize('step', [7, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize('name', first(SCENARIOS))
def test_every_batch(name, step, bert, whole, tmp_path):
    "An error after any batch, with a checkpoint after each second one; a few of the batches in the fast suite, in each epoch one"
    for n in range(1, SCENARIOS[name]['batches']+1, step):
        folder = tmp_path/str(n)
        with pytest.raises(Stop): train(SCENARIOS[name], bert, folder, 2, cut=('after_batch', n), error=Stop('x'))
        at = last_checkpoint(folder)
        assert at.state['table'][-1]==[] or at.epoch>0 # the epoch table holds the epochs that ended
        assert same(train(SCENARIOS[name], bert, folder), whole(name)), n

def test_random_numbers_of_the_users_go_on(bert, tmp_path):
    drawn = []
    class Draws(Callback):
        run_valid = False
        def before_batch(self): drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))
    run = SCENARIOS['one_cycle'] | dict(cbs=lambda: [Draws()])
    train(run, bert, tmp_path/'whole')
    whole = drawn.copy()
    with pytest.raises(Stop): train(run, bert, tmp_path/'cut', 2, cut=('after_batch', 5), error=Stop('x'))
    drawn.clear()
    train(run, bert, tmp_path/'cut')
    assert len(whole)==16 and drawn==whole[4:]

@pytest.mark.parametrize('event', first(sorted(CUTS, key=lambda o: o!='after_epoch'), 2))
@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGTERM])
def test_signals_wait_for_the_batch(event, signum, bert, whole, tmp_path):
    "Ctrl-C anywhere makes a checkpoint, of the very batch, and leaves a learner that works"
    class Press(Cut):
        def hit(self, event):
            if event!=self._event: return
            self._left -= 1
            if not self._left: os.kill(os.getpid(), signum)
    before = signal.getsignal(signal.SIGINT),signal.getsignal(signal.SIGTERM)
    set_seed(3)
    learn = classifier(bert)
    learn.add_cb(Press(event, 1 if event=='after_epoch' else 2))
    with pytest.raises(KeyboardInterrupt if signum==signal.SIGINT else SystemExit): quiet(learn, lambda: learn.fit_one_cycle(2, 1e-3, cbs=Checkpoints('run', every=None, steps=1000)))
    assert (signal.getsignal(signal.SIGINT),signal.getsignal(signal.SIGTERM))==before
    at = last_checkpoint('run').state['where']
    assert at==dict(fit=0, epoch=0, batch=8) if event=='valid' else at==dict(fit=0, epoch=1, batch=0) if event=='after_epoch' else at==dict(fit=0, epoch=0, batch=2)
    assert all(p.grad is None or not p.grad.any() for p in learn.model.parameters())
    assert len(learn.recorder.losses)==(2 if at['batch']==2 else 8)
    quiet(learn, lambda: (learn.predict('a lovely film'), learn.validate(), learn.fit(1)))
    set_seed(3)
    again = classifier(bert)
    again.add_cb(Cut('never', 1, None))
    type(again.cbs[-1]).__name__ = 'Press'
    try: quiet(again, lambda: again.resume('run'))
    finally: Cut.__name__ = 'Cut'
    assert same(again, whole('one_cycle'))

def test_a_second_interrupt_does_not_wait(bert):
    learn = classifier(bert)
    class Twice(Callback):
        def before_step(self):
            for _ in range(2): os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt): quiet(learn, lambda: learn.fit(1, cbs=[Checkpoints('run'), Twice()]))
    assert last_checkpoint('run').state['where']['batch']==0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

def test_interrupt_without_checkpoints(bert):
    "A learner that was interrupted between two gradients is as before, with its recorder, logger and file"
    learn = classifier(bert)
    logger = learn.logger
    with pytest.raises(KeyboardInterrupt): learn.fit(2, 1e-3, cbs=[CSVLogger(), SaveModelCallback(), Cut('before_step', 11, KeyboardInterrupt())])
    assert learn.logger is logger and len(table(learn))==1
    assert len(learn.recorder.losses)==10
    assert not any(isinstance(cb, (CSVLogger, SaveModelCallback)) for cb in learn.cbs)
    assert all(p.grad is None or not p.grad.any() for p in learn.model.parameters()) and learn.xb==(None,)
    assert len(pd.read_csv('history.csv'))==1
    quiet(learn, lambda: learn.fit(1))
    learn.export()

def test_a_thread_may_train(bert):
    learn,errors = classifier(bert),[]
    def job():
        try: quiet(learn, lambda: learn.fit(1, cbs=Checkpoints('run')))
        except BaseException as e: errors.append(e)
    t = threading.Thread(target=job)
    t.start()
    t.join()
    assert not errors and last_checkpoint('run').epoch==1

@pytest.mark.parametrize('kwargs', first([dict(precision='bf16'), dict(dl_kwargs=dict(max_tokens=150)), dict(precision='fp16'), dict(dl_kwargs=dict(num_workers=2)), dict(dl_kwargs=dict(megabatch=2)), dict(max_length=8, overlap=2)], 2))
def test_settings(kwargs, bert, tmp_path):
    scenario = dict(make=lambda c: classifier(c, **kwargs), call='fit_one_cycle', args=(2, 1e-3))
    expected = train(scenario, bert, tmp_path/'whole')
    with pytest.raises(Stop): train(scenario, bert, tmp_path/'run', 3, cut=('after_batch', 8), error=Stop('x'))
    assert same(train(scenario, bert, tmp_path/'run'), expected)

def test_trackers_go_on(bert, tmp_path):
    "What EarlyStopping, ReduceLROnPlateau and a CSV file have seen is not forgotten"
    cbs = lambda: [EarlyStoppingCallback('accuracy', patience=2, min_delta=2.), ReduceLROnPlateau('accuracy', patience=1, min_delta=2.), CSVLogger(tmp_path/'log.csv')]
    scenario = dict(make=classifier, call='fit', args=(6, 1e-3), cbs=cbs)
    expected = train(scenario, bert, tmp_path/'whole')
    log = pd.read_csv(tmp_path/'log.csv')
    assert len(table(expected))==3 # 2 points above an accuracy of 1 are never reached: the second epoch without is the third
    with pytest.raises(Stop): train(scenario, bert, tmp_path/'run', cut=('after_batch', 20), error=Stop('x'))
    learn = train(scenario, bert, tmp_path/'run')
    assert same(learn, expected)
    assert pd.read_csv(tmp_path/'log.csv').drop(columns='time').equals(log.drop(columns='time'))

def epochs_in(path): return [line.split(',')[0] for line in path.read_text().split()]

def test_a_csv_file_has_each_epoch_once(bert, tmp_path):
    "The rows of other runs stay, those of the interrupted one are written again"
    log = tmp_path/'log.csv'
    scenario = dict(make=classifier, call='fit', args=(3, 1e-3), cbs=lambda: [CSVLogger(log, append=True)])
    train(scenario | dict(args=(2, 1e-3)), bert, tmp_path/'first')
    with pytest.raises(Stop): train(scenario, bert, tmp_path/'run', 10, cut=('after_batch', 20), error=Stop('x'))
    before = log.read_text().splitlines()
    assert epochs_in(log)==['epoch','0','1','0','1']
    log.write_text('\n'.join([*before, '2'+before[-1][1:], '0'+before[-1][1:]])+'\n') # an epoch after the last checkpoint, and another run
    train(scenario, bert, tmp_path/'run')
    assert epochs_in(log)==['epoch','0','1','0','0','1','2'] and log.read_text().splitlines()[:3]==before[:3]

def test_a_csv_file_of_fine_tune_has_each_epoch_once(bert, tmp_path):
    log = tmp_path/'log.csv'
    scenario = dict(make=classifier, call='fine_tune', args=(2, 1e-3), cbs=lambda: [CSVLogger(log, append=True)])
    with pytest.raises(Stop): train(scenario, bert, tmp_path/'run', cut=('after_batch', 20), error=Stop('x'))
    train(scenario, bert, tmp_path/'run')
    assert epochs_in(log)==['epoch','0','0','1']

def asked(checkpoint): return question_answering_learner(questions(), checkpoint, bs=8, valid=.25)
TRAINED = dict(tags=tagger, causal_lm=lambda c: writer(c, block_size=0), answers=asked, written=lambda c: summarizer(c, metrics=seq2seq_metrics(None, 4)), masked_lm=gaps, single=classifier)

@pytest.mark.parametrize('name', first(TRAINED, 3))
def test_metrics_of_training_go_on(name, bert, tmp_path):
    "What was counted before the interruption is in the epoch table, of its last batch too"
    def make(checkpoint):
        learn = TRAINED[name](checkpoint)
        learn.recorder.train_metrics = True
        return learn
    scenario = dict(make=make, call='fit', args=(1, 1e-2))
    expected = train(scenario, bert, tmp_path/'whole')
    assert sum(n.startswith('train_') for n in expected.recorder.metric_names)>1
    for cut in (('after_batch', 2), ('valid', 1)):
        folder = tmp_path/cut[0]
        with pytest.raises(Stop): train(scenario, bert, folder, 1, cut=cut, error=Stop('x'))
        assert last_checkpoint(folder).batch==(1 if cut[1]==2 else len(expected.dls.train))
        assert same(train(scenario, bert, folder), expected)

def test_fine_tune_shows_all_epochs(bert, capsys):
    learn = classifier(bert)
    with learn.no_bar(), pytest.raises(Stop): learn.fine_tune(2, 1e-3, cbs=[Checkpoints('run'), Cut('after_batch', 20, Stop('x'))])
    capsys.readouterr()
    learn = classifier(bert)
    learn.add_cb(Cut('never', 1))
    with learn.no_bar(): learn.resume('run')
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith('[')]
    assert [line.split(',')[0] for line in shown]==['[0','[0','[1'] and not getattr(learn, 'frozen_to', 0)

def test_frozen_runs_stay_frozen(bert, tmp_path):
    def frozen(c):
        learn = classifier(c)
        learn.freeze()
        return learn
    with pytest.raises(Stop): train(dict(make=frozen, call='fit', args=(1, 1e-2)), bert, tmp_path/'run', 2, cut=('after_batch', 5), error=Stop('x'))
    expected = train(dict(make=frozen, call='fit', args=(1, 1e-2)), bert, tmp_path/'whole')
    learn = train(dict(make=classifier, call='fit', args=(1, 1e-2)), bert, tmp_path/'run') # who forgot to freeze
    assert same(learn, expected)

class Given(Metric):
    "A metric with these values, one an epoch"
    name = 'given'
    def __init__(self, values): self.values,self.k = values,-1
    def reset(self): self.k += 1
    @property
    def value(self): return self.values[self.k]

def given(bert, *values):
    learn = classifier(bert, metrics=Given(values))
    learn.add_cb(seen := Seen())
    return learn,seen

class Seen(Callback):
    def before_fit(self): self._weights = []
    def after_epoch(self): self._weights.append(weights(self.learn.model))

@pytest.mark.parametrize('values,lower,epoch', [((.2,.9,.5), False, 1), pytest.param((.2,.9,.1), True, 2, marks=pytest.mark.slow), pytest.param((float('nan'),.1,.1), False, 1, marks=pytest.mark.slow)])
def test_best(values, lower, epoch, bert, capsys):
    learn,seen = given(bert, *values)
    with learn.no_bar(): learn.fit(3, 1e-3, cbs=Checkpoints('run', best='given', lower=lower))
    said = f"The weights in the model are those of epoch {epoch}, with the best given: {values[epoch]:.6f}."
    assert capsys.readouterr().out.strip().endswith(said)==(epoch<2)
    assert equal(weights(learn.model), seen._weights[epoch]) and not equal(seen._weights[0], seen._weights[2])

def test_best_of_an_error(bert, in_tmp, monkeypatch):
    "mae is known to be an error, and of what is not known nothing is guessed"
    df = pd.DataFrame(dict(text=['a film','an old film','great','it was']*6, label=np.linspace(0, 3, 24)))
    learn,values = sequence_classification_learner(df, bert, bs=8),iter((.4,.2,.9))
    monkeypatch.setattr(learn.metrics[0], 'accumulate', lambda learn: None)
    monkeypatch.setattr(type(learn.metrics[0]), 'value', property(lambda m: next(values)))
    learn.add_cb(seen := Seen())
    quiet(learn, lambda: learn.fit(3, 1e-2, cbs=Checkpoints('run', best='mae')))
    assert equal(weights(learn.model), seen._weights[1])
    assert json.loads(Path('run/run.json').read_text())['settings']['lower'] is True
    with pytest.raises(ValueError, match="'given' better.*lower=True"): quiet(l := given(bert, .5)[0], lambda: l.fit(1, cbs=Checkpoints('new', best='given')))
    assert not Path('new').exists()

def test_no_best_epoch(bert):
    "Losses that are nan never bring back an earlier run's weights"
    learn,_ = given(bert, .5)
    quiet(learn, lambda: learn.fit(1, 1e-3, cbs=Checkpoints('run', best='given', lower=False)))
    old = weights(learn.model)
    learn,seen = given(bert, float('nan'), float('nan'))
    with pytest.warns(UserWarning, match='no best epoch'): quiet(learn, lambda: learn.fit(2, 1e-3, cbs=Checkpoints('run', best='given', lower=False)))
    assert equal(weights(learn.model), seen._weights[1])
    assert not equal(weights(learn.model), old)
    assert not Path('run/best.safetensors').exists()

def test_best_of_a_run_that_was_resumed(bert, capsys):
    learn,seen = given(bert, .9, .5, .4)
    learn.add_cb(Cut('after_batch', 13, Stop('x')))
    with pytest.raises(Stop): quiet(learn, lambda: learn.fit(3, 1e-3, cbs=Checkpoints('run', best='given', lower=False)))
    best = seen._weights[0]
    learn,seen = given(bert, .5, .4)
    learn.add_cb(Cut('never', 1))
    with learn.no_bar(): learn.resume('run')
    assert equal(weights(learn.model), best) and not equal(best, seen._weights[-1])
    said = 'he weights in the model are those of epoch 0, with the best given: 0.900000'
    assert f'T{said}.' in capsys.readouterr().out
    with pytest.warns(UserWarning, match=f'is finished: t{said}, nothing was left'): quiet(learn, lambda: given(bert, .5)[0].resume('run'))

def spoil(how): # the file with the best weights
    path = Path('run/best.safetensors')
    if how=='deleted': return path.unlink()
    blob = bytearray(path.read_bytes())
    if how=='flipped': blob[len(blob)//2] ^= 64
    path.write_bytes(blob if how=='flipped' else blob[:1000])

class Spoils(Callback):
    "as somebody else does, in the `n`th batch of the run"
    def __init__(self, n, how): self._n,self._how = n,how
    def before_batch(self):
        if self.training and self.train_iter==self._n: spoil(self._how)

@pytest.mark.parametrize('how', first(['deleted','flipped','cut off'], 2))
def test_best_weights_that_were_spoilt(how, bert, recwarn):
    "are in no model, and no sentence says so"
    learn,seen = given(bert, .9, .5)
    quiet(learn, lambda: learn.fit(2, 1e-3, cbs=Checkpoints('run', best='given', lower=False)))
    assert equal(weights(learn.model), seen._weights[0])
    spoil(how)
    other,_ = given(bert, .9, .5)
    with pytest.warns(UserWarning, match='is finished: best.safetensors is gone or damaged, so the weights in the model are those of step-000000016,'):
        quiet(other, lambda: other.resume('run'))
    assert equal(weights(other.model), seen._weights[1])

@pytest.mark.parametrize('how', first(['cut off','deleted','flipped'], 2))
def test_best_weights_that_are_spoilt_while_it_trains(how, bert, recwarn):
    "The run ends, with the last weights, and says so; so does who asks for it again"
    learn,seen = given(bert, .9, .5)
    with pytest.warns(UserWarning, match='was deleted or damaged while the run went on: the model keeps the weights with which'):
        quiet(learn, lambda: learn.fit(2, 1e-3, cbs=[Checkpoints('run', best='given', lower=False), Spoils(12, how)]))
    assert equal(weights(learn.model), seen._weights[1]) and 'told' not in json.loads(Path('run/run.json').read_text())
    other,_ = given(bert, .9, .5)
    with pytest.warns(UserWarning, match='is finished: best.safetensors is gone or damaged'): quiet(other, lambda: other.resume('run'))
    assert equal(weights(other.model), seen._weights[1])

@pytest.mark.parametrize('how', first(['deleted','flipped']))
def test_best_weights_that_were_spoilt_before_it_goes_on(how, bert, recwarn):
    learn,_ = given(bert, .9, float('nan'))
    learn.add_cb(Cut('after_batch', 13, Stop('x')))
    with pytest.raises(Stop): quiet(learn, lambda: learn.fit(2, 1e-3, cbs=Checkpoints('run', best='given', lower=False)))
    spoil(how)
    learn,seen = given(bert, float('nan'))
    learn.add_cb(Cut('never', 1))
    with pytest.warns(UserWarning, match='an epoch had given 0.900000, whose weights .* damaged or deleted: the model keeps'): quiet(learn, lambda: learn.resume('run'))
    assert equal(weights(learn.model), seen._weights[0]) and not [w for w in recwarn if 'never a number' in str(w.message)]

def test_after_the_end(bert, whole):
    "A finished run gives its weights and trains no more; `fit` begins anew, in the same folder"
    set_seed(3)
    learn = classifier(bert, cbs=Checkpoints('run'))
    learn.add_cb(Cut('never', 1))
    quiet(learn, lambda: learn.fit_one_cycle(2, 1e-3))
    other = classifier(bert)
    with pytest.warns(UserWarning, match='is finished'): quiet(other, lambda: other.resume('run'))
    assert equal(weights(other.model), weights(learn.model))
    with pytest.warns(UserWarning, match="the finished run in '.*run' gives way to this one"): quiet(learn, lambda: learn.fit(1, 1e-3))
    assert len(table(learn))==1 and len(learn.recorder.losses)==8 and last_checkpoint('run').epoch==1
    assert [p.name for p in sorted(Path('run').glob('step*'))]==['step-000000000','step-000000008']

class EndsFit(Callback):
    "Ends the fit in the `n`th batch of the run, or after the epoch `epoch`"
    order = 63 # of `EarlyStoppingCallback`
    def __init__(self, n=None, epoch=None): self._n,self._epoch = n,epoch
    def after_batch(self):
        if self.training and self.train_iter==self._n: raise CancelFitException
    def after_epoch(self):
        if self.epoch==self._epoch: raise CancelFitException

def test_the_epoch_after_which_a_callback_ends_the_fit_may_be_the_best(bert, capsys):
    learn,seen = given(bert, .2, .9, .5)
    with learn.no_bar(): learn.fit(3, 1e-3, cbs=[Checkpoints('run', best='given', lower=False), EndsFit(epoch=1)])
    assert equal(weights(learn.model), seen._weights[1]) and 'he weights in the model' not in capsys.readouterr().out
    assert len(last_checkpoint('run').state['table'][0])==2
    learn,seen = given(bert, .2, .9, .5)
    with learn.no_bar(): learn.fit(3, 1e-3, cbs=[Checkpoints('other', best='given', lower=False), EndsFit(20)])
    assert equal(weights(learn.model), seen._weights[1])
    assert 'The weights in the model are those of epoch 1, with the best given: 0.9' in capsys.readouterr().out # four batches came after them
    learn,_ = given(bert, .2)
    with pytest.warns(UserWarning, match='no epoch came to its end, so there is no best'):
        quiet(learn, lambda: learn.fit(3, 1e-3, cbs=[Checkpoints('none', best='given', lower=False), EndsFit(4)]))

ENDS = dict(early=lambda: [EarlyStoppingCallback('accuracy', min_delta=2.)], saved=lambda: [SaveModelCallback('accuracy', min_delta=2.)],
    limit=lambda: [EndsFit(4)], whole=lambda: [])

@pytest.mark.parametrize('every', first(['epoch',None]))
@pytest.mark.parametrize('how', first(ENDS, 3))
def test_a_finished_run_gives_what_it_ended_with(how, every, bert):
    "Also where a callback has ended it, or has changed the weights at its end"
    learn = classifier(bert)
    quiet(learn, lambda: learn.fit(3, 1e-2, cbs=[*ENDS[how](), Checkpoints('run', every, steps=9)]))
    other = classifier(bert)
    with pytest.warns(UserWarning, match='is finished'): quiet(other, lambda: other.resume('run', cbs=ENDS[how]()))
    assert equal(weights(other.model), weights(learn.model))
    assert [row[:-1] for row in last_checkpoint('run').state['table'][0]]==[[i, *row] for i,row in enumerate(table(learn))]
    assert len(table(learn))==dict(early=2, saved=3, limit=0, whole=3)[how]

def test_the_end_is_written_once(bert, monkeypatch):
    places = []
    monkeypatch.setattr('blurlike.train.checkpoints.write_folder', lambda place, *args, **kwargs: (places.append(place.name), write_folder(place, *args, **kwargs)))
    learn = classifier(bert)
    def write(call, *args, **kwargs):
        places.clear()
        quiet(learn, lambda: getattr(learn, call)(*args, cbs=[Checkpoints('run', overwrite=True), *kwargs.pop('cbs', [])], **kwargs))
        return [int(p[-3:]) for p in places]
    assert write('fit', 2, 1e-3)==[0,8,16]
    assert write('fine_tune', 1, 1e-3)==[0,8,16]
    assert write('fit', 1, 1e-3, cbs=[SaveModelCallback()])==[0,8]
    assert write('fit', 2, 1e-3, cbs=[SaveModelCallback('accuracy', min_delta=2.)])==[0,8,16,16]

def test_killed_when_all_but_the_end_is_written(bert, monkeypatch):
    def cbs(): return [SaveModelCallback('accuracy', min_delta=2.), EarlyStoppingCallback('accuracy', min_delta=2.)]
    learn = classifier(bert)
    def killed(self): raise Stop('x')
    begin = Checkpoints._write_facts
    with monkeypatch.context() as m, pytest.raises(Stop):
        m.setattr(Checkpoints, '_write_facts', lambda self: killed(self) if self.facts['finished'] else begin(self))
        quiet(learn, lambda: learn.fit(4, 1e-2, cbs=[*cbs(), Checkpoints('run')]))
    assert not json.loads(Path('run/run.json').read_text())['finished']
    other = classifier(bert)
    quiet(other, lambda: other.resume('run', cbs=cbs()))
    assert same(other, learn) and len(table(other))==2 and json.loads(Path('run/run.json').read_text())['finished']

def test_epochs_of_a_run_that_is_over_have_headings(bert, in_tmp, capsys):
    learn = classifier(bert)
    with learn.no_bar(): learn.fit(2, 1e-3, cbs=Checkpoints('run'))
    rows,other = learn.recorder.values,classifier(bert)
    capsys.readouterr()
    with pytest.warns(UserWarning, match='is finished'): other.resume('run')
    head,*lines = capsys.readouterr().out.strip().splitlines()
    assert head.split()==['epoch','train_loss','valid_loss',*(m.name for m in learn.metrics),'time'] and [f'{r[0]:.6f}' for r in rows]==[l.split()[1] for l in lines]
    with other.no_logging(), pytest.warns(UserWarning, match='is finished'): other.resume('run')
    assert not capsys.readouterr().out

def test_lr_find_and_validate_make_no_checkpoints(bert):
    learn = classifier(bert, cbs=Checkpoints('run'))
    quiet(learn, lambda: (learn.lr_find(show_plot=False), learn.validate(), learn.get_preds()))
    assert not Path('run').exists()

def test_what_a_killed_process_had_begun_to_write(bert):
    for name in ('.run.json.x1','.best.safetensors.x2'): (Path('run').mkdir(exist_ok=True), (Path('run')/name).write_text('half'))
    Path('run/.step-000000001.x3/new').mkdir(parents=True)
    learn = classifier(bert)
    quiet(learn, lambda: learn.fit(1, cbs=Checkpoints('run')))
    assert not [p for p in Path('run').iterdir() if p.name[0]=='.'] and last_checkpoint('run').epoch==1

def test_keep(bert):
    learn = classifier(bert)
    quiet(learn, lambda: learn.fit(1, cbs=Checkpoints('run', steps=1, keep=3)))
    assert [p.name for p in sorted(Path('run').iterdir())]==['run.json','step-000000006','step-000000007','step-000000008']

def test_no_pickle(bert, monkeypatch):
    learn = classifier(bert)
    with pytest.raises(Stop): quiet(learn, lambda: learn.fit_one_cycle(1, 1e-3, cbs=[Checkpoints('run', steps=2, best='accuracy'), Cut('after_batch', 5, Stop('x'))]))
    files = [p for p in Path('run').rglob('*') if p.is_file()]
    assert {p.suffix for p in files}=={'.json','.safetensors'}
    assert not any(p.read_bytes()[:2] in (b'\x80\x02',b'\x80\x04',b'\x80\x05',b'PK') for p in files)
    def never(*args, **kwargs): raise AssertionError('a pickle was opened')
    for place in ('pickle.load','pickle.loads','pickle.Unpickler','torch.load'): monkeypatch.setattr(place, never)
    again = classifier(bert)
    again.add_cb(Cut('never', 1))
    quiet(again, lambda: again.resume('run'))

@pytest.fixture
def cut_off(bert):
    "The folder of a run with two checkpoints, of steps 4 and 6."
    learn = classifier(bert)
    with pytest.raises(Stop): quiet(learn, lambda: learn.fit_one_cycle(2, 1e-3, cbs=[Checkpoints('run', steps=2), Cut('after_batch', 7, Stop('x'))]))
    return Path('run')

def resume(bert, folder, **kwargs):
    learn = classifier(bert, **kwargs)
    learn.add_cb(Cut('never', 1))
    return quiet(learn, lambda: learn.resume(folder)) or learn

@pytest.mark.parametrize('file', first(['state.safetensors','model.safetensors','state.json']))
def test_damaged(file, cut_off, bert):
    last = sorted(cut_off.glob('step-*'))[-1]
    data = bytearray((last/file).read_bytes())
    data[len(data)//2] ^= 1
    (last/file).write_bytes(data)
    with pytest.warns(UserWarning, match=f'step-000000006 cannot be used.*{file}'): assert last_checkpoint(cut_off).batch==4
    (last/file).unlink()
    with pytest.warns(UserWarning, match='cannot be used'): assert len(table(resume(bert, cut_off)))==2
    for p in cut_off.glob('step-*'): (p/'files.json').unlink()
    with pytest.raises(FileNotFoundError, match='no whole checkpoint'): last_checkpoint(cut_off)

def test_refusals(cut_off, bert, checkpoints):
    with pytest.raises(FileExistsError, match='unfinished run.*learn.resume'): quiet(l := classifier(bert), lambda: l.fit(1, cbs=Checkpoints(cut_off)))
    with pytest.raises(FileNotFoundError, match='holds no run'): resume(bert, 'nowhere')
    with pytest.raises(ValueError, match='made of other things than this learner: .*config.hidden_size'): resume(checkpoints('distilbert'), cut_off)
    with pytest.raises(ValueError, match=r'training rows \(36, now 24\)'): quiet(l := small_data(bert), lambda: l.resume(cut_off))
    with pytest.raises(ValueError, match=r'pass cbs=\[Cut'): quiet(l := classifier(bert), lambda: l.resume(cut_off))
    facts = json.loads((cut_off/'run.json').read_text())
    (cut_off/'run.json').write_text(json.dumps(facts | dict(format_version=7)))
    with pytest.raises(ValueError, match='version 7'): resume(bert, cut_off)
    Path('other').mkdir()
    Path('other/thesis.txt').write_text('all my work')
    with pytest.raises(FileExistsError, match='other things'): quiet(l := classifier(bert), lambda: l.fit(1, cbs=Checkpoints('other')))
    for kwargs,say in ((dict(every='batch'), "every='batch'"), (dict(every=None), 'never make a checkpoint'), (dict(keep=0), 'at least 1'), (dict(steps=0), 'at least 1'), (dict(keep=1.5), 'keep=1.5: a whole'), (dict(keep='2'), "keep='2': a whole"), (dict(steps=2.5), 'steps=2.5: a whole')):
        with pytest.raises(ValueError, match=say): Checkpoints('x', **kwargs)
    with pytest.raises(ValueError, match="best='f2' is no column.*accuracy"): quiet(l := classifier(bert), lambda: l.fit(1, cbs=Checkpoints('new', best='f2')))
    assert json.loads((cut_off/'run.json').read_text())['finished'] is False and last_checkpoint(cut_off).batch==6
    for p in cut_off.glob('step-*'): shutil.rmtree(p) # killed before its first checkpoint: there is nothing to go on with, and nothing to lose
    quiet(l := classifier(bert), lambda: l.fit(1, cbs=Checkpoints(cut_off)))

FRAME = FRAMES['single']
OTHERS = dict( # what is changed, how that is said
    texts=(dict(data=FRAME.assign(text=FRAME.text.str.replace('film', 'book'))), '(training|validation) data'),
    order=(dict(data=FRAME[::-1].reset_index(drop=True)), 'training data'),
    labels=(dict(data=FRAME.assign(label=FRAME.label.map(lambda o: dict(bad='good', good='bad').get(o, o)))), 'training data'),
    seed=(dict(seed=7), 'training data'), bs=(dict(bs=4), r'training bs \(5, now 4\)'), val_bs=(dict(dl_kwargs=dict(val_bs=3)), 'validation bs'),
    max_length=(dict(max_length=12), r'max_length \(64, now 12\)'), overlap=(dict(max_length=20, overlap=2), 'overlap'), precision=(dict(precision='bf16'), 'precision'),
    dropout=(dict(model_kwargs=dict(hidden_dropout_prob=.3)), r'config.hidden_dropout_prob \(0.1, now 0.3\)'), weights=(dict(class_weights='balanced'), 'loss'),
    metrics=(dict(metrics=[]), 'metrics'), wd=(dict(wd=.3), 'wd'), optimizer=(dict(opt_func=Adam), 'another optimizer'), splitter=(dict(splitter=layerwise_splitter), 'splitter'))

def changed(bert, data=FRAME, **kwargs):
    learn = sequence_classification_learner(data, bert, **(dict(bs=BS, valid=.25) | kwargs))
    learn.add_cb(Cut('never', 1))
    return learn

def test_a_run_of_other_things_is_not_gone_on_with(cut_off, bert):
    "Each difference is named; only who says so goes on all the same."
    for kwargs,said in OTHERS.values():
        learn = changed(bert, **kwargs)
        before = weights(learn.model)
        with pytest.raises(ValueError, match=said): quiet(learn, lambda: learn.resume(cut_off))
        assert equal(weights(learn.model), before)
    learn = changed(bert, bs=4)
    with pytest.warns(UserWarning, match=r'goes on with changes.*training bs \(5, now 4\)'): quiet(learn, lambda: learn.resume(cut_off, accept_changes=True))
    assert len(table(learn))==2

def test_a_run_of_other_modules_is_not_gone_on_with(cut_off, bert):
    "What was set by hand: dropout, of which older runs do not tell, and which parameters are trained."
    def louder(learn):
        for m in learn.model.modules():
            if isinstance(m, torch.nn.Dropout): m.p = .5
        return learn
    with pytest.raises(ValueError, match=r'dropout \({"0.1": \d+}, now {"0.5": \d+}\)'): quiet(l := louder(changed(bert)), lambda: l.resume(cut_off))
    frozen = changed(bert)
    frozen.model.bert.embeddings.requires_grad_(False)
    with pytest.raises(ValueError, match=r'run trained \d+ parameters of the model, and this learner trains \d+: freeze the same ones'): quiet(frozen, lambda: frozen.resume(cut_off))
    for step in cut_off.glob('step-*'):
        about = load_state(step)['about']
        for name in ('dropout','fast_dropout'): about['made_of'].pop(name)
        rewrite(step, about=about)
    (cut_off/'run.json').write_text(json.dumps(about))
    quiet(l := louder(changed(bert)), lambda: l.resume(cut_off)) # nor of how dropout is drawn
    assert len(table(l))==2

def rewrite(step, **changes): # a checkpoint with another state, and sums that agree with it
    save_state(step, load_state(step) | changes)
    (step/'files.json').write_text(json.dumps({p.name:file_hash(p) for p in step.iterdir() if p.name!='files.json'}))

def test_only_training_methods_are_called(cut_off, bert, monkeypatch):
    called = []
    monkeypatch.setattr(TransformersLearner, 'push_to_hub', lambda self, *args, **kwargs: called.append(kwargs), raising=False)
    facts = json.loads((cut_off/'run.json').read_text())
    for change,said in ((dict(call='push_to_hub', arguments=to_plain(dict(repo='x/y'), {})), 'no training method'), (dict(arguments=to_plain(dict(n_epoch=1, path='x'), {})), 'does not take'), (dict(arguments=dict(repo=1)), 'cannot be read')):
        for step in cut_off.glob('step-*'): # as one who means harm would leave it
            rewrite(step, about=facts | change)
        (cut_off/'run.json').write_text(json.dumps(facts | change))
        with pytest.raises(ValueError, match=said): resume(bert, cut_off)
    assert called==[]

@pytest.mark.parametrize('harm', first(['altered','missing','empty','a list']))
@pytest.mark.parametrize('name', ['run.json','files.json'])
def test_the_records_of_a_run(name, harm, cut_off, bert):
    "Without its `run.json` a run goes on as its checkpoint tells; without its `files.json` a checkpoint is passed over."
    path = cut_off/name if name=='run.json' else sorted(cut_off.glob('step-*'))[-1]/name
    facts = json.loads(path.read_text())
    if harm=='missing': path.unlink()
    else: path.write_text(dict(empty='', altered=json.dumps(facts | dict(call='fit') if name=='run.json' else {}))[harm] if harm!='a list' else '[1]')
    if name=='run.json' and harm=='a list':
        with pytest.raises(ValueError, match='does not tell of a run'): resume(bert, cut_off)
        return
    said = 'what the checkpoint step-000000006 tells' if name=='run.json' else 'step-000000006 cannot be used'
    with pytest.warns(UserWarning, match=said): learn = resume(bert, cut_off)
    assert len(table(learn))==2 and json.loads((cut_off/'run.json').read_text())['call']=='fit_one_cycle'

def test_one_process_a_run(cut_off, bert):
    with OneWriter(cut_off/'.lock'):
        with pytest.raises(BlockingIOError, match='another process or thread is writing in .*run'): resume(bert, cut_off)
        with pytest.raises(BlockingIOError): quiet(l := classifier(bert), lambda: l.fit(1, cbs=Checkpoints(cut_off, overwrite=True)))
    assert last_checkpoint(cut_off).batch==6 and len(table(resume(bert, cut_off)))==2

def test_a_run_of_the_version_before(cut_off, bert):
    "Its checkpoints tell nothing of the run."
    facts = json.loads((cut_off/'run.json').read_text())
    (cut_off/'run.json').write_text(json.dumps({k:v for k,v in facts.items() if k!='made_of'} | dict(format_version=1)))
    for step in cut_off.glob('step-*'): rewrite(step, about=None)
    with pytest.warns(UserWarning, match='begun by an earlier version'): assert len(table(resume(bert, cut_off)))==2

def small_data(bert): return sequence_classification_learner(FRAMES['single'][:32], bert, bs=BS, valid=.25)

def test_an_argument_that_cannot_be_kept(bert):
    learn = classifier(bert)
    class Odd(tuple): pass
    with pytest.raises(TypeError, match=r'fit_one_cycle\(moms=...\) cannot be repeated'): quiet(learn, lambda: learn.fit_one_cycle(1, 1e-3, moms=Odd((.95, .85, .95)), cbs=Checkpoints('run')))

@pytest.mark.parametrize('n', first(range(1, 30, 4), 2))
def test_disk_full(n, bert, monkeypatch):
    "A checkpoint that cannot be written stops the run with the reason, and the one before it is whole"
    learn,left,fsync = classifier(bert),[30+n],os.fsync
    def full(f):
        left[0] -= 1
        if left[0]<=0: raise OSError(28, 'No space left on device')
        fsync(f)
    with monkeypatch.context() as m, pytest.raises(OSError, match='No space left'):
        m.setattr(os, 'fsync', full)
        quiet(learn, lambda: learn.fit_one_cycle(2, 1e-3, cbs=[Checkpoints('run', steps=1), Cut('never', 1)]))
    last_checkpoint('run')
    assert not [p for p in Path('run').iterdir() if p.name[0]=='.']
    resume(bert, 'run')

def test_arguments_of_many_kinds(bert):
    "Rates by group, and arrays, are kept as they were"
    learn = classifier(bert)
    with pytest.raises(Stop): quiet(learn, lambda: learn.fit_flat_cos(1, lr=slice(1e-5, 1e-3), pct_start=np.float32(.5), wd=.1, cbs=[Checkpoints('run', steps=1), Cut('after_batch', 3, Stop('x'))]))
    facts = json.loads(Path('run/run.json').read_text())
    assert facts['call']=='fit_flat_cos' and facts['settings']['steps']==1
    learn = resume(bert, 'run')
    assert learn.opt.hypers[0]['lr']<learn.opt.hypers[-1]['lr'] and learn.opt.hypers[0]['wd']==.1

def test_a_resumed_run_saves_the_same(bert, whole, tmp_path):
    with pytest.raises(Stop): train(SCENARIOS['one_cycle'], bert, tmp_path/'run', 2, cut=('after_batch', 9), error=Stop('x'))
    learn = train(SCENARIOS['one_cycle'], bert, tmp_path/'run')
    again = TransformersLearner.from_pretrained(learn.save_pretrained('saved'))
    assert torch.equal(again.predict_logits(TEXTS), whole('one_cycle').predict_logits(TEXTS))

class Average(Callback):
    "Keeps an average of the weights"
    run_valid = False
    def before_fit(self):
        if not hasattr(self, 'avg'):
            self.avg = torch.optim.swa_utils.AveragedModel(self.learn.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(.9))
    def after_step(self): self.avg.update_parameters(self.learn.model)

@pytest.mark.parametrize('n', first([9, 3, 14]))
def test_modules_of_callbacks_go_on(n, bert, tmp_path):
    "an average of the model is no plain value, and no part of the model"
    whole,cut,rest = Average(),Average(),Average()
    def scenario(cb): return SCENARIOS['one_cycle'] | dict(cbs=lambda: [cb])
    train(scenario(whole), bert, tmp_path/'whole', 4)
    with pytest.raises(Stop): train(scenario(cut), bert, tmp_path/'cut', 2, cut=('after_batch', n), error=Stop('x'))
    train(scenario(rest), bert, tmp_path/'cut')
    assert equal(dict(whole.avg.state_dict()), dict(rest.avg.state_dict()))

# What callbacks have

class Meter: # not plain, with a state of its own
    def __init__(self, limit): self.limit,self.seen = limit,{}

class Remembers(Callback):
    "Has what it has seen in things of many kinds"
    run_valid = False
    def __init__(self):
        self.rng,self.python,self.torch = np.random.default_rng(1),random.Random(1),torch.Generator().manual_seed(1)
        self.draw = self.rng.random # of the same generator
        self.last,self.rows,self.by,self.n,self.mixed = deque(maxlen=3),set(),defaultdict(lambda: 0),Counter(),[defaultdict(list)]
    def after_batch(self):
        number = self.draw()+self.python.random()+torch.rand(1, generator=self.torch).item()
        self.last.append(number)
        self.rows.add(self.train_iter)
        self.by[self.epoch] += 1
        self.n[self.epoch] += 1
        self.mixed[0][self.epoch].append(number)
    def told(self): return list(self.last),self.last.maxlen,self.rows,dict(self.by),self.n,self.mixed

def test_generators_and_collections_of_callbacks_go_on(bert, tmp_path, recwarn):
    whole,rest = Remembers(),Remembers()
    def scenario(cb): return SCENARIOS['one_cycle'] | dict(cbs=lambda: [cb])
    train(scenario(whole), bert, tmp_path/'whole')
    with pytest.raises(Stop): train(scenario(Remembers()), bert, tmp_path/'cut', 3, cut=('after_batch', 11), error=Stop('x'))
    train(scenario(rest), bert, tmp_path/'cut')
    assert rest.told()==whole.told() and len(rest.rows)==16
    assert not [w for w in recwarn if 'no checkpoint can hold' in str(w.message)]

class Forgets(Callback):
    run_valid = False
    def __init__(self): self.meter,self.settings,self.rates,self.funcs,self.path,self._own = Meter(3),Meter(4),(i/9 for i in range(99)),[print],Path('x'),Meter(5)
    def after_batch(self): self.meter.seen[self.train_iter] = self._own.seen[self.train_iter] = torch.ones(2)

def test_what_a_checkpoint_cannot_hold_is_told(bert):
    "Of what changes with the training; once"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        quiet(l := classifier(bert), lambda: l.fit(1, 1e-3, cbs=[Forgets(), Checkpoints('run', steps=3)]))
    told = [str(w.message) for w in said if 'no checkpoint can hold' in str(w.message)]
    assert [m.split(': no checkpoint')[0] for m in told]==['Forgets.rates (generator)','Forgets.meter (Meter)']

class Arrays(Callback):
    "Of what has no sum"
    def __init__(self): self.names,self.mixed,self.days = np.array(['a','b']),[np.array([1,'b',None], dtype=object)],dict(a=np.array(['2020-01-01'], dtype='datetime64[D]'))

class Numbers(Callback):
    "In forms that no file of tensors takes as they are, or at all"
    def __init__(self):
        self.reversed,self.of_file,self.one = np.arange(3)[::-1],np.array([1,2], dtype='>i4'),np.array(7)[...]
        self.at,self.day,self.phase = np.datetime64(1, 'ns'),np.datetime64('2020-01-01'),np.complex128(1j)
        self.sparse,self.rows,self.waves = torch.eye(2).to_sparse(),torch.eye(2).to_sparse_csr(),torch.zeros(2, dtype=torch.complex128)
        self.nowhere,self.each = torch.empty(2, device='meta'),[torch.zeros((), dtype=torch.complex128)]*2
        self.masked,self.mode,self.modes = np.ma.array([1,2], mask=[0,1]),Mode.low,{Mode.low:1}
        self.coarse,self.ragged = torch.quantize_per_tensor(torch.ones(2), .1, 0, torch.qint8),torch.nested.nested_tensor([torch.ones(1), torch.ones(2)])

class Mode(str, Enum): low = 'low'

def test_arrays_of_text_and_dates_in_a_callback_stop_no_fit(bert):
    learn = classifier(bert)
    quiet(learn, lambda: learn.fit(1, 1e-3, cbs=[Checkpoints('run', steps=3), Arrays()]))
    assert len(resume(bert, 'run', cbs=[Arrays()]).recorder.values)==1

def test_numbers_of_all_kinds_in_a_callback_stop_no_fit(bert):
    learn = classifier(bert)
    quiet(learn, lambda: learn.fit(1, 1e-3, cbs=[Checkpoints('run', steps=3), Numbers()]))
    kept = plain_vars(Numbers())
    assert {'reversed','of_file','one','mode'}<=kept.keys() and not kept.keys() & {'at','day','phase','sparse','rows','waves','nowhere','each','masked','modes','coarse','ragged'}
    cb = Numbers()
    assert len(resume(bert, 'run', cbs=[cb]).recorder.values)==1
    assert (cb.reversed.tolist(), cb.of_file.tolist(), cb.one.tolist(), cb.one.shape)==([2,1,0], [1,2], 7, ())
    assert cb.at==np.datetime64(1, 'ns') and cb.mode is Mode.low

class Stage(IntEnum): cold,hot = 1,2

class Rate(float, Enum): low,high = 1e-4,1e-3

class Stages(Callback):
    "The state of training, in members"
    def __init__(self): self.stage,self.mode,self.other = Stage.cold,Pace.slow,Pace.slow
    def before_epoch(self):
        if self.epoch==1: self.stage,self.mode,self.other = Stage.hot,Pace.fast,None

class Pace(str, Enum): slow,fast = 'slow','fast'

def test_members_go_on_as_members(bert):
    learn = classifier(bert)
    with pytest.raises(Stop): quiet(learn, lambda: learn.fit_one_cycle(2, slice(Rate.low, Rate.high), wd=Rate.low, cbs=[Stages(), Checkpoints('run', steps=3), Cut('after_batch', 14, Stop('x'))]))
    cb = Stages()
    resume(bert, 'run', cbs=[cb])
    assert cb.stage is Stage.hot and cb.mode is Pace.fast and cb.other is None
    learn = classifier(bert)
    quiet(learn, lambda: learn.fit_one_cycle(1, Rate.low, cbs=Checkpoints('another')))

def test_lists_of_numbers_are_kept_as_one():
    values = [TensorBase(float(i)) for i in range(1000)]
    plain = to_plain(dict(losses=values), tensors := {})
    again = from_plain(plain, tensors)['losses']
    assert len(tensors)==1 and {type(o) for o in again}=={torch.Tensor} and [float(o) for o in again]==[*range(1000)]

class Counts(Callback):
    "Of numbers beside what no file holds, and deep in objects"
    def __init__(self): self.state,self.list,self.meter = dict(n=0, f=print),[print, 0],Meter(3)
    def before_fit(self): self.meter.inner = Meter(4)
    def after_batch(self):
        self.state['n'] += 1
        self.list[1] += 1
        self.meter.inner.seen[0] = torch.ones(self.train_iter+1)

def test_what_grows_within_what_no_checkpoint_can_hold_is_told(bert):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        quiet(l := classifier(bert), lambda: l.fit(1, 1e-3, cbs=[Counts(), Checkpoints('run', steps=3)]))
    told = ' '.join(m for m in (str(w.message) for w in said) if 'no checkpoint can hold' in m)
    assert {*re.findall(r'Counts\.\w+', told)}=={'Counts.state','Counts.list','Counts.meter'}

class Recentres(Callback):
    "Changes a buffer after the last checkpoint, as batch norm after an averaged model"
    order = 90
    def after_fit(self): self.model.centre.add_(1)

def test_the_end_of_a_run_has_the_buffers_that_it_ended_with(bert):
    def made():
        learn = classifier(bert)
        learn.model.register_buffer('centre', torch.zeros(3))
        return learn
    learn = made()
    quiet(learn, lambda: learn.fit(1, 1e-3, cbs=[Checkpoints('run'), Recentres()]))
    again = made()
    quiet(again, lambda: again.resume('run', cbs=Recentres()))
    assert learn.model.centre.tolist()==again.model.centre.tolist()==[1, 1, 1]

class HoldsItself(Callback):
    def __init__(self):
        self.list,self.dict,self.meter = [print],dict(a=1),Meter(3)
        self.list.append(self.list)
        self.dict['itself'] = self.dict
        self.meter.itself = [self.meter]

def test_what_holds_itself_stops_no_fit(bert):
    learn = classifier(bert)
    quiet(learn, lambda: learn.fit(1, 1e-3, cbs=[Checkpoints('run', steps=3), HoldsItself()]))
    assert len(resume(bert, 'run', cbs=[HoldsItself()]).recorder.values)==1

def test_usual_callbacks_are_not_told_of(bert):
    "What these have besides plain values, they make anew"
    import wandb
    from fastai.callback.all import MixUp, ShowGraphCallback
    from blurlike.share.tracking import WandbCallback
    wandb.init(mode='disabled')
    def cbs(): return [SaveModelCallback(), EarlyStoppingCallback(patience=3), ReduceLROnPlateau(), CSVLogger(), GradientAccumulation(5), WandbCallback(log_preds=False)]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        learn = classifier(bert, precision='bf16')
        with learn.no_logging(): learn.fit_one_cycle(2, 1e-3, cbs=[*cbs(), Checkpoints('run', steps=3)])
    learn.add_cbs([MixUp(), ShowGraphCallback()])
    assert untaken(learn)=={} and not [w for w in said if 'no checkpoint can hold' in str(w.message)]

def test_callbacks_that_join_a_run_are_told_of(cut_off, bert):
    learn = classifier(bert)
    learn.add_cbs([Cut('never', 1), CSVLogger()])
    with pytest.warns(UserWarning, match=r'^GradientAccumulation was not in the interrupted call'):
        quiet(learn, lambda: learn.resume(cut_off, cbs=GradientAccumulation(16)))

def test_settings_that_the_run_had_otherwise_are_told(bert):
    "It goes on with its own, and ends as it would have."
    def made(*cbs, **kwargs):
        learn = classifier(bert, **kwargs)
        learn.add_cbs([Cut('never', 1), *cbs])
        return learn
    def fit(learn, *cbs): quiet(learn, lambda: learn.fit_one_cycle(2, 1e-3, cbs=[GradientAccumulation(8), *cbs]))
    set_seed(3)
    whole = made(max_grad_norm=.05)
    fit(whole)
    set_seed(3)
    learn = classifier(bert, max_grad_norm=.05)
    with pytest.raises(Stop): fit(learn, Checkpoints('run', steps=2), Cut('after_batch', 7, Stop('x')))
    again = made(max_grad_norm=.5)
    said = r'its own settings of callbacks, not with those given here: GradientClip: max_norm \(0.05, here 0.5\); GradientAccumulation: n_acc \(8, here 12\)$'
    with pytest.warns(UserWarning, match=said): quiet(again, lambda: again.resume('run', cbs=GradientAccumulation(12)))
    assert same(again, whole)

def test_another_dropout_is_told(cut_off, bert):
    learn = changed(bert)
    learn.fast_dropout = False
    with pytest.raises(ValueError, match=r'fast_dropout \(true, now false\)'): quiet(learn, lambda: learn.resume(cut_off))

def test_best_weights_of_an_epoch_that_was_lost(bert):
    "They are no other epoch's: the run goes on elsewhere, and its best epoch is one of its own."
    learn,_ = given(bert, .5, .9)
    learn.add_cb(Cut('after_batch', 18, Stop('x')))
    with pytest.raises(Stop): quiet(learn, lambda: learn.fit(3, 1e-3, cbs=Checkpoints('run', every=None, steps=10, best='given', lower=False)))
    learn = changed(bert, bs=4, metrics=Given((.4,.3)))
    learn.add_cb(seen := Seen())
    with pytest.warns(UserWarning, match='an epoch had given 0.500000, whose weights were replaced'): quiet(learn, lambda: learn.resume('run', accept_changes=True))
    assert equal(weights(learn.model), seen._weights[0]) and not equal(seen._weights[0], seen._weights[1])
