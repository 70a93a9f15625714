"Texts that go on from others, for tokenizers that put a space before every text and those that do not."
import numpy as np
import pytest
import transformers as tf
from blurlike.all import TokenizeNext, causal_lm_learner, special_tokens
from blurlike.inspect.token_view import reading_of
from blurlike.tasks.causal_lm.joints import Joints, Part, joined_parts
from small import TEXTS
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing

CHATML = "{% for m in messages %}{{ '<|'+m.role+'|>\n'+m.content+eos_token+'\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
INST = "{{ bos_token }}{% for m in messages %}{% if m.role=='user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
CHAT = [dict(role='user', content='the film ?'), dict(role='assistant', content='it was good'), dict(role='user', content='walk on ?'), dict(role='assistant', content='no')]
PHI = """{% for m in messages %}{{ '<|'+m.role+'|>\n'+m.content+'<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"""
MARKERS = [AddedToken(t, rstrip=True) for t in ('<|user|>','<|assistant|>','<|system|>','<|end|>')]
SPECIAL = ['<unk>','<s>','</s>']

def llama(scheme): # `Prepend` is how older conversions of Llama 2 have it
    raw = Tokenizer(models.BPE(unk_token='<unk>', fuse_unk=True, byte_fallback=True))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme='first' if scheme=='first' else 'always')
    raw.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=500, special_tokens=SPECIAL+[f'<0x{i:02X}>' for i in range(256)], show_progress=False))
    if scheme=='prepend':
        raw.normalizer = normalizers.Sequence([normalizers.Prepend('▁'), normalizers.Replace(' ', '▁')])
        raw.pre_tokenizer = None
    raw.decoder = decoders.Sequence([decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(' ', 1, 0)])
    return raw

def bytes_with_space():
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer,raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=True),decoders.ByteLevel()
    raw.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=500, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return raw

def pieces_of_t5(): # line breaks become spaces, several spaces one
    raw = Tokenizer(models.Unigram())
    raw.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(' '*2, ' ')])
    raw.pre_tokenizer,raw.decoder = pre_tokenizers.Metaspace(),decoders.Metaspace()
    raw.train_from_iterator([*TEXTS, ': . ? ing'], trainers.UnigramTrainer(vocab_size=200, special_tokens=SPECIAL, unk_token='<unk>', show_progress=False))
    return raw

SPACED = dict(prepend=lambda: llama('prepend'), always=lambda: llama('always'), first=lambda: llama('first'), bytes=bytes_with_space, unigram=pieces_of_t5)

def tokenizer(kind, template=CHATML):
    raw = SPACED[kind]()
    raw.post_processor = TemplateProcessing(single='<s> $A', special_tokens=[('<s>', 1)])
    tok = tf.PreTrainedTokenizerFast(tokenizer_object=raw, bos_token='<s>', eos_token='</s>', unk_token='<unk>', pad_token='</s>', model_max_length=128,
        model_input_names=['input_ids','attention_mask'])
    tok.chat_template = template
    return tok

def small_model(tok):
    return tf.LlamaForCausalLM(tf.LlamaConfig(vocab_size=len(tok), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, bos_token_id=1, eos_token_id=2))

def ids_of(tfm, item, **kwargs): return [i for part,_ in tfm.segments([item], **kwargs)[0] for i in part]
def told(tok, ids): return tok.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

@pytest.mark.parametrize('kind', list(SPACED))
@pytest.mark.parametrize('pair', [('the film wa','s good'), ('the film was',' good'), ('is it so:',' it was good'), ('small tow','n'), ('the film','?'), ('see it:',' a film .')])
def test_no_space_is_put_between_prompt_and_completion(kind, pair):
    tok = tokenizer(kind)
    tfm = TokenizeNext(tok, form='completion')
    ids = ids_of(tfm, pair)
    assert told(tok, ids).strip()==told(tok, tok(''.join(pair))['input_ids']).strip()
    asked = ids_of(tfm, pair[0], prompt=True)
    assert ids[:len(asked)]==asked==tok(pair[0])['input_ids']

