import io
import os
from collections import Counter

import pytest
from PIL import Image

import datasets
from datasets import Face, SourceError, Unreadable, affwild2
from tests.unit.affwild2_tree import CLASSES, PITFALLS, RELEASES, Video, write_tree

HEADER = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
MTL_HEADER = "image,valence,arousal,expression,aus"
DISREGARD = "label -1: to be disregarded"
NO_PICTURE = "no picture of this frame"


def annotate(root, video, *words, split="Train_Set", header=HEADER, top="EXPR_Set"):
    file = root / top / split / f"{video}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join((header, *map(str, words))) + "\n")
    return file


def show(root, video, *names, images="cropped_aligned"):
    folder = root / images / video
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / (f"{name:05d}.jpg" if isinstance(name, int) else name)).touch()


def write_list(root, *rows, name="train_set.txt", header=MTL_HEADER):
    file = root / "MTL_Challenge" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join((header, *rows)) + "\n")


def listed(root, **options):
    return list(affwild2.faces(root, affwild2.Options(**options)))


def refusal(root, **options):
    with pytest.raises(SourceError) as caught:
        affwild2.faces(root, affwild2.Options(**options))
    return str(caught.value)


@pytest.fixture(scope="module", params=RELEASES)
def tree(request, tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp(request.param), release=request.param)


# --- every round ---------------------------------------------------------------------------------


def test_each_round_is_found_and_counted_as_it_was_written(tree):
    options = datasets.options(affwild2, tree.options)
    faces = list(affwild2.faces(tree.root, options))
    usable = [face for face in faces if not face.problem and not face.left_out]
    assert Counter(face.split for face in faces) == tree.rows
    assert Counter(face.label for face in usable) == tree.usable
    reasons = Counter(face.problem or face.left_out for face in faces)
    assert reasons[DISREGARD] == tree.disregarded
    assert reasons[NO_PICTURE] == tree.without_picture
    assert reasons["listed twice"] == tree.listed_twice
    assert sum(reasons.values()) == sum(tree.rows.values())
    assert set(reasons) <= {"", DISREGARD, NO_PICTURE, "listed twice"}


def test_usable_rows_are_112_px_pictures(tree):
    options = datasets.options(affwild2, tree.options)
    faces = [f for f in affwild2.faces(tree.root, options) if not f.problem and not f.left_out]
    for pixels in affwild2.read(tree.root, faces[::7], options):
        assert Image.open(io.BytesIO(pixels)).size == (112, 112)


def test_provenance_tells_the_release_and_what_rows_do_not(tree):
    options = datasets.options(affwild2, tree.options)
    told = affwild2.provenance(tree.root, options)
    assert told["release"].startswith(tree.annotations + "/{")
    assert told["label_lines"] == sum(tree.rows.values())
    assert told["pictures"] == tree.pictures
    assert told["pictures_without_label"] == tree.pictures_without_label
    assert told["videos_without_pictures"] == tree.videos_without_pictures
    assert told["pictures_passed_over"] == 0
    assert str(tree.root.parent) not in repr(told)
    assert told == affwild2.provenance(tree.root, options)


def test_rounds_one_and_two_have_seven_classes_and_others_eight(tree):
    told = affwild2.provenance(tree.root, datasets.options(affwild2, tree.options))
    assert told["classes"] == (7 if tree.annotations == "annotations/EXPR_Set" else 8)
    assert ("other" in tree.usable) == (told["classes"] == 8)


# --- lines and pictures --------------------------------------------------------------------------


def test_line_k_labels_picture_number_k_and_not_the_kth_picture(tmp_path):
    annotate(tmp_path, "102", 1, 2, 3, 4)
    show(tmp_path, "102", 2, 4)
    assert listed(tmp_path) == [
        Face("cropped_aligned/102/00001.jpg", "anger", "102", 1, "train", left_out=NO_PICTURE),
        Face("cropped_aligned/102/00002.jpg", "disgust", "102", 2, "train"),
        Face("cropped_aligned/102/00003.jpg", "fear", "102", 3, "train", left_out=NO_PICTURE),
        Face("cropped_aligned/102/00004.jpg", "happiness", "102", 4, "train"),
    ]


def test_numbers_map_to_names_in_the_order_of_the_header(tmp_path):
    annotate(tmp_path, "102", *range(8))
    show(tmp_path, "102", *range(1, 9))
    assert tuple(face.label for face in listed(tmp_path)) == CLASSES


