"""Confusion counts of each validation video, small enough to stay in a study's record for good.

PURE: numpy only; the leader of a slot's workers encodes, whoever compares trials decodes. Whether
one trial is better than another can only be told from how both did on the same videos, so these
counts are kept for the epoch that a trial ends with.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.config.errors import LedgerError
from orchestrator.config.storage import write_atomic
from orchestrator.training.metrics import Counts

MAX_CLUSTERS = 256
"""More groups than this are put together at random: clusters of independent groups are independent
clusters, so that resampling them is as honest and a trial takes some kB however large the set."""
MAX_CLASSES = 127
FOLDER = "validation"
"""Folder of a lineage that holds the counts."""

Encoded = dict[str, Any]
_NUMBER = np.dtype("<u4")


def encode(confusion_GKK: Counts) -> Encoded:
    """Counts as JSON can hold them: `clusters`, `classes`, and `counts` as zlib in base64.

    Args:
        confusion_GKK: of each group, shape (G, K, K), groups in the order of their names.
    """
    clusters_CKK = _clustered(confusion_GKK)
    packed = zlib.compress(np.ascontiguousarray(clusters_CKK, dtype=_NUMBER).tobytes(), 9)
    return {
        "clusters": clusters_CKK.shape[0],
        "classes": clusters_CKK.shape[1],
        "counts": base64.b64encode(packed).decode(),
    }


def decode(encoded: Mapping[str, Any]) -> Counts:
    """The counts of each cluster, shape (C, K, K).

    Raises:
        LedgerError: they are not as `encode` makes them; a ledger is input.
    """
    try:
        clusters, classes = int(encoded["clusters"]), int(encoded["classes"])
        if not (0 < clusters <= MAX_CLUSTERS and 0 < classes <= MAX_CLASSES):
            raise ValueError(f"{clusters} clusters of {classes} classes")
        num_bytes = clusters * classes**2 * _NUMBER.itemsize
        packed = base64.b64decode(encoded["counts"], validate=True)
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(packed, num_bytes)  # and never more, whatever is packed
        if unpacker.unconsumed_tail:
            raise ValueError(f"more than {num_bytes} bytes")
        counts = np.frombuffer(content, dtype=_NUMBER).reshape(clusters, classes, classes)
    except (KeyError, TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise LedgerError(
            f"val_groups: must hold counts of at most {MAX_CLUSTERS} clusters as this version "
            f"writes them; got {type(error).__name__}: {error}"
        ) from error
    return counts.astype(np.int64)


def keep(lineage_folder: Path, epoch: int, encoded: Encoded) -> None:
    """Write an epoch's counts beside its lineage's checkpoints."""
    write_atomic(file_of(lineage_folder, epoch), json.dumps(encoded).encode())


def kept(lineage_folder: Path, epoch: int) -> Encoded | None:
    """What `keep` wrote of an epoch; None where it wrote nothing."""
    try:
        content = json.loads(file_of(lineage_folder, epoch).read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def file_of(lineage_folder: Path, epoch: int) -> Path:
    """Where an epoch's counts lie."""
    return lineage_folder / FOLDER / f"epoch-{epoch:04d}.json"


def _clustered(confusion_GKK: Counts) -> Counts:
    """The groups, or `MAX_CLUSTERS` random sets of them: the same sets for every trial."""
    num_groups = len(confusion_GKK)
    if num_groups <= MAX_CLUSTERS:
        return confusion_GKK
    # Neighbours in name may be alike: they go to different sets.
    cluster_of = np.random.default_rng(0).permutation(num_groups) % MAX_CLUSTERS
    clusters = np.zeros((MAX_CLUSTERS, *confusion_GKK.shape[1:]), dtype=np.int64)
    np.add.at(clusters, cluster_of, confusion_GKK)
    return clusters
