"""What `doctor` thinks of what it found: one function a check, facts in, verdict out.

PURE: no torch, no ray, nothing read and nothing started; `machine` and `node_facts` gather the
facts. `FAIL` is what a command cannot work with, `warn` what costs time or safety, and both name
the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from orchestrator.machine import OUR_PACKAGES, AuthFacts, TorchFacts
from orchestrator.node_facts import NodeFacts

GIB = 2**30
INSTALL = "Type: make install"

# One slot holds a trial actor, a Train controller and a worker, 0.7-0.8 GB each once torch is
# imported; Ray's own processes take about 1 GB.
LEAST_MEMORY_GIB, ENOUGH_MEMORY_GIB = 2.0, 4.0
# A checkpoint of the paper's `main` with Adam's moments is 0.6 GB; best and last are kept.
LEAST_DISK_GIB, ENOUGH_DISK_GIB = 1.0, 10.0
SPILL_LIMIT = 0.95  # Ray stops spilling and starting workers above this share of its disk

# How Ray 2.60 sizes its object store: a share of the free memory, capped by what /dev/shm has
# left, but not below 10 GB. What does not fit /dev/shm goes to files in /tmp, slowly.
STORE_SHARE, STORE_CAP, STORE_FLOOR = 0.3, 200e9, 1e10


@dataclass(frozen=True)
class Check:
    """One line of the doctor.

    Attributes:
        name: What was looked at.
        verdict: ok, warn (works, but) or FAIL (does not work).
        found: What was found, as a user reads it.
        remedy: What to do; "" where the verdict is ok.
    """

    name: str
    verdict: Literal["ok", "warn", "FAIL"]
    found: str
    remedy: str = ""


def check_python(version: str, requires: str) -> Check:
    """This interpreter against pyproject's `requires-python`."""
    if SpecifierSet(requires).contains(version):
        return Check("Python", "ok", version)
    remedy = "Remove .venv and type: make install PYTHON=python3.11"
    return Check("Python", "FAIL", f"{version} is not {requires}", remedy)


def check_floors(requirements: Sequence[str], installed: Mapping[str, str]) -> Check:
    """Versions against the floors of pyproject, some of which close security holes."""
    wrong = []
    for requirement in map(Requirement, requirements):
        version = installed.get(canonicalize_name(requirement.name), "")
        if not version:
            wrong.append(f"{requirement.name} is not installed")
        elif not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if wrong:
        return Check("packages", "FAIL", _few(wrong), INSTALL)
    return Check("packages", "ok", f"all {len(requirements)} meet the floors of pyproject.toml")


def check_pins(pins: Mapping[str, str], installed: Mapping[str, str]) -> Check:
    """Versions against those that the tests ran with; packages not installed do not count."""
    both = [name for name in sorted(pins) if name in installed]
    other = [
        f"{name} {installed[name]} (tested: {pins[name]})"
        for name in both
        if Version(installed[name]).public != Version(pins[name]).public
    ]
    if other:
        return Check("tested versions", "warn", _few(other), f"If in doubt: rm -r .venv. {INSTALL}")
    return Check("tested versions", "ok", f"{len(both)} packages as in constraints.txt")


def check_torch(torch: TorchFacts) -> Check:
    """Whether torch and torchvision are a pair: a compiled operator of the one runs in the other.

    Each torchvision is built for one torch; with any other its operators are missing, or crash.
    """
    pair = f"torch {torch.version or '?'} and torchvision {torch.vision_version or '?'}"
    wants = Requirement(torch.vision_wants).specifier if torch.vision_wants else SpecifierSet()
    if torch.problem:
        return Check("torch", "FAIL", f"{pair}: {torch.problem}", INSTALL)
    if not wants.contains(Version(torch.version).public, prereleases=True):
        return Check("torch", "FAIL", f"{pair}, which was built for {torch.vision_wants}", INSTALL)
    return Check("torch", "ok", f"{pair} are a pair, and an operator of both ran")


