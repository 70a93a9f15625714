"Question answering: places in texts, found in one way by scores and predictions, in one notebook."
import json
import re
import string
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as tf
from datasets import Dataset
from fastai.interpret import Interpretation
from runs import Cut
from small import FILLERS, SHARED, SMALL, byte_tokenizer, in_tmp, word_tokenizer # noqa: F401 (fixture)
from tokenizers import SentencePieceUnigramTokenizer
from tokenizers.processors import TemplateProcessing

from blurlike.all import Checkpoints, ModelLoss, TransformersLearner, load_learner, question_answering, question_answering_learner
from blurlike.tasks.question_answering import (N_BEST, AnswerLoss, AnswerPlaces, TokenizeQuestions, answer_scores, answers_in, best_of, best_threshold,
    read_answers, read_squad, threshold, window_answers, windows_of)

# --- data

WHO,WHAT = 'people friends river'.split(), 'film music food'.split()

def table(n=24, unanswerable=False):
    "Questions about contexts of 6 to 40 words; of unanswerable ones the context tells nothing."
    rng,rows = np.random.default_rng(0),[]
    for i in range(n):
        who,what = rng.choice(WHO).item(),rng.choice(WHAT).item()
        before,after = (' '.join(rng.choice(FILLERS, rng.integers(0, 18))) for _ in range(2))
        context = f'{before} {who} saw {what} {after}'.strip()
        lacks = unanswerable and i%3==0
        if lacks: context = f'{before} rain {after}'.strip()
        answers = dict(text=[] if lacks else [who, f'{who} saw'], answer_start=[] if lacks else [context.index(f'{who} saw')]*2)
        rows.append(dict(id=i, question='who saw it', context=context, answers=answers))
    return pd.DataFrame(rows)

FRAME,BOTH = table(),table(unanswerable=True)
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

# --- a second opinion: the features of transformers' own example (run_qa), and a plain loop

@torch.no_grad()
def plain(learn, question, context):
    "`(score, start, end)` of each place in each window, the best first, and the least score of none: no code of ours."
    tfm,model = learn.dls.text_tfm,learn.model.eval()
    tok = tfm.tokenizer
    enc = tok(question, context, truncation='only_second', max_length=tfm.max_length, stride=tfm.overlap, return_overflowing_tokens=True, return_offsets_mapping=True)
    found,null = [],np.inf
    for w,ids in enumerate(enc['input_ids']):
        inputs = {k:torch.tensor([enc[k][w]]) for k in tok.model_input_names}
        out = model(**inputs)
        start,end = out.start_logits[0].numpy(),out.end_logits[0].numpy()
        null = min(null, start[ids.index(tok.cls_token_id)]+end[ids.index(tok.cls_token_id)])
        inside = [i for i,s in enumerate(enc.sequence_ids(w)) if s==1]
        for i in inside:
            for j in inside:
                if i<=j<i+tfm.max_answer_length: found.append((float(start[i]+end[j]), enc['offset_mapping'][w][i][0], enc['offset_mapping'][w][j][1]))
    return sorted(found, key=lambda o: -o[0]),float(null)

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

@pytest.mark.parametrize('name', TOKENIZERS)
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
    with pytest.warns(UserWarning, match=r'fits in no window of max_length=24 \(overlap=6\) in 1 of 24 rows \(3\)'): learn = asked(data, bert, valid=[0, 1])
    x,y = learn.dls.test_dl(data.iloc[3:4], with_labels=True).one_batch()
    assert y.shape[1]>2 and (y[0,1:,0]==-100).all() # it does not teach that there is no answer
    loss = learn.loss_func(torch.zeros(1, x.shape[1]//len(learn.dls.text_tfm.fields)*x.shape[2], 2), y)
    assert loss==0 and learn.loss_func.count(y)==0

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
