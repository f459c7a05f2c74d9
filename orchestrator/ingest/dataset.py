"""Opens a prepared data set, after checking that it is what its manifest says.

A data set folder is input: somebody else may have made it. Nothing in it is believed. Each
file's sha256 is compared with the manifest; the footer is looked at before any Parquet reader
sees it, since an Arrow schema embedded there can name extension types, and a reader that knows
such a type runs its code (CVE-2026-41486); columns must be exactly the plain ones of the format.

Runs anywhere (PURE): no ray, no torch. Reads every byte once; nothing is cached. A set can lie
in an object store: then its bytes come over the network, once, for the check.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from orchestrator.config.errors import DatasetError
from orchestrator.config.folder import Folder, folder
from orchestrator.config.storage import CHUNK_BYTES
from orchestrator.ingest.manifest import (
    FILE_NAME,
    INDEX,
    SPLIT_COLUMN,
    VERSION,
    File,
    Manifest,
    count,
    index_schema,
    part_schema,
)
from orchestrator.ingest.parquet_bounds import fault_of_size
from orchestrator.ingest.splits import SPLITS

__all__ = ["SPLITS", "PreparedDataset", "SplitIndex", "open_dataset", "read_split_index"]

AGAIN = "Delete the folder and write it again with `python -m orchestrator.prepare`."
MAGIC = b"PAR1"
MAX_FOOTER_BYTES = 64 * 2**20
MAX_MANIFEST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class PreparedDataset:
    """A checked data set.

    Attributes:
        root: Its folder, on a disk or in an object store.
        name: Its name.
        fingerprint: Digest of what a training can see of it, whatever files it is cut into.
        classes: Class names in the order of their index.
        image_shape: Height, width, channels.
        files: Names of its files of images, in the order of `row_id`.
        protocols: Split protocols it has a column for.
        counts: Rows by protocol, split and class.
        manifest: All of manifest.json.
    """

    root: Folder
    name: str
    fingerprint: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    files: tuple[str, ...]
    protocols: tuple[str, ...]
    counts: dict[str, dict[str, dict[str, int]]]
    manifest: dict[str, Any]

    @property
    def num_rows(self) -> int:
        """Rows of all splits together."""
        return int(self.manifest["rows"]["kept"])

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Reads some columns of all rows, no pixels, in the order of `row_id`."""
        return _read(self.root, INDEX, columns)


@dataclass(frozen=True, eq=False)
class SplitIndex:
    """The small columns of all rows, in the order of `row_id`, which counts from 0.

    Attributes:
        labels: Class index, int64, shape (N,).
        groups: Video or subject, shape (N,).
        row_ids: 0..N-1, int64, shape (N,).
        listed: Place in the listing of the source, ascending, int64, shape (N,).
        splits: "train", "validation" or "test", shape (N,).
    """

    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.str_]
    row_ids: npt.NDArray[np.int64]
    listed: npt.NDArray[np.int64]
    splits: npt.NDArray[np.str_]


def open_dataset(place: str | Path | Folder, *, digests: bool = True) -> PreparedDataset:
    """Opens the data set in a folder and checks all of it.

    Args:
        place: The folder.
        digests: Whether to compare each file's sha256; only who has just written the files, and
            digested them then, need not.

    Raises:
        DatasetError: The folder or a file is missing, damaged, hostile or of another version, or
            the store cannot be reached.
    """
    root = place if isinstance(place, Folder) else folder(place, "data.path")
    try:
        dataset = _opened(root, digests)
        _check_rows(dataset)
    except OSError as error:
        raise DatasetError(
            f"data.path: must be readable; got {root}: {' '.join(str(error).split())}. Check the "
            "address, the network, and the credentials in the environment."
        ) from error
    return dataset


def _opened(root: Folder, digests: bool) -> PreparedDataset:
    manifest = _manifest(root)
    protocols = tuple(manifest.counts)
    expected = part_schema(manifest.image_shape)
    _check_file(root, index_schema(protocols), digests, manifest.index)
    # Hashing releases the interpreter's lock: as many files at once as there are cores.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(partial(_check_file, root, expected, digests), manifest.files))
    height, width, channels = manifest.image_shape
    return PreparedDataset(
        root=root,
        name=manifest.name,
        fingerprint=manifest.fingerprint,
        classes=tuple(manifest.classes),
        image_shape=(height, width, channels),
        files=tuple(file.name for file in manifest.files),
        protocols=protocols,
        counts=manifest.counts,
        manifest=manifest.model_dump(mode="json"),
    )


