"The model's door, on several architectures: what goes in and comes out is what a direct call of the model gives."
import inspect

import numpy as np
import pytest
import torch
import transformers
from blurlike.all import Callback, ModelInputsCallback, ModelLoss, Packing, load_tokenizer
from blurlike.model.model_call import ModelCall
from blurlike.model.model_inputs import accepted_names
from fastai.torch_core import set_seed
from small import ARCHS, BS, EVERY_KIND, FRAMES, N, SMALL, TEXTS, accepted, activated, close, direct_logits, encode, first, joined, learner, texts_of, valid_frame
from transformers.modeling_outputs import ModelOutput

pytestmark = pytest.mark.usefixtures('in_tmp')
LIMIT = dict(roberta=32) # tokens

@pytest.fixture(params=list(ARCHS))
def arch(request): return request.param

@pytest.fixture(scope='module')
def learners(checkpoints):
    "`learners(arch)`: an untrained learner, made once; for reading only."
    made = {}
    def get(arch):
        if arch not in made: made[arch] = learner('single', checkpoints(arch))
        return made[arch]
    return get

@pytest.fixture
def learn(arch, learners):
    learn = learners(arch)
    learn.model.eval()
    with learn.no_bar(), learn.no_logging(): yield learn

def batch_of(learn, n=BS):
    "A batch as the loader gives it, and the same rows as Hugging Face's tokenizer gives them."
    texts = texts_of('single', valid_frame(learn, 'single'))[:n]
    x,y = next(iter(learn.dls.valid.new(bs=n)))
    return x,y,encode(learn.dls.tokenizer, texts, max_length=learn.dls.text_tfm.max_length)

def test_batch_is_what_the_tokenizer_gives(learn):
    x,_,inputs = batch_of(learn)
    assert x.dtype==torch.int64 and learn.dls.text_tfm.fields==list(learn.dls.tokenizer.model_input_names)
    for f,v in zip(learn.dls.text_tfm.fields, x.unbind(1)): assert v.tolist()==inputs[f].tolist()

def test_logits_of_a_batch_equal_a_direct_call(learn):
    x,_,inputs = batch_of(learn)
    with torch.no_grad(): ours,theirs = learn.model(x),learn.model(**accepted(learn.model, inputs)).logits
    assert type(ours) is torch.Tensor and ours.dtype==torch.float32
    close(ours, theirs, 1e-6)

def test_loss_of_a_batch_equals_a_direct_call(learn):
    x,y,inputs = batch_of(learn)
    with torch.no_grad(): close(learn.loss_func(learn.model(x), y), learn.model(**accepted(learn.model, inputs), labels=torch.as_tensor(y)).loss, 1e-6)

def test_get_preds_equals_direct_calls_one_by_one(arch, learn):
    texts = texts_of('single', valid_frame(learn, 'single'))
    close(learn.get_preds()[0], direct_logits(learn.model, learn.dls.tokenizer, texts, LIMIT.get(arch, 64)).softmax(-1))

def test_gradients_equal_those_of_the_models_own_loss(arch, checkpoints):
    ours,own = learner('single', checkpoints(arch)),learner('single', checkpoints(arch), loss_func=ModelLoss())
    x,y,inputs = batch_of(ours)
    for o in (ours,own): o.model.eval()
    ours.loss_func(ours.model(x), y).backward()
    own.model(**accepted(own.model, inputs), labels=torch.as_tensor(y)).loss.backward()
    for p,q in zip(ours.model.parameters(), own.model.parameters()): close(p.grad if p.grad is not None else 0*p, q.grad if q.grad is not None else 0*q, 1e-6)

def test_only_accepted_fields_are_passed(learn):
    names,seen = set(inspect.signature(learn.model.forward).parameters),[]
    x,y,inputs = batch_of(learn)
    handle = learn.model.register_forward_pre_hook(lambda m,args,kwargs: seen.append((args, kwargs)), with_kwargs=True) # runs after the door's
    learn.model(x)
    handle.remove()
    (args,kwargs), = seen
    if getattr(learn.model.config, 'type_vocab_size', 2)<2: names -= {'token_type_ids'} # there is one type, or none
    assert args==()
    no_cache = {'use_cache'}&names # nothing is said after a batch
    assert set(kwargs)-no_cache==set(inputs)&names>={'input_ids','attention_mask'} and not any(kwargs[k] for k in no_cache)

