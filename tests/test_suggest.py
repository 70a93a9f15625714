"What a fit begins with where nobody says: the learner's rate by the width of its model, and `suggest`."
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as tf
from fastai.callback.core import Callback
from fastai.optimizer import Adam, OptimWrapper
from fastai.torch_core import params, trainable_params
from peft import LoraConfig
from torch import nn

from blurlike.train import rates, suggest
from blurlike.all import TransformersLearner, curve_doubt, sequence_classification_learner, suggest_epochs, suggest_rate, token_classification_learner
from small import BS, FRAMES, first, in_tmp, table, word_tokenizer # noqa: F401

pytestmark = pytest.mark.usefixtures('in_tmp') # the finder writes where it is

df = FRAMES['single']

two_labels = df[df.label!='fine'].reset_index(drop=True)

def learner(checkpoint, df=df, **kwargs): return sequence_classification_learner(df, checkpoint, bs=BS, dl_kwargs=dict(device='cpu'), **kwargs)

@pytest.fixture(scope='module')
def wide(tmp_path_factory):
    folder,tokenizer = tmp_path_factory.mktemp('wide'),word_tokenizer('input_ids','attention_mask')
    tokenizer.save_pretrained(folder)
    size = dict(hidden_size=768, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    tf.BertModel(tf.BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **size)).save_pretrained(folder)
    return folder

def test_a_fit_without_a_rate_takes_one_that_suits_the_width(wide):
    learn = learner(wide, two_labels)
    assert learn.lr==5e-5 and 'two rates' not in str(learn.suggest())
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1)
    assert max(learn.recorder.hps['lr'])==pytest.approx(5e-5, rel=.05)

@pytest.mark.parametrize('fit', first(['fit_one_cycle','fit_linear','fit']))
def test_the_head_of_many_labels_takes_four_times_the_rate_of_the_body(fit, wide):
    learn,seen = learner(wide),Rates()
    assert learn.lr==learn.suggest().lr==slice(5e-5, 2e-4) and '5e-05 to 0.0002' in str(learn.suggest()) and '(two rates: body and head)' in str(learn.suggest())
    with learn.no_bar(), learn.no_logging(): getattr(learn, fit)(2, cbs=seen)
    np.testing.assert_allclose(np.max(seen.fits[-1], 0), [5e-5, 1e-4, 2e-4], rtol=.1)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-4, cbs=seen)
    assert len(set(np.max(seen.fits[-1], 0)))==1 # a rate that is given is that of all

def test_one_group_of_parameters_takes_one_rate(wide): assert learner(wide, splitter=lambda model: [list(model.parameters())]).lr==5e-5

@pytest.mark.parametrize('splitter', [params, trainable_params, lambda model: tuple(model.parameters())])
def test_a_list_of_parameters_is_one_group(splitter, wide):
    learn = learner(wide, splitter=splitter)
    learn.create_opt()
    assert learn.lr==learn.suggest().lr==5e-5 and [h['lr'] for h in learn.opt.hypers]==[5e-5]

@pytest.mark.parametrize('opt', [torch.optim.AdamW, torch.optim.SGD])
def test_optimizers_of_pytorch_take_both_rates(opt, wide):
    learn,seen = learner(wide, opt_func=partial(OptimWrapper, opt=opt)),Rates()
    with learn.no_bar(), learn.no_logging(): learn.fit(1, cbs=seen)
    np.testing.assert_allclose(seen.fits[-1][0], [5e-5, 1e-4, 2e-4], rtol=1e-5)
    assert learn.lr==slice(5e-5, 2e-4)

def test_a_frozen_learner_is_told_the_rates_of_all_its_groups(wide):
    learn = learner(wide)
    learn.freeze()
    assert learn.suggest().lr==learn.lr==slice(5e-5, 2e-4)

