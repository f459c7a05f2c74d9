"""Two prepared sets become one that is a prepared set like any other."""

import hashlib

import numpy as np
import pytest
from prepared_set import rewrite_manifest, write_set

from orchestrator.ingest.dataset import open_dataset, read_split_index
from orchestrator.ingest.merging import gather_pixels, without_rows, write_merged
from orchestrator.ingest.pixels import all_images, images_of

NEW_ROWS = np.array([1, 2, 3, 30, 31, 88])


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    new = write_set(root / "new", rows=90, change=lambda images: np.subtract(255, images, images))
    return open_dataset(write_set(root / "old")), open_dataset(new)


@pytest.fixture
def pixels(sets, tmp_path):
    old, new = sets
    # The new set's classes stand in another order in the old one.
    return gather_pixels(old, new, NEW_ROWS, (2, 0, 1), tmp_path / "pixels")


def splits():
    return np.array(["train"] * 40 + ["validation"] * 10 + ["test"] * 10 + ["train"] * 6)


def test_a_merged_set_has_the_pixels_labels_and_groups_of_both(sets, pixels, tmp_path):
    old, new = sets
    merged = write_merged(pixels, splits(), "group", name="m", settings={}, out=tmp_path / "m")
    assert merged.num_rows == 66
    images = np.concatenate(list(all_images(merged)))
    np.testing.assert_array_equal(images[:60], np.concatenate(list(all_images(old))))
    np.testing.assert_array_equal(images[60:], images_of(new, NEW_ROWS.tolist()))
    index = read_split_index(merged, "group")
    assert index.labels[60:].tolist() == [(2, 0, 1)[row % 3] for row in NEW_ROWS]
    assert index.groups[60:].tolist() == [f"video{row // 6:03d}" for row in NEW_ROWS]
    assert index.splits.tolist() == splits().tolist()
    assert merged.manifest["source"]["provenance"]["new_rows"] == 6
    assert merged.manifest["audit"]["leaks"]["group"]["held_out_rows"] == 20


def test_rows_that_were_not_asked_for_are_nowhere_in_it(sets, pixels, tmp_path):
    _, new = sets
    merged = write_merged(pixels, splits(), "group", name="m", settings={}, out=tmp_path / "m")
    inside = {hashlib.sha256(image).digest() for part in all_images(merged) for image in part}
    others = np.setdiff1d(np.arange(new.num_rows), NEW_ROWS)
    outside = {hashlib.sha256(image).digest() for image in images_of(new, others.tolist())}
    assert not inside & outside


def test_other_splits_are_another_set_of_the_same_files(sets, pixels, tmp_path):
    other = splits()
    other[0] = "test"
    first = write_merged(pixels, splits(), "group", name="a", settings={}, out=tmp_path / "a")
    second = write_merged(pixels, other, "group", name="b", settings={}, out=tmp_path / "b")
    assert first.fingerprint != second.fingerprint
    assert first.files == second.files
    same = [(tmp_path / name / first.files[0]).stat().st_ino for name in ("a", "b", "pixels")]
    assert len(set(same)) == 1
    again = write_merged(pixels, splits(), "group", name="a", settings={}, out=tmp_path / "a")
    assert again.fingerprint == first.fingerprint


def test_rows_left_out_are_in_neither_index_nor_files(sets, pixels, tmp_path):
    old, new = sets
    kept = np.ones(66, np.bool_)
    kept[[0, 1, 30, 59, 61, 65]] = False
    few = without_rows(pixels, kept, tmp_path / "few")
    merged = write_merged(few, splits()[kept], "group", name="f", settings={}, out=tmp_path / "f")
    images = np.concatenate([*all_images(old), images_of(new, NEW_ROWS.tolist())])
    np.testing.assert_array_equal(np.concatenate(list(all_images(merged))), images[kept])
    index = read_split_index(merged, "group")
    assert index.splits.tolist() == splits()[kept].tolist()
    assert index.labels[-4:].tolist() == [(2, 0, 1)[row % 3] for row in NEW_ROWS[[0, 2, 3, 4]]]
    provenance = merged.manifest["source"]["provenance"]
    assert (provenance["old_rows"], provenance["new_rows"]) == (56, 4)


def test_a_number_that_the_first_set_left_out_is_not_taken_twice(sets, tmp_path):
    root = write_set(tmp_path / "gap")
    (root / "part-00002.parquet").rename(root / "part-00003.parquet")

    def rename(content):
        content["files"][2]["name"] = "part-00003.parquet"

    rewrite_manifest(root, rename)
    pixels = gather_pixels(open_dataset(root), sets[1], NEW_ROWS, (2, 0, 1), tmp_path / "pixels")
    assert [file.name[5:10] for file in pixels.files] == ["00000", "00001", "00003", "00004"]
    merged = write_merged(pixels, splits(), "group", name="m", settings={}, out=tmp_path / "m")
    assert merged.num_rows == 66


def test_what_was_merged_before_is_written_over_by_other_splits(pixels, tmp_path):
    write_merged(pixels, splits(), "group", name="a", settings={}, out=tmp_path / "a")
    other = splits()
    other[:5] = "test"
    found = write_merged(pixels, other, "random", name="a", settings={}, out=tmp_path / "a")
    assert found.protocols == ("random",)
    assert sum(found.counts["random"]["train"].values()) == 41
