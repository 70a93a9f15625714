"""Which settings of a short run matter, and by how much? `python benchmarks/ablation.py --help`

Each arm changes one thing (or few) of our learners' `fit_one_cycle`, or is Hugging Face's Trainer; all arms train the same
encoder on the same rows with the same seed, and are scored by the same code. A set's validation rows come in two parts that
share no row: `search` (500 training rows that nothing trains on), from which defaults are chosen, and `confirm` (the set's own
validation or test rows), which the search never looks at. Finished runs are kept in a jsonl file: a stopped search goes on where
it was, several processes share the work with `--share 0/2`, `--share 1/2`. `--table` prints differences to an arm, by pairs of runs.
"""
import argparse
import json
import tempfile
import time
import types
from functools import cache, partial
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import torch
import transformers
from fastcore.basics import merge
from scipy.special import softmax
from scipy.stats import t as students_t
from seqeval.metrics import f1_score as entity_f1
from sklearn.metrics import accuracy_score, balanced_accuracy_score, label_ranking_average_precision_score, log_loss

from blurlike.all import adamw, sequence_classification_learner, token_classification_learner
from quality import Runs, prepare

# columns of the input, column of the target, files of the training rows and of those that confirm, max_length
SETS = dict(mrpc=(['sentence1','sentence2'], 'label', 'train', 'dev', 96), sst2=(['sentence'], 'label', 'train', 'dev', 64),
            trec=(['text'], 'label', 'train', 'test', 64), ag_news=(['text'], 'label', 'train', 'test', 64),
            goemotions=(['text'], 'labels', 'train', 'test', 64), conll2003=(['tokens'], 'tags', 'train', 'valid', 96))
N_SEARCH,N_CONFIRM = 500,800 # validation rows of the two parts, at most

same_moms = (0.9,0.9,0.9)
def on_all(learn): # weight decay on biases and norms too
    learn.create_opt()
    for g in learn.opt.opt.param_groups: g |= dict(no_decay=False, weight_decay=0.01)
def no_guess(learn): learn.model.classifier.bias.data.zero_()
def as_theirs(learn): # nothing of ours that changes numbers is left: PyTorch's dropout, no first guess
    no_guess(learn)
    learn.fast_dropout = False
def any_first(learn): # batches in any order: the longest does not come first
    dl = learn.dls.train
    dl._arrange = types.MethodType(lambda self, sizes, seed, k: type(self)._arrange(self, sizes, seed, k+1), dl)

def one_cycle(learn, epochs, lr, **kwargs): learn.fit_one_cycle(epochs, lr, **kwargs)
def linear(learn, epochs, lr, **kwargs): learn.fit_linear(epochs, lr, **kwargs)
def fine_tune(learn, epochs, lr, **kwargs): learn.fine_tune(epochs-1, lr, **kwargs) # fastai's: one frozen epoch counts as one
def fine_tune_plain(learn, epochs, lr): learn.fine_tune(epochs-1) # fastai's own rate, 2e-3
def by_group(learn, epochs, lr, lowest, by=one_cycle, **kwargs): by(learn, epochs, slice(lr*lowest, lr), **kwargs)
def head_faster(learn, epochs, lr, times, by=one_cycle, **kwargs): by(learn, epochs, np.array([lr]*(len(learn.splitter(learn.model))-1)+[lr*times]), **kwargs)
def head_first(learn, epochs, lr): # the head alone for an epoch, all after it (arXiv:2202.10054)
    learn.freeze()
    learn.fit_linear(1, 20*lr)
    learn.unfreeze()
    learn.fit_linear(max(1, epochs-1), lr)
def unfreeze_by_steps(learn, epochs, lr, **kwargs): # head, then upper layers, then all: one epoch each, the rest for all
    for n in (-1, -2)[:max(0, epochs-1)]:
        learn.freeze_to(n)
        learn.fit_one_cycle(1, lr, **kwargs)
    learn.unfreeze()
    learn.fit_one_cycle(max(1, epochs-2), lr, **kwargs)

def as_found(learn, epochs, lr): learn.fit_one_cycle(epochs, learn.lr_find(num_it=min(100, max(40, 2*len(learn.dls.train))), show_plot=False).valley) # as the command line does

