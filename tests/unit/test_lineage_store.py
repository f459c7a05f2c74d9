"""Checkpoints in an object store: as on a disk, in an order that a kill cannot spoil, for any machine."""

import shutil
from pathlib import Path

import pytest
import test_worker
import torch
from test_worker import begin, epoch

from orchestrator.config.errors import StorageError
from orchestrator.config.folder import folder
from orchestrator.config.object_store import Store
from orchestrator.config.storage import MARKER
from orchestrator.training import lineage_store
from orchestrator.training.checkpoint import CheckpointState, read_state
from orchestrator.training.checkpoint_writer import CheckpointWriter
from orchestrator.training.lineage_store import BEST, LAST, fetch_newest
from orchestrator.training.saving import Keeping, _write_kept, leave_only_best
from orchestrator.training.snapshot import Snapshot

held = test_worker.held
one_thread = test_worker.one_thread
SNAPSHOT = Snapshot({"weight": torch.arange(4.0)}, {"moment": torch.ones(4)}, {})
GROUPS = {"clusters": 1, "classes": 2, "counts": ""}


@pytest.fixture
def store(faulty_s3, tmp_path) -> Store:
    return Store(folder(f"s3://faulty/{tmp_path.name}"))


def history(scores) -> tuple:
    return tuple({"epoch": n, "val_macro_f1": score} for n, score in enumerate(scores, start=1))


def save(here: Path, store: Store | None, *scores: float, milestones=(), lineage="own") -> None:
    """Saves the newest of epochs with these scores."""
    keeping = Keeping(here, frozenset(milestones), (), keep_best=True, store=store)
    state = CheckpointState(len(scores), lineage, history(scores), {}, {})
    _write_kept(keeping, SNAPSHOT, state, GROUPS)


def names(found) -> set[str]:
    return {str(Path(name).parent) for name in found if name.endswith(MARKER)}


def test_a_store_holds_the_files_that_a_disk_would(store, tmp_path):
    disk = tmp_path / "disk"
    for scores in ((0.1,), (0.1, 0.3), (0.1, 0.3, 0.2), (0.1, 0.3, 0.2, 0.3)):
        save(disk, None, *scores, milestones=(2, 4))
        save(tmp_path / "scratch", store, *scores, milestones=(2, 4))
    on_disk = {
        str(path.relative_to(disk)): path.read_bytes() for path in disk.rglob("*") if path.is_file()
    }
    assert {name: store.folder.read(name) for name in store.files()} == on_disk
    assert not (tmp_path / "scratch").exists()


def test_markers_come_after_their_files_and_what_is_replaced_goes_last(store, faulty_s3, tmp_path):
    save(tmp_path / "x", store, 0.1)
    save(tmp_path / "x", store, 0.1, 0.2)
    faulty_s3.mend()
    save(tmp_path / "x", store, 0.1, 0.2, 0.3, milestones=(3,))
    written = [
        path.partition("?")[0].partition(f"{tmp_path.name}/")[2]
        for method, path in faulty_s3.asked
        if method == "POST" and "uploadId" in path
    ]
    assert written == [
        "milestones/epoch-0003/model.safetensors",
        "milestones/epoch-0003/state.json",
        "validation/epoch-0003.json",
        "best/epoch-0003/model.safetensors",
        "best/epoch-0003/state.json",
        "last/epoch-0003/model.safetensors",
        "last/epoch-0003/optimizer.safetensors",
        "last/epoch-0003/state.json",
    ]
    removed = [p for method, p in faulty_s3.asked if method == "DELETE" and MARKER in p]
    assert [p.partition("/last/")[2] or p.partition("/best/")[2] for p in removed] == [
        "epoch-0001/state.json",
        "epoch-0002/state.json",
    ]


class Killed(BaseException):
    """A process is gone."""


