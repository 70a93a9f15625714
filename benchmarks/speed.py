"""How fast are batches, training and prediction, beside their peers? `python benchmarks/speed.py --help`

Each scenario runs us and the peers in turn (A B C A B C ...), `--rounds` times, on the same work; the table gives medians and,
round by round, the ratio to the peer that the goals name. Machines are shared and noisy: only the ratios are worth quoting.
"""
import argparse
import gc
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from unittest import mock

os.environ.setdefault('HF_HUB_OFFLINE', '1')
os.environ.setdefault('WANDB_MODE', 'disabled')
os.environ.setdefault('TOKENIZERS_PARALLELISM', 'true')
import datasets
import numpy as np
import pandas as pd
import torch
import transformers
from datasets import Dataset
from fastai.basics import Adam, CrossEntropyLossFlat, DataLoaders, Learner

import blurlike
from blurlike.all import ModelInputsCallback, scratch_checkpoint, sequence_classification_learner, set_seed
from blurlike.model import embedding_gradient

def natural_rows(args, n, seed=0, longest=400):
    "`n` labelled reviews of which one tells the sentiment, cut at random so that lengths spread from 5 to `longest` words."
    rng = np.random.default_rng(seed)
    rows = [json.loads(l) for l in (args.shared/'data'/'imdb_sample'/'train.jsonl').read_text().split('\n') if l]
    rows = [rows[i%len(rows)] for i in rng.permutation(n)]
    words = np.exp(rng.uniform(np.log(5), np.log(longest), n)).astype(int) # many short, few long, as natural texts are
    return pd.DataFrame(dict(text=[' '.join(r['text'].split()[:w]) for r,w in zip(rows, words)], label=[r['label'] for r in rows]))

def short_rows(n, seed=0):
    "A `Dataset` in an Arrow file of `n` rows of 4 to 16 words."
    rng = np.random.default_rng(seed)
    words = np.array('a the film book was is not very good bad long short old new story plot actor scene music end'.split())
    texts = [' '.join(words[rng.integers(0, len(words), k)]) for k in rng.integers(4, 17, 10_000)]
    folder = Path(tempfile.gettempdir())/f'blurlike-speed-{n}'
    if not (folder/'state.json').exists():
        index = rng.integers(0, len(texts), n)
        Dataset.from_dict(dict(text=[texts[i] for i in index], label=[('neg','pos')[i%2] for i in index])).save_to_disk(folder)
    return datasets.load_from_disk(folder)

CLOCKS = dict(wall=time.perf_counter, processor=time.process_time)

def timed(f, collect=True, clock=time.perf_counter):
    if collect: gc.collect()
    start = clock()
    res = f()
    if torch.cuda.is_available(): torch.cuda.synchronize()
    return res,clock()-start

def new_model(args, checkpoint, **kwargs):
    set_seed(0)
    return transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32, num_labels=2, **kwargs).to(args.device)

def raw_loop(args, model, batches, half=False):
    "A training loop in plain PyTorch, as it is written well: fused AdamW, clipping, a linear schedule."
    decay,rest = [p for p in model.parameters() if p.ndim>1],[p for p in model.parameters() if p.ndim<2]
    opt = torch.optim.AdamW([dict(params=decay, weight_decay=.01), dict(params=rest, weight_decay=0.)], lr=1e-4, fused=True)
    sched = torch.optim.lr_scheduler.LinearLR(opt, 1., 0.01, max(1, len(batches)))
    model.train()
    for b in batches:
        with torch.autocast(args.device, dtype=torch.bfloat16, enabled=half): loss = model(**b).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.)
        opt.step()
        sched.step()
        opt.zero_grad(set_to_none=True)

def hf_trainer(args, model, tokenizer, df, bs, grouped=False, half=False, max_length=512):
    "A `Trainer` ready to run; tokenising is its user's business and done before the clock starts."
    rows = Dataset.from_dict(dict(text=df.text.tolist(), labels=[int(l in ('pos','positive',1)) for l in df.label]))
    rows = rows.map(lambda r: tokenizer(r['text'], truncation=True, max_length=max_length), batched=True, remove_columns=['text'])
    targs = transformers.TrainingArguments(tempfile.mkdtemp(), num_train_epochs=1, per_device_train_batch_size=bs, learning_rate=1e-4, report_to='none', save_strategy='no', optim='adamw_torch_fused',
        use_cpu=args.device=='cpu', bf16=half, train_sampling_strategy='group_by_length' if grouped else 'random')
    return transformers.Trainer(model, targs, train_dataset=rows, data_collator=transformers.DataCollatorWithPadding(tokenizer))

