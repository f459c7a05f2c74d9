"""One worker without Ray: it builds what is asked, says what it built, and keeps what trials need."""

import errno
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmarks.kill_matrix import timeless
from orchestrator.config import shared_folder
from orchestrator.config.errors import CheckpointError, StorageError, TrainingError
from orchestrator.config.experiment import Experiment
from orchestrator.config.shared_folder import Mark
from orchestrator.config.validate import to_dict, validate
from orchestrator.ingest.shard import Shard
from orchestrator.training import checkpoint, group_counts, precision, saving, worker
from orchestrator.training.checkpoint import read_state

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
    settings = {
        "image_shape": (IMAGE_PX, IMAGE_PX, 3),
        "num_classes": NUM_CLASSES,
        "dataset": {"name": "made up"},
    }
    shards = {"train": rows([0, 0, 0, 1, 1, 2]), "validation": rows([0, 1, 2])}
    pulse = SimpleNamespace(beat=lambda *_: None)
    return worker._Held(settings, torch.device("cpu"), shards, pulse)


def begin(held, folder, *, milestones=(), ends=(), keep_best=False, **values) -> dict:
    experiment = validate(Experiment, ("a test", SMALL), ("values", values))
    command = {
        "kind": "begin",
        "experiment": to_dict(experiment),
        "lineage": "a",
        "folder": str(folder),
        "milestones": milestones,
        "ends": ends,
        "keep_best": keep_best,
        "handed_out": 0,
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


class LateWriter:
    """In place of the writer's thread: what it was given is written when it is waited for."""

    def __init__(self) -> None:
        self.late = None

    def start(self, write, folder) -> None:
        assert self.late is None
        self.late = write

    def wait(self) -> None:
        late, self.late = self.late, None
        if late:
            late()

    def read_seconds(self) -> float:
        return 0.0


def resume_points(folder) -> list[str]:
    return sorted(path.name for path in (folder / "last").glob("*/state.json"))


def test_an_epoch_is_reported_before_it_is_written_and_written_before_the_next_snapshot(
    held, tmp_path
):
    held.writer = LateWriter()
    begin(held, tmp_path)
    assert epoch(held)["epoch"] == 1
    assert not (tmp_path / "last").exists()
    assert epoch(held)["epoch"] == 2
    assert [path.parts[-2] for path in (tmp_path / "last").glob("*/state.json")] == ["epoch-0001"]
    answer = worker._carry_out({"kind": "settle"}, held)
    assert answer["kind"] == "settled"
    assert len(resume_points(tmp_path)) == 2


def test_what_is_written_late_is_the_epoch_it_was(held, tmp_path):
    held.writer = LateWriter()
    begin(held, tmp_path)
    first = epoch(held)
    before = {k: v.clone() for k, v in held.lineage.training.model.state_dict().items()}
    late, held.writer = (
        held.writer,
        LateWriter(),
    )  # the next epoch is over before this one is written
    epoch(held)
    late.wait()
    folder = tmp_path / "last" / "epoch-0001"
    saved = load_file(folder / "model.safetensors")
    assert all(torch.equal(saved[name], tensor) for name, tensor in before.items())
    (said,) = read_state(folder).history
    assert said["val_loss"] == first["val_loss"]
    assert not torch.equal(
        saved["classifier.weight"], held.lineage.training.model.classifier.weight
    )


def test_weights_that_a_leaderboard_will_name_are_written_before_their_epoch_is_reported(
    held, tmp_path
):
    held.writer = LateWriter()
    begin(held, tmp_path, milestones=(1,))
    epoch(held)
    assert (tmp_path / "milestones" / "epoch-0001" / "state.json").is_file()
    assert resume_points(tmp_path), "the resume point of that epoch is there too"


@pytest.mark.parametrize("kind", ["settle", "epoch"])
def test_an_epoch_that_cannot_be_written_is_an_answer_to_the_next_command(kind, held, tmp_path):
    (tmp_path / "last").write_text("no folder")
    begin(held, tmp_path)
    assert epoch(held)["epoch"] == 1
    answer = worker._carry_out({"kind": kind}, held)
    assert answer["kind"] == "failed"
    assert answer["error"].startswith(f"checkpoint: must be written to {tmp_path}; got: ")
    assert not answer["final"]


def last_write_fails(held, folder) -> None:
    folder.mkdir()
    (folder / "last").write_text("no folder")
    begin(held, folder)
    epoch(held)


def test_the_next_lineage_goes_on_and_says_what_went_wrong_with_the_last_write(
    held, tmp_path, caplog
):
    last_write_fails(held, tmp_path / "one")
    answer = begin(held, tmp_path / "two")
    assert answer["kind"] == "begun"
    assert "one; got: " in answer["notes"][0]
    assert "one; got: " in caplog.text
    assert epoch(held)["epoch"] == 1
    assert begin(held, tmp_path / "three")["notes"] == []


def test_what_went_wrong_with_the_last_write_of_all_is_in_the_log_and_ends_the_run(
    held, tmp_path, caplog
):
    last_write_fails(held, tmp_path / "one")
    with pytest.raises(TrainingError, match="one; got: "):
        worker._leave(held.writer)
    assert "one; got: " in caplog.text
    worker._leave(held.writer)


def test_counts_that_a_full_disk_did_not_take_are_the_storages_fault_too(
    held, tmp_path, monkeypatch
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saving, "keep", full)
    begin(held, tmp_path, milestones=(1,))
    answer = worker._carry_out({"kind": "epoch"}, held)
    assert (answer["kind"], answer["storage"]) == ("failed", True)
    assert "Free space" in answer["error"]


@pytest.mark.parametrize(
    ("number", "is_storage"), [(errno.EIO, True), (errno.ESTALE, True), (errno.EACCES, False)]
)
def test_checkpoints_that_cannot_be_read_are_an_answer_and_no_crash(
    number, is_storage, held, tmp_path, monkeypatch
):
    def unreadable(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    begin(held, tmp_path)
    epoch(held)
    held.writer.wait()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "sha256_of", unreadable)
        answer = begin(held, tmp_path)
    assert (answer["kind"], answer["final"]) == ("failed", False)
    assert answer.get("storage", False) == is_storage
    assert os.strerror(number) in answer["error"]
    assert len(begin(held, tmp_path)["history"]) == 1


def test_a_worker_that_has_not_looked_at_the_leaders_checkpoint_compares_its_digests(
    held, tmp_path, monkeypatch
):
    def of_the_leader(own):
        return agree(replace(own, epoch=1))

    agree = worker.agree
    begin(held, tmp_path)
    epoch(held)
    held.writer.wait()
    monkeypatch.setattr(worker, "newest_valid", lambda *_: None)
    monkeypatch.setattr(worker, "agree", of_the_leader)
    assert len(begin(held, tmp_path)["history"]) == 1
    (tmp_path / "last" / "epoch-0001" / checkpoint.MODEL).write_bytes(b"damaged")
    answer = begin(held, tmp_path)
    assert (answer["kind"], answer["final"]) == ("failed", False)
    assert "must have the digest" in answer["error"]


@pytest.mark.parametrize(
    "error", [CheckpointError("epoch-0001: must fit"), PermissionError(13, "must fit")]
)
def test_a_checkpoint_that_cannot_be_gone_on_from_fails_its_trial_and_no_more(
    error, held, tmp_path, monkeypatch
):
    def fail(*_: object) -> None:
        raise error

    begin(held, tmp_path)
    epoch(held)
    with monkeypatch.context() as patch:
        patch.setattr(worker, "restore", fail)
        answer = begin(held, tmp_path)
    assert (answer["kind"], answer["final"]) == ("failed", False)
    assert "must fit" in answer["error"]
    assert held.lineage is None
    assert begin(held, tmp_path)["kind"] == "begun"


def test_shares_that_leave_no_row_any_weight_are_refused_at_the_beginning(held, tmp_path):
    held.shards["train"] = rows([0, 0, 1])
    answer = begin(held, tmp_path, target_shares=[0, 0, 1])
    assert (answer["kind"], answer["final"]) == ("failed", True)
    assert answer["error"].startswith("target_shares: must be > 0 for a class with training rows")
    assert "[0.0, 0.0, 1.0] for classes with [2, 1, 0] rows" in answer["error"]
    assert begin(held, tmp_path, target_shares=[0, 1, 0], batch_size=1)["kind"] == "begun"
    assert epoch(held)["train_loss"] > 0, "two of its batches weigh nothing"


def test_a_process_killed_between_best_and_last_leaves_the_best_of_the_epochs_it_goes_on_from(
    held, tmp_path, monkeypatch
):
    scores = iter([0.2, 0.1, 0.3, 0.15])
    evaluate = worker.evaluate
    monkeypatch.setattr(
        worker, "evaluate", lambda *about: evaluate(*about) | {"val_macro_f1": next(scores)}
    )
    begin(held, tmp_path, keep_best=True)
    for _ in range(2):
        epoch(held)
    held.writer.wait()
    with monkeypatch.context() as patch:
        patch.setattr(saving, "save_for_resume", killed)
        epoch(held)
        with pytest.raises(Killed):
            held.writer.wait()
    assert best_epochs(tmp_path) == ["epoch-0001", "epoch-0003"]
    answer = begin(replace(held, lineage=None), tmp_path, keep_best=True)
    assert len(answer["history"]) == 2
    assert best_epochs(tmp_path) == ["epoch-0001"]
    begin(held, tmp_path, keep_best=True)
    epoch(held)  # the third once more: it scores less this time
    held.writer.wait()
    assert best_epochs(tmp_path) == ["epoch-0001"]


class Killed(Exception):
    """Where a process ends."""


def killed(*_: object) -> None:
    raise Killed


def best_epochs(folder) -> list[str]:
    return sorted(path.name for path in (folder / "best").glob("*"))


def test_a_disk_that_was_full_for_the_last_write_is_said_to_be_the_storages_fault(
    held, tmp_path, monkeypatch
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    begin(held, tmp_path / "one")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        epoch(held)
        answer = begin(held, tmp_path / "two")
    assert (answer["kind"], answer["storage"]) == ("failed", True)
    assert "Free space" in answer["error"]
    assert begin(held, tmp_path / "two")["kind"] == "begun"


def test_a_checkpoint_of_bf16_goes_on_in_bf16_whatever_this_machine_would_choose(
    held, tmp_path, monkeypatch
):
    monkeypatch.setattr(precision, "has_native_bf16", lambda device: True)
    assert begin(held, tmp_path, precision="auto")["precision"] == "bf16"
    epoch(held)
    monkeypatch.setattr(precision, "has_native_bf16", lambda device: False)
    assert begin(held, tmp_path, precision="auto")["precision"] == "bf16"
    assert begin(held, tmp_path / "another", precision="auto")["precision"] == "fp32"


def normalised() -> torch.nn.Module:
    layers = [torch.nn.Conv2d(3, 4, IMAGE_PX), torch.nn.BatchNorm2d(4), torch.nn.Flatten()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(4, NUM_CLASSES))


@pytest.mark.parametrize(("dropout", "said"), [(0.5, True), (0.0, False)])
def test_another_number_of_workers_is_said_where_what_is_trained_depends_on_it(
    held, tmp_path, monkeypatch, dropout, said
):
    begin(held, tmp_path, model={"dropout": dropout})
    epoch(held)
    held.writer.wait()
    again = begin(held, tmp_path, model={"dropout": dropout})
    assert again["notes"] == []
    state = worker.CheckpointState
    monkeypatch.setattr(
        worker,
        "CheckpointState",
        lambda **fields: state(
            **fields | {"history": tuple(m | {"workers": 2} for m in fields["history"])}
        ),
    )
    epoch(held)
    held.writer.wait()
    notes = begin(held, tmp_path, model={"dropout": dropout})["notes"]
    assert [note[:47] for note in notes] == [
        "from epoch 3 on 1 workers train it, 2 did before"[:47]
    ] * said


def test_a_checkpoint_is_compared_with_its_digests_once(held, tmp_path, monkeypatch):
    begin(held, tmp_path)
    epoch(held)
    held.writer.wait()
    seen = []
    digest = checkpoint.sha256_of
    monkeypatch.setattr(checkpoint, "sha256_of", lambda file: seen.append(file) or digest(file))
    assert len(begin(held, tmp_path)["history"]) == 1
    assert len(seen) == len(set(seen)) == 2


@pytest.mark.parametrize(("batch_size", "kind"), [(5, "failed"), (1, "failed"), (6, "begun")])
def test_a_single_row_that_batch_norm_cannot_train_on_is_an_answer_and_no_crash(
    batch_size, kind, held, tmp_path, monkeypatch
):
    build = worker.models.build
    monkeypatch.setattr(
        worker.models,
        "build",
        lambda name, **options: (normalised(), build(name, **options)[1]),
    )
    answer = begin(held, tmp_path, batch_size=batch_size)
    assert answer["kind"] == kind
    if kind == "failed":
        assert "batch_size: must leave each worker none or at least two rows" in answer["error"]
        assert f"batch_size={batch_size}, 6 rows and 1 workers" in answer["error"]
    else:
        assert epoch(held)["epoch"] == 1


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


def test_a_network_that_cannot_be_compiled_fails_its_trial_and_no_more(held, tmp_path, monkeypatch):
    def broken(replica):
        return torch.compile(replica, backend=lambda graph, inputs: 1 / 0)

    monkeypatch.setattr("orchestrator.training.build.compiled", broken)
    begin(held, tmp_path, compile=True)
    answer = worker._carry_out({"kind": "epoch"}, held)
    assert answer["kind"] == "failed"
    assert answer["error"].startswith("compile: each worker must be able to compile the network")
    assert begin(held, tmp_path)["kind"] == "begun"


@pytest.mark.parametrize("when", ["build", "train_epoch"])
def test_a_batch_that_finds_no_memory_on_the_node_fails_its_trial_and_no_more(
    when, held, tmp_path, monkeypatch
):
    def too_large(*_: object) -> None:
        torch.empty(2**61, dtype=torch.uint8)  # torch's own error, whatever its words are here

    with monkeypatch.context() as patch:
        patch.setattr(worker, "_build" if when == "build" else when, too_large)
        answer = begin(held, tmp_path)
        if when == "train_epoch":
            answer = worker._carry_out({"kind": "epoch"}, held)
    assert (answer["kind"], answer["final"]) == ("failed", False)
    assert answer["error"].startswith("batch_size: must fit the node's memory; got batch_size=16, ")
    assert answer["error"].endswith("resources.slots or resources.device_budget_gib")
    assert begin(held, tmp_path)["kind"] == "begun"
    assert epoch(held)["epoch"] == 1


def test_a_batch_that_finds_no_memory_on_its_device_says_how_large_it_was(
    held, tmp_path, monkeypatch
):
    def too_large(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    begin(held, tmp_path)
    monkeypatch.setattr(worker, "train_epoch", too_large)
    answer = worker._carry_out({"kind": "epoch"}, held)
    assert answer["error"] == (
        "batch_size: must fit the device's memory; got batch_size=16, all of it on one worker; "
        "CUDA out of memory. Tried to allocate 2 GiB. Lower batch_size"
    )


def test_counts_of_each_group_are_kept_where_trials_end_and_are_in_no_epochs_record(held, tmp_path):
    begin(held, tmp_path, milestones=(2,))
    assert all("val_groups" not in epoch(held) for _ in range(2))
    assert group_counts.kept(tmp_path, 1) is None
    counts = group_counts.decode(group_counts.kept(tmp_path, 2))
    assert counts.shape == (3, NUM_CLASSES, NUM_CLASSES), "one group a row"
    assert counts.sum() == 3


def test_an_epoch_trained_twice_has_the_same_figures_but_for_those_of_a_clock(held, tmp_path):
    """As the kill matrix compares them."""
    first, again = [], []
    for name, figures in (("one", first), ("two", again)):
        begin(held, tmp_path / name)
        figures += [epoch(held), epoch(held)]
    held.writer.wait()
    assert "checkpoint_write_s" in again[1]
    assert timeless(first) == timeless(again)
    assert {"train_loss", "val_confusion", "workers"} <= timeless(first)[0].keys()


def test_a_worker_computes_with_as_many_threads_as_the_slot_gives_it_cores(monkeypatch):
    answers = []
    mailbox = SimpleNamespace(
        join=SimpleNamespace(remote=lambda rank: True),
        command=SimpleNamespace(remote=lambda number: {"kind": "stop"}),
        reply=SimpleNamespace(remote=answers.append),
    )
    monkeypatch.setattr(worker.ray, "get", lambda answer: answer)
    monkeypatch.setattr(worker.ray.train.torch, "get_device", lambda: torch.device("cpu"))
    settings = {"slot": "s", "mailbox": mailbox, "threads": 3, "sizes": {}, "device_budget_gib": 1}
    worker.obey(settings | {"mark": None})
    assert torch.get_num_threads() == 3
    assert [answer["kind"] for answer in answers] == ["ready"]


def test_a_worker_that_does_not_see_the_folder_of_the_run_holds_no_data(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_folder, "REMEMBERED_S", 0.0)
    monkeypatch.setattr(worker.ray, "get", lambda answer: answer)
    mailbox = SimpleNamespace(join=SimpleNamespace(remote=lambda rank: True))
    stranger = Mark(tmp_path / "runs", "a name of the driver's")
    with pytest.raises(StorageError, match=f"storage: {tmp_path}/runs must be the same folder"):
        worker.obey({"slot": "s", "mailbox": mailbox, "mark": stranger})


def test_each_table_that_arrives_is_a_sign_of_life():
    beats = []
    pulse = SimpleNamespace(beat=lambda: beats.append(1))
    for number, table in enumerate(worker._counted(["a", "b", "c"], pulse), 1):
        assert table in "abc"
        assert len(beats) == number
