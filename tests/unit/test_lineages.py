"""Trials that differ in epochs only share a training; no stretch of it is given out twice."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.experiment import Experiment
from orchestrator.config.validate import validate
from orchestrator.tuning.lineages import KEY_DIGITS, StudyState, Trial, lineage_key

DATASET = "d" * 64


def experiment(**values) -> Experiment:
    return validate(Experiment, ("a test", values))


def key(dataset: str = DATASET, **values) -> str:
    return lineage_key(experiment(**values), dataset)


def trial(number: int, lineage: str, epochs: int) -> Trial:
    return Trial(number, {"epochs": epochs}, experiment(epochs=epochs), lineage)


def state_of(*trials: Trial) -> StudyState:
    state = StudyState((1,))
    for one in trials:
        state.add_trial(one)
    return state


def test_experiments_that_differ_in_epochs_only_are_one_lineage():
    assert key(epochs=3) == key(epochs=300)
    assert len(key()) == KEY_DIGITS


@pytest.mark.parametrize(
    "values",
    [
        {"seed": 1},
        {"batch_size": 17},
        {"optimizer.name": "sgd"},
        {"optimizer.lr": 0.5},
        {"model.width": 0.5},
        {"model.weights": "imagenet"},
        {"augmentation.share": 0},
        {"data.protocol": "random"},
        {"data.train_per_class": 5},
        {"precision": "fp32"},
    ],
)
def test_any_other_difference_makes_another_lineage(values):
    assert key(**values) != key()


def test_the_data_set_counts_by_its_content_and_not_by_its_path():
    assert key(**{"data.path": "here"}) == key(**{"data.path": "there"})
    assert key(dataset="e" * 64) != key()


def test_a_file_of_weights_counts_by_its_content_and_not_by_its_path(tmp_path):
    first, copy, other = (tmp_path / name for name in ("a.pth", "b.pth", "c.pth"))
    first.write_bytes(b"weights")
    copy.write_bytes(b"weights")
    other.write_bytes(b"weightz")
    keys = [key(**{"model.weights": str(path)}) for path in (first, copy, other)]
    assert keys[0] == keys[1] != keys[2]


def test_weights_that_were_replaced_under_the_same_name_make_another_lineage(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(b"one")
    before = key(**{"model.weights": str(path)})
    path.write_bytes(b"two!")
    assert key(**{"model.weights": str(path)}) != before


def test_a_leg_goes_from_what_is_known_to_the_longest_open_trial():
    state = state_of(trial(0, "a", 3), trial(1, "a", 5))
    state.add_epoch("a", 1, {})
    state.add_epoch("a", 2, {})
    leg = state.next_leg()
    assert (leg.lineage, leg.known_epoch, leg.last_epoch) == ("a", 2, 5)
    assert leg.experiment["epochs"] == 5


def test_weights_are_kept_where_a_trial_of_the_lineage_ends_or_may_yet_end():
    state = state_of(trial(0, "a", 3), trial(1, "a", 5), trial(2, "b", 4))
    state.milestones = (1, 5, 9)
    assert {leg.lineage: leg.milestones for leg in (state.next_leg(), state.next_leg())} == {
        "a": (1, 3, 5),
        "b": (1, 4),
    }


def test_a_lineage_is_given_to_one_slot_until_it_is_released():
    state = state_of(trial(0, "a", 3), trial(1, "b", 2))
    legs = [state.next_leg(), state.next_leg()]
    assert [leg.lineage for leg in legs] == ["a", "b"]
    state.add_trial(trial(2, "a", 9))
    assert state.next_leg() is None
    state.release("a")
    assert state.next_leg().last_epoch == 9


def test_the_longest_stretch_goes_first():
    state = state_of(trial(0, "a", 3), trial(1, "b", 9), trial(2, "c", 9))
    for epoch in range(1, 8):
        state.add_epoch("b", epoch, {})
    assert [state.next_leg().lineage for _ in range(3)] == ["c", "a", "b"]


def test_an_epoch_beyond_a_gap_does_not_count_as_recorded():
    state = state_of(trial(0, "a", 5))
    for epoch in (1, 2, 4):
        state.add_epoch("a", epoch, {})
    assert state.recorded_epoch("a") == 2
    assert state.recorded_epoch("unknown") == 0


def test_an_epoch_is_noted_once():
    state = state_of(trial(0, "a", 1))
    assert state.add_epoch("a", 1, {"val_loss": 1})
    assert not state.add_epoch("a", 1, {"val_loss": 2})
    assert state.metrics(state.trials[0]) == {"val_loss": 1}


def test_trials_are_answered_at_their_own_epoch_in_the_order_of_their_numbers():
    state = state_of(trial(0, "a", 2), trial(1, "a", 1), trial(2, "a", 3))
    state.add_epoch("a", 1, {})
    assert [one.number for one in state.answered()] == [1]
    state.add_epoch("a", 2, {})
    assert [one.number for one in state.answered()] == [0, 1]
    state.end_trial(1)
    assert [one.number for one in state.answered()] == [0]
    assert (state.is_open(1), state.num_open()) == (False, 2)


def test_trials_that_a_running_leg_will_answer_are_not_waiting():
    state = state_of(trial(0, "a", 2), trial(1, "b", 2))
    assert state.num_waiting() == 2
    state.next_leg()
    assert state.num_waiting() == 1
    state.add_trial(trial(2, "a", 1))
    assert state.num_waiting() == 1
    state.add_trial(trial(3, "a", 8))
    assert state.num_waiting() == 2


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), min_size=1, max_size=12))
def test_legs_cover_what_open_trials_want_exactly_once(wanted):
    state = state_of(*(trial(number, *one) for number, one in enumerate(wanted)))
    legs = []
    while (leg := state.next_leg()) is not None:
        legs.append((leg.lineage, leg.known_epoch, leg.last_epoch))
    longest = {lineage: max(e for name, e in wanted if name == lineage) for lineage, _ in wanted}
    assert sorted(legs) == sorted((lineage, 0, last) for lineage, last in longest.items())
    assert state.num_waiting() == 0
