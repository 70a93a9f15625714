"Question answering: places in texts, found in one way by scores and predictions, in one notebook."
import gzip
import json
import re
import string
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as tf
from datasets import Dataset, DatasetDict
from fastai.data.core import show_results
from fastai.interpret import ClassificationInterpretation, Interpretation
from fastai.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat
from fastai.metrics import AccumMetric, F1Score, accuracy
from runs import WHO, Cut, questions
from small import FILLERS, SHARED, SMALL, TEXTS, byte_tokenizer, first, in_tmp, learner, plain_answers as plain, word_tokenizer # noqa: F401 (fixture)
from tokenizers import SentencePieceUnigramTokenizer
from tokenizers.processors import TemplateProcessing

from blurlike import cli
from blurlike.tasks.question_answering.squad import check_answers, read_questions
from blurlike.all import (Checkpoints, ModelLoss, TransformersLearner, export_onnx, gradio_app, load_learner, load_onnx, model_card, page_output, prediction_rows,
    question_answering, question_answering_learner)
from blurlike.all import (TokenLoss, AnswerLoss, AnyScript, AnswerPlaces, TokenizeQuestions, answer_scores, answers_in, best_of, best_threshold,
    read_answers, read_squad, threshold, window_answers, windows_of)

# --- data

FRAME,BOTH = questions(),questions(unanswerable=True)
ITEMS = list(zip(FRAME.question, FRAME.context))

def asked(data, bert, **kwargs): return question_answering_learner(data, bert, **dict(valid=.25, bs=5, max_length=24, overlap=6) | kwargs)

@pytest.fixture
def learn(bert):
    res = asked(FRAME, bert)
    res.remove_cb(res.progress)
    return res

@pytest.fixture
def both(bert):
    res = asked(BOTH, bert)
    res.remove_cb(res.progress)
    return res

def valid_of(learn, data): return data.iloc[learn.dls.valid_ds.items.idxs].reset_index(drop=True)

def like_ours(pred, targ, reduction='mean'): return AnswerLoss()(pred, targ, reduction=reduction)

@pytest.mark.parametrize('loss', [CrossEntropyLossFlat(), torch.nn.CrossEntropyLoss(), BCEWithLogitsLossFlat(), torch.nn.functional.cross_entropy, TokenLoss()], ids=['flat','plain','sigmoid','function','tokens'])
def test_losses_that_know_no_places(loss, bert, learn):
    for f in (lambda: asked(FRAME, bert, loss_func=loss), lambda: question_answering_learner(learn.dls, bert, loss_func=loss),
            lambda: TransformersLearner(learn.dls, bert, loss_func=loss), lambda: setattr(learn, 'loss_func', loss)):
        with pytest.raises(ValueError, match='compares each output with one target, and an answer is a start and an end.*leave it out'): f()
    with pytest.raises(ValueError, match='leave it out'): learn.loss_func = ModelLoss()
    want = learn.validate()[0]
    learn.loss_func = like_ours
    assert learn.validate()[0]==pytest.approx(want, rel=.2) # a mean of batches

@pytest.mark.parametrize('metric,name', [(accuracy,'accuracy'), (F1Score(average='macro'),'f1_score'), (AccumMetric(like_ours),r'AccumMetric\(like_ours\)')], ids=['accuracy','f1','accum'])
def test_metrics_that_know_no_places(metric, name, bert, learn):
    for f in (lambda: asked(FRAME, bert, metrics=metric), lambda: TransformersLearner(learn.dls, bert, metrics=metric)):
        with pytest.raises(ValueError, match=f'metrics: {name} of fastai.*answer_metrics'): f()

# --- a second opinion: the features of transformers' own example (run_qa), and a plain loop

def same_answers(learn, data):
    "Rows of `data` whose answer is that of `plain`; of equal scores either is right."
    thresh = threshold(learn)
    for (q,c),told in zip(zip(data.question, data.context), learn.predict_batch(data)):
        found,null = plain(learn, q, c)
        lacks = null-found[0][0]>thresh
        best = {c[a:b].strip() for s,a,b in found if s>found[0][0]-1e-5}
        assert told['answer'] in ({''} if lacks else best), (q, c, told, found[:3], null, thresh)

# --- faults that others have, by their number in the list of faults

def test_16_one_decoder_for_scores_and_predictions(both):
    "Scores of the epoch table are those of the answers that `predict_batch` and `predict` give, and `get_preds` the same places."
    both.fit(1, 1e-3)
    table = dict(zip([m.name for m in both.metrics], both.validate()[1:]))
    rows = valid_of(both, BOTH)
    told = both.predict_batch(rows)
    scores = np.array([answer_scores(a['text'], t['answer']) for a,t in zip(rows.answers, told)])
    assert table['exact_match']==pytest.approx(scores[:,0].mean()) and table['f1']==pytest.approx(scores[:,1].mean())
    lacks = np.array([not a['text'] for a in rows.answers])
    assert 0<lacks.sum()<len(rows) and table['no_answer_exact']==pytest.approx(scores[lacks,0].mean()) and table['has_answer_f1']==pytest.approx(scores[~lacks,1].mean())
    assert [both.predict(o) for o in zip(rows.question, rows.context)]==[(t['answer'], (t['start'], t['end']), pytest.approx(t['score'], abs=1e-5)) for t in told]
    preds,targs,places = both.get_preds(with_decoded=True)
    assert [tuple(p) if p[0]>=0 else (0, 0) for p in places.tolist()]==[(t['start'], t['end']) for t in told]
    assert [tuple(t) for t in targs.tolist()]==[(a['answer_start'][0], a['answer_start'][0]+len(a['text'][0])) if a['text'] else (-1, -1) for a in rows.answers]

@pytest.mark.parametrize('kind', ['bert','roberta'])
def test_17_the_context_is_found_without_token_types(kind, checkpoints):
    "RoBERTa's token types are all the same; the places are those of the context all the same."
    learn = asked(FRAME, checkpoints(kind), max_length=30)
    tfm = learn.dls.text_tfm
    x = tfm.stack(tfm.tokenize(ITEMS)[0])
    starts,ends = windows_of(x, tfm.fields)
    ids = x.unflatten(1, (-1, len(tfm.fields)))[:,:,tfm.fields.index('input_ids')]
    for (_,context),i,s,e in zip(ITEMS, ids, starts, ends):
        seen = {p for a,b in zip(s[e>0].tolist(), e[e>0].tolist()) for p in range(a-1, b-1)}
        assert set(np.flatnonzero([not c.isspace() for c in context]))<=seen # no word of the context is lost
        for t,a,b in zip(i[e>0].tolist(), s[e>0].tolist(), e[e>0].tolist()): assert tfm.tokenizer.decode([t]).strip().removeprefix('##') in context[a-1:b-1]
    same_answers(learn, FRAME[:8])

