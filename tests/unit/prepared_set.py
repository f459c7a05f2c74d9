"""Writes a small prepared data set without Ray, for tests of what reads one."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa

from orchestrator.config.folder import folder
from orchestrator.ingest import manifest as manifests
from orchestrator.ingest.audit import audit, find_copies
from orchestrator.ingest.manifest import FILE_NAME, AuditCounts, Manifest, Rows, Source
from orchestrator.ingest.perceptual_hash import perceptual_hashes
from orchestrator.ingest.slices import write_parquet, write_part
from orchestrator.ingest.splits import SPLITS, group_split, random_split, split_sizes

CLASSES = ("anger", "fear", "happiness")


def write_set(
    root: Path,
    *,
    rows: int = 60,
    image_px: int = 8,
    rows_per_file: int = 25,
    splits=None,
    change=None,
) -> Path:
    """Rows of random pixels: class = row % 3, a video = 6 rows.

    `splits` replaces the protocols; `change` gets the images and may alter them.
    """
    root.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (rows, image_px, image_px, 3), np.uint8)
    if change:
        change(images)
    labels = np.arange(rows) % len(CLASSES)
    groups = [f"video{row // 6:03d}" for row in range(rows)]
    sources = [f"{row}.png" for row in range(rows)]
    if splits is None:
        fractions = (0.6, 0.2, 0.2)
        splits = {
            "group": group_split(labels, groups, fractions, 0),
            "random": random_split(sources, split_sizes(rows, fractions), 0),
        }
    columns = pa.table(
        {
            # Every fifth row of the listing was left out, so that row_id and place differ.
            "listed": pa.array(np.arange(rows) * 5 // 4, pa.int64()),
            "label": pa.array(labels, pa.int8()),
            "group": groups,
            "frame": pa.array(np.arange(rows) % 6, pa.int32()),
            "source": sources,
        }
    )
    out = folder(root)
    files = [
        write_part(
            out,
            f"part-{part:05d}.parquet",
            images[start : start + rows_per_file],
            columns.slice(start, rows_per_file),
        )
        for part, start in enumerate(range(0, rows, rows_per_file))
    ]
    index = columns.add_column(0, "row_id", pa.array(np.arange(rows), pa.int64()))
    for name, of_row in splits.items():
        index = index.append_column(f"split_{name}", pa.array(np.array(SPLITS)[of_row]))
    index = index.cast(manifests.index_schema(tuple(splits)))
    index_file = write_parquet(index, out, manifests.INDEX, row_group_size=1000)
    digests = [hashlib.sha256(image).digest() for image in images]
    copies = find_copies(np.array(digests), perceptual_hashes(images))
    found = audit(copies, labels, np.array(groups), splits, CLASSES)
    manifest = Manifest(
        version=2,
        name=root.name,
        fingerprint=manifests.fingerprint(
            classes=CLASSES,
            image_shape=images.shape[1:],
            digests=digests,
            labels=labels,
            groups=groups,
            splits=splits,
        ),
        plan="0" * 64,
        classes=list(CLASSES),
        image_shape=list(images.shape[1:]),
        rows=Rows(listed=rows, kept=rows, bad=0, left_out=0),
        counts=manifests.count(labels, splits, CLASSES),
        files=files,
        index=index_file,
        source=Source(adapter="test", name="", options={}),
        settings={},
        audit=AuditCounts.model_validate(asdict(found)),
        written_by="a test",
    )
    (root / FILE_NAME).write_text(json.dumps(manifest.model_dump(mode="json")))
    return root


def rewrite_manifest(root: Path, change) -> None:
    """Changes the manifest of a set: `change` gets it as a dict."""
    content = json.loads((root / FILE_NAME).read_text())
    change(content)
    (root / FILE_NAME).write_text(json.dumps(content))
