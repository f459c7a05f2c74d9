"""A study whose space has changed: only what is new is trained, only what is asked for goes on."""

from collections import Counter

import pytest

from orchestrator.results.main_effects import effects_of
from orchestrator.results.study_fold import fold
from orchestrator.tuning.ledger import LEDGER, read_records
from orchestrator.tuning.study import past_trials
from orchestrator.tuning.taking_up import left_lines
from tests.unit.test_study import (
    GRID,
    TPE,
    Driver,
    Killed,
    World,
    leaderboard,
    no_waiting_for_the_disk,
    records,
    space,
)

__all__ = ["no_waiting_for_the_disk"]  # a fixture

LRS = {"kind": "grid", "axes": {"optimizer.lr": [0.1, 0.2], "epochs": [2, 3]}}
MODELS = {"model.name": ["main", "baseline"]}


def with_axes(content, **axes) -> dict:
    named = {path.replace("__", "."): values for path, values in axes.items()}
    return {**content, "axes": {**content["axes"], **named}}


def grown(content, axes) -> dict:
    return {**content, "axes": {**axes, **content["axes"]}}


def run(content, folder, world, **options) -> Driver:
    driver = Driver(space(content), folder, world, **options)
    driver.run()
    return driver


def view_of(folder):
    return fold(read_records(folder / LEDGER))


def test_a_model_that_joins_a_finished_study_is_trained_and_nothing_else(tmp_path):
    world = World()
    run(LRS, tmp_path, world)
    before = Counter(world.trained)
    run(grown(LRS, MODELS), tmp_path, world)
    assert set(world.trained.values()) == {1}
    assert len(world.trained) == 2 * len(before)
    view = view_of(tmp_path)
    assert len(view.trials) == len(view.places) == 8, "one row a configuration"
    assert {row.values["model.name"] for row in view.trials} == {"main", "baseline"}
    effects = effects_of(view)
    assert {"model.name", "optimizer.lr", "epochs"} <= effects.fields.keys()
    assert effects.is_balanced
    assert "model.name" in effects.importance.shares


def test_a_study_that_has_grown_and_is_run_again_writes_nothing(tmp_path):
    world = World()
    run(LRS, tmp_path, world)
    run(grown(LRS, MODELS), tmp_path, world)
    before = (tmp_path / LEDGER).read_bytes()
    run(grown(LRS, MODELS), tmp_path, world)
    assert (tmp_path / LEDGER).read_bytes() == before


@pytest.mark.parametrize("dies_after", range(1, 12))
def test_a_driver_killed_while_its_study_grows_is_resumed_to_the_same_rows(dies_after, tmp_path):
    calm, killed, world = tmp_path / "calm", tmp_path / "killed", World()
    for content in (LRS, grown(LRS, MODELS)):
        run(content, calm, World())
    run(LRS, killed, world)
    with pytest.raises(Killed):
        run(grown(LRS, MODELS), killed, world, dies_after=dies_after)
    run(grown(LRS, MODELS), killed, world)
    assert leaderboard(killed) == leaderboard(calm)
    assert set(world.trained.values()) == {1}


def test_a_field_that_leaves_the_axes_again_leaves_its_rows_as_they_are(tmp_path):
    world = World()
    run(grown(LRS, MODELS), tmp_path, world)
    trained, rows = Counter(world.trained), leaderboard(tmp_path)
    run(LRS, tmp_path, world)
    assert (world.trained, leaderboard(tmp_path)) == (trained, rows)


def test_rows_that_say_what_went_without_saying_are_the_same_trials(tmp_path):
    world, rates = World(), [{"optimizer.lr": 0.1}, {"optimizer.lr": 0.2}]
    run({"kind": "rows", "rows": rates}, tmp_path, world)
    before = Counter(world.trained)
    said = [{**row, "model.name": "main", "epochs": 20} for row in rates]
    run({"kind": "rows", "rows": said}, tmp_path, world)
    assert world.trained == before
    assert [row.values for row in view_of(tmp_path).trials] == said


def test_epochs_that_become_an_axis_go_on_from_what_is_trained(tmp_path):
    world = World()
    run({"kind": "grid", "axes": {"optimizer.lr": [0.1, 0.2]}}, tmp_path, world)
    assert len(world.trained) == 2 * 20
    run(with_axes(LRS, epochs=[10, 20, 30]), tmp_path, world)
    assert set(world.trained.values()) == {1}
    assert len(world.trained) == 2 * 30
    assert len(view_of(tmp_path).places) == 6


def test_a_seed_that_becomes_an_axis_is_one_of_its_values(tmp_path):
    world = World()
    run(LRS, tmp_path, world)
    before = len(world.trained)
    run(with_axes(LRS, seed=[0, 1]), tmp_path, world)
    assert set(world.trained.values()) == {1}
    assert len(world.trained) == 2 * before
    assert len(view_of(tmp_path).places) == 8


