"""TensorBoard's files of a study or a training, written beside it. DRIVER.

They are derived from what is recorded, as the leaderboard is: written as epochs arrive, and
written anew by the next command. A training never waits for them and never ends because of them:
a thread of its own does the work, and a failure is said once and is the end of the files alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Final, Self

from orchestrator.config.home import Home
from orchestrator.results.event_file import Pixels
from orchestrator.results.hyperparameters import dotted_values
from orchestrator.results.study_fold import epoch_point
from orchestrator.results.study_view import StudyView
from orchestrator.results.tensorboard_runs import TRAINING, Curve, RunFiles

FOLDER: Final = "tensorboard"
"""Folder of a run or study that holds its event files."""
CLOSE_TIMEOUT_S: Final = 60.0
"""Longest wait at the end for the files; a file system that hangs must not hold the program."""

_Job = Callable[[RunFiles], None]


class TensorBoard:
    """Shows a study or a training; use it as a context manager."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        """Write nothing yet; the work starts with the first `show` or `show_training`.

        Args:
            folder: of the run or study.
            say: called at most once for each thing that cannot be written, from any thread.
        """
        self.folder = folder / FOLDER
        self._say = say
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._latest: _Job = _nothing
        self._is_waiting = False
        self._has_failed = False
        self._have_samples_failed = False

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the last of it; see `close`."""
        self.close()

    def show(self, view: StudyView) -> None:
        """Bring the files up to a study; returns at once."""
        self._show(lambda files: files.update(view))

    def show_training(
        self,
        history: Sequence[Mapping[str, Any]],
        classes: Sequence[str],
        experiment: Mapping[str, Any],
    ) -> None:
        """Bring the files up to a training; returns at once.

        Args:
            history: the metrics of its epochs, in order, each with its `epoch`.
            classes: names of the classes.
            experiment: as it was resolved, for the table of hyperparameters.
        """
        points = tuple(epoch_point(int(metrics["epoch"]), metrics) for metrics in history)
        curve = Curve(TRAINING, points, dotted_values(experiment), "running")
        names = tuple(classes)
        self._show(lambda files: files.write(curve, names))

    def show_samples(self, name: str, draw: Callable[[], Pixels]) -> None:
        """Have a picture of samples drawn and written, unless an earlier command has; no wait.

        Args:
            name: of the picture, fit for a folder.
            draw: called from another thread; returns uint8 RGB of shape (H, W, 3).
        """

        def job(files: RunFiles) -> None:
            if self._have_samples_failed:
                return
            try:
                files.samples(name, draw)
            except Exception as error:  # noqa: BLE001 - curves are worth having without them
                self._have_samples_failed = True
                self._say(f"tensorboard: has no picture of augmented samples; got {_said(error)}")

        self._jobs.put(job)

    def close(self) -> None:
        """Wait until all is written."""
        if self._thread is None:
            return
        self._jobs.put(None)
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive() and not self._has_failed:
            self._has_failed = True
            self._say(f"tensorboard: {self.folder} is not complete; its file system takes too long")
        self._thread = None

    def closing_lines(self, home: Home) -> tuple[str, ...]:
        """How to look at it, for the end of a command.

        Args:
            home: of the study or run.
        """
        if self._has_failed or not self.folder.is_dir():
            return ()
        where = (home / self.folder.name).shown
        needs = "tensorboard boto3" if str(where).startswith("s3://") else "tensorboard"
        return (f"watch       tensorboard --logdir {where}  (pip install {needs})",)

    def _show(self, job: _Job) -> None:
        """Only the newest state is ever written: a slow disk must not pile up old ones."""
        self._latest = job
        if not self._is_waiting:
            self._is_waiting = True
            self._jobs.put(self._write_latest)
        if self._thread is None:
            # Not before: importing what writes them beside the program's own imports helps nobody.
            self._thread = threading.Thread(target=self._work, name=FOLDER, daemon=True)
            self._thread.start()

    def _write_latest(self, files: RunFiles) -> None:
        self._is_waiting = False
        self._latest(files)

    def _work(self) -> None:
        files = RunFiles(self.folder)
        while (job := self._jobs.get()) is not None:
            self._carry_out(job, files)
        self._carry_out(RunFiles.close, files)

    def _carry_out(self, job: _Job, files: RunFiles) -> None:
        if self._has_failed:
            return
        try:
            job(files)
        except Exception as error:  # noqa: BLE001 - a picture of a training must not end it
            self._has_failed = True
            self._say(
                f"tensorboard: must be able to write {self.folder}; got {_said(error)}. Training "
                "goes on without it; the same command writes it anew"
            )


def _nothing(files: RunFiles) -> None:
    """The state before the first."""


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
