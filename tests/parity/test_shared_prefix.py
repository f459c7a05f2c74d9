"""The first epochs of a longer training are a shorter training, bit for bit."""

import pytest
from small_training import (
    NUM_CLASSES,
    assert_same_weights,
    experiment,
    new_training,
    rows,
    without_times,
)

from orchestrator.config.experiment import Experiment
from orchestrator.training.epochs import Training, evaluate, train_epoch
from orchestrator.tuning.lineages import lineage_key

SHORT, LONG = 2, 4
KINDS = {
    "sgd": {"optimizer__name": "sgd", "optimizer__lr": 0.01},
    "adam": {"optimizer__lr": 1e-3},
    "timm's lamb": {"optimizer__name": "timm:lamb", "optimizer__lr": 1e-3},
    "warm-up beyond the shorter": {"optimizer__lr": 1e-3, "warmup_epochs": 2.5},
    "early stop": {"optimizer__lr": 1e-3, "early_stop": 1},
}


def train(wanted: Experiment, watch_at: int = 0) -> tuple[Training, list[dict], dict]:
    """Trains all epochs; also returns a copy of the weights after epoch `watch_at`."""
    training, history, weights = new_training(wanted), [], {}
    for epoch in range(1, wanted.epochs + 1):
        metrics = without_times(train_epoch(training, rows(50), NUM_CLASSES))
        history.append(metrics | evaluate(training, rows(20, seed=1), NUM_CLASSES))
        if epoch == watch_at:
            weights = {name: value.clone() for name, value in training.model.state_dict().items()}
    return training, history, weights


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_longer_training_passes_through_the_shorter_one(kind):
    short, long = (
        experiment(model__dropout=0.3, epochs=epochs, **kind) for epochs in (SHORT, LONG)
    )
    assert lineage_key(short, "data") == lineage_key(long, "data")
    alone, history, _ = train(short)
    _, longer, weights = train(long, watch_at=SHORT)
    assert longer[:SHORT] == history
    assert longer[SHORT]["train_loss"] != history[-1]["train_loss"]
    prefix = new_training(short)
    prefix.model.load_state_dict(weights)
    assert_same_weights(prefix, alone)


def test_a_longer_training_with_cosine_does_not_and_is_another_lineage():
    short, long = (
        experiment(optimizer__lr=1e-3, schedule="cosine", epochs=epochs) for epochs in (SHORT, LONG)
    )
    assert lineage_key(short, "data") != lineage_key(long, "data")
    _, history, _ = train(short)
    _, longer, _ = train(long)
    # The first steps of both have the same learning rate but for the fourth digit.
    assert longer[SHORT - 1]["train_loss"] != history[-1]["train_loss"]
