import os

import pytest

from datasets import Face, SourceError, ckplus

OPTIONS = ckplus.Options()


def frame(sequence, number):
    return f"cohn-kanade-images/{sequence}/{sequence.replace('/', '_')}_{number:08d}.png"


def put(root, path, content="pixels"):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content)


def emotion(root, sequence, number, content="   3.0000000e+00\n"):
    name = f"{sequence.replace('/', '_')}_{number:08d}_emotion.txt"
    put(root, f"Emotion/{sequence}/{name}", content)


def original(root, sequence="S005/001", frames=range(1, 7), label="   3.0000000e+00\n"):
    """One sequence of the release, its label in a file named after its last frame."""
    for number in frames:
        put(root, frame(sequence, number))
    if label:
        emotion(root, sequence, max(frames), label)
    return root


def listed(root, **options):
    return list(ckplus.faces(root, ckplus.Options(**options)))


def test_the_last_frames_have_the_label_and_the_first_is_neutral(tmp_path):
    original(tmp_path)
    assert listed(tmp_path) == [
        Face(frame("S005/001", 1), "neutral", "S005", 1),
        Face(frame("S005/001", 4), "disgust", "S005", 4),
        Face(frame("S005/001", 5), "disgust", "S005", 5),
        Face(frame("S005/001", 6), "disgust", "S005", 6),
    ]


def test_how_many_frames_and_whether_neutral_ones_can_be_chosen(tmp_path):
    original(tmp_path)
    faces = listed(tmp_path, peak_frames=1, neutral=False)
    assert [(face.frame, face.label) for face in faces] == [(6, "disgust")]


def test_the_first_frame_is_never_a_peak(tmp_path):
    original(tmp_path, frames=[1, 2])
    labels = [(face.frame, face.label) for face in listed(tmp_path)]
    assert labels == [(1, "neutral"), (2, "disgust")]
    assert [face.frame for face in listed(tmp_path, neutral=False)] == [2]


@pytest.mark.parametrize(
    ("number", "label"),
    [
        (0, "neutral"),
        (1, "anger"),
        (2, "contempt"),
        (3, "disgust"),
        (4, "fear"),
        (5, "happiness"),
        (6, "sadness"),
        (7, "surprise"),
    ],
)
def test_labels_are_numbered_as_documented(tmp_path, number, label):
    original(tmp_path, label=f"   {number:.7e}\n")
    assert listed(tmp_path)[-1].label == label


def test_frames_are_ordered_by_number_and_need_not_start_at_one_nor_be_without_gaps(tmp_path):
    for number in ("00000100", "99", "7", "00000101"):
        put(tmp_path, f"cohn-kanade-images/S005/001/S005_001_{number}.png")
    emotion(tmp_path, "S005/001", 101)
    assert [face.frame for face in listed(tmp_path)] == [7, 99, 100, 101]


def test_a_sequence_without_emotion_file_is_left_out(tmp_path):
    original(tmp_path)
    original(tmp_path, "S005/002", label="")
    original(tmp_path, "S005/003", label="")
    (tmp_path / "Emotion/S005/003").mkdir()
    left_out = [face for face in listed(tmp_path) if face.left_out]
    assert [(face.source, face.label, face.problem) for face in left_out] == [
        (frame(sequence, number), "", "")
        for sequence in ("S005/002", "S005/003")
        for number in (4, 5, 6)
    ]
    assert {face.left_out for face in left_out} == {"sequence without a label"}


def test_frames_after_the_one_that_the_emotion_file_names_have_no_label(tmp_path):
    original(tmp_path, label="")
    emotion(tmp_path, "S005/001", 4)
    assert [face.frame for face in listed(tmp_path)] == [1, 2, 3, 4]


def test_without_its_peak_a_sequence_has_no_known_label(tmp_path):
    original(tmp_path)
    (tmp_path / frame("S005/001", 6)).unlink()
    problems = [(face.frame, face.problem) for face in listed(tmp_path)]
    assert problems == [
        (1, ""),
        (6, "file missing"),
        (3, "sequence lacks its peak, frame 6"),
        (4, "sequence lacks its peak, frame 6"),
        (5, "sequence lacks its peak, frame 6"),
    ]


def test_an_emotion_file_without_pictures_is_told(tmp_path):
    original(tmp_path)
    emotion(tmp_path, "S006/001", 9)
    last = listed(tmp_path)[-1]
    assert last == Face(frame("S006/001", 9), "disgust", "S006", 9, problem="file missing")


@pytest.mark.parametrize("content", ["", "8", "-1", "2.5", "nan", "inf", "happy", "3 3", "\x00"])
def test_an_emotion_file_that_is_no_number_is_a_problem_of_its_sequence(tmp_path, content):
    original(tmp_path, label=content or " ")
    original(tmp_path, "S006/001")
    faces = listed(tmp_path)
    bad = [face for face in faces if face.problem]
    assert [face.frame for face in bad] == [-1, 4, 5, 6]
    assert all("emotion must be a number, 0 to 7; got" in face.problem for face in bad)
    assert sum(face.group == "S006" and not face.problem for face in faces) == 4


