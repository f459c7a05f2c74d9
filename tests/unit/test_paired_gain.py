"""Paired gains: what both models share cancels out, chance is that of other groups."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from orchestrator.results.evaluation import Predictions
from orchestrator.results.paired_gain import paired_gain

CLASSES = ("a", "b", "c")


def predictions(predicted, labels, groups):
    rows = np.arange(len(labels))
    return Predictions(
        rows, groups, labels, np.eye(3, dtype=np.float32)[predicted], CLASSES, (0, 1, 2)
    )


def two_models(*, share_mended, seed=0, num_groups=60):
    rng = np.random.default_rng(seed)
    groups = np.repeat([f"g{k:03d}" for k in range(num_groups)], 10)
    labels = rng.integers(0, 3, len(groups))
    hard = rng.random(num_groups) < 0.5
    wrong = np.repeat(hard, 10) & (rng.random(len(groups)) < 0.8)
    first = np.where(wrong, (labels + 1) % 3, labels)
    mended = rng.random(len(groups)) < share_mended
    second = np.where(mended, labels, first)
    return predictions(first, labels, groups), predictions(second, labels, groups)


def gain(before, after, **given):
    values = {"num_resamples": 1000, "num_remedies": 1, "seed": 0, **given}
    return paired_gain(before, after, **values)


def test_the_gain_is_the_difference_of_scikit_learns_scores():
    before, after = two_models(share_mended=0.3)
    expected = [f1_score(one.labels, one.predicted, average="macro") for one in (before, after)]
    found = gain(before, after)
    assert found.macro_f1 == pytest.approx(expected[1] - expected[0])
    assert found.low < found.macro_f1 < found.high
    assert found.verdict == "helped"
    assert gain(after, before).verdict == "hurt"


def test_one_model_twice_gains_nothing_for_sure():
    before, _ = two_models(share_mended=0)
    found = gain(before, before)
    assert (found.macro_f1, found.low, found.high) == (0, 0, 0)
    assert found.verdict == "no difference told"


def test_an_interval_for_several_remedies_is_wider():
    before, after = two_models(share_mended=0.3)
    found = gain(before, after, num_remedies=8)
    assert found.low_all < found.low < found.high < found.high_all


def test_false_alarms_are_rare():
    alarms = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        before, _ = two_models(share_mended=0, seed=seed)
        # As many right ones lost as wrong ones mended, by groups: nothing is gained.
        flipped = np.repeat(rng.permutation(60), 10)[: len(before.labels)] % 10 == 0
        other = (before.labels + rng.integers(0, 3, len(before.labels))) % 3
        one = np.where(flipped, other, before.predicted)
        two = np.where(flipped, np.roll(other, 10), before.predicted)
        two = np.where(flipped, (before.labels + rng.integers(0, 3, len(one))) % 3, two)
        first = predictions(one, before.labels, before.groups)
        second = predictions(two, before.labels, before.groups)
        alarms += gain(first, second, num_resamples=400).verdict != "no difference told"
    assert alarms <= 12  # 5 expected; of 100 exact tests that is exceeded in one of 500 runs


def test_rows_of_one_group_give_no_interval():
    before, after = two_models(share_mended=1.0, num_groups=1)
    found = gain(before, after)
    assert found.low is found.high_all is None
    assert found.verdict == "no difference told"


def test_other_rows_are_refused():
    before, after = two_models(share_mended=0.3)
    with pytest.raises(ValueError, match="same rows"):
        gain(before, replace(after, row_ids=after.row_ids + 1))
