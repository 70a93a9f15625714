"What lies in a saved folder is what was saved, or an error says which file and entry is not; nothing in it leads to code."
import ast,json,os,random,re,shutil,signal,subprocess,sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from bit_flips import SAVED, contents, flip, flips, try_folder
from blurlike import cli
from blurlike.all import Checkpoints, Interpretation, TransformersLearner, model_card, token_classification_learner
from blurlike.support.files import file_hash, json_hash, write_file, write_folder
from blurlike.save.folder_check import check_folder
from blurlike.save.saved_facts import FORMAT, read_facts
from runs import WORDS, gaps
from small import FRAMES, TEXTS, changed, learner, weights

pytestmark = pytest.mark.usefixtures('in_tmp')
NEWEST = SAVED/f'format_{FORMAT}'

@pytest.fixture
def folder(in_tmp): return Path(shutil.copytree(NEWEST/'single', in_tmp/'model'))

def facts(folder): return json.loads((folder/'blurlike.json').read_text())
def sign(folder, **kwargs): # who tampers may write sums too
    told = {k:v for k,v in (facts(folder) | kwargs).items() if k!='facts_sha256'}
    (folder/'blurlike.json').write_text(json.dumps(told | dict(facts_sha256=json_hash(told))))
def change(folder, file, **kwargs): # of a config, with all sums
    old = json.loads((folder/file).read_text()) if (folder/file).exists() else {}
    (folder/file).write_text(json.dumps(old | kwargs))
    sign(folder, sha256={p.name:file_hash(p) for p in folder.iterdir() if p.name!='blurlike.json'})

@pytest.mark.parametrize('name', ['single','tags'])
def test_one_wrong_bit(name):
    res = flips(NEWEST/name, 400)
    assert not res['bad'] and res['refused']>390

