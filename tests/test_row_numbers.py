"A row number is the place of the row in the table that the user gave; of two tables, or of splits, in its own, which is named."
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset, DatasetDict
from small import ARCH, FRAMES, TEXTS, learner

from blurlike.all import (CategoryBlock, Callback, ClassificationInterpretation, ColReader, DataBlock, IndexSplitter, Interpretation, Rows, TransformersLearner, TransformersTextBlock, causal_lm_learner,
    masked_lm_learner, multiple_choice_learner, question_answering_learner, read_rows, seq2seq_learner, sequence_classification_learner, token_classification_learner)

pytestmark = [pytest.mark.usefixtures('in_tmp'), pytest.mark.filterwarnings('ignore')]
DF = FRAMES['single']
N = 30 # rows of the first table; the second has 18
TAGGED = pd.DataFrame(dict(tokens=[t.split() for t in TEXTS], tags=[['B-X' if w in ('great','lovely','superb') else 'O' for w in t.split()] for t in TEXTS]))

def parted(df, how='tables'):
    "Two tables, or splits of a `DatasetDict`."
    first,second = df[:N],df[N:].reset_index(drop=True)
    if how=='tables': return first,second
    return DatasetDict(train=Dataset.from_pandas(first), validation=Dataset.from_pandas(second))

def with_cell(df, row, **cells): # other values in a row
    df = df.copy()
    for c,v in cells.items():
        df[c] = df[c].astype(object)
        df.at[row, c] = v
    return df

def tagged(df, bert, **kwargs): return token_classification_learner(df, bert, bs=5, **kwargs)
def chosen(df, bert, **kwargs): return multiple_choice_learner(df, bert, bs=5, **kwargs)
def classed(df, bert, **kwargs): return sequence_classification_learner(df, bert, bs=5, **kwargs)
def answered(df, bert, **kwargs): return question_answering_learner(df, bert, bs=5, **(dict(valid='validation') if isinstance(df, DatasetDict) else {}) | kwargs)

# what is wrong with row 33, which is row 3 of validation, and what is said of it
CHOICE,ANSWERS = FRAMES['choice'],FRAMES['answers']
FAULTS = dict(
    no_text=(classed, with_cell(DF, 33, text=None), "has no text in row 3 of validation"),
    no_str=(classed, with_cell(DF, 33, text=5), "found int in row 3 of validation"),
    surrogate=(classed, with_cell(DF, 33, text='a \ud800'), "column 'text', row 3 of validation: the text holds a lone surrogate"),
    no_label=(classed, with_cell(DF, 33, label=None), "has no label in row 3 of validation"),
    unknown_label=(classed, with_cell(DF, 33, label='odd'), r"'odd' occurs only in validation \(row 3 of validation\)"),
    lists=(lambda d,c: classed(d, c, label='tags'), with_cell(FRAMES['multi'], 33, tags='bad'), "row 3 of validation differ from the first"),
    words=(tagged, with_cell(TAGGED, 33, tokens='a b'), "row 3 of validation holds 'a b'"),
    word=(tagged, with_cell(TAGGED, 33, tokens=['a',None]), "found None in row 3 of validation"),
    n_tags=(tagged, with_cell(TAGGED, 33, tags=['O']*99), r"99 tags in row 3 of validation: one tag a word is expected \(row 3 of validation\)"),
    no_tags=(tagged, with_cell(TAGGED, 33, tags='O'), "row 3 of validation holds 'O'"),
    tag=(tagged, with_cell(TAGGED, 33, tags=['B-Y']*len(TAGGED.tokens[33])), r"occurs only in validation \(row 3 of validation\)"),
    choices=(chosen, with_cell(CHOICE, 33, choices=['a']), "^row 3 of validation: expected two choices"),
    right=(chosen, with_cell(CHOICE, 33, label=9), "^row 3 of validation: the label 9"),
    question=(answered, with_cell(ANSWERS, 33, question=' '), "^row 3 of validation: column 'question' is empty"),
    answer=(answered, with_cell(ANSWERS, 33, answers=dict(text=['zz'], answer_start=[0])), "^row 3 of validation: the answer 'zz'"))
IN_SPLITS = [k for k in FAULTS if k not in ('no_str','surrogate','lists','words','word','no_tags')] # what an Arrow column can hold

