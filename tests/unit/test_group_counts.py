"""Counts of each validation group survive the record, stay small, and are never trusted."""

import base64
import json
import zlib

import numpy as np
import pytest

from orchestrator.config.errors import LedgerError
from orchestrator.training.group_counts import MAX_CLUSTERS, decode, encode, keep, kept


def counts(num_groups: int, num_classes: int = 6) -> np.ndarray:
    generator = np.random.default_rng(num_groups)
    return generator.integers(0, 40, (num_groups, num_classes, num_classes))


@pytest.mark.parametrize("num_groups", [1, 70, MAX_CLUSTERS])
def test_counts_come_back_as_they_were(num_groups):
    encoded = json.loads(json.dumps(encode(counts(num_groups))))
    assert np.array_equal(decode(encoded), counts(num_groups))


def test_many_groups_become_sets_of_groups_that_hold_the_same_rows():
    many = counts(9000)
    clusters = decode(encode(many))
    assert len(clusters) == MAX_CLUSTERS
    assert np.array_equal(clusters.sum(axis=0), many.sum(axis=0))
    assert encode(many) == encode(many), "the same sets each time"


def test_a_trial_takes_a_few_kilobytes_however_large_the_validation_set():
    one_row_each = np.zeros((8670, 6, 6), dtype=np.int64)
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 6, 8670)
    one_row_each[np.arange(8670), labels, generator.integers(0, 6, 8670)] = 1
    assert len(json.dumps(encode(one_row_each))) < 10_000


@pytest.mark.parametrize(
    "change",
    [
        {"clusters": 10**9},
        {"clusters": 3},
        {"classes": 0},
        {"counts": "no base64"},
        {"counts": base64.b64encode(b"no zlib").decode()},
        {"counts": base64.b64encode(zlib.compress(b"\0" * 10**6)).decode(), "clusters": 4},
        {"counts": None},
    ],
)
def test_what_was_changed_is_refused(change):
    with pytest.raises(LedgerError, match="val_groups: must hold counts"):
        decode({**encode(counts(2)), **change})


def test_what_is_kept_of_an_epoch_is_found_again_and_nothing_else(tmp_path):
    keep(tmp_path, 3, encode(counts(2)))
    assert kept(tmp_path, 3) == encode(counts(2))
    assert kept(tmp_path, 4) is None
    (tmp_path / "validation" / "epoch-0004.json").write_text("{")
    assert kept(tmp_path, 4) is None
