"Decisions of a learner: thresholds, calibration and conformal sets are found in one pass, used wherever answers come out, and kept."
import json
import threading
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.learner import Learner
from fastai.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat
from sklearn import metrics as skm

from blurlike import cli
from blurlike.all import (COUNT_SCORES, Checkpoints, Interpretation, ModelLoss, SaveModelCallback, TransformersLearner, balanced_accuracy, best_cut, calibration_error, counts_at, set_decisions, decisions_of,
    export_onnx, fit_scaling, label_cuts, label_scores, load_learner, load_onnx, mcc, model_card, outdated_decisions, promised_quantile, read_facts, reliability, token_classification_learner,
    with_decisions)
from blurlike.model.decisions import scaled
from blurlike.predict import calibration
from blurlike.train.training_state import load_weights, save_weights
from small import CUES, FRAMES, SHARED, close, learner, table
from test_formats import same, write

pytestmark = pytest.mark.usefixtures('in_tmp')
MULTI = table('multi', 160)

def quiet(learn, f):
    with learn.no_bar(), learn.no_logging(): return f(learn)

def fitted(kind, checkpoint, data, **kwargs):
    learn = learner(kind, checkpoint, data, **dict(bs=16, valid=.5) | kwargs)
    quiet(learn, lambda l: l.fit(2, 5e-3))
    return learn

@pytest.fixture(scope='module')
def several(bert): return fitted('multi', bert, MULTI)

@pytest.fixture
def multi(several): # its decisions may be changed
    before = several.loss_func
    yield several
    vars(several)['loss_func'] = before # and no word of what is lost

def calls(learn, f): # how often the model is called, and what `f` gives
    n = []
    hook = learn.model.register_forward_hook(lambda *_: n.append(1))
    try: return f(),len(n)
    finally: hook.remove()

def labels(preds): return [{o['label'] for o in p} for p in preds]

# Thresholds

@pytest.mark.parametrize('seed', range(4))
def test_counts_and_the_best_cut(seed):
    rng = np.random.default_rng(seed)
    y,p = rng.random(40)<.3,np.round(rng.random(40), 1 if seed%2 else 6)
    cuts = np.array([.05,.3,.5,.777])
    for t,*counts in zip(cuts, *counts_at(y, p, cuts)): assert counts==[*map(int, [(y&(p>t)).sum(), (~y&(p>t)).sum(), (y&(p<=t)).sum(), (~y&(p<=t)).sum()])]
    theirs = dict(f1=skm.f1_score, f2=lambda a,b: skm.fbeta_score(a, b, beta=2), mcc=skm.matthews_corrcoef, balanced_accuracy=skm.balanced_accuracy_score)
    for name,score in theirs.items():
        best = max(score(y, p>=t) for t in np.unique(p)[1:])
        close(score(y, p>best_cut(y, p, COUNT_SCORES[name])), best)

def test_of_equally_good_cuts_the_one_nearest_to_a_half():
    given = np.array([False,False,True,True])
    for probs,cut in (([.1,.2,.6,.9], .5), ([.1,.2,.3,.9], .25), ([.1,.6,.7,.9], .65)): # between the second and the third all is right
        assert best_cut(given, np.array(probs), COUNT_SCORES['f1'])==pytest.approx(cut)

@pytest.mark.parametrize('n', [3_000, 20_000])
def test_the_best_cut_of_many_rows(n):
    rng = np.random.default_rng(n)
    p = (rng.random(n)*.3).astype(np.float32).astype(float)
    for y in (np.argsort(np.argsort(p))>=n-10, rng.random(n)<p**4, rng.random(n)<p): # ten that can be told apart, rare ones, frequent ones
        precision,recall,at = skm.precision_recall_curve(y, p)
        f1 = (2*precision*recall/np.maximum(precision+recall, 1e-12))[1:-1] # all but the cut that gives the label to all
        cut = best_cut(y, p, COUNT_SCORES['f1'])
        close(skm.f1_score(y, p>cut), f1.max())
        assert (p>cut).sum()==(p>=at[1:][f1.argmax()]).sum()
        shared = best_cut(np.stack([y, y], 1), np.stack([p, p], 1), COUNT_SCORES['f1'])
        assert shared==cut

def test_neighbouring_probabilities_are_told_apart():
    p = np.array([.1, .3, np.nextafter(np.float32(.3), np.float32(1)), .9], dtype=np.float32).astype(float) # no number of 32 bits lies between
    for given in ([0,0,1,1], [0,1,1,1], [0,0,0,1]):
        given = np.array(given, bool)
        assert ((p>best_cut(given, p, COUNT_SCORES['f1']))==given).all()

def test_rare_labels_share_a_threshold():
    rng = np.random.default_rng(0)
    y = np.stack([rng.random(200)<.4, np.arange(200)<3, np.zeros(200, bool)], 1)
    p = np.clip(y*.2+rng.random((200, 3))*.5, 0, 1)
    f1 = COUNT_SCORES['f1']
    cuts = label_cuts(y, p, f1)
    assert cuts[0]==best_cut(y[:,0], p[:,0], f1) and cuts[1]==best_cut(y[:,:2], p[:,:2], f1) and cuts[2]==.5
    assert label_cuts(y, p, f1, floor=1)[1]==best_cut(y[:,1], p[:,1], f1)
    assert len({*label_cuts(y, p, f1, per_label=False)})==1

def test_tuned_in_one_pass_and_used_everywhere(multi, capsys):
    rows = MULTI.iloc[multi.dls.valid_ds.items.idxs]
    probs,y = (o.numpy() for o in multi.get_preds())
    found,n = calls(multi, multi.tune_threshold)
    assert n==len(multi.dls.valid)
    cuts = np.array([multi.threshold[v] for v in multi.names])
    close(found.threshold[:3].to_numpy(), cuts)
    assert found.loc['mean','rows']==len(rows) and found.rows[:3].tolist()==y.sum(0).tolist()
    for column,told in (('f1 at 0.5', probs>.5), ('f1 tuned', probs>cuts)):
        close(found[column][:3].to_numpy(), skm.f1_score(y, told, average=None, zero_division=0))
        close(found.loc['mean',column], skm.f1_score(y, told, average='macro', zero_division=0))
    assert found.loc['mean','f1 at 0.5']<found.loc['mean','f1 cross-fitted']<=found.loc['mean','f1 tuned']
    want = [{n for n,g in zip(multi.names, row) if g} for row in probs>cuts]
    assert want!=[{n for n,g in zip(multi.names, row) if g} for row in probs>.5]
    folder = multi.save_pretrained('m')
    multi.export()
    again = TransformersLearner.from_pretrained(folder)
    for l in (multi, again, load_learner(multi.path/'export.pkl')):
        assert labels(quiet(l, lambda l: l.predict_batch(rows)))==want and set(quiet(l, lambda l: l.predict(rows.text.iloc[0]))[0])==want[0]
        assert {type(t) for t in l.threshold.values()}=={float} and l.threshold==multi.threshold
    assert [{o['label'] for o in json.loads(line)} for line in open(again.predict_batch(rows, out='p.jsonl'))]==want
    scores = dict(zip(['loss', *(m.name for m in again.metrics)], quiet(again, lambda l: l.validate(dl=l.dls.test_dl(rows, with_labels=True)))))
    close(scores['f1_macro'], found.loc['mean','f1 tuned'])
    *_,decoded = quiet(multi, lambda l: l.get_preds(with_decoded=True)) # by which fastai shows results and finds top losses
    assert (decoded.numpy()==(probs>cuts)).all()
    assert f"`sure: {multi.threshold['sure']:.3g}`" in model_card(again)
    rows.to_json('rows.jsonl', orient='records', lines=True)
    assert cli.main(['predict', str(folder), 'rows.jsonl'])==0
    assert labels(map(json.loads, capsys.readouterr().out.splitlines()))==want
    assert cli.main(['report', str(folder), 'rows.jsonl', '--rows', '0'])==0
    assert f'f1_macro {scores["f1_macro"]:.4f}' in capsys.readouterr().out

