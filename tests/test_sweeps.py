"A search that is repeatable, tells what failed, and knows which way is better; with Optuna for real, with Weights & Biases against a stand-in."
import math,sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import wandb
import blurlike.share.sweeps
from blurlike.all import Learner, last_value, lower_is_better, read_range, set_seed, sweep
from small import EVERY_KIND, learner

pytestmark = pytest.mark.filterwarnings('ignore:trial .* failed')

@pytest.fixture(autouse=True)
def place(in_tmp, monkeypatch):
    for k in ('WANDB_DIR','WANDB_DATA_DIR','WANDB_CACHE_DIR','WANDB_CONFIG_DIR','HOME'): monkeypatch.setenv(k, str(in_tmp))
    monkeypatch.delenv('WANDB_API_KEY', raising=False)
    yield
    if wandb.run is not None: wandb.finish()

def bowl(x, y=1): return (x-.3)**2+y

def fit_quietly(learn, lr, n_epoch=1):
    with learn.no_bar(), learn.no_logging(): learn.fit(n_epoch, lr)

@pytest.mark.parametrize('o,expected', [
    ((1e-5, 1e-3), dict(low=1e-5, high=1e-3, whole=False, log=True)), ((.1, 1.), dict(low=.1, high=1., whole=False, log=True)), ((.1, .5), dict(low=.1, high=.5, whole=False, log=False)),
    ((0., 10.), dict(low=0., high=10., whole=False, log=False)), ((1, 1000), dict(low=1, high=1000, whole=True, log=False)), ((0, .5), dict(low=0, high=.5, whole=False, log=False)),
    ([1, 'a', None], dict(values=[1, 'a', None])), ('adamw', dict(values=['adamw'])), (None, dict(values=[None])), (True, dict(values=[True]))])
def test_ranges(o, expected): assert read_range('x', o)==expected

@pytest.mark.parametrize('o', [(), (1,), (1, 2, 3), (2, 1), (1, 1), ('a', 'b'), (0., math.nan), (0., math.inf), (True, 2), (None, 1), []])
def test_no_ranges(o):
    with pytest.raises(ValueError, match='^rate='): read_range('rate', o)

@pytest.mark.parametrize('values', [[64,None,128], [.01,None], [8,2.5], [True,None], [True,False], [8,True], ['a',None], [None,None], [[1,2],[3]]], ids=str)
@pytest.mark.parametrize('best', [0,1])
def test_parameters_come_back_as_they_were_given(values, best):
    t = sweep(lambda x: float(x is not values[best]), dict(x=values), n_trials=9, backend='optuna')
    got = t.best['x']
    assert type(got) is type(values[best]) and got==values[best]
    assert all(any(v is w or type(v) is type(w) and v==w for w in values) for v in t.x.tolist())

def test_scores_are_numbers_where_trials_failed_too():
    def fails(n, lr):
        if n==2: raise RuntimeError('x')
        return .12345*n
    with pytest.warns(UserWarning, match='failed'): t = sweep(fails, dict(n=[1,2,3], lr=[np.float64(.1)]), metric='score', n_trials=3)
    assert t.score.dtype==t.lr.dtype=='float64' and t.n.dtype=='int64' and t.round(2).score.tolist()[:2]==[.37, .12] and t.nlargest(1, 'score').n.tolist()==[3]
    assert math.isnan(t.score.iloc[2]) and {*t.describe()}=={'n','lr','score'}

@pytest.mark.parametrize('metric,lower', [('valid_loss',True), ('error_rate',True), ('perplexity',True), ('mae',True), ('rmse',True), ('accuracy',False), ('f1_macro',False), ('pearsonr',False)])
def test_direction(metric, lower):
    assert lower_is_better(metric)==lower
    t = sweep(bowl, dict(x=[0., .3, 1., 2.]), metric=metric, n_trials=12, backend='optuna')
    assert t.best['x']==(.3 if lower else 2.) and list(t[metric])==sorted(t[metric], reverse=not lower)
    assert sweep(bowl, dict(x=[0., .3, 1., 2.]), metric=metric, n_trials=12, backend='optuna', lower=not lower).best['x']==(2. if lower else .3)

