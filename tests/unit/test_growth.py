"""Slots that a cluster has no room for yet: what is asked for, and when a slot may use it."""

from itertools import count

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
        self.numbers = count()
        monkeypatch.setattr(growth, "placement_group", self._make)
        monkeypatch.setattr(growth, "remove_placement_group", self.groups.remove)
        monkeypatch.setattr(growth, "_is_there", lambda group: group in self.there)

    def _make(self, bundles, name):
        self.groups.append((next(self.numbers), tuple(map(str, bundles)), name))
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


TWO = Resources(cpus_per_worker=8, gpus_per_worker=1)


@pytest.fixture
def halved(monkeypatch):
    """A cluster of two slots that lost the node of one."""
    cluster = Cluster(monkeypatch, GPU_NODE, GPU_NODE)
    growing = cluster.growth(TWO)
    cluster.nodes.pop()
    return cluster, growing


def test_a_slot_that_could_not_start_is_one_less_and_asked_for(halved):
    cluster, growing = halved
    assert growing.num_slots(9, running=2) == 2, "the healthy one is not to wait for the other"
    growing.could_not_start()
    assert growing.num_slots(9, running=1) == 1
    assert len(cluster.groups) == 1
    growing.could_not_start()
    assert growing.num_slots(9) == 1, "never none"


def test_it_is_back_with_its_node(halved):
    cluster, growing = halved
    growing.could_not_start()
    growing.num_slots(9, running=1)
    cluster.nodes.append(GPU_NODE)
    cluster.later()
    assert growing.num_slots(9, running=1) == 1, "Ray has not found its room yet"
    cluster.there.update(cluster.groups)
    cluster.later()
    assert growing.num_slots(9, running=1) == 2
    assert cluster.groups == []


def test_the_room_of_a_slot_between_two_legs_is_no_room_for_another(halved):
    cluster, growing = halved
    growing.could_not_start()
    growing.num_slots(9, running=1)
    first = cluster.groups[0]
    cluster.there.add(first)
    cluster.later()
    assert growing.num_slots(9, running=0) == 1
    assert first not in cluster.groups
    assert len(cluster.groups) == 1


def test_a_slot_that_lost_a_node_which_came_later_keeps_its_seat_until_it_found_no_room(cluster):
    growing = cluster.growth()
    growing.num_slots(9)
    cluster.nodes += [GPU_NODE, GPU_NODE]
    cluster.later()
    assert growing.num_slots(9, running=1) == 3
    growing.num_slots(9, running=3)
    cluster.nodes.pop()
    cluster.later()
    assert growing.num_slots(9, running=2) == 3
    growing.could_not_start()
    cluster.later()
    assert growing.num_slots(9, running=2) == 2


def test_nodes_that_no_slot_uses_may_go(cluster):
    growing = cluster.growth()
    growing.num_slots(9)
    cluster.nodes += [GPU_NODE, GPU_NODE]
    cluster.later()
    growing.num_slots(9, running=1)
    cluster.nodes.pop()
    for _ in range(2):
        cluster.later()
        slots = growing.num_slots(9, running=1)
    assert slots == 2
