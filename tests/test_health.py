"What `learn.check` finds, with the exact rows; that it changes nothing; the quick look before the first fit."
import random,warnings

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset, DatasetDict
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import Metaspace
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import blurlike.inspect.row_scan as data_parts
import blurlike.inspect.first_look as first_look
import blurlike.inspect.data_check as health
from blurlike.all import (CategoryBlock, ColReader, DataBlock, DataReport, IndexSplitter, Pipeline, RandomSplitter, RegressionBlock, Rows, SkipItemException, TokenizeText, TransformersLearner,
    TransformersTextBlock, count_tokens, masked_lm_learner, pair_tokens, scratch_checkpoint, sequence_classification_learner, suspects, suspicious, token_classification_learner, whole_texts)
from blurlike.train.training_state import loaders_of, random_states
from small import BS, CUES, FILLERS, FRAMES, EVERY_KIND, learner

def clean(n=60, seed=5):
    "Distinct sentences of 8 words, three labels in turn."
    rng = np.random.default_rng(seed)
    return pd.DataFrame([dict(text=' '.join([*rng.choice(FILLERS, 7), rng.choice(CUES[l])]), label=l) for l in [list(CUES)[i%3] for i in range(n)]])

VALID = list(range(45, 60))
def made(df, bert, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return sequence_classification_learner(df, bert, **dict(bs=BS, valid=VALID) | kwargs)

def found(report): return {(f.what, f.part):f.rows.tolist() for f in report}
def tagged(sentences): return pd.DataFrame(dict(tokens=[s.split() for s,_ in sentences], tags=[t.split() for _,t in sentences]))

def test_nothing_is_found_in_clean_data(bert, in_tmp):
    report = made(clean(), bert).check(labels=True)
    assert not report and list(report)==[] and len(report.frame())==0 and not len(report.rows('leakage'))
    assert 'Nothing was found' in repr(report) and 'Nothing was found' in report._repr_html_()
    assert report.notes[0]=='Looked at all 45 training rows and all 15 validation rows.'
    assert report.labels.training.tolist()==[15]*3 and report.labels.validation.tolist()==[5]*3

def faulty():
    df = clean()
    df.loc[50, 'text'] = '  '+df.text[5].replace(' ', '  ')+'\n' # differs in spaces only
    df.loc[51, ['text','label']] = df.text[50],df.label[5] # leaks too, and repeats row 50
    df.loc[50, 'label'] = df.label[5]
    df.loc[[7,9], 'text'] = df.text[4] # label of 7 is that of 4, of 9 another
    df.loc[[11,14], ['text','label']] = df.text[8],df.label[8]
    df.loc[20, 'text'],df.loc[52, 'text'] = '','   '
    df.loc[21, 'text'] = '... !'
    df.loc[22, 'text'] = '漢字 漢'
    df.loc[[23,53], 'text'] = [' '.join(FILLERS[:30]), ' '.join(FILLERS[5:35])]
    return df

def test_each_fault_is_found_in_its_rows(bert, in_tmp):
    report = made(faulty(), bert, max_length=20).check()
    assert found(report)=={('leakage','validation'):[50,51], ('conflict','both'):[4,7,9], ('duplicates','training'):[11,14], ('duplicates','validation'):[51], ('empty','training'):[20],
        ('empty','validation'):[52], ('scant','training'):[21], ('unreadable','training'):[21,22], ('cut','training'):[23], ('cut','validation'):[53]}
    cut = next(f for f in report if f.what=='cut')
    assert 'max_length=20' in cut.message and 'overlap=' in cut.remedy and all(f.remedy and f.message for f in report)
    assert report.rows('cut').tolist()==[23,53]
    frame = report.frame()
    assert frame.n.tolist()==[len(r) for r in frame['rows']] and set(frame.what)=={f.what for f in report}
    for f in report: assert f.what in repr(report) and f.what in report._repr_html_()

def test_empty_texts_are_no_duplicates(bert, in_tmp):
    df = clean()
    df.loc[[3,4,5,48], 'text'] = ''
    assert found(made(df, bert).check())=={('empty','training'):[3,4,5], ('empty','validation'):[48]}

def test_a_validation_row_with_another_label_than_in_training_is_both(bert, in_tmp):
    df = clean()
    df.loc[48, ['text','label']] = df.text[1],df.label[0]
    assert found(made(df, bert).check())=={('leakage','validation'):[48], ('conflict','both'):[1,48]}

def test_labels(bert, in_tmp):
    df = clean()
    df['label'] = 'good'
    df.loc[range(0, 40, 6), 'label'] = 'fine' # 7 of 45
    df.loc[[3,8], 'label'] = 'bad'
    df.loc[[50,51], 'label'] = 'fine'
    report = made(df, bert).check()
    assert found(report)=={('imbalance','training'):[], ('rare','training'):[3,8], ('unvalidated','training'):[3,8]}
    assert "'good' has 36 rows, 'bad' 2" in report[0].message and "class_weights='balanced'" in report[0].remedy
    assert ('imbalance','training') not in found(made(df, bert, class_weights='balanced').check())
    assert 'rare' not in {f.what for f in made(df, bert).check(rows=30)} # of a sample that is not told
    assert report.labels.label.tolist()==['good','fine','bad']

def test_a_single_label_is_compared_with_the_rows_that_lack_it(bert, in_tmp):
    df = clean()
    df['label'] = [int(i%9==0) for i in range(len(df))]
    one = dict(problem_type='multi_label_classification')
    report = made(df, bert, **one).check()
    assert found(report)=={('imbalance','training'):[]} and "'not label' has 40 rows, 'label' 5" in report[0].message
    assert not made(df, bert, class_weights='balanced', **one).check()
    assert not made(df.assign(label=[i%2 for i in range(len(df))]), bert, **one).check()

@pytest.mark.parametrize('several', [False, True])
def test_numbers_that_a_datablock_lets_through_are_named(several, bert, in_tmp):
    df = clean()
    df['label'] = [[float(i), 1.] if several else float(i) for i in range(len(df))]
    df.at[3,'label'],df.at[47,'label'] = ([1., np.nan],[np.inf, 1.]) if several else (np.nan,np.inf)
    blocks = TransformersTextBlock(bert, max_length=32),RegressionBlock(n_out=2 if several else 1)
    dls = DataBlock(blocks, get_x=ColReader('text'), get_y=ColReader('label'), splitter=IndexSplitter(range(45, len(df)))).dataloaders(df, bs=8)
    learn = TransformersLearner(dls, bert)
    report = learn.check()
    assert found(report)=={('missing','training'):[3], ('missing','validation'):[47]}
    assert np.isfinite(np.array(report.labels[['mean','std','min','max']].to_numpy().tolist(), dtype=float)).all() # of the others
    if not several: assert not {3, 47} & set(learn.check(labels=True).suspects.row)

def test_of_many_labels_the_rarest_are_shown_and_how_many_there_are_more(bert, in_tmp):
    rows = pd.DataFrame([dict(text=f'a film {i} {k}', label=f'label {i:02}') for i in range(28) for k in range(30-i)])
    report = learner('single', bert, rows, valid=.2).check()
    shown = [f'label {i:02}' for i in range(28) if f'label {i:02}' in repr(report).split('labels:')[1]]
    assert shown==[f'label {i:02}' for i in (*range(10), *range(18, 28))] and '… (8 more)' in repr(report) and '… (8 more)' in report._repr_html_()
    assert len(report.labels)==28

def test_lengths(bert, in_tmp):
    df = clean()
    df.loc[3, 'text'] = ' '.join(FILLERS[:28])
    table = made(df, bert, max_length=10).check().lengths
    assert table.max_length.tolist()==[10,64] and table.now.tolist()==['✓','']
    assert table['cost'].tolist()[0]==1 and table['cost'][1]>1
    assert table['rows beyond'][0]=='2.2%' and table['rows beyond'][1]=='0.0%'
    sizes = np.array([28+2]+[10]*44)
    assert table['tokens lost'][0]==f'{20/sizes.sum():.1%}' and table['tokens a pass'].tolist()==[450, 450+5*20]
    report = made(df, bert, max_length=10, overlap=2).check()
    assert not report.rows('cut').size and any('windows' in n for n in report.notes)
    assert report.lengths['tokens lost'].tolist()==['0.0%']*2
    assert report.lengths['tokens a pass'][0]>450

def unknown_of(report): return {f.part:f for f in report if f.what=='unknown'}

def test_texts_of_half_unknown_tokens(bert, in_tmp):
    df = clean()
    df.loc[10, 'text'],df.loc[11, 'text'] = '漢字 great','漢字 great film and'
    df.loc[12, 'text'] = '漢字 字' # unreadable
    report = made(df, bert).check()
    told = unknown_of(report)
    assert found(report)=={('unreadable','training'):[12], ('unknown','training'):[10]}
    assert '1 row' in told['training'].message and 'half' in told['training'].message
    assert told['training'].example=='漢字 great'
    assert 'checkpoint' in told['training'].remedy

def test_a_part_with_many_unknown_tokens(bert, in_tmp):
    df = clean()
    rows = [*range(3, 9), 50]
    for i in rows: df.loc[i, 'text'] += ' 漢字 語 漢 字'
    learn = made(df, bert)
    told = unknown_of(learn.check())
    n = {part:sum(len(learn.dls.tokenizer.tokenize(t)) for t in df.text[idxs]) for part,idxs in dict(training=range(45), validation=VALID).items()}
    assert told['training'].rows.tolist()==rows[:-1] and told['training'].message.startswith(f"{5*6/n['training']:.1%} of the tokens are unknown to the tokenizer, in 6 rows (13.3%)"), told
    df.loc[3, 'text'] = 'an old film '*30+'漢字 and '*30
    df.loc[50, 'text'] = 'film'*40+'漢'*100
    for part,finding in unknown_of(made(df, bert).check()).items():
        assert '漢' in finding.example and len(finding.example)<90 and finding.example.startswith('… '), part
    assert told['validation'].rows.tolist()==[50] and f"{5/n['validation']:.1%} of" in told['validation'].message
    df = clean()
    df.loc[3, 'text'] += ' 漢'
    assert not unknown_of(made(df, bert).check())

@pytest.mark.parametrize('arch', ['gpt2','roberta'])
def test_bytes_are_never_unknown(arch, checkpoints, in_tmp):
    df = clean()
    df['text'] = [f'{t} 漢字 語 <|endoftext|>' for t in df.text]
    assert not unknown_of(made(df, checkpoints(arch)).check())

def test_unknown_words_of_a_sentencepiece_tokenizer(in_tmp):
    "All signs of a word are one unknown token, with a space before it that it knows"
    raw = Tokenizer(Unigram([('<pad>',0.), ('</s>',0.), ('<unk>',0.), ('▁',-2.), ('▁film',-3.), ('▁great',-3.), *((c,-5.) for c in 'abcdefghijklmnopqrstuvwxyz')], unk_id=2))
    raw.pre_tokenizer = Metaspace()
    tok = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token='<pad>', eos_token='</s>', unk_token='<unk>', model_max_length=64)
    assert tok.tokenize('漢字語 great')==['▁','漢字語','▁great'] and tok('漢字語')['input_ids']==[3,2]
    sizes,known,unknown = count_tokens(whole_texts(TokenizeText(tok)), ['漢字語 great','漢字語 漢字','great film'])
    assert sizes.tolist()==[3,4,2] and known.tolist()==[1,0,2] and unknown.tolist()==[1,2,0]