LESS = 'train_loss valid_loss hamming_loss error_rate mean_absolute_error mae mse _rmse exp_rmspe msle mape smape perplexity brier_score BrierScore nll wer cer ece fpr kl_divergence cross_entropy edit_distance'
MORE = 'accuracy accuracy_multi masked_accuracy top_k_accuracy foreground_acc f1 f1_macro f1_micro f0.5 fbeta_score precision recall roc_auc_score ap_score_binary matthews_corrcoef pearsonr spearmanr r2_score explained_variance cohen_kappa jaccard_score dice corpus_bleu rouge1 exact_match mcc my_score'

def test_what_a_name_tells():
    assert [n for n in LESS.split() if not lower_is_better(n)]==[]
    assert [n for n in MORE.split() if lower_is_better(n)]==[]
    for name in ('quality','<lambda>','given','neg_mean_squared_error','neg_log_loss','mismatch','inaccuracy','mean','maestro','perform','user','bigmap'):
        with pytest.raises(ValueError, match=f'is less of {name!r} better, or more.*pass lower='): lower_is_better(name)
    with pytest.raises(ValueError, match='quality'): sweep(bowl, dict(x=1.), metric='quality', n_trials=1, backend='optuna')
    assert sweep(bowl, dict(x=[1.]), metric='quality', lower=True, n_trials=1, backend='optuna').best=={'x':1.}

@pytest.mark.parametrize('kind', EVERY_KIND)
def test_the_metrics_of_our_tasks_are_known(kind, checkpoint):
    errors = {m.name for m in learner(kind, checkpoint).metrics if lower_is_better(m.name)}
    assert errors==dict(regression={'mae'}, prompts={'perplexity','bits_per_byte'}, chats={'perplexity','bits_per_byte'}).get(kind, set())

@pytest.mark.parametrize('parameters,n', [(dict(x=[1., .3]), 2), (dict(x=[0., 1., .3], y=[2, 1]), 6), (dict(x=.3), 1)], ids=['choice','grid','fixed'])
def test_a_grid_is_tried_once_each(parameters, n):
    t = sweep(bowl, parameters, backend='optuna')
    assert len(t)==len(t[t.names].drop_duplicates())==n and t.best['x']==.3
    assert len(sweep(bowl, dict(x=[0., .3, 1.]), n_trials=2, backend='optuna'))==2 # no more than were asked for

def test_a_part_of_a_grid_is_of_different_combinations():
    t = sweep(lambda a, b, c, d: float(a+b+c), dict(a=[0,1], b=[0,1,2], c=[0,1], d=[5]), n_trials=11, backend='optuna')
    assert len(t[t.names].drop_duplicates())==len(t)==11 and t.valid_loss.min()==0
    again = sweep(lambda a, b, c, d: float(a+b+c), dict(a=[0,1], b=[0,1,2], c=[0,1], d=[5]), n_trials=11, backend='optuna')
    assert again.equals(t)

def test_values_that_are_equal_are_tried_each():
    "1 and True, 0 and False: to `==` and `in` they are the same."
    t = sweep(lambda x: float(x), dict(x=[0, 1, False, True]), n_trials=3, backend='optuna')
    assert len({repr(x) for x in t.x})==len(t)==3

@pytest.mark.slow
def test_a_grid_of_wandb(monkeypatch):
    server = Server(monkeypatch, [dict(x=1.), dict(x=.3), dict(x=1.)])
    assert len(sweep(bowl, dict(x=[1., .3]), backend='wandb'))==2 and server.config['method']=='grid'

def test_the_search_searches():
    t = sweep(bowl, dict(x=(-10., 10.), y=(1, 9)), n_trials=60, backend='optuna')
    assert abs(t.best['x']-.3)<1 and t.best['y']==1
    assert type(t.best['y']) is int and type(t.best['x']) is float
    assert bowl(**t.best)==t.valid_loss.iloc[0]
    assert t.x.between(-10, 10).all() and set(t.y)<=set(range(1, 10))
    assert sorted(t.index)==list(range(60)) and t.index.name=='trial'
    rates = sweep(lambda lr: 0., dict(lr=(1e-6, 1e-2)), n_trials=40, backend='optuna').lr
    assert 5<(rates<1e-4).sum()<35 # half of the range, by its logarithm

