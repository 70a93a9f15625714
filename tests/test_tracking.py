"What a run in Weights & Biases holds: read back from the file that the real package writes offline, or as it is sent."
import inspect,json,shutil,struct,subprocess,sys,time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import wandb
import blurlike.model.optimizer
import blurlike.share.tracking
from blurlike.all import (Callback, Checkpoints, CSVLogger, EarlyStoppingCallback, FetchPredsCallback, GradientAccumulation, Learner, ModelInputsCallback, ModelLoss, SaveModelCallback, TransformersLearner,
    causal_lm_learner, load_learner, masked_lm_learner, set_seed, token_classification_learner)
from blurlike.share.tracking import WandbCallback, drawn_rows, prediction_table
from runs import Cut, WORDS
from small import ARCH, BS, FRAMES, KINDS, TEXTS, first, learner, weights

@pytest.fixture(scope='module', autouse=True)
def anew(): wandb.teardown() # another test may have set it up, in another place

@pytest.fixture(autouse=True)
def place(in_tmp, monkeypatch):
    for k in ('WANDB_DIR','WANDB_DATA_DIR','WANDB_CACHE_DIR','WANDB_CONFIG_DIR','WANDB_ARTIFACT_DIR'): monkeypatch.setenv(k, str(in_tmp))
    monkeypatch.setenv('WANDB_MODE', 'offline')
    yield
    if wandb.run is not None: wandb.finish()

def start(**kwargs): return wandb.init(project='tests', dir=str(Path.cwd()), settings=wandb.Settings(console='off', quiet=True, x_disable_machine_info=True), **kwargs)

@pytest.fixture
def sent(monkeypatch):
    "A run, and each of its `(step, values)` as it is sent."
    run,res = start(),[]
    log = run.log
    def noting(values, *args, step=None, **kwargs):
        if values: res.append((step, dict(values)))
        return log(values, *args, step=step, **kwargs)
    monkeypatch.setattr(run, 'log', noting)
    return res

def batches(sent): return [o | dict(step=s) for s,o in sent if 'raw_loss' in o]
def epochs(sent): return [o for _,o in sent if 'valid_loss' in o]
def tables(sent): return [o['Prediction_Samples'] for _,o in sent if 'Prediction_Samples' in o]
def quiet(learn, f):
    with learn.no_bar(), learn.no_logging(): return f()

MAKE = {k:lambda c,k=k,**a: learner(k, c(ARCH[k]), **a) for k in (*KINDS, 'prompts', 'summaries')} | dict(
    blocks=lambda c,**a: causal_lm_learner(pd.DataFrame(dict(text=TEXTS)), c('llama'), bs=4, valid=.25, block_size=16, **a),
    tags=lambda c,**a: token_classification_learner(WORDS, c('bert'), bs=BS, valid=.25, **a),
    gaps=lambda c,**a: masked_lm_learner(pd.DataFrame(dict(text=TEXTS)), c('bert'), bs=BS, valid=.25, **a))

# the file of a run is a log as LevelDB writes it: blocks of 32768 bytes, records with checksum, length and kind
def records(path):
    "The records in the file of an offline run."
    from wandb.proto import wandb_internal_pb2 as pb
    data,at,part = path.read_bytes(),7,b''
    assert data[:4]==b':W&B'
    while at+7<=len(data):
        left = 2**15-at%2**15
        if left<7: at += left; continue # noqa: E702
        _,n,kind = struct.unpack('<IHB', data[at:at+7])
        if kind==0: at += left; continue # noqa: E702
        if at+7+n>len(data): return # still being written
        part += data[at+7:at+7+n]
        at += 7+n
        if kind in (1, 4):
            r = pb.Record()
            r.ParseFromString(part)
            part = b''
            yield r

def read_run(folder='.'):
    "Steps, config, and artifacts of the one run below `folder`, when its file is complete."
    for _ in range(100): # the service writes the end when `finish` has returned
        found = [r for p in Path(folder).rglob('*.wandb') for r in records(p)]
        if found and found[-1].WhichOneof('record_type')=='exit': break
        time.sleep(.1)
    steps,config,artifacts = [],{},[]
    for r in found:
        kind = r.WhichOneof('record_type')
        if kind=='history': steps.append({'.'.join(i.nested_key):json.loads(i.value_json) for i in r.history.item})
        elif kind=='config': config |= {i.key:json.loads(i.value_json) for i in r.config.update if i.key}
        elif kind=='artifact': artifacts.append(r.artifact)
    return steps,config,artifacts

