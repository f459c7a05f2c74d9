"""Which ends of a Train run a new one can mend."""

import pickle
import re

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
from orchestrator.training.memory import batch_words
from orchestrator.training.run_end import slot_error


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


def test_workers_that_ray_train_could_not_start_in_time_had_no_room():
    error = slot_error(ControllerError(WorkerGroupStartupTimeoutError(2)), said)
    assert isinstance(error, NoRoomError)
    assert str(error) == said()
