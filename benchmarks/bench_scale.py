"""Question: what does the driver spend on each trial as a study grows, in time and in memory?

A calibrated fake worker in virtual seconds (`virtual_slots`): 8 nodes of 8 slots, 20 epochs a trial,
and the real planner, study, ledger (fsync included), screen and page. What is measured is the
driver's own processor time and peak memory; each size runs in a process of its own.

    plan     proposing and announcing all trials
    train    ledger, state, end of trials, plain lines of the screen: per report
    page     taking all records into the dashboard's feed, then one picture
    ranks    leaderboard.{txt,csv,json} and ties with the winner, at the end
    resume   reading the ledger and taking the study up again

Usage: python -m benchmarks.bench_scale [NUM_TRIALS ...]      (default 100 1000 10000)
       python -m benchmarks.bench_scale day                   a day of 8 nodes, one dies every 10 min
       python -m benchmarks.bench_scale tune [NUM_TRIALS [NUM_SLOTS [NUM_EPOCHS]]]      (default 1000 16 1)
                     epochs of a second, through Ray Tune and its actors. Ray's own bar:
                     10,000 trials of a second on 16 CPUs in 715 s, against 625 s at least
"""

from __future__ import annotations

import io
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.sleeping_slot import STARTED, SleepingPlan, sleeping_slots
from benchmarks.virtual_slots import Cluster, Pace, drawn_figures, utilisation
from orchestrator.cluster import connect, nodes
from orchestrator.config.space import Space
from orchestrator.config.validate import validate
from orchestrator.dashboard.snapshot import StudyFeed
from orchestrator.results.leaderboard_tables import csv_table, json_document, text_table
from orchestrator.results.live import LiveBoard
from orchestrator.results.study_fold import fold
from orchestrator.results.study_screen import StudyScreen
from orchestrator.results.utilisation import Utilisation
from orchestrator.tuning.capacity import SlotCapacity
from orchestrator.tuning.growth import Growth
from orchestrator.tuning.judge import Judge
from orchestrator.tuning.ledger import LEDGER, Ledger, read_records
from orchestrator.tuning.lineages import StudyState
from orchestrator.tuning.plan import Resolver, whole_paths
from orchestrator.tuning.proposals import Proposals
from orchestrator.tuning.seeds import Repeats, by_configuration
from orchestrator.tuning.study import Study, past_trials, resume
from orchestrator.tuning.tune_run import run_study

NUM_NODES, SLOTS_PER_NODE, EPOCHS = 8, 8, 20
DAY_S, LONG_EPOCH_S, NODE_DIES_EVERY_S = 24 * 3600.0, 120.0, 600.0
DROPOUTS = 10
GPUS_PER_NODE = 2
"""Slots of a node of the day."""
SIZES = (100, 1_000, 10_000)


def main(words: list[str]) -> None:
    """Runs each size in a process of its own and prints the table."""
    if words[:1] == ["one"]:
        print(json.dumps(measure(int(words[1]))))
        return
    print(f"\n{describe()}\n")
    if words[:1] == ["tune"]:
        through_tune(*map(int, words[1:]))
        return
    if words == ["day"]:
        day()
        return
    rows = [_in_a_process(int(word)) for word in words or map(str, SIZES)]
    print(
        f"{NUM_NODES} nodes x {SLOTS_PER_NODE} slots, {EPOCHS} epochs a trial; driver's CPU time\n"
    )
    names = ["plan ms/trial", "train ms/report", "page ms/report", "ranks s", "resume s", "peak MB"]
    names += ["ledger MB", "utilisation"]
    print("| trials | reports | " + " | ".join(names) + " |")
    print("|" + "---|" * (len(names) + 2))
    for row in rows:
        cells = [f"{row[name]:.3g}" if row[name] < 100 else f"{row[name]:.0f}" for name in names]
        print(f"| {row['trials']:,} | {row['reports']:,} | " + " | ".join(cells) + " |")


