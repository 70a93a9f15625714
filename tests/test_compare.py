"`compare`: paired bootstrap and McNemar's test, rows on which two models differ; and confusions of many labels that can be read."
import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from fastai.interpret import ClassificationInterpretation
from fastai.torch_core import set_seed
from scipy.stats import binomtest
from sklearn.metrics import classification_report, confusion_matrix

from blurlike.all import (CategoryBlock, ColReader, Comparison, DataBlock, RandomSplitter, TransformersLearner, TransformersTextBlock, compare, masked_lm_learner, most_confused_labels, plot_confusion, token_classification_learner)
from blurlike.inspect.label_results import single_results
from blurlike.inspect.score_report import ScoreReport
from runs import WORDS
from small import BS, FRAMES, EVERY_KIND, TEXTS, learner
from test_named_metrics import made

def quiet(learn, f):
    with learn.no_bar(), learn.no_logging(): return f(learn)

def quietly(a, b, *args, **kwargs):
    with a.no_bar(), b.no_bar(): return compare(a, b, *args, **kwargs)

def report_of(y, p, names='abc', seed=0):
    rng = np.random.default_rng(seed)
    return ScoreReport(single_results(y, p, list(names), rng.random(len(y))), np.arange(len(y))+100)

def noisy(y, share, seed):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(y))<share, rng.integers(0, 3, len(y)), y)

Y = np.random.default_rng(0).integers(0, 3, 300)

# From reports

def test_one_row_is_counted_as_one():
    guess = Y.copy()
    guess[3] = (Y[3]+1)%3
    assert '\n1 row with different predictions:' in repr(Comparison(report_of(Y, Y), report_of(Y, guess)))

def test_a_score_that_says_otherwise_is_told(): # rare labels found, at the price of the common one
    y = np.repeat([0,1,2], [280,10,10])
    common,rare = np.zeros(300, dtype=int),np.where(np.arange(300)<80, 1+np.arange(300)%2, y)
    found = Comparison(report_of(y, common), report_of(y, rare), metric='accuracy', names=('common','rare'))
    assert found.better=='common' and 'common is better, by more than noise. By f1_macro' in repr(found) and 'it is rare.' in repr(found)
    alone = Comparison(report_of(Y, Y), report_of(Y, noisy(Y, .6, 2)))
    assert repr(alone).split('(McNemar')[0].count('By ')==0

def test_names_that_tables_can_tell_apart():
    a,b = report_of(Y, Y),report_of(Y, noisy(Y, .3, 2))
    for names in (('x','x'), ('x',), ('x','target'), ('p','x')):
        with pytest.raises(ValueError, match='names='): Comparison(a, b, names=names)
    with pytest.raises(ValueError, match='samples=0'): Comparison(a, b, samples=0)

def test_a_folder_is_no_learner():
    report = report_of(Y, noisy(Y, .6, 1))
    for pair,name in (((report, 'saved'), 'b'), ((Path('saved'), report), 'a')):
        with pytest.raises(TypeError, match=f"{name} is 'saved': pass the learner, `TransformersLearner.from_pretrained"): compare(*pair)

def test_more_than_noise_and_no_more():
    a,b = report_of(Y, noisy(Y, .6, 1)),report_of(Y, noisy(Y, .3, 2))
    found = Comparison(a, b, names=('old','new'))
    assert found.better=='new' and found.scores.p['accuracy']<.01 and 'new is better' in repr(found)
    assert Comparison(b, a, names=('new','old')).better=='new'
    assert found.scores.difference['accuracy']==pytest.approx(found.scores.new['accuracy']-found.scores.old['accuracy'])
    one,other = (report_of(Y, np.where(np.arange(300)%5==i, (Y+1)%3, Y)) for i in range(2)) # as good, on other rows
    twin = Comparison(one, other)
    assert twin.better is None and twin.scores.p['accuracy']>.05 and 'no more than noise' in repr(twin)
    same = Comparison(a, a)
    assert same.better is None and same.scores.p['accuracy']==1. and not len(same.differ()) and same.mcnemar['p']==1.

def test_the_promised_share_of_false_alarms():
    alarms = 0
    for i in range(100):
        y = np.random.default_rng(i).integers(0, 3, 80)
        alarms += Comparison(report_of(y, noisy(y, .4, 2*i)), report_of(y, noisy(y, .4, 2*i+1)), samples=300).better is not None
    assert alarms<=13 # of 100, of which 5 are expected

