"""Ours in a warm slot, in turn with scripts of other makes, on the same images and network.

A script is a program of its own that prints JSON lines (`first_step`, then one `epoch` each); it
runs while the slot waits. Its first epoch starts loaders and allocates: of several, it does not
count, and neither does ours.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.markdown import Table, say
from benchmarks.slot import experiment, task, warm_slot
from orchestrator.cluster import ROOT
from orchestrator.ingest.dataset import PreparedDataset, read_split_index
from orchestrator.ingest.pixels import images_of
from orchestrator.training.precision import choose_precision
from orchestrator.training.steady_run import SteadyRun

SCRIPT_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Sizes:
    """What all of them train.

    Attributes:
        width: of `main`.
        image_px: side of the images.
        batch_size: over all workers.
        workers: that train together.
        cpus: cores of each.
        epochs: of a script in each round, and of ours; the first does not count.
        rounds: in which each runs once.
        subjects: people drawn, 120 images each, three of five trained on.
    """

    width: float
    image_px: int
    batch_size: int
    workers: int
    cpus: int
    epochs: int
    rounds: int
    subjects: int


SMALL = {"width": 1 / 16, "image_px": 32, "batch": 16, "epochs": 2, "rounds": 1, "subjects": 3}


@dataclass
class Found:
    """What was measured of one way: seconds to the first step by round, and images/s by epoch."""

    precision: str
    first_step_s: list[float] = field(default_factory=list)
    images_per_s: list[float] = field(default_factory=list)


Command = Callable[[float], Sequence[str]]
"""Makes the command line of a script out of the time at which it is launched."""


def compare(
    sizes: Sizes,
    dataset: PreparedDataset,
    folder: Path,
    scripts: Mapping[str, tuple[str, Command]],
) -> dict[str, Found]:
    """Run all in turn, `rounds` times.

    Args:
        sizes: what is trained.
        dataset: drawn; a Ray is connected.
        folder: for checkpoints and Ray's files.
        scripts: precision and command of each, by name.

    Returns:
        By name; ours come last: in fp32, and in the precision that `auto` chooses here.
    """
    found = {name: Found(precision) for name, (precision, _) in scripts.items()}
    on_gpu = torch.cuda.is_available()
    chosen = choose_precision("auto", torch.device("cuda" if on_gpu else "cpu")).name
    ours = {precision: Found(precision) for precision in dict.fromkeys(("fp32", chosen))}
    started = time.perf_counter()
    with warm_slot(dataset, folder, workers=sizes.workers, cpus=sizes.cpus, on_gpu=on_gpu) as slot:
        for _ in range(sizes.rounds):
            for own in ours.values():
                begun_s, first = _train(slot, sizes, folder, own)
                if not any(way.first_step_s for way in ours.values()):
                    own.first_step_s.append(begun_s - started + step_s(first, dataset, sizes))
            for name, (_, command) in scripts.items():
                run_script(command, found[name])
    default = f"ours, as it comes ({chosen})"
    names = {"fp32": "ours, fp32"} | {chosen: default}
    return found | {names[precision]: own for precision, own in ours.items()}


def _train(
    slot: SteadyRun, sizes: Sizes, folder: Path, found: Found
) -> tuple[float, Mapping[str, Any]]:
    """Go on with ours; returns when it had begun, and the first of its new epochs."""
    wanted = experiment(
        model__width=sizes.width, batch_size=sizes.batch_size, precision=found.precision
    )
    slot.take(task(wanted, folder, found.precision), known_epoch=0)
    known = len(slot.begin()["history"])
    begun_s = time.perf_counter()
    fresh = [slot.next_epoch() for _ in range(known + sizes.epochs)][known:]
    slot.settle()  # a checkpoint that is still being written would slow a script down
    found.images_per_s += [own["images_per_s"] for own in fresh[1:]]
    return begun_s, fresh[0]


def step_s(metrics: Mapping[str, Any], dataset: PreparedDataset, sizes: Sizes) -> float:
    """The mean step of an epoch."""
    num_rows = int(np.sum(read_split_index(dataset, "group").splits == "train"))
    return num_rows / float(metrics["images_per_s"]) / -(-num_rows // sizes.batch_size)


def run_script(command: Command, found: Found) -> None:
    """Run a script to its end; its output ends the benchmark where it fails."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        list(command(time.time())),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=SCRIPT_TIMEOUT_S,
    )
    if done.returncode:
        raise RuntimeError(f"a script of the comparison failed:\n{done.stderr[-3000:]}")
    facts = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    found.first_step_s += [fact["seconds"] for fact in facts if fact["fact"] == "first_step"]
    epochs = [fact["images_per_s"] for fact in facts if fact["fact"] == "epoch"]
    found.images_per_s += epochs[1:]


def print_table(found: Mapping[str, Found]) -> None:
    """A line for each way, and each against the first."""
    first = statistics.median(next(iter(found.values())).images_per_s)
    table = Table("way", "precision", "images/s", "/ first", "seconds to the first step")
    for name, own in found.items():
        speed = statistics.median(own.images_per_s)
        start = f"{statistics.median(own.first_step_s):.1f}" if own.first_step_s else "-"
        table.row(name, own.precision, f"{speed:,.1f}", f"{speed / first:.2f}", start)
    say("\nOurs counts its start once, from a Ray that runs; a script from its launch.")


def training_images(
    dataset: PreparedDataset,
) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], np.ndarray[Any, np.dtype[np.int64]]]:
    """Pixels and labels of the split that ours trains on."""
    index = read_split_index(dataset, "group")
    rows = np.flatnonzero(index.splits == "train")
    return images_of(dataset, rows.tolist()), index.labels[rows]
