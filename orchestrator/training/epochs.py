"""The loop: one epoch of training, one evaluation, exact sums over all workers.

WORKER. `Training` is the state of one experiment on this worker; `train_epoch` and `evaluate`
are all that is ever done with it. With one worker the loop is the very same, only nothing is
exchanged.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from orchestrator.config.errors import TrainingError
from orchestrator.ingest.order import mix
from orchestrator.ingest.shard import Batch, Shard, epoch_batches, rows_in_order
from orchestrator.training.augmentation import AugmentationPlan, augment
from orchestrator.training.exchange import num_workers, rank, sum_over_workers
from orchestrator.training.group_counts import encode
from orchestrator.training.loss import Loss
from orchestrator.training.metrics import (
    accuracy,
    class_f1,
    macro_f1,
    macro_f1_interval,
)
from orchestrator.training.phase_clock import PhaseClock
from orchestrator.training.precision import Precision
from orchestrator.training.schedule import Schedule

EVALUATION_BATCH = 256
"""Rows scored at once; no influence on the figures, only on memory."""

Metrics = dict[str, Any]
"""Figures of one epoch, as they go into checkpoints and ledgers: JSON values."""


@dataclass
class Training:
    """One experiment on one worker.

    Attributes:
        model: on the device, in the memory layout of `precision`.
        replica: what is called in the loop: the model, wrapped in DDP if there are peers.
        optimizer: over the model's trainable parameters.
        loss: what is trained; validation is scored by plain cross-entropy.
        schedule: of the optimizer's own learning rate.
        gradient_clip: longest gradient, as a norm over all parameters; 0 = no limit.
        clock: seconds by phase of the epoch at work, for whoever reads it after `train_epoch`.
        epoch: epochs finished.
    """

    model: nn.Module
    replica: nn.Module
    optimizer: torch.optim.Optimizer
    augmentation: AugmentationPlan
    precision: Precision
    device: torch.device
    batch_size: int
    seed: int
    loss: Loss = field(default_factory=Loss)
    schedule: Schedule = field(default_factory=Schedule)
    gradient_clip: float = 0.0
    clock: PhaseClock = field(default_factory=PhaseClock)
    epoch: int = 0


def replicate(model: nn.Module, device: torch.device) -> nn.Module:
    """Wrap for gradient exchange if there are other workers."""
    if num_workers() == 1:
        return model
    device_ids = [device] if device.type == "cuda" else None
    return DistributedDataParallel(
        model, device_ids=device_ids, broadcast_buffers=False, gradient_as_bucket_view=True
    )


def train_epoch(training: Training, shard: Shard, num_classes: int) -> Metrics:
    """Go once over the training split.

    Returns:
        `train_loss`, `train_accuracy`, `train_macro_f1`: over the augmented rows as they were
        seen, during the epoch (as Keras reports them, and so the study), the loss with the
        weights and smoothed targets that it was trained with; `images_per_s`.

    Raises:
        TrainingError: the loss became NaN or infinite; says at which step.
    """
    epoch = training.epoch + 1
    started = time.perf_counter()
    _seed_dropout(training, epoch)
    training.replica.train()
    sums = _Sums(num_classes, training.device)
    size, seed = training.batch_size, training.seed
    weight_sums = training.loss.weight_sums(shard, batch_size=size, seed=seed, epoch=epoch)
    batches = epoch_batches(shard, batch_size=size, seed=seed, epoch=epoch, device=training.device)
    training.clock.skip()
    for step, (batch, weight_sum) in enumerate(zip(batches, weight_sums, strict=True)):
        training.clock.lap("ingest")
        _set_learning_rate(training, epoch, step, len(weight_sums))
        loss_sum, logits_BK = _train_step(training, batch, weight_sum, epoch)
        sums.add(loss_sum, logits_BK, batch.labels_B, step + 1)
        training.clock.skip()
    confusion, loss = sums.over_all_workers()
    _refuse_non_finite(sums, training, epoch, len(weight_sums))
    _share_buffers(training.model)
    training.epoch = epoch
    return {
        "train_loss": loss / sum(weight_sums),
        "train_accuracy": accuracy(confusion),
        "train_macro_f1": macro_f1(confusion),
        "images_per_s": shard.num_rows / (time.perf_counter() - started),
    }


def _set_learning_rate(training: Training, epoch: int, step: int, steps_per_epoch: int) -> None:
    for group in training.optimizer.param_groups:
        group["lr"] = _learning_rate(training, epoch, step, steps_per_epoch)


def _learning_rate(training: Training, epoch: int, step: int, steps_per_epoch: int) -> float:
    """Of a step of an epoch (its first is 0), from what the optimizer was made with."""
    done = (epoch - 1) * steps_per_epoch + step
    return float(
        training.optimizer.defaults["lr"] * training.schedule.factor(done, steps_per_epoch)
    )


def _train_step(
    training: Training, batch: Batch, weight_sum: float, epoch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """One optimizer step; returns the sum of this worker's row losses, and its logits."""
    images = augment(
        batch.images_BCHW,
        batch.row_ids,
        training.augmentation,
        seed=training.seed,
        epoch=epoch,
    )
    training.clock.lap("augment")
    training.optimizer.zero_grad(set_to_none=True)
    loss_sum, logits_BK = _forward(training, images, batch.labels_B)
    # DDP averages gradients over workers; each holds another number of rows. This scale makes
    # the average the gradient of the mean over the rows of the global batch, exactly.
    # A batch of rows that all weigh nothing has nothing to learn from: a gradient of zeros.
    loss = loss_sum * (num_workers() / weight_sum if weight_sum else 0.0)
    training.clock.lap("forward")
    loss.backward()  # type: ignore[no-untyped-call]
    training.clock.lap("backward")
    if training.gradient_clip:
        # After the exchange: every worker has the same gradient, and so the same norm.
        nn.utils.clip_grad_norm_(training.model.parameters(), training.gradient_clip)
    training.optimizer.step()
    training.clock.lap("optimizer")
    return loss_sum.detach(), logits_BK.detach()


