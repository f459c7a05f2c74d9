"""Question: what do two workers of one core lose against one worker of two cores?

The same training, through Ray and a slot, on one global batch: order, augmentation and gradients
are the same by design, so the losses must be too, but for the order in which sums are rounded.
Wanted: an efficiency of 0.9, and the same losses.
Usage: python -m benchmarks.bench_workers [--rounds 2] [--epochs 3] [--width 0.25] [--small]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.markdown import Table, say
from benchmarks.slot import cores, drawn_set, experiment, task, warm_slot
from orchestrator.cluster import connect
from orchestrator.ingest.dataset import PreparedDataset

Metrics = dict[str, Any]


def main(argv: Sequence[str]) -> int:
    """Measures both sizes in turn and prints the table."""
    arguments = _parse(argv)
    folder = Path(tempfile.mkdtemp(prefix="bench-workers-"))
    with connect("local", dashboard=False):
        sizes = ((1, 2 * (cores() // 2)), (2, cores() // 2))
        epochs: dict[tuple[int, int], list[list[Metrics]]] = {size: [] for size in sizes}
        dataset = drawn_set(folder, subjects=arguments.subjects, image_px=arguments.image_px)
        for number in range(arguments.rounds):
            for size in sizes[:: -1 if number % 2 else 1]:
                epochs[size].append(_train(arguments, dataset, folder / str(number), size))
    say(f"\n{describe()}\n")
    say(f"{dataset.num_rows:,} drawn images of {arguments.image_px} px, 60 % of them trained on; ")
    say(f"`main` at width {arguments.width:g}, batch {arguments.batch}, {arguments.rounds} rounds")
    table = Table("workers x cores", "images/s", "exchange and backward", "train loss by epoch")
    for (workers, own_cores), rounds in epochs.items():
        losses = ", ".join(f"{metrics['train_loss']:.6f}" for metrics in rounds[0])
        backward = statistics.median(_backward_share(metrics) for metrics in _later(rounds))
        table.row(f"{workers} x {own_cores}", f"{_speed(rounds):,.1f}", f"{backward:.1%}", losses)
    one, two = (epochs[size] for size in sizes)
    say(f"\nefficiency {_speed(two) / _speed(one):.3f}; largest relative difference of a train or ")
    say(f"validation loss: {_difference(one[0], two[0]):.1e}")
    return 0


def _train(
    arguments: argparse.Namespace, dataset: PreparedDataset, folder: Path, size: tuple[int, int]
) -> list[Metrics]:
    """Metrics of the epochs of a new slot."""
    workers, cores = size
    wanted = experiment(
        model__width=arguments.width, batch_size=arguments.batch, precision=arguments.precision
    )
    with warm_slot(dataset, folder, workers=workers, cpus=cores, on_gpu=False) as slot:
        slot.take(task(wanted, folder, f"{workers}-workers"), known_epoch=0)
        slot.begin()
        return [slot.next_epoch() for _ in range(arguments.epochs)]


def _later(rounds: Sequence[Sequence[Metrics]]) -> list[Metrics]:
    """All epochs but the first of each slot, which allocates."""
    return [metrics for epochs in rounds for metrics in (epochs[1:] or epochs)]


def _speed(rounds: Sequence[Sequence[Metrics]]) -> float:
    return statistics.median(metrics["images_per_s"] for metrics in _later(rounds))


def _backward_share(metrics: Metrics) -> float:
    """DDP exchanges gradients while the backward pass goes on."""
    seconds = metrics["seconds"]
    loop = ("ingest", "augment", "forward", "backward", "optimizer")
    return float(seconds["backward"] / sum(seconds[phase] for phase in loop))


def _difference(one: Sequence[Metrics], other: Sequence[Metrics]) -> float:
    return max(
        abs(mine[loss] - others[loss]) / mine[loss]
        for mine, others in zip(one, other, strict=True)
        for loss in ("train_loss", "val_loss")
    )


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_workers")
    parser.add_argument("--small", action="store_true", help="a minute, to see that it runs")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--image-px", type=int, default=96)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto")
    parser.add_argument("--subjects", type=int, default=12, help="120 images each")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    small = {"width": 1 / 16, "image_px": 32, "batch": 64, "subjects": 3, "epochs": 2, "rounds": 1}
    if "--small" in argv:
        parser.set_defaults(**small)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
