"Class weights reach whatever loss there is, and weigh each row alike wherever it falls: compared with plain torch on all rows at once."
import json
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from fastai.callback.core import CancelStepException
from fastai.callback.fp16 import MixedPrecision
from fastai.metrics import Perplexity
from fastai.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat, FocalLoss, FocalLossFlat, L1LossFlat, LabelSmoothingCrossEntropy, LabelSmoothingCrossEntropyFlat, MSELossFlat
from runs import WORDS, gaps
from safetensors.torch import load_file
from sklearn import metrics as skm
from small import FRAMES, changed, close, first, learner, weights

from blurlike.all import (SGD, adamw, Callback, CancelBatchException, CategoryBlock, Checkpoints, SaveModelCallback, TerminateOnNaNCallback, Column, DataBlock, GradientAccumulation, Interpretation, MaskedLoss, ModelLoss, TokenLoss, TransformersLearner, TransformersTextBlock,
    held_weights, load_learner, load_tokenizer, nn, read_class_weights, scratch_checkpoint, sequence_classification_learner, token_classification_learner)
from blurlike.model.losses import CountedCrossEntropy

pytestmark = pytest.mark.usefixtures('in_tmp')
W,TAGS = torch.tensor([1.,5.,.2]),torch.tensor([.3,4.,1.]) # of bad, fine, good; of O, B-LONG, I-LONG
NO_DROPOUT = dict(model_kwargs=dict(hidden_dropout_prob=0., attention_probs_dropout_prob=0.))
def single(checkpoint, data=None, **kwargs): return learner('single', checkpoint, **(dict(class_weights=W) | NO_DROPOUT | kwargs)) if data is None else learner('single', checkpoint, data, **kwargs)
def tagger(checkpoint, **kwargs): return token_classification_learner(WORDS[:24], checkpoint, **(dict(bs=5, valid=.5, class_weights=TAGS) | NO_DROPOUT | kwargs))
def val_bs(n): return dict(dl_kwargs=dict(val_bs=n))
def block_dls(checkpoint): return DataBlock(blocks=(TransformersTextBlock(checkpoint), CategoryBlock), getters=[Column('text'), Column('label')]).dataloaders(FRAMES['single'], bs=5)
def quiet(learn, f):
    with learn.no_bar(), learn.no_logging(): return f(learn)

# Given to the user's loss

@pytest.mark.parametrize('loss_func', [FocalLossFlat(gamma=1.), CrossEntropyLossFlat(label_smoothing=.1), nn.CrossEntropyLoss(), FocalLoss()], ids=lambda o: type(o).__name__)
@pytest.mark.parametrize('ready', [False, True])
def test_own_loss_gets_the_weights(loss_func, ready, bert):
    learn = sequence_classification_learner(block_dls(bert), bert, class_weights=W, loss_func=loss_func) if ready else single(bert, loss_func=loss_func)
    x,y = torch.randn(7, 3),torch.tensor([0,1,2,2,1,0,1])
    said = {k:v for k,v in vars(getattr(loss_func, 'func', loss_func)).items() if k in ('gamma','label_smoothing')}
    theirs = type(loss_func)(weight=W, **said)
    close(learn.loss_func(x, y), theirs(x, y))
    assert held_weights(loss_func)==(None, None) # the user's object may serve another learner
    quiet(learn, lambda l: l.fit(1, 1e-3))

def test_own_loss_for_several_labels(bert):
    learn = learner('multi', bert, class_weights=[1,2,3], loss_func=BCEWithLogitsLossFlat(thresh=.3))
    x,y = torch.randn(4, 3),torch.randint(0, 2, (4, 3)).float()
    close(learn.loss_func(x, y), F.binary_cross_entropy_with_logits(x, y, pos_weight=torch.tensor([1.,2.,3.])))
    assert learn.loss_func.thresh==.3
    close(learn.loss_func.decodes(torch.tensor([.4])), [True])

def test_own_loss_for_tags(bert):
    learn = tagger(bert, loss_func=CrossEntropyLossFlat())
    x,y = torch.randn(2, 3, 3),torch.tensor([[0,1,-100],[1,-100,0]])
    close(learn.loss_func(x, y), F.cross_entropy(x.flatten(0, 1), y.flatten(), weight=TAGS))

@pytest.mark.parametrize('loss_func,said', [(ModelLoss(),'ModelLoss takes no class weights'), (F.cross_entropy,'cross_entropy takes no'), (MSELossFlat(),'MSELoss takes no'), (lambda p,t: p.sum(),'takes no'),
    (CrossEntropyLossFlat(weight=W),'weights of its own'), (LabelSmoothingCrossEntropyFlat(),r'CrossEntropyLossFlat\(label_smoothing=0.1\)')], ids=lambda o: o if isinstance(o, str) else type(o).__name__)
