"""Question: how fast is ours, and how soon does it start, beside a loop of timm's own parts?

`timm_script.py` reads the same images as PNG files from a folder, as timm does, and trains the same
network; its training script itself is not in timm's package. With timm's default augmentation
(crop, mirror, colour) and with the least that its loader can do (mirror), each in fp32 and, where
the processor has bf16, in our precision and layout. In turn with ours, in a slot of one worker.
Usage: python -m benchmarks.bench_timm [--width 0.25] [--small]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

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
    folder = Path(tempfile.mkdtemp(prefix="bench-timm-"))
    with connect("local", dashboard=False):
        sizes = Sizes(
            width=arguments.width,
            image_px=arguments.image_px,
            batch_size=arguments.batch,
            workers=1,
            cpus=cores(),
            epochs=arguments.epochs,
            rounds=arguments.rounds,
            subjects=arguments.subjects,
        )
        dataset = drawn_set(folder, subjects=sizes.subjects, image_px=sizes.image_px)
        num_images = _write_pictures(dataset, folder / "pictures")
        found = compare(sizes, dataset, folder, _scripts(sizes, folder, arguments.loaders))
    say(f"\n{describe()}; {describe_gpus()}\n")
    say(f"{num_images:,} images of {sizes.image_px} px, `main` at width {sizes.width:g}, batch ")
    say(
        f"{sizes.batch_size}, one worker of {sizes.cpus} cores; {arguments.loaders} loader processes"
    )
    print_table(found)
    return 0


def _write_pictures(dataset: PreparedDataset, folder: Path) -> int:
    """As timm reads them: train/<class>/<number>.png; returns how many."""
    images_NHWC, labels_N = training_images(dataset)
    for number, (image_HWC, label) in enumerate(zip(images_NHWC, labels_N, strict=True)):
        file = folder / "train" / dataset.classes[label] / f"{number:06d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image_HWC).save(file)
    return len(labels_N)


def _scripts(sizes: Sizes, folder: Path, loaders: int) -> dict[str, tuple[str, Command]]:
    precisions = {"fp32": ()}
    if has_native_bf16(torch.device("cuda" if torch.cuda.is_available() else "cpu")):
        precisions["bf16"] = ("--precision=bf16", "--channels-last")
    works = {"timm, crop, mirror and colour": (), "timm, mirror only": ("--least",)}
    return {
        f"{work}, {precision}": (
            precision,
            _command(sizes, folder, loaders, *own, *given),
        )
        for precision, given in precisions.items()
        for work, own in works.items()
    }


def _command(sizes: Sizes, folder: Path, loaders: int, *options: str) -> Command:
    arguments = {
        "data": folder / "pictures",
        "image-px": sizes.image_px,
        "width": sizes.width,
        "batch": sizes.batch_size,
        "epochs": sizes.epochs,
        "threads": sizes.cpus,
        "loaders": loaders,
    }
    given = [f"--{name}={value}" for name, value in arguments.items()]
    run = [sys.executable, "-m", "benchmarks.timm_script", *given, *options]
    return lambda launched: [*run, f"--launched={launched}"]


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_timm")
    parser.add_argument("--small", action="store_true", help="a minute, to see that it runs")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--image-px", type=int, default=96)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--loaders", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--subjects", type=int, default=12, help="120 images each")
    if "--small" in argv:
        parser.set_defaults(**SMALL)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
