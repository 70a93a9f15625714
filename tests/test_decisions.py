"Decisions of a learner: thresholds, calibration and conformal sets are found in one pass, used wherever answers come out, and kept."
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fastai.losses import BCEWithLogitsLossFlat
from sklearn import metrics as skm

from blurlike import cli
from blurlike.all import (Checkpoints, ModelLoss, TransformersLearner, best_cut, counts_at, label_cuts, load_learner, model_card, read_facts)
from blurlike.predict.thresholds import COUNT_SCORES
from small import close, learner, table

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
    several.loss_func = before

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

@pytest.mark.parametrize('wrong,said', [(0, 'above 0 and below 1'), (1., 'above 0'), (float('nan'), 'above 0'), (True, 'above 0'), ('0.3', 'above 0'), ([.1,.2], '2 numbers, one for each of 3'),
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
    from test_formats import write
    multi.threshold = dict(bad=.3)
    folder = multi.save_pretrained('m')
    assert read_facts(folder)['decisions']['thresh']==[*multi.threshold.values()] and 'thresh' not in read_facts(folder)['loss']['settings']
    given = TransformersLearner.from_pretrained(folder, loss_func=BCEWithLogitsLossFlat(thresh=.7)) # what the user says goes first
    assert given.threshold==.7 and TransformersLearner.from_pretrained(folder, loss_func=BCEWithLogitsLossFlat()).threshold==multi.threshold
    write(folder, decisions=dict(thresh=[.1,.2]))
    with pytest.raises(ValueError, match='2 thresholds for 3 labels'): TransformersLearner.from_pretrained(folder)
    write(folder, decisions=dict(thresh='0.1'))
    with pytest.raises(ValueError, match="'decisions' in"): TransformersLearner.from_pretrained(folder)
