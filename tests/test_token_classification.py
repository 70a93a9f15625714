"Words and tags: alignment, reading, metrics, predictions, and what must not be lost on the way."
import gzip,json,re,warnings
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value
from seqeval.metrics import f1_score, precision_score, recall_score, accuracy_score
from seqeval.scheme import IOB2
from sklearn import metrics

from blurlike.all import (Callback, ClassificationInterpretation, DataBlock, EntityCounts, TokenCategoryBlock, TransformersLearner, TransformersTextBlock,
    broken_bio, model_card, read_conll, read_text, repair_bio, scratch_checkpoint, spans_to_tags, token_classification_learner)
from blurlike.data.table_files import read_table
from blurlike.data.words import word_spans
from blurlike.data.words import word_field, word_positions
from blurlike.tasks.token_classification.sentences import sentences
import small
from runs import WORDS
from small import close

NAMES,PLACES = 'Ada Lovelace Bob Grace Hopper Alan Turing'.split(),'Rome Paris Oslo Lima'.split()
FILL = 'met saw likes the a of from in by unbelievably incomprehensible'.split()

def frame(n=60, seed=0, longest=12):
    rng,rows = np.random.default_rng(seed),[]
    for _ in range(n):
        words,tags = [],[]
        for _ in range(rng.integers(1, longest)):
            kind = rng.integers(4)
            if kind==0: words,tags = words+[str(rng.choice(NAMES)), str(rng.choice(NAMES))],tags+['B-PER','I-PER']
            elif kind==1: words,tags = words+[str(rng.choice(PLACES))],tags+['B-LOC']
            else: words,tags = words+[str(rng.choice(FILL))],tags+['O']
        rows.append(dict(tokens=words, tags=tags))
    return pd.DataFrame(rows)

@pytest.fixture(scope='module')
def tagger(tmp_path_factory):
    "A checkpoint whose tokenizer divides long words."
    torch.manual_seed(0)
    return scratch_checkpoint([' '.join(w) for w in frame(200).tokens]+[c for c in 'abcdefghijklmnopqrstuvwxyz'], tmp_path_factory.mktemp('tagger'), vocab_size=90,
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=37, hidden_dropout_prob=0., attention_probs_dropout_prob=0.)

def learner(tagger, df=None, **kwargs):
    return token_classification_learner(frame() if df is None else df, tagger, **dict(dl_kwargs=dict(device=torch.device('cpu'))) | kwargs)

@pytest.fixture(scope='module')
def trained(tagger):
    learn = learner(tagger)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(8, 1e-2)
    return learn

def by_hand(tok, words, tags, vocab, all_tokens=False):
    "Labels of one sentence as Hugging Face's course lays them beside tokens."
    res,before = [],None
    for w in tok(words, is_split_into_words=True).word_ids():
        if w is None: res.append(-100)
        elif w!=before: res.append(vocab.index(tags[w]))
        elif not all_tokens: res.append(-100)
        else: res.append(vocab.index('I-'+tags[w][2:] if tags[w]!='O' else 'O'))
        before = w
    return res

@pytest.mark.parametrize('all_tokens', [False, True])
def test_labels_lie_beside_the_tokens(tagger, all_tokens):
    df = frame()
    learn = learner(tagger, df, label_all_tokens=all_tokens)
    tok,vocab = learn.dls.tokenizer,list(learn.dls.vocab)
    want = Counter(tuple(by_hand(tok, w, t, vocab, all_tokens)) for w,t in zip(df.tokens, df.tags))
    got = Counter()
    for dl in learn.dls.loaders:
        for x,y in dl.new(shuffle=False):
            mask = x[:,learn.dls.text_tfm.fields.index('attention_mask')].bool()
            for row,m in zip(torch.Tensor.as_subclass(y, torch.Tensor), mask.as_subclass(torch.Tensor)): got[tuple(row[m].tolist())] += 1
    assert got==want and any(-100 in k[1:-1] for k in want)!=all_tokens

def byte_level(tmp_path):
    from tokenizers import ByteLevelBPETokenizer
    raw = ByteLevelBPETokenizer()
    raw.train_from_iterator([' '.join(w) for w in frame(200).tokens], vocab_size=300, min_frequency=1, show_progress=False, special_tokens=['<s>','<pad>','</s>','<unk>','<mask>'])
    tok = transformers.RobertaTokenizer(vocab=raw.get_vocab(), merges=[tuple(m) for m in json.loads(raw.to_str())['model']['merges']])
    tok.save_pretrained(tmp_path)
    transformers.RobertaModel(transformers.RobertaConfig(vocab_size=len(tok), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=37, max_position_embeddings=66, pad_token_id=1)).save_pretrained(tmp_path)
    return tmp_path

