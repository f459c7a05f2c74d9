"""Optimizers by name. WORKER."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from orchestrator.config.experiment import Adam, AdamW, Sgd


def build_optimizer(
    config: Sgd | Adam | AdamW, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Make torch's optimizer of the configured kind.

    On a GPU the fused kernels update all tensors in one launch; on the CPU torch's plain loop
    was faster than its fused one (measured: see `benchmarks/LOG.md`).
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
