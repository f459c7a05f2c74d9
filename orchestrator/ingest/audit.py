"""What is suspicious in a set: copies of images, and what lies on both sides of a split.

A held-out row whose very pixels, near copy or video are also in the training split measures
memory, not recognition. The leak rates of a split protocol are the shares of such rows among all
rows of validation and test.

Exact copies are byte-identical. Near copies look alike (`perceptual_hash`), exact ones included;
they form groups by chains (`near_duplicates`): frames of one video are near copies of each other
as a rule, and no fault; near groups that hold several videos or subjects are counted apart.

PURE: numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.ingest.near_duplicates import Ids, connected, near_groups, varies
from orchestrator.ingest.perceptual_hash import THRESHOLD, Hashes
from orchestrator.ingest.splits import SplitIndices

Names = npt.NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Copies:
    """Which rows are copies of each other: rows with one id are.

    Attributes:
        exact: Ids of byte-identical images, shape (N,).
        near: Ids of images that look alike, exact copies included, shape (N,).
        threshold: Most bits in which two hashes differed that made their rows near.
    """

    exact: Ids
    near: Ids
    threshold: int


@dataclass(frozen=True)
class Leak:
    """What one split protocol lets across.

    Attributes:
        duplicate_groups_across: Groups of byte-identical images with rows in several splits.
        near_groups_across: The same for groups of near copies.
        groups_across: Videos or subjects with rows in several splits.
        held_out_rows: Rows of validation and test.
        held_out_duplicates: Those of them whose exact pixels are also in train.
        held_out_near: Those of them with a row of their near group in train.
        held_out_same_group: Those of them whose video or subject is also in train.
    """

    duplicate_groups_across: int
    near_groups_across: int
    groups_across: int
    held_out_rows: int
    held_out_duplicates: int
    held_out_near: int
    held_out_same_group: int


@dataclass(frozen=True)
class ClassBalance:
    """How a class is spread over videos or subjects.

    Attributes:
        rows: Rows of the class.
        groups: Videos or subjects with a row of it.
        largest_group_rows: Rows of it in the one that has most: a class that is one person is
            not learned.
    """

    rows: int
    groups: int
    largest_group_rows: int


@dataclass(frozen=True)
class Audit:
    """Copies of a set, its balance, and the leaks of its protocols.

    Attributes:
        duplicate_groups: Groups of two or more byte-identical images.
        duplicate_rows: Rows in those groups.
        label_conflicts: Those groups whose rows do not all have one label.
        near_threshold: Most bits in which the hashes of near copies differ.
        near_groups: Groups of two or more near copies, exact ones included.
        near_rows: Rows in those groups.
        near_label_conflicts: Those groups whose rows do not all have one label.
        near_groups_across_groups: Those groups with rows of several videos or subjects.
        groups: Videos or subjects, each image without one counted alone.
        classes: How each class is spread over them.
        leaks: What each protocol lets across.
    """

    duplicate_groups: int
    duplicate_rows: int
    label_conflicts: int
    near_threshold: int
    near_groups: int
    near_rows: int
    near_label_conflicts: int
    near_groups_across_groups: int
    groups: int
    classes: Mapping[str, ClassBalance]
    leaks: Mapping[str, Leak]


def find_copies(
    digests: npt.NDArray[np.bytes_], hashes: Hashes, threshold: int = THRESHOLD
) -> Copies:
    """Finds exact and near copies.

    Args:
        digests: A digest of each row's pixels, shape (N,).
        hashes: `perceptual_hash.perceptual_hashes` of each row, shape (N,).
        threshold: Most bits in which near hashes differ.
    """
    exact = np.unique(digests, return_inverse=True)[1]
    # Images without texture are near to none by their hash, but exact copies all the same.
    near = _united(exact, near_groups(hashes, threshold))
    return Copies(exact=exact, near=near, threshold=threshold)


def units(groups: Names, ids: Ids) -> Names:
    """Joins videos or subjects that share copies, so that a split that keeps them whole has none.

    Args:
        groups: Video or subject of each row, shape (N,).
        ids: Ids of copies, exact or near, shape (N,).

    Returns:
        The name of each row's unit, shape (N,): the first, in alphabetical order, of the groups
        joined in it. It does not depend on the order of rows.
    """
    names, group_ids = np.unique(groups, return_inverse=True)
    unit_of_row = _united(group_ids, ids)
    first_name = np.full(int(unit_of_row.max(initial=-1)) + 1, len(names))
    np.minimum.at(first_name, unit_of_row, group_ids)
    return names[first_name[unit_of_row]]


def audit(
    copies: Copies,
    labels: npt.NDArray[np.integer],
    groups: Names,
    splits: Mapping[str, SplitIndices],
    classes: Sequence[str],
) -> Audit:
    """Audits the rows of a set.

    Args:
        copies: Which rows are copies of each other.
        labels: Class index of each row, shape (N,).
        groups: Video or subject of each row, shape (N,).
        splits: For each protocol the split index of each row, shape (N,).
        classes: Class names in the order of their index.
    """
    group_ids = np.unique(groups, return_inverse=True)[1]
    exact_sizes, near_sizes = np.bincount(copies.exact), np.bincount(copies.near)
    return Audit(
        duplicate_groups=int((exact_sizes >= 2).sum()),
        duplicate_rows=int(exact_sizes[exact_sizes >= 2].sum()),
        label_conflicts=_num_varying(copies.exact, labels),
        near_threshold=copies.threshold,
        near_groups=int((near_sizes >= 2).sum()),
        near_rows=int(near_sizes[near_sizes >= 2].sum()),
        near_label_conflicts=_num_varying(copies.near, labels),
        near_groups_across_groups=_num_varying(copies.near, group_ids),
        groups=int(group_ids.max(initial=-1)) + 1,
        classes=_balance(group_ids, labels, classes),
        leaks={name: _leak(copies, group_ids, split) for name, split in splits.items()},
    )


def _balance(
    group_ids: Ids, labels: npt.NDArray[np.integer], classes: Sequence[str]
) -> dict[str, ClassBalance]:
    """Counts the groups of each class, and its rows in the largest of them."""
    cells, rows = np.unique(group_ids * len(classes) + labels, return_counts=True)
    rows_by_class = [rows[cells % len(classes) == index] for index in range(len(classes))]
    return {
        name: ClassBalance(
            rows=int(of_class.sum()),
            groups=len(of_class),
            largest_group_rows=int(of_class.max(initial=0)),
        )
        for name, of_class in zip(classes, rows_by_class, strict=True)
    }


def _leak(copies: Copies, group_ids: Ids, split: SplitIndices) -> Leak:
    held_out = split != 0
    return Leak(
        duplicate_groups_across=_num_varying(copies.exact, split),
        near_groups_across=_num_varying(copies.near, split),
        groups_across=_num_varying(group_ids, split),
        held_out_rows=int(held_out.sum()),
        held_out_duplicates=_num_also_in_train(copies.exact, held_out),
        held_out_near=_num_also_in_train(copies.near, held_out),
        held_out_same_group=_num_also_in_train(group_ids, held_out),
    )


def _num_varying(ids: Ids, values: npt.NDArray[np.integer]) -> int:
    """Counts the ids that occur with two or more different values."""
    return int(varies(ids, values).sum())


def _num_also_in_train(ids: Ids, held_out: npt.NDArray[np.bool_]) -> int:
    """Counts the held-out rows whose id occurs in train as well."""
    in_train = np.zeros(int(ids.max(initial=-1)) + 1, dtype=np.bool_)
    in_train[ids[~held_out]] = True
    return int((in_train[ids] & held_out).sum())


def _united(one: Ids, other: Ids) -> Ids:
    """Joins two ways of grouping rows: rows with one id in either have one id, shape (N,)."""
    num_ones = int(one.max(initial=-1)) + 1
    num_nodes = num_ones + int(other.max(initial=-1)) + 1
    return connected(one, num_ones + other, num_nodes)[one]
