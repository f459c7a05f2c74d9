"""Numbers as cells of a report, each with the file it comes from. PURE."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from orchestrator.results.html_page import Cell

NONE: Final = "–"
THEIRS: Final = "theirs"
"""The mark of the paper's own figures."""


@dataclass(frozen=True)
class Linker:
    """Makes cells that link from the report's folder to where a number is from.

    Attributes:
        out: the report's folder.
        top: below which all lies that the report can lead to; None = anywhere.
        scheme: of the object store whose buckets lie there.
    """

    out: Path
    top: Path | None = None
    scheme: str = ""

    def shown(self, text: str) -> str:
        """Text that names files, by where they are kept."""
        return text.replace(f"{self.top}/", f"{self.scheme}://") if self.top else text

    def address(self, file: Path) -> str:
        """A file's relative address, percent-encoded; "" for one that the report cannot lead to."""
        if self.top and not file.is_relative_to(self.top):
            return ""
        relative = os.path.relpath(file, self.out)
        return quote(relative.encode("utf-8", "surrogateescape"))

    def cell(self, text: str, file: Path, mark: str = "") -> Cell:
        """Text that leads to a file."""
        return Cell(text, mark, self.address(file) if text != NONE else "")

    def share(self, value: Any, file: Path) -> Cell:
        """A figure in [0, 1]."""
        return self.cell(share(value), file)

    def scored(self, value: Any, interval: Any, file: Path) -> Cell:
        """A figure in [0, 1] with its interval."""
        return self.cell(scored(value, interval), file)


def theirs(text: str) -> Cell:
    """A figure of the paper's."""
    return Cell(text, THEIRS)


def number(value: Any) -> float | None:
    """A finite number from JSON; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e300 else None


def share(value: Any) -> str:
    """For example 0.953."""
    found = number(value)
    return NONE if found is None else f"{found:.3f}"


def signed(value: Any) -> str:
    """For example +0.031."""
    found = number(value)
    return NONE if found is None else f"{found:+.3f}"


def scored(value: Any, interval: Any) -> str:
    """For example 0.953 [0.940, 0.961]."""
    ends = ends_of(interval)
    return share(value) + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")


def ends_of(interval: Any) -> tuple[float, float] | None:
    """Both ends of an interval from JSON; None for anything else."""
    if not isinstance(interval, Sequence) or isinstance(interval, str) or len(interval) != 2:
        return None
    low, high = number(interval[0]), number(interval[1])
    return None if low is None or high is None else (low, high)


def part(content: Mapping[str, Any], *path: str) -> Any:
    """What lies at a path of nested mappings; None where the path ends before."""
    found: Any = content
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The mappings of a list from JSON; none for anything else."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