def test_one_for_all_and_other_scores(multi):
    probs,y = (o.numpy() for o in multi.get_preds())
    found = multi.tune_threshold('mcc', per_label=False)
    assert isinstance(multi.threshold, float) and set(found.threshold[:3])=={multi.threshold}
    close(found['mcc tuned'][:3].to_numpy(), [skm.matthews_corrcoef(a, b) for a,b in zip(y.T, (probs>multi.threshold).T)])
    def jaccard(tp, fp, fn, tn): return tp/np.maximum(tp+fp+fn, 1)
    close(multi.tune_threshold(jaccard)['jaccard tuned'][:3].to_numpy(), skm.jaccard_score(y, probs>np.array([*multi.threshold.values()]), average=None))

def test_thresholds_that_give_many_labels_are_told_of(multi):
    def recall(tp, fp, fn, tn): return tp/np.maximum(tp+fn, 1)
    with pytest.warns(UserWarning, match=r'a row is given \d\.\d labels, and has [01]\.\d'): multi.tune_threshold(recall)
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='.*a row is given')
        multi.tune_threshold()

def test_a_label_without_a_row_stays(multi):
    rows = MULTI[~MULTI.tags.map(lambda o: 'good' in o)]
    with pytest.warns(UserWarning, match='no row has good: this label stays at 0.5'):
        multi.tune_threshold(dl=multi.dls.test_dl(rows, with_labels=True))
    assert multi.threshold['good']==.5!=multi.threshold['bad']

def test_given_by_the_user(multi, bert):
    probs,_ = multi.get_preds()
    rows = MULTI.iloc[multi.dls.valid_ds.items.idxs]
    multi.threshold = .4
    assert multi.threshold==.4 and labels(multi.predict_batch(rows))==[{n for n,g in zip(multi.names, p>.4) if g} for p in probs]
    multi.threshold = dict(bad=.3)
    assert [*multi.threshold]==multi.names and multi.threshold['bad']==np.float32(.3) and multi.threshold['sure']==np.float32(.4)
    multi.threshold = pd.Series(dict(sure=.9))
    learn = learner('multi', bert, loss_func=BCEWithLogitsLossFlat(thresh=[.1,.2,.3]))
    close([*learn.threshold.values()], [.1,.2,.3])
    assert learn.predict('the film') and quiet(learn, lambda l: l.validate())
    assert learner('multi', bert, loss_func=BCEWithLogitsLossFlat(thresh=.15)).threshold==.15

def test_for_one_call(multi):
    texts = MULTI.text[:20]
    probs = multi.predict_batch(texts, top_k=3)
    assert {len(p) for p in probs}=={3} and all(p[0]['score']>=p[1]['score']>=p[2]['score'] for p in probs)
    assert multi.predict_batch(texts, threshold=.3)==[[o for o in p if o['score']>.3] for p in probs]
    assert multi.predict_batch(texts, threshold=dict(good=.001, bad=.999), top_k=1)==[[o for o in p if o['score']>dict(good=.001, bad=.999).get(o['label'], .5)][:1] for p in probs]
    assert multi.threshold==.5 and multi.predict_batch([], top_k=2)==[]
    multi.threshold = dict(sure=.01)
    assert labels(multi.predict_batch(texts, threshold=dict(bad=.999, good=.999)))==[{'sure'}]*20 # others keep the learner's

def test_the_likeliest_of_one_label(trained, capsys):
    learn = trained('single')
    texts = table('single').text.tolist()[:5]
    probs = learn.predict_batch(texts, top_k=2)
    assert [p[0] for p in probs]==learn.predict_batch(texts) and {len(p) for p in probs}=={2}
    with pytest.raises(ValueError, match='threshold=0.3: each row has one label here.*top_k='): learn.predict_batch(texts, threshold=.3)
    with pytest.raises(ValueError, match='top_k=0'): learn.predict_batch(texts, top_k=0)
    with pytest.raises(ValueError, match='single_label_classification has none to choose from'): learn.threshold = .3
    with pytest.raises(ValueError, match='likeliest answer is given'): learn.tune_threshold()
    assert learn.threshold is None
    folder = learn.save_pretrained('m')
    Path('t.txt').write_text('\n'.join(texts))
    pd.DataFrame(dict(text=texts)).to_csv('t.csv')
    assert cli.main(['predict', str(folder), 't.csv', '--top-k', '2'])==0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()]==probs
    assert cli.main(['predict', str(folder), 't.csv', '--threshold', '.2'])==2 and 'each row has one label' in capsys.readouterr().err

@pytest.mark.parametrize('wrong,said', [(0, 'above 0 and below 1 is expected; .*top_k='), (1., 'above 0'), (float('nan'), 'above 0'), (True, 'above 0'), ('0.3', 'above 0'), ([.1,.2], '2 numbers, one for each of 3'),
    (dict(good=1.5), "threshold of 'good' is 1.5"), (dict(great=.5), "'great', which is no label: the labels are 'bad', 'good', 'sure'")])
def test_what_is_no_threshold(wrong, said, multi, bert):
    before = multi.loss_func
    with pytest.raises(ValueError, match=said): multi.threshold = wrong
    with pytest.raises(ValueError, match=said): multi.predict_batch(['a'], threshold=wrong)
    assert multi.loss_func is before
    if wrong!=.5 and not isinstance(wrong, dict):
        with pytest.raises(ValueError, match=said): learner('multi', bert, loss_func=BCEWithLogitsLossFlat(thresh=wrong))

def test_rows_that_tell_nothing(multi):
    few = multi.dls.test_dl(MULTI[:1], with_labels=True)
    with pytest.raises(ValueError, match='tune_threshold needs at least 10 labelled rows .* and has 1'): multi.tune_threshold(dl=few)
    with pytest.raises(ValueError, match='needs labels: pass dl='): multi.tune_threshold(dl=multi.dls.test_dl(MULTI[:20]))
    with pytest.raises(ValueError, match="metric='f3': f1, f2"): multi.tune_threshold('f3')
    assert multi.threshold==.5
    with pytest.warns(UserWarning, match='rows that the model was trained on'): multi.tune_threshold(ds_idx=0)

