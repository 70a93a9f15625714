"What is shown of tokens, lengths, attention and of what words contribute: against the tokenizer, the plain model, and sums that must hold."
import html,importlib.util,random,re,shutil,time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import transformers as tf
from datasets import Dataset
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import TemplateProcessing

import blurlike.inspect.explain as explain
import blurlike.inspect.attention as attention
from blurlike.all import (CategoryBlock, ColReader, DataBlock, RandomSplitter, ShownTokens, TransformersLearner, TransformersTextBlock, masked_lm_learner, read_text, scratch_checkpoint, sequence_classification_learner, set_seed,
    token_classification_learner)
from blurlike.show.table import Table
from blurlike.tasks.token_classification.tagged_tables import TaggedWords
from small import ARCHS, BS, FRAMES, KINDS, TEXTS, byte_tokenizer, close, learner, small_gpt2, texts_of, weights

LONG = ' '.join(TEXTS[:6])

@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close('all')

def tagger(checkpoint, **kwargs):
    rows = [dict(tokens=t.split(), tags=['B-X' if w in ('great','awful') else 'O' for w in t.split()]) for t in TEXTS]
    return token_classification_learner(rows, checkpoint, **dict(bs=BS, valid=.25) | kwargs)

def kinds_of(line, kind): return [t for t,_,k in line if k==kind]

# tokens

def test_a_column_of_nothing_is_printed():
    "As of a report whose slice is an empty text"
    assert str(Table(['', 'n'], [['', '3']])).split()==['n', '3']

@pytest.mark.parametrize('arch', ARCHS)
def test_tokens_are_the_tokenizers(arch, checkpoints):
    learn = learner('single', checkpoints(arch), max_length=12)
    tok,shown = learn.dls.tokenizer,ShownTokens(read_text(learn, LONG))
    kept,full = tok(LONG, truncation=True, max_length=12)['input_ids'],tok(LONG)['input_ids']
    line, = shown.lines
    assert len(line)==len(full) and len(kinds_of(line, 'cut'))==len(full)-len(kept)
    assert f'{len(full)-len(kept):,} tokens' in shown.told and 'max_length=12' in shown.told
    words = [w for _,w,_ in line if w>=0]
    assert words==sorted(words) and len(shown.reading.words)==len(LONG.split())
    learn.show_tokens(LONG)

@pytest.mark.parametrize('side', ['left','right'])
def test_what_is_cut(side, bert, capsys):
    learn = learner('single', bert, max_length=8)
    learn.dls.tokenizer.truncation_side = side
    text = ' '.join(TEXTS[1].split()[:2]+LONG.split())
    line, = ShownTokens(read_text(learn, text)).lines
    real = [(t,k) for t,_,k in line if k!='special']
    kept = [k=='' for _,k in real]
    assert sum(kept)==6 and kept==sorted(kept, reverse=side=='right')
    learn.show_tokens(text)
    assert capsys.readouterr().out.count('~~')==2*min(30, kept.count(False))

@pytest.mark.parametrize('side', ['left','right'])
def test_of_very_many_cut_tokens_the_first_are_drawn(side, bert, capsys):
    learn = learner('single', bert, max_length=8)
    learn.dls.tokenizer.truncation_side = side
    def told(n):
        shown = ShownTokens(read_text(learn, 'film '*n))
        assert len(kinds_of(shown.lines[0], 'cut'))==n-6 and f'{n-6:,} tokens' in shown.told
        learn.show_tokens('film '*n)
        text,page = capsys.readouterr().out,shown._repr_html_()
        assert text.count('~~')==2*page.count('title="cut"')==2*min(30, n-6)
        assert text.split('~~')[0].count('film')+text.split('~~')[-1].count('film')==6
        return re.findall(r'\(… ([0-9,]+) more\)', text),re.findall(r'>\(… ([0-9,]+) more\)<', page)
    assert told(36)==([],[]) and told(37)==(['1'],['1']) and told(5006)==(['4,970'],['4,970'])

@pytest.mark.slow
def test_very_long_texts_take_time_by_their_length(bert):
    "100,000 characters take a second; by the square of their number they took more than a minute."
    learn,windows,text = learner('single', bert, max_length=32),learner('single', bert, max_length=32, overlap=4),('in the old film '*6250)[:100_000]
    start = time.process_time()
    told = learn.explain(text, method='occlusion')
    told._repr_html_(), ShownTokens(read_text(learn, text))._repr_html_(), ShownTokens(read_text(windows, text)).lines
    assert time.process_time()-start<15

