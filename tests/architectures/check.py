"""One type of model, one task, from data to a reloaded learner: `python tests/architectures/check.py bert sequence_classification`

Without arguments all types of transformers' auto mappings run, in parallel, but for the pairs that stand in `found.jsonl` already (delete its lines to
run theirs again), and `docs/architectures.md` is written. What is found is kept as it comes: a run that was stopped goes on where it was.
"""
import argparse,faulthandler,json,multiprocessing,os,subprocess,sys,tempfile,time,traceback,warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

for k,v in dict(HF_HUB_OFFLINE='1', WANDB_MODE='disabled', MPLBACKEND='agg', OMP_NUM_THREADS='1', TOKENIZERS_PARALLELISM='false').items(): os.environ.setdefault(k, v)
sys.path.insert(0, str(Path(__file__).parent))

import pandas as pd
import torch
import transformers as tf
from excluded import padding, reason
from models import KIND, MAPPINGS, MULTIMODAL, TASKS, TEXTS, make_config, make_tokenizer, n_parameters

from blurlike.all import LEARNERS, TransformersLearner, layerwise_splitter, set_seed
from blurlike.model.trials import way_apart
from blurlike.model.splitters import layer_stacks
from blurlike.tasks.seq2seq.generation_settings import target_tfm_of

LABELS = ['good' if 'great' in t or 'liked' in t else 'bad' if 'awful' in t or 'bore' in t else 'fair' for t in TEXTS]
ROWS = pd.DataFrame(dict(text=TEXTS, label=LABELS))
WORDS = pd.DataFrame(dict(tokens=[t.split() for t in TEXTS], tags=[['B-LONG' if len(w)>4 else 'O' for w in t.split()] for t in TEXTS]))
CHOICES = pd.DataFrame(dict(text=TEXTS, choices=[['it was good','it was bad','it was fair of them'][:2+i%2] for i in range(len(TEXTS))], label=[i%2 for i in range(len(TEXTS))]))
QUESTIONS = pd.DataFrame(dict(question='was it great', context=TEXTS, answers=[dict(text=[t.split()[-1]], answer_start=[t.rindex(t.split()[-1])]) if 'great' not in t else dict(text=[], answer_start=[]) for t in TEXTS]))
DATA = dict(sequence_classification=ROWS, token_classification=WORDS, masked_lm=ROWS[['text']], multiple_choice=CHOICES, question_answering=QUESTIONS, causal_lm=ROWS[['text']],
    seq2seq=pd.DataFrame(dict(source=TEXTS, target=[' '.join(t.split()[-3:]) for t in TEXTS])))
SETTINGS = dict(causal_lm=dict(block_size=0), seq2seq=dict(score_rows=2)) # of the learner
WRITING = ['causal_lm','seq2seq'] # tasks whose models write texts

def masked(mask): return [f'the {mask} was great', f'the film was {mask} and we liked it', f'an awful {mask}', mask, f'a fair story about a {mask} town by the river']
ITEMS = dict(**dict.fromkeys(['sequence_classification','causal_lm','seq2seq'], lambda mask: TEXTS[:5]), token_classification=lambda mask: WORDS.tokens.tolist()[:5], masked_lm=masked,
    multiple_choice=lambda mask: list(zip(CHOICES.text, CHOICES.choices))[:5], question_answering=lambda mask: [(q, c[:16]) for q,c in zip(QUESTIONS.question, QUESTIONS.context)][:5]) # of a task, given the tokenizer's mask token
ASKED = dict(masked_lm=dict(top_k=2), **dict.fromkeys(WRITING, dict(max_new_tokens=4))) # of `predict_batch`

def model_class(kind, task):
    name = MAPPINGS[task][kind]
    return getattr(tf, name[0] if isinstance(name, (tuple, list)) else name)

def class_of_checkpoint(kind, task, config):
    "That of a published checkpoint: of some types of texts and images the head reads the text's part alone."
    cls = model_class(kind, task)
    is_part = cls.config_class in (getattr(config, 'sub_configs', None) or {}).values()
    return getattr(tf, MULTIMODAL[kind]) if is_part and kind in MULTIMODAL else cls

