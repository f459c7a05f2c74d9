"""Which row goes into train, validation and test: two protocols, both functions of a seed.

`random_split` parts single rows, as the study did: near-identical frames of one video then lie
on both sides, and scores come out too good. `group_split` keeps every video or subject whole,
and the classes as evenly shared as whole groups allow. Neither depends on the order of rows.

PURE: numpy only, no global random state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SPLITS = ("train", "validation", "test")

Fractions = tuple[float, float, float]
SplitIndices = npt.NDArray[np.int8]


def random_split(sources: Sequence[str], sizes: Sequence[int], seed: int) -> SplitIndices:
    """Parts single rows at random into splits of exactly the given sizes.

    Args:
        sources: One name a row, unique within the set; it decides the row's place.
        sizes: Rows of train, validation and test; they add up to the number of rows.
        seed: Another seed gives another split.

    Returns:
        For each row an index into `SPLITS`, shape (N,).

    Raises:
        ValueError: The sizes do not add up to the number of rows.
    """
    if sum(sizes) != len(sources) or min(sizes) < 0:
        raise ValueError(
            f"sizes: must add up to the number of rows, {len(sources)}; got {tuple(sizes)}."
        )
    ranked = np.argsort([_draw(seed, source) for source in sources], kind="stable")
    splits = np.empty(len(sources), dtype=np.int8)
    splits[ranked] = np.repeat(np.arange(len(SPLITS), dtype=np.int8), sizes)
    return splits


def split_sizes(num_rows: int, fractions: Fractions) -> tuple[int, int, int]:
    """Turns shares into whole rows that add up: largest remainders are rounded up.

    The study's 43,435 rows at 60-20-20 become 26,061, 8,687 and 8,687 (its own text has 8,670
    for validation and 8,704 for test: not exact fifths).
    """
    exact = [num_rows * fraction for fraction in fractions]
    sizes = [int(value + 1e-9) for value in exact]  # 0.6 * 5 is 2.9999999999999996 in floats
    by_remainder = sorted(range(len(SPLITS)), key=lambda index: sizes[index] - exact[index])
    for index in by_remainder[: num_rows - sum(sizes)]:
        sizes[index] += 1
    return sizes[0], sizes[1], sizes[2]


def group_split(
    labels: npt.NDArray[np.integer],
    groups: Sequence[str],
    fractions: Fractions,
    seed: int,
) -> SplitIndices:
    """Parts whole groups into splits, with the classes shared out as evenly as that allows.

    Greedy, largest group first: each goes where the squared deviation from the wanted class
    counts (relative to those counts) grows least. Cost: number of groups x number of classes.

    Args:
        labels: Class index of each row, shape (N,).
        groups: Video or subject of each row.
        fractions: Wanted shares of train, validation and test.
        seed: Decides between groups of one size.

    Returns:
        For each row an index into `SPLITS`, shape (N,). With fewer groups than splits some
        split is empty.
    """
    if len(labels) == 0:
        return np.empty(0, dtype=np.int8)
    names, group_of_row = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    counts = _class_counts(labels, group_of_row, len(names))
    order = sorted(
        range(len(names)),
        key=lambda group: (-int(counts[group].sum()), _draw(seed, str(names[group]))),
    )
    split_of_group = _assign(counts, order, np.asarray(fractions, dtype=np.float64))
    return split_of_group[group_of_row]


def _class_counts(
    labels: npt.NDArray[np.integer], group_of_row: npt.NDArray[np.intp], num_groups: int
) -> npt.NDArray[np.float64]:
    """Counts the rows of each class in each group, shape (groups, classes)."""
    num_classes = int(labels.max()) + 1
    cells = group_of_row * num_classes + labels
    counts = np.bincount(cells, minlength=num_groups * num_classes)
    return counts.reshape(num_groups, num_classes).astype(np.float64)


def _assign(
    counts: npt.NDArray[np.float64], order: Sequence[int], fractions: npt.NDArray[np.float64]
) -> SplitIndices:
    """Gives each group, in order, the split whose class counts it disturbs least."""
    wanted = fractions[:, None] * counts.sum(axis=0)[None, :]
    per_row = np.divide(1.0, wanted, out=np.zeros_like(wanted), where=wanted > 0)
    filled = np.zeros_like(wanted)
    split_of_group = np.empty(len(counts), dtype=np.int8)
    for position, group in enumerate(order):
        # The growth of sum((filled - wanted)^2 / wanted), less what is the same for all splits.
        growth = ((2 * filled + counts[group]) * counts[group] * per_row).sum(axis=1)
        growth[fractions <= 0] = np.inf
        empty = (filled.sum(axis=1) == 0) & (fractions > 0)
        if len(order) - position <= empty.sum():  # the last groups must not leave a split empty
            growth[~empty] = np.inf
        chosen = int(growth.argmin())
        filled[chosen] += counts[group]
        split_of_group[group] = chosen
    return split_of_group


def _draw(seed: int, name: str) -> int:
    """A number that looks random, is the same everywhere, and depends on seed and name only."""
    text = f"{seed}:{name}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest())
