"Parameter groups of several architectures, and the optimizer over them."
import pytest
import torch
import transformers
from blurlike.all import adamw, layerwise_splitter, transformer_splitter
from small import ARCHS, BS, N, learner, small_bart, small_bert, small_gpt2, weights, word_tokenizer
from torch import nn

pytestmark = pytest.mark.usefixtures('in_tmp')
HEADS = dict(bert={'classifier'}, distilbert={'pre_classifier','classifier'}, roberta={'classifier.dense','classifier.out_proj'}, deberta={'pooler.dense','classifier'}, gpt2={'score'},
    bart={'classification_head.dense','classification_head.out_proj'}, modernbert={'head.dense','head.norm','classifier'}) # what the headless checkpoint does not hold
LAYERS = dict(bart=['encoder.layers.0','encoder.layers.1','decoder.layers.0','decoder.layers.1'], distilbert=['transformer.layer.0','transformer.layer.1'], gpt2=['h.0','h.1'], modernbert=['layers.0','layers.1'])
BASES = dict(bert='bert', distilbert='distilbert', roberta='roberta', deberta='deberta', gpt2='transformer', bart='model', modernbert='model')

@pytest.fixture(params=list(ARCHS))
def arch(request): return request.param

@pytest.fixture(scope='module')
def models(checkpoints):
    made = {}
    def get(arch):
        if arch not in made: made[arch] = learner('single', checkpoints(arch)).model
        return made[arch]
    return get

@pytest.fixture
def model(arch, models):
    models(arch).requires_grad_(True)
    return models(arch)

SPLITTERS = [transformer_splitter, layerwise_splitter, lambda m: transformer_splitter(m, 2), lambda m: transformer_splitter(m, 4), lambda m: transformer_splitter(m, 99)]
@pytest.fixture(params=SPLITTERS, ids=['three','layers','two','four','more_than_layers'])
def splitter(request): return request.param

def names_of(model, groups):
    names = {id(p):n for n,p in model.named_parameters()}
    return [{names[id(p)] for p in g} for g in groups]

def ids(groups): return [id(p) for g in groups for p in g]

def test_every_parameter_is_in_one_group(model, splitter):
    groups = splitter(model)
    assert all(len(g) for g in groups) and sorted(ids(groups))==sorted(id(p) for p in model.parameters())

def test_only_what_trains_is_in_a_group(model, splitter):
    for n,p in model.named_parameters():
        if 'embed' in n or '.0.' in n: p.requires_grad_(False)
    groups = splitter(model)
    want = [id(p) for p in model.parameters() if p.requires_grad]
    model.requires_grad_(True)
    assert all(len(g) for g in groups) and sorted(ids(groups))==sorted(want) and len(want)<len(list(model.parameters()))

def test_the_last_group_is_exactly_the_head(arch, model, splitter):
    head = names_of(model, splitter(model))[-1]
    assert head=={n for n,_ in model.named_parameters() if any(n.startswith(f'{h}.') for h in HEADS[arch])}
    assert head==set(model.new_weights)

def test_number_of_groups(arch, model):
    layers = 4 if arch=='bart' else 2
    assert len(layerwise_splitter(model))==layers+2 # embeddings, layers, head
    assert [len(transformer_splitter(model, n)) for n in (2,3,4)]==[2,3,4]
    assert len(transformer_splitter(model, 99))==layers+2

def test_layers_are_in_order(arch, model):
    groups,base = names_of(model, layerwise_splitter(model)),BASES[arch]
    layers = LAYERS.get(arch, ['encoder.layer.0','encoder.layer.1'])
    tables = {f'{n}.weight' for n,m in model.named_modules() if isinstance(m, nn.Embedding)}&{n for n,_ in model.named_parameters()}
    where = lambda n: next(i for i,g in enumerate(groups) if n in g)
    for i,layer in enumerate(layers, 1):
        inside = {n for n,_ in model.named_parameters() if n.startswith(f'{base}.{layer}.')}
        assert inside and inside<=groups[i]
    first = {t for t in tables if arch!='deberta' or 'rel_embeddings' not in t}
    assert first and first<=groups[0]
    assert all(where(n)>=1 for n,_ in model.named_parameters() if '.layers.' in n or '.layer.' in n or '.h.' in n)

