"""Two prepared sets as one to train on, with splits of the caller's own.

A merged set is a prepared set like any other: index, manifest, audit, fingerprint. The files of
images of the first set are linked to where they lie (copied where that cannot be); of the second
set only the rows asked for are written, so that rows which must not be trained on are not there.
Merged sets that differ in splits only share all pixels; one that leaves rows out has files of its
own.

DRIVER: no Ray; reads each image once, for the audit. In memory: one row group.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator import __version__
from orchestrator.config.folder import Folder, folder
from orchestrator.config.validate import fingerprint as digest_of
from orchestrator.ingest import manifest as manifests
from orchestrator.ingest.audit import Copies, audit, find_copies
from orchestrator.ingest.dataset import PreparedDataset, open_dataset
from orchestrator.ingest.manifest import AuditCounts, File, Manifest, Source
from orchestrator.ingest.pixels import Fingerprints, fingerprints, images_of
from orchestrator.ingest.slices import write_parquet, write_part
from orchestrator.ingest.splits import SPLITS

ROWS_AT_ONCE = 2048
INDEX_ROWS = 65_536
COLUMNS = ("listed", "label", "group", "frame", "source")

Int64s = npt.NDArray[np.int64]
Names = npt.NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Pixels:
    """The files of images of merged sets, and what is known of their rows.

    Attributes:
        out: folder in which they lie.
        files: in the order of the rows.
        rows: columns `COLUMNS` of all rows: first all of `old`, then those taken of `new`.
        seen: what images can be told apart by.
        copies: which rows are copies of each other.
        old: the first set.
        new: the second set.
        old_rows: row ids of the first that are among the rows, ascending.
        new_rows: row ids of the second, ascending.
    """

    out: Folder
    files: tuple[File, ...]
    rows: pa.Table
    seen: Fingerprints
    copies: Copies
    old: PreparedDataset
    new: PreparedDataset
    old_rows: Int64s
    new_rows: Int64s


def gather_pixels(
    old: PreparedDataset,
    new: PreparedDataset,
    new_rows: Int64s,
    class_indices: Sequence[int],
    out: Path,
) -> Pixels:
    """Write the files of images that merged sets share.

    Args:
        old: all of whose rows come first.
        new: the other set; its images have the same size.
        new_rows: row ids of it, ascending; no other row gets in.
        class_indices: the place of each of its classes among those of `old`.
        out: folder to write; what lies there is written over.
    """
    place = folder(out)
    out.mkdir(parents=True, exist_ok=True)
    files = [
        _linked(old.root, file, place) for file in map(File.model_validate, old.manifest["files"])
    ]
    known = old.read(COLUMNS)
    offset = int(known["listed"].to_numpy()[-1]) + 1
    taken = _columns(new, new_rows, class_indices, offset)
    # A set that was prepared can have left numbers out: one that is free comes after its last.
    first_free = 1 + max((int(file.name[5:10]) for file in files), default=-1)
    files += _written(new, new_rows, taken, place, first_free)
    first, second = fingerprints(old), fingerprints(new)
    seen = Fingerprints(
        digests=np.concatenate([first.digests, second.digests[new_rows]]),
        looks=np.concatenate([first.looks, second.looks[new_rows]]),
    )
    rows = pa.concat_tables([known, taken.cast(known.schema)]).combine_chunks()
    copies = find_copies(seen.digests, seen.looks)
    old_rows = np.arange(old.num_rows, dtype=np.int64)
    return Pixels(place, tuple(files), rows, seen, copies, old, new, old_rows, new_rows)


def without_rows(pixels: Pixels, kept: npt.NDArray[np.bool_], out: Path) -> Pixels:
    """Write files of images without the rows that a merged set has no use for.

    Args:
        pixels: of all rows.
        kept: whether a row stays, shape (N,).
        out: folder to write, another one than theirs; what lies there is written over.
    """
    place = folder(out)
    out.mkdir(parents=True, exist_ok=True)
    num_old = len(pixels.old_rows)
    old_rows, new_rows = pixels.old_rows[kept[:num_old]], pixels.new_rows[kept[num_old:]]
    rows = pixels.rows.filter(pa.array(kept)).combine_chunks()
    files = _written(pixels.old, old_rows, rows, place, 0)
    files += _written(pixels.new, new_rows, rows.slice(len(old_rows)), place, len(files))
    seen = Fingerprints(digests=pixels.seen.digests[kept], looks=pixels.seen.looks[kept])
    return replace(
        pixels,
        out=place,
        files=tuple(files),
        rows=rows,
        seen=seen,
        copies=find_copies(seen.digests, seen.looks),
        old_rows=old_rows,
        new_rows=new_rows,
    )


def write_merged(
    pixels: Pixels,
    splits: Names,
    protocol: str,
    *,
    name: str,
    settings: Mapping[str, object],
    out: Path,
) -> PreparedDataset:
    """Write a merged set, or open it where it lies already; opening checks every byte.

    Args:
        pixels: its files of images.
        splits: "train", "validation" or "test" of each row, in the order of `pixels.rows`.
        protocol: under which the splits go.
        name: of the set.
        settings: what the manifest says of how the splits came about.
        out: its folder.
    """
    place = folder(out)
    made = _manifest(pixels, splits, protocol, name, settings)
    if place.size(manifests.FILE_NAME) is not None:
        dataset = open_dataset(place)
        if dataset.fingerprint == made.fingerprint:
            return dataset
        place.remove(manifests.FILE_NAME)
    out.mkdir(parents=True, exist_ok=True)
    for file in pixels.files:
        _linked(pixels.out, file, place)
    index = write_parquet(
        _index(pixels, splits, protocol), place, manifests.INDEX, row_group_size=INDEX_ROWS
    )
    content = made.model_copy(update={"index": index}).model_dump(mode="json")
    place.put_bytes(manifests.FILE_NAME, (json.dumps(content, indent=2) + "\n").encode())
    return open_dataset(place)


def _linked(root: Folder, file: File, out: Folder) -> File:
    """A file of another set under its name here: a hard link, or a copy where that cannot be."""
    target = Path(out.path(file.name))
    target.unlink(missing_ok=True)
    if root.local is not None:
        try:
            os.link(root.local / file.name, target)
            return file
        except OSError:  # another file system, or one without links
            shutil.copyfile(root.local / file.name, target)
            return file
    with root.open(file.name) as stream:
        out.put(file.name, lambda path: _copy(stream, path))
    return file


def _copy(stream: pa.NativeFile, path: Path) -> None:
    with path.open("wb") as written:
        shutil.copyfileobj(stream, written)


def _columns(
    new: PreparedDataset, new_rows: Int64s, class_indices: Sequence[int], offset: int
) -> pa.Table:
    """What files of images say of the rows taken: listed behind the old ones, classes by name."""
    table = new.read(COLUMNS).take(pa.array(new_rows))
    labels = np.asarray(class_indices, dtype=np.int8)[table["label"].to_numpy()]
    table = table.set_column(0, "listed", pa.array(table["listed"].to_numpy() + offset, pa.int64()))
    return table.set_column(1, "label", pa.array(labels, pa.int8())).combine_chunks()


def _written(
    dataset: PreparedDataset, row_ids: Int64s, columns: pa.Table, out: Folder, first: int
) -> list[File]:
    """Files of some rows of a set, numbered from `first` on."""
    return [
        write_part(out, f"part-{number:05d}.parquet", images, columns.slice(start, len(images)))
        for number, (start, images) in enumerate(_images(dataset, row_ids), start=first)
    ]


def _images(new: PreparedDataset, new_rows: Int64s) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """The images of the rows taken, a file's worth at a time, with the place of the first."""
    for start in range(0, len(new_rows), ROWS_AT_ONCE):
        yield start, images_of(new, new_rows[start : start + ROWS_AT_ONCE].tolist())


