"""Trains in one or in two processes: `python -m torch.distributed.run --nproc_per_node 2 tests/two_processes.py CHECKPOINT OUT BS`

The first process writes losses, epoch tables, predictions and a checksum of the weights of each task to OUT.
"""
import json,os,sys,warnings
from functools import partial
from pathlib import Path

import torch
from runs import WORDS, questions, summarizer, writer
from small import FRAMES, TEXTS
import pandas as pd
from blurlike.all import Checkpoints, GradientAccumulation, TransformersLearner, adamw, masked_lm_learner, multiple_choice_learner, question_answering_learner, rank_distrib, sequence_classification_learner, set_seed, token_classification_learner

torch.set_num_threads(1)
warnings.simplefilter('ignore')
folder,out,bs = sys.argv[1],Path(sys.argv[2]),int(sys.argv[3])
world = int(os.environ.get('WORLD_SIZE', 1))
# each process has dropout of its own; and with its usual `eps` Adam makes whole steps of rounding where a loss does not depend on a weight (keys' biases, that of a softmax over places)
ALIKE = dict(model_kwargs=dict(hidden_dropout_prob=0., attention_probs_dropout_prob=0.), opt_func=partial(adamw, eps=1e-4))
LEARNERS = dict(
    choice=lambda **k: multiple_choice_learner(FRAMES['choice'][:47], folder, bs=bs, valid=.25, **ALIKE, **k),
    single=lambda **k: sequence_classification_learner(FRAMES['single'][:47], folder, bs=bs, valid=.25, **ALIKE, **k), # 36 and 11 rows: some batches do not divide by two
    weights=lambda **k: sequence_classification_learner(FRAMES['single'][:47], folder, bs=bs, valid=.25, class_weights=[.2,.01,.05], **ALIKE, **k),
    multi=lambda **k: sequence_classification_learner(FRAMES['multi'][:41], folder, bs=bs, label='tags', valid=.25, **ALIKE, **k),
    tokens_a_batch=lambda **k: sequence_classification_learner(FRAMES['single'], folder, bs=bs, valid=.25, dl_kwargs=dict(max_tokens=15*bs), **ALIKE, **k),
    tags=lambda **k: token_classification_learner(WORDS[:45], folder, bs=bs, valid=.25, **ALIKE, **k),
    windows=lambda **k: token_classification_learner(WORDS[:45], folder, bs=bs, valid=.25, max_length=12, overlap=3, **ALIKE, **k),
    gaps=lambda **k: masked_lm_learner(pd.DataFrame(dict(text=TEXTS[:45])), folder, bs=bs, valid=.25, **ALIKE, **k),
    answers=lambda **k: question_answering_learner(questions(45, unanswerable=True), folder, bs=bs, valid=.25, max_length=24, overlap=6, **ALIKE, **k),
    texts=lambda **k: writer(folder, bs=bs//2, **ALIKE, **k),
    summaries=lambda **k: summarizer(folder, dropout=0., bs=bs, opt_func=ALIKE['opt_func'], **k))

def told(learn, preds):
    return dict(losses=[float(o) for o in learn.recorder.losses], table=[[float(v) for v in row] for row in learn.recorder.values], preds=preds, norm=float(sum(p.double().abs().sum() for p in learn.model.parameters())))

found = {}
for name,make in LEARNERS.items():
    set_seed(5)
    learn = make()
    with learn.distrib_ctx(), learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(2, 1e-2)
        first = told(learn, None)
        preds = learn.get_preds()[0]
        valid = [float(v) for v in learn.validate()]
    found[name] = first | dict(valid=valid, preds=[p.flatten().tolist() for p in preds])

set_seed(5)
learn = LEARNERS['single']()
with learn.distrib_ctx(), learn.no_bar(), learn.no_logging(): learn.fit(2, 1e-3, cbs=GradientAccumulation(3*bs))
found['accumulation'] = told(learn, [])

set_seed(5)
learn = token_classification_learner(WORDS[:45], folder, bs=bs, valid=.25, class_weights=[.1,3,1], **ALIKE)
with learn.distrib_ctx(), learn.no_bar(), learn.no_logging(): learn.fit(2, 1e-3, cbs=GradientAccumulation(3*bs))
found['weighted_accumulation'] = told(learn, [])

from blurlike.all import compare, decisions_of, gather_ranks
set_seed(5)
learn,other = LEARNERS['multi'](),LEARNERS['multi']()
with learn.distrib_ctx(), learn.no_bar(), learn.no_logging():
    learn.fit_one_cycle(1, 1e-2)
    def judged(): return [learn.report(samples=200).scores.to_numpy().tolist(), learn.report(samples=200, rows=FRAMES['multi']).results.losses.tolist(), compare(learn, other, samples=200).scores.to_numpy().tolist()]
    tables = [learn.tune_threshold(), learn.calibrate(show_plot=False).table, learn.conformal(.3)]
    told_here = dict(decisions=decisions_of(learn.loss_func), scores=judged(), tables=[o.to_numpy().tolist() for o in tables])
    found['decided'] = told(learn, []) | dict(ranks=gather_ranks(told_here))

import wandb
from blurlike.share.tracking import WandbCallback
set_seed(5)
learn,sent = LEARNERS['single'](),[]
if not rank_distrib(): # the other process has no run
    wandb.init(mode='disabled').log = lambda values, **kwargs: sent.append(values) if values else None
with learn.distrib_ctx(), learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 1e-2, cbs=WandbCallback(log_preds_every_epoch=True))
tables = [o['Prediction_Samples'].data for o in sent if 'Prediction_Samples' in o]
found['tracked'] = told(learn, []) | dict(sent=[o for o in sent if 'Prediction_Samples' not in o], tables=tables)

class Stop(Exception): pass
set_seed(5)
learn = LEARNERS['single']()
from runs import Cut
learn.add_cb(Cut('after_batch', 4, Stop('x')))
with learn.distrib_ctx(), learn.no_bar(), learn.no_logging():
    try: learn.fit_one_cycle(2, 1e-2, cbs=Checkpoints(out.parent/f'run{world}', steps=1, best='valid_loss'))
    except Stop: pass
learn = LEARNERS['single']()
learn.add_cb(Cut('never', 1))
with learn.distrib_ctx(), learn.no_bar(), learn.no_logging(): learn.resume(out.parent/f'run{world}')
found['resumed'] = told(learn, [])
saved = learn.save_pretrained(out.parent/f'saved{world}')
if not rank_distrib():
    assert TransformersLearner.from_pretrained(saved).predict_batch(TEXTS[:3])==learn.predict_batch(TEXTS[:3])
    out.write_text(json.dumps(found))
