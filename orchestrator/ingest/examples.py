"""Picks rows to show of a set: pairs of copies, and some images of each class.

Of copies, a pair across two splits or with two labels says more than two frames of one video:
the telling ones come first. At most one pair of a group is taken, and groups that are equally
telling are taken in an order that has nothing to do with how they look. Of very many or very
large groups only a part is looked at. The same rows give the same examples.

PURE: numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.ingest.near_duplicates import Ids, varies
from orchestrator.ingest.perceptual_hash import THRESHOLD, Hashes

ROWS_LOOKED_AT = 32  # of a group
GROUPS_LOOKED_AT = 20  # for each pair wanted

Values = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Pair:
    """Two rows of one group.

    Attributes:
        first: Index of a row.
        second: Index of another one.
        distance: Bits in which their hashes differ.
    """

    first: int
    second: int
    distance: int


def example_pairs(
    hashes: Hashes,
    ids: Ids,
    *,
    limit: int,
    prefer: Sequence[Values] = (),
    apart: Ids | None = None,
    threshold: int = THRESHOLD,
) -> tuple[Pair, ...]:
    """Picks at most `limit` pairs, each of a group of its own.

    Args:
        hashes: One a row, shape (N,).
        ids: Group of each row, as `audit.Copies` has them, shape (N,).
        limit: Most pairs returned.
        prefer: Values of the rows (labels, splits, ...), the most telling first, each of shape
            (N,): pairs that differ in the first come before all others.
        apart: If given, only rows that differ here make a pair; with exact ids, no exact copies.
        threshold: Most bits in which the hashes of a pair differ.
    """
    sizes = np.bincount(ids)
    starts = np.cumsum(sizes) - sizes
    rows_by_group = np.lexsort([*reversed(prefer), ids])
    found = []
    for group in _promising(ids, sizes, prefer, apart)[: limit * GROUPS_LOOKED_AT]:
        rows = rows_by_group[starts[group] : starts[group] + sizes[group]]
        if len(rows) > ROWS_LOOKED_AT:
            rows = rows[np.linspace(0, len(rows) - 1, ROWS_LOOKED_AT).astype(np.int64)]
        found += _best_pair(hashes, rows, prefer, apart, threshold)
    found.sort(key=lambda scored: -scored[0])
    return tuple(pair for _, pair in found[:limit])


def example_rows(
    labels: Values, group_ids: Ids, *, num_classes: int, limit: int
) -> tuple[Ids, ...]:
    """Picks at most `limit` rows of each class, from as many groups as possible.

    Args:
        labels: Class index of each row, shape (N,).
        group_ids: Video or subject of each row, shape (N,).
        num_classes: Classes are 0 to `num_classes - 1`.
        limit: Most rows of a class.

    Returns:
        For each class the rows chosen, ascending.
    """
    shuffled = np.random.default_rng(0).permutation(len(labels))
    chosen = []
    for index in range(num_classes):
        rows = shuffled[labels[shuffled] == index]
        is_first = np.zeros(len(rows), dtype=np.bool_)
        is_first[np.unique(group_ids[rows], return_index=True)[1]] = True
        one_a_group_first = np.concatenate([rows[is_first], rows[~is_first]])
        chosen.append(np.sort(one_a_group_first[:limit]))
    return tuple(chosen)


def _promising(
    ids: Ids, sizes: Ids, prefer: Sequence[Values], apart: Ids | None
) -> npt.NDArray[np.intp]:
    """Groups that can hold a pair, those whose rows differ most tellingly first."""
    score = _score([varies(ids, values) for values in prefer], len(sizes))
    chance = np.random.default_rng(0).permutation(len(sizes))
    order = np.lexsort([chance, -score])
    holds_pair = varies(ids, apart) if apart is not None else sizes >= 2
    return order[holds_pair[order]]


def _best_pair(
    hashes: Hashes, rows: Ids, prefer: Sequence[Values], apart: Ids | None, threshold: int
) -> list[tuple[int, Pair]]:
    """The most telling pair of some rows with its score; none if none is near enough."""
    first, second = (rows[side] for side in np.triu_indices(len(rows), 1))
    distances = np.bitwise_count(hashes[first] ^ hashes[second])
    allowed = distances <= threshold
    if apart is not None:
        allowed &= apart[first] != apart[second]
    if not allowed.any():
        return []
    score = _score([values[first] != values[second] for values in prefer], len(first))
    best = int(np.where(allowed, score, -1).argmax())
    one, other = sorted((int(first[best]), int(second[best])))
    return [(int(score[best]), Pair(one, other, int(distances[best])))]


def _score(differences: Sequence[npt.NDArray[np.bool_]], count: int) -> npt.NDArray[np.int64]:
    """Reads differences as a binary number, the first one being its highest digit."""
    score = np.zeros(count, dtype=np.int64)
    for differs in differences:
        score = 2 * score + differs
    return score
