"""Questions: how often does the shift analysis raise a false alarm, and does it see a real shift?

Draws of simulated videos whose shift is known. Wanted: false alarms in at most 5 % of 200 draws
where nothing shifted (verdicts) or where label shift is all there is (tests of "not label shift
alone"); priors within 0.05 (sum over classes). An honest test at 5 % raises 10 alarms in 200
draws, give or take 6 (two standard errors); a verdict takes all tests together and is held to 5 %.

Usage: python -m benchmarks.bench_shift_null [DRAWS]
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Final

import numpy as np

from benchmarks.machine import describe
from benchmarks.simulated_shift import AS_BEFORE, PRODUCTION, REFERENCE, Change, Videos, draw
from orchestrator.shift.diagnosis import Evidence, answers, gather
from orchestrator.shift.outputs import Floats, Outputs
from orchestrator.shift.priors import bbse, em
from orchestrator.shift.verdict import ALPHA, Verdict

LEVELS: Final = np.array([ALPHA, 0.05])
DESIGNS: Final = {
    "300 and 300 single images": (Videos(300), Videos(300)),
    "60 and 60 videos": (Videos(60, 20), Videos(60, 20)),
    "the same, one class each, like frames": (Videos(60, 20, 0.9, 0), Videos(60, 20, 0.9, 0)),
    "100 videos, and 20 of three times the length": (Videos(100, 20), Videos(20, 60)),
}
DARK: Final = Change(moved=0.5, shrunk=0.8)
SITUATIONS: Final = {
    "nothing": (REFERENCE, AS_BEFORE, 1.0),
    "label shift": (PRODUCTION, AS_BEFORE, 1.0),
    "covariate shift": (REFERENCE, DARK, 0.2),
    "both": (PRODUCTION, DARK, 0.2),
}
"""Priors and look of production, and share of the draws: what is no null needs fewer."""
TESTS: Final = (
    "label shift, outputs",
    "label shift, features",
    "recall",
    "mean outputs",
    "class shares",
    "classifier",
    "MMD",
)
NUM_REFERENCE: Final = 8670
NUM_PRODUCTION: Final = 5000
"""Images for the priors: the study's validation set, and a small production set."""


def main(num_draws: int = 200) -> None:
    """Prints the three tables."""
    print(describe(), "\n")
    print(f"Share of draws with p <= {LEVELS[0]} and, in brackets, {LEVELS[1]}\n")
    print("| sets | shift | " + " | ".join(TESTS) + " |\n" + "|---" * (len(TESTS) + 2) + "|")
    verdicts = [
        (design, shift, *run(design, shift, num_draws))
        for design in DESIGNS
        for shift in SITUATIONS
    ]
    print(f"\nVerdicts at {ALPHA}, without and with production's labels\n")
    print("| sets | shift | without labels | with labels |\n|---|---|---|---|")
    for design, shift, without, with_labels in verdicts:
        print(f"| {design} | {shift} | {in_words(without)} | {in_words(with_labels)} |")
    priors(num_draws)


def run(design: str, shift: str, num_draws: int) -> tuple[Counter[Verdict], Counter[Verdict]]:
    """All draws of one design and situation; prints its row of the first table."""
    without: Counter[Verdict] = Counter()
    with_labels: Counter[Verdict] = Counter()
    rejected = np.zeros((len(TESTS), len(LEVELS)))
    num_draws = round(num_draws * SITUATIONS[shift][2])
    for number in range(num_draws):
        reference, production = sets(design, shift, number)
        evidence = gather(reference, production, seed=number)
        rejected += np.array(p_values(evidence))[:, None] <= LEVELS
        first, second = answers(evidence)
        without[first.verdict] += 1
        with_labels[(second or first).verdict] += 1
    shares = " | ".join(f"{low:.3f} ({high:.3f})" for low, high in rejected / num_draws)
    print(f"| {design} | {shift} | {shares} |", flush=True)
    return without, with_labels


def sets(design: str, shift: str, number: int) -> tuple[Outputs, Outputs]:
    """One draw; a reference that lacks a class is drawn again."""
    generator = np.random.default_rng([number, 1])
    videos, other_videos = DESIGNS[design]
    reference = draw(generator, videos, REFERENCE)
    while len(np.unique(np.asarray(reference.labels))) < reference.num_classes:
        reference = draw(generator, videos, REFERENCE)
    priors_K, change, _ = SITUATIONS[shift]
    return reference, draw(generator, other_videos, priors_K, change)


def p_values(evidence: Evidence) -> list[float]:
    """In the order of `TESTS`."""
    recall = evidence.recall.p_value if evidence.recall else 1.0
    differ = [evidence.outputs_differ, evidence.labels_differ or 1.0]
    look = [evidence.classifier.p_value, evidence.mmd.p_value]
    return [*(test.p_value for test in evidence.label_shift), recall, *differ, *look]


def in_words(verdicts: Counter[Verdict]) -> str:
    """Most frequent first."""
    return ", ".join(f"{verdict} {count}" for verdict, count in verdicts.most_common())


def priors(num_draws: int) -> None:
    """Error of estimated priors over random mixes, in single images."""
    errors = np.array([prior_errors(number) for number in range(num_draws)])
    print(f"\nPriors: sum of absolute errors, {NUM_REFERENCE} and {NUM_PRODUCTION} images\n")
    print("| method | mean | 95th percentile | largest | share up to 0.05 |\n|---|---|---|---|---|")
    for method, column in zip(("BBSE", "EM"), errors.T, strict=True):
        figures = (column.mean(), np.quantile(column, 0.95), column.max(), (column <= 0.05).mean())
        print(f"| {method} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |")


def prior_errors(number: int) -> Floats:
    """Of BBSE and EM, on one random mix of classes."""
    generator = np.random.default_rng([number, 2])
    reference = draw(generator, Videos(NUM_REFERENCE), REFERENCE)
    mix = generator.dirichlet(np.ones(reference.num_classes))
    production = draw(generator, Videos(NUM_PRODUCTION), mix)
    true = np.bincount(np.asarray(production.labels), minlength=len(mix)) / NUM_PRODUCTION
    found = [
        method(reference, production, seed=number, num_resamples=1).priors for method in (bbse, em)
    ]
    return np.asarray(np.abs(np.array(found) - true).sum(axis=1))


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