def test_18_an_overlap_without_room_is_an_error_when_it_is_built(bert):
    with pytest.raises(ValueError, match='overlap=21 must be at least 0 and less than the 21 tokens'): asked(FRAME, bert, overlap=21)
    with pytest.raises(ValueError, match=r'rows? 0, 1, 2.*the question has 6 tokens, which leaves 15 of max_length=24'): asked(FRAME.assign(context=FRAME.context+' '+' '.join(FILLERS)), bert, overlap=19)
    long = FRAME.copy()
    long.at[5,'question'] = ' '.join(FILLERS)
    with pytest.raises(ValueError, match='row 5: the question has .* tokens'): asked(long, bert)
    learn = asked(FRAME, bert)
    with pytest.raises(ValueError, match='item 1: the question has'): learn.predict_batch([ITEMS[0], (long.question[5], ITEMS[0][1])])

def unigram(single='<cls> $A <sep>', pair='<cls> $A <sep> $B <sep>', **kwargs):
    raw = SentencePieceUnigramTokenizer()
    raw.train_from_iterator([*FRAME.context, *FRAME.question, 'äöü ßé日本語 שלום'], vocab_size=120, show_progress=False, special_tokens=['<cls>','<pad>','<sep>','<unk>'], unk_token='<unk>')
    raw._tokenizer.post_processor = TemplateProcessing(single, pair, [('<cls>', 0), ('<sep>', 2)])
    return tf.PreTrainedTokenizerFast(tokenizer_object=raw._tokenizer, pad_token='<pad>', unk_token='<unk>', cls_token='<cls>', sep_token='<sep>', model_input_names=['input_ids','attention_mask'], **kwargs)

TOKENIZERS = dict(wordpiece=lambda: word_tokenizer('input_ids','token_type_ids','attention_mask'), bytes=lambda: byte_tokenizer(True, 64), bytes_with_spaces=lambda: byte_tokenizer(False, 64), unigram=unigram)
SIGNS = ['  ', '\r\n', ' ', '\t', 'a', 'film', 'É', 'e\u0301', 'İ', '👩‍👩‍👧', '😀', 'שלום', 'مرحبا', '日本語', '\ud83d', '\ude00', '\u200b', '#', '##s', "'", '▁', 'Ġ', '½', 'ﬁ', '\x00']

@pytest.mark.parametrize('name', first(TOKENIZERS))
def test_19_the_answer_is_a_slice_of_the_context(name):
    "Whatever the text begins with and holds, and whatever the tokenizer makes of it: random texts, all places that could be an answer."
    tok,rng = TOKENIZERS[name](),np.random.default_rng(1)
    if tok.pad_token is None: tok.pad_token = tok.eos_token
    tfm,limit = TokenizeQuestions(tok, 24, 4),5
    for _ in range(25):
        context = ''.join(rng.choice(SIGNS, rng.integers(1, 30)))
        if not context.strip(): continue
        with pytest.warns(UserWarning) if re.search('[\ud800-\udfff]', context) else nothing():
            x = tfm.stack(tfm.tokenize([('who', context)])[0])
        starts,ends = (t[0] for t in windows_of(x, tfm.fields))
        logits = torch.from_numpy(rng.normal(size=(*starts.shape, 2)))
        best = best_of(*(t.numpy() for t in window_answers(logits, starts, ends, limit, 200)), context, 500)
        words = [context[a:b] for a,b in best.places]
        assert all(w and w==w.strip() for w in words) and all(0<=a<b<=len(context) for a,b in best.places)
        seen = {p for a,b in zip(starts[ends>0].tolist(), ends[ends>0].tolist()) for p in range(a-1, b-1)}
        unread = {c for p,c in enumerate(context) if p not in seen and not c.isspace()} # what the tokenizer drops, it drops everywhere
        assert unread<=set('\u200b\x00\u0301\u200d▁\ufffd\ud83d\ude00'), unread
        for a,b in best.places[:20]: # a label is a place that comes back
            target = AnswerPlaces().collate([AnswerPlaces()(((context[a:b],), (a,), context))], x, tfm.fields)[0,1:]
            w = int((target[:,0]>=0).float().argmax())
            i,j = target[w,:2].tolist()
            if ends[w,i]>0: assert starts[w,i]-1<=a and b<=ends[w,j]-1

class nothing:
    def __enter__(self): return self
    def __exit__(self, *args): pass

@pytest.mark.slow
def test_20_padding_on_the_left_shifts_nothing(bert, tmp_path):
    "XLNet pads on the left, and has its class token at the end."
    tok = unigram('$A <sep> <cls>', '$A <sep> $B <sep> <cls>', padding_side='left')
    config = tf.XLNetConfig(vocab_size=len(tok), d_model=32, n_layer=2, n_head=2, d_inner=64, pad_token_id=tok.pad_token_id)
    tf.XLNetForQuestionAnsweringSimple(config).save_pretrained(tmp_path/'xlnet')
    tok.save_pretrained(tmp_path/'xlnet')
    learn = asked(FRAME, tmp_path/'xlnet', max_length=90, overlap=10)
    learn.fit(1, 1e-3)
    x,y = learn.dls.valid.one_batch()
    starts,ends = windows_of(x, learn.dls.text_tfm.fields)
    assert (ends[:,0,0]==0).any() and (ends[:,0,-1]!=0).all() and (starts[:,0,-1]==-1).all() # padding on the left, the class token on the right
    for i,places in enumerate(y[:,0,:2].tolist()):
        read = learn.dls.text_tfm.decode(x[i])
        assert read.write([t for t in read.tokens if t[0]<places[1] and t[1]>places[0]]).strip() in WHO
    together = learn.predict_batch(ITEMS)
    for o,t in zip(ITEMS, together): assert learn.predict(o)==(t['answer'], (t['start'], t['end']), pytest.approx(t['score'], abs=1e-5))
    same_answers(learn, FRAME)

def test_21_no_answer_is_the_least_over_windows_and_its_threshold_is_tuned_and_kept(both, tmp_path):
    both.fit(2, 3e-3)
    item = (BOTH.question[0], ' '.join(BOTH.context))
    found,null = plain(both, *item)
    reading = read_answers(both, [both.dls.text_tfm.as_item(item)])[0]
    assert reading.null==pytest.approx(null, abs=1e-4) and reading.scores[0]==pytest.approx(found[0][0], abs=1e-4)
    rows = valid_of(both, BOTH)
    readings = read_answers(both, [both.dls.text_tfm.as_item(o) for o in zip(rows.question, rows.context)])
    def f1(thresh): return np.mean([answer_scores(a['text'], '' if r.lacks(thresh) else r.answer(c))[1] for a,r,c in zip(rows.answers, readings, rows.context)])
    best = f1(both.loss_func.thresh)
    assert best==pytest.approx(dict(zip(both.recorder.metric_names[1:], both.recorder.values[-1]))['f1'])
    assert all(f1(t)<=best+1e-9 for t in np.linspace(-10, 10, 101))
    again = TransformersLearner.from_pretrained(both.save_pretrained(tmp_path/'m'))
    assert again.loss_func.thresh==both.loss_func.thresh and again.predict_batch(BOTH)==both.predict_batch(BOTH)
    before = both.loss_func.thresh
    both.validate(dl=both.dls.test_dl(BOTH, with_labels=True)) # the threshold is none of a test's business
    assert both.loss_func.thresh==before

