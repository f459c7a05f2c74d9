"""The audit of a finished set as files: `audit/` in its folder.

    audit.json              what the manifest says of copies and leaks, and the example pairs
    index.html              the same for people, with pictures; needs nothing beside it
    class_distribution-*    rows by class and split, a figure a protocol (the study's Figure 3)
    sheet-*.png             a contact sheet of each class

DRIVER. In memory: some 150 bytes a row, and the images that are shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.config.errors import DatasetError
from orchestrator.config.folder import Folder
from orchestrator.ingest import manifest as manifests
from orchestrator.ingest.audit import Audit, Copies, audit, find_copies
from orchestrator.ingest.dataset import PreparedDataset
from orchestrator.ingest.examples import Pair, example_pairs, example_rows
from orchestrator.ingest.manifest import SPLIT_COLUMN
from orchestrator.ingest.pixels import Fingerprints, Images, fingerprints, images_of
from orchestrator.ingest.splits import SPLITS
from orchestrator.results.audit_page import AuditPage, audit_page
from orchestrator.results.audit_pictures import Sample, Twins
from orchestrator.results.dataset_plots import class_distribution, contact_sheet
from orchestrator.results.dataset_tables import AUDIT, AUDIT_PAGE

NEAR_PAIRS = 12
EXACT_PAIRS = 6
IMAGES_OF_CLASS = 32
SHOWN_PX = 160

PROTOCOLS_BY_INTEREST = ("official", "random", "group")
"""Where a pair across splits says most: the release's own splits, then the study's."""


@dataclass(frozen=True, eq=False)
class _Rows:
    """The small columns of all rows."""

    sources: list[str]
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.str_]
    splits: dict[str, npt.NDArray[np.int8]]


def write_audit(dataset: PreparedDataset, found: Fingerprints | None) -> None:
    """Audits a set and leaves the files in its folder.

    Args:
        dataset: A checked set.
        found: The fingerprints of its images; None = compute them from the pixels.

    Raises:
        DatasetError: The manifest does not tell what the audit finds.
    """
    folder = dataset.root / AUDIT
    if folder.local is not None and folder.local.is_symlink():
        raise DatasetError(f"{folder}: must be no link, which may lead anywhere. Remove it.")
    found = found or fingerprints(dataset)
    rows = _rows(dataset)
    copies = find_copies(found.digests, found.looks)
    result = audit(copies, rows.labels, rows.groups, rows.splits, dataset.classes)
    _compare(dataset, result, found, rows)
    pairs = _pairs(found, copies, rows)
    content = {"audit": asdict(result), "pairs": [_pair_record(pair, rows) for pair in pairs]}
    folder.put_bytes("audit.json", (json.dumps(content, indent=2) + "\n").encode())
    figures = _figures(dataset, folder)
    sheets = _sheets(dataset, rows, folder)
    page = _page(dataset, result, _twins(dataset, copies, rows, pairs), figures, sheets)
    folder.put_bytes(AUDIT_PAGE, page.encode("utf-8", "backslashreplace"))


def _compare(dataset: PreparedDataset, result: Audit, found: Fingerprints, rows: _Rows) -> None:
    """Refuses a set whose manifest claims what is not so: it is what people are shown."""
    fingerprint = manifests.fingerprint(
        classes=dataset.classes,
        image_shape=dataset.image_shape,
        digests=[digest.ljust(32, b"\0") for digest in found.digests.tolist()],
        labels=rows.labels,
        groups=rows.groups.tolist(),
        splits=rows.splits,
    )
    if fingerprint != dataset.fingerprint or asdict(result) != dataset.manifest["audit"]:
        raise DatasetError(
            f"{dataset.root}: the manifest must say what the images and rows say; got another "
            "fingerprint or audit. Do not use this set: delete the folder and write it again."
        )


def _rows(dataset: PreparedDataset) -> _Rows:
    names = [SPLIT_COLUMN + protocol for protocol in dataset.protocols]
    table = dataset.read(["source", "label", "group", *names])
    return _Rows(
        sources=table["source"].to_pylist(),
        labels=table["label"].to_numpy().astype(np.int64),
        groups=np.asarray(table["group"].to_pylist(), dtype=np.str_),
        splits={
            protocol: _split_indices(table[SPLIT_COLUMN + protocol])
            for protocol in dataset.protocols
        },
    )


def _split_indices(column: pa.ChunkedArray) -> npt.NDArray[np.int8]:
    return pc.index_in(column, pa.array(SPLITS)).to_numpy().astype(np.int8)


def _pairs(found: Fingerprints, copies: Copies, rows: _Rows) -> list[Pair]:
    """Examples, near ones first: those with two labels, then those across splits."""
    known = [name for name in PROTOCOLS_BY_INTEREST if name in rows.splits]
    telling: list[npt.NDArray[np.integer]] = [rows.labels]
    telling += [rows.splits[name] for name in known]
    near = example_pairs(
        found.looks, copies.near, limit=NEAR_PAIRS, prefer=telling, apart=copies.exact
    )
    exact = example_pairs(found.looks, copies.exact, limit=EXACT_PAIRS, prefer=telling)
    return [*near, *exact]


def _pair_record(pair: Pair, rows: _Rows) -> dict[str, object]:
    return {
        "row_ids": [pair.first, pair.second],
        "sources": [rows.sources[pair.first], rows.sources[pair.second]],
        "labels": [int(rows.labels[pair.first]), int(rows.labels[pair.second])],
        "distance": pair.distance,
    }


def _twins(
    dataset: PreparedDataset, copies: Copies, rows: _Rows, pairs: Sequence[Pair]
) -> list[Twins]:
    """The pairs with their pixels, read in one go."""
    images = _small(
        images_of(dataset, [row for pair in pairs for row in (pair.first, pair.second)])
    )

    def sample(row: int, image: Images) -> Sample:
        splits = {protocol: SPLITS[of_row[row]] for protocol, of_row in rows.splits.items()}
        return Sample(image, rows.sources[row], dataset.classes[rows.labels[row]], splits)

    return [
        Twins(
            first=sample(pair.first, images[2 * at]),
            second=sample(pair.second, images[2 * at + 1]),
            exact=bool(copies.exact[pair.first] == copies.exact[pair.second]),
            distance=pair.distance,
        )
        for at, pair in enumerate(pairs)
    ]


def _figures(dataset: PreparedDataset, folder: Folder) -> dict[str, bytes]:
    """Draws the class distribution of each protocol; the figures as PNG."""
    figures = {}
    for protocol, counts in dataset.counts.items():

        def draw(path: Path, counts: Mapping[str, Mapping[str, int]] = counts) -> bytes:
            class_distribution(counts, dataset.classes, path)
            return path.read_bytes()

        figures[protocol] = folder.put(f"class_distribution-{protocol}.png", draw)
    return figures


def _sheets(dataset: PreparedDataset, rows: _Rows, folder: Folder) -> dict[str, Images]:
    """Draws a contact sheet of each class, from as many groups as can be; the images."""
    group_ids = np.unique(rows.groups, return_inverse=True)[1]
    chosen = example_rows(
        rows.labels, group_ids, num_classes=len(dataset.classes), limit=IMAGES_OF_CLASS
    )
    sheets = {}
    for at, (name, of_class) in enumerate(zip(dataset.classes, chosen, strict=True)):
        if not len(of_class):
            continue
        images = sheets[name] = _small(images_of(dataset, of_class.tolist()))
        captions = [rows.groups[row] for row in of_class]

        def draw(
            path: Path, images: Images = images, captions: list[str] = captions, name: str = name
        ) -> None:
            contact_sheet(images, captions, path, heading=f"{dataset.name}: {name}")

        folder.put(f"sheet-{at}-{_as_file_name(name)}.png", draw)
    return sheets


def _small(images_NHWC: Images) -> Images:
    """Thins large images out: a page is there to be looked at, and to stay a few megabytes."""
    step = -(-max(images_NHWC.shape[1:3]) // SHOWN_PX)
    return images_NHWC[:, ::step, ::step]


def _as_file_name(label: str) -> str:
    """A class is named by whoever made the set: it must not lead to another folder."""
    return re.sub(r"[^A-Za-z0-9]+", "-", label)[:40]


def _page(
    dataset: PreparedDataset,
    result: Audit,
    twins: Sequence[Twins],
    figures: Mapping[str, bytes],
    sheets: Mapping[str, Images],
) -> str:
    source = dataset.manifest["source"]
    return audit_page(
        AuditPage(
            name=dataset.name,
            source=f"{source['adapter']} {source['name']}".strip(),
            fingerprint=dataset.fingerprint,
            image_shape=dataset.image_shape,
            rows=dataset.manifest["rows"],
            classes=dataset.classes,
            counts=dataset.counts,
            audit=result,
            pairs=twins,
            distributions=figures,
            sheets=sheets,
        )
    )
