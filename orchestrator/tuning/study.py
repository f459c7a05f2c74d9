"""A study from its first proposal to its last trial: ledger, proposals and state in one place.

DRIVER. Knows nothing of Ray: `tune_run.py` translates between it and Tune, and tests drive it
without any process. Every change is in the ledger before anything else happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from orchestrator.config.errors import ConfigError, OrchestratorError, StorageError
from orchestrator.config.home import Home
from orchestrator.config.space import Values
from orchestrator.config.storage import MARKER, storage_error, write_atomic
from orchestrator.training.group_counts import file_of, kept
from orchestrator.tuning.judge import Judge
from orchestrator.tuning.ledger import Ledger, Record
from orchestrator.tuning.lineages import Leg, StudyState, Trial, seconds_of
from orchestrator.tuning.proposals import PastTrial
from orchestrator.tuning.seeds import Repeats

LINEAGES = "lineages"
"""Folder of a study that holds the checkpoints of each lineage."""
FAILURES = "failures"
"""Folder of a study with the whole error of each failed trial."""
REFUSED = "refused-"
"""Begins what stands for the lineage of a trial that was refused: it was never trained."""

OnRecord = Callable[[Record], None]
Resolve = Callable[[int, Values, int, int], Trial]
"""From number, values, configuration and seed to the trial; ConfigError where they make none."""


@dataclass(frozen=True)
class Failure:
    """Why a leg could not go on.

    Attributes:
        reason: one line for the leaderboard.
        detail: all that is known, for the log.
        retry: whether running the study again may end otherwise.
    """

    reason: str
    detail: str
    retry: bool


class Study:
    """What is proposed, open, running and known."""

    def __init__(
        self,
        home: Home | Path,
        ledger: Ledger,
        state: StudyState,
        proposals: Repeats,
        resolve: Resolve,
        on_record: OnRecord,
        num_slots: int,
        judge: Judge,
    ) -> None:
        """Take up a study; state, proposals and judge hold what the ledger knows already."""
        self.home = home if isinstance(home, Home) else Home(home)
        self._ledger = ledger
        self._state = state
        self._proposals = proposals
        self._resolve = resolve
        self._on_record = on_record
        self._num_slots = num_slots
        self._judge = judge
        self._slot_names: dict[str, str] = {}
        self._begun: dict[str, str] = {}  # lineage -> the slot that has trained nothing of it yet
        self._have_trained: set[str] = set()
        # Notes of slots, by lineage, until a record has them.
        self._unsaid: dict[str, list[str]] = {}
        self._unsaid_weights: dict[str, str] = {}
        self._weights_said: set[str] = set()
        self._exhausted = False
        self.last_record: Record | None = None
        self.broken: OrchestratorError | None = None

    def stop(self, error: OrchestratorError) -> None:
        """Begin nothing more and write nothing more: the storage or the cluster does not take it."""
        self.broken = self.broken or error

    def open_all(self) -> None:
        """Propose every trial of a space that lists them, so that lineages are known whole."""
        while self._propose():
            pass
        self._end_answered()

    def open_repeats(self) -> None:
        """Propose all seeds of the configurations that have one: with fewer they would be ranked."""
        while self._proposals.repeating() and self._propose():
            pass
        self._end_answered()

    def reopen(self, numbers: Iterable[int]) -> None:
        """Say that trials which had failed are to be trained after all."""
        for number in numbers:
            self._announce(self._state.trials[number])

    def end_stopped(self) -> None:
        """End the trials whose training was judged when a driver died before it could say so."""
        self._end_answered()
        for lineage in self._state.open_lineages():
            self._end_if_stopped(lineage)

    def next_leg(self) -> Leg | None:
        """The next stretch to train; None if there is none at the moment."""
        self._end_answered()
        leg = self._state.next_leg()
        while leg is None and self._may_propose() and self._propose():
            self.open_repeats()
            leg = self._state.next_leg()
        return leg

    def finished(self) -> bool:
        """Whether no further leg can come: all is proposed, and what is open is running."""
        return self._exhausted and not self._state.is_waited_for()

    def num_waiting(self) -> int:
        """Trainings that further slots could take up now; of a sampled space, as far as known."""
        return self._state.num_waiting_lineages()

    def recorded_epoch(self, lineage: str) -> int:
        """The last epoch of a lineage that is in the ledger; 0 where none is."""
        return self._state.recorded_epoch(lineage)

    def is_over(self, lineage: str) -> bool:
        """Whether no trial wants another epoch of a lineage: all have finished or were stopped."""
        return not self._state.open_of(lineage)

    def complete(self) -> bool:
        """Whether every trial has ended and none is to come."""
        return self._proposals.exhausted() and self._state.num_open() == 0

    def record_begin(self, lineage: str, slot: str, wanted_name: str) -> None:
        """Note that a slot begins a training or goes on with it: its first epoch may take long.

        Args:
            lineage: which it trains from now on.
            slot: the process; see `record_epoch`.
            wanted_name: of the slot in the record, where no other process has it.
        """
        epoch, name = self._state.recorded_epoch(lineage), self._slot_name(slot, wanted_name)
        self._begun[lineage] = slot
        self._write({"record": "begin", "lineage": lineage, "epoch": epoch, "slot": name})

    def record_epoch(
        self,
        lineage: str,
        metrics: Mapping[str, Any],
        slot: str,
        wanted_name: str = "slot-0",
        notes: Sequence[str] = (),
        weights: str = "",
        *,
        found: bool = False,
    ) -> None:
        """Note a finished epoch, then end the trials that it answers.

        Args:
            lineage: which was trained.
            metrics: of the epoch, with its number.
            slot: the process that trained it.
            wanted_name: of the slot in the record, where no other process has it.
            notes: what the slot met as it began the training or went on with it.
            weights: the table of the file that it began with; recorded once a command, however many do.
            found: whether a checkpoint had it, so that no time was spent on it now.
        """
        epoch = metrics["epoch"]
        # A slot that took the place of a dead one begins with an epoch that is recorded already.
        self._unsaid.setdefault(lineage, []).extend(notes)
        self._unsaid_weights[lineage] = weights or self._unsaid_weights.get(lineage, "")
        if not self._state.add_epoch(lineage, epoch, metrics):
            return
        name = self._slot_name(slot, wanted_name)
        self._begun.pop(lineage, None)
        self._have_trained.add(slot)
        figures = {key: value for key, value in metrics.items() if key != "epoch"}
        record = {"record": "epoch", "lineage": lineage, "epoch": epoch, "metrics": figures}
        record |= {"slot": name, **({"found": True} if found else {})}
        self._write(record | self._said_once(lineage))
        self._end_answered()
        self._end_if_stopped(lineage)

    def _said_once(self, lineage: str) -> Record:
        """What a record has beside its figures, where there is something new to say."""
        notes, weights = self._unsaid.pop(lineage), self._unsaid_weights.pop(lineage)
        said: Record = {"notes": notes} if notes else {}
        if weights and weights not in self._weights_said:
            self._weights_said.add(weights)
            said["weights"] = weights
        return said

    def end_leg(
        self, lineage: str, failure: Failure | None = None, *, is_gone: bool = False
    ) -> None:
        """The slot is free again, or gone; after a failure, trials that still wanted more end failed."""
        self._state.release(lineage)
        if failure is None or is_gone:
            self._take_back(lineage)
        self._begun.pop(lineage, None)
        if failure is not None:
            for trial in self._state.open_of(lineage):
                self._end(trial, failure)

    def _take_back(self, lineage: str) -> None:
        """Say that a slot has begun a training and trained nothing of it: it found no room."""
        slot = self._begun.pop(lineage, None)
        if slot is None:
            return
        self._write({"record": "unbegun", "lineage": lineage, "slot": self._slot_names[slot]})
        if slot not in self._have_trained:
            del self._slot_names[slot]

    def _slot_name(self, slot: str, wanted: str) -> str:
        """The name the slot has on the Actors page; another one if it replaces a dead slot."""
        if slot not in self._slot_names:
            taken = self._slot_names.values()
            free = (name for n in count() if (name := f"slot-{n}") not in taken)
            self._slot_names[slot] = next(free) if wanted in taken else wanted
        return self._slot_names[slot]

    def _propose(self) -> bool:
        proposal = self._proposals.next()
        if proposal is None:
            self._exhausted = True
            return False
        try:
            trial = self._resolve(*proposal)
        except ConfigError as error:
            self._refuse(*proposal, error)
            return True
        self._state.add_trial(trial)
        self._announce(trial)
        if self._state.metrics(trial) is None:  # else it has its answer already
            self._end_if_stopped(trial.lineage)
        return True

    def _refuse(
        self, number: int, values: Values, configuration: int, seed: int, error: ConfigError
    ) -> None:
        """What a sampler drew and no training can be made of has failed; the study goes on."""
        epochs = values.get("epochs")
        self._write(
            {
                "record": "trial",
                "trial": number,
                "values": values,
                "lineage": f"{REFUSED}{number}",
                "epochs": epochs if type(epochs) is int else 0,
                "early_stop": 0,
                "seed": seed,
                "configuration": configuration,
            }
        )
        failure = Failure("; ".join(error.problems), str(error), retry=False)
        self._write({"record": "end", "trial": number, **self._failed(number, failure, epoch=0)})
        self._proposals.tell(number, None)

    def _announce(self, trial: Trial) -> None:
        self._write(
            {
                "record": "trial",
                "trial": trial.number,
                "values": trial.values,
                "lineage": trial.lineage,
                "epochs": trial.epochs,
                "early_stop": trial.patience,
                "seed": trial.experiment.seed,
                "configuration": trial.configuration,
            }
        )

    def _may_propose(self) -> bool:
        """Not far ahead of the slots: a sampler learns from what it is told."""
        return not self._exhausted and self._state.num_open() < 2 * self._num_slots

    def _end_answered(self) -> None:
        for trial in self._state.answered():
            self._end(trial)

    def _end_if_stopped(self, lineage: str) -> None:
        """Trials that want more epochs than their training was judged to be worth."""
        epoch = self._judge.stop_of(lineage)
        if epoch is not None:
            for trial in self._state.open_of(lineage):
                self._end(trial, stopped_at=epoch)

    def _end(
        self, trial: Trial, failure: Failure | None = None, stopped_at: int | None = None
    ) -> None:
        last = self._state.last_epoch(trial.lineage, trial.experiment)
        epoch = last if stopped_at is None else stopped_at
        metrics = self._state.metrics_at(trial.lineage, epoch)
        self._state.end_trial(trial.number)
        record: Record = {"record": "end", "trial": trial.number}
        if failure is not None:
            reached = self._state.recorded_epoch(trial.lineage)
            record |= self._failed(trial.number, failure, reached)
        elif stopped_at is not None:
            record |= {"state": "stopped", "epoch": epoch, "error": "", "checkpoint": ""}
        else:
            record |= {"state": "finished", "epoch": epoch, "error": ""}
            record |= self._left(trial.lineage, epoch)
        self._write(record)
        self._proposals.tell(
            trial.number,
            metrics["val_macro_f1"] if metrics and failure is None else None,
            stopped_at=stopped_at,
            seconds=self._state.seconds(trial.lineage, epoch),
        )

    def _left(self, lineage: str, epoch: int) -> Record:
        """What its worker left of a trial's last epoch: weights, by their path from the study."""
        folder = Path(LINEAGES) / lineage
        weights = folder / "milestones" / f"epoch-{epoch:04d}"
        try:
            there = self.home.has(str(weights / MARKER))
            self.home.fetch(str(file_of(folder, epoch)))
        except StorageError as error:
            self.stop(error)  # and so writes nothing of it
            return {}
        counts = kept(self.home.local / folder, epoch)
        return {"checkpoint": str(weights) if there else "", "val_groups": counts}

    def _failed(self, number: int, failure: Failure, epoch: int) -> Record:
        return {
            "state": "failed",
            "epoch": epoch,
            "error": failure.reason,
            "retry": failure.retry,
            "checkpoint": "",
            "log": self._keep_log(number, failure),
        }

    def _keep_log(self, number: int, failure: Failure) -> str:
        name = f"{FAILURES}/trial-{number:04d}.txt"
        try:
            path = self.home.local / name
            write_atomic(path, (failure.detail.rstrip() + "\n").encode())
            self.home.send(name)
        except StorageError as error:
            self.stop(error)
        except OSError as error:
            self.stop(storage_error(error) or StorageError(f"storage: {error}"))
        return name

    def _write(self, record: Record) -> None:
        if self.broken is not None:
            return  # what is in the ledger is whole; what is not will be trained or read again
        try:
            self.last_record = self._ledger.append(record)
        except StorageError as error:
            self.stop(error)
        else:
            self._judge.take(self.last_record)
            self._on_record(self.last_record)


