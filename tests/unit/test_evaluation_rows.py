"""Each row once, or an error that names the rows. No Ray is started."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from orchestrator.config.errors import OrchestratorError
from orchestrator.inference.actors import ActorPlan
from orchestrator.inference.batch_run import (
    Pace,
    Request,
    _keep_wanted,
    _left,
    _refuse_without_gpu,
)
from orchestrator.inference.each_row_once import order_once, probabilities_of
from orchestrator.inference.forward import probabilities
from orchestrator.training.precision import Precision

WANTED = np.array([2, 5, 9, 11])


def test_rows_that_came_in_any_order_are_put_into_that_of_the_request():
    found = np.array([9, 2, 11, 5])
    assert found[order_once(WANTED, found, "faces")].tolist() == WANTED.tolist()


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([2, 5, 9], r"1 missing \(row_id 11\)"),
        ([2, 5, 9, 11, 5], r"1 more than once \(row_id 5\)"),
        ([2, 5, 9, 12], r"1 missing \(row_id 11\), 1 not asked for \(row_id 12\)"),
        ([], r"4 missing \(row_id 2, 5, 9, 11\)"),
    ],
)
def test_a_row_that_did_not_come_once_is_an_error(found, words):
    with pytest.raises(OrchestratorError, match=f"must come exactly once; got {words}"):
        order_once(WANTED, np.array(found, np.int64), "faces")


def test_many_lost_rows_are_not_all_named():
    with pytest.raises(OrchestratorError, match=r"99 missing \(row_id 1, 2, 3, 4, 5, \.\.\.\)"):
        order_once(np.arange(100), np.array([0]), "faces")


def test_of_a_block_the_wanted_rows_are_kept_and_marked():
    table = pa.table({"row_id": np.arange(6), "image": [bytes([n]) for n in range(6)]})
    kept = _keep_wanted(table, WANTED, 1)
    assert kept["row_id"].to_pylist() == [2, 5]
    assert kept["request"].to_pylist() == [1, 1]
    assert _keep_wanted(table, np.array([77]), 0).num_rows == 0


def outputs(request, row_id, first):
    first = np.asarray(first, np.float32)
    return pa.table({"request": request, "row_id": row_id, "p0": first, "p1": 1 - first})


def test_after_a_lost_process_only_what_did_not_come_is_asked_for_again():
    requests = [Request(None, np.array([2, 5, 9])), Request(None, np.array([2, 5]))]
    assert _left(requests, []) == requests
    came = [outputs([0, 1], [5, 2], [0.1, 0.2]), outputs([0], [2], [0.3])]
    assert [left.row_ids.tolist() for left in _left(requests, came)] == [[9], [5]]


def test_rows_of_two_requests_with_equal_numbers_are_told_apart():
    whole = outputs([1, 0, 1, 0], [2, 5, 5, 2], [0.1, 0.2, 0.3, 0.4])
    ids = np.array([2, 5])
    first, second = (probabilities_of(number, ids, whole, "faces") for number in (0, 1))
    assert first[:, 0].tolist() == pytest.approx([0.4, 0.2])
    assert second[:, 0].tolist() == pytest.approx([0.1, 0.3])


def test_outputs_that_are_not_finite_are_refused():
    whole = outputs([0, 0], [2, 5], [0.1, np.nan])
    with pytest.raises(OrchestratorError, match=r"finite; got NaN .* 1 rows of faces, row_id 5"):
        probabilities_of(0, np.array([2, 5]), whole, "faces")


def test_without_a_free_gpu_it_is_refused_at_once(monkeypatch):
    monkeypatch.setattr("ray.available_resources", lambda: {"CPU": 4.0, "GPU": 0.5})
    _refuse_without_gpu(ActorPlan(1, 1, 0.5, 1))
    with pytest.raises(OrchestratorError, match=r"must have 1 GPUs free for each actor; got 0\.5"):
        _refuse_without_gpu(ActorPlan(1, 1, 1.0, 1))


def test_the_pace_counts_the_start_and_then_without_it():
    pace = Pace(num_rows=100, seconds=20.0, first_s=10.0, first_rows=20)
    assert pace.images_per_s == 5
    assert pace.steady_images_per_s == 8
    assert Pace(20, 20.0, 20.0, 20).steady_images_per_s is None


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pixels_go_in_as_rgb_between_0_and_1_and_probabilities_come_out(layout):
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    images = np.zeros((2, 4, 4, 3), np.uint8)
    images[0, :, :, 2] = 255
    found = probabilities(network, images, Precision("fp32", layout), torch.device("cpu"))
    assert found.dtype == np.float32
    expected = np.exp([0, 0, 1]) / np.exp([0, 0, 1]).sum()
    np.testing.assert_allclose(found, [expected, [1 / 3] * 3], rtol=1e-6)
