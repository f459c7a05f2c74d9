"""From a plan to what slots need: the data in Ray's object store, and the size of each slot.

DRIVER. Used by `train` (one slot) and `ablate` (as many as fit). Imports torch and Ray's
libraries, which takes seconds: import it when the plan has been said.
"""

from __future__ import annotations

from ray.data import Dataset

from orchestrator.config.experiment import Data, Resources
from orchestrator.config.home import Home
from orchestrator.config.shared_folder import leave_mark
from orchestrator.ingest.dataset import PreparedDataset
from orchestrator.ingest.reading import read_training_data
from orchestrator.quiet import quiet_libraries
from orchestrator.training.pulse import BEAT_S
from orchestrator.training.warm_run import SlotPlan
from orchestrator.tuning.capacity import SlotCapacity

RAY_FILES = ".ray"
"""Folder of a run in which Ray Train and Tune keep their own files while it lasts."""

SILENT_SHARE = 0.8
"""Of `resources.stall_s`: a slot in which nothing moves is replaced before all are given up for it."""
LEAST_SILENCE_S = 3 * BEAT_S
"""Workers say that they move every `BEAT_S` only; of a smaller `stall_s` all are given up first."""


def ready_slots(
    dataset: PreparedDataset,
    data: Data,
    capacity: SlotCapacity,
    resources: Resources,
    home: Home,
) -> tuple[SlotPlan, dict[str, Dataset]]:
    """Read the data once for all slots, and say what each slot is.

    Args:
        dataset: a checked data set.
        data: which rows of it.
        capacity: what each worker gets.
        resources: limits that the user gave.
        home: of the run or study. Where it is a path, each worker makes sure that it sees that
            folder. Of one that an object store keeps, Ray's files lie in the driver's own folder: no
            checkpoint of ours goes through Ray, so no other node asks for them.
    """
    quiet_libraries()
    read = read_training_data(
        dataset,
        protocol=data.protocol,
        train_per_class=data.train_per_class,
        validation_per_class=data.validation_per_class,
    )
    plan = SlotPlan(
        workers=capacity.workers,
        cpus_per_worker=capacity.cpus_per_worker,
        gpus_per_worker=capacity.gpus_per_worker,
        image_shape=dataset.image_shape,
        num_classes=len(dataset.classes),
        dataset={
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "classes": list(dataset.classes),
            "image_shape": list(dataset.image_shape),
        },
        sizes=read.sizes,
        device_budget_gib=resources.device_budget_gib,
        start_timeout_s=resources.start_timeout_s,
        storage=home.local / RAY_FILES,
        silence_s=max(SILENT_SHARE * resources.stall_s, LEAST_SILENCE_S),
        mark=None if home.store else leave_mark(home.local, RAY_FILES),
        min_workers=capacity.min_workers,
    )
    return plan, read.datasets
