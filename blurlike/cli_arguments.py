"What the command line may say, and what it said. Written by hand."

import argparse
import inspect
import json
import math
from itertools import takewhile
from typing import get_args

EXAMPLES = '''\
examples:
  # a label for each text: csv, tsv, jsonl, json or parquet; a name on the Hub or a folder
  blurlike train reviews.csv distilbert-base-uncased --text review --label stars --out stars
  # pairs of texts; a tenth of the rows validates; long texts are read in windows
  blurlike train pairs.csv roberta-base --text premise hypothesis --valid 0.1 --overlap 64 --out nli
  # a tag for each word of a CoNLL file
  blurlike train train.conll distilbert-base-cased --task token_classification --out tagger
  # a language model of your own field, from plain text; its folder is a checkpoint for the others
  blurlike train corpus/ distilbert-base-uncased --task masked_lm --out adapted
  # answers to questions in texts, from SQuAD's json or a table with the columns question, context and answers
  blurlike train train-v2.0.json distilbert-base-uncased --task question_answering --out reader
  # a summary of each text; with --languages en de a translation
  blurlike train dialogues.jsonl google-t5/t5-small --task seq2seq --source dialogue --target summary --prefix "summarize: " --out summarizer
  # predictions for any number of rows, and for one text
  blurlike predict stars new.csv --out predictions.parquet
  echo "Not bad at all." | blurlike predict stars -
  # how good is it on labelled rows that it has not seen?
  blurlike report stars test.csv
'''

def _valid(s): # a fraction, or the name of a column or split
    try: return float(s)
    except ValueError: return s

def _number(kind, least, above=False): # at least so much, or more
    what = 'a whole number' if kind is int else 'a number'
    def read(s):
        try: v = kind(s)
        except ValueError: v = math.nan
        is_in = v>least if above else v>=least
        if is_in and v!=math.inf: return v
        raise argparse.ArgumentTypeError(f"{s!r}: {what} {'above' if above else 'of at least'} {least} is expected")
    return read

def _column(s): return int(s) if s.lstrip('-').isdigit() else s # columns of a CoNLL file are numbers

def _from_json(text, example='{"num_beams": 4}'):
    try: return json.loads(text)
    except ValueError: raise argparse.ArgumentTypeError(f"{text!r} is no JSON, e.g. '{example}'") from None

def _label(s): # or a list of all, in JSON; whole numbers are numbers, as in a file
    if s.startswith('['): return _from_json(s, '["good", "bad"]')
    return int(s) if s.isdecimal() and str(int(s))==s else s

FOLDER = 'folder that `train` (or `learn.save_pretrained`) wrote, or its name on the Hub'
PAIR = 'column of the text, or two of a pair (default: as in training)'

def parser(
    task:str|None=None # Whose own options are known too; `None`: those of all tasks alone
)->argparse.ArgumentParser:
    "The command line."
    about = 'Train Hugging Face transformers on text, predict and report, without a notebook.'
    raw = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser(prog='blurlike', description=about, epilog=EXAMPLES, formatter_class=raw)
    p.add_argument('--traceback', action='store_true', help='show where an error came from')
    sub = p.add_subparsers(dest='command', required=True, metavar='{train,predict,report}')
    _train_parser(sub, task)
    _predict_parser(sub)
    _report_parser(sub)
    return p

