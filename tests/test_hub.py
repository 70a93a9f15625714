"The model card, what is uploaded and what comes back, against a server on this machine; and fastai's own way to the Hub."
import re,sys,tomllib
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard, constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.fastai_utils import _save_pretrained_fastai, from_pretrained_fastai, push_to_hub_fastai

from hub_stand_in import Hub, serve
from small import FRAMES, TEXTS, asked_of, learner, valid_frame, with_answers

from blurlike.all import BCEWithLogitsLossFlat, TransformersLearner, describe, layerwise_splitter, masked_lm_learner, model_card, scores_of, set_seed, token_classification_learner
from fastai.losses import FocalLossFlat

@pytest.fixture
def hub(monkeypatch, tmp_path):
    "The stand-in of the Hub, to which huggingface_hub is turned."
    hub = Hub()
    server = serve(hub)
    url = f'http://127.0.0.1:{server.server_port}'
    for k,v in dict(ENDPOINT=url, HUGGINGFACE_CO_URL_TEMPLATE=url+'/{repo_id}/resolve/{revision}/{filename}', HF_HUB_OFFLINE=False, HF_HUB_DISABLE_XET=True, HF_HUB_CACHE=str(tmp_path/'cache')).items(): monkeypatch.setattr(constants, k, v)
    monkeypatch.setenv('HF_TOKEN', 'hf_of_ada')
    yield hub
    server.shutdown()
    server.server_close()

def told(learn): return {k:v.clone() for k,v in learn.model.state_dict().items()}

def facts_of(card): # the two-column tables under the headings
    return {k.strip():v.strip() for line in card.splitlines() if line.count('|')==3 and '---' not in line for _,k,v,_ in [line.split('|')]}

def test_card_of_each_kind(trained, kind):
    learn = trained(kind)
    text = model_card(learn, 'ada/films')
    card,rows = ModelCard(text),facts_of(text)
    assert card.data.pipeline_tag==('multiple-choice' if kind=='choice' else 'text-classification') and ('pipeline(' in text)==(kind!='choice')
    assert card.data.library_name=='transformers'
    assert {'blurlike','fastai'}<=set(card.data.tags) and card.data.base_model is None
    last = dict(zip(['loss',*(m.name for m in learn.metrics)], list(learn.epoch_table[-1])[1:]))
    assert {r.metric_type:r.metric_value for r in card.data.eval_results}=={k:round(float(v), 4) for k,v in last.items()}
    assert card.data.model_name=='ada/films'
    assert rows['training rows']==str(len(learn.dls.train_ds))
    assert rows['validation rows']==str(len(learn.dls.valid_ds))
    assert rows['task']==f'`{learn.task.name}`'
    said = {k:rows[k] for k in ('epochs','highest learning rate','batch size','optimizer','precision')}
    assert said=={'epochs':'2', 'highest learning rate':'1.0e-02', 'batch size':'5', 'optimizer':'`adamw`', 'precision':'float32'}
    assert all(f'`{n}`' in rows['outputs'] for n in learn.names) and ('outputs' in rows)==bool(learn.names)
    assert ('top_k=None' in text)==(kind=='multi') and ("text_pair='The other.'" in text)==(kind=='pair')
    assert text.count('\n| 1 | ')==1 and '\n| 2 | ' not in text

CHANGES = dict(rows=('validation rows', lambda learn, other: setattr(learn, 'dls', other.dls)),
    labels=('labels', lambda learn, other: learn.relabel(learn.dls.valid.row_numbers()[:2].tolist(), [['sure'], ['bad','sure']])),
    thresholds=('thresholds or calibration', lambda learn, other: setattr(learn, 'threshold', .3)),
    loss=('loss', lambda learn, other: setattr(learn, 'loss_func', FocalLossFlat())))

@pytest.mark.parametrize('change', CHANGES)
def test_scores_are_those_of_what_is_there(change, bert, in_tmp):
    "Of other rows, labels, thresholds or another loss they say nothing; the table of the training stays, with a word."
    learn = learner('multi', bert)
    def fit(): learn.fit(2, 1e-3)
    with learn.no_bar(), learn.no_logging():
        fit()
        measured = scores_of(describe(learn))
        name,do = CHANGES[change]
        n_rows = facts_of(model_card(learn))['training rows']
        do(learn, learner('multi', bert, valid=.5))
        text = model_card(learn)
        assert measured and scores_of(describe(learn))=={} and ModelCard(text).data.eval_results is None
        assert re.search(f'Measured before .*{name}.* were changed', text) and '\n| 1 | ' in text and facts_of(text)['training rows']==n_rows
        again = TransformersLearner.from_pretrained(learn.save_pretrained('m'))
        assert scores_of(describe(again))=={} and re.search(f'Measured before .*{name}.* were changed', model_card(again))
        if change=='loss': learn.loss_func = BCEWithLogitsLossFlat()
        fit()
    assert scores_of(describe(learn)) and 'were changed' not in model_card(learn)
    assert facts_of(model_card(learn))['fits before these']=='1, of 2 epochs'

