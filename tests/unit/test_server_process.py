"""What becomes of the port of the page's server when the server dies."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from itertools import chain, repeat
from pathlib import Path

import pytest

from orchestrator.dashboard import server as of_head
from orchestrator.dashboard import server_process
from orchestrator.dashboard.server import COMMAND, FIRST_PAUSE_S, GONE, keep_up
from orchestrator.dashboard.server_process import ROOT, ServerProcess, free_port
from tests.integration.ray_nodes import within

HEADERS = {"Authorization": "Bearer good"}


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "good")
    monkeypatch.setattr(server_process, "LOOK_EVERY_S", 0.05)
    process = ServerProcess(str(tmp_path), ("a ticket",))
    yield process
    process.end()


def status(server):
    request = urllib.request.Request(f"{server.url}/api/leaderboard/studies", headers=HEADERS)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.status


def test_a_server_that_soon_dies_again_is_replaced_once_and_its_port_stays_ours(server):
    assert within(60, lambda: answers(server))
    first = server._process
    first.kill()
    wait_for_another(server, first)
    assert within(60, lambda: answers(server))
    server._process.kill()
    assert_the_tab_is_gone(server)
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", server._port))


def test_a_server_that_hangs_is_killed_and_replaced_once(server, monkeypatch):
    """The system accepts connections for it: the dashboard would wait on each."""
    assert within(60, lambda: answers(server))
    first = server._process
    stop(first)
    with monkeypatch.context() as hasty:
        hasty.setattr(server_process, "START_LIMIT_S", 0.5)  # its watcher may not have heard it
        hasty.setattr(server_process, "ANSWER_TIMEOUT_S", 0.1)
        hasty.setattr(server_process, "SILENCE_LIMIT_S", 0.5)
        wait_for_another(server, first)
    assert first.returncode == -signal.SIGKILL
    assert within(60, lambda: answers(server))
    stop(server._process)
    monkeypatch.setattr(server_process, "START_LIMIT_S", 0.5)
    monkeypatch.setattr(server_process, "ANSWER_TIMEOUT_S", 0.1)
    monkeypatch.setattr(server_process, "SILENCE_LIMIT_S", 0.5)
    assert_the_tab_is_gone(server)


def test_until_its_first_answer_a_server_is_given_more_time(tmp_path, monkeypatch):
    said = chain([False, False, True, False], repeat(True))
    monkeypatch.setattr(server_process, "_answers", lambda port: next(said))
    monkeypatch.setattr(server_process, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(server_process, "SILENCE_LIMIT_S", 0.0)
    server = ServerProcess(str(tmp_path), ())
    try:
        first = server._process
        wait_for_another(server, first)
        assert next(said), "it was killed for the silence after its answer, not for those before"
        assert server._process.poll() is None
    finally:
        server.end()


def test_a_server_that_hangs_does_not_hold_up_the_end(server, monkeypatch):
    monkeypatch.setattr(server_process, "END_TIMEOUT_S", 0.2)
    assert within(60, lambda: answers(server))
    stop(server._process)
    server.end()
    assert server._process.returncode == -signal.SIGKILL
    server._watcher.join(30)
    assert not server._watcher.is_alive()


@pytest.fixture
def start_head(tmp_path, monkeypatch):
    """Starts the process of a head node, by the command of the README."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "orchestrator.dashboard.server", str(tmp_path), str(port)]
    started = []

    def start(**environment: str) -> subprocess.Popen[str]:
        own = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
        process = subprocess.Popen(
            command, cwd=ROOT, env=own | environment, stderr=subprocess.PIPE, text=True
        )
        process.url = f"http://127.0.0.1:{port}"
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_head_node_keeps_a_server_up_and_takes_it_with_it(start_head, tmp_path):
    head = start_head(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="good")
    assert within(60, lambda: answers(head))
    (first,) = children(head)
    time.sleep(2 * server_process.LOOK_EVERY_S)  # its parent has heard it, too
    os.kill(first, signal.SIGSTOP)  # the dashboard would wait for it
    assert within(120, lambda: children(head) not in ([], [first]) and answers(head))
    second = subprocess.run(head.args, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr.startswith(f"port: must be free on 127.0.0.1, got {head.args[-1]}: ")
    head.terminate()
    assert head.wait(60) == 0
    assert head.stderr.read() == ""
    again = ServerProcess(
        str(tmp_path), port=int(head.args[-1]), environment={"RAY_AUTH_TOKEN": "good"}
    )  # though its connections linger
    assert within(60, lambda: answers(again))
    again.end()


def test_a_head_node_whose_servers_soon_die_says_so_waits_and_keeps_its_port(start_head):
    head = start_head(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="good")
    for _ in range(server_process.REPLACEMENTS + 1):
        assert within(60, lambda: answers(head))
        (serving,) = children(head)
        os.kill(serving, signal.SIGKILL)
        assert within(60, lambda: not answers(head))
    assert head.stderr.readline() == f"{COMMAND}: {GONE} {FIRST_PAUSE_S:g} s\n"
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", int(head.args[-1])))


def test_after_its_pause_a_head_node_starts_another_server(tmp_path, monkeypatch):
    paused, lives = [], iter([1.0, 1.0, 7200.0, 1.0])
    monkeypatch.setattr(of_head, "_serve_while_it_lives", lambda *_: next(lives))
    monkeypatch.setattr(of_head.time, "sleep", paused.append)
    monkeypatch.setattr(of_head.signal, "signal", lambda *_: None)
    with pytest.raises(StopIteration):
        keep_up([str(tmp_path), str(free_port().getsockname()[1])])
    assert paused == [60.0, 120.0, 60.0, 120.0]


def test_a_head_node_without_tokens_has_an_open_tab_as_its_dashboard_is(start_head, tmp_path):
    head = start_head(RAY_AUTH_TOKEN_PATH=str(tmp_path / "none"))
    url = f"{head.url}/api/leaderboard/studies"

    def is_open() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status == 200
        except urllib.error.HTTPError as error:
            error.close()
            raise
        except OSError:
            return False

    assert within(60, is_open)


@pytest.mark.parametrize(
    "words", [[], ["runs"], ["runs", "none"], ["runs", "0"], ["runs", "99999"]]
)
def test_what_is_no_folder_and_port_is_refused(words):
    with pytest.raises(SystemExit, match="must be given a folder and a port"):
        keep_up(words)


def answers(server):
    try:
        return status(server) == 200
    except OSError:
        return False


def children(process):
    threads = Path(f"/proc/{process.pid}/task").iterdir()  # a replacement is another thread's child
    return [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]


def stop(process):
    """Returns once all its threads have stopped."""
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def wait_for_another(server, first):
    limit = time.monotonic() + 120
    while server._process is first:
        assert time.monotonic() < limit
        time.sleep(0.02)


def assert_the_tab_is_gone(server):
    server._watcher.join(120)
    with pytest.raises(urllib.error.URLError, match="refused"):
        status(server)


def test_its_end_gives_the_port_back(server):
    server.end()
    socket.create_server(("127.0.0.1", server._port)).close()


def test_a_server_that_served_long_before_it_died_is_replaced_again(server, monkeypatch):
    monkeypatch.setattr(server_process, "LONG_LIFE_S", 0.0)
    for _ in range(3):
        assert within(60, lambda: answers(server))
        first = server._process
        first.kill()
        wait_for_another(server, first)
    assert within(60, lambda: answers(server))
