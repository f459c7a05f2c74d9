"""From the rows of a listing to a file of the data set, in one step that can be killed and repeated.

`stage` decodes a slice of rows into a Parquet file of images, then leaves a summary of all its
rows and, last, a receipt that vouches for both: a slice whose receipt tells the truth is done.
What needs the rows of all slices (splits, copies) is made from the summaries and never touches a
pixel. A worker does not wait for the disk: the receipt's digests tell whether it has the files.

Runs in a WORKER. In memory: one slice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

import datasets
from datasets import Face, SourceError, Unreadable
from orchestrator.config.folder import Folder
from orchestrator.config.storage import sha256_of
from orchestrator.ingest.decoding import decode
from orchestrator.ingest.listing import BAD, KEPT, Recipe, Slice
from orchestrator.ingest.manifest import File, part_schema
from orchestrator.ingest.perceptual_hash import perceptual_hashes

ROW_GROUP_BYTES = 16 * 2**20  # what a reader holds at once; Ray Data's blocks come out alike

SUMMARY = pa.schema(
    [
        ("kind", pa.string()),  # kept | bad | left out
        ("reason", pa.string()),
        ("slice", pa.int64()),
        ("listed", pa.int64()),
        ("source", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("frame", pa.int32()),
        ("split", pa.string()),
        ("digest", pa.binary(32)),  # sha256 of the pixels written; null where not kept
        ("look", pa.uint64()),  # their perceptual hash; null where not kept
    ]
)


class Receipt(BaseModel):
    """What a finished slice has left.

    Attributes:
        file: Its file of images; None where no row of it was kept.
        summary: sha256 of its summary.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: File | None
    summary: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Staged:
    """Names of what a slice leaves: a file of the set, and two of unfinished work."""

    part: str
    summary: str
    receipt: str


def staged(piece: Slice) -> Staged:
    """Names a slice's files: notes by its key, so that another plan never meets them."""
    stem = f"slice-{piece.index:05d}-{piece.key}"
    return Staged(f"part-{piece.index:05d}.parquet", f"{stem}.parquet", f"{stem}.json")


def stage(recipe: Recipe, piece: Slice, out: Folder, partial: Folder) -> Receipt:
    """Decodes a slice into a file of the set, and leaves a summary and a receipt.

    Args:
        recipe: What a row's pixels depend on.
        piece: The rows.
        out: Folder of the set.
        partial: Folder of unfinished work.

    Raises:
        SourceError: The source cannot be read at all, on this node at least.
        ValueError: The adapter does not yield one result a row.
    """
    names = staged(piece)
    wanted = [face for face in piece.faces if recipe.kind(face) == KEPT]
    px = recipe.image_px
    images = np.empty((len(wanted), px, px, 3), dtype=np.uint8)
    num_kept = 0
    reasons: list[str] = []  # of the wanted rows: "" = decoded
    for decoded in _decoded(recipe, wanted):
        if isinstance(decoded, Unreadable):
            reasons.append(decoded.reason or "unreadable")
            continue
        images[num_kept] = decoded
        num_kept += 1
        reasons.append("")
    images = images[:num_kept]
    summary = _summary(recipe, piece, reasons, images)
    file = None
    if num_kept:
        kept = summary.filter(pc.equal(summary["kind"], KEPT))
        file = write_part(out, names.part, images, _columns(kept, recipe))
    receipt = Receipt(file=file, summary=_write_summary(partial, names.summary, summary))
    partial.put_bytes(names.receipt, receipt.model_dump_json().encode(), durable=False)
    return receipt


def _write_summary(partial: Folder, name: str, summary: pa.Table) -> str:
    """Writes the summary; returns its digest."""

    def write(path: Path) -> str:
        pq.write_table(summary, path)
        return sha256_of(path)

    return partial.put(name, write, durable=False)


def write_part(out: Folder, name: str, images: npt.NDArray[np.uint8], columns: pa.Table) -> File:
    """Writes one file of images; the disk may not have it yet.

    Args:
        out: Folder of the set.
        name: Of the file.
        images: Shape (N, H, W, 3).
        columns: All other columns of these rows, in the order of the schema.
    """
    schema = part_schema(images.shape[1:])
    width = schema.field("image").type.byte_width
    buffers = [None, pa.py_buffer(np.ascontiguousarray(images))]
    pixels = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(images), buffers)
    table = pa.table([pixels, *columns.columns], schema=schema)
    rows = max(1, ROW_GROUP_BYTES // width)
    return write_parquet(table, out, name, row_group_size=rows, durable=False)


def write_parquet(
    table: pa.Table, out: Folder, name: str, *, row_group_size: int, durable: bool = True
) -> File:
    """Writes one file of the set; says what it must be."""
    plain = [field for field in table.schema if field.name != "image"]

    def write(path: Path) -> File:
        pq.write_table(
            table,
            path,
            compression="lz4",
            row_group_size=row_group_size,
            use_dictionary=[field.name for field in plain if field.type == pa.string()],
            # Statistics of pixels would be two whole images a group.
            write_statistics=[field.name for field in plain],
            store_schema=False,  # no Arrow schema inside: see dataset.py
        )
        size, digest = path.stat().st_size, sha256_of(path)
        return File(name=name, rows=table.num_rows, bytes=size, sha256=digest)

    return out.put(name, write, durable=durable)


def _columns(kept: pa.Table, recipe: Recipe) -> pa.Table:
    """What a file of images says of its rows beside the pixels."""
    labels = pc.index_in(kept["label"], pa.array(recipe.classes)).cast(pa.int8())
    return kept.select(["listed", "group", "frame", "source"]).add_column(1, "label", labels)


def _decoded(recipe: Recipe, faces: Sequence[Face]) -> Iterator[npt.NDArray[np.uint8] | Unreadable]:
    """Brings the rows' pixels; what the source raises is told from what `out` does."""
    adapter = datasets.adapter(recipe.adapter)
    try:
        results = adapter.read(recipe.source, faces, recipe.options)
        for _, pixels in zip(faces, results, strict=True):
            yield decode(pixels, image_px=recipe.image_px, max_pixels=recipe.max_pixels)
    except OSError as error:
        raise SourceError(
            f"source: must be readable on every node; got {error}. Run the same command again when "
            "it is: what is decoded is kept."
        ) from error


def _summary(
    recipe: Recipe, piece: Slice, reasons: Sequence[str], images: npt.NDArray[np.uint8]
) -> pa.Table:
    """Says of each row what became of it."""
    next_reason, next_image = iter(reasons), iter(images)
    next_look = iter(perceptual_hashes(images).tolist())
    rows = []
    for listed, face in enumerate(piece.faces, start=piece.start):
        kind, reason, digest, look = recipe.kind(face), recipe.reason(face), None, None
        if kind == KEPT:
            reason = next(next_reason)
            kind = BAD if reason else KEPT
        if kind == KEPT:
            digest, look = hashlib.sha256(next(next_image)).digest(), next(next_look)
        rows.append(
            {
                "kind": kind,
                "reason": _text(reason),
                "slice": piece.index,
                "listed": listed,
                "source": _text(face.source),
                "label": _text(face.label),
                "group": _text(face.group) or (digest and f"sha256:{digest.hex()[:16]}") or "",
                "frame": face.frame,
                "split": face.split,
                "digest": digest,
                "look": look,
            }
        )
    return pa.Table.from_pylist(rows, schema=SUMMARY)


def _text(text: str) -> str:
    """Escapes what is no UTF-8: file names can hold any byte."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
