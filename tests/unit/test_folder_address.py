"""A folder on a disk and one in an object store keep the same promises."""

import pickle
from pathlib import Path

import pytest

from orchestrator.config.errors import ConfigError
from orchestrator.config.folder import Folder, folder


@pytest.fixture(params=["disk", "s3"])
def place(request, tmp_path) -> Folder:
    if request.param == "disk":
        return folder(tmp_path / "set")
    return folder(f"{request.getfixturevalue('s3_bucket')}/{tmp_path.name}")


def test_a_file_put_is_read_back_and_listed_with_its_size(place):
    place.put_bytes("a.bin", b"12345")
    assert place.read("a.bin") == b"12345"
    assert place.size("a.bin") == 5
    assert place.files() == {"a.bin": 5}


def test_what_is_not_there_has_no_size_and_no_files(place):
    assert place.size("a.bin") is None
    assert place.files() == {}
    assert not place.exists()
    assert place.is_empty()


def test_a_file_is_replaced_whole(place):
    place.put_bytes("a.bin", b"old")
    place.put_bytes("a.bin", b"newer")
    assert place.read("a.bin") == b"newer"


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(place):
    place.put_bytes("a.bin", b"old")

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        place.put("a.bin", fail)
    assert place.read("a.bin") == b"old"
    assert list(place.files()) == ["a.bin"]


def test_what_the_writer_returns_is_returned(place):
    assert place.put("a.bin", lambda path: path.write_bytes(b"123")) == 3


def test_a_part_of_a_file_can_be_read(place):
    place.put_bytes("a.bin", b"0123456789")
    with place.open("a.bin") as file:
        assert file.read_at(3, 4) == b"456"


def test_folders_inside_are_kept_apart_and_removed_with_all_in_them(place):
    place.put_bytes("a.bin", b"1")
    (place / "inside").put_bytes("b.bin", b"22")
    assert place.files() == {"a.bin": 1}
    (place / "inside").remove_all()
    assert (place / "inside").files() == {}
    place.remove("a.bin")
    assert place.size("a.bin") is None


def test_a_folder_travels_to_another_process(place):
    place.put_bytes("a.bin", b"1")
    assert pickle.loads(pickle.dumps(place)).read("a.bin") == b"1"


def test_a_relative_path_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert folder("set") == Folder(str(tmp_path / "set"))
    assert folder("set").local == tmp_path / "set"
    assert folder("set").name == "set"


def test_an_address_keeps_its_parts():
    place = folder("s3://bucket/a/b/")
    assert (str(place), place.name, place.local) == ("s3://bucket/a/b", "b", None)
    assert place.path("x") == "bucket/a/b/x"


@pytest.mark.parametrize(
    "address",
    [
        "ftp://host/x",
        "s3://",
        "s3://key:secret@bucket/x",
        "s3://bucket/x?endpoint=1",
        "s3://bucket//x",
    ],
)
def test_an_address_of_no_known_kind_or_with_a_password_is_refused_and_not_repeated(address):
    with pytest.raises(ConfigError, match=r"^out: must be") as caught:
        folder(address)
    assert "secret" not in str(caught.value)