@pytest.mark.slow
def test_a_seed_repeats_all_of_it(bert):
    def make(bs): return learner('single', bert, bs=bs, seed=None, valid=list(range(36, 48))) # the head and the order of batches come from the state of the trial
    ts = []
    for seed in (3, 3, 4):
        torch.rand(len(ts)+1)
        ts.append(sweep(make, dict(lr=(1e-4, 1e-1), bs=[8, 16]), fit=fit_quietly, n_trials=3, backend='optuna', seed=seed))
    assert ts[0].equals(ts[1]) and not ts[0].equals(ts[2])
    set_seed(3)
    again = make(ts[0].best['bs'])
    fit_quietly(again, ts[0].best['lr'])
    assert last_value(again, 'valid_loss')==ts[0].valid_loss.iloc[0] # the best trial can be had again

def test_who_takes_what(bert):
    got = []
    def make(bs, both): return got.append(('make', bs, both)) or learner('single', bert, bs=bs)
    def fit(learn, lr, both, n_epoch=1):
        got.append(('fit', lr, both))
        fit_quietly(learn, lr, n_epoch)
    t = sweep(make, dict(bs=8, both=['x'], lr=(1e-4, 1e-3)), fit=fit, metric='accuracy', n_trials=1, backend='optuna')
    assert [g[0] for g in got]==['make','fit'] and got[0][1:]==(8,'x')
    assert got[1][1:]==(t.best['lr'],'x') and t.best['bs']==8
    assert list(t.columns)==['bs','both','lr','accuracy','note']
    sweep(lambda a, *, b, **kw: got.append(kw) or 1., dict(a=1, b=[2]), n_trials=1, backend='optuna')
    assert got.pop()=={}
    for f,params in ((None, dict(bs=8, both=1, lr=1)), (fit, dict(bs=8, both=1, lr=1, wd=2))):
        with pytest.raises(TypeError, match='nobody takes '+('lr' if f is None else 'wd')): sweep(make, params, fit=f, backend='optuna')
    assert len(got)==2

def rest(x, *args, **kw): return x
NOBODY = dict(kwargs=(rest, None, dict(x=1., lr=1., bs=2), 'lr, bs'), name_of_kwargs=(rest, None, dict(x=1., kw=1), 'kw'), name_of_args=(rest, None, dict(x=1., args=1), 'args'), positional=(lambda y, /, x=1.: x, None, dict(x=1., y=1.), 'y'),
    in_fit=(rest, lambda learn, **kw: None, dict(x=1., wd=1), 'wd'), partial=(partial(rest, lr=3), None, dict(x=1., bs=1), 'bs'))

@pytest.mark.parametrize('case', NOBODY)
def test_what_nobody_names_is_an_error(case):
    f,fit,params,lost = NOBODY[case]
    with pytest.raises(TypeError, match=f'nobody takes {lost}: .*of that name'): sweep(f, params, fit=fit, n_trials=1, backend='optuna')

def test_kwargs_get_nothing_that_another_names(bert):
    got = []
    def make(bs, **kw): return got.append(kw) or learner('single', bert, bs=bs, **kw)
    sweep(make, dict(bs=8, lr=1e-3), fit=fit_quietly, n_trials=1, backend='optuna')
    assert got==[{}]
    t = sweep(partial(learner, 'single', bert), dict(lr=1e-3), fit=fit_quietly, n_trials=1, backend='optuna')
    assert t.best==dict(lr=1e-3)

def test_learner_fn_may_train(bert):
    def make(lr):
        learn = learner('regression', bert)
        fit_quietly(learn, lr, 2)
        return learn
    t = sweep(make, dict(lr=[1e-3]), metric='mae', n_trials=1, backend='optuna')
    learn = make(1e-3)
    assert t.mae.iloc[0]==learn.recorder.values[-1][list(learn.recorder.metric_names[1:]).index('mae')]

