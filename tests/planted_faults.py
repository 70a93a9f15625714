"""Does the fast suite notice a fault? Twenty are planted, one at a time, each in another module of a copy of this tree.

`python tests/planted_faults.py` plants them all, `python tests/planted_faults.py batch hub` those of some modules; prints the tests that noticed, and exits with the number of faults that none did."""
import os,shutil,subprocess,sys,tempfile
from pathlib import Path

from fresh import ROOT, run_fresh

# module, what it says, what it is made to say, and the files of tests that should notice
FAULTS = [
    ('data/rows', 'for i in back]', 'for i in order]', 'rows batch'),                                       # rows of a Dataset in another order
    ('data/table_files', "for s in ';\\t|,'", "for s in '\\t|,'", 'rows table_files'),                      # no hint at semicolons
    ('data/label_columns', '.drop_duplicates().label', '.label', 'labels weights'),                         # a label that stands twice in a row counts twice
    ('data/splits', 'if first<0 or last>=n', 'if first<0 or last>n', 'splits'),                             # one row too many is let through
    ('data/text_items', 'ok = ok and len(o)==2', 'ok = ok and len(o)>1', 'bad_input'),                      # three texts are a pair
    ('data/batch', 'permutation(idxs) if self.shuffle else idxs', 'permutation(idxs)', 'batch'),            # validation rows are shuffled
    ('data/prefetch', "'s' if len(numbers)>1 else ''", "''", 'texts'),                                      # "row 1, 2"
    ('tasks/masked_lm/masking', 'kind<self.mask_share+self.random_share', 'kind<self.mask_share', 'masked_lm'),        # no random tokens
    ('tasks/token_classification/tagged', "t[:2] in ('E-','S-')", "t[:2] in ('E-',)", 'token_classification'),                    # an entity of one word goes on
    ('model/splitters', 'layer is None and name in new', 'False', 'splitters'),                             # a new pooler is not in the head
    ('model/losses', 'self.n*self.steps/self.seen', 'self.n/self.seen', 'weights masked_lm'),               # steps weigh less and less
    ('model/optimizer', 'weight_decay=0., no_decay=True', 'weight_decay=wd, no_decay=True', 'splitters'),   # decay of biases
    ('model/model_inputs', 'real[::len(x)//n] = True', 'pass', 'model_inputs bad_input'),                   # an empty text has no window
    ('model/class_weights', 'if not 0<=w<', 'if not 0<w<', 'weights'),                                      # a weight of 0 is refused
    ('tasks/token_classification/word_labels', 'np.lexsort([-context, place])', 'np.lexsort([context, place])', 'token_classification'), # the window that knows least of a word
    ('tasks/token_classification/entity_metrics', '2*right/max(found+true, 1)', 'right/max(found+true, 1)', 'token_classification'),    # half the F1
    ('train/training_state', "random.setstate(states['python'])", 'pass', 'checkpoints'),                   # another order after resuming
    ('train/epoch_weights', 'return max((k for k,v in sums.items()', 'return min((k for k,v in sums.items()', 'scores saving hub'), # the first of two equal epochs
    ('inspect/explanation', 'found.sum(-1)[0]', 'found.abs().sum(-1)[0]', 'inspection'),                    # nothing speaks against
    ('share/hub', "re.sub(r'([\\\\`*\\[\\]<>&#|])'", "re.sub(r'([\\\\`*\\[\\]<&#|])'", 'hub'),              # a `>` in a card is not escaped
]

TEST = """import sys
for name in ('fresh', *[m for m in sys.modules if m.split('.')[0]=='blurlike']): sys.modules.pop(name, None)
sys.path[:] = ['.', *(p for p in sys.path if not p.endswith('/tests'))]
sys.meta_path[:] = [f for f in sys.meta_path if '__editable__' not in getattr(f, '__module__', '')+getattr(f, '__name__', '')]
import blurlike,os,pytest
assert blurlike.__file__.startswith(os.getcwd()), blurlike.__file__
sys.exit(pytest.main(['-o', 'addopts=', '-qx', '-m', 'not slow', '-p', 'no:cacheprovider', *sys.argv[1:]]))"""

def copy_tree(folder):
    "The files of this checkout that git knows, and the data beside it."
    names = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in filter(lambda n: (ROOT/n).is_file(), names):
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT/name, folder/name)
    if (ROOT.parent/'shared').exists(): (folder.parent/'shared').symlink_to((ROOT.parent/'shared').resolve())
    return folder

def first_failure(tree, *args):
    "The first test that fails in `tree`; `None`: all pass."
    r = run_fresh(TEST, *args, cwd=tree, timeout=1200)
    failed = [l.removeprefix('FAILED ').split(' - ')[0] for l in r.stdout.splitlines() if l.startswith('FAILED ')]
    assert failed or r.returncode==0, f'{r.stdout[-2000:]}\n{r.stderr[-2000:]}'
    return failed[0] if failed else None

def noticed_by(tree, module, old, new, tests):
    "The first test that fails when `old` is `new` in `module`, and passes without; `None`: none does."
    path = tree/'blurlike'/f'{module}.py'
    said = path.read_text()
    assert said.count(old)==1, f'{old!r} stands {said.count(old)} times in {module}: plant another fault'
    args = [f'tests/test_{t}.py' for t in tests.split()]
    while True:
        path.write_text(said.replace(old, new))
        failed = first_failure(tree, *args)
        path.write_text(said)
        if failed is None or first_failure(tree, failed) is None: return failed
        args.append(f'--deselect={failed}') # it fails anyway

def main(*names):
    missed = 0
    os.environ['PYTHONDONTWRITEBYTECODE'] = '1'
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_tree(Path(folder).resolve()/'tree')
        for module,*fault in FAULTS:
            if names and module.split('/')[-1] not in names: continue
            test = noticed_by(tree, module, *fault)
            missed += test is None
            print(f'{module:24} {test or "NOT NOTICED"}', flush=True)
    print(f'{missed} not noticed')
    return missed

if __name__=='__main__': sys.exit(main(*sys.argv[1:]))
