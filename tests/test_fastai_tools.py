"fastai's tools on each kind of target: one test a tool, named for it."
import csv,json,os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import transformers
from blurlike.all import (TransformersDL, CSVLogger, Callback, CategoryBlock, ClassificationInterpretation, CutMix, DataBlock, EarlyStoppingCallback, GradientAccumulation, GradientClip, Interpretation, LabelSmoothingCrossEntropyFlat, Learner,
    MixUp, ModelInputsCallback, ModelLoss, MultiCategoryBlock, RandomSplitter, RightChoiceBlock, TextChoicesBlock, RegressionBlock, SGD, SaveModelCallback, TransformersLearner, TransformersTextBlock, accuracy, load_learner, nn, noop, set_seed,
    transformer_splitter, unwrap)
from fresh import fresh_process
from small import ARCH, AUTO_MODELS, BS, COLUMNS, FRAMES, KINDS, SAME_WIDTH, TEXTS, VOCABS, WRITING, activated, changed, close, direct_logits, direct_preds, first, head_names, joined, learner, note_dtypes, texts_in, texts_of, valid_frame, weights, with_answers, written_targets
from datasets import Dataset
from fastai.callback.progress import ShowGraphCallback
from fastai.data.core import show_results
from fastai.data.transforms import ColReader, MultiCategory
from fastai.torch_core import TitledStr
from fastcore.foundation import L
from sklearn import metrics as skm

from blurlike.show.table import Table
from blurlike.data.token_fields import TokenTensor

pytestmark = pytest.mark.usefixtures('in_tmp')
SPECIAL = ('[CLS]','[SEP]','[PAD]')
LABELS = ('single','pair') # one label a row

@pytest.fixture
def learn(kind, trained):
    learn = trained(kind)
    with learn.no_bar(), learn.no_logging(): yield learn

@pytest.fixture
def fresh(kind, checkpoint):
    learn = learner(kind, checkpoint)
    with learn.no_bar(), learn.no_logging(): yield learn

@pytest.fixture
def direct(kind, learn):
    "(B,C) logits of the validation rows, by the plain model, one row at a time."
    return direct_logits(learn.model, learn.dls.tokenizer, texts_of(kind, valid_frame(learn, kind)))

@pytest.fixture
def wanted(kind, learn):
    "What `get_preds` must give for the validation rows, by the plain model."
    return direct_preds(kind, learn, valid_frame(learn, kind))

def new_targets(kind, learn): # of the validation rows, as tensors
    if kind in WRITING: return written_targets(kind, learn, valid_frame(learn, kind))
    if kind=='answers': return torch.tensor([[s, s+len(t)] for a in valid_frame(learn, kind).answers for s,t in zip(a['answer_start'], a['text'])])
    col = valid_frame(learn, kind)[COLUMNS[kind].get('label', 'label')]
    if kind=='multi': return torch.tensor([[float(v in o) for v in VOCABS[kind]] for o in col])
    if not VOCABS[kind]: return torch.tensor(col.tolist())
    return torch.tensor(col.tolist()).float() if kind=='regression' else torch.tensor([VOCABS[kind].index(o) for o in col])

def row_losses(kind, logits, targs):
    if kind=='multi': return F.binary_cross_entropy_with_logits(logits, targs, reduction='none').mean(1) # fastai gives a row the mean over its labels
    return F.mse_loss(logits.flatten(), targs, reduction='none') if kind=='regression' else F.cross_entropy(logits, targs, reduction='none')

def shown(capsys): return capsys.readouterr().out
def head(t, n): return t if len(t.split())<=n else ' '.join(t.split()[:n])+' …'
def lettered(choices, i): return f'{"ABCD"[i]}) {choices[i]}'
def named(kind, row): # the target of a row, as a reader should see it
    y = row.iloc[-1]
    return ', '.join(y) if kind=='multi' else f'{y:.3f}' if kind=='regression' else f'{lettered(row.choices, y)} ✓' if kind=='choice' else str(y)
def decoded_by_hand(kind, df, logits): # and what is predicted
    if kind=='multi': return [', '.join(v for v,p in zip(VOCABS[kind], row) if p>.5) for row in logits.sigmoid()]
    if kind=='choice': return [f"{lettered(c, i)} {'✓' if i==y else '✗'}" for c,y,i in zip(df.choices, df.label, logits.argmax(1).tolist())]
    return [f'{o.item():.3f}' for o in logits] if kind=='regression' else [str(VOCABS[kind][i]) for i in logits.argmax(1)]
def of_item(kind, item, preds): return preds[:len(item[1])] if kind=='choice' else preds # what belongs to it alone
HEADS = dict(pair=['text','text_pair'], choice=['text','choices'])

# Data and displays

def test_show_batch(kind, learn, capsys):
    learn.dls.valid.show_batch(max_n=4, trunc_at=5)
    lines,df = shown(capsys).splitlines(),valid_frame(learn, kind)
    assert lines[0].split()==HEADS.get(kind, ['text'])+['target']*(kind!='choice') and len(lines)==5
    for line,item,(_,row) in zip(lines[1:], texts_of(kind, df), df.iterrows()):
        for t in texts_in(item): assert head(t, 5) in line
        assert named(kind, row) in line if kind=='choice' else line.endswith(named(kind, row))
        assert not any(s in line for s in SPECIAL)

