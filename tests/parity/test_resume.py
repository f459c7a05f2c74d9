"""A training that is interrupted after any epoch and resumed equals one that was not."""

import pytest
from small_training import (
    CLIP,
    EVERY_OPTION,
    NUM_CLASSES,
    assert_same_weights,
    experiment,
    new_training,
    rows,
    skewed,
    without_times,
)

from orchestrator.training import checkpoint
from orchestrator.training.epochs import Training, evaluate, train_epoch
from orchestrator.training.snapshot import take_snapshot

EPOCHS = 3
OPTIMIZERS = {
    "sgd with momentum": {"optimizer__name": "sgd", "optimizer__lr": 0.01},
    "adam": {"optimizer__lr": 1e-3},
    "adamw": {"optimizer__name": "adamw", "optimizer__lr": 1e-3},
    "rmsprop": {"optimizer__name": "rmsprop", "optimizer__lr": 1e-4, "optimizer__momentum": 0.5},
    "lamb": {"optimizer__name": "timm:lamb", "optimizer__lr": 1e-3},
    "adam and every option": {"optimizer__lr": 1e-3, **EVERY_OPTION, **CLIP},
}


def one_epoch(training: Training) -> dict:
    metrics = without_times(train_epoch(training, skewed(rows(50)), NUM_CLASSES))
    return metrics | evaluate(training, rows(20, seed=1), NUM_CLASSES)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_with_dropout_and_augmentation_every_metric_and_weight_is_the_same(optimizer, tmp_path):
    wanted = experiment(model__dropout=0.3, epochs=EPOCHS, **optimizer)
    whole = new_training(wanted, skewed(rows(50)))
    undisturbed = [one_epoch(whole) for _ in range(EPOCHS)]
    resumed = []
    for epoch in range(1, EPOCHS + 1):
        training = new_training(wanted, skewed(rows(50)))  # nothing survives but the checkpoint
        found = checkpoint.newest_valid(tmp_path, "lineage")
        if found is not None:
            checkpoint.restore(found[0], training)
        resumed.append(one_epoch(training))
        assert training.epoch == epoch
        state = checkpoint.CheckpointState(epoch, "lineage", tuple(resumed), {}, {})
        checkpoint.save_for_resume(tmp_path, take_snapshot(training), state)
    assert resumed == undisturbed
    assert_same_weights(training, whole)
    assert checkpoint.newest_valid(tmp_path, "lineage")[1].history == tuple(undisturbed)


def test_the_optimizers_moments_are_part_of_it(tmp_path):
    """Without them the third epoch differs: so the test above has something to lose."""
    wanted = experiment(optimizer__name="sgd", optimizer__lr=0.01)
    whole, forgetful = new_training(wanted), new_training(wanted)
    one_epoch(whole)
    forgetful.model.load_state_dict(whole.model.state_dict())
    forgetful.epoch = 1
    assert one_epoch(whole)["train_loss"] != one_epoch(forgetful)["train_loss"]
