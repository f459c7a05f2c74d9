"""No score of rows that the run has seen is called held-out."""

import numpy as np
import pytest

from orchestrator.ingest.dataset import SplitIndex
from orchestrator.results.held_out import exposure, first_weights


def run_with(*splits):
    """Splits of a run's data set: two rows of video a, one of b, two of c, one without a video."""
    return SplitIndex(
        labels=np.zeros(6, np.int64),
        groups=np.array(["a", "a", "b", "c", "c", ""]),
        row_ids=np.arange(6),
        listed=np.arange(6),
        splits=np.array(splits),
    )


RUN = run_with("train", "train", "validation", "test", "train", "train")


def of_rows(*row_ids):
    rows = np.array(row_ids)
    return exposure(RUN.groups[rows], rows, RUN, same_set=True)


@pytest.mark.parametrize(
    ("rows", "figures", "words"),
    [
        ((0, 1, 4), (3, 0, 3), "3 of 3 rows were in the training split"),
        ((0, 2), (1, 1, 1), "1 of 2 rows were in the training split"),
        ((2,), (0, 1, 0), "1 of 1 rows were in the validation split"),
        ((3,), (0, 0, 1), "1 of 1 rows are of a video or subject"),
        ((5,), (1, 0, 0), "in the training split"),
    ],
)
def test_what_was_seen_is_counted_and_said_first(rows, figures, words):
    found = of_rows(*rows)
    assert (found.in_train, found.in_validation, found.group_in_train) == figures
    assert not found.held_out
    assert found.statement.startswith("NOT held-out")
    assert words in found.statement


def test_rows_of_another_set_are_compared_by_the_names_of_their_groups_only():
    other = exposure(np.array(["x", "y"]), np.array([0, 1]), RUN, same_set=False)
    assert other.held_out
    assert other.statement.startswith("held-out")
    shared = exposure(np.array(["a", "y"]), np.array([0, 1]), RUN, same_set=False)
    assert shared.group_in_train == 1
    assert "1 of 2 rows are of a video" in shared.statement


def test_rows_without_a_group_are_not_taken_for_one_video():
    assert exposure(np.array([""]), np.array([0]), RUN, same_set=False).held_out


def test_rows_whose_video_is_nowhere_in_train_are_held_out():
    clean = run_with(*["train"] * 3, *["test"] * 3)
    found = exposure(clean.groups[3:], np.arange(3, 6), clean, same_set=True)
    assert found.held_out
    assert (found.num_rows, found.in_train) == (3, 0)


def test_a_frame_of_a_video_by_which_the_epoch_was_chosen_is_not_held_out():
    run = run_with("train", "train", "test", "validation", "test", "test")
    found = exposure(run.groups[4:5], np.array([4]), run, same_set=True)
    assert (found.in_validation, found.group_in_validation) == (0, 1)
    assert not found.held_out
    assert "validation split" in found.statement
    other = exposure(np.array(["c"]), np.array([0]), run, same_set=False)
    assert not other.held_out


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        ("random", ""),
        ("IMAGENET1K_V1", ""),
        ("vgg16.tv_in1k", ""),
        ("runs/other/model.safetensors", "model.safetensors"),
        ("https://host.example/vgg_face_dag.pth", "vgg_face_dag.pth"),
    ],
)
def test_first_weights_of_a_file_are_named_as_something_that_is_not_known(weights, name):
    assert first_weights(weights) == name
    found = exposure(np.array(["x"]), np.array([3]), RUN, same_set=True, first_weights=name)
    assert ("what they had seen is not known" in found.statement) == bool(name)
