"""A checkpoint is written behind the training, and nothing that it promises is lost thereby."""

import threading

import pytest
from safetensors import SafetensorError

from orchestrator.config.errors import TrainingError
from orchestrator.training.checkpoint_writer import CheckpointWriter


def test_a_write_goes_on_in_another_thread_until_it_is_waited_for(tmp_path):
    go, written_by = threading.Event(), []

    def write() -> None:
        go.wait(timeout=60)
        written_by.append(threading.current_thread())

    writer = CheckpointWriter()
    writer.start(write, tmp_path)
    assert written_by == []
    go.set()
    writer.wait()
    assert written_by != [threading.current_thread()]
    assert len(written_by) == 1
    assert writer.read_seconds() > 0
    assert writer.read_seconds() == 0


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")]
)
def test_what_went_wrong_is_raised_once_by_the_next_wait_and_says_where(error, tmp_path):
    def write() -> None:
        raise error

    writer = CheckpointWriter()
    writer.start(write, tmp_path / "lineage")
    with pytest.raises(
        TrainingError, match=r"checkpoint: must be written to .*lineage; got: .*"
    ) as e:
        writer.wait()
    assert "No space left on device" in str(e.value)
    assert not e.value.final, "with more room it can be done"
    writer.wait()
    writer.start(lambda: None, tmp_path)
    writer.wait()


def test_a_bug_in_a_write_is_no_full_disk():
    writer = CheckpointWriter()
    writer.start(lambda: [][0], "any")
    with pytest.raises(IndexError):
        writer.wait()


def test_waiting_for_nothing_returns_at_once():
    CheckpointWriter().wait()