def our_learner(args, df, checkpoint, bs, **kwargs):
    return sequence_classification_learner(df, checkpoint, bs=bs, valid=list(range(4)), dl_kwargs=dict(device=torch.device(args.device)), **kwargs)

def train_only(learn):
    "One epoch of training with bar and Recorder, and a validation of four rows."
    learn.fit_one_cycle(1, 1e-4)

def collated(args, learn):
    "Batches of `learn`'s loader as dicts on the device, made beforehand."
    return [{k:v.to(args.device) for k,v in b.items()} for b in learn.dls.train.as_torch()]

def real_tokens(batches): return int(sum(b['attention_mask'].sum() for b in batches))

# ---- scenarios: name -> {side: callable that returns (amount of work, seconds)}, the side that ratios refer to, unit

def step(args):
    "Fixed cost per step: 2 layers of width 64, batches of 8 x 16 tokens, one thread (two would only wait for each other)."
    torch.set_num_threads(1)
    rng,n,bs = np.random.default_rng(0),args.steps,8
    words = 'alpha beta gamma delta eps zeta eta theta iota kappa'.split()
    df = pd.DataFrame(dict(text=[' '.join(rng.choice(words, 14)) for _ in range(n*bs+4)], label=rng.choice(['neg','pos'], n*bs+4)))
    checkpoint = scratch_checkpoint([' '.join(words)]*3, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=256)
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    learn = our_learner(args, df, checkpoint, bs, metrics=[])
    list(learn.dls.train)
    batches = collated(args, learn)
    plain = Learner(DataLoaders(learn.dls.train, learn.dls.valid), new_model(args, checkpoint), loss_func=CrossEntropyLossFlat(), opt_func=Adam, cbs=ModelInputsCallback())
    def ours(): return n,timed(lambda: train_only(our_learner_again(learn)))[1]
    def raw():
        model = new_model(args, checkpoint)
        return n,timed(lambda: raw_loop(args, model, batches))[1]
    def trainer():
        t = hf_trainer(args, new_model(args, checkpoint), tokenizer, df.iloc[4:], bs, max_length=64)
        return n,timed(t.train)[1]
    def fastai(): return n,timed(lambda: plain.fit(1, 1e-4))[1]
    return {'raw loop':raw, 'blurlike':ours, 'Trainer':trainer, 'fastai, its own Adam':fastai}, 'raw loop', 'steps/s'

def our_learner_again(learn):
    learn.opt = None
    return learn

def train(args):
    "Training on texts of natural lengths: real tokens a second, by `--clock`."
    df,bs,checkpoint = natural_rows(args, args.rows),args.bs,args.checkpoint
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    batches = collated(args, our_learner(args, df, checkpoint, bs))
    amount = real_tokens(batches)
    clock = CLOCKS[args.clock]
    def blurlike_side(**kwargs):
        def run():
            learn = our_learner(args, df, checkpoint, bs, **kwargs)
            return amount,timed(lambda: train_only(learn), clock=clock)[1]
        return run
    def trainer(**kwargs):
        def run():
            t = hf_trainer(args, new_model(args, checkpoint), tokenizer, df.iloc[4:], bs, **kwargs)
            return amount,timed(t.train, clock=clock)[1]
        return run
    def raw(half=False):
        def run():
            model = new_model(args, checkpoint)
            return amount,timed(lambda: raw_loop(args, model, batches, half), clock=clock)[1]
        return run
    sides = {'Trainer':trainer(), 'Trainer, by length':trainer(grouped=True), 'blurlike':blurlike_side(metrics=[]), 'raw loop, the same batches':raw(),
        'Trainer, by length, bf16':trainer(grouped=True, half=True), 'blurlike, bf16':blurlike_side(metrics=[], precision='bf16'), 'raw loop, bf16':raw(True)}
    if args.compile: # compiled once: what compiling costs is told apart
        learn = our_learner(args, df, checkpoint, bs, metrics=[], compile=True)
        print(f'first epoch, compiling: {timed(lambda: train_only(learn))[1]:.0f} s')
        sides['blurlike, compiled'] = lambda: (amount, timed(lambda: train_only(our_learner_again(learn)), clock=clock)[1])
    return sides,'Trainer','real tokens/s'

