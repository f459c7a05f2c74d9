"""What each factor of a complete factorial contributes, paired over the others. PURE.

For every combination of the other factors the trials of two levels make a pair; the effect of a
level is the mean difference of these pairs to the first level, with Student's t interval over
them. Where a combination was trained with several seeds, the mean over those that all levels have
stands for it. Trials that differ in epochs only are prefixes of one training, so pairs are not wholly
independent and the interval is, if anything, too narrow; of one seed it says nothing of others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np
from scipy import stats

from orchestrator.results.leaderboard_cells import EPOCHS, varied_paths
from orchestrator.results.study_view import Scalar, StudyView, TrialRow

CONFIDENCE: Final = 0.95

_Cell = dict[Scalar, dict[int, float]]
"""Score by level and seed, of one combination of the other factors."""


@dataclass(frozen=True)
class Effect:
    """One level of one factor.

    Attributes:
        factor: dotted path.
        level: its value.
        mean: validation macro-F1, over the complete combinations.
        num_pairs: combinations of the other factors.
        change: mean difference to the factor's first level; None for that one.
        interval: of the change; None with fewer than two pairs.
    """

    factor: str
    level: Scalar
    mean: float
    num_pairs: int
    change: float | None
    interval: tuple[float, float] | None


def paired_effects(view: StudyView) -> tuple[Effect, ...]:
    """Effects of all factors that vary; none where no combination is complete."""
    rows = [row for row in view.trials if row.state == "finished" and row.val_macro_f1 is not None]
    factors = (*varied_paths(view), EPOCHS)
    return tuple(effect for factor in factors for effect in _of_factor(factor, factors, rows))


def _of_factor(factor: str, factors: Sequence[str], rows: Sequence[TrialRow]) -> list[Effect]:
    levels = list(dict.fromkeys(_value(row, factor) for row in rows))
    if len(levels) < 2:
        return []
    cells: dict[tuple[Scalar, ...], _Cell] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        others = tuple(_value(row, other) for other in factors if other != factor)
        cells[others][_value(row, factor)][row.seed] = row.val_macro_f1 or 0.0
    columns = [column for cell in cells.values() if (column := _column(cell, levels))]
    if not columns:
        return []
    scores_LP = np.array(columns).T
    return [
        _effect(factor, level, scores_LP[k], scores_LP[k] - scores_LP[0] if k else None)
        for k, level in enumerate(levels)
    ]


def _column(cell: _Cell, levels: Sequence[Scalar]) -> list[float]:
    """Mean score of each level over the seeds that all have; none where there is no such seed."""
    seeds = sorted(set.intersection(*(set(cell.get(level, ())) for level in levels)))
    return [fmean(cell[level][seed] for seed in seeds) for level in levels] if seeds else []


def _effect(factor: str, level: Scalar, scores: np.ndarray, changes: np.ndarray | None) -> Effect:
    interval = None
    if changes is not None and len(changes) > 1:
        error = float(changes.std(ddof=1)) / np.sqrt(len(changes))
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(changes) - 1)) * error
        interval = (float(changes.mean()) - half, float(changes.mean()) + half)
    change = None if changes is None else float(changes.mean())
    return Effect(factor, level, float(scores.mean()), len(scores), change, interval)


def _value(row: TrialRow, path: str) -> Scalar:
    return row.epochs if path == EPOCHS else row.values.get(path)
