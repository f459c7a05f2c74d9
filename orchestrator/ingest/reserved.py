"""Room of a cluster that is reserved for nobody, and how it is given back.

DRIVER and SLOT. Ray Train reserves the room of a run's workers, and names it to the actor that is to free
it should the run's controller die only once all workers are up (2.60, `placement_group_callback.py`). A
controller that dies before leaves it reserved: as long as its job lives, and, where the job dies in
the same moment, as long as the cluster does. Who waits for room looks for such.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import ray

CLEANER = "PlacementGroupCleaner"
MOST = 10_000
"""Actors and reservations that are looked at."""


@dataclass(frozen=True)
class Unused:
    """Ids of what is reserved for nobody at this moment, as far as Ray says.

    Attributes:
        own: placement groups of this job: workers may be about to come.
        dead: those of jobs that are over: nobody will come.
        cleaners: actors that were to free them, and were told of nothing.
    """

    own: frozenset[str] = frozenset()
    dead: frozenset[str] = frozenset()
    cleaners: frozenset[str] = frozenset()


def unused(worker: Mapping[str, float]) -> Unused:
    """Look; nothing is found where Ray's state cannot be had, as without a dashboard.

    Args:
        worker: what each worker of this job's own runs needs; {} leaves these out.
    """
    from ray.util.state import list_actors, list_placement_groups

    try:
        groups = list_placement_groups(detail=True, limit=MOST, filters=[("state", "=", "CREATED")])
        actors = list_actors(detail=True, limit=MOST, filters=[("state", "!=", "DEAD")])
        over = {str(job["JobID"]) for job in ray._private.state.jobs() if job["IsDead"]}
        own = ray.get_runtime_context().get_job_id()
    except Exception:  # noqa: BLE001 - Ray's own trouble: then nothing is given back
        return Unused()
    # A detached actor may have come to lie in a group by chance, as Ray Data's own do.
    used = {actor.placement_group_id for actor in actors if not actor.is_detached}
    cleaners = [actor for actor in actors if actor.class_name == CLEANER and actor.job_id in over]
    of_train = {
        actor.job_id for actor in cleaners
    }  # what other programs leave is not ours to judge
    # Ray Train gives its groups no name.
    left = [
        group
        for group in groups
        if not (group.name or group.is_detached or group.placement_group_id in used)
    ]
    return Unused(
        own=frozenset(
            group.placement_group_id
            for group in left
            if group.creator_job_id == own and worker and _is_for(group.bundles, worker)
        ),
        dead=frozenset(g.placement_group_id for g in left if g.creator_job_id in of_train),
        cleaners=frozenset(actor.actor_id for actor in cleaners),
    )


def _is_for(
    bundles: Iterable[Mapping[str, Mapping[str, float]]], worker: Mapping[str, float]
) -> bool:
    return all(dict(bundle["unit_resources"]) == dict(worker) for bundle in bundles)


def give_back(groups: Iterable[str], cleaners: Iterable[str] = ()) -> None:
    """Remove them; others may do so at the same time."""
    from ray._raylet import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    for group in groups:
        with suppress(Exception):
            remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group))))
    for actor in cleaners:
        with suppress(Exception):
            this_process = ray._private.worker.global_worker.core_worker
            this_process.kill_actor(ray.ActorID.from_hex(actor), True)


def give_back_of_dead_jobs() -> bool:
    """What jobs that are over have left reserved; returns whether there was any."""
    found = unused({})
    give_back(found.dead, found.cleaners)
    return bool(found.dead)
