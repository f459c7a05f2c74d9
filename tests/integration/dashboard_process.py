"""A private Ray with our tab and a slot that waits: a test's process has a Ray already.

    python -m tests.integration.dashboard_process RUNS

Prints one JSON line when it is up, and ends when its standard input is closed.
"""

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from orchestrator.cluster import connect
from orchestrator.dashboard.surfaces import shown_in_ray
from orchestrator.dashboard.tab import serving


def server_pid(parent: int) -> int | None:
    """The child of that process that serves the page; None while there is none."""
    threads = Path(f"/proc/{parent}/task").iterdir()  # a replacement is another thread's child
    children = [pid for thread in threads for pid in (thread / "children").read_text().split()]
    return next((int(pid) for pid in children if _serves(pid)), None)


def _serves(pid: str) -> bool:
    try:
        return b"orchestrator.dashboard.server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def node_id() -> str:
    import ray

    (node,) = ray.nodes()
    return str(node["NodeID"])


def metrics_url() -> str:
    import ray

    (node,) = ray.nodes()
    return f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"


def slot_that_waits(runs: Path) -> Any:
    """An actor as Tune makes one of a study's, before its first step."""
    import ray
    from ray import tune

    from orchestrator.tuning.lineages import Leg
    from orchestrator.tuning.slot import Slot, leg_config

    trainable = tune.with_parameters(Slot, plan=None, datasets={}, restarts=0)
    leg = Leg("lineage0", {}, 0, (), 1, ((1, 0),), (1,))
    slot = ray.remote(num_cpus=0)(trainable).remote(config=leg_config(leg, runs / "s", 0))
    ray.get(slot.get_auto_filled_metrics.remote())  # it is made
    return slot


def main(runs: Path) -> None:
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # before Ray is imported
    with ExitStack() as stack:
        tab = stack.enter_context(serving(runs))  # which must find no Ray
        cluster = stack.enter_context(connect("local", cpus=1, proxy_server_url=tab.server_url))
        stack.enter_context(shown_in_ray(runs / "s", cluster.logs))
        slot = slot_that_waits(runs)
        facts = {
            "slot": slot._actor_id.hex(),
            "node": node_id(),
            "dashboard": cluster.dashboard_url,
            "server": tab.server_url,
            "pid": os.getpid(),
            "server_pid": server_pid(os.getpid()),
            "link": tab.link(cluster.dashboard_url, "s", ticket=0),
            "logs": cluster.logs,
            "metrics": metrics_url(),
        }
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
