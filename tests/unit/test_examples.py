"""Examples: pairs near enough, telling first, one of a group; images of each class."""

import numpy as np

from orchestrator.ingest.examples import Pair, example_pairs, example_rows

HASHES = np.array([0b0, 0b1, 0b11, 1 << 40, 1 << 40, 7 << 50, 7 << 50], dtype=np.uint64)
IDS = np.array([0, 0, 0, 1, 1, 2, 2])
LABELS = np.array([1, 1, 1, 1, 1, 0, 2])
SPLITS = np.array([0, 0, 2, 0, 1, 0, 0])


def test_pairs_with_several_labels_come_first_then_those_across_splits():
    pairs = example_pairs(HASHES, IDS, limit=9, prefer=[LABELS, SPLITS])
    assert pairs[0] == Pair(5, 6, 0)
    assert {(pair.first, pair.second) for pair in pairs[1:]} <= {(0, 2), (1, 2), (3, 4)}
    assert len(pairs) == 3


def test_rows_that_must_differ_make_no_pair_where_they_do_not():
    exact = np.array([0, 1, 2, 3, 3, 4, 4])
    (pair,) = example_pairs(HASHES, IDS, limit=9, apart=exact)
    assert {pair.first, pair.second} < {0, 1, 2}


def test_ends_of_a_chain_make_no_pair():
    (pair,) = example_pairs(HASHES[:3], IDS[:3], limit=9, prefer=[SPLITS[:3]], threshold=1)
    assert pair == Pair(1, 2, 1)


def test_no_more_pairs_than_wanted_and_the_same_each_time():
    ids = np.repeat(np.arange(500), 2)
    hashes = np.full(1000, 9, dtype=np.uint64)
    pairs = example_pairs(hashes, ids, limit=7)
    assert len({ids[pair.first] for pair in pairs}) == 7
    assert pairs == example_pairs(hashes, ids, limit=7)
    assert not {0, 1, 2, 3, 4, 5, 6} >= {ids[pair.first] for pair in pairs}


def test_a_large_group_is_looked_at_over_all_its_labels():
    hashes = np.full(5000, 9, dtype=np.uint64)
    labels = np.zeros(5000, dtype=np.int64)
    labels[4321] = 1
    (pair,) = example_pairs(hashes, np.zeros(5000, dtype=np.int64), limit=3, prefer=[labels])
    assert 4321 in (pair.first, pair.second)


def test_rows_without_copies_give_no_examples():
    ids = np.arange(4)
    assert example_pairs(HASHES[:4], ids, limit=5, prefer=[LABELS[:4]]) == ()
    assert example_pairs(HASHES[:0], ids[:0], limit=5) == ()


def test_images_of_a_class_come_from_as_many_groups_as_there_are():
    labels = np.array([0] * 100 + [1] * 4)
    groups = np.array([0] * 90 + list(range(1, 11)) + [50] * 4)
    of_first, of_second, of_third = example_rows(labels, groups, num_classes=3, limit=11)
    assert sorted(groups[of_first]) == list(range(11))
    assert of_second.tolist() == [100, 101, 102, 103]
    assert of_third.tolist() == []


def test_fewer_groups_than_wanted_are_filled_up_with_more_of_each():
    (rows,) = example_rows(np.zeros(30, dtype=int), np.arange(30) // 15, num_classes=1, limit=8)
    assert len(set(rows.tolist())) == 8
