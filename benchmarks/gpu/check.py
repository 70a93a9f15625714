"""Is blurlike right and fast on this device? `python benchmarks/gpu/check.py --help`; README.md beside this file says how.

Each part runs in a process of its own with a limit of its own, so that one failure hides nothing, and writes `PART.json` into
`--out` as it goes; at the end a table of all parts is printed and written to `gpu.md`. Sides take turns (A B C A B C ...), after one
round that is not counted; tables give medians and the ratio to a peer, round by round. The models are made from configs, with random
weights: what they compute takes as long as if they were trained.
"""
import argparse
import gc
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

for k,v in dict(HF_HUB_OFFLINE='1', WANDB_MODE='disabled', MPLBACKEND='agg', TOKENIZERS_PARALLELISM='true').items(): os.environ.setdefault(k, v)
ROOT = Path(__file__).resolve().parents[2]

# part: seconds it may take
LIMITS = dict(device=30, correct=200, train=150, large=60, compiled=90, graphs=90, graphs_modernbert=120, profile=60, predict=90, causal=90, attention=30)

# ---- models and data

def texts(n, seed=0, longest=400):
    "`n` texts of 5 to `longest` words, log-uniform as natural lengths are, and labels that a word of them tells."
    import numpy as np
    rng = np.random.default_rng(seed)
    words = np.array([a+b+c for a in 'bdfgklmnprst' for b in ('a','e','i','o','u','ai','ou') for c in ('n','r','l','st','m','nd','ck','ss')])
    lens = np.exp(rng.uniform(np.log(5), np.log(longest), n)).astype(int)
    labels = rng.integers(0, 2, n)
    return [' '.join([('bad','good')[y], *words[rng.integers(0, len(words), k-1)]]) for k,y in zip(lens, labels)],labels.tolist()

def checkpoint(kind, tiny, folder):
    "A headless model of BERT-base's or ModernBERT-base's size, and a WordPiece tokenizer of whole words."
    import transformers as tf
    from blurlike.all import scratch_checkpoint
    import torch
    torch.manual_seed(0)
    made = scratch_checkpoint(texts(300)[0], folder/kind, vocab_size=3000, max_position_embeddings=512)
    tokenizer = tf.AutoTokenizer.from_pretrained(made)
    size = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64) if tiny else {} # else those of the configs: base
    if kind=='bert': model = tf.BertModel(tf.BertConfig(**size))
    else:
        special = dict(pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3)
        model = tf.ModernBertModel(tf.ModernBertConfig(**special, **size))
    model.save_pretrained(made)
    return str(made),tokenizer

def operations(checkpoint): # of a token, forward and backward: products of weights alone, attention's own left out
    import transformers as tf
    c = tf.AutoConfig.from_pretrained(checkpoint)
    inner = (3 if c.model_type=='modernbert' else 2)*c.hidden_size*c.intermediate_size # ModernBERT's is gated
    return 6*c.num_hidden_layers*(4*c.hidden_size**2+inner)

def learner(args, df, made, bs, **kwargs):
    import torch
    from blurlike.all import sequence_classification_learner
    return sequence_classification_learner(df, made, bs=bs, valid=list(range(4)), metrics=[], dl_kwargs=dict(device=torch.device(args.device)), **kwargs)

def frame(args, n, seed=0): # a few short ones of a toy
    import pandas as pd
    t,y = texts(20, seed, 20) if args.tiny else texts(n, seed)
    return pd.DataFrame(dict(text=t, label=y))

def new_model(args, made):
    import torch, transformers as tf
    torch.manual_seed(0)
    return tf.AutoModelForSequenceClassification.from_pretrained(made, dtype=torch.float32, num_labels=2).to(args.device)

def sync(args):
    import torch
    if args.device=='cuda': torch.cuda.synchronize()

def fresh_peak(args):
    import torch
    gc.collect()
    if args.device=='cuda':
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

def peak_mb(args):
    import torch
    return torch.cuda.max_memory_allocated()/2**20 if args.device=='cuda' else 0.

def timed(args, f):
    sync(args)
    start = time.perf_counter()
    f()
    sync(args)
    return time.perf_counter()-start

