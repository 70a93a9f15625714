"Batches of like length: every row once, little padding, an order that a seed gives again."
import types
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from blurlike.all import (DataBlock, IndexSplitter, RegressionBlock, SkipItemException, TokenizeText, TokenTensor, TokenizeQuestions, TransformersDL, TransformersTextBlock, masked_lm_learner, set_seed)
from small import ARCHS, FRAMES, KINDS, SAME_WIDTH, TEXTS, accepted, byte_tokenizer, close, encode, learner, texts_of, valid_frame, word_tokenizer

pytestmark = pytest.mark.usefixtures('in_tmp')
TOK = word_tokenizer('input_ids','token_type_ids','attention_mask', max_length=4000)
PAD = TOK.pad_token_id

def text_of(row): return row['text'] # a function of a module: workers may be sent it
def row_of(row): return row['row']
def words(lengths): return [' '.join(['film']*int(k)) for k in lengths]
def loaders(texts, tokenizer=TOK, n_valid=1, bs=4, block=None, **kwargs):
    "Loaders of `texts`, each with its row number as target; the last `n_valid` rows are validation."
    df,n = pd.DataFrame(dict(text=texts, row=np.arange(len(texts), dtype=float))),len(texts)
    dblock = DataBlock(blocks=(TransformersTextBlock(tokenizer, **block or {}), RegressionBlock), get_x=text_of, get_y=row_of, splitter=IndexSplitter(list(range(n-n_valid, n))))
    return dblock.dataloaders(df, bs=bs, **kwargs)

def lengths(n, seed=0, most=60): return np.random.default_rng(seed).integers(1, most, n)
def rows_in(dl): return [y.long().tolist() for _,y in dl]
def sizes(x): return (torch.as_tensor(x)[:,TOK.model_input_names.index('attention_mask')]).sum(-1)
def flat(batches): return [i for b in batches for i in b]

# Rows

