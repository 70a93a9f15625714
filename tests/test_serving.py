"Models in ONNX predict what PyTorch predicts, in each architecture and of each kind; the page in the browser answers the same, and calls nobody."
import json,socket,sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from small import ARCHS, FRAMES, SMALL, TEXTS, close, learner, texts_of

import blurlike.save.onnx_model
from blurlike.all import TransformersLearner, export_onnx, gradio_app, load_onnx, masked_lm_learner, model_card, page_output, sequence_classification_learner, token_classification_learner

for name in ('onnx','onnxscript','onnxruntime'): pytest.importorskip(name, reason=f'serving needs {name}')

NAMES = 'Ada Bob Cy Dora'.split()
TAGGED = [dict(tokens=t.split()+[NAMES[i%4]], tags=['O']*len(t.split())+['B-PER']) for i,t in enumerate(TEXTS)]
LONG = ' '.join(TEXTS)

def quiet(learn, n=2, lr=3e-3):
    with learn.no_bar(), learn.no_logging(): learn.fit(n, lr)
    return learn

def left(folder):
    from blurlike.model.tokenizer import load_tokenizer
    tok = load_tokenizer(folder)
    tok.padding_side = 'left'
    return tok

def make(what, folder):
    "A trained learner, and texts for it."
    if what=='pair': return quiet(learner('pair', folder)), texts_of('pair', FRAMES['pair'])
    if what=='tags': return quiet(token_classification_learner(TAGGED, folder, max_length=12, overlap=3, bs=8), 10, 1e-2), [*TEXTS[:12], LONG, 'Ada', ['Bob','met','Cy']]
    if what=='gaps': return quiet(masked_lm_learner(FRAMES['single'], folder, bs=16)), ['the film was [MASK] in a town', '[MASK] and [MASK]', *(f'{t} [MASK]' for t in TEXTS[:9])]
    if what=='windows': return quiet(learner('single', folder, max_length=16, overlap=4)), [*TEXTS, LONG]
    if what=='left': return quiet(learner('single', folder, tokenizer=left(folder))), TEXTS
    if what=='cut': return quiet(learner('multi', folder, max_length=12)), [*FRAMES['multi'].text, LONG]
    return quiet(learner(what, folder)), FRAMES[what].text.tolist()

CASES = dict(bert='pair', distilbert='tags', roberta='gaps', deberta='windows', gpt2='left', bart='cut', modernbert='regression')
assert set(CASES)==set(ARCHS)

@pytest.fixture(scope='module')
def learners(checkpoints):
    made = {}
    def of(arch, what):
        if (arch,what) not in made: made[arch,what] = make(what, checkpoints(arch))
        return made[arch,what]
    return of

@pytest.fixture(scope='module')
def exported(learners, tmp_path_factory):
    "`exported(arch)`: folder, learner and texts of its case; exported once."
    made = {}
    def of(arch):
        if arch not in made:
            learn,texts = learners(arch, CASES[arch])
            made[arch] = export_onnx(learn, tmp_path_factory.mktemp(arch)/'onnx'),learn,texts
        return made[arch]
    return of

def same(a, b): # the same texts and numbers, these but for the last digits
    if isinstance(a, dict): return a.keys()==b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a)==len(b) and all(map(same, a, b))
    return abs(a-b)<=1e-4 if isinstance(a, float) else a==b

@pytest.mark.slow
def test_half_precision_and_settings_of_calls_in_onnx(bert, tmp_path):
    learn = learner('single', bert, model_kwargs=dict(dtype=torch.bfloat16))
    learn.dls.text_tfm.tokenizer_kwargs = dict(split_special_tokens=True)
    texts = ['a [SEP] great film', *TEXTS[:3]]
    served = load_onnx(export_onnx(learn, tmp_path/'onnx'))
    assert served.dls.text_tfm.tokenizer_kwargs==dict(split_special_tokens=True)
    wide = TransformersLearner.from_pretrained(learn.save_pretrained(tmp_path/'m'), model_kwargs=dict(dtype=torch.float32))
    assert same(served.predict_batch(texts), wide.predict_batch(texts)) # onnxruntime computes in float32

def test_same_knows_differences():
    assert same([dict(a=.5, b='x')], [dict(a=.50001, b='x')])
    assert not same([dict(a=.5)], [dict(a=.51)])
    assert not same([dict(b='x')], [dict(b='y')]) and not same([1], [1,2])

