"What a table of tags says is what is learnt: schemes, spans, CoNLL files; and predictions by the words of the user."
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from tokenizers import ByteLevelBPETokenizer, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing

from blurlike.all import EntityCounts, TransformersLearner, read_conll, scratch_checkpoint, token_classification_learner
from blurlike.tagged import tag_runs

WORDS = "met on 1996-08-30 Ada U.S. don't O'Brien in (Rome) EU/UN saw x_1 unbelievably Grace".split()
TYPES = ['PER','LOC']

def frame(n=24, seed=0, letters='BI'):
    rng,rows = np.random.default_rng(seed),[]
    tags = ['O', *(f'{l}-{t}' for t in TYPES for l in letters)]
    for i in range(n):
        words = [str(w) for w in rng.choice(WORDS, rng.integers(1, 9))]
        rows.append(dict(tokens=words, tags=[tags[(i+j)%len(tags)] for j in range(len(words))]))
    return pd.DataFrame(rows)

def learner(checkpoint, df=None, **kwargs):
    return token_classification_learner(frame() if df is None else df, checkpoint, **dict(dl_kwargs=dict(device=torch.device('cpu'))) | kwargs)

def wordpiece(folder): return scratch_checkpoint(WORDS*2+list('abcdefghijklmnopqrstuvwxyz'), folder, vocab_size=60, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=37)

def saved(tok, folder):
    tok.save_pretrained(folder)
    config = transformers.RobertaConfig(vocab_size=len(tok), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=37, max_position_embeddings=66, pad_token_id=1)
    transformers.RobertaModel(config).save_pretrained(folder)
    return folder

def byte_level(folder):
    raw = ByteLevelBPETokenizer()
    raw.train_from_iterator(WORDS, vocab_size=280, min_frequency=1, show_progress=False, special_tokens=['<s>','<pad>','</s>','<unk>','<mask>'])
    return saved(transformers.RobertaTokenizer(vocab=raw.get_vocab(), merges=[]), folder)

def sentencepiece(folder):
    raw = Tokenizer(models.Unigram())
    raw.normalizer = normalizers.Replace(Regex(' {2,}'), ' ')
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.train_from_iterator(WORDS, trainers.UnigramTrainer(vocab_size=70, special_tokens=['<s>','<pad>','</s>','<unk>'], unk_token='<unk>', show_progress=False))
    raw.post_processor = TemplateProcessing(single='<s> $A </s>', pair='<s> $A </s> $B </s>', special_tokens=[('<s>', 0), ('</s>', 2)])
    tok = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token='<pad>', unk_token='<unk>', bos_token='<s>', eos_token='</s>', cls_token='<s>', sep_token='</s>', model_max_length=64)
    return saved(tok, folder)

@pytest.fixture(scope='module', params=[wordpiece, byte_level, sentencepiece], ids=lambda f: f.__name__)
def checkpoint(request, tmp_path_factory):
    torch.manual_seed(0)
    return request.param(tmp_path_factory.mktemp(request.param.__name__))

@pytest.fixture(scope='module')
def bert(tmp_path_factory):
    torch.manual_seed(0)
    return wordpiece(tmp_path_factory.mktemp('bert'))

def guessing(learn): # all tags occur
    torch.manual_seed(1)
    torch.nn.init.normal_(learn.model.classifier.weight, std=3)
    torch.nn.init.zeros_(learn.model.classifier.bias)
    return learn

def told(learn, item): # the entities that the tags of `predict` tell of, with their places
    tagged,index,probs = learn.predict(item)
    text = item if isinstance(item, str) else ' '.join(item)
    spans,at = [],0
    for w,_ in tagged:
        at = text.index(w, at)
        spans.append((at, at+len(w)))
        at += len(w)
    res = []
    for kind,a,b in tag_runs([t for _,t in tagged], True):
        if kind is not None: res.append((kind, text[spans[a][0]:spans[b-1][1]], spans[a][0], spans[b-1][1], pytest.approx(float(probs[a:b].max(-1).values.mean()), abs=1e-4)))
    return res

ITEMS = [*frame(12, 5).tokens, "Ada met O'Brien in (Rome), on 1996-08-30.", 'U.S.  don\'t', ['Ada','\u200b','Rome'], [], ['\u200b'], '', ['New York','a'], '\u200b Ada']