@pytest.mark.parametrize('megabatch', [1,2,50])
@pytest.mark.parametrize('bs', [1,3,4,16,64])
@pytest.mark.parametrize('n', [1,2,4,5,16,17,63])
def test_every_row_is_there_once_in_each_epoch(n, bs, megabatch):
    dls = loaders(words(lengths(n+3)), n_valid=3, bs=bs, megabatch=megabatch)
    for _ in range(2):
        batches = rows_in(dls.train)
        assert sorted(flat(batches))==list(range(n)) and len(batches)==len(dls.train)==-(-n//bs)
        assert sorted(map(len, batches), reverse=True)==[bs]*(n//bs)+[n%bs]*(n%bs>0)
    assert flat(rows_in(dls.valid))==[n,n+1,n+2]

@pytest.mark.parametrize('n,bs', [(17,4), (16,4), (3,4), (40,7)])
def test_drop_last_drops_only_what_fills_no_batch(n, bs):
    dls = loaders(words(lengths(n+1)), bs=bs, drop_last=True)
    batches = rows_in(dls.train)
    assert len(batches)==len(dls.train)==n//bs and {len(b) for b in batches}<={bs} and len(set(flat(batches)))==n//bs*bs

def test_a_row_keeps_its_target():
    k = lengths(63)
    for x,y in loaders(words(k), megabatch=3).train: assert sizes(x).tolist()==[k[i]+2 for i in y.long()]

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('shuffle', [True,False])
def test_workers_give_the_same_rows(shuffle):
    k = lengths(41)
    alone,two = loaders(words(k), megabatch=2),loaders(words(k), megabatch=2, num_workers=2)
    a,b = (dls.train if shuffle else dls[0].new(shuffle=False) for dls in (alone,two))
    assert Counter(flat(rows_in(b)))==Counter(flat(rows_in(a)))==Counter(range(40))
    for x,y in b: assert sizes(x).tolist()==[k[i]+2 for i in y.long()]

def skips_short(row):
    if len(row['text'])<60: raise SkipItemException
    return row['text']

@pytest.mark.parametrize('shuffle', [True,False])
def test_now_names_the_rows_of_a_batch_where_others_are_skipped(shuffle):
    texts = words(lengths(60))
    df = pd.DataFrame(dict(text=['film '*20, *texts], row=np.arange(61.))) # the first row is kept: fastai looks at it
    dblock = DataBlock(blocks=(TransformersTextBlock(TOK), RegressionBlock), get_x=skips_short, get_y=row_of, splitter=IndexSplitter([60]))
    dl = dblock.dataloaders(df, bs=4, megabatch=2).train.new(shuffle=shuffle)
    kept = []
    for _,y in dl:
        assert dl.now.tolist()==y.long().tolist()
        assert [float(t) for t, in dl.targets_of(dl.now)]==y.tolist()
        kept += dl.now.tolist()
    assert sorted(kept)==[0, *(i+1 for i,t in enumerate(texts[:59]) if len(t)>=60)]

# Order

def test_the_longest_batch_comes_first():
    k = lengths(200, most=90)
    dl = loaders(words(k), bs=8).train
    firsts = []
    for _ in range(4):
        widths,batches = [],[]
        for x,y in dl:
            widths.append(x.shape[-1])
            batches.append(y.long().tolist())
        assert widths[0]==max(widths)==k[:-1].max()+2 and widths!=sorted(widths, reverse=True)
        firsts.append(tuple(batches[1]))
        for b in batches: assert [k[i] for i in b]==sorted((k[i] for i in b), reverse=True)
    assert len(set(firsts))>1 # the other batches change places

def test_batches_are_made_anew_in_each_epoch():
    dl = loaders(words(lengths(200)), bs=8).train
    a,b = ({frozenset(o) for o in rows_in(dl)} for _ in range(2))
    assert a!=b

def test_batches_of_like_length_do_not_follow_the_row_order():
    dl = loaders(words([5]*65), bs=8).train # all alike: nothing but the shuffle orders them
    order = flat(rows_in(dl))
    assert order!=sorted(order) and order!=flat(rows_in(dl))

def test_validation_is_in_row_order():
    dls = loaders(words(lengths(60)), n_valid=30)
    assert flat(rows_in(dls.valid))==list(range(30,60))
    assert flat(rows_in(dls.train.new(shuffle=False)))==list(range(30))
    assert flat(rows_in(dls.train.new(shuffle=False, drop_last=False, bs=7)))==list(range(30))

def test_the_seed_gives_the_order_again():
    def order(seed):
        set_seed(seed)
        dl = loaders(words(lengths(80)), megabatch=3).train
        return [rows_in(dl) for _ in range(2)]
    assert order(1)==order(1)!=order(2)

def test_the_seed_of_a_learner_gives_its_batches_and_losses_again(bert):
    def losses(seed):
        learn = learner('single', bert, seed=seed, valid=list(range(12)))
        with learn.no_bar(), learn.no_logging(): learn.fit(2, 1e-3)
        return [float(o) for o in learn.recorder.losses]
    assert losses(1)==losses(1)!=losses(2)

def test_rows_in_order_of_length_say_which_they_are():
    k = lengths(40)
    dl = loaders(words(k), n_valid=30).valid
    ordered = dl.by_length()
    idxs = ordered.get_idxs()
    assert sorted(idxs)==list(range(30)) and flat(rows_in(ordered))==[10+i for i in idxs]
    assert [k[10+i] for i in idxs]==sorted(k[10:], reverse=True)
    assert dl.by_length() is ordered and flat(rows_in(dl))==list(range(10,40))
    assert dl.by_length(limit=29) is dl or flat(rows_in(dl.by_length(limit=29)))==list(range(10,40))

def test_a_shuffled_loader_is_not_ordered_by_length():
    dl = loaders(words(lengths(20))).train
    assert dl.by_length() is dl

# Padding

@pytest.mark.parametrize('side', ['left','right'])
@pytest.mark.parametrize('tokenizer', ['words','bytes'])
def test_padding_sides(side, tokenizer):
    tok = word_tokenizer('input_ids','token_type_ids','attention_mask') if tokenizer=='words' else byte_tokenizer(True, 64)
    tok.padding_side = side
    for x,y in loaders(TEXTS, tok, megabatch=2).train:
        want = encode(tok, [TEXTS[i] for i in y.long()], truncation=False)
        for f,v in zip(tok.model_input_names, torch.as_tensor(x).unbind(1)): assert v.tolist()==want[f].tolist()
        ids,mask = torch.as_tensor(x)[:,0],torch.as_tensor(x)[:,-1]
        assert ((ids==tok.pad_token_id)==(mask==0)).all() and (mask[:,-1 if side=='left' else 0]==1).all()

def test_other_fields_are_padded_with_their_own_values():
    tok = word_tokenizer('input_ids','token_type_ids','attention_mask')
    tok._pad_token_type_id = 7
    assert tok.pad_token_type_id==7
    x,_ = next(iter(loaders(words([1,9,3]), tok).train))
    types,mask = torch.as_tensor(x)[:,1],torch.as_tensor(x)[:,2]
    assert set(types[mask==0].tolist())=={7} and set(types[mask==1].tolist())=={0}

def test_a_batch_is_as_long_as_its_longest_text():
    k = lengths(50)
    for x,y in loaders(words(k)).train: assert isinstance(x, TokenTensor) and x.dtype==torch.int64 and x.shape==(len(y),3,max(k[i] for i in y.long())+2)

def padding(batches): # share of the positions that hold no token
    positions,tokens = map(sum, zip(*((x[:,0].numel(), sizes(x).sum().item()) for x,_ in batches)))
    return 1-tokens/positions

def test_natural_lengths_are_padded_little():
    k = np.clip(np.random.default_rng(0).lognormal(3.2, .9, 1601), 1, 400).astype(int) # a few long texts among many short ones
    dls = loaders(words(k), bs=16)
    ours = padding(dls.train)
    rng = np.random.default_rng(1).permutation(1600)
    at_random = 1-sum(k[:-1]+2)/sum(16*(k[rng[i:i+16]].max()+2) for i in range(0, 1600, 16))
    assert at_random>.45 and ours<at_random/5
    small_megabatches = padding(loaders(words(k), bs=16, megabatch=5).train)
    assert ours<small_megabatches<at_random

# Tokenising

def test_the_tokenizer_is_called_for_many_texts_at_a_time(monkeypatch):
    calls,tokenize = [],TokenizeText.tokenize
    monkeypatch.setattr(TokenizeText, 'tokenize', lambda self, texts, *args, **kwargs: (calls.append(len(texts)), tokenize(self, texts, *args, **kwargs))[1])
    dls = loaders(words(lengths(101)), bs=4, megabatch=5)
    calls.clear()
    assert len(list(dls.train))==25 and calls==[20]*5

def test_a_loader_over_other_rows_keeps_its_settings():
    dls = loaders(words(lengths(30)), megabatch=3)
    dl = dls.test_dl(pd.DataFrame(dict(text=words([3,9,1]))))
    assert isinstance(dl, TransformersDL) and dl.megabatch==3 and [sizes(b[0]).tolist() for b in dl]==[[5,11,3]]

def test_loaders_hold_no_model(bert):
    learn = learner('single', bert)
    todo,seen = [learn.dls],set()
    while todo: # everything that is reachable by attributes
        o = todo.pop()
        if id(o) in seen: continue
        seen.add(id(o))
        assert not isinstance(o, torch.nn.Module) or len(list(o.parameters()))==0, type(o)
        if isinstance(o, dict): todo += o.values()
        elif isinstance(o, (list, tuple)): todo += o
        elif hasattr(o, '__dict__') and not isinstance(o, (type, types.ModuleType)): todo += vars(o).values()

# Plain PyTorch

@pytest.mark.parametrize('arch', list(ARCHS))
def test_as_torch_gives_what_the_model_takes(arch, checkpoints):
    learn = learner('single', checkpoints(arch))
    learn.model.eval()
    tok,texts,n = learn.dls.tokenizer,texts_of('single', valid_frame(learn, 'single')),0
    for batch in learn.dls.valid.as_torch():
        assert type(batch) is dict and {type(v) for v in batch.values()}=={torch.Tensor}
        assert list(batch)==[*tok.model_input_names,'labels']
        with torch.no_grad(): out = learn.model(**accepted(learn.model, batch))
        rows = texts[n:n+len(batch['labels'])]
        with torch.no_grad(): want = learn.model(**accepted(learn.model, encode(tok, rows, max_length=learn.dls.text_tfm.max_length)), labels=batch['labels'])
        close(out.loss, want.loss, 1e-6)
        close(out.logits, want.logits, 1e-6)
        n += len(rows)
    assert n==12

@pytest.mark.parametrize('kind', KINDS)
def test_as_torch_gives_the_loss_of_the_learner(kind, bert):
    learn = learner(kind, bert, SAME_WIDTH.get(kind, FRAMES[kind]))
    learn.model.eval()
    losses,n = [],[]
    with torch.no_grad():
        for batch in learn.dls.valid.as_torch():
            losses.append(learn.model(**batch).loss.item())
            n.append(len(batch['labels']))
    with learn.no_bar(): close(np.average(losses, weights=n), learn.validate()[0])

def test_as_torch_trains(bert):
    learn = learner('single', bert)
    loader,model = learn.dls.train.as_torch(),learn.model
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3)
    assert len(loader)==8
    def loss_now():
        model.eval()
        with torch.no_grad(): return np.mean([model(**b).loss.item() for b in learn.dls.train.as_torch()])
    before = loss_now()
    model.train()
    for _ in range(10):
        for batch in loader:
            model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.)
            opt.step()
            opt.zero_grad()
    assert loss_now()<before*.8

