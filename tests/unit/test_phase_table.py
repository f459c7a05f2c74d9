import pytest

from orchestrator.results.phase_table import Stopwatch, phase_table, speed_lines, summed

FINE = {
    "checkpoint": 1.0,
    "evaluate": 9.0,
    "optimizer": 5.0,
    "backward": 40.0,
    "forward": 20.0,
    "augment": 4.0,
    "ingest": 10.0,
    "train": 1.0,
}


def names(lines):
    return [line[2:].split("  ")[0] for line in lines[1:]]


def test_phases_come_in_the_order_of_the_pipeline_and_waiting_last():
    assert names(phase_table(FINE, 100.0)) == [
        "ingest",
        "augment",
        "forward",
        "backward",
        "optimizer",
        "rest of train",
        "evaluate",
        "checkpoint",
        "waiting",
    ]


def test_each_phase_has_its_seconds_and_its_share_of_the_whole():
    lines = phase_table(FINE, 100.0)
    assert lines[0] == "time        1 min 40 s, by phase:"
    assert lines[4].split() == ["backward", "40.0", "s", "40%"]
    assert lines[-1].split() == ["waiting", "10.0", "s", "10%"]


def test_train_is_whole_where_its_parts_were_not_measured():
    assert names(phase_table({"train": 8.0, "evaluate": 1.0}, 10.0)) == [
        "train",
        "evaluate",
        "waiting",
    ]


def test_phases_that_this_version_does_not_know_are_shown_after_those_it_does():
    assert names(phase_table({"zoom\x1b[31m": 1.0, "train": 1.0}, 3.0)) == [
        "train",
        "zoom",
        "waiting",
    ]


def test_several_slots_wait_together():
    lines = phase_table({"train": 30.0}, 20.0, num_slots=2)
    assert lines[0] == "time        20 s in each of 2 slots, by phase:"
    assert lines[-1].split() == ["waiting", "10.0", "s", "25%"]


def test_clocks_that_disagree_give_no_negative_waiting():
    assert phase_table({"train": 10.01}, 10.0)[-1].split() == ["waiting", "0.0", "s", "0%"]


@pytest.mark.parametrize("seconds", [{}, {"train": 0.0}])
def test_nothing_measured_makes_no_table(seconds):
    assert phase_table(seconds, 5.0) == ()


def test_columns_line_up():
    lines = phase_table({**FINE, "backward": 12_345.6}, 20_000.0)
    assert len({len(line) for line in lines[1:]}) == 1


def test_epochs_are_summed_by_phase():
    assert summed([{"train": 1.0}, {"train": 2.0, "evaluate": 0.5}]) == {
        "train": 3.0,
        "evaluate": 0.5,
    }


def test_a_stopwatch_gives_each_stretch_to_one_phase():
    watch = Stopwatch(iter([0.0, 2.0, 5.0, 6.0, 10.0]).__next__)
    watch.lap("ingest")
    watch.lap("start")
    watch.lap("ingest")
    assert watch.seconds == {"ingest": 3.0, "start": 3.0}
    assert watch.wall_s() == 10.0


def test_speed_is_that_of_the_median_epoch():
    epochs = [{"images_per_s": rate, "tflops": rate * 17.1e-3} for rate in (5.0, 21.1, 22.0)]
    assert speed_lines(epochs) == ("speed       21 images/s, 361 GFLOP/s",)


def test_utilisation_is_said_where_the_devices_peak_is_known():
    (line,) = speed_lines([{"images_per_s": 30_000.0, "tflops": 513.0, "mfu": 0.518}])
    assert line == "speed       30,000 images/s, 513.0 TFLOP/s, 51.8% of the peak (MFU)"


def test_where_several_slots_were_at_work_the_speed_is_that_of_one():
    (line,) = speed_lines([{"images_per_s": 400.0}], of_each="slot")
    assert line == "speed       400 images/s in each slot"


@pytest.mark.parametrize("epochs", [[], [{"val_loss": 1.0}]])
def test_no_speed_was_measured_without_an_epoch(epochs):
    assert speed_lines(epochs) == ()
