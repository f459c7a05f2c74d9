"""An adaptation as table, page and JSON."""

import json
from dataclasses import replace

import numpy as np

from orchestrator.results.adaptation_report import (
    Measured,
    Outcome,
    Tried,
    document,
    markdown,
    write_adaptation,
)
from orchestrator.results.paired_gain import Gain

CLASSES = ("anger", "<i>fear</i>")
SCORES = Measured(0.5, (0.4, 0.6), 0.55, {"anger": 0.5, "<i>fear</i>": 0.6}, 120, 12)
GAIN = Gain(0.1, 0.05, 0.15, 0.02, 0.18, 0.08, 0.03, 0.12, "helped")


def tried(name, gain=GAIN, old=True):
    return Tried(
        name=name,
        words="what it does",
        needs_labels=old,
        priors=None if old else (0.3, 0.7),
        detail={"data": {"rows_old": 5, "rows_new": 6}, "epochs": 3} if old else {},
        after={"production": replace(SCORES, macro_f1=0.6), "old_test": SCORES if old else None},
        gain=gain,
        old_gain=replace(gain, verdict="no difference told") if old else None,
    )


def outcome():
    none = replace(GAIN, verdict="no difference told", low=None, high=None, low_all=None,
                   high_all=None)  # fmt: skip
    return Outcome(
        record={"command": "adapt <x>", "parts": {}},
        classes=CLASSES,
        production="street\x1b[2J",
        trained_on="study",
        before={"production": SCORES, "old_test": SCORES},
        tried=(tried("more_data"), tried("prior_correction", none, old=False)),
    )


def test_the_table_says_which_helped_with_intervals():
    said = markdown(outcome())
    assert "helped: more_data." in said
    assert "no difference told: prior_correction." in said
    assert "120 rows in 12 groups of production" in said
    assert "+0.0500 to +0.1500" in said
    assert "\x1b" not in said


def test_too_few_groups_are_said():
    assert "Too few groups" not in markdown(outcome())
    few = replace(outcome(), before={"production": replace(SCORES, num_groups=6), "old_test": None})
    assert "2 remedies at once want 7 groups held out, got 6" in markdown(few)


def test_the_files_are_whole_and_markup_of_others_does_nothing(tmp_path):
    write_adaptation(outcome(), tmp_path)
    names = {"adapt.json", "adapt.md", "adapt.html", "gains.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    page = (tmp_path / "adapt.html").read_text()
    assert "<i>fear" not in page
    said = json.loads((tmp_path / "adapt.json").read_text())
    assert said == json.loads(json.dumps(document(outcome()), allow_nan=False))
    first, second = said["remedies"]
    assert (first["verdict"], first["data"]["rows_new"], first["checkpoint"]) == ("helped", 6, None)
    assert np.allclose(second["priors"], [0.3, 0.7])
    assert second["old_test"] is second["old_gain"] is second["gain"]["low"] is None
