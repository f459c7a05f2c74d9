"""Production sets whose shift is known: drawn videos, and a classifier that errs as real ones do.

PURE. Six classes are Gaussian clouds in a feature space. A video has one class or goes over from
one to another, a look of its own (a random vector that all its frames share) and its own length,
so that its frames say nearly the same. The classifier is the exact posterior of the clouds, made
overconfident by a temperature: about three of four frames right, as on real faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator.shift.outputs import Floats, Ints, Outputs

NUM_CLASSES: Final = 6
NUM_FEATURES: Final = 16
DISTANCE: Final = 2.0
"""Of a class centre from the origin, in standard deviations of its cloud."""
TEMPERATURE: Final = 0.6
LENGTH_SPREAD: Final = 0.7
"""Of the logarithm of a video's number of frames."""

EVEN: Final = np.full(NUM_CLASSES, 1 / NUM_CLASSES)
REFERENCE: Final = np.array([0.25, 0.08, 0.12, 0.2, 0.2, 0.15])
PRODUCTION: Final = np.array([0.13, 0.05, 0.05, 0.03, 0.46, 0.28])
"""About the shares of the study's production set."""


@dataclass(frozen=True)
class Videos:
    """What kind of videos to draw.

    Args:
        number: Videos.
        rows: Mean number of frames of a video.
        likeness: Share of the variance that the frames of a video have in common.
        mixed: Share of videos that show two classes.
    """

    number: int
    rows: int = 1
    likeness: float = 0.6
    mixed: float = 0.5


@dataclass(frozen=True)
class Change:
    """What happens to the features of every image: they move and shrink (dark, blurred faces)."""

    moved: float = 0.0
    shrunk: float = 1.0


AS_BEFORE: Final = Change()


def draw(
    generator: np.random.Generator, videos: Videos, priors_K: Floats, change: Change = AS_BEFORE
) -> Outputs:
    """A labelled set with features."""
    lengths = np.ones(videos.number, dtype=np.int64)
    if videos.rows > 1:
        spread = generator.lognormal(-(LENGTH_SPREAD**2) / 2, LENGTH_SPREAD, videos.number)
        lengths = np.maximum(2, (videos.rows * spread).astype(np.int64))
    group_N = np.repeat(np.arange(videos.number), lengths)
    labels_N = _labels(generator, videos, priors_K, group_N)
    centres_KF = _centres()
    look_GF = generator.normal(size=(videos.number, NUM_FEATURES))
    noise_NF = generator.normal(size=(len(group_N), NUM_FEATURES))
    shared, own = np.sqrt(videos.likeness), np.sqrt(1 - videos.likeness)
    features_NF = centres_KF[labels_N] + shared * look_GF[group_N] + own * noise_NF
    features_NF = change.shrunk * features_NF + change.moved
    return Outputs(_posteriors(features_NF, centres_KF), features_NF, labels_N, group_N)


def _labels(
    generator: np.random.Generator, videos: Videos, priors_K: Floats, group_N: Ints
) -> Ints:
    first, second = generator.choice(NUM_CLASSES, size=(2, videos.number), p=priors_K)
    second = np.where(generator.random(videos.number) < videos.mixed, second, first)
    share_G = generator.random(videos.number)
    of_first = generator.random(len(group_N)) < share_G[group_N]
    labels_N: Ints = np.where(of_first, first[group_N], second[group_N])
    return labels_N


def _centres() -> Floats:
    directions = np.random.default_rng(0).normal(size=(NUM_CLASSES, NUM_FEATURES))
    return np.asarray(DISTANCE * directions / np.linalg.norm(directions, axis=1, keepdims=True))


def _posteriors(features_NF: Floats, centres_KF: Floats) -> Floats:
    logits = features_NF @ centres_KF.T - (centres_KF**2).sum(axis=1) / 2
    scaled = logits / TEMPERATURE
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
