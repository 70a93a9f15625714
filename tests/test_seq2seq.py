"Summaries and translations: what is learnt, what is written, and the faults that others have with it."
import numpy as np
import pandas as pd
import pytest
import torch
import transformers as tf
from fastai.torch_core import set_seed
from small import SMALL, close, word_tokenizer

from blurlike.all import ModelLoss, seq2seq_learner
from blurlike.predict import writing
from blurlike.tasks.seq2seq.generation import chosen

N = 24
WORDS = 'the film was shown in a small town by the river and many people came to see it after work'.split()
rng = np.random.default_rng(0)
def text(n): return ' '.join(rng.choice(WORDS, n))
FRAME = pd.DataFrame([dict(source=text(rng.integers(4, 20)), target=text(rng.integers(1, 4))) for _ in range(N)])
TOKENIZER = word_tokenizer('input_ids', 'attention_mask')
PAD,CLS,SEP = (getattr(TOKENIZER, f'{n}_token_id') for n in ('pad','cls','sep'))
V = len(TOKENIZER)
IDS = dict(pad_token_id=PAD, bos_token_id=CLS, eos_token_id=SEP)
LAYERS = dict(d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32)

def bert(**kwargs): return tf.BertConfig(vocab_size=V, max_position_embeddings=40, pad_token_id=PAD, **SMALL | kwargs)
def encoder_decoder():
    return tf.EncoderDecoderModel(encoder=tf.BertModel(bert()), decoder=tf.BertLMHeadModel(bert(is_decoder=True, add_cross_attention=True)))

MODELS = dict(
    t5=lambda: tf.T5ForConditionalGeneration(tf.T5Config(vocab_size=V, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=PAD, **IDS)),
    bart=lambda: tf.BartForConditionalGeneration(tf.BartConfig(vocab_size=V, max_position_embeddings=40, decoder_start_token_id=SEP, forced_eos_token_id=None, **LAYERS, **IDS)),
    marian=lambda: tf.MarianMTModel(tf.MarianConfig(vocab_size=V, max_position_embeddings=40, decoder_start_token_id=PAD, decoder_vocab_size=V, forced_eos_token_id=None, **LAYERS, **IDS)),
    pegasus=lambda: tf.PegasusForConditionalGeneration(tf.PegasusConfig(vocab_size=V, max_position_embeddings=40, decoder_start_token_id=PAD, forced_eos_token_id=None, **LAYERS, **IDS)),
    m2m=lambda: tf.M2M100ForConditionalGeneration(tf.M2M100Config(vocab_size=V, max_position_embeddings=40, decoder_start_token_id=SEP, **LAYERS, **IDS)),
    encoder_decoder=encoder_decoder)

def make(name='bart', df=FRAME, **kwargs):
    set_seed(1)
    given = dict(tokenizer=TOKENIZER, score_rows=0, bs=5, valid=.25) | kwargs
    learn = seq2seq_learner(df, MODELS[name](), **given)
    learn.model.eval()
    return learn

def spread(model): # so that what is written depends on what is read
    for n,p in model.named_parameters():
        if p.ndim>1: p.data.normal_(0, .5)
    return model

def as_labels(tokenizer, texts): # as transformers' own collator makes them
    enc = tokenizer(text_target=texts, padding=True, return_tensors='pt')
    return enc['input_ids'].masked_fill(enc['attention_mask']==0, -100)

# --- what is learnt

@pytest.mark.parametrize('name', MODELS)
def test_loss_and_gradients_are_the_models_own(name):
    learn = make(name)
    rows = FRAME.iloc[:5]
    dl = learn.dls.test_dl(rows, with_labels=True)
    x,y = dl.one_batch()
    enc = TOKENIZER(rows.source.tolist(), padding=True, return_tensors='pt')
    assert torch.equal(y.as_subclass(torch.Tensor), as_labels(TOKENIZER, rows.target.tolist()))
    own = learn.model(**enc, labels=as_labels(TOKENIZER, rows.target.tolist())).loss
    own.backward()
    grads = {n:p.grad.clone() for n,p in learn.model.named_parameters() if p.grad is not None}
    learn.model.zero_grad()
    learn.xb,learn.yb = (x,),(y,)
    learn.model_inputs.before_batch()
    loss = learn.loss_func(learn.model(x), y)
    learn.model_inputs.after_batch()
    loss.backward()
    close(loss.detach(), own.detach(), 1e-5)
    for n,p in learn.model.named_parameters():
        if n in grads: close(p.grad, grads[n], 1e-5)

@pytest.mark.parametrize('name', ['t5','bart','encoder_decoder'])
def test_validation_and_model_loss(name):
    learn,own = make(name),make(name, loss_func=ModelLoss(), metrics=[])
    with learn.no_bar(), own.no_bar():
        loss,accuracy = learn.validate()
        assert loss==pytest.approx(own.validate()[0], abs=1e-5)
    rows = learn.dls.valid_ds.items.idxs
    losses,n,right = 0,0,0
    for i in rows:
        row = FRAME.iloc[[i]]
        labels = as_labels(TOKENIZER, row.target.tolist())
        with torch.no_grad(): out = learn.model(**TOKENIZER(row.source.tolist(), return_tensors='pt'), labels=labels)
        losses += float(out.loss)*labels.numel()
        right += int((out.logits.argmax(-1)==labels).sum())
        n += labels.numel()
    assert loss==pytest.approx(losses/n, abs=1e-5) and accuracy==pytest.approx(right/n)