def test_as_torch_with_workers_gives_each_row_once(bert):
    dl = learner('single', bert).dls.train
    rows = [tuple(r) for b in dl.as_torch(num_workers=2) for r in b['input_ids'].tolist()]
    once = [tuple(r) for b in dl.as_torch() for r in b['input_ids'].tolist()]
    strip = lambda rs: sorted(tuple(t for t in r if t!=dl.text_tfm.tokenizer.pad_token_id) for r in rs)
    assert strip(rows)==strip(once)

@pytest.mark.slow
def test_as_torch_with_workers_has_a_new_order_each_epoch(bert):
    for make in (lambda: learner('single', bert).dls.train, lambda: masked_lm_learner(FRAMES['single'][['text']], bert, bs=5, valid=.25).dls.train):
        def epochs(**kwargs):
            loader = make().as_torch(**kwargs)
            return [[(b['input_ids'].tolist(), b['labels'].tolist()) for b in loader] for _ in range(3)]
        alone = epochs()
        assert alone[0]!=alone[1]!=alone[2]
        assert epochs(num_workers=2)==epochs(num_workers=1, persistent_workers=True)==alone

def test_as_torch_without_targets(bert):
    learn = learner('single', bert)
    batch, = learn.dls.test_dl(TEXTS[:4]).as_torch()
    assert list(batch)==list(learn.dls.tokenizer.model_input_names) and len(batch['input_ids'])==4

