"""How well are summaries and translations learnt, beside Hugging Face's Seq2SeqTrainer? `python benchmarks/quality_seq2seq.py --help`

Both sides train the same model from the same weights on the same rows with the same epochs, batch size and learning rate: on
Multi30k (English to German) a small BART that begins with random weights and its own tokenizer; on dialogue summaries
(`dialogsum`) an `EncoderDecoderModel` of MiniLM twice, whose cross attention begins with random weights. Ours: `seq2seq_learner`
with its defaults and `fit_one_cycle`. The Trainer: `DataCollatorForSeq2Seq`, AdamW, weight decay 0.01, linear decay after 10% warm-up.
The loss of a target token is computed by one plain loop for both, the scores of what each writes (`predict_batch`, `predict` with
`predict_with_generate`, greedily) by sacrebleu and rouge-score. Each finished run is kept in a jsonl file.
"""
import sys
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
import transformers as tf
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import RobertaProcessing

from blurlike.all import seq2seq_learner, text_scores
from quality import Runs, options, prepare, table, timed, trainer_settings, versions

# training and validation file, columns, languages, most tokens of a source and of a target
SETS = dict(multi30k_en_de=('train','val', 'en','de', ('en','de'), 64, 64), dialogsum=('dev',None, 'document','summary', None, 256, 64))

def load(args, name, seed):
    "Training and validation rows of set `name`; `seed` chooses among the former."
    train,valid,source,target,*_ = SETS[name]
    def read(part):
        rows = pd.read_json(args.shared/'data'/name/f'{part}.jsonl', lines=True)
        return rows.rename(columns={source:'source', target:'target'})[['source','target']]
    rows = read(train)
    if valid is None: # no two parts share a row
        rows = rows.sample(frac=1, random_state=0)
        rows,held = rows[len(rows)//5:],rows[:len(rows)//5]
    else: held = read(valid)
    return (rows.sample(min(args.rows, len(rows)), random_state=seed).reset_index(drop=True),
        held.sample(min(args.valid_rows, len(held)), random_state=0).reset_index(drop=True))

def small_bart(args, rows, folder):
    raw = ByteLevelBPETokenizer(add_prefix_space=True)
    texts = [*rows.source, *rows.target]
    raw.train_from_iterator(texts, vocab_size=4000, show_progress=False, special_tokens=['<s>','<pad>','</s>','<unk>'])
    raw._tokenizer.post_processor = RobertaProcessing(('</s>', 2), ('<s>', 0))
    tokenizer = tf.PreTrainedTokenizerFast(tokenizer_object=raw._tokenizer, model_max_length=64, model_input_names=['input_ids','attention_mask'],
        bos_token='<s>', pad_token='<pad>', eos_token='</s>', unk_token='<unk>')
    layers = {f'{part}_{k}':v for part in ('encoder','decoder') for k,v in dict(layers=2, attention_heads=4, ffn_dim=2*args.width).items()}
    config = tf.BartConfig(vocab_size=len(tokenizer), d_model=args.width, max_position_embeddings=128, bos_token_id=0, pad_token_id=1, eos_token_id=2,
        decoder_start_token_id=2, forced_eos_token_id=None, init_std=args.width**-.5, **layers) # the usual 0.02 leaves so narrow a model on a plateau
    tf.BartForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)

def encoder_decoder(args, rows, folder):
    tokenizer = tf.AutoTokenizer.from_pretrained(args.checkpoint)
    model = tf.EncoderDecoderModel.from_encoder_decoder_pretrained(args.checkpoint, args.checkpoint)
    ids = dict(decoder_start_token_id=tokenizer.cls_token_id, eos_token_id=tokenizer.sep_token_id, pad_token_id=tokenizer.pad_token_id)
    for o in (model.config, model.generation_config):
        for k,v in ids.items(): setattr(o, k, v)
    model.float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)

def start(args, name, rows, seed, folder):
    "The model that both sides begin with, in `folder`."
    tf.set_seed(seed)
    (small_bart if name.startswith('multi30k') else encoder_decoder)(args, rows, folder)
    return folder

def made(name, data, folder, bs, megabatch=None, **kwargs):
    "A learner of set `name`."
    *_,languages,max_length,most = SETS[name]
    return seq2seq_learner(data, folder, languages=languages, max_length=max_length, max_target_length=most, bs=bs,
        generate=dict(max_new_tokens=most), dl_kwargs=dict(val_bs=32, device='cpu') | ({} if megabatch is None else dict(megabatch=megabatch)), **kwargs)

def ours(args, name, data, seed, folder, fit='fit_one_cycle'):
    "Texts, the model, and seconds of training, through blurlike's defaults."
    learn = made(name, data, folder, args.bs, args.megabatch, seed=seed, score_rows=0)
    with learn.no_bar(), learn.no_logging():
        seconds = timed(getattr(learn, fit), args.epochs, args.lr)
        return [o['generated_text'] for o in learn.predict_batch(data[1].source.tolist())],learn.model,seconds

def linear(*args):
    "The same with the Trainer's schedule."
    return ours(*args, fit='fit_linear')

def features(tokenizer, name, rows):
    "Token ids and labels, as transformers' examples make them."
    *_,max_length,most = SETS[name]
    sources = tokenizer(rows.source.tolist(), truncation=True, max_length=max_length)
    labels = tokenizer(text_target=rows.target.tolist(), truncation=True, max_length=most)['input_ids']
    return [dict(input_ids=i, attention_mask=m, labels=l) for i,m,l in zip(sources['input_ids'], sources['attention_mask'], labels)]