def test_rows_of_the_training_in_another_loader(multi, single):
    "They are known by their texts; those of the validation part are not looked at again."
    seen = MULTI.iloc[multi.dls.train.row_numbers()]
    def dl(learn, rows): return learn.dls.test_dl(rows, with_labels=True)
    with pytest.warns(UserWarning, match='looks at the rows that the model was trained on'): quiet(multi, lambda l: l.tune_threshold(dl=dl(l, seen)))
    held = MULTI.iloc[multi.dls.valid.row_numbers()]
    held = held[~held.text.isin(seen.text)]
    mixed = pd.concat([held, seen[:2]])
    n = mixed.text.isin(seen.text).sum()
    with pytest.warns(UserWarning, match=rf'looks at {n} texts, of {len(mixed)}, that the model was trained on'): quiet(multi, lambda l: l.tune_threshold(dl=dl(l, mixed)))
    for f in (lambda l, o: l.calibrate(dl=o, show_plot=False), lambda l, o: l.conformal(.3, dl=o)):
        with pytest.warns(UserWarning, match='that the model was trained on'): quiet(single, lambda l: f(l, dl(l, SINGLE.iloc[l.dls.train.row_numbers()])))
    fresh = held.assign(text=held.text+' anew')
    assert not [w for w in told(lambda: quiet(multi, lambda l: l.tune_threshold(dl=dl(l, fresh)))) if 'trained on' in w]
    assert not [w for w in told(lambda: quiet(multi, lambda l: l.tune_threshold())) if 'trained on' in w]

def test_a_loss_that_serves_another_learner_is_left_alone(multi, bert):
    loss = BCEWithLogitsLossFlat()
    learn = learner('multi', bert, loss_func=loss)
    learn.threshold = dict(good=.2)
    assert loss.thresh==.5 and learn.loss_func is not loss
    learn = learner('multi', bert, loss_func=ModelLoss())
    learn.threshold = dict(good=.001, bad=.999, sure=.999)
    quiet(learn, lambda l: l.fit(1, 1e-3)) # the model's own loss
    assert labels(learn.predict_batch(['the film']))==[{'good'}] and list(learn.predict('the film')[0])==['good']

def test_thresholds_come_back_with_their_weights(bert):
    def make(): return learner('multi', bert, MULTI, bs=16, valid=.5)
    learn = make()
    quiet(learn, lambda l: l.fit(1, 5e-3))
    learn.threshold = dict(bad=.2)
    kept = learn.threshold
    quiet(learn, lambda l: l.fit(2, 1e-3, cbs=Checkpoints('run')))
    new = make()
    assert new.threshold==.5
    quiet(new, lambda l: l.resume('run'))
    assert new.threshold==kept and new.recorder.values==learn.recorder.values

def test_a_folder_whose_thresholds_are_too_few(multi):
    multi.threshold = dict(bad=.3)
    folder = multi.save_pretrained('m')
    assert read_facts(folder)['decisions']['thresh']==[*multi.threshold.values()] and 'thresh' not in read_facts(folder)['loss']['settings']
    given = TransformersLearner.from_pretrained(folder, loss_func=BCEWithLogitsLossFlat(thresh=.7)) # what the user says goes first
    assert given.threshold==.7 and TransformersLearner.from_pretrained(folder, loss_func=BCEWithLogitsLossFlat()).threshold==multi.threshold
    write(folder, decisions=dict(thresh=[.1,.2]))
    with pytest.raises(ValueError, match='2 thresholds for 3 labels'): TransformersLearner.from_pretrained(folder)
    write(folder, decisions=dict(thresh='0.1'))
    with pytest.raises(ValueError, match="'decisions' in"): TransformersLearner.from_pretrained(folder)

# Calibration

SINGLE = table('single', 160).assign(label=lambda d: np.where(np.random.default_rng(0).random(160)<.3, np.roll(d.label, 1), d.label)) # wrong labels, of which nobody can be sure

@pytest.fixture(scope='module')
def sure(bert): # too sure
    learn = learner('single', bert, SINGLE, bs=16, valid=.5)
    quiet(learn, lambda l: l.fit_one_cycle(10, 5e-3))
    with torch.no_grad():
        for p in learn.model.classifier.parameters(): p.mul_(3)
    return learn

@pytest.fixture
def single(sure):
    before = sure.loss_func
    yield sure
    vars(sure)['loss_func'] = before

def test_errors_and_likeliest_scalings():
    rng = np.random.default_rng(0)
    p,y = rng.random(500),rng.random(500)<.5
    edges = np.linspace(0, 1, 16)
    parts = [(p>=a) & (p<b) for a,b in zip(edges, edges[1:])]
    close(calibration_error(reliability(p, y)), sum(m.sum()*abs(p[m].mean()-y[m].mean()) for m in parts)/500)
    logits = torch.randn(4000, 3)
    y = torch.distributions.Categorical(logits=logits*.4+torch.tensor([0.,.5,0.])).sample()
    found = fit_scaling('one', logits, y, 'vector')
    close(found['scale'], [.4]*3, .08)
    close(np.diff(found['bias']), [.5,-.5], .1)
    y = torch.bernoulli((logits*2.5).sigmoid()).double()
    close(fit_scaling('some', logits, y)['scale'], 2.5, .15)
    assert .001<fit_scaling('one', torch.eye(2).repeat(20, 1)*9, torch.arange(2).repeat(20))['scale']<100 # all right, for ever surer

def test_scaled_by_hand():
    logits = torch.tensor([[1.,2.,-1.],[0.,.5,3.]])
    loss = with_decisions(CrossEntropyLossFlat(), scaling=dict(scale=[2.,1.,.5], bias=[0.,.5,-1.]))
    want = torch.tensor([[2.,2.5,-1.5],[0.,1.,.5]])
    assert torch.equal(scaled(loss, logits), want) and torch.equal(loss.activation(logits), want.softmax(-1))
    assert scaled(CrossEntropyLossFlat(), logits) is logits

@pytest.mark.slow
def test_calibrated_in_one_pass_and_everywhere(single, capsys):
    rows = SINGLE.iloc[single.dls.valid_ds.items.idxs]
    logits,y = single.get_preds(act=lambda x: x)
    before = single.predict_batch(rows)
    found,n = calls(single, lambda: single.calibrate(show_plot=False))
    assert n==len(single.dls.valid) and found.table.temperature['after']>1.2
    error,loss = found.table['calibration error'],found.table.loss
    assert error['after']<error['before'] and loss['after']<loss['before'] and loss['after']<=loss['cross-fitted']<loss['before']
    want = (logits/found.table.temperature['after']).softmax(1)
    close(loss['after'], torch.nn.functional.nll_loss(want.log(), y))
    close(error['after'], calibration_error(reliability(want.max(1).values.numpy(), (want.argmax(1)==y).numpy())))
    folder = single.save_pretrained('m')
    single.export()
    again = TransformersLearner.from_pretrained(folder)
    for l in (single, again, load_learner(single.path/'export.pkl')):
        preds = quiet(l, lambda l: l.predict_batch(rows))
        assert [o['label'] for o in preds]==[o['label'] for o in before] # as ever
        close([o['score'] for o in preds], want.max(1).values)
        close(l.predict(rows.text.iloc[0])[2], want[0])
        with warnings.catch_warnings(): # which are for those who train on
            warnings.simplefilter('error', UserWarning)
            close(quiet(l, lambda l: l.get_preds(dl=l.dls.test_dl(rows)))[0], want)
    out = pd.read_parquet(again.predict_batch(rows, out='p.parquet'))
    close(out.score.to_numpy(), want.max(1).values)
    rows.to_json('rows.jsonl', orient='records', lines=True)
    assert cli.main(['predict', str(folder), 'rows.jsonl'])==0
    close([json.loads(l)['score'] for l in capsys.readouterr().out.splitlines()], want.max(1).values)
    assert f"temperature {found.table.temperature['after']:.3g}" in model_card(again)
    close(single.calibrate(show_plot=False).table.temperature.to_numpy()[:2], [found.table.temperature['after']]*2) # again is the same, from the model's logits
    close(quiet(single, lambda l: l.validate())[0], torch.nn.functional.cross_entropy(logits, y)) # the loss is of the model

