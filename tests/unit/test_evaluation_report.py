"""What is written: plain columns, finite JSON, scikit-learn's table, no harm from hostile names."""

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_up_predictions import predictions
from PIL import Image
from sklearn.metrics import classification_report

from orchestrator.results import evaluation as measures
from orchestrator.results import evaluation_plots
from orchestrator.results.evaluation_groups import confident_mistakes, group_scores
from orchestrator.results.evaluation_report import (
    Evaluation,
    classification_table,
    document,
    figures,
    predictions_table,
    report,
    write_evaluation,
)
from orchestrator.results.held_out import Exposure

HOSTILE = ("\x1b[31mred", "$x$ \\frac", "=cmd()", "<b>表情</b>")


def evaluation(found=None, *, calibrated=True) -> Evaluation:
    found = predictions() if found is None else found
    return Evaluation(
        title="faces, group split, test rows",
        facts=("checkpoint   runs/main",),
        record={"command": "python -m orchestrator.evaluate checkpoint=runs/main"},
        exposure=Exposure(len(found.labels), 0, 0, 0, 0, "", True),
        predictions=found,
        scores=measures.score(found, 100),
        reliability=measures.reliability(found.normalised, found.labels),
        calibrated=measures.calibrate(found, found, in_sample=True) if calibrated else None,
        groups=group_scores(found),
        mistakes=confident_mistakes(found),
    )


def images(found: Evaluation):
    return np.random.default_rng(0).integers(0, 255, (len(found.mistakes), 8, 8, 3), np.uint8)


def numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [number for child in value for number in numbers(child)]
    return [value] if isinstance(value, int | float) else []


@pytest.mark.parametrize("present", [None, (1, 3)])
def test_the_table_of_classes_is_scikit_learns(present):
    found = predictions(present=present)
    names = [found.classes[k] for k in found.present]
    theirs = classification_report(
        found.labels,
        found.predicted,
        labels=list(found.present),
        target_names=names,
        zero_division=0,
    )
    assert classification_table(found) == theirs


CASES = {
    "usual": evaluation(),
    "without a temperature": evaluation(calibrated=False),
    "one row": evaluation(predictions(1)),
    "all right": evaluation(predictions(50, skill=99)),
    "classes without rows": evaluation(predictions(present=(0, 2))),
    "one group": evaluation(predictions(groups=["only"] * 400)),
    "hostile names": evaluation(predictions(classes=HOSTILE, groups=["\x1b]0;a\x07$"] * 400)),
}


@pytest.mark.parametrize("found", CASES.values(), ids=CASES)
def test_all_files_are_written_and_belong_together(found, tmp_path):
    write_evaluation(found, images(found), tmp_path)
    said = json.loads((tmp_path / "evaluation.json").read_text())
    assert all(map(math.isfinite, numbers(said)))
    assert said["command"] == found.record["command"]
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert table["row_id"].to_pylist() == found.predictions.row_ids.tolist()
    text = (tmp_path / "report.txt").read_text()
    assert text == report(found)
    assert "\x1b" not in text
    for name in ("confusion", "reliability", "mistakes"):
        path = tmp_path / f"{name}.png"
        assert path.exists() == (name != "mistakes" or bool(found.mistakes))
        if path.exists():
            with Image.open(path) as image:
                assert np.asarray(image.convert("L")).min() < 200


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures are not what the test is about."""
    for name in ("confusion", "reliability"):
        monkeypatch.setattr(evaluation_plots, name, lambda *_: None)


@pytest.mark.usefixtures("undrawn")
def test_predictions_are_plain_columns_without_an_arrow_schema(tmp_path):
    found = evaluation()
    write_evaluation(found, images(found), tmp_path)
    assert b"ARROW:" not in (tmp_path / "predictions.parquet").read_bytes()
    table = predictions_table(found.predictions)
    types = [str(field.type) for field in table.schema]
    assert table.column_names[:4] == ["row_id", "group", "label", "p_anger"]
    assert types == ["int64", "string", "int8", *["float"] * 4]


@pytest.mark.usefixtures("undrawn")
def test_an_evaluation_that_was_cut_short_leaves_no_summary_of_other_files(tmp_path, monkeypatch):
    found = evaluation()
    write_evaluation(found, images(found), tmp_path)
    monkeypatch.setattr("orchestrator.results.evaluation_report.groups_csv", _fail)
    with pytest.raises(OSError, match="disk"):
        write_evaluation(found, images(found), tmp_path)
    assert not (tmp_path / "evaluation.json").exists()


def _fail(_groups):
    raise OSError("the disk is full")


@pytest.mark.usefixtures("undrawn")
def test_mistakes_of_an_earlier_evaluation_do_not_stay(tmp_path):
    found = evaluation()
    write_evaluation(found, images(found), tmp_path)
    good = evaluation(predictions(50, skill=99))
    write_evaluation(good, images(good), tmp_path)
    assert not (tmp_path / "mistakes.png").exists()


def test_the_verdict_stands_before_every_figure():
    seen = replace(evaluation(), exposure=Exposure(400, 400, 0, 400, 0, "", True))
    assert figures(seen).startswith("NOT held-out: 400 of 400 rows were in the training split")
    assert document(seen)["held_out"]["verdict"] is False


def test_numbers_say_what_they_rest_on():
    text = figures(evaluation())
    assert "95 % by 100 resamples of 50 groups" in text
    assert "fitted on 400 validation rows of the run" in text
    assert "rows that it was fitted on are among those measured" in text
    assert "no interval" in figures(CASES["one group"])
    assert document(CASES["one group"])["macro_f1_interval"] is None
