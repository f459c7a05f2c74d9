"""Slots for which the cluster has no room yet: asked for, and used when it has. DRIVER.

An autoscaler sees what waits for resources. So each missing slot is a placement group of its
size that nobody enters: when its node is up it is taken away, and the slot takes the room. It
belongs to this driver's job and is gone with it, however the driver ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from orchestrator.tuning.capacity import Node, SlotCapacity, slots_that_fit

LOOK_EVERY_S: Final = 5.0


class Growth:
    """How many slots a study may have now; never less than it began with."""

    def __init__(
        self,
        study: str,
        capacity: SlotCapacity,
        nodes: Callable[[], tuple[Node, ...]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask for nothing yet.

        Args:
            study: its name, for those who look at what the cluster waits for.
            capacity: at the start.
            nodes: of the cluster, as they are when it is called.
            clock: seconds.
        """
        self._study = study
        self._capacity = capacity
        self._nodes = nodes
        self._clock = clock
        self._looked_s = float("-inf")
        self._num_slots = capacity.slots
        self._asked: list[PlacementGroup] = []

    def num_slots(self, wanted: int) -> int:
        """Slots that there may be; more are asked for as long as that many are wanted."""
        if self._capacity.missing and self._clock() - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = self._clock()
            self._look(min(wanted, self._capacity.slots + self._capacity.missing))
        return self._num_slots

    def end(self) -> None:
        """Ask for nothing any more."""
        while self._asked:
            remove_placement_group(self._asked.pop())

    def _look(self, wanted: int) -> None:
        fitting = slots_that_fit(self._nodes(), self._capacity)
        self._num_slots = max(self._capacity.slots, min(fitting, wanted))
        missing = max(0, wanted - self._num_slots)
        for group in self._asked:
            if len(self._asked) > missing or _is_there(group):
                remove_placement_group(group)
                self._asked = [kept for kept in self._asked if kept is not group]
        while len(self._asked) < missing:
            self._asked.append(_ask(self._study, self._capacity))


def _ask(study: str, capacity: SlotCapacity) -> PlacementGroup:
    bundle: dict[str, Any] = {"CPU": capacity.cpus_per_worker}
    if capacity.gpus_per_worker:
        bundle["GPU"] = capacity.gpus_per_worker
    return placement_group([bundle] * capacity.workers, name=f"a slot that {study} waits for")


def _is_there(group: PlacementGroup) -> bool:
    return bool(placement_group_table(group).get("state") == "CREATED")
