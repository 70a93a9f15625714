"The fixtures that all tests share; what they are made of is in `small.py`. Which tests are fast, and which of the slow ones a part holds."
import signal,zlib
from collections import Counter

import pytest
from small import bert, checkpoint, checkpoints, in_tmp, kind, seeded, trained # noqa: F401

BREADTH = {'pair','regression','deberta','distilbert'} # parameters whose code is that of others in the same table: of single labels, of BERT
ALWAYS = 'test_notebook_runs'                          # slow, and in every part: a lesson breaks easily
ONE_CASE = set('''test_family test_labels_in_another_order test_files test_gradient_clip test_freeze test_freeze_to_and_unfreeze test_half_precision
    test_save_model_callback test_save_model_callback_at_each_epoch test_gradient_accumulation test_csv_logger test_plain_learner test_plain_pickle
    test_an_error_in_a_callback_surfaces test_settings test_settings_of_gap_fillers test_adapters_on_what_was_trained_before test_added_tokens_under_adapters
    test_predictions_are_without_the_dropout_of_adapters test_a_step_is_that_of_one_big_batch test_validation_does_not_depend_on_the_batches
    test_one_pass_says_what_the_epoch_table_says test_entities_as_their_own_report_counts_them test_rows_of_the_training_are_told_of_in_every_task
    test_choices_that_are_digits_are_read_alike_from_every_file test_all_forms_of_data_are_one test_scores_of_real_answers test_signals_wait_for_the_batch
    test_disk_full test_folders_of_each_version test_settings_of_the_tokenizers_calls_come_back test_training_goes_on_with_new_data
    test_settings_hold_in_batches_and_rounds test_a_batch_writes_what_single_calls_write test_prompts_take_the_places_of_rows_that_have_ended
    test_rules_of_length_count_from_the_prompt test_blocks_are_the_corpus test_the_shares_of_gaps test_losses_are_the_same
    test_nothing_keeps_a_graph_after_the_fit test_other_labels test_interrupted_lr_find_keeps_the_weights test_settings_of_another_run
    test_numbers_stand_for_the_names_that_they_stood_for test_a_data_set_that_goes_away_is_a_clear_error'''.split())
    # each of their cases takes long, by a path that is nearly that of the others: all but the first are slow
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
    fast = Counter()
    for o in items:
        if getattr(o, 'originalname', None) not in ONE_CASE or o.get_closest_marker('slow'): continue
        fast[o.path,o.originalname] += 1
        if fast[o.path,o.originalname]>1: o.add_marker(pytest.mark.slow)
    if part := config.getoption('part'):
        k,n = map(int, part.split('/'))
        items[:] = [o for o in items if not o.get_closest_marker('slow') or o.originalname==ALWAYS or _part(o, n)==k]

@pytest.fixture(scope='session', autouse=True)
def interruptible():
    "A shell switches Ctrl-C off for what it runs in the background, and every process that a test starts would inherit that."
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
