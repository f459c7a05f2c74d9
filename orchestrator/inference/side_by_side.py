"""Several models of one architecture or of many, fed with the same rows once. WORKER.

Rows are read and moved once however many models are compared, and all of them see the very same
pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class SideBySide(nn.Module):
    """images_BCHW to logits_BMK: model after model along M."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        """Logits of each model, before softmax."""
        return torch.stack([model(images_BCHW) for model in self.models], dim=1)
