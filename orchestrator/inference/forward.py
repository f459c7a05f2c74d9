"""Pixels through a network: the one forward pass of `evaluate` and `predict`.

WORKER and DRIVER. What it computes is what a training's own evaluation computes: the same
precision, the same layout in memory.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from orchestrator.training.precision import Precision


def probabilities(
    network: nn.Module,
    images_BHWC: npt.NDArray[np.uint8],
    precision: Precision,
    device: torch.device,
) -> npt.NDArray[np.float32]:
    """Softmax outputs of a batch, shape (B, K); (B, M * K) where the network is several models."""
    pixels = torch.from_numpy(images_BHWC).to(device)
    images_BCHW = pixels.permute(0, 3, 1, 2).float().div_(255)
    images_BCHW = images_BCHW.contiguous(memory_format=precision.memory_format)
    with torch.inference_mode(), precision.autocast(device):
        logits = network(images_BCHW).float()
    found: npt.NDArray[np.float32] = logits.softmax(dim=-1).flatten(1).cpu().numpy()
    return found
