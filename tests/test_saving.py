"Folders without pickle: the same predictions in a fresh process, and nothing lost when a save fails."
import json

import pytest
import torch
import transformers
from blurlike.all import TransformersLearner, load_tokenizer, sequence_classification_learner, write_folder
from conftest import table
from fresh import run_fresh
from small import TEXTS, learner

def test_equal_in_a_fresh_process(kind, trained, tmp_path):
    learn = trained(kind)
    folder = learn.save_pretrained(tmp_path/'m')
    texts = learn.texts_of(learn.dls.valid_ds.items)[:5]
    code = f"from blurlike.all import TransformersLearner\nprint(repr(TransformersLearner.from_pretrained({str(folder)!r}).predict_batch({texts!r})))"
    out = run_fresh(code, cwd=tmp_path)
    assert out.returncode==0, out.stderr
    assert eval(out.stdout)==learn.predict_batch(texts)

def test_no_pickle(kind, trained, tmp_path, monkeypatch):
    folder = trained(kind).save_pretrained(tmp_path/'m')
    for p in folder.rglob('*'):
        assert p.suffix in ('.json','.safetensors','.txt') and not p.read_bytes()[:2] in (b'\x80\x02', b'\x80\x04', b'PK'), p
    def never(*args, **kwargs): raise AssertionError('a pickle was opened')
    for place in ('pickle.load','pickle.loads','pickle.Unpickler','torch.load'): monkeypatch.setattr(place, never)
    TransformersLearner.from_pretrained(folder)

def test_opens_in_transformers(kind, trained, tmp_path):
    learn = trained(kind)
    folder = learn.save_pretrained(tmp_path/'m')
    model,tok = transformers.AutoModelForSequenceClassification.from_pretrained(folder),transformers.AutoTokenizer.from_pretrained(folder)
    item = learn.texts_of(learn.dls.valid_ds.items)[0]
    with torch.no_grad(): logits = model(**tok(*((item,) if isinstance(item, str) else item), return_tensors='pt')).logits
    assert torch.allclose(logits, learn.predict_logits([item]), atol=1e-5)
    if kind!='pair':
        out = transformers.pipeline('text-classification', str(folder))(item)[0]
        assert out['label'] in [str(v) for v in learn.model.config.id2label.values()]
        if kind=='single': assert out['label']==learn.predict_batch([item])[0]['label'] and out['score']==pytest.approx(learn.predict_batch([item])[0]['score'], abs=1e-5)

def test_shows_and_trains_on(kind, trained, tmp_path, capsys):
    folder = trained(kind).save_pretrained(tmp_path/'m')
    again = TransformersLearner.from_pretrained(folder)
    df,reads = table(kind)
    dl = again.dls.test_dl(df, with_labels=True)
    with again.no_bar(): again.show_results(dl=dl, max_n=2)
    assert 'prediction' in capsys.readouterr().out
    new = sequence_classification_learner(df, folder, bs=8, **reads)
    assert not new.model.new_weights and new.predict_batch(df[:4])==again.predict_batch(df[:4])
    with new.no_bar(), new.no_logging(): new.fit_one_cycle(1, 1e-3)
    again.dls = new.dls
    with again.no_bar(), again.no_logging(): again.fine_tune(1, 1e-3)
    again.save_pretrained(folder)
    assert TransformersLearner.from_pretrained(folder).predict_batch(df[:4])==again.predict_batch(df[:4])

def test_what_is_remembered(make, tmp_path):
    learn = make('single', class_weights=[1,2,3], max_length=20, overlap=4, bs=4)
    again = TransformersLearner.from_pretrained(learn.save_pretrained(tmp_path/'m'))
    assert again.loss_func.func.weight.tolist()==[1,2,3] and (again.dls.text_tfm.max_length,again.dls.text_tfm.overlap,again.dls.train.bs)==(20,4,4)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path/'m').model_max_length==20 and learn.dls.tokenizer.model_max_length==64
    assert [m.name for m in again.metrics]==[m.name for m in learn.metrics] and again.splitter is learn.splitter and list(again.dls.vocab)==list(learn.dls.vocab)