def test_show_batch_of_training_rows(kind, learn, capsys):
    learn.dls.show_batch(max_n=BS, trunc_at=None)
    words,seen = set(shown(capsys).split()),{w for o in texts_of(kind, FRAMES[kind]) for t in texts_in(o) for w in t.split()}
    assert len(words&seen)>10
    assert words<=seen|{'text','text_pair','choices','A)','B)','C)','D)','|','✓','target','True','False','bad,','bad','fine','good','good,','sure'}|{w for w in words if w.replace('.','').lstrip('-').isdigit()}

@with_answers
def test_test_dl(kind, learn, wanted):
    df = valid_frame(learn, kind)
    tables,has_targets = [df, Dataset.from_pandas(df), df.to_dict('records')],learn.task.target is not None
    for items in tables:
        preds,targs = learn.get_preds(dl=learn.dls.test_dl(items, with_labels=has_targets))
        close(preds, wanted)
        close(targs, new_targets(kind, learn))
    if learn.task.decoder_input: return # which gives logits of targets alone
    for items in (*tables, texts_of(kind, df)): close(learn.get_preds(dl=learn.dls.test_dl(items))[0], wanted)
    if not has_targets: return # the texts tell them
    close(learn.get_preds(dl=learn.dls.test_dl(df.drop(columns=df.columns[-1])))[0], wanted)
    assert learn.get_preds(dl=learn.dls.test_dl(df))[1] is None

@with_answers
def test_test_dl_with_labels_validates(kind, learn): close(list(learn.validate(dl=learn.dls.test_dl(valid_frame(learn, kind), with_labels=learn.task.target is not None))), list(learn.validate()))

# Training

@with_answers
def test_lr_find(kind, fresh):
    before = weights(fresh.model)
    found = fresh.lr_find(num_it=20)
    assert 1e-7<found.valley<10 and changed(fresh.model, before)==set()
    assert len(fresh.recorder.losses)>=10 and fresh.recorder.losses[0]!=fresh.recorder.losses[-1]

@with_answers
def test_fit_one_cycle(kind, checkpoint):
    learn = learner(kind, checkpoint)
    before,start = weights(learn.model),learn.validate(ds_idx=0)[0]
    learn.fit_one_cycle(12, 2e-3)
    assert changed(learn.model, before)==set(before)
    assert learn.validate(ds_idx=0)[0]<start*(1 if kind=='pair' else .9) # the pairs are the hardest to learn

class Rates(Callback):
    "The learning rate of each parameter, as torch's own optimizer holds it, at each step"
    run_valid = False
    def before_fit(self): self.seen = []
    def before_step(self): self.seen.append({id(p):g['lr'] for g in self.opt.opt.param_groups for p in g['params']})

@with_answers
def test_fit_one_cycle_with_slices(kind, fresh):
    for lr,expected in ((slice(1e-5, 1e-3), [1e-5,1e-4,1e-3]), (slice(1e-3), [1e-4,1e-4,1e-3])):
        rates = Rates()
        fresh.fit_one_cycle(1, lr, cbs=rates)
        groups = transformer_splitter(fresh.model)
        assert len(groups)==3 and len(rates.seen)==8 and set(rates.seen[0])=={id(p) for p in fresh.model.parameters()}
        for g,want in zip(groups, expected):
            for p in g: assert rates.seen[2][id(p)]==pytest.approx(want) # a quarter of the way: the highest rate
            assert rates.seen[0][id(g[0])]<want/20 and rates.seen[-1][id(g[0])]<want/2

@with_answers
def test_fine_tune(kind, fresh):
    states,names = [weights(fresh.model)],{n for n,_ in fresh.model.named_parameters()}
    class Watch(Callback):
        def after_epoch(self): states.append(weights(self.learn.model))
    fresh.add_cb(Watch())
    fresh.fine_tune(1, 1e-2, freeze_epochs=1)
    moved = [{n for n in names if not torch.equal(a[n], b[n])} for a,b in zip(states, states[1:])]
    assert moved[0]==head_names(kind, fresh.model)
    assert moved[1]==names==trainable(fresh)

UPPER = dict(bert=('bert.encoder.layer.1','bert.pooler'), llama=('model.layers.1.','model.norm'), bart=('model.encoder.layers.1.','model.encoder.layernorm','model.decoder.layers','model.decoder.layernorm')) # half of what is below the head
def trainable(learn): return {n for n,p in learn.model.named_parameters() if p.requires_grad}
def in_layers(learn, *starts): return {n for n,_ in learn.model.named_parameters() if n.startswith(starts)}

@with_answers
def test_freeze(kind, fresh):
    every,hd = trainable(fresh),head_names(kind, fresh.model)
    assert every=={n for n,_ in fresh.model.named_parameters()} # nothing is frozen unless asked
    fresh.freeze()
    assert trainable(fresh)==hd
    before = weights(fresh.model)
    fresh.fit(1, 1e-2)
    assert changed(fresh.model, before)==hd and trainable(fresh)==hd
    fresh.unfreeze()
    fresh.fit(1, 1e-2)
    fresh.freeze() # neither old gradients nor weight decay may move what is frozen
    before = weights(fresh.model)
    fresh.fit(1, 1e-2, reset_opt=False)
    assert changed(fresh.model, before)==hd
    fresh.fit(1, 1e-2, reset_opt=True)
    assert changed(fresh.model, before)==hd