def raw_loop(args, model, batches, compiled=False):
    "A training loop in plain PyTorch over ready-made batches on the device."
    import torch
    decay,rest = [p for p in model.parameters() if p.ndim>1],[p for p in model.parameters() if p.ndim<2]
    opt = torch.optim.AdamW([dict(params=decay, weight_decay=.01), dict(params=rest, weight_decay=0.)], lr=1e-4, fused=True)
    sched = torch.optim.lr_scheduler.LinearLR(opt, 1., 0.01, max(1, len(batches)))
    model.train()
    for b in batches:
        with torch.autocast(args.device, dtype=torch.bfloat16): loss = model(**b).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.)
        opt.step()
        sched.step()
        opt.zero_grad(set_to_none=True)

def training_arguments(args, bs, **kwargs):
    import transformers as tf
    return tf.TrainingArguments(tempfile.mkdtemp(), num_train_epochs=1, per_device_train_batch_size=bs, learning_rate=1e-4, report_to='none', save_strategy='no', disable_tqdm=True,
        optim='adamw_torch_fused', use_cpu=args.device=='cpu', bf16=True, **kwargs)

def trainer(args, made, tokenizer, df, bs, grouped):
    import transformers as tf
    from datasets import Dataset
    rows = Dataset.from_dict(dict(text=df.text.tolist(), labels=df.label.tolist()))
    rows = rows.map(lambda r: tokenizer(r['text'], truncation=True, max_length=512), batched=True, remove_columns=['text'])
    targs = training_arguments(args, bs, train_sampling_strategy='group_by_length' if grouped else 'random')
    t = tf.Trainer(new_model(args, made), targs, train_dataset=rows, data_collator=tf.DataCollatorWithPadding(tokenizer))
    t.remove_callback(tf.PrinterCallback)
    return t

# ---- parts: `args -> None`; `keep` writes what was found so far

def keep(args, name, **found):
    path = args.out/f'{name}.json'
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(old|found, indent=1))
    print(name, json.dumps(found), flush=True)

def device(args):
    "What this machine is."
    import torch, transformers, blurlike, fastai
    said = dict(python=platform.python_version(), torch=torch.__version__, transformers=transformers.__version__, fastai=fastai.__version__, blurlike=blurlike.__version__, cpus=os.cpu_count())
    if args.device=='cuda':
        n,a = 8192,None
        a,b = (torch.randn(n, n, device='cuda', dtype=torch.bfloat16) for _ in range(2))
        for _ in range(3): a@b
        seconds = timed(args, lambda: [a@b for _ in range(10)])/10
        said |= dict(card=torch.cuda.get_device_name(), peak_tflops=round(2*n**3/seconds/1e12, 1))
    keep(args, 'device', found=said)

def correct(args):
    "tests/test_device.py on this device."
    env = os.environ | dict(BLURLIKE_DEVICE=args.device, CUBLAS_WORKSPACE_CONFIG=':4096:8')
    pick = 'one_text or trains_as' if args.tiny else args.pick
    picked = ['-k', pick] if pick else []
    workers = '0' if args.tiny else str(args.workers)
    log = args.out/'correct.log' # written test by test: what was found stands there when the time is over
    command = [sys.executable, '-m', 'pytest', '-v', '-n', workers, '--maxprocesses', workers, '-m', '', '-p', 'no:cacheprovider', '--tb=short', '-rfE', '--durations=15', str(ROOT/'tests'/'test_device.py'), *picked]
    with open(log, 'w') as f: done = subprocess.run(command, stdout=f, stderr=subprocess.STDOUT, env=env, cwd=ROOT)
    lines = log.read_text().strip().splitlines()
    keep(args, 'correct', last=lines[-1] if lines else '', failed=[l for l in lines if l.startswith(('FAILED','ERROR'))], code=done.returncode)