@pytest.mark.parametrize('kind', ['single','pair','multi','regression'])
def test_as_torch_gives_windows_as_rows(kind, bert):
    "The means of their logits are those of the learner, and a label stands beside each window of its text."
    learn = learner(kind, bert, max_length=30 if kind=='pair' else 12, overlap=2)
    learn.model.eval()
    for (x,y),batch in zip(learn.dls.valid, learn.dls.valid.as_torch()):
        rows = batch.rows
        assert len(rows)==len(batch['input_ids'])==len(batch['labels'])>=len(x) and batch['attention_mask'].any(1).all()
        assert torch.equal(batch['labels'], y.as_subclass(torch.Tensor)[rows])
        with torch.no_grad(): logits,want = learn.model(**batch).logits,learn.model(x)
        close(torch.stack([logits[rows==i].mean(0) for i in range(len(x))]), want.view(len(x), -1), 1e-5)

def test_as_torch_gives_windows_to_other_processes(bert):
    dl = learner('single', bert, max_length=12, overlap=2).dls.valid
    alone,others = list(dl.as_torch()),list(dl.as_torch(num_workers=2))
    assert [b.rows.tolist() for b in others]==[b.rows.tolist() for b in alone] and len(alone)>2

def test_as_torch_gives_what_other_processes_make_on_the_cpu(bert):
    "CUDA cannot begin in a worker; `meta` stands for it here."
    dl = learner('single', bert).dls.valid
    dl.device = torch.device('meta')
    assert all(v.device.type=='cpu' for b in dl.as_torch(num_workers=1) for v in b.values())
    assert dl.device.type=='meta' and next(iter(dl.as_torch()))['input_ids'].device.type=='meta'

