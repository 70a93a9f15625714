"The one star-import: fastai's core and all of blurlike, whose tasks register here. Written by hand: nbdev's `__all__` would hide what is only passed on."
import importlib.util as _util

from fastai.basics import *
from fastai.callback.all import *
from fastai.interpret import *

from .files import *
from .progress import *
from .task import *
from .pretrained import *
from .rows import *
from .tagged import *
from .corpus import *
from .tokens import *
from .packed import *
from .batch import *
from .block import *
from .token_category import *
from .masking import *
from .model_inputs import *
from .splitters import *
from .packing import *
from .adapters import *
from .optimizer import *
from .losses import *
from .precision import *
from .metrics import *
from .showing import *
from .predictions import *
from .filling import *
from .history import *
from .prediction_files import *
from .learner import *
from .assembly import *
from .saving import *
from .exporting import *
from .checkpoints import *
from .inspection import *
from .explanation import *
if _util.find_spec('accelerate'): from .distributed import * # fastai's module of that name cannot be imported without it
from .sweeps import *
from .hub import *
from .serving import *
from .health import *
from .tasks.sequence_classification import *
from .tasks.token_classification import *
from .tasks.masked_lm import *
