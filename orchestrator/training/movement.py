"""Whether the workers of a run move, and the end of those that do not.

SLOT, or the driver of `train`. Workers say how far they are (`pulse.py`). Ray asks a process to end itself,
which one that hangs does not do (2.60, also with `force`): a task on its node ends it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.training.pulse import Beat, beats

LOOK_EVERY_S = 5.0
"""How often a slot looks whether its workers move, as they say every `BEAT_S` at most."""
WORKER_TITLE = b"RayTrainWorker"
"""In the title that Ray gives to such a process."""


class Movement:
    """For how long nothing has moved in the workers of a run."""

    def __init__(
        self,
        name: str,
        look: Callable[[str], dict[str, Beat]] = beats,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin now."""
        self._name, self._look, self._clock = name, look, clock
        self._moved_s, self._looked_s = clock(), -LOOK_EVERY_S
        self._last: dict[str, Beat] | None = None  # not looked yet

    def still_s(self) -> float:
        """Seconds; looks now and then. While Ray's store does not say, nothing is held against them."""
        now_s = self._clock()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            try:
                seen = self._look(self._name)
            except Exception:  # noqa: BLE001 - Ray's own trouble
                self._moved_s = now_s
            else:
                if not seen or self._last not in (None, seen):
                    self._moved_s = now_s
                self._last = seen
        return now_s - self._moved_s

    def workers(self) -> list[Beat]:
        """As far as they have said where they are."""
        return list((self._last or {}).values())


def end_workers(workers: Sequence[Beat], timeout_s: float) -> None:
    """End them, wherever they are; returns when they are ended, or after so long."""
    tasks = [
        end_process.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(worker.node, soft=False)
        ).remote(worker.pid)
        for worker in workers
    ]
    ray.wait(tasks, num_returns=len(tasks), timeout=timeout_s)


@ray.remote(num_cpus=0, max_retries=0)
def end_process(pid: int) -> None:
    """End a worker of Ray Train's on this node; nothing that has its number by now."""
    title = Path(f"/proc/{pid}/cmdline")
    if title.exists() and WORKER_TITLE not in title.read_bytes():
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