def test_each_bit_of_a_length(folder):
    "The case that was seen: a `max_length` of 64 that was 24"
    text,want = (folder/'blurlike.json').read_bytes(),contents(folder)
    at = text.index(b'"max_length": ')+len('"max_length": ')
    for bit in range(16):
        wrong = bytearray(text)
        wrong[at+bit//8] ^= 1<<bit%8
        (folder/'blurlike.json').write_bytes(wrong)
        assert try_folder(folder, 'blurlike.json', want)=='refused'

@pytest.mark.parametrize('name', sorted(p.name for p in (NEWEST/'single').iterdir()))
def test_cut_off_and_swapped(name, folder):
    whole = (folder/name).read_bytes()
    for part in (b'', whole[:1], whole[:len(whole)//2], whole[:-1], whole+b' x', whole*2):
        (folder/name).write_bytes(part)
        with pytest.raises(ValueError, match=name): contents(folder)
    for other in [p for p in folder.iterdir() if p.name!=name] + [NEWEST/'multi'/name]:
        if other.name==name and other.read_bytes()==whole: continue # all have one tokenizer
        shutil.copy(other, folder/name)
        with pytest.raises(ValueError, match=name if other.name!=name or name!='blurlike.json' else 'not as it was saved'): contents(folder)
        (folder/name).write_bytes(whole)

DEEP = '['*100_000+']'*100_000
def put(**kwargs): return lambda f: sign(f, **kwargs)
def put_text(old, new):
    def write(f):
        text = (f/'blurlike.json').read_text()
        assert old in text
        (f/'blurlike.json').write_text(text.replace(old, new))
    return write

@pytest.mark.parametrize('how,message', [(put_text('"metrics": [', f'"metrics": [{DEEP},'), 'damaged: it is nested too deeply'), (put_text('"bs": 4', '"bs": 4, "bs": 8'), "damaged: the key 'bs' is there twice"),
    (put_text('0.693', 'NaN, 0.693'), 'damaged: .*'), (put_text('"class_weights": [', '"class_weights": [NaN,'), 'damaged: NaN is no finite number'), (put_text('"class_weights": [', '"class_weights": [1e999,'), '1e999 is no finite number'),
    (put_text('"bs": 4', '"bs": '+'9'*5000), 'damaged'), (put(bs=10**30), "'bs'.*cannot be"), (put(bs=0), "'bs' in .* is 0,"), (put(max_length=-1), "'max_length' in .* is -1,"), (put(overlap=-1), "'overlap'"),
    (put(loss={}), "'loss' in .* is {},"), (put(loss=dict(name=1, class_weights=None)), "'loss'"), (put(loss=dict(name='x', class_weights='no')), "'loss'"), (put(loss=dict(name='x', class_weights=[[1]])), "'loss'"),
    (put(label=None), "'label' in .*blurlike.json' is None"), (put(label=[]), "'label'"), (put(label=[None]), "'label'"), (put(text=[]), "'text'"), (put(text=[{}]), "'text'"), (put(metrics=[1]), "'metrics'"),
    (put(sha256={'config.json':1}), "'sha256'"), (put(versions=[]), "'versions'"), (put(epochs=dict(columns=['a'], rows=[[1]], epoch=1)), "'epochs'"), (put(epochs=dict(columns=['a'], rows=5)), "'epochs'"), (put(epochs={}), "'epochs'"),
    (put(adapter={}), "'adapter'"), (put(adapter=dict(base=5)), "'adapter'"), (put(vocab=None), "'vocab'"), (put(format_version=0), 'format version 0'), (put(format_version=True), 'format version True'), (put(format_version=10**40), 'upgrade'),
    (put_text(f'"format_version": {FORMAT}', '"format_version": 2'), 'not as it was saved'), (put_text('"bs": 4', '"bs": 8'), 'not as it was saved.*load it, change it'), (lambda f: (f/'blurlike.json').write_text('[]'), 'no object, but list'),
    (lambda f: (f/'blurlike.json').write_bytes(b'\xff\xfe'), 'damaged'), (put(target_options=dict(a=json.loads('['*300+']'*300))), 'target_options')], ids=lambda o: o[:40] if isinstance(o, str) else '')
def test_odd_facts_are_value_errors(how, message, folder):
    how(folder)
    with pytest.raises(ValueError, match=message) as e: TransformersLearner.from_pretrained(folder)
    assert 'blurlike.json' in str(e.value) or 'format version' in str(e.value)

def test_a_sum_that_is_gone_is_missed(folder):
    told = {k:v for k,v in facts(folder).items() if k!='facts_sha256'}
    (folder/'blurlike.json').write_text(json.dumps(told))
    with pytest.raises(ValueError, match='not as it was saved'): read_facts(folder)

@pytest.mark.parametrize('text,message', [('{"a":'+DEEP+'}', 'config.json.*nested too deeply'), ('[]', 'config.json.*no object'), ('{"id2label": {}, "id2label": {}}', "config.json.*'id2label' is there twice"),
    ('{"id2label": ["x","y"]}', 'id2label in .*config.json'), ('{"id2label": null}', 'id2label in .*config.json'), ('{}', "id2label in .*config.json.*LABEL_0.*labels are")], ids=['deep','list','twice','names','null','none'])
def test_odd_configs_are_value_errors(text, message, folder):
    (folder/'config.json').write_text(text)
    sign(folder, sha256=facts(folder)['sha256'] | {'config.json':file_hash(folder/'config.json')})
    with pytest.raises(ValueError, match=message): TransformersLearner.from_pretrained(folder)

# Nothing in the folder leads to code, or to a download

@pytest.mark.parametrize('key', ['attn_implementation','_attn_implementation','experts_implementation'])
@pytest.mark.parametrize('value', ['kernels-community/flash-attn','paged|evil/kernels@main:f',{'':'sdpa','text_config':'evil/kernels'}], ids=['name','paged','parts'])
@pytest.mark.parametrize('nested', [False,True])
def test_kernels_from_the_hub_are_refused(key, value, nested, folder):
    change(folder, 'config.json', **(dict(text_config={key:value}) if nested else {key:value}))
    with pytest.raises(ValueError, match=f"config.json.*kernels on the Hub .{key}.*trust_remote_code=True.*attn_implementation='sdpa'"): TransformersLearner.from_pretrained(folder)
    check_folder(folder, read_facts(folder), trust_remote_code=True)

@pytest.mark.parametrize('value', ['eager','sdpa','flash_attention_2','flash_attention_3','flex_attention','paged|sdpa',None])
def test_usual_attention_passes(value, folder):
    change(folder, 'config.json', attn_implementation=value)
    check_folder(folder, read_facts(folder))
    if value in ('eager','sdpa'): assert TransformersLearner.from_pretrained(folder).model.config._attn_implementation==value

@pytest.mark.parametrize('file,entries', [('config.json', dict(auto_map=dict(AutoModel='evil.Model'))), ('config.json', dict(text_config=dict(auto_map=dict(AutoModel='evil.Model')))), ('tokenizer_config.json', dict(auto_map=['evil.Tok',None])),
    ('generation_config.json', dict(auto_map=dict(x='evil.X'))), ('processor_config.json', dict(auto_map=dict(AutoProcessor='evil.X'))), ('config.json', dict(quantization_config=dict(quant_method='fp8')))], ids=str)
def test_neighbours_of_code_are_refused(file, entries, folder):
    change(folder, file, **entries)
    with pytest.raises(ValueError, match=f'{file}.*trust_remote_code=True'): TransformersLearner.from_pretrained(folder)

def test_an_adapter_in_a_full_model_is_refused(folder):
    change(folder, 'adapter_config.json', base_model_name_or_path='evil/base', peft_type='LORA')
    with pytest.raises(ValueError, match='adapter_config.json.*not saved with the learner'): TransformersLearner.from_pretrained(folder)

def test_weights_from_elsewhere_are_refused(folder):
    (folder/'model.safetensors').rename('elsewhere.safetensors')
    change(folder, 'model.safetensors.index.json', metadata={}, weight_map={'classifier.weight':'../elsewhere.safetensors'})
    with pytest.raises(ValueError, match='index.json.*does not vouch for'): TransformersLearner.from_pretrained(folder)

def test_adapters_that_name_code_are_refused(bert):
    peft = pytest.importorskip('peft')
    folder = learner('single', bert, peft=peft.LoraConfig(target_modules='all-linear', r=2)).save_pretrained('m', merge=False)
    assert TransformersLearner.from_pretrained(folder).predict_batch(TEXTS[:2])
    for entries in (dict(megatron_config=dict(a=1), megatron_core='evil'), dict(peft_type='XLORA', adapters={'0':'evil/adapter'}), dict(shadow_model='evil/model')):
        copy = Path(shutil.copytree(folder, 'copy', dirs_exist_ok=True))
        change(copy, 'adapter_config.json', **entries)
        with pytest.raises(ValueError, match='adapter_config.json.*would be run'): TransformersLearner.from_pretrained(copy)

# Labels of the config

def test_labels_that_were_renamed_in_the_config_alone_are_not_saved(bert):
    learn = learner('single', bert)
    learn.model.config.id2label = {0:'awful', 1:'so so', 2:'great'}
    with pytest.raises(ValueError, match="id2label in the model's config.*'awful'.*labels are.*'bad'"): learn.save_pretrained('m')
    assert not Path('m').exists()

# Files of weights

def test_damaged_weights_are_refused(bert):
    learn = learner('single', bert)
    path,before = learn.save('w', with_opt=False),weights(learn.model)
    whole,state = path.read_bytes(),torch.load(path, weights_only=True)
    def refused(match):
        with pytest.raises(ValueError, match=match): learn.load('w', with_opt=False)
        assert not changed(learn.model, before)
    for damaged in (b'', b'\x80', whole[:100], whole[:len(whole)//2], whole[:-1], b'no weights at all', b'[1, 2]'):
        path.write_bytes(damaged)
        refused('w.pth.* is damaged, or no file of')
    for other in ([1, 2], 5, 'x', dict(a=1), [torch.ones(2)], dict(model=[1], opt=None), None):
        torch.save(other, path)
        refused('w.pth.*(holds no weights by their names|no file of)')
    for bad in (float('nan'), float('inf')):
        name = next(n for n,_ in learn.model.named_parameters())
        torch.save(state | {name:torch.full_like(state[name], bad)}, path)
        refused(f'w.pth.*no finite numbers, {name}')
    torch.save({'x':torch.ones(1), 5:torch.ones(1)}, path)
    refused('weights of another model')
    path.write_bytes(whole)
    learn.load('w', with_opt=False)

def test_one_wrong_bit_in_weights(bert):
    learn,rng = learner('single', bert),random.Random(0)
    path,before = learn.save('w', with_opt=False),weights(learn.model)
    for _ in range(40):
        bit = rng.randrange(8*path.stat().st_size)
        flip(path, bit)
        try: learn.load('w', with_opt=False) # a bit of what fills the gaps between tensors
        except ValueError: pass
        assert not changed(learn.model, before)
        flip(path, bit)
    assert learn.load('w', with_opt=False) is learn

# Links

@pytest.mark.parametrize('is_there', [True,False])
def test_saves_follow_links(is_there, bert, in_tmp):
    learn,disk = learner('single', bert),in_tmp/'disk'
    disk.mkdir()
    if is_there: learn.save_pretrained(disk/'m')
    before = file_hash(disk/'m'/'model.safetensors') if is_there else None
    with torch.no_grad(): learn.model.classifier.bias += 1
    for name,save in (('m', lambda: learn.save_pretrained('m')), ('l.pkl', lambda: learn.export('l.pkl')), ('w.pth', lambda: learn.save(in_tmp/'w', with_opt=False))):
        (in_tmp/name).symlink_to(disk/name)
        for _ in range(2): save()
        assert (in_tmp/name).is_symlink() and (disk/name).exists() and not (disk/name).is_symlink()
    assert file_hash(disk/'m'/'model.safetensors')!=before and not (disk/'m').is_symlink()
    assert sorted(p.name for p in disk.iterdir())==sorted(p.name for p in in_tmp.iterdir() if p.name not in ('disk','models'))==['l.pkl','m','w.pth'] # nothing is left over
    assert TransformersLearner.from_pretrained('m').predict_batch(TEXTS[:2])==TransformersLearner.from_pretrained(disk/'m').predict_batch(TEXTS[:2])

def test_checkpoints_in_a_folder_behind_a_link(bert, in_tmp):
    (in_tmp/'disk').mkdir()
    (in_tmp/'run').symlink_to(in_tmp/'disk')
    learn = learner('single', bert)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3, cbs=Checkpoints('run'))
    assert (in_tmp/'run').is_symlink() and (in_tmp/'disk'/'run.json').is_file()

def test_links_that_lead_nowhere(in_tmp):
    (in_tmp/'gone').symlink_to(in_tmp/'no_disk'/'model')
    (in_tmp/'round').symlink_to(in_tmp/'round')
    for name,match in (('gone','gone.*is a link to .*is a disk missing'), ('round','round.*leads back to itself')):
        with pytest.raises(OSError, match=match): write_file(name, lambda p: p.write_text('x'))
        with pytest.raises(OSError, match=match): write_folder(name, lambda p: (p/'config.json').write_text('x'))
        assert (in_tmp/name).is_symlink()
    os.mkfifo('pipe')
    with pytest.raises(OSError, match='no file but a device or pipe'): write_file('pipe', lambda p: p.write_text('x'))

def test_what_is_saved_may_be_read_by_others(bert):
    mask = os.umask(0o022)
    try: folder = learner('single', bert).save_pretrained('m')
    finally: os.umask(mask)
    assert {oct(p.stat().st_mode&0o777) for p in folder.iterdir()}=={'0o644'}

# Small things around folders

@pytest.mark.parametrize('name', ["it's", 'say "x"', "both ' and \"", 'back`tick', 'end\n```\n<script>', 'a\\', '{tag}', 'größe'], ids=range(8))
def test_any_name_in_a_card(name, bert):
    card = model_card(learner('single', bert), name)
    blocks = card.split('```python\n')[1:]
    assert len(blocks)==2 and all(b.count('```\n')==1 for b in blocks)
    calls = [n for b in blocks for n in ast.walk(ast.parse(b.split('```\n')[0])) if isinstance(n, ast.Constant)]
    assert [n.value for n in calls].count(name)==2
    assert '<script>' not in card.split('## Use')[0].split('\n---\n')[1]

@pytest.mark.parametrize('make', [lambda c: learner('single', c), lambda c: learner('multi', c), lambda c: learner('regression', c), lambda c: token_classification_learner(WORDS, c, bs=8), gaps], ids=['single','multi','regression','tags','gaps'])
def test_more_top_losses_than_rows(make, bert, capsys):
    learn = make(bert)
    with learn.no_bar(): interp = Interpretation.from_learner(learn)
    n = len(interp.losses)
    assert [len(o) for o in interp.top_losses(n+5)]==[n, n]
    capsys.readouterr()
    with learn.no_bar():
        interp.plot_top_losses(n)
        all_rows = capsys.readouterr().out
        interp.plot_top_losses(n+5)
    assert capsys.readouterr().out==all_rows and 'loss' in all_rows

@pytest.mark.parametrize('command,left', [(['predict','model','-'], 'nothing was written'), (['predict','model','d.csv','--out','p.jsonl'], 'with --resume goes on with p.jsonl'), (['report','model','d.csv'], 'nothing was written'),
    (['train','d.csv','c','--out','m'], 'm is as it was before.*--checkpoints'), (['train','d.csv','c','--out','m','--checkpoints','run'], 'no checkpoint was written to run yet'),
    (['train','d.csv','c','--out','m','--checkpoints','kept'], 'with --resume goes on from the last checkpoint in kept')])
def test_interrupted_commands_say_what_is_left(command, left, monkeypatch, capsys, in_tmp):
    (in_tmp/'kept'/'step-000000001').mkdir(parents=True)
    (in_tmp/'d.csv').touch()
    def stop(args): raise KeyboardInterrupt
    monkeypatch.setattr(cli, command[0], stop)
    assert cli.main(command)==130
    said = capsys.readouterr()
    assert re.search(left, said.err) and 'Traceback' not in said.err and not said.out
    with pytest.raises(KeyboardInterrupt): cli.main(['--traceback', *command])

@pytest.mark.slow
def test_ctrl_c_while_training(bert, in_tmp):
    "The real signal; the same command goes on"
    FRAMES['single'].to_csv('d.csv')
    command = ['train','d.csv',str(bert),'--epochs','40','--lr','1e-3','--out','m','--checkpoints','run']
    env = os.environ | dict(PYTHONPATH=str(Path(cli.__file__).parents[1]), PYTHONWARNINGS='ignore', OMP_NUM_THREADS='1', PYTHONUNBUFFERED='1')
    with subprocess.Popen([sys.executable, '-m', 'blurlike.cli', *command], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        for line in p.stdout:
            if line.split()[:1]==['1']: break # the second epoch is over
        p.send_signal(signal.SIGINT)
        err = p.communicate(timeout=60)[1]
    assert p.returncode==130 and 'with --resume goes on' in err and 'Traceback' not in err and not Path('m').exists()
    assert any(Path('run').glob('step-*'))

def test_templates_of_a_chat_are_vouched_for_and_go_with_the_tokenizer(checkpoints, in_tmp):
    learn = learner('chats', checkpoints('llama'))
    tok = learn.dls.tokenizer
    plain = tok.chat_template
    tok.chat_template = dict(default=plain, tool='{{ 1 }}')
    learn.save_pretrained('several')
    assert TransformersLearner.from_pretrained('several').dls.tokenizer.chat_template==tok.chat_template
    added = Path('several/additional_chat_templates/more.jinja')
    added.write_text('{{ "other" }}')
    for refused in (lambda: TransformersLearner.from_pretrained('several'), lambda: learn.save_pretrained('several')):
        with pytest.raises((ValueError, FileExistsError), match='additional_chat_templates/more.jinja'): refused()
    added.unlink()
    changed_ = added.with_name('tool.jinja')
    changed_.write_text('{{ 2 }}')
    with pytest.raises(ValueError, match='is not as it was saved'): TransformersLearner.from_pretrained('several')
    tok.chat_template = plain
    learn.save_pretrained('several')
    assert TransformersLearner.from_pretrained('several').dls.tokenizer.chat_template==plain

MOUNTS = '''
mount -t tmpfs tmpfs disk && mount --bind empty 'a bound' && mount --bind other saved/volume || exit 9
python -c "
from blurlike.support.files import check_place, write_folder
for name in ('disk', 'a bound', 'saved'):
    for call in (lambda: check_place(name, 'config.json'), lambda: write_folder(name, lambda p: (p/'config.json').write_text('new'))):
        try: call()
        except FileExistsError as e: print(e)
write_folder('disk/model', lambda p: (p/'config.json').write_text('new'))
print(sorted(p.name for p in __import__('pathlib').Path('disk').iterdir()), *open('saved/volume/mine'), *open('saved/config.json'))
"
'''

def test_what_is_mounted_is_neither_replaced_nor_carried_off(in_tmp):
    "as `docker run -v` does it: a disk, a folder of the same disk, and one within a saved folder"
    for name in ('disk','other','empty','a bound','saved/volume'): (in_tmp/name).mkdir(parents=True)
    (in_tmp/'other'/'mine').write_text('kept')
    (in_tmp/'saved'/'config.json').write_text('old')
    env = os.environ | dict(PATH=f'{Path(sys.executable).parent}:{os.environ["PATH"]}', PYTHONPATH=str(Path(cli.__file__).parent.parent))
    try: out = subprocess.run(['unshare', '-rm', 'sh', '-c', MOUNTS], capture_output=True, text=True, env=env)
    except FileNotFoundError: pytest.skip('no unshare')
    if out.returncode==9 or 'unshare' in out.stderr: pytest.skip('nothing can be mounted here')
    *said,told = out.stdout.splitlines()
    assert [re.sub(r"'[^']*/([^/']*')", r"'\1", o).split(', which')[0].split(', whose')[0] for o in said]==[
        "'disk' is a disk of its own (a mount)"]*2+["'a bound' is a disk of its own (a mount)"]*2+["'saved' holds a disk of its own, mounted at 'volume'"]*2, out.stderr
    assert told=="['model'] kept old"

FULL = dict(system=OSError(28, 'No space left on device', '/somewhere/.hidden.x8s7'), safetensors=SafetensorError('I/O error: No space left on device (os error 28)'),
    tokenizers=Exception('No space left on device (os error 28)'), torch=RuntimeError('[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0'))

@pytest.mark.parametrize('writer', FULL)
def test_a_full_disk_is_told_with_the_name_that_was_given(writer, in_tmp):
    "whoever writes"
    def write(path): raise FULL[writer]
    said = 'is the disk full.*inline_container' if writer=='torch' else 'No space left on device$'
    for call in (write_file, write_folder):
        with pytest.raises(OSError, match=f"^'{in_tmp}/mine' could not be written: {said}") as told: call('mine', write)
        assert told.value.errno==(None if writer=='torch' else 28) and not list(in_tmp.iterdir())
    def other(path): raise RuntimeError('the code is wrong')
    with pytest.raises(RuntimeError, match='^the code is wrong'): write_file('mine', other)

@pytest.mark.parametrize('error', [SafetensorError('Error while deserializing header: header too small'), ConnectionError('refused (os error 111)'),
    type('HttpError', (Exception,), {})('refused (os error 111)'), ValueError('iostream error of my store')])
def test_what_is_no_error_of_writing_stays_as_it_was_raised(error, in_tmp):
    def write(path): raise error
    for call in (write_file, write_folder):
        with pytest.raises(type(error)) as told: call('mine', write)
        assert told.value is error

def test_a_full_disk_at_any_file_of_a_learner(bert, in_tmp, monkeypatch):
    learn = learner('single', bert)
    def full(*args, **kwargs): raise FULL['tokenizers']
    with monkeypatch.context() as m:
        m.setattr(type(learn.dls.tokenizer), 'save_pretrained', full)
        with pytest.raises(OSError, match="m' could not be written: No space"): learn.save_pretrained('m')
    monkeypatch.setattr(torch, 'save', lambda *args, **kwargs: full() if isinstance(args[1], Path) else None)
    for call,name in ((learn.export, 'export.pkl'), (lambda: learn.save('w'), 'w.pth')):
        with pytest.raises(OSError, match=f"/{name}' could not be written: No space"): call()