def test_no_table_of_lengths_beyond_the_model(checkpoints, in_tmp):
    for arch in ('roberta','gpt2','modernbert'):
        learn = made(clean(), checkpoints(arch))
        report = learn.check()
        assert not report.rows('unreadable').size and report.lengths.max_length.max()<=64 and len(report.lengths)

@pytest.mark.parametrize('source', ['dataset','dict','list','csv'])
def test_row_numbers_are_those_of_the_data_as_given(source, bert, in_tmp):
    df,kwargs = faulty(),{}
    if source=='dataset': data = Dataset.from_pandas(df)
    if source=='list': data = df.to_dict('records')
    if source=='csv': df.replace('', ' ').to_csv(data := in_tmp/'a.csv', index=False)
    if source=='dict': data,kwargs = DatasetDict(train=Dataset.from_pandas(df[:45]), test=Dataset.from_pandas(clean(20, 9)), validation=Dataset.from_pandas(df[45:].reset_index(drop=True))),dict(valid='validation')
    shift = -45 if source=='dict' else 0 # the rows of a split count from its own start
    report = made(data, bert, max_length=20, **kwargs).check()
    assert report.rows('leakage').tolist()==[50+shift,51+shift]
    assert report.rows('conflict').tolist()==[4,7,9]
    assert report.rows('empty').tolist()==[20,52+shift]
    assert report.rows('empty', 'training').tolist()==[20]
    assert report.rows('empty', 'validation').tolist()==[52+shift]
    assert not report.rows('leakage', 'training').size