@pytest.mark.parametrize('kind', ['prepend','always','first','bytes'])
@pytest.mark.parametrize('template', [CHATML, INST])
def test_a_chat_is_the_tokens_that_transformers_gives(kind, template):
    tok = tokenizer(kind, template)
    tfm = TokenizeNext(tok, form='chat')
    whole = tok.apply_chat_template(CHAT, tokenize=True)['input_ids']
    assert ids_of(tfm, CHAT)==whole
    asked = ids_of(tfm, CHAT[:3], prompt=True)
    assert whole[:len(asked)]==asked==tok.apply_chat_template(CHAT[:3], tokenize=True, add_generation_prompt=True)['input_ids']

def plain_bytes():
    raw = bytes_with_space()
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return raw

@pytest.mark.parametrize('kind', ['prepend','always','first','bytes','plain'])
@pytest.mark.parametrize('answer', ['it was good',' it was good','\nit was good'])
@pytest.mark.parametrize('template', [PHI, CHATML])
def test_markers_that_take_the_white_space_behind_them(kind, answer, template, monkeypatch):
    monkeypatch.setitem(SPACED, 'plain', plain_bytes)
    tok = tokenizer(kind, template)
    tok.add_special_tokens(dict(additional_special_tokens=MARKERS))
    tfm = TokenizeNext(tok, form='chat')
    chat = [CHAT[0], dict(role='assistant', content=answer), *CHAT[2:]]
    for n in (2, 4): # of several turns as of one, though the end of the text stands behind the last alone
        whole = tok.apply_chat_template(chat[:n], tokenize=True)['input_ids']
        assert ids_of(tfm, chat[:n])==whole
    asked = ids_of(tfm, chat[:3], prompt=True)
    assert whole[:len(asked)]==asked==tok.apply_chat_template(chat[:3], tokenize=True, add_generation_prompt=True)['input_ids']

def test_answers_before_the_end_of_a_text_count():
    tok = tokenizer('first', PHI)
    tok.add_special_tokens(dict(additional_special_tokens=MARKERS))
    counted = [told_all for told_all in (tok.decode(part) for part,counts in TokenizeNext(tok, form='chat').segments([CHAT])[0] if counts)]
    assert counted==['it was good<|end|>','no<|end|></s>']

def test_a_prompt_whose_answers_cannot_be_told_apart_is_read_whole():
    tok = tokenizer('first', "{% for m in messages %}[{{ m.role if loop.last else 'earlier' }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}")
    tfm = TokenizeNext(tok, form='chat')
    with pytest.raises(ValueError, match='writes message 1 otherwise'): tfm.segments([CHAT])
    assert ids_of(tfm, CHAT[:3], prompt=True)==tok.apply_chat_template(CHAT[:3], tokenize=True, add_generation_prompt=True)['input_ids']

@pytest.mark.parametrize('kind', list(SPACED))
def test_random_texts_have_no_space_of_their_own(kind):
    tok = tokenizer(kind)
    tfm = TokenizeNext(tok, form='completion')
    for i,text in enumerate(TEXTS[:60]):
        k = len(text)*(i%7+1)//9
        pair = text[:k] or 'the',text[k:] or ' end'
        assert told(tok, ids_of(tfm, pair)).strip()==told(tok, tok(''.join(pair))['input_ids']).strip(), pair

@pytest.mark.parametrize('kind', list(SPACED))
def test_parts_are_read_in_one_batch_as_one_by_one(kind):
    tok = tokenizer(kind)
    tfm = TokenizeNext(tok, form='completion')
    pairs = [(t[:9] or 'a', t[9:] or 'b') for t in TEXTS[:20]]
    assert tfm.segments(pairs)==[tfm.segments([p])[0] for p in pairs]

def of_merges(*merges): # a text is one word, for which these are all there is to join
    chars = ['▁',*'abthe1:.\n']
    vocab = {t:i for i,t in enumerate([*chars, *(a+b for a,b in merges)])}
    raw = Tokenizer(models.BPE(vocab=vocab, merges=[*merges]))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    return TokenizeNext(tf.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token='.'), form='completion'),vocab

