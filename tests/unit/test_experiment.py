"""What can be set of a training, its bounds, and what choosing another optimizer keeps."""

import pytest

from orchestrator.config.commands import AblateConfig, TrainConfig
from orchestrator.config.errors import ConfigError
from orchestrator.config.experiment import Experiment
from orchestrator.config.help_text import render
from orchestrator.config.optimizers import RmsProp, Timm
from orchestrator.config.validate import to_dict, validate


def build(*layers: dict) -> Experiment:
    return validate(Experiment, *((f"layer {n}", values) for n, values in enumerate(layers)))


def mistake(**values) -> str:
    with pytest.raises(ConfigError) as caught:
        build({path.replace("__", "."): value for path, value in values.items()})
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schedule": "linear"}, "schedule: must be one of constant, cosine; got 'linear'"),
        ({"warmup_epochs": -1}, "warmup_epochs: must be >= 0; got -1"),
        ({"warmup_epochs": True}, "warmup_epochs: must be a number; got true"),
        ({"label_smoothing": 1}, "label_smoothing: must be < 1; got 1"),
        ({"label_smoothing": float("nan")}, "label_smoothing: must be a finite number"),
        ({"class_weights": "balance"}, "Did you mean 'balanced'?"),
        ({"gradient_clip": -0.1}, "gradient_clip: must be >= 0; got -0.1"),
        ({"early_stop": 1.5}, "early_stop: must be a whole number; got 1.5"),
        ({"early_stop": -1}, "early_stop: must be >= 0; got -1"),
        ({"model__freeze": 14}, "model.freeze: must be <= 13; got 14"),
        (
            {"model__name": "timm:resnet18", "model__freeze": 1},
            "model.freeze: must be 0 for timm:resnet18",
        ),
        (
            {"optimizer__name": "timm"},
            "optimizer.name: must be one of sgd, adam, adamw, rmsprop, timm:<name>; got 'timm'. "
            "Did you mean 'timm:lamb'?",
        ),
        ({"optimizer__name": "timm:La mb"}, "optimizer.name: must match ^timm:[a-z0-9]+$"),
        ({"optimizer__name": "timm:lookahead_sgd"}, "optimizer.name: must match"),
        ({"optimizer__name": "tim:lamb"}, "timm:<name>; got 'tim:lamb'. Did you mean 'timm:lamb'?"),
        ({"optimizer__name": "timm:lamb", "optimizer__lr": 0}, "optimizer.lr: must be > 0; got 0"),
        (
            {"optimizer__name": "timm:lamb", "optimizer__momentum": 0.9},
            "optimizer.momentum: unknown key. Only optimizer.name=sgd or optimizer.name=rmsprop",
        ),
        (
            {"optimizer__name": "rmsprop", "optimizer__alpha": 1},
            "optimizer.alpha: must be < 1; got 1",
        ),
    ],
)
def test_each_bound_is_one_line_that_names_the_path(values, message):
    said = mistake(**values)
    assert message in said
    assert "\n" not in said


def test_another_optimizer_of_timm_keeps_what_was_set_of_the_first():
    found = build({"optimizer": {"name": "timm:lamb", "lr": 0.5}}, {"optimizer.name": "timm:lion"})
    assert found.optimizer == Timm(name="timm:lion", lr=0.5)


def test_leaving_timm_drops_nothing_that_the_next_one_has():
    found = build(
        {"optimizer": {"name": "timm:lamb", "weight_decay": 0.5}}, {"optimizer.name": "rmsprop"}
    )
    assert found.optimizer == RmsProp(weight_decay=0.5)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "timm:lamb"])
def test_a_saved_experiment_is_read_back_as_it_was(name):
    experiment = build({"optimizer.name": name, "schedule": "cosine", "model.freeze": 3})
    assert build(to_dict(experiment)) == experiment


@pytest.mark.parametrize("command", [TrainConfig, AblateConfig])
def test_the_help_shows_every_field_with_its_bounds(command):
    lines = render(command, command="it", description="", examples=()).splitlines()
    for path, words in {
        "schedule": "constant | cosine; default constant",
        "warmup_epochs": "number >= 0, <= 9999; default 0",
        "label_smoothing": "number >= 0, < 1; default 0",
        "class_weights": "none | balanced | effective; default none",
        "gradient_clip": "number >= 0, <= 1000000; default 0",
        "early_stop": "whole number >= 0, <= 9999; default 0",
        "model.freeze": "whole number >= 0, <= 13; default 0",
        "optimizer.name": "sgd | adam | adamw | rmsprop | timm:<name>; default adam",
    }.items():
        assert f"  {path:<30}  {words}" in lines
    assert any(line.startswith("  with optimizer.name=timm:<name>: Any") for line in lines)


def test_a_file_of_weights_in_the_home_folder_is_the_same_however_it_is_typed(monkeypatch):
    """Its text is part of a study's name."""
    monkeypatch.setenv("HOME", "/mnt/homes/ada")
    typed = [
        validate(Experiment, ("a test", {"model": {"weights": place}})).model.weights
        for place in ("~/vgg.h5", "/mnt/homes/ada/vgg.h5", "imagenet")
    ]
    assert typed == ["/mnt/homes/ada/vgg.h5"] * 2 + ["imagenet"]