SPLITS = dict(own=({}, 'train', 'validation'), named=(dict(valid='test'), 'train', 'test'), part_of_train=(dict(valid=.3), 'train', 'train'), no_train=(dict(valid='c'), None, 'c'))

@pytest.mark.parametrize('case', SPLITS)
def test_row_numbers_are_those_of_the_users_own_split(case, bert, in_tmp):
    kwargs,train,valid = SPLITS[case]
    df = faulty()
    df.loc[53, ['text','label']] = df.text[1],df.label[0] # in both parts, with different labels
    rows = lambda a, b: Dataset.from_pandas(df[a:b].reset_index(drop=True))
    data = dict(own=lambda: dict(test=rows(0, 3), train=rows(0, 45), validation=rows(45, 60)), named=lambda: dict(test=rows(45, 60), train=rows(0, 45), validation=rows(0, 3)),
        part_of_train=lambda: dict(test=rows(0, 3), train=rows(0, 60)), no_train=lambda: dict(a=rows(0, 20), b=rows(20, 45), c=rows(45, 60)))[case]()
    learn = made(DatasetDict(data), bert, **dict(valid=.2) | kwargs, max_length=20)
    report,texts = learn.check(labels=True),{name:[' '.join(t.split()) for t in ds['text']] for name,ds in data.items()}
    sides = dict(training=texts[train] if train else [t for o in texts.values() for t in o], validation=texts[valid])
    for f in report:
        if f.part=='both':
            assert case=='part_of_train'
            continue
        for i in f.rows: # what is said of the row is true of it
            text = sides[f.part][i]
            assert {'empty':not text, 'scant':text=='... !', 'unreadable':text in ('... !','漢字 漢'), 'cut':len(text.split())==30}.get(f.what, True)
            if f.what=='leakage': assert text in sides['training']
    assert {'leakage','empty','conflict'}<={f.what for f in report}
    if case in ('own','named'):
        want = {('leakage','validation'):[5,6,8], ('conflict','training'):[1,4,7,9], ('conflict','validation'):[8], ('empty','training'):[20], ('empty','validation'):[7]}
        assert {k:v for k,v in found(report).items() if k in want}==want
    assert all(sides[r.part][r.row].startswith(r.text[:10]) for r in report.suspects.itertuples())

def test_the_first_look_counts_as_the_user_does(bert, in_tmp):
    df = leaky()
    data = DatasetDict(train=Dataset.from_pandas(df[:45]), validation=Dataset.from_pandas(df[45:].reset_index(drop=True)))
    assert 'rows 0, 1, 2)' in fit_warnings(made(data, bert, valid='validation'))[0]

def test_a_shuffled_split_keeps_the_numbers(bert, in_tmp):
    learn = made(df := faulty(), bert, valid=.3, seed=7)
    items,valid = learn.dls.train_ds.items,learn.dls.valid_ds.items.idxs
    report = learn.check()
    assert set(report.rows('empty'))=={20,52} and set(report.rows('conflict'))=={4,7,9}
    train = set(df.text[items.idxs].str.split().str.join(' '))
    assert report.rows('leakage').tolist()==[i for i in valid if ' '.join(df.text[i].split()) in train-{''}]

def test_datablock(bert, in_tmp):
    df = faulty()
    df.index = range(1000, 1060)
    def numbered(get_x, splitter):
        dls = DataBlock(blocks=(TransformersTextBlock(bert, max_length=20), CategoryBlock), get_x=get_x, get_y=ColReader('label'), splitter=splitter).dataloaders(df, bs=BS)
        return TransformersLearner(dls, bert).check()
    want = found(made(faulty(), bert, max_length=20).check())
    assert found(numbered(ColReader('text'), IndexSplitter(VALID)))==want==found(numbered(lambda r: r.text, IndexSplitter(VALID)))
    mixed = numbered(ColReader('text'), RandomSplitter(seed=3))
    assert set(mixed.rows('empty'))=={20,52} and set(mixed.rows('cut'))=={23,53} and set(mixed.rows('scant'))=={21}

def test_datablock_whose_transform_skips_rows(bert, in_tmp):
    def text(r):
        if r.label=='fine': raise SkipItemException
        return r.text
    df = faulty()
    dls = DataBlock(blocks=(TransformersTextBlock(bert, max_length=20), CategoryBlock(vocab=list(CUES))), get_x=text, get_y=ColReader('label'), splitter=IndexSplitter(VALID)).dataloaders(df, bs=BS)
    report = TransformersLearner(dls, bert).check()
    assert report.rows('cut').tolist()==[i for i in (23,53) if df.label[i]!='fine']
    assert not (df.label[report.rows('leakage')]=='fine').any()

@pytest.mark.parametrize('kind', EVERY_KIND)
def test_every_kind_of_target(kind, checkpoint, in_tmp):
    learn = learner(kind, checkpoint)
    report = learn.check()
    assert isinstance(report, DataReport) and repr(report)
    assert report._repr_html_() and (report.labels is None)==(learn.task.kind is None)
    assert report.lengths is not None
    assert not [f for f in report if f.what in ('empty','scant','unreadable','cut')]

def test_several_labels(bert, in_tmp):
    df = FRAMES['multi'].copy()
    df.at[5, 'text'],df.at[5, 'tags'] = df.text[4],df.tags[4][::-1]
    df.at[8, 'text'],df.at[8, 'tags'] = df.text[7],['bad','good','sure']
    learn = made(df, bert, label='tags', valid=list(range(36, 48)))
    report = learn.check()
    assert report.rows('duplicates').tolist()==[5] and report.rows('conflict').tolist()==[7,8]
    assert dict(zip(report.labels.label, report.labels.training))=={l:sum(l in t for t in df.tags[:36]) for l in ('bad','good','sure')}

def test_numbers(bert, in_tmp):
    df = FRAMES['regression'].copy()
    df.loc[5, ['text','score']] = df.text[4],df.score[4]+1
    report = made(df, bert, label='score', valid=list(range(36, 48))).check()
    assert report.rows('conflict').tolist()==[4,5] and report.labels['mean'][0]==round(df.score[:36].mean(), 4)

