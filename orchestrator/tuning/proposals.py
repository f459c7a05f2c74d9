"""Which trial comes next: an Optuna study that is asked and told.

DRIVER. Listed trials (rows, grid) and sampled ones all go through Optuna, so that its samplers
see every trial. The Optuna study lives in memory and is rebuilt from the ledger: Optuna's own
storages cannot resume a killed driver (`results/journal_file.py` writes one, and reads none).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from orchestrator.config.conditions import holds
from orchestrator.config.space import Axis, Range, Scalar, Space, Values
from orchestrator.tuning.samplers import REPLAYED, directions, sampler

DRAWS = 10
"""Times that a configuration which is known already is drawn again; then it is taken, and read off."""


@dataclass(frozen=True)
class PastTrial:
    """A trial that the ledger knows.

    Attributes:
        score: last macro-F1 of a trial that finished or was stopped; None if it failed or is open.
        stopped_at: the epoch at which it was stopped; None where it was not.
        seconds: that its epochs took.
        asked, ended: places in the ledger of its announcement and its end.
        configuration: number of what it is a trial of (`seeds.py`).
        seed: that it is trained with.
    """

    number: int
    values: Values
    score: float | None
    open: bool
    stopped_at: int | None = None
    seconds: float = 0.0
    asked: int = 0
    ended: int = 0
    configuration: int = -1
    seed: int = 0


class Proposals:
    """Hands out trials one by one, and learns how each ended."""

    def __init__(
        self, space: Space, *, seed: int, whole: frozenset[str], past: Iterable[PastTrial]
    ) -> None:
        """Rebuild what is known.

        Args:
            space: the search space.
            seed: of the sampler.
            whole: paths that take whole numbers.
            past: trials of the ledger, by number.
        """
        self._space = space
        self._seed = seed
        known = list(past)
        self._distributions = distributions(space, whole, [])
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # no line for each study and trial
        self._study = optuna.create_study(
            directions=directions(space.kind), sampler=sampler(space, seed, 0)
        )
        self._asked: dict[int, optuna.Trial] = {}
        self._next_number = 1 + max((trial.number for trial in known), default=-1)
        self._points = {_key(values) for values in space.points}
        self._seen: set[str] = set()
        self._untried = _untried(space.points, known)
        of_axes = [self._on_axes(trial) for trial in known]
        if space.kind in REPLAYED:
            self._replay(of_axes)
        else:
            for trial in of_axes:
                self._remember(trial)
        self._seen |= {_key(trial.values) for trial in known}
        self._listed = deque(self._unseen_listed())

    def next(self) -> tuple[int, Values] | None:
        """The next trial's number and values; None when there are no more."""
        if self._listed and self._space.points:
            proposed = self._try_point(self._listed.popleft(), self._next_number)
        elif self._listed:
            proposed = self._ask_for(self._listed.popleft(), self._next_number)
        elif self._next_number < self._space.trials:
            proposed = self._draw_new(self._next_number)
        else:
            return None
        number = self._next_number
        self._next_number += 1
        return number, self._note(number, *proposed)

    def exhausted(self) -> bool:
        """Whether there are no more trials to hand out."""
        if self._space.num_listed():
            return not self._listed
        return self._next_number >= self._space.trials

    def tell(
        self,
        number: int,
        score: float | None,
        *,
        stopped_at: int | None = None,
        seconds: float = 0.0,
    ) -> None:
        """Say how a trial ended.

        Args:
            number: of the trial.
            score: its last macro-F1, or None if it failed.
            stopped_at: the epoch at which it was stopped, None if it was not.
            seconds: that its epochs took.
        """
        trial = self._asked.pop(number, None)
        if trial is None:
            return  # one that the sampler does without
        if score is None:
            self._study.tell(trial, state=TrialState.FAIL)
        elif stopped_at is not None:
            trial.report(score, stopped_at)
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, self._objectives(score, seconds))

    def _draw_new(self, number: int) -> tuple[optuna.Trial, Values]:
        """Let the sampler draw, and again while it draws what is known already."""
        for attempt in range(DRAWS):
            self._study.sampler = sampler(self._space, self._seed, number, attempt)
            trial, values = draw(self._study, self._space, self._distributions)
            if _key(values) not in self._seen or attempt == DRAWS - 1:
                break
            self._study.tell(trial, state=TrialState.FAIL)
        return trial, values

    def _note(self, number: int, trial: optuna.Trial, values: Values) -> Values:
        self._asked[number] = trial
        self._seen.add(_key(values))
        return values

    def _ask_for(self, values: Values, number: int) -> tuple[optuna.Trial, Values]:
        """Put a trial of these values into the study, as if its sampler had proposed them."""
        self._study.sampler = sampler(self._space, self._seed, number)
        self._study.enqueue_trial(values)
        trial = self._study.ask({path: self._distributions[path] for path in values})
        return trial, {path: trial.params[path] for path in values}

    def _try_point(self, point: Values, number: int) -> tuple[optuna.Trial, Values]:
        """Let the sampler fill in what a point leaves open, with something new if there is any."""
        for attempt in range(DRAWS):
            self._study.sampler = sampler(self._space, self._seed, number, attempt)
            self._study.enqueue_trial(point)
            trial, values = draw(self._study, self._space, self._distributions)
            is_open = len(values) > len(point)
            if not is_open or _key(values) not in self._seen or attempt == DRAWS - 1:
                break
            self._study.tell(trial, state=TrialState.FAIL)
        return trial, values

    def _replay(self, known: list[PastTrial]) -> None:
        """Ask and tell in the order of the ledger: so a sampler's own notes come out the same."""
        events = [(past.asked, past.number, False, past) for past in known]
        events += [(past.ended, past.number, True, past) for past in known if not past.open]
        for _, number, has_ended, past in sorted(events, key=lambda event: event[:3]):
            if has_ended:
                self.tell(number, past.score, stopped_at=past.stopped_at, seconds=past.seconds)
            elif self._fits(past.values):
                self._note(number, *self._ask_again(past))

    def _ask_again(self, past: PastTrial) -> tuple[optuna.Trial, Values]:
        if _key(past.values) not in self._points:
            trial, values = self._draw_new(past.number)
            if values == past.values:
                return trial, values
            self._study.tell(trial, state=TrialState.FAIL)  # the space was another one then
        return self._ask_for(past.values, past.number)

    def _remember(self, past: PastTrial) -> None:
        if not self._fits(past.values):
            return  # outside an axis that was narrowed since: the sampler does without it
        if past.open:
            self._asked[past.number] = self._ask_for(past.values, past.number)[0]
            return
        self._study.add_trial(
            optuna.trial.create_trial(
                state=_state(past),
                values=None if past.score is None else self._objectives(past.score, past.seconds),
                params=past.values,
                distributions={path: self._distributions[path] for path in past.values},
                intermediate_values=(
                    {} if past.stopped_at is None else {past.stopped_at: past.score}
                ),
            )
        )

    def _objectives(self, score: float, seconds: float) -> list[float]:
        return [score, seconds] if self._space.kind == "nsga2" else [score]

    def _fits(self, values: Values) -> bool:
        return all(_is_of(self._distributions[path], value) for path, value in values.items())

    def _on_axes(self, past: PastTrial) -> PastTrial:
        """Without the values of axes that the space has no more."""
        kept = {path: value for path, value in past.values.items() if path in self._distributions}
        return replace(past, values=kept)

    def _unseen_listed(self) -> Iterator[Values]:
        if self._space.num_listed():
            yield from (listed for listed in self._space.listed() if _key(listed) not in self._seen)
        yield from self._untried


