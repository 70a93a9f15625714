"Our side and the Trainer's by turns, in seconds of processor time: what `speed_qa.py` and `speed_seq2seq.py` share"
import sys
import time

import numpy as np

from quality import versions

def timed(f, *args, **kwargs):
    "Seconds of processor time, of all threads, and what `f` returned."
    start = time.process_time()
    res = f(*args, **kwargs)
    return time.process_time()-start,res

def by_turns(name, sides, repeats):
    "Seconds (repeats,n) of each of two `sides` (name -> function that gives n times); `first` tells the run that warms up."
    seconds = {s:[] for s in sides}
    for k in range(repeats+1):
        for side in list(sides) if k%2 else list(sides)[::-1]:
            found = sides[side](first=k==0)
            if k: seconds[side].append(found)
            print(name, k, side, *(f'{s:.2f}' for s in found), flush=True)
    return {s:np.array(v) for s,v in seconds.items()}

def lines(name, seconds, works):
    "Rows of a table; `works`: what each time is of -> how many rows it took."
    for i,(what,n) in enumerate(works.items()):
        mine,theirs = (s[:,i] for s in seconds.values())
        ratios = theirs/mine
        yield (f'| {name} | {what} | {n} | {np.median(mine):.2f} | {np.median(theirs):.2f} | '
            f'{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f}) |')

def write_tables(args, title, path, rows_of):
    "The table at `path`, written anew after each set, so that a stopped benchmark keeps those that were done."
    told = [title, '', f"`python {' '.join(sys.argv)}`: batches of {args.bs}; medians of {args.repeats} runs by turns, in seconds of processor time; "
        "ratios of neighbouring runs.", '', versions(args), '', '| set | | rows | ours | Trainer | ratio: median (least to most) |', '|---|---|---|---|---|---|']
    for name in args.sets:
        told += rows_of(args, name)
        path.write_text('\n'.join(told)+'\n')
    print('\n'.join(told))
