"""Seeds on a real Ray: counts of the validation groups reach the ledger, and ties are marked by them."""

import json
from pathlib import Path

import pytest
import yaml

from orchestrator import ablate
from orchestrator.tuning.ledger import LEDGER, read_records
from tests.unit.prepared_set import write_set

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

BASE = {"model.name": "main", "model.width": 0.125, "batch_size": 32, "epochs": 1}


def run(folder: Path, data: Path, *more: str) -> int:
    space = folder / "space.yaml"
    rows = [{"optimizer.name": "adam", "optimizer.lr": lr} for lr in (0.001, 0.01)]
    content = {"question": "does it run?", "kind": "rows", "base": BASE, "rows": rows}
    space.write_text(yaml.safe_dump(content))
    return ablate.main([f"space={space}", f"data.path={data}", f"out={folder}", "study=s", *more])


def records(folder: Path, kind: str) -> list[dict]:
    return [record for record in read_records(folder / "s" / LEDGER) if record["record"] == kind]


def test_seeds_added_to_a_finished_study_are_trained_and_compared_on_the_same_groups(
    tmp_path, capsys
):
    data = write_set(tmp_path / "data", rows=240, image_px=32)
    assert run(tmp_path, data) == 0
    assert len(records(tmp_path, "epoch")) == 2
    assert run(tmp_path, data, "seeds=3") == 0
    assert len(records(tmp_path, "epoch")) == 6, "only the two new seeds of each"
    trials = [(trial["configuration"], trial["seed"]) for trial in records(tmp_path, "trial")]
    assert sorted(trials) == [(c, seed) for c in (0, 1) for seed in (0, 1, 2)]
    told = capsys.readouterr().out
    assert "(2 configurations x 3 seeds)" in told
    assert "the median of them" in told
    assert "utilisation slots trained" in told
    used = records(tmp_path, "utilisation")
    assert len(used) == 2
    assert all(0 < record["share"] <= 1 for record in used)
    groups = [end["val_groups"] for end in records(tmp_path, "end")]
    assert len({(g["clusters"], g["classes"]) for g in groups}) == 1
    board = json.loads((tmp_path / "s" / "leaderboard.json").read_text())
    assert [len(found["trials"]) for found in board["configurations"]] == [3, 3]
    assert board["configurations"][1]["behind_winner"] is not None
