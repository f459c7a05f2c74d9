"""Which ends of a Train run a new one can mend."""

import time
from types import SimpleNamespace

import pytest
import torch
from ray.exceptions import ActorDiedError, NodeDiedError
from ray.train.v2._internal.exceptions import (
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from orchestrator.training import warm_run
from orchestrator.training.warm_run import WarmRun, slot_error


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
    error = slot_error(failure)
    assert error.retryable
    assert str(error).startswith("slot: its workers must live")
    assert error.detail


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
    assert not slot_error(failure).retryable


def test_the_message_ends_with_the_last_line_of_the_cause_and_the_detail_has_it_all():
    error = slot_error(
        group_error(ValueError("a traceback\nof many lines\nValueError: wrong value"))
    )
    assert str(error) == "slot: ValueError: wrong value"
    assert "of many lines" in error.detail


@pytest.fixture
def reduced(monkeypatch) -> WarmRun:
    """A run with one worker of two that asked for more a while ago; room is always found."""
    run = WarmRun.__new__(WarmRun)
    run._plan = SimpleNamespace(workers=2, cpus_per_worker=3, gpus_per_worker=1)
    run._num_workers, run._asked_s = 1, time.monotonic() - warm_run.GROW_EVERY_S
    monkeypatch.setattr(warm_run, "fits_now", lambda wanted: wanted == {"CPU": 3.0, "GPU": 1})
    return run


def test_a_run_that_lost_workers_asks_for_room_once_in_a_while(reduced):
    assert reduced.could_grow()
    assert not reduced.could_grow(), "it has just asked"


def test_a_whole_run_never_asks(reduced):
    reduced._num_workers = 2
    assert not reduced.could_grow()


@pytest.mark.parametrize(("fewest", "asked"), [(0, 4), (4, 4), (1, (1, 4)), (3, (3, 4))])
def test_ray_train_is_elastic_only_where_there_is_a_range(fewest, asked):
    assert warm_run._worker_range(SimpleNamespace(workers=4, min_workers=fewest)) == asked
