"The fixtures that all tests share; what they are made of is in `small.py`."
import signal

import pytest
from small import bert, checkpoint, checkpoints, in_tmp, kind, seeded, trained # noqa: F401

@pytest.fixture(scope='session', autouse=True)
def interruptible():
    "A shell switches Ctrl-C off for what it runs in the background, and every process that a test starts would inherit that."
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
