"""The gradient of a large embedding (model/embedding_gradient): PyTorch's values, in memory that nobody else has"""
import copy
import gc
import pickle
import threading

import pytest
import torch
import torch.nn.functional as F

from blurlike.model import embedding_gradient
from blurlike.model.embedding_gradient import embedding, zeros_again
from small import learner, set_seed
from test_fast_dropout import gradients

@pytest.fixture(autouse=True)
def small_is_large(monkeypatch): monkeypatch.setattr(embedding_gradient, 'LARGE', 0)

def table(n=20, width=4): return torch.nn.Parameter(torch.randn(n, width, generator=torch.Generator().manual_seed(0)))

IDS = torch.tensor([[3,3,0],[19,3,1]])

def gradient(look_up, weight, ids=IDS, **kwargs):
    weight.grad = None
    (look_up(ids, weight, **kwargs)*torch.arange(ids.numel()).view(*ids.shape, 1)).square().sum().backward()
    return weight.grad

@pytest.mark.parametrize('kwargs', [{}, dict(padding_idx=0), dict(padding_idx=3), dict(padding_idx=-1), dict(scale_grad_by_freq=True)])
@pytest.mark.parametrize('ids', [IDS, IDS[0], IDS[:0], torch.tensor(3)])
def test_gradients_are_those_of_pytorch(kwargs, ids):
    weight = table()
    theirs = gradient(F.embedding, weight, ids, **kwargs)
    for _ in range(2): assert torch.equal(gradient(embedding, weight, ids, **kwargs), theirs)

def test_the_memory_is_that_of_the_last_step():
    weight = table()
    places = {gradient(embedding, weight).data_ptr() for _ in range(3)}
    assert len(places)==1

def test_a_gradient_that_is_kept_stays_as_it_is():
    weight = table()
    kept = gradient(embedding, weight)
    before = kept.clone()
    row = gradient(embedding, weight)[3]
    of_row = row.clone()
    gradient(embedding, weight, IDS+0)
    gradient(embedding, weight, IDS[1:])
    assert torch.equal(kept, before) and torch.equal(row, of_row)

def test_gradients_are_accumulated():
    weight = table()
    once = gradient(embedding, weight).clone()
    for k in (2, 3):
        (embedding(IDS, weight)*torch.arange(6).view(2, 3, 1)).square().sum().backward()
        torch.testing.assert_close(weight.grad, once*k)

def test_a_table_that_is_the_head_too():
    weight = table()
    def both(look_up):
        weight.grad = None
        (look_up(IDS, weight)@weight.T).square().sum().backward()
        return weight.grad
    theirs = both(F.embedding)
    for _ in range(2): torch.testing.assert_close(both(embedding), theirs)

def test_a_table_that_is_looked_up_twice():
    weight = table()
    def both(look_up):
        weight.grad = None
        (look_up(IDS, weight).square().sum()+look_up(IDS.T, weight).pow(3).sum()).backward()
        return weight.grad
    theirs = both(F.embedding)
    for _ in range(2): torch.testing.assert_close(both(embedding), theirs)

def test_gradients_of_gradients():
    def second(look_up):
        weight = table()
        first, = torch.autograd.grad(look_up(IDS, weight, 0).pow(3).sum(), weight, create_graph=True)
        return torch.autograd.grad(first.square().sum(), weight)[0]
    torch.testing.assert_close(second(embedding), second(F.embedding))

def test_what_needs_no_gradient_or_is_no_parameter():
    weight = table()
    frozen = weight.detach()
    assert torch.equal(embedding(IDS, frozen), F.embedding(IDS, frozen)) and not embedding(IDS, frozen).requires_grad
    with torch.no_grad(): assert not embedding(IDS, weight).requires_grad
    (embedding(IDS, weight*2)).sum().backward() # as an adapter makes it
    assert torch.equal(weight.grad, 2*torch.bincount(IDS.flatten(), minlength=20).float()[:,None].expand(20, 4))
    assert not any(k is weight for k in embedding_gradient._kept)

def test_memory_goes_with_its_weight_and_into_no_copy():
    weight = table()
    gradient(embedding, weight)
    weight.grad = None
    other = copy.deepcopy(weight)
    assert not any(k is other for k in embedding_gradient._kept) and len(pickle.dumps(weight))<2000
    del weight,other
    gc.collect()
    assert not len(embedding_gradient._kept)

def test_threads_have_memory_of_their_own():
    weight,found = table(),[]
    def take(): found.append(zeros_again(weight))
    threads = [threading.Thread(target=take) for _ in range(8)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert len({t.data_ptr() for t in found})==8

def test_a_learner_trains_as_with_pytorchs(bert, monkeypatch):
    def trained():
        set_seed(0)
        learn = learner('single', bert)
        with learn.no_logging(): learn.fit(2, 1e-3)
        return learn.model
    ours = trained()
    words = ours.get_input_embeddings().weight
    assert any(k is words for k in embedding_gradient._kept)
    monkeypatch.setattr(embedding_gradient, 'LARGE', 2**40)
    for a,b in zip(ours.parameters(), trained().parameters()): torch.testing.assert_close(a, b)

def test_layers_that_are_computed_again(bert):
    for a,b in zip(gradients(bert)[1], gradients(bert, use_reentrant=False)[1]): torch.testing.assert_close(a, b)
