"""Where runs, a study or one run are kept, and where this process works on them.

DRIVER. On a path, also of a network file system, both are one folder, and all that is said here of
sending and fetching does nothing. In an object store, the driver works in a folder of its own that
ends with it: what a study needs to go on is fetched at the start, what must not be lost is sent
before it is told to anybody, and the rest (tables, pictures) at the end. So the store is the one
truth, and the same command goes on from any machine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.config.errors import ConfigError
from orchestrator.config.storage import MARKER, as_typed, exclusive, remove_checkpoint

if TYPE_CHECKING:  # pyarrow takes a while: only where there is an object store
    from orchestrator.config.folder import Folder
    from orchestrator.config.object_store import Store


def _unguarded() -> None:
    """What a folder that nobody holds is asked before it is written."""


@dataclass(frozen=True)
class Home:
    """A folder of runs, a study or a run.

    Attributes:
        local: where this process works.
        store: where it is kept, if that is an object store.
        check: asked before anything is sent; raises where another driver has taken the folder over.
    """

    local: Path
    store: Store | None = None
    check: Callable[[], None] = _unguarded

    def __truediv__(self, name: str) -> Home:
        return replace(self, local=self.local / name, store=self.store and self.store / name)

    @property
    def parent(self) -> Home:
        """The folder that holds it."""
        return replace(self, local=self.local.parent, store=self.store and self.store.parent)

    @property
    def kept(self) -> Path | Folder:
        """Where it is kept, as processes on other nodes find it."""
        return self.store.folder if self.store else self.local

    @property
    def shown(self) -> Path | Folder:
        """Where it is kept, as the user would type it."""
        return self.store.folder if self.store else as_typed(self.local)

    def named(self, lines: Sequence[str]) -> tuple[str, ...]:
        """Lines that name this process's own folder, with the place where it is kept instead."""
        if self.store is None:
            return tuple(lines)
        here, kept = (str(self.local), str(as_typed(self.local))), str(self.store)
        return tuple(line.replace(here[0], kept).replace(here[1], kept) for line in lines)

    def has(self, name: str) -> bool:
        """Whether a file is kept."""
        return self.store.has(name) if self.store else (self.local / name).is_file()

    def fetch(self, name: str) -> None:
        """Brings a file here, if it is kept."""
        if self.store and self.store.has(name):
            self.store.download(name, self.local / name)

    def fetch_folder(self, name: str) -> None:
        """Brings all files of a folder here.

        Raises:
            FileNotFoundError: one of them was removed meanwhile.
        """
        if self.store:
            there = self.store / name
            there.download_all(there.files(), self.local / name)

    def send(self, *names: str) -> None:
        """Lets files be kept; returns when they are."""
        if self.store:
            self.check()
            for name in names:
                self.store.upload(self.local / name, name)

    def send_files(self) -> None:
        """Lets the files that lie directly in it be kept, but for hidden ones."""
        if self.store is None:
            return
        self.check()
        files = (path.name for path in sorted(self.local.iterdir()) if path.is_file())
        self.store.upload_all([name for name in files if not name.startswith(".")], self.local)

    def send_folder(self, name: str) -> None:
        """Lets a folder be kept as it is here: what is not here any more goes there too."""
        if self.store is None:
            return
        self.check()
        here, there = self.local / name, self.store / name
        names = _files(here)
        gone = there.files().keys() - set(names)
        there.upload_all(names, here)
        for old in sorted(gone):
            there.remove(old)

    def send_results(self, last: str, ours: Sequence[str] = ()) -> None:
        """Lets the results that lie in it be kept: while one is missing, the last is not there.

        Args:
            last: the file that says that the others are whole.
            ours: patterns of names; what one matches and is not here any more goes there, too.
        """
        if self.store is None:
            return
        self.check()
        names = [name for name in _files(self.local) if not name.startswith(".") and name != last]
        there = self.store.files().keys() - set(names)
        old = [name for name in sorted(there) if any(fnmatchcase(name, each) for each in ours)]
        for name in (last, *old):
            self.store.remove(name)
        self.store.upload_all(names, self.local)
        self.store.upload(self.local / last, last)

    def folders(self, pattern: str) -> list[str]:
        """Paths from here of the folders that a pattern of as many parts matches, in order."""
        if self.store is None:
            return sorted(str(path.relative_to(self.local)) for path in self.local.glob(pattern))
        top, depth = pattern.partition("/")[0], pattern.count("/")
        files = (f"{top}/{name}" for name in (self.store / top).files())
        found = {name.rpartition("/")[0] for name in files}
        return sorted(
            name for name in found if name.count("/") == depth and fnmatchcase(name, pattern)
        )

    def remove(self, name: str) -> int:
        """Removes a checkpoint's folder; returns how many bytes its files had."""
        if self.store is None:
            files = [file for file in (self.local / name).rglob("*") if file.is_file()]
            num_bytes = sum(file.stat().st_size for file in files)
            remove_checkpoint(self.local / name)
            return num_bytes
        self.check()
        return (self.store / name).remove_all(first=MARKER)


def _files(folder: Path) -> list[str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [str(path.relative_to(folder)) for path in files]


@contextmanager
def open_home(address: str) -> Iterator[Home]:
    """A folder of runs, a study or a run at a path or address, for as long as the context lasts.

    Raises:
        ConfigError: an address of an unknown kind.
    """
    if "://" not in address:
        yield Home(Path(address).absolute())
        return
    with scratch_folder() as scratch:
        yield home_in(scratch, address)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Where this process works on what an object store keeps."""
    with tempfile.TemporaryDirectory(prefix="fer-runs-", ignore_cleanup_errors=True) as scratch:
        yield Path(scratch)


def home_in(scratch: Path, address: str) -> Home:
    """What an object store keeps at an address, below a folder in which all is laid out as there.

    Raises:
        ConfigError: an address of an unknown kind, or one that is no path here.
    """
    from orchestrator.config.folder import folder
    from orchestrator.config.object_store import Store

    there = folder(address)
    local = scratch / there.path()
    try:
        local.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # a part that is longer than a folder's name may be
        raise ConfigError(
            f"{address[:80]}: must be an address whose parts can be names of folders, too; got "
            f"{error.strerror}. Choose another one"
        ) from error
    return Home(local, Store(there))


@contextmanager
def held(home: Home, field: str, say: Callable[[str], None]) -> Iterator[Home]:
    """Hold a study or run for this process; what is yielded sends only while it does.

    Args:
        home: of the study or run.
        field: that names the folder, for messages.
        say: told if another process's hold on it may have to be waited for.

    Raises:
        ConfigError: another process holds it.
    """
    if home.store is None:
        with exclusive(home.local, field):
            yield home
        return
    from orchestrator.config.lease import Lease

    home.local.mkdir(parents=True, exist_ok=True)
    with Lease(home.store, field, say) as lease:
        yield replace(home, check=lease.check)
