"What a user can get wrong: the message names column, row and remedy, before anything trains. And what looks wrong but must work."
import json,os,pickle,re,shutil,warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import tokenizers
import transformers
from fastai.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat
from blurlike.all import (Callback, CategoryBlock, ClassificationInterpretation, ColReader, Column, DataBlock, EarlyStoppingCallback, Interpretation, MaskedLMBlock, RandomSplitter, SaveModelCallback, TextChoicesBlock, TransformersLearner, TransformersTextBlock, accuracy, causal_lm_learner, load_learner, load_tokenizer, mae, masked_lm_learner, model_card, output_names, read_rows,
    seq2seq_learner, sequence_classification_learner, token_classification_learner)
from blurlike.data.label_columns import LabelLists, LabelVector
from blurlike.data.tokens import TokenizeText, whole_texts
from small import FRAMES, KINDS, EVERY_KIND, MORE_KINDS, TEXTS, activated, byte_tokenizer, changed, close, direct_logits, item_of, learner, small_bert, texts_of, valid_frame, weights, word_tokenizer
from datasets import ClassLabel, Dataset, DatasetDict, Features, IterableDataset, Sequence, Value
from blurlike.support.arguments import misspelt

pytestmark = pytest.mark.usefixtures('in_tmp')
DF,OWN = FRAMES['single'],object() # `OWN`: the sound table of that kind

def refused(kind, message, checkpoint, data, error=ValueError, **kwargs):
    "Making a learner fails with a message that matches; nothing was trained."
    with pytest.raises(error) as e: learner(kind, checkpoint, FRAMES[kind] if data is OWN else data, **kwargs)
    said = str(e.value)
    assert re.search(message, said, re.S), said
    return said

def spoiled(kind, column, rows): # a copy of the table in which `rows` of `column` are {row: value}
    df = FRAMES[kind].copy().astype({column:object})
    for i,v in rows.items(): df.at[i,column] = v
    return df

# The table

@pytest.mark.parametrize('kwargs,name', [(dict(text='body'),'body'), (dict(label='class'),'class'), (dict(text=['text','body']),'body'), (dict(label=['label','class']),'class')])
@pytest.mark.parametrize('form', [lambda df: df, Dataset.from_pandas, lambda df: df.to_dict('records')], ids=['frame','dataset','dicts'])
def test_missing_column(form, kwargs, name, bert): assert 'names another' not in refused('single', rf"no column '{name}'.*\['text', 'label'\]", bert, form(DF), KeyError, **kwargs)

@pytest.mark.parametrize('form', [lambda df: df, Dataset.from_pandas], ids=['frame','dataset'])
def test_a_column_inside_another_is_told(form, bert): # as the Hub keeps translations
    df = pd.DataFrame(dict(translation=[dict(en='a', de='b')]*4))
    for name in ('text','label'): refused('single', rf"no column '{name}'; the data has .*; {name}= names another column", bert, DF.rename(columns={name:'x'}), KeyError)
    refused('single', r"no column 'en'.*stands inside 'translation'.*pd.DataFrame\(list", bert, form(df), KeyError, text='en')

@pytest.mark.parametrize('data', [DF[:0], DF[:0].to_dict('records'), Dataset.from_pandas(DF[:0])], ids=['frame','dicts','dataset'])
def test_no_rows(data, bert): refused('single', 'no rows', bert, data)

def test_no_rows_in_a_file(bert, in_tmp):
    (in_tmp/'a.csv').write_text('text,label\n')
    refused('single', r"no rows.*'text', 'label'", bert, 'a.csv')

@pytest.mark.parametrize('data,error,message', [(5,TypeError,'not int'), (None,TypeError,'not NoneType'), (['a','b'],TypeError,'item 0 is str'), (dict(text=['a']),TypeError,'not dict'),
    (IterableDataset.from_generator(lambda: iter([])),TypeError,r'IterableDataset.*take'), ('gone.csv',FileNotFoundError,'gone.csv'), ('.',IsADirectoryError,'is a folder.*one of its files'), ('here.xlsx',ValueError,r'here\.xlsx.*\.csv')], ids=str)
def test_no_table(data, error, message, bert, in_tmp):
    (in_tmp/'here.xlsx').write_text('')
    refused('single', message, bert, data, error)

@pytest.mark.parametrize('text', ['some text '*60, '~ some text'], ids=['long','tilde']) # none of which can be the name of a file
def test_texts_that_are_asked_whether_they_are_files(text, bert):
    for make in (sequence_classification_learner, masked_lm_learner, causal_lm_learner, token_classification_learner):
        for data,error,said in (([text]*30,TypeError,'a list must hold dicts'), (text,FileNotFoundError,'does not exist'), ((text, text),FileNotFoundError,'does not exist'), (text+'.txt',FileNotFoundError,'does not exist')):
            with pytest.raises(error, match=said): make(data, bert)
    refused('single', 'is neither a split', bert, OWN, KeyError, valid=text+'.csv')
    with pytest.raises(OSError, match='checkpoint'): sequence_classification_learner(DF, text)
    with pytest.raises(FileNotFoundError, match='does not exist|is no folder'): TransformersLearner.from_pretrained(text)

def test_unlike_splits(bert):
    a = Dataset.from_dict(dict(text=['a','b'], label=[0,1]), features=Features(text=Value('string'), label=ClassLabel(names=['x','y'])))
    b = a.cast_column('label', ClassLabel(names=['y','x']))
    refused('single', r"'train' and 'validation'.*align_labels_with_mapping.*cast", bert, DatasetDict(train=a, validation=b))
    assert b.align_labels_with_mapping({'x':0, 'y':1}, 'label')['label'][:]==[1,0] and b.cast(a.features)['label'][:]==[0,1] # why
    refused('single', r"'train' and 'validation'.*`ds.select_columns\(\['text'\]\)", bert, DatasetDict(train=a, validation=a.remove_columns('label')))

def labelled(label, feature): return Dataset.from_dict(dict(text=['a','b'], label=label), features=Features(text=Value('string'), label=feature))

def advice(parts): # what is said of splits that are unlike, and the code in it
    with pytest.raises(ValueError, match='different features') as e: read_rows(DatasetDict(parts))
    return str(e.value),re.search(r"`(ds.(align|map).*?)`", str(e.value))[1]

@pytest.mark.parametrize('names,others,both', [(['neg','pos'],['pos','neg'],False), (['neg','pos','mixed'],['pos','neg'],False), (['pos','Neg'],['neg','pos'],False), (['pos','neg'],['neg','pos','mixed'],True),
    (['neg','pos'],['bad','good'],True)], ids=str)
def test_labels_of_splits_are_numbered_as_is_advised(names, others, both):
    parts = dict(train=labelled([0,1], ClassLabel(names=names)), validation=labelled([0,1], ClassLabel(names=others)))
    said,way = advice(parts)
    assert ('both alike' in said)==both and ('ds.cast(features)' in said)==(both and len(names)==len(others))
    for k in parts if both else ['validation']: parts[k] = eval(way, dict(ds=parts[k]))
    found = read_rows(DatasetDict(parts))[0].column('label').tolist()
    assert [n.lower() for n in found]==[n.lower() for n in names[:2]+others[:2]]

def test_lists_of_labels_of_splits_are_named_as_is_advised():
    parts = {k:labelled([[0],[1,0]], Sequence(ClassLabel(names=names))) for k,names in dict(train=['neg','pos'], validation=['pos','mixed']).items()}
    _,way = advice(parts)
    named = DatasetDict({k:eval(way, dict(ds=ds)) for k,ds in parts.items()})
    assert list(map(list, read_rows(named)[0].column('label')))==[['neg'],['pos','neg'],['pos'],['mixed','pos']]

@pytest.mark.parametrize('names', [{'text','b'}, frozenset(['text'])], ids=['set','frozenset'])
def test_names_without_an_order(names, bert): # which differs from process to process
    for kind,name in (('single','text'), ('single','label'), ('choice','choices'), ('answers','question')):
        refused(kind, f"^{name}=.*, not a {type(names).__name__}: their order counts", bert, OWN, TypeError, **{name:names})
    for make,name in ((token_classification_learner,'words'), (masked_lm_learner,'text'), (causal_lm_learner,'text'), (seq2seq_learner,'source')):
        with pytest.raises(TypeError, match=f'^{name}=.*their order counts'): make(DF, bert, **{name:names})
    with pytest.raises(TypeError, match='their order counts'): Column(names)
    assert Column(dict(b=1, a=2).keys()).names==['b','a'], 'these are in order'

def test_three_text_columns(bert): refused('single', 'list of at most 2', bert, DF.assign(a='x', b='y'), text=['text','a','b'])

