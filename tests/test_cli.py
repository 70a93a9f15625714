"`blurlike train`, `predict`, `report`, as a user types them."
import errno,importlib.util,io,json,os,shlex,subprocess,sys,tempfile
from contextlib import redirect_stderr,redirect_stdout
from pathlib import Path

import pandas as pd
import pytest

from blurlike.all import Checkpoints, TransformersLearner, gradio_app, token_classification_learner
from blurlike.cli import main
from blurlike.cli_arguments import read_arguments
from fresh import here
from small import COLUMNS, FRAMES, KINDS, TEXTS, learner, table

QUICK = ['--epochs', '1', '--lr', '1e-3', '--bs', '8']

def columns(kind): return [a for k,v in COLUMNS[kind].items() for a in (f'--{k}', *([v] if isinstance(v, str) else v))]

@pytest.mark.parametrize('kind', KINDS)
def test_each_kind(kind, bert, in_tmp, capsys):
    FRAMES[kind].to_json('data.jsonl', orient='records', lines=True)
    assert main(['train', 'data.jsonl', str(bert), *columns(kind), *QUICK, '--out', 'model'])==0
    out = capsys.readouterr().out
    assert '38 rows to train on, 10 to validate' in out and f'saved: {in_tmp/"model"}' in out
    head,row = out.splitlines()[-3:-1]
    assert head.split()[:3]==['epoch','train_loss','valid_loss']
    assert len(row.split())==len(head.split()) and row.split()[0]=='0'
    assert row.split()[1].count('.')==1
    assert main(['predict', 'model', 'data.jsonl'])==0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    learn = TransformersLearner.from_pretrained('model')
    assert printed==learn.predict_batch(FRAMES[kind]) and len(printed)==48
    assert main(['predict', 'model', 'data.jsonl', '--out', 'p.jsonl'])==0
    assert [json.loads(line) for line in open('p.jsonl')]==printed
    capsys.readouterr()
    assert main(['report', 'model', 'data.jsonl', '--rows', '3'])==0
    said = capsys.readouterr().out
    scores = learn.validate(dl=learn.dls.test_dl(FRAMES[kind], with_labels=True))
    assert said.startswith('48 rows: loss ') and f'{scores[1]:.4f}' in said and 'where it errs most' in said
    assert all(str(v) in said for v in learn.names) or kind=='regression'

CONLL = ''.join(f'{w} {"B-X" if w in ("great","awful") else "O"}\n' for t in TEXTS for w in [*t.split(), '']).replace('\n O\n', '\n\n')

def test_tags(bert, in_tmp, capsys):
    open('train.conll', 'w').write(CONLL)
    assert main(['train', 'train.conll', str(bert), '--task', 'token_classification', *QUICK, '--out', 'tagger'])==0
    assert 'labels: O, B-X' in capsys.readouterr().out
    assert main(['report', 'tagger', 'train.conll', '--rows', '2'])==0
    said = capsys.readouterr().out
    assert said.startswith('48 rows: loss ') and all(o in said for o in ('f1 ','precision','micro avg','errs most'))
    pd.DataFrame(dict(tokens=[t.split() for t in TEXTS[:3]])).to_json('new.jsonl', orient='records', lines=True)
    assert main(['predict', 'tagger', 'new.jsonl'])==0
    assert len(capsys.readouterr().out.splitlines())==3
    assert main(['predict', 'tagger', 'train.conll'])==0
    assert len(capsys.readouterr().out.splitlines())==48

def test_spans(bert, in_tmp, capsys):
    spans = [[dict(start=t.index(w), end=t.index(w)+len(w), label='X') for w in ('great','awful') if w in t] for t in TEXTS]
    pd.DataFrame(dict(text=TEXTS, spans=spans)).to_json('spans.jsonl', orient='records', lines=True)
    assert main(['train', 'spans.jsonl', str(bert), '--task', 'token_classification', '--words', 'text', '--tags', 'spans', *QUICK, '--out', 'tagger'])==0
    capsys.readouterr()
    assert main(['report', 'tagger', 'spans.jsonl', '--rows', '2'])==0
    assert capsys.readouterr().out.startswith('48 rows: loss ')

