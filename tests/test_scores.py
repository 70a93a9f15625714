"The scores that the card, the folder and the artifact name are those of the weights that are in the model."
import json
from collections import Counter

import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.tracker import SaveModelCallback
from huggingface_hub import ModelCard
from small import TEXTS, close, direct_logits, learner, valid_frame
from torch.utils._python_dispatch import TorchDispatchMode

from blurlike.all import Checkpoints, TransformersLearner, model_card
from blurlike.save.saved_facts import describe
from blurlike.train.epoch_weights import scores_of, weight_sum

class Spoil(Callback):
    "The weights are worse from epoch 1 on."
    def before_epoch(self):
        if self.epoch:
            with torch.no_grad():
                for p in self.model.parameters(): p.mul_(10)
                p.view(-1)[0] += 50 # the first label of all: by chance the others would do, since tokenizers are not trained alike each time

def fit(learn, n=3, *cbs):
    with learn.no_bar(), learn.no_logging(): learn.fit(n, 1e-3, cbs=list(cbs))
    return learn

def told(learn): # by the card's YAML
    return {r.metric_type:r.metric_value for r in ModelCard(model_card(learn)).data.eval_results or []}

def measured(learn):
    with learn.no_bar(), learn.no_logging(): values = learn.validate()
    return {n:round(float(v), 4) for n,v in zip(['loss', *(m.name for m in learn.metrics)], values)}

@pytest.mark.parametrize('keeper', [lambda: Checkpoints('run', best='valid_loss'), lambda: SaveModelCallback(monitor='valid_loss')])
def test_an_earlier_epoch(keeper, bert, in_tmp):
    learn = fit(learner('single', bert), 3, keeper(), Spoil())
    assert describe(learn)['epochs']['epoch']==0 and len(describe(learn)['epochs']['rows'])==3
    assert told(learn)==pytest.approx(measured(learn), abs=2e-4)
    card = model_card(learn)
    assert 'The weights are those after epoch 0.' in card and '\n| 2 | ' in card
    facts = json.loads((learn.save_pretrained('m')/'blurlike.json').read_text())
    assert scores_of(facts)==scores_of(describe(learn))
    assert scores_of(facts)['valid_loss']==pytest.approx(measured(learn)['loss'], abs=2e-4)
    again = TransformersLearner.from_pretrained('m')
    assert told(again)==told(learn) and describe(again)['epochs']==facts['epochs'] # and on from folder to folder

def test_the_last_epoch(bert, in_tmp):
    learn = fit(learner('single', bert))
    assert describe(learn)['epochs']['epoch']==2
    assert told(learn)==pytest.approx(measured(learn), abs=2e-4)
    assert 'The weights are those' not in model_card(learn)
    learn.predict_batch(['a film'])
    learn.freeze()
    learn.to_bf16()
    assert len(told(learn))==3

def test_after_an_interruption_too(bert, in_tmp):
    class Halt(Callback):
        def before_epoch(self):
            if self.epoch==2: raise KeyboardInterrupt
    def keeper(): return Checkpoints('run', best='valid_loss')
    with pytest.raises(KeyboardInterrupt): fit(learner('single', bert), 3, keeper(), Spoil(), Halt())
    learn = learner('single', bert)
    class Halt(Callback): pass
    with learn.no_bar(), learn.no_logging(): learn.resume('run', cbs=[Spoil(), Halt()])
    assert describe(learn)['epochs']['epoch']==0 and told(learn)==pytest.approx(measured(learn), abs=2e-4)

@pytest.mark.parametrize('change', ['by hand', 'other weights', 'half an epoch', 'finder'])
def test_nothing_is_told_of_weights_that_were_not_measured(change, bert, in_tmp):
    learn = learner('single', bert)
    learn.save('before')
    fit(learn)
    if change=='by hand': next(learn.model.parameters()).data[0] += 1e-4
    if change=='other weights': learn.load('before')
    if change=='finder':
        learn.load('before')
        with learn.no_bar(): learn.lr_find(show_plot=False, num_it=20) # more than an epoch of few rows
    if change=='half an epoch':
        class Halt(Callback):
            def after_batch(self):
                if self.training and self.train_iter==2: raise KeyboardInterrupt
        with pytest.raises(KeyboardInterrupt): fit(learn, 1, Halt())
    card = model_card(learn)
    assert describe(learn)['epochs'] is None and not told(learn)
    assert '## Scores' not in card and 'highest learning rate' not in card
    assert '| epochs |' not in card

