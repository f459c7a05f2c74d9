"""The search for near hashes: the result is that of comparing all with all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.ingest import near_duplicates
from orchestrator.ingest.near_duplicates import MAX_THRESHOLD, connected, near_groups, varies
from orchestrator.ingest.perceptual_hash import FLAT


def words(*values):
    return np.array(values, dtype=np.uint64)


def flipped(hashes, times, rng):
    """The hashes with so many bits turned over, some of them perhaps turned back."""
    for _ in range(times):
        hashes = hashes ^ (np.uint64(1) << rng.integers(0, 64, len(hashes), dtype=np.uint64))
    return hashes


def plainly_grouped(hashes, threshold):
    """Groups by comparing all with all: each row takes the lowest number it can reach."""
    near = np.bitwise_count(hashes[:, None] ^ hashes[None, :]) <= threshold
    near &= (hashes != FLAT)[:, None] & (hashes != FLAT)[None, :]
    np.fill_diagonal(near, True)
    lowest = np.arange(len(hashes))
    while True:
        further = np.where(near, lowest[None, :], len(hashes)).min(axis=1)
        if np.array_equal(further, lowest):
            return lowest
        lowest = further


def assert_same_grouping(found, expected):
    pairs = set(zip(found.tolist(), expected.tolist(), strict=True))
    assert len(pairs) == len(set(found.tolist())) == len(set(expected.tolist()))


@st.composite
def clustered_hashes(draw):
    """Random words around some centres, sometimes with most bits the same in all."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    centres = rng.integers(0, 2**64, draw(st.integers(1, 12)), dtype=np.uint64)
    hashes = flipped(rng.choice(centres, draw(st.integers(1, 120))), draw(st.integers(0, 8)), rng)
    if draw(st.booleans()):
        hashes = hashes & rng.integers(0, 2**64, dtype=np.uint64) & np.uint64(0xFF00FF00FF00FF)
    return hashes


@given(clustered_hashes(), st.integers(0, MAX_THRESHOLD))
@settings(deadline=None, max_examples=60)
def test_groups_are_those_of_comparing_all_with_all(hashes, threshold):
    assert_same_grouping(near_groups(hashes, threshold), plainly_grouped(hashes, threshold))


@pytest.mark.parametrize("threshold", [1, 4, 7])
def test_large_buckets_give_the_same_groups(monkeypatch, threshold):
    # With tiny limits every bucket is large, is compared in blocks and then parted further.
    monkeypatch.setattr(near_duplicates, "_SMALL", 4)
    monkeypatch.setattr(near_duplicates, "_CELLS", 64)
    monkeypatch.setattr(near_duplicates, "_ROUNDS", 2)
    monkeypatch.setattr(near_duplicates, "_MAX_LINKS", 10)
    rng = np.random.default_rng(threshold)
    alike = flipped(np.repeat(rng.integers(0, 2**64, 4, dtype=np.uint64), 20), 5, rng)
    loose = rng.integers(0, 2**20, 60, dtype=np.uint64) << np.uint64(30) | np.uint64(5)
    hashes = np.concatenate([alike, loose])
    assert_same_grouping(near_groups(hashes, threshold), plainly_grouped(hashes, threshold))


def test_a_bucket_of_many_near_words_is_one_group():
    # Comparing all of these with all would take 450 million steps in each of 15 tables.
    rng = np.random.default_rng(0)
    centre, others = rng.integers(1, 2**64, 2, dtype=np.uint64)
    hashes = np.append(flipped(np.full(30_000, centre), 3, rng), others)
    sizes = np.bincount(near_groups(hashes, 4))
    assert sorted(sizes) == [1, 30_000]


def test_a_chain_is_one_group_though_its_ends_differ():
    chain = words(0xF000, 0xF00F, 0xF0FF, 0xFFFF)
    assert near_groups(chain, 4).tolist() == [0, 0, 0, 0]
    assert len(set(near_groups(chain, 3))) == 4


def test_rows_without_texture_are_each_alone():
    ids = near_groups(words(FLAT, 7, FLAT, 7, 1 << 40), 2)
    assert ids[1] == ids[3]
    assert sorted(set(ids.tolist())) == [0, 1, 2, 3]


def test_no_rows_have_no_groups():
    assert near_groups(words(), 4).shape == (0,)
    assert near_groups(words(FLAT), 4).tolist() == [0]


@pytest.mark.parametrize("threshold", [-1, MAX_THRESHOLD + 1])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold: must be 0"):
        near_groups(words(1, 2), threshold)


def test_an_id_varies_where_its_rows_have_several_values():
    ids = np.array([0, 0, 1, 1, 3, 3, 3])
    values = np.array([5, 5, 5, 6, 7, 7, 0])
    assert varies(ids, values).tolist() == [False, True, False, True]
    assert varies(ids[:0], values[:0]).tolist() == []


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), edges(n))))
@settings(deadline=None)
def test_connected_parts_are_those_found_by_walking(graph):
    num_nodes, links = graph
    one = np.array([link[0] for link in links], dtype=np.int64)
    other = np.array([link[1] for link in links], dtype=np.int64)
    part = connected(one, other, num_nodes)
    expected = np.arange(num_nodes)
    for _ in range(num_nodes):
        for a, b in links:
            expected[[a, b]] = min(expected[a], expected[b])
    assert_same_grouping(part, expected)
    assert sorted(set(part.tolist())) == list(range(part.max() + 1))


def edges(num_nodes):
    node = st.integers(0, num_nodes - 1)
    return st.lists(st.tuples(node, node), max_size=40)
