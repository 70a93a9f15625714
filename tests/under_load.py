"""Predictions from several threads at once, beside the same ones made one after another: `python tests/under_load.py 1000`.

Prints, for each kind of learner, how many of 8 threads x N answers raised or differed."""
import json,sys,threading,warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from small import FRAMES,learner,make_checkpoint,texts_of

from blurlike.all import *

WORDS = [t.split() for t in FRAMES['single'].text]
LONG = [' '.join(WORDS[i]+WORDS[(i+7)%len(WORDS)]) for i in range(len(WORDS))]

def tags_of(words): return ['B-cue' if w in ('awful','boring','great','lovely') else 'O' for w in words]

def make_tagger(bert, **kwargs):
    rows = [dict(tokens=w, tags=tags_of(w)) for w in WORDS]
    return token_classification_learner(rows, bert, valid=.25, bs=8, **kwargs)

def make_filler(bert): return masked_lm_learner([dict(text=t) for t in LONG], bert, valid=.25, bs=8)

def make_by_call(bert, tokenizer, **kwargs): # with an argument for the tokenizer's own call
    block = DataBlock(blocks=(TransformersTextBlock(tokenizer, add_special_tokens=True, **kwargs), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'))
    return TransformersLearner(block.dataloaders(FRAMES['single'], bs=8), bert)

def gap(i): return ' '.join(['[MASK]', *WORDS[i%len(WORDS)]])

def numbers(o): # all numbers in an answer
    if isinstance(o, torch.Tensor): return o.double().flatten().tolist()
    if isinstance(o, (np.ndarray, list, tuple)): return [n for e in o for n in numbers(e)]
    if isinstance(o, dict): return numbers(list(o.values()))
    return [float(o)] if isinstance(o, (int, float, np.number)) else []

def names(o): # and all words
    if isinstance(o, (list, tuple)): return [n for e in o for n in names(e)]
    if isinstance(o, dict): return names(list(o.values()))
    return [str(o)] if isinstance(o, str) else []

def kinds(bert):
    "Name -> what answers question `i`, for every kind of learner and way of asking."
    single,windows,pairs = learner('single', bert),learner('single', bert, max_length=12, overlap=2),learner('pair', bert)
    chooser,questions = learner('choice', bert),texts_of('choice', FRAMES['choice'])
    tagger,long_tagger,filler = make_tagger(bert),make_tagger(bert, max_length=12, overlap=2),make_filler(bert)
    two = FRAMES['pair']
    tok = load_tokenizer(bert) # one for both
    by_call,by_call_windows = make_by_call(bert, tok, max_length=8),make_by_call(bert, tok, max_length=20, overlap=3)
    other = TransformersLearner(single.dls, single.model) # a second learner on one model
    for learn in (single, windows, pairs, chooser, tagger, long_tagger, filler, other, by_call, by_call_windows): learn.remove_cb(learn.progress)
    return dict(
        single=lambda i: single.predict(LONG[i%len(LONG)]), windows=lambda i: windows.predict(LONG[i%len(LONG)]),
        batch=lambda i: windows.predict_batch(LONG[i%30:i%30+5], bs=2), pairs=lambda i: pairs.predict((two.one[i%len(two)], two.two[i%len(two)])),
        choice=lambda i: (chooser.predict(questions[i%len(questions)]), chooser.predict_batch(questions[i%30:i%30+5], bs=2)),
        tags=lambda i: tagger.predict(LONG[i%len(LONG)]), tags_of_words=lambda i: tagger.predict(WORDS[i%len(WORDS)]),
        tags_in_windows=lambda i: long_tagger.predict_batch([LONG[i%len(LONG)]]),
        by_call=lambda i: by_call.predict(LONG[i%len(LONG)]) if i%2 else by_call_windows.predict_batch([LONG[i%len(LONG)]]),
        gaps=lambda i: filler.predict(gap(i)), two_learners=lambda i: (single,other)[i%2].predict(LONG[i%len(LONG)]),
        preds=lambda i: single.get_preds()[0] if i%20==0 else single.predict(LONG[i%len(LONG)]),
        explain=lambda i: single.explain(TEXT, method='occlusion').rows[0]['words'] if i%20==0 else single.predict(LONG[i%len(LONG)]),
        gradients=lambda i: single.explain(TEXT, steps=4).rows[0]['words'] if i%20==0 else single.predict(LONG[i%len(LONG)]),
        attention=lambda i: single.attention(TEXT)[1] if i%20==0 else single.predict(LONG[i%len(LONG)]))

TEXT = LONG[0]

def same(a, b): return names(a)==names(b) and len(numbers(a))==len(numbers(b)) and np.allclose(numbers(a), numbers(b), atol=1e-5)

def load(ask, n, n_threads=8, different=40):
    "How many of `n` questions a thread raise, and how many are answered otherwise than alone."
    alone,bad = [ask(i) for i in range(different)],dict(errors=[], differ=0)
    start = threading.Barrier(n_threads)
    def work(k):
        start.wait()
        for j in range(n):
            i = (j*7+k*5)%different
            try: found = ask(i)
            except Exception as e: bad['errors'].append(f'{type(e).__name__}: {e}')
            else: bad['differ'] += not same(found, alone[i])
    with ThreadPoolExecutor(n_threads) as pool: list(pool.map(work, range(n_threads)))
    return bad

if __name__=='__main__':
    import tempfile
    n,only = int(sys.argv[1]),sys.argv[2:]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for name,ask in kinds(make_checkpoint('bert', folder)).items():
            if only and name not in only: continue
            bad = load(ask, n)
            print(json.dumps(dict(kind=name, asked=8*n, errors=len(bad['errors']), differ=int(bad['differ']), first=bad['errors'][:1])), flush=True)
