"What a fit does beside the same done by hand: to weights, trackers, records, optimizers; and what it refuses."
import gc,pickle,warnings,weakref
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import matplotlib.pyplot as plt
import torch
import transformers
import fastai.callback.data # noqa: F401 (it gives loaders more methods)
from fastai.callback.core import CancelEpochException, CancelTrainException, CancelValidException
from fastai.callback.schedule import SchedCos, SchedNo, combine_scheds
from fastai.losses import FocalLossFlat, LabelSmoothingCrossEntropyFlat
from fastai.metrics import F1Score, RocAuc, RocAucBinary, accuracy, top_k_accuracy
from fastai.optimizer import SGD, OptimWrapper, ranger
from torch.optim.optimizer import register_optimizer_step_pre_hook
from peft import LoraConfig
from runs import WORDS, Cut, gaps, tagger
from small import BS, FRAMES, MORE_KINDS, first, learner
from torch import nn

from blurlike.all import (Callback, CSVLogger, Interpretation, TransformersLearner, row_losses, seq2seq_learner, CancelBatchException, Checkpoints, CrossEntropyLossFlat, EarlyStoppingCallback, GradientAccumulation, ReduceLROnPlateau, SaveModelCallback, layerwise_splitter, load_learner, masked_lm_learner,
    plain_schedule, sequence_classification_learner, set_seed, token_classification_learner)
from blurlike.train.run_facts import differences, run_facts

def weights(learn): return {n:p.detach().clone() for n,p in learn.model.state_dict().items()}
def apart(a, b): return max((a[n].float()-b[n].float()).abs().max().item() for n in a)
def quiet(f):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return f()

# --- trackers

class Falling(Callback):
    "Puts numbers of its own into the column of a metric, as if they had been found."
    order = 55 # after the recorder, before trackers
    def __init__(self, column, values): self.column,self.values = column,values
    def after_epoch(self): self.recorder.values[-1][list(self.recorder.metric_names[1:]).index(self.column)] = self.values[self.epoch]

def test_a_plateau_lowers_the_rate(bert):
    "What fastai's callbacks write into `opt.hypers` is set, also where groups have rates of their own."
    learn = learner('single', bert)
    quiet(lambda: learn.fit(4, slice(1e-4, 1e-3), cbs=ReduceLROnPlateau('valid_loss', min_delta=10, patience=1)))
    n = len(learn.dls.train)
    assert learn.recorder.lrs[::n]==pytest.approx([1e-3, 1e-3, 1e-4, 1e-5])
    assert [h['lr'] for h in learn.opt.hypers]==pytest.approx([1e-7, 10**-6.5, 1e-6]) and {g['owner']:g['lr'] for g in learn.opt.opt.param_groups}[0]==pytest.approx(1e-7)
    for name,value in (('mom',.8), ('sqr_mom',.98), ('wd',.3), ('eps',1e-6)): learn.opt.hypers[1][name] = value
    assert learn.opt.hypers[1]==dict(lr=pytest.approx(10**-6.5), mom=.8, sqr_mom=.98, wd=.3, eps=1e-6) and learn.opt.hypers[0]['mom']!=.8
    with pytest.raises(ValueError, match='at least 0'): learn.opt.hypers[0]['lr'] = -1.
    with pytest.raises(KeyError, match='no|not'): learn.opt.hypers[0]['speed'] = 1.

def test_a_plateau_lowers_the_rate_of_a_wrapped_optimizer(bert, in_tmp):
    learn = learner('single', bert, opt_func=partial(OptimWrapper, opt=torch.optim.RMSprop))
    quiet(lambda: learn.fit(4, slice(1e-4, 1e-3), cbs=ReduceLROnPlateau('valid_loss', min_delta=10, patience=1)))
    assert learn.recorder.lrs[::len(learn.dls.train)]==pytest.approx([1e-3, 1e-3, 1e-4, 1e-5])
    assert [g['lr'] for g in learn.opt.opt.param_groups]==[h['lr'] for h in learn.opt.hypers]==pytest.approx([1e-7, 10**-6.5, 1e-6])
    learn.export('m.pkl')
    assert load_learner('m.pkl').predict('film')[0]==learn.predict('film')[0]

@pytest.mark.parametrize('shares', [[.2,.8], [.1,.2,.7], [1/3,2/3], [.25,.75], [.6,.4]])
def test_schedules_jump_where_fastais_do(shares):
    s = combine_scheds(shares, [SchedNo(i, i) for i in range(len(shares))])
    for n in (3, 5, 7, 10, 100): assert [plain_schedule(s)(i/n) for i in range(n)]==[float(s(i/n)) for i in range(n)]
    moving = combine_scheds(shares, [SchedCos(i, i+1) for i in range(len(shares))])
    for n in (5, 10, 100): assert [plain_schedule(moving)(i/n) for i in range(n)]==pytest.approx([float(moving(i/n)) for i in range(n)], abs=1e-6)

def test_a_cycle_begins_at_its_rate(bert):
    learn = learner('single', bert)
    quiet(lambda: learn.fit_sgdr(2, 1, 1e-3))
    n = len(learn.dls.train)
    assert learn.recorder.lrs[0]==learn.recorder.lrs[n]==pytest.approx(1e-3) and min(learn.recorder.lrs)>1e-6

class Heard(Callback):
    def after_batch(self): pass

def test_nothing_of_a_fit_is_kept(bert, in_tmp):
    "Its callbacks are given up, so that the learner can be pickled"
    learn,cb = learner('single', bert),Heard()
    gone = weakref.ref(cb)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3, cbs=cb)
    assert pickle.dumps(learn)
    learn.get_preds(cbs=cb)
    del cb
    gc.collect()
    assert gone() is None

def test_loaders_that_read_no_texts_are_refused(bert):
    learn = learner('single', bert)
    own = learn.dls
    for odd in (own.weighted_dataloaders(np.ones(len(own.train_ds)), bs=5), own.partial_dataloaders(10, bs=5)):
        with pytest.raises(TypeError, match='loaders of texts are expected, and (Weighted|Partial)DL is none'): learn.dls = odd
    assert learn.dls is own

