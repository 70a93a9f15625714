"Causal language models: the loss in chunks, what counts, packing, generation, saving."
import json,logging,warnings

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import transformers as tf
from datasets import Dataset
from torch import nn
from blurlike.all import (Rows, Callback, GradientAccumulation, Interpretation, ModelDoor, ModelLoss, NextTokenLoss, TargetScores, TokenizeNext, TransformersLearner, assistant_turns,
    as_messages, causal_lm_metrics, read_rows, read_split, read_text,
    attach_door, causal_lm_learner, export_onnx, gradio_app, load_onnx, model_card, sequence_classification_learner, token_bytes)
from blurlike.model import token_scores as scores_module
from blurlike.inspect.token_view import reading_of
from fastai.losses import CrossEntropyLossFlat
from blurlike.model.model_inputs import accepted_names, cache_name
from blurlike.model.trials import documents_apart, way_apart
from blurlike.tasks.causal_lm.generation import pads_left, prompts_of
from blurlike.predict import writing
from blurlike.predict.token_choice import decoding
from fastai.metrics import AccumMetric, F1Score, Perplexity, accuracy
from blurlike.tasks.causal_lm import generation, learner as causal_learner
from fastai.torch_core import set_seed
from small import FRAMES, TEXTS, byte_tokenizer, close, first, in_tmp, learner, weights # noqa: F401 (fixture)
from tokenizers.processors import TemplateProcessing

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

@pytest.mark.parametrize('smoothing', [0.,.1])
@pytest.mark.parametrize('watched', [False,True])
def test_gradients_written_over_the_logits_are_those_of_autograd(small_chunks, smoothing, watched):
    torch.manual_seed(0)
    head,hidden,ids,w = nn.Linear(8, 400),torch.randn(40, 8, requires_grad=True),torch.randint(400, (40,)),torch.rand(40)
    rest = nn.Parameter(torch.ones(2)) # after the base model, but not in the head
    losses = F.cross_entropy(head(hidden), ids, reduction='none', label_smoothing=smoothing)
    want = torch.autograd.grad((losses*w).sum(), [hidden, head.weight, head.bias])
    if watched: head.register_forward_hook(lambda m, args, out: None)
    params = [*head.parameters(), *[rest]*watched]
    scores = TargetScores(ids, smoothing)(hidden, head, params, 400)
    close(-scores[:,0], losses, 1e-6)
    (-scores[:,0]*w).sum().backward()
    close(hidden.grad, want[0], 1e-6)
    close(head.weight.grad, want[1], 1e-6)
    close(head.bias.grad, want[2], 1e-6)
    assert rest.grad is None

def test_memory_of_a_step_hardly_grows_with_the_words(monkeypatch):
    monkeypatch.setitem(scores_module.LOGITS, 'cpu', 2**19)
    def peak(vocab): # of what a step allocates, in MB
        model,ids = small_llama(vocab_size=vocab, hidden_size=16),torch.randint(1, 400, (8, 60))
        model.zero_grad(set_to_none=False)
        for p in model.parameters(): p.grad = torch.zeros_like(p)
        def step(): through_door(model, ids, torch.ones_like(ids), ids)[0].backward()
        step()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as prof: step()
        sizes = [e.nbytes() for e in sorted(prof.profiler.kineto_results.events(), key=lambda e: e.start_ns()) if e.name()=='[memory]']
        return np.cumsum(sizes).max()/2**20
    few,many = peak(1000),peak(10_000) # the head's weights are 0.06 and 0.61 MB, a chunk of logits 2 MB
    assert many-few<1.5*.61 and many<5.5, (few, many)

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

# Learners of small models

TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|endoftext|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
MARKED = ("{% for m in messages %}<|{{ m.role }}|>{% if m.role=='assistant' %}{% generation %}{{ m.content }}<|endoftext|>{% endgeneration %}"
    "{% else %}{{ m.content }}<|endoftext|>{% endif %}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}")

def tokenizer_of(template=TEMPLATE, side='right'):
    tok = byte_tokenizer(False, 64)
    tok.pad_token,tok.chat_template,tok.padding_side = tok.eos_token,template,side
    return tok

@pytest.fixture(scope='module')
def folders(tmp_path_factory): # of small causal models
    made = {}
    def folder(arch):
        if arch not in made:
            made[arch] = tmp_path_factory.mktemp(arch)
            torch.manual_seed(1)
            tokenizer_of().save_pretrained(made[arch])
            MODELS[arch](vocab_size=len(tokenizer_of()), initializer_range=.2).save_pretrained(made[arch])
        return made[arch]
    return folder

@pytest.fixture(params=['gpt2','llama'])
def arch(request): return request.param

CHATS = [[dict(role='user', content=t), dict(role='assistant', content=f'yes {t[:9]}'), dict(role='user', content='so'), dict(role='assistant', content='no')] for t in TEXTS]
PAIRS = pd.DataFrame(dict(prompt=TEXTS, completion=[t[::-1][:12].strip() or 'a' for t in TEXTS]))
FORMS = dict(text=(pd.DataFrame(dict(text=TEXTS)), dict(text='text', block_size=0)), packed=(pd.DataFrame(dict(text=TEXTS)), dict(text='text', block_size=32)),
    completion=(PAIRS, dict(text=['prompt','completion'])), chat=(pd.DataFrame(dict(messages=CHATS)), dict(text='messages')))

def lm(form, checkpoint, data=None, **kwargs):
    df,own = FORMS[form]
    return causal_lm_learner(df if data is None else data, checkpoint, **(dict(bs=5, valid=.25) | own | kwargs))

def quiet(learn, *args, **kwargs):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(*args, **kwargs)
    return learn

def plain(t): return t.as_subclass(torch.Tensor)
def labels_in(dl): return [y for _,ys in dl for y in plain(ys)]

# What counts

def test_the_end_of_each_text_is_learnt_though_it_pads(folders):
    learn = lm('text', folders('gpt2'))
    assert learn.dls.tokenizer.pad_token_id==learn.dls.tokenizer.eos_token_id
    for y in labels_in(learn.dls.train)+labels_in(learn.dls.valid):
        if len(TEXTS[0])<10**6 and (y>=0).sum()<63: assert (y==0).sum()==1 and y[y>=0][-1]==0

def test_the_end_of_each_document_of_a_block_is_learnt(folders):
    learn = lm('packed', folders('gpt2'), valid=None)
    blocks = learn.dls.train_ds.items
    ids = np.concatenate([b['text'][0] for b in blocks])
    assert (ids==0).sum()==len(TEXTS)
    firsts = sum(int(b['text'][0][0]==0) for b in blocks)
    assert sum(int((y==0).sum()) for y in labels_in(learn.dls.train))==len(TEXTS)-firsts

@pytest.mark.parametrize('form,item', [('text','so it ends<|endoftext|>'), ('completion',('a','b<|endoftext|>')), ('chat',CHATS[1])])
def test_no_end_twice(form, item):
    tfm = TokenizeNext(tokenizer_of(), form=form)
    ids,counted = tfm.cut(tfm.segments([item])[0])
    assert not any(a==b==0 for a,b in zip(ids, ids[1:]))
    assert counted[-1]==(form!='chat') and ids[-1]==(0 if form!='chat' else tfm.tokenizer('\n')['input_ids'][0])

def test_no_end_twice_in_blocks(folders):
    learn = lm('packed', folders('gpt2'), [dict(text='so it ends'+'<|endoftext|>'*(i%2)) for i in range(8)], valid=None)
    ids = np.concatenate([b['text'][0] for b in learn.dls.train_ds.items])
    assert (ids==0).sum()==8 and not ((ids[1:]==0) & (ids[:-1]==0)).any()

def test_one_template_of_several():
    several = TokenizeNext(tokenizer_of(dict(default=MARKED, tool_use=TEMPLATE)), form='chat')
    assert several.segments(CHATS[:2])==TokenizeNext(tokenizer_of(MARKED), form='chat').segments(CHATS[:2])

def counted_text(tfm, item):
    ids,counted = tfm.cut(tfm.segments([item])[0])
    return tfm.tokenizer.decode([i for i,c in zip(ids, counted) if c])

@pytest.mark.parametrize('template', [TEMPLATE, MARKED])
def test_the_answers_of_random_chats_are_what_counts(template):
    rng,tfm = np.random.default_rng(0),TokenizeNext(tokenizer_of(template), form='chat')
    words = 'a be film rain  town\n\n  ok <|x|> é'.split(' ')
    for _ in range(60):
        chat = [dict(role='system', content='be kind')]*int(rng.integers(2))
        for _ in range(rng.integers(1, 4)):
            chat = chat+[dict(role=r, content='a'+' '.join(rng.choice(words, rng.integers(1, 6)))) for r in ('user','assistant')]
        chat += [dict(role='user', content='left')]*int(rng.integers(2))
        assert counted_text(tfm, chat)==''.join(m['content']+'<|endoftext|>' for m in chat if m['role']=='assistant')

ENDED = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|eot|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
ENDED_TWICE = ENDED+"{% if not add_generation_prompt %}{{ eos_token }}{% endif %}" # as Phi-3's

def marked_tokenizer(template, named): # are the tokens of its template marked as special, with a name or without?
    tok = tokenizer_of(template)
    new = ['<|user|>','<|assistant|>','<|eot|>']
    if named: tok.add_special_tokens(dict(additional_special_tokens=new))
    else: tok.add_tokens(new, special_tokens=True)
    assert ('<|eot|>' in tok.all_special_tokens)==named
    return tok

@pytest.mark.parametrize('template', [ENDED, ENDED_TWICE, ENDED.replace('{{ m.content }}<|eot|>', "{% if m.role=='assistant' %}{% generation %}{{ m.content }}<|eot|>\n{% endgeneration %}{% else %}{{ m.content }}<|eot|>{% endif %}")])
def test_turns_end_at_a_special_token_without_a_name_too(template):
    "As the files of Llama 3 and Phi-3 have them, of which transformers lists those with a name alone."
    tok,named = (marked_tokenizer(template, n) for n in (False, True))
    tfm,want = TokenizeNext(tok, form='chat'),TokenizeNext(named, form='chat')
    assert tfm.stops()==want.stops()==[tok.eos_token_id, tok.convert_tokens_to_ids('<|eot|>')]
    for chat in CHATS: assert tfm.segments([chat])==want.segments([chat])
    assert counted_text(tfm, CHATS[3][:3])==CHATS[3][1]['content']+'<|eot|>'
    assert (token_bytes(tok)==token_bytes(named)).all()
    parts = [reading_of(o, CHATS[0]) for o in (tfm, want)]
    assert parts[0].places==parts[1].places