class Note(Callback):
    "What a batch had, noted beside the tracker"
    order = 99
    def __init__(self): self.rows = []
    def after_batch(self):
        if self.training: self.rows.append(dict(n=len(self.yb[0]), loss=float(self.loss.detach()), hypers=[dict(h) for h in self.opt.hypers]))

def test_what_the_file_holds(bert):
    start()
    learn,note = learner('single', bert),Note()
    quiet(learn, lambda: learn.fine_tune(2, 1e-2, cbs=[WandbCallback(log_model=True, model_name='cues', n_preds=7), note]))
    wandb.finish()
    steps,config,artifacts = read_run()
    assert [o['_step'] for o in steps]==list(range(24)) and len(note.rows)==24 # two fits, one count
    np.testing.assert_allclose([o['epoch'] for o in steps], np.arange(1, 25)/8)
    for o,seen in zip(steps, note.rows):
        assert o['raw_loss']==pytest.approx(seen['loss']) and len(seen['hypers'])==3
        for i,h in enumerate(seen['hypers']): assert all(o[f'{k}_{i}']==pytest.approx(v) for k,v in h.items()) and {'lr','mom','wd'}<=h.keys()
    assert len({steps[-3][f'lr_{i}'] for i in range(3)})==3 # groups have rates of their own
    np.testing.assert_allclose([o['lr_2'] for o in steps[8:]], learn.recorder.lrs)
    np.testing.assert_allclose([o['train_loss'] for o in steps[8:]], [float(o) for o in learn.recorder.losses], rtol=1e-6)
    ends = [o for o in steps if 'valid_loss' in o]
    assert [o['_step'] for o in ends]==[7, 15, 23] and all(n in ends[0] for n in ('accuracy','f1_macro'))
    np.testing.assert_allclose([[o[n] for n in ('train_loss','valid_loss','accuracy','f1_macro')] for o in ends[1:]], np.array(learn.recorder.values, dtype=float), rtol=1e-6)
    expected = {'task':'single_label_classification', 'checkpoint':str(bert), 'batch size':BS, 'max_length':64, 'vocab size':len(learn.dls.tokenizer), 'labels':3, 'training rows':36, 'validation rows':12, 'optimizer':'adamw',
        'model parameters':sum(p.numel() for p in learn.model.parameters()), 'batch per epoch':8, 'frozen groups':0, 'architecture':'BertForSequenceClassification'}
    assert {k:config.get(k) for k in expected}==expected
    assert config['fit']['method']=='fine_tune' and config['fit']['epochs']==2
    assert config['fit']['base_lr']==1e-2 and config['fit']['freeze_epochs']==1
    assert config['Learner']['splitter']=='transformer_splitter'
    assert config['callbacks']['gradient_clip']['max_norm']==1
    assert config['callbacks']['wandb']['n_preds']==7
    table = json.loads(next(Path('.').rglob('Prediction_Samples*.table.json')).read_text())
    assert table['columns']==['text','target','prediction','score','loss'] and len(table['data'])==7
    model, = [a for a in artifacts if a.type=='model']
    assert model.name=='cues' and json.loads(model.metadata)['scores']['accuracy']==learn.recorder.values[-1][2]
    for f in model.manifest.contents: # the copies that a later upload takes
        Path('got').mkdir(exist_ok=True)
        (Path('got')/f.path).write_bytes(Path(f.local_path).read_bytes())
    assert TransformersLearner.from_pretrained('got').predict_batch(TEXTS[:5])==learn.predict_batch(TEXTS[:5])

def test_config_is_plain(bert):
    learn = learner('single', bert, opt_func=lambda *a, **k: blurlike.model.optimizer.adamw(*a, **k))
    facts = learn.gather_args() | dict(x=blurlike.share.tracking._plain([slice(1e-3, 1e-2), np.float32(.5), Path('a'), torch.zeros(3), pd.DataFrame(dict(a=['secret text'])), {1:(2, None)}]))
    assert 'secret' not in json.dumps(facts) and facts['x'][0]=='slice(0.001, 0.01, None)'
    assert facts['x'][1:3]==[.5, 'a'] and facts['x'][-1]=={'1':[2, None]}

