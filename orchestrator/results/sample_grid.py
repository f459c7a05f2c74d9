"""The first images of a training as the network sees them, after augmentation. DRIVER.

Rows and pixels are pure functions of (seed, epoch, row_id), so the driver draws them without any
worker. Drawing imports torch and Ray; naming what is to be drawn does not.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from orchestrator.config.experiment import Experiment
from orchestrator.config.validate import to_dict
from orchestrator.ingest.dataset import PreparedDataset
from orchestrator.ingest.order import Int64s, epoch_order
from orchestrator.ingest.pixels import images_of
from orchestrator.results.event_file import Pixels
from orchestrator.results.tensorboard import TensorBoard

SIDE: Final = 4
GAP_PX: Final = 2
MAX_GRIDS: Final = 8
"""A study can vary augmentation by the trial; the first few show what its range is."""


def augmented_grid(dataset: PreparedDataset, experiment: Experiment) -> Pixels:
    """Draw the first rows of the first batch of epoch 1.

    Returns:
        uint8 RGB of shape (side, side, 3): up to 16 images in rows of 4.

    Raises:
        DatasetError: the set cannot be read.
    """
    import torch

    from orchestrator.training.augmentation import AugmentationPlan, augment

    row_ids = first_rows(dataset, experiment, SIDE * SIDE)
    images = torch.from_numpy(images_of(dataset, row_ids.tolist()))
    images_BCHW = images.permute(0, 3, 1, 2).float().div_(255)
    plan = AugmentationPlan(**to_dict(experiment.augmentation))
    seen_BCHW = augment(images_BCHW, row_ids, plan, seed=experiment.seed, epoch=1)
    return _grid(seen_BCHW.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


def first_rows(dataset: PreparedDataset, experiment: Experiment, num_rows: int) -> Int64s:
    """Row ids in the order in which epoch 1 meets them, whatever the number of workers."""
    from orchestrator.ingest.reading import select_rows

    data = experiment.data
    rows = select_rows(dataset, data.protocol, "train", data.train_per_class, seed=0)
    ranks = np.arange(len(rows.row_ids))
    order, _ = epoch_order(rows.row_ids, ranks, seed=experiment.seed, epoch=1)
    return rows.row_ids[order[:num_rows]]


class StudySamples:
    """One grid for each way in which a study's trials see their images, up to `MAX_GRIDS`."""

    def __init__(self, tensorboard: TensorBoard, dataset: PreparedDataset) -> None:
        self._tensorboard = tensorboard
        self._dataset = dataset
        self._seen: set[tuple[str, int]] = set()

    def show(self, trial: int, experiment: Experiment) -> None:
        """Have the trial's grid drawn if none before it is the same."""
        key = (repr(experiment.augmentation), experiment.seed)
        if key in self._seen or len(self._seen) == MAX_GRIDS:
            return
        self._seen.add(key)
        self._tensorboard.show_samples(
            f"trial-{trial:04d}", lambda: augmented_grid(self._dataset, experiment)
        )


def _grid(images_BHWC: Pixels) -> Pixels:
    """Images side by side on white, in rows of `SIDE`."""
    number, height, width, channels = images_BHWC.shape
    rows, columns = -(-number // SIDE), min(number, SIDE)
    shape = (rows * (height + GAP_PX) - GAP_PX, columns * (width + GAP_PX) - GAP_PX, channels)
    canvas = np.full(shape, 255, dtype=np.uint8)
    for k, image in enumerate(images_BHWC):
        top, left = k // SIDE * (height + GAP_PX), k % SIDE * (width + GAP_PX)
        canvas[top : top + height, left : left + width] = image
    return canvas
