import copy

import numpy as np
import pytest

from orchestrator.results.event_file import event_files
from orchestrator.results.study_fold import StudyFold, fold
from orchestrator.results.study_view import EpochPoint
from orchestrator.results.tensorboard_runs import SCORE_TAG, Curve, RunFiles
from tests.unit.event_reader import curves, hparams, images, read_events, row
from tests.unit.fake_study import CLASSES, end, epoch, head, hostile, mixed, scored, trial


def write(view, folder):
    """What one command leaves: a whole study at once."""
    files = RunFiles(folder)
    files.update(view)
    files.close()
    return folder


def steps(folder, tag=SCORE_TAG):
    return [step for step, _ in curves(folder)[tag]]


def columns(folder):
    content = hparams(folder / "study")["experiment"].experiment
    return {info.name: info.type for info in content.hparam_infos}


def test_each_figure_of_an_epoch_is_a_point(tmp_path):
    found = curves(write(fold(scored([0.5])), tmp_path) / "trial-0000")
    assert found["macro_f1/validation"] == [(1, pytest.approx(0.1)), (2, pytest.approx(0.5))]
    assert found["macro_f1/validation_low"][1] == (2, pytest.approx(0.48))
    assert found["loss/train"] == [(1, 1.0), (2, 1.0)]
    assert found["training/images_per_s"][0] == (1, pytest.approx(312.4))
    assert found["seconds/evaluate"] == [(1, 1.0), (2, 1.0)]
    assert found["class_f1/happiness"][0] == (1, pytest.approx(20 / 23))


def test_figures_that_were_not_measured_are_left_out(tmp_path):
    assert steps(write(fold(scored([None])), tmp_path) / "trial-0000") == [1]


def test_epochs_are_seen_as_they_arrive(tmp_path):
    study, files = StudyFold(), RunFiles(tmp_path)
    for record in (head(), trial(0, "a"), epoch("a", 1, 0.1)):
        study.add(record)
    files.update(study.view())
    assert steps(tmp_path / "trial-0000") == [1]
    study.add(epoch("a", 2, 0.4))
    files.update(study.view())
    assert steps(tmp_path / "trial-0000") == [1, 2]
    files.close()


def test_a_study_written_live_is_what_is_written_of_it_afterwards(tmp_path):
    study, files = StudyFold(), RunFiles(tmp_path / "live")
    for record in mixed():
        study.add(record)
        files.update(study.view())
    files.close()
    write(fold(mixed()), tmp_path / "after")
    for name in ("trial-0000", "trial-0001", "trial-0002"):
        assert curves(tmp_path / "live" / name) == curves(tmp_path / "after" / name)
        assert images(tmp_path / "live" / name).keys() == images(tmp_path / "after" / name).keys()
        assert row(tmp_path / "live" / name) == row(tmp_path / "after" / name)


def test_a_resumed_trial_has_no_point_twice(tmp_path):
    records = [head(), trial(0, "a", epochs=3), epoch("a", 1, 0.1), epoch("a", 2, 0.2)]
    write(fold(records), tmp_path)
    write(fold([*records, epoch("a", 3, 0.3), end(0, at=3)]), tmp_path)
    assert steps(tmp_path / "trial-0000") == [1, 2, 3]


def test_trials_of_one_lineage_each_have_its_curve_up_to_their_own_end(tmp_path):
    records = [head(), trial(0, "a", epochs=1), trial(1, "a", epochs=2)]
    records += [epoch("a", 1, 0.1), end(0, at=1), epoch("a", 2, 0.2), end(1, at=2)]
    write(fold(records), tmp_path)
    assert steps(tmp_path / "trial-0000") == [1]
    assert steps(tmp_path / "trial-0001") == [1, 2]


def test_what_has_ended_is_not_written_again_by_the_next_command(tmp_path):
    write(fold(scored([0.5, 0.6])), tmp_path)
    before = sorted(tmp_path.rglob("*tfevents*"))
    write(fold(scored([0.5, 0.6])), tmp_path)
    assert sorted(tmp_path.rglob("*tfevents*")) == before
    assert len(before) == 3


def test_a_trial_that_had_failed_and_is_trained_after_all_is_written_anew(tmp_path):
    records = [head(), trial(0, "a"), epoch("a", 1, 0.1), end(0, 1, "failed", "its slot died")]
    write(fold(records), tmp_path)
    records += [trial(0, "a"), epoch("a", 2, 0.2), end(0)]
    write(fold(records), tmp_path)
    assert steps(tmp_path / "trial-0000") == [1, 2]
    status = hparams(tmp_path / "trial-0000")["session_end_info"].session_end_info.status
    assert status == 1  # success


def test_a_file_that_a_killed_command_left_is_replaced(tmp_path):
    files = RunFiles(tmp_path)
    files.update(fold(scored([0.5])[:-1]))  # killed before the trial's end
    write(fold(scored([0.5])), tmp_path)
    assert len(event_files(tmp_path / "trial-0000")) == 1
    assert steps(tmp_path / "trial-0000") == [1, 2]
    files.close()


