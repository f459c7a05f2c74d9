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

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, remove_placement_group

NOBODY = (b"", ray.ActorID.nil().binary())
"""In the place of an actor's id."""


@dataclass(frozen=True)
class Group:
    """A placement group that is there, or waits for its room.

    Attributes:
        group, job: ids of it and of the job that made it.
        maker: id of the actor that made it; "" = the job's driver.
        is_anonymous: whether it has no name and ends with its job, as those of Ray Train.
        is_there: whether it has its room.
        bundles: what it reserves.
    """

    group: str
    job: str
    maker: str
    is_anonymous: bool
    is_there: bool
    bundles: tuple[Mapping[str, float], ...]


@dataclass(frozen=True)
class Actor:
    """An actor that is not dead, and the placement group that it lies in, if any."""

    actor: str
    group: str
    is_detached: bool


def unused(worker: Mapping[str, float]) -> frozenset[str]:
    """Ids of placement groups that nobody uses at this moment.

    Empty where Ray keeps its state elsewhere (another version), or does not answer.

    Args:
        worker: what each worker of this job's own runs needs; {} leaves these out.
    """
    try:
        over = {str(job["JobID"]) for job in ray._private.state.jobs() if job["IsDead"]}
        return judged(_groups(), _actors(), over, ray.get_runtime_context().get_job_id(), worker)
    except Exception:  # noqa: BLE001 - Ray's own trouble: then nothing is given back
        return frozenset()


def judged(
    groups: list[Group], actors: list[Actor], over: set[str], own: str, worker: Mapping[str, float]
) -> frozenset[str]:
    """Which of these are of actors that are dead, and have nobody in them. PURE.

    Of jobs that are over all, as Ray's own rule is (neither job nor maker lives); of this job those that
    have their room and are of the shape of its workers.

    Args:
        groups: of the cluster.
        actors: those that are not dead.
        over: jobs that have ended.
        own: this job.
        worker: see `unused`.
    """
    # A detached actor may have come to lie in a group by chance, as Ray Data's own do.
    used = {actor.group for actor in actors if not actor.is_detached}
    alive = {actor.actor for actor in actors}
    return frozenset(
        group.group
        for group in groups
        if group.is_anonymous and group.maker and group.maker not in alive
        if group.group not in used
        if group.job in over or (group.job == own and group.is_there and _is_for(group, worker))
    )


def give_back(groups: Iterable[str]) -> None:
    """Free them; others may do so at the same time."""
    for group in groups:
        with suppress(Exception):
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))


def _is_for(group: Group, worker: Mapping[str, float]) -> bool:
    return bool(group.bundles) and all(bundle == worker for bundle in group.bundles)


def _groups() -> list[Group]:
    kind: Any = _tables().PlacementGroupTableData
    found = map(kind.FromString, _accessor().get_placement_group_table())
    return [
        Group(
            group=group.placement_group_id.hex(),
            job=group.creator_job_id.hex(),
            maker="" if group.creator_actor_id in NOBODY else group.creator_actor_id.hex(),
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
