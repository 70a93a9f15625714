"fastai's own tools on all four kinds of target. One test a tool, named for it."
import csv

import numpy as np
import pytest
import torch
from blurlike.all import (CSVLogger, Callback, CategoryBlock, ClassificationInterpretation, DataBlock, EarlyStoppingCallback, GradientAccumulation,
    GradientClip, Interpretation, Learner, ModelInputsCallback, ModelLoss, OptimWrapper, SaveModelCallback, TransformersLearner,
    TransformersTextBlock, load_learner, output_names, partial, unwrap)
from conftest import table
from datasets import Dataset
from fresh import run_fresh
from sklearn.metrics import confusion_matrix

LABELLED = ('single','pair')

def raw(learn, texts): # logits of texts, one at a time, by the plain Hugging Face model
    tok,model = learn.dls.tokenizer,unwrap(learn.model).eval()
    with torch.no_grad(): res = torch.cat([model(**tok(*((t,) if isinstance(t, str) else t), return_tensors='pt', truncation=True, max_length=64)).logits for t in texts])
    return res.squeeze(1) if model.config.problem_type=='regression' else res # one number a text, as its target

def valid_texts(learn): return learn.texts_of(learn.dls.valid_ds.items)
def weights(learn): return {n:p.detach().clone() for n,p in unwrap(learn.model).named_parameters()}
def changed(learn, before): return {n for n,p in unwrap(learn.model).named_parameters() if not torch.equal(p, before[n])}
def quiet_fit(learn, *args, **kwargs):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(*args, **kwargs)
    return learn.recorder.values[-1]

def test_show_batch(kind, trained, capsys):
    trained(kind).dls.show_batch(max_n=3)
    out = capsys.readouterr().out
    assert 'target' in out and not any(s in out for s in ('[CLS]','[SEP]','[PAD]'))
    assert ('text_pair' in out)==(kind=='pair')
    assert any(str(v) in out for v in output_names(trained(kind).dls)) or kind=='regression'

def test_lr_find(kind, make):
    learn = make(kind); before = weights(learn)
    with learn.no_bar(): found = learn.lr_find(num_it=12, show_plot=False)
    assert found.valley>0 and not changed(learn, before)

def test_fit_one_cycle(kind, trained):
    values = trained(kind).epoch_table
    assert len(values)==6 and np.isfinite([float(v) for row in values for v in row[:2]]).all()

def test_fit_one_cycle_learns(make):
    learn = make('single', n=300, lr=1e-3)
    assert quiet_fit(learn, 16, 2e-3)[2]>0.6 # accuracy; chance is 1/3

def test_fit_one_cycle_with_slice(kind, make):
    learn = make(kind)
    quiet_fit(learn, 1, slice(1e-5, 1e-3))
    assert len(learn.opt.hypers)==3
    top = [max(lr) for lr in zip(*[[1e-5, 1e-4, 1e-3]])]
    seen = []
    class Watch(Callback):
        def before_step(self): seen.append([h['lr'] for h in self.opt.hypers])
    quiet_fit(learn, 1, slice(1e-5, 1e-3), cbs=Watch())
    assert np.allclose(np.max(seen, axis=0), top, rtol=0.2)

def test_fine_tune(kind, make):
    learn = make(kind); before = weights(learn)
    with learn.no_bar(), learn.no_logging(): learn.fine_tune(1, 1e-3)
    assert any('embeddings' in n for n in changed(learn, before)) and all(p.requires_grad for p in learn.model.parameters())

def test_freeze_unfreeze_freeze_to(kind, make):
    learn = make(kind); learn.freeze()
    assert {n for n,p in learn.model.named_parameters() if p.requires_grad}=={'classifier.weight','classifier.bias'}
    before = weights(learn); quiet_fit(learn, 1, 1e-2)
    assert changed(learn, before)=={'classifier.weight','classifier.bias'}
    learn.freeze_to(-2)
    open_ = {n for n,p in learn.model.named_parameters() if p.requires_grad}
    assert any('layer.1' in n for n in open_) and not any('embeddings' in n for n in open_)
    learn.unfreeze()
    assert all(p.requires_grad for p in learn.model.parameters())

