"""Question: how often does the leaderboard tell equals apart, and does it see a real difference?

Simulated studies: all configurations equally good in the long run (or the first better by a given
log-odds), 70 videos of very different difficulty, luck of each configuration and each seed with each
video. For the rule of the leaderboard (`results/ties.py`) and, beside it, for the same paired
intervals without correction for having picked the best of many.

Usage: python -m benchmarks.bench_ties [NUM_STUDIES]
"""

from __future__ import annotations

import sys

import numpy as np

from benchmarks.machine import describe
from orchestrator.results.ties import Behind, behind_winner
from orchestrator.training.group_counts import encode
from orchestrator.training.metrics import macro_f1

NUM_VIDEOS, NUM_CLASSES = 70, 6
LUCK, SEED_LUCK, SEED = 0.6, 0.6, 0.1
"""Standard deviations in log-odds: configuration x video, seed x video, seed."""
GAP = 0.6
"""By how much the better one is better, in log-odds of a right answer."""

Seeds = dict[int, tuple[float, dict[str, object]]]


def main(num_studies: int = 100) -> None:
    """Simulates and prints the table."""
    print(f"\n{describe()}\n\n{num_studies} studies each, {NUM_VIDEOS} videos\n")
    print(
        "| configurations | seeds | equals told apart | without correction | "
        "all others told from a better one |\n|---|---|---|---|---|"
    )
    for num_configurations in (3, 12, 30):
        for num_seeds in (1, 2, 3, 5):
            print(row(num_configurations, num_seeds, num_studies), flush=True)


def row(num_configurations: int, num_seeds: int, num_studies: int) -> str:
    """One line of the table."""
    generator = np.random.default_rng(num_configurations * 100 + num_seeds)
    wrong = uncorrected = seen = 0
    for _ in range(num_studies):
        study = simulated(generator, [1.0] * num_configurations, num_seeds)
        wrong += any(not behind.is_tie for behind in others(study))
        # Each pair by itself, as if nothing had been picked: the interval of a study of two.
        uncorrected += any(not others([study[0], one])[0].is_tie for one in study[1:])
        better = [1.0 + GAP, *[1.0] * (num_configurations - 1)]
        seen += all(not b.is_tie for b in others(simulated(generator, better, num_seeds)))
    shares = (f"{count / num_studies:.0%}" for count in (wrong, uncorrected, seen))
    return f"| {num_configurations} | {num_seeds} | " + " | ".join(shares) + " |"


def others(study: list[Seeds]) -> list[Behind]:
    """How far each but the first is behind it."""
    return [behind for behind in behind_winner(study)[1:] if behind is not None]


def simulated(generator: np.random.Generator, skills: list[float], num_seeds: int) -> list[Seeds]:
    """Of each configuration, by seed: macro-F1 and counts; the best mean first."""
    labels = generator.integers(0, NUM_CLASSES, NUM_VIDEOS)
    frames = generator.integers(5, 60, NUM_VIDEOS)
    hard = generator.normal(0, 1, NUM_VIDEOS)
    found = []
    for skill in skills:
        log_odds = skill + hard + generator.normal(0, LUCK, NUM_VIDEOS)
        seeds = {}
        for seed in range(num_seeds):
            luck = generator.normal(0, SEED_LUCK, NUM_VIDEOS) + generator.normal(0, SEED)
            hits = generator.binomial(frames, 1 / (1 + np.exp(-log_odds - luck)))
            counts_GKK = answers(generator, labels, frames, hits)
            seeds[seed] = (macro_f1(counts_GKK.sum(axis=0)), encode(counts_GKK))
        found.append(seeds)
    return sorted(found, key=lambda seeds: -sum(score for score, _ in seeds.values()))


def answers(
    generator: np.random.Generator, labels: np.ndarray, frames: np.ndarray, hits: np.ndarray
) -> np.ndarray:
    """Confusion counts of each video; wrong answers fall on the other classes alike."""
    counts = np.zeros((len(labels), NUM_CLASSES, NUM_CLASSES), dtype=np.int64)
    for video, label in enumerate(labels):
        wrong = [k for k in range(NUM_CLASSES) if k != label]
        even = np.full(len(wrong), 1 / len(wrong))
        counts[video, label, wrong] = generator.multinomial(frames[video] - hits[video], even)
        counts[video, label, label] = hits[video]
    return counts


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