@pytest.mark.parametrize('kind', first(MAKE, 2))
def test_every_task(kind, checkpoints, sent):
    learn = MAKE[kind](checkpoints)
    quiet(learn, lambda: learn.fit_one_cycle(2, 1e-3, cbs=WandbCallback(n_preds=8)))
    assert [set(o)-{'epoch'} for o in epochs(sent)]==[set(learn.recorder.metric_names)-{'epoch','train_loss','time'}]*2
    for o,row in zip(epochs(sent), learn.recorder.values): assert list(o.values())[1:]==list(row[1:])
    t, = tables(sent)
    rows = pd.DataFrame(t.data, columns=t.columns)
    assert len(rows)==8 and rows.notna().all().all()
    assert rows.iloc[:,0].str.len().gt(0).all() and rows.loss.dtype==float
    assert (rows.loss>0).mean()>(.8 if kind=='gaps' else .99) # a short text may have no gap
    assert len(set(map(str, t.data)))>1
    if kind in ('tags','gaps','blocks','prompts','summaries'): return
    texts = list(zip(rows.text, rows.text_pair)) if kind=='pair' else list(zip(rows.text, rows.choices.str.split(' | ', regex=False))) if kind=='choice' else rows.text.tolist()
    for text,r in zip(texts, rows.itertuples()):
        decoded,_,probs = learn.predict(text)
        assert r.prediction==(pytest.approx(decoded, abs=1e-4) if kind=='regression' else ', '.join(decoded) if kind=='multi' else str(decoded))
        if kind in ('single','pair','choice'): assert r.score==pytest.approx(float(probs.max()), abs=1e-4) and r.score<=1
        if kind=='multi': assert r.score==', '.join(f'{p:.3f}' for p in probs[probs>.5].tolist())
    if kind=='regression': np.testing.assert_allclose(rows.error**2, rows.loss, rtol=1e-3, atol=1e-6)

def test_words_and_their_tags(checkpoints):
    learn = MAKE['tags'](checkpoints)
    t = quiet(learn, lambda: prediction_table(learn, drawn_rows(learn, 12)))
    whole = {' '.join(w):list(tags) for w,tags in zip(WORDS.tokens, WORDS.tags)}
    for text,target,pred,right,loss in t.data:
        words = [w.rpartition('/') if '/' in w else (w, '', 'O') for w in target.split(' ')]
        assert ' '.join(w for w,_,_ in words)==text and [g for _,_,g in words]==whole[text]
        guessed = [w.rpartition('/')[2] if '/' in w else 'O' for w in pred.split(' ')]
        assert right==pytest.approx(np.mean([a==b for a,b in zip(guessed, whole[text])]))

def test_gaps_and_their_guesses(checkpoints):
    learn = MAKE['gaps'](checkpoints)
    first,second = (quiet(learn, lambda: prediction_table(learn, drawn_rows(learn, 12))) for _ in range(2))
    assert first.data==second.data # the same gaps each time
    some = [r for r in first.data if '[MASK]' in r[0]]
    assert len(some)>3
    for text,target,pred,right,loss in some: assert text.count('[MASK]')<=len(target.split(' | '))==len(pred.split(' | ')) and 0<=right<=1

def test_blocks_are_text(checkpoints):
    learn = MAKE['gaps'](checkpoints, block_size=16)
    t = quiet(learn, lambda: prediction_table(learn, drawn_rows(learn, 4)))
    assert len(t.data)>1 and all(isinstance(r[0], str) and not r[0].startswith('(') for r in t.data)

@pytest.mark.slow
def test_without_wandb_it_says_what_to_install():
    code = "import importlib.util as u\nf = u.find_spec\nu.find_spec = lambda n, *a: None if n=='wandb' else f(n, *a)\ntry: import blurlike.share.tracking\nexcept ImportError as e: print('said', e)"
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, timeout=300)
    assert 'pip install wandb' in r.stdout, r.stderr[-500:]

@pytest.mark.parametrize('kind', first(['single','tags','gaps','prompts','summaries'], 2))
def test_training_does_not_notice(kind, checkpoints, sent):
    "The same weights and epoch table with a tracker and without, to the last bit"
    def run(*cbs):
        learn = MAKE[kind](checkpoints)
        quiet(learn, lambda: learn.fit_one_cycle(2, 1e-3, cbs=list(cbs)))
        return learn,torch.rand(1)
    (plain,a),(tracked,b) = run(),run(WandbCallback(log_preds_every_epoch=True, log='all', log_model=True))
    assert a==b and list(plain.recorder.values)==list(tracked.recorder.values) and len(tables(sent))==2
    for (n,p),q in zip(plain.model.named_parameters(), tracked.model.parameters()): assert torch.equal(p, q), n
    assert [cb.name for cb in tracked.cbs if cb.name!='progress']==[cb.name for cb in plain.cbs if cb.name!='progress']