@pytest.mark.parametrize('valid', [[], 0.001, 'flag', np.zeros(48, dtype=bool)], ids=str)
def test_empty_validation(valid, bert): refused('single', 'validation part is empty', bert, DF.assign(flag=False), valid=valid)

@pytest.mark.parametrize('valid', [list(range(48)), .999, 'flag'], ids=['all','.999','flag'])
def test_empty_training(valid, bert): refused('single', 'training part is empty', bert, DF.assign(flag=True), valid=valid)

@pytest.mark.parametrize('valid,error,message', [(1.5,ValueError,'not a fraction'), (7,ValueError,'list'), ('flags',KeyError,r"'flags' is neither.*'text', 'label', 'flag'"), ('flag',ValueError,r"'flag' must hold True"), ([3,48],ValueError,r'48.*0 to 47'), ([-1],ValueError,'row numbers')], ids=str)
def test_impossible_validation(valid, error, message, bert): refused('single', message, bert, DF.assign(flag='maybe'), error, valid=valid)

def test_data_and_checkpoint_are_swapped(kind, checkpoint, in_tmp):
    FRAMES[kind].to_parquet('data.parquet')
    made = learner(kind, checkpoint)
    for data in (FRAMES[kind], Dataset.from_pandas(FRAMES[kind]), made.dls, 'data.parquet', Path('data.parquet')):
        with pytest.raises((TypeError, ValueError), match='^checkpoint.* are data and checkpoint swapped'): learner(kind, data, checkpoint)
    with pytest.raises(TypeError, match='not .*DataLoaders: are data and checkpoint swapped'): TransformersLearner(checkpoint, made.dls)

def test_a_module_of_ones_own_is_no_checkpoint(bert):
    class Own(torch.nn.Linear): pass
    dls = learner('single', bert).dls
    for make in (lambda m: TransformersLearner(dls, m), lambda m: learner('single', m), lambda m: learner('answers', m), load_tokenizer):
        with pytest.raises(TypeError, match='^Own is no model of transformers.*ModelInputsCallback'): make(Own(2, 3))

# Texts

@pytest.mark.parametrize('bad', [None, np.nan, pd.NA, pd.NaT], ids=str)
@pytest.mark.parametrize('kind,column', [('single','text'), ('pair','two'), ('multi','text'), ('regression','text')])
def test_missing_text(kind, column, bad, bert): refused(kind, rf"'{column}'.*rows 3, 40\b.*(dropna|fillna)", bert, spoiled(kind, column, {3:bad, 40:bad}))

def test_missing_text_in_a_dataset(bert): refused('single', r"'text'.*row 7\b.*(dropna|fillna|filter|map)", bert, Dataset.from_dict(dict(text=[None if i==7 else t for i,t in enumerate(TEXTS)], label=DF.label.tolist())))

def test_many_missing_texts_are_not_all_listed(bert): assert '(20 in all)' in refused('single', r'rows 0, 1, 2,', bert, spoiled('single', 'text', dict.fromkeys(range(20))))

@pytest.mark.parametrize('bad,kind', [(1,'int'), (1.5,'float'), (b'x','bytes'), ({'a':1},'dict'), (['a','b'],'list')], ids=str)
def test_text_that_is_none(bad, kind, bert): refused('single', rf"'text'.*{kind}.*rows? 3\b.*(astype|convert|name the column)", bert, spoiled('single', 'text', {3:bad}), TypeError)

def test_numbers_for_text(bert):
    refused('single', r"'text'.*int.*(astype|convert)", bert, DF.assign(text=range(48)), TypeError)
    refused('single', r"'text'.*int.*(astype|convert)", bert, Dataset.from_pandas(DF.assign(text=range(48))), TypeError)

def test_lone_surrogate(bert): refused('single', r"'text'.*row 17\b.*surrogate.*encode", bert, spoiled('single', 'text', {17:'bad \ud800 text'}))

def test_lone_surrogate_in_a_prediction_is_read_with_a_warning(bert):
    learn = learner('single', bert)
    with learn.no_bar():
        with pytest.warns(UserWarning, match='surrogate'): probs = learn.predict('the film \ud800 was')[2]
        close(probs, learn.predict('the film \ufffd was')[2])
        with pytest.warns(UserWarning, match='surrogate'): assert len(learn.predict_batch(['a','b \udc00']))==2

@pytest.mark.parametrize('data', [DF.assign(text=['' if i in (2,9) else t for i,t in enumerate(TEXTS)]), Dataset.from_pandas(DF.assign(text=['  ' if i in (2,9) else t for i,t in enumerate(TEXTS)]))], ids=['frame','dataset'])
def test_empty_texts_are_kept_with_a_warning(data, bert):
    with pytest.warns(UserWarning, match=r"'text'.*rows 2, 9"): learn = learner('single', bert, data)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    assert len(learn.dls.train_ds)+len(learn.dls.valid_ds)==48

# Labels

@pytest.mark.parametrize('kind,column', [('single','label'), ('pair','same'), ('multi','tags'), ('regression','score')])
@pytest.mark.parametrize('bad', [None, np.nan], ids=str)
def test_missing_labels(kind, column, bad, bert):
    df = FRAMES[kind].copy().astype({column:float if kind=='regression' else object})
    for i in (3,40): df.at[i,column] = bad
    refused(kind, rf"'{column}'.*rows 3, 40\b.*(drop|label)", bert, df)

def test_missing_labels_in_a_dataset(bert):
    refused('single', r"'label'.*row 5\b", bert, Dataset.from_dict(dict(text=TEXTS, label=[None if i==5 else o for i,o in enumerate(DF.label)])))
    refused('single', r"'label'.*row 5\b", bert, Dataset.from_dict(dict(text=TEXTS, label=[-1 if i==5 else i%2 for i in range(48)]), features=Features(text=Value('string'), label=ClassLabel(names=['x','y']))))

def test_missing_name_inside_a_list_of_labels(bert):
    df = FRAMES['multi'].copy()
    df['tags'] = [['bad',None] if i==5 else o for i,o in enumerate(df.tags)]
    refused('multi', r"'tags'.*row 5\b", bert, df)

def test_label_only_in_validation(bert):
    df = DF.assign(label=['rare' if i in (4,44) else o for i,o in enumerate(DF.label)])
    refused('single', r"'label'.*'rare'.*rows 4, 44\b.*(move|drop)", bert, df, valid=[4,20,44])
    assert learner('single', bert, df, valid=[20,44]).dls.vocab==['bad','fine','good','rare']
    multi = FRAMES['multi'].copy()
    multi['tags'] = [['rare'] if i==6 else o for i,o in enumerate(multi.tags)]
    refused('multi', r"'tags'.*'rare'.*row 6\b", bert, multi, valid=[6,7])

def test_single_class(bert):
    refused('single', r"'label'.*one label only.*'bad'", bert, DF.assign(label='bad'))
    refused('single', r"training part holds one label only|only in validation", bert, DF.assign(label=['fine' if i==3 else 'bad' for i in range(48)]), valid=[3,4])
    refused('regression', r"'score'.*one value only, 0\.5:", bert, FRAMES['regression'].assign(score=.5))

@pytest.mark.parametrize('kind,problem_type,message', [
    ('single','regression',r"'label' must hold numbers.*'bad'"), ('single','multi_label_classification',r"'label' must hold lists.*split"), ('multi','single_label_classification',r"'tags' holds lists.*multi_label"),
    ('multi','regression',r"'tags' holds lists.*multi_label"), ('regression','single_label_classification',r"'score' holds fractions.*regression"), ('regression','multi_label_classification',r"'score' must hold lists"),
    ('single','classification',r"'classification' is not one of single_label_classification, multi_label_classification, regression")])
def test_label_column_of_another_kind(kind, problem_type, message, bert): refused(kind, message, bert, OWN, problem_type=problem_type)

@pytest.mark.parametrize('message,data,kwargs', [
    (r"fractions such as 0\.5:", DF.assign(label=[1., .5]*24), dict(problem_type='single_label_classification')),
    (r"not in vocab, 'bad', 'good' \(", DF, dict(vocab=np.array(['bad','good']))),
    (r"vocab=\['bad', 'bad'\]", DF, dict(vocab=np.array(['bad','bad'])))], ids=['fractions','vocab','twice'])
def test_values_of_numpy_are_told_as_those_of_python(message, data, kwargs, bert): refused('single', message, bert, data, **kwargs)

@pytest.mark.parametrize('make,error,message', [(LabelLists, TypeError, r"holds 1\.5: a list"), (lambda n: LabelVector([n], ['x','y']), ValueError, r"holds 1\.5: a vector")])
def test_a_number_of_numpy_for_a_list(make, error, message):
    with pytest.raises(error, match=message): make('label')(dict(label=np.float64(1.5)))

