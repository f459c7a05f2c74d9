"""Production parted into what a model may be adapted with, and what only measures it. PURE.

Whole groups (videos, subjects) go to one part. A group that the run has trained or chosen its
epoch with is never held out: its name tells. One that the run's test split holds is used for
nothing, so that the test split stays a test of what was learned before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from orchestrator.config.errors import ConfigError, DatasetError
from orchestrator.ingest.dataset import SplitIndex
from orchestrator.ingest.splits import group_split

TRAIN, VALIDATION, HELD_OUT, UNUSED = "train", "validation", "held out", "unused"
VALIDATION_SHARE: Final = 0.2
"""Of the part to adapt with: a training wants some rows that it does not learn from."""

Names = npt.NDArray[np.str_]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Parts:
    """What becomes of each row of production.

    Attributes:
        of_row: `TRAIN`, `VALIDATION`, `HELD_OUT` or `UNUSED`, shape (N,).
        groups: video or subject of each row, shape (N,).
    """

    of_row: Names
    groups: Names

    def rows(self, *parts: str) -> Int64s:
        """Row ids of these parts, ascending."""
        return np.flatnonzero(np.isin(self.of_row, parts)).astype(np.int64)

    def num_groups(self, *parts: str) -> int:
        """Groups of these parts."""
        return len(np.unique(self.groups[self.rows(*parts)]))


def part(production: SplitIndex, own: SplitIndex, *, adapt_share: float, seed: int) -> Parts:
    """Parts production by whole groups, its classes as evenly as that allows.

    Args:
        production: all rows of it.
        own: all rows of the run's own set, with the splits that it was trained with.
        adapt_share: of the rows that may be held out, to adapt with instead.
        seed: decides between groups of one size.

    Raises:
        DatasetError: too few groups for a part to train with and one to hold out.
    """
    of_group = {
        str(group): set(own.splits[own.groups == group].tolist())
        for group in np.intersect1d(own.groups, production.groups)
    }
    known = np.array([_of_known(of_group.get(str(group))) for group in production.groups])
    of_row = known.astype("<U10")
    free = known == ""
    if free.any():
        shares = (adapt_share * (1 - VALIDATION_SHARE), adapt_share * VALIDATION_SHARE)
        fractions = (*shares, 1 - adapt_share)
        names = [str(group) for group in production.groups[free]]
        chosen = group_split(production.labels[free], names, fractions, seed)
        of_row[free] = np.array([TRAIN, VALIDATION, HELD_OUT])[chosen]
    parts = Parts(of_row, production.groups)
    for wanted in (TRAIN, HELD_OUT):
        if not len(parts.rows(wanted)):
            raise DatasetError(
                f"production: must have groups for a part to adapt with and one to hold out, that "
                f"the run has not seen; got no row that is {wanted}, of "
                f"{len(np.unique(production.groups))} groups. Prepare more videos or subjects"
            )
    refuse_crossing(parts)
    return parts


def _of_known(splits: set[str] | None) -> str:
    """Where a group goes that is in the run's own set too; "" where it is not."""
    if not splits:
        return ""
    return UNUSED if "test" in splits else TRAIN if "train" in splits else VALIDATION


def refuse_crossing(parts: Parts) -> None:
    """Refuse a group with rows in two parts: frames of one video are near copies of each other.

    Raises:
        ConfigError: names such a group.
    """
    pairs = np.unique(np.stack([parts.groups, parts.of_row.astype(parts.groups.dtype)]), axis=1)
    names, times = np.unique(pairs[0], return_counts=True)
    if (times > 1).any():
        raise ConfigError(
            f"production: no group may lie in two parts; got {str(names[times > 1][0])!r} in several. "
            "What was learned from would be measured"
        )
