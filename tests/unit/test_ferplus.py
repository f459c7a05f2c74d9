import numpy as np
import pytest

from datasets import SourceError, Unreadable, ferplus

HEADER = (
    "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
)
OPTIONS = ferplus.Options()
HAPPY = "0,10,0,0,0,0,0,0,0,0"


def grey(value):
    return " ".join([str(value)] * 48 * 48)


def tables(root, *votes, usages=(), pixels=None, header=HEADER):
    """Both tables, row by row; the picture of row n is grey of value n."""
    usages = usages or ["Training"] * len(votes)
    rows = [f"{usage},fer{n:07}.png,{votes[n]}" for n, usage in enumerate(usages)]
    write(root / "fer2013new.csv", header, *rows)
    old = [f"3,{grey(n)},{usage}" for n, usage in enumerate(usages)] if pixels is None else pixels
    write(root / "fer2013.csv", "emotion,pixels,Usage", *old)
    return root


def folders(root, *rows, name="FER2013Train"):
    """One split: label.csv and the pictures that it names."""
    (root / name).mkdir(parents=True)
    write(root / name / "label.csv", *rows)
    for row in rows:
        (root / name / row.split(",")[0]).write_text("pixels")
    return root


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")


def listed(root, **options):
    return list(ferplus.faces(root, ferplus.Options(**options)))


def verdict(root, votes, rule):
    (face,) = listed(tables(root, votes), votes=rule)
    assert face.problem == ""
    return face.label or face.left_out


def test_votes_and_pixels_are_joined_by_row_not_by_the_number_in_the_name(tmp_path):
    tables(tmp_path, *[HAPPY] * 3)
    names = ("", "fer0000000.png", "fer0000099.png")
    write(tmp_path / "fer2013new.csv", HEADER, *(f"Training,{name},{HAPPY}" for name in names))
    faces = listed(tmp_path)
    values = [pixels[0, 0] for pixels in ferplus.read(tmp_path, faces, OPTIONS)]
    assert [face.source for face in faces] == [f"fer2013new.csv:{line}" for line in (2, 3, 4)]
    assert values == [0, 1, 2]


def test_the_split_is_the_usage(tmp_path):
    tables(tmp_path, *[HAPPY] * 3, usages=["Training", "PublicTest", "PrivateTest"])
    assert [face.split for face in listed(tmp_path)] == ["train", "validation", "test"]


def test_a_picture_without_a_name_is_no_face(tmp_path):
    tables(tmp_path, "0,0,0,0,0,0,0,0,0,10")
    write(tmp_path / "fer2013new.csv", HEADER, "Training,,0,0,0,0,0,0,0,0,0,10")
    (face,) = listed(tmp_path)
    assert (face.label, face.problem) == ("", "")
    assert face.left_out == "not a face (removed by FER+)"


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        ("10,0,0,0,0,0,0,0,0,0", "neutral"),
        ("0,6,4,0,0,0,0,0,0,0", "happiness"),
        ("0,0,10,0,0,0,0,0,0,0", "surprise"),
        ("0,0,0,10,0,0,0,0,0,0", "sadness"),
        ("0,0,0,0,10,0,0,0,0,0", "anger"),
        ("0,0,0,0,0,10,0,0,0,0", "disgust"),
        ("0,0,0,0,0,0,10,0,0,0", "fear"),
        ("0,0,0,0,0,0,0,10,0,0", "contempt"),
        ("5,1,1,1,1,0,0,0,1,0", "neutral"),  # half of all votes, but all others stand alone
        ("1,4,3,1,0,0,1,0,0,0", "happiness"),  # 4 of the 7 that are left
        ("5,0,0,3,2,0,0,0,0,0", "ambiguous votes: neutral 5, sadness 3, anger 2"),  # just half
        ("0,5,5,0,0,0,0,0,0,0", "ambiguous votes: happiness 5, surprise 5"),
        ("4,0,0,1,3,2,0,0,0,0", "ambiguous votes: neutral 4, anger 3, disgust 2"),
        ("1,1,1,1,1,1,1,1,1,1", "ambiguous votes: neutral 1, happiness 1, surprise 1, sadness 1"),
        ("3,0,0,0,0,0,0,0,7,0", "voted unknown: 7 of 10"),
        ("1,0,0,0,0,0,0,0,0,9", "voted not a face: 9 of 10"),
        ("3,0,0,0,0,0,0,0,3,0", "ambiguous votes: neutral 3, unknown 3"),
    ],
)
def test_the_majority_needs_more_than_half_of_the_votes_that_do_not_stand_alone(
    tmp_path, votes, label
):
    assert verdict(tmp_path, votes, "majority").startswith(label)


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        ("4,0,0,1,3,2,0,0,0,0", "neutral"),
        ("0,0,1,0,0,0,0,0,0,0", "surprise"),
        ("0,4,4,2,0,0,0,0,0,0", "ambiguous votes: happiness 4, surprise 4, sadness 2"),
        ("3,0,0,2,0,0,0,1,4,0", "voted unknown: 4 of 10"),
    ],
)
def test_a_plurality_needs_more_votes_than_any_other(tmp_path, votes, label):
    assert verdict(tmp_path, votes, "plurality") == label


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("Training,a.png,1,2", "row has 4 fields, too few"),
        (f"PublicTest,a.png,{HAPPY}", "Usage must be that of fer2013.csv:3; got 'PublicTest'"),
        (
            f"Training,a.png,{HAPPY[:-1]}-1",
            "votes must be whole numbers; got '0,10,0,0,0,0,0,0,0,-",
        ),
        (f"Training,a.png,{HAPPY[:-1]}", "votes must be whole numbers; got '0,10,0,0,0,0,0,0,0,'"),
        (f"Training,a.png,{HAPPY}0", ""),
        (f"Training,a.png,{HAPPY}00000", "votes must be whole numbers"),
        ("Training,a.png,0,0,0,0,0,0,0,0,0,0", "row has no votes"),
    ],
)
def test_what_is_wrong_with_a_row_stays_with_that_row(tmp_path, row, problem):
    tables(tmp_path, HAPPY, HAPPY)
    write(tmp_path / "fer2013new.csv", HEADER, f"Training,b.png,{HAPPY}", row)
    good, bad = faces = listed(tmp_path)
    assert good.problem == ""
    assert bad.problem.startswith(problem)
    assert bool(bad.problem) == bool(problem)
    results = list(ferplus.read(tmp_path, faces, OPTIONS))
    assert isinstance(results[0], np.ndarray)
    assert isinstance(results[1], Unreadable) == bool(problem)


