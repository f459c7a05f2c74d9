import json
from typing import get_args

import pytest

from orchestrator.dashboard.metrics import STATES
from orchestrator.dashboard.snapshot import StudyFeed, shown, to_json
from orchestrator.results.field_importance import Importance, Within
from orchestrator.results.study_view import State
from tests.unit.fake_study import begin, end, epoch, head, mixed, scored, trial

EVIL = "</script><script>alert(1)</script>\x1b[31m&<!--\u2028\ud800 /home/somebody/secret"


def feed_of(records):
    feed = StudyFeed()
    feed.add(records)
    return feed


def document(feed, since=0, importance=None):
    return json.loads(feed.snapshot(importance).document(since))


def test_a_page_that_has_a_version_gets_only_the_rows_that_changed_since():
    feed = feed_of(mixed())
    first = document(feed)
    assert [row["trial"] for row in first["rows"]] == [0, 1, 2, 3]
    feed.add([epoch("lineage3", 1, 0.2)])
    later = document(feed, since=first["version"])
    assert [row["trial"] for row in later["rows"]] == [3]
    assert later["since"] == first["version"] < later["version"]


def test_a_page_that_has_nothing_gets_every_row_of_a_later_version_too():
    feed = feed_of(mixed())
    document(feed)
    assert len(document(feed)["rows"]) == 4


def test_a_row_has_its_figures_and_its_curves_as_columns():
    row = document(
        feed_of([head(), trial(0, "l"), epoch("l", 1, 0.25), epoch("l", 2, 0.5), end(0)])
    )
    (row,) = row["rows"]
    assert (row["f1"], row["low"], row["high"], row["state"]) == (0.5, 0.48, 0.52, "finished")
    assert row["curve"][:2] == [[1, 2], [0.25, 0.5]]
    assert row["seconds"] == 11


def test_what_was_not_measured_is_null_and_never_nan():
    (row,) = document(feed_of([head(), trial(0, "l"), epoch("l", 1, float("nan"))]))["rows"]
    assert row["f1"] is None
    assert row["curve"][1] == [None]


def test_the_order_is_the_leaderboards_with_its_labels():
    assert document(feed_of(scored([0.1, 0.5, 0.5])))["order"] == [[1, "1="], [2, "1="], [0, "3"]]


def test_the_best_running_trial_leads_until_one_has_finished():
    records = [head(), trial(0, "a"), trial(1, "b"), epoch("a", 1, 0.2), epoch("b", 1, 0.4)]
    feed = feed_of(records)
    assert document(feed)["leader"]["trial"] == 1
    feed.add([epoch("a", 2, 0.3), end(0)])
    leader = document(feed)["leader"]
    assert leader["trial"] == 0
    assert len(leader["confusion"]) == len(leader["f1"]) == 3


def test_a_sampled_study_says_how_many_trials_are_planned():
    study = head()
    study["space"]["trials"] = 20
    assert document(feed_of([study, trial(0, "a")]))["planned"] == 20
    study["space"]["seeds"] = 3
    assert document(feed_of([study, trial(0, "a")]))["planned"] == 60


def test_there_is_a_metric_for_every_state_that_a_trial_can_have():
    assert set(STATES) == set(get_args(State))


def test_fields_are_those_that_differ_and_wide_positive_ones_are_logarithmic():
    values = [
        {"optimizer.lr": 1e-5, "batch_size": 32, "model.name": "main", "optimizer.name": "adam"},
        {"optimizer.lr": 1e-2, "batch_size": 64, "model.name": "main", "optimizer.name": "sgd"},
    ]
    records = [head(), *(trial(k, f"l{k}", 2 + k, v) for k, v in enumerate(values))]
    fields = {field["path"]: field for field in document(feed_of(records))["fields"]}
    assert list(fields) == ["optimizer.lr", "batch_size", "optimizer.name", "epochs"]
    assert [fields[path]["log"] for path in fields] == [True, False, False, False]
    assert [fields[path]["number"] for path in fields] == [True, True, False, True]


def test_a_slot_says_which_trial_it_trains():
    records = [head(), trial(0, "l", 4), epoch("l", 1, 0.1)]
    (slot,) = document(feed_of(records))["slots"]
    assert (slot["slot"], slot["trial"], slot["epoch"], slot["epochs"]) == ("slot-0", 0, 1, 4)
    assert not slot["ended"]
    assert slot["since"] is not None
    (slot,) = document(feed_of([*records[:2], begin("l")]))["slots"]
    assert (slot["trial"], slot["epoch"], slot["epochs"], slot["since"]) == (0, 0, 4, None)


def test_importance_is_sent_with_the_head():
    within = {"optimizer.momentum": Within(0.5, 8)}
    found = Importance({"optimizer.lr": 0.75}, 9, within=within)
    assert document(feed_of(mixed()), importance=found)["importance"] == {
        "shares": {"optimizer.lr": 0.75},
        "trials": 9,
        "why": "",
        "within": {"optimizer.momentum": [0.5, 8]},
    }


def test_hostile_names_values_and_errors_leave_no_markup_and_no_home_folder():
    records = [
        head(EVIL, (EVIL, "b", "c")),
        trial(0, "l", values={EVIL: EVIL}),
        trial(1, "m", values={EVIL: 1}),
        epoch("l", 1, 0.5),
        end(0, 1, "failed", EVIL, EVIL),
    ]
    text = feed_of(records).snapshot().document()
    assert text.isascii()
    assert "<" not in text
    assert ">" not in text
    assert "&" not in text
    assert "somebody" not in text
    assert "\\u001b" not in text
    assert json.loads(text)["rows"][0]["error"].startswith("</script>")  # as text, all there


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("lost /home/somebody/runs/x", "lost ~/runs/x"),
        ("/Users/somebody/x", "~/x"),
        (f"'/{'root'}/.ray/token'", "'~/.ray/token'"),
        ("a\nb\tc", "a b c"),
    ],
)
def test_text_is_one_line_without_home_folders(text, seen):
    assert shown(text) == seen


def test_the_home_folder_of_who_runs_it_is_not_named_wherever_it_lies(monkeypatch):
    monkeypatch.setenv("HOME", "/mnt/homes/ada")
    assert shown("lost /mnt/homes/ada/runs/x") == "lost ~/runs/x"
    for text in ("-I/home/bob/x", "file:///home/bob/x", "'a\\n/home/bob/x'", "-L/Users/bob/x"):
        assert "bob" not in shown(text)
    for text in ("/data/home/ada/runs", "s3://bucket/home/ada/x", "https://h.org/home/page.html"):
        assert shown(text) == text
    monkeypatch.setenv("HOME", "/")
    assert shown("/mnt/x") == "/mnt/x"


def test_numbers_are_short():
    assert to_json({"f1": 0.123456789, "big": 1e300, "whole": 2.0}) == (
        '{"f1":0.12346,"big":1e+300,"whole":2}'
    )
