"The optimizer beside fastai's own."
import torch
from blurlike.all import adamw, params
from torch import nn

def by_owner(model): return [[p for n,p in model.named_parameters() if n.endswith(end)] for end in ('bias','weight')]

def test_weight_decay_on_all_reaches_a_group_of_vectors():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    opt = adamw(by_owner(model), lr=.1, wd=.3)
    assert [g['weight_decay'] for g in opt.opt.param_groups]==[0., .3]
    opt.decay_all()
    assert [h['wd'] for h in opt.hypers]==[.3, .3]
    for p in params(model): p.grad = torch.zeros_like(p)
    before = [p.detach().clone() for p in params(model)]
    opt.step()
    for p,was in zip(params(model), before): torch.testing.assert_close(p.detach(), was*(1-.1*.3))
    opt.set_hyper('wd', .2)
    assert [g['weight_decay'] for g in opt.opt.param_groups]==[.2, .2]
