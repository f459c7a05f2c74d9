"""What Ray's workers import under our names, in the Ray that every other test here uses."""

import pytest
import ray

from orchestrator import node_facts
from orchestrator.checks import check_ours
from orchestrator.config.shared_folder import Mark, leave_mark
from orchestrator.machine import our_folders
from orchestrator.node_facts import ask_nodes, ask_storage

pytestmark = pytest.mark.ray


def test_workers_import_the_folders_that_the_driver_imports(local_ray):
    (node,) = ask_nodes()
    assert node.seen.folders == our_folders()
    assert node.object_store_bytes > 0
    assert check_ours("Ray's workers", our_folders()).verdict == "ok"


def test_workers_say_whether_they_see_the_folder_of_the_driver(local_ray, tmp_path, monkeypatch):
    ((_, problem),) = ask_storage(leave_mark(tmp_path))
    assert problem == ""
    monkeypatch.setattr(node_facts, "WORKER_TIMEOUT_S", 3.0)  # less than caches may remember
    ((address, problem),) = ask_storage(Mark(tmp_path, "not written"))
    assert problem == "no answer within 3 s"
    assert address


def test_an_adapter_of_ours_works_in_a_worker_under_its_plain_name(local_ray):
    @ray.remote(num_cpus=0)
    def names():
        import datasets

        return datasets.names()

    assert "synthetic" in ray.get(names.remote())
