"""Do decisions hold on rows that nobody looked at? `python benchmarks/decisions.py thresholds|sets [--rows N] [--seeds 0 1 2]`.
A learner is trained on some rows; thresholds, temperature and conformal sets are chosen on its validation rows; the rest of the set judges."""
import argparse,json
from pathlib import Path

import numpy as np
import pandas as pd
from blurlike.all import calibration_error, in_sets, reliability, sequence_classification_learner
from sklearn.metrics import f1_score
from torch.nn.functional import one_hot

SHARED = Path(__file__).parents[2]/'shared'
ENCODER = SHARED/'models'/'all-MiniLM-L6-v2'
SETS = dict( # file, text, label, epochs
    trec=('trec/train.jsonl','text','label',3), sst2=('sst2/train.jsonl','sentence','label',3), ag_news=('ag_news/test.jsonl','text','label',3),
    mrpc=('mrpc/train.jsonl',['sentence1','sentence2'],'label',3), goemotions=('goemotions/train.jsonl','text','labels',2))

JUDGES = 1000 # rows that are left

def rows_of(name, n, seed): # to train on, to choose by, to judge by
    path,*_ = SETS[name]
    df = pd.DataFrame(map(json.loads, open(SHARED/'data'/path))).sample(frac=1, random_state=seed).reset_index(drop=True)
    return df[:n],df[n:2*n],df[2*n:2*n+JUDGES]

def trained(name, n, seed, lr, epochs):
    _,text,label,usual = SETS[name]
    train,valid,test = rows_of(name, n, seed)
    learn = sequence_classification_learner((train, valid), ENCODER, text=text, label=label, max_length=48, bs=16, seed=seed)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs or usual, lr)
    return learn,test

def truth(learn, test): return learn.dls.test_dl(test, with_labels=True)

def thresholds(args):
    "Macro F1 of goemotions on rows that are left: at 0.5, at tuned thresholds; what was told to expect."
    for seed in args.seeds:
        learn,test = trained('goemotions', args.rows, seed, args.lr, args.epochs)
        found = learn.tune_threshold().loc['mean']
        probs,y = learn.get_preds(dl=truth(learn, test))
        def f1(cut): return f1_score(y.numpy()>0, probs.numpy()>cut, average='macro', zero_division=0)
        tuned = f1(np.array([*learn.threshold.values()]))
        print(f'seed {seed}: held-out macro F1 at 0.5 {f1(.5):.4f}, tuned {tuned:.4f}; cross-fitted {found["f1 cross-fitted"]:.4f}, on validation {found["f1 tuned"]:.4f}', flush=True)

def error(probs, y): # expected calibration error
    probs,y = probs.numpy(),y.numpy()
    sure,right = (probs.ravel(), y.ravel()>0) if y.ndim==2 else (probs.max(1), probs.argmax(1)==y)
    return calibration_error(reliability(sure, right))

def sets(args):
    "Calibration error before and after, and coverage of conformal sets, on rows that are left."
    for name in args.sets:
        for seed in args.seeds:
            learn,test = trained(name, args.rows, seed, args.lr, args.epochs)
            logits,y = learn.get_preds(dl=truth(learn, test), act=lambda x: x) # once, for all that follows
            before = error(learn.loss_func.activation(logits), y)
            found = learn.calibrate(show_plot=False).table
            probs = learn.loss_func.activation(logits)
            after = error(probs, y)
            learn.conformal(alpha=args.alpha)
            inside = in_sets(learn.loss_func, probs)
            right = y>0 if y.ndim==2 else one_hot(y.long(), probs.shape[1])>0
            covered = float((inside | ~right).all(1).double().mean())
            n = learn.loss_func.conformal['rows']
            spread = np.sqrt(args.alpha*(1-args.alpha)*(1/len(test)+1/n)) # of the rows that judge, and of those that promised
            print(f'{name} seed {seed}: error {before:.4f} -> {after:.4f} ({after/before:.2f}), temperature {found.temperature["after"]:.2f}, cross-fitted {found["calibration error"]["cross-fitted"]:.4f}; '
                f'coverage {covered:.3f} of {1-args.alpha:.2f} ({(covered-1+args.alpha)/spread:+.1f} standard errors), {inside.sum(1).double().mean():.2f} labels a row; {len(test)} rows judge', flush=True)

if __name__=='__main__':
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('what', choices=['thresholds','sets'])
    p.add_argument('--sets', nargs='+', default=[*SETS], choices=[*SETS])
    p.add_argument('--seeds', type=int, nargs='+', default=[0,1,2])
    p.add_argument('--rows', type=int, default=1000)
    p.add_argument('--lr', type=float, default=5e-4)
    p.add_argument('--epochs', type=int)
    p.add_argument('--alpha', type=float, default=.1)
    args = p.parse_args()
    dict(thresholds=thresholds, sets=sets)[args.what](args)
