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

PER_CORE = 2  # under way at once: one in work, one whose rows are on their way
FREED_WITHIN_S = 5.0
"""Processes of an earlier step that have just ended count as busy for a moment."""


def refuse_without_cpu() -> None:
    """A task, ours or Ray Data's, waits for ever, silently, for a CPU that other jobs hold.

    Raises:
        OrchestratorError: No CPU of the cluster is free, nor will be in a moment.
    """
    deadline_s = time.monotonic() + FREED_WITHIN_S
    while (free := ray.available_resources().get("CPU", 0)) < 1:
        if time.monotonic() > deadline_s:
            raise OrchestratorError(
                f"cluster: must have a free CPU to read the data with; got {free:g}. Wait for "
                "other jobs, or end them"
            )
        time.sleep(0.2)


def start_workers(needed: Callable[..., Any]) -> None:
    """Waits until there is a process a core that has imported what a task needs.

    Args:
        needed: What the tasks will call.

    Raises:
        OrchestratorError: No CPU of the cluster is free, or a worker died.
    """
    refuse_without_cpu()
    started = ray.remote(lambda _: None)
    for reference in [started.remote(needed) for _ in range(cores())]:
        _result(reference)


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
            ready, waiting = ray.wait(waiting, num_returns=1)
            yield _result(ready[0])
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=1)
        yield _result(ready[0])


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