def test_two_emotion_files_are_a_problem_of_the_sequence(tmp_path):
    original(tmp_path)
    emotion(tmp_path, "S005/001", 5)
    assert listed(tmp_path)[-1].problem == "sequence has 2 emotion files"


def test_an_emotion_file_that_leads_out_of_the_folder_is_not_read(tmp_path):
    root = original(tmp_path / "root")
    put(tmp_path, "secret.txt", "5")
    file = root / "Emotion/S005/001/S005_001_00000006_emotion.txt"
    file.unlink()
    file.symlink_to(tmp_path / "secret.txt")
    last = listed(root)[-1]
    assert (last.label, last.problem) == ("", "path leads out of the data set's folder")


def test_pictures_that_cannot_be_placed_are_problems_of_their_rows(tmp_path):
    original(tmp_path)
    put(tmp_path, "cohn-kanade-images/S005/001/S006_001_00000001.png")
    put(tmp_path, "cohn-kanade-images/S005/001/x\n.png")
    put(tmp_path, "cohn-kanade-images/stray.png")
    put(tmp_path, "cohn-kanade-images/.DS_Store")
    put(tmp_path, "cohn-kanade-images/S005/001/._S005_001_00000006.png")
    name = os.fsencode(tmp_path / "cohn-kanade-images/S005/001") + b"/\xff.png"
    os.link(tmp_path / frame("S005/001", 1), name)
    like = "path must be like S005/001/S005_001_00000011.png"
    problems = {face.source: face.problem for face in listed(tmp_path) if face.problem}
    assert problems == {
        "cohn-kanade-images/S005/001/S006_001_00000001.png": like,
        r"cohn-kanade-images/S005/001/x\n.png": "name holds characters that cannot be printed",
        r"cohn-kanade-images/S005/001/\udcff.png": "name is not valid UTF-8",
        "cohn-kanade-images/stray.png": like,
    }


def test_a_frame_that_is_a_broken_link_does_not_shift_the_peak(tmp_path):
    original(tmp_path)
    (tmp_path / frame("S005/001", 5)).unlink()
    (tmp_path / frame("S005/001", 5)).symlink_to("nowhere.png")
    assert [(face.frame, face.problem) for face in listed(tmp_path)[1:]] == [
        (4, ""),
        (5, "file missing"),
        (6, ""),
    ]


def test_what_is_read_are_the_bytes_of_the_files(tmp_path):
    original(tmp_path)
    put(tmp_path, frame("S005/001", 6), "the peak")
    assert list(ckplus.read(tmp_path, listed(tmp_path), OPTIONS))[-1] == b"the peak"


@pytest.mark.parametrize("root", ["", "CK+48/"])
def test_ck48_has_class_subject_and_frame_in_its_paths(tmp_path, root):
    put(tmp_path, f"{root}happy/S010_006_00000015.png")
    put(tmp_path, f"{root}contempt/S138_008_00000009.png")
    put(tmp_path, f"{root}contempt/odd.png")
    good, odd, happy = listed(tmp_path)
    assert good == Face(f"{root}contempt/S138_008_00000009.png", "contempt", "S138", 9)
    assert happy == Face(f"{root}happy/S010_006_00000015.png", "happiness", "S010", 15)
    assert odd.problem == "name must be like S010_004_00000017.png"
    assert list(ckplus.read(tmp_path, [happy], OPTIONS)) == [b"pixels"]


def test_folders_that_are_no_class_are_refused(tmp_path):
    put(tmp_path, "happy/S010_006_00000015.png")
    put(tmp_path, "joy/S010_006_00000015.png")
    with pytest.raises(SourceError, match="which holds joy"):
        ckplus.faces(tmp_path, OPTIONS)


def test_pictures_without_the_labels_are_refused(tmp_path):
    original(tmp_path, label="")
    with pytest.raises(SourceError, match=r"must hold Emotion/S005/001/.*_emotion\.txt"):
        ckplus.faces(tmp_path, OPTIONS)


def test_a_wrong_folder_is_refused_with_what_was_looked_for(tmp_path):
    with pytest.raises(SourceError, match="must hold cohn-kanade-images and Emotion, or folders"):
        ckplus.faces(tmp_path, OPTIONS)


def test_provenance_tells_the_form_and_the_emotion_files(tmp_path):
    original(tmp_path)
    original(tmp_path, "S006/001")
    facts = ckplus.provenance(tmp_path, OPTIONS)
    assert (facts["release"], facts["annotation_files"]) == ("original", 2)
    emotion(tmp_path, "S006/001", 6, "5")
    assert ckplus.provenance(tmp_path, OPTIONS) != facts