def test_a_model_of_chats_stops_where_a_turn_ends(folders):
    tok = marked_tokenizer(ENDED, False)
    chats = [[dict(role='user', content=f'a {w}'), dict(role='assistant', content=w), dict(role='user', content='b')] for w in ('film','rain','town','old')*8]
    learn = lm('chat', folders('llama'), pd.DataFrame(dict(messages=chats)), tokenizer=tok, valid=None, max_length=64)
    quiet(learn, 12, 1e-2)
    told = learn.predict_batch(['a film','a rain'], max_new_tokens=12)
    assert [o['generated_text'][-1]['content'] for o in told]==['film','rain']
    assert tok.convert_tokens_to_ids('<|eot|>') in learn.model.generation_config.eos_token_id

def test_a_turn_that_begins_the_chat_counts():
    tfm = TokenizeNext(tokenizer_of("{% for m in messages %}{{ m.content }}<|endoftext|>{% endfor %}"), form='chat')
    ids,counted = tfm.cut(tfm.segments([[dict(role='assistant', content='film'), dict(role='user', content='rain')]])[0])
    assert tfm.tokenizer.decode([i for i,c in zip(ids, counted) if c])=='ilm<|endoftext|>' or sum(counted)>=1 # its first token has nothing before it
    assert not counted[-1] and not counted[0]

REWRITING = "{% for m in messages %}<|{{ m.role }}|>{% if loop.last and m.role=='assistant' %}<think>{% endif %}{{ m.content }}<|endoftext|>{% endfor %}{% if add_generation_prompt %}<|assistant|><think>{% endif %}"

def test_a_template_that_rewrites_earlier_turns_names_the_row(folders):
    tok = tokenizer_of(REWRITING)
    chats = [c[:2] if i!=3 else c for i,c in enumerate(CHATS)]
    with pytest.raises(ValueError, match='row 3: the chat template writes message 1 otherwise'): lm('chat', folders('gpt2'), pd.DataFrame(dict(messages=chats)), tokenizer=tok)
    short = [dict(messages=[dict(role=m['role'], content='a') for m in c]) for c in chats]
    with pytest.raises(ValueError, match='row 3: the chat template writes message 1 otherwise'): lm('chat', folders('gpt2'), short, tokenizer=tok, valid=None, max_length=64)
    learn = lm('chat', folders('gpt2'), short, tokenizer=tokenizer_of(TEMPLATE), valid=None, max_length=64)
    learn.dls.tokenizer.chat_template = REWRITING # after all of them were asked for
    with pytest.raises(ValueError, match='row 3: the chat template writes message 1 otherwise'): list(learn.dls.train)
    with pytest.raises(ValueError, match='writes message 1 otherwise'): assistant_turns(tok, CHATS[3])

def test_prompt_and_completion_are_tokenised_apart_as_in_prediction(folders):
    learn = lm('completion', folders('gpt2'))
    tfm,tok = learn.dls.text_tfm,learn.dls.tokenizer
    pair = ('the film was gr','eat and old')
    row = [i for part,_ in tfm.segments([pair])[0] for i in part]
    assert row==tok(pair[0])['input_ids']+tok(pair[1])['input_ids']+[0] and row!=tok(''.join(pair))['input_ids']+[0]
    asked = [i for part,_ in tfm.segments([pair[0]], prompt=True)[0] for i in part]
    assert row[:len(asked)]==asked

def test_a_chat_in_columns(folders):
    "As a `Dataset` has it whose feature is a sequence of dicts: a list for each key."
    rows = [dict(messages={k:[m[k] for m in c] for k in ('role','content')}) for c in CHATS]
    whole = lm('chat', folders('gpt2'))
    for data in (pd.DataFrame(rows), Dataset.from_list(rows)):
        learn = lm('chat', folders('gpt2'), data)
        assert learn.dls.text_tfm.form=='chat'
        for a,b in zip(learn.dls.valid, whole.dls.valid, strict=True): assert torch.equal(a[0], b[0])
        assert learn.check() is not None and learn.validate()==whole.validate()
    with pytest.raises(ValueError, match="row 2: the lists of a chat differ in length: {'role': 3, 'content': 2}"):
        lm('chat', folders('gpt2'), [r if i!=2 else dict(messages=dict(role=['user','assistant','user'], content=['a','b'])) for i,r in enumerate(rows)])

def test_whole_numbers_in_messages_stay_whole(tmp_path):
    "Of keys that some messages lack: a template would write 3.0."
    chats = [[dict(role='user', content='a', n=3), dict(role='assistant', content='b', call=dict(k=7))]]*10
    df = pd.DataFrame(dict(messages=chats))
    df.to_parquet(tmp_path/'c.parquet')
    ds = Dataset.from_parquet(str(tmp_path/'c.parquet'), cache_dir=str(tmp_path))
    for rows in (read_rows(tmp_path/'c.parquet')[0], read_split((ds, df), .2)[0]):
        user,assistant = as_messages(rows[0]['messages'])
        assert json.dumps(user['n'])=='3' and json.dumps(assistant['call']['k'])=='7'

def test_a_chat_is_read_in_prediction_as_in_training():
    tfm = TokenizeNext(tokenizer_of(), form='chat')
    row = [i for part,_ in tfm.segments([CHATS[2]])[0] for i in part]
    for k in (1, 3):
        asked = [i for part,_ in tfm.segments([CHATS[2][:k]], prompt=True)[0] for i in part]
        assert row[:len(asked)]==asked and row[len(asked):][0]!=0

def test_a_prompt_alone_is_read_as_in_prediction(folders):
    learn = lm('completion', folders('llama'))
    prompts = [TEXTS[0], 'i', 'the film']
    found,logits = learn.embed(prompts),learn.predict_logits(prompts)
    for i,ids in enumerate(generation.prompt_ids(learn, prompts)):
        with torch.no_grad(): out = learn.model.eval()(input_ids=torch.tensor([ids]), output_hidden_states=True)
        np.testing.assert_allclose(found[i], out.hidden_states[-1][0].mean(0), atol=1e-4)
        close(logits[i][:len(ids)], out.logits[0], 1e-4)

def test_the_prompt_is_cut_before_the_completion(folders):
    learn = lm('completion', folders('gpt2'), max_length=8)
    tfm = learn.dls.text_tfm
    ids,counted = tfm.cut(tfm.segments([('the old film was shown in a small town', 'good')])[0])
    tail = tfm.tokenizer('good')['input_ids']+[0]
    assert len(ids)==8 and ids[-len(tail):]==tail and sum(counted)==len(tail)
    asked = tfm.tokenizer('the old film was shown in a small town')['input_ids']
    kept = ids[len(tfm.before):-len(tail)]
    assert kept==asked[-len(kept):] # what stands nearest to the completion
    ids,counted = tfm.cut(tfm.segments([('the old film', 'so many people came to see it after work')])[0])
    assert len(ids)==8 and sum(counted)==7 and ids[-1]!=0
    assert all((y>=0).any() for y in labels_in(learn.dls.train))

def test_chats_without_an_answer_after_the_cut_are_named(folders):
    chats = [[dict(role='user', content='a film '*(30 if i in (2, 5) else 1)), dict(role='assistant', content='yes')] for i in range(12)]
    with pytest.warns(UserWarning, match='no answer is left within max_length=32 in rows 2, 5'):
        learn = lm('chat', folders('gpt2'), pd.DataFrame(dict(messages=chats)), max_length=32)
    assert {f.what for f in learn.check()}>={'unanswered'}
    with pytest.raises(ValueError, match='no answer is left within max_length=4 in any chat'): lm('chat', folders('gpt2'), pd.DataFrame(dict(messages=chats)), max_length=4)

def test_chats_that_say_little_before_their_answer_are_not_measured(monkeypatch):
    def chat(n): return [dict(role='user', content='a b '*n), dict(role='assistant', content='good '*60)]
    tokenizer = tokenizer_of()
    rows,tfm = Rows(pd.DataFrame(dict(messages=[chat(200 if i in (2, 5) else 1) for i in range(12)]))),TokenizeNext(tokenizer, 400, 'chat')
    one_sided,measured = causal_learner._is_one_sided,[]
    monkeypatch.setattr(causal_learner, '_is_one_sided', lambda *args: measured.append(args[-1]) or one_sided(*args))
    assert sorted(causal_learner._one_sided(rows, ['messages'], tfm))==[2, 5] and sorted(measured)==['row 2','row 5']
    tokenizer.chat_template = 'x '*400+TEMPLATE # which leaves no room for any answer
    assert len(causal_learner._one_sided(rows, ['messages'], tfm))==12

def test_completions_without_a_prompt_after_the_cut_are_named(folders):
    rows = [('a film', 'good '*(12 if i in (2, 5) else 1)) for i in range(12)]
    table = pd.DataFrame(rows, columns=['prompt','completion'])
    with pytest.warns(UserWarning, match='no prompt is left within max_length=16 in rows 2, 5: they teach answers to nothing'):
        learn = lm('completion', folders('gpt2'), table, max_length=16)
    assert sorted(n for f in learn.check() if f.what=='unprompted' for n in f.rows)==[2, 5]
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='no prompt is left')
        lm('completion', folders('gpt2'), table, max_length=64)
        lm('completion', folders('gpt2'), pd.DataFrame([(p*40, c[:4]) for p,c in rows], columns=table.columns), max_length=16) # a long prompt is cut, and something of it is left

def test_forms_of_other_programs_are_told_how_to_be_read(folders):
    chat = [{'from':'human','value':'hi'}, {'from':'gpt','value':'ho'}]
    with pytest.raises(TypeError, match='row 0: a message is a dict.*rename the keys, e.g. ') as e: lm('chat', folders('gpt2'), pd.DataFrame(dict(messages=[chat]*8)))
    renamed = eval(str(e.value).split('e.g. ')[1], dict(chat=chat))
    assert renamed==[dict(role='user', content='hi'), dict(role='assistant', content='ho')]
    alpaca = pd.DataFrame(dict(instruction=['say it']*8, input=['a']*8, output=['b']*8))
    with pytest.raises(ValueError, match='at most 2; join some of them first') as e: causal_lm_learner(alpaca, folders('gpt2'), text=[*alpaca])
    exec(str(e.value).split('e.g. ')[1], dict(df=alpaca))
    assert alpaca.text[0]=='say it\na'

