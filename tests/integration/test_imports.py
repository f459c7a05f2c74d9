"""What Ray's workers import under our names, in the Ray that every other test here uses."""

import pytest
import ray

from orchestrator.checks import check_ours
from orchestrator.machine import our_folders
from orchestrator.node_facts import ask_nodes

pytestmark = pytest.mark.ray


def test_workers_import_the_folders_that_the_driver_imports(local_ray):
    (node,) = ask_nodes("")
    assert node.seen.folders == our_folders()
    assert node.object_store_bytes > 0
    assert check_ours("Ray's workers", our_folders()).verdict == "ok"


def test_an_adapter_of_ours_works_in_a_worker_under_its_plain_name(local_ray):
    @ray.remote(num_cpus=0)
    def names():
        import datasets

        return datasets.names()

    assert "synthetic" in ray.get(names.remote())