def checkpoint(kind, task, folder):
    "A folder with a tiny model of type `kind`, with the head of `task`, and its tokenizer; also without a head where transformers has such a class."
    set_seed(0)
    tokenizer = make_tokenizer(kind)
    if task in WRITING and tokenizer.eos_token is None: tokenizer.eos_token = tokenizer.sep_token # a text must have an end
    tokenizer.save_pretrained(folder)
    config = make_config(kind, tokenizer, task)
    cls = class_of_checkpoint(kind, task, config)
    n = n_parameters(cls, config)
    assert n<5e6, f'{n:,} parameters: say smaller sizes in models.py'
    cls(config).save_pretrained(folder)
    return folder

def make(task, folder, **kwargs):
    return LEARNERS[task](DATA[task], folder, **dict(bs=4, valid=.25, max_length=40) | SETTINGS.get(task, {}) | kwargs)

def items_of(task, learn): return ITEMS[task](learn.dls.tokenizer.mask_token or '')

HEADS = ('classifier','score','lm_head','cls','classification_head','predictions','generator_lm_head','qa_outputs','logits_proj','pred_layer','embedding_decoder','head','summary','sequence_summary','vocab_projector','vocab_transform','vocab_layer_norm')

def head_of(model):
    "Parameters outside the base model, by the rule that transformers names it by; where it does not, by what heads are called."
    base = getattr(model, model.base_model_prefix or ' ', None)
    inside = set() if base is None else {id(p) for p in base.parameters()}
    return {id(p) for n,p in model.named_parameters() if (id(p) not in inside if inside else n.split('.')[0] in HEADS)}

def check_groups(learn, splitter):
    "Every trainable parameter in exactly one group, tied ones once, embeddings first, the head last and alone, layers in order."
    model,groups = learn.model,splitter(learn.model)
    ids = [id(p) for g in groups for p in g]
    assert all(len(g) for g in groups), 'an empty group'
    assert len(ids)==len(set(ids)) and set(ids)=={id(p) for p in model.parameters() if p.requires_grad}, 'a parameter is in two groups, or in none'
    head = head_of(model)
    assert {id(p) for p in groups[-1]}==head or not head, 'the last group is not the head' # BART's language model has no weights of its own beside the base
    try: emb = model.get_input_embeddings()
    except NotImplementedError: emb = next(m for m in model.modules() if isinstance(m, torch.nn.Embedding))
    emb = getattr(emb, 'weight', emb)
    assert id(emb) in {id(p) for p in groups[0]} or not isinstance(emb, torch.nn.Parameter), 'the embeddings are not in the first group'
    place = {id(p):i for i,g in enumerate(groups) for p in g}
    for name,stack in layer_stacks(model): # of one stack, in order
        at = [max(place[id(p)] for p in layer.parameters() if id(p) in place) for layer in stack if any(id(p) in place and id(p) not in head for p in layer.parameters())]
        assert at==sorted(at), f'layers of {name} are out of order: {at}'

def check_step(learn):
    "The optimizer changes each weight once: as plain PyTorch does with the same gradients."
    model = learn.model
    learn.create_opt()
    learn.opt.set_hypers(lr=1e-3, wd=0.)
    set_seed(1)
    before = {n:p.detach().clone() for n,p in model.named_parameters()}
    trained = {n:p for n,p in model.named_parameters() if p.requires_grad}
    for p in trained.values(): p.grad = torch.randn_like(p)
    grads = {n:p.grad.clone() for n,p in trained.items()}
    learn.opt.step()
    learn.opt.zero_grad()
    for n,p in trained.items():
        q = torch.nn.Parameter(before[n].clone())
        q.grad = grads[n]
        torch.optim.AdamW([q], lr=1e-3, weight_decay=0., eps=1e-8).step()
        assert torch.allclose(p, q, atol=1e-6), f'{n} is not stepped once'
        p.data.copy_(before[n])

def targets_of(learn, n):
    "(n,T) what a decoder says, one text for all; `None`: there is no decoder that is told."
    target = target_tfm_of(learn.dls)
    return None if target is None else target.collate(target.many(['we liked it'])*n, None, None).as_subclass(torch.Tensor)

