"""A search space: which values a study tries, and the question it is to answer.

PURE: no torch, no ray. A file of `search_spaces/` or any YAML file of the same form.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Container, Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrator.config.conditions import active, condition_problems, holds
from orchestrator.config.section import Count, Flag, Number, Section
from orchestrator.config.stop_rule import StopRule

Scalar = str | int | float | bool
Values = dict[str, Scalar]

SAMPLED = ("tpe", "gp", "cmaes", "qmc", "random", "nsga2")
"""Kinds that draw their trials by one of Optuna's samplers."""
CONDITIONAL = ("grid", "tpe", "random", "nsga2")
"""Kinds that can hold an axis back; the other samplers know no such thing."""

FIXED_IN_A_STUDY = ("data.", "resources.")
"""One study has one data set, held by warm workers, and one kind of slot."""
NEVER_ALIKE = ("tpe", "random", "qmc")
"""Kinds whose draws from a range without steps are never the same twice."""
MIN_RANGES_OF_CMAES = 2
STEP_ROUNDING = 1e-8
"""0.3 is three steps of 0.1 in YAML, but not in binary."""


class Range(Section):
    """A numeric axis between two bounds, for kinds that sample."""

    low: Annotated[Number, Field(description="smallest value")]
    high: Annotated[Number, Field(description="largest value")]
    log: Annotated[Flag, Field(description="uniform in the logarithm")] = False
    step: Annotated[
        Number | None, Field(gt=0, description="grid of the values; whole numbers have step 1")
    ] = None

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"high: must be > low; got low {self.low:g} and high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low: must be > 0 for a log axis; got {self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("step: must not be given for a log axis; remove one of them")
        return self


Axis = tuple[Scalar, ...] | Range


