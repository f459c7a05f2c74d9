"""The pictures of one Aff-Wild2 video: which number has which file, from one look at its folder.

DRIVER. A real folder has up to 47,434 pictures: its listing tells links from files, so that no
picture is looked up by itself.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_NAME = re.compile(r"(\d{1,9})\.jpg", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Pictures:
    """What a video's folder holds.

    Attributes:
        names: Number of a frame -> name of its file.
        doubtful: Numbers whose file is a link, a folder or the like and must be looked up.
        passed_over: Files whose number another file has.
        problem: Why the folder cannot be used although it is there.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    doubtful: frozenset[int] = frozenset()
    passed_over: int = 0
    problem: str = ""


def list_pictures(folder: Path) -> Pictures:
    """Lists a folder of pictures; one that is not there holds none.

    Of several files with one number the one named by five digits is taken, else the first by
    name.
    """
    if folder.is_symlink():
        return Pictures(problem="a link to a folder is not followed")
    try:
        with os.scandir(folder) as entries:
            return _pictures(entries)
    except FileNotFoundError:
        return Pictures()
    except OSError as error:
        return Pictures(problem=f"folder of the video cannot be listed: {error.strerror}")


def picture_name(number: int) -> str:
    """Returns the name that a release gives to the picture of a frame."""
    return f"{number:05d}.jpg"


def _pictures(entries: Iterable[os.DirEntry[str]]) -> Pictures:
    names: dict[int, str] = {}
    special: set[str] = set()
    passed_over = 0
    for entry in entries:
        number = _number(entry.name)
        if number < 0:
            continue
        other = names.setdefault(number, entry.name)
        if other != entry.name:
            names[number] = _preferred(number, entry.name, other)
            passed_over += 1
        if not entry.is_file(follow_symlinks=False):
            special.add(entry.name)
    doubtful = frozenset(_number(name) for name in special if names[_number(name)] == name)
    return Pictures(names, doubtful, passed_over)


def _number(name: str) -> int:
    """Returns the number that a name consists of; -1 for other names."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else -1


def _preferred(number: int, one: str, other: str) -> str:
    usual = picture_name(number)
    return usual if usual in (one, other) else min(one, other)