def _predict_parser(sub):
    q = _sub(sub, 'predict', 'predictions for the rows of a file, in order',
        'blurlike predict stars new.csv --out predictions.jsonl\n  cat texts.txt | blurlike predict stars -')
    q.add_argument('model', help=FOLDER)
    q.add_argument('data', help="csv, tsv, jsonl, json or parquet file, or SQuAD's json for question answering; `-`: one text per line from standard input")
    q.add_argument('--text', nargs='+', help=PAIR)
    q.add_argument('--out', help='.csv, .jsonl or .parquet file to write, which needs no memory for all rows '
        '(default: a JSON object a line, printed)')
    q.add_argument('--resume', action='store_true', help='go on where an interrupted job with this --out stopped')
    q.add_argument('--bs', type=_number(int, 1), default=64, help='texts per batch (%(default)s)')
    q.add_argument('--precision', choices=['int8'], help='whole numbers of eight bits, faster than float32 where the processor has VNNI or AMX')
    q.add_argument('--threshold', type=float, help='several labels a row: give those of a higher probability (default: as the model was saved)')
    q.add_argument('--top-k', type=_number(int, 1), help='the likeliest labels, answers to a question or tokens, so many')
    q.add_argument('--num-beams', type=_number(int, 1), help='where texts are written: so many are followed at a time (default: as the model was saved)')
    q.add_argument('--max-new-tokens', type=_number(int, 1), help='where texts are written: the most tokens of each (default: as the model was saved)')
    q.add_argument('--temperature', type=_number(float, 0, above=True), help='where texts are written: draw tokens, unlikely ones the more the higher it is')
    q.add_argument('--top-p', type=_number(float, 0, above=True), help='where texts are written: draw of the likeliest, of so much probability in all')
    q.add_argument('--seed', type=int, help='of what is drawn')
    q.add_argument('--abstain', type=float, help='one answer a row: leave it out where its probability is lower')
    q.add_argument('--sets', action='store_true', default=None, help='the labels in the set that `learn.conformal` has promised')
    q.add_argument('--aggregation', choices=['words','none','simple','first','average','max'],
        help="how a tagger's tokens become entities (words: those that the scores count, the default; "
        "the others: as in Hugging Face's pipeline)")

def _report_parser(sub):
    q = _sub(sub, 'report', 'scores of a trained model on labelled rows, with intervals, by label and by part, and the rows where it errs most',
        'blurlike report stars test.csv --by language --rows 10')
    q.add_argument('model', help=FOLDER)
    q.add_argument('data', help="csv, tsv, jsonl, json, parquet or CoNLL file, or SQuAD's json, with labels")
    q.add_argument('--text', nargs='+', help=PAIR)
    q.add_argument('--label', nargs='+', help='column of the label or tags, or several; of choices: of the right one and of the choices '
        '(default: as in training)')
    q.add_argument('--by', nargs='+', metavar='COLUMN', help='columns whose values divide the rows: scores of each part, too')
    q.add_argument('--rows', type=_number(int, 0), default=5,
        help='costliest rows (highest loss) to show; 0: none (%(default)s)')

def _sub(sub, name, about, example):
    told = dict(help=about, description=about[:1].upper()+about[1:]+'.', epilog=f'example:\n  {example}')
    return sub.add_parser(name, **told, formatter_class=argparse.RawDescriptionHelpFormatter)

OURS = ['sequence_classification','token_classification','multiple_choice','question_answering', # others may be registered
    'masked_lm','causal_lm','seq2seq']

def _train_parser(sub, task):
    q = _sub(sub, 'train', 'train a checkpoint on a file and save it', EXAMPLES.split('\n')[2].strip())
    q.add_argument('data', help="csv, tsv, jsonl, json, parquet or CoNLL file; SQuAD's json for question_answering; "
        'for masked_lm and causal_lm plain text files or a folder of them too')
    q.add_argument('checkpoint', help='name on the Hub, or folder')
    q.add_argument('--out', required=True, help='folder for the trained model; an earlier one there is replaced when the new one is whole')
    q.add_argument('--task', default=OURS[0], metavar='NAME', help=f"{', '.join(OURS)}, or another whose "
        "function is `NAME_learner` (%(default)s); what this one alone takes is an option too, e.g. --question COLUMN")
    data = q.add_argument_group('the data; what is left out is as in the functions of the same name')
    option = lambda *names, group=data, **kwargs: group.add_argument(*names, default=argparse.SUPPRESS, **kwargs)
    option('--text', nargs='+', help='column of the text (text), or two columns of a pair; for causal_lm of prompt and completion, or one of chats')
    option('--label', nargs='+', help='column of the label or number (label); several: one-hot labels, or numbers')
    option('--words', type=_column, help='column of the words (tokens); a number in a CoNLL file')
    option('--tags', type=_column, help='column of the tags (tags); a number in a CoNLL file')
    option('--valid', type=_valid, help='validation part: fraction (0.2), group:COLUMN (no value of it on both sides), '
        'boolean column, split, or another file; 0: train on all rows')
    option('--vocab', nargs='+', type=_label, metavar='LABEL', help='all labels or tags, in order, or a JSON list of them (those of the training rows)')
    option('--problem-type', choices=['single_label_classification','multi_label_classification','regression'],
        help='where the label column could mean two')
    option('--max-length', type=int, help='maximum tokens per text (what the model takes)')
    option('--overlap', type=int, help='read long texts in windows that share so many tokens, instead of cutting them')
    option('--class-weights', choices=['balanced'], help='weigh rare labels more')
    option('--block-size', type=int, help='masked_lm, causal_lm: tokens per block')
    run = q.add_argument_group('the run')
    run.add_argument('--epochs', type=_number(int, 1), help='passes over the training rows (3)')
    run.add_argument('--lr', type=_number(float, 0, above=True), help='highest learning rate (default: what the finder suggests, '
        'or the rate that suits the model where its curve tells nothing)')
    option('--bs', group=run, type=_number(int, 1), help='rows per batch (16)')
    option('--precision', group=run, choices=['bf16','fp16'], help='mixed precision')
    option('--gradient-checkpointing', group=run, action='store_true', help='less memory, in a third more time')
    option('--seed', group=run, type=int, help='(42)')
    run.add_argument('--log', help='csv file for the epoch table')
    run.add_argument('--checkpoints', help='folder for checkpoints of the run, so that it can go on after a crash')
    run.add_argument('--steps', type=_number(int, 1), help='steps from one checkpoint to the next (default: one per epoch)')
    run.add_argument('--resume', action='store_true', help='go on with the run in --checkpoints')
    if task: _add_own_options(q, task)

