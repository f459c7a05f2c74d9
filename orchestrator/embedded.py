"""The drawn faces that need no download, prepared like any other data set.

DRIVER. They lie in the folder of the runs, since that is the one place which a cluster's nodes
are sure to share.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.config.commands import PrepareConfig
from orchestrator.config.errors import ConfigError
from orchestrator.config.experiment import EMBEDDED
from orchestrator.config.folder import Folder, folder
from orchestrator.config.object_store import Store
from orchestrator.ingest.dataset import PreparedDataset, open_dataset
from orchestrator.ingest.manifest import FILE_NAME
from orchestrator.prepare import prepare

IMAGE_PX = 48
ROWS_PER_FILE = 512  # a set this small is drawn sooner in small pieces
PROTOCOLS = ("group", "random")


def find_dataset(path: str, out: str) -> PreparedDataset | None:
    """Open a prepared data set; None for the embedded one while it has not been drawn.

    Raises:
        DatasetError: no data set there, or a damaged one.
    """
    if path != EMBEDDED:
        return open_dataset(path)
    root = _folder(out)
    return open_dataset(root) if _is_there(root) else None


def embedded_dataset(out: str) -> PreparedDataset:
    """Draw and prepare the embedded data set; Ray must be initialised."""
    return prepare(
        PrepareConfig(
            dataset="synthetic",
            out=str(_folder(out)),
            name=EMBEDDED,
            image_px=IMAGE_PX,
            rows_per_file=ROWS_PER_FILE,
        )
    )


def _folder(out: str) -> Folder:
    runs = folder(out) if "://" in out else Folder(str(Path(out).absolute()))
    return runs / EMBEDDED


def _is_there(root: Folder) -> bool:
    if root.local is not None:
        return (root.local / FILE_NAME).is_file()
    return Store(root).has(FILE_NAME)


def check_embedded_protocol(protocol: str) -> None:
    """Refuse a protocol that drawn faces do not have, before they are drawn.

    Raises:
        ConfigError: names those there are.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(
            f"data.protocol: embedded has no official splits; got {protocol!r}. "
            f"Choices: {', '.join(PROTOCOLS)}."
        )
