"Long work outside of training draws a progress bar, in terminal and notebook; within `no_bar` none."
import io,itertools,json,re,sys,warnings

import fastprogress.fastprogress as fp
import numpy as np
import pytest
import tqdm.std
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from transformers.utils import logging

import blurlike.inspect.first_look as first_look
import blurlike.support.progress as module
from blurlike.all import Progress, TransformersDL, TransformersLearner, late_bars, masked_lm_learner, no_bars, scratch_checkpoint, token_classification_learner
from blurlike.train.progress_bars import _Rows
from small import BS, TEXTS, first, learner, table

@pytest.fixture
def bars(monkeypatch):
    "What is drawn, in a terminal of ours that shows each bar at once."
    drawn = []
    monkeypatch.setattr(Progress.__init__, '__defaults__', (True, 0.))
    monkeypatch.setattr(fp, 'WRITER_FN', lambda s, **kwargs: drawn.append(s))
    monkeypatch.setattr(module, 'IN_NOTEBOOK', False)
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True, raising=False)
    yield drawn
    assert Progress._open==Progress._off==0

def counts(drawn): return [s.split('[')[1].split()[0] for s in drawn]

def tagger(bert):
    rows = [dict(tokens=t.split(), tags=['B-X' if w in ('great','awful') else 'O' for w in t.split()]) for t in TEXTS]
    return token_classification_learner(rows, bert, bs=BS, valid=.25)

def gaps(bert): return masked_lm_learner([dict(text=t) for t in TEXTS], bert, bs=BS, valid=.25)

JOBS = dict(labels=(lambda c: learner('single', c), lambda learn: learn.predict_batch(TEXTS, bs=8)),
    tags=(tagger, lambda learn: learn.predict_batch(TEXTS, bs=8)),
    gaps=(gaps, lambda learn: learn.predict_batch([f'{t} [MASK]' for t in TEXTS], bs=8)),
    file=(lambda c: learner('single', c), lambda learn: learn.predict_batch(TEXTS*20, bs=8, out='out.jsonl')))

@pytest.mark.parametrize('job', JOBS)
def test_predictions(job, bert, bars, in_tmp):
    make,run = JOBS[job]
    learn = make(bert)
    bars.clear()
    run(learn)
    assert bars, 'no bar was drawn'
    total = counts(bars)[0].split('/')[1]
    assert total==('2' if job=='file' else str(len(TEXTS)))
    assert [int(c.split('/')[0]) for c in counts(bars)]==sorted(int(c.split('/')[0]) for c in counts(bars))
    assert all(c.endswith(f'/{total}') for c in counts(bars)), 'a bar inside of another'

@pytest.mark.parametrize('job', JOBS)
def test_no_bar(job, bert, bars, in_tmp):
    make,run = JOBS[job]
    learn = make(bert)
    bars.clear()
    with learn.no_bar(): run(learn)
    assert not bars

EXPLAINED = dict(labels=(lambda c: learner('single', c), dict(labels=['bad','good'])), windows=(lambda c: learner('single', c, max_length=10, overlap=2), {}), tags=(tagger, dict(words=[0,1])))

@pytest.mark.parametrize('method', ['occlusion','integrated_gradients'])
@pytest.mark.parametrize('job', EXPLAINED)
def test_explain(job, method, bert, bars, monkeypatch):
    make,kwargs = EXPLAINED[job]
    learn = make(bert)
    def explain(): return learn.explain('the film was great but the food was cold and we left early', method=method, steps=20, bs=4, **kwargs)
    left = []
    def leave(bar, *args):
        left.append((bar.done, bar.total))
        Progress._open -= 1
    monkeypatch.setattr(Progress, '__exit__', leave)
    bars.clear()
    told = explain()
    (done,total), = left
    assert bars and done==total>20
    bars.clear()
    with learn.no_bar(): again = explain()
    assert not bars and all((a['words']==b['words']).all() for a,b in zip(told.rows, again.rows))

def test_lengths(bert, bars):
    dl = learner('single', bert, data=table('single', 4000)).dls.train
    assert dl.lengths(show=False).sum()>3000 and not bars
    dl._lengths = None,None
    dl.lengths()
    assert counts(bars)[0]=='0/3000' and len(bars)>1 and all(c.endswith('/3000') for c in counts(bars))

@pytest.mark.parametrize('call', ['validate','get_preds'])
def test_the_learner_asks_for_it(call, bert, monkeypatch):
    learn,asked = learner('single', bert),[]
    monkeypatch.setattr(TransformersDL, '_measures', lambda dl, show: asked.append(show) or np.tile(np.arange(dl.n), (3, 1)))
    getattr(learn, call)()
    with learn.no_bar(): getattr(learn, call)()
    assert asked==[True, False]

