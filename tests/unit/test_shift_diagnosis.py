"""The three cases are told apart, and the answer goes into JSON."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from benchmarks.simulated_shift import PRODUCTION, REFERENCE, Change, Videos, draw
from orchestrator.config.errors import DatasetError
from orchestrator.shift.diagnosis import answers, diagnose, gather

FRAMES = Videos(100, 4)
CASES = {
    "nothing": (REFERENCE, Change()),
    "label": (PRODUCTION, Change()),
    "covariate": (REFERENCE, Change(moved=0.8, shrunk=0.7)),
    "both": (PRODUCTION, Change(moved=0.8, shrunk=0.7)),
}


def sets(case="nothing"):
    rng = np.random.default_rng(13)
    return draw(rng, FRAMES, REFERENCE), draw(rng, FRAMES, *CASES[case])


@cache
def diagnosed(case):
    return diagnose(*sets(case), seed=0)


def without_labels(outputs):
    return replace(outputs, labels=None)


@pytest.mark.parametrize(
    ("case", "blind", "verdict"),
    [
        ("nothing", "no shift found", "no shift found"),
        ("label", "label shift", "label shift"),
        ("covariate", "not label shift alone", "covariate shift"),
        ("both", "not label shift alone", "both"),
    ],
)
def test_each_case_is_named_without_and_with_labels(case, blind, verdict):
    found = diagnosed(case)
    assert found.without_labels.verdict == blind
    assert found.with_labels.verdict == found.verdict == verdict


def test_labels_of_production_change_nothing_of_what_is_known_without_them():
    reference, production = sets("label")
    labelled, blind = diagnosed("label"), diagnose(reference, without_labels(production), seed=0)
    assert blind.without_labels == labelled.without_labels
    assert blind.priors.em == labelled.priors.em
    assert blind.accuracy.estimated == labelled.accuracy.estimated
    assert blind.verdict == blind.without_labels.verdict
    assert blind.with_labels is blind.evidence.recall is blind.priors.production is None
    assert blind.accuracy.measured is blind.calibration.production_error is None


def test_outputs_alone_are_enough():
    reference, production = (replace(one, features=None) for one in sets("label"))
    evidence = gather(reference, without_labels(production), seed=0)
    assert [test.of for test in evidence.label_shift] == ["outputs"]
    found, checked = answers(evidence)
    assert (found.verdict, checked) == ("label shift", None)


def test_the_numbers_are_those_of_the_sets():
    (reference, production), found = sets("label"), diagnosed("label")
    assert found.num_rows == (len(reference.labels), len(production.labels))
    assert found.num_groups == (100, 100)
    shares = np.bincount(production.labels, minlength=6) / len(production.labels)
    assert found.priors.production == pytest.approx(shares)
    assert found.accuracy.measured == np.mean(production.predicted == production.labels)
    assert found.calibration.reference_error_calibrated < found.calibration.reference_error


def test_the_answer_goes_into_json_and_is_the_same_every_time():
    text = json.dumps(diagnosed("both").to_dict(), allow_nan=False)
    assert text == json.dumps(diagnose(*sets("both"), seed=0).to_dict(), allow_nan=False)
    assert json.loads(text)["verdict"] == "both"


def test_tiny_sets_give_an_answer_and_no_certainty():
    rng = np.random.default_rng(0)
    reference = draw(rng, Videos(40), np.full(6, 1 / 6))
    few = draw(rng, Videos(2), REFERENCE, Change(moved=3.0))
    one = replace(few, groups=np.zeros(2))
    for production in (few, one):
        found = diagnose(reference, production, seed=0)
        json.dumps(found.to_dict(), allow_nan=False)
        assert found.evidence.recall.verdict == "label shift alone is possible"


def test_sets_of_two_models_are_refused():
    reference, production = sets()
    with pytest.raises(DatasetError, match=r"production\.features: as wide"):
        diagnose(reference, replace(production, features=production.features[:, :3]), seed=0)
    five = production.probabilities[:, :5] / production.probabilities[:, :5].sum(1, keepdims=True)
    with pytest.raises(DatasetError, match=r"production\.probabilities: as many classes"):
        diagnose(reference, replace(production, probabilities=five, labels=None), seed=0)
    with pytest.raises(DatasetError, match=r"reference\.labels: needed"):
        diagnose(without_labels(reference), production, seed=0)