# what an arm changes. make: arguments of the learner; before: done to it; fit, kwargs: how it is trained; lr: times the run's
ours = lambda fit=one_cycle, make=None, before=None, lr=1, **kwargs: dict(fit=fit, make=make or {}, before=before, lr=lr, kwargs=kwargs)
trainer = lambda lr=1, **kwargs: dict(trainer=kwargs, lr=lr)
shuffled,no_drop = dict(dl_kwargs=dict(megabatch=1)),dict(model_kwargs=dict(hidden_dropout_prob=0., attention_probs_dropout_prob=0.))
still = dict(div=1e5, div_final=1e5, moms=same_moms) # from zero to zero, momentum as it is
ARMS = dict(
    one_cycle=ours(), # fastai's default: 25% warm-up from lr/25, momentum .95 .85 .95
    linear_10=ours(linear), linear_5=ours(linear, warmup=.05), linear_25=ours(linear, warmup=.25), linear_0=ours(linear, warmup=0.),
    cosine_10=ours(pct_start=.1, **still),
    cycle_10=ours(pct_start=.1), cycle_moms=ours(moms=same_moms), cycle_10_moms=ours(pct_start=.1, moms=same_moms), cycle_final_10=ours(div_final=10),
    as_trainer=ours(linear, make=shuffled, before=as_theirs),
    linear_random=ours(linear, make=shuffled), linear_random_lr2=ours(linear, make=shuffled, lr=2),
    linear_random_head_10=ours(head_faster, make=shuffled, times=10, by=linear), linear_random_group=ours(by_group, make=shuffled, lowest=.25, lr=2, by=linear), linear_random_group_lr4=ours(by_group, make=shuffled, lowest=.25, lr=4, by=linear),
    linear_group_lr4=ours(by_group, lowest=.25, lr=4, by=linear), random_group_lr4=ours(by_group, make=shuffled, lowest=.25, lr=4),
    linear_random_no_dropout=ours(linear, make=shuffled | no_drop), head_first=ours(head_first, make=shuffled), random=ours(make=shuffled),
    window_20=ours(make=dict(dl_kwargs=dict(megabatch=20))), any_first=ours(before=any_first),
    no_guess=ours(before=no_guess), no_guess_lr2=ours(before=no_guess, lr=2), no_guess_linear_random=ours(linear, make=shuffled, before=no_guess), no_wd=ours(wd=0.), wd_10=ours(wd=.1), wd_all=ours(before=on_all),
    beta_98=ours(make=dict(opt_func=partial(adamw, sqr_mom=.98))), eps_6=ours(make=dict(opt_func=partial(adamw, eps=1e-6))),
    no_dropout=ours(make=no_drop), no_clip=ours(make=dict(max_grad_norm=None)),
    head_3=ours(head_faster, times=3), head_10=ours(head_faster, times=10), linear_head_3=ours(head_faster, times=3, by=linear), linear_head_10=ours(head_faster, times=10, by=linear),
    by_group=ours(by_group, lowest=.1), by_group_lr4=ours(by_group, lowest=.25, lr=4), unfreeze=ours(unfreeze_by_steps), fine_tune=ours(fine_tune), fine_tune_plain=ours(fine_tune_plain), fine_tune_lr2=ours(fine_tune, lr=2), fine_tune_flat=ours(fine_tune, lr=2, lr_mult=1), fine_tune_20=ours(fine_tune, lr=20, lr_mult=20), fine_tune_lr4=ours(fine_tune, lr=4), finder=ours(as_found),
    cycle_lr2=ours(lr=2), cycle_lr4=ours(lr=4), cycle_lr10=ours(lr=10), linear_lr2=ours(linear, lr=2), linear_lr4=ours(linear, lr=4), linear_lr_half=ours(linear, lr=.5), cycle_lr_half=ours(lr=.5),
    trainer=trainer(), trainer_cosine=trainer(lr_scheduler_type='cosine'), trainer_lr_half=trainer(lr=.5), trainer_lr2=trainer(lr=2), trainer_lr4=trainer(lr=4)) # at half of 1e-4, its own default

@cache
def read_part(shared, name, part):
    "Rows of `name` that may be trained on, and the validation rows of `part`."
    text,label,train,held,_ = SETS[name]
    read = lambda f: datasets.Dataset.from_json(str(shared/'data'/name/f'{f}.jsonl')).select_columns([*text, label]).shuffle(seed=16)
    rows = read(train)
    valid = rows.select(range(N_SEARCH)) if part=='search' else read(held)
    valid = valid.select(range(min(len(valid), N_CONFIRM)))
    return rows.select(range(N_SEARCH, len(rows))),valid

@cache
def names_of(shared, name):
    "All labels of a set, in order."
    values = read_part(shared, name, 'search')[0][SETS[name][1]]
    return sorted({v for row in values for v in (row if isinstance(row, list) else [row])})

