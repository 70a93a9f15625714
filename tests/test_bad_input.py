"What a user gets wrong: a clear error before any training, or a visible warning, and nothing lost."
import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from blurlike.all import Callback, SaveModelCallback, TransformersLearner, load_tokenizer, sequence_classification_learner
from conftest import TINY
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets import Sequence as Seq

@pytest.fixture
def learner(checkpoint):
    def _learner(data, ckpt=None, **kwargs): return sequence_classification_learner(data, ckpt or checkpoint, **dict(bs=8) | kwargs)
    return _learner

def frame(**kwargs): return pd.DataFrame(dict(text=['the sea','a hill','some town','cold food']*3, label=['x','y']*6) | kwargs)
def refused(error, *words):
    "The error, whose message holds all of `words`."
    return pytest.raises(error, match=''.join(f'(?=.*{w})' for w in words).replace(' ', r'\s')+'.*') if words else pytest.raises(error)

# --- data and columns
def test_missing_column(learner):
    with refused(KeyError, "no column 'review'", 'text', 'label'): learner(frame(), text='review')
    with refused(KeyError, "no column 'stars'", 'text', 'label'): learner(frame(), label='stars')

def test_no_rows(learner):
    with refused(ValueError, 'no rows'): learner(frame()[:0])

def test_empty_validation(learner):
    with refused(ValueError, 'validation part is empty'): learner(frame(), valid=0.01)
    with refused(ValueError, 'training part is empty'): learner(frame(), valid=range(12))
    with refused(ValueError, 'validation part is empty'): learner(frame(is_valid=[False]*12), valid='is_valid')
    with refused(ValueError, 'up to 12'): learner(frame(), valid=[12])
    with refused(ValueError, 'not a fraction'): learner(frame(), valid=3)

@pytest.mark.parametrize('bad,error,words', [(None,ValueError,['no text','row 3']), (float('nan'),ValueError,['no text','row 3']), (7,TypeError,['int','row 3','astype']),
    (b'x',TypeError,['bytes','row 3']), ('a\ud800b',ValueError,['surrogate','row 3'])])
def test_bad_text(learner, bad, error, words):
    texts = list(frame().text); texts[3] = bad
    with refused(error, "'text'", *words): learner(frame(text=pd.Series(texts, dtype=object)))

def test_bad_text_in_a_dataset(learner):
    with refused(ValueError, "'text'", 'row 1'): learner(Dataset.from_dict(dict(text=['a',None,'b','c'], label=[0,1,0,1])))
    with refused(TypeError, "'text'", 'int64'): learner(Dataset.from_dict(dict(text=[1,2,3,4], label=[0,1,0,1])))

def test_empty_text_warns(learner):
    texts = list(frame().text); texts[2] = '  '
    with pytest.warns(UserWarning, match='empty text in row 2'): learn = learner(frame(text=texts))
    learn.no_bar().__enter__()
    learn.fit_one_cycle(1, 1e-3)

# --- labels
def test_missing_labels(learner):
    labels = list(frame().label); labels[4] = None
    with refused(ValueError, "'label'", 'row 4'): learner(frame(label=labels))
    with refused(ValueError, "'label'", 'row 4'): learner(frame(label=[1.5,2,3,1,np.nan,*range(7)]))
    ds = Dataset.from_dict(dict(text=['a','b','c','d'], label=[0,1,-1,1]), features=Features(dict(text=Value('string'), label=ClassLabel(names=['n','p']))))
    with refused(ValueError, "'label'", 'row 2'): learner(ds, valid=[3])

def test_label_only_in_validation(learner):
    labels = list(frame().label); labels[5] = 'rare'
    with refused(ValueError, "'rare'", 'only in validation', 'row 5', 'valid='): learner(frame(label=labels), valid=[4,5])
    with refused(ValueError, "'c'", 'only in validation'): learner(frame(label=[['a'],['b']]*5+[['a'],['c']]), valid=[10,11])

def test_single_class(learner):
    with refused(ValueError, 'one label only', "'x'"): learner(frame(label='x'))
    with refused(ValueError, 'one value only'): learner(frame(label=2.5))
    with refused(ValueError, 'training part holds one label only|only in validation'): learner(frame(label=['x']*11+['y']), valid=[11])

@pytest.mark.parametrize('column,kind,words', [(['x','y']*6,'regression',['must hold numbers']), ([['a'],['b']]*6,'regression',['lists']), ([['a'],['b']]*6,'single_label_classification',['lists']),
    (['a,b','b']*6,'multi_label_classification',['str.split']), ([1.5,2.]*6,'single_label_classification',['fractions']), ([0.,1.]*6,None,['classes or quantities','problem_type']), (['x','y']*6,'ranking',['not one of'])])