def test_a_promise_that_empty_sets_keep_is_refused(bert):
    rare = SINGLE.assign(label=[int(i%10<2) for i in range(len(SINGLE))])
    learn = learner('single', bert, data=rare, problem_type='multi_label_classification', valid=list(range(0, len(rare), 2)))
    bare = 1-rare.label[::2].mean() # one of each pair trains, the other validates
    with pytest.raises(ValueError, match=rf"alpha=0.5: {bare:.1%} of these rows have no label, so that empty sets keep this promise. Take an alpha below {1-bare:.3g}"): learn.conformal(.5)
    assert decisions_of(learn.loss_func)['conformal'] is None and learn.conformal(.1)['labels a row']>0

@pytest.mark.slow
def test_calibration_in_onnx(single):
    for name in ('onnx','onnxscript','onnxruntime'): pytest.importorskip(name, reason=f'serving needs {name}')
    single.calibrate(show_plot=False)
    single.conformal(.2)
    texts = SINGLE.text[:9].tolist()
    learn = load_onnx(export_onnx(single, 'onnx'))
    for asked in ({}, dict(sets=True), dict(abstain=.5), dict(top_k=2)): same(learn.predict_batch(texts, **asked), single.predict_batch(texts, **asked))

def test_thresholds_move_with_their_probabilities(multi):
    rows = MULTI.iloc[:60]
    multi.threshold = dict(bad=.3, good=.6)
    before = multi.predict_batch(rows)
    for method in ('temperature','vector','temperature'):
        multi.calibrate(method, show_plot=False)
        assert labels(multi.predict_batch(rows))==labels(before)
    assert multi.threshold['sure']!=.5 or multi.threshold['bad']!=np.float32(.3)

def test_words_are_calibrated(bert):
    tagged = [dict(tokens=t.split(), tags=['B-CUE' if any(w in v for v in CUES.values()) else 'O' for w in t.split()]) for t in MULTI.text]
    learn = token_classification_learner(tagged, bert, bs=16, valid=.3, max_length=12) # words are cut off
    quiet(learn, lambda l: l.fit(1, 1e-3))
    before = learn.predict_batch(MULTI.text[:20].tolist())
    found = learn.calibrate(show_plot=False)
    after = learn.predict_batch(MULTI.text[:20].tolist())
    assert found.table.loss['after']<found.table.loss['before'] and labels_of(before)==labels_of(after)!=[]
    with pytest.raises(ValueError, match='words of a sentence are not'): learn.conformal()

def labels_of(preds): return [[(o['entity_group'], o['start']) for o in p] for p in preds]

def test_what_cannot_be_calibrated(trained, single, bert):
    for kind in ('regression','answers'):
        for ask in (TransformersLearner.calibrate, TransformersLearner.conformal):
            with pytest.raises(ValueError, match='labels with probabilities'): ask(trained(kind))
    with pytest.raises(ValueError, match='at least 10 labelled rows .* and has 1'): single.calibrate(dl=single.dls.test_dl(SINGLE[:1], with_labels=True))
    with pytest.raises(ValueError, match="method='platt'"): single.calibrate('platt')
    rare = SINGLE[(SINGLE.label!='bad') | (SINGLE.index<20)]
    with pytest.raises(ValueError, match="20 rows with it are few: 'bad' has"): single.calibrate('vector', dl=single.dls.test_dl(rare, with_labels=True))
    with pytest.raises(ValueError, match="without it are few"): learner('multi', bert).calibrate('vector')
    with pytest.warns(UserWarning, match='calibrate looks at the rows that the model was trained on'): single.calibrate(dl=single.dls.train, show_plot=False)

def test_thresholds_that_were_tuned_are_of_the_weights_of_then(bert):
    "Those that the user has set are nobody's weights."
    learn,told = learner('multi', bert),'tuned for the weights that this learner had before this fit'
    def fit():
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            quiet(learn, lambda l: l.fit(1, 1e-3))
        return sum(told in str(w.message) for w in said)
    fit()
    quiet(learn, lambda l: l.tune_threshold('f1', floor=1))
    now = decisions_of(learn.loss_func)
    assert [fit(), fit()]==[1, 0] and decisions_of(learn.loss_func)==now
    quiet(learn, lambda l: l.tune_threshold('f1', floor=1))
    learn.threshold = .3
    assert fit()==0

def test_a_fit_makes_it_outdated(bert):
    learn = learner('single', bert)
    learn.calibrate(show_plot=False)
    with pytest.warns(UserWarning, match='calibrated for the weights that it had before this fit'): quiet(learn, lambda l: l.fit(1, 1e-3))

def test_scalings_come_back_with_their_weights(bert):
    learn,new = learner('single', bert),learner('single', bert)
    save_weights(learn, 'plain.safetensors')
    learn.calibrate(show_plot=False)
    learn.conformal()
    save_weights(learn, 'w.safetensors')
    load_weights(new, 'w.safetensors')
    assert decisions_of(new.loss_func)==decisions_of(learn.loss_func)!=decisions_of(learner('single', bert).loss_func)
    load_weights(new, 'plain.safetensors')
    assert set(decisions_of(new.loss_func).values())=={None} and 'activation' not in vars(new.loss_func)

def test_the_diagrams(single):
    import matplotlib.pyplot as plt
    plt.close('all')
    found = single.calibrate()
    assert [ax.get_title() for ax in plt.gcf().axes]==[f'{k}: error {found.table["calibration error"][k]:.3f}' for k in ('before','after')]
    assert 'cross-fitted' in repr(found) and '<table' in found._repr_html_()

# Abstention and sets

def test_abstention(single):
    texts = SINGLE.text[:60].tolist()
    plain = single.predict_batch(texts)
    least = float(np.median([o['score'] for o in plain]))
    some = single.predict_batch(texts, abstain=least)
    assert 20<sum(o['label'] is None for o in some)<40
    for o,s in zip(plain, some): assert s==dict(label=o['label'] if o['score']>=least else None, score=o['score'], guess=o['label'])
    assert pd.read_parquet(single.predict_batch(texts, out='p.parquet', abstain=least)).label.isna().sum()==sum(o['label'] is None for o in some)
    for wrong in (0, 1., 90, True):
        with pytest.raises(ValueError, match='abstain='): single.predict_batch(texts, abstain=wrong)
    with pytest.raises(ValueError, match='top_k= and abstain= answer in different ways'): single.predict_batch(texts, abstain=.5, top_k=2)