def turns(args, name, sides, amount, rounds, first=0):
    "Each side in turn: lists of amounts a second, and megabytes at most. Round 0 does not count."
    rates,peaks = {k:[] for k in sides},{}
    for r in range(first, rounds+1):
        for k,f in sides.items():
            fresh_peak(args)
            try: seconds = f()
            except Exception as e: # the other sides go on
                keep(args, name, **{f'{k}: error': f'{type(e).__name__}: {str(e)[:300]}'})
                rates[k].append(float('nan'))
                continue
            print(f'{name}, round {r}, {k}: {seconds:.2f} s', flush=True)
            if r: rates[k].append(amount/seconds)
            peaks[k] = peak_mb(args)
            if r: keep(args, name, **{k:dict(rates=[round(v, 1) for v in rates[k]], peak_mb=round(peaks[k]))})

def training_sides(args, kind, bs, rows):
    made,tokenizer = checkpoint(kind, args.tiny, Path(tempfile.mkdtemp()))
    df = frame(args, rows)
    loader = learner(args, df, made, bs)
    batches = [{k:v.to(args.device) for k,v in b.items()} for b in loader.dls.train.as_torch()]
    amount = int(sum(b['attention_mask'].sum() for b in batches))
    packed = {} # did it train without padding?
    def ours(**kwargs):
        def run():
            learn = learner(args, df, made, bs, precision='bf16', **kwargs)
            with learn.no_bar(), learn.no_logging(): seconds = timed(args, lambda: learn.fit_one_cycle(1, 1e-4))
            packed[str(kwargs)] = learn.packing is not None
            return seconds
        return run
    def raw():
        model = new_model(args, made)
        return timed(args, lambda: raw_loop(args, model, batches))
    def peer(grouped):
        def run():
            t = trainer(args, made, tokenizer, df.iloc[4:], bs, grouped)
            return timed(args, t.train)
        return run
    sides = {'raw loop, the same batches':raw, 'blurlike':ours(), 'blurlike, packed':ours(padding_free=True), 'Trainer':peer(False), 'Trainer, by length':peer(True)}
    return sides,amount,made,batches,packed

def passes(args): # a callback that takes the time of each pass over the training rows
    from fastai.callback.core import Callback
    class Passes(Callback):
        def __init__(self): self.seconds = []
        def before_train(self):
            sync(args)
            self.start = time.perf_counter()
        def after_train(self):
            sync(args)
            self.seconds.append(time.perf_counter()-self.start)
    return Passes()

def train(args):
    "Training in bf16 on natural lengths, real tokens a second, and megabytes at most."
    for kind in ('bert',) if args.tiny else ('bert','modernbert'):
        sides,amount,made,_,packed = training_sides(args, kind, 8 if args.tiny else 64, 1600)
        keep(args, f'train-{kind}', operations=operations(made), tokens=amount)
        turns(args, f'train-{kind}', sides, amount, args.rounds)
        keep(args, f'train-{kind}', packed=str(packed))

def large(args):
    "The same in batches of 256, ours beside the plain loop: what share of the card's peak is reached?"
    sides,amount,made,_,packed = training_sides(args, 'bert', 8 if args.tiny else 256, 4096)
    keep(args, 'large-bert', operations=operations(made), tokens=amount)
    turns(args, 'large-bert', {k:v for k,v in sides.items() if not k.startswith('Trainer')}, amount, max(1, args.rounds-1))
    keep(args, 'large-bert', packed=str(packed))

def compiled(args):
    "Compiled layers, padded, beside the same not compiled: a learner each, trained again and again."
    bs,rows = (8 if args.tiny else 64), 1600
    made,_ = checkpoint('bert', args.tiny, Path(tempfile.mkdtemp()))
    df = frame(args, rows)
    loader = learner(args, df, made, bs)
    amount = int(sum(b['attention_mask'].sum() for b in loader.dls.train.as_torch()))
    learns = {k:learner(args, df, made, bs, precision='bf16', **kw) for k,kw in (('blurlike', {}), ('blurlike, compiled', dict(compile=True)))}
    def again(learn):
        def run():
            learn.opt = None
            with learn.no_bar(), learn.no_logging(): return timed(args, lambda: learn.fit_one_cycle(1, 1e-4))
        return run
    turns(args, 'compiled-bert', {k:again(l) for k,l in learns.items()}, amount, args.rounds)

