"""Metrics equal scikit-learn's; the interval behaves as one over groups should."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from orchestrator.training.metrics import accuracy, class_f1, macro_f1, macro_f1_interval

ROUNDING = 1e-12
"""A handful of float64 operations on counts below a thousand: some 1e-16 each."""
NUM_CLASSES = 6


@st.composite
def labels_and_predictions(draw):
    """Of a few classes only, so that others are absent from either or both."""
    num_classes = draw(st.integers(2, 8))
    seen = st.sampled_from(range(draw(st.integers(1, num_classes))))
    guessed = st.sampled_from(range(num_classes))
    pairs = draw(st.lists(st.tuples(seen, guessed), min_size=1, max_size=60))
    return num_classes, np.array(pairs)


@settings(deadline=None)
@given(labels_and_predictions())
def test_scores_equal_scikit_learns_with_absent_classes_counted_as_zero(drawn):
    num_classes, pairs = drawn
    truth, guess = pairs.T
    classes = list(range(num_classes))
    confusion = confusion_matrix(truth, guess, labels=classes)
    options = {"labels": classes, "zero_division": 0}
    assert class_f1(confusion) == pytest.approx(
        f1_score(truth, guess, average=None, **options), abs=ROUNDING
    )
    assert macro_f1(confusion) == pytest.approx(
        f1_score(truth, guess, average="macro", **options), abs=ROUNDING
    )
    assert accuracy(confusion) == pytest.approx(accuracy_score(truth, guess), abs=ROUNDING)


@settings(deadline=None)
@given(labels_and_predictions())
def test_per_class_scores_of_many_matrices_at_once_equal_one_by_one(drawn):
    num_classes, pairs = drawn
    classes = range(num_classes)
    each = [confusion_matrix(*half.T, labels=classes) for half in (pairs, pairs[:1])]
    together = class_f1(np.stack(each))
    assert together.tolist() == [class_f1(one).tolist() for one in each]


def test_an_empty_matrix_scores_zero_and_not_nan():
    nothing = np.zeros((3, 3), dtype=np.int64)
    assert (macro_f1(nothing), accuracy(nothing)) == (0.0, 0.0)


def by_group(truth, guess, groups) -> np.ndarray:
    confusion_GKK = np.zeros((groups.max() + 1, NUM_CLASSES, NUM_CLASSES), dtype=np.int64)
    np.add.at(confusion_GKK, (groups, truth, guess), 1)
    return confusion_GKK


def made_up(num_groups: int, rows_per_group: int, *, agree: bool, seed: int = 0) -> np.ndarray:
    """Seven of ten right; the rows of a group are right or wrong one by one, or together."""
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(num_groups), rows_per_group)
    truth = groups % NUM_CLASSES
    chance = generator.random(num_groups)[groups] if agree else generator.random(len(groups))
    guess = np.where(chance < 0.7, truth, (truth + 1) % NUM_CLASSES)
    return by_group(truth, guess, groups)


def width(confusion_GKK: np.ndarray) -> float:
    low, high = macro_f1_interval(confusion_GKK)
    return high - low


@pytest.mark.parametrize("agree", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_the_interval_contains_the_point_and_stays_in_zero_one(agree, seed):
    confusion_GKK = made_up(60, 10, agree=agree, seed=seed)
    low, high = macro_f1_interval(confusion_GKK)
    assert 0 <= low < macro_f1(confusion_GKK.sum(axis=0)) < high <= 1


def test_sixteen_times_the_groups_make_the_interval_about_a_quarter_as_wide():
    few, many = (width(made_up(groups, 10, agree=True)) for groups in (60, 16 * 60))
    # One over the root of the number of groups; a third of slack for two estimates of a width.
    assert many == pytest.approx(few / 4, rel=1 / 3)


def test_rows_that_agree_within_groups_widen_the_interval():
    """Ten rows that say one thing are one: the interval grows by about the root of ten."""
    assert width(made_up(120, 10, agree=True)) > 2 * width(made_up(120, 10, agree=False))


def test_copies_of_the_same_rows_within_a_group_claim_no_more_certainty():
    once = made_up(60, 1, agree=True)
    assert macro_f1_interval(once * 50) == pytest.approx(macro_f1_interval(once), abs=ROUNDING)


def test_the_interval_is_the_same_every_time_and_another_with_another_seed():
    confusion_GKK = made_up(60, 10, agree=True)
    assert macro_f1_interval(confusion_GKK) == macro_f1_interval(confusion_GKK)
    assert macro_f1_interval(confusion_GKK) != macro_f1_interval(confusion_GKK, seed=1)


def test_the_interval_covers_the_true_score_about_as_often_as_it_claims():
    # True macro-F1 of made_up(): every class has as many rows, 0.7 of them right, and gets as
    # many wrong ones from its neighbour: F1 = 0.7. Percentile intervals of 120 groups cover a
    # little less than 95 %; 100 trials have a standard error of 2.2 %.
    hits = 0
    for seed in range(100):
        low, high = macro_f1_interval(made_up(120, 4, agree=True, seed=seed))
        hits += low <= 0.7 <= high
    assert 0.85 < hits / 100 <= 1


def test_one_group_gives_no_width():
    low, high = macro_f1_interval(made_up(1, 10, agree=False))
    assert low == high
