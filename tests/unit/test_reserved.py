"""Which reservations nobody uses, and when they are given back. No Ray is started."""

import pytest

from orchestrator.ingest import tasks
from orchestrator.ingest.reserved import CLEANER, Actor, Group, Unused, judged, unused
from orchestrator.training import room as room_of_a_run
from orchestrator.training.room import ROOM_LOOK_S, Room

WORKER = {"CPU": 1.0}


def group(name, job="own", bundle=WORKER, *, is_anonymous=True, is_there=True):
    return Group(name, job, is_anonymous, is_there, (dict(bundle),) * 2)


def actor(name, kind="RayTrainWorker", job="own", group="", *, is_detached=False):
    return Actor(name, job, kind, group, is_detached)


def found(groups, actors=(), over=(), worker=WORKER) -> tuple[set, set]:
    unused = judged(list(groups), list(actors), set(over), "own", worker)
    return set(unused.groups), set(unused.cleaners)


def test_what_no_worker_is_in_is_unused_but_not_what_others_keep_or_wait_for():
    groups = [
        group("empty"),
        group("with workers"),
        group("with Ray Data's"),
        group("a user's", bundle={"CPU": 4.0}),
        Group("of nothing", "own", True, True, ()),
        group("asked for by name", is_anonymous=False),
        group("another slot's, which waits", is_there=False),
        group("another study's", job="busy"),
    ]
    actors = [
        actor("w", group="with workers"),
        actor("u", "_UsageCollectionActor", group="with Ray Data's", is_detached=True),
        actor("c", CLEANER, is_detached=True),
    ]
    assert found(groups, actors) == ({"empty", "with Ray Data's"}, set())
    assert found(groups, actors, worker={}) == (set(), set())


def test_of_a_job_that_is_over_only_what_ray_train_left_is_unused():
    cleaner = actor("c", CLEANER, job="over", is_detached=True)
    left = [group("left", job="over"), group("left waiting", job="over", is_there=False)]
    groups = [*left, group("kept", job="over", is_anonymous=False), group("another's", job="gone")]
    assert found(groups, [cleaner], ["over", "gone"]) == ({"left", "left waiting"}, set())
    # Its last words come when nothing is left.
    assert found([group("another's", job="gone")], [cleaner], ["over", "gone"]) == (set(), {"c"})
    # Somebody trains on, in a detached actor's name.
    trains = actor("t", "TrainController", job="over")
    assert found(groups, [cleaner, trains], ["over", "gone"]) == (set(), set())
    assert found(groups, [cleaner], ["gone"]) == (set(), set()), "it is not over"


def test_where_there_is_no_ray_nothing_is_unused():
    assert unused(WORKER) == Unused()


def looked(monkeypatch, module, said):
    """Each look finds the next of `said`; what was given back is noted."""
    given, looks = [], iter(said)
    monkeypatch.setattr(module, "unused", lambda _: next(looks))
    monkeypatch.setattr(
        module, "give_back", lambda now, before: given.append(now.groups & before.groups)
    )
    return given


def test_what_was_unused_at_two_looks_is_given_back(monkeypatch):
    now = [0.0]
    seen = [
        Unused(frozenset({"a", "b"})),
        Unused(frozenset({"b", "c"})),
    ]  # workers have come into a
    given = looked(monkeypatch, room_of_a_run, seen)
    room = Room(WORKER, lambda: now[0])
    room.look()
    assert given == [], "a start takes a while"
    now[0] = 2 * ROOM_LOOK_S
    room.look()
    room.look()
    assert given == [set()]
    now[0] += ROOM_LOOK_S
    room.look()
    assert given == [set(), {"b"}]


@pytest.mark.parametrize("left", [Unused(frozenset({"a"})), Unused()])
def test_a_cluster_without_a_free_cpu_is_looked_over_before_it_is_refused(left, monkeypatch):
    free = iter([0.0, 1.0])
    monkeypatch.setattr(tasks.ray, "available_resources", lambda: {"CPU": next(free)})
    monkeypatch.setattr(tasks.time, "sleep", lambda _: None)
    given = looked(monkeypatch, tasks, [left, left])
    tasks.refuse_without_cpu()
    assert given == ([{"a"}] if left.groups else [])