def test_seeds_become_an_axis_and_an_axis_of_seeds_becomes_seeds(tmp_path):
    world = World()
    run({**LRS, "seeds": 2}, tmp_path, world)
    before = Counter(world.trained)
    run(with_axes(LRS, seed=[0, 1]), tmp_path, world)
    assert [len(place.rows) for place in view_of(tmp_path).places] == [1] * 8
    run({**LRS, "seeds": 2}, tmp_path, world)
    assert [len(place.rows) for place in view_of(tmp_path).places] == [2] * 4
    assert world.trained == before
    run({**LRS, "seeds": 3}, tmp_path, world)
    assert [len(place.rows) for place in view_of(tmp_path).places] == [3] * 4
    assert set(world.trained.values()) == {1}


def test_a_sampled_study_is_taken_as_it_is(tmp_path):
    world = World()
    run(TPE, tmp_path, world)
    assert Driver(space(TPE), tmp_path, world)._taken_up(records(tmp_path, "trial")).news == ()


def killed_with_all_open(folder, world, content=GRID) -> None:
    with pytest.raises(Killed):
        run(content, folder, world, num_slots=1, dies_after=space(content).num_trials() + 1)


def test_open_trials_that_are_no_longer_asked_for_are_not_trained(tmp_path):
    world = World()
    killed_with_all_open(tmp_path, world)
    shorter = with_axes(GRID, optimizer__lr=[0.2], epochs=[2, 3])
    driver = run(shorter, tmp_path, world)
    of_trials = {record["trial"]: record for record in records(tmp_path, "trial")}
    wanted = {n for n, t in of_trials.items() if _is_wanted(t["values"])}
    assert {end["trial"] for end in records(tmp_path, "end")} == wanted
    lineages = {of_trials[number]["lineage"] for number in wanted}
    later = {key for key in world.trained if key[0] in lineages}
    assert max(epoch for _, epoch in later) == 3
    assert len(set(world.trained) - later) <= 1, "what the first driver had trained"
    assert set(driver.taken_up.left) == of_trials.keys() - wanted
    view = view_of(tmp_path)
    assert {row.state for row in view.trials} == {"finished"}
    assert {row.trial for row in view.trials} == wanted
    assert all(past_trials(read_records(tmp_path / LEDGER))[n].open for n in driver.taken_up.left)


def _is_wanted(values) -> bool:
    return values["optimizer.lr"] == 0.2 and values["epochs"] < 5


def test_what_was_left_is_said_once_and_trained_when_it_is_asked_for_again(tmp_path):
    world = World()
    killed_with_all_open(tmp_path, world)
    for _ in range(2):
        run(with_axes(GRID, epochs=[2]), tmp_path, world)
    assert len(records(tmp_path, "left")) == 8
    run(GRID, tmp_path, world)
    view = view_of(tmp_path)
    assert (view.count("finished"), len(view.trials)) == (12, 12)
    assert set(world.trained.values()) == {1}
    calm = tmp_path / "calm"
    run(GRID, calm, World())
    assert leaderboard(tmp_path) == leaderboard(calm)


def test_a_trial_that_a_lost_slot_ended_is_left_too_and_one_that_failed_by_its_own_fault_is_not(
    tmp_path,
):
    world = World()
    run(LRS, tmp_path, world, loses=1)
    failed = [row.trial for row in view_of(tmp_path).trials if row.state == "failed"]
    assert failed
    rates = {row.values["optimizer.lr"] for row in view_of(tmp_path).trials if row.trial in failed}
    kept = [lr for lr in (0.1, 0.2) if lr not in rates]
    run(with_axes(LRS, optimizer__lr=kept), tmp_path, world)
    view = view_of(tmp_path)
    assert view.count("failed") == 0
    assert not set(failed) & {row.trial for row in view.trials}


def test_fewer_seeds_leave_the_open_trials_of_the_others(tmp_path):
    world = World()
    killed_with_all_open(tmp_path, world, {**LRS, "seeds": 3})
    run({**LRS, "seeds": 2}, tmp_path, world)
    assert [len(place.rows) for place in view_of(tmp_path).places] == [2] * 4


def test_open_trials_of_a_sampled_study_go_on(tmp_path):
    world = World()
    with pytest.raises(Killed):
        run(TPE, tmp_path, world, dies_after=5)
    run(with_axes(TPE, optimizer__lr=[0.2, 0.3]), tmp_path, world)
    assert records(tmp_path, "left") == []
    assert view_of(tmp_path).count("finished") == TPE["trials"]


def test_a_line_says_which_trials_are_left():
    assert left_lines(()) == ()
    assert left_lines((3,)) == ("left        1 open trial no longer in the space, not trained: 3",)
    assert left_lines(range(12))[0].endswith("not trained: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...")
