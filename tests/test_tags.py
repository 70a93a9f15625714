"What a table of tags says is what is learnt: schemes, spans, CoNLL files; and predictions by the words of the user."
import re,warnings

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from datasets import ClassLabel, Dataset, Features, List, Sequence, Value
from fastcore.foundation import L
from tokenizers import ByteLevelBPETokenizer, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing

from blurlike.all import (EntityCounts, Interpretation, TransformersLearner, compare, masked_lm_learner, read_conll, read_tagged, scratch_checkpoint, sequence_classification_learner, spans_to_tags,
    token_classification_learner)
from blurlike.tasks.token_classification.tagged import tag_runs
from small import COLUMNS, FRAMES

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
    assert [[tuple(e[k] for k in ('entity_group','word','start','end','score')) for e in row] for row in found]==want
    assert sum(map(len, want))>20
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

@pytest.mark.parametrize('side', ['right','left'])
def test_words_as_deep_in_two_windows_are_read_in_one_of_them_everywhere(checkpoint, side):
    long = pd.DataFrame([dict(tokens=ws, tags=['O']*len(ws)) for ws in ([w for ws in frame(6, s).tokens for w in ws] for s in range(8))])
    learn = learner(checkpoint, pd.concat([frame(), long], ignore_index=True), max_length=14, overlap=5, valid=list(range(24, 32)))
    learn.dls.tokenizer.truncation_side = side
    torch.nn.init.normal_(learn.model.classifier.weight, std=3.)
    try:
        for words,probs in zip(long.tokens, learn.get_preds()[0]): assert torch.allclose(learn.predict(words)[2], probs, atol=1e-5)
    finally: learn.dls.tokenizer.truncation_side = 'right'

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
    assert tag_runs(['I-A','E-A','E-A','I-B',None,'S-B','I-B'])==[('A',0,2),('A',2,3),('B',3,4),(None,4,5),('B',5,6),('B',6,7)]
    assert tag_runs([])==[]

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
    assert learn.names==learner(bert, df).names
    assert [m.name for m in learn.metrics]==['precision','recall','f1','accuracy']

# ---- spans

TEXT = 'Ada Lovelace met Babbage in London, twice.'
def span(start, end, label='PER'): return dict(start=start, end=end, label=label)
SPANS = [span(0, 12), span(17, 24), span(28, 34, 'LOC')]
def spans_frame(spans, n=10, text=TEXT): return pd.DataFrame(dict(text=[text]*n, spans=pd.Series([list(spans)]*n, dtype=object)))
def tagged(df, **kwargs):
    rows = read_tagged(df, 'text', 'spans', **kwargs)[0]
    return [list(zip(rows[i]['text'], rows[i]['spans'])) for i in range(len(rows))]

@pytest.mark.parametrize('form', [lambda p: [tuple(s.values()) for s in p], lambda p: [list(s.values()) for s in p], lambda p: dict(entities=[tuple(s.values()) for s in p]), lambda p: dict(entities=p), lambda p: [dict(entity_group=s['label'], score=.9, word='x', start=s['start'], end=s['end']) for s in p]])
def test_spans_as_others_write_them(form, bert, tmp_path):
    "spaCy's and Doccano's are lists of start, end and label, our predictions dicts with `entity_group`"
    want,df = tagged(spans_frame(SPANS)),spans_frame([]).assign(spans=[form(SPANS)]*10)
    df.to_json(tmp_path/'rows.jsonl', orient='records', lines=True)
    assert tagged(df)==want==tagged(tmp_path/'rows.jsonl')
    learn = token_classification_learner(df, bert, words='text', tags='spans', bs=4)
    assert learn.dls.test_dl(df, with_labels=True).one_batch()[1].shape[0]==4 and learn.entity_report(df).support.sum()

