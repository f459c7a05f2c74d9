"""Question: how fast do rows come from Parquet to a training loop, and how soon the first batch?

One prepared set, one process that trains (a sum over the batch stands for the step), in one run:

    ours     Ray Data reads the raw binary column, the worker parts it, a shard on the device
    loader   torch's DataLoader, two workers, over a memory map of the same raw pixels
    encoded  Ray Data's own `iter_torch_batches` over a column of PNG files, decoded as it goes

Besides, Ray Data's two readers of Parquet in turn: seconds in which ours reads the same rows.

First batch counts from a started Ray to the first batch in the loop; rows/s is over an epoch
after that, for ours and the loader over three (both shuffle; Ray Data's way does not).
Usage: python -m benchmarks.bench_reading [IMAGES]
"""

from __future__ import annotations

import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import torch
from PIL import Image

from benchmarks.machine import describe
from orchestrator.cluster import connect
from orchestrator.config.commands import PrepareConfig
from orchestrator.ingest import reading
from orchestrator.ingest.dataset import PreparedDataset
from orchestrator.ingest.pixels import all_images
from orchestrator.ingest.reading import LaneShards, read_training_data
from orchestrator.ingest.shard import collect_shard, epoch_batches
from orchestrator.prepare import prepare

BATCH = 256
EPOCHS = 3
READS = 5

Epoch = Callable[[], Iterator[torch.Tensor]]


def main(num_images: int = 8_000) -> None:
    """Measures the three and prints the table."""
    folder = Path(tempfile.mkdtemp(prefix="bench-reading-"))
    with connect("local", cpus=2, dashboard=False):
        options = {"subjects": max(3, num_images // 120), "videos_per_subject": 10}
        options["frames_per_video"] = 12
        config = PrepareConfig(out=str(folder / "set"), options=options, fractions=(0.8, 0.1, 0.1))
        dataset = prepare(config)
        encode(dataset, folder / "encoded.parquet")
        flatten(dataset, folder)
        ours = timed(lambda: ours_batches(dataset), EPOCHS)
        encoded = timed(lambda: encoded_batches(folder / "encoded.parquet"), 1)
        loader = timed(lambda: loader_batches(folder), EPOCHS)
        older, newer = both_readers(dataset)
    print(f"\n{describe()}\n\n{dataset.num_rows:,} images of 96 px, batches of {BATCH}\n")
    print("| way | first batch s | rows/s after it |\n|---|---|---|")
    for name, (first, rate) in {"ours": ours, "loader": loader, "encoded": encoded}.items():
        print(f"| {name} | {first:.2f} | {rate:,.0f} |")
    print(f"\nratios of rows/s: ours / loader {ours[1] / loader[1]:.1f}, ours / encoded ", end="")
    print(f"{ours[1] / encoded[1]:.1f}")
    print(
        f"all splits read, medians of {READS}: older reader {older:.2f} s, newer {newer:.2f} s, "
        f"ratio {older / newer:.2f}"
    )


def both_readers(dataset: PreparedDataset) -> tuple[float, float]:
    """Median seconds of the older and the newer reader for the rows of a training."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(READS):
        for newer, taken in seconds.items():
            with patch.object(reading, "NEWER_READER", newer):
                began = time.monotonic()
                read_training_data(
                    dataset, protocol="group", train_per_class=0, validation_per_class=0
                )
                taken.append(time.monotonic() - began)
    return statistics.median(seconds[False]), statistics.median(seconds[True])


def timed(start: Callable[[], Epoch], epochs: int) -> tuple[float, float]:
    """Seconds to the first batch, and rows/s of the batches after it."""
    began = time.monotonic()
    batches = start()
    rows = 0
    first = 0.0
    for _ in range(epochs):
        for images in batches():
            images.sum().item()
            if not first:
                first = time.monotonic() - began
                continue
            rows += len(images)
    return first, rows / (time.monotonic() - began - first)


def ours_batches(dataset: PreparedDataset) -> Epoch:
    """Batches as a worker of a slot gets them, its shard read by Ray Data."""
    data = read_training_data(dataset, protocol="group", train_per_class=0, validation_per_class=0)
    iterators = LaneShards().configure({"train": data.datasets["train"]}, 1, None, None)
    size = data.sizes["train"]
    shard = collect_shard(
        iterators[0]["train"].iter_batches(batch_format="pyarrow", batch_size=None),
        dataset.image_shape,
        num_rows=size["num_rows"],
        num_groups=size["num_groups"],
        device=torch.device("cpu"),
        budget_gib=8,
    )
    epochs = iter(range(1, EPOCHS + 1))
    cpu = torch.device("cpu")

    def batches() -> Iterator[torch.Tensor]:
        for batch in epoch_batches(shard, batch_size=BATCH, seed=0, epoch=next(epochs), device=cpu):
            yield batch.images_BCHW

    return batches


def loader_batches(folder: Path) -> Epoch:
    """What users write: a Dataset over a memory map, a DataLoader with two workers."""

    class Mapped(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __init__(self) -> None:
            self.images = np.load(folder / "images.npy", mmap_mode="r")
            self.rows = np.load(folder / "train.npy")

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.from_numpy(self.images[self.rows[index]].copy())

    loader = torch.utils.data.DataLoader(Mapped(), BATCH, shuffle=True, num_workers=2)
    return lambda: iter(loader)


def encoded_batches(path: Path) -> Epoch:
    """Ray Data's documented way: decode in `map_batches`, then `iter_torch_batches`."""

    def decode(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        images = [np.asarray(Image.open(io.BytesIO(data))) for data in batch["png"]]
        return {"image": np.stack(images)}

    data = ray.data.read_parquet(str(path)).map_batches(decode)

    def batches() -> Iterator[torch.Tensor]:
        for batch in data.iter_torch_batches(batch_size=BATCH):
            yield batch["image"]

    return batches


def encode(dataset: PreparedDataset, path: Path) -> None:
    """The training rows as PNG files in a Parquet column."""
    keep = train_rows(dataset)
    files, row = [], 0
    for images in all_images(dataset):
        for image in images:
            if keep[row]:
                file = io.BytesIO()
                Image.fromarray(image).save(file, "PNG")
                files.append(file.getvalue())
            row += 1
    pq.write_table(pa.table({"png": files}), path, row_group_size=600)


def flatten(dataset: PreparedDataset, folder: Path) -> None:
    """The raw pixels as one file to map, and the rows to train on."""
    np.save(folder / "images.npy", np.concatenate(list(all_images(dataset))))
    np.save(folder / "train.npy", np.flatnonzero(train_rows(dataset)))


def train_rows(dataset: PreparedDataset) -> np.ndarray:
    """Which rows train, under the group protocol."""
    return dataset.read(["split_group"])["split_group"].to_numpy() == "train"


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:2]))
