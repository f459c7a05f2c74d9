"""Bayes' rule, and what it does to decisions."""

import numpy as np
import pytest

from orchestrator.config.errors import ConfigError
from orchestrator.shift.prior_correction import correct_priors

EVEN = np.array([0.5, 0.5])
ROUNDING = 1e-12


def test_a_worked_example():
    # 0.6 : 0.4 with the second class four times as likely as before becomes 0.24 : 0.64.
    corrected = correct_priors(np.array([[0.6, 0.4]]), EVEN, np.array([0.2, 0.8]))
    assert corrected[0] == pytest.approx([0.12 / 0.44, 0.32 / 0.44], abs=ROUNDING)


def test_the_same_priors_change_nothing_and_the_way_back_restores_all():
    rng = np.random.default_rng(0)
    posteriors = rng.dirichlet(np.ones(4), size=50)
    old, new = rng.dirichlet(np.ones(4), size=2)
    assert correct_priors(posteriors, old, old) == pytest.approx(posteriors, abs=ROUNDING)
    there = correct_priors(posteriors, old, new)
    assert there.sum(axis=1) == pytest.approx(1, abs=ROUNDING)
    assert correct_priors(there, new, old) == pytest.approx(posteriors, abs=1e-9)


def test_a_class_that_is_gone_gets_nothing_and_a_row_of_it_alone_gets_the_new_priors():
    posteriors = np.array([[0.6, 0.3, 0.1], [1.0, 0.0, 0.0]])
    corrected = correct_priors(posteriors, np.full(3, 1 / 3), np.array([0.0, 0.5, 0.5]))
    assert corrected[0] == pytest.approx([0, 0.75, 0.25])
    assert corrected[1] == pytest.approx([0, 0.5, 0.5])


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ([0.5, 0.5, 0.0], [0.5, 0.5], "old_priors: one a class"),
        ([0.5, 0.5], [0.5, 0.6], "new_priors: from 0 up, sum 1"),
        ([0.5, 0.5], [-0.5, 1.5], "new_priors: from 0 up, sum 1"),
        ([0.5, 0.5], [np.nan, 1.0], "new_priors: from 0 up, sum 1"),
        ([0.0, 1.0], [0.5, 0.5], "old_priors: each above 0"),
    ],
)
def test_priors_that_are_none_are_refused(old, new, named):
    with pytest.raises(ConfigError, match=named):
        correct_priors(np.array([[0.6, 0.4]]), np.array(old), np.array(new))
