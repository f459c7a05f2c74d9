"""A disk that is full stops a study clearly, damages nothing, and all goes on when it is mended."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from orchestrator.config.command_line import run
from orchestrator.config.errors import StorageError
from orchestrator.config.storage import storage_error
from orchestrator.training import checkpoint
from orchestrator.training.checkpoint import CheckpointState, newest_valid
from orchestrator.tuning.ledger import LEDGER, Ledger, read_records

LIMIT_BYTES = 64 * 1024


@pytest.fixture
def largest_file():
    """Sets how long a file of this process may get, as a disk would end there; then lifts it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def set_limit(limit: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if limit is None else limit, hard))

    yield set_limit
    set_limit(None)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk])
    if not done or done.returncode:
        pytest.skip("only root may mount a disk of its own")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def numbers(folder: Path) -> list[int]:
    return [record["n"] for record in read_records(folder / LEDGER)]


def test_a_record_that_does_not_fit_leaves_the_ledger_as_it_was(tmp_path, largest_file):
    with Ledger(tmp_path) as ledger:
        ledger.append({"record": "x", "n": 0, "long": "x" * LIMIT_BYTES})
        before = (tmp_path / LEDGER).read_bytes()
        largest_file(len(before) + 10)
        with pytest.raises(StorageError, match=r"ledger\.jsonl must be written .*same command"):
            ledger.append({"record": "x", "n": 1})
        assert (tmp_path / LEDGER).read_bytes() == before
        largest_file(None)
        ledger.append({"record": "x", "n": 2})
    assert numbers(tmp_path) == [0, 2]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_record_that_did_not_reach_the_disk_was_never_written(number, tmp_path, monkeypatch):
    with Ledger(tmp_path) as ledger:
        ledger.append({"record": "x", "n": 0})
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", _raising(number))
            with pytest.raises(StorageError, match=os.strerror(number)):
                ledger.append({"record": "x", "n": 1})
        assert numbers(tmp_path) == [0]
        ledger.append({"record": "x", "n": 2})
    assert numbers(tmp_path) == [0, 2]


def _raising(number: int):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def write_checkpoint(parent: Path, epoch: int, num_values: int) -> Path:
    state = CheckpointState(epoch, "abc", (), {}, {})
    folder = checkpoint.epoch_folder(parent, epoch)
    tensors = {"weight": torch.zeros(num_values)}
    checkpoint._write(folder, state, {checkpoint.MODEL: tensors}, {})
    return folder


def test_a_checkpoint_that_does_not_fit_does_not_exist_and_the_one_before_does(
    tmp_path, largest_file
):
    first = write_checkpoint(tmp_path, 1, 1000)
    largest_file(LIMIT_BYTES)
    with pytest.raises(StorageError, match=r"epoch-0002 must be written.*ulimit -f"):
        write_checkpoint(tmp_path, 2, LIMIT_BYTES)
    assert not checkpoint.epoch_folder(tmp_path, 2).exists()
    assert newest_valid(tmp_path, "abc")[0] == first
    largest_file(None)
    assert newest_valid(tmp_path, "abc")[0] == first
    second = write_checkpoint(tmp_path, 2, LIMIT_BYTES)
    assert newest_valid(tmp_path, "abc")[0] == second


def test_a_disk_that_is_really_full_takes_neither_and_both_when_it_is_mended(small_disk):
    with Ledger(small_disk) as ledger:
        ledger.append({"record": "x", "n": 0})
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(b"x" * 2**21)
        with pytest.raises(StorageError, match="Free space"):
            ledger.append({"record": "x", "n": 1, "long": "x" * 2**13})
        with pytest.raises(StorageError, match="Free space"):
            write_checkpoint(small_disk / "last", 1, 10_000)
        assert numbers(small_disk) == [0]
        assert newest_valid(small_disk / "last", "abc") is None
        filler.unlink()
        ledger.append({"record": "x", "n": 2})
    assert numbers(small_disk) == [0, 2]
    folder = write_checkpoint(small_disk / "last", 1, 10_000)
    assert newest_valid(small_disk / "last", "abc")[0] == folder


def test_a_command_ends_with_the_cause_and_the_remedy(capsys):
    def full(_argv: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/s/leaderboard.csv")

    assert run(full, []) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: storage: runs/s/leaderboard.csv must be written")
    assert "Free space, then run the same command again" in told


def test_an_error_that_no_disk_is_to_blame_for_is_a_bug_and_traces_back():
    assert storage_error(OSError(errno.ENOENT, "No such file", "x")) is None

    def bug(_argv: object) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file", "x")

    with pytest.raises(FileNotFoundError):
        run(bug, [])


def test_a_reader_that_has_enough_is_no_error_of_the_disk():
    code = (
        "from orchestrator.config.command_line import run\n"
        "def main(argv):\n"
        "    raise BrokenPipeError\n"
        "raise SystemExit(run(main, []))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 141
