"""`ray job submit` to a cluster of several nodes: what a job's status means, and lost nodes."""

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orchestrator.tuning.ledger import LEDGER, read_records
from tests.integration.output_budget import beyond_budget
from tests.integration.ray_nodes import Nodes, within
from tests.unit.prepared_set import write_set

pytestmark = pytest.mark.ray

SMALL = {"model.name": "main", "model.width": 0.125, "batch_size": 32}
STEADY = {"optimizer.name": "adam", "optimizer.lr": 0.001}
# With a decay of 1 every step multiplies each weight by -9: it must overflow.
DIVERGING = {"optimizer.name": "sgd", "optimizer.lr": 10.0, "optimizer.weight_decay": 1.0}
EPOCHS = 60
"""Of tenths of a second each: enough to be in the middle when something happens."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """What all nodes see: data and runs."""
    folder = tmp_path_factory.mktemp("shared")
    write_set(folder / "tiny", rows=240, image_px=32)
    return folder


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head that trains nothing, and two nodes of one CPU each: two workers need both."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    cluster = Nodes(folder)
    try:
        cluster.add("first")
        cluster.add("second")
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


def command(shared: Path, study: str, rows: list[dict], *more: str) -> list[str]:
    space = shared / f"{study}.yaml"
    content = {"question": "does it run?", "kind": "rows", "base": SMALL, "rows": rows}
    space.write_text(yaml.safe_dump(content))
    return [
        *(sys.executable, "-m", "orchestrator.ablate", f"space={space}", f"study={study}"),
        *(f"data.path={shared / 'tiny'}", f"out={shared / 'runs'}", "open_page=false", *more),
    ]


def epochs(shared: Path, study: str) -> list[int]:
    records = read_records(shared / "runs" / study / LEDGER)
    return [record["epoch"] for record in records if record["record"] == "epoch"]


def trains(nodes: Nodes, shared: Path, study: str) -> bool:
    """Whether two epochs of a study come to be before its job of the same name is over."""
    within(300, lambda: nodes.is_over(study) or len(epochs(shared, study)) >= 2)
    return not nodes.is_over(study)


def test_without_the_token_nobody_submits_a_job_or_reads_one(nodes):
    for path in ("/api/jobs/", "/api/version", "/nodes?view=summary", "/api/v0/logs"):
        assert nodes.ask(path, {})[0] == 401
        assert nodes.ask(path, {"Authorization": "Bearer another-token"})[0] in (401, 403)


def test_two_workers_train_on_two_nodes_and_a_lost_node_is_replaced_by_a_new_one(nodes, shared):
    rows = [{**STEADY, "epochs": EPOCHS}, {**STEADY, "optimizer.lr": 0.0001, "epochs": 3}]
    study = command(shared, "lost", rows, "resources.workers=2")
    assert nodes.submit("lost", *study).returncode == 0
    assert trains(nodes, shared, "lost"), nodes.log("lost")
    nodes.kill("second")
    nodes.add("third")
    assert nodes.ends("lost") == "SUCCEEDED", nodes.log("lost")
    trained = dict.fromkeys(range(1, EPOCHS + 1), 1) | dict.fromkeys((1, 2, 3), 2)
    assert Counter(epochs(shared, "lost")) == trained
    assert "slots       1 at once, each 2 x (1 CPU)" in nodes.log("lost")


def test_a_stopped_job_is_stopped_and_the_same_command_goes_on_to_the_end(nodes, shared):
    study = command(shared, "stopped", [{**STEADY, "epochs": last} for last in (2, EPOCHS)])
    assert nodes.submit("stopped", *study).returncode == 0
    assert trains(nodes, shared, "stopped"), nodes.log("stopped")
    nodes.stop("stopped")
    assert nodes.ends("stopped") == "STOPPED"
    done = len(epochs(shared, "stopped"))
    assert done < EPOCHS
    assert nodes.submit("again", *study).returncode == 0
    # Ray has its own last word on a job that has ended.
    within(300, lambda: nodes.is_over("again") or "best so far" in nodes.job("again")["message"])
    assert "trial 0; 1 of 2 trials ended" in nodes.job("again")["message"]
    assert nodes.ends("again") == "SUCCEEDED", nodes.log("again")
    assert Counter(epochs(shared, "stopped")) == dict.fromkeys(range(1, EPOCHS + 1), 1)
    assert f"resuming: {done} epochs" in nodes.log("again")
    assert nodes.job("again")["metadata"]["study"] == "stopped"


def test_a_jobs_log_is_a_line_for_each_epoch_and_little_else(nodes):
    log = nodes.log("again")
    # The first ones were trained by the job that was stopped.
    assert beyond_budget(log, EPOCHS - 1) == [], log
    assert "\nepoch  lineage " in log


def test_a_job_fails_if_one_of_its_trials_has_failed(nodes, shared):
    rows = [{**DIVERGING, "epochs": 20}, {**STEADY, "epochs": 1}]
    assert nodes.submit("failed", *command(shared, "failed", rows)).returncode == 0
    assert nodes.ends("failed") == "FAILED"
    log = nodes.log("failed")
    assert "learning rate 10" in log
    assert "trial 1 finished" in log
