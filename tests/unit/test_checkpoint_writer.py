"""A checkpoint is written behind the training, and nothing that it promises is lost thereby."""

import errno
import os
import threading

import pytest
from safetensors import SafetensorError

from orchestrator.config.errors import StorageError, TrainingError
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
    "error", [OSError(errno.ENOTDIR, "Not a directory"), SafetensorError("Not a directory")]
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
    assert "Not a directory" in str(e.value)
    assert not e.value.final, "with another folder it can be done"
    writer.wait()
    writer.start(lambda: None, tmp_path)
    writer.wait()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.ESTALE])
def test_a_disk_that_is_full_or_gone_is_said_to_be_so_whatever_was_written(number, tmp_path):
    def write() -> None:
        raise OSError(number, os.strerror(number))

    writer = CheckpointWriter()
    writer.start(write, tmp_path / "lineage")
    with pytest.raises(StorageError, match=f"lineage must be written .*{os.strerror(number)}"):
        writer.wait()
    writer.wait()


def test_a_bug_in_a_write_is_no_full_disk():
    writer = CheckpointWriter()
    writer.start(lambda: [][0], "any")
    with pytest.raises(IndexError):
        writer.wait()


def test_waiting_for_nothing_returns_at_once():
    CheckpointWriter().wait()
