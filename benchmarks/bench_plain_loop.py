"""Question: how much of what plain PyTorch can do on this machine does our training loop keep?

In turn, in one process, with the same network, precision, memory layout, optimizer and threads:

    plain   one batch that never leaves the device, no augmentation, no metrics: the limit
    ours    `train_epoch`, the loop that workers run: order, augmentation, exact metrics

Wanted: 0.97 of the limit at width 1.0 and 96 px.
Usage: python -m benchmarks.bench_plain_loop [--width 1.0] [--image-px 96] [--batch 64] [--small]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace

import torch

from benchmarks.in_process import (
    NUM_CLASSES,
    Setup,
    first_rows,
    interleaved,
    new_training,
    noise,
    ratio,
)
from benchmarks.machine import describe, describe_gpus
from benchmarks.markdown import Table, say
from benchmarks.plain_loop import PlainLoop
from orchestrator.training.epochs import train_epoch

LIMIT = "plain loop, one batch on the device"


def main(argv: Sequence[str]) -> int:
    """Measures both sides and prints the table."""
    arguments = _parse(argv)
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    setup = Setup(
        width=arguments.width,
        image_px=arguments.image_px,
        batch_size=arguments.batch,
        precision=arguments.precision,
    )
    seconds, precision = _measure(setup, arguments.steps, arguments.repeats, device)
    say(f"\n{describe()}; {describe_gpus()}\n")
    say(f"`main` at width {setup.width:g}, {setup.image_px} px, batch {setup.batch_size}, ")
    say(f"{arguments.steps} steps an epoch, {precision}, {torch.get_num_threads()} threads")
    table = Table("loop", f"images/s, median of {arguments.repeats}", "/ limit")
    for name, own in seconds.items():
        images_per_s = arguments.steps * setup.batch_size / statistics.median(own)
        table.row(name, f"{images_per_s:,.1f}", f"{ratio(seconds[LIMIT], own):.3f}")
    return 0


def _measure(
    setup: Setup, num_steps: int, repeats: int, device: torch.device
) -> tuple[dict[str, list[float]], str]:
    """Seconds of each loop's epochs, and the precision of all of them."""
    rows = noise(num_steps * setup.batch_size, setup.image_px, device)
    ours = new_training(setup, device)
    bare = new_training(replace(setup, augmented=False), device)
    plain = PlainLoop(setup, device)
    few = first_rows(rows, min(2, num_steps) * setup.batch_size)
    works = {
        LIMIT: lambda: plain.run(num_steps),
        "ours": lambda: train_epoch(ours, rows, NUM_CLASSES),
        "ours, augmentation off": lambda: train_epoch(bare, rows, NUM_CLASSES),
    }
    plain.run(1)
    for training in (ours, bare):
        train_epoch(training, few, NUM_CLASSES)
    return interleaved(works, repeats, device), ours.precision.name


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_plain_loop")
    parser.add_argument("--small", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--image-px", type=int, default=96)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto")
    parser.add_argument("--steps", type=int, default=8, help="of an epoch")
    parser.add_argument("--repeats", type=int, default=7)
    small = {"width": 1 / 16, "image_px": 32, "batch": 8, "steps": 2, "repeats": 2}
    if "--small" in argv:
        parser.set_defaults(**small)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
