"""Recall may not change under label shift; whether it did is asked of videos, not of frames."""

import numpy as np
import pytest

from benchmarks.simulated_shift import EVEN, PRODUCTION, REFERENCE, Change, Videos, draw
from orchestrator.config.errors import ConfigError, DatasetError
from orchestrator.shift.outputs import Outputs
from orchestrator.shift.recall_change import (
    CONSISTENT,
    NOT_ALONE,
    recall_change,
    verdict_from_counts,
)

NUM_DRAWS = 60
MOST_ALARMS = 0.05 + 3 * (0.05 * 0.95 / NUM_DRAWS) ** 0.5
"""More than its level of 3 %, and three standard errors: several figures are looked at."""


def made_up(labels, predicted, groups, num_classes=3):
    probabilities = np.eye(num_classes)[np.asarray(predicted)] * 0.7 + 0.1
    return Outputs(probabilities / probabilities.sum(axis=1, keepdims=True), None,
                   np.asarray(labels), np.asarray(groups))  # fmt: skip


@pytest.mark.parametrize(
    ("videos", "other"),
    [
        (Videos(200), Videos(200)),
        (Videos(40, 6), Videos(40, 6)),
        (Videos(60, 5, 0.9, 0), Videos(15, 15, 0.9, 0)),
    ],
)
def test_label_shift_alone_raises_few_alarms(videos, other):
    alarms = []
    for number in range(NUM_DRAWS):
        rng = np.random.default_rng([number, 11])
        reference, production = draw(rng, videos, REFERENCE), draw(rng, other, PRODUCTION)
        found = recall_change(reference, production, seed=number, num_permutations=199)
        alarms.append(found.verdict == NOT_ALONE)
    assert np.mean(alarms) <= MOST_ALARMS


def test_a_covariate_shift_is_seen_in_the_recalls():
    rng = np.random.default_rng(0)
    reference = draw(rng, Videos(300, 4), REFERENCE)
    production = draw(rng, Videos(300, 4), REFERENCE, Change(moved=0.7))
    assert recall_change(reference, production, seed=0).verdict == NOT_ALONE


def test_recalls_counts_and_changes_are_those_of_the_rows():
    reference = made_up([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1], [0, 0, 1, 2, 3, 4])
    production = made_up([0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 2, 3])
    zero, one, two = recall_change(reference, production, seed=0).classes
    assert (zero.reference, zero.production, zero.change) == pytest.approx((0.75, 0.5, -0.25))
    assert (zero.num_reference, zero.num_production) == (4, 2)
    assert (one.reference, one.production, one.change, one.p_value) == (1.0, 1.0, 0.0, 1.0)
    assert (two.reference, two.production, two.change, two.p_value) == (None,) * 4


def test_a_class_of_one_video_is_shown_and_not_tested():
    reference = made_up([0] * 40 + [1] * 4, [0] * 40 + [1] * 4, [9] * 40 + [1, 2, 3, 4])
    production = made_up([0] * 40 + [1] * 4, [1] * 40 + [1] * 4, [9] * 40 + [1, 2, 3, 4])
    found = recall_change(reference, production, seed=0)
    assert (found.classes[0].reference, found.classes[0].production) == (1.0, 0.0)
    assert found.classes[0].p_value is None
    assert found.verdict == CONSISTENT


def test_the_same_fall_counts_in_many_videos_and_not_in_two():
    labels, half = np.zeros(400, int), np.arange(400) % 2
    for num_videos, verdict in ((2, CONSISTENT), (40, NOT_ALONE)):
        groups = np.arange(400) * num_videos // 400
        found = recall_change(
            made_up(labels, labels, groups), made_up(labels, half, groups), seed=0
        )
        assert found.classes[0].change == -0.5
        assert found.verdict == verdict


def test_intervals_contain_the_true_change_about_as_often_as_they_claim():
    covered = []
    for number in range(40):
        rng = np.random.default_rng([number, 12])
        sets = [draw(rng, Videos(60, 4), EVEN) for _ in range(2)]
        for one in recall_change(*sets, seed=number, num_permutations=199).classes:
            if one.low is not None:
                covered.append(one.low <= 0 <= one.high)
    # 240 trials, six from each draw: two standard errors are about 4 %.
    assert np.mean(covered) >= 0.91


def test_intervals_stay_between_minus_one_and_one():
    labels = np.zeros(6, int)
    found = recall_change(
        made_up(labels, [0, 0, 0, 0, 0, 1], range(6)), made_up(labels, [1] * 5 + [0], range(6)),
        seed=0,
    ).classes[0]  # fmt: skip
    assert -1 <= found.low < found.change < found.high <= 1


def test_labels_are_needed_on_both_sides():
    rng = np.random.default_rng(0)
    labelled = draw(rng, Videos(20), EVEN)
    blind = Outputs(labelled.probabilities, None, None, labelled.groups)
    with pytest.raises(DatasetError, match="labels on both sets"):
        recall_change(labelled, blind, seed=0)


def test_the_studys_own_figures_say_not_label_shift_alone():
    found = verdict_from_counts({"disgust": ((0.98, 518), (0.56, 1394))})
    assert found.verdict == "not label shift alone"
    assert found.p_values["disgust"] < 1e-6
    # It would take 64 frames to weigh as little as one independent image to call this chance.
    assert found.design_effect_borne["disgust"] == pytest.approx(64, abs=1)


def test_more_classes_make_the_same_change_count_less():
    disgust = {"disgust": ((0.98, 518), (0.56, 1394))}
    steady = {name: ((0.95, 1000), (0.95, 1000)) for name in ("anger", "fear", "sadness")}
    alone, among = verdict_from_counts(disgust), verdict_from_counts(disgust | steady)
    assert among.verdict == NOT_ALONE
    assert among.p_values["disgust"] == pytest.approx(4 * alone.p_values["disgust"])
    assert among.design_effect_borne["disgust"] < alone.design_effect_borne["disgust"]
    assert among.p_values["fear"] == 1.0


def test_a_small_change_of_dependent_rows_is_possible_by_chance():
    surprise = {"surprise": ((0.99, 1500), (0.97, 1400))}
    assert verdict_from_counts(surprise).verdict == CONSISTENT
    assert verdict_from_counts(surprise, design_effect=1.0).verdict == NOT_ALONE


@pytest.mark.parametrize("pair", [((1.2, 5), (0.5, 5)), ((0.5, 0), (0.5, 5)),
                                  ((float("nan"), 5), (0.5, 5))])  # fmt: skip
def test_figures_that_are_no_recall_are_refused(pair):
    with pytest.raises(ConfigError, match="fear: recalls"):
        verdict_from_counts({"fear": pair})
