"""How fast does question answering train and predict, beside Hugging Face's Trainer? `python benchmarks/speed_qa.py --help`

Few rows, in their natural lengths, by turns, in seconds of processor time on one thread: so a machine that does other work too
tells nearly the same. Both sides read tables and give answers: ours by `question_answering_learner` and `predict_batch`, the
Trainer's with features, labels and post-processing of transformers' example `run_qa` (`quality_qa.py` has them), padded to the
longest row of a batch, or with `--pad-to 384` as the example does unless it is told otherwise. Neither time holds the loading of a model.
"""
import tempfile
from functools import partial

import torch
import transformers
from by_turns import by_turns, lines, timed, write_tables
from quality import options, prepare
from quality_qa import SETS, features, load, post_process

from blurlike.all import question_answering_learner

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
    padding = dict(padding='max_length', max_length=args.pad_to) if args.pad_to else {}
    with tempfile.TemporaryDirectory() as out:
        options = transformers.TrainingArguments(out, num_train_epochs=1, learning_rate=args.lr, per_device_train_batch_size=args.bs,
            per_device_eval_batch_size=args.bs, optim='adamw_torch_fused', use_cpu=True, report_to='none', disable_tqdm=True, logging_strategy='no', save_strategy='no')
        def fit():
            made = transformers.Trainer(model, options, data_collator=transformers.DataCollatorWithPadding(tokenizer, **padding),
                train_dataset=[f for _,f,_ in features(tokenizer, train, True)], processing_class=tokenizer)
            made.train()
            return made
        seconds,made = timed(fit)
        def predict():
            feats = features(tokenizer, valid, False)
            start,end = made.predict([f for _,f,_ in feats]).predictions
            return post_process(valid, feats, start, end)[0]
        return seconds,*timed(predict)

def one_run(side, args, data, first):
    data = [d[:args.bs//2] if first else d for d in data]
    *seconds,answers = side(args, *data)
    assert len(answers)==len(data[1])
    return seconds

def rows_of(args, name):
    data = load(args, name, 0)
    seconds = by_turns(name, {f.__name__:partial(one_run, f, args, data) for f in (ours, trainer)}, args.repeats)
    return lines(name, seconds, dict(zip(('train','predict'), map(len, data))))

def main():
    p = options(__doc__, SETS, rows=64, valid_rows=128, repeats=5, bs=16, lr=3e-4)
    p.add_argument('--pad-to', type=int, help="tokens of each row of the Trainer's; left out: the longest row of the batch")
    args = p.parse_args()
    args.device = 'cpu'
    prepare(args)
    torch.set_num_threads(1)
    write_tables(args, "# Speed of question answering beside the Trainer (CPU, one thread)", args.out/f"speed-qa-{f'{args.pad_to}-' if args.pad_to else ''}cpu.md", rows_of)

if __name__=='__main__': main()
