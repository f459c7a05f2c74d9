"""Steps that this process has got through, for whoever watches that it does not hang. PURE.

What may take minutes, such as a file on its way to an object store, is made of steps that take seconds,
and says `step` after each.
"""

from __future__ import annotations

from typing import Any

_num_steps = 0


def step() -> None:
    """One more. Threads may lose one to each other: that there are more is all that matters."""
    global _num_steps
    _num_steps += 1


def steps() -> int:
    """How many there were."""
    return _num_steps


def copy(source: Any, target: Any, piece_bytes: int) -> None:
    """Copy what is left of an open file into another, a step a piece."""
    while piece := source.read(piece_bytes):
        target.write(piece)
        step()