def test_label_of_the_wrong_kind(learner, column, kind, words):
    with refused(ValueError, *words): learner(frame(label=column), problem_type=kind)

def test_mixed_labels(learner):
    with refused(ValueError, 'mixes types', 'int', 'str'): learner(frame(label=pd.Series([1,'x']*6, dtype=object)), valid=[0,1])

def test_whole_floats_when_asked(learner):
    assert learner(frame(label=[0.,1.]*6), problem_type='single_label_classification').dls.vocab==[0,1]
    assert learner(frame(label=[0.,1.]*6), problem_type='regression').task.name=='regression'

def test_numpy_labels_become_json(learner, tmp_path):
    learn = learner(frame(label=np.array([3,5]*6)))
    learn.save_pretrained(tmp_path/'m')
    assert json.loads((tmp_path/'m'/'config.json').read_text())['id2label']=={'0':'3','1':'5'}
    assert TransformersLearner.from_pretrained(tmp_path/'m').dls.vocab==[3,5]

# --- checkpoint, tokenizer, length
def test_no_such_checkpoint(learner, monkeypatch):
    with refused(FileNotFoundError, 'no/such', 'does not exist'): learner(frame(), './no/such/folder')
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    with refused(OSError, 'no-such-model'): learner(frame(), 'no-such-model')

def test_no_tokenizer(learner, tmp_path):
    transformers.BertModel(transformers.BertConfig(vocab_size=60, **TINY)).save_pretrained(tmp_path)
    with refused(OSError, 'no tokenizer', 'tokenizer='): learner(frame(), tmp_path)

def test_max_length_above_the_model(learner):
    with refused(ValueError, 'max_length=65', '64'): learner(frame(), max_length=65)
    with refused(ValueError, 'no room'): learner(frame(), max_length=2)

def test_roberta_positions_are_counted_right(learner, bpe, tmp_path):
    from conftest import _byte_tokenizer
    model = transformers.RobertaForSequenceClassification(transformers.RobertaConfig(vocab_size=400, max_position_embeddings=34, pad_token_id=1, type_vocab_size=1, **TINY))
    learn = learner(frame(), model, tokenizer=_byte_tokenizer(bpe, pad=True))
    assert learn.dls.text_tfm.max_length==32
    with pytest.warns(UserWarning, match='cut off'): assert len(learn.predict_batch(['the sea '*200]))==1

def test_no_pad_token(learner, bpe):
    from conftest import _byte_tokenizer
    tok = _byte_tokenizer(bpe, pad=False)
    model = transformers.GPT2ForSequenceClassification(transformers.GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=2, n_positions=64, num_labels=2, bos_token_id=0, eos_token_id=2))
    with pytest.warns(UserWarning, match='no pad token'): learn = learner(frame(), model, tokenizer=tok)
    assert tok.pad_token_id==model.config.pad_token_id==2
    with learn.no_bar(): learn.fit_one_cycle(1, 1e-3)
    long,short = 'we went there last year with my brother','the sea'
    assert torch.allclose(learn.predict_logits([short, long])[0], learn.predict_logits([short])[0], atol=1e-5)

def test_tokenizer_and_model_apart(learner, bpe, checkpoint):
    from conftest import _byte_tokenizer
    model = transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=20, **TINY))
    with refused(ValueError, 'do not belong together'): learner(frame(), model, tokenizer=_byte_tokenizer(bpe, pad=True))

def test_cut_is_reported_once_with_shares(learner):
    texts = ['sea']*10+['the sea '*10]*2
    learn = learner(frame(text=texts), max_length=12, valid=[0,1])
    with warnings.catch_warnings(record=True) as w, learn.no_bar(), learn.no_logging():
        warnings.simplefilter('always')
        learn.fit_one_cycle(2, 1e-3)
    cut = [str(x.message) for x in w if 'cut off' in str(x.message)]
    n_tokens = sum(len(load_tokenizer(learn.dls.tokenizer)(t).input_ids) for t in texts[2:])
    lost = sum(max(0, len(learn.dls.tokenizer(t).input_ids)-12) for t in texts[2:])
    assert len(cut)==1 and '2 of 10 texts (20.0%)' in cut[0] and f'{lost} of {n_tokens} tokens' in cut[0]

