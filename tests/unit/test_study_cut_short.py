"""A sampled study that Ctrl-C ends early: its ledger cannot tell what is not drawn yet."""

import json
from contextlib import nullcontext

import pytest
import yaml

from orchestrator import ablate, study_job
from orchestrator.cluster import Cluster
from orchestrator.config.command_line import INTERRUPTED
from orchestrator.config.storage import MARKER
from orchestrator.results.phase_table import Stopwatch
from orchestrator.tuning.capacity import this_machine
from orchestrator.tuning.ledger import LEDGER, read_records
from tests.unit import fake_study
from tests.unit.prepared_set import write_set

SPACE = {
    "question": "Which rate?",
    "kind": "random",
    "trials": 4,
    "base": {"model.name": "main", "model.width": 0.125, "batch_size": 8, "epochs": 1},
    "axes": {"optimizer.lr": {"low": 0.01, "high": 0.1}},
}


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs `ablate` with a slot that trains nothing and is stopped after so many trials."""
    data = write_set(tmp_path / "data", rows=240, image_px=32)
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    cluster = Cluster(started=True, address="", dashboard_url="", logs="")
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    monkeypatch.setattr(ablate, "connect", lambda *_, **__: nullcontext(cluster))
    monkeypatch.setattr(ablate, "serving", lambda *_, **__: nullcontext(ablate.Tab(None)))
    monkeypatch.setattr(ablate, "shown_in_ray", lambda *_: nullcontext())
    monkeypatch.setattr(ablate, "nodes", lambda: [this_machine()])

    def run(*more: str, stopped_after: int) -> int:
        def train(job, study, _capacity, _ray_logs) -> Stopwatch:
            watch = Stopwatch()
            watch.lap("ingest")
            for _ in range(stopped_after):
                leg = study.next_leg()
                weights = job.folder / "lineages" / leg.lineage / "milestones/epoch-0001"
                weights.mkdir(parents=True)
                (weights / MARKER).touch()
                num_trained = len(list(job.folder.glob("lineages/*")))
                metrics = fake_study.epoch(leg.lineage, 1, 0.1 * num_trained)["metrics"]
                notes = [f"epoch-0001 of trial {num_trained}: not whole"]
                study.record_epoch(leg.lineage, {"epoch": 1, **metrics}, "slot", notes=notes)
                study.end_leg(leg.lineage)
            return watch

        monkeypatch.setattr(study_job, "_train", train)
        places = [f"space={tmp_path / 'space.yaml'}", f"data.path={data}", f"out={tmp_path}"]
        return ablate.main([*places, "study=s", "open_page=false", *more])

    return run


@pytest.mark.parametrize("trained", [0, 2])
def test_it_says_so_keeps_all_weights_and_prints_the_command_to_go_on(
    trained, command, tmp_path, capsys
):
    assert command("keep=winner", stopped_after=trained) == INTERRUPTED
    assert len(list(tmp_path.glob("s/lineages/*/milestones/*"))) == trained
    told = capsys.readouterr().out
    assert f"not complete: trials beyond the first {trained} are still to be drawn" in told
    assert "next        python -m orchestrator.ablate space=" in told
    notes = [line.partition(": ")[2] for line in told.splitlines() if line.startswith("note  ")]
    assert notes == [f"epoch-0001 of trial {n + 1}: not whole" for n in range(trained)]
    assert command("keep=winner", stopped_after=4 - trained) == 0
    told = capsys.readouterr().out
    assert "not complete" not in told
    assert "next        python -m orchestrator.leaderboard study=" in told
    assert len(list(tmp_path.glob("s/lineages/*/milestones/*"))) == 1
    kinds = [record["record"] for record in read_records(tmp_path / "s" / LEDGER)]
    assert (kinds.count("trial"), kinds.count("weights_removed")) == (4, 3)
    board = json.loads((tmp_path / "s" / "leaderboard.json").read_text())
    assert [trial["state"] for trial in board["trials"]] == ["finished"] * 4


def test_a_complete_study_run_again_is_still_complete(command):
    assert command(stopped_after=4) == 0
    assert command(stopped_after=0) == 0
