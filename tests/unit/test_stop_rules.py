"""Early stopping: judged from the ledger alone, the same after a kill, never ranked as finished."""

import csv
import io
import json
import random

import fake_study
import pytest
from test_study import MOST_LIVES, Driver, Killed, World, figures, records, space

from orchestrator.ablate import _stop_rule
from orchestrator.config.commands import AblateConfig
from orchestrator.config.errors import ConfigError
from orchestrator.config.stop_rule import StopRule
from orchestrator.config.validate import validate
from orchestrator.results.leaderboard_tables import csv_table, json_document, text_table
from orchestrator.results.study_fold import fold
from orchestrator.tuning.judge import Judge
from orchestrator.tuning.ledger import LEDGER, read_records
from orchestrator.tuning.plan import with_num_seeds
from orchestrator.tuning.study import past_trials

ASHA = {"rule": "asha", "min_epochs": 1, "reduction_factor": 2}
MEDIAN = {"rule": "median", "min_epochs": 2, "min_trials": 2}
GRID = {
    "kind": "grid",
    "axes": {"optimizer.lr": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "epochs": [2, 5, 8]},
}
TPE = {
    "kind": "tpe",
    "trials": 16,
    "axes": {"optimizer.lr": {"low": 0.01, "high": 1}, "epochs": {"low": 1, "high": 8}},
}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def judge(**rule) -> Judge:
    return Judge(validate(StopRule, ("a test", rule)), longest=16)


def report(to: Judge, lineage: str, epoch: int, f1: float) -> int | None:
    to.take(fake_study.epoch(lineage, epoch, f1))
    return to.stop_of(lineage)


def outcome(folder) -> list[tuple]:
    return [
        (end["trial"], end["state"], end["epoch"])
        for end in sorted(records(folder, "end"), key=lambda end: end["trial"])
    ]


def assert_stopped_as_judged(folder, rule) -> None:
    """Each end follows from the records before it, and no epoch was trained after it was due."""
    judging, stops, trials = Judge(rule, 8), {}, {}
    for record in read_records(folder / LEDGER):
        judging.take(record)
        if record["record"] == "trial":
            trials[record["trial"]] = record
        if record["record"] == "epoch":
            assert record["lineage"] not in stops, "trained on after it was stopped"
            if (epoch := judging.stop_of(record["lineage"])) is not None:
                stops[record["lineage"]] = epoch
    for number, state, epoch in outcome(folder):
        asked, stop = trials[number]["epochs"], stops.get(trials[number]["lineage"])
        if stop is None or asked <= stop:
            assert (state, epoch) == ("finished", asked)
        else:
            assert (state, epoch) == ("stopped", stop)


def test_asha_lets_one_in_so_many_of_a_rung_go_on():
    judging = judge(**ASHA)
    assert report(judging, "a", 1, 0.5) is None
    assert report(judging, "b", 1, 0.4) == 1
    assert report(judging, "c", 1, 0.6) is None
    assert report(judging, "a", 2, 0.9) is None
    assert report(judging, "c", 2, 0.7) == 2


def test_nothing_is_stopped_before_its_least_epochs_nor_without_a_rule():
    patient = judge(rule="asha", min_epochs=3, reduction_factor=2)
    for lineage, f1 in zip("abcd", (0.9, 0.1, 0.1, 0.1), strict=True):
        assert report(patient, lineage, 1, f1) is None
        assert report(patient, lineage, 2, f1) is None
    assert report(patient, "a", 3, 0.9) is None
    assert report(patient, "b", 3, 0.1) == 3
    assert [report(judge(), "a", epoch, 0.1) for epoch in (1, 2)] == [None, None]