def test_byte_level_words_keep_their_spaces(tmp_path):
    learn = token_classification_learner(frame(), byte_level(tmp_path))
    x = learn.dls.text_tfm.stack(learn.dls.text_tfm.tokenize([['met','Ada','saw']])[0])
    assert learn.dls.tokenizer.decode(x[0,0].tolist(), skip_special_tokens=True)==' met Ada saw'
    learn.save_pretrained(tmp_path/'saved')
    again = TransformersLearner.from_pretrained(tmp_path/'saved')
    assert torch.equal(again.predict(['met','Ada','saw'])[2], learn.predict(['met','Ada','saw'])[2])

def test_words_without_tokens_keep_their_place(trained):
    words = ['Ada','\u200b','\x07','Rome']
    tagged,index,probs = trained.predict(words)
    assert [w for w,_ in tagged]==words and len(index)==len(probs)==4
    assert tagged[1][1]==tagged[2][1]=='O' and probs[1].max()==1
    alone = trained.predict(['Ada','Rome'])[2]
    assert torch.allclose(probs[[0,3]], alone, atol=1e-6)

def test_windows_cover_every_word(tagger):
    df = frame(20, longest=60)
    learn = learner(tagger, df, max_length=16, overlap=5)
    tfm = learn.dls.text_tfm
    for words in df.tokens:
        x = tfm.stack(tfm.tokenize([words])[0])
        row,word,place = word_positions(word_field(x, tfm.fields))
        assert word.tolist()==list(range(len(words)))
        starts = tfm.tokenizer(words, is_split_into_words=True)
        firsts = [starts['input_ids'][starts.word_ids().index(i)] for i in range(len(words))]
        ids = x.as_subclass(torch.Tensor)[0,tfm.fields.index('input_ids')::len(tfm.fields)].flatten()
        assert ids[place].tolist()==firsts
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3)
    preds,targets = learn.get_preds()
    assert [len(p) for p in preds]==[len(t) for t in targets]
    assert all(len(learn.predict(w)[0])==len(w) for w in df.tokens[:5])

def test_a_cut_is_reported_and_no_word_is_lost(tagger):
    df = frame(20, longest=60)
    learn = learner(tagger, df, max_length=16)
    with pytest.warns(UserWarning, match='longer than max_length'): preds,targets = learn.get_preds(dl=learn.dls.test_dl(df, with_labels=True))
    assert [len(p) for p in preds]==[len(t) for t in targets]==df.tokens.map(len).tolist()
    long = df.tokens.iloc[int(df.tokens.map(len).argmax())]
    with pytest.warns(UserWarning, match='cut off'): tagged = learn.predict(long)[0]
    assert len(tagged)==len(long) and tagged[-1][1]=='O'

def test_the_epoch_table_is_seqevals(trained):
    preds,targets = trained.get_preds()
    vocab = list(trained.dls.vocab)
    true,pred = [[[vocab[i] for i in t.tolist()] for t in rows] for rows in (targets, [p.argmax(-1) for p in preds])]
    row = trained.validate()
    want = [precision_score(true, pred), recall_score(true, pred), f1_score(true, pred), accuracy_score(true, pred)]
    assert np.allclose(row[1:], want) and 0<want[2]
    assert np.isclose(trained.entity_report().loc['micro avg','f1'], want[2])
    assert np.isclose(trained.entity_report(strict=True).loc['micro avg','f1'], f1_score(true, pred, mode='strict', scheme=IOB2))

@pytest.mark.parametrize('strict', [False, True])
def test_counts_are_seqevals_on_random_tags(strict):
    vocab = ['O','B-A','I-A','B-B','I-B']
    rng = np.random.default_rng(0)
    rows = [(rng.integers(0, 5, n), rng.integers(0, 5, n)) for n in rng.integers(1, 12, 200)]
    counts = EntityCounts(vocab, strict)
    for t,p in rows: counts.add(t, p)
    true,pred = [[[vocab[i] for i in r[k]] for r in rows] for k in (0,1)]
    how = dict(mode='strict', scheme=IOB2) if strict else {}
    for name,f in (('precision',precision_score),('recall',recall_score),('f1',f1_score)): assert np.isclose(counts.value(name), f(true, pred, **how))
    for name,f in (('precision',precision_score),('recall',recall_score),('f1',f1_score)): assert np.isclose(counts.report().loc['macro avg',name], f(true, pred, average='macro', **how))

def test_precision_and_recall_are_not_swapped():
    counts = EntityCounts(['O','B-A','I-A'])
    counts.add(np.array([1,0,1,0]), np.array([1,0,0,0])) # one of two found
    assert counts.value('precision')==1 and counts.value('recall')==.5