# --- predictions
@pytest.mark.parametrize('item', [None, 1, 1.5, float('nan'), b'x', ['a','b','c']])
def test_predict_of_no_text(trained, item):
    with pytest.raises(TypeError, match='expected a text'): trained('single').predict(item)
    with pytest.raises(TypeError, match='item 1: expected a text'): trained('single').predict_batch(['a', item])

def test_predict_of_a_row_without_the_column(trained):
    with pytest.raises(TypeError, match="no column 'text'.*'a'"): trained('single').predict({'a':1})
    with pytest.raises(TypeError, match='list of texts'): trained('single').predict_batch('a text')

def test_predict_odd_texts(trained):
    learn = trained('single')
    with learn.no_bar(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for text in ('', '   ', '\x00', 'sea '*25_000, '\u200b', '水'*100, '🏔️', 'a\ud800b'):
            _,_,p = learn.predict(text)
            assert p.sum().item()==pytest.approx(1, abs=1e-5)
    learn.dls.text_tfm.reported.clear()
    with learn.no_bar(), pytest.warns(UserWarning, match=r'1 of 1 texts \(100.0%\).*99\.\d% *\) were cut'): learn.predict('sea '*25_000)
    with pytest.warns(UserWarning, match='surrogate'): learn.predict_batch(['a\ud800b'])

# --- training
def test_fewer_rows_than_a_batch(learner):
    learn = learner(frame()[:6], bs=64, valid=[4,5]); seen = []
    class Count(Callback):
        def before_batch(self): seen.append((self.training, len(self.xb[0])))
    before = learn.model.classifier.weight.detach().clone()
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-2, cbs=Count())
    assert seen==[(True,4),(False,2)] and not torch.equal(before, learn.model.classifier.weight)

def test_error_in_a_callback_is_not_hidden(learner):
    class Bad(Callback):
        def before_batch(self): raise RuntimeError()
    with pytest.raises(RuntimeError), learner(frame()).no_bar() as learn: learn.fit(1, cbs=Bad())
    class Worse(Callback):
        def before_batch(self): raise ValueError('the reason')
    with pytest.raises(ValueError, match='the reason'), learner(frame()).no_bar() as learn: learn.fit(1, cbs=Worse())

def test_monitor_that_is_not_there(learner):
    with refused(ValueError, 'f1x', 'accuracy', 'valid_loss'): learner(frame()).fit(1, cbs=SaveModelCallback(monitor='f1x'))

def test_interrupted_lr_find_keeps_the_weights(learner):
    learn = learner(frame()); before = {k:v.clone() for k,v in learn.model.state_dict().items()}
    class Stop(Callback):
        def after_step(self):
            if self.train_iter==5: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), learn.no_bar(), learn.added_cbs(Stop()): learn.lr_find(num_it=30, show_plot=False)
    assert all(torch.equal(v, before[k]) for k,v in learn.model.state_dict().items())
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3)

def test_nothing_leaks_into_the_next_learner(learner):
    a = learner(frame()); a.metrics = a.metrics+a.metrics[:1]; a.model.config.id2label[0] = 'changed'
    b = learner(frame())
    assert len(b.metrics)==2 and b.metrics[1] is not a.metrics[1] and b.model.config.id2label[0]=='x' and len(b.cbs)==len(a.cbs)

# --- class weights
def test_class_weights(learner):
    df = frame(label=['x']*8+['y']*4)
    weight = lambda w: learner(df, class_weights=w, valid=[0,11]).loss_func.func.weight
    assert torch.allclose(weight('balanced'), torch.tensor([10/(2*7), 10/(2*3)]))
    assert weight({'x':1,'y':3}).tolist()==weight([1,3]).tolist()==[1,3]
    for bad,word in (('even','balanced'), ({'x':1},'names'), ([1,2,3],'shape')):
        with refused(ValueError, word): weight(bad)
    with refused(ValueError, 'for labels'): learner(frame(label=[1.5,2.]*6), class_weights='balanced')
    multi = learner(frame(label=[['a'],['a','b'],[]]*4), class_weights='balanced', valid=[0,1,2])
    assert torch.allclose(multi.loss_func.func.pos_weight, torch.tensor([3/6, 6/3]))
    with multi.no_bar(): multi.fit_one_cycle(1, 1e-3)