def test_pairs_tell_more_than_two_intervals():
    p = noisy(Y, .5, 1)
    q = np.where(np.arange(300)%10==0, Y, p) # a few rows better, none worse
    a,b = report_of(Y, p),report_of(Y, q)
    assert Comparison(a, b).better=='b' and b.scores.low['accuracy']<a.scores.high['accuracy']

def test_mcnemar():
    p,q = noisy(Y, .4, 1),noisy(Y, .3, 2)
    m = Comparison(report_of(Y, p), report_of(Y, q)).mcnemar
    n,k = int(((p==Y)&(q!=Y)).sum()),int(((p!=Y)&(q==Y)).sum())
    assert m=={'a alone':n, 'b alone':k, 'p':binomtest(n, n+k).pvalue}

def test_the_values_of_rows_are_read_once():
    a,b = report_of(Y, noisy(Y, .4, 1)),report_of(Y, noisy(Y, .3, 2))
    asked,made = [],a.results.told()
    a.results = replace(a.results, told=lambda: asked.append(1) or made)
    c = Comparison(a, b)
    str(c), c._repr_html_(), c.differ()
    assert len(asked)==1

def test_rows_on_which_they_differ():
    p,q = noisy(Y, .4, 1),noisy(Y, .3, 2)
    a,b = report_of(Y, p, seed=1),report_of(Y, q, seed=2)
    differ = Comparison(a, b).differ()
    assert sorted(differ.row)==(np.flatnonzero(p!=q)+100).tolist()
    i = differ.row-100
    assert differ.target.tolist()==['abc'[k] for k in Y[i]] and differ.a.tolist()==['abc'[k] for k in p[i]] and differ.b.tolist()==['abc'[k] for k in q[i]]
    assert differ.right.tolist()==['a' if p[k]==Y[k] else 'b' if q[k]==Y[k] else 'neither' for k in i]
    off = abs(differ['loss a']-differ['loss b'])
    assert off.is_monotonic_decreasing and len(Comparison(a, b).differ(5))==5

def test_all_right_against_all_wrong():
    found = Comparison(report_of(Y, (Y+1)%3), report_of(Y, Y))
    assert found.better=='b' and found.scores.p['accuracy']<.01
    few = Comparison(report_of(Y[:6], (Y[:6]+1)%3), report_of(Y[:6], Y[:6]))
    assert few.better is None and 'too few' in repr(few)

def test_what_cannot_be_compared(trained):
    a = report_of(Y, Y)
    for b,said in ((report_of(Y[:50], Y[:50]), 'the same rows'), (report_of((Y+1)%3, Y), "row 100 has the target"), (quiet(trained('multi'), lambda l: l.report()), 'rows')):
        with pytest.raises(ValueError, match=said): compare(a, b)
    numbers = quiet(trained('regression'), lambda l: l.report())
    with pytest.raises(ValueError, match='different scores'): compare(numbers, report_of(Y[:12], Y[:12]))
    with pytest.raises(KeyError, match='speed'): compare(a, a, metric='speed')
    for args in ((a, trained('single')), (a, a, FRAMES['single'])):
        with pytest.raises(TypeError, match='two reports'): compare(*args)
    with pytest.raises(ValueError, match='for single_label_classification, b one for multi_label'): compare(trained('single'), trained('multi'))

# Of learners

@pytest.mark.parametrize('kind', EVERY_KIND)
def test_every_task(kind, trained, checkpoint):
    set_seed(1)
    other = made(kind, checkpoint, None) if kind in ('single','pair') else learner(kind, checkpoint)
    found = quietly(trained(kind), other)
    assert len(found)==12 and found.scores.a.iloc[0]==pytest.approx(quiet(trained(kind), lambda l: l.report()).scores.score.iloc[0])
    differ = found.differ()
    assert len(differ) and all(t for t in differ.text)
    valid = trained(kind).dls.valid_ds.items.idxs
    assert set(differ.row)<=set(valid)
    if 'right' in differ: assert (found.mcnemar['a alone'],found.mcnemar['b alone'])==((differ.right=='a').sum(),(differ.right=='b').sum())
    for text in (repr(found), found._repr_html_()): assert found.metric in text and 'rows with different' in text

def test_labels_in_another_order(trained, bert):
    learn = trained('single')
    other = learner('single', bert, vocab=['good','fine','bad'])
    own,theirs = learn.model.classifier,other.model.classifier
    for p,q in zip(other.model.parameters(), learn.model.parameters()): p.data.copy_(q)
    theirs.weight.data.copy_(own.weight.data.flip(0))
    theirs.bias.data.copy_(own.bias.data.flip(0))
    found = quietly(learn, other)
    assert not len(found.differ()) and found.scores.difference.abs().max()<1e-9

