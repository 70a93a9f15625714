"Predictions in several threads, in the middle of a fit, and from callbacks: each is what it would be alone, and training does not notice."
import gc,os,signal,threading,warnings,weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
from fastai.callback.core import Callback, event
from fastai.learner import Learner
from fastai.torch_core import set_seed
from safetensors.torch import load_file

from small import ARCH, FRAMES, activated, asked_of, close, direct_logits, first, learner, weights
from under_load import LONG,WORDS,gap,kinds,load,make_filler,make_tagger,same

from blurlike.all import Checkpoints, CSVLogger, ModelInputsCallback, load_learner
from blurlike.model.fast_functions import in_place_of_torch
from blurlike.support.one_writer import OneWriter
from blurlike.model.turns import let_in, predict_together, train_alone

def quietly(f, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return f(*args, **kwargs)

@pytest.fixture(scope='module')
def ways(checkpoints): return quietly(kinds, checkpoints('bert'))

@pytest.mark.parametrize('kind', first(['single','windows','batch','pairs','choice','tags','tags_of_words','tags_in_windows','by_call','gaps','two_learners','preds','explain','gradients','attention']))
def test_eight_threads_are_answered_as_one(ways, kind):
    assert quietly(load, ways[kind], 20)==dict(errors=[], differ=0)

MAKERS = dict(single=lambda bert: learner('single', bert), choice=lambda bert: learner('choice', bert), windows=lambda bert: learner('single', bert, max_length=12, overlap=2), tags=make_tagger, gaps=make_filler)
ASK = dict(single=LONG[0], choice=(LONG[0], ['great','dull']), windows=LONG[0], tags=WORDS[0], gaps=gap(0))

def trained(make, bert, cbs=(), precision=None, **kwargs):
    set_seed(3)
    learn = make(bert)
    if precision: learn.to_bf16()
    learn.remove_cb(learn.progress)
    with learn.no_logging(): learn.fit_one_cycle(2, 1e-2, cbs=list(cbs))
    return learn

@pytest.mark.parametrize('kind', first(MAKERS, 2))
def test_a_fit_does_not_notice_predictions_in_other_threads(bert, kind):
    make,found,stop = MAKERS[kind],[],threading.Event()
    alone = quietly(trained, make, bert)
    class Asks(Callback): # three threads that predict all the time
        def before_fit(self):
            def ask(learn):
                while not stop.is_set(): found.append(learn.predict_batch([ASK[kind]]))
            threads.extend(threading.Thread(target=ask, args=(self.learn,)) for _ in range(3))
            for t in threads: t.start()
    threads = []
    try: beside = quietly(trained, make, bert, [Asks()])
    finally:
        stop.set()
        for t in threads: t.join()
    assert len(found)>3
    assert not [n for n,p in beside.model.named_parameters() if not torch.equal(p, weights(alone.model)[n])]
    assert beside.recorder.values==alone.recorder.values

@pytest.mark.parametrize('kind', first(['prompts','summaries']))
def test_what_is_written_during_a_fit_is_of_the_weights_of_one_step(checkpoints, kind):
    learn,states,found,stop = learner(kind, checkpoints(ARCH[kind])),[],[],threading.Event()
    item = asked_of(kind, FRAMES[kind])[0]
    def written(): return learn.predict(item, max_new_tokens=24)
    class Keeps(Callback):
        def before_fit(self):
            self.keep()
            thread.start()
        def after_step(self): self.keep()
        def keep(self): states.append({k:v.clone() for k,v in learn.model.state_dict().items()})
    def ask():
        while not stop.is_set(): found.append(written())
    thread = threading.Thread(target=ask)
    try:
        with learn.no_bar(), learn.no_logging(): quietly(learn.fit, 2, 3e-2, cbs=Keeps())
    finally:
        stop.set()
        thread.join()
    known = []
    for state in states:
        learn.model.load_state_dict(state)
        known.append(quietly(written))
    assert len({text for text,*_ in known})>1 and found
    for text,ids,log_probs in found:
        assert any(text==t and len(ids)==len(i) and torch.allclose(log_probs, lp, atol=1e-4) for t,i,lp in known)

EVENTS = [e for e in vars(event).values() if isinstance(e, str) and e.startswith(('before','after')) and 'create' not in e]
class Predicts(Callback):
    "Asks for predictions at every event, the first few times that it comes."
    def __init__(self, item, order):
        self.item,self.order,self.asked = item,order,Counter()
        for name in EVENTS: setattr(self, name, partial(self.ask, name))
    def ask(self, name):
        if self.asked[name]>2: return
        self.asked[name] += 1
        self.learn.predict(self.item), self.learn.predict_batch([self.item, self.item])

@pytest.mark.slow
@pytest.mark.parametrize('precision', first([None, 'bf16']))
@pytest.mark.parametrize('kind', first(MAKERS, 2))
def test_predictions_at_any_event_leave_training_as_it_is(bert, kind, precision):
    alone = quietly(trained, MAKERS[kind], bert, precision=precision)
    first,last = (Predicts(ASK[kind], order) for order in (-100, 100))
    beside = quietly(trained, MAKERS[kind], bert, [first, last], precision=precision)
    assert not [n for n,p in beside.model.named_parameters() if not torch.equal(p, weights(alone.model)[n])]
    assert beside.recorder.values==alone.recorder.values
    assert {'before_fit','before_batch','after_pred','after_loss','before_step','after_step','after_batch','before_validate','after_epoch','after_fit'}<=set(first.asked)

@pytest.mark.parametrize('ask', [lambda l: l.validate(), lambda l: l.get_preds(), lambda l: l.get_preds(inner=True)], ids=['validate','get_preds','inner'])
def test_a_validation_within_a_batch_is_refused(ask, bert):
    "In fastai the batches after it train nothing, and nobody is told"
    class Asks(Callback):
        def after_batch(self):
            if self.training: ask(self.learn)
    with pytest.raises(RuntimeError, match='within a training batch.*predict_batch'): quietly(trained, MAKERS['single'], bert, [Asks()])

@pytest.mark.parametrize('event', ['before_train','before_batch'])
def test_a_validation_where_an_epoch_begins_is_refused(event, bert, in_tmp):
    "fastai would train on its rows, in no mode for it: on none"
    learn = MAKERS['single'](bert)
    asks = Callback()
    setattr(asks, event, lambda: learn.validate() if learn.training else None)
    with pytest.raises(RuntimeError, match='before or within a training batch'), learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3, cbs=asks)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert len(learn.recorder.losses)==len(learn.dls.train) and learn.validate()

