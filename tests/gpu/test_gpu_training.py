"""Training on a GPU: the same draws, pixels, figures and resumes as on a CPU, and no waiting.

Needs a CUDA device and no Ray: `python -m pytest tests/gpu`. Without a device all are skipped.
"""

import os
from dataclasses import replace

# Before CUDA starts: cuBLAS sums in one order only with a workspace of its own.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import confusion_matrix, f1_score
from torch import nn

import models
from orchestrator.config.experiment import Experiment
from orchestrator.config.validate import validate
from orchestrator.ingest.shard import (
    Shard,
    collect_shard,
    device_gib,
    epoch_batches,
    rows_in_order,
)
from orchestrator.training import checkpoint, epochs
from orchestrator.training.augmentation import AugmentationPlan, augment, transforms
from orchestrator.training.build import build_training
from orchestrator.training.epochs import EVALUATION_BATCH, Training, evaluate, train_epoch
from orchestrator.training.phase_clock import CudaTimeline, PhaseClock
from orchestrator.training.precision import choose_precision, has_native_bf16
from orchestrator.training.snapshot import take_snapshot

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
NUM_CLASSES, IMAGE_PX = 3, 32
STUDY = AugmentationPlan(share=0.5, flip=0.5, rotation_deg=20, zoom=0.1)
SMALL = {
    "model.name": "main",
    "model.width": 0.125,
    "batch_size": 12,
    "optimizer.name": "sgd",
    "optimizer.lr": 0.01,
}

RESAMPLING = 5e-5
"""Devices round coordinates differently: a few 2**-24 of up to 16 pixels from the middle, 4e-6, on
random pixels that differ by up to 1 from one to the next in two directions, with room for 5 roundings."""
ONE_ULP = 2.0**-23
"""A GPU multiplies by 1 / 255 where a CPU divides by 255."""
LOSS_TOLERANCE = {"fp32": 1e-4, "tf32": 5e-3, "bf16": 3e-2}
"""Relative, of an epoch's mean loss. Sums in another order: 1e-6 a layer, amplified by 7 steps. tf32
keeps 11 bits of each factor (5e-4), bf16 8 bits (4e-3); errors of 16 layers add up as their root."""
ALLOCATOR = 4 * 2**20
"""Bytes: torch's allocator hands out blocks of up to 1 MiB more than was asked for."""


@pytest.fixture(autouse=True)
def numerics_as_they_were():
    """tf32 and deterministic kernels are switches of the process."""
    matmul = torch.get_float32_matmul_precision()
    cudnn = torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = cudnn
    torch.use_deterministic_algorithms(False)
    torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def deterministic():
    """One result for one input; operations that have no such kernel only warn, of which none is
    met where it matters: pools do not overlap, so each gradient is written once."""
    torch.use_deterministic_algorithms(True, warn_only=True)


def experiment(**values) -> Experiment:
    """Of the small model; double underscores stand for dots."""
    given = {path.replace("__", "."): value for path, value in values.items()}
    return validate(Experiment, ("a test", {**SMALL, **given}))


