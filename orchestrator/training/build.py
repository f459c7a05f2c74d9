"""A model and an experiment into a `Training`: what is frozen, the loss, the optimizer, DDP.

WORKER. All workers call it together: where classes are weighted it counts rows over all of them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from orchestrator.config.errors import TrainingError
from orchestrator.config.experiment import Experiment
from orchestrator.ingest.shard import Shard
from orchestrator.training.augmentation import AugmentationPlan
from orchestrator.training.batch_norm import needs_two_rows, refuse_single_rows
from orchestrator.training.compiling import compiled
from orchestrator.training.epochs import Training, replicate
from orchestrator.training.loss import Loss, class_counts, class_weights, importance_weights
from orchestrator.training.optimizers import build_optimizer
from orchestrator.training.phase_clock import phase_clock
from orchestrator.training.precision import Precision
from orchestrator.training.schedule import Schedule


def build_training(
    experiment: Experiment,
    model: nn.Module,
    precision: Precision,
    device: torch.device,
    shard: Shard,
    num_classes: int,
) -> Training:
    """The state before the first epoch.

    Args:
        experiment: what is asked for.
        model: on the device, in the memory layout of `precision`, its layers frozen already.
        precision: as all workers agreed on it.
        device: where it is trained.
        shard: this worker's rows of the training split, by whose classes rows are weighted.
        num_classes: classes of the data set.

    Raises:
        TrainingError: a part of a batch is a single row, which this model cannot train on, or
            `target_shares` leave no row that weighs anything.
    """
    if needs_two_rows(model, shard.images.shape[1]):
        refuse_single_rows(shard, experiment.batch_size, device)
    replica = replicate(model, device)
    return Training(
        model=model,
        replica=compiled(replica) if experiment.compile else replica,
        optimizer=build_optimizer(experiment.optimizer, model.parameters()),
        augmentation=AugmentationPlan(**experiment.augmentation.model_dump()),
        precision=precision,
        device=device,
        batch_size=experiment.batch_size,
        seed=experiment.seed,
        loss=_loss(experiment, device, shard, num_classes),
        schedule=Schedule(experiment.schedule, experiment.warmup_epochs, experiment.epochs),
        gradient_clip=experiment.gradient_clip,
        clock=phase_clock(device),
    )


def _loss(experiment: Experiment, device: torch.device, shard: Shard, num_classes: int) -> Loss:
    if experiment.class_weights == "none" and not experiment.target_shares:
        return Loss(experiment.label_smoothing)
    counts_K = class_counts(shard, num_classes)
    if experiment.target_shares:
        weights_K = importance_weights(experiment.target_shares, counts_K)
    else:
        weights_K = class_weights(experiment.class_weights, counts_K)
    used_K = weights_K.astype(np.float32)  # as they will be used: a tiny one may become 0
    if not (counts_K * used_K).any():
        raise TrainingError(
            "target_shares: must be > 0 for a class with training rows; got "
            f"{list(experiment.target_shares)} for classes with {counts_K.tolist()} rows. "
            "Train on rows of these classes, or set target_shares=[]"
        )
    return Loss(experiment.label_smoothing, torch.from_numpy(used_K).to(device))