def test_columns_of_spans_are_told():
    with pytest.raises(KeyError, match=r"no column 'tokens'; the data has \['text', 'spans'\]; words= names another column. Texts with spans\? words='text', tags='spans'"): read_tagged(spans_frame(SPANS), 'tokens', 'tags')
    with pytest.raises(KeyError, match="words= names another column['\"]$"): read_tagged(spans_frame(SPANS)[['text']], 'tokens', 'tags')

def test_what_are_neither_words_nor_spans_is_told_with_the_way():
    words = pd.DataFrame(dict(sentence=[0,0,1], word=['Ada','sings','Bob'], tag=['B-PER','O','B-PER']))
    with pytest.raises(TypeError, match='each row is one word.*: df.groupby') as e: read_tagged(words, 'word', 'tag')
    joined = eval(str(e.value).split(': ')[-1], dict(df=words))
    assert joined.word.tolist()==[['Ada','sings'],['Bob']] and read_tagged(joined, 'word', 'tag')[0][1]['tag']==['B-PER']
    with pytest.raises(TypeError, match='csv file keeps lists as text'): read_tagged(pd.DataFrame(dict(word=["['Ada']"], tag=["['O']"])), 'word', 'tag')
    with pytest.raises(TypeError, match=r'or give character spans in .tag.: lists of \(start, end, label\)'): read_tagged(pd.DataFrame(dict(word=['Ada sings'], tag=['B-PER O'])), 'word', 'tag')

@pytest.mark.parametrize('spans,what', [([span(0, 11), *SPANS[1:]], '10 of 30 .*row 0: 0:11.*Lovelac.*divides .Lovelace.'), ([span(s['start']+1, s['end']+1, s['label']) for s in SPANS], '30 of 30.*1:13'), ([span(28, 36, 'LOC'), span(18, 24)], '10 of 20.*18:24.*abbage')])
def test_spans_that_divide_a_word_are_counted(spans, what):
    with pytest.warns(UserWarning, match=what.replace('first', '.*')+'.*align_spans='): rows = tagged(spans_frame(spans))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert tagged(spans_frame(spans), align_spans='expand')[0]!=rows[0]
        tagged(spans_frame(SPANS)), tagged(spans_frame([span(0, 13), span(16, 24)])) # a space at the end divides nothing

def test_spans_can_be_aligned():
    def entities(spans, align): return [' '.join(w for w in ws) for ws in _groups(*spans_to_tags(TEXT, spans, align))]
    def _groups(words, tags): return [words[a:b] for k,a,b in tag_runs(tags) if k]
    off = [span(1, 11), span(16, 25), span(28, 35, 'LOC')]
    assert entities(off, None)==['da Lovelac','Babbage','London ,']
    assert entities(off, 'expand')==['Ada Lovelace','Babbage','London ,']
    assert entities(off[1:]+[span(0, 11)], 'contract')==['Ada','Babbage','London ,']
    with pytest.raises(ValueError, match="1:3.*no whole word; 'expand' would take"): spans_to_tags(TEXT, [span(1, 3)], 'contract')
    with pytest.raises(ValueError, match='0:12.*overlap'): spans_to_tags(TEXT, [span(0, 6), span(6, 12)], 'expand')
    with pytest.raises(ValueError, match="align='trim'"): spans_to_tags(TEXT, [], 'trim')
    assert entities([span(0, 2)], 'expand')==['Ada']
    assert spans_to_tags('cafe\u0301s x', [span(0, 4)], 'expand')[1]==['B-PER','O']

def test_chinese_and_japanese_signs_are_words():
    text = '我住在北京市，2008年 東京へ、パリ'
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        rows = tagged(spans_frame([span(3, 5, 'LOC')], text=text))
    assert rows[0]==[(w, {'北':'B-LOC','京':'I-LOC'}.get(w, 'O') if i<6 else 'O') for i,w in enumerate([*'我住在北京市，','2008',*'年東京へ、パリ'])]
    assert tagged(spans_frame([span(3, 5, 'LOC')], text=text), align_spans='expand')==rows
    assert tagged(spans_frame([span(0, 2, 'LOC')], text='か\u3099A社'))[0]==[('か\u3099','B-LOC'),('A','O'),('社','O')]

