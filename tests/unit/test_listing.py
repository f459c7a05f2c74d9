"""The listing: what each row is before a pixel is read, and how rows come together in slices."""

import dataclasses
import itertools

import pytest

import datasets
from datasets import Face, SourceError
from orchestrator.config.errors import ConfigError
from orchestrator.ingest import listing
from orchestrator.ingest.listing import BAD, KEPT, LEFT_OUT, Recipe


class Adapter:
    """Stands for an adapter: lists what a test gives it."""

    def __init__(self, faces, facts=None):
        self.rows, self.facts = faces, facts

    def faces(self, source, options):
        return iter(self.rows)

    def provenance(self, source, options):
        return self.facts


@pytest.fixture
def adapter(monkeypatch):
    def install(faces, facts=None):
        made = Adapter(faces, facts or {})
        monkeypatch.setattr(datasets, "adapter", lambda name: made)
        return made

    return install


def recipe(tmp_path, **changes):
    made = Recipe(
        adapter="any",
        source=tmp_path,
        options=None,
        classes=("anger", "fear"),
        drop=("neutral",),
        every=1,
        image_px=96,
        max_pixels=1000,
    )
    return dataclasses.replace(made, **changes)


def frames(*numbers, group="v"):
    return [Face(f"{group}/{n}.jpg", "anger", group=group, frame=n) for n in numbers]


@pytest.mark.parametrize(
    ("face", "kind", "reason"),
    [
        (Face("a", "anger"), KEPT, ""),
        (Face("a", "neutral"), LEFT_OUT, "label neutral is left out"),
        (Face("a", "", left_out="no picture of this frame"), LEFT_OUT, "no picture of this frame"),
        (Face("a", "anger", left_out="disregard"), LEFT_OUT, "disregard"),
        (Face("a", "neutral", problem="file missing"), BAD, "file missing"),
        (Face("a", "", problem="broken", left_out="disregard"), BAD, "broken"),
    ],
)
def test_a_row_is_kept_bad_or_left_out_and_says_why(tmp_path, face, kind, reason):
    assert recipe(tmp_path).kind(face) == kind
    assert recipe(tmp_path).reason(face) == reason


def test_labels_of_rows_that_cannot_be_kept_need_no_class(tmp_path, adapter):
    adapter([*frames(1), Face("x", "awe", problem="broken"), Face("y", "joy", left_out="-1")])
    census = listing.census(recipe(tmp_path))
    assert census.rows == 3
    assert census.labels == {"anger": 1}


def test_every_takes_the_first_frame_and_each_nth_after_it(tmp_path, adapter):
    adapter([*frames(1, 2, 3, 4, 5, 6, 7, group="v"), *frames(2, 4, 6, group="w")])
    census = listing.census(recipe(tmp_path, every=3))
    taken = itertools.chain(
        *(piece.faces for piece in listing.slices(recipe(tmp_path, every=3), 512))
    )
    assert [face.source for face in taken] == ["v/1.jpg", "v/4.jpg", "v/7.jpg", "w/4.jpg"]
    assert census.rows == 4


def test_rows_without_a_frame_number_are_all_taken_and_the_others_counted(tmp_path, adapter):
    adapter([Face("a", "anger"), Face("b", "fear"), *frames(2)])
    census = listing.census(recipe(tmp_path, every=5))
    assert (census.rows, census.passed_over) == (2, 1)


def test_every_is_refused_where_no_row_has_a_frame_number(tmp_path, adapter):
    adapter([Face("a", "anger"), Face("b", "fear")])
    with pytest.raises(ConfigError, match=r"^every: only rows with frame numbers"):
        listing.census(recipe(tmp_path, every=5))


def test_a_slice_stays_small_however_many_rows_are_bad(tmp_path, adapter):
    adapter([Face(f"{n}", "", problem="file missing") for n in range(50)])
    assert [len(piece.faces) for piece in listing.slices(recipe(tmp_path), rows=2)] == [
        16,
        16,
        16,
        2,
    ]


def test_what_decides_a_row_changes_the_digest(tmp_path, adapter):
    def digest(**changes):
        adapter([dataclasses.replace(Face("a", "anger"), **changes), Face("b", "fear")])
        return listing.census(recipe(tmp_path)).digest

    changes = [{}, {"label": "fear"}, {"group": "v"}, {"frame": 3}, {"split": "train"}]
    changes += [{"problem": "p"}, {"left_out": "p"}, {"payload": b"1"}]
    assert len({digest(**change) for change in changes}) == len(changes)


def test_facts_of_the_release_come_with_the_census(tmp_path, adapter):
    adapter(frames(1), {"release": "ABAW3", "files": 318})
    assert listing.census(recipe(tmp_path)).provenance == {"release": "ABAW3", "files": 318}


def test_a_source_that_goes_bad_while_it_is_asked_is_an_error_of_the_source(tmp_path, adapter):
    made = adapter(frames(1))

    def gone(source, options):
        raise SourceError("source: must be there; got 'x'.")

    made.provenance = gone
    with pytest.raises(ConfigError, match="source: must be there"):
        listing.census(recipe(tmp_path))


def test_slices_hold_all_rows_in_order_and_so_many_to_keep(tmp_path, adapter):
    rows = [*frames(1, 2), Face("x", "neutral"), *frames(3, 4, 5), Face("y", "neutral")]
    adapter(rows)
    pieces = list(listing.slices(recipe(tmp_path), rows=2))
    assert [face for piece in pieces for face in piece.faces] == rows
    assert [piece.index for piece in pieces] == [0, 1, 2]
    assert [piece.start for piece in pieces] == [0, 2, 5]
    assert len({piece.key for piece in pieces}) == 3


def test_the_last_slice_has_the_digest_of_the_census_while_the_source_stays_as_it_was(
    tmp_path, adapter
):
    adapter([*frames(1, 2, 3, 4, 5), Face("x", "neutral")])
    census = listing.census(recipe(tmp_path, every=2))
    *others, last = listing.slices(recipe(tmp_path, every=2), rows=2)
    assert last.digest == census.digest
    assert all(piece.digest != census.digest for piece in others)
    adapter([*frames(1, 2, 3, 4, 5), Face("y", "neutral")])
    *_, last = listing.slices(recipe(tmp_path, every=2), rows=2)
    assert last.digest != census.digest
