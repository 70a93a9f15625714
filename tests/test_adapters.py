"LoRA and its kin in any learner: what is trained, what is saved, and that the base is left as it was."
import json
import warnings
from pathlib import Path

import pandas as pd
import peft
import pytest
import torch
import transformers
from blurlike.all import Checkpoints, TransformersLearner, layerwise_splitter, masked_lm_learner, set_seed, token_classification_learner
from peft import IA3Config, LoraConfig
from runs import WORDS, Cut
from safetensors.torch import load_file
from small import ARCH, ARCHS, FRAMES, TEXTS, changed, close, first, learner, weights
from test_checkpoints import Stop, equal, quiet

pytestmark = pytest.mark.usefixtures('in_tmp')

def lora(**kwargs): return LoraConfig(**dict(r=2, target_modules='all-linear', init_lora_weights=False) | kwargs)
def adapted(checkpoint, **kwargs): return learner('single', checkpoint, **dict(peft=lora()) | kwargs)
def is_adapter(n): return 'lora_' in n or 'ia3_' in n
def folder_size(folder): return sum(p.stat().st_size for p in Path(folder).rglob('*') if p.suffix=='.safetensors')

@pytest.mark.parametrize('arch', first(ARCHS))
def test_families(arch, checkpoints):
    "Only adapters and head are trained, in groups; merged and alone they predict the same after reloading"
    learn = adapted(checkpoints(arch))
    trained = {n for n,p in learn.model.named_parameters() if p.requires_grad}
    head = {n for n in trained if not is_adapter(n)}
    assert any(map(is_adapter, trained)) and head
    assert not any(o in n.replace('base_layer.', '') for n in head for o in ('layer.','layers.','encoder.','h.0','.h.1'))
    groups = layerwise_splitter(learn.model)
    ids = [id(p) for g in groups for p in g]
    assert sorted(ids)==sorted({id(p) for n,p in learn.model.named_parameters() if n in trained})
    assert head<={n for n,p in learn.model.named_parameters() if any(p is q for q in groups[-1])}
    before = weights(learn.model)
    quiet(learn, lambda: learn.fit_one_cycle(1, slice(1e-3, 1e-2)))
    assert changed(learn.model, before)==trained
    logits,now = learn.predict_logits(TEXTS[:8]),weights(learn.model)
    learn.save_pretrained('merged')
    assert not changed(learn.model, now) and {n for n,p in learn.model.named_parameters() if p.requires_grad}==trained # saving leaves no trace
    close(TransformersLearner.from_pretrained('merged').predict_logits(TEXTS[:8]), logits, 1e-4)
    plain = transformers.AutoModelForSequenceClassification.from_pretrained('merged')
    assert not any(is_adapter(n) or 'base_layer' in n for n,_ in plain.named_parameters())
    learn.save_pretrained('alone', merge=False)
    again = TransformersLearner.from_pretrained('alone')
    assert torch.equal(again.predict_logits(TEXTS[:8]), logits)
    assert {n for n,p in again.model.named_parameters() if p.requires_grad}==trained
    assert not (Path('alone')/'model.safetensors').exists()

@pytest.mark.parametrize('make,items', [(lambda c,**k: token_classification_learner(WORDS, c, bs=8, **k), WORDS.tokens.tolist()[:4]), (lambda c,**k: masked_lm_learner(pd.DataFrame(dict(text=TEXTS)), c, bs=8, **k), ['the [MASK] was here'])], ids=['tags','gaps'])
def test_other_tasks(make, items, bert):
    learn = make(bert, peft=lora(target_modules=['query','value']))
    quiet(learn, lambda: learn.fit(1, 1e-3))
    for merge in (True, False):
        again = TransformersLearner.from_pretrained(learn.save_pretrained(f'm{merge}', merge=merge))
        ours,theirs = (json.loads(json.dumps(o.predict_batch(items))) for o in (learn, again))
        assert [[d.get('token_str', d.get('entity_group')) for d in row] for row in ours]==[[d.get('token_str', d.get('entity_group')) for d in row] for row in theirs]

def test_one_config_for_several_models(bert, checkpoints):
    "peft writes the layers that it found into the config that it is given: in each model they are found anew."
    config = lora()
    before = config.to_dict()
    def layers(**kwargs): return {n.split('.lora_')[0] for n,p in adapted(peft=config, **kwargs).model.named_parameters() if p.requires_grad and is_adapter(n)}
    two,four,other = layers(checkpoint=bert),layers(checkpoint=bert, model_kwargs=dict(num_hidden_layers=4)),layers(checkpoint=checkpoints('distilbert'))
    assert config.to_dict()==before
    assert [len({n.split('.layer.')[1][0] for n in names if '.layer.' in n}) for names in (two,four,other)]==[2,4,2]