def test_22_an_answer_in_no_window_is_counted_and_told(bert):
    data = FRAME.copy()
    long = ' '.join(FILLERS[:15])
    data.at[3,'context'] = f'people saw {long} and rain and old roofs and more people by the river'
    data.at[3,'answers'] = dict(text=[long], answer_start=[11])
    with pytest.warns(UserWarning, match=r'fits in no window of max_length=24 \(overlap=6\), or the tokenizer drops all of it, in 1 of 24 rows \(row 3\).*Raise overlap .*, and max_length where'): learn = asked(data, bert, valid=[0, 1])
    x,y = learn.dls.test_dl(data.iloc[3:4], with_labels=True).one_batch()
    assert y.shape[1]>2 and (y[0,1:,0]==-100).all() # it does not teach that there is no answer
    loss = learn.loss_func(torch.zeros(1, x.shape[1]//len(learn.dls.text_tfm.fields)*x.shape[2], 2), y)
    assert loss==0 and learn.loss_func.count(y)==0

def labelled(tokenizer, context, answer, max_length=24):
    "What each window is to point at, as text; `None` where it does not count."
    tfm = TokenizeQuestions(tokenizer, max_length, 6)
    x = tfm.stack(tfm.tokenize([('who', context)])[0])
    start = context.index(answer)
    places = AnswerPlaces()
    y = places.collate([places.place((answer,), (start,), context)], x, tfm.fields)[0,1:,:2].tolist()
    starts,ends = (t[0].tolist() for t in windows_of(x, tfm.fields))
    return [None if a<0 else '' if s[a]<0 else context[s[a]-1:e[b]-1] for (a,b),s,e in zip(y, starts, ends)],y

@pytest.mark.parametrize('name', TOKENIZERS)
@pytest.mark.parametrize('context,answer', [('the film was good', ' film'), ('the film was good', 'film '), ('the film was good ', 'good '), ('the 😀 town', '😀'), ('日本', '日'), ('the cafe\u0301 town', 'cafe\u0301'),
    ('the town cafe\u0301', 'cafe\u0301'), ('the town\u200b', 'town\u200b'), ('the\r\ntown\r\n', 'town\r\n'), ('film', 'film')])
def test_a_label_is_the_tokens_of_the_answer(name, context, answer):
    "Neither the word beside it, where it begins or ends with what the tokenizer drops, nor nothing; and it ends where it begins or later."
    tok = TOKENIZERS[name]()
    if tok.pad_token is None: tok.pad_token = tok.eos_token
    (text,),((begin,end),) = labelled(tok, context, answer)
    assert text is not None and text.strip().strip('\u200b\u0301')==answer.strip().strip('\u200b\u0301') and begin<=end

@pytest.mark.parametrize('name', TOKENIZERS)
def test_each_window_with_the_whole_answer_points_at_it(name):
    "Whatever a window begins with: one that lacks a token of it points at none, all others at the answer."
    tok,context = TOKENIZERS[name](),' '.join(FILLERS[:30])
    if tok.pad_token is None: tok.pad_token = tok.eos_token
    found = Counter()
    for word in dict.fromkeys(FILLERS[5:25]):
        if context.split().count(word)>1 or context.count(word)>1: continue
        texts,_ = labelled(tok, context, word)
        tfm = TokenizeQuestions(tok, 24, 6)
        x = tfm.stack(tfm.tokenize([('who', context)])[0])
        starts,ends = (t[0] for t in windows_of(x, tfm.fields))
        a = context.index(word)
        seen = [{p for i,j in zip(s[e>0].tolist(), e[e>0].tolist()) for p in range(i-1, j-1)} for s,e in zip(starts, ends)]
        whole = [set(range(a, a+len(word)))<=p for p in seen]
        assert [None if t is None else t.strip() for t in texts]==[word if w else '' for w in whole] or not any(whole)
        found[sum(whole)] += 1
    assert found[2] # some stand in two windows

def test_signs_of_several_tokens_are_shown_whole(checkpoints):
    context = 'the 日本語 town 😀😀 by the river 日 film was shown in a small town 日本語 by the river'
    learn = asked(pd.DataFrame(dict(question=['who 日']*8, context=[f'{context} {i}' for i in range(8)], answers=[dict(text=['日本語'], answer_start=[4])]*8)), checkpoints('roberta'), max_length=30)
    tfm = learn.dls.text_tfm
    x = tfm.stack(tfm.tokenize([('who 日', context)])[0])
    assert windows_of(x, tfm.fields)[0].shape[1]>1 and tfm.decode(x[0])==('who 日', context)

def test_an_answer_that_the_tokenizer_drops_is_counted_and_told(bert):
    data = FRAME.copy()
    data.at[3,'context'] = f'{data.context[3]} \u200b'
    data.at[3,'answers'] = dict(text=['\u200b'], answer_start=[len(data.context[3])-1])
    data.at[4,'context'] = f'{data.context[4]} -'
    data.at[4,'answers'] = dict(text=['-'], answer_start=[len(data.context[4])-1])
    with pytest.warns(UserWarning, match=r'or the tokenizer drops all of it, in 1 of 24 rows \(row 3\)'): learn = asked(data, bert, valid=[0, 1])
    found = {f.what:f.rows.tolist() for f in learn.check()}
    assert found['lost answers']==[3]

def test_23_an_answer_stands_where_its_start_says(bert):
    "Not where it comes first; and a start that is wrong names the row."
    context = 'the film was shown and the film was good'
    data = pd.DataFrame(dict(question=['which was good']*8, context=[context]*4+[context+' indeed']*4, answers=[dict(text=['film'], answer_start=[27])]*8))
    learn = asked(data, bert, valid=[0, 1], max_length=40)
    assert learn.dls.valid.one_batch()[1][0,0,:2].tolist()==[27, 31]
    data.at[5,'answers'] = dict(text=['film'], answer_start=[5])
    with pytest.raises(ValueError, match="row 5: the answer 'film' is said to stand at 5, where the context has 'ilm '; it stands at 4, 27"): asked(data, bert)

def test_24_ends_follow_starts_within_the_limit(learn):
    "Against all places in a loop, with random numbers."
    rng = np.random.default_rng(0)
    for limit in (1, 3, 30):
        starts = torch.tensor([[-1,0,0,1,3,5,7,9,0,0]])
        ends = torch.tensor([[-1,-1,-1,3,5,7,9,11,-1,0]])
        logits = torch.from_numpy(rng.normal(size=(1, 10, 2)))
        scores,places,null = window_answers(logits, starts, ends, limit, 7)
        want = sorted((float(logits[0,i,0]+logits[0,j,1]) for i in range(3, 8) for j in range(i, min(8, i+limit))), reverse=True)[:7]
        real = scores[0]>-torch.inf
        assert scores[0][real].tolist()==pytest.approx(want) and real.sum()==len(want)
        assert all(0<=a<b<=10 and (b-a)<=2*limit for a,b in places[0][real].tolist()) and float(null)==pytest.approx(float(logits[0,0].sum()))

def test_answers_are_those_of_a_plain_loop(learn, both):
    for l,data in ((learn, FRAME), (both, BOTH)):
        l.fit(1, 1e-3)
        same_answers(l, data)

# --- scores

def official_words(s): return re.sub(r'\b(a|an|the)\b', ' ', ''.join(c for c in s.lower() if c not in set(string.punctuation))).split()

def official(gold, answer):
    "Exact match and F1 as in the official script (evaluate-v2.0), written a second time."
    a,b = official_words(gold),official_words(answer)
    exact = int(' '.join(a)==' '.join(b))
    if not a or not b: return exact,int(a==b)
    n = sum(min(m, Counter(b)[w]) for w,m in Counter(a).items())
    return exact,0 if not n else 2*(n/len(b))*(n/len(a))/(n/len(b)+n/len(a))

def best_official(golds, answer):
    golds = [g for g in golds if official_words(g)] or ['']
    return tuple(max(o) for o in zip(*(official(g, answer) for g in golds)))

@pytest.mark.slow
def test_scores_are_those_of_the_official_script():
    rng = np.random.default_rng(0)
    parts = ['the','a','An','film','Films','film.','é','No. 5','it\'s','-','old,','U.S.','','  ','\n','Ärger','100','theatre']
    def text(): return rng.choice([' ','  ',''], p=[.8,.1,.1]).join(rng.choice(parts, rng.integers(0, 5)))
    for _ in range(10_000):
        golds,answer = [text() for _ in range(rng.integers(0, 4))],text()
        assert answer_scores(golds, answer)==pytest.approx(best_official(golds, answer)), (golds, answer)

SETS = [SHARED/'data'/n for n in ('squad_v2_dev_half/train.jsonl','squad_v2_sample/train.jsonl','squad_xquad_en/dev.jsonl')]

@pytest.mark.parametrize('path', SETS, ids=lambda p: p.parent.name)
def test_scores_of_real_answers(path):
    if not path.exists(): pytest.skip('no real data here')
    data = pd.read_json(path, lines=True)
    golds = [list(answers_in([a])[0]) for a in data.answers] if 'answers' in data else [[t] for t in data.answer_text]
    rng = np.random.default_rng(0)
    for g,c in zip(golds, data.context):
        a = int(rng.integers(len(c)))
        for answer in ('', c[a:a+int(rng.integers(40))], *(t[int(rng.integers(3)):] for t in g[:2])): assert answer_scores(g, answer)==pytest.approx(best_official(g, answer))

def test_scripts_without_spaces_are_compared_by_signs():
    assert answer_scores(['北京市'], '北京')==(0., pytest.approx(.8)) and answer_scores(['กรุงเทพ'], 'กรุง')[1]>.7
    assert answer_scores(['2008年北京'], '2008年')[1]==pytest.approx(2*2/(2+4)) # a number is one word

def test_the_threshold_is_the_best_of_all():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(1, 9))
        lead = rng.integers(-3, 4, n).astype(float)
        lead[rng.random(n)<.1] = np.inf # nothing was found there
        lacks,f1 = rng.random(n)<.5,rng.random(n).round(1)*np.isfinite(lead)
        def total(t): return np.where(lead>t, lacks, np.where(lacks, 0, f1)).sum()
        got = best_threshold(lead, np.where(lacks, 0, f1), lacks)
        assert np.isfinite(got) and total(got)==pytest.approx(max(total(t) for t in np.arange(-5, 5, .25)))

# --- what the data may hold

def nested(data): # as SQuAD's files have it
    qas = [dict(context=c, qas=[dict(id=i, question=q, answers=[dict(text=t, answer_start=s) for t,s in zip(a['text'], a['answer_start'])])]) for i,q,c,a in zip(data.id, data.question, data.context, data.answers)]
    return dict(version='v2.0', data=[dict(title='one', paragraphs=qas[:10]), dict(title='two', paragraphs=qas[10:])])

def columns(data): return data.assign(text=[a['text'][0] if a['text'] else None for a in data.answers], start=[a['answer_start'][0] if a['text'] else None for a in data.answers])
def lists(data): return data.assign(text=[a['text'] for a in data.answers], start=[a['answer_start'] for a in data.answers])

FORMS = dict(dicts=lambda d: (d.to_dict('records'), 'answers'), dataset=lambda d: (Dataset.from_pandas(d), 'answers'), nested=lambda d: (nested(d), 'answers'),
    columns=lambda d: (columns(d), ['text','start']), lists=lambda d: (lists(d), ['text','start']), arrow=lambda d: (Dataset.from_pandas(columns(d)), ['text','start']),
    objects=lambda d: (d.assign(answers=[[dict(text=t, answer_start=s) for t,s in zip(a['text'], a['answer_start'])] for a in d.answers]), 'answers'))

@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('data', [FRAME, BOTH], ids=['answerable','both'])
def test_all_forms_of_data_are_one(form, data, bert):
    given,answers = FORMS[form](data)
    learn,want = asked(given, bert, answers=answers, valid=list(range(6))),asked(data, bert, valid=list(range(6)))
    assert all(torch.equal(a, b) for a,b in zip(learn.dls.valid.one_batch(), want.dls.valid.one_batch()))
    assert learn.dls.text_tfm.options==want.dls.text_tfm.options and [m.name for m in learn.metrics]==[m.name for m in want.metrics]

@pytest.mark.parametrize('ending', ['json','jsonl','parquet','csv'])
def test_files(ending, bert, tmp_path):
    path = tmp_path/f'data.{ending}'
    if ending=='json': path.write_text(json.dumps(nested(BOTH)))
    elif ending=='jsonl': BOTH.to_json(path, orient='records', lines=True)
    elif ending=='parquet': BOTH.to_parquet(path)
    else: columns(BOTH).drop(columns='answers').to_csv(path, index=False)
    learn,want = asked(path, bert, answers=['text','start'] if ending=='csv' else 'answers', valid=[0, 1, 2]),asked(BOTH, bert, valid=[0, 1, 2])
    assert all(torch.equal(a, b) for a,b in zip(learn.dls.valid.one_batch(), want.dls.valid.one_batch()))

def _squad(**more):
    qas = [dict(id='a', question='Who sat?', answers=[dict(text='cat', answer_start=4)], **more)]
    return dict(version='2', data=[dict(title='Cats', paragraphs=[dict(context='The cat sat.', qas=qas)])])

@pytest.mark.parametrize('name,content', [('own.json', json.dumps(_squad(title='Own', context='another'))), ('bom.json', '\ufeff'+json.dumps(_squad())), ('packed.json.gz', json.dumps(_squad()))])
def test_forms_of_squads_json(name, content, tmp_path):
    data = content.encode()
    (tmp_path/name).write_bytes(gzip.compress(data) if name.endswith('gz') else data)
    rows,_ = read_questions(tmp_path/name)
    assert [rows.column(n).tolist() for n in ('question','context','title')]==[['Who sat?'], ['The cat sat.'], ['Cats']]

def test_loaders_read_squads_json(bert, tmp_path):
    path = tmp_path/'sq.json'
    path.write_text(json.dumps(nested(BOTH)))
    learn = asked(path, bert)
    for with_labels in (False, True): assert learn.dls.test_dl(path, with_labels=with_labels).n==len(BOTH)
    assert len(learn.predict_batch(path))==len(learn.report(path))==len(BOTH)
    again = TransformersLearner.from_pretrained(learn.save_pretrained(tmp_path/'saved'))
    assert again.dls.test_dl(path, with_labels=True).n==len(BOTH)

def test_a_json_array_is_rows(tmp_path):
    rows = [dict(question='Who sat?', context='The cat sat.', answers=dict(text=['cat'], answer_start=[4]))]*2
    (tmp_path/'rows.json').write_text(json.dumps(rows))
    assert read_squad(tmp_path/'rows.json').to_dict('records')==rows and len(read_questions(tmp_path/'rows.json')[0])==2

@pytest.mark.parametrize('said,fits', [('False', True), ('false', True), (False, True), ('True', False), ('1', False)])
def test_flags_may_be_text(said, fits):
    rows,_ = read_questions(_squad(is_impossible=said))
    if fits: assert check_answers(rows, ['answers','context']).tolist()==[True]
    else:
        with pytest.raises(ValueError, match='says otherwise'): check_answers(rows, ['answers','context'])

def test_a_csv_of_dicts_is_refused_and_told(bert, tmp_path):
    BOTH.to_csv(tmp_path/'a.csv', index=False)
    with pytest.raises(TypeError, match="rows 0, 1.*got .*; a csv keeps such cells as text: save the table as jsonl or parquet"): asked(tmp_path/'a.csv', bert)

def test_validation_is_drawn_by_contexts(bert):
    twice = pd.concat([FRAME, FRAME], ignore_index=True)
    learn = asked(twice, bert)
    sides = [set(twice.context.iloc[o.items.idxs]) for o in (learn.dls.train_ds, learn.dls.valid_ds)]
    assert not sides[0]&sides[1] and len(sides[1])>1

def put(data=FRAME, **values):
    data = data.copy()
    for k,v in values.items(): data[k] = [v if i==3 else o for i,o in enumerate(data[k])]
    return data

def answer(*texts, starts=None): return dict(text=list(texts), answer_start=list(starts or ()))
CONTEXT = 'people saw film'
BAD = dict(elsewhere=(put(context=CONTEXT, answers=answer('film', starts=[3])), ValueError, "row 3: the answer 'film' is said to stand at 3, where the context has 'ple '; it stands at 11"),
    nowhere=(put(context=CONTEXT, answers=answer('music', starts=[0])), ValueError, "row 3: .*it does not stand in the context"),
    below=(put(context=CONTEXT, answers=answer('m', starts=[-1])), ValueError, "row 3: the answer 'm' is said to stand at -1"),
    no_start=(put(answers=answer('people')), ValueError, 'row 3: 1 texts and 0 starts of answers: an answer has no start'),
    no_text=(put(answers=answer(starts=[0])), ValueError, 'row 3: 0 texts and 1 starts of answers: an answer has no text'),
    empty_answer=(put(answers=answer(' ', starts=[6]), context=CONTEXT), ValueError, 'row 3: an answer is empty'), number=(put(answers=answer(7, starts=[0])), TypeError, 'row 3: an answer is 7, and no text'),
    half=(put(answers=answer('people', starts=[.5])), TypeError, 'row 3: the start 0.5 of an answer is no whole number'), none=(put(answers=None), TypeError, 'row 3: answers are expected as'),
    text=(put(answers='people'), TypeError, 'row 3: answers are expected as'), keys=(put(answers=dict(text=['a'])), TypeError, "row 3: answers lack 'answer_start'"),
    no_question=(put(question=' '), ValueError, "row 3: column 'question' is empty"), no_context=(put(context='', answers=answer()), ValueError, "row 3: column 'context' is empty"),
    missing=(put(context=None), ValueError, "column 'context' .* in row 3"),
    flag=(BOTH.assign(is_impossible=[(not a['text'])!=(i==3) for i,a in enumerate(BOTH.answers)]), ValueError, 'row 3: is_impossible says otherwise than the answers'))

@pytest.mark.parametrize('name', BAD)
def test_rows_that_cannot_be_used_are_named(name, bert):
    data,error,message = BAD[name]
    with pytest.raises(error, match=message): asked(data, bert)

def test_columns_of_answers_are_told(bert):
    data = columns(FRAME).drop(columns='answers')
    with pytest.raises(KeyError, match=r"no column 'answers'.*answers=\['TEXTS', 'STARTS'\]"): asked(data, bert)
    with pytest.raises(KeyError, match=r"answers=\['answer_text', 'answer_start'\]"): asked(data.rename(columns=dict(text='answer_text', start='answer_start')), bert)
    with pytest.raises(TypeError, match=r'an answer is \d+, and no text; answers= names the column of texts first'): asked(data, bert, answers=['start','text'])

def test_all_bad_rows_are_named(bert):
    with pytest.raises(ValueError, match='rows 0, 1, 2, 3'): asked(FRAME.assign(answers=[answer('people', starts=[500])]*24), bert)

@pytest.mark.parametrize('item', ['who?', ('who?',), ('who?', 7), ('who?', []), ('who?', ['a', None]), ('', 'a text'), ('who?', ' '), ('who?', ['a', '']), 7, None])
def test_what_cannot_be_asked(item, learn):
    with pytest.raises(TypeError, match='item 1: (expected a question and its context|the (question|context) is empty|context 1 is empty)'): learn.predict_batch([ITEMS[0], item])

def test_arguments(bert, checkpoints, tmp_path):
    with pytest.raises(ValueError, match='ModelLoss'): asked(FRAME, bert, loss_func=ModelLoss())
    with pytest.raises(ValueError, match='max_answer_length=0'): asked(FRAME, bert, max_answer_length=0)
    with pytest.raises(KeyError, match="no column 'asked'"): asked(FRAME, bert, question='asked')
    with pytest.raises(ValueError, match='no json as SQuAD'): asked(dict(data=[dict(text='a')]), bert)
    (tmp_path/'a.json').write_text('[1')
    with pytest.raises(ValueError, match="'a.json' cannot be read as json"): asked(tmp_path/'a.json', bert)
    with pytest.raises(FileNotFoundError): read_squad(tmp_path/'b.json')
    slow = tf.CanineTokenizer()
    with pytest.raises(ValueError, match='answers need a fast tokenizer, .* CanineTokenizer is none'): TokenizeQuestions(slow, 24, 6)
    with pytest.raises(ValueError, match='QuestionAnswering'): question_answering_learner(FRAME, _no_head(tmp_path, checkpoints), max_length=24)

def _no_head(tmp_path, checkpoints): # a model type without this head
    folder = tmp_path/'cohere'
    tok = tf.AutoTokenizer.from_pretrained(checkpoints('gpt2'))
    tok.save_pretrained(folder)
    tf.GemmaModel(tf.GemmaConfig(vocab_size=len(tok), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=16, intermediate_size=32)).save_pretrained(folder)
    return folder

# --- predictions

def test_several_contexts_of_one_question_are_compared(both):
    both.fit(3, 5e-3)
    contexts = FRAME.context[:5].tolist()
    one, = both.predict_batch([('who saw it', contexts)], top_k=500)
    alone = both.predict_batch([('who saw it', c) for c in contexts], top_k=500)
    best = max(range(5), key=lambda i: read_answers(both, [both.dls.text_tfm.as_item(('who saw it', contexts[i]))])[0].scores[0])
    answer,place,prob = both.predict(('who saw it', contexts))
    first = both.predict_batch([('who saw it', contexts)])[0]
    assert (answer,place)==(first['answer'], tuple(first[k] for k in ('context','start','end') if k in first))
    found = [o for o in one if o['answer']]
    assert all(contexts[o['context']][o['start']:o['end']]==o['answer'] for o in found) and {o['context'] for o in found}==set(range(5))
    assert found[0]['context']==best and found[0]['answer']==next(o for o in alone[best] if o['answer'])['answer']
    assert sum(o['score'] for o in one)==pytest.approx(1, abs=1e-4) and sum(not o['answer'] for o in one)==1
    assert [o['score'] for o in found]==sorted((o['score'] for o in found), reverse=True)

def test_top_k_begins_with_the_answer(learn, both):
    for l in (learn, both):
        many = l.predict_batch(ITEMS, top_k=3)
        first = [m[0] | dict(score=pytest.approx(m[0]['score'], rel=1e-6)) for m in many] # other batches, other roundings
        assert first==l.predict_batch(ITEMS, bs=3) and all(len(m)==3 for m in many)
        assert all(len({(o['start'], o['end'], o['answer']) for o in m})==3 for m in many)
    with pytest.raises(ValueError, match='top_k=0'): learn.predict_batch(ITEMS, top_k=0)
    assert all(o['answer'] for m in learn.predict_batch(ITEMS, top_k=5) for o in m) # it has seen no question without one

def test_what_is_shown(both, capsys):
    both.dls.show_batch(max_n=3)
    both.fit(1, 1e-3)
    both.show_results(max_n=3)
    Interpretation.from_learner(both).plot_top_losses(3)
    shown = capsys.readouterr().out
    assert '⟦' in shown and 'who saw it' in shown and shown.count('prediction')>=2 and ('✓' in shown or '✗' in shown)

def test_that_there_is_no_answer_is_written(both, capsys):
    x,y,samples = both.dls.valid.show_batch(show=False)
    n,n_none = len(samples),sum(not p for p in y.places[:len(samples)])
    both.dls.valid.show_batch((x, y), max_n=n)
    assert capsys.readouterr().out.count('(no answer)')==n_none>0
    show_results(x, y, samples, [(None,)]*n)
    assert capsys.readouterr().out.count('(no answer)')==n+n_none

def test_any_right_answer_is_marked_as_right(bert, capsys, monkeypatch):
    "As the epoch table counts: any of several, whatever its articles; `y.places` tells them."
    two = FRAME.assign(answers=[dict(text=[a['text'][0], c.split()[0]], answer_start=[a['answer_start'][0], 0]) for a,c in zip(FRAME.answers, FRAME.context)])
    learn = asked(two, bert, bs=3)
    x,y,samples = learn.dls.valid.show_batch(show=False)
    second = [(p[1],) for p in y.places[:3]]
    def marks(places):
        capsys.readouterr()
        show_results(x, y, samples[:3], places)
        lines = capsys.readouterr().out.splitlines()
        return [l.rstrip()[-1] for l in lines if l.rstrip()[-1:] in '✓✗']
    assert marks(second)==['✓']*3==marks([(p[0],) for p in y.places[:3]]) and marks([(None,)]*3)==['✗']*3
    with learn.no_bar(): scores = dict(zip([m.name for m in learn.metrics], learn.validate()[1:]))
    assert set(scores)=={'exact_match','f1'}

def test_a_process_marks_with_the_answers_of_its_own_rows(learn, capsys):
    dl = learn.dls.valid
    dl.share = 1,2
    x,y = next(iter(dl))
    whole = dl.whole[1] # of all processes
    n = len(whole)-len(whole)//2
    assert len(y)==n and list(y.places)==list(whole.places)[-n:] and list(y.places)!=list(whole.places)[:n]
    x,y,samples = dl.show_batch((x, y), max_n=n, show=False)
    show_results(x, y, samples, [(p[0],) for p in whole.places[-n:]], max_n=n)
    assert [l.rstrip()[-1] for l in capsys.readouterr().out.splitlines() if l.rstrip()[-1:] in '✓✗']==['✓']*n

def test_places_are_no_classes_to_confuse(learn):
    with pytest.raises(ValueError, match='no classes that could be confused.*Interpretation.from_learner'): ClassificationInterpretation.from_learner(learn)

def test_the_loss_is_that_of_the_model_and_padding_costs_nothing(learn):
    x,y = learn.dls.valid.one_batch()
    learn.model.eval()
    with torch.no_grad():
        pred = learn.model(x.as_subclass(torch.Tensor))
        loss,rows = learn.loss_func(pred, y),AnswerLoss()(pred, y, reduction='none')
        fields,alone = len(learn.dls.text_tfm.fields),[]
        for i in range(len(x)):
            for w,win in enumerate(x[i].as_subclass(torch.Tensor).view(-1, fields, x.shape[2])):
                n = int((win[-1]!=0).sum())
                if not n: continue
                inputs = {k:v[None,:n] for k,v in zip(learn.dls.tokenizer.model_input_names, win)}
                alone.append((i, float(learn.model(**inputs, start_positions=y[i,1+w,:1].as_subclass(torch.Tensor), end_positions=y[i,1+w,1:2].as_subclass(torch.Tensor)).loss)))
    assert len(alone)>len(x) and float(loss)==pytest.approx(np.mean([l for _,l in alone]), abs=1e-5)
    assert rows.tolist()==pytest.approx([np.mean([l for k,l in alone if k==i]) for i in range(len(x))], abs=1e-5)

def test_batches_for_a_loop_of_ones_own(both):
    "Each window a row, with the tokens of its answer: the mean of the model's own losses is that of the learner, lost answers left out."
    data = pd.concat([BOTH, BOTH.iloc[:1]], ignore_index=True)
    long = ' '.join(FILLERS[:25])
    data.at[24,'context'],data.at[24,'answers'] = f'people saw {long} {long}',dict(text=[long], answer_start=[11])
    with pytest.warns(UserWarning, match='fits in no window'): learn = asked(data, both.model, tokenizer=both.dls.tokenizer, valid=[24, *range(9)], bs=5)
    learn.model.eval()
    losses,lost = [],0
    for batch in learn.dls.valid.as_torch():
        assert len(batch.rows)==len(batch['input_ids'])==len(batch['start_positions']) and (batch['start_positions']<=batch['end_positions']).all()
        size = batch['input_ids'].shape[1]
        lost += int((batch['start_positions']==size).sum())
        with torch.no_grad(): losses += [float(learn.model(**{k:v[i:i+1,:n] if v.ndim==2 else v[i:i+1] for k,v in batch.items()}).loss)
            for i,n in enumerate(batch['attention_mask'].sum(1).tolist()) if batch['start_positions'][i]<size]
        out = learn.model(**batch)
        assert torch.isfinite(out.loss)
    with learn.no_bar(): assert learn.validate()[0]==pytest.approx(np.mean(losses), abs=1e-5)
    assert lost>1

# --- what a run and a file promise

def test_a_resumed_run_is_as_if_left_alone(bert, in_tmp):
    def train(cbs, fails=('never', 1)):
        learn = asked(BOTH, bert, seed=3)
        learn.add_cb(Cut(*fails))
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 1e-3, cbs=cbs)
        return learn
    whole = train(Checkpoints('whole'))
    with pytest.raises(KeyboardInterrupt): train(Checkpoints('run', steps=1), fails=('after_batch', 6, KeyboardInterrupt()))
    learn = asked(BOTH, bert, seed=3)
    learn.add_cb(Cut('never', 1))
    with learn.no_bar(), learn.no_logging(): learn.resume('run')
    assert all(torch.equal(a, b) for a,b in zip(whole.model.state_dict().values(), learn.model.state_dict().values()))
    assert whole.recorder.values==learn.recorder.values and whole.loss_func.thresh==learn.loss_func.thresh

