"""Question: how many faces a second does the embedded data set draw? 1,000 are wanted.

One process, and one for each core. Usage: python -m benchmarks.bench_synthetic [IMAGES]
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import datasets
from benchmarks.machine import describe

REPEATS = 3


def draw(part: int, parts: int, num_images: int) -> int:
    """Draw one part of the faces and count them."""
    adapter = datasets.adapter("synthetic")
    options = datasets.options(adapter, {})
    faces = list(itertools.islice(adapter.faces(Path(), options), num_images))
    own = faces[len(faces) * part // parts : len(faces) * (part + 1) // parts]
    return sum(1 for _ in adapter.read(Path(), own, options))


def measure(parts: int, num_images: int) -> float:
    """Images per second of `parts` processes, the start of processes not counted."""
    with ProcessPoolExecutor(parts) as pool:
        list(pool.map(draw, range(parts), [parts] * parts, [parts] * parts))  # imports
        start = time.perf_counter()
        drawn = sum(pool.map(draw, range(parts), [parts] * parts, [num_images] * parts))
        return drawn / (time.perf_counter() - start)


def main(num_images: int = 3000) -> None:
    """Measures and prints the table."""
    cores = len(os.sched_getaffinity(0))
    print(describe(), "\n")
    print("| processes | images/s, median | min | max |\n|---|---|---|---|")
    for parts in (1, cores):
        rates = [measure(parts, num_images) for _ in range(REPEATS)]
        print(
            f"| {parts} | {statistics.median(rates):,.0f} | {min(rates):,.0f} | {max(rates):,.0f} |"
        )


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
