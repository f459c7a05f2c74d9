"""A slot ends its leg where the last of its trials ends."""

import json
from pathlib import Path

import pytest

from orchestrator.config.errors import NoRoomError, SlotError
from orchestrator.config.experiment import Experiment
from orchestrator.config.validate import to_dict
from orchestrator.tuning.lineages import Leg
from orchestrator.tuning.slot import Slot, leg_config


class Run:
    """A warm run whose epochs have these scores."""

    def __init__(self, scores: list[float]) -> None:
        self._scores, self.was_found = scores, False

    def take(self, task, known_epoch: int) -> None:
        self.task, self._epoch = task, known_epoch

    def new_notes(self) -> list[str]:
        return ["passed over"] if self._epoch == 1 else []

    def new_weights(self) -> str:
        return "each layer" if self._epoch == 1 else ""

    def next_epoch(self) -> dict:
        self._epoch += 1
        return {"epoch": self._epoch, "val_macro_f1": self._scores[self._epoch - 1]}


def steps(scores: list[float], *ends: tuple[int, int], known: int = 0) -> list[dict]:
    """The results of a leg for these trials, of which some epochs are known."""
    leg = Leg(
        lineage="a",
        experiment=to_dict(Experiment()),
        known_epoch=known,
        scores=tuple(scores[:known]),
        last_epoch=max(epochs for epochs, _ in ends),
        ends=ends,
        milestones=(1,),
    )
    slot = Slot.__new__(Slot)  # without Tune's own beginnings
    slot._name = "slot-0"
    slot._run = Run(scores)
    slot.reset_config(leg_config(leg, Path("study"), 0))
    assert slot._run.task.ends == ends
    results = [slot.step()]
    while not results[-1]["done"]:
        results.append(slot.step())
    return results


SCORES = [0.1, 0.5, 0.4, 0.5, 0.3, 0.6, 0.6, 0.6, 0.6]


@pytest.mark.parametrize(
    ("ends", "last"),
    [
        ([(5, 0)], 5),
        ([(9, 2)], 4),
        ([(9, 2), (6, 0)], 6),
        ([(3, 0), (9, 1)], 3),
        ([(9, 1), (9, 3)], 5),
    ],
)
def test_a_leg_goes_on_until_each_of_its_trials_has_ended(ends, last):
    results = steps(SCORES, *ends)
    assert [result["epoch"] for result in results] == list(range(1, last + 1))
    assert json.loads(results[-1]["metrics"])["val_macro_f1"] == SCORES[last - 1]
    assert [json.loads(result["notes"]) for result in results[:2]] == [["passed over"], []]
    assert [result["weights"] for result in results[:2]] == ["each layer", ""]


def test_patience_counts_the_epochs_that_were_known_before():
    assert [result["epoch"] for result in steps(SCORES, (9, 2), known=3)] == [4]


def test_weights_are_kept_for_trials_to_come_but_the_leg_does_not_go_on_for_them():
    leg = Leg("a", to_dict(Experiment()), 0, (), 3, ((3, 0),), (3,), may_end=((9, 1),))
    slot = Slot.__new__(Slot)
    slot._name = "slot-0"
    slot._run = Run(SCORES)
    slot.reset_config(leg_config(leg, Path("study"), 0))
    assert slot._run.task.ends == ((3, 0), (9, 1))
    assert [slot.step()["done"] for _ in range(3)] == [False, False, True]


def test_the_actors_page_names_a_slot_after_its_number_and_study():
    slot = Slot.__new__(Slot)
    slot._name, slot._study = "slot-2", "paper-1a2b3c4d"
    assert repr(slot) == "slot-2 of paper-1a2b3c4d"


@pytest.mark.parametrize(
    "error", [NoRoomError("resources: must be ready"), SlotError("slot: died")]
)
def test_a_slot_that_could_not_start_says_that_it_had_no_room(error):
    class Gone(Run):
        def next_epoch(self) -> dict:
            raise error

    slot = Slot.__new__(Slot)
    slot._name, slot._run = "slot-0", Gone([])
    slot.reset_config(
        leg_config(Leg("a", to_dict(Experiment()), 0, (), 3, ((3, 0),), (3,)), Path("s"), 0)
    )
    result = slot.step()
    assert (result["failed"], result["done"]) == (str(error), True)
    assert result.get("no_room", False) == isinstance(error, NoRoomError)


@pytest.mark.parametrize("final", [True, False])
def test_a_trial_that_must_fail_again_is_not_trained_again_by_the_same_study(final):
    class Gone(Run):
        def next_epoch(self) -> dict:
            raise SlotError("slot: ValueError: wrong value", final=final)

    slot = Slot.__new__(Slot)
    slot._name, slot._run = "slot-0", Gone([])
    slot.reset_config(
        leg_config(Leg("a", to_dict(Experiment()), 0, (), 3, ((3, 0),), (3,)), Path("s"), 0)
    )
    slot._run._epoch = 1  # a file of weights was read
    result = slot.step()
    assert result["detail"].endswith("\n\neach layer"), "it may be why"
    assert result["retry"] is not final
    assert ("study=NAME" in result["failed"]) is final