def test_the_threshold_comes_back_with_the_best_weights(bert, in_tmp):
    "Of three epochs the first is the best here: its threshold belongs to its weights."
    learn = asked(BOTH, bert)
    with learn.no_bar(), learn.no_logging(): learn.fit(3, 3e-3, cbs=Checkpoints('run', best='train_loss', lower=False))
    threshes = [dict(zip(learn.recorder.metric_names[1:], row))['threshold'] for row in learn.recorder.values]
    assert threshes[0]!=threshes[2] and learn.loss_func.thresh==threshes[0]
    again = asked(BOTH, bert)
    with again.no_bar(), again.no_logging(), pytest.warns(UserWarning, match='is finished'): again.resume('run')
    assert again.loss_func.thresh==threshes[0] and again.predict_batch(BOTH)==learn.predict_batch(BOTH)

def test_saved_exported_and_in_a_file(both, in_tmp):
    both.fit(1, 1e-3)
    want = both.predict_batch(BOTH)
    again = TransformersLearner.from_pretrained(both.save_pretrained('m'))
    assert again.task is question_answering and again.predict_batch(BOTH)==want and again.dls.text_tfm.options==both.dls.text_tfm.options
    facts = json.loads((in_tmp/'m'/'blurlike.json').read_text())
    assert facts['text']==['question','context'] and facts['label']==['answers','context'] and facts['overlap']==6 and facts['decisions']['thresh']==both.loss_func.thresh
    tf.AutoModelForQuestionAnswering.from_pretrained('m')
    again.dls = both.dls
    assert [m.name for m in again.metrics]==[m.name for m in both.metrics] and again.validate()==both.validate()
    again.fit(1, 1e-3)
    both.path = in_tmp
    both.export('learn.pkl')
    assert load_learner('learn.pkl').predict_batch(BOTH)==want
    both.predict_batch(BOTH, out='p.jsonl', bs=5)
    assert [json.loads(line)['answer'] for line in open('p.jsonl')]==[w['answer'] for w in want]

