"Masked language modelling: gaps, loss, packing, predictions, and the road to a classifier."
import json,os,subprocess,sys
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import transformers as tf
from blurlike.all import (causal_lm_learner, Callback, ColReader, DataBlock, GradientAccumulation, Interpretation, Learner, MaskedLMBlock, MaskedLoss, ModelInputsCallback, ModelLoss, TokenBlocks, Rows, TokenizeMasked, TransformersLearner, head_stands_alone, load_learner, load_tokenizer, masked_lm_learner, masked_lm_metrics, read_corpus, sequence_classification_learner, token_classification_learner)
from fresh import fresh_process, here
from small import FRAMES, SMALL, TEXTS, byte_tokenizer, close, first, weights, word_tokenizer

MASKED = ['bert','distilbert','roberta','deberta','modernbert','bart']

def mlm(checkpoint, data=None, **kwargs): return masked_lm_learner(pd.DataFrame(dict(text=TEXTS)) if data is None else data, checkpoint, **(dict(bs=5, valid=.25, max_length=32) | kwargs))
def quiet(learn, *args, **kwargs):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(*args, **kwargs)
    return learn

@pytest.fixture(params=MASKED)
def arch(request, checkpoints): return checkpoints(request.param)

# Gaps

def sample(tfm, n=400, key=0, words=60):
    rng = np.random.default_rng(0)
    texts = [' '.join(rng.choice(' '.join(TEXTS).split(), words)) for _ in range(n)]
    x = tfm.stack(tfm.tokenize(texts)[0])
    return x,*tfm.hide(x, np.arange(n), key)

@pytest.mark.parametrize('kind', ['wordpiece','bpe'])
@pytest.mark.parametrize('whole_word', [False, True])
@pytest.mark.parametrize('p,shares', [(.15,(.8,.1)), (.4,(.5,.5)), (.15,(0.,0.))])
def test_the_shares_of_gaps(kind, whole_word, p, shares):
    tok = word_tokenizer('input_ids','token_type_ids','attention_mask', max_length=10**6) if kind=='wordpiece' else byte_tokenizer(True, 10**6)
    tfm = TokenizeMasked(tok, None, p, whole_word, *shares)
    x,masked,hidden = sample(tfm)
    at = tfm.fields.index('input_ids')
    ids,new,hidden = (o.as_subclass(torch.Tensor) for o in (x[:,at], masked[:,at], hidden))
    real = ~torch.isin(ids, torch.tensor(tok.all_special_ids))
    picked = hidden!=-100
    assert not (picked & ~real).any() and torch.equal(hidden[picked], ids[picked])
    assert torch.equal(new[~picked], ids[~picked])
    n = int(real.sum())
    assert n>20_000 and abs(picked.sum()/n-p)<.012 # a whole word is hidden with all its tokens, which makes the share wider
    k = int(picked.sum())
    is_mask,same = new[picked]==tok.mask_token_id,new[picked]==ids[picked]
    slack = 4*.5/k**.5
    assert abs(is_mask.float().mean()-shares[0])<slack
    assert abs(same.float().mean()-(1-sum(shares)))<slack+shares[1]/len(tfm.ordinary)*4 # a random token may be the right one
    other = new[picked][~is_mask & ~same]
    assert not torch.isin(other, torch.tensor(tok.all_special_ids)).any()
    v = len(tfm.ordinary)
    if shares[1]: assert len(other.unique())>.85*v*(1-np.exp(-len(other)/v)) # as many as so many draws meet

def test_gaps_are_spread_evenly():
    tfm = TokenizeMasked(word_tokenizer('input_ids','attention_mask', max_length=10**6))
    _,_,hidden = sample(tfm, 3000, words=30)
    by_place = (hidden!=-100).float().mean(0)[1:25]
    assert (by_place-.15).abs().max()<.03
    same = tfm.stack(tfm.tokenize([TEXTS[1]]*500)[0]) # one text many times has other gaps each time
    assert len({tuple(r) for r in tfm.hide(same, np.arange(500))[1].tolist()})>100

@pytest.mark.parametrize('kind', ['wordpiece','bpe'])
def test_whole_words_are_hidden_whole(kind):
    tok = word_tokenizer('input_ids','attention_mask') if kind=='wordpiece' else byte_tokenizer(True, 10**6)
    texts = ['unfathomable storytelling zzyzx qwertz mountaineering', 'a film of inexplicable beauty'] *30
    tfm = TokenizeMasked(tok, None, .3, True)
    x = tfm.stack(tfm.tokenize(texts)[0])
    hidden = tfm.hide(x, np.arange(60))[1]
    seen = set()
    for t,h in zip(texts, hidden.tolist()):
        words = tok(t).word_ids()
        for w in set(words)-{None}:
            parts = {h[i]!=-100 for i,o in enumerate(words) if o==w}
            assert len(parts)==1
            seen |= parts
        assert any(words.count(w)>1 for w in set(words)-{None})
    assert seen=={True,False}

def test_training_gaps_are_new_each_epoch_and_validation_gaps_are_not(bert):
    learn = mlm(bert)
    train = [torch.cat([y[y!=-100] for _,y in learn.dls.train]).tolist() for _ in range(3)]
    assert len({tuple(t) for t in train})==3
    valid = [{tuple(r) for _,y in learn.dls.valid for r in y.tolist()} for _ in range(2)]
    assert valid[0]==valid[1]

