"ROC-AUC, PR-AUC, Matthews' correlation and balanced accuracy: scikit-learn's, over all rows; and those of fastai that work."
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from fastai.losses import BCEWithLogitsLossFlat
from fastai.metrics import APScoreBinary, APScoreMulti, BalancedAccuracy, CohenKappa, F1Score, HammingLossMulti, JaccardMulti, MatthewsCorrCoef, R2Score, RocAuc, RocAucBinary, RocAucMulti, accuracy, mae, skm_to_fastai, top_k_accuracy
from sklearn import metrics as skm

from blurlike.all import balanced_accuracy, f1_multi, lower_is_better, mcc, pr_auc, roc_auc, token_classification_learner
from blurlike.model.decisions import with_decisions
from small import BS, FRAMES, TEXTS, learner

OURS = roc_auc, pr_auc, mcc, balanced_accuracy

def measured(learn, df=None):
    if df is not None and 'text' in df: df = df.drop_duplicates('text') # ties are told apart by rounding
    dl = learn.dls.valid if df is None else learn.dls.test_dl(df, with_labels=True)
    with learn.no_bar(), learn.no_logging():
        values = dict(zip([m.name for m in learn.metrics], learn.validate(dl=dl)[1:]))
        return values,*(o.numpy() for o in learn.get_preds(dl=dl))

def made(kind, checkpoint, metrics, **kwargs):
    "A learner that was taught nothing, and says all labels in turn."
    learn = learner(kind, checkpoint, metrics=metrics, **kwargs)
    head = learn.model.classifier
    with torch.no_grad(), learn.no_bar():
        logits = learn.get_preds(dl=learn.dls.test_dl(FRAMES[kind]), act=lambda x: x)[0]
        spread = (logits-logits.mean(0)).std()/2
        head.bias.sub_(logits.mean(0)).div_(spread)
        head.weight.div_(spread)
    return learn

def test_several_labels(bert):
    learn = made('multi', bert, [o() for o in OURS]+[roc_auc('micro'), RocAucMulti(), APScoreMulti(), HammingLossMulti(), JaccardMulti()], loss_func=BCEWithLogitsLossFlat(thresh=.3))
    values,p,y = measured(learn, FRAMES['multi'])
    given = p>.3
    assert values['mcc']==pytest.approx(np.mean([skm.matthews_corrcoef(*o) for o in zip(y.T, given.T)])) and values['mcc']!=0
    assert values['balanced_accuracy']==pytest.approx(np.mean([skm.balanced_accuracy_score(*o) for o in zip(y.T, given.T)]))
    assert values['roc_auc']==pytest.approx(skm.roc_auc_score(y, p, average='micro')) # the last of that name
    assert values['pr_auc']==pytest.approx(skm.average_precision_score(y, p)) and float(values['average_precision_score'])==pytest.approx(skm.average_precision_score(y, p))
    assert values['roc_auc_score']==pytest.approx(skm.roc_auc_score(y, p)) and values['hamming_loss']==pytest.approx(((p>.5)!=y).mean())
    assert values['roc_auc_score']!=values['roc_auc']
    for m in learn.metrics[:4]: assert not lower_is_better(m.name)

def test_one_label_that_a_row_has_or_has_not(bert):
    df = FRAMES['single'].assign(label=(FRAMES['single'].label=='good').astype(int))
    kwargs = dict(problem_type='multi_label_classification', loss_func=BCEWithLogitsLossFlat(thresh=.3))
    learn = made('single', bert, [o() for o in OURS]+[f1_multi(a) for a in ('micro','macro','weighted')], data=df, **kwargs)
    values,p,y = measured(learn, df)
    truth,given,likely = y[:,0]>0,p[:,0]>.3,p[:,0]
    assert 0<given.sum()<len(given) and learn.names==['label']
    f1 = skm.f1_score(truth, given)
    assert [values[f'f1_{a}'] for a in ('micro','macro','weighted')]==pytest.approx([f1]*3) and 0<f1<1
    assert values['mcc']==pytest.approx(skm.matthews_corrcoef(truth, given)) and values['balanced_accuracy']==pytest.approx(skm.balanced_accuracy_score(truth, given))
    assert values['roc_auc']==pytest.approx(skm.roc_auc_score(truth, likely)) and values['pr_auc']==pytest.approx(skm.average_precision_score(truth, likely))
    assert learn.report(df.drop_duplicates('text')).scores.score.f1_micro==pytest.approx(f1)
    best = learn.tune_threshold(dl=learn.dls.test_dl(df, with_labels=True))
    cut = best.threshold.label
    preds,targs = (o[:,0].numpy() for o in learn.get_preds(dl=learn.dls.test_dl(df, with_labels=True)))
    at_cut = skm.f1_score(targs>0, preds>cut)
    assert best['f1 tuned'].label==pytest.approx(at_cut) and at_cut>=best['f1 at 0.5'].label==pytest.approx(skm.f1_score(targs>0, preds>.5))