def test_a_direct_call_gives_a_model_output(learn):
    x,y,inputs = batch_of(learn)
    learn.model(x)
    for kwargs in ({}, dict(labels=torch.as_tensor(y))):
        out = learn.model(**accepted(learn.model, inputs), **kwargs)
        assert isinstance(out, ModelOutput) and out.logits.shape==(BS,3) and (out.loss is not None)==bool(kwargs)
    assert isinstance(learn.model(inputs['input_ids']), ModelOutput) # (B,L), positional

def test_an_error_inside_the_model_leaves_the_door_usable(learn):
    x,_,inputs = batch_of(learn)
    before = learn.model(x)
    bad = x.clone()
    bad[:,0] = 10**6 # no such token
    with pytest.raises((IndexError, RuntimeError)): learn.model(bad)
    assert isinstance(learn.model(**accepted(learn.model, inputs)), ModelOutput) # the direct call is not mistaken for ours
    close(learn.model(x), before, 1e-6)

def test_an_error_while_training_leaves_the_door_usable(bert):
    learn = learner('single', bert, loss_func=ModelLoss())
    head,learn.model.classifier = learn.model.classifier,torch.nn.Linear(7, 3)
    with learn.no_bar(), pytest.raises(RuntimeError, match='shape'): learn.fit(1)
    learn.model.classifier = head
    texts = texts_of('single', valid_frame(learn, 'single'))
    out = learn.model(**encode(learn.dls.tokenizer, texts[:2]))
    assert isinstance(out, ModelOutput) and out.loss is None # the labels of the batch that failed are gone
    with learn.no_bar(): close(learn.get_preds()[0], direct_logits(learn.model, learn.dls.tokenizer, texts).softmax(-1))

@pytest.mark.parametrize('event', ['before_batch','after_pred','after_loss','after_backward'])
def test_predictions_after_an_interrupted_batch(event, bert): # the labels of that batch must not go into other calls
    learn = learner('single', bert, loss_func=ModelLoss())
    with learn.no_bar(): want = learn.get_preds()[0]
    def stop(self): raise KeyboardInterrupt
    with learn.no_bar(), pytest.raises(KeyboardInterrupt): learn.fit(1, cbs=type('Stop', (Callback,), {event:stop, 'order':99})())
    close(learn.predict_logits(texts_of('single', valid_frame(learn, 'single'))).softmax(-1), want)

def test_a_callback_that_leaves_takes_the_door_along(bert):
    learn = learner('single', bert)
    x,_,_ = batch_of(learn)
    learn.remove_cb(ModelInputsCallback)
    assert len(learn.model._forward_pre_hooks)==len(learn.model._forward_hooks)==0
    with pytest.raises(ValueError): learn.model(x.as_subclass(torch.Tensor))
    learn.add_cb(ModelInputsCallback())
    assert learn.model(x).shape==(BS,3)

def test_another_model_put_into_the_learner_is_used(bert):
    learn,other = learner('single', bert),learner('single', bert, seed=7)
    texts = texts_of('single', valid_frame(learn, 'single'))
    learn.model = other.model
    other.remove_cb(ModelInputsCallback)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3)
        close(learn.get_preds()[0], direct_logits(other.model, learn.dls.tokenizer, texts).softmax(-1))

# Windows

OVERLAP = dict(max_length=10, overlap=2)

def windows_by_hand(tokenizer, text): # the text tokens of each window, cut with plain lists
    room = 10-tokenizer.num_special_tokens_to_add()
    ids,starts = tokenizer(text, add_special_tokens=False)['input_ids'],[0]
    while starts[-1]+room<len(ids): starts.append(starts[-1]+room-2)
    return [ids[s:s+room] for s in starts]

def with_special(tokenizer, ids):
    whole = tokenizer('film')['input_ids']
    mid = tokenizer('film', add_special_tokens=False)['input_ids']
    n = next(i for i in range(len(whole)) if whole[i:i+len(mid)]==mid)
    return whole[:n]+ids+whole[n+len(mid):]

@pytest.mark.parametrize('kind', first(['single','multi','regression']))
def test_pooled_logits_are_the_mean_of_the_windows(kind, arch, checkpoints):
    learn = learner(kind, checkpoints(arch), **OVERLAP)
    tok,texts = learn.dls.tokenizer,texts_of(kind, valid_frame(learn, kind))
    learn.model.eval()
    def by_hand(text):
        with torch.no_grad(): return torch.stack([learn.model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.int64)).logits[0] for ids in (with_special(tok, w) for w in windows_by_hand(tok, text))])
    windows = [by_hand(t) for t in texts]
    assert {1}<{len(w) for w in windows} and max(map(len, windows))>2
    want = torch.stack([w.mean(0) for w in windows])
    with learn.no_bar():
        close(learn.get_preds()[0], activated(kind, want))
        close(learn.predict(texts[0])[2], activated(kind, want[0]))
        close(learn.predict_logits(texts), want)
        close(learn.validate()[0], learn.loss_func(want, learn.get_preds()[1]))

