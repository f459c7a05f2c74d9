"""Images that belong to no data set: files and folders that a user names, to arrays, a few at a time.

DRIVER. What happens to an image is what `prepare` does to it (`decoding.decode`), so that a model
sees what it was trained on. Links to folders, and those that lead out of a named one, are not
followed; what cannot be read becomes a reason, never an error and never a gap.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datasets import Face, Unreadable
from datasets._image_files import printable, read_files, utf8
from orchestrator.config.errors import ConfigError
from orchestrator.ingest.decoding import decode

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm")
"""Endings that are looked for in folders; a file that is named itself may have any."""
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
NO_DECODER = (
    "a video, for which no decoder is used here: cut the faces out of its frames, and name the "
    "folder of these images"
)
LINKED = "a linked folder, which is not followed: name the folder that it leads to"


@dataclass(frozen=True)
class LooseImage:
    """One file: the folder that it may not lead out of, its path in there, its name in tables."""

    root: Path
    relative: str
    name: str
    problem: str = ""


@dataclass(frozen=True, eq=False)
class Decoded:
    """Some files in the order of the listing.

    Attributes:
        files: those that were read.
        images: uint8 RGB, shape (len(files), H, W, 3).
        bad: the others, each with the reason.
    """

    files: tuple[LooseImage, ...]
    images: npt.NDArray[np.uint8]
    bad: tuple[tuple[LooseImage, str], ...]


def list_images(source: Sequence[str]) -> list[LooseImage]:
    """List the files of some places, folders depth first and sorted by name.

    Raises:
        ConfigError: a place is not there, is a video, or a folder without an image.
    """
    found: list[LooseImage] = []
    problems: list[str] = []
    for place in source:
        try:
            found += _of_place(place)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)
    return found


def decode_in_turn(
    files: Sequence[LooseImage], *, image_px: int, max_pixels: int, at_once: int
) -> Iterator[Decoded]:
    """Decode files with all cores, `at_once` of them in memory.

    Args:
        files: from `list_images`.
        image_px: side of the square images.
        max_pixels: width times height above which nothing is decoded.
        at_once: files of each piece yielded.
    """
    # Threads: Pillow's decoders let go of the interpreter's lock.
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        for start in range(0, len(files), at_once):
            some = files[start : start + at_once]
            one = partial(_read, image_px=image_px, max_pixels=max_pixels)
            yield _sorted_out(some, list(pool.map(one, some)), image_px)


def _of_place(place: str) -> list[LooseImage]:
    path = Path(place).expanduser()
    try:
        if path.is_file():
            return [_named(path)]
        is_folder = path.is_dir()
    except (OSError, ValueError):  # too long a name, a zero byte
        is_folder = False
    if not is_folder:
        raise ConfigError(f"source: must be an image or a folder of images; got {place!r}")
    files = list(_walk(path, ""))
    if not any(not file.problem for file in files):
        raise ConfigError(
            f"source: a folder must hold an image ({', '.join(IMAGES)}), at any depth; "
            f"{place!r} holds none" + (f", but {files[0].problem}" if files else "")
        )
    return files


def _named(path: Path) -> LooseImage:
    if path.suffix.lower() in VIDEOS:
        raise ConfigError(f"source: must be an image or a folder; {str(path)!r} is {NO_DECODER}")
    return LooseImage(path.resolve().parent, path.resolve().name, printable(utf8(str(path))))


def _walk(root: Path, below: str) -> Iterator[LooseImage]:
    try:
        with os.scandir(root / below) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        name = printable(utf8(str(root / below)))
        raise ConfigError(f"source: must be readable; got {name}: {error.strerror}") from error
    for entry in ordered:
        relative = f"{below}/{entry.name}" if below else entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(root, relative)
            continue
        problem = _problem(entry)
        if problem or entry.name.lower().endswith(IMAGES):
            yield LooseImage(root, relative, printable(utf8(str(root / relative))), problem)


def _problem(entry: os.DirEntry[str]) -> str:
    """Why what is no folder cannot be read as an image, as far as its name and kind tell."""
    try:
        is_folder = entry.is_dir()
    except OSError:  # a link to itself
        is_folder = False
    if is_folder:
        return LINKED
    return NO_DECODER if entry.name.lower().endswith(VIDEOS) else ""


def _read(
    file: LooseImage, *, image_px: int, max_pixels: int
) -> npt.NDArray[np.uint8] | Unreadable:
    face = Face(source=file.relative, label="", problem=file.problem)
    (content,) = read_files(file.root, [face])
    return decode(content, image_px=image_px, max_pixels=max_pixels)


def _sorted_out(
    files: Sequence[LooseImage],
    results: Sequence[npt.NDArray[np.uint8] | Unreadable],
    image_px: int,
) -> Decoded:
    good, images, bad = [], [], []
    for file, result in zip(files, results, strict=True):
        if isinstance(result, Unreadable):
            bad.append((file, result.reason or "unreadable"))
        else:
            good.append(file)
            images.append(result)
    stacked = np.stack(images) if images else np.empty((0, image_px, image_px, 3), np.uint8)
    return Decoded(tuple(good), stacked, tuple(bad))
