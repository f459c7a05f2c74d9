"""The label lines of an Aff-Wild2 release, video by video. DRIVER.

Two forms. `expr`: a text file a video, a header of class names, then one number a frame, so that
line k after the header belongs to frame k. `mtl`: one list a split, rows
`video/frame.jpg,valence,arousal,expression,AU...`. Headers are checked at once; the lines of
`expr` are read when they are asked for, those of `mtl` at once, since a list is in no order.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from datasets import EMOTIONS, SourceError, canonical
from datasets._affwild2_release import Release
from datasets._image_files import printable

CLASSES = ("neutral", *EMOTIONS, "other")
"""In the order of their numbers; the 1st and 2nd round have the first seven."""

_MTL_HEADER = ("image", "valence", "arousal", "expression")
_MTL_IMAGE = re.compile(r"([^/]+)/(\d{1,9})\.jpg", re.ASCII | re.IGNORECASE)

_MAX_CHARS = 64 * 2**20  # the longest list of a release has about a sixth of that
_MAX_HEADER_CHARS = 1000


class LabelLine(NamedTuple):
    """One line of an annotation file.

    Attributes:
        line: Its number in the file, from 1.
        frame: The frame it is about, from 1; -1 where it names none.
        word: The label as it is written, unchecked; "" where there is none.
        problem: Why no picture is the line's own: it names none, or one that is taken.
    """

    line: int
    frame: int
    word: str
    problem: str = ""


@dataclass(frozen=True)
class AnnotatedVideo:
    """A video as one split annotates it.

    Attributes:
        name: Name of its folder of pictures, with _left or _right where it has two people; ""
            for the lines of a list that name no video.
        split: "train" or "validation".
        file: Path of the annotation file relative to the source.
        problem: Why no line of it can be used.
        listed: Its lines where they have been read; None where `label_lines` reads them.
    """

    name: str
    split: str
    file: str
    problem: str = ""
    listed: tuple[LabelLine, ...] | None = None


@dataclass(frozen=True)
class Annotations:
    """All that a release annotates.

    Attributes:
        classes: Class names in the order of their numbers.
        files: Split, and path relative to the source, of each annotation file.
        videos: Sorted by split and name, "train" first.
    """

    classes: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    videos: tuple[AnnotatedVideo, ...]


def read_annotations(source: Path, release: Release) -> Annotations:
    """Finds the annotated videos and checks the header of each annotation file.

    Raises:
        SourceError: No file, a file that cannot be read, or a header that is not the release's.
    """
    if release.task == "mtl":
        files = [(split, release.path(split)) for split in release.parts]
        videos = [video for split, path in files for video in _listed_videos(source, split, path)]
        return Annotations(CLASSES, tuple(files), _checked(videos))
    files = [(s, path) for s in release.parts for path in _text_files(source, release.path(s))]
    if not files:
        raise SourceError(
            f"{release.name}: must hold a file VIDEO.txt for each video; got none. "
            "Unpack the annotations there."
        )
    classes = _common_classes(source, [path for _, path in files])
    videos = [AnnotatedVideo(Path(path).name[:-4], split, path) for split, path in files]
    return Annotations(classes, tuple(files), _checked(videos))


def label_lines(source: Path, video: AnnotatedVideo) -> Iterable[LabelLine]:
    """Reads the lines of a video in the order of its file.

    Raises:
        SourceError: The file cannot be read.
    """
    if video.listed is not None:
        return video.listed
    words = (line.strip(" \t,") for line in _lines(source, video.file)[1:])
    return (LabelLine(frame + 1, frame, word) for frame, word in enumerate(words, start=1))


def file_digest(source: Path, file: str) -> bytes:
    """Returns the sha256 of an annotation file.

    Raises:
        SourceError: It cannot be read.
    """
    try:
        with (source / file).open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").digest()
    except OSError as error:
        raise _unreadable(file, error) from None


# --- a file a video ------------------------------------------------------------------------------


def _text_files(source: Path, folder: str) -> list[str]:
    """Lists the annotation files of a split, sorted by the video's name."""
    try:
        with os.scandir(source / folder) as entries:
            found = [e for e in entries if e.name.endswith(".txt") and not e.name.startswith(".")]
    except OSError as error:
        raise _unreadable(folder, error) from None
    for entry in found:
        if not entry.is_file(follow_symlinks=False):
            raise SourceError(
                f"{printable(folder)}: annotation files must be plain files; got "
                f"{entry.name!r}, a link or a folder. Replace it."
            )
    return [f"{folder}/{video}.txt" for video in sorted(e.name[:-4] for e in found)]


