"`learn.uncertain`: the rows of which a model is least sure, for every task whose predictions have probabilities; numbers of rows are the user's own."
import threading
from pathlib import Path


import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset

from small import FRAMES, KINDS, TEXTS, direct_logits, learner, table, texts_of

import blurlike.inspect.uncertain as un
from blurlike.all import causal_lm_learner, masked_lm_learner, set_seed, token_classification_learner

LABELLED = [k for k in KINDS if k!='regression']
TAGGED = pd.DataFrame(dict(tokens=[t.split() for t in TEXTS], tags=[['B-X' if w in ('great','lovely','superb') else 'O' for w in t.split()] for t in TEXTS]))

@pytest.fixture(scope='module')
def tagger(bert, tmp_path_factory):
    set_seed(0)
    learn = token_classification_learner(TAGGED, bert, bs=8, path=tmp_path_factory.mktemp('tagger'))
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-2)
    return learn

def probabilities(learn, kind, items):
    "By the plain model, one text at a time."
    logits = direct_logits(learn.model, learn.dls.tokenizer, items)
    return logits.sigmoid() if kind=='multi' else logits.softmax(-1)

def doubt(kind, probs, by): # of one row, as the definitions say, without code of ours
    rows = [[p,1-p] for p in probs.tolist()] if kind=='multi' else [probs.tolist()]
    def one(p):
        p = sorted(p, reverse=True)
        return dict(margin=1-(p[0]-p[1]), confidence=1-p[0], entropy=-sum(q*np.log(q) for q in p if q>0))[by]
    return max(map(one, rows))

@pytest.mark.parametrize('by', list(un.MEASURES))
@pytest.mark.parametrize('kind', LABELLED)
def test_the_least_sure_by_the_plain_model(trained, kind, by):
    learn,new = trained(kind),table(kind, 30, seed=9)
    want = np.array([doubt(kind, p, by) for p in probabilities(learn, kind, texts_of(kind, new))])
    found = learn.uncertain(new, 7, by=by, diverse=False)
    assert list(found.columns[:2])==['row','score'] and len(found)==7
    np.testing.assert_allclose(found.score, np.sort(want)[::-1][:7], atol=1e-4)
    np.testing.assert_allclose(want[found.row], found.score, atol=1e-4)

def test_entropy_tells_rows_near_a_half_apart(trained, monkeypatch):
    learn,near = trained('multi'),torch.tensor([3e-4, 1e-4, 2e-4, 0.])
    monkeypatch.setattr(type(learn.predictions), 'doubts', lambda self, learn, items, bs, measure: measure(torch.stack([.5+near, .5-near], -1)))
    for by in un.MEASURES: assert learn.uncertain(texts_of('multi', table('multi', 4)), 4, by=by, diverse=False).row.tolist()==[3,1,2,0]

@pytest.mark.parametrize('kind', LABELLED)
def test_texts_stand_beside_their_rows(trained, kind):
    new = table(kind, 30, seed=9)
    found = trained(kind).uncertain(new, 5)
    cells = {k:k for k in ('text',)} if kind!='pair' else dict(text='one', text_pair='two')
    for mine,theirs in cells.items(): assert found[mine].tolist()==new[theirs].iloc[found.row].tolist()
    assert ('choices' in found)==(kind=='choice')

def test_the_word_of_which_a_tagger_is_least_sure(tagger):
    found = tagger.uncertain(TAGGED, len(TAGGED), diverse=False)
    for row,score in found[['row','score']].itertuples(index=False):
        probs = tagger.predict(TAGGED.tokens[row])[2].sort(-1, descending=True).values
        assert score==pytest.approx((1-(probs[:,0]-probs[:,1])).max().item(), abs=1e-4)
    assert found.text[0]==' '.join(TAGGED.tokens[found.row[0]])
    assert tagger.uncertain(TEXTS, 3).text.isin(TEXTS).all() # texts that it divides itself
    assert tagger.uncertain([['a'],[]], 2, diverse=False).score.tolist()[1]==0

def test_labels_at_their_threshold(bert):
    learn = learner('multi', bert)
    texts = TEXTS[:10]
    probs = probabilities(learn, 'multi', texts)
    learn.loss_func.thresh = float(probs[3,1])
    found = learn.uncertain(texts, 1, diverse=False)
    assert found.row[0]==3 and found.score[0]==pytest.approx(1, abs=1e-4)

@pytest.mark.parametrize('give', [lambda d: d, lambda d: d.set_index(pd.Index(range(100, 130))), lambda d: d.set_index('text', drop=False), lambda d: Dataset.from_pandas(d),
    lambda d: d.to_dict('records'), lambda d: d.text, lambda d: d.text.tolist(), lambda d: d.text.set_axis(range(7, 37))])
def test_the_place_in_what_was_given(trained, give):
    learn,new = trained('single'),table('single', 30, seed=9)
    want = learn.uncertain(new.text.tolist(), 6)
    pd.testing.assert_frame_equal(learn.uncertain(give(new), 6), want)

