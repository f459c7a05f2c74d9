"""Trainings by warm workers: one after another, and what becomes of the workers after an error."""

from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import pytest

from orchestrator import slots, warm_training
from orchestrator.config.errors import StalledError, TrainingError
from orchestrator.config.experiment import Data, Experiment, Resources
from orchestrator.config.home import Home
from orchestrator.results.phase_table import Stopwatch
from orchestrator.stopping import stop_on_signals
from orchestrator.training import steady_run
from orchestrator.tuning.capacity import SlotCapacity

EPOCH_S = 10.0
BEGUN = {
    "history": [],
    "weights": "each layer",
    "weights_json": "{}",
    "precision": "fp32",
    "parameters": {"trainable": 1, "frozen": 0},
    "class_weights": None,
}


class Workers:
    """Notes what is asked of them; an epoch takes time on a clock of theirs, or is an error."""

    clock_s = 0.0

    def __init__(self, said: list[str], error: BaseException | None) -> None:
        self.said, self.error, self.epoch = said, error, 0

    def take(self, task, known_epoch) -> None:
        self.said.append(f"take seed {task.experiment['seed']}")
        self.epoch = 0

    def begin(self) -> dict:
        return BEGUN

    def new_notes(self) -> list[str]:
        return []

    def next_epoch(self) -> dict:
        if self.error is not None:
            raise self.error
        self.epoch += 1
        Workers.clock_s += EPOCH_S
        figures = ("train_loss", "train_macro_f1", "val_loss", "val_accuracy", "val_macro_f1")
        more = ("val_macro_f1_low", "val_macro_f1_high", "images_per_s")
        return {"epoch": self.epoch, "seconds": {}} | dict.fromkeys((*figures, *more), 0.5)

    def settle(self) -> dict:
        self.said.append("settle")
        return {"checkpoint_write_s": 0.0}

    def abandon(self) -> None:
        self.said.append("abandon")

    def stop(self) -> None:
        self.said.append("stop")


class Board:
    """In place of TensorBoard."""

    said: list[str]

    def __init__(self, *_) -> None:
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self.said.append("close the board")

    def show_samples(self, *_) -> None:
        pass

    show_training = show_samples

    def closing_lines(self, _: Home) -> tuple[str, ...]:
        return ()


@pytest.fixture
def said(monkeypatch, tmp_path) -> list[str]:
    """What happens, in order."""
    happened: list[str] = []

    @contextmanager
    def watched(*_):
        with stop_on_signals() as stop:
            yield stop

    Board.said = happened
    plan = SimpleNamespace(storage=tmp_path / ".ray")
    clock = partial(Stopwatch, lambda: Workers.clock_s)
    monkeypatch.setattr(warm_training, "Stopwatch", clock)
    monkeypatch.setattr(warm_training, "_watched", watched)
    monkeypatch.setattr(warm_training, "TensorBoard", Board)
    monkeypatch.setattr(warm_training, "learning_curve", lambda *_: None)
    monkeypatch.setattr(slots, "ready_slots", lambda *_: (plan, {}))
    return happened


@contextmanager
def warm(said, monkeypatch, folder, error=None, *, none_yet=False):
    monkeypatch.setattr(steady_run, "SteadyRun", lambda *_: Workers(said, error))
    capacity = SlotCapacity(1, 1, 1, 0, none_yet=none_yet)
    dataset = SimpleNamespace(fingerprint="f", classes=("anger", "fear"))
    home = Home(folder)
    with warm_training.warm_training(dataset, Data(), Resources(), capacity, home) as workers:
        yield workers


def test_one_training_after_another_and_the_workers_do_not_wait_for_the_last_ones_pictures(
    said, monkeypatch, tmp_path, capsys
):
    with warm(said, monkeypatch, tmp_path) as workers:
        first = workers.train(Experiment(seed=1, epochs=2), Home(tmp_path))
        assert first.finish("again") == 0
        last = workers.train(Experiment(seed=2, epochs=1), Home(tmp_path))
    assert last.finish("again") == 0
    begun = ["take seed 1", "settle", "close the board", "take seed 2", "settle"]
    assert said == [*begun, "stop", "close the board"]
    assert [len(one.history) for one in (first, last)] == [2, 1]
    assert "ingest" in first.watch.seconds, "the data are read once, for the first"
    assert last.watch.seconds == {"start": 0.0}, "the training before is not its own time"
    assert last.watch.wall_s() == EPOCH_S
    assert "waiting     for a node" not in capsys.readouterr().out


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StalledError("nothing moves")])
def test_workers_that_are_at_work_are_abandoned_before_anything_is_waited_for(
    error, said, monkeypatch, tmp_path
):
    with (
        pytest.raises(type(error)),
        warm(said, monkeypatch, tmp_path, error) as workers,
    ):
        workers.train(Experiment(), Home(tmp_path))
    assert said == ["take seed 0", "abandon", "close the board", "stop"]


def test_a_training_that_fails_leaves_its_workers_in_order(said, monkeypatch, tmp_path):
    error = TrainingError("loss: must be finite")
    with pytest.raises(TrainingError), warm(said, monkeypatch, tmp_path, error) as workers:
        workers.train(Experiment(), Home(tmp_path))
    assert said == ["take seed 0", "close the board", "stop"]


def test_that_a_node_is_waited_for_is_said(said, monkeypatch, tmp_path, capsys):
    with warm(said, monkeypatch, tmp_path, none_yet=True):
        assert "waiting     for a node" in capsys.readouterr().out
