"""Causal language models beside transformers and TRL. `python benchmarks/causal_lm.py --help`

perplexity: of a checkpoint on the first tokens of a text file, in blocks that are one document each, as plain transformers gives it.
generate: 200 prompts of natural lengths, each to its own end, beside single calls of `generate` and the text-generation pipeline. The
    small model has learnt to count from one number to another, so that it stops at lengths of all kinds; `--checkpoint` and `--text`
    (jsonl with a column `instruction`) take another model, and prompts in its turns.
memory: peak of a training step with 5,000 and 50,000 words, beside weights, gradients and optimizer, each in a process of its own.
train: counted tokens a second on prompts and completions of natural lengths, beside TRL's SFTTrainer at its defaults and packed.
Sides are interleaved; times are of the processor, since machines are shared; medians and ratios are printed. TRL is no dependency:
where it is not installed, its rows are left out. The models of `generate` and `train` are small ones made on the spot.
"""
import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
import transformers as tf
from datasets import Dataset
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from blurlike.all import NextTokenLoss, adamw, attach_door, causal_lm_learner, set_seed

def words_of(rng, n): return ' '.join(rng.choice([f'word{i}' for i in range(300)], n))

def pairs(n, seed=0): # of natural lengths: log-normal, as instructions and answers are
    rng = np.random.default_rng(seed)
    sizes = np.clip(rng.lognormal([2.5,3.], .8, (n, 2)).astype(int), 2, 120)
    return [dict(prompt=words_of(rng, a)+'?', completion=words_of(rng, b)) for a,b in sizes]

def checkpoint(folder, args):
    "A small Llama that has learnt nothing, and a tokenizer of its texts."
    raw = ByteLevelBPETokenizer()
    raw.train_from_iterator([t for row in pairs(300) for t in row.values()], vocab_size=2000, show_progress=False, special_tokens=['<|end|>','<|pad|>'])
    return small_llama(folder, args, raw._tokenizer)

def small_llama(folder, args, raw, **kwargs): # the first two words of whose tokenizer are an end and padding
    set_seed(0)
    tokenizer = tf.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token='<|end|>', pad_token='<|pad|>', model_max_length=512,
        model_input_names=['input_ids','attention_mask'])
    tokenizer.save_pretrained(folder)
    config = tf.LlamaConfig(vocab_size=len(tokenizer), hidden_size=args.width, intermediate_size=3*args.width, num_hidden_layers=args.layers, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=0, eos_token_id=0, pad_token_id=1, **kwargs)
    tf.LlamaForCausalLM(config).save_pretrained(folder)
    return folder

def timed(f):
    start = time.process_time()
    res = f()
    return time.process_time()-start,res

def interleaved(sides, rounds):
    "Median processor seconds of each side."
    found = {k:[] for k in sides}
    for _ in range(rounds):
        for k,f in sides.items(): found[k].append(timed(f)[0])
    return {k:statistics.median(v) for k,v in found.items()}

def told(seconds, work, unit):
    ours = seconds['blurlike']
    for k,s in seconds.items(): print(f'{k:24} {s:8.2f} s  {work/s:9.0f} {unit}  {s/ours:5.2f} times our time', flush=True)

def perplexity(args):
    tokenizer = tf.AutoTokenizer.from_pretrained(args.checkpoint)
    text = Path(args.text).read_text(encoding='utf-8')
    ids = tokenizer(text[:20*args.tokens], add_special_tokens=False)['input_ids'][:args.tokens]
    blocks = torch.tensor(ids).view(-1, args.block_size)
    model = tf.AutoModelForCausalLM.from_pretrained(args.checkpoint, dtype=torch.float32).eval()
    with torch.no_grad(): plain = [float(model(input_ids=b[None], labels=b[None]).loss) for b in blocks]
    rows = [dict(text=tokenizer.decode(b)) for b in blocks]
    learn = causal_lm_learner(rows, model, tokenizer=tokenizer, block_size=0, valid=range(len(rows)-1), bs=1)
    tfm = learn.dls.text_tfm
    losses = []
    for b in blocks:
        x,y = tfm.hide(tfm.stack(tfm.as_tokens([b.tolist()], [[0]+[1]*(len(b)-1)])), np.zeros(1))
        plain_y = y.as_subclass(torch.Tensor)
        with learn.predicting(): losses.append(float(-learn.forward(x, **learn.loss_func.wanted(plain_y))[:,0].mean()))
    print(f'perplexity of {len(ids)} tokens in blocks of {args.block_size}: blurlike {math.exp(np.mean(losses)):.4f}, transformers {math.exp(np.mean(plain)):.4f}')

