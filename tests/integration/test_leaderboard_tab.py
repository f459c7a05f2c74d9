"""The Leaderboard tab in the dashboard of a real Ray: who gets in, and what survives its server."""

import html
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.dashboard.grafana import expression
from orchestrator.dashboard.metrics import METRICS, STATES
from orchestrator.tuning.ledger import LEDGER
from tests.integration.dashboard_process import server_pid
from tests.integration.headless_browser import CHROMIUM, dump, needs_browser
from tests.integration.prometheus_server import answer, needs_prometheus, scraping
from tests.unit.fake_study import epoch, mixed

pytestmark = pytest.mark.ray

TOKEN = "a-token-of-this-test-that-is-long-enough"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ROOT = Path(__file__).resolve().parents[2]
CURRENT_WITHIN_S = 5.0
PAGE = "leaderboard-as-seen.html"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    (runs / "s").mkdir()
    write(runs, mixed())
    return runs


@pytest.fixture(scope="module")
def ray_with_tab(runs) -> Iterator[dict]:
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.integration.dashboard_process", str(runs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=environment,
        text=True,
    ) as process:
        yield json.loads(process.stdout.readline())
        process.stdin.close()
        process.wait(120)


@pytest.fixture(scope="module")
def let_in(ray_with_tab, tmp_path_factory) -> Path:
    """The folder of a browser that has followed the link, and the page that it saw."""
    profile = tmp_path_factory.mktemp("profile")
    if CHROMIUM:
        (profile / PAGE).write_text(dump(ray_with_tab["link"], profile, budget_ms=15_000))
    return profile


def write(runs: Path, records: list[dict]) -> None:
    with (runs / "s" / LEDGER).open("a") as ledger:
        ledger.write("".join(json.dumps(record) + "\n" for record in records))


def ask(url: str, headers: dict[str, str] = BEARER) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=30
        ) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


def within(limit_s: float, is_so) -> bool:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if is_so():
            return True
        time.sleep(0.1)
    return False


def test_the_page_needs_rays_token_through_the_dashboard_and_past_it(ray_with_tab):
    for place in (ray_with_tab["dashboard"], ray_with_tab["server"]):
        for path in ("/leaderboard", "/api/leaderboard/studies", "/api/leaderboard/study?study=s"):
            assert ask(place + path, {})[0] == 401
            assert ask(place + path)[0] == 200


def test_the_dashboard_answers_the_rest_itself(ray_with_tab):
    status, text = ask(ray_with_tab["dashboard"] + "/api/version")
    assert status == 200
    assert "ray_version" in text
    assert ask(ray_with_tab["dashboard"] + "/api/version", {})[0] == 401
    assert ask(ray_with_tab["dashboard"] + "/nothing/of/the/kind")[0] == 404


def test_an_epoch_is_on_the_page_within_seconds(ray_with_tab, runs):
    url = ray_with_tab["dashboard"] + "/api/leaderboard/study?study=s"
    before = json.loads(ask(url)[1])["epochs"]["done"]
    write(runs, [epoch("lineage3", 1, 0.4)])
    assert within(CURRENT_WITHIN_S, lambda: json.loads(ask(url)[1])["epochs"]["done"] == before + 1)


def test_the_leaderboard_is_among_the_logs(ray_with_tab):
    log = Path(ray_with_tab["logs"]) / "leaderboard-s.log"
    assert within(30, log.is_file)
    assert "\u00a0" in log.read_text()


def test_scores_and_trials_are_among_rays_metrics(ray_with_tab):
    def scraped() -> str:
        return ask(ray_with_tab["metrics"])[1]

    assert within(60, lambda: "ray_fer_best_macro_f1{" in scraped())
    (best,) = [line for line in scraped().split("\n") if line.startswith("ray_fer_best_macro_f1{")]
    assert 'study="s"' in best
    assert float(best.split()[-1]) == 0.6
    assert "ray_fer_epochs_total{" in scraped()


