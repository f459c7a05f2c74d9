"""A report as one HTML page that needs nothing else: no network, no script, pictures inside. PURE."""

from __future__ import annotations

import html

from orchestrator.results.html_page import MAX_CAPTION, page, picture, table, words
from orchestrator.results.printable import one_line
from orchestrator.results.report_blocks import (
    Block,
    Commands,
    Figure,
    Findings,
    Paragraph,
    Report,
    Section,
    Table,
)

LONG = 2000
"""Characters of a paragraph or command that are shown."""


def report_html(report: Report) -> str:
    """The document."""
    banner = f'<p class="banner bad">{words(report.banner, LONG)}</p>' if report.banner else ""
    sections = "\n".join(_section(section) for section in report.sections)
    return page(report.title, f"<h1>{words(report.title)}</h1>\n{banner}\n{sections}")


def _section(section: Section) -> str:
    blocks = "\n".join(_block(block) for block in section.blocks)
    return f"<section>\n<h2>{words(section.title)}</h2>\n{blocks}\n</section>"


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        mark = f' class="{block.mark}"' if block.mark else ""
        return f"<p{mark}>{words(block.text, LONG)}</p>"
    if isinstance(block, Findings):
        return _findings(block)
    if isinstance(block, Table):
        return table(block.caption, block.head, block.rows)
    if isinstance(block, Figure):
        return _figure(block)
    return _commands(block)


def _findings(block: Findings) -> str:
    items = "".join(
        f'<li class="{"warns" if warns else "holds"}">{words(text, LONG)}</li>'
        for text, warns in block.items
    )
    return f'<ul class="verdicts">{items}</ul>'


def _figure(block: Figure) -> str:
    caption = words(block.caption, MAX_CAPTION)
    if block.source:
        caption = f'<a href="{html.escape(block.source)}">{caption}</a>'
    image = picture(block.png, block.caption)
    return f'<figure class="paper">{image}</figure>\n<p class="soft">{caption}</p>'


def _commands(block: Commands) -> str:
    # Not `words`: a command is copied, so nothing of it may be cut; one line each all the same.
    lines = "\n".join(html.escape(one_line(line)) for line in block.lines)
    return f"<pre>{lines}</pre>"
