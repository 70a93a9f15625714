"""How well do our defaults train, beside Hugging Face's Trainer? `python benchmarks/quality.py --help`

Both sides fine-tune the same encoder on the same rows with the same epochs, batch size, learning rate and `max_length`, and
are scored by the same code on the same validation rows. Ours: `sequence_classification_learner` and `fit_one_cycle`, all
defaults. The Trainer: fused AdamW, weight decay 0.01, linear decay after 10% warm-up, gradients clipped at 1 (its default).
Runs alternate; each finished run is kept in a jsonl file, so that a stopped benchmark goes on where it was.
"""
import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import datasets
import numpy as np
import torch
import transformers
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score

import blurlike
from blurlike.all import sequence_classification_learner

SETS = dict(mrpc=(['sentence1','sentence2'], 'label'), sst2=(['sentence'], 'label'), stsb=(['sentence1','sentence2'], 'score'))

def load(args, name, seed):
    "Training and validation rows of set `name`; `seed` chooses `args.rows` of the former."
    text,label = SETS[name]
    read = lambda part: datasets.Dataset.from_json(str(args.shared/'data'/name/f'{part}.jsonl')).select_columns([*text, label])
    train = read('train').shuffle(seed=seed)
    return datasets.DatasetDict(train=train.select(range(min(args.rows, len(train)))), validation=read('dev'))

def score(name, logits, targets):
    "Metrics of `logits` (n,C) against `targets` (n,)."
    if name=='stsb': return dict(pearson=float(pearsonr(logits[:,0], targets)[0]), spearman=float(spearmanr(logits[:,0], targets)[0]))
    preds = logits.argmax(-1)
    return dict(accuracy=float(accuracy_score(targets, preds))) | (dict(f1=float(f1_score(targets, preds))) if name=='mrpc' else {})

def ours(args, name, data, seed):
    "Logits (n,C) and seconds of training, through blurlike's defaults."
    text,label = SETS[name]
    learn = sequence_classification_learner(data, args.checkpoint, text=text, label=label, bs=args.bs, max_length=args.max_length, seed=seed, dl_kwargs=dict(val_bs=64, device=args.device))
    start = time.perf_counter()
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(args.epochs, args.lr)
    seconds = time.perf_counter()-start
    return learn.predict_logits(learn.texts_of(data['validation'])).numpy(),seconds

def trainer(args, name, data, seed):
    "The same through Hugging Face's Trainer."
    text,label = SETS[name]
    transformers.set_seed(seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.checkpoint)
    kind = dict(num_labels=1, problem_type='regression') if name=='stsb' else dict(num_labels=2)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(args.checkpoint, dtype=torch.float32, **kind)
    tokenized = data.map(lambda rows: tokenizer(*(rows[t] for t in text), truncation=True, max_length=args.max_length), batched=True, remove_columns=text)
    tokenized = tokenized.rename_column(label, 'labels') if label!='labels' else tokenized
    with tempfile.TemporaryDirectory() as out:
        t = transformers.Trainer(model, transformers.TrainingArguments(out, num_train_epochs=args.epochs, learning_rate=args.lr, per_device_train_batch_size=args.bs,
            per_device_eval_batch_size=64, optim='adamw_torch_fused', weight_decay=0.01, lr_scheduler_type='linear', warmup_steps=0.1, seed=seed, use_cpu=args.device=='cpu',
            eval_strategy='epoch', report_to='none', disable_tqdm=True, logging_strategy='no', save_strategy='no'), # it evaluates each epoch, as a learner does
            data_collator=transformers.DataCollatorWithPadding(tokenizer), train_dataset=tokenized['train'], eval_dataset=tokenized['validation'])
        start = time.perf_counter()
        t.train()
        seconds = time.perf_counter()-start
        return t.predict(tokenized['validation']).predictions,seconds