def test_messages_in_other_places_are_told_how_to_be_read(folders):
    "As TRL has prompts and completions, and as a chat may come within a dict."
    apart = pd.DataFrame(dict(prompt=[c[:1] for c in CHATS], completion=[c[1:2] for c in CHATS]))
    inside = pd.DataFrame(dict(messages=[dict(messages=c[:2]) for c in CHATS]))
    for df,text in ((apart, ['prompt','completion']), (inside, 'messages')):
        with pytest.raises(TypeError, match='hold messages|dicts with a chat inside') as e: causal_lm_learner(df, folders('gpt2'), text=text)
        exec('df[' + str(e.value).split(', df[')[1].split(', and')[0], dict(df=df))
        assert df.messages.tolist()==[c[:2] for c in CHATS]
    with pytest.raises(TypeError, match=r"found dict in .*take the texts out of them, e.g. `df\['messages'\]\.str\['text'\]`"):
        causal_lm_learner(pd.DataFrame(dict(messages=[dict(text='a')]*9)), folders('gpt2'), text='messages')

def test_blocks_are_asked_for_no_mask(folders):
    "GPT-2 asks for one where a row begins or ends with the token that pads; a block holds no padding."
    said,handler = [],logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger = logging.getLogger('transformers.modeling_utils')
    tf.utils.logging.warning_once.cache_clear()
    logger.addHandler(handler)
    try: quiet(lm('text', folders('gpt2'), block_size=16), 1)
    finally: logger.removeHandler(handler)
    assert said==[]

def with_start(tok): # as Llama's: adds its start token by itself
    tok.bos_token = '<|endoftext|>'
    tok.backend_tokenizer.post_processor = TemplateProcessing(single='<|endoftext|> $A', special_tokens=[('<|endoftext|>', 0)])
    return tok

def test_all_chats_that_the_template_refuses_are_named(folders):
    tok = tokenizer_of("{% if messages[0].role=='system' %}{{ raise_exception('no system here') }}{% endif %}"+TEMPLATE)
    chats = [[*([dict(role='system', content='be kind')] if i%3==1 else []), dict(role='user', content='a film'), dict(role='assistant', content='good')] for i in range(12)]
    with pytest.raises(ValueError, match=r'^rows 1, 4, 7, 10: the chat template refuses these messages: no system here'): lm('chat', folders('gpt2'), pd.DataFrame(dict(messages=chats)), tokenizer=tok)
    by_words = tokenizer_of("{% if 'BAD' in messages[0].content %}{{ raise_exception('no BAD') }}{% endif %}"+TEMPLATE)
    said = [[dict(role='user', content='BAD' if i in (0, 5) else 'a film'), dict(role='assistant', content='good')] for i in range(12)]
    with pytest.raises(ValueError, match='^row 0: .*no BAD'): lm('chat', folders('gpt2'), pd.DataFrame(dict(messages=said)), tokenizer=by_words) # the others of this order are sound
    chats[2] = [dict(role='user')]
    with pytest.raises((TypeError, ValueError), match='^row 2: '): lm('chat', folders('gpt2'), pd.DataFrame(dict(messages=chats)), tokenizer=tok)

def test_a_template_writes_its_own_first_token():
    tok = with_start(tokenizer_of('{{ bos_token }}'+TEMPLATE))
    ids,_ = TokenizeNext(tok, form='chat').cut(TokenizeNext(tok, form='chat').segments([CHATS[1]])[0])
    assert ids==tok.apply_chat_template(CHATS[1], tokenize=True, return_dict=False) and ids[0]==0!=ids[1]
    ids,counted = TokenizeNext(tok).cut(TokenizeNext(tok).segments(['a film'])[0])
    assert ids==[*tok('a film')['input_ids'], 0] and ids[0]==0 and counted==[0]+[1]*(len(ids)-1)

# Blocks

def test_documents_of_a_block_do_not_see_each_other(folders, arch):
    learn = lm('packed', folders(arch))
    learn.model.eval()
    x,y = learn.dls.one_batch()
    positions = plain(x)[:,learn.dls.text_tfm.fields.index('position_ids')]
    with learn.predicting(): logits = learn.forward(x)
    assert (positions==0).sum()>len(x)
    for ids,pos,got in zip(plain(x)[:,0], positions, logits):
        starts = [*(pos==0).nonzero().flatten().tolist(), len(ids)]
        for a,b in zip(starts, starts[1:]):
            if b-a<2: continue
            with torch.no_grad(): close(got[a:b], learn.model(input_ids=ids[None,a:b]).logits[0].float(), 1e-4)

def test_no_text_is_lost_in_blocks(folders):
    learn = lm('packed', folders('gpt2'), valid=None, block_size=7)
    ids = np.concatenate([b['text'][0] for b in learn.dls.train_ds.items])
    assert learn.dls.tokenizer.decode(ids)==''.join(f'{t}<|endoftext|>' for t in TEXTS)
    assert sum(int((y>=0).sum()) for y in labels_in(learn.dls.train))>len(ids)*.6

def test_blocks_of_files(folders, tmp_path):
    (tmp_path/'a.txt').write_text('\n'.join(TEXTS))
    learn = causal_lm_learner(tmp_path/'a.txt', folders('llama'), bs=4)
    assert learn.dls.text_tfm.max_length==64 and learn.dls.one_batch()[0].shape[2]==64
    quiet(learn, 1, 1e-3)

# Loss and metrics

@pytest.mark.parametrize('form', list(FORMS))
def test_the_validation_loss_is_the_mean_over_all_tokens(folders, arch, form):
    learn = lm(form, folders(arch))
    learn.model.eval()
    with learn.no_bar(): loss,perplexity,accuracy,bits = learn.validate()
    total = n = right = n_bytes = 0
    sizes = token_bytes(learn.dls.tokenizer)
    for x,y in learn.dls.valid:
        with learn.predicting(): logits = learn.forward(x)[:,:-1]
        y = plain(y)[:,1:]
        counted = y!=-100
        total += F.cross_entropy(logits[counted], y[counted], reduction='sum').item()
        n += int(counted.sum())
        right += int((logits.argmax(-1)==y)[counted].sum())
        n_bytes += sizes[y[counted].numpy()].sum()
    close(loss, total/n, 1e-5)
    close(perplexity, np.exp(total/n), 1e-2)
    close(bits, total/np.log(2)/n_bytes, 1e-5)
    assert accuracy==right/n
    with learn.no_bar(): close(learn.validate(dl=learn.dls.valid.new(bs=3))[0], loss, 1e-5)

def test_the_models_own_loss_is_the_same(folders, arch):
    a,b = (lm('completion', folders(arch), loss_func=l) for l in (None, ModelLoss()))
    with a.no_bar(), b.no_bar(): close(a.validate()[0], b.validate()[0], 1e-5)

def test_each_token_weighs_the_same_in_accumulated_gradients(folders):
    learn = lm('completion', folders('llama'), max_grad_norm=None)
    learn.dls.train = learn.dls.train.new(shuffle=False)
    class Grab(Callback):
        order = 60
        def before_step(self): grads.append({n:p.grad.clone() for n,p in self.learn.model.named_parameters()})
    grads,start,batches = [],weights(learn.model),list(learn.dls.train)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 0., cbs=[GradientAccumulation(15), Grab()])
    learn.model.load_state_dict(start, strict=False)
    learn.model.zero_grad()
    counts = [int((y!=-100).sum()) for _,y in batches[:3]]
    assert len(set(counts))>1
    for x,y in batches[:3]:
        x,y = plain(x),plain(y)
        (learn.model(input_ids=x[:,0], attention_mask=x[:,1], labels=y).loss*int((y!=-100).sum())/sum(counts)).backward()
    for n,p in learn.model.named_parameters(): close(grads[0][n], p.grad, 1e-5)

@pytest.mark.parametrize('form', list(FORMS))
def test_predictions_of_a_part_are_log_probabilities_of_its_targets(folders, form):
    learn = lm(form, folders('gpt2'))
    with learn.no_bar(): preds,targs,losses = learn.get_preds(with_loss=True)
    assert len(preds)==len(targs)==len(learn.dls.valid_ds)
    for p,t,l,k in zip(preds, targs, losses, range(len(targs))):
        assert p.ndim==1 and len(p)==int((t!=-100).sum())
        if len(p): close(-p.mean(), l, 1e-5)
    x,y = next(iter(learn.dls.valid.new(bs=1)))
    assert plain(y)[plain(y)!=-100].tolist()==plain(targs[0])[plain(targs[0])!=-100].tolist()
    with learn.predicting(): logits = learn.forward(x)[0,:-1].log_softmax(-1)
    counted = plain(y)[0,1:]!=-100
    close(preds[0], logits[counted].gather(1, plain(y)[0,1:][counted][:,None])[:,0], 1e-4)

# Generation

PROMPTS = [t for t in TEXTS if t][:14]
def single(model, tok, ids, n):
    with torch.no_grad(): out = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)).long(), max_new_tokens=n, do_sample=False, eos_token_id=0, pad_token_id=0)
    return out[0,len(ids):].tolist()

@pytest.fixture(scope='module')
def trained(folders): # it stops by itself
    made = {}
    def get(arch):
        if arch not in made: made[arch] = quiet(lm('completion', folders(arch)), 6, 1e-2)
        return made[arch]
    return get

def continued(learn, prompts, *args): # token ids of the prompts, and of what is written
    return generation.prompt_ids(learn, prompts),learn.task.predictions.answered(learn, prompts, *args)

@pytest.mark.parametrize('side', first(['left','right']))
def test_a_batch_writes_what_single_calls_write(trained, arch, side, monkeypatch):
    learn = trained(arch)
    monkeypatch.setattr(learn.dls.tokenizer, 'padding_side', side)
    monkeypatch.setattr(writing, 'ROUND', 3)
    ids,got = continued(learn, PROMPTS, 5, 20)
    learn.model.eval()
    want = [single(learn.model, learn.dls.tokenizer, i, 20) for i in ids]
    assert got==want and len({len(g) for g in got})>1 and learn.dls.tokenizer.padding_side==side
    assert [o['generated_text'] for o in learn.predict_batch(PROMPTS, max_new_tokens=20)]==[learn.dls.tokenizer.decode(w, skip_special_tokens=True) for w in want]

@pytest.mark.parametrize('setting', first([dict(no_repeat_ngram_size=1), dict(cache_implementation='static'), dict(encoder_repetition_penalty=3.), dict(begin_suppress_tokens=list(range(300))), dict(guidance_scale=2.),
    dict(encoder_no_repeat_ngram_size=2), dict(encoder_no_repeat_ngram_size=1), dict(encoder_repetition_penalty=.5)], 3))
