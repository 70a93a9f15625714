"""New processes that know of nothing here, without the seconds of their imports.

Each is forked from one that has imported other libraries, not blurlike, and has used none of them."""
import json,multiprocessing,os,sys,tempfile,types
from pathlib import Path
from subprocess import CompletedProcess

LIBRARIES = '''torch torch._dynamo transformers.modeling_utils transformers.models.auto.modeling_auto fastai.text.all datasets
    scipy.stats sklearn.metrics seqeval.metrics wandb nbdev.test'''.split()
ROOT = Path(__file__).parents[1]
server = multiprocessing.get_context('forkserver')
server.set_forkserver_preload(LIBRARIES)

def here(**more):
    "The environment of a new Python that finds this checkout, and `more` of it."
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
    return os.environ | dict(PYTHONPATH=path) | more

def _start(code, args, cwd, env, said):
    import torch
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for fd,path in zip((1, 2), said): os.dup2(os.open(path, os.O_WRONLY), fd)
    sys.argv = ['-c', *args]
    torch.set_num_threads(1)
    sys.modules['__main__'] = main = types.ModuleType('__main__')
    exec(code, vars(main))

def run_fresh(code, *args, cwd='.', timeout=300, **env):
    "Run the Python `code` with `args` in a new process, with `env` beside this one's; how it ended and what it said, as `subprocess.run` tells it."
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder)/'out', Path(folder)/'err']
        for o in said: o.touch()
        p = server.Process(target=_start, args=(code, [*map(str, args)], str(Path(cwd).absolute()), os.environ | env, said))
        p.start()
        p.join(timeout)
        if p.is_alive(): p.kill()
        p.join()
        return CompletedProcess(code, p.exitcode, *(o.read_text() for o in said))

def fresh_process(code, *args, cwd):
    "The JSON that `code` prints last, in a new process."
    r = run_fresh(f"import warnings\nwarnings.simplefilter('ignore')\n{code}", *args, cwd=cwd)
    assert r.returncode==0, r.stderr[-3000:]
    return json.loads(r.stdout.strip().splitlines()[-1])
