"""What runs the slots, with slots that sleep: real actors, Ray Tune, searcher and ledger."""

import pytest

from benchmarks.bench_scale import sleep_through
from benchmarks.sleeping_slot import ENDED, STARTED
from orchestrator.tuning.ledger import LEDGER, read_records

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

NUM_SLOTS = 4
TUNE_WOULD_WAIT_S = 10.0


def pids(folder, file):
    return sorted((folder / file).read_text().split())


def test_slots_that_end_together_all_stay_warm(tmp_path):
    """Of those that wait for a next leg Tune keeps one by itself, and ends the others."""
    sleep_through(tmp_path, 40, NUM_SLOTS, epoch_s=0.2)
    ends = [record for record in read_records(tmp_path / LEDGER) if record["record"] == "end"]
    assert [record["state"] for record in ends] == ["finished"] * 40
    assert len(pids(tmp_path, STARTED)) == NUM_SLOTS


def test_at_the_end_slots_may_take_longer_than_tune_would_wait(tmp_path):
    """They may still write a checkpoint to a slow storage."""
    sleep_through(tmp_path, 10, 2, epoch_s=0.0, linger_s=TUNE_WOULD_WAIT_S + 3)
    assert pids(tmp_path, ENDED) == pids(tmp_path, STARTED)
