"""A search space is right as a whole, or says what is wrong with it."""

import pytest

from orchestrator.config.errors import ConfigError
from orchestrator.config.space import Range, Space
from orchestrator.config.validate import validate

LR = {"low": 0.001, "high": 0.1, "log": True}


def space(**content) -> Space:
    return validate(Space, ("a test", {"question": "Which?", **content}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"kind": "rows"}, "rows: must be given for kind 'rows' and no other; got kind 'rows'"),
        ({"kind": "grid", "rows": [{"epochs": 1}], "axes": {"seed": [1]}}, "got kind 'grid'"),
        ({"kind": "rows", "rows": [{"epochs": 1}], "axes": {"seed": [1]}}, "axes: must be given"),
        ({"kind": "grid"}, "axes: must be given for every kind but 'rows'; got kind 'grid'"),
        (
            {"kind": "tpe", "axes": {"optimizer.lr": LR}},
            "trials: must be >= 1 for kinds that sample",
        ),
        ({"kind": "grid", "axes": {"seed": [1]}, "trials": 3}, "absent for rows and grid; got 3"),
        ({"kind": "grid", "axes": {"seed": [1]}, "points": [{"seed": 1}]}, "points: must be given"),
        ({"kind": "grid", "axes": {"optimizer.lr": LR}}, "axes.optimizer.lr: must list its values"),
        ({"kind": "grid", "axes": {"seed": []}}, "axes.seed: must have at least one value"),
        (
            {"kind": "grid", "axes": {"data.path": ["a"]}},
            "axes.data.path: must be the same for all",
        ),
        ({"kind": "rows", "rows": [{"resources.workers": 2}]}, "must be the same for all trials"),
        ({"kind": "grid", "axes": {"seed": [1]}, "base": {"seed": 2}}, "base.seed: must not be an"),
        ({"kind": "rows", "rows": [{"seed": 1}], "base": {"seed": 2}}, "base.seed: must not be an"),
        (
            {"kind": "grid", "axes": {"seed": [1, 2, 1]}},
            "axes.seed: must not repeat a trial or val",
        ),
        ({"kind": "rows", "rows": [{"a": 1, "b": 2}, {"b": 2, "a": 1}]}, "rows: must not repeat"),
        (
            {"kind": "tpe", "trials": 1, "axes": {"seed": [1]}, "points": [{"epochs": 1}]},
            "points[0].epochs: must be an axis",
        ),
        (
            {"kind": "gird", "axes": {"seed": [1]}},
            "kind: must be one of rows, grid, tpe, gp, cmaes",
        ),
        ({"kind": "grid", "axes": {"seed": [1]}, "qestion": "?"}, "Did you mean 'question'?"),
        ({"kind": "grid", "axes": {"seed": [None]}}, "axes.seed[0]: must be text or a whole"),
        ({"kind": "grid", "axes": {"seed": [float("nan")]}}, "axes.seed[0]: must be text or a"),
        ({"kind": "grid", "axes": {"seed": [1]}, "question": ""}, "question: must not be empty"),
    ],
)
def test_every_rule_is_enforced_in_one_line_that_names_the_place(content, message):
    with pytest.raises(ConfigError) as caught:
        space(**content)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ({"low": 2, "high": 1}, "high: must be > low; got low 2 and high 1"),
        ({"low": 1, "high": 1}, "high: must be > low"),
        ({"low": 0, "high": 1, "log": True}, "low: must be > 0 for a log axis; got 0"),
        ({"low": 1, "high": 9, "log": True, "step": 1}, "step: must not be given for a log axis"),
        ({"low": 1, "high": 9, "step": 0}, "step: must be > 0; got 0"),
        ({"low": 1}, "high: is required"),
    ],
)
def test_every_rule_of_a_range_is_enforced(axis, message):
    with pytest.raises(ConfigError) as caught:
        space(kind="random", trials=1, axes={"optimizer.lr": axis})
    assert "axes.optimizer.lr" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("axis", "value"),
    [
        ({"low": 1, "high": 2}, 2.5),
        ({"low": 1, "high": 2}, "1"),
        ({"low": 1, "high": 2}, True),
        ({"low": 5, "high": 20, "step": 5}, 12),
        (["sgd", "adam"], "adamw"),
    ],
)
def test_points_that_do_not_lie_on_their_axis_are_refused(axis, value):
    with pytest.raises(ConfigError, match=r"points\[1\]\.x: must lie on its axis; got"):
        space(kind="tpe", trials=9, axes={"x": axis}, points=[{}, {"x": value}])


def test_points_on_the_bounds_and_on_decimal_steps_are_taken():
    points = [{"x": value} for value in (0.1, 0.3, 0.4, 0.7)]
    axis = {"low": 0.1, "high": 0.7, "step": 0.1}
    assert space(kind="random", trials=4, axes={"x": axis}, points=points).points == tuple(points)


def test_more_points_than_trials_are_refused():
    with pytest.raises(ConfigError, match=r"trials: must be >= the 2 points; got 1"):
        space(kind="tpe", trials=1, axes={"seed": [1, 2]}, points=[{"seed": 1}, {"seed": 2}])


def test_a_grid_lists_the_product_of_its_axes_in_the_order_of_the_file():
    grid = space(kind="grid", axes={"b": [1, 2], "a": ["x", "y"]})
    assert list(grid.listed()) == [
        {"b": 1, "a": "x"},
        {"b": 1, "a": "y"},
        {"b": 2, "a": "x"},
        {"b": 2, "a": "y"},
    ]
    assert (grid.num_listed(), grid.num_trials(), grid.paths()) == (4, 4, ("b", "a"))