def measure(num_trials: int) -> dict[str, float]:
    """Everything about a study of so many trials."""
    folder = _folder()
    space, clock = _space(num_trials), _Clock()
    cluster = Cluster(NUM_NODES, SLOTS_PER_NODE, drawn_figures())
    with Ledger(folder) as ledger, LiveBoard(io.StringIO()) as board:
        screen = _screen(board)
        screen.begin([], ledger.append(_head()))
        study = take_up(space, folder, ledger, screen, [])
        study.open_all()
        plan_s = clock.lap()
        slots = cluster.run(study)
        train_s = clock.lap()
    records = list(read_records(folder / LEDGER))
    clock.lap()
    feed = StudyFeed()
    feed.add(records)
    feed.snapshot()
    page_s = clock.lap()
    view = fold(records)
    for write in (text_table, csv_table, json_document):
        write(view)
    ranks_s = clock.lap()
    with Ledger(folder) as ledger, LiveBoard(io.StringIO()) as board:
        again = take_up(space, folder, ledger, _screen(board), list(read_records(folder / LEDGER)))
        assert again.complete()
    resume_s = clock.lap()
    ledger_mb = (folder / LEDGER).stat().st_size / 1e6
    shutil.rmtree(folder)
    return {
        "trials": num_trials,
        "reports": cluster.trained,
        "plan ms/trial": 1000 * plan_s / num_trials,
        "train ms/report": 1000 * train_s / cluster.trained,
        "page ms/report": 1000 * page_s / cluster.trained,
        "ranks s": ranks_s,
        "resume s": resume_s,
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "ledger MB": ledger_mb,
        "utilisation": utilisation(slots, cluster.now_s),
    }


