"""A trial that stopped early says at which epoch, everywhere a user looks."""

import io

from orchestrator.results.leaderboard_tables import text_table
from orchestrator.results.live import LiveBoard, closing_lines
from orchestrator.results.study_fold import StudyFold, fold
from tests.unit.fake_study import end, epoch, head, trial

RECORDS = [
    head(),
    trial(0, "a", epochs=9),
    trial(1, "a", epochs=2),
    epoch("a", 1, 0.3),
    epoch("a", 2, 0.6),
    end(1, at=2),
    epoch("a", 3, 0.5),
    end(0, at=3),
]


def test_the_table_shows_the_epochs_it_had_of_those_it_asked_for_and_says_why(tmp_path):
    lines = text_table(fold(RECORDS)).splitlines()
    rows = {line.split()[1]: line.split() for line in lines if line.endswith("finished")}
    assert rows["0"][3] == "3/9"
    assert rows["1"][3] == "2"
    assert any("stopped early: early_stop" in line for line in lines)
    without = [record for record in RECORDS if record.get("trial") != 0]
    assert "early_stop" not in text_table(fold(without))


def test_the_log_says_it_with_its_end():
    stream, study = io.StringIO(), StudyFold()
    with LiveBoard(stream) as board:
        board.update(study.view(), {})
        for record in RECORDS:
            study.add(record)
            board.update(study.view(), {})
    lines = stream.getvalue().splitlines()
    assert any(line.startswith("trial 1 finished  macro-F1") for line in lines)
    assert any(line.startswith("trial 0 finished early, after 3 of 9 epochs  ") for line in lines)


def test_epochs_that_nobody_will_train_are_not_in_the_plan_any_more():
    view = fold(RECORDS)
    assert (view.epochs_planned, view.epochs_trained, view.epochs_left) == (3, 3, 0)
    assert view.epochs_needed_unshared == 3 + 2


def test_a_winner_that_stopped_early_is_named_with_the_epochs_it_had(tmp_path):
    records = [record for record in RECORDS if record.get("trial") != 1]
    assert "3 epochs" in closing_lines(fold(records), tmp_path, "")[0]