@needs_prometheus
def test_prometheus_has_a_series_for_every_chart_of_the_grafana_dashboard(ray_with_tab, tmp_path):
    target = ray_with_tab["metrics"].removeprefix("http://").removesuffix("/metrics")
    chosen = 'study="s"'
    with scraping(target, tmp_path) as server:
        for metric in METRICS:
            asked = expression(metric, chosen)
            assert within(90, lambda asked=asked: answer(server, asked)), asked
        (best,) = answer(server, expression(METRICS[0], chosen))
        states = answer(server, 'ray_fer_trials{study="s"}')
    assert best["metric"] == {"study": "s"}
    assert float(best["value"][1]) == 0.6
    assert {series["metric"]["state"] for series in states} == set(STATES)


def test_the_list_of_jobs_says_who_leads(ray_with_tab, runs, let_in):
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        pytest.skip("this process has a Ray: beside it a job's driver may fail to find its own")
    jobs = ray_with_tab["dashboard"] + "/api/jobs/"
    entrypoint = f"cd {ROOT} && {sys.executable} -m tests.integration.job_of_a_study {runs}"
    body = json.dumps({"entrypoint": entrypoint, "submission_id": "of-this-test"}).encode()
    request = urllib.request.Request(jobs, data=body, headers=BEARER)

    def is_submitted() -> bool:
        try:  # refused until the head's agent is up
            return bool(urllib.request.urlopen(request, timeout=30).read())
        except urllib.error.HTTPError as error:
            error.close()
            return False

    assert within(60, is_submitted)

    def job() -> dict:
        return json.loads(ask(jobs + "of-this-test")[1])

    is_said = within(120, lambda: "best so far 0.600" in job()["message"])
    assert is_said, (job(), ask(jobs + "of-this-test/logs"))
    assert job()["metadata"]["best_trial"] == "0"
    if CHROMIUM:
        assert "best so far 0.600" in dump(ray_with_tab["dashboard"] + "/#/jobs", let_in)
    (runs / "stop").touch()
    assert within(60, lambda: job()["status"] == "SUCCEEDED")


@needs_browser
def test_a_browser_with_the_link_sees_the_leaderboard_and_then_the_tab(ray_with_tab, let_in):
    page = (let_in / PAGE).read_text()
    assert "0.600 [0.580, 0.620]" in page
    assert "js-plotly-plot" in page
    front = dump(ray_with_tab["dashboard"] + "/#/overview", let_in, budget_ms=15_000)
    assert re.search(r'<a [^>]*href="/leaderboard"[^>]*>Leaderboard</a>', front)
    assert "Authentication Token Required" not in front


@needs_browser
def test_the_logs_page_shows_the_leaderboard_in_columns(ray_with_tab, let_in):
    viewer = f"/#/logs/viewer?nodeId={ray_with_tab['node']}&fileName=leaderboard-s.log"
    shown = dump(ray_with_tab["dashboard"] + viewer, let_in, budget_ms=20_000)
    text = html.unescape(re.sub(r"<[^>]+>", "", shown))
    assert "rank\u00a0" in text
    assert re.search(r"0\.600\s\[0\.580,\s0\.620\]", text)


@needs_browser
def test_the_actors_page_calls_a_slot_by_its_study(ray_with_tab, let_in):
    page = ray_with_tab["dashboard"] + f"/#/actors/{ray_with_tab['slot']}"
    assert "slot-0 of s" in dump(page, let_in, budget_ms=15_000)


def test_the_dashboard_is_whole_without_our_server(ray_with_tab):
    """The last test of the module: it ends the server, and the one that takes its place."""
    dashboard = ray_with_tab["dashboard"]
    first = ray_with_tab["server_pid"]
    os.kill(first, signal.SIGKILL)
    assert within(60, lambda: server_pid(ray_with_tab["pid"]) not in (None, first))
    assert within(60, lambda: ask(dashboard + "/leaderboard")[0] == 200), "another one serves"
    os.kill(server_pid(ray_with_tab["pid"]), signal.SIGKILL)
    assert within(10, lambda: ask(dashboard + "/leaderboard")[0] == 404)
    assert ask(dashboard + "/")[0] == 200
    assert "leaderboard-tab" not in ask(dashboard + "/")[1]
    assert ask(dashboard + "/api/version")[0] == 200
