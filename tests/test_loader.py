"The loaders under stress: threads and workers, faults on the way, budgets of tokens, bounds of memory, several processes."
import gc,json,multiprocessing,os,pickle,signal,subprocess,sys,threading,types,warnings
from functools import partial
from multiprocessing import forkserver
from multiprocessing.context import set_spawning_popen
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from blurlike.all import CategoryBlock, ColReader, DataBlock, IndexSplitter, Rows, SkipItemException, TokenizeText, Tokens, TransformersTextBlock, sequence_classification_learner, set_seed
from blurlike.data.batch_reading import prepare_workers
from blurlike.data.row_reader import RowReader, ahead
from blurlike.data.token_blocks import TokenBlocks
from blurlike.data.token_memory import Memory
from blurlike.model.model_inputs import split_windows
from fastai.distributed import DistributedDL
from fasttransform import Pipeline
from fresh import here
from small import close, learner, word_tokenizer
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

TOK = word_tokenizer('input_ids','token_type_ids','attention_mask')

def frame(n, seed=0, longest=30):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(dict(text=[f'film {i} '+' '.join(['rain']*int(k)) for i,k in enumerate(rng.integers(0, longest, n))], label=rng.choice(['a','b'], n)))

def loaders(bert, n=200, data=None, dl_kwargs=None, **kwargs):
    return sequence_classification_learner(frame(n) if data is None else data, bert, **dict(bs=4, valid=.25, seed=0) | kwargs, dl_kwargs=dict(megabatch=5) | (dl_kwargs or {})).dls

def threads(): return [t for t in threading.enumerate() if t.name.startswith('blurlike')]
def contents(dl): return [(x.tolist(), y.tolist()) for x,y in dl]
def texts(dl): return [dl.text_tfm.decode(row) for x,y in dl for row in x]

# Order

def test_the_same_order_with_a_thread_workers_and_memory(bert):
    def passes(**dl_kwargs):
        dls = loaders(bert, dl_kwargs=dl_kwargs)
        set_seed(1)
        dls.train.rng.seed(1)
        return [contents(dls.train) for _ in range(2)]
    first = passes()
    assert passes()==first and passes(memory=0)==first
    assert passes(memory=.006)==first and passes(num_workers=2)==first
    assert passes(num_workers=3, memory=0)==first
    assert first[0]!=first[1]

@pytest.mark.slow
@pytest.mark.parametrize('kind', ['single','summaries'], indirect=True)
def test_workers_that_are_no_copies_of_this_process(kind, checkpoint):
    "As Python 3.14, macOS and Windows start them: all that they need is sent to them."
    def rows(**dl_kwargs):
        dl = learner(kind, checkpoint, dl_kwargs=dict(memory=0, **dl_kwargs)).dls.valid
        return [[o.tolist() if isinstance(o, torch.Tensor) else o for o in b] for b in dl]
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method('forkserver', force=True)
    try: assert rows(num_workers=1)==rows()
    finally: multiprocessing.set_start_method(before, force=True)

@pytest.mark.slow
@pytest.mark.parametrize('method', ['fork','forkserver'])
@pytest.mark.parametrize('plain', [False,True])
def test_workers_end_with_a_process_that_is_killed(plain, method, bert):
    "They hold its output open as long as they live: `run` would wait for them."
    dl_kwargs = {} if plain else dict(num_workers=2)
    code = f"""import multiprocessing, os, signal
multiprocessing.set_start_method({method!r})
from blurlike.all import sequence_classification_learner
rows = [dict(text=f'film {{i}}', label='ab'[i%2]) for i in range(1000)]
dls = sequence_classification_learner(rows, {str(bert)!r}, bs=4, dl_kwargs=dict(memory=0, megabatch=2, **{dl_kwargs})).dls
passing = iter(dls.train.as_torch(num_workers=2) if {plain} else dls.train)
next(passing)
print(len(multiprocessing.active_children()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)"""
    ended = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, timeout=200, env=here())
    assert ended.returncode==-signal.SIGKILL and ended.stdout=='2\n'