def day() -> None:
    """A day of epochs of 2 min; every 10 minutes a node dies, its slots start anew 140 s later."""
    per_slot = DAY_S / (EPOCHS * LONG_EPOCH_S)
    num_trials = round(NUM_NODES * GPUS_PER_NODE * per_slot / DROPOUTS) * DROPOUTS
    folder = _folder()
    print(
        "| nodes die | trials finished | epochs | epochs lost midway | deaths | hours | utilisation |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, every_s in (("never", 0.0), ("every 10 min", NODE_DIES_EVERY_S)):
        cluster = Cluster(
            NUM_NODES,
            GPUS_PER_NODE,
            drawn_figures(),
            Pace(epoch_s=LONG_EPOCH_S),
            node_dies_every_s=every_s,
        )
        with Ledger(folder / name) as ledger, LiveBoard(io.StringIO()) as board:
            screen = _screen(board)
            screen.begin([], ledger.append(_head()))
            study = take_up(_space(num_trials), folder / name, ledger, screen, [])
            study.open_all()
            slots = cluster.run(study)
        finished = fold(read_records(folder / name / LEDGER)).count("finished")
        assert finished == num_trials, "a study of a day must finish whole"
        share = utilisation(slots, cluster.now_s)
        print(
            f"| {name} | {finished:,} of {num_trials:,} | {cluster.trained:,} | {cluster.lost:,} | "
            f"{cluster.deaths} | {cluster.now_s / 3600:.1f} | {share:.1%} |",
            flush=True,
        )
    shutil.rmtree(folder)


def through_tune(num_trials: int = 1_000, num_slots: int = 16, num_epochs: int = 1) -> None:
    """Epochs of one second through Ray Tune, its actors, our searcher, ledger and screen."""
    folder = _folder()
    with connect("local", dashboard=False):
        seconds, cpu_s = sleep_through(
            folder, num_trials, num_slots, num_epochs=num_epochs, epoch_s=1.0
        )
    starts = len((folder / STARTED).read_text().split())
    gap_s = utilisation_of(read_records(folder / LEDGER)).gap_s()
    least_s = num_trials * num_epochs / num_slots
    head = ("trials", "epochs of 1 s", "slots", "slot processes", "s", "at least", "ratio")
    print("| " + " | ".join((*head, "gap s", "driver ms/epoch")) + " |\n" + 9 * "|---" + "|")
    print(
        f"| {num_trials:,} | {num_epochs} | {num_slots} | {starts} | {seconds:.1f} | {least_s:.1f} | "
        f"{seconds / least_s:.2f} | {gap_s:.2f} | {1000 * cpu_s / (num_trials * num_epochs):.1f} |"
    )
    shutil.rmtree(folder)


def sleep_through(
    folder: Path,
    num_trials: int,
    num_slots: int,
    *,
    epoch_s: float,
    num_epochs: int = 1,
    linger_s: float = 0.0,
) -> tuple[float, float]:
    """A study of trials of so many epochs; returns its seconds and those of the driver's processor.

    The start of the slots' processes is not in the former.
    """
    capacity = SlotCapacity(slots=num_slots, workers=1, cpus_per_worker=0, gpus_per_worker=0.0)
    least = min(num_slots, num_trials)
    plan: Any = SleepingPlan(folder / ".ray", least, epoch_s, drawn_figures(), linger_s)
    with Ledger(folder) as ledger, LiveBoard(io.StringIO()) as board, sleeping_slots():
        screen = _screen(board)
        screen.begin([], ledger.append(_head()))
        study = take_up(_space(num_trials, epochs=num_epochs), folder, ledger, screen, [])
        study.open_all()
        processor = _Clock()
        growth = Growth("s", capacity, nodes)
        run_study(study, plan, {}, growth=growth, restarts=0, asked_to_stop=lambda: False)
        cpu_s = processor.lap()
    times = [_seconds(r) for r in read_records(folder / LEDGER) if r["record"] == "epoch"]
    return max(times) - min(times) + epoch_s, cpu_s


def _seconds(record: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(str(record["time"])).timestamp()


def utilisation_of(records: Iterable[Mapping[str, Any]]) -> Utilisation:
    """As `ablate` counts it."""
    found = Utilisation()
    for record in records:
        found.add(record)
    return found


def take_up(
    space: Space, folder: Path, ledger: Ledger, screen: StudyScreen, records: list[dict[str, Any]]
) -> Study:
    """As `ablate` does."""
    resolver, state = Resolver("mine", {}, "d" * 64), StudyState(())
    resume(records, state, resolver.trial)
    past = past_trials(records)
    whole = whole_paths(space, resolver)
    proposals = Proposals(space, seed=0, whole=whole, past=by_configuration(past, space, 0))
    repeats = Repeats(proposals, space, 0, past)
    judge, num_slots = Judge(space.stop, EPOCHS), NUM_NODES * SLOTS_PER_NODE
    return Study(folder, ledger, state, repeats, resolver.trial, screen.show, num_slots, judge)


def _folder() -> Path:
    """In memory where that can be: a disk's waits for each fsync are not the driver's work."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="bench-", dir=memory if memory.is_dir() else None))


class _Clock:
    """The driver's own processor time: other work on the machine does not count."""

    def __init__(self) -> None:
        self._last = time.process_time()

    def lap(self) -> float:
        """Seconds since the last one."""
        now = time.process_time()
        seconds, self._last = now - self._last, now
        return seconds


class _NoPictures:
    """In place of TensorBoard, whose files a thread writes when it comes to it."""

    def show(self, view: object) -> None:
        """Nothing."""

    def show_samples(self, name: str, draw: object) -> None:
        """Nothing."""


def _screen(board: LiveBoard) -> StudyScreen:
    nothing: Any = _NoPictures()
    samples: Any = type("NoSamples", (), {"show": lambda *_: None})()
    return StudyScreen(board, nothing, samples, lambda _: nothing)


def _space(num_trials: int, epochs: int = EPOCHS) -> Space:
    """A grid of as many learning rates as it takes, for each of ten dropouts."""
    rates = [round(1e-5 * (1 + n), 9) for n in range(num_trials // DROPOUTS)]
    axes = {"optimizer.lr": rates, "model.dropout": [n / 20 for n in range(DROPOUTS)]}
    given = {"question": "?", "kind": "grid", "axes": axes | {"epochs": [epochs]}}
    return validate(Space, ("a benchmark", given))


def _head() -> dict[str, Any]:
    dataset = {"name": "drawn", "protocol": "group", "classes": list("abcdef"), "counts": {}}
    return {"record": "study", "version": 1, "study": "s", "space": {}, "dataset": dataset}


def _in_a_process(num_trials: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.bench_scale", "one", str(num_trials)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main(sys.argv[1:])
