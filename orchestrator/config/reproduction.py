"""The configuration of `reproduce`: the whole study, in small or as it is.

Runs anywhere (PURE): no torch, no ray.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.config.commands import Address
from orchestrator.config.section import Count, Flag, LocalPath, Section


class ReproduceConfig(Section):
    """Run the whole study, step by step."""

    preset: Annotated[
        Literal["quick", "full"],
        Field(
            description="quick = all of it in small, on drawn faces that need no download; full = "
            "the study on Aff-Wild2: needs source and production"
        ),
    ] = "quick"
    source: Annotated[str, Field(description="full: folder of Aff-Wild2 as it is released")] = ""
    production: Annotated[str, Field(description="full: folder of labelled production faces")] = ""
    production_dataset: Annotated[
        str, Field(min_length=1, description="full: adapter that reads production")
    ] = "folder"
    production_options: Annotated[
        dict[str, str | int | float | bool],
        Field(
            description="full: options of that adapter; of `folder` name the videos or subjects, or "
            "each image is a group of its own, e.g. production_options.group_pattern=PATTERN"
        ),
    ] = {}  # noqa: RUF012 - pydantic copies defaults
    every: Annotated[
        Count,
        Field(
            description="full: of the frames of each video take one in so many; of the 334,083 "
            "labelled frames of Aff-Wild2 one in 8 is about as many as the study had"
        ),
    ] = 8
    weights: Annotated[
        str, Field(min_length=1, description="full: first weights of main: a name, file or URL")
    ] = "vggface"
    baseline_weights: Annotated[
        str, Field(min_length=1, description="full: first weights of baseline")
    ] = "imagenet"
    workers: Annotated[
        Count, Field(le=64, description="data-parallel workers of each training")
    ] = 1
    out: Annotated[
        LocalPath,
        Field(description="folder for all of it; on a cluster one that every node sees"),
    ] = "runs/reproduce"
    dry_run: Annotated[Flag, Field(description="print the commands and stop")] = False
    address: Address = "auto"

    @model_validator(mode="after")
    def _full_has_its_paths(self) -> Self:
        missing = [name for name in ("source", "production") if not getattr(self, name)]
        if self.preset == "full" and missing:
            raise ValueError(
                f"{missing[0]}: must be given with preset=full; got ''. Name the folder: "
                f"{' '.join(f'{name}=FOLDER' for name in missing)}"
            )
        return self
