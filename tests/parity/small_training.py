"""A small training as a worker builds it, over made-up rows, without Ray."""

import numpy as np
import torch

import models
from orchestrator.config.experiment import Experiment
from orchestrator.config.validate import validate
from orchestrator.ingest.order import owned
from orchestrator.ingest.shard import Shard
from orchestrator.training.augmentation import AugmentationPlan
from orchestrator.training.epochs import Metrics, Training, replicate
from orchestrator.training.optimizers import build_optimizer
from orchestrator.training.precision import choose_precision

CPU = torch.device("cpu")
NUM_CLASSES, IMAGE_PX, ROWS_PER_GROUP = 3, 32, 4
SMALL = {"model.name": "main", "model.width": 0.125, "precision": "fp32", "batch_size": 12}
UNCHANGED = {"augmentation.share": 0}


def experiment(**values) -> Experiment:
    """Of the small model; double underscores stand for dots."""
    given = {path.replace("__", "."): value for path, value in values.items()}
    return validate(Experiment, ("a test", {**SMALL, **given}))


def rows(num_rows: int, *, seed: int = 0, worker: int = 0, num_workers: int = 1) -> Shard:
    """A worker's shard of made-up faces: noise, brighter in the channel of the class."""
    generator = np.random.default_rng(seed)
    labels = np.arange(num_rows) % NUM_CLASSES
    images = generator.integers(0, 156, (num_rows, IMAGE_PX, IMAGE_PX, 3), np.uint8)
    images[np.arange(num_rows), :, :, labels] += 100
    ranks = np.arange(num_rows, dtype=np.int64)
    mine = owned(ranks, worker, num_workers)
    return Shard(
        images=torch.from_numpy(images[mine]),
        labels=torch.from_numpy(labels[mine]),
        row_ids=ranks[mine] * 3 + 1,
        ranks=ranks[mine],
        groups=torch.from_numpy(ranks[mine] // ROWS_PER_GROUP),
        num_rows=num_rows,
        num_groups=-(-num_rows // ROWS_PER_GROUP),
    )


def new_training(of: Experiment) -> Training:
    """The state before the first epoch, as `training/worker.py` makes it."""
    precision = choose_precision(of.precision, CPU)
    model, _ = models.build(
        of.model.name,
        num_classes=NUM_CLASSES,
        image_size=IMAGE_PX,
        width=of.model.width,
        dropout=of.model.dropout,
        seed=of.seed,
    )
    model = model.to(memory_format=precision.memory_format)
    return Training(
        model=model,
        replica=replicate(model, CPU),
        optimizer=build_optimizer(of.optimizer, model.parameters()),
        augmentation=AugmentationPlan(**of.augmentation.model_dump()),
        precision=precision,
        device=CPU,
        batch_size=of.batch_size,
        seed=of.seed,
    )


def without_times(metrics: Metrics) -> Metrics:
    return {name: value for name, value in metrics.items() if name != "images_per_s"}


def assert_same_weights(one: Training, other: Training) -> None:
    mine, others = one.model.state_dict(), other.model.state_dict()
    assert mine.keys() == others.keys()
    different = [key for key in mine if not torch.equal(mine[key], others[key])]
    assert different == []
