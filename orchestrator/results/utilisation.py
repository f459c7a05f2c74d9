"""How much of the slots' time was spent training, from the ledger's records of one command. PURE.

A slot's steady state lasts from the beginning of its first epoch to the end of its last: starting
processes and reading data come before it, and a slot for which no trial is left has ended. What is
not training in between are the gaps: a new model is built, the end of a training is written down,
the driver is busy, a dead slot is replaced; so is what an epoch waits for its checkpoint. An epoch
that was found in a checkpoint takes no time: an earlier command trained it, or a slot that died
before it could say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any, Final

KIND: Final = "utilisation"
"""The kind of the ledger's record: one at the end of each command that has trained."""


@dataclass
class _Slot:
    lineage: str
    since_s: float
    until_s: float
    trained_s: float


WAITING: Final = "checkpoint"
"""The phase of an epoch in which nothing is trained: storage is waited for."""


class Utilisation:
    """Takes the records of one command, one at a time."""

    def __init__(self) -> None:
        self._slots: dict[str, _Slot] = {}
        self._gaps_s: list[float] = []
        self._num_planned = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Take one record in; only the plan and epochs tell of slots."""
        if record.get("record") == "study":
            self._num_planned = int((record.get("resources") or {}).get("slots") or 0)
        if record.get("record") != "epoch":
            return
        ended_s = datetime.fromisoformat(str(record["time"])).timestamp()
        phases = {} if record.get("found") else record["metrics"].get("seconds") or {}
        whole_s, trained_s = sum(phases.values()), sum(phases.values()) - phases.get(WAITING, 0.0)
        name, lineage = str(record["slot"]), str(record["lineage"])
        slot = self._slots.get(name) or self._succeeded(name, lineage)
        if slot is None:
            self._slots[name] = _Slot(lineage, ended_s - whole_s, ended_s, trained_s)
            return
        if slot.lineage != lineage:
            self._gaps_s.append(max(0.0, ended_s - whole_s - slot.until_s))
        slot.lineage, slot.until_s = lineage, ended_s
        slot.trained_s += trained_s

    def _succeeded(self, name: str, lineage: str) -> _Slot | None:
        """The account of the slot that a new one took the place of, from now on under its name.

        It goes on with the training of the dead one. Otherwise, where there are as many as planned,
        one of them has died: the one that is silent longest.
        """
        same = [known for known, slot in self._slots.items() if slot.lineage == lineage]
        is_full = 0 < self._num_planned <= len(self._slots)
        candidates = same or (list(self._slots) if is_full else [])
        if not candidates:
            return None
        dead = min(candidates, key=lambda known: self._slots[known].until_s)
        self._slots[name] = self._slots.pop(dead)
        return self._slots[name]

    def share(self) -> float | None:
        """Share of the slots' steady time that was training, in [0, 1]; None before any epoch."""
        whole_s = sum(slot.until_s - slot.since_s for slot in self._slots.values())
        trained_s = sum(slot.trained_s for slot in self._slots.values())
        return min(1.0, trained_s / whole_s) if whole_s > 0 else None

    def num_slots(self) -> int:
        """Slots that have trained."""
        return len(self._slots)

    def gap_s(self) -> float | None:
        """Median seconds between two trainings of a slot; None where no slot had two."""
        return median(self._gaps_s) if self._gaps_s else None

    def record(self) -> dict[str, object]:
        """For the ledger."""
        return {
            "record": KIND,
            "slots": self.num_slots(),
            "share": self.share(),
            "trained_s": sum(slot.trained_s for slot in self._slots.values()),
            "gap_s": self.gap_s(),
            "gaps": len(self._gaps_s),
        }

    def lines(self) -> tuple[str, ...]:
        """For the end of a command; nothing where nothing was trained."""
        share, gap_s = self.share(), self.gap_s()
        if share is None:
            return ()
        words = f"slots trained {share:.1%} of the time from their first epoch to their last"
        if gap_s is not None:
            words += f"; {gap_s:.2f} s between two trainings (median of {len(self._gaps_s)})"
        return (f"utilisation {words}",)
