"""Saves over an earlier save, killed or out of space at each moment: `python tests/killed_saves.py CHECKPOINT FOLDER`

Prints a line of JSON for each way to save: how many moments were tried, and at how many of them what lies there afterwards is neither
the earlier save nor the new one, byte for byte.
"""
import hashlib,json,os,resource,sys,warnings
from pathlib import Path

from killed_runs import in_child, kill_at_write
from runs import classifier, prepare

from blurlike.all import load_learner

def contents(path): return {str(p.relative_to(path)):hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(path.rglob('*')) if p.is_file() and not any(part[0]=='.' for part in p.relative_to(path).parts)}

def change(learn): # so that the new save is another one
    for p in learn.model.parameters(): p.data += 1

SAVES = dict(save_pretrained=lambda learn, folder: learn.save_pretrained(folder/'m'), export=lambda learn, folder: learn.export(folder/'l.pkl'), save=lambda learn, folder: learn.save(folder/'w'))

def limited(n): # no file of more than `n` bytes can be written from now on: as good as a full disk, also for libraries that are not Python
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

def main(checkpoint, folder):
    prepare()
    for name,save in SAVES.items():
        place,new = Path(folder)/name,Path(folder)/f'{name}_new'
        for p in (place, new): p.mkdir(parents=True)
        def first(): save(classifier(checkpoint), place)
        def second():
            learn = classifier(checkpoint)
            change(learn)
            save(learn, new)
        assert in_child(first)==0 and in_child(second)==0
        sizes = sorted({p.stat().st_size for p in new.rglob('*') if p.is_file()})
        moments = [dict(kill=n) for n in range(1, 10)] + [dict(full=n) for s in sizes for n in (s//2, s-1)]
        bad,survived = [],0
        for how in moments:
            earlier = contents(place)
            def again():
                learn = classifier(checkpoint)
                change(learn)
                if 'kill' in how: kill_at_write(how['kill'])
                else: limited(how['full'])
                try: save(learn, place)
                except Exception as e: # an error that says why, and a learner that is as before
                    learn.dls.train_ds[0]
                    print(repr(e)[:300], file=sys.stderr, flush=True)
                    os._exit(3 if isinstance(e, OSError) or 'writ' in str(e).lower() or 'large' in str(e).lower() else 4)
            status,now = in_child(again),contents(place)
            survived += status==0
            same_size = now.keys()==earlier.keys()==contents(new).keys()
            if status==4 or not same_size or not (now==earlier or status in (0, -9)): bad.append([how, status])
            if name=='export' and status in (0, -9) and in_child(lambda: load_learner(place/'l.pkl').predict('a')): bad.append([how, 'unreadable'])
        print(json.dumps(dict(save=name, moments=len(moments), went_through=survived, bad=bad)), flush=True)

if __name__=='__main__':
    warnings.simplefilter('ignore')
    main(*sys.argv[1:])
