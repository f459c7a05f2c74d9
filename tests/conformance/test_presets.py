"""Every preset that comes with the program passes the validator and is what the study did."""

from pathlib import Path

import pytest

import models
import orchestrator
from orchestrator.config.command_line import parse
from orchestrator.config.commands import TrainConfig

FOLDER = Path(orchestrator.__file__).parent / "presets"
FILES = sorted(FOLDER.glob("*.yaml"))


def preset(file: Path, *words: str) -> TrainConfig:
    argv = ["--config", str(file), *words]
    return parse(TrainConfig, argv, command="train", description="", examples=())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_is_a_training_whose_model_can_be_built_at_the_studys_size(file):
    config = preset(file)
    models.check(
        config.model.name,
        image_size=96,
        num_classes=6,
        width=config.model.width,
        normalisation=config.model.normalisation,
    )
    assert config.model.name == file.stem


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_command_line_wins_over_it(file):
    config = preset(file, "model.normalisation=native", "epochs=1")
    assert (config.model.normalisation, config.epochs) == ("native", 1)


def test_they_are_the_studys_two_models():
    found = {
        file.stem: (
            config.model.weights,
            config.model.normalisation,
            config.model.width,
            config.optimizer.name,
            config.optimizer.lr,
            config.epochs,
            config.batch_size,
            config.schedule,
        )
        for file in FILES
        for config in [preset(file)]
    }
    assert found == {
        "main": ("vggface", "unit", 1.0, "adam", 1e-4, 20, 256, "constant"),
        "baseline": ("imagenet", "unit", 1.0, "adam", 1e-3, 20, 256, "constant"),
    }