def rows_of(dl): # text with gaps of each row, whatever its batch
    tok = dl.text_tfm.tokenizer
    return sorted(tok.decode(r[r!=tok.pad_token_id]) for x,_ in dl for r in x[:,0].as_subclass(torch.Tensor))

def test_gaps_do_not_depend_on_batches_or_workers(bert):
    learn = mlm(bert, mlm_probability=.4)
    assert rows_of(learn.dls.valid)==rows_of(learn.dls.valid.new(bs=3))==rows_of(learn.dls.valid.new(bs=7, num_workers=2))
    def first(**kwargs): return [(x.tolist(),y.tolist()) for x,y in mlm(bert, seed=5, dl_kwargs=kwargs).dls.train]
    assert first()==first()==first(num_workers=2)==first(memory=0)

def test_a_subset_of_rows_has_the_same_gaps(bert):
    learn = mlm(bert, mlm_probability=.4)
    interp = Interpretation.from_learner(learn)
    with learn.no_bar():
        _,_,whole,_,_ = interp[list(range(len(learn.dls.valid_ds)))]
        _,_,part,_,_ = interp[[4,1]]
    for p,i in zip(part.tolist(), (4,1)): assert [o for o in p if o!=-100]==[o for o in whole[i].tolist() if o!=-100]

# Loss

def all_logits(learn, x): # (B,L,V) of the plain model
    tfm = learn.dls.text_tfm
    with torch.no_grad(): return learn.model(**{f:v for f,v in zip(tfm.fields, x.as_subclass(torch.Tensor).unbind(1)) if f in learn.model_inputs.door.accepted}).logits.float()

def test_logits_of_gaps_alone_are_those_of_the_model(arch):
    learn = mlm(arch)
    learn.model.eval()
    for x,y in learn.dls.valid:
        hidden = (y!=-100).as_subclass(torch.Tensor)
        with learn.predicting(): got = learn.forward(x, hidden)
        assert got.shape==(int(hidden.sum()), learn.model.config.vocab_size)
        close(got, all_logits(learn, x)[hidden], 1e-4)
    assert learn.model_inputs.door.head_only

def test_a_head_that_mixes_tokens_is_found_out(bert):
    learn = mlm(bert)
    class Mixing(torch.nn.Module):
        def __init__(self, head):
            super().__init__()
            self.head = head
        def forward(self, h): return self.head(h+h.mean(1, keepdim=True))
    learn.model.cls = Mixing(learn.model.cls)
    assert not head_stands_alone(learn.model, learn.model_inputs.door)
    learn.model.eval()
    x,y = learn.dls.valid.one_batch()
    hidden = (y!=-100).as_subclass(torch.Tensor)
    with learn.predicting(): close(learn.forward(x, hidden), all_logits(learn, x)[hidden], 1e-4)

def test_large_batches_in_pieces_give_the_same(bert):
    learn = mlm(bert, bs=48, data=pd.DataFrame(dict(text=TEXTS*4)))
    learn.model.eval()
    x,y = next(iter(learn.dls.train))
    hidden = (y!=-100).as_subclass(torch.Tensor)
    big = torch.cat([x]*4)
    assert big.shape[0]*big.shape[2]>1.5*1024
    with learn.predicting(): close(learn.forward(big, torch.cat([hidden]*4)), all_logits(learn, big)[torch.cat([hidden]*4)], 1e-4)

def test_validation_loss_is_the_mean_over_all_gaps(arch):
    learn = mlm(arch)
    with learn.no_bar(): loss,perplexity,accuracy = learn.validate()
    total,n,right = 0.,0,0
    learn.model.eval()
    for x,y in learn.dls.valid:
        y = y.as_subclass(torch.Tensor)
        logits = all_logits(learn, x)
        total += F.cross_entropy(logits.transpose(1, 2), y, reduction='sum').item()
        n += int((y!=-100).sum())
        right += int((logits.argmax(-1)==y)[y!=-100].sum())
    close(loss, total/n, 1e-4)
    close(perplexity, np.exp(total/n), 1e-2)
    assert accuracy==right/n
    with learn.no_bar(): close(learn.validate(dl=learn.dls.valid.new(bs=3))[0], loss, 1e-5)

def test_a_batch_without_gaps_costs_nothing(bert):
    learn = mlm(bert, mlm_probability=1e-9)
    quiet(learn, 1, 1e-3)
    assert all(torch.isfinite(p).all() for p in learn.model.parameters()) and learn.recorder.values[0][0]==0

@pytest.mark.parametrize('half', [None,'bf16'])
def test_accumulated_gradients_weigh_each_gap_the_same(bert, half):
    "The gradient of a step over several batches is that of the mean over all their gaps."
    learn = mlm(bert, max_grad_norm=None, precision=half, mlm_probability=.3, model_kwargs=dict(hidden_dropout_prob=0., attention_probs_dropout_prob=0.))
    learn.dls.train = learn.dls.train.new(shuffle=False)
    class Grab(Callback):
        order = 60
        def before_step(self): grads.append({n:p.grad.clone() for n,p in self.learn.model.named_parameters()})
    grads,start = [],weights(learn.model)
    batches = list(learn.dls.train)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 0., cbs=[GradientAccumulation(15), Grab()])
    assert len(grads)==len(batches)//3
    counts = [int((y!=-100).sum()) for _,y in batches[:3]]
    assert len(set(counts))>1
    learn.model.load_state_dict(start, strict=False)
    learn.model.zero_grad()
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=half is not None):
        for x,y in batches[:3]:
            y = y.as_subclass(torch.Tensor)
            logits = learn.model(**{f:v for f,v in zip(learn.dls.text_tfm.fields, x.as_subclass(torch.Tensor).unbind(1))}).logits.float()
            (F.cross_entropy(logits.transpose(1, 2), y, reduction='sum')/sum(counts)).backward()
    for n,p in learn.model.named_parameters():
        if p.grad is not None: close(grads[0][n], p.grad, 1e-5 if half is None else 2e-3)

