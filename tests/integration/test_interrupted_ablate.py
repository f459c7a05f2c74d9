"""Ctrl-C in `ablate`: once, and what is begun ends; twice, and it ends at once. What had ended is kept."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from orchestrator.tuning.ledger import LEDGER, read_records
from tests.unit.prepared_set import write_set

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
EPOCHS = 30
HELD_BACK = "stopping: what is begun ends first"


def start(words: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator.ablate", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def epochs(folder: Path) -> list[int]:
    records = read_records(folder / "s" / LEDGER)
    return [record["epoch"] for record in records if record["record"] == "epoch"]


def wait_for_epochs(command: subprocess.Popen, folder: Path, number: int) -> None:
    while len(epochs(folder)) < number:
        assert command.poll() is None, command.communicate()
        time.sleep(0.05)


def test_the_first_ctrl_c_lets_epochs_end_and_the_second_does_not_wait_for_them(tmp_path):
    space = tmp_path / "space.yaml"
    rows = [{"model.name": "main", "model.width": 0.5, "batch_size": 32, "epochs": EPOCHS}]
    space.write_text(yaml.safe_dump({"question": "does it stop?", "kind": "rows", "rows": rows}))
    data = write_set(tmp_path / "tiny", rows=240, image_px=32)
    words = [f"space={space}", f"data.path={data}", f"out={tmp_path}", "study=s", "address=local"]

    gently = start([*words, "open_page=false"])
    wait_for_epochs(gently, tmp_path, 1)
    os.killpg(gently.pid, signal.SIGINT)
    said, errors = gently.communicate(timeout=300)
    assert gently.returncode == 130, errors
    assert HELD_BACK in errors
    trained = len(epochs(tmp_path))
    assert 1 <= trained < EPOCHS
    (following,) = (line for line in said.splitlines() if line.startswith("next "))
    again = start(shlex.split(following)[4:])  # what it says to type
    wait_for_epochs(again, tmp_path, trained + 1)
    os.killpg(again.pid, signal.SIGINT)
    while HELD_BACK not in again.stderr.readline():
        assert again.poll() is None
    os.killpg(again.pid, signal.SIGINT)
    said, errors = again.communicate(timeout=300)
    assert again.returncode == 130, errors
    known = epochs(tmp_path)
    assert known == list(range(1, len(known) + 1))
    assert len(known) > trained
