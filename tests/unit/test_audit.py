"""The audit: copies and leaks are counted exactly."""

import json
from dataclasses import asdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.ingest.audit import ClassBalance, audit, find_copies, units

A, NEAR_A, B, C = (np.uint64(value) for value in (0xFF, 0xF1, 0xFF << 40, 0xFF << 20))


def audited(digests, labels, groups, split, hashes=None):
    splits = {"group": np.array(split, dtype=np.int8)}
    if hashes is None:
        hashes = np.zeros(len(digests), dtype=np.uint64)  # no texture: near to none
    copies = find_copies(np.array(digests, dtype=np.bytes_), np.array(hashes, dtype=np.uint64))
    names = np.array(groups, dtype=np.str_)
    return audit(copies, np.array(labels, dtype=np.int64), names, splits, ("x", "y", "z", "w", "v"))


def test_duplicates_conflicts_and_leaks_of_a_small_set_are_those_counted_by_hand():
    found = audited(
        digests=[b"a", b"a", b"b", b"c", b"c", b"c", b"d"],
        labels=[0, 0, 1, 2, 2, 0, 1],
        groups=["v1", "v2", "v2", "v3", "v3", "v4", "v5"],
        split=[0, 1, 1, 0, 0, 0, 2],
    )
    assert (found.duplicate_groups, found.duplicate_rows, found.label_conflicts) == (2, 5, 1)
    assert found.groups == 5
    leak = found.leaks["group"]
    assert (leak.duplicate_groups_across, leak.groups_across) == (1, 0)
    assert (leak.held_out_rows, leak.held_out_duplicates, leak.held_out_same_group) == (3, 1, 0)


def test_near_copies_conflicts_and_leaks_are_those_counted_by_hand():
    found = audited(
        digests=[b"a", b"b", b"a", b"c", b"d", b"e"],
        hashes=[A, NEAR_A, A, B, B, C],
        labels=[0, 1, 0, 2, 2, 0],
        groups=["v1", "v2", "v1", "v3", "v3", "v4"],
        split=[0, 1, 0, 0, 2, 1],
    )
    assert (found.near_groups, found.near_rows, found.near_label_conflicts) == (2, 5, 1)
    assert found.near_groups_across_groups == 1  # the other one is frames of one video
    leak = found.leaks["group"]
    assert (leak.near_groups_across, leak.held_out_near, leak.held_out_duplicates) == (2, 2, 0)


def test_exact_copies_without_texture_are_near_copies_too():
    found = audited([b"a", b"a", b"b"], [0, 0, 0], ["v1", "v2", "v3"], [0, 1, 1])
    assert (found.near_groups, found.near_rows) == (1, 2)
    assert found.leaks["group"].held_out_near == 1


def test_a_video_on_both_sides_is_a_leak():
    leak = audited([b"a", b"b", b"c"], [0, 0, 0], ["v1", "v1", "v2"], [0, 2, 1]).leaks["group"]
    assert (leak.groups_across, leak.held_out_same_group, leak.held_out_rows) == (1, 1, 2)


def test_digests_that_end_in_zero_bytes_stay_apart():
    # numpy strips trailing zero bytes of fixed-size strings: it must not make them equal.
    assert (
        audited([b"a\x00", b"b\x00", b"a\x01"], [0] * 3, list("xyz"), [0] * 3).duplicate_rows == 0
    )


def test_a_class_that_is_mostly_one_video_is_seen():
    found = audited([b"a", b"b", b"c", b"d"], [0, 0, 0, 1], ["v1", "v1", "v2", "v2"], [0] * 4)
    assert found.classes["x"] == ClassBalance(rows=3, groups=2, largest_group_rows=2)
    assert found.classes["y"] == ClassBalance(rows=1, groups=1, largest_group_rows=1)
    assert found.classes["z"] == ClassBalance(rows=0, groups=0, largest_group_rows=0)


def test_an_audit_is_plain_json():
    found = asdict(audited([b"a", b"a"], [0, 1], ["v1", "v2"], [0, 1]))
    assert json.loads(json.dumps(found)) == found


def test_units_join_groups_that_share_copies_and_leave_others_alone():
    groups = np.array(["b", "b", "c", "a", "d"])
    assert units(groups, np.array([0, 1, 1, 2, 3])).tolist() == ["b", "b", "b", "a", "d"]
    assert units(groups, np.array([0, 1, 1, 0, 3])).tolist() == ["a", "a", "a", "a", "d"]
    assert units(groups, np.arange(5)).tolist() == groups.tolist()
    assert units(groups[:0], np.arange(0)).tolist() == []


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=30),
    st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_units_do_not_depend_on_the_order_of_rows_and_part_neither_group_nor_copies(rows, chance):
    def of(some):
        groups = np.array([f"g{group}" for group, _ in some], dtype=np.str_)
        return units(groups, np.array([copy for _, copy in some], dtype=np.int64)).tolist()

    found = of(rows)
    for side in (0, 1):
        unit_of = {row[side]: unit for row, unit in zip(rows, found, strict=True)}
        assert [unit_of[row[side]] for row in rows] == found
    order = list(range(len(rows)))
    chance.shuffle(order)
    assert of([rows[place] for place in order]) == [found[place] for place in order]


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3, st.integers(0, 2)), max_size=40))
@settings(deadline=None)  # a busy machine is no failure
def test_counts_equal_those_of_the_plain_definition(rows):
    found = audited(
        [bytes([65 + row[0]]) for row in rows],
        [row[1] for row in rows],
        [str(row[2]) for row in rows],
        [row[3] for row in rows],
    )
    images = [row[0] for row in rows]
    repeated = {image for image in images if images.count(image) > 1}
    assert found.duplicate_rows == sum(image in repeated for image in images)
    assert found.duplicate_groups == len(repeated)
    train = [row for row in rows if row[3] == 0]
    held_out = [row for row in rows if row[3] != 0]
    leak = found.leaks["group"]
    assert leak.held_out_duplicates == sum(r[0] in {t[0] for t in train} for r in held_out)
    assert leak.held_out_same_group == sum(r[2] in {t[2] for t in train} for r in held_out)
    assert sum(balance.rows for balance in found.classes.values()) == len(rows)
