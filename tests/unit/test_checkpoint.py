"""A checkpoint is whole or it does not exist; what is restored is what was saved, to the bit."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from orchestrator.config.errors import CheckpointError, StorageError
from orchestrator.config.optimizers import Adam, AdamW, RmsProp, Sgd, Timm
from orchestrator.config.storage import KEPT_FOR_RESUME
from orchestrator.training import checkpoint
from orchestrator.training.augmentation import AugmentationPlan
from orchestrator.training.checkpoint import CheckpointState
from orchestrator.training.epochs import Training
from orchestrator.training.optimizer_state import put_back, take_apart
from orchestrator.training.optimizers import build_optimizer
from orchestrator.training.precision import Precision
from orchestrator.training.snapshot import take_snapshot

OPTIMIZERS = {
    "sgd without momentum": Sgd(momentum=0.0, lr=0.1),
    "sgd": Sgd(lr=0.1, nesterov=True),
    "adam": Adam(lr=0.01),
    "adamw": AdamW(lr=0.01),
    "rmsprop": RmsProp(lr=0.01, momentum=0.5),
    "lamb, whose steps are a tensor of the group": Timm(name="timm:lamb", lr=0.01),
    "adan, whose steps are a number of the group": Timm(name="timm:adan", lr=0.01),
    "one with moments in bfloat16": Timm(name="timm:adafactorbv", lr=0.01),
    "one with a number in float64": Timm(name="timm:nadamlegacy", lr=0.01),
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def new_training(optimizer=OPTIMIZERS["sgd"], seed: int = 0, num_classes: int = 3) -> Training:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, num_classes)]
        model = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    return Training(
        model=model,
        replica=model,
        optimizer=build_optimizer(optimizer, model.parameters()),
        augmentation=AugmentationPlan(0, 0, 0, 0),
        precision=Precision("fp32", torch.channels_last),
        device=torch.device("cpu"),
        batch_size=8,
        seed=seed,
    )


def steps(training: Training, number: int, start: int = 0) -> None:
    for step in range(start, start + number):
        images = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(step))
        training.optimizer.zero_grad()
        training.model(images).square().mean().backward()
        training.optimizer.step()


def state(epoch: int, lineage: str = "abc") -> CheckpointState:
    history = tuple({"epoch": number, "val_loss": 1 / number} for number in range(1, epoch + 1))
    dataset = {"name": "faces", "classes": ["a", "b"]}
    return CheckpointState(epoch, lineage, history, {"epochs": 9}, {"file": "random"}, dataset)


def save(parent: Path, training: Training, epoch: int, lineage: str = "abc") -> Path:
    training.epoch = epoch
    return checkpoint.save_for_resume(parent, take_snapshot(training), state(epoch, lineage))


def assert_same_bits(one: Training, other: Training) -> None:
    assert one.epoch == other.epoch
    for key, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[key]), key
    first, second = (training.optimizer.state_dict()["state"] for training in (one, other))
    assert first.keys() == second.keys()
    groups = (training.optimizer.state_dict()["param_groups"] for training in (one, other))
    for group, of_other in zip(*groups, strict=True):
        assert group == of_other
    for index, values in first.items():
        assert values.keys() == second[index].keys()
        for name, value in values.items():
            mine, others = torch.as_tensor(value), torch.as_tensor(second[index][name])
            assert torch.equal(mine, others), name
            assert (mine.dtype, mine.stride()) == (others.dtype, others.stride()), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_what_is_restored_is_what_was_saved_and_goes_on_the_same(optimizer, tmp_path):
    original = new_training(optimizer)
    steps(original, 3)
    folder = save(tmp_path, original, 3)
    restored = new_training(optimizer, seed=1)
    checkpoint.restore(folder, restored)
    assert_same_bits(original, restored)
    for training in (original, restored):
        steps(training, 3, start=3)
    assert_same_bits(original, restored)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_checkpoint_of_an_optimizer_that_has_not_stepped_restores(optimizer, tmp_path):
    original, restored = new_training(optimizer), new_training(optimizer, seed=1)
    checkpoint.restore(save(tmp_path, original, 1), restored)
    assert_same_bits(original, restored)


def test_a_checkpoint_says_of_itself_what_it_was_told(tmp_path):
    folder = save(tmp_path, new_training(), 2)
    assert checkpoint.read_state(folder) == state(2)
    assert checkpoint.newest_valid(tmp_path, "abc") == (folder, state(2))


def test_only_the_newest_resume_points_are_kept(tmp_path):
    training = new_training()
    for epoch in range(1, 6):
        save(tmp_path, training, epoch)
    names = sorted(folder.name for folder in tmp_path.iterdir())
    assert names == [f"epoch-{epoch:04d}" for epoch in range(6 - KEPT_FOR_RESUME, 6)]


def test_later_epochs_of_another_lineage_do_not_push_a_new_resume_point_out(tmp_path):
    training = new_training()
    for epoch in (8, 9):
        save(tmp_path, training, epoch, lineage="another")
    folder = save(tmp_path, training, 1)
    assert checkpoint.newest_valid(tmp_path, "abc") == (folder, state(1))


def test_no_file_of_a_checkpoint_is_a_pickle(tmp_path):
    training = new_training(OPTIMIZERS["adam"])
    steps(training, 1)
    folder = save(tmp_path, training, 1)
    names = {path.name for path in folder.rglob("*")}
    assert names == {checkpoint.MODEL, checkpoint.OPTIMIZER, checkpoint.MARKER}
    for name in names - {checkpoint.MARKER}:
        content = (folder / name).read_bytes()  # safetensors: length of a JSON header, header
        json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    json.loads((folder / checkpoint.MARKER).read_text())


def flip_bit(path: Path, place: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "no marker": lambda folder: (folder / checkpoint.MARKER).unlink(),
    "an empty marker": lambda folder: (folder / checkpoint.MARKER).write_text(""),
    "a marker that is no object": lambda folder: (folder / checkpoint.MARKER).write_text("[1]"),
    "a marker that is no text": lambda folder: (folder / checkpoint.MARKER).write_bytes(
        b"\xff\xfe"
    ),
    "a flipped bit in the model": lambda folder: flip_bit(folder / checkpoint.MODEL),
    "a flipped bit in the optimizer": lambda folder: flip_bit(folder / checkpoint.OPTIMIZER),
    "a truncated model": lambda folder: truncate(folder / checkpoint.MODEL),
    "a missing optimizer": lambda folder: (folder / checkpoint.OPTIMIZER).unlink(),
    "another version": lambda folder: rewrite_marker(folder, version=2),
    "a changed history": lambda folder: rewrite_marker(folder, history=[]),
    "a changed epoch": lambda folder: rewrite_marker(folder, epoch=7),
}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def rewrite_marker(folder: Path, **changes) -> None:
    content = json.loads((folder / checkpoint.MARKER).read_text())
    (folder / checkpoint.MARKER).write_text(json.dumps({**content, **changes}))


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_refused_and_the_last_good_one_is_used(damage, tmp_path):
    training = new_training()
    steps(training, 2)
    good, damaged = save(tmp_path, training, 1), save(tmp_path, training, 2)
    damage(damaged)
    with pytest.raises(CheckpointError, match=r"epoch-0002.*must"):
        checkpoint.read_state(damaged)
    said = []
    assert checkpoint.newest_valid(tmp_path, "abc", said) == (good, state(1))
    assert len(said) == 1
    assert "epoch-0002" in said[0]


def test_any_flipped_bit_of_the_marker_is_noticed(tmp_path):
    folder = save(tmp_path, new_training(), 2)
    marker = folder / checkpoint.MARKER
    whole = marker.read_bytes()
    for place in range(0, len(whole), 7):
        marker.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        if json_or_none(marker) == json.loads(whole):
            continue  # white space between values
        assert checkpoint.newest_valid(tmp_path, "abc") is None, f"byte {place} of {whole!r}"


def json_or_none(path: Path):
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None


def unreadable(monkeypatch, number: int, *epochs: int) -> None:
    """Files of these epochs' checkpoints cannot be read, as on a disk that fails in places."""
    read = checkpoint.sha256_of

    def fail(file: Path) -> str:
        if any(file.is_relative_to(file.parents[1] / f"epoch-{epoch:04d}") for epoch in epochs):
            raise OSError(number, os.strerror(number), str(file))
        return read(file)

    monkeypatch.setattr(checkpoint, "sha256_of", fail)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_checkpoint_that_cannot_be_read_is_passed_over_where_there_is_an_older_one(
    number, tmp_path, monkeypatch
):
    training = new_training()
    good, bad = save(tmp_path, training, 1), save(tmp_path, training, 2)
    unreadable(monkeypatch, number, 2)
    assert checkpoint.newest_valid(tmp_path, "abc") == (good, state(1))
    with pytest.raises(CheckpointError, match=os.strerror(number)):
        checkpoint.read_state(bad)