def test_another_kind(bert):
    learn = adapted(bert, peft=IA3Config(target_modules=['key','value','output.dense'], feedforward_modules=['output.dense']))
    quiet(learn, lambda: learn.fit(1, 1e-2))
    close(TransformersLearner.from_pretrained(learn.save_pretrained('m')).predict_logits(TEXTS[:4]), learn.predict_logits(TEXTS[:4]), 1e-4)

def test_freeze(bert):
    learn = adapted(bert)
    learn.freeze()
    assert not any(is_adapter(n) for n,p in learn.model.named_parameters() if p.requires_grad and not n.startswith('classifier'))
    learn.unfreeze()
    before = weights(learn.model)
    quiet(learn, lambda: learn.fit(1, 1e-2))
    assert any(map(is_adapter, changed(learn.model, before)))
    assert not any('embeddings' in n for n in changed(learn.model, before))

def test_alone_is_small_and_trains_on(bert):
    learn = adapted(bert)
    learn.save_pretrained('merged')
    learn.save_pretrained('alone', merge=False)
    assert folder_size('alone')<folder_size('merged')/3
    again = TransformersLearner.from_pretrained('alone')
    again.dls = learn.dls
    before = weights(again.model)
    quiet(again, lambda: again.fit(1, 1e-2))
    assert changed(again.model, before)=={n for n,p in learn.model.named_parameters() if p.requires_grad}
    third = TransformersLearner.from_pretrained(again.save_pretrained('again', merge=False))
    assert torch.equal(third.predict_logits(TEXTS[:4]), again.predict_logits(TEXTS[:4]))

@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_comes_back(dtype, bert):
    learn = adapted(bert, model_kwargs=dict(dtype=dtype))
    again = TransformersLearner.from_pretrained(learn.save_pretrained('alone', merge=False))
    assert {p.dtype for p in again.model.parameters()}=={dtype} and torch.equal(again.predict_logits(TEXTS[:4]), learn.predict_logits(TEXTS[:4]))
    assert TransformersLearner.from_pretrained('alone', model_kwargs=dict(dtype=torch.float32)).model.dtype is torch.float32
    merged = TransformersLearner.from_pretrained(learn.save_pretrained('merged'))
    assert merged.model.dtype is dtype and torch.allclose(merged.predict_logits(TEXTS[:4]), learn.predict_logits(TEXTS[:4]), atol=.05) # the sum is rounded

def test_loaded_adapters_are_merged_too(bert):
    learn = adapted(bert)
    quiet(learn, lambda: learn.fit(1, 1e-2))
    learn.save_pretrained('alone', merge=False)
    again = TransformersLearner.from_pretrained('alone')
    merged = TransformersLearner.from_pretrained(again.save_pretrained('merged')) # the weights have the model's names, not those of peft's files
    assert torch.allclose(merged.predict_logits(TEXTS[:4]), learn.predict_logits(TEXTS[:4]), atol=1e-5)

def test_a_base_that_has_moved(bert, tmp_path):
    import shutil
    moved = Path(shutil.copytree(bert, tmp_path/'base'))
    learn = adapted(moved)
    learn.save_pretrained('alone', merge=False)
    logits = learn.predict_logits(TEXTS[:4])
    moved.rename(tmp_path/'elsewhere')
    with pytest.raises(FileNotFoundError, match='adapters alone.*does not exist.*pass base='): TransformersLearner.from_pretrained('alone')
    assert torch.equal(TransformersLearner.from_pretrained('alone', base=tmp_path/'elsewhere').predict_logits(TEXTS[:4]), logits)

def test_damaged(bert, checkpoints):
    folder = adapted(bert).save_pretrained('alone', merge=False)
    with pytest.raises((ValueError, RuntimeError, KeyError), match='.'): TransformersLearner.from_pretrained(folder, base=checkpoints('gpt2'))
    data = bytearray((folder/'head.safetensors').read_bytes())
    data[-3] ^= 1
    (folder/'head.safetensors').write_bytes(data)
    with pytest.raises(ValueError, match='head.safetensors.*not as it was saved'): TransformersLearner.from_pretrained(folder)