def run_all(args, log):
    "All runs that `log` does not hold yet, alternating; the finished ones as dicts."
    budget = {k:getattr(args, k) for k in ('rows','epochs','bs','lr','max_length','device')}
    done = [json.loads(l) for l in log.read_text().splitlines()] if log.exists() else []
    done = [d for d in done if all(d[k]==v for k,v in budget.items())]
    for name in args.sets:
        for seed in args.seeds:
            data = load(args, name, seed)
            for side in (ours, trainer):
                if any((d['set'],d['seed'],d['side'])==(name, seed, side.__name__) for d in done): continue
                logits,seconds = side(args, name, data, seed)
                row = dict(set=name, seed=seed, side=side.__name__, seconds=seconds, **score(name, logits, np.array(data['validation'][SETS[name][1]])), **budget)
                with open(log, 'a') as f: f.write(json.dumps(row)+'\n')
                print({k:round(v, 4) if isinstance(v, float) else v for k,v in row.items() if k not in budget}, flush=True)
                done.append(row)
    return [d for d in done if d['set'] in args.sets and d['seed'] in args.seeds]

def table(rows, args):
    "Markdown lines: mean and spread of both sides, and their difference in standard errors."
    lines = ['| set | metric | ours | Trainer | difference | in standard errors | training time, Trainer / ours |', '|---|---|---|---|---|---|---|']
    for name in args.sets:
        mine,theirs = [sorted((r for r in rows if r['set']==name and r['side']==side), key=lambda r: r['seed']) for side in ('ours','trainer')]
        ratio = np.median([t['seconds']/m['seconds'] for m,t in zip(mine, theirs)])
        for metric in [m for m in ('accuracy','f1','pearson','spearman') if m in mine[0]]:
            a,b = [np.array([100*r[metric] for r in side]) for side in (mine, theirs)]
            diff,se = a.mean()-b.mean(),np.sqrt(a.var(ddof=1)/len(a)+b.var(ddof=1)/len(b)) if len(a)>1 else np.nan
            lines.append(f'| {name} | {metric} | {a.mean():.2f} ± {a.std(ddof=1):.2f} | {b.mean():.2f} ± {b.std(ddof=1):.2f} | {diff:+.2f} | {diff/se:+.1f} | {ratio:.2f} |')
    return lines

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--shared', type=Path, default=Path(__file__).parents[2]/'shared', help='folder with data/ and models/')
    p.add_argument('--sets', nargs='+', default=list(SETS), choices=list(SETS))
    p.add_argument('--seeds', nargs='+', type=int, default=[0,1,2])
    p.add_argument('--rows', type=int, default=1000, help='training rows of each set (the full budget: 10000)')
    p.add_argument('--epochs', type=int, default=3)
    p.add_argument('--bs', type=int, default=16)
    p.add_argument('--lr', type=float, default=1e-4)
    p.add_argument('--max-length', type=int, default=64)
    p.add_argument('--device', default='cpu', help='cpu or cuda')
    p.add_argument('--out', type=Path, default=Path(__file__).parent/'results')
    args = p.parse_args()
    args.checkpoint = str(args.shared/'models'/'all-MiniLM-L6-v2')
    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    args.out.mkdir(exist_ok=True)
    rows = run_all(args, args.out/f'quality-{args.device}.jsonl')
    commit = subprocess.run(['git','describe','--always','--dirty'], capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()
    device = torch.cuda.get_device_name() if args.device=='cuda' else f'CPU, {torch.get_num_threads()} threads'
    head = [f"# Quality beside the Trainer ({args.device})", '', f"`python benchmarks/quality.py {' '.join(sys.argv[1:])}`: {args.rows} training rows of each set, {args.epochs} epochs, batch size {args.bs}, "
        f"learning rate {args.lr}, max_length {args.max_length}, seeds {args.seeds}; whole validation sets. Mean ± standard deviation over seeds, in points; times are of a shared machine.", '',
        f"Commit {commit}, blurlike {blurlike.__version__}, torch {torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}, {device}.", '']
    text = '\n'.join([*head, *table(rows, args)])+'\n'
    (args.out/f'quality-{args.device}.md').write_text(text)
    print(text)

if __name__=='__main__': main()
