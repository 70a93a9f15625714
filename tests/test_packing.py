"Training without padding: the same losses, gradients and predictions; the model comes back as it was; other models are left alone."
import json
from contextlib import nullcontext
from copy import deepcopy

import pytest
import torch
import transformers as tf
from blurlike.all import TransformersLearner, load_learner
from fastai.torch_core import set_seed
from blurlike.model.padding_free import PACKED, Packing, packed_now, try_packing
from blurlike.model.splitters import layer_stacks
from fresh import fresh_process
from small import ARCHS, FRAMES, SMALL, TEXTS, accepted, asked_of, close, encode, first, learner, weights

FITS = ['bert','distilbert','roberta','gpt2','modernbert']

def model_and_batch(checkpoints, arch, cls='AutoModelForSequenceClassification', **kwargs):
    folder = checkpoints(arch)
    tok = tf.AutoTokenizer.from_pretrained(folder)
    if tok.pad_token is None: tok.pad_token = tok.eos_token
    model = getattr(tf, cls).from_pretrained(folder, **kwargs).eval()
    model.config.pad_token_id = tok.pad_token_id
    return model,accepted(model, encode(tok, TEXTS[:6], max_length=32))

@pytest.mark.parametrize('arch', FITS)
def test_same_loss_and_gradients(arch, checkpoints):
    model,batch = model_and_batch(checkpoints, arch, num_labels=3)
    assert 0<batch['attention_mask'].float().mean()<1
    def run():
        model.zero_grad()
        loss = model(**batch, labels=torch.arange(6)%3).loss
        loss.backward()
        return loss.item(),{n:p.grad.clone() for n,p in model.named_parameters() if p.grad is not None}
    loss,grads = run()
    packing = Packing(model)
    packed_loss,packed = run()
    assert abs(loss-packed_loss)<1e-5 and set(grads)==set(packed)
    for n in grads: close(packed[n], grads[n], 1e-4)
    packing.remove()
    assert run()[0]==loss and model.config._attn_implementation=='sdpa'

@pytest.mark.parametrize('arch', first(FITS, 2))
def test_with_gradient_checkpointing(arch, checkpoints, in_tmp):
    "Layers that are run again in the backward pass are packed again."
    def trained(**kwargs):
        set_seed(4)
        learn = learner('single', checkpoints(arch), padding_free=True, max_grad_norm=None, **kwargs)
        for m in learn.model.modules():
            if isinstance(m, torch.nn.Dropout): m.p = 0.
        quiet_fit(learn, 1, 1e-2)
        assert learn.packing is not None
        return weights(learn.model)
    plain,again = trained(),trained(gradient_checkpointing=True)
    for n in plain: close(again[n], plain[n], 1e-5)

@pytest.mark.parametrize('arch', list(ARCHS))
def test_a_model_is_tried_and_left_as_it_was(arch, checkpoints):
    model,batch = model_and_batch(checkpoints, arch, num_labels=3)
    with torch.no_grad(): want = model(**batch).logits
    was,packing = model.config._attn_implementation,try_packing(model)
    if arch in FITS: assert packing is not None
    with torch.no_grad(): close(model(**batch).logits, want, 1e-4)
    if packing is not None: packing.remove()
    assert model.config._attn_implementation==was and packed_now() is None
    with torch.no_grad(): assert torch.equal(model(**batch).logits, want)

def test_tokens_and_words_too(checkpoints):
    for cls in ('AutoModelForTokenClassification','AutoModelForMaskedLM'):
        model,batch = model_and_batch(checkpoints, 'bert', cls)
        real = batch['attention_mask'].bool()
        with torch.no_grad(): want = model(**batch).logits[real]
        packing = Packing(model)
        with torch.no_grad(): close(model(**batch).logits[real], want, 1e-4)
        packing.remove()

def test_left_padding_an_empty_row_and_none_at_all(checkpoints):
    model,_ = model_and_batch(checkpoints, 'bert', num_labels=3)
    ids = torch.randint(5, 50, (3,6))
    for mask in ([[0,0,1,1,1,1],[1]*6,[0]*5+[1]], [[1]*6]*3, [[1]*6,[0]*6,[1]*3+[0]*3]):
        mask = torch.tensor(mask)
        with torch.no_grad(): want = model(input_ids=ids, attention_mask=mask).logits
        packing = Packing(model)
        with torch.no_grad(): got = model(input_ids=ids, attention_mask=mask).logits
        some = mask[:,0].bool() # a head that reads the first place sees padding elsewhere
        close(got[some], want[some], 1e-4)
        packing.remove()

