"""The command `doctor`: check this machine and Ray, and say what to mend.

One line a check, printed as it is known: a verdict, what was found, and the remedy. `machine`
and `node_facts` find, `checks` judges. DRIVER.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import packages_distributions
from pathlib import Path

from orchestrator import checks, machine, node_facts
from orchestrator.checks import Check
from orchestrator.cluster import ROOT, Cluster, connect, is_private
from orchestrator.config.command_line import parse, run
from orchestrator.config.commands import DoctorConfig
from orchestrator.config.errors import ConfigError, OrchestratorError
from orchestrator.config.shared_folder import leave_mark
from orchestrator.dashboard import asking
from orchestrator.tuning.capacity import this_machine

COMMAND = "python -m orchestrator.doctor"
DESCRIPTION = "Checks this machine and Ray: versions, processors, storage, safety, our own code."
EXAMPLES = (COMMAND, f"{COMMAND} --json address=local", f"{COMMAND} out=s3://bucket/runs")
WORKERS = "Ray's workers"
JSON = "--json"
"""The usual word for `format=json`; a field of that name would hide a method of pydantic's."""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns 0 unless a check failed."""
    words = ["format=json" if word == JSON else word for word in argv]
    config = parse(DoctorConfig, words, command=COMMAND, description=DESCRIPTION, examples=EXAMPLES)
    is_private(config.address)  # refuses what is no address before anything is tried
    done = []
    for check in examine(config.address, config.out):
        done.append(check)
        if config.format == "text":
            print(_line(check), flush=True)
    failed = sum(check.verdict == "FAIL" for check in done)
    if config.format == "json":
        print(json.dumps({"ok": not failed, "checks": [asdict(check) for check in done]}, indent=2))
    else:
        warned = sum(check.verdict == "warn" for check in done)
        print(f"\n{len(done)} checks: {failed} failed, {warned} with a warning")
    return 1 if failed else 0


def examine(address: str, runs: str) -> Iterator[Check]:
    """All checks, quick ones first.

    Args:
        address: Ray cluster whose workers are asked, as in `cluster.connect`.
        runs: Path or address of the folder that is to hold runs; need not exist yet.

    Raises:
        ConfigError: No Ray cluster answers at the address.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "")  # before connecting sets it
    yield from _check_packages()
    yield checks.check_ours("this process", machine.our_folders())
    yield from _check_hardware()
    yield from _check_storage(runs)
    yield from _check_ray(address, runs)
    yield checks.check_auth(machine.read_auth(mode))  # after a private Ray has made its token


def _check_packages() -> Iterator[Check]:
    requires_python, requirements = machine.read_requirements(ROOT / "pyproject.toml")
    installed = machine.installed_versions()
    yield checks.check_python(platform.python_version(), requires_python)
    yield checks.check_floors(requirements, installed)
    yield checks.check_pins(machine.read_pins(ROOT / "constraints.txt"), installed)
    yield checks.check_names(packages_distributions())


def _check_hardware() -> Iterator[Check]:
    torch = machine.ask_torch()
    memory = machine.free_memory_bytes()
    yield checks.check_torch(torch)
    yield checks.check_gpus(torch, machine.list_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    yield checks.check_processor(this_machine().cpus, torch)
    yield checks.check_memory(memory)
    yield checks.check_shared_memory(machine.free_shared_memory_bytes(), memory)


def _check_storage(runs: str) -> Iterator[Check]:
    yield checks.check_spilling(machine.used_share_of_temporary_disk())
    if "://" in runs:
        yield checks.check_store(*machine.store_problem(runs), runs)
        return
    yield checks.check_disk(machine.free_disk_bytes(Path(runs)), runs)
    yield checks.check_storage(machine.storage_problem(Path(runs)), runs)


def _check_ray(address: str, runs: str) -> Iterator[Check]:
    """Starts or joins Ray, and asks a worker of each node where it finds our code."""
    try:
        with connect(address, dashboard=False) as cluster:
            yield from _check_nodes(cluster, runs)
            yield _check_dashboard(cluster)
    except ConfigError:
        raise
    except (ImportError, OrchestratorError) as error:
        remedy = str(error) if isinstance(error, OrchestratorError) else checks.INSTALL
        yield Check("Ray", "FAIL", "did not start", remedy)


def _check_nodes(cluster: Cluster, runs: str) -> Iterator[Check]:
    import ray
    from ray.exceptions import RayError

    try:
        nodes = node_facts.ask_nodes()
    except RayError as error:
        found = f"no answer: {' '.join(str(error).split())[-300:]}"
        remedy = "Type: unset PYTHONPATH, and try again"
        yield Check(f"code in {WORKERS}", "FAIL", found, remedy)
        return
    size = f"{sum(node.cpus for node in nodes)} CPUs, {sum(node.gpus for node in nodes)} GPUs"
    came = "started here" if cluster.started else f"joined, nodes: {len(nodes)}"
    yield Check("Ray", "ok", f"{ray.__version__} {came}, {size}")
    verdicts = [checks.check_ours(WORKERS, node.seen.folders) for node in nodes]
    yield next((check for check in verdicts if check.verdict != "ok"), verdicts[0])
    if not cluster.started:  # a Ray of this machine has what the lines above say
        yield checks.check_versions_of_nodes(nodes, machine.installed_versions())
        yield from map(checks.check_node, nodes)
        yield from _check_storage_of_nodes(runs)


def _check_storage_of_nodes(runs: str) -> Iterator[Check]:
    """Nothing where the driver itself cannot write there, which a line above says."""
    if "://" in runs:
        yield checks.check_storage_of_nodes(node_facts.ask_storage(runs), runs)
        return
    try:
        mark = leave_mark(machine.existing(Path(runs)))
    except OSError:
        return
    try:
        yield checks.check_storage_of_nodes(node_facts.ask_storage(mark), runs)
    finally:
        with suppress(OSError):
            (mark.folder / mark.name).unlink()


def _check_dashboard(cluster: Cluster) -> Check:
    if cluster.started:
        return checks.check_private_dashboard(node_facts.can_serve_dashboard())
    url = cluster.dashboard_url
    return checks.check_dashboard(
        url,
        asking.dashboard_problem(url) if url else "",
        is_open=bool(url) and asking.is_open(url),
    )


def _line(check: Check) -> str:
    remedy = f". {check.remedy}" if check.remedy else ""
    return f"{check.verdict:<4}  {check.name:<21}  {check.found}{remedy}"


if __name__ == "__main__":
    sys.exit(run(main))
