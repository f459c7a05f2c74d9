"""Split protocols, with copies of an image parted or kept together."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.ingest.protocols import Rows, has_official, protocols
from orchestrator.ingest.splits import SPLITS

FRACTIONS = (0.6, 0.2, 0.2)


def rows(count, *, copies=None, official=None, groups=None):
    return Rows(
        sources=[f"{number}.png" for number in range(count)],
        labels=np.arange(count) % 3,
        groups=np.array(groups or [f"v{number // 4}" for number in range(count)]),
        official=np.array(official or [""] * count),
        copies=None if copies is None else np.array(copies, dtype=np.int64),
    )


def made(given_rows, **changes):
    return protocols(given_rows, **{"fractions": FRACTIONS, "sizes": None, "seed": 0} | changes)


@st.composite
def rows_with_copies(draw):
    count = draw(st.integers(1, 60))
    ids = draw(st.lists(st.integers(0, count // 2), min_size=count, max_size=count))
    official = draw(st.lists(st.sampled_from(SPLITS), min_size=count, max_size=count))
    groups = draw(st.lists(st.sampled_from("abcdefgh"), min_size=count, max_size=count))
    dense = np.unique(ids, return_inverse=True)[1].tolist()
    return rows(count, copies=dense, official=official, groups=groups)


@given(rows_with_copies())
@settings(deadline=None, max_examples=60)
def test_copies_kept_together_are_on_one_side_of_every_protocol(given_rows):
    for of_row in made(given_rows).values():
        for copy in np.unique(given_rows.copies):
            assert len(set(of_row[given_rows.copies == copy])) == 1


@given(rows_with_copies())
@settings(deadline=None, max_examples=60)
def test_groups_stay_whole_when_copies_tie_them(given_rows):
    # In the release's own split they are whole only if the release kept them so.
    official = np.array([SPLITS[ord(group) % 3] for group in given_rows.groups])
    splits = made(dataclasses.replace(given_rows, official=official))
    for of_row in (splits["group"], splits["official"]):
        for group in np.unique(given_rows.groups):
            assert len(set(of_row[given_rows.groups == group])) == 1


@given(rows_with_copies())
@settings(deadline=None, max_examples=60)
def test_a_releases_held_out_rows_stay_held_out_at_least_as_far(given_rows):
    own = np.array([SPLITS.index(split) for split in given_rows.official])
    assert (made(given_rows)["official"] >= own).all()


def test_an_image_that_is_in_test_too_leaves_the_training_split():
    given_rows = rows(
        4,
        copies=[0, 1, 0, 2],
        official=["train", "train", "test", "validation"],
        groups=["a", "b", "c", "d"],
    )
    assert made(given_rows)["official"].tolist() == [2, 0, 2, 1]


def test_a_video_follows_its_frame_that_is_in_test_too():
    given_rows = rows(
        4,
        copies=[0, 1, 0, 2],
        official=["train", "train", "test", "validation"],
        groups=["a", "a", "c", "d"],
    )
    assert made(given_rows)["official"].tolist() == [2, 2, 2, 1]


def test_the_release_decides_where_copies_may_be_parted():
    given_rows = rows(4, official=["train", "train", "test", "validation"])
    assert made(given_rows)["official"].tolist() == [0, 0, 2, 1]


def test_there_is_no_official_protocol_where_a_row_has_no_split():
    given_rows = rows(4, official=["train", "", "test", "validation"])
    assert set(made(given_rows)) == {"group", "random"}
    assert not has_official(given_rows.official)


def test_exact_sizes_are_met():
    sizes = (7, 2, 3)
    assert np.bincount(made(rows(12), sizes=sizes)["random"]).tolist() == list(sizes)


def test_sizes_that_do_not_add_up_are_refused():
    with pytest.raises(ValueError, match="add up"):
        made(rows(12), sizes=(7, 2, 2))


def test_the_sizes_of_the_study_come_out_with_validation_second():
    # 43,435 rows; its text has train 26,061, test 8,704 and validation 8,670, in this order.
    counts = np.bincount(made(rows(43_435), sizes=(26_061, 8_670, 8_704))["random"])
    assert dict(zip(SPLITS, counts.tolist(), strict=True)) == {
        "train": 26_061,
        "validation": 8_670,
        "test": 8_704,
    }


def test_kept_together_or_not_the_shares_are_those_asked_for():
    copies = [number // 2 for number in range(300)]
    counts = np.bincount(made(rows(300, copies=copies))["random"]).tolist()
    assert all(abs(count - share) <= 4 for count, share in zip(counts, (180, 60, 60), strict=True))


def test_an_empty_set_has_empty_splits():
    assert {name: len(of_row) for name, of_row in made(rows(0)).items()} == {
        "group": 0,
        "random": 0,
    }
