"""Which weights of a finished study stay, and the removal of the others.

DRIVER. While a study trains, a lineage holds the weights of each of its trials' last epochs and
two points to go on from. Once it is complete, `keep` may say that less is wanted. The ledger is
told first: at no moment does the leaderboard point at weights that are gone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from orchestrator.results.places import Place
from orchestrator.results.study_view import StudyView, TrialRow
from orchestrator.tuning.study import LINEAGES

Keep = Literal["all", "best", "winner"]
Record = dict[str, Any]


def clean_up(view: StudyView, study: Path, keep: Keep, append: Callable[[Record], None]) -> int:
    """Remove what `keep` does not want of a study that is complete.

    Args:
        view: the study as its ledger tells it.
        study: its folder.
        keep: all = nothing is removed; best = of each lineage the weights of its best trial, and
            the newest point to go on from; winner = the weights of the winner and its equals.
        append: writes a record to the ledger.

    Returns:
        Bytes removed; 0 where trials are still to be trained.
    """
    if keep == "all" or view.count("queued") + view.count("running"):
        return 0
    kept = {row.checkpoint for row in _kept(view.places, keep)}
    # A trial that failed may be trained after all: its lineage is left alone.
    unfinished = {row.lineage for row in view.trials if row.state == "failed"}
    for row in view.trials:
        if row.checkpoint and row.checkpoint not in kept and row.lineage not in unfinished:
            append(_without_weights(row))
    return sum(
        _remove(folder)
        for lineage in sorted((study / LINEAGES).glob("*"))
        for folder in _unwanted(lineage, study, kept, keep)
        if lineage.name not in unfinished
    )


def _kept(places: Iterable[Place], keep: Keep) -> list[TrialRow]:
    finished = [place for place in places if place.row.state == "finished"]
    if keep == "winner":
        return [place.row for place in finished if place.rank == 1]
    best: dict[str, TrialRow] = {}
    for place in finished:  # in the order of the leaderboard
        best.setdefault(place.row.lineage, place.row)
    return list(best.values())


def _without_weights(row: TrialRow) -> Record:
    """The trial's end once more: the last word on it counts."""
    return {
        "record": "end",
        "trial": row.trial,
        "state": "finished",
        "epoch": row.epoch,
        "error": "",
        "checkpoint": "",
    }


def _unwanted(lineage: Path, study: Path, kept: set[str], keep: Keep) -> list[Path]:
    weights = sorted(lineage.glob("milestones/epoch-*"))
    resume_points = sorted(lineage.glob("last/epoch-*"))
    stay = 1 if keep == "best" else 0
    return [
        *(folder for folder in weights if str(folder.relative_to(study)) not in kept),
        *resume_points[: len(resume_points) - stay],
    ]


def _remove(folder: Path) -> int:
    num_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    shutil.rmtree(folder)
    return num_bytes