@pytest.mark.parametrize('reorder', [True, False])
def test_predictions_in_files_are_in_the_order_of_the_rows(reorder, bert, in_tmp):
    learn = learner('single', bert)
    quiet(lambda: learn.fit(2, 2e-3))
    folders = [Path(n) for n in ('preds','targs')]
    for f in folders: f.mkdir()
    preds,targs = quiet(lambda: learn.get_preds(save_preds=folders[0], save_targs=folders[1], reorder=reorder))
    kept = [torch.cat([torch.load(f/str(i), weights_only=False) for i in range(len(list(f.iterdir())))]) for f in folders]
    assert torch.allclose(torch.as_tensor(kept[0]).softmax(-1), preds, atol=1e-5) and kept[1].tolist()==targs.tolist()
    assert torch.allclose(preds, learn.get_preds()[0], atol=1e-5)

@pytest.mark.parametrize('kind,column', [('regression','mae'), ('gaps','perplexity')])
def test_less_of_an_error_is_better(kind, column, bert, in_tmp):
    learn = gaps(bert) if kind=='gaps' else learner(kind, bert)
    cbs = [Falling(column, [9,7,8,3]), SaveModelCallback(monitor=column), EarlyStoppingCallback(column, patience=2), ReduceLROnPlateau(column, patience=5)]
    with pytest.warns(UserWarning, match=f'SaveModelCallback watches {column!r}, of which less is better'): learn.fit(4, 1e-3, cbs=cbs)
    assert len(learn.recorder.values)==4 and cbs[1].best==3 and all(cb.comp is np.less for cb in cbs[1:])
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        learn.fit(1, 1e-3, cbs=[Falling(column, [9]), SaveModelCallback(monitor=column, comp=np.less)])

def test_more_of_a_score_stays_better(bert, in_tmp):
    learn = learner('single', bert)
    cb = SaveModelCallback(monitor='accuracy', min_delta=.01)
    learn.fit(1, 1e-3, cbs=[Falling('accuracy', [.5]), cb])
    assert cb.comp is np.greater and cb.min_delta==.01

def test_a_model_of_another_run_is_not_loaded(bert, in_tmp):
    old = learner('single', bert)
    quiet(lambda: old.fit(1, 1e-2, cbs=SaveModelCallback()))
    learn = learner('single', bert)
    last = {}
    class Keep(Callback):
        order = 58
        def after_epoch(self): last.update(weights(self.learn))
    with pytest.warns(UserWarning, match='accuracy was never a number, so SaveModelCallback has saved no epoch'):
        learn.fit(2, 1e-3, cbs=[Falling('accuracy', [float('nan')]*2), Keep(), SaveModelCallback(monitor='accuracy')])
    assert apart(weights(learn), last)==0
    Path('models/model.pth').unlink()
    quiet(lambda: learn.fit(1, 1e-3, cbs=[Falling('accuracy', [float('nan')]), SaveModelCallback(monitor='accuracy')]))

def test_epochs_that_are_skipped_have_no_best(bert, in_tmp):
    learn = learner('single', bert)
    cb = Checkpoints('run', best='valid_loss')
    quiet(lambda: learn.fit(3, 1e-3, start_epoch=1, cbs=cb))
    assert cb.best_epoch in (1, 2)

COLUMNS = ['train_loss','valid_loss','accuracy','f1_macro']

class CutEpoch(Callback):
    "Ends what is going on of the first epoch by `error`, at its second batch of training or validation"
    def __init__(self, error, training): self.error,self.in_training = error,training
    def after_batch(self):
        if self.epoch==0 and self.training==self.in_training and self.iter==1: raise self.error

CUTS = dict(train=(CutEpoch(CancelTrainException, True), ['train_loss']), valid=(CutEpoch(CancelValidException, False), COLUMNS[1:]),
    epoch=(CutEpoch(CancelEpochException, True), COLUMNS), late=(CutEpoch(CancelEpochException, False), COLUMNS[1:]))
@pytest.mark.parametrize('cut', CUTS)
def test_a_row_of_an_epoch_that_was_cut_short_keeps_its_columns(cut, bert, in_tmp):
    learn,(cb,lost) = learner('single', bert),CUTS[cut]
    trackers = [SaveModelCallback(), EarlyStoppingCallback('accuracy', patience=2), ReduceLROnPlateau('train_loss', patience=3)]
    run = Checkpoints('run', best='valid_loss')
    quiet(lambda: learn.fit(2, 1e-3, cbs=[cb, run, CSVLogger(), *trackers]))
    rows = [dict(zip(COLUMNS, row)) for row in learn.recorder.values]
    assert [k for k in COLUMNS if pd.isna(rows[0].get(k))]==lost and len(rows)==2
    assert not pd.isna([*rows[1].values()]).any() and len(rows[1])==len(COLUMNS)
    log = pd.read_csv('history.csv', na_values='None')
    assert log.columns.tolist()==['epoch', *COLUMNS, 'time'] and log.time.notna().all() and log.valid_loss.isna().tolist()==['valid_loss' in lost, False]
    best = min(r['valid_loss'] for r in rows if not pd.isna(r.get('valid_loss')))
    assert run.best_value==best==pytest.approx(learn.validate()[0]) and trackers[0].best==best

class OwnBest(Callback):
    "Compares the rows that it sees, and logs what the recorder logs, as fastai's trackers of other services do"
    order = 60
    def before_fit(self): self.best,self.logged = float('inf'),[]
    def after_epoch(self):
        row = self.recorder.values[-1]
        if len(row)>1: self.best = min(row[1], self.best)
        if row: self.lowest = min(row[0], self.best)
        self.logged += map(float, self.recorder.log[1:-1])

@pytest.mark.parametrize('cut', CUTS)
def test_losses_of_epochs_that_were_cut_short_are_plotted(cut, bert):
    learn = learner('single', bert)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        quiet(lambda: learn.fit(2, 1e-3, cbs=CUTS[cut][0]))
    rows = [list(r) for r in learn.recorder.values]
    plt.close('all')
    assert len(learn.recorder.plot_loss(skip_start=0).lines)==2 and [list(r) for r in learn.recorder.values]==rows

@pytest.mark.parametrize('cut', CUTS)
def test_rows_that_were_cut_short_can_be_compared(cut, bert):
    learn,own = learner('single', bert),OwnBest()
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        quiet(lambda: learn.fit(2, 1e-3, cbs=[CUTS[cut][0], own]))
    rows = learn.recorder.values
    assert [len(row) for row in rows]==[dict(train=4, valid=1, epoch=0, late=1)[cut], 4] and len(own.logged)==8
    assert own.best==min(row[1] for row in rows if len(row)>1)

def test_a_validation_that_was_cancelled_gives_nothing(bert):
    learn = learner('single', bert)
    assert list(quiet(lambda: learn.validate(cbs=CutEpoch(CancelValidException, False))))==[]

