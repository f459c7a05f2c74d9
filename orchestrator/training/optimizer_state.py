"""What an optimizer remembers, as named tensors and plain numbers, and back to the bit.

WORKER. Most keep it for each parameter; LAMB and Adan count their steps in the group of all. What
is set (learning rate, betas) is no memory: the experiment says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import Optimizer

GROUP = "group"
"""First part of the name of what is kept for a group; of a parameter, its number is."""

Tensors = dict[str, torch.Tensor]
Plain = dict[str, object]


def take_apart(optimizer: Optimizer) -> tuple[Tensors, Plain]:
    """Name all that the optimizer remembers.

    Returns:
        Tensors and JSON values by `<parameter's number>.<name>` or `group.<number>.<name>`.

    Raises:
        TypeError: it remembers what is neither a tensor nor a number.
    """
    tensors: Tensors = {}
    plain: Plain = {}
    for name, value in _memory(optimizer).items():
        if isinstance(value, torch.Tensor):
            tensors[name] = value
        elif isinstance(value, int | float):
            plain[name] = value
        else:
            raise TypeError(f"{name.rpartition('.')[2]!r} is a {type(value).__name__}")
    return tensors, plain


def put_back(optimizer: Optimizer, tensors: Mapping[str, torch.Tensor], plain: Plain) -> None:
    """Give a new optimizer the memory of another one over parameters of the same shapes.

    Raises:
        ValueError, KeyError: it does not fit the parameters.
    """
    states: dict[int, dict[str, Any]] = {}
    groups = optimizer.state_dict()["param_groups"]
    for key, value in [*tensors.items(), *plain.items()]:
        place, name = key.split(".", 1)
        if place == GROUP:
            number, name = name.split(".", 1)
            groups[int(number)][name] = value.clone() if isinstance(value, torch.Tensor) else value
        else:
            states.setdefault(int(place), {})[name] = value
    optimizer.load_state_dict({"state": states, "param_groups": groups})
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, state in states.items():
        _lay_out(optimizer.state[parameters[index]], parameters[index], state)


def _memory(optimizer: Optimizer) -> dict[str, Any]:
    """Everything but what was set when the optimizer was made."""
    content = optimizer.state_dict()
    memory = {
        f"{index}.{name}": value
        for index, values in content["state"].items()
        for name, value in values.items()
    }
    for number, group in enumerate(content["param_groups"]):
        own = group.keys() - optimizer.defaults.keys() - {"params"}
        memory |= {f"{GROUP}.{number}.{name}": group[name] for name in sorted(own)}
    return memory


def _lay_out(
    loaded: dict[str, Any], parameter: torch.Tensor, saved: Mapping[str, torch.Tensor | object]
) -> None:
    """Undo what torch does to loaded tensors: it casts to the parameter's type, drops its strides.

    Fused kernels refuse moments in another memory layout than the parameter's.
    """
    for name, value in saved.items():
        if isinstance(value, torch.Tensor):
            like = parameter if value.shape == parameter.shape else loaded[name]
            loaded[name] = torch.empty_like(like, dtype=value.dtype).copy_(value)