def test_weights_are_never_lost(loss_func, said, bert):
    for data in (None, block_dls(bert)):
        with pytest.raises(ValueError, match=said): single(bert, data, class_weights=W, loss_func=loss_func)
def test_weights_of_tags_are_never_lost(bert):
    for f in (ModelLoss(), TokenLoss(TAGS)):
        with pytest.raises(ValueError, match='class_weights'): tagger(bert, loss_func=f)

# Read

@pytest.mark.parametrize('given', [pd.Series([.2,1,5], index=['good','bad','fine']), pd.Series([1,5,.2]), W.double().requires_grad_(), W.numpy(), dict(fine=np.float64(5), good=.2, bad=1)], ids=lambda o: type(o).__name__)
def test_read(given): close(read_class_weights(given, ['bad','fine','good']), W)

@pytest.mark.parametrize('own', [torch.tensor([1.,5.,.2]), np.array([1,5,.2], dtype=np.float32)], ids=['tensor','array'])
def test_weights_stay_when_what_gave_them_changes(own):
    read = read_class_weights(own, ['bad','fine','good'])
    own[0] = 100.
    close(read, W)

@pytest.mark.parametrize('shape', [(6,3), (2,3,4)], ids=['rows','tokens'])
@pytest.mark.parametrize('weight', [None, W], ids=['alike','weighed'])
@pytest.mark.parametrize('smooth', [0., .1])
def test_soft_targets_count_as_in_pytorch(shape, weight, smooth):
    x,y = torch.randn(shape),torch.rand(shape).softmax(1)
    said = dict(weight=weight, label_smoothing=smooth)
    close(CountedCrossEntropy(**said)(x, y), nn.CrossEntropyLoss(**said)(x, y))
    close(CountedCrossEntropy(**said)(x, y.argmax(1)), nn.CrossEntropyLoss(**said)(x, y.argmax(1)))

@pytest.mark.parametrize('given,said', [([1,float('nan'),1],"nan for 'fine'"), ([1,2,float('inf')],"inf for 'good'"), ([-1,1,1],"-1.0 for 'bad'"), ([0,0,0],'0 for every label'), (dict(bad=1,fine=-2,good=1),"-2.0 for 'fine'"),
    (pd.Series([1,2,3], index=['bad','bad','good']),'twice'), (pd.Series([1,2,3], index=[4,5,6]),r'names \[4, 5, 6\]'), (['a','b','c'],'one number for each'), ([None,1,2],'one number for each'), ({1:2.},r'names \[1\]')], ids=str)
def test_refused(given, said, bert):
    with pytest.raises((ValueError, TypeError), match=said): single(bert, class_weights=given)
def test_refused_of_tags(bert):
    with pytest.raises(ValueError, match="nan for 'B-LONG'"): tagger(bert, class_weights=[1,float('nan'),1])

def test_numbers_are_not_texts():
    with pytest.raises(ValueError, match=r"\['0', '1'\], the labels are \[0, 1\]; a number is another label"): read_class_weights({'0':1., '1':2.}, [0,1])

def test_balanced_tags(bert):
    learn = tagger(bert, class_weights='balanced')
    tags = WORDS.tags[:24].iloc[learn.dls.train_ds.items.idxs].explode()
    close(learn.loss_func.func.weight, [len(tags)/(2*(tags==t).sum()) if (tags==t).any() else 0. for t in learn.dls.vocab])

def test_balanced_where_nobody_has_a_label(bert):
    df = FRAMES['single'].astype(dict(label=pd.CategoricalDtype(['bad','absent','fine','good'])))
    learn = learner('single', bert, df, class_weights='balanced')
    counts = df.label.iloc[learn.dls.train_ds.items.idxs].value_counts()
    close(learn.loss_func.func.weight, [len(learn.dls.train_ds)/(3*counts[v]) if counts[v] else 0. for v in learn.dls.vocab])
    assert np.isfinite(quiet(learn, lambda l: l.validate())[0])

def test_balanced_where_every_row_has_a_label_or_has_it_twice(bert):
    df = FRAMES['multi'].assign(tags=[['all','all']+list(t) for t in FRAMES['multi'].tags])
    learn = learner('multi', bert, df, class_weights='balanced')
    assert learn.loss_func.func.pos_weight[list(learn.dls.vocab).index('all')]==pytest.approx(1/36)
    head = learner('multi', bert, df).model.classifier.bias
    assert torch.isfinite(head).all()

