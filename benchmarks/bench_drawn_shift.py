"""Question: is each kind of shift of the drawn faces named, with labels and without?

Usage: python -m benchmarks.bench_drawn_shift [TRAIN_SUBJECTS] [SUBJECTS]
"""

from __future__ import annotations

import sys
import time

import numpy as np

from benchmarks.drawn_shift import CASES, drawn_cases
from benchmarks.machine import describe
from orchestrator.shift.diagnosis import diagnose


def main(train_subjects: int = 60, subjects: int = 60) -> None:
    """Draws, diagnoses and prints a row a case."""
    reference, cases = drawn_cases(train_subjects, subjects)
    right = float(np.mean(reference.predicted == reference.labels))
    print(f"\n{describe()}\n\n{len(reference.groups):,} validation rows of {subjects} subjects,")
    print(f"accuracy {right:.3f}; as many rows and subjects in each production set\n")
    print("| case | wanted | found | without labels | accuracy | expected without labels | s |")
    print("|---|---|---|---|---|---|---|")
    for name, production in cases.items():
        started = time.monotonic()
        found = diagnose(reference, production, seed=0)
        seconds = time.monotonic() - started
        expected = found.accuracy.estimated_label_shift.accuracy
        print(
            f"| {name} | {CASES[name]} | {found.verdict} | {found.without_labels.verdict} | "
            f"{found.accuracy.measured:.3f} | {expected:.3f} | {seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