@pytest.mark.parametrize('event', first(['after_epoch','after_fit'], 1))
@pytest.mark.parametrize('ask', [lambda l: l.validate(), lambda l: l.get_preds(), lambda l: l.get_preds(inner=True)], ids=['validate','get_preds','inner'])
def test_a_validation_at_the_end_of_an_epoch_leaves_its_row_and_ends(ask, event, bert):
    "In fastai the callback is asked again by each, without end; with `inner=True` each row of the table holds the values twice"
    plain = quietly(trained, MAKERS['single'], bert)
    seen,asks = [],Callback()
    setattr(asks, event, lambda: seen.append(ask(asks.learn)))
    learn = quietly(trained, MAKERS['single'], bert, [asks])
    assert len(seen)>0 and learn.recorder.values==plain.recorder.values
    learn.add_cb(asks)
    before = list(learn.recorder.values)
    assert len(quietly(learn.validate))==3 and len(quietly(learn.get_preds))==2 and learn.recorder.values==before

def test_a_prediction_in_a_step_is_that_of_the_model_then(bert):
    said,plain = [],[]
    class Looks(Callback):
        def before_step(self):
            said.append(self.learn.predict(LONG[0])[2])
            plain.append(activated('single', direct_logits(self.learn.model, self.dls.tokenizer, [LONG[0]]))[0])
    quietly(trained, MAKERS['single'], bert, [Looks()])
    assert len(said)>4 and len({p.tolist()[0] for p in said})>4
    close(torch.stack(said), torch.stack(plain))