def test_three_labels(bert):
    theirs = [RocAuc(), MatthewsCorrCoef(), BalancedAccuracy(), CohenKappa(), F1Score(average='macro'), partial(top_k_accuracy, k=2)]
    learn = made('single', bert, [o() for o in OURS]+theirs)
    values,p,y = measured(learn, FRAMES['single'])
    guess = p.argmax(1)
    assert values['roc_auc']==pytest.approx(skm.roc_auc_score(y, p, multi_class='ovr')) and values['roc_auc_score']==pytest.approx(skm.roc_auc_score(y, p, multi_class='ovr'))
    assert values['pr_auc']==pytest.approx(skm.average_precision_score(y, p))
    assert values['mcc']==pytest.approx(skm.matthews_corrcoef(y, guess)) and values['matthews_corrcoef']==pytest.approx(skm.matthews_corrcoef(y, guess)) and values['mcc']!=0
    assert values['balanced_accuracy']==pytest.approx(skm.balanced_accuracy_score(y, guess)) and values['balanced_accuracy_score']==pytest.approx(skm.balanced_accuracy_score(y, guess))
    assert float(values['top_k_accuracy'])==pytest.approx(skm.top_k_accuracy_score(y, p, k=2), abs=1e-6) # its batches are weighed by their rows
    assert values['cohen_kappa_score']==pytest.approx(skm.cohen_kappa_score(y, guess))

def test_a_label_that_no_row_has(bert):
    learn = made('single', bert, [o() for o in OURS])
    values,p,y = measured(learn, FRAMES['single'][FRAMES['single'].label!='good'])
    assert values['roc_auc']==pytest.approx(np.mean([skm.roc_auc_score(y==i, p[:,i]) for i in range(2)]))
    assert values['pr_auc']==pytest.approx(np.mean([skm.average_precision_score(y==i, p[:,i]) for i in range(2)]))
    assert values['balanced_accuracy']==pytest.approx(np.mean([(p[y==i].argmax(1)==i).mean() for i in range(2)]))
    alone,p,_ = measured(learn, FRAMES['single'][FRAMES['single'].label=='bad'])
    assert np.isnan(alone['roc_auc']) and alone['pr_auc']==1. and alone['balanced_accuracy']==pytest.approx((p.argmax(1)==0).mean())

@pytest.mark.parametrize('kind', ['single','multi'])
def test_calibrated_as_all_that_the_learner_says(kind, bert):
    learn = made(kind, bert, [o() for o in OURS])
    several = dict(thresh=[.3,.6,.5]) if kind=='multi' else {}
    learn.loss_func = with_decisions(learn.loss_func, scaling=dict(scale=[1.,2.,.5], bias=[1.,-1.,.7]), **several)
    values,p,y = measured(learn, FRAMES[kind])
    if kind=='single':
        assert values['roc_auc']==pytest.approx(skm.roc_auc_score(y, p, multi_class='ovr')) and values['mcc']==pytest.approx(skm.matthews_corrcoef(y, p.argmax(1)))
        return
    given = p>np.array(several['thresh'])
    assert values['mcc']==pytest.approx(np.mean([skm.matthews_corrcoef(*o) for o in zip(y.T, given.T)]))
    assert values['balanced_accuracy']==pytest.approx(np.mean([skm.balanced_accuracy_score(*o) for o in zip(y.T, given.T)]))

def test_two_labels(bert):
    learn = made('pair', bert, [o() for o in OURS]+[RocAucBinary(), APScoreBinary()])
    values,p,y = measured(learn, FRAMES['pair'])
    assert values['roc_auc']==pytest.approx(skm.roc_auc_score(y, p[:,1])) and values['roc_auc_score']==pytest.approx(skm.roc_auc_score(y, p[:,1]))
    assert values['pr_auc']==pytest.approx(skm.average_precision_score(y, p[:,1])) and values['average_precision_score']==pytest.approx(skm.average_precision_score(y, p[:,1]))