@pytest.mark.parametrize('acc', [False, True])
def test_samples_a_second(acc, bert, sent, monkeypatch):
    "A clock of our own: two seconds a batch, one more to load the next; batches of different size; some only accumulate"
    clock = [100.]
    monkeypatch.setattr(blurlike.share.tracking, 'perf_counter', lambda: clock[0])
    class Work(Callback):
        order = 98
        def after_pred(self): clock[0] += 2
        def after_batch(self): clock[0] += 1
        def after_validate(self): clock[0] += 1000
    learn,note = learner('single', bert, dl_kwargs=dict(max_tokens=100)),Note()
    quiet(learn, lambda: learn.fit(2, 1e-3, cbs=[WandbCallback(log_preds=False), Work(), note]+[GradientAccumulation(12)]*acc))
    rows,per_epoch = [o['n'] for o in note.rows],len(note.rows)//2
    assert len(set(rows))>1 and sum(rows)==72
    seconds = [2 if i%per_epoch==0 else 3 for i in range(len(rows))]
    np.testing.assert_allclose([o['train_samples_per_sec'] for o in batches(sent)], np.array(rows)/seconds)

def test_samples_of_all_processes(bert, sent, monkeypatch):
    clock = [0.]
    def tick():
        clock[0] += 1
        return clock[0]
    monkeypatch.setattr(blurlike.share.tracking, 'perf_counter', tick)
    learn = learner('single', bert)
    learn.dls.train.share = 0,2 # the first of two
    quiet(learn, lambda: learn.fit(1, 1e-3, cbs=WandbCallback(log_preds=False)))
    assert sorted(o['train_samples_per_sec'] for o in batches(sent))==[6, 10, 10, 10]

def test_arguments_are_those_that_do_something():
    assert 'reorder' not in inspect.signature(WandbCallback).parameters
    cb = WandbCallback('all', n_preds=3)
    assert (cb.log, cb.n_preds, cb.log_preds, cb.seed)==('all', 3, True, 12345)

def test_nothing_starts_by_itself(bert, monkeypatch, in_tmp):
    def never(*args, **kwargs): raise AssertionError('it went online')
    for f in ('init','login','Api'): monkeypatch.setattr(wandb, f, never)
    learn = learner('single', bert, cbs=WandbCallback())
    before = weights(learn.model)
    with pytest.raises(ValueError, match=r'You must call wandb.init\(\)'): quiet(learn, lambda: learn.fit(1))
    assert all(torch.equal(p, before[n]) for n,p in learn.model.named_parameters())
    quiet(learn, lambda: (learn.validate(), learn.get_preds(), learn.show_results(), learn.predict('a film'), learn.lr_find(num_it=6, show_plot=False))) # none of these needs a run

def test_a_plain_learner_is_refused(bert, sent):
    own = learner('single', bert)
    learn = Learner(own.dls, own.model, loss_func=own.loss_func, cbs=[ModelInputsCallback(), WandbCallback()])
    with pytest.raises(TypeError, match='TransformersLearner, not for Learner'): quiet(learn, lambda: learn.fit(1))

def test_only_fits_are_logged(bert, sent, in_tmp):
    learn = learner('single', bert, cbs=WandbCallback(log_preds=False))
    quiet(learn, lambda: learn.fit(1))
    n,values = len(sent),list(learn.recorder.values)
    quiet(learn, lambda: (learn.validate(), learn.get_preds(), learn.get_preds(dl=learn.dls.test_dl(TEXTS[:3])), learn.show_results(), learn.predict('a film'), learn.lr_find(num_it=6, show_plot=False)))
    assert len(sent)==n
    quiet(learn, lambda: learn.fit(2, cbs=FetchPredsCallback())) # predictions in the middle of a fit
    assert [o['epoch'] for o in epochs(sent)]==[1, 2, 3] and len(batches(sent))==24 and len(values)==1