def check_gpus(torch: TorchFacts, listed: Sequence[str], visible: str | None) -> Check:
    """What the driver lists against what torch can use.

    Args:
        torch: What torch said.
        listed: "name, driver version" of each GPU that the driver lists.
        visible: CUDA_VISIBLE_DEVICES, None where it is not set.
    """
    names = _few(sorted(set(listed or torch.gpus)))  # the driver lists its version, too
    if not listed and not torch.gpus:
        return Check("GPUs", "ok", "none: trials train on the CPU")
    if len(torch.gpus) < len(listed) and visible is not None:
        some = f"{len(torch.gpus)} of {len(listed)} visible to this process"
        return Check("GPUs", "ok", f"{some} (CUDA_VISIBLE_DEVICES={visible})")
    if len(torch.gpus) < len(listed):
        return _unusable(torch, f"torch can use {len(torch.gpus)} of {len(listed)} ({names})")
    found = f"{len(torch.gpus)} ({names}), CUDA {torch.cuda}"
    if torch.warnings:
        remedy = "Install a torch that is built for this GPU and driver"
        return Check("GPUs", "warn", f"{found}; torch warns: {torch.warnings[0]}", remedy)
    return Check("GPUs", "ok", found)


def _unusable(torch: TorchFacts, found: str) -> Check:
    if not torch.cuda:
        remedy = "Install the torch that is built for CUDA: rm -r .venv and make install"
        return Check("GPUs", "FAIL", f"{found}: this torch is built for the CPU", remedy)
    reason = f": {torch.warnings[0]}" if torch.warnings else ""
    remedy = f"Install an NVIDIA driver for CUDA {torch.cuda}; nvidia-smi shows the one there is"
    return Check("GPUs", "FAIL", f"{found}{reason}", remedy)


def check_processor(cores: int, torch: TorchFacts) -> Check:
    """Cores, and what `precision=auto` makes of them where there is no GPU."""
    vectors = torch.capability or "unknown vectors"
    precision = "bf16 in hardware" if torch.native_bf16 else "no bf16 in hardware, so fp32"
    found = f"{cores} core{'' if cores == 1 else 's'}, {vectors}; precision=auto: {precision}"
    if cores < 2:
        remedy = "Use a machine with more cores: trials run one after another here"
        return Check("processor", "warn", found, remedy)
    return Check("processor", "ok", found)


def check_memory(free_bytes: int) -> Check:
    """Memory that this process and Ray may still take."""
    free_gib = free_bytes / GIB
    found = f"{free_gib:.1f} GiB free"
    if free_gib < LEAST_MEMORY_GIB:
        remedy = f"Free memory: one slot and Ray need about {ENOUGH_MEMORY_GIB:g} GiB"
        return Check("memory", "FAIL", found, remedy)
    if free_gib < ENOUGH_MEMORY_GIB:
        return Check("memory", "warn", found, "Set resources.slots=1, or free memory")
    return Check("memory", "ok", found)


def check_disk(free_bytes: int, folder: str) -> Check:
    """Disk space for run folders, in the folder that is to hold them."""
    free_gib = free_bytes / GIB
    found = f"{free_gib:.1f} GiB free at {_as_folder(folder)}"
    if free_gib < LEAST_DISK_GIB:
        return Check("disk", "FAIL", found, "Free space, or set out= to a larger disk")
    if free_gib < ENOUGH_DISK_GIB:
        remedy = "A checkpoint of main at width 1.0 is 0.6 GB: free space, or set out="
        return Check("disk", "warn", found, remedy)
    return Check("disk", "ok", found)


def check_spilling(used_share: float) -> Check:
    """How full the disk is on which a private Ray keeps its session."""
    found = f"{used_share:.0%} of the disk of temporary files in use"
    if used_share >= SPILL_LIMIT:
        remedy = f"Free space: Ray starts no work above {SPILL_LIMIT:.0%}. Or set TMPDIR"
        return Check("Ray's disk", "FAIL", found, remedy)
    return Check("Ray's disk", "ok", found)


