"""Model and optimizer as they were at one moment: what a writer can save while training goes on.

WORKER. A copy in host memory, which nothing else refers to: the next step of the optimizer
changes its tensors in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from orchestrator.training.epochs import Training
from orchestrator.training.optimizer_state import take_apart

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Snapshot:
    """All that a training goes on from, besides its epoch.

    Attributes:
        model: its weights and buffers by name, contiguous, in host memory.
        optimizer: the tensors it remembers, as `optimizer_state.take_apart` names them.
        plain: the numbers it remembers.
    """

    model: Tensors
    optimizer: Tensors
    plain: dict[str, object]


def take_snapshot(training: Training) -> Snapshot:
    """Copy what the training has become; waits for a GPU once, for all tensors together."""
    tensors, plain = take_apart(training.optimizer)
    snapshot = Snapshot(_copies(training.model.state_dict()), _copies(tensors), plain)
    if training.device.type == "cuda":
        torch.cuda.current_stream(training.device).synchronize()
    return snapshot


def _copies(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {name: _copy(tensor.detach()) for name, tensor in tensors.items()}


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_cuda:
        # Not blocking, torch copies into pinned memory, which it keeps for the next snapshot.
        return tensor.contiguous().to("cpu", non_blocking=True)
    return tensor.clone(memory_format=torch.contiguous_format)
