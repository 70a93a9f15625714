"`find_checkpoints` against a server that answers as the Hub does: what is asked, what is kept, and what is said when there is no network."
from dataclasses import replace

import pandas as pd
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from hub_stand_in import Hub, serve

from blurlike.all import LEARNERS, TASKS, find_checkpoints

def entry(name, n, downloads, tag='fill-mask', kind='bert', langs=('en',), library='transformers', **more):
    tags = [library, kind, *langs, 'license:mit']
    return dict(id=name, pipeline_tag=tag, downloads=downloads, tags=tags, config=dict(model_type=kind), safetensors=n and dict(parameters={'F32':n}, total=n), gated=False) | more

ON_HUB = [entry('a/base', 110_000_000, 900), entry('a/large', 340_000_000, 1000), entry('b/german', 66_000_000, 10, langs=('de',), kind='distilbert'),
    entry('b/both', 278_000_000, 50, langs=('de','en'), kind='xlm-roberta', cardData=dict(license='apache-2.0')), entry('c/own-code', 5_000_000, 800, kind='mine'),
    entry('c/no-config', 5_000_000, 790, config=None), entry('d/mini', 22_000_000, 5000, tag='sentence-similarity', gated='auto'),
    entry('e/embed', 33_000_000, 700, tag='feature-extraction'), entry('f/old', None, 600), entry('g/keras', 9_000_000, 990, library='keras'),
    entry('h/gpt', 124_000_000, 2000, tag='text-generation', kind='gpt2'), entry('i/tagger', 110_000_000, 300, tag='token-classification'),
    entry('j/mood', 66_000_000, 400, tag='text-classification', kind='distilbert'), entry('k/small', 60_000_000, 100, tag='translation', kind='t5'),
    entry('l/reader', 66_000_000, 90, tag='question-answering')]

@pytest.fixture
def hub(monkeypatch):
    hub = Hub()
    hub.models = ON_HUB
    server = serve(hub)
    for k,v in dict(ENDPOINT=f'http://127.0.0.1:{server.server_port}', HF_HUB_OFFLINE=False).items(): monkeypatch.setattr(constants, k, v)
    yield hub
    server.shutdown()
    server.server_close()

def names(*args, **kwargs): return find_checkpoints(*args, **kwargs).name.tolist()

def test_a_table_of_encoders(hub):
    found = find_checkpoints('sequence_classification')
    assert found.name.tolist()==['d/mini','a/large','a/base','e/embed','f/old','b/both','b/german']
    mini,old = found.iloc[0],found.iloc[4]
    assert mini.to_dict()==dict(name='d/mini', parameters=22_000_000, downloads=5000, license='mit', architecture='bert', tag='sentence-similarity', gated=True)
    assert pd.isna(old.parameters) and not old.gated
    assert found.license[5]=='apache-2.0' and found.parameters.dtype=='Int64'
    assert all(s['sort']==['downloads'] and 'transformers' in s['filter'] for s in hub.searches) and len(hub.searches)==3

@pytest.mark.parametrize('kwargs,want', [
    (dict(language='de'), ['b/both','b/german']), (dict(language=['de','en']), ['b/both']),
    (dict(max_parameters=66_000_000), ['d/mini','e/embed','b/german']), (dict(n=2), ['d/mini','a/large']),
    (dict(language='de', max_parameters=100_000_000), ['b/german'])])
def test_what_is_asked_for(hub, kwargs, want): assert names('sequence_classification', **kwargs)==want

def test_the_hub_filters_by_size_and_language(hub):
    names('sequence_classification', language='de', max_parameters=1_500_000_000, author='me')
    assert all(s['num_parameters']==['max:2B'] and s['filter']==['transformers','de'] and s['author']==['me'] for s in hub.searches)

@pytest.mark.parametrize('task,want', [('masked_lm', 'a/large'), ('causal_lm', 'h/gpt'), ('seq2seq', 'k/small'), ('token_classification', 'd/mini'), ('multiple_choice', 'd/mini'),
    ('question_answering', 'd/mini'), ('regression', 'd/mini'), ('single_label_classification', 'd/mini'), ('token_classification_learner', 'd/mini')])
def test_each_task_has_its_own(hub, task, want): assert names(task, n=1)==[want]

def test_every_learner_and_task_is_known(hub):
    for name in [*LEARNERS, *TASKS]: assert names(name)

def test_a_task_or_a_learner_may_be_given(hub, trained):
    assert names(trained('single'), n=1)==names(TASKS['multi_label_classification'], n=1)==['d/mini']

def test_those_that_were_trained_for_it(hub):
    assert names('token_classification', trained=True)==['i/tagger'] and names('sequence_classification', trained=True)==['j/mood']
    assert names('question_answering', trained=True)==['l/reader'] and names('seq2seq', trained=True)==['k/small'] # which have no pipeline
    untagged = replace(TASKS['multiple_choice'], trained_tags=())
    with pytest.raises(ValueError, match='no tag for models trained for multiple_choice'): names(untagged, trained=True)

def test_only_as_many_pages_as_needed(hub):
    hub.page = 2
    assert names('masked_lm', n=1)==['a/large'] and len(hub.searches)==1
    assert names('masked_lm', n=3)==['a/large','a/base','f/old'] and len(hub.searches)==4

def test_nothing_suits(hub):
    with pytest.warns(UserWarning, match='no checkpoint on the Hub suits'): found = find_checkpoints('masked_lm', max_parameters=1000)
    assert len(found)==0 and list(found.columns)[:3]==['name','parameters','downloads']

@pytest.mark.parametrize('args,kwargs,error,said', [
    (('juggling',), {}, KeyError, r"unknown task 'juggling' \(there are causal_lm, .*sequence_classification"), (('sequence_clasification',), {}, KeyError, "did you mean 'sequence_classification'"), ((3,), {}, TypeError, 'the name of a task'),
    (('masked_lm','German'), {}, ValueError, "language='German': a code"), (('masked_lm',), dict(max_parameters=0), ValueError, 'max_parameters=0: a whole number'),
    (('masked_lm',), dict(max_parameters='1B'), ValueError, "max_parameters='1B'"), (('masked_lm',), dict(n=0), ValueError, 'n=0'),
    (('masked_lm',), dict(licence='mit'), TypeError, 'licence')])
def test_bad_arguments(hub, args, kwargs, error, said):
    with pytest.raises(error, match=said): find_checkpoints(*args, **kwargs)
    assert not hub.searches

def test_offline(monkeypatch):
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    with pytest.raises(ConnectionError, match='HF_HUB_OFFLINE=1 keeps'): find_checkpoints('masked_lm')

def test_no_server(monkeypatch):
    import huggingface_hub.utils._http as http
    monkeypatch.setattr(http.time, 'sleep', lambda s: None) # between its tries
    for k,v in dict(ENDPOINT='http://127.0.0.1:9', HF_HUB_OFFLINE=False).items(): monkeypatch.setattr(constants, k, v)
    with pytest.raises(ConnectionError, match='http://127.0.0.1:9 could not be reached'): find_checkpoints('masked_lm')

def test_what_the_hub_refuses_is_said_as_it_is(hub, monkeypatch):
    monkeypatch.setattr(hub, 'answer', lambda *args: (401, dict(error='Invalid token')))
    with pytest.raises(HfHubHTTPError): find_checkpoints('masked_lm')