def profiled_pass(args, prof): # a callback that profiles the second pass over the training rows
    from fastai.callback.core import Callback
    class Second(Callback):
        def before_train(self):
            sync(args)
            if self.epoch: prof.start()
            self.start = time.perf_counter()
        def after_train(self):
            sync(args)
            self.seconds = time.perf_counter()-self.start
            if self.epoch: prof.stop()
    return Second()

def profile(args):
    "Where a step's time goes: kernels, launches, and waits for the device, ours beside the plain loop; the second pass over five batches."
    import torch
    from torch.profiler import ProfilerActivity
    sides,amount,made,batches,packed = training_sides(args, 'bert', 8 if args.tiny else 64, 324)
    df,raw = frame(args, 324),sides['raw loop, the same batches']
    kinds = [ProfilerActivity.CPU]+([ProfilerActivity.CUDA] if args.device=='cuda' else [])
    def ours(prof, **kwargs):
        learn = learner(args, df, made, 8 if args.tiny else 64, precision='bf16', **kwargs)
        second = profiled_pass(args, prof)
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 1e-4, cbs=second)
        return second.seconds
    def plain(prof):
        raw()
        with prof: return raw()
    shown = {'blurlike':ours, 'blurlike, packed':lambda p: ours(p, padding_free=True), 'blurlike, graphs':lambda p: ours(p, cuda_graphs=True), 'raw loop, the same batches':plain}
    for name,f in shown.items():
        prof = torch.profiler.profile(activities=kinds)
        seconds,table = f(prof),prof.key_averages()
        on_device = sum(getattr(e, 'self_device_time_total', 0) for e in table if str(e.device_type).endswith('CUDA'))/1e6
        count = lambda *names: sum(e.count for e in table if e.key in names)
        keep(args, 'profile', **{name:dict(steps=len(batches), seconds=round(seconds, 3), device_seconds=round(on_device, 3),
            launches=count('cudaLaunchKernel','cudaLaunchKernelExC','cuLaunchKernel','cuLaunchKernelEx'), graphs=count('cudaGraphLaunch'),
            waits=count('cudaStreamSynchronize','cudaDeviceSynchronize','cudaEventSynchronize'), copies=count('cudaMemcpyAsync'), items=count('aten::_local_scalar_dense'))})
        sort = 'self_cuda_time_total' if args.device=='cuda' else 'self_cpu_time_total'
        with open(args.out/'profile.txt', 'a') as log:
            log.write(f'\n==== {name}, by device\n{table.table(sort_by=sort, row_limit=30, max_name_column_width=70)}\n==== {name}, by processor\n{table.table(sort_by="self_cpu_time_total", row_limit=40, max_name_column_width=60)}\n')

def loud_capture(args): # `capture_graph` that prints where it fails
    import traceback
    import torch
    from blurlike.model.cuda_graphs import capture_graph
    if args.device!='cuda': return lambda function, inputs: function
    pool = torch.cuda.graph_pool_handle()
    def capture(function, inputs):
        try: return capture_graph(function, inputs, pool)
        except Exception:
            traceback.print_exc()
            raise
    return capture

