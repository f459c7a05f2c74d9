import io
import re
from pathlib import Path

from rich.cells import cell_len

from orchestrator.results.live import LiveBoard, closing_lines
from orchestrator.results.study_fold import StudyFold, fold
from tests.unit.fake_study import end, epoch, head, hostile, mixed, scored, trial


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def screens(self):
        """What was drawn, without the sequences that move the cursor and colour."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


def play(records, stream=None, slots=None):
    """Feed records one by one; the board must be told of each."""
    stream = stream or io.StringIO()
    study = StudyFold()
    with LiveBoard(stream) as board:
        for record in records:
            study.add(record)
            board.update(study.view(), slots or {})
    return stream


def test_a_log_gets_one_line_for_each_epoch_and_each_end():
    lines = play(mixed()).getvalue().splitlines()
    assert lines == [
        "epoch  lineage lineage0  1/2  val macro-F1 0.300  loss 1.02  312 img/s  lr 0.1",
        "epoch  lineage lineage0  2/2  val macro-F1 0.600  loss 1.02  312 img/s  lr 0.1",
        "trial 0 finished  macro-F1 0.600 [0.580, 0.620]  rank 1/1",
        "epoch  lineage lineage1  1/2  val macro-F1 0.900  loss 1.02  312 img/s  lr 0.2",
        "epoch  lineage lineage2  1/2  val macro-F1 0.800  loss 1.02  312 img/s  lr 0.3",
        "trial 2 failed at epoch 1/2  loss is nan at step 12 Traceback ...",
    ]


def test_an_epoch_that_several_trials_share_is_told_once():
    records = [head(), trial(0, "a", 1), trial(1, "a", 2), epoch("a", 1, 0.3), end(0, 1)]
    lines = play(records).getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch", "trial 0 finished"]
    assert "1/2" in lines[0]


def test_updates_without_news_add_nothing_to_a_log():
    stream = io.StringIO()
    study = StudyFold()
    with LiveBoard(stream) as board:
        board.update(study.view(), {})
        for record in mixed():
            study.add(record)
        for _ in range(5):
            board.update(study.view(), {"slot-0": "lineage1"})
    assert len(stream.getvalue().splitlines()) == 6


def test_an_epoch_trained_again_after_a_crash_is_not_told_again():
    stream = play([*scored([0.5]), epoch("lineage0", 2, 0.5), end(0)])
    assert len(stream.getvalue().splitlines()) == 3


def test_ranks_in_a_log_are_among_those_finished_so_far():
    lines = play(scored([0.5, 0.7, 0.5])).getvalue().splitlines()
    ranks = [line.split("rank ")[1] for line in lines if "rank" in line]
    assert ranks == ["1/1", "1/2", "2=/3"]


def test_a_resumed_study_sums_up_what_was_there():
    stream = io.StringIO()
    study = StudyFold()
    for record in [*mixed()]:
        study.add(record)
    with LiveBoard(stream) as board:
        board.update(study.view(), {})
        study.add(epoch("lineage1", 2, 0.95))
        board.update(study.view(), {})
    lines = stream.getvalue().splitlines()
    assert lines[0] == "resuming: 4 epochs and 2 of 4 trials are done, 3 epochs are left"
    assert lines[1].startswith("epoch  lineage lineage1  2/2")
    assert len(lines) == 2


def test_hostile_text_makes_no_extra_lines_or_escapes_in_a_log():
    view = hostile()
    stream = io.StringIO()
    with LiveBoard(stream) as board:
        board.update(fold([]), {})
        board.update(view, {})
    assert len(stream.getvalue().splitlines()) == 4 + 2
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_gets_the_table_the_slots_and_the_progress(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "40")
    screens = play(mixed(), Terminal(), {"slot-0": "lineage1, epoch 2/2", "slot-1": ""}).screens()
    assert "slot-0  lineage1, epoch 2/2" in screens
    assert "slot-1  idle" in screens
    assert "4/7 epochs" in screens
    assert re.search(r"1\s+0\s+0\.1\s+2\s+0\.600 \[0\.580, 0\.620\].*finished", screens)


def test_markup_in_names_is_text_on_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("LINES", "40")
    terminal = Terminal()
    with LiveBoard(terminal) as board:
        board.update(hostile(), {"slot": "[link=http://evil]x[/link] \x1b]0;owned\x07[bold]y"})
    assert "[link=http://evil]x[/link] [bold]y" in terminal.screens()
    assert "\x1b]" not in terminal.getvalue()


def test_a_narrow_low_terminal_gets_fewer_columns_and_rows(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "14")
    screens = play(scored([k / 50 for k in range(40)]), Terminal()).screens()
    last = screens[screens.rindex("rank") :]
    assert "img/s" not in last
    assert "macro-F1" in last
    assert "finished" in last
    assert re.search(r"… and \d+ more", last)
    assert max(cell_len(line) for line in screens.splitlines()) <= 60


def test_time_left_is_measured_without_the_start_up(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    now = 0.0
    terminal = Terminal()
    study = StudyFold()
    board = LiveBoard(terminal, clock=lambda: now)
    for record in (head(), trial(0, "a", 10)):
        study.add(record)
    board.update(study.view(), {})
    for number, at in ((1, 100.0), (2, 110.0), (3, 120.0)):  # 100 s of start-up, 10 s an epoch
        now = at
        study.add(epoch("a", number, 0.2))
        board.update(study.view(), {})
    with board:
        pass
    assert "3/10 epochs, 2 min 00 s, about 1 min 10 s left" in terminal.screens()


def test_the_last_lines_name_winner_checkpoint_folder_failure_and_next_command():
    lines = closing_lines(fold(mixed()), Path("runs/s"), "python -m orchestrator.report run=runs/s")
    text = "\n".join(lines)
    assert lines[0] == "winner      trial 0: lr 0.1, 2 epochs"
    assert "validation macro-F1 0.600 [0.580, 0.620]" in lines[1]
    assert "checkpoint  runs/s/lineages/0/epoch-0002" in lines
    assert (
        "failed      trial 2: loss is nan at step 12 Traceback ...  (log: runs/s/logs/trial-2.log)"
        in lines
    )
    assert "2 of 4 trials are still to be trained" in text
    assert lines[-1] == "next        python -m orchestrator.report run=runs/s"


def test_the_last_lines_name_what_cannot_be_told_from_the_winner():
    text = "\n".join(closing_lines(fold(scored([0.6, 0.59, 0.6, 0.1])), Path("r"), ""))
    assert "a tie with trial 2" in text
    assert "not distinguishable from it: trial 1" in text
    assert "next" not in text


def test_without_a_winner_the_last_lines_say_so():
    assert closing_lines(fold([]), Path("r"), "")[0] == (
        "winner      none: no trial finished with a macro-F1"
    )


def test_the_last_lines_are_single_lines_whatever_the_study_holds():
    for line in closing_lines(hostile(), Path("r"), ""):
        assert line.isprintable()


def test_the_log_of_a_job_names_no_home_folder():
    records = [head(), trial(0, "l"), epoch("l", 1, 0.5)]
    stream = io.StringIO()
    with LiveBoard(stream) as board:
        board.update(fold(records), {})
        view = fold([*records, end(0, 1, "failed", "lost /home/ada/x")])
        board.update(view, {})
    assert "lost ~/x" in stream.getvalue()
    assert "lost ~/x" in "\n".join(closing_lines(view, Path("r"), ""))
