"`learn.report()`: numbers of scikit-learn and of the epoch table, intervals, slices, and the user's own rows; one pass."
import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from fastai.torch_core import set_seed
from sklearn import metrics as skm

from blurlike.inspect.slices import _quarters
from blurlike.all import CategoryBlock, ColReader, DataBlock, Interpretation, RandomSplitter, Rows, TransformersLearner, TransformersTextBlock, causal_lm_learner, masked_lm_learner, seq2seq_learner, token_classification_learner
from blurlike.cli import main
from blurlike.inspect import row_results
from blurlike.inspect.label_results import set_results, single_results
from blurlike.inspect.number_results import number_results
from blurlike.inspect.row_results import draw_sums, interval, mean_results
from blurlike.inspect.score_report import NONE, ScoreReport
from blurlike.inspect.slices import slices_of
from small import BS, CUES, FRAMES, EVERY_KIND, TEXTS, close, learner

RNG = np.random.default_rng(0)
def scores_of(found): return {k:float(v[0]) for k,v in found.measure(found.total()).items()}

def quiet(learn, f):
    with learn.no_bar(), learn.no_logging(): return f(learn)

class Calls:
    "Counts calls of a model, and the rows of them"
    def __init__(self, learn): self.learn,self.n = learn,0
    def __enter__(self):
        self.hook = self.learn.model.register_forward_pre_hook(self.count, with_kwargs=True)
        return self
    def count(self, *args): self.n += 1
    def __exit__(self, *args): self.hook.remove()

# Numbers

@pytest.mark.parametrize('n_labels', [2, 5])
def test_single_labels_as_scikit_learn_counts_them(n_labels):
    y,p = RNG.integers(0, n_labels-(n_labels>2), 80),RNG.integers(0, n_labels, 80) # of five the last is never true
    found = single_results(y, p, list('abcde')[:n_labels], np.zeros(80))
    want = dict(accuracy=skm.accuracy_score(y, p), f1_macro=skm.f1_score(y, p, average='macro'), f1_weighted=skm.f1_score(y, p, average='weighted'),
        mcc=skm.matthews_corrcoef(y, p))
    with pytest.warns(UserWarning) if n_labels==5 else np.errstate(): want |= dict(balanced_accuracy=skm.balanced_accuracy_score(y, p))
    assert scores_of(found)==pytest.approx(want)
    names = [*'abcde'[:n_labels]]
    theirs = pd.DataFrame(skm.classification_report(y, p, labels=range(n_labels), target_names=names, output_dict=True, zero_division=0)).T
    ours = found.by_label(found.total())
    for c,k in dict(precision='precision', recall='recall', f1='f1-score').items(): close(ours[c][0], theirs.loc[names,k].to_numpy(), 1e-6)
    for k,v in found.averages(found.total()).items(): close(v['f1'][0], theirs.loc[k,'f1-score'], 1e-6)

def test_several_labels_as_scikit_learn_counts_them():
    y,p = RNG.random((60, 4))<[.5,.2,.1,0],RNG.random((60, 4))<[.5,.3,.1,0]
    found = set_results(y, p, list('abcd'), np.zeros(60))
    want = dict(f1_micro=skm.f1_score(y, p, average='micro'), f1_macro=skm.f1_score(y, p, average='macro', zero_division=0),
        accuracy_multi=(y==p).mean(), exact_match=skm.accuracy_score(y, p))
    assert scores_of(found)==pytest.approx(want)
    n,cells = 5,found.cells
    counts = np.bincount(cells[:,1]*n+cells[:,2], minlength=n*n).reshape(n, n)
    both = skm.multilabel_confusion_matrix(y, p)
    assert np.diag(counts)[:4].tolist()==both[:,1,1].tolist() and counts[:4,4].tolist()==both[:,1,0].tolist() and counts[4,:4].tolist()==both[:,0,1].tolist()
    assert found.told()[0][0]==tuple(n for n,o in zip('abcd', y[0]) if o)

@pytest.mark.parametrize('shape', [(70,), (70, 3)])
def test_numbers_far_from_zero(shape):
    y = 1e7+RNG.normal(size=shape)
    p = y+.5*RNG.normal(size=shape)
    found = number_results(y, p, ['a','b','c'][:shape[1] if len(shape)>1 else 1], np.zeros(70))
    want = dict(r2=skm.r2_score(y, p), mae=skm.mean_absolute_error(y, p))
    want |= dict(rmse=np.mean(np.sqrt(np.mean((y-p)**2, 0))), pearson=np.mean([np.corrcoef(*o)[0,1] for o in zip(y.reshape(70, -1).T, p.reshape(70, -1).T)]))
    assert scores_of(found)==pytest.approx(want, abs=1e-6)

