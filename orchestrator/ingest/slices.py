"""From the rows of a listing to files, in two steps that can be killed and repeated.

`stage` decodes a slice of rows into raw pixels (`*.rgb`) and, last, a summary of the slice
(`*.parquet`): a slice with a summary is done. `finish` runs once the splits of all rows are
known: it puts the pixels of some slices and all columns into a Parquet file of the data set.

Runs in a WORKER. In memory: `stage` one slice; `finish` one row group where the folder is a
disk, as staged pixels are mapped there, and one file's rows where it is an object store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

import datasets
from datasets import Face, Unreadable
from orchestrator.config.folder import Folder
from orchestrator.config.storage import sha256_of
from orchestrator.ingest.decoding import decode
from orchestrator.ingest.listing import BAD, KEPT, Recipe, Slice
from orchestrator.ingest.manifest import File
from orchestrator.ingest.perceptual_hash import perceptual_hashes

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
        ("look", pa.uint64()),  # their perceptual hash; null where not kept
    ]
)


@dataclass(frozen=True)
class Staged:
    """Names of the two files of a slice between its steps."""

    images: str
    summary: str


@dataclass(frozen=True)
class Stretch:
    """Consecutive images of one staged slice."""

    images: str
    start: int
    stop: int


def staged(piece: Slice) -> Staged:
    """Names a slice's files: by its key, so that another plan never meets them."""
    stem = f"slice-{piece.index:05d}-{piece.key}"
    return Staged(images=f"{stem}.rgb", summary=f"{stem}.parquet")


def stage(recipe: Recipe, piece: Slice, folder: Folder) -> None:
    """Decodes a slice and leaves its pixels and its summary in a folder.

    Raises:
        SourceError: The adapter finds that the source cannot be read at all.
        ValueError: The adapter does not yield one result a row.
    """
    files = staged(piece)
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
    folder.put(files.images, images[:num_kept].tofile, durable=False)
    folder.put(files.summary, lambda path: pq.write_table(summary, path), durable=False)


def finish(
    folder: Folder,
    stretches: Sequence[Stretch],
    columns: pa.Table,
    schema: pa.Schema,
    out: Folder,
    name: str,
    receipt: str = "",
) -> File:
    """Writes one file of the data set from staged pixels and the columns of its rows.

    Args:
        folder: Where the staged pixels lie.
        stretches: Which of them are those of the rows, in order.
        columns: All other columns, in order.
        schema: The schema of the file; `image` comes first.
        out: Folder of the data set.
        name: Of the file to write.
        receipt: Name of a note in `folder` which says that the file is whole; "" = none.
    """
    row_bytes = schema.field("image").type.byte_width
    images = pa.chunked_array([_pixels(folder, stretch, row_bytes) for stretch in stretches])
    table = pa.table([images, *columns.columns], schema=schema)

    def write(path: Path) -> File:
        _write_parquet(table, path, row_group_size=max(1, ROW_GROUP_BYTES // row_bytes))
        size, digest = path.stat().st_size, sha256_of(path)
        return File(name=name, rows=table.num_rows, bytes=size, sha256=digest)

    file = out.put(name, write)
    if receipt:
        folder.put_bytes(receipt, file.model_dump_json().encode())
    return file


def _write_parquet(table: pa.Table, path: Path, *, row_group_size: int) -> None:
    plain = [field for field in table.schema if field.name != "image"]
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
    next_look = iter(perceptual_hashes(images).tolist())
    rows = []
    for face in faces:
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


def _pixels(folder: Folder, stretch: Stretch, row_bytes: int) -> pa.Array:
    """Staged pixels as a column: mapped from a disk, without a copy, or fetched."""
    rows = stretch.stop - stretch.start
    start, size = stretch.start * row_bytes, rows * row_bytes
    if folder.local is None:
        with folder.open(stretch.images) as file:
            buffer = pa.py_buffer(file.read_at(size, start))
    else:
        path = folder.local / stretch.images
        mapped = np.memmap(path, dtype=np.uint8, mode="r", offset=start, shape=(size,))
        buffer = pa.py_buffer(mapped)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(row_bytes), rows, [None, buffer])