@pytest.mark.parametrize('letters', ['BI','BIES','BILU','BMES'])
def test_entities_are_those_of_predict_and_of_the_metrics(checkpoint, letters):
    learn = guessing(learner(checkpoint, frame(letters=letters)))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found,want = learn.predict_batch(ITEMS, bs=3),[told(learn, o) for o in ITEMS]
    assert [[tuple(e[k] for k in ('entity_group','word','start','end','score')) for e in row] for row in found]==want and sum(map(len, want))>20
    df = frame(30, 7, letters)
    counts = learn.entity_report(dl=learn.dls.test_dl(df, with_labels=True))
    preds,names = learn.get_preds(dl=learn.dls.test_dl(df))[0],learn.names
    assert [len(row) for row in learn.predict_batch(df)]==[sum(k is not None for k,*_ in tag_runs([names[i] for i in p.argmax(-1)], True)) for p in preds]
    assert counts.loc['micro avg','support']==sum(k is not None for t in df.tags for k,*_ in tag_runs(t, True))

def test_no_word_is_cut(checkpoint):
    learn = guessing(learner(checkpoint))
    words = ['1996-08-30','unbelievably',"O'Brien",'U.S.']
    borders = np.cumsum([0]+[len(w)+1 for w in words])
    for e in learn.predict_batch([words])[0]: assert e['start'] in borders and e['end']+1 in borders
    assert any(e['start'] not in borders or e['end']+1 not in borders for e in learn.predict_batch([words], aggregation_strategy='simple')[0])

@pytest.mark.parametrize('side', ['right','left'])
def test_windows_and_cuts(checkpoint, side):
    learn = guessing(learner(checkpoint, max_length=14, overlap=4))
    learn.dls.tokenizer.truncation_side = side
    words = [w for ws in frame(6, 3).tokens for w in ws]
    whole = [(e['entity_group'],e['start'],e['end']) for e in learn.predict_batch([words])[0]]
    assert whole==[o[:1]+o[2:4] for o in told(learn, words)] and len(whole)>3
    learn.dls.text_tfm.overlap = None
    with pytest.warns(UserWarning, match='cut off'): found = learn.predict_batch([words])[0]
    assert [(e['entity_group'],e['word']) for e in found]==[o[:2] for o in told(learn, words)]
    learn.dls.tokenizer.truncation_side = 'right'

def test_ignored_labels_and_unknown_strategies(bert):
    learn = guessing(learner(bert))
    words = [*WORDS[:6],'\u200b','\u200b']
    row = learn.predict_batch([words], ignore_labels=())[0]
    assert ' '.join(e['word'] for e in row)==' '.join(words) and {e['entity_group'] for e in row}=={'PER','LOC','O'}
    assert {e['entity_group'] for e in learn.predict_batch([WORDS[:7]], ignore_labels=('O','PER'))[0]}=={'LOC'}
    with pytest.raises(ValueError, match="aggregation_strategy='best'.*words, none, simple"): learn.predict_batch([WORDS[:7]], aggregation_strategy='best')

def test_tags_of_no_scheme_stand_alone(bert, capsys):
    df = frame().assign(tags=lambda d: [['NOUN' if w[0].isupper() else 'X' for w in ws] for ws in d.tokens])
    learn = guessing(learner(bert, df))
    row = learn.predict_batch([WORDS[:7]])[0]
    assert [(e['word'],e['entity_group']) for e in row]==list(learn.predict(WORDS[:7])[0])

def test_reloaded_it_tells_the_same(bert, tmp_path):
    learn = guessing(learner(bert, frame(letters='BILU')))
    learn.save_pretrained(tmp_path/'saved')
    again = TransformersLearner.from_pretrained(tmp_path/'saved')
    assert again.predict_batch([WORDS[:7]])==learn.predict_batch([WORDS[:7]])

def test_one_decoding():
    bio,iobes = ['B-A','I-A','O','B-A','B-B','I-B','I-B'],['B-A','E-A','O','S-A','B-B','I-B','E-B']
    biluo,bmes = [[t.replace('E-', e).replace('S-', s).replace('I-', i) for t in iobes] for e,s,i in (('L-','U-','I-'), ('E-','S-','M-'))]
    assert tag_runs(bio)==tag_runs(iobes)==tag_runs(biluo)==tag_runs(bmes)==[('A',0,2),(None,2,3),('A',3,4),('B',4,7)]
    assert tag_runs(['I-A','E-A','E-A','I-B',None,'S-B','I-B'])==[('A',0,2),('A',2,3),('B',3,4),(None,4,5),('B',5,6),('B',6,7)] and tag_runs([])==[]

