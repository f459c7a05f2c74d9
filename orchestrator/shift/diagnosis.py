"""The whole of it: has production shifted, how, and what does that cost? PURE.

`verdict` says how the tests add up to words. What production's labels say is kept apart from what
is known without them: labels, where there are any, check the rest. Chance is always that of
drawing other videos; one that is in both sets is taken for two, which errs on the side of finding
nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from orchestrator.config.errors import DatasetError
from orchestrator.shift import calibration
from orchestrator.shift.accuracy_estimate import Accuracies, accuracies
from orchestrator.shift.calibration import Calibration, expected_calibration_error
from orchestrator.shift.covariate_shift import (
    TwoSampleTest,
    classifier_test,
    mmd_test,
    two_samples,
)
from orchestrator.shift.label_shift_test import LabelShiftTest, label_shift_test
from orchestrator.shift.outputs import (
    Floats,
    Ints,
    Outputs,
    log_probabilities,
    output_vectors,
    true_labels,
)
from orchestrator.shift.prior_change import prior_change_test
from orchestrator.shift.priors import PriorEstimate, bbse, em
from orchestrator.shift.recall_change import RecallChange, recall_change
from orchestrator.shift.verdict import ALPHA, Answers, Verdict, answer


@dataclass(frozen=True)
class Calibrations:
    """How well outputs, and outputs after calibration, mean what they say.

    Errors are expected calibration errors in 15 bins of equal mass.

    Args:
        fitted: Bias-corrected temperature scaling, fitted on the reference.
        reference_error: Of the outputs on the reference.
        reference_error_calibrated: After calibration, on the rows that it was fitted to.
        production_error: After calibration, in production; None without labels.
    """

    fitted: Calibration
    reference_error: float
    reference_error_calibrated: float
    production_error: float | None


@dataclass(frozen=True)
class Priors:
    """Shares of the classes, one value a class.

    Args:
        reference: Counted in the reference.
        production: Counted in production; None without labels.
        bbse: Estimated for production.
        em: Estimated for production, the sharper one.
    """

    reference: tuple[float, ...]
    production: tuple[float, ...] | None
    bbse: PriorEstimate
    em: PriorEstimate


@dataclass(frozen=True)
class Evidence:
    """What was tested, each with its p-value as it came.

    Args:
        label_shift: That label shift explains outputs, and features where both sets have them.
        classifier: That a classifier cannot tell the sets by features (by outputs without them).
        mmd: That a kernel cannot.
        outputs_differ: p-value of equal mean outputs.
        labels_differ: p-value of equal class shares; None without labels.
        recall: That every class's recall is the same; None without labels.
    """

    label_shift: tuple[LabelShiftTest, ...]
    classifier: TwoSampleTest
    mmd: TwoSampleTest
    outputs_differ: float
    labels_differ: float | None
    recall: RecallChange | None


@dataclass(frozen=True)
class Diagnosis:
    """What is known of the shift between a validation set and a production set.

    Args:
        verdict: By labels where production has them, else by outputs and features.
        without_labels: The answers that need no label of production.
        with_labels: The answers with them; None if there are none.
        evidence: The tests behind.
        priors: Counted and estimated.
        calibration: Of the outputs.
        accuracy: Measured and estimated.
        alpha: Level of the verdicts.
        num_rows: Of reference and production.
        num_groups: Of reference and production.
    """

    verdict: Verdict
    without_labels: Answers
    with_labels: Answers | None
    evidence: Evidence
    priors: Priors
    calibration: Calibrations
    accuracy: Accuracies
    alpha: float
    num_rows: tuple[int, int]
    num_groups: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, tuples, finite numbers, strings and None: ready for JSON."""
        return asdict(self)