# --- other tools

def test_the_card_tells_how_transformers_alone_answers(learn, both, checkpoints, in_tmp):
    distil = asked(BOTH, checkpoints('distilbert')) # takes fewer fields than its tokenizer gives
    for l in (learn, both, distil):
        l.fit(1, 1e-3)
        l.save_pretrained('m')
        card = model_card(l, 'm')
        assert 'pipeline(' not in card and '\npipeline_tag: question-answering\n' in card and "learn.predict_batch([('Who wrote it?', 'Ada wrote it.')])" in card
        code = card.split('```python')[2].split('```')[0]
        found = {}
        exec(code, found)
        assert [found['answer'](q, c) for q,c in ITEMS]==[o['answer'] for o in l.predict_batch(ITEMS)]
    assert '| threshold' in model_card(both).split('## Scores')[1].split('##')[0]

@pytest.mark.slow
def test_a_page(both, monkeypatch):
    gr = pytest.importorskip('gradio')
    both.fit(3, 5e-3)
    outputs,answer = page_output(both.task.predictions, both, gr)
    text,score,marked = answer(ITEMS[0])
    want = both.predict_batch(ITEMS[:1])[0]
    assert len(outputs)==3 and (text, score)==(want['answer'], want['score']) and marked['text']==ITEMS[0][1]
    assert [ITEMS[0][1][e['start']:e['end']] for e in marked['entities']]==[text][:bool(text)]
    assert [c.label for c in gradio_app(both).input_components]==['question','context']