NUMBERS = [f'n{i}' for i in range(64)]

def counts(n, seed=0): # of natural lengths: some words, then from where to where
    rng = np.random.default_rng(seed)
    def one():
        before,size = np.clip(rng.lognormal([2.5,2.3], .8).astype(int), 1, [100,47])
        start = rng.integers(0, len(NUMBERS)-size)
        some = NUMBERS[start:start+size]
        return dict(prompt=f'{words_of(rng, before)} {some[0]} to {some[-1]} :', completion=' '.join(some))
    return [one() for _ in range(n)]

def counting(folder, args):
    "A learner whose model has learnt to count, and to stop."
    words = ['<|end|>','<|pad|>',':','to', *NUMBERS, *(f'word{i}' for i in range(300))]
    raw = Tokenizer(WordLevel({w:i for i,w in enumerate(words)}, unk_token='to'))
    raw.pre_tokenizer = WhitespaceSplit()
    small_llama(folder, args, raw, initializer_range=args.width**-.5)
    learn = causal_lm_learner(counts(2000), folder, text=['prompt','completion'], bs=32, valid=None, dl_kwargs=dict(device='cpu'))
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(6, 6e-3)
    return learn,[r['prompt'] for r in counts(args.prompts, 1)]

def given(args):
    "A learner of `--checkpoint`, and instructions of `--text`."
    learn = causal_lm_learner(counts(20), args.checkpoint, text=['prompt','completion'], valid=None, dl_kwargs=dict(device='cpu'))
    asked = pd.read_json(args.text, lines=True).instruction[:args.prompts]
    return learn,[learn.dls.tokenizer.apply_chat_template([dict(role='user', content=t)], add_generation_prompt=True, tokenize=False) for t in asked]

def generate(args):
    with tempfile.TemporaryDirectory() as folder:
        learn,prompts = given(args) if args.checkpoint else counting(folder, args)
        tokenizer,model = learn.dls.tokenizer,learn.model
        how = dict(max_new_tokens=args.new_tokens, do_sample=False)
        def single():
            model.eval()
            def one(p):
                ids = tokenizer(p, return_tensors='pt')
                with torch.no_grad(): return model.generate(**ids, **how, pad_token_id=tokenizer.pad_token_id)[0,ids['input_ids'].shape[1]:].tolist()
            return [one(p) for p in prompts]
        def piped(bs):
            tokenizer.padding_side = 'left'
            try: return tf.pipeline('text-generation', model=model, tokenizer=tokenizer)(prompts, batch_size=bs, return_full_text=False, **how)
            finally: tokenizer.padding_side = 'right'
        ours = learn.task.predictions.answered(learn, prompts, 64, args.new_tokens)
        print('tokens written, 10%, 50% and 90% of the prompts:', *np.percentile(list(map(len, ours)), [10,50,90]).astype(int), flush=True)
        print('outputs equal to those of single calls:', sum(a==b for a,b in zip(ours, single())), 'of', len(prompts), flush=True)
        sides = dict(blurlike=lambda: learn.predict_batch(prompts, max_new_tokens=args.new_tokens), single=single, pipeline_1=partial(piped, 1), pipeline_32=partial(piped, 32))
        told(interleaved(sides, args.rounds), sum(map(len, ours)), 'tokens/s')

