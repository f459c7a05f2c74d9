"""The leaderboard's page from disk, in a real browser."""

import json
import re

import pytest

from orchestrator.dashboard.page import write_page
from orchestrator.tuning.ledger import LEDGER
from tests.integration.headless_browser import dump, needs_browser
from tests.unit.fake_study import CLASSES, end, epoch, head, mixed, trial

pytestmark = needs_browser

EVIL = (
    '"><img src=x onerror="document.title=\'broken\'"></script>'
    "<script>document.title='broken'</script><a href='javascript:1'>[x]</a>"
)


@pytest.fixture
def shown(tmp_path):
    def show(records, **options):
        study = tmp_path / "s"
        study.mkdir()
        (study / LEDGER).write_text("".join(json.dumps(record) + "\n" for record in records))
        return dump(write_page(study).as_uri(), tmp_path / "profile", **options)

    return show


def rows_of(document, table):
    body = re.search(rf'<table id="{table}">.*?<tbody>(.*?)</tbody>', document, re.DOTALL)[1]
    return re.findall(r"<tr[^>]*>.*?</tr>", body, re.DOTALL)


def test_tables_and_charts_show_the_study(shown):
    document = shown(mixed())
    rows = rows_of(document, "board")
    assert len(rows) == 4
    assert "0.600 [0.580, 0.620]" in rows[0]
    assert len(rows_of(document, "confusion")) == len(CLASSES)
    assert 'aria-sort="ascending"' in document
    for chart in ("curves", "slice-0", "parallel"):
        assert re.search(rf'<div class="chart[^"]*js-plotly-plot" id="{chart}"', document), chart


def test_hostile_names_are_shown_as_they_are_and_do_nothing(shown):
    records = [head(EVIL, (EVIL, "b", "c"))]
    for k in range(3):
        records.append(trial(k, f"l{k}", values={EVIL: f"{EVIL}{k}", "lr": 0.1 * k + 0.1}))
        records += [epoch(f"l{k}", 1, 0.1 * k), epoch(f"l{k}", 2, 0.2 * k)]
    records += [end(0), end(1), end(2, 1, "failed", EVIL)]
    document = shown(records)
    assert "<title>broken" not in document
    assert "<img" not in document
    assert "javascript:" not in re.sub(
        r"<script.*?</script>", "", document, flags=re.DOTALL
    ).replace("&lt;a href='javascript:1'", "")
    assert "&lt;img src=x" in document
    assert "js-plotly-plot" in document


def test_an_empty_study_says_so(shown):
    document = shown([head()])
    assert re.search(r'id="none">No trial yet', document)
    assert re.search(r'<section[^>]*id="curves-section" hidden', document)


def test_a_thousand_trials_show_the_first_fifty_and_all_their_curves(shown):
    records = [head()]
    for k in range(1000):
        values = {"lr": 1e-5 * (k + 1), "name": ["adam", "sgd"][k % 2], "wd": (k * 7 % 100) / 100}
        records.append(trial(k, f"l{k}", 20, values))
        records += [epoch(f"l{k}", e, (e / 20) * (0.3 + (k % 331) / 1000)) for e in range(1, 21)]
        records.append(end(k, 20))
    document = shown(records, budget_ms=20_000)
    assert len(rows_of(document, "board")) == 50
    assert "Show all 1000 trials" in document
    assert re.search(r'js-plotly-plot" id="parallel"', document)
