"""Does another mix of classes alone explain the production set? PURE.

Under label shift production is a mixture of what the validation set looks like class by class:
q(v) = sum_y w_y p(v|y), for any vector v that a model computes from an image, be it its outputs or
its features. The test embeds v by random Fourier features and measures how far production is from
the nearest mixture of the classes: a maximum mean discrepancy with fitted weights (sum 1, of
either sign: that keeps the fit smooth).

Is it farther than chance? Chance is that of drawing other videos. A wild bootstrap makes worlds in
which label shift is all there is, with the priors that BBSE finds: class means and production
mean deviate as videos make them, the weights are fitted anew, the distance is measured. With few
videos in a class the test errs on the side of not rejecting.

Sources: Rahimi & Recht, NIPS 2007 (features); Iyer, Nath & Sarawagi, ICML 2014 (mixture weights
by mean matching); Cameron, Gelbach & Miller, Review of Economics and Statistics 90(3), 2008 (wild
bootstrap of clusters under the null hypothesis).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial.distance import pdist

from orchestrator.shift.groups import (
    group_class_sums,
    group_sums,
    means_and_pulls,
    number_groups,
    p_value,
    random_signs,
)
from orchestrator.shift.outputs import Floats, Outputs, output_vectors, true_labels
from orchestrator.shift.priors import bbse_point

Vectors = Literal["outputs", "features"]

NUM_RESAMPLES = 499
NUM_FREQUENCIES = 48
"""Each gives a cosine and a sine."""
ROWS_FOR_WIDTH = 400
"""Of each set: the kernel's width is the median distance among these, at O(rows squared)."""
ROWS_AT_ONCE = 4096
WHITENING = 0.03
"""Share of the largest variance that is added to all when features are put on one scale."""
SLACK = 1e-8
SMALLEST = 1e-100
"""Keep the fit solvable where two classes, or all, look alike; the distance does not notice."""


@dataclass(frozen=True)
class LabelShiftTest:
    """Whether label shift alone explains production.

    Args:
        of: What was compared.
        statistic: Squared distance of production to the nearest mixture of classes.
        p_value: Small: label shift alone does not explain it.
        classes_of_one_group: Classes that the reference has in one group only. Their spread over
            videos is unknown and taken to be that of the most spread class.
    """

    of: Vectors
    statistic: float
    p_value: float
    classes_of_one_group: tuple[int, ...]


def label_shift_test(
    reference: Outputs,
    production: Outputs,
    *,
    of: Vectors,
    seed: int,
    num_resamples: int = NUM_RESAMPLES,
) -> LabelShiftTest:
    """Tests whether production is a mixture of the reference's classes.

    Args:
        reference: Labelled validation set with rows of every class.
        production: The set to explain; labels are not looked at.
        of: Which vectors are compared; features see more, if both sets have them.
        seed: Of the embedding and the resampling.
        num_resamples: Of the bootstrap; the smallest p-value is one over this plus one.

    Raises:
        DatasetError: the reference lacks labels or a class.
        ValueError: features are asked for and missing.
    """
    generator = np.random.default_rng(seed)
    labels_N, num_classes = true_labels(reference, "reference"), reference.num_classes
    reference_ND, production_MD = _embed(
        _vectors(reference, of), _vectors(production, of), generator
    )
    numbered = number_groups(reference.groups, generator)
    sums_GKD, counts_GK = group_class_sums(reference_ND, *numbered, labels_N, num_classes)
    means_KD, pulls_GKD = means_and_pulls(sums_GKD, counts_GK)
    group_M, num_groups = number_groups(production.groups, generator)
    sums_HD = group_sums(production_MD, group_M, num_groups)
    mean_D, pulls_HD = means_and_pulls(sums_HD, np.bincount(group_M, minlength=num_groups))
    alone_K = (counts_GK > 0).sum(axis=0) < 2
    statistic = float(_distance_to_mixture(means_KD[None], mean_D[None])[0])
    drawn_BKD = means_KD + _perturbations(pulls_GKD, alone_K, num_resamples, generator)
    mixture_D = bbse_point(reference, production) @ means_KD
    drawn_BD = mixture_D + random_signs(num_resamples, num_groups, generator) @ pulls_HD
    # Without a second video of anything there is no chance to compare with.
    testable = num_groups > 1 and not alone_K.all()
    resampled_B = _distance_to_mixture(drawn_BKD, drawn_BD)
    return LabelShiftTest(
        of=of,
        statistic=statistic,
        p_value=p_value(statistic, resampled_B) if testable else 1.0,
        classes_of_one_group=tuple(np.flatnonzero(alone_K).tolist()),
    )