def test_abstention_of_other_kinds(trained, multi):
    choices = FRAMES['choice']
    found = trained('choice').predict_batch(choices, abstain=.9999)
    assert {o['label'] for o in found}=={None}=={o['answer'] for o in found} and {type(o['guess']) for o in found}=={int}
    with pytest.raises(ValueError, match='abstain=0.9: several labels a row'): multi.predict_batch(['a'], abstain=.9)
    with pytest.raises(TypeError, match='takes no abstain='): trained('regression').predict_batch(['a'], abstain=.9)

@pytest.mark.parametrize('alpha', [.05, .1, .3])
@pytest.mark.parametrize('picks', ['one','some'])
def test_a_promise_is_kept(picks, alpha):
    "On average over draws of the rows that it is made by, whatever the probabilities are worth"
    torch.manual_seed(0)
    covered = []
    for _ in range(300):
        logits = torch.randn(150, 4)
        y = (logits+torch.randn(150, 4)).argmax(1) if picks=='one' else (logits+torch.randn(150, 4)>1).long()
        probs = logits.mul(3).softmax(1) if picks=='one' else logits.mul(3).sigmoid()
        scores = label_scores(picks, probs, y).numpy()
        covered.append((scores[50:]<=promised_quantile(scores[:50], alpha)).mean())
    exact = np.ceil(51*(1-alpha))/51 # section 3.2 of the paper, where no two rows score alike
    assert exact-.003-3*np.std(covered)/300**.5<np.mean(covered)<exact+3*np.std(covered)/300**.5+(.01 if picks=='some' else 0)

def test_sets_in_one_pass_and_everywhere(single, multi, trained):
    rows = SINGLE.iloc[single.dls.valid_ds.items.idxs]
    with pytest.raises(ValueError, match='call `learn.conformal'): single.predict_batch(rows, sets=True)
    found,n = calls(single, lambda: single.conformal(alpha=.2))
    assert n==len(single.dls.valid) and found['from']<.8<found['to']
    probs,y = single.get_preds()
    sets = single.predict_batch(rows, sets=True)
    assert [{o['label'] for o in s} for s in sets]==[{n for n,q in zip(single.names, p) if q>=found['least probability']-1e-6} for p in probs.double()]
    close(found['labels a row'], np.mean([*map(len, sets)]))
    covered = np.mean([l in {o['label'] for o in s} for l,s in zip(rows.label, sets)])
    assert .8<=covered<=.85
    again = TransformersLearner.from_pretrained(single.save_pretrained('m'))
    assert again.predict_batch(rows, sets=True)==sets and 'hold the right label in 0.8 of rows' in model_card(again)
    multi.conformal(.1)
    rows = MULTI.iloc[multi.dls.valid_ds.items.idxs]
    assert .9<=np.mean([set(t)<={o['label'] for o in s} for t,s in zip(rows.tags, multi.predict_batch(rows, sets=True))])<=1
    with pytest.raises(ValueError, match='sets= and top_k='): multi.predict_batch(rows, sets=True, top_k=1)
    choice = learner('choice', trained('choice').model)
    choice.conformal(.3)
    for s,c in zip(choice.predict_batch(FRAMES['choice'], sets=True), FRAMES['choice'].choices): assert all(o['answer']==c[o['label']] for o in s)

def test_too_few_rows_for_a_promise(single):
    with pytest.raises(ValueError, match='alpha=0.001: to promise 0.999 takes at least 999 labelled rows, and here are 80'): single.conformal(.001)
    with pytest.raises(ValueError, match='at least 9 labelled rows, and here are 1'): single.conformal(dl=single.dls.test_dl(SINGLE[:1], with_labels=True))
    for wrong in (0, 1, 5, -.1, '0.1'):
        with pytest.raises(ValueError, match='alpha='): single.conformal(wrong)
    for n,alpha in ((9,.1), (19,.05), (99,.01), (4,.2)):
        promised_quantile(np.arange(n), alpha)
        with pytest.raises(ValueError, match=f'at least {n} '): promised_quantile(np.arange(n-1), alpha)
    assert single.loss_func.__dict__.get('conformal') is None

# What breaks a promise, or a number, without a word

def test_calibration_ends_an_older_promise(single):
    single.conformal(.2)
    with pytest.warns(UserWarning, match='their promise is gone: call it again'): single.calibrate(show_plot=False)
    with pytest.raises(ValueError, match='call `learn.conformal'): single.predict_batch(SINGLE.text[:3], sets=True) # of other probabilities

def test_no_calibration_to_take_back_leaves_the_sets(single):
    single.conformal(.2)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        single.calibrate(None)
    assert len(single.predict_batch(SINGLE.text[:3], sets=True))==3

def test_a_calibration_is_taken_back_with_all_that_followed_it(multi):
    quiet(multi, lambda l: l.tune_threshold('f1'))
    texts,thresh = MULTI.text.tolist(),multi.threshold
    def labels(): return [[o['label'] for o in row] for row in multi.predict_batch(texts)]
    before = labels()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        multi.calibrate(show_plot=False)
    assert multi.threshold!=thresh and multi.tuned==decisions_of(multi.loss_func)['thresh']
    assert multi.calibrate(None) is None and decisions_of(multi.loss_func)['scaling'] is None
    assert labels()==before and multi.threshold==pytest.approx(thresh, rel=1e-4)
    multi.calibrate(show_plot=False)
    with pytest.warns(UserWarning, match='its thresholds were tuned for the weights'), multi.no_bar(), multi.no_logging(): multi.fit(1, 0.)
    set_decisions(multi, scaling=None, conformal=None, thresh=.5)

