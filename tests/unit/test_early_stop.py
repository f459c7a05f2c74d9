"""A training ends where its scores say, whether or not more of them are known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.training.early_stop import last_epoch, stop_epoch

SCORES = [0.1, 0.3, 0.2, 0.3]


@pytest.mark.parametrize(
    ("patience", "stop"), [(0, None), (1, 3), (2, 4), (3, 8), (4, None), (99, None)]
)
def test_it_stops_after_so_many_epochs_in_a_row_without_a_better_score(patience, stop):
    assert stop_epoch([0.1, 0.3, 0.2, 0.3, 0.4, 0.4, 0.1, 0.4, 0.9], patience) == stop


def test_an_equal_score_is_no_better():
    assert stop_epoch([0.5, 0.5], 1) == 2


def test_no_score_stops_nothing():
    assert stop_epoch([], 1) is None
    assert stop_epoch([0.0], 1) is None


@pytest.mark.parametrize(("epochs", "patience", "last"), [(2, 1, 2), (9, 1, 3), (9, 0, 9)])
def test_a_training_ends_with_its_epochs_or_before(epochs, patience, last):
    assert last_epoch(SCORES, epochs, patience) == last


scores = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), max_size=20)


@given(scores, scores, st.integers(1, 5))
def test_later_epochs_do_not_change_where_it_stopped(known, later, patience):
    stop = stop_epoch(known, patience)
    if stop is not None:
        assert stop_epoch([*known, *later], patience) == stop


@given(scores, st.integers(1, 5), st.integers(1, 5))
def test_more_patience_never_stops_sooner(known, patience, more):
    sooner, later = (stop_epoch(known, p) or 99 for p in (patience, patience + more))
    assert sooner <= later
