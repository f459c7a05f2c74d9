"""A Ray that a command starts for itself can be reached from this machine only."""

import os
import subprocess
import sys

import pytest

from tests.integration.ray_nodes import ROOT

pytestmark = pytest.mark.ray

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_a_private_ray_listens_on_loopback_and_nowhere_else():
    command = [sys.executable, "-m", "tests.integration.private_ray"]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    addresses = done.stdout.split()
    assert len(addresses) >= 5, "GCS, raylet, dashboard, agents, workers"
    assert set(addresses) <= LOOPBACK
