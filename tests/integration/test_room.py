"""Whether another worker fits is Ray's word, and asking for it takes nothing away."""

import time

import pytest
import ray
from ray.util.placement_group import placement_group

from orchestrator.ingest.reserved import give_back, unused
from orchestrator.training.room import fits_now

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


def test_what_a_node_has_fits_again_and_again_and_what_no_node_has_does_not():
    cpus = ray.cluster_resources()["CPU"]
    while ray.available_resources().get("CPU", 0) < cpus:  # of a test before
        time.sleep(0.1)
    assert [fits_now([{"CPU": cpus}]) for _ in range(3)] == [True, True, True]
    assert not fits_now([{"CPU": cpus + 1}])
    assert not fits_now([{"CPU": cpus}, {"CPU": 1.0}])


def test_what_an_actor_that_died_has_reserved_is_unused_and_is_given_back():
    cpus = ray.cluster_resources()["CPU"]
    while ray.available_resources().get("CPU", 0) < cpus:  # of a test before
        time.sleep(0.1)

    @ray.remote(num_cpus=0)
    class Maker:
        """Reserves as a controller does, and does not come to use it."""

        def reserve(self, cpus: float) -> None:
            ray.get(placement_group([{"CPU": cpus}]).ready())

    maker = Maker.remote()
    ray.get(maker.reserve.remote(cpus))
    worker = {"CPU": cpus}
    assert unused(worker) == frozenset(), "whoever made it lives"
    ray.kill(maker)
    while not unused(worker):
        time.sleep(0.1)
    assert not fits_now([worker])
    give_back(unused(worker))
    assert fits_now([worker])
