"""A private Ray with our tab, as a process of its own: a test's process has a Ray already.

    python -m tests.integration.dashboard_process RUNS

Prints one JSON line when it is up, and ends when its standard input is closed.
"""

import json
import os
import sys
from pathlib import Path

from orchestrator.cluster import connect
from orchestrator.dashboard.surfaces import shown_in_ray
from orchestrator.dashboard.tab import serving


def server_pid() -> int:
    """The child of this process that serves the page."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    command = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
    return next(int(pid) for pid in children if b"orchestrator.dashboard.server" in command[pid])


def metrics_url() -> str:
    import ray

    (node,) = ray.nodes()
    return f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"


def main(runs: Path) -> None:
    with (
        serving(runs) as tab,
        connect("local", cpus=1, proxy_server_url=tab.server_url) as cluster,
        shown_in_ray(runs / "s", cluster.logs),
    ):
        facts = {
            "dashboard": cluster.dashboard_url,
            "server": tab.server_url,
            "server_pid": server_pid(),
            "link": tab.link(cluster.dashboard_url, "s", ticket=0),
            "logs": cluster.logs,
            "metrics": metrics_url(),
        }
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
