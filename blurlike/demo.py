"The main job from end to end, offline: `python -m blurlike.demo`; `--help` says how to give it a file and a checkpoint. A program, written by hand."

# Without arguments it learns which package a docstring belongs to, from the docstrings of the packages that are installed
# anyway, with a small BERT made from a config and a WordPiece tokenizer trained on the spot.

import argparse
import ast
import importlib.util
import tempfile
import warnings
from pathlib import Path

import matplotlib
import pandas as pd
from fastai.torch_core import set_seed

PACKAGES = ('numpy', 'pandas', 'scipy', 'sklearn', 'torch', 'transformers')
NAMING = {*PACKAGES, 'scikit', 'np', 'pd', 'hugging', 'huggingface', 'tensor', 'tensors', 'ndarray', 'dataframe'}
LEFT_OUT = {'tests','test','testing','_vendor','externals'} # folders
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
RATE = 1e-3 # at which the small BERT learns from nothing
N_FILES = 300 # of a package are read, evenly: the largest have thousands

def docstrings(
    package:str, # Name of an installed package; its source is read, not run
    most:int,    # Docstrings to take, evenly from its files
    n_words:int=60 # Words kept of each
)->list: # Texts in which no package of `PACKAGES` is named
    "The beginnings of the docstrings in `package`."
    folder = Path(importlib.util.find_spec(package).origin).parent
    paths = [p for p in sorted(folder.rglob('*.py')) if not LEFT_OUT & set(p.parts)]
    paths = paths[::max(1, len(paths)//N_FILES)]
    texts = (_beginning(doc, n_words) for p in paths for doc in _docs_of(p))
    res = list(dict.fromkeys(t for t in texts if t))
    return res[::max(1, len(res)//most)][:most]

def _docs_of(path): # every docstring of a file, none of one that cannot be read
    try:
        with warnings.catch_warnings(): # other people's escape sequences
            warnings.simplefilter('ignore')
            tree = ast.parse(path.read_text(encoding='utf-8'))
    except (SyntaxError, UnicodeDecodeError): return
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED): yield ast.get_docstring(node) or ''

def _beginning(doc, n_words): # its first words, without those that name a package; `None` where few are left
    words = [w for w in doc.split() if not any(n in w.lower() for n in NAMING)][:n_words]
    return ' '.join(words) if len(words)>=8 else None

def docstring_table(
    most:int # Docstrings of the largest package; each next one has a tenth less
)->pd.DataFrame: # Columns `text` and `label`
    "Which package does this docstring belong to?"
    texts = {p:docstrings(p, round(most*(1-i/10))) for i,p in enumerate(PACKAGES)}
    return pd.DataFrame([dict(text=t, label=p) for p in PACKAGES for t in texts[p]])

def arguments(argv=None):
    "The command line."
    p = argparse.ArgumentParser(prog='python -m blurlike.demo', description='Train, inspect, save and reload a text classifier.')
    p.add_argument('--data', help='csv, tsv, jsonl, json or parquet file (default: docstrings of the installed packages)')
    p.add_argument('--text', default=['text'], nargs='+', help='column of the text, or two columns of a pair')
    p.add_argument('--label', default=['label'], nargs='+', help='column of the label or number; several: one-hot labels')
    p.add_argument('--checkpoint', help='name on the Hub or folder (default: a small BERT made on the spot)')
    p.add_argument('--valid', default='0.2', help='validation part: fraction, group:COLUMN, name of a boolean column, or another file')
    p.add_argument('--problem-type', help='where the label column could mean two: single_label_classification, multi_label_classification or regression')
    p.add_argument('--epochs', type=int, help='passes over the training rows (default: 4, or 2 with your own checkpoint)')
    p.add_argument('--lr', type=float, help='highest learning rate (default: what the finder suggests; 1e-3 for the model made on the spot)')
    p.add_argument('--bs', type=int, default=16, help='rows per batch')
    p.add_argument('--max-length', type=int, help='maximum tokens per text (default: what the model takes)')
    p.add_argument('--rows', type=int, default=500, help='docstrings of the largest package, without --data')
    p.add_argument('--out', help='folder for the trained model (default: a temporary one)')
    p.add_argument('--seed', type=int, default=42)
    return p.parse_args(argv)

def title(s): print(f'\n== {s}', flush=True)

def main(argv=None):
    "Data, batch, learning rate, training, results, prediction, saving, reloading."
    args = arguments(argv)
    matplotlib.use('agg')
    from blurlike.all import check_destination
    if args.out: check_destination(args.out)
    set_seed(args.seed)
    learn = learner_of(args)
    title('a batch')
    learn.dls.show_batch(max_n=3, trunc_at=25)
    train(learn, args)
    title('results')
    learn.show_results(max_n=5, trunc_at=25)
    report(learn)
    title('a prediction')
    text = learn.texts_of(learn.dls.valid_ds.items[:1])[0]
    print(repr(text)[:200], '->', learn.predict_batch([text])[0])
    title('saved and reloaded')
    save_and_reload(learn, args.out)

def learner_of(args):
    "Read the rows and make the learner that `args` ask for."
    from blurlike.all import read_rows, sequence_classification_learner
    title('data')
    rows,_ = read_rows(args.data if args.data else docstring_table(args.rows))
    print(rows)
    texts,label = [a[0] if len(a)==1 else a for a in (args.text, args.label)]
    checkpoint = args.checkpoint or own_checkpoint(rows, args.text)
    is_fraction = args.valid.replace('.','',1).isdigit()
    valid = float(args.valid) if is_fraction else args.valid
    return sequence_classification_learner(rows, checkpoint, text=texts, label=label, valid=valid, bs=args.bs,
        max_length=args.max_length, problem_type=args.problem_type, seed=args.seed)

def own_checkpoint(rows, columns):
    "A small BERT, with a tokenizer trained on the texts in `columns` of `rows`."
    from blurlike.all import scratch_checkpoint
    texts = (t for c in columns for t in rows.column(c).dropna().astype(str))
    return scratch_checkpoint(texts, hidden_size=128, num_attention_heads=4, intermediate_size=256,
        max_position_embeddings=128, min_frequency=2)

def train(learn, args):
    "Train for `args.epochs` at `args.lr`; the finder and the checkpoint say what was not given."
    title('learning rate')
    lr = args.lr or rate_of(learn, is_new=not args.checkpoint)
    title('training')
    epochs = 2 if args.checkpoint else 4
    learn.fit_one_cycle(args.epochs or epochs, lr)

def rate_of(learn, is_new):
    "What the finder suggests; or `RATE` for a model that knows nothing yet, whose loss falls too little in the finder's hundred steps."
    from blurlike.train.suggest import found_rate, shown_rate
    rate,whence = found_rate(learn)
    if not is_new:
        print(f'highest learning rate: {shown_rate(rate)}, {whence}')
        return rate
    print(f'found: {shown_rate(rate)}, {whence}; this model knows nothing yet, and gets {shown_rate(RATE)}')
    return RATE

def save_and_reload(learn, out=None):
    "Save in folder `out`, or in a temporary one, and see that what is loaded again predicts the same."
    from blurlike.all import TransformersLearner
    folder = learn.save_pretrained(out or Path(tempfile.mkdtemp())/'model')
    again = TransformersLearner.from_pretrained(folder)
    some = learn.dls.valid_ds.items[:64]
    is_same = again.predict_batch(some)==learn.predict_batch(some)
    if not is_same: raise SystemExit('the reloaded learner predicts something else')
    print(f'{folder}: the reloaded learner gives the same predictions for {len(some)} rows')
    if not out: print('(a temporary folder; keep the model with --out my_model)')

def report(learn):
    "Print the validation scores, beside the share of the largest class where there are classes."
    scores = dict(zip(['loss', *(m.name for m in learn.metrics)], learn.validate()))
    print('\n'+', '.join(f'validation {k} {v:.3f}' for k,v in scores.items()))
    kind = learn.task.kind
    if kind.labels and not kind.several:
        targets = pd.Series([int(y) for _,y in learn.dls.valid_ds])
        print(f"the largest class is {targets.value_counts(normalize=True).max():.3f} of the validation rows: the accuracy of always guessing it")

if __name__=='__main__': main()
