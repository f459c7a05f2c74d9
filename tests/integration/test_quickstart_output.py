"""The main job as it is typed: a line for each epoch, a page around them, no noise, status 0."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.tuning.ledger import LEDGER, read_records
from tests.integration.output_budget import beyond_budget

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
NUM_EPOCHS = 48


def test_the_quickstart_prints_no_more_than_its_budget(tmp_path):
    kept = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.ablate", f"out={tmp_path}", "address=local"],
        cwd=ROOT,
        env=kept,
        capture_output=True,
        text=True,
        timeout=590,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert beyond_budget(done.stdout, NUM_EPOCHS) == [], done.stdout
    (ledger,) = tmp_path.glob(f"*/{LEDGER}")
    assert sum(record["record"] == "epoch" for record in read_records(ledger)) == NUM_EPOCHS