def test_the_time_of_an_epoch_has_no_best(bert, in_tmp):
    with pytest.raises(ValueError, match="best='time' is no column of the epoch table, which has train_loss, valid_loss, accuracy, f1_macro"):
        quiet(lambda: learner('single', bert).fit(1, cbs=Checkpoints('run', best='time', lower=True)))

# --- what is trained

def head_only(m): return [list(m.classifier.parameters())]

@pytest.mark.parametrize('opt_func', [SGD, None])
def test_what_a_splitter_leaves_out_has_no_part(opt_func, bert):
    kwargs = dict(splitter=head_only, max_grad_norm=.1) | ({} if opt_func is None else dict(opt_func=opt_func))
    a,b = (learner('single', bert, model_kwargs=dict(hidden_dropout_prob=0., attention_probs_dropout_prob=0.), **kwargs) for _ in range(2))
    for n,p in b.model.named_parameters(): p.requires_grad_('classifier' in n)
    a.model(next(iter(a.dls.valid))[0]).sum().backward() # what is left of something else
    for p in a.model.classifier.parameters(): p.grad = None
    for l in (a, b): quiet(lambda: l.fit(2, 1e-2))
    assert apart(weights(a), weights(b))<1e-6
    assert all(p.requires_grad for p in a.model.parameters())

def test_what_a_splitter_leaves_out_is_told_once(bert):
    learn = learner('single', bert, splitter=head_only)
    n = sum(not name.startswith('classifier.') for name,_ in learn.model.named_parameters())
    with pytest.warns(UserWarning, match=rf'splitter leaves out {n} parameters .*\(of bert.embeddings, bert.encoder, bert.pooler\)'): learn.create_opt()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        learn.create_opt()
        learn.splitter = layerwise_splitter
        learn.freeze()
        learn.create_opt()
        for name,p in learn.model.named_parameters(): p.requires_grad_('classifier' in name)
        learn.frozen_to,learn.splitter = 0,head_only
        learn.create_opt()

# --- a model that is changed between two fits

def grow(learn): # in place: the parameter is the same one, and longer
    learn.dls.tokenizer.add_tokens(['<drug>','<date>'])
    learn.model.resize_token_embeddings(len(learn.dls.tokenizer)+1000)
def new_head(learn):
    name,head = [*learn.model.named_children()][-1]
    setattr(learn.model, name, deepcopy(head))
def new_layer(learn):
    layers = next(m for m in learn.model.modules() if isinstance(m, nn.ModuleList))
    layers[0] = deepcopy(layers[0])
def new_model(learn): learn.model = deepcopy(learn.model)
def new_base(learn):
    name = learn.model.base_model_prefix
    setattr(learn.model, name, deepcopy(getattr(learn.model, name)))
    learn.model.tie_weights()

def told_anew(f):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        f()
    return [str(w.message) for w in told if 'optimizer begins anew' in str(w.message)]

@pytest.mark.parametrize('change', [grow, new_head, new_layer, new_model, new_base])
@pytest.mark.parametrize('kind', ['single', *(pytest.param(k, marks=pytest.mark.slow) for k in MORE_KINDS if k!='single')], indirect=True)
def test_all_that_a_changed_model_holds_is_trained(change, kind, checkpoint):
    "Before: parts that no step reached, without a word, and a crash where embeddings had grown."
    learn = learner(kind, checkpoint)
    quiet(lambda: learn.fit(1, 1e-3))
    change(learn)
    before = weights(learn)
    assert len(told_anew(lambda: learn.fit_one_cycle(1, 1e-3)))==1
    assert [n for n,p in learn.model.named_parameters() if torch.equal(p, before[n])]==[]
    assert told_anew(lambda: learn.fit(1, 1e-3))==[]

@pytest.mark.parametrize('opt_func', first([None, SGD, ranger, partial(OptimWrapper, opt=torch.optim.RMSprop)], 2))
@pytest.mark.parametrize('call', ['fit','fit_one_cycle','fit_linear','fit_flat_cos','fine_tune','lr_find'])
def test_every_fit_sees_that_the_model_was_changed(call, opt_func, bert, in_tmp):
    learn = learner('single', bert, **({} if opt_func is None else dict(opt_func=opt_func)))
    quiet(lambda: learn.fit(1, 1e-3))
    for change in (grow, new_head): change(learn)
    told = told_anew(lambda: learn.lr_find(num_it=20, show_plot=False) if call=='lr_find' else getattr(learn, call)(1, 1e-3))
    assert len(told)==1 and '3 parameters were' in told[0] and 'classifier.weight' in told[0]
    assert {id(p) for g in learn.opt.param_lists for p in g}=={id(p) for p in learn.model.parameters()}

def test_a_new_head_is_what_freeze_leaves(bert):
    learn = learner('single', bert)
    quiet(lambda: learn.fit(1, 1e-3))
    new_head(learn)
    assert len(told_anew(learn.freeze))==1
    assert {n for n,p in learn.model.named_parameters() if p.requires_grad}=={'classifier.weight','classifier.bias'}
    new_head(learn) # while all else is frozen
    before = weights(learn)
    assert len(told_anew(lambda: learn.fit(1, 1e-3)))==1
    assert {n for n,p in learn.model.named_parameters() if not torch.equal(p, before[n])}=={'classifier.weight','classifier.bias'}
    learn.unfreeze()
    assert all(p.requires_grad for p in learn.model.parameters()) and told_anew(lambda: learn.fit(1, 1e-3))==[]