_unmoved = 'its own loss as a causal LM compares what is said at a token with the token itself (`BartForCausalLM` and its kin do not shift labels)'
OWN_LOSS = dict(seq2seq=dict(prophetnet='its own loss is of several tokens ahead, and smoothed'),
    causal_lm=dict.fromkeys('bart bigbird_pegasus blenderbot blenderbot-small marian mbart mvp pegasus plbart trocr whisper'.split(), _unmoved) | dict(git='its own loss wants an image beside each text')) # task -> types whose own loss is another one

def check_loss(learn):
    "The loss of a batch is the model's own."
    x,y = learn.dls.valid.one_batch()
    tfm,door = learn.dls.text_tfm,learn.model_inputs.door
    inputs = {k:v for k,v in tfm.named(x).items() if k in door.accepted}
    y = y.as_subclass(torch.Tensor)
    if learn.task.decoder_input: inputs |= learn.task.decoder_input(y, learn.model) # as transformers' own collator does
    with learn.predicting(): own = float(learn.model.eval()(**inputs, labels=y).loss)
    ours = learn.validate(dl=[(x, y)])[0]
    assert abs(ours-own)<2e-5*max(1, own), f"the loss is {ours}, the model's own is {own}"

def plain(learn, item, **kwargs):
    "Token ids that plain transformers writes."
    tfm,tokenizer = learn.dls.text_tfm,learn.dls.tokenizer
    if learn.task.decoder_input: given = tokenizer([item], return_tensors='pt')
    else: given = dict(input_ids=torch.tensor([[i for part,_ in tfm.segments([item], prompt=True)[0] for i in part]]))
    inputs = {k:v for k,v in given.items() if k in learn.model_inputs.door.accepted}
    with learn.predicting(): ids = learn.model.generate(**inputs, do_sample=False, num_beams=1, **kwargs)[0].tolist()
    return ids[1 if learn.task.decoder_input else inputs['input_ids'].shape[1]:]

def check_written(learn, task):
    "What is written is what plain transformers writes, up to the first end."
    for o in items_of(task, learn):
        ids = learn.predict(o, **ASKED[task])[1].tolist()
        want = plain(learn, o, **ASKED[task])
        assert ids==want[:len(ids)], f'{ids} is written, by plain transformers {want}'

def check_padding(learn, task):
    "A row alone has the logits that it has in a padded batch."
    rows = items_of(task, learn)[-4:]
    tfm = learn.dls.text_tfm
    target = targets_of(learn, len(rows))
    with learn.predicting():
        tokens = tfm.tokenize(rows)[0]
        together = learn.forward(tfm.stack(tokens), targets=target)
        left,lens = tfm.padding_side=='left' and target is None,tokens.lens
        if target is not None: lens = [target.shape[1]]*len(rows)
        for i in range(len(rows)):
            alone = learn.forward(tfm.stack(tokens, [i]), targets=None if target is None else target[i:i+1])[0]
            both = together[i][:len(alone)] if together.ndim==2 else together[i][-lens[i]:] if left else together[i][:lens[i]] # of texts, or of tokens
            assert torch.allclose(alone, both, atol=1e-4, rtol=1e-3), f'row {i}: padding changes the logits by {(alone-both).abs().max():.2g}'

ZEROED = 'funnel', # transformers zeroes the embedding of the pad token whenever it loads one, trained or not

def zero_pad(learn):
    "What loading does to a model of `ZEROED`: where the head shares its embeddings, the logit of the pad token is another one."
    with torch.no_grad(): learn.model.get_input_embeddings().weight[learn.dls.tokenizer.pad_token_id] = 0

def check_alone(learn, task):
    "A prompt is gone on with alone as in a batch, which is padded on the left."
    together = predictions(learn, task)
    alone = [learn.predict_batch([o], **ASKED[task])[0] for o in items_of(task, learn)]
    assert together==alone, f'alone {alone} is written, in a batch {together}'

def predictions(learn, task): return learn.predict_batch(items_of(task, learn), **ASKED.get(task, {}))

