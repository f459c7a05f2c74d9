"""A snapshot is what the training was, whatever the training does next."""

import torch
from torch import nn

from orchestrator.training.augmentation import AugmentationPlan
from orchestrator.training.epochs import Training
from orchestrator.training.precision import Precision
from orchestrator.training.snapshot import take_snapshot


def new_training() -> Training:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
    model = model.to(memory_format=torch.channels_last)
    return Training(
        model=model,
        replica=model,
        optimizer=torch.optim.Adam(model.parameters(), lr=0.1),
        augmentation=AugmentationPlan(0, 0, 0, 0),
        precision=Precision("fp32", torch.channels_last),
        device=torch.device("cpu"),
        batch_size=8,
        seed=0,
    )


def step(training: Training) -> None:
    training.model(torch.rand(8, 3, 4, 4)).square().mean().backward()
    training.optimizer.step()


def test_a_step_after_it_changes_nothing_in_it():
    training = new_training()
    step(training)
    snapshot = take_snapshot(training)
    taken = {**snapshot.model, **snapshot.optimizer}
    before = {name: tensor.clone() for name, tensor in taken.items()}
    step(training)
    for name, tensor in taken.items():
        assert torch.equal(tensor, before[name]), name
    now = take_snapshot(training)
    assert not torch.equal(now.model["3.weight"], snapshot.model["3.weight"])
    assert not torch.equal(now.optimizer["0.exp_avg"], snapshot.optimizer["0.exp_avg"])
    assert now.model["1.num_batches_tracked"] == snapshot.model["1.num_batches_tracked"] + 1


def test_it_is_laid_out_as_safetensors_wants_it_whatever_the_model_is():
    training = new_training()
    step(training)
    assert not training.model[0].weight.is_contiguous()
    snapshot = take_snapshot(training)
    for name, tensor in {**snapshot.model, **snapshot.optimizer}.items():
        assert tensor.is_contiguous(), name
    assert torch.equal(snapshot.model["0.weight"], training.model[0].weight)