def test_one_label_from_two_columns(bert): refused('single', r"one column.*'a', 'b'", bert, DF.assign(a=[i%2 for i in range(48)], b=[i%3>1 for i in range(48)]), label=['a','b'], problem_type='single_label_classification')
def test_labels_of_mixed_types(bert): refused('single', r"'label' mixes.*int, str.*astype", bert, spoiled('single', 'label', {i:1 for i in range(0, 48, 3)}))
def test_labels_that_read_alike(bert): refused('single', 'distinct|mixes', bert, spoiled('single', 'label', {i:v for i,v in enumerate([1,'1',2]*16)}))
def test_infinite_numbers(bert): refused('regression', r"'score'.*infinite", bert, FRAMES['regression'].assign(score=[np.inf if i==4 else i/7 for i in range(48)]))

def test_a_one_hot_column_without_training_rows(bert): refused('single', r"'b'.*no training row", bert, DF.assign(a=[i%2 for i in range(48)], b=0), label=['a','b'])

def test_lists_and_text_mixed_in_a_column(bert):
    refused('multi', r"'tags'.*lists.*row 30\b", bert, spoiled('multi', 'tags', {30:'bad'}))
    refused('single', r"'label'.*list.*row 30\b", bert, spoiled('single', 'label', {30:['bad']}))

def test_whole_floats_ask_which_is_meant(bert):
    df = DF.assign(label=[float(i%3) for i in range(48)])
    refused('single', r"'label'.*\[0\.0, 1\.0, 2\.0\].*problem_type='regression' or problem_type='single_label_classification'", bert, df)
    classes,numbers = (learner('single', bert, df, problem_type=p) for p in ('single_label_classification','regression'))
    assert list(classes.dls.vocab)==[0,1,2] and classes.model.config.id2label=={0:'0',1:'1',2:'2'}
    assert numbers.model.config.num_labels==1 and numbers.model.config.problem_type=='regression'
    with classes.no_bar(), classes.no_logging(): classes.fit(1)
    with numbers.no_bar(), numbers.no_logging(): numbers.fit(1)

# Checkpoints, tokenizers and lengths

@pytest.mark.parametrize('name', ['./nowhere', 'nowhere', 'nobody/no-such-model'])
def test_checkpoint_that_does_not_exist(name): refused('single', name, name, OWN, (OSError, FileNotFoundError))

def test_checkpoint_folder_that_does_not_exist(in_tmp):
    refused('single', 'gone.*does not exist', in_tmp/'gone', OWN, FileNotFoundError)
    refused('single', 'gone.*does not exist', str(in_tmp/'gone'), OWN, FileNotFoundError)

def test_checkpoint_without_tokenizer(in_tmp):
    small_bert(400).save_pretrained(in_tmp/'bare')
    refused('single', r"bare.*no tokenizer.*tokenizer=", in_tmp/'bare', OWN, OSError)
    learn = learner('single', in_tmp/'bare', tokenizer=word_tokenizer('input_ids','attention_mask'))
    assert len(learn.predict_batch(TEXTS[:3]))==3

def test_checkpoint_without_model(in_tmp):
    word_tokenizer('input_ids','attention_mask').save_pretrained(in_tmp/'words')
    refused('single', 'words', in_tmp/'words', OWN, (OSError, ValueError))

@pytest.mark.parametrize('size', [0,4,200,5000])
def test_a_file_of_weights_that_is_cut_off(size, bert, in_tmp):
    folder = shutil.copytree(bert, 'cut')
    os.truncate(Path(folder)/'model.safetensors', size)
    refused('single', r"model\.safetensors in 'cut' cannot be read.*damaged or cut off", folder, OWN, OSError)

def test_one_of_several_files_of_weights_that_is_cut_off(bert, in_tmp):
    load_tokenizer(bert).save_pretrained('cut')
    transformers.AutoModel.from_pretrained(bert).save_pretrained('cut', max_shard_size='20KB')
    parts = sorted(Path('cut').glob('*.safetensors'))
    assert len(parts)>2
    os.truncate(parts[1], 300)
    refused('single', rf"{parts[1].name} in 'cut' cannot be read", 'cut', OWN, OSError)

def test_tokenizer_with_too_many_tokens(in_tmp):
    small_bert(50).save_pretrained(in_tmp/'small')
    refused('single', r'tokens and the model.*50.*do not belong together', in_tmp/'small', OWN, tokenizer=word_tokenizer('input_ids','attention_mask'))

@pytest.mark.parametrize('arch,limit', [('bert',64), ('distilbert',64), ('roberta',32), ('gpt2',64), ('modernbert',64)])
def test_max_length_above_the_models(arch, limit, checkpoints):
    refused('single', rf'max_length={limit+1}.*{limit} tokens.*pass max_length={limit} or less$', checkpoints(arch), OWN, max_length=limit+1)
    learn = learner('single', checkpoints(arch), max_length=limit)
    with learn.no_bar(), pytest.warns(UserWarning, match='longer than max_length'): learn.predict('film '*200) # a text of full length goes through

@pytest.mark.parametrize('arch,limit', [('bert',64), ('roberta',32)])
def test_the_models_length_holds_where_none_is_asked(arch, limit, checkpoints): assert learner('single', checkpoints(arch)).dls.text_tfm.max_length==limit

def test_a_block_learns_the_limit_from_the_model(checkpoints): # built from a tokenizer whose model_max_length is 1e30
    learn = learner('single', checkpoints('roberta'))
    tok = transformers.AutoTokenizer.from_pretrained(checkpoints('roberta'))
    assert TransformersTextBlock(tok).type_tfms[0].max_length is None
    again = TransformersLearner(learn.dls, checkpoints('roberta'))
    assert again.dls.text_tfm.max_length==32

@pytest.mark.parametrize('max_length', [1,2])
def test_max_length_without_room(max_length, bert): refused('single', rf'max_length={max_length} leaves no room.*2 special', bert, OWN, max_length=max_length)

@pytest.mark.parametrize('overlap', [8,60])
def test_impossible_overlap(overlap, bert): refused('single', rf'overlap={overlap}.*less than the 8', bert, OWN, max_length=10, overlap=overlap)

def test_windows_of_a_tokenizer_in_python_alone():
    slow = transformers.CanineTokenizer()
    with pytest.raises(ValueError, match='overlap=.* need a fast tokenizer, .* CanineTokenizer is none'): TransformersTextBlock(slow, max_length=20, overlap=4)
    tfm = TokenizeText(slow, 8)
    tfm.limit_given = False
    with pytest.warns(UserWarning, match='longer than max_length=8') as told: tfm.report_cut(tfm.tokenize(TEXTS)[1])
    assert 'overlap=' not in str(told[0].message) # it could not

@pytest.mark.parametrize('field', ['token_type_ids','attention_mask'])
def test_a_field_that_the_tokenizer_is_to_leave_out(field, bert):
    with pytest.raises(ValueError, match=f"return_{field}=False: .*model_input_names"): TransformersTextBlock(bert, **{f'return_{field}':False})
    TransformersTextBlock(bert, **{f'return_{field}':True})

def test_tokenizer_without_pad_token(checkpoints):
    with pytest.warns(UserWarning, match='no pad token') as said: learn = learner('single', checkpoints('gpt2'))
    assert sum('pad token' in str(w.message) for w in said)==1
    assert learn.dls.tokenizer.pad_token_id==learn.model.config.pad_token_id==learn.model.config.eos_token_id
    before = weights(learn.model)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert learn.dls.train.bs>1 and len(changed(learn.model, before))>20
    assert np.isfinite(float(learn.recorder.values[-1][0]))
    with learn.no_bar(): close(learn.get_preds()[0], direct_logits(learn.model, learn.dls.tokenizer, texts_of('single', valid_frame(learn, 'single'))).softmax(-1))
    learn.save_pretrained('gpt2')
    assert json.loads(open('gpt2/config.json').read())['pad_token_id'] is not None
    assert transformers.AutoTokenizer.from_pretrained('gpt2').pad_token is not None

def test_a_loaded_model_whose_tokenizer_has_no_pad_token():
    tok = byte_tokenizer(False, 64)
    config = transformers.GPT2Config(vocab_size=len(tok), n_embd=32, n_layer=2, n_head=2, n_positions=64, num_labels=3, bos_token_id=0, eos_token_id=0)
    model = transformers.GPT2ForSequenceClassification(config)
    with pytest.warns(UserWarning, match='no pad token'): learn = learner('single', model, tokenizer=tok, valid=[0,1,2])
    assert tok.pad_token_id==model.config.pad_token_id==model.config.eos_token_id
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    close(learn.predict_logits([TEXTS[0],TEXTS[1]*2])[0], learn.predict_logits([TEXTS[0]])[0])

