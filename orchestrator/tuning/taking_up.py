"""A study taken up again, whose space may have changed since.

PURE. Trials are known by what they train and not by how that was written: where a field joins the
axes, what was trained before has had a value of it all along, which went without saying. So past
trials take the values that the space lists for the same training. And trials that were open and
that the space no longer lists are left as they are: nobody asks for them. What samplers drew is
taken as it is: no list says what is wanted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count

from orchestrator.config.errors import ConfigError
from orchestrator.config.space import Space, Values
from orchestrator.tuning.ledger import Record
from orchestrator.tuning.lineages import Trial
from orchestrator.tuning.proposals import PastTrial
from orchestrator.tuning.seeds import SEED

Resolve = Callable[[int, Values, int, int], Trial]
"""From number, values, configuration and seed to the trial; ConfigError where they make none."""
Training = tuple[bool, str, int, int]
"""Whether its values name the seed, its lineage (of seed 0 if not), epochs and patience."""


@dataclass(frozen=True)
class TakenUp:
    """What a ledger knows, in the terms of the space as it is now.

    Attributes:
        past: its trials.
        left: numbers of those that are open and that the space no longer has.
        news: records that say so to whoever reads the ledger; none where nothing has changed.
    """

    past: tuple[PastTrial, ...]
    left: tuple[int, ...] = ()
    news: tuple[Record, ...] = ()


def take_up(
    records: Sequence[Record], past: Sequence[PastTrial], space: Space, seed: int, resolve: Resolve
) -> TakenUp:
    """Look at past trials with the eyes of the space as it is now.

    Args:
        records: of the ledger.
        past: what `past_trials` makes of them.
        space: as it is now.
        seed: the first one.
        resolve: makes a trial of values.
    """
    if not space.num_listed():
        return TakenUp(tuple(past))
    listed = {_key(values): values for values in space.listed()}
    now = _grouped(_in_words_of(listed, past, resolve))
    seeds = range(seed, seed + space.seeds)
    left = tuple(trial.number for trial in now if trial.open and not _asked(trial, listed, seeds))
    return TakenUp(tuple(now), left, (*_renamed(past, now), *_left(records, left)))


def left_lines(left: Sequence[int]) -> tuple[str, ...]:
    """Says which open trials are not trained."""
    if not left:
        return ()
    numbers = ", ".join(map(str, left[:10])) + (", ..." if len(left) > 10 else "")
    return (
        f"left        {len(left)} open trial{'s' if len(left) > 1 else ''} no longer in the space, "
        f"not trained: {numbers}",
    )


def _in_words_of(
    listed: Mapping[str, Values], past: Iterable[PastTrial], resolve: Resolve
) -> list[PastTrial]:
    """Trials whose values are not listed get those of the same training, where it is listed."""
    trials = list(past)
    known = {_key(trial.values) for trial in trials}
    if known <= listed.keys():
        return trials  # as it is with a space that has not changed or only grew longer
    names: dict[Training, Values] = {}
    for values in (listed[key] for key in listed if key not in known):
        seed = int(values.get(SEED, 0))
        names.setdefault(_training(values, seed, resolve, names_seed=SEED in values), values)
    return [
        trial if _key(trial.values) in listed else _named(trial, names, resolve) for trial in trials
    ]


def _named(trial: PastTrial, names: Mapping[Training, Values], resolve: Resolve) -> PastTrial:
    with suppress(ConfigError):  # a sampler's draw that was refused, of a space that sampled
        for names_seed, seed in ((True, trial.seed), (False, 0)):
            training = _training(trial.values, seed, resolve, names_seed=names_seed)
            if training in names:
                return replace(trial, values=names[training])
    return trial


def _training(values: Values, seed: int, resolve: Resolve, *, names_seed: bool) -> Training:
    trial = resolve(0, values, 0, seed)
    return names_seed, trial.lineage, trial.epochs, trial.patience


def _grouped(trials: Iterable[PastTrial]) -> list[PastTrial]:
    """One configuration for all trials of the same values: they differ in `seeds` only.

    Where seeds become an axis, or an axis of seeds becomes `seeds`, that changes.
    """
    known = list(trials)
    numbers: dict[str, int] = {}
    taken: set[int] = set()
    free = count(1 + max((trial.configuration for trial in known), default=-1))
    for trial in known:
        if (key := _key(trial.values)) not in numbers:
            own = trial.configuration
            numbers[key] = next(free) if own in taken else own
            taken.add(numbers[key])
    return [replace(trial, configuration=numbers[_key(trial.values)]) for trial in known]


def _asked(trial: PastTrial, listed: Mapping[str, Values], seeds: range) -> bool:
    return _key(trial.values) in listed and (SEED in trial.values or trial.seed in seeds)


def _renamed(past: Iterable[PastTrial], now: Iterable[PastTrial]) -> Iterator[Record]:
    """Values that went without saying are said, for tables and effects; none is taken away."""
    for before, after in zip(past, now, strict=True):
        values = {**before.values, **after.values}
        if values.keys() != before.values.keys() or before.configuration != after.configuration:
            yield {
                "record": "values",
                "trial": before.number,
                "values": values,
                "configuration": after.configuration,
            }


def _left(records: Iterable[Record], numbers: Iterable[int]) -> Iterator[Record]:
    """They neither wait nor have failed; one that was stopped keeps its score and its place."""
    kinds = ("trial", "end", "left")
    last = {record["trial"]: record for record in records if record["record"] in kinds}
    for number in numbers:
        if last[number]["record"] == "trial" or last[number].get("state") == "failed":
            yield {"record": "left", "trial": number}


def _key(values: Mapping[str, object]) -> str:
    return json.dumps(values, sort_keys=True)