def test_gaps(bert, in_tmp, capsys, monkeypatch):
    open('corpus.txt', 'w').write('\n'.join(TEXTS))
    assert main(['train', 'corpus.txt', str(bert), '--task', 'masked_lm', '--block-size', '16', *QUICK, '--out', 'lm'])==0
    monkeypatch.setattr(sys, 'stdin', io.StringIO('the film was [MASK]\n'))
    capsys.readouterr()
    assert main(['predict', 'lm', '-'])==0
    assert json.loads(capsys.readouterr().out)[0]['token_str']
    FRAMES['single'].to_csv('held.csv')
    assert main(['train', 'held.csv', 'lm', *QUICK, '--out', 'classifier'])==0 # its folder is a checkpoint

def test_standard_input_and_other_columns(bert, in_tmp, capsys, monkeypatch):
    FRAMES['single'].rename(columns=dict(text='review')).to_csv('data.csv', index=False)
    assert main(['train', 'data.csv', str(bert), '--text', 'review', *QUICK, '--out', 'm', '--log', 'log.csv'])==0
    assert open('log.csv').read().startswith('epoch,train_loss')
    capsys.readouterr()
    monkeypatch.setattr(sys, 'stdin', io.StringIO('a great film\nan awful one\n'))
    assert main(['predict', 'm', '-'])==0
    expected = TransformersLearner.from_pretrained('m').predict_batch(['a great film','an awful one'])
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()]==expected
    monkeypatch.setattr(sys, 'stdin', io.StringIO('\ufeffa great film\nan awful one\n'))
    assert main(['predict', 'm', '-'])==0 # as some editors and shells begin a text
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()]==expected
    FRAMES['single'].rename(columns=dict(text='body', label='review')).to_csv('other.csv', index=False) # a column of the learner's name that is another
    assert main(['predict', 'm', 'other.csv', '--text', 'body', '--out', 'p.parquet'])==0
    assert pd.read_parquet('p.parquet').to_dict('records')==TransformersLearner.from_pretrained('m').predict_batch(TEXTS)

@pytest.mark.parametrize('n,steps', [(24, 40), (200, 40), pytest.param(400, 80, marks=pytest.mark.slow), pytest.param(1000, 100, marks=pytest.mark.slow)])
def test_the_finder_goes_through_few_rows_twice(n, steps, bert, in_tmp, capsys, monkeypatch):
    table('single', n).to_csv('data.csv', index=False)
    find,seen = TransformersLearner._lr_find,[]
    def found(self, *args, **kwargs):
        res = find(self, *args, **kwargs)
        seen.append((len(self.recorder.losses), len(self.dls.train), res.valley))
        return res
    monkeypatch.setattr(TransformersLearner, '_lr_find', found)
    monkeypatch.setattr(TransformersLearner, 'fit_one_cycle', lambda self, n, lr, cbs=None: seen.append(lr))
    assert main(['train', 'data.csv', str(bert), '--bs', '8', '--out', 'm'])==0
    (taken,batches,valley),lr = seen
    assert steps-10<=taken<=steps and steps==min(100, max(40, 2*batches)) and 1e-7<lr<1, 'it may stop early, when the loss explodes'
    out = capsys.readouterr().out
    assert f'in at most {steps} steps' in out and (lr==valley)==('as the finder suggests' in out)

def test_a_run_goes_on(bert, in_tmp, capsys, monkeypatch):
    FRAMES['single'].to_csv('data.csv')
    common = ['train', 'data.csv', str(bert), '--epochs', '3', '--lr', '1e-3', '--checkpoints', 'run', '--out', 'm']
    assert main([*common[:-3], 'whole', '--out', 'm0'])==0
    after = Checkpoints.after_epoch
    def killed(self):
        after(self)
        if self.epoch==1: raise KeyboardInterrupt
    monkeypatch.setattr(Checkpoints, 'after_epoch', killed)
    assert main(common)==130
    monkeypatch.setattr(Checkpoints, 'after_epoch', after)
    assert main([*common, '--resume'])==0
    assert (in_tmp/'m'/'model.safetensors').read_bytes()==(in_tmp/'m0'/'model.safetensors').read_bytes()

