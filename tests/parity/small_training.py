"""A small training as a worker builds it, over made-up rows, without Ray."""

from dataclasses import replace

import numpy as np
import torch

import models
from orchestrator.config.experiment import Experiment
from orchestrator.config.validate import validate
from orchestrator.ingest.order import owned
from orchestrator.ingest.shard import Shard
from orchestrator.training.build import build_training
from orchestrator.training.epochs import Metrics, Training
from orchestrator.training.freezing import freeze_convolutions
from orchestrator.training.precision import choose_precision

CPU = torch.device("cpu")
NUM_CLASSES, IMAGE_PX, ROWS_PER_GROUP = 3, 32, 4
SMALL = {"model.name": "main", "model.width": 0.125, "precision": "fp32", "batch_size": 12}
UNCHANGED = {"augmentation.share": 0}
EVERY_OPTION = {
    "schedule": "cosine",
    "warmup_epochs": 0.5,
    "label_smoothing": 0.1,
    "class_weights": "balanced",
    "model__freeze": 2,
}
"""What is off by default, at values at which each has an effect; but for the clip, which hides
how long a gradient was before."""
CLIP = {"gradient_clip": 0.5}


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


def skewed(shard: Shard) -> Shard:
    """The same rows with other labels: of seven, one of class 0, one of 1 and five of 2."""
    return replace(shard, labels=torch.from_numpy(np.minimum(shard.ranks % 7, 2)))


def new_training(of: Experiment, shard: Shard | None = None) -> Training:
    """The state before the first epoch, as `training/worker.py` makes it.

    Where classes are weighted, they are by the rows of `shard`.
    """
    precision = choose_precision(of.precision, CPU)
    model, _ = models.build(
        of.model.name,
        num_classes=NUM_CLASSES,
        image_size=IMAGE_PX,
        width=of.model.width,
        dropout=of.model.dropout,
        seed=of.seed,
    )
    freeze_convolutions(model, of.model.freeze)
    model = model.to(memory_format=precision.memory_format)
    return build_training(of, model, precision, CPU, shard or rows(0), NUM_CLASSES)


def without_times(metrics: Metrics) -> Metrics:
    return {name: value for name, value in metrics.items() if name != "images_per_s"}


def assert_same_weights(one: Training, other: Training) -> None:
    mine, others = one.model.state_dict(), other.model.state_dict()
    assert mine.keys() == others.keys()
    different = [key for key in mine if not torch.equal(mine[key], others[key])]
    assert different == []
