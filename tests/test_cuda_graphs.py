"What training by graphs must not change, with a stand-in that takes nothing down: which batches it is given, when it is made anew, what is refused. On a GPU see test_device.py."
import gc
import warnings
import weakref

import pytest
import torch
from fastai.callback.core import Callback, CancelBatchException, CancelValidException
from fastai.callback.training import GradientAccumulation
from fastai.torch_core import set_seed
from runs import WORDS
from small import TEXTS, close, first, learner

from blurlike.all import CUDAGraphs, ModelLoss, load_learner, masked_lm_learner, token_classification_learner
from blurlike.model.cuda_graphs import GraphedForward

class Taken:
    "Stands in for `capture_graph`: what it was given, and how often that was used"
    def __init__(self, error=None): self.shapes,self.replays,self.error = [],[],error
    def __call__(self, function, inputs):
        if self.error is not None: raise self.error
        self.shapes.append(tuple(inputs[0].shape))
        def replay(*values):
            assert [v.shape for v in values]==[v.shape for v in inputs] and function.model.training and torch.is_grad_enabled()
            self.replays.append(tuple(values[0].shape))
            return function(*values)
        return replay

def without_dropout(learn):
    for m in learn.model.modules():
        if isinstance(m, torch.nn.Dropout): m.p = 0.
    return learn

def tagger(checkpoint, **kwargs): return token_classification_learner(WORDS, checkpoint, bs=5, valid=.25, **kwargs)
def pairs(checkpoint, **kwargs): return learner('pair', checkpoint, **kwargs)
def numbers(checkpoint, **kwargs): return learner('regression', checkpoint, **kwargs)
def classifier(checkpoint, **kwargs): return learner('single', checkpoint, **kwargs)

def fit(make, checkpoint, *cbs, epochs=1, **kwargs):
    set_seed(3)
    learn = without_dropout(make(checkpoint, cbs=list(cbs), **kwargs))
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, 1e-3)
    return learn

def losses(learn): return torch.stack([torch.as_tensor(l) for l in learn.recorder.losses])

@pytest.mark.parametrize('precision', first([None, 'bf16']))
@pytest.mark.parametrize('make', [classifier, pairs, numbers, tagger])
def test_losses_are_the_same(make, precision, bert):
    taken = Taken()
    plain,graphed = fit(make, bert, precision=precision),fit(make, bert, CUDAGraphs(step=8, capture=taken), precision=precision)
    assert len(losses(plain))>5 and len(taken.replays)>=len(losses(plain))-1 # all but a last batch that is not full
    assert {n%8 for rows,n in taken.shapes}=={0} and len(taken.shapes)==len(set(taken.shapes))
    close(losses(graphed), losses(plain), 1e-5 if precision is None else 2e-2)
    close(torch.tensor(graphed.recorder.values[-1][:2]), torch.tensor(plain.recorder.values[-1][:2]), 1e-4 if precision is None else 3e-2)

@pytest.mark.parametrize('arch', ['roberta','gpt2','modernbert','deberta'])
def test_other_models(arch, checkpoints):
    folder,taken = checkpoints(arch),Taken()
    def make(c, **kwargs): return learner('single', c, max_length=30, **kwargs)
    plain,graphed = fit(make, folder),fit(make, folder, CUDAGraphs(step=16, capture=taken))
    assert taken.replays
    close(losses(graphed), losses(plain), 1e-4)

def test_only_full_batches_of_some_length(bert):
    taken = Taken()
    learn = fit(classifier, bert, CUDAGraphs(step=8, longest=16, capture=taken), epochs=2)
    sizes = [(len(x), x.shape[2]) for x,y in learn.dls.train]
    assert {n for rows,n in taken.shapes}=={8,16} and {rows for rows,n in taken.shapes}=={5}
    assert max(n for rows,n in sizes)>16 and min(rows for rows,n in sizes)<5

def test_no_longer_than_the_model_has_places(checkpoints):
    taken = Taken()
    fit(lambda c, **kwargs: learner('single', c, **kwargs), checkpoints('roberta'), CUDAGraphs(capture=taken))
    assert set(taken.shapes)=={(5,32)} # 34 places, two of them for padding

class At(Callback):
    "Does something at an event of a batch"
    def __init__(self, event, f): setattr(self, event, lambda: f(self.learn))

def test_frozen_layers_are_taken_down_anew(bert):
    taken = Taken()
    def freeze(learn):
        if learn.train_iter==4: learn.model.base_model.embeddings.requires_grad_(False)
    fit(classifier, bert, CUDAGraphs(capture=taken), At('after_batch', freeze))
    assert len(taken.shapes)==2

