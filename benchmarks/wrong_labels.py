"""How many wrong labels does `learn.check(labels=True)` find? `wrong_labels.py [SET ...]`: 5% of the labels of real sets are changed at random, three seeds; prints a Markdown table.

Reads `../shared/data` and the tokenizer in `../shared/models`; trains nothing but the logistic regressions of `blurlike.wrong_labels`."""
import json,sys
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from blurlike.wrong_labels import suspects

SHARED = Path(__file__).resolve().parents[2]/'shared'
SETS = dict(ag_news=('ag_news/train.jsonl', 'text', 'label', 2000), trec=('trec/train.jsonl', 'text', 'label', 5452), trec_fine=('trec/train.jsonl', 'text', 'fine_label', 5452),
    sst2=('sst2/train.jsonl', 'sentence', 'label', 10000), sst2_small=('sst2/train.jsonl', 'sentence', 'label', 2000))
SEEDS,SHARE = (0, 1, 2),.05

def changed(labels, seed):
    "`labels` of which a share is another one, and which these are."
    rng,vocab = np.random.default_rng(seed),sorted(set(labels))
    rows = rng.choice(len(labels), round(SHARE*len(labels)), replace=False)
    res = list(labels)
    for i in rows: res[i] = rng.choice([v for v in vocab if v!=labels[i]])
    return res,set(rows.tolist())

def measure(name, tokenizer):
    "Means over seeds: suspects, share of them that were changed, share of the changed that were found, share of the first 20."
    path,text,label,n = SETS[name]
    data = [json.loads(line) for line in (SHARED/'data'/path).read_text().splitlines()][:n]
    often = {v for v in {o[label] for o in data} if sum(o[label]==v for o in data)>=5}
    data = [o for o in data if o[label] in often]
    tokens = tokenizer([o[text] for o in data], add_special_tokens=False)['input_ids']
    found = []
    for seed in SEEDS:
        labels,wrong = changed([str(o[label]) for o in data], seed)
        table,_ = suspects([(i, t, l, o[text], 'training') for i,(t,l,o) in enumerate(zip(tokens, labels, data))], sorted(set(labels)), seed=seed)
        hits = table.row.isin(wrong).to_numpy()
        found.append((len(table), hits.mean(), hits.sum()/len(wrong), hits[:20].mean()))
    return len(data),np.mean(found, axis=0)

def main():
    tokenizer = AutoTokenizer.from_pretrained(SHARED/'models'/'all-MiniLM-L6-v2')
    print('| set | rows | suspects | of these changed | changed ones found | of the first 20 changed |\n|---|---|---|---|---|---|')
    for name in sys.argv[1:] or SETS:
        n,(count,precision,recall,top) = measure(name, tokenizer)
        print(f'| {name} | {n:,} | {count:.0f} | {precision:.0%} | {recall:.0%} | {top:.0%} |', flush=True)

if __name__=='__main__': main()