def test_corpus(bert, bars, in_tmp):
    (in_tmp/'corpus.txt').write_text('\n'.join(TEXTS*60))
    masked_lm_learner(in_tmp/'corpus.txt', bert, block_size=32, bs=BS)
    assert counts(bars)[-1].endswith(f'/{len(TEXTS)*60}')

def test_none_of_the_loaders_within_no_bar(bert, bars):
    learn = learner('single', bert, data=table('single', 4000))
    with learn.no_bar():
        learn.dls.plot_lengths()
        learn.dls.train.lengths()
    assert not bars and hasattr(learn, 'progress')
    learn.dls.plot_lengths()
    assert counts(bars)[-1].endswith('/3000')

def test_none_while_blocks_are_packed(bert, bars, in_tmp):
    (in_tmp/'corpus.txt').write_text('\n'.join(TEXTS*60))
    with no_bars():
        with no_bars(): pass
        assert drawn(lambda: masked_lm_learner(in_tmp/'corpus.txt', bert, block_size=32, bs=BS))=='' and not bars
    with pytest.raises(ZeroDivisionError), no_bars(): 1/0

@pytest.mark.parametrize('rows,total', [(100_000,4000), (1500,1500+1000+3000)])
def test_check(rows, total, bert, bars):
    learn = learner('single', bert, data=table('single', 4000))
    with learn.no_bar(): without = learn.check(rows=rows)
    assert not bars
    report,seen = learn.check(rows=rows),counts(bars)
    assert repr(report)==repr(without) and len(seen)>1
    assert all(c.endswith(f'/{total}') for c in seen)
    assert [int(c.split('/')[0]) for c in seen]==sorted(int(c.split('/')[0]) for c in seen)

def test_no_bar_for_the_first_look(bert, bars):
    learn = learner('single', bert, data=table('single', 4000))
    first_look._worries(learn)
    assert not bars

def test_same_predictions(bert, bars):
    learn = learner('single', bert)
    with learn.no_bar(): without = learn.predict_batch(TEXTS, bs=8)
    assert learn.predict_batch(TEXTS, bs=8)==without

def test_interrupted(bars):
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), Progress(9) as bar:
            bar.step()
            raise error
        assert bar.drawn is not None and Progress._open==0

def test_short_work_shows_none(bars):
    with Progress(1000, delay=60) as bar:
        for _ in range(1000): bar.step()
    assert not bars
    with Progress(0) as bar: pass
    with Progress(1) as bar: bar.step()
    assert not bars

def test_not_into_files(bars, monkeypatch):
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: False)
    with Progress(9) as bar: bar.step()
    assert not bars

def test_in_a_notebook(tmp_path):
    code = "from blurlike.support.progress import Progress\nwith Progress(3, delay=0) as bar:\n    for _ in range(3): bar.step()"
    nb = new_notebook(cells=[new_code_cell(code), new_code_cell(code.replace('delay', 'show=False, delay'))])
    seen = []
    class Client(NotebookClient):
        def output(self, outs, msg, display_id, cell_index):
            seen.append((cell_index, json.dumps(msg['content'].get('data', {}))))
            return super().output(outs, msg, display_id, cell_index)
    client = Client(nb, timeout=120, kernel_name='python3', resources=dict(metadata=dict(path=str(tmp_path))))
    client.execute()
    assert any('<progress' in data for i,data in seen if i==0)
    assert not any(i==1 for i,_ in seen)
    assert not any('<progress' in json.dumps(o) for o in nb.cells[0].outputs), 'the bar goes away'

# ----- the bars of transformers

class Terminal(io.StringIO):
    def isatty(self): return True

def drawn(call, out=Terminal, slow=True):
    "What `call` draws, where every look at the clock takes three seconds if it is `slow`; the hook of transformers is as before"
    before,seconds = logging.set_tqdm_hook(None),itertools.count(0, 3)
    logging.set_tqdm_hook(before)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(sys, 'stderr', out := out()) # not in a fixture: pytest sets it for each phase
        if slow: m.setattr(tqdm.std, 'time', lambda: float(next(seconds)))
        call()
    now = logging.set_tqdm_hook(None)
    logging.set_tqdm_hook(before)
    assert now is before and module._within==[], 'not put back'
    return out.getvalue()

LOADS = dict(learner=lambda c, learn: learner('single', c), another=lambda c, learn: learner('single', learn), loaded=lambda c, learn: TransformersLearner.from_pretrained('saved'),
    scratch=lambda c, learn: scratch_checkpoint(TEXTS), save=lambda c, learn: learn.save_pretrained('again'))

@pytest.mark.parametrize('job', first(LOADS, 2))
def test_loading_and_saving(job, bert, in_tmp):
    learn = learner('single', bert)
    learn.save_pretrained('saved')
    call = lambda: LOADS[job](bert, learn)
    assert drawn(call, slow=False)=='' and drawn(call, io.StringIO)==''
    long = drawn(call)
    assert re.search('Loading weights|Writing model shards', long) and long.endswith(' \r'), 'it goes away'