def test_the_server_of_workers_imports_what_they_need(bert, monkeypatch):
    "Once; unless it was said what it shall import."
    dl,server = loaders(bert).train,forkserver._forkserver
    monkeypatch.setattr(multiprocessing, 'get_start_method', lambda: 'forkserver')
    for said,wanted in (['torch'], ['torch']), (['__main__'], ['__main__','blurlike.data.batch_reading']):
        monkeypatch.setattr(server, '_preload_modules', said)
        prepare_workers(dl)
        assert server._preload_modules==wanted

def unsendable(where):
    "A function that a new process could not find."
    def title(row): return row['text']
    if where=='notebook': title.__module__,title.__qualname__ = '__main__','title'
    return {'lambda':lambda row: row['text']}.get(where, title)

@pytest.mark.parametrize('plain', [False,True])
@pytest.mark.parametrize('where,told', [('lambda','lambda'), ('function','local object'), ('notebook','title was written in this session')])
def test_functions_that_new_workers_would_not_find(where, told, plain, bert, monkeypatch):
    "Else a broken pipe, or no end: all readers name the function first."
    get_x = unsendable(where)
    monkeypatch.setitem(sys.modules, '__main__', types.ModuleType('__main__'))
    sys.modules['__main__'].title = get_x
    block = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock), get_x=get_x, get_y=ColReader('label'), splitter=IndexSplitter([0,1]))
    dl = block.dataloaders(frame(12), bs=4, num_workers=0 if plain else 1).train
    monkeypatch.setattr(multiprocessing, 'get_start_method', lambda: 'forkserver')
    loader = dl.as_torch(num_workers=1) if plain else dl
    with pytest.raises(ValueError, match=f"(?s)start anew here \\('forkserver'\\).*{told}.*num_workers=0"): list(loader)
    if plain: assert len(list(dl.as_torch(num_workers=1, multiprocessing_context='fork')))==len(dl)

def test_the_pipelines_of_fastai_give_the_same_rows(bert):
    df = frame(60)
    block = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'), splitter=lambda _: (range(45),range(45,60)))
    slow,fast = block.dataloaders(df, bs=4),loaders(bert, data=df, valid=list(range(45,60)))
    assert not slow.train.reader.by_column and fast.train.reader.by_column
    assert contents(slow.valid)==contents(fast.valid) and sorted(texts(slow.train))==sorted(texts(fast.train))
    assert contents(slow.valid.by_length())==contents(fast.valid.by_length())

@pytest.mark.parametrize('kind', ['single','pair','multi','regression'])
@pytest.mark.parametrize('arrow', [False,True])
def test_columns_and_pipelines_read_alike(kind, arrow, bert):
    from small import COLUMNS, FRAMES
    df = FRAMES[kind]
    dls = learner(kind, bert, datasets.Dataset.from_pandas(df) if arrow else df).dls
    dl,idxs = dls.train,np.array([3,0,7,7])
    assert dl.reader.by_column, COLUMNS
    texts,targets = dl.reader(idxs)
    items = [dl.dataset[int(i)] for i in idxs]
    assert [tuple(t) if kind=='pair' else t for t in texts]==[tuple(i[0]) if kind=='pair' else i[0] for i in items]
    for got,want in zip(targets, items): assert type(got[0]) is type(want[1]) and torch.equal(torch.as_tensor(got[0]), torch.as_tensor(want[1]))

def test_a_transform_of_the_users_is_called_for_each_row(bert):
    seen = []
    def shout(t):
        seen.append(t)
        return t.upper()
    block = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock), get_x=Pipeline([ColReader('text'), shout]), get_y=ColReader('label'), splitter=lambda _: (range(30),range(30,40)))
    dls = block.dataloaders(frame(40), bs=4)
    seen.clear()
    for _ in range(2): list(dls.train)
    assert len(seen)==60 # not remembered: it might be random

# Faults

def test_an_error_in_the_thread_names_its_row_and_leaves_no_thread(bert):
    df = frame(200)
    df.loc[150, 'text'] = None
    rows = Rows(df)
    dls = loaders(bert, data=frame(200), valid=list(range(20)))
    dls.train.dataset.tls[0].items._arrays = rows._arrays
    with pytest.raises(Exception, match='row 150: '): list(dls.train)
    assert not threads()

