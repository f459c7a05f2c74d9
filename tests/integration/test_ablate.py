"""The main job on a real Ray of this machine: warm slots, lineages, resume, lost processes."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import optuna
import pytest
import yaml
from safetensors.numpy import load_file

from orchestrator import ablate, train
from orchestrator.training.checkpoint import read_state
from orchestrator.tuning.ledger import LEDGER, read_records
from orchestrator.tuning.study import Study
from tests.unit.prepared_set import CLASSES, write_set

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

SMALL = {"model.name": "main", "model.width": 0.125, "batch_size": 32}
WORKER = b"ray::RayTrainWorker"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_set(tmp_path_factory.mktemp("data") / "tiny", rows=240, image_px=32)


def space_file(folder: Path, **content) -> Path:
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump({"question": "does it run?", "base": SMALL, **content}))
    return path


def run(space: Path, data: Path, out: Path, *more: str) -> int:
    return ablate.main([f"space={space}", f"data.path={data}", f"out={out}", "study=s", *more])


def records(out: Path, kind: str) -> list[dict]:
    return [record for record in read_records(out / "s" / LEDGER) if record["record"] == kind]


def finished(out: Path) -> dict[int, dict]:
    return {end["trial"]: end for end in records(out, "end") if end["state"] == "finished"}


def own_processes(name: bytes) -> list[int]:
    """Processes of this name that descend from this one: nobody else's Ray is touched."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _cmdline(entry).startswith(name) and _is_ours(entry):
            found.append(int(entry.name))
    return found


