"""Pixels of a prepared set without Ray: all of them a row group at a time, or a chosen few.

Runs anywhere (PURE: numpy and pyarrow). In memory: one row group, some 16 MiB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.ingest.dataset import PreparedDataset
from orchestrator.ingest.perceptual_hash import perceptual_hashes

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """What images can be told apart by.

    Attributes:
        digests: sha256 of each row's pixels, shape (N,).
        looks: Perceptual hash of each row, shape (N,).
    """

    digests: npt.NDArray[np.bytes_]
    looks: npt.NDArray[np.uint64]


def all_images(dataset: PreparedDataset) -> Iterator[Images]:
    """Yields the images of all rows in the order of `row_id`, a row group at a time.

    Yields:
        uint8 RGB, shape (rows of the group, H, W, 3); read-only.
    """
    for name in dataset.files:
        with dataset.root.open(name) as file:
            parquet = pq.ParquetFile(file)
            for group in range(parquet.num_row_groups):
                yield _images(parquet.read_row_group(group, columns=["image"]), dataset)


def images_of(dataset: PreparedDataset, row_ids: Sequence[int]) -> Images:
    """Reads the images of some rows; reads the row groups that hold them and no others.

    Returns:
        uint8 RGB, shape (len(row_ids), H, W, 3), in the order asked for.
    """
    wanted = np.asarray(row_ids, dtype=np.int64)
    found = np.empty((len(wanted), *dataset.image_shape), dtype=np.uint8)
    first = 0
    for name, entry in zip(dataset.files, dataset.manifest["files"], strict=True):
        inside = np.flatnonzero((wanted >= first) & (wanted < first + entry["rows"]))
        if len(inside):
            found[inside] = _of_file(dataset, name, wanted[inside] - first)
        first += entry["rows"]
    return found


def fingerprints(dataset: PreparedDataset) -> Fingerprints:
    """Computes the fingerprints of every image."""
    digests: list[bytes] = []
    looks: list[npt.NDArray[np.uint64]] = [np.empty(0, np.uint64)]
    for images in all_images(dataset):
        digests += [hashlib.sha256(image).digest() for image in images]
        looks.append(perceptual_hashes(images))
    return Fingerprints(np.array(digests, dtype="S32"), np.concatenate(looks))


def _of_file(dataset: PreparedDataset, name: str, rows: npt.NDArray[np.int64]) -> Images:
    with dataset.root.open(name) as file:
        parquet = pq.ParquetFile(file)
        sizes = [parquet.metadata.row_group(g).num_rows for g in range(parquet.num_row_groups)]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        group_of = np.searchsorted(starts, rows, side="right") - 1
        needed = sorted(set(group_of.tolist()))
        images = _images(parquet.read_row_groups(needed, columns=["image"]), dataset)
    offset = {}
    filled = 0
    for group in needed:
        offset[group] = filled - starts[group]
        filled += sizes[group]
    return images[[row + offset[group] for row, group in zip(rows, group_of.tolist(), strict=True)]]


def _images(table: pa.Table, dataset: PreparedDataset) -> Images:
    column = table["image"].combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # as Arrow does where there is no row
        column = pa.concat_arrays(column.chunks)
    width = int(np.prod(dataset.image_shape))
    pixels = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    start = column.offset * width
    return pixels[start : start + len(column) * width].reshape(-1, *dataset.image_shape)
