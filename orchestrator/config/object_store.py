"""A folder in an object store, whose passing errors are waited out.

Runs anywhere (PURE: pyarrow only). What is understood to pass (no answer, "slow down", an error of
the server's own) is tried again after growing pauses, for a bounded time. Anything else, and what
does not pass in that time, is a `StorageError` that says what to mend. Every verb can be repeated:
the same content under the same name, or a name that is gone already.

An object shows under its name when it is whole, so a write that was cut short leaves nothing to be
read. The parts of a large one may stay in the bucket unseen: a life-cycle rule that aborts incomplete
uploads removes them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import pyarrow as pa
from pyarrow import fs

from orchestrator.config import alive
from orchestrator.config.address import is_below
from orchestrator.config.errors import StorageError
from orchestrator.config.folder import UPLOAD_BYTES, Folder

T = TypeVar("T")

RETRY_FOR_S = 120.0
"""No try begins later than this. One try takes at most three minutes (`folder._s3`: a minute without
an answer, three times), so that all of it ends before `resources.stall_s` does by default."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 20.0
AT_ONCE = 16
"""Small objects that are read or written at once: each is mostly waiting."""
_PASSING = re.compile(
    "NETWORK_CONNECTION|SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|REQUEST_TIMEOUT|THROTTLING"
    r"|HTTP status (429|50[0-4])"
)
_REMEDIES = {
    "ACCESS_DENIED|SIGNATURE|ACCESS_KEY|TOKEN|CREDENTIAL|HTTP status 40[13]": "Give the environment "
    "credentials that may read, write, list and delete there",
    "NO_SUCH_BUCKET": "Create the bucket, or name one that there is",
    "HTTP status 507|QUOTA": "Free space there, or have the quota raised",
}
_OTHERWISE = "Look after the object store and the network to it"


@dataclass(frozen=True)
class Store:
    """A folder in an object store."""

    folder: Folder

    def __str__(self) -> str:
        return str(self.folder)

    def __truediv__(self, name: str) -> Store:
        return Store(self.folder / name)

    @property
    def parent(self) -> Store:
        """The folder that holds it; itself for a bucket."""
        return Store(self.folder.parent)

    def files(self) -> dict[str, int]:
        """Names and sizes of all objects below it, by their path from here, in order.

        A key of a bucket can hold anything: one whose name as a path would lead elsewhere is none of ours.
        """
        return {name: info.size for name, info in self._infos().items()}

    def changed_ns(self) -> dict[str, int]:
        """When each object below it was written, by the store's own clock."""
        return {name: info.mtime_ns or 0 for name, info in self._infos().items()}

    def exists(self) -> bool:
        """Whether there is anything in it."""
        return self._patiently(self.folder.exists)

    def has(self, name: str) -> bool:
        """Whether there is an object of that name."""
        return self._patiently(lambda: self.folder.size(name)) is not None

    def read(self, name: str) -> bytes:
        """A small object.

        Raises:
            FileNotFoundError: there is none of that name.
        """
        return self._patiently(lambda: self.folder.read(name))

    def put(self, name: str, content: bytes) -> None:
        """Writes a small object; what was there stays until it is replaced whole."""
        self._patiently(lambda: self._put(name, content))

    def upload(self, path: Path, name: str) -> None:
        """Copies a file of this machine."""
        self._patiently(lambda: self.folder.upload(path, name))

    def download(self, name: str, path: Path) -> None:
        """Copies an object to this machine.

        Raises:
            FileNotFoundError: there is none of that name.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._patiently(lambda: self._download(name, path))

    def download_all(self, names: Iterable[str], folder: Path) -> None:
        """Copies many small objects, each to its name below a folder of this machine.

        Raises:
            StorageError: a name leads out of that folder: keys of a bucket can hold anything.
        """
        wanted = list(names)
        if strange := [name for name in wanted if not is_below(name)]:
            raise StorageError(
                f"storage: names in {self} must stay below it; got {strange[0]!a}. Somebody else "
                "wrote it: remove it, or choose another folder"
            )
        at_once(lambda name: self.download(name, folder / name), wanted)

    def upload_all(self, names: Iterable[str], folder: Path) -> None:
        """Copies many files, each from its name below a folder of this machine."""
        at_once(lambda name: self.upload(folder / name, name), names)

    def remove(self, name: str) -> None:
        """Removes an object; it may be gone already."""
        self._patiently(lambda: self._remove(name))

    def remove_all(self, *, first: str) -> int:
        """Removes every object below it; returns their bytes.

        Args:
            first: what goes before the others, as it says that they are whole.
        """
        files = self.files()
        if first in files:
            self.remove(first)
        self._patiently(self._remove_all)
        return sum(files.values())

    def _infos(self) -> dict[str, fs.FileInfo]:
        root = self.folder.path()
        selector = fs.FileSelector(root, allow_not_found=True, recursive=True)
        found = self._patiently(lambda: self.folder.filesystem.get_file_info(selector))
        files = {i.path[len(root) + 1 :]: i for i in found if i.type == fs.FileType.File}
        folders = {str(above) for name in files for above in PurePosixPath(name).parents}
        return {
            name: info
            for name, info in sorted(files.items())
            if is_below(name) and name not in folders
        }

    def _put(self, name: str, content: bytes) -> None:
        # Small enough to be kept back until `close`, which sends all of it or fails: unlike an
        # upload, this never has to remove what was there before.
        with self.folder.filesystem.open_output_stream(self.folder.path(name)) as out:
            out.write(content)

    def _download(self, name: str, path: Path) -> None:
        with self.folder.open(name) as source, path.open("wb") as target:
            alive.copy(source, target, UPLOAD_BYTES)
            if target.tell() != source.size():
                raise OSError(f"NETWORK_CONNECTION: {name} ended early")

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self.folder.remove(name)

    def _remove_all(self) -> None:
        # Not one by one: after each, pyarrow would leave an empty object that stands for the folder.
        with suppress(FileNotFoundError):
            self.folder.remove_all()

    def _patiently(self, step: Callable[[], T]) -> T:
        pause_s, until_s = FIRST_PAUSE_S, time.monotonic() + RETRY_FOR_S
        while True:
            try:
                return step()
            except FileNotFoundError:
                raise
            except (OSError, pa.ArrowInvalid) as error:
                passes = _PASSING.search(str(error)) is not None
                if not passes or time.monotonic() + pause_s > until_s:
                    raise _store_error(error, str(self)) from error
            alive.step()  # it gives up in good time
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _store_error(error: Exception, address: str) -> StorageError:
    """The error as one that a user can mend."""
    words = " ".join(str(error).split())[:300]
    return StorageError(
        f"storage: {address} must be written and read; got {words!r}. {remedy_for(words)}, then run the same "
        "command again: it goes on, and nothing written is damaged"
    )


def remedy_for(words: str) -> str:
    """What mends an object store that says so."""
    return next((say for sign, say in _REMEDIES.items() if re.search(sign, words)), _OTHERWISE)


def at_once(step: Callable[[str], None], names: Iterable[str]) -> None:
    """Take a step for each of many names, several at a time; the first error is raised."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="object-store") as threads:
        for _ in threads.map(step, names):  # the first error is raised here
            pass