def test_tags_weigh_the_same_in_accumulated_gradients_too(bert):
    df = pd.DataFrame(dict(tokens=[t.split() for t in TEXTS], tags=[[('B-X' if len(w)>4 else 'O') for w in t.split()] for t in TEXTS]))
    learn = token_classification_learner(df, bert, bs=5, valid=.25, max_grad_norm=None, model_kwargs=dict(hidden_dropout_prob=0., attention_probs_dropout_prob=0.))
    learn.dls.train = learn.dls.train.new(shuffle=False)
    batches,seen = list(learn.dls.train)[:2],[]
    class Grab(Callback):
        order = 60
        def before_step(self): seen.append(self.learn.model.classifier.weight.grad.clone())
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 0., cbs=[GradientAccumulation(10), Grab()])
    learn.model.zero_grad()
    n = sum(int((y!=-100).sum()) for _,y in batches)
    for x,y in batches:
        logits = learn.model(**{f:v for f,v in zip(learn.dls.text_tfm.fields, x.as_subclass(torch.Tensor).unbind(1)) if f!='word_ids'}).logits
        (F.cross_entropy(logits.transpose(1, 2), y.as_subclass(torch.Tensor), reduction='sum')/n).backward()
    close(seen[0], learn.model.classifier.weight.grad, 1e-5)

def test_the_models_own_loss(bert):
    learn,other = (mlm(bert, mlm_probability=.5, loss_func=f) for f in (ModelLoss(), None))
    with learn.no_bar(), other.no_bar():
        close(learn.validate()[0], other.validate()[0], 1e-5)
        close(learn.get_preds(with_loss=True)[-1], other.get_preds(with_loss=True)[-1], 1e-5)
    quiet(learn, 1, 1e-3)
    assert np.isfinite(learn.recorder.values[0][:2]).all()

def test_a_plain_fastai_learner(bert):
    dls = DataBlock(blocks=MaskedLMBlock(bert), get_x=ColReader('text')).dataloaders(pd.DataFrame(dict(text=TEXTS)), bs=5)
    model = tf.AutoModelForMaskedLM.from_pretrained(bert)
    learn = Learner(dls, model, loss_func=MaskedLoss(), metrics=masked_lm_metrics(), cbs=ModelInputsCallback())
    quiet(learn, 1, 1e-3)
    assert np.isfinite(learn.recorder.values[0]).all()
    ours = TransformersLearner(dls, model)
    assert ours.task.name=='masked_lm' and ours.dls is dls
    with learn.no_bar(), ours.no_bar(): close(learn.validate()[1], ours.validate()[1], 1e-3)

def test_tied_embeddings_are_one_parameter(arch):
    learn = mlm(arch)
    learn.create_opt()
    ids = [id(p) for g in learn.opt.param_lists for p in g]
    assert len(ids)==len(set(ids)) and set(ids)=={id(p) for p in learn.model.parameters()}
    assert learn.model.get_output_embeddings().weight is learn.model.get_input_embeddings().weight

def test_a_step_is_torchs_step(bert):
    "One step of ours changes the weights as plain PyTorch's optimizer does: tied weights once."
    learn = mlm(bert, max_grad_norm=None, model_kwargs=dict(hidden_dropout_prob=0., attention_probs_dropout_prob=0.), opt_func=lambda params, **kw: __import__('fastai.optimizer').optimizer.OptimWrapper(params, torch.optim.SGD, **{k:v for k,v in kw.items() if k=='lr'}))
    learn.dls.train = learn.dls.train.new(shuffle=False)
    x,y = learn.dls.train.one_batch()
    before = weights(learn.model)
    class One(Callback):
        def after_batch(self): raise __import__('fastai.callback.core').callback.core.CancelFitException()
    with learn.no_bar(), learn.no_logging(): learn.fit(1, .1, cbs=One())
    after = weights(learn.model)
    learn.model.load_state_dict(before, strict=False)
    opt = torch.optim.SGD(learn.model.parameters(), .1)
    opt.zero_grad()
    logits = learn.model(**{f:v for f,v in zip(learn.dls.text_tfm.fields, x.as_subclass(torch.Tensor).unbind(1))}).logits
    F.cross_entropy(logits.transpose(1, 2), y.as_subclass(torch.Tensor)).backward()
    opt.step()
    for n,p in learn.model.named_parameters(): close(after[n], p, 1e-6)

# Packing

def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines), encoding='utf-8')
    return path