def test_rows_are_listed_as_they_stand_and_their_paths_are_varied():
    rows = [{"seed": 1}, {"epochs": 3, "seed": 1}]
    listed = space(kind="rows", rows=rows)
    assert list(listed.listed()) == rows
    assert (listed.num_trials(), listed.paths()) == (2, ("seed", "epochs"))


def test_a_sampled_space_lists_nothing():
    sampled = space(
        kind="tpe", trials=5, axes={"optimizer.lr": LR, "seed": [1]}, points=[{"seed": 1}]
    )
    assert list(sampled.listed()) == []
    assert (sampled.num_listed(), sampled.num_trials()) == (0, 5)
    assert sampled.paths() == ("optimizer.lr", "seed")
    assert isinstance(sampled.axes["optimizer.lr"], Range)


@pytest.mark.parametrize(
    ("content", "choices"),
    [
        ({"kind": "grid", "axes": {"seed": [1]}}, (7,)),
        ({"kind": "grid", "axes": {"epochs": [9, 3]}}, (3, 9)),
        ({"kind": "rows", "rows": [{"seed": 1}, {"epochs": 3}, {"epochs": 9}]}, (3, 7, 9)),
        ({"kind": "tpe", "trials": 1, "axes": {"epochs": {"low": 2, "high": 4}}}, (2, 3, 4)),
        (
            {"kind": "tpe", "trials": 1, "axes": {"epochs": {"low": 5, "high": 16, "step": 5}}},
            (5, 10, 15),
        ),
        ({"kind": "random", "trials": 1, "axes": {"epochs": [4, 2]}}, (2, 4)),
    ],
)
def test_all_numbers_of_epochs_that_a_trial_can_ask_for_are_known(content, choices):
    assert space(**content).epochs_choices(7) == choices


def test_values_keep_their_types():
    kept = space(kind="grid", axes={"x": [1, 1.5, True, "1"]}).axes["x"]
    assert [type(value) for value in kept] == [int, float, bool, str]


@pytest.mark.parametrize(
    ("axes", "choices"),
    [
        ({"seed": [1]}, (7,)),
        ({"early_stop": [3, 0]}, (0, 3)),
        ({"early_stop": {"low": 2, "high": 6, "step": 2}}, (2, 4, 6)),
    ],
)
def test_it_says_how_much_patience_its_trials_can_have(axes, choices):
    assert space(kind="random", trials=2, axes=axes).patience_choices(7) == choices


def test_an_axis_that_a_condition_leaves_out_has_the_default_too():
    axes = {"schedule": ["constant", "cosine"], "early_stop": [3], "epochs": [9]}
    of = space(kind="grid", axes=axes, when={"early_stop": {"schedule": "constant"}})
    assert of.patience_choices(0) == (0, 3)
    assert of.epochs_choices(7) == (9,)


@pytest.mark.parametrize(
    ("axes", "whole", "once"),
    [
        ({"optimizer.lr": {"low": 1e-5, "high": 1e-2}}, (), True),
        ({"optimizer.lr": {"low": 1e-3, "high": 1e-2, "step": 1e-3}}, (), False),
        ({"optimizer.lr": [1e-3, 1e-2]}, (), False),
        ({"batch_size": {"low": 16, "high": 256}}, ("batch_size",), False),
        (
            {"optimizer.lr": {"low": 1e-5, "high": 1e-2}, "early_stop": {"low": 1, "high": 3}},
            ("early_stop",),
            False,
        ),
    ],
)
def test_draws_share_no_training_where_an_axis_has_a_value_between_any_two(axes, whole, once):
    drawn = space(kind="tpe", trials=9, axes=axes | {"epochs": {"low": 5, "high": 20}})
    assert drawn.draws_once(("epochs", *whole)) is once


@pytest.mark.parametrize(
    ("kind", "once"), [("random", True), ("qmc", True), ("gp", False), ("nsga2", False)]
)
def test_kinds_that_hand_values_on_may_draw_the_same_again(kind, once):
    axes = {"optimizer.lr": {"low": 1e-5, "high": 1e-2}, "epochs": {"low": 5, "high": 20}}
    assert space(kind=kind, trials=9, axes=axes).draws_once(("epochs",)) is once


def test_an_axis_that_is_not_always_drawn_leaves_draws_that_are_alike():
    axes = {"optimizer.name": ["sgd", "adam"], "optimizer.momentum": {"low": 0, "high": 0.9}}
    when = {"optimizer.momentum": {"optimizer.name": "sgd"}}
    assert not space(kind="tpe", trials=9, axes=axes, when=when).draws_once(())


def test_points_may_share_a_training_and_say_where_they_end():
    axes = {"optimizer.lr": {"low": 1e-5, "high": 1e-2}, "epochs": {"low": 1, "high": 20}}
    points = [{"optimizer.lr": 1e-3, "epochs": last} for last in (20, 10)]
    assert space(kind="tpe", trials=9, axes=axes, points=points).ends_of_points(7, {"epochs"}) == (
        10,
        20,
    )
    assert space(kind="tpe", trials=9, axes=axes).ends_of_points(7, {"epochs"}) == ()
    open_end = [*points[:1], {"optimizer.lr": 1e-3}]
    left_open = space(kind="tpe", trials=9, axes=axes, points=open_end)
    assert left_open.ends_of_points(7, {"epochs"}) == left_open.epochs_choices(7)
    for alone in (points[:1], [points[0], {"epochs": 10}]):
        assert (
            space(kind="tpe", trials=9, axes=axes, points=alone).ends_of_points(7, {"epochs"}) == ()
        )
