"""Writes a run folder as `train` leaves it, around a small model that was never trained.

Imported as `tests.unit.trained_run` by worker processes too, which unpickle `Dying`.
"""

import os
from pathlib import Path

import torch
import yaml
from torch import nn

import models
from orchestrator.config.experiment import Experiment
from orchestrator.config.validate import to_dict, validate
from orchestrator.ingest.dataset import PreparedDataset
from orchestrator.training.checkpoint import CheckpointState, save_weights
from orchestrator.training.snapshot import Snapshot
from orchestrator.tuning.lineages import lineage_key

SHARPNESS = 50.0
"""Of its last layer, and it is centred: else the outputs of untrained weights are all alike."""


def small_model(dataset: PreparedDataset) -> nn.Module:
    """The network whose weights `write_run` saves."""
    network, _ = models.build(
        "main", num_classes=len(dataset.classes), image_size=dataset.image_shape[0], width=0.125
    )
    noise = torch.rand((64, *dataset.image_shape), generator=torch.Generator().manual_seed(0))
    network.eval()
    with torch.no_grad():
        network.classifier.weight.mul_(SHARPNESS)
        network.classifier.bias.sub_(network(noise.permute(0, 3, 1, 2)).mean(dim=0))
    return network


def facts_of(dataset: PreparedDataset) -> dict:
    """What a checkpoint says of its data set."""
    return {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "classes": list(dataset.classes),
        "image_shape": list(dataset.image_shape),
    }


def write_run(folder: Path, dataset: PreparedDataset, *, silent: bool = True, **values) -> Path:
    """A run with a best checkpoint of epoch 2; double underscores in `values` stand for dots.

    `silent` leaves out what a checkpoint says of its data set, as older ones do.
    """
    given = {
        "data.path": str(dataset.root),
        "model.name": "main",
        "model.width": 0.125,
        "precision": "fp32",
        **{path.replace("__", "."): value for path, value in values.items()},
    }
    experiment = validate(Experiment, ("a test", given))
    state = CheckpointState(
        epoch=2,
        lineage=lineage_key(experiment, dataset.fingerprint),
        history=({"epoch": 1}, {"epoch": 2}),
        experiment=to_dict(experiment),
        weights={"sha256": ""},
        dataset=facts_of(dataset) if not silent else {},
    )
    snapshot = Snapshot(model=small_model(dataset).state_dict(), optimizer={}, plain={})
    save_weights(folder / "checkpoints" / "best", snapshot, state)
    (folder / "config.yaml").write_text(yaml.safe_dump(to_dict(experiment)))
    return folder


class Dying(nn.Module):
    """A network that ends its process at its second batch, unless the file is there already."""

    def __init__(self, network: nn.Module, file: Path) -> None:
        super().__init__()
        self.network, self.file, self.batches = network, file, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.batches += 1
        if self.batches == 2 and not self.file.exists():
            self.file.touch()
            os._exit(1)
        return self.network(images)
