"`blurlike train`, `predict` and `report`: the one-line functions over files, for people without a notebook. A program, written by hand."

import inspect
import json
import os
import re
import sys
from collections import Counter
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

from .cli_arguments import read_arguments

def _is_one(v): return isinstance(v, list) and len(v)==1

OF_THE_RUN = {'command','traceback','data','checkpoint','out','task','epochs','lr','log','checkpoints','steps','resume'}

def _learner_options(args, make): # what was given for the learner function `make`
    given = {k:v[0] if _is_one(v) else v for k,v in vars(args).items() if k not in OF_THE_RUN}
    odd = [f"--{k.replace('_', '-')}" for k in given if k not in inspect.signature(make).parameters]
    if odd: raise ValueError(f"{', '.join(odd)}: not for --task {args.task}")
    return given

def _check_place(name, given, asked, out): # of the file or folder that a run writes beside its model
    if given is None: return
    path = Path(given).expanduser().absolute()
    is_other = path.exists() and path.is_dir()==(name=='log')
    there,wanted = ('folder','csv file') if name=='log' else ('file','folder')
    if is_other: raise ValueError(f"--{name} {given} is a {there}: give the name of a {wanted}")
    if path!=out and out not in path.parents: return
    raise ValueError(f"--{name} {given} lies in --out {asked}, which is for the trained model alone; give another name")

def _check_log(args): # that it takes the place of nothing but an epoch table
    if args.log is None: return
    path = Path(args.log).expanduser()
    if args.checkpoints and Path(args.checkpoints).expanduser().absolute() in path.absolute().parents:
        raise ValueError(f"--log {args.log} lies in --checkpoints {args.checkpoints}, which is for checkpoints alone; give another name")
    if not path.is_file() or not path.stat().st_size: return
    with open(path, 'rb') as f: is_table = f.read(6)==b'epoch,'
    if is_table: return
    raise ValueError(f"--log {args.log} is there already, and is no epoch table: give the name of a new file")

def _check_checkpoints(args): # that a run can begin there, or go on
    if (args.resume or args.steps) and not args.checkpoints:
        raise ValueError(f"{'--resume' if args.resume else '--steps'} needs --checkpoints FOLDER")
    if not args.checkpoints or args.resume: return
    if any(Path(args.checkpoints).expanduser().glob('step-*')):
        raise ValueError(f"--checkpoints {args.checkpoints} holds those of another run: --resume goes on with it, "
            "or give another folder")

def _check_run(args): # before anything is loaded; the folder for the trained model
    from blurlike.all import check_destination
    _check_checkpoints(args)
    out = check_destination(args.out)
    for name in ('log','checkpoints'): _check_place(name, getattr(args, name), args.out, out)
    _check_log(args)
    return out

def _print_rows(learn):
    from blurlike.support.arguments import some_of
    said = f'{len(learn.dls.train_ds):,} rows to train on, {len(learn.dls.valid_ds):,} to validate'
    print(said + (f'; labels: {some_of(learn.names, 20, str)}' if learn.names else ''))

def _fit(learn, args):
    from blurlike.all import Checkpoints, shown_rate
    from blurlike.support.progress import is_terminal
    saver = Checkpoints(args.checkpoints, steps=args.steps) if args.checkpoints else None
    if not is_terminal(sys.stdout): learn.logger = _epoch_lines(learn)
    with _bars(learn):
        if args.resume: return learn.resume(args.checkpoints)
        lr,whence = (args.lr, 'as asked for') if args.lr else _find_rate(learn)
        print(f'highest learning rate: {shown_rate(lr)}, {whence}')
        learn.fit_one_cycle(args.epochs or 3, lr, cbs=saver)

def train(args):
    "Train and save."
    from blurlike.all import LEARNERS, CSVLogger
    if args.task not in LEARNERS: raise ValueError(f"--task {args.task}: the tasks are {', '.join(LEARNERS)}")
    make = LEARNERS[args.task]
    given = _learner_options(args, make)
    out = _check_run(args)
    log = [CSVLogger(Path(args.log).absolute())] if args.log else None
    learn = make(args.data, args.checkpoint, **given, cbs=log)
    _print_rows(learn)
    if args.resume: _same_run(args)
    _fit(learn, args)
    print(f'saved: {learn.save_pretrained(out)}')

