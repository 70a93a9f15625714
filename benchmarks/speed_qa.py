"""How fast does question answering train and predict, beside Hugging Face's Trainer? `python benchmarks/speed_qa.py --help`

Few rows, in their natural lengths, by turns, in seconds of processor time on one thread: so a machine that does other work too
tells nearly the same. Both sides read tables and give answers: ours by `question_answering_learner` and `predict_batch`, the
Trainer's with features, labels and post-processing of transformers' example `run_qa` (`quality_qa.py` has them), padded to the
longest row of a batch and not, as the example does unless it is told otherwise, to 384. Neither time holds the loading of a model.
"""
import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from quality import prepare, versions
from quality_qa import SETS, features, load, post_process

from blurlike.all import question_answering_learner

SIDES = 'ours','trainer'

def timed(f, *args, **kwargs):
    "Seconds of processor time, of all threads, and what `f` returned."
    start = time.process_time()
    res = f(*args, **kwargs)
    return time.process_time()-start,res

def ours(args, train, valid):
    learn = question_answering_learner(train, args.checkpoint, bs=args.bs, valid=None, seed=0, dl_kwargs=dict(device='cpu'))
    with learn.no_bar(), learn.no_logging():
        seconds,_ = timed(learn.fit, 1, args.lr)
        predict,found = timed(learn.predict_batch, valid, bs=args.bs)
    return seconds,predict,[o['answer'] for o in found]

def trainer(args, train, valid):
    transformers.set_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.checkpoint)
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(args.checkpoint, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as out:
        options = transformers.TrainingArguments(out, num_train_epochs=1, learning_rate=args.lr, per_device_train_batch_size=args.bs,
            per_device_eval_batch_size=args.bs, optim='adamw_torch_fused', use_cpu=True, report_to='none', disable_tqdm=True, logging_strategy='no', save_strategy='no')
        def fit():
            made = transformers.Trainer(model, options, data_collator=transformers.DataCollatorWithPadding(tokenizer),
                train_dataset=[f for _,f,_ in features(tokenizer, train, True)], processing_class=tokenizer)
            made.train()
            return made
        seconds,made = timed(fit)
        def predict():
            feats = features(tokenizer, valid, False)
            start,end = made.predict([f for _,f,_ in feats]).predictions
            return post_process(valid, feats, start, end)[0]
        return seconds,*timed(predict)

def measure(args, name):
    "Seconds of training and of prediction, (repeats,2) of each side."
    args.valid_rows = args.predict_rows
    train,valid = load(args, name, 0)
    seconds = {s:[] for s in SIDES}
    for k in range(args.repeats+1): # the first time warms up
        for side in SIDES if k%2 else SIDES[::-1]:
            some = [d if k else d[:args.bs//2] for d in (train, valid)]
            *found,answers = globals()[side](args, *some)
            assert len(answers)==len(some[1])
            if k: seconds[side].append(found)
            print(name, k, side, *(f'{s:.2f}' for s in found), flush=True)
    return {s:np.array(v) for s,v in seconds.items()},(len(train), len(valid))

def table(args, name):
    seconds,sizes = measure(args, name)
    for i,(what,n) in enumerate(zip(('train','predict'), sizes)):
        mine,theirs = (seconds[s][:,i] for s in SIDES)
        ratios = theirs/mine
        yield (f'| {name} | {what} | {n} | {np.median(mine):.2f} | {np.median(theirs):.2f} | '
            f'{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f}) |')

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--shared', type=Path, default=Path(__file__).parents[2]/'shared', help='folder with data/ and models/')
    p.add_argument('--sets', nargs='+', default=list(SETS), choices=list(SETS))
    p.add_argument('--rows', type=int, default=64, help='training rows of each set')
    p.add_argument('--predict-rows', type=int, default=128)
    p.add_argument('--repeats', type=int, default=5)
    p.add_argument('--bs', type=int, default=16)
    p.add_argument('--lr', type=float, default=3e-4)
    p.add_argument('--out', type=Path, default=Path(__file__).parent/'results')
    args = p.parse_args()
    args.device = 'cpu'
    prepare(args)
    torch.set_num_threads(1)
    lines = ["# Speed of question answering beside the Trainer (CPU, one thread)", '', f"`python benchmarks/speed_qa.py {' '.join(sys.argv[1:])}`: batches of {args.bs}; "
        f"medians of {args.repeats} runs by turns, in seconds of processor time; ratios of neighbouring runs.", '', versions(args), '',
        '| set | | rows | ours | Trainer | ratio: median (least to most) |', '|---|---|---|---|---|---|']
    for name in args.sets: # a stopped benchmark keeps the sets that were done
        lines += table(args, name)
        (args.out/'speed-qa-cpu.md').write_text('\n'.join(lines)+'\n')
    print('\n'.join(lines))

if __name__=='__main__': main()