def test_other_dropout_is_taken_down_anew(bert):
    taken = Taken()
    def drop(learn):
        for m in learn.model.modules():
            if isinstance(m, torch.nn.Dropout): m.p = .1*learn.epoch
    fit(classifier, bert, CUDAGraphs(capture=taken), At('before_epoch', drop), epochs=3)
    assert len(taken.shapes)==3

def test_gradients_that_wait_have_their_own_memory(bert):
    "As on a GPU, the stand-in's gradients lie where the next replay writes."
    class Fixed(Taken):
        def __call__(self, function, inputs):
            params = [p for p in function.model.parameters() if p.requires_grad]
            place = [torch.zeros_like(p) for p in params]
            class Replay(torch.autograd.Function):
                @staticmethod
                def forward(ctx, *values):
                    ctx.values = values[:len(inputs)]
                    with torch.no_grad(): return function(*ctx.values)
                @staticmethod
                def backward(ctx, *grads):
                    with torch.enable_grad(): out = function(*ctx.values)
                    found = torch.autograd.grad(out, params, grads, allow_unused=True)
                    for p,g in zip(place, found): p.copy_(0 if g is None else g)
                    return (*[None]*len(inputs), *(p.detach() for p in place))
            return lambda *values: Replay.apply(*values, *params)
    plain = fit(classifier, bert, GradientAccumulation(15), epochs=2)
    graphed = fit(classifier, bert, GradientAccumulation(15), CUDAGraphs(capture=Fixed()), epochs=2)
    close(losses(graphed), losses(plain), 1e-5)

def test_the_model_is_itself_but_for_the_call(bert, in_tmp):
    taken,seen = Taken(),[]
    def look(learn): seen.append('forward' in vars(learn.model))
    def cancel(learn):
        if learn.training and learn.iter==2: raise CancelBatchException
    cancels = At('before_batch', cancel)
    learn = fit(classifier, bert, CUDAGraphs(capture=taken), At('after_pred', look), cancels, At('after_batch', look), epochs=2)
    assert len(seen)>10 and not any(seen) and not vars(learn.model).get('forward')
    assert learn.cuda_graphs._forward is None # and with it the graphs
    learn.remove_cb(cancels)
    learn.model.forward = own = learn.model.forward # somebody's own
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    assert learn.model.__dict__['forward'] is own

@pytest.mark.parametrize('validates', [True,False])
def test_nothing_keeps_a_graph_after_the_fit(validates, bert):
    "As on a GPU, the autograd node of a replay holds it."
    kept = []
    class Held(Taken):
        def __call__(self, function, inputs):
            class Graph: pass
            graph = Graph()
            kept.append(weakref.ref(graph))
            class Hold(torch.autograd.Function):
                @staticmethod
                def forward(ctx, out):
                    ctx.graph = graph
                    return out.clone()
                @staticmethod
                def backward(ctx, grad): return grad
            return lambda *values: tuple(map(Hold.apply, function(*values)))
    def skip(learn):
        if not validates: raise CancelValidException
    learn = fit(classifier, bert, CUDAGraphs(capture=Held()), At('before_validate', skip))
    gc.collect()
    assert kept and all(ref() is None for ref in kept) and learn.loss_grad is not None

def test_exports_and_predictions_between_two_epochs(bert, in_tmp):
    taken,predicted = Taken(),[]
    def export(learn):
        if learn.epoch or predicted: return
        predicted.append(1)
        assert learn.cuda_graphs._forward.graphs
        learn.cuda_graphs.capture = None # the stand-in is no part of it
        learn.export(in_tmp/'learn.pkl')
        learn.cuda_graphs.capture = taken
        graphs = learn.cuda_graphs._forward.graphs
        learn.predict(TEXTS[0])
        assert learn.cuda_graphs._forward.graphs is graphs
    learn = fit(classifier, bert, CUDAGraphs(capture=taken), At('after_epoch', export), epochs=2)
    again = load_learner(in_tmp/'learn.pkl')
    assert again.cuda_graphs._forward is None and again.predict(TEXTS[0])[0] in learn.dls.vocab

def test_an_error_leaves_the_model_as_it_was(bert):
    learn = classifier(bert, cbs=CUDAGraphs(capture=Taken()))
    learn.loss_func = lambda *args: 1/0
    with learn.no_bar(), learn.no_logging(), pytest.raises(ZeroDivisionError): learn.fit(1)
    assert 'forward' not in vars(learn.model) and learn.cuda_graphs._forward is None

def told(make, checkpoint, *cbs, taken=None, prepare=lambda learn: None, **kwargs):
    "The warning of a fit that goes on without graphs, and what was taken down."
    taken = taken or Taken()
    learn = make(checkpoint, cbs=[CUDAGraphs(capture=taken), *cbs], **kwargs)
    prepare(learn)
    with learn.no_bar(), learn.no_logging(), warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always')
        learn.fit(2)
    assert len(learn.recorder.values)==2
    return [str(o.message) for o in w if 'cuda_graphs' in str(o.message)],taken