def test_settings_hold_in_batches_and_rounds(trained, setting, monkeypatch):
    "The end token pads here, and what stands in the padding would be counted as said before"
    learn = trained('gpt2')
    monkeypatch.setattr(writing, 'ROUND', 3)
    for k,v in setting.items(): monkeypatch.setattr(learn.model.generation_config, k, v)
    ids,got = continued(learn, PROMPTS, 5, 20)
    want = [single(learn.model.eval(), learn.dls.tokenizer, i, 20) for i in ids]
    assert got==want

class Written(dict): sequences = property(lambda self: self['sequences'])

@pytest.mark.parametrize('name', ['cache','past_key_values'])
def test_what_is_kept_of_a_text_goes_by_either_name(name, trained, monkeypatch):
    "`cache` since transformers 5.24"
    learn,own,lengths = trained('llama'),trained('llama').model.generate,[]
    known = cache_name(accepted_names(learn.model))
    def generate(**kwargs):
        assert not {'cache','past_key_values'} & set(kwargs)-{name}
        kept = kwargs.pop(name, None)
        lengths.append(0 if kept is None else kept.get_seq_length())
        out = own(**kwargs, **({} if kept is None else {known:kept}))
        return Written({'sequences':out.sequences, name:out[known]})
    monkeypatch.setattr(writing, 'ROUND', 2)
    _,want = continued(learn, PROMPTS, 64, 30)
    monkeypatch.setattr(writing, 'accepted_names', lambda model: {'input_ids', name})
    monkeypatch.setattr(learn.model, 'generate', generate)
    assert continued(learn, PROMPTS, 64, 30)[1]==want and lengths[0]==0<lengths[1]<lengths[2]

def test_rows_that_have_ended_leave_the_batch(trained, monkeypatch):
    learn,sizes = trained('llama'),[]
    def count(module, args, kwargs): sizes.append(kwargs['input_ids'].shape)
    handle = learn.model.register_forward_pre_hook(count, with_kwargs=True)
    monkeypatch.setattr(writing, 'ROUND', 2)
    try: _,new = continued(learn, PROMPTS, 64, 30)
    finally: handle.remove()
    sizes = sizes[2:] # the first two tried whether padding may stand on the left
    assert sizes[0][0]==len(PROMPTS)>sizes[-1][0] and all(s[1]==1 for s in sizes[1:]) # the cache is on

def test_prompts_take_the_places_of_rows_that_have_ended(trained, arch, monkeypatch):
    learn,joined,join = trained(arch),[],writing.Continuation.join
    def counted(self, prompts, rooms):
        joined.append(len(prompts))
        join(self, prompts, rooms)
    monkeypatch.setattr(writing.Continuation, 'join', counted)
    monkeypatch.setattr(writing, 'ROUND', 2)
    ids,got = continued(learn, PROMPTS, 4, 20)
    assert joined and got==[single(learn.model.eval(), learn.dls.tokenizer, i, 20) for i in ids]
    drawn = [learn.predict_batch(PROMPTS, bs=4, temperature=1., seed=3, max_new_tokens=20) for _ in range(2)]
    assert drawn[0]==drawn[1]
    monkeypatch.setattr(generation, 'pads_left', lambda model: False) # such a model cannot have others join
    del joined[:]
    assert continued(learn, PROMPTS, 4, 20)[1]==got and not joined

def under_way(learn, ids, rooms): return writing.Continuation(learn, ids, np.array(rooms), decoding(), [0])

def test_a_batch_is_as_wide_as_the_texts_that_still_go_on(trained, arch):
    learn = trained(arch)
    def alone(ids, n): return single(learn.model.eval(), None, ids, n)
    def going_on(n): return next(ids for ids in ([k]*n for k in range(5, 99)) if len(alone(ids, 9))>4)
    long,one,other = list(range(5, 45)),going_on(3),going_on(5)
    batch = under_way(learn, [long, one], [1, 9])
    batch.step(2)
    assert batch.ids.shape[1]==41 and batch.may_join
    batch.join([other], np.array([9]))
    assert batch.ids.shape[1]==6 and batch.mask.tolist()==[[0,0,1,1,1,1],[1]*6] and batch.cache.get_seq_length()==5
    while batch.goes_on: batch.step(2)
    assert batch.new==[alone(long, 1), alone(one, 9), alone(other, 9)]

def test_layers_of_windows_let_nobody_join(folders):
    learn = lm('completion', folders('gemma'))
    batch = under_way(learn, [[7,8,9]], [9])
    batch.step(2)
    assert batch.goes_on and not batch.may_join # of the window only the last tokens are kept

@pytest.mark.parametrize('rule', [dict(min_new_tokens=7), dict(forced_eos_token_id=0), dict(min_length=14)], ids=str)
def test_rules_of_length_count_from_the_prompt(trained, monkeypatch, rule):
    learn = trained('llama')
    for k,v in rule.items(): monkeypatch.setattr(learn.model.generation_config, k, v)
    monkeypatch.setattr(writing, 'ROUND', 3)
    ids,got = continued(learn, PROMPTS, 5, 20)
    assert got==[single(learn.model.eval(), learn.dls.tokenizer, i, 20) for i in ids]
    assert ''.join(learn.stream(PROMPTS[0], max_new_tokens=20))==learn.predict(PROMPTS[0], max_new_tokens=20)[0]

def test_one_text_a_prompt_whatever_the_checkpoint_says(trained, monkeypatch):
    learn = trained('gpt2')
    want = learn.predict_batch(PROMPTS[:3], num_beams=2, max_new_tokens=5)
    for k,v in dict(do_sample=True, num_return_sequences=2).items(): monkeypatch.setattr(learn.model.generation_config, k, v)
    assert learn.predict_batch(PROMPTS[:3], num_beams=2, max_new_tokens=5)==want

def test_beams_of_a_batch_have_each_its_own_room(folders):
    learn = lm('completion', folders('gpt2'))
    prompts = ['the '*58, 'old rain', 'a '*61, 'film']
    got = learn.predict_batch(prompts, num_beams=2)
    assert got==[learn.predict_batch([p], num_beams=2)[0] for p in prompts]
    assert len(set(generation.rooms_for(learn.model, continued(learn, prompts, 4)[0])))>1

def test_one_prediction(trained):
    learn = trained('gpt2')
    text,ids,log_probs = learn.predict(PROMPTS[0], max_new_tokens=9)
    (prompt,),(new,) = continued(learn, PROMPTS[:1], 1, 9)
    assert ids.tolist()==new and text==learn.dls.tokenizer.decode(new, skip_special_tokens=True)
    with torch.no_grad(): logits = learn.model.eval()(input_ids=torch.tensor([prompt+new])).logits[0].log_softmax(-1)
    close(log_probs, logits[len(prompt)-1:-1].gather(1, ids[:,None])[:,0], 1e-4)
    assert learn.predict(PROMPTS[0], max_new_tokens=9, with_input=True)[0]==PROMPTS[0]

def test_a_stream_gives_what_predict_gives(trained):
    learn = trained('gpt2')
    for how in (dict(), dict(temperature=2., seed=3)):
        pieces = list(learn.stream(PROMPTS[2], max_new_tokens=12, **how))
        assert ''.join(pieces)==learn.predict(PROMPTS[2], max_new_tokens=12, **how)[0] and len(pieces)>1
    stream = learn.stream(PROMPTS[2])
    next(stream)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()

def test_draws_follow_their_seed_and_leave_the_global_state(trained):
    learn = trained('llama')
    def draw(seed): return learn.predict_batch(PROMPTS, max_new_tokens=8, temperature=3., top_p=.95, seed=seed)
    before = torch.get_rng_state()
    a,b,c = draw(1),draw(1),draw(2)
    assert a==b!=c and torch.equal(before, torch.get_rng_state())
    beams = learn.predict_batch(PROMPTS[:4], max_new_tokens=6, num_beams=3)
    assert len(beams)==4

def test_it_writes_in_the_middle_of_training_with_checkpointing(folders):
    learn,said = lm('text', folders('llama'), gradient_checkpointing=True),[]
    class Write(Callback):
        def after_batch(self):
            if len(said)<2: said.append(self.learn.predict('the film', max_new_tokens=5)[1].tolist())
            assert self.learn.model.training==self.training
    quiet(learn, 1, 1e-4, cbs=Write())
    assert len(said)==2 and learn.model.is_gradient_checkpointing

def test_chats_in_chats_out(folders):
    learn = lm('chat', folders('gpt2'))
    chat = [dict(role='user', content='hi'), dict(role='assistant', content='you'), dict(role='user', content='so'), dict(role='assistant', content='no')]
    row = dict(messages=chat)
    a,b,c = learn.predict_batch([chat[:3], row, 'hello'], max_new_tokens=4)
    assert a==b and [m['role'] for m in a['generated_text']]==['user','assistant','user','assistant'] and c['generated_text'][0]==dict(role='user', content='hello')
    assert learn.predict_batch(pd.DataFrame(dict(messages=[chat])), max_new_tokens=4)==[a]

@pytest.mark.parametrize('form', ['completion','chat'])
def test_what_is_written_may_go_to_a_file(folders, tmp_path, form):
    learn = lm(form, folders('gpt2'))
    prompts = PROMPTS[:4] if form=='completion' else [c[:1] for c in CHATS[:4]]
    column = 'prompt' if form=='completion' else 'messages'
    for name,items in dict(a=prompts, b=pd.DataFrame({column:prompts})).items():
        out = learn.predict_batch(items, out=tmp_path/f'{name}.jsonl', max_new_tokens=3)
        assert [json.loads(line) for line in out.read_text().splitlines()]==learn.predict_batch(prompts, max_new_tokens=3)
        with pytest.raises(ValueError, match='texts'): learn.predict_batch(items[::-1], out=out, resume=True, max_new_tokens=3)
    with pytest.raises(TypeError, match='^item 1'): learn.predict_batch([prompts[0], 3], out=tmp_path/'c.jsonl')

def test_chats_as_json_are_not_taken_for_texts(folders):
    df = pd.DataFrame(dict(messages=list(map(json.dumps, CHATS))))
    with pytest.raises(TypeError, match='holds chats written as JSON'): lm('chat', folders('gpt2'), df)

# Saving, adapters, other tasks

@pytest.mark.parametrize('form', list(FORMS))
def test_the_folder_opens_in_plain_transformers(trained, folders, tmp_path, form):
    learn = trained('gpt2') if form=='completion' else lm(form, folders('gpt2'))
    prompt = CHATS[0][:1] if form=='chat' else PROMPTS[0]
    learn.save_pretrained(tmp_path/'saved')
    model = tf.AutoModelForCausalLM.from_pretrained(tmp_path/'saved')
    ids,new = continued(learn, [prompt], 1, 9)
    with torch.no_grad(): out = model.generate(torch.tensor(ids), max_new_tokens=9, do_sample=False)
    assert out[0,len(ids[0]):].tolist()==new[0]
    assert json.loads((tmp_path/'saved'/'generation_config.json').read_text())['eos_token_id']==0
    again = TransformersLearner.from_pretrained(tmp_path/'saved')
    assert again.task.name=='causal_lm' and again.predict(prompt, max_new_tokens=9)[0]==learn.predict(prompt, max_new_tokens=9)[0]
    assert again.dls.text_tfm.options==learn.dls.text_tfm.options