def test_pictures_are_known_by_number_and_the_name_of_five_digits_wins(tmp_path):
    annotate(tmp_path, "102", 1, 1, 1, 1)
    show(tmp_path, "102", "1.jpg", "00001.jpg", "0002.jpg", "2.jpg", "3.JPG")
    show(tmp_path, "102", "x4.jpg", "4.png", ".DS_Store", "4", "²4.jpg")
    assert [(face.source.rpartition("/")[2], face.left_out) for face in listed(tmp_path)] == [
        ("00001.jpg", ""),
        ("0002.jpg", ""),
        ("3.JPG", ""),
        ("00004.jpg", NO_PICTURE),
    ]
    assert affwild2.provenance(tmp_path, affwild2.Options())["pictures_passed_over"] == 2


@pytest.mark.parametrize("pictures", [0, 2, 3, 4, 9])
def test_more_or_fewer_pictures_than_lines_are_counted_and_never_shift_a_label(tmp_path, pictures):
    annotate(tmp_path, "102", 1, 2, 3)
    show(tmp_path, "102", *range(1, pictures + 1))
    faces = listed(tmp_path)
    assert [face.label for face in faces] == ["anger", "disgust", "fear"]
    assert [not face.left_out for face in faces] == [frame <= pictures for frame in (1, 2, 3)]
    told = affwild2.provenance(tmp_path, affwild2.Options())
    assert told["pictures_without_label"] == max(0, pictures - 3)


def test_a_video_of_only_disregarded_frames_or_without_folder_is_left_out_row_by_row(tmp_path):
    annotate(tmp_path, "102", 1)
    show(tmp_path, "102", 1)
    annotate(tmp_path, "360", -1, 3)
    annotate(tmp_path, "428", -1, -1)
    show(tmp_path, "428", 1, 2)
    faces = listed(tmp_path)
    assert [face.left_out for face in faces] == ["", DISREGARD, NO_PICTURE, DISREGARD, DISREGARD]
    assert [face.label for face in faces] == ["anger", "", "fear", "", ""]
    assert not any(face.problem for face in faces)


def test_an_annotation_of_no_line_has_no_row(tmp_path):
    annotate(tmp_path, "102")
    show(tmp_path, "102", 1)
    assert listed(tmp_path) == []


@pytest.mark.parametrize("word", ["8", "-2", "-5", "1.0", "x", "1,2", "٣", "+1", "1 1", "\udcff"])
def test_a_label_that_is_none_is_a_problem_of_that_row(tmp_path, word):
    file = annotate(tmp_path, "102", 1, "WORD", 2)
    file.write_bytes(file.read_bytes().replace(b"WORD", word.encode("utf-8", "surrogateescape")))
    show(tmp_path, "102", 1, 3)
    one, bad, three = listed(tmp_path)
    assert bad.source == "cropped_aligned/102/00002.jpg"
    assert (bad.problem, bad.label) == (f"label out of range: {word!r}", "")
    assert (one.label, one.problem, three.label, three.problem) == ("anger", "", "disgust", "")


def test_seven_classes_have_no_label_7(tmp_path):
    annotate(tmp_path, "102", 6, 7, header=HEADER.removesuffix(",Other"))
    show(tmp_path, "102", 1, 2)
    assert [face.problem for face in listed(tmp_path)] == ["", "label out of range: '7'"]


def test_a_blank_line_takes_a_frame_in_the_middle_and_none_at_the_end(tmp_path):
    annotate(tmp_path, "102", 1, "", 2, "", " ", "")
    show(tmp_path, "102", 1, 2, 3, 4)
    faces = listed(tmp_path)
    assert [face.problem for face in faces] == ["", "line without a label", ""]
    assert [face.frame for face in faces] == [1, 2, 3]


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\r\n1\r\n2\r\n\r\n",
        f"{HEADER}, \n1\n2",
        f"\ufeff{HEADER.lower()} ,\n 1 \n2,\n\n\n",
        f"{HEADER.replace(',', ' , ')}\r1\r2\r",
    ],
)
def test_line_ends_blanks_and_a_comma_at_the_end_do_not_matter(tmp_path, content):
    annotate(tmp_path, "102").write_bytes(content.encode())
    show(tmp_path, "102", 1, 2)
    faces = listed(tmp_path)
    assert [(face.label, face.problem) for face in faces] == [("anger", ""), ("disgust", "")]