@pytest.mark.parametrize('kwargs', [dict(), dict(dl_kwargs=dict(memory=0)), dict(overlap=3), dict(left=True)], ids=str)
@pytest.mark.parametrize('plain', [False, True])
def test_words_that_are_cut_off_count_in_the_epoch_table(plain, kwargs, bert):
    df = pd.DataFrame(dict(tokens=[['the','film','was']*k+['superb'] for k in range(1, 9)]*4))
    df['tags'] = [['ADJ' if w=='superb' else 'X' if plain else 'O' for w in t] if plain else ['O']*(len(t)-1)+['B-A'] for t in df.tokens]
    left = kwargs.get('left')
    learn = token_classification_learner(df, bert, bs=8, max_length=8, valid=list(range(8)), **{} if left else kwargs)
    if left: learn.dls.tokenizer.truncation_side = 'left'
    with learn.no_bar(), learn.no_logging():
        learn.fit(2, 1e-2)
        row = dict(zip(learn.recorder.metric_names[1:], learn.recorder.values[-1]))
        told = dict(zip(['valid_loss', *(m.name for m in learn.metrics)], learn.validate()))
        scores = learn.report().scores.score
    same = [n for n in told if n in scores.index]
    assert len(same)==(1 if plain else 4)
    for n in same: assert np.isclose(told[n], scores[n]) and np.isclose(row[n], scores[n])
    words = sum(map(len, df.tokens[:8]))
    counts = learn.metrics[-1].counts
    assert counts.words==words

def test_the_loss_of_a_set_does_not_depend_on_its_batches(trained):
    losses = [trained.validate(dl=trained.dls.valid.new(bs=bs))[0] for bs in (1, 4, 64)]
    assert np.allclose(losses, losses[0], atol=1e-5)

def test_get_preds(trained):
    df = frame(30, seed=5)
    dl = trained.dls.test_dl(df, with_labels=True)
    preds,targets,decoded,losses = trained.get_preds(dl=dl, with_decoded=True, with_loss=True)
    assert len(losses)==30
    for words,p,t,d,l in zip(df.tokens, preds, targets, decoded, losses):
        alone = trained.predict(words)[2]
        assert p.shape==(len(words), len(trained.dls.vocab))
        assert torch.allclose(p, alone, atol=1e-5) and torch.equal(d, p.argmax(-1))
        assert np.isclose(l, -p[range(len(words)),t].log().mean(), atol=1e-4)
    assert trained.get_preds(dl=trained.dls.test_dl(list(df.tokens)))[1] is None
    assert list(trained.get_preds(dl=trained.dls.test_dl([]))[0])==[]
    x,p,t = trained.get_preds(dl=dl, with_input=True)
    assert len(x)==len(p)==len(t)==30 and p.shape[1]==t.shape[1]==x.shape[2]

def test_interpretation(trained, capsys):
    interp = ClassificationInterpretation.from_learner(trained)
    cm = interp.confusion_matrix()
    words = sum(len(t) for t in trained.get_preds()[1])
    assert cm.sum()==words and cm.trace()/words==pytest.approx(trained.validate()[4])
    interp.plot_top_losses(3)
    trained.show_results(max_n=2)
    trained.dls.show_batch(max_n=2)
    out = capsys.readouterr().out
    assert 'target' in out or 'TaggedTable' in out

def test_fastais_tools(tagger, in_tmp):
    learn = learner(tagger, cbs=None)
    learn.summary()
    with learn.no_bar(), learn.no_logging():
        learn.lr_find(num_it=5, show_plot=False)
        learn.freeze()
        assert [n for n,p in learn.model.named_parameters() if p.requires_grad]==['classifier.weight','classifier.bias']
        learn.fine_tune(1, 1e-3)
        learn.to_bf16().fit_one_cycle(1, slice(1e-5, 1e-3))
    assert np.isfinite(learn.recorder.values[-1][0])

@pytest.mark.parametrize('strategy', ['none','simple','first','average','max'])
def test_entities_are_the_pipelines(trained, tmp_path, strategy):
    trained.save_pretrained(tmp_path/'saved')
    pipe = transformers.pipeline('token-classification', str(tmp_path/'saved'), device='cpu')
    df = frame(25, seed=3)
    texts = [' '.join(w) for w in df.tokens]+['Ada, met Bob!  in (Rome).', 'Ada']
    for t,ours in zip(texts, trained.predict_batch(texts, aggregation_strategy=strategy)):
        theirs = pipe(t, aggregation_strategy=strategy)
        assert [{k:v for k,v in e.items() if k!='score'} for e in ours]==[{k:v for k,v in e.items() if k!='score'} for e in theirs]
        assert np.allclose([e['score'] for e in ours], [e['score'] for e in theirs], atol=1e-4)
        for e in ours: assert isinstance(e['score'], float) and t[e['start']:e['end']]