def run(kind, task, folder):
    "All that a user does; raises where anything goes wrong."
    learn = make(task, checkpoint(kind, task, Path(folder)/'checkpoint'))
    shown = StringIO()
    with learn.no_bar(), learn.no_logging(), redirect_stdout(shown):
        learn.dls.show_batch(max_n=2)
        for splitter in (learn.splitter, layerwise_splitter): check_groups(learn, splitter)
        check_step(learn)
        if padding(kind, task) is None: check_padding(learn, task)
        if KIND.get(kind, 'llama_like') in ('llama_like','gpt_like') and padding(kind, task) is None: # decoders are padded on the left as often
            learn.dls.tokenizer.padding_side = 'left'
            check_padding(learn, task)
            learn.dls.tokenizer.padding_side = 'right'
        if task in WRITING:
            if kind not in OWN_LOSS[task]: check_loss(learn)
            check_written(learn, task)
            if padding(kind, task) is None: check_alone(learn, task)
        before = {n:p.detach().clone() for n,p in learn.model.named_parameters()}
        learn.opt = None
        learn.fit_one_cycle(1, slice(1e-4, 1e-3))
        loss,head = learn.recorder.values[-1][1],head_of(learn.model)
        assert loss==loss and loss<50, f'validation loss {loss}'
        assert any(not torch.equal(p, before[n]) for n,p in learn.model.named_parameters() if id(p) not in head), 'only the head was trained'
        learn.freeze()
        assert {id(p) for p in learn.model.parameters() if p.requires_grad}==(head or {id(p) for p in learn.splitter(learn.model)[-1]}), 'freeze leaves other weights than the head'
        learn.unfreeze()
        learn.predict(items_of(task, learn)[0])
        learn.show_results(max_n=2)
        saved = learn.save_pretrained(Path(folder)/'saved')
        again = TransformersLearner.from_pretrained(saved)
        if kind in ZEROED: zero_pad(learn)
        assert predictions(again, task)==predictions(learn, task), 'other predictions after reloading'
    assert len(shown.getvalue())>100, 'nothing was shown'
    return learn.model

def attempt(job):
    kind,task = job
    start = time.perf_counter()
    warnings.simplefilter('ignore')
    tf.utils.logging.set_verbosity_error()
    tf.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    if (why := reason(kind, task)) is not None: return dict(kind=kind, task=task, excluded=why)
    error,apart = None,True
    try:
        with tempfile.TemporaryDirectory() as folder: model = run(kind, task, folder)
        if task in WRITING: apart = way_apart(model)!='none'
    except BaseException as e: error = f'{type(e).__name__}: {str(e)[:300]}',traceback.format_exc()
    return dict(kind=kind, task=task, seconds=time.perf_counter()-start, error=error, apart=apart)

def jobs(): return [(kind, task) for task in TASKS for kind in sorted(MAPPINGS[task])]

FOUND = Path(__file__).parent/'found.jsonl' # type, task, commit, and what went wrong or how it works

def kept(path):
    "What earlier runs found: pair -> its last line."
    lines = path.read_text().splitlines() if path.exists() else []
    return {(r['kind'], r['task']):r for r in map(json.loads, lines)}

def keep(path, found):
    path.write_text(''.join(json.dumps({k:r[k] for k in ('kind','task','commit','error','apart')})+'\n' for _,r in sorted(found.items(), key=lambda o: (TASKS.index(o[0][1]), o[0][0]))))

