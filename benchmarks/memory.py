"""Do validation and predictions in a file need more memory for more rows? `python benchmarks/memory.py`

For masked language modelling with a vocabulary of 30,000 tokens and for token classification with 50 tags: a process of its own
builds a learner, validates n rows, and tells its peak memory. The model is small, so that the rest would show. `predict`: labels
for n short texts of a `Dataset` in an Arrow file, written to a parquet file.
"""
import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

ROWS = dict(masked_lm=(500, 2000, 8000), token_classification=(500, 2000, 8000), predict=(10_000, 100_000, 1_000_000))

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

def predict(n):
    "Peak memory in MB after predicting `n` rows into a file, and after the first thousand."
    import tempfile
    import transformers as tf
    from blurlike.all import load_tokenizer, scratch_checkpoint, sequence_classification_learner
    from speed import short_rows
    data = short_rows(n)
    tok = load_tokenizer(scratch_checkpoint(data[:2000]['text']))
    config = tf.BertConfig(vocab_size=len(tok), hidden_size=32, num_hidden_layers=1, num_attention_heads=1, intermediate_size=32, max_position_embeddings=64, num_labels=2)
    learn = sequence_classification_learner(data.select(range(64)), tf.BertForSequenceClassification(config), tokenizer=tok)
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
    with tempfile.TemporaryDirectory() as folder, learn.no_bar():
        learn.predict_batch(data.select(range(6400)), out=f'{folder}/a.parquet')
        before = peak()
        learn.predict_batch(data, out=f'{folder}/b.parquet')
        import pyarrow.parquet as pq
        assert pq.ParquetFile(f'{folder}/b.parquet').metadata.num_rows==n
    print(json.dumps([before, peak()]))

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('tasks', nargs='*', default=list(ROWS), help=', '.join(ROWS))
    p.add_argument('--one', nargs=2, help=argparse.SUPPRESS)
    p.add_argument('--out', type=Path, default=Path(__file__).parent/'results')
    args = p.parse_args()
    if args.one: return predict(int(args.one[1])) if args.one[0]=='predict' else one(args.one[0], int(args.one[1]))
    lines = ['# Peak memory of validation', '', '`python benchmarks/memory.py`: MB more than before validation (predict: than after the first 6,400 rows), and the logits of all tokens that are asked for, had they been kept.', '', '| task | rows | more memory, MB | logits, MB |', '|---|---|---|---|']
    for task in args.tasks:
        for n in ROWS[task]:
            out = subprocess.run([sys.executable, __file__, '--one', task, str(n)], capture_output=True, text=True)
            if out.returncode: sys.exit(out.stderr[-3000:])
            before,after = json.loads(out.stdout.strip().splitlines()[-1])
            logits = n*40*dict(masked_lm=.15*30_000, token_classification=50, predict=0)[task]*4/2**20
            lines.append(f'| {task} | {n:,} | {after-before:.0f} | {logits or float("nan"):,.0f} |'.replace('nan', ''))
            print(lines[-1], flush=True)
    (args.out/'memory-cpu.md').write_text('\n'.join(lines)+'\n')

if __name__=='__main__': main()
