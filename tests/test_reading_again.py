"New rows are read as those were that a learner was made of: from another kind of file, after it was saved and loaded, on the command line."
import warnings
from collections import deque
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ColReader

from blurlike.all import TransformersLearner, TransformersTextBlock, compare, load_learner, rows_to_judge, sequence_classification_learner, token_classification_learner
from blurlike.cli import main
from small import ARCH, COLUMNS, FRAMES, MORE_KINDS, TEXTS, learner

pytestmark = pytest.mark.usefixtures('in_tmp')
N = 24
def frame(*labels, **columns): return pd.DataFrame(dict(text=TEXTS[:N], label=[labels[i%len(labels)] for i in range(N)]) | columns)
def dataset(*names): return Dataset.from_dict(dict(text=TEXTS[:N], label=[i%2 for i in range(N)]), features=Features(text=Value('string'), label=ClassLabel(names=[*names])))
def make(bert, data, **kwargs): return sequence_classification_learner(data, bert, **dict(bs=6) | kwargs)

def write(df, name): # as its ending says
    if name.endswith('.csv'): df.to_csv(name, index=False)
    elif name.endswith('.jsonl'): df.to_json(name, orient='records', lines=True)
    else: df.to_parquet(name)
    return name

def loaded(learn): # by both ways
    learn.save_pretrained('saved')
    learn.export('saved.pkl')
    return TransformersLearner.from_pretrained('saved'),load_learner('saved.pkl')

def plain(y): return y.tolist() if hasattr(y, 'tolist') else list(y)
def targets(learn, rows): return [plain(y) for _,y in rows_to_judge(learn, rows).dataset]
def said(*argv): # what a command prints, or says
    out,err = StringIO(),StringIO()
    with redirect_stdout(out), redirect_stderr(err): rc = main([*map(str, argv)])
    return out.getvalue() if rc==0 else err.getvalue().strip().splitlines()[-1]

# Tags

def conll(name='words.conll'): # number, word, tag, another column
    def line(i, w): return f"{i} {w} {'O' if i else 'B-Q'} x"
    Path(name).write_text('\n\n'.join('\n'.join(line(i, w) for i,w in enumerate(t.split())) for t in TEXTS[:N] if t)+'\n')
    return name

def test_columns_of_a_conll_file(bert):
    learn = token_classification_learner(conll(), bert, words=1, tags=2, bs=6)
    want = targets(learn, pd.DataFrame(dict(tokens=[t.split() for t in TEXTS[:N]], tags=[['B-Q',*['O']*(len(t.split())-1)] for t in TEXTS[:N]])))
    for l in (learn, *loaded(learn)):
        assert targets(l, 'words.conll')==want
        assert set(' '.join(l.uncertain('words.conll', n=3).text).split())<=set(' '.join(TEXTS[:N]).split()) # words, not their numbers
    assert '"word": "0' not in said('predict', 'saved', 'words.conll')
    usual = token_classification_learner(pd.DataFrame(dict(tokens=[t.split() for t in TEXTS[:N]], tags=[['x' if i else 'y' for i,_ in enumerate(t.split())] for t in TEXTS[:N]])), bert, bs=6)
    Path('usual.conll').write_text('good y\nfilm x\n')
    assert targets(loaded(usual)[0], 'usual.conll')==[[1,0]] # the first column and the last

def test_repaired_tags_and_aligned_spans(bert):
    bad = pd.DataFrame(dict(tokens=[t.split() for t in TEXTS[:N]], tags=[['I-A',*['O']*(len(t.split())-1)] for t in TEXTS[:N]]))
    learn = token_classification_learner(bad, bert, repair=True, bs=6)
    want = targets(learn, bad)
    assert {learn.dls.vocab[y[0]] for y in want}=={'B-A'}
    for l in loaded(learn): assert targets(l, bad)==want
    spans = pd.DataFrame(dict(text=TEXTS[:N], tags=[[dict(start=1, end=len(t.split()[0]), label='F')] if len(t.split()[0])>1 else [] for t in TEXTS[:N]]))
    learn = token_classification_learner(spans, bert, words='text', align_spans='expand', bs=6)
    want = targets(learn, spans)
    with warnings.catch_warnings():
        warnings.filterwarnings('error', '.*begin or end inside a word')
        for l in loaded(learn): assert targets(l, spans)==want

