"""The configurations of `diagnose` and `adapt`: a checkpoint and the set of the place it is used in.

Runs anywhere (PURE): no torch, no ray.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.config.commands import Address
from orchestrator.config.evaluation import (
    Actors,
    BatchSize,
    Checkpoint,
    GpusPerActor,
    RunData,
    Split,
    Timeout,
)
from orchestrator.config.experiment import Resources
from orchestrator.config.section import Count, Flag, LocalPath, Number, Section, StoragePath

Production = Annotated[
    StoragePath,
    Field(
        description="the prepared set of the place where the model is used; another than the "
        "run's own"
    ),
]
Protocol = Annotated[
    Literal["group", "random", "official"] | None,
    Field(
        description="split protocol of it; null = the one that the run was trained with (group, "
        "where that is official and it has no splits of its own)"
    ),
]
Seed = Annotated[Count, Field(ge=0, lt=2**31, description="of everything that is drawn")]
Remedy = Literal[
    "prior_correction",
    "prior_correction_counted",
    "old_data",
    "more_data",
    "since",
    "classes",
    "balanced",
    "importance",
]
REMEDIES: tuple[Remedy, ...] = (
    "prior_correction",
    "prior_correction_counted",
    "old_data",
    "more_data",
    "since",
    "classes",
    "balanced",
    "importance",
)


class DiagnoseConfig(Section):
    """Has production shifted against the run's validation split, and how?"""

    checkpoint: Checkpoint
    production: Production
    protocol: Protocol = None
    split: Annotated[Split, Field(description="which rows of it")] = "all"
    run_data: RunData = None
    labels: Annotated[
        Flag,
        Field(
            description="check what was found by production's labels; false = there are none: do "
            "not look at them (such a set is prepared under any one of the classes)"
        ),
    ] = True
    max_rows: Annotated[
        Count,
        Field(
            ge=100,
            description="rows of each set at most; of more, every n-th along its videos is taken",
        ),
    ] = 30_000
    seed: Seed = 0
    out: Annotated[
        LocalPath | None,
        Field(
            description="folder for the results; null = diagnoses/<production> in the folder of "
            "the run or study, with the set's fingerprint behind it where another of that name has it"
        ),
    ] = None
    batch_size: BatchSize = 256
    actors: Actors = 0
    gpus_per_actor: GpusPerActor = None
    timeout_s: Timeout = 600.0
    address: Address = "auto"


class AdaptConfig(Section):
    """Try remedies for production, each measured before and after on held-out groups."""

    checkpoint: Checkpoint
    production: Production
    run_data: RunData = None
    remedies: Annotated[
        tuple[Remedy, ...],
        Field(min_length=1, description=f"what to try, of {', '.join(REMEDIES)}"),
    ] = REMEDIES
    classes: Annotated[
        tuple[str, ...],
        Field(min_length=1, description="remedy `classes` adds production rows of these only"),
    ] = ("disgust", "fear")
    since: Annotated[
        Count | None,
        Field(
            ge=0,
            description="remedy `since` adds production rows from this place of the source's "
            "listing on (column `listed`), when the shift began; the adapter `folder` lists class by "
            "class, not by time; null = leave that remedy out",
        ),
    ] = None
    replay: Annotated[
        Number,
        Field(
            ge=0,
            le=1000,
            description="old training rows to each new one in `classes` and `since`, which would "
            "be forgotten otherwise",
        ),
    ] = 1.0
    adapt_share: Annotated[
        Number,
        Field(
            ge=0.1, le=0.9, description="share of production to adapt with; the rest is held out"
        ),
    ] = 0.5
    epochs: Annotated[Count, Field(le=9999, description="epochs of each training")] = 3
    lr: Annotated[
        Number | None,
        Field(gt=0, le=1e6, description="learning rate; null = a tenth of the run's own"),
    ] = None
    seed: Seed = 0
    bootstrap: Annotated[
        Count, Field(ge=100, le=100_000, description="resamples behind each interval")
    ] = 4000
    resources: Resources = Resources()
    out: Annotated[
        LocalPath | None,
        Field(
            description="folder for the results, which all nodes see; null = "
            "adaptations/<production> in the folder of the run or study, where that is no object store"
        ),
    ] = None
    batch_size: BatchSize = 256
    actors: Actors = 0
    gpus_per_actor: GpusPerActor = None
    timeout_s: Timeout = 600.0
    address: Address = "auto"