@with_answers
def test_freeze_to_and_unfreeze(kind, fresh):
    every = trainable(fresh)
    fresh.freeze_to(-2)
    last_layer = in_layers(fresh, *UPPER[ARCH[kind]]) | head_names(kind, fresh.model)
    assert trainable(fresh)==last_layer
    fresh.freeze_to(1)
    assert trainable(fresh)==last_layer
    before = weights(fresh.model)
    fresh.fit(1, 1e-3)
    assert changed(fresh.model, before)==trainable(fresh)
    fresh.freeze_to(-1)
    assert trainable(fresh)==head_names(kind, fresh.model)
    fresh.unfreeze()
    assert trainable(fresh)==every
    before = weights(fresh.model)
    fresh.fit(1, 1e-3)
    assert changed(fresh.model, before)==every

@with_answers
@pytest.mark.parametrize('how,dtype', [('to_bf16',torch.bfloat16), pytest.param('to_fp16', torch.float16, marks=pytest.mark.slow)])
def test_half_precision(how, dtype, fresh):
    fresh.validate() # the door has tried the model by now
    getattr(fresh, how)()
    seen,before = set(),weights(fresh.model)
    note_dtypes(fresh.model, seen)
    fresh.fit_one_cycle(1, 1e-3)
    assert seen=={dtype} and np.isfinite(list(map(float, fresh.recorder.values[-1][:2]))).all() # both losses
    assert len(changed(fresh.model, before))>20 and {p.dtype for p in fresh.model.parameters()}=={torch.float32}
    preds = fresh.get_preds()[0]
    assert seen=={dtype} and joined(preds).dtype==torch.float32
    fresh.to_fp32()
    seen.clear()
    fresh.fit(1, 1e-3)
    assert seen=={torch.float32} and np.isfinite(float(fresh.recorder.values[-1][0]))

RATES = dict(choice=50.) # a new head scores all choices nearly alike

def steps_of_sgd(kind, checkpoint, bs, cbs):
    learn = learner(kind, checkpoint, bs=bs, opt_func=SGD, cbs=cbs, max_grad_norm=None, valid=list(range(16)), dl_kwargs=dict(shuffle=False))
    learn.model.config.hidden_dropout_prob = 0.
    for m in learn.model.modules():
        if isinstance(m, nn.Dropout): m.p = 0.
        for name,v in vars(m).items():
            if 'dropout' in name and isinstance(v, float): setattr(m, name, 0.)
    before = weights(learn.model)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, RATES.get(kind, .1), wd=0.)
    return before,weights(learn.model)

@with_answers
def test_gradient_accumulation(kind, checkpoint): # 32 training rows: 4 steps either way
    (start,big),(_,small) = steps_of_sgd(kind, checkpoint, 8, None),steps_of_sgd(kind, checkpoint, 4, GradientAccumulation(8))
    moved = max((big[n]-start[n]).abs().max() for n in big)
    assert moved>1e-3
    for n in big: close(big[n], small[n], 2e-5) # sums in another order

@with_answers
def test_gradient_clip(kind, checkpoint):
    norms = {}
    class Norm(Callback):
        order,run_valid = 90,False
        def before_step(self): norms.setdefault(self.case, []).append(torch.stack([p.grad.norm() for p in self.learn.model.parameters()]).norm().item())
    def run(case, **kwargs):
        learn,cb = learner(kind, checkpoint, **kwargs),Norm()
        cb.case = case
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3, cbs=cb)
        return learn
    assert len(run('own', cbs=GradientClip(.01)).cbs.filter(lambda cb: isinstance(cb, GradientClip)))==1 # in place of ours, not beside it
    run('ours')
    run('off', max_grad_norm=None)
    assert max(norms['own'])==pytest.approx(.01, rel=1e-3) and max(norms['ours'])<=1+1e-3 and max(norms['off'])>.1

@pytest.mark.parametrize('norm', [-1, -.5, float('nan'), True, '1'])
def test_norms_that_gradients_cannot_be_clipped_to(norm, checkpoints):
    folder = checkpoints('bert')
    with pytest.raises(ValueError, match='max_grad_norm=.*a number above 0'): learner('single', folder, max_grad_norm=norm)
    late = learner('single', folder)
    late.gradient_clip.max_norm = norm
    for learn in (late, learner('single', folder, cbs=GradientClip(norm))):
        with pytest.raises(ValueError, match='max_norm=.*a number above 0'), learn.no_bar(): learn.fit(1)

@with_answers
def test_save_model_callback(kind, fresh):
    states = []
    class Watch(Callback):
        order = 55 # between the recorder and the saver
        def after_epoch(self): states.append((float(self.recorder.values[-1][1]), weights(self.learn.model)))
    fresh.fit(3, .02, cbs=[Watch(), SaveModelCallback(fname='best')])
    assert (fresh.path/'models'/'best.pth').is_file()
    best = min(states, key=lambda s: s[0])[1]
    assert not changed(fresh.model, best) # the best epoch is back at the end

@with_answers
def test_save_model_callback_at_each_epoch(kind, fresh):
    fresh.fit(2, 1e-3, cbs=SaveModelCallback(every_epoch=True, fname='e', with_opt=True))
    after = weights(fresh.model)
    fresh.load('e_0', with_opt=True)
    assert changed(fresh.model, after)
    fresh.load('e_1')
    assert not changed(fresh.model, after)

@with_answers
def test_early_stopping_callback(kind, fresh):
    fresh.fit(5, 1e-3, cbs=EarlyStoppingCallback(min_delta=1e9, patience=1))
    assert len(fresh.recorder.values)==2

