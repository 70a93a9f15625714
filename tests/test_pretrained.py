"Checkpoints made on the spot."
import argparse
import inspect

from blurlike.all import load_tokenizer, scratch_checkpoint, set_seed
from safetensors.torch import load_file

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

def test_every_character_can_follow_another(tmp_path):
    "pieces of one character are in the vocab, however rare, so that no word made of them is unknown"
    tok = load_tokenizer(scratch_checkpoint(TEXTS+['Zürich naïve'], tmp_path, vocab_size=100))
    vocab = tok.get_vocab()
    assert {'##z','##u','##n','z','n'} <= set(vocab) # accents are stripped before
    assert tok.unk_token_id not in tok('zurich nazu qqzzx').input_ids
