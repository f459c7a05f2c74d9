"""How many slots a cluster holds: all that fit and can be used, or a refusal with the numbers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.errors import ConfigError
from orchestrator.config.experiment import Resources
from orchestrator.tuning import capacity
from orchestrator.tuning.capacity import Node, SlotCapacity, plan_slots, this_machine

MANY = 1000


def plan(nodes, lineages=MANY, **wanted) -> SlotCapacity:
    return plan_slots([Node(*node) for node in nodes], Resources(**wanted), lineages)


@pytest.mark.parametrize(
    ("nodes", "lineages", "wanted", "slots", "cpus", "gpus"),
    [
        ([(2, 0)], 4, {}, 2, 1, 0),
        ([(8, 0)], 4, {}, 4, 2, 0),
        ([(9, 0)], 4, {}, 4, 2, 0),
        ([(8, 0)], 4, {"slots": 1}, 1, 8, 0),
        ([(8, 0)], 4, {"cpus_per_worker": 3}, 2, 3, 0),
        ([(8, 0)], 1, {"workers": 2}, 1, 4, 0),
        ([(8, 0), (8, 0)], 4, {"workers": 4}, 4, 1, 0),
        ([(3, 0), (3, 0)], 4, {"cpus_per_worker": 2}, 2, 2, 0),
        ([(16, 4)], MANY, {}, 4, 4, 1.0),
        ([(16, 4)], MANY, {"gpus_per_worker": 0.5}, 8, 2, 0.5),
        ([(16, 1)], MANY, {"gpus_per_worker": 0.3}, 3, 5, 0.3),
        ([(16, 4)], MANY, {"gpus_per_worker": 0}, 16, 1, 0),
        ([(16, 4)], MANY, {"gpus_per_worker": 1, "workers": 3}, 1, 5, 1.0),
        ([(8, 0), (8, 2)], MANY, {}, 2, 4, 1.0),
        ([(2, 8)], MANY, {}, 2, 1, 1.0),
        ([(16, 1)], MANY, {"gpus_per_worker": 0.1}, 10, 1, 0.1),
    ],
)
def test_slots_and_shares_for_known_clusters(nodes, lineages, wanted, slots, cpus, gpus):
    planned = plan(nodes, lineages, **wanted)
    assert (planned.slots, planned.cpus_per_worker, planned.gpus_per_worker) == (slots, cpus, gpus)
    assert planned.workers == wanted.get("workers", 1)


@settings(deadline=None)
@given(
    nodes=st.lists(st.tuples(st.integers(0, 16), st.integers(0, 4)), max_size=4),
    lineages=st.integers(1, 12),
    workers=st.integers(1, 6),
    cpus=st.integers(0, 4),
    gpus=st.sampled_from([None, 0, 0.25, 0.5, 1]),
    slots=st.integers(0, 5),
)
def test_what_is_planned_can_be_placed_and_what_is_refused_cannot(
    nodes, lineages, workers, cpus, gpus, slots
):
    if gpus in (0.25, 0.5):
        workers = 1  # NCCL refuses two workers on one GPU
    wanted = {"workers": workers, "cpus_per_worker": cpus, "gpus_per_worker": gpus, "slots": slots}
    try:
        planned = plan(nodes, lineages, **wanted)
    except ConfigError:
        each = gpus if gpus is not None else float(any(has_gpus for _, has_gpus in nodes))
        assert placeable(nodes, max(cpus, 1), each) < workers
        return
    assert 1 <= planned.slots <= min(lineages, slots or lineages)
    room = placeable(nodes, planned.cpus_per_worker, planned.gpus_per_worker)
    assert planned.slots * workers <= room


def placeable(nodes, cpus: int, gpus: float) -> int:
    """Workers that fit when they are put down one by one, each GPU filled before the next."""
    placed = 0
    for node_cpus, node_gpus in nodes:
        free = [1.0] * node_gpus
        while node_cpus >= cpus and _seat(free, gpus):
            node_cpus -= cpus
            placed += 1
    return placed


def _seat(free: list[float], gpus: float) -> bool:
    need = [gpus] if gpus < 1 else [1.0] * int(gpus)
    for part in need:
        index = next((i for i, left in enumerate(free) if left + 1e-9 >= part), None)
        if index is None and part > 0:
            return False
        if index is not None:
            free[index] -= part
    return True


def test_a_plan_that_fits_nowhere_is_refused_with_what_is_asked_and_what_there_is():
    with pytest.raises(ConfigError) as caught:
        plan([(4, 0), (2, 0)], workers=3, cpus_per_worker=4)
    message = str(caught.value)
    assert "workers=3 x (4 CPUs + 0 GPUs) = 12 CPUs and 0 GPUs" in message
    assert "the cluster has 6 CPUs and 0 GPUs (the largest of 2 nodes has 4 CPUs)" in message
    assert "Lower resources.workers" in message
    assert "\n" not in message


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"1 x \(1 CPUs \+ 1 GPUs\).* has 8 CPUs and 0 GPUs"):
        plan([(8, 0)], gpus_per_worker=1)


@pytest.mark.parametrize(
    ("nodes", "largest", "lineages", "wanted", "slots", "missing"),
    [
        ([(4, 0), (8, 1)], [(4, 0), *[(8, 1)] * 4], 9, {}, 1, 3),
        ([(4, 0)], [(4, 0), *[(8, 1)] * 4], 9, {}, 1, 3),
        ([(4, 0)], [(4, 0), *[(8, 1)] * 4], 2, {}, 1, 1),
        ([(4, 0)], [(4, 0), *[(8, 1)] * 4], 9, {"slots": 2}, 1, 1),
        ([(4, 0), *[(8, 1)] * 4], [(4, 0), *[(8, 1)] * 4], 9, {}, 4, 0),
        ([(4, 0), *[(8, 1)] * 6], [(4, 0), *[(8, 1)] * 4], 9, {}, 6, 0),
        ([(4, 0)], [(4, 0), *[(8, 1)] * 4], 9, {"workers": 4}, 1, 0),
    ],
)
def test_what_an_autoscaler_may_bring_is_planned_and_waited_for(
    nodes, largest, lineages, wanted, slots, missing
):
    up, most = ([Node(*node) for node in some] for some in (nodes, largest))
    planned = plan_slots(up, Resources(**wanted), lineages, most)
    assert (planned.slots, planned.missing, planned.gpus_per_worker) == (slots, missing, 1.0)
    assert planned.none_yet == (len(nodes) == 1)
    assert planned.cpus_per_worker == 8, "as many as such a node has for each GPU"


def test_what_an_autoscaler_may_bring_takes_no_cpu_from_what_is_up():
    up = [Node(32, 0), Node(32, 0)]
    for largest in ((), (Node(0, 0),), (Node(32, 0),)):
        assert plan_slots(up, Resources(), 4, largest).cpus_per_worker == 16


def test_a_slot_that_may_have_fewer_workers_waits_for_no_node_that_these_do_not_need():
    wanted, largest = Resources(workers=4, min_workers=2), [Node(4, 0), *[Node(8, 1)] * 4]
    assert not plan_slots([Node(8, 1), Node(8, 1)], wanted, 1, largest).none_yet
    assert plan_slots([Node(8, 1)], wanted, 1, largest).none_yet


def test_what_even_the_largest_cluster_has_no_room_for_is_refused_with_its_numbers():
    with pytest.raises(ConfigError, match="the cluster may come to have 36 CPUs and 4 GPUs"):
        plan_slots([Node(4, 0)], Resources(workers=5), 1, [Node(4, 0), *[Node(8, 1)] * 4])


def test_a_cluster_without_nodes_is_refused():
    with pytest.raises(ConfigError, match="resources: one trial must fit"):
        plan([])


@pytest.mark.parametrize(
    "wanted", [{"gpus_per_worker": 1.5}, {"gpus_per_worker": 0.5, "workers": 2}, {"workers": 65}]
)
def test_what_no_cluster_could_run_is_refused_by_the_schema(wanted):
    with pytest.raises(ValueError):
        Resources(**wanted)


@pytest.mark.parametrize(("visible", "gpus"), [("", 0), ("-1", 0), ("0", 1), ("0,2,3", 3)])
def test_gpus_of_this_machine_are_those_that_the_process_may_see(visible, gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert this_machine().gpus == gpus


def test_without_a_driver_there_are_no_gpus(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", "")
    assert this_machine().gpus == 0


def test_cpus_of_this_machine_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(capacity.os, "sched_getaffinity", lambda pid: {1, 5, 7})
    assert this_machine().cpus == 3


@pytest.mark.parametrize(
    ("cpus", "wanted", "slots"),
    [
        (8, {"workers": 4, "min_workers": 2}, 2),
        (5, {"workers": 4, "min_workers": 2}, 1),
        (3, {"workers": 4, "min_workers": 2}, 1),
        (2, {"workers": 4, "min_workers": 2}, 1),
        (2, {"workers": 4, "min_workers": 1, "cpus_per_worker": 2}, 1),
    ],
)
def test_a_slot_may_begin_with_fewer_workers_where_not_all_fit(cpus, wanted, slots):
    planned = plan_slots([Node(cpus, 0)], Resources(**wanted), 9)
    assert (planned.slots, planned.workers, planned.min_workers) == (
        slots,
        wanted["workers"],
        wanted["min_workers"],
    )


def test_a_plan_that_does_not_even_fit_with_the_fewest_workers_names_these():
    with pytest.raises(ConfigError, match=r"got min_workers=2 x .*Lower resources.min_workers"):
        plan_slots([Node(1, 0)], Resources(workers=4, min_workers=2), 1)


def test_the_fewest_workers_are_no_more_than_the_most():
    with pytest.raises(ValueError, match=r"min_workers: must be <= workers; got 3 of 2"):
        Resources(workers=2, min_workers=3)