def test_pixels_that_are_none_are_a_problem_of_their_row(tmp_path):
    tables(tmp_path, HAPPY, HAPPY, pixels=[f"3,{grey(0)},Training", "3,1 2,Training"])
    good, bad = listed(tmp_path)
    assert good.problem == ""
    assert bad.problem == "fer2013.csv:3: pixels must be 2304 numbers; got 2"


@pytest.mark.parametrize(("num_votes", "longer"), [(1, "fer2013.csv"), (3, "fer2013new.csv")])
def test_tables_of_different_length_are_refused(tmp_path, num_votes, longer):
    tables(tmp_path, *[HAPPY] * num_votes, pixels=[f"3,{grey(0)},Training"] * 2)
    with pytest.raises(SourceError, match=rf"in the same order; got more rows in {longer}\."):
        listed(tmp_path)


def test_another_table_is_refused_before_anything_is_listed(tmp_path):
    tables(tmp_path, HAPPY, header=HEADER.replace("contempt", "joy"))
    with pytest.raises(SourceError, match="got no 'contempt'"):
        ferplus.faces(tmp_path, OPTIONS)


@pytest.mark.parametrize("place", ["", "data/"])
def test_the_form_with_folders_has_pictures_beside_its_lists(tmp_path, place):
    folders(tmp_path / place, 'fer0000000.png,"(0, 0, 48, 48)",4,0,0,1,3,2,0,0,0,0')
    folders(tmp_path / place, f"fer0028638.png,{HAPPY}", name="FER2013Valid")
    folders(tmp_path / place, f"fer0032220.png,{HAPPY}", name="FER2013Test")
    faces = listed(tmp_path)
    assert [(face.source, face.label, face.split) for face in faces] == [
        (f"{place}FER2013Train/fer0000000.png", "", "train"),
        (f"{place}FER2013Valid/fer0028638.png", "happiness", "validation"),
        (f"{place}FER2013Test/fer0032220.png", "happiness", "test"),
    ]
    assert faces[0].left_out == "ambiguous votes: neutral 4, anger 3, disgust 2"
    assert list(ferplus.read(tmp_path, faces, OPTIONS)) == [b"pixels"] * 3


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (f"gone.png,{HAPPY}", "file missing"),
        (f"../../secret.png,{HAPPY}", "path leads out of the data set's folder"),
        (f",{HAPPY}", "name empty"),
        ("a.png,1,2", "row has 3 fields; must be a name and 10 votes"),
        (f'"a\n.png",{HAPPY}', "name holds characters that cannot be printed"),
        (f"fer0.png,{HAPPY}", "duplicate of FER2013Train/label.csv:1"),
        ("a.png,b,10,0,0,0,0,0,0,0,0,0", "file missing"),
    ],
)
def test_what_is_wrong_with_a_row_of_a_folder_stays_with_that_row(tmp_path, row, problem):
    (tmp_path / "secret.png").touch()
    root = folders(tmp_path / "root", f"fer0.png,{HAPPY}")
    with (root / "FER2013Train/label.csv").open("a") as file:
        file.write(row)
    good, bad = listed(root)
    assert good.problem == ""
    assert bad.problem == problem
    assert bad.source.isprintable()
    assert list(ferplus.read(root, [bad], OPTIONS)) == [Unreadable(problem)]


def test_votes_without_pixels_are_refused_with_what_was_looked_for(tmp_path):
    write(tmp_path / "fer2013new.csv", HEADER)
    with pytest.raises(
        SourceError, match=r"must hold fer2013new\.csv and fer2013\.csv, or FER2013T"
    ):
        ferplus.faces(tmp_path, OPTIONS)


def test_provenance_tells_the_form_and_the_votes(tmp_path):
    of_tables = ferplus.provenance(tables(tmp_path, HAPPY), OPTIONS)
    of_folders = ferplus.provenance(folders(tmp_path / "b", f"a.png,{HAPPY}"), OPTIONS)
    assert (of_tables["release"], of_folders["release"]) == ("tables", "folders")
    assert of_tables["annotations_sha256"] != of_folders["annotations_sha256"]