def test_a_saved_adapter_comes_back_with_its_rate(wide, tmp_path):
    learn = learner(wide, peft=LoraConfig(r=2, target_modules=['query','value']))
    learn.save_pretrained(tmp_path/'adapter', merge=False)
    again = TransformersLearner.from_pretrained(tmp_path/'adapter')
    assert again.lr==learn.lr==1e-3
    assert TransformersLearner.from_pretrained(tmp_path/'adapter', lr=2e-4).lr==2e-4

def test_a_rate_that_is_given_is_the_learners(wide): assert learner(wide, lr=3e-4).lr==3e-4

def test_taggers_take_four_times_the_rate(wide):
    data = [dict(tokens=t.split(), tags=['O']*len(t.split())) for t in df.text[:8]]+[dict(tokens=['a'], tags=['B-X'])]*2
    learn = token_classification_learner(data, wide, bs=BS, dl_kwargs=dict(device='cpu'))
    assert learn.lr==learn.suggest().lr==2e-4 and suggest_rate(learn.model)==5e-5
    assert TransformersLearner(learn.dls, wide).lr==2e-4 # made by hand, too

def test_adapters_take_fastais_rate(wide):
    assert learner(wide, peft=LoraConfig(r=2, target_modules=['query','value'])).lr==1e-3

@pytest.mark.parametrize('model,rate', [
    (tf.GPT2Model(tf.GPT2Config(vocab_size=9, n_embd=400, n_layer=1, n_head=2)), 1e-4), # hidden_size has another name there
    (tf.BertModel(tf.BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)), 1e-3), # never above fastai's
    (nn.Linear(2, 2), 1e-3)])
def test_the_rate_of_any_model(model, rate): assert suggest_rate(model)==rate

@pytest.mark.parametrize('rows,bs,epochs', [(1, 16, 10), (300, 16, 8), (300, 64, 10), (1000, 16, 2), (10**6, 16, 2)])
def test_fewer_rows_get_more_passes_within_bounds(rows, bs, epochs): assert suggest_epochs(rows, bs)==epochs

def test_suggest_reads_the_loaders_and_trains_nothing(wide):
    learn = learner(wide)
    before = {k:v.clone() for k,v in learn.model.state_dict().items()}
    s = learn.suggest()
    rows = len(learn.dls.train_ds)
    assert (s.epochs, s.lr, s.bs)==(suggest_epochs(rows, BS), slice(5e-5, 2e-4), BS)
    assert all(v.equal(before[k]) for k,v in learn.model.state_dict().items()) and learn.opt is None
    shown = str(s).splitlines()
    assert [line.split()[0] for line in shown]==['epochs','lr','bs','->'] and f'{rows} rows' in shown[0]
    assert shown[-1]==f'-> learn.fit_one_cycle({s.epochs}, slice(5e-05, 0.0002))' and eval(shown[-1].split(', ', 1)[1][:-1])==s.lr
    assert str(learner(wide, two_labels).suggest()).endswith(', 5e-05)')

def test_fine_tune_takes_what_suggest_names(wide):
    learn = learner(wide)
    with learn.no_bar(), learn.no_logging(), warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        learn.fine_tune(1, learn.suggest().lr)
        assert np.isclose(learn.recorder.hps['lr'], 0).sum()==0 and np.isclose(max(learn.recorder.hps['lr']), 2e-4, rtol=.05)
        learn.fine_tune(1, 1e-3)
        learn.fine_tune(1)

def test_a_rate_of_all_layers_is_none_for_fine_tune(wide):
    learn = learner(wide)
    with learn.no_bar(), learn.no_logging(), pytest.warns(UserWarning, match=r"fine_tune\(0.00013\): .* first layers get 3e-06.*Leave it out \(it is then 0.001\).*fit_one_cycle"): learn.fine_tune(1, 1.3e-4)

def test_a_saved_learner_without_rows_has_a_rate_and_nothing_to_suggest(wide, tmp_path):
    saved = learner(wide).save_pretrained(tmp_path/'m')
    again = TransformersLearner.from_pretrained(saved)
    assert again.lr==slice(5e-5, 2e-4)
    with pytest.raises(ValueError, match='no training rows'): again.suggest()

