"""Rows of a data set's own list: lines with their numbers, names fit to print, no row twice. DRIVER.

A list is hostile input: a line may have no end, a name may hold any byte, and the same picture may
be named twice, perhaps with two labels.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from datasets import Face, SourceError
from datasets._image_files import printable, problem_with, utf8

_MAX_LINE = 4096  # characters; no list of pictures needs more


def found_file(source: Path, names: Sequence[str]) -> str:
    """Returns the first of some relative paths that is a file; "" where none is.

    Raises:
        SourceError: It is there but may not be read, as it is no file or a link that leads out.
    """
    for name in names:
        problem = problem_with(source, name)
        if not problem:
            return name
        if problem != "file missing":
            raise SourceError(f"{name}: must be a file inside the source; got: {problem}.")
    return ""


def check_folder(source: Path, option: str, relative: str) -> None:
    """Checks the folder of the pictures that an option names.

    Raises:
        SourceError: It is not there, or not below the source by its name.
    """
    inside = not Path(relative).is_absolute() and ".." not in Path(relative).parts
    if not inside or not (source / relative).is_dir():
        raise SourceError(
            f"options.{option}: must be a folder in the source; got {relative!r}, which is not in "
            f"'{source}'. Unpack the pictures there or name their folder."
        )


def lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yields number and text of each line that is not blank, without blanks around it.

    Bytes that are not UTF-8 arrive as lone surrogates, so that they spoil a row, not the list.

    Raises:
        SourceError: The file cannot be read, or has a line that is no row of a list.
    """
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape") as stream:
            for number in itertools.count(1):
                text = stream.readline(_MAX_LINE)
                if len(text) == _MAX_LINE and not text.endswith("\n"):
                    raise SourceError(
                        f"{file.name}:{number}: must be shorter than {_MAX_LINE:,} characters; "
                        "got a longer line. Is this the list of the pictures?"
                    )
                if not text:
                    return
                if text.strip():
                    yield number, text.strip()
    except OSError as error:
        raise SourceError(
            f"source: cannot be read ({error.strerror}); got '{printable(str(file))}'."
        ) from None


def once_each(rows: Iterable[tuple[str, Face]]) -> Iterator[Face]:
    """Yields each row, but of rows with the same source only the first as it is.

    Args:
        rows: Places ("label.lst:12", each one different) and what stands there.
    """
    seen: dict[str, tuple[str, str]] = {}
    for place, face in rows:
        first, label = seen.setdefault(face.source, (place, face.label))
        yield face if first == place else _duplicate(place, face, first, label)


def shown(text: str) -> str:
    """Quotes a field of a list in a message: printable, and not at any length."""
    return repr(printable(text[:40]))


def fault_of_name(name: str) -> str:
    """Says why a name cannot be kept as it is; "" where it can."""
    if utf8(name) != name:
        return "name is not valid UTF-8"
    return "" if name.isprintable() else "name holds characters that cannot be printed"


def annotation_facts(release: str, files: Sequence[Path]) -> Mapping[str, str | int]:
    """What an adapter's `provenance` tells: the form of the set and a sha256 over its lists.

    Raises:
        SourceError: A file cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise SourceError(
                f"source: cannot be read ({error.strerror}); got '{printable(str(file))}'."
            ) from None
    return {
        "release": release,
        "annotation_files": len(files),
        "annotations_sha256": digest.hexdigest(),
    }


def _duplicate(place: str, face: Face, first: str, first_label: str) -> Face:
    """Keeps a row under its place, since its source is taken."""
    other = "" if face.label == first_label else f", which says {first_label!r}"
    return Face(
        source=place, label=face.label, split=face.split, problem=f"duplicate of {first}{other}"
    )