def diagnose(reference: Outputs, production: Outputs, *, seed: int) -> Diagnosis:
    """Compares production with the validation set.

    Args:
        reference: Labelled validation outputs, none of which the model was trained on.
        production: Outputs; labels, if there are any, check what was found without them.
        seed: Of everything that is drawn.

    Raises:
        DatasetError: the sets do not go together, or the reference lacks a class.
    """
    evidence = gather(reference, production, seed=seed)
    without, with_labels = answers(evidence)
    labels_N = true_labels(reference, "reference")
    fitted = calibration.fit_bias_corrected(log_probabilities(reference.probabilities), labels_N)
    priors = Priors(
        reference=tuple((np.bincount(labels_N) / len(labels_N)).tolist()),
        production=_shares(production.labels, production.num_classes),
        bbse=bbse(reference, production, seed=seed),
        em=em(reference, production, seed=seed),
    )
    found = np.array(priors.em.priors)
    return Diagnosis(
        verdict=(with_labels or without).verdict,
        without_labels=without,
        with_labels=with_labels,
        evidence=evidence,
        priors=priors,
        calibration=_calibrations(reference, production, fitted),
        accuracy=accuracies(reference, production, fitted, found, seed=seed),
        alpha=ALPHA,
        num_rows=(len(reference.groups), len(production.groups)),
        num_groups=(len(np.unique(reference.groups)), len(np.unique(production.groups))),
    )


def gather(reference: Outputs, production: Outputs, *, seed: int) -> Evidence:
    """Runs all tests that the two sets allow.

    Args:
        reference: Labelled validation outputs.
        production: Outputs; labels and features if there are any.
        seed: Of everything that is drawn.

    Raises:
        DatasetError: the sets do not go together, or the reference lacks a class.
    """
    _check(reference, production)
    label_shift = [label_shift_test(reference, production, of="outputs", seed=seed)]
    vectors = (output_vectors(reference.probabilities), output_vectors(production.probabilities))
    if reference.features is not None and production.features is not None:
        label_shift.append(label_shift_test(reference, production, of="features", seed=seed))
        vectors = (reference.features, production.features)
    samples = two_samples(vectors[0], reference.groups, vectors[1], production.groups, seed=seed)
    labels_differ = recall = None
    if production.labels is not None:
        labels_differ = prior_change_test(reference, production, by_labels=True, seed=seed)
        recall = recall_change(reference, production, seed=seed)
    return Evidence(
        label_shift=tuple(label_shift),
        classifier=classifier_test(samples, seed=seed),
        mmd=mmd_test(samples),
        outputs_differ=prior_change_test(reference, production, by_labels=False, seed=seed),
        labels_differ=labels_differ,
        recall=recall,
    )


def answers(evidence: Evidence) -> tuple[Answers, Answers | None]:
    """What the evidence says without production's labels, and with them.

    Args:
        evidence: What `gather` returned.
    """
    alone = tuple(test.p_value for test in evidence.label_shift)
    look = (evidence.classifier.p_value, evidence.mmd.p_value)
    without = answer(alone, evidence.outputs_differ, look, labelled=False)
    if evidence.recall is None or evidence.labels_differ is None:
        return without, None
    alone = (*alone, evidence.recall.p_value)
    return without, answer(alone, evidence.labels_differ, look, labelled=True)


def _check(reference: Outputs, production: Outputs) -> None:
    if reference.num_classes != production.num_classes:
        raise DatasetError(
            f"production.probabilities: as many classes as the reference "
            f"({reference.num_classes}); got {production.num_classes}."
        )
    if reference.features is None or production.features is None:
        return
    widths = reference.features.shape[1], production.features.shape[1]
    if widths[0] != widths[1]:
        raise DatasetError(
            f"production.features: as wide as the reference's ({widths[0]}); got {widths[1]}. "
            "Evaluate both sets with one checkpoint."
        )


def _shares(labels_N: Ints | None, num_classes: int) -> tuple[float, ...] | None:
    if labels_N is None:
        return None
    counts = np.bincount(labels_N, minlength=num_classes)
    return tuple((counts / counts.sum()).tolist())


def _calibrations(reference: Outputs, production: Outputs, fitted: Calibration) -> Calibrations:
    labels_N = true_labels(reference, "reference")
    calibrated = calibration.apply(fitted, log_probabilities(reference.probabilities))
    in_production = calibration.apply(fitted, log_probabilities(production.probabilities))
    labels_M = production.labels
    return Calibrations(
        fitted=fitted,
        reference_error=_error(reference.probabilities, labels_N),
        reference_error_calibrated=_error(calibrated, labels_N),
        production_error=None if labels_M is None else _error(in_production, labels_M),
    )


def _error(probabilities_NK: Floats, labels_N: Ints) -> float:
    return expected_calibration_error(probabilities_NK, labels_N, bins="equal mass")
