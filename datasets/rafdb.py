"""RAF-DB, the basic set (Li, Deng and Du 2017): 15,339 faces, seven classes, train and test.

Two forms are read, `layout=auto` takes the one that is there:

    official  EmoLabel/list_patition_label.txt (the misspelling is the release's own), one row
              "train_00001.jpg 5" a picture, and Image/aligned/train_00001_aligned.jpg
    folders   DATASET/{train,test}/{1..7}/*.jpg, with or without DATASET around it

No subjects are known. `faces` runs in the DRIVER and opens no image; `read` in a WORKER.
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from datasets import Face, SourceError, Unreadable, canonical_split, folder
from datasets._image_files import printable, problem_with, read_files
from datasets._listed_rows import (
    annotation_facts,
    fault_of_name,
    found_file,
    lines,
    once_each,
    shown,
)

NEEDS_SOURCE = True

LABELS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""In the order of their numbers, which start at 1."""

LISTS = ("EmoLabel/list_patition_label.txt", "EmoLabel/list_partition_label.txt")

_NUMBERS = {str(number): label for number, label in enumerate(LABELS, 1)}
_FOLDER = "DATASET"
_PICTURES = {"aligned": ("Image/aligned", "_aligned"), "original": ("Image/original", "")}


@dataclass(frozen=True)
class Options:
    """Which form of the set, and which pictures."""

    layout: Literal["auto", "official", "folders"] = field(
        default="auto",
        metadata={"help": "official = label list, folders = {train,test}/{1..7}, auto = either"},
    )
    images: Literal["aligned", "original"] = field(
        default="aligned",
        metadata={"help": "aligned faces, or the whole pictures; for the official layout"},
    )


def faces(source: Path, options: Options) -> Iterator[Face]:
    """Lists the rows in the order of the label list, or folder by folder, sorted by name.

    Raises:
        SourceError: Neither form is there, or not the one asked for, or a folder that is no class.
    """
    listed = _list(source, options.layout)
    if listed:
        return once_each(_listed_rows(source, listed, *_pictures(source, options.images)))
    root = _root(source, options.layout)
    return _rows_of_folders(root, folder.faces(source / root, folder.Options()))


def read(source: Path, faces: Sequence[Face], options: Options) -> Iterator[bytes | Unreadable]:
    """Yields the encoded bytes of each image file."""
    del options
    return read_files(source, faces)


def provenance(source: Path, options: Options) -> Mapping[str, str | int]:
    """Tells the layout, and of the official one the sha256 of its label list."""
    listed = _list(source, options.layout)
    if listed:
        return annotation_facts("official", [source / listed])
    _root(source, options.layout)
    return {"release": "folders"}


def _list(source: Path, layout: str) -> str:
    """Finds the label list; "" where the folders are to be read."""
    if not source.is_dir():
        raise SourceError(f"source: must be a folder; got '{source}'. Name the folder of the set.")
    listed = found_file(source, LISTS) if layout != "folders" else ""
    if layout == "official" and not listed:
        raise SourceError(
            f"source: must hold {' or '.join(LISTS)}; got '{source}', which holds neither. "
            "Name the folder around EmoLabel (often called basic), or set options.layout=folders."
        )
    return listed


def _pictures(source: Path, images: str) -> tuple[str, str]:
    """Returns the pictures' folder and what their names have before the ending."""
    pictures, addition = _PICTURES[images]
    if not (source / pictures).is_dir():
        other = "original" if images == "aligned" else "aligned"
        raise SourceError(
            f"source: must hold {pictures} beside EmoLabel; got '{source}', which does not. "
            f"Unpack {pictures}.zip there, or set options.images={other}."
        )
    return pictures, addition


def _listed_rows(
    source: Path, listed: str, pictures: str, addition: str
) -> Iterator[tuple[str, Face]]:
    for number, line in lines(source / listed):
        place = f"{posixpath.basename(listed)}:{number}"
        name, label_number = line.split()[0], line.split()[-1]
        stem, ending = posixpath.splitext(name)
        split = stem.partition("_")[0]
        path = posixpath.normpath(f"{pictures}/{stem}{addition}{ending}")
        face = Face(
            source=printable(path),
            label=_NUMBERS.get(label_number, ""),
            split=split if split in ("train", "test") else "",
        )
        problem = _fault_of_row(face, line, label_number) or problem_with(source, path)
        yield place, replace(face, problem=problem)


def _fault_of_row(face: Face, line: str, label_number: str) -> str:
    if len(line.split()) != 2:
        return f"row must be a name and a label; got {shown(line)}"
    if not face.label:
        return f"label must be 1 to {len(LABELS)}; got {shown(label_number)}"
    if not face.split:
        return f"name must start with train_ or test_; got {shown(line)}"
    return fault_of_name(line)


def _root(source: Path, layout: str) -> str:
    """Finds the folder that holds train and test, "" or DATASET, and checks the classes in it."""
    inner = (source / _FOLDER).is_dir() and not (source / _FOLDER).is_symlink()
    root = _FOLDER if inner else ""
    splits = [name for name in ("train", "test") if (source / root / name).is_dir()]
    if not splits:
        official = "" if layout == "folders" else f"{LISTS[0]} or "
        raise SourceError(
            f"source: must hold {official}train/1 to train/7 and test/1 to test/7 (in a folder "
            f"{_FOLDER} or not); got '{source}', which holds none of them."
        )
    _check_classes(source / root, splits)
    return root


def _check_classes(root: Path, splits: Sequence[str]) -> None:
    found = sorted(
        f"{split}/{path.name}"
        for split in splits
        for path in (root / split).iterdir()
        if path.is_dir() and not path.name.startswith((".", "__MACOSX"))
    )
    strange = [name for name in found if name.partition("/")[2] not in _NUMBERS]
    if strange or not found:
        raise SourceError(
            f"source: the folders of the classes must be called 1 to {len(LABELS)}; got "
            f"{', '.join(map(printable, strange[:10])) or 'none'} in '{root}'. "
            "For folders with the names of the classes: adapter folder."
        )


def _rows_of_folders(root: str, listed: Iterator[Face]) -> Iterator[Face]:
    """Gives the rows of adapter folder, whose labels are numbers here, their names."""
    for face in listed:
        path = posixpath.join(root, face.source)
        yield replace(
            face,
            source=printable(path),
            label=_NUMBERS.get(face.label, ""),
            split=canonical_split(face.source.partition("/")[0]),
            problem=face.problem or fault_of_name(path),
        )
