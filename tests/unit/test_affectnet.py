import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from datasets import Face, SourceError, Unreadable, affectnet

HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,"
    "facial_landmarks,expression,valence,arousal"
)
OPTIONS = affectnet.Options()


def row(path="1/a.jpg", box="4,6,10,8", expression="1"):
    return f"{path},{box},1.5;2.5;3.5;4.5,{expression},-2,-2"


def picture(path, size=(20, 16)):
    """Each pixel tells where it was: red = x, green = y."""
    path.parent.mkdir(parents=True, exist_ok=True)
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    pixels = np.stack([x, y, x * 0], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(path, format="PNG")  # PNG keeps the values, whatever the name


def tables(root, *rows, name="training.csv", images="Manually_Annotated_Images", header=HEADER):
    """The first release: a table with boxes, and pictures in numbered folders."""
    picture(root / images / "1/a.jpg")
    picture(root / images / "1/b.jpg")
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text("\n".join((header, *rows)) + "\n")
    return root


def arrays(root, expressions, name="train_set"):
    """The release of 2021: a picture and an array with one number or text for each id."""
    for number, expression in expressions.items():
        picture(root / name / f"images/{number}.jpg")
        (root / name / "annotations").mkdir(exist_ok=True)
        np.save(root / name / f"annotations/{number}_exp.npy", expression)
    return root


def listed(root, **options):
    return list(affectnet.faces(root, affectnet.Options(**options)))


def test_tables_give_path_label_and_split(tmp_path):
    tables(tmp_path, row(), row("1/b.jpg", expression="7"))
    tables(tmp_path, row("1/gone.jpg"), name="validation.csv")
    faces = listed(tmp_path)
    assert [(face.source, face.label, face.split, face.problem) for face in faces] == [
        ("Manually_Annotated_Images/1/a.jpg", "happiness", "train", ""),
        ("Manually_Annotated_Images/1/b.jpg", "contempt", "train", ""),
        ("Manually_Annotated_Images/1/gone.jpg", "happiness", "validation", "file missing"),
    ]


def test_labels_are_numbered_as_documented(tmp_path):
    arrays(tmp_path, {f"{number}": str(number) for number in range(8)})
    assert [face.label for face in listed(tmp_path)] == [
        "neutral",
        "happiness",
        "sadness",
        "surprise",
        "fear",
        "disgust",
        "anger",
        "contempt",
    ]


def test_faces_are_cut_out_by_their_box(tmp_path):
    tables(tmp_path, row(box="4,6,10,8"))
    faces = listed(tmp_path)
    (pixels,) = affectnet.read(tmp_path, faces, OPTIONS)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (8, 10, 3)
    assert pixels[0, 0].tolist() == [4, 6, 0]
    assert pixels[-1, -1].tolist() == [13, 13, 0]


def test_a_box_that_reaches_out_of_the_picture_is_cut_and_one_outside_of_it_is_no_face(tmp_path):
    tables(tmp_path, row(box="-3,10,10.0,100"), row("1/b.jpg", box="20,0,5,5"))
    inside, outside = affectnet.read(tmp_path, listed(tmp_path), OPTIONS)
    assert inside.shape == (6, 7, 3)
    assert outside == Unreadable("face box lies outside of the picture of 20x16 pixels")


def test_whole_pictures_can_be_asked_for(tmp_path):
    tables(tmp_path, row(box="NULL,,x,-1"))
    faces = listed(tmp_path, crop=False)
    (content,) = affectnet.read(tmp_path, faces, affectnet.Options(crop=False))
    assert content == (tmp_path / faces[0].source).read_bytes()


@pytest.mark.parametrize(
    ("expression", "meaning"), [("8", "None"), ("9", "Uncertain"), ("10", "No-Face")]
)
def test_what_is_no_expression_is_left_out_even_without_a_box(tmp_path, expression, meaning):
    tables(tmp_path, row(expression=expression, box="NULL,NULL,NULL,NULL"))
    arrays(tmp_path / "arrays", {"1": expression})
    for source in (tmp_path, tmp_path / "arrays"):
        (face,) = listed(source)
        assert (face.label, face.problem) == ("", "")
        assert face.left_out == f"expression marked {meaning}"


def test_what_is_left_out_may_lack_its_picture(tmp_path):
    tables(tmp_path, row("1/gone.jpg", expression="8"), row("1/gone2.jpg", expression="1"))
    assert [(face.left_out, face.problem) for face in listed(tmp_path)] == [
        ("expression marked None", ""),
        ("", "file missing"),
    ]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (row(expression="11"), "expression must be 0 to 10; got '11'"),
        (row(expression="x\x1b"), r"expression must be 0 to 10; got 'x\\x1b'"),
        (row(box="4,6,0,8"), "face box must be x, y, width and height in pixels; got '4, 6, 0, 8'"),
        (row(box="4,6,-5,8"), "face box must be x, y, width and height in pixels; got '4, 6, -5"),
        (row(box="a,6,5,8"), "face box must be x, y, width and height in pixels; got 'a, 6, 5, 8'"),
        (row(box="1e9,6,5,8"), "face box must be"),
        (row(path=""), "path empty"),
        (row(path="../../secret.jpg"), "path leads out of the data set's folder"),
        (row(path='"1/a\n.jpg"'), "name holds characters that cannot be printed"),
        ("1/a.jpg,1,2", "row has 3 fields, too few"),
        (row(path="1/b.jpg"), "duplicate of training.csv:2"),
    ],
)
def test_what_is_wrong_with_a_row_stays_with_that_row(tmp_path, bad, problem):
    picture(tmp_path / "secret.jpg")
    root = tables(tmp_path / "root", row("1/b.jpg"), bad)
    good, face = listed(root)
    assert good.problem == ""
    assert face.problem.startswith(problem)
    assert face.source.isprintable()
    assert isinstance(next(affectnet.read(root, [face], OPTIONS)), Unreadable)