def test_a_run_that_no_program_here_divides_is_told():
    frame = spans_frame([span(0, 7, 'LOC')], text='กรุงเทพสวย')
    with pytest.warns(UserWarning, match="divides 'กรุงเทพสวย'. Its script sets no spaces.*lists of words.*`predict` will not see"): rows = tagged(frame)
    assert rows[0]==[('กรุงเทพ','B-LOC'),('สวย','O')]
    assert tagged(frame, align_spans='expand')[0]==[('กรุงเทพสวย','B-LOC')]

@pytest.mark.parametrize('bad,what', [(span(0, 3, None), 'label None'), (span(0, 3, float('nan')), 'label nan'), (span(0, 3, ' '), "label ' '"), (span('0', '3'), "'0':'3'.*whole numbers"), (span(0., 3.), 'whole numbers'),
    (span(None, 3), 'whole numbers'), (span(0, 99), '0:99'), (span(-3, 3), '-3:3'), (dict(start=0, label='X'), "a span has no 'end', it has 'start', 'label'$"), (dict(start=0, end=3, type='X'), "no 'label', it has 'start', 'end', 'type'"), (['LOC', 3, 7], r"a span is \(start, end, label\), got \['LOC', 3, 7\]"), (span(0, 3, 'B-PER'), "'B-PER' is a tag.*'PER'"), ('PER', '.')])
def test_spans_that_cannot_be_used_are_named_with_their_row(bad, what):
    df = spans_frame(SPANS)
    df.at[7, 'spans'] = [bad]
    with pytest.raises(ValueError, match=f'row 7:.*{what}'): tagged(df)
    df = pd.concat([df[7:8]]*3, ignore_index=True)
    if bad!='PER' and (isinstance(bad, list) or bad.get('label')!='B-PER'):
        with pytest.raises(ValueError, match=f'row 0:.*{what}'): tagged(df)

def test_a_type_may_have_a_hyphen():
    assert {t for row in tagged(spans_frame([span(0, 3, 'E-MAIL'), span(4, 12, 'B-cell'), span(28, 34, 'I')])) for _,t in row}=={'O','B-E-MAIL','B-B-cell','B-I'}
    with pytest.raises(ValueError, match="'B-cell' is a tag"): tagged(spans_frame([span(0, 3, 'B-cell'), span(28, 34, 'cell')]))
    with pytest.raises(ValueError, match="row 0.*'[BI]-PER' is a tag"): tagged(spans_frame([span(0, 3, 'B-PER'), span(4, 12, 'I-PER')]))

_three = "got {'start': 0, 'end': 3, 'label': 'PER'}: put it into a list"
@pytest.mark.parametrize('value,what', [(span(0, 3), 'row {}: a list of spans is expected, '+_three), (5, 'row {}: a list of spans is expected, got 5'), (np.int64(5), 'row {}: a list of spans is expected, got 5'),
    (dict(entities=1.5), 'row {}: a list of spans is expected, got 1.5'), ('PER', "row {}: a list of spans is expected, got 'PER'"),
    (dict(start=[0], end=[3, 5], label=['PER']), "row {}: the lists of a row's spans differ in length: {'start': 1, 'end': 2, 'label': 1}")])
def test_what_is_no_list_of_spans_is_told(value, what):
    df = spans_frame(SPANS)
    df.at[7, 'spans'] = value
    with pytest.raises(ValueError, match=re.escape(what.replace('row {}', 'row 7'))): tagged(df)
    df['spans'] = pd.Series([value]*len(df), dtype=object)
    if isinstance(value, dict):
        with pytest.raises(ValueError, match=re.escape(what.replace('row {}', 'row 0'))): tagged(df)
    else:
        with pytest.raises(TypeError, match="or give character spans in 'spans'|If each row is one word|Divide it"): tagged(df)