def test_what_is_thawed_by_hand_in_a_frozen_learner_stays_so(bert):
    learn = learner('single', bert)
    learn.freeze()
    quiet(lambda: learn.fit(1, 1e-3))
    layer = learn.model.bert.encoder.layer[1].requires_grad_(True)
    new_head(learn)
    before = weights(learn)
    assert len(told_anew(lambda: learn.fit(1, 1e-3)))==1
    moved = {n for n,p in learn.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved=={'classifier.weight','classifier.bias', *(f'bert.encoder.layer.1.{n}' for n,_ in layer.named_parameters())}

def test_what_is_thawed_by_hand_is_trained(bert):
    learn = learner('single', bert)
    for p in learn.model.bert.parameters(): p.requires_grad_(False)
    quiet(lambda: learn.fit(1, 1e-3))
    for p in learn.model.parameters(): p.requires_grad_(True)
    before = weights(learn)
    told = told_anew(lambda: learn.fit(1, 1e-3))
    assert len(told)==1 and 'bert.embeddings' in told[0]
    assert not any(torch.equal(p, before[n]) for n,p in learn.model.named_parameters())
    for p in learn.model.bert.parameters(): p.requires_grad_(False) # what is frozen by hand needs no other optimizer
    assert told_anew(lambda: learn.fit(1, 1e-3))==[]

def test_an_optimizer_that_knows_the_model_stays(bert, in_tmp):
    "Left out by a splitter, made by somebody else, copied, exported, loaded: nothing is begun anew."
    learn = learner('single', bert, splitter=head_only)
    quiet(lambda: learn.fit(1, 1e-3))
    opt = learn.opt
    assert told_anew(lambda: learn.fit(1, 1e-3))==[] and learn.opt is opt
    learn.opt = opt = OptimWrapper([list(learn.model.classifier.parameters())], opt=torch.optim.SGD, lr=.1)
    new_layer(learn)
    assert told_anew(lambda: learn.fit(1, 1e-3))==[] and learn.opt is opt
    learn = learner('single', bert)
    quiet(lambda: learn.fit(1, 1e-3))
    learn.export('m.pkl')
    learn.save('m')
    for other in (deepcopy(learn), quiet(lambda: load_learner('m.pkl')), learn.load('m')):
        other.dls = learn.dls
        assert told_anew(lambda: other.fit(1, 1e-3))==[]

def test_nothing_is_learnt_from_no_batch(bert):
    learn = learner('single', bert, bs=64, dl_kwargs=dict(drop_last=True))
    for call in (lambda: learn.fit_one_cycle(1, 1e-3), learn.lr_find):
        with pytest.raises(ValueError, match='36 training rows are fewer than a batch .64.*nothing would be learnt'): call()

def test_weight_decay_on_all(bert):
    for asked,want in ((False, 0.), (True, .3)):
        learn = learner('single', bert, wd_bn_bias=asked)
        quiet(lambda: learn.fit(1, 0., wd=.3))
        decays = {p.ndim>1:g['weight_decay'] for g in learn.opt.opt.param_groups for p in g['params']}
        assert decays=={True:.3, False:want}

class Still(Callback):
    "Nothing but the decay moves a weight."
    order = 50
    def before_step(self):
        for p in self.learn.model.parameters():
            if p.grad is not None: p.grad.zero_()

@pytest.mark.parametrize('opt', first([torch.optim.AdamW, torch.optim.SGD, torch.optim.Adafactor, torch.optim.RAdam], 3))
@pytest.mark.parametrize('decays', [False, True])
def test_optimizers_of_pytorch_decay_what_fastais_do(opt, decays, bert):
    learn = learner('single', bert, opt_func=partial(OptimWrapper, opt=opt), wd_bn_bias=decays, max_grad_norm=None)
    before = weights(learn)
    for call in (learn.freeze, learn.unfreeze): call()
    quiet(lambda: learn.fit(1, 1e-2, wd=.5, cbs=Still()))
    moved = {n for n,p in learn.model.named_parameters() if p.any() and not torch.equal(p, before[n])}
    assert moved=={n for n,p in learn.model.named_parameters() if p.any() and (decays or p.ndim>1)}
    assert [h['wd'] for h in learn.opt.hypers]==[.5]*3 and len(learn.opt.param_lists)==len(learn.opt.state_dict()['param_groups'])==3

def test_a_wrapped_adamw_trains_as_ours(bert):
    def trained(**kwargs):
        learn = learner('single', bert, seed=1, **kwargs)
        quiet(lambda: learn.fit_one_cycle(1, slice(1e-3, 1e-2), wd=.3))
        return learn
    ours,theirs = trained(),trained(opt_func=partial(OptimWrapper, opt=torch.optim.AdamW))
    assert apart(weights(ours), weights(theirs))<1e-4
    plain = OptimWrapper([list(ps) for ps in theirs.opt.param_lists], torch.optim.AdamW)
    plain.load_state_dict(theirs.opt.state_dict()) # as fastai alone keeps it
    theirs.opt.load_state_dict(plain.state_dict())

class Counting(torch.optim.SGD):
    "Keeps its count in the group, as some do."
    def step(self):
        for g in self.param_groups: g['n'] = g.get('n', 0)+1
        super().step()

def test_what_an_optimizer_notes_in_its_groups_stays(bert):
    learn = learner('single', bert, opt_func=partial(OptimWrapper, opt=Counting))
    quiet(lambda: learn.fit(2, 1e-3, wd=.1))
    assert [(g['n'],g['weight_decay']) for g in learn.opt.opt.param_groups]==[(2*len(learn.dls.train), .1)]*3

class PerGroup(torch.optim.Optimizer):
    "Keeps what belongs to a group in it, and finds it by its place."
    def __init__(self, params, lr=1e-3, weight_decay=0.):
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay))
        self.sizes = [len(g['params']) for g in self.param_groups]
    @torch.no_grad()
    def step(self, closure=None):
        assert [len(g['params']) for g in self.param_groups]==self.sizes
        for g in self.param_groups:
            kept = g.setdefault('kept', [torch.zeros_like(p) for p in g['params']])
            for p,m in zip(g['params'], kept): p.sub_(m.mul_(.9).add_(p.grad+g['weight_decay']*p), alpha=g['lr'])

def test_an_optimizer_of_ones_own_steps_with_the_groups_that_it_was_made_with(bert):
    learn = learner('single', bert, opt_func=partial(OptimWrapper, opt=PerGroup))
    quiet(lambda: learn.fit(2, 1e-3, wd=.1))
    assert [len(g['kept']) for g in learn.opt.opt.param_groups]==learn.opt.opt.sizes

def test_nobody_sees_other_groups_while_pytorch_steps(bert):
    "neither another thread, nor what saves the learner"
    learn = learner('single', bert, opt_func=partial(OptimWrapper, opt=torch.optim.AdamW))
    learn.create_opt()
    seen = []
    hook = register_optimizer_step_pre_hook(lambda *args: seen.append((len(learn.opt.hypers), len(learn.opt.state_dict()['param_groups']))))
    try: quiet(lambda: learn.fit(1, 1e-3, wd=.1))
    finally: hook.remove()
    assert {*seen}=={(3,3)}

def test_schedulers_and_hooks_of_pytorch_meet_the_optimizer_itself(bert):
    learn = learner('single', bert, opt_func=partial(OptimWrapper, opt=torch.optim.AdamW))
    learn.create_opt()
    opt,before,seen = learn.opt.opt,weights(learn),[]
    torch.optim.lr_scheduler.LambdaLR(opt, lambda step: 1.)
    def after(o, *args):
        seen.append(o)
        for g in o.param_groups: g['noted'] = len(seen)
    opt.register_step_post_hook(after)
    quiet(lambda: learn.fit(1, 1e-2, wd=.5, cbs=Still()))
    n = len(learn.dls.train)
    assert [o is opt for o in seen]==[True]*n and [g['noted'] for g in opt.param_groups]==[n]*3
    assert all(torch.equal(p, before[name]) for name,p in learn.model.named_parameters() if p.ndim<2), "biases and norms do not decay"

