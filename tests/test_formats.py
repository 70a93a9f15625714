"Folders of other versions, and folders that somebody has tampered with: what the user sees, and that nothing of them is run."
import json,shutil
from pathlib import Path

import pytest
import torch
from blurlike.all import TransformersLearner, token_classification_learner
from blurlike.support.files import file_hash, json_hash
from blurlike.save.folder_check import check_folder
from blurlike.save.saved_facts import FORMAT, read_facts
from runs import WORDS, gaps
from safetensors.torch import load_file, save_file
from small import close, learner

pytestmark = pytest.mark.usefixtures('in_tmp')
SAVED = Path(__file__).parent/'saved'

@pytest.mark.parametrize('version', range(1, FORMAT+1))
@pytest.mark.parametrize('name', ['single','multi','regression','tags','masked_lm'])
def test_folders_of_each_version(version, name):
    "They load, predict what they did, and can be saved anew"
    folder,want = SAVED/f'format_{version}'/name,json.loads((SAVED/f'format_{version}'/'predictions.json').read_text())[name]
    assert read_facts(folder)['format_version']==version
    learn = TransformersLearner.from_pretrained(folder)
    same(learn.predict_batch(want['items']), want['predictions'])
    again = TransformersLearner.from_pretrained(learn.save_pretrained('new'))
    assert read_facts(Path('new'))['format_version']==FORMAT
    assert again.predict_batch(want['items'])==learn.predict_batch(want['items'])

def same(a, b):
    if isinstance(a, dict):
        assert a.keys()==b.keys()
        for k in a: same(a[k], b[k])
    elif isinstance(a, list):
        assert len(a)==len(b)
        for x,y in zip(a, b): same(x, y)
    elif isinstance(a, float): close(a, b)
    else: assert a==b

def facts(folder): return json.loads((folder/'blurlike.json').read_text())
def write(folder, **kwargs): # who tampers may write sums too
    told = {k:v for k,v in (facts(folder) | kwargs).items() if k!='facts_sha256'}
    (folder/'blurlike.json').write_text(json.dumps(told | dict(facts_sha256=json_hash(told))))
def rehash(folder): write(folder, sha256={p.name:file_hash(p) for p in folder.iterdir() if p.name!='blurlike.json'})
def config(folder, file='config.json', **kwargs):
    (folder/file).write_text(json.dumps(json.loads((folder/file).read_text()) | kwargs))
    rehash(folder)
def weights(folder, f):
    tensors = f(load_file(folder/'model.safetensors'))
    save_file(tensors, folder/'model.safetensors', metadata=dict(format='pt'))
    rehash(folder)
def cut_short(folder, name, n): (folder/name).write_bytes((folder/name).read_bytes()[:n])
def evil_module(folder):
    (folder/'evil.py').write_text("import os\nos.mkdir('evil')\nfrom transformers import BertConfig as Config\n")
    config(folder, model_type='evil', auto_map=dict(AutoConfig='evil.Config', AutoModelForSequenceClassification='evil.Model'))
def evil_tokenizer(folder):
    (folder/'evil.py').write_text("import os\nos.mkdir('evil')\n")
    config(folder, 'tokenizer_config.json', tokenizer_class='Evil', auto_map=dict(AutoTokenizer=['evil.Evil', None]))
def only_pickle(folder):
    torch.save(load_file(folder/'model.safetensors'), folder/'pytorch_model.bin')
    (folder/'model.safetensors').unlink()
    rehash(folder)

