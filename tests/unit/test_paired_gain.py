"""Paired gains: what both models share cancels out, chance is that of other groups."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from orchestrator.results.evaluation import Predictions
from orchestrator.results.paired_gain import fewest_groups, paired_gain

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


@pytest.mark.parametrize("num_groups", [3, 6, 12, 20])
def test_several_remedies_that_gain_nothing_are_seldom_said_to(num_groups):
    """Models of one kind, each with its own luck in each group; three are compared with a fourth."""
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(60):
        first, *others = (lucky_model(rng, num_groups) for _ in range(4))
        told = [gain(first, other, num_resamples=500, num_remedies=3).verdict for other in others]
        alarms += told != ["no difference told"] * 3
    assert alarms <= 7  # of 60 times 5 % that is exceeded in one of 80 runs


def lucky_model(rng, num_groups, rows_per_group=30):
    of_row = np.repeat(np.arange(num_groups), rows_per_group)
    labels = np.arange(len(of_row)) % 3
    skill = np.clip(0.6 + 0.08 * rng.standard_normal(num_groups), 0.05, 0.98)
    wrong = (labels + rng.integers(1, 3, len(labels))) % 3
    predicted = np.where(rng.random(len(labels)) < skill[of_row], labels, wrong)
    return predictions(predicted, labels, of_row.astype(str))


def test_few_groups_tell_nothing_however_large_the_gain():
    assert (fewest_groups(1), fewest_groups(3), fewest_groups(8)) == (6, 7, 9)
    for num_groups in (1, 5):
        labels, groups = np.arange(num_groups * 30) % 3, np.repeat(np.arange(num_groups), 30)
        before = predictions((labels + 1) % 3, labels, groups.astype(str))
        found = gain(before, predictions(labels, labels, groups.astype(str)))
        assert found.macro_f1 == 1
        assert found.low is found.high_all is found.accuracy_low is None
        assert found.verdict == "no difference told"
    before, after = two_models(share_mended=1.0, num_groups=8, seed=2)
    found = gain(before, after, num_remedies=8)
    assert found.low is not None
    assert found.low_all is None


def test_the_verdict_is_that_of_the_interval():
    for seed in range(20):
        before, after = two_models(share_mended=0.05, seed=seed, num_groups=10)
        found = gain(before, after)
        assert (found.verdict != "no difference told") == (found.low_all > 0 or found.high_all < 0)


def test_the_interval_of_all_subsets_is_that_of_the_sign_flip_test():
    """Gains inside are not rejected when the signs of the groups' accuracies are flipped."""
    rng = np.random.default_rng(3)
    before, after = lucky_model(rng, 8), lucky_model(rng, 8)
    found = gain(before, after)
    right = [(one.predicted == one.labels).reshape(8, -1).mean(axis=1) for one in (before, after)]
    gains = right[1] - right[0]
    signs = 1 - 2 * (np.arange(2**8)[:, None] >> np.arange(8) & 1)
    ends, inside = (found.accuracy_low, found.accuracy_high), 1e-6
    for value, is_in in (
        (ends[0] + inside, True),
        (ends[0] - inside, False),
        (ends[1] - inside, True),
        (ends[1] + inside, False),
    ):
        flipped = np.abs((signs * (gains - value)).sum(axis=1))
        p = (flipped >= abs((gains - value).sum()) - 1e-9).mean()
        assert (p > 0.05) == is_in


def test_other_rows_are_refused():
    before, after = two_models(share_mended=0.3)
    with pytest.raises(ValueError, match="same rows"):
        gain(before, replace(after, row_ids=after.row_ids + 1))
