"""One immutable picture of a study, and who stands where in it. PURE.

Every table, plot and live line is drawn from a `StudyView`, which `study_fold` makes from the
ledger's records. A figure that was not measured is absent from `metrics`, reads as None, and is
never ranked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

from orchestrator.results.places import Place, places_of

RANKED_BY: Final = "val_macro_f1"

Scalar = str | int | float | bool | None
State = Literal["queued", "running", "finished", "stopped", "failed"]
Interval = tuple[float, float]
Confusion = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class EpochPoint:
    """One epoch of one lineage.

    Attributes:
        epoch: 1 for the first.
        metrics: the finite figures by name; losses are in nats, accuracy and F1 in [0, 1].
        confusion: validation counts, rows are the true classes; () where not reported.
        seconds: wall time by phase (train, evaluate, checkpoint).
        slot: the slot that trained it.
    """

    epoch: int
    metrics: Mapping[str, float]
    confusion: Confusion = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    slot: str = ""

    @property
    def interval(self) -> Interval | None:
        """The bootstrap interval of validation macro-F1, None unless both ends are known."""
        low, high = self.metrics.get("val_macro_f1_low"), self.metrics.get("val_macro_f1_high")
        return None if low is None or high is None else (low, high)


@dataclass(frozen=True)
class TrialRow:
    """One row of the leaderboard.

    Attributes:
        epochs: how many epochs the trial asks for.
        epoch: how many it has reached.
        state: stopped if it did worse than others; it has a score and is never ranked.
        last: its figures at `epoch`; None before the first epoch, or where they are lost.
        curve: its epochs in order, never beyond its own last.
        error: why it failed; checkpoint and log are relative to the study's folder ("" = none).
        shared: its epochs were trained by another trial of its lineage.
        configuration: what it is a trial of; the others of the same differ in `seed` only.
        groups: encoded counts of each validation group at its end (`training/group_counts`).
    """

    trial: int
    values: Mapping[str, Scalar]
    lineage: str
    seed: int
    epochs: int
    epoch: int
    state: State
    last: EpochPoint | None
    curve: tuple[EpochPoint, ...]
    error: str
    checkpoint: str
    log: str
    shared: bool
    configuration: int
    groups: Mapping[str, Any] | None = None

    @property
    def metrics(self) -> Mapping[str, float]:
        """The finite figures at the trial's last epoch."""
        return self.last.metrics if self.last else {}

    @property
    def val_macro_f1(self) -> float | None:
        """What trials are ranked by; None where not measured."""
        return self.metrics.get(RANKED_BY)

    @property
    def interval(self) -> Interval | None:
        """The interval of `val_macro_f1`."""
        return self.last.interval if self.last else None

    @property
    def confusion(self) -> Confusion:
        """Validation counts at the last epoch; rows are the true classes."""
        return self.last.confusion if self.last else ()

    @property
    def ended_early(self) -> bool:
        """Whether it finished before the epochs it asked for: its patience was at an end."""
        return self.state == "finished" and self.epoch < self.epochs

    @property
    def epochs_due(self) -> int:
        """How many epochs it takes: what it asks for, or where it ended early or was stopped."""
        return self.epoch if self.ended_early or self.state == "stopped" else self.epochs

    @property
    def state_text(self) -> str:
        """Its state in words."""
        return f"stopped at {self.epoch}" if self.state == "stopped" else self.state

    @property
    def seconds(self) -> float:
        """Seconds its epochs took, whichever trial they were trained for."""
        return sum(sum(point.seconds.values()) for point in self.curve)


@dataclass(frozen=True)
class StudyView:
    """A study as its ledger tells it.

    Attributes:
        space, question: name of the search space and what it asks.
        dataset, protocol: name of the data set and of the split protocol.
        counts: images by split and class.
        trials: in the order of their numbers.
        epochs_trained: different epochs trained so far, over all lineages.
        started, updated: ISO 8601 times of the first and the last record.
    """

    name: str
    space: str
    question: str
    dataset: str
    protocol: str
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    trials: tuple[TrialRow, ...]
    epochs_trained: int
    started: str
    updated: str

    @cached_property
    def epochs_planned(self) -> int:
        """Epochs to train in all, each lineage once to its longest trial."""
        return sum(_longest(self.trials).values())

    @cached_property
    def epochs_left(self) -> int:
        """What of the plan is still to come; nothing does for trials that have ended."""
        return _epochs_left(self.trials)

    @cached_property
    def epochs_needed_unshared(self) -> int:
        """What the plan would take if no trial shared the epochs of another."""
        return sum(row.epochs_due for row in self.trials)

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """The leaderboard: ranked configurations first, then running, stopped, failed, queued."""
        return places_of(self.trials)

    @property
    def winner(self) -> TrialRow | None:
        """The trial that stands for the first of the leaderboard; None before any.

        Among equals the lowest trial number is first; of several seeds the median stands for all.
        """
        return self.leading.row if self.leading else None

    @property
    def leading(self) -> Place | None:
        """The first of the leaderboard with all its seeds; None before any is ranked."""
        return self.places[0] if self.places and self.places[0].rank else None

    def count(self, state: State) -> int:
        """How many trials are in `state`."""
        return sum(row.state == state for row in self.trials)


def f1_by_class(confusion: Confusion) -> tuple[float | None, ...]:
    """F1 of each class, 2 TP / (2 TP + FP + FN); None for a class neither seen nor predicted."""
    predicted = [sum(row[k] for row in confusion) for k in range(len(confusion))]
    return tuple(
        2 * row[k] / (sum(row) + predicted[k]) if sum(row) + predicted[k] else None
        for k, row in enumerate(confusion)
    )


def _longest(rows: Iterable[TrialRow]) -> dict[str, int]:
    """Lineage -> the epochs that its longest trial takes."""
    longest: dict[str, int] = {}
    for row in rows:
        longest[row.lineage] = max(longest.get(row.lineage, 0), row.epochs_due)
    return longest


def _epochs_left(rows: tuple[TrialRow, ...]) -> int:
    open_rows = [row for row in rows if row.state in ("queued", "running")]
    reached: dict[str, int] = {}
    for row in rows:
        reached[row.lineage] = max(reached.get(row.lineage, 0), row.epoch)
    return sum(max(0, asked - reached[name]) for name, asked in _longest(open_rows).items())