def test_a_batch_of_labels_that_weigh_nothing(bert):
    learn = single(bert, class_weights=[0,1,0], bs=2, max_grad_norm=None)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        quiet(learn, lambda l: l.fit(1, 1e-3))
    assert all(torch.isfinite(p).all() for p in learn.model.parameters())

# The loss of the validation rows

LOSSES = dict(given=dict(class_weights=W), own=dict(class_weights=None, loss_func=CrossEntropyLossFlat(weight=W)), plain=dict(class_weights=None, loss_func=nn.CrossEntropyLoss(W)),
    function=dict(class_weights=None, loss_func=partial(F.cross_entropy, weight=W)), smooth=dict(class_weights=W, loss_func=CrossEntropyLossFlat(label_smoothing=.2)), focal=dict(class_weights=W, loss_func=FocalLossFlat()))
@pytest.mark.parametrize('name', first(LOSSES, 3))
def test_validation_does_not_depend_on_the_batches(name, bert):
    found = []
    for n in (2, 5, 80):
        learn = single(bert, **LOSSES[name], **val_bs(n))
        logits,y = quiet(learn, lambda l: l.get_preds(act=lambda x: x))
        want = FocalLoss(weight=W)(logits, y) if name=='focal' else F.cross_entropy(logits, y, weight=W, label_smoothing=.2*(name=='smooth'))
        close(quiet(learn, lambda l: l.validate())[0], want)
        found.append(want)
        quiet(learn, lambda l: l.fit(1, 0.))
        close(learn.recorder.values[-1][1], want)
    close(found, [found[0]]*3)

@pytest.mark.parametrize('kwargs', [{}, dict(class_weights=None, loss_func=CrossEntropyLossFlat(weight=TAGS)), dict(class_weights=None, loss_func=CrossEntropyLossFlat())], ids=['given','own','unweighted'])
def test_validation_of_tags_does_not_depend_on_the_batches(kwargs, bert):
    for n in (2, 7, 80):
        learn = tagger(bert, **kwargs, **val_bs(n))
        logits,y = zip(*(quiet(learn, lambda l: [(l.model(x), y) for x,y in l.dls.valid])))
        weight = held_weights(learn.loss_func)[1]
        want = F.cross_entropy(torch.cat([o.flatten(0, 1) for o in logits]), torch.cat([torch.as_tensor(o).flatten() for o in y]), weight=weight)
        learn.model.eval()
        close(quiet(learn, lambda l: l.validate())[0], want, 1e-4)

def test_validation_of_several_labels(bert):
    for n in (2, 5):
        learn = learner('multi', bert, class_weights=[1,2,30], **val_bs(n), **NO_DROPOUT)
        logits,y = quiet(learn, lambda l: l.get_preds(act=lambda x: x))
        close(quiet(learn, lambda l: l.validate())[0], F.binary_cross_entropy_with_logits(logits, y.float(), pos_weight=torch.tensor([1.,2.,30.])))

@pytest.mark.parametrize('loss', [LabelSmoothingCrossEntropyFlat(eps=.3, weight=W), LabelSmoothingCrossEntropy(eps=.3, weight=W)], ids=['flat','plain'])
def test_validation_of_smoothed_weights(loss, bert):
    "Of fastai's label smoothing one part is divided by weights, the other by rows."
    for n in (2, 5, 80):
        learn = single(bert, class_weights=None, loss_func=loss, **val_bs(n))
        logits,y = quiet(learn, lambda l: l.get_preds(act=lambda x: x))
        want = .3*-logits.log_softmax(1).mean()+.7*F.nll_loss(logits.log_softmax(1), y, weight=W)
        close(loss(logits, y), want)
        close(quiet(learn, lambda l: l.validate())[0], want)

@pytest.mark.parametrize('thresh', [.3, .7])
def test_one_threshold_for_several_labels(thresh, bert, in_tmp):
    learn = learner('multi', bert, loss_func=BCEWithLogitsLossFlat(thresh=thresh))
    with torch.no_grad(): learn.model.classifier.bias.copy_(torch.tensor([-.4,.4,1.5])) # about .4, .6, .8
    learn.save_pretrained('m')
    df = FRAMES['multi'].iloc[:9]
    probs,y = (o.numpy() for o in learn.get_preds(dl=learn.dls.test_dl(df, with_labels=True)))
    want = [{n for n,p in zip(learn.names, row) if p>thresh} for row in probs]
    assert len(set(map(len, want)))==1 and want[0]!={n for n,p in zip(learn.names, probs[0]) if p>.5}
    for l in (learn, TransformersLearner.from_pretrained('m')):
        dl = l.dls.test_dl(df, with_labels=True)
        assert [{d['label'] for d in p} for p in l.predict_batch(df)]==want
        assert [set(l.predict(t)[0]) for t in df.text[:2]]==want[:2]
        Path('p.jsonl').unlink(missing_ok=True)
        assert [{d['label'] for d in json.loads(line)} for line in open(l.predict_batch(df, out='p.jsonl'))]==want
        scores = dict(zip(['loss', *(m.name for m in l.metrics)], quiet(l, lambda l: l.validate(dl=dl))))
        close(scores['accuracy_multi'], ((probs>thresh)==y).mean())
        for average in ('micro','macro'): close(scores[f'f1_{average}'], skm.f1_score(y, probs>thresh, average=average, zero_division=0))
        assert f'{scores["f1_micro"]:.3f}' in repr(quiet(l, lambda l: l.report(dl)))

