"""Room of a cluster that is reserved for nobody, and how it is given back.

DRIVER and SLOT. Ray Train reserves the room of a run's workers, and names it to the actor that is to free
it should the run's controller die only once all workers are up (2.60, `placement_group_callback.py`). A
controller that dies before leaves it reserved: as long as its job lives, and, where the job dies in
the same moment, as long as the cluster does. Who waits for room looks for such, at intervals: what two
looks find unused is reserved for nobody.

Ray is asked through the connection that this process has: its public state API may find another cluster,
and from then on this process's words would go there.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray

CLEANER = "PlacementGroupCleaner"


@dataclass(frozen=True)
class Group:
    """A placement group that is there, or waits for its room.

    Attributes:
        group, job: ids of it and of the job that made it.
        is_anonymous: whether it has no name and ends with its job, as those of Ray Train.
        is_there: whether it has its room.
        bundles: what it reserves.
    """

    group: str
    job: str
    is_anonymous: bool
    is_there: bool
    bundles: tuple[Mapping[str, float], ...]


@dataclass(frozen=True)
class Actor:
    """An actor that is not dead."""

    actor: str
    job: str
    kind: str
    group: str
    is_detached: bool


@dataclass(frozen=True)
class Unused:
    """Ids of what nobody uses at this moment.

    Attributes:
        groups: placement groups: of this job (workers may be about to come), or of jobs that are over.
        cleaners: actors of jobs that are over and have no group left: they were told of nothing.
    """

    groups: frozenset[str] = frozenset()
    cleaners: frozenset[str] = frozenset()


def unused(worker: Mapping[str, float]) -> Unused:
    """Look; nothing is found where Ray keeps its state elsewhere (another version), or does not answer.

    Args:
        worker: what each worker of this job's own runs needs; {} leaves these out.
    """
    try:
        over = {str(job["JobID"]) for job in ray._private.state.jobs() if job["IsDead"]}
        return judged(_groups(), _actors(), over, ray.get_runtime_context().get_job_id(), worker)
    except Exception:  # noqa: BLE001 - Ray's own trouble: then nothing is given back
        return Unused()


def judged(
    groups: list[Group], actors: list[Actor], over: set[str], own: str, worker: Mapping[str, float]
) -> Unused:
    """What is unused of these. PURE.

    Args:
        groups: of the cluster.
        actors: those that are not dead.
        over: jobs that have ended.
        own: this job.
        worker: see `unused`.
    """
    # A detached actor may have come to lie in a group by chance, as Ray Data's own do.
    used = {actor.group for actor in actors if not actor.is_detached}
    left = [group for group in groups if group.is_anonymous and group.group not in used]
    # Only jobs that ran Ray Train, and of which nothing else is alive: a detached actor may train on.
    of_train = {actor.job for actor in actors if actor.kind == CLEANER} & over
    of_train -= {actor.job for actor in actors if actor.kind != CLEANER}
    mine = [
        group
        for group in left
        if group.job == own and group.is_there and worker and _is_for(group, worker)
    ]
    dead = [group for group in left if group.job in of_train]
    cleared = of_train - {group.job for group in groups}
    cleaners = (actor for actor in actors if actor.kind == CLEANER and actor.job in cleared)
    return Unused(
        groups=frozenset(group.group for group in (*mine, *dead)),
        cleaners=frozenset(actor.actor for actor in cleaners),
    )


def give_back(found: Unused, before: Unused) -> None:
    """Free what two looks have found; others may do so at the same time."""
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    for group in found.groups & before.groups:
        with suppress(Exception):
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))
    for actor in found.cleaners & before.cleaners:
        with suppress(Exception):
            this_process = ray._private.worker.global_worker.core_worker
            this_process.kill_actor(ray.ActorID.from_hex(actor), True)


def _is_for(group: Group, worker: Mapping[str, float]) -> bool:
    return bool(group.bundles) and all(bundle == worker for bundle in group.bundles)


def _groups() -> list[Group]:
    kind: Any = _tables().PlacementGroupTableData
    found = map(kind.FromString, _accessor().get_placement_group_table())
    return [
        Group(
            group=group.placement_group_id.hex(),
            job=group.creator_job_id.hex(),
            is_anonymous=not (group.name or group.is_detached),
            is_there=group.state == kind.CREATED,
            bundles=tuple(dict(bundle.unit_resources) for bundle in group.bundles),
        )
        for group in found
        if group.state != kind.REMOVED
    ]


def _actors() -> list[Actor]:
    kind: Any = _tables().ActorTableData
    found = map(kind.FromString, _accessor().get_actor_table(None, None))
    return [
        Actor(
            actor=actor.actor_id.hex(),
            job=actor.job_id.hex(),
            kind=actor.class_name,
            group=actor.placement_group_id.hex(),
            is_detached=actor.is_detached,
        )
        for actor in found
        if actor.state != kind.DEAD
    ]


def _tables() -> Any:
    from ray.core.generated import gcs_pb2

    return gcs_pb2


def _accessor() -> Any:
    return ray._private.state.state._connect_and_get_accessor()