@pytest.mark.slow
def test_in_onnx(both, in_tmp):
    pytest.importorskip('onnxruntime')
    both.fit(1, 1e-3)
    again = load_onnx(export_onnx(both, 'onnx'))
    for a,b in zip(again.predict_batch(BOTH), both.predict_batch(BOTH)): assert a==b | dict(score=pytest.approx(b['score'], abs=1e-5))

@pytest.mark.slow
def test_in_onnx_with_little_room(bert, in_tmp):
    pytest.importorskip('onnxruntime')
    learn = asked(BOTH, bert, max_length=16, overlap=2)
    again = load_onnx(export_onnx(learn, 'onnx'))
    ours,theirs = (o.predict_batch(BOTH[:4]) for o in (learn, again))
    assert [o['answer'] for o in ours]==[o['answer'] for o in theirs]

def test_the_command_line(bert, in_tmp, capsys):
    nested_path = in_tmp/'train.json'
    nested_path.write_text(json.dumps(nested(BOTH)))
    args = ['train', str(nested_path), str(bert), '--task', 'question_answering', '--max-length', '24', '--overlap', '6', '--out', 'm', '--epochs', '1', '--lr', '1e-3', '--valid', '0.3']
    assert cli.main(args)==0 and 'threshold' in capsys.readouterr().out
    columns(BOTH).drop(columns='answers').rename(columns=dict(question='q', context='c')).to_csv('test.csv', index=False)
    assert cli.main(['predict', 'm', 'test.csv', '--text', 'q', 'c'])==0
    lines = [json.loads(l) for l in capsys.readouterr().out.splitlines() if l.startswith('{')]
    assert lines==TransformersLearner.from_pretrained('m').predict_batch(BOTH)
    assert cli.main(['predict', 'm', str(nested_path)])==0 # SQuAD's own json
    assert [json.loads(l) for l in capsys.readouterr().out.splitlines() if l.startswith('{')]==lines
    assert cli.main(['report', 'm', str(nested_path), '--rows', '0'])==0 and '24 rows: loss' in capsys.readouterr().out
    BOTH.to_json('test.jsonl', orient='records', lines=True)
    assert cli.main(['report', 'm', 'test.jsonl', '--rows', '2'])==0
    said = capsys.readouterr().out
    assert '24 rows: loss' in said and 'exact_match' in said and 'who saw it' in said
    assert cli.main([*args[:3], '--task', 'question_answering', '--question', 'asked', '--out', 'n'])==2 and "no column 'asked'" in capsys.readouterr().err

