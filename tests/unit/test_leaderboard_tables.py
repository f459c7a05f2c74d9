import csv
import io
import json
import math
import subprocess
import sys
import unicodedata

import pytest
from rich.cells import cell_len

from orchestrator.results.leaderboard_cells import failures, short_names, varied_paths
from orchestrator.results.leaderboard_tables import (
    csv_table,
    json_document,
    markdown,
    text_table,
    write_all,
)
from orchestrator.results.printable import duration, in_csv, in_markdown, one_line, value_text
from orchestrator.results.study_fold import fold
from tests.unit.fake_study import end, epoch, head, hostile, mixed, scored, trial


def csv_rows(view):
    return list(csv.DictReader(io.StringIO(csv_table(view))))


def test_the_text_table_shows_rank_values_figures_and_state():
    lines = text_table(fold(mixed())).splitlines()
    assert lines[0] == "quickstart-1a2b3c4d"
    assert "group split" in lines[2]
    assert "30 validation images" in lines[2]
    row = next(line.split() for line in lines if line.endswith("finished"))
    assert row == [
        "1",
        "0",
        "0.1",
        "2",
        "0.600",
        "[0.580,",
        "0.620]",
        "0.500",
        "1.020",
        "312",
        "finished",
    ]
    assert any(line.split()[:4] == ["-", "1", "0.2", "1/2"] for line in lines if line)
    assert "trial 2 failed: loss is nan at step 12 Traceback ..." in lines


def test_columns_of_the_text_table_line_up_even_with_wide_characters():
    records = scored([0.5, 0.4])
    records[1]["values"]["model.name"] = "表情認識"
    records[5]["values"]["model.name"] = "vgg"
    lines = text_table(fold(records)).splitlines()
    rows = [line for line in lines if line.endswith("finished")]
    assert len({cell_len(line) for line in rows}) == 1


def test_marks_are_explained_only_where_they_are_shown():
    assert "~ not distinguishable" in text_table(fold(scored([0.6, 0.59])))
    assert "~" not in text_table(fold(scored([0.6, 0.1])))
    assert "a tie" in text_table(fold(scored([0.6, 0.6])))


def test_values_that_all_trials_share_move_to_the_heading():
    records = [head()]
    records += [
        trial(k, f"l{k}", values={"optimizer.name": name, "batch_size": 256})
        for k, name in enumerate(["sgd", "adam"])
    ]
    view = fold(records)
    assert varied_paths(view) == ("optimizer.name",)
    assert "all trials: batch_size 256" in text_table(view)


def test_a_long_leaderboard_says_how_much_it_leaves_out():
    text = text_table(fold(scored([0.1, 0.2, 0.3, 0.4])), num_rows=3)
    assert text.count("finished") == 3
    assert "… and 1 more" in text


def test_sharing_is_stated_with_its_numbers():
    view = fold([head(), trial(0, "a", 10), trial(1, "a", 20)])
    assert "20 epochs do the work of 30" in text_table(view)


def test_equal_errors_are_said_once():
    records = [head(), *(trial(k, "a", k + 1) for k in range(3))]
    records += [end(k, 0, "failed", "out of memory") for k in range(3)]
    assert failures(fold(records)) == (("trials 0, 1, 2", "out of memory", ""),)


def test_short_names_are_the_last_part_unless_two_clash():
    assert short_names(
        ["optimizer.name", "optimizer.lr", "model.width", "head.width", "epochs"]
    ) == {
        "optimizer.name": "optimizer",
        "optimizer.lr": "lr",
        "model.width": "model.width",
        "head.width": "head.width",
        "epochs": "epochs",
    }


def test_csv_has_every_metric_at_full_precision():
    score = 0.1 + 0.2  # 0.30000000000000004
    rows = csv_rows(fold(scored([score])))
    assert float(rows[0]["val_macro_f1"]) == score
    assert float(rows[0]["val_f1_anger"]) == 16 / 20
    assert rows[0]["optimizer.lr"] == "0.1"
    assert rows[0]["epochs"] == "2"
    assert rows[0]["rank"] == "1"


def test_csv_leaves_unmeasured_figures_empty():
    rows = csv_rows(fold([*scored([0.5]), trial(1, "queued")]))
    assert rows[1]["state"] == "queued"
    assert rows[1]["val_macro_f1"] == rows[1]["rank"] == rows[1]["val_f1_fear"] == ""


def test_json_has_all_trials_with_their_curves_in_leaderboard_order():
    document = json.loads(json_document(fold(scored([0.2, 0.7]))))
    assert document["winner"] == 1
    assert [entry["trial"] for entry in document["trials"]] == [1, 0]
    best = document["trials"][0]
    assert best["interval"] == pytest.approx([0.68, 0.72])
    assert [point["metrics"]["val_macro_f1"] for point in best["curve"]] == [0.1, 0.7]
    assert best["confusion"][2] == [0, 0, 10]


