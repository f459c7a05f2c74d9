"""Each configuration trained with several seeds, the same for all: its trials.

PURE. A sampler proposes configurations and learns the mean over their seeds; a study trains trials,
one for each seed. With one seed both are the same. As order and augmentation are functions of the
seed alone, trials of one seed see the same images in the same order, whatever their configuration.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import fmean
from typing import Protocol

from orchestrator.config.experiment import Experiment
from orchestrator.config.space import Space, Values
from orchestrator.tuning.proposals import PastTrial

SEED = "seed"
Repeat = tuple[int, Values, int, int]
"""Number of a trial, its values, number of its configuration, its seed."""


class Configurations(Protocol):
    """Who proposes: `proposals.Proposals`."""

    def next(self) -> tuple[int, Values] | None:
        """The next configuration; None when there are no more."""

    def exhausted(self) -> bool:
        """Whether there are no more."""

    def tell(
        self,
        number: int,
        score: float | None,
        *,
        stopped_at: int | None = None,
        seconds: float = 0.0,
    ) -> None:
        """Say how a configuration ended."""


class Repeats:
    """Hands out each configuration once for each seed; adding seeds hands out what is new."""

    def __init__(
        self, configurations: Configurations, space: Space, seed: int, past: Iterable[PastTrial]
    ) -> None:
        """Take up a study.

        Args:
            configurations: proposes them; knows of the past what `by_configuration` makes of it.
            space: how many seeds, and which configurations are wanted still.
            seed: the first one.
            past: trials of the ledger.
        """
        known = list(past)
        self._configurations = configurations
        self._seeds = range(seed, seed + space.seeds)
        self._next_number = 1 + max((trial.number for trial in known), default=-1)
        self._members: dict[int, dict[int, PastTrial]] = {}  # configuration -> trial -> its end
        self._open: dict[int, int] = {}  # trial -> configuration
        for trial in known:
            self._members.setdefault(trial.configuration, {})[trial.number] = trial
            if trial.open:
                self._open[trial.number] = trial.configuration
        self._waiting: deque[tuple[int, Values, int]] = deque()
        self._num_waiting: Counter[int] = Counter()
        self._wait_for(_missing(known, space, self._seeds))

    def next(self) -> Repeat | None:
        """The next trial; None when there are no more."""
        if not self._waiting:
            proposal = self._configurations.next()
            if proposal is None:
                return None
            number, values = proposal
            seeds = self._seeds if SEED not in values else [int(values[SEED])]
            self._wait_for((number, values, seed) for seed in seeds)
        configuration, values, seed = self._waiting.popleft()
        self._num_waiting[configuration] -= 1
        number = self._next_number
        self._next_number += 1
        self._open[number] = configuration
        begun = PastTrial(number, values, None, open=True, configuration=configuration, seed=seed)
        self._members.setdefault(configuration, {})[number] = begun
        return number, values, configuration, seed

    def repeating(self) -> bool:
        """Whether the next trial is another seed of a configuration that was handed out."""
        return bool(self._waiting)

    def exhausted(self) -> bool:
        """Whether there are no more trials to hand out."""
        return not self._waiting and self._configurations.exhausted()

    def tell(
        self,
        number: int,
        score: float | None,
        *,
        stopped_at: int | None = None,
        seconds: float = 0.0,
    ) -> None:
        """Say how a trial ended; the last of its configuration gives the sampler their mean.

        A configuration of which a seed failed has failed: the mean of the others would flatter it.
        One of which a seed was stopped was stopped: its mean is of fewer epochs.
        """
        configuration = self._open.pop(number)
        members = self._members[configuration]
        members[number] = replace(
            members[number], score=score, open=False, stopped_at=stopped_at, seconds=seconds
        )
        if self._num_waiting[configuration] or any(trial in self._open for trial in members):
            return
        whole = _together(configuration, list(members.values()))
        self._configurations.tell(
            configuration, whole.score, stopped_at=whole.stopped_at, seconds=whole.seconds
        )

    def _wait_for(self, repeats: Iterable[tuple[int, Values, int]]) -> None:
        for repeat in repeats:
            self._waiting.append(repeat)
            self._num_waiting[repeat[0]] += 1


def by_configuration(past: Iterable[PastTrial], space: Space, seed: int) -> list[PastTrial]:
    """What a ledger knows of the configurations: open while a trial of theirs is, or is to come."""
    known = list(past)
    to_come = {number for number, _, _ in _missing(known, space, range(seed, seed + space.seeds))}
    members: dict[int, list[PastTrial]] = {}
    for trial in known:
        members.setdefault(trial.configuration, []).append(trial)
    found = [_together(number, trials) for number, trials in sorted(members.items())]
    return [replace(past, open=past.open or past.number in to_come) for past in found]


def with_seeds(experiments: Iterable[Experiment], num_seeds: int) -> list[Experiment]:
    """Each experiment once for each seed, counted up from its own."""
    return [
        experiment.model_copy(update={SEED: experiment.seed + repeat})
        for experiment in experiments
        for repeat in range(num_seeds)
    ]


def _missing(past: list[PastTrial], space: Space, seeds: range) -> list[tuple[int, Values, int]]:
    """Seeds that known configurations lack, of those that the space still has."""
    trained: dict[int, set[int]] = {}
    values_of: dict[int, Values] = {}
    for trial in past:
        trained.setdefault(trial.configuration, set()).add(trial.seed)
        values_of[trial.configuration] = trial.values
    listed = {_key(values) for values in space.listed()}
    return [
        (configuration, values, seed)
        for configuration, values in sorted(values_of.items())
        if SEED not in values and (not listed or _key(values) in listed)
        for seed in seeds
        if seed not in trained[configuration]
    ]


def _together(number: int, trials: list[PastTrial]) -> PastTrial:
    """A configuration as one trial: mean score and seconds of its seeds, the first stop of any."""
    stops = [trial.stopped_at for trial in trials if trial.stopped_at is not None]
    return replace(
        trials[0],
        number=number,
        score=_mean([trial.score for trial in trials]),
        open=any(trial.open for trial in trials),
        stopped_at=min(stops, default=None),
        seconds=fmean(trial.seconds for trial in trials),
        asked=min(trial.asked for trial in trials),
        ended=max(trial.ended for trial in trials),
    )


def _mean(scores: Iterable[float | None]) -> float | None:
    known = list(scores)
    finite = [score for score in known if score is not None]
    return fmean(finite) if finite and len(finite) == len(known) else None


def _key(values: Mapping[str, object]) -> str:
    return json.dumps(values, sort_keys=True)
