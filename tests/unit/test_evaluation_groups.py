"""Bad videos come first, single rows are not called bad, one video does not fill the gallery."""

import csv
import io
from dataclasses import replace

import numpy as np
from made_up_predictions import CLASSES, predictions

from orchestrator.results.evaluation_groups import (
    MIN_ROWS,
    MISTAKES,
    MISTAKES_A_GROUP,
    confident_mistakes,
    group_scores,
    groups_csv,
    worst_groups,
)


def decided(labels, predicted, groups, confidence=None):
    """Predictions with these decisions."""
    num_rows = len(labels)
    confidence = np.full(num_rows, 0.9) if confidence is None else np.asarray(confidence)
    shares = np.repeat((1 - confidence)[:, None] / 3, 4, axis=1)
    shares[np.arange(num_rows), predicted] = confidence
    return replace(
        predictions(num_rows, groups=groups),
        labels=np.asarray(labels),
        probabilities=shares.astype(np.float32),
    )


def test_groups_have_their_rows_accuracy_and_most_frequent_mistake():
    found = group_scores(
        decided([0, 0, 0, 1, 1, 2], [0, 2, 2, 0, 1, 2], ["b", "b", "b", "b", "a", "a"])
    )
    assert [(group.name, group.num_rows, group.accuracy) for group in found] == [
        ("b", 4, 0.25),
        ("a", 2, 1.0),
    ]
    assert found[0].confusion == (CLASSES[0], CLASSES[2], 2)
    assert found[1].confusion is None


def test_every_row_is_in_the_figures_of_its_group():
    found = predictions()
    scores = group_scores(found)
    assert sum(group.num_rows for group in scores) == 400
    right = sum(group.accuracy * group.num_rows for group in scores)
    assert round(right) == int((found.predicted == found.labels).sum())
    assert [group.accuracy for group in scores] == sorted(group.accuracy for group in scores)


def test_rows_without_a_group_are_in_no_group():
    assert [group.name for group in group_scores(decided([0, 1], [0, 1], ["", "a"]))] == ["a"]
    assert group_scores(decided([0], [1], [""])) == ()


def test_a_group_of_few_rows_or_without_a_mistake_is_not_called_bad():
    few, many, good = MIN_ROWS - 1, MIN_ROWS, MIN_ROWS
    groups = ["few"] * few + ["many"] * many + ["good"] * good
    found = decided([0] * len(groups), [1] * (few + many) + [0] * good, groups)
    assert [group.name for group in worst_groups(group_scores(found), 10)] == ["many"]
    assert worst_groups(group_scores(found), 0) == ()


def test_mistakes_come_most_confident_first_and_right_rows_never():
    found = decided([0, 0, 0], [1, 0, 2], ["a", "b", "c"], [0.6, 0.99, 0.8])
    mistakes = confident_mistakes(found)
    assert [mistake.group for mistake in mistakes] == ["c", "a"]
    first = mistakes[0]
    assert (first.row_id, first.true, first.predicted) == (6, CLASSES[0], CLASSES[2])
    assert abs(first.confidence - 0.8) < 1e-6


def test_one_video_does_not_fill_the_gallery_but_rows_without_one_may():
    num_rows = MISTAKES + 10
    labels, wrong = [0] * num_rows, [1] * num_rows
    assert len(confident_mistakes(decided(labels, wrong, ["v"] * num_rows))) == MISTAKES_A_GROUP
    assert len(confident_mistakes(decided(labels, wrong, [""] * num_rows))) == MISTAKES


def test_the_csv_has_all_groups_and_no_formula():
    groups = ["=cmd()", "b\nc", "plain"]
    found = group_scores(decided([0, 1, 2], [1, 1, 2], groups))
    rows = list(csv.reader(io.StringIO(groups_csv(found))))
    assert rows[0] == ["group", "rows", "accuracy", "most_frequent_true", "predicted_as", "times"]
    assert rows[1] == ["'=cmd()", "1", "0.0", CLASSES[0], CLASSES[1], "1"]
    assert [row[0] for row in rows[2:]] == ["b c", "plain"]
