"""A private Ray with our tab, as a process of its own: a test's process has a Ray already.

    python -m tests.integration.dashboard_process RUNS

Prints one JSON line when it is up, and ends when its standard input is closed.
"""

import json
import os
import socket
import sys
from contextlib import ExitStack
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


def own_agent_port() -> None:
    """Give this Ray's node agent a free port: `ray.init` has no argument for it, and the Ray of
    the tests beside holds the usual one. Without an agent no job can be submitted.
    """
    from ray._private.parameter import RayParams

    usual = RayParams.__init__
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def with_port(self: RayParams, *args: object, **given: object) -> None:
        usual(self, *args, **{"dashboard_agent_listen_port": port, **given})

    RayParams.__init__ = with_port


def main(runs: Path) -> None:
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # before Ray is imported
    with ExitStack() as stack:
        tab = stack.enter_context(serving(runs))  # which must find no Ray
        own_agent_port()
        cluster = stack.enter_context(connect("local", cpus=1, proxy_server_url=tab.server_url))
        stack.enter_context(shown_in_ray(runs / "s", cluster.logs))
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