def test_validate(kind, trained):
    learn = trained(kind)
    with learn.no_bar(): a,b = learn.validate(),learn.validate()
    assert a==b
    with learn.no_bar(): _,_,losses = learn.get_preds(with_loss=True)
    assert float(a[0])==pytest.approx(losses.mean().item(), abs=1e-5)

def test_get_preds_in_row_order(kind, trained):
    learn = trained(kind)
    with learn.no_bar(): preds,targs = learn.get_preds()
    act = learn.loss_func.activation
    assert torch.allclose(preds, act(raw(learn, valid_texts(learn))), atol=1e-4)
    assert len(targs)==len(learn.dls.valid_ds)>learn.dls.valid.bs
    assert all(torch.equal(torch.as_tensor(t), torch.as_tensor(y)) for t,(_,y) in zip(targs, learn.dls.valid_ds))

def test_get_preds_not_reordered(kind, trained):
    learn = trained(kind)
    with learn.no_bar(): a,b,c = learn.get_preds()[0],learn.get_preds(reorder=False)[0],learn.get_preds(dl=learn.dls.valid, reorder=False)[0]
    assert torch.allclose(a, b, atol=1e-4) and torch.allclose(a, c, atol=1e-4)

def test_get_preds_with_input_loss_decoded(kind, trained):
    learn = trained(kind)
    with learn.no_bar(): x,preds,targs,dec,losses = learn.get_preds(with_input=True, with_loss=True, with_decoded=True)
    n = len(learn.dls.valid_ds)
    assert [len(o) for o in (x,preds,targs,dec,losses)]==[n]*5
    texts = [learn.dls.text_tfm.decode(o) for o in x]
    same = [learn.dls.text_tfm.decode(learn.dls.text_tfm.stack(learn.dls.text_tfm.tokenize([t])[0])[0]) for t in valid_texts(learn)]
    assert texts==same
    logits = raw(learn, valid_texts(learn))
    by_hand = torch.stack([learn.loss_func(l[None], t[None]) for l,t in zip(logits, targs)])
    assert torch.allclose(losses, by_hand, atol=1e-4)

def test_show_results(kind, trained, capsys):
    learn = trained(kind)
    with learn.no_bar(): learn.show_results(max_n=4)
    out = capsys.readouterr().out
    assert 'prediction' in out and '[SEP]' not in out
    assert ('✓' in out or '✗' in out) or kind=='regression'

def test_predict(kind, trained):
    learn = trained(kind)
    item = valid_texts(learn)[0]
    with learn.no_bar(): decoded,idx,probs = learn.predict(item)
    assert torch.allclose(probs, learn.loss_func.activation(raw(learn, [item]))[0], atol=1e-4)
    if kind in LABELLED: assert decoded==learn.dls.vocab[probs.argmax()]
    with learn.no_bar(): again = learn.predict(learn.dls.valid_ds.items[0])
    assert torch.allclose(again[2], probs)

def test_predict_batch(kind, trained):
    learn = trained(kind)
    out = learn.predict_batch(learn.dls.valid_ds.items, bs=4)
    probs = learn.loss_func.activation(raw(learn, valid_texts(learn)))
    assert len(out)==len(probs)
    for o,p in zip(out, probs):
        if kind=='multi': assert {d['label'] for d in o}=={v for v,q in zip(learn.dls.vocab, p) if q>0.5}
        elif kind=='regression': assert o['label']=='score' and o['score']==pytest.approx(p.item(), abs=1e-4)
        else: assert o['label']==learn.dls.vocab[p.argmax()] and o['score']==pytest.approx(p.max().item(), abs=1e-4)

def test_summary(kind, trained):
    text = trained(kind).summary()
    assert 'Embedding' in text and 'ModelInputsCallback' in text

def test_interpretation(kind, trained, capsys):
    learn = trained(kind)
    with learn.no_bar():
        interp = Interpretation.from_learner(learn)
        interp.plot_top_losses(9 if len(learn.dls.valid_ds)>=9 else 5) # more than a batch
    losses,idx = interp.top_losses()
    assert torch.all(losses[:-1]>=losses[1:]) and sorted(idx.tolist())==list(range(len(learn.dls.valid_ds)))
    out = capsys.readouterr().out
    words = (lambda t: t if isinstance(t, str) else t[0])(valid_texts(learn)[idx[0]]).split()[:2]
    assert 'loss' in out and f'{losses[0].item():.3f}' in out and words[0] in out