def test_numbers_that_differ_a_little_are_no_conflict(bert, in_tmp):
    df = FRAMES['regression'].copy()
    std = df.score.std()
    df.loc[[5,40], ['text','score']] = [[df.text[4], df.score[4]+.01], [df.text[4], df.score[4]-.3*std]]
    df.loc[8, ['text','score']] = df.loc[7, ['text','score']]
    df.loc[11, ['text','score']] = [df.text[10], df.score[10]+.8*std]
    learn = made(df, bert, label='score', valid=list(range(36, 48)))
    assert {k:v for k,v in found(learn.check()).items() if k[0] in ('conflict','duplicates','leakage')}=={('leakage','validation'):[40], ('conflict','both'):[10,11], ('duplicates','training'):[8,30]}
    df['other'] = 0.
    df.loc[[4,5], 'other'] = [3.,-3.]
    report = made(df, bert, label=['score','other'], valid=list(range(36, 48))).check()
    assert report.rows('conflict').tolist()==[4,5,10,11,40]
    df = FRAMES['regression'].copy()
    df.loc[range(1, 5), 'text'] = df.text[0]
    df.loc[range(5), 'score'] = [1., 1.01, 1.02, 1., .99]
    assert not fit_warnings(made(df, bert, label='score', valid=list(range(36, 48))))
    df.loc[range(5), 'score'] = [1., -1., 1.02, 1., .99]
    assert 'another label' in fit_warnings(made(df, bert, label='score', valid=list(range(36, 48))))[0]

def test_pairs(bert, in_tmp):
    df = FRAMES['pair'].copy()
    df.loc[5, ['one','two','same']] = df.loc[4, ['one','two','same']]
    df.loc[6, ['one','two']] = df.loc[3, ['two','one']].tolist() # the other way round is another pair
    df.loc[40, ['one','two','same']] = df.loc[2, ['one','two','same']]
    df.loc[9, 'two'] = ' '
    report = made(df, bert, text=['one','two'], label='same', valid=list(range(36, 48))).check()
    assert {k:v for k,v in found(report).items() if k[0] in ('leakage','conflict','duplicates','empty','scant')}=={('leakage','validation'):[40], ('duplicates','training'):[5], ('empty','training'):[9]}

def tag_learner(data, bert, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return token_classification_learner(data, bert, **dict(bs=BS, valid=[4,5]) | kwargs)

TAGGED = [('people saw the town','O O O B-LOC'), ('the town was cold','O I-LOC O O'), ('many people came to see the film with friends in town','O O O O O O O O O O B-LOC'),
    ('rain fell','O O'), ('people saw the town','O O O B-LOC'), ('friends walked to town','O O O B-LOC'), ('people walked with friends','O O O O'), ('rain fell on town','O O O B-ORG'), ('. .','O O')]

def test_tags(bert, in_tmp):
    report = tag_learner(tagged(TAGGED), bert, max_length=10).check()
    assert found(report)=={('leakage','validation'):[4], ('broken_tags','training'):[1], ('cut','training'):[2], ('cut_entities','training'):[2], ('scant','training'):[8], ('unreadable','training'):[8],
        ('rare','training'):[0,1,2,7], ('unvalidated','training'):[7]}
    assert dict(zip(report.labels.label, report.labels.training))=={'O':27, 'B-LOC':2, 'I-LOC':1, 'B-ORG':1, 'I-ORG':0}
    repaired = tag_learner(tagged(TAGGED), bert, max_length=10, repair=True).check()
    assert not repaired.rows('broken_tags').size and repaired.rows('cut_entities').tolist()==[2]
    assert not tag_learner(tagged(TAGGED), bert, max_length=10, overlap=2).check().rows('cut_entities').size

def test_a_cut_that_leaves_an_entity_is_only_a_cut(bert, in_tmp):
    more = [*TAGGED[:2], ('town people came to see the film with friends in town','B-LOC O O O O O O O O O B-LOC'), *TAGGED[3:]]
    report = tag_learner(tagged(more), bert, max_length=10).check()
    assert report.rows('cut').tolist()==[2] and not report.rows('cut_entities').size
    none = tag_learner(tagged([*TAGGED[:2], (TAGGED[2][0], ' '.join(['O']*11)), *TAGGED[3:]]), bert, max_length=10).check()
    assert none.rows('cut').tolist()==[2] and not none.rows('cut_entities').size
    plain = [(s, ' '.join('NV'[len(w)%2] for w in s.split())) for s,_ in TAGGED]
    report = tag_learner(tagged(plain), bert, max_length=10).check()
    assert report.rows('cut').tolist()==[2] and not report.rows('cut_entities').size
    assert not report.rows('broken_tags').size

def test_masked_lm(bert, in_tmp):
    df = faulty()
    learn = masked_lm_learner(df[['text']], bert, valid=VALID, bs=BS, max_length=20)
    want = {('leakage','validation'):[50,51], ('duplicates','training'):[7,9,11,14], ('duplicates','validation'):[51], ('empty','training'):[20], ('empty','validation'):[52],
        ('scant','training'):[21], ('unreadable','training'):[21,22], ('cut','training'):[23], ('cut','validation'):[53]}
    report = learn.check()
    assert found(report)==want and report.labels is None and report.lengths is not None
    with pytest.raises(ValueError, match='none of these'): learn.check(labels=True)
    (in_tmp/'a.txt').write_text('\n'.join(clean(200).text))
    for kwargs in ({}, dict(whole_word=True)):
        report = masked_lm_learner(in_tmp/'a.txt', bert, block_size=16, **kwargs).check()
        assert not report and report.lengths is None and any('blocks' in n for n in report.notes)

def everything(learn):
    model = {k:v.clone() for k,v in learn.model.state_dict().items()}
    opt = None if learn.opt is None else {k:v for h in learn.opt.hypers for k,v in h.items()}
    return model,random_states(loaders_of(learn)),opt,learn.model.training,set(learn.dls.text_tfm.reported),[list(map(float, r)) for r in learn.recorder.values] if hasattr(learn, 'recorder') and hasattr(learn.recorder, 'values') else None

def same(a, b):
    if isinstance(a, dict): return a.keys()==b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a)==len(b) and all(map(same, a, b))
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else torch.equal(a, b) if isinstance(a, torch.Tensor) else a==b

@pytest.mark.parametrize('fitted', [False, True])
def test_nothing_changes(fitted, bert, in_tmp):
    def learn_and(check):
        learn = made(faulty(), bert, max_length=20)
        learn.check_first = False
        with learn.no_bar(), learn.no_logging(), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            if fitted: learn.fit(1, 1e-3)
            before = everything(learn)
            if check:
                learn.check(labels=True)
                assert same(everything(learn), before)
            learn.fit(1, 1e-3)
        return learn
    assert same(everything(learn_and(True)), everything(learn_and(False)))

@pytest.mark.parametrize('kind', ['tags','number'])
def test_looking_for_wrong_tags_and_numbers_changes_nothing(kind, bert, in_tmp):
    learn = tag_learner(towns_and_names(), bert, valid=.2) if kind=='tags' else made(numbers()[['text','score']], bert, label='score', valid=.2)
    before = everything(learn)
    learn.check(labels=True)
    assert same(everything(learn), before)

