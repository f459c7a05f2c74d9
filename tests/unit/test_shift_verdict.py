"""The table of verdicts, and how p-values get there."""

import pytest

from orchestrator.shift.verdict import answer, verdict_of

SURE, NONE = 0.001, 0.9


@pytest.mark.parametrize(
    ("alone", "mix", "look", "without", "with_labels"),
    [
        (False, False, False, "no shift found", "no shift found"),
        (False, True, False, "label shift", "label shift"),
        (False, True, True, "label shift", "label shift"),
        (False, False, True, "covariate shift", "covariate shift"),
        (True, False, False, "covariate shift", "covariate shift"),
        (True, False, True, "covariate shift", "covariate shift"),
        (True, True, True, "not label shift alone", "both"),
        (True, True, False, "not label shift alone", "both"),
    ],
)
def test_the_table(alone, mix, look, without, with_labels):
    assert verdict_of(alone, mix, look, labelled=False) == without
    assert verdict_of(alone, mix, look, labelled=True) == with_labels


def test_p_values_are_adjusted_within_a_question():
    found = answer((0.04, 0.5, 0.3), 0.2, (0.03, 0.6), labelled=False)
    assert found.not_label_shift_alone == pytest.approx(0.12)
    assert found.mix_of_classes == 0.2
    assert found.look_of_images == pytest.approx(0.06)
    assert answer((0.9, 0.8), NONE, (NONE,), labelled=False).not_label_shift_alone == 1


@pytest.mark.parametrize(
    ("p_values", "verdict"),
    [
        # The smallest is held against a third of 3 %, the next against half, the last against all.
        ((NONE, 0.011, NONE), "no shift found"),
        ((NONE, 0.009, NONE), "label shift"),
        ((NONE, SURE, 0.02), "label shift"),
        ((0.016, SURE, NONE), "label shift"),
        ((0.014, SURE, NONE), "both"),
        ((0.029, SURE, SURE), "both"),
        ((0.031, SURE, SURE), "label shift"),
        ((0.02, 0.02, 0.02), "no shift found"),
    ],
)
def test_three_questions_do_not_make_three_chances_of_a_false_alarm(p_values, verdict):
    alone, mix, look = p_values
    assert answer((alone,), mix, (look,), labelled=True).verdict == verdict
