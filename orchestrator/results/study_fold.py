"""From the ledger's records to a `StudyView`, all at once or one record at a time. PURE.

Records come in the order of the ledger and may repeat: the last one of its key wins, and a trial
that is announced again after its end is open again. A figure that is absent, NaN or infinite is
"not measured": it is left out of `metrics`.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from orchestrator.config.errors import LedgerError, OrchestratorError
from orchestrator.results.study_view import Confusion, EpochPoint, Scalar, StudyView, TrialRow
from orchestrator.training.group_counts import decode

LEDGER_VERSION: Final = 1


def fold(records: Iterable[Mapping[str, Any]]) -> StudyView:
    """The picture of a study from all its records, in time linear in their number."""
    study = StudyFold()
    for record in records:
        study.add(record)
    return study.view()


class StudyFold:
    """Takes ledger records one at a time; each `add` costs the same however long the study is.

    `view` rebuilds only the rows that changed since the last one: a row that did not change is
    the same object in both views. What needs a look at all rows is worked out when asked for.
    """

    def __init__(self) -> None:
        self._study: Mapping[str, Any] = {}
        self._trials: dict[int, _Trial] = {}
        self._members: dict[str, set[int]] = {}  # lineage -> its trials
        self._epochs: dict[str, dict[int, EpochPoint]] = {}  # lineage -> epoch -> figures
        self._num_epochs = 0
        self._ends: dict[int, _End] = {}
        self._rows: dict[int, TrialRow] = {}
        self._begun: set[str] = set()  # lineages, by the last command
        self._stale: set[int] = set()
        self._times: tuple[str, str] = ("", "")

    def add(self, record: Mapping[str, Any]) -> None:
        """Take one record in; kinds that this version does not know are passed over.

        Raises:
            OrchestratorError: the record is of another ledger version, or lacks what its kind has.
        """
        take = {
            "study": self._add_study,
            "trial": self._add_trial,
            "begin": self._add_begin,
            "unbegun": self._add_unbegun,
            "epoch": self._add_epoch,
            "end": self._add_end,
            "values": self._add_values,
            "left": self._add_left,
            "weights_removed": self._add_removal,
        }.get(str(record.get("record")))
        if take is None:
            return
        try:
            take(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise OrchestratorError(
                f"ledger: a record of kind {record['record']!r} is not as this version writes it; "
                f"got {json.dumps(record, default=str)[:300]} ({type(error).__name__}: {error}). "
                "Read the study with the version that wrote it."
            ) from error
        self._note_time(record)

    def view(self) -> StudyView:
        """The picture as of now."""
        num_rows = len(self._rows)
        for trial in self._stale:
            self._rows[trial] = self._row(self._trials[trial])
        if len(self._rows) > num_rows:
            self._rows = dict(sorted(self._rows.items()))
        self._stale.clear()
        return _study_view(self._study, tuple(self._rows.values()), self._num_epochs, self._times)

    def _add_study(self, record: Mapping[str, Any]) -> None:
        version = record["version"]
        if version != LEDGER_VERSION:
            raise OrchestratorError(
                f"ledger.version: this program reads version {LEDGER_VERSION}; got {version!r}. "
                "Read the study with the version that wrote it."
            )
        self._study = record
        for lineage in self._begun:  # a new command has slots of its own
            self._stale |= self._members.get(lineage, set())
        self._begun.clear()

    def _add_trial(self, record: Mapping[str, Any]) -> None:
        trial = _Trial(
            trial=int(record["trial"]),
            values={str(path): _scalar(value) for path, value in record["values"].items()},
            lineage=str(record["lineage"]),
            seed=int(record["seed"]),
            epochs=int(record["epochs"]),
            configuration=int(record.get("configuration", record["trial"])),
        )
        known = self._trials.get(trial.trial)
        if known:
            self._members[known.lineage].discard(known.trial)
            self._stale |= self._members[known.lineage]
        self._trials[trial.trial] = trial
        # Announced once more: a trial that had failed is being trained after all.
        self._ends.pop(trial.trial, None)
        self._members.setdefault(trial.lineage, set()).add(trial.trial)
        # A longer trial may take over its lineage: the `shared` of the others changes.
        self._stale |= self._members[trial.lineage]

    def _add_begin(self, record: Mapping[str, Any]) -> None:
        lineage = str(record["lineage"])
        self._begun.add(lineage)
        self._stale |= self._members.get(lineage, set())

    def _add_unbegun(self, record: Mapping[str, Any]) -> None:
        lineage = str(record["lineage"])
        self._begun.discard(lineage)
        self._stale |= self._members.get(lineage, set())

    def _add_epoch(self, record: Mapping[str, Any]) -> None:
        lineage = str(record["lineage"])
        point = epoch_point(int(record["epoch"]), record["metrics"], str(record.get("slot", "")))
        known = self._epochs.setdefault(lineage, {})
        self._num_epochs += point.epoch not in known
        known[point.epoch] = point
        self._stale |= self._members.get(lineage, set())

    def _add_end(self, record: Mapping[str, Any]) -> None:
        trial = int(record["trial"])
        if record["state"] not in ("finished", "stopped", "failed"):
            raise ValueError(f"state {record['state']!r}")
        self._ends[trial] = _End(
            state=record["state"],
            epoch=int(record["epoch"]),
            error=str(record.get("error") or ""),
            checkpoint=str(record.get("checkpoint") or ""),
            log=str(record.get("log") or ""),
            groups=_groups(record.get("val_groups")),
        )
        if trial in self._trials:
            self._stale.add(trial)

    def _add_values(self, record: Mapping[str, Any]) -> None:
        """What a trial's values were all along, in the terms of a space that has grown."""
        trial = int(record["trial"])
        self._trials[trial] = replace(
            self._trials[trial],
            values={str(path): _scalar(value) for path, value in record["values"].items()},
            configuration=int(record["configuration"]),
        )
        self._stale.add(trial)

    def _add_left(self, record: Mapping[str, Any]) -> None:
        """Nobody asks for an open trial any more: it has no row, until it is announced again."""
        trial = self._trials.pop(int(record["trial"]))
        self._members[trial.lineage].discard(trial.trial)
        self._ends.pop(trial.trial, None)
        self._rows.pop(trial.trial, None)
        self._stale.discard(trial.trial)
        self._stale |= self._members[trial.lineage]

    def _add_removal(self, record: Mapping[str, Any]) -> None:
        """Only the weights are gone (`clean_up`): the trial ended as it did."""
        trial = int(record["trial"])
        if trial in self._ends:
            self._ends[trial] = replace(self._ends[trial], checkpoint="")
            self._stale |= {trial} & self._trials.keys()

    def _note_time(self, record: Mapping[str, Any]) -> None:
        time = str(record.get("time") or "")
        if time:
            self._times = (self._times[0] or time, time)

    def _row(self, trial: "_Trial") -> TrialRow:
        end = self._ends.get(trial.trial)
        epochs = self._epochs.get(trial.lineage, {})
        ended_at = end.epoch if end and end.state in ("finished", "stopped") else None
        asked = trial.epochs if ended_at is None else ended_at
        curve = tuple(epochs[epoch] for epoch in sorted(epochs) if epoch <= asked)
        reached = curve[-1].epoch if curve else 0
        if ended_at is not None:
            reached = ended_at
        is_begun = bool(curve) or trial.lineage in self._begun
        return TrialRow(
            trial=trial.trial,
            values=trial.values,
            lineage=trial.lineage,
            seed=trial.seed,
            epochs=trial.epochs,
            epoch=reached,
            state=end.state if end else ("running" if is_begun else "queued"),
            last=epochs.get(reached),
            curve=curve,
            error=end.error if end else "",
            checkpoint=end.checkpoint if end else "",
            log=end.log if end else "",
            shared=trial.trial != self._trained_for(trial.lineage),
            configuration=trial.configuration,
            groups=end.groups if end else None,
        )

    def _trained_for(self, lineage: str) -> int:
        """The trial that a lineage is trained for: its longest, the lowest number among equals."""
        return min(self._members[lineage], key=lambda trial: (-self._trials[trial].epochs, trial))