# Numbers that stand for names

@pytest.mark.parametrize('kind', ['csv','jsonl','parquet'])
def test_the_path_of_a_table_stands_for_its_rows(kind, bert):
    "Columns that were learnt as text stay text; a text is no path, unless there is such a file."
    df = frame('1','2').assign(text=[str(i) for i in range(N)])
    learn = make(bert, df)
    path = Path(write(df, f'rows.{kind}'))
    want = learn.predict_batch(df)
    for o in (path, str(path)):
        assert learn.predict_batch(o)==want and targets(learn, df)==[plain(y) for _,y in learn.dls.test_dl(o, with_labels=True).dataset]
        assert (learn.embed(o)==learn.embed(df)).all()
    learn.predict_batch(path, out='p.jsonl')
    assert pd.read_json('p.jsonl', lines=True).score.tolist()==pytest.approx([p['score'] for p in want])
    for o in ('a film.csv','a film', 'x'*5000+'.csv', Path('gone.csv')):
        for f in (learn.predict_batch, learn.dls.test_dl):
            with pytest.raises(TypeError, match='takes a list of texts; for one text call `predict`, for the rows of a file'): f(o)

GIVEN = dict(frame=lambda df: df, dataset=Dataset.from_pandas, dicts=lambda df: df.to_dict('records'), path=lambda df: write(df, 'rows.jsonl'), array=lambda df: df[['text']].to_numpy()[:,0])
@pytest.mark.parametrize('given', GIVEN)
def test_logits_are_of_all_that_predict_batch_takes(given, bert):
    learn,df = make(bert, frame('a','b')),frame('a','b')[:5]
    want = learn.predict_logits(df.text.tolist())
    for o in (GIVEN[given](df), df.text, tuple(df.text)): assert torch.equal(learn.predict_logits(o), want)
    assert want.softmax(-1).max(1).values.tolist()==[o['score'] for o in learn.predict_batch(GIVEN[given](df))]
    assert learn.predict_logits(df[:0]).shape==(0, 2)

def test_logits_of_one_text_are_no_logits_of_its_letters(bert):
    learn = make(bert, frame('a','b'))
    for o in ('a film', Path('gone.csv'), 'gone.csv', dict(text=['a']), (t for t in TEXTS), {'a','b'}, None, frame('a','b').iloc[0]):
        with pytest.raises(TypeError, match='predict_logits takes (a list of texts|rows)'): learn.predict_logits(o)
    pairs = make(bert, frame('a','b', other=TEXTS[:N]), text=['text','other'])
    with pytest.raises(TypeError, match='item 0: expected a pair of texts'): pairs.predict_logits(('a film','a town'))
    with pytest.raises(ValueError, match='bs=0'): learn.predict_logits(['a film'], bs=0)

def test_one_row_is_no_list_of_texts(bert):
    learn = make(bert, frame('a','b'))
    row = frame('a','b').iloc[0]
    for call in (learn.predict_batch, learn.embed, learn.dls.test_dl, learn.uncertain):
        with pytest.raises(TypeError, match=r"takes rows, and this Series is one of them, with 'text', 'label': pass `\[row\]`"): call(row)
    assert len(learn.predict_batch([row]))==1 and len(learn.predict_batch(pd.Series(['a film','a town'], index=['one','other'])))==2

def test_a_text_is_no_loader(bert):
    learn = make(bert, frame('a','b'))
    for o in ('a film', Path('gone.csv'), (t for t in TEXTS), 5.):
        for call in (learn.validate, learn.get_preds, learn.show_results):
            with pytest.raises(TypeError, match=f'dl= takes a loader, not {type(o).__name__}'): call(dl=o)