def test_a_token_across_a_joint_is_passed_by_with_another():
    tfm,vocab = of_merges(('\n','b'), ('▁','b'))
    assert Joints(tfm).characters==['\n',':']
    assert [p.ids for p in joined_parts(tfm, [['a','a'], ['a','b']])]==[[vocab['▁'], vocab['a']], [vocab['a']], [vocab['▁'], vocab['a']], [vocab['b']]]

def test_a_text_that_no_joint_suits_is_read_as_it_is_alone():
    tfm,vocab = of_merges(('\n','b'), (':','b'), ('.','b'), ('▁','b'))
    assert [p.ids for p in joined_parts(tfm, [['a','b']])]==[[vocab['▁'], vocab['a']], [vocab['▁b']]]

@pytest.mark.parametrize('kind', list(SPACED))
def test_a_joint_that_is_a_token_itself_is_none(kind): # SentencePiece's tokenizers are often given one for line ends
    tok = tokenizer(kind)
    tok.add_tokens(['\n'])
    pair = 'the film wa','s good'
    assert told(tok, ids_of(TokenizeNext(tok, form='completion'), pair)).strip()==told(tok, tok(''.join(pair))['input_ids']).strip()

def test_words_that_are_divided_before_they_get_a_space(): # as XLM-R, XLNet and T5 have it
    raw = llama('always')
    raw.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tok = tf.PreTrainedTokenizerFast(tokenizer_object=raw, bos_token='<s>', eos_token='</s>', unk_token='<unk>')
    for pair in (('the film wa','s good'), ('the film',' was good'), ('the film\n','good'), ('the film ','good')):
        assert told(tok, ids_of(TokenizeNext(tok, form='completion'), pair)).strip()==told(tok, tok(''.join(pair))['input_ids']).strip(), pair

@pytest.mark.parametrize('added,pair', [(['\n','\n\n'], ('the film\n','\ngood')), (['  ','    '], ('the film:\n  ','  good')), (['film','films'], ('the film','s good'))])
@pytest.mark.parametrize('kind', ['prepend','always','first','bytes'])
def test_no_character_is_lost_where_tokens_could_be_joined(kind, added, pair):
    tok = tokenizer(kind)
    tok.add_tokens(added)
    ids = ids_of(TokenizeNext(tok, form='completion'), pair)
    assert told(tok, ids).strip()==told(tok, tok(''.join(pair))['input_ids']).strip()

@pytest.mark.parametrize('pair', [('the film:','\n\ngood'), ('the film','\ngood'), ('the film\n','\ngood')])
def test_line_ends_that_are_one_token(pair):
    raw = Tokenizer(models.BPE(unk_token='<unk>'))
    raw.pre_tokenizer,raw.decoder = pre_tokenizers.Metaspace(split=False),decoders.Metaspace()
    raw.train_from_iterator(['\n\n \n\n a:\n\nb']*9+TEXTS, trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False))
    tok = tf.PreTrainedTokenizerFast(tokenizer_object=raw, bos_token='<s>', eos_token='</s>', unk_token='<unk>')
    assert told(tok, ids_of(TokenizeNext(tok, form='completion'), pair)).strip()==told(tok, tok(''.join(pair))['input_ids']).strip()

def test_after_a_token_that_takes_spaces_with_it():
    tok = tokenizer('always')
    tok.add_special_tokens(dict(additional_special_tokens=[AddedToken('<|end|>', rstrip=True)]))
    tfm = TokenizeNext(tok, form='completion')
    a,b = joined_parts(tfm, [['the film<|end|>','\nwas good']])
    assert a.ids+b.ids==tok('the film<|end|>\nwas good', add_special_tokens=False)['input_ids']

def test_texts_without_such_a_space_are_read_as_they_are():
    from test_causal_lm import tokenizer_of
    tfm = TokenizeNext(tokenizer_of(), form='completion')
    assert Joints(tfm).characters==[]
    assert [p.ids for p in joined_parts(tfm, [['film','\nwas']])]==[tfm.tokenizer(t)['input_ids'] for t in ('film','\nwas')]

