"""What a remedy changes, measured on the same rows before and after, with paired intervals. PURE.

Both models see the same images, so that easy and hard videos cancel out of the difference. Chance
is that of drawing other groups (videos, subjects). Each group has a gain of its own, of which the
whole gain is the mean; were nothing gained, each could as well have the other sign. An interval
holds all gains that such a sign-flip test does not reject: by Hartigan (JASA 64, 1969) the means of
all subsets of the groups are its ends, exact for few groups too, where a bootstrap is too narrow.
Of several remedies the best looks good by chance: the verdict is by intervals that hold for all of
them at once (Bonferroni). With too few groups no gain, however large, can be told from chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from orchestrator.results.evaluation import (
    Counts,
    Floats,
    Predictions,
    group_confusion,
    number_rows,
)
from orchestrator.training.metrics import class_f1

CONFIDENCE = 0.95
ALL_SUBSETS = 12
"""Up to so many groups all subsets are taken, from there on some are drawn."""
DRAWN_IN_TAIL = 10
"""Subsets drawn beyond each end of an interval, at least: fewer say too little of where it is."""
SUBSETS_AT_ONCE = 500
Told = Literal["helped", "hurt", "no difference told"]


@dataclass(frozen=True)
class Gain:
    """After minus before; an interval is None where there are too few groups for it.

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
        num_resamples: subsets of the groups to draw, where not all of them can be taken.
        num_remedies: that are compared with `before` at once.
        seed: of what is drawn.

    Raises:
        ValueError: not the same rows.
    """
    if not np.array_equal(before.row_ids, after.row_ids):
        raise ValueError("paired_gain: both must have the same rows; got others.")
    numbered = number_rows(before.groups)
    first, second = (group_confusion(one, *numbered) for one in (before, after))
    scale = len(before.classes) / len(before.present)  # as in `evaluation.score`
    gains_G2 = _gains_of_groups(second, scale) - _gains_of_groups(first, scale)
    f1, accuracy = gains_G2.mean(axis=0).tolist()
    wanted = max(num_resamples, math.ceil(DRAWN_IN_TAIL / _tail(num_remedies)))
    means_B2 = np.concatenate(list(_means_of_subsets(gains_G2, wanted, seed)))
    f1_B, accuracy_B = means_B2.T
    num_groups = len(gains_G2)
    low_all, high_all = _interval(f1_B, num_groups, num_remedies)
    verdict: Told = "no difference told"
    if low_all is not None and high_all is not None and (low_all > 0 or high_all < 0):
        verdict = "helped" if low_all > 0 else "hurt"
    low, high = _interval(f1_B, num_groups, 1)
    accuracy_low, accuracy_high = _interval(accuracy_B, num_groups, 1)
    return Gain(
        macro_f1=f1,
        low=low,
        high=high,
        low_all=low_all,
        high_all=high_all,
        accuracy=accuracy,
        accuracy_low=accuracy_low,
        accuracy_high=accuracy_high,
        verdict=verdict,
    )


def fewest_groups(num_remedies: int) -> int:
    """Groups below which no gain can be told from chance: all signs alike are not rare enough."""
    return math.ceil(math.log2(1 / _tail(num_remedies)))


def _gains_of_groups(confusion_GKK: Counts, scale: float) -> Floats:
    """What each group adds to macro-F1 and accuracy, shape (G, 2), so that the mean is the score.

    F1 and accuracy are ratios of sums over groups; by their first-order expansion a group adds
    its numerator less the score's share of its denominator (the influence function).
    """
    counts = confusion_GKK.astype(np.float64)
    total = counts.sum(axis=0)
    hits_GK = np.diagonal(counts, axis1=1, axis2=2)
    claims_GK = counts.sum(axis=1) + counts.sum(axis=2)
    f1_K, claims_K = class_f1(total), claims_GK.sum(axis=0)
    beyond_GK = 2 * hits_GK - f1_K * claims_GK
    f1_GK = np.divide(beyond_GK, claims_K, out=np.zeros_like(beyond_GK), where=claims_K > 0)
    accuracy, rows_G = np.trace(total) / total.sum(), counts.sum(axis=(1, 2))
    right_G = (hits_GK.sum(axis=1) - accuracy * rows_G) / total.sum()
    scores = np.array([f1_K.mean() * scale, accuracy])
    return scores + len(counts) * np.stack([f1_GK.mean(axis=1) * scale, right_G], axis=1)


def _means_of_subsets(gains_G2: Floats, num: int, seed: int) -> Iterator[Floats]:
    """Mean gains of subsets of the groups, shape (B, 2) in pieces; the empty one is left out."""
    num_groups = len(gains_G2)
    if num_groups <= ALL_SUBSETS:
        numbers = np.arange(1, 2**num_groups)[:, None]
        yield _means(numbers >> np.arange(num_groups) & 1, gains_G2)
        return
    generator = np.random.default_rng(seed)
    for done in range(0, num, SUBSETS_AT_ONCE):
        size = (min(SUBSETS_AT_ONCE, num - done), num_groups)
        yield _means(generator.integers(0, 2, size, dtype=np.int8), gains_G2)


def _means(taken_BG: npt.NDArray[np.integer], gains_G2: Floats) -> Floats:
    taken = taken_BG[taken_BG.any(axis=1)].astype(np.float64)
    return (taken @ gains_G2) / taken.sum(axis=1, keepdims=True)


def _interval(
    means_B: Floats, num_groups: int, num_at_once: int
) -> tuple[float, float] | tuple[None, None]:
    """Ends beyond which lies the tail of the means; between two neighbours lie 1 in B + 1."""
    if num_groups < fewest_groups(num_at_once):
        return None, None
    beyond = math.floor(_tail(num_at_once) * (len(means_B) + 1))
    ordered = np.sort(means_B)
    return float(ordered[beyond - 1]), float(ordered[-beyond])


def _tail(num_at_once: int) -> float:
    return (1 - CONFIDENCE) / 2 / num_at_once
