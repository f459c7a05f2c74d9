"""A change of the mix is seen, chance is not, by labels and by outputs."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.simulated_shift import EVEN, PRODUCTION, REFERENCE, Videos, draw
from orchestrator.shift.prior_change import prior_change_test

NUM_DRAWS = 100
MOST_ALARMS = 0.05 + 3 * (0.05 * 0.95 / NUM_DRAWS) ** 0.5
"""An exact test at 5 %, and three standard errors, for several figures are looked at."""


def p_value(videos, other, priors, by_labels, number):
    rng = np.random.default_rng([number, 10])
    first, second = draw(rng, videos, REFERENCE), draw(rng, other, priors)
    return prior_change_test(first, second, by_labels=by_labels, seed=number, num_permutations=99)


@pytest.mark.parametrize("by_labels", [True, False])
@pytest.mark.parametrize(
    ("videos", "other"),
    [
        (Videos(100), Videos(100)),
        (Videos(30, 8, 0.9, 0), Videos(30, 8, 0.9, 0)),
        # Every third frame kept on one side: videos weigh the same all the same.
        (Videos(60, 5, 0.9, 0), Videos(15, 15, 0.9, 0)),
    ],
)
def test_one_mix_raises_few_alarms(videos, other, by_labels):
    alarms = [p_value(videos, other, REFERENCE, by_labels, n) <= 0.05 for n in range(NUM_DRAWS)]
    assert np.mean(alarms) <= MOST_ALARMS


@pytest.mark.parametrize("by_labels", [True, False])
def test_another_mix_is_seen(by_labels):
    frames = Videos(400, 3)
    assert all(p_value(frames, frames, PRODUCTION, by_labels, n) <= 0.05 for n in range(5))


def test_labels_are_needed_to_compare_them():
    reference = draw(np.random.default_rng(0), Videos(50), EVEN)
    blind = replace(reference, labels=None)
    assert prior_change_test(reference, blind, by_labels=False, seed=0) > 0.05
    with pytest.raises(ValueError, match="needs labels"):
        prior_change_test(reference, blind, by_labels=True, seed=0)