# Windows of long texts

def test_windows_hold_every_token_of_a_text():
    tok = word_tokenizer('input_ids','token_type_ids','attention_mask')
    texts = [' '.join(TEXTS[i:i+3]) for i in range(40)]
    dls = loaders(texts, tok, block=dict(max_length=12, overlap=3))
    n_windows = set()
    for x,y in dls.train:
        x = torch.as_tensor(x)
        for row,i in zip(x, y.long().tolist()):
            ids,read = tok(texts[i], add_special_tokens=False)['input_ids'],[]
            windows = row.reshape(-1, 3, row.shape[-1])
            real = [w[0][w[2]==1][1:-1].tolist() for w in windows if w[2].any()]
            for j,w in enumerate(real): read += w[3:] if j else w
            assert read==ids and all(a[-3:]==b[:3] for a,b in zip(real, real[1:])) and all(len(w)<=10 for w in real)
            n_windows.add(len(real))
    assert len(n_windows)>2

@pytest.mark.parametrize('version', ['0.23.1','0.23.2'])
def test_a_tokenizers_that_loses_windows_is_refused(version, monkeypatch):
    tok = word_tokenizer('input_ids','token_type_ids','attention_mask')
    made_elsewhere = TokenizeText(tok, 8, 2)
    monkeypatch.setattr('tokenizers.__version__', version)
    assert len(TokenizeText(tok, 8).tokenize(TEXTS[:2]))==2 # texts may be cut
    for make in (lambda: TokenizeText(tok, 8, 2), lambda: made_elsewhere.tokenize(TEXTS[:2]), lambda: TokenizeQuestions(tok, 16, 4)):
        with pytest.raises(ImportError, match=f'tokenizers {version} loses the windows'): make()

def test_windows_decode_to_the_whole_text():
    tok = word_tokenizer('input_ids','token_type_ids','attention_mask')
    dls = loaders(TEXTS, tok, block=dict(max_length=8, overlap=2))
    for x,y in dls.train:
        for row,i in zip(x, y.long().tolist()): assert str(dls.text_tfm.decode(row))==TEXTS[i]

# One row shown again and again

def state(dl): return {k:v for k,v in vars(dl).items() if k not in ('rng','_coming','_before')} | dict(order=dl.coming()[0].tolist(), next=dl.coming()[1])

@pytest.mark.parametrize('shuffle', [True,False])
def test_unique_shows_the_first_row_and_leaves_nothing_behind(shuffle):
    dl = loaders(words(lengths(12))).train.new(shuffle=shuffle)
    rows_in(dl)
    before = state(dl)
    x,y,its = dl.show_batch(unique=True, show=False, max_n=3)
    assert [float(o[1]) for o in its]==[0.]*3 and len(x)==3
    assert len({tuple(o.flatten().tolist()) for o in torch.as_tensor(x)})==1
    assert state(dl)==before
    assert [len(o[2]) for o in (dl.show_batch(unique=True, show=False), dl.show_batch(show=False))]==[9,4]
    assert sorted(flat(rows_in(dl)))==list(range(11))