def cut_by_hand(tokenizer, texts, max_length):
    lens = np.array([len(tokenizer(t)['input_ids']) for t in texts])
    over = lens>max_length
    return over.sum(),len(texts),(lens[over]-max_length).sum(),lens.sum()

def said_cuts(record): return [str(w.message) for w in record if 'longer than max_length' in str(w.message)]

@pytest.mark.parametrize('arch', ['bert','gpt2'])
def test_cut_texts_are_reported_once_with_shares(arch, checkpoints):
    learn = learner('single', checkpoints(arch), max_length=8)
    with learn.no_bar(), learn.no_logging(), warnings.catch_warnings(record=True) as record:
        warnings.simplefilter('always')
        learn.fit(2)
    said, = [m for m in said_cuts(record) if ' of 36 texts' in m] # the training rows
    cut,n,lost,tokens = cut_by_hand(learn.dls.tokenizer, [DF.text[i] for i in learn.dls.train_ds.items.idxs], 8)
    assert 0<cut<n==36 and len(said_cuts(record))<=2 # the validation rows may have a report of their own
    assert said.startswith(f'{cut} of {n} texts ({cut/n:.1%}) are longer than max_length=8: {lost} of {tokens} tokens ({lost/tokens:.1%})')

def test_cut_texts_are_reported_in_a_batch_of_predictions(bert):
    learn = learner('single', bert, max_length=8)
    cut,n,lost,tokens = cut_by_hand(learn.dls.tokenizer, TEXTS, 8)
    with pytest.warns(UserWarning, match=re.escape(f'{cut} of {n} texts ({cut/n:.1%}) are longer than max_length=8: {lost} of {tokens} tokens')): learn.predict_batch(TEXTS)

@pytest.mark.parametrize('kwargs', [dict(max_length=64), dict(max_length=8, overlap=2)], ids=['long_enough','windows'])
def test_nothing_is_reported_where_nothing_is_cut(kwargs, bert):
    learn = learner('single', bert, **kwargs)
    with learn.no_bar(), learn.no_logging(), warnings.catch_warnings(record=True) as record:
        warnings.simplefilter('always')
        learn.fit(1)
        learn.predict_batch(TEXTS)
    assert said_cuts(record)==[]

@pytest.mark.parametrize('kwargs', [dict(padding='max_length'), dict(padding=True), dict(padding='longest', pad_to_multiple_of=8)], ids=str)
@pytest.mark.parametrize('max_length', [8,16,None])
def test_padding_is_no_text_that_is_cut_off(kwargs, max_length, bert):
    tfm,want = (TransformersTextBlock(bert, max_length=max_length, **k).type_tfms[0] for k in (kwargs, {}))
    assert tfm.tokenize(TEXTS)[1].tolist()==want.tokenize(TEXTS)[1].tolist()
    assert whole_texts(tfm).tokenize(TEXTS)[0].sizes.tolist()==whole_texts(want).tokenize(TEXTS)[0].sizes.tolist()
    assert tfm.tokenize(TEXTS)[0].lens.min()>want.tokenize(TEXTS)[0].lens.min() # which stands in the batches, as was asked for

# Single predictions

@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('item', ['','   ','\n\t'], ids=repr)
def test_predict_an_empty_text(item, kind, trained):
    learn,items = trained(kind),(item, item) if kind=='pair' else item_of(kind, item)
    with learn.no_bar(): probs = learn.predict(items)[2]
    close(probs, activated(kind, direct_logits(learn.model, learn.dls.tokenizer, [items]))[0])
    assert len(learn.predict_batch([items,items]))==2

def test_predicting_an_empty_text_warns(bert):
    learn = learner('single', bert)
    with learn.no_bar(), pytest.warns(UserWarning, match='empty'): learn.predict('  ')
    with pytest.warns(UserWarning, match='empty.*1'): learn.predict_batch(['film',''])

@pytest.mark.parametrize('kind', KINDS)
def test_predict_100_000_characters(kind, bert):
    learn,item = learner(kind, bert),('great film '*10_000)[:100_000]
    items = item_of(kind, item)
    read = [[t, c] for t,cs in [items] for c in cs] if kind=='choice' else [items] if kind=='pair' else [[items]] # what the tokenizer is given
    sizes = np.array([len(learn.dls.tokenizer(*o, verbose=False)['input_ids']) for o in read])
    with learn.no_bar(), pytest.warns(UserWarning, match=f'{(sizes-64).sum():,} of {sizes.sum():,} tokens'): probs = learn.predict(items)[2]
    close(probs, activated(kind, direct_logits(learn.model, learn.dls.tokenizer, [items]))[0])

