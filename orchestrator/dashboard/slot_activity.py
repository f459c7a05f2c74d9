"""What each slot of a study trains, since when, and how busy it was, from the ledger. PURE.

The names of slots start anew with each command, so that a record of kind `study` clears them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.results.printable import one_line

MAX_SLOTS = 1024
_MAX_WORDS = 40


@dataclass(frozen=True)
class SlotState:
    """One slot.

    Attributes:
        lineage, epoch: what it trained last.
        seconds: of its epochs, all together.
        since_s, until_s: when its first epoch began and its last one ended, seconds since 1970.
        last_s: seconds of its last epoch, as many as the next will take.
    """

    lineage: str
    epoch: int
    seconds: float
    since_s: float
    until_s: float
    last_s: float = 0.0

    def busy_share(self, now_s: float, *, at_work: bool) -> float:
        """Share of its time that it has trained, in [0, 1].

        An epoch at work counts as trained, but for no longer than the one before it took: a slot
        that hangs is not busy.
        """
        running_s = min(max(0.0, now_s - self.until_s), self.last_s) if at_work else 0.0
        whole_s = max(now_s, self.until_s) - self.since_s
        return min(1.0, (self.seconds + running_s) / whole_s) if whole_s > 0 else 0.0


class SlotActivity:
    """Takes ledger records one at a time."""

    def __init__(self) -> None:
        self.slots: dict[str, SlotState] = {}
        self.num_planned = 0
        self._epoch_ends_s = (0.0, 0.0)  # of the first epoch, of the last
        self._num_epochs = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Take one record in; only `study` and `epoch` tell of slots."""
        match record.get("record"):
            case "study":
                self._start(record)
            case "epoch":
                self._add_epoch(record)

    def per_epoch_s(self) -> float | None:
        """Seconds from one epoch of the study to the next; None until two of them are known."""
        if self._num_epochs < 2:
            return None
        first_s, last_s = self._epoch_ends_s
        return (last_s - first_s) / (self._num_epochs - 1)

    def _start(self, record: Mapping[str, Any]) -> None:
        resources = record.get("resources") or {}
        self.slots = {}
        self.num_planned = int(resources.get("slots") or 0)
        self._num_epochs = 0

    def _add_epoch(self, record: Mapping[str, Any]) -> None:
        ended_s, last_s = time_of(record), epoch_seconds(record["metrics"])
        seconds = 0.0 if record.get("found") else last_s  # it was trained before
        if not record.get("found"):
            self._epoch_ends_s = (self._epoch_ends_s[0] if self._num_epochs else ended_s, ended_s)
            self._num_epochs += 1
        name = one_line(str(record.get("slot", "")), _MAX_WORDS)
        before = self.slots.get(name)
        if before is None and len(self.slots) >= MAX_SLOTS:
            return
        self.slots[name] = SlotState(
            lineage=str(record["lineage"]),
            epoch=int(record["epoch"]),
            seconds=seconds + (before.seconds if before else 0.0),
            since_s=before.since_s if before else ended_s - seconds,
            until_s=ended_s,
            last_s=last_s,
        )


def time_of(record: Mapping[str, Any]) -> float:
    """When a record was written, seconds since 1970; 0 where it does not say."""
    try:
        return datetime.fromisoformat(str(record.get("time"))).timestamp()
    except ValueError:
        return 0.0


def epoch_seconds(metrics: Mapping[str, Any]) -> float:
    """How long an epoch took: what its phases add up to."""
    phases = metrics.get("seconds")
    if not isinstance(phases, Mapping):
        return 0.0
    return sum(float(part) for part in phases.values() if isinstance(part, int | float))