def train_ours(args, arm, name, train, valid, seed, lr):
    "Logits (n,C) or n lists of tags, through our learner."
    text,label,*_,max_length = SETS[name]
    common = merge(dict(bs=args.bs, max_length=max_length, seed=seed, valid=None, vocab=names_of(args.shared, name), dl_kwargs={}), arm['make'])
    common['dl_kwargs'] = dict(device=args.device) | common['dl_kwargs']
    is_tags = label=='tags'
    learn = token_classification_learner(train, args.checkpoint, **common) if is_tags else sequence_classification_learner(train, args.checkpoint, text=text, label=label, **common)
    with learn.no_bar(), learn.no_logging():
        if arm['before']: arm['before'](learn)
        arm['fit'](learn, args.epochs, lr*arm['lr'], **arm['kwargs'])
        if not is_tags: return learn.predict_logits(learn.texts_of(valid)).numpy()
        return [[learn.dls.vocab[i] for i in p.argmax(-1)] for p in learn.get_preds(dl=learn.dls.test_dl(valid))[0]]

def tokenized(tokenizer, name, names, rows):
    "`rows` as the Trainer wants them, by the recipes of transformers' documentation."
    text,label,*_,max_length = SETS[name]
    def encode(batch):
        if label!='tags':
            targets = [[float(n in row) for n in names] for row in batch[label]] if label=='labels' else [names.index(v) for v in batch[label]]
            return tokenizer(*(batch[t] for t in text), truncation=True, max_length=max_length) | dict(labels=targets)
        res = tokenizer(batch['tokens'], is_split_into_words=True, truncation=True, max_length=max_length)
        words = [res.word_ids(i) for i in range(len(batch['tokens']))]
        tags = [[names.index(tags[w]) if w is not None and w!=p else -100 for p,w in zip([None,*ws], ws)] for ws,tags in zip(words, batch['tags'])]
        return res | dict(labels=tags)
    return rows.map(encode, batched=True, remove_columns=rows.column_names)

def train_trainer(args, arm, name, train, valid, seed, lr):
    "The same through Hugging Face's Trainer: fused AdamW, weight decay 0.01, linear after 10% warm-up where `arm` says nothing else."
    transformers.set_seed(seed)
    label,names,tokenizer = SETS[name][1],names_of(args.shared, name),transformers.AutoTokenizer.from_pretrained(args.checkpoint)
    auto = transformers.AutoModelForTokenClassification if label=='tags' else transformers.AutoModelForSequenceClassification
    kind = dict(problem_type='multi_label_classification') if label=='labels' else {}
    model = auto.from_pretrained(args.checkpoint, dtype=torch.float32, num_labels=len(names), **kind)
    collator = transformers.DataCollatorForTokenClassification if label=='tags' else transformers.DataCollatorWithPadding
    with tempfile.TemporaryDirectory() as out:
        settings = dict(num_train_epochs=args.epochs, learning_rate=lr*arm['lr'], per_device_train_batch_size=args.bs, per_device_eval_batch_size=64,
            optim='adamw_torch_fused', weight_decay=0.01, lr_scheduler_type='linear', warmup_steps=0.1, seed=seed, use_cpu=args.device=='cpu',
            report_to='none', disable_tqdm=True, logging_strategy='no', save_strategy='no') | arm['trainer']
        t = transformers.Trainer(model, transformers.TrainingArguments(out, **settings), data_collator=collator(tokenizer), train_dataset=tokenized(tokenizer, name, names, train))
        t.remove_callback(transformers.PrinterCallback)
        t.train()
        order = np.argsort([-len(' '.join(map(str, row.values()))) for row in valid], kind='stable') # less padding; the Trainer has no such order for predictions
        logits,labels,_ = t.predict(tokenized(tokenizer, name, names, valid.select(order)))
    back = np.argsort(order)
    if label!='tags': return logits[back]
    preds = [[names[i] for i in p.argmax(-1)[l!=-100]] for p,l in zip(logits, labels)]
    return [preds[i] for i in back]

def score(args, name, preds, valid):
    """The set's metric, and whether all rows got the same prediction: a run that did not start. Of one label each also the mean of the
    labels' recalls (`balanced`: 1/C for such a run, however common the label), the cross entropy, the share of the commonest prediction."""
    label,names = SETS[name][1],names_of(args.shared, name)
    targets = list(valid[label])
    if label=='tags':
        preds = [p+['O']*(len(t)-len(p)) for p,t in zip(preds, targets)] # words that were cut off
        return dict(score=float(entity_f1(targets, preds)), constant=not any(t!='O' for p in preds for t in p))
    if label=='labels':
        hot = np.array([[n in row for n in names] for row in targets])
        return dict(score=float(label_ranking_average_precision_score(hot, preds)), constant=bool(len(set(preds.argmax(-1)))==1))
    found,ids = preds.argmax(-1),[names.index(v) for v in targets]
    parts = dict(balanced=balanced_accuracy_score(ids, found), loss=log_loss(ids, softmax(preds, -1), labels=range(len(names))), commonest=np.bincount(found).max()/len(found))
    return dict(score=float(accuracy_score(ids, found)), constant=bool(len(set(found))==1)) | {k:float(v) for k,v in parts.items()}

