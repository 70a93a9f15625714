"""How well do our defaults train, beside Hugging Face's Trainer? `python benchmarks/quality.py --help`

Both sides fine-tune the same encoder on the same rows with the same epochs, batch size, learning rate and `max_length`, and
are scored by the same code on the same validation rows. Ours: the one-line learner of the task, all defaults, and
`fit_one_cycle`, for tags `fit_linear`. The Trainer: fused AdamW, weight decay 0.01, linear decay after 10% warm-up, gradients clipped at 1 (its default),
the padding collator of the task; for tags, the first token of a word carries its tag. Both evaluate after each epoch.
Runs alternate; each finished run is kept in a jsonl file, so that a stopped benchmark goes on where it was.
"""
import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import torch
import transformers
from scipy.stats import pearsonr, spearmanr
from seqeval.metrics import f1_score as entity_f1
from sklearn.metrics import accuracy_score, f1_score

import blurlike
from blurlike.all import sequence_classification_learner, token_classification_learner

# columns of the input, column of the target, validation file, training rows (the full budget of the first three: 10000), max_length
SETS = dict(mrpc=(['sentence1','sentence2'], 'label', 'dev', 1000, 64), sst2=(['sentence'], 'label', 'dev', 1000, 64), stsb=(['sentence1','sentence2'], 'score', 'dev', 1000, 64),
            conll2003=(['tokens'], 'tags', 'valid', 3500, 128), wnut17=(['tokens'], 'tags', 'dev', 3394, 128), ud_english_ewt=(['tokens'], 'tags', 'dev', 3601, 128))
is_tags = lambda name: SETS[name][1]=='tags'

def load(args, name, seed):
    "Training and validation rows of set `name`; `seed` chooses among the former."
    text,label,valid,rows,_ = SETS[name]
    read = lambda part: datasets.Dataset.from_json(str(args.shared/'data'/name/f'{part}.jsonl')).select_columns([*text, label])
    train = read('train').shuffle(seed=seed)
    return datasets.DatasetDict(train=train.select(range(min(args.rows or rows, len(train)))), validation=read(valid))

def score(name, preds, targets):
    "Metrics of logits (n,C) or of n lists of tags, against `targets`."
    if name=='stsb': return dict(pearson=float(pearsonr(preds[:,0], targets)[0]), spearman=float(spearmanr(preds[:,0], targets)[0]))
    if is_tags(name):
        right = np.mean([a==b for p,t in zip(preds, targets, strict=True) for a,b in zip(p, t, strict=True)])
        return dict(accuracy=float(right)) if name=='ud_english_ewt' else dict(entity_f1=float(entity_f1(targets, preds)))
    preds = preds.argmax(-1)
    return dict(accuracy=float(accuracy_score(targets, preds))) | (dict(f1=float(f1_score(targets, preds))) if name=='mrpc' else {})

def fit_name(args, name): return args.fit or ('fit_linear' if is_tags(name) else 'fit_one_cycle')

def timed(f, *args):
    start = time.perf_counter()
    f(*args)
    return time.perf_counter()-start

def ours(args, name, data, seed):
    "Logits (n,C) or n lists of tags, and seconds of training, through blurlike's defaults."
    text,label,*_,max_length = SETS[name]
    common = dict(bs=args.bs, max_length=args.max_length or max_length, seed=seed, dl_kwargs=dict(val_bs=64, device=args.device))
    if is_tags(name): learn = token_classification_learner(data, args.checkpoint, **common)
    else: learn = sequence_classification_learner(data, args.checkpoint, text=text, label=label, **common)
    with learn.no_bar(), learn.no_logging():
        seconds = timed(getattr(learn, fit_name(args, name)), args.epochs, args.lr)
        if not is_tags(name): return learn.predict_logits(learn.texts_of(data['validation'])).numpy(),seconds
        return [[learn.dls.vocab[i] for i in p.argmax(-1)] for p in learn.get_preds()[0]],seconds

