"""Question: what is lost when any process of a study is killed at any moment?

Each point runs a small study (two trainings of three epochs in two slots, four trials) on one
Ray of a head and two nodes, kills one process with SIGKILL, runs the same command again until it
succeeds, and compares ledger, leaderboard and weights with those of an undisturbed study:

    driver, worker      at a chosen step of a chosen write (benchmarks/kill_points), or at a time
    slot, controller    at a time: while slots start, or after an epoch has begun
    node                the same; another node takes its place
    ctrl-c              the driver again, but asked to stop: it ends by itself, with status 130

Usage: python -m benchmarks.kill_matrix [POINTS=52] [SEED=0] [FIRST=0]; exit status 0 if all are equal
and no slot trained more than one epoch twice. A point takes a minute or two: FIRST leaves out those
that another run has tried.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import secrets
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.machine import describe
from orchestrator.config.storage import write_json
from orchestrator.tuning.ledger import LEDGER, read_records

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

    from ray.cluster_utils import Cluster

ROOT = Path(__file__).resolve().parent.parent
SPACE = {
    "question": "What does a kill lose?",
    "kind": "grid",
    "base": {"model.name": "main", "model.width": 0.0625, "batch_size": 32},
    "axes": {"optimizer.name": ["sgd", "adam"], "optimizer.lr": [0.001], "epochs": [2, 3]},
}
FACES = {"subjects": 6, "videos_per_subject": 6, "frames_per_video": 4}
NUM_EPOCHS = 6
NUM_RECORDS = 17
PROCESSES = {
    "slot": b"ray::Slot",
    "worker": b"ray::RayTrainWorker",
    "controller": b"ray::TrainController",
}
DRIVER_WRITES = (
    ("ledger record torn", "torn", r"/ledger\.jsonl$", NUM_RECORDS),
    ("ledger record on disk, untold", "synced", r"/ledger\.jsonl$", NUM_RECORDS),
    ("leaderboard file opened", "opened", r"/\.leaderboard\.\w+\.\d+\.tmp$", 4),
    ("leaderboard file before rename", "renamed", r"/leaderboard\.\w+$", 4),
    ("picture before rename", "renamed", r"\.png$", 3),
    ("clean-up of Ray's files", "removed", r"/\.ray/", 3),
)
WORKER_WRITES = (
    ("checkpoint folder not made", "made", r"/epoch-\d+$", 5),
    ("model data torn", "torn", r"/model\.safetensors$", 5),
    ("model data on disk, no marker", "synced", r"/model\.safetensors$", 5),
    ("optimizer data torn", "torn", r"/optimizer\.safetensors$", 3),
    ("marker opened", "opened", r"/\.state\.json\.", 5),
    ("marker torn", "torn", r"/\.state\.json\.", 5),
    ("marker before rename", "renamed", r"/state\.json$", 5),
    ("old checkpoint half removed", "removed", r"/last/epoch-\d+/", 2),
)
LATER_DRIVER_WRITES = (
    ("Optuna's journal opened", "opened", r"/optuna\.journal$", 4),
    ("TensorBoard's file opened", "opened", r"/tensorboard/.*tfevents", 2),
    ("effects before rename", "renamed", r"/effects\.\w+$", 2),
)
LATER_WORKER_WRITES = (("counts of videos before rename", "renamed", r"/validation/epoch-\d+", 4),)
"""From the third round on: so the points before keep their numbers."""
TIMED = ("driver", "slot", "worker", "controller", "node", "ctrl-c")
START_S = 15.0
EPOCH_S = 0.4
HUNG_S = 1500.0
"""Long, as a busy machine takes minutes to start a slot."""
MOST_RUNS = 4
IN_ORDER = (0, 130)
"""How a driver may end that is asked to: it was done already, or it is not yet."""
TIMES = {"seconds", "slot", "time", "started", "updated", "epochs_trained", "log", "tflops", "mfu"}


@dataclass(frozen=True)
class Point:
    """What to kill, and when: at the n-th such step of a write, or after the n-th epoch began."""

    what: str
    victim: str
    step: str = ""
    path: str = ""
    nth: int = 1
    delay_s: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What a point did."""

    point: Point
    fired: bool
    statuses: tuple[int | None, ...]
    twice: int
    differs: tuple[str, ...]
    seconds: float

    @property
    def good(self) -> bool:
        """Whether nothing was lost, and a driver that was asked to stop did so in order."""
        if self.point.victim == "ctrl-c" and (self.twice or self.statuses[0] not in IN_ORDER):
            return False
        return self.fired and not self.differs and self.twice <= 1 and self.statuses[-1] == 0


