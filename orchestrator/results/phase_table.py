"""Where the time of a command went, and how fast it was. PURE.

Phases are what the epochs record under `seconds` and what the command measures around them.
Whatever is recorded is shown; what the wall clock saw beyond it is `waiting`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, Final

from orchestrator.results.printable import duration, one_line

PIPELINE: Final = (
    "ingest",
    "start",
    "augment",
    "forward",
    "backward",
    "optimizer",
    "train",
    "evaluate",
    "checkpoint",
)
"""The order in which phases are shown; others follow in the order of their names."""
WAITING: Final = "waiting"
REST_OF_TRAIN: Final = "rest of train"
"""What `train` is called beside the phases that were taken out of it."""
_PARTS_OF_TRAIN: Final = frozenset({"augment", "forward", "backward", "optimizer"})


class Stopwatch:
    """Times the phases of a command; starts when it is made."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Read the time from `now`, in seconds."""
        self._now = now
        self._started = self._last = now()
        self.seconds: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """What happened since the start, or the last lap, was `phase`."""
        now = self._now()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    def wall_s(self) -> float:
        """Seconds since the start."""
        return self._now() - self._started


def summed(of_epochs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Seconds by phase over several epochs."""
    total: dict[str, float] = {}
    for seconds in of_epochs:
        for phase, value in seconds.items():
            total[phase] = total.get(phase, 0.0) + value
    return total


def phase_table(
    seconds: Mapping[str, float], wall_s: float, *, num_slots: int = 1
) -> tuple[str, ...]:
    """The table's lines: phase, seconds, share of the whole.

    Args:
        seconds: by phase, over all slots, none within another.
        wall_s: from start to end.
        num_slots: slots that were there all the time: the whole is `wall_s` of each.

    Returns:
        Nothing where no phase was measured.
    """
    measured = {phase: value for phase, value in seconds.items() if value > 0}
    if not measured:
        return ()
    # A clock read before and one after can differ by more than the work between them.
    whole = max(wall_s * num_slots, sum(measured.values()))
    rows = [(_name(phase, measured), measured[phase]) for phase in sorted(measured, key=_place)]
    rows.append((WAITING, whole - sum(measured.values())))
    of_slots = f" in each of {num_slots} slots" if num_slots > 1 else ""
    width = max(len(name) for name, _ in rows)
    return (
        f"time        {duration(wall_s)}{of_slots}, by phase:",
        *(f"  {name:<{width}}  {value:>9,.1f} s  {value / whole:>4.0%}" for name, value in rows),
    )


SPEEDS: Final = ("images_per_s", "tflops", "mfu")
"""Of an epoch's metrics; the latter two where they are known."""


def speed_lines(of_epochs: Sequence[Mapping[str, Any]], *, of_each: str = "") -> tuple[str, ...]:
    """One line: the median epoch's images and operations a second.

    Args:
        of_epochs: their metrics, of which `SPEEDS` count; `mfu` is the share of what the device's
            data sheet promises.
        of_each: what several of were at work, as words for one of them.
    """
    medians = {
        name: median(known)
        for name in SPEEDS
        if (known := [metrics[name] for metrics in of_epochs if name in metrics])
    }
    words = []
    if "images_per_s" in medians:
        words.append(f"{medians['images_per_s']:,.0f} images/s")
    if "tflops" in medians:
        words.append(_rate(medians["tflops"]))
    if "mfu" in medians:
        words.append(f"{medians['mfu']:.1%} of the peak (MFU)")
    each = f" in each {of_each}" if of_each else ""
    return (f"speed       {', '.join(words)}{each}",) if words else ()


def _rate(tflops: float) -> str:
    return f"{tflops:,.1f} TFLOP/s" if tflops >= 1 else f"{tflops * 1000:,.0f} GFLOP/s"


def _place(phase: str) -> tuple[int, str]:
    return (PIPELINE.index(phase) if phase in PIPELINE else len(PIPELINE), phase)


def _name(phase: str, measured: Mapping[str, float]) -> str:
    if phase == "train" and not _PARTS_OF_TRAIN.isdisjoint(measured):
        return REST_OF_TRAIN
    return one_line(phase, 24)