@pytest.mark.parametrize('of', [list, tuple, np.array, pd.Series, L, pd.array], ids=lambda f: f.__name__)
def test_lists_of_a_rows_spans_may_be_any(of):
    df,want = spans_frame(SPANS),tagged(spans_frame(SPANS))
    def parts(spans): return {k:of([s[k] for s in spans]) for k in ('start','end','label')}
    df['spans'] = pd.Series([parts(SPANS)]*len(df), dtype=object)
    assert tagged(df)==want
    df.at[0, 'spans'] = dict(start=range(1), end=range(3, 4), label=['PER'])
    assert {t for _,t in tagged(df)[0]}=={'B-PER','O'}

def test_values_in_messages_about_tags_are_plain(bert):
    words = pd.Series([['a','b']]*8, dtype=object)
    def tags(values): return pd.DataFrame(dict(tokens=words, tags=pd.Series(values, dtype=object)))
    for df,what in ((tags([['O','O']]*7+[np.int64(1)]), 'row 7 holds 1$'), (tags([['O','O']]*7+[['O',np.int64(1)]]), 'the tag of word 1 is 1;'), (tags([[np.int64(1)]*2]*8), r'holds numbers \(1\)'),
        (tags([['O','O']]*8).assign(tokens=pd.Series([['a','b']]*7+[np.float64(1.5)], dtype=object)), 'row 7 holds 1.5$'), (tags([['O','O']]*8).assign(tokens=pd.Series([['a','b']]*7+[['a',np.int64(3)]], dtype=object)), 'found 3 in row 7')):
        with pytest.raises((TypeError, ValueError), match=what): token_classification_learner(df, bert)

def test_no_spans():
    df = spans_frame(SPANS)
    df.at[0, 'spans'],df.at[3, 'spans'],df.at[4, 'spans'] = None,float('nan'),[]
    with pytest.warns(UserWarning, match=rf"column 'spans': 2 of {len(df)} rows have no list of spans \(rows 0, 3\), and count as texts in which nothing"): rows = tagged(df)
    assert rows[1]==tagged(spans_frame(SPANS))[0] and all({t for _,t in rows[i]}=={'O'} for i in (0, 3, 4))
    df.at[5, 'text'] = None
    with pytest.raises(ValueError, match="row 5: column 'text' holds"): tagged(df)

def test_spans_of_every_source(tmp_path, bert):
    df,kinds = spans_frame(SPANS),ClassLabel(names=['LOC','PER'])
    want = tagged(df)
    df.to_parquet(tmp_path/'a.parquet')
    df.to_json(tmp_path/'a.jsonl', orient='records', lines=True)
    numbers = [[s | dict(label=kinds.str2int(s['label'])) for s in SPANS]]*len(df)
    one = dict(start=Value('int32'), end=Value('int32'), label=kinds)
    lists = [{k:[s[k] for s in n] for k in one} for n in numbers]
    listed = Dataset.from_dict(dict(text=df.text.tolist(), spans=numbers), features=Features(dict(text=Value('string'), spans=[one])))
    columns = Dataset.from_dict(dict(text=df.text.tolist(), spans=lists), features=Features(dict(text=Value('string'), spans={k:List(v) for k,v in one.items()})))
    sequence = Dataset.from_dict(dict(text=df.text.tolist(), spans=lists), features=Features(dict(text=Value('string'), spans=Sequence(one))))
    assert isinstance(columns[0]['spans'], dict) and isinstance(listed[0]['spans'], list)
    sources = df,Dataset.from_pandas(df),listed,columns,sequence,tmp_path/'a.parquet',tmp_path/'a.jsonl',df.to_dict('records'),pd.read_parquet(tmp_path/'a.parquet')
    for data in sources: assert tagged(data)==want, data
    assert learner(bert, tmp_path/'a.parquet', words='text', tags='spans').names==['O','B-LOC','I-LOC','B-PER','I-PER']

