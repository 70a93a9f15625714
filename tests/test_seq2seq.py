"Summaries and translations: what is learnt, what is written, and the faults that others have with it."
import json
from copy import deepcopy

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import transformers as tf
from fastai.data.block import DataBlock
from fastai.data.transforms import ColReader, IndexSplitter
from fastai.interpret import Interpretation
from fastai.learner import load_learner
from fastai.metrics import accuracy
from fastai.torch_core import set_seed
from small import SHARED, SMALL, byte_tokenizer, close, first, word_tokenizer

from blurlike.all import (ROUGE, TRANSLATION, ModelLoss, TransformersLearner, TransformersTextBlock, has_package, model_card, rouge_of_rows, seq2seq_learner,
    sentences_of, sequence_classification_learner, signature, source_block, sweep, target_block, text_scores)
from blurlike.model import token_scores as token_scores_room
from blurlike.model.fingerprints import generation_facts
from blurlike.predict import writing
from blurlike.tasks.seq2seq.generation import chosen, decoder_input
from blurlike.tasks.seq2seq.generation_settings import target_tfm_of
from blurlike.tasks.seq2seq.scores import read_sample
from blurlike.tasks.seq2seq.texts import TokenizeTarget, source_block, target_block

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
OTHERS = dict( # FSMT's own loss wants what its decoder reads, Switch's encoder gives more than its states
    fsmt=lambda: tf.FSMTForConditionalGeneration(tf.FSMTConfig(src_vocab_size=V, tgt_vocab_size=V, langs=['en','de'], max_position_embeddings=60, decoder_start_token_id=SEP, forced_eos_token_id=None, **LAYERS, **IDS)),
    switch=lambda: tf.SwitchTransformersForConditionalGeneration(tf.SwitchTransformersConfig(vocab_size=V, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_decoder_layers=2, num_heads=2, num_experts=2, num_sparse_encoder_layers=1, num_sparse_decoder_layers=1, decoder_start_token_id=PAD, **IDS)))

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

def test_a_model_that_writes_into_its_targets(monkeypatch):
    "FSMT fills their padding in place, makes no decoder's input of labels itself, has an embedding for an output layer, and with a cache sees what follows"
    monkeypatch.setitem(MODELS, 'fsmt', OTHERS['fsmt'])
    learn,own = make('fsmt'),make('fsmt', loss_func=ModelLoss(), metrics=[])
    rows = FRAME.iloc[:5]
    enc,labels = TOKENIZER(rows.source.tolist(), padding=True, return_tensors='pt'),as_labels(TOKENIZER, rows.target.tolist())
    assert (labels==-100).any()
    ids = learn.model.prepare_decoder_input_ids_from_labels(labels.clone())
    with torch.no_grad(): want = float(learn.model(**enc, labels=labels, decoder_input_ids=ids).loss)
    with learn.no_bar(), own.no_bar():
        for l in (learn, own): assert l.validate(dl=l.dls.test_dl(rows, with_labels=True))[0]==pytest.approx(want, abs=1e-5)
        preds,targets = learn.get_preds(dl=learn.dls.test_dl(rows, with_labels=True))
        learn.fit(1)
    assert [len(p) for p in preds]==(labels!=-100).sum(1).tolist() and torch.equal(targets, labels)
    spread(learn.model)
    got = learn.task.predictions.answered(learn, SOURCES, bs=3)
    assert got==[plain(learn, s) for s in SOURCES]

def test_the_decoder_gets_what_its_encoder_gives(monkeypatch):
    monkeypatch.setitem(MODELS, 'switch', OTHERS['switch'])
    learn = make('switch')
    assert learn.task.predictions.answered(learn, SOURCES, bs=3)==[plain(learn, s) for s in SOURCES]

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

@pytest.mark.parametrize('name', first(MODELS, 2))
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

# --- languages

CODES = ['en_XX','de_DE','hi_IN']

def language_tokenizer(kind):
    "A tokenizer that marks languages as mBART's or NLLB's does, over the words of the table."
    from transformers import MBartTokenizer, NllbTokenizer
    words = sorted(set(WORDS))
    if kind=='mbart':
        vocab = [('<s>', 0.), ('<pad>', 0.), ('</s>', 0.), ('<unk>', 0.), *((f'▁{w}', -float(i)) for i,w in enumerate(words))]
        tok = MBartTokenizer(vocab=vocab, src_lang='en_XX')
    else:
        names = ['<s>','<pad>','</s>','<unk>', *'▁abcdefghijklmnopqrstuvwxyz']
        tok = NllbTokenizer(vocab={w:i for i,w in enumerate(names)}, merges=[], src_lang='eng_Latn')
    tok.model_max_length = 40
    return tok

def multilingual(tok, kind):
    n = max(len(tok), max(tok.added_tokens_decoder)+1)
    ids = dict(pad_token_id=tok.pad_token_id, bos_token_id=tok.bos_token_id, eos_token_id=tok.eos_token_id)
    if kind=='mbart': return tf.MBartForConditionalGeneration(tf.MBartConfig(vocab_size=n, max_position_embeddings=40, forced_eos_token_id=None, **LAYERS, **ids))
    return tf.M2M100ForConditionalGeneration(tf.M2M100Config(vocab_size=n, max_position_embeddings=40, decoder_start_token_id=tok.eos_token_id, **LAYERS, **ids))

LANGUAGES = dict(mbart=('en_XX','de_DE'), nllb=('eng_Latn','deu_Latn'))

