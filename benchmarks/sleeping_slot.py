"""A slot that sleeps in place of training: the rest, Ray's actors and Tune included, is real.

For benchmarks and tests of what runs the slots. It notes in files when it starts and ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.training.steady_run import Task
from orchestrator.tuning import tune_run
from orchestrator.tuning.slot import Config, Slot

Metrics = dict[str, Any]
STARTED, ENDED = "started", "ended"
"""Files beside the storage, with a line for each slot process."""


@dataclass(frozen=True)
class SleepingPlan:
    """In place of a `SlotPlan`.

    Attributes:
        storage: folder for Tune's own files.
        num_slots: no first epoch begins before so many processes have started, as with real ones,
            whose start takes longer than that of their fellows' actors.
        epoch_s: of each epoch.
        linger_s: from when a slot is told to end until it has.
        figures: metrics of a lineage's epoch.
    """

    storage: Path
    num_slots: int
    epoch_s: float
    figures: Callable[[str, int], Metrics]
    linger_s: float = 0.0

    def note(self, file: str) -> None:
        """One more slot process has started or ended."""
        with (self.storage.parent / file).open("a") as notes:
            notes.write(f"{os.getpid()}\n")

    def wait_for_all(self) -> None:
        """Wait until all slots have started."""
        started = self.storage.parent / STARTED
        while len(started.read_text().split()) < self.num_slots:
            time.sleep(0.05)  # a file: the others are processes that know nothing of this one


class SleepingSlot(Slot):
    """Takes legs as a slot does."""

    def setup(
        self,
        config: Config,
        plan: Any,
        datasets: Mapping[str, Any],  # noqa: ARG002
        restarts: int,  # noqa: ARG002
    ) -> None:
        """Take the first leg."""
        self._name, self._study = f"slot-{config['number']}", config["study"]
        run: Any = SleepingRun(plan)
        self._run = run
        self.reset_config(config)


class SleepingRun:
    """In place of a `SteadyRun`."""

    was_found = False

    def __init__(self, plan: SleepingPlan) -> None:
        self._plan = plan
        plan.note(STARTED)

    def take(self, task: Task, known_epoch: int) -> None:
        """Turn to another task."""
        self._lineage, self._epoch = task.lineage, known_epoch

    def next_epoch(self) -> Metrics:
        """Metrics of the next epoch, which takes its time."""
        self._plan.wait_for_all()
        time.sleep(self._plan.epoch_s)
        self._epoch += 1
        seconds = {"seconds": {"forward": self._plan.epoch_s}}
        return self._plan.figures(self._lineage, self._epoch) | {"epoch": self._epoch} | seconds

    def new_notes(self) -> list[str]:
        """Nothing is met."""
        return []

    def new_weights(self) -> str:
        """None are read."""
        return ""

    def stop(self, timeout_s: float) -> None:  # noqa: ARG002 - as the real one has it
        """Take the time that a last write takes."""
        time.sleep(self._plan.linger_s)
        self._plan.note(ENDED)


@contextmanager
def sleeping_slots() -> Iterator[None]:
    """Studies that run in this context have such slots."""
    usual = tune_run.Slot
    tune_run.Slot = SleepingSlot  # type: ignore[misc]
    try:
        yield
    finally:
        tune_run.Slot = usual  # type: ignore[misc]
