"""Files that are either whole or not there, and folders that one process holds.

PURE, local paths and network file systems with atomic rename. A reader never sees half a
file; a killed writer leaves at most a temporary one behind.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from orchestrator.config.errors import ConfigError

CHUNK_BYTES = 2**20
LOCK = ".lock"
MARKER = "state.json"
"""The file of a checkpoint that is written last: without it there is no checkpoint."""
KEPT_FOR_RESUME = 2
"""Resume points of a training: the newest, and one before it should that be damaged."""


def write_atomic(path: Path, content: bytes) -> None:
    """Write, flush to the disk, and put into place under its name in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write readable JSON atomically; NaN is refused, as it is no JSON."""
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    write_atomic(path, (text + "\n").encode())


def to_disk(path: Path) -> None:
    """Wait until the disk has a file's content."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sha256_of(path: Path) -> str:
    """Digest of a file's content, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def as_typed(path: Path) -> Path:
    """The path as a user in this folder would type it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@contextmanager
def exclusive(folder: Path, name: str) -> Iterator[None]:
    """Hold a folder for one process; the system lets go of it when the process ends.

    Args:
        folder: made if it is not there.
        name: the field that names the folder, for the message.

    Raises:
        ConfigError: another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = (folder / LOCK).open("a")
    except OSError as error:
        raise ConfigError(
            f"{name}: must be a folder that can be written to; got {folder}: {error.strerror}"
        ) from error
    with held as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"{name}: only one process may work on a folder; another holds {folder}. "
                f"Wait for it or end it, or choose another name with {name}=NAME"
            ) from error
        yield
