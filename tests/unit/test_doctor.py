"""The command `doctor`: lines or JSON, and an exit status that scripts can rely on."""

import json
from contextlib import nullcontext
from dataclasses import replace

import pytest

from orchestrator import doctor, machine, node_facts
from orchestrator.checks import GIB, Check
from orchestrator.cluster import Cluster
from orchestrator.config.errors import ConfigError
from orchestrator.config.folder import folder
from orchestrator.config.object_store import Store
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
    assert Store(folder(runs)).files() == {}
    _, missing = doctor._check_storage("s3://no-such-bucket/runs")
    assert missing.verdict == "FAIL"
    assert "credentials" in missing.remedy


def test_nodes_look_for_a_mark_that_is_gone_when_they_have_looked(tmp_path):
    with doctor._marked(str(tmp_path / "runs" / "later")) as mark:
        assert mark.folder == tmp_path
        assert mark.is_seen()
    assert list(tmp_path.iterdir()) == []
    with doctor._marked("s3://bucket/runs") as address:
        assert address == "s3://bucket/runs"


NODE = NodeFacts("10.0.0.2", 8, 0, GIB, Surroundings(machine.our_folders(), (), 8 * GIB))


def lines(monkeypatch, cluster, nodes):
    """What is said of a Ray without starting one."""
    monkeypatch.setattr(doctor, "connect", lambda *_, **__: nullcontext(cluster))
    monkeypatch.setattr(node_facts, "ask_nodes", lambda runs: nodes)
    monkeypatch.setattr(asking, "dashboard_problem", lambda url: "")
    monkeypatch.setattr(asking, "is_open", lambda url: False)
    return {check.name: check for check in doctor._check_ray("10.0.0.1:6379", "")}


def test_a_joined_cluster_has_a_line_for_each_node_and_one_for_its_dashboard(monkeypatch):
    joined = Cluster(False, "10.0.0.1:6379", "http://10.0.0.1:8265", "")
    said = lines(monkeypatch, joined, (NODE, replace(NODE, address="10.0.0.3")))
    assert list(said) == [
        "Ray",
        "code in Ray's workers",
        "node 10.0.0.2",
        "node 10.0.0.3",
        "storage of nodes",
        "dashboard",
    ]
    assert "joined, nodes: 2, 16 CPUs, 0 GPUs" in said["Ray"].found
    assert said["dashboard"].found == "http://10.0.0.1:8265 answers"


def test_of_a_private_ray_it_says_what_ablate_would_do(monkeypatch):
    said = lines(monkeypatch, Cluster(True, "127.0.0.1:6379", "", ""), (NODE,))
    assert list(said) == ["Ray", "code in Ray's workers", "dashboard"]
    assert "ablate serves one" in said["dashboard"].found
