"""Question: does `prepare` keep up with a hand-written pool, and does its memory stay bounded?

Drawn faces are written as JPEG files first (112 px, as Aff-Wild2's crops). Then, in one run:

    ours  `python -m orchestrator.prepare`, start of Ray's processes not counted and given beside it
    pool  multiprocessing with Pillow, a process a core: read, decode, resize to 96 px, sha256,
          perceptual hash, and the same Parquet (raw bytes); no split, no audit, no resume

Memory is the sum over all processes of the command of what is theirs alone or shared between
them (Pss of anonymous and shared memory: pages of files, which the system can drop, left out).
Both are run in turns; the first alternates.
Usage: python -m benchmarks.bench_prepare [IMAGES [FOLDER [ROUNDS]]]
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

import datasets
from benchmarks.machine import describe
from orchestrator.ingest.perceptual_hash import perceptual_hashes

ROOT = Path(__file__).resolve().parent.parent
SOURCE_PX = 112
PX = 96
FRAMES = 25  # of a drawn video
ROWS_PER_FILE = 4096


def main(num_images: int = 200_000, where: str = "", rounds: int = 3) -> None:
    """Writes the images, measures both in turns, prints the table."""
    folder = Path(where or tempfile.mkdtemp(prefix="bench-prepare-"))
    source = folder / "faces"
    seconds = draw_all(source, num_images)
    print(f"{num_images:,} JPEG files of {SOURCE_PX} px there after {seconds:.0f} s", flush=True)
    print("| round | what | images/s | s | peak memory GiB |\n|---|---|---|---|---|")
    ratios = []
    for number in range(1, rounds + 1):
        turns = [ours, pool] if number % 2 else [pool, ours]
        seconds_of = {turn: turn(folder, num_images, number) for turn in turns}
        ratios.append(seconds_of[pool] / seconds_of[ours])
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"\n{describe()}")
    print(f"ratio of images/s, ours / pool: {median(ratios):.2f}, median of {each}")


def ours(folder: Path, num_images: int, number: int) -> float:
    """Our command; its seconds but for the start of Ray's processes."""
    out = folder / "prepared"
    shutil.rmtree(out, ignore_errors=True)
    words = ["dataset=folder", f"source={folder / 'faces'}", f"out={out}", "address=local"]
    words += [r"options.group_pattern=/(subject-\d+)-", r"options.frame_pattern=-(\d+)\.jpg"]
    whole, gib, said = measured(["-m", "orchestrator.prepare", *words])
    work = float(re.search(r"\(([\d.]+) s, start of Ray and its workers not counted\)", said)[1])
    row(number, "ours, all but the start of Ray's processes", num_images, work, "")
    row(number, "ours, the whole command, audit page and plots", num_images, whole, f"{gib:.2f}")
    return work


def pool(folder: Path, num_images: int, number: int) -> float:
    """The hand-written pool; the seconds of the whole command."""
    out = folder / "pool"
    shutil.rmtree(out, ignore_errors=True)
    words = ["-m", "benchmarks.bench_prepare", "pool", str(folder / "faces"), str(out)]
    seconds, gib, _ = measured(words)
    row(number, "pool, the whole command", num_images, seconds, f"{gib:.2f}")
    return seconds


def row(number: int, what: str, num_images: int, seconds: float, gib: str) -> None:
    """Prints a line of the table."""
    rate = f"{num_images / seconds:,.0f}"
    print(f"| {number} | {what} | {rate} | {seconds:.1f} | {gib} |", flush=True)