@with_answers
def test_csv_logger(kind, fresh):
    fresh.fit(2, 1e-3, cbs=CSVLogger())
    heading,*rows = csv.reader(open(fresh.path/'history.csv'))
    assert heading==['epoch','train_loss','valid_loss',*(m.name for m in fresh.metrics),'time']
    assert [r[0] for r in rows]==['0','1']
    assert float(rows[1][2])==pytest.approx(float(fresh.recorder.values[1][1]))

def test_training_learns(bert):
    learn = learner('single', bert)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(12, 2e-3)
    with learn.no_bar(): assert learn.validate(ds_idx=0)[1]>.5 # accuracy; chance is 1/3

@pytest.mark.parametrize('backend', ['eager','aot_eager'])
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.slow
def test_torch_compile(kind, backend, bert):
    learn = learner(kind, bert)
    texts = texts_of(kind, valid_frame(learn, kind))
    before,plain = weights(learn.model),learn.get_preds()[0]
    learn.model = torch.compile(learn.model, backend=backend, dynamic=True)
    close(learn.get_preds()[0], plain)
    close(learn.predict(texts[0])[2], plain[0])
    learn.fit_one_cycle(1, 1e-3)
    assert changed(unwrap(learn.model), before)==set(before)
    close(learn.get_preds()[0], activated(kind, direct_logits(unwrap(learn.model), learn.dls.tokenizer, texts)))

# Predictions

def test_validate(kind, learn, direct):
    first,second = learn.validate(),learn.validate()
    assert list(first)==list(second)
    preds,targs = learn.get_preds()
    logits,_ = learn.get_preds(act=noop)
    close(first[0], row_losses(kind, logits, new_targets(kind, learn)).mean())
    close(first[0], row_losses(kind, direct, new_targets(kind, learn)).mean())
    y,p = targs.numpy(),preds.numpy()
    want = {'accuracy':lambda: skm.accuracy_score(y, p.argmax(1)), 'f1':lambda: skm.f1_score(y, p.argmax(1)), 'f1_macro':lambda: skm.f1_score(y, p.argmax(1), average='macro', zero_division=0),
            'accuracy_multi':lambda: ((p>.5)==y).mean(), 'mae':lambda: np.abs(p-y).mean(), 'pearsonr':lambda: np.corrcoef(p, y)[0,1], 'spearmanr':lambda: pd.Series(p).corr(pd.Series(y), method='spearman')}
    if kind=='multi': want |= {'f1_macro':lambda: skm.f1_score(y, p>.5, average='macro', zero_division=0), 'f1_micro':lambda: skm.f1_score(y, p>.5, average='micro', zero_division=0)}
    assert len(first)==len(learn.metrics)+1>=2
    for m,v in zip(learn.metrics, first[1:]): close(v, want[m.name]())

@with_answers
def test_get_preds_in_row_order(kind, learn, wanted):
    preds,targs = learn.get_preds()
    assert len(preds)==12>learn.dls.valid.bs and len({len(str(t)) for t in texts_of(kind, valid_frame(learn, kind))})>5
    close(preds, wanted)
    close(targs, new_targets(kind, learn))

@with_answers
def test_get_preds_of_the_training_rows(kind, learn): # shuffled while training, in row order here
    preds,targs = learn.get_preds(ds_idx=0)
    df = FRAMES[kind].iloc[learn.dls.train_ds.items.idxs]
    assert len(preds)==36
    close(preds, direct_preds(kind, learn, df))

def test_get_preds_with_input(kind, learn, direct):
    x,preds,targs = learn.get_preds(with_input=True)
    close(preds, activated(kind, direct))
    texts = texts_of(kind, valid_frame(learn, kind))
    assert [tuple(o) if isinstance(o, tuple) else str(o) for o in map(learn.dls.text_tfm.decode, x)]==texts

def test_get_preds_with_loss(kind, learn, direct):
    preds,targs,losses = learn.get_preds(with_loss=True)
    close(losses, row_losses(kind, direct, new_targets(kind, learn)))

def test_get_preds_with_decoded(kind, learn, direct):
    *_,dec = learn.get_preds(with_decoded=True)
    close(dec, direct.squeeze(1) if kind=='regression' else direct.sigmoid()>.5 if kind=='multi' else direct.argmax(1))
    none = learn.get_preds(dl=learn.dls.test_dl([]), with_decoded=True)[-1]
    assert none.shape==dec[:0].shape and none.dtype==dec.dtype

def test_get_preds_by_place(learn):
    "Arguments stand where fastai has them."
    x,preds,targs,dec = learn.get_preds(1, None, True, True)
    for a,b in zip((preds, targs, dec), learn.get_preds(with_decoded=True)): close(a, b)

def test_get_preds_with_all(kind, learn, direct):
    x,preds,targs,dec,losses = learn.get_preds(with_input=True, with_loss=True, with_decoded=True)
    close(preds, activated(kind, direct))
    close(targs, new_targets(kind, learn))
    close(losses, row_losses(kind, direct, new_targets(kind, learn)))
    assert len(x)==len(dec)==12

def test_get_preds_without_reorder(kind, learn, direct):
    for kwargs in ({}, dict(dl=learn.dls.valid), dict(ds_idx=1)):
        preds,targs = learn.get_preds(reorder=False, **kwargs)
        close(preds, activated(kind, direct))
        close(targs, new_targets(kind, learn))