def test_groups_of_layers_keep_their_order(model):
    layers,three = layerwise_splitter(model),transformer_splitter(model)
    assert [id(p) for g in layers for p in g]==[id(p) for g in three for p in g]
    assert len(three[0])>0 and {id(p) for p in layers[0]}<={id(p) for p in three[0]}
    assert ids(three[-1:])==ids(layers[-1:])

def test_one_group_is_refused(models):
    with pytest.raises(ValueError, match='n_groups=1: at least 2'): transformer_splitter(models('bert'), 1)

# Tied weights

@pytest.fixture(scope='module', params=['masked','causal','seq2seq','masked_from_base','causal_from_base','untied'])
def lm(request, checkpoints):
    kind = request.param
    if kind=='masked': return transformers.BertForMaskedLM(small_bert(90).config)
    if kind=='causal': return transformers.GPT2LMHeadModel(small_gpt2(90).config)
    if kind=='seq2seq': return transformers.BartForConditionalGeneration(small_bart(90).config)
    if kind=='untied':
        config = small_bert(90).config
        config.tie_word_embeddings = False
        return transformers.BertForMaskedLM(config)
    return transformers.AutoModelForMaskedLM.from_pretrained(checkpoints('bert')) if kind=='masked_from_base' else transformers.AutoModelForCausalLM.from_pretrained(checkpoints('gpt2'))

def test_tied_weights_are_in_one_group_once(lm, splitter):
    groups = splitter(lm)
    assert len(ids(groups))==len(set(ids(groups))) and all(len(g) for g in groups)
    assert set(ids(groups))=={id(p) for p in lm.parameters()}
    out,inp = lm.get_output_embeddings().weight,lm.get_input_embeddings().weight
    tied = out is inp
    place = [i for i,g in enumerate(groups) if any(p is out for p in g)]
    assert place==([0] if tied else [len(groups)-1]) # a tied table is no new weight: it lies with the embeddings
    assert tied==(lm.config.tie_word_embeddings)

def test_tied_weights_step_once():
    for model in (transformers.BertForMaskedLM(small_bert(90).config), transformers.GPT2LMHeadModel(small_gpt2(90).config)):
        model.eval()
        table = model.get_input_embeddings().weight
        opt = adamw(transformer_splitter(model), lr=.01, wd=0.)
        x = torch.arange(5,25)[None]
        before = table.detach().clone()
        model(input_ids=x, labels=x).loss.backward()
        opt.step()
        assert (table-before).abs().max()<=.01*1.001 and (table-before).abs().max()>.009 # Adam's first step is the learning rate

# The optimizer

def grads_like(model, seed):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(p.shape, generator=g) for p in model.parameters()]

@pytest.mark.parametrize('splitter', SPLITTERS[:2], ids=['three','layers'])
def test_adamw_equals_torch(arch, checkpoints, splitter):
    ours,theirs = learner('single', checkpoints(arch)).model,learner('single', checkpoints(arch)).model
    opt = adamw(splitter(ours), lr=.01, mom=.8, sqr_mom=.95, eps=1e-6, wd=.2)
    plain = torch.optim.AdamW([dict(params=[p for p in theirs.parameters() if p.ndim>1], weight_decay=.2), dict(params=[p for p in theirs.parameters() if p.ndim<2], weight_decay=0.)], lr=.01, betas=(.8,.95), eps=1e-6)
    start = weights(ours)
    for step in range(3):
        for m in (ours,theirs):
            for p,g in zip(m.parameters(), grads_like(m, step)): p.grad = g
        for o in (opt,plain): o.step()
        if not step: assert all(not torch.equal(p, start[n]) for n,p in ours.named_parameters())
    for p,q in zip(ours.parameters(), theirs.parameters()): torch.testing.assert_close(p, q, atol=1e-6, rtol=1e-6)

def test_decay_is_on_matrices_only():
    model = small_bert(90)
    opt = adamw(transformer_splitter(transformers.BertForSequenceClassification(model.config)), lr=.1, wd=.5)
    params = [p for g in opt.param_lists for p in g]
    before = [p.detach().clone() for p in params]
    for p in params: p.grad = torch.zeros_like(p)
    opt.step()
    for p,b in zip(params, before): torch.testing.assert_close(p.detach(), b*(1-.1*.5) if p.ndim>1 else b)