@pytest.mark.parametrize('side', ['left','right'])
def test_of_very_many_cut_words_the_first_are_drawn_in_an_explanation(side, bert):
    def plain(page): return html.unescape(re.sub('<[^>]*>', '', page.split('line-height:1.9">')[1].split('</td>')[0]))
    for learn,item in ((learner('single', bert, max_length=8), 'film, '*100), (tagger(bert, max_length=8), ['film',',']*100), (learner('pair', bert, max_length=8), ('film, '*100, 'film '))):
        learn.dls.tokenizer.truncation_side = side
        told = learn.explain(item, method='occlusion')
        n,page = int(np.isnan(told.rows[0]['words']).sum()),told._repr_html_()
        assert n>180 and page.count('"cut off"')==30 and f'(… {n-30:,} more)' in page and str(told)
        assert len(plain(page))<300 and plain(page).count('film')==len([w for w in told.words if w=='film'])-(n-30)//2
    short = learner('single', bert, max_length=8)
    short.dls.tokenizer.truncation_side = side
    text = 'a film,  by "the" river &c, '+'film '*20
    assert plain(short.explain(text, method='occlusion')._repr_html_())==text

def test_each_text_of_a_pair_is_cut_for_itself(bert):
    shown = ShownTokens(read_text(learner('pair', bert, max_length=16), ('film '*100, 'film '*60)))
    assert [t for t,_,k in shown.drawn[0] if k=='more']==['(… 63 more)', '(… 24 more)'] and len(shown.lines[0])==163

def test_a_pair(bert):
    learn = learner('pair', bert, max_length=16)
    reading = read_text(learn, (TEXTS[0]+' '+TEXTS[1], LONG))
    assert len(reading.ids[0])==16 and {w[0] for w in reading.words}=={0,1}
    assert [reading.word_text(w) for w in reading.words if w[0]==1]==LONG.split()
    line, = ShownTokens(reading).lines
    cut = [w for t,w,k in line if k=='cut']
    assert cut and len(line)-len(cut)==16

def test_a_pair_may_be_a_list(bert):
    "As for `predict`: only a learner of words reads a list as words."
    learn = learner('pair', bert)
    a,b = TEXTS[0]+' '+TEXTS[1],LONG.rpartition(' ')[0][:40]
    one,other = read_text(learn, [a, b]),read_text(learn, (a, b))
    assert one.ids==other.ids and torch.equal(one.inputs(0), other.inputs(0))
    assert [one.word_text(w) for w in one.words]==f'{a} {b}'.split()
    told = learn.explain([a, b], method='occlusion')
    assert told.words==f'{a} {b}'.split()
    assert told.rows[0]['score']==pytest.approx(learn.predict([a, b])[2].max().item(), abs=1e-5)
    assert '|' in told._repr_html_() and learn.attention([a, b])[0]==learn.attention((a, b))[0]
    for o in ([a], [a, b, a]):
        with pytest.raises(TypeError, match='a pair of texts'): learn.explain(o)
    words = tagger(bert)
    assert read_text(words, ('great','film')).words==read_text(words, ['great','film']).words==[0,1]

def test_windows_share_their_overlap(bert):
    learn = learner('single', bert, max_length=10, overlap=3)
    shown = ShownTokens(read_text(learn, LONG))
    assert len(shown.lines)==len(shown.reading.ids)>3 and not any(shown.reading.cut)
    assert all(len(kinds_of(line, 'seen'))==3 for line in shown.lines[1:])
    assert f'{len(shown.lines)} windows' in shown.told

def test_words_stay_as_given(bert):
    learn = tagger(bert, max_length=12)
    words = ['great-ish','', 'awful', *LONG.split()]
    reading = read_text(learn, words)
    assert reading.words==list(range(len(words)))
    first = dict(zip(reading.words_of(reading.full_places), reading.full_ids))
    assert 1 not in first and learn.dls.tokenizer.convert_ids_to_tokens(first[2])=='awful'
    as_text = read_text(learn, 'great, awful!')
    assert [as_text.word_text(w) for w in as_text.words]==['great',',','awful','!']

def test_html_is_safe(bert):
    learn = learner('single', bert)
    text = '<script>alert(1)</script> מזג אוויר & "x"'
    for drawn in (ShownTokens(read_text(learn, text))._repr_html_(), learn.explain(text, method='occlusion')._repr_html_()):
        assert '<script' not in drawn and 'dir="auto"' in drawn
        colors = re.findall(r'(?<!-)color:', drawn)
        assert not colors, 'a colour of the text would not fit both themes'
    assert '&lt;' in learn.explain(text, method='occlusion')._repr_html_()