def _find_rate(learn): # two passes over few rows are enough; in fewer than 40 steps the rate would rise too steeply for a suggestion
    from blurlike.train.suggest import found_rate
    n = min(100, max(40, 2*len(learn.dls.train)))
    print(f'looking for a learning rate, in at most {n} steps ... (--lr 5e-5 or the like leaves this out)', flush=True)
    return found_rate(learn, n)

def _begun_with(folder): # the arguments of the run in it
    path = Path(folder).expanduser()/'run.json'
    if not path.is_file(): return {}
    facts = json.loads(path.read_text())
    given = dict(facts['arguments']['dict'])
    options = dict(epochs='n_epoch', lr='lr_max')
    begun = {option:given[k] for option,k in options.items() if k in given}
    return begun | dict(steps=facts['settings']['steps'])

def _same_run(args): # what is asked for anew must be what the run was begun with
    for name,was in _begun_with(args.checkpoints).items():
        asked = getattr(args, name)
        if asked is None or asked==was: continue
        begun = f"without --{name}" if was is None else f"with --{name} {was}"
        raise ValueError(f"--{name} {asked}: the run in {args.checkpoints!r} was begun {begun}, and --resume goes on "
            "as it was begun. To train longer, give its --out as the checkpoint of another run")

def _epoch_lines(learn): # for a file or pipe: the epoch table under its headings
    begun = []
    def cell(v): return f'{f"{v:.4f}" if isinstance(v, float) else v!s:>13}'
    def show(row): print(' '.join(map(cell, row)), flush=True)
    def log(row):
        if not begun: show(learn.recorder.metric_names)
        begun.append(True)
        show(row)
    return log

def _bars(learn): # none into a file or pipe
    from blurlike.support.progress import is_terminal
    return nullcontext() if is_terminal(sys.stdout) else learn.no_bar()

def _listed(o): return [] if o is None else [o] if isinstance(o, (str, int)) else list(o)

def _renamed(df, data, option, given, names): # columns of `df` -> names that the learner knows
    known = [str(n) for n in names] # columns of a file are texts
    given = given or known
    if len(given)!=len(names):
        raise ValueError(f"--{option} names {len(given)} columns, the model reads {len(names)}: {', '.join(known)}")
    missing = [o for o in given if o not in df.columns]
    if not missing: return dict(zip(given, names))
    has = f"column {', '.join(missing)} is not in {data!r}, which has {', '.join(map(str, df.columns))}"
    raise ValueError(has + (f"; --{option} says which" if given==known else ''))

def _named_once(given): # pairs of columns of a file and names of ours; of two names one column would be
    twice = next((o for o,k in Counter(o for o,_ in {*given}).items() if k>1), None)
    if twice is not None: raise ValueError(f"column {twice!r} is named twice")
    return given

def _rows(learn, data, as_text, may_be_empty=False, **wanted): # a file, and its columns -> names of ours; `wanted`: option -> those given, and ours
    from blurlike.all import fill_texts, read_again
    columns = [(asked or _listed(names), _listed(names)) for asked,names in wanted.values()]
    given = _named_once([(str(o), n) for asked,names in columns for o,n in zip(asked, names)])
    df,new = read_again(learn, data, [o for o,n in given if n in as_text], may_be_empty).source,{}
    for option,(given,names) in wanted.items(): new |= _renamed(df, data, option, given, _listed(names))
    new |= _hidden(df, new)
    return fill_texts(df.rename(columns=new), data, learn.dls),new

def _hidden(df, new): # columns of the file whose name another one gets
    names = [n for n in new.values() if n in df.columns and n not in new]
    return {n:f'{n} (of the file)' for n in names}

def _known(o, names, by_text): # a label as the model knows it: files tell '1' and 1 apart, or not
    from blurlike.support.arguments import some_of
    is_list = isinstance(o, (list, tuple)) or hasattr(o, 'tolist') and getattr(o, 'ndim', 0)
    if is_list: return [_known(v, names, by_text) for v in o]
    text = str(int(o)) if isinstance(o, float) and o.is_integer() else str(o)
    if text not in by_text: raise ValueError(f"{o!r} is no label of this model, which knows {some_of(names, 20, str)}")
    return by_text[text]

