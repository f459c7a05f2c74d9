"""Penultimate features beside the outputs, and several models on the same rows."""

import numpy as np
import pyarrow as pa
import pytest
import torch

import models
from orchestrator.inference.each_row_once import features_of, probabilities_of
from orchestrator.inference.forward import probabilities
from orchestrator.inference.predictor import FEATURES, _penultimate
from orchestrator.inference.projection import Projection
from orchestrator.inference.side_by_side import SideBySide
from orchestrator.training.precision import choose_precision

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)


def small(name="main", seed=0):
    network, _ = models.build(name, num_classes=3, image_size=32, width=0.125, seed=seed)
    return network.eval()


def predicted(network):
    return probabilities(network, IMAGES, choose_precision("fp32", CPU), CPU)


@pytest.mark.parametrize("name", ["main", "baseline"])
def test_features_are_those_that_the_classifier_is_fed_with(name):
    network = small(name)
    with _penultimate(network, wanted=True) as seen:
        found = predicted(network)
    images = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float().div(255)
    with torch.no_grad():
        expected = network.features(images)
    torch.testing.assert_close(seen[0], expected)
    np.testing.assert_array_equal(found, predicted(network))  # the hook is gone and did no harm
    assert len(seen) == 1


def test_a_projection_is_the_same_everywhere_and_keeps_distances():
    features = torch.randn((40, 4096), generator=torch.Generator().manual_seed(0))
    kept = Projection(256, seed=3).of(features)
    assert kept.shape == (40, 256)
    np.testing.assert_array_equal(kept, Projection(256, seed=3).of(features))
    assert np.abs(kept - Projection(256, seed=4).of(features)).max() > 1
    ratio = np.linalg.norm(kept[0] - kept[1:], axis=1)
    ratio /= (features[0] - features[1:]).norm(dim=1).numpy()
    assert np.abs(ratio - 1).max() < 0.25  # 4 standard deviations of 1 / sqrt(2 * 256)


def test_narrow_features_stay_as_they_are():
    features = torch.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(Projection(256, 0).of(features), features.numpy())


def test_features_come_in_the_order_of_the_rows_asked_for():
    rows = np.array([7, 3, 5])
    values = pa.array(np.repeat(rows, 2).astype(np.float32))
    table = pa.table(
        {
            "request": np.zeros(3, np.int64),
            "row_id": rows,
            "p0": (rows / 10).astype(np.float32),
            FEATURES: pa.FixedSizeListArray.from_arrays(values, 2),
        }
    )
    whole = pa.concat_tables([table.slice(1), table.slice(0, 1)])
    found = features_of(0, np.array([3, 5, 7]), whole, "faces")
    assert found.tolist() == [[3, 3], [5, 5], [7, 7]]
    outputs = probabilities_of(0, np.array([3, 5, 7]), whole, "faces")
    assert outputs[:, 0] == pytest.approx([0.3, 0.5, 0.7])


def test_models_side_by_side_say_what_each_says_alone():
    several = [small(seed=seed) for seed in (0, 1)]
    together = predicted(SideBySide(several).eval()).reshape(5, 2, 3)
    for place, network in enumerate(several):
        np.testing.assert_allclose(together[:, place], predicted(network), rtol=1e-6)
