"""One lineage after another in a warm run that is replaced when its processes die.

Runs in a slot or in the driver of `train`. A new run takes over from the lineage's newest
checkpoint; no epoch is handed out twice. With `resources.min_workers` it may have fewer workers than
the one before, and a later one more again. A loss then depends on how many there are only by the
order in which it is added up: models for which more would depend on it are refused before
(`plan.worker_problems`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ray.data import Dataset

from orchestrator.config.errors import NoRoomError, SlotError, StorageError
from orchestrator.training.epochs import Metrics
from orchestrator.training.mailbox import Answer
from orchestrator.training.warm_run import (
    STOP_TIMEOUT_S,
    SlotPlan,
    WarmRun,
    fewest_workers,
    workers_that_fit,
)


@dataclass(frozen=True)
class Task:
    """What to train.

    Attributes:
        experiment: resolved.
        lineage: its key.
        folder: where its checkpoints lie: a path that all nodes see, or s3://bucket/folder.
        milestones: epochs whose weights are kept.
        ends: (epochs, patience) of each trial that this answers: weights are also kept where
            patience ends one.
        keep_best: whether the weights of the best epoch so far are kept.
    """

    experiment: dict[str, Any]
    lineage: str
    folder: str
    milestones: tuple[int, ...]
    ends: tuple[tuple[int, int], ...]
    keep_best: bool


class SteadyRun:
    """Trains the task it has, an epoch a call."""

    def __init__(
        self, name: str, plan: SlotPlan, datasets: Mapping[str, Dataset], restarts: int
    ) -> None:
        """Remember all; processes start with the first epoch that is asked for.

        Args:
            name: of the Ray Train runs, with a number behind it.
            plan: size and data of the slot.
            datasets: by split, in Ray's object store.
            restarts: times that a dead run is replaced before another epoch is handed out.
        """
        self._name = name
        self._plan = plan
        self._datasets = datasets
        self._restarts = restarts
        self._run: WarmRun | None = None
        self._num_runs = 0

    def take(self, task: Task, known_epoch: int) -> None:
        """Turn to another task, whose epochs up to `known_epoch` need not be handed out."""
        self._task = task
        self._handed_out = known_epoch
        self._restarts_left = self._restarts
        self._begun: Answer | None = None
        self._found: deque[Metrics] = deque()
        self._trained = 0
        self.was_found = False
        """Whether the epoch that was handed out last was in a checkpoint already."""
        self._notes: list[str] = []
        self._weights = ""

    def begin(self) -> Answer:
        """Build the experiment, or go on with it; says which weights it started from.

        Raises:
            TrainingError: the experiment cannot be built.
            SlotError: no run could be kept up.
        """
        return self._steadily(self._begin)

    def next_epoch(self) -> Metrics:
        """Metrics of the next epoch: trained now, or found in a checkpoint.

        Raises:
            TrainingError: the experiment cannot go on.
            SlotError: no run could be kept up.
        """
        metrics = self._steadily(self._epoch)
        self._handed_out = int(metrics["epoch"])
        return metrics

    def new_notes(self) -> list[str]:
        """What beginning has met since the last question: checkpoints passed over, lost writes."""
        notes, self._notes = self._notes, []
        return notes

    def new_weights(self) -> str:
        """What became of each layer of a file of weights that was read since the last question."""
        weights, self._weights = self._weights, ""
        return weights

    def settle(self) -> Answer:
        """Wait until the checkpoint of the newest epoch is on disk; says how long it was written.

        An epoch that was handed out and whose checkpoint was lost with its process is trained
        once more.

        Raises:
            TrainingError: it could not be written.
            SlotError: no run could be kept up.
        """
        return self._steadily(self._settle)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End the processes when they have done what they are at, or after so long."""
        if self._run is not None:
            self._run.stop(timeout_s)
        self._forget()

    def abandon(self) -> None:
        """End the processes whatever they are at; for a driver that is about to leave Ray."""
        run = self._run
        self._forget()  # first: whatever becomes of it, nobody is to wait for it
        if run is not None:
            run.abandon()

    def _forget(self) -> None:
        self._run = None
        self._begun = None

    def _steadily(self, step: Any) -> Any:
        while True:
            try:
                return step()
            except SlotError as error:
                self.stop()
                if not error.retryable or self._restarts_left == 0:
                    raise
                self._restarts_left -= 1

    def _begin(self) -> Answer:
        if self._begun is None:
            known = {"handed_out": self._handed_out}
            self._begun = self._running().ask({"kind": "begin", **asdict(self._task), **known})
            history = self._begun["history"]
            self._notes += self._begun["notes"]
            self._weights = self._begun["weights"] if self._begun["weights_read"] else ""
            self._trained = len(history)
            self._found = deque(m for m in history if m["epoch"] > self._handed_out)
        return self._begun

    def _epoch(self) -> Metrics:
        self._begin()
        self.was_found = bool(self._found)
        if self._found:
            return self._found.popleft()
        self._grow()
        while True:
            metrics = self._train_epoch()
            if metrics["epoch"] > self._handed_out:
                self._restarts_left = self._restarts  # a long training may lose many nodes
                return metrics
            # The newest checkpoint was lost or damaged: what is known is trained once more.

    def _grow(self) -> None:
        """Go on with more workers where some were lost and fit again."""
        if self._running().could_grow():
            self._settle()
            self.stop()
            self._begin()

    def _settle(self) -> Answer:
        self._begin()
        while self._trained < self._handed_out:
            self._train_epoch()
        return self._running().ask({"kind": "settle"})

    def _train_epoch(self) -> Metrics:
        metrics: Metrics = self._running().ask({"kind": "epoch"})["metrics"]
        self._trained = int(metrics["epoch"])
        return metrics

    def _running(self) -> WarmRun:
        if self._run is None:
            return self._start(workers_that_fit(self._plan))
        return self._run

    def _start(self, workers: int) -> WarmRun:
        """A run of so many workers; of the fewest where another slot has taken their room."""
        self._num_runs += 1
        name = f"{self._name}-{self._num_runs}"
        self._run = run = WarmRun(name, self._plan, self._datasets, workers)
        try:
            run.wait_ready()
        except StorageError:
            self.stop()
            raise
        except NoRoomError:
            self.stop()
            if workers <= fewest_workers(self._plan):
                raise
            return self._start(fewest_workers(self._plan))
        return run