# Ends of texts that the checkpoint names, and what pads

def with_ends(source, folder, ends): # a copy of a checkpoint that writes differing tokens, and stops at these
    set_seed(0)
    model,tok = tf.AutoModelForCausalLM.from_pretrained(source),tf.AutoTokenizer.from_pretrained(source)
    for p in model.parameters():
        if p.ndim>1: nn.init.normal_(p, 0, .3)
    ids = tok(PROMPTS[0], return_tensors='pt').input_ids
    with torch.no_grad(): free = model.generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0)[0,ids.shape[1]:].tolist()
    model.generation_config.eos_token_id = ends(free)
    model.save_pretrained(folder)
    tok.save_pretrained(folder)
    return ids,free

def plainly(folder, ids):
    model = tf.AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad(): return model.generate(ids, max_new_tokens=8, do_sample=False)[0,ids.shape[1]:].tolist()

def test_all_ends_that_a_checkpoint_names_count(folders, in_tmp):
    ids,free = with_ends(folders('llama'), 'ends', lambda free: [0, free[3]])
    cut = free[:free.index(free[3])+1]
    learn = lm('completion', 'ends')
    assert learn.predict(PROMPTS[0], max_new_tokens=8)[1].tolist()==cut==plainly('ends', ids)
    written = learn.task.predictions.answered(learn, PROMPTS[:3], 3, 8)
    assert written[0]==cut and len(list(learn.stream(PROMPTS[0], max_new_tokens=8)))<=len(cut)
    learn.save_pretrained('saved')
    assert plainly('saved', ids)==TransformersLearner.from_pretrained('saved').predict(PROMPTS[0], max_new_tokens=8)[1].tolist()==cut
    assert json.loads(open('saved/generation_config.json').read())['eos_token_id']==[0, free[3]]

def test_ends_set_by_hand_count(folders, in_tmp):
    "With those of the tokenizer, in plain transformers too"
    ids,free = with_ends(folders('llama'), 'ends', lambda free: 0)
    learn = lm('completion', 'ends')
    assert learn.predict(PROMPTS[0], max_new_tokens=8)[1].tolist()==free
    learn.model.generation_config.eos_token_id = free[2]
    cut = free[:free.index(free[2])+1]
    assert learn.predict(PROMPTS[0], max_new_tokens=8)[1].tolist()==cut
    learn.save_pretrained('saved')
    assert plainly('saved', ids)==cut and tf.GenerationConfig.from_pretrained('saved').eos_token_id==[0, free[2]]

def test_ends_of_another_vocabulary_do_not_count(folders, in_tmp):
    tok = tf.AutoTokenizer.from_pretrained(folders('llama'))
    def found(ends, tokenizer=None, **kwargs):
        model = small_llama(**kwargs)
        model.generation_config.eos_token_id = ends
        return lm('completion', model, tokenizer=tokenizer or tok).model.generation_config.eos_token_id
    assert found([0, 7, 4000])==[0, 7] # the vocabulary has 400
    assert found(7)==[0, 7] # said by hand
    assert found(7, eos_token_id=7)==0 # what a config says by itself, as Llama's 2
    with_ends(folders('llama'), 'ends', lambda free: [7, 8])
    assert lm('completion', 'ends').model.generation_config.eos_token_id==[0, 7, 8]
    assert lm('completion', 'ends', tokenizer=folders('llama')).model.generation_config.eos_token_id==0 # of another place

def test_a_saved_model_trains_as_before(folders, in_tmp):
    "The end pads here; in a config it would be no longer learnt where it is read"
    rows = pd.DataFrame(dict(messages=[[dict(role=r, content=t) for r,t in zip(['user','assistant']*2, (a, b, b, a))] for a,b in zip(PROMPTS, PROMPTS[1:])]))
    def trained_on(checkpoint):
        learn = causal_lm_learner(rows, checkpoint, text='messages', bs=4, valid=.25, max_length=64)
        before = weights(learn.model)
        set_seed(0)
        learn.dls.train.rng.seed(0)
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
        return before,weights(learn.model)
    learn = causal_lm_learner(rows, folders('llama'), text='messages', bs=4, valid=.25, max_length=64)
    assert learn.dls.tokenizer.pad_token_id==learn.dls.tokenizer.eos_token_id
    learn.save_pretrained('saved')
    (start,one),(again,two) = map(trained_on, (folders('llama'), 'saved'))
    assert all(torch.equal(start[n], again[n]) and torch.equal(one[n], two[n]) for n in one)
    assert not torch.equal(start['model.embed_tokens.weight'][0], one['model.embed_tokens.weight'][0])
    assert TransformersLearner.from_pretrained('saved').model.model.embed_tokens.padding_idx is None
    plain,tok = tf.AutoModelForCausalLM.from_pretrained('saved').eval(),tf.AutoTokenizer.from_pretrained('saved', padding_side='left')
    out = plain.generate(**tok(PROMPTS[:3], padding=True, return_tensors='pt'), max_new_tokens=5, do_sample=False)
    assert plain.generation_config.pad_token_id==0 and out.shape[0]==3

def test_adapters_leave_the_tokens_alone(folders, tmp_path):
    peft = pytest.importorskip('peft')
    learn = lm('completion', folders('llama'), peft=peft.LoraConfig(r=4, target_modules=['q_proj','v_proj']))
    size,special = len(learn.dls.tokenizer),learn.dls.tokenizer.special_tokens_map
    quiet(learn, 2, 1e-2)
    assert len(learn.dls.tokenizer)==size==learn.model.get_input_embeddings().num_embeddings and learn.dls.tokenizer.special_tokens_map==special
    want = learn.predict_batch(PROMPTS[:4], max_new_tokens=8)
    learn.save_pretrained(tmp_path/'merged')
    assert TransformersLearner.from_pretrained(tmp_path/'merged').predict_batch(PROMPTS[:4], max_new_tokens=8)==want

@pytest.mark.parametrize('tied', [True, False])
def test_adapters_are_trained_and_no_pretrained_weight(tied, folders, tmp_path):
    peft = pytest.importorskip('peft')
    model = tf.AutoModelForCausalLM.from_pretrained(folders('llama'), tie_word_embeddings=tied)
    model.save_pretrained(tmp_path/'m')
    tokenizer_of().save_pretrained(tmp_path/'m')
    learn = lm('completion', tmp_path/'m', peft=peft.LoraConfig(r=4, target_modules=['q_proj','v_proj']))
    before = {n:p.clone() for n,p in learn.model.named_parameters()}
    quiet(learn, 1, 1e-2)
    assert all('lora_' in n for n,p in learn.model.named_parameters() if p.requires_grad)
    assert {n for n,p in learn.model.named_parameters() if not torch.equal(p, before[n])}=={n for n in before if 'lora_' in n}
    alone = TransformersLearner.from_pretrained(learn.save_pretrained(tmp_path/'alone', merge=False))
    assert alone.predict_batch(PROMPTS[:4], max_new_tokens=8)==learn.predict_batch(PROMPTS[:4], max_new_tokens=8)

def test_a_language_model_becomes_an_encoder(trained, arch):
    df = pd.DataFrame(dict(text=TEXTS, label=['ab'[i%2] for i in range(len(TEXTS))]))
    lm_learn = trained(arch)
    learn = sequence_classification_learner(df, lm_learn, bs=5)
    a,b = (dict(m.base_model.named_parameters()) for m in (learn.model, lm_learn.model))
    assert a.keys()==b.keys() and all(torch.equal(a[n], b[n]) for n in a)
    quiet(learn, 1, 1e-3)
    assert learn.predict('a film')[0] in 'ab'

def test_broken_weights_are_not_saved_over_good_ones(folders, tmp_path):
    learn = lm('text', folders('gpt2'))
    learn.save_pretrained(tmp_path/'saved')
    before = (tmp_path/'saved'/'model.safetensors').read_bytes()
    with torch.no_grad(): next(learn.model.parameters())[0] = float('nan')
    with pytest.raises(ValueError, match='nan'): learn.save_pretrained(tmp_path/'saved')
    assert (tmp_path/'saved'/'model.safetensors').read_bytes()==before

# Displays

@pytest.mark.parametrize('form', list(FORMS))
def test_displays(folders, form, capsys):
    learn = lm(form, folders('gpt2'), pd.DataFrame(dict(messages=[c[:2] for c in CHATS])) if form=='chat' else None)
    learn.dls.show_batch(max_n=2)
    batch = capsys.readouterr().out
    assert ('«' in batch)==(form in ('completion','chat'))
    with learn.no_bar(): learn.show_results(max_n=3)
    assert 'generated' in capsys.readouterr().out
    with learn.no_bar(): Interpretation.from_learner(learn).plot_top_losses(3)
    assert 'dearest tokens' in capsys.readouterr().out

# Bad input

@pytest.mark.parametrize('chat,said', [([dict(role='user', content='a')], "row 4: no message is the assistant's"), ([dict(role='bot', content='a')], "row 4: role 'bot' is unknown"),
    ([dict(role='user', content='a'), dict(role='assistant', content=' ')], 'row 4: a message of the assistant is empty'), ([dict(role='user', content='a'), dict(role='assistant', content='', tool_calls=[])], 'row 4: a message of the assistant is empty'),
    ([dict(role='user', content=None, tool_calls=[dict(name='f')]), dict(role='assistant', content='a')], "row 4: a message is a dict.*got {'role': 'user', 'content': None"), ([dict(speaker='user')], "row 4: a message is a dict")])
def test_bad_chats_are_named(folders, chat, said):
    with pytest.raises((TypeError, ValueError), match=said): lm('chat', folders('gpt2'), [dict(messages=chat if i==4 else CHATS[i]) for i in range(8)])

@pytest.mark.parametrize('name,values', dict(ids=('ids',[5,6,7]), words=('input_ids',['good','film'])).values(), ids=['ids','words'])
@pytest.mark.parametrize('form', [pd.DataFrame, Dataset.from_dict], ids=['frame','dataset'])
def test_tokens_are_no_chat(folders, form, name, values):
    with pytest.raises(TypeError, match=f"column '{name}' must hold text .*words, and the ids of their tokens, are no text"): causal_lm_learner(form({name:[values]*8}), folders('gpt2'), text=name)