@pytest.mark.parametrize('how,fault', [('tables',k) for k in FAULTS]+[('dict',k) for k in IN_SPLITS])
def test_faults_are_named_in_their_own_table(how, fault, bert):
    make,df,said = FAULTS[fault]
    with pytest.raises((ValueError, TypeError), match=said): make(parted(df, how), bert)

def test_of_one_table_the_number_is_the_place(bert):
    for fault,(make,df,said) in FAULTS.items():
        if fault in ('unknown_label','tag'): continue # in training it is known
        with pytest.raises((ValueError, TypeError), match=said.replace('row 3 of validation', 'row 33')): make(df.set_index(pd.Index(range(100, 148))), bert)

def said_of(make, df, bert):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        make(parted(df), bert)
    return '\n'.join(str(w.message) for w in said)

WARNED = dict(
    empty=(classed, with_cell(DF, 33, text=''), "empty text in row 3 of validation"),
    broken=(tagged, with_cell(with_cell(TAGGED, 0, tags=['I-X']*len(TAGGED.tokens[0])), 33, tags=['I-X']+['O']*(len(TAGGED.tokens[33])-1)), "(row 0 of train and row 3 of validation)"),
    twice=(chosen, with_cell(CHOICE, 33, choices=['x','x','y'], label=2), "e.g. row 3 of validation: choices 0, 1"),
    lost=(lambda d,c: answered(d, c, max_length=24, overlap=2), with_cell(ANSWERS, 33, context=TEXTS[33]*4, answers=dict(text=[TEXTS[33]*3], answer_start=[0])), "(row 3 of validation)"))

@pytest.mark.parametrize('case', list(WARNED))
def test_warnings_name_it_too(case, bert):
    make,df,said = WARNED[case]
    assert said in said_of(make, df, bert)

def test_texts_that_are_written_or_continued(checkpoints):
    df = pd.DataFrame(dict(source=TEXTS, target=[t[:20] for t in TEXTS]))
    with pytest.raises(ValueError, match="'target' is empty in row 3 of validation"):
        seq2seq_learner(parted(with_cell(df, 33, target=' ')), checkpoints('bart'), source='source', target='target', bs=5)
    pairs = pd.DataFrame(dict(prompt=TEXTS, completion=[t[:20] for t in TEXTS]))
    with pytest.raises(ValueError, match="'completion' is empty in row 3 of validation"):
        causal_lm_learner(parted(with_cell(pairs, 33, completion=' ')), checkpoints('gpt2'), text=['prompt','completion'], bs=5)

def test_pairs_without_room(bert):
    df = with_cell(FRAMES['pair'], 33, one=' '.join(['film']*30), two=' '.join(['film']*30))
    with pytest.raises(ValueError, match='^row 3 of validation: the first text of the pair has'):
        sequence_classification_learner(parted(df), bert, text=['one','two'], label='same', bs=5, max_length=32, overlap=4)

def test_spans_in_splits(bert):
    df = pd.DataFrame(dict(text=TEXTS, spans=[[dict(start=0, end=len(t.split()[0]), label='X')] for t in TEXTS]))
    bad = with_cell(df, 33, spans=[dict(start=0, end=10_000, label='X')])
    def make(df): return token_classification_learner(parted(df, 'dict'), bert, words='text', tags='spans', bs=5)
    with pytest.raises(ValueError, match='^row 3 of validation: '): make(bad)
    assert make(df).dls.valid.row_numbers().tolist()==list(range(18))

def test_rows_know_their_names():
    rows,parts = read_rows(DatasetDict(a=Dataset.from_dict(dict(t=['x']*3)), b=Dataset.from_dict(dict(t=['x']*15)), c=Dataset.from_dict(dict(t=['x']*2))))
    assert rows.name([0, 4, 19])=='row 0 of a and row 1 of b and row 1 of c'
    assert rows[parts['b']].name(np.arange(15)>1)=='rows 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ... (13 in all) of b'
    assert rows[parts['b']].given_numbers.tolist()==list(range(15)) and rows[[0, 5]].given_numbers.tolist()==[0, 5]
    assert rows[[18, 4]][::-1].name([0, 1])=='row 1 of b and row 0 of c' and rows.name([])==''
    assert Rows(DF)[[40, 3]].name([0, 1])=='rows 3, 40' and Rows(DF)[[40, 3]].given_numbers.tolist()==[40, 3]

# --------------------------------------------------------------------------- while batches are read

