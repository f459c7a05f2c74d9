"""Question: what does predicting through Ray cost against the plain loop?

One model, the same rows of one prepared set, one run:

    plain    one process: pixels in memory, batches through the network, all cores
    ours     `inference.batch_run`: Ray Data reads the Parquet, actors predict, rows are checked

The network is `main` at a quarter of its width, drawn at random: how long an image takes does
not depend on the weights. Ours counts from a started Ray; the start of the actor is in the first
figure and not in the second, which is the rate after the first rows.
Usage: python -m benchmarks.bench_evaluate [IMAGES] [WIDTH]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import models
from benchmarks.machine import describe
from orchestrator.cluster import connect, nodes
from orchestrator.config.commands import PrepareConfig
from orchestrator.inference.actors import plan_actors
from orchestrator.inference.batch_run import Pace, Pool, Request, predict
from orchestrator.inference.forward import probabilities
from orchestrator.ingest.dataset import PreparedDataset
from orchestrator.ingest.pixels import all_images
from orchestrator.prepare import prepare
from orchestrator.quiet import quiet_libraries
from orchestrator.training.precision import choose_precision

BATCH = 256


def main(num_images: int = 6_000, width: float = 0.25) -> None:
    """Measures both and prints the table."""
    folder = Path(tempfile.mkdtemp(prefix="bench-evaluate-"))
    quiet_libraries()
    with connect("local", cpus=2, dashboard=False):
        options = {"subjects": max(3, num_images // 120), "videos_per_subject": 10}
        options["frames_per_video"] = 12
        config = PrepareConfig(out=str(folder / "set"), options=options, rows_per_file=1024)
        dataset = prepare(config)
        network, _ = models.build("main", num_classes=6, image_size=96, width=width)
        expected, plain = plain_loop(dataset, network.eval())
        found, pace = ours(dataset, network)
    difference = float(np.abs(found - expected).max())
    print(f"\n{describe()}\n\n{dataset.num_rows:,} images of 96 px, main at width {width:g}\n")
    print("| way | s | images/s | images/s after the first rows |\n|---|---|---|---|")
    print(f"| plain | {dataset.num_rows / plain:.1f} | {plain:,.0f} | {plain:,.0f} |")
    steady = pace.steady_images_per_s or float("nan")
    print(f"| ours | {pace.seconds:.1f} | {pace.images_per_s:,.0f} | {steady:,.0f} |")
    print(
        f"\nratio ours / plain: {pace.images_per_s / plain:.2f}; after the first rows, which came"
    )
    print(
        f"after {pace.first_s:.1f} s, {steady / plain:.2f}. Largest difference of a probability: ",
        end="",
    )
    print(f"{difference:.1e}")


def plain_loop(dataset: PreparedDataset, network: nn.Module) -> tuple[np.ndarray, float]:
    """Probabilities and images/s of a loop over pixels in memory."""
    images = np.concatenate(list(all_images(dataset)))
    device = torch.device("cpu")
    precision = choose_precision("auto", device)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = network.to(memory_format=precision.memory_format)
    probabilities(network, images[:BATCH].copy(), precision, device)  # warms up
    started = time.monotonic()
    found = [
        probabilities(network, images[start : start + BATCH], precision, device)
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate(found), len(images) / (time.monotonic() - started)


def ours(dataset: PreparedDataset, network: nn.Module) -> tuple[np.ndarray, Pace]:
    """Probabilities and pace of the actors."""
    num_batches = -(-dataset.num_rows // BATCH)
    plan = plan_actors(nodes(), actors=0, gpus_per_actor=None, num_batches=num_batches)
    request = Request(dataset, np.arange(dataset.num_rows))
    found, pace = predict([request], network, Pool(plan, "auto", BATCH, timeout_s=600))
    return found[0], pace


if __name__ == "__main__":
    words = [*sys.argv[1:], "6000", "0.25"][:2] if len(sys.argv) != 2 else [sys.argv[1], "0.25"]
    main(int(words[0]), float(words[1]))
