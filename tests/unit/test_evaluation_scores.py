"""Scores equal scikit-learn's; the interval is that of whole groups; a temperature helps."""

from dataclasses import replace

import numpy as np
import pytest
from made_up_predictions import CLASSES, predictions
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
)

from orchestrator.results import evaluation
from orchestrator.results.evaluation import number_rows, score
from orchestrator.shift.outputs import log_probabilities
from orchestrator.training.metrics import macro_f1_interval

CASES = {
    "all classes": predictions(),
    "a poor model": predictions(skill=0.0, seed=1),
    "one row": predictions(1),
    "a set without two of the classes": predictions(present=(0, 3)),
    "a class that has no row": replace(predictions(present=(1, 2, 3)), present=(0, 1, 2, 3)),
    "classes that are never predicted": predictions(60, skill=50.0, present=(2,)),
}


@pytest.mark.parametrize("found", CASES.values(), ids=CASES)
def test_every_figure_is_that_of_scikit_learn(found):
    scores = score(found, 100)
    labels, predicted, present = found.labels, found.predicted, list(found.present)
    assert scores.confusion.tolist() == (
        confusion_matrix(labels, predicted, labels=range(len(CLASSES))).tolist()
    )
    assert scores.accuracy == pytest.approx(accuracy_score(labels, predicted))
    of_class = precision_recall_fscore_support(labels, predicted, labels=present, zero_division=0)
    for place, one in enumerate(scores.by_class):
        figures = (one.precision, one.recall, one.f1, one.support)
        assert figures == pytest.approx([column[place] for column in of_class])
        assert one.name == CLASSES[present[place]]
    for average, ours in (("macro", scores.macro), ("weighted", scores.weighted)):
        theirs = precision_recall_fscore_support(
            labels, predicted, labels=present, average=average, zero_division=0
        )
        assert (ours.precision, ours.recall, ours.f1) == pytest.approx(theirs[:3])
    exact = log_loss(labels, found.normalised, labels=range(len(CLASSES)))
    assert scores.log_loss == pytest.approx(exact)


def test_an_output_of_zero_for_the_true_class_costs_much_but_not_infinitely_much():
    found = predictions(2)
    shares = np.zeros((2, len(CLASSES)), np.float32)
    shares[np.arange(2), (found.labels + 1) % len(CLASSES)] = 1
    assert 60 < score(replace(found, probabilities=shares), 100).log_loss < 80


def test_the_interval_is_that_of_training_over_the_same_groups():
    found = predictions()
    scores = score(found, 1000)
    groups, num_groups = number_rows(found.groups)
    confusion = np.zeros((num_groups, 4, 4), np.int64)
    np.add.at(confusion, (groups, found.labels, found.predicted), 1)
    assert scores.interval == macro_f1_interval(confusion)
    assert scores.num_groups == 50


def test_the_interval_of_a_set_with_fewer_classes_is_about_the_mean_over_those():
    found = predictions(present=(0, 3))
    low, high = score(found, 500).interval
    assert low < score(found, 100).macro.f1 < high
    mean = f1_score(found.labels, found.predicted, labels=[0, 3], average="macro")
    assert score(found, 100).macro.f1 == pytest.approx(mean)


def test_frames_of_few_videos_give_a_wider_interval_than_as_many_single_images():
    wrong = np.repeat(np.arange(10) < 4, 40)  # whole videos are wrong
    labels = np.tile(np.arange(4), 100)
    shares = np.eye(4, dtype=np.float32)[np.where(wrong, (labels + 1) % 4, labels)]
    videos = replace(
        predictions(400, groups=[f"v{row // 40}" for row in range(400)]),
        labels=labels,
        probabilities=shares,
    )
    alone = replace(videos, groups=np.array([""] * 400))
    wide, narrow = (np.ptp(score(one, 500).interval) for one in (videos, alone))
    assert wide > 3 * narrow
    assert score(alone, 100).num_groups == 400


def test_one_group_has_no_interval():
    assert score(predictions(groups=["only"] * 400), 100).interval is None


def test_rows_without_a_group_are_groups_of_their_own():
    number, num_groups = number_rows(np.array(["b", "", "a", "", "b"]))
    assert num_groups == 4
    assert number[0] == number[4]
    assert len({int(n) for n in number}) == 4
    assert number_rows(np.array(["b", "a", "b"]))[1] == 2


def test_more_groups_than_memory_holds_are_dealt_to_blocks_that_lose_no_row(monkeypatch):
    monkeypatch.setattr(evaluation, "MAX_CELLS", 16 * 7)
    found = predictions()
    confusion = evaluation.group_confusion(found, *number_rows(found.groups))
    assert confusion.shape == (7, 4, 4)
    assert confusion.sum() == 400


def test_normalised_rows_are_shares_and_zeros_for_a_class_without_rows():
    shares = evaluation.normalised_rows(np.array([[3, 1], [0, 0]]))
    assert shares.tolist() == [[0.75, 0.25], [0, 0]]


def test_a_temperature_mends_an_overconfident_model():
    calm = predictions(2000)
    sharp = np.exp(3 * log_probabilities(calm.normalised))
    sharp /= sharp.sum(axis=1, keepdims=True)
    found = replace(calm, probabilities=sharp.astype(np.float32))
    other = predictions(2000, seed=5)
    sharp = np.exp(3 * log_probabilities(other.normalised))
    sharp /= sharp.sum(axis=1, keepdims=True)
    validation = replace(other, probabilities=sharp.astype(np.float32))
    before = evaluation.reliability(found.normalised, found.labels)
    after = evaluation.calibrate(found, validation, in_sample=False)
    assert after.calibration.temperature > 2
    assert after.after.ece < before.ece / 2
    assert after.after.log_loss < before.log_loss
    assert after.fitted_rows == 2000
    assert sum(one.count for one in before.bins) == 2000


def test_equal_outputs_go_to_the_first_class_as_in_torch():
    found = replace(predictions(1), probabilities=np.full((1, 4), 0.25, np.float32))
    assert found.predicted.tolist() == [0]
