"""A run that is kept up: which epochs are handed out, whatever a checkpoint says."""

from types import SimpleNamespace

import pytest

from orchestrator.config.errors import NoRoomError, SlotError, StorageError
from orchestrator.training import steady_run
from orchestrator.training.steady_run import SteadyRun, Task

PLAN = SimpleNamespace(workers=4, min_workers=0)


class Run:
    """Stands for warm workers whose newest checkpoint is that of `epoch`."""

    def __init__(self, epoch: int, dies_at: int = 0, grows_at: int = -1) -> None:
        self.epoch, self.dies_at, self.grows_at, self.asked = epoch, dies_at, grows_at, []

    def ask(self, command):
        self.asked.append(command["kind"])
        if command["kind"] == "begin":
            history = [{"epoch": n + 1} for n in range(self.epoch)]
            notes = [f"from epoch {self.epoch}"]
            begun = {"kind": "begun", "history": history, "notes": notes}
            return begun | {"weights": "each layer", "weights_read": True}
        if command["kind"] == "settle":
            return {"kind": "settled", "epoch": self.epoch}
        if self.dies_at == self.epoch + 1:
            raise SlotError("slot: died", retryable=True)
        self.epoch += 1
        return {"kind": "epoch", "metrics": {"epoch": self.epoch}}

    def could_grow(self) -> bool:
        return self.grows_at == self.epoch

    def wait_ready(self) -> None:
        pass

    def stop(self, timeout_s: float) -> None:
        pass


def task() -> Task:
    return Task(experiment={}, lineage="any", folder="", milestones=(), ends=(), keep_best=False)


def epochs(run: Run, known: int, number: int, monkeypatch) -> list[int]:
    monkeypatch.setattr(steady_run, "WarmRun", lambda *_: run)
    steady = SteadyRun("any", PLAN, {}, 0)
    steady.take(task(), known_epoch=known)
    return [int(steady.next_epoch()["epoch"]) for _ in range(number)]


def test_epochs_follow_each_other_from_the_newest_checkpoint(monkeypatch):
    assert epochs(Run(0), 0, 3, monkeypatch) == [1, 2, 3]
    assert epochs(Run(5), 3, 4, monkeypatch) == [4, 5, 6, 7]


def test_it_says_which_epochs_a_checkpoint_had_and_which_were_trained_now(monkeypatch):
    monkeypatch.setattr(steady_run, "WarmRun", lambda *_: Run(2))
    steady = SteadyRun("any", PLAN, {}, 0)
    steady.take(task(), known_epoch=0)
    handed_out = [(steady.next_epoch()["epoch"], steady.was_found) for _ in range(3)]
    assert handed_out == [(1, True), (2, True), (3, False)]


def test_no_epoch_is_handed_out_twice_where_the_newest_checkpoint_was_damaged(monkeypatch):
    assert epochs(Run(4), 5, 2, monkeypatch) == [6, 7]


def runs(monkeypatch, *several: Run, restarts: int = 0) -> SteadyRun:
    """One run after another, each of which dies."""
    made = iter(several)
    monkeypatch.setattr(steady_run, "WarmRun", lambda *_: next(made))
    steady = SteadyRun("any", PLAN, {}, restarts)
    steady.take(task(), known_epoch=0)
    return steady


def test_an_epoch_whose_checkpoint_died_with_its_process_is_not_handed_out_again(monkeypatch):
    steady = runs(monkeypatch, Run(0, dies_at=3), Run(1), restarts=1)
    assert [steady.next_epoch()["epoch"] for _ in range(3)] == [1, 2, 3]
    assert steady.new_notes() == ["from epoch 0", "from epoch 1"]
    assert steady.new_notes() == []
    assert (steady.new_weights(), steady.new_weights()) == ("each layer", "")


def test_a_long_training_may_lose_a_process_before_each_epoch_but_not_twice(monkeypatch):
    dying = [Run(epoch, dies_at=epoch + 2) for epoch in range(3)]
    steady = runs(monkeypatch, *dying, Run(3), restarts=1)
    assert [steady.next_epoch()["epoch"] for _ in range(4)] == [1, 2, 3, 4]
    steady = runs(monkeypatch, Run(0, dies_at=2), Run(1, dies_at=2), Run(1), restarts=1)
    assert steady.next_epoch()["epoch"] == 1
    with pytest.raises(SlotError):
        steady.next_epoch()


def test_settling_trains_once_more_what_was_handed_out_and_lost(monkeypatch):
    class Dying(Run):
        def ask(self, command):
            if command["kind"] == "settle":
                raise SlotError("slot: died", retryable=True)
            return super().ask(command)

    steady = runs(monkeypatch, Dying(0), Run(1), restarts=1)
    assert [steady.next_epoch()["epoch"] for _ in range(3)] == [1, 2, 3]
    assert steady.settle() == {"kind": "settled", "epoch": 3}


def test_where_lost_workers_fit_again_a_new_run_goes_on_from_what_was_saved(monkeypatch):
    reduced = Run(0, grows_at=2)
    steady = runs(monkeypatch, reduced, Run(2))
    assert [steady.next_epoch()["epoch"] for _ in range(3)] == [1, 2, 3]
    assert reduced.asked == ["begin", "epoch", "epoch", "settle"]


def started(monkeypatch, fitting: int, room: int) -> tuple[list[int], SteadyRun]:
    """The sizes that are tried of one to four workers where Ray speaks of room for `fitting`."""
    tried = []

    class Crowded(Run):
        def wait_ready(self) -> None:
            if tried[-1] > room:
                raise NoRoomError("resources: must be ready")

    def make(_name, _plan, _datasets, workers):
        tried.append(workers)
        return Crowded(0)

    monkeypatch.setattr(steady_run, "WarmRun", make)
    monkeypatch.setattr(steady_run, "workers_that_fit", lambda _: fitting)
    steady = SteadyRun("any", SimpleNamespace(workers=4, min_workers=1), {}, 0)
    steady.take(task(), known_epoch=0)
    return tried, steady


def test_where_another_slot_took_the_room_it_starts_with_the_fewest_workers(monkeypatch):
    tried, steady = started(monkeypatch, fitting=3, room=2)
    assert steady.next_epoch()["epoch"] == 1
    assert tried == [3, 1]


def test_where_not_even_the_fewest_workers_have_room_it_says_so(monkeypatch):
    tried, steady = started(monkeypatch, fitting=3, room=0)
    with pytest.raises(NoRoomError):
        steady.next_epoch()
    assert tried == [3, 1]


def test_a_run_that_cannot_even_be_abandoned_is_not_waited_for(monkeypatch):
    class Stuck(Run):
        def abandon(self) -> None:
            raise KeyboardInterrupt

        def stop(self, timeout_s: float) -> None:
            raise AssertionError("its workers would first end their epoch")

    steady = runs(monkeypatch, Stuck(0))
    steady.begin()
    with pytest.raises(KeyboardInterrupt):
        steady.abandon()
    steady.stop()


def test_a_run_whose_storage_is_not_shared_is_ended_not_tried_again(monkeypatch):
    ended = []

    class Stranger(Run):
        def wait_ready(self) -> None:
            raise StorageError("storage: must be the same folder")

        def stop(self, timeout_s: float) -> None:
            ended.append(timeout_s)

    steady = runs(monkeypatch, Stranger(0), restarts=3)
    with pytest.raises(StorageError):
        steady.next_epoch()
    assert len(ended) == 1
