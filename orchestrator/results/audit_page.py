"""The audit of a data set as a web page: what it is, what leaks, and pictures of the evidence.

PURE: plain data in, one HTML file out, as a string. All text in the data is untrusted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from orchestrator.ingest.audit import Audit, Leak
from orchestrator.ingest.splits import SPLITS
from orchestrator.results.audit_pictures import Twins, sheet, twin_cards
from orchestrator.results.html_page import Cell, Row, page, picture, table, words

MOSTLY_ONE: Final = 0.5  # of a class in one video or subject: worth a warning


@dataclass(frozen=True, eq=False)
class AuditPage:
    """All that the page shows.

    Attributes:
        name: The set's name.
        source: Where it came from.
        fingerprint: Digest of the set.
        image_shape: Height, width, channels.
        rows: Rows `listed`, `kept`, `bad` and `left_out`.
        classes: Class names in the order of their index.
        counts: Rows by protocol, split and class.
        audit: What was found.
        pairs: Examples of copies, the telling ones first.
        distributions: For each protocol a figure of the counts, as PNG.
        sheets: For each class some of its images, uint8, shape (N, H, W, 3).
    """

    name: str
    source: str
    fingerprint: str
    image_shape: tuple[int, int, int]
    rows: Mapping[str, int]
    classes: Sequence[str]
    counts: Mapping[str, Mapping[str, Mapping[str, int]]]
    audit: Audit
    pairs: Sequence[Twins]
    distributions: Mapping[str, bytes]
    sheets: Mapping[str, npt.NDArray[np.uint8]]


def audit_page(content: AuditPage) -> str:
    """Writes the page; the same content gives the same text."""
    sections = [
        _head(content),
        _verdicts(content.audit),
        _leaks(content.audit),
        _copies(content.audit),
        _pairs(content),
        _classes(content),
        _sheets(content),
    ]
    return page(f"Audit of {content.name}", "\n".join(sections))


def _head(content: AuditPage) -> str:
    rows = content.rows
    size = " x ".join(str(side) for side in content.image_shape[:2])
    return (
        f"<h1>Audit of {words(content.name)}</h1>\n"
        f'<p class="soft">{rows["kept"]:,} images of {size} pixels in {len(content.classes)} '
        f"classes and {content.audit.groups:,} groups (a group is a video or a subject; an image "
        "without one is a group with its exact copies).</p>\n"
        f'<p class="soft">Rows listed {rows["listed"]:,} = kept {rows["kept"]:,} + '
        f"unreadable {rows['bad']:,} + left out {rows['left_out']:,}. "
        f"Source: {words(content.source)}. Fingerprint: {words(content.fingerprint[:16])}.</p>"
    )


def _verdicts(audit: Audit) -> str:
    """What the tables mean, a sentence a protocol."""
    lines = [_verdict(protocol, leak) for protocol, leak in audit.leaks.items()]
    conflicts = audit.label_conflicts
    lines.append(
        _line(
            f"Sets of identical images with several labels: {conflicts:,}.",
            warns=conflicts > 0,
        )
    )
    return f'<h2>In short</h2>\n<ul class="verdicts">\n{"".join(lines)}</ul>'


def _verdict(protocol: str, leak: Leak) -> str:
    name = f"<strong>Protocol {words(protocol)}</strong>"
    total = leak.held_out_rows
    if not total:
        return _line(f"{name}: no image is held out, so nothing can be measured.", warns=True)
    # Where images have no video, exact copies make the groups: that is not said twice.
    by_group = leak.held_out_same_group > leak.held_out_duplicates
    found = [
        f"{_percent(count, total)} {rest}"
        for count, rest in (
            (leak.held_out_duplicates, "have an exact copy in train"),
            (leak.held_out_near, "have a copy in train, exact or near"),
            (by_group and leak.held_out_same_group, "share their video or subject with train"),
        )
        if count
    ]
    if not found:
        return _line(f"{name}: no held-out image has a copy or its video in train.", warns=False)
    return _line(f"{name}: of the {total:,} held-out images, {'; '.join(found)}.", warns=True)


def _line(markup: str, *, warns: bool) -> str:
    return f'<li class="{"warns" if warns else "holds"}">{markup}</li>\n'


def _leaks(audit: Audit) -> str:
    head = ["protocol", "held-out images", "exact copy in train", "any copy in train"]
    head += ["group in train", "exact across splits", "near across splits", "groups across splits"]
    rows: list[Row] = [
        [
            protocol,
            f"{leak.held_out_rows:,}",
            _leaked(leak.held_out_duplicates, leak.held_out_rows),
            _leaked(leak.held_out_near, leak.held_out_rows),
            _leaked(leak.held_out_same_group, leak.held_out_rows),
            f"{leak.duplicate_groups_across:,}",
            f"{leak.near_groups_across:,}",
            f"{leak.groups_across:,}",
        ]
        for protocol, leak in audit.leaks.items()
    ]
    return (
        "<h2>Leaks</h2>\n<p>A held-out image that also lies in the training split, as a copy or "
        "as another frame of one video, measures memory, not recognition. Held out are "
        "validation and test.</p>\n"
        + table("Held-out images with a counterpart in train, and sets split apart", head, rows)
    )


def _copies(audit: Audit) -> str:
    head = ["kind", "groups of copies", "images in them", "with several labels"]
    head.append("over several videos or subjects")
    rows: list[Row] = [
        [
            "exact (the same pixels)",
            f"{audit.duplicate_groups:,}",
            f"{audit.duplicate_rows:,}",
            _count(audit.label_conflicts),
            "–",
        ],
        [
            f"near (at most {audit.near_threshold} of 64 bits differ), exact ones included",
            f"{audit.near_groups:,}",
            f"{audit.near_rows:,}",
            _count(audit.near_label_conflicts),
            f"{audit.near_groups_across_groups:,}",
        ],
    ]
    return (
        "<h2>Copies</h2>\n<p>Near copies look alike by a perceptual hash. They are gathered by "
        "chains: if A is near B and B near C, all three are one group. Neighbouring frames of a "
        "video are near copies as a rule; that is no fault.</p>\n"
        + table("Groups of copies", head, rows)
    )


def _pairs(content: AuditPage) -> str:
    torn = [pair for pair in content.pairs if pair.first.label != pair.second.label]
    other = [pair for pair in content.pairs if pair.first.label == pair.second.label]
    return "\n".join(
        [
            "<h2>Label conflicts</h2>",
            twin_cards(torn)
            if torn
            else '<p class="soft">No example of copies with two labels.</p>',
            "<h2>Examples of copies</h2>",
            twin_cards(other)
            if other
            else '<p class="soft">No example of copies with one label.</p>',
        ]
    )


def _classes(content: AuditPage) -> str:
    """Counts of each protocol as a table and a figure, then how classes spread over groups."""
    parts = ["<h2>Classes</h2>"]
    for protocol, of_split in content.counts.items():
        rows = [
            [name, *(f"{of_split[split][name]:,}" for split in SPLITS)] for name in content.classes
        ]
        rows.append(["all", *(f"{sum(of_split[split].values()):,}" for split in SPLITS)])
        parts.append(f"<h3>Protocol {words(protocol)}</h3>")
        parts.append(table(f"Images by class, protocol {protocol}", ["class", *SPLITS], rows))
        if protocol in content.distributions:
            alt = f"Bars: images of each class in each split, protocol {protocol}, as in the table"
            figure = picture(content.distributions[protocol], alt)
            parts.append(f'<div class="paper">{figure}</div>')
    parts.append("<h3>Spread over videos or subjects</h3>")
    parts.append(_spread(content.audit))
    return "\n".join(parts)


def _spread(audit: Audit) -> str:
    rows: list[Row] = [
        [
            name,
            f"{balance.rows:,}",
            f"{balance.groups:,}",
            _share(
                balance.largest_group_rows,
                balance.rows,
                warns=balance.largest_group_rows > MOSTLY_ONE * balance.rows,
            ),
        ]
        for name, balance in audit.classes.items()
    ]
    head = ["class", "images", "groups with it", "in the largest of them"]
    return table("Groups that hold each class, and the largest one's share", head, rows)


def _sheets(content: AuditPage) -> str:
    sheets = [sheet(name, images) for name, images in content.sheets.items() if len(images)]
    return "\n".join(["<h2>Some images of each class</h2>", *sheets])


def _leaked(count: int, total: int) -> Cell:
    return _share(count, total, warns=count > 0)


def _share(count: int, total: int, *, warns: bool) -> Cell:
    """A count with its share of the total."""
    text = f"{count:,} ({_percent(count, total)})" if total else "–"
    return Cell(text, "bad" if warns else "")


def _count(count: int) -> Cell:
    return Cell(f"{count:,}", "bad" if count else "")


def _percent(count: int, total: int) -> str:
    share = 100 * count / total
    return f"{share:.1f} %" if share >= 0.1 or not count else "less than 0.1 %"
