"""How much a study will train and write, said before it starts.

DRIVER. Imports torch only to count the parameters of the models, on the meta device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import models
from orchestrator.config.experiment import Data, Experiment
from orchestrator.config.folder import Folder
from orchestrator.config.optimizers import Timm
from orchestrator.config.space import Space
from orchestrator.config.storage import KEPT_FOR_RESUME, as_typed
from orchestrator.ingest.dataset import PreparedDataset
from orchestrator.tuning.capacity import SlotCapacity
from orchestrator.tuning.lineages import StudyState, is_bound_to_horizon

BYTES_PER_NUMBER = 4
MOMENTS = 2
"""Numbers that torch's optimizers keep for each parameter, at most."""
MOMENTS_OF_TIMM = 4
"""The same of timm's (Adan)."""


@dataclass(frozen=True)
class Forecast:
    """What is still to do.

    Attributes:
        num_trials: trials of the study.
        num_lineages: trainings; for a space that samples, the most it can be.
        epochs: still to train.
        epochs_alone: what all trials would need if each trained by itself.
        parameters: of the largest model.
        disk_bytes: of checkpoints at the end; for a space that samples, the most it can be.
        exact: whether the space lists its trials.
        stops_early: whether patience or others that do better may end a trial before its epochs.
        num_unshared: experiments, of those checked, whose schedule depends on their epochs.
    """

    num_trials: int
    num_lineages: int
    epochs: int
    epochs_alone: int
    parameters: int
    disk_bytes: int
    exact: bool
    stops_early: bool = False
    num_unshared: int = 0


def forecast(
    space: Space,
    experiments: Sequence[Experiment],
    lineages: Sequence[str],
    state: StudyState,
    dataset: PreparedDataset,
    *,
    longest: int,
    stops: bool = False,
) -> Forecast:
    """Work out the rest of a study.

    Args:
        space: the search space.
        experiments: those checked: all if the space lists them, else a sample.
        lineages: the lineage of each of them.
        state: what the ledger knows.
        dataset: the data set.
        longest: the most epochs that a trial can ask for.
        stops: whether trials that do worse than others are stopped.
    """
    size = _Size(
        parameters=max(_parameters(experiment, dataset) for experiment in experiments),
        moments=max(_moments(experiment) for experiment in experiments),
    )
    early = stops or any(experiment.early_stop for experiment in experiments)
    if space.num_listed():
        return _of_listed(experiments, lineages, state, size, early)
    return _of_sampled(space, experiments, state, size, longest, early)


@dataclass(frozen=True)
class _Size:
    """Of the largest training."""

    parameters: int
    moments: int

    def lineage_bytes(self, num_milestones: int) -> int:
        """Weights at each milestone; weights and moments at each resume point."""
        copies = num_milestones + (1 + self.moments) * KEPT_FOR_RESUME
        return BYTES_PER_NUMBER * self.parameters * copies


def _of_sampled(
    space: Space,
    experiments: Sequence[Experiment],
    state: StudyState,
    size: _Size,
    longest: int,
    early: bool,
) -> Forecast:
    num_trials = space.num_trials()
    # Where trials that are yet to be proposed may end, and its own end if that is another.
    num_kept = len({*state.milestones, longest}) + sum(some > 0 for some in state.patience)
    return Forecast(
        num_trials=num_trials,
        num_lineages=num_trials,
        epochs=num_trials * longest,
        epochs_alone=num_trials * longest,
        parameters=size.parameters,
        disk_bytes=num_trials * size.lineage_bytes(num_kept),
        exact=False,
        stops_early=early,
        num_unshared=sum(map(is_bound_to_horizon, experiments)),
    )


def _of_listed(
    experiments: Sequence[Experiment],
    lineages: Sequence[str],
    state: StudyState,
    size: _Size,
    early: bool,
) -> Forecast:
    ends: dict[str, set[int]] = {}
    ended = state.ended()
    for experiment, lineage in zip(experiments, lineages, strict=True):
        last = state.last_epoch(lineage, experiment)
        if (lineage, experiment.epochs, experiment.early_stop) in ended:
            last = min(last, state.recorded_epoch(lineage))  # stopped or failed: no more to train
        ends.setdefault(lineage, set()).add(last)
    return Forecast(
        num_trials=len(experiments),
        num_lineages=len(ends),
        epochs=sum(max(0, max(at) - state.recorded_epoch(key)) for key, at in ends.items()),
        epochs_alone=sum(experiment.epochs for experiment in experiments),
        parameters=size.parameters,
        disk_bytes=sum(size.lineage_bytes(len(at)) for at in ends.values()),
        exact=True,
        stops_early=early,
        num_unshared=sum(map(is_bound_to_horizon, experiments)),
    )