def test_means():
    found = mean_results(dict(perplexity=np.array([1.,5.]), accuracy=np.array([1.,2.])), np.array([1.,3.]), np.zeros(2))
    assert scores_of(found)==pytest.approx(dict(perplexity=np.exp(1.5), accuracy=.75))

def test_draws_are_the_bootstraps_of_rows(monkeypatch):
    sums = RNG.normal(size=(40, 2))
    drawn = draw_sums(sums, 3000)
    assert drawn.shape==(3000,2) and abs(drawn.mean(0)-sums.sum(0)).max()<1
    close(np.cov(drawn.T), np.cov(sums.T, bias=True)*40, 4.)
    assert (draw_sums(sums, 10)==draw_sums(sums, 10)).all() and not (draw_sums(sums, 10)==draw_sums(sums, 10, seed=1)).any()
    assert (draw_sums(np.ones((40, 1)), 20)==40).all()
    monkeypatch.setattr(row_results, '_most_drawn', 4000)
    assert len(draw_sums(np.ones((40, 1)), 1000))==200 and len(draw_sums(np.ones((10, 1)), 1000))==400 # fewer of many rows

def test_an_interval_covers_as_often_as_it_says():
    hits = 0
    for i in range(200):
        right = np.random.default_rng(i).random(80)<.7
        low,high = interval(draw_sums(right[:,None], 300, i)[:,0]/80, 80)
        hits += low<=.7<=high
    assert .90<=hits/200<=.99

def test_no_interval_of_few_rows_or_where_all_draws_agree():
    assert np.isnan(interval(RNG.random(100), 9)).all() and np.isnan(interval(np.ones(100), 50)).all()
    assert interval(RNG.random((100, 2)), 10).shape==(2,2)

def test_draws_without_a_label_say_nothing_of_it():
    y = np.repeat([0,1,2], [30,30,3])
    guess = np.where(np.arange(63)==60, 0, y)
    rare = ScoreReport(single_results(y, guess, list('abc'), np.zeros(63)), np.arange(63)).labels.loc['c']
    assert rare.recall_high==1 and rare.f1_high==1 and 0<=rare.f1_low<1
    assert np.isnan(rare.precision_low) # what was found was right in each draw that found some
    several = set_results(np.eye(3, dtype=bool)[y], np.eye(3, dtype=bool)[y], list('abc'), np.zeros(63))
    assert ScoreReport(several, np.arange(63)).labels.f1_low.loc['c':'c'].isna().all()
    values = np.r_[np.arange(100.), np.full(900, np.nan)]
    assert interval(values, 50).tolist()==[2,97] and np.isnan(interval(np.full(9, np.nan), 50)).all()

def test_equal_numbers_have_no_correlation():
    y = RNG.normal(size=60)
    for constant in (.1, 1e3+.1, 3.3):
        scores = scores_of(number_results(y, np.full(60, constant), ['x'], np.zeros(60)))
        assert np.isnan(scores['pearson']) and scores['mae']==pytest.approx(abs(y-constant).mean())
    level = np.where(np.arange(60)<20, 1e3+.1, y)
    part = number_results(level, y, ['x'], np.zeros(60))
    one = {k:v[0] for k,v in part.measure(part.total(np.arange(20))).items()}
    assert np.isnan(one['r2']) and np.isnan(one['pearson']) and one['mae']==pytest.approx(abs(1e3+.1-y[:20]).mean())

# Learners

@pytest.mark.parametrize('kind', EVERY_KIND)
def test_one_pass_says_what_the_epoch_table_says(kind, trained):
    learn = trained(kind)
    def by(row): return 'long' if len(str(row))>200 else 'short'
    by.__name__ = 'size & kind'
    with Calls(learn) as calls: report = quiet(learn, lambda l: l.report(by=by))
    assert calls.n==len(learn.dls.valid) and len(report)==12
    values = quiet(learn, lambda l: l.validate())
    assert report.metrics==pytest.approx(dict(zip(['loss', *(m.name for m in learn.metrics)], map(float, values))), abs=1e-6)
    same = dict(pearsonr='pearson')
    told = {k:v for k,v in report.metrics.items() if same.get(k, k) in report.scores.index}
    assert told and all(report.scores.score[same.get(k, k)]==pytest.approx(v, abs=1e-5) for k,v in told.items())
    assert report.slices.rows.sum()==12
    close(report.results.losses, quiet(learn, Interpretation.from_learner).losses)
    for text in (repr(report), report._repr_html_()): assert all(k in text for k in [*report.scores.index, '12 rows', 'by size & kind' if '<p>' not in text else 'by size &amp; kind'])

