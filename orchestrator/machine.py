"""What `doctor` finds on a machine: facts without a verdict.

DRIVER; `node_facts` asks for some of them in a WORKER of each node too. Imports neither torch nor ray before
it asks them: a broken one must end as a line of the report, not as the end of it.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import secrets
import shutil
import subprocess
import tempfile
import threading
import tomllib
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, requires, version
from multiprocessing import get_context
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OUR_PACKAGES = ("datasets", "models", "orchestrator", "search_spaces")
PROBE_TIMEOUT_S = 300.0  # importing torch from a cold disk
REPLACEMENTS = 50
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class TorchFacts:
    """What a fresh process could do with torch.

    Attributes:
        version: torch's, "" where it is not installed.
        vision_version: torchvision's.
        vision_wants: What torchvision's metadata asks for, e.g. "torch==2.14.1".
        problem: Why torch or torchvision did not work; "" where they did.
        cuda: CUDA version that torch is built for; "" for the CPU's build.
        gpus: Names of the GPUs that torch can use.
        warnings: What torch warned of when it was asked for GPUs, a line each.
        capability: Vector instructions that torch uses, e.g. "AVX512".
        native_bf16: Whether the processor multiplies bf16 in hardware.
    """

    version: str = ""
    vision_version: str = ""
    vision_wants: str = ""
    problem: str = ""
    cuda: str = ""
    gpus: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    capability: str = ""
    native_bf16: bool = False


@dataclass(frozen=True)
class AuthFacts:
    """How Ray would authenticate here.

    Attributes:
        mode: RAY_AUTH_MODE, "" where it is not set.
        source: Where Ray looks for the token first: a variable's name, or a path below ~.
        exists: Whether a token is there.
        readable_by_others: Whether other users of the machine can read its file.
    """

    mode: str
    source: str
    exists: bool
    readable_by_others: bool = False


def installed_versions() -> dict[str, str]:
    """Version of each installed distribution, by canonical name; the first on the path counts."""
    found: dict[str, str] = {}
    for distribution in distributions():
        found.setdefault(canonicalize_name(distribution.name), distribution.version)
    return found


def read_requirements(pyproject: Path) -> tuple[str, tuple[str, ...]]:
    """`requires-python` and the dependencies of a pyproject.toml."""
    project = tomllib.loads(pyproject.read_text())["project"]
    return project["requires-python"], tuple(project["dependencies"])


def read_pins(constraints: Path) -> dict[str, str]:
    """The name==version lines of a constraints file; none where there is no file."""
    lines = constraints.read_text().splitlines() if constraints.is_file() else []
    pairs = (line.partition("==") for line in lines if "==" in line and line[:1] != "#")
    return {canonicalize_name(name.strip()): pin.strip() for name, _, pin in pairs}


def ask_torch() -> TorchFacts:
    """Tries torch in a process of its own: a mismatched pair can crash the one that imports it."""
    pool = ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"))
    try:
        return pool.submit(try_torch).result(timeout=PROBE_TIMEOUT_S)
    except BrokenProcessPool:
        return _torch_metadata("the process that imported them crashed")
    except TimeoutError:
        return _torch_metadata(f"importing them took more than {PROBE_TIMEOUT_S:g} s")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def try_torch() -> TorchFacts:
    """Imports torch and torchvision here, runs an operator, and asks for processor and GPUs."""
    try:
        import torch
        from torchvision.ops import nms

        from orchestrator.training.precision import has_native_bf16

        nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            gpus = tuple(
                torch.cuda.get_device_name(index)
                for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
            )
    # Mismatched binaries fail in ways of their own: OSError, RuntimeError, AttributeError.
    except Exception as error:  # noqa: BLE001 - becomes a line of the report
        return _torch_metadata(f"{type(error).__name__}: {_one_line(error)}")
    known = _torch_metadata("")
    return TorchFacts(
        version=known.version,
        vision_version=known.vision_version,
        vision_wants=known.vision_wants,
        cuda=torch.version.cuda or "",
        gpus=gpus,
        warnings=tuple(_one_line(warning.message) for warning in caught),
        capability=torch.backends.cpu.get_cpu_capability(),
        native_bf16=has_native_bf16(torch.device("cpu")),
    )


def _torch_metadata(problem: str) -> TorchFacts:
    """What the installed metadata say, without importing anything."""
    try:
        needs = [
            line for line in requires("torchvision") or [] if Requirement(line).name == "torch"
        ]
        vision = version("torchvision")
    except PackageNotFoundError:
        needs, vision = [], ""
    torch = installed_versions().get("torch", "")
    return TorchFacts(torch, vision, needs[0] if needs else "", problem)


def list_gpus() -> tuple[str, ...]:
    """Name and driver version of each GPU that NVIDIA's driver lists; none without a driver."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        listing = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in listing.stdout.splitlines() if line.strip())