@pytest.mark.parametrize('given', [True, False])
def test_an_export_holds_no_texts(given, bert, sent, tmp_path):
    learn = learner('single', bert)
    cb = WandbCallback(valid_dl=drawn_rows(learn, 5) if given else None, log='all', log_preds_every_epoch=True, n_preds=12)
    learn.add_cb(cb)
    class Exports(Callback):
        order = 90
        def after_epoch(self): self.learn.export('within.pkl')
    quiet(learn, lambda: learn.fit(1, cbs=Exports()))
    learn.export('after.pkl')
    valid = [t for t in FRAMES['single'].text.iloc[learn.dls.valid_ds.items.idxs] if len(t)>40]
    assert len(tables(sent)[0].data)==(5 if given else 12) and any(r[0] in valid for r in tables(sent)[0].data)
    for name in ('within.pkl','after.pkl'):
        data = Path(name).read_bytes()
        assert len(valid)>5 and not any(t.encode() in data for t in valid)
        again = load_learner(name)
        assert again.predict(valid[0])[2].tolist()==pytest.approx(learn.predict(valid[0])[2].tolist())
        assert isinstance(again.wandb, WandbCallback)

class Stop(Exception): pass

def interrupted(bert, n, same, **kwargs):
    "A `fine_tune` that breaks off after batch `n` of 24, and goes on in the same run or in a new one."
    def make():
        set_seed(3)
        return learner('single', bert)
    learn = make()
    with pytest.raises(Stop): quiet(learn, lambda: learn.fine_tune(2, 1e-2, cbs=[WandbCallback(**kwargs), Checkpoints('kept', steps=5), Cut('after_batch', n, Stop('x'))]))
    if not same: yield
    learn = make()
    quiet(learn, lambda: learn.resume('kept', cbs=[WandbCallback(**kwargs), Cut('never', 1)]))
    yield learn

@pytest.mark.parametrize('n', first([9, 2, 8, 12, 17, 23]))
def test_a_run_that_was_interrupted(n, bert, sent, monkeypatch):
    whole = learner('single', bert)
    set_seed(3)
    whole = learner('single', bert)
    quiet(whole, lambda: whole.fine_tune(2, 1e-2, cbs=[WandbCallback(), Cut('never', 1)]))
    expected,ends = {o['step']:o for o in batches(sent)},epochs(sent)
    assert list(expected)==list(range(24))
    base = wandb.run.step
    sent.clear()
    next(interrupted(bert, n, same=True))
    got = {o['step']-base:o for o in batches(sent)}
    assert list(got)==list(range(24)) and len(batches(sent))<=25 # the last one may be sent again
    for k in ('train_loss','raw_loss','lr_0','lr_2'): assert [o[k] for o in got.values()]==[o[k] for o in expected.values()], k
    np.testing.assert_allclose([o['epoch']-3 for o in got.values()], [o['epoch'] for o in expected.values()])
    assert epochs(sent)[-1]==ends[-1] | dict(epoch=6) and len(tables(sent))==1

@pytest.mark.slow
def test_in_another_run(bert, monkeypatch):
    start()
    job = interrupted(bert, 12, same=False, log_model=True)
    next(job)
    wandb.finish()
    read_run()
    shutil.rmtree('wandb')
    start()
    learn = next(job)
    wandb.finish()
    steps,_,artifacts = read_run()
    assert [o['_step'] for o in steps]==list(range(10, 24)) and steps[0]['epoch']==11/8 and steps[-1]['epoch']==3 # the last checkpoint was made after ten batches
    np.testing.assert_allclose([o['train_loss'] for o in steps][-len(learn.recorder.losses[2:]):], [float(o) for o in learn.recorder.losses[2:]], rtol=1e-6)
    assert sum(a.type=='model' for a in artifacts)==1

def test_an_error_ends_no_run(bert, sent):
    "No table, no model of a fit that failed; the next one begins a step of its own"
    learn,cb = learner('single', bert),WandbCallback(log_model=True)
    with pytest.raises(Stop): quiet(learn, lambda: learn.fit(2, 1e-3, cbs=[cb, Cut('after_batch', 3, Stop('x'))]))
    artifacts = []
    wandb.run.log_artifact = lambda a, **k: artifacts.append(a) if a.type=='model' else None
    assert tables(sent)==[] and [o['step'] for o in batches(sent)]==[0, 1, 2]
    quiet(learn, lambda: learn.fit(1, 1e-3, cbs=cb))
    assert [o['step'] for o in batches(sent)]==list(range(11)) and len(tables(sent))==len(artifacts)==1