def test_rows_are_the_users_own(trained):
    learn,df = trained('single'),FRAMES['single']
    report = quiet(learn, lambda l: l.report())
    valid = learn.dls.valid_ds.items.idxs
    guess = np.array([o['label'] for o in quiet(learn, lambda l: l.predict_batch(df.iloc[valid]))])
    for label in CUES:
        for other in CUES: assert sorted(report.rows(label, other))==sorted(valid[(df.label[valid]==label) & (guess==other)])
        assert sorted(report.rows(label))==sorted(valid[df.label[valid]==label])
    wrong = valid[df.label[valid]!=guess]
    assert sorted(report.rows(right=False))==sorted(wrong) and len(report.rows(right=True))==12-len(wrong)
    assert sorted(sum(report.confused.rows, []))==sorted(wrong) and report.confused.n.is_monotonic_decreasing
    assert report.confusion.loc['good','fine']==len(report.rows('good','fine')) and report.confusion.to_numpy().sum()==12
    assert report.labels.support.tolist()==[4,4,4,12,12]
    for bad in (lambda: report.rows('great'), lambda: report.rows(part='film')):
        with pytest.raises(KeyError, match='of this report'): bad()

def test_several_labels_may_be_missed_or_given_in_vain(trained):
    learn,df = trained('multi'),FRAMES['multi']
    report = quiet(learn, lambda l: l.report(df))
    guess = [{o['label'] for o in p} for p in quiet(learn, lambda l: l.predict_batch(df))]
    missed = [i for i,(t,g) in enumerate(zip(df.tags, guess)) if 'good' in t and 'good' not in g]
    vain = [i for i,(t,g) in enumerate(zip(df.tags, guess)) if 'sure' not in t and 'sure' in g]
    assert missed and vain and report.rows('good', NONE).tolist()==missed and report.rows(NONE, 'sure').tolist()==vain
    assert NONE in report.confusion.index

