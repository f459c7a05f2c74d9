"""AffectNet (Mollahosseini, Hasani and Mahoor 2017), both releases of the manual annotations.

    tables  training.csv and validation.csv, at the top or in Manually_Annotated_file_lists, with
            the columns subDirectory_filePath, face_x, face_y, face_width, face_height and
            expression; pictures in Manually_Annotated_Images. Where neither is there: every CSV
            in those places that has the columns.
    arrays  the release of 2021: {train,val}_set/images/<id>.jpg, already cut out, and
            {train,val}_set/annotations/<id>_exp.npy, which holds the number of the expression

Faces marked None, Uncertain or No-Face are left out. No subjects are known. `faces` runs in the
DRIVER and opens no image, but in the second form a small file a row; `read` in a WORKER.
"""

import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datasets import Face, SourceError, Unreadable, canonical_split, choices
from datasets._crops import Box, box_of, read_crops, whole_pixels
from datasets._csv_rows import csv_rows
from datasets._image_files import printable, problem_with
from datasets._listed_rows import (
    annotation_facts,
    check_folder,
    fault_of_name,
    found_file,
    once_each,
    shown,
)

NEEDS_SOURCE = True

LABELS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
"""In the order of their numbers, which start at 0."""

NO_EXPRESSION = {"8": "None", "9": "Uncertain", "10": "No-Face"}
"""Numbers of faces that are left out, and what they mean."""

_NUMBERS = {str(number): label for number, label in enumerate(LABELS)}
_TABLE_FOLDERS = ("", "Manually_Annotated_file_lists")
_TABLES = ("training.csv", "validation.csv")
_PATH, _EXPRESSION = "subdirectory_filepath", "expression"
_COLUMNS = (_PATH, "face_x", "face_y", "face_width", "face_height", _EXPRESSION)

_SETS = {"train_set": "train", "val_set": "validation"}
_ENDINGS = (".jpg", ".jpeg", ".png")
_ANNOTATION = "_exp.npy"
_NPY = re.compile(  # what numpy.save writes for one text or number
    rb"\x93NUMPY\x01\x00..\{'descr': '([<>|](?:[US]\d|[iu][1248]|f[48]))', "
    rb"'fortran_order': (?:True|False), 'shape': \((?:1,)?\), \}\s*",
    re.DOTALL,
)
_NPY_BYTES = 256


@dataclass(frozen=True)
class Options:
    """Both are for the form with tables; the other holds faces already cut out."""

    images: str = field(
        default="Manually_Annotated_Images",
        metadata={"help": "folder in the source that the paths in the tables start from"},
    )
    crop: bool = field(
        default=True, metadata={"help": "cut the face out by its box; false = whole pictures"}
    )


def faces(source: Path, options: Options) -> Iterator[Face]:
    """Lists the rows in the order of the tables, or set by set, sorted by name.

    Raises:
        SourceError: Neither form is there, a table lacks a column, or a folder is missing.
    """
    tables = _tables(source)
    if tables:
        columns = {table: _columns(source / table) for table in tables}
        check_folder(source, "images", options.images)
        return once_each(_rows_of_tables(source, columns, options))
    return _rows_of_sets(source, _sets(source))


def read(
    source: Path, faces: Sequence[Face], options: Options
) -> Iterator[bytes | npt.NDArray[np.uint8] | Unreadable]:
    """Yields the face cut out, (H, W, 3) or (H, W) uint8, or the bytes of the whole file."""
    del options  # the payload says whether and where to cut
    return read_crops(source, faces, [face.source for face in faces])


def provenance(source: Path, options: Options) -> Mapping[str, str | int]:
    """Tells the release, and of tables their sha256."""
    del options
    tables = _tables(source)
    if tables:
        return annotation_facts("tables", [source / table for table in tables])
    return {"release": "arrays", "sets": " ".join(_sets(source))}


def _tables(source: Path) -> list[str]:
    """Finds the tables: the two of the release in one place, else all that have the columns."""
    if not source.is_dir():
        raise SourceError(f"source: must be a folder; got '{source}'. Name the folder of the set.")
    for place in _TABLE_FOLDERS:
        named = [found_file(source, [posixpath.join(place, table)]) for table in _TABLES]
        if any(named):
            return [table for table in named if table]
    others = [
        posixpath.join(place, path.name)
        for place in _TABLE_FOLDERS
        for path in sorted((source / place).glob("*.csv"))
    ]
    return [
        table
        for table in others
        if found_file(source, [table]) and set(_COLUMNS) <= set(_header(source / table))
    ]


def _header(table: Path) -> list[str]:
    return [name.strip().lower() for name in next((row for _, row in csv_rows(table)), [])]


def _columns(table: Path) -> dict[str, int]:
    header = _header(table)
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise SourceError(
            f"{table.name}: header must have the columns subDirectory_filePath, face_x, face_y, "
            f"face_width, face_height, expression; got no {missing[0]!r}. "
            f"{choices(missing[0], [printable(name[:40]) for name in header[:20]])}"
        )
    return {name: header.index(name) for name in _COLUMNS}