@pytest.mark.parametrize('keep', [lambda: SaveModelCallback('accuracy', min_delta=9), lambda: Checkpoints('kept', best='valid_loss')])
def test_the_best_weights_are_saved(keep, bert, sent):
    learn,got = learner('single', bert),[]
    wandb.run.log_artifact = lambda a, **k: got.append({n:Path(e.local_path).read_bytes() for n,e in a.manifest.entries.items()}) if a.type=='model' else None
    class Worse(Callback): # after the first epoch
        def before_train(self):
            if self.epoch==1: [p.data.mul_(3) for p in self.model.parameters()]
    quiet(learn, lambda: learn.fit(2, 1e-6, cbs=[WandbCallback(log_model=True), Worse(), keep()]))
    learn.save_pretrained('now')
    assert len(got)==1
    assert got[0]['model.safetensors']==Path('now/model.safetensors').read_bytes()
    assert {'config.json','blurlike.json','tokenizer.json'}<=got[0].keys()

def test_other_things_in_the_run(bert, sent):
    "What the user logs, a run that began with something else, a second learner, an early stop, data"
    wandb.run.log(dict(mine=1))
    class Mine(Callback):
        def after_batch(self):
            if self.training and self.iter%3==0: wandb.run.log(dict(mine=self.iter))
    (Path('data')/'sub').mkdir(parents=True)
    (Path('data')/'sub'/'a.csv').write_text('text')
    used = []
    wandb.run.use_artifact = lambda a, **k: used.append(a)
    learn = learner('single', bert)
    with pytest.raises(ValueError, match='log_dataset'): quiet(learn, lambda: learn.fit(1, cbs=WandbCallback(log_dataset=True)))
    quiet(learn, lambda: learn.fit(5, 1e-9, cbs=[WandbCallback(log_dataset='data', dataset_name='rows'), Mine(), EarlyStoppingCallback(patience=1, min_delta=1), CSVLogger()]))
    assert [a.name for a in used]==['rows'] and list(used[0].manifest.entries)==['sub/a.csv']
    ended = len(learn.recorder.values)
    assert 1<ended<5 and [o['epoch'] for o in epochs(sent)]==list(range(1, ended+1)) and len(tables(sent))==1
    steps = [s for s,_ in sent if s is not None]
    assert steps==sorted(steps) and len({o['step'] for o in batches(sent)})==len(batches(sent))==8*ended
    other = learner('pair', bert, cbs=WandbCallback)
    quiet(other, lambda: other.fit(1))
    assert epochs(sent)[-1]['epoch']==ended+1

def test_one_batch_an_epoch(bert, sent):
    learn = learner('single', bert, bs=64)
    quiet(learn, lambda: learn.fine_tune(2, 1e-3, cbs=WandbCallback(log_preds=False)))
    assert [(o['step'],o['epoch']) for o in batches(sent)]==[(0, 1), (1, 2), (2, 3)]

def test_the_model_s_own_loss_and_windows(bert, sent):
    for learn in (learner('single', bert, loss_func=ModelLoss()), learner('single', bert, max_length=8, overlap=2), learner('single', bert, precision='bf16')):
        quiet(learn, lambda: learn.fit(1, cbs=WandbCallback()))
        assert len(tables(sent)[-1].data)==12 and all(0<r[-1]<5 for r in tables(sent)[-1].data)

def test_rows_without_targets(bert, sent):
    learn = learner('single', bert)
    with pytest.raises(ValueError, match='no targets'): prediction_table(learn, learn.dls.test_dl(TEXTS[:3]))
    assert hasattr(learn, 'recorder') and len(learn.cbs)==7

def test_other_processes_are_silent(bert, monkeypatch):
    monkeypatch.setattr(blurlike.share.tracking, 'rank_distrib', lambda: 1)
    learn = learner('single', bert)
    quiet(learn, lambda: learn.fit(1, cbs=WandbCallback(log_model=True))) # there is no run here, and none is asked for

def test_switched_off(bert):
    "`WANDB_MODE=disabled`: all goes on, nothing is written"
    start(mode='disabled')
    learn = learner('single', bert)
    quiet(learn, lambda: learn.fine_tune(1, cbs=WandbCallback(log='all', log_model=True)))
    assert not list(Path('.').rglob('*.wandb'))