def test_a_token_in_two_windows_is_read_where_most_stands_around_it(trained):
    words = [w for row in frame().tokens[:6] for w in row]
    tfm,tok = trained.dls.text_tfm,trained.dls.tokenizer
    was = tfm.max_length,tfm.overlap
    try:
        tfm.max_length,tfm.overlap = 14,6
        with trained.predicting(): read, = sentences(trained, [words])
        enc = tok(words, is_split_into_words=True, max_length=14, stride=6, truncation=True, return_overflowing_tokens=True)
        best = {} # place -> context there, logits
        for k,ids in enumerate(enc['input_ids']):
            with torch.no_grad(): logits = trained.model(input_ids=torch.tensor([ids])).logits[0,1:-1]
            for i,o in enumerate(logits):
                place,context = k*(12-6)+i,min(i, len(logits)-1-i)
                if context>best.get(place, (-1, None))[0]: best[place] = context,o
    finally: tfm.max_length,tfm.overlap = was
    assert k>3 and len(read.logits)==len(best)
    np.testing.assert_allclose(read.logits, torch.stack([best[p][1] for p in sorted(best)]), atol=1e-5)

def test_entities_in_windows_are_those_of_the_whole(tagger, trained):
    words = sum(frame(12, seed=9).tokens.tolist(), [])[:9]
    whole = trained.predict_batch([words], aggregation_strategy='first')[0]
    tfm = trained.dls.text_tfm
    was = tfm.max_length,tfm.overlap
    try:
        tfm.max_length,tfm.overlap = len(trained.dls.tokenizer(words, is_split_into_words=True)['input_ids'])-3,6
        found = trained.predict_batch([words], aggregation_strategy='first')[0]
        tagged = trained.predict(words)[0]
    finally: tfm.max_length,tfm.overlap = was
    assert len(tagged)==len(words) and len(found)>0
    assert {e['start'] for e in found}<={*np.cumsum([0]+[len(w)+1 for w in words]).tolist()}
    assert len({(e['start'],e['end']) for e in whole}&{(e['start'],e['end']) for e in found})>=len(whole)//2

def test_saved_and_reloaded(trained, tmp_path):
    trained.save_pretrained(tmp_path/'saved')
    again = TransformersLearner.from_pretrained(tmp_path/'saved')
    df = frame(10, seed=4)
    for w in df.tokens: assert torch.equal(again.predict(w)[2], trained.predict(w)[2])
    assert again.predict_batch(df)==trained.predict_batch(df)
    assert list(again.dls.vocab)==list(trained.dls.vocab)

def test_sources(tagger, tmp_path):
    df = frame()
    vocab = ['O','B-LOC','I-LOC','B-PER','I-PER']
    ds = Dataset.from_dict(dict(tokens=df.tokens.tolist(), tags=[[vocab.index(t) for t in ts] for ts in df.tags]), features=Features(dict(tokens=Sequence(Value('string')), tags=Sequence(ClassLabel(names=vocab)))))
    (tmp_path/'a.conll').write_text('\n'.join('\n'.join(f'{w} X {t}' for w,t in zip(*r))+'\n' for r in zip(df.tokens, df.tags)))
    df.to_json(tmp_path/'a.jsonl', orient='records', lines=True)
    want = None
    for data in (df, ds, df.to_dict('records'), tmp_path/'a.conll', tmp_path/'a.jsonl'):
        learn = learner(tagger, data)
        got = [y.tolist() for _,y in learn.dls.valid]
        want = want or got
        assert got==want and list(learn.dls.vocab)==vocab
    parts = DatasetDict(train=ds, validation=ds.select(range(5)))
    assert len(learner(tagger, parts).dls.valid_ds)==5
    numbers = df.assign(tags=[[vocab.index(t) for t in ts] for ts in df.tags])
    assert [y.tolist() for _,y in learner(tagger, numbers, vocab=vocab).dls.valid]==want

def test_the_datablock_way(tagger):
    df = frame()
    block = DataBlock(blocks=(TransformersTextBlock(tagger, is_split_into_words=True), TokenCategoryBlock()), get_x=lambda r: r['tokens'], get_y=lambda r: r['tags'])
    learn = TransformersLearner(block.dataloaders(df, bs=8, device=torch.device('cpu')), tagger)
    assert learn.task.name=='token_classification'
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3)
    assert len(learn.predict(['Ada','met'])[0])==2

def test_parts_of_speech(tagger, capsys):
    df = frame().assign(tags=lambda d: [['NOUN' if w in NAMES else 'VERB' for w in ws] for ws in d.tokens])
    learn = learner(tagger, df)
    assert 'accuracy of words' in capsys.readouterr().out and [m.name for m in learn.metrics]==['accuracy']
    tagged,index,probs = learn.predict(['Ada','\u200b']) # of the second no token is left
    assert tagged[1]==('\u200b', None) and index[1]==-1 and probs[1].tolist()==[0, 0]
    with pytest.raises(ValueError, match='no entities'): learn.entity_report()

def test_entities_are_told_of_taggers_alone(bert):
    with pytest.raises(ValueError, match='entity_report is for token classification'): small.learner('choice', bert).entity_report()

