"""What a study knows, before its first trial, of where trials may end."""

import pytest

from orchestrator.config.commands import AblateConfig
from orchestrator.config.space import Space
from orchestrator.config.stop_rule import StopRule
from orchestrator.config.validate import validate
from orchestrator.study_job import StudyJob
from orchestrator.tuning.plan import Resolver, load_space


def milestones(space: Space) -> tuple[int, ...]:
    resolver = Resolver("", {}, "")
    job = StudyJob(AblateConfig(epochs=9), space, StopRule(), (), resolver, None, None, "")
    return job.state().milestones


def drawn(**axes) -> Space:
    content = {"question": "Which?", "kind": "tpe", "trials": 9, "axes": axes}
    return validate(Space, ("a test", content))


@pytest.mark.parametrize("name", ["paper", "factorial"])
def test_a_space_that_lists_its_trials_knows_each_with_its_training(name):
    assert milestones(load_space(name)) == ()


def test_of_draws_that_share_no_training_only_points_end_in_another_ones():
    assert milestones(load_space("search")) == (10, 15, 20)
    assert milestones(drawn(**{"optimizer.lr": {"low": 1e-5, "high": 1e-2}})) == ()


def test_draws_that_may_share_a_training_may_end_wherever_the_space_lets_them():
    axes = {"optimizer.name": ["sgd", "adam"], "epochs": {"low": 5, "high": 20, "step": 5}}
    assert milestones(drawn(**axes)) == (5, 10, 15, 20)
    whole = {"batch_size": {"low": 16, "high": 256}}
    assert milestones(drawn(**axes, **whole)) == (5, 10, 15, 20)
    assert milestones(drawn(**whole)) == (9,)
