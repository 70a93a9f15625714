"""Dropout on a CPU (model/fast_dropout): as random as PyTorch's, its values and gradients those of the formula"""
import pytest
import torch
import torch.nn.functional as F
import transformers as tf

from blurlike.all import set_seed
from blurlike.model import fast_dropout
from blurlike.model.fast_dropout import attention, dropout, kept_values
from blurlike.model.fast_functions import fast_functions
from small import TEXTS, close, learner

B,H,L,S,D = 3,4,6,5,8

def qkv(dtype=torch.float32, length=L): # as models give them: heads within tokens
    torch.manual_seed(3)
    return [torch.randn(B, n, H, D).to(dtype).transpose(1, 2).requires_grad_() for n in (length,S,S)]

def some_mask(): # the last two are seen by nobody in the second text
    mask = torch.ones(B, 1, 1, S, dtype=torch.bool)
    mask[1,...,3:] = False
    return mask

def formula(q, k, v, bias, p, scale):
    scores = q@k.mT*scale
    if bias is not None: scores = scores+bias
    return (scores.softmax(-1)*kept_values((*q.shape[:3], k.shape[2]), p))@v

def as_bias(mask): return torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
causal = torch.ones(S, S).tril().bool()
MASKS = {'none':(None,None), 'bool':(some_mask(),as_bias(some_mask())), 'whole':(some_mask().expand(B, 1, L, S),as_bias(some_mask())),
    'two dimensions':(torch.linspace(0, 1, L*S).view(L, S),)*2, 'of heads':(torch.linspace(0, 1, H*S).view(1, H, 1, S),)*2}

@pytest.mark.parametrize('in_cache', [10**6, 2*H*L*S, L*S*3, 1])
@pytest.mark.parametrize('mask', MASKS)
def test_attention_is_the_formula(mask, in_cache, monkeypatch):
    monkeypatch.setattr(fast_dropout, 'IN_CACHE', in_cache)
    x,(given,bias) = qkv(),MASKS[mask]
    torch.manual_seed(0)
    ours = attention(*x, given, dropout_p=.3)
    torch.manual_seed(0)
    theirs = formula(*x, bias, .3, D**-.5)
    close(ours, theirs)
    for a,b in zip(torch.autograd.grad(ours.square().sum(), x), torch.autograd.grad(theirs.square().sum(), x)): close(a, b, 1e-4)

def test_causal_scale_and_half_precision():
    x = qkv(length=S)
    torch.manual_seed(0)
    ours = attention(*x, dropout_p=.2, is_causal=True, scale=.5)
    torch.manual_seed(0)
    close(ours, formula(*x, as_bias(causal), .2, .5))
    torch.manual_seed(0)
    half = attention(*[t.bfloat16() for t in x], dropout_p=.2, is_causal=True, scale=.5)
    assert half.dtype==torch.bfloat16
    close(half, ours, .05)

def blind(): # the second text sees nothing
    mask = some_mask()
    mask[1] = False
    return mask
LEFT = dict(blind=dict(attn_mask=blind()), learnt=dict(attn_mask=torch.zeros(L, S, requires_grad=True)), none=dict(dropout_p=0.))

@pytest.mark.parametrize('case', LEFT)
def test_the_rest_is_pytorchs(case):
    asked = dict(dropout_p=.3) | LEFT[case]
    torch.manual_seed(0)
    ours = attention(*qkv(), **asked)
    torch.manual_seed(0)
    assert torch.equal(ours, F.scaled_dot_product_attention(*qkv(), **asked))

@pytest.mark.parametrize('p', [0.,.1])
def test_a_mask_beside_a_causal_one_is_refused_as_by_pytorch(p):
    q = torch.randn(1, 1, 4, 4)
    with pytest.raises(RuntimeError, match='attn_mask should not be set when is_causal'): attention(q, q, q, torch.eye(4).bool(), p, True)

def test_shared_heads_are_pytorchs():
    q,k,v = qkv()
    asked = dict(dropout_p=.3, enable_gqa=True)
    torch.manual_seed(0)
    ours = attention(q, k[:,:2], v[:,:2], **asked)
    torch.manual_seed(0)
    assert torch.equal(ours, F.scaled_dot_product_attention(q, k[:,:2], v[:,:2], **asked))

@pytest.mark.parametrize('p', [1e-9, .1, .37, .9, 1-1e-9])
def test_as_many_are_dropped_and_the_mean_stays(p):
    kept = kept_values((400, 1001), p) # no multiple of four
    n,share = kept.numel(),max(p, 1/65536) if p<.5 else min(p, 1-1/65536)
    sure = 5*(share*(1-share)/n)**.5 # five standard errors
    assert abs(float((kept==0).float().mean())-share)<sure
    assert len(kept.unique())<=2 and abs(float(kept.mean())-1)<sure/(1-share)
    by_column,by_row = (kept==0).float().mean(0),(kept==0).float().mean(1)
    assert float(by_column.std())<1.3*(share*(1-share)/400)**.5 and float(by_row.std())<1.3*(share*(1-share)/1001)**.5

def test_neighbours_are_dropped_independently():
    dropped = (kept_values((100_000, 8), .3)==0).float()
    close(torch.corrcoef(dropped.T), torch.eye(8), .02)

def test_dropout_where_it_is_not_ours():
    x = torch.ones(6)
    assert dropout(x, .5, training=False) is x and not dropout(x, 1.).any() and torch.equal(dropout(x, 0.), x)
    y = torch.ones(50)
    assert dropout(y, .5, inplace=True) is y and not y.all()
    assert dropout(torch.ones(200, dtype=torch.bfloat16), .5).unique().tolist()==[0., 2.]
    assert dropout(torch.ones(0, 4), .5).shape==(0, 4)

def gradients(bert, **kwargs):
    set_seed(0)
    model = tf.AutoModelForSequenceClassification.from_pretrained(bert, num_labels=2)
    if kwargs: model.gradient_checkpointing_enable(kwargs)
    model.train()
    set_seed(1)
    with fast_functions():
        loss = model(torch.arange(5, 25).view(2, 10), labels=torch.tensor([0, 1])).loss
        loss.backward()
    return loss.detach(),[p.grad for p in model.parameters() if p.grad is not None]

def test_layers_that_are_computed_again_drop_the_same(bert):
    plain,again = gradients(bert),gradients(bert, use_reentrant=False)
    close(plain[0], again[0])
    for a,b in zip(plain[1], again[1]): close(a, b)

@pytest.fixture
def counted(monkeypatch):
    calls = []
    kept = fast_dropout.kept_values
    monkeypatch.setattr(fast_dropout, 'kept_values', lambda *args: calls.append(args) or kept(*args))
    return calls

def test_a_learner_trains_with_it_and_predicts_without(bert, counted):
    learn = learner('single', bert)
    with learn.no_logging(): learn.fit(1, 1e-3)
    assert len(counted)>=len(learn.dls.train)*2*3 # two layers: attention and two outputs
    counted.clear()
    learn.validate()
    learn.predict(TEXTS[0])
    learn.fast_dropout = False
    with learn.no_logging(): learn.fit(1, 1e-3)
    assert not counted