def plan_lines(
    space: Space,
    dataset: PreparedDataset,
    data: Data,
    expected: Forecast,
    capacity: SlotCapacity,
    folder: Folder | Path,
    free_bytes: int | None = None,
) -> tuple[str, ...]:
    """The plan as a user reads it; `free_bytes` of the disk that the checkpoints go to."""
    counts = used_counts(dataset, data)
    rows = ", ".join(f"{split} {sum(by_class.values()):,}" for split, by_class in counts.items())
    most = "" if expected.exact else "at most "
    at_most = "at most " if expected.stops_early else most
    worker = f"{capacity.cpus_per_worker} CPU" + ("s" if capacity.cpus_per_worker > 1 else "")
    if capacity.gpus_per_worker:
        worker += f" + {capacity.gpus_per_worker:g} GPU"
    trials = f"{expected.num_trials}"
    if space.seeds > 1:
        trials += f" ({space.num_configurations()} configurations x {space.seeds} seeds)"
    workers = f"{capacity.workers}"
    if 0 < capacity.min_workers < capacity.workers:
        workers = f"{capacity.min_workers} to {workers}"
    return (
        f"question    {space.question}",
        f"data        {dataset.name}, {dataset.image_shape[0]} px, split protocol {data.protocol}: {rows}",
        f"model       {expected.parameters:,} parameters"
        + ("" if expected.exact else " (the largest seen)"),
        f"trials      {trials} in {most}{expected.num_lineages} trainings: "
        f"{at_most}{expected.epochs} epochs to train; one by one it would be "
        f"{at_most}{expected.epochs_alone}",
        *_sharing_line(space, expected),
        f"slots       {capacity.slots} at once, each {workers} x ({worker}){_waiting(capacity)}",
        f"disk        {most}{expected.disk_bytes / 1e6:,.0f} MB of checkpoints"
        f"{_room(expected.disk_bytes, free_bytes)}; time left is shown once an epoch has been timed",
        f"study       {as_typed(folder) if isinstance(folder, Path) else folder}",
    )


def _room(disk_bytes: int, free_bytes: int | None) -> str:
    """Said where it will not do."""
    if free_bytes is None or disk_bytes <= free_bytes:
        return ""
    return (
        f", but {free_bytes / 1e6:,.0f} MB are free there: make room or choose another out=; a study "
        "whose disk is full stops, and goes on where it was"
    )


def _waiting(capacity: SlotCapacity) -> str:
    """What the plan has no room for yet."""
    words = ["a node for the first"] if capacity.none_yet else []
    words += [f"room for {capacity.missing} more"] if capacity.missing else []
    return f"; waiting for {' and '.join(words)}" if words else ""


def used_counts(dataset: PreparedDataset, data: Data) -> dict[str, dict[str, int]]:
    """Rows that a study uses, by split and class: there can be a limit for each class."""
    limits = {"train": data.train_per_class, "validation": data.validation_per_class}
    return {
        split: {name: min(rows, limits.get(split) or rows) for name, rows in by_class.items()}
        for split, by_class in dataset.counts[data.protocol].items()
    }


def _sharing_line(space: Space, expected: Forecast) -> tuple[str, ...]:
    """Said where it would be expected and is not done."""
    if not expected.num_unshared or "epochs" not in space.paths():
        return ()
    return (
        "sharing     none between trials of schedule=cosine that differ in epochs: their learning "
        "rates differ from the first step on",
    )


def _moments(experiment: Experiment) -> int:
    return MOMENTS_OF_TIMM if isinstance(experiment.optimizer, Timm) else MOMENTS


def _parameters(experiment: Experiment, dataset: PreparedDataset) -> int:
    model = experiment.model
    return _count(model.name, model.width, len(dataset.classes), dataset.image_shape[0])


@lru_cache
def _count(name: str, width: float, num_classes: int, image_px: int) -> int:
    return models.count_parameters(name, num_classes=num_classes, image_size=image_px, width=width)
