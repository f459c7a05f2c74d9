"""Figures of a training as cells of a table: use of the processor, memory, shares of time."""

from __future__ import annotations

import torch

from benchmarks.in_process import Setup, flops_per_image
from orchestrator.training.epochs import Training
from orchestrator.training.flops import speed


def use_of_processor(
    setup: Setup, images_per_s: float, device: torch.device, precision: str
) -> str:
    """TFLOP/s, and their share of the data sheet's where it states one."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    asked = {"tf32": "fp32", "fp32": "IEEE fp32"}  # the product's fp32 is tf32 on a GPU
    figures = speed(
        images_per_s,
        flops_per_image(setup.model, setup.width, setup.image_px),
        precision=asked.get(precision, precision) if setup.precision != "auto" else precision,
        device_name=name,
        devices=1,
    )
    mfu = f", {figures['mfu']:.1%}" if "mfu" in figures else ""
    return f"{figures['tflops']:.4g}{mfu}"


def data_wait(training: Training) -> float:
    """The share of the steps' time before their batch was there."""
    seconds = training.clock.read()
    return seconds["ingest"] / sum(seconds.values())


def phase_shares(training: Training) -> str:
    """Shares of the steps' time since the clock was last read."""
    seconds = training.clock.read()
    total = sum(seconds.values())
    return ", ".join(f"{phase} {own / total:.1%}" for phase, own in seconds.items())


def peak_gib(device: torch.device) -> str:
    """The most that tensors took of a GPU's memory since its statistics were reset."""
    if device.type != "cuda":
        return "-"
    return f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f}"
