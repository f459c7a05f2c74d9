"""Penultimate features made small enough to keep: a random projection, the same in each process.

WORKER. `main` has 4,096 features a row: of a million rows 16 GB. A Gaussian projection keeps
distances and inner products between rows to about 1 / sqrt(width) (Johnson & Lindenstrauss 1984),
and is linear: a shift of the features is a shift of what is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch


@dataclass(frozen=True)
class Projection:
    """How features are reduced.

    Attributes:
        width: numbers kept a row; narrower features are kept as they are.
        seed: of the matrix.
    """

    width: int
    seed: int

    def of(self, features_BF: torch.Tensor) -> npt.NDArray[np.float32]:
        """What is kept of a batch: float32 of shape (B, min(F, width))."""
        flat_BF = features_BF.detach().float().flatten(1)
        if flat_BF.shape[1] > self.width:
            matrix_FD = torch.from_numpy(_matrix(self.seed, flat_BF.shape[1], self.width))
            flat_BF = flat_BF @ matrix_FD.to(flat_BF.device)
        kept: npt.NDArray[np.float32] = flat_BF.cpu().numpy()
        return kept


@lru_cache(maxsize=2)
def _matrix(seed: int, num_features: int, width: int) -> npt.NDArray[np.float32]:
    drawn = np.random.default_rng(seed).standard_normal((num_features, width), dtype=np.float32)
    return drawn / np.float32(np.sqrt(width))