def model_and_rows(args, name, data, tokenizer):
    "A new model, and `data` as the Trainer wants it, by the recipes of transformers' documentation."
    text,label,*_,max_length = SETS[name]
    max_length = args.max_length or max_length
    new = lambda auto, **kwargs: auto.from_pretrained(args.checkpoint, dtype=torch.float32, **kwargs)
    if not is_tags(name):
        kind = dict(num_labels=1, problem_type='regression') if name=='stsb' else dict(num_labels=2)
        tokenized = data.map(lambda rows: tokenizer(*(rows[t] for t in text), truncation=True, max_length=max_length), batched=True, remove_columns=text)
        return new(transformers.AutoModelForSequenceClassification, **kind),tokenized.rename_column(label, 'labels') if label!='labels' else tokenized
    names = sorted({t for part in data.values() for tags in part['tags'] for t in tags})
    def tokenize(rows):
        res = tokenizer(rows['tokens'], is_split_into_words=True, truncation=True, max_length=max_length)
        words = [res.word_ids(i) for i in range(len(rows['tokens']))]
        return res | dict(labels=[[names.index(tags[w]) if w is not None and w!=p else -100 for p,w in zip([None,*ws], ws)] for ws,tags in zip(words, rows['tags'])])
    return (new(transformers.AutoModelForTokenClassification, num_labels=len(names), id2label=dict(enumerate(names)), label2id={n:i for i,n in enumerate(names)}),
            data.map(tokenize, batched=True, remove_columns=['tokens','tags']))

def trainer(args, name, data, seed):
    "The same through Hugging Face's Trainer."
    transformers.set_seed(seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.checkpoint)
    model,rows = model_and_rows(args, name, data, tokenizer)
    collator = transformers.DataCollatorForTokenClassification if is_tags(name) else transformers.DataCollatorWithPadding
    with tempfile.TemporaryDirectory() as out:
        settings = trainer_settings(args, seed)|dict(per_device_eval_batch_size=64, eval_strategy='epoch') # it evaluates each epoch, as a learner does
        t = transformers.Trainer(model, transformers.TrainingArguments(out, **settings),
            data_collator=collator(tokenizer), train_dataset=rows['train'], eval_dataset=rows['validation'])
        seconds = timed(t.train)
        logits,labels,_ = t.predict(rows['validation'])
    if not is_tags(name): return logits,seconds
    preds = [[model.config.id2label[int(i)] for i in p.argmax(-1)[l!=-100]] for p,l in zip(logits, labels)]
    return [p+['O']*(len(words)-len(p)) for p,words in zip(preds, data['validation']['tokens'])],seconds # words that were cut off

class Runs:
    "Finished runs, kept in a jsonl file: one that stands there already is not made again"
    def __init__(self, log, commit):
        self.log,self.commit = log,commit
        self.done = [json.loads(l) for l in log.read_text().splitlines()] if log.exists() else []
    def get(self, run, make): # what a run depends on; `make()` gives what it found
        row = next((d for d in reversed(self.done) if run.items()<=d.items() and run.get('device')==d.get('device')), None)
        if row is None:
            row = run | make() | dict(commit=self.commit)
            self.done.append(row)
            with open(self.log, 'a') as f: f.write(json.dumps(row)+'\n')
            print({k:round(v, 4) if isinstance(v, float) else v for k,v in row.items()}, flush=True)
        return row

def options(doc, sets, **defaults):
    "Arguments that all of these scripts have."
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--shared', type=Path, default=Path(__file__).parents[2]/'shared', help='folder with data/ and models/')
    p.add_argument('--sets', nargs='+', default=list(sets), choices=list(sets))
    p.add_argument('--seeds', nargs='+', type=int, default=[0,1,2])
    p.add_argument('--out', type=Path, default=Path(__file__).parent/'results')
    for name,value in defaults.items(): p.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return p

def trainer_settings(args, seed):
    "The Trainer's side, as keyword arguments of its settings; the rest is its default."
    return dict(num_train_epochs=args.epochs, learning_rate=args.lr, per_device_train_batch_size=args.bs, per_device_eval_batch_size=32,
        optim='adamw_torch_fused', weight_decay=0.01, lr_scheduler_type='linear', warmup_steps=0.1, seed=seed, use_cpu=args.device=='cpu',
        report_to='none', disable_tqdm=True, logging_strategy='no', save_strategy='no')