def _cmdline(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def _is_ours(entry: Path) -> bool:
    pid = entry.name
    while pid not in ("0", "1"):
        if int(pid) == os.getpid():
            return True
        try:
            pid = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            return False
    return False


def test_a_grid_trains_each_lineage_once_in_warm_slots_and_ranks_every_trial(
    tmp_path, data, capsys
):
    axes = {"optimizer.name": ["adam", "sgd"], "optimizer.lr": [0.001, 0.01], "epochs": [1, 2]}
    assert run(space_file(tmp_path, kind="grid", axes=axes), data, tmp_path) == 0
    assert len(finished(tmp_path)) == 8
    epochs = [(record["lineage"], record["epoch"]) for record in records(tmp_path, "epoch")]
    assert len(epochs) == len(set(epochs)) == 8, "four trainings of two epochs, none done twice"
    assert len({record["slot"] for record in records(tmp_path, "epoch")}) == 2
    told = capsys.readouterr().out
    assert "8 epochs to train; one by one it would be 12" in told
    assert "winner" in told
    for name in ("leaderboard.csv", "leaderboard.md", "leaderboard.json", "learning_curves.png"):
        assert (tmp_path / "s" / name).stat().st_size > 0
    for end in finished(tmp_path).values():
        assert (tmp_path / "s" / end["checkpoint"] / "model.safetensors").is_file()
    board = json.loads((tmp_path / "s" / "leaderboard.json").read_text())
    scores = [trial["val_macro_f1"] for trial in board["trials"] if trial["rank"]]
    assert scores == sorted(scores, reverse=True)
    _the_same_command_trains_nothing(tmp_path, data, axes)
    _a_longer_space_trains_only_what_is_new(tmp_path, data, axes)


def _the_same_command_trains_nothing(tmp_path, data, axes):
    before = len(records(tmp_path, "epoch"))
    assert run(space_file(tmp_path, kind="grid", axes=axes), data, tmp_path) == 0
    assert len(records(tmp_path, "epoch")) == before
    assert len(finished(tmp_path)) == 8


def _a_longer_space_trains_only_what_is_new(tmp_path, data, axes):
    before = len(records(tmp_path, "epoch"))
    longer = {**axes, "epochs": [1, 2, 3]}
    assert run(space_file(tmp_path, kind="grid", axes=longer), data, tmp_path) == 0
    new = records(tmp_path, "epoch")[before:]
    assert sorted(record["epoch"] for record in new) == [3, 3, 3, 3]
    assert len(finished(tmp_path)) == 12


def test_a_trial_is_bit_equal_to_the_same_experiment_trained_alone(tmp_path, data):
    rows = [
        {"optimizer.name": "adam", "optimizer.lr": 0.001, "epochs": epochs} for epochs in (1, 3)
    ]
    assert run(space_file(tmp_path, kind="rows", rows=rows), data, tmp_path) == 0
    given = [f"{path}={value}" for path, value in (SMALL | rows[0]).items()]
    assert train.main([*given, f"data.path={data}", f"out={tmp_path}", "name=alone"]) == 0
    shared = tmp_path / "s" / finished(tmp_path)[0]["checkpoint"] / "model.safetensors"
    alone = tmp_path / "alone" / "checkpoints" / "last" / "epoch-0001" / "model.safetensors"
    assert_equal_weights(shared, alone)
    for weights in (shared, alone):
        said = read_state(weights.parent).dataset
        assert (said["classes"], said["image_shape"]) == (list(CLASSES), [32, 32, 3])
    (record, *_) = records(tmp_path, "study")
    assert record["command"].startswith("python -m orchestrator.ablate space=")


def test_a_run_that_is_extended_is_bit_equal_to_one_that_was_long_from_the_start(tmp_path, data):
    given = [f"{path}={value}" for path, value in SMALL.items()]
    given += [f"data.path={data}", f"out={tmp_path}"]
    assert train.main([*given, "name=grown", "epochs=1"]) == 0
    assert train.main([*given, "name=grown", "epochs=3"]) == 0
    assert train.main([*given, "name=long", "epochs=3"]) == 0
    last = Path("checkpoints/last/epoch-0003/model.safetensors")
    assert_equal_weights(tmp_path / "grown" / last, tmp_path / "long" / last)
    run_folder = {path.name for path in (tmp_path / "grown").iterdir()}
    assert {"config.yaml", "environment.json", "metrics.jsonl", "learning_curve.png"} <= run_folder
    lines = (tmp_path / "grown" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]


def test_a_killed_worker_is_replaced_and_the_result_is_that_of_an_undisturbed_study(tmp_path, data):
    rows = [{"optimizer.name": "adam", "optimizer.lr": 0.001, "epochs": 6}]
    space = space_file(tmp_path, kind="rows", rows=rows)
    assert run(space, data, tmp_path / "calm") == 0
    killer = threading.Thread(target=_kill_worker_after_an_epoch, args=(tmp_path / "killed",))
    killer.start()
    assert run(space, data, tmp_path / "killed") == 0
    killer.join()
    calm, killed = finished(tmp_path / "calm")[0], finished(tmp_path / "killed")[0]
    epochs = [record["epoch"] for record in records(tmp_path / "killed", "epoch")]
    assert epochs == [1, 2, 3, 4, 5, 6]
    model = "model.safetensors"
    assert_equal_weights(
        tmp_path / "calm" / "s" / calm["checkpoint"] / model,
        tmp_path / "killed" / "s" / killed["checkpoint"] / model,
    )


def _kill_worker_after_an_epoch(out: Path) -> None:
    while not records(out, "epoch"):
        time.sleep(0.02)
    for pid in own_processes(WORKER):
        os.kill(pid, signal.SIGKILL)


def test_a_trial_whose_loss_is_not_finite_fails_alone_and_its_slot_lives_on(tmp_path, data, capsys):
    rows = [
        # With a decay of 1 every step multiplies each weight by -9: it must overflow.
        {
            "optimizer.name": "sgd",
            "optimizer.lr": 10.0,
            "optimizer.weight_decay": 1.0,
            "epochs": 20,
        },
        {"optimizer.name": "adam", "optimizer.lr": 0.001, "epochs": 1},
    ]
    space = space_file(tmp_path, kind="rows", rows=rows)
    assert run(space, data, tmp_path, "resources.slots=1") == 1
    ends = {end["trial"]: end for end in records(tmp_path, "end")}
    assert ends[0]["state"] == "failed"
    assert "step" in ends[0]["error"]
    assert "learning rate 10" in ends[0]["error"]
    assert (tmp_path / "s" / ends[0]["log"]).is_file()
    assert ends[1]["state"] == "finished", "the slot that saw the failure trained the next trial"
    assert "learning rate 10" in capsys.readouterr().out


def test_two_workers_train_what_one_worker_trains(tmp_path, data):
    rows = [{"optimizer.name": "sgd", "optimizer.lr": 0.01, "epochs": 2}]
    space = space_file(tmp_path, kind="rows", rows=rows)
    words = ("augmentation.share=0", "precision=fp32")
    assert run(space, data, tmp_path / "one", *words) == 0
    assert run(space, data, tmp_path / "two", *words, "resources.workers=2") == 0
    one, two = (records(tmp_path / name, "epoch")[-1]["metrics"] for name in ("one", "two"))
    # Only the order of float32 sums differs between one worker and two.
    assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4)
    assert two["val_loss"] == pytest.approx(one["val_loss"], rel=1e-4)
    assert sum(map(sum, two["val_confusion"])) == sum(map(sum, one["val_confusion"]))


