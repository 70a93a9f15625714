"fastai's own files: they work after all that a fit may leave behind, a failure harms nothing, and weights keep their labels."
import json,os,pickle,subprocess,sys,types
from copy import deepcopy
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cloudpickle
import fastai.callback.progress
import numpy as np
import pandas as pd
import pytest
import torch
from blurlike.all import (TASKS, Adam, Callback, CategoryBlock, ColReader, CSVLogger, DataBlock, EarlyStoppingCallback, RandomSplitter, SaveModelCallback, TransformersLearner, TransformersTextBlock, layerwise_splitter,
    load_learner, masked_lm_learner, register_task, token_classification_learner, transformer_splitter)
from fresh import fresh_process, here
from runs import WORDS
from small import BS, FRAMES, TEXTS, asked_of, changed, close, first, learner, weights, with_answers

pytestmark = pytest.mark.usefixtures('in_tmp')

@pytest.fixture
def learn(bert):
    res = learner('single', bert)
    with res.no_bar(), res.no_logging(): yield res

class Holds(Callback):
    "Keeps something that cannot be pickled"
    def __init__(self): self.thing = (i for i in range(3))

# export

LOAD = '''import json,sys,warnings
warnings.simplefilter('ignore')
from blurlike.all import *
learn = load_learner(sys.argv[1])
with learn.no_bar(): print(json.dumps([learn.predict(t)[2].tolist() for t in json.loads(sys.argv[2])]))'''

@pytest.mark.parametrize('cbs', first([lambda: [CSVLogger()], lambda: [fastai.callback.progress.CSVLogger()], lambda: [SaveModelCallback()], lambda: [EarlyStoppingCallback()]]))
@pytest.mark.parametrize('where', first(['fit','learner']))
def test_export_after_callbacks(where, cbs, bert, tmp_path_factory):
    learn = learner('single', bert, cbs=cbs() if where=='learner' else None)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3, cbs=None if where=='learner' else cbs())
    learn.export('l.pkl')
    there = fresh_process(LOAD, str(Path('l.pkl').absolute()), json.dumps(TEXTS[:3]), cwd=tmp_path_factory.mktemp('far'))
    close(there, learn.predict_logits(TEXTS[:3]).softmax(-1))
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)

FASTAI = '''import json,pickle,sys,warnings
warnings.simplefilter('ignore')
from fastai.learner import load_learner
learn = load_learner(sys.argv[1])
dls = pickle.load(open(sys.argv[2], 'rb'))
with learn.no_bar(): print(json.dumps([learn.report(json.loads(sys.argv[3])).scores.score.tolist(), [[o.tolist() for o in b] for b in dls.valid]]))'''

def test_a_process_that_knows_of_fastai_alone(bert, tmp_path):
    "What comes back from a pickle there is whole: a learner with all its methods, loaders that read as ours."
    learn = learner('single', bert)
    learn.export('l.pkl')
    Path('dls.pkl').write_bytes(pickle.dumps(learn.dls))
    rows = FRAMES['single'][:12].to_dict('records')
    scores,batches = fresh_process(FASTAI, Path('l.pkl').absolute(), Path('dls.pkl').absolute(), json.dumps(rows), cwd=tmp_path)
    close(scores, learn.report(rows).scores.score.tolist())
    assert batches==[[o.tolist() for o in b] for b in learn.dls.valid]

@with_answers
def test_plain_pickle(kind, checkpoint):
    "A learner with its data goes to another process as it is; its task is the one record, not a copy."
    learn = learner(kind, checkpoint)
    items = asked_of(kind, FRAMES[kind])[:3]
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    for again in (pickle.loads(pickle.dumps(learn)), deepcopy(learn)): # noqa: S301 (our own)
        assert again.task is learn.task and again.predict_batch(items)==learn.predict_batch(items)
        with again.no_bar(), again.no_logging(): again.fit(1, 1e-3)
        assert changed(again.model, weights(learn.model))

def test_taggers_and_fillers_of_gaps_too(bert):
    for learn,item in ((token_classification_learner(WORDS[:40], bert, bs=8), ['a','film']), (masked_lm_learner(FRAMES['single'], bert, bs=8), 'a [MASK]')):
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
        again = pickle.loads(pickle.dumps(learn)) # noqa: S301 (our own)
        assert again.task is learn.task and str(again.predict(item))==str(learn.predict(item))