@pytest.mark.parametrize('column', ['prompt','completion'])
@pytest.mark.filterwarnings('ignore')
def test_empty_prompts_and_completions_are_named(folders, column):
    df = PAIRS.copy()
    df.loc[[3, 7], column] = ' '
    with pytest.raises(ValueError, match=f"column '{column}' is empty in rows 3, 7"): lm('completion', folders('gpt2'), df)

def test_what_the_tokenizer_must_have(folders):
    tok = tokenizer_of(None)
    with pytest.raises(ValueError, match='has no chat template'): lm('chat', folders('gpt2'), tokenizer=tok)
    tok = tokenizer_of()
    tok._special_tokens_map['eos_token'] = None
    assert tok.eos_token_id is None
    with pytest.raises(ValueError, match='no end-of-text token.*take a causal model'): TokenizeNext(tok)

@pytest.mark.filterwarnings('ignore')
def test_an_encoder_is_refused(bert):
    from small import word_tokenizer
    tok = word_tokenizer('input_ids','attention_mask')
    tok.eos_token = '[SEP]'
    with pytest.raises(ValueError, match="an encoder's checkpoint"): lm('text', bert, tokenizer=tok)

@pytest.mark.parametrize('item,kwargs,said', [('a '*80, {}, 'item 0: the prompt has'), ('a', dict(max_new_tokens=64), 'go beyond the 64'), (' ', {}, 'item 0: the prompt is empty'), (3, {}, 'a prompt .str. is expected'),
    ('a', dict(temperature=0), 'temperature=0'), ('a', dict(top_p=1.5), 'top_p=1.5'), ('a', dict(max_new_tokens=0), 'max_new_tokens=0'), ('a', dict(beams=2), 'did you mean num_beams')])
def test_bad_prompts(trained, item, kwargs, said):
    with pytest.raises((TypeError, ValueError), match=said): trained('gpt2').predict(item, **kwargs)
    with pytest.raises((TypeError, ValueError), match=said): trained('gpt2').predict_batch([item], **kwargs)

def test_a_loss_that_compares_a_token_with_itself_is_refused(folders):
    for loss_func in (CrossEntropyLossFlat(), torch.nn.CrossEntropyLoss()):
        with pytest.raises(ValueError, match='with the token itself'): lm('text', folders('gpt2'), loss_func=loss_func)
    learn = lm('text', folders('gpt2'))
    with pytest.raises(ValueError, match='with the token itself'): learn.loss_func = CrossEntropyLossFlat()

def test_blocks_are_for_texts(folders):
    with pytest.raises(ValueError, match='is for one column of texts'): lm('completion', folders('gpt2'), block_size=32)
    with pytest.raises(ValueError, match='more than the 64 tokens'): lm('packed', folders('gpt2'), block_size=65)
    with pytest.raises(ValueError, match='overlap'): lm('completion', folders('gpt2'), overlap=4)

# The command line, pages, ONNX, cards

def test_the_command_line(folders, tmp_path, capsys):
    from blurlike import cli
    PAIRS.to_csv(tmp_path/'pairs.csv', index=False)
    PAIRS[['prompt']].head(3).to_csv(tmp_path/'new.csv', index=False)
    assert cli.main(['train', str(tmp_path/'pairs.csv'), str(folders('gpt2')), '--task', 'causal_lm', '--text', 'prompt', 'completion', '--epochs', '1', '--lr', '1e-3', '--out', str(tmp_path/'out')])==0
    capsys.readouterr()
    assert cli.main(['predict', str(tmp_path/'out'), str(tmp_path/'new.csv')])==0
    assert [set(json.loads(line)) for line in capsys.readouterr().out.strip().splitlines()]==[{'generated_text'}]*3

@pytest.mark.slow
def test_a_page_has_one_box_and_shows_the_text_as_it_comes(trained):
    pytest.importorskip('gradio')
    learn = trained('gpt2')
    page = gradio_app(learn)
    assert len(page.input_components)==1
    said = list(page.fn(PROMPTS[0]))
    assert said[-1]==learn.predict(PROMPTS[0])[0] and all(b.startswith(a) for a,b in zip(said, said[1:]))

@pytest.mark.slow
def test_a_page_of_chats_has_turns(folders, tmp_path):
    gradio = pytest.importorskip('gradio')
    client = pytest.importorskip('gradio_client')
    learn = lm('chat', folders('gpt2'), bs=4)
    learn.model.generation_config.max_new_tokens = 6
    one = dict(role='user', content='a film')
    first = learn.predict_batch([[one]])[0]['generated_text']
    both = [*first, dict(role='user', content='a book')]
    second = learn.predict_batch([both])[0]['generated_text'][-1]['content']
    assert second!=learn.predict_batch([both[-1:]])[0]['generated_text'][-1]['content'] # what was said before matters
    for page in (gradio_app(learn, title='Talk'), gradio_app(learn.save_pretrained(tmp_path/'saved'))):
        assert isinstance(page, gradio.ChatInterface) and page.title in ('Talk','causal lm')
        _,url,_ = page.launch(prevent_thread_lock=True, quiet=True, inline=False, share=False, server_name='127.0.0.1')
        try:
            talk = client.Client(url, verbose=False, analytics_enabled=False)
            job = talk.submit('a film', api_name='/predict')
            assert job.result(timeout=60)==first[-1]['content'] and len(job.outputs())>1
            assert talk.predict('a book', api_name='/predict')==second
            with pytest.raises(Exception, match='Write a text first'): talk.predict(' ', api_name='/predict')
        finally: page.close(verbose=False)

@pytest.mark.parametrize('form', ['completion','packed'])
@pytest.mark.slow # to export one takes seconds
def test_onnx(folders, tmp_path, form):
    pytest.importorskip('onnxruntime')
    learn = lm(form, folders('llama'))
    with pytest.warns(UserWarning, match='writes no text here'): folder = export_onnx(learn, tmp_path/'onnx')
    loaded = load_onnx(folder)
    with pytest.raises(TypeError, match='writes no text here'): loaded.predict('a film')
    with pytest.raises(TypeError, match='writes no text here'): gradio_app(folder)

def test_the_card(trained):
    card = model_card(trained('gpt2'))
    assert 'pipeline_tag: text-generation' in card and "return_full_text=False" in card and "predict_batch(['A text'])" in card

@pytest.mark.parametrize('form', ['text','chat'])
def test_the_code_of_the_card_writes_what_the_learner_writes(folders, in_tmp, form):
    learn = quiet(lm(form, folders('llama')), 3, 1e-2)
    learn.save_pretrained('m')
    code = model_card(learn, 'm').split('```python\n')[-1].split('```')[0]
    pipe,item = code.strip().splitlines()[-2:]
    assert 'do_sample=False' in pipe
    found = {}
    exec(code.replace(item, f'found = {item[:-1]}, max_new_tokens=8)'), found)
    item = eval(item.removeprefix('pipe'))
    want = learn.predict_batch([item], max_new_tokens=8)[0]['generated_text']
    assert found['found'][0]['generated_text']==(want if isinstance(item, str) else want[-1]['content'])

@pytest.mark.parametrize('form,said', [('text','longer texts are cut'), ('packed','blocks of at most 32 tokens; a longer text goes on in the next one')])
def test_the_card_tells_the_length_of_what_is_read(folders, in_tmp, form, said):
    learn = lm(form, folders('gpt2'))
    assert said in model_card(learn)
    assert said in model_card(learn.save_pretrained('m'))

# Told when the learner is made

@pytest.mark.parametrize('metrics', [Perplexity(), accuracy, [F1Score(average='macro')], [lambda p, t: 0., accuracy]], ids=['Perplexity','accuracy','f1','two'])
def test_metrics_that_compare_a_token_with_itself_are_refused(folders, metrics):
    with pytest.raises(ValueError, match='metrics: (perplexity|accuracy|f1_score) of .*causal_lm_metrics'): lm('completion', folders('gpt2'), metrics=metrics)

def test_own_metrics_see_scores(folders):
    learn = lm('completion', folders('gpt2'), metrics=[*causal_lm_metrics(), AccumMetric(lambda p, t: float(p[:,1].mean()), flatten=False, name='share')])
    learn.dls.valid.bs = 99
    scores = learn.validate()
    close(scores[2], scores[4])

@pytest.mark.parametrize('form', list(FORMS))
def test_one_token_has_none_that_follows(folders, form):
    for kwargs in (dict(max_length=1), dict(max_length=1, block_size=None)):
        with pytest.raises(ValueError, match='leaves no token that follows another'): lm(form, folders('gpt2'), **kwargs)

@pytest.mark.filterwarnings('ignore')
def test_a_part_without_an_answer_is_refused(folders):
    chats = pd.DataFrame(dict(messages=[[dict(role='user', content='a film '*(30 if i<4 else 1)), dict(role='assistant', content='yes')] for i in range(12)]))
    with pytest.raises(ValueError, match='in any chat of the validation part'): lm('chat', folders('gpt2'), chats, max_length=32, valid=range(4))

@pytest.mark.parametrize('arch', ['llama','gemma'])
def test_layers_that_see_near_tokens_alone_do_so_in_a_block(folders, arch):
    sizes = dict(sliding_window=6) if arch=='gemma' else {}
    model = MODELS[arch](vocab_size=len(tokenizer_of()), initializer_range=.2, **sizes)
    learn = causal_lm_learner(FORMS['text'][0], model, block_size=48, bs=2, tokenizer=tokenizer_of(), valid=.5, loss_func=NextTokenLoss())
    x,y = next(iter(learn.dls.valid))
    with learn.predicting(): logits = learn.forward(x)
    assert learn.model_inputs.door.way=='positions'
    for row,of_row in zip(plain(x), logits):
        fields = learn.dls.text_tfm.real_fields(row)
        starts = [*np.flatnonzero(fields['position_ids']==0), len(fields['input_ids'])]
        assert len(starts)>2
        for a,b in zip(starts, starts[1:]):
            with torch.no_grad(): alone = learn.model.eval()(input_ids=torch.tensor(fields['input_ids'][None,a:b]).long()).logits[0]
            close(of_row[a:b], alone, 1e-4)

def test_a_model_that_cannot_keep_texts_apart_gets_a_text_a_row(folders, monkeypatch):
    df,ready = FORMS['text'][0],lm('packed', folders('gpt2')).dls
    monkeypatch.setattr('blurlike.model.trials.documents_apart', lambda *args: False)
    with pytest.warns(UserWarning, match='GPT2LMHeadModel would let the texts of a block see each other'): learn = causal_lm_learner(df, folders('gpt2'), bs=5)
    assert not learn.dls.text_tfm.packed and len(learn.dls.train_ds)+len(learn.dls.valid_ds)==len(df)
    quiet(learn, 1, 1e-3)
    with pytest.raises(ValueError, match='pass block_size=0'): lm('packed', folders('gpt2'))
    with pytest.raises(ValueError, match='pass block_size=0'): causal_lm_learner(ready, folders('gpt2'))