@pytest.mark.parametrize('kind', LANGUAGES)
def test_languages_are_marked_and_forced(kind, tmp_path):
    set_seed(1)
    tok,langs = language_tokenizer(kind),LANGUAGES[kind]
    model = spread(multilingual(tok, kind))
    learn = seq2seq_learner(FRAME, model, tokenizer=tok, languages=langs, score_rows=0, bs=5, valid=.25)
    learn.model.eval()
    src,tgt = (tok.convert_tokens_to_ids(c) for c in langs)
    x,y = learn.dls.test_dl(FRAME[:3], with_labels=True).one_batch()
    assert ((learn.dls.text_tfm.named(x)['input_ids']==src).sum(1)==1).all()
    assert ((y==tgt).sum(1)==1).all() and not (y==src).any()
    own = language_tokenizer(kind) # as transformers marks them
    own.src_lang,own.tgt_lang = langs
    assert torch.equal(y.as_subclass(torch.Tensor), as_labels(own, FRAME.target[:3].tolist()))
    learnt = decoder_input(y.as_subclass(torch.Tensor), learn.model)['decoder_input_ids']
    ids = learn.predict(SOURCES[0], max_new_tokens=6)[1]
    config = learn.model.generation_config
    begins = [config.decoder_start_token_id, *ids.tolist()]
    n = 1 if kind=='mbart' else 2 # what is read at first while it learns, the model begins with when it writes
    assert begins[:n]==learnt[0,:n].tolist() and tgt in begins[:n]
    saved = learn.save_pretrained(tmp_path/'m')
    plain = tf.AutoModelForSeq2SeqLM.from_pretrained(saved)
    enc = own([SOURCES[0]], return_tensors='pt')
    with torch.no_grad(): assert plain.generate(**enc, max_new_tokens=6)[0,1:].tolist()[:len(ids)]==ids.tolist()
    again = TransformersLearner.from_pretrained(saved)
    assert again.dls.text_tfm.languages==list(langs)
    assert torch.equal(again.predict(SOURCES[0], max_new_tokens=6)[1], ids)

@pytest.mark.parametrize('kind', LANGUAGES)
def test_adapters_saved_alone_write_in_the_same_language(kind, in_tmp):
    peft = pytest.importorskip('peft')
    set_seed(1)
    tok,langs = language_tokenizer(kind),LANGUAGES[kind]
    spread(multilingual(tok, kind)).save_pretrained('base')
    tok.save_pretrained('base')
    learn = seq2seq_learner(FRAME, 'base', languages=langs, score_rows=0, bs=5, valid=.25, peft=peft.LoraConfig(target_modules=['q_proj','v_proj'], r=2, init_lora_weights=False))
    again = TransformersLearner.from_pretrained(learn.save_pretrained('alone', merge=False))
    assert generation_facts(again.model)==generation_facts(learn.model)
    assert again.model.config.decoder_start_token_id==learn.model.config.decoder_start_token_id
    assert again.predict_batch(SOURCES[:4])==learn.predict_batch(SOURCES[:4])
    whole = TransformersLearner.from_pretrained(again.save_pretrained('whole'))
    assert generation_facts(whole.model)==generation_facts(learn.model)

def test_adapters_saved_alone_write_and_judge_as_before(in_tmp):
    peft = pytest.importorskip('peft')
    make('bart', peft=None).save_pretrained('base')
    how = dict(num_beams=3, no_repeat_ngram_size=2, decoder_start_token_id=CLS)
    learn = seq2seq_learner(FRAME, 'base', score_rows=0, bs=5, valid=.25, generate=how, peft=peft.LoraConfig(target_modules=['q_proj','v_proj'], r=2))
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-2)
    again = TransformersLearner.from_pretrained(learn.save_pretrained('alone', merge=False))
    assert generation_facts(again.model)==generation_facts(learn.model) and how.items()<=generation_facts(again.model).items()
    assert again.predict_batch(SOURCES[:4])==learn.predict_batch(SOURCES[:4])
    again.dls = learn.dls
    assert again.validate()==learn.validate() # the decoder begins with the same token

def test_languages_that_cannot_be():
    tok = language_tokenizer('nllb')
    model = multilingual(tok, 'nllb')
    with pytest.raises(ValueError, match='marks the languages'): seq2seq_learner(FRAME, model, tokenizer=tok)
    with pytest.raises(ValueError, match="does not know 'deu'; like it are .*deu_Latn"): seq2seq_learner(FRAME, model, tokenizer=tok, languages=('eng_Latn','deu'))
    with pytest.raises(ValueError, match='two codes'): make(languages='de')

class Marian(tf.PreTrainedTokenizerFast): # another vocabulary for targets, as in Marian; and marks for its languages
    supported_language_codes = ['>>deu<<','>>fra<<']
    is_target = False
    def _switch_to_target_mode(self): self.is_target = True
    def _switch_to_input_mode(self): self.is_target = False
    def _encode_plus(self, *args, **kwargs):
        res = super()._encode_plus(*args, **kwargs)
        if self.is_target: res['input_ids'] = [[i if i in (CLS,SEP,PAD) else i-1 for i in row] for row in res['input_ids']]
        return res

def test_targets_are_tokenised_as_targets():
    tok = Marian(tokenizer_object=TOKENIZER.backend_tokenizer, pad_token='[PAD]', cls_token='[CLS]', sep_token='[SEP]', unk_token='[UNK]', eos_token='[SEP]', model_max_length=40,
        model_input_names=['input_ids','attention_mask'])
    learn = make('marian', tokenizer=tok, languages=('eng','deu'))
    x,y = learn.dls.test_dl(FRAME[:2], with_labels=True).one_batch()
    own = as_labels(TOKENIZER, FRAME.target[:2].tolist())
    assert torch.equal(y.as_subclass(torch.Tensor), torch.where((own>0)&(own!=CLS)&(own!=SEP)&(own!=PAD), own-1, own))
    ids = learn.dls.text_tfm.named(x)['input_ids'][0]
    assert ids[ids!=PAD].tolist()==TOKENIZER('>>deu<< '+FRAME.source[0])['input_ids']
    with pytest.raises(ValueError, match="does not know 'ger'"): make('marian', tokenizer=tok, languages=('eng','ger'))

def written_and_plain(name, settings): # by settings that act on tokens which are written
    learn = make(name, df=FRAME.assign(target=[text(12) for _ in range(N)]))
    spread(learn.model)
    learn.model.generation_config.update(**settings)
    return learn,learn.task.predictions.answered(learn, SOURCES, bs=3),[plain(learn, s, tokenizer=TOKENIZER) for s in SOURCES]