def test_a_text_of_one_window_is_read_as_without_overlap(arch, checkpoints):
    cut,windows = learner('single', checkpoints(arch), max_length=10),learner('single', checkpoints(arch), **OVERLAP)
    short = [t for t in TEXTS if len(cut.dls.tokenizer(t)['input_ids'])<=10]
    assert len(short)>3
    close(cut.predict_logits(short), windows.predict_logits(short), 1e-6)
    for t in short: close(cut.predict_logits([t])[0], windows.predict_logits([t])[0], 1e-6)

def test_training_on_windows(arch, checkpoints):
    learn = learner('single', checkpoints(arch), **OVERLAP)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(1, 1e-3)
        x,preds,targs,losses = learn.get_preds(with_input=True, with_loss=True)
    assert np.isfinite(float(learn.recorder.values[-1][0]))
    assert x.shape[1]%len(learn.dls.text_tfm.fields)==0 and len(x)==12
    close(learn.validate()[0], losses.mean())

def test_windows_of_pairs(bert):
    learn = learner('pair', bert, max_length=32, overlap=2) # the first text is repeated in each window
    df = valid_frame(learn, 'pair')
    pairs = [p for p in texts_of('pair', df) if len(learn.dls.tokenizer(p[0])['input_ids'])<25]
    enc = [learn.dls.tokenizer(*p, truncation='only_second', max_length=32, stride=2, return_overflowing_tokens=True, return_tensors='pt', padding=True) for p in pairs]
    learn.model.eval()
    with torch.no_grad(): want = torch.stack([learn.model(**accepted(learn.model, e)).logits.mean(0) for e in enc])
    assert max(len(e['input_ids']) for e in enc)>1
    close(learn.predict_logits(pairs), want)

# Other outputs

def test_keep_output_gives_hidden_states(arch, checkpoints):
    learn = learner('single', checkpoints(arch), cbs=ModelInputsCallback(keep_output=True), model_kwargs=dict(output_hidden_states=True))
    with learn.no_bar(): learn.predict(TEXTS[0])
    assert len([cb for cb in learn.cbs if isinstance(cb, ModelInputsCallback)])==1
    out = learn.model_inputs.door.output
    hidden = out.get('hidden_states', out.get('decoder_hidden_states'))
    ids = encode(learn.dls.tokenizer, [TEXTS[0]], max_length=LIMIT.get(arch, 64))
    learn.model.eval()
    with torch.no_grad(): plain = learn.model(**accepted(learn.model, ids))
    assert len(hidden)==3 and hidden[-1].shape==(1,ids['input_ids'].shape[1],32)
    close(hidden[-1], plain.get('hidden_states', plain.get('decoder_hidden_states'))[-1])

def test_without_keep_output_nothing_is_held(learn):
    learn.model(batch_of(learn)[0])
    assert learn.model_inputs.door.output is None

@pytest.mark.parametrize('kind', EVERY_KIND)
def test_a_half_precision_model_gives_float32_logits(kind, checkpoint):
    learn = learner(kind, checkpoint, model_kwargs=dict(dtype=torch.bfloat16))
    assert {p.dtype for p in learn.model.parameters()}=={torch.bfloat16}
    with learn.no_bar(): assert joined(learn.get_preds()[0]).dtype==torch.float32 and np.isfinite(learn.validate()[0])

def test_gpt2_finds_the_last_token_of_a_padded_row(checkpoints): # its pad token is its end token
    with pytest.warns(UserWarning, match='no pad token'): learn = learner('single', checkpoints('gpt2'))
    texts = ['film','the film was shown in a small town by the river'] # unlike lengths
    close(learn.predict_logits(texts), torch.cat([learn.predict_logits([t]) for t in texts]))

# Large batches on a CPU go through in pieces

def in_pieces(monkeypatch, piece):
    import blurlike.model.model_call as m
    monkeypatch.setattr(m, 'PIECE', piece)

def gradients(learn, x, y):
    learn.model.zero_grad()
    learn.model.eval() # no dropout
    pred = learn.model(x)
    loss = learn.loss_func(pred, y)
    loss.backward()
    return pred.detach(),loss.item(),{n:p.grad.clone() for n,p in learn.model.named_parameters() if p.grad is not None}

