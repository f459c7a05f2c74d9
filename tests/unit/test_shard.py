"""A shard holds each row with its own pixels; batches are views of it in the epoch's order."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from orchestrator.ingest import shard as shard_module
from orchestrator.ingest.order import owned
from orchestrator.ingest.shard import (
    Shard,
    collect_shard,
    epoch_batches,
    one_ahead,
    rows_in_order,
)

SHAPE = (4, 4, 3)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pixels_of(row_id: int) -> np.ndarray:
    return np.random.default_rng(row_id).integers(0, 256, SHAPE, np.uint8)


def table(row_ids, ranks=None) -> pa.Table:
    """As a worker's iterator yields it; label = row_id % 5, group = row_id // 10."""
    row_ids = np.asarray(row_ids, dtype=np.int64)
    pixels = [pixels_of(row).tobytes() for row in row_ids]
    return pa.table(
        {
            "image": pa.array(pixels, pa.binary(int(np.prod(SHAPE)))),
            "label": pa.array(row_ids % 5, pa.int8()),
            "row_id": row_ids,
            "rank": row_ids if ranks is None else ranks,
            "group_index": row_ids // 10,
        }
    )


def shard_of(tables, num_rows=100, budget_gib=1.0) -> Shard:
    return collect_shard(
        tables, SHAPE, num_rows=num_rows, num_groups=10, device=CPU, budget_gib=budget_gib
    )


def batches(shard, batch_size=16, seed=0, epoch=1):
    return list(epoch_batches(shard, batch_size=batch_size, seed=seed, epoch=epoch, device=CPU))


