"""Class per directory: `<root>/<class>/**` or `<root>/<train|val|test>/<class>/**`.

The form in which RAF-DB, FER2013, CK+48 and most home-made sets are passed around. `faces` runs
in the DRIVER and opens no image; `read` runs in a WORKER.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from datasets import Face, SourceError, Unreadable, canonical, canonical_split, frame_number
from datasets._image_files import printable, problem_with, read_files, utf8

NEEDS_SOURCE = True

_NOT_DATA = ("__MACOSX",)  # and whatever starts with a dot


@dataclass(frozen=True)
class Options:
    """How to read names: patterns see the path relative to the source, with forward slashes."""

    group_pattern: str = field(
        default="",
        metadata={"help": "regular expression whose one group is the video or subject; '' = none"},
    )
    frame_pattern: str = field(
        default="",
        metadata={
            "help": r"regular expression whose one group is the frame number, as in (\d+)\.\w+$"
        },
    )
    extensions: tuple[str, ...] = field(
        default=(".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"),
        metadata={"help": "endings of image files, in any case; other files are passed over"},
    )


def faces(source: Path, options: Options) -> Iterator[Face]:
    """Lists the images folder by folder, sorted by name.

    Raises:
        SourceError: No such folder, no class folder in it, or a pattern that is not usable.
    """
    group = _pattern("group_pattern", options.group_pattern)
    frame = _pattern("frame_pattern", options.frame_pattern)
    has_splits = _has_splits(source)
    endings = tuple(f".{ending.lstrip('.').lower()}" for ending in options.extensions)
    files = _files(source, "", endings)
    return (_face(source, file, has_splits, group, frame) for file in files)


def read(source: Path, faces: Sequence[Face], options: Options) -> Iterator[bytes | Unreadable]:
    """Yields the encoded bytes of each image file."""
    del options
    return read_files(source, faces)


def _pattern(name: str, pattern: str) -> re.Pattern[str] | None:
    if not pattern:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SourceError(
            f"options.{name}: not a regular expression ({error}); got {pattern!r}."
        ) from None
    if compiled.groups != 1:
        raise SourceError(
            f"options.{name}: must have one group in parentheses; got {pattern!r}, "
            f"which has {compiled.groups}. Write (?:...) for parentheses that do not count."
        )
    return compiled


def _has_splits(source: Path) -> bool:
    """Whether the top folders are splits; checks that they are of one kind."""
    if not source.is_dir():
        raise SourceError(
            f"source: must be a folder; got '{source}'. Name the folder of the classes."
        )
    tops = [entry.name for entry in _entries(source) if _is_folder(entry)]
    if not tops:
        raise SourceError(
            f"source: must hold a folder per class; got '{source}', which holds no folder."
        )
    splits = [name for name in tops if canonical_split(name)]
    if splits and len(splits) < len(tops):
        others = sorted(set(tops) - set(splits))
        raise SourceError(
            "source: top folders must all be splits or all be classes; "
            f"got splits {', '.join(splits)} beside {', '.join(map(utf8, others[:10]))}. "
            "Name a folder inside as the source, or move the others away."
        )
    return bool(splits)


class _File(NamedTuple):
    """A relative path, and whether it is a file by itself: no link, which may lead anywhere."""

    path: str
    is_plain: bool


def _files(source: Path, folder: str, endings: tuple[str, ...]) -> Iterator[_File]:
    """Walks depth first in sorted order; yields files, and links to folders."""
    for entry in _entries(source / folder):
        path = f"{folder}/{entry.name}" if folder else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _files(source, path, endings)
        elif _is_folder(entry) or entry.name.lower().endswith(endings):
            yield _File(path, entry.is_file(follow_symlinks=False))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            kept = [e for e in entries if not e.name.startswith(".") and e.name not in _NOT_DATA]
    except OSError as error:
        raise SourceError(
            f"source: folder cannot be listed ({error.strerror}); got '{utf8(str(folder))}'."
        ) from None
    return sorted(kept, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _face(
    source: Path,
    file: _File,
    has_splits: bool,
    group: re.Pattern[str] | None,
    frame: re.Pattern[str] | None,
) -> Face:
    path = file.path
    parts = path.split("/")
    depth = 1 if has_splits else 0
    label = canonical(printable(utf8(parts[depth]))) if len(parts) > depth + 1 else ""
    group_name = _found(group, path)
    number = frame_number(_found(frame, path))
    problem = _problem(source, file, label)
    if group and not group_name:
        problem = problem or "options.group_pattern finds nothing in the path"
    if frame and number < 0:
        problem = problem or "options.frame_pattern finds no number of a frame in the path"
    return Face(
        source=printable(utf8(path)),
        label=label,
        group=printable(utf8(group_name)),
        frame=number,
        split=canonical_split(parts[0]) if has_splits else "",
        problem=problem,
    )


def _found(pattern: re.Pattern[str] | None, path: str) -> str:
    match = pattern.search(path) if pattern else None
    return (match[1] or "") if match else ""


def _problem(source: Path, file: _File, label: str) -> str:
    if utf8(file.path) != file.path:
        return "name is not valid UTF-8"
    if not file.path.isprintable():
        return "name holds characters that cannot be printed"
    # No link is followed on the way to a file, so that a plain one lies inside the source.
    problem = "" if file.is_plain else problem_with(source, file.path)
    if problem == "not a file":
        return "a link to a folder is not followed"
    if not problem and not label:
        return "image lies in no class folder"
    return problem
