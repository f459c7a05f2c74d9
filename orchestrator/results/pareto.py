"""Trials that no other beats in both macro-F1 and seconds: what two objectives leave. PURE."""

from __future__ import annotations

from orchestrator.results.leaderboard_cells import score_text, values_text, varied_paths
from orchestrator.results.printable import duration
from orchestrator.results.study_view import StudyView, TrialRow


def front_of(view: StudyView) -> tuple[TrialRow, ...]:
    """The Pareto front, fewest seconds first; each next one takes longer and scores higher."""
    scored = [
        (row.seconds, -row.val_macro_f1, row.trial, row)
        for row in view.trials
        if row.state == "finished" and row.val_macro_f1 is not None
    ]
    front: list[TrialRow] = []
    best = 0.0
    for _, negative, _, row in sorted(scored, key=lambda entry: entry[:3]):
        if not front or -negative > best:
            front.append(row)
            best = -negative
    return tuple(front)


def front_lines(view: StudyView) -> tuple[str, ...]:
    """The front as a user reads it; nothing where nothing has finished."""
    front, paths = front_of(view), varied_paths(view)
    if not front:
        return ()
    return (
        "no trial is better than these in both macro-F1 and seconds of training:",
        *(
            f"  trial {row.trial}  macro-F1 {score_text(row)}  {duration(row.seconds)}  "
            f"{values_text(row, paths)}".rstrip()
            for row in front
        ),
        "",
    )
