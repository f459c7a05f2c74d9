import numpy as np
import pytest
from PIL import Image

from datasets import SourceError, Unreadable, expw

ROW = "angry_actor_104.jpg 0 2 11 21 14 22.9362 0"
OPTIONS = expw.Options()


def picture(path, size=(30, 24)):
    """Each pixel tells where it was: red = x, green = y."""
    path.parent.mkdir(parents=True, exist_ok=True)
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    Image.fromarray(np.stack([x, y, x * 0], axis=-1).astype(np.uint8)).save(path, format="PNG")


def release(root, *rows, name="label/label.lst", images="image/origin"):
    """The list, and one picture for each name in it."""
    for row in rows:
        picture(root / images / row.split()[0])
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join(rows) + "\n")
    return root


def listed(root, **options):
    return list(expw.faces(root, expw.Options(**options)))


def test_a_face_is_named_by_picture_and_number(tmp_path):
    release(tmp_path, ROW, ROW.replace(".jpg 0", ".jpg 1"))
    faces = listed(tmp_path)
    assert [(face.source, face.label, face.group, face.split) for face in faces] == [
        ("image/origin/angry_actor_104.jpg#0", "anger", "", ""),
        ("image/origin/angry_actor_104.jpg#1", "anger", "", ""),
    ]


def test_the_box_is_top_left_right_bottom(tmp_path):
    release(tmp_path, ROW)
    (pixels,) = expw.read(tmp_path, listed(tmp_path), OPTIONS)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (12, 10, 3)
    assert pixels[0, 0].tolist() == [11, 2, 0]
    assert pixels[-1, -1].tolist() == [20, 13, 0]


def test_two_faces_of_one_picture_are_two_crops(tmp_path):
    release(tmp_path, "a.jpg 0 0 0 5 5 50 3", "a.jpg 1 10 10 20 16 50 4")
    faces = listed(tmp_path)
    shapes = [pixels.shape for pixels in expw.read(tmp_path, faces, OPTIONS)]
    assert shapes == [(5, 5, 3), (6, 10, 3)]


def test_labels_are_numbered_as_documented_and_the_name_is_not_the_label(tmp_path):
    release(tmp_path, *(f"angry_actor_1.jpg {n} 0 0 9 9 50 {n}" for n in range(7)))
    assert [face.label for face in listed(tmp_path)] == [
        "anger",
        "disgust",
        "fear",
        "happiness",
        "sadness",
        "surprise",
        "neutral",
    ]


def test_faces_of_low_confidence_are_left_out_where_that_is_asked_for(tmp_path):
    release(tmp_path, ROW, "b.jpg 0 0 0 9 9 30 3")
    assert [face.left_out for face in listed(tmp_path)] == ["", ""]
    unsure, sure = listed(tmp_path, min_confidence=30.0)
    assert unsure.left_out == "confidence 22.9362 below 30"
    assert (unsure.problem, sure.left_out) == ("", "")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a.jpg 0 0 0 9 9 50", "row has 7 fields instead of 8"),
        ("a.jpg 0 0 0 9 9 50 7", "label must be 0 to 6; got '7'"),
        ("a.jpg x 0 0 9 9 50 3", "number of the face must be a whole number; got 'x'"),
        ("a.jpg 0 9 0 9 9 50 3", "face box must be top, left, right and bottom in pixels; got"),
        ("a.jpg 0 0 0 9 nan 50 3", "face box must be top, left, right and bottom in pixels; got"),
        ("a.jpg 0 0 0 9 9 sure 3", "confidence must be a number; got 'sure'"),
        ("gone.jpg 0 0 0 9 9 50 3", "file missing"),
        ("../../../secret.jpg 0 0 0 9 9 50 3", "path leads out of the data set's folder"),
        ("\x1b[31m.jpg 0 0 0 9 9 50 3", "name holds characters that cannot be printed"),
        (ROW[:-1] + "3", "duplicate of label.lst:1, which says 'anger'"),
    ],
)
def test_what_is_wrong_with_a_row_stays_with_that_row(tmp_path, row, problem):
    picture(tmp_path / "secret.jpg")
    root = release(tmp_path / "root", ROW)
    picture(root / "image/origin/a.jpg")
    with (root / "label/label.lst").open("a") as file:
        file.write(row)
    good, bad = listed(root)
    assert good.problem == ""
    assert bad.problem.startswith(problem)
    assert bad.source.isprintable()
    assert isinstance(next(expw.read(root, [bad], OPTIONS)), Unreadable)


def test_a_name_may_hold_blanks_and_any_bytes(tmp_path):
    release(tmp_path, ROW)
    picture(tmp_path / "image/origin/two words#3.jpg")
    with (tmp_path / "label/label.lst").open("ab") as file:
        file.write(b"two words#3.jpg 0 0 0 9 9 50 3\n\xff.jpg 0 0 0 9 9 50 3")
    faces = listed(tmp_path)
    assert faces[1].source == "image/origin/two words#3.jpg#0"
    assert [face.problem for face in faces] == ["", "", "name is not valid UTF-8"]
    assert isinstance(list(expw.read(tmp_path, faces, OPTIONS))[1], np.ndarray)


def test_list_and_pictures_may_lie_elsewhere(tmp_path):
    release(tmp_path, ROW, name="label.lst", images="origin")
    (face,) = listed(tmp_path, images="origin")
    assert (face.source, face.problem) == ("origin/angry_actor_104.jpg#0", "")
    with pytest.raises(SourceError, match=r"options\.images: must be a folder in the source"):
        expw.faces(tmp_path, OPTIONS)


def test_a_wrong_folder_is_refused_with_what_was_looked_for(tmp_path):
    with pytest.raises(SourceError, match=r"must hold label/label\.lst or label\.lst"):
        expw.faces(tmp_path, OPTIONS)


def test_provenance_tells_the_list(tmp_path):
    release(tmp_path, ROW)
    facts = expw.provenance(tmp_path, OPTIONS)
    assert (facts["release"], facts["annotation_files"]) == ("list", 1)
    with (tmp_path / "label/label.lst").open("a") as file:
        file.write(ROW)
    assert expw.provenance(tmp_path, OPTIONS) != facts