def test_a_file(trained, tmp_path):
    new = table('single', 30, seed=9)
    new.to_csv(tmp_path/'new.csv', index=False)
    pd.testing.assert_frame_equal(trained('single').uncertain(tmp_path/'new.csv', 6), trained('single').uncertain(new, 6))

@pytest.mark.parametrize('diverse', [True, False])
def test_chunks_make_no_difference(trained, monkeypatch, diverse):
    learn,new = trained('single'),table('single', 40, seed=9)
    want = learn.uncertain(new, 3, diverse=diverse)
    monkeypatch.setattr(un, '_chunk', 7)
    seen = []
    between = un.rows_between
    monkeypatch.setattr(un, 'rows_between', lambda items, i, j: seen.append(j-i) or between(items, i, j))
    found = learn.uncertain(new, 3, diverse=diverse)
    assert found.row.tolist()==want.row.tolist() and seen==[7]*5+[5]
    np.testing.assert_allclose(found.score, want.score, atol=1e-5)

def test_few_items_are_kept(trained, monkeypatch): # of many rows
    monkeypatch.setattr(un, '_chunk', 10)
    kept,argsort = [],np.argsort
    monkeypatch.setattr(un.np, 'argsort', lambda a, **kw: (len(a)<=2000 and kept.append(len(a))) or argsort(a, **kw))
    trained('single').uncertain(TEXTS*4, 2)
    assert max(kept)<=2*10+10 # ten for each that is wanted, and a chunk

@pytest.mark.parametrize('kind', LABELLED)
def test_embeddings_are_means_of_what_the_head_gets(trained, kind):
    learn = trained(kind)
    items = texts_of(kind, table(kind, 8, seed=9))
    found,tok = learn.embed(items, bs=3),learn.dls.tokenizer
    learn.model.eval()
    def plain(item): # over all texts of an item
        texts = [(item[0], c) for c in item[-1]] if kind=='choice' else [item]
        res = []
        for t in texts:
            enc = tok(*([t] if isinstance(t, str) else t), return_tensors='pt')
            with torch.no_grad(): res.append(learn.model.base_model(**{k:v for k,v in enc.items()})[0][0].mean(0))
        return torch.stack(res).mean(0)
    np.testing.assert_allclose(found, torch.stack([plain(o) for o in items]).numpy(), atol=1e-4)

def test_the_first_call_of_a_learner_that_pads_left(checkpoints):
    "How such a model is told of positions is tried first, by a call of its own."
    learn = learner('single', checkpoints('gpt2'))
    learn.dls.tokenizer.padding_side = 'left'
    found = learn.embed(['a film that was great', 'a film'])
    np.testing.assert_allclose(found, learn.embed(['a film that was great', 'a film']))
    np.testing.assert_allclose(found[1:], learn.embed(['a film']), atol=1e-5)

