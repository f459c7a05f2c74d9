"""A diagnosis as text, page and JSON: figures are the diagnosis's, hostile names do no harm."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from benchmarks.simulated_shift import PRODUCTION, REFERENCE, Videos, draw
from orchestrator.results.diagnosis_report import (
    STATEMENTS,
    Report,
    document,
    text,
    write_diagnosis,
)
from orchestrator.results.held_out import Exposure
from orchestrator.shift.diagnosis import diagnose

CLASSES = ("anger", "disgust", "<b>fear</b>", "happiness", "sadness", "surprise")


@cache
def report(*, labelled=True):
    rng = np.random.default_rng(5)
    reference, production = (
        draw(rng, Videos(80, 3), REFERENCE),
        draw(rng, Videos(80, 3), PRODUCTION),
    )
    if not labelled:
        production = replace(production, labels=None)
    found = diagnose(reference, production, seed=0)
    seen = Exposure(240, 0, 240, 30, 240, "", same_set=True)
    unseen = Exposure(240, 0, 0, 0, 0, "", same_set=False)
    record = {"command": "diagnose <x>"}
    return Report(found, CLASSES, "study", "street\x1b[2J", record, seen, unseen)


def test_the_text_has_the_verdict_the_priors_and_the_recalls():
    said, found = text(report()), report().diagnosis
    assert f"verdict: {found.verdict}. {STATEMENTS[found.verdict]}" in said
    assert f"{found.priors.em.priors[4]:.3f}" in said
    assert "recall by labels" in said
    assert "\x1b" not in said


def test_what_the_run_has_seen_goes_before_every_figure(tmp_path):
    first, second = report().seen
    assert first.startswith("the reference is NOT held-out: 30 of 240 rows are of a video")
    assert second.startswith("production is held-out as far as names of groups tell")
    assert text(report()).splitlines()[1:3] == [first, second]
    said = document(report())["held_out"]
    assert (said["reference"]["statement"], said["production"]["statement"]) == (first, second)
    assert (said["reference"]["group_in_train"], said["production"]["verdict"]) == (30, True)
    write_diagnosis(report(), tmp_path)
    page = (tmp_path / "diagnosis.html").read_text()
    assert page.index(first) < page.index("verdict: ")


def test_without_labels_no_table_needs_them():
    said = text(report(labelled=False))
    assert "recall" not in said
    assert "counted" not in said
    assert "p with labels" not in said


def test_the_files_are_whole_and_the_page_holds_no_markup_of_others(tmp_path):
    write_diagnosis(report(), tmp_path)
    names = {"diagnosis.json", "diagnosis.html", "report.txt", "priors.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    page = (tmp_path / "diagnosis.html").read_text()
    assert "<b>fear" not in page
    assert "&lt;b&gt;fear" in page
    said = json.loads((tmp_path / "diagnosis.json").read_text())
    assert said["verdict"] == said["diagnosis"]["verdict"] == report().diagnosis.verdict
    assert said["diagnosis"]["priors"]["em"]["priors"] == pytest.approx(
        report().diagnosis.priors.em.priors
    )
    assert document(report())["classes"] == list(CLASSES)