def test_logits_of_words(bert):
    df = pd.DataFrame(dict(tokens=[t.split() for t in TEXTS[:N]], tags=[['x' if i else 'y' for i,_ in enumerate(t.split())] for t in TEXTS[:N]]))
    learn = token_classification_learner(df, bert, bs=6)
    want = learn.predict_logits(df.tokens[:4].tolist())
    for o in (df[:4], TEXTS[:4]): assert torch.equal(learn.predict_logits(o), want)

@pytest.mark.parametrize('kind', ['csv','jsonl','parquet'])
def test_numbers_stand_for_the_names_that_they_stood_for(kind, bert):
    ids = frame(0, 1)
    name = write(ids, f'ids.{kind}')
    for learn in (make(bert, name, vocab=['neg','pos']), make(bert, dataset('neg','pos'))):
        assert learn.names==['neg','pos']
        for l in (learn, *loaded(learn)): assert targets(l, name)==targets(l, ids)==[0,1]*12
        assert said('report', 'saved', name).startswith('24 rows')
    several = ids.assign(label=[[i%2] if i%3 else [0,1] for i in range(N)])
    learn = make(bert, several, vocab=['neg','pos'])
    for l in loaded(learn): assert targets(l, several)==targets(learn, several)

def test_names_that_are_other_numbers_are_asked_about(bert):
    loaded(make(bert, dataset('1','0')))
    for name in ('ids.parquet','ids.jsonl'):
        assert "column 'label' holds 0, which may be the label '0', or label number 0, '1'" in said('report', 'saved', write(frame(0, 1), name))
    learn = make(bert, dataset('True','False'))
    assert targets(learn, write(frame(0, 1), 'ids.csv'))==[0,1]*12 # no name is written so
    assert targets(learn, write(frame('False','True'), 'names.csv'))==[1,0]*12
    for floats in (frame(0., 1.), write(frame(0., 1.), 'floats.csv')):
        with pytest.raises(ValueError, match="one table has the names '1', '0', and 0"): make(bert, (dataset('1','0'), floats))

def test_floats_stand_for_names_as_whole_numbers_do(bert):
    learn = make(bert, frame(0., 1.), vocab=['neg','pos'], problem_type='single_label_classification')
    assert learn.names==['neg','pos'] and targets(learn, frame(1., 0.))==targets(learn, frame(1, 0))==[1,0]*12
    with pytest.raises(ValueError, match=r"holds 0.5: one of 'neg', 'pos'"): targets(learn, frame(.5))

# Files in which labels look like numbers

@pytest.mark.parametrize('labels,seen', [(['1','2','other'], ['1','2']), (['true','maybe'], ['true']), (['1.5','a'], ['1.5'])])
def test_some_labels_look_like_numbers(labels, seen, bert):
    learn = make(bert, frame(*labels))
    assert targets(learn, write(frame(*seen), 'new.csv'))==targets(learn, frame(*seen))

def test_columns_called_by_digits_are_flags(bert):
    name = write(pd.DataFrame({'text':TEXTS[:N], '0':[0.,1.]*12, '1':[1.,0.]*12}), 'hot.csv')
    learn = make(bert, name, label=['0','1'])
    for l in (learn, *loaded(learn)): assert targets(l, name)==[[0.,1.],[1.,0.]]*12

def test_a_vector_holds_no_names(bert):
    vectors = frame([1,0], [0,1], [1,1], [0,0])
    learn = make(bert, vectors, vocab=['a','b'])
    for l in (learn, *loaded(learn)):
        assert targets(l, vectors)==targets(learn, vectors)
        with pytest.raises(ValueError, match="holds 'a' in a vector of 0 and 1"): targets(l, frame(['a','b']))

# Which rows

def test_one_part_is_judged(bert):
    learn,parts = make(bert, frame('a','b')),DatasetDict(train=Dataset.from_pandas(frame('a','b')), test=Dataset.from_pandas(frame('b','a')))
    for judge in (learn.report, lambda o: compare(learn, learn, o)):
        with pytest.raises(ValueError, match="the parts 'train', 'test': pass one of them, e.g. `data\\['test'\\]`"): judge(parts)
    assert len(learn.report(DatasetDict(test=parts['test'])))==len(learn.report(parts['test']))==N