@pytest.mark.parametrize(
    ("number", "error", "remedy"),
    [
        (errno.EIO, StorageError, "Look after the disk"),
        (errno.ESTALE, StorageError, "Mount the network file system again"),
        (errno.EACCES, CheckpointError, "Give this user access"),
    ],
)
def test_what_may_be_whole_but_cannot_be_read_is_not_trained_over_from_the_start(
    number, error, remedy, tmp_path, monkeypatch
):
    training = new_training()
    for epoch in (1, 2):
        save(tmp_path, training, epoch)
    unreadable(monkeypatch, number, 1, 2)
    with pytest.raises(error, match=remedy):
        checkpoint.newest_valid(tmp_path, "abc")


def test_a_marker_that_cannot_be_opened_is_an_error_of_ours_for_all_who_read_it(
    tmp_path, monkeypatch
):
    training = new_training()
    folder = save(tmp_path, training, 1)

    def denied(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)
    for read in (checkpoint.read_state, lambda place: checkpoint.restore(place, training)):
        with pytest.raises(CheckpointError, match=r"epoch-0001.*Permission denied"):
            read(folder)


def test_a_checkpoint_of_another_lineage_is_passed_over(tmp_path):
    training = new_training()
    own = save(tmp_path, training, 1)
    save(tmp_path, training, 2, lineage="another")
    said = []
    assert checkpoint.newest_valid(tmp_path, "abc", said) == (own, state(1))
    assert said == [f"{tmp_path / 'epoch-0002'}: a checkpoint of another training; it is not used"]
    assert checkpoint.newest_valid(tmp_path, "a third") is None


