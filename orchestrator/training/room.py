"""Room for the workers of a run: whether there is any, and what is in its way.

SLOT, or the driver of `train`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from orchestrator.ingest.reserved import give_back, unused

FITS_WITHIN_S = 2.0
"""How long Ray may take to find room for workers."""
ROOM_LOOK_S = 15.0
"""How often a run that waits for its workers looks whether their room is reserved for nobody; the first
time after twice that, as a start takes a while."""


class Room:
    """Gives back what runs that are gone have left reserved, while another waits for room."""

    def __init__(
        self, worker: Mapping[str, float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin to wait for room for so large workers."""
        self._worker, self._clock = worker, clock
        self._look_s = clock() + 2 * ROOM_LOOK_S
        self._before: frozenset[str] = frozenset()

    def look(self) -> None:
        """Look now and then; what was unused at two looks is reserved for nobody."""
        if self._clock() < self._look_s:
            return
        found = unused(self._worker)
        give_back(found & self._before)
        self._before = found
        self._look_s = self._clock() + ROOM_LOOK_S


def fits_now(workers: list[dict[str, float]]) -> bool:
    """Whether there is room for all of these workers: Ray is asked for it, and gets it back."""
    room = placement_group(workers)
    try:
        return bool(room.wait(FITS_WITHIN_S))
    finally:
        remove_placement_group(room)


def free_resources() -> str:
    """CPUs and GPUs that are free now, in words."""
    free = ray.available_resources()
    return f"{free.get('CPU', 0):g} CPUs, {free.get('GPU', 0):g} GPUs"