LATER = 'roberta','deberta','bart','modernbert','gpt2' # to export one takes seconds

@pytest.mark.parametrize('arch', [pytest.param(a, marks=[pytest.mark.slow]*(a in LATER)) for a in CASES])
@pytest.mark.filterwarnings('ignore:.*cut')
def test_predicts_the_same(exported, arch):
    folder,learn,texts = exported(arch)
    served = load_onnx(folder)
    want = learn.predict_batch(texts)
    assert same(served.predict_batch(texts), want) and same(served.predict_batch(texts, bs=3), want)
    assert same(served.predict_batch(texts[:1]), want[:1]) and served.predict_batch([])==[]
    one,two = (l.predict(texts[0]) for l in (served, learn))
    assert same(*([o.tolist() if hasattr(o, 'tolist') else o for o in p[1:]] for p in (one, two)))
    assert len({json.dumps(p) for p in want})>1, 'the model says the same of everything'
    assert not list(folder.glob('*.safetensors')) and 'model.onnx' in [p.name for p in folder.iterdir()]

@pytest.mark.slow
@pytest.mark.parametrize('arch', ['bert','distilbert','roberta'])
def test_scores_the_same(exported, arch):
    folder,learn,_ = exported(arch)
    served = load_onnx(folder)
    served.dls = learn.dls
    for l in (served, learn):
        torch.manual_seed(0)
        l.scores = l.validate()
    close(list(served.scores), list(learn.scores), 1e-4)
    if arch=='bert': close(served.get_preds()[0], learn.get_preds()[0], 1e-4)

@pytest.mark.slow
def test_left_padding_gets_its_positions(exported):
    folder,learn,texts = exported('gpt2')
    served = load_onnx(folder)
    assert served.dls.tokenizer.padding_side=='left' and 'position_ids' in served.model.names
    close(served.predict_logits(texts, bs=len(texts)), learn.predict_logits(texts, bs=1), 1e-4)

def test_axes_are_free(exported):
    axes = {i.name:i.shape for i in load_onnx(exported('bert')[0]).model.session.get_inputs()}
    assert axes=={n:['batch','length'] for n in ('input_ids','token_type_ids','attention_mask')}

def test_the_learner_is_unharmed_and_the_model_does_not_train(exported, in_tmp):
    folder,learn,_ = exported('bert')
    served = load_onnx(folder)
    served.dls = learn.dls
    for act in (lambda: served.fit(1), lambda: served.fit_one_cycle(1), lambda: served.freeze(), lambda: served.lr_find()):
        with pytest.raises(TypeError, match='cannot be trained'): act()
    with pytest.raises(TypeError, match='copy the folder'): served.save_pretrained('x')
    assert list(in_tmp.iterdir())==[]
    before = {k:v.clone() for k,v in learn.model.state_dict().items()}
    learn.validate()
    assert hasattr(learn, 'model_inputs') and all(torch.equal(v, before[k]) for k,v in learn.model.state_dict().items())

@pytest.mark.slow
def test_other_weights_make_another_job(exported, in_tmp):
    pair,gaps = load_onnx(exported('bert')[0]),load_onnx(exported('roberta')[0])
    assert list(pair.model.state_dict())==list(gaps.model.state_dict())
    assert not torch.equal(pair.model.file, gaps.model.file)
    texts = exported('bert')[2]
    assert pair.predict_batch(texts, out='preds.jsonl').is_file()
    assert same([json.loads(o) for o in open('preds.jsonl')], exported('bert')[1].predict_batch(texts))

