"""Main effects and importance: right means, said where unknown, drawn and written for both."""

import csv
import io
import json

import pytest

from orchestrator import leaderboard
from orchestrator.results.effects_report import (
    effect_lines,
    effects_csv,
    effects_json,
    write_effects,
)
from orchestrator.results.field_importance import MIN_TRIALS
from orchestrator.results.main_effects import MAX_LEVELS, NUM_BINS, effects_of
from orchestrator.results.study_fold import fold
from orchestrator.tuning.ledger import LEDGER, Ledger
from tests.unit.fake_study import end, epoch, head, hostile, trial

NAMES, LRS = ("sgd", "adam"), (0.1, 0.01)


def records_of(configurations):
    """Trial k has the values and the score of configurations[k]."""
    records = [head()]
    for k, (values, score) in enumerate(configurations):
        records += [trial(k, f"l{k}", 1, values), epoch(f"l{k}", 1, score), end(k, 1)]
    return records


def factorial():
    gain = {"sgd": 0.0, "adam": 0.2}
    return records_of(
        [
            ({"optimizer.name": name, "optimizer.lr": lr}, 0.3 + gain[name] + lr)
            for name in gain
            for lr in (0.1, 0.01)
        ]
        * 2
    )


def test_a_value_has_the_mean_of_its_trials_whatever_else_they_had():
    effects = effects_of(fold(factorial()))
    by_name = {level.text: level for level in effects.fields["optimizer.name"]}
    assert by_name["adam"].mean - by_name["sgd"].mean == pytest.approx(0.2)
    assert by_name["adam"].num_trials == 4
    low, high = by_name["adam"].interval
    assert low < by_name["adam"].mean < high
    assert [level.text for level in effects.fields["optimizer.lr"]] == ["0.01", "0.1"]
    assert effects.is_balanced
    assert effects.importance.shares["optimizer.name"] > effects.importance.shares["optimizer.lr"]


def test_where_combinations_are_missing_it_is_said():
    effects = effects_of(fold(factorial()[:-3]))
    assert not effects.is_balanced
    assert "not every combination was tried equally often" in effect_lines(effects)[-1]


def test_many_different_numbers_are_put_into_bins_of_equally_many_trials():
    effects = effects_of(fold(records_of([({"lr": k / 100}, k / 100) for k in range(1, 41)])))
    bins = effects.fields["lr"]
    assert len(bins) == NUM_BINS < MAX_LEVELS
    assert [level.num_trials for level in bins] == [10] * NUM_BINS
    assert [level.mean for level in bins] == sorted(level.mean for level in bins)


@pytest.mark.parametrize("num_trials", [0, 1])
def test_too_few_trials_have_no_effects_and_no_files(num_trials, tmp_path):
    view = fold(records_of([({"lr": 0.1}, 0.5)] * num_trials))
    effects = effects_of(view)
    (line,) = effect_lines(effects)
    assert line.startswith("effects     none: needs 2 finished trials")
    assert write_effects(effects, view, tmp_path) == ()
    assert not list(tmp_path.iterdir())


def test_below_the_trials_that_importance_needs_there_are_effects_without_it(tmp_path):
    view = fold(factorial()[: 1 + 3 * 4])
    effects = effects_of(view)
    assert f"importance  not known: needs {MIN_TRIALS} finished" in effect_lines(effects)[1]
    names = [path.name for path in write_effects(effects, view, tmp_path)]
    assert names == ["effects.csv", "effects.json", "main_effects.png"]


def test_trials_that_were_stopped_or_failed_do_not_count():
    records = factorial()
    records += [trial(8, "l8", 9, {"optimizer.name": "adam", "optimizer.lr": 0.1})]
    records += [epoch("l8", 1, 0.9), end(8, 1, "stopped")]
    assert effects_of(fold(records)) == effects_of(fold(factorial()))


def test_a_field_that_only_some_trials_have_is_compared_among_these(tmp_path):
    gain = {None: 0.5, 0.0: 0.1, 0.9: 0.3}
    records = records_of(
        [
            (
                {"optimizer.name": "sgd" if momentum is not None else "adam", "optimizer.lr": lr}
                | ({} if momentum is None else {"optimizer.momentum": momentum}),
                gain[momentum] + lr,
            )
            for momentum in gain
            for lr in (0.1, 0.01, 0.001, 0.0001)
        ]
    )
    effects = effects_of(fold(records))
    assert [(one.text, one.num_trials) for one in effects.fields["optimizer.momentum"]] == [
        ("0", 4),
        ("0.9", 4),
    ]
    assert effects.partial["optimizer.momentum"].num_trials == 8
    assert effects.mean_of("optimizer.momentum") == pytest.approx(0.2 + 0.1111 / 4)
    (line,) = (one for one in effect_lines(effects) if one.startswith("momentum"))
    assert line.endswith("% of the variance of the 8 trials that have it")
    assert json.loads(effects_json(effects))["partial"]["optimizer.momentum"]["importance"] > 0.8
    rows = list(csv.DictReader(io.StringIO(effects_csv(effects))))
    among = {row["field"]: row["among"] for row in rows}
    assert among == {"optimizer.name": "12", "optimizer.lr": "12", "optimizer.momentum": "8"}
    assert len(write_effects(effects, fold(records), tmp_path)) == 4


def test_what_is_not_balanced_among_the_trials_that_have_a_field_is_said():
    whole = [({"optimizer.name": name, "optimizer.lr": lr}, lr) for name in NAMES for lr in LRS]
    assert effects_of(fold(records_of(whole))).is_balanced
    momenta = iter((0.1, 0.9))
    some = [
        (
            values
            | ({"optimizer.momentum": next(momenta)} if values["optimizer.name"] == "sgd" else {}),
            f1,
        )
        for values, f1 in whole
    ]
    assert not effects_of(fold(records_of(some))).is_balanced


def test_fields_of_which_no_trial_has_all_are_compared_too():
    rows = [({"optimizer.lr": lr}, lr) for lr in LRS]
    rows += [({"optimizer.momentum": value}, value / 2) for value in (0.1, 0.9)]
    effects = effects_of(fold(records_of(rows)))
    assert list(effects.fields) == ["optimizer.lr", "optimizer.momentum"]
    assert "in the 2 trials that have it" in "\n".join(effect_lines(effects))


def test_files_and_command_say_the_same(tmp_path, capsys):
    with Ledger(tmp_path) as ledger:
        for record in factorial():
            ledger.append(record)
    assert leaderboard.main([f"study={tmp_path}", "format=effects"]) == 0
    said = capsys.readouterr().out
    assert "effects of the fields on validation macro-F1, 8 finished trials" in said
    for name in ("importance.png", "main_effects.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert str(tmp_path / name) in said
    rows = list(csv.DictReader(io.StringIO((tmp_path / "effects.csv").read_text())))
    document = json.loads((tmp_path / "effects.json").read_text())
    assert len(rows) == 4
    for row in rows:
        (same,) = (e for e in document["fields"][row["field"]] if e["value"] == row["value"])
        assert float(row["mean_macro_f1"]) == same["mean_macro_f1"]
        assert f"{same['mean_macro_f1']:.3f}" in said
    assert (tmp_path / LEDGER).is_file()


def test_names_and_values_that_try_to_break_out_stay_words(tmp_path):
    view = hostile()
    effects = effects_of(view)
    text = "\n".join(effect_lines(effects)) + effects_csv(effects)
    assert "\x1b" not in text
    json.loads(effects_json(effects))
    write_effects(effects, view, tmp_path)
