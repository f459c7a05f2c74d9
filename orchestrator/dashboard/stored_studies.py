"""The studies of a folder in an object store, whose records are objects of their own. PURE.

Each question goes over a network and costs a little. So a study that has open trials is asked for the
record that would come next, and all of its records are listed only now and then: another driver goes
on under names of its own (`tuning/ledger.py`). In one look only so many records are fetched, those
of the newest studies first: a long one that is read for the first time holds up no other.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from pyarrow import fs

from orchestrator.config.errors import OrchestratorError
from orchestrator.config.folder import Folder
from orchestrator.config.object_store import AT_ONCE, store_error
from orchestrator.dashboard.study_files import MAX_LINE_BYTES, MAX_STUDIES, record_of
from orchestrator.tuning.ledger import RECORDS

LIST_EVERY_S: Final = 15.0
IDLE_LOOK_S: Final = 30.0
"""Between looks at a study that has ended, or whose driver has been gone for long."""
LONG_QUIET_S: Final = 3600.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
"""Between looks at a folder that is no study so far."""
RECORDS_A_LOOK: Final = 512
_RECORD: Final = re.compile(r"(\d{9})-([0-9a-f]+)\.json")

Clock = Callable[[], float]


@dataclass
class Allowance:
    """How many records this look may still fetch."""

    left: int = RECORDS_A_LOOK

    def take(self, wanted: int) -> int:
        """As many as wanted, or as are left."""
        taken = min(wanted, self.left)
        self.left -= taken
        return taken


class StoredLedger:
    """The records of one study that have come since the last look."""

    def __init__(self, records: Folder, allowance: Allowance, clock: Clock = time.time) -> None:
        """List what there is.

        Args:
            records: the folder that holds them.
            allowance: shared by the studies of a look.
            clock: seconds since 1970, as the store counts them.

        Raises:
            OSError: the store does not answer.
        """
        self._records, self._allowance, self._clock = records, allowance, clock
        self._known: set[str] = set()
        self._waiting: list[str] = []
        self._listed_s = self._looked_s = clock()
        self.changed_s = 0.0
        """When the newest record was written; 0 where there is none."""
        self._list()

    def new_records(self, *, is_open: bool = True) -> Iterator[dict[str, Any]]:
        """Yield records that are new, in the order of their names.

        Args:
            is_open: whether the study has trials that have not ended.

        Raises:
            OrchestratorError: one is no record, or longer than any record is.
            OSError: the store does not answer; what was not yielded comes at a later look.
        """
        if not self._waiting and self._is_due(is_open):
            self._look()
        names = self._waiting[: self._allowance.take(len(self._waiting))]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            contents = list(threads.map(self._read, names))
        del self._waiting[: len(names)]
        yield from map(record_of, contents)

    def _is_due(self, is_open: bool) -> bool:
        now_s = self._clock()
        is_busy = is_open and now_s - self.changed_s < LONG_QUIET_S
        return is_busy or now_s - self._looked_s >= IDLE_LOOK_S

    def _look(self) -> None:
        self._looked_s = self._clock()
        if self._looked_s - self._listed_s >= LIST_EVERY_S:
            self._listed_s = self._looked_s
            self._list()
            return
        while (name := self._next()) and self._is_there(name):
            self._take([name])
            self.changed_s = self._looked_s

    def _list(self) -> None:
        selector = fs.FileSelector(self._records.path(), allow_not_found=True)
        found = self._records.filesystem.get_file_info(selector)
        infos = [info for info in found if _RECORD.fullmatch(info.base_name)]
        self._take(sorted(info.base_name for info in infos))
        self.changed_s = max((info.mtime_ns / 1e9 for info in infos), default=self.changed_s)

    def _read(self, name: str) -> bytes:
        with self._records.open(name) as file:
            if file.size() > MAX_LINE_BYTES:
                raise OrchestratorError(
                    f"{name}: a record must be shorter than {MAX_LINE_BYTES} bytes; got {file.size()}. "
                    "Restore it"
                )
            return bytes(file.read())

    def _take(self, names: Iterable[str]) -> None:
        new = [name for name in names if name not in self._known]
        self._known.update(new)
        self._waiting += new

    def _is_there(self, name: str) -> bool:
        """Opened, not asked for: what is not there would cost a listing."""
        try:
            self._records.open(name).close()
        except FileNotFoundError:
            return False
        return True

    def _next(self) -> str:
        """What the driver of the newest record would name the one after; "" where there is none."""
        parts = _RECORD.fullmatch(max(self._known, default=""))
        return f"{int(parts[1]) + 1:09d}-{parts[2]}.json" if parts else ""


@dataclass
class StoredStudies:
    """The studies of a folder in an object store.

    Attributes:
        place: the folder of runs.
        clock: seconds since 1970.
    """

    place: Folder
    clock: Clock = time.time
    _allowance: Allowance = field(default_factory=Allowance)
    _ledgers: dict[str, StoredLedger] = field(default_factory=dict)
    _others: dict[str, tuple[float, float]] = field(default_factory=dict)
    _problem: str = ""

    def names(self) -> list[str]:
        """Of the studies there are, newest first; begins a look."""
        self._allowance.left = RECORDS_A_LOOK
        try:
            self._find()
            self._problem = ""
        except OSError as error:
            self._say(str(store_error(error, str(self.place))))
        by_age = sorted(self._ledgers, key=lambda name: self._ledgers[name].changed_s)
        return by_age[::-1][:MAX_STUDIES]

    def ledger(self, name: str) -> StoredLedger:
        """Of a study that was named."""
        return self._ledgers[name]

    def _find(self) -> None:
        selector = fs.FileSelector(self.place.path(), allow_not_found=True)
        found = self.place.filesystem.get_file_info(selector)
        names = [info.base_name for info in found if info.type == fs.FileType.Directory]
        self._ledgers = {name: self._ledgers[name] for name in self._ledgers if name in names}
        new = [name for name in names if name not in self._ledgers and self._is_due(name)]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            opened = list(threads.map(self._open, new))
        for name, ledger in zip(new, opened, strict=True):
            if ledger is None:
                self._wait_with(name)
            else:
                self._ledgers[name] = ledger

    def _open(self, name: str) -> StoredLedger | None:
        records = self.place / name / RECORDS
        return StoredLedger(records, self._allowance, self.clock) if records.exists() else None

    def _is_due(self, name: str) -> bool:
        return self.clock() >= self._others.get(name, (0.0, 0.0))[0]

    def _wait_with(self, name: str) -> None:
        """A folder without records is a run, or a study that is about to begin."""
        pause_s = min(2 * self._others.get(name, (0.0, FIRST_PAUSE_S / 2))[1], LONGEST_PAUSE_S)
        self._others[name] = (self.clock() + pause_s, pause_s)

    def _say(self, problem: str) -> None:
        """Once as long as it lasts: the page stays as it is, and somebody may read this process's log."""
        if not self._problem:
            sys.stderr.write(f"leaderboard: {problem}\n")
        self._problem = problem
