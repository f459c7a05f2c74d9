"""How long each phase of the training loop takes, without stopping a GPU to find out.

WORKER. `lap` says what has just been queued or done. On a CPU that is a look at the wall clock.
A GPU works behind the program: there `lap` records an event on its stream, which takes
microseconds, and the distances are read once the events have passed, which needs no waiting.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import torch

MAX_PENDING = 512
"""Laps kept unread: bounds the events of a long epoch, and the GPU is seldom so far behind."""
NOTHING = ""
"""The phase of time that belongs to none."""

Mark = Any
"""A moment, as its timeline knows it: seconds, or an event."""


class Timeline(Protocol):
    """Moments of one device."""

    def mark(self) -> Mark:
        """This moment in the device's work."""

    def has_passed(self, mark: Mark) -> bool:
        """Whether the device has got there; never waits."""

    def wait(self, mark: Mark) -> None:
        """Wait until it has."""

    def seconds(self, earlier: Mark, later: Mark) -> float:
        """The time between two moments that have passed."""

    def free(self, mark: Mark) -> None:
        """Take back a moment that nobody will ask for again."""


class PhaseClock:
    """Sums seconds by phase; one a training, read and reset after each epoch."""

    def __init__(self, timeline: Timeline | None = None) -> None:
        """Measure on `timeline`; without one on the CPU."""
        self._timeline = timeline or WallTimeline()
        self._last: Mark = None
        self._pending: deque[tuple[str, Mark]] = deque()
        self._seconds: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """What ran since the last `lap` or `skip` was `phase`."""
        self._pending.append((phase, self._timeline.mark()))
        if len(self._pending) > MAX_PENDING:
            self._fold_passed()

    def skip(self) -> None:
        """What ran since the last `lap` or `skip` was none of the phases."""
        self.lap(NOTHING)

    def read(self) -> dict[str, float]:
        """Seconds by phase since the last reading, in the order of their first lap; starts anew.

        Waits for the device once, where it is not done yet.
        """
        if self._pending:
            self._timeline.wait(self._pending[-1][1])
        self._fold_passed()
        self._forget(self._last)
        self._last = None
        seconds, self._seconds = self._seconds, {}
        return seconds

    def _fold_passed(self) -> None:
        while self._pending and self._timeline.has_passed(self._pending[0][1]):
            phase, mark = self._pending.popleft()
            if self._last is not None and phase != NOTHING:
                between = self._timeline.seconds(self._last, mark)
                self._seconds[phase] = self._seconds.get(phase, 0.0) + between
            self._forget(self._last)
            self._last = mark

    def _forget(self, mark: Mark) -> None:
        if mark is not None:
            self._timeline.free(mark)


def phase_clock(device: torch.device) -> PhaseClock:
    """A clock for work on this device."""
    return PhaseClock(CudaTimeline(device) if device.type == "cuda" else None)


class WallTimeline:
    """A CPU's: what the program has passed is done."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        """Read the time from `now`, in seconds."""
        self._now = now

    def mark(self) -> float:
        """The time."""
        return self._now()

    def has_passed(self, mark: float) -> bool:  # noqa: ARG002 - the signature is Timeline's
        """Always: it was now."""
        return True

    def wait(self, mark: float) -> None:
        """Nothing to wait for."""

    def seconds(self, earlier: float, later: float) -> float:
        """The difference."""
        return later - earlier

    def free(self, mark: float) -> None:
        """Nothing to take back."""


class CudaTimeline:
    """A GPU's: events on the stream that the loop uses; each is used again and again."""

    def __init__(self, device: torch.device, new_event: Callable[[], Any] | None = None) -> None:
        """Measure on the current stream of `device`; `new_event` makes its events."""
        self._device = device
        self._new_event = new_event or _timing_event
        self._unused: list[Any] = []

    def mark(self) -> Any:
        """An event behind all that has been queued so far."""
        event = self._unused.pop() if self._unused else self._new_event()
        # By name, not by default: the process's current device may be another.
        event.record(torch.cuda.current_stream(self._device))
        return event

    def has_passed(self, mark: Any) -> bool:
        """Whether the GPU has come by it."""
        return bool(mark.query())

    def wait(self, mark: Any) -> None:
        """Wait until the GPU comes by it."""
        mark.synchronize()

    def seconds(self, earlier: Any, later: Any) -> float:
        """The GPU's own time between two events, to half a microsecond."""
        return float(earlier.elapsed_time(later)) / 1000.0

    def free(self, mark: Any) -> None:
        """Keep the event for a later mark: making one costs more than recording it."""
        self._unused.append(mark)


def _timing_event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
