"""Accuracy without labels is near the accuracy with them, where it can be."""

import numpy as np
import pytest

from benchmarks.simulated_shift import PRODUCTION, REFERENCE, Change, Videos, draw
from orchestrator.shift.accuracy_estimate import accuracies, estimate_accuracy
from orchestrator.shift.calibration import fit_bias_corrected
from orchestrator.shift.outputs import log_probabilities

NEAR = 0.02
"""Three standard errors of the accuracy of 5,000 single images."""


def both_sets(change=Change(), priors=PRODUCTION):  # noqa: B008
    rng = np.random.default_rng(0)
    reference = draw(rng, Videos(5000), REFERENCE)
    return reference, draw(rng, Videos(5000), priors, change)


def estimated(reference, production):
    logits = log_probabilities(reference.probabilities)
    fitted = fit_bias_corrected(logits, reference.labels)
    true_priors = np.bincount(production.labels) / len(production.labels)
    return accuracies(reference, production, fitted, true_priors, seed=0)


def test_a_worked_example():
    posteriors = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    found = estimate_accuracy(posteriors, np.array([0, 0, 1]), np.arange(3), seed=0)
    assert found.accuracy == pytest.approx((0.9 + 0.6 + 0.7) / 3)
    # Rows are true classes: of what was called 0, 1.5 are expected to be 0 and 0.5 to be 1.
    assert np.array(found.confusion) == pytest.approx(np.array([[1.5, 0.3], [0.5, 0.7]]))
    assert found.macro_f1 == pytest.approx((3 / 3.8 + 1.4 / 2.2) / 2)
    assert found.low <= found.accuracy <= found.high


def test_without_a_shift_the_estimate_is_the_accuracy():
    found = estimated(*both_sets(priors=REFERENCE))
    assert found.estimated.accuracy == pytest.approx(found.measured, abs=NEAR)


def test_under_label_shift_the_corrected_estimate_is_near_and_nearer_than_the_other():
    found = estimated(*both_sets())
    assert found.estimated_label_shift.accuracy == pytest.approx(found.measured, abs=NEAR)
    error = abs(found.estimated.accuracy - found.measured)
    assert error > abs(found.estimated_label_shift.accuracy - found.measured)


def test_the_expected_confusion_matrix_is_near_the_true_one():
    reference, production = both_sets()
    found = estimated(reference, production).estimated_label_shift
    true = np.zeros((6, 6))
    np.add.at(true, (production.labels, production.predicted), 1)
    # Sum of absolute differences, as a share of all rows.
    assert np.abs(np.array(found.confusion) - true).sum() / 5000 < 0.06


def test_under_covariate_shift_it_is_too_high_as_the_docstring_warns():
    found = estimated(*both_sets(change=Change(moved=1.0)))
    assert found.estimated_label_shift.accuracy > found.measured + 0.05


def test_frames_of_few_videos_make_the_interval_wider():
    rng = np.random.default_rng(0)
    frames = draw(rng, Videos(40, 25, likeness=0.9), REFERENCE)
    args = (frames.probabilities, frames.predicted)
    by_video = estimate_accuracy(*args, frames.groups, seed=0)
    by_row = estimate_accuracy(*args, np.arange(len(frames.groups)), seed=0)
    assert by_video.accuracy == pytest.approx(by_row.accuracy)
    assert by_video.high - by_video.low > 2 * (by_row.high - by_row.low)


def test_without_labels_nothing_is_measured():
    reference, production = both_sets()
    blind = type(production)(production.probabilities, None, None, production.groups)
    fitted = fit_bias_corrected(log_probabilities(reference.probabilities), reference.labels)
    found = accuracies(reference, blind, fitted, PRODUCTION, seed=0)
    assert found.measured is None
    assert found.reference == pytest.approx(np.mean(reference.predicted == reference.labels))
