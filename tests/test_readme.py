"README.md is what `tools/nb2md.py` makes of `nbs/index.ipynb`, and its Python runs as it stands there."
import ast,difflib,json,re,subprocess,sys
from pathlib import Path

import pandas as pd
import pytest

from blurlike.all import ROUGE, has_package, scratch_checkpoint
from blurlike.model.int8 import has_int8
from small import make_checkpoint, word_tokenizer
from transformers import T5Config, T5ForConditionalGeneration

ROOT = Path(__file__).parents[1]

def test_readme_follows_its_notebook(tmp_path):
    made = tmp_path/'README.md'
    r = subprocess.run([sys.executable, 'tools/nb2md.py', 'readme', str(made)], cwd=ROOT, capture_output=True, text=True)
    assert r.returncode==0, r.stdout+r.stderr
    old,new = (ROOT/'README.md').read_text(),made.read_text()
    diff = ''.join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), 'README.md', 'made of nbs/index.ipynb'))
    assert old==new, f'run `python tools/nb2md.py readme README.md`\n{diff}'
    figures = lambda folder: {p.name:p.read_bytes() for p in (folder/'README_files').glob('*')}
    assert figures(ROOT)==figures(tmp_path)

TEXTS = ['a good film in London by Ada','a bad film with my brother','it was cold but we stayed for the food']*8
TAGGER = "learn = token_classification_learner('train.conll', 'distilbert-base-cased', words=0, tags=3)"
CLASSIFIER = "learn = sequence_classification_learner('reviews.csv', 'distilbert-base-uncased', text='review', label='stars')"
SWEEP = """def make_learner(bs): return sequence_classification_learner('reviews.csv', 'distilbert-base-uncased', text='review', label='stars', bs=bs)
def train(learn, lr): learn.fit_one_cycle(1, lr)
sweep = partial(sweep, n_trials=2, backend='optuna')"""
GIVEN = { # what a reader has at hand before a line that starts so
    'learn_lm.predict_batch': "texts = ['a [MASK] film']*3", 'learn.resume': TAGGER, 'learn.check': CLASSIFIER, 'compare(': 'other = learn', 'learn = Learner(': 'dls,hf_model = learn.dls,learn.model',
    'learn.fit_one_cycle(3, 0.0001, cbs=Wandb': "import wandb; wandb.init(mode='disabled')", 'sweep(': SWEEP, 'learn = load_onnx': "learn.save_pretrained('stars')"}
NOT_HERE = ['learn.push_to_hub'] # needs a network (tests/test_hub.py has a stand-in)
if not has_package(ROUGE): NOT_HERE.append('learn_sum.score')
if not has_int8(): NOT_HERE.append("learn.predict_batch(texts, precision='int8')") # needs a processor

def make_writer(folder):
    "A small T5 of random weights."
    tokenizer = word_tokenizer('input_ids', 'attention_mask')
    tokenizer.save_pretrained(folder)
    start = tokenizer.pad_token_id
    config = T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, pad_token_id=start, decoder_start_token_id=start)
    T5ForConditionalGeneration(config).save_pretrained(folder)

@pytest.mark.slow
def test_the_python_of_the_readme_runs(in_tmp):
    "Verbatim, from top to bottom, over small files and checkpoints of the names that it mentions."
    for name in ('distilbert-base-uncased','distilbert-base-cased','bert-base-uncased'): scratch_checkpoint(TEXTS, name, max_position_embeddings=512)
    df = pd.DataFrame(dict(review=TEXTS, stars=['good','bad','none']*8))
    df.to_csv('reviews.csv', index=False)
    questions = pd.DataFrame(dict(question=TEXTS, choices=[['yes','no'],['one','two','three']]*(len(TEXTS)//2), answer=[0,1]*(len(TEXTS)//2)))
    questions.to_json('questions.jsonl', orient='records', lines=True)
    def asked(text): return dict(question='who?', answers=[dict(text=text.split()[0], answer_start=0)])
    Path('train-v2.0.json').write_text(json.dumps(dict(data=[dict(title='', paragraphs=[dict(context=t, qas=[asked(t)]) for t in TEXTS])])))
    Path('HuggingFaceTB').mkdir()
    make_checkpoint('gpt2', 'HuggingFaceTB/SmolLM2-135M')
    make_writer('google-t5/t5-small')
    pd.DataFrame(dict(dialogue=TEXTS, summary=[t.split()[1] for t in TEXTS])).to_json('dialogues.jsonl', orient='records', lines=True)
    pd.DataFrame(dict(prompt=TEXTS, completion=['yes','no']*(len(TEXTS)//2))).to_json('instructions.jsonl', orient='records', lines=True)
    tag = lambda w: dict(Ada='B-PER', London='B-LOC').get(w, 'O')
    Path('train.conll').write_text('\n\n'.join('\n'.join(f'{w} X X {tag(w)}' for w in t.split()) for t in TEXTS)+'\n')
    Path('corpus').mkdir()
    Path('corpus/a.txt').write_text('\n'.join(TEXTS*20))
    mails = dict(text=TEXTS*4, feelings=[['joy'],['anger'],['joy','anger']]*(len(TEXTS)*4//3))
    pd.DataFrame(mails).to_json('mails.jsonl', orient='records', lines=True)
    names = dict(texts=TEXTS, contexts=TEXTS, dialogues=TEXTS, million_rows=TEXTS, new_rows=TEXTS, df=df.assign(text=df.review, label=df.stars))
    ran = 0
    for code in re.findall(r'^```python\n(.*?)^```', (ROOT/'README.md').read_text(), re.M|re.S):
        for line in ast.parse(code).body:
            said = ast.unparse(line)
            for start,given in GIVEN.items():
                if said.startswith(start): exec(given, names)
            if said.startswith(tuple(NOT_HERE)): continue
            try: exec(compile(ast.Module([line], []), 'README.md', 'exec'), names)
            except Exception as e: pytest.fail(f'README.md: {said}\n{type(e).__name__}: {e}', pytrace=False)
            ran += 1
    names['wandb'].finish()
    names['wandb'].teardown() # it keeps its settings for the process
    assert ran>30

def test_the_lines_that_the_front_page_counts():
    "In the tutorial, which neither reads a csv file nor saves: for that the front page adds a line or two."
    head,lines = '',{}
    for c in json.loads((ROOT/'nbs'/'tutorials'/'from_trainer.ipynb').read_text())['cells']:
        text = ''.join(c['source']).splitlines()
        if c['cell_type']=='markdown': head = next((l[3:] for l in text if l.startswith('## ')), head)
        else: lines.setdefault(head, []).extend(l for l in text if l.strip() and not l.startswith('#|'))
    assert len(lines['With blurlike'])==2 and 13<=len(lines['With the Trainer'])<=16
    assert '| 3 lines | about 15 lines' in (ROOT/'README.md').read_text()
