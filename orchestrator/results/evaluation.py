"""What predictions are worth: scores of each class, macro-F1 with its interval, calibration. PURE.

Numbers only; `evaluation_report` and `evaluation_plots` show them. Equal to scikit-learn's over
the classes of the data set, `zero_division=0`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.shift import calibration as calibrations
from orchestrator.shift.calibration import Calibration, ReliabilityBin
from orchestrator.shift.groups import number_groups
from orchestrator.shift.outputs import LOWEST_PROBABILITY, log_probabilities
from orchestrator.training.metrics import accuracy, class_f1, macro_f1_interval

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MAX_CELLS = 2**25
"""Of the confusion matrices of all groups together: 256 MiB. With six classes that is a million
groups; beyond it groups are dealt out to blocks, which are independent of each other as well."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model said of the rows of a split, in the order of `row_ids`.

    Attributes:
        row_ids: shape (N,), ascending.
        groups: video or subject, shape (N,); "" = a row on its own.
        labels: index of the true class among the model's, shape (N,).
        probabilities: float32, shape (N, K), as they are written.
        classes: names of the model's classes.
        present: indices of the classes that the data set has; scores are over these.
    """

    row_ids: Ints
    groups: npt.NDArray[np.str_]
    labels: Ints
    probabilities: npt.NDArray[np.float32]
    classes: tuple[str, ...]
    present: tuple[int, ...]

    @property
    def predicted(self) -> Ints:
        """Index of the likeliest class, shape (N,)."""
        return np.argmax(self.probabilities, axis=1).astype(np.int64)

    @property
    def normalised(self) -> Floats:
        """Probabilities as float64 that sum to 1 to its last digits, shape (N, K)."""
        exact = self.probabilities.astype(np.float64)
        return exact / exact.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class ClassScore:
    """One class; 0 where a figure would be 0/0."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Average:
    """Mean over classes."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, eq=False)
class Scores:
    """How good the decisions are.

    Attributes:
        confusion: rows are true classes, shape (K, K), over all classes of the model.
        by_class: of the classes that the data set has.
        macro, weighted: means over them, each alike, or by support.
        interval: 95 % of macro-F1, by resampling groups; None where there is but one.
        log_loss: mean cross-entropy, nats.
        num_groups: groups (rows without one count each).
        num_resamples: behind the interval.
    """

    confusion: Counts
    by_class: tuple[ClassScore, ...]
    macro: Average
    weighted: Average
    accuracy: float
    interval: tuple[float, float] | None
    log_loss: float
    num_groups: int
    num_resamples: int


@dataclass(frozen=True)
class Reliability:
    """Whether confidence is what it says.

    Attributes:
        ece: expected calibration error, 15 bins of equal width.
        log_loss: mean cross-entropy, nats.
        bins: confidence against accuracy.
    """

    ece: float
    log_loss: float
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class Calibrated:
    """Reliability with a temperature that was fitted on the run's validation split.

    Attributes:
        calibration: the temperature; `at_bound` where validation had too few errors to fit one.
        fitted_rows: of the validation split.
        in_sample: whether rows of the validation split are among those measured.
        after: reliability of the calibrated probabilities.
    """

    calibration: Calibration
    fitted_rows: int
    in_sample: bool
    after: Reliability


def score(predictions: Predictions, num_resamples: int) -> Scores:
    """Measure the decisions.

    Args:
        predictions: at least one row.
        num_resamples: for the interval of macro-F1.
    """
    num_classes, present = len(predictions.classes), list(predictions.present)
    groups, num_groups = number_rows(predictions.groups)
    confusion_GKK = group_confusion(predictions, groups, num_groups)
    confusion = confusion_GKK.sum(axis=0)
    by_class = _class_scores(confusion, predictions)
    low_high = None
    if num_groups > 1:
        # A class that the set lacks has F1 = 0 in each resample: the mean over the classes that
        # it has is the mean over all, scaled.
        scale = num_classes / len(present)
        low, high = macro_f1_interval(confusion_GKK, num_resamples=num_resamples)
        low_high = (low * scale, high * scale)
    return Scores(
        confusion=confusion,
        by_class=by_class,
        macro=_average(by_class, [1.0] * len(present)),
        weighted=_average(by_class, [float(one.support) for one in by_class]),
        accuracy=accuracy(confusion),
        interval=low_high,
        log_loss=_log_loss(predictions.normalised, predictions.labels),
        num_groups=num_groups,
        num_resamples=num_resamples,
    )


def reliability(probabilities_NK: Floats, labels_N: Ints) -> Reliability:
    """Confidence against accuracy."""
    return Reliability(
        ece=calibrations.expected_calibration_error(probabilities_NK, labels_N),
        log_loss=_log_loss(probabilities_NK, labels_N),
        bins=calibrations.reliability_table(probabilities_NK, labels_N),
    )


def calibrate(measured: Predictions, validation: Predictions, *, in_sample: bool) -> Calibrated:
    """Fit a temperature on validation rows and see what it does to others."""
    logits_NK = log_probabilities(validation.normalised)
    fitted = calibrations.fit_temperature(logits_NK, validation.labels)
    after_NK = calibrations.apply(fitted, log_probabilities(measured.normalised))
    return Calibrated(
        calibration=fitted,
        fitted_rows=len(validation.labels),
        in_sample=in_sample,
        after=reliability(after_NK, measured.labels),
    )


def normalised_rows(confusion_KK: Counts) -> Floats:
    """Shares of each true class; zeros for a class without rows."""
    totals = confusion_KK.sum(axis=1, keepdims=True)
    shares = np.zeros(confusion_KK.shape)
    return np.divide(confusion_KK, totals, out=shares, where=totals > 0)


def number_rows(groups_N: npt.NDArray[np.str_]) -> tuple[Ints, int]:
    """The number of each row's group, and how many there are; a row without one is its own."""
    names, number = np.unique(groups_N, return_inverse=True)
    number = number.astype(np.int64)
    alone = groups_N == ""
    if not alone.any():
        return number, len(names)
    number -= 1  # "" sorts first
    number[alone] = len(names) - 1 + np.arange(alone.sum())
    return number, len(names) - 1 + int(alone.sum())


