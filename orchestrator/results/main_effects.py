"""What each value of a searched field scores on average: main effects. PURE.

A mean is over all finished trials of a value, whatever their other values. A field that only some
trials have (`when` in a space) is compared among these. In a complete factorial
all values meet all others equally often, so that a difference of means is the field's own; where
that does not hold (rows, samplers) `is_balanced` says so. Source: Montgomery, Design and Analysis
of Experiments, chapter 5.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from orchestrator.results.field_importance import (
    Importance,
    effective_paths,
    importance_of,
    rows_by_partial_path,
)
from orchestrator.results.leaderboard_cells import EPOCHS, varied_paths
from orchestrator.results.printable import value_text
from orchestrator.results.study_view import Scalar, StudyView, TrialRow

MAX_LEVELS: Final = 8
"""Values of a field that are shown one by one; numbers with more are put into bins."""
NUM_BINS: Final = 4
CONFIDENCE: Final = 0.95
MIN_TRIALS: Final = 2


@dataclass(frozen=True)
class Level:
    """One value of a field, or one range of its values.

    Attributes:
        mean: of the macro-F1 of its trials.
        interval: t-interval of the mean; None for a single trial.
    """

    text: str
    num_trials: int
    mean: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Part:
    """The trials that have a field which others have not, and the mean of their macro-F1."""

    num_trials: int
    mean: float


@dataclass(frozen=True)
class Effects:
    """What the fields of a study do to macro-F1.

    Attributes:
        fields: levels by path, in the order of the space; empty where `why` says why.
        importance: share of the variance each field explains.
        mean: of all trials.
        is_balanced: whether every combination of values was trained equally often.
        partial: of the fields that only some trials have, which these are.
    """

    fields: dict[str, tuple[Level, ...]] = field(default_factory=dict)
    importance: Importance = field(default_factory=Importance)
    num_trials: int = 0
    mean: float = 0.0
    is_balanced: bool = True
    why: str = ""
    partial: dict[str, Part] = field(default_factory=dict)

    def mean_of(self, path: str) -> float:
        """Of the trials that have a field."""
        return self.partial[path].mean if path in self.partial else self.mean


def effects_of(view: StudyView) -> Effects:
    """The main effects and importance of each field, or why there are none."""
    rows = [row for row in view.trials if row.state == "finished" and row.val_macro_f1 is not None]
    paths = effective_paths(view, rows) if rows else []
    partial = rows_by_partial_path(view, rows)
    if len(rows) < MIN_TRIALS or not (paths or partial):
        why = (
            f"needs {MIN_TRIALS} finished trials that differ in a field; there are "
            f"{len(rows)} that differ in {len(paths)}"
        )
        return Effects(num_trials=len(rows), why=why)
    having = {path: partial.get(path, rows) for path in (*varied_paths(view), EPOCHS)}
    return Effects(
        fields={path: _levels(having[path], path) for path in having if path in {*paths, *partial}},
        importance=importance_of(view),
        num_trials=len(rows),
        mean=statistics.fmean(_scores(rows)),
        is_balanced=_is_balanced(rows, paths)
        and all(_is_balanced(some, effective_paths(view, some)) for some in partial.values()),
        partial={
            path: Part(len(some), statistics.fmean(_scores(some))) for path, some in partial.items()
        },
    )


def _levels(rows: Sequence[TrialRow], path: str) -> tuple[Level, ...]:
    values = list(dict.fromkeys(row.values[path] for row in rows))
    numeric = all(_is_number(value) for value in values)
    if numeric and len(values) > MAX_LEVELS:
        return _bins(rows, path)
    ordered = sorted(values, key=_number) if numeric else values
    return tuple(
        _level(value_text(value), [row for row in rows if row.values[path] == value])
        for value in ordered
    )


def _bins(rows: Sequence[TrialRow], path: str) -> tuple[Level, ...]:
    """Equally many trials a bin, in the order of their values."""
    ordered = sorted(rows, key=lambda row: _number(row.values[path]))
    edges = [round(len(ordered) * k / NUM_BINS) for k in range(NUM_BINS + 1)]
    parts = [ordered[low:high] for low, high in pairwise(edges)]
    return tuple(
        _level(f"{_short(part[0].values[path])} to {_short(part[-1].values[path])}", part)
        for part in parts
        if part
    )


def _level(text: str, rows: Sequence[TrialRow]) -> Level:
    scores = _scores(rows)
    mean = statistics.fmean(scores)
    interval = None
    if len(scores) > 1:
        from scipy.stats import t  # half a second: only those who ask

        half = float(t.ppf((1 + CONFIDENCE) / 2, len(scores) - 1))
        half *= statistics.stdev(scores) / math.sqrt(len(scores))
        interval = (mean - half, mean + half)
    return Level(text, len(scores), mean, interval)


def _is_balanced(rows: Sequence[TrialRow], paths: Sequence[str]) -> bool:
    tried = [tuple(repr(row.values[path]) for path in paths) for row in rows]
    count = Counter(tried)
    num_possible = math.prod(len({c[k] for c in count}) for k in range(len(paths)))
    return len(count) == num_possible and len(set(count.values())) == 1


def _scores(rows: Sequence[TrialRow]) -> list[float]:
    return [row.val_macro_f1 for row in rows if row.val_macro_f1 is not None]


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Scalar) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _short(value: Scalar) -> str:
    return f"{_number(value):.3g}"