def _check_lists(df, column): # of labels: a file of texts holds none
    from blurlike.all import name_rows
    texts = df[column].map(lambda o: isinstance(o, str))
    if not texts.any(): return
    hold = 'holds' if texts.sum()==1 else 'hold'
    raise ValueError(f"column {column!r} must hold lists of labels; {name_rows(texts)} {hold} text, "
        f"e.g. {df[column][texts].iloc[0]!r}: keep the lists in a jsonl or parquet file")

def _as_known(df, column, names, several): # the column of labels, as the model knows them
    from blurlike.all import name_rows
    absent = df[column].isna()
    if absent.any(): raise ValueError(f"column {column!r} has no label in {name_rows(absent)}")
    if several: _check_lists(df, column)
    by_text = {str(n):n for n in names}
    def read(i, o):
        try: return _known(o, names, by_text)
        except ValueError as e: raise ValueError(f"column {column!r}, row {i}: {e}") from None
    res = df.copy(deep=False)
    res[column] = [read(i, o) for i,o in enumerate(df[column])]
    return res

def _are_named(learn, y): # is a label called as the model calls it?
    kind = learn.task.kind
    has_names = kind is not None and kind.labels and not kind.of_words
    return bool(has_names and y and not isinstance(y[0].names, list))

def _check_label(learn, label, y):
    if y or not label: return
    raise ValueError(f"--label: the targets of {learn.task.name} are in the texts themselves; leave it out")

def _labelled(learn, data, text, label): # rows with texts and labels, and the file's columns -> names of ours
    from blurlike.all import Rows, text_columns
    x,*y = [tl.tfms.fs[0] for tl in learn.dls.valid_ds.tls]
    labels = [o.names for o in y]
    _check_label(learn, label, y)
    is_named = _are_named(learn, y)
    asked = {'label':(label, names) for names in labels}
    df,new = _rows(learn, data, text_columns(learn.dls), text=(text, x.names), **asked)
    learn.dls.text_tfm.check_rows(Rows(df), *_listed(x.names))
    stand_for_names = is_named and y[0].values is not None # numbers, which are read as in training
    if not is_named or stand_for_names: return df,new
    return _as_known(df, labels[0], learn.names, learn.task.kind.several),new

def _items(learn, args, names): # what is to be read: lines of standard input, or the rows of a file
    if args.data!='-': return _rows(learn, args.data, _listed(names), True, text=(args.text, names))[0]
    if args.text: raise ValueError("--text names columns of a file; standard input holds one text a line")
    if isinstance(names, list):
        raise ValueError("standard input holds one text a line, and this model reads several columns: "
            f"give a file with {', '.join(map(str, names))}")
    lines = [line.rstrip('\n') for line in sys.stdin]
    return [lines[0].removeprefix('\ufeff'), *lines[1:]] if lines else [] # a byte order mark is no part of a text

def predict(args):
    "Predictions for a file or standard input."
    from blurlike.all import TransformersLearner
    learn = TransformersLearner.from_pretrained(args.model)
    names = learn.dls.valid_ds.tls[0].tfms.fs[0].names
    asked = learn.dls.text_tfm.typed_columns(_listed(names))
    items = _items(learn, args, asked if len(asked)>1 else asked[0])
    if args.resume and not args.out: raise ValueError("--resume needs --out FILE")
    of_call = 'threshold','top_k','abstain','sets','precision','num_beams','max_new_tokens','temperature','top_p','seed'
    asked = {k:getattr(args, k) for k in of_call} | dict(aggregation_strategy=args.aggregation)
    kwargs = dict(bs=args.bs) | {k:v for k,v in asked.items() if v is not None}
    if args.out: return print(f'saved: {learn.predict_batch(items, out=args.out, resume=args.resume, **kwargs)}')
    with learn.no_bar():
        for p in learn.predict_batch(items, **kwargs): print(json.dumps(p, ensure_ascii=False))

def _by(name, new): # a column of the file, which the learner knows by another name
    if new.get(name, name)==name: return name # the learner's own, or one that it does not read
    def of_row(row): return row[new[name]]
    of_row.__name__ = name
    return of_row

