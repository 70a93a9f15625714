"""Does labelling what `learn.uncertain` picks teach more than labelling rows at random? `active_learning.py [SET ...] [--ways ...] [--seeds 0 1 2] [--rounds 4] [--step 50] [--epochs 8] [--pool 1500] [--test 500]`: a line of JSON
for each round of each run, and a Markdown table: means over seeds, and of the differences from random rows (same seed) their mean and standard error.

Each run begins with `step` random rows (the same for all ways), trains a new learner from the checkpoint, scores it on test rows, picks `step` more from the pool, and so on. `trec_rare`: TREC's coarse labels made
imbalanced, three of six kept in one row of ten. Reads `../shared/data` and `../shared/models/all-MiniLM-L6-v2`."""
import argparse,json,sys,time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, f1_score

from blurlike.all import sequence_classification_learner

SHARED = Path(__file__).resolve().parents[2]/'shared'
SETS = dict(trec=('trec','label'), trec_fine=('trec','fine_label'), trec_rare=('trec','label'), ag_news=('ag_news','label'), sst2=('sst2','label'))
WAYS = {'random':None, 'margin':dict(by='margin', diverse=False), 'entropy':dict(by='entropy', diverse=False), 'margin, diverse':dict(by='margin'), 'entropy, diverse':dict(by='entropy')}

def rare(df, rng, share=.1): # three labels in fewer rows
    few = sorted(df.label.unique())[::2]
    return df[~df.label.isin(few) | (rng.random(len(df))<share)]

def data(name, seed, n_pool, n_test):
    "Pool and test rows, in the order of a seed."
    folder,label = SETS[name]
    parts = [pd.read_json(next((SHARED/'data'/folder).glob(f'{p}.jsonl')), lines=True).rename(columns=dict(sentence='text')) for p in ('train', 'dev' if folder=='sst2' else 'test')]
    parts = [(d if label=='label' else d.drop(columns='label').rename(columns={label:'label'}))[['text','label']].astype(dict(label=str)) for d in parts]
    if name=='trec_rare': parts[0] = rare(parts[0], np.random.default_rng(seed))
    pool = parts[0].sample(min(n_pool, len(parts[0])), random_state=seed).reset_index(drop=True)
    test = parts[1][parts[1].label.isin(pool.label)]
    return pool,test.sample(min(n_test, len(test)), random_state=0).reset_index(drop=True)

def train(rows, seed, epochs):
    learn = sequence_classification_learner(rows, SHARED/'models'/'all-MiniLM-L6-v2', valid=None, bs=16, seed=seed)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, 3e-4)
    return learn

def run(name, way, seed, rounds, step, epochs, pool, test):
    "Yields labelled rows, and scores on test rows, of each round."
    pool,test = data(name, seed, pool, test)
    first = pool.sample(step, random_state=seed).index
    labelled,pool = pool.loc[first],pool.drop(first).reset_index(drop=True)
    for r in range(rounds):
        begin = time.time()
        learn = train(labelled, seed, epochs)
        learn.remove_cb(learn.progress)
        guess = [o['label'] for o in learn.predict_batch(test.text)]
        scores = dict(accuracy=accuracy_score(test.label, guess), macro_f1=f1_score(test.label, guess, average='macro', zero_division=0))
        trained = time.time()
        picked = np.random.default_rng([seed, r]).permutation(len(pool))[:step] if WAYS[way] is None else learn.uncertain(pool, step, **WAYS[way], seed=seed).row
        yield dict(set=name, way=way, seed=seed, rows=len(labelled), labels=labelled.label.nunique(), train=round(trained-begin, 1), pick=round(time.time()-trained, 1)) | scores
        labelled,pool = pd.concat([labelled, pool.iloc[picked]]),pool.drop(pool.index[picked]).reset_index(drop=True)

def told(found):
    "A Markdown table of all rounds."
    found = pd.DataFrame(found)
    lines = ['| set | rows | way | accuracy | macro F1 | accuracy beside random | macro F1 beside random |','|---|---|---|---|---|---|---|']
    for (name,rows),part in found.groupby(['set','rows'], sort=False):
        base = part[part.way=='random'].set_index('seed')
        for way,some in part.groupby('way', sort=False):
            some = some.set_index('seed')
            def beside(k):
                d = (some[k]-base[k]).dropna()*100
                return '' if way=='random' or len(d)<2 else f'{d.mean():+.1f} ± {d.std(ddof=1)/len(d)**.5:.1f}'
            lines.append(f"| {name} | {rows} | {way} | {some.accuracy.mean():.1%} | {some.macro_f1.mean():.1%} | {beside('accuracy')} | {beside('macro_f1')} |")
    return '\n'.join(lines)

def main():
    p = argparse.ArgumentParser()
    p.add_argument('sets', nargs='*', default=['trec','trec_rare'])
    p.add_argument('--ways', nargs='*', default=['random','margin','margin, diverse'])
    p.add_argument('--seeds', nargs='*', type=int, default=[0, 1, 2])
    for k,v in dict(rounds=4, step=50, epochs=8, pool=1500, test=500).items(): p.add_argument(f'--{k}', type=int, default=v)
    args = p.parse_args()
    found = []
    for name in args.sets:
        for seed in args.seeds:
            for way in args.ways:
                for o in run(name, way, seed, args.rounds, args.step, args.epochs, args.pool, args.test):
                    found.append(o)
                    print(json.dumps(o), file=sys.stderr, flush=True)
    print(told(found))

if __name__=='__main__': main()