def test_errors_of_batches(bert, in_tmp):
    "What nobody has looked at before, as a file may change."
    class Late(Rows): # a word that comes to light when it is read
        def read(self, idxs, names): return [[5 if n=='text' and self.numbers[i]==33 else v for i,v in zip(idxs, values)] for n,values in zip(names, super().read(idxs, names))]
    learn = classed(parted(DF), bert)
    for tl in learn.dls.valid_ds.tls: tl.items.__class__ = Late
    with pytest.raises(TypeError, match='^row 3 of validation: '): list(learn.dls.valid)

def test_errors_of_a_datablock_name_the_table_given(bert):
    def text(row): return row.text if row.text!=TEXTS[17] else 5
    block = DataBlock([TransformersTextBlock(bert), CategoryBlock], get_x=text, get_y=ColReader('label'), splitter=IndexSplitter([3,9,17]))
    dls = block.dataloaders(DF, bs=3)
    with pytest.raises(TypeError, match='^row 17: '): list(dls.valid)

def test_a_loss_that_is_nan_names_its_rows(bert):
    learn = classed(parted(DF), bert)
    class NoLoss(Callback):
        order = 99
        def after_loss(self): self.learn.loss_grad = self.learn.loss = self.learn.loss*torch.nan
    with learn.no_bar(), learn.no_logging(), pytest.raises(ValueError, match='^rows ') as e: learn.fit(1, 1e-3, cbs=NoLoss())
    rows = list(map(int, re.match(r'rows ([\d, ]+) of train: ', str(e.value))[1].split(', ')))
    assert rows==sorted(rows) and len(rows)==5

# --------------------------------------------------------------------------- predictions, losses and scores

@pytest.mark.parametrize('suffix', ['jsonl','parquet'])
def test_files_name_the_item_of_all(suffix, trained, tmp_path):
    items = [*TEXTS[:7], 5, *TEXTS[8:]]
    with pytest.raises(TypeError, match='^item 7: '): trained('single').predict_batch(items, out=tmp_path/f'a.{suffix}', bs=2)
    from blurlike.predict.prediction_files import predict_to_file
    with pytest.raises(TypeError, match='^item 7: '): predict_to_file(trained('single'), items, tmp_path/f'b.{suffix}', part=3)
    with pytest.warns(UserWarning, match='empty text in item 7: '): predict_to_file(trained('single'), [*TEXTS[:7], ''], tmp_path/f'c.{suffix}', part=3)

def test_files_name_pairs_that_are_too_long(bert, tmp_path):
    from blurlike.predict.prediction_files import predict_to_file
    learn = sequence_classification_learner(FRAMES['pair'], bert, text=['one','two'], label='same', bs=5, max_length=32, overlap=4)
    long = ' '.join(['film']*40)
    with pytest.raises(ValueError, match='^item 4: the first text'): predict_to_file(learn, [('a','b')]*4+[(long, long)], tmp_path/'a.jsonl', part=3)

def test_gaps_and_prompts_in_pieces(bert, checkpoints, tmp_path):
    from blurlike.predict.prediction_files import predict_to_file
    masked = masked_lm_learner(DF[['text']], bert, bs=5)
    with pytest.raises(ValueError, match='^item 4: no gap to fill'): predict_to_file(masked, ['a [MASK]']*4+['none'], tmp_path/'a.jsonl', part=3)
    causal = causal_lm_learner(DF[['text']], checkpoints('gpt2'), bs=5)
    with pytest.raises(ValueError, match='^item 4: the prompt has'): predict_to_file(causal, ['a']*4+['film '*90], tmp_path/'b.jsonl', part=3)

def test_uncertain_names_the_item_of_all(trained, monkeypatch):
    import blurlike.inspect.uncertain as un
    monkeypatch.setattr(un, '_chunk', 20)
    with pytest.raises(TypeError, match='^item 23: '): trained('single').uncertain([*TEXTS[:23], 5, *TEXTS[24:]], 3)

TABLES = dict(single=lambda c,v: learner('single', c, valid=v), choice=lambda c,v: learner('choice', c, valid=v), answers=lambda c,v: learner('answers', c, valid=v),
    regression=lambda c,v: learner('regression', c, valid=v), tags=lambda c,v: tagged(TAGGED, c, valid=v), masked=lambda c,v: masked_lm_learner(DF[['text']], c, bs=5, valid=v))

