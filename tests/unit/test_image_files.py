"""Reading image files: only what lies in the folder named, and whatever else lies there."""

import os
from pathlib import Path

import pytest

from datasets import Face, Unreadable
from datasets._image_files import problem_with, read_files


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "faces"
    (folder / "joy").mkdir(parents=True)
    (folder / "joy" / "plain.png").write_bytes(b"plain")
    (folder / "joy" / "empty.png").write_bytes(b"")
    (folder / "joy" / "link.png").symlink_to("plain.png")
    (folder / "joy" / "out.png").symlink_to("../../secret.png")
    (folder / "joy" / "nowhere.png").symlink_to("gone.png")
    (folder / "joy" / "folder.png").mkdir()
    os.mkfifo(folder / "joy" / "pipe.png")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "faces-2").mkdir()
    (tmp_path / "faces-2" / "near.png").write_bytes(b"near")
    (folder / "elsewhere").symlink_to(tmp_path / "faces-2")
    (folder / "same").symlink_to("joy")
    return folder


def read(root, name):
    return next(read_files(root, [Face(source=name, label="happiness")]))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("joy/plain.png", b"plain"),
        ("joy/empty.png", b""),
        ("joy/link.png", b"plain"),
        ("same/plain.png", b"plain"),
        ("joy/../joy/plain.png", b"plain"),
        ("joy//plain.png", b"plain"),
    ],
)
def test_a_file_of_the_folder_is_read(root, name, content):
    assert read(root, name) == content
    assert problem_with(root, name) == ""


@pytest.mark.parametrize(
    "name",
    [
        "joy/out.png",
        "elsewhere/near.png",
        "../secret.png",
        "joy/../../secret.png",
        "joy/nowhere.png",
        "joy/folder.png",
        "joy/pipe.png",
        "joy/gone.png",
        "joy/",
        "joy/zero\0byte.png",
        "",
    ],
)
def test_all_else_is_refused_for_the_reason_of_its_listing(root, name):
    assert read(root, name) == Unreadable(problem_with(root, name))
    assert problem_with(root, name)


def test_a_path_from_the_root_of_the_disk_is_refused(root):
    name = str(root.parent / "secret.png")
    assert read(root, name) == Unreadable(problem_with(root, name))
    inside = str(root / "joy" / "plain.png")
    assert read(root, inside) == b"plain"  # a list may name its own folder in full


def test_a_row_with_a_problem_is_not_looked_at(root):
    face = Face(source="joy/plain.png", label="happiness", problem="label out of range")
    assert list(read_files(root, [face])) == [Unreadable("label out of range")]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system lists no open files")
def test_files_that_are_opened_ahead_are_read_in_order_and_closed_again(root):
    def num_open():
        return len(list(Path("/proc/self/fd").iterdir()))

    names = [f"joy/{n:03d}.png" for n in range(60)]
    for name in names:
        (root / name).write_bytes(name.encode())
    names[20:20] = ["joy/gone.png", "joy/link.png", "joy/pipe.png"]
    faces = [Face(source=name, label="happiness") for name in names]
    before, most, contents = num_open(), 0, []
    for content in read_files(root, faces):
        contents.append(content)
        most = max(most, num_open() - before)
    assert [c for c in contents if isinstance(c, bytes)] == [
        b"plain" if name.endswith("link.png") else name.encode()
        for name in names
        if "gone" not in name and "pipe" not in name
    ]
    assert [at for at, c in enumerate(contents) if isinstance(c, Unreadable)] == [20, 22]
    assert 8 < most <= 16
    assert num_open() == before
    left = read_files(root, faces)
    next(left)
    left.close()
    assert num_open() == before