def test_no_folder_means_no_checkpoint(tmp_path):
    assert checkpoint.newest_valid(tmp_path / "none", "abc") is None


def test_a_half_written_checkpoint_of_a_killed_process_is_replaced(tmp_path):
    left_behind = checkpoint.epoch_folder(tmp_path, 1)
    left_behind.mkdir()
    (left_behind / "model.safetensors").write_bytes(b"half")
    (left_behind / ".state.json.123.tmp").write_bytes(b"{")
    folder = save(tmp_path, new_training(), 1)
    assert checkpoint.newest_valid(tmp_path, "abc") == (folder, state(1))
    assert not (folder / ".state.json.123.tmp").exists()


@pytest.mark.parametrize(
    ("optimizer", "num_classes"), [("sgd", 4), ("adam", 3)], ids=["other model", "other optimizer"]
)
def test_a_checkpoint_that_does_not_fit_is_refused(optimizer, num_classes, tmp_path):
    training = new_training(OPTIMIZERS["sgd"])
    steps(training, 1)
    folder = save(tmp_path, training, 1)
    other = new_training(OPTIMIZERS[optimizer], num_classes=num_classes)
    with pytest.raises(CheckpointError, match=r"must fit the model and optimizer"):
        checkpoint.restore(folder, other)


def test_weights_alone_are_a_valid_checkpoint_without_an_optimizer(tmp_path):
    training = new_training()
    steps(training, 1)
    folder = checkpoint.save_weights(tmp_path, take_snapshot(training), state(1))
    assert checkpoint.read_state(folder) == state(1)
    assert not (folder / checkpoint.OPTIMIZER).exists()


def test_keeping_only_one_removes_its_neighbours(tmp_path):
    snapshot = take_snapshot(new_training())
    folders = [checkpoint.save_weights(tmp_path, snapshot, state(epoch)) for epoch in (1, 2, 3)]
    checkpoint.keep_only(folders[1])
    assert list(tmp_path.iterdir()) == [folders[1]]


def test_metrics_that_are_not_finite_are_not_written(tmp_path):
    bad = CheckpointState(1, "abc", ({"epoch": 1, "val_loss": float("nan")},), {}, {})
    with pytest.raises(ValueError):
        checkpoint.save_for_resume(tmp_path, take_snapshot(new_training()), bad)
    assert checkpoint.newest_valid(tmp_path, "abc") is None


def test_restored_moments_have_the_strides_of_their_parameters(tmp_path):
    # Fused CUDA optimizers refuse moments in another memory layout than the parameter's.
    convolution = torch.nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(convolution.parameters())
    convolution(torch.ones(1, 4, 8, 8)).sum().backward()
    optimizer.step()
    tensors, plain = take_apart(optimizer)
    saved = {name: tensor.contiguous() for name, tensor in tensors.items()}
    fresh = torch.optim.Adam(convolution.parameters())
    put_back(fresh, saved, plain)
    moment = fresh.state[convolution.weight]["exp_avg"]
    assert moment.stride() == convolution.weight.stride()
    assert torch.equal(moment, optimizer.state[convolution.weight]["exp_avg"])