@pytest.mark.parametrize('item', ['\x00','\u200b','水'*100,'🏔️','a\ud800b'], ids=ascii)
def test_predict_odd_characters(item, trained):
    learn = trained('single')
    with learn.no_bar(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert learn.predict(item)[2].sum().item()==pytest.approx(1, abs=1e-5)

@pytest.mark.parametrize('kind,item', [(k, o) for k in MORE_KINDS for o in (None,1,1.5,float('nan'),b'x',['a',1],('a',),('a','b','c'),('a',None),torch.zeros(3)) if k!='choice' or not isinstance(o, tuple)], ids=repr)
def test_predict_what_is_no_text(item, kind, trained):
    learn = trained(kind)
    with learn.no_bar(), pytest.raises(TypeError) as e: learn.predict(item)
    assert '\n' not in str(e.value) and type(item).__name__ in str(e.value)

@pytest.mark.parametrize('kind', ['single','pair'])
def test_predict_a_dict_that_is_no_row(kind, trained):
    learn = trained(kind)
    with learn.no_bar(), pytest.raises(TypeError, match="'a'"): learn.predict({'a':1})

@pytest.mark.parametrize('items', [['a',None], ['a',3], ['a', ('a','b')], ['a', b'x'], [1.5]], ids=repr)
def test_predict_batch_names_the_item(items, trained):
    with pytest.raises(TypeError, match=f'item {len(items)-1}'): trained('single').predict_batch(items)

def test_predict_batch_of_one_text(bert):
    with pytest.raises(TypeError, match='list of texts.*predict'): learner('single', bert).predict_batch('a text')

@pytest.mark.parametrize('items,said', [(DatasetDict(train=Dataset.from_dict(dict(text=['a']))), "has 'train': pass one of its parts"), (dict(text=['a','b']), r"`\[row\]`, columns as `pd.DataFrame"),
    ({'a'}, 'pass `list'), ((t for t in 'ab'), 'not a generator'), (Path('new.csv'), 'rows of a file'), ('new.csv', 'rows of a file')], ids=lambda o: type(o).__name__)
def test_what_is_no_list_of_items(items, said, trained):
    learn = trained('single')
    for call in (learn.predict_batch, learn.dls.test_dl, learn.texts_of):
        with pytest.raises(TypeError, match=said): call(items)

def test_values_in_place_of_a_name(bert):
    df = FRAMES['single']
    for kwargs,name in ((dict(label=df.label), 'label'), (dict(text=df.text), 'text')):
        with pytest.raises(TypeError, match=f'{name}= holds the values of a column: pass its name'): learner('single', bert, **kwargs)

def test_loaders_that_hold_no_texts(bert):
    block = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'), splitter=RandomSplitter(seed=1))
    weighted = block.weighted_dataloaders(FRAMES['single'], wgts=np.ones(len(FRAMES['single'])), bs=8)
    with pytest.raises(TypeError, match='WeightedDL is none: .*TransformersTextBlock.*class_weights='): TransformersLearner(weighted, bert)

def of_blocks(*blocks, n_inp): # loaders
    readers = [ColReader('text' if isinstance(b, TransformersTextBlock) else 'label') for b in blocks]
    return DataBlock(blocks, getters=readers, n_inp=n_inp, splitter=RandomSplitter(seed=1)).dataloaders(DF, bs=8)

def test_two_blocks_of_inputs(bert):
    one = TransformersTextBlock(bert)
    with pytest.raises(ValueError, match='2 blocks are inputs.*one text block.*one item'): of_blocks(one, one, CategoryBlock, n_inp=2)

def test_two_blocks_of_targets(bert):
    dls = of_blocks(TransformersTextBlock(bert), CategoryBlock, CategoryBlock, n_inp=1)
    for make in (TransformersLearner, sequence_classification_learner):
        with pytest.raises(ValueError, match='2 blocks are targets.*at most one block of targets'): make(dls, bert)
    learn = learner('single', bert)
    with pytest.raises(ValueError, match='2 blocks are targets'): learn.dls = dls

def test_columns_of_several_levels(bert):
    df = FRAMES['single'].copy()
    df.columns = pd.MultiIndex.from_product([['a'], df.columns])
    with pytest.raises(ValueError, match='2 levels: .*df.columns'): learner('single', bert, df)

def test_predict_batch_without_the_column(bert):
    with pytest.raises(KeyError, match="'text'.*'body'"): learner('single', bert).predict_batch(pd.DataFrame(dict(body=['a'])))

# What must work

@pytest.mark.parametrize('kind', EVERY_KIND)
def test_fewer_rows_than_the_batch_size(kind, checkpoint):
    learn,seen = learner(kind, checkpoint, bs=64),[]
    class Watch(Callback):
        run_valid = False
        def before_batch(self): seen.append(len(self.xb[0]))
    before = weights(learn.model)
    with learn.no_bar(), learn.no_logging(): learn.fit(2, 1e-3, cbs=Watch())
    assert seen==[36,36] and changed(learn.model, before)==set(before)
    assert np.isfinite(float(learn.recorder.values[-1][0]))

def test_two_rows_are_enough(bert):
    learn = learner('single', bert, pd.DataFrame(dict(text=['good','bad','fine'], label=['x','y','x'])), valid=[2])
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    assert len(learn.recorder.values)==1

@pytest.mark.parametrize('kind', EVERY_KIND)
@pytest.mark.parametrize('items', [[], pd.DataFrame(columns=['text','one','two']), Dataset.from_dict(dict(text=[],one=[],two=[])), pd.Series([], dtype=str)], ids=['list','frame','dataset','series'])
def test_empty_test_dl(items, kind, trained):
    learn = trained(kind)
    dl = learn.dls.test_dl(items)
    preds,targs = learn.get_preds(dl=dl)
    assert len(dl.dataset)==len(preds)==0 and (targs is None or len(targs)==0)
    found = [o for o in learn.get_preds(dl=learn.dls.test_dl(items), with_decoded=True, with_input=True) if o is not None]
    assert len(found)>2 and not any(map(len, found))
    assert learn.predict_batch(items)==[]

@pytest.mark.parametrize('values', [np.array([3,7]*24), np.array([3,7]*24, dtype=np.int8), [np.int64(3),np.int64(7)]*24, pd.Categorical([3,7]*24), pd.array([3,7]*24, dtype='Int64')], ids=['int64','int8','objects','categorical','Int64'])
def test_numpy_labels_are_saved_as_json(values, bert):
    learn = learner('single', bert, DF.assign(label=values))
    assert list(learn.dls.vocab)==[3,7] and learn.model.config.id2label=={0:'3',1:'7'}
    learn.save_pretrained('numbers')
    config,facts = (json.loads(open(f'numbers/{f}').read()) for f in ('config.json','blurlike.json'))
    assert config['id2label']=={'0':'3','1':'7'} and facts['vocab']==[3,7]
    with learn.no_bar(): assert TransformersLearner.from_pretrained('numbers').predict_batch(TEXTS[:2])==learn.predict_batch(TEXTS[:2])

@pytest.mark.parametrize('event', ['before_fit','before_batch','after_pred','after_epoch','after_fit'])
@pytest.mark.parametrize('error', [RuntimeError(), ValueError(), KeyError(), RuntimeError('so it is')], ids=repr)
def test_an_error_in_a_callback_surfaces(error, event, bert):
    learn = learner('single', bert)
    def fail(self): raise error
    cb = type('Fails', (Callback,), {event:fail})()
    with learn.no_bar(), learn.no_logging(), pytest.raises(type(error)) as e: learn.fit(1, cbs=cb)
    if error.args: assert 'so it is' in str(e.value)

def test_an_index_error_in_a_callback_stays_one(bert):
    learn = learner('single', bert)
    class Fails(Callback):
        def before_batch(self): return [][3]
    with learn.no_bar(), learn.no_logging(), pytest.raises(IndexError, match='list index'): learn.fit(1, cbs=Fails())

@pytest.mark.parametrize('cb', [SaveModelCallback, EarlyStoppingCallback])
@pytest.mark.parametrize('how', ['fit','learner'])
def test_a_metric_to_watch_that_is_not_there(cb, how, bert):
    learn = learner('single', bert, cbs=cb(monitor='f1x') if how=='learner' else None)
    before = weights(learn.model)
    with learn.no_bar(), learn.no_logging(), pytest.raises(ValueError, match=rf"{cb.__name__}.*'f1x'.*train_loss, valid_loss, accuracy, f1_macro"): learn.fit(1, cbs=cb(monitor='f1x') if how=='fit' else None)
    assert changed(learn.model, before)==set()
    if how=='fit':
        with learn.no_bar(), learn.no_logging(): learn.fit(1, cbs=cb(monitor='f1_macro'))

@pytest.mark.parametrize('error', [KeyboardInterrupt, RuntimeError('x')], ids=repr)
def test_interrupted_lr_find_keeps_the_weights(error, bert):
    learn = learner('single', bert)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    before,moved = weights(learn.model),[]
    class Interrupt(Callback):
        def after_step(self):
            if self.train_iter<6: return
            moved.append(changed(self.learn.model, before))
            raise error
    learn.add_cb(Interrupt())
    with learn.no_bar(), pytest.raises(type(error) if isinstance(error, Exception) else error): learn.lr_find(num_it=20, show_plot=False)
    assert moved[0] and changed(learn.model, before)==set()
    learn.remove_cb(Interrupt)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert changed(learn.model, before)
    assert np.isfinite(float(learn.recorder.values[-1][0]))
    assert all(torch.isfinite(p).all() for p in learn.model.parameters())

def test_nothing_leaks_into_the_next_learner(bert):
    three,two,number = learner('single', bert),learner('pair', bert),learner('regression', bert)
    assert [[m.name for m in l.metrics] for l in (three,two,number)]==[['accuracy','f1_macro'],['accuracy','f1'],['mae','pearsonr','spearmanr']]
    three.model.config.id2label[0] = 'changed'
    again = learner('single', bert)
    assert again.model.config.id2label[0]=='bad'
    assert len(again.cbs)==len(three.cbs)
    given = [accuracy]
    a = learner('single', bert, metrics=given)
    with three.no_bar(), two.no_bar():
        first = three.validate()
        two.validate()
        a.metrics.append(mae)
        assert list(three.validate())==list(first) and given==[accuracy]
    assert len(learner('single', bert, metrics=given).metrics)==1 and len(learner('single', bert).metrics)==2

# Weights of the classes

UNEVEN = DF.assign(label=['a']*30+['b']*12+['c']*6)
VALID = [0,30,42] # leaves 29, 11 and 5

def test_balanced_class_weights(bert):
    learn = learner('single', bert, UNEVEN, valid=VALID, class_weights='balanced')
    want = torch.tensor([45/(3*29),45/(3*11),45/(3*5)])
    close(learn.loss_func.func.weight, want)
    with learn.no_bar():
        logits,y = learn.get_preds(act=lambda x: x)
        close(learn.validate()[0], F.cross_entropy(logits, torch.as_tensor(y), weight=want))
        learn.fit(1)

@pytest.mark.parametrize('given', [dict(a=1,b=2,c=.5), [1,2,.5], (1,2,.5), np.array([1,2,.5]), torch.tensor([1,2,.5])], ids=lambda o: type(o).__name__)
def test_given_class_weights(given, bert): assert learner('single', bert, UNEVEN, valid=VALID, class_weights=given).loss_func.func.weight.tolist()==[1,2,.5]

def test_balanced_weights_of_several_labels(bert):
    learn = learner('multi', bert, class_weights='balanced')
    train = FRAMES['multi'].iloc[learn.dls.train_ds.items.idxs]
    counts = torch.tensor([float(sum(v in o for o in train.tags)) for v in ('bad','good','sure')])
    close(learn.loss_func.func.pos_weight, (36-counts)/counts)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)

def test_balanced_weights_of_class_label_names(bert):
    ds = Dataset.from_dict(dict(text=TEXTS, label=[2]*30+[0]*12+[1]*6), features=Features(text=Value('string'), label=ClassLabel(names=['x','y','z'])))
    close(learner('single', bert, ds, valid=VALID, class_weights='balanced').loss_func.func.weight, torch.tensor([45/(3*11),45/(3*5),45/(3*29)]))