def _index(pixels: Pixels, splits: Names, protocol: str) -> pa.Table:
    schema = manifests.index_schema([protocol])
    row_ids = pa.array(np.arange(pixels.rows.num_rows), pa.int64())
    table = pixels.rows.add_column(0, "row_id", row_ids)
    column = pa.array(splits.tolist(), pa.string())
    return table.append_column(manifests.SPLIT_COLUMN + protocol, column).cast(schema)


def _manifest(
    pixels: Pixels, splits: Names, protocol: str, name: str, settings: Mapping[str, object]
) -> Manifest:
    old, new = pixels.old, pixels.new
    labels = pixels.rows["label"].to_numpy().astype(np.int64)
    groups = np.asarray(pixels.rows["group"].to_pylist(), dtype=np.str_)
    of_row = {protocol: np.array([SPLITS.index(split) for split in splits.tolist()], np.int8)}
    kept = len(labels)
    made_from = {"old": old.fingerprint, "new": new.fingerprint, **settings}
    return Manifest(
        version=2,
        name=name,
        fingerprint=manifests.fingerprint(
            classes=old.classes,
            image_shape=old.image_shape,
            digests=[digest.ljust(32, b"\0") for digest in pixels.seen.digests.tolist()],
            labels=labels,
            groups=groups.tolist(),
            splits=of_row,
        ),
        plan=digest_of(made_from),
        classes=list(old.classes),
        image_shape=list(old.image_shape),
        rows=manifests.Rows(listed=kept, kept=kept, bad=0, left_out=0),
        counts=manifests.count(labels, of_row, old.classes),
        files=list(pixels.files),
        # Stands for the index until that is written: the fingerprint does not depend on it.
        index=File(name=manifests.INDEX, rows=kept, bytes=0, sha256="0" * 64),
        source=Source(
            adapter="merged",
            name=f"{old.name} and {new.name}",
            options={},
            provenance={
                "old": old.name,
                "old_fingerprint": old.fingerprint,
                "old_rows": len(pixels.old_rows),
                "new": new.name,
                "new_fingerprint": new.fingerprint,
                "new_rows": len(pixels.new_rows),
            },
        ),
        settings=json.loads(json.dumps(dict(settings))),
        audit=AuditCounts.model_validate(
            asdict(audit(pixels.copies, labels, groups, of_row, old.classes))
        ),
        written_by=f"fer-orchestrator {__version__}",
    )