def test_what_fails_is_told():
    def f(x, y=0):
        if x=='boom': raise RuntimeError('CUDA out of memory')
        return math.nan if x=='nan' else 1.
    with pytest.warns(UserWarning) as w: t = sweep(f, dict(x=['boom','nan','fine'], y=list(range(4))), n_trials=12, backend='optuna')
    assert len(t)==12 and set(t.x)=={'boom','nan','fine'} and t.best==dict(x='fine', y=0)
    n = (t.x=='fine').sum()
    assert t.valid_loss[:n].eq(1).all() and t.valid_loss[n:].isna().all()
    assert set(t[t.x=='boom'].note)=={'RuntimeError: CUDA out of memory'}
    assert set(t[t.x=='nan'].note)=={'ValueError: valid_loss is nan'}
    assert set(t[t.x=='fine'].note)=={''}
    assert sum('failed' in str(o.message) for o in w)==12-n
    with pytest.raises(RuntimeError, match='none of 3 trials gave a value; the first: RuntimeError: CUDA'): sweep(f, dict(x='boom', y=(0, 9)), n_trials=3, backend='optuna')

def test_interrupted():
    done = []
    def f(x):
        if len(done)==4: raise KeyboardInterrupt
        done.append(x)
        return x
    with pytest.warns(UserWarning, match='holds the 4 trials'): t = sweep(f, dict(x=(0., 1.)), n_trials=9, backend='optuna')
    assert sorted(t.x)==sorted(done) and t.best['x']==min(done)
    with pytest.raises(KeyboardInterrupt): sweep(f, dict(x=(0., 1.)), backend='optuna')

def test_wrong_metrics_and_learners(bert):
    learn = learner('single', bert)
    with pytest.raises(ValueError, match='was not trained'): last_value(learn, 'accuracy')
    fit_quietly(learn, 1e-3)
    with pytest.raises(ValueError, match='train_loss, valid_loss, accuracy, f1_macro'): last_value(learn, 'f1')
    with pytest.raises(ValueError, match='no column'): last_value(learn, 'time')
    learn.recorder.values.append([.5, None, None, None])
    assert last_value(learn, 'train_loss')==.5
    with pytest.raises(ValueError, match="last epoch has no 'accuracy': it was cut short"): last_value(learn, 'accuracy')
    with pytest.raises(TypeError, match='gave NoneType'): last_value(None, 'f1')
    assert last_value(np.float32(.5), '')==.5 and isinstance(learn, Learner)
    for given,said in ((dict(learner_fn=learn), 'learner_fn: a function is expected, not TransformersLearner'), (dict(learner_fn=None), 'learner_fn'), (dict(learner_fn=bowl, fit=1e-3), 'fit: a function')):
        with pytest.raises(TypeError, match=said): sweep(parameters=dict(x=1.), backend='optuna', **given)
    for kw,said in ((dict(backend='grid'), "backend='grid'"), (dict(n_trials=0), 'n_trials=0'), (dict(n_trials='3'), "n_trials='3'"), (dict(prune=True), 'prune=True needs fit')):
        with pytest.raises(ValueError, match=said): sweep(bowl, dict(x=1.), **dict(backend='optuna') | kw)

def test_pruned(bert):
    "A trial that is worse than the others is given up after its first epoch"
    epochs = []
    def fit(learn, lr):
        try: fit_quietly(learn, lr, 3)
        finally: epochs.append(len(learn.recorder.values))
    rates = iter([1e-4]*6+[10.]*2)
    def make(): return learner('single', bert, bs=16)
    def next_rate(trial, name, r): return next(rates)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(blurlike.share.sweeps, '_suggest', next_rate)
        t = sweep(make, dict(lr=(1e-5, 20.)), fit=fit, n_trials=8, backend='optuna', prune=True)
    assert epochs[:6]==[3]*6 and max(epochs[6:])<3
    assert list(t.note[-2:])==['pruned']*2 and set(t.note[:-2])=={''}
    assert t.lr.iloc[0]==1e-4

