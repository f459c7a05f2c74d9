"""What a worker sees of its node, put together with what Ray counts there."""

from dataclasses import replace
from importlib.metadata import version

from orchestrator import machine, node_facts
from orchestrator.config import shared_folder
from orchestrator.config.shared_folder import leave_mark
from orchestrator.node_facts import Surroundings

VERSIONS = {name: version(name) for name in node_facts.COMPUTING}


def test_a_worker_sees_its_own_node(monkeypatch):
    monkeypatch.setattr(machine, "list_gpus", lambda: ("NVIDIA H200, 575.1",))
    monkeypatch.setattr(machine, "free_memory_bytes", lambda: 7)
    expected = Surroundings(machine.our_folders(), ("NVIDIA H200, 575.1",), 7, VERSIONS)
    assert node_facts.look_around() == expected


def test_a_worker_says_whether_it_keeps_runs_where_the_driver_does(
    tmp_path, monkeypatch, s3_bucket
):
    monkeypatch.setattr(shared_folder, "REMEMBERED_S", 0.0)
    mark = leave_mark(tmp_path)
    assert node_facts.storage_problem(mark) == ""
    elsewhere = replace(mark, folder=tmp_path / "elsewhere")
    assert "is not there" in node_facts.storage_problem(elsewhere)
    assert node_facts.storage_problem(f"{s3_bucket}/runs") == ""
    assert "cannot be written" in node_facts.storage_problem("s3://no-such/runs")


def test_what_ray_counts_of_a_node_and_what_was_seen_there_are_put_together():
    seen = Surroundings({}, (), 7, {})
    node = {"NodeManagerAddress": "10.0.0.2", "Resources": {"CPU": 8.0, "object_store_memory": 9.0}}
    facts = node_facts._facts(node, seen)
    assert (facts.address, facts.cpus, facts.gpus) == ("10.0.0.2", 8, 0)
    assert (facts.object_store_bytes, facts.seen) == (9, seen)
