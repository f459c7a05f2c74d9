"""Which reservations nobody uses, and when they are given back. No Ray is started."""

from types import SimpleNamespace

import pytest
import ray
import ray.util.state

from orchestrator.ingest import reserved, tasks
from orchestrator.ingest.reserved import Unused, unused
from orchestrator.training import warm_run
from orchestrator.training.warm_run import ROOM_LOOK_S, Room

WORKER = {"CPU": 1.0}


def group(name, job="own", bundle=WORKER, named="", is_detached=False):
    return SimpleNamespace(
        placement_group_id=name,
        creator_job_id=job,
        name=named,
        is_detached=is_detached,
        bundles=[{"unit_resources": dict(bundle)}] * 2,
    )


def actor(name, kind, job="own", lies_in=None, is_detached=False):
    return SimpleNamespace(
        actor_id=name,
        class_name=kind,
        job_id=job,
        placement_group_id=lies_in,
        is_detached=is_detached,
    )


@pytest.fixture
def cluster(monkeypatch):
    """What Ray says; a test adds to it."""
    said = SimpleNamespace(groups=[], actors=[], jobs={"own": False, "over": True, "busy": False})
    state = ray.util.state
    monkeypatch.setattr(state, "list_placement_groups", lambda **_: said.groups)
    monkeypatch.setattr(state, "list_actors", lambda **_: said.actors)
    monkeypatch.setattr(
        ray._private.state,
        "jobs",
        lambda: [{"JobID": job, "IsDead": dead} for job, dead in said.jobs.items()],
    )
    monkeypatch.setattr(
        ray, "get_runtime_context", lambda: SimpleNamespace(get_job_id=lambda: "own")
    )
    return said


def test_what_no_worker_is_in_is_unused_but_not_what_others_keep(cluster):
    cluster.groups = [
        group("empty"),
        group("with workers"),
        group("with Ray Data's", bundle=WORKER),
        group("a user's", bundle={"CPU": 4.0}),
        group("asked for", named="a slot that s waits for"),
        group("another study's", job="busy"),
    ]
    cluster.actors = [
        actor("w", "RayTrainWorker", lies_in="with workers"),
        actor("u", "_UsageCollectionActor", lies_in="with Ray Data's", is_detached=True),
        actor("c", reserved.CLEANER, is_detached=True),
    ]
    assert unused(WORKER) == Unused(own=frozenset({"empty", "with Ray Data's"}))
    assert unused({}) == Unused()


def test_of_a_job_that_is_over_only_what_ray_train_left_is_unused(cluster):
    cluster.jobs["other"] = True
    cluster.groups = [
        group("left", job="over"),
        group("kept", job="over", is_detached=True),
        group("a program's", job="other"),
    ]
    cluster.actors = [
        actor("c", reserved.CLEANER, job="over", is_detached=True),
        actor("n", reserved.CLEANER, job="busy", is_detached=True),
    ]
    assert unused({}) == Unused(dead=frozenset({"left"}), cleaners=frozenset({"c"}))


def test_where_ray_does_not_say_nothing_is_unused(cluster, monkeypatch):
    def no_dashboard(**_):
        raise ConnectionError("no dashboard")

    cluster.groups = [group("empty")]
    monkeypatch.setattr(ray.util.state, "list_actors", no_dashboard)
    assert unused(WORKER) == Unused()


def test_what_was_unused_at_two_looks_is_given_back(monkeypatch):
    now, given, found = [0.0], [], [Unused(own=frozenset({"a", "b"}), dead=frozenset({"d"}))]
    monkeypatch.setattr(warm_run, "unused", lambda worker: found[0] if worker == WORKER else None)
    monkeypatch.setattr(warm_run, "give_back", lambda groups, _: given.append(set(groups)))
    room = Room(WORKER, lambda: now[0])
    room.look()
    assert given == [], "a start takes a while"
    now[0] = 2 * ROOM_LOOK_S
    room.look()
    room.look()
    assert given == [{"d"}]
    found[0] = Unused(own=frozenset({"b", "c"}))  # workers have come into a
    now[0] += ROOM_LOOK_S
    room.look()
    assert given == [{"d"}, {"b"}]


def test_a_cluster_without_a_free_cpu_is_looked_over_before_it_is_refused(monkeypatch):
    free = [0.0]
    monkeypatch.setattr(tasks.ray, "available_resources", lambda: {"CPU": free[0]})
    monkeypatch.setattr(tasks, "give_back_of_dead_jobs", lambda: free.__setitem__(0, 1.0))
    tasks.refuse_without_cpu()