def test_losses_of_rows(bert):
    learn = single(bert)
    logits,y,losses = quiet(learn, lambda l: l.get_preds(act=lambda x: x, with_loss=True))
    close(losses, F.cross_entropy(logits, y, weight=W, reduction='none'))
    close(quiet(learn, Interpretation.from_learner).top_losses()[0], losses.sort(descending=True)[0])

# Training

class Steps(Callback):
    "What each step followed, and the rows that it was about"
    order = 15 # after `CountedTargets`
    def before_fit(self): self.rows,self.grads,self.now = [],[],[]
    def before_batch(self):
        if self.training: self.now.append((self.x, self.y))
    def before_step(self):
        self.grads.append([p.grad.clone() for p in self.model.parameters()])
        self.rows.append(self.now)
        self.now = []
    def after_cancel_step(self): self.now = []

def gradient(learn, rows, weight): # of the weighted sum over `rows`, at the weights of now, and what those weigh
    rows = [(x.as_subclass(torch.Tensor), y.as_subclass(torch.Tensor)) for x,y in rows]
    logits,y = torch.cat([learn.model(x).flatten(0, -2) for x,_ in rows]),torch.cat([y.flatten() for _,y in rows])
    loss = F.cross_entropy(logits, y, weight=weight, reduction='sum')
    return torch.autograd.grad(loss, list(learn.model.parameters()), allow_unused=True),float(weight[y[y!=-100]].sum())

def check_steps(learn, cb, weight):
    learn.model.train()
    seen = 0.
    for k,(rows,grads) in enumerate(zip(cb.rows, cb.grads), 1):
        want,n = gradient(learn, rows, weight)
        seen += n
        for g,w in zip(grads, want): close(g, 0. if w is None else w*k/seen, 2e-5)

class LeaveOut(Callback):
    "Some steps, as the scaler of half precision does where a gradient is infinite"
    order = MixedPrecision.order
    def before_step(self):
        if self.train_iter in (1, 2, 5): raise CancelStepException

def test_a_step_that_was_left_out_counts_no_targets(bert):
    learn = tagger(bert, bs=3, opt_func=SGD, max_grad_norm=None)
    cb = Steps()
    quiet(learn, lambda l: l.fit(2, 0., wd=0., cbs=[cb, LeaveOut()]))
    assert len(cb.grads)==learn.train_iter-3
    check_steps(learn, cb, TAGS)

@pytest.mark.parametrize('make,weight,kwargs', [(single,W,{}), (single,W,dict(class_weights=None, loss_func=CrossEntropyLossFlat(weight=W))), (tagger,TAGS,{})], ids=['texts','own','tags'])
@pytest.mark.parametrize('n_acc', [None, 12])
def test_a_step_is_that_of_one_big_batch(make, weight, kwargs, n_acc, bert):
    "Each row is worth what it weighs: within a step and from step to step"
    learn = make(bert, bs=3, opt_func=SGD, max_grad_norm=None, **kwargs)
    cb = Steps()
    quiet(learn, lambda l: l.fit(2, 0., wd=0., cbs=[cb]+([GradientAccumulation(n_acc)] if n_acc else [])))
    assert len(cb.grads)>1 and {len(r) for r in cb.rows}=={4 if n_acc else 1}
    check_steps(learn, cb, weight)

# Kept

