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

import torch

from benchmarks.gpu_sizes import Sizes
from benchmarks.markdown import Table, say
from benchmarks.slot import cores, drawn_set, experiment, task, total_s, warm_slot
from orchestrator.cluster import connect
from orchestrator.ingest.dataset import PreparedDataset


@dataclass(frozen=True)
class _Run:
    """What one number of workers took: seconds from the data set to the first epoch, and epochs."""

    start_s: float
    epochs: list[dict[str, Any]]

    def later(self) -> list[dict[str, Any]]:
        """The epochs after the first, which chooses kernels and allocates."""
        return self.epochs[1:] or self.epochs

    def images_per_s(self) -> float:
        return statistics.median(epoch["images_per_s"] for epoch in self.later())

    def share(self, phase: str) -> float:
        """Of the later epochs' seconds."""
        part = sum(epoch["seconds"].get(phase, 0.0) for epoch in self.later())
        return part / sum(total_s(epoch) for epoch in self.later())

    def whole_s(self, num_epochs: int) -> float:
        """Start and so many epochs; those that were not run take the median of the later ones."""
        missing = num_epochs - len(self.epochs)
        epoch_s = statistics.median(total_s(epoch) for epoch in self.later())
        return self.start_s + sum(total_s(epoch) for epoch in self.epochs) + missing * epoch_s


def measure(sizes: Sizes, *, on_gpu: bool, full: bool) -> None:
    """Print the table, a line for each number of workers."""
    folder = Path(tempfile.mkdtemp(prefix="bench-gpu-"))
    kind = "run" if full else "extrapolated"
    with connect("local", dashboard=False):
        dataset = drawn_set(folder, subjects=sizes.subjects, image_px=sizes.image_px)
        say(f"\n{dataset.num_rows:,} drawn images, 60 % of them trained on; batch of all workers ")
        say(f"together {sizes.batch_size}")
        table = Table(
            "workers",
            "images/s",
            "/ one",
            "efficiency",
            "MFU",
            "data wait",
            "checkpoint",
            "start s",
            f"{sizes.paper_epochs} epochs s ({kind})",
            "last train loss",
        )
        first = 0.0
        for workers in _counts(torch.cuda.device_count() if on_gpu else cores()):
            run = _run(sizes, dataset, folder, workers, on_gpu=on_gpu, full=full)
            first = first or run.images_per_s()
            table.row(*_cells(run, workers, first, sizes))


def _counts(most: int) -> list[int]:
    """1, 2, 4 ... and all there are."""
    powers = [2**n for n in range(most.bit_length()) if 2**n <= most]
    return sorted({*powers, most})


def _run(
    sizes: Sizes, dataset: PreparedDataset, folder: Path, workers: int, *, on_gpu: bool, full: bool
) -> _Run:
    """Train through a slot of so many workers."""
    paper = experiment(
        model__width=sizes.width, batch_size=sizes.batch_size, epochs=sizes.paper_epochs
    )
    started = time.perf_counter()
    cpus = 0 if on_gpu else 1
    with warm_slot(dataset, folder, workers=workers, cpus=cpus, on_gpu=on_gpu) as slot:
        slot.take(task(paper, folder, f"workers-{workers}"), known_epoch=0)
        slot.begin()
        start_s = time.perf_counter() - started
        num_epochs = sizes.paper_epochs if full else sizes.epochs
        return _Run(start_s, [slot.next_epoch() for _ in range(num_epochs)])


def _cells(run: _Run, workers: int, first: float, sizes: Sizes) -> tuple[str, ...]:
    gain = run.images_per_s() / first
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
        f"{run.whole_s(sizes.paper_epochs):.1f}",
        f"{run.epochs[-1]['train_loss']:.4f}",
    )