def test_random_transforms_of_the_user_leave_no_trace(bert, in_tmp):
    def drop(text): return ' '.join(w for w in text.split() if random.random()<.9 or np.random.rand()<.5 or torch.rand(1)<.5)
    dls = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock), get_x=Pipeline([ColReader('text'), drop]), get_y=ColReader('label'), splitter=IndexSplitter(VALID)).dataloaders(clean(), bs=BS)
    learn = TransformersLearner(dls, bert)
    before = everything(learn)
    learn.check()
    assert same(everything(learn), before)

def test_a_cut_is_still_reported_after_a_check(bert, in_tmp):
    learn = made(faulty(), bert, max_length=20)
    learn.check()
    with pytest.warns(UserWarning, match='cut off'): list(learn.dls.train)

def test_a_sample_of_a_large_set_read_in_pieces(bert, in_tmp, monkeypatch):
    df = clean(5000)
    Dataset.from_pandas(df).to_parquet('a.parquet')
    data = Dataset.from_parquet('a.parquet', cache_dir=str(in_tmp/'cache'))
    learn = made(data, bert, valid=.2)
    read,pieces = Rows.read,[]
    monkeypatch.setattr(Rows, 'read', lambda self, idxs, names: pieces.append(len(idxs)) or read(self, idxs, names))
    monkeypatch.setattr(Rows, 'column', lambda *a: 1/0)
    monkeypatch.setattr(Rows, 'arrow', lambda *a: 1/0)
    report = learn.check(rows=1500)
    assert report.notes[0]=='Looked at 1,500 of 4,000 training rows and all 1,000 validation rows. Texts were compared in all rows.'
    assert sum(pieces)<=2*(1500+1000+4000)+10 and max(pieces)<=data_parts._step # two columns: of the sample for the tokenizer, of all to compare them
    assert found(report)==found(learn.check(rows=1500))
    assert same(learn.check(rows=None).notes[0], 'Looked at all 4,000 training rows and all 1,000 validation rows.')
    assert report.labels.training.sum()==1500

def half_leaked():
    df = clean(400)
    df.loc[range(200, 300), ['text','label']] = df.loc[range(100), ['text','label']].to_numpy()
    df.loc[[7,150], 'text'] = '' # an empty text, a leaked one less
    df.loc[[8,151], 'text'] = df.text[9]
    df.loc[8, 'label'] = [l for l in CUES if l!=df.label[9]][0]
    df.loc[350, ['text','label']] = df.loc[340, ['text','label']]
    return df

def test_a_sample_hides_no_leak_and_no_duplicate(bert, in_tmp, monkeypatch):
    learn = made(half_leaked(), bert, valid=list(range(200, 400)))
    report,whole = learn.check(rows=50),learn.check(rows=None)
    for what in ('leakage','conflict','duplicates','empty'): assert report.rows(what).tolist()==whole.rows(what).tolist()!=[], what
    assert len(report.rows('leakage'))==98 and '98 rows (49.0%)' in str(report[0]) and 'at least' not in repr(report)
    assert report.notes[0].startswith('Looked at 50 of 200 training rows and 50 of 200 validation rows')
    assert report.labels.training.sum()==50
    monkeypatch.setattr(data_parts, '_most_compared', 100)
    assert 'at least' in repr(learn.check(rows=50)) and 'compared' not in learn.check(rows=50).notes[0]

def test_of_a_sample_no_more_is_said_than_was_seen(bert, in_tmp):
    df = half_leaked()
    df.loc[range(20, 40), 'text'] = [f'{t} {" ".join(FILLERS[:20])}' for t in df.text[20:40]]
    dls = DataBlock(blocks=(TransformersTextBlock(bert, max_length=20), CategoryBlock), get_x=lambda r: r.text, get_y=ColReader('label'), splitter=IndexSplitter(list(range(200, 400)))).dataloaders(df, bs=BS)
    learn = TransformersLearner(dls, bert)
    said = {f.what:f for f in learn.check(rows=100)}
    n = len(said['leakage'].rows)
    assert 0<n<60 and f'at least {n} rows of the 100 looked at ({n/100:.1%})' in said['leakage'].message
    assert f"{len(said['cut'].rows)} rows of the 100 looked at" in said['cut'].message
    assert 'at least' not in said['cut'].message
    assert all('looked at' not in f.message for f in learn.check())

def test_wrong_labels_are_among_the_suspects(bert, in_tmp):
    df = clean(240)
    wrong = [10,40,77,150,203,230]
    for i in wrong: df.loc[i, 'label'] = list(CUES)[(list(CUES).index(df.label[i])+1)%3]
    report = made(df, bert, valid=list(range(200, 240))).check(labels=True)
    assert set(report.suspects.row)==set(wrong)==set(report.rows('label'))
    assert set(report.suspects.row[report.suspects.part=='validation'])=={203,230}
    truth = clean(240).label
    assert all(truth[r.row]==r.likelier and df.label[r.row]==r.label for r in report.suspects.itertuples())
    assert report.suspects.lead.is_monotonic_decreasing
    assert same(report.suspects.to_dict(), made(df, bert, valid=list(range(200, 240))).check(labels=True).suspects.to_dict())

def test_wrong_labels_of_several(bert, in_tmp):
    df = clean(240)
    df['tags'] = [[l]+(['sure'] if i%2 else []) for i,l in enumerate(df.label)]
    df['text'] = [f'{t} indeed' if i%2 else t for i,t in enumerate(df.text)]
    df.at[21, 'tags'],df.at[30, 'tags'] = [df.label[21]],[df.label[30],'sure'] # missing; too much
    report = made(df[['text','tags']], bert, label='tags', valid=list(range(200, 240))).check(labels=True)
    said = {(r.row, r.likelier) for r in report.suspects.itertuples()}
    assert {(21, "with 'sure'"),(30, "without 'sure'")}<=said and len(said)<6

def test_nothing_is_said_of_labels_that_words_do_not_tell(bert, in_tmp):
    df = clean(120)
    df['label'] = np.random.default_rng(0).permutation(df.label)
    report = made(df, bert, valid=.2).check(labels=True)
    assert not report.rows('label').size and any('chance' in n for n in report.notes) and not len(report.suspects)

def test_labels_with_few_rows_are_left_out(bert, in_tmp):
    df = clean(120)
    df.loc[[3,4], 'label'] = 'odd'
    assert not {3,4}&set(made(df, bert, valid=list(range(100, 120))).check(labels=True).rows('label'))

