"""Are our predictions those of Hugging Face's pipelines, on the same saved model? `python benchmarks/pipelines.py`

Trains a tagger on WNUT-17 and a masked language model on its sentences, saves both, and compares `predict_batch` with
`transformers.pipeline`, row by row, over all validation rows: every aggregation strategy that a pipeline has, as texts and as lists of words;
and one, two and three gaps in each sentence. Prints how many rows differ, which should be none; exits with 1 otherwise.
"""
import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from transformers import pipeline, utils

from blurlike.all import TransformersLearner, masked_lm_learner, token_classification_learner

def same(a, b):
    "Equal, numbers to four digits."
    if isinstance(a, dict): return set(a)==set(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list): return len(a)==len(b) and all(map(same, a, b))
    return abs(a-b)<1e-4 if isinstance(a, float) else a==b

def report(name, ours, theirs):
    bad = [i for i,(a,b) in enumerate(zip(ours, theirs, strict=True)) if not same(a, b)]
    print(f'{name}: {len(ours):,} rows, {sum(map(len, theirs)):,} answers; rows that differ: {len(bad)}', flush=True)
    if bad: print('  first:', bad[0], ours[bad[0]], theirs[bad[0]])
    return len(bad)

def tags(args, train, valid, folder):
    learn = token_classification_learner(pd.concat([train.assign(is_valid=False), valid.assign(is_valid=True)], ignore_index=True), args.checkpoint, valid='is_valid', max_length=128)
    with learn.no_bar(): learn.fit_one_cycle(args.epochs, 1e-4)
    learn.save_pretrained(folder)
    learn,pipe = TransformersLearner.from_pretrained(folder),pipeline('token-classification', str(folder), device='cpu')
    words,bad = valid.tokens.tolist(),0
    for kind,items,kwargs in (('texts', [' '.join(w) for w in words], {}), ('words', words, dict(is_split_into_words=True))):
        for strategy in ('none','simple','first','average','max') if kind=='texts' else ('none','simple','first'):
            theirs = [pipe(o, aggregation_strategy=strategy, **kwargs) for o in items]
            theirs = [[dict(e, score=float(e['score'])) for e in (t[0] if t and isinstance(t[0], list) else t)] for t in theirs]
            bad += report(f'entities of {kind}, {strategy}', learn.predict_batch(items, aggregation_strategy=strategy), theirs)
    return bad

def gaps(args, train, valid, folder):
    learn = masked_lm_learner(pd.DataFrame(dict(text=[' '.join(w) for w in train.tokens])), args.checkpoint, max_length=128, valid=.05)
    with learn.no_bar(): learn.fit_one_cycle(1, 5e-4)
    learn.save_pretrained(folder)
    learn,pipe,bad,rng = TransformersLearner.from_pretrained(folder),pipeline('fill-mask', str(folder), device='cpu'),0,np.random.default_rng(0)
    for n in (1, 2, 3):
        texts = []
        for w in (list(w) for w in valid.tokens if len(w)>n):
            for i in rng.choice(len(w), n, replace=False): w[i] = '[MASK]'
            texts.append(' '.join(w))
        bad += report(f'{n} gap{"s" if n>1 else ""}', learn.predict_batch(texts, top_k=5), [pipe(t, top_k=5) for t in texts])
    return bad

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--shared', type=Path, default=Path(__file__).parents[2]/'shared', help='folder with data/ and models/')
    p.add_argument('--rows', type=int, default=1200, help='training rows')
    p.add_argument('--epochs', type=int, default=2)
    p.add_argument('--only', choices=['tags','gaps'])
    args = p.parse_args()
    args.checkpoint = str(args.shared/'models'/'all-MiniLM-L6-v2')
    utils.logging.set_verbosity_error()
    warnings.simplefilter('ignore')
    train,valid = (pd.read_json(args.shared/'data'/'wnut17'/f'{part}.jsonl', lines=True, dtype=False)[['tokens','tags']] for part in ('train','dev'))
    with tempfile.TemporaryDirectory() as tmp: sys.exit(bool(sum(f(args, train[:args.rows], valid, Path(tmp)/f.__name__) for f in (tags, gaps) if args.only in (None, f.__name__))))

if __name__=='__main__': main()
