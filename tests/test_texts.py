"Texts as they come: what is cut, tokens that were added, odd items, adapters of every kind, devices by name."
import warnings

import pandas as pd
import pytest
import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ColReader, RandomSplitter
from small import BS, FRAMES, TEXTS, bert, checkpoints, in_tmp, learner # noqa: F401

from blurlike.all import TransformersLearner, TransformersTextBlock, load_learner, token_classification_learner

pytestmark = pytest.mark.usefixtures('in_tmp')

def quiet(learn, f):
    with learn.no_bar(), learn.no_logging(): return f()

def said_in(f):
    "The cut-off warnings in a call of `f`."
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter('always')
        f()
    return [str(w.message) for w in record if 'longer than max_length' in str(w.message)]

# --- what is cut is told once

LOOKS = dict(batch=lambda learn: learn.dls.one_batch(), shown=lambda learn: learn.dls.show_batch(show=False), unique=lambda learn: learn.dls.train.show_batch(unique=True, show=False),
    shapes=lambda learn: learn.summary(), valid=lambda learn: learn.dls.valid.one_batch())

@pytest.mark.parametrize('kwargs', [{}, dict(memory=0), dict(max_tokens=64)], ids=['remembered','forgotten','tokens'])
@pytest.mark.parametrize('look', LOOKS)
def test_a_look_at_a_batch_hides_no_cut(look, kwargs, bert):
    def said(first):
        learn = learner('single', bert, max_length=8, dl_kwargs=kwargs)
        early = said_in(lambda: LOOKS[look](learn)) if first else []
        return early+said_in(lambda: quiet(learn, lambda: learn.fit(1)))
    assert said(True)[-1:]==said(False) and len(said(False))==1 and ' of 36 texts' in said(False)[0] # the lengths of validation rows may have been told of before

def test_a_cut_is_told_once_a_learner(bert):
    learn = learner('single', bert, max_length=8)
    def use():
        for _ in range(2):
            quiet(learn, lambda: learn.fit(1))
            learn.predict_batch(TEXTS)
            learn.predict(max(TEXTS, key=len))
            quiet(learn, lambda: learn.get_preds(dl=learn.dls.test_dl(TEXTS)))
            quiet(learn, learn.validate)
    assert len(said_in(use))==1 and said_in(use)==[]
    learn.save_pretrained('m')
    learn.export('m.pkl')
    for again in (TransformersLearner.from_pretrained('m'), load_learner('m.pkl')): # another process, other eyes
        assert len(said_in(lambda: [again.predict_batch(TEXTS) for _ in range(2)]))==1

def test_a_prediction_hides_no_cut_in_training(bert):
    learn = learner('single', bert, max_length=8)
    assert said_in(lambda: learn.predict('the '*20))==['1 of 1 texts (100.0%) are longer than max_length=8: 14 of 22 tokens (63.6%) were cut off.']
    said, = said_in(lambda: quiet(learn, lambda: learn.fit(2)))
    assert ' of 36 texts' in said

@pytest.mark.parametrize('given', [True, False])
def test_advice_only_where_nobody_chose(given, bert):
    learn = learner('single', bert, pd.DataFrame(dict(text=['the '*90, 'film', 'town', 'river']*2, label=list('abab')*2)), max_length=64 if given else None)
    said, = said_in(lambda: quiet(learn, lambda: learn.fit(1)))
    assert said.endswith('were cut off.')==given and ('overlap=' in said)!=given

def test_words_that_were_cut_off_are_told_of_once(bert):
    df = pd.DataFrame(dict(tokens=[t.split()*2 for t in TEXTS[:12]], tags=[['O','B-X']*len(t.split()) for t in TEXTS[:12]]))
    learn = token_classification_learner(df, bert, max_length=8, valid=.25, bs=4)
    said = said_in(lambda: (quiet(learn, lambda: learn.fit(2)), [learn.predict_batch(df.tokens.tolist()) for _ in range(2)], learn.predict(df.tokens[0])))
    assert len(said)==2 and said[1].startswith('Words that were cut off get no prediction of their own.')

def test_a_cut_is_told_by_workers_too(bert):
    learn = learner('single', bert, max_length=8, dl_kwargs=dict(num_workers=1))
    assert said_in(lambda: (learn.dls.show_batch(show=False), quiet(learn, lambda: learn.fit(1))))==said_in(lambda: quiet(o := learner('single', bert, max_length=8), lambda: o.fit(1)))!=[]

# --- devices by name

@pytest.mark.parametrize('device', ['cpu', torch.device('cpu')], ids=repr)
@pytest.mark.parametrize('by', ['line','block','to'])
def test_a_device_by_its_name(by, device, bert):
    from blurlike.tracking import WandbCallback
    import wandb
    wandb.init(mode='disabled')
    if by=='block': learn = TransformersLearner(DataBlock((TransformersTextBlock(bert), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'), splitter=RandomSplitter(.25, 0)).dataloaders(FRAMES['single'], bs=BS, device=device), bert, precision='bf16')
    else: learn = learner('single', bert, precision='bf16', dl_kwargs=dict(device=device) if by=='line' else {})
    if by=='to': learn.dls.to(device)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        quiet(learn, lambda: learn.fit(1, cbs=WandbCallback(log_preds=False)))
    assert learn.dls.device==torch.device('cpu') and learn.gather_args()['device']=='cpu'
