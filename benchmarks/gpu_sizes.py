"""How much `bench_gpu` measures: the real sizes, and small ones for a machine without a GPU."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """What each part works on.

    Attributes:
        width: of `main`.
        image_px: side of the images.
        batch_size: of all parts but the sweep.
        batches: of the sweep.
        num_train: rows of an epoch; in the paper's run exactly, elsewhere whole batches of it.
        num_validation: rows of its evaluation.
        repeats: rounds of which medians are taken.
        sweep_s: seconds that a timed epoch of the sweep is made to last, roughly.
        epochs: that are measured of the paper's run; the rest is extrapolated.
        subjects: people drawn for the part that reads a prepared set (120 images each).
        paper_epochs: of the whole run.
    """

    width: float
    image_px: int
    batch_size: int
    batches: tuple[int, ...]
    num_train: int
    num_validation: int
    repeats: int
    sweep_s: float
    epochs: int
    subjects: int
    paper_epochs: int = 20


FULL = Sizes(
    width=1.0,
    image_px=96,
    batch_size=256,
    batches=(64, 128, 256, 512, 1024),
    num_train=26_061,  # the paper's split
    num_validation=8_670,
    repeats=5,
    sweep_s=0.5,
    epochs=3,
    subjects=362,
)
SMALL = Sizes(
    width=1 / 16,
    image_px=32,
    batch_size=16,
    batches=(8, 16),
    num_train=100,
    num_validation=50,
    repeats=3,
    sweep_s=0.01,
    epochs=2,
    subjects=3,
)
