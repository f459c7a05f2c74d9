"""What `train` and `ablate` leave to look at, with workers that only pretend to train."""

import json
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from orchestrator import ablate, train, warm_training
from orchestrator.cluster import Cluster
from orchestrator.results.optuna_journal import JOURNAL
from orchestrator.results.study_fold import fold
from orchestrator.results.tensorboard_runs import RunFiles
from orchestrator.tuning.capacity import Node
from orchestrator.tuning.ledger import LEDGER, read_records
from tests.unit.event_reader import curves, hparams, images
from tests.unit.fake_study import epoch
from tests.unit.prepared_set import write_set

PHASES = {"augment": 0.01, "forward": 0.02, "backward": 0.04, "train": 0.001, "evaluate": 0.01}


def metrics(number):
    figures = epoch("any", number, 0.1 * number)["metrics"]
    speed = {"images_per_s": 20.0, "tflops": 0.342}
    return {**figures, **speed, "epoch": number, "seconds": dict(PHASES)}


class PretendedRun:
    """A SteadyRun whose epochs cost nothing; it remembers what it has trained, as a disk would."""

    trained = 0

    def __init__(self, *_):
        self._epoch = 0

    def take(self, task, known_epoch):
        assert known_epoch == 0

    def begin(self):
        history = [metrics(k + 1) for k in range(PretendedRun.trained)]
        counts = {"trainable": 1, "frozen": 0}
        facts = {
            "weights": "",
            "weights_json": "{}",
            "precision": "fp32",
            "parameters": counts,
            "class_weights": None,
        }
        return {"history": history, **facts}

    def next_epoch(self):
        self._epoch += 1
        PretendedRun.trained = max(PretendedRun.trained, self._epoch)
        return metrics(self._epoch)

    def new_notes(self):
        return []

    def settle(self):
        return {"checkpoint_write_s": 0.25}

    def stop(self):
        pass


def pretended_study(study, plan, datasets, *, growth, restarts, asked_to_stop):
    """Trains one leg after another, as Tune's slots would at once."""
    while (leg := study.next_leg()) is not None:
        for number in range(leg.known_epoch + 1, leg.last_epoch + 1):
            study.record_epoch(leg.lineage, metrics(number), "slot-0")
        study.end_leg(leg.lineage)


@contextmanager
def no_cluster(*_, **__):
    yield Cluster(started=True, address="", dashboard_url="", logs="")


@pytest.fixture
def pretend(monkeypatch, tmp_path):
    """Commands that train nothing, on a machine of two cores, from `tmp_path`."""
    for command in (train, ablate):
        monkeypatch.setattr(command, "connect", no_cluster)
        monkeypatch.setattr(command, "nodes", lambda: (Node(cpus=2, gpus=0),))
    ready = SimpleNamespace(
        ready_slots=lambda *_: (SimpleNamespace(storage=tmp_path / ".ray"), {}), RAY_FILES=".ray"
    )
    monkeypatch.setitem(sys.modules, "orchestrator.slots", ready)
    monkeypatch.setitem(
        sys.modules,
        "orchestrator.training.steady_run",
        SimpleNamespace(SteadyRun=PretendedRun, Task=SimpleNamespace),
    )
    monkeypatch.setitem(
        sys.modules,
        "orchestrator.tuning.tune_run",
        SimpleNamespace(run_study=pretended_study, study_signs=id),
    )
    monkeypatch.setitem(
        sys.modules,
        "orchestrator.tuning.stall_report",
        SimpleNamespace(free_amounts=dict, stall_report=list),
    )
    monkeypatch.setattr(ablate, "write_all", lambda *_: None)  # a second a picture
    monkeypatch.setattr(warm_training, "learning_curve", lambda *_: None)
    monkeypatch.setattr(PretendedRun, "trained", 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "faces", rows=120, image_px=32)


def run_training(*words):
    given = ["data.path=faces", "name=a", "model.width=0.125", "address=local"]
    assert train.main([*given, *words]) == 0


def run_study(tmp_path, *words, **more):
    axes = {**more, "optimizer.lr": [0.1, 0.2], "epochs": [1, 2]}
    base = {"model.width": 0.125, "optimizer.name": "sgd"}
    space = {"question": "?", "kind": "grid", "axes": axes, "base": base}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    given = ["space=space.yaml", "data.path=faces", "study=s", "address=local"]
    assert ablate.main([*given, *words]) == 0


