import numpy as np
import pytest
import torch

from orchestrator.config.experiment import Experiment
from orchestrator.ingest.dataset import open_dataset
from orchestrator.ingest.pixels import images_of
from orchestrator.ingest.reading import select_rows
from orchestrator.ingest.shard import Shard, epoch_batches
from orchestrator.results.sample_grid import (
    GAP_PX,
    MAX_GRIDS,
    StudySamples,
    augmented_grid,
    first_rows,
)
from orchestrator.training.augmentation import AugmentationPlan, augment
from tests.unit.prepared_set import write_set

PX = 8


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_set(tmp_path_factory.mktemp("set"), rows=120, image_px=PX))


def experiment(**fields):
    return Experiment.model_validate({"batch_size": 16, **fields})


def first_batch(dataset, asked):
    """What the one worker of a training holds in its first step."""
    rows = select_rows(dataset, asked.data.protocol, "train", 0, seed=0)
    labels = torch.zeros(len(rows.row_ids), dtype=torch.int64)
    shard = Shard(
        images=torch.from_numpy(images_of(dataset, rows.row_ids.tolist())),
        labels=labels,
        row_ids=rows.row_ids,
        ranks=np.arange(len(rows.row_ids)),
        groups=labels,
        num_rows=len(rows.row_ids),
        num_groups=1,
    )
    device = torch.device("cpu")
    return next(iter(epoch_batches(shard, batch_size=16, seed=asked.seed, epoch=1, device=device)))


def tile(grid, k):
    top, left = k // 4 * (PX + GAP_PX), k % 4 * (PX + GAP_PX)
    return grid[top : top + PX, left : left + PX]


def test_the_grid_shows_the_very_batch_that_a_worker_trains_on(dataset):
    asked = experiment(seed=3)
    batch = first_batch(dataset, asked)
    plan = AugmentationPlan(**asked.augmentation.model_dump())
    seen = augment(batch.images_BCHW, batch.row_ids, plan, seed=3, epoch=1)
    expected = seen.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    grid = augmented_grid(dataset, asked)
    assert grid.shape == (4 * (PX + GAP_PX) - GAP_PX, 4 * (PX + GAP_PX) - GAP_PX, 3)
    assert all(np.array_equal(tile(grid, k), expected[k]) for k in range(16))


def test_without_augmentation_the_grid_shows_the_stored_images(dataset):
    asked = experiment(augmentation={"share": 0})
    stored = images_of(dataset, first_rows(dataset, asked, 16).tolist())
    grid = augmented_grid(dataset, asked)
    assert all(np.array_equal(tile(grid, k), stored[k]) for k in range(16))


def test_a_set_of_few_rows_makes_a_smaller_grid(dataset):
    grid = augmented_grid(dataset, experiment(data={"train_per_class": 2}))
    assert grid.shape == (2 * (PX + GAP_PX) - GAP_PX, 4 * (PX + GAP_PX) - GAP_PX, 3)


class Board:
    """Notes which pictures it is asked to show."""

    def __init__(self):
        self.names = []

    def show_samples(self, name, draw):
        self.names.append(name)


def test_a_study_has_one_grid_for_each_way_of_seeing_the_images(dataset):
    board = Board()
    samples = StudySamples(board, dataset)
    samples.show(0, experiment())
    samples.show(1, experiment(optimizer={"name": "sgd", "lr": 0.1}, epochs=3))
    samples.show(2, experiment(seed=1))
    samples.show(3, experiment(augmentation={"zoom": 0.3}))
    assert board.names == ["trial-0000", "trial-0002", "trial-0003"]


def test_a_study_that_varies_augmentation_without_end_has_a_few_grids(dataset):
    board = Board()
    samples = StudySamples(board, dataset)
    for seed in range(100):
        samples.show(seed, experiment(seed=seed))
    assert len(board.names) == MAX_GRIDS
