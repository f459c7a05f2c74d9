"""Priors equal QuaPy's, which is an independent implementation of the same estimators.

What is compared, and how closely:

- EM on given posteriors: QuaPy's `EMQ.EM`, both run to convergence.
- EM on outputs calibrated by bias-corrected temperature scaling: QuaPy's `EMQ` with its "bcts",
  which is the calibration of the method's authors (`abstention`). As QuaPy sets it up it stops
  when a step gains less than 1e-7, which leaves up to 1e-4 in the outputs; told to go on to the
  optimum it is equal. Both are tested.
- BBSE: QuaPy's `PACC` and `BBSEsoft` solved by inversion, equal where the solution has no
  negative prior. Where it has one, QuaPy minimises the same distance over the simplex, but by
  SLSQP on a norm that is not smooth at its end: there ours must be at least as near, and close.
"""

import warnings

import numpy as np
import pytest
from quapy.method.aggregative import EMQ, PACC, BBSEsoft
from sklearn.base import BaseEstimator

from benchmarks.simulated_shift import PRODUCTION, REFERENCE, Videos, draw
from orchestrator.shift.calibration import apply, fit_bias_corrected
from orchestrator.shift.outputs import log_probabilities
from orchestrator.shift.prior_correction import correct_priors
from orchestrator.shift.priors import bbse, bbse_point, bbse_priors, class_means, em, em_priors

with warnings.catch_warnings():
    # It imports scipy.misc, which it does not use.
    warnings.simplefilter("ignore", DeprecationWarning)
    from abstention.calibration import TempScaling

PARITY = 1e-6
EARLY_STOP = 3e-4
"""What the stopping rule of their calibration leaves."""
TO_THE_OPTIMUM = {"options": {"ftol": 0.0, "gtol": 1e-9}}


class Outputs(BaseEstimator):
    """A fitted classifier whose inputs are its outputs."""

    classes_ = np.arange(6)

    def fit(self, outputs, labels):
        raise AssertionError("it is fitted already")

    def __sklearn_is_fitted__(self):
        return True

    def predict_proba(self, outputs):
        return outputs


@pytest.fixture(scope="module", params=range(3))
def sets(request):
    rng = np.random.default_rng(request.param)
    return draw(rng, Videos(3000), REFERENCE), draw(rng, Videos(3000), PRODUCTION)


def fitted(quantifier, reference):
    quantifier.aggregation_fit(reference.probabilities, reference.labels)
    return quantifier


def shares(labels):
    return np.bincount(labels, minlength=6) / len(labels)


def test_em_equals_quapys(sets):
    reference, production = sets
    old = shares(reference.labels)
    theirs, their_posteriors = EMQ.EM(old, production.probabilities, epsilon=1e-12)
    ours = em_priors(production.probabilities, old)
    assert ours == pytest.approx(theirs, abs=PARITY)
    posteriors = correct_priors(production.probabilities, old, ours)
    assert posteriors == pytest.approx(their_posteriors, abs=PARITY)


def their_calibration(reference, **options):
    calibrate = TempScaling(bias_positions="all", **options)
    one_hot = np.eye(6)[reference.labels]
    return calibrate(reference.probabilities, one_hot, posterior_supplied=True)


def test_bias_corrected_calibration_equals_abstentions(sets):
    reference, production = sets
    calibration = fit_bias_corrected(log_probabilities(reference.probabilities), reference.labels)
    ours = apply(calibration, log_probabilities(production.probabilities))
    theirs = their_calibration(reference, lbfgs_kwargs=TO_THE_OPTIMUM)(production.probabilities)
    assert ours == pytest.approx(theirs, abs=PARITY)


def test_em_on_calibrated_outputs_equals_quapys(sets):
    reference, production = sets
    quantifier = EMQ(Outputs(), fit_classifier=False, val_split=None, calib="bcts")
    quantifier.train_prevalence = shares(reference.labels)
    as_they_do = fitted(quantifier, reference).aggregate(production.probabilities, epsilon=1e-12)
    ours = em(reference, production, seed=0, num_resamples=1).priors
    assert ours == pytest.approx(as_they_do, abs=EARLY_STOP)
    calibrated = their_calibration(reference, lbfgs_kwargs=TO_THE_OPTIMUM)
    quantifier.calibration_function = calibrated
    converged = quantifier.aggregate(production.probabilities, epsilon=1e-12)
    assert ours == pytest.approx(converged, abs=PARITY)


@pytest.mark.parametrize("method", [PACC, BBSEsoft])
def test_bbse_equals_quapys_by_inversion(sets, method):
    reference, production = sets
    quantifier = method(Outputs(), fit_classifier=False, val_split=None, solver="exact-raise")
    theirs = fitted(quantifier, reference).aggregate(production.probabilities)
    ours = bbse(reference, production, seed=0, num_resamples=1).priors
    assert min(ours) > 0
    assert ours == pytest.approx(theirs, abs=PARITY)
    assert bbse_point(reference, production) == pytest.approx(theirs, abs=PARITY)


def test_bbse_is_at_least_as_near_as_quapys_where_a_prior_is_zero():
    rng = np.random.default_rng(9)
    reference = draw(rng, Videos(400), REFERENCE)
    production = draw(rng, Videos(400), np.array([0, 0, 0, 0, 0.6, 0.4]))
    quantifier = PACC(Outputs(), fit_classifier=False, val_split=None, solver="minimize")
    theirs = fitted(quantifier, reference).aggregate(production.probabilities)
    sums = np.zeros((6, 6))
    np.add.at(sums, reference.labels, reference.probabilities)
    means = class_means(sums, np.bincount(reference.labels).astype(float))
    mean_output = production.probabilities.mean(axis=0)
    ours = bbse_priors(means, mean_output)
    assert min(ours) == 0
    near = [np.linalg.norm(means @ priors - mean_output) for priors in (ours, theirs)]
    assert near[0] <= near[1]
    assert ours == pytest.approx(theirs, abs=1e-3)
