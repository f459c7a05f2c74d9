"""The command `train` without Ray: when it ends, what it says, and which run folders it goes on with."""

import signal
import threading
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import yaml

from orchestrator import run_folder, slots, train, warm_training
from orchestrator.config.errors import ConfigError, StalledError
from orchestrator.config.experiment import Data, Experiment, Resources
from orchestrator.config.home import Home
from orchestrator.config.validate import to_dict, validate
from orchestrator.stopping import stop_on_signals
from orchestrator.tuning import stall_report
from orchestrator.tuning.capacity import SlotCapacity

SCORES = [0.1, 0.5, 0.4, 0.5, 0.3, 0.6, 0.7]


class Steady:
    """A run whose epochs have these scores, some of them trained before."""

    def __init__(self, trained: int = 0, class_weights=None, notes=()) -> None:
        self._done = 0
        self._notes = dict(notes)  # by the epoch before which they arise
        self._begun = {
            "history": [{}] * trained,
            "weights": "from scratch",
            "weights_json": "{}",
            "precision": "fp32",
            "parameters": {"trainable": 1234, "frozen": 56},
            "class_weights": class_weights,
        }

    def begin(self) -> dict:
        return self._begun

    def next_epoch(self) -> dict:
        self._done += 1
        names = ("train_loss", "train_macro_f1", "val_loss", "val_accuracy", "images_per_s")
        score = SCORES[self._done - 1]
        interval = {"val_macro_f1_low": 0.0, "val_macro_f1_high": 1.0}
        return {"epoch": self._done, "val_macro_f1": score, **interval, **dict.fromkeys(names, 1.0)}

    def new_notes(self) -> list[str]:
        return [note for note in [self._notes.pop(self._done, "")] if note]


class Board:
    """In place of TensorBoard."""

    def show_training(self, history, classes, experiment) -> None:
        """Nothing is drawn."""


def experiment(**values) -> Experiment:
    return validate(Experiment, ("a test", values))


def trained(steady: Steady, folder, **values) -> list[float]:
    with stop_on_signals() as stop:
        history = warm_training.train_epochs(
            steady, experiment(**values), ("anger", "fear"), Home(folder), Board(), stop
        )
    return [metrics["val_macro_f1"] for metrics in history]


@pytest.mark.parametrize(
    ("values", "last"),
    [
        ({"epochs": 6}, 6),
        ({"epochs": 6, "early_stop": 2}, 4),
        ({"epochs": 6, "early_stop": 3}, 5),
        ({"epochs": 3, "early_stop": 2}, 3),
        ({"epochs": 6, "early_stop": 4}, 6),
    ],
)
@pytest.mark.parametrize("before", [0, 2])
def test_it_ends_with_its_epochs_or_where_patience_ends_it(values, last, before, tmp_path):
    assert trained(Steady(before), tmp_path, **values) == SCORES[:last]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == last


def test_epochs_that_are_trained_already_are_reported_whatever_is_asked(tmp_path):
    assert trained(Steady(6), tmp_path, epochs=3, early_stop=1) == SCORES[:6]


def test_parameters_and_row_weights_are_said(tmp_path, capsys):
    trained(Steady(class_weights=[0.5, 1.5]), tmp_path, epochs=1)
    said = capsys.readouterr().out
    assert "parameters  1,234 trainable, 56 frozen\n" in said
    assert "row weight  anger 0.5, fear 1.5\n" in said
    assert (tmp_path / "weights.json").read_text() == "{}"


def test_what_a_beginning_met_is_said_whether_it_was_the_first_or_followed_a_death(
    tmp_path, capsys
):
    trained(Steady(notes={0: "one is damaged", 2: "another is"}), tmp_path, epochs=3)
    lines = capsys.readouterr().out.splitlines()
    assert "note        one is damaged" in lines[:5]
    (late,) = [n for n, line in enumerate(lines) if line == "note        another is"]
    assert "2/3" in lines[late - 1]


def closing(of: Experiment, num_epochs: int, tmp_path) -> str:
    history = [{"epoch": n, "val_macro_f1": s} for n, s in enumerate(SCORES[:num_epochs], 1)]
    return "\n".join(
        run_folder.closing_lines(Home(tmp_path / "run"), of, history, again="the very same")
    )


def test_a_training_that_stopped_early_says_so_and_how_to_go_on(tmp_path):
    said = closing(experiment(epochs=6, early_stop=2), 4, tmp_path)
    assert "stopped     after epoch 4 of 6: no better validation macro-F1 for 2 epochs" in said
    assert "name=run early_stop=0 --epochs 14" in said


