"""Commands that use Ray find the same one, until one of them fails."""

from contextlib import closing

import pytest

from orchestrator.dashboard.page import ROUTE
from orchestrator.step_process import StepProcess
from tests.integration import a_step_with_ray

pytestmark = pytest.mark.ray


def test_commands_share_a_private_ray_with_a_leaderboard_until_one_fails(tmp_path, capfd):
    file = tmp_path / "addresses"
    with closing(StepProcess("local", tmp_path)) as process:
        for what, status in (("go on", 0), ("go on", 0), ("fail", 1), ("go on", 0)):
            words = (str(file), what)
            assert process.run(a_step_with_ray.__name__, words, with_ray=True) == status
    first, second, third, fourth = file.read_text().split()
    assert first == second == third != fourth
    said = capfd.readouterr()
    assert said.out.count(f"{ROUTE}#") == 2, "one for each Ray"
    assert not said.err
