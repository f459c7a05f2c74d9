import numpy as np
import pytest

from orchestrator.results.event_file import (
    EventFile,
    event_files,
    experiment,
    image,
    scalar,
    session_end,
    session_start,
)
from tests.unit.event_reader import curves, hparams, images, read_events, row


def written(folder, *values, step=1):
    file = EventFile(folder)
    file.add(step, values)
    file.close()
    return folder


def test_points_are_read_back_with_step_value_and_time(tmp_path):
    file = EventFile(tmp_path / "new" / "run")
    file.add(3, [scalar("loss/train", 0.5), scalar("loss/validation", 0.75)], time_s=1234.5)
    file.close()
    assert curves(tmp_path / "new" / "run") == {
        "loss/train": [(3, 0.5)],
        "loss/validation": [(3, 0.75)],
    }
    assert read_events(tmp_path / "new" / "run")[-1].wall_time == 1234.5


def test_a_picture_is_kept_to_the_pixel(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    ((step, found),) = images(written(tmp_path, image("a", pixels), step=4))["a"]
    assert step == 4
    assert np.array_equal(found, pixels)


def test_readers_see_what_was_flushed_before_the_file_is_closed(tmp_path):
    file = EventFile(tmp_path)
    file.add(1, [scalar("a", 1.0)])
    file.flush()
    assert curves(tmp_path) == {"a": [(1, 1.0)]}
    file.close()


def test_a_new_file_replaces_the_older_ones_and_sorts_after_them(tmp_path):
    first = written(tmp_path, scalar("a", 1.0)).joinpath(event_files(tmp_path)[0].name)
    written(tmp_path, scalar("a", 2.0))
    (second,) = event_files(tmp_path)
    assert second.name > first.name
    assert curves(tmp_path) == {"a": [(1, 2.0)]}


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    written(tmp_path, scalar("a", 1.0))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_file_starts_with_its_version_and_a_session_that_voids_earlier_points(tmp_path):
    version, session, _ = read_events(written(tmp_path, scalar("a", 1.0)))
    assert version.file_version == "brain.Event:2"
    assert (session.session_log.status, session.step) == (1, 0)


def test_the_mark_is_on_the_name_of_a_closed_file_only(tmp_path):
    file = EventFile(tmp_path)
    assert event_files(tmp_path)[0].suffix != ".abc"
    file.close(mark="abc")
    assert event_files(tmp_path)[0].suffix == ".abc"


def test_the_table_has_typed_columns_and_the_score(tmp_path):
    kinds = {"optimizer.lr": "number", "optimizer.nesterov": "bool", "model.name": "string"}
    found = hparams(written(tmp_path, experiment(kinds, "macro_f1/validation")))
    content = found["experiment"].experiment
    assert [info.name for info in content.hparam_infos] == list(kinds)
    assert [info.type for info in content.hparam_infos] == [3, 2, 1]
    assert [info.name.tag for info in content.metric_infos] == ["macro_f1/validation"]


def test_a_row_of_the_table_holds_numbers_words_and_truths(tmp_path):
    values = {"lr": 0.1, "epochs": 3, "name": "adam", "nesterov": True}
    written(tmp_path, session_start(values))
    assert row(tmp_path) == values


@pytest.mark.parametrize(("succeeded", "status"), [(True, 1), (False, 2)])
def test_a_row_ends_well_or_badly(succeeded, status, tmp_path):
    written(tmp_path, session_end(succeeded=succeeded))
    assert hparams(tmp_path)["session_end_info"].session_end_info.status == status


def test_a_row_is_a_value_and_not_metadata_alone(tmp_path):
    (value,) = read_events(written(tmp_path, session_start({"lr": 0.1})))[-1].summary.value
    assert value.HasField("tensor")
