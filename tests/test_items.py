"What the text transform and the task say of an item and of the model's outputs: at the door, in windows, in every tool."
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import transformers as tf
from fastai.data.block import TransformBlock
from fastai.learner import Learner
from fastai.torch_core import TensorBase
from fasttransform import Transform
from small import FRAMES, TEXTS, learner
from torch.nn.utils.rnn import pad_sequence

from blurlike.all import (CategoryBlock, ColReader, Column, DataBlock, IndexSplitter, LabelPredictions, ModelInputsCallback, ModelLoss, Rows, Task, TokenizeText,
    TransformersTextBlock, attach_door, build_learner, load_tokenizer)

SMALL = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)

def bert_of(cls, tok, **kwargs): return cls(tf.BertConfig(vocab_size=len(tok), max_position_embeddings=64, **SMALL, **kwargs)).eval()

def batch(tok, texts, **kwargs):
    tfm = TokenizeText(tok, **kwargs)
    return tfm.stack(tfm.tokenize(texts)[0])

# --- outputs at the door

def test_an_output_that_the_door_does_not_know_is_refused(bert):
    tok = load_tokenizer(bert)
    model = bert_of(tf.BertForQuestionAnswering, tok)
    attach_door(model, tok)
    with pytest.raises(ValueError, match='BertForQuestionAnswering gives start_logits, end_logits, but no logits: its task must name'): model(batch(tok, TEXTS[:4]))
    with pytest.raises(ValueError, match='no logits'): model(batch(tok, TEXTS[:4], max_length=8, overlap=2)) # which was an average over windows
    assert model(**tok(TEXTS[:2], padding=True, return_tensors='pt')).start_logits.ndim==2 # calls of the user's are left alone

@pytest.mark.parametrize('overlap', [None, 2])
def test_several_named_outputs_lie_side_by_side(overlap, bert):
    tok = load_tokenizer(bert)
    model = bert_of(tf.BertForQuestionAnswering, tok)
    attach_door(model, tok, outputs=('start_logits','end_logits'))
    x = batch(tok, TEXTS[:4], max_length=8, overlap=overlap)
    fields = x.as_subclass(torch.Tensor).view(4, -1, 3, x.shape[-1])
    with torch.no_grad(): got = model(x).view(4, fields.shape[1], -1, 2)
    for text,rows in zip(got, fields):
        for window,row in zip(text, rows):
            if not row[2].any(): continue # missing windows
            with torch.no_grad(): want = model(**dict(zip(tok.model_input_names, row[:,None])))
            torch.testing.assert_close(window, torch.stack([want.start_logits[0], want.end_logits[0]], -1), atol=1e-5, rtol=1e-4)

def test_outputs_without_names(bert):
    tok = load_tokenizer(bert)
    model,x = bert_of(tf.BertForQuestionAnswering, tok),batch(tok, TEXTS[:4])
    model.config.return_dict = False
    door,handles = attach_door(model, tok)
    with pytest.raises(ValueError, match='2 outputs of one shape without names, 1 expected'): model(x)
    for h in handles: h.remove()
    attach_door(model, tok, outputs=('start_logits','end_logits'))
    assert model(x).shape==(*x.shape[::2], 2)
    model = bert_of(tf.BertForSequenceClassification, tok, num_labels=2)
    attach_door(model, tok)
    want = model(x)
    model.config.return_dict = False
    assert torch.equal(model(x), want)

# --- models that write text

def small_bart(tok): return tf.BartConfig(vocab_size=len(tok), d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64,
    max_position_embeddings=64, pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2)
def small_t5(tok): return tf.T5Config(vocab_size=len(tok), d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2, pad_token_id=1, eos_token_id=2, decoder_start_token_id=0)
WRITERS = dict(bart=(tf.BartForConditionalGeneration, small_bart), t5=(tf.T5ForConditionalGeneration, small_t5))

def writer(name, tok):
    cls,config = WRITERS[name]
    torch.manual_seed(0)
    return cls(config(tok)).eval()

