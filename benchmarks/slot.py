"""A drawn data set and a warm slot over it, as `train` makes them, for benchmarks to command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.cluster import nodes
from orchestrator.config.commands import PrepareConfig
from orchestrator.config.experiment import Experiment, Resources
from orchestrator.config.home import Home
from orchestrator.config.validate import to_dict, validate
from orchestrator.ingest.dataset import PreparedDataset
from orchestrator.prepare import prepare
from orchestrator.training.steady_run import SteadyRun, Task
from orchestrator.tuning.capacity import plan_slots

IMAGES_PER_SUBJECT = 120
"""Drawn of each; three of five subjects are trained on."""


def cores() -> int:
    """CPUs of the Ray that is connected."""
    return sum(node.cpus for node in nodes())


def drawn_set(folder: Path, *, subjects: int, image_px: int) -> PreparedDataset:
    """Draw faces and write them to Parquet; needs a Ray that is connected."""
    options = {"subjects": subjects, "videos_per_subject": 10, "frames_per_video": 12}
    out = str(folder / "set")
    return prepare(PrepareConfig(out=out, options=options, image_px=image_px))


def experiment(**values: Any) -> Experiment:
    """Of `main`; double underscores stand for dots. Epochs suffice for whatever is measured."""
    given = {name.replace("__", "."): value for name, value in values.items()}
    return validate(Experiment, ("a benchmark", {"model.name": "main", "epochs": 9999} | given))


def task(of: Experiment, folder: Path, name: str) -> Task:
    """What a slot is to train; under its own name it goes on where it was."""
    return Task(
        experiment=to_dict(of),
        lineage=name,
        folder=str(folder / "checkpoints" / name),
        milestones=(),
        ends=(),
        keep_best=True,
    )


@contextmanager
def warm_slot(
    dataset: PreparedDataset, folder: Path, *, workers: int, cpus: int, on_gpu: bool
) -> Iterator[SteadyRun]:
    """A slot for as long as the context lasts; its processes start with the first question.

    Args:
        dataset: what it trains on, by the group protocol.
        folder: for Ray Train's files.
        workers: that train together.
        cpus: of each; 0 = as many as fit.
        on_gpu: whether each has a GPU too.
    """
    from orchestrator.slots import ready_slots

    wanted = Resources(workers=workers, cpus_per_worker=cpus, gpus_per_worker=1 if on_gpu else 0)
    capacity = plan_slots(nodes(), wanted, 1)
    plan, datasets = ready_slots(dataset, experiment().data, capacity, wanted, Home(folder))
    steady = SteadyRun(f"{folder.name}-{workers}x{cpus}", plan, datasets, restarts=0)
    try:
        yield steady
    finally:
        steady.stop()


def total_s(metrics: Mapping[str, Any]) -> float:
    """An epoch as its user waits for it: training, evaluation and checkpoint."""
    return float(sum(metrics["seconds"].values()))