def test_a_failed_save_leaves_the_old_one(trained, tmp_path, monkeypatch):
    learn = trained('single')
    folder = learn.save_pretrained(tmp_path/'m')
    before = {p.name:p.read_bytes() for p in folder.iterdir()}
    def full(*args, **kwargs): raise OSError('disk full')
    monkeypatch.setattr(type(learn.dls.tokenizer), 'save_pretrained', full)
    with pytest.raises(OSError, match='disk full'): learn.save_pretrained(folder)
    monkeypatch.undo()
    assert {p.name:p.read_bytes() for p in folder.iterdir()}==before and [p.name for p in tmp_path.iterdir()]==['m']
    def half(path): (path/'config.json').write_text('{}'); raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): write_folder(folder, half)
    assert {p.name:p.read_bytes() for p in folder.iterdir()}==before

def test_refusals(trained, tmp_path):
    learn = trained('single')
    folder = learn.save_pretrained(tmp_path/'m')
    facts = json.loads((folder/'blurlike.json').read_text())
    write = lambda **k: (folder/'blurlike.json').write_text(json.dumps(facts | k))
    write(format_version=99)
    with pytest.raises(ValueError, match='version 99'): TransformersLearner.from_pretrained(folder)
    write(vocab=list(reversed(facts['vocab'])))
    with pytest.raises(ValueError, match='changed after saving'): TransformersLearner.from_pretrained(folder)
    write()
    from safetensors.torch import load_file, save_file
    w = load_file(folder/'model.safetensors'); w.pop('classifier.bias'); save_file(w, folder/'model.safetensors', metadata=dict(format='pt'))
    with pytest.raises(ValueError, match='model.safetensors.*not as it was saved'): TransformersLearner.from_pretrained(folder)
    with pytest.raises(FileNotFoundError, match='does not exist'): TransformersLearner.from_pretrained(tmp_path/'none')
    (tmp_path/'plain').mkdir(); learn.model.save_pretrained(tmp_path/'plain')
    with pytest.raises(FileNotFoundError, match='holds no blurlike.json'): TransformersLearner.from_pretrained(tmp_path/'plain')

def test_a_compiled_model_is_saved_plain(make, tmp_path):
    learn = make('single')
    texts = ['the sea','a summit']
    expected = learn.predict_logits(texts)
    learn.model = torch.compile(learn.model, backend='eager')
    again = TransformersLearner.from_pretrained(learn.save_pretrained(tmp_path/'m'))
    assert torch.equal(again.predict_logits(texts), expected)

def test_own_code_is_not_saved_and_missed(make, tmp_path):
    from blurlike.all import ModelLoss, trainable_params
    learn = make('single', loss_func=ModelLoss(), splitter=lambda m: [list(m.parameters())])
    folder = learn.save_pretrained(tmp_path/'m')
    with pytest.warns(UserWarning, match="loss_func 'ModelLoss'.*Pass loss_func="): TransformersLearner.from_pretrained(folder)
    with pytest.warns(UserWarning, match="splitter '<lambda>'"): again = TransformersLearner.from_pretrained(folder, loss_func=ModelLoss())
    assert isinstance(again.loss_func, ModelLoss) and again.predict_batch(['the sea'])==learn.predict_batch(['the sea'])
    assert TransformersLearner.from_pretrained(folder, loss_func=ModelLoss(), splitter=trainable_params).splitter is trainable_params

def test_sides_that_were_set_later_come_back(bert, in_tmp):
    tok = load_tokenizer(bert)
    tok.padding_side = tok.truncation_side = 'left'
    learn = learner('single', bert, tokenizer=tok, max_length=8)
    again = TransformersLearner.from_pretrained(learn.save_pretrained('m'))
    assert again.dls.tokenizer.padding_side==again.dls.tokenizer.truncation_side=='left'
    with pytest.warns(UserWarning, match='cut'): assert again.predict_batch(TEXTS)==learn.predict_batch(TEXTS)
    assert 'truncation_side' not in learn.dls.tokenizer.init_kwargs
