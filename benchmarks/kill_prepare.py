"""Question: does `prepare`, killed at any moment and run again, lose nothing and repeat little?

A small drawn set is prepared once undisturbed. Then, for each point, a fresh run is killed
(SIGKILL) a moment after it has vouched for some number of files, both drawn from seeded uniform
distributions, and run again to its end. Each line says what was there when it was killed, how many
of the files vouched for were written again, and whether the result is the same.

The driver is killed; its Ray, which all points share, ends its tasks.
Usage: python -m benchmarks.kill_prepare [POINTS] [SEED]
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from orchestrator.cluster import connect
from orchestrator.ingest.dataset import open_dataset

ROOT = Path(__file__).resolve().parent.parent
DRAWN = ["options.subjects=30", "options.size_px=48", "image_px=48", "rows_per_file=100"]
LATER_S = 0.5
"""The moment is drawn from so long after the receipt that is waited for."""
LOOK_S = 0.002


@dataclass(frozen=True)
class _Point:
    """What became of one killed run.

    Attributes:
        waited_for: files that were vouched for when the clock of `later_s` began.
        later_s: seconds from then to SIGKILL.
        vouched: files of images that had a receipt by then.
        repeated: of these, how many the second run wrote again.
        finished: whether the first run had finished before.
        equal: whether the set is that of an undisturbed run.
    """

    waited_for: int
    later_s: float
    vouched: int
    repeated: int
    finished: bool
    equal: bool


def main(num_points: int = 25, seed: int = 0) -> int:
    """Tries the points and prints the table; 1 if any lost or repeated something."""
    folder = Path(tempfile.mkdtemp(prefix="kill-prepare-"))
    with connect("local", dashboard=False) as cluster:
        words = [sys.executable, "-m", "orchestrator.prepare", *DRAWN]
        words.append(f"address={cluster.address}")
        _run(words, folder / "whole")
        whole = open_dataset(folder / "whole")
        print(f"{describe()}\n{whole.num_rows:,} images in {len(whole.files)} files\n")
        print(
            "| files waited for | killed later s | files then | written again | finished | equal |"
        )
        print("|---|---|---|---|---|---|")
        draws = np.random.default_rng(seed)
        points = []
        for number in range(num_points):
            moment = (int(draws.integers(len(whole.files))), float(draws.uniform(0, LATER_S)))
            out = folder / f"killed-{number}"
            points.append(_kill(words, out, *moment, wanted=whole.fingerprint))
            print("|", " | ".join(_cells(points[-1])), "|", flush=True)
    bad = sum(not point.equal or point.repeated > 0 for point in points)
    print(f"\n{num_points} points, {bad} with another result or with finished work done twice")
    return 1 if bad else 0


def _run(words: list[str], out: Path) -> None:
    subprocess.run([*words, f"out={out}"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def _kill(words: list[str], out: Path, waited_for: int, later_s: float, *, wanted: str) -> _Point:
    run = subprocess.Popen(
        [*words, f"out={out}"], cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True
    )
    while run.poll() is None and len(_vouched(out)) < waited_for:
        time.sleep(LOOK_S)
    time.sleep(later_s)  # the moment itself is what is tried
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    finished = (out / "manifest.json").exists()
    time.sleep(1.0)  # Ray ends the tasks of a driver that is gone
    vouched = _vouched(out)
    before = _written(out)
    _run(words, out)
    after = _written(out)
    repeated = sum(before[name] != after.get(name) for name in vouched)
    equal = open_dataset(out).fingerprint == wanted
    return _Point(waited_for, later_s, len(vouched), repeated, finished, equal)


def _vouched(out: Path) -> list[str]:
    """Names of the files of images that have a receipt."""
    receipts = out.glob(".partial/slice-*.json")
    return [f"part-{receipt.name.split('-')[1]}.parquet" for receipt in receipts]


def _written(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}


def _cells(point: _Point) -> tuple[str, ...]:
    yes = {True: "yes", False: "no"}
    return (
        str(point.waited_for),
        f"{point.later_s:.3f}",
        str(point.vouched),
        str(point.repeated),
        yes[point.finished],
        yes[point.equal],
    )


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
