"""A cluster of several nodes on this machine, each a `ray start` process with ports of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from orchestrator.nodes_to_come import WRITTEN_BY_LAUNCHER

TOKEN = "a-token-of-this-test-that-is-long-enough"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ROOT = Path(__file__).resolve().parents[2]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
ANY_PORT = (
    "--min-worker-port=0",
    "--max-worker-port=0",
    "--dashboard-agent-listen-port=0",
    "--object-store-memory=200000000",
)


MOUNT_ANOTHER = 'mount -t tmpfs none "$0" && exec "$@"'
OTHER_DISK = ["unshare", "--mount", "sh", "-c", MOUNT_ANOTHER]
"""A process whose folder of that name is one of its own, as on a machine without shared storage."""


def can_have_other_disk() -> bool:
    """Whether this user may mount, which root may outside most containers."""
    try:
        return subprocess.run([*OTHER_DISK, "/mnt", "true"], capture_output=True).returncode == 0
    except OSError:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def within(limit_s: float, is_so) -> bool:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if is_so():
            return True
        time.sleep(0.2)
    return False


class Nodes:
    """A head without CPUs for training, and nodes that come and go; `close` ends them all.

    With `workers`, node types of Ray's autoscaler, a real autoscaler starts and ends nodes, too:
    as processes of this machine, by the provider that Ray tests it with.
    """

    def __init__(self, folder: Path, *head_options: str, workers: dict | None = None) -> None:
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.port, dashboard = free_port(), free_port()
        self.dashboard = f"http://127.0.0.1:{dashboard}"
        # Ray's sockets lie in its folder, and their paths must be short.
        self.environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith("RAY_")},
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        if workers is not None:
            self.environment |= {
                "RAY_FAKE_CLUSTER": "1",
                "AUTOSCALER_UPDATE_INTERVAL_S": "1",
                "PYTHONPATH": str(Path(__file__).parent),  # where the provider is
            }
            head_options = (*head_options, f"--autoscaling-config={self._autoscaling(workers)}")
        self._start(
            "head",
            "--head",
            f"--port={self.port}",
            f"--temp-dir={folder}",
            "--num-cpus=0",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard}",
            f"--ray-client-server-port={free_port()}",
            *head_options,
        )
        assert within(180, lambda: self.num_alive() == 1), self.output("head")

    def add(self, name: str, cpus: int = 1, *options: str, own_disk: Path | None = None) -> None:
        """Start a node and wait until it is one of the cluster.

        Args:
            name: of the node.
            cpus: that it has.
            options: of `ray start`.
            own_disk: a folder that is another one on this node, and empty.
        """
        before = self.num_alive()
        # As on a machine of its own. In a shared folder each node unpacks the code of a job anew,
        # and takes it away from the processes of the others while it does.
        own = f"--temp-dir={self._folder / name}"
        joined = f"--address=127.0.0.1:{self.port}"
        self._start(name, joined, f"--num-cpus={cpus}", own, *options, own_disk=own_disk)
        assert within(180, lambda: self.num_alive() > before), self.output(name)

    def kill(self, name: str) -> None:
        """As if its machine were switched off: every process of the node, at once."""
        process = self._processes.pop(name)
        for pid in family(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for name in reversed(list(self._processes)):
            self.kill(name)

    def num_alive(self) -> int:
        status, text = self.ask("/nodes?view=summary")
        if status != 200:
            return 0
        nodes = json.loads(text)["data"]["summary"]
        return sum(node["raylet"]["state"] == "ALIVE" for node in nodes)

    def ask(self, path: str, headers: dict[str, str] = BEARER) -> tuple[int, str]:
        try:
            request = urllib.request.Request(self.dashboard + path, headers=headers)
            with urllib.request.urlopen(request, timeout=30) as got:
                return got.status, got.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, ""
        except OSError:
            return 0, ""  # not up yet

    def submit(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """`ray job submit` as the README has it, without waiting for the job."""
        options = (
            "--no-wait",
            f"--submission-id={name}",
            "--working-dir=.",
            '--runtime-env-json={"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "600"}}',
        )
        return subprocess.run(
            [*RAY, "job", "submit", f"--address={self.dashboard}", *options, "--", *command],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def stop(self, name: str) -> None:
        """What `ray job stop` asks for, without the seconds that its start takes."""
        request = urllib.request.Request(
            f"{self.dashboard}/api/jobs/{name}/stop", data=b"", headers=BEARER, method="POST"
        )
        urllib.request.urlopen(request, timeout=30).close()

    def job(self, name: str) -> dict:
        return json.loads(self.ask(f"/api/jobs/{name}")[1])

    def log(self, name: str) -> str:
        return json.loads(self.ask(f"/api/jobs/{name}/logs")[1])["logs"]

    def ends(self, name: str, limit_s: float = 400) -> str:
        """The job's last status."""
        within(limit_s, lambda: self.is_over(name))
        return self.job(name)["status"]

    def is_over(self, name: str) -> bool:
        return self.job(name)["status"] in ("SUCCEEDED", "FAILED", "STOPPED")

    def output(self, name: str) -> str:
        return (self._folder / f"{name}.txt").read_text()[-3000:]

    def _autoscaling(self, workers: dict) -> Path:
        """The file that `ray up` would leave in the head's home folder, here in the cluster's."""
        config = {
            "cluster_name": "autoscaled",
            "max_workers": sum(kind["max_workers"] for kind in workers.values()),
            "upscaling_speed": 9,
            "idle_timeout_minutes": 60,
            "provider": {
                "type": "external",
                "module": "own_folder_nodes.OwnFolderNodes",
                "folder": str(self._folder),
                "gcs_address": f"127.0.0.1:{self.port}",
                "launch_multiple": True,
                "disable_node_updaters": True,  # there is no machine to log in to
                "worker_liveness_check": False,
            },
            "auth": {},
            "docker": {},
            "file_mounts": {},
            "cluster_synced_files": [],
            **{f"{name}_commands": [] for name in ("initialization", "setup", "worker_setup")},
            "worker_start_ray_commands": [],
            "head_node_type": "ray.head.default",
            "available_node_types": {
                "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
                **{name: {"node_config": {}, **kind} for name, kind in workers.items()},
            },
        }
        path = self._folder / WRITTEN_BY_LAUNCHER
        path.write_text(json.dumps(config))  # YAML, too
        return path

    def _start(self, name: str, *options: str, own_disk: Path | None = None) -> None:
        before = [*OTHER_DISK, str(own_disk)] if own_disk else []
        with (self._folder / f"{name}.txt").open("wb") as output:
            self._processes[name] = subprocess.Popen(
                [*before, *RAY, "start", "--block", *ANY_PORT, *options],
                stdout=output,
                stderr=output,
                cwd=self._folder,
                env=self.environment,
                start_new_session=True,
            )


def family(pid: int) -> list[int]:
    """A process and all that descend from it, the youngest first."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found[::-1]