@pytest.mark.parametrize('loss_func', [None, CrossEntropyLossFlat(label_smoothing=.3, ignore_index=-1), FocalLossFlat()], ids=lambda o: type(o).__name__)
def test_a_folder_gives_the_loss_back(loss_func, bert, in_tmp):
    learn = single(bert, loss_func=loss_func)
    x,y = torch.randn(7, 3),torch.tensor([0,1,2,2,1,0,1])
    folder = learn.save_pretrained('model')
    focal = isinstance(loss_func, FocalLossFlat)
    again = TransformersLearner.from_pretrained(folder, **dict(loss_func=FocalLossFlat()) if focal else {}) # a folder holds no code
    close(again.loss_func(x, y), learn.loss_func(x, y))
    learn.export()
    close(load_learner('export.pkl').loss_func(x, y), learn.loss_func(x, y))
    assert TransformersLearner.from_pretrained(folder, loss_func=CrossEntropyLossFlat(weight=2*W)).loss_func.func.weight.tolist()==(2*W).tolist()
    assert isinstance(TransformersLearner.from_pretrained(folder, loss_func=ModelLoss()).loss_func, ModelLoss)

def test_a_folder_keeps_the_threshold(bert):
    learn = learner('multi', bert, loss_func=BCEWithLogitsLossFlat(thresh=.1))
    assert TransformersLearner.from_pretrained(learn.save_pretrained('model')).loss_func.thresh==.1

def test_weights_of_elements_are_not_those_of_labels(bert):
    learn = learner('multi', bert, loss_func=BCEWithLogitsLossFlat(weight=W, flatten=False))
    with pytest.warns(UserWarning, match=r'BCEWithLogitsLossFlat\(weight=...\)'): again = TransformersLearner.from_pretrained(learn.save_pretrained('model'))
    assert held_weights(again.loss_func)==(None, None)

def test_a_folder_tells_losses_apart(bert):
    folder = learner('regression', bert, loss_func=L1LossFlat()).save_pretrained('model')
    with pytest.warns(UserWarning, match="'L1Loss'.*now has 'MSELoss'"): TransformersLearner.from_pretrained(folder)
    folder = learner('regression', bert).save_pretrained('model')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        TransformersLearner.from_pretrained(folder)

def test_masked_loss_counts():
    y = torch.tensor([[-100,2,-100],[1,-100,0]])
    assert MaskedLoss().count(y)==3 and TokenLoss(torch.tensor([1.,2.,4.])).count(y)==7

# Not a number

def spoil(learn):
    with torch.no_grad(): learn.model.classifier.bias[0] = float('nan')
    return learn

def test_a_diverged_model_replaces_no_save(bert, in_tmp):
    learn = single(bert)
    writers = dict(folder=lambda: learn.save_pretrained('model'), export=lambda: learn.export('model.pkl'), weights=lambda: learn.save('model'))
    paths = {k:f() for k,f in writers.items()}
    before = {p:p.read_bytes() for p in in_tmp.rglob('*') if p.is_file()}
    spoil(learn)
    for f in writers.values():
        with pytest.raises(ValueError, match='classifier.bias.*diverged'): f()
    assert {p:p.read_bytes() for p in in_tmp.rglob('*') if p.is_file()}==before and paths

class Diverge(Callback):
    "Spoils the weights in the second epoch"
    order = 20
    def after_batch(self):
        if self.training and self.learn.epoch==1: spoil(self.learn)

@pytest.mark.parametrize('cb', [lambda: SaveModelCallback(every_epoch=True, with_opt=True), lambda: Checkpoints('run', best='valid_loss')], ids=['SaveModelCallback','Checkpoints'])
def test_a_diverged_run_keeps_what_was_good(cb, bert, in_tmp):
    learn = single(bert, bs=12)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with pytest.raises(ValueError, match='diverged'): quiet(learn, lambda l: l.fit(3, 1e-3, cbs=[Diverge(), cb()]))
    saved = [load_file(p) if p.suffix=='.safetensors' else torch.load(p)['model'] for p in in_tmp.rglob('*') if p.name.endswith(('.safetensors','.pth'))]
    assert saved and all(torch.isfinite(t).all() for s in saved for t in s.values() if t.is_floating_point())

@pytest.mark.parametrize('kind', ['single','multi','regression'])
def test_nan_is_no_prediction(kind, bert):
    learn = spoil(learner(kind, bert))
    for f in (lambda: learn.predict('a text'), lambda: learn.predict_batch(['a text','another']), learn.get_preds, lambda: Interpretation.from_learner(learn).top_losses(2)):
        with pytest.raises(ValueError, match='no prediction.*classifier.bias'): f()
def test_nan_is_no_tag(bert):
    learn = spoil(tagger(bert))
    for f in (lambda: learn.predict_batch([['a','word']]), learn.get_preds):
        with pytest.raises(ValueError, match='no prediction'): f()
def test_nan_fills_no_gap(bert):
    learn = gaps(bert)
    with torch.no_grad(): next(learn.model.parameters()).fill_(float('nan'))
    with pytest.raises(ValueError, match='no prediction'): learn.get_preds()
