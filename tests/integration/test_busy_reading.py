"""Blocks are read while workers hold every CPU, as Ray must do when a node is lost with some."""

import time
from contextlib import ExitStack, contextmanager

import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group

from orchestrator.ingest import reading
from orchestrator.ingest.dataset import open_dataset
from orchestrator.ingest.order import NUM_LANES
from orchestrator.ingest.reading import LaneShards, own_rows, read_split, select_rows
from tests.unit.prepared_set import write_set

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120), pytest.mark.usefixtures("local_ray")]


@contextmanager
def no_cpu_left():
    """All CPUs are taken."""
    cpus = ray.cluster_resources()["CPU"]
    while ray.available_resources().get("CPU", 0) < cpus:  # of a test or task before
        time.sleep(0.1)
    taken = placement_group([{"CPU": cpus}])
    ray.get(taken.ready())
    yield
    remove_placement_group(taken)


def test_what_is_planned_is_read_and_parted_without_a_cpu(tmp_path, monkeypatch):
    dataset = open_dataset(write_set(tmp_path / "set", rows=3 * NUM_LANES))
    rows = select_rows(dataset, "group", "train", 0, seed=0)
    planned = reading.raw_rows
    with ExitStack() as stack:

        def and_then_no_cpu_is_left(*asked):
            content = planned(*asked)  # looks into the files with a task of its own
            stack.enter_context(no_cpu_left())
            return content

        monkeypatch.setattr(reading, "raw_rows", and_then_no_cpu_is_left)
        split = read_split(dataset, rows)
        shards = LaneShards().configure({"train": split}, 2, None, None)
        tables = [
            one["train"].iter_batches(batch_size=None, batch_format="pyarrow") for one in shards
        ]
        parted = [table for k, blocks in enumerate(tables) for table in own_rows(blocks, k, 2)]
    ids = [number for table in parted for number in table.column("row_id").to_pylist()]
    assert sorted(ids) == rows.row_ids.tolist()
