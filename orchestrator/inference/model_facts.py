"""What a checkpoint's outputs and inputs are: the names of its classes, the size of its images.

DRIVER. A checkpoint says it itself; those that were written before it did are asked through the
data set that they were trained on, which must be the right one and still be there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.config.errors import CheckpointError
from orchestrator.inference.data_sets import open_data_sets
from orchestrator.inference.stored_model import StoredModel, was_trained_on

MAX_PX = 1024


@dataclass(frozen=True)
class ModelFacts:
    """What goes in and what comes out.

    Attributes:
        classes: in the order of the outputs.
        image_shape: (H, W, C), H = W, C = 3.
        dataset: name of the set it was trained on.
        dataset_fingerprint: of that set.
    """

    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    dataset: str
    dataset_fingerprint: str


def model_facts(stored: StoredModel, run_data: str) -> ModelFacts:
    """Find them.

    Args:
        stored: the checkpoint.
        run_data: where the set that it was trained on lies, for a checkpoint that is silent.

    Raises:
        CheckpointError: what it says of them cannot be so.
        DatasetError: it is silent, and the set is not at `run_data`.
    """
    if stored.state.dataset:
        return _said(stored, stored.state.dataset)
    own = open_data_sets(stored, None, run_data).own
    return ModelFacts(own.classes, own.image_shape, own.name, own.fingerprint)


def _said(stored: StoredModel, said: Any) -> ModelFacts:
    """A checkpoint is input: what it says is checked before it is believed."""
    try:
        side, width, channels = (int(value) for value in said["image_shape"])
        facts = ModelFacts(
            classes=tuple(str(name) for name in said["classes"]),
            image_shape=(side, width, channels),
            dataset=str(said["name"]),
            dataset_fingerprint=str(said["fingerprint"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{stored.folder}: must say of its data set name, fingerprint, classes and "
            f"image_shape; got {str(said)[:200]!r}"
        ) from error
    possible = 1 <= side <= MAX_PX and width == side and channels == 3
    if not possible or len(set(facts.classes)) != len(facts.classes) or len(facts.classes) < 2:
        raise CheckpointError(
            f"{stored.folder}: must be of square RGB images and of classes with names of their "
            f"own; got {facts.image_shape} and {', '.join(facts.classes)[:200]}"
        )
    if not was_trained_on(stored, facts.dataset_fingerprint):
        raise CheckpointError(
            f"{stored.folder}: its data set must be the one of its lineage; it is another. The "
            "checkpoint was put together from two"
        )
    return facts
