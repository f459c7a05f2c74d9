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
import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import models
from orchestrator.config.experiment import Experiment
from orchestrator.config.neutral import but_neutral
from orchestrator.config.space import Values
from orchestrator.config.storage import sha256_of
from orchestrator.config.validate import fingerprint, to_dict
from orchestrator.training.early_stop import last_epoch

KEY_DIGITS = 12


_Place = tuple[bool, int, int, str]


@dataclass(frozen=True)
class Trial:
    """One configuration of a study, trained with one seed."""

    number: int
    values: Values
    experiment: Experiment
    lineage: str
    configuration: int

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
        may_end: (epochs, patience) of trials yet to be proposed: weights are kept where patience
            would end them, too.
    """

    lineage: str
    experiment: dict[str, Any]
    known_epoch: int
    scores: tuple[float, ...]
    last_epoch: int
    ends: tuple[tuple[int, int], ...]
    milestones: tuple[int, ...]
    may_end: tuple[tuple[int, int], ...] = ()

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
    data set counts by its content and not by its path; so do weights from a file, and `vggface`,
    which is whatever file the user put there.
    """
    depends_on = but_neutral(experiment)
    del depends_on["early_stop"]
    if not is_bound_to_horizon(experiment):
        del depends_on["epochs"]
    depends_on["data"] = {**depends_on["data"], "path": dataset_fingerprint}
    weights = models.own_file(experiment.model.weights)
    if weights is not None:
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

    Each change costs the same however many trials there are: what depends on a lineage is looked
    at anew where that lineage has changed.

    Attributes:
        milestones: epochs at which a trial that is yet to be proposed may end; weights are kept
            there, and where the known trials of a lineage end.
        patience: of a trial that is yet to be proposed; weights are kept where it would end one.
    """

    milestones: tuple[int, ...]
    patience: tuple[int, ...] = ()
    trials: dict[int, Trial] = field(default_factory=dict)
    _open: dict[int, Trial] = field(default_factory=dict)
    _epochs: dict[str, dict[int, Mapping[str, Any]]] = field(default_factory=dict)
    _running: dict[str, Leg] = field(default_factory=dict)
    _open_of: dict[str, dict[int, Trial]] = field(default_factory=dict)
    _asked: dict[str, set[int]] = field(default_factory=dict)  # lineage -> epochs of all its trials
    _recorded: dict[str, int] = field(default_factory=dict)
    _maybe_answered: set[str] = field(default_factory=set)
    _changed: dict[str, None] = field(default_factory=dict)  # since they were queued
    _queue: list[_Place] = field(default_factory=list)  # a heap

    def add_trial(self, trial: Trial) -> None:
        """Open a trial."""
        self.trials[trial.number] = trial
        self._open[trial.number] = trial
        self._open_of.setdefault(trial.lineage, {})[trial.number] = trial
        self._asked.setdefault(trial.lineage, set()).add(trial.epochs)
        self._note_change(trial.lineage)

    def add_epoch(self, lineage: str, epoch: int, metrics: Mapping[str, Any]) -> bool:
        """Note a finished epoch; False if it was known."""
        known = self._epochs.setdefault(lineage, {})
        if epoch in known:
            return False
        known[epoch] = metrics
        self._note_change(lineage)
        return True

    def end_trial(self, number: int) -> None:
        """Close a trial."""
        trial = self._open.pop(number, None)
        if trial is not None:
            of_lineage = self._open_of[trial.lineage]
            del of_lineage[number]
            if not of_lineage:
                del self._open_of[trial.lineage]
            self._note_change(trial.lineage)

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
        return set(self._open_of)

    def answered(self) -> list[Trial]:
        """Open trials whose last epoch is known, in the order of their numbers."""
        found = [
            trial
            for lineage in self._maybe_answered
            for trial in self.open_of(lineage)
            if self.metrics(trial) is not None
        ]
        self._maybe_answered = {trial.lineage for trial in found}
        return sorted(found, key=lambda trial: trial.number)

    def open_of(self, lineage: str) -> list[Trial]:
        """Open trials of a lineage."""
        return list(self._open_of.get(lineage, {}).values())

    def recorded_epoch(self, lineage: str) -> int:
        """The last epoch of the unbroken row from the first."""
        known = self._epochs.get(lineage, {})
        epoch = self._recorded.get(lineage, 0)
        while epoch + 1 in known:
            epoch += 1
        self._recorded[lineage] = epoch
        return epoch

    def next_leg(self) -> Leg | None:
        """Take the next stretch to train: the longest, so that no slot ends long after the rest.

        What is begun comes before: a driver that was killed goes on where it was, and judges of early
        stopping, which compare a training with those before it, see them in the same order.
        Lineages that a slot is training are passed over: an extension waits for its prefix.
        """
        for lineage in self._changed:
            if (place := self._place(lineage)) is not None:
                heapq.heappush(self._queue, place)
        self._changed.clear()
        while self._queue:
            place = heapq.heappop(self._queue)
            lineage = place[-1]
            if place == self._place(lineage):  # else it has changed since, or runs
                self._running[lineage] = self._leg(lineage)
                return self._running[lineage]
        return None

    def release(self, lineage: str) -> None:
        """The slot of this lineage is done with it."""
        self._running.pop(lineage, None)
        self._note_change(lineage)

    def is_waited_for(self) -> bool:
        """Whether there is an open trial that no running leg is sure to answer."""
        return self.num_waiting_lineages() > 0 or any(
            not leg.answers(trial)
            for lineage, leg in self._running.items()
            for trial in self.open_of(lineage)
        )

    def num_waiting_lineages(self) -> int:
        """Trainings that nobody is at, and that open trials wait for."""
        return len(self._open_of) - sum(lineage in self._open_of for lineage in self._running)

    def num_open(self) -> int:
        """Trials not ended."""
        return len(self._open)

    def _note_change(self, lineage: str) -> None:
        self._maybe_answered.add(lineage)
        self._changed[lineage] = None

    def _place(self, lineage: str) -> _Place | None:
        """Where a lineage stands in the queue: begun, then longest, then the lowest trial's."""
        trials = self._open_of.get(lineage)
        if not trials or lineage in self._running:
            return None
        last = max(self.last_epoch(lineage, trial.experiment) for trial in trials.values())
        known = self.recorded_epoch(lineage)
        return known == 0, known - last, min(trials), lineage

    def _leg(self, lineage: str) -> Leg:
        trials = self.open_of(lineage)
        longest = max(trials, key=lambda trial: trial.epochs)
        patient = any(trial.patience for trial in trials)
        return Leg(
            lineage=lineage,
            experiment=to_dict(longest.experiment) | self._precision(lineage),
            known_epoch=self.recorded_epoch(lineage),
            scores=self._scores(lineage) if patient else (),
            last_epoch=max(self.last_epoch(lineage, trial.experiment) for trial in trials),
            ends=tuple(dict.fromkeys((trial.epochs, trial.patience) for trial in trials)),
            milestones=self._milestones(lineage, longest),
            may_end=tuple((max(self.milestones), some) for some in self.patience if some),
        )

    def _precision(self, lineage: str) -> dict[str, str]:
        """What `auto` was when the lineage began: it goes on with that on any machine."""
        first = self._epochs.get(lineage, {}).get(1, {})
        return {"precision": first["precision"]} if "precision" in first else {}

    def _scores(self, lineage: str) -> tuple[float, ...]:
        known = self._epochs.get(lineage, {})
        last = self.recorded_epoch(lineage)
        return tuple(known[epoch]["val_macro_f1"] for epoch in range(1, last + 1))

    def _milestones(self, lineage: str, longest: Trial) -> tuple[int, ...]:
        ends = self._asked[lineage]
        if not is_bound_to_horizon(longest.experiment):
            ends = ends.union(self.milestones)
        return tuple(sorted(end for end in ends if end <= longest.epochs))