def test_losses_with_parameters_keep_their_optimizer(bert, in_tmp):
    "when weights are loaded: those of a loss are no part of the model"
    loss = nn.Linear(3, 3)
    learn = learner('single', bert, path=in_tmp, splitter=lambda m: [list(m.parameters()), list(loss.parameters())])
    quiet(lambda: learn.fit(1, 1e-3))
    opt = learn.opt
    learn.save('w', with_opt=False)
    learn.load('w', with_opt=False)
    assert learn.opt is opt

def test_a_split_without_a_seed_follows_the_random_state(bert):
    def rows():
        set_seed(1)
        learn = sequence_classification_learner(FRAMES['single'], bert, bs=BS, seed=None)
        return learn.dls.valid_ds.items.numbers.tolist(),weights(learn)
    (a,v),(b,w) = rows(),rows()
    assert a==b and apart(v, w)==0
    assert {tuple(sequence_classification_learner(FRAMES['single'], bert, bs=BS, seed=None).dls.valid_ds.items.numbers) for _ in range(3)}!={tuple(a)}

# --- the finder

class Boom(Callback):
    def __init__(self, at): self.at,self.n = at,0
    def after_batch(self):
        self.n += 1
        if self.n==self.at: raise RuntimeError('boom')

class Missing(Callback):
    def before_fit(self): [][0]

def test_an_error_before_the_finder_begins_is_its_own(bert):
    learn = learner('single', bert)
    with pytest.raises(IndexError, match='list index out of range'), learn.added_cbs(Missing()): quiet(lambda: learn.lr_find(show_plot=False))

def test_an_interrupted_finder_leaves_optimizer_and_table(bert, in_tmp):
    learn = learner('single', bert)
    quiet(lambda: learn.fit(1, 1e-3))
    before,table = deepcopy(learn.opt.state_dict()),deepcopy(learn.recorder.values)
    with pytest.raises(RuntimeError, match='boom'), learn.added_cbs(Boom(4)): quiet(lambda: learn.lr_find(num_it=10, show_plot=False))
    now = learn.opt.state_dict()
    assert now['state'].keys()==before['state'].keys() and len(before['state'])
    for k,s in before['state'].items(): torch.testing.assert_close(now['state'][k]['exp_avg'], s['exp_avg'])
    assert learn.recorder.values==table
    quiet(lambda: learn.lr_find(num_it=10, show_plot=False))
    assert learn.recorder.values==table and len(learn.recorder.losses)
    assert learn.save_pretrained('f') and 'null' not in Path('f/blurlike.json').read_text().split('"epochs"')[1][:12]

# --- rates

@pytest.mark.parametrize('call', first(['fit_one_cycle','fine_tune','fit','fit_linear','fit_flat_cos'], 2))
@pytest.mark.parametrize('lr', [np.float32(1e-3), np.array(1e-3), torch.tensor(1e-3)], ids=['numpy','array','torch'])
def test_rates_of_numpy_and_torch(lr, call, bert):
    learn = learner('single', bert)
    quiet(lambda: getattr(learn, call)(1, lr))
    assert learn.recorder.values

@pytest.mark.parametrize('call', ['fit','fit_one_cycle','fit_linear','fit_flat_cos','fine_tune'])
@pytest.mark.parametrize('lr,match', [(-1e-3, 'at least 0'), (float('nan'), 'at least 0'), (float('inf'), 'at least 0')])
def test_rates_that_are_none(lr, match, call, bert):
    learn = learner('single', bert)
    before = weights(learn)
    with pytest.raises(ValueError, match=f'lr=.*{match}'): quiet(lambda: getattr(learn, call)(1, lr))
    assert apart(before, weights(learn))==0

@pytest.mark.parametrize('call,given,told', [('fit_one_cycle', dict(n_epoch=1, lr=1e-3), r'fit_one_cycle takes no lr=; did you mean lr_max=\? \(it takes n_epoch, lr_max'), ('fine_tune', dict(epochs=1, lr=1e-3), 'fine_tune takes no lr=; did you mean base_lr='),
    ('fit_one_cycle', dict(n_epochs=1), 'did you mean n_epoch='), ('fit', {}, "fit: missing a required argument: 'n_epoch'"), ('fit_flat_cos', dict(n_epoch=1, cb=[]), 'did you mean cbs='),
    *[(call, {epochs:1, 'learning_rate':1e-3}, f'takes no learning_rate=: did you mean {rate}=') for call,epochs,rate in (('fit','n_epoch','lr'), ('fit_one_cycle','n_epoch','lr_max'), ('fit_linear','n_epoch','lr_max'), ('fine_tune','epochs','base_lr'))],
    ('fit_linear', dict(n_epoch=1, lr=1e-3), 'did you mean lr_max='), ('fine_tune', dict(num_train_epochs=1), 'did you mean epochs=')])
def test_arguments_that_a_fit_does_not_take(call, given, told, bert):
    with pytest.raises(TypeError, match=told): getattr(learner('single', bert), call)(**given)

def test_epochs_and_rate_are_swapped(bert, capsys):
    learn = learner('single', bert)
    for call in ('fit','fit_one_cycle','fit_linear','fit_flat_cos','fit_sgdr','fine_tune'):
        with pytest.raises(ValueError, match=f'{call}: [a-z_]+=0.0001: are epochs and rate swapped'): getattr(learn, call)(1e-4, 1)
    with pytest.raises(ValueError, match='n_epoch=1.5: a whole number'): learn.fit(1.5)
    assert capsys.readouterr().out==''

class OfTrainer(transformers.TrainerCallback): pass

def test_callbacks_of_the_trainer_are_refused_when_they_come(bert):
    learn = learner('single', bert)
    n = len(learn.cbs)
    for give in (lambda cb: learner('single', bert, cbs=cb), lambda cb: learn.fit(1, cbs=[cb]), lambda cb: learn.fit_linear(1, cbs=cb), learn.add_cb, lambda cb: learn.validate(cbs=cb)):
        for cb in (OfTrainer(), OfTrainer):
            with pytest.raises(TypeError, match="cbs: OfTrainer .*transformers' Trainer; fastai has .*EarlyStoppingCallback"): give(cb)
    assert len(learn.cbs)==n

