"""The share of slot time spent training, from times and seconds that the ledger has."""

from datetime import UTC, datetime

import pytest

from orchestrator.results.utilisation import KIND, Utilisation
from tests.unit import fake_study


def epoch(slot: str, lineage: str, ended_s: float, trained_s: float = 10.0) -> dict:
    record = fake_study.epoch(lineage, 1, 0.5)
    record["metrics"]["seconds"] = {"train": trained_s - 1, "evaluate": 1.0}
    time = datetime.fromtimestamp(1_000_000 + ended_s, UTC).isoformat(timespec="milliseconds")
    return {**record, "slot": slot, "time": time}


def of(*records: dict) -> Utilisation:
    found = Utilisation()
    for record in records:
        found.add(record)
    return found


def test_the_share_is_training_over_the_time_from_the_first_epoch_to_the_last():
    found = of(epoch("a", "x", 100), epoch("a", "x", 112), epoch("b", "y", 50), epoch("b", "y", 60))
    # a: 20 of 22 seconds; b: 20 of 20; how long before that they started does not count
    assert found.share() == pytest.approx(40 / 42)
    assert found.gap_s() is None, "no slot began a second training"


def test_an_epoch_that_a_checkpoint_had_is_no_time_of_this_command():
    """However many are handed out at once, they were trained before."""
    found = [epoch("a", "x", 100 + n / 10) | {"found": True} for n in range(3)]
    used = of(*found, epoch("a", "x", 112))
    assert used.share() == pytest.approx(10 / 12)
    assert used.record()["trained_s"] == 10.0


def test_what_an_epoch_waits_for_its_checkpoint_is_no_training_and_no_gap():
    records = [epoch("a", "x", 100), epoch("a", "y", 120)]
    for record in records:
        record["metrics"]["seconds"]["checkpoint"] = 5.0
    found = of(*records)
    assert found.share() == pytest.approx(20 / 35)
    assert found.gap_s() == pytest.approx(5.0)


def test_the_time_until_a_dead_slot_is_replaced_is_not_lost():
    planned = fake_study.head() | {"resources": {"slots": 2}}
    lived = [epoch("slot-0", "x", 10), epoch("slot-1", "y", 25), epoch("slot-0", "x", 20)]
    # slot-2 goes on with the training of slot-1: 20 of its 135 seconds; slot-0 is slow, and lives.
    used = of(planned, *lived, epoch("slot-2", "y", 150), epoch("slot-0", "x", 151))
    assert used.num_slots() == 2
    assert used.share() == pytest.approx((30 + 20) / (151 + 135))
    assert used.gap_s() is None, "no slot began a second training"
    # With another training it takes the place of the one that has been silent longest.
    other = of(planned, *lived, epoch("slot-2", "z", 150))
    assert (other.num_slots(), other.gap_s()) == (2, pytest.approx(120.0))
    assert of(*lived, epoch("slot-2", "z", 150)).num_slots() == 3, "no plan says how many there are"


def test_a_slot_on_a_node_that_came_later_takes_nobodys_place():
    planned = fake_study.head() | {"resources": {"slots": 4}}
    died = [epoch("slot-0", "x", 10), epoch("slot-1", "y", 10), epoch("slot-2", "y", 20)]
    came = [epoch("slot-3", "z", 1000), epoch("slot-4", "w", 1000)]
    used = of(planned, *died, *came)
    assert used.num_slots() == 4
    assert used.share() == pytest.approx(50 / 50)


def test_the_gap_is_from_the_end_of_a_training_to_the_next_ones_first_step():
    found = of(epoch("a", "x", 10), epoch("a", "y", 20.2), epoch("a", "z", 30.6))
    assert found.gap_s() == pytest.approx(0.3)
    assert found.record() == {
        "record": KIND,
        "slots": 1,
        "share": pytest.approx(30 / 30.6),
        "trained_s": 30.0,
        "gap_s": pytest.approx(0.3),
        "gaps": 2,
    }
    (line,) = found.lines()
    assert line.startswith("utilisation slots trained 98.0% of the time")
    assert "0.30 s between two trainings (median of 2)" in line


def test_a_command_that_trained_nothing_says_nothing():
    found = of(fake_study.head(), fake_study.trial(0, "x"), fake_study.end(0))
    assert found.lines() == ()
    assert found.share() is None
