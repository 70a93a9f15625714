"The fixtures that all tests share; what they are made of is in `small.py`."
from small import bert, checkpoints, in_tmp, kind, seeded, trained # noqa: F401
