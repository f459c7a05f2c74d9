"""FER+ (Barsoum et al. 2016): the pictures of FER2013 with the votes of ten people.

Two forms are read, the first where both of its files are there:

    tables   fer2013new.csv (votes) and fer2013.csv (pixels), row by row in the same order. The
             number in an image name is not the row: it falls behind by 85 up to the last one.
    folders  FER2013Train, FER2013Valid and FER2013Test, at the top or in data/, each with
             label.csv, "fer0000000.png,4,0,0,1,3,2,0,0,0,0" with or without a box after the name,
             and the pictures beside it. Its votes differ from those of the table in places.

The label is decided as by the mode `majority` of the set's own reader: votes that stand alone are
struck, then the winner must have more than half of those left, unknown and not-a-face among them.
With `votes=plurality` nothing is struck, and the most votes win. Where nobody wins, or unknown or
not-a-face does, the picture is left out.

`faces` runs in the DRIVER and opens no image; `read` in a WORKER.
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from datasets import Face, SourceError, Unreadable, canonical_split, choices, fer2013
from datasets._csv_rows import csv_rows
from datasets._image_files import printable, problem_with, read_files
from datasets._listed_rows import annotation_facts, fault_of_name, found_file, once_each, shown

NEEDS_SOURCE = True

LABELS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""In the order of their columns; after them come the votes for unknown and for not-a-face."""

VOTES_TABLE, PIXELS_TABLE = "fer2013new.csv", "fer2013.csv"
FOLDERS = {"FER2013Train": "train", "FER2013Valid": "validation", "FER2013Test": "test"}

_CHOICES = (*LABELS, "unknown", "not a face")
_VOTE_COLUMNS = (*LABELS, "unknown", "nf")
_NO_FACE = "not a face (removed by FER+)"


@dataclass(frozen=True)
class Options:
    """How votes become a label."""

    votes: Literal["majority", "plurality"] = field(
        default="majority",
        metadata={
            "help": "majority = more than half of the votes, single ones struck; "
            "plurality = the most votes"
        },
    )


def faces(source: Path, options: Options) -> Iterator[Face]:
    """Lists the rows in the order of the table, or of each label.csv.

    Raises:
        SourceError: Neither form is there, a column is missing, or the tables differ in length.
    """
    if _has_tables(source):
        columns = _columns(source / VOTES_TABLE)
        pixels = fer2013.faces(source / PIXELS_TABLE, fer2013.Options())
        return _rows_of_tables(source / VOTES_TABLE, columns, pixels, options)
    return once_each(_rows_of_folders(source, _label_files(source), options))


def read(
    source: Path, faces: Sequence[Face], options: Options
) -> Iterator[npt.NDArray[np.uint8] | bytes | Unreadable]:
    """Yields (48, 48) uint8, grey, from the tables; from the folders the bytes of each file."""
    del options
    for face in faces:
        if face.payload:
            yield from fer2013.read(source, [face], fer2013.Options())
        else:
            yield from read_files(source, [face])


def provenance(source: Path, options: Options) -> Mapping[str, str | int]:
    """Tells the form and the sha256 of the votes, which differ between the two forms."""
    del options
    if _has_tables(source):
        return annotation_facts("tables", [source / VOTES_TABLE])
    return annotation_facts("folders", [source / file for file in _label_files(source)])


def _has_tables(source: Path) -> bool:
    if not source.is_dir():
        raise SourceError(f"source: must be a folder; got '{source}'. Name the folder of the set.")
    return all([found_file(source, [table]) for table in (VOTES_TABLE, PIXELS_TABLE)])


def _columns(table: Path) -> dict[str, int]:
    header = [name.strip().lower() for name in next((row for _, row in csv_rows(table)), [])]
    wanted = ("usage", "image name", *_VOTE_COLUMNS)
    missing = [name for name in wanted if name not in header]
    if missing:
        raise SourceError(
            f"{table.name}: header must be Usage, Image name, {', '.join(LABELS)}, unknown, NF; "
            f"got no {missing[0]!r}. "
            f"{choices(missing[0], [printable(name[:40]) for name in header[:20]])}"
        )
    return {name: header.index(name) for name in wanted}


