"""A CSV table with a header: a column with image paths, one with labels, maybe more.

`source` is the CSV file, or a folder that holds one (`labels.csv` wins where there are several).
Paths in it are relative to the folder of the CSV. `faces` runs in the DRIVER and opens no image;
`read` runs in a WORKER.
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from datasets import (
    Face,
    SourceError,
    Unreadable,
    canonical,
    canonical_split,
    choices,
    frame_number,
)
from datasets._csv_rows import csv_rows
from datasets._image_files import printable, problem_with, read_files, utf8

NEEDS_SOURCE = True

_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Options:
    """Which column holds what."""

    path_column: str = field(
        default="path", metadata={"help": "column with image paths relative to the CSV's folder"}
    )
    label_column: str = field(default="label", metadata={"help": "column with class names"})
    group_column: str = field(
        default="", metadata={"help": "column with the video or subject; '' = none"}
    )
    frame_column: str = field(
        default="", metadata={"help": "column with the frame number in its group; '' = none"}
    )
    split_column: str = field(
        default="", metadata={"help": "column with the official split; '' = none"}
    )
    split_values: str = field(
        default="",
        metadata={
            "help": "what unusual words in split_column mean, as in 'fold1=train,fold2=test'"
        },
    )


def faces(source: Path, options: Options) -> Iterator[Face]:
    """Lists the rows in the order of the table.

    Raises:
        SourceError: No table, a column that is not there, a split value of unknown meaning, or a
            file that is not CSV.
    """
    table = _table(source)
    columns = _columns(table, options)
    splits = _split_values(table, options, columns)
    return _rows_as_faces(table, columns, splits)


def read(source: Path, faces: Sequence[Face], options: Options) -> Iterator[bytes | Unreadable]:
    """Yields the encoded bytes of each row's image file."""
    del options
    return read_files(_table(source).parent, faces)


def _table(source: Path) -> Path:
    if source.is_file():
        return source
    if not source.is_dir():
        raise SourceError(f"source: must be a CSV file or its folder; got '{source}'.")
    tables = sorted(source.glob("*.csv"))
    preferred = [table for table in tables if table.name == "labels.csv"]
    chosen = preferred or tables
    if len(chosen) == 1:
        return chosen[0]
    found = ", ".join(table.name for table in tables) or "none"
    raise SourceError(
        f"source: must hold labels.csv or exactly one CSV file; got '{source}' with {found}. "
        "Name the file itself."
    )


@dataclass(frozen=True)
class _Columns:
    places: Mapping[str, int]  # option -> place of its column in a row
    width: int  # fields in each row


def _columns(table: Path, options: Options) -> _Columns:
    """Finds the place of each column that the options name; reports all that are missing."""
    header = [name.strip() for name in next((row for _, row in csv_rows(table)), [])]
    wanted = {
        "path_column": options.path_column,
        "label_column": options.label_column,
        "group_column": options.group_column,
        "frame_column": options.frame_column,
        "split_column": options.split_column,
    }
    problems = [
        f"options.{option}: must be a column of {table.name}, once; got {name!r}. "
        f"{choices(name, header)}"
        for option, name in wanted.items()
        if header.count(name) != 1 and (name or option in ("path_column", "label_column"))
    ]
    if problems:
        raise SourceError("\n".join(problems))
    places = {option: header.index(name) for option, name in wanted.items() if name}
    return _Columns(places, len(header))


def _split_values(table: Path, options: Options, columns: _Columns) -> Mapping[str, str]:
    """Maps every value of the split column; reads the table once where there is such a column."""
    given = _given_splits(options.split_values)
    place = columns.places.get("split_column")
    if place is None and given:
        raise SourceError(
            "options.split_values: needs options.split_column; got no column. "
            "Name the column that holds these values."
        )
    if place is None:
        return {}
    rows = (row for _, row in islice(csv_rows(table), 1, None))
    values = {row[place].strip() for row in rows if len(row) == columns.width}
    meaning = {value: given.get(value) or canonical_split(value) for value in values}
    unknown = sorted(value for value, split in meaning.items() if value and not split)
    if unknown:
        shown = ", ".join(repr(utf8(value)) for value in unknown[:10])
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        raise SourceError(
            f"options.split_values: every value of column {options.split_column!r} needs a split; "
            f"got {shown}{more}. Say for instance "
            f"options.split_values={utf8(unknown[0])}=train (or validation, test)."
        )
    return meaning


def _given_splits(text: str) -> dict[str, str]:
    """Parses "fold1=train,fold2=test"."""
    pairs = [pair.rpartition("=") for pair in text.split(",") if pair.strip()]
    wrong = [
        f"{word}{equals}{split}"
        for word, equals, split in pairs
        if not equals or split.strip() not in _SPLITS
    ]
    if wrong:
        raise SourceError(
            f"options.split_values: must be VALUE=SPLIT pairs joined by commas; got {wrong[0]!r}. "
            f"Splits: {', '.join(_SPLITS)}."
        )
    return {word.strip(): split.strip() for word, _, split in pairs}


def _rows_as_faces(table: Path, columns: _Columns, splits: Mapping[str, str]) -> Iterator[Face]:
    seen: dict[str, tuple[int, str]] = {}
    for line, row in islice(csv_rows(table), 1, None):
        if len(row) != columns.width:
            yield Face(
                source=f"{table.name}:{line}",
                label="",
                problem=f"row has {len(row)} fields where the header has {columns.width}",
            )
            continue
        face = _face(table, line, row, columns, splits)
        first = seen.setdefault(face.source, (line, face.label))
        if first[0] != line:
            yield _duplicate(table, line, face, *first)
        else:
            yield face


def _face(
    table: Path, line: int, row: Sequence[str], columns: _Columns, splits: Mapping[str, str]
) -> Face:
    text = {option: row[place].strip() for option, place in columns.places.items()}
    path = text["path_column"]
    return Face(
        source=printable(utf8(_relative(table.parent, path))) if path else f"{table.name}:{line}",
        label=printable(utf8(canonical(text["label_column"]))),
        group=printable(utf8(text.get("group_column", ""))),
        frame=frame_number(text.get("frame_column", "")),
        split=splits.get(text.get("split_column", ""), ""),
        problem=_problem(table.parent, text),
    )


def _relative(root: Path, path: str) -> str:
    """A path below the root, however it was given: where the root lies is nobody's business."""
    below = posixpath.relpath(path, root) if posixpath.isabs(path) else path
    return posixpath.normpath(path if below.startswith("../") else below)


def _problem(root: Path, text: Mapping[str, str]) -> str:
    """The first thing wrong with a row."""
    if any(utf8(value) != value for value in text.values()):
        return "row is not valid UTF-8"
    if not all(value.isprintable() for value in text.values()):
        return "row holds characters that cannot be printed"
    for option in ("path_column", "label_column", "group_column"):
        if not text.get(option, "-"):
            return f"{option.removesuffix('_column')} empty"
    if frame_number(text.get("frame_column", "0")) < 0:
        return f"frame is no number of a frame: {text['frame_column']!r}"
    return problem_with(root, text["path_column"])


def _duplicate(table: Path, line: int, face: Face, first_line: int, first_label: str) -> Face:
    """Keeps the row under its line number, since its path is taken."""
    same = face.label == first_label
    other = "" if same else f", which says {first_label!r}"
    return Face(
        source=f"{table.name}:{line}",
        label=face.label,
        problem=f"duplicate of line {first_line}{other}",
    )
