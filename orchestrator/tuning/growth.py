"""Slots for which the cluster has no room yet: asked for, and used when it has. DRIVER.

An autoscaler sees what waits for resources. So each missing slot is a placement group of its
size that nobody enters: when its node is up it is taken away, and the slot takes the room. It
belongs to this driver's job and is gone with it, however the driver ends. A slot that could not
start, as its node is gone or another job has its room, is missing from then on, too. Nodes that
are gone take no slot away by themselves: which slots they held shows when these start again.
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
    """How many slots a study may have now; never none."""

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
        self._most = self._used = capacity.slots
        self._refused = 0
        self._asked: list[PlacementGroup] = []

    def num_slots(self, wanted: int, running: int = 0) -> int:
        """Slots that there may be; more are asked for as long as that many are wanted.

        Args:
            wanted: slots that there is work for.
            running: those at work; a slot that has lost its node is until it found no room.
        """
        self._used = max(self._used, running)
        missing = self._capacity.missing or self._refused
        if missing and self._clock() - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = self._clock()
            self._look(min(wanted, self._capacity.slots + self._capacity.missing))
            self._used = running
        return self._most - self._refused

    def could_not_start(self) -> None:
        """One of the slots found no room: there is one less until Ray has found it."""
        self._refused = min(self._refused + 1, self._most - 1)

    def end(self) -> None:
        """Ask for nothing any more."""
        while self._asked:
            remove_placement_group(self._asked.pop())

    def _look(self, wanted: int) -> None:
        fitting = slots_that_fit(self._nodes(), self._capacity)
        found = [group for group in self._asked if _is_there(group)]
        # Room that is found where the nodes hold no further slot is one's between two legs.
        returned = min(len(found), fitting - (self._most - self._refused))
        self._refused -= min(self._refused, max(0, returned))
        fewest = self._most if self._refused else max(self._capacity.slots, self._used)
        self._most = max(fewest, min(fitting, wanted))
        missing = max(0, wanted - (self._most - self._refused))
        for group in self._asked[:]:
            if len(self._asked) > missing or group in found:
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
