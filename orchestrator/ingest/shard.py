"""The rows that one worker holds for the life of its slot, and the batches cut from them.

WORKER. Read once through Ray Data, kept as uint8 on the worker's device when they fit the
budget, else in host memory, from where each batch is sent one ahead. Batches are the same either way.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import pyarrow as pa
import torch

from orchestrator.ingest.order import Int64s, batch_bounds, epoch_order

GIB = 2**30
T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """A worker's rows of one split.

    Attributes:
        images: uint8 of shape (N, H, W, C): as in the Parquet, so that a permuted view of a
            batch is an NCHW tensor in channels-last memory without a copy.
        labels: int64 of shape (N,), on the same device as the images.
        row_ids: shape (N,), on the host.
        ranks: shape (N,), the rows' ranks in the whole split, on the host.
        groups: shape (N,), index of each row's video or subject, on the device.
        num_rows: rows of the split over all workers.
        num_groups: groups of the split over all workers.
    """

    images: torch.Tensor
    labels: torch.Tensor
    row_ids: Int64s
    ranks: Int64s
    groups: torch.Tensor
    num_rows: int
    num_groups: int


@dataclass(frozen=True)
class Batch:
    """A worker's part of one global batch; it can be empty (B = 0)."""

    images_BCHW: torch.Tensor
    labels_B: torch.Tensor
    groups_B: torch.Tensor
    row_ids: Int64s
    num_rows_global: int


def collect_shard(
    tables: Iterable[pa.Table],
    image_shape: tuple[int, int, int],
    *,
    num_rows: int,
    num_groups: int,
    device: torch.device,
    budget_gib: float,
) -> Shard:
    """Gather the Arrow batches of a worker's iterator into one shard.

    Args:
        tables: with columns image (fixed-size binary), label, row_id, rank, group_index.
        image_shape: (H, W, C).
        num_rows: rows of the split over all workers.
        num_groups: groups of the split over all workers.
        device: where training runs.
        budget_gib: how much of the device's memory the images may take, GiB.
    """
    parts = [table for table in tables if table.num_rows]
    if not parts:
        return _empty_shard(image_shape, num_rows, num_groups, device)
    images = pixels_of(parts, image_shape)
    columns = pa.concat_tables([part.drop_columns(["image"]) for part in parts])
    fits = images.nbytes <= budget_gib * GIB
    home = device if fits else torch.device("cpu")
    labels = torch.from_numpy(_column(columns, "label"))
    groups = torch.from_numpy(_column(columns, "group_index"))
    return Shard(
        images=torch.from_numpy(images).to(home),
        labels=labels.to(device),
        row_ids=_column(columns, "row_id"),
        ranks=_column(columns, "rank"),
        groups=groups.to(device),
        num_rows=num_rows,
        num_groups=num_groups,
    )


def device_gib(shard: Shard, device: torch.device) -> float:
    """What the shard's images take of the device's memory, GiB."""
    return shard.images.nbytes / GIB if shard.images.device.type == device.type else 0.0


def epoch_batches(
    shard: Shard, *, batch_size: int, seed: int, epoch: int, device: torch.device
) -> Iterator[Batch]:
    """The worker's parts of an epoch's global batches, in training order."""
    order, positions = epoch_order(shard.row_ids, shard.ranks, seed=seed, epoch=epoch)
    bounds = batch_bounds(positions, shard.num_rows, batch_size)
    parts = (
        (order[start:stop], min(batch_size, shard.num_rows - number * batch_size))
        for number, (start, stop) in enumerate(itertools.pairwise(bounds))
    )
    yield from _batches(shard, parts, device)


def rows_in_order(shard: Shard, *, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """All rows of a shard once, as they lie: for evaluation, where order means nothing."""
    starts = range(0, len(shard.row_ids), batch_size)
    slices = (np.arange(at, min(at + batch_size, len(shard.row_ids))) for at in starts)
    yield from _batches(shard, ((rows, len(rows)) for rows in slices), device)


def _batches(
    shard: Shard, parts: Iterable[tuple[Int64s, int]], device: torch.device
) -> Iterator[Batch]:
    """The batches of these rows, each with the number of rows that all workers have of it.

    Images that lie in host memory are sent one batch ahead, by a stream of their own: they arrive
    while the device is at work on the batch before.
    """
    if shard.images.device == shard.labels.device:
        for rows, num_rows_global in parts:
            index = _index(rows).to(device, non_blocking=True)
            images = shard.images.index_select(0, index)
            yield _batch(shard, rows, index, images, num_rows_global)
        return
    stream = _copy_stream(device)
    sent = ((part, _send(shard.images, part[0], device, stream)) for part in parts)
    for (rows, num_rows_global), (images, arrived) in one_ahead(sent):
        here = torch.cuda.current_stream(device)
        here.wait_event(arrived)
        index = _index(rows).to(device, non_blocking=True)
        batch = _batch(shard, rows, index, images, num_rows_global)
        stream.wait_stream(here)  # sends nothing into the memory of `images` before it is read
        yield batch


@lru_cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    """One a process: memory that a stream has used is kept for that stream."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def one_ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items; the next one is made before one is handed out."""
    waiting: deque[T] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > 1:
            yield waiting.popleft()
    yield from waiting


def _send(
    images: torch.Tensor, rows: Int64s, device: torch.device, stream: torch.cuda.Stream
) -> tuple[torch.Tensor, torch.cuda.Event]:
    """Gather rows of host memory into pinned memory, from where a GPU copies by itself."""
    index = _index(rows)
    shape = (len(index), *images.shape[1:])
    staging = torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
    torch.index_select(images, 0, index, out=staging)
    with torch.cuda.stream(stream):
        return staging.to(device, non_blocking=True), stream.record_event()


def _index(rows: Int64s) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(rows, dtype=np.int64))


def _batch(
    shard: Shard, rows: Int64s, index: torch.Tensor, images: torch.Tensor, num_rows_global: int
) -> Batch:
    return Batch(
        images_BCHW=images.permute(0, 3, 1, 2).float().div_(255),
        labels_B=shard.labels.index_select(0, index),
        groups_B=shard.groups.index_select(0, index),
        row_ids=shard.row_ids[rows],
        num_rows_global=num_rows_global,
    )


def pixels_of(tables: Sequence[pa.Table], image_shape: tuple[int, int, int]) -> np.ndarray:
    """The image columns one after another, uint8 of shape (N, H, W, C): copied once, as memory is dear."""
    size = int(np.prod(image_shape))
    images = np.empty((sum(table.num_rows for table in tables), *image_shape), dtype=np.uint8)
    rows = images.reshape(len(images), size)
    at = 0
    for chunk in (chunk for table in tables for chunk in table.column("image").chunks):
        values = np.frombuffer(chunk.buffers()[1], dtype=np.uint8)
        start = chunk.offset * size
        rows[at : at + len(chunk)] = values[start : start + len(chunk) * size].reshape(-1, size)
        at += len(chunk)
    return images


def _column(table: pa.Table, name: str) -> Int64s:
    return np.array(table.column(name).to_numpy(), dtype=np.int64)


def _empty_shard(
    image_shape: tuple[int, int, int], num_rows: int, num_groups: int, device: torch.device
) -> Shard:
    none = torch.zeros(0, dtype=torch.int64, device=device)
    ids = np.zeros(0, dtype=np.int64)
    images = torch.zeros((0, *image_shape), dtype=torch.uint8, device=device)
    return Shard(images, none, ids, ids, none, num_rows, num_groups)
