"""What is trained by default today is what the first version trained.

The figures were recorded before schedules, weighted losses and the like were there, on another
processor than yours: the tests beside this one compare bits on one.
"""

import pytest
from small_training import NUM_CLASSES, experiment, new_training, rows

from orchestrator.training.epochs import evaluate, train_epoch

OTHER_PROCESSOR = 3e-4
"""Processors add in other orders: roundings of 6e-8 that fifteen steps pass on. A learning rate
that is wrong by a tenth moves the last losses by ten times as much and more."""
RECORDED = {
    "default": ({}, [(1.00643181, 0.89372149), (0.86270598, 0.80254507), (0.76736417, 0.69538007)]),
    "sgd": (
        {"optimizer__name": "sgd", "optimizer__lr": 0.01},
        [(0.99906644, 0.81508379), (0.77787201, 0.66659679), (0.61761207, 0.42657499)],
    ),
    "adamw": (
        {"optimizer__name": "adamw", "optimizer__lr": 1e-3},
        [(0.94255756, 0.71941500), (0.54900554, 0.28012269)],
    ),
}
"""Values, and (training loss, validation loss) of each epoch."""


@pytest.mark.parametrize(("values", "losses"), RECORDED.values(), ids=RECORDED)
def test_the_losses_are_those_that_were_recorded(values, losses):
    training = new_training(experiment(**values))
    for recorded in losses:
        train_loss = train_epoch(training, rows(50), NUM_CLASSES)["train_loss"]
        val_loss = evaluate(training, rows(20, seed=1), NUM_CLASSES)["val_loss"]
        assert (train_loss, val_loss) == pytest.approx(recorded, rel=OTHER_PROCESSOR)