def test_new_rows_may_hold_spans_too(bert, tmp_path):
    "Wherever rows with labels are taken: they become words and tags as those of the training did."
    df = spans_frame(SPANS)
    learn = learner(bert, df, words='text', tags='spans')
    again = TransformersLearner.from_pretrained(learn.save_pretrained(tmp_path/'m'))
    df.to_json(tmp_path/'new.jsonl', orient='records', lines=True)
    want = learn.report(read_tagged(df, 'text', 'spans')[0].source).scores.score.tolist()
    for l in (learn, again):
        for rows in (df, df.to_dict('records'), Dataset.from_pandas(df), tmp_path/'new.jsonl'): assert l.report(rows).scores.score.tolist()==want
    with learn.no_bar():
        assert learn.validate(dl=learn.dls.test_dl(df, with_labels=True))==learn.validate(dl=learn.dls.test_dl(df.to_dict('records'), with_labels=True))
        assert len(compare(learn, again, df[:2]))==2
    cut = spans_frame([span(0, 11), *SPANS[1:]])
    with pytest.warns(UserWarning, match='begin or end inside a word'): assert [len(w) for w in learn.dls.test_dl(cut, with_labels=True).dataset.items.column('text')][:1]==[10]
    learn = learner(bert, cut, words='text', tags='spans', align_spans='expand')
    assert [len(w) for w in learn.dls.test_dl(cut, with_labels=True).dataset.items.column('text')][:1]==[9]

def test_files_of_sentences_are_read_wherever_rows_are(bert, tmp_path):
    path = tmp_path/'t.conll'
    path.write_text('Ada B-PER\nmet O\nBob B-PER\n\nAda B-PER\nleft O\n\n'*8)
    learn = learner(bert, path, words=0, tags=1)
    assert len(learn.report(path))==16 and len(learn.uncertain(path, 3))==3
    with learn.no_bar(), pytest.warns(UserWarning, match='of 16 rows have texts that a was trained on'): assert len(compare(learn, learn, path))==16

def test_alignment_reaches_the_learner(bert):
    df = spans_frame([span(0, 11), *SPANS[1:]])
    with pytest.warns(UserWarning, match='begin or end inside a word'): assert [len(w) for w in learner(bert, df, words='text', tags='spans').dls.valid_ds.items.column('text')]==[10, 10]
    assert [len(w) for w in learner(bert, df, words='text', tags='spans', align_spans='expand').dls.valid_ds.items.column('text')]==[9, 9]
    with pytest.raises(ValueError, match='align_spans.*lists of words'): learner(bert, align_spans='expand')
    with pytest.raises(ValueError, match='align.*trim'): learner(bert, df, words='text', tags='spans', align_spans='trim')

# ---- tags that are none

def with_tag(tag, row=7, place=0, n=24):
    df = frame(n)
    df['tags'] = [[tag if (i,j)==(row,place) else t for j,t in enumerate(ts)] for i,ts in enumerate(df.tags)]
    return df

@pytest.mark.parametrize('tag', ['B-O','o','0','O ','B_PER','PER-B','b-per','','X','B','.'])
@pytest.mark.parametrize('row', [7, 2])
def test_tags_beside_a_scheme_are_named(bert, tag, row):
    with pytest.raises(ValueError, match=rf"{tag!r} \(1 words\) does not belong to the entity scheme.*B-LOC"): learner(bert, with_tag(tag, row), valid=[1,2,3])
    vocab = ['O','B-LOC','I-LOC','B-PER','I-PER',tag]
    with pytest.warns(UserWarning, match='does not belong'): learn = learner(bert, with_tag(tag, row), valid=[1,2,3], vocab=vocab)
    assert learn.names==vocab

def test_other_tags_are_no_odd_ones(bert, capsys):
    df = frame().assign(tags=lambda d: [['NOUN' if w[0].isupper() else 'B-x' if w[0]=='(' else 'VERB' for w in ws] for ws in d.tokens])
    assert learner(bert, df).names==['B-x','NOUN','VERB']
    assert 'For entities write tags as B-PER, I-PER and O' in capsys.readouterr().out

