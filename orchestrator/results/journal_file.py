"""A study as Optuna's own storage, for optuna-dashboard and optuna.visualization. DRIVER.

Made from the ledger and never read back for a decision. A trial has its values by dotted path, an
intermediate value an epoch, and its state as it is: waiting, running, complete, pruned or failed.
Imports Optuna.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.results.study_view import RANKED_BY, State, StudyView, TrialRow

LOCK: Final = ".lock"
"""What Optuna adds to the name of a journal for its lock."""
STATES: Final[Mapping[State, TrialState]] = {
    "queued": TrialState.WAITING,
    "running": TrialState.RUNNING,
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class JournalFile:
    """Keeps a journal in step with a study; not safe for several threads."""

    def __init__(
        self,
        path: Path,
        distributions: Mapping[str, BaseDistribution],
        directions: Sequence[str],
    ) -> None:
        """Write nothing yet.

        Args:
            path: of the file.
            distributions: of each path that a trial can have a value for.
            directions: of macro-F1, and of seconds where there are two objectives.
        """
        self._path = path
        self._distributions = dict(distributions)
        self._directions = [StudyDirection[name.upper()] for name in directions]
        self._storage: JournalStorage | None = None
        self._ids: dict[int, int] = {}
        self._rows: dict[int, TrialRow] = {}

    def update(self, view: StudyView) -> None:
        """Write what is new in a study; from the start where the file does not go with it.

        Raises:
            OSError: the file cannot be written.
        """
        if self._storage is None and not self._take_up(view):
            self._rewrite(view)
        for row in view.trials:
            known = self._rows.get(row.trial)
            if known is row:
                continue  # a row that did not change is the same object
            if known is not None and _is_reopened(known, row):
                self._rewrite(view)  # a finished trial of Optuna's cannot be opened again
                return
            self._write(row, known)
            self._rows[row.trial] = row

    def _take_up(self, view: StudyView) -> bool:
        """Go on with the file of an earlier command, if all that it says is still so."""
        # Whoever holds the study's ledger is its only writer: a lock is of a driver that died.
        self._path.with_name(self._path.name + LOCK).unlink(missing_ok=True)
        if not self._path.is_file() or not self._path.read_bytes().endswith(b"\n"):
            return False
        try:
            storage = JournalStorage(JournalFileBackend(str(self._path)))
            study = storage.get_study_id_from_name(view.name)
            if storage.get_study_directions(study) != self._directions:
                return False
            trials = storage.get_all_trials(study)
        except Exception:  # noqa: BLE001 - anything can stand in a file that others write too
            return False
        if len(trials) > len(view.trials) or not all(map(self._agrees, trials, view.trials)):
            return False
        self._storage, self._study = storage, study
        self._ids = {trial.number: trial._trial_id for trial in trials}
        for trial, row in zip(trials, view.trials, strict=False):
            self._bring_up(trial, row)
            self._rows[row.trial] = row
        return True

    def _agrees(self, trial: FrozenTrial, row: TrialRow) -> bool:
        values = self._values(row)
        return bool(
            trial.number == row.trial
            and trial.params == values
            and trial.distributions == self._of(values)
            and (not trial.state.is_finished() or trial.state == _state(row))
            and trial.intermediate_values.items() <= _curve(row).items()
        )

    def _bring_up(self, trial: FrozenTrial, row: TrialRow) -> None:
        if not trial.state.is_finished():
            known = set(trial.intermediate_values)
            self._go_on(row, trial.state == TrialState.WAITING, known)

    def _rewrite(self, view: StudyView) -> None:
        """Put a new file in the place of the old one, in one step."""
        new = self._path.with_name(f".{self._path.name}.new")
        new.unlink(missing_ok=True)
        storage = JournalStorage(JournalFileBackend(str(new)))
        study = storage.create_new_study(self._directions, view.name)
        for row in view.trials:
            self._ids[row.trial] = storage.create_new_trial(study, self._frozen(row))
        new.replace(self._path)
        self._storage = JournalStorage(JournalFileBackend(str(self._path)))
        self._study = self._storage.get_study_id_from_name(view.name)
        self._rows = {row.trial: row for row in view.trials}

    def _write(self, row: TrialRow, known: TrialRow | None) -> None:
        assert self._storage is not None
        if known is None:
            self._ids[row.trial] = self._storage.create_new_trial(self._study, self._frozen(row))
        elif not STATES[known.state].is_finished():
            self._go_on(row, known.state == "queued", set(_curve(known)))

    def _go_on(self, row: TrialRow, was_waiting: bool, known_epochs: set[int]) -> None:
        assert self._storage is not None
        number, state = self._ids[row.trial], _state(row)
        if was_waiting and state != TrialState.WAITING:
            self._storage.set_trial_state_values(number, TrialState.RUNNING)
        for epoch, score in _curve(row).items():
            if epoch not in known_epochs:
                self._storage.set_trial_intermediate_value(number, epoch, score)
        if state.is_finished():
            for name, value in _attributes(row).items():
                self._storage.set_trial_user_attr(number, name, value)
            self._storage.set_trial_state_values(number, state, self._objectives(row))

    def _frozen(self, row: TrialRow) -> FrozenTrial:
        values = self._values(row)
        return create_trial(
            state=_state(row),
            values=self._objectives(row),
            params=values,
            distributions=self._of(values),
            user_attrs=_attributes(row),
            intermediate_values=_curve(row),
        )

    def _objectives(self, row: TrialRow) -> list[float] | None:
        score = row.val_macro_f1
        if score is None or _state(row) not in (TrialState.COMPLETE, TrialState.PRUNED):
            return None
        return [score, row.seconds][: len(self._directions)]

    def _values(self, row: TrialRow) -> dict[str, Any]:
        return {path: value for path, value in row.values.items() if path in self._distributions}

    def _of(self, values: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        return {path: self._distributions[path] for path in values}


def covering(
    distributions: Mapping[str, BaseDistribution], trials: Sequence[Mapping[str, Any]]
) -> dict[str, BaseDistribution]:
    """The distributions, widened where an old trial lies outside a range narrowed since."""
    return {
        path: _covering(known, [values[path] for values in trials if path in values])
        for path, known in distributions.items()
    }


def _covering(known: BaseDistribution, values: Sequence[Any]) -> BaseDistribution:
    if isinstance(known, CategoricalDistribution):
        return known  # it has all values that were ever listed
    if all(known._contains(known.to_internal_repr(value)) for value in values):
        return known
    low, high = min(known.low, *values), max(known.high, *values)
    if isinstance(known, IntDistribution):
        return IntDistribution(int(low), int(high), log=known.log)
    return FloatDistribution(low, high, log=known.log)


def _state(row: TrialRow) -> TrialState:
    state = STATES[row.state]
    measured = row.val_macro_f1 is not None
    return state if measured or not state.is_finished() else TrialState.FAIL


def _curve(row: TrialRow) -> dict[int, float]:
    return {
        point.epoch: point.metrics[RANKED_BY] for point in row.curve if RANKED_BY in point.metrics
    }


def _attributes(row: TrialRow) -> dict[str, Any]:
    """What Optuna has no place of its own for; most of it is known at the end."""
    found: dict[str, Any] = {"lineage": row.lineage, "seed": row.seed}
    if not STATES[row.state].is_finished():
        return found
    found |= {
        "epochs": row.epoch,
        "interval": None if row.interval is None else list(row.interval),
        "checkpoint": row.checkpoint,
        "error": row.error,
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _is_reopened(known: TrialRow, row: TrialRow) -> bool:
    return STATES[known.state].is_finished() and known.state != row.state


def quiet() -> None:
    """No line of Optuna's for each study that is opened."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
