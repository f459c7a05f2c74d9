"""Commands share a process for as long as all goes well, and no longer."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import pytest

from orchestrator.step_process import StepProcess
from tests.unit import a_step

MODULE = a_step.__name__


@pytest.fixture
def process(tmp_path):
    with closing(StepProcess("auto", tmp_path)) as process:
        yield process


def ran(process, what, file):
    return process.run(MODULE, (what, str(file)), with_ray=False)


def test_commands_share_a_process_which_ends_with_it(process, tmp_path):
    assert [ran(process, "note", tmp_path / "pids") for _ in range(2)] == [0, 0]
    one, other = (tmp_path / "pids").read_text().split()
    assert one == other != str(os.getpid())
    process.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(one), 0)


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        ("refuse", 2, "word: must be another; got this"),
        ("break", 1, "ZeroDivisionError"),
        ("end of file", 1, "EOFError"),
        ("die", 137, ""),
    ],
)
def test_one_that_fails_takes_its_process_with_it(process, tmp_path, capfd, what, status, said):
    pids = tmp_path / "pids"
    assert ran(process, "note", pids) == 0
    assert ran(process, what, pids) == status
    assert said in capfd.readouterr().err
    assert ran(process, "note", pids) == 0
    one, other = pids.read_text().split()
    assert one != other
    assert not process.interrupted


@contextmanager
def calling(folder, what, file):
    """A process of its own that runs a command, as soon as that has begun."""
    parent = (
        "import sys; from pathlib import Path\n"
        "from orchestrator.step_process import StepProcess\n"
        "if __name__ == '__main__':\n"
        f"    process = StepProcess('auto', Path({str(folder)!r}))\n"
        f"    status = process.run({MODULE!r}, ({what!r}, {str(file)!r}), with_ray=False)\n"
        "    sys.exit(status if process.interrupted else 1)\n"
    )
    (folder / "parent.py").write_text(parent)
    command = [sys.executable, str(folder / "parent.py")]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, start_new_session=True, env=here) as process:
        while not file.with_suffix(".ready").exists():
            assert process.poll() is None
            time.sleep(0.01)
        yield process


def test_ctrl_c_waits_for_the_command_to_end_by_itself(tmp_path):
    """One that saves its work on Ctrl-C is given the time to."""
    file = tmp_path / "saved"
    with calling(tmp_path, "save", file) as caller:
        os.killpg(caller.pid, signal.SIGINT)
        assert caller.wait() == 130
    assert file.exists()


def when_ready(file, act):
    """A thread that acts once the command has begun."""

    def wait():
        while not file.with_suffix(".ready").exists():
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_signal_to_the_waiting_process_alone_is_said_and_the_command_ends_its_work(
    process, tmp_path, capfd
):
    file = tmp_path / "file"

    def ask():
        os.kill(os.getpid(), signal.SIGTERM)
        file.touch()

    before = signal.getsignal(signal.SIGTERM)
    asking = when_ready(file, ask)
    assert ran(process, "finish", file) == 0
    asking.join()
    assert process.interrupted
    assert "the step at work ends first, and no other begins" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_one_is_passed_on(process, tmp_path):
    file = tmp_path / "file"

    def ask():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)  # two that are not yet delivered are one

    asking = when_ready(file, ask)
    assert ran(process, "last", file) == 0
    asking.join()
    assert file.exists()


def test_a_command_whose_caller_is_killed_ends_as_after_sigterm(tmp_path):
    file = tmp_path / "file"
    with calling(tmp_path, "last", file) as caller:
        caller.kill()
        caller.wait()
    end_s = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < end_s
        time.sleep(0.01)