def test_a_training_leaves_curves_samples_and_a_table_of_its_time(pretend, tmp_path, capsys):
    run_training("epochs=3")
    board = tmp_path / "runs" / "a" / "tensorboard"
    assert [step for step, _ in curves(board / "training")["loss/validation"]] == [1, 2, 3]
    assert images(board / "training").keys() == {"confusion/best", "confusion/last"}
    assert "augmented_batch" in images(board / "samples" / "training")
    said = capsys.readouterr().out
    phases = [line.split("  ")[1] for line in said.split("by phase:\n")[1].splitlines()[:8]]
    assert phases == [
        "ingest",
        "start",
        "augment",
        "forward",
        "backward",
        "rest of train",
        "evaluate",
        "waiting",
    ]
    assert "run         runs/a\n" in said
    assert "  0.2 s of writing checkpoints, while the next epoch was trained\n" in said
    assert "speed       20 images/s, 342 GFLOP/s" in said
    assert "tensorboard --logdir runs/a/tensorboard" in said


def test_a_training_that_goes_on_times_its_new_epochs_and_has_no_point_twice(
    pretend, tmp_path, capsys
):
    run_training("epochs=2")
    capsys.readouterr()
    run_training("epochs=3")
    (backward,) = [line for line in capsys.readouterr().out.splitlines() if "backward" in line]
    assert float(backward.split()[1]) == pytest.approx(0.04, abs=0.05)
    board = tmp_path / "runs" / "a" / "tensorboard"
    assert [step for step, _ in curves(board / "training")["loss/train"]] == [1, 2, 3]


def test_a_training_that_had_nothing_to_do_says_so_without_a_speed(pretend, capsys):
    run_training("epochs=2")
    capsys.readouterr()
    run_training("epochs=2")
    said = capsys.readouterr().out
    assert "speed " not in said
    assert "tensorboard --logdir" in said


def test_a_study_leaves_a_run_for_each_trial_and_a_table_of_its_slots_time(
    pretend, tmp_path, capsys
):
    run_study(tmp_path)
    board = tmp_path / "runs" / "s" / "tensorboard"
    assert [step for step, _ in curves(board / "trial-0003")["macro_f1/validation"]] == [1, 2]
    assert [step for step, _ in curves(board / "trial-0002")["macro_f1/validation"]] == [1]
    names = hparams(board / "study")["experiment"].experiment.hparam_infos
    assert {info.name for info in names} == {"optimizer.lr", "epochs"}
    assert [p.name for p in (board / "samples").iterdir()] == ["trial-0000"]
    said = capsys.readouterr().out
    assert "in each of 2 slots, by phase:" in said
    assert "tensorboard --logdir runs/s/tensorboard" in said


def test_a_study_that_is_complete_is_not_written_again(pretend, tmp_path, capsys):
    run_study(tmp_path)
    board = tmp_path / "runs" / "s" / "tensorboard"
    before = sorted(board.rglob("*tfevents*"))
    capsys.readouterr()
    run_study(tmp_path)
    assert sorted(board.rglob("*tfevents*")) == before
    said = capsys.readouterr().out
    assert "by phase" not in said
    assert "tensorboard --logdir" in said


def test_a_study_that_a_model_joins_shows_each_configuration_once(pretend, tmp_path, capsys):
    run_study(tmp_path)
    capsys.readouterr()
    run_study(tmp_path, **{"model.name": ["main", "baseline"]})
    said = capsys.readouterr().out
    assert "trials      8 in 4 trainings: 4 epochs to train" in said
    assert "must be able to write" not in said
    view = fold(read_records(tmp_path / "runs" / "s" / LEDGER))
    assert [row.values["model.name"] for row in view.trials] == ["main"] * 4 + ["baseline"] * 4
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "runs" / "s" / JOURNAL)))
    params = [trial.params for trial in optuna.load_study(study_name=None, storage=storage).trials]
    assert params == [dict(row.values) for row in view.trials]


def test_a_training_survives_a_tensorboard_that_cannot_be_written(
    pretend, tmp_path, capsys, monkeypatch
):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunFiles, "write", full)
    run_training("epochs=3")
    said = capsys.readouterr().out
    assert said.count("No space left on device") == 1
    assert "tensorboard --logdir" not in said
    lines = (tmp_path / "runs" / "a" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]
