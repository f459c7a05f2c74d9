"""How much arithmetic a training takes, and how much of its processor's it uses.

WORKER. A multiplication with its addition counts as two operations, as on data sheets. Counted
are matrix products and convolutions, forward and backward, as torch runs them: layers that are
frozen cost less. What else a network does is below a percent of that.
"""

from __future__ import annotations

import re

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

BATCH = 2
"""Images counted at once: batch norm refuses one image where nothing else is left to average."""

PEAK_TFLOPS: tuple[tuple[str, dict[str, float]], ...] = (
    (r"\bH200\b", {"bf16": 989.4, "tf32": 494.7}),
    (r"\bH100 PCIe\b", {"bf16": 756.5, "tf32": 378.2}),
    (r"\bH100 NVL\b", {"bf16": 835.5, "tf32": 417.7}),
    (r"\bH100\b", {"bf16": 989.4, "tf32": 494.7}),
    (r"\bA100\b", {"bf16": 312.0, "tf32": 156.0}),
    (r"\bL4\b", {"bf16": 121.0, "tf32": 60.0}),
    (r"\bT4\b", {"fp32": 8.1}),
)
"""By a pattern of the device's name, the first that fits: dense peaks, 10^12 operations a second.

Source: NVIDIA's data sheets (H200, H100, A100, L4, T4 Tensor Core GPU), halved where a sheet
states the figure with sparsity.
"""


def training_flops(model: nn.Module, image_size: int) -> int:
    """Operations of one image's forward and backward pass; nothing is computed.

    Args:
        model: not wrapped in DDP; neither its weights nor its buffers are read or written.
        image_size: side of the square images, pixels.

    Returns:
        About 17.1e9 for main at 96 px; 0 where the model has an operation that cannot be traced
        without data.
    """
    shapes = {
        name: torch.empty_like(tensor, device="meta", requires_grad=tensor.requires_grad)
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }
    images = torch.empty(BATCH, 3, image_size, image_size, device="meta")
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            logits: torch.Tensor = torch.func.functional_call(model, shapes, (images,))
            if logits.requires_grad:
                logits.sum().backward()  # type: ignore[no-untyped-call]
    except (NotImplementedError, RuntimeError):
        return 0
    return int(counter.get_total_flops()) // BATCH


def speed(
    images_per_s: float, flops_per_image: int, *, precision: str, device_name: str, devices: int
) -> dict[str, float]:
    """What an epoch's speed means for the processor, as figures for its metrics.

    Args:
        images_per_s: over all workers.
        flops_per_image: from `training_flops`; 0 = not known.
        precision: `bf16` or `fp32`.
        device_name: as torch.cuda names it; "" for a CPU, whose peak nobody states.
        devices: how many of them worked.

    Returns:
        `tflops`: 10^12 operations a second over all devices; `mfu`: their share of what the data
        sheet promises, in [0, 1]. Each only where it is known.
    """
    if not flops_per_image:
        return {}
    tflops = images_per_s * flops_per_image / 1e12
    peak = peak_tflops(device_name, precision)
    return {"tflops": tflops} | ({"mfu": tflops / (peak * devices)} if peak else {})


def peak_tflops(device_name: str, precision: str) -> float | None:
    """The data sheet's dense peak; None for a device or precision that the table has not.

    fp32 runs as tf32 where there is such a thing (`precision.choose_precision` sets it so).
    """
    for pattern, peaks in PEAK_TFLOPS:
        if re.search(pattern, device_name):
            return peaks.get(precision, peaks.get("tf32") if precision == "fp32" else None)
    return None
