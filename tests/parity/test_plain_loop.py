"""Our epoch equals a loop in plain PyTorch over the same rows in the same order, bit for bit."""

import pytest
import torch
from small_training import (
    NUM_CLASSES,
    UNCHANGED,
    assert_same_weights,
    experiment,
    new_training,
    rows,
)
from torch.nn import functional

from orchestrator.ingest.order import epoch_order
from orchestrator.training.epochs import evaluate, train_epoch

NUM_ROWS = 77  # six batches of twelve and one of five
EPOCHS = 2
OPTIMIZERS = [{"optimizer__name": "sgd", "optimizer__lr": 0.05}, {"optimizer__lr": 1e-3}]


def plain_epoch(model, optimizer, shard, batch_size: int, seed: int, epoch: int) -> float:
    """What anybody would write; returns the mean loss over the rows."""
    order, _ = epoch_order(shard.row_ids, shard.ranks, seed=seed, epoch=epoch)
    images = shard.images.permute(0, 3, 1, 2).float() / 255
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


def test_the_loss_falls_so_the_comparison_is_of_a_training_that_learns():
    training = new_training(experiment(**UNCHANGED, optimizer__lr=1e-3))
    shard = rows(NUM_ROWS)
    before = evaluate(training, shard, NUM_CLASSES)["val_loss"]
    for _ in range(4):
        train_epoch(training, shard, NUM_CLASSES)
    assert evaluate(training, shard, NUM_CLASSES)["val_loss"] < 0.9 * before
