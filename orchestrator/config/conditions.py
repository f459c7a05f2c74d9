"""Axes that exist only where another axis has a certain value: momentum, but with SGD only.

PURE. `when: {optimizer.momentum: {optimizer.name: sgd}}` in a space's file. An axis may depend
only on axes that stand before it and list their values, so that no condition can go in circles.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TypeVar

V = TypeVar("V")
Wanted = object
"""A value of the other axis, or several of them."""
Conditions = Mapping[str, Mapping[str, Wanted]]


def active(values: Mapping[str, V], when: Conditions) -> dict[str, V]:
    """The values whose conditions hold, in their order.

    Args:
        values: one of each axis, in the order of the axes.
        when: the conditions of those that have any.
    """
    kept: dict[str, V] = {}
    for path, value in values.items():
        if holds(path, kept, when):
            kept[path] = value
    return kept


def holds(path: str, chosen: Mapping[str, object], when: Conditions) -> bool:
    """Whether an axis exists where the axes before it have these values."""
    return all(
        parent in chosen and chosen[parent] in _several(wanted)
        for parent, wanted in when.get(path, {}).items()
    )


def condition_problems(
    when: Conditions, axes: Mapping[str, object], listed: Mapping[str, Collection[object]]
) -> Iterator[str]:
    """What is wrong with the conditions.

    Args:
        when: the conditions.
        axes: all axes, in order.
        listed: the values of those that list them.
    """
    order = list(axes)
    for path, parents in when.items():
        if path not in axes:
            yield f"when.{path}: must be an axis; got none of that path"
            continue
        for parent, wanted in parents.items():
            place = f"when.{path}.{parent}"
            if parent not in order[: order.index(path)] or parent not in listed:
                yield f"{place}: must be an axis before {path} that lists its values"
                continue
            for value in _several(wanted):
                if value not in listed[parent]:
                    yield f"{place}: must be a value of that axis; got {value!r}"


def _several(wanted: Wanted) -> tuple[object, ...]:
    return wanted if isinstance(wanted, tuple) else (wanted,)