@pytest.mark.parametrize(
    ("video", "group"),
    [
        ("video5_left", "video5"),
        ("video5_right", "video5"),
        ("video5", "video5"),
        ("135-24-1920x1080_left", "135-24-1920x1080"),
        ("video10_1", "video10_1"),
        ("video10_1_right", "video10_1"),
        ("30-30-1920x1080", "30-30-1920x1080"),
        ("1.2", "1.2"),
        ("left", "left"),
    ],
)
def test_both_people_of_a_video_are_one_group(tmp_path, video, group):
    annotate(tmp_path, video, 1)
    show(tmp_path, video, 1)
    (face,) = listed(tmp_path)
    assert (face.source, face.group) == (f"cropped_aligned/{video}/00001.jpg", group)


def test_a_video_in_both_splits_is_a_problem_of_the_second(tmp_path):
    annotate(tmp_path, "102", 1)
    annotate(tmp_path, "102", 2, -1, split="Validation_Set")
    show(tmp_path, "102", 1, 2)
    first, *second = listed(tmp_path)
    assert (first.split, first.problem) == ("train", "")
    assert [(face.source, face.problem) for face in second] == [
        ("EXPR_Set/Validation_Set/102.txt:2", "video is annotated in two splits"),
        ("EXPR_Set/Validation_Set/102.txt:3", "video is annotated in two splits"),
    ]
    assert affwild2.provenance(tmp_path, affwild2.Options())["pictures_without_label"] == 1


def test_train_comes_first_and_videos_are_sorted_by_name(tmp_path):
    for video, split in (("b", "Validation_Set"), ("a-1", "Train_Set"), ("a", "Train_Set")):
        annotate(tmp_path, video, 1, split=split)
    show(tmp_path, "b", 1)
    assert [face.group for face in listed(tmp_path)] == ["a", "a-1", "b"]


# --- hostile trees -------------------------------------------------------------------------------


def test_links_that_lead_out_are_problems_and_never_read(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    show(tmp_path, "outside", 1, images="")
    annotate(root, "102", 1, 2, 3, 4, -1)
    show(root, "102", 4)
    (root / "cropped_aligned/102/00001.jpg").symlink_to(outside / "00001.jpg")
    (root / "cropped_aligned/102/00002.jpg").symlink_to("00004.jpg")
    (root / "cropped_aligned/102/00003.jpg").mkdir()
    (root / "cropped_aligned/102/00005.jpg").symlink_to(outside / "00001.jpg")
    annotate(root, "360", 1)
    (root / "cropped_aligned/360").symlink_to(outside)
    faces = listed(root)
    assert [face.problem for face in faces] == [
        "path leads out of the data set's folder",
        "",
        "not a file",
        "",
        "",
        "a link to a folder is not followed",
    ]
    results = list(affwild2.read(root, faces, affwild2.Options()))
    assert [isinstance(result, Unreadable) for result in results] == [1, 0, 1, 0, 1, 1]


def test_a_picture_that_became_a_link_outwards_is_unreadable(tmp_path):
    root = tmp_path / "root"
    annotate(root, "102", 1)
    show(root, "102", 1)
    faces = listed(root)
    (root / "cropped_aligned/102/00001.jpg").unlink()
    (root / "cropped_aligned/102/00001.jpg").symlink_to(tmp_path)
    (result,) = affwild2.read(root, faces, affwild2.Options())
    assert result == Unreadable("path leads out of the data set's folder")


def test_a_name_that_is_not_printable_spoils_its_own_video_only(tmp_path):
    annotate(tmp_path, "102", 1)
    show(tmp_path, "102", 1)
    annotate(tmp_path, "a\nb", 1)
    annotate(tmp_path, os.fsdecode(b"\xff"), 1)
    faces = listed(tmp_path)
    assert [face.source for face in faces] == [
        "cropped_aligned/102/00001.jpg",
        r"EXPR_Set/Train_Set/a\nb.txt:2",
        r"EXPR_Set/Train_Set/\udcff.txt:2",
    ]
    assert [face.problem for face in faces[1:]] == ["name of the video is not printable"] * 2


@pytest.mark.parametrize("option", ["images", "annotations"])
@pytest.mark.parametrize("place", ["nowhere", "../outside", "link", "file", "ABSOLUTE"])
def test_options_cannot_name_a_folder_outside_of_the_source(tmp_path, option, place):
    root = tmp_path / "root"
    annotate(root, "102", 1)
    show(root, "102", 1)
    show(tmp_path, "outside", 1, images="")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "file").touch()
    place = str(root / "EXPR_Set") if place == "ABSOLUTE" else place
    assert f"options.{option}: must be a folder inside" in refusal(root, **{option: place})


