"""From the Parquet of a data set to the shards of Ray Train's workers, through Ray Data.

DRIVER reads a split once, as raw bytes, into the object store; all slots then share it. Each worker
(WORKER) takes the blocks as they lie and keeps the rows of the lanes that it owns: no task comes in
between, which on a node whose cores the workers hold would start a process for each block.

The tasks that read need no CPU. When a node is lost Ray reads anew what lay on it, while workers
hold every CPU: a task that needed one would wait for ever, and they for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import ray
import ray.data
import ray.train
from ray.data import DataIterator, Dataset, NodeIdStr, TaskPoolStrategy

from orchestrator.ingest.dataset import PreparedDataset, read_split_index
from orchestrator.ingest.order import NUM_LANES, Int64s, mix, owned
from orchestrator.ingest.tasks import cores, refuse_without_cpu

BLOCK_BYTES = 16 * 2**20
"""Ray Data's default of 128 MiB leaves two blocks of a small set, and one reader idle."""
NEWER_READER = False
"""Of Ray Data's two for Parquet. The newer one starts 32 processes for the footers of each read, of
however few files, and takes two to five times as long (`benchmarks/bench_reading.py`)."""


class SplitSize(TypedDict):
    """Size of a split over all workers."""

    num_rows: int
    num_groups: int


@dataclass(frozen=True)
class TrainingData:
    """The splits that a training reads, in Ray's object store."""

    datasets: dict[str, Dataset]
    sizes: dict[str, SplitSize]


@dataclass(frozen=True)
class SplitRows:
    """The rows of one split, by row_id in ascending order, and the group of each."""

    row_ids: Int64s
    group_index: Int64s
    num_groups: int


def read_training_data(
    dataset: PreparedDataset,
    *,
    protocol: str,
    train_per_class: int,
    validation_per_class: int,
    seed: int = 0,
) -> TrainingData:
    """Read the train and validation splits into Ray's object store, once for all slots.

    Args:
        dataset: a checked data set.
        protocol: `group`, `random` or `official`.
        train_per_class: at most so many training rows of each class; 0 = all.
        validation_per_class: the same for validation.
        seed: of the choice of rows where there is a limit.

    Raises:
        DatasetError: no such protocol, or an empty split.
        OrchestratorError: no CPU of the cluster is free.
    """
    refuse_without_cpu()
    limits = {"train": train_per_class, "validation": validation_per_class}
    rows = {
        split: select_rows(dataset, protocol, split, limit, seed) for split, limit in limits.items()
    }
    return TrainingData(
        datasets={split: read_split(dataset, chosen) for split, chosen in rows.items()},
        sizes={
            split: {"num_rows": len(chosen.row_ids), "num_groups": chosen.num_groups}
            for split, chosen in rows.items()
        },
    )


def select_rows(
    dataset: PreparedDataset, protocol: str, split: str, per_class: int, seed: int
) -> SplitRows:
    """Which rows make up a split of the experiment.

    Args:
        dataset: a checked data set.
        protocol: `group`, `random` or `official`.
        split: `train`, `validation` or `test`.
        per_class: at most so many rows of each class, chosen by a hash of (seed, row_id);
            0 = all.
        seed: of that choice.
    """
    index = read_split_index(dataset, protocol)
    chosen = index.splits == split
    if per_class:
        chosen &= _first_of_each_class(index.row_ids, index.labels, chosen, per_class, seed)
    order = np.argsort(index.row_ids[chosen])
    groups, group_index = np.unique(index.groups[chosen], return_inverse=True)
    return SplitRows(
        row_ids=index.row_ids[chosen][order].astype(np.int64),
        group_index=group_index[order].astype(np.int64),
        num_groups=len(groups),
    )


def read_split(dataset: PreparedDataset, rows: SplitRows) -> Dataset:
    """Read the chosen rows into Ray's object store.

    Returns:
        A materialized Dataset of columns image, label, row_id, rank, group_index.
    """
    # Tasks of no CPU would all begin at once, each in a process; Ray Data reads a file in one.
    pool = TaskPoolStrategy(min(cores(), _num_blocks(dataset), len(dataset.files)))
    raw = raw_rows(dataset, ["image", "label", "row_id"], pool)
    return raw.map_batches(
        _keep_chosen,
        fn_kwargs={"row_ids": rows.row_ids, "group_index": rows.group_index},
        batch_format="pyarrow",
        batch_size=None,
        **_needs(pool),
    ).materialize()


