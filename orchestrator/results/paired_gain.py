"""What a remedy changes, measured on the same rows before and after, with paired intervals. PURE.

Both models see the same images, so that easy and hard videos cancel out of the difference. Chance
is that of drawing other groups (videos, subjects): whole groups are resampled, with what both
models said of them. Of several remedies the best looks good by chance: the verdict is by
intervals that hold for all of them at once (Bonferroni).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator.results.evaluation import (
    Counts,
    Floats,
    Predictions,
    group_confusion,
    number_rows,
)
from orchestrator.training.metrics import class_f1

CONFIDENCE = 0.95
RESAMPLES_AT_ONCE = 50
Told = Literal["helped", "hurt", "no difference told"]


@dataclass(frozen=True)
class Gain:
    """After minus before; intervals are None where all rows are of one group.

    Attributes:
        macro_f1: of macro-F1 over the classes that the set has.
        low, high: its 95 % interval.
        low_all, high_all: its interval that holds for all remedies at once.
        accuracy: of accuracy, with its 95 % interval.
        verdict: by `low_all` and `high_all`.
    """

    macro_f1: float
    low: float | None
    high: float | None
    low_all: float | None
    high_all: float | None
    accuracy: float
    accuracy_low: float | None
    accuracy_high: float | None
    verdict: Told


def paired_gain(
    before: Predictions, after: Predictions, *, num_resamples: int, num_remedies: int, seed: int
) -> Gain:
    """Compare two models on the same rows.

    Args:
        before: what the one said.
        after: what the other said of the same rows.
        num_resamples: of the bootstrap.
        num_remedies: that are compared with `before` at once.
        seed: of the bootstrap.

    Raises:
        ValueError: not the same rows.
    """
    if not np.array_equal(before.row_ids, after.row_ids):
        raise ValueError("paired_gain: both must have the same rows; got others.")
    numbered = number_rows(before.groups)
    first, second = (group_confusion(one, *numbered) for one in (before, after))
    scale = len(before.classes) / len(before.present)  # as in `evaluation.score`
    gain = _scores(second.sum(axis=0)[None], scale) - _scores(first.sum(axis=0)[None], scale)
    f1, accuracy = gain[0].tolist()
    if len(first) < 2:
        none = (None, None)
        return Gain(f1, *none, *none, accuracy, *none, "no difference told")
    drawn_B2 = _resampled(first, second, scale, num_resamples, seed)
    low, high = _interval(drawn_B2[:, 0], 1)
    low_all, high_all = _interval(drawn_B2[:, 0], num_remedies)
    verdict: Told = "no difference told"
    if low_all > 0 or high_all < 0:
        verdict = "helped" if low_all > 0 else "hurt"
    return Gain(f1, low, high, low_all, high_all, accuracy, *_interval(drawn_B2[:, 1], 1), verdict)


def _scores(confusion_BKK: Floats | Counts, scale: float) -> Floats:
    """Macro-F1 and accuracy of each matrix, shape (B, 2)."""
    counts = np.asarray(confusion_BKK, dtype=np.float64)
    right = np.trace(counts, axis1=1, axis2=2) / counts.sum(axis=(1, 2))
    return np.stack([class_f1(counts).mean(axis=1) * scale, right], axis=1)


def _resampled(first: Counts, second: Counts, scale: float, num: int, seed: int) -> Floats:
    """Gains in resamples of the groups, shape (num, 2)."""
    generator = np.random.default_rng(seed)
    num_groups, num_classes, _ = first.shape
    flat = [one.reshape(num_groups, -1).astype(np.float64) for one in (first, second)]
    even = np.full(num_groups, 1 / num_groups)
    gains = []
    for done in range(0, num, RESAMPLES_AT_ONCE):
        size = min(RESAMPLES_AT_ONCE, num - done)
        weights = generator.multinomial(num_groups, even, size=size).astype(np.float64)
        one, other = ((weights @ sums).reshape(-1, num_classes, num_classes) for sums in flat)
        gains.append(_scores(other, scale) - _scores(one, scale))
    return np.concatenate(gains)


def _interval(gains_B: Floats, num_at_once: int) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2 / num_at_once
    low, high = np.quantile(gains_B, [tail, 1 - tail])
    return float(low), float(high)