def test_two_prices_are_no_formula(bert):
    "Notebooks set what stands between two dollar signs, unless a class around it says otherwise."
    text = 'the lamp costs $5 and the chair $10'
    learn = sequence_classification_learner(pd.DataFrame(dict(text=[text]*8, label=['a','b']*4)), bert, bs=4)
    for drawn in (Table(['text'], [[text]]), TaggedWords([(w, None) for w in text.split()]), learn.explain(text, method='occlusion'), learn.check(), learn.uncertain([text], n=1)):
        page = drawn._repr_html_()
        assert 'tex2jax_ignore mathjax_ignore' in page[:page.index('$')]

def test_tokens_run_as_their_text_does(bert):
    "The first strong letter tells the direction of a line: that of `[CLS]` must not be seen."
    page = ShownTokens(read_text(learner('single', bert), 'מזג אוויר'))._repr_html_()
    seen = re.sub(r'<span dir="ltr".*?</span>', '', page)
    assert '[CLS]' in page and '[CLS]' not in seen and '[SEP]' not in seen

def test_html_of_a_mask_token_is_safe(bert, tmp_path):
    shutil.copytree(bert, tmp_path/'evil')
    for p in (tmp_path/'evil').glob('tokenizer*.json'): p.write_text(p.read_text().replace('[MASK]', '<img src=x onerror=alert(1)>'))
    told = learner('single', tmp_path/'evil').explain('a film', method='occlusion')
    assert '<img' in told.method and '<img' not in told._repr_html_() and '&lt;img' in told._repr_html_()

def canine(folder):
    "A learner whose tokenizer reads characters, and is none of the fast ones."
    tok = tf.CanineTokenizer(model_max_length=24)
    tok.save_pretrained(folder)
    tf.CanineModel(tf.CanineConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=37, max_position_embeddings=64, num_hash_buckets=32, downsampling_rate=2, local_transformer_stride=8)).save_pretrained(folder)
    return sequence_classification_learner(FRAMES['single'], folder, bs=BS, max_length=24)

@pytest.mark.slow
def test_a_slow_tokenizer(tmp_path):
    learn = canine(tmp_path)
    shown = ShownTokens(read_text(learn, LONG))
    assert len(kinds_of(shown.lines[0], 'cut'))==len(LONG)-22 and 'cut off' in shown.told
    told = learn.explain('a lovely film')
    assert 'occlusion' in told.method and len(told.words)==len('a lovely film')
    assert np.isfinite(told.rows[0]['words']).all()

@pytest.mark.slow
def test_attention_of_shortened_texts_is_left_out(tmp_path):
    "CANINE's layers see pieces of the text, but for the last."
    learn = canine(tmp_path)
    tokens,weights = learn.attention('a lovely film')
    n = len('a lovely film')+2
    assert tokens==['[CLS]',*'a lovely film','[SEP]'] and weights.shape==(1, 2, n, n)
    close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    learn.show_attention('a lovely film')
    assert '[MASK]' in learn.explain('a film', method='occlusion').method
    assert str(ShownTokens(read_text(learn, 'a film'))).startswith('[CLS] a')

def test_text_without_spaces_is_told_by_tokens(checkpoints):
    text = '今天天气很好我们去'
    reading = read_text(learner('single', checkpoints('roberta')), text)
    assert [reading.word_text(w) for w in reading.words]==list(text)
    assert set(reading.words_of(reading.places[0]))=={-1, *range(len(text))}
    reading = read_text(learner('single', checkpoints('roberta')), 'विश्वविद्यालय') # a vowel sign belongs to its letter
    assert [reading.word_text(w) for w in reading.words]==['वि','श्','व','वि','द्','या','ल','य']

def test_lone_surrogates_are_read_as_predict_reads_them(bert):
    learn,text = learner('single', bert),'a \ud800 great film'
    with pytest.warns(UserWarning, match='lone surrogates'): score = learn.predict(text)[2].max().item()
    with pytest.warns(UserWarning, match='lone surrogates'): told = learn.explain(text, method='occlusion')
    assert told.words==['a','\ufffd','great','film'] and told.rows[0]['score']==pytest.approx(score, abs=1e-5)
    told._repr_html_().encode(), str(told).encode()
    with pytest.warns(UserWarning, match='lone surrogates'): learn.show_tokens(text)
    with pytest.warns(UserWarning, match='lone surrogates'): assert read_text(learner('pair', bert), ('film', text)).ids[0]
    with pytest.warns(UserWarning, match='lone surrogates'): assert read_text(tagger(bert), ['great','\udfff']).word_text(1)=='\ufffd'
    with pytest.warns(UserWarning, match='lone surrogates'): assert len(learn.attention(text)[0])==len(learn.attention('a great film')[0]) # BERT drops the replacement character

@pytest.mark.parametrize('item', ['', '   ', '?!'])
def test_texts_of_next_to_nothing(item, bert, recwarn):
    learn = learner('single', bert)
    learn.show_tokens(item)
    assert len(learn.explain(item).words)==len(item.strip())

