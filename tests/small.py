"Small checkpoints of several architectures, and data that can be learned, made on the spot; seeds."
import inspect,os,re
from pathlib import Path

for k,v in dict(HF_HUB_OFFLINE='1', WANDB_MODE='disabled', MPLBACKEND='agg', OMP_NUM_THREADS='1').items(): os.environ.setdefault(k, v)

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as tf
from datasets import DatasetDict
from fastai.data.core import DataLoaders
from fastai.torch_core import set_seed
from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer
from tokenizers.processors import BertProcessing, RobertaProcessing

from blurlike.all import PerRow, causal_lm_learner, multiple_choice_learner, question_answering_learner, seq2seq_learner, sequence_classification_learner

torch.set_num_threads(1) # models this small only lose time to threads; above for the processes that tests start, which would fight for the cores

SHARED = Path(__file__).parents[2]/'shared' # real data and models, where there are some
CUES = dict(bad=['awful','boring','dreadful'], fine=['decent','fair','usual'], good=['great','lovely','superb'])
FILLERS = '''the film was shown in a small town by the river and many people came to see it after work with their friends while rain
    fell on old roofs so nobody left before the end then they walked home talking about music food and books'''.split()
BS,N = 5,48 # more validation rows than a batch holds, and last batches that are not full

def sentences(n=N, seed=3):
    "`n` texts of 1 to 24 words, each with a cue word of its label, and those labels."
    rng,labels = np.random.default_rng(seed),[list(CUES)[i%3] for i in range(n)]
    def text(label):
        words = list(rng.choice(FILLERS, rng.integers(0, 24)))
        words.insert(rng.integers(0, len(words)+1), rng.choice(CUES[label]))
        return ' '.join(map(str, words))
    return [text(o) for o in labels],labels

def table(kind, n=N, seed=3):
    "`n` rows with one kind of target: `single`, `pair`, `multi`, `regression`, `choice`, `answers`; or of texts that are written: `prompts`, `chats`, `summaries`."
    (texts,labels),rng = sentences(n, seed),np.random.default_rng(seed)
    if kind=='single': return pd.DataFrame(dict(text=texts, label=labels))
    if kind=='pair':
        other = rng.permutation(n)
        return pd.DataFrame(dict(one=texts, two=[texts[i] for i in other], same=[labels[i]==labels[j] for i,j in enumerate(other)]))
    if kind=='multi':
        sure = rng.random(n)<.5
        return pd.DataFrame(dict(text=[f'{t} indeed' if s else t for t,s in zip(texts, sure)], tags=[[o]*(o!='fine')+['sure']*int(s) for o,s in zip(labels, sure)]))
    if kind=='choice': # two to four, the good one is right
        right,wrong = [int(rng.integers(2+i%3)) for i in range(n)],CUES['bad']+CUES['fine']
        def choices(n, r): return [*map(str, np.insert(rng.permutation(wrong)[:n-1].astype(object), r, rng.choice(CUES['good'])))]
        return pd.DataFrame(dict(text=texts, choices=[choices(2+i%3, r) for i,r in enumerate(right)], label=right))
    if kind=='answers': # the cue word, wherever it stands
        def answer(t, label): return next(dict(text=[m[0]], answer_start=[m.start()]) for m in re.finditer(r'\w+', t) if m[0] in CUES[label])
        return pd.DataFrame(dict(question='the film was', context=texts, answers=list(map(answer, texts, labels))))
    if kind=='prompts': return pd.DataFrame(dict(prompt=[f'is it so: {t}' for t in texts], completion=[f' {o}' for o in labels]))
    if kind=='chats': return pd.DataFrame(dict(messages=[[dict(role='user', content=t), dict(role='assistant', content=o)] for t,o in zip(texts, labels)]))
    if kind=='summaries': return pd.DataFrame(dict(source=[f'see {t}' for t in texts], target=[f'it is {o}' for o in labels]))
    return pd.DataFrame(dict(text=texts, score=[dict(bad=-1.25, fine=.125, good=1.5)[o]+len(t)/200 for t,o in zip(texts, labels)]))