class Rates(Callback):
    "The highest rate of each group in each fit"
    def __init__(self): self.fits = []
    def before_fit(self): self.fits.append([])
    def before_step(self): self.fits[-1].append([h['lr'] for h in self.opt.hypers])

def highest(learn, *args, **kwargs):
    learn.add_cb(rates := Rates())
    with learn.no_bar(), learn.no_logging(): learn.fine_tune(1, *args, **kwargs)
    return [np.max(f, axis=0) for f in rates.fits]

def test_fine_tune_moves_the_body_and_hurries_the_head(wide):
    alone,together = highest(learner(wide))
    assert alone[-1]==pytest.approx(1e-3, rel=.05) # 20 times the learner's rate
    assert together[[0,-1]]==pytest.approx([2.5e-5,5e-4], rel=.05)

def test_fine_tune_takes_what_it_is_given_as_fastai_does(wide):
    alone,together = highest(learner(wide), 1e-4, lr_mult=100, freeze_epochs=2)
    assert alone[-1]==pytest.approx(1e-4, rel=.05) and together[[0,-1]]==pytest.approx([5e-7,5e-5], rel=.05)

def test_fine_tune_is_never_faster_than_fastais(bert): assert highest(learner(bert, lr=1e-2))[0][-1]==pytest.approx(2e-3, rel=.05)

# A suggestion of `lr_find` that means little

def told(learn, **kwargs):
    with learn.no_bar(), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        found = learn.lr_find(show_plot=False, **kwargs)
    return found,[str(w.message) for w in said if str(w.message).startswith('lr_find: ')]

ROWS = table('single', 320)

@pytest.mark.slow
@pytest.mark.parametrize('can_learn', [True, False])
def test_a_rate_is_doubtful_where_the_curve_hardly_falls(can_learn, bert):
    rows = ROWS if can_learn else ROWS.assign(label=np.random.default_rng(0).permutation(ROWS.label))
    learn = sequence_classification_learner(rows, bert, bs=16, dl_kwargs=dict(device='cpu'), seed=0)
    found,said = told(learn)
    assert found.valley and curve_doubt(learn.recorder.losses)==(None if can_learn else said[0].removeprefix('lr_find: '))
    assert bool(said)==(not can_learn)
    if said: assert 'the suggested rate means little' in said[0] and 'num_it=' in said[0] and 'learn.suggest().lr' in said[0]

def test_few_steps_tell_nothing(bert):
    learn = learner(bert)
    assert 'are too few for a suggestion' in told(learn, num_it=12)[1][0]
    assert told(learn, num_it=12, suggest_funcs=None)==(None, []) # none was asked for

@pytest.mark.slow
def test_two_rates_are_told_as_two(wide, capsys):
    from blurlike.cli import _fit
    from types import SimpleNamespace
    learn = learner(wide)
    assert suggest.shown_rate(learn.lr)=='5e-05 to 0.0002' and suggest.shown_rate(1e-3)=='0.001' and suggest.shown_rate(slice(1e-3))=='0.0001 to 0.001'
    with learn.no_bar(): _fit(learn, SimpleNamespace(checkpoints=None, steps=None, resume=False, lr=None, epochs=1))
    assert 'highest learning rate: ' in capsys.readouterr().out