@pytest.mark.parametrize('given,message', [(dict(a=1,b=2),r"\['a', 'b'\].*\['a', 'b', 'c'\]"), (dict(a=1,b=2,c=3,d=4),"'d'"), ([1,2],r'shape \(2,\).*3 labels'), ([[1,2,3]],'shape'), ('equal',"'equal'.*'balanced'")], ids=str)
def test_wrong_class_weights(given, message, bert): refused('single', message, bert, UNEVEN, valid=VALID, class_weights=given)

def test_weights_of_a_loss_that_lays_rows_end_to_end(bert):
    weight = torch.tensor([1.,2.,.5])
    refused('multi', 'rows end to end.*flatten=False.*class_weights=', bert, OWN, loss_func=BCEWithLogitsLossFlat(weight=weight))
    learn = learner('multi', bert, loss_func=BCEWithLogitsLossFlat(weight=weight, flatten=False))
    with learn.no_bar():
        logits,y = learn.get_preds(act=lambda x: x)
        close(learn.validate()[0], F.binary_cross_entropy_with_logits(logits, torch.as_tensor(y).float(), weight=weight))

def test_class_weights_of_numbers(bert): refused('regression', 'labels.*number', bert, OWN, class_weights='balanced')

# Sources

@pytest.mark.parametrize('name', ['validation','valid','val','dev'])
def test_a_dataset_dict_brings_its_own_validation(name, bert):
    ds = DatasetDict({'train':Dataset.from_pandas(DF[:30]), name:Dataset.from_pandas(DF[30:40].reset_index(drop=True)), 'test':Dataset.from_pandas(DF[40:].reset_index(drop=True))})
    learn = learner('single', bert, ds, valid=.2)
    assert learn.texts_of(learn.dls.valid_ds.items)==TEXTS[30:40]
    assert learn.texts_of(learn.dls.train_ds.items)==TEXTS[:30]

def test_a_named_split(bert):
    ds = DatasetDict(train=Dataset.from_pandas(DF[:30]), validation=Dataset.from_pandas(DF[30:40].reset_index(drop=True)), test=Dataset.from_pandas(DF[40:].reset_index(drop=True)))
    learn = learner('single', bert, ds, valid='test')
    assert learn.texts_of(learn.dls.valid_ds.items)==TEXTS[40:] and learn.texts_of(learn.dls.train_ds.items)==TEXTS[:30]

def test_a_dataset_dict_without_validation_is_split(bert):
    ds = DatasetDict(train=Dataset.from_pandas(DF[:40]), test=Dataset.from_pandas(DF[40:].reset_index(drop=True)))
    learn = learner('single', bert, ds, valid=.25)
    assert len(learn.dls.valid_ds)==10
    assert set(learn.texts_of(learn.dls.train_ds.items))|set(learn.texts_of(learn.dls.valid_ds.items))==set(TEXTS[:40]) # the test rows stay out

@pytest.mark.parametrize('form', [pd.DataFrame, Dataset.from_pandas], ids=['frame','dataset'])
def test_validation_from_a_boolean_column_or_row_numbers(form, bert):
    flags = [i%5==0 for i in range(48)]
    want = [t for t,f in zip(TEXTS, flags) if f]
    for valid in ('flag', np.flatnonzero(flags), np.flatnonzero(flags).tolist(), flags, torch.tensor(np.flatnonzero(flags)), range(0, 48, 5)):
        learn = learner('single', bert, form(DF.assign(flag=flags)), valid=valid)
        assert learn.texts_of(learn.dls.valid_ds.items)==want and len(learn.dls.train_ds)==48-len(want)

def test_validation_from_a_fraction_follows_the_seed(bert):
    rows = lambda **kw: learner('single', bert, **kw).dls.valid_ds.items.idxs.tolist()
    assert rows(seed=1)==rows(seed=1)!=rows(seed=2) and len(rows(valid=.1))==5

def test_class_label_names(bert):
    ds = Dataset.from_dict(dict(text=TEXTS, label=[(i*2)%3 for i in range(48)]), features=Features(text=Value('string'), label=ClassLabel(names=['zebra','ant','mole'])))
    learn = learner('single', bert, ds)
    assert list(learn.dls.vocab)==['zebra','ant','mole'] and learn.model.config.id2label=={0:'zebra',1:'ant',2:'mole'}
    i = int(learn.dls.valid_ds.items.idxs[0])
    assert int(learn.dls.valid_ds[0][1])==(i*2)%3

def test_lists_of_class_label_names(bert):
    ds = Dataset.from_dict(dict(text=TEXTS, label=[[0] if i%3 else [1,2] for i in range(48)]), features=Features(text=Value('string'), label=Sequence(ClassLabel(names=['zebra','ant','mole']))))
    learn = learner('multi', bert, ds, label='label')
    assert list(learn.dls.vocab)==['zebra','ant','mole']
    i = int(learn.dls.valid_ds.items.idxs[0])
    assert learn.dls.valid_ds[0][1].tolist()==([1,0,0] if i%3 else [0,1,1])

@pytest.mark.parametrize('as_bool', [True,False])
def test_one_hot_columns(as_bool, bert):
    df = FRAMES['multi']
    hot = pd.DataFrame({v:[v in o for o in df.tags] for v in ('sure','bad','good')}).astype(bool if as_bool else int)
    learn = learner('multi', bert, pd.concat([df[['text']], hot], axis=1), label=['sure','bad','good'])
    assert list(learn.dls.vocab)==['sure','bad','good']
    assert learn.model.config.problem_type=='multi_label_classification'
    for i,(_,y) in zip(learn.dls.valid_ds.items.idxs, learn.dls.valid_ds): assert y.tolist()==hot.iloc[i].astype(float).tolist()
    with learn.no_bar(), learn.no_logging(): learn.fit(1)

def test_several_numbers(bert):
    df = FRAMES['regression'].assign(other=lambda d: -d.score*2)
    learn = learner('regression', bert, df, label=['score','other'])
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    with learn.no_bar(): close(learn.get_preds()[1], df.iloc[learn.dls.valid_ds.items.idxs][['score','other']].to_numpy())
    assert [d['label'] for d in learn.predict_batch(TEXTS[:1])[0]]==['score','other']

@pytest.mark.parametrize('ending,kind', [(e,k) for e in ('csv','tsv','jsonl','parquet') for k in KINDS if k not in ('multi','choice') or e in ('jsonl','parquet')]) # no lists in csv and tsv
def test_files(ending, kind, bert, in_tmp):
    df,path = FRAMES[kind],in_tmp/f'data.{ending}'
    dict(csv=lambda: df.to_csv(path, index=False), tsv=lambda: df.to_csv(path, sep='\t', index=False), jsonl=lambda: df.to_json(path, orient='records', lines=True), parquet=lambda: df.to_parquet(path))[ending]()
    for data in (path, str(path), path.name):
        learn = learner(kind, bert, data)
        assert learn.texts_of(learn.dls.valid_ds.items)==texts_of(kind, valid_frame(learn, kind))
        assert output_names(learn.dls)==output_names(learner(kind, bert).dls)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)

@pytest.mark.parametrize('sep,ending', [(',','csv'), ('\t','tsv')])
def test_words_that_pandas_reads_as_missing(sep, ending, bert, in_tmp):
    words = ['null','NA','None','nan','N/A','NULL']
    (in_tmp/f'w.{ending}').write_text(f'text{sep}label\n'+''.join(f'{w}{sep}{"None" if i%2 else "NA"}\n' for i,w in enumerate(words*4)))
    learn = learner('single', bert, f'w.{ending}')
    assert set(learn.texts_of(learn.dls.train_ds.items))|set(learn.texts_of(learn.dls.valid_ds.items))==set(words)
    assert list(learn.dls.vocab)==['NA','None']

def test_an_empty_cell_is_missing(bert, in_tmp):
    (in_tmp/'w.csv').write_text('text,label\n'+'good,a\nbad,b\n'*5+',a\n')
    refused('single', r"'text'.*row 10\b", bert, 'w.csv')

# A checkpoint that knows the labels already

@pytest.fixture(scope='module')
def known(bert, tmp_path_factory): # trained on the same labels in another order
    learn = learner('single', bert, DF.assign(label=pd.Categorical(DF.label, ['good','fine','bad'])), path=tmp_path_factory.mktemp('known'))
    assert list(learn.dls.vocab)==['good','fine','bad']
    with learn.no_bar(), learn.no_logging(): learn.fit(2, 5e-3)
    folder = learn.path/'folder'
    learn.model.save_pretrained(folder)
    learn.dls.tokenizer.save_pretrained(folder)
    return folder

