"""Which ends of a Train run a new one can mend."""

import pickle
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from ray.exceptions import ActorDiedError, NodeDiedError, OutOfMemoryError, RayActorError
from ray.train.v2._internal.exceptions import (
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from orchestrator.config.errors import NoRoomError, SlotError, StorageError
from orchestrator.training import warm_run
from orchestrator.training.memory import batch_words
from orchestrator.training.pulse import Beat
from orchestrator.training.warm_run import LOOK_EVERY_S, Movement, WarmRun, end_process, slot_error


def said() -> str:
    return "resources: a slot's 2 workers must be ready"


def group_error(*causes: Exception) -> WorkerGroupError:
    return WorkerGroupError("they died", dict(enumerate(causes)))


@pytest.mark.parametrize(
    "failure",
    [
        group_error(WorkerHealthCheckFailedError("check failed", ActorDiedError())),
        group_error(WorkerHealthCheckTimeoutError("no answer")),
        group_error(NodeDiedError("gone")),
        group_error(RuntimeError("[gloo] Connection closed by peer [127.0.0.1]:1234")),
        group_error(ValueError("a bug"), WorkerHealthCheckFailedError("x", ActorDiedError())),
        ControllerError(ActorDiedError()),
    ],
)
def test_a_process_or_node_that_is_gone_is_replaced(failure):
    error = slot_error(failure, said)
    assert error.retryable
    assert str(error).startswith("slot: its workers must live while they train; one died")
    assert error.detail
    assert f"while they train; got {BATCH}; one died" in str(slot_error(failure, said, BATCH))


def test_storage_that_a_worker_does_not_see_is_an_error_of_its_own():
    """No other slot would fare better: the study ends, and says what to mend."""
    unseen = StorageError("storage: /runs must be the same folder on every node")
    assert (
        slot_error(group_error(RuntimeError("Connection closed by peer"), unseen), said) is unseen
    )


@pytest.mark.parametrize(
    "failure",
    [
        group_error(ValueError("wrong value")),
        group_error(RuntimeError("mat1 and mat2 shapes cannot be multiplied")),
        group_error(torch.OutOfMemoryError("CUDA out of memory")),
        None,
    ],
)
def test_a_bug_or_too_little_memory_is_not_tried_again_at_once(failure):
    assert not slot_error(failure, said).retryable


KILLED_FOR_MEMORY = (
    "1 worker(s) were killed due to the node running low on memory. Memory on the node was 30 GB"
)


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (
            group_error(
                torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")
            ),
            r"batch_size: must fit .* Tried to allocate 2 GiB\. Lower batch_size$",
        ),
        (group_error(OutOfMemoryError(KILLED_FOR_MEMORY)), "Lower batch_size, resources"),
        (
            group_error(WorkerHealthCheckFailedError("x", OutOfMemoryError(KILLED_FOR_MEMORY))),
            "Ray killed a worker, as the node ran low",
        ),
        (
            group_error(WorkerHealthCheckFailedError("x", RayActorError("a", KILLED_FOR_MEMORY))),
            "Ray killed a worker, as the node ran low",
        ),
    ],
)
def test_too_little_memory_says_what_to_lower_and_is_not_tried_again(failure, says):
    error = slot_error(failure, said)
    assert re.search(says, str(error))
    assert not error.retryable


BATCH = batch_words(4096, 2)


