"""Predictions of a made-up model, for the tests of what is measured on them."""

import numpy as np

from orchestrator.results.evaluation import Predictions

CLASSES = ("anger", "disgust", "fear", "happiness")


def predictions(
    num_rows: int = 400,
    *,
    seed: int = 0,
    skill: float = 1.5,
    classes: tuple[str, ...] = CLASSES,
    present: tuple[int, ...] | None = None,
    groups: list[str] | None = None,
    rows_per_group: int = 8,
) -> Predictions:
    """Noisy outputs that favour the true class by `skill`; labels are of the classes present."""
    generator = np.random.default_rng(seed)
    present = present or tuple(range(len(classes)))
    labels = generator.choice(np.array(present), num_rows)
    logits = generator.normal(0, 1, (num_rows, len(classes)))
    logits[np.arange(num_rows), labels] += skill
    shares = np.exp(logits)
    shares /= shares.sum(axis=1, keepdims=True)
    names = groups or [f"video{row // rows_per_group:03d}" for row in range(num_rows)]
    return Predictions(
        row_ids=np.arange(num_rows, dtype=np.int64) * 3,
        groups=np.array(names),
        labels=labels.astype(np.int64),
        probabilities=shares.astype(np.float32),
        classes=classes,
        present=present,
    )
