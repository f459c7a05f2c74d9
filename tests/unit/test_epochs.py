"""The loop alone, with one worker: what it counts, and what it refuses."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from orchestrator.config.errors import TrainingError
from orchestrator.ingest.shard import Shard
from orchestrator.training.augmentation import AugmentationPlan
from orchestrator.training.epochs import Training, _forward, evaluate, train_epoch
from orchestrator.training.loss import Loss
from orchestrator.training.precision import Precision
from orchestrator.training.schedule import Schedule

NUM_ROWS, NUM_CLASSES = 22, 3
OFF = AugmentationPlan(0, 0, 0, 0)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def shard() -> Shard:
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(NUM_ROWS)
    return Shard(
        images=torch.randint(0, 256, (NUM_ROWS, 4, 4, 3), dtype=torch.uint8, generator=generator),
        labels=rows % NUM_CLASSES,
        row_ids=rows.numpy(),
        ranks=rows.numpy(),
        groups=rows // 6,
        num_rows=NUM_ROWS,
        num_groups=4,
    )


def new_training(lr: float = 0.1, batch_size: int = 5, **more) -> Training:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, NUM_CLASSES))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    precision = Precision("fp32", torch.channels_last)
    return Training(
        model, model, optimizer, OFF, precision, torch.device("cpu"), batch_size, seed=0, **more
    )


def test_an_epoch_counts_and_reports_figures_in_their_ranges(shard):
    training = new_training()
    metrics = train_epoch(training, shard, NUM_CLASSES)
    assert training.epoch == 1
    assert metrics.keys() == {"train_loss", "train_accuracy", "train_macro_f1", "images_per_s"}
    assert 0 <= metrics["train_macro_f1"] <= 1
    assert metrics["images_per_s"] > 0


def test_an_evaluation_scores_every_row_once_and_changes_nothing(shard):
    training = new_training()
    before = {key: value.clone() for key, value in training.model.state_dict().items()}
    metrics = evaluate(training, shard, NUM_CLASSES)
    counts = torch.tensor(metrics["val_confusion"])
    assert counts.sum(dim=1).tolist() == torch.bincount(shard.labels).tolist()
    for key, value in training.model.state_dict().items():
        assert torch.equal(value, before[key])
    assert metrics["val_macro_f1_low"] <= metrics["val_macro_f1"] <= metrics["val_macro_f1_high"]


def test_the_validation_loss_is_the_mean_over_rows_in_evaluation_mode(shard):
    training = new_training()
    images = shard.images.permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        logits = training.model.eval()(images)
    expected = functional.cross_entropy(logits.double(), shard.labels).item()
    metrics = evaluate(training, shard, NUM_CLASSES)
    assert metrics["val_loss"] == pytest.approx(expected, rel=1e-6)  # float32 row losses
    assert evaluate(training, shard, NUM_CLASSES) == metrics


def test_a_loss_that_becomes_nan_ends_the_epoch_and_says_where(shard):
    training = new_training(lr=0.25)
    train_epoch(training, shard, NUM_CLASSES)
    hook = poison_from_step(training.model, 3)
    with pytest.raises(TrainingError) as caught:
        train_epoch(training, shard, NUM_CLASSES)
    hook.remove()
    assert "NaN or infinity at step 3 of epoch 2 on worker 0" in str(caught.value)
    assert "learning rate 0.25. Lower optimizer.lr" in str(caught.value)
    assert training.epoch == 1, "an epoch that failed is not finished"


def test_the_learning_rate_that_is_named_is_that_of_the_step(shard):
    training = new_training(lr=0.25, schedule=Schedule("cosine", epochs=2))
    train_epoch(training, shard, NUM_CLASSES)
    hook = poison_from_step(training.model, 1)
    with pytest.raises(TrainingError, match=r"step 1 of epoch 2 .* learning rate 0\.125\. Lower"):
        train_epoch(training, shard, NUM_CLASSES)
    hook.remove()


def test_each_step_has_the_learning_rate_of_the_schedule(shard, monkeypatch):
    training = new_training(lr=0.5, schedule=Schedule("cosine", warmup_epochs=1, epochs=2))
    seen = []
    step = training.optimizer.step
    monkeypatch.setattr(
        training.optimizer,
        "step",
        lambda: (seen.append(training.optimizer.param_groups[0]["lr"]), step()),
    )
    for _ in range(2):
        train_epoch(training, shard, NUM_CLASSES)
    assert seen == [0.5 * training.schedule.factor(number, 5) for number in range(10)]
    assert seen[4] == seen[5] == 0.5


@pytest.mark.parametrize("longest", [0.01, 1e6])
def test_no_step_is_longer_than_the_longest_gradient(shard, longest):
    free, clipped = (
        new_training(lr=1.0, batch_size=NUM_ROWS, gradient_clip=clip) for clip in (0.0, longest)
    )
    before = flat(free.model)
    for training in (free, clipped):
        train_epoch(training, shard, NUM_CLASSES)
    steps = [flat(training.model) - before for training in (free, clipped)]
    length = min(longest, float(steps[0].norm()))
    assert float(steps[1].norm()) == pytest.approx(length, rel=1e-4)  # float32, and torch's 1e-6
    cosine = functional.cosine_similarity(*steps, dim=0)
    assert float(cosine) == pytest.approx(1, abs=1e-4)


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_validation_knows_nothing_of_weights_and_smoothing(shard):
    plain = new_training()
    other = new_training(loss=Loss(0.3, torch.tensor([5.0, 0.1, 0.1])))
    assert evaluate(plain, shard, NUM_CLASSES) == evaluate(other, shard, NUM_CLASSES)
    losses = {
        train_epoch(training, shard, NUM_CLASSES)["train_loss"] for training in (plain, other)
    }
    assert len(losses) == 2


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_batch_whose_rows_all_weigh_nothing_teaches_nothing(shard, smoothing):
    def trained(rows: Shard) -> Training:
        loss = Loss(smoothing, torch.tensor([0.0, 0.0, 1.0]))
        training = new_training(batch_size=1, loss=loss)
        training.model[1].p = 0.0
        metrics = train_epoch(training, rows, NUM_CLASSES)
        assert 0 < metrics["train_loss"] < float("inf")
        return training

    weighed = (shard.labels == 2).nonzero().flatten()
    alone = replace(
        shard,
        images=shard.images[weighed],
        labels=shard.labels[weighed],
        row_ids=shard.row_ids[weighed.numpy()],
        ranks=shard.ranks[: len(weighed)],
        groups=shard.groups[weighed],
        num_rows=len(weighed),
    )
    before, after = flat(new_training().model), flat(trained(shard).model)
    assert not torch.equal(before, after)
    assert torch.allclose(after, flat(trained(alone).model), atol=1e-6)


def poison_from_step(model: nn.Module, step: int):
    calls = iter(range(1, 100))

    def poison(module, inputs, logits):
        return logits * float("nan") if next(calls) >= step else logits

    return model.register_forward_hook(poison)


def test_a_learning_rate_that_is_far_too_high_is_refused_and_not_reported(shard):
    training = new_training(lr=1e38)
    with pytest.raises(TrainingError, match="loss: must be finite"):
        train_epoch(training, shard, NUM_CLASSES)


def test_weights_that_are_not_finite_are_refused_in_evaluation(shard):
    training = new_training()
    with torch.no_grad():
        training.model[2].weight.fill_(float("inf"))
    with pytest.raises(TrainingError, match=r"got nan on validation after epoch 0"):
        evaluate(training, shard, NUM_CLASSES)


def first_loss(shard, *, seed: int = 0, epoch: int = 1) -> float:
    """Of one batch of all rows, whose order has no influence; the weights are always the same."""
    training = new_training(lr=0.0, batch_size=NUM_ROWS)
    training.seed, training.epoch = seed, epoch - 1
    return train_epoch(training, shard, NUM_CLASSES)["train_loss"]


def test_dropout_is_a_function_of_seed_and_epoch_whatever_was_drawn_before(shard):
    loss = first_loss(shard)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        assert first_loss(shard) == loss
    another_order_of_sums = 1e-6
    assert abs(first_loss(shard, epoch=2) - loss) > another_order_of_sums
    assert abs(first_loss(shard, seed=1) - loss) > another_order_of_sums


def test_a_worker_without_a_row_leaves_batch_norm_as_it_was(shard):
    training = new_training()
    norm = nn.BatchNorm2d(3)
    training.replica = nn.Sequential(norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    training.replica.train()
    loss, logits = _forward(training, torch.rand(0, 3, 8, 8), torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert len(logits) == 0
    assert loss.item() == 0.0
    assert torch.equal(norm.running_mean, torch.zeros(3))
    assert torch.equal(norm.running_var, torch.ones(3))
    assert torch.equal(norm.weight.grad, torch.zeros(3)), "it takes part in the exchange"
    assert norm.training
