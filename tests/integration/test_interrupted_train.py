"""Ctrl-C in `train`, as a terminal sends it: to the command and all that it started."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.prepared_set import write_set

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
HELD_BACK = "stopping: what is begun ends first"


def start(data: Path, out: Path) -> subprocess.Popen:
    given = ["model.name=main", "model.width=0.5", "epochs=9999", "name=long", "address=local"]
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator.train", *given, f"data.path={data}", f"out={out}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_epochs(command: subprocess.Popen, out: Path, number: int) -> None:
    metrics = out / "long" / "metrics.jsonl"
    while not metrics.is_file() or len(metrics.read_text().splitlines()) < number:
        assert command.poll() is None, command.communicate()
        time.sleep(0.05)


def ctrl_c(command: subprocess.Popen) -> None:
    os.killpg(command.pid, signal.SIGINT)


def test_the_first_ctrl_c_lets_the_epoch_end_and_the_second_does_not_wait_for_it(tmp_path):
    data, out = write_set(tmp_path / "tiny", rows=240, image_px=32), tmp_path / "runs"
    gently = start(data, out)
    wait_for_epochs(gently, out, 1)
    ctrl_c(gently)
    said, errors = gently.communicate(timeout=300)
    assert gently.returncode == 130, errors
    assert HELD_BACK in errors
    trained = len((out / "long" / "metrics.jsonl").read_text().splitlines())
    assert f"stopped     after epoch {trained} of 9999, as asked" in said
    last = out / "long" / "checkpoints" / "last" / f"epoch-{trained:04d}" / "state.json"
    assert len(json.loads(last.read_text())["history"]) == trained
    assert "orchestrator.train model.name=main model.width=0.5 epochs=9999 name=long" in said

    again = start(data, out)
    wait_for_epochs(again, out, trained + 1)
    ctrl_c(again)
    while HELD_BACK not in again.stderr.readline():
        assert again.poll() is None
    ctrl_c(again)
    said, errors = again.communicate(timeout=300)
    assert again.returncode == 130, errors
    assert f"resuming    {trained} of 9999 epochs are trained already" in said
