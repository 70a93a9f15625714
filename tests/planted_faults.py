"""Does the fast suite notice a fault? One at a time is planted, each in another module of a copy of this tree.

`python tests/planted_faults.py` plants them all, `python tests/planted_faults.py batch hub` those of some modules; prints the tests that noticed, and exits with the number of faults that none did."""
import os,shutil,subprocess,sys,tempfile
from pathlib import Path

from fresh import ROOT, run_fresh

# module, what it says, what it is made to say, and which tests should notice: `rows:order`, those of `test_rows.py` with `order` in their name
FAULTS = [
    ('data/rows', 'for i in back]', 'for i in order]', 'rows:order_in_which'), # rows of a Dataset in another order
    ('data/column', 'text in names and names.index(text)!=place', 'False', 'labels:class_label labels:asked labels:places'), # '1' may be a name or a number, and nobody asks
    ('data/divided_files', "for s in ';\\t|,'", "for s in '\\t|,'", 'rows:divided_by_another'), # no hint at semicolons
    ('data/row_numbers', 'if first<0 or last>=n', 'if first<0 or last>n', 'splits:do_not_split'), # one row too many is let through
    ('data/label_columns', '.drop_duplicates().label', '.label', 'labels:twice_in_a_row'), # a label that stands twice in a row counts twice
    ('data/text_items', 'ok = ok and len(o)==2', 'ok = ok and len(o)>1', 'bad_input:no_text'), # three texts are a pair
    ('data/token_limit', 'room-a<=overlap', 'room-a<overlap', 'batch:first_text'), # windows of a second text that never end
    ('data/rows', "'s' if len(numbers)>1 else ''", "''", 'texts:first_texts'), # "row 1, 2"
    ('data/batch_order', 'permutation(idxs) if self.shuffle else idxs', 'permutation(idxs)', 'batch:row_order'), # validation rows are shuffled
    ('data/batch_reading', 'known = where[rows]>=0', 'known = where[rows]>0', 'loader:within batch:row_order'), # the first row that was remembered is read from nowhere
    ('model/model_inputs', 'real[::width] = True', 'pass', 'model_inputs:without_any_token'), # an empty text has no window
    ('model/splitters', 'layer is None and name in new', 'False', 'splitters:new_weights'), # a new pooler is not in the head
    ('model/optimizer', 'weight_decay=0., no_decay=True', 'weight_decay=.1, no_decay=True', 'splitters:decay'), # decay of biases
    ('model/losses', 'self.n*self.steps/self.seen', 'self.n/self.seen', 'weights:big_batch'), # steps weigh less and less
    ('model/class_weights', 'if not 0<=w<', 'if not 0<w<', 'weights:weigh_nothing'), # a weight of 0 is refused
    ('model/token_scores', 'logits[at] += weights*(1-smoothing)', 'logits[at] += weights', 'causal_lm:written_over'), # another gradient of smoothed targets
    ('model/decisions', 'return logits*scale+bias', 'return logits*scale', 'decisions:by_hand'), # a calibration by label without its summands
    ('model/fast_dropout', '(a[part]*kept[part]).to(v.dtype).transpose', 'a[part].to(v.dtype).transpose', 'fast_dropout:formula'), # a gradient of values that knows no dropout
    ('predict/gathering', "np.argsort(idxs, kind='stable'))", 'idxs)', 'masked_lm:order_of_rows'), # predictions in another order than their rows
    ('predict/prediction_files', "facts['rows'],facts['sha256'])==(self.start, self.rows, file_hash(self.path))", "facts['rows'])==(self.start, self.rows)", 'prediction_files:damaged'), # a damaged part is taken
    ('predict/thresholds', 'np.lexsort([abs(cuts-.5), -scores])', 'np.lexsort([-abs(cuts-.5), -scores])', 'decisions:nearest_to_a_half'), # of equally good thresholds the one farthest from 0.5
    ('predict/conformal', 'round((n+1)*(1-alpha), 9)', 'round(n*(1-alpha), 9)', 'decisions:promise'), # sets that keep their promise less often
    ('train/training_state', "random.setstate(states['python'])", 'pass', 'checkpoints:random_numbers'), # another order after resuming
    ('train/epoch_weights', 'return max((k for k,v in sums.items()', 'return min((k for k,v in sums.items()', 'scores:equal_weights'), # the first of two equal epochs
    ('train/checkpoints', 'if self._shall_stop(): self._leave(self.epoch+1, 0)', 'if self._shall_stop(): self._leave(self.epoch, 0)', 'checkpoints:signals'), # an epoch is trained twice after Ctrl-C
    ('train/resume', 'if not found: return', 'return', 'checkpoints:other_things'), # a run goes on with other rows
    ('save/saved_facts', "has_sum = facts['format_version']>2 or told is not None", 'has_sum = told is not None', 'folders:sum_that_is_gone'), # a folder without its own sum is believed
    ('tasks/token_classification/tagged', "t[:2] in ('E-','S-')", "t[:2] in ('E-',)", 'token_classification:bio'), # an entity of one word goes on
    ('tasks/token_classification/sentences', 'np.lexsort([rank, -context, place])', 'np.lexsort([rank, context, place])', 'token_classification:two_windows'), # the window that knows least of a word
    ('tasks/token_classification/entity_metrics', '2*right/max(found+true, 1)', 'right/max(found+true, 1)', 'token_classification:seqevals'), # half the F1
    ('tasks/masked_lm/masking', 'kind<self.mask_share+self.random_share', 'kind<self.mask_share', 'masked_lm:shares'), # no random tokens
    ('tasks/multiple_choice/right_choice', "is_unclear = how=='choice' and choices.count(label)>1", 'is_unclear = False', 'multiple_choice:stands_twice multiple_choice:cannot_be_used'), # of two equal choices the first is right
    ('tasks/question_answering/decoding', 'float(null.min())', 'float(null.max())', 'question_answering:21_no_answer'), # "no answer" by the window that likes it most
    ('tasks/causal_lm/texts', 'kept = prompt[over:] or prompt[-1:]', 'kept = prompt[:-over] or prompt[-1:]', 'causal_lm:prompt_is_cut'), # a long prompt loses its end
    ('tasks/seq2seq/scores', 'scorer.score(sentences_of(r), sentences_of(w))', 'scorer.score(sentences_of(r), w)', 'seq2seq:rouge seq2seq:lsum'), # ROUGE-Lsum of one long sentence
    ('inspect/text_lengths', '(lens>limit).mean()', '(lens>=limit).mean()', 'inspection:plot_says'), # a text that just fits is told to be too long
    ('inspect/explain', 'found.sum(-1)[0]', 'found.abs().sum(-1)[0]', 'inspection:sum_to_the_difference'), # nothing speaks against
    ('inspect/slices', "{'(none)':np.union1d(res.get('(none)', missing), missing)}", "{'(none)':missing}", 'report:slices'), # rows that are called so themselves are lost
    ('inspect/label_results', '_mean(ratio(hits, true, np.nan))', '_mean(ratio(hits, true))', 'report:scikit_learn'), # labels that no row has lower the balanced accuracy
    ('inspect/compare', 'int((r.difference>0)!=less)', 'int(r.difference>0)', 'compare:less_perplexity'), # the higher loss is better
    ('inspect/uncertain', 'return 1-(first-second)', 'return 1-first', 'uncertain:plain_model'), # a margin that is a confidence
    ('support/cells', ' or v is pd.NA', '', 'multiple_choice:small_parts'), # `pd.NA` is a choice
    ('share/model_card', "re.sub(r'([\\\\`*\\[\\]<>&#|])'", "re.sub(r'([\\\\`*\\[\\]<&#|])'", 'hub:markup'), # a `>` in a card is not escaped
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
    files,names = zip(*(t.split(':') for t in tests.split()))
    args = [*(f'tests/test_{f}.py' for f in dict.fromkeys(files)), '-k', ' or '.join(names)]
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
