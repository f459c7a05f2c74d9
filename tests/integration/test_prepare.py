"""`prepare` on a real Ray: no row is lost, and a killed run goes on where it was."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from orchestrator.cluster import connect
from orchestrator.config.commands import PrepareConfig
from orchestrator.config.errors import ConfigError, OrchestratorError
from orchestrator.ingest import writing
from orchestrator.ingest.dataset import open_dataset, read_split_index
from orchestrator.ingest.pixels import images_of
from orchestrator.ingest.splits import SPLITS
from orchestrator.prepare import main, prepare
from tests.unit.affwild2_tree import write_tree

pytestmark = pytest.mark.ray

CLASSES = ("anger", "fear", "happiness")
PER_CLASS = 400  # three slices in all
PX = 12


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    """A folder per class; a few rows of `neutral`, a few damaged, two pairs byte-identical."""
    root = tmp_path_factory.mktemp("faces")
    random = np.random.default_rng(0)
    for label in (*CLASSES, "neutral"):
        (root / label).mkdir()
        for number in range(PER_CLASS if label in CLASSES else 7):
            pixels = random.integers(0, 256, (PX, PX, 3), np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number:04d}.png")
    whole = (root / "anger" / "0000.png").read_bytes()
    (root / "anger" / "0001.png").write_bytes(whole)
    (root / "fear" / "0000.png").write_bytes(whole)
    (root / "anger" / "9990.png").write_bytes(whole[: len(whole) // 2])
    (root / "fear" / "9990.jpg").write_bytes(b"no image")
    (root / "happiness" / "9990.png").write_bytes(b"")
    return root


def config(faces, out, **changes) -> PrepareConfig:
    given = {
        "dataset": "folder",
        "source": str(faces),
        "out": str(out),
        "classes": CLASSES,
        "drop": ("neutral",),
        "image_px": PX,
        "rows_per_file": 500,
    }
    return PrepareConfig.model_validate(given | changes)


@pytest.fixture(scope="module")
def dataset(local_ray, faces, tmp_path_factory):
    return prepare(config(faces, tmp_path_factory.mktemp("out") / "set"))


def parts(out):
    """Files of images, with the times of last change."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}


def staged(out):
    """What lies in the folder of unfinished work, with the times of last change."""
    files = (out / ".partial").glob("slice-*")
    return {path.name: path.stat().st_mtime_ns for path in files}


def test_rows_in_are_rows_out_and_quarantined(dataset):
    assert dataset.manifest["rows"] == {"listed": 1210, "kept": 1200, "bad": 3, "left_out": 7}
    quarantine = pq.read_table(dataset.root.local / "quarantine.parquet").to_pylist()
    assert len(quarantine) == 10
    bad = {row["source"]: row["reason"] for row in quarantine if row["kind"] == "bad"}
    assert bad["happiness/9990.png"] == "empty file"
    assert bad["fear/9990.jpg"] == "not an image, or of a format that is not read"
    assert "truncated" in bad["anger/9990.png"]
    left_out = [row for row in quarantine if row["kind"] == "left out"]
    assert {row["label"] for row in left_out} == {"neutral"}


def test_every_row_holds_the_pixels_and_the_label_of_its_source(dataset, faces):
    rows = [0, 499, 500, 777, 1199]
    table = dataset.read(["label", "source"]).take(rows).to_pylist()
    for row, pixels in zip(table, images_of(dataset, rows), strict=True):
        with Image.open(faces / row["source"]) as image:
            assert np.array_equal(pixels, np.asarray(image))
        assert row["source"].startswith(CLASSES[row["label"]])


def test_files_of_images_and_the_index_say_the_same_of_each_row(dataset):
    names = ["listed", "label", "group", "frame", "source"]
    files = [pq.read_table(dataset.root.path(name), columns=names) for name in dataset.files]
    assert pa.concat_tables(files).equals(dataset.read(names))


