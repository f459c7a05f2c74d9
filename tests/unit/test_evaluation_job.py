"""What an evaluation will do, checked without Ray: which rows, which data set, where to."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from prepared_set import write_set
from trained_run import small_model, write_run

from orchestrator import evaluation_job
from orchestrator.checkpoint_choice import choose
from orchestrator.config.errors import CheckpointError, ConfigError, DatasetError
from orchestrator.config.evaluation import EvaluateConfig
from orchestrator.config.storage import sha256_of
from orchestrator.config.validate import fingerprint, validate
from orchestrator.evaluation_job import checked_job, facts, record, requests_of
from orchestrator.inference.batch_run import Pace
from orchestrator.inference.data_sets import DataSets, check_image_shape, class_indices
from orchestrator.inference.stored_model import open_model, was_trained_on
from orchestrator.ingest.dataset import open_dataset

PACE = Pace(num_rows=12, seconds=2.0, first_s=1.0, first_rows=6)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_set(tmp_path_factory.mktemp("data") / "faces", image_px=32))


@pytest.fixture
def run(dataset, tmp_path):
    return write_run(tmp_path / "runs" / "small", dataset)


def job(run, **values):
    given = {path.replace("__", "."): value for path, value in values.items()}
    config = validate(EvaluateConfig, ("a test", {"checkpoint": str(run), **given}))
    return checked_job(config, choose(config.checkpoint))


def test_without_more_words_the_test_split_of_the_runs_own_set_is_measured(run, dataset):
    found = job(run)
    assert found.sets.same
    assert found.sets.measured.fingerprint == dataset.fingerprint
    assert found.protocol == "group"
    assert (found.index.splits[found.row_ids] == "test").all()
    assert (found.own_index.splits[found.validation_ids] == "validation").all()
    assert found.out.local == run / "evaluations" / "faces-group-test"
    said = "\n".join(facts(found))
    assert "the best of run small; epoch 2" in said
    assert "faces, group split, test rows: 12; the set that the run was trained on" in said


def test_the_network_is_the_one_that_was_saved(run, dataset):
    saved, built = small_model(dataset).state_dict(), job(run).network
    assert not built.training
    assert all((saved[name] == tensor).all() for name, tensor in built.state_dict().items())


def test_each_row_is_asked_for_once_and_both_splits_go_through_one_pool(run):
    (request,) = requests_of(job(run, split="all"))
    assert request.row_ids.tolist() == list(range(60))
    (request,) = requests_of(job(run))
    assert request.row_ids.tolist() == sorted(set(request.row_ids.tolist()))
    assert len(request.row_ids) == 24


def test_no_temperature_is_fitted_on_what_is_measured_unless_asked_for(run):
    assert len(job(run, split="validation").validation_ids) == 0
    assert len(job(run, split="validation", calibrate=True).validation_ids) == 12
    assert len(job(run, calibrate=False).validation_ids) == 0


def test_another_set_is_measured_on_its_own_rows_and_calibrated_on_the_runs(run, tmp_path):
    other = write_set(tmp_path / "production", rows=90, image_px=32)
    found = job(run, data__path=str(other), split="all", data__protocol="random")
    assert not found.sets.same
    first, second = requests_of(found)
    assert (first.dataset.name, len(first.row_ids)) == ("production", 90)
    assert (second.dataset.name, len(second.row_ids)) == ("faces", 12)
    assert "not the set that the run was trained on, faces" in facts(found)[-1]
    assert found.out.local.name == "production-random-all"


def test_the_runs_own_set_is_known_by_its_content_wherever_it_lies(run, dataset, tmp_path):
    moved = write_set(tmp_path / "elsewhere", image_px=32)
    assert job(run, data__path=str(moved)).sets.same


def test_a_run_whose_data_were_moved_asks_where_they_are(dataset, tmp_path):
    gone = dataclasses.replace(dataset, root=dataset.root / "gone")
    run = write_run(tmp_path / "moved", gone)
    with pytest.raises(
        DatasetError, match=r"run_data: .* cannot be opened: .*Give run_data=FOLDER"
    ):
        job(run)
    assert job(run, run_data=str(dataset.root)).sets.same


def test_another_set_in_place_of_the_runs_own_is_refused(run, tmp_path):
    other = write_set(tmp_path / "other", rows=90, image_px=32)
    with pytest.raises(DatasetError, match=r"run_data: .* holds another, other"):
        job(run, run_data=str(other))


def test_the_embedded_faces_are_looked_for_beside_the_run(dataset, tmp_path):
    run = write_run(tmp_path / "runs" / "small", dataset, data__path="embedded")
    with pytest.raises(DatasetError, match="runs/embedded"):
        job(run)
    write_set(tmp_path / "runs" / "embedded", image_px=32)
    assert job(run).sets.measured.name == "embedded"


def test_a_file_of_first_weights_that_is_gone_does_not_hide_which_data_were_used(dataset, tmp_path):
    weights = tmp_path / "first.safetensors"
    weights.write_bytes(b"weights")
    run = write_run(tmp_path / "small", dataset, model__weights=str(weights))
    marker = run / "checkpoints" / "best" / "epoch-0002"
    stored = open_model(marker)
    assert was_trained_on(stored, dataset.fingerprint)
    digest = sha256_of(weights)
    weights.unlink()
    noted = dataclasses.replace(
        stored, state=dataclasses.replace(stored.state, weights={"sha256": digest})
    )
    assert was_trained_on(noted, dataset.fingerprint)
    assert not was_trained_on(noted, "another")
    assert not was_trained_on(stored, dataset.fingerprint), "its digest was not noted"


def test_a_changed_checkpoint_is_refused(run):
    weights = run / "checkpoints" / "best" / "epoch-0002" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="digest"):
        job(run)


def test_an_experiment_of_another_version_is_refused(run, dataset):
    path = run / "checkpoints" / "best" / "epoch-0002" / "state.json"
    content = json.loads(path.read_text())
    content.pop("fingerprint")
    content["experiment"]["of_the_future"] = 1
    path.write_text(json.dumps(content | {"fingerprint": fingerprint(content)}))
    with pytest.raises(CheckpointError, match=r"its experiment must be valid; .*of_the_future"):
        job(run)


def test_an_absent_protocol_or_an_empty_split_is_refused(run, tmp_path):
    with pytest.raises(DatasetError, match=r"data\.protocol"):
        job(run, data__protocol="official")
    empty = write_set(tmp_path / "empty", image_px=32, splits={"group": np.zeros(60, np.int8)})
    with pytest.raises(DatasetError, match="'test' of protocol 'group' is empty"):
        job(run, data__path=str(empty))


def test_another_set_without_official_splits_is_measured_by_its_groups(tmp_path):
    own = open_dataset(write_set(tmp_path / "faces", image_px=32, splits=official(60)))
    run = write_run(tmp_path / "small", own, data__protocol="official")
    other = write_set(tmp_path / "production", rows=90, image_px=32)
    found = job(run, data__path=str(other), split="all")
    assert (found.protocol, found.out.local.name) == ("group", "production-group-all")
    assert facts(found)[-1].strip() == "parted by group: it has no official splits"
    assert job(run).protocol == "official"
    theirs = write_set(tmp_path / "theirs", rows=90, image_px=32, splits=official(90))
    kept = job(run, data__path=str(theirs))
    assert kept.protocol == "official"
    assert "parted by" not in "".join(facts(kept))
    with pytest.raises(DatasetError, match=r"data\.protocol"):
        job(run, data__path=str(other), data__protocol="official")


def official(rows):
    return {name: (np.arange(rows) // 6 % 3).astype(np.int8) for name in ("group", "official")}


def test_results_of_another_set_of_the_same_name_are_not_written_over(run, tmp_path):
    first, second = (
        write_set(tmp_path / week / "production", rows=rows, image_px=32)
        for week, rows in (("week1", 90), ("week2", 120))
    )

    def found(place):
        return job(run, data__path=str(place), split="all")

    done = found(first)
    done.out.local.mkdir(parents=True)
    (done.out.local / "evaluation.json").write_text(json.dumps(record(done, PACE, "a test")))
    other = found(second)
    assert other.out.local.name == f"production-group-all-{other.sets.measured.fingerprint[:8]}"
    assert other.out.local.parent == done.out.local.parent
    assert found(first).out.local == done.out.local
    (done.out.local / "evaluation.json").write_text("damaged")
    assert found(second).out.local == done.out.local


def test_classes_are_mapped_by_name_and_unknown_ones_refused(dataset):
    fewer = dataclasses.replace(dataset, classes=("happiness", "anger"))
    assert class_indices(dataset.classes, fewer) == (2, 0)
    strange = dataclasses.replace(dataset, classes=("anger", "neutral", "other"))
    with pytest.raises(DatasetError, match=r"got neutral, other in faces.*drop=\[neutral, other\]"):
        class_indices(dataset.classes, strange)


def test_images_of_another_size_are_refused_with_the_remedy(run, tmp_path, dataset):
    small = write_set(tmp_path / "small", rows=90, image_px=8)
    with pytest.raises(DatasetError, match=r"must be 32x32x3.*got 8x8x3.*image_px=32"):
        job(run, data__path=str(small))
    check_image_shape(dataset, (32, 32, 3))


def test_names_of_data_sets_make_harmless_folder_names(run, tmp_path):
    other = open_dataset(write_set(tmp_path / "b", rows=90, image_px=32))
    hostile = dataclasses.replace(other, name="../../a b\x1b")
    config = EvaluateConfig(checkpoint=str(run))
    choice = job(run).choice
    out = evaluation_job._out(config, choice, hostile, "group").local
    assert out.parent == run / "evaluations"
    assert out.name == "_.._a_b_-group-test"
    shown = dataclasses.replace(job(run), sets=DataSets(hostile, hostile, (0, 1, 2)))
    assert "\x1b" not in "".join(facts(shown))


def test_the_record_names_everything_that_the_figures_depend_on(run, dataset):
    said = record(job(run), PACE, "python -m orchestrator.evaluate checkpoint=runs/small")
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert said["data"]["fingerprint"] == said["trained_on"]["fingerprint"] == dataset.fingerprint
    assert said["checkpoint"]["epoch"] == 2
    assert len(said["checkpoint"]["model_sha256"]) == 64
    assert said["pace"]["images_per_s"] == 6


def test_help_and_mistakes_need_neither_torch_nor_ray():
    code = (
        "import sys; from orchestrator.evaluate import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'ray', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "checkpoint" in done.stdout


@pytest.mark.parametrize("wrong", [{"split": "tset"}, {"bootstrap": 3}, {"timeout_s": 0}])
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        validate(EvaluateConfig, ("a test", {"checkpoint": "x", **wrong}))