def test_predict(kind, learn, direct):
    texts,preds = texts_of(kind, valid_frame(learn, kind)),learn.get_preds()[0]
    for i in (0,5,11):
        dec,idx,probs = learn.predict(texts[i])
        close(probs, of_item(kind, texts[i], preds[i]))
        close(probs, of_item(kind, texts[i], activated(kind, direct[i])))
        if kind=='choice': assert dec==texts[i][1][int(probs.argmax())] and idx==probs.argmax()
        elif kind in LABELS: assert str(dec)==str(VOCABS[kind][probs.argmax()]) and idx==probs.argmax()
        elif kind=='multi': assert list(dec)==[v for v,p in zip(VOCABS[kind], probs) if p>.5] and idx.tolist()==(probs>.5).tolist()
        else: close(dec, direct[i,0])

def test_predict_a_row(kind, learn):
    df = valid_frame(learn, kind)
    for row in (df.iloc[3], df.iloc[3].to_dict()): close(learn.predict(row)[2], of_item(kind, texts_of(kind, df)[3], learn.get_preds()[0][3]))

def test_predict_with_input(kind, learn):
    item = texts_of(kind, valid_frame(learn, kind))[2]
    x,*_,probs = learn.predict(item, with_input=True)
    close(probs, of_item(kind, item, learn.get_preds()[0][2]))
    assert (tuple(x) if isinstance(item, tuple) else str(x))==item

def test_predict_batch(kind, learn, direct):
    df,probs,names = valid_frame(learn, kind),activated(kind, direct),VOCABS[kind] or range(4)
    for items in (texts_of(kind, df), df, Dataset.from_pandas(df), df.to_dict('records'), learn.dls.valid_ds.items, *([df.text] if kind not in HEADS else [])):
        res = learn.predict_batch(items, bs=5)
        assert json.loads(json.dumps(res))==res and len(res)==12 # plain data
        for r,p in zip(res, probs):
            if kind=='multi':
                assert [d['label'] for d in r]==sorted((v for v,q in zip(VOCABS[kind], p) if q>.5), key=lambda v: -p[VOCABS[kind].index(v)])
                close([d['score'] for d in r], p[p>.5].sort(descending=True)[0])
            elif kind=='regression': assert r['label']=='score' and r['score']==pytest.approx(p.item(), abs=1e-5)
            else: assert r['label']==names[p.argmax()] and type(r['label']) is type(names[0]) and r['score']==pytest.approx(p.max().item(), abs=1e-5)

def test_show_results(kind, learn, direct, capsys):
    learn.show_results(max_n=4, trunc_at=5, shuffle=False)
    lines,df = shown(capsys).splitlines(),valid_frame(learn, kind)
    assert lines[0].split()==HEADS.get(kind, ['text'])+['target','prediction']*(kind!='choice')+['error']*(kind=='regression')
    assert len(lines)==5
    for line,item,(_,row),p in zip(lines[1:], texts_of(kind, df), df.iterrows(), decoded_by_hand(kind, df, direct)):
        for t in texts_in(item): assert head(t, 5) in line
        assert not any(s in line for s in SPECIAL)
        target = named(kind, row)
        end = line.split()
        if kind=='regression':
            assert end[-3]==target and float(end[-2])==pytest.approx(float(p), abs=2e-3)
            assert float(end[-1])==pytest.approx(float(p)-row.iloc[-1], abs=2e-3)
            continue
        assert end[-1]==('✓' if target==p else '✗')
        assert target in line and p in line if kind=='choice' else ' '.join(end[:-1]).endswith(f'{target} {p}'.strip())

@with_answers
def test_summary(kind, learn):
    text,n = learn.summary(),sum(p.numel() for p in learn.model.parameters())
    assert 'ModelInputsCallback' in text and type(learn.model).__name__ in text
    if kind=='summaries': n += 2*learn.model.lm_head.weight.numel() # fastai counts them where they are used
    assert f'Total params: {n:,}' in text
    assert f'Total trainable params: {n:,}' in text

# Interpretation

def test_interpretation(kind, learn, direct):
    interp = Interpretation.from_learner(learn)
    by_row = row_losses(kind, direct, new_targets(kind, learn))
    losses,idx = interp.top_losses(7)
    close(losses, by_row.sort(descending=True)[0][:7])
    close(losses, by_row[idx])
    *_,items = interp.top_losses(3, items=True)
    assert learn.texts_of(items)==[texts_of(kind, valid_frame(learn, kind))[i] for i in idx[:3].tolist()]
    close(interp.top_losses(2, largest=False)[0], by_row.sort()[0][:2])

def test_plot_top_losses(kind, learn, direct, capsys):
    interp,k = Interpretation.from_learner(learn),BS+3
    interp.plot_top_losses(k, trunc_at=5)
    lines,(losses,idx) = shown(capsys).splitlines(),interp.top_losses(k)
    df = valid_frame(learn, kind)
    preds = decoded_by_hand(kind, df, direct)
    assert len(lines)==k+1 and ('prediction' in lines[0] or kind=='choice') and 'loss' in lines[0]
    for line,i,loss in zip(lines[1:], idx.tolist(), losses):
        for t in texts_in(texts_of(kind, df)[i]): assert head(t, 5) in line
        assert f'{loss.item():.3f}' in line and named(kind, df.iloc[i]) in line and preds[i] in line
        if kind!='regression': assert line.endswith('✓' if named(kind, df.iloc[i])==preds[i] else '✗')

def table_of(show):
    "Headings and cells as text, of what `show` shows."
    tables,was = [],Table.show
    Table.show = lambda self: tables.append(self)
    try: show()
    finally: Table.show = was
    return tables[0].columns,tables[0].rows

