"""Where faces come from: one module a format, all with the same four names.

An adapter `datasets/<name>.py` defines `NEEDS_SOURCE`, `Options`, `faces` (lists every row of a
source, cheaply, without touching a pixel; DRIVER) and `read` (brings the pixels of some rows;
WORKER). Whatever is wrong with one row travels with that row (`Face.problem`, `Unreadable`), so
that nothing is lost silently; only a source that cannot be used at all raises `SourceError`.

This package knows nothing of the orchestrator and imports neither torch nor ray.
"""

import difflib
import importlib
import math
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt

EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")

_OTHER_WORDS = {
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
}

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "publictest": "validation",
    "test": "test",
    "testing": "test",
    "privatetest": "test",
}


class SourceError(ValueError):
    """A whole source, or the options for it, cannot be used; the message names the remedy."""


@dataclass(frozen=True)
class Face:
    """One row of a source before a pixel is read.

    Attributes:
        source: Relative path with forward slashes, or "fer2013.csv:123"; unique in its source.
        label: Canonical label name; may be "" where `problem` or `left_out` is set.
        group: Video or subject; "" where the source has none.
        frame: Number of the frame inside its group; -1 where the source has none.
        split: Official split "train", "validation" or "test"; "" where there is none.
        payload: Pixels, for sources without a file per image; or where in its picture the face is.
        problem: Why this row cannot be used; "" where nothing is known against it.
        left_out: Why this row is no training material though nothing is wrong with it (a frame
            that the annotation says to disregard, a label without a picture); "" where there
            is no such reason. `problem` is stronger.
    """

    source: str
    label: str
    group: str = ""
    frame: int = -1
    split: str = ""
    payload: bytes = b""
    problem: str = ""
    left_out: str = ""


@dataclass(frozen=True)
class Unreadable:
    """What `read` yields in place of pixels that cannot be had."""

    reason: str


Pixels = bytes | npt.NDArray[np.uint8] | Unreadable
"""An encoded image file, or an (H, W) or (H, W, 3) uint8 array, or why there is neither."""


class Adapter(Protocol):
    """What a module `datasets/<name>.py` defines.

    It may also define `provenance(source: Path, options: Any) -> Mapping[str, str | int]`: which
    release of the data set the source holds, the sha256 over its annotation files, and counts
    that tell what the rows cannot. Names only, no path of a machine; runs in the DRIVER and
    raises `SourceError` as `faces` does.
    """

    NEEDS_SOURCE: bool
    Options: type

    def faces(self, source: Path, options: Any) -> Iterator[Face]:
        """Lists the source's rows in an order that is the same each time."""

    def read(self, source: Path, faces: Sequence[Face], options: Any) -> Iterator[Pixels]:
        """Yields one result a face, in order."""


def canonical(label: str) -> str:
    """Returns the one name we use for an emotion; other labels come back stripped, lower case."""
    word = " ".join(label.split()).lower()
    return _OTHER_WORDS.get(word, word)


def canonical_split(word: str) -> str:
    """Returns "train", "validation" or "test" for the usual words; "" for any other word."""
    return _SPLITS.get(word.strip().lower(), "")


def frame_number(text: str) -> int:
    """Returns the number of a frame as 32 bits hold it; -1 where the text is none."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdecimal() and len(digits.lstrip("0")) <= 10):
        return -1
    return int(digits) if int(digits) < 2**31 else -1


def names() -> tuple[str, ...]:
    """Lists the adapters: the modules of this folder that do not start with an underscore."""
    found = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def adapter(name: str) -> Adapter:
    """Imports the adapter of that name.

    Raises:
        SourceError: There is none; the message lists those there are.
    """
    if name not in names():
        raise SourceError(
            f"data set: no adapter of that name; got {name!r}. {choices(name, names())}"
        )
    return cast(Adapter, importlib.import_module(f"{__name__}.{name}"))


def options(adapter: Adapter, given: Mapping[str, object]) -> Any:
    """Builds the adapter's `Options` from values as a command line or a YAML file gives them.

    Text is converted to the field's type; nothing else is: 1 is no bool, 1.5 no int.

    Raises:
        SourceError: Unknown keys, wrong types, values out of bounds; one line each, all at once.
    """
    fields = {field.name: field for field in dataclass_fields(adapter.Options)}
    hints = typing.get_type_hints(adapter.Options)
    values: dict[str, object] = {}
    problems: list[str] = []
    for key, value in given.items():
        try:
            if key not in fields:
                raise SourceError(f"no such option; got {value!r}. {choices(key, fields)}")
            values[key] = _within(_converted(value, hints[key]), fields[key])
        except SourceError as error:
            problems.append(f"options.{key}: {error}")
    if problems:
        raise SourceError("\n".join(problems))
    return adapter.Options(**values)


def choices(word: str, known: Iterable[str]) -> str:
    """Says which words would have been right, the nearest first: the end of an error message."""
    listed = list(known)
    near = difflib.get_close_matches(word, listed, n=1)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    return f"{guess}Choices: {', '.join(listed) or 'none'}."


def _converted(value: object, hint: Any) -> object:
    """Converts a value to the type of an option."""
    if typing.get_origin(hint) is Literal:
        return _one_of(value, typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return _words(value)
    convert = {bool: _bool, int: _int, float: _float, str: _str}[hint]
    return convert(value)


def _one_of(value: object, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise SourceError(
            f"must be one of the choices; got {value!r}. {choices(str(value), allowed)}"
        )
    return str(value)


def _words(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        return tuple(value)
    raise SourceError(f"must be a list of words; got {value!r}. Write it as a,b,c.")


def _bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise SourceError(f"must be true or false; got {value!r}.")


def _int(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return int(value if isinstance(value, str) else "")
    except ValueError:
        raise SourceError(f"must be a whole number; got {value!r}.") from None


def _float(value: object) -> float:
    try:
        number = float(value if isinstance(value, int | float | str) and value is not True else "")
    except ValueError:
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise SourceError(f"must be a finite number; got {value!r}.")
    return number


def _str(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise SourceError(f"must be text; got {value!r}.")
    return str(value)


def _within(value: object, field: Field[Any]) -> object:
    """Checks a number against the bounds that its field states, both inclusive."""
    low, high = field.metadata.get("at_least"), field.metadata.get("at_most")
    if low is not None and cast(float, value) < low:
        raise SourceError(f"must be at least {low}; got {value!r}.")
    if high is not None and cast(float, value) > high:
        raise SourceError(f"must be at most {high}; got {value!r}.")
    return value