@pytest.mark.parametrize('tag,what', [(None, 'None'), (float('nan'), 'nan'), (3, '3'), (dict(start=0), "{'start': 0}"), (['O'], r"\['O'\]")])
def test_a_tag_that_is_none_is_named_with_its_row(bert, tag, what):
    with pytest.raises(ValueError, match=f"row 7: the tag of word 0 is {what}|row 7.*word 0 is {what}"): learner(bert, with_tag(tag))

def test_numbers_beyond_their_names(bert):
    df,vocab = frame(),['O','B-PER','I-PER','B-LOC','I-LOC']
    df['tags'] = [[vocab.index(t) for t in ts] for ts in df.tags]
    df.at[7, 'tags'] = [-1, *df.tags[7][1:]]
    with pytest.raises(ValueError, match=r'the number -1 \(row 7\).*5 names'): learner(bert, df, vocab=vocab)
    df.at[7, 'tags'] = [True, *df.tags[7][1:]]
    with pytest.raises(ValueError, match='row'): learner(bert, df, vocab=vocab)

def test_tags_that_are_alike_are_told_of(bert):
    with pytest.warns(UserWarning, match="'B-PER' and 'B-per' differ only by case"): learner(bert, with_tag('B-per'))
    df = frame().assign(tags=lambda d: [['NOUN' if w[0].isupper() else 'NOUN ' if w=='met' else 'X' for w in ws] for ws in d.tokens])
    with pytest.warns(UserWarning, match="'NOUN' and 'NOUN ' differ only by"): learner(bert, df)

# ---- class labels, orders of tags, and rows without tags

def class_labels(df, names): # ids of -1 for a tag that is none of them
    ids = [[names.index(t) if t in names else -1 for t in ts] for ts in df.tags]
    return Dataset.from_dict(dict(tokens=df.tokens.tolist(), tags=ids), features=Features(dict(tokens=List(Value('string')), tags=List(ClassLabel(names=names)))))

def test_class_labels_in_any_order(bert):
    orders = ['O','B-LOC','I-LOC','B-PER','I-PER'],['I-PER','O','B-PER','I-LOC','B-LOC']
    df,other = frame(30, 5),frame(12, 6)
    for vocab in (None, orders[0], orders[1]):
        for names in orders:
            learn = guessing(learner(bert, class_labels(df, names), vocab=vocab))
            assert learn.names==(vocab or names) and learn.model.config.id2label==dict(enumerate(vocab or names))
            reports = [learn.entity_report(dl=learn.dls.test_dl(data, with_labels=True)) for data in (other, class_labels(other, orders[0]), class_labels(other, orders[1]))]
            assert reports[0].equals(reports[1]) and reports[0].equals(reports[2])
            assert reports[0].support.iloc[-1]==sum(k is not None for t in other.tags for k,*_ in tag_runs(t))

def test_an_id_of_no_class(bert):
    names,df = ['O','B-LOC','I-LOC','B-PER','I-PER'],with_tag('none')
    with pytest.raises(ValueError, match='row 7: the tag of word 0 is None'): learner(bert, class_labels(df, names))
    learn = learner(bert)
    with pytest.raises(KeyError, match='row 7: unknown tag None'): learn.entity_report(dl=learn.dls.test_dl(class_labels(df, names), with_labels=True))