@pytest.mark.parametrize('argv,said', [
    (['train', 'nowhere.csv', 'x', '--out', 'm'], 'nowhere.csv'),
    (['train', 'data.csv', 'CHECKPOINT', '--label', 'stars', '--out', 'm'], 'stars'),
    (['train', 'data.csv', 'CHECKPOINT', '--words', 'text', '--out', 'm'], '--words: not for --task sequence_classification'),
    (['train', 'data.csv', 'CHECKPOINT', '--resume', '--out', 'm'], '--resume needs --checkpoints'),
    (['predict', 'CHECKPOINT', 'data.csv'], 'blurlike.json'),
    (['predict', 'nowhere', 'data.csv'], 'nowhere'),
    (['predict', 'MODEL', 'data.csv', '--text', 'body'], 'column body is not in'),
    (['predict', 'MODEL', 'data.csv', '--text', 'text', 'label'], '--text names 2 columns'),
    (['predict', 'MODEL', 'data.csv', '--out', 'p.txt'], 'p.txt'),
    (['report', 'MODEL', 'unlabelled.csv'], 'label')])
def test_errors_are_one_line(argv, said, bert, in_tmp, capsys):
    FRAMES['single'].to_csv('data.csv', index=False)
    FRAMES['single'][['text']].to_csv('unlabelled.csv', index=False)
    if 'MODEL' in argv: main(['train', 'data.csv', str(bert), *QUICK, '--out', 'model'])
    capsys.readouterr()
    argv = [str(bert) if a=='CHECKPOINT' else 'model' if a=='MODEL' else a for a in argv]
    assert main(argv)==2
    err = capsys.readouterr().err.strip().splitlines()
    assert said in err[-1] and err[-1].startswith('blurlike: ') and not any('Traceback' in line for line in err)
    with pytest.raises(Exception): main(['--traceback', *argv])

@pytest.mark.parametrize('argv,said', [
    (['--out', '.'], 'holds other things'), (['--out', 'data.csv'], 'is a file'), (['--out', ''], 'name of the folder is empty'), (['--out', 'data.csv/m'], 'is a file'),
    (['--out', 'CHECKPOINT'], 'holds other things'), (['--out', 'm', '--log', 'm/log.csv'], '--log m/log.csv lies in --out m'), (['--out', 'm', '--checkpoints', './m'], '--checkpoints ./m lies in --out m')])
def test_nothing_is_trained_that_could_not_be_saved(argv, said, bert, in_tmp, capsys, monkeypatch):
    FRAMES['single'].to_csv('data.csv', index=False)
    monkeypatch.setattr(TransformersLearner, 'fit_one_cycle', lambda *args, **kwargs: pytest.fail('it was trained'))
    before = sorted(bert.iterdir())
    assert main(['train', 'data.csv', str(bert), *QUICK, *[str(bert) if a=='CHECKPOINT' else a for a in argv]])==2
    assert said in capsys.readouterr().err
    assert [p.name for p in in_tmp.iterdir()]==['data.csv']
    assert sorted(bert.iterdir())==before

def test_what_is_the_users_stays(bert, in_tmp):
    FRAMES['single'].to_csv('data.csv', index=False)
    argv = ['train', 'data.csv', str(bert), *QUICK, '--out', 'm']
    assert main(argv)==0
    open('m/notes.txt', 'w').write('mine')
    os.makedirs('m/plots')
    open('m/plots/a.svg', 'w').write('<svg/>')
    os.symlink('nowhere', 'm/link')
    assert main(['predict', 'm', 'data.csv', '--out', 'm/p.jsonl'])==0 and main(argv)==0
    assert open('m/notes.txt').read()=='mine' and open('m/plots/a.svg').read()=='<svg/>'
    assert len(open('m/p.jsonl').readlines())==48 and os.readlink('m/link')=='nowhere'
    TransformersLearner.from_pretrained('m')
    open('m/extra.json', 'w').write('{}') # transformers might read it: neither deleted nor taken along
    assert main(argv)==2 and os.path.exists('m/extra.json')

@pytest.mark.parametrize('argv', [['--epochs', '0'], ['--epochs', '-1'], ['--epochs', 'x'], ['--lr', '0'], ['--lr', '-1'], ['--lr', 'nan'], ['--lr', 'inf'], ['--bs', '0'], ['--steps', '0']])
def test_numbers_that_train_nothing(argv, capsys):
    with pytest.raises(SystemExit) as e: main(['train', 'data.csv', 'x', '--out', 'm', *argv])
    assert e.value.code==2 and f"argument {argv[0]}: '{argv[1]}': a" in capsys.readouterr().err
    for other in (['predict', 'm', 'd.csv', '--bs', '0'], ['report', 'm', 'd.csv', '--rows', '-1']):
        with pytest.raises(SystemExit): main(other)

