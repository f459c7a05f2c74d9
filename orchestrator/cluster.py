"""Ray for a command: the cluster it was started in, the one it names, or a private one.

A private Ray lives in a temporary folder of its own, asks for a token on every port, serves its
dashboard on the loopback address only, and ends with the command. A bare `ray.init()` would do
otherwise: it joins whatever cluster it finds on the machine. Worker processes import `models`,
`datasets` and `orchestrator` from this repository wherever the command was typed.

DRIVER. Imports ray when a command connects, not before: `--help` and mistakes stay fast.
"""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.config.errors import ConfigError, OrchestratorError, StalledError
from orchestrator.quiet import quiet_start
from orchestrator.tuning.capacity import Node

ROOT = Path(__file__).resolve().parent.parent

LOOPBACK = "127.0.0.1"
ONE_MACHINE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""At 0 Ray takes the loopback address for the node's on every system, as it does on macOS and Windows: GCS,
raylets, workers and exporters of metrics, which ask for no token, then listen there only."""
PREEMPTION = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"
"""An actor for each slot, 3 s of a core to start, that asks whether its node is to be taken away."""
METRICS_EVERY_MS = "RAY_metrics_report_interval_ms"
"""Of this process alone where a cluster is joined. Ray's own 10 s leave a gauge up to 9 s behind (measured);
with 4 s it is 3 s behind at most."""
JOB_MARK = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # `ray job submit` sets it for what it starts
MAX_SOCKET_BYTES = 107  # of a Unix socket's path
CONNECT_TIMEOUT_S = 5.0
AGENT_PORT = "dashboard_agent_listen_port"
SOCKET_TAIL = "/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
    "RAY_ENABLE_AUTO_CONNECT": "0",  # else whoever asks Ray too late starts or joins another
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TQDM": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune prints its settings in a box whatever the verbosity
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the ledger is the record; no files beside it
    # Our searcher hands out no more legs than there are slots: none need wait for the one before it to
    # start, and slots that end together all get their next leg, where Tune would end most.
    "TUNE_MAX_PENDING_TRIALS_PG": "4096",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours lets the epochs that are begun end (stopping.py)
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # A slot is several processes that mostly wait; Ray warns of more than a few for each core.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "PYTHON worker processes have been started",
}


@dataclass(frozen=True)
class Cluster:
    """What a command is connected to.

    Attributes:
        started: Whether this process started it, and ends it.
        address: host:port.
        dashboard_url: "" where there is none.
        logs: Folder of the session's logs on this node, which is the head where this is a job's driver.
    """

    started: bool
    address: str
    dashboard_url: str
    logs: str


@contextmanager
def connect(
    address: str = "auto",
    *,
    dashboard: bool = True,
    cpus: int | None = None,
    log_to_driver: bool = False,
    proxy_server_url: str | None = None,
) -> Iterator[Cluster]:
    """Connects this process to Ray for as long as the context lasts.

    Args:
        address: "auto" (the cluster of RAY_ADDRESS, which a submitted job has set; else a
            private one), "local" (always private), or host:port.
        dashboard: Whether a private Ray serves its dashboard, on the loopback address.
        cpus: CPUs of a private Ray; None = those of the machine.
        log_to_driver: Whether what workers print appears here; errors arrive without it.
        proxy_server_url: A private dashboard asks this server first (our leaderboard tab).

    Yields:
        The cluster. Where Ray is connected already it is used and left as it is.

    Raises:
        ConfigError: The address is not one of a cluster, or no cluster answers there.
    """
    found = _resolve(address)
    _set_environment(private=not found)
    import ray

    if ray.is_initialized():
        yield _describe(started=False)
        return
    if found:
        _join(found, log_to_driver)
        try:
            yield _describe(started=False)
        finally:
            ray.shutdown()
        return
    with _session_folder() as folder:
        _start(folder, dashboard, cpus, log_to_driver, proxy_server_url)
        try:
            yield _describe(started=True)
        finally:
            ray.shutdown()


def is_private(address: str) -> bool:
    """Whether `connect` would start a Ray of its own for this address."""
    return not _resolve(address)


def refuse_lost_folder(out: str | None) -> None:
    """Refuse a folder inside Ray's copy of the code, in which a submitted job runs and is lost.

    Args:
        out: as given, `~` expanded; None where the command chooses one beside what it reads.

    Raises:
        ConfigError: this process is such a job, and `out` is a relative path.
    """
    if out is None or JOB_MARK not in os.environ:
        return
    if "://" not in out and not Path(out).is_absolute():
        raise ConfigError(
            f"out: must be a path that all nodes see, or s3://bucket/folder, in a submitted job; got "
            f"{out!r}, which would lie in Ray's copy of the code. Type out=/shared/{Path(out).name}"
        )


def nodes() -> tuple[Node, ...]:
    """CPUs and GPUs of each living node of the cluster that this process is connected to."""
    import ray

    living = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return tuple(Node(int(has.get("CPU", 0)), int(has.get("GPU", 0))) for has in living)


def _resolve(address: str) -> str:
    """Returns the host:port to join, or "" where a private Ray is to be started."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "") or "local"
    if address == "local":
        return ""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise ConfigError(
            f"address: must be auto, local or the host:port of a Ray head; got {address!r}. "
            "A dashboard's URL takes jobs: ray job submit --working-dir . -- python -m ..."
        )
    _check_answers(address, host, int(port))
    return address


