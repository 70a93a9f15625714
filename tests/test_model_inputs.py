"The model's door: the same numbers as a direct call, on several architectures."
import inspect

import numpy as np
import pytest
import torch
import transformers
from blurlike.all import ModelInputsCallback, ModelLoss, TokenizeText, attach_door, label_maps, load_model, load_tokenizer, sequence_classification_learner
from conftest import table

TEXTS = ['the sea', 'we went there last year with my brother and it was cold', 'a summit', 'food because of the tram']

def loaded(architecture, **config):
    name,folder = architecture
    tok = load_tokenizer(folder)
    return tok,load_model(folder, 'AutoModelForSequenceClassification', tok, label_maps('abc') | config).eval()

def alone(tok, model, text): # one text, no padding, named arguments
    named = {k:v for k,v in tok(text, return_tensors='pt').items() if k in inspect.signature(model.forward).parameters}
    with torch.no_grad(): return model(**named)

@pytest.mark.filterwarnings('ignore:The tokenizer has no pad token')
def test_same_logits_as_a_direct_call(architecture):
    tok,model = loaded(architecture)
    direct = torch.cat([alone(tok, model, t).logits for t in TEXTS])
    door,_ = attach_door(model, tok)
    tfm = TokenizeText(tok)
    with torch.no_grad(): ours = model(tfm.stack(tfm.tokenize(TEXTS)[0]))
    assert type(ours) is torch.Tensor and torch.allclose(ours, direct, atol=1e-5)
    out = alone(tok, model, TEXTS[0])
    assert hasattr(out, 'logits') and torch.allclose(out.logits, direct[:1], atol=1e-5)

@pytest.mark.filterwarnings('ignore:The tokenizer has no pad token')
def test_a_learner_trains_every_architecture(architecture):
    df,_ = table('single')
    learn = sequence_classification_learner(df, architecture[1], bs=8)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, slice(1e-4, 1e-3))
    assert np.isfinite(float(learn.recorder.values[-1][1]))
    one,many = learn.predict_logits([TEXTS[0]]),learn.predict_logits(TEXTS)
    assert torch.allclose(one[0], many[0], atol=1e-4)

def test_unknown_fields_are_not_passed(checkpoint):
    tok = load_tokenizer(checkpoint)
    model = transformers.DistilBertForSequenceClassification(transformers.DistilBertConfig(vocab_size=len(tok), dim=32, n_layers=1, n_heads=2, hidden_dim=37))
    assert 'token_type_ids' in tok.model_input_names
    attach_door(model, tok)
    tfm = TokenizeText(tok)
    assert model(tfm.stack(tfm.tokenize(TEXTS)[0])).shape==(4,2)

def test_an_error_in_the_model_leaves_the_door_usable(checkpoint):
    tok,model = loaded(('bert',checkpoint))
    attach_door(model, tok)
    x = torch.full((1,3,4), 10**6)
    with pytest.raises(IndexError): model(x)
    assert hasattr(alone(tok, model, TEXTS[0]), 'logits')

def test_outputs_are_kept_when_asked_for(checkpoint, make):
    learn = make('single', cbs=ModelInputsCallback(keep_output=True))
    assert len([cb for cb in learn.cbs if isinstance(cb, ModelInputsCallback)])==1
    learn.model.config.output_hidden_states = True
    learn.predict_logits(TEXTS)
    assert len(learn.model_inputs.door.output.hidden_states)==3

def test_the_door_goes_with_its_callback(make):
    learn = make('single'); x,_ = learn.dls.one_batch()
    learn.remove_cb(ModelInputsCallback)
    assert not learn.model._forward_pre_hooks and not learn.model._forward_hooks
    with pytest.raises(ValueError): learn.model(x.as_subclass(torch.Tensor))

def test_windows_are_averaged(checkpoint):
    tok,model = loaded(('bert',checkpoint))
    long = ' '.join(['the sea was cold and we went there']*4)
    tfm = TokenizeText(tok, max_length=12, overlap=3)
    rows,_ = tfm.tokenize([long, 'the sea', ''])
    windows = tok(long, truncation=True, max_length=12, stride=3, return_overflowing_tokens=True)['input_ids']
    assert rows.n_windows[0]==len(windows)>2
    by_hand = torch.stack([model(torch.tensor([w])).logits[0] for w in windows]).mean(0)
    attach_door(model, tok)
    with torch.no_grad(): out = model(tfm.stack(rows))
    assert torch.allclose(out[0], by_hand, atol=1e-5)
    assert torch.allclose(out[1], alone(tok, model, 'the sea').logits[0], atol=1e-5)
    assert tfm.decode(tfm.stack(rows)[0])==long and tfm.decode(tfm.stack(rows)[2])==''

def test_overlap_from_end_to_end(make):
    learn = make('single', max_length=10, overlap=2)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3)
    with learn.no_bar(): x,preds,_ = learn.get_preds(with_input=True)
    texts = learn.texts_of(learn.dls.valid_ds.items)
    assert [learn.dls.text_tfm.decode(o) for o in x]==texts
    assert torch.allclose(preds, learn.predict_logits(texts).softmax(-1), atol=1e-5)
    assert max(len(t.split()) for t in texts)>10

def test_model_loss_uses_the_models_own_loss(make):
    learn = make('single', loss_func=ModelLoss())
    forward = learn.model.forward
    def doubled(*args, **kwargs):
        out = forward(*args, **kwargs)
        if out.loss is not None: out.loss = out.loss*2
        return out
    with learn.no_bar(): once = learn.validate()[0]
    learn.model.forward = doubled
    with learn.no_bar(): assert learn.validate()[0]==pytest.approx(2*once, rel=1e-5)
