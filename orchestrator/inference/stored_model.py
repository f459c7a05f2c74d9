"""A checkpoint opened for prediction: what it is, what it was trained on, its network.

DRIVER. Nothing is unpickled: the marker is JSON, the weights are safetensors, and both must have
the digests that the checkpoint gives (`training/checkpoint`). The network is built once here, so
that what does not fit is refused before a process is started; actors get a copy of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

import models
from orchestrator.config.errors import CheckpointError, ConfigError
from orchestrator.config.experiment import Experiment
from orchestrator.config.validate import validate
from orchestrator.training.checkpoint import MODEL, CheckpointState, read_state
from orchestrator.tuning.lineages import lineage_key


@dataclass(frozen=True)
class StoredModel:
    """A checked checkpoint.

    Attributes:
        folder: where it lies.
        state: what it says of itself.
        experiment: what was trained.
        weights: the content of its safetensors file.
    """

    folder: Path
    state: CheckpointState
    experiment: Experiment
    weights: bytes

    @property
    def sha256(self) -> str:
        """Digest of the weights, hexadecimal."""
        return hashlib.sha256(self.weights).hexdigest()


def open_model(folder: Path) -> StoredModel:
    """Check a checkpoint and read it.

    Raises:
        CheckpointError: damaged, incomplete, or of an experiment that this version does not know.
    """
    state = read_state(folder)
    try:
        experiment = validate(Experiment, ("the checkpoint", state.experiment))
    except ConfigError as error:
        raise CheckpointError(
            f"{folder}: its experiment must be valid; got {error}. Read it with the version that "
            "wrote it"
        ) from error
    return StoredModel(folder, state, experiment, (folder / MODEL).read_bytes())


def was_trained_on(stored: StoredModel, dataset_fingerprint: str) -> bool:
    """Whether the data set of this fingerprint is the one that the checkpoint was trained on.

    A lineage's key is a digest of the experiment, in which the data set and a file of first
    weights count by their content: it is computed anew and compared. The file may be gone by
    now; then the digest that was noted when it was loaded stands for it.
    """
    experiment = stored.experiment
    noted = experiment.model.model_copy(update={"weights": stored.state.weights.get("sha256", "")})
    candidates = (experiment, experiment.model_copy(update={"model": noted}))
    return any(
        lineage_key(candidate, dataset_fingerprint) == stored.state.lineage
        for candidate in candidates
    )


def build_network(stored: StoredModel, *, num_classes: int, image_px: int) -> nn.Module:
    """The network with its trained weights, on the CPU, ready to predict.

    Raises:
        CheckpointError: the weights do not fit the network of their own experiment.
    """
    wanted = stored.experiment.model
    try:
        network, _ = models.build(
            wanted.name,
            num_classes=num_classes,
            image_size=image_px,
            width=wanted.width,
            dropout=wanted.dropout,
            normalisation=wanted.normalisation,
            weights="random",
        )
        network.load_state_dict(load(stored.weights))
    except (models.ModelError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"{stored.folder}: its weights must fit {wanted.name} for {num_classes} classes and "
            f"images of {image_px} px; got: {' '.join(str(error).split())[:300]}"
        ) from error
    return network.eval()