# --- sources, splits and label names
def test_dataset_dict_keeps_its_validation_split(learner):
    part = lambda n, w: Dataset.from_dict(dict(text=[f'{w} {i}' for i in range(n)], label=[0,1]*(n//2)))
    learn = learner(DatasetDict(train=part(8,'sea'), test=part(4,'town'), validation=part(6,'hill')))
    assert [len(d) for d in (learn.dls.train_ds, learn.dls.valid_ds)]==[8,6] and learn.dls.valid_ds.items[0]['text']=='hill 0'
    learn = learner(DatasetDict(train=part(8,'sea'), test=part(4,'town')), valid='test')
    assert learn.dls.valid_ds.items[0]['text']=='town 0' and len(learn.dls.train_ds)==8
    learn = learner(DatasetDict(train=part(10,'sea'), test=part(4,'town')))
    assert {r['text'][:3] for r in learn.dls.valid_ds.items}=={'sea'}

def test_class_label_names(learner):
    ds = Dataset.from_dict(dict(text=['a','b']*6, label=[1,0]*6), features=Features(dict(text=Value('string'), label=ClassLabel(names=['zebra','ant']))))
    learn = learner(ds)
    assert learn.dls.vocab==['zebra','ant'] and learn.model.config.id2label=={0:'zebra',1:'ant'} and int(learn.dls.train_ds[0][1])==ds[int(learn.dls.train_ds.items.idxs[0])]['label']
    ds = Dataset.from_dict(dict(text=['a','b']*6, label=[[1],[0,1]]*6), features=Features(dict(text=Value('string'), label=Seq(ClassLabel(names=['zebra','ant'])))))
    learn = learner(ds)
    assert learn.dls.vocab==['zebra','ant'] and learn.dls.train_ds[0][1][1]==1

def test_one_hot_columns(learner):
    learn = learner(frame(good=[1,0]*6, long=[True,True,False]*4).drop(columns='label'), label=['good','long'])
    assert learn.task.name=='multi_label_classification' and learn.dls.vocab==['good','long']
    row = learn.dls.train_ds.items[0]
    assert learn.dls.train_ds[0][1].tolist()==[float(row['good']), float(row['long'])]

def test_several_numbers(learner):
    learn = learner(frame(a=np.linspace(0,1,12), b=np.linspace(3,2,12)), label=['a','b'])
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3)
    assert learn.task.name=='regression' and [d['label'] for d in learn.predict_batch(['sea'])[0]]==['a','b']

@pytest.mark.parametrize('ending', ['csv','tsv','jsonl','parquet'])
def test_files(learner, ending, tmp_path):
    df = frame(text=['null','NA','None','a "b", c']*3)
    path = tmp_path/f'd.{ending}'
    dict(csv=lambda: df.to_csv(path, index=False), tsv=lambda: df.to_csv(path, sep='\t', index=False), jsonl=lambda: df.to_json(path, orient='records', lines=True), parquet=lambda: df.to_parquet(path))[ending]()
    learn = learner(str(path), valid=[0,1,2,3])
    assert [r['text'] for r in learn.dls.valid_ds.items]==['null','NA','None','a "b", c'] and learn.dls.vocab==['x','y']

def test_other_sources(learner):
    assert len(learner(frame().to_dict('records')).dls.train_ds)==10
    with refused(TypeError, 'IterableDataset', 'take'): learner(Dataset.from_pandas(frame()).to_iterable_dataset())
    with refused(TypeError, 'not int'): learner(3)
    with refused(ValueError, "csv"): learner(__file__)

def test_valid_by_column_and_numbers(learner):
    df = frame(part=[False]*9+[True]*3)
    assert [r['part'] for r in learner(df, valid='part').dls.valid_ds.items]==[True]*3
    assert learner(df, valid=[0,5]).dls.valid_ds.items.idxs.tolist()==[0,5]
    assert learner(df, valid=np.array(df.part)).dls.valid_ds.items.idxs.tolist()==[9,10,11]
    with refused(KeyError, 'neither a split', 'part'): learner(df, valid='validation')
    a,b,c = (learner(df, seed=s).dls.valid_ds.items.idxs.tolist() for s in (1,1,2))
    assert a==b and a!=c

def test_order_of_labels_of_a_trained_checkpoint(learner, tmp_path):
    learn = learner(frame(label=['pos','neg']*6))
    learn.model.config.id2label,learn.model.config.label2id = {0:'pos',1:'neg'},{'pos':0,'neg':1}
    learn.model.save_pretrained(tmp_path); learn.dls.tokenizer.save_pretrained(tmp_path)
    assert list(learn.dls.vocab)==['neg','pos'] and list(learner(frame(label=['pos','neg']*6), tmp_path).dls.vocab)==['pos','neg']
