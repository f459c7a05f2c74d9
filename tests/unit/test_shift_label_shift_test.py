"""Label shift alone is not called anything else; what it cannot explain is seen."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.simulated_shift import EVEN, PRODUCTION, REFERENCE, Change, Videos, draw
from orchestrator.config.errors import DatasetError
from orchestrator.shift.label_shift_test import label_shift_test

SINGLE_IMAGES = Videos(200)
FRAMES = Videos(40, 5)
ONE_CLASS_A_VIDEO = Videos(40, 5, likeness=0.9, mixed=0)
NUM_DRAWS = 40
MOST_ALARMS = 0.05 + 3 * (0.05 * 0.95 / NUM_DRAWS) ** 0.5
"""A test at 5 %, and three standard errors, for several figures are looked at: what
benchmarks/bench_shift_null.py measures closely, this guards."""


def p_value(videos, production_priors, change, of, number):
    rng = np.random.default_rng([number, 7])
    reference = draw(rng, videos, REFERENCE)
    production = draw(rng, videos, production_priors, change)
    while len(np.unique(reference.labels)) < 6:
        reference = draw(rng, videos, REFERENCE)
    found = label_shift_test(reference, production, of=of, seed=number, num_resamples=99)
    return found.p_value


@pytest.mark.parametrize("of", ["outputs", "features"])
@pytest.mark.parametrize("videos", [SINGLE_IMAGES, FRAMES, ONE_CLASS_A_VIDEO])
def test_label_shift_alone_raises_few_alarms(videos, of):
    alarms = [
        p_value(videos, PRODUCTION, Change(), of, number) <= 0.05 for number in range(NUM_DRAWS)
    ]
    assert np.mean(alarms) <= MOST_ALARMS


@pytest.mark.parametrize(
    ("of", "videos", "change"),
    [
        ("outputs", Videos(600), Change(moved=0.5)),
        ("outputs", Videos(300, 6), Change(shrunk=0.6)),
        ("features", Videos(100, 6), Change(moved=0.5)),
        ("features", Videos(100, 6), Change(shrunk=0.6)),
    ],
)
def test_a_covariate_shift_is_seen_below_a_label_shift(of, videos, change):
    assert all(p_value(videos, PRODUCTION, change, of, number) <= 0.05 for number in range(3))


def test_the_same_seed_gives_the_same_answer_and_production_labels_play_no_part():
    rng = np.random.default_rng(0)
    reference, production = (draw(rng, SINGLE_IMAGES, EVEN) for _ in range(2))
    found = label_shift_test(reference, production, of="outputs", seed=4)
    blind = replace(production, labels=None)
    assert label_shift_test(reference, blind, of="outputs", seed=4) == found
    assert label_shift_test(reference, blind, of="outputs", seed=5) != found


def test_a_class_of_one_video_is_named_and_its_spread_borrowed():
    rng = np.random.default_rng(0)
    reference = draw(rng, Videos(200, 2, mixed=0), EVEN)
    last = reference.labels == 5
    lone = replace(reference, groups=np.where(last, 10_000, reference.groups))
    production = draw(rng, Videos(200, 2, mixed=0), EVEN)
    found = label_shift_test(lone, production, of="features", seed=0)
    assert found.classes_of_one_group == (5,)
    assert found.p_value > 0.05


def test_one_production_video_is_never_enough_to_reject():
    rng = np.random.default_rng(0)
    reference = draw(rng, SINGLE_IMAGES, EVEN)
    production = draw(rng, SINGLE_IMAGES, EVEN, Change(moved=3.0))
    one = replace(production, groups=np.zeros(200))
    assert label_shift_test(reference, production, of="features", seed=0).p_value == 1 / 500
    assert label_shift_test(reference, one, of="features", seed=0).p_value == 1.0


def test_outputs_that_are_all_alike_are_no_shift():
    flat = replace(draw(np.random.default_rng(0), SINGLE_IMAGES, EVEN), features=np.ones((200, 3)))
    assert label_shift_test(flat, flat, of="features", seed=0).p_value > 0.05


def test_missing_labels_or_features_are_named():
    rng = np.random.default_rng(0)
    reference = draw(rng, SINGLE_IMAGES, EVEN)
    with pytest.raises(DatasetError, match=r"reference\.labels"):
        label_shift_test(replace(reference, labels=None), reference, of="outputs", seed=0)
    with pytest.raises(ValueError, match="needs features"):
        label_shift_test(reference, replace(reference, features=None), of="features", seed=0)
