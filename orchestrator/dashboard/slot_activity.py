"""What each slot of a study trains, since when, and how busy it was, from the ledger. PURE.

The names of slots start anew with each command, so that a record of kind `study` clears them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from orchestrator.results.printable import one_line

MAX_SLOTS = 1024
_MAX_WORDS = 40


@dataclass(frozen=True)
class SlotState:
    """One slot.

    Attributes:
        lineage, epoch: what it trains, or trained last, and the epochs that this has; "" once another
            slot has taken it over.
        seconds: of its epochs, all together.
        since_s: when its first epoch began, seconds since 1970; None before one has ended.
        until_s: when it last ended an epoch or began a training.
        last_s: seconds of its last epoch, as many as the next will take.
        begins: whether no epoch has ended since it began this training.
    """

    lineage: str
    epoch: int
    seconds: float
    since_s: float | None
    until_s: float
    last_s: float = 0.0
    begins: bool = False

    def busy_share(self, now_s: float, *, at_work: bool) -> float | None:
        """Share of its time that it has trained, in [0, 1]; None before its first epoch.

        An epoch at work counts as trained, but for no longer than the one before it took: a slot
        that hangs is not busy.
        """
        if self.since_s is None:
            return None
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
        """Take one record in; only `study`, `begin`, `unbegun` and `epoch` tell of slots."""
        match record.get("record"):
            case "study":
                self._start(record)
            case "begin":
                self._begin(record)
            case "unbegun":
                self._take_back(_name(record))
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

    def _begin(self, record: Mapping[str, Any]) -> None:
        name, lineage = _name(record), str(record["lineage"])
        for other in [known for known, slot in self.slots.items() if slot.lineage == lineage]:
            if other != name:
                self._take_back(other)  # it found no room, or died with this training
        before = self.slots.get(name) or SlotState(lineage, 0, 0.0, None, 0.0)
        begun = replace(before, lineage=lineage, epoch=int(record["epoch"]), begins=True)
        self._put(name, replace(begun, until_s=time_of(record)))

    def _take_back(self, name: str) -> None:
        """A slot trains no more what it had; one that never trained is no slot."""
        slot = self.slots.get(name)
        if slot is not None and slot.since_s is None:
            del self.slots[name]
        elif slot is not None:
            self.slots[name] = replace(slot, lineage="", epoch=0, begins=False)

    def _add_epoch(self, record: Mapping[str, Any]) -> None:
        ended_s, last_s = time_of(record), epoch_seconds(record["metrics"])
        seconds = 0.0 if record.get("found") else last_s  # it was trained before
        if not record.get("found"):
            self._epoch_ends_s = (self._epoch_ends_s[0] if self._num_epochs else ended_s, ended_s)
            self._num_epochs += 1
        name = _name(record)
        before = self.slots.get(name) or SlotState("", 0, 0.0, None, 0.0)
        trained = SlotState(
            lineage=str(record["lineage"]),
            epoch=int(record["epoch"]),
            seconds=seconds + before.seconds,
            since_s=ended_s - seconds if before.since_s is None else before.since_s,
            until_s=ended_s,
            last_s=last_s,
        )
        self._put(name, trained)

    def _put(self, name: str, slot: SlotState) -> None:
        if name in self.slots or len(self.slots) < MAX_SLOTS:
            self.slots[name] = slot


def _name(record: Mapping[str, Any]) -> str:
    return one_line(str(record.get("slot", "")), _MAX_WORDS)


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
