"""Posteriors for another mix of classes: the remedy for label shift, where that is all. PURE.

Bayes' rule: under label shift p(x|y) stays, so p(y|x) is multiplied by new over old prior and
normalised. The old priors are those that the posteriors are calibrated for.

Source: Saerens, Latinne & Decaestecker, Neural Computation 14(1), 2002, equation 2.4.
"""

from __future__ import annotations

import numpy as np

from orchestrator.config.errors import ConfigError
from orchestrator.shift.outputs import Floats

ROUNDING = 1e-6


def correct_priors(posteriors_NK: Floats, old_priors_K: Floats, new_priors_K: Floats) -> Floats:
    """Posteriors under the new priors.

    Args:
        posteriors_NK: Calibrated p(y|x) under the old priors, shape (N, K).
        old_priors_K: Positive, sum 1.
        new_priors_K: From 0 up, sum 1; a class at 0 gets posterior 0.

    Returns:
        Shape (N, K), rows sum to 1; a row with no class left keeps the new priors.

    Raises:
        ConfigError: priors that are none.
    """
    old, new = np.asarray(old_priors_K, np.float64), np.asarray(new_priors_K, np.float64)
    _check(old, posteriors_NK.shape[1], "old_priors")
    _check(new, posteriors_NK.shape[1], "new_priors")
    if not np.all(old > 0):
        raise ConfigError(f"old_priors: each above 0; got {old.tolist()}.")
    weighted = posteriors_NK * (new / old)
    total = weighted.sum(axis=1, keepdims=True)
    return np.where(total > 0, weighted / np.where(total > 0, total, 1), new)


def _check(priors_K: Floats, num_classes: int, name: str) -> None:
    if priors_K.shape != (num_classes,):
        raise ConfigError(f"{name}: one a class ({num_classes}); got shape {priors_K.shape}.")
    # The comparisons are false for NaN as well.
    if not (np.all(priors_K >= 0) and abs(priors_K.sum() - 1) <= ROUNDING):
        raise ConfigError(f"{name}: from 0 up, sum 1; got {priors_K.tolist()}.")
