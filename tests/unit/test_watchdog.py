"""A study that does not move is ended, on a clock of the test's own."""

import threading

import pytest

from orchestrator.config.errors import StalledError
from orchestrator.stopping import stop_on_signals
from orchestrator.training.pulse import Activity
from orchestrator.tuning import watchdog
from orchestrator.tuning.stall_report import (
    Waiting,
    cluster_line,
    record_lines,
    slot_lines,
    waiting_lines,
)
from orchestrator.tuning.watchdog import Watchdog, stalled_message, watching


class World:
    """A clock and signs of life that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.signs: object = {"slot/a": "trains"}

    def watchdog(self) -> Watchdog:
        return Watchdog(lambda: self.signs, lambda: self.now_s)


def test_it_counts_from_the_last_change():
    world = World()
    dog = world.watchdog()
    world.now_s += 599
    assert dog.still_s() == 599
    world.signs = {"slot/a": "trains", "worker/a": "1"}
    assert dog.still_s() == 0
    world.now_s += 600
    assert dog.still_s() == 600


def test_an_epoch_of_hours_is_no_stall_as_long_as_batches_are_counted():
    world = World()
    dog = world.watchdog()
    for batch in range(1000):
        world.now_s += 59
        world.signs = {"worker/a": str(batch)}
        assert dog.still_s() == 0


def test_the_main_thread_is_ended_with_the_report():
    with stop_on_signals() as stop:
        with pytest.raises(StalledError) as caught:
            _hang(stop, lambda: ("slot-1 on a:7: waits for 2 workers, for 600 s",))
        assert not stop.asked()
    first, second = str(caught.value).splitlines()
    assert first.startswith(
        "resources: something must move at least every resources.stall_s=0.05 s"
    )
    assert "the same command goes on" in first
    assert second == "  slot-1 on a:7: waits for 2 workers, for 600 s"
    assert caught.value.exit_status != 0


def _hang(stop, report) -> None:
    with watching(lambda: 0, report, stop.abort, stall_s=0.05):
        threading.Event().wait(60)


def test_a_ray_that_does_not_answer_delays_the_end_only_so_long(monkeypatch):
    monkeypatch.setattr(watchdog, "REPORT_TIMEOUT_S", 0.01)
    never = threading.Event()
    with stop_on_signals() as stop:
        with pytest.raises(StalledError, match="does not answer"):
            _hang(stop, lambda: never.wait(60) and ())
        never.set()


def test_a_report_that_fails_is_no_reason_to_wait_on():
    def broken() -> tuple[str, ...]:
        raise ConnectionError("the head is gone")

    with stop_on_signals() as stop, pytest.raises(StalledError, match="the head is gone"):
        _hang(stop, broken)


def test_signs_that_cannot_be_had_are_no_sign():
    def gone() -> object:
        raise ConnectionError("the head is gone")

    with stop_on_signals() as stop, pytest.raises(StalledError):
        _hang_with(stop, gone)


def test_signs_that_never_come_end_the_study_and_are_asked_for_once(monkeypatch):
    monkeypatch.setattr(watchdog, "LOOK_TIMEOUT_S", 0.005)
    never, asked = threading.Event(), []

    def frozen() -> object:
        asked.append(threading.current_thread())
        never.wait(60)
        return "too late"

    with stop_on_signals() as stop, pytest.raises(StalledError):
        _hang_with(stop, frozen)
    assert len(asked) == 1, "no thread is left behind for each look"
    never.set()


def test_signs_that_come_late_are_seen_by_the_next_look(monkeypatch):
    monkeypatch.setattr(watchdog, "LOOK_TIMEOUT_S", 0.005)
    world, late = World(), threading.Event()

    def slow() -> object:
        late.wait(60)
        return world.signs

    dog = Watchdog(slow, lambda: world.now_s)
    world.now_s += 500
    assert dog.still_s() == 500
    monkeypatch.setattr(watchdog, "LOOK_TIMEOUT_S", 60.0)
    late.set()
    assert dog.still_s() == 0


def _hang_with(stop, signs) -> None:
    with watching(signs, tuple, stop.abort, stall_s=0.05):
        threading.Event().wait(60)


def test_nothing_happens_to_a_study_that_moves_and_ends():
    counted = iter(range(10**9))
    with (
        stop_on_signals() as stop,
        watching(lambda: next(counted), tuple, stop.abort, stall_s=0.02),
    ):
        threading.Event().wait(0.2)
    assert not stop.asked()


def test_a_study_that_comes_back_while_the_report_is_made_goes_on():
    signs, reported, ended = [0], threading.Event(), []

    def report() -> tuple[str, ...]:
        if not reported.is_set():
            signs[0] += 1  # it moves again
        elif not ended:
            ended.append("stands still for good")
        reported.set()
        return ()

    with stop_on_signals() as stop:
        with pytest.raises(StalledError):
            _hang_with_report(stop, signs, report)
        assert ended, "it was not the first report that ended it"


def _hang_with_report(stop, signs, report) -> None:
    with watching(lambda: signs[0], report, stop.abort, stall_s=0.05):
        threading.Event().wait(60)


def test_a_study_that_ends_while_the_report_is_made_is_not_interrupted():
    asked, over, aborted = threading.Event(), threading.Event(), []
    before = set(threading.enumerate())  # a dog of another test may just be leaving

    def report() -> tuple[str, ...]:
        asked.set()
        over.wait(60)
        return ()

    with watching(lambda: 0, report, aborted.append, stall_s=0.05):
        asked.wait(60)
        new = set(threading.enumerate()) - before
        (dog,) = [thread for thread in new if thread.name == "watchdog"]
    over.set()
    dog.join(60)
    assert not dog.is_alive()
    assert aborted == []


def test_the_report_says_who_waits_for_what():
    slot = Activity("slot-7-1", "waits for 2 workers, each 4 CPU + 1 GPU", 100.0, "node-a:7")
    assert slot_lines([slot], 760.0) == (
        "slot-7-1 on node-a:7: waits for 2 workers, each 4 CPU + 1 GPU, for 660 s",
    )
    assert slot_lines([], 0.0) == ("slots       none has started",)
    group = Waiting("", ({"CPU": 4.0, "GPU": 1.0}, {"CPU": 4.0}))
    assert waiting_lines([group]) == (
        "waiting     a placement group wants 4 CPU + 1 GPU and 4 CPU",
    )
    assert cluster_line({"CPU": 8.0, "GPU": 1.0}, {"CPU": 2.0}) == (
        "cluster     2 of 8 CPU free, 0 of 1 GPU free"
    )
    record = {"record": "epoch", "lineage": "abc", "epoch": 3, "time": "2026-01-01"}
    assert record_lines(record) == ("last record epoch, lineage abc, epoch 3, at 2026-01-01",)
    assert record_lines(None) == ()


def test_the_message_names_rule_value_and_way_on():
    assert "resources.stall_s=600 s" in stalled_message(600.0, ())
