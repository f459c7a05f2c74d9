"""The configuration of `evaluate`: which checkpoint, on which rows, with what of the cluster.

Runs anywhere (PURE): no torch, no ray.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.config.commands import Address
from orchestrator.config.section import Count, Flag, LocalPath, Number, Section, StoragePath

Split = Literal["test", "validation", "train", "all"]
Checkpoint = Annotated[
    StoragePath,
    Field(
        description="a checkpoint's folder; a run folder of `train` = its best checkpoint; a "
        "study folder of `ablate` = the winner of its leaderboard; a path or s3://bucket/folder"
    ),
]
RunData = Annotated[
    StoragePath | None,
    Field(
        description="where the set that the run was trained on lies now; null = where it lay then"
    ),
]
BatchSize = Annotated[Count, Field(le=65_536, description="images that a model sees at once")]
Actors = Annotated[
    Count, Field(ge=0, le=10_000, description="processes that hold the model; 0 = as fits")
]
GpusPerActor = Annotated[
    Number | None,
    Field(
        ge=0,
        le=1,
        multiple_of=0.0001,
        description="GPUs of each; a fraction shares one GPU; null = 1 where there are GPUs",
    ),
]
Timeout = Annotated[
    Number,
    Field(gt=0, description="longest time without progress before it is an error, seconds"),
]


class EvaluatedData(Section):
    """Which prepared data set, and which of its split protocols."""

    path: Annotated[
        StoragePath | None,
        Field(
            description="folder written by `prepare` (a path or s3://bucket/folder), or 'embedded' "
            "for the drawn faces beside the run; null = the set that the run was trained on"
        ),
    ] = None
    protocol: Annotated[
        Literal["group", "random", "official"] | None,
        Field(
            description="split protocol; null = the one that the run was trained with (group, "
            "where that is official and another set has no splits of its own)"
        ),
    ] = None


class EvaluateConfig(Section):
    """Measure a checkpoint on a split, or on another prepared set."""

    checkpoint: Checkpoint
    data: EvaluatedData = EvaluatedData()
    run_data: RunData = None
    split: Annotated[Split, Field(description="which rows of the set")] = "test"
    out: Annotated[
        LocalPath | None,
        Field(
            description="folder for the results; null = "
            "evaluations/<data>-<protocol>-<split> in the folder of the run or study, with the "
            "set's fingerprint behind it where another set of that name has it"
        ),
    ] = None
    calibrate: Annotated[
        Flag | None,
        Field(
            description="fit a temperature on the validation split of the run; null = unless that "
            "is what is evaluated"
        ),
    ] = None
    bootstrap: Annotated[
        Count, Field(ge=100, le=100_000, description="resamples behind the interval of macro-F1")
    ] = 1000
    batch_size: BatchSize = 256
    actors: Actors = 0
    gpus_per_actor: GpusPerActor = None
    timeout_s: Timeout = 600.0
    address: Address = "auto"
