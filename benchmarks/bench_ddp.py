"""Question: how fast is ours beside what users would write: DataLoader, torchvision and DDP?

`ddp_script.py`, started by torchrun, reads the same images from a memory map, augments each as the
paper does with torchvision in loader processes, and trains the same network with Adam. In turn with
ours, in a slot of as many workers; scripts run in fp32 (torch's default) and, where the processor
has bf16, in our precision and layout too.
Wanted: 1.0 at least at equal precision; what our defaults gain is said beside it.
Usage: python -m benchmarks.bench_ddp [--workers 1] [--width 0.25] [--small]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import describe, describe_gpus
from benchmarks.markdown import say
from benchmarks.side_by_side import SMALL, Command, Sizes, compare, print_table, training_images
from benchmarks.slot import cores, drawn_set
from orchestrator.cluster import connect
from orchestrator.ingest.dataset import PreparedDataset
from orchestrator.training.precision import has_native_bf16


def main(argv: Sequence[str]) -> int:
    """Measures all in turn and prints the table."""
    arguments = _parse(argv)
    folder = Path(tempfile.mkdtemp(prefix="bench-ddp-"))
    with connect("local", dashboard=False):
        sizes = Sizes(
            width=arguments.width,
            image_px=arguments.image_px,
            batch_size=arguments.batch,
            workers=arguments.workers,
            cpus=max(1, cores() // arguments.workers),
            epochs=arguments.epochs,
            rounds=arguments.rounds,
            subjects=arguments.subjects,
        )
        dataset = drawn_set(folder, subjects=sizes.subjects, image_px=sizes.image_px)
        num_images = write_arrays(dataset, folder)
        found = compare(sizes, dataset, folder, _scripts(sizes, folder, arguments.loaders))
    say(f"\n{describe()}; {describe_gpus()}\n")
    say(f"{num_images:,} images of {sizes.image_px} px, `main` at width {sizes.width:g}, ")
    say(f"batch {sizes.batch_size}, {sizes.workers} workers of {sizes.cpus} cores; ")
    say(f"{arguments.loaders} loader processes for each of the script's")
    print_table(found)
    return 0


def write_arrays(dataset: PreparedDataset, folder: Path) -> int:
    """As the script reads them; returns how many images."""
    images_NHWC, labels_N = training_images(dataset)
    np.save(folder / "images.npy", images_NHWC)
    np.save(folder / "labels.npy", labels_N)
    return len(labels_N)


def _scripts(sizes: Sizes, folder: Path, loaders: int) -> dict[str, tuple[str, Command]]:
    scripts = {"DataLoader + DDP, as it comes": ("fp32", ddp_command(sizes, folder, loaders))}
    if has_native_bf16(torch.device("cuda" if torch.cuda.is_available() else "cpu")):
        options = ("--precision", "bf16", "--channels-last")
        name = "DataLoader + DDP, bf16 and channels-last"
        scripts[name] = ("bf16", ddp_command(sizes, folder, loaders, *options))
    return scripts


def ddp_command(sizes: Sizes, folder: Path, loaders: int, *options: str) -> Command:
    """The script under torchrun, over the images in a folder."""
    arguments = {
        "data": folder,
        "width": sizes.width,
        "batch": sizes.batch_size,
        "epochs": sizes.epochs,
        "threads": sizes.cpus,
        "loaders": loaders,
    }
    given = [f"--{name}={value}" for name, value in arguments.items()]
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    run += [f"--nproc-per-node={sizes.workers}", "-m", "benchmarks.ddp_script", *given, *options]
    return lambda launched: [*run, f"--launched={launched}"]


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_ddp")
    parser.add_argument("--small", action="store_true", help="a minute, to see that it runs")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--image-px", type=int, default=96)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--loaders", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--subjects", type=int, default=12, help="120 images each")
    if "--small" in argv:
        parser.set_defaults(**SMALL)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