def test_rows_for_a_tracker(both):
    both.fit(1, 1e-3)
    dl = both.dls.valid
    b = dl.one_batch()
    preds,_,decoded = both.get_preds(dl=[b], with_decoded=True)
    x,y,samples,outs = dl.show_results(b, decoded, show=False)
    heads,rows = prediction_rows(y, samples, outs, preds)
    assert heads==['question','context','target','prediction','score'] and len(rows)==5
    assert all(0<=r[4]<=1 and r[0]=='who saw it' and (r[2] in WHO or not r[2]) for r in rows)

def test_explain_tells_what_speaks_for_the_answer(both):
    "The words' shares add up to the score, or are how far it falls when a word is hidden; of the window that holds the answer."
    both.fit(4, 5e-3)
    told = both.predict_batch(ITEMS[:6])
    for item,want in zip(ITEMS[:6], told):
        res = both.explain(item, method='occlusion')
        row, = res.rows
        assert row['label']==(want['answer'] or '(no answer)') and row['score']==pytest.approx(want['score'], abs=1e-5)
        assert res.words[:3]==['who','saw','it'] and len(res.words)==len(row['words']) and np.isfinite(row['words'][:3]).all()
        assert want['answer'] in repr(res)
    logit = read_answers(both, [both.dls.text_tfm.as_item(ITEMS[0])])[0]
    assert both.explain(ITEMS[0], method='occlusion').rows[0]['logit']==pytest.approx(logit.scores[0] if told[0]['answer'] else logit.null, abs=1e-4)
    both.explain(ITEMS[0], steps=4)
    with pytest.raises(ValueError, match='labels= and words='): both.explain(ITEMS[0], labels=['people'])
    row, = both.explain(('who saw it', '\x00'), steps=4).rows # signs of which no token is left
    assert row['label']=='(no answer)' and row['score']==both.predict(('who saw it', '\x00'))[-1]==pytest.approx(1)

