"""A study's hyperparameters as TensorBoard's table of them can show them. PURE."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.results.printable import one_line
from orchestrator.results.study_view import Scalar, StudyView

Shown = str | float | bool


def shown_values(values: Mapping[str, Scalar]) -> dict[str, Shown]:
    """A trial's values without those that the table cannot hold: none, and what is not finite."""
    shown: dict[str, Shown] = {}
    for path, value in values.items():
        if isinstance(value, str):
            shown[one_line(path, 80)] = one_line(value, 200)
        elif value is not None and math.isfinite(value):
            shown[one_line(path, 80)] = value
    return shown


def dotted_values(experiment: Mapping[str, Any]) -> dict[str, Scalar]:
    """A resolved experiment's single values by dotted path."""
    found: dict[str, Scalar] = {}
    for name, value in experiment.items():
        if isinstance(value, Mapping):
            below = dotted_values(value)
            found |= {f"{name}.{path}": one for path, one in below.items()}
        elif value is None or isinstance(value, str | int | float):
            found[name] = value
    return found


def varied_kinds(view: StudyView) -> dict[str, str]:
    """The hyperparameters that differ between trials: `number`, `bool` or `string` by path."""
    columns: dict[str, list[Shown]] = {}
    for row in view.trials:
        for path, value in shown_values(row.values).items():
            columns.setdefault(path, []).append(value)
    return {
        path: _kind(values)
        for path, values in columns.items()
        # Told apart by what they look like: True is not the number 1 here.
        if len(set(map(repr, values))) > 1 or len(values) < len(view.trials)
    }


def _kind(values: Sequence[Shown]) -> str:
    if all(isinstance(value, bool) for value in values):
        return "bool"
    numbers = all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )
    return "number" if numbers else "string"
