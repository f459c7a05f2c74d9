"""One training by 1, 2, 4 ... workers, through Ray and a slot, on one global batch.

The path is the product's own: a prepared set, Ray Data, a warm Ray Train run, checkpoints on disk.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu_sizes import Sizes
from benchmarks.markdown import Table, say
from orchestrator.cluster import connect, nodes
from orchestrator.config.commands import PrepareConfig
from orchestrator.config.experiment import Experiment, Resources
from orchestrator.config.validate import to_dict, validate
from orchestrator.ingest.dataset import PreparedDataset
from orchestrator.prepare import prepare
from orchestrator.training.steady_run import SteadyRun, Task
from orchestrator.tuning.capacity import this_machine

IMAGES_PER_SUBJECT = 120


@dataclass(frozen=True)
class _Run:
    """What one number of workers took: seconds from the data set to the first step, epochs."""

    start_s: float
    epochs: list[dict[str, Any]]

    def epoch_s(self) -> float:
        """An epoch as the user waits for it, evaluation and checkpoint included."""
        later = self.epochs[1:] or self.epochs
        return statistics.median(sum(epoch["seconds"].values()) for epoch in later)

    def images_per_s(self) -> float:
        """Of the epochs after the first."""
        later = self.epochs[1:] or self.epochs
        return statistics.median(epoch["images_per_s"] for epoch in later)

    def share(self, phase: str) -> float:
        """Of all epochs' seconds."""
        total = sum(sum(epoch["seconds"].values()) for epoch in self.epochs)
        return sum(epoch["seconds"].get(phase, 0.0) for epoch in self.epochs) / total


def measure(sizes: Sizes, *, on_gpu: bool, full: bool) -> None:
    """Print the table, a line for each number of workers."""
    machine = this_machine()
    most = machine.gpus if on_gpu else machine.cpus
    folder = Path(tempfile.mkdtemp(prefix="bench-gpu-"))
    with connect("local", dashboard=False):
        dataset = prepare(_drawn(sizes, folder))
        rows = dataset.num_rows
        say(f"\n{rows:,} drawn images in Parquet; a global batch of {sizes.batch_size} for all")
        kind = "run" if full else "extrapolated"
        table = Table(
            "workers", "images/s", "/ one", "efficiency", "MFU", "data wait", "checkpoint",
            "start s", f"{sizes.paper_epochs} epochs s ({kind})", "last train loss",
        )  # fmt: skip
        first = 0.0
        for workers in _counts(most):
            run = _run(sizes, dataset, folder, workers, on_gpu=on_gpu, full=full)
            first = first or run.images_per_s()
            table.row(*_cells(run, workers, first, sizes))


def _counts(most: int) -> list[int]:
    """1, 2, 4 ... and all there are."""
    powers = [2**n for n in range(most.bit_length()) if 2**n <= most]
    return sorted({*powers, most})


def _drawn(sizes: Sizes, folder: Path) -> PrepareConfig:
    options = {"subjects": sizes.subjects, "videos_per_subject": 10, "frames_per_video": 12}
    return PrepareConfig(out=str(folder / "set"), options=options, image_px=sizes.image_px)


def _run(
    sizes: Sizes, dataset: PreparedDataset, folder: Path, workers: int, *, on_gpu: bool, full: bool
) -> _Run:
    """Train through a slot of so many workers."""
    from orchestrator.slots import ready_slots
    from orchestrator.tuning.capacity import plan_slots

    wanted = Resources(
        workers=workers, cpus_per_worker=0 if on_gpu else 1, gpus_per_worker=1 if on_gpu else 0
    )
    experiment = _experiment(sizes)
    name = f"workers-{workers}"
    started = time.perf_counter()
    capacity = plan_slots(nodes(), wanted, 1)
    plan, datasets = ready_slots(dataset, experiment.data, capacity, wanted, folder / name)
    steady = SteadyRun(name, plan, datasets, restarts=0)
    steady.take(_task(experiment, folder / name), known_epoch=0)
    try:
        steady.begin()
        start_s = time.perf_counter() - started
        num_epochs = sizes.paper_epochs if full else sizes.epochs
        return _Run(start_s, [steady.next_epoch() for _ in range(num_epochs)])
    finally:
        steady.stop()


def _experiment(sizes: Sizes) -> Experiment:
    values = {
        "model.name": "main",
        "model.width": sizes.width,
        "batch_size": sizes.batch_size,
        "optimizer.lr": 1e-4,
        "epochs": sizes.paper_epochs,
    }
    return validate(Experiment, ("a benchmark", values))


def _task(experiment: Experiment, folder: Path) -> Task:
    return Task(
        experiment=to_dict(experiment),
        lineage=folder.name,
        folder=str(folder / "checkpoints"),
        milestones=(),
        ends=(),
        keep_best=True,
    )


def _cells(run: _Run, workers: int, first: float, sizes: Sizes) -> tuple[str, ...]:
    gain = run.images_per_s() / first
    measured_s = sum(sum(epoch["seconds"].values()) for epoch in run.epochs)
    whole_s = measured_s + run.epoch_s() * (sizes.paper_epochs - len(run.epochs))
    mfu = run.epochs[-1].get("mfu")
    return (
        str(workers),
        f"{run.images_per_s():,.0f}",
        f"{gain:.2f}",
        f"{gain / workers:.1%}",
        f"{mfu:.1%}" if mfu else "-",
        f"{run.share('ingest'):.1%}",
        f"{run.share('checkpoint'):.1%}",
        f"{run.start_s:.1f}",
        f"{run.start_s + whole_s:.1f}",
        f"{run.epochs[-1]['train_loss']:.4f}",
    )