def _rows_of_tables(
    table: Path, columns: Mapping[str, int], pixels: Iterator[Face], options: Options
) -> Iterator[Face]:
    votes = islice(csv_rows(table), 1, None)
    for numbered, face in zip_longest(votes, pixels):
        if numbered is None or face is None:
            longer = PIXELS_TABLE if numbered is None else VOTES_TABLE
            raise SourceError(
                f"{VOTES_TABLE}: must have a row for each row of {PIXELS_TABLE}, in the same "
                f"order; got more rows in {longer}. Take both as they were published."
            )
        line, row = numbered
        yield _row_with_pixels(f"{table.name}:{line}", row, columns, face, options)


def _row_with_pixels(
    place: str, row: Sequence[str], columns: Mapping[str, int], face: Face, options: Options
) -> Face:
    bare = replace(face, source=place, label="")
    if face.problem:
        return replace(bare, problem=f"{face.source}: {face.problem}")
    if len(row) <= max(columns.values()):
        return replace(bare, problem=f"row has {len(row)} fields, too few")
    if canonical_split(row[columns["usage"]]) != face.split:
        usage = shown(row[columns["usage"]])
        return replace(bare, problem=f"Usage must be that of {face.source}; got {usage}")
    voted = _voted(bare, [row[columns[name]] for name in _VOTE_COLUMNS], options)
    named = row[columns["image name"]].strip()
    return voted if named or voted.problem else replace(bare, left_out=_NO_FACE)


def _label_files(source: Path) -> dict[str, str]:
    """Finds each split's label.csv; maps its path to the split."""
    found = {
        file: split
        for folder, split in FOLDERS.items()
        if (file := found_file(source, [f"{folder}/label.csv", f"data/{folder}/label.csv"]))
    }
    if not found:
        raise SourceError(
            f"source: must hold {VOTES_TABLE} and {PIXELS_TABLE}, or {', '.join(FOLDERS)} (or "
            f"data/{next(iter(FOLDERS))} and so on) with label.csv and the pictures in each; "
            f"got '{source}'. Put the table of pixels beside the table of votes."
        )
    return found


def _rows_of_folders(
    source: Path, files: Mapping[str, str], options: Options
) -> Iterator[tuple[str, Face]]:
    for file, split in files.items():
        folder = posixpath.dirname(file)
        for line, row in csv_rows(source / file):
            place = f"{file}:{line}"
            name = row[0].strip()
            path = posixpath.normpath(f"{folder}/{name}")
            face = Face(printable(path) if name else place, "", split=split)
            fault = fault_of_name(name) or (problem_with(source, path) if name else "name empty")
            boxed = len(row) == len(_CHOICES) + 2
            if not boxed and len(row) != len(_CHOICES) + 1:
                fault = f"row has {len(row)} fields; must be a name and {len(_CHOICES)} votes"
            if fault:
                yield place, replace(face, problem=fault)
            else:
                yield place, _voted(face, row[2 if boxed else 1 :], options)


def _voted(face: Face, fields: Sequence[str], options: Options) -> Face:
    """Gives a face the label that the votes say, or says why they do not."""
    words = [text.strip() for text in fields]
    if not all(word.isascii() and word.isdecimal() and len(word) <= 4 for word in words):
        return replace(face, problem=f"votes must be whole numbers; got {shown(','.join(words))}")
    votes = [int(word) for word in words]
    if not any(votes):
        return replace(face, problem="row has no votes")
    counted = votes
    if options.votes == "majority":
        counted = [count if count > 1 else 0 for count in votes]
    most = max(counted)
    enough = options.votes == "plurality" or 2 * most > sum(counted)
    if not enough or counted.count(most) > 1:
        return replace(face, left_out=f"ambiguous votes: {_tally(counted if most else votes)}")
    winner = _CHOICES[counted.index(most)]
    if winner in LABELS:
        return replace(face, label=winner)
    return replace(face, left_out=f"voted {winner}: {most} of {sum(votes)}")


def _tally(votes: Sequence[int]) -> str:
    """Lists the votes, the most first: "happiness 4, surprise 4"."""
    cast = [(count, name) for count, name in zip(votes, _CHOICES, strict=True) if count]
    ranked = sorted(cast, key=lambda vote: -vote[0])
    return ", ".join(f"{name} {count}" for count, name in ranked)