def test_a_fit_goes_on_where_nan_is_predicted_within(bert):
    class Predict(Callback):
        def after_epoch(self): seen.append(spoil(self.learn).get_preds(inner=True)[0])
    learn,seen = single(bert, bs=12),[]
    quiet(learn, lambda l: l.fit(1, 1e-3, cbs=Predict()))
    assert seen[0].isnan().all()
def test_validation_tells_of_nan(bert):
    with pytest.warns(UserWarning, match='validation loss is nan: .*classifier.bias'): scores = spoil(single(bert)).validate()
    assert np.isnan(scores[0])
def test_an_epoch_tells_of_nan_in_its_validation(bert):
    class Spoil(Callback): # in the second epoch
        def after_loss(self):
            if self.epoch and not self.training: self.learn.loss = self.learn.loss*float('nan')
    learn = single(bert, bs=12)
    with pytest.warns(UserWarning, match='validation loss of epoch 1 is nan: its weights are sound') as told: quiet(learn, lambda l: l.fit(2, 1e-3, cbs=Spoil()))
    assert len([w for w in told if 'validation loss' in str(w.message)])==1
    assert np.isfinite(learn.recorder.values[0][1]) and np.isnan(learn.recorder.values[1][1])

def ruined(learn): # weights that are numbers, and too large for what comes of them
    with torch.no_grad():
        for p in learn.model.parameters(): p.fill_(1e30)
    return learn

@pytest.mark.parametrize('precision', [None,'bf16','fp16'])
def test_what_is_said_of_weights_that_are_too_large(precision, bert):
    "fp16 is named where it is on; else what is likely, and what to do."
    learn = ruined(single(bert, precision=precision))
    def said_of(f):
        with pytest.raises(ValueError) as e: quiet(learn, lambda l: f())
        return str(e.value)
    said = [said_of(lambda: learn.predict_batch(['film'])), said_of(learn.get_preds)]
    with pytest.warns(UserWarning, match='validation loss is nan') as told: learn.validate()
    said.append(next(str(w.message) for w in told if 'validation loss' in str(w.message)))
    for o in said:
        assert 'its weights are sound numbers' in o and ('fp16' in o)==(precision=='fp16')
        if precision!='fp16': assert 'most likely training has diverged' in o and 'make the learner anew, and train at a lower rate' in o

def test_a_fit_that_ruined_the_weights_says_so(bert):
    learn = single(bert, bs=4, valid=[0, 1])
    with pytest.raises(ValueError, match='the weights are still those before this batch. Look at its rows; if the steps before it were too large, '
        'load weights from before, or make the learner anew, and train at a lower rate') as e: quiet(ruined(learn), lambda l: l.fit(1))
    assert 'fp16' not in str(e.value) and 'bf16' not in str(e.value)

def test_a_loss_that_is_nan_ends_training_and_names_the_rows(bert):
    learn = single(bert, bs=12)
    with pytest.raises(ValueError, match=r'^rows (\d+, ){9}\d+, ... \(12 in all\): the training loss is nan in epoch 1, batch 1: so are its weights, e.g. classifier.bias'):
        quiet(learn, lambda l: l.fit(3, 1e-3, cbs=Diverge()))

class DivideRow(Callback):
    "The loss of one row of the data is infinite"
    def after_loss(self):
        if self.training and 7 in self.rows_now(): self.learn.loss = self.learn.loss_grad = self.learn.loss_grad/0.
    def rows_now(self): return self.dl.dataset.items.numbers[self.dl.now]

@pytest.mark.parametrize('on_gpu', [False, True])
def test_the_weights_are_those_before_the_batch_whose_loss_is_nan(on_gpu, bert, monkeypatch):
    learn,steps = single(bert, bs=4, valid=[0, 1]),[]
    if on_gpu: late(monkeypatch)
    class Keep(Callback):
        def before_backward(self): steps.append(weights(self.model))
    with pytest.raises(ValueError, match=r'^rows .*\b7\b.*: the training loss is inf .*those before this batch'): quiet(learn, lambda l: l.fit(1, 1e-3, cbs=[DivideRow(), Keep()]))
    assert all(torch.equal(p, steps[-1][n]) and torch.isfinite(p).all() for n,p in learn.model.named_parameters())
    learn.fit(1, 1e-3)

def test_other_optimizers_take_the_step_before_a_gpu_can_be_asked(bert, monkeypatch):
    learn = single(bert, bs=4, valid=[0, 1], opt_func=SGD)
    late(monkeypatch)
    with pytest.raises(ValueError, match=r'^rows .*\b7\b.*: the training loss is inf .*so are its weights'): quiet(learn, lambda l: l.fit(1, 1e-3, cbs=DivideRow()))

