"""What becomes of the port of the page's server when the server dies."""

import socket
import urllib.error
import urllib.request

import pytest

from orchestrator.dashboard.server_process import ServerProcess

HEADERS = {"Authorization": "Bearer good"}


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "good")
    process = ServerProcess(tmp_path, ("a ticket",))
    yield process
    process.end()


def status(server):
    request = urllib.request.Request(f"{server.url}/api/leaderboard/studies", headers=HEADERS)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status


def test_a_server_that_dies_is_replaced_once_and_its_port_stays_ours(server):
    assert status(server) == 200
    first = server._process
    _kill_and_wait_for_the_watcher(server)
    assert server._process is not first
    assert status(server) == 200
    server._process.kill()
    server._process.wait()
    with pytest.raises(urllib.error.URLError, match="refused"):
        status(server)
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", server._port))


def _kill_and_wait_for_the_watcher(server):
    server._process.kill()
    server._watcher.join(30)


def test_its_end_gives_the_port_back(server):
    server.end()
    socket.create_server(("127.0.0.1", server._port)).close()
