"""The split protocols of a set, and duplicates kept on one side of each where that is wanted.

`group` keeps videos and subjects whole, `random` parts single rows as the study did, `official`
is the release's own split, there if every row has one. With `Together.EXACT` or `NEAR`, the
copies of an image share one split in each protocol: in `group` they tie their groups together,
in `random` they are drawn as one, in `official` videos that share copies follow the one that is
held out furthest (test before validation before train): the release's test split stays whole.

PURE: numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from orchestrator.ingest.audit import units
from orchestrator.ingest.splits import (
    SPLITS,
    Fractions,
    SplitIndices,
    group_split,
    random_split,
    split_sizes,
)

Ids = npt.NDArray[np.int64]
Sizes = tuple[int, int, int]


class Together(StrEnum):
    """Which copies of an image must share a split."""

    NONE = "none"
    EXACT = "exact"
    NEAR = "near"


@dataclass(frozen=True)
class Rows:
    """What splits are made from, each of length N.

    Attributes:
        sources: A name unique within the set.
        labels: Class index.
        groups: Video or subject.
        official: The release's own split; "" where a row has none.
        copies: Rows with one number are copies of one image; None = copies may be parted.
    """

    sources: Sequence[str]
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.str_]
    official: npt.NDArray[np.str_]
    copies: Ids | None


def protocols(
    rows: Rows, *, fractions: Fractions, sizes: Sizes | None, seed: int
) -> dict[str, SplitIndices]:
    """Computes the split of each row under each protocol.

    Args:
        rows: The rows of the set.
        fractions: Shares of train, validation and test.
        sizes: Exact rows of them in `random`; None = from the fractions. Not with copies kept
            together, which cannot be parted to fit.
        seed: Of the draws.

    Raises:
        ValueError: The sizes do not add up to the rows.
    """
    splits = {
        "group": group_split(rows.labels, _tied_groups(rows), fractions, seed),
        "random": _random(rows, fractions, sizes, seed),
    }
    if has_official(rows.official):
        splits["official"] = _official(rows)
    return splits


def has_official(official: npt.NDArray[np.str_]) -> bool:
    """Whether every row has a split of the release's own."""
    return bool(len(official)) and bool(np.isin(official, SPLITS).all())


def _tied_groups(rows: Rows) -> Sequence[str]:
    if rows.copies is None:
        return [str(group) for group in rows.groups]
    return [str(unit) for unit in units(rows.groups, rows.copies)]


def _random(rows: Rows, fractions: Fractions, sizes: Sizes | None, seed: int) -> SplitIndices:
    if rows.copies is None:
        wanted = sizes or split_sizes(len(rows.labels), fractions)
        return random_split(rows.sources, wanted, seed)
    names = units(np.array(rows.sources), rows.copies)
    return group_split(rows.labels, names.tolist(), fractions, seed)


def _official(rows: Rows) -> SplitIndices:
    own = np.array([SPLITS.index(split) for split in rows.official.tolist()], dtype=np.int8)
    if rows.copies is None:
        return own
    unit = np.unique(units(rows.groups, rows.copies), return_inverse=True)[1]
    furthest = np.zeros(int(unit.max(initial=-1)) + 1, dtype=np.int8)
    np.maximum.at(furthest, unit, own)
    return furthest[unit]