def main(num_points: int = 52, seed: int = 0, first: int = 0) -> int:
    """Runs the matrix and prints its table; returns the exit status."""
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    outcomes = []
    with matrix(folder) as world:
        points = list(enumerate(choose_points(first + num_points, seed)))
        for number, point in points[first:]:
            outcomes.append(world.try_point(point, folder / f"{number:02d}"))
            print(f"{number:>3}  {row(outcomes[-1])}", flush=True)
    print(f"\n{describe()}\n\n{table(outcomes)}")
    bad = [outcome for outcome in outcomes if not outcome.good]
    if not bad:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if bad else 0


def choose_points(num_points: int, seed: int) -> list[Point]:
    """Points in an order that any first few of them are of every kind."""
    chance = random.Random(seed)
    kinds: list[tuple[str, ...] | tuple[str, str, str, str, int]]
    kinds = [("driver", *write) for write in DRIVER_WRITES]
    kinds += [("worker", *write) for write in WORKER_WRITES]
    kinds += [(victim,) for victim in TIMED * 2]
    later: list[tuple[str, ...] | tuple[str, str, str, str, int]]
    later = [("driver", *write) for write in LATER_DRIVER_WRITES]
    later += [("worker", *write) for write in LATER_WORKER_WRITES]
    points: list[Point] = []
    while len(points) < num_points:
        if len(points) == 2 * len(kinds):
            kinds += later
        chance.shuffle(kinds)
        points += [_draw(chance, kind) for kind in kinds]
    return points[:num_points]


def _draw(chance: random.Random, kind: tuple[Any, ...]) -> Point:
    if len(kind) > 1:
        victim, what, step, path, most = kind
        nth = chance.randint(1, most)
        return Point(f"{what}, no. {nth}", victim, step, path, nth)
    if chance.random() < 0.25:
        delay_s = round(chance.uniform(1.0, START_S), 1)
        return Point(f"{delay_s} s after the start", kind[0], nth=0, delay_s=delay_s)
    nth, delay_s = chance.randint(1, NUM_EPOCHS), round(chance.uniform(0.0, EPOCH_S), 2)
    return Point(f"{delay_s} s into epoch no. {nth}", kind[0], nth=nth, delay_s=delay_s)


