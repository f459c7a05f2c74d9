"""Precision and memory layout: what the processor is good at, or what was asked for."""

import pytest
import torch

from orchestrator.training import precision
from orchestrator.training.precision import choose_precision

CPU = torch.device("cpu")


@pytest.fixture
def processor(monkeypatch):
    def pretend(capability: str, bf16: bool) -> None:
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
        monkeypatch.setattr(precision, "has_native_bf16", lambda device: bf16)

    return pretend


@pytest.mark.parametrize(
    ("capability", "bf16", "requested", "name", "layout"),
    [
        ("AVX2", False, "auto", "fp32", torch.channels_last),
        ("AVX512", False, "auto", "fp32", torch.contiguous_format),
        ("AVX512", True, "auto", "bf16", torch.channels_last),
        ("AVX512", True, "fp32", "fp32", torch.contiguous_format),
        ("AVX2", False, "bf16", "bf16", torch.channels_last),
    ],
)
def test_each_processor_gets_the_precision_and_layout_that_were_fastest(
    capability, bf16, requested, name, layout, processor
):
    processor(capability, bf16)
    chosen = choose_precision(requested, CPU)
    assert (chosen.name, chosen.memory_format) == (name, layout)


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_autocast_is_on_for_bf16_only(name, dtype):
    left = torch.ones(4, 4)
    with precision.Precision(name, torch.channels_last).autocast(CPU):
        assert (left @ left).dtype == dtype


def test_on_a_gpu_a_training_multiplies_alike_whatever_was_trained_before_it():
    """tf32 is a switch of the whole process, and a slot trains one experiment after another."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    found = []
    try:
        for name in ("bf16", "fp32", "bf16", "fp32"):
            choose_precision(name, torch.device("cuda"))
            found.append(torch.get_float32_matmul_precision())
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
    assert found == ["highest", "high"] * 2
