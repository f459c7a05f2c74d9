"""Which searched field matters: functional ANOVA over the finished trials, by Optuna. PURE.

Imports Optuna and scikit-learn's forests when it is first asked, which takes a second or two.
Source: Hutter, Hoos, Leyton-Brown (2014), An Efficient Approach for Assessing Hyperparameter
Importance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from orchestrator.results.leaderboard_cells import EPOCHS, varied_paths
from orchestrator.results.study_view import Scalar, StudyView, TrialRow

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MIN_TRIALS: Final = 8
MIN_FIELDS: Final = 2
MAX_TRIALS: Final = 200
"""The newest ones: a forest over more takes long and tells little more."""
NUM_TREES: Final = 32


@dataclass(frozen=True)
class Within:
    """What a field explains that only some trials have (`when` in a space).

    Attributes:
        share: of the variance among the trials that have it.
        num_trials: of these, that have finished.
    """

    share: float
    num_trials: int


@dataclass(frozen=True)
class Importance:
    """How much of the score's variance each field explains, or why that is not known.

    Attributes:
        shares: by path, they add up to 1; empty where `why` says why not.
        num_trials: finished trials it was computed from.
        within: the fields that only some trials have, where it is known.
    """

    shares: Mapping[str, float] = field(default_factory=dict)
    num_trials: int = 0
    why: str = ""
    within: Mapping[str, Within] = field(default_factory=dict)


def importance_of(view: StudyView) -> Importance:
    """The importance of each field, or why there is none."""
    rows = [row for row in view.trials if row.state == "finished" and row.val_macro_f1 is not None]
    whole = _importance(rows, effective_paths(view, rows))
    return replace(whole, within=_within(view, rows))


def effective_paths(view: StudyView, rows: Sequence[TrialRow]) -> list[str]:
    """Fields that all these trials have, with more than one value."""
    return [
        path
        for path in (*varied_paths(view), EPOCHS)
        if all(path in row.values for row in rows) and _differ(rows, path)
    ]


def rows_by_partial_path(view: StudyView, rows: Sequence[TrialRow]) -> dict[str, list[TrialRow]]:
    """Fields that only some of these trials have, with more than one value, and which have them."""
    paths = (*varied_paths(view), EPOCHS)
    partial = {path: [row for row in rows if path in row.values] for path in paths}
    return {
        path: having
        for path, having in partial.items()
        if len(having) < len(rows) and _differ(having, path)
    }


def _differ(rows: Sequence[TrialRow], path: str) -> bool:
    return len({repr(row.values[path]) for row in rows}) > 1


def _within(view: StudyView, rows: Sequence[TrialRow]) -> dict[str, Within]:
    """Fields of one condition are weighed together, and cost one forest."""
    known: dict[tuple[int, ...], Importance] = {}
    found = {}
    for path, having in rows_by_partial_path(view, rows).items():
        key = tuple(row.trial for row in having)
        if key not in known:
            known[key] = _importance(having, effective_paths(view, having))
        if path in known[key].shares:
            found[path] = Within(known[key].shares[path], known[key].num_trials)
    return found


def _importance(rows: Sequence[TrialRow], paths: Sequence[str]) -> Importance:
    if len(rows) < MIN_TRIALS or len(paths) < MIN_FIELDS:
        return Importance(
            num_trials=len(rows),
            why=f"needs {MIN_TRIALS} finished trials that differ in {MIN_FIELDS} fields; "
            f"there are {len(rows)} that differ in {len(paths)}",
        )
    if len({row.val_macro_f1 for row in rows}) == 1:
        return Importance(num_trials=len(rows), why="all trials have the same score")
    rows = rows[-MAX_TRIALS:]
    try:
        return Importance(_shares(rows, paths), len(rows))
    except Exception as error:  # noqa: BLE001 - a plot less; the page says why
        return Importance(num_trials=len(rows), why=f"{type(error).__name__}: {error}")


def _shares(rows: Sequence[TrialRow], paths: Sequence[str]) -> dict[str, float]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    numeric = {path: all(_is_number(row.values[path]) for row in rows) for path in paths}
    distributions = {path: _distribution(rows, path, numeric[path]) for path in paths}
    study = optuna.create_study(direction="maximize")
    for row in rows:
        params = {p: row.values[p] if numeric[p] else repr(row.values[p]) for p in paths}
        study.add_trial(
            optuna.trial.create_trial(
                params=params, distributions=distributions, value=row.val_macro_f1
            )
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=NUM_TREES, seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {path: float(share) for path, share in found.items()}


def _distribution(rows: Sequence[TrialRow], path: str, is_numeric: bool) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    values = [row.values[path] for row in rows]
    if is_numeric:
        numbers = [float(value) for value in values]  # type: ignore[arg-type]
        return FloatDistribution(min(numbers), max(numbers))
    return CategoricalDistribution(sorted({repr(value) for value in values}))


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
