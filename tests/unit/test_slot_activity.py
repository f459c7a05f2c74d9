import pytest

from orchestrator.dashboard.slot_activity import SlotActivity, epoch_seconds
from tests.unit.fake_study import begin, epoch, head, unbegun


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


def test_a_slot_is_shown_with_what_it_begins_and_is_not_busy_before_it_has_trained():
    seen = activity(at(begin("a", at=3), 4))
    slot = seen.slots["slot-0"]
    assert (slot.lineage, slot.epoch, slot.since_s) == ("a", 3, None)
    assert slot.busy_share(slot.until_s + 10, at_work=True) is None
    seen.add(at(epoch("a", 4, 0.1), 30))
    seen.add(at(begin("b"), 31))
    slot = seen.slots["slot-0"]
    assert (slot.lineage, slot.epoch, slot.seconds, slot.begins) == ("b", 0, 5.5, True)
    assert slot.busy_share(slot.until_s + 3, at_work=True) == pytest.approx(8.5 / 9.5)


def test_a_slot_that_found_no_room_is_none_unless_it_has_trained():
    seen = activity(
        at(begin("a"), 1), at(begin("b"), 1, "slot-1"), at(epoch("b", 1, 0.1), 9, "slot-1")
    )
    seen.add(at(begin("c"), 10, "slot-1"))
    for lineage, slot in (("a", "slot-0"), ("c", "slot-1")):
        seen.add(at(unbegun(lineage), 20, slot))
    assert [(name, slot.lineage) for name, slot in seen.slots.items()] == [("slot-1", "")]


def test_a_slot_that_never_trained_gives_way_to_the_one_that_begins_in_its_place():
    seen = activity(at(begin("a"), 1, "slot-0"), at(begin("b"), 1, "slot-1"))
    seen.add(at(epoch("b", 1, 0.1), 9, "slot-1"))
    seen.add(at(begin("a"), 10, "slot-2"))
    seen.add(at(begin("b", at=1), 11, "slot-3"))
    trains = {name: slot.lineage for name, slot in seen.slots.items()}
    assert trains == {"slot-1": "", "slot-2": "a", "slot-3": "b"}, "what has trained is kept"


def test_an_epoch_at_work_counts_for_as_long_as_the_one_before_it_took():
    (slot,) = activity(at(epoch("a", 1, 0.1), 10), at(epoch("a", 2, 0.1), 16)).slots.values()
    assert slot.seconds == 11.0
    shares = [slot.busy_share(slot.until_s + s, at_work=True) for s in (0, 5.5, 11)]
    assert shares == pytest.approx([11 / 11.5, 16.5 / 17, 16.5 / 22.5])
    assert slot.busy_share(slot.until_s + 5.5, at_work=False) == pytest.approx(11 / 17)
    assert slot.busy_share(slot.since_s, at_work=True) == pytest.approx(11 / 11.5), "a clock is off"


def test_an_epoch_that_a_checkpoint_had_took_none_of_the_slots_time():
    found = at(epoch("a", 1, 0.1), 10) | {"found": True}
    slot = activity(found, at(epoch("a", 2, 0.1), 16)).slots["slot-0"]
    assert (slot.seconds, slot.until_s - slot.since_s) == (5.5, 6.0)
    handed_out = [at(epoch("a", k, 0.1), 10) | {"found": True} for k in range(1, 5)]
    trained = [at(epoch("a", k, 0.1), 10 + 6 * k) for k in (5, 6)]
    assert activity(*handed_out, *trained).per_epoch_s() == pytest.approx(6.0)


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
