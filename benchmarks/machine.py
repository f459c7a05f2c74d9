"""What a benchmark ran on: said with every table."""

from __future__ import annotations

import os
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path


def describe() -> str:
    """Processor, cores, load, versions, date: one line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), "?")
    packages = ", ".join(f"{name} {version(name)}" for name in ("ray", "torch", "optuna"))
    load = os.getloadavg()[0]
    cores = len(os.sched_getaffinity(0))
    return (
        f"{model}, {cores} cores, load {load:.1f}; Python {platform.python_version()}, "
        f"{packages}; {date.today().isoformat()}"
    )
