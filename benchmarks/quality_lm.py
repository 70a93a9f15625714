"""Masked language modelling beside Hugging Face's Trainer, and what it is worth to a classifier. `python benchmarks/quality_lm.py --help`

wikitext: both sides train the same encoder with a new head on the same blocks of WikiText-2, for the same tokens, with the same
batch size and peak learning rate; both are scored on the same gaps of the same validation blocks. Ours: `masked_lm_learner` and
`fit_one_cycle`. The Trainer: `DataCollatorForLanguageModeling`, fused AdamW, weight decay 0.01, linear decay after 10% warm-up.
adapt: a classifier of film reviews trained on few labels, from the encoder as it is and from the encoder after masked language
modelling on the same domain's texts without labels. Each finished run is kept in a jsonl file.
"""
import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import torch
import transformers

from blurlike.all import MaskedLoss, TransformersLearner, masked_lm_learner, sequence_classification_learner
from quality import Runs, prepare, timed, versions

def gap_loss(learn, batches):
    "Mean loss of the hidden tokens of `batches`."
    with learn.no_bar(): return float(learn.validate(dl=batches)[0])

def corpus(args, folder):
    "Training and validation files of WikiText-2, as long as the budget needs."
    for part,words in (('train',args.tokens),('valid',args.valid_tokens)):
        lines,n = [],0
        for line in open(args.shared/'data'/'wikitext2'/f'{part}.txt', encoding='utf-8'):
            if n>words: break
            lines.append(line)
            n += len(line.split())
        (folder/f'{part}.txt').write_text(''.join(lines), encoding='utf-8')

def lm(args, folder, seed):
    learn = masked_lm_learner(folder, args.checkpoint, block_size=args.block_size, bs=args.bs, seed=seed, dl_kwargs=dict(device=args.device))
    n = args.tokens//args.block_size
    learn.dls.train = learn.dls.train.new(get_idxs=_First(learn.dls.train, n)) if n<len(learn.dls.train_ds) else learn.dls.train
    return learn,n

class _First:
    "The first `n` rows in a new random order each time, so that both sides see the same tokens"
    def __init__(self, dl, n): self.rng,self.n = dl.rng,n
    def __call__(self): return np.random.default_rng(self.rng.getrandbits(63)).permutation(self.n)

def wikitext(args, seed, side):
    with tempfile.TemporaryDirectory() as tmp:
        corpus(args, Path(tmp))
        learn,n = lm(args, Path(tmp), seed)
        batches = list(learn.dls.valid)
        if side=='ours':
            with learn.no_bar(), learn.no_logging(): seconds = timed(learn.fit_one_cycle, 1, args.lr)
            return dict(loss=gap_loss(learn, batches), seconds=seconds)
        transformers.set_seed(seed)
        tok = learn.dls.tokenizer
        model = transformers.AutoModelForMaskedLM.from_pretrained(args.checkpoint, dtype=torch.float32)
        items = learn.dls.train_ds.items
        blocks = datasets.Dataset.from_list([dict(input_ids=b.tolist(), attention_mask=[1]*len(b)) for b in items.read(np.arange(n), ['text'])[0]])
        t = transformers.Trainer(model, transformers.TrainingArguments(tmp+'/out', num_train_epochs=1, learning_rate=args.lr, per_device_train_batch_size=args.bs, optim='adamw_torch_fused', weight_decay=0.01,
            lr_scheduler_type='linear', warmup_steps=0.1, seed=seed, use_cpu=args.device=='cpu', report_to='none', disable_tqdm=True, logging_strategy='no', save_strategy='no'),
            data_collator=transformers.DataCollatorForLanguageModeling(tok, mlm_probability=0.15), train_dataset=blocks)
        seconds = timed(t.train)
        theirs = TransformersLearner(learn.dls, t.model, loss_func=MaskedLoss())
        return dict(loss=gap_loss(theirs, batches), seconds=seconds)

def reviews(args, seed):
    train,valid = (pd.read_json(args.shared/'data'/'imdb_sample'/f'{part}.jsonl', lines=True, dtype=False) for part in ('train','valid'))
    few = train.sample(args.labelled, random_state=seed).assign(is_valid=False)
    return train.text,pd.concat([few, valid.assign(is_valid=True)], ignore_index=True)

def adapted(args):
    "The encoder after masked language modelling on the training reviews without labels; trained once."
    folder = args.work/'adapted'
    if not folder.exists():
        texts,_ = reviews(args, 0)
        learn = masked_lm_learner(pd.DataFrame(dict(text=texts)), args.checkpoint, block_size=args.block_size, bs=args.bs, valid=.05, seed=0, dl_kwargs=dict(device=args.device))
        with learn.no_bar(): learn.fit_one_cycle(args.adapt_epochs, args.lr)
        learn.save_pretrained(folder)
    return folder