def test_resumed(bert, tmp_path):
    def make():
        set_seed(3)
        learn = adapted(bert)
        learn.add_cb(Cut('never', 1))
        return learn
    whole = make()
    quiet(whole, lambda: whole.fit_one_cycle(1, 1e-2))
    cut = make()
    cut.remove_cb(Cut)
    cut.add_cb(Cut('after_batch', 5, Stop('x')))
    with pytest.raises(Stop): quiet(cut, lambda: cut.fit_one_cycle(1, 1e-2, cbs=Checkpoints(tmp_path/'run', steps=2)))
    again = make()
    quiet(again, lambda: again.resume(tmp_path/'run'))
    assert equal(weights(again.model), weights(whole.model))

@pytest.mark.parametrize('arch', first(['bert','gpt2','roberta','deberta','bart','modernbert'], 2))
def test_gradient_checkpointing(arch, checkpoints):
    "The same losses and weights, from activations that are computed again"
    found = []
    for on in (False, True):
        set_seed(4)
        learn = learner('single', checkpoints(arch), gradient_checkpointing=on)
        assert learn.model.is_gradient_checkpointing==on
        quiet(learn, lambda: learn.fit(1, 1e-3))
        found.append(learn)
    close(torch.tensor(found[1].recorder.losses), torch.tensor(found[0].recorder.losses), 1e-5)
    for p,q in zip(found[0].model.parameters(), found[1].model.parameters()): close(p, q, 1e-5)

def test_with_adapters_and_checkpointing(bert):
    learn = adapted(bert, gradient_checkpointing=True)
    before = weights(learn.model)
    quiet(learn, lambda: learn.fit(1, 1e-2))
    assert sum(map(is_adapter, changed(learn.model, before)))>10

@pytest.mark.parametrize('how', ['eager','sdpa'])
def test_attention_can_be_chosen(how, bert):
    assert learner('single', bert, model_kwargs=dict(attn_implementation=how)).model.config._attn_implementation==how

# --- each setting: equal predictions after reloading, or refused when the learner is made

def kind(**kwargs): return LoraConfig(**dict(r=2, target_modules=['query','value'], init_lora_weights=False) | kwargs)
ONE = dict(target_modules=['query'])
SETTINGS = dict(module=lambda: kind(modules_to_save=['pooler']), head=lambda: kind(modules_to_save=['classifier']), table=lambda: kind(modules_to_save=['word_embeddings']), biases=lambda: kind(bias='all'), lora_biases=lambda: kind(bias='lora_only'),
    rows=lambda: kind(trainable_token_indices=[5,6,7,20]), rows_alone=lambda: peft.TrainableTokensConfig(token_indices=[5,6,7,20]), parameter=lambda: kind(target_modules=[], target_parameters=['encoder.layer.0.attention.self.query.weight']),
    ia3=lambda: IA3Config(target_modules=['key','value','output.dense'], feedforward_modules=['output.dense']), ia3_module=lambda: IA3Config(target_modules=['key'], feedforward_modules=[], modules_to_save=['pooler']),
    dora=lambda: kind(use_dora=True), on_table=lambda: kind(target_modules=['word_embeddings','query']), on_head=lambda: kind(target_modules=['query','classifier']), pissa=lambda: kind(init_lora_weights='pissa_niter_4'),
    loha=lambda: peft.LoHaConfig(r=2, **ONE), lokr=lambda: peft.LoKrConfig(r=2, **ONE), adalora=lambda: peft.AdaLoraConfig(total_step=100, **ONE), oft=lambda: peft.OFTConfig(oft_block_size=4, **ONE), norms=lambda: peft.LNTuningConfig(target_modules=['LayerNorm']),
    typed=lambda: kind(task_type='SEQ_CLS'), both=lambda: kind(bias='all', modules_to_save=['pooler'], trainable_token_indices=[5]))

def reloads(learn, items, name='m'):
    "Saved merged and alone it predicts the same, and so does the learner that was saved; what is trained is as before."
    want,trained = learn.predict_batch(items),{n for n,p in learn.model.named_parameters() if p.requires_grad}
    for merge in (True, False):
        again = TransformersLearner.from_pretrained(learn.save_pretrained(f'{name}{merge}', merge=merge))
        assert alike(again.predict_batch(items), want, 1e-5 if merge else 1e-7)
        assert alike(learn.predict_batch(items), want, 1e-6)
        assert {n for n,p in learn.model.named_parameters() if p.requires_grad}==trained
        names = set(load_file(Path(f'{name}True')/'model.safetensors'))
        assert not any(s in n for n in names for s in ('base_layer','modules_to_save','original_module','token_adapter'))
        if not merge: assert {n for n,p in again.model.named_parameters() if p.requires_grad}==trained
    return again

