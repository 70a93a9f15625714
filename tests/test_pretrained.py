"Checkpoints made on the spot."
import argparse
import inspect
import json
from pathlib import Path

import pandas as pd
import pytest
from blurlike.all import (label_maps, load_transformer, masked_lm_learner, load_tokenizer, scratch_checkpoint, sequence_classification_learner, set_seed,
    token_classification_learner)
from safetensors.torch import load_file

from runs import WORDS
from small import FRAMES, TEXTS as SHORT, changed, learner, weights, with_answers

TEXTS = [inspect.cleandoc(o.__doc__) for m in (argparse, inspect) for o in vars(m).values() if isinstance(getattr(o, '__doc__', None), str)]

def test_the_same_texts_give_the_same_checkpoint(tmp_path):
    def made(name):
        set_seed(0)
        folder = scratch_checkpoint(iter(TEXTS), tmp_path/name, vocab_size=1000)
        return (folder/'vocab.txt').read_text(),load_file(folder/'model.safetensors')
    (vocab,weights),*others = [made(n) for n in 'abc']
    for v,w in others:
        assert v==vocab
        assert all(t.equal(weights[k]) for k,t in w.items())

@pytest.mark.parametrize('config,said', [(dict(model_type='gpt2'), "model_type='gpt2': a BERT is made here.*GPT2LMHeadModel"), (dict(n_embd=8), 'n_embd=8: a BERT'), (dict(hidden_sise=8), "did you mean 'hidden_size'")])
def test_a_scratch_checkpoint_is_a_bert(config, said, tmp_path):
    with pytest.raises(ValueError, match=said): scratch_checkpoint(TEXTS, tmp_path/'new', **config)
    assert not (tmp_path/'new').exists()

@pytest.mark.parametrize('texts,said', [('a film','list of texts is expected, not str: pass .text.'), (b'a film','not bytes'), (dict(text=['a film']),'not dict'), (pd.DataFrame(dict(text=['a film'])),'not DataFrame'),
    ([None,'a film'],'holds NoneType'), ([['a','film']],r"holds list: \['a', 'film'\]")], ids=str)
def test_what_is_no_list_of_texts_makes_no_checkpoint(texts, said, tmp_path):
    with pytest.raises(TypeError, match=said): scratch_checkpoint(texts, tmp_path/'new')
    assert not (tmp_path/'new').exists()

def test_letters_are_kept_beyond_the_size_of_a_vocabulary(tmp_path):
    tok = load_tokenizer(scratch_checkpoint(['The quick brown fox jumps'], tmp_path, vocab_size=10))
    letters = set('thequickbrownfoxjumps')
    assert {t for t in tok.get_vocab() if len(t)==1}==letters and {t[2:] for t in tok.get_vocab() if t.startswith('##')}==set('heuickrownoxumps')

def test_every_character_can_follow_another(tmp_path):
    "pieces of one character are in the vocab, however rare, so that no word made of them is unknown"
    tok = load_tokenizer(scratch_checkpoint(TEXTS+['Zürich naïve'], tmp_path, vocab_size=100))
    vocab = tok.get_vocab()
    assert {'##z','##u','##n','z','n'} <= set(vocab) # accents are stripped before
    assert tok.unk_token_id not in tok('zurich nazu qqzzx').input_ids

@pytest.mark.parametrize('task', ['single','tags'])
def test_outputs_are_named_by_their_numbers_however_a_file_lists_them(task, bert, in_tmp):
    "a config that was saved again may list 10 before 2: labels must not change places with it"
    rows = pd.DataFrame(dict(text=SHORT[:24], label=[f'l{i%12}' for i in range(24)], tokens=[t.split()[:9] for t in SHORT[:24]]))
    rows['tags'] = [[f'l{(i+k)%12}' for k in range(len(t))] for i,t in enumerate(rows.tokens)]
    make = dict(single=sequence_classification_learner, tags=token_classification_learner)[task]
    vocab = [f'l{i}' for i in range(12)]
    first = make(rows, bert, vocab=vocab, seed=1)
    first.save_pretrained('first')
    config = json.loads(Path('first/config.json').read_text())
    config['id2label'] = dict(sorted(config['id2label'].items())) # 0, 1, 10, 11, 2, ...
    Path('first/config.json').write_text(json.dumps(config))
    again = make(rows, 'first', seed=1)
    assert list(again.names)==vocab
    assert all(t.equal(again.model.state_dict()[n]) for n,t in first.model.state_dict().items())
    assert load_transformer('first', first.task.auto_model, first.dls.tokenizer, label_maps(vocab)).config.id2label==dict(enumerate(vocab))

def quietly(learn, *args):
    with learn.no_bar(), learn.no_logging(): learn.fit(*args)

@with_answers
@pytest.mark.filterwarnings('ignore:a learner before this one has the same model')
def test_another_learner_of_a_trained_model_leaves_its_weights(kind, checkpoint):
    learn = learner(kind, checkpoint)
    quietly(learn, 1, 1e-2)
    before = weights(learn.model)
    again = learner(kind, learn.model, FRAMES[kind].iloc[::-1].reset_index(drop=True)) # other rows train
    assert again.model is learn.model and not changed(learn.model, before)

@pytest.mark.parametrize('make', [token_classification_learner, masked_lm_learner])
def test_another_tagger_or_masked_model_does_so_too(make, bert, capsys):
    rows = WORDS[:24] if make is token_classification_learner else FRAMES['single'][['text']]
    learn = make(rows, bert, bs=5)
    quietly(learn, 1, 1e-2)
    before = weights(learn.model)
    capsys.readouterr()
    make(rows[:20], learn.model, tokenizer=learn.dls.tokenizer, bs=5)
    assert not changed(learn.model, before) and 'starts anew' not in capsys.readouterr().out