def test_a_run_is_resumed_as_it_was_begun(bert, in_tmp, capsys):
    FRAMES['single'].to_csv('data.csv')
    common = ['train', 'data.csv', str(bert), '--checkpoints', 'run', '--out', 'm']
    assert main([*common, '--epochs', '1', '--lr', '1e-3', '--steps', '4'])==0
    for more in (['--epochs', '5'], ['--lr', '1e-4'], ['--steps', '9']):
        assert main([*common, '--resume', *more])==2
        assert f'was begun with {more[0]} ' in capsys.readouterr().err
    for more in ([], ['--epochs', '1', '--lr', '1e-3', '--steps', '4']): assert main([*common, '--resume', *more])==0
    settings = json.loads(Path('run/run.json').read_text())
    settings['settings']['steps'] = None
    Path('run/run.json').write_text(json.dumps(settings))
    assert main([*common, '--resume', '--steps', '4'])==2 and 'was begun without --steps' in capsys.readouterr().err

def test_pairs_have_two_texts(bert, in_tmp, capsys, monkeypatch):
    FRAMES['pair'].to_csv('pairs.csv', index=False)
    assert main(['train', 'pairs.csv', str(bert), *columns('pair'), *QUICK, '--out', 'm'])==0
    for argv,said in ((['-'], 'this model reads several columns: give a file with one, two'), (['-', '--text', 'one', 'two'], '--text names columns of a file')):
        monkeypatch.setattr(sys, 'stdin', io.StringIO('just one\n'))
        assert main(['predict', 'm', *argv])==2
        assert said in capsys.readouterr().err
    learn = TransformersLearner.from_pretrained('m')
    with pytest.raises(TypeError, match=r"expected a pair of texts \(one, two\), got one text: 'just one'"): learn.predict('just one')
    with pytest.raises(TypeError, match='item 1: expected a pair of texts'): learn.predict_batch([('a', 'b'), 'just one'])
    with pytest.raises(TypeError, match='pair of texts'): learn.predict_batch(pd.Series(['just one']))
    assert learn.predict(['a', 'b'])[2].tolist()==learn.predict(('a', 'b'))[2].tolist()
    with pytest.raises(ValueError, match='bs=0'): learn.predict_batch([('a', 'b')], bs=0)

def test_lists_in_a_csv_are_asked_about(bert, in_tmp, capsys):
    FRAMES['multi'].to_csv('data.csv', index=False)
    argv = ['train', 'data.csv', str(bert), '--label', 'tags', *QUICK, '--out', 'm']
    for more in ([], ['--problem-type', 'multi_label_classification']):
        assert main([*argv, *more])==2
        err = capsys.readouterr().err
        assert "column 'tags'" in err and "'sure']" in err and 'jsonl or parquet' in err and 'literal_eval' in err
    assert main([*argv, '--problem-type', 'single_label_classification', '--valid', '0.1'])==0 # one who means it

@pytest.mark.slow
def test_entities_are_whole_words(bert, in_tmp, capsys):
    learn = token_classification_learner([dict(tokens=t.split(), tags=['B-X' if i%3==0 else 'O' for i,_ in enumerate(t.split())]) for t in TEXTS], bert, bs=8)
    learn.model.classifier.weight.data.normal_(0, 5) # each token is of another opinion
    learn.save_pretrained('tagger')
    texts = ['Xylophones fascinate Quincy', 'unwieldy, jazzy quilts']
    pd.DataFrame(dict(tokens=texts)).to_csv('new.csv')
    def found(*argv):
        assert main(['predict', 'tagger', 'new.csv', *argv])==0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    def whole(rows): return all(not t[e['start']-1:e['start']+1].isalpha() or e['start']==0 for t,es in zip(texts, rows) for e in es) and all(not t[e['end']-1:e['end']+1].isalpha() or e['end']==len(t) for t,es in zip(texts, rows) for e in es)
    assert whole(found()) and found()==learn.predict_batch(texts) and any(found())
    assert not whole(found('--aggregation', 'simple'))
    main(['predict', 'tagger', 'new.csv', '--out', 'p.jsonl'])
    assert [json.loads(line) for line in open('p.jsonl')]==learn.predict_batch(texts)
    if importlib.util.find_spec('gradio'): assert whole([gradio_app(learn).fn(t)['entities'] for t in texts])

def _report(df, *argv): # what it prints, or says
    df.to_csv('test.csv', index=False)
    out,err = io.StringIO(),io.StringIO()
    with redirect_stdout(out), redirect_stderr(err): rc = main(['report', 'm', 'test.csv', '--rows', '0', *argv])
    return out.getvalue() if rc==0 else err.getvalue().strip().splitlines()[-1]