def resume(
    records: Iterable[Record],
    state: StudyState,
    resolve: Resolve,
    *,
    stopping: bool = True,
) -> tuple[int, ...]:
    """Fold the records of a ledger into a new state.

    Trials that a lost process ended are open again; those that failed by their own fault (a
    loss that is not finite, a refused draw) would fail again and stay as they are.

    Args:
        records: of the ledger.
        state: takes them in.
        resolve: makes a trial of its values.
        stopping: whether trials are stopped; if not, those that were are open again.

    Returns:
        The numbers of the trials that had ended, or were left, and are open again, but for those
        that the ledger says so of already.

    Raises:
        ConfigError: the ledger is of another experiment or data set.
    """
    kept = list(records)
    asked = {
        record["trial"]: (record["lineage"], record["epochs"], record.get("early_stop", 0))
        for record in kept
        if record["record"] == "trial"
    }
    for record in kept:
        if record["record"] == "epoch":
            state.add_epoch(record["lineage"], record["epoch"], record["metrics"])
    for past in past_trials(kept, stopping=stopping):
        if asked[past.number][0].startswith(REFUSED):
            continue
        trial = resolve(past.number, past.values, past.configuration, past.seed)
        if (trial.lineage, trial.epochs, trial.patience) != asked[past.number]:
            raise ConfigError(
                f"study: must hold the same experiment and data set; trial {past.number} was "
                "trained with others. Choose another name with study=NAME"
            )
        state.add_trial(trial)
        if not past.open:
            state.end_trial(past.number)
    kinds = ("trial", "end", "left")
    last = {record["trial"]: record["record"] for record in kept if record["record"] in kinds}
    return tuple(n for n in sorted(last) if last[n] != "trial" and state.is_open(n))


