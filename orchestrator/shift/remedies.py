"""What can be done about a shift: each remedy, and the rows and weights that it trains with. PURE.

| remedy | trains on | weights | needs labels of production |
|---|---|---|---|
| prior_correction | nothing: outputs times new over old priors, by EM | | no |
| prior_correction_counted | nothing: the same by the priors counted in the part to adapt with | | yes |
| old_data | the old rows: the control, as many more epochs | as the run | no |
| more_data | the old rows and all new ones | as the run | yes |
| since | new rows from a place of the listing on, with replay of old ones | as the run | yes |
| classes | new rows of named classes, with replay of old ones | as the run | yes |
| balanced | the old rows and all new ones | each class alike | yes |
| importance | the old rows | estimated new over old shares | no |

`balanced` weighs rows instead of drawing them more often: what one expects of class-balanced
sampling, without its noise. Replay of old rows keeps what would be forgotten (Robins, Connection
Science 7(2), 1995).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.ingest.order import mix

Int64s = npt.NDArray[np.int64]
CORRECTIONS = ("prior_correction", "prior_correction_counted")
ESTIMATING = ("prior_correction", "importance")
"""Those that need production's priors without its labels."""
ON_OLD_DATA = ("old_data", "importance")
SAME_ROWS: Mapping[str, str] = {"balanced": "more_data", "importance": "old_data"}
"""Remedies that train on another one's rows, weighed otherwise."""
WITHOUT_LABELS = ("prior_correction", "old_data", "importance")
WORDS: Mapping[str, str] = {
    "prior_correction": "outputs corrected to the priors that EM finds, no training",
    "prior_correction_counted": "outputs corrected to counted priors, no training",
    "old_data": "control: as many more epochs on the old data",
    "more_data": "old data and all of the part to adapt with",
    "since": "data from when the shift began, with replay of old data",
    "classes": "data of the named classes, with replay of old data",
    "balanced": "old and new data, each class alike",
    "importance": "old data, weighed by estimated new over old class shares",
}


@dataclass(frozen=True, eq=False)
class Rows:
    """The training rows of a remedy.

    Attributes:
        old: row ids of the run's own set, ascending.
        new: row ids of production, ascending.
    """

    old: Int64s
    new: Int64s


@dataclass(frozen=True, eq=False)
class Material:
    """What there is to train with.

    Attributes:
        old: training rows of the run, ascending.
        new: rows of production to train with, ascending.
        new_labels: their classes by the model's numbers.
        new_listed: their places in the source's listing.
    """

    old: Int64s
    new: Int64s
    new_labels: Int64s
    new_listed: Int64s


def training_rows(
    remedy: str,
    material: Material,
    *,
    classes: tuple[int, ...],
    since: int | None,
    replay: float,
    seed: int,
) -> Rows:
    """The rows that a remedy trains on; none of the held-out ones can be among them.

    Args:
        remedy: one of those that train.
        material: what there is.
        classes: numbers of those that `classes` adds.
        since: first place in the listing that `since` adds.
        replay: old rows to each new one in `classes` and `since`; at most all.
        seed: of which old rows are replayed.
    """
    if remedy in ON_OLD_DATA:
        return Rows(material.old, material.new[:0])
    if remedy in ("more_data", "balanced"):
        return Rows(material.old, material.new)
    if remedy == "classes":
        new = material.new[np.isin(material.new_labels, classes)]
    else:
        new = material.new[material.new_listed >= (since or 0)]
    return Rows(_replayed(material.old, round(replay * len(new)), seed), new)


def _replayed(old: Int64s, wanted: int, seed: int) -> Int64s:
    if wanted >= len(old):
        return old
    return np.sort(old[np.argsort(mix(seed, 1, old))[:wanted]])