def test_a_trial_has_the_matrices_of_its_best_and_last_epoch(tmp_path):
    records = [head(), trial(0, "a", epochs=3)]
    records += [epoch("a", k, f1) for k, f1 in ((1, 0.1), (2, 0.9), (3, 0.5))]
    write(fold([*records, end(0, at=3)]), tmp_path)
    found = images(tmp_path / "trial-0000")
    assert {tag: [step for step, _ in seen] for tag, seen in found.items()} == {
        "confusion/best": [2],
        "confusion/last": [3],
    }


def test_a_running_trial_gets_its_matrices_when_the_command_ends(tmp_path):
    assert "confusion/last" in images(write(fold(mixed()), tmp_path) / "trial-0001")


def test_the_table_has_the_varied_hyperparameters_and_their_values(tmp_path):
    records = [head()]
    for k, (lr, name) in enumerate([(0.1, "sgd"), (0.2, "adam")]):
        values = {"optimizer.lr": lr, "optimizer.name": name, "batch_size": 64}
        records += [trial(k, f"l{k}", values=values), epoch(f"l{k}", 1, 0.1)]
    write(fold(records), tmp_path)
    assert columns(tmp_path) == {"optimizer.lr": 3, "optimizer.name": 1}
    assert row(tmp_path / "trial-0001")["optimizer.lr"] == 0.2
    metric = hparams(tmp_path / "study")["experiment"].experiment.metric_infos[0].name.tag
    assert curves(tmp_path / "trial-0001")[metric] == [(1, pytest.approx(0.1))]


def test_a_hyperparameter_that_only_some_trials_have_is_a_column(tmp_path):
    records = [head(), trial(0, "a", values={"optimizer.momentum": 0.9}), trial(1, "b", values={})]
    write(fold([*records, epoch("a", 1, 0.1)]), tmp_path)
    assert columns(tmp_path) == {"optimizer.momentum": 3}


def test_the_table_follows_trials_that_are_proposed_later(tmp_path):
    study, files = StudyFold(), RunFiles(tmp_path)
    for k in range(5):
        study.add(trial(k, f"l{k}", values={"lr": 0.1, "nesterov": k == 4}))
        study.add(epoch(f"l{k}", 1, 0.1))
        files.update(study.view())
    files.close()
    assert columns(tmp_path) == {"nesterov": 2}


def test_a_failed_trial_without_an_epoch_is_in_the_table(tmp_path):
    records = [head(), trial(0, "a"), end(0, 0, "failed", "no such file")]
    write(fold(records), tmp_path)
    status = hparams(tmp_path / "trial-0000")["session_end_info"].session_end_info.status
    assert status == 2  # failure


def test_a_queued_trial_has_no_files(tmp_path):
    write(fold(mixed()), tmp_path)
    assert not (tmp_path / "trial-0003").exists()


def test_hostile_names_make_no_folder_and_no_broken_message(tmp_path):
    write(hostile(), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "study",
        "trial-0000",
        "trial-0001",
        "trial-0002",
    ]
    assert all("\x1b" not in tag for tag in curves(tmp_path / "trial-0000"))
    assert all("\x1b" not in str(value) for value in row(tmp_path / "trial-0000").values())


def test_values_that_no_table_can_hold_are_left_out(tmp_path):
    values = {"a": None, "b": float("nan"), "c": 1.5, "d": True}
    write(fold([head(), trial(0, "l", values=values), epoch("l", 1, 0.1)]), tmp_path)
    assert row(tmp_path / "trial-0000") == {"c": 1.5, "d": True, "epochs": 2}


def test_relative_times_are_those_of_the_epochs(tmp_path):
    points = tuple(EpochPoint(k, {"val_loss": 1.0}, seconds={"train": 10.0 * k}) for k in (1, 2, 3))
    files = RunFiles(tmp_path)
    files.write(Curve("training", points, {}, "running"), CLASSES)
    files.close()
    times = [e.wall_time for e in read_events(tmp_path / "training") if e.HasField("summary")]
    assert np.diff(times).tolist() == pytest.approx([20, 30], abs=1e-3)


def test_samples_are_drawn_once(tmp_path):
    pixels = np.full((4, 6, 3), 7, np.uint8)
    files = RunFiles(tmp_path)
    files.samples("training", lambda: pixels)
    files.samples("training", lambda: pytest.fail("drawn again"))
    ((step, found),) = images(tmp_path / "samples" / "training")["augmented_batch"]
    assert step == 1
    assert np.array_equal(found, pixels)


def test_a_study_without_an_epoch_leaves_nothing(tmp_path):
    write(fold([head(), trial(0, "a"), trial(1, "b")]), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_update_writes_only_what_changed(tmp_path):
    view = fold(scored([0.5, 0.6]))
    files = RunFiles(tmp_path)
    files.update(view)
    sizes = {path: path.stat().st_size for path in tmp_path.rglob("*tfevents*")}
    files.update(copy.copy(view))
    assert {path: path.stat().st_size for path in tmp_path.rglob("*tfevents*")} == sizes
    files.close()