def test_files_have_the_rows_asked_for_and_nothing_unfinished_is_left(dataset):
    rows = [file["rows"] for file in dataset.manifest["files"]]
    assert len(rows) == 3
    assert all(490 <= number <= 500 for number in rows[:2]), "of 500 some were bad"
    names = {path.name for path in dataset.root.local.iterdir()}
    assert names - {"audit"} == {"manifest.json", "quarantine.parquet", "rows.parquet"} | {
        *dataset.files
    }


def test_identical_images_are_found_and_never_parted_by_the_group_protocol(dataset):
    audit = dataset.manifest["audit"]
    assert (audit["duplicate_groups"], audit["duplicate_rows"]) == (1, 3)
    assert audit["label_conflicts"] == 1
    assert audit["leaks"]["group"]["duplicate_groups_across"] == 0
    index = read_split_index(dataset, "group")
    groups, counts = np.unique(index.groups, return_counts=True)
    assert counts.max() == 3
    assert groups[counts.argmax()].startswith("sha256:")


def test_counts_of_the_manifest_are_those_of_the_rows(dataset):
    for protocol in dataset.protocols:
        index = read_split_index(dataset, protocol)
        for split, of_class in dataset.counts[protocol].items():
            found = np.bincount(index.labels[index.splits == split], minlength=len(CLASSES))
            assert found.tolist() == list(of_class.values())


def test_how_rows_are_cut_into_files_does_not_change_the_fingerprint(dataset, faces, tmp_path):
    other = prepare(config(faces, tmp_path / "set", rows_per_file=333))
    assert len(other.files) == 4
    assert other.files != dataset.files
    assert other.fingerprint == dataset.fingerprint


@pytest.mark.parametrize("change", [{"seed": 1}, {"fractions": (0.5, 0.25, 0.25)}])
def test_other_splits_are_another_fingerprint(dataset, faces, tmp_path, change):
    assert prepare(config(faces, tmp_path / "set", **change)).fingerprint != dataset.fingerprint


def test_a_finished_set_is_opened_and_not_written_again(dataset, faces):
    before = {path: path.stat().st_mtime_ns for path in dataset.root.local.iterdir()}
    again = prepare(config(faces, dataset.root.local))
    assert again == dataset
    assert {path: path.stat().st_mtime_ns for path in dataset.root.local.iterdir()} == before


def test_a_folder_with_another_set_is_not_overwritten(dataset, faces):
    with pytest.raises(ConfigError, match="must not hold another data set"):
        prepare(config(faces, dataset.root.local, seed=5))
    open_dataset(dataset.root)