# Saving

def parts_of(learn, way):
    "What is saved of each parameter: its first number."
    if way=='save': state = torch.load(learn.save('w'), weights_only=True)['model']
    elif way=='export': state = load_learner(learn.export('l.pkl')).model.state_dict()
    else: state = load_file(learn.save_pretrained('folder')/'model.safetensors')
    return {float(state[n].flatten()[0]) for n,_ in learn.model.named_parameters() if n in state}

@pytest.mark.parametrize('way', ['save_pretrained','save','export'])
def test_what_another_thread_saves_is_of_one_step(way, bert, in_tmp):
    learn,midst,found = learner('single', bert),threading.Event(),[]
    def save():
        midst.wait(60)
        found.append(parts_of(learn, way))
    thread = threading.Thread(target=save)
    class Fills(Callback): # each step gives all weights its number, and stops for a while in the middle of the third
        order = 90
        @torch.no_grad()
        def after_batch(self):
            if not self.training: return
            params = list(self.model.parameters())
            for i,p in enumerate(params):
                p.fill_(self.train_iter)
                is_midst = self.train_iter==3 and i==len(params)//2
                if is_midst: midst.set(), thread.join(1)
    thread.start()
    quietly(learn.fit, 1, 0., cbs=Fills())
    thread.join(60)
    assert found==[{3.}] and len(learn.recorder.values)==1 and len(learn.dls.train_ds)==36

class Exports(Callback):
    "Exports the learner at this event, the first times that it comes"
    def __init__(self, event):
        self.left = 2
        setattr(self, event, self.export)
    def export(self):
        if self.left: self.learn.export('l.pkl')
        self.left = max(0, self.left-1)

@pytest.mark.parametrize('event', first(['after_pred','after_batch','before_step','after_epoch']))
def test_an_export_at_any_event_leaves_training_as_it_is(event, bert, in_tmp):
    alone = quietly(trained, MAKERS['single'], bert)
    beside = quietly(trained, MAKERS['single'], bert, [Exports(event), CSVLogger(), Checkpoints('run')])
    assert not [n for n,p in beside.model.named_parameters() if not torch.equal(p, weights(alone.model)[n])]
    assert beside.recorder.values==alone.recorder.values and len(Path('history.csv').read_text().split())==3
    again = quietly(load_learner, 'l.pkl')
    assert not len(again.dls.train_ds) and again.opt is None and again.run_now is None and again.xb==(None,)
    assert len(again.predict(LONG[0]))==3 and not any(isinstance(v, OneWriter) for cb in again.cbs for v in vars(cb).values())

# Turns

def test_a_plain_learner_and_ours_on_one_model(bert):
    ours = learner('single', bert)
    plain = Learner(ours.dls, ours.model, cbs=ModelInputsCallback())
    want = [ours.predict(t) for t in LONG[:4]]
    plain.fit(1, 0.)
    assert all(same(a, b) for a,b in zip(want, [ours.predict(t) for t in LONG[:4]]))
    assert all(same(a[2], plain.predict(t)[2]) for a,t in zip(want, LONG))

def test_a_direct_call_belongs_to_nobody(bert):
    learn = learner('single', bert)
    x = learn.dls.valid.one_batch()[0]
    learn.model.eval()
    with torch.no_grad():
        want,found = learn.model(x),[]
        with ThreadPoolExecutor(1) as pool, learn.model_inputs.door.asked(): # another thread's call is not that of this one
            found.append(pool.submit(lambda: learn.model(x)).result())
            out = learn.model(input_ids=x[:,0].as_subclass(torch.Tensor), attention_mask=x[:,2].as_subclass(torch.Tensor))
    close(found[0], want, 0)
    assert hasattr(out, 'logits')

