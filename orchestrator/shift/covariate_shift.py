"""Do production images look different to the model at all? Two tests on its features. PURE.

- Classifier two-sample test: can a linear classifier tell the sets apart on videos it has not
  seen? Lopez-Paz & Oquab, ICLR 2017.
- Maximum mean discrepancy with a Gaussian kernel of the median width. Gretton et al., JMLR 13,
  2012.

p-values come from permuting whole groups (videos) between the sets; each video counts once. Rows
of a video are near copies: permuting rows would call every two sets different. The p-value is
exact if both sets drew their videos from the same source. Where a video is in both sets, the
tests err on the side of not rejecting.

Both tests also see a shift of the priors. Only together with `label_shift_test` do they tell what
kind of shift it is. They work on at most `MAX_ROWS` rows of each set, taken evenly from its
videos: they cost O(rows squared).

The classifier is ridge regression on the sign of the set (Fisher's discriminant), because its
held-out scores are linear in the signs: hundreds of honest refits, one for each permutation, are
then one matrix product. Logistic regression would have to be fitted thousands of times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist, pdist
from scipy.stats import rankdata
from sklearn.decomposition import PCA

from orchestrator.shift.groups import group_sums, p_value, pick_evenly
from orchestrator.shift.outputs import Floats, Ints, Names

NUM_PERMUTATIONS = 499
MAX_ROWS = 1500
NUM_COMPONENTS = 64
"""Wider features are reduced to this many principal components, fitted on both sets together."""
NUM_FOLDS = 5
RIDGE = 0.1
"""Added to the variance of features that were scaled to 1: videos are few."""
ROWS_AT_ONCE = 500
"""Of the kernel matrix, which is never whole in memory."""


@dataclass(frozen=True)
class TwoSampleTest:
    """Whether two sets of images differ.

    Args:
        statistic: What was compared with its permutations.
        p_value: Small: they differ.
        num_rows: Rows looked at, of both sets together.
        num_groups: Videos among them.
    """

    statistic: float
    p_value: float
    num_rows: int
    num_groups: int


@dataclass(frozen=True)
class TwoSamples:
    """Rows of both sets, evenly from their groups, and how groups are dealt to the sets.

    Args:
        vectors_NF: Scaled to mean 0 and variance 1 over both sets.
        group_N: Number of each row's group; a group in both sets is one in each.
        in_production_BG: 1 for groups dealt to production: first as observed, then permuted.
    """

    vectors_NF: Floats
    group_N: Ints
    in_production_BG: Floats


def two_samples(
    reference_NF: Floats,
    reference_groups_N: Names,
    production_MF: Floats,
    production_groups_M: Names,
    *,
    seed: int,
    num_permutations: int = NUM_PERMUTATIONS,
    max_rows: int = MAX_ROWS,
) -> TwoSamples:
    """Prepares two sets for both tests.

    Args:
        reference_NF: Features (or output vectors) of the validation set.
        reference_groups_N: Its videos.
        production_MF: The same of the production set.
        production_groups_M: Its videos.
        seed: Of picking rows and permuting.
        num_permutations: The smallest p-value is one over this plus one.
        max_rows: Rows of each set that are looked at.
    """
    generator = np.random.default_rng(seed)
    groups_N, groups_M = np.asarray(reference_groups_N), np.asarray(production_groups_M)
    rows = pick_evenly(groups_N, groups_M, max_rows, generator)
    others = pick_evenly(groups_M, groups_N, max_rows, generator)
    _, group_N = np.unique(groups_N[rows], return_inverse=True)
    _, group_M = np.unique(groups_M[others], return_inverse=True)
    num_first, num_groups = group_N.max() + 1, group_N.max() + group_M.max() + 2
    observed_G = (np.arange(num_groups) >= num_first).astype(np.float64)
    dealt = generator.permuted(np.tile(observed_G, (num_permutations, 1)), axis=1)
    vectors = np.concatenate([reference_NF[rows], production_MF[others]]).astype(np.float64)
    return TwoSamples(
        vectors_NF=_components(vectors, seed),
        group_N=np.concatenate([group_N, group_M + num_first]),
        in_production_BG=np.vstack([observed_G, dealt]),
    )


def classifier_test(samples: TwoSamples, *, seed: int) -> TwoSampleTest:
    """Classifier two-sample test, cross-validated over groups.

    Returns:
        The statistic is the area under the ROC curve over videos of their mean held-out score:
        0.5 if nothing tells the sets apart, 1 if every video is told.
    """
    num_groups = samples.in_production_BG.shape[1]
    # Folds know nothing of the sets, so that they are as good for any permutation.
    fold_G = np.random.default_rng(seed).permutation(num_groups) % NUM_FOLDS
    sizes_G = np.bincount(samples.group_N, minlength=num_groups)
    scores_GB = np.zeros((num_groups, len(samples.in_production_BG)))
    for fold in range(min(NUM_FOLDS, num_groups)):
        held_N = fold_G[samples.group_N] == fold
        scores_NB = _held_out_scores(samples, held_N, sizes_G)
        scores_GB += group_sums(scores_NB, samples.group_N[held_N], num_groups)
    areas_B = _area_under_curve(scores_GB / sizes_G[:, None], samples.in_production_BG.T)
    return _result(areas_B, samples)


def mmd_test(samples: TwoSamples) -> TwoSampleTest:
    """Maximum mean discrepancy between the sets' videos.

    Returns:
        The statistic is the unbiased estimate of MMD squared, each video a distribution of its
        own: near 0, and below it half of the time, if the sets do not differ.
    """
    kernel_GG = _group_kernel(samples.vectors_NF, samples.group_N)
    np.fill_diagonal(kernel_GG, 0.0)
    second_BG = samples.in_production_BG
    first_BG = 1 - second_BG
    near_first_BG, near_second_BG = first_BG @ kernel_GG, second_BG @ kernel_GG
    num_first, num_second = first_BG[0].sum(), second_BG[0].sum()
    within = (near_first_BG * first_BG).sum(axis=1) / max(num_first * (num_first - 1), 1)
    within += (near_second_BG * second_BG).sum(axis=1) / max(num_second * (num_second - 1), 1)
    across = (near_first_BG * second_BG).sum(axis=1) / (num_first * num_second)
    return _result(within - 2 * across, samples)


def _components(vectors_NF: Floats, seed: int) -> Floats:
    """Features scaled to variance 1, or so many principal components of them."""
    deviation_F = vectors_NF.std(axis=0)
    scaled = (vectors_NF - vectors_NF.mean(axis=0)) / np.where(deviation_F > 0, deviation_F, 1)
    if scaled.shape[1] <= NUM_COMPONENTS:
        return np.asarray(scaled)
    num_components = min(NUM_COMPONENTS, len(scaled))
    reduced = PCA(num_components, svd_solver="randomized", random_state=seed).fit_transform(scaled)
    return np.asarray(reduced / reduced.std(), dtype=np.float64)


def _held_out_scores(samples: TwoSamples, held_N: npt.NDArray[np.bool_], sizes_G: Ints) -> Floats:
    """Scores of the held-out rows by classifiers fitted on the others, one column a dealing."""
    trained_N = ~held_N
    group_N, weight_N = samples.group_N[trained_N], 1 / sizes_G[samples.group_N[trained_N]]
    vectors_NF = samples.vectors_NF[trained_N]
    mean_F = weight_N @ vectors_NF / weight_N.sum()
    centred_NF = vectors_NF - mean_F
    weighted_NF = centred_NF * weight_N[:, None]
    covariance_FF = weighted_NF.T @ centred_NF / weight_N.sum()
    covariance_FF += RIDGE * np.eye(len(covariance_FF))
    # The weighted rows sum to 0, so that the signs need no centring.
    moments_GF = group_sums(weighted_NF, group_N, len(sizes_G))
    weights_FB = np.linalg.solve(covariance_FF, moments_GF.T @ samples.in_production_BG.T)
    return np.asarray((samples.vectors_NF[held_N] - mean_F) @ weights_FB)


def _area_under_curve(scores_GB: Floats, positive_GB: Floats) -> Floats:
    """Chance that a positive scores above a negative, ties counted half, for each column."""
    num_positive = positive_GB.sum(axis=0)
    num_negative = len(positive_GB) - num_positive
    rank_sum = (rankdata(scores_GB, axis=0) * positive_GB).sum(axis=0)
    above = rank_sum - num_positive * (num_positive + 1) / 2
    return np.asarray(above / (num_positive * num_negative))


def _group_kernel(vectors_NF: Floats, group_N: Ints) -> Floats:
    """Mean kernel value between the rows of any two groups, shape (G, G)."""
    some = np.linspace(0, len(vectors_NF) - 1, min(len(vectors_NF), ROWS_AT_ONCE)).astype(int)
    distances = pdist(vectors_NF[some], "sqeuclidean")
    # exp(-d^2 / (2 width^2)) with the median distance as width.
    square = float(np.median(distances[distances > 0])) if np.any(distances > 0) else 1.0
    num_groups = int(group_N.max()) + 1
    sums_GG = np.zeros((num_groups, num_groups))
    for start in range(0, len(vectors_NF), ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        kernel = np.exp(cdist(vectors_NF, vectors_NF[block], "sqeuclidean") / (-2 * square))
        by_row = group_sums(kernel, group_N, num_groups)
        sums_GG += group_sums(by_row.T, group_N[block], num_groups)
    sizes_G = np.bincount(group_N)
    return sums_GG / np.outer(sizes_G, sizes_G)


def _result(statistics_B: Floats, samples: TwoSamples) -> TwoSampleTest:
    return TwoSampleTest(
        statistic=float(statistics_B[0]),
        p_value=p_value(float(statistics_B[0]), statistics_B[1:]),
        num_rows=len(samples.group_N),
        num_groups=samples.in_production_BG.shape[1],
    )