def report(args):
    "Scores on labelled rows."
    from blurlike.all import Interpretation, TransformersLearner, tensor
    learn = TransformersLearner.from_pretrained(args.model)
    rows,new = _labelled(learn, args.data, args.text, args.label)
    dl = learn.dls.test_dl(rows, with_labels=True)
    with _bars(learn):
        found = learn.report(dl, by=[_by(o, new) for o in _listed(args.by)])
        print(f'{len(found):,} rows: ' + ', '.join(f'{k} {v:.4f}' for k,v in found.metrics.items()))
        print(f'\n{found}')
        if not args.rows: return
        print('\nwhere it errs most:')
        Interpretation(learn, dl, tensor(found.results.losses)).plot_top_losses(args.rows)

def _after_interrupt(args): # what is left, and how to go on
    if args.command=='report': return 'nothing was written'
    if args.command=='predict':
        return f"the same command with --resume goes on with {args.out}" if args.out else 'nothing was written'
    if not args.checkpoints:
        return f"{args.out} is as it was before. A run with --checkpoints FOLDER can go on after an interruption"
    begun = any((Path(args.checkpoints).expanduser()).glob('step-*'))
    if not begun: return f"no checkpoint was written to {args.checkpoints} yet: begin anew"
    return f"the same command with --resume goes on from the last checkpoint in {args.checkpoints}"

def _check_paths(args): # before the imports, which take longer than this
    data = Path(args.data).expanduser()
    model = args.checkpoint if args.command=='train' else args.model
    if Path(model).expanduser().is_file() and not data.is_file():
        raise ValueError(f"{model} is a file, and the folder of a model is expected: are it and {args.data} swapped?")
    if args.data!='-' and not data.exists():
        raise FileNotFoundError(f"data file {args.data!r} does not exist (looked in {Path.cwd()})")
    if args.command=='predict' and args.out and Path(args.out).suffix not in ('.parquet','.jsonl','.csv'):
        raise ValueError(f"--out {args.out}: predictions are written as .parquet, .jsonl or .csv")

def _say_no_more(out): # whoever read what is printed has enough of it, as `head` does
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, out.fileno())
    os.close(nowhere)

class _Told: # what is printed beside a file that is written: the file comes even if nobody reads on
    def __init__(self, out): self.out = out
    def __getattr__(self, name): return getattr(self.out, name)
    def write(self, text):
        try: return self.out.write(text)
        except BrokenPipeError: _say_no_more(self.out)

    def flush(self):
        try: self.out.flush()
        except BrokenPipeError: _say_no_more(self.out)

def _run(args):
    command = dict(train=train, predict=predict, report=report)[args.command]
    is_told = bool(sys.stdout is not None and vars(args).get('out'))
    with redirect_stdout(_Told(sys.stdout)) if is_told else nullcontext():
        command(args)
        if sys.stdout is not None: sys.stdout.flush() # what is still held back may find no reader either

_HERE = { # what a message names that a command line has not -> what to do here
    'Make the learner as that one was, or pass accept_changes=True to go on all the same':
        'Give the options that it was begun with, or begin anew in another --checkpoints folder',
    'pass a function of a row that gives':'add one to the file that has',
    'read it with pandas, and pass the table':'save it as one of these',
    'call `learn.conformal(alpha=0.1)` first':'in Python, call `learn.conformal(alpha=0.1)` on the loaded model and save it again'}

def _said(e): # of an error
    said = str(e.args[0]) if isinstance(e, KeyError) and e.args else str(e)
    for there,here in _HERE.items(): said = said.replace(there, here)
    untaken = re.match(r'predict_batch takes no (\w+)= here', said)
    option = untaken and {'aggregation_strategy':'aggregation'}.get(untaken[1], untaken[1]).replace('_', '-')
    return f"--{option} is not for this model" if option else said

def main(argv=None):
    "Run a command; 2 and a message where the user's input cannot be used, 130 after Ctrl-C."
    args = read_arguments(argv)
    try:
        _check_paths(args)
        _run(args)
    except BrokenPipeError:
        _say_no_more(sys.stdout)
        return 141 # as shells know it
    except KeyboardInterrupt:
        if args.traceback: raise
        print(f"\nblurlike: interrupted; {_after_interrupt(args)}", file=sys.stderr)
        return 130 # as shells know it
    except (ValueError, TypeError, KeyError, OSError, ImportError) as e:
        if args.traceback: raise
        print(f"blurlike: {_said(e)}", file=sys.stderr)
        return 2
    return 0

if __name__=='__main__': sys.exit(main())
