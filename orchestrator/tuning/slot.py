"""A slot: one warm Ray Train worker group that trains one lineage after another.

A Tune trial actor with `reuse_actors=True`: Tune resets it from leg to leg instead of starting
processes anew. One `step` is one epoch, so Tune can stop a leg after any of them. The Train
run inside is made when first needed and lives as long as the slot; if it dies, a new one takes
over from the lineage's newest checkpoint.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import tune
from ray.data import Dataset

from orchestrator.config.errors import SlotError, TrainingError
from orchestrator.training.epochs import Metrics
from orchestrator.training.warm_run import SlotPlan, WarmRun
from orchestrator.tuning.lineages import Leg
from orchestrator.tuning.study import LINEAGES

Config = dict[str, Any]
Result = dict[str, Any]


def leg_config(leg: Leg, study_folder: Path) -> Config:
    """A leg as Tune's config: flat, as Tune copies and flattens what is nested."""
    return {
        "lineage": leg.lineage,
        "experiment": json.dumps(leg.experiment),
        "known_epoch": leg.known_epoch,
        "last_epoch": leg.last_epoch,
        "milestones": json.dumps(leg.milestones),
        "folder": str(study_folder / LINEAGES / leg.lineage),
    }


class Slot(tune.Trainable):
    """Trains the leg it is configured with, an epoch a step.

    A result has `lineage`, `epoch`, `metrics` (JSON), `slot` and `done`; or else `failed` with
    the reason, `detail`, and `retry`: whether running the study again may end otherwise.
    """

    def setup(
        self, config: Config, plan: SlotPlan, datasets: Mapping[str, Dataset], restarts: int
    ) -> None:
        """Take the first leg; processes start with the first step."""
        self._plan = plan
        self._datasets = datasets
        self._restarts = restarts
        self._run: WarmRun | None = None
        self._num_runs = 0
        self._handed_out = 0
        self._take(config)

    def reset_config(self, new_config: Config) -> bool:
        """Take the next leg; the workers stay."""
        self._take(new_config)
        return True

    def step(self) -> Result:
        """Train one epoch, or hand out one that a checkpoint has beyond the ledger."""
        try:
            metrics = self._next_epoch()
        except TrainingError as error:
            return self._failed(str(error), retry=False)
        except SlotError as error:
            self._drop_run()
            return self._failed(str(error), retry=error.retryable, detail=error.detail)
        self._handed_out = int(metrics["epoch"])
        return {
            "lineage": self._leg["lineage"],
            "epoch": metrics["epoch"],
            "metrics": json.dumps(metrics),
            "slot": f"{os.uname().nodename}:{os.getpid()}",
            "done": metrics["epoch"] >= self._leg["last_epoch"],
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing for Tune: checkpoints are ours, on the study's storage."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Nothing from Tune either."""

    def cleanup(self) -> None:
        """End the Train run with the slot."""
        self._drop_run()

    def _take(self, leg: Config) -> None:
        self._leg = leg
        self._begun = False
        self._handed_out = leg["known_epoch"]
        self._found: deque[Metrics] = deque()
        self._restarts_left = self._restarts

    def _next_epoch(self) -> Metrics:
        while True:
            try:
                run = self._running()
                if not self._begun:
                    self._begin(run)
                if self._found:
                    return self._found.popleft()
                return dict(run.ask({"kind": "epoch"})["metrics"])
            except SlotError as error:
                if not error.retryable or self._restarts_left == 0:
                    raise
                self._restarts_left -= 1
                self._drop_run()

    def _running(self) -> WarmRun:
        if self._run is None:
            self._num_runs += 1
            name = f"slot-{os.getpid()}-{self._num_runs}"
            self._run = WarmRun(name, self._plan, self._datasets)
            self._run.wait_ready()
        return self._run

    def _begin(self, run: WarmRun) -> None:
        answer = run.ask(
            {
                "kind": "begin",
                "experiment": json.loads(self._leg["experiment"]),
                "lineage": self._leg["lineage"],
                "folder": self._leg["folder"],
                "milestones": json.loads(self._leg["milestones"]),
                "keep_best": False,
            }
        )
        self._found = deque(m for m in answer["history"] if m["epoch"] > self._handed_out)
        self._begun = True

    def _drop_run(self) -> None:
        if self._run is not None:
            self._run.stop()
        self._run = None
        self._begun = False

    def _failed(self, reason: str, *, retry: bool, detail: str = "") -> Result:
        lineage = self._leg["lineage"]
        return {
            "lineage": lineage,
            "epoch": self._handed_out,  # Tune insists on its metric in every result
            "failed": reason,
            "detail": detail or reason,
            "retry": retry,
            "done": True,
        }