def test_lone_surrogates(folders):
    def with_one(o): return json.loads(json.dumps(o).replace('the', 'the \\ud800', 1))
    rows = [dict(messages=CHATS[i] if i!=3 else with_one(CHATS[i])) for i in range(8)]
    with pytest.warns(UserWarning, match='lone surrogates'): list(lm('chat', folders('gpt2'), rows, valid=None).dls.train)
    for form in ('text','packed','completion'):
        df = FORMS[form][0].copy().astype(object)
        df.iloc[3,-1] = 'a \ud800 b'
        with pytest.raises(ValueError, match='row 3: the text holds a lone surrogate'): lm(form, folders('gpt2'), df)

def test_nan_ends_training_and_names_the_blocks(folders, tmp_path):
    learn = lm('packed', folders('gpt2'))
    learn.save_pretrained(tmp_path/'saved')
    before = (tmp_path/'saved'/'model.safetensors').read_bytes()
    class Divide(Callback):
        def after_loss(self): self.learn.loss = self.learn.loss_grad = self.learn.loss_grad*float('nan')
    with pytest.raises(ValueError, match='^blocks [0-9, ]+: the training loss is nan in epoch 0, batch 0'): quiet(learn, 1, cbs=Divide())
    learn.save_pretrained(tmp_path/'saved')
    assert (tmp_path/'saved'/'model.safetensors').read_bytes()==before

# How an item is read

ITEMS = dict(text=['the old film'], packed=['the old film'], completion=['the old film', ('the old film','good')], chat=['hello', CHATS[0][:3], CHATS[1]])

@pytest.mark.parametrize('form', list(FORMS))
def test_items_and_prompts_are_shown_as_the_model_gets_them(folders, form, capsys):
    learn = lm(form, folders('llama'))
    tfm = learn.dls.text_tfm
    for item in ITEMS[form]:
        is_prompt = form in ('completion','chat') and item in ITEMS[form][:-1]
        reading = read_text(learn, item)
        prompt = [dict(role='user', content=item)] if form=='chat' and item=='hello' else item
        want,_ = tfm.cut(tfm.segments([prompt], prompt=is_prompt)[0])
        assert reading.ids==[want] and plain(reading.inputs(0))[0,0].tolist()==want
        assert {reading.word_text(w) for w in reading.words}>={*('hello' if item=='hello' else 'the old film' if form!='chat' else item[0]['content']).split()}
        learn.show_tokens(item)
        learn.show_attention(item)
        assert f'{len(reading.full_ids)} tokens' in capsys.readouterr().out
        with pytest.raises(ValueError, match='explain tells what speaks for'): learn.explain(item)

def test_what_is_cut_of_a_prompt_is_shown(folders):
    learn = lm('completion', folders('gpt2'), max_length=8)
    reading = read_text(learn, ('the old film was shown in a small town', 'good'))
    assert len(reading.ids[0])==8 and reading.cut[0] and not any(reading.cut[-4:]) and sum(reading.cut)==len(reading.full_ids)-8

def same_alone(learn, prompts): return learn.predict_batch(prompts, max_new_tokens=9)==[learn.predict_batch([p], max_new_tokens=9)[0] for p in prompts]

def small_bart():
    torch.manual_seed(1)
    config = tf.BartConfig(vocab_size=len(tokenizer_of()), max_position_embeddings=64, d_model=32, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=64, is_decoder=True,
        init_std=.5, pad_token_id=0, bos_token_id=0, eos_token_id=0)
    return tf.BartForCausalLM(config)

def test_models_that_know_no_padding_on_the_left_get_prompts_of_one_length(trained):
    learn = causal_lm_learner(FORMS['text'][0], small_bart(), block_size=0, tokenizer=tokenizer_of())
    assert not generation.pads_left(learn.model) and generation.pads_left(trained('llama').model)
    assert same_alone(learn, PROMPTS)

@pytest.mark.parametrize('scale', [1, .04]) # of weights as they usually begin, too
def test_a_loss_that_compares_a_token_with_itself_is_refused(scale):
    model = small_bart()
    with torch.no_grad():
        for p in model.parameters(): p *= scale if p.ndim>1 else 1
    with pytest.raises(ValueError, match='BartForCausalLM compares what is said at a token with the token itself'):
        causal_lm_learner(FORMS['text'][0], model, block_size=0, tokenizer=tokenizer_of(), loss_func=ModelLoss())

def test_caches_of_which_rows_cannot_be_picked_are_made_anew(trained, monkeypatch):
    learn = trained('llama')
    monkeypatch.setattr(writing, '_of_tokens', ())
    monkeypatch.setattr(writing, 'ROUND', 2)
    assert same_alone(learn, PROMPTS)

def test_settings_that_could_not_be_saved_are_refused_before_training():
    model = small_gpt2()
    model.generation_config.temperature = .5 # without do_sample
    with pytest.raises(ValueError, match='could not be saved'): causal_lm_learner(pd.DataFrame(dict(text=TEXTS)), model, tokenizer=byte_tokenizer(False, 64))

@pytest.mark.parametrize('arch', ['mistral','gemma2','gemma3','qwen3_moe','gpt2'])
def test_a_packed_learner_says_of_a_text_what_is_said_of_it_alone(arch, folders):
    "The first call of the model is one for some tokens, as training and `validate` make it; windows are shorter than the texts."
    n = len(tokenizer_of())
    small = dict(vocab_size=n, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, intermediate_size=64, max_position_embeddings=64, initializer_range=.2)
    made = dict(mistral=lambda: tf.MistralForCausalLM(tf.MistralConfig(**small, sliding_window=5)),
        gemma2=lambda: tf.Gemma2ForCausalLM(tf.Gemma2Config(**small, head_dim=16, sliding_window=5)),
        gemma3=lambda: tf.Gemma3ForCausalLM(tf.Gemma3TextConfig(**small, head_dim=16, sliding_window=5)),
        qwen3_moe=lambda: tf.Qwen3MoeForCausalLM(tf.Qwen3MoeConfig(**small, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=16, head_dim=16)),
        gpt2=lambda: tf.GPT2LMHeadModel(tf.GPT2Config(vocab_size=n, n_positions=64, n_embd=32, n_layer=2, n_head=2, initializer_range=.2)))
    learn = causal_lm_learner(FORMS['text'][0], made[arch](), block_size=48, bs=2, tokenizer=tokenizer_of(), valid=.5)
    loss = learn.validate()[0]
    assert learn.model_inputs.door.way=='positions'
    total = count = 0
    for x,_ in learn.dls.valid:
        for row in plain(x):
            fields = learn.dls.text_tfm.real_fields(row)
            starts = [*np.flatnonzero(fields['position_ids']==0), len(fields['input_ids'])]
            for a,b in zip(starts, starts[1:]):
                ids = torch.tensor(fields['input_ids'][a:b]).long()
                with torch.no_grad(): logits = learn.model.eval()(input_ids=ids[None]).logits[0].float()
                total += float(F.cross_entropy(logits[:-1], ids[1:], reduction='sum'))
                count += len(ids)-1
    assert loss==pytest.approx(total/count, rel=1e-4)

def test_a_mask_does_not_stand_for_a_window():
    model = MODELS['llama'](vocab_size=40)
    assert documents_apart(model, 'mask', accepted_names(model))
    model.config.sliding_window = 5
    assert not documents_apart(model, 'mask', accepted_names(model))

@pytest.mark.parametrize('bias', [0, 50])
def test_texts_that_hardly_see_each_other_yet_are_no_texts_apart(bias):
    "Weights of a new model, or an output bias beside which all else is small, hide it; once it has learnt, it sees them."
    torch.manual_seed(0)
    size = dict(vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=37, is_decoder=True)
    model = tf.BertLMHeadModel(tf.BertConfig(**size)).eval()
    model.cls.predictions.bias.data += bias
    assert not documents_apart(model, 'positions', accepted_names(model)) and way_apart(model)=='mask'

class Leaks(torch.nn.Module): # attention that is divided, and beside it a state that goes on through the row, as in Falcon-H1
    def __init__(self, model, share):
        super().__init__()
        self.model,self.share,self.config = model,share,model.config
    def get_input_embeddings(self): return self.model.get_input_embeddings()
    def forward(self, input_ids=None, position_ids=None, attention_mask=None, use_cache=None):
        out = self.model(input_ids=input_ids, position_ids=position_ids, attention_mask=attention_mask, use_cache=False)
        out.logits = out.logits+self.share*self.get_input_embeddings()(input_ids).sum(-1).cumsum(1)[...,None]
        return out

def test_a_little_that_is_seen_is_seen(checkpoints):
    model = Leaks(MODELS['llama'](vocab_size=40), 0).eval()
    assert way_apart(model)=='positions'
    model.share = 1e-3
    assert way_apart(model)=='none'

def wide_llama(folder, tokenizer): # attention tells here: texts that see each other are no rounding
    set_seed(0)
    size = dict(hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, initializer_range=.1)
    tf.LlamaForCausalLM(tf.LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=128, bos_token_id=0, eos_token_id=0, **size)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float32])
def test_weights_in_half_precision_are_tried_as_such(dtype, checkpoints, in_tmp):
    "Rounding is no sign of texts that see each other, of padding that does, or of positions that are missing."
    folder = wide_llama(in_tmp/'wide', tf.AutoTokenizer.from_pretrained(checkpoints('llama')))
    model = tf.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    assert way_apart(model)=='positions' and pads_left(model)
    with warnings.catch_warnings():
        warnings.filterwarnings('error', '.*see each other')
        assert causal_lm_learner(pd.DataFrame(dict(text=TEXTS)), folder, bs=4, block_size=32, model_kwargs=dict(dtype=dtype)).dls.text_tfm.packed
    model.forward = blind(model.forward) # it takes positions and looks at none: the texts of a row see each other
    assert not documents_apart(model, 'positions', {'position_ids','attention_mask'})

def test_trials_are_made_in_the_precision_of_the_weights(checkpoints, in_tmp):
    "Mixed precision rounds by 0.8%, and trials of float32 weights look for less."
    folder = wide_llama(in_tmp/'wide', tf.AutoTokenizer.from_pretrained(checkpoints('llama')))
    learn = causal_lm_learner(pd.DataFrame(dict(text=TEXTS)), folder, bs=4, block_size=32)
    door,x = learn.model_inputs.door,learn.dls.one_batch()[0]
    with torch.autocast('cpu', dtype=torch.bfloat16): learn.model(x)
    assert door.way=='positions'
    with torch.autocast('cpu', dtype=torch.bfloat16): assert door._head_alone()

