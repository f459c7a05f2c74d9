"""`export`: every file answers as the checkpoint does, and the card says what it is."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from orchestrator.config.errors import ConfigError, OrchestratorError
from orchestrator.export import main
from orchestrator.inference import exported
from orchestrator.ingest.dataset import open_dataset
from tests.unit.prepared_set import write_set
from tests.unit.trained_run import small_model, write_run

IMAGE_PX = 32


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "faces"
    return open_dataset(write_set(root, rows=30, image_px=IMAGE_PX))


@pytest.fixture
def run(dataset, tmp_path):
    return write_run(tmp_path / "runs" / "small", dataset, silent=False)


def images(count):
    return torch.rand((count, 3, IMAGE_PX, IMAGE_PX), generator=torch.Generator().manual_seed(9))


def wanted(dataset, inputs):
    with torch.inference_mode():
        return small_model(dataset)(inputs).softmax(dim=1).numpy()


def card_of(run):
    return json.loads((run / "export" / "card.json").read_text())


def _evaluation(run, sha256, folder="faces-group-test", **data):
    out = run / "evaluations" / folder
    out.mkdir(parents=True)
    said = {"name": "faces", "split": "test", "is_what_the_run_was_trained_on": True, **data}
    content = {
        "time": "2026-01-01",
        "checkpoint": {"model_sha256": sha256},
        "data": said,
        "macro_f1": 0.5,
        "macro_f1_interval": [0.4, 0.6],
        "held_out": {"statement": "held-out: no row"},
    }
    (out / "evaluation.json").write_text(json.dumps(content))
    return out


def test_safetensors_and_torch_export_answer_as_the_checkpoint(dataset, run, capsys):
    assert main([f"checkpoint={run}", "formats=[safetensors,torch]"]) == 0
    out = run / "export"
    assert {path.name for path in out.iterdir()} == {
        "model.safetensors",
        "model.pt2",
        "card.json",
        ".lock",
    }
    network = small_model(dataset)
    network.load_state_dict(load_file(out / "model.safetensors"))
    program = torch.export.load(out / "model.pt2").module()
    for count in (1, 5):
        with torch.inference_mode():
            found = program(images(count)).softmax(dim=1).numpy()
        np.testing.assert_allclose(found, wanted(dataset, images(count)), atol=exported.TOLERANCE)
    assert "largest difference" in capsys.readouterr().out


def test_onnx_answers_as_the_checkpoint_through_onnxruntime(dataset, run):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert main([f"checkpoint={run}", "formats=onnx"]) == 0
    session = runtime.InferenceSession(
        run / "export" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    for count in (1, 5):
        (logits,) = session.run(["logits"], {"images": images(count).numpy()})
        found = torch.from_numpy(logits).softmax(dim=1).numpy()
        np.testing.assert_allclose(found, wanted(dataset, images(count)), atol=exported.TOLERANCE)
    checked = card_of(run)["files"]["model.onnx"]
    assert checked["largest_difference"] <= checked["tolerance"] == exported.TOLERANCE


def test_the_card_says_what_goes_in_what_comes_out_and_how_good_it_is(dataset, run):
    assert main([f"checkpoint={run}", "formats=safetensors"]) == 0
    card = card_of(run)
    assert card["classes"] == list(dataset.classes)
    assert card["input"]["shape"] == ["batch", 3, IMAGE_PX, IMAGE_PX]
    assert card["trained_on"]["fingerprint"] == dataset.fingerprint
    assert card["trained_on"]["protocol"] == "group"
    assert card["metrics"].startswith("not evaluated")
    assert "no rights" in card["licence"]
    _evaluation(run, card["weights_sha256"])
    _evaluation(run, card["weights_sha256"], "production", is_what_the_run_was_trained_on=False)
    _evaluation(run, "another model's", "later")
    assert main([f"checkpoint={run}", "formats=safetensors"]) == 0
    metrics = card_of(run)["metrics"]
    assert (metrics["macro_f1"], metrics["macro_f1_interval_95"]) == (0.5, [0.4, 0.6])
    assert metrics["data"]["name"] == "faces"
    assert metrics["held_out"] == "held-out: no row"


def test_the_card_is_named_after_the_run_wherever_it_is_written(run, tmp_path):
    out = tmp_path / "shared" / "fer"
    assert main([f"checkpoint={run}", "formats=safetensors", f"out={out}"]) == 0
    assert json.loads((out / "card.json").read_text())["name"] == "small"


def test_an_evaluation_of_another_model_is_refused(run):
    other = _evaluation(run, "another model's")
    with pytest.raises(ConfigError, match="evaluation: must be a folder that `evaluate` wrote"):
        main([f"checkpoint={run}", "formats=safetensors", f"evaluation={other}"])


def test_a_file_that_answers_otherwise_is_not_kept(run, monkeypatch):
    monkeypatch.setattr(exported, "TOLERANCE", -1.0)
    with pytest.raises(OrchestratorError, match="must answer as the model does"):
        main([f"checkpoint={run}", "formats=torch"])
    assert {path.name for path in (run / "export").iterdir()} == {".lock"}


def test_onnx_without_its_packages_is_refused_before_anything_is_written(run, monkeypatch):
    monkeypatch.setattr(exported, "ONNX_PACKAGES", ("a_package_that_is_not_there",))
    with pytest.raises(ConfigError, match=r"a_package_that_is_not_there.*\[export\]"):
        main([f"checkpoint={run}"])
    assert not (run / "export").exists()


def test_a_model_that_cannot_be_traced_is_an_error_of_ours(tmp_path):
    class Untraceable(nn.Module):
        def forward(self, images):
            return images if images.sum().item() > 0 else -images

    with pytest.raises(OrchestratorError, match="must be traceable to be written as torch"):
        exported.write_torch(Untraceable(), IMAGE_PX, tmp_path / "model.pt2")
