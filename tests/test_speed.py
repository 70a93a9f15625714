"What the speed arguments must not change: precision, compilation, the fast single prediction, the running loss, the dispatch of events. No clock here: see benchmarks."
import shutil
import warnings

import numpy as np
import pytest
import torch
from blurlike.all import Callback, CSVLogger, GradientClip, TransformersLearner, adamw, noop
from blurlike.model.losses import SmoothLoss
from blurlike.model.precision import cpu_has_half
from fastai.learner import Learner
from small import FRAMES, TEXTS, close, joined, learner, note_dtypes, texts_of, valid_frame, with_answers

def fit(learn, *args, **kwargs):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(*args, **kwargs)

# precision=

@with_answers
def test_precision_is_real_on_a_cpu(kind, checkpoint):
    learn,dtypes = learner(kind, checkpoint, precision='bf16'),set()
    note_dtypes(learn.model, dtypes)
    fit(learn, 1, 1e-3)
    assert torch.bfloat16 in dtypes
    dtypes.clear()
    full = learner(kind, checkpoint)
    full.model.load_state_dict(learn.model.state_dict())
    with learn.no_bar(), full.no_bar(): half,want = (joined(l.get_preds(act=noop)[0]) for l in (learn,full))
    assert torch.bfloat16 in dtypes and half.dtype==torch.float32 and not torch.equal(half, want)
    close(half, want, 5e-2)
    assert {p.dtype for p in learn.model.parameters()}=={torch.float32}

def test_precision_is_checked(bert):
    with pytest.raises(ValueError, match="precision='half'"): learner('single', bert, precision='half')

def test_a_processor_without_bfloat16_is_said(bert, monkeypatch):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: dict(avx2=True, avx512_bf16=False))
    assert not cpu_has_half()
    with pytest.warns(UserWarning, match='no instructions for bfloat16'): fit(learner('single', bert, precision='bf16'), 1, 1e-3)
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: dict(avx2=True, avx512_bf16=True))
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='.*bfloat16')
        fit(learner('single', bert, precision='bf16'), 1, 1e-3)

def test_a_processor_without_float16_is_said(bert, monkeypatch):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: dict(avx2=True, avx512_bf16=True))
    with pytest.warns(UserWarning, match='no instructions for float16'): fit(learner('single', bert, precision='fp16'), 1, 1e-3)

def float16_told(call):
    "The warnings of weights in float16 in `call`."
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        call()
    return [str(w.message) for w in told if 'in float16' in str(w.message)]

def test_training_weights_in_float16_is_warned_of(bert):
    half = learner('single', bert, model_kwargs=dict(dtype=torch.float16))
    with half.no_bar(): assert not float16_told(lambda: (half.predict_batch(TEXTS[:3]), half.validate()))
    told = float16_told(lambda: fit(half, 1, 1e-3))
    assert len(told)==1 and "precision='fp16'" in told[0] and 'bfloat16' in told[0]
    for kwargs in (dict(precision='fp16'), dict(model_kwargs=dict(dtype=torch.bfloat16))):
        assert not float16_told(lambda: fit(learner('single', bert, **kwargs), 1, 1e-3))

@pytest.mark.skipif(not any(map(shutil.which, ('c++','g++','clang++'))), reason='torch.compile needs a C++ compiler')
@pytest.mark.slow
def test_compile_trains_predicts_saves_and_reloads(bert, in_tmp):
    from torch._dynamo.utils import counters
    torch._dynamo.reset()
    counters.clear()
    learn = learner('single', bert, compile=True)
    assert {x.shape[2]%16 for x,y in learn.dls.train}=={0}
    start = learn.validate(ds_idx=0)[0]
    fit(learn, 6, 2e-3)
    assert learn.validate(ds_idx=0)[0]<start and counters['stats']['unique_graphs']<=12 # of both modes and both passes; not one a length
    plain = learner('single', bert)
    plain.model.load_state_dict(learn.model.state_dict())
    close(learn.predict_logits(TEXTS), plain.predict_logits(TEXTS), 1e-4)
    learn.save_pretrained('saved')
    close(TransformersLearner.from_pretrained('saved').predict_logits(TEXTS), plain.predict_logits(TEXTS), 1e-4)
    learn.path = in_tmp
    learn.export('learn.pkl')

# predict