COLUMNS = dict(single={}, pair=dict(text=['one','two'], label='same'), multi=dict(label='tags'), regression=dict(label='score'), choice={}, answers={},
    prompts=dict(text=['prompt','completion']), chats=dict(text='messages'), summaries=dict(score_rows=0))
VOCABS = {k:[] for k in COLUMNS} | dict(single=['bad','fine','good'], pair=[False,True], multi=['bad','good','sure'], regression=['score'])
MORE_KINDS = list(COLUMNS)
def first(values, n=1):
    "Parameters of which the gate alone runs all but the first `n`."
    return [pytest.param(v, marks=[pytest.mark.slow]*(i>=n)) for i,v in enumerate(values)]

EVERY_KIND = [pytest.param(k, marks=pytest.mark.slow) if k=='chats' else k for k in MORE_KINDS] # chats are prompts that are put together otherwise
WRITING = ['prompts','chats','summaries'] # whose learners write texts
KINDS = [k for k in MORE_KINDS if k not in ['answers', *WRITING]] # with (B,C) logits, one row each
FRAMES = {k:table(k) for k in MORE_KINDS}
SAME_WIDTH = dict(choice=FRAMES['choice'].assign(choices=lambda d: d.choices.map(lambda c: (c+['people','town'])[:4]))) # for losses that models compute
HEAD = {k:'classifier' for k in KINDS} | dict(answers='qa_outputs') | dict(prompts='lm_head', chats='lm_head',
    summaries=('model.decoder.layers.1.','model.decoder.layernorm')) # that of BART is tied to its embeddings; its last layer stands for it
ARCH = {k:'bert' for k in MORE_KINDS} | dict(prompts='llama', chats='llama', summaries='bart') # of the checkpoint that a kind begins with
AUTO_MODELS = {k:'AutoModelForSequenceClassification' for k in KINDS} | dict(choice='AutoModelForMultipleChoice', answers='AutoModelForQuestionAnswering')
TEXTS = FRAMES['single'].text.tolist()

def word_tokenizer(*fields, max_length=64):
    "A lower-casing WordPiece tokenizer that gives `fields`."
    raw = BertWordPieceTokenizer()
    raw.train_from_iterator(TEXTS*2+['indeed',' '.join('abcdefghijklmnopqrstuvwxyz0123456789')], vocab_size=400, min_frequency=1, show_progress=False)
    raw._tokenizer.post_processor = BertProcessing(*((t, raw.token_to_id(t)) for t in ('[SEP]','[CLS]')))
    return tf.PreTrainedTokenizerFast(tokenizer_object=raw._tokenizer, model_max_length=max_length, model_input_names=list(fields),
        pad_token='[PAD]', unk_token='[UNK]', cls_token='[CLS]', sep_token='[SEP]', mask_token='[MASK]')

def byte_tokenizer(roberta, max_length):
    "A byte-level BPE tokenizer; without `roberta` it has no pad token and adds nothing to a text, as GPT-2's."
    raw = ByteLevelBPETokenizer(add_prefix_space=roberta)
    raw.train_from_iterator(TEXTS*2, vocab_size=400, min_frequency=1, show_progress=False, special_tokens=['<s>','<pad>','</s>','<unk>','<mask>'] if roberta else ['<|endoftext|>'])
    if roberta: raw._tokenizer.post_processor = RobertaProcessing(('</s>', 2), ('<s>', 0))
    special = dict(bos_token='<s>', eos_token='</s>', cls_token='<s>', sep_token='</s>', pad_token='<pad>', unk_token='<unk>', mask_token='<mask>') if roberta else dict(bos_token='<|endoftext|>', eos_token='<|endoftext|>')
    return tf.PreTrainedTokenizerFast(tokenizer_object=raw._tokenizer, model_max_length=max_length, model_input_names=['input_ids','attention_mask'], **special)

