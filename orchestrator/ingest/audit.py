"""What is suspicious in a set: byte-identical images, and what lies on both sides of a split.

A held-out row whose very pixels, or whose video, are also in the training split measures memory,
not recognition. The leak rates printed by `prepare` are the share of such rows among all rows
of validation and test, for each split protocol.

PURE: numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.ingest.splits import SplitIndices

Ids = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Leak:
    """What one split protocol lets across.

    Attributes:
        duplicate_groups_across: Groups of byte-identical images with rows in several splits.
        groups_across: Videos or subjects with rows in several splits.
        held_out_rows: Rows of validation and test.
        held_out_duplicates: Those of them whose exact pixels are also in train.
        held_out_same_group: Those of them whose video or subject is also in train.
    """

    duplicate_groups_across: int
    groups_across: int
    held_out_rows: int
    held_out_duplicates: int
    held_out_same_group: int


@dataclass(frozen=True)
class Audit:
    """Exact duplicates of a set and the leaks of its protocols.

    Attributes:
        duplicate_groups: Groups of two or more byte-identical images.
        duplicate_rows: Rows in those groups.
        label_conflicts: Those groups whose rows do not all have one label.
        groups: Videos or subjects, each image without one counted alone.
        leaks: What each protocol lets across.
    """

    duplicate_groups: int
    duplicate_rows: int
    label_conflicts: int
    groups: int
    leaks: Mapping[str, Leak]


def audit(
    digests: npt.NDArray[np.bytes_],
    labels: npt.NDArray[np.integer],
    groups: npt.NDArray[np.str_],
    splits: Mapping[str, SplitIndices],
) -> Audit:
    """Audits the rows of a set.

    Args:
        digests: A digest of each row's pixels, shape (N,).
        labels: Class index of each row, shape (N,).
        groups: Video or subject of each row, shape (N,).
        splits: For each protocol the split index of each row, shape (N,).
    """
    image_ids = np.unique(digests, return_inverse=True)[1]
    group_ids = np.unique(groups, return_inverse=True)[1]
    rows_of_image = np.bincount(image_ids)
    duplicated = rows_of_image >= 2
    return Audit(
        duplicate_groups=int(duplicated.sum()),
        duplicate_rows=int(rows_of_image[duplicated].sum()),
        label_conflicts=_with_several(image_ids, labels),
        groups=int(group_ids.max(initial=-1)) + 1,
        leaks={name: _leak(image_ids, group_ids, split) for name, split in splits.items()},
    )


def _leak(image_ids: Ids, group_ids: Ids, split: SplitIndices) -> Leak:
    held_out = split != 0
    return Leak(
        duplicate_groups_across=_with_several(image_ids, split),
        groups_across=_with_several(group_ids, split),
        held_out_rows=int(held_out.sum()),
        held_out_duplicates=_also_in_train(image_ids, held_out),
        held_out_same_group=_also_in_train(group_ids, held_out),
    )


def _with_several(ids: Ids, values: npt.NDArray[np.integer]) -> int:
    """Counts the ids that occur with two or more different values."""
    if len(ids) == 0:
        return 0
    width = int(values.max()) + 1
    pairs = np.unique(ids * width + values)
    return int((np.bincount(pairs // width) >= 2).sum())


def _also_in_train(ids: Ids, held_out: npt.NDArray[np.bool_]) -> int:
    """Counts the held-out rows whose id occurs in train as well."""
    in_train = np.zeros(int(ids.max(initial=-1)) + 1, dtype=np.bool_)
    in_train[ids[~held_out]] = True
    return int((in_train[ids] & held_out).sum())
