"""A cluster whose nodes come when a study asks for them: Ray's real autoscaler, nodes on this machine."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from orchestrator.tuning.ledger import LEDGER, read_records
from tests.integration.output_budget import beyond_budget
from tests.integration.ray_nodes import ROOT, Nodes
from tests.unit.prepared_set import write_set

pytestmark = pytest.mark.ray

SPACE = {
    "question": "Do the nodes come?",
    "kind": "grid",
    "base": {"model.name": "main", "model.width": 0.0625, "batch_size": 32, "epochs": 40},
    "axes": {"optimizer.lr": [0.0005, 0.001, 0.002, 0.003]},
}
NUM_EPOCHS = 4 * 40  # more than one slot trains before the second node is up
WORKERS = {"worker": {"resources": {"CPU": 2}, "min_workers": 0, "max_workers": 2}}


@pytest.fixture
def nodes():
    """A head that reads data and has no room for a slot, and no other node yet."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    cluster = Nodes(folder, "--num-cpus=1", workers=WORKERS)
    try:
        yield cluster, folder
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_study_begins_where_no_node_is_up_and_has_a_slot_on_each_that_came(nodes, tmp_path):
    cluster, home = nodes
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    data = write_set(tmp_path / "tiny", rows=240, image_px=32)
    words = (f"space={tmp_path / 'space.yaml'}", f"data.path={data}", f"out={tmp_path}", "study=s")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "orchestrator.ablate", *words),
            *(f"address=127.0.0.1:{cluster.port}", "resources.cpus_per_worker=2"),
        ],
        cwd=ROOT,
        env={**cluster.environment, "HOME": str(home)},  # where `ray up` leaves its file
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr + cluster.output("head")
    plan = "slots       1 at once, each 1 x (2 CPUs); waiting for a node for the first and room for 1 more"
    assert plan in done.stdout
    assert beyond_budget(done.stdout + done.stderr, num_epochs=NUM_EPOCHS) == [], (
        done.stdout + done.stderr
    )
    assert done.stdout.count("\nepoch  lineage ") == NUM_EPOCHS
    epochs = [one for one in read_records(tmp_path / "s" / LEDGER) if one["record"] == "epoch"]
    assert len(epochs) == NUM_EPOCHS
    assert {one["slot"] for one in epochs} == {"slot-0", "slot-1"}
