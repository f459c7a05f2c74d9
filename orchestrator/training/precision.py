"""What a processor is good at: bf16 or fp32, channels-last or not.

WORKER. Measured on VGG16: on a CPU with AVX512-BF16, bf16 with channels-last is 2.4 times as fast
as fp32 (main at 96 px, 21.1 images/s instead of 8.8 on two cores), while fp32 is fastest in torch's
default layout; on a CPU with AVX2 alone bf16 is emulated, and fp32 is fastest channels-last (the
latter is in `benchmarks/LOG.md`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Precision:
    """How the forward and backward pass are computed on one device."""

    name: str
    """`fp32` or `bf16`."""
    memory_format: torch.memory_format

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """The context in which the model runs."""
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.name == "bf16")


def choose_precision(requested: str, device: torch.device) -> Precision:
    """Resolve `auto` for this device and pick the memory layout that goes with it.

    Args:
        requested: `auto`, `fp32` or `bf16`.
        device: where the model will live.
    """
    name = requested
    if requested == "auto":
        name = "bf16" if has_native_bf16(device) else "fp32"
    if device.type == "cuda":
        # Tensor cores with fp32 range: the loss of mantissa is below that of the data's noise. Set
        # for each lineage: what a slot trained before must not show in what it trains now.
        torch.set_float32_matmul_precision("high" if name == "fp32" else "highest")
        torch.backends.cudnn.allow_tf32 = True
    wide_vectors = device.type == "cpu" and "AVX512" in torch.backends.cpu.get_cpu_capability()
    plain = name == "fp32" and wide_vectors
    return Precision(name, torch.contiguous_format if plain else torch.channels_last)


def has_native_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # torch has no public query; without these flags bf16 is emulated and slower than fp32.
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False
