import os
from hashlib import sha256

import pytest
from PIL import Image

from datasets import Face, SourceError, Unreadable, rafdb

ROWS = ("train_00001.jpg 5", "train_00002.jpg 4", "test_0001.jpg 7")


def picture(path, size=(10, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def official(root, *rows, name="list_patition_label.txt", pictures="Image/aligned"):
    """The release: a list with one misspelt name, and the aligned pictures under other names."""
    for row in rows:
        stem = row.split(".")[0]
        addition = "_aligned" if pictures.endswith("aligned") else ""
        picture(root / pictures / f"{stem}{addition}.jpg")
    (root / "EmoLabel").mkdir(exist_ok=True)
    (root / "EmoLabel" / name).write_text("\n".join(rows) + "\n")
    return root


def listed(root, **options):
    return list(rafdb.faces(root, rafdb.Options(**options)))


def test_the_list_gives_label_and_split_and_the_pictures_are_the_aligned_ones(tmp_path):
    official(tmp_path, *ROWS)
    assert listed(tmp_path) == [
        Face("Image/aligned/train_00001_aligned.jpg", "sadness", split="train"),
        Face("Image/aligned/train_00002_aligned.jpg", "happiness", split="train"),
        Face("Image/aligned/test_0001_aligned.jpg", "neutral", split="test"),
    ]


def test_labels_are_numbered_as_documented(tmp_path):
    official(tmp_path, *(f"train_{number}.jpg {number}" for number in range(1, 8)))
    assert [face.label for face in listed(tmp_path)] == [
        "surprise",
        "fear",
        "disgust",
        "happiness",
        "sadness",
        "anger",
        "neutral",
    ]


def test_the_list_may_be_spelt_right(tmp_path):
    official(tmp_path, *ROWS, name="list_partition_label.txt")
    assert [face.problem for face in listed(tmp_path)] == ["", "", ""]


def test_the_original_pictures_can_be_asked_for(tmp_path):
    official(tmp_path, *ROWS, pictures="Image/original")
    first = listed(tmp_path, images="original")[0]
    assert (first.source, first.problem) == ("Image/original/train_00001.jpg", "")


def test_pictures_that_are_not_unpacked_are_said_to_be(tmp_path):
    official(tmp_path, *ROWS, pictures="Image/original")
    with pytest.raises(SourceError, match=r"must hold Image/aligned .*options\.images=original"):
        rafdb.faces(tmp_path, rafdb.Options())


def test_a_picture_that_is_missing_is_a_problem_of_its_row_alone(tmp_path):
    official(tmp_path, *ROWS)
    (tmp_path / "Image/aligned/train_00002_aligned.jpg").unlink()
    faces = listed(tmp_path)
    assert [face.problem for face in faces] == ["", "file missing", ""]
    results = list(rafdb.read(tmp_path, faces, rafdb.Options()))
    assert results[1] == Unreadable("file missing")
    assert results[0] == (tmp_path / faces[0].source).read_bytes()


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("train_1.jpg 0", "label must be 1 to 7; got '0'"),
        ("train_1.jpg 8", "label must be 1 to 7; got '8'"),
        ("train_1.jpg x\x00", r"label must be 1 to 7; got 'x\\x00'"),
        ("train_1.jpg", "row must be a name and a label; got 'train_1.jpg'"),
        ("train_1.jpg 5 6", "row must be a name and a label; got 'train_1.jpg 5 6'"),
        ("valid_1.jpg 5", "name must start with train_ or test_; got 'valid_1.jpg 5'"),
        ("train_\x07.jpg 5", "name holds characters that cannot be printed"),
        ("train_/../../../../secret.jpg 5", "path leads out of the data set's folder"),
    ],
)
def test_what_is_wrong_with_a_row_stays_with_that_row(tmp_path, row, problem):
    root = official(tmp_path / "root", *ROWS[:1])
    picture(tmp_path / "secret_aligned.jpg")
    with (root / "EmoLabel/list_patition_label.txt").open("a") as file:
        file.write(row)
    good, bad = listed(root)
    assert good.problem == ""
    assert bad.problem == problem
    assert bad.source.isprintable()
    assert list(rafdb.read(root, [bad], rafdb.Options())) == [Unreadable(problem)]


def test_bytes_that_are_no_utf8_spoil_one_row(tmp_path):
    official(tmp_path, *ROWS[:1])
    with (tmp_path / "EmoLabel/list_patition_label.txt").open("ab") as file:
        file.write(b"train_\xff.jpg 5\r\n\r\ntrain_00001.jpg 5")
    problems = [face.problem for face in listed(tmp_path)]
    assert problems[:2] == ["", "name is not valid UTF-8"]