def test_a_report_of_odd_files(bert, in_tmp):
    df = FRAMES['single']
    df.to_csv('data.csv', index=False)
    assert main(['train', 'data.csv', str(bert), *QUICK, '--out', 'm'])==0
    whole = _report(df)
    assert whole.startswith('48 rows')
    assert _report(df.rename(columns=dict(text='body', label='stars')), '--text', 'body', '--label', 'stars')==whole
    assert _report(df.rename(columns=dict(label='text', text='body')), '--text', 'body', '--label', 'text')==whole # names that change places
    for bad,said in ((df.rename(columns=dict(text='body')), "column text is not in 'test.csv', which has body, label; --text says which"), (df[['text']], '--label says which'),
        (df.assign(label=[*df.label[:3], None, *df.label[4:]]), "column 'label' has no label in row 3"),
        (df.assign(label=[*df.label[:3], 'great', *df.label[4:]]), "column 'label', row 3: 'great' is no label of this model, which knows bad, fine, good")):
        assert said in _report(bad)
    with pytest.warns(UserWarning, match="column 'text': empty text in row 0"): assert _report(df.assign(text=[None, *df.text[1:]])).startswith('48 rows')

@pytest.mark.parametrize('labels,seen', [(['1','2','3+'], ['1','2']), *(pytest.param(*o, marks=pytest.mark.slow) for o in (([1,2,3], ['1','2','x']), ([True,False], [True,False]), ([0,1,2], [0.,1.])))])
def test_labels_are_those_of_the_model_however_a_file_is_read(labels, seen, bert, in_tmp):
    df = FRAMES['single'].assign(label=lambda d: [labels[i%len(labels)] for i in range(len(d))])
    df.to_csv('data.csv', index=False)
    assert main(['train', 'data.csv', str(bert), *QUICK, '--out', 'm'])==0
    fewer = df[df.label.isin(labels[:2])]
    assert _report(fewer).startswith(f'{len(fewer)} rows')
    if seen[-1]=='x': assert "'x' is no label" in _report(df.assign(label=df.label.map(dict(zip(labels, seen)))))
    else: assert _report(fewer.assign(label=fewer.label.map(dict(zip(labels, seen)))))==_report(fewer)

def test_a_label_is_as_it_is_spelled(bert, in_tmp):
    "A file with `1.10` alone would read as numbers, and 1.1 is another label of the model."
    df = FRAMES['single'].assign(label=lambda d: d.label.map(dict(bad='1.10', fine='1.1', good='2')))
    learn = learner('single', bert, df)
    learn.save_pretrained('m')
    test = df[df.label=='1.10'].assign(text=[str(10+i) for i in range((df.label=='1.10').sum())]) # texts of digits are texts
    test.to_csv('test.csv', index=False)
    loss = learn.validate(dl=learn.dls.test_dl(test, with_labels=True))[0]
    assert f'loss {loss:.4f}' in _report(test)
    assert main(['predict', 'm', 'test.csv'])==0

def test_a_report_of_lists(bert, in_tmp):
    FRAMES['multi'].to_json('data.jsonl', orient='records', lines=True)
    assert main(['train', 'data.jsonl', str(bert), *columns('multi'), *QUICK, '--out', 'm'])==0
    assert "column 'tags' must hold lists of labels; rows 0, 1, 2" in _report(FRAMES['multi'])
    FRAMES['multi'].to_parquet('data.parquet')
    for name in ('data.jsonl','data.parquet'): assert main(['report', 'm', name, '--rows', '0'])==0
    FRAMES['multi'].assign(tags=[['bad','new']]*48).to_json('data.jsonl', orient='records', lines=True)
    assert main(['report', 'm', 'data.jsonl'])==2

def test_help_teaches(capsys):
    for argv in (['--help'], ['train', '--help'], ['predict', '--help'], ['report', '--help']):
        with pytest.raises(SystemExit) as e: main(argv)
        out = capsys.readouterr().out
        assert e.value.code==0 and 'example' in out and 'blurlike ' in out
    with pytest.raises(SystemExit): main([])

def test_examples_in_the_help_are_read():
    from blurlike.cli_arguments import EXAMPLES, read_arguments
    lines = [shlex.split(line.split('|')[-1]) for line in EXAMPLES.splitlines() if 'blurlike ' in line]
    assert len(lines)==9
    for line in lines: read_arguments(line[1:])