@contextmanager
def matrix(folder: Path) -> Iterator[World]:
    """A Ray, a data set and an undisturbed study to compare with."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    places = [str(ROOT), str(ROOT / "benchmarks" / "kill_points"), os.environ.get("PYTHONPATH", "")]
    kills = folder / "kills"
    kills.mkdir(parents=True)
    os.environ |= {**token, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    os.environ |= {"KILL_POINTS": str(kills), "RAY_TRAIN_V2_ENABLED": "1"}
    # The nodes have our code: nothing is to be packed and sent for each driver.
    os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"] = "{}"
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["benchmarks.kill_driver"])
    session = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # Unix sockets bear no long paths
    cluster = _cluster(session)
    try:
        world = World(cluster, folder, kills, processes)
        world.undisturbed()
        yield world
    finally:
        cluster.shutdown()
        shutil.rmtree(session, ignore_errors=True)


def _cluster(session: Path) -> Cluster:
    from ray._private.utils import get_ray_address_file
    from ray.cluster_utils import Cluster

    known_to_all = Path(get_ray_address_file(None))
    known_to_all.parent.mkdir(exist_ok=True)
    # Ray Train asks the dashboard's server which placement groups have lost their owner.
    head = {"num_cpus": 0, "temp_dir": str(session), "include_dashboard": True}
    head["dashboard_port"] = _free_port()  # another Ray of this machine may have the usual one
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, **head})
    known_to_all.unlink(missing_ok=True)  # nobody else on this machine is to find it
    for _ in range(2):
        cluster.add_node(num_cpus=1, **NODE)
    return cluster


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


NODE = {"include_dashboard": False, "object_store_memory": 120 * 2**20}


class World:
    """Runs studies on one Ray and kills processes of it."""

    def __init__(self, cluster: Cluster, folder: Path, kills: Path, processes: Any) -> None:
        self._cluster = cluster
        self._kills = kills
        self._processes = processes
        self._folder = folder
        self._data = folder / "data"
        self._space = folder / "space.yaml"
        self._space.write_text(yaml.safe_dump(SPACE))
        self._calm: dict[str, Any] = {}

    def undisturbed(self) -> None:
        """The data, and the study that all others are compared with."""
        options = [f"options.{name}={count}" for name, count in FACES.items()]
        drawn = self._wait(
            self._command("prepare", self._folder, [f"out={self._data}", "image_px=32", *options])
        )
        out = self._folder / "calm"
        status = self._wait(self._start(out)) if drawn == 0 else drawn
        if status != 0:
            raise RuntimeError(f"the undisturbed study ended with {status}: {out}/log.txt")
        self._calm = picture_of(out / "s")

    def try_point(self, point: Point, out: Path) -> Outcome:
        """Runs, kills, runs again, compares."""
        started = time.monotonic()
        for name in ("fired", "begins", "trained", "spec.json"):
            (self._kills / name).unlink(missing_ok=True)
        if point.step:
            spec = {"study": str(out / "s"), **_of(point, "step", "path", "nth")}
            write_json(self._kills / "spec.json", spec)
        driver = self._start(out)
        if not point.step:
            self._kill_in_time(point, driver)
        statuses = [self._wait(driver)]
        while statuses[-1] != 0 and len(statuses) < MOST_RUNS:
            statuses.append(self._wait(self._start(out)))
        differs = differences(self._calm, picture_of(out / "s"))
        trained = Counter(line.rsplit(" ", 1)[0] for line in self._trace("trained"))
        per_lineage = Counter(key.split()[0] for key in trained.elements())
        per_lineage.subtract(Counter(key.split()[0] for key in trained))
        outcome = Outcome(
            point,
            fired=(self._kills / "fired").exists(),
            statuses=tuple(statuses),
            twice=max(per_lineage.values(), default=0),
            differs=differs,
            seconds=time.monotonic() - started,
        )
        if outcome.good:
            shutil.rmtree(out, ignore_errors=True)
        return outcome

    def _start(self, out: Path) -> ForkServerProcess:
        argv = [f"space={self._space}", f"out={out}", "study=s", "resources.slots=2"]
        return self._command("ablate", out, [*argv, f"data.path={self._data}", "open_page=false"])

    def _command(self, command: str, out: Path, argv: list[str]) -> ForkServerProcess:
        from benchmarks.kill_driver import drive

        out.mkdir(parents=True, exist_ok=True)
        argv = [*argv, f"address={self._cluster.address}"]
        arguments = (command, argv, str(out / "log.txt"))
        process: ForkServerProcess = self._processes.Process(target=drive, args=arguments)
        process.start()
        return process

    def _wait(self, driver: ForkServerProcess) -> int | None:
        driver.join(HUNG_S)
        if driver.is_alive():
            driver.kill()
            driver.join()
            return None
        return driver.exitcode

    def _kill_in_time(self, point: Point, driver: ForkServerProcess) -> None:
        """Wait for the moment, then kill; a victim that is not there yet is waited for."""
        deadline = time.monotonic() + HUNG_S
        while len(self._trace("begins")) < point.nth and driver.is_alive():
            if time.monotonic() > deadline:
                return
            time.sleep(0.005)
        time.sleep(point.delay_s)
        while driver.is_alive() and time.monotonic() < deadline:
            if self._kill(point.victim, driver):
                (self._kills / "fired").touch()
                return
            time.sleep(0.02)

    def _kill(self, victim: str, driver: ForkServerProcess) -> bool:
        if victim == "driver":
            driver.kill()
            return True
        if victim == "ctrl-c":
            assert driver.pid is not None, "it has been started"
            os.kill(driver.pid, signal.SIGINT)
            return True
        if victim == "node":
            self._cluster.remove_node(
                sorted(self._cluster.worker_nodes, key=lambda node: node.unique_id)[0],
                allow_graceful=False,
            )
            self._cluster.add_node(num_cpus=1, **NODE)
            return True
        found = _own_processes(PROCESSES[victim])
        if found:
            os.kill(found[0], signal.SIGKILL)
        return bool(found)

    def _trace(self, name: str) -> list[str]:
        try:
            return (self._kills / name).read_text().splitlines()
        except FileNotFoundError:
            return []


def picture_of(study: Path) -> dict[str, Any]:
    """All of a study that must not depend on what happened to it."""
    records = list(read_records(study / LEDGER))
    ends = {r["trial"]: timeless(r) for r in records if r["record"] == "end"}
    board = study / "leaderboard.json"
    return {
        "trials": [timeless(r) for r in records if r["record"] == "trial"],
        "epochs": sorted(_figures(r) for r in records if r["record"] == "epoch"),
        "ends": dict(sorted(ends.items())),
        "leaderboard": timeless(json.loads(board.read_text())) if board.is_file() else None,
        "files": sorted(path.name for path in study.iterdir() if path.is_file()),
        "weights": {
            str(path.relative_to(study)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(study.glob("lineages/*/*/epoch-*/*.safetensors"))
        },
    }


def differences(calm: dict[str, Any], other: dict[str, Any]) -> tuple[str, ...]:
    """The parts that are not equal."""
    return tuple(part for part in calm if calm[part] != other[part])


def _figures(record: dict[str, Any]) -> str:
    return json.dumps([record["lineage"], record["epoch"], timeless(record["metrics"])])


def timeless(content: Any) -> Any:
    """Without what a clock says."""
    if isinstance(content, list):
        return [timeless(item) for item in content]
    if not isinstance(content, dict):
        return content
    return {
        key: timeless(value)
        for key, value in sorted(content.items())
        if key not in TIMES and not key.endswith("_s")
    }


def _of(point: Point, *names: str) -> dict[str, object]:
    return {name: getattr(point, name) for name in names}


def _own_processes(name: bytes) -> list[int]:
    """Processes of this name that descend from this one: nobody else's Ray is touched."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _cmdline(entry).startswith(name) and _is_ours(entry.name):
            found.append(int(entry.name))
    return sorted(found)


def _cmdline(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def _is_ours(pid: str) -> bool:
    while pid not in ("0", "1"):
        if int(pid) == os.getpid():
            return True
        try:
            pid = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            return False
    return False


def row(outcome: Outcome) -> str:
    """One line of the table."""
    equal = "equal" if not outcome.differs else f"DIFFERS: {', '.join(outcome.differs)}"
    point = outcome.point
    statuses = ", ".join("hung" if status is None else str(status) for status in outcome.statuses)
    died = point.victim if outcome.fired else f"{point.victim} (NOT KILLED)"
    return f"| {point.what} | {died} | {statuses} | {outcome.twice} | {equal} | {outcome.seconds:.0f} |"


def table(outcomes: list[Outcome]) -> str:
    """All points, and what they say together."""
    good = sum(outcome.good for outcome in outcomes)
    lines = [
        "| point | died | exit statuses | epochs trained twice, most in a slot | result | s |",
        "|---|---|---|---|---|---|",
        *(row(outcome) for outcome in outcomes),
        "",
        f"{good} of {len(outcomes)} points lost nothing; median "
        f"{statistics.median(outcome.seconds for outcome in outcomes):.0f} s a point",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(*(int(word) for word in sys.argv[1:])))
