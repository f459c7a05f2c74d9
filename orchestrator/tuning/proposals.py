"""Which trial comes next: an Optuna study that is asked and told.

DRIVER. Listed trials (rows, grid) and sampled ones (TPE, random) all go through Optuna, so
that its analyses see every trial. The Optuna study lives in memory and is rebuilt from the
ledger: Optuna's own storages cannot resume a killed driver.
"""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from orchestrator.config.space import Axis, Range, Scalar, Space, Values


@dataclass(frozen=True)
class PastTrial:
    """A trial that the ledger knows."""

    number: int
    values: Values
    score: float | None
    """Macro-F1 of a finished trial; None if it failed or is still open."""
    open: bool
    configuration: int = -1
    """Number of what it is a trial of (`seeds.py`)."""
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
        self._distributions = _distributions(space, whole, [trial.values for trial in known])
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # no line for each study and trial
        self._study = optuna.create_study(direction="maximize", sampler=_sampler(space, seed))
        self._numbers: dict[int, int] = {}
        self._next_number = 1 + max((trial.number for trial in known), default=-1)
        self._seen = {_key(trial.values) for trial in known}
        for trial in known:
            self._remember(trial)
        self._listed = deque(self._unseen_listed())

    def next(self) -> tuple[int, Values] | None:
        """The next trial's number and values; None when there are no more."""
        if self._listed:
            return self._take(self._listed.popleft())
        return self._sample()

    def exhausted(self) -> bool:
        """Whether there are no more trials to hand out."""
        if self._space.num_listed():
            return not self._listed
        return self._next_number >= self._space.trials

    def tell(self, number: int, score: float | None) -> None:
        """Say how a trial ended: its macro-F1, or None if it failed."""
        state = TrialState.FAIL if score is None else TrialState.COMPLETE
        self._study.tell(self._numbers[number], score, state=state)

    def _sample(self) -> tuple[int, Values] | None:
        if self._next_number >= self._space.trials:
            return None
        # A sampler of its own for each trial makes a proposal a function of the seed, the
        # trial's number and what was told before: a resumed study proposes the same.
        # Hashed, as a sum would make trial 5 of seed 0 trial 4 of seed 1.
        about = f"{self._seed}/{self._next_number}"
        self._study.sampler = _sampler(self._space, zlib.crc32(about.encode()))
        return self._ask()

    def _take(self, values: Values) -> tuple[int, Values]:
        self._study.enqueue_trial(values)
        return self._ask(values)

    def _ask(self, fixed: Values | None = None) -> tuple[int, Values]:
        paths = list(fixed) if fixed else list(self._space.axes)
        trial = self._study.ask({path: self._distributions[path] for path in paths})
        number = self._next_number
        self._next_number += 1
        self._numbers[number] = trial.number
        values = {path: trial.params[path] for path in paths}
        self._seen.add(_key(values))
        return number, values

    def _remember(self, past: PastTrial) -> None:
        if past.open:
            self._study.enqueue_trial(past.values)
            trial = self._study.ask({path: self._distributions[path] for path in past.values})
            self._numbers[past.number] = trial.number
            return
        try:
            known = optuna.trial.create_trial(
                state=TrialState.FAIL if past.score is None else TrialState.COMPLETE,
                value=past.score,
                params=past.values,
                distributions={path: self._distributions[path] for path in past.values},
            )
        except ValueError:
            return  # outside a range that was narrowed since: the sampler does without it
        self._study.add_trial(known)

    def _unseen_listed(self) -> Iterator[Values]:
        first = self._space.listed() if self._space.num_listed() else self._space.points
        for values in first:
            if _key(values) not in self._seen:
                yield values


def check_draws(space: Space, whole: frozenset[str], num_draws: int) -> Iterator[Values]:
    """Trials to put through the validator before anything starts: all listed, or some drawn."""
    yield from space.points
    if space.num_listed():
        yield from space.listed()
        return
    distributions = _distributions(space, whole, [])
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(num_draws):
        yield dict(study.ask(distributions).params)


def _sampler(space: Space, seed: int) -> optuna.samplers.BaseSampler:
    if space.kind == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


def _distributions(
    space: Space, whole: frozenset[str], past: list[Values]
) -> dict[str, BaseDistribution]:
    """A distribution for each path; the values of past trials stay legal when a list changes."""
    listed = [*space.listed(), *past, *space.points]
    paths = dict.fromkeys(path for values in listed for path in values)
    distributions: dict[str, BaseDistribution] = {}
    for path in [*space.axes, *paths]:
        axis = space.axes.get(path, ())
        if isinstance(axis, Range):
            distributions[path] = _range(axis, path in whole)
        else:
            distributions[path] = CategoricalDistribution(_choices(axis, path, listed))
    return distributions


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
