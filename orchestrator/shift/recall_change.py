"""Did the recall of a class change, and can label shift alone have done that? PURE.

Under label shift p(x|y) stays, so for every class the share that the model gets right stays too:
any change of recall beyond chance refutes "label shift alone". Needs labels on both sides, or a
paper's table: recalls and counts are enough for a verdict, if a coarser one.

Chance is that of drawing other videos: within each class, whole videos are permuted between the
sets (each permutation studentised: Janssen, Statistics & Probability Letters 36, 1997). A
bootstrap of the few videos that hold a rare class claims far too much: tried, 15 to 40 % false
alarms at 5 %. p-values are Bonferroni-adjusted for the classes tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm

from orchestrator.config.errors import ConfigError, DatasetError
from orchestrator.shift.groups import group_class_sums, number_groups, p_value
from orchestrator.shift.outputs import Floats, Outputs
from orchestrator.shift.verdict import ALPHA

NUM_PERMUTATIONS = 1999
"""More than elsewhere: this p-value is multiplied by the number of classes."""
CONFIDENCE = 0.95
MIN_GROUPS = 2
"""Of a class, in each set: the spread of a single video cannot be told."""
SMALLEST_ERROR = 1e-6
"""Standard error where all videos of a class agree."""
ASSUMED_DESIGN_EFFECT = 10.0
"""Where only counts are known: ten frames of a video are taken to say as much as one independent
image. An assumption; the verdict tells how many it would bear."""
NOT_ALONE = "not label shift alone"
CONSISTENT = "label shift alone is possible"


@dataclass(frozen=True)
class ClassRecall:
    """Recall of one class on two sets, and the change of it.

    Args:
        reference: Recall there; None without rows.
        production: Recall there; None without rows.
        change: Production minus reference, with `low` and `high` its 95 % interval; None where
            a set has too few videos of the class (`MIN_GROUPS`) to tell chance from change.
        p_value: Of no change, adjusted for all classes tested; None where not tested.
        num_reference: Rows of the class.
        num_production: Rows of the class.
    """

    reference: float | None
    production: float | None
    change: float | None
    low: float | None
    high: float | None
    p_value: float | None
    num_reference: int
    num_production: int


@dataclass(frozen=True)
class RecallChange:
    """What `recall_change` found.

    Args:
        classes: One a class.
        p_value: Of no change in any class tested; 1 if none could be tested.
        verdict: `NOT_ALONE` or `CONSISTENT`.
    """

    classes: tuple[ClassRecall, ...]
    p_value: float
    verdict: str


@dataclass(frozen=True)
class CountsVerdict:
    """What recalls and counts alone say.

    Args:
        verdict: `NOT_ALONE` or `CONSISTENT`.
        p_values: By class, adjusted for the number of classes, at the assumed design effect.
        design_effect_borne: By class: rows may be worth that many times less than independent
            ones and the change would still not be chance; below 1 it is chance in any case.
    """

    verdict: str
    p_values: Mapping[str, float]
    design_effect_borne: Mapping[str, float]


def recall_change(
    reference: Outputs,
    production: Outputs,
    *,
    seed: int,
    num_permutations: int = NUM_PERMUTATIONS,
) -> RecallChange:
    """Recall of each class on two labelled sets.

    Args:
        reference: Labelled validation set.
        production: Labelled production set.
        seed: Of the permutations.
        num_permutations: The smallest p-value is one over this plus one, before adjustment.

    Raises:
        DatasetError: a set has no labels.
    """
    generator = np.random.default_rng(seed)
    first, second = (_hits_by_group(one, generator) for one in (reference, production))
    compared = tuple(
        _compare(
            first[first[:, 1, k] > 0, :, k],
            second[second[:, 1, k] > 0, :, k],
            num_permutations,
            generator,
        )
        for k in range(reference.num_classes)
    )
    tested = [one.p_value for one in compared if one.p_value is not None]
    classes = tuple(
        one if one.p_value is None else replace(one, p_value=min(1.0, one.p_value * len(tested)))
        for one in compared
    )
    smallest = min(1.0, min(tested) * len(tested)) if tested else 1.0
    return RecallChange(classes, smallest, NOT_ALONE if smallest <= ALPHA else CONSISTENT)


def verdict_from_counts(
    recalls: Mapping[str, tuple[tuple[float, int], tuple[float, int]]],
    *,
    design_effect: float = ASSUMED_DESIGN_EFFECT,
) -> CountsVerdict:
    """Whether label shift alone can have changed recalls that are known as figures only.

    Two-proportion test with pooled variance of each class, Bonferroni over the classes. Counts
    know nothing of videos: rows are taken to be worth 1 / `design_effect` independent ones.

    Args:
        recalls: By class: (recall, rows) of the reference and (recall, rows) of production.
        design_effect: From 1 (rows are independent) up.

    Raises:
        ConfigError: a recall outside [0, 1], or no rows.
    """
    z_values = {name: _two_proportions(name, *pair) for name, pair in recalls.items()}
    num_classes = max(len(z_values), 1)
    limit = float(norm.isf(ALPHA / num_classes / 2))
    p_values = {
        name: min(1.0, num_classes * 2 * float(norm.sf(z / np.sqrt(design_effect))))
        for name, z in z_values.items()
    }
    changed = any(p <= ALPHA for p in p_values.values())
    return CountsVerdict(
        verdict=NOT_ALONE if changed else CONSISTENT,
        p_values=p_values,
        design_effect_borne={name: (z / limit) ** 2 for name, z in z_values.items()},
    )


def _hits_by_group(outputs: Outputs, generator: np.random.Generator) -> Floats:
    """Rows that are right, and rows, of each group and class: shape (G, 2, K)."""
    if outputs.labels is None:
        raise DatasetError("recall_change: labels on both sets; got none. Give labelled sets.")
    right_N1 = (outputs.predicted == outputs.labels).astype(np.float64)[:, None]
    numbered = number_groups(outputs.groups, generator)
    hits_GK1, rows_GK = group_class_sums(right_N1, *numbered, outputs.labels, outputs.num_classes)
    return np.stack([hits_GK1[:, :, 0], rows_GK], axis=1)


def _compare(
    reference_G2: Floats,
    production_G2: Floats,
    num_permutations: int,
    generator: np.random.Generator,
) -> ClassRecall:
    """One class: hits and rows of the videos that hold it, on either side."""
    num_first, num_second = len(reference_G2), len(production_G2)
    hits_G, rows_G = np.concatenate([reference_G2, production_G2]).T
    observed_G = np.repeat([0.0, 1.0], [num_first, num_second])
    dealt = generator.permuted(np.tile(observed_G, (num_permutations, 1)), axis=1)
    second_BG = np.vstack([observed_G, dealt])
    recall_B, variance_B = _recall(1 - second_BG, hits_G, rows_G)
    other_B, other_variance_B = _recall(second_BG, hits_G, rows_G)
    error_B = np.sqrt(variance_B + other_variance_B) + SMALLEST_ERROR
    deviation_B = np.abs(other_B - recall_B) / error_B
    change = float(other_B[0] - recall_B[0])
    half = float(np.quantile(deviation_B, CONFIDENCE) * error_B[0])
    tested = min(num_first, num_second) >= MIN_GROUPS
    return ClassRecall(
        reference=float(recall_B[0]) if num_first else None,
        production=float(other_B[0]) if num_second else None,
        change=change if tested else None,
        low=max(change - half, -1.0) if tested else None,
        high=min(change + half, 1.0) if tested else None,
        p_value=p_value(float(deviation_B[0]), deviation_B[1:]) if tested else None,
        num_reference=int(reference_G2[:, 1].sum()),
        num_production=int(production_G2[:, 1].sum()),
    )


def _recall(member_BG: Floats, hits_G: Floats, rows_G: Floats) -> tuple[Floats, Floats]:
    """Recall over the member groups, and its variance over groups (CR2), of each dealing."""
    total_B1 = np.maximum(member_BG @ rows_G, 1)[:, None]
    recall_B1 = (member_BG @ hits_G)[:, None] / total_B1
    share_BG = member_BG * rows_G / total_B1
    excess_BG = member_BG * (hits_G - recall_B1 * rows_G) / total_B1
    rest_BG = np.maximum(1 - share_BG, SMALLEST_ERROR)
    return recall_B1[:, 0], (excess_BG**2 / rest_BG).sum(axis=1)


def _two_proportions(
    name: str, reference: tuple[float, int], production: tuple[float, int]
) -> float:
    """|z| of a difference between two shares of independent rows."""
    (first, num_first), (second, num_second) = reference, production
    if not (0 <= first <= 1 and 0 <= second <= 1 and num_first > 0 and num_second > 0):
        raise ConfigError(
            f"{name}: recalls in [0, 1] of at least one row each; got {reference}, {production}."
        )
    pooled = (first * num_first + second * num_second) / (num_first + num_second)
    variance = pooled * (1 - pooled) * (1 / num_first + 1 / num_second)
    return abs(second - first) / float(np.sqrt(variance)) if variance > 0 else 0.0
