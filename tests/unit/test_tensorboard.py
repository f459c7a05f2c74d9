import subprocess
import sys
import threading

import numpy as np
import pytest

from orchestrator.config.home import Home
from orchestrator.results import tensorboard_runs
from orchestrator.results.study_fold import fold
from orchestrator.results.tensorboard import TensorBoard
from tests.unit.event_reader import curves, images, read_events, row
from tests.unit.fake_study import CLASSES, epoch, scored

PIXELS = np.zeros((2, 2, 3), np.uint8)


EXPERIMENT = {
    "epochs": 3,
    "optimizer": {"name": "adam", "lr": 0.001},
    "weights": None,
    "axes": [1, 2],
}


def history(num_epochs):
    return [{**epoch("a", k, 0.1 * k)["metrics"], "epoch": k} for k in range(1, num_epochs + 1)]


def said_nothing(words):
    pytest.fail(words)


def test_a_training_is_written_epoch_by_epoch(tmp_path):
    with TensorBoard(tmp_path, said_nothing) as board:
        for num_epochs in (1, 2, 3):
            board.show_training(history(num_epochs), CLASSES, EXPERIMENT)
    found = tmp_path / "tensorboard" / "training"
    assert [step for step, _ in curves(found)["accuracy/validation"]] == [1, 2, 3]
    assert images(found).keys() == {"confusion/best", "confusion/last"}


def test_a_training_has_its_hyperparameters_by_path(tmp_path):
    with TensorBoard(tmp_path, said_nothing) as board:
        board.show_training(history(1), CLASSES, EXPERIMENT)
    found = row(tmp_path / "tensorboard" / "training")
    assert found == {"epochs": 3, "optimizer.name": "adam", "optimizer.lr": 0.001}


def test_the_same_training_begun_again_has_no_point_twice(tmp_path):
    for num_epochs in (2, 3):
        with TensorBoard(tmp_path, said_nothing) as board:
            board.show_training(history(num_epochs), CLASSES, EXPERIMENT)
    found = tmp_path / "tensorboard" / "training"
    assert [step for step, _ in curves(found)["loss/train"]] == [1, 2, 3]


def test_a_study_and_its_samples_are_written(tmp_path):
    with TensorBoard(tmp_path, said_nothing) as board:
        board.show_samples("trial-0000", lambda: PIXELS)
        board.show(fold(scored([0.5])))
    assert "macro_f1/validation" in curves(tmp_path / "tensorboard" / "trial-0000")
    assert "augmented_batch" in images(tmp_path / "tensorboard" / "samples" / "trial-0000")


def test_the_end_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with TensorBoard(tmp_path / "runs" / "a", said_nothing) as board:
        board.show(fold(scored([0.5])))
    (line,) = board.closing_lines(Home(board.folder.parent))
    assert "tensorboard --logdir runs/a/tensorboard" in line


def test_nothing_shown_leaves_nothing_and_says_nothing(tmp_path):
    with TensorBoard(tmp_path, said_nothing) as board:
        board.show_samples("training", said_nothing)
    assert list(tmp_path.iterdir()) == []
    assert board.closing_lines(Home(board.folder.parent)) == ()


def test_a_folder_that_cannot_be_written_is_said_once_and_stops_nothing(tmp_path):
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    said = []
    with TensorBoard(tmp_path, said.append) as board:
        for num_epochs in (1, 2, 3):
            board.show_training(history(num_epochs), CLASSES, EXPERIMENT)
    (words,) = said
    assert "must be able to write" in words
    assert "NotADirectoryError" in words
    assert board.closing_lines(Home(board.folder.parent)) == ()


def test_a_disk_that_fills_up_is_said_once_and_the_rest_is_left_unwritten(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    said = []
    written = threading.Event()
    monkeypatch.setattr(
        tensorboard_runs, "_end_times", lambda points: written.set() or [1.0] * len(points)
    )
    with TensorBoard(tmp_path, said.append) as board:
        board.show_training(history(1), CLASSES, EXPERIMENT)
        assert written.wait(60)
        monkeypatch.setattr(tensorboard_runs.EventFile, "add", full)
        for num_epochs in range(2, 30):
            board.show_training(history(num_epochs), CLASSES, EXPERIMENT)
    assert len(said) == 1
    assert "No space left" in said[0]


def test_samples_that_cannot_be_drawn_are_said_once_and_curves_go_on(tmp_path):
    def broken():
        raise ValueError("no such row")

    said = []
    with TensorBoard(tmp_path, said.append) as board:
        board.show_samples("trial-0000", broken)
        board.show_samples("trial-0001", broken)
        board.show_training(history(2), CLASSES, EXPERIMENT)
    assert said == ["tensorboard: has no picture of augmented samples; got ValueError: no such row"]
    assert "loss/train" in curves(tmp_path / "tensorboard" / "training")


def test_showing_does_not_wait_for_a_disk_that_hangs(tmp_path):
    goes_on = threading.Event()

    def hanging():
        assert goes_on.wait(60)
        return PIXELS

    with TensorBoard(tmp_path, said_nothing) as board:
        board.show_samples("training", hanging)
        for num_epochs in range(1, 100):
            board.show_training(
                history(num_epochs), CLASSES, EXPERIMENT
            )  # returns while the thread hangs
        goes_on.set()
    found = tmp_path / "tensorboard" / "training"
    # Only the newest state was left to write: curves, two pictures, the hyperparameters.
    assert len(curves(found)["loss/train"]) == 99
    assert sum(event.HasField("summary") for event in read_events(found)) == 99 + 3


def test_an_end_that_takes_too_long_is_said_and_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.results.tensorboard.CLOSE_TIMEOUT_S", 0.01)
    goes_on, said = threading.Event(), []
    with TensorBoard(tmp_path, said.append) as board:
        board.show_samples("training", lambda: goes_on.wait(60) and PIXELS)
        board.show_training(history(1), CLASSES, EXPERIMENT)
    assert "takes too long" in said[0]
    goes_on.set()


def test_neither_torch_nor_ray_is_imported_before_there_is_something_to_write():
    code = (
        "import sys, orchestrator.results.tensorboard as t, pathlib\n"
        "board = t.TensorBoard(pathlib.Path('nowhere'), print)\n"
        "sys.exit(bool({'torch', 'ray', 'tensorboardX', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