def test_a_column_that_stands_twice(bert):
    learn,df = make(bert, frame('a','b')),frame('a','b')
    df.insert(0, 'text', ['']*N, allow_duplicates=True)
    for ask in (learn.report, learn.dls.test_dl):
        with pytest.raises(ValueError, match="column 'text' stands 2 times"): ask(df)

# Code that a folder cannot hold

def test_texts_that_code_reads_are_told_of(bert):
    df = frame('a','b')
    def saved(get_x, items=df, **kwargs):
        block = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock), get_x=get_x, **dict(get_y=ColReader('label')) | kwargs)
        return TransformersLearner(block.dataloaders(items, bs=6), bert).save_pretrained('saved')
    for get_x in (ColReader('text', pref='so: '), lambda r: r['text'].upper()):
        with pytest.warns(UserWarning, match="get_x=.*reads 'text' of a row as it stands there"): saved(get_x)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        saved(ColReader('text'))
        saved(None, TEXTS[:N], get_y=lambda t: 'a' if len(t)%2 else 'b', get_items=list)
        make(bert, df).save_pretrained('saved')

def test_a_pair_that_code_reads_is_a_pair_when_it_comes_back(bert, in_tmp):
    df = frame('a','b')
    block = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock), get_x=lambda r: (r['text'], r['text'][::-1]), get_y=ColReader('label'))
    learn = TransformersLearner(block.dataloaders(df, bs=6), bert)
    with pytest.warns(UserWarning, match=r"get_x=.*reads \['text', 'text_pair'\] of a row"): learn.save_pretrained('saved')
    again = TransformersLearner.from_pretrained('saved')
    pairs = [(t, t[::-1]) for t in TEXTS[:4]]
    assert again.predict_batch(pairs)==learn.predict_batch(pairs)==again.predict_batch(pd.DataFrame(pairs, columns=['text','text_pair']))
    assert again.predict(pairs[0])[0]==learn.predict(pairs[0])[0]
    assert TransformersLearner.from_pretrained(again.save_pretrained('twice')).predict_batch(pairs)==learn.predict_batch(pairs)

# The command line

def test_slices_are_called_as_the_file_calls_them(bert):
    pairs = pd.DataFrame(dict(a=TEXTS[:N], b=['x','y']*12, label=['u','v']*12))
    make(bert, pairs, text=['a','b']).save_pretrained('saved')
    write(pd.DataFrame(dict(q=TEXTS[:N], a=['crimson','blue','crimson']*8, b=['u','v']*12)), 'new.csv')
    ask = 'report','saved','new.csv','--rows','0','--text','q','a','--label','b','--by'
    for name,text,other in (('a', 'crimson', None), ('b', 'u', 'crimson'), ('q', min(TEXTS[:N], key=len), 'crimson')):
        _,found = said(*ask, name).split(f'by {name}:')
        assert text in found and (other is None or other not in found)

def test_columns_by_number(bert):
    df = pd.DataFrame({0:TEXTS[:N], 1:['u','v']*12})
    make(bert, df, text=0, label=1).save_pretrained('saved')
    assert said('report', 'saved', write(df, 'new.csv')).startswith('24 rows')

# Empty cells of a csv, tables of other kinds, none at all

def with_warnings(f): # what it gives, and says
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        res = f()
    return res,[str(w.message) for w in told]

def empty_text(kind): # rows of which one has an empty text, and the column of it
    names = COLUMNS[kind].get('text', dict(summaries='source').get(kind, 'text'))
    name = names if isinstance(names, str) else names[-1]
    df = FRAMES[kind][:6].copy()
    if kind=='choice': df = df.join(pd.DataFrame(df.pop('choices').tolist(), columns=['c0','c1','c2','c3']))
    df.loc[2, name] = ''
    return df

