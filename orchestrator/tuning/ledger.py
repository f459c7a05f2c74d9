"""The append-only record of a study: the one truth, from which all else can be rebuilt.

DRIVER writes, anyone reads. One JSON object a line. A record is on the disk before anything is
told to a user; a line that a kill cut short is ignored by readers and cut off by the next
writer. An object store cannot append: there each record is an object of its own, and the file is
made of them where it is read (`fetch_ledger`). Imports neither torch nor ray.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from orchestrator.config.errors import LedgerError
from orchestrator.config.home import Home, held
from orchestrator.config.storage import storage_error, write_atomic

LEDGER = "ledger.jsonl"
RECORDS = "ledger"
"""Folder of a study in an object store that holds its records, named in their order."""
RECORD_NAME = re.compile(r"([0-9]{9})-([0-9a-f]+)\.json")
"""Of one there: its number, and the driver that wrote it."""
MOST_RECORDS = 10**9 - 10**6
"""From there on a study is not gone on with: its last numbers must have nine digits, too."""
MAX_RECORD_BYTES = 2**24
VERSION = 1

Record = dict[str, Any]


def read_records(path: Path) -> Iterator[Record]:
    """Yield the complete records of a ledger; nothing if there is no such file.

    Raises:
        LedgerError: a complete line that is not a JSON object (the file was edited or damaged).
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            yield _parse(path, number, line)


def fetch_ledger(home: Home) -> None:
    """Make the file of a study's records, if they are kept in an object store.

    Raises:
        StorageError: the store does not answer.
        LedgerError: one of them is longer than any record is, or was removed meanwhile.
    """
    if home.store is None:
        return
    kept, here = home.store / RECORDS, home.local / RECORDS
    sizes = {name: size for name, size in kept.files().items() if RECORD_NAME.fullmatch(name)}
    if long := [name for name in sizes if sizes[name] > MAX_RECORD_BYTES]:
        raise LedgerError(
            f"{kept}/{long[0]}: a record must be shorter than {MAX_RECORD_BYTES} bytes; got "
            f"{sizes[long[0]]}. Somebody else wrote it: remove it"
        )
    names = list(sizes)
    try:
        kept.download_all([name for name in names if not (here / name).is_file()], here)
    except FileNotFoundError as error:
        raise LedgerError(
            f"{kept}: records must stay; one was removed while they were read. Restore it"
        ) from error
    if names:
        write_atomic(home.local / LEDGER, b"".join((here / name).read_bytes() for name in names))


class Ledger:
    """The writer's side: one at a time for a study folder."""

    def __init__(self, home: Home | Path, say: Callable[[str], None] = print) -> None:
        """Write nothing yet.

        Args:
            home: of the study; a path is one that is kept where it is.
            say: told if another driver's hold on the study may have to be waited for.
        """
        self.home = home if isinstance(home, Home) else Home(home)
        self._path = self.home.local / LEDGER
        self._say = say
        self._writer = secrets.token_hex(4)

    def __enter__(self) -> Ledger:
        """Lock the study and cut off a torn last line.

        Raises:
            ConfigError: another driver works on this study.
            StorageError: the object store that keeps it does not answer.
        """
        self._held = held(self.home, "study", self._say)
        self.home = self._held.__enter__()
        try:
            self._open()
        except BaseException as error:
            self._held.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._held.__exit__(kind, error, trace)

    def append(self, record: Mapping[str, object]) -> Record:
        """Write one record through to the disk; returns it with its time.

        Raises:
            StorageError: it cannot be written; the ledger is as it was before. In an object
                store the record may be there nevertheless: it is true, and whoever goes on reads it.
        """
        stamped = {**record, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        line = json.dumps(stamped, allow_nan=False, ensure_ascii=False) + "\n"
        self._keep(line.encode())
        length = os.fstat(self._file.fileno()).st_size
        try:
            self._write(line.encode())
        except OSError as error:
            with suppress(OSError):  # else the next writer cuts it off
                os.ftruncate(self._file.fileno(), length)
            raise (storage_error(error, self._path) or error) from error
        return stamped

    def _open(self) -> None:
        fetch_ledger(self.home)
        # Unbuffered: what a full disk refused must not be tried again behind our back.
        self._file = self._path.open("ab", buffering=0)
        self._cut_torn_line()
        records = self.home.local / RECORDS
        names = [path.name for path in records.iterdir()] if records.is_dir() else []
        self._num_kept = max((int(name.partition("-")[0]) for name in names), default=0)
        if self._num_kept >= MOST_RECORDS:
            raise LedgerError(
                f"{self.home.kept / RECORDS}: numbers must be below {MOST_RECORDS}; got "
                f"{self._num_kept}. Somebody else wrote it: remove it"
            )

    def _keep(self, line: bytes) -> None:
        """Put a record into the object store, under a name that no other driver can have."""
        if self.home.store is None:
            return
        self.home.check()
        self._num_kept += 1
        name = f"{self._num_kept:09d}-{self._writer}.json"
        (self.home.store / RECORDS).put(name, line)

    def _write(self, line: bytes) -> None:
        written = 0
        while written < len(line):
            written += self._file.write(line[written:])
        os.fsync(self._file.fileno())

    def _cut_torn_line(self) -> None:
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self._path, whole)


def _parse(path: Path, number: int, line: bytes) -> Record:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise LedgerError(
            f"{path}:{number}: must be one JSON object a line; got: {error}. "
            "Restore the file, or move it away to start the study anew"
        ) from error
    if not isinstance(record, dict) or "record" not in record:
        raise LedgerError(f"{path}:{number}: must be an object with the key 'record'")
    return record
