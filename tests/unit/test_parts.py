"""Production is parted by whole groups, and what the run has seen is never held out."""

import numpy as np
import pytest

from orchestrator.config.errors import ConfigError, DatasetError
from orchestrator.ingest.dataset import SplitIndex
from orchestrator.shift.parts import (
    HELD_OUT,
    TRAIN,
    UNUSED,
    VALIDATION,
    Parts,
    part,
    refuse_crossing,
)


def index(groups, splits="test", num_classes=3):
    rows = np.arange(len(groups))
    of_row = np.full(len(groups), splits) if isinstance(splits, str) else np.array(splits)
    return SplitIndex(rows % num_classes, np.array(groups), rows, rows, of_row)


def videos(number, rows=6, name="v"):
    return [f"{name}{video}" for video in range(number) for _ in range(rows)]


OWN = index(videos(3, name="own"), ["train"] * 6 + ["validation"] * 6 + ["test"] * 6)


@pytest.mark.parametrize("seed", range(5))
def test_no_group_lies_in_two_parts_and_each_row_in_one(seed):
    found = part(index(videos(30)), OWN, adapt_share=0.5, seed=seed)
    parts = [set(found.groups[found.rows(name)]) for name in (TRAIN, VALIDATION, HELD_OUT)]
    assert not parts[0] & parts[1]
    assert not parts[2] & (parts[0] | parts[1])
    assert sum(len(found.rows(name)) for name in (TRAIN, VALIDATION, HELD_OUT)) == 180
    assert 0.4 <= len(found.rows(HELD_OUT)) / 180 <= 0.6


def test_classes_are_shared_out_evenly():
    production = index(videos(40))
    found = part(production, OWN, adapt_share=0.5, seed=0)
    shares = [np.bincount(production.labels[found.rows(name)]) for name in (TRAIN, HELD_OUT)]
    assert all(counts.max() - counts.min() <= 2 for counts in shares)


def test_a_group_that_the_run_has_seen_is_never_held_out():
    groups = videos(10) + ["own0"] * 5 + ["own1"] * 5 + ["own2"] * 5
    found = part(index(groups), OWN, adapt_share=0.5, seed=0)
    of_known = [found.of_row[found.groups == f"own{number}"][0] for number in range(3)]
    assert of_known == [TRAIN, VALIDATION, UNUSED]


def test_a_share_of_production_decides_how_much_is_held_out():
    few = part(index(videos(50)), OWN, adapt_share=0.2, seed=0)
    assert len(few.rows(HELD_OUT)) == pytest.approx(0.8 * 300, abs=12)


def test_too_few_groups_are_refused():
    with pytest.raises(DatasetError, match="production: must have groups for a part"):
        part(index(videos(1)), OWN, adapt_share=0.5, seed=0)
    with pytest.raises(DatasetError, match="that is held out"):
        part(index(["own0"] * 9), OWN, adapt_share=0.5, seed=0)


def test_a_group_in_two_parts_is_refused():
    crossing = Parts(np.array([TRAIN, HELD_OUT]), np.array(["a", "a"]))
    with pytest.raises(ConfigError, match="no group may lie in two parts; got 'a'"):
        refuse_crossing(crossing)
