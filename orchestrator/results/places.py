"""Who stands where: configurations ranked by their mean over seeds, ties with the winner marked.

PURE. A configuration is one row of the leaderboard and has a trial for each of its seeds. It is
ranked when all of them have finished: a mean over those that survived would flatter it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from orchestrator.results.ties import Behind, behind_winner, mean_interval

if TYPE_CHECKING:
    from orchestrator.results.study_view import Interval, State, TrialRow

_STATE_ORDER: Mapping[State, int] = {
    "finished": 0,
    "running": 1,
    "stopped": 2,
    "failed": 3,
    "queued": 4,
}


@dataclass(frozen=True)
class Place:
    """Where a configuration stands.

    Attributes:
        row: the trial that stands for it, whose weights count as its own: the one with the median
            score of its seeds (of an even number the lower of the middle two), never the best.
        rank: 1 for the best; None for what is not ranked. Equal scores share a rank.
        tied: another configuration has exactly the same score.
        close: not distinguishable from the winner.
        rows: its trials, one a seed, by seed.
        behind: how far behind the winner, where the same videos could be compared.
    """

    row: TrialRow
    rank: int | None = None
    tied: bool = False
    close: bool = False
    rows: tuple[TrialRow, ...] = ()
    behind: Behind | None = None

    @property
    def label(self) -> str:
        """For example "1", "1=" (tied), "3~" (not distinguishable from the winner), or "-"."""
        if self.rank is None:
            return "-"
        return f"{self.rank}{'=' if self.tied else ''}{'~' if self.close else ''}"

    @property
    def finished(self) -> tuple[TrialRow, ...]:
        """Its trials that have finished with a score."""
        return tuple(row for row in self.rows if _is_scored(row))

    @property
    def state(self) -> State:
        """Of all its trials together."""
        states = {row.state for row in self.rows}
        if len(states) == 1:
            return self.row.state
        if states & {"queued", "running"}:
            return "running"
        return "failed" if "failed" in states else "stopped"

    def mean(self, metric: str) -> float | None:
        """A figure's mean over the seeds that have finished; before any has, the trial's own."""
        rows = self.finished or (self.row,)
        known = [row.metrics[metric] for row in rows if metric in row.metrics]
        return fmean(known) if len(known) == len(rows) else None

    @property
    def score(self) -> float | None:
        """Mean validation macro-F1."""
        return self.mean("val_macro_f1")

    @property
    def spread(self) -> float | None:
        """Standard deviation of macro-F1 between seeds; None for fewer than two."""
        scores = [row.metrics["val_macro_f1"] for row in self.finished]
        return stdev(scores) if len(scores) > 1 else None

    @cached_property
    def interval(self) -> Interval | None:
        """Of the score: over videos, and over seeds where there are several."""
        if len(self.finished) < 2:
            return self.row.interval
        return mean_interval([row.groups for row in self.finished])


def places_of(rows: Iterable[TrialRow]) -> tuple[Place, ...]:
    """The leaderboard: ranked configurations first, then running, stopped, failed, queued ones."""
    members: dict[int, list[TrialRow]] = {}
    for row in rows:
        members.setdefault(row.configuration, []).append(row)
    found = [_unranked(of_one) for of_one in members.values()]
    ranked = [place for place in found if len(place.finished) == len(place.rows)]
    rest = [place for place in found if len(place.finished) < len(place.rows)]
    ranked.sort(key=lambda place: (-(place.score or 0.0), place.rows[0].trial))
    rest.sort(key=lambda place: (_STATE_ORDER[place.state], place.row.trial))
    return (*_ranked(ranked), *rest)


def num_compared(places: Sequence[Place]) -> int:
    """Configurations that were compared with the winner on the same videos, itself among them."""
    return sum(place.behind is not None for place in places)


def _is_scored(row: TrialRow) -> bool:
    return row.state == "finished" and row.val_macro_f1 is not None


def _unranked(rows: list[TrialRow]) -> Place:
    by_seed = sorted(rows, key=lambda row: (row.seed, row.trial))
    scored = [row for row in by_seed if _is_scored(row)]
    scored.sort(key=lambda row: row.val_macro_f1 or 0.0)
    median = scored[(len(scored) - 1) // 2] if len(scored) == len(rows) else None
    return Place(median or _open_first(by_seed), rows=tuple(by_seed))


def _open_first(rows: list[TrialRow]) -> TrialRow:
    """What is still to be said of a configuration, its trial says that is farthest from its end."""
    order = ("running", "failed", "stopped")
    return max(rows, key=lambda row: [row.state == state for state in order])


def _ranked(places: list[Place]) -> Iterable[Place]:
    """Competition ranking (1=, 1=, 3) of configurations that come best first."""
    scores = [place.score for place in places]
    first_of = {score: rank for rank, score in reversed(list(enumerate(scores, start=1)))}
    holders = Counter(scores)
    behind = behind_winner(
        [{row.seed: (row.val_macro_f1 or 0.0, row.groups) for row in p.rows} for p in places]
    )
    for place, score, apart in zip(places, scores, behind, strict=True):
        yield Place(
            place.row,
            rank=first_of[score],
            tied=holders[score] > 1,
            close=score != scores[0] and _is_close(place, places[0], apart),
            rows=place.rows,
            behind=apart,
        )


def _is_close(place: Place, winner: Place, behind: Behind | None) -> bool:
    """By the paired comparison; where there was none, whether its interval has the best score."""
    if behind is not None:
        return behind.is_tie
    low, high = place.interval or (math.inf, -math.inf)
    return low <= (winner.score or 0.0) <= high