def test_of_rows_that_are_all_bad_some_are_looked_for(bert, monkeypatch):
    "Each by itself would take minutes"
    dls = loaders(bert, data=frame(600), valid=list(range(20)))
    dls.train.dataset.tls[0].items._arrays = Rows(frame(600).assign(text=None))._arrays
    monkeypatch.setattr('blurlike.data.row_reader._most_named', 30)
    read,calls = RowReader.read,[]
    monkeypatch.setattr(RowReader, 'read', lambda self, idxs: calls.append(len(idxs)) or read(self, idxs))
    with pytest.raises(TypeError, match=r'^rows (\d+, ){10}\.\.\. \(30 or more\): expected a text.* \(not all rows were looked at\)$'): list(dls.train)
    assert len(calls)<100

def test_the_words_of_an_error_stay_as_they_are(bert, monkeypatch):
    dls = loaders(bert, data=frame(200), valid=list(range(20)))
    dls.train.dataset.tls[0].items._arrays = Rows(frame(200).assign(text=None))._arrays
    monkeypatch.setattr('blurlike.data.row_reader._most_named', 30)
    def fail(self, texts, count): raise KeyError("'msg' is none")
    monkeypatch.setattr(TokenizeText, 'tokenize', fail)
    with pytest.raises(KeyError) as told: list(dls.train)
    assert told.value.args[0].endswith("(30 or more): 'msg' is none (not all rows were looked at)")

def test_an_error_in_fastais_pipelines_names_its_row(bert):
    def cut(t): return t[:1/(0 if 'film 17 ' in t else 1)] if 'film 17 ' in t else t
    block = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock), get_x=Pipeline([ColReader('text'), cut]), get_y=ColReader('label'), splitter=lambda _: (range(30),range(30,40)))
    dls = block.dataloaders(frame(40), bs=4)
    with pytest.raises(ZeroDivisionError, match='row 17: '): list(dls.train)
    assert not threads()

def test_an_error_in_a_worker_comes_out_with_row_and_traceback(bert):
    dls = loaders(bert, data=frame(200), valid=list(range(20)), dl_kwargs=dict(num_workers=2))
    df = frame(200)
    df.loc[77, 'text'] = None
    dls.train.dataset.tls[0].items._arrays = Rows(df)._arrays
    with pytest.raises(Exception, match='(?s)worker.*row 77: '): list(dls.train)

@pytest.mark.slow
def test_a_killed_worker_is_an_error_and_no_waiting(bert):
    dls = loaders(bert, n=400, dl_kwargs=dict(num_workers=2, timeout=20))
    dls.train.wif = partial(os._exit, 1) # in each worker, a copy or one that starts anew
    with pytest.raises(RuntimeError, match='exited unexpectedly|killed'): list(dls.train)

@pytest.mark.slow
def test_leaving_early_leaves_no_thread(bert):
    dls = loaders(bert, n=400)
    for _ in dls.train: break
    gc.collect()
    assert not threads()
    it = iter(dls.train)
    next(it)
    it.close()
    assert not threads() and len(list(dls.train))==len(dls.train)

@pytest.mark.slow
def test_interrupting_an_epoch_leaves_no_thread_and_a_learner_that_trains_on(bert):
    from blurlike.all import Callback
    class Stop(Callback):
        def after_batch(self):
            if self.iter==7: raise KeyboardInterrupt
    learn = learner('single', bert, frame(400), bs=4, valid=.1, dl_kwargs=dict(megabatch=5))
    with learn.no_bar(), learn.no_logging():
        with pytest.raises(KeyboardInterrupt): learn.fit(1, 1e-3, cbs=Stop())
        assert not threads()
        learn.fit(1, 1e-3)
    assert not threads() and np.isfinite(learn.recorder.values[-1][0])

@pytest.mark.slow
def test_no_process_is_left_and_no_warning_of_the_fork(bert, capfd):
    import multiprocessing as mp
    dls = loaders(bert, n=400, dl_kwargs=dict(num_workers=2))
    TOK(['a film']*200) # the tokenizers' own threads have run
    for _ in dls.train: break
    list(dls.train)
    gc.collect()
    assert not mp.active_children() and 'fork' not in capfd.readouterr().err

