"""A cluster of two nodes of one CPU each, one of which is lost while a training runs.

    python -m tests.integration.two_nodes DATA OUT

A process of its own: the tests beside it have a Ray already. Leaves OUT/lost, which began with a
worker on each node, and OUT/calm, which had one worker from the start.
"""

import json
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

os.environ["RAY_AUTH_MODE"] = "disabled"  # before Ray is imported; all of it is on the loopback

import ray
from ray.cluster_utils import Cluster

from orchestrator import train

NODE = {"num_cpus": 1, "object_store_memory": 200 * 2**20}
PORTS = (
    "metrics_agent_port",
    "metrics_export_port",
    "dashboard_agent_listen_port",
    "runtime_env_agent_port",
)
"""Left to Ray, a node ends itself where its agent does not name them within 15 s."""
EXPERIMENT = (
    "model.name=main",
    "model.width=0.125",
    "optimizer.name=sgd",
    "optimizer.lr=0.01",
    "augmentation.share=0",  # what it draws does not depend on workers; that costs time only
    "batch_size=32",
    "precision=fp32",
    "epochs=4",
)


def main(data: Path, out: Path) -> int:
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # Unix sockets bear no long paths
    head = {"include_dashboard": False, "temp_dir": folder}
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, **head, **free_ports()})
    node = cluster.add_node(**NODE, **free_ports())
    ray.init(address=cluster.address, logging_level="WARNING", log_to_driver=False)
    given = [*EXPERIMENT, f"data.path={data}", f"out={out}"]
    loss = threading.Thread(target=_lose, args=(cluster, node, out / "lost" / "metrics.jsonl"))
    loss.start()
    try:
        both = train.main([*given, "name=lost", "resources.workers=2", "resources.min_workers=1"])
        loss.join()
        return both or train.main([*given, "name=calm"])
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def free_ports() -> dict[str, int]:
    """A port for each of a node's agents."""
    with ExitStack() as held:
        free = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
        return {name: one.getsockname()[1] for name, one in zip(PORTS, free, strict=True)}


def _lose(cluster: Cluster, node: object, metrics: Path) -> None:
    """Take the node away once an epoch was trained with it."""
    while not metrics.is_file():
        time.sleep(0.02)
    cluster.remove_node(node, allow_graceful=False)
    (metrics.parent / "lost.json").write_text(json.dumps(len(metrics.read_text().splitlines())))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
