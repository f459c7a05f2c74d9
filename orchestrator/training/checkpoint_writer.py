"""Writes a checkpoint behind the training: while the next epoch runs, not before it.

WORKER (the leader). An epoch is reported as soon as it is trained and its snapshot taken; its
files follow. What that promises, and how:

- At most one write is in flight. The next epoch's snapshot waits for it, so storage that is too
  slow slows the training down instead of filling the memory.
- So a process that is killed loses at most one finished epoch's checkpoint, never the epoch: its
  figures are in the ledger, and it is trained once more, to the same bits, and not handed out
  again (`steady_run.py`).
- Weights that somebody will be told of (a milestone, the epoch at which patience ends a trial)
  are on disk before their epoch is reported: a leaderboard names nothing that is not there.
- A lineage ends with `wait`. What went wrong with a write is raised by the next `wait`, in the
  thread that trains: no error is lost. Whether it concerns one lineage or, as the storage is full
  or gone, all of them, its type says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from safetensors import SafetensorError

from orchestrator.config.errors import StorageError, TrainingError
from orchestrator.config.storage import storage_error


class CheckpointWriter:
    """One thread that writes what it is given, one at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[float] | None = None
        self._folder = Path()
        self._seconds = 0.0

    def start(self, write: Callable[[], object], folder: Path) -> None:
        """Begin a write; one before it must have been waited for.

        Args:
            write: refers to nothing that the training will change.
            folder: of the lineage, for an error's message.
        """
        assert self._pending is None, "a write is waited for before the next begins"
        self._folder = folder
        self._pending = self._thread.submit(_timed, write)

    def wait(self) -> None:
        """Wait until what was begun is on disk; returns at once if there is nothing.

        Raises:
            StorageError: the storage does not take it, nor anything else.
            TrainingError: it could not be written for another reason.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            self._seconds += pending.result()
        except (OSError, SafetensorError) as error:
            raise _in_words(error, self._folder) from error

    def read_seconds(self) -> float:
        """Time that finished writes took since the last reading."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


def _in_words(error: OSError | SafetensorError, folder: Path) -> StorageError | TrainingError:
    storage = storage_error(error, folder) if isinstance(error, OSError) else None
    return storage or TrainingError(
        f"checkpoint: must be written to {folder}; got: {error}. Make room there or mend it, then "
        "run the same command again",
        final=False,
    )


def _timed(write: Callable[[], object]) -> float:
    started = time.perf_counter()
    write()
    return time.perf_counter() - started