def test_json_never_holds_nan():
    records = scored([0.5])
    records[1]["values"]["optimizer.lr"] = math.nan
    records[3]["metrics"]["val_loss"] = math.inf

    def refuse(word):
        raise AssertionError(word)

    document = json.loads(json_document(fold(records)), parse_constant=refuse)
    assert document["trials"][0]["values"]["optimizer.lr"] == "nan"
    assert "val_loss" not in document["trials"][0]["metrics"]


@pytest.mark.parametrize("render", [text_table, markdown, csv_table, json_document])
def test_no_control_character_of_a_study_reaches_a_reader(render):
    text = render(hostile())
    text.encode()
    kinds = {unicodedata.category(c) for c in text if c not in "\n\r"}
    assert not kinds & {"Cc", "Cf", "Cs"}


def test_hostile_text_adds_no_lines_to_a_text_table():
    # 3 of heading, blank, head, rule, 3 trials, blank, 1 on intervals, 1 on the failure
    assert len(text_table(hostile()).splitlines()) == 12


def test_hostile_text_stays_words_in_markdown():
    text = markdown(hostile())
    assert "<" not in text
    assert "](" not in text.replace("\\](", "").replace("\\]", "")
    assert "http://" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    bars = {line.replace("\\|", "").count("|") for line in rows}
    assert len(bars) == 1


def test_markdown_keeps_what_it_escapes_readable():
    assert in_markdown("convnext_tiny | <b> & *x*") == (
        "convnext\\_tiny \\| &lt;b&gt; &amp; \\*x\\*"
    )


def test_a_spreadsheet_never_sees_a_formula():
    assert in_csv("=cmd()") == "'=cmd()"
    assert in_csv("\t@sum") == "'@sum"
    assert in_csv("adam") == "adam"
    assert csv_rows(hostile())[0]["model.name"].startswith("|<script>")
    assert all(not cell.startswith("=") for row in csv_rows(hostile()) for cell in row.values())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("a\r\n\tb", "a b"),
        ("a\u202eb\u200bc\x00", "abc"),
        ("", ""),
    ],
)
def test_one_line_removes_what_moves_a_cursor(text, shown):
    assert one_line(text) == shown


def test_long_text_is_cut_to_columns_not_characters():
    assert one_line("abcdef", 4) == "abc…"
    assert one_line("表情認識", 5) == "表情…"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0001, "0.0001"),
        (1e-5, "1e-05"),
        (True, "true"),
        (None, "none"),
        (math.nan, "nan"),
        (20, "20"),
    ],
)
def test_values_read_as_people_write_them(value, shown):
    assert value_text(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(7.4, "7 s"), (192, "3 min 12 s"), (7500, "2 h 05 min"), (-1, "0 s")]
)
def test_durations_read_as_people_say_them(seconds, shown):
    assert duration(seconds) == shown


def test_write_all_leaves_the_four_tables_and_four_pictures_and_no_drafts(tmp_path):
    folder = tmp_path / "new"
    paths = write_all(fold(scored([0.5, 0.4])), folder)
    assert sorted(path.name for path in paths) == sorted(path.name for path in folder.iterdir())
    assert {path.name for path in paths} == {
        "leaderboard.txt",
        "leaderboard.md",
        "leaderboard.csv",
        "leaderboard.json",
        "learning_curves.png",
        "winner_curve.png",
        "experiments.png",
        "confusion.png",
    }


def test_write_all_of_a_study_without_figures_draws_nothing(tmp_path):
    paths = write_all(fold([head(), trial(0, "a")]), tmp_path)
    assert all(path.suffix != ".png" for path in paths)


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    write_all(fold(scored([0.5])), tmp_path)
    before = (tmp_path / "leaderboard.txt").read_bytes()

    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_all(fold(scored([0.9])), tmp_path)
    assert (tmp_path / "leaderboard.txt").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_reading_results_imports_neither_torch_nor_ray_nor_matplotlib():
    code = (
        "import sys, orchestrator.results.live, orchestrator.results.leaderboard_tables\n"
        "sys.exit(' '.join({'torch', 'ray', 'matplotlib'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unmeasured_figure_is_shown_as_a_dash():
    text = text_table(fold([head(), trial(0, "a"), epoch("a", 1, None)]))
    row = next(line.split() for line in text.splitlines() if line.endswith("running"))
    assert row[3:6] == ["1/2", "–", "0.500"]