def _rows_of_tables(
    source: Path, tables: Mapping[str, Mapping[str, int]], options: Options
) -> Iterator[tuple[str, Face]]:
    for table, columns in tables.items():
        split = canonical_split(posixpath.splitext(posixpath.basename(table))[0])
        for line, row in islice(csv_rows(source / table), 1, None):
            place = f"{posixpath.basename(table)}:{line}"
            if len(row) <= max(columns.values()):
                problem = f"row has {len(row)} fields, too few"
                yield place, Face(place, "", split=split, problem=problem)
                continue
            text = {name: row[column].strip() for name, column in columns.items()}
            face = _face(source, place, text, options)
            yield place, replace(face, split=split)


def _face(source: Path, place: str, text: Mapping[str, str], options: Options) -> Face:
    path = posixpath.normpath(f"{options.images}/{text[_PATH]}") if text[_PATH] else ""
    label, left_out, problem = _meaning(text[_EXPRESSION])
    box = _box(text) if options.crop else None
    if options.crop and label and not box:
        numbers = ", ".join(text[name] for name in _COLUMNS[1:5])
        problem = f"face box must be x, y, width and height in pixels; got {shown(numbers)}"
    return Face(
        source=printable(path) or place,
        label=label,
        payload=box.payload if box else b"",
        problem=problem or _fault_of_path(source, path, left_out),
        left_out=left_out,
    )


def _fault_of_path(source: Path, path: str, left_out: str) -> str:
    """Says why a picture cannot be read; of those left out many a copy of the set has none."""
    fault = fault_of_name(path) if path else "path empty"
    return fault or ("" if left_out else problem_with(source, path))


def _meaning(number: str) -> tuple[str, str, str]:
    """Returns the label, or why the face is left out, or what is wrong with the number."""
    label = _NUMBERS.get(number, "")
    if label:
        return label, "", ""
    if number in NO_EXPRESSION:
        return "", f"expression marked {NO_EXPRESSION[number]}", ""
    return "", "", f"expression must be 0 to 10; got {shown(number)}"


def _box(text: Mapping[str, str]) -> Box | None:
    x, y, width, height = (whole_pixels(text[name]) for name in _COLUMNS[1:5])
    if x is None or y is None or width is None or height is None:
        return None
    return box_of(str(x), str(y), str(x + width), str(y + height))


def _sets(source: Path) -> list[str]:
    """Finds the sets of the second form, and checks that both folders of each are there."""
    found = [name for name in _SETS if (source / name).is_dir()]
    if not found:
        raise SourceError(
            f"source: must hold {' or '.join(_TABLES)} (or in {_TABLE_FOLDERS[1]}, or another CSV "
            f"with the column subDirectory_filePath), or {' or '.join(_SETS)}; got '{source}', "
            "which holds none of them."
        )
    for name in found:
        for folder in ("images", "annotations"):
            if not (source / name / folder).is_dir():
                raise SourceError(f"source: must hold {name}/{folder}; got '{source}' without it.")
    return found


def _rows_of_sets(source: Path, sets: Sequence[str]) -> Iterator[Face]:
    for name in sets:
        annotated = _names(source / name / "annotations", (_ANNOTATION,))
        pictures = _names(source / name / "images", _ENDINGS)
        ids = {posixpath.splitext(picture)[0] for picture in pictures}
        lacking = {stem.removesuffix(_ANNOTATION) for stem in annotated} - ids
        for picture in sorted(pictures | {f"{number}.jpg" for number in lacking}):
            yield _face_of_set(source, name, picture)


def _names(folder: Path, endings: tuple[str, ...]) -> set[str]:
    with os.scandir(folder) as entries:
        names = (entry.name for entry in entries if not entry.name.startswith("."))
        return {name for name in names if name.lower().endswith(endings)}


def _face_of_set(source: Path, name: str, picture: str) -> Face:
    path = f"{name}/images/{picture}"
    annotation = f"{name}/annotations/{posixpath.splitext(picture)[0]}{_ANNOTATION}"
    fault = problem_with(source, annotation)
    if fault:
        label, left_out, problem = "", "", f"annotation {_ANNOTATION}: {fault}"
    else:
        label, left_out, problem = _meaning(_npy_value(source / annotation))
    return Face(
        source=printable(path),
        label=label,
        split=_SETS[name],
        problem=_fault_of_path(source, path, left_out) or problem,
        left_out=left_out,
    )


def _npy_value(file: Path) -> str:
    """Reads a .npy file of one text or number as text; "" where it is anything else.

    Only the bytes that numpy.save writes for such a value are known here: nothing is unpickled,
    and no header is evaluated, as numpy.load would do.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(_NPY_BYTES)
    except OSError:
        return ""
    header = _NPY.match(content)
    start = 10 + int.from_bytes(content[8:10], "little")
    if not header or header.end() < start:
        return ""
    kind = np.dtype(header[1].decode())
    if len(content) < start + kind.itemsize:
        return ""
    value = np.frombuffer(content, kind, count=1, offset=start)[0]
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return text.strip().removesuffix(".0")
