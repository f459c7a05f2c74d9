"""Made-up confusion counts of configurations, videos and seeds, with known differences."""

from __future__ import annotations

import numpy as np

from orchestrator.training.group_counts import encode
from orchestrator.training.metrics import macro_f1

NUM_CLASSES = 3


def study(
    skills: list[float],
    *,
    num_videos: int = 40,
    num_seeds: int = 3,
    seed: int = 0,
    own: float = 0.3,
) -> list[dict[int, tuple[float, dict]]]:
    """Of each configuration, by seed: macro-F1 and encoded counts; best mean first.

    Args:
        skills: log-odds of a right answer of each configuration.
        num_videos: each with one class and some frames; some are hard for all configurations.
        num_seeds: trained with.
        seed: of the making up.
        own: deviation of a configuration's luck with a video, and of a seed's.
    """
    generator = np.random.default_rng(seed)
    labels = np.arange(num_videos) % NUM_CLASSES
    frames = generator.integers(5, 40, num_videos)
    hard = generator.normal(0, 1, num_videos)
    found = []
    for skill in skills:
        suits = generator.normal(0, own, num_videos)
        found.append(
            {
                s: _scored(
                    skill + hard + suits + generator.normal(0, own, num_videos),
                    labels,
                    frames,
                    generator,
                )
                for s in range(num_seeds)
            }
        )
    return sorted(found, key=lambda seeds: -sum(score for score, _ in seeds.values()))


def _scored(log_odds, labels, frames, generator) -> tuple[float, dict]:
    videos = np.arange(len(labels))
    hits = generator.binomial(frames, 1 / (1 + np.exp(-log_odds)))
    counts = np.zeros((len(labels), NUM_CLASSES, NUM_CLASSES), dtype=np.int64)
    counts[videos, labels, labels] = hits
    half = (frames - hits) // 2
    counts[videos, labels, (labels + 1) % NUM_CLASSES] = half
    counts[videos, labels, (labels + 2) % NUM_CLASSES] = frames - hits - half
    return macro_f1(counts.sum(axis=0)), encode(counts)
