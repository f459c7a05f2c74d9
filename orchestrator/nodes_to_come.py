"""The largest cluster that its autoscaler may bring: what `ray up` wrote down on the head node. DRIVER.

Ray's autoscaler tells nobody what it may start. But the cluster launcher leaves the whole
configuration in the head node's home folder, where Ray Tune looks for it, too, and a job that was
submitted runs there. Elsewhere (KubeRay, a driver beside the cluster) there is no such file: then
only nodes that are up count.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from orchestrator.cluster import is_private
from orchestrator.tuning.capacity import Node

WRITTEN_BY_LAUNCHER = "ray_bootstrap_config.yaml"
MOST_NODES = 1000
"""Counted of any type: more would change no plan."""


def nodes_to_come(address: str) -> tuple[Node, ...]:
    """Nodes of the cluster at its largest, with the head; () where no launcher says so.

    Args:
        address: of the cluster, as `connect` takes it; a private Ray stays as it is.
    """
    return () if is_private(address) else largest_cluster(Path.home())


def largest_cluster(home: Path) -> tuple[Node, ...]:
    """The same, by the launcher's file in the home folder of whoever started the head.

    A file that is not the launcher's (damaged, or of another program) says nothing, nor does one
    with types whose resources are not given: machines of one's own, on which all is up anyway.
    """
    try:
        text = (home / WRITTEN_BY_LAUNCHER).read_text(encoding="utf-8")
        config = yaml.safe_load(text)
        types, head = config["available_node_types"], config["head_node_type"]
        room = min(int(config.get("max_workers", MOST_NODES)), MOST_NODES)
        found = [_node(types[head])]
        # GPUs first: where not all types fit under the limit of nodes, slots are what is wanted.
        for kind in sorted(types.values(), key=lambda kind: (-_node(kind).gpus, -_node(kind).cpus)):
            count = min(int(kind.get("max_workers", room)), room)
            room -= count
            found += [_node(kind)] * count
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        return ()
    return tuple(found)


def _node(kind: Mapping[str, Any]) -> Node:
    """What a node of this type has; of one whose resources Ray would find out nothing is known."""
    has = kind["resources"]
    return Node(int(has["CPU"]), int(has.get("GPU", 0)))