def past_trials(records: Iterable[Record], *, stopping: bool = True) -> list[PastTrial]:
    """What the ledger knows of the trials, for `Proposals`; see `resume`."""
    trials: dict[int, tuple[int, Record]] = {}
    ends: dict[int, tuple[int, Record]] = {}
    epochs: dict[str, dict[int, Mapping[str, Any]]] = {}
    for place, record in enumerate(records):
        match record["record"]:
            case "trial":
                # Announced again: it is open again, and the sampler heard of it the first time.
                first, _ = trials.get(record["trial"], (place, record))
                trials[record["trial"]] = (first, record)
                ends.pop(record["trial"], None)
            case "values":
                first, said = trials[record["trial"]]
                named = {key: record[key] for key in ("values", "configuration")}
                trials[record["trial"]] = (first, {**said, **named})
            case "end":
                ends[record["trial"]] = (place, record)
            case "epoch":
                epochs.setdefault(record["lineage"], {})[record["epoch"]] = record["metrics"]
    return [
        _past(announced, ends.get(number), epochs, stopping)
        for number, announced in sorted(trials.items())
        # Refused, and the driver died before it could say so: it is drawn and refused again.
        if number in ends or not announced[1]["lineage"].startswith(REFUSED)
    ]


def _past(
    announced: tuple[int, Record],
    ended: tuple[int, Record] | None,
    epochs: Mapping[str, Mapping[int, Mapping[str, Any]]],
    stopping: bool,
) -> PastTrial:
    asked, trial = announced
    ended_at, end = ended or (0, None)
    state = end["state"] if end else ""
    reopened = (end and end.get("retry", False)) or (state == "stopped" and not stopping)
    known = epochs.get(trial["lineage"], {})
    last = known.get(end["epoch"]) if end and state in ("finished", "stopped") else None
    return PastTrial(
        number=trial["trial"],
        values=trial["values"],
        score=last["val_macro_f1"] if last and not reopened else None,
        open=end is None or bool(reopened),
        configuration=trial["configuration"] if "configuration" in trial else trial["trial"],
        seed=trial["seed"],
        stopped_at=end["epoch"] if end and state == "stopped" and not reopened else None,
        seconds=seconds_of(known, end["epoch"]) if end else 0.0,
        asked=asked,
        ended=ended_at,
    )