def alike(a, b, tol):
    if isinstance(a, dict): return a.keys()==b.keys() and all(alike(a[k], b[k], tol) for k in a)
    if isinstance(a, (list, tuple)): return len(a)==len(b) and all(alike(x, y, tol) for x,y in zip(a, b))
    return a==pytest.approx(b, abs=tol)

@pytest.mark.parametrize('name', first(SETTINGS, 6))
def test_settings(name, bert):
    learn = learner('single', bert, peft=SETTINGS[name]())
    before = weights(learn.model)
    trained = {n for n,p in learn.model.named_parameters() if p.requires_grad}
    quiet(learn, lambda: learn.fit(1, 1e-2))
    assert changed(learn.model, before)<=trained and len(changed(learn.model, before))>=len(trained)-2
    again = reloads(learn, TEXTS[:6])
    if name not in ('module','biases','rows','dora'): return
    again.dls = learn.dls
    quiet(again, lambda: again.fit(1, 1e-2))
    reloads(again, TEXTS[:6], 'n') # trained on, and saved once more

@pytest.mark.parametrize('config', [lambda: peft.VeraConfig(r=2, **ONE), lambda: peft.PromptTuningConfig(task_type='SEQ_CLS', num_virtual_tokens=2), lambda: peft.PrefixTuningConfig(task_type='SEQ_CLS', num_virtual_tokens=2)], ids=['vera','prompt','prefix'])
def test_kinds_that_cannot_be_put_in_place(config, bert):
    with pytest.raises(ValueError, match='cannot be put into this model'): learner('single', bert, peft=config())

@pytest.mark.parametrize('given', [True, dict(r=8), 'lora', LoraConfig])
def test_a_config_of_adapters_is_one_of_peft(given, bert):
    with pytest.raises(TypeError, match=r"peft=.*: a configuration is expected, e.g. peft=LoraConfig\(target_modules='all-linear'\)"): learner('single', bert, peft=given)

@pytest.mark.parametrize('arch,names', [('bert', "'query', 'key', 'value', 'dense'"), ('gpt2', "'c_attn', 'c_proj', 'c_fc'")])
def test_modules_that_are_not_there(arch, names, checkpoints):
    with pytest.raises(ValueError, match=f"not found.* Here they are called {names}.*'all-linear'"): learner('single', checkpoints(arch), peft=LoraConfig(target_modules=['q_proj']))

def gap_learner(bert, config, **kwargs): return masked_lm_learner(pd.DataFrame(dict(text=TEXTS)), bert, bs=8, valid=.25, peft=config, **kwargs)

@pytest.mark.parametrize('kwargs', [dict(target_modules=['word_embeddings']), dict(target_modules=['decoder']), dict(modules_to_save=['word_embeddings']), dict(modules_to_save=['word_embeddings'], ensure_weight_tying=True), dict(modules_to_save=['cls'])], ids=str)
def test_shared_weights_are_not_parted(kwargs, bert):
    with pytest.raises(ValueError, match='shares its weights with'): gap_learner(bert, kind(**kwargs))

@pytest.mark.parametrize('kwargs', [{}, dict(target_modules='all-linear'), dict(bias='all'), dict(trainable_token_indices=[5,6,7,20]), dict(target_modules=['query','transform.dense'])], ids=str)
def test_settings_of_gap_fillers(kwargs, bert):
    learn = gap_learner(bert, kind(**kwargs))
    quiet(learn, lambda: learn.fit(1, 1e-2))
    reloads(learn, ['the [MASK] was here','a film [MASK]'])

@pytest.mark.parametrize('arch,kwargs', [('gpt2', dict(modules_to_save=['ln_f'], trainable_token_indices=[5,6])), ('gpt2', dict(target_modules=['wte'])), *(pytest.param(*o, marks=pytest.mark.slow) for o in (('bart', dict(modules_to_save=['classification_head'])), ('modernbert', dict(bias='all', modules_to_save=['head']))))])
def test_settings_of_other_families(arch, kwargs, checkpoints):
    learn = learner('single', checkpoints(arch), peft=kind(**dict(target_modules='all-linear') | kwargs))
    quiet(learn, lambda: learn.fit(1, 1e-2))
    reloads(learn, TEXTS[:4])

