"""Which folder below a source holds the annotations of an Aff-Wild2 release. DRIVER.

Each ABAW round named its folders anew, and people unpack the archives one or two folders deeper:
so they are searched for, in few folders, none of them a link and none full of videos.
"""

import os
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from datasets import SourceError, canonical_split
from datasets._image_files import utf8

FOLDERS: Mapping[str, tuple[str, ...]] = {
    "expr": ("EXPR_Classification_Challenge", "EXPR_Recognition_Challenge", "EXPR_Set"),
    "mtl": ("MTL_Challenge",),
}
"""Task -> what the rounds called its folder: 3rd and 5th, 8th, 1st and 2nd for "expr"."""

_HOLDS = {
    "expr": "a folder Train_Set, Training_Set or Validation_Set",
    "mtl": "a file train_set.txt or validation_set.txt",
}
_SPLITS = ("train", "validation")

_DEPTH = 4  # levels below the source; "annotations/Third ABAW Annotations/EXPR_..." needs three
_MANY_FOLDERS = 100  # a folder with more of them holds videos
_MANY_IN_ALL = 1000  # on one level: more are no data set that somebody unpacked


@dataclass(frozen=True)
class Release:
    """Where the labels of one task lie.

    Attributes:
        task: "expr" or "mtl".
        folder: Path relative to the source, with forward slashes; "" is the source itself.
        parts: Split -> name inside `folder` of its folder (expr) or of its list (mtl); "train"
            before "validation".
    """

    task: str
    folder: str
    parts: Mapping[str, str]

    def path(self, split: str) -> str:
        """Returns the path of a split's part relative to the source."""
        return posixpath.join(self.folder, self.parts[split])

    @property
    def name(self) -> str:
        """Names the release by its folders, which tell the round as far as anything does."""
        return f"{posixpath.join(self.folder, '')}{{{','.join(self.parts.values())}}}"


def find_release(source: Path, *, task: str, annotations: str, images: str) -> Release:
    """Finds the one folder that holds the labels of a task.

    Args:
        source: The data set.
        task: "expr" or "mtl".
        annotations: That folder or one above it, relative to the source; "" = search it all.
        images: The pictures' folder, which is not searched; checked with `folder_below`.

    Raises:
        SourceError: There is none, or several, or one that names a split twice.
    """
    top = folder_below(source, "annotations", annotations) if annotations else ""
    found = [top] if annotations and _parts(source / top, task) else []
    found = found or _search(source, top, task, images)
    if not found:
        raise SourceError(_nothing_found(source, top, task, images))
    if len(found) > 1:
        raise SourceError(
            f"source: must hold one annotation folder; got {_listed(found)}. "
            f"Choose one: options.annotations={utf8(found[0])}."
        )
    return Release(task, found[0], _one_each(found[0], _parts(source / found[0], task)))


def folder_below(source: Path, option: str, relative: str) -> str:
    """Checks the folder that an option names.

    Returns:
        Its path relative to the source, normalised; "" for the source itself.

    Raises:
        SourceError: No such folder, or one outside of the source, also by a link.
    """
    path = source / relative
    real = os.path.realpath(path) if path.is_dir() and not Path(relative).is_absolute() else ""
    if not Path(real).is_relative_to(os.path.realpath(source)):
        raise SourceError(
            f"options.{option}: must be a folder inside the source, not a link that leads out; "
            f"got {relative!r} where '{source}' holds {_names_of_folders(source)}."
        )
    normal = posixpath.normpath(relative)
    return "" if normal == "." else normal


def _search(source: Path, top: str, task: str, images: str) -> list[str]:
    """Looks level by level, each sorted by name; does not look inside what it has found."""
    names = {name.lower() for name in FOLDERS[task]}
    found: list[str] = []
    level = [top]
    for _ in range(_DEPTH + 1):
        here = [
            folder
            for folder in level
            if posixpath.basename(folder).lower() in names and _parts(source / folder, task)
        ]
        found += here
        above = (folder for folder in level if folder not in here)
        below = [sub for folder in above for sub in _subfolders(source, folder) if sub != images]
        level = below[:_MANY_IN_ALL]
    return sorted(found)


def _subfolders(source: Path, folder: str) -> list[str]:
    """Lists the folders in one that may lead to annotations; a folder full of them does not."""
    names = [name for name, is_folder in _entries(source / folder) if is_folder]
    return [posixpath.join(folder, name) for name in names] if len(names) <= _MANY_FOLDERS else []


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """Lists names, sorted, and whether each is a folder rather than a file; no links."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                (entry.name, entry.is_dir(follow_symlinks=False))
                for entry in entries
                if not entry.name.startswith((".", "__MACOSX")) and not entry.is_symlink()
            )
    except OSError:  # a folder that may not be looked into holds nothing that we could use
        return []


def _parts(folder: Path, task: str) -> list[tuple[str, str]]:
    """Lists split and name of what looks like the labels of a split, "train" first."""
    ending = "_set" if task == "expr" else "_set.txt"
    return sorted(
        (canonical_split(name.lower().removesuffix(ending)), name)
        for name, is_folder in _entries(folder)
        if is_folder == (task == "expr")
        and name.lower().endswith(ending)
        and canonical_split(name.lower().removesuffix(ending)) in _SPLITS
    )


def _one_each(folder: str, parts: Iterable[tuple[str, str]]) -> dict[str, str]:
    names: dict[str, str] = {}
    for split, name in parts:
        if split in names:
            raise SourceError(
                f"{utf8(folder) or 'source'}: must hold the labels of a split once; got "
                f"{names[split]} and {name}, both {split}. Move one of them away."
            )
        names[split] = name
    return names


def _nothing_found(source: Path, top: str, task: str, images: str) -> str:
    other = "mtl" if task == "expr" else "expr"
    others = _search(source, top, other, images)
    if others:
        return (
            f"options.task: must be a task of which there are annotations; got {task!r} where "
            f"only {_listed(others)} is found. Set options.task={other}."
        )
    where = f"options.annotations: '{utf8(top)}'" if top else "source:"
    return (
        f"{where} must hold {' or '.join(FOLDERS[task])} with {_HOLDS[task]} in it; got "
        f"'{source / top}', which holds {_names_of_folders(source / top)}. Unpack the annotations "
        "there (links are not followed), or name their folder: options.annotations=FOLDER."
    )


def _names_of_folders(folder: Path) -> str:
    names = [name for name, is_folder in _entries(folder) if is_folder]
    return _listed(names) if names else "no folder"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(f"'{utf8(name)}'" for name in names[:10]) + more
