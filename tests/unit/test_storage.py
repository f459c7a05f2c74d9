"""Files that are whole or not there."""

import hashlib
import os
import subprocess
import sys

import pytest

from orchestrator.config import storage
from orchestrator.config.storage import exclusive, sha256_of, write_atomic, write_json


def test_a_file_is_written_with_its_folders_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_writer_that_dies_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    write_atomic(path, b"old")

    def die(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(storage.os, "fsync", die)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"


def test_json_with_nan_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "file.json"
    with pytest.raises(ValueError):
        write_json(path, {"loss": float("nan")})
    assert not path.exists()


@pytest.mark.parametrize("size", [0, 1, storage.CHUNK_BYTES, storage.CHUNK_BYTES + 1])
def test_the_digest_is_that_of_the_whole_file(size, tmp_path):
    content = bytes(range(256)) * (size // 256 + 1)
    path = tmp_path / "file"
    path.write_bytes(content[:size])
    assert sha256_of(path) == hashlib.sha256(content[:size]).hexdigest()


def test_what_a_killed_process_had_half_written_goes_and_what_a_living_one_writes_stays(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "0"]) as killed:
        killed.wait()
    for name in (f".board.json.{killed.pid}.tmp", f".board.json.{os.getpid()}.tmp", ".notes.tmp"):
        (tmp_path / name).write_text("half")
    with exclusive(tmp_path, "study"):
        left = {path.name for path in tmp_path.iterdir()}
    assert left == {f".board.json.{os.getpid()}.tmp", ".notes.tmp", ".lock"}
