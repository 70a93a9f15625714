"""How many wrong labels does `learn.check(labels=True)` find? `wrong_labels.py [SET ...]`: 5% of the labels of real sets are made wrong, three seeds; prints a Markdown table.

Labels are changed at random; tags of the words of entities too (`words`), or the types of whole entities (`types`), or entities lose their tags (`missed`); numbers are replaced by those of other rows, at least
one standard deviation away. A SET may also be a file of numbers and texts: id, number and text in a line, between tabs.

Reads `../shared/data` and the tokenizer in `../shared/models`; trains nothing but the small models of `blurlike.inspect.wrong_labels`."""
import json,sys
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from blurlike.inspect.wrong_labels import pair_tokens, suspects

SHARED = Path(__file__).resolve().parents[2]/'shared'
PAIR = ['sentence1','sentence2']
SETS = dict(ag_news=('single', 'ag_news/train.jsonl', 'text', 'label', 2000), trec=('single', 'trec/train.jsonl', 'text', 'label', 5452), trec_fine=('single', 'trec/train.jsonl', 'text', 'fine_label', 5452),
    sst2=('single', 'sst2/train.jsonl', 'sentence', 'label', 10000), sst2_small=('single', 'sst2/train.jsonl', 'sentence', 'label', 2000), mrpc=('single', 'mrpc/train.jsonl', PAIR, 'label', 3668),
    **{f'{name}_{how}':(how, path, 'tokens', 'tags', n) for name,path,n in (('wnut17', 'wnut17/train.jsonl', 3394), ('conll2003', 'conll2003/train.jsonl', 5000)) for how in ('words','types','missed')},
    ewt_words=('words', 'ud_english_ewt/train.jsonl', 'tokens', 'tags', 3601), stsb=('number', 'stsb/train.jsonl', PAIR, 'score', 5249))
SEEDS,SHARE = (0, 1, 2),.05

def drawn(rng, places): return [places[i] for i in rng.choice(len(places), round(SHARE*len(places)), replace=False)]

def changed(labels, seed, kind):
    "`labels` of which a share is another one, and the rows of these."
    rng,vocab,res = np.random.default_rng(seed),sorted(set(labels)),list(labels)
    rows,far = drawn(rng, range(len(labels))),np.std(labels) if kind=='number' else None
    for i in rows: res[i] = rng.choice([v for v in (vocab if far is None else labels) if v!=labels[i] and (far is None or abs(v-labels[i])>=far)])
    return res,set(rows)

def entities(tags): # first and last+1 word of each
    starts = [i for i,t in enumerate(tags) if t!='O' and not (t[0]=='I' and i and tags[i-1][1:]==t[1:])]
    return [(i, next((j for j in range(i+1, len(tags)) if tags[j]!='I'+tags[i][1:]), len(tags))) for i in starts]

def changed_tags(sentences, seed, kind):
    "`sentences` of tags of which a share of words or entities is wrong, and (row, word) of the changed words."
    rng,res,vocab = np.random.default_rng(seed),[list(s) for s in sentences],sorted({t for s in sentences for t in s})
    if kind=='words':
        words = drawn(rng, [(i, j) for i,s in enumerate(sentences) for j,t in enumerate(s) if t!='O'])
        for i,j in words: res[i][j] = str(rng.choice([t for t in vocab if t!=res[i][j]]))
        return res,set(words)
    wrong,types = set(),sorted({t[1:] for t in vocab if t!='O'})
    for i,first,end in drawn(rng, [(i, *e) for i,s in enumerate(sentences) for e in entities(s)]):
        new = rng.choice([t for t in types if t!=res[i][first][1:]])
        for j in range(first, end): res[i][j] = 'O' if kind=='missed' else res[i][j][0]+new
        wrong |= {(i, j) for j in range(first, end)}
    return res,wrong

def read(name):
    "The kind of a set, its texts and its labels."
    if name not in SETS: return 'number',*zip(*((text, float(number)) for _,number,text in (line.split('\t') for line in Path(name).read_text(encoding='utf-8', errors='replace').splitlines())))
    kind,path,text,label,n = SETS[name]
    data = [json.loads(line) for line in (SHARED/'data'/path).read_text().splitlines()][:n]
    if kind=='single':
        often = {v for v in {o[label] for o in data} if sum(o[label]==v for o in data)>=5}
        data = [o for o in data if o[label] in often]
    return kind,[[o[t] for t in text] if isinstance(text, list) else o[text] for o in data],[str(o[label]) if kind=='single' else o[label] for o in data]

def measure(name, tokenizer):
    "How many labels there are and the share that was changed; means over seeds: suspects, share of them that were changed, share of the changed that were found, share of the first 20."
    kind,texts,labels = read(name)
    words,pairs = kind in ('words','types','missed'),isinstance(texts[0], list)
    encode = lambda texts: tokenizer(list(texts), add_special_tokens=False)['input_ids']
    tokens = texts if words else list(map(pair_tokens, *map(encode, zip(*texts)))) if pairs else encode(texts)
    found,n = [],sum(map(len, labels)) if words else len(labels)
    for seed in SEEDS:
        given,wrong = (changed_tags if words else changed)(labels, seed, kind)
        vocab = sorted({t for s in given for t in s}) if words else ['number'] if kind=='number' else sorted(set(given))
        table,told = suspects([(i, t, l, '', 'training') for i,(t,l) in enumerate(zip(tokens, given))], vocab, 'tags' if words else kind, seed)
        hits = np.array([o in wrong for o in (zip(table.row, table['at']) if words else table.row)], dtype=bool)
        found.append((len(wrong)/n, len(table), hits.mean(), hits.sum()/len(wrong), hits[:20].mean()) if len(table) else (len(wrong)/n, 0, np.nan, 0, np.nan))
    print(f'{name}: {told}', file=sys.stderr)
    return n,np.mean(found, axis=0)

def main():
    tokenizer = AutoTokenizer.from_pretrained(SHARED/'models'/'all-MiniLM-L6-v2')
    print('| set | labels | changed | suspects | of these changed | changed ones found | of the first 20 changed |\n|---|---|---|---|---|---|---|')
    for name in sys.argv[1:] or SETS:
        n,(share,count,precision,recall,top) = measure(name, tokenizer)
        print(f'| {Path(name).stem} | {n:,} | {share:.1%} | {count:.0f} | {precision:.0%} | {recall:.0%} | {top:.0%} |', flush=True)

if __name__=='__main__': main()