SMALL = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
ROBERTA = dict(pad_token_id=1, bos_token_id=0, eos_token_id=2)
def small_bert(n): return tf.BertModel(tf.BertConfig(vocab_size=n, max_position_embeddings=64, **SMALL))
def small_distilbert(n): return tf.DistilBertModel(tf.DistilBertConfig(vocab_size=n, max_position_embeddings=64, dim=32, n_layers=2, n_heads=2, hidden_dim=64))
def small_roberta(n): return tf.RobertaModel(tf.RobertaConfig(vocab_size=n, max_position_embeddings=34, type_vocab_size=1, **ROBERTA, **SMALL))
def small_deberta(n): return tf.DebertaV2Model(tf.DebertaV2Config(vocab_size=n, max_position_embeddings=64, relative_attention=True, position_buckets=8, pos_att_type=['p2c','c2p'],
    norm_rel_ebd='layer_norm', share_att_key=True, position_biased_input=False, type_vocab_size=0, **SMALL))
def small_gpt2(n): return tf.GPT2Model(tf.GPT2Config(vocab_size=n, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0))
def small_bart(n): return tf.BartModel(tf.BartConfig(vocab_size=n, max_position_embeddings=64, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
    encoder_ffn_dim=64, decoder_ffn_dim=64, decoder_start_token_id=2, **ROBERTA))
def small_modernbert(n): return tf.ModernBertModel(tf.ModernBertConfig(vocab_size=n, max_position_embeddings=64, pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3, local_attention=8, **SMALL))

def small_llama(n): return tf.LlamaModel(tf.LlamaConfig(vocab_size=n, max_position_embeddings=64, num_key_value_heads=1, tie_word_embeddings=False, bos_token_id=0, eos_token_id=0, pad_token_id=None, **SMALL))
TEMPLATE = '{% for m in messages %}<{{ m.role }}> {{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}'
def chat_tokenizer():
    res = byte_tokenizer(False, 64)
    res.chat_template = TEMPLATE
    return res

_bert_fields = ('input_ids','token_type_ids','attention_mask')
ARCHS = dict(bert=(small_bert, lambda: word_tokenizer(*_bert_fields)), distilbert=(small_distilbert, lambda: word_tokenizer(*_bert_fields)), # a field that DistilBERT does not take
    roberta=(small_roberta, lambda: byte_tokenizer(True, 10**30)), deberta=(small_deberta, lambda: word_tokenizer(*_bert_fields)), gpt2=(small_gpt2, lambda: byte_tokenizer(False, 64)),
    bart=(small_bart, lambda: byte_tokenizer(True, 64)), modernbert=(small_modernbert, lambda: word_tokenizer('input_ids','attention_mask')))
LLAMA = dict(llama=(small_llama, chat_tokenizer))

def make_checkpoint(arch, folder):
    "A folder with the headless model of `arch`, random weights, and its tokenizer."
    set_seed(1)
    model,tokenizer = (ARCHS | LLAMA)[arch]
    tokenizer = tokenizer()
    tokenizer.save_pretrained(folder)
    model(len(tokenizer)).save_pretrained(folder)
    return folder

@pytest.fixture(scope='session')
def checkpoints(tmp_path_factory):
    "`checkpoints(arch)`: the folder of a small headless model, made at the first call."
    made = {}
    def folder(arch):
        if arch not in made: made[arch] = make_checkpoint(arch, tmp_path_factory.mktemp(arch))
        return made[arch]
    return folder

@pytest.fixture(scope='session')
def bert(checkpoints): return checkpoints('bert')

@pytest.fixture(params=KINDS)
def kind(request): return request.param
@pytest.fixture
def checkpoint(kind, checkpoints): return checkpoints(ARCH[kind])
with_answers = pytest.mark.parametrize('kind', EVERY_KIND, indirect=True) # for what is asked of every task, whatever its outputs are

@pytest.fixture(autouse=True)
def seeded(): set_seed(0)

@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    "Work in an empty folder: a learner writes where it is."
    monkeypatch.chdir(tmp_path)
    return tmp_path