def test_a_loaded_learner_that_was_changed(bert, in_tmp):
    learn = fit(learner('single', bert))
    learn.save_pretrained('m')
    again = TransformersLearner.from_pretrained('m')
    assert told(again)==told(learn)
    next(again.model.parameters()).data[0] += 1e-4
    assert not told(again)

def test_folders_of_before_name_no_epoch():
    assert scores_of(dict(epochs=dict(columns=['train_loss','valid_loss','accuracy'], rows=[[1., 2., .5], [1., 3., None]])))==dict(valid_loss=3.)
    assert scores_of(dict(epochs=None))=={}

def test_odd_tensors_are_summed():
    from blurlike.model.adapters import bit_sum, bit_sums
    t = torch.arange(15., dtype=torch.bfloat16)
    for p in (t, t[1:], t[:7], t.view(3, 5).T, t[:1].squeeze(), t.float(), t[:0]):
        assert bit_sum(p)==bit_sum(p.clone())
        if p.numel():
            q = p.contiguous().clone()
            q.view(-1)[-1:] += 1
            assert bit_sum(q)!=bit_sum(p)
    assert bit_sums([t, t[1:]])==[int(bit_sum(t)), int(bit_sum(t[1:]))] and bit_sums([])==[]

def test_weights_are_fetched_together(bert):
    "A GPU would be waited for once for each of two hundred parameters."
    learn,fetched = learner('single', bert),Counter()
    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, f, types, args=(), kwargs=None):
            fetched[f.overloadpacket.__name__] += 1
            return f(*args, **(kwargs or {}))
    with Count(): weight_sum(learn)
    assert fetched['sum'] and not fetched['_local_scalar_dense']

# One number a text

def test_one_number_has_the_shape_of_its_target(bert):
    "Predictions, targets and what metrics see: (B,) each, so that their difference is one."
    seen = []
    def my_mae(p, t):
        seen.append((tuple(p.shape), tuple(t.shape)))
        return (p-t).abs().mean()
    learn = learner('regression', bert, metrics=my_mae, loss_func=torch.nn.MSELoss())
    with learn.no_bar(): learn.fit(1)
    frame = valid_frame(learn, 'regression')
    preds,targs,decoded,losses = learn.get_preds(with_decoded=True, with_loss=True)
    direct = direct_logits(learn.model, learn.dls.tokenizer, frame.text.tolist()).squeeze(1)
    assert preds.shape==targs.shape==decoded.shape==losses.shape==(len(frame),)
    assert all(a==b and len(a)==1 for a,b in seen)
    close(preds, direct)
    close(losses, (direct-torch.tensor(frame.score.to_numpy()))**2)
    close((preds-targs).abs().mean(), learn.recorder.values[-1][-1])
    one = learn.dls.test_dl(frame[:1], with_labels=True)
    assert [t.shape for t in learn.get_preds(dl=one)]==[(1,), (1,)]
    assert learn.get_preds(dl=learn.dls.test_dl(TEXTS[:3]))[0].shape==(3,)
    assert learn.get_preds(dl=learn.dls.test_dl([]))[0].shape==(0,)
    want = learn.predict(frame.text[0])
    learn.add_cb(Callback()) # through fastai's own
    for found in (want, learn.predict(frame.text[0])): close(torch.tensor(found[0]), direct[0]), close(found[1], direct[0]), close(found[2], direct[0])

def test_of_epochs_with_equal_weights_the_last_counts(bert, in_tmp):
    learn = learner('single', bert)
    with learn.no_bar(), learn.no_logging(): learn.fit(2, 0.)
    assert describe(learn)['epochs']['epoch']==1
