"The fixtures that all tests share; what they are made of is in `small.py`. Which tests are fast, and which of the slow ones a part holds."
import signal,zlib

import pytest
from small import bert, checkpoint, checkpoints, in_tmp, kind, seeded, trained # noqa: F401

BREADTH = {'pair','regression','deberta','distilbert'} # parameters whose code is that of others in the same table: of single labels, of BERT
ALWAYS = 'test_notebook_runs'                          # slow, and in every part: a lesson breaks easily
DEAR = 'found','site'                                  # fixtures that take a minute: their tests stay in one part

def pytest_addoption(parser): parser.addoption('--part', metavar='K/N', help='of the slow tests the K-th of N parts, from 0 (a fixed choice by name); the fast ones and the notebooks all')

def _part(item, n):
    "The part of `n` that `item` belongs to, by its name or by the dear fixture it needs."
    key = next((f for f in DEAR if f in item.fixturenames), item.nodeid)
    return zlib.crc32(key.encode())%n

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    for o in items:
        values = o.callspec.params.values() if hasattr(o, 'callspec') else ()
        if any(isinstance(v, str) and v in BREADTH for v in values): o.add_marker(pytest.mark.slow)
    if part := config.getoption('part'):
        k,n = map(int, part.split('/'))
        items[:] = [o for o in items if not o.get_closest_marker('slow') or o.originalname==ALWAYS or _part(o, n)==k]

@pytest.fixture(scope='session', autouse=True)
def interruptible():
    "A shell switches Ctrl-C off for what it runs in the background, and every process that a test starts would inherit that."
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
