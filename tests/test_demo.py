"The demo program: its own data, and a user's file and checkpoint."
import re

import pandas as pd
import pytest
from blurlike.demo import PACKAGES, arguments, docstrings, main
from small import COLUMNS, FRAMES

@pytest.mark.slow
def test_docstrings_do_not_name_their_package():
    texts = docstrings('numpy', 200)
    assert len(texts)==len(set(texts))==200 and not any(p in t.lower() for t in texts for p in PACKAGES)

@pytest.mark.parametrize('kind', ['single','pair'])
def test_own_file_and_checkpoint(kind, bert, tmp_path, capsys):
    reads = COLUMNS[kind]
    FRAMES[kind].to_csv(tmp_path/'mine.csv', index=False)
    main(['--data', str(tmp_path/'mine.csv'), '--text', *reads.get('text', ['text']), '--label', reads.get('label', 'label'), '--checkpoint', str(bert), '--epochs', '1', '--bs', '8', '--out', str(tmp_path/'model')])
    out = capsys.readouterr().out
    for part in ('== a batch', 'highest learning rate: ', '== results', 'validation accuracy', 'the largest class is', 'gives the same predictions'): assert part in out
    assert (tmp_path/'model'/'blurlike.json').is_file()

@pytest.mark.slow
def test_it_learns(capsys):
    main(['--rows', '150', '--epochs', '6', '--max-length', '32']) # with fewer rows the processor's rounding decides whether it does
    out = capsys.readouterr().out
    score,guess = (float(re.search(what+r' (0\.\d+)', out)[1]) for what in ('validation accuracy','the largest class is'))
    assert score>guess+.05

def test_arguments():
    a = arguments('--data r.csv --text review --label stars --checkpoint distilbert-base-uncased'.split())
    assert (a.data,a.text,a.label,a.checkpoint)==('r.csv',['review'],['stars'],'distilbert-base-uncased')
    with pytest.raises(SystemExit): arguments(['--no-such'])

def test_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match='nowhere.csv'): main(['--data', 'nowhere.csv'])

def test_bad_labels_stop_the_program(tmp_path):
    pd.DataFrame(dict(text=['a','b'], label=['x','x'])).to_csv(tmp_path/'one.csv')
    with pytest.raises(ValueError, match='one label only'): main(['--data', str(tmp_path/'one.csv'), '--checkpoint', str(tmp_path), '--valid', '0.5'])

def test_a_place_that_is_taken_is_said_before_training(tmp_path):
    (tmp_path/'mine.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='holds other things'): main(['--data', 'nowhere.csv', '--out', str(tmp_path)])