def share(args):
    "Training on texts of natural lengths beside plain products of 1,536 x 384 and 384 x 1,536 matrices: operations a second, of real tokens and weights alone."
    df = natural_rows(args, args.rows)
    batches = collated(args, our_learner(args, df, args.checkpoint, args.bs))
    encoder = new_model(args, args.checkpoint).base_model.encoder
    amount = 6*real_tokens(batches)*sum(m.weight.numel() for m in encoder.modules() if isinstance(m, torch.nn.Linear)) # forward and backward
    clock = CLOCKS[args.clock]
    def ours():
        learn = our_learner(args, df, args.checkpoint, args.bs, metrics=[])
        return amount,timed(lambda: train_only(learn), clock=clock)[1]
    def raw():
        model = new_model(args, args.checkpoint)
        return amount,timed(lambda: raw_loop(args, model, batches), clock=clock)[1]
    a,b,n = torch.randn(1536, 384),torch.randn(384, 1536),300
    out = torch.empty(1536, 1536)
    def products():
        return n*2*a.numel()*b.shape[1],timed(lambda: [torch.mm(a, b, out=out) for _ in range(n)], clock=clock)[1]
    return {'matrix products':products, 'blurlike':ours, 'raw loop, the same batches':raw},'matrix products','operations/s'

def dropout(args):
    "Our dropout on a CPU beside PyTorch's, the same learner and batches: real tokens a second of processor time."
    df = natural_rows(args, args.rows)
    amount = real_tokens(collated(args, our_learner(args, df, args.checkpoint, args.bs)))
    def side(fast, **kwargs):
        def run():
            learn = our_learner(args, df, args.checkpoint, args.bs, metrics=[], **kwargs)
            learn.fast_dropout = fast
            return amount,timed(lambda: train_only(learn), clock=time.process_time)[1]
        return run
    none = dict(model_kwargs=dict(hidden_dropout_prob=0., attention_probs_dropout_prob=0.))
    half = dict(precision='bf16')
    return {"PyTorch's":side(False), 'blurlike':side(True), 'no dropout':side(False, **none),
        "PyTorch's, bf16":side(False, **half), 'blurlike, bf16':side(True, **half), 'no dropout, bf16':side(False, **none, **half)},"PyTorch's",'real tokens/s'

def embedding(args):
    "Short texts (TREC), with the gradient of the embeddings in the memory of the last one, and in fresh memory: real tokens a second of processor time."
    df = pd.read_json(args.shared/'data'/'trec'/'train.jsonl', lines=True)[:args.rows]
    learners = {'':our_learner(args, df, args.checkpoint, args.bs, metrics=[])}
    learners[', bf16'] = our_learner(args, df, args.checkpoint, args.bs, metrics=[], precision='bf16')
    amount = real_tokens(collated(args, learners['']))
    def side(learn, large):
        def run():
            with mock.patch.object(embedding_gradient, 'LARGE', large): return amount,timed(lambda: train_only(learn), clock=time.process_time)[1]
        return run
    sides = dict(blurlike=embedding_gradient.LARGE) | {'fresh memory':math.inf}
    return {f'{name}{how}':side(learn, large) for how,learn in learners.items() for name,large in sides.items()},'fresh memory','real tokens/s'

def predict(args):
    "`predict_batch` on texts of natural lengths: rows a second."
    df = natural_rows(args, args.rows, seed=1)
    learn = our_learner(args, df, args.checkpoint, args.bs)
    train_only(learn)
    half = our_learner(args, df, args.checkpoint, args.bs, precision='bf16')
    half.model.load_state_dict(learn.model.state_dict())
    folder = tempfile.mkdtemp()
    learn.save_pretrained(folder)
    pipe = transformers.pipeline('text-classification', folder, device=args.device, truncation=True)
    texts = df.text.tolist()
    def side(f): return lambda: (len(texts), timed(f)[1])
    ways = {'blurlike':lambda: learn.predict_batch(texts), 'blurlike, bf16':lambda: half.predict_batch(texts)}
    if args.device=='cpu': ways['blurlike, int8'] = lambda: learn.predict_batch(texts, precision='int8')
    answers = {name:way() for name,way in ways.items()}
    for name,found in answers.items():
        pairs = list(zip(answers['blurlike'], found))
        shift = max(abs(x['score']-y['score']) for x,y in pairs if x['label']==y['label'])
        print(f"{name}: {sum(x['label']!=y['label'] for x,y in pairs)} of {len(texts)} labels are others than in float32, probabilities differ by up to {shift:.4f}")
    return {'pipeline, 32':side(lambda: pipe(texts, batch_size=32)), 'pipeline, 1':side(lambda: pipe(texts, batch_size=1)),
        **{name:side(way) for name,way in ways.items()}},'pipeline, 32','rows/s'

