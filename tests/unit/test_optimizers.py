"""Optimizers by name are torch's, with every configured value."""

import pytest
import torch
from torch import nn

from orchestrator.config.optimizers import Adam, AdamW, RmsProp, Sgd
from orchestrator.training.optimizers import build_optimizer


def parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3), requires_grad=False)]


@pytest.mark.parametrize(
    ("config", "kind", "values"),
    [
        (
            Sgd(lr=0.5, momentum=0.8, nesterov=True, weight_decay=0.25),
            torch.optim.SGD,
            {"lr": 0.5, "momentum": 0.8, "nesterov": True, "weight_decay": 0.25},
        ),
        (
            Adam(lr=0.5, beta1=0.1, beta2=0.2, weight_decay=0.25),
            torch.optim.Adam,
            {"lr": 0.5, "betas": (0.1, 0.2), "weight_decay": 0.25},
        ),
        (
            AdamW(lr=0.5, beta1=0.1, beta2=0.2, weight_decay=0.25),
            torch.optim.AdamW,
            {"lr": 0.5, "betas": (0.1, 0.2), "weight_decay": 0.25},
        ),
        (
            RmsProp(lr=0.5, alpha=0.75, momentum=0.8, weight_decay=0.25),
            torch.optim.RMSprop,
            {"lr": 0.5, "alpha": 0.75, "momentum": 0.8, "weight_decay": 0.25},
        ),
    ],
)
def test_every_configured_value_reaches_torchs_optimizer(config, kind, values):
    optimizer = build_optimizer(config, parameters())
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert {name: group[name] for name in values} == values


def test_frozen_parameters_are_left_out():
    (group,) = build_optimizer(Sgd(), parameters()).param_groups
    assert [parameter.numel() for parameter in group["params"]] == [2]
