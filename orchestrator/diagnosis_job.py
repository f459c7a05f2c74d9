"""What a diagnosis is going to compare, checked before a process is started.

DRIVER. Imports torch: the command imports it when its words have been judged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.checkpoint_choice import Choice
from orchestrator.config.errors import ConfigError
from orchestrator.config.evaluation import EvaluateConfig, EvaluatedData
from orchestrator.config.home import Home
from orchestrator.config.production import DiagnoseConfig
from orchestrator.config.validate import to_dict
from orchestrator.environment import describe_environment
from orchestrator.evaluation_job import (
    Int64s,
    Job,
    checked_job,
    checkpoint_record,
    not_of_another,
    set_record,
)
from orchestrator.inference.batch_run import Request
from orchestrator.inference.each_row_once import Features, Probabilities
from orchestrator.ingest.dataset import SplitIndex
from orchestrator.ingest.order import mix
from orchestrator.results.diagnosis_report import SUMMARY
from orchestrator.results.held_out import Exposure, exposure, first_weights
from orchestrator.shift.outputs import Outputs


@dataclass(frozen=True, eq=False)
class Comparison:
    """Which rows are compared.

    Attributes:
        job: the checkpoint and both sets, as `evaluate` opens them.
        reference_ids: rows of the run's validation split.
        production_ids: rows of production.
        out: folder for the results.
    """

    config: DiagnoseConfig
    job: Job
    reference_ids: Int64s
    production_ids: Int64s
    out: Home

    def requests(self) -> list[Request]:
        """The rows to predict: of the reference, then of production."""
        sets = self.job.sets
        return [
            Request(sets.own, self.reference_ids),
            Request(sets.measured, self.production_ids),
        ]

    def outputs(self, found: list[tuple[Probabilities, Features]]) -> tuple[Outputs, Outputs]:
        """What was predicted, with labels (by the model's numbers) and groups of the rows."""
        job = self.job
        own = range(len(job.sets.own.classes))
        reference = _outputs(*found[0], job.own_index, self.reference_ids, own)
        production = _outputs(
            *found[1], job.index, self.production_ids, job.sets.class_indices, self.config.labels
        )
        return reference, production

    def exposures(self) -> tuple[Exposure, Exposure]:
        """What the run has seen of the reference and of production."""
        job = self.job
        weights = first_weights(job.stored.experiment.model.weights)
        reference, production = (
            exposure(
                index.groups[row_ids], row_ids, job.own_index, same_set=same, first_weights=weights
            )
            for index, row_ids, same in (
                (job.own_index, self.reference_ids, True),
                (job.index, self.production_ids, job.sets.same),
            )
        )
        return reference, production


def checked_comparison(config: DiagnoseConfig, choice: Choice) -> Comparison:
    """Open the checkpoint and both sets, and choose the rows.

    Raises:
        ConfigError: no such set, or production is the run's own set.
        CheckpointError: the checkpoint is damaged.
    """
    job = checked_job(
        EvaluateConfig(
            checkpoint=config.checkpoint,
            data=EvaluatedData(path=config.production, protocol=config.protocol),
            run_data=config.run_data,
            split=config.split,
            calibrate=True,
        ),
        choice,
    )
    refuse_own(job, config.production)
    measured = job.sets.measured
    name = re.sub(r"[^\w.-]+", "_", measured.name)[:60].lstrip(".") or "production"
    named = choice.home / "diagnoses" / "-".join(filter(None, (choice.label, name)))
    out = Home(Path(config.out).absolute()) if config.out else None
    return Comparison(
        config=config,
        job=job,
        reference_ids=thinned(job.own_index, job.validation_ids, config.max_rows, config.seed),
        production_ids=thinned(job.index, job.row_ids, config.max_rows, config.seed),
        out=out or not_of_another(named, SUMMARY, "production", measured.fingerprint),
    )


def record(comparison: Comparison, command: str, *, kept: int) -> dict[str, Any]:
    """What the figures belong to, for diagnosis.json.

    Args:
        comparison: what was compared.
        command: as typed.
        kept: numbers kept of each row's features.
    """
    job, config = comparison.job, comparison.config
    own, measured = job.sets.own, job.sets.measured
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "config": to_dict(config),
        "checkpoint": checkpoint_record(job),
        "reference": {
            **set_record(own),
            "split": "validation",
            "rows": len(comparison.reference_ids),
        },
        "production": {
            **set_record(measured),
            "split": config.split,
            "rows": len(comparison.production_ids),
            "labels_looked_at": config.labels,
        },
        "features": {"layer": "penultimate", "kept_a_row": kept, "seed": config.seed},
        "environment": describe_environment(),
    }


def refuse_own(job: Job, place: str) -> None:
    """Refuse to compare a set with itself.

    Raises:
        ConfigError: it is the set that the run was trained on.
    """
    if job.sets.same:
        raise ConfigError(
            "production: must be another set than the one that the run was trained on; got "
            f"{place}. Prepare the images of the place where the model is used"
        )


def thinned(index: SplitIndex, row_ids: Int64s, max_rows: int, seed: int) -> Int64s:
    """At most so many rows, every n-th along the groups, so that each keeps its share of them.

    Args:
        index: all rows of the set.
        row_ids: ascending.
        max_rows: at most.
        seed: of the order within a group.

    Returns:
        Ascending row ids.
    """
    if len(row_ids) <= max_rows:
        return row_ids
    _, group = np.unique(index.groups[row_ids], return_inverse=True)
    along: npt.NDArray[np.int64] = np.lexsort((mix(seed, 0, row_ids), group))
    places = np.arange(max_rows) * len(row_ids) // max_rows
    return np.sort(row_ids[along[places]])


def _outputs(
    probabilities: Probabilities,
    features: Features,
    index: SplitIndex,
    row_ids: Int64s,
    class_indices: range | tuple[int, ...],
    labelled: bool = True,
) -> Outputs:
    numbers = np.asarray(class_indices, dtype=np.int64)
    return Outputs(
        probabilities=probabilities.astype(np.float64),
        features=features,  # type: ignore[arg-type]  # float32 to save memory
        labels=numbers[index.labels[row_ids]] if labelled else None,
        groups=index.groups[row_ids],
    )