def test_predict_is_what_fastai_gives(kind, bert):
    learn = learner(kind, bert)
    fit(learn, 1, 1e-3)
    for item in texts_of(kind, valid_frame(learn, kind))[:4]:
        for with_input in (False,True):
            ours,theirs = learn.predict(item, with_input=with_input),learn.fastai_predict(item, None, with_input)
            labels,kinds = [o[int(with_input)] for o in (ours,theirs)],[[type(t) for t in o] for o in (ours,theirs)]
            if kind=='pair': # labels that are no text keep their type; fastai's `Category` is text
                assert type(labels[0]) is bool
                for o in kinds: del o[int(with_input)]
            if kind=='choice': # fastai gives the place of what is chosen
                assert labels[0]==learn.texts_of([item])[0].choices[labels[1]]
            else:
                assert kinds[0]==kinds[1], (ours, theirs)
                assert str(labels[0])==str(labels[1]) and str(ours[0])==str(theirs[0])
            close(ours[-1], theirs[-1], 1e-5)
            close(ours[-2].float(), theirs[-2].float(), 1e-5)

def test_predict_heeds_callbacks_of_the_users(bert):
    learn,want = learner('single', bert),[]
    class Flip(Callback):
        def after_pred(self): self.learn.pred = torch.tensor([[9.,0.,0.]]).repeat(len(self.pred), 1)
    learn.add_cb(Flip())
    assert learn.predict(TEXTS[1])[0]==learn.dls.vocab[0]
    assert learn.predict(TEXTS[2])[0]==learn.dls.vocab[0] and not want

def test_predict_leaves_the_mode_alone(bert):
    learn = learner('single', bert)
    for mode in (True,False):
        learn.model.train(mode)
        a,b = learn.predict(TEXTS[0])[2],learn.predict(TEXTS[0])[2]
        assert learn.model.training==mode and torch.equal(a, b)

# The loop

def test_every_callback_is_called_as_fastai_calls_it(bert):
    seen = {}
    class Watch(Callback):
        def __init__(self, name, order): self.who,self.order = name,order
        def _note(self, what): seen.setdefault(self.who, []).append(what)
    events = 'before_fit before_epoch before_train before_batch after_pred after_loss before_backward after_backward before_step after_step after_batch after_train before_validate after_validate after_epoch after_fit'.split()
    for e in events: setattr(Watch, e, lambda self, e=e: self._note(e))
    class Late(Callback): # gets an event while training, as an instance attribute
        def before_epoch(self): self.after_epoch = lambda: seen.setdefault('late', []).append(self.epoch)
    for cls in (TransformersLearner,Learner):
        learn = learner('single', bert)
        if cls is Learner: learn.__class__ = type('Plain', (TransformersLearner,), dict(__call__=Learner.__call__, _call_one=Learner._call_one))
        with learn.no_bar(), learn.no_logging(): learn.fit(2, 1e-3, cbs=[Watch(cls.__name__, 70), Late()])
    assert seen['TransformersLearner']==seen['Learner'] and len(seen['Learner'])>100 and seen['late']==[0,1]*2

def test_callbacks_come_and_go(bert):
    seen = []
    class Once(Callback):
        def after_batch(self):
            seen.append('once')
            self.learn.remove_cb(self)
    class Adds(Callback):
        def before_train(self): self.learn.add_cb(Once())
    learn = learner('single', bert)
    with learn.no_bar(), learn.no_logging(): learn.fit(3, 1e-3, cbs=Adds())
    assert seen==['once']*3

def test_a_callback_in_the_place_of_another_is_called(bert):
    seen = []
    class B(Callback):
        def after_batch(self): seen.append(self.iter)
    class A(Callback):
        def after_batch(self):
            if self.iter==1: # as many callbacks as before
                learn = self.learn
                learn.remove_cb(self)
                learn.add_cb(B())
    learn = learner('single', bert)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3, cbs=A())
    assert seen[:2]==[2,3]

def test_a_callback_that_was_switched_off_runs_in_the_next_fit(bert):
    seen = []
    class Off(Callback):
        def before_fit(self): seen.append('fit')
        def after_batch(self): self.run = False
    learn,off = learner('single', bert),Off()
    with learn.no_bar(), learn.no_logging():
        learn.add_cb(off)
        for _ in range(2): learn.fit(1, 1e-3)
    assert seen==['fit']*2 and off.run

