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
    return Report(found, CLASSES, "study", "street\x1b[2J", {"command": "diagnose <x>"})


def test_the_text_has_the_verdict_the_priors_and_the_recalls():
    said, found = text(report()), report().diagnosis
    assert f"verdict: {found.verdict}. {STATEMENTS[found.verdict]}" in said
    assert f"{found.priors.em.priors[4]:.3f}" in said
    assert "recall by labels" in said
    assert "\x1b" not in said


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
