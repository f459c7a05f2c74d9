import os

import pytest

from datasets import Face, SourceError, Unreadable, folder

OPTIONS = folder.Options()


def put(root, *paths):
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.encode())


def listed(root, options=OPTIONS):
    return list(folder.faces(root, options))


def test_each_folder_is_a_class_and_the_order_is_that_of_the_names(tmp_path):
    put(tmp_path, "sad/2.png", "Happy/b.JPG", "Happy/a.jpeg", "happiness/notes.txt", "sad/10.png")
    assert listed(tmp_path) == [
        Face("Happy/a.jpeg", "happiness"),
        Face("Happy/b.JPG", "happiness"),
        Face("sad/10.png", "sadness"),
        Face("sad/2.png", "sadness"),
    ]


def test_top_folders_named_like_splits_are_splits(tmp_path):
    put(tmp_path, "Training/anger/a.png", "valid/anger/a.png", "testing/fear/a.png")
    assert [(face.split, face.label) for face in listed(tmp_path)] == [
        ("train", "anger"),
        ("test", "fear"),
        ("validation", "anger"),
    ]


def test_splits_beside_other_folders_are_refused(tmp_path):
    put(tmp_path, "train/anger/a.png", "extra/anger/a.png")
    with pytest.raises(SourceError, match="got splits train beside extra"):
        listed(tmp_path)


def test_group_and_frame_come_from_the_path(tmp_path):
    put(tmp_path, "anger/S010/S010_004_00000017.png")
    options = folder.Options(group_pattern=r"/(S\d+)/", frame_pattern=r"(\d+)\.\w+$")
    (face,) = listed(tmp_path, options)
    assert (face.label, face.group, face.frame, face.problem) == ("anger", "S010", 17, "")


def test_a_path_that_a_pattern_does_not_fit_is_a_problem_of_that_row(tmp_path):
    put(tmp_path, "anger/a.png", "anger/b_1.png", "anger/b_99999999999.png")
    options = folder.Options(group_pattern="/(b)_", frame_pattern=r"_(\d+)\.")
    problems = [face.problem for face in listed(tmp_path, options)]
    assert "group_pattern" in problems[0]
    assert problems[1] == ""
    assert "frame_pattern" in problems[2]


@pytest.mark.parametrize("pattern", ["(", "a", "(a)(b)"])
def test_an_unusable_pattern_is_refused_before_anything_is_listed(tmp_path, pattern):
    put(tmp_path, "anger/a.png")
    with pytest.raises(SourceError, match=r"options\.frame_pattern: "):
        folder.faces(tmp_path, folder.Options(frame_pattern=pattern))


def test_links_that_lead_out_of_the_folder_are_not_followed(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "root-outside"
    put(root, "anger/a.png")
    put(outside, "b.png")
    (root / "anger/b.png").symlink_to(outside / "b.png")
    (root / "anger/c.png").symlink_to(root / "anger/a.png")
    (root / "anger/d.png").symlink_to("nowhere.png")
    (root / "anger/e.png").symlink_to("e.png")
    (root / "fear").symlink_to(outside)
    (root / "sad").symlink_to(root / "anger")
    problems = {face.source: face.problem for face in listed(root)}
    assert problems["anger/a.png"] == problems["anger/c.png"] == ""
    assert problems["anger/b.png"] == problems["fear"] == "path leads out of the data set's folder"
    assert problems["anger/d.png"] == "file missing"
    assert "cannot be looked up" in problems["anger/e.png"]
    assert problems["sad"] == "a link to a folder is not followed"


def test_a_source_that_is_itself_a_link_can_be_read(tmp_path):
    put(tmp_path / "real", "anger/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (face,) = listed(tmp_path / "link")
    assert face.problem == ""
    assert list(folder.read(tmp_path / "link", [face], OPTIONS)) == [b"anger/a.png"]


def test_a_name_that_is_not_utf8_is_a_problem_of_that_row(tmp_path):
    put(tmp_path, "anger/a.png")
    with open(os.fsencode(tmp_path) + b"/anger/\xff.png", "wb"):  # noqa: PTH123  (pathlib has no bytes)
        pass
    good, bad = listed(tmp_path)
    assert good.problem == ""
    assert bad == Face(r"anger/\udcff.png", "anger", problem="name is not valid UTF-8")


def test_an_image_outside_of_any_class_folder_is_a_problem_of_that_row(tmp_path):
    put(tmp_path, "anger/a.png", "stray.png")
    assert [face.problem for face in listed(tmp_path)] == ["", "image lies in no class folder"]


def test_hidden_folders_and_leftovers_of_archives_are_passed_over(tmp_path):
    put(tmp_path, "anger/a.png", ".cache/x.png", "__MACOSX/anger/a.png", "anger/._a.png")
    assert [face.source for face in listed(tmp_path)] == ["anger/a.png"]


def test_other_endings_can_be_asked_for(tmp_path):
    put(tmp_path, "anger/a.png", "anger/a.GIF")
    faces = listed(tmp_path, folder.Options(extensions=("gif",)))
    assert [face.source for face in faces] == ["anger/a.GIF"]


@pytest.mark.parametrize("content", [[], ["a.png"]])
def test_a_folder_without_classes_is_refused(tmp_path, content):
    put(tmp_path, *content)
    with pytest.raises(SourceError, match="a folder per class"):
        folder.faces(tmp_path, OPTIONS)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(SourceError, match="must be a folder"):
        folder.faces(tmp_path / "nowhere", OPTIONS)


def test_a_file_that_vanished_or_became_a_link_outwards_is_unreadable(tmp_path):
    root = tmp_path / "root"
    put(root, "anger/a.png", "anger/b.png")
    put(tmp_path, "secret.png")
    faces = listed(root)
    (root / "anger/a.png").unlink()
    (root / "anger/b.png").unlink()
    (root / "anger/b.png").symlink_to(tmp_path / "secret.png")
    assert list(folder.read(root, faces, OPTIONS)) == [
        Unreadable("file missing"),
        Unreadable("path leads out of the data set's folder"),
    ]


def test_a_name_with_a_line_break_is_quarantined_under_a_name_that_fits_a_line(tmp_path):
    (tmp_path / "happy").mkdir()
    (tmp_path / "happy" / "a\nb.png").write_bytes(b"x")
    faces = list(folder.faces(tmp_path, folder.Options()))
    assert [(face.source, face.problem) for face in faces] == [
        ("happy/a\\nb.png", "name holds characters that cannot be printed")
    ]
