"""What `doctor` finds in the Ray that it is connected to, node by node. DRIVER.

Facts without a verdict, as in `machine`. `look_around` and `storage_problem` run in a WORKER, once a node.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator import machine
from orchestrator.config.shared_folder import Mark

WORKER_TIMEOUT_S = 180.0
COMPUTING = ("torch", "torchvision", "numpy", "pyarrow", "safetensors")
"""Packages on which it depends what a worker computes, reads and writes."""


@dataclass(frozen=True)
class Surroundings:
    """What a worker sees of its node.

    Attributes:
        folders: Of each package of ours as the worker imports it; "" where it cannot.
        listed_gpus: "name, driver version" of each GPU that the node's driver lists.
        free_memory_bytes: Memory that can still be taken there.
        versions: Of the packages that compute, "" of one that is not installed.
    """

    folders: Mapping[str, str]
    listed_gpus: tuple[str, ...]
    free_memory_bytes: int
    versions: Mapping[str, str]


@dataclass(frozen=True)
class NodeFacts:
    """A living node: what Ray counts there, and what a worker saw.

    Attributes:
        address: Its IP address.
        cpus: That Ray hands out.
        gpus: That Ray hands out.
        object_store_bytes: Size of its object store.
        seen: By a worker there.
    """

    address: str
    cpus: int
    gpus: int
    object_store_bytes: int
    seen: Surroundings


def look_around() -> Surroundings:
    """What this process sees of its node. WORKER."""
    installed = machine.installed_versions()
    return Surroundings(
        machine.our_folders(),
        machine.list_gpus(),
        machine.free_memory_bytes(),
        {name: installed.get(name, "") for name in COMPUTING},
    )


def ask_nodes() -> tuple[NodeFacts, ...]:
    """Each living node of the cluster that is connected, as a worker there sees it.

    Raises:
        ray.exceptions.RayError: A worker could not import us, or did not answer in time.
    """
    import ray

    nodes, answers = _on_each_node(look_around)
    return tuple(map(_facts, nodes, ray.get(answers, timeout=WORKER_TIMEOUT_S)))


def storage_problem(runs: Mark | str) -> str:
    """Why this node would not keep runs where the driver looks for them; "" if it would. WORKER.

    Args:
        runs: The driver's mark in the folder of runs, or the address of one in an object store.
    """
    if not isinstance(runs, Mark):
        return machine.store_problem(runs)[0]
    return "" if runs.is_seen() else "what the driver has written there is not there"


def ask_storage(runs: Mark | str) -> tuple[tuple[str, str], ...]:
    """(address, problem) of each living node; "" where it keeps runs where the driver does.

    Args:
        runs: As in `storage_problem`.
    """
    import ray

    nodes, answers = _on_each_node(storage_problem, runs)
    ray.wait(answers, num_returns=len(answers), timeout=WORKER_TIMEOUT_S)
    return tuple(
        (node["NodeManagerAddress"], _problem(answer))
        for node, answer in zip(nodes, answers, strict=True)
    )


def _problem(answer: Any) -> str:
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    try:
        return str(ray.get(answer, timeout=0))
    except GetTimeoutError:
        ray.cancel(answer, force=True)
        return f"no answer within {WORKER_TIMEOUT_S:g} s"
    except RayError as error:
        return " ".join(str(error).split())[-200:]


def _on_each_node(look: Callable[..., object], *given: object) -> tuple[list[Any], list[Any]]:
    """Living nodes, and the answer to come from a worker on each."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # No CPU is asked for: a busy cluster answers too.
    task = ray.remote(num_cpus=0, max_retries=0)(look)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    places = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
    return nodes, [task.options(scheduling_strategy=place).remote(*given) for place in places]


def _facts(node: Mapping[str, Any], seen: Surroundings) -> NodeFacts:
    has = node["Resources"]
    return NodeFacts(
        address=node["NodeManagerAddress"],
        cpus=int(has.get("CPU", 0)),
        gpus=int(has.get("GPU", 0)),
        object_store_bytes=int(has.get("object_store_memory", 0)),
        seen=seen,
    )


def can_serve_dashboard() -> bool:
    """Whether the packages are here that Ray's dashboard needs (the extra `default`)."""
    try:
        importlib.import_module("ray.dashboard.optional_deps")
    except ImportError:
        return False
    return True