def test_an_annotation_file_that_is_a_link_is_refused(tmp_path):
    show(tmp_path, "102", 1)
    file = annotate(tmp_path, "102", 1)
    file.with_name("360.txt").symlink_to(file)
    assert "must be plain files; got '360.txt'" in refusal(tmp_path)


def test_an_endless_annotation_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets._affwild2_labels._MAX_CHARS", 100)
    annotate(tmp_path, "102", *[1] * 100)
    show(tmp_path, "102", 1)
    with pytest.raises(SourceError, match=r"102\.txt: must be at most 100 characters"):
        listed(tmp_path)


# --- what cannot be used at all ------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "",
        "1",
        "Neutral,Anger,Disgust,Fear,Happiness,Sadness",
        "Neutral,Anger,Disgust,Fear,Sadness,Happiness,Surprise,Other",
        "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Contempt",
        "valence,arousal",
    ],
)
def test_other_classes_or_another_order_are_refused_with_file_and_header(tmp_path, header):
    show(tmp_path, "102", 1)
    annotate(tmp_path, "102", 1, header=header)
    message = refusal(tmp_path)
    assert message.startswith("EXPR_Set/Train_Set/102.txt: header must name the classes neutral,")
    assert f"got {header!r}" in message


def test_files_of_seven_and_of_eight_classes_are_not_mixed(tmp_path):
    show(tmp_path, "102", 1)
    annotate(tmp_path, "102", 1)
    annotate(tmp_path, "360", 1, header=HEADER.removesuffix(",Other"))
    message = refusal(tmp_path)
    assert "got 8 in EXPR_Set/Train_Set/102.txt and 7 in EXPR_Set/Train_Set/360.txt" in message


def test_two_releases_beside_each_other_need_a_choice(tmp_path):
    write_tree(tmp_path, release="abaw3", videos=PITFALLS[:2])
    annotate(tmp_path, "102", 1, top="annotations/EXPR_Set")
    show(tmp_path, "102", 1)
    message = refusal(tmp_path)
    assert f"got '{RELEASES['abaw3'][0]}', 'annotations/EXPR_Set'" in message
    assert "options.annotations=" in message
    assert len(listed(tmp_path, annotations="annotations")) == 1
    assert len(listed(tmp_path, annotations="annotations/EXPR_Set/")) == 1


def test_a_folder_of_another_name_can_be_chosen(tmp_path):
    annotate(tmp_path, "102", 1, top="mine", split="VALIDATION_SET")
    show(tmp_path, "102", 1, images="faces/of/mine")
    (face,) = listed(tmp_path, annotations="mine", images="./faces/of/mine")
    assert (face.source, face.split) == ("faces/of/mine/102/00001.jpg", "validation")


def test_the_source_itself_can_hold_the_folders_of_the_videos(tmp_path):
    annotate(tmp_path, "102", 1)
    show(tmp_path, "102", 1, images="")
    (face,) = listed(tmp_path, images=".")
    assert (face.source, face.left_out) == ("102/00001.jpg", "")


def test_no_annotations_are_refused_with_what_was_looked_for(tmp_path):
    show(tmp_path, "102", 1)
    message = refusal(tmp_path)
    assert message.startswith("source: must hold EXPR_Classification_Challenge or ")
    assert "which holds 'cropped_aligned'" in message
    (tmp_path / "EXPR_Set/Train_Set").mkdir(parents=True)
    assert "must hold a file VIDEO.txt" in refusal(tmp_path)


def test_annotations_are_not_searched_for_among_videos_or_too_deep(tmp_path):
    show(tmp_path, "102", 1)
    annotate(tmp_path / "cropped_aligned", "102", 1)
    annotate(tmp_path / "a/b/c/d", "102", 1)
    for number in range(101):
        (tmp_path / f"videos/{number}").mkdir(parents=True)
    annotate(tmp_path / "videos", "102", 1)
    assert "source: must hold" in refusal(tmp_path)
    annotate(tmp_path / "a/b/c", "102", 1)
    assert len(listed(tmp_path)) == 1


def test_two_folders_of_one_split_are_refused(tmp_path):
    show(tmp_path, "102", 1)
    annotate(tmp_path, "102", 1)
    annotate(tmp_path, "360", 1, split="Training_Set")
    assert "got Train_Set and Training_Set, both train" in refusal(tmp_path)