@pytest.mark.parametrize('active', ['second', ['default','second']], ids=str)
def test_two_adapters(active, bert):
    learn = learner('single', bert, peft=kind())
    learn.model.add_adapter(kind(r=4, target_modules=['key','query']), 'second')
    learn.model.set_adapter(active)
    quiet(learn, lambda: learn.fit(1, 1e-2))
    again = reloads(learn, TEXTS[:4])
    assert set(again.model.peft_config)=={'default','second'}
    assert again.model.active_adapters()==learn.model.active_adapters()
    for o in (again, learn): o.model.set_adapter('default')
    assert torch.equal(again.predict_logits(TEXTS[:4]), learn.predict_logits(TEXTS[:4]))

def test_what_was_frozen_after_training_is_saved(bert):
    learn = learner('single', bert, peft=kind(bias='all'))
    quiet(learn, lambda: learn.fit(1, 1e-2))
    learn.freeze()
    assert torch.equal(TransformersLearner.from_pretrained(learn.save_pretrained('m', merge=False)).predict_logits(TEXTS[:4]), learn.predict_logits(TEXTS[:4]))

def trained_first(bert, how):
    first = learner('single', bert, peft=kind() if how=='adapted learner' else None)
    quiet(first, lambda: first.fit(1, 1e-2))
    return first if 'learner' in how else first.model

@pytest.mark.parametrize('how', ['learner','model','adapted learner'])
def test_adapters_on_what_was_trained_before(how, bert):
    first = trained_first(bert, how)
    want = (first if 'learner' in how else learner('single', first)).predict_logits(TEXTS[:4])
    learn = learner('single', first, peft=LoraConfig(r=2, target_modules=['query']))
    close(learn.predict_logits(TEXTS[:4]), want) # an adapter begins as nothing
    quiet(learn, lambda: learn.fit(1, 1e-2))
    reloads(learn, TEXTS[:4])

def test_a_model_that_came_with_an_adapter(bert):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(bert, num_labels=3)
    model.add_adapter(kind(modules_to_save=['classifier']), 'mine')
    learn = learner('single', model)
    quiet(learn, lambda: learn.fit(1, 1e-2))
    reloads(learn, TEXTS[:4])

def test_another_base_is_told(bert, tmp_path):
    import shutil
    moved = Path(shutil.copytree(bert, tmp_path/'base'))
    learn = adapted(moved)
    learn.save_pretrained('alone', merge=False)
    model = transformers.AutoModel.from_pretrained(moved)
    model.encoder.layer[0].output.dense.weight.data += .1
    model.save_pretrained(moved)
    with pytest.raises(ValueError, match='other weights than when they were trained'): TransformersLearner.from_pretrained('alone')

@pytest.mark.parametrize('task', ['labels','gaps'])
@pytest.mark.parametrize('rows', [True, False])
def test_added_tokens_under_adapters(rows, task, bert):
    tok = transformers.AutoTokenizer.from_pretrained(bert)
    tok.add_tokens(['<x>'])
    config = kind(trainable_token_indices=[len(tok)-1]) if rows else kind()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        learn = learner('single', bert, FRAMES['single'].assign(text=[f'{t} <x>' for t in TEXTS]), peft=config, tokenizer=tok) if task=='labels' else gap_learner(bert, config, tokenizer=tok)
    assert any('stay as they start' in str(w.message) for w in said)==(not rows)
    quiet(learn, lambda: learn.fit(1, 1e-2))
    reloads(learn, ['<x> film','<x>'] if task=='labels' else ['the <x> [MASK]'])

@pytest.mark.parametrize('name', first(['rows','module','biases','dora']))
def test_resumed_settings(name, bert):
    def make():
        set_seed(3)
        return learner('single', bert, peft=SETTINGS[name](), cbs=Cut('never', 1))
    whole = make()
    quiet(whole, lambda: whole.fit(1, 1e-2))
    cut = make()
    cut.remove_cb(Cut)
    with pytest.raises(Stop): quiet(cut, lambda: cut.fit(1, 1e-2, cbs=[Checkpoints('run', steps=2), Cut('after_batch', 5, Stop('x'))]))
    again = make()
    quiet(again, lambda: again.resume('run'))
    assert equal(weights(again.model), weights(whole.model))

