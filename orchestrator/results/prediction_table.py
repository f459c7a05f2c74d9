"""Predictions of loose images as a table: CSV to look at, Parquet to go on with. DRIVER.

Names of files are hostile input: in CSV one that a spreadsheet would take for a formula gets an
apostrophe before it; Parquet holds the name as it is.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.config.folder import folder
from orchestrator.config.storage import write_atomic
from orchestrator.results.printable import in_csv

DIGITS = 6
"""Of probabilities in CSV; Parquet has all of float32."""


def prediction_table(
    files: Sequence[str], probabilities_NK: npt.NDArray[np.float32], classes: Sequence[str]
) -> pa.Table:
    """Columns file, p_<class> (float32), label (the likeliest class), confidence (its share).

    Args:
        files: names, in the order of the rows.
        probabilities_NK: shape (N, K).
        classes: K names.
    """
    columns = {"file": pa.array(files, pa.string())}
    for name, column in zip(classes, probabilities_NK.T, strict=True):
        columns[f"p_{name}"] = pa.array(column, pa.float32())
    likeliest = probabilities_NK.argmax(axis=1)
    columns["label"] = pa.array([classes[k] for k in likeliest], pa.string())
    columns["confidence"] = pa.array(probabilities_NK.max(axis=1), pa.float32())
    return pa.table(columns)


def write_predictions(table: pa.Table, path: Path) -> None:
    """Write the table in the form that the path's ending asks for, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    if path.suffix.lower() == ".parquet":
        folder(path.parent).put(
            path.name, lambda place: pq.write_table(table, place, store_schema=False)
        )
        return
    columns = [_csv_column(column) for column in table.columns]
    _write_csv(path, table.column_names, list(zip(*columns, strict=True)))


def quarantine_path(out: Path) -> Path:
    """Where files that could not be read are told, with the reason."""
    return out.with_name(f"{out.stem}.quarantine.csv")


def write_quarantine(bad: Sequence[tuple[str, str]], path: Path) -> None:
    """Write names and reasons; remove the file of an earlier command where nothing is bad."""
    if bad:
        rows = [(in_csv(name), in_csv(reason)) for name, reason in bad]
        _write_csv(path, ["file", "reason"], rows)
    else:
        path.unlink(missing_ok=True)


def _csv_column(column: pa.ChunkedArray) -> list[str]:
    if pa.types.is_string(column.type):
        return [in_csv(text) for text in column.to_pylist()]
    return [f"{value:.{DIGITS}f}" for value in column.to_pylist()]


def _write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([in_csv(name) for name in head])
    writer.writerows(rows)
    write_atomic(path, text.getvalue().encode())