def test_a_finder_needs_two_steps(bert):
    learn = learner('single', bert)
    for n in (0, 1, -3, 2.5, True):
        with pytest.raises(ValueError, match='num_it=.* a whole number of at least 2'): learn.lr_find(num_it=n, show_plot=False)
    few = learner('single', bert, bs=16) # three batches
    with pytest.raises(ValueError, match='too few for a suggestion: take num_it='), few.no_bar(): few.lr_find(num_it=2, show_plot=False)

@pytest.mark.parametrize('opt_func', [torch.optim.AdamW, partial(torch.optim.AdamW, eps=1e-6)])
def test_an_optimizer_of_torch_is_to_be_wrapped(opt_func, bert):
    with pytest.raises(TypeError, match=r'opt_func=AdamW .*partial\(OptimWrapper, opt=torch.optim.AdamW'): learner('single', bert, opt_func=opt_func)

def test_optimizers_that_cannot_train_a_transformer_here(bert):
    for opt in (torch.optim.LBFGS, torch.optim.SparseAdam):
        for opt_func in (opt, partial(OptimWrapper, opt=opt)): # a wrapper does not help
            with pytest.raises(TypeError, match=f'opt_func={opt.__name__}: it .*Take opt_func=adamw'): learner('single', bert, opt_func=opt_func)

@pytest.mark.parametrize('metric', [lambda eval_pred: 0., partial(lambda a, b, c: 0.), lambda *, preds, targs: 0.])
def test_a_metric_that_takes_other_arguments(metric, bert):
    with pytest.raises(TypeError, match=r'metrics: .*\(.*\) is called as .*\(preds, targs\)'): learner('single', bert, metrics=[metric])

def test_a_slice_without_an_end(bert):
    with pytest.raises(ValueError, match='its end is missing'): learner('single', bert).fit(1, slice(1e-3, None))
    with pytest.raises(ValueError, match='wd=-0.1: numbers of at least 0'): learner('single', bert).fit(1, 1e-3, wd=-.1)

# --- precision

@pytest.mark.parametrize('first', ['bf16','fp16'])
@pytest.mark.parametrize('then', ['to_fp16','to_bf16'])
def test_one_precision_at_a_time(first, then, bert):
    learn = learner('single', bert, precision=first)
    getattr(learn, then)()
    assert sum(cb.name=='mixed_precision' for cb in learn.cbs)==1
    assert str(learn.mixed_precision.amp_mode).lower().endswith(then[3:])
    quiet(lambda: learn.fit(1, 1e-3))
    assert not any(cb.name=='mixed_precision' for cb in learn.to_fp32().cbs)

def test_accumulated_gradients_of_tags_are_no_larger_than_those_of_one_batch(bert):
    learn,largest = tagger(bert),[]
    class Look(Callback):
        order = GradientAccumulation.order-.1 # just before a step may be skipped
        def after_backward(self): largest.append(max(p.grad.abs().max().item() for p in self.learn.model.parameters() if p.grad is not None))
    plain = tagger(bert)
    quiet(lambda: plain.fit(1, 0., cbs=Look()))
    bound = max(largest)
    largest.clear()
    quiet(lambda: learn.fit(1, 0., cbs=[Look(), GradientAccumulation(8)])) # a batch
    assert max(largest)<2*bound

# --- tokens

@pytest.mark.parametrize('loss,match', [(LabelSmoothingCrossEntropyFlat(eps=.2), r'CrossEntropyLossFlat\(label_smoothing=0.2\)'), (FocalLossFlat(), 'class_weights='), (nn.CrossEntropyLoss(), 'where the classes stand')])
def test_losses_that_would_count_padding(loss, match, bert):
    df = WORDS
    with pytest.raises(ValueError, match=f'padding has the target -100.*{match}'): token_classification_learner(df, bert, bs=8, loss_func=loss)
    learn = tagger(bert)
    with pytest.raises(ValueError, match=match): learn.loss_func = loss
    learn.loss_func = CrossEntropyLossFlat(label_smoothing=.2)
    losses = [learn.validate(dl=learn.dls.valid.new(bs=bs))[0] for bs in (1, 8)]
    assert losses[0]==pytest.approx(losses[1], rel=1e-5)
    if not isinstance(loss, nn.CrossEntropyLoss): learner('single', bert, loss_func=loss) # one target a row

def test_metrics_that_would_count_padding(bert):
    with pytest.raises(ValueError, match='accuracy of fastai.*padding too.*entity_metrics'): token_classification_learner(WORDS, bert, bs=8, metrics=[accuracy])
    with pytest.raises(ValueError, match='accuracy of fastai.*masked_lm_metrics'): masked_lm_learner(FRAMES['single'], bert, bs=8, metrics=accuracy)

def counted_alone(pred, targ, reduction='mean'): return nn.functional.cross_entropy(pred[targ!=-100], targ[targ!=-100], reduction=reduction)
LIKE = dict(flat=CrossEntropyLossFlat(), counted=counted_alone)

@pytest.mark.parametrize('name', ['flat','counted'])
@pytest.mark.parametrize('make', [tagger, gaps, lambda f: seq2seq_learner(FRAMES['summaries'], f, valid=.25, bs=5)], ids=['tags','gaps','summaries'])
def test_losses_of_rows_count_no_padding(make, name, checkpoints):
    "Whichever loss gives a number for each token: `get_preds`, `top_losses`, `report`, and fastai's own way through inputs and lists of batches."
    from blurlike.inspect.row_losses import judge_losses
    learn = make(checkpoints('bart' if make not in (tagger, gaps) else 'bert'))
    with learn.no_bar():
        want = learn.get_preds(with_loss=True)[-1]
        learn.loss_func = LIKE[name]
        torch.testing.assert_close(learn.get_preds(with_loss=True)[-1], want)
        torch.testing.assert_close(learn.get_preds(with_loss=True, with_input=True)[-1], want)
        torch.testing.assert_close(Interpretation.from_learner(learn).top_losses(3)[0], want.topk(3)[0])
        torch.testing.assert_close(torch.tensor(judge_losses(learn, learn.dls.valid).losses), want)
        if name=='flat': torch.testing.assert_close(torch.tensor(learn.report().results.losses), want)
        batches = list(learn.dls.valid.new(shuffle=False))
        torch.testing.assert_close(torch.cat([learn.get_preds(dl=[b], with_loss=True)[-1] for b in batches]).sort()[0], want.sort()[0])