def test_bad_input(tagger):
    df = frame()
    def fails(match, error=ValueError, **changes):
        with pytest.raises(error, match=match): learner(tagger, df.assign(**changes), valid=list(range(5)))
    tags = df.tags.tolist()
    fails('row 7', tags=[t[:-1] if i==7 else t for i,t in enumerate(tags)])
    fails("'B-ORG' occurs only in validation.*row 2", tags=[['B-ORG']*len(t) if i==2 else t for i,t in enumerate(tags)])
    fails('lists of words', TypeError, tokens=[' '.join(w) for w in df.tokens])
    fails('lists of words', TypeError, tokens=[str(w) if i%2==0 else w for i,w in enumerate(df.tokens)])
    fails('row 3', TypeError, tokens=[3 if i==3 else w for i,w in enumerate(df.tokens)])
    fails('without names', tags=[[0]*len(t) for t in tags])
    fails('lists of tags', TypeError, tags=['O' if i==4 else t for i,t in enumerate(tags)])
    with pytest.warns(UserWarning, match='begin an entity with I-.*row 9'): learn = learner(tagger, df.assign(tags=[['I-PER']+t[1:] if i==9 else t for i,t in enumerate(tags)]), valid=list(range(5)))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        fixed = learner(tagger, df.assign(tags=[['I-PER']+t[1:] if i==9 else t for i,t in enumerate(tags)]), valid=[9], repair=True)
    assert fixed.dls.vocab[int(fixed.get_preds()[1][0][0])]=='B-PER'
    with pytest.raises(KeyError, match='no column'): learner(tagger, df, tags='ner')
    with pytest.warns(UserWarning, match='empty text in row 1'): learn = learner(tagger, df.assign(tokens=[[] if i==1 else w for i,w in enumerate(df.tokens)], tags=[[] if i==1 else t for i,t in enumerate(tags)]), valid=[1,2], bs=1)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert np.isfinite(learn.recorder.values[0]).all() and [len(p) for p in learn.get_preds()[0]]==[0,len(df.tokens[2])]
    assert learn.predict([])[0]==[] and learn.predict_batch([[]])==[[]]
    with pytest.raises(TypeError, match='item 0'): learn.predict([1,2])
    with pytest.raises(ValueError, match='aggregation_strategy'): learn.predict_batch(['Ada'], aggregation_strategy='best')

def test_a_slow_tokenizer_is_refused():
    class Slow:
        is_fast,num_special_tokens_to_add = False,lambda self: 2
    from blurlike.all import TokenizeText
    with pytest.raises(ValueError, match='fast tokenizer'): TokenizeText(Slow(), is_split_into_words=True)

def test_conll_files(tmp_path):
    f = tmp_path/'a.conllu'
    f.write_text("# text = It's\n1-2\tIt's\t_\t_\n1\tIt\tit\tPRON\n2\t's\tbe\tAUX\n2.1\tx\tx\tX\n\n# next\n1\tGo\tgo\tVERB\n", encoding='utf-8')
    assert read_conll(f).tokens.tolist()==[['It',"'s"],['Go']]
    assert read_conll(f).tags.tolist()==[['PRON','AUX'],['VERB']]
    (tmp_path/'b.iob').write_text('-DOCSTART- O\n\n\n\na O\n\n\nb\u00a0c B-X\n')
    assert read_conll(tmp_path/'b.iob').tokens.tolist()==[['a'],['b\u00a0c']]
    (tmp_path/'c.iob').write_text('\n\n')
    with pytest.raises(ValueError, match='no sentences'): read_conll(tmp_path/'c.iob')
    for name in ('d.conll','d.conllu'):
        plain = '1\tIt\tit\tPRON\n' if name=='d.conllu' else 'It PRON\n'
        (tmp_path/name).write_text(plain)
        (tmp_path/f'{name}.gz').write_bytes(gzip.compress(plain.encode()))
        assert read_conll(tmp_path/name).equals(read_conll(tmp_path/f'{name}.gz')) and read_table(tmp_path/f'{name}.gz', files=dict.fromkeys(['.conll','.conllu'], read_conll)).tags[0]==['PRON']
    with pytest.raises(FileNotFoundError): read_conll(tmp_path/'d.iob')

def test_spans():
    text = 'Ada Lovelace, of London'
    words,tags = spans_to_tags(text, [dict(start=17, end=23, label='LOC'), dict(start=0, end=12, label='PER')])
    assert list(zip(words, tags))==[('Ada','B-PER'),('Lovelace','I-PER'),(',','O'),('of','O'),('London','B-LOC')]
    assert spans_to_tags('ab', [dict(start=0, end=1, label='X'), dict(start=1, end=2, label='X')])[1]==['B-X','B-X']
    for bad in (dict(start=3, end=3), dict(start=0, end=99), dict(start=3, end=4)):
        with pytest.raises(ValueError, match='span'): spans_to_tags(text, [bad | dict(label='X')])

