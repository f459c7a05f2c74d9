"""What a model said of a set of images: the input of the whole shift analysis. PURE.

A set is four arrays, a row an image. Labels are there for the validation set and sometimes for
production; features are what the classifier's last layer was fed with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.config.errors import DatasetError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Names = npt.NDArray[np.generic]

ROUNDING = 1e-3
"""Rows of bf16 probabilities sum to 1 only to that."""
LOWEST_PROBABILITY = 1e-30
"""Softmax in float32 gives zeros, and their logarithm would be infinite."""
LOWEST_COMPARED = 1e-3
"""Where outputs are compared, all that is less likely than this is alike: else the tails, which
decide nothing, make most of every distance."""


@dataclass(frozen=True)
class Outputs:
    """A model's outputs on one set of images.

    Args:
        probabilities: Softmax outputs, shape (N, K); normalised here to float64.
        features: Penultimate features, shape (N, F), or None.
        labels: True classes 0 to K-1, shape (N,), or None.
        groups: Video or subject of each row, shape (N,); rows without groups are their own.

    Raises:
        DatasetError: arrays that do not belong together, or hold what is no probability.
    """

    probabilities: Floats
    features: Floats | None
    labels: Ints | None
    groups: Names

    def __post_init__(self) -> None:
        num_rows = len(self.probabilities)
        _check_probabilities(np.asarray(self.probabilities))
        for name, values in (
            ("features", self.features),
            ("labels", self.labels),
            ("groups", self.groups),
        ):
            if values is not None and len(values) != num_rows:
                raise DatasetError(f"{name}: one row an image ({num_rows}); got {len(values)}.")
        if self.features is not None and not np.isfinite(self.features).all():
            raise DatasetError("features: finite numbers; got NaN or infinity. Evaluate again.")
        probabilities = np.asarray(self.probabilities, dtype=np.float64)
        sums = probabilities.sum(axis=1, keepdims=True)
        if np.any(np.abs(sums - 1) > 1e-12):  # once is enough: twice would move the last digit
            probabilities = probabilities / sums
        object.__setattr__(self, "probabilities", probabilities)
        if self.labels is not None:
            _check_labels(self.labels, self.num_classes)
            object.__setattr__(self, "labels", np.asarray(self.labels, dtype=np.int64))

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self.probabilities.shape[1])

    @property
    def predicted(self) -> Ints:
        """The model's decisions, shape (N,)."""
        return np.argmax(self.probabilities, axis=1)


def true_labels(outputs: Outputs, what: str) -> Ints:
    """The labels of a set that must have some of every class.

    Args:
        outputs: The set.
        what: Its name in the error.

    Raises:
        DatasetError: it has no labels, or none of some class.
    """
    if outputs.labels is None:
        raise DatasetError(f"{what}.labels: needed here; got none. Give the labelled set.")
    counts = np.bincount(outputs.labels, minlength=outputs.num_classes)
    if not counts.all():
        raise DatasetError(
            f"{what}.labels: rows of every class; got none of class {int(np.argmin(counts))} "
            f"(counts {counts.tolist()}). Take a larger set."
        )
    return outputs.labels


def log_probabilities(probabilities_NK: Floats) -> Floats:
    """Logits up to a constant per row, finite also where the softmax gave 0."""
    return np.log(np.maximum(probabilities_NK, LOWEST_PROBABILITY))


def output_vectors(probabilities_NK: Floats) -> Floats:
    """Outputs as points to compare: log-probabilities from a floor up, centred per row."""
    logs = np.log(np.maximum(probabilities_NK, LOWEST_COMPARED))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True))


def _check_probabilities(values: npt.NDArray[Any]) -> None:
    if values.ndim != 2 or not values.size or values.shape[1] < 2:
        raise DatasetError(f"probabilities: shape (rows, classes >= 2); got {values.shape}.")
    sums = values.sum(axis=1, dtype=np.float64)
    # The comparisons are false for NaN as well.
    if not (np.all(values >= 0) and np.all(np.abs(sums - 1) <= ROUNDING)):
        raise DatasetError(
            "probabilities: rows from 0 up that sum to 1; got a smallest value of "
            f"{values.min()} and sums from {sums.min()} to {sums.max()}. Give softmax outputs."
        )


def _check_labels(labels_N: Ints, num_classes: int) -> None:
    if not np.isin(labels_N, np.arange(num_classes)).all():
        found = np.unique(labels_N)
        raise DatasetError(
            f"labels: whole numbers from 0 to {num_classes - 1}; got {found[:10].tolist()}."
        )
