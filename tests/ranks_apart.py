"""What happens in one of two processes alone: `ranks_apart.py WHAT CHECKPOINT`. Each process prints one line of JSON.

`nan`: a loss in the second process, looked at late, as on a GPU. `loss`: `ModelLoss` in validation. `stop`: SIGTERM, a batch apart.
`rates`: `lr_find`, and a fit after it. `texts`: predictions of texts without labels, words with tags among them.
`answers`: scores of the training batches of question answering. `grown`: a token that is added between two fits, and what is left of the first."""
import gc,json,os,signal,sys,warnings

import torch
from fastai.callback.core import Callback
from runs import questions, tagger
from small import FRAMES, TEXTS

from blurlike.all import Checkpoints, ModelLoss, TransformersLearner, question_answering_learner, rank_distrib, sequence_classification_learner
from blurlike.train.checkpoints import checkpoints_in

warnings.simplefilter('ignore')
torch.set_num_threads(1)
what,checkpoint = sys.argv[1:]

class Bad(Callback):
    order = -50
    def after_pred(self):
        if self.training and self.learn.train_iter==2 and rank_distrib()==1: self.learn.pred = self.learn.pred*float('nan')

class Kill(Callback):
    order = 10
    def before_batch(self):
        if self.training and self.learn.train_iter==2+rank_distrib(): os.kill(os.getpid(), signal.SIGTERM)

no_dropout = dict(hidden_dropout_prob=0., attention_probs_dropout_prob=0.)
loss = ModelLoss() if what=='loss' else None
learn = sequence_classification_learner(FRAMES['single'][:47], checkpoint, bs=4, valid=.25, loss_func=loss, model_kwargs=no_dropout)
if what=='nan': TransformersLearner._is_asked_late = lambda self: True
cbs = dict(nan=[Bad()], stop=[Checkpoints('run'), Kill()]).get(what, [])
said,values = '',[]
def norm(): return float(sum(p.double().abs().sum() for p in learn.model.parameters()))
def find_rates():
    before = norm()
    found = learn.lr_find(show_plot=False, num_it=12)
    return [found.valley, norm()-before]
def predicted():
    words = tagger(checkpoint)
    with words.distrib_ctx(), words.no_bar(): tags = words.get_preds(dl=words.dls.test_dl([t.split() for t in TEXTS[:11]]))[0]
    return [float(v) for p in [*tags, *learn.get_preds(dl=learn.dls.test_dl(TEXTS[:11]))[0]] for v in p.flatten()]
def answered(): # F1 of 8 rows
    asked = question_answering_learner(questions(10), checkpoint, bs=4, valid=[8, 9], max_length=24, overlap=6, model_kwargs=no_dropout)
    asked.recorder.train_metrics = True
    with asked.distrib_ctx(), asked.no_bar(), asked.no_logging(): asked.fit(1, 0.)
    return [dict(zip(asked.recorder.metric_names[1:], asked.recorder.values[-1]))['train_f1']]
def grown():
    learn.fit(1, 1e-3)
    learn.dls.tokenizer.add_tokens(['zzyzx'])
    learn.model.resize_token_embeddings(len(learn.dls.tokenizer))
    gc.collect()
    return [sum(isinstance(o, torch.nn.parallel.DistributedDataParallel) for o in gc.get_objects())]

try:
    with learn.distrib_ctx(), learn.no_bar(), learn.no_logging():
        if what=='rates': values = find_rates()
        if what=='texts': values = predicted()
        if what=='answers': values = answered()
        if what=='grown': values = grown()
        learn.fit(1, 0. if what=='loss' else 1e-3, cbs=cbs)
except BaseException as e: said = f'{type(e).__name__}: {e}'
weights = getattr(learn.model, 'module', learn.model).parameters()
if what=='loss': values = learn.recorder.values[-1][1:]
steps = [p.name for p in checkpoints_in('run')] if what=='stop' else []
print(json.dumps(dict(said=said, sound=all(bool(p.isfinite().all()) for p in weights), norm=norm(), values=[float(v) for v in values], steps=steps)))