@pytest.mark.parametrize('how', ['folder','model'])
def test_a_checkpoint_keeps_the_order_of_its_labels(how, known):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(known)
    learn = learner('single', known if how=='folder' else model, **({} if how=='folder' else dict(tokenizer=known)))
    assert list(learn.dls.vocab)==['good','fine','bad'] and learn.model.config.id2label=={0:'good',1:'fine',2:'bad'}
    texts = texts_of('single', valid_frame(learn, 'single'))
    with learn.no_bar(): preds,targs = learn.get_preds()
    close(preds, direct_logits(transformers.AutoModelForSequenceClassification.from_pretrained(known), learn.dls.tokenizer, texts).softmax(-1))
    assert [learn.dls.vocab[i] for i in targs]==valid_frame(learn, 'single').label.tolist()

def test_other_labels_get_a_new_head(known):
    learn = learner('single', known, DF.assign(label=[f'n{i%4}' for i in range(48)]))
    assert list(learn.dls.vocab)==['n0','n1','n2','n3']
    assert learn.model.config.num_labels==4
    assert set(learn.model.new_weights)=={'classifier.weight','classifier.bias'}

def test_a_loaded_model_with_another_number_of_outputs(bert):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(bert, num_labels=5)
    refused('single', r'5 outputs.*3 labels.*num_labels=3', model, OWN, tokenizer=bert)

def test_a_list_is_no_text(bert):
    "Not even of two texts, where the learner reads one."
    learn = learner('single', bert)
    for f in (learn.predict, learn.explain, learn.show_tokens):
        with pytest.raises(TypeError, match='for several texts call `predict_batch`'): f(['one text','another'])

@pytest.mark.parametrize('wrong,like', [('max_lenght','max_length'), ('valid_pct','valid'), ('metric','metrics'), ('lable','label')])
def test_a_misspelt_argument_is_named(wrong, like, bert):
    "Before any column is looked for."
    with pytest.raises(TypeError, match=f"no argument '{wrong}'; did you mean '{like}'"): learner('single', bert, text='review', **{wrong:1})
    dls = learner('single', bert).dls
    with pytest.raises(TypeError, match=f"no argument '{wrong}'; did you mean '{like}'"): learner('single', bert, dls, **{wrong:1})

@pytest.mark.parametrize('wrong,told', [('num_train_epochs','fit_one_cycle'), ('learning_rate','fit_one_cycle'), ('per_device_train_batch_size','bs='), ('weight_decay','wd='), ('fp16','precision='),
    ('eval_dataset','valid='), ('gradient_accumulation_steps','GradientAccumulation'), ('model_name','second argument'), ('padding','by themselves'), ('num_workers','dl_kwargs='), ('epochs','fit_one_cycle'), ('doc_stride','overlap='), ('max_source_length','max_length='), ('data_collator','by themselves'), ('y_names','label='),
    ('compute_metrics','f\\(preds, targs\\)'), ('eval_strategy','by itself'), ('save_strategy','Checkpoints'), ('load_best_model_at_end','SaveModelCallback'), ('report_to','WandbCallback'), ('logging_steps','CSVLogger'), ('max_steps','epochs'), ('optim','OptimWrapper'), ('dataloader_num_workers','dl_kwargs='), ('data_seed','seed=')])
def test_arguments_of_other_libraries_lead_to_ours(wrong, told, bert):
    for kind in ('single','choice','answers'):
        with pytest.raises(TypeError, match=f"no argument '{wrong}': .*{told}"): learner(kind, bert, **{wrong:1})
    for make in (lambda **kwargs: TransformersLearner(None, bert, **kwargs), lambda **kwargs: TransformersLearner.from_pretrained('gone', **kwargs)):
        with pytest.raises(TypeError, match=f"no argument '{wrong}': .*{told}"): make(**{wrong:1})

def test_methods_of_the_trainer_and_of_text_learners_lead_to_ours(bert):
    learn = learner('single', bert)
    for name,said in dict(train='fit_one_cycle.*learn.model.train', evaluate='validate.*report', save_encoder='save_pretrained.*checkpoint', load_encoder='folder.*checkpoint', show_batch='learn.dls.show_batch', tokenizer='learn.dls.tokenizer').items():
        with pytest.raises(AttributeError, match=f"has no '{name}': .*{said}"): getattr(learn, name)()
    with pytest.raises(AttributeError, match="no attribute 'generate'"): learn.generate
    assert learn.config is learn.model.config and learn.model.train().training

@pytest.mark.parametrize('block', [TransformersTextBlock, MaskedLMBlock])
def test_a_tokenizer_stands_in_place_of_the_checkpoint(block, bert):
    with pytest.raises(TypeError, match="no argument 'tokenizer': pass the tokenizer itself, in place of the checkpoint"): block(bert, tokenizer=load_tokenizer(bert))

@pytest.mark.parametrize('name', ['wgts','sampler'])
def test_rows_that_count_more_are_no_matter_of_loaders(name, bert):
    with pytest.raises(TypeError, match=f"no '{name}': .*class_weights="): learner('single', bert, dl_kwargs={name:[1.]*48})

def test_a_pickle_is_no_folder_and_a_folder_no_pickle(in_tmp):
    Path('learn.pkl').write_bytes(b'')
    with pytest.raises(NotADirectoryError, match="'learn.pkl' is a file.*load_learner"): TransformersLearner.from_pretrained('learn.pkl')
    with pytest.raises(IsADirectoryError, match='is a folder: TransformersLearner.from_pretrained'): load_learner('.')

@pytest.mark.parametrize('make,wrong,takes', [(token_classification_learner,'label','words, tags'), (token_classification_learner,'text','words, tags'), (masked_lm_learner,'label','text, mlm_probability'),
    (causal_lm_learner,'label','text'), (seq2seq_learner,'text','source, target'), (sequence_classification_learner,'words','text, label')])
def test_a_column_of_another_task_is_no_misspelling(make, wrong, takes, bert):
    with pytest.raises(TypeError, match=f"no argument '{wrong}'; {make.__name__} takes data, {takes}, .*TransformersLearner"): make(FRAMES['single'], bert, **{wrong:'text'})

def test_a_column_that_one_of_two_tables_lacks(bert):
    train,valid = FRAMES['single'][:30],FRAMES['single'][30:]
    for a,b,which in ((train, valid.rename(columns=dict(label='target')), 'validation'), (train.rename(columns=dict(label='target')), valid, 'training')):
        for tables in ((a, b), tuple(map(Dataset.from_pandas, (a.reset_index(drop=True), b.reset_index(drop=True))))):
            with pytest.raises(KeyError, match=rf"no column 'label' in the table for {which}, which has \['text', 'target'\]"): learner('single', bert, tables[0], valid=tables[1])

def test_signs_are_no_slips(): assert misspelt('+', ['-','*'])==misspelt('C', ['C#','C++'])==[] and misspelt('max length', ['max_length','-'])==['max_length']

def test_a_misspelt_label_in_a_table_for_validation(bert):
    train,valid = FRAMES['single'][:30],FRAMES['single'][30:]
    typo = valid.assign(label=valid.label.replace('good', 'goood'))
    with pytest.raises(ValueError, match=r"'goood' occurs only in validation \(rows .*\); did you mean 'good'\? Correct them there"): learner('single', bert, train, valid=typo)
    for valid in ([0,1,2], [3,4]): # drawn from the same table: another draw helps
        data = FRAMES['single'].assign(label=['rare' if i==valid[0] else o for i,o in enumerate(FRAMES['single'].label)])
        with pytest.raises(ValueError, match=r"'rare' occurs only in validation .*: move such rows to training"): learner('single', bert, data, valid=valid)
    words = pd.DataFrame(dict(tokens=[['a','b']]*6, tags=[['B-LOC','O']]*5+[['B-LOCC','O']]))
    for label in ('Good ','food','fin'): # the same but for case and space; two words; a beginning
        typo = pd.DataFrame(dict(text=['a film'], label=[label]))
        with pytest.raises(ValueError, match=r"did you mean 'good'" if label=='Good ' else r'only in validation \([^)]*\): '): learner('single', bert, train, valid=typo)
    with pytest.raises(ValueError, match=r"'B-LOCC' occurs only in validation .*; did you mean 'B-LOC'\?"): token_classification_learner(words[:5], bert, valid=words[5:])

def test_metrics_by_name_are_refused(bert):
    with pytest.raises(TypeError, match="metrics='accuracy'"): learner('single', bert, metrics='accuracy')

def test_swapped_columns_make_a_short_message(bert):
    with pytest.raises(ValueError, match='are text= and label= swapped') as e: learner('single', bert, data=FRAMES['single'].assign(text=[f'{t} {i}' for i,t in enumerate(FRAMES['single'].text)]*1), text='label', label='text', valid=.6)
    assert len(str(e.value))<900

