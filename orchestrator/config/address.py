"""Where data can lie: a path, or a folder in an object store by its address.

Runs anywhere (PURE): no pyarrow, so that reading a config stays quick.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

SCHEMES = ("s3", "gs")
"""Object stores that pyarrow knows."""


def absolute_address(text: str) -> str:
    """The same place by an address that means the same in each process.

    Raises:
        ValueError: An address of an unknown kind, or one that carries a password, which would
            land in logs and manifests.
    """
    scheme, is_address, rest = text.partition("://")
    if not is_address:
        return str(Path(expanded(text)).absolute())
    if scheme not in SCHEMES:
        raise ValueError(
            f"must be a path or an address of {', '.join(SCHEMES)}; got {scheme}://..."
        )
    bucket = rest.partition("/")[0]
    if not bucket or "@" in bucket or "?" in rest or "//" in rest or ".." in rest.split("/"):
        raise ValueError(
            f"must be {scheme}://bucket/folder, no credentials, options, empty parts or '..'; got {scheme}://... "
            "Put credentials and endpoint into the environment"
        )
    return text.rstrip("/")


def is_below(name: str) -> bool:
    """Whether a name can be a path below the folder that it is a name in."""
    parts = name.split("/")
    return not {"", ".", ".."}.intersection(parts) and max(map(len, map(os.fsencode, parts))) < 256


def expanded(path: str) -> str:
    """`~` is the home folder: not every shell expands it behind `out=`, none behind `data.path=`."""
    return os.path.expanduser(path)  # noqa: PTH111 - Path's may raise, and changes what was typed


def with_tilde(text: str) -> str:
    """The same text with `~` for this user's home folder: logs are read by others, `~` can be typed."""
    home = expanded("~")
    return re.sub(rf"(?<![\w/.~-]){re.escape(home)}(?=/)", "~", text) if len(home) > 1 else text