@pytest.mark.parametrize('letters', ['BIES','BILU','BMES','BMEW'])
@pytest.mark.parametrize('strict', [False, True])
def test_other_schemes_count_as_iobes(letters, strict):
    rng,vocab = np.random.default_rng(0),['O', *(f'{l}-{t}' for t in TYPES for l in 'BIES')]
    own = [t if t=='O' else {'B':'B', 'I':letters[1], 'E':letters[2], 'S':letters[3]}[t[0]]+t[1:] for t in vocab]
    ours,theirs = EntityCounts(own, strict),EntityCounts(vocab, strict)
    for _ in range(100):
        t,p = rng.integers(0, 9, 8),rng.integers(0, 9, 8)
        ours.add(t, p)
        theirs.add(t, p)
    assert ours.report().equals(theirs.report()) and ours.value('f1')>0

def conll(tmp_path, text, name='a.conll', **kwargs):
    (tmp_path/name).write_text(text, encoding='utf-8')
    df = read_conll(tmp_path/name, **kwargs)
    return [list(zip(*row)) for row in zip(df.tokens, df.tags)]

@pytest.mark.parametrize('ending', ['conll','txt'])
def test_comments_are_no_words(tmp_path, ending):
    text = '# sent_id = 0\n# http://x [2009]\n#begin document (x); part 0\nAda N B-NP B-PER\n# N I-NP O\n#tag N B-NP B-PER\n\n# sent_id = 1\n# newdoc\nmet V B-VP O\n#end document\n'
    want = [[('Ada','B-PER'),('#','O'),('#tag','B-PER')],[('met','O')]]
    assert conll(tmp_path, text, f'a.{ending}', word=0, tag=3)==want
    (tmp_path/'b.txt').write_text(text)
    assert conll(tmp_path, text.replace(' ', '\t').replace('#\tsent_id\t=\t', '# sent_id = ').replace('#\tN', '#\tN').replace('#\thttp://x\t', '# http://x '))==want

def test_a_hash_is_a_word_of_two_columns(tmp_path):
    assert conll(tmp_path, '# O\nAda B-PER\n\n#tag O\n# text\n# a note\n\n#end document\n')==[[('#','O'),('Ada','B-PER')],[('#tag','O')]]
    assert conll(tmp_path, '#\tSYM\n#x y\tNOUN\n# a note\nAda\tPROPN\n')==[[('#','SYM'),('#x y','NOUN'),('Ada','PROPN')]]
    assert conll(tmp_path, '% a note\n# SYM\nAda PROPN\n', comment='%')==[[('#','SYM'),('Ada','PROPN')]]
    assert conll(tmp_path, '# a\nAda PROPN\n', comment=None)==[[('#','a'),('Ada','PROPN')]]
    with pytest.raises(ValueError, match='no sentences'): conll(tmp_path, '# only = notes\n# x\n')

@pytest.mark.parametrize('text,line,found', [('Ada N B-PER\nmet V O x\n', 2, 4), ('Ada N B-PER\n\n\nmet O\n', 4, 2), ('Ada\tO\na\tb\tO\n', 2, 3), ('# x\nAda N O\n# N O\nin a b O\n', 4, 4)])
def test_lines_of_other_columns_are_named(tmp_path, text, line, found):
    with pytest.raises(ValueError, match=rf"a.conll, line {line}: {found} columns? in .*; line \d has \d: "): conll(tmp_path, text)

def test_columns_that_a_file_lacks(tmp_path):
    with pytest.raises(ValueError, match='line 2: 2 columns.*4 are needed for word 0 and tag 3'): conll(tmp_path, '# a\nAda O\n', word=0, tag=3)
    with pytest.raises(ValueError, match='line 2: 1 column in'): conll(tmp_path, 'New York\tB-LOC\nNew York\n') # which a space does not divide
    (tmp_path/'b.conll').write_bytes('Jos\xe9 B-PER'.encode('latin-1'))
    with pytest.raises(ValueError, match="b.conll.*not UTF-8"): read_conll(tmp_path/'b.conll')

def test_the_learner_reads_no_comments(bert, tmp_path):
    df = frame()
    (tmp_path/'a.txt').write_text('\n'.join(f'# sent_id = {i}\n'+'\n'.join(f'{w} N {t}' for w,t in zip(*row))+'\n' for i,row in enumerate(zip(df.tokens, df.tags))))
    learn = learner(bert, tmp_path/'a.txt', words=0, tags=2)
    assert learn.names==learner(bert, df).names and [m.name for m in learn.metrics]==['precision','recall','f1','accuracy']