def epoch_point(epoch: int, metrics: Mapping[str, Any], slot: str = "") -> EpochPoint:
    """The `metrics` of one epoch record (or of one epoch of `train`), sorted into kinds."""
    return EpochPoint(
        epoch=epoch,
        metrics=_finite(metrics),
        confusion=_confusion(metrics.get("val_confusion")),
        seconds=_finite(metrics.get("seconds") or {}),
        slot=slot,
    )


@dataclass(frozen=True)
class _Trial:
    trial: int
    values: Mapping[str, Scalar]
    lineage: str
    seed: int
    epochs: int
    configuration: int


@dataclass(frozen=True)
class _End:
    state: Literal["finished", "stopped", "failed"]
    epoch: int
    error: str
    checkpoint: str
    log: str
    groups: Mapping[str, Any] | None


def _study_view(
    study: Mapping[str, Any],
    rows: tuple[TrialRow, ...],
    epochs_trained: int,
    times: tuple[str, str],
) -> StudyView:
    space, dataset = study.get("space") or {}, study.get("dataset") or {}
    return StudyView(
        name=str(study.get("study") or ""),
        space=str(space.get("name") or ""),
        question=str(space.get("question") or ""),
        dataset=str(dataset.get("name") or ""),
        protocol=str(dataset.get("protocol") or ""),
        classes=tuple(str(name) for name in dataset.get("classes") or ()),
        counts=dataset.get("counts") or {},
        trials=rows,
        epochs_trained=epochs_trained,
        started=times[0],
        updated=times[1],
    )


def _finite(figures: Mapping[str, Any]) -> dict[str, float]:
    """The entries that are finite numbers; True and False are none."""
    return {
        str(name): float(value)
        for name, value in figures.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _confusion(value: Any) -> Confusion:
    """A square matrix of counts, () for anything else."""
    if not isinstance(value, list | tuple):
        return ()
    rows = tuple(tuple(int(count) for count in row) for row in value)
    return rows if all(len(row) == len(rows) for row in rows) else ()


def _groups(value: Any) -> Mapping[str, Any] | None:
    """Encoded counts that can be decoded, None for anything else: a ledger is input."""
    if not isinstance(value, Mapping):
        return None
    try:
        decode(value)
    except LedgerError:
        return None
    return value


def _scalar(value: Any) -> Scalar:
    """Trial values are scalars; what is none (a list of points, say) is shown as its JSON."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return json.dumps(value, default=str)