def graphs(args, kind='bert'):
    "Ours by CUDA graphs (on the CPU by a stand-in) beside ours without, the plain loop and `Trainer`: the best pass after the first, in which graphs are made."
    from blurlike.all import CUDAGraphs
    bs = 8 if args.tiny else 64
    sides,amount,made,batches,_ = training_sides(args, kind, bs, 1600)
    df,told = frame(args, 1600),{}
    def ours(name, step=None, **kwargs):
        def run():
            cbs = [CUDAGraphs(step=step, capture=loud_capture(args))] if step else []
            learn = learner(args, df, made, bs, precision='bf16', cbs=cbs, **kwargs)
            clock = passes(args)
            with learn.no_bar(), learn.no_logging(), warnings.catch_warnings(record=True) as said:
                warnings.simplefilter('always')
                learn.fit_one_cycle(3, 1e-4, cbs=clock)
            words = [str(w.message) for w in said if 'cuda_graphs' in str(w.message)]
            told[name] = dict(passes=[round(t, 3) for t in clock.seconds], last_loss=round(learn.recorder.values[-1][0], 4), words=words)
            return min(clock.seconds[1:])
        return run
    def again(f): # the second time: the first one loads kernels
        f()
        return f()
    mine = {'blurlike':{}, 'blurlike, packed':dict(padding_free=True)} | {f'blurlike, graphs of {n}':dict(step=n) for n in (64, 32, 128)}
    shown = {k:(lambda f=sides[k]: again(f)) for k in ('raw loop, the same batches','Trainer, by length')}
    shown = {k:shown[k] for k in list(shown)[:1]} | {k:ours(k, **kw) for k,kw in mine.items()} | {k:shown[k] for k in list(shown)[1:]}
    keep(args, f'graphs-{kind}', operations=operations(made), tokens=amount)
    turns(args, f'graphs-{kind}', shown, amount, max(1, args.rounds-1), first=1)
    keep(args, f'graphs-{kind}', told=str(told))

def graphs_modernbert(args): graphs(args, 'modernbert')