def test_they_train_and_what_is_none_of_their_targets(bert, in_tmp):
    learn = learner('single', bert, metrics=roc_auc())
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 1e-3)
    assert learn.recorder.metric_names[3]=='roc_auc' and len(learn.recorder.values)==2
    learn.export('l.pkl') # no function of theirs is local
    with pytest.raises(TypeError, match='for labels of rows'): measured(learner('regression', bert, metrics=mcc()))
    numbers = learner('regression', bert, FRAMES['regression'].assign(other=lambda d: -d.score), label=['score','other'], metrics=roc_auc())
    with pytest.raises(TypeError, match='targets are numbers'): measured(numbers)
    with pytest.raises(TypeError, match='that all rows share'): measured(learner('choice', bert, metrics=roc_auc()), FRAMES['choice'])
    tagged = pd.DataFrame(dict(tokens=[t.split() for t in TEXTS], tags=[['B-X']+['O']*(len(t.split())-1) for t in TEXTS]))
    tagger = token_classification_learner(tagged, bert, bs=BS, metrics=roc_auc())
    with pytest.raises(TypeError, match='for labels of rows'): measured(tagger)

@pytest.mark.parametrize('metric', [skm.accuracy_score, skm.r2_score, partial(skm.f1_score, average='macro')])
def test_functions_of_scikit_learn_are_not_called_with_a_batch(metric, bert):
    with pytest.raises(ValueError, match=r'pass skm_to_fastai\('): learner('single', bert, metrics=metric)

def test_scores_of_probabilities_get_probabilities(bert):
    for f,said in ((skm.roc_auc_score, r'pass roc_auc\(\)$'), (skm.average_precision_score, r'pass pr_auc\(\)$'), (skm.log_loss, "activation='binarysoftmax'")):
        for metric in (f, partial(f, sample_weight=None), skm_to_fastai(f)): # the last would get the likeliest labels
            with pytest.raises(ValueError, match=said): learner('single', bert, metrics=metric)
    of_two = [skm.log_loss, skm.brier_score_loss, skm.roc_auc_score] # as the messages say
    values,p,y = measured(made('pair', bert, [skm_to_fastai(f, activation='binarysoftmax') for f in of_two]), FRAMES['pair'])
    assert [*values.values()]==pytest.approx([f(y, p[:,1]) for f in of_two], rel=1e-4)
    of_more = [skm.log_loss, skm.top_k_accuracy_score]
    values,p,y = measured(made('single', bert, [skm_to_fastai(f, activation='softmax', flatten=False) for f in of_more]), FRAMES['single'])
    assert [*values.values()]==pytest.approx([f(y, p) for f in of_more], rel=1e-4)
    ranking,zero_one = skm.label_ranking_loss,skm.zero_one_loss
    metrics = [skm_to_fastai(ranking, is_class=False, activation='sigmoid', flatten=False), skm_to_fastai(zero_one, thresh=.5, flatten=False)]
    values,p,y = measured(made('multi', bert, metrics), FRAMES['multi'])
    assert [*values.values()]==pytest.approx([ranking(y, p), zero_one(y, p>.5)])

@pytest.mark.parametrize('maker', [mcc, roc_auc, f1_multi, RocAuc, F1Score])
def test_brackets_that_were_forgotten(maker, bert):
    with pytest.raises(TypeError, match=rf'pass {maker.__name__}\(\)$'): learner('single', bert, metrics=[maker])

@pytest.mark.parametrize('label', ['score', ['score','other']])
def test_scores_of_labels_are_refused_for_numbers_before_the_epoch_ends(label, bert, in_tmp):
    df = FRAMES['regression'].assign(other=lambda d: -d.score)
    class NoEpoch(Callback):
        def before_validate(self): raise AssertionError('an epoch was trained')
    for metric in (accuracy, F1Score()):
        with pytest.raises(ValueError, match=r'cannot score .*Targets are numbers: take mae'):
            learn = learner('regression', bert, df, label=label, metrics=metric, cbs=NoEpoch())
            with learn.no_bar(): learn.fit(1)
    positive = df.assign(score=lambda d: abs(d.score), other=lambda d: abs(d.score)+1)
    theirs = [mae, R2Score(), skm_to_fastai(skm.mean_squared_error, is_class=False), skm_to_fastai(skm.mean_squared_log_error, is_class=False)]
    learn = learner('regression', bert, positive, label=label, metrics=theirs) # the last is for numbers that are positive
    with torch.no_grad(): learn.model.classifier.bias.fill_(9.)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-6)
    assert len(learn.recorder.values[0])==6

def test_averages_that_there_are_not():
    for f in (roc_auc, pr_auc):
        for wrong in ('x', None, 1):
            with pytest.raises(ValueError, match="average=.*'macro', 'weighted' or 'micro'"): f(wrong)