def test_a_direct_call_without_mask_and_an_error_inside(checkpoints):
    model,batch = model_and_batch(checkpoints, 'bert', num_labels=3)
    with torch.no_grad(): want = model(input_ids=batch['input_ids']).logits
    Packing(model)
    with torch.no_grad(): close(model(input_ids=batch['input_ids']).logits, want, 1e-6)
    with pytest.raises(IndexError): model(input_ids=batch['input_ids']+10**6, attention_mask=batch['attention_mask'])
    assert packed_now() is None

def quiet_fit(learn, *args):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(*args)

def test_a_learner_trains_the_same(bert):
    state = None
    for padding_free in (False,True):
        learn = learner('single', bert, padding_free=padding_free, opt_func=lambda params, lr: torch_sgd(params, lr))
        for m in learn.model.modules():
            if isinstance(m, torch.nn.Dropout): m.p = 0.
        learn.model.config.attention_probs_dropout_prob = 0.
        for m in learn.model.modules():
            if hasattr(m, 'dropout') and isinstance(m.dropout, float): m.dropout = 0.
        quiet_fit(learn, 1, 1e-2)
        assert (learn.packing is not None)==padding_free
        if state is None: state = weights(learn.model)
        else:
            for n,p in weights(learn.model).items(): close(p, state[n], 1e-4)

def torch_sgd(params, lr):
    from fastai.optimizer import OptimWrapper
    return OptimWrapper(params, torch.optim.SGD, lr=lr)

@pytest.mark.parametrize('kind', ['prompts','chats'])
def test_what_is_written_is_learnt_the_same(kind, checkpoint):
    "In its first batch the head of a language model is tried with one token, which is not packed as the batch around it is."
    learns = [learner(kind, checkpoint, padding_free=padding_free) for padding_free in (False,True)] # llama has no dropout
    for learn in learns: quiet_fit(learn, 1, 1e-3)
    assert learns[1].packing is not None and all(learn.model_inputs.door.plain_head for learn in learns)
    plain,packed = (weights(learn.model) for learn in learns)
    for n in plain: close(packed[n], plain[n], 1e-4)
    close(torch.tensor(learns[1].validate()), torch.tensor(learns[0].validate()), 1e-3)

@pytest.mark.parametrize('pad', [0,1,59])
def test_padding_may_be_any_token(pad): # the head looks for the last token that is none
    model = tf.LlamaForSequenceClassification(tf.LlamaConfig(vocab_size=60, max_position_embeddings=64, pad_token_id=pad, num_labels=3, **SMALL)).eval()
    assert try_packing(model) is not None

class Once: # a hook that raises the first time
    def __init__(self, error): self.error = error
    def __call__(self, *args):
        error,self.error = self.error,None
        if error is not None: raise error

@pytest.mark.parametrize('error', [RuntimeError('stop'), KeyboardInterrupt()], ids=['error','ctrl_c'])
@pytest.mark.parametrize('kind', ['prompts','single'])
def test_a_batch_that_ended_in_its_middle_leaves_nothing_behind(kind, error, checkpoint):
    learn = learner(kind, checkpoint, padding_free=True)
    quiet_fit(learn, 1, 1e-3)
    before,asked = learn.validate(),asked_of(kind, FRAMES[kind])[:3]
    want = learn.predict_batch(asked)
    handle = layer_stacks(learn.model)[0][1][1].register_forward_pre_hook(Once(error))
    with pytest.raises(type(error)): learn.validate()
    handle.remove()
    with torch.no_grad(): learn.model(input_ids=torch.ones(1, 3, dtype=torch.long)) # without a mask, and not packed
    assert packed_now() is None
    assert learn.predict_batch(asked)==want and learn.validate()==before
    quiet_fit(learn, 1, 1e-3)

def test_it_is_off_by_itself_on_a_cpu_and_an_error_where_it_cannot_be(bert, checkpoints):
    learn = learner('single', bert)
    quiet_fit(learn, 1, 1e-3)
    assert learn.packing is None and learn.model.config._attn_implementation=='sdpa'
    with pytest.raises(ValueError, match='does not work without padding'): quiet_fit(learner('single', checkpoints('bart'), padding_free=True), 1, 1e-3)

