"""Files that are either whole or not there, and folders that one process holds.

PURE, local paths and network file systems with atomic rename. A reader never sees half a
file; a killed writer leaves at most a temporary one behind.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.config.errors import ConfigError, StorageError

CHUNK_BYTES = 2**20
LOCK = ".lock"
MARKER = "state.json"
"""The file of a checkpoint that is written last: without it there is no checkpoint."""
RUN_CONFIG, CHECKPOINTS = "config.yaml", "checkpoints"
"""In the folder of a run of `train`."""
REMEDIES = {
    errno.ENOSPC: "Free space",
    errno.EDQUOT: "Free space within your quota, or have it raised",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "Mount it for writing",
    errno.EIO: "Look after the disk (dmesg)",
    errno.ESTALE: "Mount the network file system again",
}
"""What mends the storage, by the system's number of what is wrong with it."""
KEPT_FOR_RESUME = 2
"""Resume points of a training: the newest, and one before it should that be damaged."""


def storage_error(error: OSError, path: Path | str | None = None) -> StorageError | None:
    """The error as one that a user can mend; None if it does not lie with the storage."""
    remedy = REMEDIES.get(error.errno or 0)
    if remedy is None:
        return None
    where = path or error.filename or "a file"
    return StorageError(
        f"storage: {where} must be written and read; got {os.strerror(error.errno or 0)!r}. "
        f"{remedy}, then run the same command again: it goes on, and nothing written is damaged"
    )


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


def remove_checkpoint(folder: Path) -> None:
    """Remove a folder, and first the marker that vouches for it.

    A network file system keeps what a process of this node reads under another name (`.nfs...`) until
    that is closed, and so the folder: what is left then is no checkpoint any more, and harms nobody.
    """
    (folder / MARKER).unlink(missing_ok=True)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EBUSY) or not _is_only_open(folder):
            raise


def _is_only_open(folder: Path) -> bool:
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    return all(path.name.startswith(".nfs") for path in files)


def to_disk(path: Path) -> None:
    """Wait until the disk has a file's content."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def toward_disk(path: Path) -> None:
    """Let the disk begin to write a file's content, without waiting until it has it.

    Of a file that another node wrote there is nothing to do here; network file systems write it
    out as it is closed. Nothing is promised: see `to_disk`.
    """
    if not hasattr(os, "posix_fadvise"):  # macOS
        return
    with suppress(OSError), path.open("rb") as file:
        # Only what the disk has already is dropped from memory; what it has not it begins to write.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sha256_of(path: Path) -> str:
    """Digest of a file's content, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def as_typed(path: Path) -> Path:
    """The path as a user in this folder would type it; the name of the home folder is not shown."""
    here, home = Path.cwd(), Path.home()
    if path.is_relative_to(here):
        return path.relative_to(here)
    hides = home != Path(home.anchor) and path.is_relative_to(home)
    return Path("~") / path.relative_to(home) if hides else path


@contextmanager
def exclusive(folder: Path, name: str) -> Iterator[None]:
    """Hold a folder for one process; the system lets go of it when the process ends.

    What a killed process had half written directly in it is removed.

    Args:
        folder: made if it is not there.
        name: the field that names the folder, for the message.

    Raises:
        ConfigError: another process holds it, or nobody can.
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
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise ConfigError(
                    f"{name}: must be on storage where files can be locked; got {folder}: "
                    f"{os.strerror(error.errno or 0)}. Mount it with locks (NFS version 4, no nolock), "
                    "or choose another place with out="
                ) from error
            raise ConfigError(
                f"{name}: only one process may work on a folder; another holds {folder}. "
                f"Wait for it or end it, or choose another name with {name}=NAME"
            ) from error
        _clear_halves(folder)
        yield


def _clear_halves(folder: Path) -> None:
    """Remove what processes that were killed had begun to write; those that live go on."""
    for half in folder.glob(".*.tmp"):
        pid = half.name.split(".")[-2]
        if pid.isdecimal() and not _is_alive(int(pid)):
            with suppress(OSError):  # another user's, in a folder of many
                half.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