def test_bytes_that_are_no_utf8_spoil_one_row(tmp_path):
    tables(tmp_path, row())
    with (tmp_path / "training.csv").open("ab") as file:
        file.write(row("1/\udcff.jpg").encode("utf-8", "surrogateescape"))
    assert [face.problem for face in listed(tmp_path)] == ["", "name is not valid UTF-8"]


def test_a_picture_in_both_tables_is_told(tmp_path):
    tables(tmp_path, row())
    tables(tmp_path, row(expression="2"), name="validation.csv")
    first, second = listed(tmp_path)
    assert first.problem == ""
    assert second.problem == "duplicate of training.csv:2, which says 'happiness'"


def test_the_tables_may_lie_in_the_folder_of_lists(tmp_path):
    tables(tmp_path, row(), name="Manually_Annotated_file_lists/validation.csv")
    (face,) = listed(tmp_path)
    assert (face.split, face.problem) == ("validation", "")


def test_other_tables_with_the_columns_are_found_and_their_pictures_may_lie_elsewhere(tmp_path):
    tables(tmp_path, row(), name="automatically_annotated.csv", images="Automatically_Annotated")
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    (face,) = listed(tmp_path, images="Automatically_Annotated")
    assert (face.source, face.split) == ("Automatically_Annotated/1/a.jpg", "")
    with pytest.raises(SourceError, match=r"options\.images: .*got 'Manually_Annotated_Images'"):
        affectnet.faces(tmp_path, OPTIONS)


def test_pictures_outside_of_the_source_are_refused(tmp_path):
    root = tables(tmp_path / "root", row())
    picture(tmp_path / "outside/1/a.jpg")
    inside = str(root / "Manually_Annotated_Images")  # would put a machine's path into the rows
    for images in ("../outside", inside):
        with pytest.raises(SourceError, match=r"options\.images: must be a folder in the source"):
            affectnet.faces(root, affectnet.Options(images=images))


def test_a_table_without_a_column_is_refused(tmp_path):
    tables(tmp_path, "a,1", header="subDirectory_filePath,expressions")
    with pytest.raises(SourceError, match="got no 'face_x'"):
        affectnet.faces(tmp_path, OPTIONS)


