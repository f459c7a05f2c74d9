"""Trials that differ in when they end only are one training, read off at several epochs.

PURE. With a constant learning rate nothing in an epoch depends on how many will follow, so the
first ten epochs of a training of twenty are a training of ten, to the bit. Where patience
(`early_stop`) ends a trial depends on the epochs before only, so that is read off as well. A
cosine schedule does depend on the number of epochs: each is a lineage of its own. `StudyState`
folds the records of a study and says which stretch of which lineage is to be trained next; it
never gives the same stretch to two slots.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.config.experiment import Experiment
from orchestrator.config.neutral import but_neutral
from orchestrator.config.space import Values
from orchestrator.config.storage import sha256_of
from orchestrator.config.validate import fingerprint, to_dict
from orchestrator.training.early_stop import last_epoch

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
        """Epochs it asks for, unless patience ends it before."""
        return self.experiment.epochs

    @property
    def patience(self) -> int:
        """Epochs without a better score after which it ends; 0 = never."""
        return self.experiment.early_stop


@dataclass(frozen=True)
class Leg:
    """A stretch of a lineage for one slot: from what is recorded to the end of its open trials.

    Attributes:
        scores: of the known epochs, to go on counting from; empty where no trial has patience.
        last_epoch: where it ends at the latest.
        ends: (epochs, patience) of each open trial: when all have ended, it does.
        milestones: epochs at which weights are kept for trials.
    """

    lineage: str
    experiment: dict[str, Any]
    known_epoch: int
    scores: tuple[float, ...]
    last_epoch: int
    ends: tuple[tuple[int, int], ...]
    milestones: tuple[int, ...]

    def answers(self, trial: Trial) -> bool:
        """Whether it is sure to go on until this trial of its lineage ends.

        It is where one of its own trials asks for as many epochs and has as much patience.
        """
        return any(
            epochs >= trial.epochs and (patience == 0 or 0 < trial.patience <= patience)
            for epochs, patience in self.ends
        )


def lineage_key(experiment: Experiment, dataset_fingerprint: str) -> str:
    """Fingerprint of all that an epoch's numbers depend on.

    They depend on how many will follow only where the schedule does; never on when to stop. The
    data set counts by its content and not by its path; so do weights from a file.
    """
    depends_on = but_neutral(experiment)
    del depends_on["early_stop"]
    if not is_bound_to_horizon(experiment):
        del depends_on["epochs"]
    depends_on["data"] = {**depends_on["data"], "path": dataset_fingerprint}
    weights = Path(experiment.model.weights)
    if weights.is_file():
        digest = _digest(weights, weights.stat().st_mtime_ns)
        depends_on["model"] = {**depends_on["model"], "weights": digest}
    return fingerprint(depends_on)[:KEY_DIGITS]


def is_bound_to_horizon(experiment: Experiment) -> bool:
    """Whether an epoch depends on how many will follow, so that none can be shared.

    Cosine does; warm-up does not, as it says from the start of the training what is done.
    """
    return experiment.schedule != "constant"


def seconds_of(epochs: Mapping[int, Mapping[str, Any]], last: int) -> float:
    """Seconds of all phases of the epochs up to `last`."""
    known = (metrics.get("seconds") or {} for epoch, metrics in epochs.items() if epoch <= last)
    return float(sum(sum(seconds.values()) for seconds in known))


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
    _running: dict[str, Leg] = field(default_factory=dict)

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

    def last_epoch(self, lineage: str, experiment: Experiment) -> int:
        """The epoch with which an experiment of this lineage ends, as far as is known."""
        if experiment.early_stop == 0:
            return experiment.epochs
        return last_epoch(self._scores(lineage), experiment.epochs, experiment.early_stop)

    def metrics(self, trial: Trial) -> Mapping[str, Any] | None:
        """What is known of the trial's last epoch."""
        return self.metrics_at(trial.lineage, self.last_epoch(trial.lineage, trial.experiment))

    def metrics_at(self, lineage: str, epoch: int) -> Mapping[str, Any] | None:
        """What is known of an epoch of a lineage."""
        return self._epochs.get(lineage, {}).get(epoch)

    def seconds(self, lineage: str, epoch: int) -> float:
        """Seconds that the epochs of a lineage took, up to this one."""
        return seconds_of(self._epochs.get(lineage, {}), epoch)

    def ended(self) -> set[tuple[str, int, int]]:
        """Lineage, epochs and patience of each trial that has ended."""
        return {
            (trial.lineage, trial.epochs, trial.patience)
            for trial in self.trials.values()
            if trial.number not in self._open
        }

    def open_lineages(self) -> set[str]:
        """Lineages that have open trials."""
        return {trial.lineage for trial in self._open.values()}

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
        self._running[leg.lineage] = leg
        return leg

    def release(self, lineage: str) -> None:
        """The slot of this lineage is done with it."""
        self._running.pop(lineage, None)

    def num_waiting(self) -> int:
        """Open trials that no running leg is sure to answer."""
        legs = self._running
        return sum(
            trial.lineage not in legs or not legs[trial.lineage].answers(trial)
            for trial in self._open.values()
        )

    def num_open(self) -> int:
        """Trials not ended."""
        return len(self._open)

    def _leg(self, lineage: str) -> Leg:
        trials = self.open_of(lineage)
        longest = max(trials, key=lambda trial: trial.epochs)
        patient = any(trial.patience for trial in trials)
        return Leg(
            lineage=lineage,
            experiment=to_dict(longest.experiment),
            known_epoch=self.recorded_epoch(lineage),
            scores=self._scores(lineage) if patient else (),
            last_epoch=max(self.last_epoch(lineage, trial.experiment) for trial in trials),
            ends=tuple(dict.fromkeys((trial.epochs, trial.patience) for trial in trials)),
            milestones=self._milestones(lineage, longest),
        )

    def _scores(self, lineage: str) -> tuple[float, ...]:
        known = self._epochs.get(lineage, {})
        last = self.recorded_epoch(lineage)
        return tuple(known[epoch]["val_macro_f1"] for epoch in range(1, last + 1))

    def _milestones(self, lineage: str, longest: Trial) -> tuple[int, ...]:
        ends = {trial.epochs for trial in self.trials.values() if trial.lineage == lineage}
        if not is_bound_to_horizon(longest.experiment):
            ends = ends.union(self.milestones)
        return tuple(sorted(end for end in ends if end <= longest.epochs))