LAYERS = {
    'the first made anew': lambda bert: bert.encoder.layer.__setitem__(0, type(bert.encoder.layer[0])(bert.config)),
    'a copy': lambda bert: bert.encoder.layer.__setitem__(1, deepcopy(bert.encoder.layer[0])),
    'one less': lambda bert: bert.encoder.layer.__delitem__(-1)}

@pytest.mark.parametrize('change', LAYERS)
def test_layers_that_are_exchanged_after_a_fit(change, bert):
    "The next fit packs the layers that are there then, and each is hooked once."
    learn = learner('single', bert, padding_free=True)
    quiet_fit(learn, 1, 1e-3)
    LAYERS[change](learn.model.bert)
    with pytest.warns(UserWarning) if change!='one less' else nullcontext(): quiet_fit(learn, 1, 1e-3)
    layers = learn.model.bert.encoder.layer
    assert learn.packing.layers==list(layers)
    assert [len(m._forward_pre_hooks) for m in layers]==[1]*len(layers)
    assert [len(m._forward_hooks) for m in layers]==[0]*(len(layers)-1)+[1]
    learn.packing.remove()
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in layers) and learn.model.config._attn_implementation=='sdpa'

ELSEWHERE = '''import json,sys
import torch
if sys.argv[1].endswith('.pt'):
    import transformers as tf
    model = torch.load(sys.argv[1], weights_only=False)
    batch = tf.AutoTokenizer.from_pretrained(sys.argv[2])(sys.argv[3], return_tensors='pt')
    print(json.dumps(model(**batch).logits.softmax(-1)[0].tolist()))
else:
    from fastai.learner import load_learner
    learn = load_learner(sys.argv[1])
    with learn.no_bar(): print(json.dumps(learn.predict(sys.argv[3])[2].tolist()))'''

@pytest.mark.parametrize('file', ['learner.pkl','model.pt'])
def test_a_process_that_has_packed_nothing(file, bert, in_tmp):
    "What knows of packed attention comes with the model, out of fastai's pickles and PyTorch's own."
    learn = learner('single', bert, padding_free=True)
    quiet_fit(learn, 1, 1e-3)
    learn.path = in_tmp
    if file=='learner.pkl': learn.export(file)
    else: torch.save(learn.model.eval(), file)
    close(fresh_process(ELSEWHERE, file, bert, TEXTS[0], cwd=in_tmp), learn.predict(TEXTS[0])[2].tolist(), 1e-5)

def test_saved_and_exported(bert, in_tmp):
    learn = learner('single', bert, padding_free=True)
    quiet_fit(learn, 1, 1e-3)
    want = learn.predict(TEXTS[0])[2]
    learn.save_pretrained('saved')
    assert PACKED not in (in_tmp/'saved'/'config.json').read_text()
    assert 'vocab' in json.loads((in_tmp/'saved'/'blurlike.json').read_text())
    close(TransformersLearner.from_pretrained('saved').predict(TEXTS[0])[2], want, 1e-4)
    learn.path = in_tmp
    learn.export('learner.pkl')
    close(load_learner('learner.pkl').predict(TEXTS[0])[2], want, 1e-6)
    assert SMALL['hidden_size']==learn.model.config.hidden_size

@pytest.mark.parametrize('lens', [(8,8),(10,6),(4,4,4,4),(16,),(12,4)])
def test_as_many_tokens_as_the_padded_width(lens, checkpoints):
    "Packed hidden states, (1,T,H), are as wide as padded ones then."
    model,_ = model_and_batch(checkpoints, 'bert')
    ids = torch.arange(len(lens)*16).view(len(lens), 16)%80+5
    mask = (torch.arange(16)<torch.tensor(lens)[:,None]).long()
    model.eval()
    with torch.no_grad():
        want = model(input_ids=ids, attention_mask=mask).logits
        packing = Packing(model)
        close(model(input_ids=ids, attention_mask=mask).logits, want, 1e-5)
        packing.remove()

@pytest.mark.parametrize('nth', [1,2])
def test_a_trial_that_runs_out_of_memory_says_so(nth, bert):
    "And not that the model cannot be packed."
    learn,calls = learner('single', bert, padding_free=True),[]
    was = learn.model.config._attn_implementation
    def full(*args):
        calls.append(args)
        if len(calls)==nth: raise torch.OutOfMemoryError('no memory')
    handle = learn.model.base_model.register_forward_pre_hook(full)
    with learn.no_bar(), pytest.raises(torch.OutOfMemoryError): learn.fit(1, 1e-3)
    handle.remove()
    assert learn.model.config._attn_implementation==was and learn.packing is None
