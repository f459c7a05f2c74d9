"""Our epoch equals a loop in plain PyTorch over the same rows in the same order, bit for bit."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_class_weight
from small_training import (
    CLIP,
    CPU,
    EVERY_OPTION,
    NUM_CLASSES,
    UNCHANGED,
    assert_same_weights,
    experiment,
    new_training,
    rows,
    skewed,
)
from torch import nn
from torch.nn import functional

from orchestrator.ingest.order import epoch_order
from orchestrator.training.epochs import evaluate, train_epoch
from orchestrator.training.precision import choose_precision

NUM_ROWS = 77  # six batches of twelve and one of five
EPOCHS = 2
OPTIMIZERS = [{"optimizer__name": "sgd", "optimizer__lr": 0.05}, {"optimizer__lr": 1e-3}]


SUMMATION = 1e-5
"""Sums of float32 in another order."""
PASSED_ON = 1e-4
"""torch divides by the weights of a batch at the end, we multiply by one over them: roundings of 6e-8, which
fourteen steps pass on."""
CALM = {"optimizer__name": "sgd", "optimizer__lr": 0.01}
"""Five times that, and on some processors the steps pass on 4e-2."""


def images_of(shard) -> torch.Tensor:
    """In the layout that this processor is given: another one is summed in another order."""
    images = shard.images.permute(0, 3, 1, 2).float() / 255
    return images.contiguous(memory_format=choose_precision("fp32", CPU).memory_format)


def plain_epoch(model, optimizer, shard, batch_size: int, seed: int, epoch: int) -> float:
    """What anybody would write; returns the mean loss over the rows."""
    order, _ = epoch_order(shard.row_ids, shard.ranks, seed=seed, epoch=epoch)
    images = images_of(shard)
    model.train()
    total = 0.0
    for start in range(0, len(order), batch_size):
        batch = torch.from_numpy(order[start : start + batch_size])
        logits = model(images[batch])
        loss = functional.cross_entropy(logits, shard.labels[batch], reduction="sum")
        optimizer.zero_grad()
        (loss / len(batch)).backward()
        optimizer.step()
        total += loss.item()
    return total / len(order)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["sgd", "adam"])
def test_losses_and_final_weights_equal_a_plain_loop_bit_for_bit(optimizer):
    wanted = experiment(**UNCHANGED, **optimizer)
    ours, plain = new_training(wanted), new_training(wanted)
    shard = rows(NUM_ROWS)
    for epoch in range(1, EPOCHS + 1):
        loss = train_epoch(ours, shard, NUM_CLASSES)["train_loss"]
        assert loss == plain_epoch(
            plain.model, plain.optimizer, shard, wanted.batch_size, wanted.seed, epoch
        )
    assert_same_weights(ours, plain)
    held_out = rows(60)
    found = evaluate(ours, held_out, NUM_CLASSES)
    loss, macro_f1 = plain_figures(plain.model, held_out)
    assert found["val_loss"] == pytest.approx(loss, rel=SUMMATION)
    assert found["val_macro_f1"] == pytest.approx(macro_f1, abs=1e-12)
    assert macro_f1 > 0


@torch.no_grad()
def plain_figures(model, shard) -> tuple[float, float]:
    """Mean loss and macro-F1 as scikit-learn has it."""
    model.eval()
    logits = model(images_of(shard))
    labels = list(range(NUM_CLASSES))
    macro_f1 = f1_score(
        shard.labels, logits.argmax(1), labels=labels, average="macro", zero_division=0
    )
    return functional.cross_entropy(logits, shard.labels).item(), float(macro_f1)


@pytest.mark.parametrize("clip", [{}, CLIP], ids=["free", "clipped"])
def test_every_option_equals_a_plain_loop_of_torchs_own_parts(clip):
    wanted = experiment(**UNCHANGED, **CALM, epochs=EPOCHS, **EVERY_OPTION, **clip)
    shard = skewed(rows(NUM_ROWS))
    ours, plain = new_training(wanted, shard), new_training(wanted, shard)
    losses = [train_epoch(ours, shard, NUM_CLASSES)["train_loss"] for _ in range(EPOCHS)]
    assert losses == pytest.approx(plain_losses(plain.model, shard, wanted), rel=SUMMATION)
    for mine, other in zip(ours.model.parameters(), plain.model.parameters(), strict=True):
        assert (mine - other).abs().max() <= PASSED_ON * other.abs().max()


def plain_losses(model, shard, wanted) -> list[float]:
    """Of each epoch, as the torch documentation would have it."""
    steps = -(-NUM_ROWS // wanted.batch_size)
    warmup = wanted.warmup_epochs * steps

    def factor(step: int) -> float:
        if step + 1 < warmup:
            return (step + 1) / warmup
        done = max(0, step - warmup) / (EPOCHS * steps - warmup)
        return 0.5 * (1 + math.cos(math.pi * done))

    labels = shard.labels.numpy()
    by_class = compute_class_weight("balanced", classes=np.arange(NUM_CLASSES), y=labels)
    weight = torch.from_numpy(by_class).float()
    criterion = nn.CrossEntropyLoss(weight, label_smoothing=wanted.label_smoothing)
    frozen = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)][
        : wanted.model.freeze
    ]
    trained = {*model.parameters()} - {p for layer in frozen for p in layer.parameters()}
    trained = [parameter for parameter in model.parameters() if parameter in trained]
    # Not Adam: it divides gradients by their size, and so a rounding of almost nothing by nothing.
    optimizer = torch.optim.SGD(trained, lr=wanted.optimizer.lr, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    images = images_of(shard)
    losses = []
    for epoch in range(1, EPOCHS + 1):
        order, _ = epoch_order(shard.row_ids, shard.ranks, seed=wanted.seed, epoch=epoch)
        total = 0.0
        for batch in torch.from_numpy(order).split(wanted.batch_size):
            optimizer.zero_grad()
            loss = criterion(model(images[batch]), shard.labels[batch])
            loss.backward()
            nn.utils.clip_grad_norm_(trained, wanted.gradient_clip or math.inf)
            optimizer.step()
            scheduler.step()
            total += loss.item() * float(weight[shard.labels[batch]].sum())
        losses.append(total / float(weight[shard.labels].sum()))
    return losses


def test_the_loss_falls_so_the_comparison_is_of_a_training_that_learns():
    training = new_training(experiment(**UNCHANGED, optimizer__lr=1e-3))
    shard = rows(NUM_ROWS)
    before = evaluate(training, shard, NUM_CLASSES)["val_loss"]
    for _ in range(4):
        train_epoch(training, shard, NUM_CLASSES)
    assert evaluate(training, shard, NUM_CLASSES)["val_loss"] < 0.9 * before


@pytest.mark.parametrize("option", {**EVERY_OPTION, **CLIP})
def test_each_option_has_an_effect_so_the_comparison_is_of_all_of_them(option):
    shard = skewed(rows(36))
    found = []
    every = {**EVERY_OPTION, **CLIP}
    for options in (every, {name: value for name, value in every.items() if name != option}):
        training = new_training(experiment(**UNCHANGED, **OPTIMIZERS[0], **options), shard)
        found.append([train_epoch(training, shard, NUM_CLASSES)["train_loss"] for _ in range(2)])
    assert found[0] != pytest.approx(found[1], rel=SUMMATION)