def test_help_is_quick():
    "It does not wait for torch."
    assert subprocess.run([sys.executable, '-m', 'blurlike', '--help'], capture_output=True, text=True, timeout=120, env=here()).stdout.startswith('usage: blurlike')
    r = subprocess.run([sys.executable, '-c', 'import sys; from blurlike.cli import main\ntry: main(["--help"])\nexcept SystemExit: print("torch" in sys.modules)'], capture_output=True, text=True, timeout=120)
    assert r.stdout.strip().endswith('False')

def test_paths_are_looked_at_before_anything_is_loaded(in_tmp, capsys):
    (in_tmp/'data.csv').write_text('text\na\n')
    for args,said in ((['predict', 'model', 'nothere.csv'], "'nothere.csv' does not exist"), (['train', 'nothere.csv', 'model', '--out', 'x'], "'nothere.csv' does not exist"),
            (['predict', 'model', 'data.csv', '--out', 'p.txt'], 'p.txt: predictions are written as .parquet, .jsonl or .csv')):
        code = f"import sys; from blurlike.cli import main; assert main({args!r})==2 and 'torch' not in sys.modules"
        got = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=in_tmp, env=here())
        assert got.returncode==0 and said in got.stderr, got.stderr

def test_an_option_that_is_a_dict_is_json(checkpoints, in_tmp, capsys):
    FRAMES['summaries'].to_csv('data.csv', index=False)
    command = ['train', 'data.csv', str(checkpoints('bart')), '--task', 'seq2seq', '--source', 'source', '--target', 'target', *QUICK, '--out', 'm']
    assert main([*command, '--generate', '{"num_beams": 3}'])==0
    assert TransformersLearner.from_pretrained('m').model.generation_config.num_beams==3
    with pytest.raises(SystemExit): main([*command, '--generate', 'num_beams=3'])
    assert "'num_beams=3' is no JSON" in capsys.readouterr().err

@pytest.mark.parametrize('vocab', [['bad','good','fine','odd'], ['["bad","good","fine","odd"]']])
def test_all_labels_are_named(vocab, bert, in_tmp):
    FRAMES['single'].to_csv('data.csv', index=False)
    assert main(['train', 'data.csv', str(bert), *QUICK, '--gradient-checkpointing', '--out', 'm', '--vocab', *vocab])==0
    assert TransformersLearner.from_pretrained('m').names==['bad','good','fine','odd']

def test_labels_of_the_vocab_are_read_as_those_of_a_file():
    def read(*vocab): return read_arguments(['train', 'd.csv', 'c', '--out', 'm', '--vocab', *vocab]).vocab
    assert read('1', '01', 'a', '-1')==[1, '01', 'a', '-1'] and read('["1", 2]')==[['1', 2]]
    with pytest.raises(SystemExit): read('["a"')

def test_what_is_written_may_be_drawn(checkpoints, in_tmp, capsys, monkeypatch):
    learner('prompts', checkpoints('gpt2')).save_pretrained('m')
    def draw(*more):
        monkeypatch.setattr('sys.stdin', io.StringIO('once upon a time\n'*3))
        assert main(['predict', 'm', '-', '--max-new-tokens', '8', *more])==0
        return capsys.readouterr().out
    drawn = draw('--temperature', '3', '--top-p', '.99', '--seed', '1')
    assert drawn==draw('--temperature', '3', '--top-p', '.99', '--seed', '1')!=draw()

def test_an_argument_that_is_no_option_belongs_to_no_task(bert, in_tmp, capsys):
    FRAMES['single'].to_csv('data.csv', index=False)
    with pytest.raises(SystemExit): main(['train', 'data.csv', str(bert), *QUICK, '--peft', 'x', '--out', 'm'])
    said = capsys.readouterr().err
    assert 'unrecognized arguments: --peft x' in said and 'belong to' not in said and 'did you mean' not in said

def test_what_a_task_alone_takes_is_an_option(capsys):
    def read(task, *more): return vars(read_arguments(['train', 'd', 'm', '--out', 'o', '--task', task, *more]))
    told = read('token_classification', '--repair', '--label-all-tokens', '--align-spans', 'expand', '--overlap', '8')
    assert told['repair'] is told['label_all_tokens'] is True and told['align_spans']==['expand'] and told['overlap']==8
    assert read('question_answering', '--max-answer-length', '5')['max_answer_length']==[5]
    assert read('masked_lm', '--whole-word', '--mlm-probability', '.3')['mlm_probability']==[.3]
    for odd,owner in (('--repair', 'token_classification'), ('--max-answer-length=5', 'question_answering')):
        with pytest.raises(SystemExit): read('sequence_classification', odd)
        assert f'(they belong to --task {owner})' in capsys.readouterr().err