@pytest.mark.parametrize('text', ['यह फिल्म बहुत अच्छी है', 'cafe\u0301 re\u0301sume\u0301 Angstro\u0308m', 'مُحَمَّد ذهب إلى المدرسة', 'ที่ สวย', 'می\u200cخواهم رفت', 'क्\u200dष ന്\u200d', 'co\u00adoperate \u00e9t\u00e9 ½',
    '👨\u200d👩\u200d👧\u200d👦 👍🏽 🇩🇪 ❤\ufe0f\u200d🔥 #\ufe0f\u20e3 1\ufe0f\u20e3 🏴\U000e0067\U000e0062\U000e007f', 'שָׁלוֹם עֲלֵיכֶם', 'x_1 3ª'])
def test_words_are_what_a_reader_calls_words(text, trained):
    assert [text[a:b] for a,b in word_spans(text)]==text.split()
    assert [w for w,_ in trained.predict(text)[0]]==text.split()
    end = len(text.split()[0])
    assert spans_to_tags(text, [dict(start=0, end=end, label='X')])==(text.split(), ['B-X']+['O']*(len(text.split())-1))

def test_signs_stand_alone_and_a_cut_divides():
    def words(text, *cuts): return [text[a:b] for a,b in word_spans(text, cuts)]
    assert words("don't 3.14")==['don',"'",'t','3','.','14'] and words('„schön“ – …')==['„','schön','“','–','…']
    assert words('🇩🇪🇫🇷🇺')==['🇩🇪','🇫🇷','🇺'] and words('good👍🏽day')==['good','👍🏽','day']
    assert words('😀😀')==['😀','😀'] and words('👨\u200d)')==['👨\u200d',')']
    assert words('')==words(' \u200b\n')==[]
    assert words('កម្ពុជា\u200bធំ')==['កម្ពុជា','ធំ']
    assert words('\u0301 \u0301x')==['\u0301','\u0301','x']
    assert words('cafe\u0301s', 4, 0, 6)==['cafe','\u0301s'] and words('été', 1, 1, 3)==['é','té']
    with pytest.raises(ValueError, match='holds no word'): spans_to_tags('a \u200b b', [dict(start=2, end=3, label='X')])

CITIES = [f'{who}在{city}{what}' for who in ('我','他','老师') for city in ('北京','上海','カイロ') for what in ('住','工作','吃饭', '')]

def test_scores_are_of_what_predictions_say(tmp_path): # in a text without spaces too
    torch.manual_seed(0)
    checkpoint = scratch_checkpoint(CITIES, tmp_path/'m', hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=37)
    rows = [dict(text=t, entities=[(a, a+len(c), 'LOC')]) for t in CITIES for c in ('北京','上海','カイロ') if (a := t.find(c))>=0]
    learn = learner(checkpoint, rows, words='text', tags='entities', bs=8, valid=.25)
    with learn.no_bar(), learn.no_logging(): learn.fit_linear(12, 1e-2)
    found = [{(e['start'], e['end'], e['entity_group']) for e in es} for es in learn.predict_batch(CITIES)]
    n_right = sum(tuple(row['entities'][0]) in es for row,es in zip(rows, found))
    assert n_right>len(rows)/2
    assert learn.entity_report(rows).loc['micro avg','recall']==pytest.approx(n_right/len(rows))
    assert [[w for w,_ in learn.predict(t)[0]] for t in CITIES]==list(map(list, CITIES))
    for t,es in zip(CITIES, learn.predict_batch(CITIES, aggregation_strategy='simple')):
        assert all(t[e['start']:e['end']]==e['word'].replace(' ', '') for e in es)

@pytest.mark.parametrize('as_text', [False, True])
def test_a_word_whose_beginning_was_cut_off_is_not_read(as_text, tagger):
    tok = transformers.AutoTokenizer.from_pretrained(tagger)
    tok.truncation_side = tok.padding_side = 'left'
    words = 'Rome unbelievably met Paris'.split()
    n = len(tok.tokenize('unbelievably met Paris'))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        learn = learner(tagger, pd.DataFrame([dict(tokens=words, tags=['B-LOC','O','O','B-LOC'])]*8), tokenizer=tok, bs=4, valid=.5, max_length=n+1)
        tagged,_,probs = learn.predict(' '.join(words) if as_text else words)
        rows = learn.get_preds(dl=learn.dls.test_dl([words]))[0][0]
    assert probs[:2].tolist()==[[1.,0.,0.]]*2 and (probs[2:]!=probs[0]).any(1).all()
    close(probs, rows, 1e-5)

def test_bio():
    tags = [['O','I-A'],['B-A','I-A','I-B'],[],['I-A','I-A']]
    assert [o.tolist() for o in broken_bio(tags)]==[[0,1,3],[1,2,0]]
    assert repair_bio(tags)==[['O','B-A'],['B-A','I-A','B-B'],[],['B-A','I-A']] and tags[0]==['O','I-A']
    assert not len(broken_bio(repair_bio(tags))[0]) and not len(broken_bio([[]])[0])
    assert repair_bio([['S-A','I-A'], ['B-A','E-A','I-A']])==[['S-A','B-A'], ['B-A','E-A','B-A']] # an entity that has ended does not go on


