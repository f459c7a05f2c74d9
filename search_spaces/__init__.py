"""Search spaces: each YAML file here is one study's question and the trials that answer it.

PURE; knows nothing of the orchestrator. The schema is `orchestrator/config/space.py`.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """The spaces that lie here, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def path(name: str) -> Path:
    """Where the space of this name lies, whether or not it exists."""
    return FOLDER / f"{name}.yaml"
