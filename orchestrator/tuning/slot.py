"""A slot: one warm Ray Train worker group that trains one lineage after another.

A Tune trial actor with `reuse_actors=True`: Tune resets it from leg to leg instead of starting
processes anew. One `step` is one epoch, so Tune can stop a leg after any of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.data import Dataset

from orchestrator.config.errors import NoRoomError, SlotError, StorageError, TrainingError
from orchestrator.config.folder import Folder
from orchestrator.training.early_stop import last_epoch
from orchestrator.training.steady_run import SteadyRun, Task
from orchestrator.training.warm_run import WRITE_TIMEOUT_S, SlotPlan
from orchestrator.tuning.lineages import Leg
from orchestrator.tuning.study import LINEAGES

NOT_AGAIN = (
    "It would fail again, so that this study does not train it again; once its cause is mended, "
    "use another name with study=NAME"
)

Config = dict[str, Any]
Result = dict[str, Any]


def leg_config(leg: Leg, study_folder: Folder | Path, number: int) -> Config:
    """A leg as Tune's config: flat, as Tune copies and flattens what is nested.

    Args:
        leg: what to train.
        study_folder: of the study, as processes on any node find it.
        number: of the slot, should Tune make a new one for this leg.
    """
    return {
        "number": number,
        "study": study_folder.name,
        "lineage": leg.lineage,
        "experiment": json.dumps(leg.experiment),
        "known_epoch": leg.known_epoch,
        "scores": json.dumps(leg.scores),
        "ends": json.dumps(leg.ends),
        "milestones": json.dumps(leg.milestones),
        "may_end": json.dumps(leg.may_end),
        "folder": str(study_folder / LINEAGES / leg.lineage),
    }


class Slot(tune.Trainable):
    """Trains the leg it is configured with, an epoch a step.

    A result has `lineage`, `epoch`, `metrics` and `notes` (JSON), `found` (whether the epoch was in a
    checkpoint already), `weights` (the table of a file that was read, or ""), `slot`, `name` and
    `done`; or else `failed` with the reason, `detail`, and `retry`: whether running the study again may end otherwise; with
    `storage` if no other trial would fare better, as a disk is full; with `no_room` if the slot
    could not start, which is not the trial's fault.
    """

    def setup(
        self, config: Config, plan: SlotPlan, datasets: Mapping[str, Dataset], restarts: int
    ) -> None:
        """Take the first leg; processes start with the first step."""
        self._name, self._study = f"slot-{config['number']}", config["study"]
        self._run = SteadyRun(f"slot-{os.getpid()}", plan, datasets, restarts)
        self.reset_config(config)

    def __repr__(self) -> str:
        """What the Actors page calls this slot, for good: Ray asks once, when it is made."""
        return f"{self._name} of {self._study}"

    def reset_config(self, new_config: Config) -> bool:
        """Take the next leg; the workers stay."""
        self._leg = new_config
        self._scores: list[float] = json.loads(new_config["scores"])
        self._ends = _pairs(new_config["ends"])
        task = Task(
            experiment=json.loads(new_config["experiment"]),
            lineage=new_config["lineage"],
            folder=new_config["folder"],
            milestones=tuple(json.loads(new_config["milestones"])),
            ends=(*self._ends, *_pairs(new_config["may_end"])),
            keep_best=False,
        )
        self._run.take(task, new_config["known_epoch"])
        return True

    def step(self) -> Result:
        """Train one epoch, or hand out one that a checkpoint has beyond the ledger."""
        try:
            metrics = self._run.next_epoch()
        except TrainingError as error:
            return self._failed(str(error), detail=str(error), retry=not error.final)
        except StorageError as error:
            failed = self._failed(str(error), detail=str(error), retry=True)
            return failed | {"storage": True}
        except NoRoomError as error:
            failed = self._failed(str(error), detail=error.detail, retry=True)
            return failed | {"no_room": True}
        except SlotError as error:
            reason = f"{error}. {NOT_AGAIN}" if error.final else str(error)
            return self._failed(reason, detail=error.detail, retry=not error.final)
        self._scores.append(metrics["val_macro_f1"])
        return {
            "lineage": self._leg["lineage"],
            "epoch": metrics["epoch"],
            "metrics": json.dumps(metrics),
            "found": self._run.was_found,
            "slot": ray.get_runtime_context().get_actor_id(),
            "name": self._name,
            "notes": json.dumps(self._run.new_notes()),
            "weights": self._run.new_weights(),
            "done": metrics["epoch"] >= max(last_epoch(self._scores, *end) for end in self._ends),
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing for Tune: checkpoints are ours, on the study's storage."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Nothing from Tune either."""

    def cleanup(self) -> None:
        """End the Train run with the slot."""
        self._run.stop(WRITE_TIMEOUT_S)

    def _failed(self, reason: str, *, detail: str, retry: bool) -> Result:
        return {
            "lineage": self._leg["lineage"],
            "epoch": self._leg["known_epoch"],  # Tune insists on its metric in every result
            "failed": reason,
            "detail": "\n\n".join(filter(None, (detail, self._run.new_weights()))),
            "retry": retry,
            "done": True,
        }


def _pairs(text: str) -> tuple[tuple[int, int], ...]:
    """(epochs, patience) of several trials, from JSON."""
    return tuple((epochs, patience) for epochs, patience in json.loads(text))
