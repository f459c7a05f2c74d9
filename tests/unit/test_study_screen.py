import io

from orchestrator.config.errors import ConfigError
from orchestrator.config.experiment import Experiment
from orchestrator.results.live import LiveBoard
from orchestrator.results.study_screen import StudyScreen
from tests.unit.fake_study import begin, end, epoch, head, trial, unbegun


class Shown:
    """Notes what TensorBoard and the samples are asked to show."""

    def __init__(self):
        self.views = []
        self.samples = []

    def show(self, *asked):
        (self.views if len(asked) == 1 else self.samples).append(asked)


class Board:
    """In place of the terminal: keeps what the slots do."""

    def update(self, view, slots):
        self.slots = dict(slots)


def screen(shown):
    return StudyScreen(
        LiveBoard(io.StringIO()), shown, shown, lambda values: Experiment(seed=int(values["seed"]))
    )


def announced(number):
    return trial(number, f"l{number}", values={"seed": number})


def test_tensorboard_is_shown_what_changes_a_curve_and_nothing_else():
    shown = Shown()
    seen = screen(shown)
    seen.begin([], head())
    seen.show(announced(0))
    assert shown.views == []
    seen.show(epoch("l0", 1, 0.1))
    seen.show(end(0, at=1))
    assert [view.trials[0].state for (view,) in shown.views] == ["running", "finished"]


def test_samples_are_those_of_each_trial_of_earlier_commands_too():
    shown = Shown()
    seen = screen(shown)
    seen.begin([head(), announced(0)], head())
    seen.show(announced(1))
    assert [(number, asked.seed) for number, asked in shown.samples] == [(0, 0), (1, 1)]


def test_a_draw_that_was_refused_has_no_samples():
    shown = Shown()

    def refuse(values):
        raise ConfigError(f"optimizer.lr: must be > 0; got {values['optimizer.lr']}")

    seen = StudyScreen(LiveBoard(io.StringIO()), shown, shown, refuse)
    seen.show(head())
    seen.show(trial(0, "refused-0", values={"optimizer.lr": -1}))
    seen.show(end(0, at=0, state="failed", error="optimizer.lr: must be > 0; got -1"))
    assert shown.samples == []
    assert seen.view().trials[0].state == "failed"


def test_only_epochs_of_this_command_count_as_time():
    seen = screen(Shown())
    seen.begin([head(), announced(0), epoch("l0", 1, 0.1)], head())
    assert seen.trained_s() == {}
    for number in (2, 3):
        seen.show(epoch("l0", number, 0.2))
    assert seen.trained_s() == {"train": 8.0, "evaluate": 2.0, "checkpoint": 1.0}
    assert seen.view().epochs_trained == 3
    (speed,) = seen.speed_lines()
    assert speed.startswith("speed       ")
    assert speed.endswith(" in each slot")
    seen.show(epoch("l0", 4, 0.3) | {"found": True})
    assert seen.trained_s()["train"] == 8.0, "a checkpoint had it: another command trained it"


def test_what_became_of_each_layer_of_a_file_is_printed_as_the_training_begins():
    shown, out = Shown(), io.StringIO()
    seen = StudyScreen(LiveBoard(out), shown, shown, lambda _: Experiment())
    seen.begin([head(), announced(0)], head())
    table = "weights of main: imagenet [red] (sha256 00)\n  loaded  conv1  " + 90 * "x"
    seen.show(epoch("l0", 1, 0.1) | {"weights": table})
    assert table in out.getvalue()


def test_a_slot_is_shown_with_what_it_begins_until_its_first_epoch():
    board = Board()
    seen = StudyScreen(board, Shown(), Shown(), lambda _: Experiment())
    seen.begin([head(), announced(0), announced(1)], head())
    for slot, lineage in (("slot-0", "l0"), ("slot-1", "l1"), ("slot-2", "l0")):
        seen.show(begin(lineage, slot))
    seen.show(epoch("l1", 1, 0.1) | {"slot": "slot-1"})
    assert [row.state for row in seen.view().trials] == ["running", "running"]
    assert board.slots == {"slot-2": "l0 begins", "slot-1": "l1 epoch 1"}
    seen.show(unbegun("l0", "slot-2"))
    assert [row.state for row in seen.view().trials] == ["queued", "running"]
    assert board.slots == {"slot-1": "l1 epoch 1"}


def test_what_slots_met_under_this_command_is_said_at_its_end():
    seen = screen(Shown())
    old = epoch("l0", 1, 0.1) | {"notes": ["long ago"]}
    seen.begin([head(), announced(0), old], head())
    seen.show(epoch("l0", 2, 0.2) | {"slot": "slot-1", "notes": ["epoch-0002: a digest\ndiffers"]})
    seen.show(epoch("l0", 3, 0.2))
    (line,) = seen.note_lines()
    assert line.startswith("note        slot-1, l0: epoch-0002: a digest")
    assert "\n" not in line