_own = object()
LEARNERS = dict(choice=multiple_choice_learner, answers=question_answering_learner, prompts=causal_lm_learner, chats=causal_lm_learner, summaries=seq2seq_learner)
def learner(kind, checkpoint, data=_own, **kwargs):
    "A one-line learner for the table of `kind`."
    loaders = {} if isinstance(data, DataLoaders) else dict(bs=BS) # ready ones are made already
    has_own = isinstance(data, (DataLoaders, DatasetDict)) # a part that validates
    if not has_own: loaders['valid'] = .25
    return LEARNERS.get(kind, sequence_classification_learner)(FRAMES[kind] if data is _own else data, checkpoint, **(loaders | COLUMNS[kind] | kwargs))

def texts_of(kind, df):
    "The items of a table."
    columns = dict(pair=['one','two'], choice=['text','choices'], answers=['question','context'], prompts=['prompt','completion'], chats=['messages'], summaries=['source']).get(kind, ['text'])
    return list(zip(*(df[c] for c in columns))) if len(columns)>1 else df[columns[0]].tolist()

def asked_of(kind, df):
    "What `predict` takes of a table."
    if kind=='prompts': return df.prompt.tolist()
    return [o[:-1] for o in df.messages] if kind=='chats' else texts_of(kind, df)

def item_of(kind, text):
    "An item that holds `text`, all of it or its last text that may be cut."
    return dict(pair=('film', text), choice=(text, ['good','bad']), answers=('the film', text)).get(kind, text)

def texts_in(item):
    "The texts that an item is made of."
    if isinstance(item, str): return [item]
    return [t for part in item for t in ([part] if isinstance(part, str) else part)]
def valid_frame(learn, kind):
    "The validation rows of a learner on the table of `kind`."
    return FRAMES[kind].iloc[learn.dls.valid_ds.items.idxs].reset_index(drop=True)

def encode(tokenizer, texts, **kwargs):
    "Texts or pairs, as Hugging Face itself reads them."
    columns = [list(o) for o in zip(*texts)] if isinstance(texts[0], tuple) else [list(texts)]
    return tokenizer(*columns, **(dict(padding=True, truncation=True, return_tensors='pt') | kwargs))

def accepted(model, inputs): return {k:v for k,v in inputs.items() if k in inspect.signature(model.forward).parameters}

def direct_logits(model, tokenizer, texts, max_length=64):
    "(B,C) logits of the plain model, called for one text at a time."
    was = model.training
    model.eval()
    def inputs(pairs, **kwargs): return {k:v.to(model.device) for k,v in accepted(model, encode(tokenizer, pairs, max_length=max_length, **kwargs)).items()}
    def logits(item):
        has_choices = isinstance(item, tuple) and isinstance(item[1], list)
        if not has_choices: return model(**inputs([item])).logits[0].float().cpu()
        of_choices = inputs([(item[0], c) for c in item[1]], truncation='only_first')
        return model(**{k:v[None] for k,v in of_choices.items()}).logits[0].float().cpu()
    with torch.no_grad(): res = [logits(t) for t in texts]
    model.train(was)
    return torch.nn.utils.rnn.pad_sequence(res, batch_first=True, padding_value=-torch.inf) # a row may have fewer choices than others

def activated(kind, logits): return logits.sigmoid() if kind=='multi' else logits.squeeze(-1) if kind=='regression' else logits.softmax(-1)
@torch.no_grad()
def plain_answers(learn, question, context):
    "`(score, start, end)` of each place in each window, the best first, and the least score of none: no code of ours."
    tfm,model = learn.dls.text_tfm,learn.model.eval()
    tok = tfm.tokenizer
    enc = tok(question, context, truncation='only_second', max_length=tfm.max_length, stride=tfm.overlap, return_overflowing_tokens=True, return_offsets_mapping=True)
    found,null = [],np.inf
    for w,ids in enumerate(enc['input_ids']):
        inputs = {k:torch.tensor([enc[k][w]], device=model.device) for k in tok.model_input_names}
        out = model(**inputs)
        start,end = out.start_logits[0].cpu().numpy(),out.end_logits[0].cpu().numpy()
        null = min(null, start[ids.index(tok.cls_token_id)]+end[ids.index(tok.cls_token_id)])
        inside = [i for i,s in enumerate(enc.sequence_ids(w)) if s==1]
        for i in inside:
            for j in inside:
                if i<=j<i+tfm.max_answer_length: found.append((float(start[i]+end[j]), enc['offset_mapping'][w][i][0], enc['offset_mapping'][w][j][1]))
    return sorted(found, key=lambda o: -o[0]),float(null)