SETTINGS = dict(begins=dict(begin_suppress_tokens=list(range(V//2))), encoder_ngrams=dict(encoder_no_repeat_ngram_size=1, suppress_tokens=list(range(40))),
    rated=dict(encoder_repetition_penalty=1.8), rated_beams=dict(encoder_repetition_penalty=1.8, num_beams=3), static=dict(cache_implementation='static'),
    texts=dict(stop_strings=['a','e']), longest=dict(max_new_tokens=40))

@pytest.mark.parametrize('setting', first(SETTINGS, 3))
def test_settings_hold_in_batches_and_rounds(setting, monkeypatch):
    "Of the source's tokens, of the first token alone, of all that is written: `generate` is called for some tokens and some rows at a time"
    monkeypatch.setattr(writing, 'ROUND', 3)
    learn,got,want = written_and_plain('bart', SETTINGS[setting])
    assert got==want and len(set(map(tuple, got)))>2
    x,_ = learn.dls.test_dl(FRAME[:7], with_labels=True).one_batch()
    assert learn.task.predictions.answers(learn, x)==want[:5]

def test_several_texts_where_the_source_counts():
    learn,_,_ = written_and_plain('bart', dict(encoder_repetition_penalty=1.8))
    got = learn.predict_batch(SOURCES[:3], num_beams=3, num_return_sequences=2)
    for s,o in zip(SOURCES, got):
        enc = TOKENIZER([s], return_tensors='pt')
        with torch.no_grad(): ids = learn.model.generate(**enc, num_beams=3, num_return_sequences=2)
        assert [t['generated_text'] for t in o]==[TOKENIZER.decode(i[1:], skip_special_tokens=True).strip() for i in ids]

def test_settings_of_the_user_come_before_the_checkpoints(tmp_path):
    saved = make().save_pretrained(tmp_path/'m') # holds `max_new_tokens`
    learn = seq2seq_learner(FRAME, saved, score_rows=0, bs=5, generate=dict(max_length=4))
    config = learn.model.generation_config
    assert (config.max_length, config.max_new_tokens)==(None, 3) and len(spread(learn.model) and learn.predict(SOURCES[0])[1])<=3
    assert make(generate=dict(decoder_start_token_id=CLS)).model.config.decoder_start_token_id==CLS

@pytest.mark.parametrize('bad,said', [(4, 'a dict is expected'), (tf.GenerationConfig(num_beams=4), 'a dict is expected'), (dict(num_beams='4'), "num_beams='4'"), (dict(num_beams=0), 'num_beams=0'),
    (dict(num_return_sequences=2, num_beams=2), 'predict_batch'), (dict(temperature=.5), 'could not be saved'), (dict(max_new_tokens=41), '40 or less'), (dict(max_length=50), '40 or less')])
def test_settings_that_cannot_be_are_refused_before_training(bad, said):
    with pytest.raises((TypeError, ValueError), match=said): make(generate=bad)

def test_label_smoothing_that_cannot_be():
    for bad in (-.1, 1, float('nan'), 'a'):
        with pytest.raises(ValueError, match='label_smoothing='): make(label_smoothing=bad)

def test_languages_of_one_learner_are_not_those_of_another():
    tok = language_tokenizer('nllb')
    def learner_of(languages, model, **kwargs): return seq2seq_learner(FRAME, model, languages=languages, score_rows=0, bs=5, valid=.25, **kwargs)
    def first_batch(learn): return learn.dls.test_dl(FRAME[:3], with_labels=True).one_batch()
    one = learner_of(('eng_Latn','deu_Latn'), multilingual(tok, 'nllb'), tokenizer=tok)
    want = first_batch(one)
    learner_of(('fra_Latn','hin_Deva'), multilingual(tok, 'nllb'), tokenizer=tok)
    other = learner_of(('fra_Latn','hin_Deva'), one)
    for a,b in zip(first_batch(one), want): assert torch.equal(a, b)
    x,y = first_batch(other)
    assert [x[0,0,0],y[0,0]]==tok.convert_tokens_to_ids(['fra_Latn','hin_Deva'])

def test_targets_are_read_as_targets_in_all_threads():
    from concurrent.futures import ThreadPoolExecutor
    from time import sleep
    class Slow(Marian):
        def _encode_plus(self, *args, **kwargs):
            if self.is_target: sleep(.01)
            return super()._encode_plus(*args, **kwargs)
    tok = Slow(tokenizer_object=TOKENIZER.backend_tokenizer, pad_token='[PAD]', cls_token='[CLS]', sep_token='[SEP]', unk_token='[UNK]', eos_token='[SEP]', model_input_names=['input_ids','attention_mask'])
    tfm = TokenizeTarget(tok)
    want = tfm.token_ids(['the film'])
    with ThreadPoolExecutor(4) as pool: assert list(pool.map(tfm.token_ids, [['the film']]*12))==[want]*12

def test_threads_draw_as_alone():
    from concurrent.futures import ThreadPoolExecutor
    learn = make()
    spread(learn.model)
    def drawn(seed): return learn.predict_batch(SOURCES*2, temperature=2., seed=seed), learn.predict_batch(SOURCES, temperature=2., seed=seed, num_return_sequences=2)
    want = [drawn(s) for s in range(4)]
    with ThreadPoolExecutor(4) as pool: assert list(pool.map(drawn, range(4)))==want and want[0]!=want[1]

def test_a_file_of_predictions_tells_how_they_were_written(in_tmp):
    learn,other = make(prefix='see '),make(prefix='film ')
    learn.predict_batch(SOURCES, out='p.jsonl')
    for n,changed in enumerate((other, learn)):
        if n: learn.model.generation_config.num_beams = 2
        with pytest.raises(ValueError, match=['reading','writing'][n]): changed.predict_batch(SOURCES, out='p.jsonl', resume=True)

def test_references_of_ready_loaders_are_raw():
    from fastai.data.block import DataBlock
    from fastai.data.transforms import ColReader
    block = DataBlock(blocks=(source_block(TOKENIZER), target_block(TOKENIZER, max_target_length=4)), get_x=ColReader('source'), get_y=ColReader('target'))
    dls = block.dataloaders(FRAME.assign(target='The River, and (Many) People!'), bs=5)
    sources,targets = read_sample(dls.valid, 3)
    assert targets==['The River, and (Many) People!']*3 and set(sources)<=set(FRAME.source)

def roberta_decoder(tok): # positions are counted from the padding's
    config = dict(vocab_size=len(tok), max_position_embeddings=34, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2, **SMALL)
    return tf.EncoderDecoderModel(encoder=tf.RobertaModel(tf.RobertaConfig(**config)), decoder=tf.RobertaForCausalLM(tf.RobertaConfig(is_decoder=True, add_cross_attention=True, **config)))

def led(tok): return tf.LEDForConditionalGeneration(tf.LEDConfig(vocab_size=V, max_encoder_position_embeddings=64, max_decoder_position_embeddings=20, attention_window=8, decoder_start_token_id=SEP, **LAYERS, **IDS))

@pytest.mark.parametrize('make_model,tokenizer,sizes', [(roberta_decoder, lambda: byte_tokenizer(True, 10**30), (32, 32)), (led, lambda: word_tokenizer('input_ids', 'attention_mask', max_length=10**30), (64, 20)),
    (lambda tok: encoder_decoder(), lambda: word_tokenizer('input_ids', 'attention_mask', max_length=10**30), (40, 40))])
def test_both_sides_are_as_long_as_their_positions(make_model, tokenizer, sizes):
    tok = tokenizer()
    learn = seq2seq_learner(FRAME.assign(source=[text(90) for _ in range(N)], target=[text(60) for _ in range(N)]), make_model(tok), tokenizer=tok, score_rows=0, bs=5, valid=.25)
    assert (learn.dls.text_tfm.max_length, target_tfm_of(learn.dls).max_target_length)==sizes and learn.model.generation_config.max_new_tokens==sizes[1]
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert len(learn.predict(text(90), max_new_tokens=sizes[1])[1])<=sizes[1]

# --- scores

needs_rouge = pytest.mark.skipif(not has_package(ROUGE), reason='rouge-score is not installed')
needs_sacrebleu = pytest.mark.skipif(not has_package(TRANSLATION), reason='sacrebleu is not installed')
WRITTEN = ["The cat sat on the mat. It purred loudly!", "He was running fast, wasn't he? 42 people watched."]
REFERENCES = ["A cat was sitting on the mat. It purred.", "He ran fast. 42 persons were watching him run."]

@needs_rouge
def test_rouge_is_that_of_rouge_score():
    from rouge_score.rouge_scorer import RougeScorer
    own = RougeScorer(list(ROUGE), use_stemmer=True)
    want = [[100*own.score(sentences_of(r), sentences_of(w))[n].fmeasure for n in ROUGE] for w,r in zip(WRITTEN, REFERENCES)]
    assert rouge_of_rows(WRITTEN, REFERENCES)==pytest.approx(np.array(want))

@needs_rouge
def test_lsum_is_not_l():
    from rouge_score.rouge_scorer import RougeScorer
    w,r = 'It rained. The cat slept.','The cat slept. It rained.'
    assert rouge_of_rows([w], [r])[0,2]==100 and RougeScorer(['rougeL']).score(r, w)['rougeL'].fmeasure<.7

@needs_rouge
@pytest.mark.parametrize('text,other', [('मैं घर जा रहा हूँ', 'मैं घर में हूँ'), ('他去了北京。', '他去了上海。'), ('ذهب إلى البيت', 'ذهب إلى المدرسة')])
def test_rouge_of_other_scripts_is_not_0(text, other):
    assert rouge_of_rows([text], [text])[0].tolist()==[100]*3
    assert 0<rouge_of_rows([text], [other])[0,0]<100

@needs_sacrebleu
@pytest.mark.parametrize('language,how', [('zho_Hans','zh'), ('cmn_Hant','zh'), ('ja_XX','char'), ('khm_Khmr','char'), ('de','13a')])
def test_words_of_a_language_without_spaces_are_told_apart(language, how):
    assert f'tok:{how}|' in signature('bleu', ('en', language))

@needs_sacrebleu
@pytest.mark.parametrize('language,written,references', [('de', ['Ein Hund rennt, schnell.']*2, ['Ein Hund läuft, schnell.', 'Ein Hund rennt schnell.']),
    ('zh', ['他去了北京。']*2, ['他去了上海。', '他去北京了。']), ('hi', ['मैं घर जा रहा हूँ'], ['मैं घर में हूँ']), ('ar', ['ذهب إلى البيت'], ['ذهب إلى المدرسة'])])
def test_bleu_and_chrf_are_those_of_sacrebleu(language, written, references):
    import sacrebleu
    got = text_scores(written, references, ('en', language))
    bleu = sacrebleu.corpus_bleu(written, [references], tokenize='zh' if language=='zh' else '13a')
    assert got==dict(bleu=pytest.approx(bleu.score), chrf=pytest.approx(sacrebleu.corpus_chrf(written, [references]).score))

@needs_rouge
def test_scores_of_an_epoch_are_of_a_sample_and_raw_references():
    df = FRAME.assign(target=['The River, and (Many) People!']*N)
    learn = make(df=df, score_rows=3)
    asked = []
    answered = type(learn.task.predictions).answered
    try:
        type(learn.task.predictions).answered = lambda self, learn, texts, **kwargs: asked.extend(texts) or [TOKENIZER('the river and many people', add_special_tokens=False)['input_ids']]*len(texts)
        with learn.no_bar(): _,accuracy,*scores = learn.validate()
    finally: type(learn.task.predictions).answered = answered
    assert scores==[pytest.approx(100)]*3 and asked==df.source.iloc[learn.dls.valid_ds.items.idxs[[0,2,5]]].tolist()
    assert [m.name for m in learn.metrics]==['accuracy', *ROUGE]

@needs_rouge
@needs_sacrebleu
def test_score_of_all_rows_tells_intervals_and_how():
    learn,other = make(df=FRAME.assign(target=FRAME.source)),make(languages=('en','de'))
    spread(learn.model)
    got = learn.score(samples=50)
    assert got.index.tolist()==list(ROUGE) and (got.low<=got.score).all() and (got.score<=got.high).all()
    valid = FRAME.iloc[learn.dls.valid_ds.items.idxs]
    written = [learn.predict(s)[0] for s in valid.source]
    assert got.score.tolist()==pytest.approx(rouge_of_rows(written, valid.source.tolist()).mean(0))
    told = other.score(FRAME[:4], samples=10)
    assert told.index.tolist()==list(TRANSLATION) and 'tok:13a' in told.how['bleu'] and 'version:' in told.how['chrf']

def test_scores_that_no_package_computes_are_left_out_with_a_warning(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.warns(UserWarning, match='pip install rouge-score'): learn = make(score_rows=3)
    assert [m.name for m in learn.metrics]==['accuracy']

# --- how long, and how

def test_texts_are_as_long_as_targets_were_and_plain_transformers_knows(tmp_path, capsys):
    df = FRAME.assign(target=[text(30) for _ in range(N)])
    learn = make(df=df, generate=dict(num_beams=2, no_repeat_ngram_size=3))
    assert 'Up to 32 tokens are written: as many as the longest training target has.' in capsys.readouterr().out
    saved = tf.GenerationConfig.from_pretrained(learn.save_pretrained(tmp_path/'m'))
    assert (saved.max_new_tokens, saved.num_beams, saved.no_repeat_ngram_size, saved.eos_token_id)==(32, 2, 3, SEP)
    spread(learn.model)
    assert learn.predict(SOURCES[0])[1].tolist()==plain(learn, SOURCES[0]) and len(plain(learn, SOURCES[0]))>20
    with pytest.raises(TypeError, match="did you mean 'num_beams'"): make(generate=dict(num_beam=2))
    with pytest.raises(ValueError, match='40 or less'): learn.predict(SOURCES[0], max_new_tokens=50)

def test_targets_that_are_cut_are_told_and_keep_their_end(capsys):
    with pytest.warns(UserWarning, match='longer than max_target_length=4'):
        learn = make(df=FRAME.assign(target=[text(9) for _ in range(N)]), max_target_length=4)
        _,y = learn.dls.train.one_batch()
    assert y.shape[1]==4 and (y[:,-1]==SEP).all() and learn.model.generation_config.max_new_tokens==4
    assert 'Up to 4 tokens are written: as many as a target may have (max_target_length)' in capsys.readouterr().out
    with pytest.raises(ValueError, match='more than the 40 tokens'): make(max_target_length=41)

def test_a_prefix_stands_before_each_source(tmp_path):
    learn = make(prefix='many people ')
    x,_ = learn.dls.test_dl(FRAME[:1], with_labels=True).one_batch()
    assert learn.dls.text_tfm.named(x)['input_ids'][0].tolist()==TOKENIZER('many people '+FRAME.source[0])['input_ids']
    assert TransformersLearner.from_pretrained(learn.save_pretrained(tmp_path/'m')).dls.text_tfm.prefix=='many people '

# --- loaders made by hand

def by_hand(df=FRAME, languages=None, tokenizer=TOKENIZER, **kwargs):
    blocks = source_block(tokenizer, languages=languages),target_block(tokenizer, **kwargs)
    dblock = DataBlock(blocks=blocks, get_x=ColReader('source'), get_y=ColReader('target'), splitter=IndexSplitter(range(6)))
    return dblock.dataloaders(df, bs=5)

@pytest.mark.parametrize('one_line', [True, False])
def test_loaders_made_by_hand_tell_the_model_the_same(one_line, capsys):
    df = FRAME.assign(target=[text(30) for _ in range(N)])
    dls = by_hand(df)
    learn = seq2seq_learner(dls, encoder_decoder(), score_rows=0) if one_line else TransformersLearner(dls, encoder_decoder())
    how = learn.model.generation_config
    assert (how.max_new_tokens, how.decoder_start_token_id, how.eos_token_id)==(32, CLS, SEP)
    assert ('Up to 32 tokens are written' in capsys.readouterr().out)==one_line
    with learn.no_bar(), learn.no_logging(): learn.fit(1)

@needs_rouge
@pytest.mark.parametrize('given,scored', [(None,4), (2,2)])
def test_loaders_made_by_hand_keep_how_many_rows_are_scored(given, scored, capsys):
    blocks = source_block(TOKENIZER, score_rows=4),target_block(TOKENIZER)
    dls = DataBlock(blocks=blocks, get_x=ColReader('source'), get_y=ColReader('target'), splitter=IndexSplitter(range(6))).dataloaders(FRAME, bs=5)
    learn = seq2seq_learner(dls, encoder_decoder(), score_rows=given)
    assert learn.dls.text_tfm.score_rows==scored and f'scored for {scored} of the 6 validation rows' in capsys.readouterr().out
    assert {m.counts.rows for m in learn.metrics[1:]}=={scored}

def test_loaders_made_by_hand_force_the_language():
    tok = language_tokenizer('nllb')
    learn = TransformersLearner(by_hand(languages=LANGUAGES['nllb'], tokenizer=tok), multilingual(tok, 'nllb'), metrics=[])
    assert learn.model.generation_config.forced_bos_token_id==tok.convert_tokens_to_ids('deu_Latn')

def test_batches_are_random_unless_told():
    made = make().dls,by_hand(),make(dl_kwargs=dict(megabatch=200)).dls
    assert [dls.train.megabatch for dls in made]==[1, 1, 200]

def test_what_ready_loaders_cannot_take():
    dls = by_hand()
    for given in (dict(prefix='see '), dict(languages=('en','de')), dict(max_target_length=3), dict(max_length=9), dict(tokenizer=TOKENIZER)):
        with pytest.raises(ValueError, match=f'{[*given][0]}=: these DataLoaders are made already'): seq2seq_learner(dls, MODELS['bart'](), **given)
    with pytest.warns(UserWarning, match='of 18 training targets are longer than max_target_length=3'):
        seq2seq_learner(by_hand(max_target_length=3), MODELS['bart'](), score_rows=0)

def test_sources_need_their_own_block():
    dblock = DataBlock(blocks=(TransformersTextBlock(TOKENIZER), target_block(TOKENIZER)), get_x=ColReader('source'), get_y=ColReader('target'))
    with pytest.raises(ValueError, match='use source_block and target_block'): seq2seq_learner(dblock.dataloaders(FRAME), MODELS['bart']())

# --- what cannot be

def test_settings_that_cannot_be():
    for given,said in ((dict(label_smoothing=1.), 'from 0 to below 1'), (dict(label_smoothing=.1, loss_func=ModelLoss()), 'leave it or loss_func= away'),
            (dict(generate=dict(num_return_sequences=2)), 'num_return_sequences=3'), (dict(metrics=accuracy), 'seq2seq_metrics'),
            (dict(metrics=[], score_rows=3), 'score_rows= is for the usual metrics')):
        with pytest.raises(ValueError, match=said): make(**given)

def test_max_length_of_what_is_written_counts_the_start(recwarn):
    learn = make(generate=dict(max_length=4))
    spread(learn.model)
    assert learn.model.generation_config.max_length is None and len(learn.predict(SOURCES[0])[1])==len(plain(learn, SOURCES[0]))==3

def test_a_loaded_learner_has_nothing_to_validate_on(tmp_path):
    learn = TransformersLearner.from_pretrained(make().save_pretrained(tmp_path/'m'))
    with pytest.raises(ValueError, match='no rows to validate on'): learn.validate()
    assert learn.validate(dl=learn.dls.test_dl(FRAME, with_labels=True))[0]>0

def test_bad_input(bert):
    for bad,said in ((dict(target=''), "'target' is empty"), (dict(source=' '), "'source' is empty")):
        with pytest.raises(ValueError, match=said): make(df=FRAME.assign(**bad))
    with pytest.raises((TypeError, ValueError), match='row'): make(df=FRAME.assign(target=[None]+FRAME.target.tolist()[1:]))
    with pytest.raises(KeyError, match='summary'): make(target='summary')
    with pytest.raises(ValueError, match="both column 'source'"): make(target='source')
    with pytest.raises(ValueError, match='has no encoder with a decoder'): seq2seq_learner(FRAME, bert)
    with pytest.warns(UserWarning, match='source= and target= are swapped'): make(df=FRAME.rename(columns=dict(source='target', target='source')))
    with pytest.raises(TypeError, match='compares what is written'): sequence_classification_learner(pd.DataFrame(dict(text=['a','b']*4, label=['x','y']*4)), bert).score()

def test_float16_is_refused_where_transformers_keeps_float32():
    with pytest.raises(ValueError, match="take precision='bf16'"): make('t5', precision='fp16').fit(1)
    with make('t5', precision='bf16').no_bar() as learn: learn.fit(1)
    assert np.isfinite(learn.recorder.losses[-1])

def test_check_names_faults_of_pairs():
    df = FRAME.copy()
    df.loc[3, 'target'] = df.source[3]
    df.loc[5, 'target'] = df.source[5]+' again and again'
    df.loc[7, 'target'] = 'मैं घर जा रहा हूँ'
    df.loc[20:, 'target'] = ['leak','new one','other one','last one']
    df.loc[2, 'target'] = 'leak'
    valid = list(range(18, 24))
    found = make(df=df, valid=valid).check()
    rows = {f.what:f.rows.tolist() for f in found}
    assert rows['copies']==[3] and rows['longer']==[5] and rows['script']==[7] and rows['targets']==[20]
    assert len(found)==len({(str(f), f.part) for f in found})

def test_several_targets_of_one_source_are_told_as_such():
    df = pd.concat([FRAME, FRAME[:1].assign(target='another one'), FRAME[1:2]], ignore_index=True)
    found = {f.what:f for f in make(df=df, valid=[20]).check()}
    assert 'different targets' in found['conflict'].message and 'keep them' in found['conflict'].remedy
    assert 'text and target of an earlier one' in found['duplicates'].message

# --- the rest of the library

@pytest.mark.parametrize('name', ['t5','bart','encoder_decoder'])
def test_attention_is_that_of_the_encoder(name):
    learn = make(name)
    _,weights = learn.attention(SOURCES[0])
    encoder = learn.model.get_encoder().eval()
    for m in encoder.modules():
        if hasattr(m, 'config'): m.config._attn_implementation = 'eager'
    with torch.no_grad(): want = encoder(**TOKENIZER([SOURCES[0]], return_tensors='pt'), output_attentions=True).attentions
    close(weights, torch.cat(want))

def test_tools_know_it(in_tmp, capsys):
    learn = make('bart', path=in_tmp)
    spread(learn.model)
    want = learn.predict_batch(SOURCES)
    learn.dls.show_batch(max_n=1)
    learn.show_results(max_n=1)
    Interpretation.from_learner(learn).plot_top_losses(1)
    told = capsys.readouterr().out
    assert [h in told for h in ('source','target','written','dearest tokens')]==[True]*4
    learn.export('x.pkl')
    assert load_learner(in_tmp/'x.pkl').predict_batch(SOURCES)==want
    learn.predict_batch(SOURCES, out='p.jsonl')
    assert pd.read_json('p.jsonl', lines=True).generated_text.tolist()==[o['generated_text'] for o in want]
    assert [o['generated_text'] for o in learn.predict_batch(FRAME[:7])]==[o['generated_text'] for o in want]
    batch = next(iter(learn.dls.valid.as_torch()))
    assert learn.model(**batch).loss>0 and batch['labels'].min()==-100
    learn.show_tokens(SOURCES[0])
    learn.dls.train.plot_lengths()
    for refused,said in ((lambda: learn.explain(SOURCES[0]), 'has none of them'), 
            (lambda: learn.get_preds(dl=learn.dls.test_dl(SOURCES)), 'these rows have none'), (lambda: learn.predict(None), 'expected a text')):
        with pytest.raises((ValueError, TypeError), match=said): refused()

def test_what_is_written_is_shown_by_number(capsys):
    learn = make()
    spread(learn.model)
    interp = Interpretation.from_learner(learn)
    rows = FRAME.iloc[learn.dls.valid_ds.items.idxs].reset_index(drop=True)
    want = [o['generated_text'] for o in learn.predict_batch(rows.source.tolist())]
    for reorder in (True, False):
        with learn.no_bar(): *_,decoded = learn.get_preds(with_decoded=True, reorder=reorder)
        order = range(len(rows)) if reorder else learn.dls.valid.new(shuffle=False).get_idxs()
        assert [learn.dls.valid_ds.tls[1].decode(o) for o in decoded]==[want[i] for i in order]
    capsys.readouterr()
    interp.show_results([3])
    assert want[3][:20] in ' '.join(capsys.readouterr().out.split())

def test_the_code_of_the_model_card_writes_the_same(in_tmp, capsys):
    learn = make('bart', path=in_tmp, prefix='see ')
    spread(learn.model)
    learn.save_pretrained('m')
    capsys.readouterr()
    exec(learn.task.plain_code(learn, 'm'), {})
    assert capsys.readouterr().out.strip().splitlines()[-1].strip()==learn.predict('A text.')[0]

def test_the_command_line_trains_and_writes(in_tmp, capsys):
    from blurlike.cli import main
    MODELS['bart']().save_pretrained('m')
    TOKENIZER.save_pretrained('m')
    FRAME.to_csv('d.csv', index=False)
    assert main(['train', 'd.csv', 'm', '--task', 'seq2seq', '--epochs', '1', '--lr', '1e-3', '--bs', '8', '--score-rows', '0', '--max-target-length', '12', '--out', 'o'])==0
    capsys.readouterr()
    assert target_tfm_of(TransformersLearner.from_pretrained('o').dls).max_target_length==12
    assert main(['predict', 'o', 'd.csv'])==0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed==TransformersLearner.from_pretrained('o').predict_batch(FRAME)
    assert main(['predict', 'o', 'd.csv', '--num-beams', '3', '--max-new-tokens', '2'])==0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed==TransformersLearner.from_pretrained('o').predict_batch(FRAME, num_beams=3, max_new_tokens=2)
    with pytest.raises(SystemExit): main(['train', 'd.csv', 'm', '--source', 'source', '--out', 'p'])
    assert 'they belong to --task seq2seq' in capsys.readouterr().err
    assert main(['report', 'o', 'd.csv', '--rows', '1'])==0 and 'dearest tokens' in capsys.readouterr().out

def test_threads_write_while_it_trains():
    from concurrent.futures import ThreadPoolExecutor
    learn = make('bart', dl_kwargs=dict(device='cpu'))
    with ThreadPoolExecutor(2) as pool, learn.no_bar(), learn.no_logging():
        jobs = [pool.submit(learn.predict_batch, SOURCES) for _ in range(2)]
        learn.fit(1, 0.)
        assert jobs[0].result()==jobs[1].result()==learn.predict_batch(SOURCES)

def test_adapters_are_trained_and_saved(tmp_path):
    peft = pytest.importorskip('peft')
    learn = make('bart', peft=peft.LoraConfig(target_modules=['q_proj','v_proj']))
    assert all('lora_' in n for n,p in learn.model.named_parameters() if p.requires_grad)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-2)
    learn.save_pretrained(tmp_path/'m')
    assert TransformersLearner.from_pretrained(tmp_path/'m').predict_batch(SOURCES)==learn.predict_batch(SOURCES)

@pytest.mark.parametrize('name,languages', [('multi30k_en_de/val',('en','de')), ('tatoeba_en_hi/valid',('en','hi')), ('tatoeba_en_zh/valid',('en','zh')), ('dialogsum/dev',None)])
def test_real_data(name, languages):
    path = SHARED/'data'/f'{name}.jsonl'
    if not path.is_file(): pytest.skip(f'{path} is not there')
    df = pd.read_json(path, lines=True)[:40]
    source,target = languages or ('document','summary')
    learn = make('t5', df=df, source=source, target=target, languages=languages, valid=.25, max_length=32)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert np.isfinite(learn.recorder.values[-1][1])
    assert len(learn.predict_batch(df[:4]))==4 and isinstance(learn.check(), list)

# --- what is kept, told and drawn

@pytest.mark.parametrize('name', MODELS)
def test_no_head_gives_all_logits_while_training(name, monkeypatch):
    "T5, whose decoder stands beside the encoder, and a decoder with a head of its own too; `test_loss_and_gradients...` compares the loss."
    monkeypatch.setattr(token_scores_room, 'LOGITS', dict(cpu=16*V))
    learn,seen = make(name, bs=18),[]
    x,y = learn.dls.train.one_batch()
    layer = learn.model.get_output_embeddings()
    learn.xb,learn.yb = (x,),(y,)
    learn.model_inputs.before_batch()
    own = learn.model(**learn.dls.text_tfm.named(x), labels=y.as_subclass(torch.Tensor)).loss
    hook = layer.register_forward_pre_hook(lambda m, args: seen.append(args[0].shape[:-1].numel()))
    loss = learn.loss_func(learn.model(x), y)
    hook.remove()
    learn.model_inputs.after_batch()
    close(loss.detach(), own.detach(), 1e-5)
    assert learn.model_inputs.door.head_only and int((y>=0).sum())>16>=max(seen)

def test_how_many_rows_are_scored_is_kept(tmp_path):
    learn = make(score_rows=7, metrics=None)
    again = TransformersLearner.from_pretrained(learn.save_pretrained(tmp_path/'m'))
    assert again.dls.text_tfm.score_rows==7 and again.dls.text_tfm.options['score_rows']==7
    if has_package(ROUGE): assert [m.counts.rows for m in again.metrics if hasattr(m.counts, 'rows')]==[7]*3

@pytest.mark.skipif(not has_package(TRANSLATION), reason='sacrebleu is not installed')
def test_the_card_tells_how_scores_are_computed(in_tmp):
    learn = make(languages=('en','de'), score_rows=3)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    card = model_card(learn)
    told = learn.score().how
    assert '- `bleu`: texts written for up to 3 validation rows; nrefs:1\\|case:mixed' in card.replace('¦', '\\|')
    assert all(h.replace('|', '\\|') in card for h in told)

def test_lengths_of_both_sides_are_drawn():
    learn = make(max_target_length=3)
    learn.dls.plot_lengths()
    axes = plt.gcf().axes
    sizes = [len(TOKENIZER(t)['input_ids']) for t in FRAME.target.iloc[learn.dls.train_ds.items.idxs]]
    assert [a.get_ylabel() for a in axes]==['sources','targets'] and axes[1].get_title().startswith('18 targets')
    heights = {round(p.get_x()+.5):p.get_height() for c in axes[1].containers for p in c if p.get_height()}
    assert heights=={n:sizes.count(n) for n in sizes} and max(sizes)>3
    plt.close('all')

def test_sweeps_are_tried(in_tmp):
    def fit(learn, lr):
        with learn.no_bar(), learn.no_logging(): learn.fit(1, lr)
    found = sweep(lambda label_smoothing: make(label_smoothing=label_smoothing), dict(label_smoothing=[0., .3], lr=[1e-3, 1e-2]), fit, n_trials=4, backend='optuna')
    assert len(found)==4 and found.valid_loss.is_monotonic_increasing and found.lr.iloc[0]==1e-2

@pytest.mark.skipif(not (has_package(ROUGE) and has_package(TRANSLATION)), reason='rouge-score or sacrebleu is not installed')
def test_33_scores_need_no_network(monkeypatch):
    import socket
    def refuse(*args, **kwargs): raise AssertionError('a score asked for the network')
    for name in ('connect','connect_ex'): monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    monkeypatch.setenv('NLTK_DATA', '')
    assert text_scores(['One dog. Two cats.'], ['One dog. Two cats.'])==dict.fromkeys(ROUGE, 100.)
    for code in ('de','zh','ja'): assert text_scores(['ein Hund rennt hier'], ['ein Hund rennt hier'], ('en',code))['bleu']==pytest.approx(100)

def test_texts_of_several_scripts_are_not_taken_for_wrong_ones():
    from blurlike.tasks.seq2seq.faults import script_of
    assert [script_of(t) for t in ('Tom没有钱。', 'Tom hat kein Geld', 'トムは金がない', '東京大学', 'मैं घर जा रहा हूँ', '12!')]==['', 'LATIN', 'CJK', 'CJK', 'DEVANAGARI', '']
    df = FRAME.assign(target=['我没有钱。','Tom没有钱。','他去了北京。','我喝果汁。']*5+['No money','我没有钱。','他去了北京。','我喝果汁。'], source='see '+FRAME.source)
    found = [f for f in make(df=df, languages=('en','zh'), valid=[1]).check() if f.what=='script']
    assert [f.rows.tolist() for f in found]==[[20]]

def test_padding_on_the_left_changes_nothing():
    tok = deepcopy(TOKENIZER)
    tok.padding_side = 'left'
    learn,want = make(tokenizer=tok),make()
    want.model.load_state_dict(spread(learn.model).state_dict())
    with learn.no_bar(), want.no_bar(): assert learn.validate()==want.validate()
    assert learn.predict_batch(SOURCES)==want.predict_batch(SOURCES)

@needs_rouge
@pytest.mark.parametrize('bad', ['', None, float('nan'), 5])
def test_score_names_rows_without_a_target(bad):
    df = FRAME[:4].astype(object)
    df.loc[2, 'target'] = bad
    with pytest.raises(ValueError, match='item 2: there is no target'): make().score(df)

@needs_rouge
def test_score_takes_one_text_a_row(tmp_path):
    for given in (dict(num_return_sequences=2), dict(out=tmp_path/'x.jsonl')):
        with pytest.raises(TypeError, match='one text a row'): make().score(**given)
    with pytest.raises(ValueError, match='samples=0'): make().score(samples=0)

@pytest.mark.parametrize('used_first', [True, False])
def test_loaders_with_one_tokenizer_have_languages_of_their_own(used_first):
    tok = language_tokenizer('nllb')
    first = by_hand(languages=('eng_Latn','deu_Latn'), tokenizer=tok)
    if used_first: learn = TransformersLearner(first, multilingual(tok, 'nllb'), metrics=[])
    by_hand(languages=('deu_Latn','fra_Latn'), tokenizer=tok)
    if not used_first: learn = TransformersLearner(first, multilingual(tok, 'nllb'), metrics=[])
    x,y = learn.dls.train.one_batch()
    codes = tok.convert_tokens_to_ids(['eng_Latn','deu_Latn'])
    ids = learn.dls.text_tfm.named(x)['input_ids']
    assert all(codes[0] in row and codes[1] not in row for row in ids.tolist())
    assert all(codes[1] in row and codes[0] not in row for row in y.tolist())

def test_drawn_texts_differ_from_batch_to_batch():
    learn = make()
    spread(learn.model)
    for several in (1, 2):
        drawn = learn.predict_batch([SOURCES[0]]*12, bs=3, temperature=3., seed=0, num_return_sequences=several)
        assert len({str(o) for o in drawn})>6

def test_a_model_that_wrote_longer_texts_for_another_learner(capsys):
    model = encoder_decoder()
    seq2seq_learner(FRAME.assign(target=[text(20) for _ in range(N)]), model, tokenizer=TOKENIZER, score_rows=0, bs=5)
    with pytest.warns(UserWarning, match='now writes up to'):
        seq2seq_learner(FRAME.assign(target=[text(3) for _ in range(N)]), model, tokenizer=TOKENIZER, score_rows=0, bs=5)

@pytest.mark.parametrize('given,said', [(dict(generate=dict(eos_token_id=None)),'must end a text'), (dict(generate=dict(min_new_tokens=100)),'generate= holds min_new_tokens=100'), (dict(generate=dict(min_length=50)),'generate= holds min_length=50, and up to'), (dict(prefix=3),'prefix=3')], ids=str)
def test_settings_that_could_not_be_followed(given, said):
    with pytest.raises((TypeError, ValueError), match=said): make(**given)

def test_lengths_of_what_a_checkpoint_was_trained_on_are_no_limit():
    model = encoder_decoder()
    model.generation_config.min_new_tokens = 99
    assert seq2seq_learner(FRAME, model, tokenizer=TOKENIZER, score_rows=0, bs=5).model.generation_config.min_new_tokens is None

def test_a_least_length_of_the_checkpoint_is_named_as_its_own():
    def of(**generate):
        model = encoder_decoder()
        model.generation_config.min_length = 6 # fewer than the longest target has, and the start counts
        return seq2seq_learner(FRAME.assign(target=[text(9) for _ in range(N)]), model, tokenizer=TOKENIZER, score_rows=0, bs=5, generate=generate)
    of(max_new_tokens=5)
    with pytest.raises(ValueError, match=r"generation_config of the checkpoint has min_length=6, and up to 4 are written: .* or generate=dict\(min_length=0\)"): of(max_new_tokens=4)
    of(max_new_tokens=4, min_length=0)
    with pytest.raises(ValueError, match='generate= holds min_length=6'): of(max_new_tokens=4, min_length=6)
