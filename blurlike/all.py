"""The one star-import: fastai's core and what users of blurlike call (`__all__`, at the end).

All modules are imported here, since tasks and methods of learners register themselves. Written by hand."""
import importlib.util as _util
import warnings as _warnings

with _warnings.catch_warnings(): # fastai.layers scripts an activation as it is imported
    _warnings.filterwarnings('ignore', '.*torch.jit.script. is (deprecated|not supported)', FutureWarning)
    from fastai.basics import *
from fastai.callback.all import *
from fastai.interpret import *
_OF_FASTAI = [n for n in dir() if not n.startswith('_')]

from .support.files import *
from .support.progress import *
from .support.arguments import *
from .task import *
from .model.checkpoint import *
from .model.scratch import *
from .model.tokenizer import *
from .model.text_limit import *
from .model.token_agreement import *
from .model.pretrained import *
from .support.packed_files import *
from .data.divided_files import *
from .data.table_files import *
from .data.rows import *
from .data.column import *
from .data.table_checks import *
from .data.draws import *
from .data.row_numbers import *
from .data.splits import *
from .data.two_tables import *
from .data.corpus import *
from .data.token_fields import *
from .data.text_items import *
from .data.tokenizer_calls import *
from .data.row_errors import *
from .data.token_limit import *
from .data.tokens import *
from .data.row_reader import *
from .data.token_memory import *
from .data.token_blocks import *
from .data.given_items import *
from .data.loaders import *
from .data.loader_agreement import *
from .data.batch_order import *
from .data.batch_reading import *
from .data.batch import *
from .data.block import *
from .data.torch_batches import *
from .model.transfers import *
from .model.model_inputs import *
from .model.trials import *
from .model.model_call import *
from .model.door import *
from .model.inputs_callback import *
from .model.splitters import *
from .model.padding_free import *
from .model.cuda_graphs import *
from .model.adapters import *
from .model.optimizer import *
from .model.losses import *
from .model.class_weights import *
from .support.finite import *
from .model.precision import *
from .model.int8 import *
from .model.token_scores import *
from .model.fingerprints import *
from .model.decisions import *
from .train.metrics import *
from .inspect.wrong_labels import *
from .data.label_columns import *
from .data.target_kinds import *
from .data.targets import *
from .show.table import *
from .show.displays import *
from .show.report import *
from .predict.text_labels import *
from .predict.gathering import *
from .train.csv_logger import *
from .predict.writers import *
from .predict.token_choice import *
from .predict.writing import *
from .predict.prediction_files import *
from .train.events import *
from .train.progress_bars import *
from .train.rates import *
from .train.fitting import *
from .predict.predicting_learner import *
from .predict.logits import *
from .predict.learner_predict import *
from .predict.written_text import *
from .predict.thresholds import *
from .predict.calibration import *
from .predict.conformal import *
from .train.epoch_weights import *
from .train.learner_parts import *
from .train.learner import *
from .train.assembly import *
from .save.saved_facts import *
from .save.folder_check import *
from .save.lost_code import *
from .save.folder import *
from .save.pickles import *
from .save.onnx_model import *
from .train.best_epoch import *
from .train.checkpoints import *
from .train.resume import *
from .train.suggest import *
from .train.named_metrics import *
from .inspect.token_view import *
from .inspect.text_lengths import *
from .inspect.attention import *
from .inspect.explanation import *
from .inspect.explain import *
if _util.find_spec('accelerate'): from .train.distributed import * # fastai's module of that name cannot be imported without it
from .share.sweeps import *
from .share.model_card import *
from .share.hub import *
from .share.serving import *
from .share.checkpoint_search import *
from .inspect.row_scan import *
from .inspect.row_faults import *
from .inspect.data_check import *
from .inspect.first_look import *
from .inspect.row_results import *
from .inspect.label_results import *
from .inspect.number_results import *
from .inspect.row_losses import *
from .inspect.slices import *
from .inspect.score_report import *
from .inspect.confusion import *
from .inspect.compare import *
from .inspect.uncertain import *
from .inspect.relabel import *
from .tasks.sequence_classification import *
from .tasks.token_classification.tagged import *
from .tasks.token_classification.token_category import *
from .tasks.token_classification.entity_metrics import *
from .tasks.token_classification.tagged_tables import *
from .tasks.token_classification.sentences import *
from .tasks.token_classification.word_labels import *
from .tasks.token_classification.text_spans import *
from .tasks.token_classification.tag_columns import *
from .tasks.token_classification.learner import *
from .tasks.masked_lm.masking import *
from .tasks.masked_lm.masked_metrics import *
from .tasks.masked_lm.gap_tables import *
from .tasks.masked_lm.gaps import *
from .tasks.masked_lm.learner import *
from .tasks.multiple_choice.choices import *
from .tasks.multiple_choice.right_choice import *
from .tasks.multiple_choice.choice_columns import *
from .tasks.multiple_choice.choice_tables import *
from .tasks.multiple_choice.learner import *
from .tasks.question_answering.questions import *
from .tasks.question_answering.answers import *
from .tasks.question_answering.decoding import *
from .tasks.question_answering.scores import *
from .tasks.question_answering.tables import *
from .tasks.question_answering.predictions import *
from .tasks.question_answering.card_and_page import *
from .tasks.question_answering.squad import *
from .tasks.question_answering.faults import *
from .tasks.question_answering.learner import *
from .tasks.causal_lm.chats import *
from .tasks.causal_lm.texts import *
from .tasks.causal_lm.shown_texts import *
from .tasks.causal_lm.blocks import *
from .tasks.causal_lm.scores import *
from .tasks.causal_lm.generation import *
from .tasks.causal_lm.tables import *
from .tasks.causal_lm.faults import *
from .tasks.causal_lm.learner import *
from .tasks.seq2seq.texts import *
from .tasks.seq2seq.scores import *
from .tasks.seq2seq.generation import *
from .tasks.seq2seq.tables import *
from .tasks.seq2seq.faults import *
from .tasks.seq2seq.generation_settings import *
from .tasks.seq2seq.learner import *
from .support.docstrings import tell_parameters as _tell_parameters

_tell_parameters(globals())

__all__ = _OF_FASTAI+'''
TransformersLearner load_onnx export_onnx OnnxModel
sequence_classification_learner token_classification_learner masked_lm_learner multiple_choice_learner
causal_lm_learner question_answering_learner seq2seq_learner

TransformersTextBlock TokenCategoryBlock TokenCategorize TensorTokenCategory
MaskedLMBlock TextChoicesBlock RightChoiceBlock questions_block causal_lm_block source_block target_block
TransformersDL TransformersDataLoaders TokenTensor TextPair Words Rows Column GroupSplitter
read_table read_rows read_split read_corpus read_conll read_tagged read_squad spans_to_tags

ModelInputsCallback ModelLoss ModelDoor attach_door load_transformer load_tokenizer load_config scratch_checkpoint label_maps
transformer_splitter layerwise_splitter adamw CUDAGraphs Packing
TokenLoss MaskedLoss NextTokenLoss AnswerLoss
entity_metrics masked_lm_metrics causal_lm_metrics answer_metrics seq2seq_metrics roc_auc pr_auc mcc balanced_accuracy f1_multi

Checkpoints Checkpoint last_checkpoint find_checkpoints suggest_rate suggest_epochs sweep gather_ranks
compare plot_confusion most_confused_labels predict_to_file PerRow gradio_app model_card

Task TargetKind Predictions TokenizeText TextItems TASKS LEARNERS register_task register_learner find_task judges
'''.split()
