"""Ties with the winner: equals are not told apart, real differences are, and what is missing says so."""

import numpy as np
import pytest

from orchestrator.results.ties import MAX_COMPARED, behind_winner, mean_interval
from tests.unit.made_up_counts import study


def test_the_winner_is_never_behind_itself():
    first = behind_winner(study([0.5, 0.4, 0.0]))[0]
    assert (first.difference, first.low, first.high) == (0, 0, 0)
    assert first.is_tie


def test_a_large_difference_is_seen_and_a_small_one_is_not():
    behind = behind_winner(study([1.0, 0.95, -1.0]))
    assert [apart.is_tie for apart in behind] == [True, True, False]
    assert behind[2].difference > 0.2
    assert behind[2].low < behind[2].difference < behind[2].high


def test_pairing_sees_what_the_two_intervals_alone_would_hide():
    """Hard videos move both configurations alike: their intervals overlap, the difference is clear."""
    better, worse = study([0.8, 0.4], own=0.02, num_videos=30, seed=5)
    intervals = [mean_interval([groups for _, groups in of.values()]) for of in (better, worse)]
    assert intervals[1][1] > intervals[0][0], "they overlap"
    assert not behind_winner([better, worse])[1].is_tie


def test_equals_are_seldom_told_apart_though_the_best_of_ten_is_picked():
    """At most 5 in 100 studies should claim any difference; 20 studies allow three by chance."""
    wrong = 0
    for seed in range(20):
        behind = behind_winner(study([0.5] * 10, seed=seed))
        wrong += any(not apart.is_tie for apart in behind)
    assert wrong <= 3


def test_one_configuration_more_widens_the_intervals_of_the_others():
    few, many = study([1.0, 0.2]), study([1.0, 0.2, *[-0.5] * 20])
    width = [b.high - b.low for b in (behind_winner(few)[1], behind_winner(many)[1])]
    assert width[1] > width[0]


def test_configurations_that_answer_alike_are_ties():
    (only,) = study([0.5])
    assert [apart.is_tie for apart in behind_winner([only, only])] == [True, True]


def test_what_has_no_counts_is_not_compared():
    first, second, third = study([1.0, 0.5, 0.0])
    bare = {seed: (score, None) for seed, (score, _) in second.items()}
    compared = behind_winner([first, bare, third])
    assert [apart is None for apart in compared] == [False, True, False]
    assert behind_winner([bare, first, third]) == [None] * 3, "nor is anything with the winner"
    other_set = study([0.1], num_videos=12)[0]
    assert behind_winner([first, second, other_set])[2] is None


def test_only_those_with_all_seeds_of_the_winner_are_compared():
    first, second, third = study([1.0, 0.0, -1.0])
    whole = behind_winner([first, third])
    for fewer in ({0: second[0]}, {7: second[0]}):
        compared = behind_winner([first, fewer, third])
        assert compared == [whole[0], None, whole[1]], "it changes nothing for the others"
    assert behind_winner([first, {7: second[0]}]) == [None, None]
    apart = behind_winner([{0: first[0]}, third])[1]
    assert apart.difference == pytest.approx(first[0][0] - third[0][0]), "over the winner's"


def test_of_a_long_leaderboard_the_best_are_compared():
    long = study([0.5] * (MAX_COMPARED + 3), num_seeds=1, num_videos=9)
    compared = behind_winner(long)
    assert [apart is not None for apart in compared] == [True] * MAX_COMPARED + [False] * 3


def test_nothing_to_compare_is_no_error():
    assert behind_winner([]) == []
    assert behind_winner(study([0.5])) == [None]


def test_the_interval_of_a_mean_holds_it_and_widens_with_the_spread_of_seeds():
    def width(own: float) -> float:
        (seeds,) = study([0.5], own=own, seed=3, num_videos=200)
        low, high = mean_interval([groups for _, groups in seeds.values()])
        assert low < np.mean([score for score, _ in seeds.values()]) < high
        return high - low

    assert width(2.0) > width(0.0)
    assert mean_interval([None, None]) is None
