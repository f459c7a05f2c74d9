"""Does 0.9 mean nine of ten? Measures it, and mends it on the validation set. PURE.

Two calibrations, both fitted on labelled validation rows by maximum likelihood:

- temperature scaling: softmax(logits / T). Guo et al., ICML 2017.
- bias-corrected temperature scaling: softmax(logits / T + b), whose mean output equals the class
  shares of the validation set: what estimates of priors need. Alexandari, Kundaje & Shrikumar,
  ICML 2020.

Log-probabilities serve as logits: a constant per row changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from orchestrator.shift.groups import group_sums
from orchestrator.shift.outputs import Floats, Ints

NUM_BINS = 15
MAX_TEMPERATURE = 20.0
"""And its inverse the lowest: a validation set without an error has its optimum at T = 0."""
MAX_BIAS = 10.0
MAX_ITERATIONS = 1000
GRADIENT_TOLERANCE = 1e-10
LOSS_WITHOUT_ERRORS = 1e-6
"""A mean loss of this comes from a set that the classes part without an error."""


@dataclass(frozen=True)
class Calibration:
    """softmax(logits / temperature + bias).

    Args:
        temperature: T; above 1 the model was overconfident.
        bias: One a class, sum 0; zeros for plain temperature scaling.
        at_bound: Whether there were too few errors to calibrate on: the fit ran into its bounds,
            or towards them.
    """

    temperature: float
    bias: tuple[float, ...]
    at_bound: bool


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows whose confidence lies in (low, high]."""

    low: float
    high: float
    count: int
    mean_confidence: float
    accuracy: float


def fit_temperature(logits_NK: Floats, labels_N: Ints) -> Calibration:
    """Temperature scaling fitted on validation rows."""
    return _fit(logits_NK, labels_N, max_bias=0.0)


def fit_bias_corrected(logits_NK: Floats, labels_N: Ints) -> Calibration:
    """Bias-corrected temperature scaling fitted on validation rows."""
    return _fit(logits_NK, labels_N, max_bias=MAX_BIAS)


def apply(calibration: Calibration, logits_NK: Floats) -> Floats:
    """Calibrated probabilities of logits or log-probabilities, shape (N, K)."""
    scaled = logits_NK / calibration.temperature + np.asarray(calibration.bias)
    return np.asarray(softmax(scaled, axis=1))


def expected_calibration_error(
    probabilities_NK: Floats,
    labels_N: Ints,
    *,
    bins: Literal["equal width", "equal mass"] = "equal width",
    num_bins: int = NUM_BINS,
) -> float:
    """ECE of the decisions: mean over rows of |accuracy - mean confidence| of the row's bin.

    Source: Naeini et al., AAAI 2015 (equal width); Nguyen & O'Connor, EMNLP 2015 (equal mass).
    """
    table = reliability_table(probabilities_NK, labels_N, bins=bins, num_bins=num_bins)
    gaps = (row.count * abs(row.accuracy - row.mean_confidence) for row in table)
    return float(sum(gaps) / len(labels_N))


def reliability_table(
    probabilities_NK: Floats,
    labels_N: Ints,
    *,
    bins: Literal["equal width", "equal mass"] = "equal width",
    num_bins: int = NUM_BINS,
) -> tuple[ReliabilityBin, ...]:
    """Confidence against accuracy by bin of confidence; empty bins are left out.

    Bins of equal mass are fewer than asked for where many rows have the very same confidence.
    """
    confidence = probabilities_NK.max(axis=1)
    right = probabilities_NK.argmax(axis=1) == labels_N
    if bins == "equal width":
        edges = np.linspace(0, 1, num_bins + 1)
    else:
        quantiles = np.quantile(confidence, np.linspace(0, 1, num_bins + 1))
        edges = np.unique(np.append(quantiles[1:], 0.0))
    bin_N = np.searchsorted(edges[1:-1], confidence, side="left")
    return tuple(
        ReliabilityBin(
            low=float(edges[number]),
            high=float(edges[number + 1]),
            count=int(inside.sum()),
            mean_confidence=float(confidence[inside].mean()),
            accuracy=float(right[inside].mean()),
        )
        for number in np.unique(bin_N)
        for inside in [bin_N == number]
    )