# lengths

@pytest.mark.parametrize('kind', KINDS)
def test_lengths_are_the_tokenizers(kind, bert):
    learn = learner(kind, bert, max_length=8)
    tok,df = learn.dls.tokenizer,FRAMES[kind]
    texts = texts_of(kind, df.iloc[learn.dls.train_ds.items.idxs])
    def size(t): return max(len(tok(t[0], c)['input_ids']) for c in t[1]) if kind=='choice' else len(tok(*t)['input_ids'] if isinstance(t, tuple) else tok(t)['input_ids'])
    expected = list(map(size, texts))
    assert learn.dls.train.uncut_lengths().tolist()==expected
    assert learn.dls.train.uncut_lengths(rows=10).tolist()==[expected[i] for i in np.linspace(0, len(texts)-1, 10).astype(int)]

def test_what_the_plot_says(bert):
    learn = learner('single', bert, max_length=8)
    lens = learn.dls.train.uncut_lengths()
    learn.dls.plot_lengths()
    ax = plt.gca()
    assert f'{(lens>8).mean():.1%} of the texts, {np.maximum(lens-8, 0).sum()/lens.sum():.1%} of the tokens' in ax.get_title()
    assert sum(p.get_height() for p in ax.patches)==len(lens)
    red = [p for p in ax.patches if p.get_facecolor()[0]>.7]
    assert sum(p.get_height() for p in red)==(lens>8).sum() and min(p.get_x() for p in red if p.get_height())>7.4
    learn.dls.valid.plot_lengths(rows=5)
    assert plt.gca().get_title().startswith(f'5 of {len(learn.dls.valid_ds)} texts')