# Words that were cut off, where no tag says that there is nothing

@pytest.fixture
def cut_off(tagger): # half of the validation rows reach beyond the cut
    rows = [dict(tokens=['Ada','walks','to','Paris']*(5 if i%2 else 1), tags=['NOUN','VERB','ADP','NOUN']*(5 if i%2 else 1)) for i in range(24)]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        learn = token_classification_learner(pd.DataFrame(rows), tagger, valid=list(range(12)), bs=4, max_length=12)
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    return learn

def n_read(learn, words): return len({w for w in learn.dls.tokenizer(words, is_split_into_words=True, truncation=True, max_length=12).word_ids() if w is not None})

def test_words_that_were_cut_off_have_no_tag(cut_off):
    words = ['Ada','walks','to','Paris']*5
    n = n_read(cut_off, words)
    assert n<len(words)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        tagged,index,probs = cut_off.predict(words)
        found, = cut_off.predict_batch([words])
        p,t,d = cut_off.get_preds(with_decoded=True)
    assert [o is None for _,o in tagged]==[i>=n for i in range(len(words))]==(index==-1).tolist()==(probs==0).all(1).tolist()
    assert len(found)==n and all(o['entity_group'] in cut_off.dls.vocab for o in found)
    assert [(o==-1).sum().item() for o in d]==[len(words)-n if i%2 else 0 for i in range(12)]

def test_words_that_were_cut_off_are_wrong_and_no_tag_is_blamed(cut_off):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        r = cut_off.report()
        _,t,d = cut_off.get_preds(with_decoded=True)
        loss,accuracy = cut_off.validate()[:2]
    true,guess = (torch.cat([*o]).tolist() for o in (t, d))
    assert r.scores.score.accuracy==pytest.approx(sum(a==b for a,b in zip(true, guess))/len(true))==accuracy
    assert r.scores.score.mcc==pytest.approx(metrics.matthews_corrcoef(true, guess))
    assert r.scores.score.f1_macro==pytest.approx(metrics.f1_score(true, guess, average='macro', labels=range(3), zero_division=0))
    beyond = sum(o==-1 for o in guess)
    assert r.confusion['(none)'].sum()==beyond>0
    missed = r.confused[r.confused.prediction=='(none)']
    assert missed.n.sum()==beyond and set(r.rows(prediction='(none)'))<={1, 3, 5, 7, 9, 11}

def test_words_that_were_cut_off_raise_no_doubt(cut_off):
    words = ['Ada','walks','to','Paris']*5
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        n = n_read(cut_off, words)
        whole,short = (cut_off.uncertain([o], 1, diverse=False).score[0] for o in (words, words[:n]))
    assert whole==pytest.approx(short, abs=1e-5)

def test_entities_without_a_tag_for_nothing(tagger): # every word is part of one
    rows = [dict(tokens=['Ada','Lovelace']*(8 if i%2 else 1), tags=['B-PER','I-PER']*(8 if i%2 else 1)) for i in range(12)]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        learn = token_classification_learner(pd.DataFrame(rows), tagger, valid=list(range(6)), bs=4, max_length=12)
        table = learn.entity_report()
        r = learn.report()
        scores = dict(zip([m.name for m in learn.metrics], learn.validate()[1:]))
        found, = learn.predict_batch([['Ada','Lovelace']*8], ignore_labels=())
    assert table.loc['micro avg','f1']==pytest.approx(r.scores.score.f1)==pytest.approx(scores['f1'])
    assert r.scores.score.accuracy==pytest.approx(scores['accuracy'])
    assert table.loc['PER','support']==3*8+3

def test_entity_report_of_a_table(tagger, trained, tmp_path):
    table = trained.entity_report(frame(20, seed=3))
    assert table.equals(trained.entity_report(dl=trained.dls.test_dl(frame(20, seed=3), with_labels=True))) and table.support.sum()
    frame(20, seed=3).to_json(tmp_path/'rows.jsonl', orient='records', lines=True)
    assert trained.entity_report(tmp_path/'rows.jsonl').equals(table) and not table.equals(trained.entity_report())
    empty = TransformersLearner.from_pretrained(trained.save_pretrained(tmp_path/'m'))
    with pytest.raises(ValueError, match='no rows to report on'): empty.entity_report()
    assert empty.entity_report(frame(20, seed=3)).equals(table)

class Idle(Callback):
    "Does nothing."

class Doubled(Callback):
    def after_pred(self): self.learn.pred = self.pred*2

GLUED = ['music:dreadful/lovely books', 'good-good,bad', 'Ada']

