"""What is frozen stays as it is, is counted, and no optimizer knows of it."""

import pytest
import torch
from torch import nn

import models
from orchestrator.config.errors import TrainingError
from orchestrator.config.optimizers import AdamW
from orchestrator.training.freezing import freeze_convolutions
from orchestrator.training.optimizers import build_optimizer


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(8, 2)
    )


def test_the_first_convolutions_are_fixed_and_the_rest_train():
    model = small()
    counts = freeze_convolutions(model, 1)
    assert [parameter.requires_grad for parameter in model.parameters()] == [False] * 2 + [True] * 4
    assert (counts.frozen, counts.trainable) == (4 * 3 * 9 + 4, 8 * 4 * 9 + 8 + 2 * 8 + 2)


def test_zero_freezes_nothing():
    counts = freeze_convolutions(small(), 0)
    assert counts.frozen == 0


def test_more_than_there_are_is_refused():
    with pytest.raises(TrainingError, match=r"model.freeze: must be at most the 2 .*; got 3"):
        freeze_convolutions(small(), 3)


def test_a_step_moves_what_is_not_frozen_alone_weight_decay_or_not():
    model = small()
    freeze_convolutions(model, 1)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = build_optimizer(AdamW(lr=0.1, weight_decay=0.5), model.parameters())
    model(torch.ones(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    moved = [not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True)]
    assert moved == [False] * 2 + [True] * 4


def test_in_vgg16_they_are_those_next_to_the_image():
    model, _ = models.build("main", num_classes=3, image_size=32, width=0.125)
    freeze_convolutions(model, 3)
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    layers = ("conv1_1", "conv1_2", "conv2_1")
    assert frozen == [f"trunk.{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