def blind(forward):
    def call(input_ids=None, position_ids=None, **kwargs): return forward(input_ids=input_ids, **kwargs)
    return call

def test_a_function_of_outputs_is_refused_where_text_is_written(checkpoints):
    learn = learner('prompts', checkpoints('llama'))
    with pytest.raises(TypeError, match='takes no act='): learn.get_preds(act=lambda o: o)

def test_arguments_of_generate_lead_to_ours(checkpoints):
    learn = learner('prompts', checkpoints('llama'))
    for k,said in dict(do_sample='temperature=', top_k='top_p=', num_return_sequences='several times', max_length='max_new_tokens=', repetition_penalty='generation_config.repetition_penalty').items():
        for call in (learn.predict, learn.stream, lambda o, **kwargs: learn.predict_batch([o], **kwargs)):
            with pytest.raises(TypeError, match=f'takes no {k}= here: .*{said}'): call('is it so', **{k:1})
    before = learn.predict('is it so', max_new_tokens=12)[1].tolist()
    learn.model.generation_config.repetition_penalty = 1e-6 # whatever was written is written again
    assert len({*learn.predict('is it so', max_new_tokens=12)[1].tolist()})<len({*before})

def test_generate_of_the_model_takes_no_texts(checkpoints):
    learn = learner('prompts', checkpoints('llama'))
    for given in ('is it so', ['is it so'], [dict(role='user', content='is it so')]):
        with pytest.raises(TypeError, match='takes token ids: call `predict`'): learn.generate(given)
    ids = torch.tensor([[5,6,7]])
    assert torch.equal(learn.generate(ids, max_new_tokens=3), learn.model.generate(ids, max_new_tokens=3))
    assert torch.equal(learn.generate(inputs=ids, max_new_tokens=3), learn.model.generate(ids, max_new_tokens=3))

def test_chats_of_a_parquet_file_are_those_of_the_table(checkpoints, in_tmp):
    calls = [dict(name='f', args=['a','b']), dict(name='g', args=['c'])]
    chats = pd.DataFrame(dict(messages=[[dict(role='user', content='hi', tool_calls=None), dict(role='assistant', content='ok', tool_calls=calls)]]*8))
    chats.to_parquet('chats.parquet')
    tok = tf.AutoTokenizer.from_pretrained(checkpoints('llama'))
    tok.chat_template = ("{% for m in messages %}{{ m.role }}{% if m.tool_calls %}{{ m.tool_calls|tojson }}{% endif %}{{ m.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}assistant{% endif %}")
    def read(data): return causal_lm_learner(data, checkpoints('llama'), text='messages', tokenizer=tok, bs=2, valid=[0, 1]).dls.valid.one_batch()[0]
    whole = read(chats)
    for data in ('chats.parquet', Dataset.from_parquet('chats.parquet', cache_dir='cache')): assert torch.equal(read(data), whole)
    assert Rows(pd.read_parquet('chats.parquet'))[0]['messages'][1]['tool_calls']==calls

TOOLS = ("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for t in m.tool_calls or [] %}{{ t.name }} {{ t.arguments|tojson }}{% endfor %}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}")

def test_no_argument_of_a_call_is_made_up(folders, in_tmp):
    "Arrow gives each dict the keys of all, at every depth; a message that only calls a tool may say nothing."
    def chat(i): return [dict(role='user', content='a'), dict(role='assistant', content=('', None, 'b')[i%3], tool_calls=[dict(name='f', arguments={'xyz'[i%3]:str(i)})])]
    chats = list(map(chat, range(12)))
    pd.DataFrame(dict(messages=chats)).to_parquet('chats.parquet')
    tok,tools = tokenizer_of(TOOLS),[dict(name='f')]
    data = [dict(messages=c, tools=tools) for c in chats]
    with pytest.warns(UserWarning, match="has a column 'tools'.*system message"): learn = lm('chat', folders('gpt2'), data, tokenizer=tok)
    def texts(data): return [[t for t,counts in learn.dls.text_tfm.pieces(learn.dls.text_tfm.as_item(c)) if counts] for c in data]
    want = [[f'{"b"*(i%3==2)}f {{"{"xyz"[i%3]}": "{i}"}}<|endoftext|>'] for i in range(12)]
    frame = pd.read_parquet('chats.parquet')
    for messages in (chats, Dataset.from_list(data)['messages'], frame.messages, read_rows('chats.parquet')[0].column('messages')): assert texts(messages)==want
    assert prompts_of(learn, frame.messages.map(lambda c: [*c, dict(role='user', content='c')]))[1][1]==dict(role='assistant', content='', tool_calls=[dict(name='f', arguments=dict(y='1'))])
    keys = {learn.dls.text_tfm.key(c) for c in chats}
    assert len(keys)==12 and not learn.check().rows('empty').size
    deaf = TokenizeNext(tokenizer_of(), form='chat')
    deaf.segments(list(map(deaf.as_item, chats[2:3])))
    with pytest.raises(ValueError, match='only calls a tool, and the chat template writes no tool_calls'): deaf.segments([deaf.as_item(chats[1])])

def test_each_batch_draws_its_own(trained):
    learn = trained('gpt2')
    drawn = [o['generated_text'] for o in learn.predict_batch([PROMPTS[0]]*12, bs=3, temperature=3., seed=0, max_new_tokens=8)]
    assert len(set(drawn))>6
    assert drawn==[o['generated_text'] for o in learn.predict_batch([PROMPTS[0]]*12, bs=3, temperature=3., seed=0, max_new_tokens=8)]

@pytest.mark.parametrize('given,said', [(dict(seed='a'),"seed='a'"), (dict(seed=2**70),'below 2\\*\\*63'), (dict(seed=1.5),'seed=1.5'), (dict(temperature=1e-45),'0.0001'), (dict(temperature=float('nan')),'0.0001')], ids=str)
def test_what_nothing_can_be_drawn_by(trained, given, said):
    with pytest.raises(ValueError, match=said): trained('gpt2').predict(PROMPTS[0], **dict(temperature=1.) | given)

def test_score_is_for_texts_with_targets(trained):
    with pytest.raises(TypeError, match='writes none'): trained('gpt2').score()

def test_check_advises_what_can_be_done(checkpoints):
    learn = causal_lm_learner(FRAMES['prompts'], checkpoints('llama'), text=['prompt','completion'], bs=5, max_length=12)
    cut = [f for f in learn.check() if f.what=='cut']
    assert cut and not any('overlap' in f.remedy for f in cut)

# Texts that are tokenised already

def with_ids(folder, df=FRAMES['single']): # as `dataset.map(tokenize)` leaves them, with an end
    tok = tf.AutoTokenizer.from_pretrained(folder)
    return df.assign(input_ids=[tok(t)['input_ids']+[tok.eos_token_id] for t in df.text])

@pytest.mark.parametrize('block_size', [0,16])
@pytest.mark.parametrize('source', [lambda df: df, Dataset.from_pandas], ids=['frame','dataset'])
def test_texts_that_are_tokenised_already(source, block_size, folders, in_tmp):
    "The same numbers as from the texts."
    folder = folders('gpt2')
    df = with_ids(folder)
    def made(name): return causal_lm_learner(source(df), folder, text=name, valid=.25, bs=4, block_size=block_size)
    def fitted(learn):
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-2)
        return learn.validate()
    plain,learn = made('text'),made('input_ids')
    assert fitted(learn)==fitted(plain) and learn.model_inputs.learn is learn
    asked = dict(max_new_tokens=4)
    want = plain.predict_batch(TEXTS[:4], **asked)
    for prompts in (source(df[:4]), df.input_ids[:4].tolist(), TEXTS[:4]): assert learn.predict_batch(prompts, **asked)==want
    assert learn.predict(df.input_ids[0], **asked)[0]==''.join(learn.stream(df.input_ids[0], **asked))==want[0]['generated_text']
    again = TransformersLearner.from_pretrained(learn.save_pretrained('saved'))
    assert again.predict_batch(source(df[:4]), **asked)==want
    with pytest.raises(TypeError, match='token ids have no words'): learn.show_tokens(df.input_ids[0])
    read = [o.validate(dl=o.dls.test_dl(source(df[:6]), with_labels=True)) for o in (plain, learn, again)]
    assert read[0]==read[1]==read[2]
    np.testing.assert_array_equal(plain.embed(TEXTS[:3]), learn.embed(TEXTS[:3]))

def test_token_ids_of_a_causal_model_are_taken_as_they_are(folders):
    folder = folders('gpt2')
    df = with_ids(folder)
    df['input_ids'] = df.input_ids.str[:-1]
    with pytest.warns(UserWarning, match=r"ends with the end-of-text token \(id 0\).*Append it"): learn = causal_lm_learner(df, folder, text='input_ids', valid=.25, bs=4)
    assert not (learn.dls.one_batch()[1]==0).any(), "no end is added"
    long = df.assign(input_ids=[list(range(1, 70))]*len(df))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        learn = causal_lm_learner(long, folder, text='input_ids', valid=.25, bs=4, block_size=0)
        learn.validate()
    assert not any('end-of-text' in str(w.message) for w in told), "pieces of a corpus have no end"

def test_labels_that_mark_padding_alone_are_no_loss(folders):
    df = with_ids(folders('gpt2'))
    padded = df.input_ids.map(lambda ids: ids+[0]*(40-len(ids)))
    df = df.assign(input_ids=padded, labels=padded.map(lambda ids: [-100 if i==0 else i for i in ids]))
    assert len(causal_lm_learner(df, folders('gpt2'), text='input_ids', valid=.25, bs=4, block_size=0).dls.train_ds)==36

ODD_IDS = {'marks tokens that are not learnt':dict(labels=[[-100]*4]*12), 'none of this tokenizer':dict(input_ids=[[1,10**6]]*12), 'holds no tokens in row 3':dict(input_ids=[[1,2]]*3+[[]]+[[3]]*8)}

@pytest.mark.parametrize('said', ODD_IDS)
@pytest.mark.parametrize('block_size', [0,16])
def test_odd_token_ids(said, block_size, folders):
    df = with_ids(folders('gpt2')).iloc[:12].assign(**ODD_IDS[said])
    with pytest.raises(ValueError, match=said): causal_lm_learner(df, folders('gpt2'), text='input_ids', valid=.25, bs=4, block_size=block_size).validate()
