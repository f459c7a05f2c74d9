"""Pixels of a prepared set, read without Ray."""

import hashlib

import numpy as np
import pyarrow.parquet as pq
import pytest
from prepared_set import write_set

from orchestrator.ingest import slices
from orchestrator.ingest.dataset import open_dataset
from orchestrator.ingest.perceptual_hash import perceptual_hashes
from orchestrator.ingest.pixels import all_images, fingerprints, images_of


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    monkeypatch.setattr(slices, "ROW_GROUP_BYTES", 7 * 8 * 8 * 3)  # several groups a file
    return open_dataset(write_set(tmp_path / "faces", rows=60))


@pytest.fixture
def images(dataset):
    tables = (pq.read_table(dataset.root.path(name), columns=["image"]) for name in dataset.files)
    column = [row for table in tables for row in table["image"].to_pylist()]
    return np.stack([np.frombuffer(row, np.uint8).reshape(8, 8, 3) for row in column])


def test_all_images_come_in_order_a_row_group_at_a_time(dataset, images):
    groups = list(all_images(dataset))
    assert max(map(len, groups)) == 7
    assert np.array_equal(np.concatenate(groups), images)


@pytest.mark.parametrize("rows", [[0], [59, 0, 31], [24, 25, 6, 7, 6], list(range(60)), []])
def test_chosen_rows_come_in_the_order_asked_for(dataset, images, rows):
    assert np.array_equal(images_of(dataset, rows), images[rows])


def test_fingerprints_are_those_of_the_pixels(dataset, images):
    found = fingerprints(dataset)
    assert found.digests.tolist() == [hashlib.sha256(image).digest() for image in images]
    assert np.array_equal(found.looks, perceptual_hashes(images))