def one(args):
    "`predict` of one text: milliseconds beside tokenizer and model called directly, in random order, each after a call of the model."
    learn = our_learner(args, natural_rows(args, 40), args.checkpoint, args.bs)
    learn.model.eval()
    folder = tempfile.mkdtemp()
    learn.save_pretrained(folder)
    pipe = transformers.pipeline('text-classification', folder, device=args.device)
    model,tokenizer,text = new_model(args, folder).eval(),learn.dls.tokenizer,'a film of which nobody could say that it was not worth seeing'
    def direct():
        with torch.inference_mode(): return model(**tokenizer(text, return_tensors='pt').to(args.device)).logits.softmax(-1)
    sides = {'tokenizer + model':direct, 'blurlike':lambda: learn.predict(text), 'pipeline':lambda: pipe(text)}
    times,rng = {k:[] for k in sides},np.random.default_rng(0)
    for i in range(args.calls+10):
        for k in rng.permutation(list(sides)):
            direct() # leaves the processor's caches as a model does
            if i>=10: times[k].append(1000*timed(sides[k], collect=False)[1])
            else: sides[k]()
    base = np.array(times['tokenizer + model'])
    lines = ['', '## one', '', one.__doc__, '', '| side | ms (median) | ms more, call by call (median; quartiles) |', '|---|---|---|']
    for k,v in times.items(): lines.append('| {} | {:.2f} | {:.2f} ({:.2f} to {:.2f}) |'.format(k, np.median(v), *np.percentile(np.array(v)-base, [50,25,75])))
    print('\n'.join(lines), flush=True)
    return lines