def test_scores_of_a_folder_are_of_its_rows(bert, in_tmp):
    learn = learner('single', bert)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    again = TransformersLearner.from_pretrained(learn.save_pretrained('m'))
    assert scores_of(describe(again))==scores_of(describe(learn))!={}
    again.dls = learn.dls # perhaps others than those of then: the folder does not say
    assert scores_of(describe(again))=={}

def test_card_of_a_folder(trained, in_tmp):
    folder = trained('single').save_pretrained('m')
    assert model_card(folder)==model_card(str(folder))==model_card(TransformersLearner.from_pretrained(folder))

def test_a_name_is_no_markup(trained):
    assert '\n# \\<b\\>\\*mine\\*\\#1 \\[x\\]\n' in model_card(trained('single'), '<b>*mine*#1 [x]')

@pytest.mark.parametrize('kind', ['single','pair'])
def test_no_text_of_the_data_is_in_the_card(trained, kind):
    learn = trained(kind)
    text = model_card(learn).lower()
    rows = learn.texts_of(learn.dls.train_ds.items)+learn.texts_of(learn.dls.valid_ds.items)
    parts = [t for r in rows for t in ([r] if isinstance(r, str) else r)]
    assert len(parts)>=48
    assert not any(' '.join(t.split()[i:i+3]).lower() in text for t in parts for i in range(len(t.split())-2))

def test_odd_names_break_no_table(bert):
    df = FRAMES['single'].rename(columns=dict(text='te|xt\nof `it`')).assign(label=lambda d: d.label.map(lambda o: f'{o}|a\n- b: `c`'))
    learn = learner('single', bert, df, text='te|xt\nof `it`')
    text = model_card(learn, 'x', license='mit')
    card = ModelCard(text)
    assert card.data.license=='mit' and card.data.eval_results is None
    assert '## Scores' not in text and '`bad¦a - b: \'c\'`' in facts_of(text)['outputs']

def test_card_tells_what_was_set(bert):
    learn = learner('single', bert, precision='bf16', max_length=20, overlap=4, class_weights=dict(bad=1., fine=2., good=1.), splitter=layerwise_splitter)
    learn.fit_one_cycle(1, slice(1e-4, 1e-3), wd=.02)
    rows = facts_of(model_card(learn))
    assert rows['precision']=='mixed, bf16' and 'share 4 tokens' in rows['length']
    assert 'at most 20' in rows['length'] and rows['splitter']=='`layerwise_splitter`'
    assert 'class weights' in rows['loss']
    assert rows['highest learning rate'].startswith('1.0e-04, ')
    assert '1.0e-03 (by group, head last)' in rows['highest learning rate']
    assert rows['weight decay']=='0.02'

def test_base_model_only_if_it_is_one_of_the_hub(bert, in_tmp):
    learn = learner('single', bert)
    assert ModelCard(model_card(learn)).data.base_model is None and str(bert.parent) not in model_card(learn)
    for name,want in (('google-bert/bert-base-cased',)*2, ('bert-base-cased',)*2, ('a/folder/model', None), ('./model', None), ('here', None)):
        (in_tmp/'here').mkdir(exist_ok=True)
        learn.model.name_or_path = name
        assert ModelCard(model_card(learn)).data.base_model==want
        again = TransformersLearner.from_pretrained(learn.save_pretrained('saved'))
        assert ModelCard(model_card(again)).data.base_model==(want if want and '/' in want else None)
        assert again.facts['base']==name.split('/')[-1]*(want is None)+(want or '')