def _forward(
    training: Training, images_BCHW: torch.Tensor, labels_B: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    num_rows = len(labels_B)
    if num_rows == 0:
        # A worker without a row in this batch must still take part in the exchange of
        # gradients: one black image whose loss is multiplied by nothing.
        images_BCHW = images_BCHW.new_zeros((1, *images_BCHW.shape[1:]))
        training.replica.eval()  # no statistics of an image that is not there
    images_BCHW = images_BCHW.contiguous(memory_format=training.precision.memory_format)
    with training.precision.autocast(training.device):
        logits_BK = training.replica(images_BCHW).float()
    if num_rows == 0:
        training.replica.train()
        return logits_BK.sum() * 0.0, logits_BK[:0]
    return training.loss.sum_of_rows(logits_BK, labels_B), logits_BK


def evaluate(training: Training, shard: Shard, num_classes: int) -> Metrics:
    """Score every row of a split once, over all workers.

    Returns:
        `val_loss`, `val_accuracy`, `val_macro_f1` with its interval `val_macro_f1_low` and
        `_high` (bootstrap over groups), `val_class_f1` and `val_confusion` (rows: true class), and
        `val_groups`, the same of each group (`group_counts.encode`); nothing on workers other than
        the leader.

    Raises:
        TrainingError: the loss is not finite.
    """
    training.model.eval()
    counts = torch.zeros(
        (shard.num_groups, num_classes, num_classes), dtype=torch.int64, device=training.device
    )
    loss = torch.zeros((), dtype=torch.float64, device=training.device)
    with torch.inference_mode():
        for batch in rows_in_order(shard, batch_size=EVALUATION_BATCH, device=training.device):
            images = batch.images_BCHW.contiguous(memory_format=training.precision.memory_format)
            with training.precision.autocast(training.device):
                logits_BK = training.model(images).float()
            loss += functional.cross_entropy(logits_BK, batch.labels_B, reduction="sum")
            cell = (batch.labels_B * num_classes) + logits_BK.argmax(dim=1)
            counts.view(-1).index_add_(
                0, batch.groups_B * num_classes**2 + cell, torch.ones_like(cell)
            )
    sum_over_workers(counts)
    sum_over_workers(loss)
    mean_loss = float(loss) / shard.num_rows
    if not math.isfinite(mean_loss):
        raise TrainingError(
            f"loss: must be finite; got {mean_loss} on validation after epoch {training.epoch}. "
            "Lower optimizer.lr"
        )
    # The interval takes seconds where there are many groups: the leader alone reports it.
    return _evaluation_metrics(counts.cpu().numpy(), mean_loss) if rank() == 0 else {}


def _evaluation_metrics(confusion_GKK: np.ndarray, loss: float) -> Metrics:
    confusion = confusion_GKK.sum(axis=0)
    low, high = macro_f1_interval(confusion_GKK)
    return {
        "val_loss": loss,
        "val_accuracy": accuracy(confusion),
        "val_macro_f1": macro_f1(confusion),
        "val_macro_f1_low": low,
        "val_macro_f1_high": high,
        "val_class_f1": [float(score) for score in class_f1(confusion)],
        "val_confusion": confusion.tolist(),
        "val_groups": encode(confusion_GKK),
    }


class _Sums:
    """Confusion, loss and the first non-finite step, kept on the device: no sync per step."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self._num_classes = num_classes
        self._confusion = torch.zeros(num_classes**2, dtype=torch.int64, device=device)
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._bad_step = torch.full((), torch.iinfo(torch.int64).max, device=device)

    def add(
        self, loss_sum: torch.Tensor, logits_BK: torch.Tensor, labels_B: torch.Tensor, step: int
    ) -> None:
        cell = labels_B * self._num_classes + logits_BK.argmax(dim=1)
        self._confusion.index_add_(0, cell, torch.ones_like(cell))
        self._loss += loss_sum
        bad = torch.where(loss_sum.isfinite(), torch.iinfo(torch.int64).max, step)
        self._bad_step = torch.minimum(self._bad_step, bad)

    def over_all_workers(self) -> tuple[np.ndarray, float]:
        sum_over_workers(self._confusion)
        sum_over_workers(self._loss)
        shape = (self._num_classes, self._num_classes)
        return self._confusion.cpu().numpy().reshape(shape), float(self._loss)

    def first_bad_step(self) -> tuple[int, int] | None:
        """(step, rank) of the earliest non-finite loss over all workers, the same on each."""
        worker = torch.stack([self._bad_step, self._bad_step.new_tensor(rank())])
        gathered = [torch.zeros_like(worker) for _ in range(num_workers())]
        if num_workers() > 1:
            dist.all_gather(gathered, worker)
        else:
            gathered = [worker]
        step, of_rank = min((int(pair[0]), int(pair[1])) for pair in gathered)
        return None if step == torch.iinfo(torch.int64).max else (step, of_rank)


def _refuse_non_finite(sums: _Sums, training: Training, epoch: int, num_steps: int) -> None:
    bad = sums.first_bad_step()
    if bad is None:
        return
    learning_rate = _learning_rate(training, epoch, bad[0] - 1, num_steps)
    raise TrainingError(
        f"loss: must be finite; got NaN or infinity at step {bad[0]} of epoch {epoch} on worker "
        f"{bad[1]} with learning rate {learning_rate:g}. Lower optimizer.lr"
    )


def _seed_dropout(training: Training, epoch: int) -> None:
    """Make dropout a function of (seed, epoch, worker): a resume draws what a whole run would.

    It is the one use of torch's global generator.
    """
    state = mix(training.seed, epoch, np.array([rank()], dtype=np.int64))[0]
    torch.manual_seed(int(state >> np.uint64(1)))


def _share_buffers(model: nn.Module) -> None:
    """Give every worker the leader's batch-norm statistics: all then evaluate one model."""
    if num_workers() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
