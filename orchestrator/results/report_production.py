"""What was found of production, and what was done about it: diagnoses and remedies. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.results.html_page import Cell, Row
from orchestrator.results.report_blocks import Block, Findings, Paragraph, Section, Table
from orchestrator.results.report_cells import NONE, Linker, mappings, part, scored, share, signed
from orchestrator.results.report_sources import JsonSource, Sources
from orchestrator.results.report_tables import count

VERDICTS = {"helped": "good", "hurt": "bad"}


def diagnosis_section(sources: Sources, link: Linker) -> Section:
    """The verdict on each production set."""
    rows: list[Row] = [
        [
            link.cell(str(part(one.content, "production", "name") or "?"), one.file),
            link.cell(count(part(one.content, "production", "rows")), one.file),
            link.cell(str(one.content.get("verdict", NONE)), one.file),
            Cell(str(one.content.get("statement", "")), "wraps"),
        ]
        for one in sources.diagnoses
    ]
    if not rows:
        none = "No diagnosis was found: python -m orchestrator.diagnose makes one."
        return Section("What shifted in production", [Paragraph(none, "soft")])
    head = ["production", "rows", "verdict", "in a sentence"]
    return Section("What shifted in production", [Table("Shift analysis", head, rows)])


def adaptation_section(sources: Sources, link: Linker) -> Section:
    """What each remedy gained on held-out production groups."""
    blocks: list[Block] = []
    for one in sources.adaptations:
        blocks += _adaptation(one, link)
    if not blocks:
        none = "No adaptation was found: python -m orchestrator.adapt makes one."
        blocks.append(Paragraph(none, "soft"))
    return Section("What to do about it: remedies, before and after", blocks)


def _adaptation(source: JsonSource, link: Linker) -> list[Block]:
    content, file = source.content, source.file
    rows: list[Row] = [
        [
            "before",
            link.scored(
                part(content, "before", "production", "macro_f1"),
                part(content, "before", "production", "interval"),
                file,
            ),
            "",
            link.share(part(content, "before", "old_test", "macro_f1"), file),
            "",
            "",
        ]
    ]
    rows += [_remedy_row(one, source, link) for one in mappings(content.get("remedies"))]
    head = ["remedy", "macro-F1 on held-out production", "gain", "old test", "gain there"]
    head += ["verdict"]
    held_out = [count(part(content, "parts", "held_out", key)) for key in ("rows", "groups")]
    caption = (
        f"{part(content, 'production', 'name')}: measured on {held_out[0]} rows of "
        f"{held_out[1]} groups that nothing was trained on; 95 % paired intervals"
    )
    blocks: list[Block] = [Table(caption, head, rows), _recalls(source, link)]
    done = [f"{one.get('name')}: {one.get('words')}" for one in mappings(content.get("remedies"))]
    blocks.append(Findings([(text, False) for text in done]))
    if skipped := mappings(content.get("skipped")):
        said = "; ".join(f"{one.get('name')}: {one.get('reason')}" for one in skipped)
        blocks.append(Paragraph(f"Not tried: {said}.", "soft"))
    return blocks


def _recalls(source: JsonSource, link: Linker) -> Table:
    """Recall of each class before and after: where disgust went."""
    content = source.content
    classes = content.get("classes")
    names = [str(name) for name in classes] if isinstance(classes, list) else []
    tried = [("before", part(content, "before", "production", "recall"))]
    tried += [
        (str(one.get("name")), part(one, "production", "recall"))
        for one in mappings(content.get("remedies"))
    ]
    rows: list[Row] = [
        [name, *(link.share(part({"of": recall}, "of", each), source.file) for each in names)]
        for name, recall in tried
    ]
    return Table("Recall on held-out production", ["remedy", *names], rows)


def _remedy_row(remedy: Mapping[str, Any], source: JsonSource, link: Linker) -> Row:
    verdict = str(remedy.get("verdict", NONE))
    return [
        str(remedy.get("name") or remedy.get("words") or "?"),
        link.scored(
            part(remedy, "production", "macro_f1"),
            part(remedy, "production", "interval"),
            source.file,
        ),
        link.cell(_gain(part(remedy, "gain")), source.file),
        link.cell(share(part(remedy, "old_test", "macro_f1")), source.file),
        link.cell(_gain(part(remedy, "old_gain")), source.file),
        Cell(verdict, VERDICTS.get(verdict, "")),
    ]


def _gain(gain: Any) -> str:
    if not isinstance(gain, Mapping):
        return NONE
    interval = scored(None, [gain.get("low"), gain.get("high")]).removeprefix(NONE)
    return signed(gain.get("macro_f1")) + interval