def curve(fall, noise, n=99, seed=0):
    level = np.concatenate([np.full(n//2, 1.), np.linspace(1, 1-fall, n//4), np.linspace(1-fall, 4, n-n//2-n//4)])
    return pd.Series(level+np.random.default_rng(seed).normal(0, noise, n)).ewm(alpha=.02).mean().to_numpy()

def test_the_rule():
    for scale in (1, 1e-4, 1e4): # of any unit
        assert {curve_doubt(curve(.5, .01, seed=i)*scale) for i in range(20)}=={None}
        assert sum(curve_doubt(curve(0, .05, seed=i)*scale) is None for i in range(20))<=4 # chance may look like a fall
    exploded = np.append(curve(.5, .01)[:90], [np.inf, np.nan, np.nan])
    assert curve_doubt(exploded) is None
    assert 'means little' in curve_doubt(np.ones(99)) and 'means little' in curve_doubt(np.linspace(1, 3, 99))
    assert 'no number, even at the lowest rates' in curve_doubt(np.full(99, np.nan))

@pytest.mark.parametrize('doubt', [None, 'the loss falls by 0'])
def test_a_program_takes_no_rate_that_means_nothing(doubt, bert, monkeypatch):
    learn = learner(bert)
    seen = []
    monkeypatch.setattr(suggest, 'curve_doubt', lambda losses: seen.append(len(losses)) or doubt)
    monkeypatch.setattr(rates, 'curve_doubt', lambda losses: pytest.fail('the words say it already'))
    rate,whence = suggest.found_rate(learn, 40)
    assert 30<=seen[0]<=40 and (rate==learn.suggest().lr)==(doubt is not None) and ('finder suggests' in whence)==(doubt is None)

def test_a_program_whose_finder_ends_early_takes_the_rate_of_the_model(bert):
    df = FRAMES['regression'].copy()
    df['score'] = df.score/100
    df.loc[df.index%20==0, 'score'] = 1e4
    learn = sequence_classification_learner(df, bert, label='score', bs=4)
    before = {k:v.clone() for k,v in learn.model.state_dict().items()}
    assert suggest.found_rate(learn)[0]==learn.suggest().lr and len(learn.recorder.losses)<10
    assert all(torch.equal(v, before[k]) for k,v in learn.model.state_dict().items())

class Breaks(Callback):
    def __init__(self, event): self.event = event
    def __call__(self, event):
        if event==self.event: [][1]

@pytest.mark.parametrize('event', ['before_fit','before_batch'])
def test_an_error_of_ones_own_is_no_early_end(event, bert):
    learn = learner(bert, cbs=Breaks(event))
    for find in (lambda: suggest.found_rate(learn), lambda: learn.lr_find(show_plot=False)):
        with learn.no_bar(), pytest.raises(IndexError, match='list index out of range'): find()

def test_a_rate_from_which_others_are_computed_is_a_number_or_a_slice(bert):
    for rate in ([1e-4, 1e-3], np.array([1e-4, 1e-3]), '1e-3'):
        with pytest.raises(TypeError, match=r"lr=.*: a number or slice\(lowest, highest\) is expected; a list"): learner(bert, lr=rate)
    learn = learner(bert, lr=torch.tensor(1e-3))
    with pytest.raises(TypeError, match=r"base_lr=\[0.0001, 0.001\]: a number or slice"): learn.fine_tune(1, [1e-4, 1e-3])
    for warmup in ('0.1', None):
        with pytest.raises(ValueError, match=f'warmup={warmup!r} is not a share of the steps'): learn.fit_linear(1, 1e-3, warmup=warmup)
    with learn.no_bar(), learn.no_logging(): learn.fit_linear(1, [1e-4], warmup=np.float32(.1))

def test_a_list_of_rates_for_an_optimizer_that_takes_one(bert):
    for lr in ([1e-4, 1e-3], np.array([1e-4, 1e-3])):
        learn = learner(bert, lr=lr, opt_func=Adam, splitter=lambda m: [params(m.bert), params(m.classifier)])
        with learn.no_bar(), learn.no_logging(): learn.fit(1)
        assert [h['lr'] for h in learn.opt.hypers]==[1e-4, 1e-3]
        with pytest.raises(TypeError, match=r"^lr=.*: a number or slice"): learn.fine_tune(1)
    with learn.no_bar(), learn.no_logging(): learn.fit_linear(1, 1e-3, warmup=torch.tensor(.1))

def test_a_slice_without_an_end(bert):
    with pytest.raises(ValueError, match='its end is missing'): sequence_classification_learner(FRAMES['single'], bert).fine_tune(1, slice(1e-5, None))
