"""What an evaluation is going to do, checked before a process is started.

DRIVER. Imports torch: the command imports it when its words have been judged.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from orchestrator.checkpoint_choice import Choice
from orchestrator.config.evaluation import EvaluateConfig
from orchestrator.config.home import Home
from orchestrator.config.validate import to_dict
from orchestrator.environment import describe_environment
from orchestrator.inference.batch_run import Pace, Request
from orchestrator.inference.data_sets import DataSets, open_data_sets
from orchestrator.inference.stored_model import StoredModel, build_network, open_model
from orchestrator.ingest.dataset import PreparedDataset, SplitIndex, read_split_index
from orchestrator.results.evaluation_report import SUMMARY
from orchestrator.results.printable import one_line
from orchestrator.results.report_cells import part

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Job:
    """Which model, which rows of which sets, where to.

    Attributes:
        network: the model, with its weights, on the CPU.
        protocol: of the splits of the set measured.
        index: all rows of the set measured.
        own_index: all rows of the run's own set, with the splits it was trained with.
        row_ids: the rows measured.
        validation_ids: rows of the run's own set that a temperature is fitted on; may be none.
        out: folder for the results.
    """

    config: EvaluateConfig
    choice: Choice
    stored: StoredModel
    network: nn.Module
    sets: DataSets
    protocol: str
    index: SplitIndex
    own_index: SplitIndex
    row_ids: Int64s
    validation_ids: Int64s
    out: Home

    @property
    def title(self) -> str:
        """Data set, protocol and split."""
        name = one_line(self.sets.measured.name, 40)
        return f"{name}, {self.protocol} split, {self.config.split} rows"


def checked_job(config: EvaluateConfig, choice: Choice) -> Job:
    """Open the checkpoint and the data, and refuse what cannot work.

    Raises:
        ConfigError: no such data set, protocol or split, or they do not belong together.
        CheckpointError: the checkpoint is damaged.
    """
    stored = open_model(choice.folder)
    trained = stored.experiment.data
    wanted = choice.place_of(config.data.path) if config.data.path else None
    sets = open_data_sets(stored, wanted, choice.place_of(config.run_data or trained.path))
    protocol = config.data.protocol or _own_protocol(trained.protocol, sets)
    needs = () if config.split == "all" else (config.split,)
    index = read_split_index(sets.measured, protocol, needs=needs)
    own_index = read_split_index(sets.own, trained.protocol)
    shape = sets.own.image_shape
    return Job(
        config=config,
        choice=choice,
        stored=stored,
        network=build_network(stored, num_classes=len(sets.own.classes), image_px=shape[0]),
        sets=sets,
        protocol=protocol,
        index=index,
        own_index=own_index,
        row_ids=index.row_ids[np.isin(index.splits, needs)] if needs else index.row_ids,
        validation_ids=_validation_ids(config, sets, own_index),
        out=_out(config, choice, sets.measured, protocol),
    )


def _own_protocol(trained: str, sets: DataSets) -> str:
    """The run's own split protocol, or `group` for another set whose release has no splits."""
    is_missing = trained == "official" and trained not in sets.measured.protocols
    return "group" if is_missing and not sets.same else trained


def _validation_ids(config: EvaluateConfig, sets: DataSets, own_index: SplitIndex) -> Int64s:
    """What a temperature is fitted on: on these very rows it would prove nothing."""
    wanted = config.calibrate
    if wanted is None:
        wanted = not (sets.same and config.split == "validation")
    return own_index.row_ids[(own_index.splits == "validation") & wanted]


def _out(config: EvaluateConfig, choice: Choice, data: PreparedDataset, protocol: str) -> Home:
    if config.out:
        return Home(Path(config.out).absolute())
    words = [word for word in (choice.label, data.name, protocol, config.split) if word]
    name = "-".join(re.sub(r"[^\w.-]+", "_", word)[:60] for word in words)
    folder = choice.home / "evaluations" / name.lstrip(".")
    return not_of_another(folder, SUMMARY, "data", data.fingerprint)


def not_of_another(folder: Home, summary: str, key: str, fingerprint: str) -> Home:
    """The folder for results of a set, beside those of another set that has the same name.

    Args:
        folder: named after the set.
        summary: the file in it that says of which set the results are.
        key: of that set in it.
        fingerprint: of the set whose results are to be kept.
    """
    folder.fetch(summary)
    try:
        said = (folder.local / summary).read_text(encoding="utf-8")
        found = part(json.loads(said), key, "fingerprint")
    except (OSError, ValueError):  # none, or damaged: there is nothing to keep
        found = None
    is_free = found in (None, fingerprint)
    return folder if is_free else folder.parent / f"{folder.local.name}-{fingerprint[:8]}"


def requests_of(job: Job) -> list[Request]:
    """The rows to predict, by data set, each once: first of the set measured, then of the run's."""
    if job.sets.same:
        return [Request(job.sets.own, np.union1d(job.row_ids, job.validation_ids))]
    requests = [Request(job.sets.measured, job.row_ids)]
    if len(job.validation_ids):
        requests.append(Request(job.sets.own, job.validation_ids))
    return requests


def facts(job: Job) -> tuple[str, ...]:
    """Lines that say what is measured on what."""
    state, sets = job.stored.state, job.sets
    origin = "the set that the run was trained on"
    if not sets.same:
        origin = f"not the set that the run was trained on, {one_line(sets.own.name, 40)}"
    trained = job.stored.experiment.data.protocol
    lines = (
        f"checkpoint   {job.choice.shown}",
        f"             {job.choice.words}; epoch {state.epoch} of lineage {state.lineage}",
        f"data         {job.title}: {len(job.row_ids):,}; {origin}",
    )
    if job.config.data.protocol or job.protocol == trained:
        return lines
    return (*lines, f"             parted by {job.protocol}: it has no {trained} splits")


def record(job: Job, pace: Pace, command: str) -> dict[str, Any]:
    """What the figures belong to, for evaluation.json."""
    measured, own = job.sets.measured, job.sets.own
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "config": to_dict(job.config),
        "checkpoint": checkpoint_record(job),
        "data": {
            **set_record(measured),
            "protocol": job.protocol,
            "split": job.config.split,
            "classes": list(measured.classes),
            "is_what_the_run_was_trained_on": job.sets.same,
        },
        "trained_on": {**set_record(own), "protocol": job.stored.experiment.data.protocol},
        "pace": {
            "rows_predicted": pace.num_rows,
            "seconds": pace.seconds,
            "seconds_to_first_rows": pace.first_s,
            "images_per_s": pace.images_per_s,
            "images_per_s_after_first_rows": pace.steady_images_per_s,
        },
        "environment": describe_environment(),
    }


def checkpoint_record(job: Job) -> dict[str, Any]:
    """Which weights, of what."""
    state = job.stored.state
    return {
        "folder": str(job.choice.kept),
        "taken": job.choice.words,
        "epoch": state.epoch,
        "lineage": state.lineage,
        "model_sha256": job.stored.sha256,
        "experiment": state.experiment,
    }


def set_record(dataset: PreparedDataset) -> dict[str, Any]:
    """Which data set."""
    return {
        "name": dataset.name,
        "root": str(dataset.root),
        "fingerprint": dataset.fingerprint,
    }