def read_split_index(
    dataset: PreparedDataset, protocol: str, *, needs: Sequence[str] = ("train", "validation")
) -> SplitIndex:
    """Reads labels, groups and splits of all rows; no pixels.

    Args:
        dataset: An opened data set.
        protocol: group, random or official.
        needs: Splits that must not be empty.

    Raises:
        DatasetError: No such protocol, an empty split, or columns with values out of range.
    """
    check_protocol(dataset, protocol, needs=needs)
    names = ["label", "group", "row_id", "listed", SPLIT_COLUMN + protocol]
    table = dataset.read(names)
    index = SplitIndex(
        labels=table["label"].to_numpy().astype(np.int64),
        groups=np.asarray(table["group"].to_pylist(), dtype=np.str_),
        row_ids=table["row_id"].to_numpy(),
        listed=table["listed"].to_numpy(),
        splits=np.asarray(table[SPLIT_COLUMN + protocol].to_pylist(), dtype=np.str_),
    )
    return index


def _check_rows(dataset: PreparedDataset) -> None:
    """Compares what the index, the files of images and the manifest say of each row."""
    index = dataset.read(index_schema(dataset.protocols).names)
    if any(column.null_count for column in index.columns):
        raise DatasetError(f"{dataset.root / INDEX}: must have a value in each cell. {AGAIN}")
    _check_values(dataset, index)
    counted = count(
        index["label"].to_numpy(),
        {name: _split_indices(dataset, index, name) for name in dataset.protocols},
        dataset.classes,
    )
    if counted != dataset.counts:
        raise DatasetError(f"{dataset.root}: counts must be those of the rows. {AGAIN}")
    columns = ["listed", "label"]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        parts = pool.map(lambda name: _read(dataset.root, name, columns), dataset.files)
        same = pa.concat_tables([index.select(columns).slice(0, 0), *parts])
    if not same.equals(index.select(columns)):
        raise DatasetError(
            f"{dataset.root}: files of images must have the rows of {INDEX}, in its order. {AGAIN}"
        )


def _read(root: Folder, name: str, columns: Sequence[str]) -> pa.Table:
    """Reads columns of a checked file; what lies in its pages is still not to be trusted."""
    try:
        return pq.read_table(root.path(name), columns=list(columns), filesystem=root.filesystem)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise DatasetError(f"{root / name}: must be readable; got {error!r}. {AGAIN}") from error


def check_protocol(
    dataset: PreparedDataset, protocol: str, *, needs: Sequence[str] = ("train", "validation")
) -> None:
    """Checks by the manifest alone that a protocol is there and its splits have rows.

    Raises:
        DatasetError: No such protocol, or an empty split; names the protocols that would do.
    """
    if protocol not in dataset.protocols:
        raise DatasetError(
            f"data.protocol: {dataset.name} has no column {SPLIT_COLUMN}{protocol}; "
            f"got {protocol!r}. Choices: {', '.join(dataset.protocols)}."
        )
    empty = [split for split in needs if not _rows(dataset, protocol, split)]
    if not empty:
        return
    others = [
        other for other in dataset.protocols if all(_rows(dataset, other, split) for split in needs)
    ]
    remedy = f"Use protocol={' or protocol='.join(others)}." if others else AGAIN
    raise DatasetError(
        f"data.protocol: split {empty[0]!r} of protocol {protocol!r} is empty in {dataset.name}; "
        f"got {protocol!r}. {remedy}"
    )


def _manifest(root: Folder) -> Manifest:
    """Reads and checks manifest.json."""
    path = root / FILE_NAME
    size = root.size(FILE_NAME)
    if size is None and not _is_folder(root):
        raise DatasetError(f"data.path: must be a folder written by `prepare`; got {root}. {AGAIN}")
    if size is None:
        raise DatasetError(
            f"data.path: {root} has no {FILE_NAME}: no prepared data set, or one that was not "
            f"finished. {AGAIN}"
        )
    if size > MAX_MANIFEST_BYTES:
        raise DatasetError(f"{path}: must be a manifest; got a file of {size} bytes.")
    try:
        content = json.loads(root.read(FILE_NAME))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: must be JSON; got {error}. {AGAIN}") from error
    version = content.get("version") if isinstance(content, dict) else None
    if version != VERSION:
        raise DatasetError(f"{path}: version must be {VERSION}; got {version!r}. {AGAIN}")
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise DatasetError(f"{path}: {place + ': ' if place else ''}{said}. {AGAIN}") from error


def _is_folder(root: Folder) -> bool:
    return root.local is None or root.local.is_dir()