@with_answers
def test_push_and_back(hub, trained, kind, in_tmp):
    learn = trained(kind)
    texts,before = asked_of(kind, valid_frame(learn, kind)),told(learn)
    url = learn.push_to_hub('ada/films', commit_message='first', private=True, license='mit')
    assert url.startswith('https://huggingface.co/ada/films/commit/')
    assert hub.commits==['first'] and hub.private['ada/films']
    assert hub.tokens-{None}=={'Bearer hf_of_ada'}
    files = hub.repos['ada/films']['main']
    assert {'README.md','blurlike.json','config.json','model.safetensors'}<=set(files)
    assert ModelCard(files['README.md'].decode()).data.license=='mit'
    again = TransformersLearner.from_pretrained('ada/films')
    assert again.predict_batch(texts)==learn.predict_batch(texts)
    assert all(torch.equal(v, before[k]) for k,v in learn.model.state_dict().items())
    assert [p.name for p in in_tmp.iterdir()]==['cache']

def test_the_learner_trains_on_after_a_push(hub, bert, in_tmp):
    one,two = learner('single', bert),learner('single', bert)
    for learn,push in ((one,True), (two,False)):
        set_seed(0)
        learn.fit(1, 1e-3)
        if push: learn.push_to_hub('films')
        set_seed(1)
        learn.fit(1, 1e-3)
    assert all(torch.equal(a, b) for a,b in zip(told(one).values(), told(two).values()))

def test_words_and_gaps(hub, bert, in_tmp):
    tagged = token_classification_learner([dict(tokens=['Ada','met','Bob'], tags=['B-PER','O','B-PER'])]*8, bert, bs=4)
    gaps = masked_lm_learner(FRAMES['single'], bert)
    for learn,tag,item in ((tagged,'token-classification',"'A text.'"), (gaps,'fill-mask',"'A text with one [MASK].'")):
        with learn.no_bar(), learn.no_logging(): learn.fit(1)
        learn.push_to_hub('model')
        card = ModelCard(hub.repos['ada/model']['main']['README.md'].decode())
        assert card.data.pipeline_tag==tag
        assert f"pipeline('{tag}', model='ada/model')" in card.text
        assert f'pipe({item})' in card.text and 'film was' not in card.text
        assert {r.metric_type for r in card.data.eval_results}=={'loss'}|{m.name for m in learn.metrics}
        assert TransformersLearner.from_pretrained('ada/model').predict_batch(['Ada met [MASK]'])==learn.predict_batch(['Ada met [MASK]'])

def test_second_push_leaves_nothing_stale(hub, bert, in_tmp):
    learn = learner('single', bert)
    learn.push_to_hub('films')
    files = hub.repos['ada/films']['main']
    files |= {'generation_config.json':b'{}', 'notes.txt':b'mine', 'onnx/config.json':b'{}', 'additional_chat_templates/short.jinja':b'{{ messages }}'}
    learn.push_to_hub('ada/films', card='# Mine')
    assert not files.keys()&{'generation_config.json', 'additional_chat_templates/short.jinja'} and files['notes.txt']==b'mine'
    assert 'onnx/config.json' in files and files['README.md']==b'# Mine'
    assert len(hub.commits)==2
    TransformersLearner.from_pretrained('ada/films')

def test_branch(hub, bert, in_tmp):
    learn = learner('single', bert)
    learn.push_to_hub('films', revision='trial')
    assert 'config.json' in hub.repos['ada/films']['trial'] and hub.repos['ada/films']['main']=={}

def test_adapters(hub, bert, in_tmp):
    peft = pytest.importorskip('peft', reason='adapters need peft')
    learn = learner('single', bert, peft=peft.LoraConfig(target_modules='all-linear', r=2))
    learn.model.name_or_path = str(bert)
    learn.push_to_hub('merged')
    learn.push_to_hub('alone', merge=False)
    card = {n:ModelCard(hub.repos[f'ada/{n}']['main']['README.md'].decode()) for n in ('merged','alone')}
    assert card['merged'].data.library_name=='transformers'
    assert card['alone'].data.library_name=='peft' and 'pipeline(' in card['merged'].text
    assert 'pipeline(' not in card['alone'].text
    assert 'LoraConfig(r=2' in card['alone'].text
    def told(o): return next(line for line in o.splitlines() if line.startswith('| parameters'))
    assert told(card['merged'].text)==told(model_card(learner('single', bert))) and told(card['alone'].text)!=told(card['merged'].text)
    assert 'adapter_model.safetensors' in hub.repos['ada/alone']['main']
    assert 'model.safetensors' not in hub.repos['ada/alone']['main']
    again = TransformersLearner.from_pretrained('ada/alone')
    assert torch.allclose(again.predict_logits(TEXTS[:8]), learn.predict_logits(TEXTS[:8]), atol=1e-6)

