"""An evaluation as a report to read and as JSON, and all its files at once. DRIVER.

The table of classes is scikit-learn's own `classification_report`; every other figure is from
`evaluation`. Names are hostile input: they are cleaned before they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from rich.cells import cell_len

from orchestrator.config.folder import folder
from orchestrator.config.storage import write_atomic, write_json
from orchestrator.results.evaluation import (
    Calibrated,
    Predictions,
    Reliability,
    Scores,
    normalised_rows,
)
from orchestrator.results.evaluation_groups import (
    GroupScore,
    Mistake,
    groups_csv,
    worst_groups,
)
from orchestrator.results.held_out import Exposure
from orchestrator.results.printable import one_line

JSON_VERSION: Final = 1
SUMMARY: Final = "evaluation.json"
"""Written last and removed first: where it is, the other files belong to it."""
PREDICTIONS: Final = "predictions.parquet"
PICTURES: Final = ("confusion.png", "reliability.png", "mistakes.png")
"""The last where there are mistakes."""
WORST_SHOWN: Final = 10


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything that was found.

    Attributes:
        title: data set, protocol and split in a few words.
        facts: lines that go before the figures: checkpoint, data, pace.
        record: what the figures belong to, for evaluation.json: checkpoint, data, command, ...
    """

    title: str
    facts: tuple[str, ...]
    record: Mapping[str, Any]
    exposure: Exposure
    predictions: Predictions
    scores: Scores
    reliability: Reliability
    calibrated: Calibrated | None
    groups: tuple[GroupScore, ...]
    mistakes: tuple[Mistake, ...]


def write_evaluation(
    evaluation: Evaluation, mistake_images: npt.NDArray[np.uint8], out: Path
) -> None:
    """Write all files of an evaluation into a folder, each atomically.

    Raises:
        OSError: the folder cannot be written.
    """
    from orchestrator.results import evaluation_plots as plots  # matplotlib: only who draws waits

    (out / SUMMARY).unlink(missing_ok=True)
    scores, title = evaluation.scores, evaluation.title
    table = predictions_table(evaluation.predictions)
    folder(out).put(PREDICTIONS, lambda path: pq.write_table(table, path, store_schema=False))
    write_atomic(out / "report.txt", report(evaluation).encode())
    write_atomic(out / "groups.csv", groups_csv(evaluation.groups).encode())
    confusion, reliability, mistakes = (out / name for name in PICTURES)
    plots.confusion(scores, evaluation.predictions.classes, title, confusion)
    plots.reliability(evaluation.reliability, evaluation.calibrated, title, reliability)
    mistakes.unlink(missing_ok=True)
    plots.mistakes(evaluation.mistakes, mistake_images, title, mistakes)
    write_json(out / SUMMARY, document(evaluation))


def predictions_table(predictions: Predictions) -> pa.Table:
    """Plain columns: row_id, group, label (index of the model's class), p_<class> float32."""
    columns = {
        "row_id": pa.array(predictions.row_ids, pa.int64()),
        "group": pa.array(predictions.groups.tolist(), pa.string()),
        "label": pa.array(predictions.labels, pa.int8()),
    }
    for name, column in zip(predictions.classes, predictions.probabilities.T, strict=True):
        columns[f"p_{name}"] = pa.array(column, pa.float32())
    return pa.table(columns)


def report(evaluation: Evaluation) -> str:
    """What was measured on what, then the figures, in plain text."""
    return "\n".join([*evaluation.facts, "", figures(evaluation)])