def loader(args):
    "The loader alone, over short rows of an Arrow file: rows a second in the first pass and in later ones."
    learn = sequence_classification_learner(short_rows(args.loader_rows), small_checkpoint(), valid=list(range(10)), dl_kwargs=dict(device=torch.device('cpu')))
    dl = learn.dls.train
    df = short_rows(args.loader_rows).select(range(20_000)).to_pandas()
    def go(dl):
        def run():
            n = sum(len(x) for x,y in dl)
            return n
        return run
    def first():
        n,s = timed(go(dl.new(remembered=None, memory=0)))
        return n,s
    list(dl)
    def later(): return timed(go(dl))
    def fastai_side():
        from fastai.data.all import CategoryBlock, ColReader, DataBlock, RandomSplitter, TransformBlock
        def tokenise(t): return torch.tensor(learn.dls.tokenizer(t)['input_ids'])
        from fastai.text.data import pad_input
        dls = DataBlock(blocks=(TransformBlock(type_tfms=tokenise), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'), splitter=RandomSplitter(.001)).dataloaders(df, bs=16, num_workers=0, before_batch=pad_input)
        return timed(lambda: sum(len(x) for x,y in dls.train))
    return {'fastai, one text at a time':fastai_side, 'blurlike, first pass':first, 'blurlike, remembered':later},'fastai, one text at a time','rows/s'

def small_checkpoint():
    return scratch_checkpoint(short_rows(1000)['text'][:200])

def build(args):
    "Building a learner over 10,000 to 10,000,000 rows, each time in a new process: seconds beyond those for 1,000 rows, and megabytes beyond the opened data."
    lines = ['', '## build', '', build.__doc__, '', '| data | rows | seconds more (median) | first batch, seconds | megabytes more |', '|---|---|---|---|---|']
    sizes = [(kind,n) for n in args.sizes for kind in ('Dataset','DataFrame') if kind=='Dataset' or n<=1_000_000]
    found = {k:[] for k in sizes}
    for _ in range(args.rounds):
        for kind,n in sizes:
            out = subprocess.run([sys.executable, __file__, '--child', kind, str(n)], capture_output=True, text=True)
            if out.returncode: raise RuntimeError(out.stderr[-2000:])
            found[kind,n].append(json.loads(out.stdout.strip().splitlines()[-1]))
    for (kind,n),res in found.items():
        med = {k:np.median([r[k] for r in res]) for k in res[0]}
        lines.append(f"| {kind} | {n:,} | {med['seconds']:.2f} | {med['first_batch']:.2f} | {med['megabytes']:.0f} |")
    draw_build(found, args.out/f'speed-build-{args.device}.png')
    print('\n'.join(lines), flush=True)
    return lines

def draw_build(found, path):
    "Microseconds a row, building and first batch together, against rows."
    import matplotlib
    matplotlib.use('agg')
    import matplotlib.pyplot as plt
    fig,ax = plt.subplots(figsize=(5,3.2), layout='constrained')
    for kind in ('Dataset','DataFrame'):
        points = sorted((n, 1e6*np.median([max(r['seconds'], 0)+r['first_batch'] for r in res])/n) for (k,n),res in found.items() if k==kind)
        ax.loglog(*zip(*points), 'o-', label=kind)
    ax.set(xlabel='rows', ylabel='microseconds a row', title='Loaders built and first batch taken')
    ax.legend()
    fig.savefig(path, dpi=110)

def child(kind, n):
    "In a new process: open the data, build the loaders, take a batch."
    import resource
    from blurlike.data.batch import TransformersDL # noqa: F401
    datasets.disable_progress_bars()
    data,checkpoint = short_rows(n),small_checkpoint()
    if kind=='DataFrame': data = data.to_pandas()
    warm = sequence_classification_learner(short_rows(1000), checkpoint)
    warm.dls.one_batch()
    def mb(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
    def own(): # anonymous memory: what is mapped from a file does not count
        return next(int(l.split()[1])/1024 for l in open('/proc/self/status') if l.startswith('RssAnon'))
    before = own()
    learn,seconds = timed(lambda: sequence_classification_learner(data, checkpoint))
    after = own()
    _,first = timed(learn.dls.one_batch)
    _,base = timed(lambda: sequence_classification_learner(short_rows(1000), checkpoint))
    print(json.dumps(dict(seconds=round(seconds-base, 3), first_batch=round(first, 3), megabytes=round(after-before, 1), peak=round(mb()-before, 1))))

def imports(args):
    "Each star-import in a new process, with bytecode that an earlier one has written: seconds of its processor time."
    env = {k:v for k,v in os.environ.items() if k!='PYTHONDONTWRITEBYTECODE'}|{'PYTHONPYCACHEPREFIX':tempfile.mkdtemp()}
    def side(line):
        def run():
            before = os.times()
            subprocess.run([sys.executable, '-c', line], check=True, capture_output=True, env=env)
            after = os.times()
            return 1,after.children_user+after.children_system-before.children_user-before.children_system
        return run
    return {'fastai.text.all':side('from fastai.text.all import *'), 'blurlike.all':side('from blurlike.all import *')},'fastai.text.all','imports/s'

def padded(lens, bs, megabatch):
    "The share of padding where so many random batches are sorted by length together."
    chunks = np.split(lens, range(megabatch*bs, len(lens), megabatch*bs))
    batches = [b for c in chunks for b in np.split(np.sort(c)[::-1], range(bs, len(c), bs))]
    return 1-lens.sum()/sum(len(b)*b.max() for b in batches)

def padding(args):
    "The share of padding in a pass over training rows, by how many batches are sorted together (1: random batches): real texts, and the log-uniform lengths of `train`."
    read = lambda name, text: [json.loads(l)[text] for l in (args.shared/'data'/name/'train.jsonl').read_text().split('\n') if l]
    sets = dict(imdb_sample=read('imdb_sample', 'text'), sst2=read('sst2', 'sentence'), ag_news=read('ag_news', 'text'), trec=read('trec', 'text'),
        multi30k_en=read('multi30k_en_de', 'en')[:5000], log_uniform=natural_rows(args, 4000).text.tolist())
    sizes = 10,4,2,1
    lines = ['', '## padding', '', padding.__doc__, '', f"| texts | ours (200) | {' | '.join(map(str, sizes))} |", '|---|---|'+'---|'*len(sizes)]
    for name,texts in sets.items():
        learn = our_learner(args, pd.DataFrame(dict(text=texts, label=['neg','pos']*(len(texts)//2)+['neg']*(len(texts)%2))), args.checkpoint, args.bs)
        at = learn.dls.text_tfm.fields.index('attention_mask')
        masks = [x[:,at] for x,y in learn.dls.train.new(device=torch.device('cpu'))]
        lens = np.random.default_rng(0).permutation([l for m in masks for l in m.sum(-1).tolist()])
        rest = ' | '.join(f'{padded(lens, args.bs, n):.1%}' for n in sizes)
        lines.append(f'| {name} | {1-lens.sum()/sum(m.numel() for m in masks):.2%} | {rest} |')
    print('\n'.join(lines), flush=True)
    return lines

SCENARIOS = dict(step=step, train=train, share=share, dropout=dropout, embedding=embedding, predict=predict, one=one, loader=loader, build=build, padding=padding, imports=imports)

def run(args, name):
    "Markdown lines for scenario `name`."
    if name in ('padding','build','one'): return SCENARIOS[name](args) # these are no turns
    threads = torch.get_num_threads()
    sides,base,unit = SCENARIOS[name](args)
    sides = {k:f for k,f in sides.items() if k not in args.leave_out}
    rates = {k:[] for k in sides}
    for r in range(args.rounds+args.warmup):
        for k,f in sides.items():
            with open(os.devnull, 'w') as null: # bars are drawn, but not shown
                out,sys.stdout = sys.stdout,null
                try: amount,seconds = f()
                finally: sys.stdout = out
            if r>=args.warmup: rates[k].append(amount/seconds)
        if r>=args.warmup: print(f'  {name}, round {r-args.warmup+1}:', {k:round(v[-1], 2) for k,v in rates.items()}, flush=True)
    lines = ['', f'## {name}', '', SCENARIOS[name].__doc__, '', f'| side | {unit} (median) | ratio to {base} (median; lowest to highest) |', '|---|---|---|']
    for k,v in rates.items():
        ratio = np.array(v)/np.array(rates[base])
        lines.append(f'| {k} | {np.median(v):.4g} | {np.median(ratio):.3f} ({ratio.min():.3f} to {ratio.max():.3f}) |')
    lines += ['', f'Threads: {torch.get_num_threads()}.']
    torch.set_num_threads(threads) # a scenario may have changed it
    print('\n'.join(lines), flush=True)
    return lines

def quiet():
    warnings.simplefilter('ignore')
    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()

def main():
    if '--child' in sys.argv: return child(sys.argv[2], int(sys.argv[3]))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('scenarios', nargs='*', default=list(SCENARIOS), help=', '.join(SCENARIOS))
    p.add_argument('--shared', type=Path, default=Path(__file__).parents[2]/'shared', help='folder with data/ and models/')
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--warmup', type=int, default=1, help='rounds that are not counted')
    p.add_argument('--rows', type=int, default=240, help='rows of natural length for training and prediction')
    p.add_argument('--calls', type=int, default=300, help='calls of each side for one')
    p.add_argument('--steps', type=int, default=200)
    p.add_argument('--bs', type=int, default=16)
    p.add_argument('--loader-rows', type=int, default=1_000_000)
    p.add_argument('--sizes', nargs='+', type=int, default=[10_000, 100_000, 1_000_000, 10_000_000])
    p.add_argument('--compile', action='store_true', help='measure torch.compile too')
    p.add_argument('--leave-out', nargs='*', default=[], help='sides that are not run, by their names in the table')
    p.add_argument('--clock', choices=CLOCKS, default='wall', help='for train and share; `processor` counts what this process used, whatever runs beside it')
    p.add_argument('--device', default='cpu', help='cpu or cuda')
    p.add_argument('--out', type=Path, default=Path(__file__).parent/'results')
    args = p.parse_args()
    args.checkpoint = str(args.shared/'models'/'all-MiniLM-L6-v2')
    quiet()
    commit = subprocess.run(['git','describe','--always','--dirty'], capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()
    device = torch.cuda.get_device_name() if args.device=='cuda' else f'CPU, {torch.get_num_threads()} threads'
    versions = f"blurlike {blurlike.__version__}, torch {torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}, {device}"
    args.out.mkdir(exist_ok=True)
    for name in args.scenarios:
        lines = [f'# Speed: {name} ({args.device})', '', f"`python benchmarks/speed.py {' '.join(sys.argv[1:])}`, commit {commit}, {versions}. {args.rounds} rounds of turns, after {args.warmup} uncounted.", *run(args, name)]
        if len(lines)>3: (args.out/f'speed-{name}-{args.device}.md').write_text('\n'.join(lines)+'\n')

if __name__=='__main__': main()