def raw_rows(
    dataset: PreparedDataset, columns: Sequence[str], pool: TaskPoolStrategy | None = None
) -> Dataset:
    """Some columns of all rows as they lie in the files: raw bytes, read when they are asked for.

    Args:
        dataset: a checked data set.
        columns: of the files of images, or `row_id`, which is found from the index.
        pool: how many tasks of no CPU read; None = as many as there are free CPUs, each with one.
    """
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = BLOCK_BYTES
    context.enable_progress_bars = False
    context.use_datasource_v2 = NEWER_READER
    root = dataset.root
    raw = ray.data.read_parquet(
        [root.path(name) for name in dataset.files],
        filesystem=root.filesystem,
        # By default as many as there are cores twice over, of however few images.
        override_num_blocks=_num_blocks(dataset),
        concurrency=pool.size if pool else None,
        num_cpus=0 if pool else None,
    )
    stored = ["listed" if name == "row_id" else name for name in columns]
    return raw.select_columns(stored, **_needs(pool)).map_batches(
        _numbered,
        fn_kwargs={"listed": dataset.read(["listed"])["listed"].to_numpy()},
        batch_format="pyarrow",
        batch_size=None,
        **_needs(pool),
    )


def _needs(pool: TaskPoolStrategy | None) -> dict[str, Any]:
    """Of each step: steps that need the same are one task."""
    return {"compute": pool, "num_cpus": 0} if pool else {}


def _num_blocks(dataset: PreparedDataset) -> int:
    image_bytes = dataset.num_rows * math.prod(dataset.image_shape)
    return max(1, -(-image_bytes // BLOCK_BYTES))


class LaneShards(ray.train.DataConfig):
    """Hands each worker the blocks of a split, of which it keeps its lanes (`own_rows`).

    Train's default split makes shards equal by dropping rows (7,001 rows become 7,000).
    """

    def __init__(self) -> None:
        super().__init__(datasets_to_split=[])

    def configure(
        self,
        datasets: dict[str, Dataset],
        world_size: int,
        worker_handles: object,  # noqa: ARG002 - the signature is Ray Train's
        worker_node_ids: list[NodeIdStr] | None,  # noqa: ARG002
        **_: object,
    ) -> list[dict[str, DataIterator]]:
        """One iterator for each worker and data set."""
        if world_size > NUM_LANES:
            raise ValueError(f"resources.workers: must be at most {NUM_LANES}; got {world_size}")
        return [
            {name: dataset.iterator() for name, dataset in datasets.items()}
            for _ in range(world_size)
        ]


def own_rows(tables: Iterable[pa.Table], worker: int, num_workers: int) -> Iterator[pa.Table]:
    """Of each table the rows of the lanes that a worker owns: each row is one worker's, none dropped.

    Args:
        tables: with a column `rank`.
        worker: 0-based.
        num_workers: of the slot.
    """
    for table in tables:
        if num_workers == 1:
            yield table  # uncopied
            continue
        yield table.filter(pa.array(owned(table.column("rank").to_numpy(), worker, num_workers)))


def _first_of_each_class(
    row_ids: Int64s, labels: np.ndarray, chosen: np.ndarray, per_class: int, seed: int
) -> np.ndarray:
    keep = np.zeros(len(row_ids), dtype=bool)
    keys = mix(seed, 0, row_ids)
    for label in np.unique(labels[chosen]):
        members = np.flatnonzero(chosen & (labels == label))
        keep[members[np.argsort(keys[members])][:per_class]] = True
    return keep


def _numbered(table: pa.Table, listed: Int64s) -> pa.Table:
    """Puts the row_id, which counts the rows kept, in the place of where they were listed."""
    if "listed" not in table.column_names:
        return table
    place = table.column_names.index("listed")
    row_ids = np.searchsorted(listed, table.column("listed").to_numpy())
    # Opening the set has compared both: a file changed since then must not pass for another row.
    if not np.array_equal(listed[np.minimum(row_ids, len(listed) - 1)], table.column("listed")):
        raise ValueError("a file of the data set was changed after it was opened")
    return table.set_column(place, "row_id", pa.array(row_ids, pa.int64()))


def _keep_chosen(table: pa.Table, row_ids: Int64s, group_index: Int64s) -> pa.Table:
    own = table.column("row_id").to_numpy()
    rank = np.searchsorted(row_ids, own)
    found = np.minimum(rank, len(row_ids) - 1)
    keep = row_ids[found] == own
    table = table.filter(pa.array(keep))
    table = table.append_column("rank", pa.array(found[keep]))
    return table.append_column("group_index", pa.array(group_index[found[keep]]))