@pytest.mark.parametrize('kind', list(TABLES))
def test_top_losses_show_rows_of_the_table(kind, bert, capsys):
    valid = [3,9,14,20,25,31]
    learn = TABLES[kind](bert, valid)
    interp = Interpretation.from_learner(learn)
    for k in (2, [0, 1]):
        interp.plot_top_losses(k)
        shown = capsys.readouterr().out
        rows = interp.dl.row_numbers(interp.top_losses(2)[1]).tolist()
        found = re.findall(r'^row: (\d+)' if kind=='tags' else r'^(\d+) ', shown, re.M)
        assert list(map(int, found))==rows and set(rows)<=set(valid)

def test_top_losses_of_splits_and_other_loaders(bert, capsys):
    learn = classed(parted(DF, 'dict'), bert)
    interp = Interpretation.from_learner(learn)
    interp.plot_top_losses(18)
    assert sorted(map(int, re.findall(r'^(\d+) ', capsys.readouterr().out, re.M)))==list(range(18))
    dl = learn.dls.test_dl(DF[40:], with_labels=True)
    Interpretation.from_learner(learn, dl=dl).plot_top_losses(8)
    assert sorted(map(int, re.findall(r'^(\d+) ', capsys.readouterr().out, re.M)))==list(range(8))
    dls = DataBlock([TransformersTextBlock(bert), CategoryBlock], get_x=ColReader('text'), get_y=ColReader('label'), splitter=IndexSplitter([3,9,14])).dataloaders(DF, bs=5)
    Interpretation.from_learner(sequence_classification_learner(dls, bert)).plot_top_losses(3)
    assert sorted(map(int, re.findall(r'^(\d+) ', capsys.readouterr().out, re.M)))==[3,9,14]

def test_scores_and_checks_agree(bert):
    learn = classed(parted(DF, 'dict'), bert)
    assert learn.report().numbers.tolist()==list(range(18))==learn.dls.valid.row_numbers().tolist()
    blocks = masked_lm_learner(pd.DataFrame(dict(text=[f'{t} {t} {t}' for t in TEXTS])), bert, bs=5, block_size=8)
    n = len(blocks.dls.train_ds)
    assert n>20 and blocks.dls.valid.row_numbers().tolist()==list(range(n, n+len(blocks.dls.valid_ds)))

@pytest.mark.parametrize('kind', ['regression','prompts','summaries','choice'])
def test_what_has_no_classes_has_no_confusions(kind, checkpoints):
    learn = learner(kind, checkpoints(ARCH[kind]))
    with pytest.raises(ValueError, match='no classes that could be confused'): ClassificationInterpretation.from_learner(learn)

def test_results_of_rows_without_targets(bert):
    learn = learner('single', bert)
    with pytest.raises(ValueError, match='texts without labels: build it with'): learn.show_results(dl=learn.dls.test_dl(FRAMES['single'][:3]))
    learn.show_results(dl=learn.dls.test_dl(FRAMES['single'][:3], with_labels=True), max_n=2)

WAYS = dict(fraction=lambda bert: classed(DF, bert), block=lambda bert: block_learner(bert, IndexSplitter(list(range(N, 48)))))

def block_learner(bert, splitter):
    return TransformersLearner(DataBlock((TransformersTextBlock(bert), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'), splitter=splitter).dataloaders(DF, bs=5), bert)

@pytest.mark.parametrize('form', [lambda df: df, lambda df: df.to_dict('records'), Dataset.from_pandas], ids=['frame','dicts','dataset'])
@pytest.mark.parametrize('n', [18, 5], ids=['as many as validation','fewer']) # of the first, in another place
@pytest.mark.parametrize('way', WAYS)
def test_rows_that_are_given_later_have_numbers_of_their_own(way, n, form, bert):
    learn = WAYS[way](bert)
    rows = DF[:n]
    dl = learn.dls.test_dl(form(rows), with_labels=True)
    assert dl.row_numbers().tolist()==[*range(n)] and dl.row_numbers([2]).tolist()==[2]
    wrong = learn.report(form(rows)).confused.rows.explode().tolist()
    guess = [o['label'] for o in learn.predict_batch(form(rows))]
    assert sorted(wrong)==[i for i in range(n) if guess[i]!=rows.label[i]] and wrong
    with pytest.raises(KeyError, match=r'row 3: '): [*learn.dls.test_dl(form(with_cell(rows, 3, label='odd')), with_labels=True)]