def test_median_compares_with_what_finished_and_counts_each_epoch_of_it_once():
    judging = judge(**MEDIAN)
    for number, f1 in enumerate((0.4, 0.5, 0.6)):
        lineage = f"done{number}"
        judging.take(fake_study.trial(number, lineage))
        for epoch in (1, 2):
            assert report(judging, lineage, epoch, f1) is None
        judging.take(fake_study.end(number))
    assert report(judging, "low", 1, 0.1) is None
    assert report(judging, "low", 2, 0.45) == 2
    assert report(judging, "high", 2, 0.55) is None
    judging.take(fake_study.trial(3, "done0", epochs=3))  # a longer trial of what had finished
    assert report(judging, "done0", 3, 0.4) is None
    judging.take(fake_study.end(3, 3))
    counted = [len(trial.intermediate_values) for trial in judging._study.trials if trial.values]
    assert sum(counted) == 7


@pytest.mark.parametrize("rule", [ASHA, MEDIAN, {"rule": "hyperband", "reduction_factor": 2}])
@pytest.mark.parametrize("content", [GRID, TPE], ids=["grid", "tpe"])
@pytest.mark.parametrize("num_slots", [1, 3])
def test_a_study_trains_no_epoch_beyond_what_was_judged(content, rule, num_slots, tmp_path):
    of = space({**content, "stop": rule})
    world = World()
    Driver(of, tmp_path, world, num_slots=num_slots).run()
    assert_stopped_as_judged(tmp_path, of.stop)
    view = fold(read_records(tmp_path / LEDGER))
    assert view.count("stopped") + view.count("finished") == len(view.trials)
    assert view.count("stopped") > 0 or rule == MEDIAN  # which few of made-up scores are below
    assert view.epochs_trained == len(world.trained) == view.epochs_planned


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("content", [GRID, TPE], ids=["grid", "tpe"])
def test_kills_and_lost_slots_do_not_change_what_is_stopped(content, seed, tmp_path):
    of, chance, world = space({**content, "stop": ASHA}), random.Random(seed), World()
    for life in range(MOST_LIVES):
        driver = Driver(of, tmp_path, world, chance.random(), num_slots=3)
        if life < 8:
            driver.dies_after = chance.randint(1, 12)
        try:
            driver.run()
        except Killed:
            continue
        break
    assert life > 1
    assert set(world.trained.values()) == {1}
    assert len(outcome(tmp_path)) == of.num_trials()
    # A kill between an epoch and its verdict leaves no trace in what follows from the records.
    assert_stopped_as_judged(tmp_path, of.stop)


def test_one_slot_killed_at_any_record_stops_what_the_undisturbed_study_stops(tmp_path):
    of = space({**GRID, "stop": ASHA})
    calm = Driver(of, tmp_path / "calm", World(), num_slots=1)
    calm.run()
    for dies_after in range(1, len(calm.records)):
        folder, world = tmp_path / str(dies_after), World()
        with pytest.raises(Killed):
            Driver(of, folder, world, num_slots=1, dies_after=dies_after).run()
        Driver(of, folder, world, num_slots=1).run()
        assert outcome(folder) == outcome(tmp_path / "calm")


def test_the_same_command_stops_nothing_more_and_without_the_rule_trains_the_rest(tmp_path):
    world = World()
    Driver(space({**GRID, "stop": ASHA}), tmp_path, world).run()
    before = (tmp_path / LEDGER).read_bytes()
    Driver(space({**GRID, "stop": ASHA}), tmp_path, world).run()
    assert (tmp_path / LEDGER).read_bytes() == before
    Driver(space(GRID), tmp_path, world).run()
    view = fold(read_records(tmp_path / LEDGER))
    assert view.count("finished") == 18
    assert len(world.trained) == 6 * 8


def test_trials_that_another_command_opened_again_are_ended_by_this_one(tmp_path):
    world, of = World(), space({**GRID, "stop": ASHA})
    Driver(of, tmp_path, world).run()
    ended = len(records(tmp_path, "end"))
    with pytest.raises(Killed):
        Driver(space(GRID), tmp_path, world, dies_after=6).run()
    opened = fold(read_records(tmp_path / LEDGER)).count("running")
    known = past_trials(read_records(tmp_path / LEDGER))
    assert sum(past.open for past in known) == opened > 0
    Driver(of, tmp_path, world).run()
    view = fold(read_records(tmp_path / LEDGER))
    assert view.count("running") + view.count("queued") == 0
    assert len(records(tmp_path, "end")) == ended + opened
    before = (tmp_path / LEDGER).read_bytes()
    Driver(of, tmp_path, world).run()
    assert (tmp_path / LEDGER).read_bytes() == before


