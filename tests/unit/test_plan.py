"""A study's plan: every trial is checked before the first is trained, all mistakes at once."""

import pytest
import yaml

import search_spaces
from orchestrator.config.errors import ConfigError
from orchestrator.config.experiment import Experiment, Resources
from orchestrator.config.space import Space
from orchestrator.config.validate import validate
from orchestrator.tuning.plan import (
    NUM_DRAWS,
    Resolver,
    check_space,
    checked,
    load_space,
    value_at,
    whole_paths,
    worker_problems,
)

LR = {"low": 0.001, "high": 0.1, "log": True}


def space(**content) -> Space:
    return validate(Space, ("a test", {"question": "Which?", **content}))


def resolver(**given) -> Resolver:
    return Resolver("mine", given, "d" * 64)


def problems(of: Space, image_size: int = 48, **given) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        check_space(of, resolver(**given), image_size=image_size, num_classes=3)
    return caught.value.problems


def check(of: Space, **given):
    return check_space(of, resolver(**given), image_size=48, num_classes=3)


def test_spaces_are_found_by_name_and_by_path(tmp_path):
    assert load_space("paper").kind == "rows"
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump({"question": "?", "kind": "grid", "axes": {"seed": [1, 2]}}))
    assert load_space(str(mine)).num_trials() == 2


def test_an_unknown_space_is_refused_with_the_choices_and_the_nearest():
    with pytest.raises(ConfigError) as caught:
        load_space("factorail")
    assert f"space: must be one of {', '.join(search_spaces.names())}" in str(caught.value)
    assert "Did you mean 'factorial'?" in str(caught.value)


def test_a_path_to_no_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"or a path to a \.yaml file; got '.*none\.yaml'"):
        load_space(str(tmp_path / "none.yaml"))


