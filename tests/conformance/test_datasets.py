"""Every adapter keeps the same promises; a new one joins by a small source in `SOURCES`."""

import io
import itertools
import pickle
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import datasets
from tests.unit.affwild2_tree import PITFALLS, write_tree

ROOT = Path(__file__).parents[2]


def small_folder(root):
    for number, label in enumerate(("angry", "happy", "odd one")):
        (root / label).mkdir()
        for frame in range(3):
            Image.new("RGB", (8, 8), (number, frame, 0)).save(root / label / f"{frame}.png")
    (root / "happy/broken.png").symlink_to("nowhere.png")


def small_table(root):
    Image.new("L", (8, 8), 3).save(root / "a.png")
    (root / "labels.csv").write_text("path,label\na.png,Happy\na.png,Sad\ngone.png,fear\nx\n")


def small_fer2013(root):
    pixels = " ".join(["7"] * 48 * 48)
    rows = ("emotion,pixels,Usage", f"3,{pixels},Training", f"6,{pixels},PublicTest", "9,1,x")
    (root / "fer2013.csv").write_text("\n".join(rows))


def put(path, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def small_affectnet(root):
    put(root / "Manually_Annotated_Images/1/a.png")
    put(root / "Manually_Annotated_Images/1/b.png")
    columns = "subDirectory_filePath,face_x,face_y,face_width,face_height,expression"
    rows = (columns, "1/a.png,1,2,3,3,1", "1/b.png,0,0,8,8,9", "1/gone.png,0,0,8,8,2", "1/b.png")
    (root / "validation.csv").write_text("\n".join(rows))


def small_ckplus(root):
    for number in range(1, 5):
        put(root / f"cohn-kanade-images/S005/001/S005_001_0000000{number}.png")
        put(root / f"cohn-kanade-images/S005/002/S005_002_0000000{number}.png")
    put(root / "cohn-kanade-images/S005/001/odd.png")
    (root / "Emotion/S005/001").mkdir(parents=True)
    (root / "Emotion/S005/001/S005_001_00000004_emotion.txt").write_text("   5.0000000e+00\n")


def small_expw(root):
    put(root / "image/origin/angry_actor_104.jpg")
    rows = ("0 0 1 6 7 22.9 0", "1 0 0 8 8 9.5 3", "2 0 0 0 0 9.5 3", "1 0 0 8 8 9.5 4")
    (root / "label.lst").write_text("".join(f"angry_actor_104.jpg {row}\n" for row in rows))


def small_ferplus(root):
    pixels = " ".join(["7"] * 48 * 48)
    old = ("emotion,pixels,Usage", *[f"3,{pixels},Training"] * 3, "3,1,Training")
    (root / "fer2013.csv").write_text("\n".join(old))
    columns = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    votes = ("a.png,0,9,1,0,0,0,0,0,0,0", "b.png,0,5,5,0,0,0,0,0,0,0", ",0,0,0,0,0,0,0,0,0,10")
    new = (f"Usage,Image name,{columns}", *(f"Training,{row}" for row in (*votes, votes[0])))
    (root / "fer2013new.csv").write_text("\n".join(new))


def small_rafdb(root):
    put(root / "Image/aligned/train_00001_aligned.jpg")
    rows = ("train_00001.jpg 5", "train_00001.jpg 6", "test_0001.jpg 7", "test_0002.jpg 0")
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel/list_patition_label.txt").write_text("\n".join(rows))


def small_affwild2(root):
    write_tree(root, release="abaw8", videos=PITFALLS[:2])


SOURCES = {
    "affectnet": (small_affectnet, {}),
    "affwild2": (small_affwild2, {}),
    "ckplus": (small_ckplus, {}),
    "expw": (small_expw, {"min_confidence": "10"}),
    "ferplus": (small_ferplus, {}),
    "rafdb": (small_rafdb, {}),
    "fer2013": (small_fer2013, {}),
    "folder": (small_folder, {}),
    "synthetic": (
        lambda root: None,
        {"size_px": "32", "subjects": "2", "videos_per_subject": "2", "frames_per_video": "3"},
    ),
    "table": (small_table, {}),
}


@pytest.fixture(params=datasets.names())
def case(request, tmp_path):
    make, given = SOURCES[request.param]
    make(tmp_path)
    adapter = datasets.adapter(request.param)
    return adapter, tmp_path, datasets.options(adapter, given)


def test_the_order_is_the_same_each_time(case):
    adapter, source, options = case
    first = list(adapter.faces(source, options))
    assert first == list(adapter.faces(source, options))
    assert len(first) >= 3


def test_each_row_has_a_source_of_its_own(case):
    adapter, source, options = case
    sources = [face.source for face in adapter.faces(source, options)]
    assert len(set(sources)) == len(sources)
    assert all(name and name.isprintable() for name in sources)


def test_labels_are_canonical_and_missing_only_where_there_is_a_problem(case):
    adapter, source, options = case
    for face in adapter.faces(source, options):
        assert datasets.canonical(face.label) == face.label
        assert face.label or face.problem or face.left_out
        assert face.split in ("", "train", "validation", "test")
        assert -1 <= face.frame < 2**31


def test_reading_yields_one_result_a_face_in_any_order(case):
    adapter, source, options = case
    faces = list(adapter.faces(source, options))
    forwards = list(adapter.read(source, faces, options))
    backwards = list(adapter.read(source, faces[::-1], options))
    assert len(forwards) == len(faces)
    assert list(map(str, forwards)) == list(map(str, backwards[::-1]))
    assert list(adapter.read(source, [], options)) == []


def test_what_is_read_is_an_image_or_says_why_not(case):
    adapter, source, options = case
    faces = list(adapter.faces(source, options))
    for face, result in zip(faces, adapter.read(source, faces, options), strict=True):
        if not face.left_out or face.problem:  # what is left out may lack its picture
            assert isinstance(result, datasets.Unreadable) == bool(face.problem)
        if isinstance(result, bytes):
            Image.open(io.BytesIO(result)).load()
        elif isinstance(result, np.ndarray):
            assert result.dtype == np.uint8
            assert result.ndim == 2 or result.shape[2:] == (3,)


def test_faces_options_and_results_travel_to_a_worker(case):
    adapter, source, options = case
    faces = list(adapter.faces(source, options))
    results = list(adapter.read(source, faces, options))
    assert pickle.loads(pickle.dumps((faces, options))) == (faces, options)
    assert str(pickle.loads(pickle.dumps(results))) == str(results)


def test_faces_are_listed_lazily(case):
    adapter, source, options = case
    assert len(list(itertools.islice(adapter.faces(source, options), 1))) == 1


def test_every_option_has_a_default_and_a_description(case):
    adapter, _, _ = case
    assert is_dataclass(adapter.Options)
    assert adapter.Options() == datasets.options(adapter, {})
    for option in fields(adapter.Options):
        assert option.metadata["help"]


def test_a_source_that_is_not_there_is_refused_at_once_where_one_is_needed(case):
    adapter, source, options = case
    if adapter.NEEDS_SOURCE:
        with pytest.raises(datasets.SourceError, match="source: must"):
            adapter.faces(source / "nowhere", options)
    else:
        assert list(adapter.faces(source / "nowhere", options))


def test_errors_survive_the_way_back_from_a_worker():
    error = pickle.loads(pickle.dumps(datasets.SourceError("source: must be there; got 'x'.")))
    assert str(error) == "source: must be there; got 'x'."


def test_no_adapter_imports_torch_ray_or_pandas():
    code = (
        "import sys, datasets\n"
        "for name in datasets.names(): datasets.adapter(name)\n"
        "assert not {'torch', 'ray', 'pandas', 'orchestrator'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
