"""Runs that are killed with `kill -9` at random moments and resumed until they end: `python tests/killed_runs.py CHECKPOINT FOLDER N SEED [SCENARIO ...]`

Prints a line of JSON a run: how often it was killed and where, and whether weights and epoch table are those of a run that was
left alone; at the end a line with the sums. Every run is a process of its own, forked from this one, which has imported the libraries but used nothing.
"""
import hashlib,json,os,random,signal,sys,warnings
from pathlib import Path

from runs import SCENARIOS, CUTS, prepare, train

def result(learn):
    "Checksum of all weights, and the epoch table."
    digest = hashlib.sha256()
    for n,p in learn.model.state_dict().items(): digest.update(n.encode()+p.numpy().tobytes())
    return dict(weights=digest.hexdigest(), table=[list(map(repr, row)) for row in learn.recorder.values])

def in_child(f):
    "Run `f` in a fork; its exit status, or minus the signal that ended it."
    pid = os.fork()
    if pid: return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        f()
        os._exit(0)
    except BaseException:
        import traceback
        traceback.print_exc()
    finally: os._exit(1)

def kill_at_write(n):
    "Die at the `n`th flush to the disk or move of a folder."
    left,fsync = [n],os.fsync
    def counted(f):
        fsync(f)
        left[0] -= 1
        if not left[0]: os.kill(os.getpid(), signal.SIGKILL)
    os.fsync = counted

def one(name, checkpoint, folder, rng, expected):
    "A run of scenario `name`, killed up to three times."
    scenario,kills,steps = SCENARIOS[name],[],rng.choice([1, 2, 3, 5, None])
    while True:
        how = rng.choice([dict(write=rng.randint(1, 40)), dict(cut=(rng.choice(CUTS), rng.randint(1, scenario['batches'])))]) if len(kills)<3 else {}
        def job():
            if 'write' in how: kill_at_write(how['write'])
            (folder/'result.json').write_text(json.dumps(result(train(scenario, checkpoint, folder/'run', steps, cut=how.get('cut')))))
        status = in_child(job)
        if status==0: return dict(scenario=name, steps=steps, kills=kills, same=json.loads((folder/'result.json').read_text())==expected)
        if status!=-signal.SIGKILL: sys.exit(f'a run of {name} failed by itself: {how}')
        kills.append(how)

def main(checkpoint, folder, n, seed, *names):
    rng,runs = random.Random(int(seed)),[]
    prepare()
    for name in names or SCENARIOS:
        place = Path(folder)/name
        place.mkdir(parents=True)
        def whole(): (place/'whole.json').write_text(json.dumps(result(train(SCENARIOS[name], checkpoint, place/'whole'))))
        if in_child(whole): sys.exit(f'{name} does not train')
        for i in range(int(n)):
            (place/str(i)).mkdir()
            runs.append(one(name, checkpoint, place/str(i), rng, json.loads((place/'whole.json').read_text())))
            print(json.dumps(runs[-1]), flush=True)
    print(f"{len(runs)} runs, killed {sum(len(r['kills']) for r in runs)} times; not as if left alone: {sum(not r['same'] for r in runs)}")

if __name__=='__main__':
    warnings.simplefilter('ignore')
    main(*sys.argv[1:])