def test_the_sampler_is_told_of_a_stopped_trial_with_its_epoch_and_last_score(tmp_path):
    Driver(space({**TPE, "stop": ASHA}), tmp_path, World(), num_slots=1).run()
    past = past_trials(read_records(tmp_path / LEDGER))
    ends = {end["trial"]: end for end in records(tmp_path, "end")}
    trials = {trial["trial"]: trial for trial in records(tmp_path, "trial")}
    stopped = [one for one in past if one.stopped_at is not None]
    assert stopped
    for one in stopped:
        assert one.stopped_at == ends[one.number]["epoch"]
        lineage = trials[one.number]["lineage"]
        assert one.score == figures(lineage, one.stopped_at)["val_macro_f1"]


def stopped_view():
    records = fake_study.scored([0.3, 0.5])
    records += [
        fake_study.trial(2, "low", epochs=9),
        fake_study.epoch("low", 1, 0.9),
        fake_study.end(2, 1, "stopped"),
    ]
    return fold(records)


def test_a_stopped_trial_is_shown_as_such_and_never_ranked_whatever_its_score():
    view = stopped_view()
    assert view.winner.trial == 1
    assert [(place.row.trial, place.rank) for place in view.places] == [(1, 1), (0, 2), (2, None)]
    assert (view.epochs_left, view.epochs_planned) == (0, 5)
    text = text_table(view)
    assert "stopped at 1" in text
    assert "1/9" in text
    assert "1 trial was stopped as others did better, and not ranked" in text
    (row,) = (r for r in csv.DictReader(io.StringIO(csv_table(view))) if r["trial"] == "2")
    assert (row["rank"], row["state"], row["epoch"], row["epochs"]) == ("", "stopped", "1", "9")
    trial = json.loads(json_document(view))["trials"][2]
    assert (trial["rank"], trial["state"], trial["epoch"]) == (None, "stopped", 1)


def test_a_rule_that_is_not_one_is_refused_with_the_choices():
    with pytest.raises(ConfigError, match=r"stop\.rule: must be one of none, asha, hyperband, med"):
        space({**GRID, "stop": {"rule": "ashaa"}})


def test_seeds_are_not_stopped_by_each_other_whether_the_space_or_the_command_asks_for_them():
    said = (
        r"stop\.rule: must be none where seeds > 1.*; got asha with 3 seeds\. Stop early with one"
    )
    with pytest.raises(ConfigError, match=said):
        space({**GRID, "stop": ASHA, "seeds": 3})
    with pytest.raises(ConfigError, match=said):
        with_num_seeds(space({**GRID, "stop": ASHA}), 3)
    command = validate(AblateConfig, ("the command", {"stop": {"rule": "asha"}}))
    with pytest.raises(ConfigError, match=said):
        _stop_rule(command, space({**GRID, "seeds": 3}))
    assert _stop_rule(command, space(GRID)).rule == "asha"


def test_seeds_are_added_to_a_study_that_was_stopped_early_with_one(tmp_path):
    world = World()
    Driver(space({**GRID, "stop": ASHA}), tmp_path, world).run()
    Driver(space({**GRID, "seeds": 2}), tmp_path, world).run()
    view = fold(read_records(tmp_path / LEDGER))
    assert [len(place.finished) for place in view.places] == [2] * 18
    assert view.leading is not None


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({}, ""),
        (ASHA, "asha, from epoch 1 on; about one training in 2 goes on from each rung"),
        (
            MEDIAN,
            "worse than half of those that finished, from epoch 2 on and 2 finished trainings on",
        ),
    ],
)
def test_a_plan_says_the_rule_in_words(rule, words):
    assert validate(StopRule, ("a test", rule)).words() == words
