"""Has the mix of classes changed? PURE.

With labels on both sides: do the class shares differ by more than chance? Without: do the mean
outputs differ? Under label shift one is as good as the other, if the confusion matrix can be
inverted. Chance is that of drawing other videos: whole groups are permuted between the sets.
"""

from __future__ import annotations

import numpy as np

from orchestrator.shift.groups import group_sums, number_groups, p_value
from orchestrator.shift.outputs import Floats, Outputs

NUM_PERMUTATIONS = 499


def prior_change_test(
    reference: Outputs,
    production: Outputs,
    *,
    by_labels: bool,
    seed: int,
    num_permutations: int = NUM_PERMUTATIONS,
) -> float:
    """p-value of no change of the mix of classes.

    Args:
        reference: Validation set.
        production: Production set.
        by_labels: Compare the true labels of both sets rather than the outputs.
        seed: Of the permutations.
        num_permutations: The smallest p-value is one over this plus one.
    """
    generator = np.random.default_rng(seed)
    sets = [_sums(one, by_labels, generator) for one in (reference, production)]
    sums_GK = np.concatenate([sums for sums, _ in sets])
    sizes_G = np.concatenate([sizes for _, sizes in sets])
    observed_G = np.repeat([0.0, 1.0], [len(sizes) for _, sizes in sets])
    dealt = generator.permuted(np.tile(observed_G, (num_permutations, 1)), axis=1)
    second_BG = np.vstack([observed_G, dealt])
    difference_BK = _means(second_BG, sums_GK, sizes_G) - _means(1 - second_BG, sums_GK, sizes_G)
    # The spread over all dealings, the observed one among them, treats all of them alike. It is
    # singular: differences sum to 0.
    spread_KK = difference_BK.T @ difference_BK / len(difference_BK)
    inverse_KK = np.linalg.pinv(spread_KK, rcond=1e-9, hermitian=True)
    distance_B = np.einsum("bk,kj,bj->b", difference_BK, inverse_KK, difference_BK)
    return p_value(float(distance_B[0]), distance_B[1:])


def _sums(
    outputs: Outputs, by_labels: bool, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Sums and sizes of the groups, in units of the set's mean group.

    So a set of which every tenth frame was kept has videos as heavy as those of the other.
    """
    values_NK = _one_hot(outputs) if by_labels else outputs.probabilities
    group_N, num_groups = number_groups(outputs.groups, generator)
    sizes_G = np.bincount(group_N, minlength=num_groups) * num_groups / len(group_N)
    return group_sums(values_NK, group_N, num_groups) * num_groups / len(group_N), sizes_G


def _one_hot(outputs: Outputs) -> Floats:
    if outputs.labels is None:
        raise ValueError("prior_change_test: by_labels needs labels in both sets; got none.")
    return np.asarray(np.eye(outputs.num_classes)[outputs.labels])


def _means(member_BG: Floats, sums_GK: Floats, sizes_G: Floats) -> Floats:
    return np.asarray(member_BG @ sums_GK / (member_BG @ sizes_G)[:, None])