def written_ids(kind, tok, row):
    "The token ids that are read before what is written, and of what is written, by the plain tokenizer."
    if kind=='summaries': return tok(row.source)['input_ids'],tok(text_target=row.target)['input_ids']
    if kind=='prompts': before,after = row.prompt,row.completion
    else: before,after = tok.apply_chat_template(row.messages[:-1], add_generation_prompt=True, tokenize=False),row.messages[-1]['content']
    return [tok(t)['input_ids'] for t in (before, after+tok.eos_token)]

@torch.no_grad()
def written_log_probs(kind, learn, df):
    "The log-probabilities of the tokens that are written, a tensor a row, by the plain model."
    tok,model = learn.dls.tokenizer,learn.model.eval()
    def one(ids): return torch.tensor([ids], device=model.device)
    def of(row):
        before,after = written_ids(kind, tok, row)
        if kind=='summaries': logits = model(input_ids=one(before), labels=one(after)).logits[0]
        else: logits = model(input_ids=one(before+after)).logits[0,len(before)-1:-1]
        return logits.float().cpu().log_softmax(-1)[range(len(after)),after]
    return [of(row) for row in df.itertuples()]

def written_targets(kind, learn, df):
    "(n,L) the targets of rows as one tensor."
    def of(row):
        before,after = written_ids(kind, learn.dls.tokenizer, row)
        return torch.tensor([-100]*len(before)*(kind!='summaries')+after)
    return torch.nn.utils.rnn.pad_sequence([of(row) for row in df.itertuples()], batch_first=True, padding_value=-100)

def direct_preds(kind, learn, df):
    "What `get_preds` must give of a table, by the plain model: probabilities or numbers; of answers (n,2), of the best one and of none; of what is written log-probabilities."
    if kind in WRITING: return written_log_probs(kind, learn, df)
    items = texts_of(kind, df)
    if kind!='answers': return activated(kind, direct_logits(learn.model, learn.dls.tokenizer, items))
    def scores(o): # of the twenty best places, each once
        found = {}
        for s,*place in plain_answers(learn, *o)[0]: found.setdefault(tuple(place), s)
        return torch.tensor(list(found.values())[:20])
    best = [scores(o).softmax(0)[0] for o in items]
    return torch.stack([torch.stack(best), torch.zeros(len(best))], 1)

def note_dtypes(model, dtypes): # of what the first linear layer gives
    linear = next(m for m in model.modules() if isinstance(m, torch.nn.Linear))
    linear.register_forward_hook(lambda m,i,o: dtypes.add(o.dtype))

def joined(o): return PerRow(o).contiguous() if isinstance(o, list) and len(o) and torch.is_tensor(o[0]) and o[0].ndim else o
def close(a, b, tol=1e-5): torch.testing.assert_close(torch.as_tensor(joined(a)).float().cpu(), torch.as_tensor(joined(b)).float().cpu(), atol=tol, rtol=tol)
def head_names(kind, model): return {n for n,_ in model.named_parameters() if n.startswith(HEAD[kind])}
def weights(model): return {n:p.detach().cpu().clone() for n,p in model.named_parameters()}
def changed(model, before): return {n for n,p in model.named_parameters() if not torch.equal(p.cpu(), before[n])}

@pytest.fixture(scope='session')
def trained(checkpoints, tmp_path_factory):
    "`trained(kind)`: a learner after two epochs, made once; for reading only."
    made = {}
    def get(kind):
        if kind not in made:
            set_seed(0)
            made[kind] = learner(kind, checkpoints(ARCH[kind]), path=tmp_path_factory.mktemp(kind))
            with made[kind].no_bar(), made[kind].no_logging(): made[kind].fit_one_cycle(2, 1e-2)
            made[kind].epoch_table = list(made[kind].recorder.values) # `validate` empties the recorder
        return made[kind]
    return get
