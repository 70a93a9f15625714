"""How well are instructions learnt with LoRA, beside TRL's SFTTrainer? `python benchmarks/quality_instructions.py --help`

Both sides train the same adapters (`LoraConfig`, all linear layers) on the same causal model, rows, passes, batch size and peak
learning rate: prompts and completions of `self_instruct_human` in the model's own turns, of at most `--tokens` tokens, so that no
side cuts one. ours: `causal_lm_learner`, `fit_one_cycle`. linear: the same with `fit_linear`. trl: `SFTTrainer` at its defaults
(linear decay, completions counted). Each writes a folder; plain transformers reads it and sums -log p over the tokens of held-out
completions and their ends. `untrained` is the model as it was given. Each finished run is kept in a jsonl file.
`--rates` are tried with TRL on the first seed; all sides then use that which is best for TRL.
"""
import sys
import tempfile
import time
from functools import partial

import datasets
import numpy as np
import pandas as pd
import torch
import transformers as tf
import trl
from peft import LoraConfig

from blurlike.all import causal_lm_learner
from quality import Runs, options, prepare, versions

SIDES = 'ours','linear','trl'

def turns(df): # prompts and completions, with SmolLM2's marks of turns
    asked = df.instruction.str.strip()+df.input.fillna('').map(lambda s: f'\n{s.strip()}' if s.strip() else '')
    return pd.DataFrame(dict(prompt='<|im_start|>user\n'+asked+'<|im_end|>\n<|im_start|>assistant\n', completion=df.output.str.strip()))

def token_ids(tokenizer, rows): # of prompts, of completions with their end
    return tokenizer(rows.prompt.tolist())['input_ids'],[ids+[tokenizer.eos_token_id] for ids in tokenizer(rows.completion.tolist())['input_ids']]

def load(args, seed):
    "Training and held-out rows; `seed` chooses among the former."
    tokenizer = tf.AutoTokenizer.from_pretrained(args.model)
    def read(part):
        rows = turns(pd.read_json(args.shared/'data'/'self_instruct_human'/f'{part}.jsonl', lines=True))
        sizes = np.array([len(p)+len(c) for p,c in zip(*token_ids(tokenizer, rows))])
        return rows[sizes<=args.tokens]
    return [read(part).sample(n, random_state=s).reset_index(drop=True) for part,n,s in (('train',args.rows,seed), ('test',args.valid_rows,0))]

def lora(): return LoraConfig(r=8, lora_alpha=16, lora_dropout=.05, target_modules='all-linear', task_type='CAUSAL_LM')

def timed(f, *args): # on the processor
    start = time.process_time()
    f(*args)
    return time.process_time()-start

def blurlike_run(fit, args, rows, seed, folder):
    learn = causal_lm_learner(rows, args.model, text=['prompt','completion'], bs=args.bs, valid=None, peft=lora(), seed=seed,
        dl_kwargs=dict(device='cpu') | ({} if args.megabatch is None else dict(megabatch=args.megabatch)))
    with learn.no_bar(), learn.no_logging(): seconds = timed(getattr(learn, fit), args.epochs, args.lr)
    learn.save_pretrained(folder)
    return seconds

def trl_run(args, rows, seed, folder):
    tf.set_seed(seed)
    config = trl.SFTConfig(output_dir=folder, per_device_train_batch_size=args.bs, num_train_epochs=args.epochs, learning_rate=args.lr, seed=seed,
        report_to='none', save_strategy='no', logging_strategy='no', disable_tqdm=True, use_cpu=True, bf16=False, gradient_checkpointing=False)
    model = tf.AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    trainer = trl.SFTTrainer(model, args=config, train_dataset=datasets.Dataset.from_pandas(rows), peft_config=lora(),
        processing_class=tf.AutoTokenizer.from_pretrained(args.model))
    same = [[*p, *c] for p,c in zip(*token_ids(trainer.processing_class, rows))]
    if [list(o) for o in trainer.train_dataset['input_ids']]!=same: raise ValueError("TRL trains on other tokens than those that are judged")
    seconds = timed(trainer.train)
    trainer.save_model(folder)
    return seconds

def loss_of(folder, tokenizer, rows):
    "Mean of -log p of the completions' tokens and ends, by plain transformers, a row at a time."
    model = tf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    prompts,completions = token_ids(tokenizer, rows)
    sums = []
    for p,c in zip(prompts, completions):
        with torch.no_grad(): logits = model(input_ids=torch.tensor([p+c])).logits[0,len(p)-1:-1]
        sums.append(float(torch.nn.functional.cross_entropy(logits, torch.tensor(c), reduction='sum')))
    return sum(sums)/sum(map(len, completions))

