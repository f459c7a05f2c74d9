"""What a report is made of, before it becomes HTML or Markdown. PURE.

All text is plain and untrusted: the two writers escape it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.results.html_page import Row


@dataclass(frozen=True)
class Paragraph:
    """Text; `mark` is "banner", "soft" or ""."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Findings:
    """Sentences of a list, each with whether it warns."""

    items: Sequence[tuple[str, bool]]


@dataclass(frozen=True)
class Table:
    """Rows of text; the first column names them."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Figure:
    """A picture that lies beside the report under `name`, and what it shows."""

    name: str
    png: bytes = field(repr=False)
    caption: str
    source: str = ""
    """Relative address of what it was drawn from."""


@dataclass(frozen=True)
class Commands:
    """Command lines."""

    lines: Sequence[str]


Block = Paragraph | Findings | Table | Figure | Commands


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Report:
    """The whole."""

    title: str
    banner: str
    sections: Sequence[Section]