def test_pieces_give_the_same_logits_loss_and_gradients(arch, checkpoints, monkeypatch):
    learn = learner('single', checkpoints(arch), bs=32)
    x,y = (t.as_subclass(torch.Tensor) for t in learn.dls.train.one_batch())
    calls = []
    learn.model.register_forward_pre_hook(lambda m, args, kwargs: calls.append(len(kwargs['input_ids'])) if kwargs else None, with_kwargs=True)
    want = gradients(learn, x, y)
    assert calls==[len(x)]
    in_pieces(monkeypatch, 3*x.shape[2])
    calls.clear()
    got = gradients(learn, x, y)
    assert len(calls)==-(-len(x)//3) and max(calls)==3 and sum(calls)==len(x)
    close(got[0], want[0])
    assert got[1]==pytest.approx(want[1], rel=1e-5)
    for n in want[2]: close(got[2][n], want[2][n], 1e-4)

def test_pieces_of_windows(bert, monkeypatch):
    learn = learner('single', bert, **OVERLAP)
    want = learn.predict_logits(TEXTS)
    in_pieces(monkeypatch, 20)
    close(learn.predict_logits(TEXTS), want)

def held(learn, x, y):
    "Loss, gradients, and megabytes that wait for the gradient, of a training step."
    sizes = []
    def pack(t):
        sizes.append(t.numel()*t.element_size()/2**20)
        return t
    learn.model.train()
    learn.model.zero_grad()
    set_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t): loss = learn.loss_func(learn.model(x), y)
    loss.backward()
    return loss.item(),[p.grad.clone() for p in learn.model.parameters() if p.grad is not None],sum(sizes)

@pytest.mark.slow
@pytest.mark.parametrize('packed', [False, True])
def test_windows_of_many_texts_are_not_all_kept_for_the_gradient(packed, bert, monkeypatch):
    "A batch of long texts holds what twice as many short ones would, and its gradient is the same, dropout included."
    long = FRAMES['single'].assign(text=[' '.join(TEXTS[i%30:i%30+9]) for i in range(N)])
    learn = learner('single', bert, long, **OVERLAP)
    x,y = learn.dls.train.one_batch()
    n = int((x[:,2::3]!=0).any(-1).sum())
    assert n>5*len(x)
    in_pieces(monkeypatch, 20)
    packing = Packing(learn.model) if packed else None
    less = held(learn, x, y)
    monkeypatch.setattr(ModelCall, '_are_too_many', lambda self, x: False)
    whole = held(learn, x, y)
    assert less[0]==whole[0] and all(torch.equal(a, b) for a,b in zip(less[1], whole[1]))
    assert less[2]<1.6*whole[2]*len(x)/n
    if packed: packing.remove()

def test_only_many_windows_in_training_are_cut_for_a_device(bert):
    "On a GPU (here: a device without memory) a batch goes in one piece; of many windows while it learns in as large ones as it has texts."
    def size(n, grad=True, **kwargs):
        learn = learner('single', bert, **OVERLAP, **kwargs)
        call = ModelCall(learn.model_inputs.door)
        call.windows,call.shape,x = torch.zeros(n, dtype=torch.long),(200, n),torch.empty(n, 3, 10, device='meta')
        with torch.set_grad_enabled(grad): call.room = 200 if call._are_too_many(x) else None
        return call._piece_size(x)
    assert [size(300), size(400), size(401), size(1000), size(1000, grad=False)]==[300, 400, 200, 200, 1000]
    assert size(1000, cbs=ModelInputsCallback(keep_output=True))==1000

def test_an_error_in_a_piece_leaves_nothing_behind(bert, monkeypatch):
    learn = learner('single', bert)
    want = learn.predict_logits(TEXTS)
    in_pieces(monkeypatch, 20)
    x = learn.dls.train.one_batch()[0].as_subclass(torch.Tensor).clone()
    x[-1,0,0] = 10**6
    with pytest.raises(IndexError): learn.model(x)
    close(learn.predict_logits(TEXTS), want)

def test_kept_output_and_the_models_own_loss_are_of_the_whole_batch(bert, monkeypatch):
    in_pieces(monkeypatch, 20)
    learn = learner('single', bert, loss_func=ModelLoss())
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    close(learn.validate()[0], learn.get_preds(with_loss=True)[2].mean())
    kept = learner('single', bert, cbs=ModelInputsCallback(keep_output=True))
    x = kept.dls.train.one_batch()[0].as_subclass(torch.Tensor)
    kept.model(x)
    assert len(kept.model_inputs.door.output.logits)==len(x)

