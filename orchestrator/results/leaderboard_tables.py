"""The leaderboard as text, Markdown, CSV and JSON, and all its files at once. DRIVER.

Text and Markdown show what a reader decides by; CSV has every figure at full precision, one row a
trial; JSON has everything, curves included. Trial values, names and errors are hostile input.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from rich.cells import cell_len

from orchestrator.config.storage import write_atomic
from orchestrator.results.leaderboard_cells import (
    EPOCHS,
    all_paths,
    cells,
    footer,
    heading,
    padded,
    seed_lines,
)
from orchestrator.results.places import Place
from orchestrator.results.printable import in_csv, in_markdown
from orchestrator.results.study_view import Scalar, StudyView, TrialRow, f1_by_class

JSON_VERSION: Final = 1
MEANS: Final = (
    "mean_macro_f1",
    "sd_over_seeds",
    "mean_low",
    "mean_high",
    "behind_winner",
    "behind_low",
    "behind_high",
)
"""What is said of a configuration: mean, deviation and interval; difference to the winner."""


def write_all(view: StudyView, folder: Path) -> tuple[Path, ...]:
    """Write leaderboard.{txt,md,csv,json} and the pictures into `folder`, each atomically.

    Returns:
        The files written; a picture for which there are no figures yet is left out.

    Raises:
        OSError: the folder cannot be written.
    """
    from orchestrator.results import plots  # matplotlib costs half a second: only those who draw

    texts = {
        "leaderboard.txt": text_table(view, per_class=True),
        "leaderboard.md": markdown(view),
        "leaderboard.csv": csv_table(view),
        "leaderboard.json": json_document(view),
    }
    for name, text in texts.items():
        write_atomic(folder / name, text.encode())
    pictures = {
        "learning_curves.png": plots.learning_curves,
        "winner_curve.png": plots.winner_curve,
        "experiments.png": plots.experiments,
        "confusion.png": plots.confusion,
    }
    drawn = [folder / name for name, draw in pictures.items() if draw(view, folder / name)]
    return (*(folder / name for name in texts), *drawn)


def text_table(view: StudyView, *, per_class: bool = False, num_rows: int | None = None) -> str:
    """The leaderboard at fixed width, with heading and footer, for terminals and logs.

    Args:
        view: the study.
        per_class: add the F1 of each class, and the figures of each seed where there are several.
        num_rows: show only this many rows, and say how many were left out.
    """
    table = cells(view, per_class=per_class, num_rows=num_rows)
    widths = [max(map(cell_len, column)) for column in zip(table.head, *table.rows, strict=True)]
    lines = [
        *heading(view),
        "",
        _aligned(table.head, widths, table.right),
        _aligned(["─" * width for width in widths], widths, table.right),
        *(_aligned(row, widths, table.right) for row in table.rows),
        *table.more,
        "",
        *footer(view),
        *(("", *seed_lines(view)) if per_class else ()),
    ]
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def markdown(view: StudyView) -> str:
    """The leaderboard as a Markdown table; names, values and errors stay plain words in it."""
    table = cells(view, per_class=True)
    lines = [
        f"# {in_markdown(view.name) or 'Leaderboard'}",
        "",
        *(in_markdown(line) + "  " for line in heading(view)[1:]),
        "",
        _markdown_row(table.head),
        "|" + "|".join("---:" if right else "---" for right in table.right) + "|",
        *(_markdown_row(row) for row in table.rows),
        "",
        *(f"- {in_markdown(line)}" for line in (*footer(view), *seed_lines(view))),
    ]
    return "\n".join(lines).rstrip() + "\n"


def csv_table(view: StudyView) -> str:
    """One row a trial in leaderboard order, every metric at full precision, RFC 4180.

    Seeds of one configuration follow each other and repeat its rank, its mean and how far it is
    behind the winner. A figure that was not measured is an empty cell. Values have their dotted path as column.
    """
    paths = [path for path in all_paths(view) if path != EPOCHS]  # has a column without this
    metrics = sorted({name for row in view.trials for name in row.metrics})
    f1_names = [f"val_f1_{name}" for name in view.classes]
    head = ["rank", "tied", "not_distinguishable", *MEANS, "configuration", "represents"]
    head += ["trial", "state", "lineage", "seed"]
    head += ["epochs", "epoch", "shared", "seconds", "checkpoint", "error"]
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([in_csv(name) for name in [*head, *paths, *metrics, *f1_names]])
    for place, row in _by_seed(view):
        writer.writerow(
            [
                *_csv_facts(place, row),
                *(_csv_value(row.values.get(path)) for path in paths),
                *(row.metrics.get(name, "") for name in metrics),
                *_csv_f1(row, len(f1_names)),
            ]
        )
    return out.getvalue()


def json_document(view: StudyView) -> str:
    """Everything about the study, trials in leaderboard order with their curves, as ASCII JSON.

    A figure that was not measured is absent or null, never NaN.
    """
    document = {
        "version": JSON_VERSION,
        "study": view.name,
        "space": view.space,
        "question": view.question,
        "dataset": {
            "name": view.dataset,
            "protocol": view.protocol,
            "classes": view.classes,
            "counts": view.counts,
        },
        "epochs_trained": view.epochs_trained,
        "epochs_planned": view.epochs_planned,
        "epochs_left": view.epochs_left,
        "epochs_needed_unshared": view.epochs_needed_unshared,
        "started": view.started,
        "updated": view.updated,
        "winner": view.winner.trial if view.winner else None,
        "configurations": [_json_configuration(place) for place in view.places],
        "trials": [_json_trial(place, row) for place, row in _by_seed(view)],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _aligned(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = []
    for text, width, to_right in zip(row, widths, right, strict=True):
        blanks = " " * (width - cell_len(text))
        padded.append(blanks + text if to_right else text + blanks)
    return "  ".join(padded)


def _markdown_row(row: Sequence[str]) -> str:
    return "| " + " | ".join(in_markdown(text) for text in row) + " |"


def _by_seed(view: StudyView) -> Iterator[tuple[Place, TrialRow]]:
    return ((place, row) for place in view.places for row in place.rows)


def _csv_facts(place: Place, row: TrialRow) -> list[object]:
    return [
        place.rank or "",
        place.tied,
        place.close,
        *("" if value is None else value for value in _means(place).values()),
        row.configuration,
        row is place.row,
        row.trial,
        row.state,
        in_csv(row.lineage),
        row.seed,
        row.epochs,
        row.epoch,
        row.shared,
        row.seconds,
        in_csv(row.checkpoint),
        in_csv(row.error),
    ]


def _csv_value(value: Scalar) -> object:
    return in_csv(value) if isinstance(value, str) else "" if value is None else value


def _csv_f1(row: TrialRow, num_classes: int) -> list[object]:
    by_class = f1_by_class(row.confusion) if row.confusion else ()
    return ["" if f1 is None else f1 for f1 in padded(by_class, num_classes)]


def _means(place: Place) -> dict[str, float | None]:
    """What a configuration's seeds say together, by the names of `MEANS`."""
    figures: list[float | None] = [None] * len(MEANS)
    if place.finished:
        figures[:4] = [place.score, place.spread, *(place.interval or (None, None))]
    if place.behind is not None:
        figures[4:] = [place.behind.difference, place.behind.low, place.behind.high]
    return dict(zip(MEANS, figures, strict=True))