@pytest.mark.parametrize('how', ['gone','shorter'])
def test_a_data_set_that_goes_away_is_a_clear_error(how, bert, in_tmp, monkeypatch):
    datasets.Dataset.from_pandas(frame(300)).save_to_disk('data')
    dls = loaders(bert, data=datasets.load_from_disk('data'))
    path = next(Path('data').glob('*.arrow'))
    def damaged(rows): # before the second megabatch is read, never while one is
        reads.append(rows)
        if len(reads)==2: path.unlink() if how=='gone' else os.truncate(path, 100)
        return check(rows)
    check,reads = Rows.check_files,[]
    monkeypatch.setattr(Rows, 'check_files', damaged)
    with pytest.raises(FileNotFoundError, match='is gone' if how=='gone' else 'has shrunk'): list(dls.train)
    assert len(reads)>=2
    assert not threads()

def test_a_list_that_shrinks_is_a_clear_error(bert):
    items = frame(60).text.tolist()
    dls = DataBlock(blocks=(TransformersTextBlock(bert),), splitter=lambda _: (range(50),range(50,60))).dataloaders(items, bs=4)
    del dls.train.dataset.tls[0].items[30:]
    with pytest.raises(IndexError, match='row [34][0-9]: '): list(dls.train)

def test_ahead_makes_one_in_advance_and_not_more():
    made = []
    it = ahead(lambda k: made.append(k) or k, 10)
    assert next(it)==0
    it.close()
    assert made in ([0],[0,1]) and list(ahead(lambda k: k, 0))==[] and list(ahead(lambda k: k, 1))==[0]

# Small and odd data

@pytest.mark.parametrize('n', [2,3,5])
def test_fewer_rows_than_a_batch(n, bert):
    df = frame(n+1).assign(label=['a','b','a','b','a','b'][:n+1])
    learn = sequence_classification_learner(df, bert, valid=[n], bs=16)
    assert [len(x) for x,y in learn.dls.train]==[n]
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert np.isfinite(learn.recorder.values[0][0])

def test_a_text_of_no_tokens(checkpoints):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        learn = learner('single', checkpoints('gpt2'), pd.DataFrame(dict(text=['']*4+['a film']*4, label=['a','b']*4)), bs=2, valid=[0,4])
        shapes = [x.shape for x,y in learn.dls.train.new(shuffle=False)]
        assert (2,2,1) in [tuple(s) for s in shapes]
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
        assert np.isfinite(learn.recorder.values[0]).all() and torch.isfinite(learn.predict_logits(['','a film'])).all()
        one,both = learn.predict_logits(['']),learn.predict_logits(['','a film'])
    close(one[0], both[0])

# Budgets

@pytest.mark.parametrize('shuffle', [True,False])
@pytest.mark.parametrize('n', [1,7,300])
def test_max_tokens(n, shuffle, bert):
    dl = loaders(bert, data=frame(300), valid=list(range(50)), dl_kwargs=dict(max_tokens=64)).train
    dl = dl.new(dl.dataset, shuffle=shuffle)
    for _ in range(2):
        said = len(dl)
        batches = list(dl)
        assert len(batches)==said and len(dl)>0
        assert all(x.shape[0]*x.shape[2]<=64 for x,y in batches) and sum(len(x) for x,y in batches)==250
    if shuffle: assert np.mean([x.shape[0]*x.shape[2] for x,y in batches])>48

@pytest.mark.parametrize('shuffle,multiple', [(True,1), (False,1), (True,16)])
def test_max_tokens_counts_windows_and_their_padding(shuffle, multiple, bert):
    dls = loaders(bert, data=frame(200, longest=40), valid=list(range(20)), max_length=16, overlap=2, dl_kwargs=dict(max_tokens=100))
    dl = dls.train.new(dls.train.dataset, shuffle=shuffle)
    dl.text_tfm.pad_to_multiple_of = multiple
    said = len(dl)
    batches = [split_windows(x, dl.text_tfm.fields, dl.text_tfm.tokenizer.pad_token_id) for x,_ in dl]
    passed = [windows.shape[0]*windows.shape[2] for windows,*_ in batches]
    assert max(passed)<=100 and said==len(batches) and sum(len(set(owner.tolist())) for _,owner,_ in batches)==180
    if shuffle: assert np.mean(passed)>60 and max(len(w) for w,*_ in batches)>6-2*(multiple==16)

def test_max_tokens_trains_with_the_right_schedule(bert):
    learn = learner('single', bert, frame(200), bs=8, valid=.2, dl_kwargs=dict(max_tokens=64))
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 1e-3)
    assert learn.recorder.lrs[-1]<2e-5 and abs(learn.train_iter-len(learn.recorder.lrs))<1
    assert np.isclose(learn.pct_train, 1)