def test_pieces_of_token_outputs_keep_their_width(checkpoints, monkeypatch):
    import transformers
    from blurlike.all import TokenizeText, attach_door
    tok = transformers.AutoTokenizer.from_pretrained(checkpoints('bert'))
    model = transformers.AutoModelForTokenClassification.from_pretrained(checkpoints('bert'), num_labels=3).eval()
    attach_door(model, tok)
    tfm = TokenizeText(tok, 32)
    tokens,_ = tfm.tokenize(sorted(TEXTS, key=len, reverse=True))
    x = tfm.stack(tokens).as_subclass(torch.Tensor)
    real = x[:,tfm.fields.index('attention_mask')].bool()
    with torch.no_grad():
        want = model(x)
        in_pieces(monkeypatch, 60)
        got = model(x)
    assert got.shape==want.shape
    close(got[real], want[real])

def test_windows_decode_to_their_text(bert):
    tfm = learner('single', bert, **OVERLAP).dls.text_tfm
    texts = [' '.join(TEXTS[:3]), 'film', '']
    tokens,_ = tfm.tokenize(texts)
    assert [tfm.decode(row) for row in tfm.stack(tokens)]==texts

def test_a_text_without_any_token_keeps_a_window(checkpoints): # GPT-2's tokenizer adds none
    learn = learner('single', checkpoints('gpt2'), **OVERLAP)
    logits = learn.predict_logits(['', TEXTS[0], ''])
    assert logits.shape==(3,3) and logits.isfinite().all()
    close(logits[1], learn.predict_logits([TEXTS[0]])[0])

def test_the_models_own_loss_is_the_loss(bert):
    learn = learner('single', bert, loss_func=ModelLoss())
    forward = learn.model.forward
    def doubled(*args, **kwargs):
        out = forward(*args, **kwargs)
        if out.loss is not None: out.loss = out.loss*2
        return out
    with learn.no_bar(): once = learn.validate()[0]
    learn.model.forward = doubled
    with learn.no_bar(): assert learn.validate()[0]==pytest.approx(2*once, rel=1e-5)

def test_a_model_with_one_type_of_token_reads_pairs(bert, tmp_path):
    "Its tokenizer counts the second text as of another type, which the model has no embedding for."
    model = transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=len(load_tokenizer(bert)), max_position_embeddings=64, type_vocab_size=1, **SMALL))
    learn = learner('pair', model, tokenizer=bert)
    texts = texts_of('pair', FRAMES['pair'])[:3]
    inputs = encode(learn.dls.tokenizer, texts)
    assert inputs['token_type_ids'].any()
    with torch.no_grad(): want = learn.model.eval()(input_ids=inputs['input_ids'], attention_mask=inputs['attention_mask']).logits
    close(learn.predict_logits(texts), want)

class OnlyIds(transformers.BertForSequenceClassification):
    def forward(self, input_ids, **kwargs): return super().forward(input_ids, **kwargs)

class OwnBert(OnlyIds):
    def forward(self, *args, **kwargs): return super().forward(*args, **kwargs)

def small_one(kind, config=transformers.BertConfig, **kwargs):
    torch.manual_seed(0)
    sizes = SMALL | dict(vocab_size=400, max_position_embeddings=64, num_labels=2, initializer_range=.5)
    return kind(config(**sizes | kwargs)).eval()

@pytest.mark.parametrize('own', [OnlyIds, OwnBert])
def test_what_a_class_of_ones_own_passes_on_reaches_the_model(own, bert):
    learn = learner('pair', small_one(own), tokenizer=bert)
    plain = small_one(transformers.BertForSequenceClassification)
    texts = texts_of('pair', FRAMES['pair'])
    assert {'attention_mask','token_type_ids'}<=learn.model_inputs.door.accepted
    close(learn.predict_logits(texts), direct_logits(plain, learn.dls.tokenizer, texts))

def test_a_class_of_transformers_is_taken_at_its_word():
    fnet = small_one(transformers.FNetForSequenceClassification, transformers.FNetConfig)
    parameters = inspect.signature(fnet.forward).parameters
    assert 'kwargs' in parameters and accepted_names(fnet)==parameters.keys()-{'kwargs'}
    llama = small_one(transformers.LlamaForCausalLM, transformers.LlamaConfig)
    assert accepted_names(llama)==inspect.signature(llama.forward).parameters.keys()-{'kwargs'}

def test_the_names_below_a_wrapper_of_peft_count():
    peft = pytest.importorskip('peft')
    for task_type in (None,'SEQ_CLS'):
        inner = small_one(transformers.BertForSequenceClassification)
        names = accepted_names(inner)
        assert names<=accepted_names(peft.get_peft_model(inner, peft.LoraConfig(task_type=task_type, target_modules=['query'])))
