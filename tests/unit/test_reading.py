"""Which rows a split is made of, and which of them each worker is given. No Ray is started."""

import numpy as np
import pyarrow as pa
import pytest
from prepared_set import write_set

from orchestrator.config.errors import DatasetError
from orchestrator.ingest.dataset import open_dataset, read_split_index
from orchestrator.ingest.order import NUM_LANES
from orchestrator.ingest.reading import (
    LaneShards,
    SplitRows,
    _keep_chosen,
    _numbered,
    own_rows,
    select_rows,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_set(tmp_path_factory.mktemp("data") / "faces", rows=120))


def test_without_a_limit_a_split_is_all_its_rows_in_the_order_of_their_ids(dataset):
    index = read_split_index(dataset, "group")
    rows = select_rows(dataset, "group", "train", 0, seed=0)
    expected = np.flatnonzero(index.splits == "train")
    assert rows.row_ids.tolist() == expected.tolist()
    assert rows.num_groups == len(set(index.groups[expected]))
    names = np.unique(index.groups[expected])
    assert names[rows.group_index].tolist() == index.groups[expected].tolist()


def test_a_limit_takes_that_many_of_each_class_and_another_seed_others(dataset):
    labels = read_split_index(dataset, "random").labels
    rows = select_rows(dataset, "random", "train", 5, seed=0)
    again = select_rows(dataset, "random", "train", 5, seed=0)
    other = select_rows(dataset, "random", "train", 5, seed=1)
    assert np.bincount(labels[rows.row_ids]).tolist() == [5, 5, 5]
    assert rows.row_ids.tolist() == again.row_ids.tolist() == sorted(rows.row_ids)
    assert rows.row_ids.tolist() != other.row_ids.tolist()
    assert set(rows.group_index) == set(range(rows.num_groups))


def test_a_limit_above_the_class_takes_all_of_it(dataset):
    limited = select_rows(dataset, "group", "validation", 10_000, seed=0)
    assert limited.row_ids.tolist() == (
        select_rows(dataset, "group", "validation", 0, seed=0).row_ids.tolist()
    )


def test_an_unknown_protocol_is_refused_with_the_choices(dataset):
    with pytest.raises(DatasetError, match=r"data.protocol: .*Choices: group, random"):
        select_rows(dataset, "official", "train", 0, seed=0)


def test_a_block_keeps_the_chosen_rows_and_learns_their_ranks_and_groups():
    rows = SplitRows(np.array([2, 5, 9]), np.array([1, 0, 1]), 2)
    block = pa.table({"row_id": [9, 3, 2, 11, 5], "label": [0, 1, 2, 3, 4]})
    kept = _keep_chosen(block, rows.row_ids, rows.group_index).to_pydict()
    assert kept == {
        "row_id": [9, 2, 5],
        "label": [0, 2, 4],
        "rank": [2, 0, 1],
        "group_index": [1, 1, 0],
    }


def test_rows_are_numbered_by_what_was_kept_not_by_where_they_were_listed():
    block = pa.table({"image": [b"c", b"a"], "listed": [9, 2]})
    numbered = _numbered(block, np.array([2, 5, 9, 11]))
    assert numbered.to_pydict() == {"image": [b"c", b"a"], "row_id": [2, 0]}


@pytest.mark.parametrize("num_workers", [1, 2, 3, 7])
def test_every_row_goes_to_exactly_one_worker_and_none_is_dropped(num_workers):
    blocks = [pa.table({"rank": np.arange(start, start + 143)}) for start in range(0, 1001, 143)]
    given = [pa.concat_tables(own_rows(blocks, k, num_workers)) for k in range(num_workers)]
    ranks = [rank for table in given for rank in table.column("rank").to_pylist()]
    assert sorted(ranks) == list(range(1001))


def test_more_workers_than_lanes_are_refused():
    with pytest.raises(ValueError, match=r"resources.workers: must be at most 64; got 65"):
        LaneShards().configure({}, NUM_LANES + 1, None, None)
