"""`evaluate` on a real Ray: each row once, and the figures of a plain loop over the same rows."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss

from orchestrator.config.errors import OrchestratorError
from orchestrator.evaluate import main
from orchestrator.ingest.dataset import open_dataset, read_split_index
from orchestrator.ingest.pixels import images_of
from tests.unit.prepared_set import write_set
from tests.unit.trained_run import Dying, small_model, write_run

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

FILES = {
    "evaluation.json",
    "report.txt",
    "predictions.parquet",
    "groups.csv",
    "confusion.png",
    "reliability.png",
    "mistakes.png",
}
# Batches are cut at other rows, so float32 sums are taken in another order.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "faces"
    return open_dataset(write_set(root, rows=240, image_px=32))


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "small", dataset)


def plain_loop(dataset, row_ids):
    images = torch.from_numpy(images_of(dataset, row_ids)).permute(0, 3, 1, 2).float().div(255)
    with torch.inference_mode():
        return small_model(dataset)(images).softmax(dim=1).numpy()


def test_the_test_split_is_measured_as_a_plain_loop_measures_it(dataset, run, capsys):
    assert main([f"checkpoint={run}", "batch_size=16"]) == 0
    out = run / "evaluations" / "faces-group-test"
    assert {path.name for path in out.iterdir()} - {".lock"} == FILES
    table = pq.read_table(out / "predictions.parquet")
    index = read_split_index(dataset, "group")
    wanted = np.flatnonzero(index.splits == "test")
    assert table["row_id"].to_pylist() == wanted.tolist()
    assert table["group"].to_pylist() == index.groups[wanted].tolist()
    found = np.column_stack([table[f"p_{name}"] for name in dataset.classes])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, plain_loop(dataset, wanted), atol=TOLERANCE)
    _figures_are_those_of_scikit_learn(out, found, index.labels[wanted])
    said = capsys.readouterr().out
    assert "held-out: no row" in said
    assert "macro avg" in said


def _figures_are_those_of_scikit_learn(out, found, labels):
    said = json.loads((out / "evaluation.json").read_text())
    predicted = found.argmax(axis=1)
    exact = found.astype(np.float64)
    assert said["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert said["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert said["log_loss"] == pytest.approx(
        log_loss(labels, exact / exact.sum(axis=1, keepdims=True)), rel=1e-6
    )
    assert said["held_out"]["verdict"] is True
    assert said["calibration"]["temperature"] > 0
    assert said["data"]["is_what_the_run_was_trained_on"] is True


def test_another_set_is_measured_whole_though_a_process_dies_and_what_was_seen_is_said(
    dataset, run, tmp_path, capsys, monkeypatch
):
    production = open_dataset(write_set(tmp_path / "production", rows=90, image_px=32))
    network = Dying(small_model(dataset), tmp_path / "died")
    monkeypatch.setattr("orchestrator.evaluation_job.build_network", lambda *_, **__: network)
    given = [f"checkpoint={run}/checkpoints/best/epoch-0002", f"data.path={production.root}"]
    assert main([*given, "split=all", "batch_size=16", f"out={tmp_path / 'out'}"]) == 0
    assert (tmp_path / "died").exists()
    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    assert table["row_id"].to_pylist() == list(range(90))
    found = np.column_stack([table[f"p_{name}"] for name in production.classes])
    np.testing.assert_allclose(found, plain_loop(production, range(90)), atol=TOLERANCE)
    said = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert said["data"]["is_what_the_run_was_trained_on"] is False
    assert said["calibration"]["fitted_on_validation_rows"] == 48
    # The made-up videos of both sets have the same names.
    assert "whose name is in the training split" in capsys.readouterr().out


def test_without_a_free_cpu_it_ends_with_the_reason(run):
    @ray.remote(num_cpus=2)
    class Busy:
        def ready(self):
            return True

    busy = Busy.remote()
    ray.get(busy.ready.remote())
    try:
        with pytest.raises(OrchestratorError, match="free CPU"):
            main([f"checkpoint={run}"])
    finally:
        ray.kill(busy)