@pytest.mark.parametrize('kind', LABELLED)
def test_classification_interpretation(kind, trained):
    learn = trained(kind)
    with learn.no_bar():
        interp = ClassificationInterpretation.from_learner(learn)
        cm,confused = interp.confusion_matrix(),interp.most_confused()
        _,targs,dec = learn.get_preds(with_decoded=True)
    assert (cm==confusion_matrix(targs, dec, labels=range(len(learn.dls.vocab)))).all()
    assert sum(n for *_,n in confused)==cm.sum()-np.trace(cm)
    interp.plot_confusion_matrix()

def test_test_dl(kind, trained):
    learn = trained(kind); df,_ = table(kind)
    rows = df.iloc[:11]
    texts = learn.texts_of(rows)
    with learn.no_bar(): results = [learn.get_preds(dl=learn.dls.test_dl(o))[0] for o in (texts, rows, Dataset.from_pandas(rows), rows.to_dict('records'))]
    assert all(torch.allclose(r, results[0], atol=1e-5) for r in results)
    assert torch.allclose(results[0], learn.loss_func.activation(raw(learn, texts)), atol=1e-4)
    dl = learn.dls.test_dl(rows, with_labels=True)
    with learn.no_bar(): preds,targs = learn.get_preds(dl=dl)
    assert len(targs)==11 and np.isfinite(float(learn.validate(dl=dl)[0]))

def test_test_dl_empty(kind, trained):
    learn = trained(kind)
    preds,targs = learn.get_preds(dl=learn.dls.test_dl([]))
    assert len(preds)==0 and targs is None and learn.predict_batch([])==[]

def test_export_and_load_learner(kind, trained, tmp_path, monkeypatch):
    learn = trained(kind); items = learn.dls.valid_ds.items[:3]
    expected = learn.predict_batch(items)
    learn.export(tmp_path/'l.pkl')
    assert len(learn.dls.train_ds)>0 and learn.predict_batch(items)==expected
    texts = learn.texts_of(items)
    code = f"from blurlike.all import *\nl = load_learner({str(tmp_path/'l.pkl')!r})\nprint(repr(l.predict_batch({texts!r})))\nwith l.no_bar(): print(l.predict({texts[0]!r})[0])"
    out = run_fresh(code, cwd=tmp_path)
    assert out.returncode==0, out.stderr
    assert eval(out.stdout.splitlines()[0])==expected
    assert not any(t.encode() in (tmp_path/'l.pkl').read_bytes() for t in map(str, texts)), 'validation texts in the pickle'

def test_export_with_a_lambda(checkpoint, tmp_path):
    df,_ = table('single')
    dls = DataBlock(blocks=(TransformersTextBlock(checkpoint), CategoryBlock), get_x=lambda r: r['text'], get_y=lambda r: r['label']).dataloaders(df, bs=8)
    learn = TransformersLearner(dls, checkpoint)
    learn.export(tmp_path/'l.pkl')
    again = load_learner(tmp_path/'l.pkl')
    with learn.no_bar(), again.no_bar(): assert torch.allclose(again.predict('the sea')[2], learn.predict('the sea')[2])

@pytest.mark.parametrize('how,dtype', [('to_bf16',torch.bfloat16), ('to_fp16',torch.float16)])
def test_to_bf16_to_fp16(how, dtype, kind, make):
    learn = getattr(make(kind), how)(); seen = set()
    handle = learn.model.bert.encoder.layer[0].attention.self.query.register_forward_hook(lambda m,i,o: seen.add(o.dtype))
    before = weights(learn)
    values = quiet_fit(learn, 1, 1e-3)
    assert seen=={dtype} and np.isfinite(float(values[0])) and changed(learn, before)
    assert all(p.dtype==torch.float32 for p in learn.model.parameters())
    handle.remove(); learn.to_fp32()
    assert np.isfinite(float(quiet_fit(learn, 1, 1e-3)[0]))

