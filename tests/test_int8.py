"""Predictions in whole numbers of eight bits (model/int8): near those of float32, each text's alone, and no thread's but the one that asks"""
import json
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from blurlike.model import int8
from blurlike.model.int8 import Int8Linear, in_int8, predicting_in
from small import FRAMES, MORE_KINDS, TEXTS, asked_of, learner

pytestmark = pytest.mark.skipif(not int8.has_int8(), reason='this processor multiplies no int8')

@pytest.fixture
def all_layers(monkeypatch): monkeypatch.setattr(int8, 'SMALL', 0)

@pytest.fixture
def counted(monkeypatch, all_layers):
    calls,call = [],Int8Linear.__call__
    monkeypatch.setattr(Int8Linear, '__call__', lambda self, x: calls.append(threading.get_ident()) or call(self, x))
    return calls

@pytest.mark.parametrize('shape', [(5,40), (2,5,40), (40,), (0,40), (3,0,40)])
@pytest.mark.parametrize('bias', [True, False])
def test_a_layer_is_near_its_own(shape, bias):
    torch.manual_seed(0)
    layer,x = nn.Linear(40, 24, bias=bias),torch.randn(shape)
    with torch.no_grad():
        want,have = layer(x),Int8Linear(layer)(x)
    assert have.shape==want.shape and have.dtype==want.dtype
    assert not want.numel() or (want-have).abs().max()<.03*want.abs().max()

def test_rounding_is_exact_to_half_a_step():
    x = torch.randn(7, 30)*torch.logspace(-6, 6, 7)[:,None]
    x[3] = 0
    rounded,scale = in_int8(x)
    assert rounded.abs().max()==127 and ((rounded*scale-x).abs()<=scale*.5001).all() and not rounded[3].any()

def test_a_token_is_rounded_by_itself():
    layer,x = Int8Linear(nn.Linear(40, 24)),torch.randn(6, 40)
    with torch.no_grad():
        large = x.clone()
        large[0] *= 1e4
        assert torch.equal(layer(x)[1:], layer(large)[1:]) and torch.equal(layer(x)[2], layer(x[2]))

@pytest.mark.parametrize('kind', MORE_KINDS, indirect=True)
def test_predictions_of_all_tasks_are_near(kind, checkpoint, counted):
    learn = learner(kind, checkpoint)
    items = asked_of(kind, FRAMES[kind])[:8]
    plain = learn.predict_batch(items)
    assert not counted
    rounded = learn.predict_batch(items, precision='int8')
    assert counted and len(rounded)==len(plain) and F.linear is int8._theirs
    assert learn.predict_batch(items)==plain # the weights are as before

def test_probabilities_are_near_and_those_of_the_text_alone(bert, counted):
    learn = learner('single', bert)
    texts = [*TEXTS, ' '.join(TEXTS)]
    plain,rounded = learn.predict_batch(texts),learn.predict_batch(texts, precision='int8')
    assert all(abs(a['score']-b['score'])<.02 for a,b in zip(plain, rounded)) and plain!=rounded
    for text,found in zip(texts, rounded):
        alone, = learn.predict_batch([text], precision='int8')
        assert alone['label']==found['label'] and abs(alone['score']-found['score'])<1e-5

def test_weights_are_those_of_now(bert, counted):
    learn = learner('single', bert)
    before = learn.predict_batch(TEXTS, precision='int8')
    with torch.no_grad():
        for p in learn.model.parameters(): p.data.mul_(1.5) # as optimizers of fastai change them, unseen by versions
    after,plain = learn.predict_batch(TEXTS, precision='int8'),learn.predict_batch(TEXTS)
    assert before!=after and all(abs(a['score']-b['score'])<.1 for a,b in zip(after, plain))

def test_other_threads_and_gradients_are_not_rounded(bert, counted):
    learn = learner('single', bert)
    x = learn.dls.valid.one_batch()[0]
    here = threading.get_ident()
    with torch.no_grad(): want = learn.model(x)
    with predicting_in(learn.model, 'int8'):
        found = []
        def other():
            with torch.no_grad(): found.append(learn.model(x))
        t = threading.Thread(target=other)
        t.start()
        t.join()
        assert torch.equal(found[0], want) and not counted
        learn.model(x).sum().backward()
        assert not counted and all(p.grad is not None for p in learn.model.classifier.parameters())
        with torch.no_grad(): assert not torch.equal(learn.model(x), want)
    assert set(counted)=={here} and F.linear is int8._theirs

def test_an_error_within_leaves_pytorchs_function(bert):
    learn = learner('single', bert)
    with pytest.raises(KeyError), predicting_in(learn.model, 'int8'): raise KeyError
    assert F.linear is int8._theirs and not int8._here.layers

def test_small_layers_stay_as_they_are(bert, monkeypatch):
    learn = learner('single', bert)
    large = max(m.weight.numel() for m in learn.model.modules() if isinstance(m, nn.Linear))
    monkeypatch.setattr(int8, 'SMALL', large)
    with pytest.warns(UserWarning, match=f'largest layer of this model has {large:,} weights'): assert learn.predict_batch(TEXTS, precision='int8')==learn.predict_batch(TEXTS)

def test_layers_of_another_class_are_refused(checkpoints):
    learn = learner('single', checkpoints('gpt2'))
    with pytest.raises(ValueError, match="linear layers of PyTorch, and this model has none .its layers are transformers' Conv1D"): learn.predict_batch(TEXTS, precision='int8')

def test_bf16_learners_and_nan(bert, counted):
    learn = learner('single', bert).to_bf16()
    assert [p['label'] for p in learn.predict_batch(TEXTS, precision='int8')] and counted
    learn = learner('single', bert)
    with torch.no_grad(): next(learn.model.parameters())[:] = torch.nan
    with pytest.raises(ValueError, match='nan'): learn.predict_batch(TEXTS, precision='int8')

def test_files_know_their_precision(bert, tmp_path, counted):
    learn = learner('single', bert)
    out = learn.predict_batch(TEXTS, out=tmp_path/'a.jsonl', precision='int8')
    rows = [json.loads(l) for l in open(out)]
    assert [r['score'] for r in rows]==[p['score'] for p in learn.predict_batch(TEXTS, precision='int8')] and counted
    learn.predict_batch(TEXTS, out=out, resume=True, precision='int8')
    with pytest.raises(ValueError, match='options'): learn.predict_batch(TEXTS, out=out, resume=True)

@pytest.mark.parametrize('precision', ['fp16', 'int4', 8, True])
def test_other_precisions_are_refused(precision, bert):
    with pytest.raises(ValueError, match='int8'): learner('single', bert).predict_batch(TEXTS, precision=precision)

def test_where_it_cannot_be(bert, monkeypatch):
    learn = learner('single', bert)
    monkeypatch.setattr(int8, 'has_int8', lambda: False)
    with pytest.raises(ValueError, match='VNNI'): learn.predict_batch(TEXTS, precision='int8')
    monkeypatch.undo()
    layer = next(m for m in learn.model.modules() if isinstance(m, nn.Linear))
    layer.compile()
    with pytest.raises(ValueError, match='compile=True'): learn.predict_batch(TEXTS, precision='int8')
