"""One worker without Ray: it builds what is asked, says what it built, and keeps what trials need."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from orchestrator.config.experiment import Experiment
from orchestrator.config.validate import to_dict, validate
from orchestrator.ingest.shard import Shard
from orchestrator.training import group_counts, worker

NUM_CLASSES, IMAGE_PX = 3, 32
SMALL = {"model.name": "main", "model.width": 0.125, "precision": "fp32", "batch_size": 16}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows(labels: list[int]) -> Shard:
    ids = np.arange(len(labels))
    images = torch.zeros((len(labels), IMAGE_PX, IMAGE_PX, 3), dtype=torch.uint8)
    groups = torch.from_numpy(ids)
    return Shard(images, torch.tensor(labels), ids, ids, groups, len(labels), len(labels))


@pytest.fixture
def held() -> worker._Held:
    settings = {"image_shape": (IMAGE_PX, IMAGE_PX, 3), "num_classes": NUM_CLASSES}
    shards = {"train": rows([0, 0, 0, 1, 1, 2]), "validation": rows([0, 1, 2])}
    return worker._Held(settings, torch.device("cpu"), shards)


def begin(held, folder, *, milestones=(), ends=(), **values) -> dict:
    experiment = validate(Experiment, ("a test", SMALL), ("values", values))
    command = {
        "kind": "begin",
        "experiment": to_dict(experiment),
        "lineage": "a",
        "folder": str(folder),
        "milestones": milestones,
        "ends": ends,
        "keep_best": False,
    }
    return worker._carry_out(command, held)


def epoch(held) -> dict:
    return worker._carry_out({"kind": "epoch"}, held)["metrics"]


def kept(folder) -> list[str]:
    return sorted(path.name for path in (folder / "milestones").glob("*"))


def test_it_says_how_many_parameters_train_and_by_how_much_rows_are_weighted(held, tmp_path):
    begun = begin(held, tmp_path, class_weights="balanced", model={"freeze": 1})
    assert begun["parameters"]["frozen"] == 3 * 8 * 9 + 8
    assert begun["parameters"]["trainable"] > 1000
    assert begun["class_weights"] == pytest.approx([2 / 3, 1, 2])


def test_by_default_nothing_is_frozen_or_weighted(held, tmp_path):
    begun = begin(held, tmp_path)
    assert (begun["parameters"]["frozen"], begun["class_weights"]) == (0, None)


def test_more_frozen_layers_than_the_model_has_are_an_answer_and_no_crash(
    held, tmp_path, monkeypatch
):
    build = worker.models.build
    monkeypatch.setattr(
        worker.models,
        "build",
        lambda name, **options: (torch.nn.Conv2d(3, 3, 1), build(name, **options)[1]),
    )
    answer = begin(held, tmp_path, model={"freeze": 2})
    assert answer["kind"] == "failed"
    assert "model.freeze: must be at most the 1 convolutions" in answer["error"]


def test_weights_are_kept_where_patience_ends_a_trial_and_nowhere_else(held, tmp_path, monkeypatch):
    scores = iter([0.2, 0.1, 0.1, 0.1, 0.3])
    evaluate = worker.evaluate
    monkeypatch.setattr(
        worker, "evaluate", lambda *about: evaluate(*about) | {"val_macro_f1": next(scores)}
    )
    begin(held, tmp_path, milestones=(5,), ends=((9, 3), (2, 2), (9, 0)), epochs=9)
    for expected in ([], [], [], ["epoch-0004"], ["epoch-0004", "epoch-0005"]):
        epoch(held)
        assert kept(tmp_path) == expected


def test_patience_counts_the_epochs_before_a_resume(held, tmp_path, monkeypatch):
    evaluate = worker.evaluate
    monkeypatch.setattr(worker, "evaluate", lambda *about: evaluate(*about) | {"val_macro_f1": 0.5})
    for _ in range(3):  # begun anew for each epoch: only the checkpoint is left of the last
        begin(held, tmp_path, ends=((9, 2),))
        epoch(held)
    assert kept(tmp_path) == ["epoch-0003"]


def test_a_resumed_cosine_goes_on_at_the_learning_rate_where_it_was(held, tmp_path):
    values = {"schedule": "cosine", "epochs": 4, "optimizer": {"name": "sgd", "lr": 1.0}}
    begin(held, tmp_path, **values)
    epoch(held)
    resumed = replace(held, lineage=None)
    begin(resumed, tmp_path, **values)
    epoch(resumed)
    (group,) = resumed.lineage.training.optimizer.param_groups
    assert group["lr"] == pytest.approx((1 + np.cos(np.pi / 4)) / 2)


def test_counts_of_each_group_are_kept_where_trials_end_and_are_in_no_epochs_record(held, tmp_path):
    begin(held, tmp_path, milestones=(2,))
    assert all("val_groups" not in epoch(held) for _ in range(2))
    assert group_counts.kept(tmp_path, 1) is None
    counts = group_counts.decode(group_counts.kept(tmp_path, 2))
    assert counts.shape == (3, NUM_CLASSES, NUM_CLASSES), "one group a row"
    assert counts.sum() == 3
