import numpy as np
import pytest

from datasets import SourceError, Unreadable, fer2013

OPTIONS = fer2013.Options()
PIXELS = " ".join(str(number % 256) for number in range(48 * 48))


def write(root, *rows, header="emotion,pixels,Usage", name="fer2013.csv"):
    (root / name).write_text("\n".join((header, *rows)) + "\n")
    return root / name


def test_rows_carry_their_pixels_and_their_line(tmp_path):
    csv = write(
        tmp_path, f"3,{PIXELS},Training", f"6,{PIXELS},PublicTest", f"0,{PIXELS},PrivateTest"
    )
    faces = list(fer2013.faces(csv, OPTIONS))
    assert [(f.source, f.label, f.split, f.problem) for f in faces] == [
        ("fer2013.csv:2", "happiness", "train", ""),
        ("fer2013.csv:3", "neutral", "validation", ""),
        ("fer2013.csv:4", "anger", "test", ""),
    ]
    first = next(fer2013.read(csv, faces, OPTIONS))
    assert first.dtype == np.uint8
    assert np.array_equal(first, (np.arange(48 * 48) % 256).reshape(48, 48))


def test_the_newer_table_has_blanks_in_its_header_and_other_columns_order(tmp_path):
    write(
        tmp_path,
        f"4, Training, {PIXELS}",
        header="emotion, Usage, pixels",
        name="icml_face_data.csv",
    )
    (face,) = fer2013.faces(tmp_path, OPTIONS)
    assert (face.source, face.label, face.split) == ("icml_face_data.csv:2", "sadness", "train")
    assert len(face.payload) == 48 * 48


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("3,1 2 3,Training", "pixels must be 2304 numbers; got 3"),
        (f"3,{PIXELS[:-3]} 256,Training", "pixels must be whole numbers from 0 to 255"),
        (f"3,{PIXELS[:-3]} -1,Training", "pixels must be whole numbers from 0 to 255"),
        (f"3,{PIXELS[:-3]} x,Training", "pixels must be whole numbers from 0 to 255"),
        (f"7,{PIXELS},Training", "emotion must be 0 to 6; got '7'"),
        (f"x,{PIXELS},Training", "emotion must be 0 to 6; got 'x'"),
        (f"3,{PIXELS},Other", "Usage must be Training, PublicTest or PrivateTest; got 'Other'"),
        ("3", "row has 1 fields, too few"),
    ],
)
def test_what_is_wrong_with_a_row_stays_with_that_row(tmp_path, row, problem):
    csv = write(tmp_path, row, f"3,{PIXELS},Training")
    bad, good = faces = list(fer2013.faces(csv, OPTIONS))
    assert bad.problem == problem
    assert good.problem == ""
    assert next(fer2013.read(csv, faces, OPTIONS)) == Unreadable(problem)


def test_another_table_is_refused(tmp_path):
    with pytest.raises(SourceError, match="must have the columns emotion, pixels, Usage"):
        fer2013.faces(write(tmp_path, header="path,label"), OPTIONS)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "fer2013.csv").touch()
    with pytest.raises(SourceError, match="must have the columns"):
        fer2013.faces(tmp_path, OPTIONS)


def test_a_folder_without_the_table_is_refused_with_the_other_adapters(tmp_path):
    with pytest.raises(SourceError, match="adapter folder or table"):
        fer2013.faces(tmp_path, OPTIONS)
