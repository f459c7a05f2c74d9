"""The configuration of each command: an experiment plus where it runs and what it leaves.

Runs anywhere (PURE): no torch, no ray.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from orchestrator.config.experiment import Experiment, Resources
from orchestrator.config.section import (
    Count,
    Flag,
    FolderName,
    LocalPath,
    Number,
    Section,
    StoragePath,
    Whole,
)
from orchestrator.config.stop_rule import StopRule

Address = Annotated[
    str,
    Field(
        description="Ray cluster to use: 'auto' = the one this runs in (a submitted job) or a "
        "private one on this machine; 'local' = always private; host:port = that one"
    ),
]


class PrepareConfig(Section):
    """Raw faces to audited Parquet."""

    dataset: Annotated[str, Field(description="an adapter: a file of datasets/")] = "synthetic"
    source: Annotated[str, Field(description="where the raw data lies (file or folder)")] = ""
    out: Annotated[
        StoragePath, Field(description="folder to write; a path or s3://bucket/folder")
    ] = "prepared/synthetic"
    name: Annotated[str, Field(description="name of the set; '' = the folder's")] = ""
    options: Annotated[
        dict[str, str | int | float | bool],
        Field(description="options of the adapter, e.g. options.split_column=usage"),
    ] = {}  # noqa: RUF012 - pydantic copies defaults
    classes: Annotated[
        tuple[str, ...],
        Field(min_length=2, max_length=127, description="class names in the order of their index"),
    ] = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
    drop: Annotated[tuple[str, ...], Field(description="labels to leave out, e.g. [neutral]")] = ()
    every: Annotated[
        Count, Field(description="of the frames of each video, take one in so many")
    ] = 1
    image_px: Annotated[
        Count, Field(ge=8, le=1024, description="side of the square images written, pixels")
    ] = 96
    fractions: Annotated[
        tuple[Number, Number, Number],
        Field(description="train, validation, test shares of the group and random protocols"),
    ] = (0.6, 0.2, 0.2)
    sizes: Annotated[
        tuple[Whole, Whole, Whole] | None,
        Field(
            description="exact train, validation, test rows of the random protocol in place of "
            "fractions; the study's are [26061, 8670, 8704]"
        ),
    ] = None
    together: Annotated[
        Literal["none", "exact", "near"],
        Field(
            description="copies of an image that share one split in every protocol: none, exact = "
            "the same pixels, near = those that look alike too"
        ),
    ] = "none"
    seed: Annotated[Count, Field(ge=0, lt=2**31, description="seed of the splits")] = 0
    max_bad: Annotated[
        Number,
        Field(ge=0, le=1, description="share of unreadable rows above which it ends in error"),
    ] = 0.01
    rows_per_file: Annotated[
        Count,
        Field(
            le=65_536,
            description="rows of a Parquet file, which one worker decodes and holds at once",
        ),
    ] = 2048
    max_pixels: Annotated[
        Count,
        Field(
            description="largest image decoded, in pixels (decompression bombs); the pictures that "
            "expw and affectnet cut faces from may have 25 million"
        ),
    ] = 4_000_000
    audit: Annotated[
        Flag, Field(description="audit the finished set in `out` again, and write nothing else")
    ] = False
    address: Address = "auto"

    @field_validator("sizes")
    @classmethod
    def _rows_of_each_split(cls, sizes: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if sizes is not None and min(sizes) < 0:
            raise ValueError("must be three numbers of rows >= 0, e.g. [26061, 8670, 8704]")
        return sizes

    @model_validator(mode="after")
    def _sizes_can_be_met(self) -> Self:
        if self.sizes is not None and self.together != "none":
            raise ValueError(
                "sizes: exact sizes cannot be met where copies share a split; set together=none"
            )
        return self

    @field_validator("fractions")
    @classmethod
    def _shares_of_one(cls, fractions: tuple[float, ...]) -> tuple[float, ...]:
        if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
            raise ValueError("must be three shares >= 0 that add up to 1, e.g. [0.6, 0.2, 0.2]")
        return fractions


class TrainConfig(Experiment):
    """Train one experiment."""

    resources: Resources = Resources()
    out: Annotated[
        StoragePath,
        Field(
            description="folder that holds run folders: a path that all nodes see, or "
            "s3://bucket/folder"
        ),
    ] = "runs"
    name: Annotated[
        FolderName, Field(description="run folder's name; '' = from the experiment")
    ] = ""
    address: Address = "auto"


class AblateConfig(Experiment):
    """Train every trial of a search space at once and rank them by macro-F1."""

    space: Annotated[
        str, Field(min_length=1, description="a file of search_spaces/ or a path to a YAML file")
    ] = "quickstart"
    stop: Annotated[
        StopRule, Field(description="when trials end early; goes over the space's own")
    ] = StopRule()
    resources: Resources = Resources()
    out: Annotated[
        StoragePath,
        Field(
            description="folder that holds study folders: a path that all nodes see, or "
            "s3://bucket/folder"
        ),
    ] = "runs"
    study: Annotated[
        FolderName, Field(description="study folder's name; '' = from its contents")
    ] = ""
    seeds: Annotated[
        Count,
        Field(
            ge=0,
            le=100,
            description="repeat each configuration with so many seeds, counted up from seed; 0 = as "
            "the space says",
        ),
    ] = 0
    keep: Annotated[
        Literal["all", "best", "winner"],
        Field(
            description="weights that stay once all trials have ended: all = each trial's, and two "
            "points to go on from a lineage; best = each lineage's best trial's, and one point; "
            "winner = the winner's alone, so that longer trials begin anew"
        ),
    ] = "all"
    dry_run: Annotated[Flag, Field(description="print the plan and stop")] = False
    open_page: Annotated[
        Flag,
        Field(description="open the leaderboard in the browser of this desktop, if it has one"),
    ] = True
    address: Address = "auto"


class LeaderboardConfig(Section):
    """Show the leaderboard of a study from its ledger."""

    study: Annotated[
        StoragePath, Field(description="a study's folder, a path or s3://bucket/folder/study")
    ]
    format: Annotated[
        Literal["table", "markdown", "csv", "json", "html", "effects"],
        Field(
            description="how to print it; html = write the page into the study's folder; effects = "
            "importance and main effects of the fields, with their pictures"
        ),
    ] = "table"


class ReportConfig(Section):
    """Set a study beside the paper that it reproduces."""

    study: Annotated[
        StoragePath,
        Field(
            description="folder of a study of `ablate`, or one that holds studies, runs and what "
            "was made of them, such as that of `reproduce`; a path or s3://bucket/folder"
        ),
    ]
    also: Annotated[
        tuple[StoragePath, ...],
        Field(
            description="more of the same: the other protocol's study, runs of `train`, "
            "evaluations, diagnoses, adaptations, prepared sets; in the bucket of `study`, if that is in one"
        ),
    ] = ()
    out: Annotated[
        LocalPath | None,
        Field(
            description="folder to write; null = report in the study's folder, as it must be in an "
            "object store: the report's figures lead to files beside it"
        ),
    ] = None


class DoctorConfig(Section):
    """Check this machine and print what to mend."""

    format: Annotated[
        Literal["text", "json"],
        Field(description="text = lines to read, json = one JSON object; --json means the latter"),
    ] = "text"
    out: Annotated[
        StoragePath,
        Field(
            description="folder that is to hold runs, a path or s3://bucket/folder: whether they "
            "can be kept there, by every node of a cluster"
        ),
    ] = "runs"
    address: Address = "auto"