@pytest.mark.parametrize('mixer', [MixUp, CutMix])
def test_token_ids_are_not_mixed(mixer, bert):
    "The error says what to take instead, and what it says works."
    learn = learner('single', bert)
    with learn.no_bar(), pytest.raises(TypeError, match=f'{mixer.__name__} mixes inputs.*label_smoothing=.*hidden_dropout_prob'): learn.fit(1, 1e-3, cbs=mixer())
    learn = learner('single', bert, loss_func=LabelSmoothingCrossEntropyFlat(), model_kwargs=dict(hidden_dropout_prob=.2))
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert {m.p for n,m in learn.model.named_modules() if n.endswith('output.dropout')}=={.2} and len(learn.predict(TEXTS[0]))==3

def test_numbers_have_an_error_and_no_probability(bert):
    df = FRAMES['regression'].assign(other=lambda d: -2*d.score)
    for label in ('score', ['score','other']):
        learn = learner('regression', bert, data=df, label=label)
        interp,names = Interpretation.from_learner(learn),[label] if isinstance(label, str) else label
        columns,rows = table_of(lambda: interp.plot_top_losses(4))
        assert columns==['row','text','target','prediction','loss','error'] and len(rows)==4
        numbers,rows = zip(*((int(row[0]), row[1:]) for row in rows))
        assert all(df.text[n]==row[0] for n,row in zip(numbers, rows))
        shown_,rows_ = table_of(lambda: learn.show_results(max_n=3))
        assert shown_==['text','target','prediction','error'] and len(rows_)==3
        for row in (*rows, *rows_):
            target,pred,error = ([float(n) for n in row[i].split(', ')] for i in (1, 2, -1))
            assert len(target)==len(pred)==len(error)==len(names)
            np.testing.assert_allclose(np.array(pred)-target, error, atol=2e-3)

def test_of_several_labels_each_has_its_probability(bert):
    learn = learner('multi', bert)
    for thresh,n in ((.01, 3), (.99, 0), (None, None)):
        learn.loss_func.thresh = thresh or float(learn.get_preds()[0].median())
        interp = Interpretation.from_learner(learn)
        columns,rows = table_of(lambda: interp.plot_top_losses(6))
        assert columns==['row','text','target','prediction','probability','loss','']
        for number,*row in rows:
            assert FRAMES['multi'].text[int(number)]==row[0]
            probs,labels = learn.predict(row[0])[2],[l for l in row[2].split(', ') if l]
            assert row[3]==(', '.join(f'{probs[learn.names.index(l)].item():.3f}' for l in labels) or f'at most {probs.max().item():.3f}')
            assert n in (None, len(labels))

def test_a_label_with_a_comma_is_not_two():
    def marks(target, pred): return table_of(lambda: show_results(TokenTensor(torch.zeros(1,2,3).long()), None, L([(TitledStr('a film'), MultiCategory(target))]), L([(MultiCategory(pred),)])))[1][0][-1]
    assert [marks(*o) for o in ((['a','b'], ['a, b']), (['a','b'], ['b','a']), ([], []), ([], ['a']))]==['✗','✓','✓','✗']

def test_interpretation_show_results(kind, learn, capsys):
    Interpretation.from_learner(learn).show_results([7,2], trunc_at=5)
    lines,texts = shown(capsys).splitlines(),texts_of(kind, valid_frame(learn, kind))
    for line,i in zip(lines[1:], (7,2)): assert head(texts_in(texts[i])[-1], 5) in line
    assert len(lines)==3

@pytest.mark.parametrize('kind', LABELS)
def test_classification_interpretation(kind, learn, direct):
    interp,targs,preds = ClassificationInterpretation.from_learner(learn),new_targets(kind, learn),direct.argmax(1)
    cm = skm.confusion_matrix(targs, preds, labels=range(len(VOCABS[kind])))
    assert (interp.confusion_matrix()==cm).all()
    confused = [(VOCABS[kind][i], VOCABS[kind][j], n) for i,row in enumerate(cm) for j,n in enumerate(row) if i!=j and n]
    assert sorted(map(str, interp.most_confused()))==sorted(map(str, confused)) and confused
    ax = interp.plot_confusion_matrix(True, 'Mine', 'Reds')
    assert ax.get_title()=='Mine' and ax.images[0].get_cmap().name=='Reds'
    interp.print_classification_report()

# Export

READ = '''import json,sys
from fastai.learner import load_learner
learn = load_learner(sys.argv[1])
learn.remove_cbs([cb for cb in learn.cbs if cb.name=='progress'])
items = json.loads(sys.argv[2])
items = [tuple(o) if isinstance(o, list) else o for o in items]
print(json.dumps(dict(preds=learn.get_preds(dl=learn.dls.test_dl(items))[0].tolist(), one=learn.predict(items[0])[2].tolist())))'''

def test_export_and_load_learner(kind, learn, direct, tmp_path):
    texts = texts_of(kind, valid_frame(learn, kind))
    (tmp_path/'a').mkdir()
    learn.export(tmp_path/'a'/'learner.pkl')
    close(learn.get_preds()[0], activated(kind, direct)) # the learner itself is unharmed
    assert learn.opt is not None and len(learn.dls.train_ds)==36
    blob = (tmp_path/'a'/'learner.pkl').read_bytes()
    long = [t for o in texts for t in texts_in(o) if len(t)>30]
    assert long and not any(t.encode() in blob for t in long) # it holds no data
    again = load_learner(tmp_path/'a'/'learner.pkl')
    with again.no_bar():
        close(again.get_preds(dl=again.dls.test_dl(texts))[0], activated(kind, direct))
        close(again.predict(texts[1])[2], of_item(kind, texts[1], activated(kind, direct[1])))
        loss,*_ = again.validate(dl=again.dls.test_dl(valid_frame(learn, kind), with_labels=True))
    close(loss, learn.validate()[0])

