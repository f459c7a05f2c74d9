import pytest

from orchestrator.results.hyperparameters import shown_values, varied_kinds
from orchestrator.results.study_fold import fold
from tests.unit.fake_study import head, trial


def kinds(*values):
    """Of one path with these values, a trial each."""
    trials = [trial(k, f"l{k}", values={"path": value}) for k, value in enumerate(values)]
    return varied_kinds(fold([head(), *trials])).get("path")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((0.1, 0.2), "number"),
        ((1, 2.5), "number"),
        ((True, False), "bool"),
        (("sgd", "adam"), "string"),
        ((1, "many"), "string"),
        ((True, 1), "string"),
        ((None, 0.1), "number"),
        ((0.1, 0.1), None),
        ((None, None), None),
    ],
)
def test_a_path_that_differs_has_the_kind_of_all_its_values(values, kind):
    assert kinds(*values) == kind


def test_values_that_cannot_be_shown_are_left_out_and_words_are_made_printable():
    values = {"a": None, "b": float("inf"), "c": "x\x1b[31m\ud800y", "d": 0.5, "e": False}
    assert shown_values(values) == {"c": "xy", "d": 0.5, "e": False}
