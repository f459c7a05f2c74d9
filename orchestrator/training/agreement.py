"""What the workers of a slot tell each other of a step that each of them takes alone.

WORKER. A step that needs no exchange (reading a file, building a model) can fail on one worker and
succeed on the others, which would then wait for that one in the first exchange of gradients. So all
of them say how it went before any goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.distributed as dist

from orchestrator.config.errors import StorageError, TrainingError
from orchestrator.config.storage import storage_error
from orchestrator.training.exchange import num_workers


@dataclass(frozen=True)
class Finding:
    """How a step went on one worker.

    Attributes:
        problem: why it failed; "" if it did not.
        final: whether another try must fail again.
        storage: whether the storage is the reason, so that no other experiment would fare better.
        epoch: finished epochs to go on from.
        precision: to train in.
    """

    problem: str = ""
    final: bool = False
    storage: bool = False
    epoch: int = 0
    precision: str = ""


def failure(error: Exception) -> Finding:
    """An error of one worker, as all of them can be told it."""
    if isinstance(error, OSError):
        error = storage_error(error) or TrainingError(
            f"files: must be readable on every node; got: {error}", final=False
        )
    return Finding(
        problem=str(error),
        final=isinstance(error, TrainingError) and error.final,
        storage=isinstance(error, StorageError),
    )


def agree(own: Finding) -> Finding:
    """Exchange what each found: the leader's word counts, and a problem of one stops all.

    Without this, too, a slow file system could let them start from different epochs.

    Raises:
        StorageError: the storage failed one of them.
        TrainingError: one of them failed otherwise; final only if each that failed says so.
    """
    gathered: list[Finding] = [own] * num_workers()
    if num_workers() > 1:
        dist.all_gather_object(gathered, own)
    failed = {worker: found for worker, found in enumerate(gathered) if found.problem}
    if not failed:
        return gathered[0]
    problem = "; ".join(f"worker {worker}: {found.problem}" for worker, found in failed.items())
    if num_workers() == 1:
        problem = own.problem
    if any(found.storage for found in failed.values()):
        raise StorageError(problem)
    raise TrainingError(problem, final=all(found.final for found in failed.values()))