def _check_file(root: Folder, expected: pa.Schema, digests: bool, file: File) -> None:
    """Checks one file: there, whole, unchanged, harmless, of the right columns and rows."""
    path = root / file.name
    size = root.size(file.name)
    if size is None or (root.local and (root.local / file.name).is_symlink()):
        raise DatasetError(f"{path}: a file of the manifest is missing. {AGAIN}")
    if size != file.bytes:
        raise DatasetError(f"{path}: must have {file.bytes} bytes; got {size}. {AGAIN}")
    with root.open(file.name) as opened:
        _check_footer(path, opened, size)
        if digests:
            _check_digest(path, opened, file)
        try:
            metadata = pq.read_metadata(opened)
            found = metadata.schema.to_arrow_schema()
        except (pa.ArrowException, OSError, UnicodeError) as error:
            raise DatasetError(f"{path}: must be a Parquet file; got {error!r}. {AGAIN}") from error
        _check_schema(path, expected, found)
        _check_bounds(path, opened, expected, metadata)
    if metadata.num_rows != file.rows:
        raise DatasetError(f"{path}: must have {file.rows} rows; got {metadata.num_rows}. {AGAIN}")


def _check_bounds(
    path: Folder, opened: pa.NativeFile, expected: pa.Schema, metadata: pq.FileMetaData
) -> None:
    pixels = expected.field(0).type
    width = pixels.byte_width if pa.types.is_fixed_size_binary(pixels) else 0
    try:
        fault = fault_of_size(opened, metadata, width)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise DatasetError(f"{path}: must be readable; got {error!r}. {AGAIN}") from error
    if fault:
        raise DatasetError(f"{path}: {fault}. {AGAIN}")


def _check_digest(path: Folder, opened: pa.NativeFile, file: File) -> None:
    opened.seek(0)
    digest = hashlib.sha256()
    while chunk := opened.read(CHUNK_BYTES):
        digest.update(chunk)
    if digest.hexdigest() != file.sha256:
        raise DatasetError(
            f"{path}: sha256 must be that of the manifest, {file.sha256[:16]}...; got "
            f"{digest.hexdigest()[:16]}... The file was changed or damaged. {AGAIN}"
        )
    opened.seek(0)


def _check_footer(path: Folder, opened: pa.NativeFile, size: int) -> None:
    """Looks at a Parquet file's footer as bytes, before a reader that acts on it does.

    Our own files carry no Arrow schema, so that any is a reason to refuse, unparsed.
    """
    head = opened.read_at(min(4, size), 0)
    tail = opened.read_at(min(8, size), max(0, size - 8))
    length = int.from_bytes(tail[:4], "little")
    if head != MAGIC or tail[4:] != MAGIC or length > min(size - 12, MAX_FOOTER_BYTES):
        raise DatasetError(f"{path}: must be a whole Parquet file; got none. {AGAIN}")
    footer = opened.read_at(length, size - 8 - length)
    if b"ARROW:" in footer:
        raise DatasetError(
            f"{path}: must have plain columns; got an embedded Arrow schema, which can name "
            f"extension types that run code when read. {AGAIN}"
        )


def _check_schema(path: Folder, expected: pa.Schema, found: pa.Schema) -> None:
    if found.names != expected.names:
        raise DatasetError(
            f"{path}: columns must be {', '.join(expected.names)}; "
            f"got {', '.join(found.names)}. {AGAIN}"
        )
    for want, got in zip(expected, found, strict=True):
        if want.type != got.type:
            rule = "image size" if want.name == "image" else "type"
            raise DatasetError(
                f"{path}: {rule} of column {want.name} must be {want.type}; got {got.type}. {AGAIN}"
            )


def _rows(dataset: PreparedDataset, protocol: str, split: str) -> int:
    return sum(dataset.counts[protocol][split].values())


def _check_values(dataset: PreparedDataset, index: pa.Table) -> None:
    """Checks the values that later stages index with."""
    labels = index["label"].to_numpy()
    if not np.array_equal(index["row_id"].to_numpy(), np.arange(dataset.num_rows)):
        raise DatasetError(f"{dataset.root}: row_id must count from 0 over all rows. {AGAIN}")
    if (np.diff(index["listed"].to_numpy()) <= 0).any():
        raise DatasetError(f"{dataset.root}: listed must grow from row to row. {AGAIN}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(dataset.classes):
        raise DatasetError(
            f"{dataset.root}: label must be 0..{len(dataset.classes) - 1}; "
            f"got {labels.min()}..{labels.max()}. {AGAIN}"
        )


def _split_indices(
    dataset: PreparedDataset, index: pa.Table, protocol: str
) -> npt.NDArray[np.int8]:
    """The split of each row as an index into `SPLITS`."""
    names = index[SPLIT_COLUMN + protocol]
    found = pc.index_in(names, pa.array(SPLITS))
    if found.null_count:
        strange = sorted(set(pc.unique(names).to_pylist()) - set(SPLITS))[:3]
        raise DatasetError(
            f"{dataset.root}: splits must be {', '.join(SPLITS)}; got {strange!a}. {AGAIN}"
        )
    return found.to_numpy().astype(np.int8)
