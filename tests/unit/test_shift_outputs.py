"""Arrays that do not belong together, or hold what is no probability, are refused by name."""

import numpy as np
import pytest

from orchestrator.config.errors import DatasetError
from orchestrator.shift.outputs import Outputs, log_probabilities, output_vectors, true_labels

THREE_ROWS = np.array([[0.7, 0.3], [0.2, 0.8], [0.5, 0.5]])


def outputs(probabilities=THREE_ROWS, features=None, labels=None, groups=("a", "a", "b")):
    return Outputs(probabilities, features, labels, np.array(groups))


def test_rows_that_sum_to_one_in_half_precision_are_normalised_in_float64():
    rough = (THREE_ROWS * 1.0004).astype(np.float32)
    kept = outputs(rough).probabilities
    assert kept.dtype == np.float64
    assert kept.sum(axis=1) == pytest.approx(1, abs=1e-15)


def test_the_decision_is_the_most_likely_class():
    assert outputs().predicted[:2].tolist() == [0, 1]
    assert outputs().num_classes == 2


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"probabilities": np.array([0.4, 0.6])}, "probabilities: shape"),
        ({"probabilities": np.ones((3, 1))}, "probabilities: shape"),
        ({"probabilities": np.zeros((0, 2)), "groups": ()}, "probabilities: shape"),
        ({"probabilities": THREE_ROWS * 2}, "probabilities: rows"),
        ({"probabilities": THREE_ROWS - 0.3}, "probabilities: rows"),
        ({"probabilities": np.full((3, 2), np.nan)}, "probabilities: rows"),
        ({"groups": ("a", "b")}, r"groups: one row an image \(3\); got 2"),
        ({"features": np.zeros((2, 4))}, "features: one row an image"),
        ({"features": np.full((3, 4), np.inf)}, "features: finite"),
        ({"labels": np.array([0, 1])}, "labels: one row an image"),
        ({"labels": np.array([0, 1, 2])}, r"labels: whole numbers from 0 to 1; got \[0, 1, 2\]"),
        ({"labels": np.array([0, 1, -1])}, "labels: whole numbers"),
        ({"labels": np.array([0, 1, 0.5])}, "labels: whole numbers"),
    ],
)
def test_what_does_not_fit_is_named(arrays, named):
    with pytest.raises(DatasetError, match=named):
        outputs(**arrays)


def test_a_reference_without_labels_or_without_a_class_is_refused():
    with pytest.raises(DatasetError, match=r"reference\.labels: needed"):
        true_labels(outputs(), "reference")
    with pytest.raises(DatasetError, match=r"reference\.labels: rows of every class.*class 1"):
        true_labels(outputs(labels=np.array([0, 0, 0])), "reference")


def test_labels_come_back_as_int64_from_a_column_of_int8():
    labels = true_labels(outputs(labels=np.array([0, 1, 1], dtype=np.int8)), "reference")
    assert labels.dtype == np.int64


def test_a_probability_of_zero_has_a_finite_logarithm():
    sure = np.array([[1.0, 0.0]])
    assert np.isfinite(log_probabilities(sure)).all()
    assert output_vectors(sure).sum() == pytest.approx(0, abs=1e-12)


def test_output_vectors_do_not_tell_tails_apart():
    one, other = output_vectors(np.array([[1 - 1e-5, 1e-5], [1 - 1e-9, 1e-9]]))
    assert one == pytest.approx(other, abs=1e-4)
