"""The pool fits the cluster, uses it, and leaves a CPU to reading."""

import pytest

from orchestrator.config.errors import ConfigError
from orchestrator.inference.actors import CPUS_PER_ACTOR, ActorPlan, plan_actors
from orchestrator.tuning.capacity import Node

MANY = 10_000


def plan(nodes, actors=0, gpus=None, num_batches=MANY):
    return plan_actors(nodes, actors=actors, gpus_per_actor=gpus, num_batches=num_batches)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([Node(1, 0)], ActorPlan(1, 0, 0.0, 1)),
        ([Node(2, 0)], ActorPlan(1, 1, 0.0, 2)),
        ([Node(64, 0)] * 2, ActorPlan(128 // CPUS_PER_ACTOR, 3, 0.0, 4)),
        ([Node(4, 0), Node(16, 8)], ActorPlan(8, 2, 1.0, 2)),
        ([Node(4, 0), Node(0, 0)], ActorPlan(1, 3, 0.0, 4)),
    ],
)
def test_without_a_wish_the_cluster_is_filled(nodes, expected):
    assert plan(nodes) == expected


@pytest.mark.parametrize("actors", [0, 1, 3, 7])
@pytest.mark.parametrize(
    "nodes", [[Node(7, 0)], [Node(8, 0), Node(3, 0)], [Node(9, 2), Node(9, 6)]]
)
def test_a_cpu_is_always_left_to_reading_and_every_actor_finds_a_place(nodes, actors):
    chosen = plan(nodes, actors)
    assert chosen.actors * chosen.cpus <= sum(node.cpus for node in nodes) - 1
    places = sum(node.cpus // max(1, chosen.cpus) for node in nodes)
    assert places >= chosen.actors
    if actors:
        assert chosen.actors == actors


def test_there_are_no_more_actors_than_batches():
    assert plan([Node(64, 0)], num_batches=2).actors == 2
    assert plan([Node(64, 0)], actors=9, num_batches=0).actors == 1


def test_a_fraction_shares_a_gpu_and_none_is_used_where_none_is_wanted():
    assert plan([Node(8, 2)], gpus=0.5).actors == 4
    assert plan([Node(8, 2)], gpus=0.3).actors == 6
    assert plan([Node(8, 2)], gpus=0.0) == ActorPlan(2, 3, 0.0, 4)


@pytest.mark.parametrize(
    ("nodes", "actors", "gpus"),
    [([Node(2, 0)], 3, None), ([Node(4, 0)], 0, 1.0), ([Node(4, 1)], 2, 1.0)],
)
def test_what_does_not_fit_is_refused_with_the_numbers(nodes, actors, gpus):
    with pytest.raises(ConfigError, match=r"actors: must fit the cluster .* CPUs and .* fit"):
        plan(nodes, actors, gpus)


def test_the_plan_says_what_it_is():
    assert plan([Node(4, 0)]).words == "1 with 4 threads"
    assert plan([Node(8, 2)]).words == "2 with 1 GPU each"
