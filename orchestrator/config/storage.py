"""Files that are either whole or not there: the only way we write state.

PURE, local paths and network file systems with atomic rename. A reader never sees half a
file; a killed writer leaves at most a temporary one behind.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

CHUNK_BYTES = 2**20
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


def sha256_of(path: Path) -> str:
    """Digest of a file's content, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
