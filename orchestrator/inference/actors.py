"""How many processes hold the model, and what of the cluster each of them gets. PURE.

One CPU of the cluster is left to the tasks that read rows: actors that took all would wait for
rows for ever, and the rows for a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.config.errors import ConfigError
from orchestrator.tuning.capacity import Node

CPUS_PER_ACTOR = 4
"""Without GPUs. Each process takes 0.7 GB for torch alone, so not one a CPU."""


@dataclass(frozen=True)
class ActorPlan:
    """The pool.

    Attributes:
        actors: how many.
        cpus: that each reserves; 0 on a cluster whose only CPU reads.
        gpus: of each; 0 = it computes on the CPU.
        threads: that each computes with.
    """

    actors: int
    cpus: int
    gpus: float
    threads: int

    @property
    def words(self) -> str:
        """For example "2 with 1 GPU each" or "1 with 2 threads"."""
        if self.gpus:
            return f"{self.actors} with {self.gpus:g} GPU each"
        return f"{self.actors} with {self.threads} thread{'s' if self.threads > 1 else ''}"


def plan_actors(
    nodes: Sequence[Node], *, actors: int, gpus_per_actor: float | None, num_batches: int
) -> ActorPlan:
    """Fit the pool into a cluster.

    Args:
        nodes: the cluster.
        actors: as asked for; 0 = one a GPU, or one for each `CPUS_PER_ACTOR` CPUs of a node.
        gpus_per_actor: as asked for; None = 1 where there are GPUs.
        num_batches: more actors than batches would stand idle.

    Raises:
        ConfigError: what was asked for does not fit; says what would.
    """
    default_gpus = 1.0 if any(node.gpus for node in nodes) else 0.0
    gpus = default_gpus if gpus_per_actor is None else gpus_per_actor
    most = _places(nodes, 1, gpus)
    if most < max(1, actors):
        raise ConfigError(_refusal(nodes, actors, gpus, most))
    fitting = most if gpus else max(1, _places(nodes, CPUS_PER_ACTOR, 0))
    number = min(actors or fitting, max(1, num_batches))
    threads = 1
    while _places(nodes, threads + 1, gpus) >= number:
        threads += 1
    left = sum(node.cpus for node in nodes) - 1
    return ActorPlan(number, min(threads, left // number), gpus, threads)


def _places(nodes: Sequence[Node], cpus: int, gpus: float) -> int:
    return sum(min(node.cpus // cpus, _gpu_places(node, gpus)) for node in nodes)


def _gpu_places(node: Node, gpus: float) -> int:
    """A fraction shares one GPU, so each GPU has room for floor(1 / fraction)."""
    return node.gpus * int(1 / gpus + 1e-9) if gpus else node.cpus


def _refusal(nodes: Sequence[Node], actors: int, gpus: float, most: int) -> str:
    have = f"{sum(node.cpus for node in nodes)} CPUs and {sum(node.gpus for node in nodes)} GPUs"
    return (
        f"actors: must fit the cluster with 1 CPU and {gpus:g} GPUs each; got {actors or 1} for "
        f"{have}, where {most} fit. Lower actors or gpus_per_actor"
    )
