"""Whether workers move, and the end of those that do not."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from orchestrator.training.movement import LOOK_EVERY_S, WORKER_TITLE, Movement, end_process
from orchestrator.training.pulse import Beat


class Clock:
    """Time that a test moves; what is looked for in vain stands still."""

    def __init__(self) -> None:
        self.now_s, self.beats = 0.0, {"0": Beat(5, "aa", 1), "1": Beat(5, "aa", 2)}

    def __call__(self) -> float:
        return self.now_s

    def look(self, run: str) -> dict[str, Beat]:
        assert run == "slot-7-1"
        if self.beats is None:
            raise ConnectionError("the head does not answer")
        return dict(self.beats)

    def passes(self, moves: Movement, seconds: float) -> float:
        for _ in range(round(seconds)):
            self.now_s += 1
            still_s = moves.still_s()
        return still_s


def test_workers_stand_still_where_no_count_grows_and_ray_says_so():
    clock = Clock()
    moves = Movement("slot-7-1", clock.look, clock)
    assert clock.passes(moves, 60) == 60
    clock.beats["1"] = Beat(6, "aa", 2)
    assert clock.passes(moves, LOOK_EVERY_S) < LOOK_EVERY_S
    for beats in (None, {}):  # Ray does not answer, nobody has said anything
        clock.beats = beats
        assert clock.passes(moves, 120) < LOOK_EVERY_S, "nobody knows"
    clock.beats = {"0": Beat(7, "aa", 1)}
    assert clock.passes(moves, 100) > 70
    assert moves.workers() == [Beat(7, "aa", 1)]


def test_only_a_worker_is_ended_and_not_who_has_its_number_by_now():
    sleeps = [sys.executable, "-c", "import time; time.sleep(600)"]
    other, worker = subprocess.Popen(sleeps), subprocess.Popen([*sleeps, "ray::RayTrainWorker"])
    title = Path(f"/proc/{worker.pid}/cmdline")
    try:
        while title.exists() and WORKER_TITLE not in title.read_bytes():
            time.sleep(0.01)  # it is being started
        end_process._function(other.pid)
        end_process._function(worker.pid)
        assert worker.wait(60) == -signal.SIGKILL
        assert other.poll() is None
        end_process._function(worker.pid)  # gone already
    finally:
        other.kill()
        other.wait()