def prepare(args):
    "Fill in what the runs share; the commit."
    args.checkpoint = str(args.shared/'models'/'all-MiniLM-L6-v2')
    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    args.out.mkdir(exist_ok=True)
    return subprocess.run(['git','describe','--always','--dirty'], capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()

def versions(args):
    device = torch.cuda.get_device_name() if args.device=='cuda' else f'CPU, {torch.get_num_threads()} threads'
    return f"blurlike {blurlike.__version__}, torch {torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}, {device}."

def one_run(args, name, data, seed, side):
    preds,seconds = side(args, name, data, seed)
    return score(name, preds, list(data['validation'][SETS[name][1]])) | dict(seconds=seconds)

def run_all(args, runs):
    "Both sides by turns; what they found as dicts."
    res = []
    for name in args.sets:
        budget = {k:getattr(args, k) for k in ('epochs','bs','lr','device')} | dict(rows=args.rows or SETS[name][3], max_length=args.max_length or SETS[name][4])
        for seed in args.seeds:
            data = load(args, name, seed)
            for side in (ours, trainer):
                run = budget | dict(set=name, seed=seed, side=side.__name__) | (dict(fit=fit_name(args, name)) if side is ours else {})
                res.append(runs.get(run, partial(one_run, args, name, data, seed, side)))
    return res

METRICS = 'accuracy','exact_match','f1','pearson','spearman','entity_f1','bleu','chrf','rouge1','rouge2','rougeLsum','loss' # shares, but for the last

def table(rows, args):
    "Markdown lines: mean and spread of both sides, and their difference in standard errors."
    lines = ['| set | rows | seeds | metric | ours | Trainer | difference | in standard errors | training time, Trainer / ours | commit |', '|---|---|---|---|---|---|---|---|---|---|']
    mean = lambda a: f'{a.mean():.2f} ± {a.std(ddof=1):.2f}' if len(a)>1 else f'{a[0]:.2f}'
    for name in args.sets:
        mine,theirs = [sorted((r for r in rows if r['set']==name and r['side']==side), key=lambda r: r['seed']) for side in ('ours','trainer')]
        ratio = np.median([t['seconds']/m['seconds'] for m,t in zip(mine, theirs)])
        for metric in [m for m in METRICS if m in mine[0]]:
            scale = 1 if metric=='loss' else 100
            a,b = [np.array([scale*r[metric] for r in side]) for side in (mine, theirs)]
            diff,se = a.mean()-b.mean(),np.sqrt(a.var(ddof=1)/len(a)+b.var(ddof=1)/len(b)) if len(a)>1 else np.nan
            lines.append(f"| {name} | {mine[0]['rows']} | {len(a)} | {metric} | {mean(a)} | {mean(b)} | {diff:+.2f} | {f'{diff/se:+.1f}' if len(a)>1 else '-'} | {ratio:.2f} | {', '.join(sorted({r['commit'] for r in mine}))} |")
    return lines

def main():
    p = options(__doc__, SETS, epochs=3, bs=16, lr=1e-4)
    p.add_argument('--rows', type=int, help='training rows of each set, instead of its own number')
    p.add_argument('--max-length', type=int, help="instead of the set's own")
    p.add_argument('--fit', choices=['fit_one_cycle','fit_linear'], help='our schedule; default: fit_linear for tags, fit_one_cycle else')
    p.add_argument('--device', default='cpu', help='cpu or cuda')
    args = p.parse_args()
    commit = prepare(args)
    rows = run_all(args, Runs(args.out/f'quality-{args.device}.jsonl', commit))
    head = [f"# Quality beside the Trainer ({args.device})", '', f"`python benchmarks/quality.py {' '.join(sys.argv[1:])}`: {args.epochs} epochs, batch size {args.bs}, "
        f"learning rate {args.lr}, seeds {args.seeds}; whole validation sets. Mean ± standard deviation over seeds, in points; times are of a shared machine.", '',
        versions(args), '']
    text = '\n'.join([*head, *table(rows, args)])+'\n'
    (args.out/f'quality-{args.device}.md').write_text(text)
    print(text)

if __name__=='__main__': main()
