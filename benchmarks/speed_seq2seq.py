"""How fast are summaries and translations learnt and scored, beside Seq2SeqTrainer? `python benchmarks/speed_seq2seq.py --help`

Few rows, in their natural lengths, by turns, in seconds of processor time on one thread. Both sides read tables; the models are those
of `quality_seq2seq.py`, and for the validation epochs they have been trained before, once for both, so that texts come to an end.

train: an epoch over `--train-rows` rows. The Trainer's features are padded to the longest row of a batch.
validate: loss of all validation rows and scores of what is written, greedily: ours by `validate`, for the 200 rows that it takes by
default, the Trainer's by `evaluate` with `predict_with_generate`, which writes for all.
all written: the same, but ours writes for all rows too (`score_rows`).
"""
import tempfile
from functools import partial
from pathlib import Path

import torch
import transformers as tf
from by_turns import by_turns, lines, timed, write_tables
from quality import options, prepare
from quality_seq2seq import SETS, features, load, made, seq2seq_trainer, start, texts_of

from blurlike.all import text_scores

WORKS = 'train','validate','all written'

def ours(args, name, data, folders):
    train,valid = data
    learn = made(name, train, folders[0], args.bs, seed=0, score_rows=0, valid=None)
    with learn.no_bar(), learn.no_logging(): yield timed(learn.fit, 1, args.lr)[0]
    for n in (200, len(valid)):
        learn = made(name, (train[:args.bs], valid), folders[1], args.bs, seed=0, score_rows=n)
        with learn.no_bar(), learn.no_logging(): yield timed(learn.validate)[0]

def trainer(args, name, data, folders):
    train,valid = data
    tokenizer = tf.AutoTokenizer.from_pretrained(folders[0])
    def scores(found): return text_scores(texts_of(tokenizer, found.predictions), valid.target.tolist(), SETS[name][4])
    with tempfile.TemporaryDirectory() as out:
        tf.set_seed(0)
        t = seq2seq_trainer(args, name, folders[0], out)
        def fit():
            t.train_dataset = features(tokenizer, name, train)
            t.train()
        yield timed(fit)[0]
        t = seq2seq_trainer(args, name, folders[1], out, compute_metrics=scores)
        for _ in range(2): yield timed(lambda: t.evaluate(features(tokenizer, name, valid)))[0]

def one_run(side, args, name, data, folders, first):
    return list(side(args, name, [d[:args.bs] if first else d for d in data], folders))

def trained(args, name, data, folder, out):
    "A model that has learnt where texts end."
    learn = made(name, data[0], folder, args.bs, seed=0, score_rows=0, valid=None)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(args.before, args.lr)
    learn.model.save_pretrained(out)
    learn.dls.tokenizer.save_pretrained(out)
    return out

def rows_of(args, name):
    data = load(args, name, 0)
    args.epochs = 1
    with tempfile.TemporaryDirectory() as tmp:
        begin = start(args, name, data[0], 0, Path(tmp)/'start')
        folders = begin,trained(args, name, data, begin, Path(tmp)/'trained')
        data = data[0][:args.train_rows],data[1]
        seconds = by_turns(name, {f.__name__:partial(one_run, f, args, name, data, folders) for f in (ours, trainer)}, args.repeats)
    return lines(name, seconds, dict(zip(WORKS, (len(data[0]), len(data[1]), len(data[1])))))

def main():
    p = options(__doc__, SETS, rows=5000, train_rows=600, valid_rows=1014, before=4, repeats=3, bs=16, lr=2e-3, width=64)
    args = p.parse_args()
    args.device = 'cpu'
    prepare(args)
    torch.set_num_threads(1)
    write_tables(args, "# Speed of summaries and translations beside Seq2SeqTrainer (CPU, one thread)", args.out/'speed-seq2seq-cpu.md', rows_of)

if __name__=='__main__': main()
