"""The audit: duplicates and leaks are counted exactly."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.ingest.audit import audit


def audited(digests, labels, groups, split):
    splits = {"group": np.array(split, dtype=np.int8)}
    return audit(np.array(digests, dtype=np.bytes_), np.array(labels), np.array(groups), splits)


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


def test_a_video_on_both_sides_is_a_leak():
    leak = audited([b"a", b"b", b"c"], [0, 0, 0], ["v1", "v1", "v2"], [0, 2, 1]).leaks["group"]
    assert (leak.groups_across, leak.held_out_same_group, leak.held_out_rows) == (1, 1, 2)


def test_digests_that_end_in_zero_bytes_stay_apart():
    # numpy strips trailing zero bytes of fixed-size strings: it must not make them equal.
    assert (
        audited([b"a\x00", b"b\x00", b"a\x01"], [0] * 3, list("xyz"), [0] * 3).duplicate_rows == 0
    )


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
