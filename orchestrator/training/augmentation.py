"""Flip, rotation and zoom of training images in one resampling on the device.

WORKER. Parameters are a pure function of (seed, epoch, row_id): whichever worker holds a row,
whenever it resumes, it makes the same pixels. They are drawn on the host, a few numbers a row,
so that every device gets the very same ones and none has to be read back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from orchestrator.ingest.order import Int64s, uniform


@dataclass(frozen=True)
class AugmentationPlan:
    """What may happen to an image; the fields are those of `config.experiment.Augmentation`."""

    share: float
    flip: float
    rotation_deg: float
    zoom: float


def augment(
    images_BCHW: torch.Tensor, row_ids: Int64s, plan: AugmentationPlan, *, seed: int, epoch: int
) -> torch.Tensor:
    """Change a random share of the images as the study does.

    Args:
        images_BCHW: float32 in [0, 1].
        row_ids: shape (B,), on the host.
        plan: probabilities and ranges.
        seed: the experiment's seed.
        epoch: counted from 1.

    Returns:
        Images of the same shape and range; those not chosen are the same to the bit.
    """
    changed, theta = transforms(row_ids, plan, seed=seed, epoch=epoch)
    if not len(changed):
        return images_BCHW
    device = images_BCHW.device
    which = torch.from_numpy(changed).to(device, non_blocking=True)
    theta_K23 = torch.from_numpy(theta).to(device, non_blocking=True)
    chosen = images_BCHW.index_select(0, which)
    grid = _sampling_grid(theta_K23, chosen.shape[-2], chosen.shape[-1])
    # Reflection, as Keras' preprocessing layers do by default: no black corners to learn from.
    resampled = functional.grid_sample(
        chosen, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return images_BCHW.index_copy(0, which, resampled.clamp_(0.0, 1.0))


def transforms(
    row_ids: Int64s, plan: AugmentationPlan, *, seed: int, epoch: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Which rows change, and the affine map (output to input, unit square) of each.

    Returns:
        `(changed, theta)`: indices of shape (K,) and matrices of shape (K, 2, 3).
    """
    draws = [uniform(seed, epoch, row_ids, draw) for draw in range(1, 5)]
    changed = np.flatnonzero(draws[0] < plan.share)
    flip, angle, zoom = (draw[changed] for draw in draws[1:])
    mirror = np.where(flip < plan.flip, -1.0, 1.0)
    radians = (2 * angle - 1) * math.radians(plan.rotation_deg)
    scale = 1 + (2 * zoom - 1) * plan.zoom
    cosine, sine = np.cos(radians) * scale, np.sin(radians) * scale
    theta = np.zeros((len(changed), 2, 3), dtype=np.float32)
    theta[:, 0, 0], theta[:, 0, 1] = cosine * mirror, -sine
    theta[:, 1, 0], theta[:, 1, 1] = sine * mirror, cosine
    return changed.astype(np.int64), theta


def _sampling_grid(theta_K23: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Where each output pixel comes from, shape (K, H, W, 2): torch's `affine_grid`.

    That is a matrix product, whose factors a GPU may round to 11 bits where tf32 is allowed: up to
    0.05 pixels in 96, and pixels must not depend on a network's precision. This has no product of matrices.
    """
    x_W = _pixel_centres(width, theta_K23.device)
    y_H = _pixel_centres(height, theta_K23.device)
    theta = theta_K23[:, :, :, None, None]
    across = theta[:, :, 0] * x_W
    down = theta[:, :, 1] * y_H[:, None]
    return (across + down + theta[:, :, 2]).movedim(1, -1)


def _pixel_centres(size: int, device: torch.device) -> torch.Tensor:
    """From -1 to 1, the edges of the first and the last pixel."""
    return torch.linspace(-1, 1, size, device=device) * (size - 1) / size
