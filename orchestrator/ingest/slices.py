"""From the rows of a listing to a file of the data set, in one step that can be killed and repeated.

`stage` decodes a slice of rows into a Parquet file of images, then leaves a summary of all its
rows and, last, a receipt that vouches for both: a slice whose receipt tells the truth is done.
What needs the rows of all slices (splits, copies) is made from the summaries and never touches a
pixel. A worker does not wait for the disk: the receipt's digests tell whether it has the files.

Runs in a WORKER. In memory: one row group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, TypeVar

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

T = TypeVar("T")

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
    summaries: list[pa.Table] = []
    file = _write_groups(out, names.part, _groups(recipe, piece, summaries))
    summary = _write_summary(partial, names.summary, pa.concat_tables(summaries))
    receipt = Receipt(file=file, summary=summary)
    partial.put_bytes(names.receipt, receipt.model_dump_json().encode(), durable=False)
    return receipt


def _groups(recipe: Recipe, piece: Slice, summaries: list[pa.Table]) -> Iterator[pa.Table]:
    """Decodes a slice, a row group of its file at a time, which holds until the next one is asked.

    Args:
        recipe: What a row's pixels depend on.
        piece: The rows.
        summaries: Takes what became of each row.
    """
    px = recipe.image_px
    buffer = np.empty((_rows_of_group(px * px * 3), px, px, 3), dtype=np.uint8)
    decoded = _decoded(recipe, [face for face in piece.faces if recipe.kind(face) == KEPT])
    for at in range(0, len(piece.faces), len(buffer)):
        faces = piece.faces[at : at + len(buffer)]
        wanted = sum(recipe.kind(face) == KEPT for face in faces)
        images, reasons = _filled(buffer, islice(decoded, wanted))
        part = Slice(piece.index, piece.start + at, faces, piece.key, piece.digest)
        summary = _summary(recipe, part, reasons, images)
        summaries.append(summary)
        if len(images):
            kept = summary.filter(pc.equal(summary["kind"], KEPT))
            yield _group_of(images, _columns(kept, recipe))
    next(decoded, None)  # an adapter that has more to say than it was asked fails here


def _filled(
    buffer: npt.NDArray[np.uint8], decoded: Iterable[npt.NDArray[np.uint8] | Unreadable]
) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Puts images into the buffer; returns its part that they fill, and each row's fault or ""."""
    reasons: list[str] = []
    num_kept = 0
    for pixels in decoded:
        if isinstance(pixels, Unreadable):
            reasons.append(pixels.reason or "unreadable")
            continue
        buffer[num_kept] = pixels
        num_kept += 1
        reasons.append("")
    return buffer[:num_kept], reasons


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
    size = _rows_of_group(int(np.prod(images.shape[1:])))
    starts = range(0, len(images), size)
    groups = (_group_of(images[at : at + size], columns.slice(at, size)) for at in starts)
    file = _write_groups(out, name, groups)
    assert file, "no image to write"
    return file


def _rows_of_group(width: int) -> int:
    """Rows of a row group of images of so many bytes."""
    return max(1, ROW_GROUP_BYTES // width)


def _group_of(images: npt.NDArray[np.uint8], columns: pa.Table) -> pa.Table:
    """A row group: the images, where they lie, and all other columns."""
    schema = part_schema(images.shape[1:])
    buffers = [None, pa.py_buffer(np.ascontiguousarray(images))]
    width = schema.field("image").type.byte_width
    pixels = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(images), buffers)
    return pa.table([pixels, *columns.columns], schema=schema)


def _write_groups(out: Folder, name: str, groups: Iterator[pa.Table]) -> File | None:
    """Writes one file of images, each table a row group; None, and no file, where there is none."""
    first = next(groups, None)
    if first is None:
        return None

    def write(path: Path) -> File:
        with pq.ParquetWriter(path, first.schema, **_form(first.schema)) as writer:
            rows = 0
            for group in chain([first], groups):
                writer.write_table(group, row_group_size=group.num_rows)
                rows += group.num_rows
        return _written(path, name, rows)

    return out.put(name, write, durable=False)


def write_parquet(table: pa.Table, out: Folder, name: str, *, row_group_size: int) -> File:
    """Writes one file of the set that is not of images; says what it must be."""

    def write(path: Path) -> File:
        pq.write_table(table, path, row_group_size=row_group_size, **_form(table.schema))
        return _written(path, name, table.num_rows)

    return out.put(name, write)


def _form(schema: pa.Schema) -> dict[str, Any]:
    """How columns are written."""
    plain = [field for field in schema if field.name != "image"]
    return {
        # lz4 makes photographs a third smaller, but writing them takes three times as long, and
        # reading, which is done far more often, nearly six times (benchmarks/LOG.md).
        "compression": {name: "none" if name == "image" else "lz4" for name in schema.names},
        "use_dictionary": [field.name for field in plain if field.type == pa.string()],
        # Statistics of pixels would be two whole images a group.
        "write_statistics": [field.name for field in plain],
        # Rows that Arrow encodes at a time: of images its default leaves the processor's cache,
        # and writing takes nearly twice as long (benchmarks/LOG.md).
        "write_batch_size": 1024 if len(plain) == len(schema) else 32,
        "store_schema": False,  # no Arrow schema inside: see dataset.py
    }


def _written(path: Path, name: str, rows: int) -> File:
    return File(name=name, rows=rows, bytes=path.stat().st_size, sha256=sha256_of(path))


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
    faces = piece.faces
    kinds = [recipe.kind(face) for face in faces]
    of_wanted = iter(reasons)
    whys = [
        next(of_wanted) if kind == KEPT else recipe.reason(face)
        for kind, face in zip(kinds, faces, strict=True)
    ]
    kinds = [BAD if kind == KEPT and why else kind for kind, why in zip(kinds, whys, strict=True)]
    digests = _of_kept(kinds, [hashlib.sha256(image).digest() for image in images])
    columns = {
        "kind": kinds,
        "reason": [_text(why) for why in whys],
        "slice": [piece.index] * len(faces),
        "listed": range(piece.start, piece.start + len(faces)),
        "source": [_text(face.source) for face in faces],
        "label": [_text(face.label) for face in faces],
        "group": [_group(face, digest) for face, digest in zip(faces, digests, strict=True)],
        "frame": [face.frame for face in faces],
        "split": [face.split for face in faces],
        "digest": digests,
        "look": _of_kept(kinds, perceptual_hashes(images).tolist()),
    }
    return pa.table(columns, schema=SUMMARY)


def _of_kept(kinds: Sequence[str], values: Iterable[T]) -> list[T | None]:
    """Spreads what rows kept have over all rows."""
    of_kept = iter(values)
    return [next(of_kept) if kind == KEPT else None for kind in kinds]


def _group(face: Face, digest: bytes | None) -> str:
    """The face's own, or that of its pixels: copies without one belong together."""
    return _text(face.group) or (f"sha256:{digest.hex()[:16]}" if digest else "")


def _text(text: str) -> str:
    """Escapes what is no UTF-8: file names can hold any byte."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
