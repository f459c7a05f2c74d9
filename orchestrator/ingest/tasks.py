"""Many Ray tasks, few at a time, and what their failures mean to a user.

DRIVER.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ray

from datasets import SourceError
from orchestrator.config.errors import ConfigError, OrchestratorError
from orchestrator.ingest.reserved import give_back, unused

PER_CORE = 2  # under way at once: one in work, one whose rows are on their way
STALL_S = 600.0
"""In which a task must end: a batch of images takes seconds."""
SETTLES_WITHIN_S = 1.0
"""What a job that has just ended leaves behind may still be on its way out."""
FREED_WITHIN_S = 5.0
"""Processes of an earlier step that have just ended count as busy for a moment."""


def refuse_without_cpu() -> None:
    """A task, ours or Ray Data's, waits for ever, silently, for a CPU that other jobs hold.

    Raises:
        OrchestratorError: No CPU of the cluster is free, nor will be in a moment.
    """
    if ray.available_resources().get("CPU", 0) < 1:
        _give_back_of_dead_jobs()
    deadline_s = time.monotonic() + FREED_WITHIN_S
    while (free := ray.available_resources().get("CPU", 0)) < 1:
        if time.monotonic() > deadline_s:
            raise OrchestratorError(
                f"cluster: must have a free CPU to read the data with; got {free:g}. Wait for "
                "other jobs, or end them"
            )
        time.sleep(0.2)


def _give_back_of_dead_jobs() -> None:
    before = unused({})
    if before:
        time.sleep(SETTLES_WITHIN_S)
        give_back(unused({}) & before)


def start_workers(needed: Callable[..., Any]) -> None:
    """Waits until there is a process a core that has imported what a task needs.

    Args:
        needed: What the tasks will call.

    Raises:
        OrchestratorError: No CPU of the cluster is free, or a worker died.
    """
    refuse_without_cpu()
    started = ray.remote(lambda _: None)
    waiting = [started.remote(needed) for _ in range(cores())]
    while waiting:
        ready, waiting = _next(waiting)
        _result(ready)


def in_bounds(work: Iterable[ray.ObjectRef]) -> Iterator[Any]:
    """Runs tasks with a bounded number under way; yields results as they come.

    The bound follows the cluster: nodes that an autoscaler brings meanwhile get work too.

    Args:
        work: Starts a task whenever it is asked for the next one.

    Raises:
        ConfigError: A task found that the source cannot be read.
        OrchestratorError: A worker could not write, or died.
    """
    waiting: list[ray.ObjectRef] = []
    for reference in work:
        waiting.append(reference)
        while len(waiting) >= PER_CORE * cores():
            ready, waiting = _next(waiting)
            yield _result(ready)
    while waiting:
        ready, waiting = _next(waiting)
        yield _result(ready)


def _next(waiting: list[ray.ObjectRef]) -> tuple[ray.ObjectRef, list[ray.ObjectRef]]:
    """The task that ends first, and the others.

    Raises:
        OrchestratorError: None ends: other jobs have taken the CPUs, or a file system hangs.
    """
    ready, others = ray.wait(waiting, num_returns=1, timeout=STALL_S)
    if not ready:
        free = ray.available_resources().get("CPU", 0)
        raise OrchestratorError(
            f"workers: one of {len(waiting)} tasks must end within {STALL_S:g} s; none did, and {free:g} "
            "CPUs are free. Look whether other jobs hold the CPUs, or the storage hangs; then run the "
            "same command again: what is decoded is kept"
        )
    return ready[0], others


def cores() -> int:
    """CPUs of the cluster as it is now, at least one."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _result(reference: ray.ObjectRef) -> Any:
    """Fetches a task's result; its failure becomes an error a user can act on."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, SourceError):
            raise ConfigError(*str(error.cause).splitlines()) from error
        if isinstance(error.cause, OSError):
            raise OrchestratorError(
                f"out: must be writable and have room on every node; got {error.cause}. "
                "Run the same command again when it is: what is decoded is kept."
            ) from error
        raise
    except ray.exceptions.RayError as error:
        raise OrchestratorError(
            f"workers: must live until their task is done; got {type(error).__name__}. "
            "Run the same command again: what is decoded is kept."
        ) from error
