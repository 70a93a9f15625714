"Parameter groups and the optimizer, on several architectures."
import pytest
import torch
import transformers
from blurlike.all import adamw, label_maps, layerwise_splitter, load_model, load_tokenizer, transformer_splitter
from conftest import TINY

@pytest.fixture
def model(architecture):
    tok = load_tokenizer(architecture[1])
    return load_model(architecture[1], 'AutoModelForSequenceClassification', tok, label_maps('abc'))

def names(model, group): return {n for n,p in model.named_parameters() if any(p is q for q in group)}

@pytest.mark.filterwarnings('ignore:The tokenizer has no pad token')
@pytest.mark.parametrize('splitter', [transformer_splitter, layerwise_splitter])
def test_each_parameter_once_and_the_head_last(model, splitter):
    groups = splitter(model)
    flat = [id(p) for g in groups for p in g]
    assert all(len(g) for g in groups) and len(flat)==len(set(flat)) and set(flat)=={id(p) for p in model.parameters() if p.requires_grad}
    prefix = model.base_model_prefix+'.'
    assert names(model, groups[-1])=={n for n in model.new_weights} | {n for n,_ in model.named_parameters() if not n.startswith(prefix)}
    tables = {n+'.weight' for n,m in model.named_modules() if isinstance(m, torch.nn.Embedding)} & {n for n,_ in model.named_parameters()}
    assert tables<=names(model, groups[0]) | names(model, groups[-1])

@pytest.mark.filterwarnings('ignore:The tokenizer has no pad token')
def test_layers_in_order(model):
    groups = layerwise_splitter(model)
    where = {n:i for i,g in enumerate(groups) for n in names(model, g)}
    layers = {}
    for n,i in where.items():
        parts = n.split('.')
        for k,part in enumerate(parts):
            if part.isdigit() and k and parts[k-1] in ('layer','layers','h'): layers.setdefault('.'.join(parts[:k]), {})[int(part)] = i
    assert layers
    for stack in layers.values(): assert [stack[i] for i in sorted(stack)]==list(range(stack[0], stack[0]+len(stack)))

@pytest.mark.parametrize('cls,config', [(transformers.BertForMaskedLM, transformers.BertConfig(vocab_size=50, **TINY)), (transformers.GPT2LMHeadModel, transformers.GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=2)),
    (transformers.BartForConditionalGeneration, transformers.BartConfig(vocab_size=50, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=37, decoder_ffn_dim=37))])
def test_tied_weights_are_in_one_group(cls, config):
    model = cls(config)
    flat = [id(p) for g in transformer_splitter(model) for p in g]
    assert len(flat)==len(set(flat))==len(list(model.parameters()))
    table = model.get_input_embeddings().weight
    assert table is model.get_output_embeddings().weight and any(table is p for p in transformer_splitter(model)[0])

def test_frozen_parameters_are_left_out(checkpoint):
    model = transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=50, **TINY))
    for p in model.bert.embeddings.parameters(): p.requires_grad_(False)
    flat = [p for g in transformer_splitter(model) for p in g]
    assert len(flat)==len(set(flat)) and all(p.requires_grad for p in flat)

def test_more_groups_than_layers():
    model = transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=50, **TINY))
    assert len(transformer_splitter(model, 2))==2 and len(transformer_splitter(model, 50))==4

def test_one_step_equals_torch():
    make = lambda: (torch.manual_seed(0), transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=50, **TINY)))[1]
    ours,theirs = make(),make()
    opt = adamw(transformer_splitter(ours), lr=1e-2, wd=0.1)
    params = list(theirs.parameters())
    ref = torch.optim.AdamW([dict(params=[p for p in params if p.ndim>1], weight_decay=0.1), dict(params=[p for p in params if p.ndim<2], weight_decay=0.)], lr=1e-2, betas=(0.9,0.999), eps=1e-8)
    for _ in range(3):
        torch.manual_seed(1)
        for p,q in zip(ours.parameters(), params): p.grad = torch.randn_like(p); q.grad = p.grad.clone()
        opt.step(); ref.step()
    assert all(torch.allclose(p, q, atol=1e-6) for p,q in zip(ours.parameters(), params))

def test_state_of_the_optimizer_is_saved_and_loaded(make, tmp_path):
    a = make('single', path=tmp_path)
    with a.no_bar(), a.no_logging(): a.fit_one_cycle(1, 1e-3)
    a.save('m')
    b = make('single', path=tmp_path).load('m')
    for p,q in zip(a.model.parameters(), b.model.parameters()):
        assert torch.equal(p, q) and torch.equal(a.opt.opt.state[p]['exp_avg'], b.opt.opt.state[q]['exp_avg'])
