"""`predict`: the same pixels and probabilities as elsewhere, and no file without an answer."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from orchestrator.config.command_line import run as command
from orchestrator.config.errors import CheckpointError, ConfigError, DatasetError
from orchestrator.config.validate import fingerprint
from orchestrator.ingest.dataset import open_dataset
from orchestrator.ingest.pixels import images_of
from orchestrator.predict import main
from tests.unit.prepared_set import write_set
from tests.unit.trained_run import small_model, write_run

TOLERANCE = 1e-5  # batches are cut at other rows, so float32 sums are taken in another order
CSV_TOLERANCE = TOLERANCE + 1e-6  # of the last digit written


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_set(tmp_path_factory.mktemp("data") / "faces", rows=30, image_px=32))


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "small", dataset, silent=False)


@pytest.fixture
def faces(dataset, tmp_path):
    """Twelve images of the set as files, in a folder with a folder inside."""
    folder = tmp_path / "faces"
    (folder / "frames").mkdir(parents=True)
    for row, image in enumerate(images_of(dataset, range(12))):
        place = folder / "frames" if row >= 6 else folder
        Image.fromarray(image).save(place / f"{row:02d}.png")
    return folder


def plain_loop(dataset, row_ids):
    images = torch.from_numpy(images_of(dataset, row_ids)).permute(0, 3, 1, 2).float().div(255)
    with torch.inference_mode():
        return small_model(dataset)(images).softmax(dim=1).numpy()


def table_of(path, classes):
    rows = list(csv.DictReader(path.open()))
    found = np.array([[float(row[f"p_{name}"]) for name in classes] for row in rows])
    return [row["file"] for row in rows], found, rows


def test_files_get_the_probabilities_that_a_plain_loop_gives_them(dataset, run, faces, tmp_path):
    out = tmp_path / "found.csv"
    assert main([f"checkpoint={run}", f"source={faces}", f"out={out}", "batch_size=5"]) == 0
    names, found, rows = table_of(out, dataset.classes)
    # Sorted by name, a folder where its name comes.
    places = [*(f"{k:02d}.png" for k in range(6)), *(f"frames/{k:02d}.png" for k in range(6, 12))]
    assert names == [f"{faces}/{place}" for place in places]
    wanted = plain_loop(dataset, range(12))
    np.testing.assert_allclose(found, wanted, atol=CSV_TOLERANCE)
    assert [row["label"] for row in rows] == [dataset.classes[k] for k in wanted.argmax(axis=1)]
    assert [float(row["confidence"]) for row in rows] == pytest.approx(
        wanted.max(axis=1), abs=CSV_TOLERANCE
    )
    assert not (tmp_path / "found.quarantine.csv").exists()


def test_parquet_has_plain_columns_and_all_of_the_numbers(dataset, run, faces, tmp_path):
    out = tmp_path / "found.parquet"
    images = [str(faces / "00.png"), str(faces / "frames")]
    assert main([f"checkpoint={run}", f"source=[{','.join(images)}]", f"out={out}"]) == 0
    table = pq.read_table(out)
    assert table.column_names[0] == "file"
    assert table.column_names[-2:] == ["label", "confidence"]
    found = np.column_stack([table[f"p_{name}"] for name in dataset.classes])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, plain_loop(dataset, [0, *range(6, 12)]), atol=TOLERANCE)


def test_bad_files_are_in_quarantine_with_the_reason_and_in_no_row(run, faces, tmp_path, capsys):
    (faces / "broken.jpg").write_bytes(b"no image")
    (faces / "empty.png").write_bytes(b"")
    (faces / "video.mp4").write_bytes(b"x")
    (faces / "notes.txt").write_text("passed over")
    outside = tmp_path / "secret.png"
    Image.new("RGB", (32, 32)).save(outside)
    (faces / "link.png").symlink_to(outside)
    Image.new("RGB", (300, 300)).save(faces / "large.png")
    given = [f"checkpoint={run}", f"source={faces}", f"out={tmp_path / 'found.csv'}"]
    assert main([*given, "max_pixels=50000", "max_bad=1"]) == 0
    quarantined = list(csv.DictReader((tmp_path / "found.quarantine.csv").open()))
    reasons = {row["file"].rpartition("/")[2]: row["reason"] for row in quarantined}
    assert set(reasons) == {"broken.jpg", "empty.png", "video.mp4", "link.png", "large.png"}
    assert reasons["empty.png"] == "empty file"
    assert "leads out" in reasons["link.png"]
    assert "max_pixels=50000" in reasons["large.png"]
    assert "folder of these images" in reasons["video.mp4"]
    assert len(list(csv.DictReader((tmp_path / "found.csv").open()))) == 12
    assert main(given) == 1  # with what was asked for, though the table is written
    assert "max_bad: at most 1.00%" in capsys.readouterr().err


def test_a_linked_folder_is_in_quarantine_and_no_way_round(run, faces, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    Image.new("RGB", (32, 32)).save(outside / "a.png")
    (faces / "linked").symlink_to(outside)
    (faces / "frames" / "up").symlink_to(faces)
    (faces / "itself").symlink_to("itself")
    given = [f"checkpoint={run}", f"out={tmp_path / 'found.csv'}", "max_bad=1"]
    assert main([*given, f"source={faces}"]) == 0
    quarantined = list(csv.DictReader((tmp_path / "found.quarantine.csv").open()))
    assert [row["file"] for row in quarantined] == [f"{faces}/frames/up", f"{faces}/linked"]
    assert all("linked folder, which is not followed" in row["reason"] for row in quarantined)
    assert len(list(csv.DictReader((tmp_path / "found.csv").open()))) == 12
    (tmp_path / "hollow").mkdir()
    (tmp_path / "hollow" / "linked").symlink_to(outside)
    with pytest.raises(ConfigError, match="holds none, but a linked folder"):
        main([*given, f"source={tmp_path / 'hollow'}"])


def test_a_hostile_name_is_no_formula_and_breaks_no_line(run, faces, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hostile = "=cmd()\n|\x1b[31m.png"
    (faces / "00.png").rename(tmp_path / hostile)
    assert main([f"checkpoint={run}", 'source=["=cmd()\\n|\\e[31m.png"]', "out=found.csv"]) == 0
    ((name, *_),) = list(csv.reader((tmp_path / "found.csv").open()))[1:]
    assert name == r"'=cmd()\n|\x1b[31m.png"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere", "must be an image or a folder"),
        ("video.mp4", "no decoder is used here"),
        ("hollow", "must hold an image"),
        ("[]", "must not be empty"),
    ],
)
def test_a_source_without_images_is_refused(source, said, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "video.mp4").write_bytes(b"x")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(ConfigError, match=said):
        main([f"checkpoint={run}", f"source={source}"])


def test_a_table_of_an_unknown_kind_is_refused(run):
    with pytest.raises(ConfigError, match=r"out: .*\.csv or \.parquet; got 'found.json'"):
        main([f"checkpoint={run}", "source=a.png", "out=found.json"])


def test_a_checkpoint_that_names_no_classes_is_read_with_its_data_set(dataset, faces, tmp_path):
    silent = write_run(tmp_path / "runs" / "silent", dataset)
    given = [f"checkpoint={silent}", f"source={faces}", f"out={tmp_path / 'found.csv'}"]
    assert main(given) == 0
    _, found, _ = table_of(tmp_path / "found.csv", dataset.classes)
    np.testing.assert_allclose(found, plain_loop(dataset, range(12)), atol=CSV_TOLERANCE)
    with pytest.raises(DatasetError, match="run_data"):
        main([*given, f"run_data={tmp_path / 'gone'}"])


def _changed(run, dataset, tmp_path, **changes):
    """A run whose checkpoint says something else of its data set."""
    other = write_run(tmp_path / "runs" / "changed", dataset, silent=False)
    (marker,) = other.glob("checkpoints/best/*/state.json")
    content = json.loads(marker.read_text())
    content.pop("fingerprint")
    content["dataset"].update(changes)
    marker.write_text(json.dumps({**content, "fingerprint": fingerprint(content)}))
    return other


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_shape": "large"}, "name, fingerprint, classes and image_shape"),
        ({"image_shape": [10**9, 10**9, 3]}, "square RGB"),
        ({"classes": ["a", "a", "a"]}, "names of their own"),
        ({"fingerprint": "0" * 64}, "put together from two"),
        ({"classes": ["a", "b"]}, "weights must fit"),
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_refused(
    changes, said, run, dataset, faces, tmp_path
):
    other = _changed(run, dataset, tmp_path, **changes)
    with pytest.raises(CheckpointError, match=said):
        main([f"checkpoint={other}", f"source={faces}", f"out={tmp_path / 'found.csv'}"])


def test_a_table_that_cannot_be_written_is_an_error_of_the_user(run, faces, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    given = [f"checkpoint={run}", f"source={faces}", f"out={tmp_path / 'file' / 'found.csv'}"]
    assert command(main, given) == 2
    assert "out: must be a file that can be written" in capsys.readouterr().err


def test_no_ray_is_imported_for_it(run, faces, tmp_path):
    code = (
        "import sys; from orchestrator.predict import main; "
        f"assert main(['checkpoint={run}', 'source={faces}', 'out={tmp_path}/a.csv']) == 0; "
        "assert 'ray' not in sys.modules, 'ray'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