def check_shared_memory(free_bytes: int | None, memory_bytes: int) -> Check:
    """Whether the object store of a private Ray fits /dev/shm.

    Args:
        free_bytes: Left in /dev/shm; None where the system has none.
        memory_bytes: Free memory, of which Ray takes its share.
    """
    if free_bytes is None:
        return Check("shared memory", "ok", "no /dev/shm on this system")
    cap = min(STORE_CAP, max(STORE_FLOOR, 0.95 * free_bytes))
    store = min(STORE_SHARE * memory_bytes, cap)
    sizes = f"{free_bytes / GIB:.1f} GiB, object store {store / GIB:.1f} GiB"
    if free_bytes < store:
        remedy = f"Enlarge /dev/shm (docker run --shm-size={store / GIB + 1:.0f}g)"
        return Check("shared memory", "warn", f"{sizes}: Ray would use slow files", remedy)
    return Check("shared memory", "ok", sizes)


def check_auth(auth: AuthFacts) -> Check:
    """Whether a Ray that starts here asks for a token."""
    if auth.mode.lower() not in ("", "token"):
        found = f"RAY_AUTH_MODE={auth.mode}: who reaches a port of this Ray can run code on it"
        return Check("Ray's token", "FAIL", found, "Type: unset RAY_AUTH_MODE")
    if auth.source and not auth.exists:
        found = f"{auth.source} names no file with a token"
        return Check("Ray's token", "FAIL", found, f"Type: unset {auth.source}, or write the file")
    if not auth.exists:
        remedy = "Type: ray get-auth-token --generate"
        return Check("Ray's token", "warn", "none: `ray start` would ask for none", remedy)
    if auth.readable_by_others:
        remedy = f"Type: chmod 600 {auth.source}"
        return Check("Ray's token", "warn", f"{auth.source} can be read by others", remedy)
    return Check("Ray's token", "ok", f"asked for, kept in {auth.source}")


def check_names(providers: Mapping[str, Sequence[str]]) -> Check:
    """Whether an installed distribution brings a package that is called like one of ours.

    Args:
        providers: Distributions by the import name that they install.
    """
    rivals = sorted({dist for name in OUR_PACKAGES for dist in providers.get(name, ())})
    if rivals:
        remedy = f"Type: .venv/bin/python -m pip uninstall {' '.join(rivals)}"
        found = f"{', '.join(rivals)}: installed, and competes with a folder of ours"
        return Check("names", "FAIL", found, remedy)
    return Check("names", "ok", "no installed package is called datasets or models")


def check_ours(where: str, folders: Mapping[str, str]) -> Check:
    """Whether `datasets` and `models` are the folders beside `orchestrator`.

    Args:
        where: "this process" or "Ray's workers".
        folders: Folder of each package of ours as imported there; "" where it cannot be.
    """
    root = folders.get("orchestrator", "").rpartition("/")[0]
    strange = [
        f"{name} is {folders.get(name) or 'nowhere'}"
        for name in OUR_PACKAGES
        if not root or folders.get(name) != f"{root}/{name}"
    ]
    if strange:
        remedy = "Run from the repository's root with python -m, and unset PYTHONPATH"
        return Check(f"code in {where}", "FAIL", "; ".join(strange), remedy)
    return Check(f"code in {where}", "ok", "datasets and models are ours")


def check_storage(problem: str, folder: str) -> Check:
    """Whether run folders can be kept: files written, replaced in one step, and locked."""
    where = _as_folder(folder)
    if problem:
        remedy = "Set out= to a local disk or an NFS mount where this works"
        return Check("storage", "FAIL", f"{where}: {problem}", remedy)
    found = f"{where} can be written, files are replaced in one step and lock"
    return Check("storage", "ok", found)


def check_store(problem: str, remedy: str, address: str) -> Check:
    """Whether run folders can be kept in an object store."""
    if problem:
        return Check("storage", "FAIL", f"{address}: {problem}", remedy)
    return Check("storage", "ok", f"{address} can be written, read and cleared")


def check_storage_of_nodes(answers: Sequence[tuple[str, str]], runs: str) -> Check:
    """Whether the workers of every node would keep runs where the driver looks for them.

    Args:
        answers: (address, problem) of each node; "" where it has none.
        runs: The folder.
    """
    if wrong := [f"{address}: {problem}" for address, problem in answers if problem]:
        remedy = "Set out= to storage that all nodes share, a path or s3://bucket/runs"
        if "://" in runs:
            remedy = "Give each node's Ray the environment that leads there, as this process has it"
        return Check("storage of nodes", "FAIL", f"{_as_folder(runs)} on {_few(wrong)}", remedy)
    found = f"each of {len(answers)} would keep runs in {_as_folder(runs)}"
    return Check("storage of nodes", "ok", found)


