"""The configuration of `predict` and `export`: a checkpoint, and what is made of it.

Runs anywhere (PURE): no torch, no ray.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from orchestrator.config.evaluation import Checkpoint
from orchestrator.config.section import Count, LocalPath, Number, Section, StoragePath

RUN_DATA = (
    "where the set that the run was trained on lies now; looked at only where the checkpoint does "
    "not name its classes itself"
)
TABLES = (".csv", ".parquet")


class PredictConfig(Section):
    """Label images that are not part of a data set."""

    checkpoint: Checkpoint
    source: Annotated[
        tuple[LocalPath, ...],
        Field(
            min_length=1,
            description="images, folders of images (a video = the folder of its frames), or a list "
            "of both: [a.jpg, faces]",
        ),
    ]
    out: Annotated[
        LocalPath,
        Field(
            description="table to write, .csv or .parquet; files that cannot be read go to "
            "<name>.quarantine.csv beside it"
        ),
    ] = "predictions.csv"
    max_bad: Annotated[
        Number,
        Field(
            ge=0,
            le=1,
            description="share of files in quarantine above which it ends in error, with the table "
            "written all the same",
        ),
    ] = 0.01
    max_pixels: Annotated[
        Count, Field(description="largest image decoded, in pixels (decompression bombs)")
    ] = 4_000_000
    batch_size: Annotated[
        Count, Field(le=65_536, description="images that the model sees at once")
    ] = 64
    run_data: Annotated[StoragePath | None, Field(description=RUN_DATA)] = None

    @field_validator("source", mode="before")
    @classmethod
    def _one_or_several(cls, source: Any) -> Any:
        return (source,) if isinstance(source, str) else source

    @field_validator("out")
    @classmethod
    def _known_table(cls, out: str) -> str:
        if not out.lower().endswith(TABLES):
            raise ValueError(f"must end in {' or '.join(TABLES)}; got {out!r}")
        return out


class ExportConfig(Section):
    """Write a trained model for use elsewhere."""

    checkpoint: Checkpoint
    formats: Annotated[
        tuple[Literal["safetensors", "torch", "onnx"], ...],
        Field(
            min_length=1,
            description="what to write beside the card: safetensors (weights), torch "
            "(torch.export, .pt2), onnx (needs the extra `export`)",
        ),
    ] = ("safetensors", "torch", "onnx")
    out: Annotated[
        LocalPath | None,
        Field(description="folder to write; null = export in the folder of the run or study"),
    ] = None
    evaluation: Annotated[
        LocalPath | None,
        Field(
            description="folder of an evaluation of this checkpoint, for the card; null = the one "
            "of the test split that `evaluate` left in the run or study"
        ),
    ] = None
    run_data: Annotated[StoragePath | None, Field(description=RUN_DATA)] = None

    @field_validator("formats", mode="before")
    @classmethod
    def _one_or_several(cls, formats: Any) -> Any:
        return (formats,) if isinstance(formats, str) else formats
