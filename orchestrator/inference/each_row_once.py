"""Puts predictions into the order of the rows asked for, if each of them came exactly once. PURE.

Blocks come in any order, from several processes, some of which may have been replaced. That no
row was lost or counted twice on the way is checked here, by row_id, and not believed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.config.errors import OrchestratorError
from orchestrator.ingest.order import Int64s

Probabilities = npt.NDArray[np.float32]
Features = npt.NDArray[np.float32]
FEATURES = "features"
MAX_NAMED = 5
"""Row ids that an error names."""


def probabilities_of(request: int, row_ids: Int64s, whole: pa.Table, name: str) -> Probabilities:
    """The outputs for the rows of one request.

    Args:
        request: its number.
        row_ids: asked for: ascending, each once.
        whole: all outputs: columns request, row_id, p0, p1, ...
        name: of the data set, for messages.

    Returns:
        Shape (len(row_ids), K), in the order of `row_ids`.

    Raises:
        OrchestratorError: a row did not come exactly once, or an output is not finite.
    """
    mine, order = _in_order(request, row_ids, whole, name)
    names = [column for column in mine.column_names if column.startswith("p")]
    values: Probabilities = np.column_stack([mine.column(column).to_numpy() for column in names])
    return _finite(values[order], row_ids, name)


def features_of(request: int, row_ids: Int64s, whole: pa.Table, name: str) -> Features:
    """The features for the rows of one request, shape (len(row_ids), D); as `probabilities_of`.

    Args:
        request: its number.
        row_ids: asked for: ascending, each once.
        whole: all outputs, with a column `features` of lists.
        name: of the data set, for messages.

    Raises:
        OrchestratorError: a row did not come exactly once, or a feature is not finite.
    """
    mine, order = _in_order(request, row_ids, whole, name)
    width = mine.schema.field(FEATURES).type.list_size
    # A chunk may begin anywhere in its buffer: `flatten` knows where.
    parts = [chunk.flatten().to_numpy() for chunk in mine.column(FEATURES).chunks]
    values: Features = np.concatenate(parts).reshape(-1, width)
    return _finite(values[order], row_ids, name)


def _in_order(
    request: int, row_ids: Int64s, whole: pa.Table, name: str
) -> tuple[pa.Table, npt.NDArray[np.intp]]:
    mine = whole.filter(pa.array(whole.column("request").to_numpy() == request))
    return mine, order_once(row_ids, mine.column("row_id").to_numpy(), name)


def _finite(values: npt.NDArray[np.float32], row_ids: Int64s, name: str) -> npt.NDArray[np.float32]:
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise OrchestratorError(
            f"checkpoint: its outputs must be finite; got NaN or infinity for {bad.sum()} rows of "
            f"{name}, row_id {_named(row_ids[bad])}. Take another epoch"
        )
    return values


def order_once(wanted: Int64s, found: Int64s, name: str) -> npt.NDArray[np.intp]:
    """What puts the rows that came into the order of those asked for.

    Args:
        wanted: row ids, ascending, each once.
        found: row ids as they came.
        name: of their set, for the message.

    Raises:
        OrchestratorError: a row is missing, came twice, or was not asked for.
    """
    order = np.argsort(found, kind="stable")
    if np.array_equal(found[order], wanted):
        return order
    ids, times = np.unique(found, return_counts=True)
    faults = {
        "missing": np.setdiff1d(wanted, ids),
        "more than once": ids[times > 1],
        "not asked for": np.setdiff1d(ids, wanted),
    }
    said = [
        f"{len(rows)} {what} (row_id {_named(rows)})" for what, rows in faults.items() if len(rows)
    ]
    raise OrchestratorError(
        f"rows: each of {len(wanted)} of {name} must come exactly once; got {', '.join(said)}. "
        "Nothing was written"
    )


def _named(row_ids: Int64s) -> str:
    first = ", ".join(map(str, row_ids[:MAX_NAMED].tolist()))
    return f"{first}, ..." if len(row_ids) > MAX_NAMED else first
