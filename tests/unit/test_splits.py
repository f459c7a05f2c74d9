"""Splits: every row once, no group on two sides, the same whatever the order of rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.ingest.splits import SPLITS, group_split, random_split, split_sizes

FRACTIONS = (0.6, 0.2, 0.2)


@st.composite
def grouped_rows(draw):
    """Labels and groups of a set: groups of any size, each with its own mixture of labels."""
    num_groups = draw(st.integers(1, 40))
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 5), st.integers(0, num_groups - 1)), min_size=1, max_size=300
        )
    )
    labels = np.array([label for label, _ in rows])
    groups = [f"video{group}" for _, group in rows]
    return labels, groups


def test_sixty_twenty_twenty_of_the_studys_rows_is_exact():
    assert split_sizes(43_435, FRACTIONS) == (26_061, 8_687, 8_687)


@given(st.integers(0, 10_000), st.lists(st.integers(0, 100), min_size=3, max_size=3))
@settings(deadline=None)  # a busy machine is no failure
def test_sizes_add_up_and_are_within_one_row_of_the_share(num_rows, weights):
    total = sum(weights) or 1
    fractions = tuple(weight / total for weight in weights) if sum(weights) else (1.0, 0.0, 0.0)
    sizes = split_sizes(num_rows, fractions)
    assert sum(sizes) == num_rows
    assert all(
        abs(size - num_rows * fraction) < 1 for size, fraction in zip(sizes, fractions, strict=True)
    )


def test_a_random_split_has_exactly_the_given_sizes():
    splits = random_split([f"{row}.png" for row in range(100)], (61, 20, 19), seed=0)
    assert np.bincount(splits).tolist() == [61, 20, 19]


@given(st.permutations(range(50)), st.integers(0, 2**31 - 1))
@settings(max_examples=30, deadline=None)
def test_a_random_split_does_not_depend_on_the_order_of_rows(order, seed):
    sources = [f"{row}.png" for row in range(50)]
    splits = random_split(sources, (30, 10, 10), seed)
    shuffled = random_split([sources[row] for row in order], (30, 10, 10), seed)
    assert shuffled.tolist() == splits[list(order)].tolist()


def test_another_seed_gives_another_random_split():
    sources = [f"{row}.png" for row in range(100)]
    assert (
        random_split(sources, (60, 20, 20), 0).tolist()
        != random_split(sources, (60, 20, 20), 1).tolist()
    )


def test_sizes_that_do_not_add_up_are_refused():
    with pytest.raises(ValueError, match="number of rows, 3; got"):
        random_split(["a", "b", "c"], (1, 1, 2), 0)


@given(grouped_rows(), st.integers(0, 5))
@settings(deadline=None)  # a busy machine is no failure
def test_no_group_is_on_two_sides(rows, seed):
    labels, groups = rows
    splits = group_split(labels, groups, FRACTIONS, seed)
    assert splits.shape == labels.shape
    assert set(splits.tolist()) <= set(range(len(SPLITS)))
    sides = {group: set() for group in groups}
    for group, split in zip(groups, splits.tolist(), strict=True):
        sides[group].add(split)
    assert all(len(side) == 1 for side in sides.values())


@given(grouped_rows(), st.randoms(use_true_random=False))
@settings(deadline=None)  # a busy machine is no failure
def test_a_group_split_does_not_depend_on_the_order_of_rows(rows, random):
    labels, groups = rows
    order = list(range(len(labels)))
    random.shuffle(order)
    splits = group_split(labels, groups, FRACTIONS, 7)
    shuffled = group_split(labels[order], [groups[row] for row in order], FRACTIONS, 7)
    assert shuffled.tolist() == splits[order].tolist()


@given(grouped_rows())
@settings(deadline=None)  # a busy machine is no failure
def test_no_split_is_empty_where_there_are_groups_enough(rows):
    labels, groups = rows
    splits = group_split(labels, groups, FRACTIONS, 0)
    assert len(set(splits.tolist())) == min(3, len(set(groups)))


@given(grouped_rows())
@settings(deadline=None)  # a busy machine is no failure
def test_a_split_without_a_share_gets_no_row(rows):
    labels, groups = rows
    assert 1 not in group_split(labels, groups, (0.8, 0.0, 0.2), 0)


@given(grouped_rows())
@settings(deadline=None)  # a busy machine is no failure
def test_no_class_is_off_its_share_by_more_than_a_large_group(rows):
    # A greedy assignment can miss by about the largest group; twice that bounds all cases seen
    # and would not hold for an assignment that ignores the classes.
    labels, groups = rows
    splits = group_split(labels, groups, FRACTIONS, 0)
    largest = max(groups.count(group) for group in set(groups))
    for split, fraction in enumerate(FRACTIONS):
        for label in range(6):
            wanted = fraction * (labels == label).sum()
            got = ((labels == label) & (splits == split)).sum()
            assert abs(got - wanted) <= 2 * largest + 1


def test_single_images_are_stratified_to_the_row():
    labels = np.repeat(np.arange(6), [1000, 120, 500, 1500, 700, 300])
    groups = [f"sha256:{row}" for row in range(len(labels))]
    splits = group_split(labels, groups, FRACTIONS, 0)
    for label, total in enumerate(np.bincount(labels)):
        counts = np.bincount(splits[labels == label], minlength=3)
        assert np.abs(counts - total * np.array(FRACTIONS)).max() <= 1


def test_another_seed_moves_groups_of_one_size():
    labels = np.tile(np.arange(6), 50)
    groups = [f"video{row // 6}" for row in range(300)]
    first, second = (group_split(labels, groups, FRACTIONS, seed) for seed in (0, 1))
    assert first.tolist() != second.tolist()


def test_an_empty_set_has_an_empty_split():
    assert group_split(np.empty(0, dtype=np.int64), [], FRACTIONS, 0).shape == (0,)
