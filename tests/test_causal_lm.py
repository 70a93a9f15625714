"Causal language models: the loss in chunks, what counts, packing, generation, saving."
import pytest
import torch
import torch.nn.functional as F
import transformers as tf
from blurlike.all import ModelDoor, NextTokenLoss, attach_door
from blurlike.model import token_scores as scores_module
from small import byte_tokenizer, close

SIZES = dict(vocab_size=400, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, max_position_embeddings=64)
def small_gpt2(**kwargs): return tf.GPT2LMHeadModel(tf.GPT2Config(**(dict(vocab_size=400, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0, resid_pdrop=0., embd_pdrop=0., attn_pdrop=0.) | kwargs)))
def small_llama(**kwargs): return tf.LlamaForCausalLM(tf.LlamaConfig(**(SIZES | dict(num_key_value_heads=1, bos_token_id=0, eos_token_id=0, pad_token_id=None) | kwargs)))
def small_gemma(**kwargs): return tf.Gemma2ForCausalLM(tf.Gemma2Config(**(SIZES | dict(num_key_value_heads=1, head_dim=16, sliding_window=32, final_logit_softcapping=.5, initializer_range=.5, bos_token_id=0, eos_token_id=0, pad_token_id=0) | kwargs)))
MODELS = dict(gpt2=small_gpt2, llama=small_llama, gemma=small_gemma)

@pytest.fixture(params=list(MODELS))
def model(request): return MODELS[request.param]().train()

# The loss in chunks

def batch(n=4, size=24, vocab=400): # ids, mask and labels of rows of differing lengths, of which a part counts
    g = torch.Generator().manual_seed(0)
    ids,lens = torch.randint(1, vocab, (n, size), generator=g),torch.linspace(size//3, size, n).long()
    mask = torch.arange(size)[None]<lens[:,None]
    labels = ids.masked_fill(~mask | (torch.arange(size)<3), -100)
    return ids,mask.long(),labels

def through_door(model, ids, mask, labels):
    tok = byte_tokenizer(False, 64)
    tok.pad_token = tok.eos_token
    door,handles = attach_door(model, tok, fields=['input_ids','attention_mask'])
    loss_func = NextTokenLoss()
    call = door.ask(**loss_func.wanted(labels))
    try: scores = model(torch.stack([ids, mask], 1))
    finally:
        door.forget(call)
        for h in handles: h.remove()
    return loss_func(scores, labels),scores,door

def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {n:p.grad.clone() for n,p in model.named_parameters() if p.grad is not None}

@pytest.fixture
def small_chunks(monkeypatch): monkeypatch.setitem(scores_module.LOGITS, 'cpu', 16*400)

def test_loss_and_gradients_are_those_of_transformers(model, small_chunks):
    ids,mask,labels = batch()
    want = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    grads = gradients(model, want)
    loss,scores,door = through_door(model, ids, mask, labels)
    assert door.head_only and door.plain_head is (not isinstance(model, tf.Gemma2ForCausalLM))
    close(loss, want, 1e-6)
    got = gradients(model, loss)
    assert got.keys()==grads.keys()
    for n,g in grads.items(): close(got[n], g, 1e-6)
    assert scores.shape==(int((labels[:,1:]!=-100).sum()), 2)

def test_no_more_logits_than_a_chunk_are_held(small_chunks):
    model,rows = small_llama(),[]
    model.lm_head.register_forward_hook(lambda m, args, out: rows.append(out.shape[-2]))
    loss,_,_ = through_door(model, *batch())
    loss.backward()
    assert max(rows)==16 and sum(rows)>50

def test_weights_of_single_tokens_reach_the_gradient(small_chunks):
    model,(ids,mask,labels) = small_gpt2(),batch()
    counted = labels[:,1:]!=-100
    w = torch.rand(int(counted.sum()), generator=torch.Generator().manual_seed(1))
    logits = model(input_ids=ids, attention_mask=mask).logits[:,:-1][counted]
    grads = gradients(model, (F.cross_entropy(logits, labels[:,1:][counted], reduction='none')*w).sum())
    _,scores,_ = through_door(model, ids, mask, labels)
    got = gradients(model, (-scores[:,0]*w).sum())
    for n,g in grads.items(): close(got[n], g, 1e-5)

def test_the_loss_in_half_precision(small_chunks):
    model,(ids,mask,labels) = small_llama(),batch()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        want = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss,_,_ = through_door(model, ids, mask, labels)
    close(loss, want, 1e-2)
    grads = gradients(model, want)
    got = gradients(model, loss)
    for n,g in grads.items(): close(got[n], g, 2e-2)

def test_a_head_that_sees_all_tokens_still_gives_scores(small_chunks, monkeypatch):
    monkeypatch.setattr(ModelDoor, '_head_alone', lambda self: False)
    model,(ids,mask,labels) = small_gpt2(),batch()
    close(through_door(model, ids, mask, labels)[0], model(input_ids=ids, attention_mask=mask, labels=labels).loss, 1e-6)

def test_rows_without_a_target_cost_nothing(small_chunks):
    model,(ids,mask,labels) = small_llama(),batch()
    loss,scores,_ = through_door(model, ids, mask, torch.full_like(labels, -100))
    loss.backward()
    assert loss==0 and scores.shape==(0, 2)
    assert all(p.grad is None or torch.equal(p.grad, torch.zeros_like(p)) for p in model.parameters())

def test_losses_of_rows_are_means_over_their_own_tokens(small_chunks):
    model,(ids,mask,labels) = small_gpt2(),batch()
    _,scores,_ = through_door(model, ids, mask, labels)
    loss_func = NextTokenLoss()
    loss_func.reduction = 'none'
    with torch.no_grad(): want = torch.stack([model(input_ids=i[None], attention_mask=m[None], labels=l[None]).loss for i,m,l in zip(ids, mask, labels)])
    close(loss_func(scores, labels), want, 1e-5)