def figures(evaluation: Evaluation) -> str:
    """What a reader decides by; ends in a newline."""
    parts = [
        [evaluation.exposure.statement],
        classification_table(evaluation.predictions).rstrip().splitlines(),
        _single_figures(evaluation),
        _confusion_lines(evaluation.scores.confusion, evaluation.predictions.classes),
        _group_lines(evaluation.groups),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def classification_table(predictions: Predictions) -> str:
    """Precision, recall, F1 and support of each class, as scikit-learn prints them."""
    from sklearn.metrics import classification_report  # takes a second to import

    present = list(predictions.present)
    text = classification_report(
        predictions.labels,
        predictions.predicted,
        labels=present,
        target_names=[one_line(predictions.classes[k], 24) for k in present],
        zero_division=0,
    )
    return str(text)


def _single_figures(evaluation: Evaluation) -> list[str]:
    scores, measured = evaluation.scores, evaluation.reliability
    interval = "no interval: all rows are of one group"
    if scores.interval:
        interval = (
            f"[{scores.interval[0]:.4f}, {scores.interval[1]:.4f}], 95 % by "
            f"{scores.num_resamples:,} resamples of {scores.num_groups:,} groups"
        )
    lines = [
        f"macro-F1     {scores.macro.f1:.4f} {interval}",
        f"accuracy     {scores.accuracy:.4f}",
        f"log loss     {scores.log_loss:.4f} nats",
        f"calibration  ECE {measured.ece:.4f}",
    ]
    if found := evaluation.calibrated:
        at_bound = " (the bound of what is tried)"
        lines += [
            f"             ECE {found.after.ece:.4f}, log loss {found.after.log_loss:.4f} with "
            f"temperature {found.calibration.temperature:.3f}, fitted on {found.fitted_rows:,} "
            f"validation rows of the run{at_bound if found.calibration.at_bound else ''}"
        ]
        if found.in_sample:
            lines += ["             rows that it was fitted on are among those measured"]
    return lines


def _confusion_lines(confusion: npt.NDArray[np.int64], classes: Sequence[str]) -> list[str]:
    names = [one_line(name, 12) for name in classes]
    shares = normalised_rows(confusion)
    body = [
        [name, *(f"{count:,} {share:4.0%}" for count, share in zip(*row, strict=True))]
        for name, *row in zip(names, confusion.tolist(), shares.tolist(), strict=True)
    ]
    head = "confusion: rows are true classes, with the share of each that was taken for what"
    return [head, *aligned([["", *names], *body])]


def _group_lines(groups: Sequence[GroupScore]) -> list[str]:
    worst = worst_groups(groups, WORST_SHOWN)
    if not worst:
        return []
    body = [["group", "rows", "accuracy", "most frequent mistake"]]
    for group in worst:
        true, predicted, times = group.confusion or ("", "", 0)
        mistake = f"{one_line(true, 16)} taken for {one_line(predicted, 16)}, {times:,} times"
        cells = [one_line(group.name, 32), f"{group.num_rows:,}", f"{group.accuracy:.3f}", mistake]
        body.append(cells)
    return [
        f"worst {len(worst)} of {len(groups):,} groups (all are in groups.csv)",
        *aligned(body),
    ]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of one width: numbers to the right, the first column and long texts to the left."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - cell_len(cell))
            left = place == 0 or rows[0][place] == "most frequent mistake"
            cells.append(cell + space if left else space + cell)
        lines.append("  ".join(cells).rstrip())
    return lines


def document(evaluation: Evaluation) -> dict[str, Any]:
    """All numbers with what they belong to, as finite JSON values."""
    scores, found = evaluation.scores, evaluation.calibrated
    return {
        "version": JSON_VERSION,
        **evaluation.record,
        "held_out": {
            "verdict": evaluation.exposure.held_out,
            "statement": evaluation.exposure.statement,
            **asdict(evaluation.exposure),
        },
        "classes": list(evaluation.predictions.classes),
        "num_rows": len(evaluation.predictions.row_ids),
        "num_groups": scores.num_groups,
        "accuracy": scores.accuracy,
        "macro_f1": scores.macro.f1,
        "macro_f1_interval": list(scores.interval) if scores.interval else None,
        "macro_f1_resamples": scores.num_resamples,
        "log_loss": scores.log_loss,
        "by_class": [asdict(one) for one in scores.by_class],
        "macro_average": asdict(scores.macro),
        "weighted_average": asdict(scores.weighted),
        "confusion": scores.confusion.tolist(),
        "confusion_normalised": normalised_rows(scores.confusion).tolist(),
        "calibration": {
            "before": asdict(evaluation.reliability),
            "temperature": found.calibration.temperature if found else None,
            "temperature_at_bound": found.calibration.at_bound if found else None,
            "fitted_on_validation_rows": found.fitted_rows if found else None,
            "fitted_rows_are_measured": found.in_sample if found else None,
            "after": asdict(found.after) if found else None,
        },
        "worst_groups": [asdict(group) for group in worst_groups(evaluation.groups, WORST_SHOWN)],
        "confident_mistakes": [asdict(mistake) for mistake in evaluation.mistakes],
    }
