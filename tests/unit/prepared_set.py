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
from orchestrator.ingest.slices import Stretch, finish
from orchestrator.ingest.splits import SPLITS, group_split, random_split, split_sizes

CLASSES = ("anger", "fear", "happiness")


def write_set(
    root: Path, *, rows: int = 60, image_px: int = 8, rows_per_file: int = 25, splits=None
) -> Path:
    """Rows of random pixels: class = row % 3, a video = 6 rows; `splits` replaces the protocols."""
    root.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (rows, image_px, image_px, 3), np.uint8)
    images.tofile(root / "pixels.rgb")
    labels = np.arange(rows) % len(CLASSES)
    groups = [f"video{row // 6:03d}" for row in range(rows)]
    sources = [f"{row}.png" for row in range(rows)]
    if splits is None:
        fractions = (0.6, 0.2, 0.2)
        splits = {
            "group": group_split(labels, groups, fractions, 0),
            "random": random_split(sources, split_sizes(rows, fractions), 0),
        }
    table = pa.table(
        {
            "label": pa.array(labels, pa.int8()),
            "row_id": pa.array(np.arange(rows), pa.int64()),
            "group": groups,
            "frame": pa.array(np.arange(rows) % 6, pa.int32()),
            "source": sources,
            **{f"split_{name}": np.array(SPLITS)[of_row] for name, of_row in splits.items()},
        }
    )
    schema = manifests.schema((image_px, image_px, 3), tuple(splits))
    files = [
        finish(
            folder(root),
            [Stretch("pixels.rgb", start, min(rows, start + rows_per_file))],
            table.slice(start, rows_per_file),
            schema,
            folder(root),
            f"part-{part:05d}.parquet",
        )
        for part, start in enumerate(range(0, rows, rows_per_file))
    ]
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
        source=Source(adapter="test", name="", options={}),
        settings={},
        audit=AuditCounts.model_validate(asdict(found)),
        written_by="a test",
    )
    (root / "pixels.rgb").unlink()
    (root / FILE_NAME).write_text(json.dumps(manifest.model_dump(mode="json")))
    return root


def rewrite_manifest(root: Path, change) -> None:
    """Changes the manifest of a set: `change` gets it as a dict."""
    content = json.loads((root / FILE_NAME).read_text())
    change(content)
    (root / FILE_NAME).write_text(json.dumps(content))