def test_slices(trained):
    learn = trained('single')
    df = FRAMES['single'].assign(source=['web','mail',None]*16, size=range(48), share=np.linspace(0, 1, 48), many=[str(i//2) for i in range(48)][::-1])
    report = quiet(learn, lambda l: l.report(df, by=['source','size','share']))
    s = report.slices
    assert report.slices is s # each is drawn by itself
    assert s.loc['source'].rows.to_dict()=={'web':16,'mail':16,NONE:16}
    assert s.loc['size'].index.tolist()==['0 to 11','12 to 23','24 to 35','36 to 47'] and s.loc['share'].rows.tolist()==[12]*4
    mail = df.iloc[1::3]
    assert report.rows(part='mail').tolist()==list(range(1, 48, 3))
    alone = quiet(learn, lambda l: l.report(mail))
    assert s.loc[('source','mail')].drop('rows').to_dict()==pytest.approx({f'{k}{c}':r[n] for k,r in alone.scores.iterrows() for c,n in (('','score'),('_low','low'),('_high','high'))}, nan_ok=True)
    for data in (Dataset.from_pandas(df), df.to_dict('records')): assert quiet(learn, lambda l: l.report(data, by='source')).slices.equals(quiet(learn, lambda l: l.report(df, by='source')).slices)
    dl = learn.dls.test_dl(df, with_labels=True)
    assert len(slices_of(dl, 'many'))==24 and slices_of(dl, lambda r: len(r['text'])>50).keys()=={False,True}

def test_slices_that_could_be_taken_for_each_other(trained):
    df = FRAMES['single'].assign(one=['yes','no']*24, two=['yes']*10+['no']*38, odd=[NONE,None]*24, time=1.5e9+np.arange(48)/7, far=[np.inf, *range(47)])
    report = quiet(trained('single'), lambda l: l.report(df, by=['one','two', lambda r: r['text'][:1]<'m', lambda r: r['label'], 'odd','time']))
    assert report.slices.loc['a function'].rows.sum()==48 and report.slices.loc['a function 2'].rows.to_dict()==dict(bad=16, fine=16, good=16)
    with pytest.raises(KeyError, match=r"is a slice by one and by two: pass part=\('one', 'yes'\)"): report.rows(part='yes')
    assert report.rows(part=('one','yes')).tolist()==list(range(0, 48, 2)) and report.rows(part=('two','yes')).tolist()==list(range(10))
    assert report.rows(part=NONE).tolist()==list(range(48)) and report.rows(part='good').tolist()==list(range(2, 48, 3))
    assert report.slices.loc['time'].rows.tolist()==[12]*4
    assert 'by a function:' in repr(report) and 'by a function 2:' in repr(report)
    for by,kind,said in (('far', ValueError, 'infinite'), (df.one, TypeError, 'as a column')):
        with pytest.raises(kind, match=said): trained('single').report(df, by=by)
    with pytest.raises(ValueError, match='samples=0'): trained('single').report(df, samples=0)

@pytest.mark.parametrize('by,names', [(['good','stars'], ['False','True',0,1]), (['stars','good'], [0,1,'False','True']), (['good','share'], ['False','True','0.0','1.0']),
    (['share','stars'], ['0.0','1.0',0,1]), (['good'], [False,True]), (['good','topic'], [False,True,'a','b'])])
def test_slices_have_the_values_of_their_own_column(by, names, trained): # True, 1 and 1.0 are one for an index
    stars = np.arange(48)%2
    df = FRAMES['single'].assign(good=np.arange(48)%3==0, stars=stars, share=stars.astype(float), topic=np.array(['a','b'])[stars])
    report = quiet(trained('single'), lambda l: l.report(df, by=by, samples=20))
    found = report.slices.index.get_level_values(1).tolist()
    assert sorted(map(repr, found))==sorted(map(repr, names))
    assert [*map(str, names)]==[*map(str, found)] or by[0]=='good'
    if 'good' in by:
        for name in ('True', ('good',True), ('good','True')): assert report.rows(part=name).tolist()==list(range(0, 48, 3))

@pytest.mark.parametrize('kind', ['multi','single'])
def test_no_label_is_told_where_it_stands(kind, trained):
    report = quiet(trained(kind), lambda l: l.report())
    said = [f'{NONE} as {c}: {what}' for c,what in (('prediction','missed'),('label','given in vain')) if (report.confused[c]==NONE).any()]
    assert bool(said)==(kind=='multi') and (f"most confused{', ' if len(report.confused)>20 else '; '}" in repr(report))==bool(said)
    assert all(o in repr(report) and o in report._repr_html_() for o in said)

def test_a_script_prints_all_columns(trained, monkeypatch):
    "On a terminal of 80 columns too"
    monkeypatch.setenv('COLUMNS', '80')
    report = quiet(trained('single'), lambda l: l.report(by='label'))
    for df in (report.labels, report.slices, report.confused.head(2)):
        assert all(str(c) in repr(df) for c in df) and len(repr(df).splitlines())<=len(df)+2

def test_rows_of_a_datablock(bert):
    df = FRAMES['single'].assign(source=['web','mail']*24)
    block = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'), splitter=RandomSplitter(.25, seed=1))
    learn = TransformersLearner(block.dataloaders(df, bs=BS), bert)
    report = quiet(learn, lambda l: l.report(by=['source', lambda row: row['text'][:1]]))
    valid = learn.dls.valid_ds.splits[1]
    assert len(report)==12 and sorted(report.rows(part='web'))==sorted(i for i in report.rows() if df.source[i]=='web')
    assert sorted(report.rows('good'))==sorted(i for i in report.rows() if df.label[i]=='good') and set(report.rows())==set(valid)

def test_bad_input(trained, bert, in_tmp):
    learn,df = trained('single'),FRAMES['single']
    wide = pd.concat([df]*2, ignore_index=True).assign(id=lambda d: d.index.astype(str), bag=[['a']]*96)
    for by,kind,said in (('id', ValueError, '96 values in 96 rows'), ('language', KeyError, 'language'), ('bag', TypeError, 'pass a function of a row')):
        with pytest.raises(kind, match=said): learn.report(wide, by=by)
    with pytest.raises(ValueError, match='without labels'): learn.report(learn.dls.test_dl(df.text.tolist()))
    with pytest.raises(KeyError, match='label'): learn.report(df[['text']])
    with pytest.raises(ValueError, match='no rows to report on'): learner('single', bert, valid=None).report()
    few = quiet(learn, lambda l: l.report(df[:3]))
    assert few.scores.low.isna().all() and 'too few' in repr(few)
    df.to_csv('t.csv')
    assert quiet(learn, lambda l: l.report('t.csv')).scores.equals(quiet(learn, lambda l: l.report(df)).scores)

def test_all_training_rows_though_the_loader_shuffles_and_drops(trained):
    learn = trained('single')
    report = quiet(learn, lambda l: l.report(l.dls.train))
    assert len(report)==36 and sorted(report.rows())==sorted(learn.dls.train_ds.items.idxs)

TAGS = [['B-CUE' if w in CUES['good'] else 'B-BAD' if w in CUES['bad'] else 'O' for w in t.split()] for t in TEXTS]
TAGGED = pd.DataFrame(dict(tokens=[t.split() for t in TEXTS], tags=TAGS))

@pytest.mark.parametrize('max_length', [12, None])
@pytest.mark.filterwarnings('ignore:.*texts')
def test_entities_as_their_own_report_counts_them(max_length, bert):
    set_seed(0)
    learn = token_classification_learner(TAGGED, bert, bs=BS, max_length=max_length)
    quiet(learn, lambda l: l.fit_one_cycle(5, 1e-2))
    tags = [[dict(O='O').get(t, 'B-BAD') for t in o] if i%4==0 else ['B-CUE', *o[1:]] if i%4==1 else o for i,o in enumerate(TAGS)]
    dl = learn.dls.test_dl(TAGGED.assign(tags=tags), with_labels=True)
    with Calls(learn) as calls: report = quiet(learn, lambda l: l.report(dl))
    assert calls.n==len(dl)
    theirs = quiet(learn, lambda l: l.entity_report(dl=dl))
    assert 0<theirs.f1['micro avg']<1
    for c in theirs: assert report.labels[c].to_dict()==pytest.approx(theirs[c].to_dict())
    same = report.metrics==pytest.approx({'loss':report.metrics['loss'], **{k:report.scores.score[k] for k in ('precision','recall','f1','accuracy')}})
    assert same # words that were cut off among them
    preds = quiet(learn, lambda l: l.get_preds(dl=dl))[0]
    pairs = [{(a, learn.names[j]) for a,j in zip(o, p.argmax(-1))} for o,p in zip(tags, preds)]
    for a,b in (('CUE',NONE), ('BAD','CUE'), (NONE,'BAD')):
        def tag(o): return 'O' if o==NONE else f'B-{o}'
        rows = [i for i,o in enumerate(pairs) if (tag(a), tag(b)) in o]
        assert report.rows(a, b).tolist()==rows
    assert len(report.rows('CUE', NONE)) and len(report.rows('BAD', 'CUE'))

def test_tags_without_entities_are_counted_by_word(bert):
    df = TAGGED.assign(tags=[[t.replace('B-', '').replace('O', 'OUT') for t in tags] for tags in TAGS])
    learn = token_classification_learner(df, bert, bs=BS)
    report = quiet(learn, lambda l: l.report())
    assert report.metrics['accuracy']==pytest.approx(report.scores.score['accuracy'])
    assert report.labels.support[:-2].sum()==sum(len(df.tokens[i]) for i in learn.dls.valid_ds.items.idxs)

def _texts(kind, checkpoints):
    df = FRAMES['single']
    if kind=='gaps': return masked_lm_learner(df, checkpoints('bert'), bs=BS)
    if kind=='next': return causal_lm_learner(df, checkpoints('gpt2'), text=['text','label'], bs=BS)
    return seq2seq_learner(df.assign(target=df.label), checkpoints('bart'), source='text', target='target', bs=BS, metrics=[])

@pytest.mark.parametrize('kind', ['gaps','next','written'])
def test_models_of_tokens(kind, checkpoints):
    learn = _texts(kind, checkpoints)
    quiet(learn, lambda l: l.validate()) # the first call asks the model how it may be called
    with Calls(learn) as calls: report = quiet(learn, lambda l: l.report(by='label'))
    assert calls.n==len(learn.dls.valid)
    s,m = report.scores.score,report.metrics
    assert s['perplexity']==pytest.approx(m.get('perplexity', np.exp(m['loss'])), rel=1e-5)
    if kind!='written': assert s['accuracy']==pytest.approx(m.get('accuracy', m.get('masked_accuracy')))
    assert report.slices.rows.sum()==len(learn.dls.valid_ds)
    assert report.labels is None and report.confused is None
    with pytest.raises(ValueError, match='knows of no labels'): report.rows('good')

def test_blocks_hold_no_rows_to_divide(checkpoints, in_tmp):
    open('corpus.txt', 'w').write('\n'.join(TEXTS))
    learn = masked_lm_learner('corpus.txt', checkpoints('bert'), block_size=16)
    assert len(quiet(learn, lambda l: l.report()))==len(learn.dls.valid_ds)
    with pytest.raises(ValueError, match='blocks of tokens'): learn.report(by='text')

def test_questions_without_an_answer(bert):
    from blurlike.all import question_answering_learner
    df = FRAMES['answers'].assign(answers=lambda d: [a if i%3 else dict(text=[], answer_start=[]) for i,a in enumerate(d.answers)])
    set_seed(0)
    learn = question_answering_learner(df, bert, bs=BS, valid=.25)
    report = quiet(learn, lambda l: l.report())
    assert report.metrics['exact_match']==pytest.approx(report.scores.score['exact_match']) and report.metrics['f1']==pytest.approx(report.scores.score['f1'])
    assert report.confusion.loc['no answer'].sum()==sum(i%3==0 for i in learn.dls.valid_ds.items.idxs)

def test_a_task_that_judges_nothing_has_a_loss(bert):
    from dataclasses import replace
    learn = learner('single', bert)
    learn.task = replace(learn.task, judge=None)
    report = quiet(learn, lambda l: l.report())
    assert report.scores.score['loss']==pytest.approx(report.metrics['loss'], abs=1e-6)

def test_by_the_command_line(trained, in_tmp, capsys):
    learn = trained('single')
    learn.save_pretrained('m')
    df = FRAMES['single'].assign(source=['web','mail']*24)
    df.to_csv('t.csv', index=False)
    assert main(['report', 'm', 't.csv', '--by', 'source', '--rows', '2'])==0
    said = capsys.readouterr().out
    report = quiet(learn, lambda l: l.report(df, by='source'))
    assert repr(report) in said and 'by source' in said and 'errs most' in said
    assert main(['report', 'm', 't.csv', '--by', 'language'])==2

def test_quarters_are_named_by_what_is_in_them():
    from blurlike.inspect.slices import _quarters
    names = _quarters(pd.Series(np.linspace(.00274, .9, 40))).cat.categories
    assert names[0].startswith('0.00274 to ') and len(set(names))==4
    assert _quarters(pd.Series(range(3, 43))).cat.categories[0].startswith('3 to ')

@pytest.mark.parametrize('values,names,sizes', [([0]*45+[*range(15)],['0','1 to 14'],[46,14]), ([-1]*30+[*range(30)],['-1','0 to 14','15 to 29'],[30,15,15]), ([*range(20)]+[20]*40,['0 to 14','15 to 19','20'],[15,5,40]),
    ([*range(15)]+[15]*30+[*range(16,31)],['0 to 14','15','16 to 30'],[15,30,15]), ([0.]*45+[i+.5 for i in range(15)],['0','0.125 to 14.5'],[45,15]), ([None]*4+[0]*45+[*range(15)],['0','1 to 14'],[46,14]), ([7]*60+[*range(11)],['7','8 to 10'],None)], ids=str)
def test_a_number_of_most_rows_is_a_slice_of_its_own(values, names, sizes):
    for dtype in (None, 'Int64' if all(v is None or v%1==0 for v in values) else 'Float64'):
        found = _quarters(pd.Series(values, dtype=dtype)).value_counts(sort=False)
        found = found[found>0]
        assert sizes is None or found.to_dict()==dict(zip(names, sizes))
        assert found.sum()==sum(v is not None for v in values) and {*names}<={*found.index}

def test_a_part_ends_where_a_number_stands_alone():
    found = _quarters(pd.Series([0.]*20+[-.5,-1.5]*10+[.5,1.5]*10))
    assert not any('e-' in name for name in found.unique()) and {'-0.5 to 0','0'}<={*found.cat.categories}

def test_a_slice_by_the_label_leaves_the_table_of_labels(trained):
    said = str(trained('single').report(by='label'))
    assert 'precision' in said and 'by the column label' in said

def test_whole_numbers_with_gaps_are_named_as_whole_numbers():
    class Loader: dataset = type('Rows', (), dict(items=Rows(pd.DataFrame(dict(n=[*range(24), None])))))
    assert [*slices_of(Loader(), 'n')]==['0 to 5','6 to 11','12 to 17','18 to 23','(none)']

def test_dates_stand_in_their_order():
    days = pd.to_datetime(['2024-03-01','2024-01-05','2024-03-01','2024-02-02'])
    class Loader: dataset = type('Rows', (), dict(items=Rows(pd.DataFrame(dict(day=days)))))
    assert [*slices_of(Loader(), 'day')]==sorted(set(days))