def test_without_optuna(monkeypatch):
    monkeypatch.setitem(sys.modules, 'optuna', None)
    with pytest.raises(ImportError, match='pip install optuna'): sweep(bowl, dict(x=1.), backend='optuna')

class Server:
    "A stand-in for the server of Weights & Biases: `sweep` takes the config, `agent` calls the function with parameters of its choice"
    def __init__(self, monkeypatch, choices):
        self.choices,self.runs = choices,[]
        monkeypatch.setattr(wandb, 'sweep', self.sweep)
        monkeypatch.setattr(wandb, 'agent', self.agent)
        init = wandb.init
        def start():
            self.runs.append(init(mode='offline', config=self.now, dir='.', settings=wandb.Settings(console='off', quiet=True, x_disable_machine_info=True)))
            return self.runs[-1]
        monkeypatch.setattr(wandb, 'init', start)
    def sweep(self, config, project=None):
        self.config,self.project = config,project
        return 'the-sweep'
    def agent(self, sweep_id, function=None, count=None, project=None):
        assert sweep_id=='the-sweep' and project==self.project
        for self.now in self.choices[:count]: function()

@pytest.mark.slow
def test_wandb(bert, monkeypatch):
    server = Server(monkeypatch, [dict(bs=8, lr=1e-3, wd=.1), dict(bs=16, lr=-1., wd=.1), dict(bs=16, lr=1e-2, wd=.1)])
    logged = []
    from blurlike.share.tracking import WandbCallback
    send = WandbCallback._send
    monkeypatch.setattr(WandbCallback, '_send', lambda self, values: logged.append(values) or send(self, values))
    def fit(learn, lr, wd):
        if lr<0: raise ValueError('a negative rate')
        fit_quietly(learn, lr, 2)
    t = sweep(lambda bs: learner('single', bert, bs=bs), dict(lr=(1e-4, 1e-1), bs=[8, 16], wd=.1), fit=fit, metric='accuracy', n_trials=3, backend='wandb', project='cues')
    assert server.config==dict(method='bayes', metric=dict(name='accuracy', goal='maximize'), parameters=dict(lr=dict(distribution='log_uniform_values', min=1e-4, max=1e-1), bs=dict(values=[8, 16]), wd=dict(values=[.1])))
    assert server.project=='cues' and len(t)==len(server.runs)==3
    assert t.note.iloc[-1]=='ValueError: a negative rate' and t.best['lr'] in (1e-3, 1e-2)
    assert wandb.run is None
    assert sum('accuracy' in o for o in logged)==4 # two epochs of two trials

def test_wandb_ranges(): assert [blurlike.share.sweeps._for_wandb(read_range('', o)) for o in ((1, 4), (0., .5))]==[dict(distribution='int_uniform', min=1, max=4), dict(distribution='uniform', min=0., max=.5)]

def test_the_server_goes_away(monkeypatch):
    server = Server(monkeypatch, [])
    with pytest.raises(RuntimeError, match='none of 0 trials'): sweep(bowl, dict(x=[1.]), backend='wandb')
    assert server.config['metric']['goal']=='minimize'
    with pytest.raises(ValueError, match='prune'): sweep(bowl, dict(x=[1.]), fit=lambda learn: 0, backend='wandb', prune=True)

@pytest.mark.parametrize('key', ['none','env','netrc','offline'])
def test_the_backend_that_is_taken(key, monkeypatch):
    "Without a key nothing asks for one"
    monkeypatch.setenv('WANDB_MODE', 'offline' if key=='offline' else 'online')
    if key in ('env','offline'): monkeypatch.setenv('WANDB_API_KEY', 'x'*40)
    if key=='netrc':
        Path('.netrc').write_text('machine api.wandb.ai login user password x\n')
        Path('.netrc').chmod(0o600)
    called = SimpleNamespace(n=None)
    for n in ('wandb','optuna'): monkeypatch.setitem(blurlike.share.sweeps._backends, n, lambda search, *a, n=n: setattr(called, 'n', n) or search.rows.append(dict(x=1., valid_loss=1., note='')))
    sweep(bowl, dict(x=1.))
    assert called.n==('wandb' if key in ('env','netrc') else 'optuna')