def predict(args):
    "`predict_batch` in bf16 beside `pipeline(batch_size=128)` in bf16: rows a second; and milliseconds of one text."
    import torch, transformers as tf
    made,_ = checkpoint('bert', args.tiny, Path(tempfile.mkdtemp()))
    df = frame(args, 3000, seed=1)
    half = learner(args, df, made, 64, precision='bf16')
    folder = tempfile.mkdtemp()
    half.save_pretrained(folder)
    pipes = {n:tf.pipeline('text-classification', folder, device=args.device, truncation=True, dtype=d) for n,d in (('pipeline, 128, bf16', torch.bfloat16), ('pipeline, 128', torch.float32))}
    rows = df.text.tolist()
    few = rows[:len(rows)//10] # pipelines are slow
    sides = {n:(lambda p=p: timed(args, lambda: p(few, batch_size=128))*len(rows)/len(few)) for n,p in pipes.items()}
    sides |= {'blurlike, bf16':lambda: timed(args, lambda: half.predict_batch(rows)), 'blurlike, bf16, 256 a batch':lambda: timed(args, lambda: half.predict_batch(rows, bs=256))}
    turns(args, 'predict', sides, len(rows), args.rounds)
    model,tok = tf.AutoModelForSequenceClassification.from_pretrained(folder).eval().to(args.device),half.dls.tokenizer
    def direct():
        with torch.inference_mode(), torch.autocast(args.device, dtype=torch.bfloat16): return model(**tok(rows[0], return_tensors='pt').to(args.device)).logits.float().softmax(-1).cpu()
    ways,times = {'tokenizer + model':direct, 'blurlike':lambda: half.predict(rows[0])},{}
    for i in range(5 if args.tiny else 60):
        for k,f in ways.items(): times.setdefault(k, []).append(1000*timed(args, f))
    keep(args, 'one', **{k:round(statistics.median(v[3:]), 3) for k,v in times.items()})

def writer(args, folder):
    "A Llama of GPT-2's size (50,304 words), and texts in blocks: `(frame, folder, arguments of the learner)`."
    import pandas as pd, torch, transformers as tf
    made,tokenizer = checkpoint('bert', True, folder)
    tokenizer.eos_token,tokenizer.model_max_length = tokenizer.sep_token,1024
    tokenizer.save_pretrained(made)
    size = dict(vocab_size=3000, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64) if args.tiny else \
        dict(vocab_size=50304, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=2048)
    torch.manual_seed(0)
    tf.LlamaForCausalLM(tf.LlamaConfig(**size, max_position_embeddings=1024, pad_token_id=0, bos_token_id=2, eos_token_id=3)).save_pretrained(made)
    rows = texts(100, longest=60) if args.tiny else texts(2600)
    return pd.DataFrame(dict(text=rows[0])),made,dict(bs=2 if args.tiny else 8, block_size=128 if args.tiny else 1024, valid=list(range(4)), metrics=[])

def causal(args):
    "A causal model in bf16 on packed blocks of 1,024 tokens: tokens a second and megabytes, ours beside the plain loop (all logits) and `Trainer`."
    import torch, transformers as tf
    from blurlike.all import causal_lm_learner
    df,made,common = writer(args, Path(tempfile.mkdtemp()))
    def learner(**kwargs): return causal_lm_learner(df, made, dl_kwargs=dict(device=torch.device(args.device)), **common, **kwargs)
    batches = list(learner().dls.train.as_torch())
    amount = sum(b['input_ids'].numel() for b in batches)
    def model():
        torch.manual_seed(0)
        return tf.AutoModelForCausalLM.from_pretrained(made, dtype=torch.float32).to(args.device)
    def ours():
        learn = learner(precision='bf16')
        with learn.no_bar(), learn.no_logging(): return timed(args, lambda: learn.fit_one_cycle(1, 1e-4))
    def raw():
        m = model()
        return timed(args, lambda: raw_loop(args, m, batches))
    def peer():
        targs = training_arguments(args, len(batches[0]['input_ids']))
        rows = [{k:v.cpu() for k,v in zip(b, values)} for b in batches for values in zip(*b.values())]
        def padded(rows): return {k:torch.nn.utils.rnn.pad_sequence([r[k] for r in rows], True, -100 if k=='labels' else 0) for k in rows[0]}
        t = tf.Trainer(model(), targs, train_dataset=rows, data_collator=padded)
        t.remove_callback(tf.PrinterCallback)
        return timed(args, t.train)
    keep(args, 'causal', tokens=amount, fields=str({k:list(v.shape) for k,v in batches[0].items()}))
    turns(args, 'causal', {'raw loop, the same batches':raw, 'blurlike':ours, 'Trainer':peer}, amount, args.rounds)

def attention(args):
    "Ways to attend within the texts of a packed batch, forward and backward: milliseconds."
    if args.device!='cuda': return keep(args, 'attention', note='CUDA alone')
    import torch, torch.nn.functional as F
    import numpy as np
    lens = np.sort(np.exp(np.random.default_rng(0).uniform(np.log(7), np.log(420), 64)).astype(int))
    for label,l in (('alike',lens[32:48]),('all',lens)):
        heads,d = 12,64
        n,top,total = len(l),int(l.max()),int(l.sum())
        offsets = torch.tensor([0,*l.cumsum()], device='cuda', dtype=torch.int32)
        q,k,v = (torch.randn(total, heads, d, device='cuda', dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
        pq,pk,pv = (torch.randn(n, heads, top, d, device='cuda', dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
        mask = (torch.arange(top, device='cuda')<torch.tensor(l, device='cuda')[:,None])[:,None,None]
        long = offsets.long()
        def nested(p):
            a,b,c = (torch.nested.nested_tensor_from_jagged(t, long, min_seqlen=int(l.min()), max_seqlen=top).transpose(1, 2) for t in (q, k, v))
            return F.scaled_dot_product_attention(a, b, c, dropout_p=p).transpose(1, 2).values()
        def flash(p): return torch.ops.aten._flash_attention_forward(q, k, v, offsets, offsets, top, top, p, False, False)[0]
        def efficient(p): return torch.ops.aten._efficient_attention_forward(q[None], k[None], v[None], None, offsets, offsets, top, top, p, 0, True)[0]
        def varlen(p):
            from torch.nn.attention.varlen import varlen_attn
            return varlen_attn(q, k, v, offsets, offsets, top, top)
        def padded(p): return F.scaled_dot_product_attention(pq, pk, pv, attn_mask=mask, dropout_p=p)
        def plain(p): return F.scaled_dot_product_attention(pq, pk, pv, dropout_p=p)
        for name,f in dict(nested=nested, flash=flash, efficient=efficient, varlen=varlen, padded=padded, padded_without_mask=plain).items():
            for p in (0.,.1):
                def step(): f(p).sum().backward()
                try:
                    for _ in range(3): step()
                    wall = timed(args, lambda: [step() for _ in range(20)])/20*1000
                    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as prof: timed(args, lambda: [step() for _ in range(5)])
                    busy = sum(e.self_device_time_total for e in prof.key_averages())/5000
                    keep(args, 'attention', **{f'{label}, {name}, dropout {p}':dict(wall=round(wall, 3), device=round(busy, 3))})
                except Exception as e: keep(args, 'attention', **{f'{label}, {name}, dropout {p}':f'{type(e).__name__}: {str(e)[:200]}'})

PARTS = dict(device=device, correct=correct, train=train, large=large, compiled=compiled, graphs=graphs, graphs_modernbert=graphs_modernbert, profile=profile, predict=predict, causal=causal, attention=attention)

# ---- the table

def ratio(a, b): # of two sides, round by round
    both = [x/y for x,y in zip(a['rates'], b['rates']) if x==x and y==y]
    return f'{statistics.median(both):.2f} ({min(both):.2f} to {max(both):.2f})' if both else '-'

def table(out):
    "Markdown lines of what the parts found."
    read = lambda name: json.loads((out/f'{name}.json').read_text()) if (out/f'{name}.json').exists() else {}
    said,right = read('device').get('found', {}),read('correct')
    lines = ['# blurlike on '+said.get('card', 'the CPU'), '', ', '.join(f'{k} {v}' for k,v in said.items()), '', '## Correct', '', f"`tests/test_device.py`: {right.get('last', 'did not end')}", *(f'- {l}' for l in right.get('failed', []))]
    for name in ('train-bert','train-modernbert','large-bert','compiled-bert','graphs-bert','graphs-modernbert','predict','causal'):
        found = read(name)
        sides = {k:v for k,v in found.items() if isinstance(v, dict)}
        if not sides: continue
        base = next(iter(sides))
        lines += ['', f'## {name}', '', f'| side | a second (median) | ratio to {base} (median; lowest to highest) | MB at most | share of peak |', '|---|---|---|---|---|']
        for k,v in sides.items():
            mid = statistics.median(v['rates'])
            share = f"{mid*found['operations']/said['peak_tflops']/1e12:.0%}" if 'operations' in found and 'peak_tflops' in said else '-'
            lines.append(f"| {k} | {mid:.4g} | {ratio(v, sides[base])} | {v['peak_mb']} | {share} |")
        lines += [f'- {k}: {v}' for k,v in found.items() if k.endswith('error')]
    for name in ('one','profile','attention'):
        if found := read(name): lines += ['', f'## {name}', '', *(f'- {k}: {v}' for k,v in found.items())]
    return lines

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('parts', nargs='*', default=list(PARTS), help=', '.join(PARTS))
    p.add_argument('--device', default='cuda', choices=['cuda','cpu'])
    p.add_argument('--tiny', action='store_true', help='models and data of a toy: does the check itself work?')
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--workers', type=int, default=8, help='processes of the tests')
    p.add_argument('--pick', default='', help='of the tests, as with `pytest -k`')
    p.add_argument('--out', type=Path, default=Path(__file__).parent/'results')
    p.add_argument('--here', action='store_true', help='run the parts in this process, without limits')
    args = p.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.here:
        sys.path[:0] = [str(ROOT)]
        warnings.simplefilter('ignore')
        import datasets, transformers
        datasets.disable_progress_bars()
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        for name in args.parts: PARTS[name](args)
        return
    rest = ['--device',args.device, '--rounds',str(args.rounds), '--workers',str(args.workers), '--pick',args.pick, '--out',str(args.out), *(['--tiny'] if args.tiny else [])]
    for name in args.parts:
        start = time.perf_counter()
        env = os.environ | dict(PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]))
        p = subprocess.Popen([sys.executable, __file__, name, '--here', *rest], env=env, start_new_session=True)
        try: code = p.wait(timeout=LIMITS[name]*(10 if args.tiny else 1))
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL) # with the processes that it began, which would go on beside the next part
            p.wait()
            code = f'stopped after {LIMITS[name]} s'
        print(f'== {name}: {code}, {time.perf_counter()-start:.0f} s', flush=True)
    lines = table(args.out)
    (args.out/'gpu.md').write_text('\n'.join(lines)+'\n')
    print('\n'.join(lines))

if __name__=='__main__': main()