def test_load_learner_in_a_fresh_process(kind, learn, direct, tmp_path):
    (tmp_path/'else').mkdir()
    learn.export(tmp_path/'learner.pkl')
    out = fresh_process(READ, tmp_path/'learner.pkl', json.dumps(texts_of(kind, valid_frame(learn, kind))), cwd=tmp_path/'else')
    close(out['preds'], activated(kind, direct))
    close(out['one'], of_item(kind, texts_of(kind, valid_frame(learn, kind))[0], activated(kind, direct[0])))

@pytest.mark.parametrize('kind', ['single'])
def test_load_learner_with_a_lambda_in_a_fresh_process(kind, bert, tmp_path):
    learn = TransformersLearner(block_dls(kind, bert), bert)
    learn.export(tmp_path/'learner.pkl')
    texts = FRAMES[kind].text[:7].tolist()
    code = READ.replace('items = [tuple', "import pandas; rows = pandas.DataFrame(dict(text=items)); items = [tuple").replace('test_dl(items)', 'test_dl(rows)').replace('items[0]', 'rows.iloc[0]')
    out = fresh_process(code, tmp_path/'learner.pkl', json.dumps(texts), cwd=tmp_path)
    close(out['preds'], direct_logits(learn.model, learn.dls.tokenizer, texts).softmax(-1))

# The model's own loss, and a plain fastai Learner

def test_model_loss(kind, bert):
    data = SAME_WIDTH.get(kind, FRAMES[kind])
    ours,own = learner(kind, bert, data),learner(kind, bert, data, loss_func=ModelLoss())
    close(ours.validate()[0], own.validate()[0])
    for a,b in zip(ours.get_preds(with_decoded=True, with_loss=True), own.get_preds(with_decoded=True, with_loss=True)): close(a, b)
    mine,theirs = (Interpretation.from_learner(o).top_losses() for o in (ours,own))
    close(mine[0], theirs[0])
    assert theirs[0].shape==(12,)
    for l in (ours,own):
        set_seed(5)
        l.dls.train.rng.seed(1)
        with l.no_bar(), l.no_logging(): l.fit(1, 1e-3)
    for (n,p),q in zip(ours.model.named_parameters(), own.model.parameters()): close(p.detach(), q.detach(), 1e-4)
    close(ours.recorder.values[-1][0], own.recorder.values[-1][0], 1e-4)
    assert own.model.config.problem_type==PROBLEM_TYPES.get(kind)

@pytest.mark.parametrize('kind', first(['single','multi','regression']))
def test_each_text_counts_once_in_validation(kind, bert):
    "With the model's own loss too, whatever the number of its windows"
    found = []
    for val_bs in (1, 5, 12):
        learn = learner(kind, bert, loss_func=ModelLoss(), max_length=8, overlap=2, dl_kwargs=dict(val_bs=val_bs))
        assert learn.dls.valid.one_batch()[0].shape[1]>len(learn.dls.text_tfm.fields) or val_bs==1
        losses = learn.get_preds(with_loss=True)[2]
        close(learn.validate()[0], losses.mean())
        found.append(learn.validate()[0])
    close(found, [found[0]]*3)

PROBLEM_TYPES = dict(single='single_label_classification', pair='single_label_classification', multi='multi_label_classification', regression='regression')
BLOCKS = dict(single=CategoryBlock, pair=CategoryBlock, multi=MultiCategoryBlock, regression=RegressionBlock, choice=RightChoiceBlock)
def block_dls(kind, checkpoint):
    x,y = COLUMNS[kind].get('text', 'text'),COLUMNS[kind].get('label', 'label')
    text = TransformersTextBlock
    if kind=='choice': text,x,y = TextChoicesBlock,['text','choices'],['label','choices']
    def reader(names): return lambda r: tuple(r[c] for c in names) if isinstance(names, list) else r[names]
    return DataBlock(blocks=(text(checkpoint), BLOCKS[kind]), get_x=reader(x), get_y=reader(y), splitter=RandomSplitter(.25, seed=1)).dataloaders(FRAMES[kind], bs=BS)

