"""Commands share a process for as long as all goes well, and no longer."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing

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


def test_ctrl_c_waits_for_the_command_to_end_by_itself(tmp_path):
    """One that saves its work on Ctrl-C is given the time to."""
    saved = tmp_path / "saved"
    parent = (
        "import sys; from pathlib import Path\n"
        "from orchestrator.step_process import StepProcess\n"
        "if __name__ == '__main__':\n"
        f"    process = StepProcess('auto', Path({str(tmp_path)!r}))\n"
        f"    status = process.run({MODULE!r}, ('save', {str(saved)!r}), with_ray=False)\n"
        "    sys.exit(status if process.interrupted else 1)\n"
    )
    (tmp_path / "parent.py").write_text(parent)
    command = [sys.executable, str(tmp_path / "parent.py")]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, start_new_session=True, env=here) as process:
        while not saved.with_suffix(".ready").exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait() == 130
    assert saved.exists()


def test_a_signal_to_the_waiting_process_alone_ends_nothing_but_is_known(process, tmp_path):
    file = tmp_path / "file"

    def ask():
        while not file.with_suffix(".ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        file.touch()

    asking = threading.Thread(target=ask)
    before = signal.getsignal(signal.SIGTERM)
    asking.start()
    assert ran(process, "finish", file) == 0
    asking.join()
    assert process.interrupted
    assert signal.getsignal(signal.SIGTERM) is before