def check_versions_of_nodes(nodes: Sequence[NodeFacts], here: Mapping[str, str]) -> Check:
    """Whether every node computes with the packages that this process has.

    Args:
        nodes: Of the cluster.
        here: Versions installed here, by canonical name.
    """
    wrong = [
        f"{name} {version or 'missing'} on {node.address} ({here.get(name) or 'none'} here)"
        for node in nodes
        for name, version in node.seen.versions.items()
        if version.partition("+")[0] != here.get(name, "").partition("+")[0]  # cpu and cuda differ
    ]
    if wrong:
        remedy = (
            "Install the same there, by constraints.txt: a training must not change with its node"
        )
        return Check("packages of nodes", "FAIL", _few(wrong), remedy)
    return Check(
        "packages of nodes", "ok", f"each of {len(nodes)} has the versions of this process"
    )


def check_node(node: NodeFacts) -> Check:
    """What a node of a joined cluster has, and whether Ray counts the GPUs that are there."""
    name, listed = f"node {node.address}", node.seen.listed_gpus
    kinds = f" ({_few(sorted(set(listed)))})" if listed else ""
    free_gib = node.seen.free_memory_bytes / GIB
    found = (
        f"{node.cpus} CPUs, {node.gpus} GPUs{kinds}, {free_gib:.1f} GiB free, object store "
        f"{node.object_store_bytes / GIB:.1f} GiB"
    )
    if len(listed) > node.gpus:
        remedy = f"Start its Ray with --num-gpus={len(listed)}, and no CUDA_VISIBLE_DEVICES"
        return Check(name, "warn", f"{found}; its driver lists {len(listed)} GPUs", remedy)
    if len(listed) < node.gpus:
        remedy = "Look at nvidia-smi there: without a driver nothing trains on them"
        return Check(name, "warn", f"{found}; its driver lists {len(listed)} GPUs", remedy)
    if free_gib < LEAST_MEMORY_GIB:
        remedy = f"Free memory there: one slot needs about {ENOUGH_MEMORY_GIB:g} GiB"
        return Check(name, "warn", found, remedy)
    return Check(name, "ok", found)


def check_dashboard(url: str, problem: str, *, is_open: bool) -> Check:
    """Whether the dashboard of a joined cluster answers, which jobs and the Leaderboard need.

    Args:
        url: Where Ray says that it is; "" where the cluster has none.
        problem: Why it does not answer; "" where it does.
        is_open: Whether it answers without a token.
    """
    if url and is_open:
        found = f"{url} answers without a token: who reaches it can run code on the cluster"
        remedy = "Start the cluster's nodes with RAY_AUTH_MODE=token (README, On a cluster)"
        return Check("dashboard", "FAIL", found, remedy)
    if not url:
        remedy = "Start the head of the cluster without --include-dashboard=false"
        return Check("dashboard", "warn", "this cluster has none", remedy)
    if "token" in problem:
        remedy = "Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the cluster's token"
        return Check("dashboard", "warn", f"{url} {problem}", remedy)
    if problem:
        remedy = (
            "Not on its head? Type: ray dashboard cluster.yaml, or ssh -L 8265:127.0.0.1:8265 HEAD"
        )
        return Check("dashboard", "warn", f"{url} {problem}", remedy)
    return Check("dashboard", "ok", f"{url} answers")


def check_private_dashboard(can_serve: bool) -> Check:
    """What `ablate` would do where it starts a Ray of its own, as this command did without one."""
    if not can_serve:
        remedy = f"Type: .venv/bin/python -m pip install 'ray[default]', or {INSTALL}"
        return Check("dashboard", "warn", "packages of Ray's dashboard are missing", remedy)
    found = "not started here; ablate serves one on 127.0.0.1, with token and Leaderboard"
    return Check("dashboard", "ok", found)


def _as_folder(folder: str) -> str:
    return folder.rstrip("/") + "/"


def _few(items: Sequence[str], limit: int = 4) -> str:
    more = f", and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
