"""Question: what does the data stage put into quarantine, refuse, and find? No Ray is needed.

    quarantine  one row of each fault among 200 good pictures: what became of it, and why
    refusals    a prepared set changed in one way at a time: what opening it says
    search      near copies among 25,000 to 200,000 hashes: seconds, and growth as they double
    audit       copies in a set that is named, as `prepare` wrote it (FER2013 is a known case)

Usage: python -m benchmarks.bench_audit [PREPARED_SET]
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.machine import describe
from orchestrator.config.errors import DatasetError
from orchestrator.config.folder import folder
from orchestrator.ingest import listing
from orchestrator.ingest.audit import find_copies
from orchestrator.ingest.dataset import open_dataset
from orchestrator.ingest.near_duplicates import near_groups
from orchestrator.ingest.pixels import fingerprints
from orchestrator.ingest.slices import SUMMARY, stage, staged

GOOD = 200
PX = 96


def main(prepared: str = "") -> None:
    """Runs all parts and prints their tables."""
    scratch = Path(tempfile.mkdtemp(prefix="bench-audit-"))
    print(f"{describe()}\n")
    quarantine(scratch / "faces", scratch / "staged")
    refusals(scratch / "set")
    search()
    if prepared:
        audit(prepared)


def quarantine(source: Path, out: Path) -> None:
    """Stages a table of good and bad rows and prints what became of the bad ones."""
    rows = write_faces(source)
    recipe = listing.recipe(
        adapter="table",
        source=str(source),
        options={},
        classes=("fear", "anger"),
        drop=("neutral",),
        every=1,
        image_px=PX,
        max_pixels=4_000_000,
    )
    (piece,) = listing.slices(recipe, rows=100_000)
    stage(recipe, piece, folder(out), folder(out))
    found = pq.read_table(out / staged(piece).summary, schema=SUMMARY).to_pylist()
    kept = sum(row["kind"] == "kept" for row in found)
    print(f"quarantine: {rows} rows in = {kept} kept + {rows - kept} quarantined\n")
    print("| row | what became of it | reason |\n|---|---|---|")
    for row in found:
        if row["kind"] != "kept":
            print(f"| {row['source']} | {row['kind']} | {row['reason']} |")


def write_faces(source: Path) -> int:
    """Writes the pictures and their table; the number of rows."""
    source.mkdir(parents=True)
    random = np.random.default_rng(0)
    lines = []
    for number in range(GOOD):
        pixels = random.integers(0, 256, (112, 112, 3), np.uint8)
        Image.fromarray(pixels).save(source / f"good{number:03d}.jpg")
        lines.append(f"good{number:03d}.jpg,{'fear' if number % 2 else 'anger'}")
    whole = (source / "good000.jpg").read_bytes()
    (source / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (source / "empty.jpg").write_bytes(b"")
    (source / "text.jpg").write_text("no picture")
    (source / "bomb.png").write_bytes(png_header(50_000, 50_000))
    Image.new("RGB", (900, 20)).save(source / "stripe.png")
    Image.new("F", (64, 64)).save(source / "float.tif")
    (source / "out.jpg").symlink_to("/etc/hostname")
    (source / "folder.jpg").mkdir()
    (source / "two\nlines.jpg").write_bytes(whole)
    (source / "neutral.jpg").write_bytes(whole)
    names = ["truncated.jpg", "empty.jpg", "text.jpg", "bomb.png", "stripe.png", "float.tif"]
    names += ["out.jpg", "folder.jpg", '"two\nlines.jpg"', "gone.jpg", "../up.jpg", "good001.jpg"]
    lines += [f"{name},fear" for name in names]
    lines += ["neutral.jpg,neutral", "good002.jpg", ",fear", "good004.jpg,"]
    (source / "labels.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    return len(lines)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


def refusals(root: Path) -> None:
    """Changes a set in one way at a time and prints what opening it says."""
    from tests.unit.prepared_set import rewrite_manifest, write_set

    part = "part-00000.parquet"

    def replaced(change: Callable[[pa.Table], pa.Table], **options: object) -> None:
        path = root / part
        pq.write_table(change(pq.read_table(path)), path, **options)
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        rewrite_manifest(root, lambda m: m["files"][0].update(bytes=len(content), sha256=sha256))

    def flipped() -> None:
        content = bytearray((root / part).read_bytes())
        content[200] ^= 1
        (root / part).write_bytes(content)

    def pickled(table: pa.Table) -> pa.Table:
        return table.append_column("object", pa.array([b"\x80\x04."] * table.num_rows))

    def relabelled(table: pa.Table) -> pa.Table:
        return table.set_column(2, "label", pa.array([1] * table.num_rows, pa.int8()))

    plain = {"store_schema": False}
    ways: dict[str, Callable[[], object]] = {
        "truncated file": lambda: os.truncate(root / part, 1000),
        "one bit changed": flipped,
        "missing file": lambda: (root / part).unlink(),
        "embedded Arrow schema (extension types)": lambda: replaced(lambda table: table),
        "additional column of pickles": lambda: replaced(pickled, **plain),
        "column missing": lambda: replaced(lambda t: t.drop_columns(["frame"]), **plain),
        "row missing": lambda: replaced(lambda t: t.slice(1), **plain),
        "labels other than the index's": lambda: replaced(relabelled, **plain),
        "manifest: other counts": lambda: rewrite_manifest(root, lambda m: m["rows"].update(bad=1)),
        "manifest: path in a name": lambda: rewrite_manifest(
            root, lambda m: m["files"][0].update(name="../x.parquet")
        ),
        "manifest: images of 10^9 pixels a side": lambda: rewrite_manifest(
            root, lambda m: m.update(image_shape=[10**9, 10**9, 3])
        ),
        "manifest: no JSON": lambda: (root / "manifest.json").write_text("{"),
    }
    print("\nrefusals\n\n| change | said |\n|---|---|")
    for name, change in ways.items():
        for path in root.glob("*") if root.exists() else ():
            path.unlink()
        write_set(root)
        change()
        print(f"| {name} | {said_by_opening(root)} |")


def said_by_opening(root: Path) -> str:
    """The message, or that there was none."""
    try:
        open_dataset(root)
    except DatasetError as error:
        return str(error).replace(str(root), "SET").partition(" Delete the folder")[0]
    return "**opened**"


def search() -> None:
    """Times the search for near copies as the number of hashes doubles."""
    random = np.random.default_rng(0)
    print(
        "\nsearch, half random hashes, half in clusters\n\n| hashes | s | growth |\n|---|---|---|"
    )
    before = 0.0
    for count in (25_000, 50_000, 100_000, 200_000):
        alone = random.integers(1, 2**63, count // 2, dtype=np.uint64)
        centres = np.repeat(random.integers(1, 2**63, count // 20, dtype=np.uint64), 10)
        flips = np.uint64(1) << random.integers(0, 64, len(centres), dtype=np.uint64)
        hashes = np.concatenate([alone, centres ^ flips])
        start = time.process_time()
        near_groups(hashes)
        seconds = time.process_time() - start
        print(f"| {count:,} | {seconds:.2f} | {f'{seconds / before:.1f}' if before else ''} |")
        before = seconds


def audit(prepared: str) -> None:
    """Copies and leaks of a set, found again from its pixels."""
    dataset = open_dataset(prepared)
    start = time.process_time()
    found = fingerprints(dataset)
    hashed = time.process_time() - start
    copies = find_copies(found.digests, found.looks)
    exact, near = np.bincount(copies.exact), np.bincount(copies.near)
    print(f"\naudit of {dataset.name}, {dataset.num_rows:,} rows")
    print(f"fingerprints {dataset.num_rows / hashed:,.0f} images/s of one core")
    print(f"identical {(exact > 1).sum():,} sets, {exact[exact > 1].sum():,} rows")
    print(f"near {(near > 1).sum():,} sets, {near[near > 1].sum():,} rows")
    print(json.dumps(dataset.manifest["audit"]["leaks"], indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:2])