def test_a_picture_that_is_listed_twice_counts_once_and_the_contradiction_is_told(tmp_path):
    official(tmp_path, "train_1.jpg 5", "train_1.jpg 6", "train_1.jpg 5")
    first, second, third = listed(tmp_path)
    assert (first.label, first.problem) == ("sadness", "")
    assert second.source == "list_patition_label.txt:2"
    assert second.problem == "duplicate of list_patition_label.txt:1, which says 'sadness'"
    assert third.problem == "duplicate of list_patition_label.txt:1"


def test_a_file_without_lines_is_no_list(tmp_path):
    official(tmp_path, "train_1.jpg 5")
    (tmp_path / "EmoLabel/list_patition_label.txt").write_text("train_1.jpg 5\n" + "x" * 10_000)
    with pytest.raises(SourceError, match=r"label\.txt:2: must be shorter"):
        listed(tmp_path)


def test_a_list_that_is_a_link_out_of_the_folder_is_refused(tmp_path):
    root = official(tmp_path / "root", *ROWS)
    (root / "EmoLabel/list_patition_label.txt").rename(tmp_path / "elsewhere.txt")
    (root / "EmoLabel/list_patition_label.txt").symlink_to(tmp_path / "elsewhere.txt")
    with pytest.raises(SourceError, match="must be a file inside the source"):
        rafdb.faces(root, rafdb.Options())


@pytest.mark.parametrize("root", ["", "DATASET/"])
def test_the_form_with_folders_is_read_with_and_without_the_outer_one(tmp_path, root):
    for path in ("train/6/b.jpg", "train/6/a.jpg", "train/1/c.jpg", "test/7/d.jpg"):
        picture(tmp_path / root / path)
    faces = listed(tmp_path)
    assert faces == [
        Face(f"{root}test/7/d.jpg", "neutral", split="test"),
        Face(f"{root}train/1/c.jpg", "surprise", split="train"),
        Face(f"{root}train/6/a.jpg", "anger", split="train"),
        Face(f"{root}train/6/b.jpg", "anger", split="train"),
    ]
    assert all(isinstance(r, bytes) for r in rafdb.read(tmp_path, faces, rafdb.Options()))


def test_where_both_forms_are_the_layout_can_be_chosen(tmp_path):
    official(tmp_path, *ROWS)
    picture(tmp_path / "DATASET/train/1/c.jpg")
    assert len(listed(tmp_path)) == len(listed(tmp_path, layout="official")) == 3
    assert len(listed(tmp_path, layout="folders")) == 1


@pytest.mark.parametrize("strange", ["0", "angry"])
def test_folders_of_another_numbering_are_refused(tmp_path, strange):
    picture(tmp_path / "train/1/a.jpg")
    picture(tmp_path / f"train/{strange}/a.jpg")
    with pytest.raises(SourceError, match=rf"called 1 to 7; got train/{strange} in"):
        rafdb.faces(tmp_path, rafdb.Options())


def test_names_of_any_bytes_and_strays_are_problems_of_their_rows(tmp_path):
    picture(tmp_path / "train/1/a.jpg")
    picture(tmp_path / "train/1/b\n.jpg")
    picture(tmp_path / "train/stray.jpg")
    os.link(tmp_path / "train/1/a.jpg", os.fsencode(tmp_path) + b"/train/1/\xff.jpg")
    faces = {face.source: face.problem for face in listed(tmp_path)}
    assert faces == {
        "train/1/a.jpg": "",
        r"train/1/b\n.jpg": "name holds characters that cannot be printed",
        r"train/1/\udcff.jpg": "name is not valid UTF-8",
        "train/stray.jpg": "image lies in no class folder",
    }


@pytest.mark.parametrize(
    ("layout", "looked_for"),
    [
        ("auto", r"list_patition_label\.txt or train/1"),
        ("official", "list_patition_label.txt or EmoLabel/list_partition_label.txt"),
        ("folders", "must hold train/1 to train/7"),
    ],
)
def test_a_wrong_folder_is_refused_with_what_was_looked_for(tmp_path, layout, looked_for):
    with pytest.raises(SourceError, match=looked_for):
        rafdb.faces(tmp_path, rafdb.Options(layout=layout))


def test_provenance_tells_the_form_and_the_list(tmp_path):
    official(tmp_path, *ROWS)
    of_file = sha256((tmp_path / "EmoLabel/list_patition_label.txt").read_bytes()).digest()
    assert rafdb.provenance(tmp_path, rafdb.Options()) == {
        "release": "official",
        "annotation_files": 1,
        "annotations_sha256": sha256(of_file).hexdigest(),
    }
