"""Calibrations are found again, gradients are right, bins count as stated."""

import numpy as np
import pytest
from scipy.special import softmax

from orchestrator.shift.calibration import (
    MAX_TEMPERATURE,
    Calibration,
    apply,
    expected_calibration_error,
    fit_bias_corrected,
    fit_temperature,
    reliability_table,
    resample,
)

NUM_CLASSES = 4


def labelled(num_rows=4000, temperature=1.0, bias=0.0, seed=0):
    """Logits whose calibrated form is softmax(logits / temperature + bias)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(num_rows, NUM_CLASSES)) * temperature
    true = softmax(logits / temperature + bias, axis=1)
    labels = (true.cumsum(axis=1) < rng.random((num_rows, 1))).sum(axis=1)
    return logits, np.minimum(labels, NUM_CLASSES - 1)


def loss(calibration, logits, labels):
    return -np.log(apply(calibration, logits)[np.arange(len(labels)), labels]).mean()


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_found_again(temperature):
    fitted = fit_temperature(*labelled(temperature=temperature))
    # Standard error of the temperature with these 4,000 rows: about 2.5 %.
    assert fitted.temperature == pytest.approx(temperature, rel=0.08)
    assert fitted.bias == (0.0,) * NUM_CLASSES
    assert not fitted.at_bound


def test_known_biases_are_found_again():
    bias = np.array([0.6, -0.2, 0.3, -0.7])
    fitted = fit_bias_corrected(*labelled(temperature=2.0, bias=bias))
    assert fitted.temperature == pytest.approx(2.0, rel=0.08)
    assert fitted.bias == pytest.approx(bias, abs=0.15)


def test_after_bias_correction_the_mean_output_is_the_share_of_each_class():
    logits, labels = labelled(num_rows=500, temperature=2.0, bias=np.array([1, 0, 0, -1]))
    fitted = fit_bias_corrected(logits, labels)
    shares = np.bincount(labels) / len(labels)
    assert apply(fitted, logits).mean(axis=0) == pytest.approx(shares, abs=1e-6)


def test_no_neighbour_of_the_fit_is_better():
    logits, labels = labelled(num_rows=300, temperature=1.7, bias=np.array([0.5, 0, 0, 0]))
    fitted = fit_bias_corrected(logits, labels)
    best = loss(fitted, logits, labels)
    for factor in (0.99, 1.01):
        other = Calibration(fitted.temperature * factor, fitted.bias, False)
        assert loss(other, logits, labels) > best
    for k in range(NUM_CLASSES):
        bias = np.array(fitted.bias) + 0.01 * np.eye(NUM_CLASSES)[k]
        assert loss(Calibration(fitted.temperature, tuple(bias), False), logits, labels) > best


def test_logits_and_log_probabilities_give_one_calibration():
    logits, labels = labelled(num_rows=500)
    from_logs = fit_bias_corrected(np.log(softmax(logits, axis=1)), labels)
    fitted = fit_bias_corrected(logits, labels)
    assert from_logs.temperature == pytest.approx(fitted.temperature, abs=1e-6)
    assert from_logs.bias == pytest.approx(fitted.bias, abs=1e-6)


def test_a_set_without_an_error_ends_at_the_bound_and_says_so():
    weak = np.eye(NUM_CLASSES)[[0, 1, 2, 3] * 10] / 2
    fitted = fit_temperature(weak, weak.argmax(axis=1))
    assert fitted.temperature == pytest.approx(1 / MAX_TEMPERATURE)
    assert fitted.at_bound
    # Strong logits have no gradient left long before the bound.
    assert fit_temperature(weak * 10, weak.argmax(axis=1)).at_bound


def test_one_newton_step_gives_what_a_fit_to_the_resampled_rows_gives():
    logits, labels = labelled(num_rows=2000, temperature=1.5, bias=np.array([0.4, 0, 0, -0.4]))
    group = np.arange(len(labels)) // 10
    counts = np.random.default_rng(1).multinomial(200, np.full(200, 1 / 200), size=5)
    fitted = fit_bias_corrected(logits, labels)
    stepped = resample(fitted, logits, labels, group, counts.astype(float))
    for weights, one in zip(counts, stepped, strict=True):
        rows = np.repeat(np.arange(len(labels)), weights[group])
        refitted = fit_bias_corrected(logits[rows], labels[rows])
        # The spread of the temperature over resamples is 0.05: a tenth of that.
        assert one.temperature == pytest.approx(refitted.temperature, abs=0.005)
        assert one.bias == pytest.approx(refitted.bias, abs=0.01)


def test_a_fit_at_its_bounds_is_the_same_in_every_resample():
    fitted = Calibration(1 / MAX_TEMPERATURE, (0.0, 0.0), True)
    nothing = np.zeros((3, 2))
    assert (
        resample(fitted, nothing, np.zeros(3, int), np.zeros(3, int), np.ones((2, 1)))
        == [fitted] * 2
    )


@pytest.mark.parametrize("bins", ["equal width", "equal mass"])
def test_the_table_counts_every_row_once_and_its_gaps_make_the_error(bins):
    logits, labels = labelled(temperature=3.0)
    probabilities = softmax(logits, axis=1)
    table = reliability_table(probabilities, labels, bins=bins)
    assert sum(row.count for row in table) == len(labels)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    for row in table:
        inside = (confidence > row.low) & (confidence <= row.high)
        assert row.count == inside.sum()
        assert row.accuracy == pytest.approx(right[inside].mean())
        assert row.mean_confidence == pytest.approx(confidence[inside].mean())
    gaps = sum(row.count * abs(row.accuracy - row.mean_confidence) for row in table)
    error = expected_calibration_error(probabilities, labels, bins=bins)
    assert error == pytest.approx(gaps / len(labels))


def test_bins_of_equal_mass_hold_about_as_many_rows_each():
    logits, labels = labelled()
    table = reliability_table(softmax(logits, axis=1), labels, bins="equal mass", num_bins=10)
    assert [row.count for row in table] == pytest.approx([400] * 10, abs=1)


def test_a_worked_example_of_the_error():
    # Two bins are hit: 0.9 said, 1/2 right; 0.6 said, all right. (2 * 0.4 + 2 * 0.4) / 4.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    error = expected_calibration_error(probabilities, np.array([0, 1, 0, 1]))
    assert error == pytest.approx(0.4)


def test_one_confidence_for_all_rows_is_one_bin():
    probabilities = np.tile([1.0, 0.0], (7, 1))
    for bins in ("equal width", "equal mass"):
        (row,) = reliability_table(probabilities, np.zeros(7, int), bins=bins)
        assert (row.count, row.accuracy, row.high) == (7, 1.0, 1.0)


def test_temperature_scaling_mends_an_overconfident_model():
    logits, labels = labelled(temperature=3.0)
    new_logits, new_labels = labelled(temperature=3.0, seed=1)
    before = expected_calibration_error(softmax(new_logits, axis=1), new_labels)
    fitted = fit_temperature(logits, labels)
    after = expected_calibration_error(apply(fitted, new_logits), new_labels)
    assert after < 0.03 < 0.1 < before
