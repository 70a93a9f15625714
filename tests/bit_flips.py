"""Saved folders of which one bit is wrong: `python tests/bit_flips.py [N] [FOLDER]`

Prints a line of JSON: of N flips, at a random bit of a random file, how many were refused by a `ValueError` that names the file, how many
were accepted and changed nothing (a space for a line end), and those that were accepted although something else is loaded.
"""
import json,random,shutil,sys,tempfile
from pathlib import Path

from blurlike.save.folder_check import check_folder
from blurlike.save.saved_facts import read_facts

SAVED = Path(__file__).parent/'saved'

def contents(folder): # what is loaded
    facts = read_facts(folder)
    check_folder(folder, facts)
    return facts,{p.name:p.read_bytes() for p in folder.iterdir() if p.name!='blurlike.json'}

def try_folder(folder, name, want):
    "`refused`, `equal`, or what is wrong with how the damage in file `name` was met."
    try: return 'equal' if contents(folder)==want else 'accepted'
    except ValueError as e: return 'refused' if name in str(e) or folder.name in str(e) else f'unclear: {e}'
    except Exception as e: return f'{type(e).__name__}: {e}'

def flip(path, bit): # and the same once more to undo it
    data = bytearray(path.read_bytes())
    data[bit//8] ^= 1<<bit%8
    path.write_bytes(data)

def flips(source, n, seed=0):
    "How `n` flips were met: how many were refused, changed nothing, and were anything else, with their places."
    rng,res = random.Random(seed),dict(flips=n, refused=0, equal=0, bad=[])
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(shutil.copytree(source, Path(tmp)/'model'))
        want,files = contents(folder),sorted(folder.iterdir())
        for _ in range(n):
            path = rng.choice(files)
            bit = rng.randrange(8*path.stat().st_size)
            flip(path, bit)
            met = try_folder(folder, path.name, want)
            flip(path, bit)
            if met in ('refused','equal'): res[met] += 1
            else: res['bad'].append((path.name, bit, met))
    return res

if __name__=='__main__':
    n,source = int(sys.argv[1]) if len(sys.argv)>1 else 10_000,Path(sys.argv[2]) if len(sys.argv)>2 else max(SAVED.glob('format_*'))/'single'
    print(json.dumps(flips(source, n)))