def test_a_row_longer_than_the_budget_is_a_batch_of_its_own(bert):
    dl = loaders(bert, data=frame(60), valid=list(range(10)), dl_kwargs=dict(max_tokens=10)).train
    assert all(len(x)==1 or x.shape[0]*x.shape[2]<=10 for x,y in dl) and sum(len(x) for x,y in dl)==50

# Memory

def test_rows_are_tokenised_once(bert, monkeypatch):
    calls,tokenize = [],TokenizeText.tokenize
    monkeypatch.setattr(TokenizeText, 'tokenize', lambda self, texts, *args, **kwargs: (calls.append(len(texts)), tokenize(self, texts, *args, **kwargs))[1])
    dls = loaders(bert, n=200)
    calls.clear()
    for _ in range(3): list(dls.train)
    assert sum(calls)==150
    dls.text_tfm.max_length = 12 # another length: all is read anew
    assert max(x.shape[2] for x,y in dls.train)==12 and sum(calls)==300

@pytest.mark.parametrize('shuffle,n', [(True,80), (False,4)])
def test_one_batch_needs_no_more_rows_than_it_is_made_of(shuffle, n, bert, monkeypatch):
    dl = loaders(bert, n=400, valid=None, bs=4, dl_kwargs=dict(megabatch=20)).train.new(shuffle=shuffle, remembered=None)
    want = dl.new(remembered=None)
    want.set_pass_state(dl.pass_state())
    calls,tokenize = [],TokenizeText.tokenize
    with monkeypatch.context() as m:
        m.setattr(TokenizeText, 'tokenize', lambda self, texts, *args: calls.append(len(texts)) or tokenize(self, texts, *args))
        x,y = dl.one_batch()
    assert calls==[n]
    first = next(iter(want))
    assert torch.equal(x, first[0]) and torch.equal(y, first[1]) and dl.now.tolist()==want.now.tolist()
    assert sorted(i for _ in dl for i in dl.now)==[*range(400)]

def test_one_batch_of_rows_of_which_the_first_are_skipped(bert):
    def late(r):
        if is_on and r['text'].startswith('early'): raise SkipItemException
        return r['text']
    is_on,df = [],pd.DataFrame(dict(text=['early film']*60+['late film']*4, label=['a','b']*32))
    block = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock), get_x=late, get_y=ColReader('label'), splitter=lambda _: (range(63),range(63,64)))
    dl = block.dataloaders(df, bs=2, megabatch=3).train.new(shuffle=False)
    is_on.append(True)
    x,_ = dl.one_batch()
    assert [str(dl.text_tfm.decode(row)) for row in x]==['late film']*2 and dl.now.tolist()==[60,61]

def test_memory_is_bounded(bert, monkeypatch):
    dls = loaders(bert, n=2000, dl_kwargs=dict(memory=.01))
    list(dls.train)
    list(dls.train)
    held = dls.train.memory
    assert 0<held.nbytes<=.01*2**20 and 0<len(held.tokens)<1500 and (held.where>=0).sum()==len(held.tokens)

def test_targets_that_no_rows_share_are_bounded_too(bert):
    df = frame(2000)
    df['label'] = np.random.default_rng(0).normal(size=2000)
    dls = loaders(bert, data=df, dl_kwargs=dict(memory=.1))
    list(dls.train)
    held = dls.train.memory
    assert 0<sum(t is not None for t in held.targets)<.1*2**20/512

def test_exported_loaders_carry_no_rows(bert):
    import pickle
    dls = loaders(bert, n=400)
    list(dls.train)
    res = pickle.loads(pickle.dumps(dls.train)) # noqa: S301
    assert res.memory.key is None and sorted(texts(res))==sorted(texts(dls.train))