def test_turns(bert):
    model,order = torch.nn.Dropout(),[]
    with ThreadPoolExecutor(2) as pool, train_alone(model):
        def predict(k):
            with predict_together(model): order.append((k, model.training))
        def train():
            with train_alone(model): order.append(('train', model.training))
        jobs = [pool.submit(predict, 1), pool.submit(train)]
        with predict_together(model): order.append((0, model.training)) # in the middle of its own step
        assert model.training and not any(j.done() for j in jobs)
        while (1, False) not in order: let_in(model)
        assert not jobs[1].done() # another run waits for the end of this one
    for j in jobs: j.result()
    assert order==[(0, False), (1, False), ('train', True)] and model.training

def test_a_failure_gives_the_turn_back(bert):
    model = torch.nn.Dropout()
    for turn in (train_alone, predict_together):
        with pytest.raises(KeyError), turn(model): raise KeyError('in between')
    with ThreadPoolExecutor(1) as pool:
        def use():
            with train_alone(model): return True
        assert pool.submit(use).result(timeout=5)
    assert model.training

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork on this system')
@pytest.mark.filterwarnings('ignore::DeprecationWarning') # of threads beside a fork
def test_a_forked_process_does_not_wait_for_threads_that_it_lacks():
    model,begun,end = torch.nn.Dropout(),threading.Event(),threading.Event()
    def train():
        with train_alone(model):
            begun.set()
            end.wait(60)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(train)
        begun.wait(60)
        child = os.fork()
        if not child:
            signal.alarm(20)
            with predict_together(model): os._exit(7 if model.training else 0)
        status = os.waitpid(child, 0)[1]
        end.set()
        job.result()
    assert os.waitstatus_to_exitcode(status)==0

def test_who_waits_for_long_says_so(bert, monkeypatch):
    "A callback that waits for another thread's prediction holds up both; before, without a word."
    learn,asked,said,heard = learner('single', bert),[],[],threading.Event()
    def warn(message):
        said.append(message)
        heard.set()
    monkeypatch.setattr('blurlike.model.turns.PATIENCE', .1)
    monkeypatch.setattr('blurlike.model.turns.warn_user', warn)
    class Waits(Callback):
        def before_batch(self):
            if asked: return
            asked.append(pool.submit(learn.predict, 'good'))
            assert heard.wait(60) and not asked[0].done()
    with ThreadPoolExecutor(1) as pool, learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3, cbs=Waits())
    assert 'neither will ever go on: predict in the callback itself' in said[0] and len(asked[0].result())==3

def test_a_model_that_predicted_in_training_mode_is_let_go(bert):
    learn = learner('single', bert)
    learn.model.train()
    learn.predict_batch(['good film'])
    assert learn.model.training
    model = weakref.ref(learn.model)
    del learn
    gc.collect()
    assert model() is None

def test_functions_stand_in_for_one_thread_alone():
    theirs,asked,go_on = torch.nn.functional.dropout,threading.Event(),threading.Event()
    def other(): # asks while the first thread has a stand-in, which closes within
        asked.wait(10)
        found = torch.nn.functional.dropout(torch.ones(3), 0.)
        with in_place_of_torch(dropout=lambda *args: 'inner'):
            go_on.set()
            return found,torch.nn.functional.dropout()
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(other)
        with in_place_of_torch(dropout=lambda *args: 'ours', embedding=lambda *args: 'table'):
            with in_place_of_torch(dropout=lambda *args: 'last'): assert (torch.nn.functional.dropout(), torch.nn.functional.embedding())==('last','table')
            assert torch.nn.functional.dropout()=='ours'
            asked.set()
            go_on.wait(10)
        found,inner = job.result()
    assert torch.equal(found, torch.ones(3)) and inner=='inner' and torch.nn.functional.dropout is theirs

def watched(pipe):
    from blurlike.data.batch_reading import end_with_parent
    for _ in range(3): end_with_parent()
    pipe.send([t.name for t in threading.enumerate()].count('_follow')) # other libraries start threads in a fork too

def test_a_worker_that_lives_on_is_watched_once():
    import multiprocessing
    context = multiprocessing.get_context('fork')
    here,there = context.Pipe()
    child = context.Process(target=watched, args=(there,))
    child.start()
    assert here.recv()==1
    child.join()
