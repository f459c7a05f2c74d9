"""`adapt` from words to files, with predictions of a plain loop and workers that only pretend."""

import json
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from prepared_set import write_set
from trained_run import write_run

import models
from orchestrator import adapt, measured_remedies, warm_training
from orchestrator.cluster import Cluster
from orchestrator.config.command_line import INTERRUPTED
from orchestrator.config.errors import ConfigError, DatasetError
from orchestrator.config.validate import to_dict
from orchestrator.inference.batch_run import Pace
from orchestrator.inference.predictor import probabilities
from orchestrator.ingest.dataset import open_dataset
from orchestrator.ingest.pixels import images_of
from orchestrator.training.checkpoint import CheckpointState, save_weights
from orchestrator.training.precision import choose_precision
from orchestrator.training.snapshot import Snapshot
from orchestrator.tuning.capacity import Node
from orchestrator.tuning.lineages import lineage_key

TRAINED = ("old_data", "more_data", "since", "classes", "balanced", "importance")
CPU = torch.device("cpu")


def plain_loop(requests, network, pool):
    precision = choose_precision("fp32", CPU)
    found = [
        probabilities(network, images_of(one.dataset, one.row_ids.tolist()), precision, CPU)
        for one in requests
    ]
    return found, Pace(1, 1.0, 1.0, 1)


@contextmanager
def no_cluster(*_, **__):
    yield Cluster(started=True, address="", dashboard_url="", logs="")


class PretendedTrainings:
    """Leaves the checkpoint of a training that changed nothing, and remembers what was asked."""

    def __init__(self):
        self.experiments = {}
        self.together = []
        self.status = 0

    @contextmanager
    def warm(self, dataset, data, resources, capacity, home):
        self.together.append([])
        yield SimpleNamespace(train=partial(self.train, dataset, data))

    def train(self, dataset, data, experiment, home):
        assert experiment.data == data
        self.together[-1].append(home.local.name)
        self.experiments[home.local.name] = (experiment, dataset)
        network, report = models.build(
            experiment.model.name,
            num_classes=len(dataset.classes),
            image_size=dataset.image_shape[0],
            width=experiment.model.width,
            weights=experiment.model.weights,
            weights_sha256=experiment.model.weights_sha256,
        )
        assert {row.action for row in report.rows} == {"loaded"}
        key = lineage_key(experiment, dataset.fingerprint)
        history = tuple({"epoch": k + 1, "train_loss": 0.5} for k in range(experiment.epochs))
        state = CheckpointState(
            experiment.epochs, key, history, to_dict(experiment), {"sha256": ""}
        )
        snapshot = Snapshot(network.state_dict(), {}, {})
        save_weights(home.local / "checkpoints" / "last", snapshot, state)
        return SimpleNamespace(finish=lambda again: self.status)


@pytest.fixture
def trainings(monkeypatch):
    monkeypatch.setattr(adapt, "connect", no_cluster)
    monkeypatch.setattr(adapt, "nodes", lambda: (Node(2, 0),))
    monkeypatch.setattr(measured_remedies, "predict", plain_loop)
    monkeypatch.setattr(measured_remedies, "ready_pool", lambda *_: None)
    pretended = PretendedTrainings()
    monkeypatch.setattr(warm_training, "warm_training", pretended.warm)
    return pretended


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    root = tmp_path_factory.mktemp("adapt")
    own = open_dataset(write_set(root / "faces", rows=120, image_px=32))
    street = write_set(root / "street", rows=360, image_px=32)
    run = write_run(root / "small", own)
    given = ["classes=[fear]", "epochs=2", "bootstrap=200", "since=200"]
    return [f"checkpoint={run}", f"production={street}", *given]


def test_every_remedy_is_tried_and_one_that_changes_nothing_gains_nothing(
    words, trainings, tmp_path, capsys
):
    assert adapt.main([*words, f"out={tmp_path}"]) == 0
    assert set(trainings.experiments) == set(TRAINED)
    said = json.loads((tmp_path / "adapt.json").read_text())
    tried = {one["name"]: one for one in said["remedies"]}
    assert set(tried) == {*TRAINED, "prior_correction", "prior_correction_counted"}
    for name in TRAINED:
        gain = tried[name]["gain"]
        assert (gain["macro_f1"], gain["low"], gain["high"]) == (0, 0, 0)
        assert tried[name]["verdict"] == "no difference told"
    assert said["before"]["production"]["num_rows"] == said["parts"]["held_out"]["rows"]
    assert sum(tried["prior_correction"]["priors"]) == pytest.approx(1)
    assert "no difference told" in capsys.readouterr().out


def test_each_training_has_its_rows_and_weights(words, trainings, tmp_path):
    assert adapt.main([*words, f"out={tmp_path}"]) == 0
    said = json.loads((tmp_path / "adapt.json").read_text())
    for one in said["remedies"]:
        if one["name"] in TRAINED:
            experiment, dataset = trainings.experiments[one["name"]]
            used = sum(dataset.counts[experiment.data.protocol]["train"].values())
            assert used == one["data"]["rows_old"] + one["data"]["rows_new"]
    weighed, _ = trainings.experiments["importance"]
    (importance,) = [one for one in said["remedies"] if one["name"] == "importance"]
    assert list(weighed.target_shares) == pytest.approx(importance["priors"])
    more, balanced = (trainings.experiments[name] for name in ("more_data", "balanced"))
    assert more[1].fingerprint == balanced[1].fingerprint
    assert (more[0].class_weights, balanced[0].class_weights) == ("none", "balanced")