@pytest.mark.parametrize('words', [False, True])
@pytest.mark.parametrize('kind', ['wordpiece','bpe'])
def test_blocks_are_the_corpus(kind, words):
    tok = word_tokenizer('input_ids','token_type_ids','attention_mask') if kind=='wordpiece' else byte_tokenizer(True, 64)
    tfm = TokenizeMasked(tok, None, whole_word=words)
    texts = TEXTS*60 # more than one piece of 1000 texts
    blocks = TokenBlocks([Rows(pd.DataFrame(dict(text=texts))), Rows(pd.DataFrame(dict(text=TEXTS[:7])))], tfm, block_size=24)
    want = [[i for t in part for i in (*tok(t, add_special_tokens=False)['input_ids'], tok.sep_token_id)] for part in (texts, TEXTS[:7])]
    assert blocks.sizes==[-(-len(w)//22) for w in want] and len(blocks)==sum(blocks.sizes)
    got = blocks.read(np.arange(len(blocks)), ['text'])[0]
    if words: got = [g[0] for g in got]
    assert all(g[0]==tok.cls_token_id and g[-1]==tok.sep_token_id for g in got)
    assert all(len(g)==24 for i,g in enumerate(got) if i not in (blocks.sizes[0]-1, len(blocks)-1))
    for part,w in zip((got[:blocks.sizes[0]], got[blocks.sizes[0]:]), want): assert np.concatenate([g[1:-1] for g in part]).tolist()==w
    sub = blocks[[5,2]]
    assert len(sub)==2 and (np.asarray(sub[0]['text'])==np.asarray(blocks[5]['text'])).all()

def test_whole_words_in_blocks(in_tmp):
    tok = byte_tokenizer(True, 64)
    tok.save_pretrained('m')
    tf.RobertaModel(tf.RobertaConfig(vocab_size=len(tok), max_position_embeddings=66, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2, **SMALL)).save_pretrained('m')
    write(Path('c.txt'), ['unfathomable storytelling zzyzx qwertz mountaineering']*40)
    learn = masked_lm_learner('c.txt', 'm', block_size=32, whole_word=True, mlm_probability=.3, mask_share=0., random_share=0.)
    begins = {i for t,i in tok.get_vocab().items() if t.startswith('Ġ')}
    n = 0
    for x,y in learn.dls.train:
        for ids,hid in zip(x[:,0].tolist(), (y!=-100).tolist()):
            for a,b,i in zip(hid[1:-2], hid[2:-1], ids[2:-1]):
                if i not in begins and i not in tok.all_special_ids:
                    assert a==b
                    n += 1
    assert n>100

def test_a_plain_file_is_packed_without_padding(bert, in_tmp):
    write(Path('c.txt'), TEXTS*4)
    learn = masked_lm_learner('c.txt', bert, block_size=32, bs=4, valid=.3)
    padded = [int((x[:,2]==0).any(1).sum()) for x,_ in learn.dls.train]
    assert sum(padded)<=1 and len(padded)>3 # the last block is as long as what was left
    assert all(x.shape[2]==32 for (x,_),p in zip(learn.dls.train, padded) if not p and len(x)==4)
    quiet(learn, 1, 1e-3)
    rows = masked_lm_learner('c.txt', bert, block_size=0, valid=.3)
    assert sum(len(x) for x,_ in rows.dls.train)+sum(len(x) for x,_ in rows.dls.valid)==len(TEXTS*4)
    table = mlm(bert, block_size=24)
    assert all(x.shape[2]<=24 for x,_ in table.dls.train) and len(table.dls.train_ds)<36

def test_folders_parts_paragraphs(bert, in_tmp):
    write(Path('corpus/train.txt'), ['one two','three','','four'])
    write(Path('corpus/valid.txt'), ['five six'])
    learn = masked_lm_learner('corpus', bert, block_size=0, bs=2)
    assert len(learn.dls.train_ds)==3 and len(learn.dls.valid_ds)==1
    learn = masked_lm_learner('corpus', bert, block_size=0, split_by='paragraph', bs=2)
    assert sorted(learn.dls.train_ds.items.column('text'))==['four','one two\nthree']
    learn = masked_lm_learner([Path('corpus/train.txt'), 'corpus/valid.txt'], bert, block_size=0, valid='valid')
    assert len(learn.dls.valid_ds)==1

def test_nothing_is_left_on_disk(bert, in_tmp, monkeypatch):
    import gc,tempfile
    monkeypatch.setattr(tempfile, 'tempdir', str(in_tmp/'tmp'))
    os.mkdir('tmp')
    write(Path('c.txt'), TEXTS)
    learn = masked_lm_learner('c.txt', bert, block_size=16)
    list(learn.dls.train)
    assert list(Path('tmp').iterdir())
    del learn
    gc.collect()
    assert not [p for p in Path('tmp').iterdir() if p.name.startswith('blurlike-')]

MEMORY = """
import json,resource,sys
from blurlike.all import *
masked_lm_learner('small.txt', sys.argv[1], block_size=64)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
learn = masked_lm_learner('large.txt', sys.argv[1], block_size=64)
x,y = learn.dls.one_batch()
print(json.dumps([(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss-before)/1024, len(learn.dls.train_ds)]))
"""
@pytest.mark.slow
def test_a_large_file_is_not_read_into_memory(bert, in_tmp):
    line = ' '.join(TEXTS)[:2000]
    write(Path('small.txt'), [line]*2000)
    write(Path('large.txt'), [line]*40_000) # 80 MB, about 20 million tokens
    out = subprocess.run([sys.executable, '-W', 'ignore', '-c', MEMORY, bert], env=here(), capture_output=True, text=True) # not forked: a fork's memory starts otherwise
    more,blocks = json.loads(out.stdout.splitlines()[-1])
    assert blocks>100_000 and more<60 # MB: the numbers of blocks, and pieces on the way

# Predictions

def trained(checkpoint, **kwargs): return quiet(mlm(checkpoint, **kwargs), 2, 5e-3)

GAPS = ['the film was [MASK] and we left', '[MASK]', 'rain on [MASK] roofs and [MASK] books', 'a [MASK] a [MASK] a [MASK] .']

@pytest.mark.parametrize('name', ['bert','roberta','distilbert','modernbert'])
def test_predict_batch_is_the_fill_mask_pipeline(name, checkpoints, in_tmp):
    learn = trained(checkpoints(name))
    learn.save_pretrained('saved')
    pipe = tf.pipeline('fill-mask', 'saved', device='cpu')
    mask = pipe.tokenizer.mask_token
    for k in (1, 5):
        want = [pipe(t.replace('[MASK]', mask), top_k=k) for t in GAPS]
        for texts in (GAPS, [t.replace('[MASK]', mask) for t in GAPS]): same_guesses(learn.predict_batch(texts, top_k=k, bs=2), want)

def same_guesses(got, want):
    assert len(got)==len(want)
    for g,w in zip(got, want):
        if isinstance(w, list): same_guesses(g, w)
        else:
            assert {k:v for k,v in g.items() if k!='score'}=={k:v for k,v in w.items() if k!='score'}
            assert abs(g['score']-w['score'])<1e-5
            assert list(g)==list(w)

def test_predict(bert):
    learn = trained(bert)
    text,token,prob = learn.predict('The film was [MASK] and we left')
    best = learn.predict_batch(['The film was [MASK] and we left'])[0][0]
    assert text==f'The film was {token} and we left' and token==best['token_str'] and abs(prob-best['score'])<1e-6
    text,tokens,probs = learn.predict('rain on [MASK] roofs and [MASK] books')
    assert text==f'rain on {tokens[0]} roofs and {tokens[1]} books' and len(probs)==2
    assert learn.predict('a [MASK]', with_input=True)[0]=='a [MASK]'
    assert learn.predict(dict(text='a [MASK]'))[0].startswith('a ')

def test_predict_joins_pieces_of_words(bert, checkpoints):
    for name,piece,want in (('bert','##ing','walking home'), ('roberta',None,None)):
        learn = mlm(checkpoints(name))
        tok = learn.dls.tokenizer
        if piece is None: piece,want = next((t,f'walk{t} home') for t in tok.get_vocab() if t.isalpha() and t.isascii() and len(t)>1)
        elif piece not in tok.get_vocab(): piece,want = next((t,f'walk{t[2:]} home') for t in tok.get_vocab() if t.startswith('##') and len(t)>2)
        with torch.no_grad(): learn.model.get_output_embeddings().bias[tok.convert_tokens_to_ids(piece)] = 1e4
        assert learn.predict('walk [MASK] home')[0]==want

@pytest.mark.slow
def test_sampling_follows_the_probabilities(bert):
    learn = mlm(bert)
    with torch.no_grad(): learn.model.get_output_embeddings().bias[torch.tensor(learn.dls.tokenizer.convert_tokens_to_ids(['film','rain']))] = torch.tensor([5.,4.]) # about a third, a seventh; the rest for all others
    text = 'the film was [MASK]'
    best = learn.predict_batch([text], top_k=3)[0]
    drawn = [learn.predict(text, temperature=1., seed=s)[1] for s in range(400)]
    assert drawn[:5]==[learn.predict(text, temperature=1., seed=s)[1] for s in range(5)] and len(set(drawn))>10
    p = best[0]['score']
    assert abs(drawn.count(best[0]['token_str'])/400-p)<4*(p*(1-p)/400)**.5+.01
    assert {learn.predict(text, temperature=1e-3, seed=s)[1] for s in range(10)}=={best[0]['token_str']}

def test_bad_texts(bert):
    learn = mlm(bert)
    with pytest.raises(ValueError, match=r'item 1: no gap to fill: write \[MASK\] where'): learn.predict_batch(['a [MASK]', 'a film'])
    with pytest.raises(ValueError, match='a gap was cut off'): learn.predict('film '*60+'[MASK]')
    with pytest.raises(TypeError, match='one text'): learn.predict_batch('a [MASK]')
    with pytest.raises(TypeError, match='pair'): learn.predict(('a [MASK]','b'))
    with pytest.raises(ValueError, match='temperature=0'): learn.predict('a [MASK]', temperature=0)
    assert learn.predict_batch([])==[]

def test_get_preds_in_the_order_of_rows(bert):
    learn = trained(bert)
    with learn.no_bar():
        preds,targs,decoded,losses = learn.get_preds(with_decoded=True, with_loss=True)
        x,again,targs2 = learn.get_preds(with_input=True)[:3]
    assert len(preds)==len(targs)==len(losses)==12 and torch.equal(targs, targs2)
    for p,q,t,d,l in zip(preds, again, targs.as_subclass(torch.Tensor), decoded.as_subclass(torch.Tensor), losses):
        n = int((t!=-100).sum())
        assert p.shape==(n, learn.model.config.vocab_size) and torch.equal(d[t!=-100], p.argmax(-1))
        close(p, q)
        if n: close(l, -p.gather(1, t[t!=-100][:,None]).log().mean(), 1e-4)
    words = [learn.dls.text_tfm.decodes(r) for r in x]
    texts = [learn.dls.valid_ds.items[i]['text'] for i in range(12)]
    for w,t,g in zip(words, texts, targs.as_subclass(torch.Tensor)): # the texts, gaps filled with what they hid, are those of the rows
        ids = torch.tensor(learn.dls.tokenizer(t)['input_ids'])
        assert torch.equal(g[:len(ids)][g[:len(ids)]!=-100], ids[g[:len(ids)]!=-100])

HOARD = """
import json,sys,resource
import pandas as pd
from blurlike.all import *
rng = np.random.default_rng(0)
words = 'the film was long and we left before end rain on old roofs'.split()
df = pd.DataFrame(dict(text=[' '.join(rng.choice(words, 30)) for _ in range(int(sys.argv[2]))]))
folder = Path(sys.argv[1])
tok = load_tokenizer(folder)
import transformers as tf
model = tf.BertForMaskedLM(tf.BertConfig(vocab_size=30_000, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16, max_position_embeddings=64))
learn = masked_lm_learner(df, model, tokenizer=tok, valid=list(range(16, len(df))), bs=16, max_length=64)
with learn.no_bar(): print(json.dumps([float(learn.validate()[0]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024]))
"""
@pytest.mark.slow
def test_memory_of_validation_does_not_grow_with_rows(bert, in_tmp):
    (_,few),(_,many) = (fresh_process(HOARD, bert, n, cwd=in_tmp) for n in (200, 1600))
    assert many-few<400 # MB, with room for what an allocator keeps; the logits of the gaps alone would be 1400 rows x 9 x 30,000 x 4 bytes = 1.5 GB

# fastai's tools

def test_fastais_tools(bert, capsys, in_tmp):
    learn = trained(bert)
    with learn.no_bar():
        learn.dls.show_batch(max_n=3)
        learn.show_results(max_n=3)
        interp = Interpretation.from_learner(learn)
        interp.plot_top_losses(3)
        assert learn.lr_find(show_plot=False, num_it=5).valley>0
        learn.summary()
    out = capsys.readouterr().out
    assert '{' in out and '✗' in out and 'loss' in out
    with learn.no_bar(), learn.no_logging():
        learn.freeze()
        learn.fine_tune(1, 1e-3)
        learn.to_bf16().fit_one_cycle(1, slice(1e-5, 1e-3))
    learn.export('l.pkl')
    assert load_learner('l.pkl').predict('a [MASK]')[0]==learn.predict('a [MASK]')[0]

def test_displays_are_escaped_and_marked(bert, monkeypatch):
    import blurlike.show.table as showing
    shown = []
    monkeypatch.setattr(showing.Table, 'show', lambda self: shown.append(self))
    learn = mlm(bert, pd.DataFrame(dict(text=['<script>alert(1)</script> a film']*8)), mlm_probability=.5)
    learn.dls.show_batch()
    learn.show_results()
    Interpretation.from_learner(learn).plot_top_losses(2)
    for t in shown: assert '<script' not in t._repr_html_() and '<span' in t._repr_html_() and '{' in repr(t)
    assert '✗' in repr(shown[1]) and len(shown)==3

# Saving, and the road to a classifier

RELOAD = """
import json,sys
from blurlike.all import *
learn = TransformersLearner.from_pretrained(sys.argv[1])
print(json.dumps([learn.predict_batch(['a [MASK] film', 'rain on [MASK] and [MASK]']), learn.dls.text_tfm.options, learn.task.name]))
"""
@pytest.mark.parametrize('arch', first(MASKED, 2), indirect=True)
def test_save_and_reload_in_a_fresh_process(arch, in_tmp):
    learn = mlm(arch, mlm_probability=.25, whole_word=True)
    learn.save_pretrained('saved')
    preds,options,task = fresh_process(RELOAD, 'saved', cwd=in_tmp)
    assert json.loads(json.dumps(learn.predict_batch(['a [MASK] film', 'rain on [MASK] and [MASK]'])))==preds
    assert options==learn.dls.text_tfm.options and task=='masked_lm'
    again = mlm('saved') # the head is in the folder now
    assert not again.model.new_weights
    with learn.no_bar(), again.no_bar(): close(mlm(learn.model, tokenizer=learn.dls.tokenizer).validate()[0], again.validate()[0], 1e-5)

@pytest.mark.parametrize('name', first(['bert','roberta','deberta','distilbert']))
@pytest.mark.parametrize('how', ['learner','folder'])
def test_from_language_model_to_classifiers(name, how, checkpoints, in_tmp):
    lm = quiet(mlm(checkpoints(name)), 1, 5e-3)
    lm.save_pretrained('lm')
    source = lm if how=='learner' else 'lm'
    table = lm.model.get_input_embeddings().weight
    clf = sequence_classification_learner(FRAMES['single'], source, bs=5)
    df = pd.DataFrame(dict(tokens=[t.split() for t in TEXTS], tags=[['O' if len(w)<5 else 'B-X' for w in t.split()] for t in TEXTS]))
    tagger = token_classification_learner(df, source, bs=5)
    for learn in (clf, tagger):
        assert torch.equal(learn.model.get_input_embeddings().weight, table)
        assert learn.model.get_input_embeddings().weight is not table
        assert not torch.equal(learn.model.get_input_embeddings().weight, tf.AutoModel.from_pretrained(checkpoints(name)).get_input_embeddings().weight)
        quiet(learn, 1, 1e-3)
    assert clf.dls.vocab==['bad','fine','good'] and clf.model.config.num_labels==3 and lm.model.config.num_labels!=3
    again = masked_lm_learner(pd.DataFrame(dict(text=TEXTS)), lm, bs=5)
    assert not again.model.new_weights
    assert torch.equal(again.model.get_input_embeddings().weight, lm.model.get_input_embeddings().weight)

def test_a_new_head_is_told_of(bert, capsys, in_tmp):
    learn = mlm(bert)
    assert 'no head for masked language modelling' in (out := capsys.readouterr().out) and 'shares the weights' in out
    learn.save_pretrained('lm')
    mlm('lm')
    assert 'no head' not in capsys.readouterr().out

# Bad input

def test_no_mask_token(checkpoints, bert):
    with pytest.raises(ValueError, match='no mask token'): mlm(checkpoints('gpt2'))
    tok = word_tokenizer('input_ids','attention_mask')
    tok.mask_token = None
    with pytest.raises(ValueError, match='no mask token'): MaskedLMBlock(tok)

@pytest.mark.parametrize('kwargs,error', [(dict(mlm_probability=0), 'mlm_probability=0'), (dict(mlm_probability=15), 'mlm_probability=15'), (dict(mask_share=.9, random_share=.2), 'together at most 1'),
    (dict(block_size=1000), 'block_size=1000 is more than'), (dict(block_size=2), 'leaves no room'), (dict(split_by='word'), None), (dict(max_length=10_000), '10000|10,000')])
def test_bad_arguments(kwargs, error, bert, in_tmp):
    if error is None:
        write(Path('c.txt'), TEXTS)
        with pytest.raises(ValueError, match="split_by='word'"): masked_lm_learner('c.txt', bert, **kwargs)
    else:
        with pytest.raises(ValueError, match=error): mlm(bert, **kwargs)

def test_bad_data(bert, in_tmp):
    with pytest.raises(FileNotFoundError, match='does not exist'): masked_lm_learner('none.txt', bert)
    write(Path('empty.txt'), ['',' '])
    with pytest.raises(ValueError, match='all lines are empty'): masked_lm_learner('empty.txt', bert)
    os.mkdir('nothing')
    with pytest.raises(ValueError, match='no text files'): masked_lm_learner('nothing', bert)
    for encoding in ('latin1','utf-16'):
        Path("a file.txt").write_bytes('caf\xe9'.encode(encoding))
        with pytest.raises(ValueError, match=f"no UTF-8.*`iconv -f {encoding} -t utf-8 'a file.txt' > new.txt`"): masked_lm_learner('a file.txt', bert)
    with pytest.raises(KeyError, match="no column 'text'"): mlm(bert, pd.DataFrame(dict(body=TEXTS)))
    with pytest.raises(ValueError, match='has no text in row 1'): mlm(bert, pd.DataFrame(dict(text=['a', None, 'b'])))
    with pytest.raises(ValueError, match='hide no tokens'): masked_lm_learner(sequence_classification_learner(FRAMES['single'], bert).dls, bert)
    with pytest.raises(ValueError, match='validation part'): masked_lm_learner(pd.DataFrame(dict(text=TEXTS)), bert, valid=[])

def test_every_kind_of_table(bert, in_tmp):
    df = pd.DataFrame(dict(text=TEXTS))
    df.to_csv('t.csv', index=False)
    parts = datasets.DatasetDict(train=datasets.Dataset.from_pandas(df[:30]), validation=datasets.Dataset.from_pandas(df[30:].reset_index(drop=True)))
    for data,n in ((df, 36), (datasets.Dataset.from_pandas(df), 36), (parts, 30), (df.to_dict('records'), 36), ('t.csv', 36)): assert len(mlm(bert, data, valid=.2 if data is parts else .25).dls.train_ds)==n
    with pytest.warns(UserWarning, match='max_length=8'): list(mlm(bert, df, max_length=8).dls.train)

def test_fastais_tools_on_blocks(bert, in_tmp, capsys):
    write(Path('c.txt'), TEXTS*2)
    learn = quiet(masked_lm_learner('c.txt', bert, block_size=24, bs=4, whole_word=True), 1, 5e-3)
    with learn.no_bar():
        learn.dls.show_batch(max_n=2)
        learn.show_results(max_n=2)
        Interpretation.from_learner(learn).plot_top_losses(2)
        assert len(learn.get_preds(ds_idx=0)[0])==len(learn.dls.train_ds)
        assert np.isfinite(learn.validate(dl=learn.dls.test_dl(TEXTS))[0])
    assert '✗' in capsys.readouterr().out
    learn.export('l.pkl')
    assert os.path.getsize('l.pkl')<3e6 and load_learner('l.pkl').predict('a [MASK]')==learn.predict('a [MASK]')
    learn.save_pretrained('saved')
    again = TransformersLearner.from_pretrained('saved')
    assert again.predict_batch(['a [MASK]'])==learn.predict_batch(['a [MASK]'])
    again.dls = masked_lm_learner('c.txt', 'saved', block_size=24).dls
    quiet(again, 1, 1e-3)

@pytest.mark.parametrize('arch', ['bert','distilbert'])
def test_padding_on_the_left_changes_nothing(arch, checkpoints):
    "Neither which tokens are hidden, nor what is said of them, nor what a text gets beside a longer one."
    texts = ['the film was shown in a small town','many people came','a town by the river where many old people came after work']*8
    def made(side, **kwargs):
        tokenizer = load_tokenizer(checkpoints(arch))
        tokenizer.padding_side = side
        return masked_lm_learner(pd.DataFrame(dict(text=texts)), checkpoints(arch), tokenizer=tokenizer, valid=list(range(12)), **kwargs)
    right,*left = made('right', bs=4),made('left', bs=4),made('left', bs=7)
    for l in left: l.model.load_state_dict(right.model.state_dict())
    want = right.validate()
    for l in left: np.testing.assert_allclose(list(l.validate()), list(want), rtol=1e-5)
    mask = right.dls.tokenizer.mask_token
    items = [f'many {mask} came', f'{texts[2]} {mask}']
    for alone,beside in zip([left[0].predict_batch([t])[0] for t in items], left[0].predict_batch(items)):
        assert [o['token'] for o in alone]==[o['token'] for o in beside]
        np.testing.assert_allclose([o['score'] for o in alone], [o['score'] for o in beside], rtol=1e-4)
    assert left[0].model_inputs.door.positions

def test_a_text_that_is_cut_is_told_of(bert):
    learn = mlm(bert, max_length=12)
    with pytest.warns(UserWarning, match='longer than max_length=12') as told: learn.predict_batch(['the [MASK] '+'film '*20])
    assert not any('overlap=' in str(w.message) for w in told)
    calls = []
    tokenize = learn.dls.text_tfm.tokenize
    learn.dls.text_tfm.tokenize = lambda texts, count=True: calls.append(count) or tokenize(texts, count)
    learn.predict_batch(['the [MASK] '+'film '*20])
    assert calls==[False] # long texts are not read twice where there is nothing more to tell

@pytest.mark.parametrize('arch,make,one,other,item', [
    ('bert', masked_lm_learner, {}, dict(whole_word=True), 'the film was [MASK] .'), ('llama', causal_lm_learner, dict(block_size=32), dict(block_size=0), 'the film was')])
def test_other_loaders_may_have_other_fields(arch, make, one, other, item, checkpoints):
    rows = pd.DataFrame(dict(text=TEXTS))
    learn,second = (make(rows, checkpoints(arch), bs=5, valid=.25, **o) for o in (one, other))
    learn.dls = second.dls
    first = learn.predict(item, **dict(max_new_tokens=3) if arch=='llama' else {})
    learn.validate()
    assert str(first)==str(learn.predict(item, **dict(max_new_tokens=3) if arch=='llama' else {}))

def test_no_windows(bert):
    with pytest.raises(ValueError, match='reads no text in windows'): masked_lm_learner(pd.DataFrame(dict(text=TEXTS)), bert, max_length=12, overlap=2, bs=5)

@pytest.mark.parametrize('given', [dict(mlm_probability=.9), dict(bs=3), dict(valid=None), dict(whole_word=True), dict(split_by='paragraph')])
def test_ready_loaders_are_not_made_otherwise(given, bert):
    ready = masked_lm_learner(pd.DataFrame(dict(text=TEXTS)), bert, bs=5).dls
    masked_lm_learner(ready, bert, bs=16, valid=.2, mlm_probability=.15) # as they are by default
    with pytest.raises(ValueError, match=f'{[*given][0]}=: these DataLoaders are made already'): masked_lm_learner(ready, bert, **given)

def test_one_text_that_is_cut_is_told_too(bert):
    learn = masked_lm_learner(FRAMES['single'], bert, max_length=8)
    with pytest.warns(UserWarning, match='were cut off'): learn.predict('[MASK] '+'film '*30)

def test_gaps_in_both_spellings(checkpoints):
    learn = masked_lm_learner(FRAMES['single'], checkpoints('roberta'))
    assert len(learn.predict(f'a [MASK] film {learn.dls.tokenizer.mask_token}')[1])==2

@pytest.mark.parametrize('given', [dict(temperature='1'), dict(temperature=float('nan')), dict(temperature=1., seed='a')], ids=str)
def test_what_no_gap_can_be_drawn_by(given, bert):
    with pytest.raises((TypeError, ValueError), match='|'.join(f'{k}=' for k in given)): masked_lm_learner(FRAMES['single'], bert).predict('a [MASK]', **given)

def test_how_files_are_divided_is_nothing_for_tables(bert):
    with pytest.raises(ValueError, match="split_by='paragraph'"): masked_lm_learner(FRAMES['single'], bert, split_by='paragraph')

def test_a_corpus_is_what_its_files_say(tmp_path):
    (tmp_path/'a.txt').write_text('def f(x):\n    if x:\n        return 1\n\nb\n')
    (tmp_path/'.ipynb_checkpoints').mkdir()
    (tmp_path/'.ipynb_checkpoints'/'a-checkpoint.txt').write_text('b\n')
    assert [o['text'] for o in read_corpus(tmp_path, split_by='paragraph')[0]]==['def f(x):\n    if x:\n        return 1', 'b']

@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no device that is always full')
@pytest.mark.parametrize('n', [1, 60])
@pytest.mark.parametrize('file', ['corpus.arrow','ids','begins'])
def test_a_full_disk_is_told(file, n, in_tmp, monkeypatch):
    "of however little of the corpus did not find room"
    def full(prefix):
        (in_tmp/'full').mkdir(exist_ok=True)
        if not (in_tmp/'full'/file).exists(): (in_tmp/'full'/file).symlink_to('/dev/full')
        return str(in_tmp/'full')
    tfm = TokenizeMasked(word_tokenizer('input_ids','token_type_ids','attention_mask'), None, whole_word=True)
    rows = Rows(pd.DataFrame(dict(text=TEXTS*n)))
    write(Path('c.txt'), TEXTS*n)
    monkeypatch.setattr('tempfile.mkdtemp', full)
    with pytest.raises(OSError, match="full' could not be written: No space left on device; make room in .*TMPDIR"):
        read_corpus('c.txt') if file=='corpus.arrow' else TokenBlocks([rows], tfm, block_size=24)
