"""timm's optimizers by name: those that a checkpoint can hold.

WORKER makes them; DRIVER asks for `problem` before anything starts. A training must go on after a
resume as if nothing had happened, so each is tried once on a few made-up tensors: it must step on
gradients alone (AdaHessian wants a second derivative), remember tensors and numbers only (Kron
keeps lists) and, put together again from what was saved, step to the same bits. Needs no list of
names, so it holds for optimizers that timm has yet to get.
"""

from __future__ import annotations

import difflib
import functools
import warnings
from collections.abc import Sequence

import timm.optim
import torch
from torch import nn
from torch.optim import Optimizer

from orchestrator.training.optimizer_state import put_back, take_apart

PREFIX = "timm:"
PROBE_SHAPES = ((16,), (32, 16), (16, 4, 3, 3))
"""A bias, a matrix and a convolution: some optimizers treat each in its own way."""
PROBE_STEPS = 3


def build_timm_optimizer(
    name: str, parameters: Sequence[nn.Parameter], *, lr: float, weight_decay: float
) -> Optimizer:
    """Make timm's optimizer, with timm's values for all that is not given.

    Args:
        name: with the prefix, `timm:lamb`.
        parameters: all decay alike, as with torch's own optimizers.
        lr: learning rate.
        weight_decay: decay of every parameter.
    """
    optimizer: Optimizer = timm.optim.create_optimizer_v2(
        list(parameters), name.removeprefix(PREFIX), lr=lr, weight_decay=weight_decay
    )
    return optimizer


@functools.lru_cache
def problem(name: str) -> str:
    """Why an optimizer of timm cannot be used, in house form; "" if it can."""
    known = [PREFIX + one for one in timm.optim.list_optimizers()]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else "See timm.optim.list_optimizers()"
        return f"optimizer.name: timm must know it; got '{name}'. {hint}"
    try:
        # Compiling what is stepped through a few times takes long, and is of no consequence here.
        with torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            what = "" if _goes_on_the_same(name) else "it goes on otherwise after a resume"
    # Whatever an optimizer of someone else's raises, it is one that cannot be used.
    except Exception as error:  # noqa: BLE001
        what = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
    if not what:
        return ""
    return (
        "optimizer.name: must step on gradients alone and remember tensors and numbers only; "
        f"got '{name}' ({what}). Choose another, such as timm:lamb"
    )


def _goes_on_the_same(name: str) -> bool:
    """Whether a copy that is made halfway from what a checkpoint holds ends with the same bits."""
    whole = _probe_parameters()
    optimizer = build_timm_optimizer(name, whole, lr=0.01, weight_decay=0.01)
    _step(optimizer, whole, range(PROBE_STEPS))
    resumed = [nn.Parameter(parameter.detach().clone()) for parameter in whole]
    again = build_timm_optimizer(name, resumed, lr=0.01, weight_decay=0.01)
    tensors, plain = take_apart(optimizer)
    put_back(again, {key: value.clone() for key, value in tensors.items()}, plain)
    for one, parameters in ((optimizer, whole), (again, resumed)):
        _step(one, parameters, range(PROBE_STEPS, 2 * PROBE_STEPS))
    return all(torch.equal(left, right) for left, right in zip(whole, resumed, strict=True))


def _probe_parameters() -> list[nn.Parameter]:
    return [nn.Parameter(_noise(shape, 0)) for shape in PROBE_SHAPES]


def _step(optimizer: Optimizer, parameters: Sequence[nn.Parameter], steps: range) -> None:
    for step in steps:
        for parameter in parameters:
            parameter.grad = _noise(tuple(parameter.shape), step + 1)
        optimizer.step()


def _noise(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
