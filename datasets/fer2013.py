"""The official FER2013 table (Goodfellow et al. 2013): `emotion,pixels,Usage`.

35,887 grey images of 48x48, each as 2,304 numbers in one field. The newer `icml_face_data.csv`
has blanks in its header and is read alike. `source` is that file, or the folder that holds it.
`faces` runs in the DRIVER; `read` runs in a WORKER and touches no file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datasets import Face, SourceError, Unreadable, canonical_split, choices
from datasets._csv_rows import csv_rows
from datasets._image_files import utf8

NEEDS_SOURCE = True

SIDE_PX = 48
LABELS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
FILE_NAMES = ("fer2013.csv", "icml_face_data.csv")

_COLUMNS = ("emotion", "pixels", "usage")


@dataclass(frozen=True)
class Options:
    """There is nothing to choose."""


def faces(source: Path, options: Options) -> Iterator[Face]:
    """Lists the rows in the order of the table, with their pixels as payload.

    Raises:
        SourceError: No such file, or its header lacks a column.
    """
    del options
    table = _table(source)
    columns = _columns(table)
    rows = islice(csv_rows(table), 1, None)
    return (_face(f"{table.name}:{line}", row, columns) for line, row in rows)


def read(
    source: Path, faces: Sequence[Face], options: Options
) -> Iterator[npt.NDArray[np.uint8] | Unreadable]:
    """Yields (48, 48) uint8, grey."""
    del source, options
    for face in faces:
        if face.problem:
            yield Unreadable(face.problem)
        else:
            yield np.frombuffer(face.payload, np.uint8).reshape(SIDE_PX, SIDE_PX)


def _table(source: Path) -> Path:
    if source.is_file():
        return source
    for name in FILE_NAMES:
        if (source / name).is_file():
            return source / name
    raise SourceError(
        f"source: must be the FER2013 table or its folder; got '{source}'. "
        f"Expected file: {' or '.join(FILE_NAMES)}. For a folder of images: adapter folder or table."
    )


def _columns(table: Path) -> dict[str, int]:
    header = [name.strip().lower() for name in next((row for _, row in csv_rows(table)), [])]
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise SourceError(
            f"{table.name}: header must have the columns emotion, pixels, Usage; "
            f"got no {missing[0]!r}. {choices(missing[0], header[:20])}"
        )
    return {name: header.index(name) for name in _COLUMNS}


def _face(source: str, row: Sequence[str], columns: Mapping[str, int]) -> Face:
    if len(row) <= max(columns.values()):
        return Face(source, "", problem=f"row has {len(row)} fields, too few")
    emotion, pixels, usage = (row[columns[name]].strip() for name in _COLUMNS)
    label = dict(zip("0123456", LABELS, strict=True)).get(emotion, "")
    split = canonical_split(usage)
    payload, problem = _payload(pixels)
    if not split:
        problem = f"Usage must be Training, PublicTest or PrivateTest; got {utf8(usage)!r}"
    if not label:
        problem = f"emotion must be 0 to {len(LABELS) - 1}; got {utf8(emotion)!r}"
    return Face(source, label, split=split, payload=payload, problem=problem)


def _payload(pixels: str) -> tuple[bytes, str]:
    """Returns the pixels' bytes, or what is wrong with them."""
    words = pixels.split()
    if len(words) != SIDE_PX**2:
        return b"", f"pixels must be {SIDE_PX**2} numbers; got {len(words)}"
    try:
        return bytes(map(int, words)), ""
    except ValueError:
        return b"", "pixels must be whole numbers from 0 to 255"