@pytest.mark.parametrize('rows', [lambda df: df[['tokens']], lambda df: df[['tokens']].to_dict('records'), lambda df: Dataset.from_pandas(df[['tokens']])], ids=['frame','dicts','dataset'])
def test_rows_without_tags(bert, rows):
    learn,df = learner(bert),frame(6)
    with pytest.raises(KeyError, match="no column 'tags' with the labels; the rows have .*tokens"): learn.dls.test_dl(rows(df), with_labels=True)
    dl = learn.dls.test_dl(rows(df))
    for f in (lambda: learn.entity_report(dl=dl), lambda: learn.validate(dl=dl), lambda: learn.get_preds(dl=dl, with_loss=True), lambda: Interpretation.from_learner(learn, dl=dl).plot_top_losses(1)):
        with pytest.raises(ValueError, match='texts without labels.*with_labels=True'): f()
    assert len(learn.get_preds(dl=dl)[0])==6
    with pytest.raises(TypeError, match="with_labels=True: rows are expected, with the labels in 'tags'"): learn.dls.test_dl(df.tokens.tolist(), with_labels=True)
    with pytest.raises(KeyError, match="no column 'tokens' with the text"): learn.dls.test_dl(df[['tags']])

@pytest.mark.parametrize('kind', ['single','pair','multi','regression'])
def test_rows_without_labels_in_other_tasks(bert, kind):
    df,reads = FRAMES[kind][:12],COLUMNS[kind]
    learn = sequence_classification_learner(df, bert, **reads)
    label = reads.get('label', 'label')
    for rows in (df.drop(columns=label), df.drop(columns=label).to_dict('records')):
        with pytest.raises(KeyError, match=f'no column {label!r} with the labels'): learn.dls.test_dl(rows, with_labels=True)
        with pytest.raises(ValueError, match='with_labels=True'): learn.validate(dl=learn.dls.test_dl(rows))
    assert learn.validate(dl=learn.dls.test_dl(df, with_labels=True))[0]>0

def test_a_text_is_its_own_target(bert):
    learn = masked_lm_learner(pd.DataFrame(dict(text=[' '.join(WORDS)]*12)), bert)
    assert learn.validate(dl=learn.dls.test_dl(pd.DataFrame(dict(text=[' '.join(WORDS)]*3))))[0]>0
    with pytest.raises(KeyError, match="no column 'text'"): learn.dls.test_dl(pd.DataFrame(dict(words=['a'])))

# ---- lists that are arrays, and words that are none

def test_arrays_are_lists(bert, tmp_path):
    df = frame(20, 3)
    df.to_parquet(tmp_path/'a.parquet')
    arrays = pd.read_parquet(tmp_path/'a.parquet')
    assert isinstance(arrays.tokens[0], np.ndarray) and isinstance(arrays.tags[0], np.ndarray)
    plain,learn = guessing(learner(bert, df)),guessing(learner(bert, arrays))
    report = plain.entity_report(dl=plain.dls.test_dl(df, with_labels=True))
    for other in (guessing(learner(bert, tmp_path/'a.parquet', repair=False)),learn):
        assert other.validate()==plain.validate() and other.predict_batch(arrays)==plain.predict_batch(df)
        assert other.entity_report(dl=other.dls.test_dl(arrays, with_labels=True)).equals(report)
    fixed = [guessing(learner(bert, d, repair=True, valid=[1,2,3])).entity_report().support.tolist() for d in (df, arrays)]
    assert fixed[0]==fixed[1] and learn.predict(arrays.tokens[0])[0]==plain.predict(df.tokens[0])[0]
    assert str(learn.check(labels=True))==str(plain.check(labels=True))

@pytest.mark.parametrize('words,what', [([1, 2], 'lists of words.*int64'), (['a', None], 'found None in row 7'), ('a b', 'lists of words'), (None, 'no text in row 7')])
def test_words_of_a_dataset(bert, words, what):
    rows = [dict(tokens=words if i==7 else 'ab' if isinstance(words, str) else [0, 0] if words==[1, 2] else ['a','b'], tags=['O','B-X']) for i in range(12)]
    with pytest.raises((TypeError, ValueError), match=f"column 'tokens'.*{what}"): learner(bert, Dataset.from_list(rows))

def test_a_tuple_of_words(bert):
    learn = learner(bert)
    assert str(learn.predict(('met','Ada')))==str(learn.predict(['met','Ada'])) and learn.predict_batch([('met','Ada')])==learn.predict_batch([['met','Ada']])
