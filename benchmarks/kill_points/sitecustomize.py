"""Kills its own process inside a write, where a file says so; notes which epochs are trained.

Python imports this module by itself in every process whose PYTHONPATH names its folder, so the
program under test knows nothing of it. `KILL_POINTS` names a folder with

    spec.json   {"study": folder, "step": one of STEPS, "path": regular expression, "nth": 1...}
    fired       made when the kill happens: it happens once
    begins, trained      one line an epoch that a worker begins, or has trained: lineage, epoch, process
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

STEPS = ("opened", "synced", "torn", "renamed", "removed", "made", "read")
"""Just before a file is opened for writing, renamed, removed; before a folder is made; after a
file's bytes were handed to the disk (torn: with its last half missing); before a file is read."""

EPOCH = "orchestrator.epoch_"

_folder = Path(os.environ.get("KILL_POINTS", "/nonexistent"))
_counts: Counter[str] = Counter()
_busy = threading.local()


def _on_event(event: str, args: tuple[object, ...]) -> None:
    if event.startswith(EPOCH):
        _note(event.removeprefix(EPOCH), args)
    elif event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
        writes = isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        _consider("opened" if writes else "read", os.fsdecode(args[0]))
    elif event in ("os.rename", "os.remove", "os.mkdir"):
        step = {"os.rename": "renamed", "os.remove": "removed", "os.mkdir": "made"}[event]
        _consider(step, _path_of(args[1] if event == "os.rename" else args[0], args[-1]))


def _path_of(name: object, folder: object) -> str:
    """The whole path: `shutil.rmtree` names files relative to a descriptor of their folder."""
    path = os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else ""
    if not os.path.isabs(path) and isinstance(folder, int) and folder >= 0:  # noqa: PTH117
        return f"{os.readlink(f'/proc/self/fd/{folder}')}/{path}"  # noqa: PTH115
    return path


def _consider(step: str, path: str) -> None:
    if getattr(_busy, "now", False):
        return
    _busy.now = True
    try:
        spec = _spec()
        if spec and path.startswith(spec["study"]) and _is_due(spec, step, path):
            if spec["step"] == "torn":
                os.truncate(path, max(0, os.stat(path).st_size - _half_of_what_is_new(path)))  # noqa: PTH116
            os.kill(os.getpid(), signal.SIGKILL)
    finally:
        _busy.now = False


def _spec() -> dict[str, object] | None:
    try:
        return (
            None
            if (_folder / "fired").exists()
            else json.loads((_folder / "spec.json").read_text())
        )
    except (OSError, ValueError):
        return None


def _is_due(spec: dict[str, object], step: str, path: str) -> bool:
    if step != ("synced" if spec["step"] == "torn" else spec["step"]):
        return False
    if not re.search(str(spec["path"]), path):
        return False
    _counts[json.dumps(spec)] += 1
    if _counts[json.dumps(spec)] != spec["nth"]:
        return False
    try:
        os.close(os.open(_folder / "fired", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _half_of_what_is_new(path: str) -> int:
    """Of an append-only file half of the last line, else half of the file."""
    content = Path(path).read_bytes()
    return max(1, (len(content) - content[:-1].rfind(b"\n") - 1) // 2)


def _note(name: str, args: tuple[object, ...]) -> None:
    line = f"{args[0]} {args[1]} {os.getpid()}\n"
    with (_folder / name).open("a") as trace:
        trace.write(line)


def _fsync(descriptor: int) -> None:
    _real_fsync(descriptor)
    _consider("synced", os.readlink(f"/proc/self/fd/{int(descriptor)}"))  # noqa: PTH115


if _folder.is_dir():
    _real_fsync = os.fsync
    os.fsync = _fsync
    sys.addaudithook(_on_event)
