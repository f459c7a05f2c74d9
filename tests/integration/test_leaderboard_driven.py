"""The leaderboard's page as it is used: sorted, walked with the keyboard, in the dark, as it grows."""

import json
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.dashboard.server_process import ServerProcess
from orchestrator.tuning.ledger import LEDGER
from tests.integration.driven_browser import Page, browsing
from tests.integration.headless_browser import needs_browser
from tests.integration.ray_nodes import within
from tests.unit.fake_study import end, epoch, head, mixed, trial

pytestmark = needs_browser

ROWS = "Array.from(document.querySelectorAll('#board tbody tr'))"
TRIALS = f"{ROWS}.map(row => row.querySelector('button').textContent).join(' ')"
HEAD = "document.querySelector('#board thead button[data-sort=f1]')"
FOCUS = "document.activeElement"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    write(runs, mixed())
    return runs


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    """The served page: without a token, as of a Ray without one."""
    environment = {"RAY_AUTH_MODE": "disabled"}
    server = ServerProcess(str(runs), environment=environment)
    try:
        with browsing("about:blank", tmp_path_factory.mktemp("profile")) as page:
            assert within(60, lambda: is_up(server))
            page.go(f"{server.url}/leaderboard#s")
            page.wait_for(f"document.querySelector('#board') && {ROWS}.length == 4")
            yield page
    finally:
        server.end()


def is_up(server: ServerProcess) -> bool:
    try:
        with urllib.request.urlopen(f"{server.url}/leaderboard", timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


def write(runs: Path, records: list[dict], study: str = "s") -> None:
    """A record a second, the last of them now."""
    began = datetime.now(UTC) - timedelta(seconds=len(records))
    (runs / study).mkdir(exist_ok=True)
    with (runs / study / LEDGER).open("a") as ledger:
        for number, record in enumerate(records, start=1):
            time = (began + timedelta(seconds=number)).isoformat()
            ledger.write(json.dumps(record | {"time": time}) + "\n")


def test_a_head_that_is_clicked_sorts_by_its_column_and_says_so(page: Page):
    before = page.ask(TRIALS)
    page.ask(f"{HEAD}.click()")
    assert page.ask(f"{HEAD}.closest('th').getAttribute('aria-sort')") == "descending"
    best_first = page.ask(TRIALS)
    page.ask(f"{HEAD}.click()")
    assert page.ask(f"{HEAD}.closest('th').getAttribute('aria-sort')") == "ascending"
    assert page.ask(TRIALS) != best_first
    page.ask("document.querySelector('#board thead button[data-sort=place]').click()")
    assert page.ask(TRIALS) == before


def test_the_keyboard_reaches_the_table_and_keeps_its_place_as_the_page_grows(page: Page, runs):
    page.ask(f"{HEAD}.focus()")
    page.press("Enter")
    assert page.ask(f"{HEAD} === {FOCUS}"), "the head was made anew, and has the focus"
    page.ask("document.querySelector('#board thead button[data-sort=place]').click()")
    grows = f"{ROWS}.map(row => row.querySelector('button')).find(b => b.textContent == '3')"
    page.ask(f"{grows}.focus()")
    done = page.ask("document.getElementById('bar').value")
    write(runs, [epoch("lineage3", number, 0.4) for number in (1, 2)])
    page.wait_for(f"document.getElementById('bar').value == {done + 2}", 30)
    assert page.ask(f"{grows} === {FOCUS}"), "its row was made anew, and has the focus"
    page.press("Enter")
    assert page.ask(f"{FOCUS}.getAttribute('aria-pressed')") == "true"


def test_what_is_done_what_trains_and_who_leads_is_on_the_page(page: Page):
    plan = page.ask("document.getElementById('plan').textContent")
    assert "trials finished" in plan
    assert "left" in page.ask("document.getElementById('times').textContent")
    assert page.ask("document.querySelectorAll('#slots tbody tr').length") >= 1
    assert page.ask("document.querySelectorAll('#confusion tbody tr').length") == 3
    last = "document.querySelector('#confusion tbody tr').lastChild.textContent"
    assert 0 <= float(page.ask(last)) <= 1, "F1 of the first class"
    charts = "Array.from(document.querySelectorAll('.chart'))"
    assert page.ask(f"{charts}.some(c => c.parentNode.id == 'slices')")
    assert page.ask(f"{charts}.every(c => c.getAttribute('aria-label'))")


def test_the_page_is_dark_where_the_desk_is(page: Page):
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.ask(ground, prefers_color_scheme="light") == "rgb(255, 255, 255)"
    assert page.ask(ground, prefers_color_scheme="dark") == "rgb(20, 23, 26)"


def test_names_values_and_errors_that_are_markup_do_nothing_in_the_served_page(page: Page, runs):
    """Of the study's folder, too, by which the chooser and the address name it."""
    evil = "<img src=x onerror=window.broken=1><script>window.broken=1</script>"
    folder = evil.replace("/", "")
    records = [head(evil, (evil, "b", "c")), trial(0, "l", values={evil: evil}), epoch("l", 1, 0.5)]
    records += [trial(1, "m", values={evil: 2}), end(0, 1, "failed", evil, evil)]
    write(runs, records, folder)
    chooser = "Array.from(document.querySelectorAll('option')).map(one => one.textContent)"
    page.wait_for(f"{chooser}.some(name => name.includes('onerror'))", 30)
    page.ask(f"location.hash = '#' + encodeURIComponent({json.dumps(folder)})")
    page.wait_for(
        f"document.querySelector('#study').textContent.includes('onerror') && {ROWS}.length == 2",
        30,
    )
    assert "onerror" in page.ask("document.querySelector('#board').textContent")
    assert (
        page.ask(
            "document.querySelectorAll('#board img, #board script, #study img, option img').length"
        )
        == 0
    )
    assert page.ask("window.broken === undefined")
    page.ask("location.hash = '#s'")
    page.wait_for(f"{ROWS}.length == 4", 30)