TOWNS,NAMES = 'delta gamma omega sigma kappa'.split(),'xenia yorick zelda wanda viktor'.split()
def towns_and_names(n=120, seed=2):
    "Sentences of six words, in which a town and a name stand at any place."
    rng,res = np.random.default_rng(seed),[]
    for i in range(n):
        words,tags = list(map(str, rng.choice(FILLERS, 6))),['O']*6
        for j,(pool,tag) in zip(rng.choice(6, 2, replace=False), ((TOWNS,'B-LOC'), (NAMES,'B-PER'))): words[j],tags[j] = str(rng.choice(pool)),tag
        res.append((' '.join(words), ' '.join(tags)))
    return tagged(res)

def at_tag(df, row, tag): return df.tags[row].index(tag)
def set_tag(df, row, at, tag): df.at[row, 'tags'] = [*df.tags[row][:at], tag, *df.tags[row][at+1:]]

def test_wrong_tags_are_the_suspects(bert, in_tmp):
    df = towns_and_names()
    wrong = {(i, at_tag(df, i, own)):(own, new) for i,own,new in [(3,'B-LOC','O'), (40,'B-PER','B-LOC'), (77,'O','B-PER'), (101,'B-LOC','B-PER'), (118,'B-PER','O')]}
    for (i,j),(_,new) in wrong.items(): set_tag(df, i, j, new)
    report = tag_learner(df, bert, valid=list(range(100, 120))).check(labels=True)
    table = report.suspects
    assert table.columns.tolist()==['row','part','at','word','label','likelier','lead','text']
    assert {(r.row, r.at):(r.likelier, r.label) for r in table.itertuples()}==wrong
    assert table.lead.is_monotonic_decreasing
    assert all(df.tokens[r.row][r.at]==r.word and f'»{r.word}«' in r.text and r.text.replace('»', '').replace('«', '')==' '.join(df.tokens[r.row]) for r in table.itertuples())
    assert set(table.row[table.part=='validation'])=={101,118}
    assert set(report.rows('label'))=={3,40,77,101,118} and 'wrong tag' in str(report)
    assert same(table.to_dict(), tag_learner(df, bert, valid=list(range(100, 120))).check(labels=True).suspects.to_dict())

def test_a_word_is_judged_by_a_model_that_has_not_seen_its_sentence():
    rng = np.random.default_rng(0)
    tag_of = [str(rng.choice(['N','V'])) for _ in range(60)]
    odd = lambda i: ''.join(chr(97+int(c)) for c in f'{i:02}')
    rows = [(i, [f'{odd(i)}{k}' for k in (odd(i)*2, odd(i)*3, odd(i)*2, odd(i)*3)], [tag_of[i]]*4, '', 'training') for i in range(60)] # a sentence tells its tag, others do not
    table,told = suspects(rows, ['N','V'], 'tags')
    assert not len(table) and 'chance' in told

