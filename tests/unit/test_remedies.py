"""Which rows each remedy trains on."""

import numpy as np
import pytest

from orchestrator.config.production import REMEDIES
from orchestrator.shift.remedies import CORRECTIONS, WORDS, Material, training_rows

MATERIAL = Material(
    old=np.arange(100),
    new=np.arange(500, 560),
    new_labels=np.arange(60) % 6,
    new_listed=np.arange(1000, 1060),
)


def rows(remedy, **given):
    values = {"classes": (1, 2), "since": 1040, "replay": 1.0, "seed": 0, **given}
    return training_rows(remedy, MATERIAL, **values)


def test_every_remedy_that_can_be_asked_for_is_explained():
    assert set(WORDS) == set(REMEDIES)
    assert set(CORRECTIONS) < set(WORDS)


@pytest.mark.parametrize("remedy", ["old_data", "importance"])
def test_what_needs_no_labels_learns_from_old_rows_only(remedy):
    assert rows(remedy).old.tolist() == list(range(100))
    assert len(rows(remedy).new) == 0


def test_more_data_takes_all_that_there_is():
    for remedy in ("more_data", "balanced"):
        assert (len(rows(remedy).old), len(rows(remedy).new)) == (100, 60)


def test_named_classes_come_with_as_many_old_rows_as_asked_for():
    found = rows("classes", replay=2.0)
    assert set(MATERIAL.new_labels[found.new - 500]) == {1, 2}
    assert (len(found.new), len(found.old)) == (20, 40)
    assert (np.diff(found.old) > 0).all()
    assert rows("classes", replay=2.0).old.tolist() == found.old.tolist()
    assert rows("classes", replay=2.0, seed=1).old.tolist() != found.old.tolist()
    assert len(rows("classes", replay=50.0).old) == 100
    assert len(rows("classes", replay=0.0).old) == 0


def test_since_takes_what_was_listed_from_then_on():
    assert rows("since").new.tolist() == list(range(540, 560))