def _common_classes(source: Path, files: Iterable[str]) -> tuple[str, ...]:
    """Checks that all headers are alike."""
    first_with: dict[tuple[str, ...], str] = {}
    for file in files:
        first_with.setdefault(_header(source, file), file)
    if len(first_with) > 1:
        got = " and ".join(
            f"{len(classes)} in {printable(file)}" for classes, file in first_with.items()
        )
        raise SourceError(
            f"annotations: all headers must name the same classes; got {got}. "
            "These are files of two releases: keep one."
        )
    return next(iter(first_with))


def _header(source: Path, file: str) -> tuple[str, ...]:
    """Reads the classes of a file; lenient on case, blanks and a comma at the end."""
    header = _first_line(source, file)
    classes = tuple(canonical(name) for name in header.strip(" \t,").split(","))
    if classes not in (CLASSES, CLASSES[:-1]):
        raise SourceError(
            f"{printable(file)}: header must name the classes {','.join(CLASSES)} in this order, "
            f"with or without the last; got {header[:200]!r}. Numbers under another header would "
            "mean other classes: use the file of the release."
        )
    return classes


# --- a list a split ------------------------------------------------------------------------------


def _listed_videos(source: Path, split: str, file: str) -> list[AnnotatedVideo]:
    """Reads a list and sorts its lines by video; each video's keep their order."""
    header = _first_line(source, file)
    names = tuple(name.strip().lower() for name in header.split(","))
    if names[: len(_MTL_HEADER)] != _MTL_HEADER:
        raise SourceError(
            f"{printable(file)}: header must start with {','.join(_MTL_HEADER)}; got "
            f"{header[:200]!r}. Use the list of the release."
        )
    videos: dict[str, list[LabelLine]] = {}
    for number, text in enumerate(_lines(source, file)[1:], start=2):
        video, line = _listed_line(number, text)
        videos.setdefault(video, []).append(line)
    return [
        AnnotatedVideo(name, split, file, listed=tuple(_marked(videos[name])))
        for name in sorted(videos)
    ]


def _listed_line(number: int, text: str) -> tuple[str, LabelLine]:
    """Takes a row apart: the video it names, "" for none, and the line."""
    fields = [field.strip() for field in text.split(",")]
    match = _MTL_IMAGE.fullmatch(fields[0])
    if not match or match[1] in (".", ".."):
        problem = f"image must be VIDEO/FRAME.jpg; got {fields[0][:80]!r}"
        return "", LabelLine(number, -1, "", problem)
    return match[1], LabelLine(number, int(match[2]), fields[3] if len(fields) > 3 else "")


def _marked(lines: Iterable[LabelLine]) -> Iterator[LabelLine]:
    """Marks each further line about a frame."""
    seen: set[int] = set()
    for line in lines:
        if line.frame in seen:
            yield line._replace(problem="listed twice")
        else:
            yield line
        if line.frame >= 0:
            seen.add(line.frame)


# --- both ----------------------------------------------------------------------------------------


def _checked(videos: Iterable[AnnotatedVideo]) -> tuple[AnnotatedVideo, ...]:
    """Marks the videos of which no line can be used."""
    split_of: dict[str, str] = {}
    checked: list[AnnotatedVideo] = []
    for video in videos:
        problem = "" if video.name.isprintable() else "name of the video is not printable"
        if split_of.setdefault(video.name, video.split) != video.split and video.name:
            problem = "video is annotated in two splits"
        checked.append(replace(video, problem=problem) if problem else video)
    return tuple(checked)


def _first_line(source: Path, file: str) -> str:
    try:
        with (source / file).open(encoding="utf-8-sig", errors="surrogateescape") as text:
            return text.readline(_MAX_HEADER_CHARS).rstrip("\n")
    except OSError as error:
        raise _unreadable(file, error) from None


def _lines(source: Path, file: str) -> list[str]:
    """Reads a file's lines, header included, without the blank ones at its end."""
    try:
        with (source / file).open(encoding="utf-8-sig", errors="surrogateescape") as text:
            read = text.read(_MAX_CHARS + 1)
    except OSError as error:
        raise _unreadable(file, error) from None
    if len(read) > _MAX_CHARS:
        raise SourceError(
            f"{printable(file)}: must be at most {_MAX_CHARS} characters long; got more. "
            "This is no annotation file of a release: move it away."
        )
    return read.rstrip(" \t,\n").split("\n")


def _unreadable(file: str, error: OSError) -> SourceError:
    return SourceError(f"{printable(file)}: cannot be read ({error.strerror}). Check its rights.")