@pytest.mark.parametrize('overlap', [None, 4])
@pytest.mark.parametrize('arch', ['roberta','bert'])
def test_a_callback_changes_how_no_text_is_read(arch, overlap, checkpoints):
    "The tokens of a text's words, which are not its own (byte-level BPE), go through the callbacks."
    learn = token_classification_learner(WORDS, checkpoints(arch), bs=5, valid=.25, max_length=12, overlap=overlap)
    with learn.no_bar(), learn.no_logging(): learn.fit(2, 1e-2)
    items = [*GLUED, 'a film that was long and good '*3, WORDS.tokens[0], WORDS.tokens[1]*2]
    def told(): return [learn.predict(o) for o in items]
    before = told()
    learn.add_cb(Idle())
    for (words,index,probs),(words_now,index_now,probs_now) in zip(before, told()):
        assert words_now==words and torch.equal(index_now, index)
        close(probs_now, probs)
    learn.remove_cb(Idle)
    learn.add_cb(Doubled())
    logits = before[0][2].log()*2
    close(learn.predict(items[0])[2], logits.softmax(-1), 1e-4)

AS_WORDS = ['We met in Rome, Ada-Lovelace (b. 1815).', 'music:dreadful/lovely books', 'ab\u200bcd ef', 'x\u2060y z', ' Ada ', 'ขอบคุณ Ada', '…', 'a\ud800b Ada', '']

@pytest.mark.parametrize('overlap', [None, 4])
@pytest.mark.parametrize('arch', ['roberta','bert'])
def test_a_text_is_read_as_it_was_in_training(arch, overlap, checkpoints):
    "Its words one by one: byte-level BPE cuts a whole text otherwise."
    rows = [dict(text=t, spans=[(m.start(), m.end(), 'CUE') for m in re.finditer('good|Ada|lovely', t)]) for t in [*AS_WORDS[:6], *('a good film, good!', 'lovely-good (film)')]*4]
    learn = token_classification_learner(rows, checkpoints(arch), words='text', tags='spans', bs=5, valid=.25, max_length=14, overlap=overlap)
    with learn.no_bar(), learn.no_logging(): learn.fit(2, 1e-2)
    for t in AS_WORDS[:-3]:
        words = [t[a:b] for a,b in word_spans(t, cjk_alone=True)]
        (tagged,index,probs),(want,index_of_words,probs_of_words) = learn.predict(t),learn.predict(words)
        assert tagged==want and [w for w,_ in tagged]==words and torch.equal(index, index_of_words) and torch.equal(probs, probs_of_words)
        assert read_text(learn, t).ids==read_text(learn, words).ids
        assert learn.explain(t, method='occlusion', labels='O', words=0).frame.equals(learn.explain(words, method='occlusion', labels='O', words=0).frame)
    valid = learn.dls.valid_ds.items
    texts = [rows[i]['text'] for i in valid.idxs]
    preds = learn.get_preds()[0]
    for t,p in zip(texts, preds): close(learn.predict(t)[2], p, 1e-5)
    def places(found): return [(e['entity_group'], e['word'], e['start'], e['end']) for e in found]
    assert learn.predict('')[0]==[] and list(map(places, learn.predict_batch(AS_WORDS)))==[places(learn.predict_batch([t])[0]) for t in AS_WORDS]
    for t,found in zip(AS_WORDS, learn.predict_batch(AS_WORDS, ignore_labels=())):
        for e in found: assert e['word']==t[e['start']:e['end']]!=''

@pytest.mark.parametrize('arch,told', [('roberta', True), ('bert', False)])
def test_the_card_says_where_a_pipeline_reads_other_tokens(arch, told, checkpoints):
    assert ('trained on words one by one' in model_card(token_classification_learner(WORDS, checkpoints(arch), bs=5)))==told

GIVEN = dict(texts=list, series=pd.Series, frame=lambda t: pd.DataFrame(dict(text=t)), dicts=lambda t: [dict(text=o) for o in t], dataset=lambda t: Dataset.from_dict(dict(text=t)),
    labelled=lambda t: pd.DataFrame(dict(text=t, spans=[[]]*len(t))))

@pytest.mark.parametrize('reloaded', [False, True])
@pytest.mark.parametrize('form', GIVEN)
def test_a_loader_takes_texts_as_predictions_do(form, reloaded, checkpoints, tmp_path):
    rows = [dict(text='We met Ada, in Rome.', spans=[(7, 10, 'PER')]), dict(text='No: Ada!', spans=[(4, 7, 'PER')])]*8
    learn = token_classification_learner(rows, checkpoints('roberta'), words='text', tags='spans', bs=4)
    if reloaded: learn = TransformersLearner.from_pretrained(learn.save_pretrained(tmp_path/'m'))
    texts = ['Peter lives, in Paris.','Ada']
    preds = learn.get_preds(dl=learn.dls.test_dl(GIVEN[form](texts)))[0]
    for t,p in zip(texts, preds): close(learn.predict(t)[2], p, 1e-5)
    with pytest.raises(TypeError, match="1: expected a list of words .*, got str: 'a b'"): learn.get_preds(dl=learn.dls.test_dl([['a'],'a b']))
