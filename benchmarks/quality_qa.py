"""How well does question answering train, beside Hugging Face's Trainer? `python benchmarks/quality_qa.py --help`

Both sides fine-tune the same encoder on the same rows with the same epochs, batch size, learning rate and windows, and are scored
by the official script's rules on the same validation rows, which share no context (`squad_v2_dev_half`: no article) with the
training rows. Ours: `question_answering_learner` with its defaults and `fit_one_cycle`. The Trainer: features, labels and
post-processing of transformers' example `run_qa` (n-best of 20 starts and ends), fused AdamW, weight decay 0.01, linear decay after
10% warm-up. Of unanswerable sets both thresholds are chosen on the validation rows, and `f1_at_0` is the Trainer's score with the
example's own threshold. Runs alternate; each finished run is kept in a jsonl file, so that a stopped benchmark goes on where it was.
"""
import sys
import tempfile
from functools import partial

import numpy as np
import pandas as pd
import torch
import transformers

from blurlike.all import question_answering_learner
from blurlike.tasks.question_answering.scores import answer_scores, best_threshold
from quality import Runs, options, prepare, table, timed, trainer_settings, versions

SETS = dict(squad_xquad_en=('dev','context'), squad_v2_dev_half=('train','title')) # file, and what no two parts share

def load(args, name, seed):
    "Training and validation rows of set `name`; `seed` chooses among the former."
    part,group = SETS[name]
    rows = pd.read_json(args.shared/'data'/name/f'{part}.jsonl', lines=True)
    if 'answers' not in rows: rows['answers'] = [dict(text=[t], answer_start=[s]) for t,s in zip(rows.answer_text, rows.answer_start)]
    groups = np.random.default_rng(0).permutation(rows[group].unique())
    is_valid = rows[group].isin(groups[:max(1, len(groups)//4)])
    columns = ['question','context','answers']
    train,valid = rows[~is_valid][columns],rows[is_valid][columns]
    return (train.sample(min(args.rows, len(train)), random_state=seed).reset_index(drop=True),
        valid.sample(min(args.valid_rows, len(valid)), random_state=0).reset_index(drop=True))

def mean_scores(valid, texts):
    exact,f1 = np.array([answer_scores(a['text'], t) for a,t in zip(valid.answers, texts)]).mean(0)
    return dict(exact_match=float(exact), f1=float(f1))

def ours(args, data, seed):
    "Scores, and seconds of training, through blurlike's defaults."
    train,valid = data
    learn = question_answering_learner((train, valid), args.checkpoint, bs=args.bs, seed=seed, dl_kwargs=dict(val_bs=32, device=args.device))
    with learn.no_bar(), learn.no_logging():
        seconds = timed(learn.fit_one_cycle, args.epochs, args.lr)
        found = []
        predict = timed(lambda: found.extend(learn.predict_batch(valid)))
        return mean_scores(valid, [o['answer'] for o in found]) | dict(seconds=seconds, predict_seconds=predict)

# the example of transformers
def features(tokenizer, data, labels):
    "Windows as `run_qa` makes them: token fields, labels, and what post-processing needs."
    enc = tokenizer(data.question.str.lstrip().tolist(), data.context.tolist(), truncation='only_second', max_length=384, stride=128, return_overflowing_tokens=True, return_offsets_mapping=True)
    res = []
    for w,row in enumerate(enc['overflow_to_sample_mapping']):
        ids,sequence,offsets = enc['input_ids'][w],enc.sequence_ids(w),enc['offset_mapping'][w]
        f = {k:enc[k][w] for k in tokenizer.model_input_names}
        inside = [i for i,s in enumerate(sequence) if s==1]
        if labels: f |= dict(zip(('start_positions','end_positions'), positions(data.answers[row], offsets, inside, ids.index(tokenizer.cls_token_id))))
        res.append((row, f, [o if s==1 else None for o,s in zip(offsets, sequence)]))
    return res

def positions(answers, offsets, inside, cls):
    if not answers['text']: return cls,cls
    start = answers['answer_start'][0]
    end = start+len(answers['text'][0])
    if not (offsets[inside[0]][0]<=start and offsets[inside[-1]][1]>=end): return cls,cls
    return max(i for i in inside if offsets[i][0]<=start),min(i for i in inside if offsets[i][1]>=end)

def post_process(data, feats, start_logits, end_logits):
    "The best answer of each row, and by how much none is better."
    best,null = [(-np.inf, '')]*len(data),np.full(len(data), np.inf)
    for (row,_,offsets),start,end in zip(feats, start_logits, end_logits):
        null[row] = min(null[row], start[0]+end[0])
        for i in np.argsort(-start)[:20]:
            for j in np.argsort(-end)[:20]:
                if i>=len(offsets) or j>=len(offsets) or offsets[i] is None or offsets[j] is None or not i<=j<i+30: continue
                if start[i]+end[j]>best[row][0]: best[row] = (start[i]+end[j], data.context[row][offsets[i][0]:offsets[j][1]])
    return [t for _,t in best],null-np.array([s for s,_ in best])

def trainer(args, data, seed):
    "The same through Hugging Face's Trainer."
    transformers.set_seed(seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.checkpoint)
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(args.checkpoint, dtype=torch.float32)
    train,valid = ([f for _,f,_ in features(tokenizer, d, True)] for d in data)
    with tempfile.TemporaryDirectory() as out:
        t = transformers.Trainer(model, transformers.TrainingArguments(out, eval_strategy='epoch', **trainer_settings(args, seed)),
            data_collator=transformers.DataCollatorWithPadding(tokenizer), train_dataset=train, eval_dataset=valid, processing_class=tokenizer)
        seconds = timed(t.train)
        found = []
        def predict():
            feats = features(tokenizer, data[1], False)
            start,end = t.predict([f for _,f,_ in feats]).predictions
            found.extend(post_process(data[1], feats, start, end))
        predict_seconds = timed(predict)
    texts,lead = found
    lacks = np.array([not a['text'] for a in data[1].answers])
    f1 = np.array([answer_scores(a['text'], x)[1] for a,x in zip(data[1].answers, texts)])
    def scores(thresh): return mean_scores(data[1], [x if l<=thresh else '' for x,l in zip(texts, lead)])
    if not lacks.any(): return scores(np.inf) | dict(seconds=seconds, predict_seconds=predict_seconds)
    return scores(best_threshold(lead, f1, lacks)) | dict(f1_at_0=scores(0.)['f1'], seconds=seconds, predict_seconds=predict_seconds)

def run_all(args, runs):
    "Both sides by turns; what they found as dicts."
    res = []
    budget = {k:getattr(args, k) for k in ('epochs','bs','lr','device','rows','valid_rows')}
    for seed in args.seeds:
        for name in args.sets:
            data = load(args, name, seed)
            for side in (ours, trainer):
                run = budget | dict(set=name, seed=seed, side=side.__name__)
                res.append(runs.get(run, partial(side, args, data, seed)))
    return res

def main():
    p = options(__doc__, SETS, rows=600, valid_rows=200, epochs=2, bs=16, lr=3e-4)
    p.add_argument('--device', default='cpu', help='cpu or cuda')
    args = p.parse_args()
    commit = prepare(args)
    rows = run_all(args, Runs(args.out/f'quality-qa-{args.device}.jsonl', commit))
    head = [f"# Question answering beside the Trainer ({args.device})", '', f"`python benchmarks/quality_qa.py {' '.join(sys.argv[1:])}`: {args.epochs} epochs, batch size {args.bs}, "
        f"learning rate {args.lr}, seeds {args.seeds}; {args.valid_rows} validation rows. Mean ± standard deviation over seeds, in points; times are of a shared machine.", '',
        versions(args), '']
    text = '\n'.join([*head, *table(rows, args)])+'\n'
    (args.out/f'quality-qa-{args.device}.md').write_text(text)
    print(text)

if __name__=='__main__': main()
