"""What a benchmark ran on: said with every table."""

from __future__ import annotations

import os
import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("ray", "torch", "optuna")


def describe() -> str:
    """Processor, cores, load, versions, date: one line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), "?")
    packages = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    load = os.getloadavg()[0]
    cores = len(os.sched_getaffinity(0))
    return (
        f"{model}, {cores} cores, load {load:.1f}; Python {platform.python_version()}, "
        f"{packages}; {date.today().isoformat()}"
    )


def describe_gpus() -> str:
    """Names, memory and CUDA of the GPUs that torch can use: one line; it says so if none."""
    import torch

    if not torch.cuda.is_available():
        return "no GPU"
    count = torch.cuda.device_count()
    first = torch.cuda.get_device_properties(0)
    memory_gib = first.total_memory / 2**30
    return f"{count} x {first.name}, {memory_gib:.0f} GiB each, CUDA {torch.version.cuda}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
