"""torch.compile of what is called in the loop, and what its failures mean.

WORKER. Kernels are made at the first batch of each size, which takes seconds; a failure shows only
there. Measured on an H200: benchmarks/GPU.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import nn

COMPILER = ("torch._dynamo", "torch._inductor")
"""Packages whose errors are the compiler's: imported by torch.compile, and not before."""


def compiled(replica: nn.Module) -> nn.Module:
    """The network as torch.compile makes it; its parameters are those of `replica`."""
    return cast(nn.Module, torch.compile(replica))


def uncompiled(function: Callable[..., None]) -> Callable[..., None]:
    """A function that the compiler leaves alone: traced, one that counts is compiled at each call."""
    disabled = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
    return cast(Callable[..., None], disabled)


def compiler_problem(error: BaseException) -> str:
    """What to tell a user of an error that is the compiler's; "" of any other."""
    if not any(cls.__module__.startswith(COMPILER) for cls in type(error).__mro__):
        return ""
    reason = " ".join(str(error).split())[:200]
    return (
        f"compile: each worker must be able to compile the network; got {reason} "
        "Install a C++ compiler there (and triton for a GPU), or set compile=false"
    )