def test_a_sampled_study_tries_its_points_first_and_shares_what_it_can(tmp_path, data):
    point = {"optimizer.name": "adam", "optimizer.lr": 0.002, "epochs": 2}
    axes = {
        "optimizer.name": ["adam"],
        "optimizer.lr": [0.002, 0.001],
        "epochs": {"low": 1, "high": 2},
    }
    space = space_file(tmp_path, kind="tpe", trials=6, axes=axes, points=[point])
    assert run(space, data, tmp_path) == 0
    trials = records(tmp_path, "trial")
    assert trials[0]["values"] == point
    assert len(finished(tmp_path)) == 6
    epochs = [(record["lineage"], record["epoch"]) for record in records(tmp_path, "epoch")]
    assert len(epochs) == len(set(epochs)) <= 4


@pytest.fixture
def each_training_is_worse_than_the_one_before(monkeypatch):
    """So few epochs on so few rows teach nothing: all would be equal, and none be stopped."""
    places: dict[str, int] = {}
    record_epoch = Study.record_epoch

    def scored(study, lineage, metrics, *slot, **name):
        place = places.setdefault(lineage, len(places))
        record_epoch(study, lineage, metrics | {"val_macro_f1": 0.9 - 0.1 * place}, *slot, **name)

    monkeypatch.setattr(Study, "record_epoch", scored)


@pytest.mark.usefixtures("each_training_is_worse_than_the_one_before")
def test_a_trial_that_is_stopped_frees_its_slot_and_is_pruned_and_not_ranked(
    tmp_path, data, capsys
):
    axes = {"optimizer.lr": [0.001, 0.002, 0.003, 0.004, 0.005, 0.006], "epochs": [1, 3]}
    space = space_file(tmp_path, kind="grid", axes=axes)
    rule = ("stop.rule=asha", "stop.reduction_factor=2")
    assert run(space, data, tmp_path, *rule, "resources.slots=1") == 0
    ends = records(tmp_path, "end")
    stopped = [end for end in ends if end["state"] == "stopped"]
    assert len(ends) == 12
    assert stopped, "none is the best so far but the first"
    assert {end["epoch"] for end in stopped} <= {1, 2}
    assert len({record["slot"] for record in records(tmp_path, "epoch")}) == 1
    assert len(records(tmp_path, "epoch")) < 6 * 3
    assert f"stopped at {stopped[0]['epoch']}" in capsys.readouterr().out
    board = json.loads((tmp_path / "s" / "leaderboard.json").read_text())
    assert all(trial["rank"] is None for trial in board["trials"] if trial["state"] == "stopped")
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "s" / "optuna.journal"))
    study = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
    states = {end["trial"]: "PRUNED" if end in stopped else "COMPLETE" for end in ends}
    assert {trial.number: trial.state.name for trial in study.trials} == states
    for name in ("effects.csv", "effects.json", "main_effects.png"):
        assert (tmp_path / "s" / name).is_file()


def assert_equal_weights(left: Path, right: Path) -> None:
    ours, theirs = load_file(left), load_file(right)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert (tensor == theirs[name]).all(), f"{name} differs"
