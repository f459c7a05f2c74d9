"""What the end of a Ray Train run means for the slot whose run it was.

SLOT, or the driver of `train`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ray.exceptions import NodeDiedError, RayActorError, RayError, WorkerCrashedError
from ray.exceptions import OutOfMemoryError as NodeOutOfMemoryError
from ray.train.v2._internal.exceptions import (
    RayTrainError,
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from ray.train.v2.api.exceptions import ControllerError, PreemptionError, WorkerGroupError
from torch.distributed import DistBackendError

from orchestrator.config.errors import (
    NoRoomError,
    OrchestratorError,
    SlotError,
    StorageError,
)
from orchestrator.training.memory import LOWER_ON_NODE, no_memory

LOSSES = (
    RayActorError,
    NodeDiedError,
    WorkerCrashedError,
    WorkerHealthCheckTimeoutError,
    PreemptionError,
    DistBackendError,
)
AROUND = (OSError, ImportError, RayError, RayTrainError, OrchestratorError)
"""Files, packages and processes: what may be mended without a change of what is trained."""
WORDS_OF_DEVICES = ("CUDA", "cuDNN", "CUBLAS", "NCCL", "gloo", "timed out", "timeout")
"""In errors of devices and networks, which have no class of their own."""
LOW_MEMORY = "running low on memory"
HUNG_UP = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")
LOST_WORKER = (
    "slot: its workers must live while they train{}; one died or lost its node (a system that is out of "
    "memory kills without a word: if it happens again, lower batch_size or resources.slots)"
)


def slot_error(
    failure: Exception | None, no_room: Callable[[], str], batch: str = ""
) -> SlotError | StorageError:
    """What the end of a Train run means: whether a new one can be expected to fare better.

    At once it may where a process was lost. Some day it may where memory did not suffice, or where
    device, network or files failed it. It must fail again where the workers' own code raised while
    an experiment was at work; before, it is the slot that cannot start, whatever it is to train.
    Storage that a worker does not see is its own error, as no other slot would fare better.

    Args:
        failure: of the run; None where it ended by itself.
        no_room: says that its workers did not start in time.
        batch: of the experiment at work, in words; "" before any has begun.
    """
    causes = _causes(failure)
    detail = "\n\n".join(dict.fromkeys(str(error) for error in (failure, *causes) if error))
    if any(isinstance(cause, WorkerGroupStartupTimeoutError) for cause in causes):
        return NoRoomError(no_room(), detail=detail)
    for cause in causes:
        if isinstance(cause, StorageError):
            return cause
        if message := out_of_memory(cause, batch):
            return SlotError(message, retryable=False, detail=detail)
    if any(_is_loss(cause) for cause in causes):
        got = f"; got {batch}" if batch else ""
        return SlotError(LOST_WORKER.format(got), retryable=True, detail=detail)
    said = [line for cause in causes for line in str(cause).strip().splitlines()[-1:]]
    message = "; ".join(dict.fromkeys(said)) or "its Train run ended by itself"
    final = bool(batch and _of_workers(failure)) and all(map(_is_own_fault, causes))
    return SlotError(f"slot: {message}", retryable=False, detail=detail, final=final)


def out_of_memory(cause: BaseException, batch: str) -> str:
    """What to do about memory that does not suffice, the device's or the node's; "" if it does."""
    if isinstance(cause, WorkerHealthCheckFailedError):
        return out_of_memory(cause.health_check_failure, batch)
    if isinstance(cause, NodeOutOfMemoryError) or LOW_MEMORY in str(cause):
        got = f"got {batch}; " if batch else ""
        return (
            f"resources: the slots of a node must fit its memory; {got}Ray killed a worker, as the "
            f"node ran low. {LOWER_ON_NODE}"
        )
    return no_memory(cause, batch)


def _is_loss(cause: BaseException) -> bool:
    """Whether a process or node is gone, or a worker lost the connection to one that is."""
    if isinstance(cause, WorkerHealthCheckFailedError):
        return _is_loss(cause.health_check_failure)
    if isinstance(cause, LOSSES):
        return True
    return isinstance(cause, RuntimeError) and any(word in str(cause) for word in HUNG_UP)


def _is_own_fault(cause: BaseException) -> bool:
    """Whether an error of a worker's code is of what it trains, and of nothing around it."""
    if isinstance(cause, AROUND) or not isinstance(cause, Exception):
        return False
    return not any(word in str(cause) for word in WORDS_OF_DEVICES)


def _of_workers(failure: Exception | None) -> Mapping[int, Exception]:
    """What the workers' code raised, by rank."""
    return failure.worker_failures if isinstance(failure, WorkerGroupError) else {}


def _causes(failure: Exception | None) -> list[BaseException]:
    if of_workers := _of_workers(failure):
        return list(of_workers.values())
    if isinstance(failure, ControllerError):
        return [failure.controller_failure]
    return [failure] if failure is not None else []
