"""How many trials fit a cluster at once, computed before anything is started.

PURE. Plain Ray waits for ever, silently, for resources that will never come: so the plan says
how many slots there will be, and a plan without one is refused with the numbers.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.config.errors import ConfigError
from orchestrator.config.experiment import Resources


@dataclass(frozen=True)
class Node:
    """What one machine of the cluster has."""

    cpus: int
    gpus: int


@dataclass(frozen=True)
class SlotCapacity:
    """How many slots there will be, and what each worker of a slot gets.

    Attributes:
        slots: trainings at once.
        workers: of each slot, at most.
        cpus_per_worker: CPU cores of each, whole.
        gpus_per_worker: GPUs of each.
        min_workers: of each slot, at least: it starts with what fits in between. 0 = `workers`.
        missing: slots that were asked for, or that an autoscaler may bring, and do not fit yet.
        none_yet: whether not even the first fits before a node has come.
    """

    slots: int
    workers: int
    cpus_per_worker: int
    gpus_per_worker: float
    min_workers: int = 0
    missing: int = 0
    none_yet: bool = False


def this_machine() -> Node:
    """CPUs that this process may use, and NVIDIA GPUs that it may see."""
    return Node(cpus=len(os.sched_getaffinity(0)), gpus=_count_gpus())


def plan_slots(
    nodes: Sequence[Node],
    wanted: Resources,
    num_lineages: int,
    largest: Sequence[Node] = (),
) -> SlotCapacity:
    """Fit as many slots as the cluster holds, or may come to hold, and the plan can use.

    Args:
        nodes: the cluster as it is.
        wanted: what each trial is to get; zeros and null are chosen here.
        num_lineages: trainings that can run side by side; more slots would stand idle.
        largest: the cluster as its autoscaler may make it; () where none is known.

    Raises:
        ConfigError: not one slot fits; says what was asked and what there is.
    """
    gpus = _gpus_per_worker((*nodes, *largest), wanted)
    limit = min(num_lineages, wanted.slots or num_lineages)
    fewest = wanted.min_workers or wanted.workers
    for workers in range(wanted.workers, fewest - 1, -1):
        grows = _slots(largest, workers, 1, gpus) > _slots(nodes, workers, 1, gpus)
        share_of = largest if grows else nodes
        cpus = wanted.cpus_per_worker or _share_cpus(share_of, workers, gpus, limit)
        fit, most = (_slots(some, workers, cpus, gpus) for some in (nodes, largest))
        if fit or most:
            slots = max(1, min(fit, limit))
            in_all = limit if wanted.slots else min(limit, max(fit, most))
            return SlotCapacity(
                slots,
                wanted.workers,
                cpus,
                gpus,
                wanted.min_workers,
                missing=max(0, in_all - slots),
                none_yet=not _slots(nodes, fewest, cpus, gpus),
            )
    has = "may come to have" if largest else "has"
    raise ConfigError(_refusal(largest or nodes, has, wanted, wanted.cpus_per_worker or 1, gpus))


def slots_that_fit(nodes: Sequence[Node], capacity: SlotCapacity) -> int:
    """Slots of this size that the nodes hold."""
    return _slots(nodes, capacity.workers, capacity.cpus_per_worker, capacity.gpus_per_worker)


def _share_cpus(nodes: Sequence[Node], workers: int, gpus: float, limit: int) -> int:
    """The most CPUs a worker can get without losing a slot that the plan could use."""
    possible = min(limit, _slots(nodes, workers, 1, gpus))
    cpus = 1
    while possible and _slots(nodes, workers, cpus + 1, gpus) >= possible:
        cpus += 1
    return cpus


def _slots(nodes: Sequence[Node], workers: int, cpus: int, gpus: float) -> int:
    return sum(_workers_on(node, cpus, gpus) for node in nodes) // workers


def _workers_on(node: Node, cpus: int, gpus: float) -> int:
    by_cpu = node.cpus // cpus
    if gpus == 0:
        return by_cpu
    # A fraction shares one GPU, so each GPU holds floor(1 / fraction) workers.
    by_gpu = node.gpus * int(1 / gpus + 1e-9) if gpus < 1 else int(node.gpus // gpus)
    return min(by_cpu, by_gpu)


def _gpus_per_worker(nodes: Sequence[Node], wanted: Resources) -> float:
    if wanted.gpus_per_worker is not None:
        return float(wanted.gpus_per_worker)
    return 1.0 if any(node.gpus for node in nodes) else 0.0


def _refusal(nodes: Sequence[Node], has: str, wanted: Resources, cpus: int, gpus: float) -> str:
    have = f"{sum(node.cpus for node in nodes)} CPUs and {sum(node.gpus for node in nodes)} GPUs"
    largest = f"the largest of {len(nodes)} node{'s' if len(nodes) != 1 else ''} has "
    largest += f"{max(node.cpus for node in nodes)} CPUs" if nodes else "none"
    fewest = wanted.min_workers or wanted.workers
    name = "min_workers" if fewest < wanted.workers else "workers"
    return (
        f"resources: one trial must fit the cluster; got {name}={fewest} x "
        f"({cpus} CPUs + {gpus:g} GPUs) = {fewest * cpus} CPUs and "
        f"{fewest * gpus:g} GPUs, but the cluster {has} {have} ({largest}). "
        f"Lower resources.{name}, resources.cpus_per_worker or resources.gpus_per_worker, or "
        "start nodes first (those that an autoscaler may bring count where `ray up` made the "
        "cluster and this runs on its head)"
    )


def _count_gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())
