"LoRA and its kin in any learner: what is trained, what is saved, and that the base is left as it was."
import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import transformers
from blurlike.all import Checkpoints, TransformersLearner, layerwise_splitter, masked_lm_learner, set_seed, token_classification_learner
from peft import IA3Config, LoraConfig
from runs import WORDS, Cut
from small import ARCHS, TEXTS, changed, close, in_tmp, learner, weights # noqa: F401
from test_checkpoints import Stop, equal, quiet

pytestmark = pytest.mark.usefixtures('in_tmp')

def lora(**kwargs): return LoraConfig(**dict(r=2, target_modules='all-linear', init_lora_weights=False) | kwargs)
def adapted(checkpoint, **kwargs): return learner('single', checkpoint, **dict(peft=lora()) | kwargs)
def is_adapter(n): return 'lora_' in n or 'ia3_' in n
def folder_size(folder): return sum(p.stat().st_size for p in Path(folder).rglob('*') if p.suffix=='.safetensors')

@pytest.mark.parametrize('arch', ARCHS)
def test_families(arch, checkpoints):
    "Only adapters and head are trained, in groups; merged and alone they predict the same after reloading"
    learn = adapted(checkpoints(arch))
    trained = {n for n,p in learn.model.named_parameters() if p.requires_grad}
    head = {n for n in trained if not is_adapter(n)}
    assert any(map(is_adapter, trained)) and head and not any(o in n.replace('base_layer.', '') for n in head for o in ('layer.','layers.','encoder.','h.0','.h.1'))
    groups = layerwise_splitter(learn.model)
    ids = [id(p) for g in groups for p in g]
    assert sorted(ids)==sorted({id(p) for n,p in learn.model.named_parameters() if n in trained}) and head<={n for n,p in learn.model.named_parameters() if any(p is q for q in groups[-1])}
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
    assert torch.equal(again.predict_logits(TEXTS[:8]), logits) and {n for n,p in again.model.named_parameters() if p.requires_grad}==trained
    assert not (Path('alone')/'model.safetensors').exists()

@pytest.mark.parametrize('make,items', [(lambda c,**k: token_classification_learner(WORDS, c, bs=8, **k), WORDS.tokens.tolist()[:4]), (lambda c,**k: masked_lm_learner(pd.DataFrame(dict(text=TEXTS)), c, bs=8, **k), ['the [MASK] was here'])], ids=['tags','gaps'])
def test_other_tasks(make, items, bert):
    learn = make(bert, peft=lora(target_modules=['query','value']))
    quiet(learn, lambda: learn.fit(1, 1e-3))
    for merge in (True, False):
        again = TransformersLearner.from_pretrained(learn.save_pretrained(f'm{merge}', merge=merge))
        ours,theirs = (json.loads(json.dumps(o.predict_batch(items))) for o in (learn, again))
        assert [[d.get('token_str', d.get('entity_group')) for d in row] for row in ours]==[[d.get('token_str', d.get('entity_group')) for d in row] for row in theirs]

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
    assert any(map(is_adapter, changed(learn.model, before))) and not any('embeddings' in n for n in changed(learn.model, before))

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
    with pytest.raises(FileNotFoundError, match='base'): TransformersLearner.from_pretrained('alone')
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

@pytest.mark.parametrize('arch', ['bert','roberta','deberta','gpt2','bart','modernbert'])
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