def test_a_task_of_a_notebook_goes_along(bert):
    learn = learner('single', bert)
    own = register_task(replace(learn.task, name='mine', fits=types.FunctionType((lambda dls: False).__code__, dict(__name__='__main__'))))
    try:
        learn.task = own
        data = cloudpickle.dumps(learn)
    finally: TASKS.pop('mine')
    again = pickle.loads(data) # noqa: S301 (our own)
    assert again.task.name=='mine' and again.predict_batch(TEXTS[:3])==learn.predict_batch(TEXTS[:3])

def test_export_with_lambdas(bert, tmp_path_factory):
    dls = DataBlock(blocks=[TransformersTextBlock(bert), CategoryBlock()], get_x=lambda r: r['text'], get_y=ColReader('label', label_delim=None), splitter=RandomSplitter(.25, seed=1)).dataloaders(FRAMES['single'], bs=BS)
    learn = TransformersLearner(dls, bert)
    learn.export('l.pkl')
    there = fresh_process(LOAD, str(Path('l.pkl').absolute()), json.dumps(TEXTS[:3]), cwd=tmp_path_factory.mktemp('far'))
    close(there, learn.predict_logits(TEXTS[:3]).softmax(-1))

@pytest.mark.parametrize('ask', [lambda l: l.show_attention(TEXTS[0]), lambda l: l.model(**l.dls.tokenizer(TEXTS[0], return_tensors='pt'), output_hidden_states=True)], ids=['attention','hidden_states'])
def test_export_after_looking_inside(ask, learn):
    "transformers leaves hooks that no pickle can hold"
    hooks = lambda: sum(len(m._forward_hooks) for m in learn.model.modules())
    before = hooks()
    ask(learn)
    learn.export('l.pkl')
    assert hooks()==before
    assert load_learner('l.pkl').predict_batch(TEXTS[:3])==learn.predict_batch(TEXTS[:3])
    assert len(learn.attention(TEXTS[0])[1])==learn.model.config.num_hidden_layers # asked again
    assert hooks()==before

def test_a_callback_that_cannot_be_pickled_stays_out(bert):
    learn = learner('single', bert, cbs=Holds())
    with pytest.warns(UserWarning, match='Holds cannot be pickled and is not in the exported learner'): learn.export()
    assert isinstance(learn.holds, Holds)
    assert any(isinstance(cb, Holds) for cb in learn.cbs) and learn.holds.learn is learn
    with pytest.warns(UserWarning): again = load_learner('export.pkl')
    assert not any(isinstance(cb, Holds) for cb in again.cbs)
    assert not hasattr(again, 'holds')
    assert again.predict_batch(TEXTS[:2])==learn.predict_batch(TEXTS[:2])

def test_what_cannot_be_pickled_is_named(learn):
    learn.export()
    before = Path('export.pkl').read_bytes()
    learn.dls.valid_ds.tls[0].tfms.fs[-1].odd = [0, (i for i in range(2))]
    learn.create_opt()
    opt,rows = learn.opt,len(learn.dls.train_ds)
    with pytest.raises(TypeError, match=r'because of learn\.dls.*odd\[1\] \(generator\).*save_pretrained'): learn.export()
    assert Path('export.pkl').read_bytes()==before and learn.opt is opt
    assert len(learn.dls.train_ds)==rows and os.listdir()==['export.pkl']
    was = weights(learn.model)
    learn.fit(1, 1e-3)
    assert np.isfinite(learn.recorder.values[-1][0]) and changed(learn.model, was)==set(was)

@pytest.mark.parametrize('error', [OSError(28, 'No space left on device'), KeyboardInterrupt(), RuntimeError('PytorchStreamWriter failed writing file')], ids=lambda e: type(e).__name__)
def test_an_export_that_fails_harms_nothing(error, learn, monkeypatch):
    learn.fit(1, 1e-3)
    learn.export()
    before,opt = Path('export.pkl').read_bytes(),learn.opt
    def fail(obj, f, *args, **kwargs):
        Path(f).write_bytes(b'half')
        raise error
    with monkeypatch.context() as m, pytest.raises(OSError if isinstance(error, RuntimeError) else type(error), match=str(error.args[-1]) if error.args else None):
        m.setattr(torch, 'save', fail)
        learn.export()
    assert Path('export.pkl').read_bytes()==before and learn.opt is opt
    assert len(learn.dls.train_ds)==36 and sorted(os.listdir())==['export.pkl']
    learn.fit(1, 1e-3)