def table(num_rows: int, seed: int = 0) -> pa.Table:
    """Made-up faces, as a worker's iterator brings them: brighter in the channel of the class."""
    generator = np.random.default_rng(seed)
    labels = np.arange(num_rows) % NUM_CLASSES
    images = generator.integers(0, 156, (num_rows, IMAGE_PX, IMAGE_PX, 3), np.uint8)
    images[np.arange(num_rows), :, :, labels] += 100
    pixels = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(IMAGE_PX * IMAGE_PX * 3), num_rows, [None, pa.py_buffer(images.tobytes())]
    )
    ranks = np.arange(num_rows, dtype=np.int64)
    columns = {"label": labels, "row_id": ranks * 3 + 1, "rank": ranks, "group_index": ranks // 4}
    return pa.table({"image": pixels, **columns})


def rows(num_rows: int, device: torch.device, *, seed: int = 0, budget_gib: float = 1.0) -> Shard:
    return collect_shard(
        [table(num_rows, seed)],
        (IMAGE_PX, IMAGE_PX, 3),
        num_rows=num_rows,
        num_groups=-(-num_rows // 4),
        device=device,
        budget_gib=budget_gib,
    )


def new_training(of: Experiment, device: torch.device) -> Training:
    """The state before the first epoch, as `training/worker.py` makes it."""
    precision = choose_precision(of.precision, device)
    model, _ = models.build(
        of.model.name,
        num_classes=NUM_CLASSES,
        image_size=IMAGE_PX,
        width=of.model.width,
        dropout=of.model.dropout,
        seed=of.seed,
    )
    model = model.to(device).to(memory_format=precision.memory_format)
    return build_training(of, model, precision, device, rows(12, device), NUM_CLASSES)


def test_automatic_precision_is_bf16_where_the_gpu_multiplies_it():
    expected = "bf16" if has_native_bf16(GPU) else "fp32"
    assert choose_precision("auto", GPU).name == expected
    assert choose_precision("auto", GPU).memory_format == torch.channels_last


def test_resident_rows_lie_on_the_gpu_as_bytes_and_take_what_is_stated():
    rows(1, GPU)  # starts CUDA
    before = torch.cuda.memory_allocated(GPU)
    shard = rows(4096, GPU)
    taken = torch.cuda.memory_allocated(GPU) - before
    assert (shard.images.device, shard.images.dtype) == (GPU, torch.uint8)
    assert shard.labels.device == shard.groups.device == GPU
    stated = 4096 * IMAGE_PX * IMAGE_PX * 3
    assert device_gib(shard, GPU) == stated / 2**30
    assert stated <= taken <= stated + ALLOCATOR


def test_rows_beyond_the_budget_stay_in_host_memory_and_make_the_same_batches_bit_for_bit():
    resident, streamed = rows(100, GPU), rows(100, GPU, budget_gib=1e-6)
    assert streamed.images.device == CPU
    assert device_gib(streamed, GPU) == 0.0
    cut = {"batch_size": 12, "seed": 5, "epoch": 2, "device": GPU}
    for one, other in zip(
        epoch_batches(resident, **cut), epoch_batches(streamed, **cut), strict=True
    ):
        assert torch.equal(one.images_BCHW, other.images_BCHW)
        assert torch.equal(one.labels_B, other.labels_B)
        assert one.row_ids.tolist() == other.row_ids.tolist()


def test_batches_sent_ahead_are_whole_however_late_the_gpu_is():
    """The GPU sleeps, so that the host is many batches ahead of it, and memory is used again."""
    resident, streamed = rows(200, GPU), rows(200, GPU, budget_gib=1e-6)
    cut = {"batch_size": 8, "seed": 5, "device": GPU}
    wanted, found = [], []
    for epoch in range(1, 4):
        wanted += [one.images_BCHW for one in epoch_batches(resident, epoch=epoch, **cut)]
        for batch in epoch_batches(streamed, epoch=epoch, **cut):
            torch.cuda._sleep(2_000_000)  # clock cycles: about a millisecond
            found.append(batch.images_BCHW)
    assert len(wanted) == len(found) == 75
    for one, other in zip(wanted, found, strict=True):
        assert torch.equal(one, other)


def test_batches_are_those_of_the_cpu():
    cut = {"batch_size": 12, "seed": 5, "epoch": 2}
    on_gpu = epoch_batches(rows(100, GPU), device=GPU, **cut)
    on_cpu = epoch_batches(rows(100, CPU), device=CPU, **cut)
    for one, other in zip(on_gpu, on_cpu, strict=True):
        assert one.row_ids.tolist() == other.row_ids.tolist()
        assert torch.equal(one.labels_B.cpu(), other.labels_B)
        assert torch.equal(one.groups_B.cpu(), other.groups_B)
        pixels = one.images_BCHW.cpu()
        assert torch.equal((pixels * 255).round(), (other.images_BCHW * 255).round())
        torch.testing.assert_close(pixels, other.images_BCHW, rtol=ONE_ULP, atol=0)


@pytest.mark.parametrize("matmul", ["highest", "high"], ids=["fp32", "tf32"])
def test_augmentation_changes_the_same_rows_into_the_same_pixels_as_on_the_cpu(matmul):
    """With tf32 allowed too: pixels must not depend on the precision of the network."""
    torch.set_float32_matmul_precision(matmul)
    ids = np.arange(64, dtype=np.int64) * 3
    images = torch.rand(64, 3, IMAGE_PX, IMAGE_PX, generator=torch.Generator().manual_seed(0))
    expected = augment(images, ids, STUDY, seed=1, epoch=3)
    found = augment(images.to(GPU), ids, STUDY, seed=1, epoch=3).cpu()
    changed, _ = transforms(ids, STUDY, seed=1, epoch=3)
    same = [torch.equal(before, now) for before, now in zip(images, found, strict=True)]
    assert np.flatnonzero(np.logical_not(same)).tolist() == changed.tolist()
    torch.testing.assert_close(found, expected, rtol=0, atol=RESAMPLING)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_the_optimizer_is_fused(name):
    training = new_training(experiment(optimizer__name=name), GPU)
    assert [group["fused"] for group in training.optimizer.param_groups] == [True]


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_every_convolution_works_in_channels_last(precision):
    training = new_training(experiment(precision=precision), GPU)
    layouts = []
    for layer in training.model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(
                lambda layer, given, out: layouts.append(
                    given[0].is_contiguous(memory_format=torch.channels_last)
                    and out.is_contiguous(memory_format=torch.channels_last)
                )
            )
    train_epoch(training, rows(24, GPU), NUM_CLASSES)
    assert layouts == [True] * (13 * 2)


@pytest.mark.parametrize("budget_gib", [1.0, 1e-6], ids=["resident", "streamed"])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_no_step_of_an_epoch_waits_for_the_gpu(precision, budget_gib, monkeypatch):
    """torch raises where a step would, from the first batch to the sums after the last."""
    training = new_training(experiment(precision=precision), GPU)
    shard = rows(50, GPU, budget_gib=budget_gib)
    train_epoch(training, shard, NUM_CLASSES)  # chooses kernels, makes the optimizer's state

    class Guard(PhaseClock):
        def skip(self) -> None:
            torch.cuda.set_sync_debug_mode("error")
            super().skip()

    summed = epochs._Sums.over_all_workers

    def unguarded(sums):
        assert torch.cuda.get_sync_debug_mode() == 2  # the steps were guarded
        torch.cuda.set_sync_debug_mode("default")
        return summed(sums)

    monkeypatch.setattr(epochs._Sums, "over_all_workers", unguarded)
    guarded = replace(training, clock=Guard(CudaTimeline(GPU)))
    assert np.isfinite(train_epoch(guarded, shard, NUM_CLASSES)["train_loss"])
    assert guarded.epoch == 2


@pytest.mark.parametrize("budget_gib", [1.0, 1e-6], ids=["resident", "streamed"])
def test_no_batch_of_an_evaluation_waits_for_the_gpu(budget_gib, monkeypatch):
    """torch raises where a batch would, from the first to the sums after the last."""
    training = new_training(experiment(), GPU)
    shard = rows(EVALUATION_BATCH * 2 + 5, GPU, budget_gib=budget_gib)
    expected = evaluate(training, shard, NUM_CLASSES)  # chooses kernels
    in_order, summed = epochs.rows_in_order, epochs.sum_over_workers
    guarded = []

    def guard(*about, **how):
        torch.cuda.set_sync_debug_mode("error")
        yield from in_order(*about, **how)

    def unguarded(sums):
        guarded.append(torch.cuda.get_sync_debug_mode())
        torch.cuda.set_sync_debug_mode("default")
        return summed(sums)

    monkeypatch.setattr(epochs, "rows_in_order", guard)
    monkeypatch.setattr(epochs, "sum_over_workers", unguarded)
    assert evaluate(training, shard, NUM_CLASSES)["val_confusion"] == expected["val_confusion"]
    assert guarded[0] == 2  # the batches were guarded


def test_the_phases_of_an_epoch_are_measured_on_the_gpu():
    training = new_training(experiment(), GPU)
    train_epoch(training, rows(50, GPU), NUM_CLASSES)
    seconds = training.clock.read()
    assert list(seconds) == ["ingest", "augment", "forward", "backward", "optimizer"]
    assert min(seconds.values()) > 0


def one_epoch(training: Training) -> dict:
    metrics = train_epoch(training, rows(50, training.device), NUM_CLASSES)
    del metrics["images_per_s"]
    return metrics | evaluate(training, rows(20, training.device, seed=1), NUM_CLASSES)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.filterwarnings("ignore:.*does not have a deterministic implementation")
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_training_resumed_after_each_epoch_equals_one_that_was_not_bit_for_bit(
    name, precision, tmp_path
):
    wanted = experiment(
        precision=precision, optimizer__name=name, optimizer__lr=1e-3, model__dropout=0.3
    )
    whole = new_training(wanted, GPU)
    undisturbed = [one_epoch(whole) for _ in range(3)]
    resumed = []
    for epoch in range(1, 4):
        training = new_training(wanted, GPU)  # nothing survives but the checkpoint
        if (found := checkpoint.newest_valid(tmp_path, "lineage")) is not None:
            checkpoint.restore(found[0], training)
        resumed.append(one_epoch(training))
        state = checkpoint.CheckpointState(epoch, "lineage", tuple(resumed), {}, {})
        checkpoint.save_for_resume(tmp_path, take_snapshot(training), state)
    assert resumed == undisturbed
    mine, others = training.model.state_dict(), whole.model.state_dict()
    assert [key for key in mine if not torch.equal(mine[key], others[key])] == []


@pytest.mark.parametrize("kind", LOSS_TOLERANCE)
def test_losses_equal_those_of_the_cpu_in_fp32_within_the_precision(kind):
    asked = "bf16" if kind == "bf16" else "fp32"
    on_cpu = one_epoch(new_training(experiment(precision="fp32"), CPU))
    training = new_training(experiment(precision=asked), GPU)
    assert torch.backends.cudnn.allow_tf32 or asked == "bf16"  # as the product has it
    torch.backends.cudnn.allow_tf32 = kind != "fp32"
    torch.set_float32_matmul_precision("highest" if kind == "fp32" else "high")
    on_gpu = one_epoch(training)
    for figure in ("train_loss", "val_loss"):
        assert on_gpu[figure] == pytest.approx(on_cpu[figure], rel=LOSS_TOLERANCE[kind])


def test_the_loss_falls_so_the_comparison_is_of_a_training_that_learns():
    training = new_training(experiment(optimizer__name="adam", optimizer__lr=1e-3), GPU)
    shard = rows(50, GPU)
    before = evaluate(training, shard, NUM_CLASSES)["val_loss"]
    for _ in range(5):
        train_epoch(training, shard, NUM_CLASSES)
    assert evaluate(training, shard, NUM_CLASSES)["val_loss"] < 0.9 * before


def test_metrics_are_scikit_learns_over_every_row():
    training = new_training(experiment(), GPU)
    shard = rows(EVALUATION_BATCH + 45, GPU, seed=1)
    train_epoch(training, rows(50, GPU), NUM_CLASSES)
    metrics = evaluate(training, shard, NUM_CLASSES)
    predicted = []
    with torch.inference_mode():
        for batch in rows_in_order(shard, batch_size=EVALUATION_BATCH, device=GPU):
            images = batch.images_BCHW.contiguous(memory_format=torch.channels_last)
            with training.precision.autocast(GPU):
                predicted += training.model(images).float().argmax(dim=1).tolist()
    labels = shard.labels.tolist()
    classes = list(range(NUM_CLASSES))
    assert metrics["val_confusion"] == confusion_matrix(labels, predicted, labels=classes).tolist()
    assert metrics["val_macro_f1"] == pytest.approx(
        f1_score(labels, predicted, labels=classes, average="macro", zero_division=0), abs=1e-12
    )


def test_a_compiled_network_trains_like_one_that_is_not():
    """Kernels are fused there, so sums are in another order."""
    losses = {}
    for compiled in (False, True):
        training = new_training(experiment(precision="bf16", compile=compiled), GPU)
        losses[compiled] = [one_epoch(training)["train_loss"] for _ in range(2)]
        assert set(training.model.state_dict()) == set(
            new_training(experiment(), GPU).model.state_dict()
        )
    assert losses[True] == pytest.approx(losses[False], rel=LOSS_TOLERANCE["bf16"])
