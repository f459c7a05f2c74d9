import pytest

from orchestrator.dashboard.slot_activity import SlotActivity, epoch_seconds
from tests.unit.fake_study import epoch, head


def at(record, second, slot="slot-0"):
    return {**record, "slot": slot, "time": f"2026-01-01T00:00:{second:02d}+00:00"}


def activity(*records):
    seen = SlotActivity()
    for record in records:
        seen.add(record)
    return seen


def test_a_slot_is_busy_from_the_begin_of_its_first_epoch():
    seen = activity(at(epoch("a", 1, 0.1), 10), at(epoch("b", 1, 0.1), 20))
    slot = seen.slots["slot-0"]
    assert (slot.lineage, slot.epoch, slot.seconds) == ("b", 1, 11.0)
    assert slot.until_s - slot.since_s == pytest.approx(15.5)


def test_the_pace_is_of_all_slots_together():
    records = [at(epoch("a", k, 0.1), 10 + 2 * k, f"slot-{k % 2}") for k in range(1, 5)]
    assert activity(*records).per_epoch_s() == pytest.approx(2.0)


def test_one_epoch_tells_no_pace():
    assert activity(at(epoch("a", 1, 0.1), 10)).per_epoch_s() is None


def test_a_new_command_has_new_slots():
    study = {**head(), "resources": {"slots": 3}}
    seen = activity(at(epoch("a", 1, 0.1), 10), study)
    assert seen.slots == {}
    assert seen.num_planned == 3
    assert seen.per_epoch_s() is None


def test_a_record_without_a_readable_time_does_no_harm():
    assert activity({**epoch("a", 1, 0.1), "time": "yesterday"}).slots["slot-0"].until_s == 0


def test_phases_that_are_no_numbers_do_not_count():
    assert epoch_seconds({"seconds": {"train": 2.0, "evaluate": "long"}}) == 2.0
    assert epoch_seconds({"seconds": "long"}) == 0.0