def test_losses_of_rows_are_weighed_as_ours(bert):
    weight = torch.tensor([.5, 3., 2.])
    ours,flat = (token_classification_learner(WORDS, bert, bs=8, valid=.25, **k) for k in (dict(class_weights=weight), dict(loss_func=CrossEntropyLossFlat(weight=weight))))
    flat.model.load_state_dict(ours.model.state_dict())
    with ours.no_bar(), flat.no_bar(): torch.testing.assert_close(*(l.get_preds(with_loss=True)[-1] for l in (ours, flat)))

def test_losses_of_no_rows():
    with pytest.raises(ValueError, match='gives 7 numbers for 5 rows'): row_losses(torch.zeros(7), torch.zeros(5, 3).long())
    tags = torch.tensor([[-100,1,2],[-100,3,-100]]) # a loss of next tokens has no number for the first
    assert row_losses(torch.tensor([[1.,2.],[3.,torch.inf]]), tags).tolist()==[1.5,3.]
    numbers = torch.tensor([[1.,-100.],[2.,3.]]) # -100 is a number like others
    assert row_losses(torch.tensor([1.,3.,5.,7.]), numbers).tolist()==[2.,6.]

def test_metrics_of_ready_loaders_that_would_count_padding(bert):
    dls = tagger(bert).dls
    with pytest.raises(ValueError, match='accuracy of fastai.*padding too.*entity_metrics'): TransformersLearner(dls, bert, metrics=accuracy)

@pytest.mark.parametrize('arch', first(['bert','modernbert','roberta','distilbert'], 2))
def test_taggers_without_padding(arch, checkpoints):
    none = dict(hidden_dropout_prob=0., attention_probs_dropout_prob=0.)
    kwargs = dict(distilbert=dict(dropout=0., attention_dropout=0.), modernbert={}).get(arch, none)
    def made(**more): return token_classification_learner(WORDS, checkpoints(arch), bs=8, valid=.25, model_kwargs=kwargs, **more)
    a,b = made(),made(padding_free=True)
    for l in (a, b): quiet(lambda: l.fit(2, 1e-3))
    assert b.packing is not None and apart(weights(a), weights(b))<1e-4
    torch.testing.assert_close(a.get_preds()[0], b.get_preds()[0], atol=1e-4, rtol=1e-3)

# --- a run that is another one

def lora(**kwargs): return LoraConfig(**dict(target_modules=['query','value'], r=4, lora_alpha=8) | kwargs)
OTHERS = dict(smoothing=(dict(loss_func=CrossEntropyLossFlat(label_smoothing=.3)), dict(loss_func=CrossEntropyLossFlat()), 'loss'),
    focal=(dict(loss_func=FocalLossFlat(gamma=2.)), dict(loss_func=FocalLossFlat(gamma=0.)), 'loss'),
    fastai_smoothing=(dict(loss_func=LabelSmoothingCrossEntropyFlat(eps=.1)), dict(loss_func=LabelSmoothingCrossEntropyFlat(eps=.2)), 'loss'),
    lora_alpha=(dict(peft=lora()), dict(peft=lora(lora_alpha=64)), 'adapter default.lora_alpha'), lora_dropout=(dict(peft=lora()), dict(peft=lora(lora_dropout=.5)), 'lora_dropout'),
    order=({}, dict(dl_kwargs=dict(shuffle=False)), 'training shuffle'), megabatch=({}, dict(dl_kwargs=dict(megabatch=2)), 'training megabatch'))

@pytest.mark.parametrize('name', OTHERS)
def test_settings_of_another_run(name, bert):
    first,then,told = OTHERS[name]
    a,same,b = (run_facts(learner('single', bert, **deepcopy(k))) for k in (first, first, then))
    assert differences(a, same)==[] and any(told in d for d in differences(a, b))

def test_another_way_to_label(bert):
    a,b = (run_facts(token_classification_learner(WORDS, bert, bs=8, label_all_tokens=o)) for o in (False, True))
    assert differences(a, b)==['TokenCategorize.label_all_tokens (false, now true)']
    a,b = (run_facts(masked_lm_learner(FRAMES['single'], bert, bs=8, mlm_probability=o)) for o in (.15, .3))
    assert any('mlm_probability' in d for d in differences(a, b))

def test_a_run_with_ranger_goes_on(bert, in_tmp):
    def made(): return learner('single', bert, opt_func=ranger)
    whole = made()
    quiet(lambda: whole.fit(2, 1e-3, cbs=Checkpoints('whole')))
    learn = made()
    with pytest.raises(RuntimeError, match='boom'): quiet(lambda: learn.fit(2, 1e-3, cbs=[Checkpoints('run', steps=2), Cut('after_batch', 5, RuntimeError('boom'))]))
    again = made()
    again.add_cb(Cut('never', 1))
    quiet(lambda: again.resume('run'))
    assert apart(weights(whole), weights(again))==0

@pytest.mark.parametrize('loss', [nn.CrossEntropyLoss(reduction='none'), CrossEntropyLossFlat(reduction='none'), lambda p, y: nn.functional.cross_entropy(p, y, reduction='none')])
def test_a_loss_of_each_row_is_no_loss_to_train_by(loss, bert):
    learn = learner('single', bert, loss_func=loss)
    with pytest.raises(ValueError, match=r"a loss of shape \(5,\), and training needs one number"): quiet(lambda: learn.fit(1))
    learn.validate() # its mean

def of_a_batch(pred, targ): return nn.functional.cross_entropy(pred, targ)
class OfABatch(nn.Module):
    def forward(self, pred, targ): return nn.functional.cross_entropy(pred, targ)

@pytest.mark.parametrize('loss,name', [(of_a_batch,'of_a_batch'), (OfABatch(),'OfABatch')])
def test_a_loss_of_a_batch_tells_rows_not_apart(loss, name, bert):
    learn = learner('single', bert, loss_func=loss)
    quiet(lambda: learn.fit(1, 1e-3))
    for f in (lambda: learn.get_preds(with_loss=True), lambda: Interpretation.from_learner(learn)):
        with learn.no_bar(), pytest.raises(TypeError, match=f"{name} gives one for all: give it an argument reduction='mean'"): f()
    learn.loss_func = partial(nn.functional.cross_entropy, label_smoothing=.1)
    with learn.no_bar(): assert len(learn.get_preds(with_loss=True)[-1])==len(learn.dls.valid_ds)

