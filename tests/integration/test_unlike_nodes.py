"""A node whose disk is another one, and whose GPUs are none: nothing trains there unseen.

A head that trains nothing and one node, on which the disk of the driver is another, empty one; Ray
is told of GPUs that are not there, which is all that a plan looks at.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orchestrator.config.folder import folder
from orchestrator.config.object_store import Store
from orchestrator.config.storage import MARKER
from tests.integration.output_budget import beyond_budget
from tests.integration.ray_nodes import ROOT, Nodes, can_have_other_disk
from tests.unit.prepared_set import write_set

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(not can_have_other_disk(), reason="this user may not mount a disk"),
]

SMALL = ("model.name=main", "model.width=0.0625", "optimizer.name=sgd", "batch_size=32", "epochs=1")


@pytest.fixture(scope="module")
def disk(tmp_path_factory) -> Path:
    """Of the driver: with its data and runs, and where it works on what an object store keeps."""
    disk = tmp_path_factory.mktemp("disk")
    for name in ("runs", "temporary"):
        (disk / name).mkdir()
    write_set(disk / "tiny", rows=240, image_px=32)
    return disk


@pytest.fixture(scope="module")
def nodes(disk, s3_bucket) -> Iterator[Nodes]:
    session = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    cluster = Nodes(session)
    try:
        cluster.add("stranger", 4, "--num-gpus=4", own_disk=disk)
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(session, ignore_errors=True)


def begin(nodes: Nodes, disk: Path, command: str, *words: str) -> subprocess.Popen[str]:
    address = f"address=127.0.0.1:{nodes.port}"
    return subprocess.Popen(
        [sys.executable, "-m", f"orchestrator.{command}", *words, address],
        cwd=ROOT,
        env={**nodes.environment, "TMPDIR": str(disk / "temporary")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def on_s3(disk: Path, bucket: str) -> str:
    """The address of the data, which are put there if need be."""
    data = f"{bucket}/{disk.name}/tiny"
    names = [str(p.relative_to(disk / "tiny")) for p in (disk / "tiny").rglob("*") if p.is_file()]
    Store(folder(data)).upload_all(names, disk / "tiny")
    return data


def test_what_a_worker_would_keep_on_its_own_disk_is_not_trained(nodes, disk, s3_bucket):
    """Both commands wait as long as a network file system may take to show a new file."""
    runs, data = disk / "runs", on_s3(disk, s3_bucket)
    words = (*SMALL, f"data.path={data}", f"out={runs}", "name=lost", "resources.gpus_per_worker=0")
    with (
        begin(nodes, disk, "train", *words) as train,
        begin(nodes, disk, "doctor", "--json", f"out={runs}") as doctor,
    ):
        said, error = train.communicate(timeout=400)
        report, complaint = doctor.communicate(timeout=400)
    assert train.returncode == 1, said + error
    assert f"storage: {runs}/lost must be the same folder on every node; node " in error
    assert "s3://bucket/runs" in error
    assert "Traceback" not in error
    assert not (runs / "lost" / "metrics.jsonl").exists()
    checks = json.loads(report)["checks"]
    verdicts = {check["name"]: check["verdict"] for check in checks}
    assert verdicts["storage"] == "ok", "where the driver is"
    assert verdicts["storage of nodes"] == "FAIL", complaint
    assert doctor.returncode == 1
    (stranger,) = [check for check in checks if check["found"].startswith("4 CPUs, 4 GPUs, ")]
    assert stranger["verdict"] == "warn"
    assert "its driver lists 0 GPUs" in stranger["found"]


def test_a_study_in_a_bucket_needs_no_disk_that_nodes_share(nodes, disk, s3_bucket):
    rows = [{"epochs": last} for last in (1, 2)]
    base = {name: yaml.safe_load(value) for name, value in (word.split("=") for word in SMALL)}
    del base["epochs"]
    space = {"question": "Is it kept?", "kind": "rows", "base": base, "rows": rows}
    (disk / "space.yaml").write_text(yaml.safe_dump(space))
    out, data = f"{s3_bucket}/{disk.name}/runs", on_s3(disk, s3_bucket)
    words = (f"space={disk / 'space.yaml'}", f"data.path={data}", f"out={out}", "study=s")
    study = begin(nodes, disk, "ablate", *words, "resources.gpus_per_worker=0")
    said, error = study.communicate(timeout=400)
    assert study.returncode == 0, said + error
    assert beyond_budget(said + error, num_epochs=2) == [], said + error
    store = Store(folder(f"{out}/s"))
    kept = [name for name in store.files() if name.endswith(f"milestones/epoch-0002/{MARKER}")]
    assert len(kept) == 1
    assert f"checkpoint  {store}/lineages/" in said
    assert list((disk / "temporary").glob("fer-*")) == []


@pytest.mark.parametrize(
    ("asked", "slots"),
    [
        (("gpus_per_worker=1",), "4 at once, each 1 x (1 CPU + 1 GPU)"),
        (("gpus_per_worker=1", "workers=2"), "2 at once, each 2 x (1 CPU + 1 GPU)"),
        (("gpus_per_worker=0.5", "cpus_per_worker=2"), "2 at once, each 1 x (2 CPUs + 0.5 GPU)"),
    ],
)
def test_slots_are_counted_by_the_gpus_that_ray_has(nodes, disk, asked, slots):
    resources = [f"resources.{word}" for word in asked]
    words = (f"data.path={disk / 'tiny'}", f"out={disk / 'runs'}", "--dry-run", *resources)
    plan, error = begin(nodes, disk, "ablate", *words).communicate(timeout=200)
    assert f"slots       {slots}" in plan, plan + error


def test_more_gpus_than_ray_has_are_refused_with_numbers_and_not_waited_for(nodes, disk):
    resources = ("resources.gpus_per_worker=1", "resources.workers=5")
    words = (f"data.path={disk / 'tiny'}", f"out={disk / 'runs'}")
    study = begin(nodes, disk, "ablate", *words, *resources)
    _, error = study.communicate(timeout=200)
    assert study.returncode == 2
    assert "resources: " in error
    assert "4 GPUs" in error