def _number_or_text(kind): # of an argument, which may be left out
    numbers = {kind, *get_args(kind)} & {int, float}
    return numbers.pop() if len(numbers)==1 else str

def _can_be_told(p): # in words or numbers?
    return p.kind is p.POSITIONAL_OR_KEYWORD and bool({p.annotation, *get_args(p.annotation)} & {bool, int, float, str})

def _own_names(make): # of what the function of a task takes before `valid`, and of what can be told after it
    if make is None: return []
    taken = list(inspect.signature(make).parameters.values())[2:]
    before = list(takewhile(lambda p: p.name!='valid', taken))
    return [p.name for p in [*before, *filter(_can_be_told, taken[len(before):])]]

def _told(kind): # how an option of this kind is read
    if kind is bool: return dict(action='store_true')
    if dict in (kind, *get_args(kind)): return dict(type=_from_json)
    return dict(nargs='+', type=_number_or_text(kind))

def _add_own_options(p, task): # of the function of a task, where no option of all tasks is called so
    from blurlike.all import LEARNERS
    make = LEARNERS.get(task)
    taken = {} if make is None else inspect.signature(make).parameters
    for n in _own_names(make):
        name = f"--{n.replace('_', '-')}"
        if name in p._option_string_actions: continue
        p.add_argument(name, default=argparse.SUPPRESS, **_told(taken[n].annotation))

def read_arguments(
    argv:list|None=None # `None`: those of the program
)->argparse.Namespace:
    "What the command line says; `SystemExit` with a message where that cannot be read."
    args,rest = parser().parse_known_args(argv)
    if not rest: return args
    if args.command!='train': _refuse(parser(), args.command, rest)
    from blurlike.all import LEARNERS # which takes longer than all of this
    whole = parser(args.task)
    args,odd = whole.parse_known_args(argv)
    if odd: _refuse(whole, args.command, odd, _tasks_with(odd, LEARNERS))
    return args

def _refuse(p, command, odd, more=''): # arguments that `p` does not know
    sub = next(o for o in p._actions if o.dest=='command').choices[command]
    known = [o.lstrip('-') for a in sub._actions for o in a.option_strings[-1:]] # the long form
    name = next((o[2:].split('=')[0] for o in odd if o.startswith('--')), '')
    from blurlike.support.arguments import did_you_mean
    like = did_you_mean(name, known, '--{}') if name else ''
    p.error(f"unrecognized arguments: {' '.join(odd)}{more or like}")

def _tasks_with(odd, learners): # those whose function takes all of these options
    names = [o[2:].split('=')[0].replace('-', '_') for o in odd if o.startswith('--')]
    able = [t for t,make in learners.items() if names and not set(names)-set(_own_names(make))]
    return f" (they belong to --task {' or '.join(able)})" if able else ''
