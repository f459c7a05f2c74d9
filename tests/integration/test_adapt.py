"""`diagnose` and `adapt` on a real Ray: features of a plain loop, trainings that resume."""

import json

import numpy as np
import pytest
import torch

from orchestrator import adapt, diagnose, diagnosis_job
from orchestrator.config.errors import ConfigError
from orchestrator.ingest.dataset import open_dataset
from orchestrator.ingest.pixels import images_of
from tests.unit.prepared_set import write_set
from tests.unit.trained_run import small_model, write_run

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

# Batches are cut at other rows, so float32 sums are taken in another order.
TOLERANCE = 1e-4
REMEDIES = "remedies=[prior_correction,prior_correction_counted,importance,classes]"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "faces"
    return open_dataset(write_set(root, rows=120, image_px=32))


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "small", dataset)


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    def darker(images):
        images //= 2

    root = tmp_path_factory.mktemp("data") / "street"
    return write_set(root, rows=360, image_px=32, change=darker)


def test_production_is_diagnosed_by_the_models_own_features(
    dataset, run, street, monkeypatch, capsys
):
    seen = {}
    outputs = diagnosis_job.Comparison.outputs

    def noted(comparison, found):
        seen["ids"], seen["found"] = comparison.reference_ids, found
        return outputs(comparison, found)

    monkeypatch.setattr(diagnosis_job.Comparison, "outputs", noted)
    assert diagnose.main([f"checkpoint={run}", f"production={street}", "batch_size=16"]) == 0
    images = torch.from_numpy(images_of(dataset, seen["ids"].tolist())).permute(0, 3, 1, 2)
    with torch.inference_mode():
        features = small_model(dataset).features(images.float().div(255)).numpy()
    assert features.shape[1] > diagnose.FEATURE_WIDTH
    _, kept = seen["found"][0]
    assert kept.shape == (len(seen["ids"]), diagnose.FEATURE_WIDTH)
    matrix = np.random.default_rng(0).standard_normal(
        (features.shape[1], kept.shape[1]), dtype=np.float32
    )
    np.testing.assert_allclose(kept, features @ matrix / 16, atol=TOLERANCE)
    out = run / "diagnoses" / "street"
    said = json.loads((out / "diagnosis.json").read_text())
    assert [test["of"] for test in said["diagnosis"]["evidence"]["label_shift"]] == [
        "outputs",
        "features",
    ]
    assert said["production"]["rows"] == 360
    assert said["diagnosis"]["accuracy"]["measured"] is not None
    assert f"verdict: {said['verdict']}" in capsys.readouterr().out


def test_remedies_are_trained_measured_and_not_trained_again(run, street, tmp_path, capsys):
    words = [f"checkpoint={run}", f"production={street}", f"out={tmp_path / 'out'}", REMEDIES]
    words += ["classes=[fear]", "epochs=1", "resources.cpus_per_worker=1", "bootstrap=200"]
    assert adapt.main(words) == 0
    out = tmp_path / "out"
    said = json.loads((out / "adapt.json").read_text())
    tried = {one["name"]: one for one in said["remedies"]}
    assert list(tried) == ["prior_correction", "prior_correction_counted", "importance", "classes"]
    before = said["before"]["production"]
    assert before["num_rows"] == said["parts"]["held_out"]["rows"]
    for one in tried.values():
        gain = one["production"]["macro_f1"] - before["macro_f1"]
        assert one["gain"]["macro_f1"] == pytest.approx(gain, abs=1e-9)
    assert tried["importance"]["data"]["rows_new"] == 0
    assert tried["classes"]["data"]["rows_new"] == tried["classes"]["data"]["rows_old"] > 0
    assert (out / "runs" / "classes" / "learning_curve.png").is_file()

    capsys.readouterr()
    assert adapt.main(words) == 0
    assert "finished already" in capsys.readouterr().out
    (out / "adapt.json").unlink()
    log = out / "runs" / "classes" / "train.log"
    log.unlink()
    assert adapt.main(words) == 0
    assert not log.exists(), "a finished training is opened, not trained again"
    again = json.loads((out / "adapt.json").read_text())
    assert [one["gain"] for one in again["remedies"]] == [one["gain"] for one in said["remedies"]]
    with pytest.raises(ConfigError, match="out: must not hold another adaptation"):
        adapt.main([*words, "seed=5"])