def test_words_that_look_like_no_entity_are_not_all_suspect():
    df = towns_and_names(300)
    unlike = [(i, at_tag(df, i, 'O')) for i in range(0, 300, 12)] # true entities of the test, each a word of its own
    for n,(i,j) in enumerate(unlike):
        df.tokens[i][j] = 'lmnopqrstuvw'[n%12]*2+'abc'[n//12]
        set_tag(df, i, j, 'B-ORG')
    set_tag(df, 5, at_tag(df, 5, 'B-LOC'), 'B-PER')
    rows = [(i, w, t, '', 'training') for i,(w,t) in enumerate(zip(df.tokens, df.tags))]
    table,_ = suspects(rows, ['O','B-LOC','B-PER','B-ORG'], 'tags')
    assert table.row.tolist()[0]==5
    assert not len(table[(table.label=='B-ORG') & (table.lead>table.lead[0])])
    assert len(table)<len(unlike)/2

def test_rare_tags_and_short_sentences(bert, in_tmp):
    df = towns_and_names()
    for i in (8,9,10,11): set_tag(df, i, 0, 'B-ODD') # four sentences
    df.loc[len(df)] = [['rain'],['O']]
    report = tag_learner(df, bert, valid=list(range(100, 120))).check(labels=True)
    assert 'B-ODD' not in {*report.suspects.label, *report.suspects.likelier}
    few = tag_learner(tagged(TAGGED), bert).check(labels=True)
    assert not len(few.suspects) and any('enough rows' in n for n in few.notes)
    assert few.suspects.columns.tolist()==report.suspects.columns.tolist()

def test_long_sets_of_tags_are_sampled(bert, in_tmp, monkeypatch):
    monkeypatch.setattr(health, '_most_words', 500) # a sentence has 6
    read = []
    monkeypatch.setattr(health, 'suspects', lambda rows, *args: read.extend(rows) or suspects(rows, *args))
    report = tag_learner(towns_and_names(), bert, valid=list(range(100, 120))).check(labels=True)
    assert len(read)==500//6==len({r[0] for r in read})
    assert [r[0] for r in read]==sorted(r[0] for r in read)
    assert any('498 words' in n for n in report.notes)
    monkeypatch.setattr(health, '_most_judged', 30)
    assert '30 rows' in made(clean(), bert).check(labels=True).notes[1]

def numbers(n=200, seed=4):
    "Texts whose first number is told by their words, and whose second by nothing."
    rng,df = np.random.default_rng(seed),clean(n)
    df['score'] = [dict(zip(CUES, (1, 5, 9)))[l]+rng.normal()/5 for l in df.label]
    df['noise'] = rng.normal(size=n)*100
    return df.drop(columns='label')

def test_wrong_numbers_are_the_first_suspects(bert, in_tmp):
    df = numbers()
    truth,wrong = df.score.copy(),[11,60,123,190]
    for i in wrong: df.loc[i, 'score'] = 10-truth[i]+(4 if 4<truth[i]<6 else 0)
    report = made(df[['text','score']], bert, label='score', valid=list(range(160, 200))).check(labels=True)
    first = report.suspects.head(4)
    assert first.columns.tolist()==['row','part','column','label','expected','off','text']
    assert set(first.row)==set(wrong)
    assert first.part[first.row==190].tolist()==['validation']
    assert all(abs(r.expected-truth[r.row])<abs(r.label-truth[r.row]) and r.label==df.score[r.row] and r.column=='score' for r in first.itertuples())
    assert report.suspects.off.is_monotonic_decreasing
    assert (report.suspects.off>=2.5).all()
    assert set(wrong)<=set(report.rows('label')) and 'wrong number' in str(report)
    assert any("R² of 'score' 0." in n for n in report.notes)

def test_of_several_numbers_those_that_words_do_not_tell_are_left_alone(bert, in_tmp):
    df = numbers()
    df.loc[11, 'score'],df.loc[30, 'noise'] = 20,1e5
    report = made(df, bert, label=['noise','score'], valid=.2).check(labels=True)
    assert report.suspects.row[0]==11 and set(report.suspects.column)=={'score'}
    assert any('below 0.2' in n for n in report.notes)
    alone = made(df[['text','noise']], bert, label='noise', valid=.2).check(labels=True)
    assert not len(alone.suspects) and not alone.rows('label').size and 'nothing is said' in alone.notes[-1]

def test_many_wrong_numbers_do_not_hide_each_other():
    df,rng = numbers(400),np.random.default_rng(1)
    wrong = rng.choice(400, 60, replace=False) # 15%
    df.loc[wrong, 'score'] += 8
    table,_ = suspects([(i, t.split(), s, t, 'training') for i,(t,s) in enumerate(zip(df.text, df.score))], ['score'], 'number')
    assert np.isin(table.row[:50], wrong).mean()>.95 and np.isin(wrong, table.row).mean()>.8

def test_few_numbers_and_numbers_that_are_all_the_same():
    rows = [(i, ['a','b'], 1., '', 'training') for i in range(30)]
    assert not len(suspects(rows, ['x'], 'number')[0]) and 'too few' in suspects(rows[:19], ['x'], 'number')[1]

@pytest.mark.parametrize('number', [False, True])
def test_pairs_are_told_by_what_both_texts_have(number, bert, in_tmp):
    rng,rows = np.random.default_rng(0),[]
    for i in range(200):
        one = list(map(str, rng.choice(FILLERS, 6, replace=False)))
        rows.append(dict(one=' '.join(one), two=' '.join(rng.permutation(one) if i%2 else rng.choice(FILLERS, 6)), same=float(i%2) if number else ['no','yes'][i%2]))
    df = pd.DataFrame(rows)
    for i in (20,61,190): df.loc[i, 'same'] = df.same[i+1]
    report = made(df, bert, text=['one','two'], label='same', valid=list(range(160, 200)), **dict(problem_type='regression') if number else {}).check(labels=True)
    assert set(report.suspects.row[:3])=={20,61,190} and all(' | ' in t for t in report.suspects.text)

def test_pair_tokens():
    assert pair_tokens([3,0,0], [0,5])==[1,0,-5,-1,-7,-1]==pair_tokens([5,0], [3,0])
    assert pair_tokens([], [])==[] and pair_tokens([2], [])==[-4,-1]

def test_suspicious():
    probs = np.array([[.9,.1,0], [.1,.9,0], [.2,.7,.1], [.45,.5,.05]])
    rows,other,lead = suspicious(probs, np.array([0,0,2,0]))
    assert rows.tolist()==[1,2] and other.tolist()==[1,1] and np.allclose(lead, [.8,.6])

def test_without_rows(bert, in_tmp):
    made(clean(), bert).save_pretrained('saved')
    with pytest.raises(ValueError, match='no rows to look at'): TransformersLearner.from_pretrained('saved').check()
    learn = made(clean(), bert)
    for rows in (0, -3, 1.5, True, 'all'):
        with pytest.raises(ValueError, match=f'rows={rows!r}.*whole number'): learn.check(rows=rows)
    assert learn.check(rows=np.int64(5)).notes[0].startswith('Looked at 5 of 45')

@pytest.mark.parametrize('unknown', ['all', 'most'])
def test_labels_of_texts_of_which_the_tokenizer_knows_nothing(unknown, bert, in_tmp):
    df = clean(60)
    df['text'] = [t if unknown=='most' and i==3 else '漢字 '*(i+1) for i,t in enumerate(df.text)]
    report = made(df, bert).check(labels=True)
    assert any('Labels were not judged' in n and 'tokenizer' in n for n in report.notes)
    assert not report.rows('label').size and report.suspects is None
    assert len(report.rows('unreadable'))==60-(unknown=='most')

def test_html_is_escaped(bert, in_tmp):
    df = clean()
    evil = '<script>alert(1)</script> & more <b>'
    df.loc[[3,6], 'text'],df.loc[3, 'label'],df.loc[6, 'label'] = evil,'good','bad'
    df.loc[[9,50], 'text'] = '<img src=x onerror=alert(2)>'
    df['label'] = df.label.replace('fine', '<i>fine</i>')
    page = made(df, bert).check(labels=True)._repr_html_()
    assert '&lt;script&gt;' in page and '<script' not in page
    assert '<img' not in page and '<i>' not in page
    assert 'dir="auto"' in page

# ----- before the first fit

def fit_warnings(learn, method='fit', n=1):
    with warnings.catch_warnings(record=True) as said, learn.no_bar(), learn.no_logging():
        warnings.simplefilter('always')
        for _ in range(n): getattr(learn, method)(1, 1e-3)
    return [str(w.message) for w in said if 'learn.check()' in str(w.message)]

def leaky(n=3):
    df = clean()
    df.loc[range(45, 45+n), ['text','label']] = df.loc[range(n), ['text','label']].to_numpy()
    return df

def test_the_first_fit_warns_once(bert, in_tmp):
    learn = made(leaky(), bert)
    said = fit_warnings(learn, n=2)
    assert len(said)==1 and '3 of 15 validation rows' in said[0] and 'rows 45, 46, 47' in said[0]
    learn.check_first = True
    assert len(fit_warnings(learn))==1
    for method in ('fit_one_cycle','fit_linear','fine_tune'): assert len(fit_warnings(made(leaky(), bert), method))==1

def test_few_faults_are_not_worth_a_warning(bert, in_tmp):
    assert not fit_warnings(made(clean(), bert)) and not fit_warnings(made(leaky(2), bert))
    df = leaky(3)
    df.loc[[0,1,2,45,46,47], 'text'] = ['people saw it','rain fell','that film']*2 # short texts repeat by chance
    assert not fit_warnings(made(df, bert))
    skewed = clean()
    skewed['label'] = ['good']*59+['bad']
    assert not fit_warnings(made(skewed, bert, valid=list(range(15))))

def test_texts_with_two_labels_and_empty_texts(bert, in_tmp):
    df = clean()
    df.loc[[4,5], 'text'] = df.text[3]
    assert '3 of 45 training rows have a text that also stands with another label (rows 3, 4, 5)' in fit_warnings(made(df, bert))[0]
    df = clean()
    df.loc[[4,5,6], 'text'] = ''
    assert not fit_warnings(made(df, bert)) # was said when the learner was made
    dls = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'), splitter=IndexSplitter(VALID)).dataloaders(df, bs=BS)
    assert '3 of 45 training texts are empty (rows 4, 5, 6)' in fit_warnings(TransformersLearner(dls, bert))[0]

def test_it_can_be_switched_off(bert, in_tmp, monkeypatch):
    learn = made(leaky(), bert)
    learn.check_first = False
    assert not fit_warnings(learn)
    monkeypatch.setattr(TransformersLearner, 'check_first', False)
    assert not fit_warnings(made(leaky(), bert))

def test_an_error_in_the_look_does_not_stop_training(bert, in_tmp, monkeypatch):
    monkeypatch.setattr(first_look, '_worries', lambda learn: 1/0)
    learn = made(leaky(), bert)
    assert not fit_warnings(learn) and len(learn.recorder.values)==1

def test_the_look_does_not_change_training(bert, in_tmp):
    def trained(first):
        learn = made(leaky(), bert)
        learn.check_first = first
        fit_warnings(learn, 'fit_one_cycle')
        return everything(learn)
    assert same(trained(True), trained(False))

def test_functions_of_the_user_are_not_called_for_it(bert, in_tmp):
    calls = []
    dls = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock), get_x=lambda r: calls.append(1) or r.text, get_y=ColReader('label'), splitter=IndexSplitter(VALID)).dataloaders(leaky(), bs=BS)
    learn = TransformersLearner(dls, bert)
    calls.clear()
    first_look._look_first(learn)
    assert not calls and not learn.check_first

