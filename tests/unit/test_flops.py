import importlib

import pytest
import torch
from torch import nn

from orchestrator.training.flops import peak_tflops, speed, training_flops


def meta_model(name, image_size, **options):
    with torch.device("meta"):
        build = importlib.import_module(f"models.{name}").build
        return build(6, image_size, **{"width": 1.0, "dropout": 0.0, **options})


def test_main_at_96_px_takes_17_1_gflop_an_image():
    # 17.1 is three forward passes; the first layer needs no gradient of its input: 0.5 % less.
    assert training_flops(meta_model("main", 96), 96) == pytest.approx(17.1e9, rel=0.01)


def test_a_linear_layers_operations_are_those_counted_by_hand():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3 * 4 * 4, 10)
            self.second = nn.Linear(10, 5)

        def forward(self, images):
            return self.second(self.first(images.flatten(1)))

    first, second = 2 * 48 * 10, 2 * 10 * 5
    # Forward and the gradient of the weights for both; of the input for the second alone.
    assert training_flops(Net(), 4) == 2 * first + 3 * second


def test_frozen_layers_need_no_backward_pass():
    model = meta_model("main", 48, width=0.25)
    whole = training_flops(model, 48)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert 0 < training_flops(model, 48) < 0.4 * whole


def test_counting_leaves_weights_and_statistics_as_they_were():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert training_flops(model, 8) > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_that_looks_at_its_data_has_no_count():
    class Peeking(nn.Module):
        def forward(self, images):
            return images * images.sum().item()

    assert training_flops(Peeking(), 8) == 0


@pytest.mark.parametrize(
    ("name", "precision", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4),
        ("NVIDIA H100 PCIe", "fp32", 378.2),
        ("NVIDIA A100-SXM4-40GB", "fp32", 156.0),
        ("NVIDIA L4", "bf16", 121.0),
        ("Tesla T4", "fp32", 8.1),
        ("Tesla T4", "bf16", None),
        ("NVIDIA L40S", "bf16", None),
        ("", "bf16", None),
    ],
)
def test_peaks_are_of_that_device_and_of_no_other(name, precision, tflops):
    assert peak_tflops(name, precision) == tflops


def test_utilisation_is_a_share_of_all_devices_together():
    found = speed(
        40_000, 17_100_000_000, precision="bf16", device_name="NVIDIA H100 80GB HBM3", devices=2
    )
    assert found == pytest.approx({"tflops": 684.0, "mfu": 684 / (2 * 989.4)})


def test_a_cpu_has_a_speed_and_no_utilisation():
    found = speed(21.1, 17_100_000_000, precision="bf16", device_name="", devices=1)
    assert found == pytest.approx({"tflops": 0.36081})


def test_an_unknown_count_gives_no_figures():
    assert speed(100, 0, precision="bf16", device_name="NVIDIA L4", devices=1) == {}
