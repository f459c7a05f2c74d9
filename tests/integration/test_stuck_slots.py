"""Slots that would stand still for ever: a worker that hangs, room that is reserved for nobody."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from orchestrator.slots import SILENT_SHARE
from orchestrator.tuning.ledger import LEDGER, read_records
from tests.integration.ray_nodes import family, within
from tests.unit.prepared_set import write_set

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
EPOCHS = 40
WORKER, CONTROLLER = "ray::RayTrainWorker", "ray::TrainController"


@contextmanager
def study(folder: Path, *words: str) -> Iterator[subprocess.Popen]:
    """One slot of one worker on a Ray of its own."""
    values = {"model.name": "main", "model.width": 0.25, "batch_size": 32, "epochs": EPOCHS}
    space = folder / "space.yaml"
    space.write_text(yaml.safe_dump({"question": "does it end?", "kind": "rows", "rows": [values]}))
    data = write_set(folder / "tiny", rows=240, image_px=32)
    command = subprocess.Popen(
        [
            *(sys.executable, "-m", "orchestrator.ablate", f"space={space}", f"data.path={data}"),
            *(f"out={folder}", "study=s", "address=local", "open_page=false", "resources.slots=1"),
            *words,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield command
    finally:
        for pid in family(command.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        command.communicate()


def named(command: subprocess.Popen, name: str) -> list[int]:
    """Processes of a study's Ray that Ray calls so."""
    found = []
    for pid in family(command.pid):
        with suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_text().startswith(name):
                found.append(pid)
    return found


def epochs(folder: Path) -> list[int]:
    records = read_records(folder / "s" / LEDGER)
    return [record["epoch"] for record in records if record["record"] == "epoch"]


def ends(command: subprocess.Popen, folder: Path) -> None:
    said, _ = command.communicate(timeout=400)
    assert command.returncode == 0, said
    assert Counter(epochs(folder)) == dict.fromkeys(range(1, EPOCHS + 1), 1)


def test_a_worker_that_hangs_is_replaced_and_the_study_ends_whole(tmp_path):
    stall_s = 60
    with study(tmp_path, f"resources.stall_s={stall_s}") as command:
        assert within(200, lambda: len(epochs(tmp_path)) >= 2)
        (worker,) = named(command, WORKER)
        os.kill(worker, signal.SIGSTOP)
        stopped_s = time.monotonic()
        assert within(stall_s + 60, lambda: named(command, WORKER) not in ([worker], []))
        assert time.monotonic() - stopped_s > SILENT_SHARE * stall_s / 2, "it was not ended at once"
        ends(command, tmp_path)


def test_room_that_a_killed_controller_leaves_reserved_is_given_back(tmp_path):
    """Ray Train names it to whom is to free it only once the workers are up."""
    with study(tmp_path, "resources.start_timeout_s=150") as command:
        assert within(100, lambda: named(command, WORKER))
        for controller in named(command, CONTROLLER):
            os.kill(controller, signal.SIGKILL)
        assert epochs(tmp_path) == []
        ends(command, tmp_path)
