"""The studies of a folder in an object store, whose records are objects of their own. PURE.

Each question goes over a network and costs a little. So a study that has open trials is asked for the
record that would come next, and all of its records are listed only now and then: another driver goes
on under names of its own (`tuning/ledger.py`). What a look has to ask is asked at once, and it fetches
only so many records, shared fairly: a long study that is read for the first time holds up no other.
Whatever fails is of one study, and tried again after growing pauses.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from pyarrow import fs

from orchestrator.config.address import is_below
from orchestrator.config.folder import Folder
from orchestrator.config.lease import CLAIMS, EXPIRY_S
from orchestrator.config.object_store import AT_ONCE, remedy_for
from orchestrator.config.storage import RUN_CONFIG
from orchestrator.dashboard.study_files import MAX_STUDIES, record_of
from orchestrator.results.printable import one_line
from orchestrator.tuning.ledger import MAX_RECORD_BYTES, RECORD_NAME, RECORDS

LIST_EVERY_S: Final = 4.0
"""For each thousand records, which are a page of a listing."""
PAGE: Final = 1000
IDLE_LOOK_S: Final = 30.0
"""The longest time between listings; and between looks at a study that has ended or is quiet."""
LONG_QUIET_S, SHORT_QUIET_S = 3600.0, 300.0
"""Without a record, after which a study with open trials, or without, is quiet: a sampler or a slot that
starts may leave none open for a while."""
RANK_EVERY_S: Final = 300.0
"""Between looks at a study that is older than those that are shown."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
"""After a failure, and between looks at a folder that is no study so far."""
RECORDS_A_LOOK: Final = 512
FOLDERS_A_LOOK: Final = 32
PROBES_A_LOOK: Final = 64
HELD_PAUSE_S: Final = 4.0
"""The longest between looks at a folder that a driver has claimed: it will soon write a record."""

Clock = Callable[[], float]


@dataclass
class Pauses:
    """When to try again: after ever longer pauses."""

    due_s: float = 0.0
    pause_s: float = FIRST_PAUSE_S

    def lengthen(self, now_s: float, longest_s: float = LONGEST_PAUSE_S) -> None:
        """It was no use this time."""
        self.due_s = now_s + min(self.pause_s, longest_s)
        self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)