@pytest.mark.parametrize('kind', [k for k in MORE_KINDS if k not in ('chats','answers')]) # which no csv holds
def test_an_empty_cell_of_a_csv_is_an_empty_text(kind, checkpoints):
    df = empty_text(kind)
    choices = dict(choices=['c0','c1','c2','c3']) if kind=='choice' else {}
    whole = df.replace('', 'a film')
    learn = learner(kind, checkpoints(ARCH[kind]), pd.concat([whole]*3, ignore_index=True), **choices)
    for form in ('.csv','.tsv','.jsonl'):
        if form=='.jsonl': df.to_json('t.jsonl', orient='records', lines=True)
        else: df.to_csv(f't{form}', sep=',' if form=='.csv' else '\t', index=False)
    want,told = with_warnings(lambda: learn.predict_batch('t.jsonl'))
    assert any('empty text in item 2' in t for t in told)==(kind not in ('pair','choice','prompts')) # which hold other texts
    for name in ('t.csv','t.tsv'):
        assert with_warnings(lambda: learn.predict_batch(name))==(want, told)
        assert learn.dls.test_dl(name).n==6

def test_an_empty_cell_on_the_command_line(bert, recwarn):
    make(bert, frame('a','b')).save_pretrained('saved')
    df = frame('a','b')[:4].rename(columns=dict(text='body'))
    df.loc[1, 'body'] = ''
    rows = [said('predict', 'saved', write(df, f'n{ending}'), '--text', 'body') for ending in ('.csv','.jsonl')]
    assert rows[0]==rows[1] and rows[0].count('\n')==4 and any('empty text in item 1' in str(w.message) for w in recwarn)
    reports = [said('report', 'saved', f'n{ending}', '--text', 'body', '--rows', 0) for ending in ('.csv','.jsonl')]
    assert reports[0]==reports[1] and reports[0].startswith('4 rows')

def test_a_missing_text_is_told_with_what_to_do(bert):
    learn = make(bert, frame('a','b'))
    for gap in (None, float('nan'), pd.NA):
        for rows in ([*TEXTS[:2], gap], frame('a','b')[:3].assign(text=[*TEXTS[:2], gap])):
            with pytest.raises(TypeError, match=r"item 2: expected a text.*fillna\(\{'text': ''\}\)"): learn.predict_batch(rows)

def test_missing_choices_of_a_csv_are_none(bert):
    df = pd.DataFrame(dict(text=TEXTS[:4], a='good', b='bad', c=['fine', None]*2, label=0))
    learn = learner('choice', bert, df, choices=['a','b','c'], valid=[0])
    df.to_csv('c.csv', index=False)
    assert learn.predict_batch('c.csv')==learn.predict_batch(df)

class DataFrame: # as polars has it
    columns = ['text','label']
    def __len__(self): return 2
    def __iter__(self): return iter([TEXTS[:2], ['a','b']])
    def to_pandas(self): return frame('a','b')

def test_a_table_of_another_library(bert):
    learn = make(bert, frame('a','b'))
    told = r'not the DataFrame of test_reading_again: pass `data.to_pandas\(\)`'
    calls = learn.predict_batch, learn.predict_logits, learn.embed, learn.dls.test_dl, learn.report, lambda o: make(bert, o), lambda o: make(bert, frame('a','b'), valid=o), lambda o: make(bert, (frame('a','b'), o))
    for call in calls:
        with pytest.raises(TypeError, match=told): call(DataFrame())
    with pytest.raises(TypeError, match='not the Table of pyarrow'): learn.predict_batch(pa.table(dict(text=TEXTS[:2])))
    with pytest.raises(TypeError, match='dl=learn.dls.test_dl'): learn.validate(dl=DataFrame())

@pytest.mark.parametrize('name', ['p.csv','p.jsonl','p.parquet'])
def test_what_can_only_be_gone_through(name, bert):
    learn = make(bert, frame('a','b'))
    for k,items in enumerate((deque(TEXTS[:5]), dict(enumerate(TEXTS[:5])).values(), dict.fromkeys(TEXTS[:5]).keys())):
        assert learn.predict_batch(items)==learn.predict_batch(TEXTS[:5])
        learn.predict_batch(items, out=f'{k}{name}')
    if name=='p.jsonl': assert pd.read_json('0p.jsonl', lines=True).label.tolist()==[p['label'] for p in learn.predict_batch(TEXTS[:5])]