def late(monkeypatch): # the loss is looked at as it is on a GPU
    monkeypatch.setattr(TransformersLearner, '_is_asked_late', lambda self: True)

@pytest.mark.parametrize('on_gpu', [False, True])
def test_a_batch_that_a_callback_skips_ends_nothing(on_gpu, bert, monkeypatch):
    class Skip(Callback):
        def after_loss(self):
            if self.training and not torch.isfinite(self.loss): raise CancelBatchException
    learn = single(bert, bs=4, valid=[0, 1])
    if on_gpu: late(monkeypatch)
    quiet(learn, lambda l: l.fit(2, 1e-3, cbs=[DivideRow(), Skip()]))
    assert len(learn.recorder.losses)==2*len(learn.dls.train) and all(torch.isfinite(p).all() for p in learn.model.parameters())

class OddGradient(Callback):
    "The loss of one row is right, what goes backward from it is not"
    order = -100
    def after_loss(self):
        if self.training and 7 in self.dl.dataset.items.numbers[self.dl.now]: self.learn.loss_grad = self.learn.loss_grad*float('nan')

@pytest.mark.parametrize('on_gpu', [False, True])
def test_a_gradient_that_is_nan_ends_training_before_the_weights_are(on_gpu, bert, monkeypatch):
    learn = single(bert, bs=4, valid=[0, 1])
    if on_gpu: late(monkeypatch)
    with pytest.raises(ValueError, match=r'^rows .*\b7\b.*: the training loss is nan .*those before this batch'): quiet(learn, lambda l: l.fit(1, 1e-3, cbs=OddGradient()))
    assert all(torch.isfinite(p).all() for p in learn.model.parameters())

@pytest.mark.parametrize('on_gpu', [False, True])
def test_a_batch_whose_loss_is_nan_is_in_no_checkpoint_and_no_record(on_gpu, bert, monkeypatch):
    if on_gpu: late(monkeypatch)
    def failed(learn, call):
        with pytest.raises(ValueError, match=r'^rows .*\b7\b.*: the training loss is inf'): quiet(learn, call)
        assert np.isfinite(learn.recorder.losses).all()
    failed(single(bert, bs=4, valid=[0, 1]), lambda l: l.fit(1, 1e-3, cbs=[DivideRow(), Checkpoints('run', steps=1)]))
    failed(single(bert, bs=4, valid=[0, 1]), lambda l: l.resume('run', cbs=DivideRow())) # once more, in the same batch

def test_a_batch_left_out_of_another_fit_ends_nothing(bert):
    class Once(Callback):
        def __init__(self, i): self.i = i
        def after_loss(self):
            if self.training and self.iter==self.i: self.learn.loss = self.learn.loss_grad = self.learn.loss_grad/0.
    learn = single(bert, bs=4, valid=[0, 1], precision='fp16')
    for i in (3, 4):
        with pytest.warns(UserWarning, match=f'epoch 0, batch {i}.*left out of training'): quiet(learn, lambda l: l.fit(1, 1e-3, cbs=Once(i)))

def test_rows_that_were_accumulated_are_no_part_of_the_next_fit(bert):
    learn = single(bert, bs=4, valid=[0, 1])
    quiet(learn, lambda l: l.fit(1, 1e-3, cbs=GradientAccumulation(24))) # of 46 rows
    assert all(p.grad is None for p in learn.model.parameters())

def test_an_accumulation_that_never_steps_is_refused(bert):
    learn = single(bert, bs=4, valid=[0, 1])
    with pytest.raises(ValueError, match=r'GradientAccumulation\(64\) steps once in 64 rows, and this fit reads 46'): learn.fit(1, 1e-3, cbs=GradientAccumulation(64))
    quiet(learn, lambda l: l.fit(2, 1e-3, cbs=GradientAccumulation(64)))

def test_a_step_that_the_scaler_leaves_out_ends_nothing(bert):
    learn = single(bert, bs=4, valid=[0, 1], precision='fp16')
    with pytest.warns(UserWarning, match=r'training loss is inf in epoch 0.*left out of training'): quiet(learn, lambda l: l.fit(1, 1e-3, cbs=DivideRow()))
    assert len(learn.recorder.losses)==len(learn.dls.train) and all(torch.isfinite(p).all() for p in learn.model.parameters())