def test_tokens_pick_and_join():
    rng = np.random.default_rng(0)
    n_windows,lens = rng.integers(1, 4, 20),None
    lens = rng.integers(0, 6, n_windows.sum())
    rows = [rng.integers(1, 99, l) for l in lens]
    tokens = Tokens([np.concatenate(rows).astype(np.int32), np.broadcast_to(np.uint8(1), lens.sum())], lens, n_windows)
    def of(t, i): return [t.flat[0][t.starts[w]:t.starts[w]+t.lens[w]].tolist() for w in range(t.first[i], t.first[i]+t.n_windows[i])]
    want = [of(tokens, i) for i in range(20)]
    some = rng.permutation(20)[:7]
    assert [of(tokens.pick(some), i) for i in range(7)]==[want[i] for i in some]
    both = Tokens.join([tokens.pick(some), tokens])
    assert [of(both, i) for i in range(27)]==[want[i] for i in some]+want
    assert both.flat[1].strides==(0,) and len(tokens.pick(np.array([], dtype=int)))==0
    assert Memory(1).limit==2**20

# Several processes

def test_processes_share_the_rows_and_have_like_work(bert, monkeypatch):
    monkeypatch.setattr(DistributedDL, '_broadcast', lambda self, t, rank: list(t))
    def shard(rank):
        set_seed(3)
        return DistributedDL(loaders(bert, data=frame(2000), dl_kwargs=dict(megabatch=20)).train, rank=rank, world_size=2)
    a,b = [list(shard(r)) for r in (0,1)]
    assert len(a)==len(b) and sum(len(x) for x,y in a+b)==1500
    work = np.array([[x.shape[0]*x.shape[2] for x,y in side] for side in (a, b)])
    assert np.abs(work[0]-work[1]).sum()/work.sum()<.05

def test_max_tokens_refuses_several_processes(bert, monkeypatch):
    monkeypatch.setattr(DistributedDL, '_broadcast', lambda self, t, rank: list(t))
    dl = DistributedDL(loaders(bert, dl_kwargs=dict(max_tokens=64)).train, rank=0, world_size=2)
    with pytest.raises(ValueError, match='max_tokens= gives each process another number'): list(dl)

def test_gradient_accumulation_counts_rows(bert):
    from blurlike.all import Callback, GradientAccumulation
    steps = []
    class Count(Callback):
        order,run_valid = 200,False
        def before_step(self): steps.append(self.iter)
    learn = learner('single', bert, frame(200), bs=4, valid=.2, dl_kwargs=dict(megabatch=5))
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3, cbs=[GradientAccumulation(16), Count()])
    assert len(steps)==10 # 160 rows

def test_a_loader_without_numbered_rows_is_refused(bert):
    dl = loaders(bert).train
    dl.indexed = False
    with pytest.raises(TypeError, match='rows that have a number'): list(dl)

# Tokenising

@pytest.mark.parametrize('side', ['right','left'])
@pytest.mark.parametrize('overlap', [None,3])
@pytest.mark.parametrize('pair', [False,True])
def test_the_fast_way_gives_what_the_tokenizer_gives(side, overlap, pair):
    tok = word_tokenizer('input_ids','token_type_ids','attention_mask')
    tok.truncation_side = side
    rows = [t if not pair else ('rain', t) for t in frame(40).text]
    fast,slow = TokenizeText(tok, 16, overlap),TokenizeText(tok, 16, overlap)
    slow._encode_fast = slow._encode_any
    (a,seen_a),(b,seen_b) = fast.tokenize(rows),slow.tokenize(rows)
    assert np.array_equal(seen_a, seen_b) and np.array_equal(a.n_windows, b.n_windows)
    assert torch.equal(fast.stack(a), slow.stack(b))
    assert seen_a[0]==40 and (seen_a[1]>0)==(overlap is None)

def test_the_users_own_tokenizer_is_left_alone():
    tok = word_tokenizer('input_ids','attention_mask')
    TokenizeText(tok, 8).tokenize(['film '*30]*3)
    assert tok.backend_tokenizer.truncation is None and len(tok('film '*30)['input_ids'])>8

def test_tokens_added_later_are_known():
    tok = word_tokenizer('input_ids','attention_mask')
    tfm = TokenizeText(tok, 32)
    before = tfm.tokenize(['zzqq film'])[0].flat[0].tolist()
    tok.add_tokens(['zzqq'])
    after = tfm.tokenize(['zzqq film'])[0].flat[0].tolist()
    assert tok.convert_tokens_to_ids('zzqq') in after and after!=before

