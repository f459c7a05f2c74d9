"""A winner that was answered from a longer training: the command that makes its weights is exact."""

import json
import shlex

import pytest
from fake_study import end, epoch, head, trial

from orchestrator.checkpoint_choice import choose
from orchestrator.config.command_line import parse
from orchestrator.config.commands import TrainConfig
from orchestrator.config.errors import ConfigError
from orchestrator.config.experiment import Experiment
from orchestrator.config.storage import MARKER
from orchestrator.config.validate import to_dict, validate
from orchestrator.lost_weights import words_of

LINEAGE = "abc"
TRAINED = validate(
    Experiment,
    (
        "a test",
        {
            "optimizer": {"name": "sgd", "lr": 1e-5, "momentum": 0.5},
            "model.name": "baseline",
            "model.weights": "/some where/weights.pth",
            "target_shares": [0.25, 0.75],
            "compile": True,
            "seed": 7,
            "epochs": 20,
            "early_stop": 4,
        },
    ),
)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study in which 10 and 20 epochs were trained, and 15, added later, has won."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my study"
    folder.mkdir()
    records = [head() | {"resources": {"workers": 2}}]
    records += [trial(0, LINEAGE, 20), trial(1, LINEAGE, 15)]
    records += [epoch(LINEAGE, number, 0.9 if number == 15 else 0.5) for number in range(1, 21)]
    records += [end(0, 20), end(1, 15) | {"checkpoint": ""}]
    (folder / "ledger.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def keep(folder, **experiment) -> None:
    """The resume point of the longest trial."""
    place = folder / "lineages" / LINEAGE / "last" / "epoch-0020"
    place.mkdir(parents=True)
    said = {"experiment": to_dict(TRAINED) | experiment, "history": [{"precision": "bf16"}]}
    (place / MARKER).write_text(json.dumps(said))


def refused(folder) -> str:
    with pytest.raises(ConfigError) as caught:
        choose(str(folder))
    return str(caught.value)


def command_of(message: str) -> TrainConfig:
    (line,) = [line for line in message.splitlines() if "orchestrator.train " in line]
    words = shlex.split(line)
    assert words[:3] == ["python", "-m", "orchestrator.train"]
    return parse(TrainConfig, words[3:], command="", description="", examples=())


def experiment_of(config: TrainConfig) -> Experiment:
    return Experiment.model_validate(
        {name: getattr(config, name) for name in Experiment.model_fields}
    )


def test_the_refusal_names_the_command_that_trains_the_winner_to_its_own_epoch(study):
    keep(study)
    message = refused(study)
    config = command_of(message)
    update = {"epochs": 15, "early_stop": 0, "precision": "bf16"}
    assert experiment_of(config) == TRAINED.model_copy(update=update)
    assert config.resources.workers == 2
    last = f"{config.out}/{config.name}/checkpoints/last/epoch-0015"
    assert message.endswith(f"and then name {last}")
    assert config.out == "my study/retrained"


def test_a_schedule_that_is_bound_to_its_end_keeps_it(study):
    keep(study, schedule="cosine")
    config = command_of(refused(study))
    assert (config.epochs, config.early_stop) == (20, 4)


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"experiment": {}, "history": []}'])
def test_a_lineage_that_has_nothing_left_is_trained_by_hand(said, study):
    assert "train it alone with `train`" in refused(study)
    keep(study)
    (study / "lineages" / LINEAGE / "last" / "epoch-0020" / MARKER).write_text(said)
    assert "train it alone with `train`" in refused(study)


def test_what_is_at_its_default_is_not_said_but_for_the_optimizers():
    words = words_of(Experiment())
    assert words
    assert all(word.startswith("optimizer.") for word in words)
