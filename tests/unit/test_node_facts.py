"""A dashboard is asked as Ray's own clients ask it: at Ray's address, with Ray's token."""

import http.server
import threading
from dataclasses import replace

import pytest

from orchestrator import machine, node_facts
from orchestrator.config import shared_folder
from orchestrator.config.shared_folder import leave_mark
from orchestrator.node_facts import Surroundings, dashboard_problem, is_open


class Dashboard(http.server.BaseHTTPRequestHandler):
    """Lets in whoever bears the token."""

    def do_GET(self):
        good = self.headers.get("Authorization") == "Bearer good"
        self.send_response(401 if not good else 200 if self.path == "/api/version" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def dashboard(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with http.server.HTTPServer(("127.0.0.1", 0), Dashboard) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_dashboard_that_gets_its_token_answers(dashboard, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "good")
    assert dashboard_problem(dashboard) == ""


def test_another_token_and_none_are_said_to_be_what_is_wrong(dashboard, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "bad")
    assert dashboard_problem(dashboard) == "answers 401 (Ray's token is needed)"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "good")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert "answers 401" in dashboard_problem(dashboard)


def test_only_a_dashboard_that_answers_without_a_token_is_open(dashboard, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "good")  # is not sent
    assert not is_open(dashboard)
    assert not is_open("http://127.0.0.1:9")
    monkeypatch.setattr(Dashboard, "do_GET", lambda asked: asked.send_error(200))
    assert is_open(dashboard)


def test_a_port_where_nothing_listens_does_not_answer():
    assert "does not answer" in dashboard_problem("http://127.0.0.1:9")


def test_a_dashboard_that_hangs_does_not_hold_up_the_doctor(monkeypatch):
    monkeypatch.setattr(node_facts, "DASHBOARD_TIMEOUT_S", 0.2)
    with http.server.HTTPServer(("127.0.0.1", 0), Dashboard) as silent:  # listens, never answers
        problem = dashboard_problem(f"http://127.0.0.1:{silent.server_port}")
    assert "does not answer (timed out)" in problem


def test_a_worker_sees_its_own_node(monkeypatch):
    monkeypatch.setattr(machine, "list_gpus", lambda: ("NVIDIA H200, 575.1",))
    monkeypatch.setattr(machine, "free_memory_bytes", lambda: 7)
    expected = Surroundings(machine.our_folders(), ("NVIDIA H200, 575.1",), 7, "")
    assert node_facts.look_around("") == expected


def test_a_worker_says_whether_it_keeps_runs_where_the_driver_does(
    tmp_path, monkeypatch, s3_bucket
):
    monkeypatch.setattr(shared_folder, "REMEMBERED_S", 0.0)
    mark = leave_mark(tmp_path)
    assert node_facts.look_around(mark).storage_problem == ""
    elsewhere = replace(mark, folder=tmp_path / "elsewhere")
    assert "is not there" in node_facts.look_around(elsewhere).storage_problem
    assert node_facts.look_around(f"{s3_bucket}/runs").storage_problem == ""
    assert "cannot be written" in node_facts.look_around("s3://no-such/runs").storage_problem


def test_what_ray_counts_of_a_node_and_what_was_seen_there_are_put_together():
    seen = Surroundings({}, (), 7)
    node = {"NodeManagerAddress": "10.0.0.2", "Resources": {"CPU": 8.0, "object_store_memory": 9.0}}
    facts = node_facts._facts(node, seen)
    assert (facts.address, facts.cpus, facts.gpus) == ("10.0.0.2", 8, 0)
    assert (facts.object_store_bytes, facts.seen) == (9, seen)
