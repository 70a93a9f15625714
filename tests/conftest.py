"Tiny models, tokenizers and data that the tests share; everything is made on the spot."
import random
from pathlib import Path

import pandas as pd
import pytest
import torch
import transformers
from fastai.torch_core import set_seed
from tokenizers import ByteLevelBPETokenizer

from small import bert, checkpoints, in_tmp, seeded # noqa: F401 (fixtures)

from blurlike.all import scratch_checkpoint, sequence_classification_learner

torch.set_num_threads(1) # the models are tiny: threads would only wait for each other

SHARED = Path(__file__).parents[2]/'shared'
TINY = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=37)
CUES = dict(sea=['waves','beach','sail'], hills=['summit','glacier','ridge'], town=['tram','market','museum'])
FILLER = 'we went there last year with my brother and it was cold but we stayed for some days because of the food'.split()
KINDS = ('single','pair','multi','regression')

def sentence(rng, *kinds):
    words = rng.choices(FILLER, k=rng.randint(2, 30))
    for k in kinds: words.insert(rng.randrange(len(words)), rng.choice(CUES[k]))
    return ' '.join(words)

def table(kind, n=48):
    "A learnable table of `n` rows, and the arguments with which a learner reads it."
    rng = random.Random(0)
    names = [rng.choice(list(CUES)) for _ in range(n)]
    if kind=='single': return pd.DataFrame(dict(text=[sentence(rng, k) for k in names], label=names)), {}
    if kind=='pair':
        other = [rng.choice(list(CUES)) for _ in range(n)]
        return pd.DataFrame(dict(a=[sentence(rng, k) for k in names], b=[sentence(rng, k) for k in other], same=[x==y for x,y in zip(names, other)])), dict(text=['a','b'], label='same')
    if kind=='multi':
        sets = [rng.sample(list(CUES), rng.randint(0, 3)) for _ in range(n)]
        return pd.DataFrame(dict(text=[sentence(rng, *s) for s in sets], labels=sets)), dict(label='labels')
    return pd.DataFrame(dict(text=[sentence(rng, k) for k in names], score=[len(k)/3+rng.random() for k in names])), dict(label='score')

@pytest.fixture(scope='session')
def texts(): return [t for k in ('single','multi') for t in table(k)[0].text]

@pytest.fixture(scope='session')
def checkpoint(texts, tmp_path_factory):
    "A small BERT without a head, without dropout."
    set_seed(0)
    return scratch_checkpoint(texts, tmp_path_factory.mktemp('bert'), hidden_dropout_prob=0., attention_probs_dropout_prob=0.)

@pytest.fixture(scope='session')
def bpe(texts, tmp_path_factory):
    "A byte-level BPE tokenizer without special tokens of its own."
    raw = ByteLevelBPETokenizer()
    raw.train_from_iterator(texts, vocab_size=400, min_frequency=1, show_progress=False, special_tokens=['<s>','<pad>','</s>','<unk>','<mask>'])
    return raw

def _gpt2(vocab): return transformers.GPT2Config(vocab_size=vocab, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=2)
ARCHITECTURES = dict(
    distilbert=lambda v: transformers.DistilBertConfig(vocab_size=v, dim=32, n_layers=2, n_heads=2, hidden_dim=37, max_position_embeddings=64),
    deberta=lambda v: transformers.DebertaV2Config(vocab_size=v, max_position_embeddings=64, relative_attention=True, pos_att_type=['p2c','c2p'], **TINY),
    roberta=lambda v: transformers.RobertaConfig(vocab_size=v, max_position_embeddings=66, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2, **TINY),
    gpt2=_gpt2,
    bart=lambda v: transformers.BartConfig(vocab_size=v, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=37, decoder_ffn_dim=37,
        max_position_embeddings=64, pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None),
    modernbert=lambda v: transformers.ModernBertConfig(vocab_size=v, max_position_embeddings=64, pad_token_id=0, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3, **TINY))

@pytest.fixture(scope='session', params=['bert', *ARCHITECTURES])
def architecture(request, checkpoint, bpe, tmp_path_factory):
    "Name and folder of a checkpoint: an encoder or decoder without a classification head, and its tokenizer."
    name = request.param
    if name=='bert': return name,checkpoint
    folder = tmp_path_factory.mktemp(name)
    if name in ('roberta','bart'): tok = _byte_tokenizer(bpe, pad=True)
    elif name=='gpt2': tok = _byte_tokenizer(bpe, pad=False)
    else: tok = transformers.AutoTokenizer.from_pretrained(checkpoint)
    tok.save_pretrained(folder)
    torch.manual_seed(0)
    transformers.AutoModel.from_config(ARCHITECTURES[name](len(tok))).save_pretrained(folder)
    return name,folder

def _byte_tokenizer(bpe, pad):
    from tokenizers import Tokenizer, processors
    raw = Tokenizer.from_str(bpe._tokenizer.to_str())
    if not pad: return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token='</s>', bos_token='<s>', unk_token='<unk>', model_max_length=64, model_input_names=['input_ids','attention_mask'])
    raw.post_processor = processors.RobertaProcessing(('</s>', 2), ('<s>', 0))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token='</s>', bos_token='<s>', cls_token='<s>', sep_token='</s>', unk_token='<unk>', pad_token='<pad>', mask_token='<mask>', model_input_names=['input_ids','attention_mask'])

@pytest.fixture
def make(checkpoint):
    "`make(kind, **kwargs)`: an untrained learner on the table of that kind."
    def _make(kind='single', n=48, **kwargs):
        df,reads = table(kind, n)
        return sequence_classification_learner(df, kwargs.pop('checkpoint', checkpoint), **dict(bs=8) | reads | kwargs)
    return _make

@pytest.fixture(params=KINDS)
def kind(request): return request.param

@pytest.fixture(scope='session')
def trained(checkpoint):
    "`trained(kind)`: a learner of that kind after six epochs, made once; do not change it."
    cache = {}
    def _trained(kind):
        if kind not in cache:
            df,reads = table(kind)
            cache[kind] = sequence_classification_learner(df, checkpoint, bs=8, **reads)
            with cache[kind].no_bar(), cache[kind].no_logging(): cache[kind].fit_one_cycle(6, 5e-3)
            cache[kind].epoch_table = list(cache[kind].recorder.values) # `validate` empties the recorder
        return cache[kind]
    return _trained