def bomb():
    """A PNG of 100 megapixels in a few bytes; decoded, it would be found to be truncated."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"no image", "not an image, or of a format that is not read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image, or of a format that is not read"),
        (bomb(), "picture of 10000x10000 pixels, more than 25,000,000"),
    ],
)
def test_what_cannot_be_decoded_is_unreadable(tmp_path, content, reason):
    tables(tmp_path, row())
    (tmp_path / "Manually_Annotated_Images/1/a.jpg").write_bytes(content)
    assert list(affectnet.read(tmp_path, listed(tmp_path), OPTIONS)) == [Unreadable(reason)]


def test_a_truncated_picture_is_unreadable(tmp_path):
    tables(tmp_path, row())
    path = tmp_path / "Manually_Annotated_Images/1/a.jpg"
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, format="JPEG")
    path.write_bytes(buffer.getvalue()[:1000])
    (result,) = affectnet.read(tmp_path, listed(tmp_path), OPTIONS)
    assert "truncated" in result.reason


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 7, 7),
        ("1", 1, 255),
        ("P", 0, [0, 0, 0]),
        ("RGBA", (9, 9, 9, 0), [255, 255, 255]),
        ("LA", (9, 255), [9, 9, 9]),
    ],
)
def test_any_mode_becomes_grey_or_rgb(tmp_path, mode, colour, expected):
    tables(tmp_path, row())
    path = tmp_path / "Manually_Annotated_Images/1/a.jpg"
    Image.new(mode, (20, 16), colour).save(path, format="PNG")
    (pixels,) = affectnet.read(tmp_path, listed(tmp_path), OPTIONS)
    assert pixels.dtype == np.uint8
    assert pixels[0, 0].tolist() == expected


def test_boxes_count_stored_pixels_whatever_exif_says(tmp_path):
    tables(tmp_path, row(box="0,0,20,16"))
    path = tmp_path / "Manually_Annotated_Images/1/a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # shown by viewers after a quarter turn
    Image.new("L", (20, 16)).save(path, format="JPEG", exif=exif)
    (pixels,) = affectnet.read(tmp_path, listed(tmp_path), OPTIONS)
    assert pixels.shape == (16, 20)


def test_pixels_of_16_bits_are_not_guessed_at(tmp_path):
    tables(tmp_path, row())
    path = tmp_path / "Manually_Annotated_Images/1/a.jpg"
    Image.new("I;16", (20, 16), 300).save(path, format="PNG")
    (result,) = affectnet.read(tmp_path, listed(tmp_path), OPTIONS)
    assert result == Unreadable("pixels of more than 8 bits (I;16) are not read")


@pytest.mark.parametrize(
    "value",
    [
        "3",
        b"3",
        3,
        3.0,
        np.uint8(3),
        np.float32(3),
        np.array(["3"]),
        np.array("3", dtype=">U2"),
    ],
    ids=repr,
)
def test_arrays_hold_the_expression_as_text_or_number(tmp_path, value):
    arrays(tmp_path, {"17": value}, name="val_set")
    assert listed(tmp_path) == [Face("val_set/images/17.jpg", "surprise", split="validation")]


def test_pictures_of_the_second_release_are_read_as_they_are(tmp_path):
    arrays(tmp_path, {"0": "1", "1": "2"})
    contents = list(affectnet.read(tmp_path, listed(tmp_path), OPTIONS))
    assert contents == [(tmp_path / f"train_set/images/{n}.jpg").read_bytes() for n in (0, 1)]


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("an annotation was unpickled",))


@pytest.mark.parametrize(
    "value",
    [np.array([Trap()], dtype=object), np.array([3, 3]), np.array([], dtype=int), "word", "11"],
    ids=["pickle", "two numbers", "no number", "word", "out of range"],
)
def test_any_other_array_is_a_problem_and_is_never_unpickled(tmp_path, value):
    arrays(tmp_path, {"0": "1", "1": value})
    good, bad = listed(tmp_path)
    assert good.problem == ""
    assert bad.problem.startswith("expression must be 0 to 10; got")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        pickle.dumps(Trap()),
        b"\x93NUMPY\x01\x00\xff\xff{'descr': '<i8', 'fortran_order': False, 'shape': (), }\n",
        b"\x93NUMPY\x01\x00\x46\x00" + b"(" * 200,
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '<i8', 'fortran_order': False, 'shape': (), }\n",
        b"\x93NUMPY\x01\x00\x41\x00{'descr': '<u1', 'fortran_order': False, 'shape': (), }\n"
        + bytes([3] * 50),
    ],
    ids=["empty", "pickle", "header too long", "nested header", "no data", "header ends early"],
)
def test_a_damaged_array_is_a_problem(tmp_path, content):
    arrays(tmp_path, {"0": "1"})
    (tmp_path / "train_set/annotations/0_exp.npy").write_bytes(content)
    (face,) = listed(tmp_path)
    assert face.problem == "expression must be 0 to 10; got ''"


def test_pictures_without_annotation_and_annotations_without_picture_are_told(tmp_path):
    arrays(tmp_path, {"0": "1", "1": "2"})
    (tmp_path / "train_set/annotations/0_exp.npy").unlink()
    (tmp_path / "train_set/images/1.jpg").unlink()
    (tmp_path / "train_set/images/.DS_Store").touch()
    assert [(face.source, face.problem) for face in listed(tmp_path)] == [
        ("train_set/images/0.jpg", "annotation _exp.npy: file missing"),
        ("train_set/images/1.jpg", "file missing"),
    ]


def test_an_annotation_that_leads_out_of_the_folder_is_not_read(tmp_path):
    root = arrays(tmp_path / "root", {"0": "1"})
    np.save(tmp_path / "secret.npy", "1")
    (root / "train_set/annotations/0_exp.npy").unlink()
    (root / "train_set/annotations/0_exp.npy").symlink_to(tmp_path / "secret.npy")
    (face,) = listed(root)
    assert face.problem == "annotation _exp.npy: path leads out of the data set's folder"


def test_a_set_without_annotations_is_refused(tmp_path):
    picture(tmp_path / "train_set/images/0.jpg")
    with pytest.raises(SourceError, match="must hold train_set/annotations"):
        affectnet.faces(tmp_path, OPTIONS)


def test_a_wrong_folder_is_refused_with_what_was_looked_for(tmp_path):
    with pytest.raises(SourceError, match=r"training\.csv .* or train_set or val_set"):
        affectnet.faces(tmp_path, OPTIONS)


def test_provenance_tells_the_form(tmp_path):
    tables(tmp_path / "tables", row())
    arrays(tmp_path / "arrays", {"0": "1"})
    of_tables = affectnet.provenance(tmp_path / "tables", OPTIONS)
    assert (of_tables["release"], of_tables["annotation_files"]) == ("tables", 1)
    assert affectnet.provenance(tmp_path / "arrays", OPTIONS) == {
        "release": "arrays",
        "sets": "train_set",
    }