def test_gradient_accumulation(make):
    def run(bs, cbs):
        learn = make('single', bs=bs, cbs=cbs, opt_func=partial(OptimWrapper, opt=torch.optim.SGD), max_grad_norm=None, dl_kwargs=dict(shuffle=False, drop_last=False))
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 0.1)
        return weights(learn)
    big,small = run(16, None),run(8, GradientAccumulation(16))
    start = weights(make('single'))
    moved = max((big[n]-start[n]).abs().max() for n in big)
    assert moved>1e-4 and max((big[n]-small[n]).abs().max() for n in big)<moved*2.1 # accumulated gradients are sums of means

def test_gradient_clip(kind, make):
    learn = make(kind); norms = []
    class Norm(Callback):
        order = 50
        def before_step(self): norms.append(torch.stack([p.grad.norm() for p in self.learn.model.parameters() if p.grad is not None]).norm().item())
    quiet_fit(learn, 1, 1e-3, cbs=[GradientClip(0.01), Norm()])
    assert norms and max(norms)<=0.0101

def test_save_model_and_early_stopping(kind, make, tmp_path):
    learn = make(kind, path=tmp_path)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(4, 1e-3, cbs=[SaveModelCallback(fname='best'), EarlyStoppingCallback(min_delta=1e9, patience=1)])
    assert (tmp_path/'models'/'best.pth').exists() and len(learn.recorder.values)==2

def test_csv_logger(kind, make, tmp_path):
    learn = make(kind, path=tmp_path)
    with learn.no_bar(): learn.fit_one_cycle(2, 1e-3, cbs=CSVLogger())
    rows = list(csv.reader(open(tmp_path/'history.csv')))
    assert len(rows)==3 and rows[0][:3]==['epoch','train_loss','valid_loss']

def test_torch_compile(kind, make):
    learn = make(kind); item = valid_texts(learn)[:3]
    before = learn.predict_logits(item)
    learn.model = torch.compile(learn.model, backend='aot_eager', dynamic=True)
    assert torch.allclose(learn.predict_logits(item), before, atol=1e-5)
    assert np.isfinite(float(quiet_fit(learn, 1, 1e-3)[0]))
    assert type(unwrap(learn.model)(**learn.dls.tokenizer('the sea', return_tensors='pt'))).__name__=='SequenceClassifierOutput'

def test_model_loss(kind, make):
    a,b = make(kind),make(kind, loss_func=ModelLoss())
    with a.no_bar(), b.no_bar():
        assert float(a.validate()[0])==pytest.approx(float(b.validate()[0]), abs=1e-5)
        la,lb = Interpretation.from_learner(a),Interpretation.from_learner(b)
        assert torch.allclose(la.top_losses()[0], lb.top_losses()[0], atol=1e-5)
        pa,pb = a.get_preds(with_decoded=True),b.get_preds(with_decoded=True)
    assert torch.allclose(pa[0], pb[0], atol=1e-5) and torch.equal(pa[2].float(), pb[2].float())
    before = weights(b); quiet_fit(b, 1, 1e-3)
    assert len(changed(b, before))>10

def test_plain_learner(kind, make):
    ours = make(kind)
    ours.remove_cb(ModelInputsCallback) # its door leaves the model
    plain = Learner(ours.dls, ours.model, loss_func=ours.loss_func, metrics=ours.metrics, cbs=ModelInputsCallback())
    with plain.no_bar(), plain.no_logging():
        plain.fit_one_cycle(1, 1e-3)
        assert torch.allclose(plain.get_preds()[0], plain.loss_func.activation(raw(plain, valid_texts(ours))), atol=1e-4)
        x,preds,targs,dec,losses = plain.get_preds(with_input=True, with_loss=True, with_decoded=True)
        plain.show_results(max_n=2); plain.predict(valid_texts(ours)[0]); plain.lr_find(num_it=8, show_plot=False)
        Interpretation.from_learner(plain).plot_top_losses(3)
    assert len(preds)==len(targs)==len(dec)==len(losses)==len(x)==len(ours.dls.valid_ds)
    assert 'ModelInputsCallback' in plain.summary()
