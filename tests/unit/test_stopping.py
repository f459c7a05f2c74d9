"""Once is a wish, twice is an order."""

import os
import shlex
import signal
import threading

import pytest

from orchestrator.config.errors import OrchestratorError
from orchestrator.stopping import go_on, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_wish_that_interrupts_nothing(number, capfd):
    with stop_on_signals() as stop:
        assert not stop.asked()
        os.kill(os.getpid(), number)
        assert stop.asked()
    assert "Ctrl-C again stops at once" in capfd.readouterr().err


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_stops_at_once(second):
    with stop_on_signals():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), second)


def test_as_long_as_nothing_is_begun_the_first_signal_stops_at_once():
    with stop_on_signals(at_once=True) as stop:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert not stop.asked()
        stop.gently()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked()


def test_the_handlers_of_before_are_back_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signals():
        assert signal.getsignal(signal.SIGINT) not in before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_ends_what_the_main_thread_waits_for():
    with stop_on_signals() as stop:
        error = OrchestratorError("nothing moves")
        thread = threading.Thread(target=stop.abort, args=(error,))
        with pytest.raises(OrchestratorError, match="nothing moves"):
            _wait_for_ever(thread)
    thread.join()


def _wait_for_ever(thread: threading.Thread) -> None:
    thread.start()
    threading.Event().wait(timeout=60)


def test_in_another_thread_nobody_can_ask():
    asked = []

    def work() -> None:
        with stop_on_signals() as stop:
            asked.append(stop.asked())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert asked == [False]


def test_the_command_to_go_on_is_the_same_command_quoted_for_a_shell():
    argv = ["space=my space.yaml", "optimizer.lr=1e-3", "data.path=a'b"]
    typed = go_on("python -m orchestrator.ablate", argv)
    assert shlex.split(typed) == ["python", "-m", "orchestrator.ablate", *argv]


def test_the_command_to_go_on_names_nobodys_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/mnt/homes/ada")
    argv = [
        "out=/mnt/homes/ada/runs",
        "data.path=/copy/mnt/homes/ada/set",
        "--config",
        "/mnt/homes/ada/a.yaml",
    ]
    typed = go_on("python -m orchestrator.ablate", argv)
    assert shlex.split(typed)[3:] == ["out=~/runs", argv[1], "--config", "~/a.yaml"]