@pytest.mark.parametrize('loss,match', [(lambda p, y: (of_a_batch(p, y), 1), 'gives a tuple'), (lambda p, y: 1., 'gives a float')])
def test_a_loss_that_is_no_tensor(loss, match, bert):
    learn = learner('single', bert, loss_func=loss)
    with pytest.raises(TypeError, match=f'<lambda> {match}.*a tensor with one number'): quiet(lambda: learn.fit(1))
    learn.loss_func = of_a_batch
    quiet(lambda: learn.fit(1, 1e-3))

@pytest.mark.parametrize('kind,metric,match', [('single', F1Score(), "f1_score.*average='binary'"), ('single', top_k_accuracy, 'top_k_accuracy.*out of range'),
    ('multi', accuracy, 'accuracy'), ('single', RocAucBinary(), 'roc_auc_score')])
def test_a_metric_that_cannot_score_is_told_before_the_epoch_is_over(kind, metric, match, bert):
    learn = learner(kind, bert, metrics=metric)
    class Count(Callback):
        n = 0
        def after_batch(self): self.n += 1
    count = Count()
    with pytest.raises(ValueError, match=rf'metrics: {match}'): quiet(lambda: learn.fit(3, cbs=count))
    assert count.n==1

def test_a_label_without_a_row_to_validate_is_named(bert):
    df = FRAMES['single']
    learn = learner('single', bert, df, metrics=RocAuc(), valid=[i for i,o in enumerate(df.label) if o!='fine'][:8])
    with pytest.raises(ValueError, match="roc_auc_score cannot score.*No validation row has the label 'fine'"): quiet(lambda: learn.fit(1))

def test_a_metric_that_fails_on_a_batch_alone_is_let_be(bert):
    "Two rows hold not all labels, the validation rows do; and to find that out draws no number that training would have drawn."
    def trained(metric):
        set_seed(1, reproducible=True)
        learn = learner('single', bert, bs=2, metrics=metric)
        quiet(lambda: learn.fit(1, 1e-3))
        return learn
    auc,plain = trained(RocAuc()),trained(accuracy)
    assert 0<=auc.recorder.values[0][2]<=1 and apart(weights(auc), weights(plain))==0

def test_a_metric_that_gives_a_number_a_label_is_let_be(bert):
    learn = learner('single', bert, metrics=F1Score(average=None))
    with learn.no_bar(), learn.no_logging(): quiet(lambda: learn.fit(1))
    assert learn.recorder.values[0][2].shape==(3,)

def test_metrics_that_no_epoch_asks_are_not_asked(bert, in_tmp):
    learn = learner('single', bert, metrics=F1Score())
    quiet(lambda: learn.lr_find(num_it=3, show_plot=False))
    learn = learner('single', bert, valid=None, metrics=F1Score())
    quiet(lambda: learn.fit(1))

def test_later_loaders_are_read_as_the_model_reads(bert):
    long = FRAMES['single'].assign(text=lambda d: d.text+' film'*80)
    learn,other = learner('single', bert),learner('single', bert, long)
    learn.dls.text_tfm.pad_to_multiple_of = 16 # as `compile=True` has it
    other.dls.text_tfm.max_length = 100
    with pytest.warns(UserWarning, match='max_length=100 is more than this model'): learn.dls = other.dls
    assert learn.dls.text_tfm.max_length==64 and learn.dls.text_tfm.pad_to_multiple_of==16
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)

# --- validations and errors in the middle of a fit

class Looks(Callback):
    "Validates, predicts and reports after each epoch, in the way that fastai's users do."
    order = 70
    def after_epoch(self):
        if self.learn.in_training_run: self.learn.validate(), self.learn.get_preds(), self.learn.report()

@pytest.mark.parametrize('kind', first(['single','answers','prompts'], 2))
@pytest.mark.parametrize('how', first([{}, dict(precision='bf16')]), ids=str)
def test_a_validation_between_epochs_changes_nothing(kind, how, bert, checkpoints):
    def fitted(*cbs):
        set_seed(3)
        learn = learner(kind, checkpoints('llama') if kind=='prompts' else bert, **how)
        quiet(lambda: learn.fit_one_cycle(2, 1e-2, cbs=[GradientAccumulation(12), *cbs]))
        return learn
    alone,looked = fitted(),fitted(Looks())
    assert apart(weights(alone), weights(looked))==0
    assert list(alone.recorder.hps['lr'])==list(looked.recorder.hps['lr'])!=[] and repr(alone.recorder.values)==repr(looked.recorder.values)

@pytest.mark.parametrize('event,order', [('before_fit',0), ('after_fit',0), ('after_fit',60)])
def test_a_validation_as_a_fit_begins_or_ends(event, order, bert):
    def fitted(*cbs):
        set_seed(3)
        learn = learner('single', bert, precision='bf16')
        quiet(lambda: learn.fit(1, 1e-3, cbs=cbs))
        return weights(learn)
    def look(self):
        if '_kept' not in vars(self.learn): self.learn.validate()
    assert apart(fitted(), fitted(type('LooksOnce', (Callback,), {event:look, 'order':order})()))==0

@pytest.mark.parametrize('event,error', [('before_batch',KeyboardInterrupt), ('after_pred',KeyboardInterrupt), ('after_pred',CancelBatchException), ('after_loss',KeyboardInterrupt)])
def test_half_precision_ends_with_the_batch(event, error, bert):
    learn = learner('single', bert, precision='bf16')
    def stop(self): raise error
    cb = type('Stops', (Callback,), {event:stop, 'order':5 if event=='after_loss' else 20})()
    try: quiet(lambda: learn.fit(1, 1e-3, cbs=cb))
    except KeyboardInterrupt: pass
    assert not torch.is_autocast_enabled('cpu') and nn.Linear(2, 2)(torch.ones(1, 2)).dtype==torch.float32

def test_half_precision_ends_with_predictions_that_are_no_numbers(bert):
    learn = learner('single', bert, precision='bf16')
    with torch.no_grad(): learn.model.classifier.weight[0,0] = torch.nan
    with pytest.raises(ValueError, match='nan'): quiet(learn.get_preds)
    assert not torch.is_autocast_enabled('cpu')

@pytest.mark.parametrize('call,args,said', [('fit_one_cycle', (1, '1e-4'), "fit_one_cycle: lr_max='1e-4' is text, a number is expected"), ('fit', (1, '3'), "fit: lr='3'"), ('fine_tune', ('2',), "fine_tune: epochs='2'"), ('fit_linear', ('2',), "n_epoch='2'")])
def test_numbers_as_text_are_told(call, args, said, bert):
    with pytest.raises(TypeError, match=said): getattr(learner('single', bert), call)(*args)
