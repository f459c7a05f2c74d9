"""Whether the processes of every node see the folder that the driver writes to.

PURE. The same path can be another folder on each node, and what a worker writes to its own is lost
to all others without a word. So the driver leaves a file under a name that nobody else can have,
and each process that is to read or write there looks for it first.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.config.errors import StorageError

REMEMBERED_S = 60.0
"""How long a network file system may say that a new file is not there (acdirmax, nfs(5))."""
LOOK_EVERY_S = 1.0
REMEDY = "Mount shared storage there, or set out= to an object store (s3://bucket/runs)"


@dataclass(frozen=True)
class Mark:
    """A file that says which folder this is.

    Attributes:
        folder: which should be one and the same on every node.
        name: of the file, by its path from there.
    """

    folder: Path
    name: str

    def is_seen(self, meanwhile: Callable[[], object] = lambda: None) -> bool:
        """Whether this process finds the file, now or once its caches are renewed.

        Args:
            meanwhile: called before each further look.
        """
        end_s = time.monotonic() + REMEMBERED_S
        # What may not be read, or is on a disk that fails, is not seen either.
        while not os.path.isfile(self.folder / self.name):  # noqa: PTH113 - Path's raises
            if time.monotonic() >= end_s:
                return False
            meanwhile()
            time.sleep(LOOK_EVERY_S)
        return True

    def look_for(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Return if this process sees the folder that the driver does.

        Args:
            meanwhile: as in `is_seen`.

        Raises:
            StorageError: it does not; names the node.
        """
        if not self.is_seen(meanwhile):
            raise StorageError(
                f"storage: {self.folder} must be the same folder on every node; node "
                f"{os.uname().nodename} does not see what the driver has written there. {REMEDY}, "
                "then run the same command again: it goes on, and nothing written is damaged"
            )


def leave_mark(folder: Path, inside: str = "") -> Mark:
    """Write the file; who calls removes it, or the folder inside that has it.

    Args:
        folder: made if it is not there.
        inside: folder below it that is to hold the file.
    """
    name = str(Path(inside) / f".seen-by-all-{secrets.token_hex(8)}")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return Mark(folder, name)