def test_mistakes_in_a_file_are_reported_all_at_once(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("kind: gird\naxis: {seed: [1]}\ntrials: -1\n")
    with pytest.raises(ConfigError) as caught:
        load_space(str(mine))
    text = str(caught.value)
    assert len(caught.value.problems) == 4
    for expected in (
        "kind: must be one of",
        "axis: unknown key",
        "trials: must be",
        "question: is",
    ):
        assert expected in text


def test_a_file_that_is_no_yaml_is_refused(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("kind: [grid\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        load_space(str(mine))


def test_all_wrong_values_of_all_listed_trials_are_reported_at_once():
    axes = {"optimizer.name": ["sgd", "addam"], "optimizer.lr": [0.1, -1, 50], "epochs": [1.5]}
    found = problems(space(kind="grid", axes=axes))
    for expected in (
        "optimizer.name: must be one of",
        "optimizer.lr: must be > 0; got -1",
        "optimizer.lr: must be <= 10; got 50",
        "epochs: must be a whole number; got 1.5",
    ):
        assert sum(problem.startswith(expected) for problem in found) == 1, expected
    assert all("space mine" in problem for problem in found)


def test_a_misspelt_path_is_named_once_with_the_nearest():
    found = problems(space(kind="tpe", trials=3, axes={"optimizer.lrr": LR}))
    assert len(found) == 1
    assert "optimizer.lrr: unknown key" in found[0]
    assert "Did you mean 'lr'?" in found[0]


def test_a_range_beyond_a_bound_is_one_mistake_and_not_one_a_draw():
    found = problems(space(kind="random", trials=3, axes={"optimizer.lr": {"low": 5, "high": 50}}))
    assert len(found) == 1
    assert found[0].startswith("optimizer.lr: must be <= 10; got ")


def test_a_path_that_belongs_to_another_optimizer_is_refused():
    axes = {"optimizer.name": ["sgd", "adam"], "optimizer.momentum": [0.5]}
    (found,) = problems(space(kind="grid", axes=axes))
    assert "optimizer.momentum: unknown key" in found


def test_a_wrong_model_is_refused_with_the_nearest():
    (found,) = problems(space(kind="grid", axes={"model.name": ["main", "basline"]}))
    assert found.startswith("model.name: ")
    assert "Did you mean 'baseline'?" in found


def test_a_model_that_does_not_fit_the_images_is_refused():
    (found,) = problems(space(kind="grid", axes={"seed": [1, 2]}), image_size=16)
    assert "16" in found


def test_weights_that_are_not_there_are_refused(tmp_path):
    values = {"model": {"weights": str(tmp_path / "none.pth")}}
    (found,) = problems(space(kind="grid", axes={"seed": [1]}), **values)
    assert "none.pth" in found


@pytest.mark.parametrize(
    "axis",
    [
        {"low": 0.5, "high": 8, "log": True},
        {"low": 5, "high": 8.5},
        {"low": 5, "high": 8, "step": 0.5},
    ],
)
def test_a_fractional_range_of_a_whole_number_is_refused(axis):
    (found,) = problems(space(kind="tpe", trials=3, axes={"epochs": axis}))
    assert found.startswith("axes.epochs.")
    assert "must be a whole number" in found


def test_a_warm_up_that_leaves_nothing_for_cosine_is_refused():
    (found,) = problems(
        space(kind="grid", axes={"epochs": [3, 30]}), schedule="cosine", warmup_epochs=3
    )
    assert found.startswith("warmup_epochs: must be < epochs with schedule=cosine")
    assert "got 3 of 3. Lower warmup_epochs" in found
    check(space(kind="grid", axes={"epochs": [3, 30]}), warmup_epochs=3)


def test_a_drawn_trial_is_checked_as_a_listed_one_is():
    make = checked(resolver(schedule="cosine", epochs=4), image_size=48, num_classes=6)
    assert make(3, {"warmup_epochs": 1}, 1, 7).experiment.seed == 7
    with pytest.raises(ConfigError, match="warmup_epochs: must be < epochs with schedule=cosine"):
        make(3, {"warmup_epochs": 4}, 1, 7)
    with pytest.raises(ConfigError, match="image"):
        checked(resolver(), image_size=8, num_classes=6)(0, {"model.name": "main"}, 0, 0)


def test_freezing_a_model_of_timm_is_refused():
    (found,) = problems(
        space(kind="grid", axes={"model.name": ["main", "timm:resnet18"]}), model={"freeze": 2}
    )
    assert found.startswith("model.freeze: must be 0 for timm:resnet18")


def test_all_that_belongs_to_training_can_be_searched_by_its_path():
    axes = {
        "optimizer.name": ["rmsprop", "timm:lamb"],
        "optimizer.weight_decay": {"low": 0, "high": 0.1},
        "schedule": ["constant", "cosine"],
        "warmup_epochs": {"low": 0, "high": 2},
        "label_smoothing": {"low": 0, "high": 0.2},
        "class_weights": ["none", "balanced", "effective"],
        "gradient_clip": [0, 1, 5],
        "early_stop": {"low": 0, "high": 5},
        "model.freeze": {"low": 0, "high": 13},
    }
    sampled = space(kind="random", trials=8, axes=axes)
    experiments = check(sampled)
    assert len({experiment.model.freeze for experiment in experiments}) > 4
    assert {experiment.class_weights for experiment in experiments} == set(axes["class_weights"])
    assert whole_paths(sampled, resolver()) == {"early_stop", "model.freeze"}


def test_every_listed_trial_is_returned_checked():
    experiments = check(
        space(kind="grid", axes={"optimizer.name": ["sgd", "adam"], "epochs": [1, 2]})
    )
    assert [(e.optimizer.name, e.epochs) for e in experiments] == [
        ("sgd", 1),
        ("sgd", 2),
        ("adam", 1),
        ("adam", 2),
    ]


def test_a_sampled_space_is_checked_by_its_points_and_a_sample():
    sampled = space(
        kind="tpe", trials=3, axes={"optimizer.lr": LR}, points=[{"optimizer.lr": 0.05}]
    )
    experiments = check(sampled)
    assert len(experiments) == 1 + NUM_DRAWS
    assert experiments[0].optimizer.lr == 0.05


def test_a_trial_keeps_the_defaults_of_its_own_optimizer():
    rows = [{"optimizer.name": "sgd"}, {"optimizer.name": "adamw"}, {}]
    experiments = check(space(kind="rows", rows=rows), optimizer={"lr": 0.5})
    assert [(e.optimizer.name, e.optimizer.lr) for e in experiments] == [
        ("sgd", 0.5),
        ("adamw", 0.5),
        ("adam", 0.5),
    ]
    assert experiments[1].optimizer.weight_decay == 0.01


def test_whole_paths_are_those_whose_fields_take_whole_numbers():
    axes = {
        "epochs": [1],
        "seed": [1],
        "optimizer.lr": [1],
        "model.width": [1],
        "model.name": ["main"],
    }
    assert whole_paths(space(kind="grid", axes=axes), resolver()) == {"epochs", "seed"}


def test_trials_of_a_resolver_share_a_lineage_unless_more_than_epochs_differs():
    one, longer, other = (
        resolver().trial(0, values) for values in ({"epochs": 1}, {"epochs": 2}, {"seed": 1})
    )
    assert one.lineage == longer.lineage != other.lineage
    assert (one.epochs, longer.epochs) == (1, 2)


@pytest.mark.parametrize(
    ("path", "value"), [("a", {"b": 1}), ("a.b", 1), ("a.c", None), ("a.b.c", None), ("x", None)]
)
def test_values_are_found_at_dotted_paths(path, value):
    assert value_at({"a": {"b": 1}}, path) == value


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ({"name": "main"}, ""),
        ({"name": "baseline", "dropout": 0.5}, "dropout > 0, which each worker draws for itself"),
        ({"name": "timm:resnet18"}, "timm:resnet18, whose batch norm averages"),
    ],
)
def test_the_number_of_workers_may_change_only_where_the_losses_stay_the_same(model, why):
    of = validate(Experiment, ("a test", {"model": model}))
    changing = worker_problems([of, of], Resources(workers=4, min_workers=2), 48)
    assert [why in problem for problem in changing] == ([True] if why else [])
    for resources in (Resources(workers=4), Resources(workers=4, min_workers=4)):
        assert worker_problems([of], resources, 48) == ()
