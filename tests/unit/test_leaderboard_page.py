import base64
import hashlib
import json
import re

import pytest

from orchestrator.config.errors import OrchestratorError
from orchestrator.dashboard import page
from orchestrator.tuning.ledger import LEDGER
from tests.unit.fake_study import end, epoch, head, mixed, trial

SCRIPT = re.compile(r"<script(?P<kind>[^>]*)>(?P<code>.*?)</script>", re.DOTALL)
EVIL = "</script><script>alert(1)</script><!--<script>"


def written(folder, records):
    (folder / LEDGER).write_text("".join(json.dumps(record) + "\n" for record in records))
    return page.write_page(folder).read_text()


def scripts(text):
    return [(found["kind"], found["code"]) for found in SCRIPT.finditer(text)]


def policy(text):
    return re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]


def test_the_page_on_disk_has_data_charts_and_script_inside(tmp_path):
    (kind, data), (_, charts), (_, ours) = scripts(written(tmp_path, mixed()))
    assert kind == ' type="application/json" id="data"'
    assert len(json.loads(data)["rows"]) == 4
    assert "plotly.js" in charts[:500]
    assert "aria-sort" in ours


def test_its_policy_allows_these_two_scripts_and_nothing_else(tmp_path):
    text = written(tmp_path, mixed())
    allowed = re.findall(r"'sha256-([^']+)'", policy(text))
    digests = [
        base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        for kind, code in scripts(text)
        if not kind
    ]
    assert allowed == digests
    assert "default-src 'none'" in policy(text)
    assert "unsafe-eval" not in policy(text)
    assert "connect-src" not in policy(text)


def test_hostile_names_end_no_script_and_start_none(tmp_path):
    records = [head(EVIL, (EVIL, "b", "c")), trial(0, "l", values={EVIL: EVIL}), epoch("l", 1, 0.5)]
    text = written(tmp_path, [*records, end(0, 1, "failed", EVIL)])
    assert len(scripts(text)) == 3
    assert "alert(1)</script>" not in text


def test_nothing_of_the_page_comes_from_elsewhere():
    for text in (page.served_page(), page.part("leaderboard.css"), page.part("body.html")):
        assert "//" not in text.replace("<!DOCTYPE html>", "")
    assert "http" not in page.part("leaderboard.js")


def test_our_script_never_makes_markup_or_code_of_text():
    for name in ("leaderboard.js", "tab.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", page.part(name)
        )


def test_the_served_page_lets_only_its_own_origin_run_scripts():
    assert "script-src 'self'" in page.SERVED_POLICY
    assert "frame-ancestors 'none'" in page.SERVED_POLICY
    assert scripts(page.served_page()) == [
        (f' defer src="/leaderboard/plotly-{page.charts_version()}.js"', ""),
        (f' defer src="/leaderboard/{page.stamped("leaderboard.js")}"', ""),
    ]


def test_without_the_package_of_the_charts_the_tables_are_there(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "charts_script", lambda: "")
    text = written(tmp_path, mixed())
    assert scripts(text)[1] == ("", "")
    assert 'id="board"' in text


def test_the_dashboards_first_page_gains_one_script():
    index = "<html><head><title>Ray Dashboard</title></head><body></body></html>"
    assert len(scripts(page.with_tab(index))) == 1
    assert page.with_tab("no head at all") == "no head at all"


def test_a_ledger_that_cannot_be_read_has_no_page(tmp_path):
    with pytest.raises(OrchestratorError, match="must have a sound ledger"):
        written(tmp_path, [{"record": "study", "version": 99}])


def contrast(*colours):
    """Of two colours, each (r, g, b) in [0, 255]: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio"""

    def luminance(colour):
        parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    darker, lighter = sorted(map(luminance, colours))
    return (lighter + 0.05) / (darker + 0.05)


def test_counts_are_legible_on_the_darkest_cell_of_the_confusion_matrix_by_day_and_night():
    css, most = (
        page.part(page.STYLE),
        int(re.search(r"MOST_HEAT = (\d+)", page.part(page.SCRIPT))[1]),
    )
    for name in ("ink", "heat", "card"):
        assert len(re.findall(rf"--{name}: #", css)) == 2, "by day and by night"
    for ink, heat, card in zip(
        *(re.findall(rf"--{name}: #(\w{{6}})", css) for name in ("ink", "heat", "card")),
        strict=True,
    ):
        ink, heat, card = (bytes.fromhex(colour) for colour in (ink, heat, card))
        cell = [(most * h + (100 - most) * c) / 100 for h, c in zip(heat, card, strict=True)]
        assert contrast(ink, cell) > 4.5
