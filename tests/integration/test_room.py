"""Whether another worker fits is Ray's word, and asking for it takes nothing away."""

import time

import pytest
import ray

from orchestrator.training.room import fits_now

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


def test_what_a_node_has_fits_again_and_again_and_what_no_node_has_does_not():
    cpus = ray.cluster_resources()["CPU"]
    while ray.available_resources().get("CPU", 0) < cpus:  # of a test before
        time.sleep(0.1)
    assert [fits_now([{"CPU": cpus}]) for _ in range(3)] == [True, True, True]
    assert not fits_now([{"CPU": cpus + 1}])
    assert not fits_now([{"CPU": cpus}, {"CPU": 1.0}])