def test_remedies_on_the_same_rows_are_trained_by_the_same_workers(words, trainings, tmp_path):
    assert adapt.main([*words, f"out={tmp_path}"]) == 0
    groups = {frozenset(group) for group in trainings.together}
    assert {frozenset({"old_data", "importance"}), frozenset({"more_data", "balanced"})} <= groups
    assert sum(map(len, groups)) == len(trainings.together) + 2 == len(TRAINED)


def test_ctrl_c_ends_it_with_the_training_at_work_and_begins_no_other(words, trainings, tmp_path):
    trainings.status = INTERRUPTED
    with pytest.raises(KeyboardInterrupt):
        adapt.main([*words, f"out={tmp_path}"])
    assert [len(group) for group in trainings.together] == [1]


def test_what_does_not_fit_the_cluster_is_refused_before_anything_is_predicted(
    words, trainings, tmp_path, monkeypatch
):
    monkeypatch.setattr(measured_remedies, "predict", None)
    with pytest.raises(ConfigError, match="resources: one trial must fit the cluster"):
        adapt.main([*words, f"out={tmp_path}", "resources.gpus_per_worker=1"])


def test_priors_estimated_anew_do_not_make_another_training(
    words, trainings, tmp_path, monkeypatch
):
    given = [*words, f"out={tmp_path}", "remedies=[importance,old_data]"]
    assert adapt.main(given) == 0
    first = json.loads((tmp_path / "adapt.json").read_text())
    (tmp_path / "adapt.json").unlink()
    trainings.experiments.clear()
    estimate = measured_remedies.em

    def other_batches(*sets, **more):
        found = estimate(*sets, **more)
        first, second, *rest = found.priors
        return replace(found, priors=(first + 1e-9, second - 1e-9, *rest))

    monkeypatch.setattr(measured_remedies, "em", other_batches)
    assert adapt.main(given) == 0
    assert trainings.experiments == {}
    again = json.loads((tmp_path / "adapt.json").read_text())
    assert again["remedies"][0]["priors"] == first["remedies"][0]["priors"]
    (tmp_path / "adapt.json").unlink()
    (tmp_path / "priors.json").write_text('{"estimated": [1]}')
    with pytest.raises(ConfigError, match=r"priors\.json must hold one share a class"):
        adapt.main(given)


def test_a_class_that_validation_lacks_stops_no_remedy_that_needs_no_priors(
    words, trainings, tmp_path
):
    splits = np.where(np.arange(120) % 3 == 2, 0, np.arange(120) // 6 % 3).astype(np.int8)
    own = open_dataset(
        write_set(tmp_path / "lacking", rows=120, image_px=32, splits={"group": splits})
    )
    run = write_run(tmp_path / "small", own)
    given = [f"checkpoint={run}", *words[1:], f"out={tmp_path / 'out'}"]
    assert adapt.main([*given, "remedies=[more_data]"]) == 0
    assert set(trainings.experiments) == {"more_data"}
    assert not (tmp_path / "out" / "priors.json").exists()
    for remedy in ("prior_correction", "prior_correction_counted", "importance"):
        with pytest.raises(DatasetError, match="rows of every class"):
            adapt.main([*given, f"remedies=[more_data,{remedy}]"])


def test_priors_are_estimated_where_a_remedy_needs_them(words, trainings, tmp_path, monkeypatch):
    given = [*words, f"out={tmp_path}"]
    with monkeypatch.context() as patch:
        patch.setattr(measured_remedies, "em", lambda *_, **__: pytest.fail("no need of it"))
        assert adapt.main([*given, "remedies=[old_data]"]) == 0
        assert adapt.main([*given, "remedies=[old_data,prior_correction_counted]"]) == 0
    assert adapt.main([*given, "remedies=[old_data,importance]"]) == 0
    said = json.loads((tmp_path / "adapt.json").read_text())
    assert (
        said["remedies"][1]["priors"]
        == json.loads((tmp_path / "priors.json").read_text())["estimated"]
    )


def test_the_help_says_that_since_counts_places_not_time(capsys):
    with pytest.raises(SystemExit):
        adapt.main(["--help"])
    assert "lists class by class, not by time" in " ".join(capsys.readouterr().out.split())


def test_the_same_command_goes_on_and_another_one_is_refused(words, trainings, tmp_path, capsys):
    few = [*words, f"out={tmp_path}", "remedies=[old_data,classes]"]
    assert adapt.main(few) == 0
    first = json.loads((tmp_path / "adapt.json").read_text())
    trainings.experiments.clear()
    assert adapt.main(few) == 0
    assert "finished already" in capsys.readouterr().out
    (tmp_path / "adapt.json").unlink()  # as if it had been killed while it measured
    assert adapt.main([*words, f"out={tmp_path}", "remedies=[old_data,classes,more_data]"]) == 0
    assert set(trainings.experiments) == {"more_data"}
    again = json.loads((tmp_path / "adapt.json").read_text())
    assert again["before"] == first["before"]
    with pytest.raises(ConfigError, match="out: must not hold another adaptation"):
        adapt.main([*few, "seed=5"])
