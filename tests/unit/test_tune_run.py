"""What Tune is told of the study: an epoch is recorded before it is judged. No Ray is started."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.config.errors import NoRoomError
from orchestrator.config.home import Home
from orchestrator.tuning.lineages import Leg
from orchestrator.tuning.tune_run import Dispatcher, Recorder, SlotEvents


class FakeStudy:
    """Wants two epochs of each lineage."""

    def __init__(self) -> None:
        self.recorded: list = []

    def record_epoch(self, lineage, metrics, slot, *, wanted_name, notes, weights, found) -> None:
        self.recorded.append((lineage, metrics["epoch"], slot, wanted_name, notes, weights, found))

    def is_over(self, lineage) -> bool:
        return len([name for name, *_ in self.recorded if name == lineage]) == 2


def result(epoch: int) -> dict:
    said = {
        "metrics": json.dumps({"epoch": epoch}),
        "notes": json.dumps(["passed over"][epoch - 1 :]),
        "weights": ["each layer", ""][epoch - 1],
        "found": epoch == 1,
    }
    return {"lineage": "a", "slot": "node:1", "name": "slot-0", **said}


def test_a_leg_ends_with_the_epoch_after_which_no_trial_wants_another():
    study = FakeStudy()
    recorder = Recorder(study)
    assert [recorder("leg", result(1)), recorder("leg", result(2))] == [False, True]
    slot = ("node:1", "slot-0")
    assert study.recorded == [
        ("a", 1, *slot, ["passed over"], "each layer", True),
        ("a", 2, *slot, [], "", False),
    ]
    assert not recorder.stop_all()


def test_a_failure_is_no_epoch():
    study = FakeStudy()
    assert not Recorder(study)("leg", {"lineage": "a", "failed": "loss: must be finite"})
    assert study.recorded == []


def test_once_it_is_asked_to_a_leg_ends_with_the_epoch_it_is_in():
    study, asked = FakeStudy(), []
    recorder = Recorder(study, lambda: bool(asked))
    asked.append("Ctrl-C")
    assert recorder("leg", result(1))
    assert len(study.recorded) == 1


class Queue:
    """A study of some lineages, each of one leg."""

    home = Home(Path("study"))

    def __init__(self, *waiting: str) -> None:
        self.waiting, self.failed, self.broken, self.recorded = list(waiting), [], None, {}

    def next_leg(self) -> Leg | None:
        return Leg(self.waiting.pop(0), {}, 0, (), 1, ((1, 0),), ()) if self.waiting else None

    def num_waiting(self) -> int:
        return len(self.waiting)

    def finished(self) -> bool:
        return not self.waiting

    def recorded_epoch(self, lineage: str) -> int:
        return self.recorded.get(lineage, 0)

    def end_leg(self, lineage: str, failure=None, *, is_gone=False) -> None:
        self.failed += [lineage] if failure else []
        self.reasons = [*getattr(self, "reasons", ()), failure] if failure else []

    def stop(self, error) -> None:
        self.broken = error


class Again(Queue):
    """A leg that ends without having been trained waits again."""

    untrained = True

    def end_leg(self, lineage: str, failure=None, *, is_gone=False) -> None:
        super().end_leg(lineage, failure, is_gone=is_gone)
        self.waiting += [lineage] if self.untrained else []


class Slots:
    """There may be as many as at the start, less those that could not start."""

    def __init__(self, number: int) -> None:
        self.number = number

    def num_slots(self, wanted: int, running: int) -> int:
        return self.number

    def could_not_start(self) -> None:
        self.number = max(1, self.number - 1)


NO_ROOM = {"failed": "resources: must be ready", "detail": "", "retry": True, "no_room": True}


def dispatched(study: Queue, number: int, restarts: int = 2) -> tuple[Dispatcher, Slots]:
    slots = Slots(number)
    return Dispatcher(study, slots.num_slots, slots.could_not_start, restarts=restarts), slots


def test_a_slot_that_cannot_start_fails_no_trial_and_gets_no_other():
    study = Again("a", "b", "c")
    dispatcher, _ = dispatched(study, 2)
    assert [dispatcher.suggest(name)["lineage"] for name in "12"] == ["a", "b"]
    dispatcher.on_trial_complete("2", NO_ROOM)
    assert study.waiting == ["c", "b"]
    assert (study.failed, study.broken) == ([], None)
    assert dispatcher.suggest("3") is None, "the healthy slot is at work, and is the only one"
    study.untrained = False
    for trial, lineage in (("1", "c"), ("3", "b")):
        dispatcher.on_trial_complete(trial, {"lineage": "done"})
        following = "3" if trial == "1" else "4"
        assert dispatcher.suggest(following)["lineage"] == lineage
    assert (study.failed, study.broken) == ([], None)


def test_a_study_ends_with_an_error_when_no_slot_can_start():
    study = Again("a", "b")
    dispatcher, _ = dispatched(study, 2)
    dispatcher.suggest("1")
    dispatcher.suggest("2")
    dispatcher.on_trial_complete("1", NO_ROOM)
    assert study.broken is None
    dispatcher.on_trial_complete("2", NO_ROOM)
    assert isinstance(study.broken, NoRoomError)
    assert study.failed == []


def test_a_slot_that_idles_with_its_workers_is_tried_before_the_study_ends():
    study = Again("a")
    dispatcher, _ = dispatched(study, 2)
    study.untrained = False
    dispatcher.suggest("1")
    dispatcher.on_trial_complete("1", {"lineage": "a"})
    study.untrained, study.waiting = True, ["b"]
    for trial, ended in (("2", False), ("3", True)):
        dispatcher.suggest(trial)
        dispatcher.on_trial_complete(trial, NO_ROOM)
        assert (study.broken is not None) == ended


@pytest.mark.parametrize(("restarts", "failed"), [(2, ["b", "c"]), (0, ["a", "b", "c"])])
def test_a_leg_that_got_on_in_the_last_life_of_its_slot_waits_for_another(restarts, failed):
    study = Again("a", "b", "c")
    dispatcher, _ = dispatched(study, 3, restarts)
    for name in "123":
        dispatcher.suggest(name)
        dispatcher.begun(name)
    study.recorded = {"a": 1, "c": 1}
    dispatcher.begun("3")  # replaced once, and then it trained nothing
    for name in "123":
        dispatcher.on_trial_complete(name, error=True)
        dispatcher.end_lost(name, "killed")
    assert study.failed == failed


def test_the_slot_that_begins_a_leg_is_known_by_its_actor():
    begun = []
    study = SimpleNamespace(record_begin=lambda *said: begun.append(said))
    lives = []
    events = SlotEvents(study, SimpleNamespace(begun=lives.append))
    config = {"lineage": "a", "number": 3}
    actor = SimpleNamespace(_actor_id=bytes([1, 171]))
    events.on_trial_start(
        iteration=1,
        trials=[],
        trial=SimpleNamespace(
            trial_id="1", config=config, temporary_state=SimpleNamespace(ray_actor=actor)
        ),
    )
    # Kept elsewhere: nothing is said.
    events.on_trial_start(trial=SimpleNamespace(trial_id="2", config=config))
    assert begun == [("a", "01ab", "slot-3")]
    assert lives == ["1", "2"]


def test_a_slot_that_died_for_good_fails_its_trial_with_what_ray_says_of_it(tmp_path):
    study = Queue("a", "b", "c")
    dispatcher, _ = dispatched(study, 3)
    for name in "123":
        dispatcher.suggest(name)
    dispatcher.on_trial_complete("1", error=True)
    assert study.failed == [], "why is said right after"
    (tmp_path / "error.txt").write_text("Traceback\nRayActorError: its worker was killed\n")
    said = SlotEvents(study, dispatcher)
    said.on_trial_error(trial=SimpleNamespace(trial_id="1", error_file=str(tmp_path / "error.txt")))
    (failure,) = study.reasons
    assert failure.reason.endswith("Ray says: RayActorError: its worker was killed")
    assert failure.detail.startswith("Traceback")
    assert failure.retry
    dispatcher.on_trial_complete("2", error=True)
    said.on_trial_error(trial=SimpleNamespace(trial_id="2", error_file=str(tmp_path / "none")))
    dispatcher.on_trial_complete("3", error=True)
    dispatcher.suggest("4")  # and nobody has said why
    said.on_trial_error(trial=SimpleNamespace(trial_id="3", error_file=None))
    assert study.failed == ["a", "b", "c"]
    assert all("Ray's logs" in failure.detail for failure in study.reasons[1:])
