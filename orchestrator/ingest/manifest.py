"""What lies beside the data: `manifest.json`, which says what the files must be.

The manifest is input like any other: unknown keys, wrong types and sums that do not add up are
refused when it is read.

Runs anywhere (PURE): no ray, no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from orchestrator.ingest.splits import SPLITS, SplitIndices

VERSION = 2
MAX_NAME = 200
MAX_SIDE = 1024
FILE_NAME = "manifest.json"
PARTIAL = ".partial"  # folder of work that is not finished
SPLIT_COLUMN = "split_"
INDEX = "rows.parquet"

_ROW = (
    ("listed", pa.int64()),  # the row's place in the listing of the source: ascending, with gaps
    ("label", pa.int8()),
    ("group", pa.string()),
    ("frame", pa.int32()),
    ("source", pa.string()),
)

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Natural = Annotated[int, Field(ge=0)]
Protocol = Annotated[str, Field(pattern="^(group|random|official)$")]
Counts = dict[Protocol, dict[str, dict[str, Natural]]]


def _one_line(text: str) -> str:
    if not text.isprintable() or len(text) > MAX_NAME:
        raise ValueError(f"must be at most {MAX_NAME} printable characters")
    return text


Name = Annotated[str, AfterValidator(_one_line)]
"""Names end up in terminals and pages: nothing in them may act there."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class File(_Part):
    """One Parquet file of the set."""

    name: Annotated[str, Field(pattern=r"^(part-[0-9]{5}|rows)\.parquet$")]
    rows: Natural
    bytes: Natural
    sha256: Sha256


class Rows(_Part):
    """The equation of the set: listed = kept + bad + left_out."""

    listed: Natural
    kept: Natural
    bad: Natural
    left_out: Natural


class LeakCounts(_Part):
    """What a protocol lets across (`audit.Leak`)."""

    duplicate_groups_across: Natural
    near_groups_across: Natural
    groups_across: Natural
    held_out_rows: Natural
    held_out_duplicates: Natural
    held_out_near: Natural
    held_out_same_group: Natural


class BalanceCounts(_Part):
    """How a class is spread over videos or subjects (`audit.ClassBalance`)."""

    rows: Natural
    groups: Natural
    largest_group_rows: Natural


class AuditCounts(_Part):
    """Copies, balance and leaks of the set (`audit.Audit`)."""

    duplicate_groups: Natural
    duplicate_rows: Natural
    label_conflicts: Natural
    near_threshold: Natural
    near_groups: Natural
    near_rows: Natural
    near_label_conflicts: Natural
    near_groups_across_groups: Natural
    groups: Natural
    classes: dict[str, BalanceCounts]
    leaks: dict[Protocol, LeakCounts]


class Source(_Part):
    """Where the rows came from; names only, no path of the machine."""

    adapter: str
    name: str
    options: dict[str, JsonValue]
    provenance: dict[str, str | int] = {}


class Manifest(_Part):
    """All of `manifest.json`."""

    version: Literal[2]
    name: Name
    fingerprint: Sha256
    plan: Sha256
    classes: Annotated[list[Name], Field(min_length=1, max_length=127)]
    image_shape: Annotated[
        list[Annotated[int, Field(ge=1, le=MAX_SIDE)]], Field(min_length=3, max_length=3)
    ]
    rows: Rows
    counts: Counts
    files: list[File]
    index: File
    source: Source
    settings: dict[str, JsonValue]
    audit: AuditCounts
    written_by: str

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        rows = self.rows
        if self.image_shape[2] != 3:
            raise ValueError("image_shape: must be height, width and 3 channels")
        if rows.listed != rows.kept + rows.bad + rows.left_out:
            raise ValueError("rows: listed must be kept + bad + left_out")
        if rows.kept != sum(file.rows for file in self.files):
            raise ValueError("rows: kept must be the rows of all files")
        if rows.kept != self.index.rows or self.index.name != INDEX:
            raise ValueError(f"index: must be {INDEX} with a row for each row kept")
        if INDEX in {file.name for file in self.files}:
            raise ValueError(f"files: must not name {INDEX}, which holds no images")
        for protocol, splits in self.counts.items():
            if set(splits) != set(SPLITS) or any(
                list(of_class) != self.classes for of_class in splits.values()
            ):
                raise ValueError(f"counts.{protocol}: must have all splits and all classes")
            if rows.kept != sum(sum(of_class.values()) for of_class in splits.values()):
                raise ValueError(f"counts.{protocol}: must add up to the rows kept")
        return self


def part_schema(image_shape: Sequence[int]) -> pa.Schema:
    """The columns of a file of images: plain types only, as no reader can be tricked by those."""
    height, width, channels = image_shape
    return pa.schema([("image", pa.binary(height * width * channels)), *_ROW])


def index_schema(protocols: Sequence[str]) -> pa.Schema:
    """The columns of the index of all rows, in the order of `row_id`."""
    splits = [(SPLIT_COLUMN + protocol, pa.string()) for protocol in protocols]
    return pa.schema([("row_id", pa.int64()), *_ROW, *splits])


def count(
    labels: npt.NDArray[np.integer], splits: Mapping[str, SplitIndices], classes: Sequence[str]
) -> dict[str, dict[str, dict[str, int]]]:
    """Counts rows by protocol, split and class."""
    return {
        protocol: {
            split: dict(
                zip(
                    classes,
                    np.bincount(labels[of_row == index], minlength=len(classes)).tolist(),
                    strict=True,
                )
            )
            for index, split in enumerate(SPLITS)
        }
        for protocol, of_row in splits.items()
    }


def fingerprint(
    *,
    classes: Sequence[str],
    image_shape: Sequence[int],
    digests: Sequence[bytes],
    labels: npt.NDArray[np.integer],
    groups: Sequence[str],
    splits: Mapping[str, SplitIndices],
) -> str:
    """Digest of what a training can see of a set, whatever files it is cut into."""
    digest = hashlib.sha256(json.dumps([list(classes), list(image_shape), sorted(splits)]).encode())
    digest.update(b"".join(digests))
    digest.update(labels.astype("<i8").tobytes())
    digest.update(json.dumps(list(groups)).encode())
    for protocol in sorted(splits):
        digest.update(splits[protocol].astype("<i8").tobytes())
    return digest.hexdigest()
