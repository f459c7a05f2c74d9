"""The loss that is trained: cross-entropy, with smoothed targets and weighted classes if asked.

WORKER. Over a global batch it is what torch's `CrossEntropyLoss(weight, label_smoothing=...)` is
over these rows: the sum of the rows' losses over the sum of their weights. Each worker has the
former of its rows; the latter is of the whole batch, counted over all workers, so the loss is the
same for any number of them, the last partial batch included; rows that all weigh 0, for which
torch's is not defined, teach nothing. Validation knows none of this: its
loss is the plain cross-entropy, every row alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from orchestrator.ingest.order import batch_bounds, epoch_order
from orchestrator.ingest.shard import Shard
from orchestrator.training.exchange import sum_over_workers

BETA = 0.999
"""Of the effective number of rows; Cui et al. tried 0.9 to 0.9999."""

Weights = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Loss:
    """What a row's loss is.

    Attributes:
        label_smoothing: share of each target that is spread over all classes.
        class_weights_K: weight of a row by its class, float32 on the device; None = all alike.
    """

    label_smoothing: float = 0.0
    class_weights_K: torch.Tensor | None = None

    def sum_of_rows(self, logits_BK: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        """The rows' losses in nats, weighted, added up."""
        return functional.cross_entropy(
            logits_BK,
            labels_B,
            weight=self.class_weights_K,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )

    def weight_sums(
        self, shard: Shard, *, batch_size: int, seed: int, epoch: int
    ) -> tuple[float, ...]:
        """The sum of the rows' weights in each global batch of an epoch, over all workers.

        Where all rows weigh 1 these are the sizes of the batches, and nothing is exchanged. Else
        rows are counted by class: whole numbers, whose sum knows no order of workers.
        """
        if self.class_weights_K is None:
            starts = range(0, shard.num_rows, batch_size)
            return tuple(float(min(batch_size, shard.num_rows - start)) for start in starts)
        order, positions = epoch_order(shard.row_ids, shard.ranks, seed=seed, epoch=epoch)
        bounds = batch_bounds(positions, shard.num_rows, batch_size)
        weights_K = self.class_weights_K.double().cpu().numpy()
        labels = shard.labels.cpu().numpy()[order]
        counts_SK = [
            np.bincount(labels[start:stop], minlength=len(weights_K))
            for start, stop in itertools.pairwise(bounds)
        ]
        summed = sum_over_workers(torch.from_numpy(np.stack(counts_SK)).to(shard.labels.device))
        return tuple((summed.cpu().numpy() @ weights_K).tolist())


def class_counts(shard: Shard, num_classes: int) -> Counts:
    """Rows of each class in a split, over all workers."""
    counts = torch.bincount(shard.labels, minlength=num_classes)
    return sum_over_workers(counts).cpu().numpy()


def class_weights(kind: str, counts_K: Counts) -> Weights:
    """The weight of a row by its class, scaled so that the mean over all rows is 1.

    With n rows of a class: `balanced` is 1 / n; `effective` is 1 / E with E = (1 - b^n) / (1 - b)
    and b = 0.999 (Cui, Jia, Lin, Song, Belongie: "Class-Balanced Loss Based on Effective Number
    of Samples", CVPR 2019, equation 2). Either is then multiplied by N / sum of n w over classes,
    N being all rows. A class without rows has weight 0: nothing is known of it.

    Args:
        kind: `balanced` or `effective`.
        counts_K: rows of each class in the split that is trained on.

    Returns:
        Shape (K,).
    """
    rows = np.asarray(counts_K, dtype=np.float64)
    size = rows if kind == "balanced" else (1 - BETA**rows) / (1 - BETA)
    weights = np.divide(1.0, size, out=np.zeros_like(rows), where=rows > 0)
    return weights * rows.sum() / (rows * weights).sum()


def importance_weights(target_shares: Sequence[float], counts_K: Counts) -> Weights:
    """The weight of a row by its class, so that the classes count as they will where it is used.

    Under label shift the risk there is the mean over training rows of w(y) times their loss, with
    w(y) = share there / share here (Shimodaira, Journal of Statistical Planning and Inference
    90(2), 2000; for classes Lipton, Wang & Smola, ICML 2018). The mean over all rows is 1, up to
    the share of classes without rows, whose weight is 0.

    Args:
        target_shares: share of each class there, sum 1.
        counts_K: rows of each class in the split that is trained on.

    Returns:
        Shape (K,).
    """
    rows = np.asarray(counts_K, dtype=np.float64)
    here = rows / rows.sum()
    target = np.asarray(target_shares, dtype=np.float64)
    return np.divide(target, here, out=np.zeros_like(rows), where=rows > 0)
