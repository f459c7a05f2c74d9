"""Which reservations nobody uses, and when they are given back. No Ray is started."""

from types import SimpleNamespace

import pytest
import ray
from ray.core.generated import gcs_pb2

from orchestrator.ingest import reserved, tasks
from orchestrator.ingest.reserved import Actor, Group, give_back, judged, unused
from orchestrator.training import room as room_of_a_run
from orchestrator.training.room import ROOM_LOOK_S, Room

WORKER = {"CPU": 1.0}


def group(
    name, job="own", maker="dead", bundle=WORKER, *, is_anonymous=True, is_there=True, number=2
):
    return Group(name, job, maker, is_anonymous, is_there, (dict(bundle),) * number)


def actor(name, group="", *, is_detached=False):
    return Actor(name, group, is_detached)


def found(groups, actors=(), over=(), worker=WORKER) -> set[str]:
    return set(judged(list(groups), list(actors), set(over), "own", worker))


def test_what_a_dead_controller_left_is_unused_but_not_what_others_keep_or_wait_for():
    groups = [
        group("empty"),
        group("with Ray Data's"),
        group("with workers"),
        group("of a controller that lives", maker="lives"),
        group("of the driver", maker=""),
        group("a user's", bundle={"CPU": 4.0}),
        group("of nothing", number=0),
        group("asked for by name", is_anonymous=False),
        group("which waits", is_there=False),
        group("another study's", job="busy"),
    ]
    actors = [
        actor("lives"),
        actor("w", "with workers"),
        actor("u", "with Ray Data's", is_detached=True),
    ]
    assert found(groups, actors) == {"empty", "with Ray Data's"}
    assert found(groups, actors, worker={}) == set()


def test_of_a_job_that_is_over_all_is_unused_that_no_living_actor_made_or_lies_in():
    groups = [
        group("left", job="over"),
        group("left waiting", job="over", is_there=False),
        group("kept", job="over", is_anonymous=False),
        group("of one who trains on", job="over", maker="detached"),
        group("with one who works on", job="over"),
    ]
    # Ray Data's own actors carry the first job's name for as long as the cluster lives.
    actors = [actor("stats", is_detached=True), actor("detached", is_detached=True)]
    actors += [actor("w", "with one who works on")]
    assert found(groups, actors, ["over"]) == {"left", "left waiting"}
    assert found(groups, actors) == set(), "it is not over"


def test_rays_own_tables_are_read(monkeypatch):
    group_kind, actor_kind = gcs_pb2.PlacementGroupTableData, gcs_pb2.ActorTableData
    made = {"creator_job_id": b"\x01", "creator_actor_id": b"\xaa"}
    groups = [
        group_kind(placement_group_id=b"\x0a", state=group_kind.CREATED, **made),
        group_kind(placement_group_id=b"\x0b", state=group_kind.REMOVED, **made),
        group_kind(placement_group_id=b"\x0c", state=group_kind.CREATED, name="asked for", **made),
        group_kind(
            placement_group_id=b"\x0d",
            state=group_kind.CREATED,
            creator_job_id=b"\x01",
            creator_actor_id=ray.ActorID.nil().binary(),  # the driver's
        ),
    ]
    for one in groups:
        one.bundles.add().unit_resources["CPU"] = 1.0
    actors = [
        actor_kind(actor_id=b"\xaa", state=actor_kind.DEAD),
        actor_kind(actor_id=b"\xbb", state=actor_kind.ALIVE),
    ]
    accessor = SimpleNamespace(
        get_placement_group_table=lambda: [one.SerializeToString() for one in groups],
        get_actor_table=lambda *_: [one.SerializeToString() for one in actors],
    )
    monkeypatch.setattr(reserved, "_accessor", lambda: accessor)
    monkeypatch.setattr(ray._private.state, "jobs", list)
    monkeypatch.setattr(
        ray, "get_runtime_context", lambda: SimpleNamespace(get_job_id=lambda: "01")
    )
    assert unused(WORKER) == {"0a"}


def test_where_there_is_no_ray_nothing_is_unused():
    assert unused(WORKER) == frozenset()


def test_what_is_given_back_is_removed_and_others_may_be_quicker(monkeypatch):
    removed = []

    def remove(group):
        removed.append(group.id.hex())
        raise ValueError("it is gone already")

    monkeypatch.setattr(reserved, "remove_placement_group", remove)
    ids = ["0" * 35 + end for end in "12"]
    give_back(ids)
    assert removed == ids


def looked(monkeypatch, module, said):
    """Each look finds the next of `said`; what was given back is noted."""
    given, looks = [], iter(map(frozenset, said))
    monkeypatch.setattr(module, "unused", lambda _: next(looks))
    monkeypatch.setattr(module, "give_back", lambda groups: given.append(set(groups)))
    return given


def test_what_was_unused_at_two_looks_is_given_back(monkeypatch):
    now = [0.0]
    given = looked(monkeypatch, room_of_a_run, ["ab", "bc"])  # workers have come into a
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


@pytest.mark.parametrize(("left", "given_back"), [(["ab", "b"], [{"b"}]), ([""], [])])
def test_a_cluster_without_a_free_cpu_is_looked_over_before_it_is_refused(
    left, given_back, monkeypatch
):
    free = iter([0.0, 1.0])
    monkeypatch.setattr(tasks.ray, "available_resources", lambda: {"CPU": next(free)})
    monkeypatch.setattr(tasks.time, "sleep", lambda _: None)
    given = looked(monkeypatch, tasks, left)
    tasks.refuse_without_cpu()
    assert given == given_back
