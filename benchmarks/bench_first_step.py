"""Questions: how long from opening Parquet to the first step? And what do checkpoints cost a run?

A slot is started as `train` does it, in a Ray that runs, and its phases are timed; beside it a
DataLoader over a memory map in a process of its own (`ddp_script.py`), which reads nothing until
it is asked. Then the slot trains some epochs: the stall is the time that the phase table calls
`checkpoint`, in which training waits.
Wanted: checkpoints stall at most 1 % of a run.
Usage: python -m benchmarks.bench_first_step [--width 0.25] [--epochs 4] [--small]
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.bench_ddp import ddp_command, write_arrays
from benchmarks.machine import describe, describe_gpus
from benchmarks.markdown import Table, say
from benchmarks.side_by_side import SMALL, Found, Sizes, run_script, step_s
from benchmarks.slot import cores, drawn_set, experiment, task, total_s, warm_slot
from orchestrator.cluster import connect
from orchestrator.ingest.dataset import open_dataset


def main(argv: Sequence[str]) -> int:
    """Measures both and prints the tables."""
    arguments = _parse(argv)
    folder = Path(tempfile.mkdtemp(prefix="bench-first-step-"))
    started = time.perf_counter()
    with connect("local", dashboard=False):
        ray_s = time.perf_counter() - started
        sizes = Sizes(
            width=arguments.width,
            image_px=arguments.image_px,
            batch_size=arguments.batch,
            workers=1,
            cpus=cores(),
            epochs=1,
            rounds=1,
            subjects=arguments.subjects,
        )
        dataset = drawn_set(folder, subjects=sizes.subjects, image_px=sizes.image_px)
        num_images = write_arrays(dataset, folder)
        script = Found("fp32")
        run_script(ddp_command(sizes, folder, loaders=2), script)
        phases, epochs, settled_s = _ours(sizes, folder, arguments.epochs)
    say(f"\n{describe()}; {describe_gpus()}\n")
    say(f"{num_images:,} training images of {sizes.image_px} px in Parquet, `main` at width ")
    say(f"{sizes.width:g}, batch {sizes.batch_size}, one worker of {sizes.cpus} cores")
    table = Table("from Parquet to the first step", "s")
    for phase, seconds in phases.items():
        table.row(phase, f"{seconds:.2f}")
    table.row("ours, in all", f"{sum(phases.values()):.2f}")
    table.row("DataLoader over a memory map, from launch", f"{script.first_step_s[0]:.2f}")
    say(f"\nBefore it, Ray itself: {ray_s:.1f} s, once for all that a command trains.")
    _print_stalls(epochs, settled_s)
    return 0


def _ours(
    sizes: Sizes, folder: Path, num_epochs: int
) -> tuple[dict[str, float], list[dict[str, Any]], float]:
    """Seconds of each phase of the start, the epochs after it, and the wait for the last write."""
    marks = [time.perf_counter()]
    dataset = open_dataset(folder / "set")
    marks.append(time.perf_counter())
    on_gpu = torch.cuda.is_available()
    with warm_slot(dataset, folder, workers=1, cpus=sizes.cpus, on_gpu=on_gpu) as slot:
        wanted = experiment(model__width=sizes.width, batch_size=sizes.batch_size)
        slot.take(task(wanted, folder, "ours"), known_epoch=0)
        slot.begin()
        marks.append(time.perf_counter())
        epochs = [slot.next_epoch() for _ in range(num_epochs)]
        trained = time.perf_counter()
        slot.settle()
        settled_s = time.perf_counter() - trained
    opened_s, begun_s = (later - mark for mark, later in itertools.pairwise(marks))
    phases = {
        "open: compare every byte with its digest": opened_s,
        "start workers, read the rows, build the network": begun_s,
        "a step (mean of the first epoch)": step_s(epochs[0], dataset, sizes),
    }
    return phases, epochs, settled_s


def _print_stalls(epochs: Sequence[dict[str, Any]], settled_s: float) -> None:
    """Of each epoch, and of all of them with the wait for the last checkpoint at the end."""
    table = Table("epoch", "s", "waiting for the checkpoint s", "share", "writing beside s")
    for metrics in epochs:
        whole_s, stall_s = total_s(metrics), metrics["seconds"].get("checkpoint", 0.0)
        written_s = metrics.get("checkpoint_write_s", 0.0)
        cells = (f"{whole_s:.2f}", f"{stall_s:.3f}", f"{stall_s / whole_s:.2%}", f"{written_s:.2f}")
        table.row(str(metrics["epoch"]), *cells)
    stall_s = sum(metrics["seconds"].get("checkpoint", 0.0) for metrics in epochs) + settled_s
    whole_s = sum(total_s(metrics) for metrics in epochs) + settled_s
    say(f"\nThe last one is on disk {settled_s:.2f} s after its epoch. With it, checkpoints stall ")
    say(f"{stall_s / whole_s:.2%} of these {len(epochs)} epochs.")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_first_step")
    parser.add_argument("--small", action="store_true", help="a minute, to see that it runs")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--image-px", type=int, default=96)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--subjects", type=int, default=24, help="120 images each")
    if "--small" in argv:
        given = {name: SMALL[name] for name in ("width", "image_px", "batch", "epochs", "subjects")}
        parser.set_defaults(**given)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
