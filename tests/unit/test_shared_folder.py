"""A folder that should be the same on every node is known by a file of the driver's."""

import pytest

from orchestrator.config import shared_folder
from orchestrator.config.errors import StorageError
from orchestrator.config.shared_folder import Mark, leave_mark


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(shared_folder, "REMEMBERED_S", 0.0)


def test_a_process_that_sees_the_folder_finds_the_mark(tmp_path, at_once):
    mark = leave_mark(tmp_path / "runs" / "study", ".ray")
    mark.look_for()
    assert mark.is_seen()
    assert [path.parent.name for path in (tmp_path / "runs").rglob("*") if path.is_file()] == [
        ".ray"
    ]


def test_a_folder_of_the_same_name_elsewhere_has_another_mark(tmp_path, at_once):
    mark = leave_mark(tmp_path / "driver", ".ray")
    leave_mark(tmp_path / "node", ".ray")
    elsewhere = Mark(tmp_path / "node", mark.name)
    with pytest.raises(StorageError) as refused:
        elsewhere.look_for()
    assert str(refused.value).startswith(f"storage: {tmp_path}/node must be the same folder")
    assert "s3://bucket/runs" in str(refused.value)


def test_a_mark_that_a_cache_hides_for_a_while_is_waited_for(tmp_path, monkeypatch):
    mark = leave_mark(tmp_path)
    hidden = tmp_path / "hidden"
    (tmp_path / mark.name).rename(hidden)
    monkeypatch.setattr(shared_folder.time, "sleep", lambda _: hidden.rename(tmp_path / mark.name))
    assert mark.is_seen()
