"""What a network file system does otherwise: files that others have open stay, locks may be missing."""

import errno
import os
from pathlib import Path

import pytest
import torch

from orchestrator.config import storage
from orchestrator.config.errors import ConfigError
from orchestrator.config.home import Home
from orchestrator.config.storage import MARKER, exclusive, remove_checkpoint
from orchestrator.training import checkpoint
from orchestrator.training.checkpoint import CheckpointState, newest_valid
from orchestrator.training.snapshot import Snapshot


@pytest.fixture
def like_nfs(monkeypatch):
    """Removing a file that is open renames it, as the client of NFS does for its own processes."""
    unlink = os.unlink

    def silly_rename(path, *, dir_fd=None):
        folder = Path("/" if dir_fd is None else f"/proc/self/fd/{dir_fd}").resolve()
        whole = folder / path
        opened = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
        if whole in opened:
            whole.rename(whole.with_name(f".nfs{len(opened):08x}"))
        else:
            unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", silly_rename)


def save(folder: Path, *epochs: int) -> None:
    tensors = {"weight": torch.zeros(2)}
    for epoch in epochs:
        state = CheckpointState(epoch, "own", ({"epoch": epoch},), {}, {})
        checkpoint.save_for_resume(folder, Snapshot(tensors, tensors, {}), state)


def test_a_checkpoint_that_somebody_reads_is_replaced_and_its_rest_is_none(tmp_path, like_nfs):
    save(tmp_path, 1, 2)
    with (tmp_path / "epoch-0001" / checkpoint.MODEL).open("rb") as read_by_another:
        save(tmp_path, 3)
        assert read_by_another.read(), "who has it open goes on reading"
    rest = list((tmp_path / "epoch-0001").iterdir())
    assert [path.name[:4] for path in rest] == [".nfs"]
    rest[0].unlink()  # as the client does when it is closed
    assert newest_valid(tmp_path, "own")[1].epoch == 3
    save(tmp_path, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0003", "epoch-0004"]


def test_a_clean_up_is_not_ended_by_a_file_that_somebody_reads(tmp_path, like_nfs):
    save(tmp_path / "lineage", 1)
    with (tmp_path / "lineage" / "epoch-0001" / MARKER).open("rb"):
        assert Home(tmp_path).remove("lineage/epoch-0001") > 0
    assert not (tmp_path / "lineage" / "epoch-0001" / MARKER).exists()


def test_a_folder_that_cannot_be_removed_for_another_reason_is_an_error(tmp_path, monkeypatch):
    save(tmp_path, 1)
    monkeypatch.setattr(
        storage.shutil, "rmtree", lambda _: (_ for _ in ()).throw(OSError(errno.ENOTEMPTY, "?"))
    )
    with pytest.raises(OSError, match=r"\?"):
        remove_checkpoint(tmp_path / "epoch-0001")


def test_storage_without_locks_is_said_to_be_that_and_not_that_another_has_it(
    tmp_path, monkeypatch
):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(storage.fcntl, "flock", no_locks)
    with (
        pytest.raises(ConfigError, match="study: must be on storage where files can be locked"),
        exclusive(tmp_path, "study"),
    ):
        pass
