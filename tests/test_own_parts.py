"Models, losses and parts of one's own: what is right with transformers' is right with them, or is told."
import dataclasses
import random
import warnings
from copy import deepcopy

import numpy as np
import pytest
import torch
import transformers
from fastai.losses import BaseLoss
from peft import LoraConfig
from small import ARCH, FRAMES, close, direct_logits, learner
from torch import nn

from blurlike.all import (BCEWithLogitsLossFlat, Callback, CategoryBlock, ColReader, CrossEntropyLossFlat, DataBlock, FocalLossFlat, GradientAccumulation, IndexSplitter, Learner, LabelSmoothingCrossEntropyFlat, ModelInputsCallback,
    ModelLoss, MSELossFlat, RegressionBlock, TransformersLearner, TransformersTextBlock, load_learner, masked_lm_learner, sequence_classification_learner, set_seed)
from blurlike.task import find_task
from blurlike.model.model_inputs import output_of
from blurlike.model.class_weights import best_is_known
from blurlike.model.token_agreement import check_all_known

pytestmark = pytest.mark.usefixtures('in_tmp')
TEXT = 'the film was great'

def trained(learn, rate=1e-3):
    with warnings.catch_warnings(), learn.no_bar(), learn.no_logging():
        warnings.simplefilter('ignore')
        learn.fit(1, rate)
    return learn

def told(f):
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter('always')
        res = f()
    return res,[str(w.message) for w in record]

# --- models

class Own(transformers.BertPreTrainedModel):
    "A mean over all tokens, under the names that transformers has."
    def __init__(self, config):
        super().__init__(config)
        self.bert,self.classifier = transformers.BertModel(config),nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()
    def forward(self, input_ids, attention_mask=None, token_type_ids=None): return self.shown(self.classifier(self.bert(input_ids, attention_mask=attention_mask).last_hidden_state.mean(1)))
    def shown(self, logits): return transformers.modeling_outputs.SequenceClassifierOutput(logits=logits)

class OneNumber(Own):
    def shown(self, logits): return logits.squeeze(-1)
class Dict(Own):
    def shown(self, logits): return dict(logits=logits, loss=None)

def test_a_number_for_each_text(bert):
    learn = trained(learner('regression', OneNumber.from_pretrained(bert, num_labels=1)))
    number = learn.predict(TEXT)[0]
    assert learn.predict_batch([TEXT])==[dict(label='score', score=pytest.approx(number, abs=1e-5))]
    assert learn.predict_logits([TEXT]).shape==(1,1) and learn.get_preds()[0].ndim==1
    assert learn.explain(TEXT).names==['score']

def test_outputs_in_a_plain_dict(bert):
    learn = trained(learner('single', Own.from_pretrained(bert, num_labels=3)))
    other = learner('single', Dict.from_pretrained(bert, num_labels=3))
    other.model.load_state_dict(learn.model.state_dict())
    close(other.predict_logits([TEXT]), learn.predict_logits([TEXT]))
    trained(other)

class Later(Own):
    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        res = self.bert(input_ids, attention_mask=attention_mask)
        res.logits = self.classifier(res.last_hidden_state.mean(1))
        return res

@pytest.mark.parametrize('name', ['values','items','logits'])
def test_outputs_named_like_methods_of_a_dict(name):
    "Of a plain dict, and of a subclass."
    class Out(dict): pass
    for output in ({name:torch.ones(2)}, Out({name:torch.ones(2)})): assert output_of(output, name).sum()==2
    assert output_of({}, name) is None

def test_logits_that_are_set_on_an_output(bert): trained(learner('single', Later.from_pretrained(bert, num_labels=3)))

def numbers(bert, df=FRAMES['regression']):
    return DataBlock((TransformersTextBlock(bert), RegressionBlock), get_x=ColReader('text'), get_y=ColReader('score'), splitter=IndexSplitter(range(12))).dataloaders(df, bs=5)

