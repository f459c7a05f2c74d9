"""Optimizers by name. WORKER."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from orchestrator.config.optimizers import Adam, AdamW, Optimizer, RmsProp, Sgd, Timm


def build_optimizer(config: Optimizer, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Make the optimizer of the configured kind over the parameters that are to be trained.

    On a GPU the fused kernels update all tensors in one launch. On a CPU they would save 1 % of a step
    (`benchmarks/LOG.md`), and are not used. RMSprop has none.
    """
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    fused = trainable[0].is_cuda
    match config:
        case Sgd():
            return torch.optim.SGD(
                trainable,
                lr=config.lr,
                momentum=config.momentum,
                nesterov=config.nesterov,
                weight_decay=config.weight_decay,
                fused=fused,
            )
        case Adam() | AdamW():
            kind = torch.optim.AdamW if isinstance(config, AdamW) else torch.optim.Adam
            return kind(
                trainable,
                lr=config.lr,
                betas=(config.beta1, config.beta2),
                weight_decay=config.weight_decay,
                fused=fused,
            )
        case RmsProp():
            return torch.optim.RMSprop(
                trainable,
                lr=config.lr,
                alpha=config.alpha,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
            )
        case Timm():
            from orchestrator.training.timm_optimizers import build_timm_optimizer

            return build_timm_optimizer(
                config.name, trainable, lr=config.lr, weight_decay=config.weight_decay
            )
