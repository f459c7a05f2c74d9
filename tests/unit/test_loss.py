"""Weighted and smoothed losses are torch's, and weights are what their formula says."""

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.ingest.shard import Shard, epoch_batches
from orchestrator.training.loss import (
    BETA,
    Loss,
    class_counts,
    class_weights,
    importance_weights,
)

CPU = torch.device("cpu")
COUNTS = np.array([10, 500, 20_000])


def shard(labels: torch.Tensor) -> Shard:
    rows = torch.arange(len(labels))
    images = torch.zeros((len(labels), 1, 1, 3), dtype=torch.uint8)
    return Shard(images, labels, rows.numpy(), rows.numpy(), rows, len(labels), len(labels))


@pytest.mark.parametrize("kind", ["balanced", "effective"])
@pytest.mark.parametrize("counts", [COUNTS, COUNTS[:1], np.array([3, 0, 9]), np.array([1, 1])])
def test_the_mean_weight_over_all_rows_is_one(kind, counts):
    weights = class_weights(kind, counts)
    assert (counts * weights).sum() == pytest.approx(counts.sum(), rel=1e-12)
    assert ((weights > 0) == (counts > 0)).all()


def test_balanced_gives_each_class_the_same_sum_of_weights():
    assert (COUNTS * class_weights("balanced", COUNTS)).tolist() == pytest.approx(
        [COUNTS.sum() / 3] * 3
    )


def test_effective_weights_go_as_one_over_the_effective_number_of_rows():
    weights = class_weights("effective", COUNTS)
    effective = [sum(BETA**k for k in range(n)) for n in COUNTS]  # the series that E sums up
    assert weights[0] / weights[1] == pytest.approx(effective[1] / effective[0])
    assert weights[1] / weights[2] == pytest.approx(effective[2] / effective[1])


def test_equal_classes_all_weigh_one_exactly_enough():
    for kind in ("balanced", "effective"):
        assert class_weights(kind, np.array([7, 7, 7])) == pytest.approx(np.ones(3))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 4.0]])
def test_the_sum_over_the_weights_of_a_batch_is_torchs_mean(smoothing, weights):
    weights_K = None if weights is None else torch.tensor(weights)
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn((9, 3), generator=generator), torch.arange(9) % 3
    ours = Loss(smoothing, weights_K)
    (weight_sum,) = ours.weight_sums(shard(labels), batch_size=9, seed=0, epoch=1)
    expected = nn.CrossEntropyLoss(weight=weights_K, label_smoothing=smoothing)(logits, labels)
    assert ours.sum_of_rows(logits, labels).item() / weight_sum == pytest.approx(
        expected.item(),
        rel=1e-6,  # float32
    )


def test_weight_sums_are_those_of_the_rows_in_each_batch_the_last_partial_one_included():
    labels = torch.tensor([0, 1, 2] * 4 + [2] * 11)
    weights_K = torch.tensor([0.5, 1.0, 4.0])
    rows = shard(labels)
    batches = epoch_batches(rows, batch_size=5, seed=3, epoch=2, device=CPU)
    expected = [weights_K[batch.labels_B].sum().item() for batch in batches]
    sums = Loss(class_weights_K=weights_K).weight_sums(rows, batch_size=5, seed=3, epoch=2)
    assert sums == pytest.approx(expected)
    assert len(sums) == 5


def test_without_weights_they_are_the_sizes_of_the_batches():
    assert Loss(0.1).weight_sums(shard(torch.zeros(12).long()), batch_size=5, seed=0, epoch=1) == (
        5.0,
        5.0,
        2.0,
    )


def test_rows_are_counted_by_class_absent_ones_too():
    assert class_counts(shard(torch.tensor([2, 0, 2])), 4).tolist() == [1, 0, 2, 0]


def test_importance_weights_make_the_classes_count_as_in_the_target():
    counts = np.array([60, 30, 10])
    weights = importance_weights([0.2, 0.3, 0.5], counts)
    assert counts * weights / counts.sum() == pytest.approx([0.2, 0.3, 0.5])
    assert importance_weights([0.5, 0.5, 0.0], np.array([4, 0, 4])).tolist() == [1.0, 0.0, 0.0]
