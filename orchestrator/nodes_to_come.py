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

from orchestrator.tuning.capacity import Node

WRITTEN_BY_LAUNCHER = "ray_bootstrap_config.yaml"
MOST_NODES = 1000
"""Counted of any type: more would change no plan."""


def nodes_to_come(home: Path | None = None) -> tuple[Node, ...]:
    """Nodes of the cluster at its largest, with the head; () where no launcher says so.

    A file that is not the launcher's (damaged, or of another program) says nothing.

    Args:
        home: folder of whoever started the head; the user's own by default.
    """
    try:
        text = ((home or Path.home()) / WRITTEN_BY_LAUNCHER).read_text(encoding="utf-8")
        config = yaml.safe_load(text)
        types, head = config["available_node_types"], config["head_node_type"]
        room = min(int(config.get("max_workers", MOST_NODES)), MOST_NODES)
        found = [_node(types[head])]
        workers = [kind for name, kind in types.items() if name != head]
        # GPUs first: where not all types fit under the limit of nodes, slots are what is wanted.
        for kind in sorted(workers, key=lambda kind: (-_node(kind).gpus, -_node(kind).cpus)):
            count = min(int(kind.get("max_workers", room)), room)
            room -= count
            found += [_node(kind)] * count
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        return ()
    return tuple(found)


def _node(kind: Mapping[str, Any]) -> Node:
    has = kind.get("resources") or {}
    return Node(int(has.get("CPU", 0)), int(has.get("GPU", 0)))