ATTACKS = dict(
    newer=(lambda f: write(f, format_version=FORMAT+1), f'format version {FORMAT+1}.*upgrade'),
    no_version=(lambda f: write(f, format_version='2'), "format version '2'"),
    another_format=(lambda f: write(f, format='pickle'), "does not describe a saved learner.*pickle"),
    unknown_key=(lambda f: write(f, run='rm -rf'), f"not of format version {FORMAT}.*'run' is unknown"),
    missing_key=(lambda f: (f/'blurlike.json').write_text(json.dumps({k:v for k,v in facts(f).items() if k!='bs'})), "'bs' is missing"),
    wrong_type=(lambda f: write(f, bs='16'), "'bs'.*'16'.*cannot be"),
    wrong_length=(lambda f: write(f, max_length=True), "'max_length'.*True"),
    swapped_labels=(lambda f: write(f, vocab=facts(f)['vocab'][::-1]), 'labels.*were changed after saving'),
    odd_labels=(lambda f: write(f, vocab=[['x']]), "'vocab'.*cannot be"),
    truncated_json=(lambda f: cut_short(f, 'blurlike.json', 200), 'blurlike.json.*is damaged'),
    truncated_weights=(lambda f: cut_short(f, 'model.safetensors', 5000), 'model.safetensors.*not as it was saved'),
    missing_tokenizer=(lambda f: (f/'tokenizer.json').unlink(), 'tokenizer.json.*not as it was saved'),
    missing_config=(lambda f: (f/'config.json').unlink(), 'config.json.*not as it was saved'),
    changed_config=(lambda f: (f/'config.json').write_text((f/'config.json').read_text().replace('gelu', 'relu')), 'config.json.*not as it was saved'),
    path_outside=(lambda f: write(f, sha256=facts(f)['sha256'] | {'../../etc/passwd':'0'}), 'names a file outside of itself'),
    absolute_path=(lambda f: write(f, sha256=facts(f)['sha256'] | {'/etc/passwd':'0'}), 'names a file outside of itself'),
    no_checksums=(lambda f: write(f, sha256={}), 'does not vouch for config.json'),
    added_file=(lambda f: (f/'adapter_config.json').write_text('{}'), 'adapter_config.json.*not saved with the learner'),
    code_for_the_model=(evil_module, 'config.json.*Python code.*trust_remote_code=True'),
    code_for_the_tokenizer=(evil_tokenizer, 'tokenizer_config.json.*Python code'),
    weights_as_pickle=(only_pickle, 'does not vouch for model.safetensors'),
    wrong_shape=(lambda f: weights(f, lambda t: t | {'classifier.weight':torch.zeros(7, 32)}), 'not complete.*classifier.weight'),
    a_weight_less=(lambda f: weights(f, lambda t: {k:v for k,v in t.items() if k!='classifier.bias'}), 'not complete.*classifier.bias'),
    a_weight_more=(lambda f: weights(f, lambda t: t | dict(extra=torch.zeros(2))), 'no place for.*extra'),
    label_names=(lambda f: config(f, id2label={'0':'a','1':'b','2':'c'}, label2id=dict(a=0, b=1, c=2)), "id2label in .*config.json.*'a'.*labels are.*'bad'"),
    an_argument=(lambda f: config(f, 'tokenizer_config.json', call_settings=dict(return_tensors='np')), "call_settings in tokenizer_config.json.*'np'"),
    an_odd_argument=(lambda f: config(f, 'tokenizer_config.json', call_settings=dict(add_special_tokens=0)), 'call_settings.*cannot be'),
    odd_arguments=(lambda f: config(f, 'tokenizer_config.json', call_settings=['verbose']), 'call_settings.*cannot be'),
    an_option=(lambda f: write(f, target_options=dict(evil=1)), "target_options.*'evil'"))

@pytest.fixture(scope='module')
def whole(bert, tmp_path_factory): return learner('single', bert).save_pretrained(tmp_path_factory.mktemp('whole')/'m')

@pytest.mark.parametrize('name', ATTACKS)
def test_attacks(name, whole, monkeypatch):
    folder = Path(shutil.copytree(whole, 'copy'))
    change,message = ATTACKS[name]
    change(folder)
    def never(*args, **kwargs): raise AssertionError('asked or opened')
    for place in ('pickle.load','pickle.loads','pickle.Unpickler','torch.load','builtins.input'): monkeypatch.setattr(place, never)
    with pytest.raises(ValueError, match=message): TransformersLearner.from_pretrained(folder)
    assert not Path('evil').exists()

@pytest.mark.parametrize('how', [evil_module, evil_tokenizer])
def test_code_beside_a_checkpoint_is_not_run_and_not_asked_for(how, whole, monkeypatch):
    "Also where the folder is used as a checkpoint"
    folder = Path(shutil.copytree(whole, 'copy'))
    how(folder)
    monkeypatch.setattr('builtins.input', lambda *a: pytest.fail('the user was asked'))
    if how is evil_tokenizer: learner('single', folder) # it has a tokenizer.json, which transformers reads instead
    else:
        with pytest.raises((OSError, ValueError), match='trust_remote_code|remote code|custom code'): learner('single', folder)
    assert not Path('evil').exists()

@pytest.mark.parametrize('make', [lambda c: token_classification_learner(WORDS, c, bs=8), gaps], ids=['tags','gaps'])
def test_options_of_other_tasks_are_refused(make, bert):
    folder = make(bert).save_pretrained('m')
    write(folder, target_options=facts(folder)['target_options'] | dict(return_tensors='np'))
    with pytest.raises(ValueError, match='target_options'): TransformersLearner.from_pretrained(folder)

def test_files_that_transformers_does_not_read_may_be_added(whole):
    folder = Path(shutil.copytree(whole, 'copy'))
    (folder/'README.md').write_text('# My model')
    (folder/'notes.txt').write_text('trained on Monday')
    TransformersLearner.from_pretrained(folder)
    check_folder(folder, read_facts(folder))

def test_training_is_told(bert):
    learn = learner('single', bert)
    with learn.no_bar(), learn.no_logging(): learn.fit(2, 1e-3)
    told = read_facts(learn.save_pretrained('m'))
    assert told['epochs']['columns']==['train_loss','valid_loss',*(m.name for m in learn.metrics)]
    assert told['epochs']['rows']==[list(map(float, row)) for row in learn.recorder.values]
    again = TransformersLearner.from_pretrained('m')
    assert read_facts(again.save_pretrained('n'))['epochs']==told['epochs']
    assert read_facts(Path('n'))['base']==told['base']==bert.name