def free_memory_bytes() -> int:
    """Memory that can still be taken, by the system's account and by the container's limit."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    try:
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return free
    return min(free, limit - used + int(stat.get("inactive_file", 0)))


def free_disk_bytes(folder: Path) -> int:
    """Free space where the folder is, or would be made."""
    return shutil.disk_usage(existing(folder)).free


def used_share_of_temporary_disk() -> float:
    """Share in use of the disk on which a private Ray keeps its session."""
    usage = shutil.disk_usage(tempfile.gettempdir())
    return 1 - usage.free / usage.total


def free_shared_memory_bytes() -> int | None:
    """What is left in /dev/shm; None where there is none."""
    shm = Path("/dev/shm")
    return shutil.disk_usage(shm).free if shm.is_dir() else None


def read_auth(mode: str) -> AuthFacts:
    """Finds the token where Ray would look for it, in Ray's order.

    Args:
        mode: RAY_AUTH_MODE as the user set it; `cluster.connect` sets it too.
    """
    if os.environ.get("RAY_AUTH_TOKEN"):
        return AuthFacts(mode, "RAY_AUTH_TOKEN", exists=True)
    named = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        exists = bool(path.read_text().strip())
        loose = _open_to_others(path)
    except OSError:
        exists = loose = False
    if named:
        return AuthFacts(mode, "RAY_AUTH_TOKEN_PATH", exists, loose)
    return AuthFacts(mode, "~/.ray/auth_token" if exists else "", exists, loose)


def _open_to_others(file: Path) -> bool:
    """Whether the file can be read by other users, who must also pass the folders above it."""
    if not file.stat().st_mode & 0o004:
        return False
    return all(folder.stat().st_mode & 0o001 for folder in file.absolute().parents)


def our_folders() -> dict[str, str]:
    """Folder of each package of ours as this process imports it; "" where it cannot. WORKER."""
    return {name: _folder_of(name) for name in OUR_PACKAGES}


def _folder_of(package: str) -> str:
    try:
        file = importlib.import_module(package).__file__
    except ImportError:
        return ""
    return str(Path(file).parent).replace(str(Path.home()), "~", 1) if file else ""


def storage_problem(folder: Path, replace: Callable[[Path, Path], None] = os.replace) -> str:
    """Why runs cannot be kept in a folder; "" where they can. Leaves nothing behind.

    Args:
        folder: It, or else the nearest folder above it that exists, is tried.
        replace: How a file takes the place of another; a parameter for tests.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=existing(folder)) as trial:
            return _torn(Path(trial), replace) or _unlockable(Path(trial))
    except OSError as error:
        return f"cannot be written ({error.strerror})"


def store_problem(address: str) -> tuple[str, str]:
    """Why runs cannot be kept in an object store, and what to do; "" where they can. WORKER.

    Leaves nothing behind but what stands for the folder there.

    Args:
        address: Of a folder there, s3://bucket/folder.
    """
    from orchestrator.config.folder import folder  # pyarrow: only where it is needed
    from orchestrator.config.object_store import remedy_for

    content = secrets.token_bytes(64)
    try:
        trial = folder(address) / f".doctor-{secrets.token_hex(8)}"
        trial.put_bytes("object", content)
        try:
            found = trial.read("object")
        finally:
            trial.remove_all()
    except OSError as error:
        return f"cannot be written and read ({_one_line(error)})", remedy_for(str(error))
    if found != content:
        return "gives back other bytes than were written", "Use another object store"
    return "", ""


def _torn(folder: Path, replace: Callable[[Path, Path], None]) -> str:
    """Replaces a file again and again while another thread reads it."""
    contents = (b"a" * 4096, b"b" * 4096)
    target, other, done = folder / "file", folder / "file.new", threading.Event()
    target.write_bytes(contents[0])
    with ThreadPoolExecutor(max_workers=1) as pool:
        seen = pool.submit(_watch, target, contents, done)
        try:
            for turn in range(REPLACEMENTS):
                other.write_bytes(contents[turn % 2])
                replace(other, target)
        finally:
            done.set()
        return seen.result()


def _watch(target: Path, contents: tuple[bytes, ...], done: threading.Event) -> str:
    while True:
        last = done.is_set()
        try:
            if target.read_bytes() not in contents:
                return "a file was half replaced when it was read"
        except FileNotFoundError:
            return "a file was missing while it was replaced"
        if last:
            return ""


def _unlockable(folder: Path) -> str:
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return f"files cannot be locked ({error.strerror})"
    return ""


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    absolute = folder.absolute()
    return next(path for path in (absolute, *absolute.parents) if path.is_dir())


def _one_line(message: object) -> str:
    """A message's first 200 characters, on one line, without the name of the user's home."""
    return " ".join(str(message).split()).replace(str(Path.home()), "~")[:200]
