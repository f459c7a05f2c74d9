"""Slots that a cluster has no room for yet: what is asked for, and when a slot may use it."""

import pytest

from orchestrator.config.experiment import Resources
from orchestrator.tuning import growth
from orchestrator.tuning.capacity import Node, plan_slots
from orchestrator.tuning.growth import LOOK_EVERY_S, Growth

GPU_NODE = Node(cpus=8, gpus=1)
WANTED = Resources(slots=3, cpus_per_worker=8, gpus_per_worker=1)


class Cluster:
    """Nodes that come and go, and the placement groups that wait for them."""

    def __init__(self, monkeypatch, *nodes):
        self.nodes, self.groups, self.now_s, self.there = list(nodes), [], 0.0, set()
        monkeypatch.setattr(growth, "placement_group", self._make)
        monkeypatch.setattr(growth, "remove_placement_group", self.groups.remove)
        monkeypatch.setattr(growth, "_is_there", lambda group: group in self.there)

    def _make(self, bundles, name):
        self.groups.append((len(self.groups), tuple(map(str, bundles)), name))
        return self.groups[-1]

    def growth(self, wanted=WANTED, num_lineages=9):
        capacity = plan_slots(self.nodes, wanted, num_lineages)
        return Growth("s", capacity, lambda: tuple(self.nodes), lambda: self.now_s)

    def later(self):
        self.now_s += LOOK_EVERY_S


@pytest.fixture
def cluster(monkeypatch):
    return Cluster(monkeypatch, GPU_NODE)


def test_each_missing_slot_is_asked_for_in_its_size(cluster):
    assert cluster.growth().num_slots(wanted=9) == 1
    assert len(cluster.groups) == 2
    _, bundles, name = cluster.groups[0]
    assert bundles == ("{'CPU': 8, 'GPU': 1.0}",)
    assert name == "a slot that s waits for"


def test_nodes_are_used_as_they_come_and_nothing_is_asked_for_when_all_are_there(cluster):
    growing = cluster.growth()
    growing.num_slots(9)
    for expected, still_asked in ((2, 1), (3, 0)):
        cluster.nodes.append(GPU_NODE)
        assert growing.num_slots(9) == expected - 1, "looked at every few seconds only"
        cluster.later()
        assert growing.num_slots(9) == expected
        assert len(cluster.groups) == still_asked


def test_a_shorter_queue_asks_for_less(cluster):
    growing = cluster.growth()
    growing.num_slots(9)
    cluster.later()
    growing.num_slots(2)
    assert len(cluster.groups) == 1
    cluster.later()
    growing.num_slots(1)
    assert cluster.groups == []


def test_room_that_was_found_before_its_slot_could_take_it_is_let_go(cluster):
    growing = cluster.growth()
    growing.num_slots(9)
    first = cluster.groups[0]
    cluster.there.add(first)
    cluster.later()
    growing.num_slots(9)
    assert first not in cluster.groups
    assert len(cluster.groups) == 2


def test_a_study_that_named_no_number_of_slots_asks_for_nothing(cluster):
    growing = cluster.growth(Resources(cpus_per_worker=8, gpus_per_worker=1))
    cluster.nodes.append(GPU_NODE)
    assert growing.num_slots(9) == 1
    assert cluster.groups == []


def test_the_end_leaves_nothing_waiting(cluster):
    growing = cluster.growth()
    growing.num_slots(9)
    growing.end()
    assert cluster.groups == []