@pytest.mark.slow
def test_what_is_refused(exported, bert, monkeypatch, tmp_path):
    folder,learn,_ = exported('bert')
    with pytest.raises(ValueError, match='open it with `load_onnx`'): TransformersLearner.from_pretrained(folder)
    plain = learn.save_pretrained(tmp_path/'plain')
    with pytest.raises(ValueError, match='holds a learner .* no model in ONNX: open it with `TransformersLearner.from_pretrained`, or have `export_onnx`'): load_onnx(plain)
    (plain/'model.onnx').write_bytes((folder/'model.onnx').read_bytes())
    with pytest.raises(ValueError, match='does not vouch for model.onnx'): load_onnx(plain)
    with pytest.raises(FileNotFoundError): load_onnx(tmp_path/'nowhere')
    damaged = tmp_path/'damaged'
    damaged.mkdir()
    for p in folder.iterdir(): (damaged/p.name).write_bytes(p.read_bytes()[:-1] if p.name=='model.onnx' else p.read_bytes())
    with pytest.raises(ValueError, match='model.onnx.*not as it was saved'): load_onnx(damaged)
    with monkeypatch.context() as m:
        m.setattr(torch.onnx, 'export', lambda *a, **k: (_ for _ in ()).throw(RuntimeError('no such operator\nand more')))
        with pytest.raises(ValueError, match='could not export BertForSequenceClassification to ONNX: no such operator$'): export_onnx(learn, tmp_path/'failed')
    with monkeypatch.context() as m:
        own = blurlike.save.onnx_model._export
        def another(learn, *args):
            with torch.no_grad(): next(p for n,p in learn.model.named_parameters() if n.endswith('classifier.bias')).add_(.01)
            own(learn, *args)
        m.setattr(blurlike.save.onnx_model, '_export', another)
        with pytest.raises(ValueError, match='other logits in onnxruntime than in PyTorch .they differ by up to 0.01'): export_onnx(learn, tmp_path/'failed')
    assert not (tmp_path/'failed').exists()
    for name in ('onnx','onnxscript','onnxruntime'):
        with monkeypatch.context() as m:
            m.setitem(sys.modules, name, None)
            with pytest.raises(ImportError, match=f'pip install.*{name}'): export_onnx(learn, tmp_path/'failed')
    with monkeypatch.context() as m:
        m.setitem(sys.modules, 'onnxruntime', None)
        with pytest.raises(ImportError, match='pip install onnxruntime'): load_onnx(folder)

@pytest.mark.slow
def test_large_logits_are_rounded_more(bert, tmp_path):
    learn = learner('single', bert)
    with torch.no_grad():
        for p in learn.model.classifier.parameters(): p.mul_(3e4)
    own = blurlike.save.onnx_model._logits
    loaded = load_onnx(export_onnx(learn, tmp_path/'large'))
    assert own(loaded, [learn.dls.one_batch()[0]])[0].abs().max()>100

class Doubled(transformers.BertForSequenceClassification):
    def forward(self, input_ids, **kwargs):
        output = super().forward(input_ids, **kwargs)
        output.logits = output.logits*2
        return output

class Counted(transformers.BertForSequenceClassification):
    def forward(self, input_ids, **kwargs): return super().forward(input_ids, **kwargs)

@pytest.mark.slow
def test_a_model_that_attends_otherwise_in_long_texts_is_refused(bert, in_tmp):
    config = transformers.BigBirdConfig(vocab_size=400, max_position_embeddings=64, num_labels=3, initializer_range=.5, block_size=4, num_random_blocks=1, **SMALL)
    learn = learner('single', transformers.BigBirdForSequenceClassification(config), tokenizer=bert, max_length=64)
    learn.save_pretrained('saved') # a learner that has read short texts attends as in these
    with pytest.raises(ValueError, match='BigBirdForSequenceClassification .* in onnxruntime .* cannot be exported'): export_onnx('saved', 'o')

@pytest.mark.slow
def test_a_model_whose_code_no_folder_holds(bert, in_tmp, recwarn):
    config = transformers.BertConfig(vocab_size=400, max_position_embeddings=64, num_labels=3, initializer_range=.5, **SMALL)
    plain = transformers.BertForSequenceClassification
    def of(kind, change=lambda m: None):
        model = kind(config)
        change(model)
        return learner('single', model, tokenizer=bert)
    def other_part(model): model.bert.pooler.activation = torch.nn.GELU()
    def other_head(model): model.classifier = torch.nn.Sequential(torch.nn.Linear(32, 3), torch.nn.ReLU())
    for learn,said in ((of(Doubled), 'Doubled is a class of your own.*logits differ'), (of(plain, other_part), 'bert.pooler.activation.*logits differ'),
            (of(plain, other_head), 'classifier of this .*its weights have no place')):
        with pytest.raises(ValueError, match=f'cannot be exported: {said}') as e: export_onnx(learn, 'o')
        assert '/tmp' not in str(e.value) and not Path('o').exists()
    learn = of(Counted) # the same logits
    recwarn.clear()
    assert same(load_onnx(export_onnx(learn, 'o')).predict_batch(TEXTS), learn.predict_batch(TEXTS))
    assert not [w for w in recwarn if 'of your own' in str(w.message)]

