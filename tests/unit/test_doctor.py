"""The command `doctor`: lines or JSON, and an exit status that scripts can rely on."""

import json
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import version

import boto3
import pytest

from orchestrator import doctor, machine, node_facts
from orchestrator.checks import GIB, Check
from orchestrator.cluster import Cluster
from orchestrator.config.errors import ConfigError
from orchestrator.dashboard import asking
from orchestrator.node_facts import NodeFacts, Surroundings

FINE = Check("memory", "ok", "14.0 GiB free")
SLOW = Check("disk", "warn", "5.0 GiB free at runs/", "Free space")
BROKEN = Check("torch", "FAIL", "no pair", "Type: make install")


@pytest.fixture
def found(monkeypatch):
    """Sets what `examine` finds."""

    def set_found(*checks):
        monkeypatch.setattr(doctor, "examine", lambda address, runs: iter(checks))

    return set_found


def test_warnings_alone_are_no_failure(found, capsys):
    found(FINE, SLOW)
    assert doctor.main([]) == 0
    assert "2 checks: 0 failed, 1 with a warning" in capsys.readouterr().out


def test_one_failed_check_is_exit_status_1(found, capsys):
    found(FINE, BROKEN)
    assert doctor.main([]) == 1
    assert "2 checks: 1 failed" in capsys.readouterr().out


def test_each_line_has_verdict_finding_and_remedy(found, capsys):
    found(FINE, BROKEN)
    doctor.main([])
    fine, broken, *_ = capsys.readouterr().out.splitlines()
    assert fine.split() == ["ok", "memory", "14.0", "GiB", "free"]
    assert broken.startswith("FAIL  torch")
    assert broken.endswith("no pair. Type: make install")


@pytest.mark.parametrize("word", ["format=json", "--json"])
def test_json_is_one_object_and_nothing_else(found, capsys, word):
    found(FINE, BROKEN)
    assert doctor.main([word]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["checks"][1] == {
        "name": "torch",
        "verdict": "FAIL",
        "found": "no pair",
        "remedy": "Type: make install",
    }


def test_what_is_no_address_is_refused_before_anything_is_checked(monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda address, runs: pytest.fail("was asked"))
    with pytest.raises(ConfigError, match="must be auto, local or the host:port"):
        doctor.main(["address=somewhere"])


def test_the_folder_that_is_checked_is_the_one_that_is_named(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(doctor, "examine", lambda address, runs: iter(asked.append(runs) or ()))
    assert doctor.main([f"out={tmp_path}"]) == 0
    assert doctor.main([]) == 0
    assert asked == [str(tmp_path), "runs"]
    _, disk, storage = doctor._check_storage(str(tmp_path))
    assert f"free at {tmp_path}/" in disk.found
    assert storage.found.startswith(f"{tmp_path}/ ")


def test_an_object_store_is_written_read_and_left_as_it_was(s3_bucket):
    runs = f"{s3_bucket}/runs"
    _, storage = doctor._check_storage(runs)
    assert (storage.verdict, storage.found) == (
        "ok",
        f"{runs} can be written, read and cleared",
    )
    kept = boto3.client("s3").list_objects_v2(Bucket=s3_bucket.removeprefix("s3://"), Prefix="runs")
    assert {item["Key"] for item in kept.get("Contents", ())} <= {"runs/"}
    _, missing = doctor._check_storage("s3://no-such-bucket/runs")
    assert missing.verdict == "FAIL"
    assert "Create the bucket" in missing.remedy


def test_nodes_look_for_a_mark_that_is_gone_when_they_have_looked(tmp_path, monkeypatch):
    looked = []

    def ask(runs):
        looked.append(runs)
        return [("10.0.0.2", "" if isinstance(runs, str) or runs.is_seen() else "not there")]

    monkeypatch.setattr(node_facts, "ask_storage", ask)
    for runs in (str(tmp_path / "runs" / "later"), "s3://bucket/runs"):
        (check,) = doctor._check_storage_of_nodes(runs)
        assert check.verdict == "ok"
    assert looked[0].folder == tmp_path
    assert looked[1] == "s3://bucket/runs"
    assert list(tmp_path.iterdir()) == []


def test_where_the_driver_cannot_write_no_node_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "leave_mark", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    monkeypatch.setattr(node_facts, "ask_storage", lambda _: pytest.fail("was asked"))
    assert list(doctor._check_storage_of_nodes(str(tmp_path))) == []


SEEN = Surroundings(machine.our_folders(), (), 8 * GIB, {"torch": version("torch")})
NODE = NodeFacts("10.0.0.2", 8, 0, GIB, SEEN)


def lines(monkeypatch, cluster, nodes, runs):
    """What is said of a Ray without starting one."""
    monkeypatch.setattr(doctor, "connect", lambda *_, **__: nullcontext(cluster))
    monkeypatch.setattr(node_facts, "ask_nodes", lambda: nodes)
    monkeypatch.setattr(node_facts, "ask_storage", lambda runs: [(n.address, "") for n in nodes])
    monkeypatch.setattr(asking, "dashboard_problem", lambda url: "")
    monkeypatch.setattr(asking, "is_open", lambda url: False)
    return {check.name: check for check in doctor._check_ray("10.0.0.1:6379", str(runs))}


def test_a_joined_cluster_has_a_line_for_each_node_and_one_for_its_dashboard(monkeypatch, tmp_path):
    joined = Cluster(False, "10.0.0.1:6379", "http://10.0.0.1:8265", "")
    said = lines(monkeypatch, joined, (NODE, replace(NODE, address="10.0.0.3")), tmp_path)
    assert list(said) == [
        "Ray",
        "code in Ray's workers",
        "packages of nodes",
        "node 10.0.0.2",
        "node 10.0.0.3",
        "storage of nodes",
        "dashboard",
    ]
    assert "joined, nodes: 2, 16 CPUs, 0 GPUs" in said["Ray"].found
    assert said["dashboard"].found == "http://10.0.0.1:8265 answers"


def test_of_a_private_ray_it_says_what_ablate_would_do(monkeypatch, tmp_path):
    said = lines(monkeypatch, Cluster(True, "127.0.0.1:6379", "", ""), (NODE,), tmp_path)
    assert list(said) == ["Ray", "code in Ray's workers", "dashboard"]
    assert "ablate serves one" in said["dashboard"].found
