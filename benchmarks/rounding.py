"""How many labels do fewer bits change, and are they worse? `python benchmarks/rounding.py [--sets trec sst2] [--rows N] [--seeds 0 1 2]`.
A learner is trained in float32; rows that nobody looked at are predicted in float32, bf16 and int8."""
import argparse

from decisions import SETS, trained

def answers(learn, texts, **kwargs):
    with learn.no_bar(): found = learn.predict_batch(texts, **kwargs)
    return [p['label'] for p in found],[p['score'] for p in found]

def changed(name, args, seed):
    _,text,label,_ = SETS[name]
    learn,test = trained(name, args.rows, seed, args.lr, args.epochs)
    texts = test[text] if isinstance(text, str) else list(zip(*(test[c] for c in text)))
    ways = dict(float32=answers(learn, texts), int8=answers(learn, texts, precision='int8'))
    learn.to_bf16()
    ways['bf16'] = answers(learn, texts)
    exact,sure = ways['float32']
    for way,(labels,scores) in ways.items():
        others = [i for i,(a,b) in enumerate(zip(exact, labels)) if a!=b]
        unsure = max((sure[i] for i in others), default=0)
        yield f"{way} accuracy {sum(a==b for a,b in zip(labels, test[label]))/len(test):.4f}, {len(others)} of {len(test)} labels changed, the surest of these {unsure:.3f}"

if __name__=='__main__':
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--sets', nargs='+', default=['trec','sst2','ag_news','mrpc'], choices=[*SETS])
    p.add_argument('--seeds', type=int, nargs='+', default=[0])
    p.add_argument('--rows', type=int, default=1000)
    p.add_argument('--lr', type=float, default=2e-4)
    p.add_argument('--epochs', type=int, default=3)
    args = p.parse_args()
    for name in args.sets:
        for seed in args.seeds:
            for line in changed(name, args, seed): print(f'{name} seed {seed}: {line}', flush=True)