def this_commit(): return subprocess.run(['git','rev-parse','--short=8','HEAD'], capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()

def tell(r, is_named):
    if r.get('error'): print(f"FAILED {r['kind']} {r['task']}: {r['error'][0]}" + (f"\n{r['error'][1]}" if is_named else ''), flush=True)
    elif is_named: print('excluded: '+r['excluded'] if 'excluded' in r else 'ok', r['kind'], r['task'], flush=True)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('kind', nargs='?', help='a model type, e.g. bert')
    p.add_argument('task', nargs='?', choices=TASKS)
    p.add_argument('--processes', type=int, default=os.cpu_count())
    p.add_argument('--found', type=Path, default=FOUND)
    p.add_argument('--out', type=Path, default=Path(__file__).parents[2]/'docs'/'architectures.md')
    args = p.parse_args()
    start,found,commit = time.perf_counter(),kept(args.found),this_commit()
    found = {k:r for k,r in found.items() if k in jobs() and reason(*k) is None}
    def is_asked(k, t): return k==args.kind and args.task in (None, t) if args.kind else (k, t) not in found and reason(k, t) is None
    todo = [o for o in jobs() if is_asked(*o)]
    with multiprocessing.get_context('spawn').Pool(args.processes, maxtasksperchild=20) as pool:
        for r in pool.imap_unordered(attempt, todo):
            tell(r, args.kind)
            if 'excluded' in r: continue
            found[r['kind'],r['task']] = r | dict(commit=commit, error=r['error'] and r['error'][0])
            keep(args.found, found)
    n_failed = sum(bool(r['error']) for k,r in found.items() if k in todo)
    print(f"{len(todo)} pairs of type and task, {n_failed} failed, {(time.perf_counter()-start)/60:.1f} min")
    args.out.write_text(report([*found.values(), *(dict(kind=k, task=t, excluded=reason(k, t)) for k,t in jobs() if reason(k, t) is not None)]))
    sys.exit(n_failed>0)

def commits(of): # of a column
    of = [r['commit'] for r in of if 'excluded' not in r]
    return ', '.join(f'{c} ({of.count(c)})' if len(set(of))>1 else c for c in dict.fromkeys(sorted(of, key=of.count, reverse=True)))

def report(found):
    def told(r):
        if 'excluded' in r: return 'no: see below'
        if r.get('error'): return 'fails'
        if padding(r['kind'], r['task']): return 'works, padding counts'
        return 'works' if r['apart'] else 'works, a text a row'
    cell = {(r['kind'], r['task']):told(r) for r in found}
    titles = dict(sequence_classification='Sequence classification', token_classification='Token classification', masked_lm='Masked LM', multiple_choice='Multiple choice', question_answering='Question answering', causal_lm='Causal LM', seq2seq='Seq2seq LM')
    lines = ['# Architectures', '', f'Every model type that transformers {tf.__version__} maps to these tasks, run by `python tests/architectures/check.py`: a tiny model of the type goes from data to a trained, saved and reloaded learner; '
        'its parameter groups, its optimizer step, and padding are checked; of models that write, that the loss is their own and that they write what plain `generate` writes, alone and in a batch. '
        'An empty cell: transformers has no such head for the type.', '']
    for t in TASKS:
        of = [r for r in found if r['task']==t]
        lines.append(f"- {titles[t]}: {len(of)} types, {sum('excluded' not in r and not r['error'] for r in of)} work, {sum('excluded' in r for r in of)} are left out{', %d fail' % n if (n := sum(bool(r.get('error')) for r in of)) else ''}; run at {commits(of)}.")
    lines += ['', 'A pair that was run at 8e6deb58 has not had its loss compared, nor what it writes with plain `generate`.'] * any(r.get('commit')=='8e6deb58' for r in found)
    lines += ['', f"| Type | {' | '.join(titles[t] for t in TASKS)} |", '|---|'+'---|'*len(TASKS)]
    for kind in sorted({k for k,_ in cell}): lines.append(f"| {kind} | {' | '.join(cell.get((kind, t), '') for t in TASKS)} |")
    lines += ['', '## Left out', '']
    whys = {}
    for r in found:
        if 'excluded' in r: whys.setdefault((r['kind'], r['excluded']), []).append(titles[r['task']].lower())
    lines += [f"- **{k}** ({', '.join(tasks)}): {why}." for (k,why),tasks in sorted(whys.items())]
    lines += ['', '## Where the loss is not the model\'s own', '', 'Cross entropy of the targets is what is trained here; `loss_func=ModelLoss()` takes theirs:', '']
    lines += [f'- **{k}** ({titles[t].lower()}): {why}.' for t,whys in OWN_LOSS.items() for k,why in sorted(whys.items())]
    lines += ['', '## Where padding counts', '', 'A row alone has other logits than in a padded batch, in plain transformers too (`model(**tokenizer(text))` beside `model(**tokenizer(texts, padding=True))`):', '']
    whys = {(r['kind'], padding(r['kind'], r['task'])) for r in found}
    lines += [f'- **{k}**: {why}.' for k,why in sorted((k, why) for k,why in whys if why)]
    alone = sorted(r['kind'] for r in found if not r.get('apart', True) and not r.get('error'))
    lines += ['', '## A text a row', '', 'Where texts are packed into blocks, these types let them see each other whatever they are told, so each text is a row of its own (`block_size=0`):', '']
    lines += [f"- **{k}**" for k in alone]
    return '\n'.join(lines)+'\n'

if __name__=='__main__':
    faulthandler.enable()
    main()
