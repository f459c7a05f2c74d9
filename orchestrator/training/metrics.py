"""Exact metrics from a summed confusion matrix: never means of means.

PURE: numpy only. Workers sum counts and losses over all rows; every figure a user sees is
computed here from these sums. Equal to scikit-learn's `f1_score(average="macro",
zero_division=0)` over all classes of the data set.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NUM_RESAMPLES = 1000
RESAMPLES_AT_ONCE = 50
"""Bounds the memory where every row is a group of its own."""
CONFIDENCE = 0.95


def class_f1(confusion_KK: npt.NDArray[np.generic]) -> Floats:
    """F1 of each class; rows are true classes; 0 where a class is neither present nor predicted.

    Args:
        confusion_KK: counts of shape (..., K, K).

    Returns:
        Shape (..., K): 2 TP / (2 TP + FP + FN).
    """
    counts = np.asarray(confusion_KK, dtype=np.float64)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    denominator = counts.sum(axis=-1) + counts.sum(axis=-2)
    return np.divide(2 * hits, denominator, out=np.zeros_like(hits), where=denominator > 0)


def macro_f1(confusion_KK: npt.NDArray[np.generic]) -> float:
    """Mean of the classes' F1 (P_EXPR of the ABAW challenges)."""
    return float(class_f1(confusion_KK).mean())


def accuracy(confusion_KK: npt.NDArray[np.generic]) -> float:
    """Share of rows on the diagonal; 0 for an empty matrix."""
    counts = np.asarray(confusion_KK, dtype=np.float64)
    total = counts.sum()
    return float(np.trace(counts) / total) if total else 0.0


def macro_f1_interval(
    confusion_GKK: Counts, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of macro-F1, resampling whole groups.

    Frames of one video are near copies: resampling frames would claim far too much certainty.
    Source: Field & Welsh, "Bootstrapping clustered data", JRSS B 69(3), 2007.

    Args:
        confusion_GKK: confusion counts of each group (video or subject), shape (G, K, K).
        num_resamples: how often groups are drawn.
        seed: of the resampling.

    Returns:
        `(low, high)`.
    """
    num_groups, num_classes, _ = confusion_GKK.shape
    generator = np.random.default_rng(seed)
    flat = confusion_GKK.reshape(num_groups, -1).astype(np.float64)
    even = np.full(num_groups, 1 / num_groups)
    scores = []
    for done in range(0, num_resamples, RESAMPLES_AT_ONCE):
        size = min(RESAMPLES_AT_ONCE, num_resamples - done)
        weights = generator.multinomial(num_groups, even, size=size)
        resampled = (weights.astype(np.float64) @ flat).reshape(-1, num_classes, num_classes)
        scores.append(class_f1(resampled).mean(axis=-1))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(scores), [tail, 1 - tail])
    return float(low), float(high)