def test_settings_follow_fastai(models):
    groups = transformer_splitter(models('bert'))
    opt = adamw(groups)
    opt.set_hypers(lr=[1e-4,2e-4,3e-4], wd=.3, mom=.7)
    assert [h['lr'] for h in opt.hypers]==[1e-4,2e-4,3e-4]
    assert {h['wd'] for h in opt.hypers}=={.3} and {h['mom'] for h in opt.hypers}=={.7}
    for g in opt.opt.param_groups:
        assert g['lr']==[1e-4,2e-4,3e-4][next(i for i,o in enumerate(groups) if any(p is g['params'][0] for p in o))]
        assert g['betas'][0]==.7
        assert {p.ndim>1 for p in g['params']}=={g['weight_decay']==.3} # one kind in each of torch's groups
    with pytest.raises(KeyError, match='lr, mom, sqr_mom, eps and wd'): opt.set_hyper('dampening', 1.)

def test_one_step_of_a_learner_equals_torch(bert): # the whole way: forward, loss, backward, step
    ours,theirs = (learner('single', bert, valid=list(range(N-BS)), dl_kwargs=dict(shuffle=False), max_grad_norm=None, wd=.1) for _ in range(2))
    for o in (ours,theirs):
        for m in o.model.modules():
            if isinstance(m, nn.Dropout): m.p = 0.
            if hasattr(m, 'dropout_prob'): m.dropout_prob = 0.
            if hasattr(m, 'attention_dropout') and not isinstance(m.attention_dropout, nn.Module): m.attention_dropout = 0.
    with ours.no_bar(), ours.no_logging(): ours.fit(1, 1e-2)
    x,y = theirs.dls.train.one_batch()
    theirs.model.train()
    theirs.loss_func(theirs.model(x), y).backward()
    torch.optim.AdamW([dict(params=[p for p in theirs.model.parameters() if p.ndim>1], weight_decay=.1), dict(params=[p for p in theirs.model.parameters() if p.ndim<2], weight_decay=0.)], lr=1e-2, betas=(.9,.999), eps=1e-8).step()
    for p,q in zip(ours.model.parameters(), theirs.model.parameters()): torch.testing.assert_close(p, q, atol=1e-5, rtol=1e-4)

def test_new_weights_inside_the_base_belong_to_the_head(in_tmp): # a checkpoint without pooler, as masked-LM training leaves it
    model = small_bert(400)
    transformers.BertForMaskedLM(model.config).save_pretrained('mlm')
    word_tokenizer('input_ids','attention_mask').save_pretrained('mlm')
    learn = learner('single', in_tmp/'mlm')
    head = {'bert.pooler.dense.weight','bert.pooler.dense.bias','classifier.weight','classifier.bias'}
    assert learn.model.new_weights==head
    for splitter in SPLITTERS: assert names_of(learn.model, splitter(learn.model))[-1]==head
    learn.freeze()
    assert {n for n,p in learn.model.named_parameters() if p.requires_grad}==head

def test_state_of_the_optimizer_is_saved_and_loaded(bert, in_tmp):
    a = learner('single', bert, path=in_tmp)
    with a.no_bar(), a.no_logging(): a.fit_one_cycle(1, 1e-3)
    a.save('m')
    b = learner('single', bert, path=in_tmp).load('m')
    for p,q in zip(a.model.parameters(), b.model.parameters()):
        assert torch.equal(p, q)
        assert torch.equal(a.opt.opt.state[p]['exp_avg'], b.opt.opt.state[q]['exp_avg'])

def test_the_state_of_a_head_that_was_exchanged_is_loaded(bert, in_tmp):
    "Into the optimizer of a learner that had one before it was exchanged, as after `lr_find`."
    def exchanged():
        learn = learner('single', bert, path=in_tmp)
        learn.create_opt()
        learn.model.classifier = torch.nn.Linear(learn.model.config.hidden_size, 3)
        return learn
    a,b = exchanged(),exchanged()
    with a.no_bar(), a.no_logging(), pytest.warns(UserWarning, match='the optimizer begins anew'): a.fit(1, 1e-3)
    a.save('m')
    b.load('m')
    b.need_opt()
    for p,q in zip(a.model.parameters(), b.model.parameters()): assert torch.equal(a.opt.opt.state[p]['exp_avg'], b.opt.opt.state[q]['exp_avg'])

@pytest.mark.parametrize('splitter', [transformer_splitter, layerwise_splitter])
def test_a_frozen_model_is_told(splitter, bert):
    model = learner('single', bert).model.requires_grad_(False)
    with pytest.raises(ValueError, match='all parameters of this model are frozen'): splitter(model)
