"""Trials that differ in `epochs` only are one training, read off at several epochs.

PURE. With a constant learning rate nothing in an epoch depends on how many will follow, so the
first ten epochs of a training of twenty are a training of ten, to the bit. `StudyState` folds
the records of a study and says which stretch of which lineage is to be trained next; it never
gives the same stretch to two slots.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.config.experiment import Experiment
from orchestrator.config.space import Values
from orchestrator.config.storage import sha256_of
from orchestrator.config.validate import fingerprint, to_dict

KEY_DIGITS = 12


@dataclass(frozen=True)
class Trial:
    """One configuration of a study: a row of its leaderboard."""

    number: int
    values: Values
    experiment: Experiment
    lineage: str

    @property
    def epochs(self) -> int:
        """Epochs it asks for."""
        return self.experiment.epochs


@dataclass(frozen=True)
class Leg:
    """A stretch of a lineage for one slot: from what is recorded to the longest open trial."""

    lineage: str
    experiment: dict[str, Any]
    known_epoch: int
    last_epoch: int
    milestones: tuple[int, ...]


def lineage_key(experiment: Experiment, dataset_fingerprint: str) -> str:
    """Fingerprint of all that an epoch's numbers depend on, but the number of epochs.

    The data set counts by its content and not by its path; so do weights from a file.
    """
    depends_on = to_dict(experiment)
    del depends_on["epochs"]
    depends_on["data"] = {**depends_on["data"], "path": dataset_fingerprint}
    weights = Path(experiment.model.weights)
    if weights.is_file():
        digest = _digest(weights, weights.stat().st_mtime_ns)
        depends_on["model"] = {**depends_on["model"], "weights": digest}
    return fingerprint(depends_on)[:KEY_DIGITS]


@functools.lru_cache
def _digest(file: Path, _changed_ns: int) -> str:
    """Every trial of a study asks for the same few files of some hundred MB."""
    return sha256_of(file)


@dataclass
class StudyState:
    """What is known, what is open, and what runs.

    Attributes:
        milestones: epochs at which a trial that is yet to be proposed may end; weights are kept
            there, and where the known trials of a lineage end.
    """

    milestones: tuple[int, ...]
    trials: dict[int, Trial] = field(default_factory=dict)
    _open: dict[int, Trial] = field(default_factory=dict)
    _epochs: dict[str, dict[int, Mapping[str, Any]]] = field(default_factory=dict)
    _running: dict[str, int] = field(default_factory=dict)

    def add_trial(self, trial: Trial) -> None:
        """Open a trial."""
        self.trials[trial.number] = trial
        self._open[trial.number] = trial

    def add_epoch(self, lineage: str, epoch: int, metrics: Mapping[str, Any]) -> bool:
        """Note a finished epoch; False if it was known."""
        known = self._epochs.setdefault(lineage, {})
        if epoch in known:
            return False
        known[epoch] = metrics
        return True

    def end_trial(self, number: int) -> None:
        """Close a trial."""
        self._open.pop(number, None)

    def is_open(self, number: int) -> bool:
        """Whether a trial has not ended."""
        return number in self._open

    def metrics(self, trial: Trial) -> Mapping[str, Any] | None:
        """What is known of the trial's last epoch."""
        return self._epochs.get(trial.lineage, {}).get(trial.epochs)

    def answered(self) -> list[Trial]:
        """Open trials whose last epoch is known, in the order of their numbers."""
        return [trial for trial in self._open.values() if self.metrics(trial) is not None]

    def open_of(self, lineage: str) -> list[Trial]:
        """Open trials of a lineage."""
        return [trial for trial in self._open.values() if trial.lineage == lineage]

    def recorded_epoch(self, lineage: str) -> int:
        """The last epoch of the unbroken row from the first."""
        known = self._epochs.get(lineage, {})
        epoch = 0
        while epoch + 1 in known:
            epoch += 1
        return epoch

    def next_leg(self) -> Leg | None:
        """Take the next stretch to train: longest first, so that no slot ends long after the rest.

        Lineages that a slot is training are passed over: an extension waits for its prefix.
        """
        waiting = [trial for trial in self._open.values() if trial.lineage not in self._running]
        if not waiting:
            return None
        lineages = {trial.lineage: self._leg(trial.lineage) for trial in waiting}
        leg = max(lineages.values(), key=lambda leg: leg.last_epoch - leg.known_epoch)
        self._running[leg.lineage] = leg.last_epoch
        return leg

    def release(self, lineage: str) -> None:
        """The slot of this lineage is done with it."""
        self._running.pop(lineage, None)

    def num_waiting(self) -> int:
        """Open trials that no running leg will answer."""
        return sum(
            trial.epochs > self._running.get(trial.lineage, 0) for trial in self._open.values()
        )

    def num_open(self) -> int:
        """Trials not ended."""
        return len(self._open)

    def _leg(self, lineage: str) -> Leg:
        trials = self.open_of(lineage)
        longest = max(trials, key=lambda trial: trial.epochs)
        return Leg(
            lineage=lineage,
            experiment=to_dict(longest.experiment),
            known_epoch=self.recorded_epoch(lineage),
            last_epoch=longest.epochs,
            milestones=self._milestones(lineage, longest.epochs),
        )

    def _milestones(self, lineage: str, last_epoch: int) -> tuple[int, ...]:
        ends = {trial.epochs for trial in self.trials.values() if trial.lineage == lineage}
        return tuple(sorted(e for e in ends.union(self.milestones) if e <= last_epoch))