def _json_configuration(place: Place) -> dict[str, Any]:
    return {
        "rank": place.rank,
        "tied": place.tied,
        "not_distinguishable": place.close,
        "configuration": place.row.configuration,
        "state": place.state,
        "seeds": [row.seed for row in place.rows],
        "trials": [row.trial for row in place.rows],
        "represented_by": place.row.trial,
        **_means(place),
    }


def _json_trial(place: Place, row: TrialRow) -> dict[str, Any]:
    return {
        "rank": place.rank,
        "tied": place.tied,
        "not_distinguishable": place.close,
        "trial": row.trial,
        "values": {path: _json_value(value) for path, value in row.values.items()},
        "state": row.state,
        "lineage": row.lineage,
        "seed": row.seed,
        "configuration": row.configuration,
        "epochs": row.epochs,
        "epoch": row.epoch,
        "shared": row.shared,
        "metrics": dict(row.metrics),
        "val_macro_f1": row.val_macro_f1,
        "interval": row.interval,
        "f1_by_class": f1_by_class(row.confusion),
        "confusion": row.confusion,
        "seconds": row.seconds,
        "checkpoint": row.checkpoint,
        "log": row.log,
        "error": row.error,
        "curve": [
            {
                "epoch": point.epoch,
                "metrics": dict(point.metrics),
                "seconds": dict(point.seconds),
                "slot": point.slot,
            }
            for point in row.curve
        ],
    }


def _json_value(value: Scalar) -> Scalar:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