@pytest.mark.parametrize('why,case', [
    ('computes its loss itself', dict(loss_func=ModelLoss())),
    ('trains without padding', dict(padding_free=True)),
    ('are run again', dict(gradient_checkpointing=True)),
    ('another number of rows', dict(dl_kwargs=dict(max_tokens=200))),
    ('hooks', dict(prepare=lambda learn: learn.model.base_model.encoder.layer[0].register_forward_hook(lambda m,i,o: None))),
    ('outputs are kept', dict(prepare=lambda learn: setattr(learn.model.config, 'output_hidden_states', True))),
    ('cannot be captured (RuntimeError: it waits)', dict(taken=Taken(RuntimeError('it waits\nmore'))))])
def test_what_is_refused_is_told_once(why, case, bert):
    said,taken = told(classifier, bert, **case)
    assert len(said)==1 and why in said[0] and not taken.shapes

def test_picked_tokens_are_refused(bert):
    import pandas as pd
    def gaps(checkpoint, **kwargs): return masked_lm_learner(pd.DataFrame(dict(text=TEXTS)), checkpoint, bs=8, valid=.25, **kwargs)
    said,taken = told(gaps, bert)
    assert len(said)==1 and 'some tokens alone' in said[0] and not taken.shapes

def test_windows_are_computed_as_ever(bert):
    said,taken = told(lambda c, **kwargs: learner('single', c, max_length=10, overlap=2, **kwargs), bert)
    assert not said and {rows for rows,n in taken.shapes}<={5}

def test_a_batch_replays_once(bert, monkeypatch):
    "Of the pieces of a batch a second replay would write over what the backward pass of the first needs."
    import blurlike.model.model_call as door
    monkeypatch.setattr(door, 'PIECE', 5*10)
    taken,pieces = Taken(),[]
    class Count(Callback):
        def after_batch(self): pieces.append((self.training, len(taken.replays)))
    fit(lambda c, **kwargs: learner('single', c, max_length=10, overlap=2, **kwargs), bert, CUDAGraphs(step=8, capture=taken), Count())
    replays = [n for trains,n in pieces if trains]
    assert taken.replays and max(b-a for a,b in zip([0, *replays], replays))==1

def test_the_argument(bert):
    with pytest.warns(UserWarning, match='there is no CUDA device') if not torch.cuda.is_available() else warnings.catch_warnings():
        learn = classifier(bert, cuda_graphs=True)
        with learn.no_bar(), learn.no_logging(): learn.fit(1)
    for other in ('compile','gradient_checkpointing','padding_free'):
        with pytest.raises(ValueError, match=other): classifier(bert, cuda_graphs=True, **{other:True})

def test_asks_what_a_forward_asks(bert):
    import inspect
    model = classifier(bert).model
    assert inspect.signature(GraphedForward(model, None, 5, {}))==inspect.signature(model.forward)

def test_targets_are_counted_where_they_were_collated():
    "A GPU would be waited for in each step."
    from blurlike.model.losses import TokenLoss, target_weight
    from blurlike.model.transfers import keep_copy
    class NoNumbers(torch.Tensor):
        def __float__(self): raise AssertionError('the device is waited for')
    y = torch.tensor([[1,-100],[2,1]]).as_subclass(NoNumbers)
    with pytest.raises(AssertionError, match='waited'): float(y.sum())
    keep_copy(y, y.as_subclass(torch.Tensor))
    assert target_weight(TokenLoss(), y)==3 and target_weight(torch.nn.CrossEntropyLoss(), y)==3
    assert target_weight(TokenLoss(torch.tensor([1.,2.,4.])), y.as_subclass(torch.Tensor))==8

def test_targets_that_a_callback_has_changed_are_counted_anew():
    "fastai's tensors hand on what is said of them."
    from fastai.torch_core import TensorCategory
    from blurlike.model.losses import TokenLoss, target_weight
    from blurlike.model.transfers import copy_of, keep_copy
    def sent():
        y = TensorCategory([[1,-100],[2,1]])
        keep_copy(y, y.as_subclass(torch.Tensor).clone())
        return y
    y = sent()
    assert copy_of(y) is not None and target_weight(TokenLoss(), y)==3
    for other in (y[:1], torch.where(y==2, -100, y), y.masked_fill(y==1, -100)): assert target_weight(TokenLoss(), other)==int((other!=-100).sum())<3
    y[0,0] = -100
    assert target_weight(TokenLoss(), y)==2
    with torch.inference_mode(): assert target_weight(TokenLoss(), sent())==3
