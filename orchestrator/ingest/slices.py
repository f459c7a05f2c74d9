"""From the rows of a listing to files, in two steps that can be killed and repeated.

`stage` decodes a slice of rows into raw pixels (`*.rgb`) and, last, a summary of the slice
(`*.parquet`): a slice with a summary is done. `finish` runs once the splits of all rows are
known: it puts the pixels of some slices and all columns into a Parquet file of the data set.

Runs in a WORKER. In memory: `stage` one slice; `finish` one row group, as staged pixels are
mapped, not read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

import datasets
from datasets import Face, Unreadable
from orchestrator.config.storage import sha256_of
from orchestrator.ingest.decoding import decode
from orchestrator.ingest.listing import BAD, KEPT, Recipe, Slice
from orchestrator.ingest.manifest import File

ROW_GROUP_BYTES = 16 * 2**20  # what a reader holds at once; Ray Data's blocks come out alike

SUMMARY = pa.schema(
    [
        ("kind", pa.string()),  # kept | bad | left out
        ("reason", pa.string()),
        ("source", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("frame", pa.int32()),
        ("split", pa.string()),
        ("digest", pa.binary(32)),  # sha256 of the pixels written; null where not kept
    ]
)


@dataclass(frozen=True)
class Staged:
    """The two files of a slice between its steps."""

    images: Path
    summary: Path


@dataclass(frozen=True)
class Stretch:
    """Consecutive images of one staged slice."""

    images: Path
    start: int
    stop: int


def staged(folder: Path, piece: Slice) -> Staged:
    """Names a slice's files: by its key, so that another plan never meets them."""
    stem = f"slice-{piece.index:05d}-{piece.key}"
    return Staged(images=folder / f"{stem}.rgb", summary=folder / f"{stem}.parquet")


def stage(recipe: Recipe, piece: Slice, folder: Path) -> None:
    """Decodes a slice and leaves its pixels and its summary in a folder.

    Raises:
        SourceError: The adapter finds that the source cannot be read at all.
        ValueError: The adapter does not yield one result a row.
    """
    files = staged(folder, piece)
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
    summary = _summary(recipe, piece.faces, reasons, images[:num_kept])
    _put(files.images, lambda path: images[:num_kept].tofile(path))
    _put(files.summary, lambda path: pq.write_table(summary, path, compression="zstd"))


def finish(stretches: Sequence[Stretch], columns: pa.Table, schema: pa.Schema, path: Path) -> File:
    """Writes one file of the data set from staged pixels and the columns of its rows.

    Args:
        stretches: Where the raw pixels of the rows lie, in order.
        columns: All other columns, in order.
        schema: The schema of the file; `image` comes first.
        path: File to write.
    """
    row_bytes = schema.field("image").type.byte_width
    images = pa.chunked_array([_mapped(stretch, row_bytes) for stretch in stretches])
    table = pa.table([images, *columns.columns], schema=schema)
    plain = [name for name in schema.names if name != "image"]
    _put(
        path,
        lambda temporary: pq.write_table(
            table,
            temporary,
            compression="lz4",
            row_group_size=max(1, ROW_GROUP_BYTES // row_bytes),
            use_dictionary=[name for name in plain if schema.field(name).type == pa.string()],
            write_statistics=plain,  # of pixels they would be two whole images a group
            store_schema=False,  # no Arrow schema inside: see dataset.py
        ),
    )
    return File(
        name=path.name, rows=table.num_rows, bytes=path.stat().st_size, sha256=sha256_of(path)
    )


def _decoded(recipe: Recipe, faces: Sequence[Face]) -> Iterator[npt.NDArray[np.uint8] | Unreadable]:
    adapter = datasets.adapter(recipe.adapter)
    results = adapter.read(recipe.source, faces, recipe.options)
    for _, pixels in zip(faces, results, strict=True):
        yield decode(pixels, image_px=recipe.image_px, max_pixels=recipe.max_pixels)


def _summary(
    recipe: Recipe, faces: Sequence[Face], reasons: Sequence[str], images: npt.NDArray[np.uint8]
) -> pa.Table:
    """Says of each row what became of it."""
    next_reason, next_image = iter(reasons), iter(images)
    rows = []
    for face in faces:
        kind, reason, digest = recipe.kind(face), face.problem, None
        if kind == KEPT:
            reason = next(next_reason)
            kind = BAD if reason else KEPT
        if kind == KEPT:
            digest = hashlib.sha256(next(next_image)).digest()
        rows.append(
            {
                "kind": kind,
                "reason": _text(reason),
                "source": _text(face.source),
                "label": _text(face.label),
                "group": _text(face.group) or (digest and f"sha256:{digest.hex()[:16]}") or "",
                "frame": face.frame,
                "split": face.split,
                "digest": digest,
            }
        )
    return pa.Table.from_pylist(rows, schema=SUMMARY)


def _text(text: str) -> str:
    """Escapes what is no UTF-8: file names can hold any byte."""
    return text.encode("utf-8", "backslashreplace").decode()


def _mapped(stretch: Stretch, row_bytes: int) -> pa.Array:
    """Maps staged pixels as a column, without a copy."""
    rows = stretch.stop - stretch.start
    pixels = np.memmap(
        stretch.images,
        dtype=np.uint8,
        mode="r",
        offset=stretch.start * row_bytes,
        shape=(rows * row_bytes,),
    )
    kind = pa.binary(row_bytes)
    return pa.FixedSizeBinaryArray.from_buffers(kind, rows, [None, pa.py_buffer(pixels)])


def _put(path: Path, write: Callable[[Path], object]) -> None:
    """Lets a file appear under its name when it is whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    write(temporary)
    temporary.replace(path)
