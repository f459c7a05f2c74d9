"""Image files below a folder: whether a path may be read, and reading it. DRIVER and WORKER.

A data set that came from elsewhere may hold links or paths that lead out of it. Those are never
followed: a training image must come from the folder that the user named.
"""

import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path

from datasets import Face, Unreadable

_MAX_BYTES = 64 * 2**20  # no picture of a face; reading it would only exhaust a worker
_AHEAD = 16  # files that are open at once
_NO_LINK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # nor wait for a pipe


def problem_with(root: Path, relative: str) -> str:
    """Says why a file cannot be used, without opening it; "" where it can.

    Costs one `lstat` a file, and resolves each folder once.
    """
    path = os.path.normpath(os.path.join(root, relative))  # noqa: PTH118  (cost: called per row)
    try:
        status = os.lstat(path)
        resolved = os.path.join(_resolved(os.path.dirname(path)), os.path.basename(path))  # noqa: PTH118, PTH119, PTH120
        if stat.S_ISLNK(status.st_mode):
            resolved = os.path.realpath(path)
            status = os.stat(resolved)  # noqa: PTH116
    except FileNotFoundError:
        return "file missing"
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        return f"file cannot be looked up: {getattr(error, 'strerror', error)}"
    if not resolved.startswith(_resolved(str(root)).rstrip(os.sep) + os.sep):
        return "path leads out of the data set's folder"
    return "" if stat.S_ISREG(status.st_mode) else "not a file"


def read_files(root: Path, faces: Sequence[Face]) -> Iterator[bytes | Unreadable]:
    """Yields the encoded bytes of each face's file, in order; the disk brings the next meanwhile."""
    waiting = iter(faces)
    opened: deque[tuple[Face, int | None]] = deque()
    try:
        while True:
            for face in islice(waiting, _AHEAD - len(opened)):
                opened.append((face, None if face.problem else _open_plain(str(root), face.source)))
            if not opened:
                return
            face, file = opened.popleft()
            content = None if file is None else _plain_content(file)
            yield _looked_into(root, face) if content is None else content
    finally:
        for _, file in opened:
            if file is not None:
                os.close(file)


def utf8(text: str) -> str:
    r"""Makes a file name printable: bytes that are not UTF-8 become \udcXX."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: str) -> str:
    r"""Escapes what cannot be printed: a line break becomes \n, a byte that is no UTF-8 \udcXX."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _open_plain(root: str, relative: str) -> int | None:
    """Opens what may be a plain file below a root, and has the disk bring it; None for all else."""
    folder, _, name = relative.rpartition("/")
    if relative.startswith("/") or not name or not _is_below(root, folder):
        return None
    try:
        file = os.open(f"{root}/{relative}", _NO_LINK)
    except (OSError, ValueError):  # ValueError: a zero byte in the path
        return None
    if hasattr(os, "posix_fadvise"):  # macOS has none
        with suppress(OSError):  # of a pipe there is nothing to bring
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)
    return file


def _plain_content(file: int) -> bytes | None:
    """Reads and closes a plain file, for little more than opening it; None for all else."""
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
            return None
        content = os.read(file, status.st_size)
        return content if len(content) == status.st_size else None
    except OSError:
        return None
    finally:
        os.close(file)


def _looked_into(root: Path, face: Face) -> bytes | Unreadable:
    """Reads a file that is not plain, or says why not."""
    if reason := face.problem or problem_with(root, face.source):
        return Unreadable(reason)
    return _content(root / face.source)


@lru_cache(maxsize=4096)
def _is_below(root: str, folder: str) -> bool:
    """Whether a folder of the root, its links followed, is the root or below it."""
    below = _resolved(os.path.join(root, folder))  # noqa: PTH118  (as above)
    return (below + os.sep).startswith(_resolved(root).rstrip(os.sep) + os.sep)


def _content(path: Path) -> bytes | Unreadable:
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size > _MAX_BYTES:
                return Unreadable(f"file too large for an image: {size} bytes")
            return file.readall()
    except OSError as error:
        return Unreadable(f"file cannot be read: {error.strerror}")


@lru_cache(maxsize=4096)
def _resolved(folder: str) -> str:
    return os.path.realpath(folder)
