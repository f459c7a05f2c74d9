"""What a terminal shows of a prepared set: rows, counts, leaks, place, next command.

PURE: reads the manifest, and looks whether there is a page of the audit.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.ingest.dataset import PreparedDataset
from orchestrator.ingest.splits import SPLITS

AUDIT = "audit"
AUDIT_PAGE = "index.html"


def summary(dataset: PreparedDataset) -> str:
    """What a user needs to know of a prepared set: rows, counts, leaks, place, next command."""
    rows = dataset.manifest["rows"]
    size = "x".join(map(str, dataset.image_shape))
    page = dataset.root / AUDIT
    lines = [
        f"rows in {rows['listed']:,} = kept {rows['kept']:,} + quarantined "
        f"{rows['bad'] + rows['left_out']:,} (bad {rows['bad']:,}, left out {rows['left_out']:,})",
        "",
        *_counts_table(dataset),
        "",
        *_audit_table(dataset),
        "",
        f"data set     {dataset.name}, {dataset.num_rows:,} images of {size}",
        f"folder       {dataset.root}",
        f"fingerprint  {dataset.fingerprint}",
        *([f"audit        {page / AUDIT_PAGE}"] if page.size(AUDIT_PAGE) is not None else []),
        "",
        f"next: python -m orchestrator.ablate data.path={dataset.root}",
    ]
    return "\n".join(lines)


def _counts_table(dataset: PreparedDataset) -> list[str]:
    """Rows by protocol and split, a column a class."""
    head = ["protocol", "split", *dataset.classes, "total"]
    body = [
        [protocol, split, *map(_thousands, of_class.values()), _thousands(sum(of_class.values()))]
        for protocol, splits in dataset.counts.items()
        for split, of_class in ((split, splits[split]) for split in SPLITS)
    ]
    return _aligned([head, *body], num_words=2)


def _audit_table(dataset: PreparedDataset) -> list[str]:
    """What each protocol lets across, then copies and groups."""
    found = dataset.manifest["audit"]
    head = ["leaks of", "held-out rows", "pixels in train", "near copy in train", "group in train"]
    body = [
        [
            protocol,
            _thousands(leak["held_out_rows"]),
            *(
                f"{leak[name] / (leak['held_out_rows'] or 1):.2%}"
                for name in ("held_out_duplicates", "held_out_near", "held_out_same_group")
            ),
        ]
        for protocol, leak in found["leaks"].items()
    ]
    return [
        *_aligned([head, *body], num_words=1),
        "",
        f"byte-identical images: {found['duplicate_groups']:,} sets of them with "
        f"{found['duplicate_rows']:,} rows; {found['label_conflicts']:,} sets with several labels",
        f"near copies (at most {found['near_threshold']} of 64 bits apart): "
        f"{found['near_groups']:,} sets with {found['near_rows']:,} rows; "
        f"{found['near_label_conflicts']:,} sets with several labels, "
        f"{found['near_groups_across_groups']:,} with several groups",
        f"groups: {found['groups']:,} (a video or subject; an image without one and its exact "
        "copies)",
    ]


def _aligned(rows: Sequence[Sequence[str]], *, num_words: int) -> list[str]:
    """Lines up a table: so many columns of words, then numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < num_words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _thousands(number: int) -> str:
    return f"{number:,}"
