"""The limit: plain PyTorch over one batch that never leaves the device.

No data is read, nothing is augmented, no metric is kept: what is left is the network, its loss and
its optimizer, in the precision, memory layout and threads of the training it is compared with.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from benchmarks.in_process import Setup, first_model, noise, numerics
from orchestrator.training.optimizers import build_optimizer


class PlainLoop:
    """A model and its batch, ready to step."""

    def __init__(self, setup: Setup, device: torch.device) -> None:
        """Build both; the optimizer is of the same kind, fused where ours is."""
        self._precision = numerics(setup, device)
        self._device = device
        layout = self._precision.memory_format
        self._model = first_model(setup).to(device).to(memory_format=layout).train()
        self._optimizer = build_optimizer(setup.experiment().optimizer, self._model.parameters())
        rows = noise(setup.batch_size, setup.image_px, device, seed=1)
        images_BCHW = rows.images.permute(0, 3, 1, 2).float().div_(255)
        self._images_BCHW = images_BCHW.contiguous(memory_format=layout)
        self._labels_B = rows.labels

    def run(self, num_steps: int) -> None:
        """Take so many steps; does not wait for a GPU to finish them."""
        for _ in range(num_steps):
            self._optimizer.zero_grad(set_to_none=True)
            with self._precision.autocast(self._device):
                logits_BK = self._model(self._images_BCHW)
            functional.cross_entropy(logits_BK.float(), self._labels_B).backward()
            self._optimizer.step()
