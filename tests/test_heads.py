"A checkpoint that cannot do what is asked of it says so, in a sentence, before anything is trained; one of texts and images lends its language part."
import sys
from pathlib import Path

import pytest
import transformers as tf

sys.path.insert(0, str(Path(__file__).parent/'architectures'))
import check
from models import make_config, make_tokenizer

from blurlike.all import TransformersLearner

def folder(path, kind, cls, task=None):
    tokenizer = make_tokenizer(kind)
    if tokenizer.eos_token is None: tokenizer.eos_token = tokenizer.sep_token
    tokenizer.save_pretrained(path)
    getattr(tf, cls)(make_config(kind, tokenizer, task)).save_pretrained(path)
    return path

@pytest.mark.parametrize('kind,cls,task,said', [
    ('gpt2', 'GPT2Model', 'multiple_choice', "no AutoModelForMultipleChoice for checkpoints of type 'gpt2': it has AutoModelForCausalLM, "),
    ('distilbert', 'DistilBertModel', 'causal_lm', "no AutoModelForCausalLM for checkpoints of type 'distilbert': it has AutoModelForMaskedLM, "),
    ('t5', 'T5ForConditionalGeneration', 'masked_lm', "no AutoModelForMaskedLM for checkpoints of type 't5': it has .*AutoModelForSeq2SeqLM, "),
    ('t5', 'T5ForConditionalGeneration', 'causal_lm', "no AutoModelForCausalLM for checkpoints of type 't5'"),
    ('bert', 'BertModel', 'causal_lm', "sees the tokens that come after.*masked_lm_learner for this one"),
    ('bert', 'BertModel', 'seq2seq', r"\(bert\) has no encoder with a decoder"),
    ('gpt2', 'GPT2LMHeadModel', 'seq2seq', r"\(gpt2\) has no encoder with a decoder"),
    ('emu3', 'Emu3ForConditionalGeneration', 'causal_lm', "the language part alone, which is of type 'emu3_text_model'"),
    ('vit', 'ViTModel', 'sequence_classification', "of type 'vit': it has none of the heads")])
def test_what_cannot_be_is_told_in_a_sentence(kind, cls, task, said, tmp_path):
    with pytest.raises(ValueError, match=said) as e: check.make(task, folder(tmp_path, kind, cls, 'seq2seq' if kind=='t5' else None))
    assert len(str(e.value))<300

@pytest.mark.parametrize('kind,cls,task,said', [
    ('bart', 'BartModel', 'seq2seq', 'BartModel has no head that writes texts: load it by AutoModelForSeq2SeqLM'),
    ('bart', 'BartForSequenceClassification', 'seq2seq', 'no head that writes texts'),
    ('gpt2', 'GPT2Model', 'causal_lm', 'GPT2Model has no head that writes texts: load it by AutoModelForCausalLM'),
    ('bert', 'BertModel', 'causal_lm', 'BertModel has no head that writes texts'),
    *[('bert', 'BertModel', task, f'^BertModel has no head for this task: load it by {auto}.from_pretrained') for task,auto in dict(sequence_classification='AutoModelForSequenceClassification',
        token_classification='AutoModelForTokenClassification', multiple_choice='AutoModelForMultipleChoice', question_answering='AutoModelForQuestionAnswering', masked_lm='AutoModelForMaskedLM').items()],
    ('t5', 'T5ForConditionalGeneration', 'causal_lm', 'reads a text and writes another one: seq2seq_learner trains it'),
    ('bart', 'BartForConditionalGeneration', 'causal_lm', 'reads a text and writes another one')])
def test_a_loaded_model_that_lacks_the_head(kind, cls, task, said):
    tokenizer = make_tokenizer(kind)
    with pytest.raises(ValueError, match=said): check.make(task, getattr(tf, cls)(make_config(kind, tokenizer)), tokenizer=tokenizer)

def test_the_language_part_of_a_model_of_texts_and_images(tmp_path):
    learn = check.make('causal_lm', folder(tmp_path/'whole', 'qwen3_5', 'Qwen3_5ForConditionalGeneration'))
    again = TransformersLearner.from_pretrained(learn.save_pretrained(tmp_path/'saved'))
    assert type(again.model).__name__=='Qwen3_5ForCausalLM'
    assert again.predict_batch(['the film was'], max_new_tokens=3)==learn.predict_batch(['the film was'], max_new_tokens=3)

def test_positions_under_another_name(tmp_path):
    "MPT calls them `max_seq_len`: what is written ends there, a prompt as long is refused"
    learn = check.make('causal_lm', folder(tmp_path, 'mpt', 'MptForCausalLM'), max_length=None)
    learn.model.generation_config.eos_token_id = None
    learn.dls.text_tfm.stops = lambda: [-1]
    assert 100<len(learn.predict('the film was')[1])<learn.model.config.max_seq_len
    with pytest.raises(ValueError, match='the model takes 128'): learn.predict('great music '*128)