def test_the_table_is_a_data_frame():
    t = sweep(bowl, dict(x=(0., 1.), y=[2]), n_trials=5, backend='optuna')
    assert isinstance(t, pd.DataFrame) and set(t.best)=={'x','y'}
    assert type(t.head(2)) is pd.DataFrame and t.query('x<2').shape==(5, 4)
    t.to_csv('t.csv')
    assert list(pd.read_csv('t.csv').x)==pytest.approx(list(t.x))

@pytest.mark.parametrize('kw', [{}, dict(prune=True)], ids=['plain','prune'])
def test_a_metric_that_is_not_there_stops_the_search(kw, bert):
    trained = []
    def fit(learn, lr):
        trained.append(lr)
        fit_quietly(learn, lr)
    with pytest.raises(ValueError, match="metric='acc' is no column of the epoch table, which has train_loss, valid_loss, accuracy"):
        sweep(lambda: learner('single', bert), dict(lr=[1e-4, 1e-3]), fit=fit, metric='acc', lower=False, n_trials=5, backend='optuna', **kw)
    assert not trained

@pytest.mark.parametrize('gives,error,said', [(lambda c: None, TypeError, 'gave NoneType'), (lambda c: learner('single', c), ValueError, 'was not trained')], ids=['nothing','untrained'])
@pytest.mark.parametrize('backend', ['optuna','wandb'])
def test_a_learner_fn_that_gives_nothing_of_use_stops_the_search(backend, gives, error, said, bert, monkeypatch):
    server,made = Server(monkeypatch, [dict(x=i) for i in range(4)]),[]
    with pytest.raises(error, match=said): sweep(lambda x: made.append(x) or gives(bert), dict(x=[0, 1, 2, 3]), n_trials=4, backend=backend)
    assert len(made)==1 and len(server.runs)==(backend=='wandb') and wandb.run is None

def test_a_late_missing_metric_is_one_trial_that_failed(bert):
    def make(k):
        learn = learner('single', bert, metrics=[] if k else None)
        fit_quietly(learn, 1e-3)
        return learn
    ks = iter([0,1,0])
    with pytest.MonkeyPatch.context() as m:
        m.setattr(blurlike.share.sweeps, '_suggest', lambda *a: next(ks))
        t = sweep(make, dict(k=(0, 1)), metric='accuracy', lower=False, n_trials=3, backend='optuna')
    assert t.k.tolist()==[0,0,1] and 'no column' in t.note.iloc[-1]

@pytest.mark.parametrize('name', ['note','valid_loss'])
def test_a_parameter_may_not_be_named_as_a_column_of_the_table(name):
    with pytest.raises(ValueError, match=f"parameter '{name}'.*column"): sweep(lambda **kwargs: 1., {name:[1, 2]}, n_trials=1, backend='optuna')

def test_values_that_stand_twice():
    assert read_range('x', [1,1,2,1])==dict(values=[1,2]) and read_range('x', [1,True,1.,'1'])==dict(values=[1,True,1.,'1'])

def test_each_trial_is_told_before_its_table(capsys):
    sweep(lambda lr, bs: print('trained') or lr, dict(lr=[1e-5, 2.5e-4], bs=[8]), backend='optuna')
    said = [l for l in capsys.readouterr().out.splitlines() if l.startswith('tria') or l=='trained']
    assert [l.split(': ')[0] for l in said]==['trial 0','trained','trial 1','trained'] and {l.split(': ')[1] for l in said[::2]}=={'lr=1e-05, bs=8','lr=0.00025, bs=8'}

def test_numbers_of_numpy_are_a_range():
    for kind in (np.int64, np.int32, np.float32):
        found = read_range('n', (kind(1), kind(5)))
        assert found==read_range('n', (kind(1).item(), kind(5).item())) and type(found['low']) in (int, float)
    with pytest.raises(ValueError, match='a tuple is a range'): read_range('n', (np.int64(5), np.int64(1)))
