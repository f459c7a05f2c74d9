"""The server's answers, by real requests on loopback; Ray is not needed."""

import asyncio
import json
import urllib.error
import urllib.request

import pytest
from aiohttp.test_utils import TestClient, TestServer

from orchestrator.dashboard import page
from orchestrator.dashboard.access import COOKIE, Gate
from orchestrator.dashboard.server import Pages
from orchestrator.dashboard.tab import Tab, page_line, serving
from orchestrator.dashboard.watcher import Watcher
from orchestrator.tuning.ledger import LEDGER
from tests.integration.ray_nodes import within
from tests.unit.fake_study import epoch, mixed

INDEX = "<html><head></head><body>Ray's own</body></html>"
TOKEN = {"authorization": "Bearer good"}


@pytest.fixture
def watcher(tmp_path):
    (tmp_path / "s").mkdir()
    lines = "".join(json.dumps(record) + "\n" for record in mixed())
    (tmp_path / "s" / LEDGER).write_text(lines)
    watcher = Watcher(str(tmp_path))
    watcher.look()
    return watcher


def ask(watcher, *paths, headers=TOKEN, index=INDEX):
    """Each answer as (status, headers, text), from one server in turn."""

    async def answers():
        gate = Gate({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "good"}, frozenset({"ticket"}))
        app = Pages(watcher, gate, index, run="r").application()
        async with TestClient(TestServer(app)) as client:
            found = []
            for path in paths:
                path = path() if callable(path) else path
                async with client.get(path, headers=headers, allow_redirects=False) as answer:
                    found.append((answer.status, answer.headers, await answer.text()))
            return found

    return asyncio.run(answers())


def test_the_page_and_its_parts_are_served(watcher):
    parts = [page.stamped("leaderboard.js"), page.stamped("leaderboard.css")]
    parts.append(f"plotly-{page.charts_version()}.js")
    found, *others = ask(watcher, "/leaderboard", *(f"/leaderboard/{name}" for name in parts))
    assert found[0] == 200
    assert found[1]["Content-Security-Policy"] == page.SERVED_POLICY
    assert [status for status, _, _ in others] == [200, 200, 200]
    assert all("immutable" in headers["Cache-Control"] for _, headers, _ in others)


def test_what_is_not_ours_is_left_to_the_dashboard(watcher):
    paths = (
        "/api/version",
        "/static/js/main.js",
        "/leaderboard/../../etc/passwd",
        "/leaderboard/x",
    )
    assert [status for status, _, _ in ask(watcher, *paths)] == [404] * 4


def test_nothing_of_a_study_is_shown_without_rays_token(watcher):
    paths = ("/leaderboard", "/leaderboard/x", "/api/leaderboard/studies", "/api/leaderboard/study")
    for headers in ({}, {"authorization": "Bearer bad"}, {"cookie": f"{COOKIE}=bad"}):
        assert [status for status, _, _ in ask(watcher, *paths, headers=headers)] == [401] * 4


def test_the_first_page_is_rays_own_with_our_tab_and_needs_no_token(watcher):
    ((status, _, text),) = ask(watcher, "/", headers={})
    assert status == 200
    assert "Ray's own" in text
    assert "leaderboard-tab" in text


def test_a_ray_without_a_page_of_its_own_is_left_alone(watcher):
    assert ask(watcher, "/", index="")[0][0] == 404


def test_studies_are_listed_with_their_best(watcher):
    ((_, _, text),) = ask(watcher, "/api/leaderboard/studies")
    (study,) = json.loads(text)["studies"]
    assert (study["study"], study["trials"], study["open"], study["best"]) == ("s", 4, 2, 0.6)


def test_only_what_changed_is_sent_and_nothing_where_nothing_did(watcher, tmp_path):
    def after_an_epoch():
        with (tmp_path / "s" / LEDGER).open("a") as file:
            file.write(json.dumps(epoch("lineage3", 1, 0.4)) + "\n")
        watcher.look()
        return "/api/leaderboard/study?study=s&run=r&since=1"

    whole, same, more, restarted = ask(
        watcher,
        "/api/leaderboard/study?study=s",
        "/api/leaderboard/study?study=s&run=r&since=1",
        after_an_epoch,
        "/api/leaderboard/study?study=s&run=of-another-server&since=1",
    )
    assert len(json.loads(whole[2])["rows"]) == 4
    assert (same[0], same[2]) == (204, "")
    assert [row["trial"] for row in json.loads(more[2])["rows"]] == [3]
    assert len(json.loads(restarted[2])["rows"]) == 4


@pytest.mark.parametrize("name", ["../s", "none", "", "%2e%2e"])
def test_a_study_that_is_not_listed_is_gone(watcher, name):
    assert ask(watcher, f"/api/leaderboard/study?study={name}")[0][0] == 410


@pytest.mark.parametrize("since", ["-1", "x", "9" * 99, "²", ""])
def test_a_version_that_is_no_number_is_none(watcher, since):
    ((status, _, text),) = ask(watcher, f"/api/leaderboard/study?study=s&run=r&since={since}")
    assert status == 200
    assert len(json.loads(text)["rows"]) == 4


def test_a_ticket_gives_the_dashboards_cookie_once_and_leads_to_the_study(watcher):
    link = '/?ticket=ticket&study=a"><script>'
    first, again, wrong = ask(watcher, link, link, "/?ticket=guess", headers={})
    assert f"{COOKIE}=good" in first[1]["Set-Cookie"]
    assert "HttpOnly" in first[1]["Set-Cookie"]
    assert "SameSite=Strict" in first[1]["Set-Cookie"]
    assert "<script>" not in first[2]
    assert "url=/leaderboard#a%22" in first[2]
    assert "Set-Cookie" not in again[1]
    assert "Set-Cookie" not in wrong[1]


def get(url):
    request = urllib.request.Request(url, headers=TOKEN)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status, json.loads(answer.read())


def answers(url):
    try:
        return bool(get(url))
    except OSError:
        return False


def test_the_server_lives_as_long_as_its_context(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "good")
    with serving(tmp_path) as tab:
        url = f"{tab.server_url}/api/leaderboard/studies"
        with pytest.raises(urllib.error.URLError, match="refused"):
            get(url)  # not ready: the dashboard answers itself, at once
        assert within(60, lambda: answers(url))
        assert get(url) == (200, {"studies": []})
    with pytest.raises(urllib.error.URLError):
        get(url)


def test_where_no_server_is_wanted_there_is_no_link(tmp_path):
    with serving(tmp_path, wanted=False) as tab:
        assert tab.server_url is None
        assert page_line(tab, "http://127.0.0.1:8265", "s") == ""


def test_a_log_shows_the_link_without_a_ticket(capsys):
    tab = Tab("http://127.0.0.1:1", ("secret", "other"))
    assert (
        page_line(tab, "http://127.0.0.1:2", "s") == "leaderboard http://127.0.0.1:2/leaderboard#s"
    )


def test_a_terminal_shows_a_link_that_lets_its_user_in(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    tab = Tab("http://127.0.0.1:1", ("secret", "other"))
    assert "/?ticket=secret&study=s" in page_line(tab, "http://127.0.0.1:2", "s")


def test_a_dashboard_that_is_not_there_has_no_link():
    assert page_line(Tab("http://127.0.0.1:1", ("a", "b")), "", "s") == ""
