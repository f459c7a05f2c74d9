"""Which configurations cannot be told from the winner: seen on the same videos, with the same seeds.

PURE: numpy only. Two sources of chance are drawn anew, each for all configurations alike: which
videos happened to be validated on, and which seeds happened to be trained with (a crossed bootstrap:
Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2), 2007; of n seeds n - 1 are drawn,
so that the variance is not too small: Rao & Wu, JASA 83, 1988). As the same videos and seeds are drawn
for all, what makes all configurations good or bad together cancels out of a difference.

The winner is the best of many, so some gap to the others is bound to appear by chance. The interval of
each difference is therefore made so wide that in 95 of 100 studies all differences between all pairs
lie in theirs at once (single-step max-T over all pairs: Westfall & Young, "Resampling-Based Multiple
Testing", 1993; over all pairs, as any of them could have won). `benchmarks/LOG.md` has the rate of
false claims in simulated studies.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.training.group_counts import decode
from orchestrator.training.metrics import CONFIDENCE, NUM_RESAMPLES, Floats, class_f1

MAX_COMPARED = 50
"""The best so many are compared; those behind them are not marked."""

Groups = Mapping[str, Any]
BySeed = Mapping[int, tuple[float, Groups | None]]


@dataclass(frozen=True)
class Behind:
    """How far a configuration is behind the winner in mean macro-F1, over the winner's seeds.

    Attributes:
        difference: winner less this one.
        low, high: simultaneous 95 % interval of the difference.
    """

    difference: float
    low: float
    high: float

    @property
    def is_tie(self) -> bool:
        """Whether no difference at all is compatible with what was seen."""
        return self.low <= 0.0


def mean_interval(of_seeds: Sequence[Groups | None]) -> tuple[float, float] | None:
    """95 % percentile interval of a mean over seeds; None where counts are missing.

    Args:
        of_seeds: of each seed, the encoded counts of the groups (`training/group_counts`).
    """
    if not of_seeds or any(groups is None for groups in of_seeds):
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(_mean_replicates(of_seeds), [tail, 1 - tail])
    return float(low), float(high)


def behind_winner(configurations: Sequence[BySeed]) -> list[Behind | None]:
    """Compare with the first what follows it.

    Args:
        configurations: best first; of each, by seed, macro-F1 and the encoded counts.

    Returns:
        For each, in order; None where it was not compared: its counts or the winner's are
        missing, it lacks a seed of the winner's, or it is behind the first `MAX_COMPARED`.
    """
    behind: list[Behind | None] = [None] * len(configurations)
    compared = _comparable(configurations[:MAX_COMPARED])
    if len(compared) < 2:
        return behind
    seeds = sorted(configurations[0])
    chosen = [[configurations[n][seed] for seed in seeds] for n in compared]
    scores_M = np.array([np.mean([score for score, _ in of_seeds]) for of_seeds in chosen])
    replicates_MB = np.stack([_mean_replicates([g for _, g in of_seeds]) for of_seeds in chosen])
    deviations_MB = replicates_MB - scores_M[:, None]
    critical = _critical_value(deviations_MB)
    errors_M = (deviations_MB[0] - deviations_MB).std(axis=1)
    for n, difference, error in zip(compared, scores_M[0] - scores_M, errors_M, strict=True):
        half = critical * float(error)
        behind[n] = Behind(float(difference), float(difference) - half, float(difference) + half)
    return behind


def _comparable(configurations: Sequence[BySeed]) -> list[int]:
    """Those with counts of the winner's videos and all its seeds; none if it has no counts."""
    shapes = [_shape(seeds) for seeds in configurations]
    if not shapes or shapes[0] is None:
        return []
    seeds = configurations[0].keys()
    return [
        n
        for n, shape in enumerate(shapes)
        if shape == shapes[0] and seeds <= configurations[n].keys()
    ]


def _shape(seeds: BySeed) -> tuple[int, int] | None:
    """(clusters, classes) where every seed has counts, all of one shape."""
    shapes = {
        None if groups is None else (int(groups["clusters"]), int(groups["classes"]))
        for _, groups in seeds.values()
    }
    return shapes.pop() if len(shapes) == 1 else None


def _mean_replicates(of_seeds: Sequence[Groups | None]) -> Floats:
    """The mean over seeds under each draw of videos and seeds, shape (B,)."""
    replicates_SB = np.stack([_replicates(groups) for groups in of_seeds if groups is not None])
    return np.einsum("sb,bs->b", replicates_SB, _seed_weights(len(replicates_SB)))


def _replicates(groups: Groups) -> Floats:
    return _replicates_of(int(groups["clusters"]), int(groups["classes"]), str(groups["counts"]))


@functools.lru_cache(maxsize=4096)
def _replicates_of(clusters: int, classes: int, counts: str) -> Floats:
    """Macro-F1 under each draw of videos, shape (B,): the same draws for every trial."""
    confusion_CKK = decode({"clusters": clusters, "classes": classes, "counts": counts})
    drawn = _video_weights(clusters) @ confusion_CKK.reshape(clusters, -1).astype(np.float64)
    return np.asarray(class_f1(drawn.reshape(-1, classes, classes)).mean(axis=-1))


@functools.lru_cache(maxsize=8)
def _video_weights(num_clusters: int) -> Floats:
    """How often each cluster is drawn, shape (B, C)."""
    even = np.full(num_clusters, 1 / num_clusters)
    draws = np.random.default_rng(0).multinomial(num_clusters, even, size=NUM_RESAMPLES)
    return draws.astype(np.float64)


@functools.lru_cache(maxsize=8)
def _seed_weights(num_seeds: int) -> Floats:
    """Weight of each seed, shape (B, S); one seed says nothing of others and is always drawn."""
    if num_seeds == 1:
        return np.ones((NUM_RESAMPLES, 1))
    even = np.full(num_seeds, 1 / num_seeds)
    draws = np.random.default_rng(1).multinomial(num_seeds - 1, even, size=NUM_RESAMPLES)
    return np.asarray(draws / (num_seeds - 1))


def _critical_value(deviations_MB: Floats) -> float:
    """How many standard errors the farthest of all pairs is from its own difference, at 95 %."""
    farthest_B = np.zeros(deviations_MB.shape[1])
    for n, deviation_B in enumerate(deviations_MB[:-1]):
        pairs_PB = deviation_B - deviations_MB[n + 1 :]
        errors_P = pairs_PB.std(axis=1, keepdims=True)
        # Networks that answer alike differ nowhere: they say nothing of chance.
        apart_PB = np.divide(
            np.abs(pairs_PB), errors_P, out=np.zeros_like(pairs_PB), where=errors_P > 0
        )
        farthest_B = np.maximum(farthest_B, apart_PB.max(axis=0))
    return float(np.quantile(farthest_B, CONFIDENCE))
