"""A compiled network is trained like any other; a compiler that is missing fails the trial."""

import functools

import pytest
import torch
from small_training import (
    NUM_CLASSES,
    assert_same_weights,
    experiment,
    new_training,
    rows,
    without_times,
)

from orchestrator.training.compiling import compiler_problem
from orchestrator.training.epochs import evaluate, train_epoch


@pytest.fixture
def traced(monkeypatch):
    """Dynamo's tracing with torch's own kernels: no compiler is needed, and the bits are the same."""
    traced = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", traced)
    yield
    torch.compiler.reset()


def two_epochs(training):
    figures = [without_times(train_epoch(training, rows(50), NUM_CLASSES)) for _ in range(2)]
    return figures, evaluate(training, rows(20, seed=1), NUM_CLASSES)


@pytest.mark.usefixtures("traced")
def test_metrics_and_weights_are_those_of_a_network_that_is_not_compiled():
    plain = new_training(experiment(optimizer__lr=1e-3))
    compiled = new_training(experiment(optimizer__lr=1e-3, compile=True))
    assert compiled.replica is not compiled.model
    assert two_epochs(compiled) == two_epochs(plain)
    assert_same_weights(compiled, plain)


def test_the_compilers_errors_are_told_from_others():
    from torch._dynamo.exc import BackendCompilerFailed

    assert compiler_problem(RuntimeError("anything else")) == ""
    broken = torch.compile(lambda x: x + 1, backend=lambda graph, inputs: 1 / 0)
    with pytest.raises(BackendCompilerFailed) as caught:
        broken(torch.ones(1))
    said = compiler_problem(caught.value)
    assert said.startswith("compile: each worker must be able to compile the network; got ")
    assert said.endswith("or set compile=false")