class Space(Section):
    """Which trials a study has."""

    question: Annotated[str, Field(min_length=1, description="what the study is to answer")]
    source: Annotated[str, Field(description="paper, table or reason behind the choice")] = ""
    kind: Annotated[
        Literal["rows", "grid", "tpe", "gp", "cmaes", "qmc", "random", "nsga2"],
        Field(
            description="rows as listed, full grid of the axes, or a sampler of Optuna's: tpe, gp "
            "(Gaussian process), cmaes, qmc (Sobol sequence), random, or nsga2 (macro-F1 and "
            "seconds)"
        ),
    ]
    trials: Annotated[Count, Field(ge=0, description="trials to sample (all but rows, grid)")] = 0
    seeds: Annotated[
        Count,
        Field(
            le=100, description="repeat each configuration with so many seeds: seed, seed + 1, ..."
        ),
    ] = 1
    base: Annotated[
        Values, Field(description="values that hold for every trial, by dotted path")
    ] = {}  # noqa: RUF012 - pydantic copies defaults
    rows: Annotated[tuple[Values, ...], Field(description="the trials (kind rows)")] = ()
    axes: Annotated[dict[str, Axis], Field(description="values or range of each path")] = {}  # noqa: RUF012
    when: Annotated[
        dict[str, dict[str, tuple[Scalar, ...] | Scalar]],
        Field(description="axes that exist only where another has one of these values"),
    ] = {}  # noqa: RUF012
    points: Annotated[
        tuple[Values, ...],
        Field(
            description="trials to try first (kinds that sample); what one leaves open is drawn (tpe, random)"
        ),
    ] = ()
    stop: Annotated[
        StopRule, Field(description="when trials that do worse than others end early")
    ] = StopRule()

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Space:
        problem = self._problem()
        if problem:
            raise ValueError(problem)
        return self

    def _problem(self) -> str:
        sampled = self.kind in SAMPLED
        if (self.kind == "rows") != bool(self.rows):
            return f"rows: must be given for kind 'rows' and no other; got kind '{self.kind}'"
        if (self.kind == "rows") == bool(self.axes):
            return f"axes: must be given for every kind but 'rows'; got kind '{self.kind}'"
        if sampled != bool(self.trials):
            return (
                "trials: must be >= 1 for kinds that sample, and absent for rows and grid; got "
                f"{self.trials} for kind '{self.kind}'"
            )
        if self.points and not sampled:
            return f"points: must be given for kinds that sample only; got kind '{self.kind}'"
        if len(self.points) > self.trials:
            return f"trials: must be >= the {len(self.points)} points; got {self.trials}"
        if self.seeds > 1 and "seed" in self.paths():
            return f"seeds: must be 1 where seed is varied by the space itself; got {self.seeds}"
        return (
            self._axis_problem()
            or self._repetition()
            or self._condition_problem()
            or self._point_problem()
            or self._sampler_problem()
        )

    def _axis_problem(self) -> str:
        for path, axis in self.axes.items():
            if isinstance(axis, Range) and self.kind == "grid":
                return f"axes.{path}: must list its values for kind 'grid'; got a range"
            if not isinstance(axis, Range) and not axis:
                return f"axes.{path}: must have at least one value; got none"
        for path in self.paths():
            if path.startswith(FIXED_IN_A_STUDY):
                return f"axes.{path}: must be the same for all trials of a study; set it in base"
            if path in self.base:
                return f"base.{path}: must not be an axis too; remove one of them"
        return ""

    def _repetition(self) -> str:
        lists = {f"axes.{path}": axis for path, axis in self.axes.items() if type(axis) is tuple}
        for place, values in {**lists, "rows": self.rows, "points": self.points}.items():
            texts = [json.dumps(value, sort_keys=True) for value in values]
            for text in texts:
                if texts.count(text) > 1:
                    return f"{place}: must not repeat a trial or value; got {text} more than once"
        return ""

    def _condition_problem(self) -> str:
        if self.when and self.kind not in CONDITIONAL:
            kinds = ", ".join(CONDITIONAL)
            return f"when: must be absent for all kinds but {kinds}; got kind '{self.kind}'"
        listed = {path: axis for path, axis in self.axes.items() if isinstance(axis, tuple)}
        return next(condition_problems(self.when, self.axes, listed), "")

    def _point_problem(self) -> str:
        for number, point in enumerate(self.points):
            for path, value in point.items():
                if path not in self.axes:
                    return f"points[{number}].{path}: must be an axis; got none of that path"
                if not _holds(self.axes[path], value):
                    return f"points[{number}].{path}: must lie on its axis; got {value!r}. Widen the axis"
            ordered = {path: point[path] for path in self.axes if path in point}
            for path in point.keys() - active(ordered, self.when):
                return f"points[{number}].{path}: must be left out where `when` leaves it out"
        return ""

    def _sampler_problem(self) -> str:
        """What a sampler needs to do better than chance."""
        if self.kind == "cmaes" and self._num_ranges() < MIN_RANGES_OF_CMAES:
            return (
                f"axes: must have at least {MIN_RANGES_OF_CMAES} ranges for kind 'cmaes', which "
                f"draws listed values at random; got {self._num_ranges()}. Use tpe or gp"
            )
        if self.kind not in ("tpe", "random"):
            for number, point in enumerate(self.points):
                due = {path for path in self.axes if holds(path, point, self.when)}
                if missing := due - point.keys():
                    return (
                        f"points[{number}]: must have a value for each axis with kind "
                        f"'{self.kind}'; got none for {', '.join(sorted(missing))}"
                    )
        if self.kind == "nsga2" and self.stop.rule != "none":
            return (
                "stop.rule: must be none for kind 'nsga2': with two objectives no trial is worse "
                f"than all others before it ends; got {self.stop.rule}"
            )
        if self.seeds > 1 and self.stop.rule != "none":
            return (
                "stop.rule: must be none where seeds > 1: the seeds of a configuration would stop "
                f"each other, and none be ranked; got {self.stop.rule} with {self.seeds} seeds. Stop "
                "early with one seed, then run the same command with stop.rule=none and more seeds"
            )
        return ""

    def _num_ranges(self) -> int:
        return sum(isinstance(axis, Range) for axis in self.axes.values())

    def paths(self) -> tuple[str, ...]:
        """The varied paths, in the order of the file."""
        named = itertools.chain(self.axes, *self.rows, *self.points)
        return tuple(dict.fromkeys(named))

    def listed(self) -> Iterator[Values]:
        """The configurations of the kinds that list them (rows, grid); none for the others."""
        if self.kind == "rows":
            yield from self.rows
        elif self.kind == "grid":
            choices = [axis for axis in self.axes.values() if isinstance(axis, tuple)]
            for combination in itertools.product(*choices):
                values = dict(zip(self.axes, combination, strict=True))
                # What a condition leaves out makes combinations alike: one of them is listed.
                if not self.when or _is_first(values, kept := active(values, self.when), self.axes):
                    yield kept if self.when else values

    def num_listed(self) -> int:
        """How many configurations the space lists; 0 if it samples them."""
        if self.kind == "rows":
            return len(self.rows)
        if self.kind == "grid" and self.when:
            return sum(1 for _ in self.listed())
        if self.kind == "grid":
            return math.prod(len(axis) for axis in self.axes.values() if isinstance(axis, tuple))
        return 0

    def num_configurations(self) -> int:
        """How many configurations a study of this space has; each is trained with every seed."""
        return self.num_listed() or self.trials

    def num_trials(self) -> int:
        """How many trials a study of this space has."""
        return self.num_configurations() * self.seeds

    def epochs_choices(self, default: int) -> tuple[int, ...]:
        """All numbers of epochs that a trial of this space can ask for, ascending."""
        return self._whole_choices("epochs", default)

    def draws_once(self, whole: Container[str]) -> bool:
        """Whether no draw can fall into the training of another: an axis has a value between any two.

        Kinds that hand on values of earlier draws (nsga2), or draw the bounds themselves (gp, cmaes),
        may come to the same values again.

        Args:
            whole: paths that take whole numbers.
        """
        # Trials that differ in patience are one training, wherever it ends them.
        if "early_stop" in self.axes or self.kind not in NEVER_ALIKE:
            return False
        return bool(self._stepless(whole))

    def _stepless(self, whole: Container[str]) -> set[str]:
        """Axes of every trial that have a value between any two."""
        return {
            path
            for path, axis in self.axes.items()
            if isinstance(axis, Range) and not axis.step and path not in self.when
            if path not in whole
        }

    def ends_of_points(self, default: int, whole: Container[str]) -> tuple[int, ...]:
        """Numbers of epochs of the points that may share a training with each other, ascending.

        One that leaves open an axis with a value between any two is like no other.

        Args:
            default: epochs of a trial that says none.
            whole: paths that take whole numbers.
        """
        drawn = self._stepless(whole)
        alike = [point for point in self.points if drawn <= point.keys()]
        if len(alike) < 2:
            return ()
        return tuple(sorted(set(itertools.chain(*(self._ends(point, default) for point in alike)))))

    def _ends(self, point: Values, default: int) -> tuple[int, ...]:
        """With which a trial of a point may end: any, where it leaves them open."""
        if "epochs" in point:
            return (int(point["epochs"]),)
        return self.epochs_choices(default) if "epochs" in self.axes else (default,)

    def patience_choices(self, default: int) -> tuple[int, ...]:
        """All patience that a trial of this space can have, ascending; 0 = without end."""
        return self._whole_choices("early_stop", default)

    def _whole_choices(self, path: str, default: int) -> tuple[int, ...]:
        axis = self.axes.get(path)
        if self.kind == "rows":
            return tuple(sorted({int(row.get(path, default)) for row in self.rows}))
        if axis is None:
            return (default,)
        unset = {default} if path in self.when else set()
        if isinstance(axis, Range):
            steps = range(int(axis.low), int(axis.high) + 1, int(axis.step or 1))
            return tuple(sorted(unset.union(steps)))
        return tuple(sorted(unset.union(int(value) for value in axis)))


def _is_first(values: Values, kept: Values, axes: Mapping[str, Axis]) -> bool:
    """Whether all axes that a condition leaves out stand at their first value."""
    return all(path in kept or value == axes[path][0] for path, value in values.items())  # type: ignore[index]


def _holds(axis: Axis, value: Scalar) -> bool:
    if not isinstance(axis, Range):
        return value in axis
    if isinstance(value, str | bool) or not axis.low <= value <= axis.high:
        return False
    steps = (value - axis.low) / axis.step if axis.step else 0.0
    return abs(steps - round(steps)) < STEP_ROUNDING
