"""How accurate is the model in production, without labels? PURE.

Confidence-based performance estimation, as NannyML does it: a calibrated probability of 0.8 for
the class that the model decides for is right eight times of ten, so the expected confusion matrix
is a sum of probabilities. It is right where the calibration still holds: without a shift, and
under label shift if the posteriors were corrected to the production priors first
(`prior_correction`). Under covariate shift it is blind to what the model does not know that it
does not know: too high as a rule.

The interval is that of drawing other videos; the error of calibration and priors is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.shift.calibration import Calibration, apply
from orchestrator.shift.groups import bootstrap_weights, group_class_sums, number_groups
from orchestrator.shift.outputs import Floats, Ints, Names, Outputs, log_probabilities, true_labels
from orchestrator.shift.prior_correction import correct_priors
from orchestrator.training.metrics import accuracy, macro_f1

NUM_RESAMPLES = 500
CONFIDENCE = 0.95


@dataclass(frozen=True)
class AccuracyEstimate:
    """Expected performance.

    Args:
        accuracy: Expected share of right decisions.
        low: Lower end of its 95 % interval over groups.
        high: Upper end.
        macro_f1: Of the expected confusion matrix.
        confusion: Expected numbers of rows: rows are true classes, columns decisions.
    """

    accuracy: float
    low: float
    high: float
    macro_f1: float
    confusion: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Accuracies:
    """What the model gets right.

    Args:
        reference: Measured on the reference.
        estimated: In production without labels, if nothing shifted.
        estimated_label_shift: The same if label shift is all that happened: posteriors corrected
            to the priors that EM found.
        measured: In production; None without labels.
    """

    reference: float
    estimated: AccuracyEstimate
    estimated_label_shift: AccuracyEstimate
    measured: float | None


def estimate_accuracy(
    posteriors_NK: Floats,
    predicted_N: Ints,
    groups_N: Names,
    *,
    seed: int,
    num_resamples: int = NUM_RESAMPLES,
) -> AccuracyEstimate:
    """Expected accuracy and confusion matrix of unlabelled rows.

    Args:
        posteriors_NK: Calibrated probabilities; for label shift corrected to the new priors.
        predicted_N: What the model decided, from its own outputs.
        groups_N: Videos.
        seed: Of the bootstrap.
        num_resamples: Of the bootstrap.
    """
    generator = np.random.default_rng(seed)
    num_classes = posteriors_NK.shape[1]
    numbered = number_groups(groups_N, generator)
    by_decision_GKK, counts_GK = group_class_sums(
        posteriors_NK, *numbered, predicted_N, num_classes
    )
    confusion_KK = by_decision_GKK.sum(axis=0).T
    right_G = np.trace(by_decision_GKK, axis1=1, axis2=2)
    weights_BG = bootstrap_weights(num_resamples, numbered[1], generator)
    resampled_B = (weights_BG @ right_G) / (weights_BG @ counts_GK.sum(axis=1))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled_B, [tail, 1 - tail])
    return AccuracyEstimate(
        accuracy=accuracy(confusion_KK),
        low=float(low),
        high=float(high),
        macro_f1=macro_f1(confusion_KK),
        confusion=tuple(tuple(row) for row in confusion_KK.tolist()),
    )


def accuracies(
    reference: Outputs, production: Outputs, fitted: Calibration, priors_K: Floats, *, seed: int
) -> Accuracies:
    """All that is known of the accuracy on both sets.

    Args:
        reference: Labelled validation set.
        production: Its labels are measured against where it has some.
        fitted: Calibration of the outputs, fitted on the reference.
        priors_K: Estimated priors of production.
        seed: Of the bootstrap.
    """
    labels = true_labels(reference, "reference")
    shares_K = np.bincount(labels, minlength=reference.num_classes) / len(labels)
    posteriors = apply(fitted, log_probabilities(production.probabilities))
    corrected = correct_priors(posteriors, shares_K, priors_K)
    predicted, groups = production.predicted, production.groups
    right_M = None if production.labels is None else predicted == production.labels
    return Accuracies(
        reference=float(np.mean(reference.predicted == labels)),
        estimated=estimate_accuracy(posteriors, predicted, groups, seed=seed),
        estimated_label_shift=estimate_accuracy(corrected, predicted, groups, seed=seed),
        measured=None if right_M is None else float(np.mean(right_M)),
    )