@pytest.mark.parametrize("epochs", [5, 6])
def test_patience_is_no_reason_for_an_end_that_an_earlier_command_chose(epochs, tmp_path):
    said = closing(experiment(epochs=epochs, early_stop=1), 5, tmp_path)
    assert ("stopped" in said) == (epochs > 5), "all that was asked for is there, or it is not"
    if epochs > 5:
        assert (
            "stopped     at epoch 5 of 6, which an earlier command trained: after epoch 3" in said
        )


def test_a_training_that_was_interrupted_says_where_and_that_the_same_command_goes_on(tmp_path):
    said = closing(experiment(epochs=6), 4, tmp_path)
    assert "stopped     after epoch 4 of 6, as asked" in said
    assert said.endswith("next        the very same")


def test_ctrl_c_ends_it_with_the_epoch_at_work(tmp_path, capfd):
    class Interrupted(Steady):
        def next_epoch(self) -> dict:
            metrics = super().next_epoch()
            if metrics["epoch"] == 4:
                signal.raise_signal(signal.SIGINT)
            return metrics

    assert trained(Interrupted(2), tmp_path, epochs=6) == SCORES[:4]
    assert "stopping: what is begun ends first" in capfd.readouterr().err
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4


def test_what_is_next_after_cosine_is_a_training_of_its_own(tmp_path):
    said = closing(experiment(epochs=4, schedule="cosine"), 4, tmp_path)
    assert "stopped" not in said
    assert "name=run" not in said


def written(folder, **values) -> Experiment:
    run_folder.write_facts(Home(folder), experiment(**values))
    return experiment(**values)


def test_a_run_folder_goes_on_with_other_epochs_and_patience(tmp_path):
    written(tmp_path, epochs=3)
    written(tmp_path, epochs=9, early_stop=2)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["epochs"] == 9


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"seed": 1}, {"seed": 2}),
        ({"epochs": 3}, {"epochs": 3, "schedule": "cosine"}),
        ({"epochs": 3, "schedule": "cosine"}, {"epochs": 4, "schedule": "cosine"}),
        ({}, {"label_smoothing": 0.1}),
    ],
)
def test_a_run_folder_of_another_training_is_refused(first, second, tmp_path):
    written(tmp_path, **first)
    with pytest.raises(ConfigError, match=r"name: must be a new run folder .* Choose another name"):
        written(tmp_path, **second)


def test_a_run_folder_that_was_written_before_fields_were_added_goes_on(tmp_path):
    old = to_dict(experiment(epochs=3))
    for field in ("schedule", "warmup_epochs", "label_smoothing", "class_weights", "early_stop"):
        del old[field]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(old))
    written(tmp_path, epochs=4)


def test_a_training_in_which_nothing_moves_ends_and_says_who_waits_for_what(tmp_path, monkeypatch):
    monkeypatch.setattr(stall_report, "stall_report", lambda record, logs: ("slot-1: waits", *logs))
    with (
        pytest.raises(StalledError, match=r"stall_s=0\.05 s(.|\n)*slot-1: waits(.|\n)*run"),
        warm_training._watched(lambda: 0, 0.05, Home(tmp_path / "run")),
    ):
        threading.Event().wait(60)


def test_stall_s_holds_for_reading_the_data_and_for_training(tmp_path, monkeypatch):
    seen = []

    @contextmanager
    def watched(signs, stall_s, folder):
        seen.append((signs.__name__, stall_s))
        if len(seen) == 2:
            raise StalledError("resources: something must move")
        with stop_on_signals() as stop:
            yield stop

    plan = SimpleNamespace(storage=tmp_path / ".ray")
    monkeypatch.setattr(warm_training, "_watched", watched)
    monkeypatch.setattr(warm_training, "TensorBoard", lambda *_: MagicMock())
    monkeypatch.setattr(slots, "ready_slots", lambda *_: (plan, {}))
    dataset, home = SimpleNamespace(fingerprint="f"), Home(tmp_path)
    with (
        pytest.raises(StalledError),
        warm_training.warm_training(
            dataset, Data(), Resources(stall_s=77), SlotCapacity(1, 1, 1, 0), home
        ) as warm,
    ):
        warm.train(experiment(), home)
    assert seen == [("free_amounts", 77), ("signs_of_life", 77)]


def test_a_training_whose_losses_would_change_with_its_workers_must_keep_them():
    resources = Resources(workers=2, min_workers=1)
    train._check(experiment(), None, resources)
    with pytest.raises(
        ConfigError, match=r"min_workers: must be .* model\.dropout > 0.*got 1 of 2"
    ):
        train._check(experiment(model={"dropout": 0.5}), None, resources)
