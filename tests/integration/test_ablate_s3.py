"""A study and a training whose folders are in an S3 bucket, on a real Ray that shares no disk with it."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchestrator import ablate, adapt, diagnose, evaluate, leaderboard, report, train
from orchestrator.config.folder import folder
from orchestrator.config.home import open_home
from orchestrator.config.object_store import Store
from orchestrator.config.storage import MARKER
from orchestrator.tuning.ledger import LEDGER, fetch_ledger, read_records
from tests.unit.prepared_set import write_set

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

ROOT = Path(__file__).parents[2]
BASE = {"model.name": "main", "model.width": 0.125, "batch_size": 32}


def records(study: str, kind: str) -> list[dict]:
    with open_home(study) as home:
        fetch_ledger(home)
        return [found for found in read_records(home.local / LEDGER) if found["record"] == kind]


def weights(store: Store, part: str) -> list[str]:
    return [name for name in store.files() if f"/{part}/" in name and name.endswith(MARKER)]


def test_a_study_in_a_bucket_goes_on_there_with_what_is_new(tmp_path, s3_bucket, capsys):
    data = write_set(tmp_path / "data", rows=240, image_px=32)
    out = f"{s3_bucket}/{tmp_path.name}"

    def run(*epochs: int) -> int:
        space = tmp_path / "space.yaml"
        rows = [{"optimizer.lr": lr, "epochs": n} for lr in (0.001, 0.01) for n in epochs]
        content = {"question": "does it run?", "kind": "rows", "base": BASE, "rows": rows}
        space.write_text(yaml.safe_dump(content))
        return ablate.main([f"space={space}", f"data.path={data}", f"out={out}", "study=s"])

    assert run(1) == 0
    store = Store(folder(f"{out}/s"))
    assert len(weights(store, "milestones")) == 2
    assert all(end["checkpoint"] and end["val_groups"] for end in records(f"{out}/s", "end"))
    assert run(1, 2) == 0  # on an empty disk: from the bucket's checkpoints
    trained = [(found["lineage"], found["epoch"]) for found in records(f"{out}/s", "epoch")]
    assert len(trained) == len(set(trained)) == 4
    assert len(weights(store, "milestones")) == 4
    capsys.readouterr()
    assert leaderboard.main([f"study={out}/s"]) == 0
    assert "finished" in capsys.readouterr().out
    assert {"leaderboard.json", "leaderboard.html", "learning_curves.png"} <= store.files().keys()
    assert {path.name for path in tmp_path.iterdir()} == {"data", "space.yaml"}
    assert_judged_there(f"{out}/s", tmp_path, capsys)


def assert_judged_there(study: str, tmp_path: Path, capsys) -> None:
    """Its winner is measured, compared and reported; results lie in the bucket, or where `out` says."""
    assert evaluate.main([f"checkpoint={study}"]) == 0
    production = write_set(tmp_path / "street", rows=300, image_px=32)
    words = [f"checkpoint={study}", f"production={production}"]
    assert diagnose.main(words) == 0
    remedy = [*words, "remedies=[prior_correction,more_data]", "epochs=1"]
    assert adapt.main([*remedy, f"out={tmp_path / 'adapted'}"]) == 0
    assert report.main([f"study={study}"]) == 0
    told = capsys.readouterr().out
    for place in ("evaluations/data-group-test", "diagnoses/street"):
        assert f"results      {study}/{place}  (" in told
    assert f"report       {study}/report/report.html" in told
    files = Store(folder(study)).files()
    assert {
        "evaluations/data-group-test/evaluation.json",
        "evaluations/data-group-test/predictions.parquet",
        "diagnoses/street/diagnosis.json",
        "report/report.html",
    } <= files.keys()
    assert not [name for name in files if name.startswith(".") or "/." in name]
    assert (tmp_path / "adapted" / "adapt.json").is_file()


@pytest.mark.slow
def test_a_study_ends_whole_though_its_store_is_slow_and_fails_now_and_then(tmp_path, faulty_s3):
    """On a Ray of its own, whose workers write there, too."""
    data = write_set(tmp_path / "data", rows=240, image_px=32)
    space = tmp_path / "space.yaml"
    rows = [{"optimizer.lr": lr, "epochs": 3} for lr in (0.001, 0.01)]
    content = {"question": "does it end?", "kind": "rows", "base": BASE, "rows": rows}
    space.write_text(yaml.safe_dump(content))
    asked, late = itertools.count(1), itertools.count(1)
    faulty_s3.fail(lambda *_: next(asked) % 5 == 0, status=503, code="SlowDown")
    faulty_s3.fail(lambda *_: next(late) % 7 == 0, delay_s=0.5)
    out = f"s3://faulty/{tmp_path.name}"
    words = [f"space={space}", f"data.path={data}", f"out={out}", "study=s", "open_page=false"]
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.ablate", *words, "address=local"],
        env={**os.environ, "AWS_ENDPOINT_URL": faulty_s3.url},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert min(next(asked), next(late)) > 50, "the store was asked often"
    faulty_s3.mend()
    trained = [(found["lineage"], found["epoch"]) for found in records(f"{out}/s", "epoch")]
    assert len(trained) == len(set(trained)) == 6
    ends = records(f"{out}/s", "end")
    assert [end["state"] for end in ends] == ["finished"] * 2
    assert len(weights(Store(folder(f"{out}/s")), "milestones")) == 2


def test_a_training_in_a_bucket_goes_on_there(tmp_path, s3_bucket, capsys):
    data = write_set(tmp_path / "data", rows=240, image_px=32)
    out = f"{s3_bucket}/{tmp_path.name}"
    words = ["model.width=0.125", "batch_size=32", f"data.path={data}", f"out={out}", "name=run"]
    assert train.main([*words, "epochs=1"]) == 0
    assert train.main([*words, "epochs=3"]) == 0
    assert "resuming    1 of 3 epochs are trained already" in capsys.readouterr().out
    store = Store(folder(f"{out}/run"))
    assert store.folder.read("metrics.jsonl").count(b"\n") == 3
    assert len(weights(store, "last")) == 2
    assert len(weights(store, "best")) == 1
