"""How well does multiple choice train, beside Hugging Face's Trainer? `python benchmarks/quality_choice.py --help`

Both sides fine-tune the same encoder on the same rows with the same epochs, batch size, learning rate and `max_length`, and are
scored by the same code on the same validation rows. Ours: `multiple_choice_learner` with its defaults and `fit_one_cycle`. The
Trainer: `DataCollatorForMultipleChoice`, fused AdamW, weight decay 0.01, linear decay after 10% warm-up, gradients clipped at 1.
That collator takes rows with equally many choices only, so the rows of ARC with three or five are left out here (`--choices`).
Runs alternate; each finished run is kept in a jsonl file, so that a stopped benchmark goes on where it was.
"""
import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import torch
import transformers

from blurlike.all import multiple_choice_learner
from quality import Runs, prepare, table, timed, versions

SETS = dict(commonsense_qa=5, arc=4) # choices a row

def load(args, name, seed):
    "Training and validation rows of set `name`; `seed` chooses among the former."
    def read(part, n, seed):
        rows = datasets.Dataset.from_json(str(args.shared/'data'/name/f'{part}.jsonl')).select_columns(['question','choices','label'])
        rows = rows.filter(lambda r: len(r['choices'])==SETS[name]).shuffle(seed=seed)
        return rows.select(range(min(n, len(rows))))
    return datasets.DatasetDict(train=read('train', args.rows, seed), validation=read('valid', args.valid_rows, 0))

def ours(args, data, seed):
    "Logits (n,C), and seconds of training, through blurlike's defaults."
    learn = multiple_choice_learner(data, args.checkpoint, text='question', bs=args.bs, max_length=args.max_length, seed=seed, dl_kwargs=dict(val_bs=64, device=args.device))
    with learn.no_bar(), learn.no_logging():
        seconds = timed(learn.fit_one_cycle, args.epochs, args.lr)
        return learn.predict_logits(learn.texts_of(data['validation'])).numpy(),seconds

def trainer(args, data, seed):
    "The same through Hugging Face's Trainer, by the recipe of transformers' documentation."
    transformers.set_seed(seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.checkpoint)
    model = transformers.AutoModelForMultipleChoice.from_pretrained(args.checkpoint, dtype=torch.float32)
    def tokenize(row): return tokenizer([row['question']]*len(row['choices']), row['choices'], truncation='only_first', max_length=args.max_length)
    rows = data.map(tokenize, remove_columns=['question','choices'])
    with tempfile.TemporaryDirectory() as out:
        t = transformers.Trainer(model, transformers.TrainingArguments(out, num_train_epochs=args.epochs, learning_rate=args.lr, per_device_train_batch_size=args.bs,
            per_device_eval_batch_size=64, optim='adamw_torch_fused', weight_decay=0.01, lr_scheduler_type='linear', warmup_steps=0.1, seed=seed, use_cpu=args.device=='cpu',
            eval_strategy='epoch', report_to='none', disable_tqdm=True, logging_strategy='no', save_strategy='no'), # it evaluates each epoch, as a learner does
            data_collator=transformers.DataCollatorForMultipleChoice(tokenizer), train_dataset=rows['train'], eval_dataset=rows['validation'])
        seconds = timed(t.train)
        return t.predict(rows['validation']).predictions,seconds

def one_run(args, data, seed, side):
    logits,seconds = side(args, data, seed)
    return dict(accuracy=float(np.mean(logits.argmax(-1)==np.array(data['validation']['label']))), seconds=seconds)

def run_all(args, runs):
    "Both sides by turns; what they found as dicts."
    res = []
    budget = {k:getattr(args, k) for k in ('epochs','bs','lr','device','rows','valid_rows','max_length')}
    for name in args.sets:
        for seed in args.seeds:
            data = load(args, name, seed)
            for side in (ours, trainer):
                run = budget | dict(set=name, seed=seed, side=side.__name__)
                res.append(runs.get(run, partial(one_run, args, data, seed, side)))
    return res

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--shared', type=Path, default=Path(__file__).parents[2]/'shared', help='folder with data/ and models/')
    p.add_argument('--sets', nargs='+', default=list(SETS), choices=list(SETS))
    p.add_argument('--seeds', nargs='+', type=int, default=[0,1,2])
    p.add_argument('--rows', type=int, default=600, help='training rows of each set')
    p.add_argument('--valid-rows', type=int, default=500, help='most validation rows of each set')
    p.add_argument('--epochs', type=int, default=2)
    p.add_argument('--bs', type=int, default=16)
    p.add_argument('--lr', type=float, default=1e-4)
    p.add_argument('--max-length', type=int, default=64)
    p.add_argument('--device', default='cpu', help='cpu or cuda')
    p.add_argument('--out', type=Path, default=Path(__file__).parent/'results')
    args = p.parse_args()
    commit = prepare(args)
    rows = run_all(args, Runs(args.out/f'quality-choice-{args.device}.jsonl', commit))
    head = [f"# Multiple choice beside the Trainer ({args.device})", '', f"`python benchmarks/quality_choice.py {' '.join(sys.argv[1:])}`: {args.epochs} epochs, batch size {args.bs}, "
        f"learning rate {args.lr}, seeds {args.seeds}; {args.valid_rows} validation rows. Mean ± standard deviation over seeds, in points; times are of a shared machine.", '',
        versions(args), '']
    text = '\n'.join([*head, *table(rows, args)])+'\n'
    (args.out/f'quality-choice-{args.device}.md').write_text(text)
    print(text)

if __name__=='__main__': main()