def resample(
    calibration: Calibration,
    logits_NK: Floats,
    labels_N: Ints,
    group_N: Ints,
    weights_BG: Floats,
) -> list[Calibration]:
    """The calibrations that resampled groups would have given, by one Newton step each.

    One step from the optimum is as good as a fit to first order (Shao, Statistics & Probability
    Letters, 1992), and costs one pass over the rows for all resamples together. A fit at its
    bounds has no such step: then all are the same.
    """
    if calibration.at_bound:
        return [calibration] * len(weights_BG)
    gradient_GP, curvature_GPP = _derivatives_by_group(
        calibration, logits_NK, labels_N, group_N, weights_BG.shape[1]
    )
    gradient_BP = weights_BG @ gradient_GP
    curvature_BPP = np.tensordot(weights_BG, curvature_GPP, axes=1)
    # Singular along the common bias of all classes: the pseudo-inverse leaves that one alone.
    step_BP = np.einsum("bpq,bq->bp", np.linalg.pinv(curvature_BPP, hermitian=True), gradient_BP)
    start_P = np.array([1 / calibration.temperature, *calibration.bias])
    return [_calibration(start_P - step_P) for step_P in step_BP]


def _fit(logits_NK: Floats, labels_N: Ints, max_bias: float) -> Calibration:
    num_classes = logits_NK.shape[1]

    def loss(parameters_P: Floats) -> tuple[float, Floats]:
        """Mean negative log-likelihood, convex in (1 / T, b), and its gradient."""
        log_p = log_softmax(logits_NK * parameters_P[0] + parameters_P[1:], axis=1)
        surplus_NK = np.exp(log_p)
        surplus_NK[rows, labels_N] -= 1
        gradient = np.concatenate([[np.vdot(surplus_NK, logits_NK)], surplus_NK.sum(axis=0)])
        return -float(log_p[rows, labels_N].mean()), gradient / len(rows)

    rows = np.arange(len(labels_N))
    fitted = minimize(
        loss,
        x0=np.array([1.0, *np.zeros(num_classes)]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(1 / MAX_TEMPERATURE, MAX_TEMPERATURE)] + [(-max_bias, max_bias)] * num_classes,
        options={"maxiter": MAX_ITERATIONS, "ftol": 0.0, "gtol": GRADIENT_TOLERANCE},
    )
    found = _calibration(np.asarray(fitted.x), max_bias)
    return replace(found, at_bound=True) if fitted.fun < LOSS_WITHOUT_ERRORS else found


def _calibration(parameters_P: Floats, max_bias: float = MAX_BIAS) -> Calibration:
    """From (1 / T, b), kept within the bounds."""
    sharpness = float(np.clip(parameters_P[0], 1 / MAX_TEMPERATURE, MAX_TEMPERATURE))
    bias_K = np.clip(parameters_P[1:], -max_bias, max_bias)
    at_bound = sharpness in (1 / MAX_TEMPERATURE, MAX_TEMPERATURE)
    if max_bias > 0:
        at_bound = at_bound or bool(np.any(np.abs(bias_K) >= max_bias))
    centred = bias_K - bias_K.mean()
    return Calibration(1 / sharpness, tuple(centred.tolist()), at_bound)


def _derivatives_by_group(
    calibration: Calibration, logits_NK: Floats, labels_N: Ints, group_N: Ints, num_groups: int
) -> tuple[Floats, Floats]:
    """Gradient (G, P) and curvature (G, P, P) of the groups' losses in (1 / T, b), P = K + 1."""
    probabilities_NK = apply(calibration, logits_NK)
    surplus_NK = probabilities_NK.copy()
    surplus_NK[np.arange(len(labels_N)), labels_N] -= 1
    gradient_NP = np.column_stack([(surplus_NK * logits_NK).sum(axis=1), surplus_NK])
    # d logits / d (1 / T, b) = [logits, identity]; curvature = J' (diag p - p p') J.
    num_classes = logits_NK.shape[1]
    mean_N1 = (probabilities_NK * logits_NK).sum(axis=1, keepdims=True)
    mixed_NK = probabilities_NK * (logits_NK - mean_N1)
    curvature_NPP = np.empty((len(labels_N), num_classes + 1, num_classes + 1))
    curvature_NPP[:, 0, 0] = (mixed_NK * logits_NK).sum(axis=1)
    curvature_NPP[:, 0, 1:] = curvature_NPP[:, 1:, 0] = mixed_NK
    curvature_NPP[:, 1:, 1:] = -probabilities_NK[:, :, None] * probabilities_NK[:, None, :]
    diagonal = np.arange(1, num_classes + 1)
    curvature_NPP[:, diagonal, diagonal] += probabilities_NK
    curvature = group_sums(curvature_NPP.reshape(len(labels_N), -1), group_N, num_groups)
    gradient = group_sums(gradient_NP, group_N, num_groups)
    return gradient, curvature.reshape(num_groups, num_classes + 1, num_classes + 1)