def test_blocks_are_sent_to_workers_without_their_tokens():
    "To those that start anew; a pickle that is kept holds all"
    blocks = TokenBlocks([Rows(frame(400))], TokenizeText(word_tokenizer('input_ids'), 16), block_size=8)
    whole = pickle.dumps(blocks)
    set_spawning_popen(object())
    try: sent = pickle.dumps(blocks)
    finally: set_spawning_popen(None)
    assert len(sent)<len(whole)-blocks.ids.nbytes//2
    kept,opened = map(pickle.loads, (whole, sent))
    for again in (kept, opened):
        assert len(again)==len(blocks) and np.array_equal(again.ids, blocks.ids)
        assert again[3]['text'].tolist()==blocks[3]['text'].tolist()
    assert isinstance(opened.ids, np.memmap) and blocks.scratch.path.is_dir()

def test_numbers_of_tokens_with_gaps():
    "The greatest is beyond 16 bits, though the tokens are few"
    told = json.loads(word_tokenizer('input_ids').backend_tokenizer.to_str())
    told['model']['vocab']['zebra'] = 70_000
    names = dict(pad_token='[PAD]', unk_token='[UNK]', cls_token='[CLS]', sep_token='[SEP]')
    tok = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(told)), model_input_names=['input_ids'], **names)
    texts = ['zebra film','film']
    tfm = TokenizeText(tok, 16)
    tokens = tfm.tokenize(texts)[0]
    assert tfm.stack(tokens)[:,0].tolist()==tok(texts, padding=True)['input_ids'] and len(tok)<1000
    assert tfm.tokenize(texts[1:])[0].flat[0].dtype==np.uint16
    blocks = TokenBlocks([Rows(pd.DataFrame(dict(text=texts)))], TokenizeText(tok, 16), block_size=8)
    assert 70_000 in blocks[0]['text'] and tfm.own_ids([70_000]).tolist()==[70_000]
    with pytest.raises(ValueError, match="token id 70001 is none of this tokenizer's 70,001"): tfm.own_ids([70_001])

def test_pad_to_multiple_of(bert):
    dls = loaders(bert)
    dls.text_tfm.pad_to_multiple_of = 16
    assert {x.shape[2]%16 for x,y in dls.train}=={0}

def numbered(n=600): return pd.DataFrame(dict(text=[f'{i//100} {i//10%10} {i%10} film' for i in range(n)], label=['a','b']*(n//2)))

def test_a_pass_within_a_pass(bert):
    "What another pass remembers meanwhile changes nothing in this one: each row is seen once, and is the one that `now` names."
    learn = sequence_classification_learner(numbered(), bert, valid=None, bs=4, dl_kwargs=dict(megabatch=20))
    dl,decode = learn.dls.train,learn.dls.text_tfm.decode
    dl.one_batch() # some rows are known from now on
    for other in (dl.one_batch, lambda: next(iter(dl.new(shuffle=False))), dl.lengths):
        seen = []
        for i,(x,_) in enumerate(dl):
            names = [int(str(decode(row)).replace('film', '').replace(' ', '')) for row in x]
            assert names==dl.row_numbers(dl.now).tolist()
            seen += names
            if i%15==7: other()
        assert sorted(seen)==list(range(600))

def test_other_settings_within_a_pass(bert):
    "Tokens that were cut shorter are not remembered for a reader that cuts later."
    learn = sequence_classification_learner(numbered(), bert, valid=None, bs=4, max_length=4, dl_kwargs=dict(megabatch=20))
    dl = learn.dls.train
    dl.one_batch()
    it = iter(dl)
    next(it)
    learn.dls.text_tfm.max_length = 16
    dl.new(shuffle=False).one_batch()
    for _ in it: pass
    assert {int((x[:,0]!=0).sum(1).max()) for x,_ in dl.new(shuffle=False)}=={6}

def test_inputs_of_rows_without_labels(bert):
    "Batches of differing widths"
    learn = sequence_classification_learner(frame(40), bert, bs=4)
    texts = ['a film', 'a film of the town '*4, 'people']*4
    x,preds,targets = learn.get_preds(dl=learn.dls.test_dl(texts, bs=3), with_input=True)
    assert (len(x), len(preds), targets)==(12, 12, None)
    assert [str(learn.dls.text_tfm.decode(row)) for row in x]==[t.strip() for t in texts]
    close(preds, learn.get_preds(dl=learn.dls.test_dl(texts, bs=12))[0])