def _vectors(outputs: Outputs, of: Vectors) -> Floats:
    if of == "outputs":
        return output_vectors(outputs.probabilities)
    if outputs.features is None:
        raise ValueError("label_shift_test: of='features' needs features in both sets; got none.")
    return outputs.features


def _embed(
    reference_NF: Floats, production_MF: Floats, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Random Fourier features of the Gaussian kernel, whitened over both sets together."""
    some = [
        vectors[generator.permutation(len(vectors))[:ROWS_FOR_WIDTH]].astype(np.float64)
        for vectors in (reference_NF, production_MF)
    ]
    deviation_F = np.concatenate(some).std(axis=0)
    scale_F = np.divide(1, deviation_F, out=np.zeros_like(deviation_F), where=deviation_F > 0)
    distances = pdist(np.concatenate(some) * scale_F)
    width = float(np.median(distances[distances > 0])) if np.any(distances > 0) else 1.0
    shape = (len(scale_F), NUM_FREQUENCIES)
    frequencies_FD = generator.normal(size=shape) * scale_F[:, None] / width
    embedded = [_waves(vectors, frequencies_FD) for vectors in (reference_NF, production_MF)]
    # Each set counts half, whatever its size.
    second_DD = sum(one.T @ one / len(one) / 2 for one in embedded)
    mean_D = (embedded[0].mean(axis=0) + embedded[1].mean(axis=0)) / 2
    variances_D, axes_DD = np.linalg.eigh(second_DD - np.outer(mean_D, mean_D))
    scale_D = np.sqrt(np.maximum(variances_D, 0) + WHITENING * variances_D[-1] + SLACK)
    reference_ND, production_MD = ((one - mean_D) @ (axes_DD / scale_D) for one in embedded)
    return reference_ND, production_MD


def _waves(vectors_NF: Floats, frequencies_FD: Floats) -> Floats:
    """Cosines and sines, some rows at a time: wide float32 features are not copied whole."""
    starts = range(0, len(vectors_NF), ROWS_AT_ONCE)
    phases_ND = np.vstack([vectors_NF[at : at + ROWS_AT_ONCE] @ frequencies_FD for at in starts])
    return np.hstack([np.cos(phases_ND), np.sin(phases_ND)])


def _perturbations(
    pulls_GKD: Floats, alone_K: Floats, num_resamples: int, generator: np.random.Generator
) -> Floats:
    """Chance deviations of the class means, shape (B, K, D).

    A video with two classes pulls both with one sign. A class of a single video borrows, with
    signs of its own, the pulls of the class with the largest spread.
    """
    num_groups, num_classes, num_features = pulls_GKD.shape
    flat = pulls_GKD.reshape(num_groups, -1)
    signs_BG = random_signs(num_resamples, num_groups, generator)
    drawn_BKD = (signs_BG @ flat).reshape(num_resamples, num_classes, num_features)
    lender = int(np.square(pulls_GKD).sum(axis=(0, 2)).argmax())
    for borrower in np.flatnonzero(alone_K):
        signs_BG = random_signs(num_resamples, num_groups, generator)
        drawn_BKD[:, borrower] = signs_BG @ pulls_GKD[:, lender]
    return drawn_BKD


def _distance_to_mixture(means_BKD: Floats, mean_BD: Floats) -> Floats:
    """Squared distance to the plane through the class means, shape (B,).

    The vector there is sum_k w_k (means_k - mean) with weights of sum 1; those that make it
    shortest are proportional to the solution of (D D') w = 1 for D = means - mean.
    """
    apart_BKD = means_BKD - mean_BD[:, None, :]
    gram_BKK = apart_BKD @ np.swapaxes(apart_BKD, 1, 2)
    num_classes = gram_BKK.shape[1]
    slack_B = SLACK * np.trace(gram_BKK, axis1=1, axis2=2) + SMALLEST
    gram_BKK += slack_B[:, None, None] * np.eye(num_classes)
    weights_BK = np.linalg.solve(gram_BKK, np.ones((len(gram_BKK), num_classes, 1)))[..., 0]
    weights_BK /= weights_BK.sum(axis=1, keepdims=True)
    return np.asarray(np.square((weights_BK[:, None, :] @ apart_BKD)[:, 0]).sum(axis=1))