def _check_answers(address: str, host: str, port: int) -> None:
    """Tries the port for seconds: Ray itself tries a dead one for ten minutes and more."""
    try:
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"address: a Ray head must answer there; got {address} ({error}). Check host and "
            "port, or use address=local."
        ) from error


def _set_environment(*, private: bool) -> None:
    """Sets what Ray reads once, when it is first imported.

    Where it has been imported already the mode of authentication is left to Ray: set now, the
    processes it starts would ask for a token that this one does not have.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if "ray" in sys.modules:
        return
    os.environ.setdefault(METRICS_EVERY_MS, "4000")
    if (private or _has_token()) and not os.environ.get("RAY_AUTH_MODE"):
        os.environ["RAY_AUTH_MODE"] = "token"
    if private:
        os.environ.setdefault(ONE_MACHINE, "0")
        os.environ.setdefault(PREEMPTION, "0")


def _join(address: str, log_to_driver: bool) -> None:
    """Joins a running cluster; a submitted job has its code on the workers already."""
    import ray

    quiet_start()
    runtime_env = None if JOB_MARK in os.environ else {"working_dir": str(ROOT)}
    try:
        ray.init(
            address=address,
            runtime_env=runtime_env,
            log_to_driver=log_to_driver,
            logging_level="WARNING",
        )
    except (ConnectionError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"address: a Ray cluster must answer there; got {address} ({reason}). Check "
            "host:port and RAY_AUTH_TOKEN, or use address=local."
        ) from error


def _has_token() -> bool:
    """Whether Ray would find a token to send."""
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or (Path.home() / ".ray" / "auth_token").exists()


def _start(
    folder: Path,
    dashboard: bool,
    cpus: int | None,
    log_to_driver: bool,
    proxy_server_url: str | None,
) -> None:
    """Starts a private Ray.

    `ray.init` turns `_node_ip_address="127.0.0.1"` back into the machine's own address (2.60,
    `resolve_ip_for_localhost`), so that `ONE_MACHINE` keeps it on loopback.
    """
    import ray

    options: dict[str, Any] = {"proxy_server_url": proxy_server_url} if proxy_server_url else {}
    quiet_start()
    try:
        with _importable(), _own_agent_port(wanted=dashboard):
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=dashboard,
                dashboard_host=LOOPBACK,
                log_to_driver=log_to_driver,
                logging_level="WARNING",
                _temp_dir=str(folder),
                **options,
            )
    # Ray raises a plain Exception where its processes do not answer within 30 s.
    except Exception as error:
        ray.shutdown()
        raise OrchestratorError(
            f"ray: must start on this machine; got {' '.join(str(error).split())[:300]} "
            "Is the machine busy, or short of memory? Try again, or use address=HOST:PORT."
        ) from error


@contextmanager
def _session_folder() -> Iterator[Path]:
    """A folder for one private Ray, with its logs; a bug leaves it behind to be read, a stall too."""
    parent = Path(tempfile.gettempdir())
    if len(f"{parent}/ray-12345678{SOCKET_TAIL}".encode()) > MAX_SOCKET_BYTES:
        parent = Path("/tmp")  # Unix sockets bear no long paths
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir=parent))
    try:
        yield folder
    except StalledError:
        raise  # its report names these logs
    except (OrchestratorError, KeyboardInterrupt, GeneratorExit):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _own_agent_port(*, wanted: bool) -> Iterator[None]:
    """Lets the node agent of a Ray that starts choose its port.

    All Rays of a machine want 52365, and one without an agent runs no jobs and shows no logs.
    `ray start` has an option for it, `ray.init` has none (2.60): the class in which it collects
    its settings is given the argument. Where that is gone the usual port is tried, as before; so
    too without a dashboard, which has no pages to lose.
    """
    from ray._private import parameter

    usual = getattr(parameter, "RayParams", None)
    if not wanted or usual is None or AGENT_PORT not in inspect.signature(usual).parameters:
        yield
        return
    parameter.RayParams = functools.partial(usual, **{AGENT_PORT: 0})
    try:
        yield
    finally:
        parameter.RayParams = usual


@contextmanager
def _importable() -> Iterator[None]:
    """Lets the processes that Ray starts import this repository: they inherit the variable."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT)] + ([before] if before else []))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _describe(*, started: bool) -> Cluster:
    import ray

    node = ray._private.worker._global_node
    url = getattr(ray._private.worker, "get_dashboard_url", lambda: "")() or ""
    return Cluster(
        started=started,
        address=ray.get_runtime_context().gcs_address,
        dashboard_url=url if not url or "://" in url else f"http://{url}",
        logs=node.get_logs_dir_path() if node else "",
    )