@pytest.mark.parametrize("dies_at", ["last/epoch-0002/optimizer", f"last/epoch-0002/{MARKER}"])
def test_a_worker_killed_before_the_marker_goes_on_from_the_epoch_before(
    dies_at, store, tmp_path, monkeypatch
):
    save(tmp_path / "x", store, 0.1)
    upload = Store.upload

    def killed(self, path, name):
        if name.startswith(dies_at):
            raise Killed
        upload(self, path, name)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "upload", killed)
        with pytest.raises(Killed):
            save(tmp_path / "x", store, 0.1, 0.2)
    fetch_newest(store / LAST, tmp_path / "empty" / LAST, "own", [])
    (found,) = (tmp_path / "empty" / LAST).iterdir()
    assert read_state(found).epoch == 1
    save(tmp_path / "x", store, 0.1, 0.2)
    assert names(store.files()) == {"best/epoch-0002", "last/epoch-0001", "last/epoch-0002"}


def test_an_epoch_trained_once_more_has_no_marker_while_its_files_change(
    store, tmp_path, monkeypatch
):
    save(tmp_path / "x", store, 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "upload", lambda self, path, name: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            save(tmp_path / "x", store, 0.0)
    assert "best/epoch-0001/state.json" not in store.files()


def test_damaged_and_foreign_checkpoints_are_passed_over(store, tmp_path):
    save(tmp_path / "x", store, 0.1)
    save(tmp_path / "x", store, 0.1, 0.2)
    save(tmp_path / "x", store, 0.1, 0.2, 0.1, lineage="another")
    (store / LAST / "epoch-0002").put("model.safetensors", b"half")
    here = tmp_path / "empty" / LAST
    fetch_newest(store / LAST, here, "another", [])
    assert [path.name for path in here.iterdir()] == ["epoch-0003"]
    said: list[str] = []
    fetch_newest(store / LAST, here, "own", said)
    assert [("another training" in said[0]), ("missing or damaged" in said[1])] == [True, True]
    assert list(here.glob("*")) == []  # of epoch 1 only two were kept: 2, damaged, and 3
    fetch_newest(store / "nothing", here, "own", [])
    assert list(here.glob("*")) == []


def test_the_best_of_the_epochs_gone_on_from_is_found_on_an_empty_disk(store, tmp_path):
    save(tmp_path / "x", store, 0.3)
    (store / BEST / "epoch-0005").put(MARKER, b"of a process that was killed")
    keeping = Keeping(tmp_path / "empty", frozenset(), (), keep_best=True, store=store)
    leave_only_best(keeping, "own", history([0.3]))
    assert names((store / BEST).files()) == {"epoch-0001"}


def test_errors_of_the_store_reach_the_training_with_their_remedy(
    store, faulty_s3, tmp_path, impatient
):
    faulty_s3.fail(lambda method, path: method in ("PUT", "POST"), status=503, code="SlowDown")
    writer = CheckpointWriter()
    writer.start(lambda: save(tmp_path / "x", store, 0.1), tmp_path)
    with pytest.raises(StorageError, match=r"s3://faulty.*Look after the object store"):
        writer.wait()


def test_a_worker_with_an_empty_disk_goes_on_to_the_same_bits(held, faulty_s3, tmp_path):
    address = f"s3://faulty/{tmp_path.name}/lineages/a"
    store = Store(folder(address))
    assert begin(held, address, milestones=(1, 3))["history"] == []
    for _ in range(2):
        epoch(held)
    assert test_worker.worker._carry_out({"kind": "settle"}, held)["kind"] == "settled"
    shutil.rmtree(lineage_store._scratch())
    lineage_store._scratch.cache_clear()
    faulty_s3.fail(lambda *_: True, times=5, status=500, code="InternalError")
    held.lineage = None
    begun = begin(held, address, milestones=(1, 3))
    assert [metrics["epoch"] for metrics in begun["history"]] == [1, 2]
    last = epoch(held)
    held.writer.wait()
    assert names(store.files()) == {
        "milestones/epoch-0001",
        "milestones/epoch-0003",
        "last/epoch-0002",
        "last/epoch-0003",
    }
    assert {"validation/epoch-0001.json", "validation/epoch-0003.json"} <= store.files().keys()
    begin(held, tmp_path / "undisturbed")
    for _ in range(3):
        undisturbed = epoch(held)
    assert undisturbed["train_loss"] == last["train_loss"]
    held.writer.wait()
    there = store.folder.read("last/epoch-0003/model.safetensors")
    assert there == (tmp_path / "undisturbed/last/epoch-0003/model.safetensors").read_bytes()
