"""A dashboard is asked as Ray's own clients ask it: at Ray's address, with Ray's token."""

import http.server
import threading

import pytest

from orchestrator.dashboard import asking
from orchestrator.dashboard.asking import dashboard_problem, is_open
from orchestrator.dashboard.tab import cluster_line


class Dashboard(http.server.BaseHTTPRequestHandler):
    """Lets in whoever bears the token."""

    routes = ("/api/version",)

    def do_GET(self):
        good = self.headers.get("Authorization") == "Bearer good"
        self.send_response(401 if not good else 200 if self.path in self.routes else 404)
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
    monkeypatch.setattr(asking, "TIMEOUT_S", 0.2)
    with http.server.HTTPServer(("127.0.0.1", 0), Dashboard) as silent:  # listens, never answers
        problem = dashboard_problem(f"http://127.0.0.1:{silent.server_port}")
    assert "does not answer (timed out)" in problem


def test_a_cluster_whose_dashboard_has_the_tab_is_linked_to(dashboard, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "good")
    assert cluster_line(dashboard, "a study") == "", "404: it was started without the tab"
    monkeypatch.setattr(Dashboard, "routes", ("/api/version", "/leaderboard"))
    assert cluster_line(dashboard, "a study") == f"leaderboard {dashboard}/leaderboard#a%20study"
    assert cluster_line("", "a study") == ""
