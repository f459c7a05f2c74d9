"""What was done to the drawn faces is what the analysis finds, with a classifier that was fitted."""

from functools import cache

import pytest

from benchmarks.drawn_shift import CASES, drawn_cases
from orchestrator.shift.diagnosis import diagnose


@cache
def cases():
    return drawn_cases(train_subjects=40, subjects=40)


@pytest.mark.parametrize(("domain", "wanted"), CASES.items())
def test_each_kind_of_shift_is_named(domain, wanted):
    reference, productions = cases()
    found = diagnose(reference, productions[domain], seed=0)
    assert found.verdict == wanted
    if domain in ("covariate_shift", "production"):
        assert found.without_labels.verdict in ("not label shift alone", "covariate shift")
    else:
        assert found.without_labels.verdict in ("no shift found", "label shift")