def test_pictures_of_no_annotated_video_are_refused_with_an_example(tmp_path):
    annotate(tmp_path, "102", 1)
    show(tmp_path, "batch1", 1)
    message = refusal(tmp_path)
    assert "looked for cropped_aligned/102/00001.jpg for instance, got 'batch1'" in message


def test_missing_pictures_are_refused_with_the_folders_there_are(tmp_path):
    annotate(tmp_path, "102", 1)
    assert "got 'cropped_aligned' where" in refusal(tmp_path)
    assert "holds 'EXPR_Set'" in refusal(tmp_path)


# --- the lists of the MTL challenge --------------------------------------------------------------


def test_rows_of_a_list_are_sorted_by_video_and_keep_what_is_wrong_with_them(tmp_path):
    show(tmp_path, "102", 1, 2)
    show(tmp_path, "video48", "2518.jpg")
    write_list(
        tmp_path,
        "video48/02518.jpg,-5.0,-5.0,4,-1,-1",
        "102/00002.jpg,0.0,0.156,-1,0,1",
        "102/00001.jpg, 0.0, 0.054, 0",
        "102/00002.jpg,0.0,0.1,3,0,1",
        "102/00007.jpg,0.0,0.1,3,0,1",
        "../00001.jpg,0,0,1",
        "a/b/00001.jpg,0,0,1",
        "102/00003.jpg,0.0",
    )
    assert [(f.source, f.label, f.problem or f.left_out) for f in listed(tmp_path, task="mtl")] == [
        ("MTL_Challenge/train_set.txt:7", "", "image must be VIDEO/FRAME.jpg; got '../00001.jpg'"),
        ("MTL_Challenge/train_set.txt:8", "", "image must be VIDEO/FRAME.jpg; got 'a/b/00001.jpg'"),
        ("cropped_aligned/102/00002.jpg", "", DISREGARD),
        ("cropped_aligned/102/00001.jpg", "neutral", ""),
        ("MTL_Challenge/train_set.txt:5", "fear", "listed twice"),
        ("cropped_aligned/102/00007.jpg", "fear", NO_PICTURE),
        ("cropped_aligned/102/00003.jpg", "", "line without a label"),
        ("cropped_aligned/video48/2518.jpg", "happiness", ""),
    ]


def test_a_video_in_both_lists_is_a_problem_of_the_second(tmp_path):
    show(tmp_path, "102", 1, 2)
    write_list(tmp_path, "102/00001.jpg,0,0,1")
    write_list(tmp_path, "102/00002.jpg,0,0,1", name="Validation_set.txt")
    assert [face.problem for face in listed(tmp_path, task="mtl")] == [
        "",
        "video is annotated in two splits",
    ]


def test_a_list_with_another_header_is_refused(tmp_path):
    show(tmp_path, "102", 1)
    write_list(tmp_path, header="image,expression,valence,arousal")
    assert "train_set.txt: header must start with image,valence" in refusal(tmp_path, task="mtl")


def test_the_task_that_is_there_is_named_where_the_other_was_asked_for(tmp_path):
    show(tmp_path, "102", 1)
    write_list(tmp_path, "102/00001.jpg,0,0,1")
    assert "only 'MTL_Challenge' is found. Set options.task=mtl." in refusal(tmp_path)
    (tmp_path / "MTL_Challenge/train_set.txt").unlink()
    annotate(tmp_path, "102", 1)
    assert "Set options.task=expr." in refusal(tmp_path, task="mtl")


# --- provenance ----------------------------------------------------------------------------------


def test_the_hash_is_that_of_the_labels_and_not_of_where_they_lie(tmp_path):
    videos = (Video("102", "train"), Video("360", "validation"))
    hashes = {}
    for release in ("abaw3", "abaw8", "abaw2", "changed"):
        root = tmp_path / release
        tree = write_tree(root, release=release.replace("changed", "abaw8"), videos=videos)
        if release == "changed":
            file = root / tree.annotations / "Validation_Set/360.txt"
            file.write_text(file.read_text().replace("4", "7"))
        told = affwild2.provenance(root, affwild2.Options())
        hashes[release] = told["annotations_sha256"]
        assert (told["annotation_files_train"], told["annotation_files_validation"]) == (1, 1)
    assert hashes["abaw3"] == hashes["abaw8"]
    assert len(set(hashes.values())) == 3