def test_each_row_keeps_its_own_pixels_label_and_group():
    shard = shard_of([table(range(30)), table(range(50, 60))])
    assert shard.row_ids.tolist() == [*range(30), *range(50, 60)]
    for index, row in enumerate(shard.row_ids):
        assert np.array_equal(shard.images[index].numpy(), pixels_of(row))
    assert shard.labels.tolist() == [row % 5 for row in shard.row_ids]
    assert shard.groups.tolist() == [row // 10 for row in shard.row_ids]
    assert (shard.images.dtype, shard.labels.dtype) == (torch.uint8, torch.int64)


def test_slices_and_chunks_of_arrow_memory_are_read_at_their_own_offset():
    whole = table(range(30))
    pieces = pa.concat_tables([whole.slice(3, 4), whole.slice(20, 5)])
    shard = shard_of([pieces, whole.slice(28)])
    assert shard.row_ids.tolist() == [3, 4, 5, 6, 20, 21, 22, 23, 24, 28, 29]
    for index, row in enumerate(shard.row_ids):
        assert np.array_equal(shard.images[index].numpy(), pixels_of(row))


@pytest.mark.parametrize("tables", [[], [table([])]], ids=["no table", "an empty table"])
def test_a_worker_without_rows_has_an_empty_shard_and_empty_batches(tables):
    shard = shard_of(tables, num_rows=40)
    parts = batches(shard)
    assert shard.images.shape == (0, *SHAPE)
    assert [part.images_BCHW.shape for part in parts] == [(0, 3, 4, 4)] * 3
    assert [part.num_rows_global for part in parts] == [16, 16, 8]
    assert list(rows_in_order(shard, batch_size=8, device=CPU)) == []


def test_an_epoch_gives_each_row_once_with_its_pixels_in_zero_one():
    shard = shard_of([table(range(100))])
    seen = []
    for batch in batches(shard):
        seen.extend(batch.row_ids.tolist())
        assert batch.images_BCHW.dtype == torch.float32
        assert batch.labels_B.tolist() == [row % 5 for row in batch.row_ids]
        assert batch.groups_B.tolist() == [row // 10 for row in batch.row_ids]
        for image, row in zip(batch.images_BCHW, batch.row_ids, strict=True):
            expected = torch.from_numpy(pixels_of(row)).permute(2, 0, 1).float() / 255
            assert torch.equal(image, expected)
    assert sorted(seen) == list(range(100))
    assert seen != sorted(seen)


def test_a_batch_is_channels_last_without_a_copy():
    batch = batches(shard_of([table(range(20))]))[0]
    assert batch.images_BCHW.is_contiguous(memory_format=torch.channels_last)


def test_global_batches_are_full_but_for_the_last():
    shard = shard_of([table(range(100))])
    assert [batch.num_rows_global for batch in batches(shard, 32)] == [32, 32, 32, 4]
    assert [len(batch.row_ids) for batch in batches(shard, 32)] == [32, 32, 32, 4]


def test_the_parts_of_three_workers_make_up_the_batches_of_one():
    ids = np.arange(100)
    alone = batches(shard_of([table(ids)]))
    parts = [batches(shard_of([table(ids[owned(ids, worker, 3)])])) for worker in range(3)]
    for whole, *of_workers in zip(alone, *parts, strict=True):
        joined = np.concatenate([part.row_ids for part in of_workers])
        assert sorted(joined) == sorted(whole.row_ids)
        assert {part.num_rows_global for part in of_workers} == {whole.num_rows_global}


def test_evaluation_takes_every_row_once_whatever_the_batch_size():
    shard = shard_of([table(range(30))])
    for size in (1, 7, 30, 256):
        parts = list(rows_in_order(shard, batch_size=size, device=CPU))
        assert np.concatenate([part.row_ids for part in parts]).tolist() == list(range(30))


def test_on_a_cpu_the_budget_of_the_device_changes_nothing():
    fits, beyond = (shard_of([table(range(40))], 40, gib) for gib in (1.0, 1e-9))
    assert fits.images.device == beyond.images.device == CPU
    assert torch.equal(fits.images, beyond.images)


class Stream:
    """Stands for a GPU's stream: notes what is recorded in it and what it waits for."""

    def __init__(self, name, said):
        self.name, self.said, self.number = name, said, 0

    def record_event(self):
        self.number += 1
        self.said.append(f"sent {self.number}")
        return self.number

    def wait_event(self, event):
        self.said.append(f"{self.name} waits for {event}")

    def wait_stream(self, other):
        self.said.append(f"{self.name} waits until {other.name} has read")


def test_batches_sent_from_host_memory_are_those_of_a_shard_on_the_device(monkeypatch):
    """The whole path of a shard beyond the budget, but for the GPU: its streams are stood in for."""
    said: list[str] = []
    work, copies = Stream("the work", said), Stream("the copying", said)
    monkeypatch.setattr(shard_module, "_copy_stream", lambda device: copies)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: work)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    resident = shard_of([table(range(40))], 40)
    # As on a GPU, labels lie elsewhere than the images: here where they have no values.
    away = {"labels": resident.labels.to("meta"), "groups": resident.groups.to("meta")}
    streamed = batches(replace(resident, **away))
    for one, other in zip(batches(resident), streamed, strict=True):
        assert torch.equal(one.images_BCHW, other.images_BCHW)
        assert other.images_BCHW.is_contiguous(memory_format=torch.channels_last)
        assert one.row_ids.tolist() == other.row_ids.tolist()
        assert one.num_rows_global == other.num_rows_global
    read = "the copying waits until the work has read"
    # The next batch is sent before the work waits for this one; nothing is sent over what is read.
    waits = [["sent 2", "the work waits for 1", read], ["sent 3", "the work waits for 2", read]]
    assert said == ["sent 1", *waits[0], *waits[1], "the work waits for 3", read]


def test_one_ahead_hands_out_the_same_items_and_has_made_the_next_one():
    made = []
    items = one_ahead(made.append(n) or n for n in range(4))
    assert [(item, len(made)) for item in items] == [(0, 2), (1, 3), (2, 4), (3, 4)]
    assert list(one_ahead([])) == []
    assert list(one_ahead(["only"])) == ["only"]
