"""The studies of a folder, read as their ledgers grow. PURE: reads files and nothing else.

A study is a folder with a ledger in it; links are not followed, so that no name leads elsewhere.
What a ledger holds is read once: each look reads only what was added since the last one. Those of an
object store are read by `stored_studies.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from orchestrator.config.errors import OrchestratorError
from orchestrator.dashboard.snapshot import Snapshot, StudyFeed, shown
from orchestrator.results.field_importance import Importance, importance_of
from orchestrator.results.study_view import StudyView
from orchestrator.tuning.ledger import LEDGER, MAX_RECORD_BYTES

MAX_STUDIES: Final = 100
"""The newest ones of a folder; the others keep their own pages and files."""
READ_BYTES: Final = 2**24


class Records(Protocol):
    """The records of a study, as they come."""

    def new_records(self, *, is_open: bool = True) -> Iterator[dict[str, Any]]:
        """Yield those that are new since the last look; `is_open`: more are expected."""
        ...


class Studies(Protocol):
    """The studies of a folder."""

    def names(self) -> list[str]:
        """Of those there are, newest first."""
        ...

    def ledger(self, name: str) -> Records:
        """The records of one that was named."""
        ...


class GrowingLedger:
    """Reads the lines that a ledger has gained since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_records(self, *, is_open: bool = True) -> Iterator[dict[str, Any]]:  # noqa: ARG002
        """Yield the complete records that are new; a torn last line waits for its end.

        Args:
            is_open: makes no difference: a look costs nothing here.

        Raises:
            OrchestratorError: a line is no record, or longer than any record is.
            OSError: the file cannot be read.
        """
        before = self._offset
        try:
            yield from self._new_records()
        except OSError:
            self._offset = before  # what was read in this look is not lost: it is read again
            raise

    def _new_records(self) -> Iterator[dict[str, Any]]:
        while chunk := self._read():
            whole = chunk.rfind(b"\n") + 1
            if not whole:
                if len(chunk) >= MAX_RECORD_BYTES:
                    raise OrchestratorError(
                        f"{LEDGER}: a line must be shorter than {MAX_RECORD_BYTES} bytes; got more. "
                        "Restore the file"
                    )
                return
            self._offset += whole
            for line in chunk[:whole].splitlines():
                yield record_of(line)

    def _read(self) -> bytes:
        if not self._path.is_file() or self._path.stat().st_size <= self._offset:
            return b""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            return file.read(READ_BYTES)


@dataclass
class WatchedStudy:
    """One study as it grows, with its newest snapshot.

    Attributes:
        name: of its folder.
        problem: why its ledger cannot be read, "" if it can.
        importance: computed by whoever has the time (`work_out_importance`).
    """

    name: str
    ledger: Records
    feed: StudyFeed = field(default_factory=StudyFeed)
    snapshot: Snapshot | None = None
    view: StudyView | None = None
    problem: str = ""
    importance: Importance | None = None
    _num_weighed: int = 0

    def look(self) -> bool:
        """Take in what is new; returns whether anything is."""
        if self.problem:
            return False
        try:
            records = list(self.ledger.new_records(is_open=self._num_open() > 0))
        except OSError:
            return False  # storage that is away for a moment; the next look reads the same lines
        except Exception as error:  # noqa: BLE001 - anything can stand in a ledger
            self.problem = shown(f"{type(error).__name__}: {error}", 200)
            return True
        try:
            self.feed.add(records)
            if records or self.snapshot is None:
                self._take_picture()
        # Anything can stand in a ledger, and one damaged study must not hide the others.
        except Exception as error:  # noqa: BLE001
            self.problem = shown(f"{type(error).__name__}: {error}", 200)
            return True
        return bool(records)

    def work_out_importance(self) -> None:
        """Weigh the fields anew where enough trials have finished since the last time."""
        view = self.view
        if view is None:
            return
        num_finished = view.count("finished")
        if num_finished == self._num_weighed or num_finished < 1.1 * self._num_weighed:
            return
        self._num_weighed = num_finished
        self.importance = importance_of(view)

    def summary(self) -> dict[str, Any]:
        """A line of the list of studies."""
        view = self.view
        best = view.leading.score if view and view.leading else None
        return {
            "study": self.name,
            "name": shown(self.name),
            "trials": len(view.trials) if view else 0,
            "open": self._num_open(),
            "best": best,
            "updated": view.updated if view else "",
            "problem": self.problem,
        }

    def show_importance(self) -> None:
        """Put what was worked out into the snapshot."""
        if not self.problem:
            self._take_picture()

    def _num_open(self) -> int:
        return self.view.count("queued") + self.view.count("running") if self.view else 0

    def _take_picture(self) -> None:
        self.view = self.feed.view()
        self.snapshot = self.feed.snapshot(self.importance)


@dataclass(frozen=True)
class FolderOfStudies:
    """The studies of a folder on a disk."""

    folder: Path

    def names(self) -> list[str]:
        """Of those there are, newest first."""
        return [found.name for found in study_folders(self.folder)]

    def ledger(self, name: str) -> GrowingLedger:
        """The records of one."""
        return GrowingLedger(self.folder / name / LEDGER)


def study_folders(folder: Path) -> list[Path]:
    """The folders with a ledger, newest first."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return []  # not made yet
    changes = {entry: change for entry in entries if (change := _last_change(entry)) is not None}
    return sorted(changes, key=lambda entry: changes[entry], reverse=True)[:MAX_STUDIES]


def _last_change(entry: Path) -> float | None:
    """When a study's ledger grew last; None for what is no study, or not for our eyes."""
    ledger = entry / LEDGER
    try:
        if entry.is_symlink() or ledger.is_symlink() or not ledger.is_file():
            return None
        return ledger.stat().st_mtime
    except OSError:
        return None


def record_of(line: bytes) -> dict[str, Any]:
    """The record that a line is.

    Raises:
        OrchestratorError: it is JSON, but no object.
        ValueError: it is no JSON.
    """
    record = json.loads(line)
    if not isinstance(record, dict):
        raise OrchestratorError(f"{LEDGER}: a line must be an object; got {str(record)[:80]!r}")
    return record
