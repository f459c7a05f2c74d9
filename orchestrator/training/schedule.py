"""The learning rate as a function of the step: nothing to save, nothing to restore.

PURE. With S steps an epoch, E epochs, W of warm-up and s steps done before this one, the learning
rate is `optimizer.lr` times

    (s + 1) / (W S)                          in warm-up: s + 1 < W S
    1                                        then, with a constant schedule
    (1 + cos(pi (s - W S) / (E S - W S))) / 2    then, with cosine (Loshchilov & Hutter, 2017)

Warm-up says nothing of E: the first epochs of a longer training are a shorter one. Cosine does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """How the learning rate goes.

    Attributes:
        kind: `constant` or `cosine`.
        warmup_epochs: W.
        epochs: E; of no influence where the kind is `constant`.
    """

    kind: str = "constant"
    warmup_epochs: float = 0.0
    epochs: int = 1

    def factor(self, step: int, steps_per_epoch: int) -> float:
        """What `optimizer.lr` is multiplied by.

        Args:
            step: steps done since the start of the training, so 0 at the first.
            steps_per_epoch: global batches in an epoch.
        """
        warmup = self.warmup_epochs * steps_per_epoch
        if step + 1 < warmup:
            return (step + 1) / warmup
        if self.kind == "constant":
            return 1.0
        decay = self.epochs * steps_per_epoch - warmup
        done = min(max(0.0, step - warmup), decay)  # the first step may lie before a fraction's end
        return (1 + math.cos(math.pi * done / decay)) / 2 if decay > 0 else 1.0