def test_plain_learner(kind, bert, capsys):
    dls = block_dls(kind, bert)
    head_of = dict(num_labels=len(VOCABS[kind]), problem_type=PROBLEM_TYPES[kind]) if VOCABS[kind] else {}
    model = getattr(transformers, AUTO_MODELS[kind]).from_pretrained(bert, **head_of)
    learn = Learner(dls, model, metrics=[] if kind!='single' else accuracy, cbs=ModelInputsCallback(), splitter=transformer_splitter)
    assert type(learn) is Learner
    with learn.no_bar(), learn.no_logging():
        before = weights(model)
        learn.freeze()
        learn.fit(1, 1e-2)
        assert {'classifier.weight','classifier.bias'}<=changed(model, before)
        assert not any('query' in n or 'embeddings.weight' in n for n in changed(model, before))
        learn.unfreeze()
        before = weights(model)
        learn.lr_find(num_it=10, show_plot=False)
        assert not changed(model, before)
        learn.fit_one_cycle(1, slice(1e-4, 1e-2))
        assert any('query' in n for n in changed(model, before))
        df = FRAMES[kind].iloc[list(dls.valid_ds.items.index)]
        texts = texts_of(kind, df)
        direct = direct_logits(model, dls.tokenizer, texts)
        x,preds,targs,dec,losses = learn.get_preds(with_input=True, with_loss=True, with_decoded=True)
        close(preds, activated(kind, direct))
        close(learn.validate()[0], losses.mean())
        assert len(x)==len(dec)==len(df)==12
        if kind!='choice': close(learn.predict(df.iloc[4])[2], preds[4])
        items = df.reset_index(drop=True)
        close(learn.get_preds(dl=dls.test_dl(items))[0], preds)
        capsys.readouterr()
        dls.valid.show_batch(max_n=3, trunc_at=4)
        assert head(texts_in(texts[0])[0], 4) in shown(capsys)
        learn.show_results(max_n=3, trunc_at=4, shuffle=False)
        assert head(texts_in(texts[0])[-1], 4) in shown(capsys)
        interp = Interpretation.from_learner(learn)
        close(interp.top_losses()[0], losses.sort(descending=True)[0])
        interp.plot_top_losses(BS+2, trunc_at=4)
        assert len(shown(capsys).splitlines())==BS+3
        if kind in LABELS: assert ClassificationInterpretation.from_learner(learn).confusion_matrix().sum()==12
        assert 'Total params' in learn.summary()
        learn.fit(1, 1e-3, cbs=[SaveModelCallback(), CSVLogger(), EarlyStoppingCallback(), GradientClip(1.), GradientAccumulation(10)])
        learn.export('plain.pkl')
        again = load_learner('plain.pkl')
        with again.no_bar(): close(again.get_preds(dl=again.dls.test_dl(items))[0], learn.get_preds()[0])

def test_a_loader_of_the_users_own_may_have_arguments_of_its_own(bert):
    class Marked(TransformersDL):
        def __init__(self, dataset, mark=0, **kwargs):
            self.mark = mark
            super().__init__(dataset, **kwargs)
    df = FRAMES['single']
    block = DataBlock(blocks=(TransformersTextBlock(bert), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'))
    dls = block.datasets(df).dataloaders(dl_type=Marked, bs=4, mark=1, val_mark=2)
    assert [dl.mark for dl in dls.loaders]==[1, 2]
    with pytest.raises(TypeError, match="loaders take no 'val_mrak'"): block.datasets(df).dataloaders(dl_type=Marked, bs=4, val_mrak=2)

@pytest.mark.parametrize('place', ['.','a_file'])
def test_lr_find_where_nothing_may_be_written(place, bert, in_tmp):
    "The weights wait in a folder for such; nothing stays behind. A file elsewhere is read without a folder here."
    learn = learner('single', bert)
    learn.save(in_tmp/'w')
    Path('a_file').touch()
    learn.path = Path(place)
    before,files = weights(learn.model),sorted(os.listdir())
    with learn.no_bar(): learn.lr_find(num_it=6, show_plot=False)
    assert not changed(learn.model, before) and learn.model_dir=='models' and sorted(os.listdir())==files==['a_file','w.pth']
    learn.load(in_tmp/'w')
    assert sorted(os.listdir())==files

def test_a_fit_that_fails_after_lr_find_leaves_the_table_of_the_next(bert, capsys):
    class Fails(Callback):
        order = -50
        def before_fit(self): raise ValueError('not today')
    learn = learner('single', bert)
    learn.lr_find(num_it=5, show_plot=False)
    with pytest.raises(ValueError, match='not today'): learn.fit(1, cbs=Fails())
    capsys.readouterr()
    learn.fit(1)
    assert 'train_loss' in capsys.readouterr().out and learn.logger==print

def test_a_graph_of_losses_into_a_file(bert):
    learn = learner('single', bert, cbs=ShowGraphCallback())
    learn.fit(2, 1e-3)
    assert len(learn.recorder.values)==2

def test_tta_leaves_the_records_of_training(bert, in_tmp, capsys):
    learn = learner('single', bert, cbs=CSVLogger())
    with learn.no_bar(): learn.fit(2, 1e-3)
    losses,values,log = list(learn.recorder.losses),list(learn.recorder.values),(in_tmp/'history.csv').read_text()
    capsys.readouterr()
    close(learn.tta()[0], learn.get_preds()[0], 1e-6)
    assert 'epoch' not in capsys.readouterr().out
    assert learn.recorder.losses==losses and learn.recorder.values==values and (in_tmp/'history.csv').read_text()==log

@pytest.mark.parametrize('kind,match', [('prompts','text is written'), ('summaries','text is written')])
def test_tta_of_what_has_no_mean(kind, match, checkpoints):
    learn = learner(kind, checkpoints(ARCH[kind]))
    with learn.no_bar(), pytest.raises(TypeError, match=f'tta averages one row of outputs a text, and here {match}: call get_preds or predict_batch'): learn.tta(n=1)

def test_loaders_of_fastais_own_are_refused(bert):
    block = DataBlock((TransformersTextBlock(bert), CategoryBlock), get_x=ColReader('text'), get_y=ColReader('label'))
    dls = block.weighted_dataloaders(FRAMES['single'], wgts=np.ones(48), bs=5)
    with pytest.raises(ValueError, match='weighted_dataloaders'): Learner(dls, transformers.AutoModelForSequenceClassification.from_pretrained(bert, num_labels=3), cbs=ModelInputsCallback())