@pytest.mark.parametrize('argv,meant', [(['train', 'data.csv', 'x', '--lable', 'a', '--out', 'm'], '--label'), (['train', 'data.csv', 'x', '--out', 'm', '--epoch-s=3'], '--epochs'),
    (['predict', 'm', 'data.csv', '--treshold', '.4'], '--threshold'), (['report', 'm', 'data.csv', '--row', '3', '--texts', 'a'], '--text')])
def test_a_misspelt_option_is_told_with_one_like_it(argv, meant, capsys):
    with pytest.raises(SystemExit): main(argv)
    assert f'did you mean {meant}?' in capsys.readouterr().err

def test_an_option_that_is_like_none_is_told_alone(capsys):
    for name in ('--qqq','--column','--gradient-accumulation'): # not --out
        with pytest.raises(SystemExit): main(['predict', 'm', 'data.csv', name, '4'])
        assert 'did you mean' not in capsys.readouterr().err

def test_slices_are_of_the_files_own_column(bert, in_tmp, capsys):
    FRAMES['single'].to_csv('data.csv', index=False)
    assert main(['train', 'data.csv', str(bert), *QUICK, '--out', 'model'])==0
    FRAMES['single'].rename(columns=dict(label='gold')).assign(label=['a','b']*24).to_csv('other.csv', index=False)
    capsys.readouterr()
    assert main(['report', 'model', 'other.csv', '--label', 'gold', '--by', 'label', '--rows', '0'])==0
    out = capsys.readouterr().out
    assert 'label' in out and all(any(line.split()[:2]==[part,'24'] for line in out.splitlines()) for part in 'ab'), out

def test_options_that_cannot_be_are_told_at_once(bert, in_tmp, capsys):
    rows = pd.DataFrame(dict(text=TEXTS))
    rows.to_csv('texts.csv', index=False)
    for args in (['train',str(bert),'texts.csv','--out','gaps'], ['train','some/name','texts.csv','--out','gaps'], ['predict','texts.csv','gaps'], ['report','texts.csv','gaps']):
        assert main(args)==2 and 'texts.csv is a file' in (err := capsys.readouterr().err) and 'swapped?' in err
    assert main(['train', 'texts.csv', str(bert), '--task', 'masked_lm', *QUICK, '--out', 'gaps'])==0
    FRAMES['pair'].to_csv('pairs.csv', index=False)
    assert main(['train', 'pairs.csv', str(bert), *columns('pair'), *QUICK, '--out', 'pairs'])==0
    Path('file').write_text('x')
    for args,said in ((['report','gaps','texts.csv','--label','nothing'], '--label: the targets of masked_lm are in the texts'),
            (['predict','pairs','pairs.csv','--text','one','one'], "column 'one' is named twice"),
            (['train','texts.csv',str(bert),'--out','new','--log','.'], '--log . is a folder'),
            (['train','texts.csv',str(bert),'--out','new','--checkpoints','file'], '--checkpoints file is a file')):
        assert main(args)==2 and said in capsys.readouterr().err

def test_a_place_that_takes_no_folder_is_told_before_training(bert, in_tmp, capsys, monkeypatch):
    FRAMES['single'].to_csv('data.csv', index=False)
    def refuse(*args, **kwargs): raise OSError(errno.EROFS, 'Read-only file system', 'xyz') # to one who may write everywhere, too
    monkeypatch.setattr(tempfile, 'mkdtemp', refuse)
    assert main(['train', 'data.csv', str(bert), *QUICK, '--out', 'new/m'])==2
    out,err = capsys.readouterr()
    assert f"no folder can be made in {str(in_tmp)!r} (Read-only file system)" in err and 'rows to train on' not in out