def test_scores_are_of_the_labels_that_are_given(single, multi):
    rows = SINGLE.assign(label=np.where(SINGLE.index%2==0, 'bad', SINGLE.label)) # that the model would say otherwise
    dl = single.dls.test_dl(rows, with_labels=True)
    was = single.metrics
    single.metrics = [*was, mcc()]
    single.calibrate('vector', dl=dl, show_plot=False)
    told = [o['label'] for o in single.predict_batch(rows)]
    loss,*scores = quiet(single, lambda l: l.validate(dl=dl))
    single.metrics = was
    assert told!=[single.names[i] for i in single.get_preds(dl=dl, act=lambda x: x)[0].argmax(1)]
    close(scores, [(np.array(told)==rows.label).mean(), skm.f1_score(rows.label, told, average='macro'), skm.matthews_corrcoef(rows.label, told)])
    def gap(p): # the widest between two of the middle half, where rounding decides nothing
        p = np.sort(p)[len(p)//4:-len(p)//4]
        i = np.diff(p).argmax()
        return (p[i]+p[i+1])/2
    multi.threshold = [gap(p) for p in multi.get_preds()[0].numpy().T]
    was = multi.metrics
    multi.metrics = [mcc(),balanced_accuracy()]
    before = quiet(multi, lambda l: l.validate())[1:]
    multi.calibrate(show_plot=False)
    close(quiet(multi, lambda l: l.validate())[1:], before)
    multi.metrics = was

def test_scores_of_words_follow_a_calibration_by_label(bert):
    tagged = [dict(tokens=t.split(), tags=['X' if any(w in v for v in CUES.values()) or i%2 else 'Y' for i,w in enumerate(t.split())]) for t in MULTI.text]
    learn = token_classification_learner(tagged, bert, bs=16, valid=.5)
    learn.calibrate('vector', show_plot=False)
    said,targets = learn.get_preds()
    right = torch.cat([p.argmax(1)==t for p,t in zip(said, targets)]).float().mean()
    close(dict(zip([m.name for m in learn.metrics], quiet(learn, lambda l: l.validate())[1:]))['accuracy'], right)

def test_a_loss_that_cannot_tell_probabilities(bert):
    learn = learner('single', bert, loss_func=torch.nn.functional.cross_entropy)
    before = learn.get_preds()[0]
    for ask in (TransformersLearner.calibrate, TransformersLearner.conformal):
        with pytest.raises(ValueError, match='this learner has no activation'): ask(learn)
    assert torch.equal(learn.get_preds()[0], before)

def test_thresholds_that_cannot_be_held(multi):
    with pytest.raises(ValueError, match="names 'bad' more than once"): multi.threshold = pd.Series([.1,.9], index=['bad','bad'])
    for wrong in (1-1e-9, 1e-60):
        with pytest.raises(ValueError, match="the threshold of 'bad' is"): multi.threshold = dict(bad=wrong)
    for wrong in (0, None, 'x', 2.5):
        with pytest.raises(ValueError, match='floor='): multi.tune_threshold(floor=wrong)
    with pytest.raises(TypeError, match=r'dl= takes a loader, .* not DataFrame'): multi.tune_threshold(dl=MULTI)
    rows = MULTI[:20]
    Path('rows.jsonl').write_text(rows.to_json(orient='records', lines=True))
    for given in (rows, rows.to_dict('records'), 'rows.jsonl'):
        for ask in (multi.tune_threshold, lambda o: multi.calibrate(o, show_plot=False), multi.conformal, multi.validate, multi.get_preds,
            multi.tta, multi.show_results, lambda o: multi.validate(dl=o), lambda o: multi.get_preds(dl=o)):
            with pytest.raises(TypeError, match=r'not \w+: labelled rows are passed as dl=learn\.dls\.test_dl\(rows, with_labels=True\)$'): ask(given)
    folder = multi.save_pretrained('m')
    for given in (torch.tensor([.7,.6,.5]), np.array([.7,.6,.5])):
        close([*TransformersLearner.from_pretrained(folder, loss_func=BCEWithLogitsLossFlat(thresh=given)).threshold.values()], [.7,.6,.5])

def test_files_tell_thresholds_apart_that_look_alike(multi):
    texts = MULTI.text.tolist()[:6]
    for i,make in enumerate((torch.tensor, lambda t: pd.Series(t, index=multi.names), np.array)):
        multi.predict_batch(texts, out=f'{i}.jsonl', threshold=make([.123456781,.4,.3]))
        with pytest.raises(ValueError, match='had other options'): multi.predict_batch(texts, out=f'{i}.jsonl', resume=True, threshold=make([.12345699,.4,.3]))
        with pytest.warns(UserWarning, match='is complete'): multi.predict_batch(texts, out=f'{i}.jsonl', resume=True, threshold=make([.123456781,.4,.3]))

# Where the loss is set, or weights come and go

def told(f): # the warnings of a call
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        f()
    return [str(w.message) for w in said if w.category is UserWarning]

@pytest.mark.parametrize('given', [[.1,.2,.3], (.1,.2,.3), np.array([.1,.2,.3]), dict(bad=.1, good=.2, sure=.3), pd.Series([.3,.1,.2], index=['sure','bad','good'])])
def test_a_loss_that_is_set_later_is_read(given, multi):
    multi.loss_func = BCEWithLogitsLossFlat(thresh=given)
    close([*multi.threshold.values()], [.1,.2,.3])
    probs = multi.get_preds()[0].numpy()
    assert labels(multi.predict_batch(MULTI.iloc[multi.dls.valid_ds.items.idxs]))==[{n for n,g in zip(multi.names, p>np.float32([.1,.2,.3])) if g} for p in probs]
    assert multi.predict(MULTI.text[0])

def test_what_a_loss_that_is_set_later_cannot_hold(multi):
    before = multi.loss_func
    for wrong,said in ((1.5, 'threshold is 1.5'), ([.1,.2], '2 numbers, one for each of 3'), (dict(great=.5), "'great', which is no label")):
        with pytest.raises(ValueError, match=said): multi.loss_func = BCEWithLogitsLossFlat(thresh=wrong)
    assert multi.loss_func is before

def test_decisions_that_a_new_loss_loses_are_told(single, multi):
    multi.threshold = .3
    multi.calibrate(show_plot=False)
    before = decisions_of(multi.loss_func)
    assert told(lambda: setattr(multi, 'loss_func', BCEWithLogitsLossFlat(thresh=.2))).pop()=='this loss comes without the calibration of the one before, and the learner answers without. Find that again: `learn.calibrate()`'
    multi.threshold = .3
    with pytest.warns(UserWarning, match='without the threshold of the one before.*`learn.threshold = ...`'): multi.loss_func = BCEWithLogitsLossFlat()
    def keep(): multi.loss_func = with_decisions(BCEWithLogitsLossFlat(), **before)
    assert not told(keep) and decisions_of(multi.loss_func)==before and not told(keep)
    single.calibrate(show_plot=False)
    single.conformal(.2)
    with pytest.warns(UserWarning, match='without the calibration and conformal sets of'): single.loss_func = torch.nn.functional.cross_entropy
    assert not told(lambda: setattr(single, 'loss_func', CrossEntropyLossFlat()))

class NotReduced: # fastai makes a partial of it for losses of rows
    def __call__(self, pred, targ, reduction='mean'): return torch.nn.functional.cross_entropy(pred, targ, reduction=reduction)
    def activation(self, x): return x.softmax(-1)
    def decodes(self, x): return x.argmax(-1)

def test_what_fastai_does_to_a_loss_is_no_loss_of_decisions(single):
    single.loss_func = NotReduced()
    single.calibrate(show_plot=False)
    single.conformal(.2)
    before = single.loss_func
    assert not told(lambda: quiet(single, lambda l: (l.get_preds(with_loss=True), l.report(), l.export())))
    assert single.loss_func is before

def decided(learn):
    learn.calibrate(show_plot=False)
    learn.conformal(.2)
    return decisions_of(learn.loss_func)

@pytest.mark.parametrize('with_opt', [True, False])
def test_load_brings_decisions_with_their_weights(with_opt, bert):
    learn = learner('single', bert, SINGLE[:60], bs=16, valid=.5)
    learn.create_opt()
    learn.save('plain', with_opt=with_opt)
    found = decided(learn)
    learn.save('decided', with_opt=with_opt)
    answers = learn.predict_batch(SINGLE.text[:5])
    quiet(learn, lambda l: l.fit(1, 5e-3))
    later = decided(learn)
    assert later!=found and not told(lambda: learn.load('decided', with_opt=with_opt))
    assert decisions_of(learn.loss_func)==found and learn.predict_batch(SINGLE.text[:5])==answers
    assert not told(lambda: learn.load('plain', with_opt=with_opt)) and set(decisions_of(learn.loss_func).values())=={None}
    new = learner('single', bert, SINGLE[:60], bs=16, valid=.5)
    new.load('decided', with_opt=with_opt)
    assert new.predict_batch(SINGLE.text[:5])==answers

def test_files_of_fastai_and_for_fastai(bert):
    learn = learner('single', bert, SINGLE[:60], bs=16, valid=.5)
    plain = Learner(learn.dls, learner('single', bert).model, loss_func=CrossEntropyLossFlat())
    Learner.save(plain, 'theirs')
    found = decided(learn)
    with pytest.warns(UserWarning, match="theirs.pth' tells of no decisions: the learner keeps its calibration and conformal sets"): learn.load('theirs', with_opt=False)
    assert decisions_of(learn.loss_func)=={n:v and v|dict(outdated=True) for n,v in found.items()}
    fresh = learner('single', bert)
    assert not told(lambda: fresh.load('theirs', with_opt=False))
    learn.save('ours')
    plain.opt = None
    Learner.load(plain, 'ours') # strict, and with `weights_only`
    assert all(torch.equal(a, b) for a,b in zip(plain.model.state_dict().values(), learn.model.state_dict().values()))

def test_thresholds_go_with_saved_weights(multi, bert):
    def make(**kwargs): return learner('multi', bert, MULTI, **dict(bs=16, valid=.5) | kwargs)
    multi.threshold = dict(good=.2)
    kept = multi.threshold
    multi.save('m')
    multi.threshold = .7
    multi.load('m')
    assert multi.threshold==kept
    own = make(loss_func=ModelLoss())
    own.load('m')
    assert own.threshold==kept
    make(loss_func=ModelLoss()).save('own')
    assert multi.load('own').threshold==.5 and multi.predict('a film')
    with pytest.raises(TypeError, match='cannot hold thresh'): make(loss_func=torch.nn.functional.binary_cross_entropy_with_logits, metrics=[]).load('m')

def test_callbacks_that_save_and_load_are_silent(bert):
    learn = learner('single', bert, SINGLE[:60], bs=16, valid=.5)
    found = decided(learn)
    assert not told(lambda: quiet(learn, lambda l: l.lr_find(num_it=8, show_plot=False, suggest_funcs=None))) and decisions_of(learn.loss_func)==found
    said = told(lambda: quiet(learn, lambda l: l.fit(3, 1e-3, cbs=SaveModelCallback('train_loss'))))
    assert len(said)==1 and 'before this fit' in said[0]
    assert outdated_decisions(learn.loss_func)==['calibration','conformal sets']

def test_a_loss_without_activation_is_not_calibrated(single):
    with pytest.raises(TypeError, match='has no activation to calibrate'): with_decisions(torch.nn.CrossEntropyLoss(), scaling=dict(scale=.5, bias=0.))

# Decisions of other weights

def test_what_was_found_before_the_last_training_says_so(bert):
    learn = learner('single', bert, SINGLE[:60], bs=16, valid=.5)
    decided(learn)
    assert 'before the last training' not in model_card(learn)+repr(learn.report(samples=200))
    assert 'before this fit' in told(lambda: quiet(learn, lambda l: l.fit(1, 1e-3)))[0]
    for l in (learn, TransformersLearner.from_pretrained(learn.save_pretrained('m'))):
        card = model_card(l)
        assert card.count(', found before the last training')==2
        report = l.report(SINGLE, samples=200)
        assert 'calibration and conformal sets found before the last training' in repr(report) and 'before the last training' in report._repr_html_()
    assert not told(lambda: quiet(learn, lambda l: l.fit(1, 1e-3))) # it was said
    learn.calibrate(show_plot=False)
    assert outdated_decisions(learn.loss_func)==[] and decisions_of(learn.loss_func)['conformal'] is None
    learn.conformal(.2)
    assert 'before the last training' not in model_card(learn)

def test_a_run_that_goes_on_knows_what_is_outdated(bert):
    learn,new = (learner('single', bert, SINGLE[:60], bs=16, valid=.5) for _ in range(2))
    decided(learn)
    told(lambda: quiet(learn, lambda l: l.fit(1, 1e-3, cbs=Checkpoints('run'))))
    told(lambda: quiet(new, lambda l: l.resume('run')))
    assert decisions_of(new.loss_func)==decisions_of(learn.loss_func) and outdated_decisions(new.loss_func)

# One record for one call

def while_it_predicts(learn, change, call): # what another thread decides as soon as the model is called
    def once(*_):
        hook.remove()
        thread = threading.Thread(target=change)
        thread.start()
        thread.join()
    hook = learn.model.register_forward_hook(once)
    return quiet(learn, lambda l: call(l))

def test_a_call_reads_one_record(multi):
    texts = MULTI.text.tolist()
    multi.threshold = dict(bad=.4, good=.6)
    multi.conformal(.2)
    first = decisions_of(multi.loss_func)
    other = dict(scaling=dict(scale=.02, bias=.3), thresh=[.52,.5,.58], conformal=dict(alpha=.2, quantile=.49, rows=80))
    ways = dict(sets=lambda l: l.predict_batch(texts[:12], sets=True), file=lambda l: open(l.predict_batch(texts, bs=1, out='p.jsonl')).read()) # of two parts
    for name,call in ways.items():
        set_decisions(multi, **first)
        want = call(multi)
        Path('p.jsonl').unlink(missing_ok=True)
        assert while_it_predicts(multi, lambda: set_decisions(multi, **other), call)==want
        Path('p.jsonl').unlink(missing_ok=True)
        assert decisions_of(multi.loss_func)['scaling']==other['scaling'] and call(multi)!=want
        Path('p.jsonl').unlink(missing_ok=True)

def test_other_answers_read_one_record(multi, single, bert):
    texts = MULTI.text.tolist()[:12]
    def shift(learn): return lambda: set_decisions(learn, scaling=dict(scale=[1.]*3, bias=[9.,-9.,9.]), thresh=[1e-6]*3)
    want = multi.predict(texts[0])
    multi_said = while_it_predicts(multi, shift(multi), lambda l: l.predict(texts[0]))
    close(multi_said[2], want[2])
    assert list(multi_said[0])==list(want[0])
    vars(multi)['loss_func'] = BCEWithLogitsLossFlat()
    want = multi.uncertain(texts, 3)
    pd.testing.assert_frame_equal(while_it_predicts(multi, shift(multi), lambda l: l.uncertain(texts, 3)), want)

needs_data = pytest.mark.skipif(not (SHARED/'data'/'trec').is_dir(), reason='needs the real data beside the checkout')

@needs_data
def test_coverage_of_real_questions(bert):
    df = pd.DataFrame(map(json.loads, open(SHARED/'data'/'trec'/'train.jsonl'))).sample(2200, random_state=0)[['text','label']]
    learn = learner('single', bert, (df[:300], df[300:800]), bs=50, valid=.2)
    quiet(learn, lambda l: l.fit(1, 5e-3))
    learn.conformal(.1)
    test = df[800:]
    covered = np.mean([l in {o['label'] for o in s} for l,s in zip(test.label, learn.predict_batch(test, sets=True))])
    assert abs(covered-.9)<3*np.sqrt(.09*(1/500+1/len(test)))

def test_probabilities_are_shown_of_the_labels_that_are_given(multi, capsys): # not of those that are likeliest
    from blurlike.share.tracking import prediction_table
    probs = multi.get_preds()[0]
    order = probs[0].argsort() # of the first row the least likely label is given alone
    multi.threshold = {n:.999 if i!=order[0] else .001 for i,n in enumerate(multi.names)}
    given = multi.names[int(order[0])]
    assert [o['label'] for o in multi.predict_batch(multi.dls.valid_ds.items[:1])[0]]==[given]
    interp = Interpretation.from_learner(multi)
    place = interp.top_losses(None)[1].tolist().index(0)
    capsys.readouterr()
    interp.plot_top_losses([place])
    row = capsys.readouterr().out.splitlines()[1].split('  ')
    assert f'{probs[0,order[0]]:.3f}' in [o.strip() for o in row] and f'{probs[0].max():.3f}' not in [o.strip() for o in row]
    shown = prediction_table(multi, multi.dls.valid, 1)
    told = dict(zip(shown.columns, shown.data[0]))
    assert told['prediction']==given and told['score']==f'{probs[0,order[0]]:.3f}'

@pytest.mark.parametrize('loss', ['torch','set later'])
def test_losses_of_pytorch_tell_what_logits_mean(loss, bert):
    "fastai would take the logits for the answer, and every label for the last one"
    own = torch.nn.CrossEntropyLoss(label_smoothing=.1)
    learn,plain = learner('single', bert, loss_func=own if loss=='torch' else None),learner('single', bert)
    if loss=='set later': learn.loss_func = own
    with torch.no_grad(): # answers of all kinds
        for l in (learn, plain): l.model.classifier.weight.mul_(20)
    assert learn.predict_batch(FRAMES['single'].text)==plain.predict_batch(FRAMES['single'].text)
    for one,other in zip(learn.predict('a great film'), plain.predict('a great film')): assert str(one)==str(other)
    assert learn.get_preds()[0].equal(plain.get_preds()[0])
    assert learn.report().confusion.equals(plain.report().confusion)
    logits,y = torch.randn(4, 3),torch.tensor([0,1,2,1])
    close(learn.loss_func(logits, y), own(logits, y))

def test_a_loss_that_does_not_tell_what_logits_mean_answers_nothing(bert):
    def focal(inp, targ, **kwargs): return torch.nn.functional.cross_entropy(inp, targ, **kwargs)
    learn = learner('single', bert, loss_func=focal)
    for ask in (lambda: learn.predict(TEXT), lambda: learn.predict_batch([TEXT]), learn.report, lambda: learn.uncertain([TEXT])):
        with pytest.raises(ValueError, match='has no activation'): ask()
    numbers = learner('regression', bert, loss_func=torch.nn.functional.huber_loss) # what a number means is clear
    assert numbers.predict_batch([TEXT])[0]['score']==pytest.approx(numbers.predict_logits([TEXT]).item())

class OneLoss(torch.nn.Module): # PyTorch's way
    def forward(self, inp, targ, reduction='mean'): return torch.nn.functional.cross_entropy(inp, targ, reduction=reduction)
def set_loss(inp, targ, reduction='mean'): return torch.nn.functional.binary_cross_entropy_with_logits(inp, targ, reduction=reduction)

@pytest.mark.parametrize('kind,make,activation', [('single', OneLoss, 'softmax'), ('multi', lambda: set_loss, 'sigmoid'), ('single', lambda: partial(torch.nn.functional.cross_entropy, label_smoothing=.1), 'softmax')])
def test_a_loss_that_does_not_tell_what_logits_mean_is_told_before_it_trains(kind, make, activation, bert):
    with pytest.warns(UserWarning, match=rf'does not tell what outputs .*`activation`.*{activation}.*`decodes`'): learn = learner(kind, bert, loss_func=make())
    for ask in (learn.show_results, lambda: learn.get_preds(with_decoded=True), lambda: Interpretation.from_learner(learn).plot_top_losses(2)):
        with pytest.raises(ValueError, match='has no activation.*`activation` and `decodes`'): quiet(learn, lambda l: ask())
    assert not told(lambda: quiet(learn, lambda l: l.get_preds(with_loss=True))) # fastai sets a part of it for a moment
    assert not told(lambda: learner(kind, bert)) and not told(lambda: learner('regression', bert, loss_func=torch.nn.functional.huber_loss))
    learn.loss_func.activation,learn.loss_func.decodes = (lambda x: getattr(x, activation)(*[-1][:kind=='single'])),(lambda x: x.argmax(-1) if kind=='single' else x>.5)
    try:
        like = learner(kind, bert)
        assert learn.predict_batch([TEXT])==like.predict_batch([TEXT])
        for a,b in zip(learn.get_preds(with_loss=True, with_decoded=True)[::2], like.get_preds(with_decoded=True)[::2]): close(a, b)
        quiet(learn, lambda l: l.show_results())
    finally: vars(set_loss).clear()

class ToldLoss:
    "What the warning asks for"
    def __call__(self, inp, targ, reduction='mean'): return torch.nn.functional.cross_entropy(inp, targ, reduction=reduction)
    def activation(self, x): return x.softmax(-1)
    def decodes(self, x): return x.argmax(-1)

def test_a_loss_as_the_warning_asks_for_can_all(bert):
    with pytest.warns(UserWarning, match="report and calibrate will be refused.*class that has both, and whose reduction= may be 'none'"):
        learn = learner('single', bert, loss_func=torch.nn.functional.cross_entropy)
    def ask():
        learn.loss_func = ToldLoss()
        learn.report(), learn.conformal(alpha=.5), learn.predict_batch([TEXT], sets=True)
    assert not [w for w in told(ask) if 'loss' in w]
    learn.calibrate(show_plot=False)

@pytest.mark.parametrize('kind,says', [('single', True), ('regression', False), ('prompts', False)])
def test_the_likeliest_answer_is_told_of_where_there_is_one(kind, says, checkpoint, bert):
    learn = learner(kind, checkpoint if kind!='single' else bert)
    with pytest.raises(ValueError, match='none to choose from in this way') as e: learn.threshold = .3
    assert ('likeliest' in str(e.value))==says and 'multi_label' not in str(e.value)

def test_outputs_of_rows_with_their_losses_mean_what_they_mean_without(single):
    single.loss_func = NotReduced()
    close(single.get_preds(with_loss=True)[0], single.get_preds()[0])

def test_what_a_number_means_is_clear_where_it_is_explained(bert):
    numbers = learner('regression', bert, loss_func=torch.nn.functional.huber_loss)
    assert numbers.explain(TEXT).rows[0]['score']==pytest.approx(numbers.predict_logits([TEXT]).item(), abs=1e-5)

TEXT = 'a great film'

def test_a_scaling_that_gains_nothing_is_told(bert, monkeypatch):
    learn = learner('single', bert)
    monkeypatch.setattr(calibration, 'cross_fitted', lambda n, fit, apply: 9*apply(fit(np.arange(n)), np.arange(n))) # far too sure
    with pytest.warns(UserWarning, match='do not expect better probabilities'): learn.calibrate(show_plot=False)