def test_clear_errors_before_anything_is_written(hub, trained, monkeypatch, in_tmp):
    learn = trained('single')
    monkeypatch.setattr(TransformersLearner, 'save_pretrained', lambda *a, **k: pytest.fail('saved'))
    with monkeypatch.context() as m:
        m.setattr(constants, 'HF_HUB_OFFLINE', True)
        with pytest.raises(ConnectionError, match='HF_HUB_OFFLINE=1.*save_pretrained'): learn.push_to_hub('films')
    with monkeypatch.context() as m:
        m.setattr('blurlike.share.hub.get_token', lambda: None)
        m.setattr('builtins.input', lambda *a: pytest.fail('asked'))
        for token in (None, True, False, ''):
            with pytest.raises(ValueError, match='no Hugging Face token.*hf auth login'): learn.push_to_hub('films', token=token)
    assert hub.asked==[]
    with monkeypatch.context() as m:
        m.setattr(constants, 'ENDPOINT', 'http://127.0.0.1:9')
        with pytest.raises(ConnectionError, match='127.0.0.1:9 could not be reached'): learn.push_to_hub('films')
    with pytest.raises(ValueError, match='films'): learn.push_to_hub('a/b/films')
    hub.answer = lambda *a: (403, dict(error='no right to write'))
    with pytest.raises(HfHubHTTPError, match='403'): learn.push_to_hub('films')
    learn.task,task = None,learn.task
    with pytest.raises(ValueError, match='no task'): model_card(learn)
    learn.task = task

def test_card_in_a_folder_outlives_a_later_save(bert, in_tmp):
    learn = learner('single', bert)
    folder = learn.save_pretrained('films')
    (folder/'README.md').write_text('# Mine')
    (folder/'notes.md').write_text('gone')
    TransformersLearner.from_pretrained(folder)
    learn.save_pretrained('films')
    assert (folder/'README.md').read_text()=='# Mine' and (folder/'notes.md').exists()
    (folder/'README.md').write_text('# Mine, edited')
    assert TransformersLearner.from_pretrained(folder).predict_batch(TEXTS)==learn.predict_batch(TEXTS)

@with_answers
def test_fastais_own_way(hub, trained, kind, monkeypatch, in_tmp):
    learn,path = trained(kind),trained(kind).path
    texts = asked_of(kind, valid_frame(learn, kind))
    monkeypatch.setitem(sys.modules, 'toml', SimpleNamespace(load=lambda f: tomllib.loads(open(f).read()))) # all that huggingface_hub wants of that package
    try:
        _save_pretrained_fastai(learn, 'folder')
        assert from_pretrained_fastai('folder').predict_batch(texts)==learn.predict_batch(texts)
        push_to_hub_fastai(learn, repo_id='ada/pickled', token='hf_of_ada')
        assert set(hub.repos['ada/pickled']['main'])>={'model.pkl','pyproject.toml','README.md'}
        assert from_pretrained_fastai('ada/pickled').predict_batch(texts)==learn.predict_batch(texts)
    finally: learn.path = path # huggingface_hub leaves the learner in the folder to which it exported

def test_the_card_tells_what_a_pipeline_leaves_out(bert):
    learn = learner('single', bert, overlap=4, max_length=12, dl_kwargs=dict(max_tokens=100))
    said = 'reads the first 12 tokens of a longer text alone'
    assert said in model_card(learn) and '| batch size | up to 100 tokens |' in model_card(learn)
    assert said not in model_card(learner('single', bert, max_length=12))
    assert 'It calls the tokenizer' not in model_card(learn)
    learn.dls.text_tfm.tokenizer_kwargs = dict(add_special_tokens=False)
    assert 'It calls the tokenizer without add_special_tokens=False.' in model_card(learn)
    several = learner('multi', bert)
    assert 'knows nothing of the decisions' not in model_card(several)
    several.threshold = .3
    assert 'knows nothing of the decisions' in model_card(several)

def test_the_card_tells_of_the_fit_and_not_of_the_search_for_a_rate(bert, in_tmp):
    learn = learner('single', bert)
    learn.fit_one_cycle(1, 1e-3)
    before = model_card(learn)
    learn.lr_find(show_plot=False)
    learn.freeze()
    assert model_card(learn)==before and '1.0e-03' in before and f'{sum(p.numel() for p in learn.model.parameters()):,}' in before
