"""Does validation need more memory for more rows? `python benchmarks/memory.py`

For masked language modelling with a vocabulary of 30,000 tokens and for token classification with 50 tags: a process of its own
builds a learner, validates n rows, and tells its peak memory. The model is small, so that the rest would show.
"""
import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

ROWS = (500, 2000, 8000)

def one(task, n):
    "Peak memory in MB after validating `n` rows, and before."
    import numpy as np, pandas as pd, transformers as tf
    from blurlike.all import load_tokenizer, masked_lm_learner, scratch_checkpoint, token_classification_learner
    rng = np.random.default_rng(0)
    words = np.array([f'{a}{b}' for a in 'bcdfghklmnprst' for b in ('a','el','in','or','um')])
    rows = [list(map(str, rng.choice(words, 40))) for _ in range(n+16)]
    tok = load_tokenizer(scratch_checkpoint([' '.join(words)]))
    config = tf.BertConfig(vocab_size=30_000, hidden_size=32, num_hidden_layers=1, num_attention_heads=1, intermediate_size=32, max_position_embeddings=64, num_labels=50)
    valid = np.arange(16, n+16)
    if task=='masked_lm': learn = masked_lm_learner(pd.DataFrame(dict(text=[' '.join(r) for r in rows])), tf.BertForMaskedLM(config), tokenizer=tok, valid=valid, bs=16)
    else:
        tags = ['O',*(f'{p}-T{i}' for i in range(24) for p in 'BI'),'B-X']
        df = pd.DataFrame(dict(tokens=rows, tags=[[tags[(i+j)%50] for j in range(40)] for i in range(n+16)]))
        learn = token_classification_learner(df, tf.BertForTokenClassification(config), tokenizer=tok, valid=valid, bs=16, vocab=tags, repair=True)
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
    learn.model.eval()
    for _ in learn.dls.valid: pass # the tokens of the rows are remembered: they belong to the data
    before = peak()
    with learn.no_bar(): learn.validate()
    print(json.dumps([before, peak()]))

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--one', nargs=2, help=argparse.SUPPRESS)
    p.add_argument('--out', type=Path, default=Path(__file__).parent/'results')
    args = p.parse_args()
    if args.one: return one(args.one[0], int(args.one[1]))
    lines = ['# Peak memory of validation', '', '`python benchmarks/memory.py`: MB more than before validation, and the logits of all tokens that are asked for, had they been kept.', '', '| task | rows | more memory, MB | logits, MB |', '|---|---|---|---|']
    for task in ('masked_lm','token_classification'):
        for n in ROWS:
            out = subprocess.run([sys.executable, __file__, '--one', task, str(n)], capture_output=True, text=True)
            if out.returncode: sys.exit(out.stderr[-3000:])
            before,after = json.loads(out.stdout.strip().splitlines()[-1])
            logits = n*40*(.15*30_000 if task=='masked_lm' else 50)*4/2**20
            lines.append(f'| {task} | {n:,} | {after-before:.0f} | {logits:,.0f} |')
            print(lines[-1], flush=True)
    (args.out/'memory-cpu.md').write_text('\n'.join(lines)+'\n')

if __name__=='__main__': main()