def test_a_folder_with_foreign_files_is_not_touched(local_ray, faces, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="must be an empty or a new folder"):
        prepare(config(faces, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_too_many_bad_rows_end_it_with_a_summary_and_the_quarantine(local_ray, faces, tmp_path):
    out = tmp_path / "set"
    with pytest.raises(OrchestratorError) as caught:
        prepare(config(faces, out, max_bad=0.002))
    assert not isinstance(caught.value, ConfigError)
    assert "got 3 of 1,203 (0.25%)" in str(caught.value)
    assert "1 x empty file" in str(caught.value)
    assert pq.read_table(out / "quarantine.parquet").num_rows == 10
    assert not (out / "manifest.json").exists()


def test_only_files_without_a_receipt_are_made_again(dataset, faces, tmp_path, monkeypatch):
    out = tmp_path / "set"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writing, "_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(config(faces, out))
    assert len(staged(out)) == 3 * 2
    before = parts(out)
    sorted((out / ".partial").glob("slice-00001-*.json"))[0].unlink()  # killed just before it
    (out / "part-00000.parquet").unlink()
    (out / "part-00007.parquet").write_bytes(b"of an attempt with other settings")
    assert prepare(config(faces, out)).fingerprint == dataset.fingerprint
    after = parts(out)
    assert after.keys() == before.keys() == {f"part-0000{part}.parquet" for part in range(3)}
    assert [name for name in sorted(after) if after[name] == before[name]] == ["part-00002.parquet"]
    assert not (out / ".partial").exists()
    (out / ".partial").mkdir()  # killed as it was being removed
    (out / ".partial" / "slice-00001-0.json").touch()
    assert prepare(config(faces, out)).fingerprint == dataset.fingerprint
    assert not (out / ".partial").exists()


@pytest.mark.parametrize("torn", ["slice-00001-*.json", "slice-00001-*.parquet"])
def test_what_a_failure_of_power_tore_is_made_again(dataset, faces, tmp_path, monkeypatch, torn):
    out = tmp_path / "set"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writing, "_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(config(faces, out))
    before = parts(out)
    (note,) = (out / ".partial").glob(torn)
    note.write_bytes(note.read_bytes()[:-20])
    assert prepare(config(faces, out)).fingerprint == dataset.fingerprint
    after = parts(out)
    assert [name for name in sorted(after) if after[name] != before[name]] == ["part-00001.parquet"]


def test_a_picture_that_was_mended_is_read_again(local_ray, faces, tmp_path):
    source, out = shutil.copytree(faces, tmp_path / "faces"), tmp_path / "set"
    with pytest.raises(OrchestratorError, match="max_bad"):
        prepare(config(source, out, max_bad=0))
    for name in ("anger/9990.png", "happiness/9990.png"):
        shutil.copy(source / "anger/0005.png", source / name)
    (source / "fear/9990.jpg").write_bytes((source / "fear/0005.png").read_bytes())
    rows = prepare(config(source, out, max_bad=0)).manifest["rows"]
    assert (rows["kept"], rows["bad"]) == (1203, 0)


def test_a_file_of_other_settings_is_not_taken_for_ours_though_it_has_the_size(
    dataset, faces, tmp_path, monkeypatch
):
    out = tmp_path / "set"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writing, "_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(config(faces, out))
    path = out / "part-00001.parquet"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert prepare(config(faces, out)).fingerprint == dataset.fingerprint


def test_a_set_that_another_run_finished_meanwhile_is_not_written_over(dataset, faces, monkeypatch):
    monkeypatch.setattr("orchestrator.prepare._finished", lambda plan: None)
    with pytest.raises(OrchestratorError, match="finished by another prepare meanwhile"):
        prepare(config(faces, dataset.root.local, seed=9))
    open_dataset(dataset.root)


def test_the_audit_is_written_again_when_it_is_asked_for(dataset, capsys):
    assert main(["--audit", f"out={dataset.root}"]) == 0
    assert f"audit        {dataset.root}/audit/index.html" in capsys.readouterr().out
    assert (dataset.root / "audit").size("audit.json")


def test_exact_sizes_are_met_by_the_random_protocol(dataset, faces, tmp_path):
    sizes = (720, 239, 241)
    made = prepare(config(faces, tmp_path / "set", sizes=sizes))
    assert tuple(sum(made.counts["random"][split].values()) for split in SPLITS) == sizes
    assert made.counts["group"] == dataset.counts["group"]


def test_sizes_that_do_not_add_up_are_refused_with_the_number_of_rows(local_ray, faces, tmp_path):
    with pytest.raises(ConfigError, match="must add up to the rows kept, 1,200"):
        prepare(config(faces, tmp_path / "set", sizes=(700, 239, 241)))


def test_copies_kept_together_share_a_split_in_every_protocol(local_ray, faces, tmp_path):
    made = prepare(config(faces, tmp_path / "set", together="exact"))
    for leak in made.manifest["audit"]["leaks"].values():
        assert leak["duplicate_groups_across"] == 0
    sizes = [sum(made.counts["random"][split].values()) for split in SPLITS]
    assert max(abs(size - wanted) for size, wanted in zip(sizes, (720, 240, 240), strict=True)) <= 3


def test_unfinished_work_of_other_settings_is_not_mixed_in(dataset, faces, tmp_path):
    out = tmp_path / "set"
    with pytest.raises(OrchestratorError, match="max_bad"):
        prepare(config(faces, out, max_bad=0, image_px=16))
    assert prepare(config(faces, out)).fingerprint == dataset.fingerprint


def test_two_runs_do_not_write_one_folder_at_once(local_ray, faces, tmp_path):
    import fcntl

    out = tmp_path / "set"
    (out / ".partial").mkdir(parents=True)
    with (out / ".partial" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OrchestratorError, match="another prepare is at work"):
            prepare(config(faces, out))


def test_a_label_nobody_named_is_refused_with_its_count_before_anything_is_read(
    local_ray, faces, tmp_path
):
    with pytest.raises(ConfigError, match=r"got neutral \(7 rows\)\. Leave out with drop"):
        prepare(config(faces, tmp_path / "set", drop=()))
    assert not (tmp_path / "set").exists()


def test_a_killed_run_goes_on_and_ends_with_the_same_fingerprint(local_ray, tmp_path):
    drawn = {"options": {"subjects": 20, "size_px": 32}, "image_px": 32, "rows_per_file": 200}
    whole = prepare(PrepareConfig(out=str(tmp_path / "whole"), **drawn))
    out = tmp_path / "killed"
    words = [
        "options.subjects=20",
        "options.size_px=32",
        "image_px=32",
        f"out={out}",
        "rows_per_file=200",
    ]
    run = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.prepare", *words, f"address={local_ray.address}"],
        cwd=Path(__file__).parents[2],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    try:
        while not list(out.glob(".partial/slice-*.json")):
            assert run.poll() is None, "it ended before a slice was seen"
            time.sleep(0.005)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    assert not (out / "manifest.json").exists()
    assert prepare(PrepareConfig(out=str(out), **drawn)).fingerprint == whole.fingerprint


def test_the_command_says_what_it_did_and_what_to_type_next(dataset, faces, capsys):
    words = [
        "dataset=folder",
        f"source={faces}",
        f"out={dataset.root}",
        f"classes=[{','.join(CLASSES)}]",
        "drop=[neutral]",
        f"image_px={PX}",
        "rows_per_file=500",
    ]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "is finished already; nothing to write" in said
    assert "rows in 1,210 = kept 1,200 + quarantined 10 (bad 3, left out 7)" in said
    assert "byte-identical images: 1 sets of them with 3 rows" in said
    assert dataset.fingerprint in said
    assert f"next: python -m orchestrator.ablate data.path={dataset.root}" in said


def test_a_command_uses_the_ray_that_is_up_and_leaves_it_up(local_ray):
    import ray

    with connect("local") as cluster:
        assert not cluster.started
        assert cluster.address == local_ray.address
    assert ray.is_initialized()


def test_workers_import_our_datasets_and_not_another_package_of_that_name(local_ray):
    import ray

    import datasets

    where = ray.remote(lambda: __import__("datasets").__file__)
    assert ray.get(where.remote()) == datasets.__file__


def test_the_manifest_tells_no_path_of_this_machine(dataset, faces):
    text = dataset.root.read("manifest.json").decode()
    assert str(faces.parent) not in text
    assert json.loads(text)["source"] == {
        "adapter": "folder",
        "name": faces.name,
        "options": {},
        "provenance": {},
    }


def test_an_aff_wild2_release_is_prepared_with_its_own_split(local_ray, tmp_path):
    tree = write_tree(tmp_path / "release")
    made = prepare(
        PrepareConfig(
            dataset="affwild2",
            source=str(tree.root),
            out=str(tmp_path / "set"),
            drop=("neutral", "other"),
            max_bad=0.1,
        )
    )
    rows = made.manifest["rows"]
    kept = sum(tree.usable[name] for name in made.classes)
    assert rows["listed"] == sum(tree.rows.values())
    assert rows["kept"] == kept
    left_out = tree.usable["neutral"] + tree.usable["other"] + tree.disregarded
    assert rows["left_out"] == left_out + tree.without_picture
    assert "official" in made.protocols
    assert made.manifest["audit"]["leaks"]["official"]["groups_across"] == 0
    assert made.manifest["source"]["provenance"]["label_lines"] == sum(tree.rows.values())
