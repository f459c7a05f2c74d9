"""The mix of classes in production, from the outputs of a model without any label. PURE.

Both estimates hold under label shift only: p(x|y) as in the validation set, p(y) another. Whether
that is so `label_shift_test` asks.

- BBSE, soft: the mean output in production is a mixture of the classes' mean outputs in the
  validation set; the weights are the priors. Lipton, Wang & Smola, ICML 2018, with the soft
  confusion matrix of Azizzadenesheli et al., ICLR 2019. It needs no calibration, only a confusion
  matrix that can be inverted.
- EM: the priors of largest likelihood, given calibrated posteriors. Saerens, Latinne &
  Decaestecker, Neural Computation 14(1), 2002, on outputs calibrated by bias-corrected temperature
  scaling (Alexandari, Kundaje & Shrikumar, ICML 2020). The sharper one of the two.

Intervals: 95 % percentiles over resampled groups (videos) of both sets; for EM the calibration is
fitted anew in each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from orchestrator.shift import calibration
from orchestrator.shift.groups import (
    bootstrap_weights,
    group_class_sums,
    group_sums,
    number_groups,
)
from orchestrator.shift.outputs import Floats, Ints, Outputs, log_probabilities, true_labels

NUM_RESAMPLES = 200
CONFIDENCE = 0.95
MAX_CONDITION = 30.0
"""An error of 0.5 % in the mean output can then be 15 % in the priors: no estimate any more."""
MAX_ITERATIONS = 20_000
TOLERANCE = 1e-10
RESAMPLE_ITERATIONS = 300
RESAMPLE_TOLERANCE = 1e-5
"""Where EM stops: the change of all priors together. A resample starts near the estimate."""
AWAY_FROM_ZERO = 0.02
"""Share of the old priors in that start: EM never brings back a class that is at 0."""


@dataclass(frozen=True)
class PriorEstimate:
    """Class priors of the production set, one value a class, with their interval.

    Args:
        method: "BBSE" or "EM".
        priors: Sum 1.
        low: Lower ends of the classes' 95 % intervals.
        high: Upper ends.
        condition: Of the confusion matrix that BBSE inverts; None for EM, and where it is
            singular.
        reliable: False where that matrix is ill-conditioned (above `MAX_CONDITION`), or where
            EM's calibration ran into its bounds.
    """

    method: str
    priors: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    condition: float | None
    reliable: bool


def bbse(
    reference: Outputs, production: Outputs, *, seed: int, num_resamples: int = NUM_RESAMPLES
) -> PriorEstimate:
    """Priors by soft black box shift estimation.

    Args:
        reference: Labelled validation outputs with rows of every class.
        production: Outputs; labels are not looked at.
        seed: Of the resampling.
        num_resamples: For the interval.

    Raises:
        DatasetError: the reference lacks a class.
    """
    generator = np.random.default_rng(seed)
    labels = true_labels(reference, "reference")
    sums_GKK, counts_GK = group_class_sums(
        reference.probabilities,
        *number_groups(reference.groups, generator),
        labels,
        reference.num_classes,
    )
    group_N, num_groups = number_groups(production.groups, generator)
    sums_HK = group_sums(production.probabilities, group_N, num_groups)
    mean_KK = class_means(sums_GKK.sum(axis=0), counts_GK.sum(axis=0))
    condition = float(np.linalg.cond(mean_KK))
    weights_BG = bootstrap_weights(num_resamples, len(sums_GKK), generator)
    weights_BH = bootstrap_weights(num_resamples, num_groups, generator)
    means_BKK = class_means(np.tensordot(weights_BG, sums_GKK, axes=1), weights_BG @ counts_GK)
    outputs_BK = weights_BH @ sums_HK
    outputs_BK /= outputs_BK.sum(axis=1, keepdims=True)
    resampled = [bbse_priors(*pair) for pair in zip(means_BKK, outputs_BK, strict=True)]
    return _estimate(
        "BBSE",
        bbse_priors(mean_KK, production.probabilities.mean(axis=0)),
        np.array(resampled),
        condition if np.isfinite(condition) else None,
        condition <= MAX_CONDITION,
    )


def em(
    reference: Outputs, production: Outputs, *, seed: int, num_resamples: int = NUM_RESAMPLES
) -> PriorEstimate:
    """Priors by maximum likelihood on calibrated outputs.

    Args:
        reference: Labelled validation outputs with rows of every class.
        production: Outputs; labels are not looked at.
        seed: Of the resampling.
        num_resamples: For the interval.

    Raises:
        DatasetError: the reference lacks a class.
    """
    generator = np.random.default_rng(seed)
    labels = true_labels(reference, "reference")
    shares_K = np.bincount(labels, minlength=reference.num_classes) / len(labels)
    fitted = calibration.fit_bias_corrected(log_probabilities(reference.probabilities), labels)
    posteriors = calibration.apply(fitted, log_probabilities(production.probabilities))
    priors_K = em_priors(posteriors, shares_K)
    start_K = (1 - AWAY_FROM_ZERO) * priors_K + AWAY_FROM_ZERO * shares_K
    resampled = [
        em_priors(
            *drawn,
            start_K=start_K,
            tolerance=RESAMPLE_TOLERANCE,
            max_iterations=RESAMPLE_ITERATIONS,
        )
        for drawn in _resamples(reference, labels, production, fitted, num_resamples, generator)
    ]
    return _estimate("EM", priors_K, np.array(resampled), None, not fitted.at_bound)


def bbse_point(reference: Outputs, production: Outputs) -> Floats:
    """The priors of `bbse` without an interval, shape (K,)."""
    labels = true_labels(reference, "reference")
    sums_KK = group_sums(reference.probabilities, labels, reference.num_classes)
    means_KK = class_means(sums_KK, np.bincount(labels).astype(np.float64))
    return bbse_priors(means_KK, production.probabilities.mean(axis=0))


def bbse_priors(class_means_KK: Floats, mean_output_K: Floats) -> Floats:
    """The mixture of the classes' mean outputs that is nearest to the mean output.

    Least squares over all priors from 0 up with sum 1. Priors have sum 1, so the distance is
    |D w| with D = means - output. Minimising |D u|^2 + (sum u - 1)^2 over u >= 0 without the
    constraint gives a multiple of the same w, exactly.

    Args:
        class_means_KK: Column y is the mean output of rows of class y.
        mean_output_K: Mean output in production.

    Returns:
        Priors of shape (K,).
    """
    distance_KK = class_means_KK - mean_output_K[:, None]
    num_classes = distance_KK.shape[1]
    matrix = np.vstack([distance_KK, np.ones(num_classes)])
    solution, _ = nnls(matrix, np.append(np.zeros(len(distance_KK)), 1.0))
    return np.asarray(solution / solution.sum())


def em_priors(
    posteriors_NK: Floats,
    old_priors_K: Floats,
    weights_N: Floats | None = None,
    *,
    start_K: Floats | None = None,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> Floats:
    """The priors of largest likelihood, by expectation maximisation.

    Args:
        posteriors_NK: Calibrated p(y|x) under the old priors.
        old_priors_K: Each above 0.
        weights_N: Of the rows; all alike by default.
        start_K: Where to start; the old priors by default.
        tolerance: Stop at this change of all priors together.
        max_iterations: Stop at this many.

    Returns:
        Priors of shape (K,).
    """
    ratios_NK = posteriors_NK / old_priors_K
    ratios_KN = np.ascontiguousarray(ratios_NK.T)
    share_N = np.ones(len(ratios_NK)) if weights_N is None else weights_N
    share_N = share_N / share_N.sum()
    priors_K = np.asarray(old_priors_K if start_K is None else start_K, dtype=np.float64)
    for _ in range(max_iterations):
        # Expectation and maximisation in one: the mean over rows of w_k r_ik / sum_j w_j r_ij.
        updated_K = priors_K * (ratios_KN @ (share_N / (priors_K @ ratios_KN)))
        change = np.abs(updated_K - priors_K).sum()
        priors_K = updated_K / updated_K.sum()
        if change <= tolerance:
            break
    return priors_K


def class_means(sums_XKD: Floats, counts_XK: Floats) -> Floats:
    """Mean vector of each class as a column: (..., K, D) sums to (..., D, K)."""
    return np.swapaxes(sums_XKD / counts_XK[..., None], -1, -2)


def _resamples(
    reference: Outputs,
    labels_N: Ints,
    production: Outputs,
    fitted: calibration.Calibration,
    num_resamples: int,
    generator: np.random.Generator,
) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Posteriors, old priors and row weights of each resample, one at a time to save memory."""
    group_N, num_groups = number_groups(reference.groups, generator)
    weights_BG = bootstrap_weights(num_resamples, num_groups, generator)
    counts_GK = group_sums(np.eye(reference.num_classes)[labels_N], group_N, num_groups)
    shares_BK = weights_BG @ counts_GK
    shares_BK /= shares_BK.sum(axis=1, keepdims=True)
    logits = log_probabilities(reference.probabilities)
    calibrations = calibration.resample(fitted, logits, labels_N, group_N, weights_BG)
    group_M, num_groups = number_groups(production.groups, generator)
    weights_BH = bootstrap_weights(num_resamples, num_groups, generator)
    production_logits = log_probabilities(production.probabilities)
    for one, shares_K, weights_H in zip(calibrations, shares_BK, weights_BH, strict=True):
        yield calibration.apply(one, production_logits), shares_K, weights_H[group_M]


def _estimate(
    method: str, priors_K: Floats, resampled_BK: Floats, condition: float | None, reliable: bool
) -> PriorEstimate:
    tail = (1 - CONFIDENCE) / 2
    low_K, high_K = np.quantile(resampled_BK, [tail, 1 - tail], axis=0)
    return PriorEstimate(
        method=method,
        priors=tuple(priors_K.tolist()),
        low=tuple(low_K.tolist()),
        high=tuple(high_K.tolist()),
        condition=condition,
        reliable=bool(reliable),
    )