FITS = dict(ours=partial(blurlike_run, 'fit_one_cycle'), linear=partial(blurlike_run, 'fit_linear'), trl=trl_run)

def one_run(args, side, seed):
    train,held = load(args, seed)
    tokenizer = tf.AutoTokenizer.from_pretrained(args.model)
    with tempfile.TemporaryDirectory() as folder:
        seconds = FITS[side](args, train, seed, folder) if side in FITS else 0.
        return dict(loss=loss_of(folder if side in FITS else args.model, tokenizer, held), seconds=seconds)

def kept_run(args, runs, side, seed, lr):
    args.lr = lr
    budget = {k:getattr(args, k) for k in ('rows','valid_rows','tokens','epochs','bs')}
    is_other = args.megabatch is not None and side in ('ours','linear')
    name = f'{side}, megabatch {args.megabatch}' if is_other else side
    return runs.get(budget | dict(side=name, seed=seed, lr=lr), partial(one_run, args, side, seed)) | dict(side=side)

def table(rows, sides, seeds):
    "Markdown lines: each side, and by how much it differs from TRL with the same seed."
    lines = ['| side | loss of a token | minus that of trl, by seeds | mean ± standard error | processor seconds of training |', '|---|---|---|---|---|']
    found = {side:[next(r for r in rows if (r['side'],r['seed'])==(side,s)) for s in seeds] for side in sides}
    of = lambda side, k: np.array([r[k] for r in found[side]])
    for side in sides:
        diff = of(side, 'loss')-of('trl', 'loss')
        error = diff.std(ddof=1)/len(diff)**.5 if len(diff)>1 else np.nan
        told = '| - | - |' if side=='trl' else f"| {', '.join(f'{d:+.4f}' for d in diff)} | {diff.mean():+.4f} ± {error:.4f} |"
        lines.append(f"| {side} | {', '.join(f'{l:.4f}' for l in of(side, 'loss'))} {told} {', '.join(f'{s:.0f}' for s in of(side, 'seconds'))} |")
    return lines

def main():
    p = options(__doc__, [], rows=64, valid_rows=64, tokens=96, epochs=2, bs=4)
    p.add_argument('model', help='folder of SmolLM2, or another causal model with its marks of turns')
    p.add_argument('--sides', nargs='+', default=SIDES, choices=SIDES, help='trl is one of them')
    p.add_argument('--megabatch', type=int, help="batches of ours that are sorted by length together, instead of the loaders' own number; 1: random batches")
    p.add_argument('--rates', nargs='+', type=float, default=[5e-4, 1e-3], help='peak learning rates that are tried with TRL')
    args = p.parse_args()
    commit = prepare(args)
    args.device = 'cpu'
    torch.set_num_threads(1)
    runs = Runs(args.out/'quality-instructions-cpu.jsonl', commit)
    untrained = kept_run(args, runs, 'untrained', 0, 0.)
    tried = {lr:kept_run(args, runs, 'trl', args.seeds[0], lr) for lr in args.rates}
    best = min(tried, key=lambda lr: tried[lr]['loss'])
    rows = [kept_run(args, runs, side, seed, best) for seed in args.seeds for side in args.sides]
    head = ["# Instructions with LoRA: blurlike beside TRL's SFTTrainer (CPU)", '',
        f"`python benchmarks/quality_instructions.py {' '.join(sys.argv[1:])}`: {args.rows} rows of at most {args.tokens} tokens, {args.epochs} epochs, batch size {args.bs}; "
        f"loss of the completions of {args.valid_rows} held-out rows. Seeds {args.seeds} choose the rows, too. Before training: {untrained['loss']:.4f}.", '',
        f"TRL with seed {args.seeds[0]}: {'; '.join(f'''{lr:g}: {r['loss']:.4f}''' for lr,r in tried.items())}. All sides use {best:g}.", '',
        f"Commit {', '.join(sorted({r['commit'] for r in rows}))}, {versions(args)[:-1]}, TRL {trl.__version__}.", '']
    text = '\n'.join([*head, *table(rows, args.sides, args.seeds)])+'\n'
    (args.out/'quality-instructions-cpu.md').write_text(text)
    print(text)

if __name__=='__main__': main()