@pytest.mark.slow
def test_adapters_and_weights_beside_the_graph(bert, in_tmp, monkeypatch):
    peft = pytest.importorskip('peft', reason='adapters need peft')
    learn = quiet(learner('single', bert, peft=peft.LoraConfig(target_modules='all-linear', r=2, init_lora_weights=False)))
    learn.save_pretrained('alone', merge=False)
    monkeypatch.setattr(blurlike.save.onnx_model, 'ONE_FILE', 0)
    folder = export_onnx('alone', 'onnx')
    assert 'model.onnx.data' in json.loads((folder/'blurlike.json').read_text())['sha256']
    assert same(load_onnx(folder).predict_batch(TEXTS), learn.predict_batch(TEXTS))
    again = export_onnx(learn, 'onnx') # replaces the first
    assert same(load_onnx(again).predict_batch(TEXTS), learn.predict_batch(TEXTS))

# The page

@pytest.fixture
def ask(monkeypatch):
    "`ask(app, *texts)`: launch it, ask it by gradio's client, close it; connections to other machines fail."
    gradio_client = pytest.importorskip('gradio_client', reason='the page needs gradio')
    pytest.importorskip('gradio', reason='the page needs gradio')
    connect = socket.socket.connect
    def local(self, address):
        if isinstance(address, tuple) and address[0] not in ('127.0.0.1','::1','localhost'): calls.append(address)
        return connect(self, address)
    calls,opened = [],[]
    monkeypatch.setattr(socket.socket, 'connect', local)
    def _ask(app, *questions):
        _,url,shared = app.launch(prevent_thread_lock=True, quiet=True, inline=False, share=False, server_name='127.0.0.1')
        opened.append(app)
        assert url.startswith('http://127.0.0.1') and shared is None
        client = gradio_client.Client(url, verbose=False, analytics_enabled=False)
        jobs = [client.submit(*([q] if isinstance(q, str) else q), api_name='/predict') for q in questions] # all at once
        return [j.result(timeout=60) for j in jobs]
    yield _ask
    for app in opened: app.close(verbose=False)
    assert calls==[]

def test_page_of_labels(ask, checkpoints, bert):
    learn = quiet(learner('single', bert))
    for told,p in zip(ask(gradio_app(learn), *TEXTS[:8]), learn.predict_batch(TEXTS[:8])):
        scores = {o['label']:o['confidence'] for o in told['confidences']}
        assert told['label']==p['label'] and abs(scores[p['label']]-p['score'])<1e-5
        assert set(scores)==set(map(str, learn.names))
        assert abs(sum(scores.values())-1)<1e-4

