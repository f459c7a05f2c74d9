"""Sums, weights and picks go by whole groups."""

import numpy as np
import pytest

from orchestrator.shift.groups import (
    bootstrap_weights,
    group_class_sums,
    group_sums,
    means_and_pulls,
    number_groups,
    p_value,
    pick_evenly,
    random_signs,
)


def generator():
    return np.random.default_rng(0)


def test_group_names_of_any_kind_become_numbers():
    for names in (["b", "a", "b"], [b"\xff", b"\x00", b"\xff"], [7, 3, 7]):
        index, count = number_groups(np.array(names), generator())
        assert (index.tolist(), count) == ([1, 0, 1], 2)


def test_more_groups_than_the_limit_become_blocks_of_whole_groups():
    groups = np.repeat(np.arange(50), 3)
    index, count = number_groups(groups, generator(), limit=10)
    assert count == 10
    assert np.bincount(index).tolist() == [15] * 10
    assert all(len(set(index[groups == group])) == 1 for group in range(50))


def test_sums_by_group_and_class_equal_a_plain_loop():
    rng = generator()
    values, group, label = rng.normal(size=(40, 3)), rng.integers(0, 5, 40), rng.integers(0, 4, 40)
    sums, counts = group_class_sums(values, group, 6, label, 4)
    assert sums.shape == (6, 4, 3)
    for g in range(6):
        assert group_sums(values, group, 6)[g] == pytest.approx(values[group == g].sum(axis=0))
        for k in range(4):
            rows = values[(group == g) & (label == k)]
            assert sums[g, k] == pytest.approx(rows.sum(axis=0))
            assert counts[g, k] == len(rows)


def test_bootstrap_weights_are_positive_and_one_on_average():
    weights = bootstrap_weights(400, 50, generator())
    assert (weights > 0).all()
    assert weights.mean() == pytest.approx(1, abs=0.03)
    assert weights.var() == pytest.approx(1, abs=0.1)


def test_pulls_have_the_variance_of_a_mean_of_equal_groups():
    values = generator().normal(size=30)
    mean, pulls = means_and_pulls(values[:, None], np.ones(30))
    assert mean == pytest.approx([values.mean()])
    # CR2 of groups of one row is the textbook estimate, n - 1 included.
    assert np.square(pulls).sum() == pytest.approx(values.var(ddof=1) / 30)


def test_copies_of_rows_within_a_group_change_no_pull():
    values, sizes = generator().normal(size=(12, 2)), np.ones(12)
    once, many = means_and_pulls(values, sizes), means_and_pulls(values * 9, sizes * 9)
    assert once[1] == pytest.approx(many[1])


def test_a_group_that_is_alone_and_a_class_without_rows_pull_nothing():
    sums = np.array([[[2.0], [0.0]], [[0.0], [0.0]]])
    means, pulls = means_and_pulls(sums, np.array([[4, 0], [0, 0]]))
    assert means.tolist() == [[0.5], [0.0]]
    assert not pulls.any()


def test_signs_are_fair():
    signs = random_signs(500, 40, generator())
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.03


def test_a_p_value_counts_the_observed_one_and_ties():
    assert p_value(2.0, np.array([1.0, 2.0, 3.0])) == 3 / 4
    assert p_value(9.0, np.array([1.0, 2.0, 3.0])) == 1 / 4
    assert p_value(0.3, np.array([0.1 + 0.2])) == 1.0


def test_rows_are_picked_evenly_from_groups_of_any_length():
    groups = np.repeat(np.arange(4), [100, 10, 10, 3])
    rows = pick_evenly(groups, np.repeat(np.arange(9), 8), 1000, generator())
    # Half of the groups of either set have at least 8 rows.
    assert np.bincount(groups[rows]).tolist() == [8, 8, 8, 3]
    assert (np.diff(rows) > 0).all()


def test_a_bound_on_rows_shortens_every_group_before_it_drops_any():
    groups = np.repeat(np.arange(20), 10)
    few = pick_evenly(groups, groups, 60, generator())
    assert np.bincount(groups[few]).tolist() == [3] * 20
    fewer = pick_evenly(groups, groups, 15, generator())
    assert len(fewer) == 15
    assert len(set(groups[fewer])) == 15
