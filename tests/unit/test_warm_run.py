"""What a run knows of its commands, and when it is given up."""

import time
from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError

from orchestrator.config.errors import SlotError
from orchestrator.training import warm_run
from orchestrator.training.memory import batch_words
from orchestrator.training.movement import Movement
from orchestrator.training.warm_run import WarmRun

BATCH = batch_words(4096, 2)


def test_a_run_knows_the_batch_of_what_it_began_last(monkeypatch):
    run = WarmRun.__new__(WarmRun)
    run._name, run.workers, run._batch = "slot-0", 2, ""
    monkeypatch.setattr(warm_run, "say", lambda *_: None)
    monkeypatch.setattr(warm_run.ray, "get", lambda _: None)
    run._mailbox = SimpleNamespace(put=SimpleNamespace(remote=lambda _: None))
    asked = []
    monkeypatch.setattr(run, "_next_answer", lambda moves: asked.append(moves) or {"kind": "begun"})
    run.ask({"kind": "begin", "lineage": "a", "experiment": {"batch_size": 4096}})
    assert run._batch == BATCH
    run.ask({"kind": "epoch"})
    assert asked[0] is None, "a file of weights may take its time"
    assert isinstance(asked[1], Movement)


def test_a_mailbox_that_is_lost_while_workers_start_is_replaced_too(monkeypatch):
    def gone(_):
        raise RayActorError

    plan = SimpleNamespace(start_timeout_s=60, cpus_per_worker=1, gpus_per_worker=0)
    run = WarmRun.__new__(WarmRun)
    run._num_answers, run._plan, run._room = 0, plan, None
    run._mailbox = SimpleNamespace(answer=SimpleNamespace(remote=lambda number: number))
    monkeypatch.setattr(warm_run.ray, "wait", lambda pending, timeout: (pending, []))
    monkeypatch.setattr(warm_run.ray, "get", gone)
    with pytest.raises(SlotError, match="its mailbox must live") as caught:
        run.wait_ready()
    assert caught.value.retryable


def test_workers_in_which_nothing_moves_are_ended_and_the_run_replaced(monkeypatch):
    ended = []
    run = WarmRun.__new__(WarmRun)
    run._name, run._num_answers, run._plan = "slot-7-1", 0, SimpleNamespace(silence_s=480)
    run._mailbox = SimpleNamespace(answer=SimpleNamespace(remote=lambda _: "pending"))
    run._thread = SimpleNamespace(is_alive=lambda: True)
    monkeypatch.setattr(warm_run.ray, "wait", lambda *_, **__: ([], ["pending"]))
    monkeypatch.setattr(run, "_end_workers", ended.extend)
    moves = SimpleNamespace(still_s=iter([100, 480, 481]).__next__, workers=lambda: ["aa", "bb"])
    with pytest.raises(SlotError, match="must move in it at least every 480 s") as silent:
        run._next_answer(moves=moves)
    assert silent.value.retryable
    assert ended == ["aa", "bb"]


@pytest.fixture
def reduced(monkeypatch) -> WarmRun:
    """A run with one worker of two that asked for more a while ago; room is always found."""
    run = WarmRun.__new__(WarmRun)
    run._plan = SimpleNamespace(workers=2, cpus_per_worker=3, gpus_per_worker=1)
    run.workers, run._asked_s = 1, time.monotonic() - warm_run.GROW_EVERY_S
    monkeypatch.setattr(warm_run, "fits_now", lambda wanted: wanted == [{"CPU": 3.0, "GPU": 1}])
    return run


def test_a_run_that_lost_workers_asks_for_room_once_in_a_while(reduced):
    assert reduced.could_grow()
    assert not reduced.could_grow(), "it has just asked"


def test_where_there_is_no_room_it_is_looked_at_who_holds_it(reduced, monkeypatch):
    looks = []
    reduced._room = SimpleNamespace(look=lambda: looks.append("again"))
    monkeypatch.setattr(warm_run, "fits_now", lambda _: False)
    assert not reduced.could_grow()
    assert looks == ["again"]


def test_a_whole_run_never_asks(reduced):
    reduced.workers = 2
    assert not reduced.could_grow()


@pytest.mark.parametrize("room", range(6))
@pytest.mark.parametrize("fewest", [1, 2, 4])
def test_a_run_starts_with_as_many_workers_as_there_is_room_for(fewest, room, monkeypatch):
    plan = SimpleNamespace(workers=4, min_workers=fewest, cpus_per_worker=1, gpus_per_worker=0)
    monkeypatch.setattr(warm_run, "fits_now", lambda workers: len(workers) <= room)
    assert warm_run.workers_that_fit(plan) == max(fewest, min(room, 4))


def test_a_plan_without_fewest_workers_asks_for_no_room_before_it_starts():
    assert warm_run.workers_that_fit(SimpleNamespace(workers=4, min_workers=0)) == 4
