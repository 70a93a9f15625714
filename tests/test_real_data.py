"Real texts through a real encoder, where the folder with both lies beside the project."
import json

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from blurlike.all import TransformersLearner, masked_lm_learner, multiple_choice_learner, sequence_classification_learner, token_classification_learner
from small import SHARED

ENCODER = SHARED/'models'/'all-MiniLM-L6-v2'
pytestmark = pytest.mark.skipif(not ENCODER.is_dir(), reason='needs ../shared with data and an encoder')

def read(name, n): return pd.DataFrame([json.loads(l) for l in open(SHARED/'data'/f'{name}.jsonl', encoding='utf-8')][:n])

@pytest.mark.slow
@pytest.mark.filterwarnings('ignore:.*cut off')
def test_reviews_as_the_pipeline_reads_them(tmp_path):
    df = read('imdb_sample/valid', 24)
    learn = sequence_classification_learner(df, ENCODER, max_length=128)
    with learn.no_bar(): probs = learn.get_preds(dl=learn.dls.test_dl(df))[0]
    folder = learn.save_pretrained(tmp_path/'m')
    pipe = transformers.pipeline('text-classification', str(folder), truncation=True)
    theirs,ours = pipe(list(df.text), batch_size=8),learn.predict_batch(df)
    assert [o['label'] for o in ours]==[t['label'] for t in theirs]
    assert np.allclose([o['score'] for o in ours], [t['score'] for t in theirs], atol=1e-5)
    assert torch.allclose(probs.max(-1).values, torch.tensor([o['score'] for o in ours]), atol=1e-5)
    assert TransformersLearner.from_pretrained(folder).predict_batch(df)==ours

@pytest.mark.slow
def test_a_few_steps_lower_the_loss():
    df = read('trec/train', 240)
    learn = sequence_classification_learner(df, ENCODER, bs=16)
    with learn.no_bar(), learn.no_logging():
        before = learn.validate()[0]
        learn.fit_one_cycle(1, 3e-4)
        assert learn.validate()[0]<before

def test_many_labels_and_pairs():
    learn = sequence_classification_learner(read('goemotions/train', 400), ENCODER, label='labels', valid=[0])
    assert learn.task.name=='multi_label_classification' and 'neutral' in learn.dls.vocab
    assert len(learn.dls.train_ds)==399
    learn = sequence_classification_learner(read('stsb/train', 200), ENCODER, text=['sentence1','sentence2'], label='score')
    assert learn.task.name=='regression'
    assert isinstance(learn.dls.valid.decode_batch(learn.dls.valid.one_batch())[0][0], tuple)
    assert learn.model.classifier.bias.item()==pytest.approx(np.mean([float(y) for _,y in learn.dls.train_ds]), abs=1e-4)

def same(a, b):
    if isinstance(a, dict): return set(a)==set(b) and all(same(a[k], b[k]) for k in a)
    return abs(a-b)<1e-4 if isinstance(a, float) else a==b

@pytest.mark.slow
def test_entities_and_gaps_of_real_sentences_are_the_pipelines(tmp_path):
    "With a head that knows nothing, whose entities are as odd as can be; `benchmarks/pipelines.py` does it with trained models over all rows."
    df = pd.concat([read('wnut17/train', 60).assign(is_valid=False), read('wnut17/dev', 150).assign(is_valid=True)], ignore_index=True)[['tokens','tags','is_valid']]
    tagger = token_classification_learner(df, ENCODER, valid='is_valid', max_length=128)
    torch.nn.init.zeros_(tagger.model.classifier.bias) # or all would be O
    pipe = transformers.pipeline('token-classification', str(tagger.save_pretrained(tmp_path/'tags')), device='cpu')
    texts = [' '.join(w) for w in df.tokens[60:]]
    for strategy in ('simple','first'):
        theirs = [[dict(e, score=float(e['score'])) for e in pipe(t, aggregation_strategy=strategy)] for t in texts]
        ours = tagger.predict_batch(texts, aggregation_strategy=strategy)
        assert sum(map(len, theirs))>200 and all(len(a)==len(b) and all(map(same, a, b)) for a,b in zip(ours, theirs))
    filler = masked_lm_learner(pd.DataFrame(dict(text=texts)), ENCODER, max_length=128)
    pipe = transformers.pipeline('fill-mask', str(filler.save_pretrained(tmp_path/'gaps')), device='cpu')
    texts = [' '.join(['[MASK]' if i==len(w)//2 else o for i,o in enumerate(w)]) for w in df.tokens[60:]]
    assert all(map(same, sum(filler.predict_batch(texts, top_k=3), []), sum((pipe(t, top_k=3) for t in texts), [])))

@pytest.mark.slow
def test_questions_with_two_to_five_answers():
    df = read('truthfulqa_mc/valid', 12)
    learn = multiple_choice_learner(df, ENCODER, text='question', valid=[0,1,2], bs=4)
    assert df.choices.map(len).nunique()>2
    for q,choices,ours in zip(df.question, df.choices, learn.predict_logits(learn.texts_of(df))):
        inputs = learn.dls.tokenizer([q]*len(choices), choices, padding=True, return_tensors='pt')
        with torch.no_grad(): theirs = learn.model.eval()(**{k:v[None] for k,v in inputs.items()}).logits[0]
        assert torch.allclose(ours[:len(choices)], theirs, atol=1e-5) and (ours[len(choices):]==-torch.inf).all()
