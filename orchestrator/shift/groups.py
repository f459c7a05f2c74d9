"""Rows come in groups (videos): number them, sum over them, resample them, pick from them. PURE.

Frames of one video are near copies of each other. All uncertainty in the shift analysis is
therefore that of drawing other videos, never other frames.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from orchestrator.shift.outputs import Floats, Ints, Names

MAX_GROUPS = 1000
"""More are dealt out to this many blocks: each block is still independent of the others, and a
thousand of them tell the spread as well as fifty thousand, at a bounded cost."""


def number_groups(
    groups_N: Names, generator: np.random.Generator, limit: int = MAX_GROUPS
) -> tuple[Ints, int]:
    """The number of each row's group, and how many there are; more than `limit` become blocks."""
    names, index = np.unique(groups_N, return_inverse=True)
    if len(names) <= limit:
        return index.astype(np.int64), len(names)
    return (generator.permutation(len(names)) % limit)[index], limit


def group_sums(values_ND: Floats, group_N: Ints, num_groups: int) -> Floats:
    """Sums over the rows of each group: (N, D) to (G, D)."""
    ones = np.ones(len(group_N))
    member_GN = sparse.csr_array(
        (ones, (group_N, np.arange(len(group_N)))), shape=(num_groups, len(group_N))
    )
    return np.asarray(member_GN @ values_ND, dtype=np.float64)


def group_class_sums(
    values_ND: Floats, group_N: Ints, num_groups: int, labels_N: Ints, num_classes: int
) -> tuple[Floats, Floats]:
    """Sums over the rows of each class in each group.

    Returns:
        Sums of shape (G, K, D) and numbers of rows of shape (G, K).
    """
    cell_N, num_cells = group_N * num_classes + labels_N, num_groups * num_classes
    sums = group_sums(values_ND, cell_N, num_cells)
    counts = np.bincount(cell_N, minlength=num_cells).astype(np.float64)
    return sums.reshape(num_groups, num_classes, -1), counts.reshape(num_groups, num_classes)


def bootstrap_weights(
    num_resamples: int, num_groups: int, generator: np.random.Generator
) -> Floats:
    """Random weights of the groups, one row a resample, mean 1.

    Exponential weights (the Bayesian bootstrap; Rubin, Annals of Statistics 9(1), 1981) and not
    counts of draws: a class that only two videos hold never vanishes from a resample.
    """
    return generator.exponential(size=(num_resamples, num_groups))


def means_and_pulls(sums_GXD: Floats, counts_GX: npt.NDArray[np.generic]) -> tuple[Floats, Floats]:
    """Means over all rows, and how far each group pulls them.

    The pull of a group with share h of the rows is h (its mean - the mean) / sqrt(1 - h). The sum
    of their squares is the cluster-robust variance known as CR2: not too small where groups are
    few or one of them is large, as the plain one is.
    Source: Bell & McCaffrey, Survey Methodology 28(2), 2002.

    Args:
        sums_GXD: Sums of each group, shape (G, ..., D).
        counts_GX: Numbers of rows, shape (G, ...).

    Returns:
        Means of shape (..., D), pulls of shape (G, ..., D); 0 for a group that is alone.
    """
    counts = np.asarray(counts_GX, dtype=np.float64)
    total = np.maximum(counts.sum(axis=0), 1)
    means = sums_GXD.sum(axis=0) / total[..., None]
    plain = (sums_GXD - counts[..., None] * means) / total[..., None]
    rest = (1 - counts / total)[..., None]
    return means, np.divide(plain, np.sqrt(rest), out=np.zeros_like(plain), where=rest > 0)


def random_signs(num_resamples: int, num_groups: int, generator: np.random.Generator) -> Floats:
    """+1 or -1 for each group: times its pull, the wild bootstrap of clustered data.

    Source: Cameron, Gelbach & Miller, Review of Economics and Statistics 90(3), 2008.
    """
    return generator.choice(np.array([-1.0, 1.0]), size=(num_resamples, num_groups))


def p_value(observed: float, resampled_B: Floats) -> float:
    """Share of resamples at least as large as what was observed, the observed one counted in.

    Never 0. Source: Phipson & Smyth, Statistical Applications in Genetics 9(1), 2010.
    """
    slack = 1e-9 * abs(observed)  # sums in another order: equal must count as equal
    return float((1 + np.sum(resampled_B >= observed - slack)) / (1 + len(resampled_B)))


def pick_evenly(
    groups_N: Names, other_groups: Names, max_rows: int, generator: np.random.Generator
) -> Ints:
    """Rows of one set, at most as many of each group as half of the groups of both sets can give.

    So no long video outweighs the others, and the two sets of a comparison have groups of one
    size. Where even one row a group is too many, groups are drawn.

    Returns:
        At most `max_rows` row numbers, ascending.
    """
    sizes = np.unique(groups_N, return_counts=True)[1]
    others = np.unique(other_groups, return_counts=True)[1]
    cap = int(min(np.median(sizes), np.median(others)))
    while cap > 1 and np.minimum(sizes, cap).sum() > max_rows:
        cap -= 1
    shuffled = generator.permutation(len(groups_N))
    _, index = np.unique(np.asarray(groups_N)[shuffled], return_inverse=True)
    order = np.argsort(index, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    place = np.arange(len(order)) - starts[index[order]]
    picked = shuffled[order[place < cap]]
    if len(picked) > max_rows:
        picked = generator.choice(picked, size=max_rows, replace=False)
    return np.sort(picked)
