"""Which rows form which batch, as a pure function of (seed, epoch, row_id).

PURE: numpy only; workers call it, tests check it. Rows are dealt into `NUM_LANES` lanes by
their rank among the split's sorted row_ids. A worker owns whole lanes (lane modulo workers),
each epoch shuffles every lane by a counter-based hash, and the global sequence takes one row
of each lane in turn. So a global batch holds the same rows for 1, 2 or 64 workers, every
worker gets an equal part of it (to within one row a cycle), every row comes exactly once an
epoch, and no shuffle buffer and no state need to be saved for a resume.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

NUM_LANES = 64
"""More workers than lanes would leave workers without rows."""

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)

Int64s = npt.NDArray[np.int64]


def owned(ranks: Int64s, worker: int, num_workers: int) -> npt.NDArray[np.bool_]:
    """Which of the rows with these ranks belong to `worker` (0-based) of `num_workers`."""
    return (ranks % NUM_LANES) % num_workers == worker


def epoch_order(
    row_ids: Int64s, ranks: Int64s, *, seed: int, epoch: int
) -> tuple[npt.NDArray[np.intp], Int64s]:
    """Put a worker's rows into the order of one epoch.

    Args:
        row_ids: shape (N,), the rows that this worker holds: whole lanes.
        ranks: shape (N,), their ranks among all row_ids of the split.
        seed: the experiment's seed.
        epoch: counted from 1.

    Returns:
        `(order, positions)`, both of shape (N,): `order` indexes the worker's rows in the order
        in which they come, `positions` (ascending) are their places in the global sequence
        0..num_rows-1, so that the global batch `b` of size `B` is `b*B <= position < (b+1)*B`.
    """
    lanes = ranks % NUM_LANES
    keys = mix(seed, epoch, row_ids)
    by_lane = np.lexsort((keys, lanes))
    sorted_lanes = lanes[by_lane]
    first_of_lane = np.searchsorted(sorted_lanes, sorted_lanes, side="left")
    turn = np.arange(len(by_lane)) - first_of_lane
    positions = turn * NUM_LANES + sorted_lanes
    by_position = np.argsort(positions)
    return by_lane[by_position], positions[by_position]


def batch_bounds(positions: Int64s, num_rows: int, batch_size: int) -> npt.NDArray[np.intp]:
    """Cut a worker's ascending `positions` into its parts of the global batches.

    Returns:
        Shape (num_batches + 1,): part `b` is `bounds[b]:bounds[b+1]`; it can be empty. Every
        worker gets equally many parts: ceil(num_rows / batch_size).
    """
    num_batches = -(-num_rows // batch_size)
    edges = np.arange(num_batches + 1) * batch_size
    return np.searchsorted(positions, edges, side="left")


def mix(seed: int, epoch: int, row_ids: Int64s, draw: int = 0) -> npt.NDArray[np.uint64]:
    """Hash (seed, epoch, row_id, draw) to 64 well-mixed bits: SplitMix64, chained.

    Source: Steele, Lea & Flood, "Fast splittable pseudorandom number generators", 2014.
    """
    with np.errstate(over="ignore"):
        state = _split_mix(np.uint64(seed) + _GAMMA)
        state = _split_mix(state ^ np.uint64(epoch))
        state = _split_mix(state ^ np.uint64(draw))
        return _split_mix(state ^ row_ids.astype(np.uint64))


def uniform(seed: int, epoch: int, row_ids: Int64s, draw: int) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1), one for each row, for the `draw`-th random choice about it."""
    bits = mix(seed, epoch, row_ids, draw) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def _split_mix(state: npt.NDArray[np.uint64] | np.uint64) -> npt.NDArray[np.uint64]:
    mixed = np.atleast_1d(np.asarray(state, dtype=np.uint64)) + _GAMMA
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
    mixed = mixed ^ (mixed >> np.uint64(31))
    return mixed
