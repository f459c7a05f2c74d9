"""The two data sets of an evaluation: the one that a run was trained on, and the one measured.

DRIVER. They are mostly the same. The run's own is needed either way: it tells the names of the
model's classes and the size of its images, which rows it was trained on, and it holds the
validation split on which a temperature may be fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.config.errors import DatasetError
from orchestrator.inference.stored_model import StoredModel, was_trained_on
from orchestrator.ingest.dataset import PreparedDataset, open_dataset


@dataclass(frozen=True)
class DataSets:
    """Both sets; `own is measured` where they are one.

    Attributes:
        own: what the run was trained on.
        measured: what is evaluated.
        class_indices: the place of each class of `measured` among those of `own`.
    """

    own: PreparedDataset
    measured: PreparedDataset
    class_indices: tuple[int, ...]

    @property
    def same(self) -> bool:
        """Whether the set measured is the one that the run was trained on."""
        return self.own is self.measured


def open_data_sets(stored: StoredModel, wanted: str | None, run_place: str) -> DataSets:
    """Open and check both sets.

    Args:
        stored: the checkpoint.
        wanted: where the set to measure lies; None = the run's own.
        run_place: where the run's own lies. Not looked at where `wanted` turns out to be it.

    Raises:
        DatasetError: a set is missing or damaged, `run_place` holds another set, or the model can
            say nothing of the set to measure.
    """
    measured = open_dataset(wanted) if wanted else None
    if measured is None or not was_trained_on(stored, measured.fingerprint):
        own = _own(stored, run_place)
    else:
        own = measured
    measured = measured or own
    check_image_shape(measured, own.image_shape)
    return DataSets(own, measured, class_indices(own.classes, measured))


def _own(stored: StoredModel, place: str) -> PreparedDataset:
    try:
        own = open_dataset(place)
    except DatasetError as error:
        raise DatasetError(
            "run_data: must be the data set that the run was trained on, for its classes, image "
            f"size and validation split; it cannot be opened: {error} Give run_data=FOLDER if it "
            "was moved"
        ) from error
    if not was_trained_on(stored, own.fingerprint):
        raise DatasetError(
            f"run_data: must be the data set that the run was trained on; {place} holds another, "
            f"{own.name} ({own.fingerprint[:12]}). Give run_data=FOLDER of the right one"
        )
    return own


def class_indices(model_classes: Sequence[str], dataset: PreparedDataset) -> tuple[int, ...]:
    """The place of each class of a set among the model's classes, found by name.

    Raises:
        DatasetError: the set has a class that the model does not know.
    """
    unknown = [name for name in dataset.classes if name not in model_classes]
    if unknown:
        raise DatasetError(
            f"data.path: classes must be among the model's, {', '.join(model_classes)}; got "
            f"{', '.join(unknown)} in {dataset.name}. Prepare it without them: "
            f"drop=[{', '.join(unknown)}]"
        )
    return tuple(model_classes.index(name) for name in dataset.classes)


def check_image_shape(dataset: PreparedDataset, shape: tuple[int, int, int]) -> None:
    """Refuse images of another size than the model was trained on.

    Raises:
        DatasetError: says how to prepare the set again.
    """
    if dataset.image_shape != shape:
        got, want = ("x".join(map(str, each)) for each in (dataset.image_shape, shape))
        raise DatasetError(
            f"data.path: images must be {want}, as those that the model was trained on; got {got} "
            f"in {dataset.name}. Prepare it again with image_px={shape[0]}"
        )
