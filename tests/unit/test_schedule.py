"""The learning rate is the closed form that is stated, whatever was asked before."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.training.schedule import Schedule

STEPS = 10  # an epoch


def factors(schedule: Schedule, epochs: int) -> list[float]:
    return [schedule.factor(step, STEPS) for step in range(epochs * STEPS)]


def test_constant_is_one_from_the_first_step():
    assert factors(Schedule(), 3) == [1.0] * 30


def test_warm_up_rises_evenly_and_reaches_one_with_its_last_step():
    found = factors(Schedule(warmup_epochs=2), 3)
    assert found[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert found[19:] == [1.0] * 11


def test_a_fraction_of_an_epoch_warms_up():
    assert factors(Schedule(warmup_epochs=0.25), 1)[:4] == pytest.approx([0.4, 0.8, 1.0, 1.0])


def test_cosine_starts_at_one_is_half_at_half_and_ends_just_above_zero():
    found = factors(Schedule("cosine", epochs=4), 4)
    assert (found[0], found[20]) == (1.0, pytest.approx(0.5))
    assert found[-1] == pytest.approx((1 + math.cos(math.pi * 39 / 40)) / 2)
    assert 0 < found[-1] < 0.002


def test_cosine_begins_where_warm_up_ends():
    found = factors(Schedule("cosine", warmup_epochs=1, epochs=3), 3)
    assert found[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert found[10:] == pytest.approx([(1 + math.cos(math.pi * k / 20)) / 2 for k in range(20)])


def test_only_cosine_knows_how_many_epochs_there_will_be():
    short, long = (Schedule("constant", 1.5, epochs) for epochs in (2, 9))
    assert factors(short, 2) == factors(long, 2)
    short, long = (Schedule("cosine", 1.5, epochs) for epochs in (2, 9))
    assert factors(short, 2) != factors(long, 2)


@given(
    st.sampled_from(["constant", "cosine"]),
    st.floats(0, 20),
    st.integers(1, 9),
    st.integers(1, 40),
    st.integers(0, 500),
)
def test_it_never_leaves_zero_to_one(kind, warmup, epochs, steps_per_epoch, step):
    assert 0 <= Schedule(kind, warmup, epochs).factor(step, steps_per_epoch) <= 1
