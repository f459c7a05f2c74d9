"""Every optimizer of timm either goes on after a resume to the bit, or is refused with why."""

import pytest
import timm.optim
import torch
from torch import nn

from orchestrator.config.errors import ConfigError
from orchestrator.config.optimizers import Timm
from orchestrator.config.space import Space
from orchestrator.config.validate import validate
from orchestrator.training import timm_optimizers
from orchestrator.training.optimizers import build_optimizer
from orchestrator.training.timm_optimizers import problem
from orchestrator.tuning.plan import Resolver, check_space

NEEDS = {
    "bnb": "CUDA required for bitsandbytes",
    "fused": "CUDA required for APEX",
    "kron": "'Q' is a list",
    "adahessian": "does not require grad",
}
"""Beginnings of the names of those that cannot be used here, and why."""


def needs(name: str) -> str:
    return next((why for start, why in NEEDS.items() if name.startswith(start)), "")


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="some are for GPUs, if their package is there"
)
def test_those_are_refused_whose_reason_is_known_and_no_others():
    names = timm.optim.list_optimizers()
    assert len(names) > 50
    for name in names:
        found, expected = problem(f"timm:{name}"), needs(name)
        assert bool(found) == bool(expected), found
        assert expected in found


def test_a_refusal_names_the_optimizer_and_what_could_be_used():
    assert problem("timm:kron").startswith("optimizer.name: must step on gradients alone")
    assert "got 'timm:kron'" in problem("timm:kron")


def test_an_unknown_name_is_refused_with_the_nearest():
    assert "timm must know it; got 'timm:lam'. Did you mean 'timm:lamb'?" in problem("timm:lam")
    assert "See timm.optim.list_optimizers()" in problem("timm:zzzzzz")


class Forgetful(torch.optim.SGD):
    """Keeps a count where no checkpoint looks for it."""

    count = 0

    def step(self, closure=None):
        self.count += 1
        self.param_groups[0]["lr"] = 0.1 / self.count
        return super().step(closure)


def test_one_that_would_go_on_otherwise_after_a_resume_is_refused(monkeypatch):
    monkeypatch.setattr(
        timm_optimizers,
        "build_timm_optimizer",
        lambda name, parameters, lr, weight_decay: Forgetful(parameters, lr=lr),
    )
    assert "(it goes on otherwise after a resume)" in problem.__wrapped__("timm:sgd")


def test_learning_rate_and_decay_reach_it_and_frozen_parameters_do_not():
    parameters = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3), requires_grad=False)]
    optimizer = build_optimizer(Timm(name="timm:lamb", lr=0.5, weight_decay=0.25), parameters)
    (group,) = optimizer.param_groups
    assert type(optimizer).__name__ == "Lamb"
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)
    assert [parameter.numel() for parameter in group["params"]] == [2]


def test_a_plan_asks_for_each_before_anything_starts_and_says_all_that_is_wrong():
    axes = {"optimizer.name": ["adam", "timm:lion", "timm:lam", "timm:kron"]}
    space = validate(Space, ("a test", {"question": "?", "kind": "grid", "axes": axes}))
    with pytest.raises(ConfigError) as caught:
        check_space(space, Resolver("mine", {}, ""), image_size=48, num_classes=3)
    unknown, refused = caught.value.problems
    assert "Did you mean 'timm:lamb'?" in unknown
    assert "got 'timm:kron'" in refused