def test_export_into_a_folder_that_is_not_there_yet(learn):
    learn.export('a/b/c.pkl')
    with pytest.raises(IsADirectoryError, match='is a folder'): learn.export('a')
    assert load_learner('a/b/c.pkl').predict_batch(TEXTS[:2])==learn.predict_batch(TEXTS[:2])

def test_no_texts_in_the_file(learn):
    learn.fit(1, 1e-3)
    learn.get_preds()
    learn.show_results()
    learn.validate()
    learn.export()
    blob = Path('export.pkl').read_bytes()
    assert not [t for t in TEXTS if len(t)>30 and t.encode() in blob]

def test_no_rows_of_metrics_in_the_file(bert):
    "which look up the right answers of a pass, or write texts for its rows"
    res = learner('answers', bert)
    with res.no_bar(), res.no_logging(): res.fit(1, 1e-3)
    res.export()
    blob = Path('export.pkl').read_bytes()
    assert not [t for t in FRAMES['answers'].context if len(t)>30 and t.encode() in blob]
    again = load_learner('export.pkl')
    again.dls = res.dls
    close(torch.tensor(again.validate()), torch.tensor(res.validate()))

def test_a_missing_module_is_named(learn):
    Path('mine.py').write_text('class Extra:\n    pass\n')
    sys.path.insert(0, os.getcwd())
    try:
        import mine
        learn.extra = mine.Extra()
        learn.export()
    finally: sys.path.pop(0)
    del sys.modules['mine']
    Path('mine.py').unlink()
    with pytest.raises(ModuleNotFoundError, match='mine'), pytest.warns(UserWarning): load_learner('export.pkl')

# save and load

def test_save_and_load(learn):
    learn.fit(1, 1e-3)
    expected,state = weights(learn.model),deepcopy(learn.opt.state_dict())
    path = learn.save('w')
    learn.fit(1, 1e-2)
    learn.load('w')
    assert path==Path('models/w.pth') and not changed(learn.model, expected)
    assert all(torch.equal(a['exp_avg'], b['exp_avg']) for a,b in zip(learn.opt.state_dict()['state'].values(), state['state'].values()))
    plain = torch.load(path, weights_only=True)['model'] # plain PyTorch reads it
    assert plain.keys()==learn.model.state_dict().keys()

def test_files_that_are_open_as_fastai_takes_them(learn):
    learn.fit(1, 1e-3)
    expected,file = weights(learn.model),BytesIO(b'before')
    file.seek(6)
    assert learn.save(file) is file
    learn.fit(1, 1e-2)
    with pytest.raises(ValueError, match=r'BytesIO.*or no file of `learn.save`.*file.seek'): learn.load(file) # at its end
    file.seek(6)
    assert learn.load(file) is learn and not changed(learn.model, expected)
    learn.export()
    with pytest.warns(UserWarning), open('export.pkl', 'rb') as f: again = load_learner(f)
    assert again.predict_batch(TEXTS[:2])==learn.predict_batch(TEXTS[:2])
    with pytest.warns(UserWarning): assert not changed(load_learner(BytesIO(Path('export.pkl').read_bytes())).model, expected)

@pytest.mark.parametrize('data', [FRAMES['single'].replace(dict(label=dict(bad='x'))), FRAMES['single'].replace(dict(label=dict(bad='zbad')))], ids=['renamed','swapped'])
def test_other_labels_are_refused(data, learn, bert):
    learn.save('w')
    other = learner('single', bert, data)
    before = weights(other.model)
    with pytest.raises(ValueError, match='saved for the labels bad, fine, good; this model has'): other.load('w')
    with pytest.raises(ValueError, match='saved for the labels'): other.model.load_state_dict(learn.model.state_dict())
    assert not changed(other.model, before)

def test_another_splitter_is_refused(learn, bert):
    learn.fit(1, 1e-3)
    learn.save('w')
    other = learner('single', bert, splitter=layerwise_splitter)
    before = weights(other.model)
    with pytest.raises(ValueError, match='groups of parameters.*with_opt=False'): other.load('w')
    assert not changed(other.model, before)
    assert not changed(other.load('w', with_opt=False).model, weights(learn.model))