def group_confusion(predictions: Predictions, groups: Ints, num_groups: int) -> Counts:
    """Confusion counts of each group, or of each of fewer blocks, shape (G, K, K)."""
    num_classes = len(predictions.classes)
    limit = max(2, MAX_CELLS // num_classes**2)
    if num_groups > limit:
        groups, num_groups = number_groups(groups, np.random.default_rng(0), limit)
    cell = (groups * num_classes + predictions.labels) * num_classes + predictions.predicted
    counts = np.bincount(cell, minlength=num_groups * num_classes**2)
    return counts.reshape(num_groups, num_classes, num_classes)


def _class_scores(confusion: Counts, predictions: Predictions) -> tuple[ClassScore, ...]:
    hits = np.diagonal(confusion).astype(np.float64)
    support, claimed = confusion.sum(axis=1), confusion.sum(axis=0)
    precision = np.divide(hits, claimed, out=np.zeros_like(hits), where=claimed > 0)
    recall = np.divide(hits, support, out=np.zeros_like(hits), where=support > 0)
    f1 = class_f1(confusion)
    return tuple(
        ClassScore(
            name=predictions.classes[k],
            precision=float(precision[k]),
            recall=float(recall[k]),
            f1=float(f1[k]),
            support=int(support[k]),
        )
        for k in predictions.present
    )


def _average(by_class: Sequence[ClassScore], weights: Sequence[float]) -> Average:
    figures = np.array([[one.precision, one.recall, one.f1] for one in by_class])
    precision, recall, f1 = np.average(figures, axis=0, weights=weights).tolist()
    return Average(precision, recall, f1)


def _log_loss(probabilities_NK: Floats, labels_N: Ints) -> float:
    true = probabilities_NK[np.arange(len(labels_N)), labels_N]
    return float(-np.log(np.maximum(true, LOWEST_PROBABILITY)).mean())
