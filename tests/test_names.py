"Loaders that follow others must name the outputs as the model does: whatever way they come in, other labels are refused."
import json,re,shutil,warnings

import pandas as pd
import pytest
from fastai.data.block import MultiCategoryBlock
from fastai.data.core import DataLoaders
from runs import WORDS

from blurlike.all import (CategoryBlock, ColReader, DataBlock, RandomSplitter, TransformersLearner, TransformersTextBlock, load_learner, load_tokenizer, masked_lm_learner,
    token_classification_learner)
from small import FRAMES, TEXTS, VOCABS, learner

pytestmark = pytest.mark.usefixtures('in_tmp')

def tags_learner(bert, data=WORDS[:40], **kwargs): return token_classification_learner(data, bert, bs=8, valid=.25, **kwargs)

def quiet(learn, f):
    with learn.no_bar(), learn.no_logging(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return f(learn)

def put(learn, dls): learn.dls = dls
def put_inside(learn, dls): # what no setter sees
    learn.dls.loaders[:] = dls.loaders
WAYS = dict(dls=put, validate=lambda l,dls: l.validate(dl=dls.valid), get_preds=lambda l,dls: l.get_preds(dl=dls.valid), with_loss=lambda l,dls: l.get_preds(dl=dls.train, with_loss=True),
    report=lambda l,dls: l.report(dls.valid), inside=lambda l,dls: (put_inside(l, dls), l.fit(1)), inside_valid=lambda l,dls: (l.dls.loaders.__setitem__(1, dls.valid), l.validate()),
    one_of_two=lambda l,dls: put(l, DataLoaders(l.dls.train, dls.valid)))

@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('kind', ['single','multi','tags'])
def test_labels_in_another_order(kind, way, bert):
    def make(**kwargs): return tags_learner(bert, **kwargs) if kind=='tags' else learner(kind, bert, **kwargs)
    learn = make()
    before = learn.names
    items = [['a','film']] if kind=='tags' else TEXTS[:3]
    answers = learn.predict_batch(items)
    with pytest.raises(ValueError, match='labels in another order than the model: .*vocab=learn.names'): quiet(learn, lambda l: WAYS[way](l, make(vocab=before[::-1]).dls))
    assert learn.names==before and learn.predict_batch(items)==answers

@pytest.mark.parametrize('way', WAYS)
def test_other_labels(way, bert):
    single = FRAMES['single']
    learn = learner('single', bert)
    fewer = learner('single', bert, single[single.label!='fine']).dls
    with pytest.raises(ValueError, match="other labels than the model: only it has 'fine'. .*vocab=learn.names"): quiet(learn, lambda l: WAYS[way](l, fewer))
    learn = learner('single', bert)
    others = learner('single', bert, single.replace(dict(label=dict(fine='poor')))).dls
    with pytest.raises(ValueError, match="only they have 'poor', only it has 'fine'. .*wrong names: train a new learner .* folder as checkpoint"): quiet(learn, lambda l: WAYS[way](l, others))

def test_labels_that_look_alike(bert):
    learn = learner('single', bert, FRAMES['single'].replace(dict(label=dict(bad=0, fine=1, good=2))))
    for other in (['0','1','2'], [0.,1.,2.]):
        new = FRAMES['single'].replace(dict(label=dict(zip(['bad','fine','good'], other))))
        with pytest.raises(ValueError, match='only they have'): learn.dls = learner('single', bert, new, vocab=other, problem_type='single_label_classification').dls

def shuffled(bert, folder): # a checkpoint whose tokens have other numbers
    shutil.copytree(bert, folder)
    told = json.loads((folder/'tokenizer.json').read_text())
    vocab = told['model']['vocab']
    plain = [t for t in vocab if t[0]!='[']
    told['model']['vocab'] = vocab | dict(zip(plain, [vocab[t] for t in plain][::-1]))
    (folder/'tokenizer.json').write_text(json.dumps(told))
    return folder

@pytest.mark.parametrize('way', WAYS)
def test_other_tokens(way, bert, tmp_path):
    learn = learner('single', bert)
    others = learner('single', shuffled(bert, tmp_path/'others')).dls
    answers = learn.predict_batch(TEXTS[:3])
    with pytest.raises(ValueError, match='tokenizer of another model: .* tokenizer=learn.dls.tokenizer'): quiet(learn, lambda l: WAYS[way](l, others))
    if 'inside' not in way: assert learn.predict_batch(TEXTS[:3])==answers

def test_what_is_told_of_other_tokens_can_be_followed(bert, tmp_path):
    learn,df = learner('single', bert),FRAMES['single']
    other = shuffled(bert, tmp_path/'others')
    def by_block(block): return DataBlock((block, CategoryBlock(vocab=learn.names)), get_x=ColReader('text'), get_y=ColReader('label')).dataloaders(df, bs=8)
    with pytest.raises(ValueError, match='TransformersTextBlock.learn.dls.tokenizer.'): learn.dls = by_block(TransformersTextBlock(other))
    folder = learn.save_pretrained(tmp_path/'saved')
    for dls in (learner('single', other, tokenizer=learn.dls.tokenizer).dls, by_block(TransformersTextBlock(learn.dls.tokenizer)), by_block(TransformersTextBlock(folder))): learn.dls = dls

def test_other_kinds_of_targets(bert):
    df = FRAMES['single']
    learn = learner('single', bert)
    several = learner('single', bert, df.assign(label=df.label.map(lambda o: [o]))).dls
    with pytest.raises(ValueError, match='loaders are for multi_label_classification, .* task is single_label_classification'): learn.dls = several
    with pytest.raises(ValueError, match='loaders are for masked_lm'): learn.dls = masked_lm_learner(df, bert, bs=8).dls
    quiet(learn, lambda l: l.fit(1))

def test_the_same_tokens_and_more(bert):
    learn = learner('single', bert)
    more = load_tokenizer(bert)
    learn.dls = learner('single', bert, tokenizer=more).dls # another object
    more.add_tokens(['megabatch'])
    learn.dls = learner('single', bert, tokenizer=more).dls
    assert learn.dls.tokenizer is more

def test_numbers_are_told_apart_by_their_columns(bert):
    two = FRAMES['regression'].assign(length=lambda d: d.text.str.len()/10.)
    learn = learner('regression', bert, two, label=['score','length'])
    with pytest.raises(ValueError, match='another order .*of numbers label=learn.names'): learn.dls = learner('regression', bert, two, label=['length','score']).dls
    learn.dls = learner('regression', bert, two[:20], label=learn.names).dls

def test_what_fits(bert):
    learn = learner('single', bert)
    answers = learn.predict_batch(TEXTS[:3])
    new = learner('single', bert, FRAMES['single'].iloc[::-1][:30], vocab=learn.names).dls
    learn.dls = new
    assert learn.dls is new and learn.predict_batch(TEXTS[:3])==answers
    quiet(learn, lambda l: (l.validate(dl=new.test_dl(FRAMES['single'], with_labels=True)), l.get_preds(dl=new.test_dl(TEXTS)), l.get_preds(dl=[new.one_batch()]), l.show_results(), l.fit(1)))
    plain = DataBlock((TransformersTextBlock(bert), CategoryBlock(vocab=VOCABS['single'])), get_x=ColReader('text'), get_y=ColReader('label'), splitter=RandomSplitter(.25, seed=1))
    learn.dls = plain.dataloaders(FRAMES['single'], bs=4)
    learn.dls = learn.dls.new_empty()
    assert learn.names==VOCABS['single']

def test_an_own_order_is_kept_as_is_advised(bert): # fastai's block sorts
    learn = learner('single', bert, vocab=VOCABS['single'][::-1])
    def dls(block): return DataBlock((TransformersTextBlock(bert), block), get_x=ColReader('text'), get_y=ColReader('label')).dataloaders(FRAMES['single'], bs=4)
    with pytest.raises(ValueError, match='in another order') as e: learn.dls = dls(CategoryBlock)
    block = re.search(r'`(CategoryBlock\(.*?)`', str(e.value))[1]
    learn.dls = dls(eval(block, dict(CategoryBlock=CategoryBlock, learn=learn)))
    learn = learner('multi', bert, vocab=VOCABS['multi'][::-1])
    learn.dls = DataBlock((TransformersTextBlock(bert), MultiCategoryBlock(vocab=learn.names)), get_x=ColReader('text'), get_y=ColReader('tags')).dataloaders(FRAMES['multi'], bs=4)

def test_loaders_without_labels(bert):
    learn = masked_lm_learner(pd.DataFrame(dict(text=TEXTS)), bert, bs=8)
    learn.dls = masked_lm_learner(pd.DataFrame(dict(text=TEXTS[:20])), bert, bs=8).dls
    assert learn.names==[] and quiet(learn, lambda l: l.validate())

def test_a_learner_that_came_back(bert):
    learn = learner('single', bert)
    other = learner('single', bert, vocab=VOCABS['single'][::-1]).dls
    learn.export()
    folder = learn.save_pretrained('m')
    for again in (load_learner(learn.path/'export.pkl'), TransformersLearner.from_pretrained(folder)):
        with pytest.raises(ValueError, match='another order'): again.dls = other
    old = load_learner(learn.path/'export.pkl')
    del old.own_names # as one that was written before learners kept them
    assert old.names==VOCABS['single']
    with pytest.raises(ValueError, match='another order'): old.dls = other