@pytest.mark.parametrize('name', list(WRITERS))
def test_a_decoder_that_is_told_nothing_is_refused(name, checkpoints):
    tok = load_tokenizer(checkpoints('roberta'))
    model = writer(name, tok)
    attach_door(model, tok)
    with pytest.raises(ValueError, match='ForConditionalGeneration writes text with a decoder.*decoder_input'): model(batch(tok, TEXTS[:4]))

def shifted(targets, model): return dict(decoder_input_ids=model.prepare_decoder_input_ids_from_labels(labels=targets))

@pytest.mark.parametrize('name', list(WRITERS))
@pytest.mark.parametrize('piece', [1024, 40])
def test_the_input_of_a_decoder_is_made_from_the_targets(name, piece, checkpoints, monkeypatch):
    tok = load_tokenizer(checkpoints('roberta'))
    model,x = writer(name, tok),batch(tok, TEXTS[:9])
    targets = torch.randint(5, 50, (9, 4))
    targets[3,2:] = -100
    monkeypatch.setattr('blurlike.model.model_call.PIECE', piece)
    door,_ = attach_door(model, tok, decoder_input=shifted)
    call = door.ask(targets=targets)
    with torch.no_grad(): got = model(x)
    door.forget(call)
    with torch.no_grad(): want = model(**dict(zip(tok.model_input_names, x.as_subclass(torch.Tensor).unbind(1))), labels=targets).logits
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)

# --- how windows go together

def test_windows_that_are_kept(bert):
    tok = load_tokenizer(bert)
    model = bert_of(tf.BertForSequenceClassification, tok, num_labels=3)
    x = batch(tok, ['a', *TEXTS[:4]], max_length=8, overlap=2)
    _,handles = attach_door(model, tok)
    mean = model(x)
    for h in handles: h.remove()
    attach_door(model, tok, join='keep')
    kept = model(x)
    windows = x.shape[1]//3
    assert windows>1 and kept.shape==(5, windows, 3) and not kept[0,1:].any()
    n = (x.view(5, windows, 3, -1)[:,:,2]!=0).any(-1).sum(1)
    torch.testing.assert_close(kept.sum(1)/n[:,None], mean, atol=1e-6, rtol=1e-5)
    with pytest.raises(ValueError, match="join='sum' is not one of mean, compare, keep"): attach_door(model, tok, join='sum')

def test_choices_are_numbers(bert):
    tok = load_tokenizer(bert)
    model = bert_of(tf.BertForSequenceClassification, tok, num_labels=3)
    attach_door(model, tok, join='compare')
    with pytest.raises((ValueError, RuntimeError)): model(batch(tok, TEXTS[:2]))
    model = bert_of(tf.BertForMultipleChoice, tok)
    door,_ = attach_door(model, tok, join='compare')
    x = batch(tok, TEXTS[:4]) # one choice each
    fields = dict(zip(tok.model_input_names, x.as_subclass(torch.Tensor).unbind(1)))
    torch.testing.assert_close(model(x), model(**{k:v[None] for k,v in fields.items()}).logits.T)
    two,labels = x.as_subclass(torch.Tensor).reshape(2, 6, -1),torch.tensor([0,1]) # two choices each
    with door.asked(): logits = model(two)
    call = door.ask(labels=labels)
    torch.testing.assert_close(model(two), logits)
    door.forget(call)
    torch.testing.assert_close(door.loss, F.cross_entropy(logits, labels))
    two[1,3:] = 0
    call = door.ask(labels=labels)
    with pytest.raises(ValueError, match='items of 1 to 2 choices.*ModelLoss'): model(two)
    door.forget(call)