def adapt(args, seed, side):
    _,df = reviews(args, seed)
    learn = sequence_classification_learner(df, adapted(args) if side=='adapted' else args.checkpoint, valid='is_valid', bs=args.bs, max_length=args.max_length, seed=seed, dl_kwargs=dict(device=args.device))
    with learn.no_bar(), learn.no_logging(): seconds = timed(learn.fit_one_cycle, args.epochs, 1e-4)
    return dict(accuracy=float(learn.recorder.values[-1][2]), seconds=seconds)

_common = ('block_size','bs','lr','device')
# function, sides, metric, seeds, what a run depends on
SCENARIOS = dict(wikitext=(wikitext, ('ours','trainer'), 'loss', 3, (*_common, 'tokens','valid_tokens')),
                 adapt=(adapt, ('adapted','as it is'), 'accuracy', 5, (*_common, 'labelled','max_length','epochs','adapt_epochs')))

def run_all(args, runs):
    res = []
    for name in args.scenarios:
        f,sides,_,n,keys = SCENARIOS[name]
        budget = {k:getattr(args, k) for k in keys}
        res += [runs.get(budget | dict(scenario=name, seed=seed, side=side), partial(f, args, seed, side)) for seed in range(args.seeds or n) for side in sides]
    return res

def table(rows, args):
    lines = ['| scenario | metric | first | second | difference | in standard errors | time, second / first |', '|---|---|---|---|---|---|---|']
    for name in args.scenarios:
        _,sides,metric,*_ = SCENARIOS[name]
        both = [sorted((r for r in rows if (r['scenario'],r['side'])==(name,side)), key=lambda r: r['seed']) for side in sides]
        a,b = (np.array([r[metric] for r in side]) for side in both)
        se = np.sqrt((a.var(ddof=1)+b.var(ddof=1))/len(a)) if len(a)>1 else np.nan
        ratio = np.median([y['seconds']/x['seconds'] for x,y in zip(*both)])
        lines.append(f"| {name}, {len(a)} seeds | {metric} | {sides[0]} {a.mean():.4f} ± {a.std(ddof=1):.4f} | {sides[1]} {b.mean():.4f} ± {b.std(ddof=1):.4f} | {a.mean()-b.mean():+.4f} | {(a.mean()-b.mean())/se:+.1f} | {ratio:.2f} |")
    return lines

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--shared', type=Path, default=Path(__file__).parents[2]/'shared', help='folder with data/ and models/')
    p.add_argument('--scenarios', nargs='+', default=list(SCENARIOS), choices=list(SCENARIOS))
    p.add_argument('--seeds', type=int, help='number of seeds; default: 3 for wikitext, 5 for adapt')
    p.add_argument('--tokens', type=int, default=100_000, help='of training')
    p.add_argument('--valid-tokens', type=int, default=10_000)
    p.add_argument('--block-size', type=int, default=128)
    p.add_argument('--bs', type=int, default=16)
    p.add_argument('--lr', type=float, default=5e-4, help='of masked language modelling')
    p.add_argument('--labelled', type=int, default=200)
    p.add_argument('--max-length', type=int, default=128, help='of the classifier')
    p.add_argument('--epochs', type=int, default=3, help='of the classifier')
    p.add_argument('--adapt-epochs', type=int, default=1)
    p.add_argument('--device', default='cpu', help='cpu or cuda')
    p.add_argument('--out', type=Path, default=Path(__file__).parent/'results')
    p.add_argument('--work', type=Path, default=Path(tempfile.gettempdir())/'blurlike-quality-lm', help='where the adapted encoder is kept')
    args = p.parse_args()
    commit = prepare(args)
    args.work.mkdir(exist_ok=True, parents=True)
    rows = run_all(args, Runs(args.out/f'quality-lm-{args.device}.jsonl', commit))
    head = [f"# Masked language modelling: quality ({args.device})", '', f"`python benchmarks/quality_lm.py {' '.join(sys.argv[1:])}`. wikitext: {args.tokens:,} tokens in blocks of {args.block_size}, batch size {args.bs}, learning rate {args.lr}; "
        f"loss of the same gaps in about {args.valid_tokens:,} words. adapt: {args.adapt_epochs} epochs on 800 reviews without labels, then {args.epochs} epochs on {args.labelled} labelled ones, max_length {args.max_length}; accuracy on 200 reviews. "
        'Mean ± standard deviation over seeds; times are of a shared machine.', '',
        f"Commit {', '.join(sorted({r['commit'] for r in rows}))}, {versions(args)}", '']
    text = '\n'.join([*head, *table(rows, args)])+'\n'
    (args.out/f'quality-lm-{args.device}.md').write_text(text)
    print(text)

if __name__=='__main__': main()
