"""Checkpoints of a lineage in an object store: files first, the marker last, old ones after new ones.

WORKER. A checkpoint is written on the worker's own disk (in `TMPDIR`) as it would be on a shared
one (`checkpoint.py`), then moved: so what is in the store has the same names and bytes, and the
same promise holds, that one without a valid marker does not exist. To go on, every worker fetches
the newest one that is whole; its own disk may be empty.
"""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from orchestrator.config.folder import folder
from orchestrator.config.object_store import Store
from orchestrator.config.storage import KEPT_FOR_RESUME, MARKER
from orchestrator.training.checkpoint import newest_valid
from orchestrator.training.group_counts import FOLDER

MILESTONES, BEST, LAST = "milestones", "best", "last"
"""Folders of a lineage that hold checkpoints."""
PARTS = (MILESTONES, FOLDER, BEST, LAST)
"""What there can be of an epoch, in the order in which it must be there: the resume point last."""


def lineage_place(address: str) -> tuple[Path, Store | None]:
    """Where a lineage's checkpoints are read and written here, and the store that keeps them."""
    if "://" not in address:
        return Path(address), None
    return _scratch() / hashlib.sha256(address.encode()).hexdigest(), Store(folder(address))


def fetch_newest(store: Store, here: Path, lineage: str, passed_over: list[str]) -> None:
    """Bring the newest whole checkpoint of a lineage, if there is one; others go from this disk.

    Args:
        store: of a folder of checkpoints.
        here: the same folder on this machine.
        lineage: its key; checkpoints of another are passed over.
        passed_over: takes what is wrong with each that is newer than the one brought.

    Raises:
        StorageError: the store does not answer.
    """
    shutil.rmtree(here, ignore_errors=True)
    for name in reversed(_checkpoints(store)):
        fetch(store / name, here / name)
        if newest_valid(here, lineage, passed_over) is not None:
            return
        shutil.rmtree(here, ignore_errors=True)


def fetch(store: Store, here: Path) -> None:
    """Bring one checkpoint; nothing where it has no marker.

    Raises:
        StorageError: the store does not answer.
    """
    if store.has(MARKER):
        store.download_all(store.files(), here)


def move(here: Path, store: Store) -> None:
    """Move what was written of one epoch, then drop what it replaces; in the order of `saving.py`.

    Raises:
        StorageError: the store does not take it; what was there of other epochs is as it was.
    """
    for part in PARTS:
        files = [path for path in sorted((here / part).rglob("*")) if path.is_file()]
        names = [str(path.relative_to(here)) for path in files]
        for marker in (name for name in names if Path(name).name == MARKER):
            store.remove(marker)  # of this epoch, trained before: its files change beneath it
        for name in sorted(names, key=lambda name: Path(name).name == MARKER):
            store.upload(here / name, name)
    for folder_here in (here / LAST).glob("epoch-*"):
        _drop_older(store / LAST, folder_here.name)
    for folder_here in (here / BEST).glob("epoch-*"):
        keep_only(store / BEST, folder_here.name)
    shutil.rmtree(here)


def keep_only(store: Store, name: str) -> None:
    """Remove the other checkpoints of a folder of them."""
    _remove(store, (other for other in _checkpoints(store, whole=False) if other != name))


def _drop_older(store: Store, newest: str) -> None:
    # Later epochs can only be another lineage's: they must not push this one out.
    known = [name for name in _checkpoints(store, whole=False) if name <= newest]
    _remove(store, known[:-KEPT_FOR_RESUME])


def _remove(store: Store, names: Iterable[str]) -> None:
    for name in names:
        (store / name).remove_all(first=MARKER)


def _checkpoints(store: Store, *, whole: bool = True) -> list[str]:
    """Names of those in a folder, by epoch; only those that have their marker, or all."""
    paths = [Path(name) for name in store.files()]
    return sorted({path.parts[0] for path in paths if path.name == MARKER or not whole})


@lru_cache(maxsize=1)
def _scratch() -> Path:
    """A folder of this process, which goes with it."""
    scratch = Path(tempfile.mkdtemp(prefix="fer-checkpoints-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    return scratch