@pytest.mark.slow
def test_two_pages_beside_a_notebook(ask, bert):
    "One learner answers two pages and its own process at the same time."
    learn,texts = quiet(learner('single', bert, max_length=12, overlap=2)),TEXTS*2
    want = [p['score'] for p in learn.predict_batch(texts)]
    def page(app): return [max(c['confidence'] for c in told['confidences']) for told in ask(app, *texts)]
    apps = [gradio_app(learn) for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        pages,here = pool.map(page, apps),pool.map(lambda _: [float(learn.predict(t)[2].max()) for t in texts], range(2))
        for found in (*pages, *here): np.testing.assert_allclose(found, want, atol=1e-5)

@pytest.mark.slow
def test_page_of_a_folder_with_pairs(ask, exported, tmp_path):
    folder,learn,texts = exported('bert')
    for where in (learn.save_pretrained(tmp_path/'saved'), folder):
        app = gradio_app(where, title='Alike?')
        assert [c.label for c in app.input_components]==['one','two'] and app.title=='Alike?'
        for told,p in zip(ask(app, *texts[:3]), learn.predict_batch(texts[:3])): assert told['label']==str(p['label']) and abs(told['confidences'][0]['confidence']-p['score'])<1e-4

@pytest.mark.slow
def test_page_of_several_labels(ask, bert):
    learn = quiet(learner('multi', bert))
    texts = FRAMES['multi'].text.tolist()[:6]
    probs = learn.predict_logits(texts).sigmoid().flatten().sort().values
    learn.threshold = float(probs[len(probs)//2-1:len(probs)//2+1].mean()) # half of all are given, and none is as probable as that
    preds = learn.predict_batch(texts)
    assert any(preds)
    for told,p in zip(ask(gradio_app(learn), *texts), preds): # gradio gives {} where none is given
        assert same([dict(label=o['label'], score=o['confidence']) for o in told.get('confidences', [])], p)

@pytest.mark.slow
def test_page_of_numbers(ask, bert):
    learn = quiet(learner('regression', bert))
    close(ask(gradio_app(learn), *TEXTS[:3]), [p['score'] for p in learn.predict_batch(TEXTS[:3])])
    df = FRAMES['regression'].assign(second=lambda d: -d.score)
    two = quiet(sequence_classification_learner(df, bert, label=['score','second'], problem_type='regression'))
    close(ask(gradio_app(two), TEXTS[0])[0], [o['score'] for o in two.predict_batch(TEXTS[:1])[0]])

def test_page_of_entities(ask, learners):
    learn,_ = learners('distilbert', 'tags')
    texts = ['Ada and Bob were there', 'the film was shown']
    for told,t,found in zip(ask(gradio_app(learn), *texts), texts, learn.predict_batch(texts)):
        assert ''.join(o['token'] for o in told)==t
        assert [o['token'] for o in told if o['class_or_confidence']]==[t[o['start']:o['end']] for o in found]

def test_page_of_gaps(ask, learners):
    learn,_ = learners('roberta', 'gaps')
    one,two = ask(gradio_app(learn), 'the film was [MASK]', '[MASK] and [MASK]')
    gaps = learn.predict_batch(['the film was [MASK]', '[MASK] and [MASK]'])
    assert same(one['data'], [[1,o['token_str'],o['score'],o['sequence']] for o in gaps[0]])
    assert same(two['data'], [[i+1,o['token_str'],o['score'],o['sequence']] for i,g in enumerate(gaps[1]) for o in g])

def test_page_says_what_is_wrong(ask, learners, monkeypatch):
    learn,_ = learners('roberta', 'gaps')
    app = gradio_app(learn)
    for text,said in (('no gap here','no gap to fill'), ('  ','Write a text first')):
        with pytest.raises(Exception, match=said): ask(app, text)
    with pytest.raises(TypeError, match='page_output.register'): page_output(object(), learn, None)
    monkeypatch.setitem(sys.modules, 'gradio', None)
    with pytest.raises(ImportError, match='pip install gradio'): gradio_app(learn)

@pytest.mark.slow
def test_only_an_earlier_export_is_replaced(bert, in_tmp):
    learn = learner('single', bert)
    learn.save_pretrained('stars')
    before = {p.name:p.read_bytes() for p in (in_tmp/'stars').iterdir()}
    for folder in ('stars', bert): # a trained model, a checkpoint
        with pytest.raises(FileExistsError, match='another name'): export_onnx('stars', folder)
    assert {p.name:p.read_bytes() for p in (in_tmp/'stars').iterdir()}==before
    assert (bert/'model.safetensors').exists()
    assert [p.name for p in in_tmp.iterdir()]==['stars']
    export_onnx('stars', 'onnx')
    (in_tmp/'onnx'/'notes.txt').write_text('mine')
    export_onnx('stars', 'onnx')
    assert (in_tmp/'onnx'/'notes.txt').read_text()=='mine'
    assert load_onnx('onnx').predict(TEXTS[0])[0]==learn.predict(TEXTS[0])[0]
    with pytest.raises(FileExistsError, match='model in ONNX'): learn.save_pretrained('onnx')

@pytest.mark.slow
def test_card_of_a_model_in_onnx(learners, in_tmp):
    learn,_ = learners('distilbert', 'tags')
    learn = load_onnx(export_onnx(learn, 'onnx'))
    card = model_card(learn, 'ada/tags')
    assert 'library_name: onnx' in card and "learn = load_onnx('ada/tags')" in card
    assert 'DistilBertForTokenClassification, in ONNX' in card
    assert 'OnnxModel' not in card and 'pipeline(' not in card and '| parameters' not in card and '## Scores' in card

def test_why_an_export_failed(bert, in_tmp, monkeypatch):
    def fails(*args, **kwargs):
        try: raise TypeError('the cause of it\nand more')
        except TypeError as e: raise RuntimeError('\x1b[31mFailed to export\x1b[0m the model\nlong advice') from e
    monkeypatch.setattr(torch.onnx, 'export', fails)
    with pytest.raises(ValueError, match='could not export BertForSequenceClassification to ONNX: Failed to export the model; because: the cause of it$'): export_onnx(learner('single', bert), 'o')
    def full(*args, **kwargs): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(torch.onnx, 'export', full)
    with pytest.raises(OSError, match='No space left'): export_onnx(learner('single', bert), 'o')