def test_label_smoothing_is_that_of_transformers():
    from transformers.trainer_pt_utils import LabelSmoother
    learn = make(label_smoothing=.2)
    x,y = learn.dls.valid.one_batch()
    labels = y.as_subclass(torch.Tensor)
    enc = learn.dls.text_tfm.named(x)
    own = LabelSmoother(.2)(learn.model(**enc, labels=labels), labels)
    learn.xb,learn.yb = (x,),(y,)
    learn.model_inputs.before_batch()
    loss = learn.loss_func(learn.model(x), y)
    learn.model_inputs.after_batch()
    close(loss.detach(), own.detach(), 1e-5)
    with learn.no_bar(): assert learn.validate()[0]==pytest.approx(make().validate()[0], abs=1e-5) # comparable

def test_the_end_of_a_target_is_learnt_and_the_padding_is_not():
    learn = make()
    for _,y in learn.dls.train:
        y = y.as_subclass(torch.Tensor)
        assert ((y==SEP).sum(1)==1).all() and (y!=PAD).all()

def test_a_tokenizer_that_adds_no_end_gets_one():
    from tokenizers.processors import TemplateProcessing
    tok = word_tokenizer('input_ids', 'attention_mask')
    tok.backend_tokenizer.post_processor = TemplateProcessing(single='$A', special_tokens=[])
    tok.eos_token = '[SEP]'
    learn = make(tokenizer=tok)
    _,y = learn.dls.valid.one_batch()
    assert ((y==SEP).sum(1)==1).all()

# --- what is written

SOURCES = FRAME.source.tolist()[:7]

def plain(learn, source, **kwargs): # what transformers writes for one text
    enc = TOKENIZER([source], return_tensors='pt')
    with torch.no_grad(): ids = learn.model.generate(**enc, **kwargs)[0,1:].tolist()
    return ids[:ids.index(SEP)+1] if SEP in ids else ids

@pytest.mark.parametrize('name', MODELS)
def test_what_is_written_is_what_generate_writes(name, monkeypatch):
    monkeypatch.setattr(writing, 'ROUND', 2)
    learn = make(name)
    spread(learn.model)
    learn.model.generation_config.max_new_tokens = 9
    got = learn.task.predictions.answered(learn, SOURCES, bs=3)
    assert got==[plain(learn, s) for s in SOURCES] and len(set(map(tuple, got)))>1
    beams = learn.task.predictions.answered(learn, SOURCES, bs=3, how=chosen(learn.model, num_beams=3))
    assert beams==[plain(learn, s, num_beams=3) for s in SOURCES]
    assert [o['generated_text'] for o in learn.predict_batch(SOURCES)]==[learn.predict(s)[0] for s in SOURCES]
    assert ''.join(learn.stream(SOURCES[0])).strip()==learn.predict(SOURCES[0])[0]

def test_rows_that_have_ended_leave(monkeypatch):
    monkeypatch.setattr(writing, 'ROUND', 1)
    learn = make()
    spread(learn.model)
    learn.model.generation_config.max_new_tokens = 12
    ends = learn.task.predictions.answered(learn, SOURCES, bs=7)
    learn.model.generation_config.eos_token_id = ends[0][2] # which some of them write
    got = learn.task.predictions.answered(learn, SOURCES, bs=7)
    want = [o[:o.index(ends[0][2])+1] if ends[0][2] in o else o for o in ends]
    assert got==want and len(set(map(len, got)))>1

def test_the_log_probabilities_are_those_of_the_model():
    learn = make()
    spread(learn.model)
    text,ids,log_probs = learn.predict(SOURCES[0])
    with torch.no_grad(): logits = learn.model(**TOKENIZER([SOURCES[0]], return_tensors='pt'), labels=ids[None]).logits[0]
    close(log_probs, logits.log_softmax(-1)[range(len(ids)), ids])

def test_several_texts_for_one():
    learn = make()
    spread(learn.model)
    got = learn.predict_batch(SOURCES[:3], num_beams=4, num_return_sequences=3)
    assert [len(o) for o in got]==[3]*3 and got[0][0]['generated_text']==learn.predict(SOURCES[0], num_beams=4)[0]
    drawn = learn.predict_batch(SOURCES[:2], temperature=2., num_return_sequences=5, seed=1)
    assert drawn==learn.predict_batch(SOURCES[:2], temperature=2., num_return_sequences=5, seed=1)
    assert len({o['generated_text'] for o in drawn[0]})>1
    with pytest.raises(ValueError, match='needs as many beams'): learn.predict_batch(SOURCES, num_return_sequences=2)

def test_predictions_of_a_part_are_log_probabilities_of_its_targets():
    learn = make()
    with learn.no_bar(): preds,targs,losses = learn.get_preds(with_loss=True)
    rows = FRAME.iloc[learn.dls.valid_ds.items.idxs]
    for (_,row),p,t,l in zip(rows.iterrows(), preds, targs, losses):
        labels = as_labels(TOKENIZER, [row.target])
        with torch.no_grad(): logits = learn.model(**TOKENIZER([row.source], return_tensors='pt'), labels=labels).logits[0]
        want = logits.log_softmax(-1)[range(labels.shape[1]), labels[0]]
        close(p, want)
        assert t[t!=-100].tolist()==labels[0].tolist() and float(l)==pytest.approx(-float(want.mean()), abs=1e-5)

def test_a_row_without_a_target_has_no_logits():
    learn = make()
    with pytest.raises(ValueError, match='these rows have none'): learn.model(learn.dls.valid.one_batch()[0])