def test_unique_that_fails_leaves_nothing_behind(monkeypatch):
    dl = loaders(words(lengths(12))).train
    rows_in(dl)
    before = state(dl)
    with monkeypatch.context() as m, pytest.raises(RuntimeError, match='no decoding'):
        m.setattr(TokenizeText, 'decodes', lambda *args: (_ for _ in ()).throw(RuntimeError('no decoding')))
        dl.show_batch(unique=True)
    assert state(dl)==before and sorted(flat(rows_in(dl)))==list(range(11))

def test_unique_shows_what_is_random(bert, capsys):
    df = pd.DataFrame(dict(text=['people saw the film by the river and walked home with friends'], row=[1.]))
    drop = lambda r: ' '.join(w for w in r['text'].split() if np.random.rand()<.5)
    dls = DataBlock(blocks=(TransformersTextBlock(TOK), RegressionBlock), get_x=drop, get_y=lambda r: r['row'], splitter=IndexSplitter([1])).dataloaders(pd.concat([df]*2, ignore_index=True), bs=4)
    assert len({o[0] for o in dls.train.show_batch(unique=True, show=False)[2]})>3
    learn = masked_lm_learner(pd.concat([df]*4, ignore_index=True), bert, bs=4, valid=.25)
    for dl in learn.dls: assert len({tuple(o.tolist()) for o in dl.show_batch(unique=True, show=False)[1]})>3 # each time other gaps
    learn.dls.show_batch(unique=True)
    assert capsys.readouterr().out.strip()

def test_unique_of_nothing():
    skipping = []
    def text(r):
        if skipping: raise SkipItemException
        return r['text']
    dls = DataBlock(blocks=(TransformersTextBlock(TOK), RegressionBlock), get_x=text, get_y=lambda r: r['row'], splitter=IndexSplitter([2])).dataloaders(pd.DataFrame(dict(text=words([3,4,5]), row=[0.,1.,2.])), bs=4)
    skipping.append(True)
    with pytest.raises(ValueError, match='skips it'): dls.train.show_batch(unique=True)
    with pytest.raises(ValueError, match='there are no rows'): dls.train.new(dls.train_ds.new_empty()).show_batch(unique=True)

@pytest.mark.parametrize('overlap', [0,3])
@pytest.mark.parametrize('kwargs,room', [({}, 9), (dict(return_length=False), 9), (dict(add_special_tokens=False), 12)], ids=['plain','argument','no_special_tokens'])
def test_a_first_text_that_leaves_no_room_for_windows(kwargs, room, overlap):
    tfm = TokenizeText(TOK, 12, overlap, **kwargs)
    assert tfm._plain==(not kwargs)
    second = 'people saw the film by the river and walked home' # 10 tokens
    for n in range(1, 20):
        pair = (' '.join(['film']*n), second)
        do_fit = n+10<=room
        if do_fit or room-n>overlap: assert tfm.tokenize([pair])[0].lens.max()<=12
        else:
            with pytest.raises(ValueError, match=f'the first text of the pair has {n} tokens.*max_length=12.*shorten'): tfm.tokenize([('film',second), pair])
    assert tfm.tokenize([(' '.join(['film']*(room-1)), 'film')])[0].lens.tolist()==[12] # both fit, so there are no windows

def test_a_first_text_that_is_too_long_is_named_by_its_row(bert):
    df = FRAMES['pair'].copy()
    df.loc[17, ['one','two']] = ' '.join(['film']*30),' '.join(['river']*30)
    with pytest.raises(ValueError, match='row 17: the first text of the pair has 30 tokens'): learner('pair', bert, data=df, max_length=32, overlap=4, valid=list(range(36, 48)))
    learn = learner('pair', bert, max_length=32, overlap=4, valid=list(range(36, 48)))
    with pytest.raises(ValueError, match='row 17: the first text of the pair has 30 tokens'): list(learn.dls.test_dl(df))
    long = tuple(df.loc[17, ['one','two']])
    for call in (learn.predict, learn.show_tokens, lambda o: learn.predict_batch([('film','river'), o])):
        with pytest.raises(ValueError, match='the first text of the pair has 30 tokens'): call(long)