def test_another_optimizer_is_refused(learn, bert):
    learn.fit(1, 1e-3)
    learn.save('w')
    with pytest.raises(ValueError, match='groups of parameters'): learner('single', bert, opt_func=Adam).load('w')

def test_another_model_is_refused(learn, bert, checkpoints):
    learn.save('w')
    for other,say in ((learner('single', checkpoints('distilbert')),'on one side only'), (learner('multi', bert), 'labels|another model')):
        before = weights(other.model)
        with pytest.raises(ValueError, match=say): other.load('w', with_opt=False)
        assert not changed(other.model, before)

class Evil:
    def __reduce__(self): return os.mkdir,('evil',)

@pytest.mark.parametrize('kwargs', [{}, dict(weights_only=False)])
def test_no_code_is_run(kwargs, learn):
    Path('models').mkdir()
    torch.save(dict(model=Evil(), opt={}), 'models/w.pth')
    with pytest.raises(ValueError, match='more than weights.*could run code'): learn.load('w', **kwargs)
    assert not Path('evil').exists()

def test_save_model_callback(learn):
    "It brings back the best epoch, by the plain reader; an earlier file of its name holds other labels"
    losses = []
    class Spy(Callback):
        def after_epoch(self): losses.append(weights(self.learn.model))
    learn.fit_one_cycle(3, 5e-2, cbs=[SaveModelCallback('accuracy'), Spy()])
    accuracies = [row[2] for row in learn.recorder.values]
    assert not changed(learn.model, losses[int(np.argmax(accuracies))])

def test_validate_with_save_model_callback_attached(bert):
    "fastai compares the wrong column there, and overwrites the best model"
    learn = learner('single', bert, cbs=SaveModelCallback('accuracy'))
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3)
        before,table,losses = Path('models/model.pth').read_bytes(),list(learn.recorder.values),list(learn.recorder.losses)
        for p in learn.model.parameters(): p.data.zero_()
        learn.validate()
        learn.get_preds()
        learn.show_results()
    assert Path('models/model.pth').read_bytes()==before
    assert list(learn.recorder.values)==table and list(learn.recorder.losses)==losses
    learn.recorder.plot_loss()

@pytest.mark.slow
def test_a_csv_file_is_added_to(bert):
    learn = learner('single', bert, cbs=CSVLogger())
    with learn.no_bar(), learn.no_logging():
        learn.fit(2, 1e-3)
        learn.validate()
        learn.lr_find(show_plot=False)
        learn.fine_tune(1, 1e-3)
    log = learn.csv_logger.read_log()
    assert list(log.epoch)==[0,1,0,0] and log.accuracy.between(0, 1).all()
    pd.testing.assert_frame_equal(log, pd.read_csv('history.csv'))

@pytest.mark.parametrize('act', ['save','load'])
def test_a_file_of_weights_is_a_name_or_open(act, learn):
    with pytest.raises(TypeError, match='int'): getattr(learn, act)(3)
    assert not os.path.exists('models')

def test_a_save_is_in_one_step(learn, monkeypatch):
    learn.save('w')
    before = Path('models/w.pth').read_bytes()
    def fail(obj, f, *args, **kwargs):
        Path(f).write_bytes(b'half')
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(torch, 'save', fail)
    with pytest.raises(OSError, match='No space'): learn.save('w')
    assert Path('models/w.pth').read_bytes()==before and os.listdir('models')==['w.pth']

@pytest.mark.slow
def test_killed_or_full_at_any_moment(bert, tmp_path):
    tests = Path(__file__).parent
    out = subprocess.run([sys.executable, '-W', 'ignore', tests/'killed_saves.py', bert, tmp_path/'saves'], capture_output=True, text=True, cwd=tests, env=here())
    assert out.returncode==0, out.stderr[-3000:]
    found = [json.loads(line) for line in out.stdout.splitlines() if line.startswith('{')]
    assert [f['save'] for f in found]==['save_pretrained','export','save'] and all(f['bad']==[] for f in found), found
    assert all(0<f['went_through']<f['moments'] for f in found), found

def test_transformer_splitter_is_the_default(learn): assert learn.splitter is transformer_splitter