def test_check_knows_shared_contexts_and_lost_answers(bert):
    data = pd.concat([FRAME, FRAME.iloc[:2].assign(question='who was seen'), FRAME.iloc[4:5]], ignore_index=True) # rows 24 and 25: their context again, 26 a duplicate
    long = ' '.join(FILLERS[:15])
    data.at[3,'context'] = f'people saw {long} and rain and old roofs and more people by the river'
    data.at[3,'answers'] = dict(text=[long], answer_start=[11])
    with pytest.warns(UserWarning, match='fits in no window'): learn = asked(data, bert, valid=[0, 1, 2])
    found = {(f.what, f.part):f.rows.tolist() for f in learn.check()}
    assert found['shared contexts', 'validation']==[0, 1] and found['lost answers', 'training']==[3] and found['duplicates', 'training']==[26]
    whats = {f.what for f in asked(FRAME, bert).check()}
    assert not whats & {'shared contexts','lost answers','cut'}

def test_how_an_item_is_read(learn, capsys):
    learn.show_tokens(ITEMS[0])
    assert 'windows' in capsys.readouterr().out or learn.dls.text_tfm.max_length>=len(ITEMS[0][1].split())
    learn.dls.train.plot_lengths()
    tokens,weights = learn.attention(ITEMS[0])
    assert weights.shape[-1]==len(tokens) and ''.join(tokens).replace('##', '').startswith('[CLS]whosawit[SEP]')

@pytest.mark.parametrize('name', ['validation','dev'])
def test_a_split_for_validation_is_used(name, bert):
    parts = DatasetDict({'train':Dataset.from_pandas(BOTH[:16]), name:Dataset.from_pandas(BOTH[16:])})
    learn = question_answering_learner(parts, bert, max_length=64)
    assert (len(learn.dls.train_ds),len(learn.dls.valid_ds))==(16, len(BOTH)-16)

def test_a_look_leaves_the_threshold(bert, in_tmp):
    learn = question_answering_learner(questions(unanswerable=True), bert, valid=.25, bs=8)
    learn.validate()
    chosen = learn.loss_func.thresh
    for held in (7., chosen or -3.):
        learn.loss_func.thresh = held
        learn.validate(), learn.report()
        assert learn.loss_func.thresh==held
    learn.loss_func.thresh = 7.
    learn.fit(1, 0.)
    assert learn.loss_func.thresh!=7.

def test_a_function_of_outputs_is_refused(bert):
    with pytest.raises(TypeError, match='takes no act='): learner('answers', bert).get_preds(act=lambda o: o)

def test_a_look_decides_nothing(bert):
    learn = asked(BOTH, bert)
    items = BOTH[['question','context']][:12]
    before = learn.predict_batch(items)
    learn.validate(), learn.get_preds(), learn.report()
    assert learn.loss_func.thresh==0 and learn.predict_batch(items)==before

def test_a_loss_of_two_learners_holds_the_threshold_of_neither(bert):
    loss = AnswerLoss()
    one,two = (asked(BOTH, bert, loss_func=loss) for _ in range(2))
    one.fit(1, 5e-3)
    assert one.loss_func.thresh!=0==two.loss_func.thresh==loss.thresh

def test_metrics_of_training_batches(bert):
    learn = asked(FRAME, bert)
    learn.recorder.train_metrics = True
    learn.fit(1, 1e-3)
    assert len(learn.recorder.values[0])==6 and 'train_f1' in list(learn.recorder.metric_names)

def test_ready_loaders(bert, capsys):
    made = learner('answers', bert)
    learn = question_answering_learner(made.dls, bert)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert [m.name for m in learn.metrics]==[m.name for m in made.metrics] and learn.predict(('the film was', TEXTS[0]))
    with pytest.raises(ValueError, match='hold no questions'): question_answering_learner(learner('single', bert).dls, bert)

def test_rare_chinese_signs_are_words_too():
    from blurlike.tasks.question_answering.scores import answer_f1
    assert answer_f1('\U00020000\U00020001', '\U00020000')==pytest.approx(2/3)
    assert AnyScript().tokenize('\U00020000\U00020001 ab')==['\U00020000', '\U00020001', 'ab']