def _is_of(axis: BaseDistribution, value: Scalar) -> bool:
    """Whether an axis has a value, of the same type: 1 is not True."""
    if isinstance(axis, CategoricalDistribution):
        return json.dumps(value) in map(json.dumps, axis.choices)
    return axis._contains(axis.to_internal_repr(value))


def draw(
    study: optuna.Study, space: Space, known: Mapping[str, BaseDistribution]
) -> tuple[optuna.Trial, Values]:
    """Let the study's sampler propose a value of each axis that exists beside the others."""
    if not space.when:
        trial = study.ask({path: known[path] for path in space.axes})
        return trial, {path: trial.params[path] for path in space.axes}
    trial = study.ask()
    values: Values = {}
    for path in space.axes:
        if holds(path, values, space.when):
            values[path] = _suggest(trial, path, known[path])
    return trial, values


def _suggest(trial: optuna.Trial, path: str, known: BaseDistribution) -> Scalar:
    if isinstance(known, IntDistribution):
        return trial.suggest_int(path, known.low, known.high, step=known.step, log=known.log)
    if isinstance(known, FloatDistribution):
        return trial.suggest_float(path, known.low, known.high, step=known.step, log=known.log)
    return trial.suggest_categorical(path, known.choices)


def _state(past: PastTrial) -> TrialState:
    if past.score is None:
        return TrialState.FAIL
    return TrialState.COMPLETE if past.stopped_at is None else TrialState.PRUNED