def test_saving_in_no_bar(bert, in_tmp):
    learn = learner('single', bert)
    with learn.no_bar(): assert drawn(lambda: learn.save_pretrained('saved'))==''

def test_what_the_user_has_set(bert):
    logging.disable_progress_bar()
    try: assert drawn(lambda: learner('single', bert))=='' and not logging.is_progress_bar_enabled()
    finally: logging.enable_progress_bar()
    calls = []
    logging.set_tqdm_hook(lambda factory, args, kwargs: calls.append(kwargs['desc']) or factory(*args, **kwargs))
    try: assert 'Loading weights: 100%' in drawn(lambda: learner('single', bert), slow=False) and calls==['Loading weights']
    finally: logging.set_tqdm_hook(None)

def test_it_is_put_back(bert, in_tmp):
    (in_tmp/'empty').mkdir()
    with pytest.raises(OSError): learner('single', in_tmp/'empty', tokenizer=str(bert))
    first,second = late_bars(),late_bars(False)
    first.__enter__() # as two threads would
    second.__enter__()
    first.__exit__(None, None, None)
    assert logging.set_tqdm_hook(module._late) is module._late and module._within==[False]
    second.__exit__(None, None, None)
    assert module._within==[] and logging.set_tqdm_hook(None) is None

def test_a_file_gets_the_rows_of_the_table_alone(bert, capsys):
    "fastai draws its bars into files too."
    learn = learner('single', bert)
    with learn.no_bar(): learn.validate() # which puts the bar of fastai back
    capsys.readouterr()
    learn.fit_one_cycle(2, 1e-3)
    learn.validate()
    learn.get_preds()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines]==['epoch','0','1']
    assert lines[0].split()==list(learn.recorder.metric_names) and learn.create_mbar

def test_a_terminal_gets_bars_in_training(bars, bert):
    learner('single', bert).fit_one_cycle(1, 1e-3)
    assert any('0.00%' in s for s in bars) and any(s.startswith('epoch') for s in bars)

def test_no_bar_is_drawn_of_nothing(bars, bert, monkeypatch): # fastprogress would warn that the generator is empty
    learn = learner('single', bert, valid=None)
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        learn.fit(1)
    assert any('Epoch 1' in b or '%' in b for b in bars)

def luminance(color): # of WCAG 2
    linear = [c/12.92 if c<=.04045 else ((c+.055)/1.055)**2.4 for c in (v/255 for v in color)]
    return sum(w*c for w,c in zip((.2126,.7152,.0722), linear))

def contrast(a, b):
    low,high = sorted((luminance(a), luminance(b)))
    return (high+.05)/(low+.05)

@pytest.mark.parametrize('ground,letters', [((17,17,17),(222,222,222)), ((255,255,255),(33,33,33))], ids=['dark','light'])
@pytest.mark.parametrize('row', ['thead tr','tbody tr:nth-of-type(even)'])
def test_the_epoch_table_can_be_read(row, ground, letters):
    "The last style that says something of a row holds; of WCAG's contrast 4.5 is enough for small letters."
    styles = re.findall(r'([^{}]*)\{([^}]*)\}', fp.html_styles)
    background = [re.search(r'background: *([^;]+);', s)[1] for rows,s in styles if f'table.fastprogress {row}' in rows and 'background' in s][-1]
    if background[0]=='#': *color,share = *bytes.fromhex(background[1:]),1.
    else: *color,share = map(float, re.findall(r'[\d.]+', background))
    assert contrast([share*c+(1-share)*g for c,g in zip(color, ground)], letters)>=4.5

def test_large_numbers_leave_room_between_columns(bert, capsys):
    cb = learner('single', bert).progress
    cb.mbar = _Rows()
    cb._write_stats(['epoch','train_loss','valid_loss','perplexity','time'])
    cb._write_stats([0, 10.327714, 10.2, 30569.814453, '00:01'])
    cb._write_stats([1, 1.5, 1e9, 2.25, '00:01'])
    head,*rows = capsys.readouterr().out.strip().splitlines()
    assert [r.split() for r in rows]==[['0','10.327714','10.200000','30569.81','00:01'],['1','1.500000','1e+09','2.250000','00:01']]

def test_without_a_standard_output(bert, in_tmp, monkeypatch):
    "as under `>&-`, pythonw, or in a service: in silence"
    learn = learner('single', bert)
    monkeypatch.setattr(sys, 'stdout', None)
    monkeypatch.setattr(sys, 'stderr', None)
    learn.fit(1, 1e-3)
    learn.lr_find(num_it=4, show_plot=False)
    learn.validate()
    learn.report()
    learn.check()
    learn.predict(TEXTS[0])
    learn.predict_batch(TEXTS, out='out.jsonl')
    masked_lm_learner([dict(text=t) for t in TEXTS*40], bert, block_size=32)