def draw_all(source: Path, num_images: int) -> float:
    """Draws the faces into class folders, a process a core; seconds that it took."""
    start = time.monotonic()
    adapter = datasets.adapter("synthetic")
    videos = -(-num_images // FRAMES)
    options = adapter.Options(
        subjects=-(-videos // 10), videos_per_subject=10, frames_per_video=FRAMES, size_px=SOURCE_PX
    )
    for emotion in datasets.EMOTIONS:
        (source / emotion).mkdir(parents=True, exist_ok=True)
    faces = list(adapter.faces(Path(), options))[:num_images]
    chunks = [(source, faces[at : at + 500], options) for at in range(0, len(faces), 500)]
    with multiprocessing.Pool() as pool:
        for _ in pool.imap_unordered(draw, chunks):
            pass
    return time.monotonic() - start


def draw(chunk: tuple[Path, Sequence[datasets.Face], object]) -> None:
    """Draws some faces to files; those that are there stay."""
    source, faces, options = chunk
    paths = [
        source / face.label / f"{face.group.replace('/', '')}-{face.frame:05d}.jpg"
        for face in faces
    ]
    if all(path.exists() for path in paths):
        return
    for path, pixels in zip(
        paths, datasets.adapter("synthetic").read(Path(), faces, options), strict=True
    ):
        Image.fromarray(pixels).save(path, quality=90)


def measured(words: Sequence[str]) -> tuple[float, float, str]:
    """Runs a Python command; its wall seconds, peak memory in GiB, and what it printed."""
    start = time.monotonic()
    command = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Else Ray's workers give way to whatever else the machine does, and the pool's do not.
        env={**os.environ, "RAY_worker_niceness": "0"},
    )
    peak = Peak(command.pid)
    said = command.communicate()[0]
    seconds = time.monotonic() - start
    if command.returncode:
        raise SystemExit(f"it ended with status {command.returncode}:\n{said}")
    return seconds, peak.stop(), said


class Peak(threading.Thread):
    """Watches the memory of a process and all its descendants; each look costs them time."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._bytes, self._ended = pid, 0, threading.Event()
        self.start()

    def run(self) -> None:
        """Keeps the greatest sum seen."""
        while not self._ended.wait(3.0):
            self._bytes = max(self._bytes, sum(map(memory, descendants(self._pid))))

    def stop(self) -> float:
        """Ends watching; the peak in GiB."""
        self._ended.set()
        self.join()
        return self._bytes / 2**30


def descendants(pid: int) -> list[int]:
    """A process and all that it started, directly or not."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found


def memory(pid: int) -> int:
    """Bytes of anonymous and shared memory of a process, its share of what is shared."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return 1024 * sum(
        int(line.split()[1])
        for line in text.splitlines()
        if line.startswith(("Pss_Anon", "Pss_Shmem"))
    )


def pool_prepare(source: Path, out: Path) -> None:
    """The hand-written way."""
    out.mkdir(parents=True)
    paths = sorted(path for folder in sorted(source.iterdir()) for path in folder.iterdir())
    chunks = [
        (out / f"part-{n:05d}.parquet", paths[at : at + ROWS_PER_FILE])
        for n, at in enumerate(range(0, len(paths), ROWS_PER_FILE))
    ]
    with multiprocessing.Pool() as pool:
        for _ in pool.imap_unordered(pool_chunk, chunks):
            pass


def pool_chunk(chunk: tuple[Path, Sequence[Path]]) -> None:
    """Decodes some files and writes them as one Parquet file."""
    target, paths = chunk
    images = np.empty((len(paths), PX, PX, 3), np.uint8)
    for index, path in enumerate(paths):
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            images[index] = image.convert("RGB").resize((PX, PX), Image.Resampling.BILINEAR)
    table = pa.table(
        {
            "image": pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(PX * PX * 3), len(images), [None, pa.py_buffer(images)]
            ),
            "label": [path.parent.name for path in paths],
            "source": [path.name for path in paths],
            "digest": [hashlib.sha256(image).digest() for image in images],
            "look": perceptual_hashes(images),
        }
    )
    temporary = target.with_suffix(f".{os.getpid()}")
    pq.write_table(table, temporary, compression="none", row_group_size=600)
    with temporary.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    temporary.replace(target)


if __name__ == "__main__":
    if sys.argv[1:2] == ["pool"]:
        pool_prepare(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main(*map(int, sys.argv[1:2]), *sys.argv[2:3], *map(int, sys.argv[3:4]))
