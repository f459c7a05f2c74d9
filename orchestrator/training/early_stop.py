"""When a training that no longer gets better ends.

PURE. The answer depends on the scores of its epochs and on nothing else, so a longer trial of
the same lineage stops at the same epoch, and a training that was interrupted where it would have
stopped anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def stop_epoch(scores: Sequence[float], patience: int) -> int | None:
    """The epoch after which patience is lost.

    Args:
        scores: validation macro-F1 of the epochs from the first on.
        patience: epochs in a row that may fail to beat the best so far; 0 = any number.

    Returns:
        The epoch, counted from 1; None if no known epoch is the last.
    """
    if patience == 0:
        return None
    best, since = -math.inf, 0
    for epoch, score in enumerate(scores, start=1):
        best, since = (score, 0) if score > best else (best, since + 1)
        if since == patience:
            return epoch
    return None


def last_epoch(scores: Sequence[float], epochs: int, patience: int) -> int:
    """The epoch with which a training of `epochs` ends, as far as `scores` tell; see `stop_epoch`."""
    stop = stop_epoch(scores, patience)
    return epochs if stop is None else min(stop, epochs)