def check_draws(space: Space, whole: frozenset[str], num_draws: int) -> Iterator[Values]:
    """Trials to put through the validator before anything starts: all listed, or some drawn."""
    if space.num_listed():
        yield from space.listed()
        return
    known = distributions(space, whole, [])
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for point in space.points:
        study.enqueue_trial(point)
    for _ in range(len(space.points) + num_draws):
        yield draw(study, space, known)[1]


def distributions(
    space: Space, whole: frozenset[str], past: list[Values]
) -> dict[str, BaseDistribution]:
    """A distribution for each path; the values of past trials stay legal when a list changes."""
    listed = [*space.listed(), *past, *space.points]
    paths = dict.fromkeys(path for values in listed for path in values)
    found: dict[str, BaseDistribution] = {}
    for path in [*space.axes, *paths]:
        axis = space.axes.get(path, ())
        if isinstance(axis, Range):
            found[path] = _range(axis, path in whole)
        else:
            found[path] = CategoricalDistribution(_choices(axis, path, listed))
    return found


def _range(axis: Range, whole: bool) -> BaseDistribution:
    if whole:
        return IntDistribution(
            int(axis.low), int(axis.high), log=axis.log, step=int(axis.step or 1)
        )
    return FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)


def _choices(axis: Axis, path: str, listed: list[Values]) -> tuple[Scalar, ...]:
    used = [values[path] for values in listed if path in values]
    listed_first: list[Scalar] = [*(axis if isinstance(axis, tuple) else ()), *used]
    unique = {json.dumps(value): value for value in listed_first}  # 1 and True differ
    return tuple(unique.values())


def _key(values: Mapping[str, Scalar]) -> str:
    return json.dumps(values, sort_keys=True)


def _untried(points: Iterable[Values], known: Iterable[PastTrial]) -> list[Values]:
    """Points that no trial has tried: each trial answers one, those that say the same come first."""
    unused = [_pairs(trial.values) for trial in known]
    untried = list(points)
    for is_answer in (set.__eq__, set.__le__):
        for point in sorted(untried, key=len, reverse=True):
            said = _pairs(point)
            answer = next((trial for trial in unused if is_answer(said, trial)), None)
            if answer is not None:
                unused.remove(answer)
                untried.remove(point)
    return untried


def _pairs(values: Mapping[str, Scalar]) -> set[tuple[str, str]]:
    """To be compared: 5.0 and 5 are the same, 1 and True are not."""
    return {
        (path, json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value))
        for path, value in values.items()
    }