def sft(folder, rows, args, **kwargs): # a run of TRL's SFTTrainer; `None` where there is none
    try: from trl import SFTConfig, SFTTrainer
    except ImportError: return None
    def run():
        with tempfile.TemporaryDirectory() as out:
            config = SFTConfig(output_dir=out, per_device_train_batch_size=args.bs, num_train_epochs=1, learning_rate=1e-3, report_to='none', save_strategy='no', use_cpu=True,
                bf16=False, gradient_checkpointing=False, disable_tqdm=True, logging_strategy='no', max_length=512, **kwargs)
            model = tf.AutoModelForCausalLM.from_pretrained(folder)
            SFTTrainer(model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tf.AutoTokenizer.from_pretrained(folder)).train()
    return run

def train(args):
    with tempfile.TemporaryDirectory() as folder:
        checkpoint(folder, args)
        rows = pairs(args.rows, 2)
        def ours():
            learn = causal_lm_learner(rows, folder, text=['prompt','completion'], bs=args.bs, valid=None, dl_kwargs=dict(device='cpu'))
            with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3)
        tokenizer = tf.AutoTokenizer.from_pretrained(folder)
        counted = sum(len(ids)+1 for ids in tokenizer([r['completion'] for r in rows])['input_ids'])
        sides = dict(blurlike=ours, trl=sft(folder, rows, args), trl_packed=sft(folder, rows, args, packing=True, packing_strategy='bfd'))
        told(interleaved({k:f for k,f in sides.items() if f}, args.rounds), counted, 'counted tokens/s')

def peak(reset=False): # MB that this process has held
    if reset: Path('/proc/self/clear_refs').write_text('5')
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(l.split()[1]) for l in lines if l.startswith('VmHWM'))/1024

def one_memory(way, words, args):
    "Prints the peak of three steps over 8 rows of 512 tokens, in MB more than before them."
    set_seed(0)
    model = tf.LlamaForCausalLM(tf.LlamaConfig(vocab_size=words, hidden_size=args.width, intermediate_size=2*args.width, num_hidden_layers=args.layers,
        num_attention_heads=4, max_position_embeddings=512, pad_token_id=None, tie_word_embeddings=True))
    optimizer = adamw(list(model.parameters()))
    for p in model.parameters(): p.grad = torch.zeros_like(p)
    optimizer.step()
    tokenizer = SimpleNamespace(padding_side='right', pad_token_id=0, all_special_ids=[0])
    door,_ = attach_door(model, tokenizer, fields=['input_ids','attention_mask'])
    ids = torch.randint(1, words, (8, 512))
    mask,loss_func = torch.ones_like(ids),NextTokenLoss()
    def ours():
        with door.asked(**loss_func.wanted(ids)): return loss_func(model(torch.stack([ids, mask], 1)), ids)
    sides = dict(blurlike=ours, transformers=lambda: model(input_ids=ids, attention_mask=mask, labels=ids).loss)
    before,start = peak(reset=True),time.process_time()
    optimizer.zero_grad()
    for _ in range(3):
        sides[way]().backward()
        optimizer.zero_grad()
    print(f'{peak()-before:.0f} MB, {(time.process_time()-start)/3:.2f} s of processor time a step')

def memory(args):
    if args.one: return one_memory(args.one[0], int(args.one[1]), args)
    for way in ('blurlike','transformers'):
        for words in (5000, 50_000):
            own = [sys.executable, __file__, 'memory', '--width', str(args.width), '--layers', str(args.layers), '--one', way, str(words)]
            runs = [subprocess.run(own, capture_output=True, text=True, check=True).stdout.splitlines()[-1] for _ in range(args.rounds)]
            print(f'{way}, {words:,} words: {"; ".join(runs)}', flush=True)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('what', choices=['perplexity','generate','train','memory'])
    p.add_argument('--one', nargs=2, help=argparse.SUPPRESS)
    p.add_argument('--checkpoint', help='of `perplexity` and `generate`: a folder')
    p.add_argument('--text', help='of `perplexity`: a text file; of `generate`: a jsonl file')
    for name,value in dict(tokens=8192, block_size=1024, prompts=200, new_tokens=64, rows=600, bs=8, width=128, layers=2, rounds=3).items():
        p.add_argument(f'--{name.replace("_", "-")}', type=int, default=value)
    args = p.parse_args()
    tf.utils.logging.set_verbosity_error()
    tf.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    globals()[args.what](args)

if __name__=='__main__': main()