def test_a_plain_learner_knows_the_task_of_its_targets(checkpoints):
    "The door of a plain fastai `Learner` on a model that writes text says what is missing."
    tok = load_tokenizer(checkpoints('roberta'))
    block = DataBlock((TransformersTextBlock(tok, max_length=20), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'), splitter=IndexSplitter([0,1]))
    learn = Learner(block.dataloaders(FRAMES['single'], bs=4), writer('bart', tok), loss_func=ModelLoss(), cbs=ModelInputsCallback())
    with learn.no_bar(), pytest.raises(ValueError, match='decoder'): learn.predict('good')

# --- through a learner, by the task

def task_of_kind(name, auto_model, target, loss, **kwargs):
    return Task(name, auto_model, target=target, read=Column, loss=lambda weights: loss(), metrics=lambda vocab: [], predictions=LabelPredictions(None), fits=lambda dls: False, example=lambda vocab: [1, 2], **kwargs)

class Numbers(Transform):
    "A list of whole numbers, padded with -100 in a batch"
    vocab,order = (),1
    def _call(self, nm, o, **kwargs): return TensorBase(torch.tensor(list(o))) if nm=='encodes' else o
    def collate(self, targets, x, fields): return TensorBase(pad_sequence(list(targets), batch_first=True, padding_value=-100))

def numbers_block(vocab): return TransformBlock(type_tfms=Numbers())

class SpanLoss:
    def __call__(self, pred, targ, reduction='mean'): return F.cross_entropy(pred.as_subclass(torch.Tensor), targ.as_subclass(torch.Tensor), reduction=reduction) # (B,T,2), (B,2)

def test_a_task_with_two_outputs_trains(bert):
    spans = task_of_kind('spans', 'AutoModelForQuestionAnswering', numbers_block, SpanLoss, outputs=('start_logits','end_logits'))
    rows = Rows(pd.DataFrame(dict(text=TEXTS, label=[[1, 2]]*len(TEXTS))))
    learn = build_learner(spans, [], bert, None, rows, (list(range(20)), list(range(20, 30))), bs=4, max_length=8, overlap=2)
    with learn.no_bar(), learn.no_logging(): learn.fit(20, 5e-3)
    assert learn.recorder.values[-1][0]<learn.recorder.values[0][0]/2
    _,preds,targets = learn.get_preds(with_input=True) # batches of differing widths
    first = preds.unflatten(1, (-1, 8))[:,0] # of each text's windows
    assert preds.shape[::2]==(10, 2) and targets.tolist()==[[1, 2]]*10
    assert (first.argmax(1)==targets).float().mean()>.5 # of eight places; the tokenizer's vocabulary, and so the run, is not the same each time

class TextLoss:
    def __call__(self, pred, targ, reduction='mean'): return F.cross_entropy(pred.as_subclass(torch.Tensor).flatten(0, 1), targ.as_subclass(torch.Tensor).flatten(), reduction=reduction)

@pytest.mark.parametrize('name,auto_model', [('bart','AutoModelForSeq2SeqLM'), ('t5','AutoModelForSeq2SeqLM')])
def test_a_task_that_writes_text_trains_on_its_targets(name, auto_model, checkpoints):
    tok = load_tokenizer(checkpoints('roberta'))
    targets = [tok(t)['input_ids'][:1+i%5] for i,t in enumerate(TEXTS)]
    rows = Rows(pd.DataFrame(dict(text=TEXTS, label=targets)))
    def made(**kwargs): return build_learner(task_of_kind('writing', auto_model, numbers_block, TextLoss, **kwargs), [], writer(name, tok), tok, rows, (list(range(20)), list(range(20, 30))), bs=10, max_length=20)
    learn = made(decoder_input=shifted)
    with learn.no_bar(), learn.no_logging():
        loss = learn.validate()[0]
        x,y = next(iter(learn.dls.valid))
        assert (y==-100).any()
        with torch.no_grad(): want = learn.model.eval()(**learn.dls.text_tfm.named(x), labels=y.as_subclass(torch.Tensor)).loss
        assert loss==pytest.approx(float(want), rel=1e-4)
        learn.fit(1, 1e-3)
        with pytest.raises(ValueError, match='writes text with a decoder'): made().fit(1, 1e-3)

@pytest.mark.parametrize('kind,loss_func', [('single', ModelLoss), ('multi', ModelLoss), ('regression', ModelLoss)])
def test_losses_of_rows_are_those_of_the_task(kind, loss_func, bert):
    own,ours = learner(kind, bert, loss_func=loss_func()),learner(kind, bert)
    own.model.load_state_dict(ours.model.state_dict())
    with own.no_bar(), ours.no_bar():
        for a,b in zip(own.get_preds(with_loss=True, with_decoded=True), ours.get_preds(with_loss=True, with_decoded=True)): torch.testing.assert_close(a, b)