@pytest.mark.parametrize('arch', ['bert','gpt2'])
def test_a_head_of_words_is_asked_for_one_token(arch, checkpoints, monkeypatch):
    make = masked_lm_learner if arch=='bert' else causal_lm_learner
    learn,items,rows = make(FRAMES['single'], checkpoints(arch), text='text'),FRAMES['single'][:5],[]
    found = learn.embed(items)
    with learn.model.get_output_embeddings().register_forward_hook(lambda m, args, o: rows.append(o.numel()//o.shape[-1])): learn.embed(items)
    assert rows==[5]
    monkeypatch.setattr(un, '_first_tokens', lambda door, x: None)
    np.testing.assert_array_equal(learn.embed(items), found)

def test_what_an_embedding_leaves_out_is_told(bert):
    learn = learner('single', bert, max_length=10)
    with pytest.warns(UserWarning, match=r'1 of 2 .*10'): learn.embed(['good film '*20, 'a film'])

def test_long_texts_are_embedded_in_windows(bert):
    learn = learner('single', bert, max_length=12, overlap=2)
    long = ' '.join(TEXTS[:3])
    assert learn.embed([long, 'a film']).shape==(2, 32) and not np.allclose(*learn.embed([long, ' '.join(long.split()[:8])]))

@pytest.mark.parametrize('arch', ['distilbert','deberta','gpt2','bart','modernbert'])
def test_other_architectures(checkpoints, arch):
    learn = learner('single', checkpoints(arch))
    assert learn.uncertain(TEXTS, 5).text.nunique()==5 and learn.embed(TEXTS).shape==(len(TEXTS), 32)

def test_unlike_rows(trained):
    learn = trained('single')
    pool = TEXTS[:6]*8
    alone = learn.uncertain(pool, 6, diverse=False)
    assert alone.text.nunique()==1 and learn.uncertain(pool, 6).text.nunique()==6
    assert learn.uncertain(pool, 10).row.nunique()==10 # more than there are texts

def test_the_draw_has_a_seed(trained):
    learn,pool = trained('single'),table('single', 200, seed=9)
    state = torch.get_rng_state()
    rows = [learn.uncertain(pool, 5, seed=s).row.tolist() for s in (1, 1, 2)]
    assert rows[0]==rows[1]!=rows[2] and torch.equal(state, torch.get_rng_state())

@pytest.mark.parametrize('n,rows', [(100, 30), (30, 30), (1, 1)])
def test_more_wanted_than_there_are(trained, n, rows):
    new = table('single', 30, seed=9)[:rows]
    assert sorted(trained('single').uncertain(new, n).row)==list(range(rows))

def test_no_rows(trained):
    found = trained('single').uncertain([], 5)
    assert len(found)==0 and list(found.columns)[:2]==['row','score']

def test_a_measure_of_ones_own(trained):
    learn = trained('single')
    assert learn.uncertain(TEXTS, 3, by=lambda p: p[...,0], diverse=False).score.is_monotonic_decreasing
    with pytest.raises(ValueError, match=r'by= gave numbers of shape \(48, 3\)'): learn.uncertain(TEXTS, 3, by=lambda p: p)

def test_numbers_are_refused(trained):
    with pytest.raises(TypeError, match='does not tell how sure'): trained('regression').uncertain(TEXTS, 3)

def test_what_has_no_labels(bert):
    with pytest.raises(TypeError, match='masked_lm have none'): masked_lm_learner(TEXTS_TABLE, bert, bs=8).uncertain(TEXTS, 3)

TEXTS_TABLE = pd.DataFrame(dict(text=TEXTS))

@pytest.mark.parametrize('args,kwargs,error,said', [
    (([],), dict(by='doubt'), ValueError, "by='doubt': one of margin"), ((TEXTS,), dict(n=0), ValueError, 'n=0'), ((TEXTS,), dict(n='3'), ValueError, "n='3'"),
    ((dict(a=[1]),), {}, TypeError, 'rows must be'), ((iter(TEXTS),), {}, TypeError, 'rows must be'), (([1, 2],), {}, TypeError, 'item 0'),
    ((FRAMES['single'].drop(columns='text'),), {}, KeyError, "no column 'text'"), (('missing.csv',), {}, FileNotFoundError, 'missing.csv')])
def test_bad_arguments(trained, args, kwargs, error, said):
    with pytest.raises(error, match=said): trained('single').uncertain(*args, **kwargs)

def test_a_bad_row_is_named(trained, monkeypatch):
    monkeypatch.setattr(un, '_chunk', 10)
    with pytest.raises(TypeError, match='^item 23: '): trained('single').uncertain([*TEXTS[:23], 5, *TEXTS[24:]], 3)
    with pytest.raises(TypeError, match='^item 3: '): trained('single').uncertain([*TEXTS[:3], 5], 3)

def test_another_thread_is_not_heard(trained):
    learn = trained('single')
    want,stop = learn.embed(TEXTS),threading.Event()
    def others():
        while not stop.is_set(): learn.predict_batch(TEXTS[:3])
    t = threading.Thread(target=others)
    t.start()
    try: found = [learn.embed(TEXTS) for _ in range(5)]
    finally:
        stop.set()
        t.join()
    for f in found: np.testing.assert_allclose(f, want, atol=1e-5)
    assert not any('Listener' in repr(h) for m in learn.model.modules() for h in m._forward_hooks.values())

def test_active_learning_is_five_lines(bert):
    labelled,pool = FRAMES['single'][:12],table('single', 60, seed=5)
    for _ in range(2):
        learn = learner('single', bert, labelled, valid=None)
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-2)
        picked = learn.uncertain(pool, 10).row
        labelled,pool = pd.concat([labelled, pool.iloc[picked]]),pool.drop(pool.index[picked])
    assert (len(labelled),len(pool))==(32, 40)

def test_doubts_that_are_no_numbers(bert):
    learn = learner('single', bert)
    with learn.no_bar(), pytest.raises(ValueError, match='row 2: its doubt is nan'):
        learn.uncertain(TEXTS[:9], 2, by=lambda p: torch.where(torch.arange(len(p))==2, np.nan, p[:,0]), diverse=False)
    with pytest.raises(TypeError, match='not set'): learn.uncertain(set(TEXTS), 2)

@pytest.mark.parametrize('give', [lambda d: d, lambda d: Dataset.from_pandas(d), lambda d: d.to_dict('records'), lambda d: d.text])
def test_embed_takes_what_predict_batch_takes(trained, give):
    learn,new = trained('single'),table('single', 12, seed=9)
    np.testing.assert_array_equal(learn.embed(give(new)), learn.embed(new.text.tolist()))

@pytest.mark.parametrize('given', ['the film', Path('rows.csv'), dict(text=['a']), {'a','b'}])
def test_embed_takes_no_lone_text(trained, given):
    with pytest.raises(TypeError, match='embed takes'): trained('single').embed(given)

def test_embed_is_not_for_models_that_write_from_a_text(checkpoints):
    with pytest.raises(TypeError, match='embed is for models that read only'): learner('summaries', checkpoints('bart')).embed(['a film'])
    assert learner('answers', checkpoints('bart')).embed(FRAMES['answers'][:3]).shape==(3, 32)

def test_no_text_is_no_row_of_as_many_numbers(bert):
    learn = learner('single', bert)
    assert learn.embed([]).shape==(0, learn.embed(TEXTS[:1]).shape[1]) and learn.embed([]).dtype==np.float32
