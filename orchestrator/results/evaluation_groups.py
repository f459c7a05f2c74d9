"""Which videos or subjects go wrong, into what, and which single rows are wrong with confidence. PURE."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.results.evaluation import Predictions
from orchestrator.results.printable import in_csv

MIN_ROWS = 5
"""Of a group that is called bad: one wrong row says nothing of a video."""
MISTAKES = 24
MISTAKES_A_GROUP = 2
"""Frames of one video are near copies: one video would fill the gallery."""


@dataclass(frozen=True)
class GroupScore:
    """One video or subject.

    Attributes:
        name: as in the data set.
        num_rows: of it.
        accuracy: share of them that are right.
        confusion: its most frequent mistake, (true class, class predicted, rows); None without one.
    """

    name: str
    num_rows: int
    accuracy: float
    confusion: tuple[str, str, int] | None


@dataclass(frozen=True)
class Mistake:
    """A row whose likeliest class is not the true one."""

    row_id: int
    group: str
    true: str
    predicted: str
    confidence: float


def group_scores(predictions: Predictions) -> tuple[GroupScore, ...]:
    """All named groups, lowest accuracy first, of equals the largest first."""
    names, number = np.unique(predictions.groups, return_inverse=True)
    num_classes = len(predictions.classes)
    pair = predictions.labels * num_classes + predictions.predicted
    order = np.argsort(number, kind="stable")
    cuts = np.searchsorted(number[order], np.arange(1, len(names)))
    found = [
        _of_group(str(name), pair[rows], predictions.classes)
        for name, rows in zip(names, np.split(order, cuts), strict=True)
        if name
    ]
    return tuple(sorted(found, key=lambda group: (group.accuracy, -group.num_rows, group.name)))


def _of_group(name: str, pairs: np.ndarray, classes: Sequence[str]) -> GroupScore:
    num_classes = len(classes)
    wrong = pairs[pairs // num_classes != pairs % num_classes]
    confusion = None
    if len(wrong):
        kinds, times = np.unique(wrong, return_counts=True)
        most = int(kinds[times.argmax()])
        confusion = (classes[most // num_classes], classes[most % num_classes], int(times.max()))
    return GroupScore(name, len(pairs), 1 - len(wrong) / len(pairs), confusion)


def worst_groups(groups: Sequence[GroupScore], limit: int) -> tuple[GroupScore, ...]:
    """The groups of at least `MIN_ROWS` rows that have mistakes, lowest accuracy first."""
    bad = (group for group in groups if group.num_rows >= MIN_ROWS and group.confusion)
    return tuple(bad)[:limit]


def confident_mistakes(predictions: Predictions) -> tuple[Mistake, ...]:
    """The wrong rows of highest confidence, few of each group."""
    predicted = predictions.predicted
    confidence = predictions.normalised.max(axis=1)
    wrong = np.flatnonzero(predicted != predictions.labels)
    chosen: list[Mistake] = []
    taken: dict[str, int] = {}
    for row in wrong[np.argsort(-confidence[wrong], kind="stable")].tolist():
        group = str(predictions.groups[row])
        taken[group] = taken.get(group, 0) + 1
        if group and taken[group] > MISTAKES_A_GROUP:
            continue
        chosen.append(
            Mistake(
                row_id=int(predictions.row_ids[row]),
                group=group,
                true=predictions.classes[predictions.labels[row]],
                predicted=predictions.classes[predicted[row]],
                confidence=float(confidence[row]),
            )
        )
        if len(chosen) == MISTAKES:
            break
    return tuple(chosen)


def groups_csv(groups: Sequence[GroupScore]) -> str:
    """All groups as CSV; no cell of it is a formula to a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["group", "rows", "accuracy", "most_frequent_true", "predicted_as", "times"])
    for group in groups:
        true, predicted, times = group.confusion or ("", "", 0)
        cells = [
            in_csv(group.name),
            group.num_rows,
            group.accuracy,
            in_csv(true),
            in_csv(predicted),
        ]
        writer.writerow([*cells, times])
    return text.getvalue()
