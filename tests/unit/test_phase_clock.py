import itertools

import pytest
import torch

from orchestrator.training import phase_clock as module
from orchestrator.training.phase_clock import (
    MAX_PENDING,
    CudaTimeline,
    PhaseClock,
    WallTimeline,
    phase_clock,
)


def ticking(*moments):
    """A clock on a wall that shows these moments one after another."""
    return PhaseClock(WallTimeline(iter(moments).__next__))


class FakeEvent:
    """An event of a GPU that does one millisecond of work between two marks."""

    made = 0
    recorded = itertools.count()
    reached = 0

    def __init__(self):
        FakeEvent.made += 1

    def record(self, stream):
        assert stream == "the stream of cuda:3"
        self.at = next(FakeEvent.recorded)

    def query(self):
        return self.at < FakeEvent.reached

    def synchronize(self):
        FakeEvent.reached = max(FakeEvent.reached, self.at + 1)

    def elapsed_time(self, later):
        assert self.query(), "a distance is asked for before the GPU is there"
        assert later.query()
        return float(later.at - self.at)


@pytest.fixture
def gpu_clock(monkeypatch):
    FakeEvent.made, FakeEvent.reached, FakeEvent.recorded = 0, 0, itertools.count()
    monkeypatch.setattr(
        module.torch.cuda, "current_stream", lambda device: f"the stream of {device}"
    )
    return PhaseClock(CudaTimeline(torch.device("cuda:3"), FakeEvent))


def test_a_lap_counts_what_ran_since_the_last_one():
    clock = ticking(10.0, 11.0, 14.0)
    clock.skip()
    clock.lap("augment")
    clock.lap("forward")
    assert clock.read() == {"augment": 1.0, "forward": 3.0}


def test_laps_of_one_phase_are_summed_and_skipped_time_is_nobodys():
    clock = ticking(0.0, 1.0, 3.0, 7.0)
    clock.skip()
    clock.lap("forward")
    clock.skip()
    clock.lap("forward")
    assert clock.read() == {"forward": 5.0}


def test_time_before_the_first_mark_is_nobodys():
    clock = ticking(5.0, 8.0)
    clock.lap("ingest")
    clock.lap("augment")
    assert clock.read() == {"augment": 3.0}


def test_reading_starts_anew_so_that_time_between_epochs_does_not_count():
    clock = ticking(0.0, 1.0, 100.0, 102.0)
    clock.skip()
    clock.lap("forward")
    clock.read()
    clock.skip()
    clock.lap("forward")
    assert clock.read() == {"forward": 2.0}


def test_a_clock_that_was_not_used_has_no_phases():
    assert PhaseClock().read() == {}


def test_the_cpus_clock_shows_the_time_that_passed():
    clock = phase_clock(torch.device("cpu"))
    clock.skip()
    clock.lap("forward")
    assert clock.read()["forward"] >= 0


def test_a_gpu_is_asked_for_distances_only_after_it_has_been_waited_for(gpu_clock):
    gpu_clock.skip()
    for _ in range(3):
        gpu_clock.lap("forward")
        gpu_clock.lap("backward")
    assert FakeEvent.reached == 0  # no lap waited
    assert gpu_clock.read() == pytest.approx({"forward": 0.003, "backward": 0.003})


def test_a_gpus_events_are_used_again_in_the_next_epoch(gpu_clock):
    for _ in range(5):
        gpu_clock.skip()
        gpu_clock.lap("forward")
        gpu_clock.read()
    assert FakeEvent.made == 2


def test_a_long_epoch_on_a_gpu_keeps_a_bounded_number_of_events(gpu_clock):
    gpu_clock.skip()
    for step in range(5 * MAX_PENDING):
        FakeEvent.reached = max(0, step - 10)  # the GPU follows ten laps behind
        gpu_clock.lap("forward")
    assert FakeEvent.made <= MAX_PENDING + 3
    assert gpu_clock.read()["forward"] == pytest.approx(5 * MAX_PENDING / 1000)
