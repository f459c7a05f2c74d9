"""A report as Markdown, with its pictures as files beside it. PURE."""

from __future__ import annotations

from urllib.parse import quote

from orchestrator.results.html_page import Cell
from orchestrator.results.printable import in_markdown, one_line
from orchestrator.results.report_blocks import (
    Block,
    Commands,
    Figure,
    Findings,
    Paragraph,
    Report,
    Table,
)


def report_markdown(report: Report) -> str:
    """The document."""
    parts = [f"# {in_markdown(report.title)}"]
    if report.banner:
        parts.append(f"> **{in_markdown(report.banner)}**")
    for section in report.sections:
        parts.append(f"## {in_markdown(section.title)}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return in_markdown(block.text)
    if isinstance(block, Findings):
        return "\n".join(
            f"- {'**' if warns else ''}{in_markdown(text)}{'**' if warns else ''}"
            for text, warns in block.items
        )
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Figure):
        return f"![{in_markdown(block.caption)}]({quote(block.name)})\n\n{_caption(block)}"
    return _commands(block)


def _table(block: Table) -> str:
    rows = [[_cell(cell) for cell in row] for row in block.rows]
    head = [in_markdown(name) for name in block.head]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{in_markdown(block.caption)}\n\n{body}"


def _cell(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return in_markdown(cell)
    text = in_markdown(cell.text)
    return f"[{text}]({cell.link})" if cell.link and text else text


def _caption(block: Figure) -> str:
    text = in_markdown(block.caption)
    return f"[{text}]({block.source})" if block.source else text


def _commands(block: Commands) -> str:
    # Four blanks make code of a line whatever stands in it: no fence that could be closed.
    return "\n".join(f"    {one_line(line)}" for line in block.lines)
