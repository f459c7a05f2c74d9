"""A few points of the kill matrix, as its command runs them."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.kill_matrix import choose_points

pytestmark = pytest.mark.ray

NUM_POINTS = 3
ROOT = Path(__file__).resolve().parents[2]
SEED = 1173
"""Its first points: a worker dies in the middle of a model's data, a slot in an epoch; Ctrl-C."""


@pytest.mark.slow
def test_a_killed_study_run_again_is_the_undisturbed_one():
    # A process of its own: its Ray has another token than that of the other tests.
    command = [sys.executable, "-m", "benchmarks.kill_matrix", str(NUM_POINTS), str(SEED)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{NUM_POINTS} of {NUM_POINTS} points lost nothing" in done.stdout


def test_the_first_points_are_of_every_kind_and_a_seed_draws_the_same():
    points = choose_points(60, seed=1)
    assert points == choose_points(60, seed=1) != choose_points(60, seed=2)
    victims = {point.victim for point in points}
    assert victims == {"driver", "slot", "worker", "controller", "node", "ctrl-c"}
    assert sum(bool(point.step) for point in points) >= 20


def test_the_few_points_here_kill_slot_and_worker_and_interrupt_the_driver():
    assert {point.victim for point in choose_points(NUM_POINTS, SEED)} == {
        "slot",
        "worker",
        "ctrl-c",
    }