@pytest.mark.parametrize('kind', first(['single','prompts','summaries']))
def test_a_wrapped_model_is_refused_with_the_way(kind, checkpoints, in_tmp):
    "Its folder would have no config, and its base would be taken for its body."
    task = dict(single='SEQ_CLS', prompts='CAUSAL_LM', summaries='SEQ_2_SEQ_LM')[kind]
    plain = learner(kind, checkpoints(ARCH[kind]))
    wrapped = peft.get_peft_model(plain.model, LoraConfig(task_type=task, target_modules=['q_proj','v_proj'] if kind!='single' else ['query','value']))
    with pytest.raises(ValueError, match='Peft.* is wrapped around a model: pass that one itself, and the adapter as peft='):
        learner(kind, wrapped, tokenizer=plain.dls.tokenizer)
    before,plain.model = plain.model,wrapped
    for fit in (plain.fit_one_cycle, plain.fine_tune):
        with pytest.raises(ValueError, match='Peft.* is wrapped around a model'): fit(1)
    plain.model = before
    merged = learner(kind, wrapped.merge_and_unload().requires_grad_(True), tokenizer=plain.dls.tokenizer)
    with merged.no_bar(), merged.no_logging(): merged.fit(1, 1e-3)
    merged.save_pretrained('merged')
    assert TransformersLearner.from_pretrained('merged').model.num_parameters()==checkpoint_size(plain.model)

def checkpoint_size(model): return sum(p.numel() for n,p in model.named_parameters() if 'lora' not in n)

@pytest.mark.parametrize('make', ['fresh','loaded','resumed'])
def test_predictions_are_without_the_dropout_of_adapters(make, bert):
    "peft's modules come in training mode into a model that predicts"
    def new(): return adapted(bert, peft=lora(lora_dropout=.5))
    learn = new()
    quiet(learn, lambda: learn.fit(1, 1e-2, cbs=Checkpoints('run')))
    learn.save('tmp')
    want,again = learn.predict_logits(TEXTS),new()
    if make=='loaded': again.load('tmp')
    if make=='resumed': quiet(again, lambda: again.resume('run'))
    one,two = again.predict_logits(TEXTS),again.predict_logits(TEXTS)
    assert one.equal(two)
    if make!='fresh': close(one, want)

def test_an_error_while_merging_leaves_the_model_as_it_was(bert, monkeypatch):
    learn = learner('single', bert, peft=LoraConfig(target_modules='all-linear', r=2))
    before,calls = weights(learn.model),[]
    merge = peft.tuners.lora.Linear.merge
    def fails(self, *args, **kwargs):
        calls.append(self)
        if len(calls)==3: raise MemoryError('no room')
        return merge(self, *args, **kwargs)
    with monkeypatch.context() as m:
        m.setattr(peft.tuners.lora.Linear, 'merge', fails)
        with pytest.raises(MemoryError): learn.save_pretrained('m')
    assert not any(m.merged for m in calls) and not changed(learn.model, before) and not Path('m').exists()
    learn.save_pretrained('m')
    close(TransformersLearner.from_pretrained('m').predict_logits(TEXTS[:3]), learn.predict_logits(TEXTS[:3]), 1e-5)

def test_the_base_is_not_saved_over(bert, in_tmp):
    learner('single', bert).save_pretrained('base')
    learn = adapted('base')
    Path('link').symlink_to('base')
    for folder in ('base','link', in_tmp/'base'):
        with pytest.raises(ValueError, match='holds the checkpoint under these adapters'): learn.save_pretrained(folder, merge=False)
    learn.save_pretrained('alone', merge=False)
    with pytest.raises(ValueError, match='holds the checkpoint'): TransformersLearner.from_pretrained('alone').save_pretrained('base', merge=False)
    assert TransformersLearner.from_pretrained('base').predict(TEXTS[0])

def test_the_base_is_found_from_another_folder(bert, in_tmp, monkeypatch):
    learner('single', bert).save_pretrained('base')
    learn = adapted('base')
    Path('elsewhere').mkdir()
    monkeypatch.chdir('elsewhere')
    learn.save_pretrained('../alone', merge=False)
    assert TransformersLearner.from_pretrained('../alone').predict_batch(TEXTS)==learn.predict_batch(TEXTS)

def test_a_pickle_that_tells_no_shapes_of_its_base(bert):
    learn = adapted(bert)
    want = learn.predict_logits(TEXTS[:2])
    del learn.model.base_shapes
    close(TransformersLearner.from_pretrained(learn.save_pretrained('alone', merge=False)).predict_logits(TEXTS[:2]), want)