@pytest.mark.parametrize(
    "cause",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"),
        OutOfMemoryError(KILLED_FOR_MEMORY),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
            "memory: you tried to allocate 4 bytes. Error code 12 (Cannot allocate memory)\nmore"
        ),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."),
        MemoryError(),
    ],
)
def test_too_little_memory_names_the_batch_of_all_workers_and_of_each(cause):
    error = slot_error(group_error(cause, RuntimeError("Connection closed by peer")), said, BATCH)
    assert "got batch_size=4096, about 2048 on each of 2 workers; " in str(error)
    assert "Lower batch_size" in str(error)
    assert "more" not in str(error)
    assert not error.retryable


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
    run._num_answers, run._plan = 0, plan
    run._mailbox = SimpleNamespace(answer=SimpleNamespace(remote=lambda number: number))
    monkeypatch.setattr(warm_run.ray, "wait", lambda pending, timeout: (pending, []))
    monkeypatch.setattr(warm_run.ray, "get", gone)
    with pytest.raises(SlotError, match="its mailbox must live") as caught:
        run.wait_ready()
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("failure", "final"),
    [
        (group_error(ValueError("wrong value")), True),
        (group_error(RuntimeError("mat1 and mat2 shapes cannot be multiplied")), True),
        (group_error(ValueError("wrong value"), NodeDiedError("gone")), False),
        (group_error(torch.OutOfMemoryError("CUDA out of memory")), False),
        (group_error(OutOfMemoryError(KILLED_FOR_MEMORY)), False),
        (group_error(RuntimeError("CUDA error: unspecified launch failure")), False),
        (group_error(ValueError("wrong value"), RuntimeError("NCCL error")), False),
        (group_error(FileNotFoundError("a mount is gone")), False),
        (group_error(ImportError("libcublas.so")), False),
        (group_error(SlotError("slot: worker 0 must start once")), False),
        (WorkerGroupError("NCCL hangs", {}), False),
        (ControllerError(ValueError("of Ray's own")), False),
        (None, False),
    ],
)
def test_what_must_fail_again_is_the_experiments_own_fault_and_not_that_of_what_is_around_it(
    failure, final
):
    assert slot_error(failure, said, BATCH).final == final
    assert not slot_error(failure, said).final, "no experiment was at work"


def test_what_must_fail_again_is_known_after_pickling():
    error = pickle.loads(pickle.dumps(slot_error(group_error(ValueError("x")), said, BATCH)))
    assert (error.final, error.retryable, error.detail) == (True, False, error.detail)


def test_the_message_ends_with_the_last_line_of_the_cause_and_the_detail_has_it_all():
    error = slot_error(
        group_error(ValueError("a traceback\nof many lines\nValueError: wrong value")), said
    )
    assert str(error) == "slot: ValueError: wrong value"
    assert "of many lines" in error.detail


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


def test_workers_that_ray_train_could_not_start_in_time_had_no_room():
    error = slot_error(ControllerError(WorkerGroupStartupTimeoutError(2)), said)
    assert isinstance(error, NoRoomError)
    assert str(error) == said()


class Clock:
    """Time that a test moves; what is looked for in vain stands still."""

    def __init__(self) -> None:
        self.now_s, self.beats = 0.0, {"0": Beat(5, "aa", 1), "1": Beat(5, "aa", 2)}

    def __call__(self) -> float:
        return self.now_s

    def look(self, run: str) -> dict[str, Beat]:
        assert run == "slot-7-1"
        if self.beats is None:
            raise ConnectionError("the head does not answer")
        return dict(self.beats)

    def passes(self, moves: Movement, seconds: float) -> float:
        for _ in range(round(seconds)):
            self.now_s += 1
            still_s = moves.still_s()
        return still_s


def test_workers_stand_still_where_no_count_grows_and_ray_says_so():
    clock = Clock()
    moves = Movement("slot-7-1", clock.look, clock)
    assert clock.passes(moves, 60) == 60
    clock.beats["1"] = Beat(6, "aa", 2)
    assert clock.passes(moves, LOOK_EVERY_S) < LOOK_EVERY_S
    for beats in (None, {}):  # Ray does not answer, nobody has said anything
        clock.beats = beats
        assert clock.passes(moves, 120) < LOOK_EVERY_S, "nobody knows"
    clock.beats = {"0": Beat(7, "aa", 1)}
    assert clock.passes(moves, 100) > 70
    assert moves.workers() == [Beat(7, "aa", 1)]


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


def test_only_a_worker_is_ended_and_not_who_has_its_number_by_now():
    sleeps = [sys.executable, "-c", "import time; time.sleep(600)"]
    other, worker = subprocess.Popen(sleeps), subprocess.Popen([*sleeps, "ray::RayTrainWorker"])
    try:
        end_process._function(other.pid)
        end_process._function(worker.pid)
        assert worker.wait(60) == -signal.SIGKILL
        assert other.poll() is None
        end_process._function(worker.pid)  # gone already
    finally:
        other.kill()
        other.wait()
