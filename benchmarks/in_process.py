"""A training in this process, built as a worker of a slot builds it, over made-up rows. No Ray.

What a worker adds (`orchestrator/training/worker.py`) is a mailbox, checkpoints and a history: the
steps below are its own, called with the same arguments. Images are noise, never zeros: processors
draw less power over zeros, and run faster than they ever will on faces.
"""

from __future__ import annotations

import copy
import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

import models
from orchestrator.config.experiment import Experiment
from orchestrator.config.validate import validate
from orchestrator.ingest.shard import Shard
from orchestrator.training.build import build_training
from orchestrator.training.epochs import Training
from orchestrator.training.flops import training_flops
from orchestrator.training.precision import Precision, choose_precision

NUM_CLASSES = 6
ROWS_PER_GROUP = 60
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Setup:
    """What is trained, and how it is computed.

    Attributes:
        model: a name of `models`.
        width: factor on its channels.
        image_px: side of the images.
        batch_size: images a step.
        precision: `auto`, `bf16`, `tf32` or `fp32`; the last is IEEE single on a GPU too.
        channels_last: memory layout; None = what the product chooses for this processor.
        augmented: whether images are flipped, turned and zoomed.
    """

    model: str = "main"
    width: float = 1.0
    image_px: int = 96
    batch_size: int = 256
    precision: str = "auto"
    channels_last: bool | None = None
    augmented: bool = True

    def experiment(self) -> Experiment:
        """As a user would have written it."""
        values = {
            "model.name": self.model,
            "model.width": self.width,
            "batch_size": self.batch_size,
            "precision": "fp32" if self.precision == "tf32" else self.precision,
            "optimizer.lr": 1e-5,  # the paper's 1e-4 can diverge on noise
        }
        return validate(Experiment, ("a benchmark", values | self._unchanged()))

    def _unchanged(self) -> dict[str, float]:
        return {} if self.augmented else {"augmentation.share": 0}


def new_training(setup: Setup, device: torch.device) -> Training:
    """The state before the first epoch."""
    precision = numerics(setup, device)
    experiment = setup.experiment()
    model = first_model(setup).to(device).to(memory_format=precision.memory_format)
    return build_training(
        experiment, model, precision, device, noise(0, setup.image_px, device), NUM_CLASSES
    )


def numerics(setup: Setup, device: torch.device) -> Precision:
    """What the product chooses, with the benchmark's wishes on top; sets torch's tf32 switches."""
    precision = choose_precision(setup.experiment().precision, device)
    if device.type == "cuda" and setup.precision in ("tf32", "fp32"):
        tf32 = setup.precision == "tf32"
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
    if setup.channels_last is None:
        return precision
    layout = torch.channels_last if setup.channels_last else torch.contiguous_format
    return replace(precision, memory_format=layout)


def first_model(setup: Setup) -> nn.Module:
    """A copy, on the CPU, of the network with its first weights."""
    return copy.deepcopy(_built(setup.model, setup.width, setup.image_px))


@functools.cache
def _built(name: str, width: float, image_px: int) -> nn.Module:
    """Drawing 50 million weights takes a second: once for all that is measured with them."""
    model, _ = models.build(name, num_classes=NUM_CLASSES, image_size=image_px, width=width)
    return model


@functools.cache
def flops_per_image(name: str, width: float, image_px: int) -> int:
    """Of one image's training; counted once for each network."""
    return training_flops(_built(name, width, image_px), image_px)


def noise(num_rows: int, image_px: int, device: torch.device, seed: int = 0) -> Shard:
    """Rows of random pixels and labels, resident as uint8 on the device."""
    generator = torch.Generator(device).manual_seed(seed)
    shape = (num_rows, image_px, image_px, 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device, generator=generator)
    labels = torch.randint(0, NUM_CLASSES, (num_rows,), device=device, generator=generator)
    numbers = torch.arange(num_rows)
    return Shard(
        images=images,
        labels=labels,
        row_ids=numbers.numpy(),
        ranks=numbers.numpy(),
        groups=(numbers // ROWS_PER_GROUP).to(device),
        num_rows=num_rows,
        num_groups=max(1, -(-num_rows // ROWS_PER_GROUP)),
    )


def first_rows(shard: Shard, num_rows: int) -> Shard:
    """A smaller shard that shares the memory of this one."""
    return Shard(
        images=shard.images[:num_rows],
        labels=shard.labels[:num_rows],
        row_ids=shard.row_ids[:num_rows],
        ranks=shard.ranks[:num_rows],
        groups=shard.groups[:num_rows],
        num_rows=num_rows,
        num_groups=max(1, -(-num_rows // ROWS_PER_GROUP)),
    )


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Wall time until the device is done with what the work has queued."""
    _wait_for(device)
    started = time.perf_counter()
    work()
    _wait_for(device)
    return time.perf_counter() - started


def interleaved(
    works: Mapping[str, Callable[[], object]], repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each work, `repeats` times in turn; every other round runs backwards.

    What changes slowly (clock rates, other users of the machine) then meets all of them alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for repeat in range(repeats):
        for name in list(works)[:: -1 if repeat % 2 else 1]:
            seconds[name].append(seconds_of(works[name], device))
    return seconds


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median over rounds of the ratio within each round."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