def one_run(args, name, seed, arm):
    pool,valid = read_part(args.shared, name, args.part)
    train = pool.shuffle(seed=seed).select(range(min(args.rows, len(pool))))
    start,cpu = time.perf_counter(),time.process_time()
    side = train_trainer if 'trainer' in ARMS[arm] else train_ours
    preds = side(args, ARMS[arm], name, train, valid, seed, args.lr)
    return score(args, name, preds, valid) | dict(seconds=round(time.perf_counter()-start, 1), cpu=round(time.process_time()-cpu, 1))

def run_all(args, runs):
    "All arms of a set and seed by turns, so that what is compared is finished together."
    k,n = map(int, args.share.split('/'))
    for seed,name in [(s,name) for s in args.seeds for name in args.sets][k::n]:
        for arm in args.arms:
            run = dict(arm=arm, set=name, part=args.part, rows=args.rows, epochs=args.epochs, bs=args.bs, lr=args.lr, seed=seed) | (dict(device=args.device) if args.device!='cpu' else {})
            runs.get(run, partial(one_run, args, name, seed, arm))

def interval(d): # mean of the differences, and half the width of its 95% interval
    return f'{d.mean():+.2f}', f'± {students_t.ppf(.975, len(d)-1)*d.std(ddof=1)/len(d)**.5:.2f}' if len(d)>1 else '-'

def spread(d): return f'{d.mean():.1f} ± {d.std(ddof=1):.1f}' if len(d)>1 else f'{d.iloc[0]:.1f}'

def table(rows, base, metric='score', by=('device','part','rows','epochs','bs','lr','set')):
    "Each arm beside `base`: mean and spread over seeds, and the mean of the differences by pairs with its 95% interval, in points; over all sets too."
    rows = pd.DataFrame([dict(device='cpu') | r for r in rows if metric in r]).drop_duplicates(['arm','seed',*by], keep='last')
    rows[metric] *= 100
    wide = rows.pivot_table(index=[*by, 'seed'], columns='arm', values=metric)
    lines = [f"| {' | '.join(by)} | arm | pairs | {base} | arm | difference | 95% |", '|'+'---|'*(len(by)+6)]
    for keys in (list(by), list(by)[:-1]):
        for key,part in wide.groupby(keys):
            for arm in [a for a in ARMS if a in part and a!=base and base in part]:
                both = part[[base,arm]].dropna()
                if both.empty: continue
                cells = [*key, *(['all'] if len(keys)<len(by) else []), arm, len(both), spread(both[base]), spread(both[arm]), *interval(both[arm]-both[base])]
                lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ['', 'Runs that gave all rows the same prediction:']
    for key,part in rows.groupby(list(by)[:-1]):
        counts = part.groupby('arm').constant.agg(['sum','size'])
        lines.append(f"- {' '.join(map(str, key))}: {', '.join(f'{a} {n} of {m}' for a,n,m in counts.itertuples())}")
    return '\n'.join(lines)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--shared', type=Path, default=Path(__file__).parents[2]/'shared', help='folder with data/ and models/')
    p.add_argument('--arms', nargs='+', default=['one_cycle','linear_10','trainer'], choices=list(ARMS))
    p.add_argument('--sets', nargs='+', default=list(SETS), choices=list(SETS))
    p.add_argument('--part', default='search', choices=['search','confirm'], help='which validation rows')
    p.add_argument('--seeds', nargs='+', type=int, default=list(range(10)))
    p.add_argument('--rows', type=int, default=300)
    p.add_argument('--epochs', type=int, default=4)
    p.add_argument('--bs', type=int, default=16)
    p.add_argument('--lr', type=float, default=1e-4)
    p.add_argument('--device', default='cpu', choices=['cpu','cuda'])
    p.add_argument('--share', default='0/1', help='k/n: of the pairs of seed and set every n-th from the k-th')
    p.add_argument('--out', type=Path, default=Path(__file__).parent/'results')
    p.add_argument('--table', metavar='ARM', help='print the finished runs beside this arm, and run nothing')
    p.add_argument('--metric', default='score', choices=['score','balanced','loss','commonest'], help='for --table; the last three of sets of one label')
    args = p.parse_args()
    if args.table:
        rows = [json.loads(l) for l in (args.out/'ablation.jsonl').read_text().splitlines()]
        return print(table(rows, args.table, args.metric))
    commit = prepare(args)
    run_all(args, Runs(args.out/'ablation.jsonl', commit))

if __name__=='__main__': main()
