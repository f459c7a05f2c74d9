"""Which weights of a finished study stay, and the removal of the others.

DRIVER. While a study trains, a lineage holds the weights of each of its trials' last epochs and
two points to go on from. Once it is complete, `keep` may say that less is wanted. The ledger is
told first: at no moment does the leaderboard point at weights that are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

from orchestrator.config.home import Home
from orchestrator.results.places import Place
from orchestrator.results.study_view import StudyView, TrialRow
from orchestrator.tuning.study import LINEAGES

Keep = Literal["all", "best", "winner"]
Record = dict[str, Any]


def clean_up(view: StudyView, study: Home, keep: Keep, append: Callable[[Record], None]) -> int:
    """Remove what `keep` does not want of a study that is complete.

    Args:
        view: the study as its ledger tells it.
        study: its home.
        keep: all = nothing is removed; best = of each lineage the weights of its best trial, and
            the newest point to go on from; winner = the weights of the winner and its equals, of
            every seed: with more seeds another one can be the median.
        append: writes a record to the ledger.

    Returns:
        Bytes removed; 0 where trials are still to be trained, or none is ranked: what is best is
        not known then.
    """
    if keep == "all" or view.count("queued") + view.count("running") or view.leading is None:
        return 0
    kept = {row.checkpoint for row in _kept(view.places, keep)}
    unfinished = {row.lineage for place in view.places if _may_go_on(place) for row in place.rows}
    for row in view.trials:
        if row.checkpoint and row.checkpoint not in kept and row.lineage not in unfinished:
            append(_without_weights(row))
    return sum(
        study.remove(folder)
        for folder in _unwanted(study, kept, keep)
        if _lineage_of(folder) not in unfinished
    )


def _kept(places: Iterable[Place], keep: Keep) -> list[TrialRow]:
    if keep == "winner":
        return [row for place in places if place.rank == 1 for row in place.rows]
    best: dict[str, TrialRow] = {}
    for place in places:  # in the order of the leaderboard
        for row in place.rows:
            if row.state == "finished":
                best.setdefault(row.lineage, row)
    return list(best.values())


def _may_go_on(place: Place) -> bool:
    """Whether a trial of it failed, or was stopped where others finished: it may be trained yet.

    Then the configuration is ranked after all, and its other seeds need their weights too.
    """
    states = {row.state for row in place.rows}
    return "failed" in states or len(states) > 1


def _without_weights(row: TrialRow) -> Record:
    """A record of its own: the trial's end keeps what intervals are made of, and its place."""
    return {"record": "weights_removed", "trial": row.trial}


def _unwanted(study: Home, kept: set[str], keep: Keep) -> list[str]:
    """Folders of checkpoints, by their path from the study's."""
    weights = study.folders(f"{LINEAGES}/*/milestones/epoch-*")
    resume_points = study.folders(f"{LINEAGES}/*/last/epoch-*")  # of each lineage in order
    newest = {_lineage_of(folder): folder for folder in resume_points}
    stay = set(newest.values()) if keep == "best" else set()
    return [
        *(folder for folder in weights if folder not in kept),
        *(folder for folder in resume_points if folder not in stay),
    ]


def _lineage_of(folder: str) -> str:
    return folder.split("/")[1]
