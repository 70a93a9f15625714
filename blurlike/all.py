"The one star-import: fastai's core and all of blurlike, whose tasks register here. Written by hand: nbdev's `__all__` would hide what is only passed on."
from fastai.basics import *
from fastai.callback.all import *
from fastai.interpret import *

from .task import *
from .pretrained import *
from .rows import *
from .tagged import *
from .tokens import *
from .batch import *
from .block import *
from .token_category import *
from .model_inputs import *
from .splitters import *
from .packing import *
from .optimizer import *
from .losses import *
from .metrics import *
from .showing import *
from .predictions import *
from .learner import *
from .saving import *
from .tasks.sequence_classification import *
from .tasks.token_classification import *