def test_the_running_loss_is_fastais(bert):
    learn = learner('single', bert)
    assert isinstance(learn.recorder.smooth_loss, SmoothLoss)
    fit(learn, 2, 1e-3)
    losses = torch.stack([torch.as_tensor(o) for o in learn.recorder.losses])
    ema,n,want = 0.,0,[]
    class Raw(Callback):
        run_valid = False
        def before_fit(self): self.raw = []
        def after_batch(self): self.raw.append(float(self.loss))
    again,raw = learner('single', bert),Raw()
    fit(again, 2, 1e-3, cbs=raw)
    for x in raw.raw:
        ema,n = .98*ema+.02*x,n+1
        want.append(ema/(1-.98**n))
    close(losses, torch.tensor(want), 1e-5)
    assert learn.recorder.values[-1][0]==pytest.approx(want[-1], rel=1e-5)

def test_the_loss_is_a_plain_tensor_and_targets_keep_their_type(bert):
    kinds = []
    class Look(Callback):
        def after_loss(self): kinds.append((type(self.loss), type(self.loss_grad)))
    learn = learner('single', bert, cbs=Look())
    fit(learn, 1, 1e-3)
    assert set(kinds)=={(torch.Tensor,torch.Tensor)} and type(learn.dls.one_batch()[1]).__name__=='TensorCategory'

# The optimizer

@pytest.mark.parametrize('lrs', [1e-2, [1e-2,1e-3,1e-4]])
def test_groups_that_are_set_alike_are_stepped_together(lrs):
    torch.manual_seed(0)
    params = [[torch.nn.Parameter(torch.randn(4, 4)), torch.nn.Parameter(torch.randn(4))] for _ in range(3)]
    twin = [[torch.nn.Parameter(p.detach().clone()) for p in g] for g in params]
    rates = [lrs]*3 if isinstance(lrs, float) else lrs
    ours = adamw(params, lr=1e-2, wd=.1)
    ours.set_hyper('lr', lrs if isinstance(lrs, float) else np.array(lrs))
    theirs = torch.optim.AdamW([dict(params=[p], lr=lr, weight_decay=.1 if p.ndim>1 else 0.) for g,lr in zip(twin, rates) for p in g])
    for step in range(5):
        for a,b in zip(sum(params, []), sum(twin, [])): a.grad = b.grad = torch.randn_like(a)
        groups = ours.opt.param_groups
        ours.step()
        theirs.step()
        assert ours.opt.param_groups is groups and len(groups)==6
        if step==2:
            ours.load_state_dict(ours.state_dict())
            assert [h['lr'] for h in ours.hypers]==rates
    for a,b in zip(sum(params, []), sum(twin, [])): close(a, b, 1e-6)

def test_clipping_and_logging_beside(bert, in_tmp):
    learn = learner('single', bert, cbs=[GradientClip(.5), CSVLogger()])
    learn.path = in_tmp
    fit(learn, 2, 1e-3)
    assert len((in_tmp/'history.csv').read_text().splitlines())==3 and len(FRAMES['single'])==48

def test_linear_schedule(bert):
    learn = learner('single', bert)
    class Rates(Callback):
        def before_step(self): rates.append([h['lr'] for h in self.opt.hypers])
    rates = []
    with learn.no_bar(), learn.no_logging(): learn.fit_linear(10, slice(1e-5, 1e-3), cbs=Rates())
    rates,n = np.array(rates),len(rates)
    assert abs(rates.argmax(0)-n//10).max()<=1 and np.allclose(rates.max(0), [1e-5, 1e-4, 1e-3], rtol=.1)
    assert np.allclose(np.diff(rates, n=2, axis=0)[n//10+2:], 0, atol=1e-8)
    assert rates[-1].max()<1e-3*2/n and rates[0].max()<1e-3/5
    with pytest.raises(ValueError, match='warmup=1.5'): learn.fit_linear(1, 1e-3, warmup=1.5)

def test_int8_is_for_linear_layers(monkeypatch):
    from blurlike.model import int8
    monkeypatch.setattr(int8, 'has_int8', lambda: True)
    with pytest.raises(ValueError, match='this model has none'):
        with int8.predicting_in(torch.nn.Embedding(2, 2), 'int8'): pass