def test_lengths_of_other_sources(bert, in_tmp):
    (in_tmp/'corpus.txt').write_text('\n'.join(TEXTS))
    packed = masked_lm_learner(in_tmp/'corpus.txt', bert, block_size=16, bs=BS)
    assert set(packed.dls.train.uncut_lengths()[:-1])=={16}
    on_disk = learner('single', bert, data=Dataset.from_pandas(FRAMES['single']))
    block = DataBlock((TransformersTextBlock(bert), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'), splitter=RandomSplitter(.25, seed=1)).dataloaders(FRAMES['single'], bs=BS)
    for dl in (on_disk.dls.train, block.train, tagger(bert).dls.train):
        lens = dl.uncut_lengths()
        assert len(lens)==len(dl.dataset) and sorted(lens)==sorted(dl.lengths())
    with pytest.raises(ValueError, match='no rows'): learner('single', bert).dls.test_dl([]).plot_lengths()

# attention

@pytest.mark.parametrize('arch', ARCHS)
def test_attention_is_the_plain_models(arch, checkpoints, in_tmp):
    learn = learner('single', checkpoints(arch))
    was = learn.model.config._attn_implementation
    tokens,found = learn.attention(TEXTS[3])
    assert learn.model.config._attn_implementation==was
    folder = learn.save_pretrained('saved')
    plain = tf.AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation='eager').eval()
    enc = {k:v for k,v in learn.dls.tokenizer(TEXTS[3], return_tensors='pt').items() if k!='token_type_ids' or arch!='distilbert'}
    with torch.no_grad(): out = plain(**enc, output_attentions=True)
    expected = getattr(out, 'attentions', None) or out.encoder_attentions
    close(found, torch.stack([a[0] for a in expected]))
    assert len(tokens)==found.shape[-1]==len(enc['input_ids'][0])
    learn.show_attention(TEXTS[3])
    assert len([ax for ax in plt.gcf().axes if ax.images])==found.shape[0]*found.shape[1]
    before = learn.predict_batch(TEXTS[:3])
    learn.show_attention(TEXTS[3], layer=-1, head=0)
    assert [t.get_text() for t in plt.gca().get_xticklabels()]==tokens
    assert learn.predict_batch(TEXTS[:3])==before

def test_signs_of_mathematics_are_drawn_as_they_are(tmp_path, recwarn):
    raw = ByteLevelBPETokenizer(add_prefix_space=True)
    raw.train_from_iterator(['pay $$ now $x$ $$$ a_b^c']*50, vocab_size=300, min_frequency=1, show_progress=False, special_tokens=['<s>','<pad>','</s>','<unk>','<mask>'])
    tf.PreTrainedTokenizerFast(tokenizer_object=raw._tokenizer, model_max_length=32, pad_token='<pad>', unk_token='<unk>', mask_token='<mask>').save_pretrained(tmp_path)
    small_gpt2(300).save_pretrained(tmp_path)
    learn = learner('single', tmp_path)
    for where in (dict(layer=0, head=0), dict(head=1), dict(layer=1), {}):
        recwarn.clear()
        learn.show_attention('pay $$ now $x$', **where)
        plt.gcf().canvas.draw()
        assert any('$$' in t.get_text() for ax in plt.gcf().axes for t in ax.get_yticklabels())
        assert not [w for w in recwarn if '__array__' in str(w.message)]

@pytest.mark.parametrize('heads,n_tokens', [(2, 20), (4, 5), (12, 8)])
def test_titles_of_attention_keep_away_from_the_row_above(heads, n_tokens):
    n_layers = 1 if heads==12 else 2
    attention._draw_all(torch.rand(n_layers, heads, n_tokens, n_tokens), ['token']*n_tokens, lambda i,j: f'{i}.{j}', 'layer.head', '')
    plt.gcf().canvas.draw()
    drawn = [(ax.get_window_extent(), ax.title.get_window_extent()) for ax in plt.gcf().axes if ax.images]
    rows = sorted({round(box.y0) for box,_ in drawn})
    assert len(rows)==2
    below = max(title.y1 for box,title in drawn if round(box.y0)==rows[0])
    above = min(box.y0 for box,_ in drawn if round(box.y0)==rows[1])
    assert above-below>=4 # pixels

def test_attention_of_long_texts_and_wrong_numbers(bert):
    learn = learner('single', bert, max_length=10, overlap=2)
    assert learn.attention(LONG, window=1)[0][0]=='[CLS]'
    with pytest.raises(ValueError, match='window=99'): learn.attention(LONG, window=99)
    with pytest.raises(ValueError, match='head=2: this model has 2 heads'): learn.show_attention(TEXTS[0], head=2)
    learn.show_attention(TEXTS[0], head=1, max_tokens=4)
    assert 'the first 4 of' in plt.gca().get_title()

def test_a_model_without_attention(bert, tmp_path):
    tf.AutoTokenizer.from_pretrained(bert).save_pretrained(tmp_path)
    tf.FNetModel(tf.FNetConfig(vocab_size=500, hidden_size=32, num_hidden_layers=2, intermediate_size=37, max_position_embeddings=64)).save_pretrained(tmp_path)
    learn = sequence_classification_learner(FRAMES['single'], tmp_path, bs=BS)
    with pytest.raises(ValueError, match='attention'): learn.show_attention(TEXTS[0])

# explanation

CUES = dict(sea=['waves','beach','sail'], hills=['summit','glacier','ridge'], town=['tram','museum','market'])

@pytest.fixture(scope='module')
def knowing():
    "A classifier that has learnt which words matter."
    set_seed(2)
    rng = random.Random(0)
    def sentence(label):
        words = rng.choices('we went there in the morning with my brother and it was late again'.split(), k=8)
        words.insert(rng.randrange(9), rng.choice(CUES[label]))
        return ' '.join(words)
    df = pd.DataFrame(dict(label=rng.choices(list(CUES), k=300)))
    df['text'] = df.label.map(sentence)
    learn = sequence_classification_learner(df, scratch_checkpoint(df.text, initializer_range=.1, hidden_dropout_prob=0.), bs=8)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(12, 3e-3)
    assert learn.recorder.values[-1][2]>.9
    return learn

needs_captum = pytest.mark.skipif(importlib.util.find_spec('captum') is None, reason='captum is not installed')

@pytest.mark.parametrize('method', [pytest.param('integrated_gradients', marks=[needs_captum, pytest.mark.slow]), pytest.param('occlusion', marks=pytest.mark.slow)])
def test_the_word_that_decides(method, knowing):
    "Of nine texts most are decided by the cue in them; a model may also know a label by the absence of the others' cues."
    found = 0
    for label,cue in ((l, c) for l,cs in CUES.items() for c in cs):
        told = knowing.explain(f'we went in the morning with my {cue} and it was late', method=method)
        top = told.words[int(np.argmax(told.rows[0]['words']))]
        assert str(told).split(': ')[1].split()[0]==told.words[int(np.argmax(np.abs(told.rows[0]['words'])))]
        found += told.rows[0]['label']==label and top==cue
    assert found>=5, f'{found} of 9'

@needs_captum
@pytest.mark.parametrize('arch', [a for a in ARCHS if a!='bart'])
def test_gradients_sum_to_the_difference(arch, checkpoints):
    learn = learner('single', checkpoints(arch))
    text,tok = TEXTS[5],learn.dls.tokenizer
    reading = read_text(learn, text)
    x = reading.inputs(0)
    learn.model.eval()
    found = explain._gradients(learn, x, lambda logits: logits[:,1], 200, np.array([p is None for p in reading.places[0]]), explain.Progress(200, show=False))
    named = learn.model_inputs.door._named(x)
    ids,embed = named.pop('input_ids'),learn.model.get_input_embeddings()
    base = torch.where(torch.tensor([p is None for p in reading.places[0]]), ids, explain._hidden_id(tok))
    with torch.no_grad(): full,none = (learn.model(inputs_embeds=embed(o), **named).logits[0,1].item() for o in (ids, base))
    assert abs(found.sum()-(full-none))<max(2e-3, .02*abs(full-none)), (found.sum(), full-none)

def test_occlusion_by_hand(bert):
    learn = learner('single', bert)
    tok,text = learn.dls.tokenizer,'great film by the river'
    told = learn.explain(text, method='occlusion', labels='fine')
    words,at = text.split(),learn.names.index('fine')
    with torch.no_grad():
        def logit(text): return learn.model.eval()(**tok(text, return_tensors='pt')).logits[0,at].item()
        expected = [logit(text)-logit(' '.join([*words[:i],*['[MASK]']*len(tok(words[i], add_special_tokens=False)['input_ids']),*words[i+1:]])) for i in range(len(words))]
    np.testing.assert_allclose(told.rows[0]['words'], expected, atol=1e-5)
    assert told.rows[0]['logit']==pytest.approx(logit(text), abs=1e-5)

def decoder(name, folder):
    "A checkpoint of a decoder, whose classification head reads the last token that is no padding."
    tok,token = byte_tokenizer(False, 64),0
    if name=='gpt2_own_pad': tok.add_special_tokens(dict(pad_token='<pad>'))
    if name=='qwen2': model = tf.Qwen2Model(tf.Qwen2Config(vocab_size=len(tok), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64, bos_token_id=token, eos_token_id=token))
    else: model = small_gpt2(len(tok))
    tok.save_pretrained(folder), model.save_pretrained(folder)
    return folder

@pytest.mark.parametrize('side', ['right','left'])
@pytest.mark.parametrize('name', ['gpt2','gpt2_own_pad','qwen2'])
def test_a_hidden_word_does_not_move_the_place_that_is_read(name, side, tmp_path):
    "Where a decoder's head reads the last token, hiding it must change the token, not the place."
    learn = learner('single', decoder(name, tmp_path))
    tok,pad,at = learn.dls.tokenizer,learn.model.config.pad_token_id,learn.names.index('good')
    tok.padding_side = side
    with learn.no_bar(), learn.no_logging(): learn.fit(2, 3e-3)
    hidden = explain._hidden_id(tok)
    assert hidden not in (None, pad, tok.eos_token_id)
    for text in ('lovely', 'the film was lovely'):
        told = learn.explain(text, method='occlusion', labels='good').rows[0]['words']
        ids,last = tok(text, return_tensors='pt')['input_ids'],len(tok(text.rpartition(' ')[0])['input_ids'])
        hid = torch.cat([ids[:,:last], torch.full_like(ids[:,last:], hidden)], 1)
        with torch.no_grad(): full,rest = (learn.model.eval().score(learn.model.base_model(input_ids=o)[0][0,-1])[at].item() for o in (ids, hid)) # the last place, by hand
        assert told[-1]==pytest.approx(full-rest, abs=1e-5) and abs(full-rest)>1e-4, text

@needs_captum
def test_of_one_word_both_methods_say_the_same(checkpoints):
    learn = learner('single', checkpoints('gpt2'))
    with learn.no_bar(), learn.no_logging(): learn.fit(2, 3e-3)
    one,other = (learn.explain('lovely', method=m, labels='good', steps=200).rows[0]['words'][0] for m in ('integrated_gradients','occlusion'))
    assert one==pytest.approx(other, rel=.02) and abs(one)>1e-3

@pytest.mark.parametrize('method', [pytest.param('integrated_gradients', marks=needs_captum), 'occlusion'])
@pytest.mark.parametrize('kind', KINDS)
def test_all_kinds(kind, method, bert):
    learn = learner(kind, bert)
    before,state,mode = weights(learn.model),torch.random.get_rng_state(),learn.model.training
    item = texts_of(kind, FRAMES[kind])[3]
    told = learn.explain(item, method=method, steps=4)
    names = item[1] if kind=='choice' else learn.names
    read = (item[0], told.rows[0]['label']) if kind=='choice' else item
    joined = ' '.join(read) if isinstance(read, tuple) else read
    assert told.words==joined.split() and all(np.isfinite(r['words']).all() for r in told.rows)
    assert {r['label'] for r in told.rows}<=set(names) and len(told.frame)==len(told.words)
    told._repr_html_(), str(told)
    assert torch.equal(state, torch.random.get_rng_state()) and learn.model.training==mode
    assert all(torch.equal(p, before[n]) for n,p in learn.model.named_parameters())
    assert all(p.grad is None for p in learn.model.parameters())
    if kind=='multi': assert [r['label'] for r in learn.explain(item, labels=learn.names, steps=2).rows]==learn.names
    if kind!='regression': assert told.rows[0]['score']==pytest.approx(float(learn.predict(item)[2][names.index(told.rows[0]['label'])]), abs=1e-4)

@pytest.mark.parametrize('method', [pytest.param('integrated_gradients', marks=needs_captum), 'occlusion'])
def test_long_texts(method, bert):
    cut = learner('single', bert, max_length=10).explain(LONG, method=method, steps=4)
    seen = np.isfinite(cut.rows[0]['words'])
    assert seen[:3].all() and not seen[-3:].any() and 'line-through' in cut._repr_html_()
    windows = learner('single', bert, max_length=10, overlap=3)
    told = windows.explain(LONG, method=method, steps=4)
    assert np.isfinite(told.rows[0]['words']).all()
    with torch.no_grad(): assert told.rows[0]['score']==pytest.approx(windows.predict_batch([LONG])[0]['score'], abs=1e-4)

@pytest.mark.parametrize('method', [pytest.param('integrated_gradients', marks=[needs_captum, pytest.mark.slow]), 'occlusion'])
def test_tags(method, bert):
    learn = tagger(bert, valid=.1)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(12, 5e-3)
    text = 'the film was great and awful to see'
    tagged = [i for i,(_,tag) in enumerate(learn.predict(text)[0]) if tag!='O']
    assert tagged and learn.explain(text, method='occlusion').where==tagged
    told = learn.explain(text, words=[3,5], labels='B-X', method=method, steps=8)
    assert told.names==['B-X (great)','B-X (awful)']
    assert all(r['words'][w]>np.delete(r['words'], w).mean() for r,w in zip(told.rows, told.where))
    same = learn.explain(text.split(), words=[3,5], labels='B-X', method=method, steps=8)
    np.testing.assert_allclose(same.rows[0]['words'], told.rows[0]['words'], atol=1e-5)
    asked = learn.explain(text, words=[1,2], labels=['O','B-X'], method='occlusion')
    assert asked.names==['O (film)','B-X (film)','O (was)','B-X (was)']
    with pytest.raises(ValueError, match=r'words=\[99\]'): learn.explain(text, words=[99])
    assert len(learn.explain('the film was by the river', method='occlusion').rows)>=1
    with torch.no_grad(): learn.model.classifier.bias[learn.names.index('O')] += 5
    tags,_,probs = learn.predict(text)
    assert {t for _,t in tags}=={'O'} and learn.explain(text, method='occlusion').where==[int(probs.max(1).values.argmax())] # the surest

def test_tags_in_windows(bert):
    learn = tagger(bert, max_length=12, overlap=4)
    n = len(LONG.split())
    told = learn.explain(LONG, words=list(range(n)), labels='O', method='occlusion')
    probs = learn.predict(LONG)[2][:,learn.names.index('O')]
    np.testing.assert_allclose([r['score'] for r in told.rows], probs.numpy(), atol=2e-2)
    assert all(np.isfinite(r['words'][w]) for r,w in zip(told.rows, told.where))

def test_what_cannot_be_explained(bert):
    with pytest.raises(ValueError, match='none of them'): masked_lm_learner(FRAMES['single'], bert, bs=BS).explain('a [MASK]')
    learn = learner('single', bert)
    with pytest.raises(ValueError, match='the labels are'): learn.explain('a film', labels='moon')
    with pytest.raises(ValueError, match=r'labels=\[\]: nothing is asked about'): learn.explain('a film', labels=[])
    with pytest.raises(ValueError, match='words='): learn.explain('a film', words=[0])
    with pytest.raises(ValueError, match='shap'): learn.explain('a film', method='shap')
    with pytest.raises(TypeError): learn.explain(7)

def test_a_label_that_is_called_word(bert):
    df = FRAMES['single'].assign(label=['word','good']*(len(FRAMES['single'])//2))
    told = learner('single', bert, df).explain('a lovely film', labels=['good','word'], method='occlusion').frame
    assert [*told]==['word','good','word 1'] and told.word.tolist()==['a','lovely','film']

def test_the_beginning_of_a_text_is_not_unknown(checkpoints):
    "In the tokenizers of OPT one token is both."
    learn = learner('single', checkpoints('gpt2'))
    tok = learn.dls.tokenizer
    tok.unk_token = tok.eos_token
    tok.backend_tokenizer.post_processor = TemplateProcessing(single=f'{tok.eos_token} $A', special_tokens=[(tok.eos_token, tok.eos_token_id)])
    told = ShownTokens(read_text(learn, 'a film'))
    assert told.reading.full_ids[0]==tok.unk_token_id and 'unknown' not in str(told)

@needs_captum
def test_unknown_words_count(bert):
    told = learner('single', bert).explain('a ☃ film', steps=8)
    assert abs(told.rows[0]['words'][1])>0, 'a token that is unknown is no token that the tokenizer added'

def test_what_is_no_prediction_is_not_called_one(bert):
    learn = learner('multi', bert)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    learn.loss_func.thresh = .99
    told = learn.explain('a great film', method='occlusion')
    assert not learn.predict('a great film')[0] and len(told.rows)==1
    assert str(told).endswith('stands for the word alone)')
    assert 'no label is predicted, this one is the most probable' in str(told)
    assert '>label<' in told._repr_html_() and '>prediction<' not in told._repr_html_()
    learn.loss_func.thresh = .01
    told = learn.explain('a great film', method='occlusion')
    assert len(told.rows)==3 and 'no label' not in str(told) and '>prediction<' in told._repr_html_()
    assert '>label<' in learn.explain('a great film', method='occlusion', labels='good')._repr_html_()

def test_arguments_out_of_range(bert):
    learn,words = learner('single', bert),tagger(bert)
    for bad in (0, -1, 1.5, '2', True, None):
        with pytest.raises(ValueError, match='steps='): learn.explain('a film', steps=bad)
        with pytest.raises(ValueError, match='bs='): learn.explain('a film', method='occlusion', bs=bad)
        with pytest.raises(ValueError, match='bins='): learn.dls.plot_lengths(bins=bad)
        with pytest.raises(ValueError, match='rows='): learn.dls.plot_lengths(rows=bad)
        with pytest.raises(ValueError, match='max_tokens='): learn.show_attention('a film', max_tokens=bad)
    for bad in ('a', .5, True, [0, 1], 2, -3):
        with pytest.raises(ValueError, match='layer='): learn.show_attention('a film', layer=bad)
        with pytest.raises(ValueError, match='head='): learn.show_attention('a film', head=bad)
    for bad in ('a', .5, -1, 1, None):
        with pytest.raises(ValueError, match='window='): learn.attention('a film', window=bad)
    one,listed = (words.explain('a great film', words=w, method='occlusion') for w in (1, [1]))
    assert one.names==listed.names and one.where==[1]
    for bad in ('1', ['1'], 1.5, True, [True]):
        with pytest.raises(TypeError, match='numbers of words are expected'): words.explain('a great film', words=bad)
    learn.explain('a film', steps=np.int64(2), bs=np.int64(1), method='occlusion'), learn.show_attention('a film', layer=np.int64(-1))

def test_words_are_named_by_number(bert):
    with pytest.raises(TypeError, match='numbers of words are expected'): tagger(bert).explain('a great film', words=['great'])

def test_an_encoder_and_decoder(checkpoints):
    learn = learner('single', checkpoints('bart'))
    assert 'occlusion' in learn.explain('a great film').method
    with pytest.raises(ValueError, match='occlusion'): learn.explain('a great film', method='integrated_gradients')

def test_without_captum(bert, monkeypatch):
    monkeypatch.setattr(explain.importlib.util, 'find_spec', lambda name: None)
    learn = learner('single', bert)
    assert 'occlusion' in learn.explain('a great film').method
    with pytest.raises(ImportError, match='pip install captum'): learn.explain('a great film', method='integrated_gradients')

def test_learners_of_other_kinds(bert, in_tmp):
    dls = DataBlock((TransformersTextBlock(bert), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'), splitter=RandomSplitter(.25, seed=1)).dataloaders(FRAMES['single'], bs=BS)
    learn = TransformersLearner(dls, bert)
    told = learn.explain(TEXTS[0], steps=4)
    again = TransformersLearner.from_pretrained(learn.save_pretrained('saved')).explain(TEXTS[0], steps=4)
    np.testing.assert_allclose(told.rows[0]['words'], again.rows[0]['words'], atol=1e-5)
    assert told.rows[0]['label']==again.rows[0]['label']

@pytest.mark.parametrize('name', ['rows','bins'])
@pytest.mark.parametrize('value', [0,-1,1.5,True,'a'])
def test_numbers_that_draw_no_lengths(name, value, bert):
    with pytest.raises(ValueError, match=f'{name}={value!r}.*whole number'): learner('single', bert).dls.plot_lengths(**{name:value})

def test_words_of_scripts_without_spaces_are_of_one_kind(tmp_path):
    texts = ['他立即打了电话。','他立即打了电话给妈妈。','校车把他放下后']
    bert = scratch_checkpoint(texts, tmp_path)
    reading = learner('single', bert, pd.DataFrame(dict(text=texts*8, label=['a','b','b']*8)))
    for t in texts: assert max(map(len, reading.explain(t).words))<=2