def test_two_such_steps_in_a_row_end_training(bert):
    class Always(Callback):
        def after_loss(self):
            if self.training and self.iter>2: self.learn.loss = self.learn.loss_grad = self.learn.loss_grad/0.
    learn = single(bert, bs=4, valid=[0, 1], precision='fp16')
    with pytest.warns(UserWarning, match='epoch 0, batch 3'), pytest.raises(ValueError, match='training loss is inf in epoch 0, batch 4'): quiet(learn, lambda l: l.fit(1, 1e-3, cbs=Always()))
    assert all(torch.isfinite(p).all() for p in learn.model.parameters())

def test_fastais_callback_ends_a_fit_without_an_error(bert):
    learn = single(bert, bs=4, valid=[0, 1])
    quiet(learn, lambda l: l.fit(3, 1e-3, cbs=[DivideRow(), TerminateOnNaNCallback()]))
    assert learn.epoch==0 and all(torch.isfinite(p).all() for p in learn.model.parameters())

@pytest.mark.parametrize('opt_func', [adamw, SGD], ids=['adamw','sgd'])
def test_an_infinite_loss_with_a_sound_gradient(opt_func, bert, monkeypatch):
    "Ours leaves the step out; where another took one, the weights are not called those before it."
    class Add(Callback):
        def after_loss(self): self.learn.loss = self.learn.loss_grad = self.learn.loss_grad+torch.inf
    learn = single(bert, bs=4, valid=[0, 1], opt_func=opt_func)
    before = weights(learn.model)
    late(monkeypatch)
    with pytest.raises(ValueError, match='training loss is inf') as e: quiet(learn, lambda l: l.fit(1, 1e-3, cbs=Add()))
    is_same = not changed(learn.model, before)
    assert is_same==(opt_func is adamw) and ('those before' if is_same else 'its weights are sound') in str(e.value)

def test_what_an_earlier_search_saw_ends_no_fit(bert):
    learn = single(bert, bs=4, valid=[0, 1])
    with learn.no_bar(), learn.no_logging(): learn.lr_find(end_lr=1e9, stop_div=False, show_plot=False)
    assert not torch.isfinite(learn.smooth_loss)
    learn.remove_cb(learn.recorder)
    quiet(learn, lambda l: l.fit(1, 1e-3))

def test_a_list_follows_the_vocab_that_was_given(bert):
    "the checkpoint has an order of its own"
    df = FRAMES['single']
    learner('single', bert, vocab=['good','bad','fine']).save_pretrained('other')
    def by_label(learn): return dict(zip(learn.names, learn.loss_func.func.weight.tolist()))
    assert by_label(learner('single', 'other', vocab=['bad','fine','good'], class_weights=[1.,2.,3.]))==dict(bad=1., fine=2., good=3.)
    with pytest.warns(UserWarning, match="order of its own.*'good' 1, 'bad' 2, 'fine' 3"): told = learner('single', 'other', class_weights=[1.,2.,3.])
    assert by_label(told)==dict(good=1., bad=2., fine=3.)
    hot = pd.get_dummies(df.label).assign(text=df.text)
    several = sequence_classification_learner(hot, bert, label=['good','bad','fine'])
    several.save_pretrained('several')
    weighed = sequence_classification_learner(hot, 'several', label=['bad','fine','good'], class_weights=[1.,2.,3.])
    assert dict(zip(weighed.names, weighed.loss_func.func.pos_weight.tolist()))==dict(bad=1., fine=2., good=3.)

@pytest.mark.parametrize('bs', [1, 5])
def test_rows_that_a_loss_ignores_do_not_count(bs, bert):
    "a batch of them alone has no loss: PyTorch says nan"
    learn = learner('single', bert, bs=bs, loss_func=CrossEntropyLossFlat(ignore_index=0))
    probs,y = learn.get_preds()
    want = F.nll_loss(probs.log(), torch.as_tensor(y), ignore_index=0)
    assert learn.validate()[0]==pytest.approx(want.item(), rel=1e-5)

def test_perplexity_is_that_of_the_loss_beside_it(bert):
    learn = learner('single', bert, class_weights=[1.,5.,30.], metrics=Perplexity(), bs=5)
    loss,perplexity = learn.validate()
    assert perplexity==pytest.approx(np.exp(loss), rel=1e-5)

def test_a_tokenizer_of_another_checkpoint_is_told(checkpoints, tmp_path):
    own,other = checkpoints('bert'),scratch_checkpoint(['rain fell on old roofs'], num_hidden_layers=1)
    with pytest.warns(UserWarning, match='reads other words than those that it learnt'): sequence_classification_learner(FRAMES['single'], own, tokenizer=other)
    load_tokenizer(own).save_pretrained(tmp_path/'same')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        sequence_classification_learner(FRAMES['single'], own, tokenizer=tmp_path/'same')