def test_tags_pairs_and_gaps_before_the_first_fit(bert, in_tmp):
    long = [(f'{s} and the friends came home', f'{t} O O O O O') for s,t in TAGGED]
    learn = tag_learner(tagged(long*4), bert, valid=list(range(27, 36)))
    assert '9 of 9 validation rows' in fit_warnings(learn)[0]
    df = FRAMES['pair'].copy()
    df.loc[range(40, 44), ['one','two','same']] = df.loc[range(4), ['one','two','same']].to_numpy()
    assert '4 of 12 validation rows' in fit_warnings(made(df, bert, text=['one','two'], label='same', valid=list(range(36, 48))))[0]
    assert '3 of 15 validation rows' in fit_warnings(masked_lm_learner(leaky(), bert, valid=VALID, bs=BS))[0]
    (in_tmp/'a.txt').write_text('\n'.join(['the same line again and again']*200))
    assert not fit_warnings(masked_lm_learner(in_tmp/'a.txt', bert, block_size=16))

def test_what_the_text_transform_finds_is_told_once(bert, in_tmp):
    "A task's own findings (of prompts, of contexts) stood in the report twice."
    learn = learner('single', bert)
    own = health.Finding('own', 'training', np.array([0]), 'one row', 'look at it')
    learn.dls.text_tfm.findings = lambda parts: [own]
    assert [f.what for f in learn.check()].count('own')==1

@pytest.mark.parametrize('make', [lambda o: o, lambda o: [o]], ids=['one','several'])
def test_labels_of_one_hash_are_two_labels(make, bert): # in Python -1 and -2 have
    texts = [f'film {i} was great' for i in range(20)]+['the same text']*2+['another text']*2
    labels = [*map(make, [-2,-1,0,1,2]*4+[-1,-2,1,2])]
    found = {f.what:f for f in made(pd.DataFrame(dict(text=texts, label=labels)), bert, valid=list(range(5))).check()}
    assert found['conflict'].rows.tolist()==[20,21,22,23] and 'duplicates' not in found

def test_numbers_of_one_hash_are_two_numbers(bert):
    df = pd.DataFrame(dict(text=[f'film {i}' for i in range(20)]+['the same text']*2, label=[*np.arange(20)+.5, -1., -2.]))
    assert 'duplicates' not in {f.what for f in made(df, bert, valid=list(range(5))).check()}

def test_marks_that_belong_to_letters_are_told(tmp_path):
    "vowels of Hindi are marks, which a tokenizer that drops accents takes away: two words become one, and nothing is unknown"
    rows = pd.DataFrame(dict(text=['की कु i', 'के कू i', 'naïve', 'plain']*8, label=['a','b','c','d']*8))
    bert = scratch_checkpoint(rows.text, tmp_path/'a')
    found = {f.part:f for f in sequence_classification_learner(rows, bert, valid=.5).check() if f.what=='marks'}
    assert len(found['training'].rows)==len(found['validation'].rows)==8 and all(r%4<2 for f in found.values() for r in f.rows)
    kept = AutoTokenizer.from_pretrained(bert)
    kept.backend_tokenizer.normalizer = BertNormalizer(strip_accents=False)
    assert not [f for f in sequence_classification_learner(rows, bert, tokenizer=kept, valid=.5).check() if f.what=='marks']

@pytest.mark.parametrize('kind', ['single','pair','answers'])
def test_tokens_of_windows_are_those_of_a_pass(kind, bert):
    first,texts = ' '.join(FILLERS[:8]),[' '.join(np.random.default_rng(i).choice(FILLERS, 60)) for i in range(20)]
    rows = dict(single=dict(text=texts, label=['a','b']*10), pair=dict(one=[first]*20, two=texts, same=['a','b']*10),
        answers=dict(question=[first]*20, context=texts, answers=[dict(text=[t.split()[0]], answer_start=[0]) for t in texts]))[kind]
    learn = learner(kind, bert, pd.DataFrame(rows), max_length=40, overlap=4, valid=None)
    fields = learn.dls.text_tfm.fields
    read = sum(int(x.unflatten(1, (-1, len(fields)))[:,:,fields.index('attention_mask')].sum()) for x,_ in learn.dls.train)
    table = learn.check().lengths
    assert table['tokens a pass'][table.max_length==40].tolist()==[read] and table.cost.tolist()[0]==1

def test_a_judge_takes_the_place_of_an_earlier_one(monkeypatch):
    from blurlike.inspect import wrong_labels
    monkeypatch.setattr(wrong_labels, '_judges', {})
    judges = wrong_labels.judges
    first,second = judges('mine')(lambda *_: 1),judges('mine')(lambda *_: 2)
    assert first is not second and wrong_labels._judges['mine'] is second

def test_what_is_cut_is_told_with_what_can_be_done(bert):
    "A limit that is the model's cannot be raised."
    long = clean().assign(text=lambda d: d.text.map(lambda t: f'{t} '*20))
    def advice(**kwargs): return next(f.remedy for f in made(long, bert, **kwargs).check() if f.what=='cut')
    assert advice().startswith('shorten the texts, take a model that reads more tokens, or pass overlap=')
    assert advice(max_length=16).startswith('raise max_length, or pass overlap=')
