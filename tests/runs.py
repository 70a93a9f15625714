"Training runs that can be cut off anywhere, and the arguments with which each is made again."
import os,random,signal
from pathlib import Path

from small import BS, FILLERS, FRAMES, TEXTS

import torch
from blurlike.all import (Adam, Callback, Checkpoints, EarlyStoppingCallback, GradientAccumulation, causal_lm_learner, load_tokenizer, masked_lm_learner, seq2seq_learner, sequence_classification_learner, set_seed, token_classification_learner)
import numpy as np
import pandas as pd
from transformers import EncoderDecoderModel

WORDS = pd.DataFrame(dict(tokens=[t.split() for t in TEXTS], tags=[['O' if len(w)<5 else 'B-LONG' for w in t.split()] for t in TEXTS]))
WHO,WHAT = 'people friends river'.split(), 'film music food'.split()

def questions(n=24, unanswerable=False):
    "Questions about contexts of 6 to 40 words; of unanswerable ones the context tells nothing."
    rng,rows = np.random.default_rng(0),[]
    for i in range(n):
        who,what = rng.choice(WHO).item(),rng.choice(WHAT).item()
        before,after = (' '.join(rng.choice(FILLERS, rng.integers(0, 18))) for _ in range(2))
        context = f'{before} {who} saw {what} {after}'.strip()
        lacks = unanswerable and i%3==0
        if lacks: context = f'{before} rain {after}'.strip()
        answers = dict(text=[] if lacks else [who, f'{who} saw'], answer_start=[] if lacks else [context.index(f'{who} saw')]*2)
        rows.append(dict(id=i, question='who saw it', context=context, answers=answers))
    return pd.DataFrame(rows)

CUTS = ['before_batch','after_loss','before_step','after_step','after_batch','after_epoch','valid'] # events at which a run may end

def classifier(checkpoint, **kwargs): return sequence_classification_learner(FRAMES['single'], checkpoint, bs=BS, valid=.25, **kwargs)
def tagger(checkpoint): return token_classification_learner(WORDS, checkpoint, bs=8, valid=.25)
def gaps(checkpoint): return masked_lm_learner(pd.DataFrame(dict(text=TEXTS)), checkpoint, bs=8, valid=.25)

def writer(checkpoint, model_kwargs=None, **kwargs):
    "Texts in blocks, for an encoder that is made a decoder."
    tokenizer = load_tokenizer(checkpoint)
    tokenizer.eos_token = tokenizer.sep_token
    return causal_lm_learner(pd.DataFrame(dict(text=TEXTS)), checkpoint, tokenizer=tokenizer, valid=.25, model_kwargs=dict(is_decoder=True)|(model_kwargs or {}), **(dict(bs=8, block_size=24)|kwargs))

def summarizer(checkpoint, dropout=.1, **kwargs):
    "The first words of a text, written by a decoder that is made of an encoder."
    own = {f'{side}_{name}':dropout for side in ('encoder','decoder') for name in ('hidden_dropout_prob','attention_probs_dropout_prob')}
    model = EncoderDecoderModel.from_encoder_decoder_pretrained(str(checkpoint), str(checkpoint), **own)
    df = pd.DataFrame(dict(source=[f'see {t}' for t in TEXTS], target=[' '.join(t.split()[:1+i%3]) for i,t in enumerate(TEXTS)]))
    return seq2seq_learner(df, model, tokenizer=checkpoint, valid=.25, score_rows=0, **dict(bs=8)|kwargs)

# how a learner is made, trained, and with which callbacks; training batches of the whole run
SCENARIOS = dict(
    one_cycle=dict(make=classifier, call='fit_one_cycle', args=(2, 1e-3), batches=16),
    fine_tune=dict(make=classifier, call='fine_tune', args=(1, 1e-3), batches=16),
    accumulation=dict(make=classifier, call='fit_one_cycle', args=(2, 1e-3), cbs=lambda: [GradientAccumulation(12)], batches=16),
    masked_lm=dict(make=gaps, call='fit_linear', args=(2, 1e-3), batches=10),
    causal_lm=dict(make=writer, call='fit_one_cycle', args=(2, 1e-3), cbs=lambda: [GradientAccumulation(16)], batches=8),
    seq2seq=dict(make=summarizer, call='fit_one_cycle', args=(2, 1e-3), cbs=lambda: [GradientAccumulation(16)], batches=10),
    workers=dict(make=lambda c: classifier(c, dl_kwargs=dict(num_workers=random.SystemRandom().choice([0, 1, 2]))), call='fit_one_cycle', args=(2, 1e-3), batches=16), # other ones after each interruption
    tags=dict(make=tagger, call='fit_flat_cos', args=(2, 1e-3), batches=10),
    ended=dict(make=classifier, call='fit', args=(4, 1e-3), cbs=lambda: [EarlyStoppingCallback('accuracy', min_delta=2.)], batches=16), # after its second epoch
    layers=dict(make=lambda c: classifier(c, opt_func=Adam), call='fit_one_cycle', args=(2, slice(1e-4, 1e-3)), batches=16))

class Cut(Callback):
    "Ends the process, or raises, at the `n`th time that something happens"
    order = 70 # between the trackers and the checkpoints
    def __init__(self, event, n, error=None): self._event,self._left,self._error = event,n,error # a name that begins so is not remembered in checkpoints
    def hit(self, event):
        if event!=self._event: return
        self._left -= 1
        if self._left: return
        if self._error is not None: raise self._error
        os.kill(os.getpid(), signal.SIGKILL)
    def before_batch(self): self.hit('before_batch' if self.training else 'valid')
    def after_loss(self): self.training and self.hit('after_loss')
    def before_step(self): self.hit('before_step')
    def after_step(self): self.hit('after_step')
    def after_batch(self): self.training and self.hit('after_batch')
    def after_epoch(self): self.hit('after_epoch')

def prepare(): torch.set_num_threads(1)

def train(scenario, checkpoint, folder, steps=None, cut=None, error=None):
    "Make the learner and train it, or go on where a run in `folder` was cut off; a cut ends it anew."
    set_seed(3)
    learn,cbs = scenario['make'](checkpoint),scenario.get('cbs', list)()
    learn.add_cb(Cut(*cut or ('never', 1), error))
    with learn.no_bar(), learn.no_logging():
        if any(Path(folder).glob('step-*')): learn.resume(folder, cbs=cbs)
        else: getattr(learn, scenario['call'])(*scenario['args'], cbs=[*cbs, Checkpoints(folder, steps=steps, overwrite=True)])
    return learn