def test_a_log_takes_the_place_of_no_other_file(bert, in_tmp, capsys):
    FRAMES['single'].to_csv('data.csv', index=False)
    before = open('data.csv').read()
    argv = ['train', 'data.csv', str(bert), *QUICK, '--out', 'm']
    assert main([*argv, '--log', 'data.csv'])==2 and 'is no epoch table' in capsys.readouterr().err and open('data.csv').read()==before
    assert main([*argv, '--log', 'log.csv'])==0 and main([*argv, '--log', 'log.csv'])==0 # one of an earlier run
    assert main([*argv, '--checkpoints', 'run', '--log', 'run/log.csv'])==2 and 'lies in --checkpoints' in capsys.readouterr().err
    assert not os.path.exists('run')

def test_a_run_begins_in_no_folder_of_another(bert, in_tmp, capsys):
    FRAMES['single'].to_csv('data.csv', index=False)
    argv = ['train', 'data.csv', str(bert), *QUICK, '--out', 'm', '--checkpoints', 'run']
    assert main(argv)==0
    capsys.readouterr()
    assert main(argv)==2
    out,err = capsys.readouterr()
    assert '--resume goes on with it' in err and 'rows to train on' not in out # before anything was loaded

def test_options_of_a_task_may_come_first():
    from blurlike.cli import read_arguments
    args = read_arguments(['train', '--task', 'seq2seq', '--source', 'dialogue', '--out', 'q', 'data.jsonl', 'checkpoint'])
    assert (args.data, args.checkpoint, args.source)==('data.jsonl', 'checkpoint', ['dialogue'])

def test_entities_are_asked_of_taggers_alone(bert, in_tmp, capsys):
    FRAMES['single'].to_csv('data.csv', index=False)
    learner('single', bert).save_pretrained('m')
    assert main(['predict', 'm', 'data.csv', '--aggregation', 'first'])==2
    assert '--aggregation is not for this model' in capsys.readouterr().err

@pytest.mark.slow
@pytest.mark.parametrize('held', [0,1_000_000])
def test_whoever_reads_may_have_enough(held, bert, in_tmp):
    "Whether it is written piece by piece, or at the end (`held`: bytes that wait; 131,072 in Python 3.14, 8,192 before)."
    pd.concat([FRAMES['single']]*40).to_csv('data.csv', index=False)
    learner('single', bert).save_pretrained('m')
    code = f"import io,sys; sys.stdout = io.TextIOWrapper(open(1, 'wb', {held or -1})); from blurlike.cli import main; sys.exit(main(['predict', 'm', 'data.csv']))"
    with subprocess.Popen([sys.executable, '-c', code], env=here(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        p.stdout.readline()
        p.stdout.close()
        err = p.stderr.read()
    assert p.returncode==141 and 'Errno' not in err and 'Exception' not in err, err

@pytest.mark.slow
@pytest.mark.parametrize('argv', [['train','data.csv','CHECKPOINT',*QUICK,'--out','n'], ['predict','m','data.csv','--out','p.jsonl']], ids=['train','predict'])
def test_a_file_is_written_though_nobody_reads_on(argv, bert, in_tmp):
    FRAMES['single'].to_csv('data.csv', index=False)
    learner('single', bert).save_pretrained('m')
    argv = [str(bert) if a=='CHECKPOINT' else a for a in argv]
    with subprocess.Popen([sys.executable, '-m', 'blurlike', *argv], env=here(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        p.stdout.close()
        err = p.stderr.read()
    assert p.returncode==0 and 'Errno' not in err and (in_tmp/argv[-1]).exists(), err

def test_without_a_standard_output(bert, in_tmp, monkeypatch):
    table('single').to_csv('rows.csv', index=False)
    monkeypatch.setattr(sys, 'stdout', None)
    assert main(['train', 'rows.csv', str(bert), *columns('single'), *QUICK, '--out', 'm'])==0
    assert main(['predict', 'm', 'rows.csv', *columns('single')[:2]])==main(['report', 'm', 'rows.csv'])==0

def test_errors_name_what_a_command_line_has(trained, in_tmp, capsys, monkeypatch):
    trained('single').save_pretrained('m')
    pd.DataFrame(dict(text=[f'{t} {i}' for i,t in enumerate(TEXTS*60)][:60], label=FRAMES['single'].label[0])).to_csv('d.csv', index=False)
    for argv,said in ((['predict', 'm', '-', '--num-beams', '3'], '--num-beams is not for this model'), (['predict', 'm', '-', '--sets'], 'in Python, call `learn.conformal'),
        (['report', 'm', 'd.csv', '--by', 'text'], 'add one to the file that has fewer')):
        monkeypatch.setattr('sys.stdin', io.StringIO('great'))
        assert main(argv)==2
        assert said in capsys.readouterr().err
