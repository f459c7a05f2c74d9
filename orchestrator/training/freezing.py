"""Layers that keep their first weights.

WORKER. They are fixed before workers exchange anything and before the optimizer is made: DDP waits
for no gradient of theirs, and no optimizer moves them, be it by weight decay alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from orchestrator.config.errors import TrainingError


@dataclass(frozen=True)
class ParameterCounts:
    """How many numbers a model has."""

    trainable: int
    frozen: int


def freeze_convolutions(model: nn.Module, number: int) -> ParameterCounts:
    """Fix the first convolutions, in the order in which the model was built of them.

    Raises:
        TrainingError: the model has fewer.
    """
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    if number > len(convolutions):
        raise TrainingError(
            f"model.freeze: must be at most the {len(convolutions)} convolutions of the model; "
            f"got {number}"
        )
    for layer in convolutions[:number]:
        layer.requires_grad_(False)
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return ParameterCounts(
        trainable=sum(size for size, trains in sizes if trains),
        frozen=sum(size for size, trains in sizes if not trains),
    )