def texts_of(tokenizer, preds): # what `predict_with_generate` gives, padded with -100
    ids = np.where(preds<0, tokenizer.pad_token_id, preds)
    return [t.strip() for t in tokenizer.batch_decode(ids, skip_special_tokens=True)]

def seq2seq_trainer(args, name, folder, out, seed=0, train=None, **kwargs):
    "A `Seq2SeqTrainer` as transformers' examples build it."
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    auto = tf.AutoModelForSeq2SeqLM if name.startswith('multi30k') else tf.EncoderDecoderModel
    model = auto.from_pretrained(folder, dtype=torch.float32)
    model.generation_config.max_length,model.generation_config.max_new_tokens = None,SETS[name][-1]
    settings = tf.Seq2SeqTrainingArguments(out, predict_with_generate=True, **trainer_settings(args, seed))
    return tf.Seq2SeqTrainer(model, settings, data_collator=tf.DataCollatorForSeq2Seq(tokenizer, model), train_dataset=train,
        processing_class=tokenizer, **kwargs)

def trainer(args, name, data, seed, folder):
    "The same through Hugging Face's Seq2SeqTrainer."
    tf.set_seed(seed)
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    train,valid = (features(tokenizer, name, d) for d in data)
    with tempfile.TemporaryDirectory() as out:
        t = seq2seq_trainer(args, name, folder, out, seed, train)
        seconds = timed(t.train)
        return texts_of(tokenizer, t.predict(valid).predictions),t.model,seconds

def token_loss(model, tokenizer, feats):
    "The mean loss of all target tokens, by a plain loop."
    collate = tf.DataCollatorForSeq2Seq(tokenizer, model)
    model.eval()
    losses,n = 0.,0
    for i in range(0, len(feats), 16):
        batch = collate(feats[i:i+16])
        counted = int((batch['labels']>=0).sum())
        with torch.no_grad(): losses += float(model(**batch).loss)*counted
        n += counted
    return losses/n

def one_run(args, name, seed, side):
    data = load(args, name, seed)
    with tempfile.TemporaryDirectory() as tmp:
        folder = start(args, name, data[0], seed, Path(tmp)/'start')
        tokenizer = tf.AutoTokenizer.from_pretrained(folder)
        written,model,seconds = side(args, name, data, seed, folder)
    scores = text_scores(written, data[1].target.tolist(), SETS[name][4])
    sizes = [len(t.split()) for t in written]
    loss = token_loss(model, tokenizer, features(tokenizer, name, data[1]))
    return {k:v/100 for k,v in scores.items()} | dict(loss=loss, seconds=seconds, words=float(np.mean(sizes)))

SIDES = dict(ours=ours, linear=linear, trainer=trainer)
TOLD = dict(ours='fit_one_cycle', linear='fit_linear')

def budget_of(args, name):
    common = {k:getattr(args, k) for k in ('epochs','bs','lr','rows','valid_rows')}
    return common | (dict(width=args.width) if name.startswith('multi30k') else {})

def main():
    p = options(__doc__, SETS, rows=5000, valid_rows=200, epochs=4, bs=32, lr=2e-3)
    p.add_argument('--width', type=int, default=64, help='of the model for Multi30k')
    p.add_argument('--megabatch', type=int, help="batches of ours that are sorted by length together, instead of the loaders' own number; 1: random batches")
    p.add_argument('--sides', nargs='+', default=['ours','trainer'], choices=[*SIDES], help='`linear`: ours with the schedule of the Trainer')
    args = p.parse_args()
    commit = prepare(args)
    args.device = 'cpu'
    runs = Runs(args.out/'quality-seq2seq-cpu.jsonl', commit)
    jobs = [(seed, name, side) for name in args.sets for seed in args.seeds for side in map(SIDES.get, args.sides)]
    def one(seed, name, side):
        is_other = args.megabatch is not None and side is not trainer
        key = f'{side.__name__}, megabatch {args.megabatch}' if is_other else side.__name__
        return runs.get(budget_of(args, name) | dict(set=name, seed=seed, side=key), partial(one_run, args, name, seed, side)) | dict(side=side.__name__)
    rows = [one(*job) for job in jobs]
    for name in args.sets: # each set has its own budget, and its own table
        text = [f"# {name}: Seq2SeqTrainer beside ours (CPU)", ""]
        some = [r for r in rows if r['set']==name]
        told = ', '.join(f'{k} {v}' for k,v in budget_of(args, name).items())
        text += [f"`python benchmarks/quality_seq2seq.py {' '.join(sys.argv[1:])}`: {told}; seeds {args.seeds}. Mean ± standard deviation over seeds, "
            "scores in points, the loss of a token as it is (less is better); times are of a shared machine.", '', versions(args)]
        for side in [s for s in args.sides if s!='trainer']:
            pairs = [r | dict(side='ours' if r['side']==side else r['side']) for r in some if r['side'] in (side, 'trainer')]
            text += ['', f'`{TOLD[side]}`:', '', *table(pairs, SimpleNamespace(sets=[name]))]
        (args.out/f'quality-seq2seq-{name}-cpu.md').write_text('\n'.join(text)+'\n')
        print('\n'.join(text))

if __name__=='__main__': main()