def test_a_model_that_was_trained_on_the_rows_is_told_of(trained, bert):
    other = learner('single', bert, seed=7)
    seen = np.isin(trained('single').dls.valid_ds.items.idxs, other.dls.train_ds.items.idxs).sum()
    assert 0<seen<12
    with pytest.warns(UserWarning, match=f'{seen} of 12 rows have texts that b was trained on'): quietly(trained('single'), other)
    held = FRAMES['single'].assign(text=lambda d: 'people saw '+d.text)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert len(quietly(trained('single'), other, held))==48

@pytest.mark.parametrize('kind', EVERY_KIND)
def test_rows_of_the_training_are_told_of_in_every_task(kind, checkpoint):
    learn = learner(kind, checkpoint)
    with pytest.warns(UserWarning, match='48 rows have texts that a was trained on'): quietly(learn, learn, FRAMES[kind])

def test_taggers_and_loaders_of_a_datablock_tell_too(bert):
    learn = token_classification_learner(WORDS[:40], bert, bs=8)
    with pytest.warns(UserWarning, match='32 of 40 rows'): quietly(learn, learn, WORDS[:40])
    df = FRAMES['single']
    dls = DataBlock((TransformersTextBlock(bert), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'), splitter=RandomSplitter(.25, seed=1)).dataloaders(df, bs=4)
    learn = TransformersLearner(dls, bert)
    with pytest.warns(UserWarning, match='of 48 rows have texts that a was trained on'): quietly(learn, learn, df)

def test_two_passes_of_one_model_do_not_differ(checkpoints):
    learn = learner('prompts', checkpoints('gpt2'))
    off = learn.report()
    other = learn.report()
    other.results.losses = other.results.losses*(1+1e-7)
    assert len(compare(off, other).differ())==0

def test_other_columns_are_said(trained, bert):
    df = FRAMES['single'].rename(columns=dict(text='body'))
    with pytest.raises(KeyError, match='b cannot read the rows: no column .body.'): compare(trained('single'), learner('single', bert, df, text='body'))

def test_tokens_and_blocks(checkpoints, in_tmp):
    df = FRAMES['single']
    a,b = (masked_lm_learner(df, checkpoints(arch), bs=BS) for arch in ('bert','roberta'))
    with pytest.raises(ValueError, match='different tokens'): quietly(a, b)
    found = quietly(a, masked_lm_learner(df, checkpoints('bert'), bs=BS, seed=3), df)
    assert found.metric=='perplexity' and 'different losses' in repr(found) and found.mcnemar is None
    open('corpus.txt', 'w').write('\n'.join(TEXTS))
    c = masked_lm_learner('corpus.txt', checkpoints('bert'), block_size=16)
    with pytest.raises(ValueError, match='pass rows='): quietly(c, c)

def test_less_perplexity_is_better(trained):
    from blurlike.inspect.row_results import mean_results
    rng = np.random.default_rng(0)
    losses = rng.random(100)+1
    a,b = (ScoreReport(mean_results(dict(perplexity=o), np.ones(100), o), np.arange(100)) for o in (losses, losses-.3+.1*rng.random(100)))
    assert Comparison(a, b).better=='b' and Comparison(a, b).scores.difference['perplexity']<0

def test_tags(bert):
    df = pd.DataFrame(dict(tokens=[t.split() for t in TEXTS], tags=[['B-X' if len(w)>5 else 'O' for w in t.split()] for t in TEXTS]))
    a,b = (token_classification_learner(df, bert, bs=BS, seed=42) for _ in range(2))
    quiet(b, lambda l: l.fit_one_cycle(4, 1e-2))
    found = quietly(a, b)
    assert found.metric=='f1' and found.better=='b' and isinstance(found.differ().a[0], tuple)

# Confusions

def test_the_most_confused_labels_are_kept():
    rng = np.random.default_rng(0)
    counts = np.diag(rng.integers(5, 9, 150))
    for i,(a,b) in enumerate([(140,3),(3,140),(77,78),(5,6)]): counts[a,b] = 9-i
    assert most_confused_labels(counts, 4).tolist()==[3,77,78,140] and most_confused_labels(counts, 6).tolist()==[3,5,6,77,78,140]
    assert len(most_confused_labels(counts))==20 and most_confused_labels(np.diag([1,5,2]), 2).tolist()==[1,2]
    assert most_confused_labels(counts[:7,:7], 20).tolist()==list(range(7))

def test_a_matrix_of_150_labels_is_drawn_with_twenty():
    rng = np.random.default_rng(0)
    names = [f'intent {i}' for i in range(150)]
    counts = np.diag(rng.integers(5, 9, 150))+(rng.random((150, 150))<.01)
    ax = plot_confusion(pd.DataFrame(counts, index=names, columns=names))
    assert ax.get_title()=='The 20 most confused of 150 labels'
    shown = [int(t.get_text().split()[1]) for t in ax.get_yticklabels()]
    assert len(shown)==20 and (ax.images[0].get_array()==counts[np.ix_(shown, shown)]).all()
    assert sorted(int(t.get_text()) for t in ax.texts)==sorted(c for c in counts[np.ix_(shown, shown)].ravel() if c)
    plt.close('all')

def test_fastais_interpretation_tells_the_same(trained, capsys):
    learn = trained('single')
    interp = quiet(learn, ClassificationInterpretation.from_learner)
    with learn.no_bar():
        report = learn.report()
        preds,y = learn.get_preds()
        want = confusion_matrix(y, preds.argmax(1))
        assert (interp.confusion_matrix()==want).all() and (report.confusion.to_numpy()==want).all()
        for ax in (interp.plot_confusion_matrix(normalize=True), report.plot_confusion(normalize=True)):
            assert np.allclose(ax.images[0].get_array(), want/want.sum(1, keepdims=True)) and [t.get_text() for t in ax.get_xticklabels()]==learn.names
        assert sum(n for *_,n in interp.most_confused())==(preds.argmax(1)!=y).sum()
        with pytest.raises(ValueError, match='knows of no labels'): trained('regression').report().plot_confusion()
    plt.close('all')
    capsys.readouterr()
    quiet(learn, lambda l: interp.print_classification_report())
    assert capsys.readouterr().out.split()==classification_report(y, preds.argmax(1), target_names=learn.names, zero_division=0).split()
    several = quiet(trained('multi'), ClassificationInterpretation.from_learner)
    with pytest.raises(ValueError, match='a row may have several labels'): quiet(trained('multi'), lambda l: several.plot_confusion_matrix())
    with pytest.raises(ValueError, match='a row may have several labels'): quiet(trained('multi'), lambda l: several.print_classification_report())

def test_other_rows_with_the_same_targets_are_no_comparison(bert):
    df = FRAMES['single'].assign(label=['good','bad']*24)
    parts = list(range(20)),list(range(28, 48))
    a,b = (learner('single', bert, df, valid=o) for o in parts)
    with pytest.raises(ValueError, match='row 0 of a and row 28 of b are different texts: the same rows are compared'): compare(a.report(), b.report())
    alone = learner('single', bert, df, valid=parts[1]).report(rows=df.iloc[:20].reset_index(drop=True)) # the same rows, numbered as another table
    assert len(compare(a.report(), alone))==20

def test_the_same_rows_in_another_table_are_compared(bert):
    df = FRAMES['single']
    a = learner('single', bert, df, valid=list(range(28, 48)))
    b = learner('single', bert, df.iloc[28:].reset_index(drop=True), valid=None)
    same = b.report(rows=df.iloc[28:].reset_index(drop=True))
    assert a.report().numbers.tolist()!=same.numbers.tolist() and len(compare(a.report(), same))==20

def test_rounding_is_no_difference():
    rng = np.random.default_rng(0)
    losses = rng.random(40)
    from blurlike.inspect.row_results import interval
    assert interval(rng.normal(0, 1e-9, 100), 40)[0]<0<interval(rng.normal(0, 1e-9, 100), 40)[1] # and not: all draws agree
    assert np.isnan(interval(np.full(100, losses[0]), 40)).all()

def test_what_cannot_be_compared_is_told_before_a_model_reads():
    class Model:
        task = None
        def report(self, *args, **kwargs): raise AssertionError('read')
    for kwargs in (dict(names=('x',)), dict(names=('x','x')), dict(samples=0)):
        with pytest.raises(ValueError, match=next(iter(kwargs))): compare(Model(), Model(), **kwargs)
    for odd in (None, 3):
        with pytest.raises(TypeError, match=f'b is {odd}: a learner is expected'): compare(Model(), odd)
