"""The append-only record of a study: the one truth, from which all else can be rebuilt.

DRIVER writes, anyone reads. One JSON object a line. A record is on the disk before anything is
told to a user; a line that a kill cut short is ignored by readers and cut off by the next
writer. Imports neither torch nor ray.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from orchestrator.config.errors import LedgerError
from orchestrator.config.storage import exclusive, storage_error

LEDGER = "ledger.jsonl"
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


class Ledger:
    """The writer's side: one at a time for a study folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEDGER
        self._folder = folder

    def __enter__(self) -> Ledger:
        """Lock the study and cut off a torn last line.

        Raises:
            ConfigError: another driver works on this study.
        """
        self._held = exclusive(self._folder, "study")
        self._held.__enter__()
        # Unbuffered: what a full disk refused must not be tried again behind our back.
        self._file = self._path.open("ab", buffering=0)
        self._cut_torn_line()
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
            StorageError: it cannot be written; the ledger is as it was before.
        """
        stamped = {**record, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        line = json.dumps(stamped, allow_nan=False, ensure_ascii=False) + "\n"
        length = os.fstat(self._file.fileno()).st_size
        try:
            self._write(line.encode())
        except OSError as error:
            with suppress(OSError):  # else the next writer cuts it off
                os.ftruncate(self._file.fileno(), length)
            raise (storage_error(error, self._path) or error) from error
        return stamped

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
