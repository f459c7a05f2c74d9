"""ExpW, Expression in the Wild (Zhang, Luo, Loy and Tang 2018): 91,793 faces in web pictures.

`label.lst` or `label/label.lst` has one row a face,

    angry_actor_104.jpg 0 28 113 226 141 22.9362 0

that is: picture, number of the face in it, top, left, right and bottom of its box, confidence of
the detector, label. A picture can have several faces, so a face is named by picture and number:
"image/origin/angry_actor_104.jpg#0". The emotion in a picture's name is what was searched for,
not its label. No subjects and no splits are known.

`faces` runs in the DRIVER and opens no image; `read` cuts the faces out, in a WORKER.
"""

import math
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datasets import Face, SourceError, Unreadable
from datasets._crops import box_of, read_crops
from datasets._image_files import printable, problem_with
from datasets._listed_rows import (
    annotation_facts,
    check_folder,
    fault_of_name,
    found_file,
    lines,
    once_each,
    shown,
)

NEEDS_SOURCE = True

LABELS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""In the order of their numbers, which start at 0."""

LISTS = ("label/label.lst", "label.lst")

_NUMBERS = {str(number): label for number, label in enumerate(LABELS)}
_FIELDS = 8


@dataclass(frozen=True)
class Options:
    """Where the pictures are, and which faces are good enough."""

    images: str = field(
        default="image/origin", metadata={"help": "folder in the source that holds the pictures"}
    )
    min_confidence: float = field(
        default=0.0,
        metadata={"help": "faces that the detector was less sure of are left out (0 = none)"},
    )


def faces(source: Path, options: Options) -> Iterator[Face]:
    """Lists the faces in the order of the list.

    Raises:
        SourceError: No list, no folder of pictures, or a file that is no list.
    """
    listed = _list(source)
    check_folder(source, "images", options.images)
    return once_each(_rows(source, listed, options))


def read(
    source: Path, faces: Sequence[Face], options: Options
) -> Iterator[npt.NDArray[np.uint8] | bytes | Unreadable]:
    """Yields each face cut out of its picture: (H, W, 3) or (H, W) uint8."""
    del options
    return read_crops(source, faces, [face.source.rpartition("#")[0] for face in faces])


def provenance(source: Path, options: Options) -> Mapping[str, str | int]:
    """Tells the sha256 of the list."""
    del options
    return annotation_facts("list", [source / _list(source)])


def _list(source: Path) -> str:
    if not source.is_dir():
        raise SourceError(f"source: must be a folder; got '{source}'. Name the folder of the set.")
    listed = found_file(source, LISTS)
    if not listed:
        raise SourceError(
            f"source: must hold {' or '.join(LISTS)}; got '{source}', which holds neither. "
            "Name the folder around label and image."
        )
    return listed


def _rows(source: Path, listed: str, options: Options) -> Iterator[tuple[str, Face]]:
    for number, line in lines(source / listed):
        place = f"{posixpath.basename(listed)}:{number}"
        yield place, _face(source, place, line, options)


def _face(source: Path, place: str, line: str, options: Options) -> Face:
    fields = line.rsplit(maxsplit=_FIELDS - 1)
    if len(fields) != _FIELDS:
        return Face(place, "", problem=f"row has {len(fields)} fields instead of {_FIELDS}")
    name, number, top, left, right, bottom, confidence, label_number = fields
    path = posixpath.normpath(f"{options.images}/{name}")
    label = _NUMBERS.get(label_number, "")
    box = box_of(left, top, right, bottom)
    sure = _number(confidence)
    problem = fault_of_name(name)
    if not label:
        problem = f"label must be 0 to {len(LABELS) - 1}; got {shown(label_number)}"
    elif not (number.isascii() and number.isdecimal()):
        problem = f"number of the face must be a whole number; got {shown(number)}"
    elif not box:
        numbers = ", ".join((top, left, right, bottom))
        problem = f"face box must be top, left, right and bottom in pixels; got {shown(numbers)}"
    elif math.isnan(sure):
        problem = f"confidence must be a number; got {shown(confidence)}"
    unsure = sure < options.min_confidence
    return Face(
        source=printable(f"{path}#{number}"),
        label=label,
        payload=box.payload if box else b"",
        problem=problem or problem_with(source, path),
        left_out=f"confidence {sure:g} below {options.min_confidence:g}" if unsure else "",
    )


def _number(text: str) -> float:
    """Reads a number; nan where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