def test_with_arguments_of_the_tokenizers_own():
    tok = tokenizer('first')
    tfm = TokenizeNext(tok, form='completion', split_special_tokens=True)
    assert not tfm._plain and told(tok, ids_of(tfm, ('the film wa','s good')))=='the film was good'

def test_lone_surrogates():
    tok = tokenizer('always')
    ids = ids_of(TokenizeNext(tok, form='completion'), ('the film wa','s \ud800 good'))
    assert told(tok, ids).startswith('the film was ')

@pytest.mark.parametrize('kind', list(SPACED))
def test_places_are_those_of_the_tokens(kind):
    tok = tokenizer(kind)
    pair = 'the film wa','s good'
    reading = reading_of(TokenizeNext(tok, form='completion'), pair)
    shown = ''.join(pair[p[0]][p[1]:p[2]] for p in reading.full_places if p)
    assert shown.replace(' ', '')==''.join(pair).replace(' ', '')
    assert reading.full_ids==ids_of(TokenizeNext(tok, form='completion'), pair)

def test_a_row_is_shown_with_its_spaces():
    tok = tokenizer('always')
    learn = causal_lm_learner([dict(prompt='the film', completion=' was good')]*6, small_model(tok), tokenizer=tok, text=['prompt','completion'], valid=None, bs=2)
    x,_ = learn.dls.one_batch()
    row = learn.dls.text_tfm.decode(x[0])
    assert [t for t,_ in row.pieces][1]==' was good</s>' and '</s>' in row
    assert special_tokens(tok)[0]==[1]

def test_a_part_is_what_is_left():
    tok = tokenizer('always')
    e, = TokenizeNext(tok, form='completion').encodings(['the film'])
    assert Part(e).ids==e.ids and Part(e).places==e.offsets and Part(e).is_whole
    assert not Part(e, 1).is_whole

def test_completions_that_run_on_are_told():
    tok = tokenizer('always')
    rows = [dict(prompt=f'the film {i} was', completion='good' if i in (2, 5) else ' good') for i in range(8)]
    rows += [dict(prompt='the film:\n', completion='good'), dict(prompt='映画は', completion='良い'), dict(prompt='the film', completion='.')]
    learn = causal_lm_learner(rows, small_model(tok), tokenizer=tok, text=['prompt','completion'], valid=None, bs=2)
    found = next(f for f in learn.check() if f.what=='spaces')
    assert list(found.rows)==[2, 5] and found.message.startswith('2 rows (18.2%) whose completion joins')

@pytest.mark.parametrize('kind', ['prepend','always','first','bytes'])
@pytest.mark.parametrize('more', [[], ['## the film','a ## b']*20])
@pytest.mark.parametrize('form', ['text','completion'])
def test_bits_are_those_of_the_texts_bytes(kind, more, form, monkeypatch):
    if more: monkeypatch.setattr('test_joints.TEXTS', TEXTS+more) # a vocabulary with `##`, as Llama's, is none of WordPiece
    tok = tokenizer(kind)
    assert ('##' in tok.get_vocab())==(bool(more) and kind!='bytes') or kind=='bytes'
    rows = [dict(text=t) if form=='text' else dict(prompt=t, completion=' was good and fair') for t in TEXTS[:20] if t]
    columns = dict(block_size=0) if form=='text' else dict(text=['prompt','completion'])
    learn = causal_lm_learner(rows, small_model(tok), tokenizer=tok, valid=list(range(5)), bs=4, **columns)
    with learn.no_bar(): loss,_,_,bits = learn.validate()
    counted = [sum(len(part) for part,c in learn.dls.text_tfm.segments([o['text'] if form=='text' else tuple(o.values())])[0] if c) for o in rows[:5]]
    n_bytes = sum(len((o['text'] if form=='text' else o['completion']).encode()) for o in rows[:5])
    assert bits==pytest.approx(loss*sum(counted)/np.log(2)/n_bytes, rel=1e-4)