def test_numbers_of_a_plain_learner(bert):
    "Loss and targets have the dimensions that the model gives: one of (B,1) and (B,) would be of all pairs."
    learn = trained(Learner(numbers(bert), OneNumber.from_pretrained(bert, num_labels=1, problem_type='single_label_classification'), loss_func=nn.MSELoss(), cbs=ModelInputsCallback()))
    preds,targets = learn.get_preds()
    assert preds.shape==(12,) and learn.validate()[0]==pytest.approx((preds-targets.view(-1)).pow(2).mean().item(), rel=1e-4)

class Wrapped(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.inner = model
    def forward(self, input_ids, attention_mask=None, token_type_ids=None): return self.inner(input_ids=input_ids, attention_mask=attention_mask).logits

def test_a_wrapper_in_the_place_of_the_model(bert):
    learn = learner('single', bert)
    want = learn.predict_logits([TEXT])
    learn.model = Wrapped(learn.model)
    close(learn.predict_logits([TEXT]), want)
    trained(learn)

class NoNames(Own):
    def forward(self, ids, mask=None): return super().forward(ids, mask)

class Module(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config,self.model = config,transformers.BertModel(config)

def test_models_that_take_no_batch(bert):
    with pytest.raises(TypeError, match=r'NoNames.forward takes .*ids.*given to it by names, input_ids, '):
        learner('single', NoNames.from_pretrained(bert, num_labels=3))
    module = Module(transformers.AutoConfig.from_pretrained(bert))
    for kwargs in ({}, dict(tokenizer=bert)):
        with pytest.raises(TypeError, match='Module is no model of transformers .it has no save_pretrained.: make it a subclass of PreTrainedModel'):
            learner('single', module, **kwargs)

def test_a_folder_of_a_class_of_ones_own(bert):
    learn = trained(learner('single', Own.from_pretrained(bert, num_labels=3)))
    said = told(lambda: learn.save_pretrained('own'))[1]
    assert any('Own is a class of your own' in s for s in said)
    said = told(lambda: TransformersLearner.from_pretrained('own'))[1]
    assert any("'own' holds the weights of a Own, whose code is not in it: they are in a BertForSequenceClassification now" in s for s in said)
    trained(learner('single', bert)).save_pretrained('plain')
    assert told(lambda: TransformersLearner.from_pretrained('plain'))[1]==[]

# --- parts that are put in later

def base_of(model): return model.base_model_prefix
def new_base(learn): setattr(learn.model, base_of(learn.model), deepcopy(getattr(learn.model, base_of(learn.model))))
def new_model(learn): learn.model = deepcopy(learn.model)

@pytest.mark.parametrize('change', [new_base, new_model])
@pytest.mark.parametrize('kind', ['single', 'prompts', 'gaps', *(pytest.param(k, marks=pytest.mark.slow) for k in ('choice','answers','summaries'))])
def test_predictions_know_the_model_of_now(kind, change, checkpoints):
    "Before any fit or validation; and files can be read."
    make = (lambda: masked_lm_learner(FRAMES['single'][['text']], checkpoints('bert'), valid=.25, bs=5)) if kind=='gaps' else lambda: learner(kind, checkpoints(ARCH[kind]))
    learn = trained(make())
    rows = ['the [MASK] was great'] if kind=='gaps' else FRAMES[kind][:3]
    before = learn.predict_batch(rows)
    change(learn)
    learn.model.tie_weights()
    assert repr(learn.predict_batch(rows))==repr(before)
    loss = learn.validate()[0]
    learn.export('m.pkl')
    assert repr(told(lambda: load_learner('m.pkl'))[0].predict_batch(rows))==repr(before)
    assert deepcopy(learn).validate()[0]==pytest.approx(loss)
    trained(learn)

def test_a_part_in_training_mode_does_not_train_in_predictions(bert):
    learn = trained(learner('single', bert))
    want = learn.predict_logits([TEXT])
    learn.model.classifier = nn.Sequential(nn.Dropout(.5), learn.model.classifier)
    for _ in range(3): close(learn.predict_logits([TEXT]), want)
    assert learn.model.classifier.training

def test_adapters_under_tokens_that_were_added(bert):
    learn = trained(learner('single', bert, peft=LoraConfig(target_modules=['query','value'])))
    learn.dls.tokenizer.add_tokens(['<drug>'])
    with pytest.raises(ValueError, match='with adapters make a new learner'): learn.predict(TEXT)
    learn.model.resize_token_embeddings(len(learn.dls.tokenizer))
    again = told(lambda: TransformersLearner.from_pretrained(learn.save_pretrained('alone', merge=False)))[0]
    close(again.predict_logits([TEXT,'<drug>']), learn.predict_logits([TEXT,'<drug>']))

def test_each_half_grows_by_itself(bert):
    tok = transformers.AutoTokenizer.from_pretrained(bert)
    model = transformers.EncoderDecoderModel.from_encoder_decoder_pretrained(str(bert), str(bert))
    tok.add_tokens(['<drug>'])
    for part in ('encoder','decoder'):
        with pytest.raises(ValueError, match=f'Call learn.model.{part}.resize_token_embeddings'): check_all_known(model, tok)
        getattr(model, part).resize_token_embeddings(len(tok))
    check_all_known(model, tok)

def test_embeddings_of_two_places_are_one(checkpoints):
    learn = learner('summaries', checkpoints('bart'))
    learn.dls.tokenizer.add_tokens(['<drug>'])
    learn.model.resize_token_embeddings(len(learn.dls.tokenizer))
    assert not [s for s in told(lambda: learn.save_pretrained('m'))[1] if 'not what its config says' in s]

# --- losses

class Scaled(BaseLoss):
    "Numbers between 0 and 5."
    def __init__(self): super().__init__(nn.MSELoss, flatten=True, floatify=True)
    def __call__(self, inp, targ, **kwargs): return super().__call__(self.activation(inp), targ, **kwargs)
    def activation(self, x): return 5*x.sigmoid()
    def decodes(self, x): return x

def bias_of(learn): return learn.model.classifier.bias.detach()

class RootMeanSquare:
    def __call__(self, pred, targ, reduction='mean'):
        errors = (pred.view_as(targ)-targ)**2
        return errors if reduction=='none' else errors.mean().sqrt()
    def activation(self, x): return x
    def decodes(self, x): return x

class OwnSquares(nn.MSELoss): pass

@pytest.mark.parametrize('loss,is_mean', [(None,True),(ModelLoss(),True),(MSELossFlat(),True),(nn.HuberLoss(),True),(RootMeanSquare(),True),(OwnSquares(),True),(nn.PoissonNLLLoss(),False),(Scaled(),False),(BCEWithLogitsLossFlat(),False)])
def test_the_mean_of_numbers_is_where_some_losses_begin(loss, is_mean, bert):
    "A Poisson loss of exp(mean) is no beginning."
    df = FRAMES['regression'].assign(score=np.arange(48)/2)
    kwargs = dict(loss_func=deepcopy(loss), metrics=[])
    line = sequence_classification_learner(df, bert, label='score', problem_type='regression', valid=list(range(12)), **kwargs)
    dls = numbers(bert, df)
    for learn in (line, TransformersLearner(dls, bert, **kwargs)):
        assert bias_of(learn).item()==pytest.approx(df.score[12:].mean() if is_mean else 0., abs=1e-4)

@pytest.mark.parametrize('make', [CrossEntropyLossFlat, nn.CrossEntropyLoss, FocalLossFlat])
def test_weights_within_a_loss_have_no_first_guess(make, bert):
    weight = torch.tensor([1.,2.,3.])
    df = FRAMES['single']
    dls = DataBlock((TransformersTextBlock(bert), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'), splitter=IndexSplitter(range(12))).dataloaders(df, bs=5)
    for learn in (learner('single', bert, loss_func=make(weight=weight)), learner('single', bert, class_weights=weight.tolist()), TransformersLearner(dls, bert, loss_func=make(weight=weight))):
        assert bias_of(learn).tolist()==[0,0,0]
    assert all(bias_of(learner('single', bert, loss_func=CrossEntropyLossFlat()))!=0)

@pytest.mark.parametrize('loss', [BCEWithLogitsLossFlat, nn.BCEWithLogitsLoss, Scaled])
def test_numbers_are_what_their_loss_says_everywhere(loss, bert):
    "As a probability is no label, and an error is one of what is predicted."
    df = FRAMES['regression'].assign(score=np.linspace(.2, .9, 48))
    learn = trained(sequence_classification_learner(df, bert, label='score', problem_type='regression', valid=list(range(12)), bs=5, loss_func=loss()))
    want = learn.loss_func.activation(direct_logits(learn.model, learn.dls.tokenizer, df.text[:12].tolist())).squeeze(1)
    preds,targets,decoded = learn.get_preds(with_decoded=True)
    for found in (preds, decoded, [o['score'] for o in learn.predict_batch(df[:12])]): close(found, want)
    assert learn.predict(df.text[0])[0]==pytest.approx(want[0].item(), abs=1e-5)
    error = (want-targets).abs().mean().item()
    assert learn.validate()[1]==pytest.approx(error, abs=1e-5) and learn.report().scores.score['mae']==pytest.approx(error, abs=1e-5)

class Remembers(nn.MSELoss):
    "Scales errors by those that it has seen, and draws"
    def __init__(self):
        super().__init__()
        self.n,self.seen = 0,[]
    def forward(self, pred, targ):
        self.n += 1
        self.seen.append(torch.rand(1)+np.random.rand()+random.random())
        return super().forward(pred.view_as(targ), targ)

class Uncopied(Remembers):
    def __deepcopy__(self, memo): raise TypeError('there is one of me')

@pytest.mark.parametrize('kind', [Remembers, Uncopied])
def test_a_loss_that_remembers_is_not_asked_itself(kind, bert):
    loss = kind()
    def draws(): return torch.rand(1).item(),np.random.rand(),random.random()
    set_seed(1)
    want = draws()
    set_seed(1)
    assert best_is_known(loss, torch.tensor([.5]), True)==(kind is Remembers) and draws()==want
    learn = TransformersLearner(numbers(bert), bert, loss_func=loss)
    assert loss.n==len(loss.seen)==0 and (bias_of(learn).item()!=0)==(kind is Remembers)

class Stars(BCEWithLogitsLossFlat):
    def decodes(self, x): return (x*5).round()

def test_what_a_loss_of_ones_own_decodes(bert):
    df = FRAMES['regression'].assign(score=np.linspace(.2, .9, 48))
    learn = sequence_classification_learner(df, bert, label='score', problem_type='regression', valid=list(range(12)), bs=5, loss_func=Stars())
    assert learn.predict(TEXT)[0] in (0.,1.,2.,3.,4.,5.)

def test_a_task_that_does_not_say_what_its_targets_are(bert):
    task = dataclasses.replace(find_task('single_label_classification'), name='mine', kind=None)
    learn = TransformersLearner(learner('single', bert).dls, bert, task=task)
    assert all(bias_of(learn)!=0)

def test_label_smoothing_with_weights_is_told_where_batches_are_accumulated(bert):
    weight = torch.tensor([1.,2.,3.])
    def said(loss, *cbs):
        learn = learner('single', bert, loss_func=loss)
        return [s for s in told(lambda: learn.fit(1, 1e-4, cbs=list(cbs)))[1] if 'not one large batch' in s]
    assert len(said(LabelSmoothingCrossEntropyFlat(eps=.1, weight=weight), GradientAccumulation(10)))==1
    assert said(LabelSmoothingCrossEntropyFlat(eps=.1, weight=weight))==[]
    assert said(LabelSmoothingCrossEntropyFlat(eps=.1), GradientAccumulation(10))==said(CrossEntropyLossFlat(weight=weight, label_smoothing=.1), GradientAccumulation(10))==[]

@pytest.mark.parametrize('kind', ['single','multi'])
def test_a_loss_of_the_models_own_that_is_set_later(kind, bert):
    learn = trained(learner(kind, bert))
    want = learn.predict(TEXT)
    learn.loss_func = ModelLoss()
    got = learn.predict(TEXT)
    assert got[0]==want[0]
    close(got[2], want[2])

def test_paths_are_no_texts(bert, tmp_path):
    learn = learner('single', bert)
    for call in (lambda: learn.predict(tmp_path), lambda: learn.predict_batch([TEXT, tmp_path])):
        with pytest.raises(TypeError, match='got PosixPath.*read it, e.g. by `Path.read_text`'): call()

def test_dicts_of_parameters_are_no_groups(bert):
    learn = learner('single', bert, splitter=lambda m: [dict(params=list(m.parameters()), lr=1e-3)])
    with pytest.raises(TypeError, match='the splitter gives dicts: lists of parameters are expected'): learn.fit(1)

def test_a_search_for_rates_that_ends_at_once(bert, monkeypatch):
    from fastai.learner import Learner
    learn = learner('single', bert)
    def ends(self, *args, **kwargs):
        self.recorder.losses = [.2, .3, 1.2]
        raise IndexError('index 0 is out of bounds')
    monkeypatch.setattr(Learner, 'lr_find', ends)
    with pytest.raises(ValueError, match=r'ended after 3 steps.*learn.suggest\(\).lr'): learn.lr_find()

class Fails(Callback):
    def after_pred(self):
        if self.training and self.iter==2: [][3]

def test_an_error_within_a_search_is_that_error(bert):
    learn = learner('single', bert, cbs=Fails())
    with learn.no_bar(), pytest.raises(IndexError, match='list index out of range'): learn.lr_find(num_it=20, show_plot=False)

# --- optimizers

def all_of(model): return [list(getattr(model, base_of(model)).parameters()), list(model.classifier.parameters())]

def test_an_optimizer_that_holds_what_was_frozen_by_hand_goes_on(bert):
    learn = learner('single', bert, splitter=all_of)
    learn.model.bert.requires_grad_(False)
    opt = trained(learn).opt
    learn.model.bert.encoder.layer[1].requires_grad_(True)
    _,said = told(lambda: learn.fit(1, 1e-3))
    assert learn.opt is opt and not [s for s in said if 'begins anew' in s]

def test_what_a_splitter_leaves_out_is_known_to_be_left_out(bert):
    learn = learner('single', bert, splitter=lambda m: [list(m.classifier.parameters())])
    with learn.no_bar(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        learn.fit(1, 1e-3, reset_opt=True)
    opt = learn.opt
    assert told(lambda: learn.fit(1, 1e-3))[1]==[] and learn.opt is opt

def test_a_file_of_a_learner_whose_body_was_frozen_by_hand(bert):
    learn = learner('single', bert)
    learn.model.bert.requires_grad_(False)
    trained(learn).save('frozen')
    learn.model.requires_grad_(True)
    assert told(lambda: learn.load('frozen'))[1]==[]
    with learn.no_bar(), pytest.warns(UserWarning, match='the optimizer begins anew'): learn.fit(1, 1e-3)

class OtherAnswers(Callback):
    "Predictions of another model within a fit, as of averaged weights."
    def after_batch(self): self._ask()
    def before_validate(self): self._ask()
    def _ask(self):
        own,self.learn.model = self.learn.model,deepcopy(self.learn.model)
        self.found = self.learn.predict_batch([TEXT])
        self.learn.model = own

def test_predictions_of_another_model_within_a_fit(bert):
    learn = learner('single', bert, cbs=OtherAnswers())
    before = learn.predict_batch([TEXT])
    trained(learn)
    assert learn.predict_batch([TEXT])!=before and len(learn.other_answers.found)==1