class StoredLedger:
    """The records of one study: those that were fetched since they were asked for last."""

    def __init__(self, records: Folder, clock: Clock) -> None:
        """Ask nothing yet.

        Args:
            records: the folder that holds them.
            clock: seconds since 1970, as the store counts them.
        """
        self._records, self._clock = records, clock
        self._known: set[str] = set()
        self._waiting: list[str] = []
        self._fetched: list[bytes] = []
        self._is_open = True
        self._listed_s = self._looked_s = float("-inf")
        self._pauses = Pauses()
        self.changed_s = 0.0
        """When the newest record was written; 0 where none is known."""
        self.problem = ""
        """Why the store gives no answer; "" where it does."""

    def new_records(self, *, is_open: bool = True) -> Iterator[dict[str, Any]]:
        """Yield the records that were fetched, in the order of their names.

        Args:
            is_open: whether the study has trials that have not ended.

        Raises:
            OrchestratorError: one is no record.
        """
        self._is_open = is_open
        fetched, self._fetched = self._fetched, []
        yield from map(record_of, fetched)

    def look(self) -> list[str]:
        """Find out which records are new; returns the names of those that are to be read.

        None as long as nobody has taken those that were: of a damaged study nobody does.
        """
        if self._fetched:
            return []
        if not self._waiting and self._is_due():
            self._looked_s = self._clock()
            try:
                self._list() if self._is_to_list() else self._probe()
                self._succeed()
            except Exception as error:  # noqa: BLE001 - anything that a store or its library may say
                self._fail(error)
        if self._clock() < self._pauses.due_s:
            return []
        return self._waiting[:1] if self.problem else self._waiting

    def read(self, name: str) -> bytes | Exception:
        """A record, or why it cannot be read."""
        try:
            with self._records.open(name) as file:
                # A longer one is no record: `record_of` will say so of its beginning.
                return bytes(file.read(MAX_RECORD_BYTES))
        except Exception as error:  # noqa: BLE001 - anything that a store or its library may say
            return error

    def take(self, contents: Iterable[bytes | Exception]) -> None:
        """Take what was read of the first that wait; from one that could not be on, they wait on."""
        for content in contents:
            if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                self._fail(content)
                return
            self._succeed()
            del self._waiting[0]  # also one that somebody has removed
            if not isinstance(content, Exception):
                self._fetched.append(content)

    def _succeed(self) -> None:
        self._pauses, self.problem = Pauses(), ""

    def _fail(self, error: Exception) -> None:
        self._pauses.lengthen(self._clock())
        self.problem = one_line(str(error), 200)

    def _is_due(self) -> bool:
        now_s = self._clock()
        if now_s < self._pauses.due_s:
            return False
        quiet_s = LONG_QUIET_S if self._is_open else SHORT_QUIET_S
        is_busy = now_s - self.changed_s < quiet_s
        return is_busy or now_s - self._looked_s >= IDLE_LOOK_S

    def _is_to_list(self) -> bool:
        every_s = min(IDLE_LOOK_S, LIST_EVERY_S * (1 + len(self._known) // PAGE))
        return self._clock() - self._listed_s >= every_s

    def _probe(self) -> None:
        for _ in range(PROBES_A_LOOK):
            name = self._next()
            if not name or name in self._known or not self._is_there(name):
                return
            self._expect([name])
            self.changed_s = self._looked_s

    def _list(self) -> None:
        infos = records_in(self._records)
        self._expect(sorted(info.base_name for info in infos))
        self.changed_s = newest_s(infos) or self.changed_s
        self._listed_s = self._looked_s

    def _is_there(self, name: str) -> bool:
        """Opened, not asked for: what is not there would cost a listing."""
        try:
            self._records.open(name).close()
        except FileNotFoundError:
            return False
        return True

    def _expect(self, names: Iterable[str]) -> None:
        new = [name for name in names if name not in self._known]
        self._known.update(new)
        self._waiting += new

    def _next(self) -> str:
        """What the driver of the newest record would name the one after; "" where there is none."""
        parts = RECORD_NAME.fullmatch(max(self._known, default=""))
        return f"{int(parts[1]) + 1:09d}-{parts[2]}.json" if parts else ""


@dataclass
class Seen:
    """A folder, as it was at the last look into it.

    Attributes:
        changed_s: when the newest record of the study was written; 0 = it is no study so far.
        problem: why the store gave no answer.
    """

    changed_s: float = 0.0
    problem: str = ""
    pauses: Pauses = field(default_factory=Pauses)


class StoredStudies:
    """The studies of a folder in an object store."""

    def __init__(self, place: Folder, clock: Clock | None = None) -> None:
        """Ask nothing yet.

        Args:
            place: the folder of runs.
            clock: seconds since 1970, never set back.
        """
        self._place, self._clock = place, clock or _steady_clock()
        self._ledgers: dict[str, StoredLedger] = {}
        self._seen: dict[str, Seen] = {}
        self._said: set[str] = set()
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="stored-studies")

    def names(self) -> list[str]:
        """Look into the store; returns the names of the studies there, newest first."""
        try:
            self._find()
            problem = ""
        except OSError as error:
            problem = one_line(str(error), 200)
        by_age = sorted(self._seen, key=self._changed_s, reverse=True)
        shown = [name for name in by_age if self._changed_s(name)][:MAX_STUDIES]
        # One that is not shown any more is read from its beginning when it is again.
        ledgers = {name: self._ledgers.get(name) or self._opened(name) for name in shown}
        self._fetch(list(ledgers.values()))
        self._ledgers = ledgers
        others = {seen.problem for name, seen in self._seen.items() if name not in ledgers}
        self._say({problem, *others, *(one.problem for one in ledgers.values())} - {""})
        return shown

    def ledger(self, name: str) -> StoredLedger:
        """Of a study that was named."""
        return self._ledgers[name]

    def _find(self) -> None:
        """The folders that are there; of those that are due, some are looked into."""
        names = [info.base_name for info in _children(self._place) if _is_folder(info)]
        self._seen = {name: self._seen.get(name) or Seen() for name in names if is_below(name)}
        since_s = {name: seen.pauses.due_s for name, seen in self._seen.items()}
        others = sorted(since_s.keys() - self._ledgers.keys(), key=lambda name: since_s[name])
        due = [name for name in others if since_s[name] <= self._clock()]
        for _ in self._threads.map(self._look_into, due[:FOLDERS_A_LOOK]):
            pass

    def _look_into(self, name: str) -> None:
        seen, now_s = self._seen[name], self._clock()
        try:
            seen.changed_s, is_held = _newest_record_s(self._place / name, now_s)
            seen.problem = ""
        except Exception as error:  # noqa: BLE001 - anything that a store or its library may say
            seen.problem, is_held = one_line(str(error), 200), False
        if seen.changed_s and not seen.problem:
            seen.pauses = Pauses(now_s + RANK_EVERY_S)
        else:  # a run, or a study whose driver will soon write its first record
            seen.pauses.lengthen(now_s, HELD_PAUSE_S if is_held else LONGEST_PAUSE_S)

    def _opened(self, name: str) -> StoredLedger:
        return StoredLedger(self._place / name / RECORDS, self._clock)

    def _changed_s(self, name: str) -> float:
        ledger = self._ledgers.get(name)
        return (ledger.changed_s if ledger else 0.0) or self._seen[name].changed_s

    def _fetch(self, ledgers: Sequence[StoredLedger]) -> None:
        """Look for new records of the studies that are shown, and read as many as one look may."""
        waiting = list(self._threads.map(StoredLedger.look, ledgers))
        shares = dealt(list(map(len, waiting)), RECORDS_A_LOOK)
        reading: list[list[Future[bytes | Exception]]] = [
            [self._threads.submit(ledger.read, name) for name in names[:share]]
            for ledger, names, share in zip(ledgers, waiting, shares, strict=True)
        ]
        for ledger, contents in zip(ledgers, reading, strict=True):
            ledger.take(content.result() for content in contents)

    def _say(self, problems: set[str]) -> None:
        """Each once as long as it lasts: the page stays as it is; somebody may read this process's log."""
        for problem in sorted(problems - self._said):
            sys.stderr.write(
                f"leaderboard: {self._place} must be read; got {problem!r}. {remedy_for(problem)}; "
                "it is tried again\n"
            )
        self._said = problems


def records_in(folder: Folder) -> list[fs.FileInfo]:
    """The records that lie in a folder; others may have put anything beside them."""
    return [
        info
        for info in _children(folder)
        if info.type == fs.FileType.File and RECORD_NAME.fullmatch(info.base_name)
    ]


def newest_s(infos: Iterable[fs.FileInfo]) -> float:
    """When the newest was written, in seconds since 1970; 0 where there is none."""
    return max(((info.mtime_ns or 0) / 1e9 for info in infos), default=0.0)


def dealt(wanted: Sequence[int], most: int) -> list[int]:
    """How much each gets of what there is: those that want least first, each at most an equal share."""
    shares, left = [0] * len(wanted), most
    for place, index in enumerate(sorted(range(len(wanted)), key=lambda index: wanted[index])):
        shares[index] = min(wanted[index], left // (len(wanted) - place))
        left -= shares[index]
    return shares


def _newest_record_s(study: Folder, now_s: float) -> tuple[float, bool]:
    """When the newest record was written, 0 where there is none; and whether one is to be expected."""
    inside = {info.base_name for info in _children(study)}
    changed_s = newest_s(records_in(study / RECORDS)) if RECORDS in inside else 0.0
    if changed_s or CLAIMS not in inside or RUN_CONFIG in inside:  # a run claims its folder, too
        return changed_s, False
    claims = [info for info in _children(study / CLAIMS) if not _is_folder(info)]
    return 0.0, now_s - newest_s(claims) < EXPIRY_S


def _steady_clock() -> Clock:
    began_s, since_1970_s = time.monotonic(), time.time()
    return lambda: since_1970_s + time.monotonic() - began_s


def _children(folder: Folder) -> list[fs.FileInfo]:
    selector = fs.FileSelector(folder.path(), allow_not_found=True)
    found: list[fs.FileInfo] = folder.filesystem.get_file_info(selector)
    return found


def _is_folder(info: fs.FileInfo) -> bool:
    return info.type == fs.FileType.Directory
