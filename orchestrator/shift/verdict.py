"""From p-values to words. PURE.

Three questions, each answered by one test or several:

1. Does label shift alone fail to explain production?
2. Has the mix of classes changed?
3. Do the images look different to the model at all?

Within a question p-values are Bonferroni-adjusted for its tests, across the three by Holm: where
nothing has shifted, a shift is found in at most `ALPHA` of all analyses. Then

| 1 | 2 | 3 | verdict |
|---|---|---|---|
| no | no | no | no shift found |
| no | yes | | label shift |
| no | no | yes | covariate shift |
| yes | no | | covariate shift |
| yes | yes | | both (by labels), not label shift alone (by outputs) |

The last line is why labels matter: a covariate shift changes the outputs as well, and no test
without labels can tell whether the mix of classes changed besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

ALPHA = 0.03
"""Level of all decisions. Not 5 %: of 200 analyses without a shift an exact test at 5 % finds one
in more than ten almost as often as not; at 3 % that happens four times in a hundred."""

Verdict = Literal[
    "no shift found", "label shift", "covariate shift", "both", "not label shift alone"
]


@dataclass(frozen=True)
class Answers:
    """p-values of the three questions, adjusted within each, and what they add up to."""

    not_label_shift_alone: float
    mix_of_classes: float
    look_of_images: float
    verdict: Verdict


def answer(
    not_label_shift_alone: tuple[float, ...],
    mix_of_classes: float,
    look_of_images: tuple[float, ...],
    *,
    labelled: bool,
) -> Answers:
    """Puts the tests together.

    Args:
        not_label_shift_alone: p-values of tests that label shift explains production.
        mix_of_classes: Of the test that the mix is the same.
        look_of_images: Of tests that the images look the same to the model.
        labelled: Whether the mix was compared by labels.
    """
    alone_p, look_p = _bonferroni(not_label_shift_alone), _bonferroni(look_of_images)
    alone, mix, look = _holm([alone_p, mix_of_classes, look_p])
    verdict = verdict_of(alone, mix, look, labelled=labelled)
    return Answers(alone_p, mix_of_classes, look_p, verdict)


def verdict_of(
    not_label_shift_alone: bool, mix_of_classes: bool, look_of_images: bool, *, labelled: bool
) -> Verdict:
    """The table above."""
    if not_label_shift_alone and mix_of_classes:
        return "both" if labelled else "not label shift alone"
    if mix_of_classes:
        return "label shift"
    return "covariate shift" if not_label_shift_alone or look_of_images else "no shift found"


def _bonferroni(p_values: tuple[float, ...]) -> float:
    return min(1.0, min(p_values) * len(p_values))


def _holm(p_values: Sequence[float]) -> list[bool]:
    """Which are rejected, by Holm's step-down (Scandinavian Journal of Statistics 6(2), 1979)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    rejected = [False] * len(p_values)
    for place, number in enumerate(order):
        if p_values[number] * (len(p_values) - place) > ALPHA:
            break
        rejected[number] = True
    return rejected