def test_numbers_with_one_validation_row(bert):
    learn = learner('regression', bert, valid=[7])
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3)
        loss,mae,*correlations = learn.validate()
    assert np.isfinite([loss,mae]).all() and np.isnan(correlations).all() and len(correlations)==2
    Interpretation.from_learner(learn).plot_top_losses(1)
    learn.save_pretrained('saved')
    assert 'nan' not in model_card(learn).lower() and TransformersLearner.from_pretrained('saved').predict('a film')
    assert pickle.dumps(learn.metrics[1])
    assert learn.metrics[1].func(torch.tensor([1.,2.,4.]), torch.tensor([1.,2.,3.]))==pytest.approx(np.corrcoef([1,2,4], [1,2,3])[0,1])

def test_a_learner_without_rows_cannot_be_trained(bert):
    learner('single', bert).save_pretrained('saved')
    learn = TransformersLearner.from_pretrained('saved')
    for call in (learn.lr_find, lambda: learn.fit(1), lambda: learn.fine_tune(1)):
        with pytest.raises(ValueError, match='no training rows.*learn.dls'): call()

@pytest.mark.parametrize('name,like', [('megabach','megabatch'), ('num_worker','num_workers'), ('val_nume_workers','num_workers'), ('window',None)])
def test_arguments_that_no_loader_knows(name, like, kind, checkpoint):
    with pytest.raises(TypeError, match=f"no '{name}'"+(f"; did you mean '{like}'" if like else '$')): learner(kind, checkpoint, dl_kwargs={name:2})

def test_loaders_of_a_datablock_know_their_arguments(bert):
    block = DataBlock((TransformersTextBlock(bert), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'))
    with pytest.raises(TypeError, match="no 'megabach'; did you mean 'megabatch'"): block.dataloaders(FRAMES['single'], megabach=2)
    dls = block.dataloaders(FRAMES['single'], megabatch=2, val_bs=3, val_num_workers=0, pin_memory=False)
    assert (dls.train.megabatch,dls.valid.bs)==(2, 3)
    with pytest.raises(TypeError, match="no 'batchsize'; did you mean 'batch_size'"): dls.train.new(batchsize=2)

@pytest.mark.parametrize('given', [dict(max_length=9), dict(tokenizer='elsewhere'), dict(dl_kwargs=dict(val_bs=3))], ids=lambda d: next(iter(d)))
def test_ready_loaders_are_not_made_anew(given, kind, checkpoint):
    made = learner(kind, checkpoint)
    with pytest.raises(ValueError, match=f'{[*given][0]}=: these DataLoaders are made already'): learner(kind, made.model, made.dls, **given)

def test_the_missing_text_of_a_pair_is_named(bert):
    learn = learner('pair', bert)
    with pytest.raises(TypeError, match='item 1: expected .* got tuple whose second text is None'): learn.predict_batch([('a','b'), ('a very long text'*9,None)])

def test_adapters_alone_are_no_checkpoint(bert):
    from peft import LoraConfig
    learn = learner('single', bert, peft=LoraConfig(r=2, target_modules=['query']))
    learn.save_pretrained('alone', merge=False)
    with pytest.raises(OSError, match='adapters without their base model.*merge=True'): learner('multi', 'alone')
    assert learner('multi', TransformersLearner.from_pretrained('alone'))

def test_a_loader_without_labels_is_said_to_have_none(bert):
    learn = learner('single', bert)
    with pytest.raises(ValueError, match='texts without labels'): ClassificationInterpretation.from_learner(learn, dl=learn.dls.test_dl(TEXTS))

@pytest.mark.parametrize('kind', MORE_KINDS)
@pytest.mark.parametrize('name', ['task','rows','x','first_guess','options','dls'])
def test_what_a_function_finds_by_itself_is_no_argument(kind, name, bert):
    with pytest.raises(TypeError, match=f"there is no argument '{name}'"): learner(kind, bert, **{name:None})

# What a message advises works

@pytest.mark.parametrize('name', ['label_smoothing','label_smoothing_factor'])
@pytest.mark.parametrize('kind', ['single','choice'])
def test_smoother_labels_are_advised_as_they_can_be_had(kind, name, bert):
    said = refused(kind, f"no argument '{name}': where there is one right label", bert, OWN, TypeError, **{name:.1})
    assert 'loss_func=CrossEntropyLossFlat(label_smoothing=...)' in said and 'seq2seq_learner takes label_smoothing=' in said
    learn = learner(kind, bert, loss_func=CrossEntropyLossFlat(label_smoothing=.1))
    assert np.isfinite(learn.validate()[0])

def test_a_vocab_for_numbers(bert):
    assert refused('regression', r"\['score'\] is read as numbers: leave it out$", bert, OWN, vocab=['a'])
    whole = FRAMES['regression'].assign(score=np.arange(48.))
    refused('regression', "For classes pass problem_type='single_label_classification'", bert, whole, vocab=['a'], problem_type='regression')
    learner('regression', bert, whole, problem_type='single_label_classification', vocab=list(range(48)))

def test_ages_may_be_quantities(bert):
    ages = DF.assign(label=np.arange(48)+20)
    refused('single', r"occur only in validation.*Are they quantities\? Then pass problem_type='regression'$", bert, ages)
    learner('single', bert, ages, problem_type='regression')
    assert 'quantities' not in refused('single', 'only in validation.*are text= and label= swapped', bert, DF.assign(label=[f'x{i}' for i in range(48)]), valid=.5)

def test_windows_are_asked_for_by_overlap(bert):
    for block in (TransformersTextBlock, MaskedLMBlock):
        with pytest.raises(TypeError, match="no argument 'stride': overlap="): block(bert, stride=3)
        with pytest.raises(TypeError, match="no argument 'return_overflowing_tokens': overlap= reads long texts"): block(bert, return_overflowing_tokens=True)
        with pytest.raises(TypeError, match="no argument 'return_tensors': batches are tensors"): block(bert, return_tensors='pt')

@pytest.mark.parametrize('kwargs', [dict(max_length=20.), dict(max_length='64'), dict(max_length=True), dict(max_length=0), dict(overlap=2.), dict(overlap=True), dict(overlap=-1)], ids=str)
def test_numbers_of_a_block_are_checked_as_those_of_a_learner(kwargs, bert):
    (name,given), = kwargs.items()
    said = f'{name}={given!r}: a whole number of at least'
    refused('single', said, bert, OWN, **kwargs)
    def direct(_, **kwargs): return TokenizeText(load_tokenizer(bert), **kwargs)
    for block in (TransformersTextBlock, direct, *[MaskedLMBlock, TextChoicesBlock]*(name=='max_length')):
        with pytest.raises(ValueError, match=said): block(bert, **dict(max_length=20) | kwargs)
    assert TransformersTextBlock(bert, max_length=np.int64(20), overlap=np.int32(2)).type_tfms[0].tokenize(TEXTS)[0].lens.max()<=20

def test_words_that_a_byte_level_tokenizer_would_join(in_tmp):
    made = byte_tokenizer(True, 64)
    raw = json.loads(made.backend_tokenizer.to_str())
    raw['pre_tokenizer']['add_prefix_space'] = raw['post_processor']['add_prefix_space'] = False
    for name,cls in dict(none=transformers.PreTrainedTokenizerFast, own=transformers.RobertaTokenizer).items(): # with a class of its own, and without (Llama 3)
        Path(name).mkdir()
        transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer.from_str(json.dumps(raw)), **made.special_tokens_map).save_pretrained(name)
        config = json.loads(Path(name, 'tokenizer_config.json').read_text())
        Path(name, 'tokenizer_config.json').write_text(json.dumps(config | dict(tokenizer_class=cls.__name__)))
        tok = load_tokenizer(name)
        with pytest.raises(ValueError, match='pass the name or folder that it came from.*tokenizer.save_pretrained'): load_tokenizer(tok, True)
        followed = load_tokenizer(name, True)
        tok.save_pretrained('again')
        words = ['good','film']
        ids = [t(words, is_split_into_words=True)['input_ids'] for t in (followed, load_tokenizer('again', True))]
        assert ids[0]==ids[1]==tok(' good film')['input_ids']

def test_what_is_given_twice(bert):
    refused('single', "dl_kwargs hold 'bs': pass bs= itself", bert, OWN, TypeError, dl_kwargs=dict(bs=4))
    refused('single', "model_kwargs hold 'config': pass its settings by their names", bert, OWN, TypeError, model_kwargs=dict(config=transformers.BertConfig()))
    assert learner('single', bert, bs=4, model_kwargs=dict(hidden_dropout_prob=.3)).model.config.hidden_dropout_prob==.3
