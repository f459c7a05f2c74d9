"""Proposals: listed trials once each, sampled ones by the seed, and the same after a resume."""

import json
import warnings

import pytest

from orchestrator.config.space import Space
from orchestrator.config.validate import validate
from orchestrator.tuning.proposals import PastTrial, Proposals, check_draws

NAMES = ["sgd", "adam"]
SAMPLED = {
    "kind": "tpe",
    "trials": 18,  # beyond the ten random trials with which TPE begins
    "axes": {
        "optimizer.name": NAMES,
        "optimizer.lr": {"low": 1e-5, "high": 1e-1, "log": True},
        "epochs": {"low": 5, "high": 20, "step": 5},
    },
    "points": [
        {"optimizer.name": "adam", "optimizer.lr": 1e-3, "epochs": 10},
        {"optimizer.name": "sgd", "optimizer.lr": 1e-2, "epochs": 20},
    ],
}
GRID = {"kind": "grid", "axes": {"optimizer.name": NAMES, "optimizer.lr": [0.1, 0.2]}}
ROWS = {"kind": "rows", "rows": [{"seed": 3}, {"optimizer.lr": 0.1}, {}]}


def space(content) -> Space:
    return validate(Space, ("a test", {"question": "Which?", **content}))


def proposals(content, past=(), seed=0) -> Proposals:
    return Proposals(space(content), seed=seed, whole=frozenset({"epochs", "seed"}), past=past)


def score(values) -> float | None:
    """A made-up macro-F1; every few trials fail."""
    text = json.dumps(values, sort_keys=True)
    number = sum(map(ord, text)) % 100
    return None if number % 7 == 0 else number / 100


def through(source: Proposals, most: int = 99) -> list[PastTrial]:
    """Takes and ends trials until there are no more, as the ledger would hold them."""
    ended = []
    while len(ended) < most and (proposal := source.next()) is not None:
        number, values = proposal
        source.tell(number, score(values))
        ended.append(PastTrial(number, json.loads(json.dumps(values)), score(values), open=False))
    return ended


def values_of(trials) -> list:
    return [trial.values for trial in trials]


@pytest.mark.parametrize("content", [GRID, ROWS], ids=["grid", "rows"])
def test_listed_trials_come_once_each_in_the_order_of_the_file(content):
    ended = through(proposals(content))
    assert values_of(ended) == list(space(content).listed())
    assert [trial.number for trial in ended] == list(range(len(ended)))


@pytest.mark.parametrize("content", [GRID, ROWS], ids=["grid", "rows"])
@pytest.mark.parametrize("known", [0, 1, 2, 3])
def test_a_resumed_study_proposes_the_rest_only(content, known):
    whole = through(proposals(content))
    assert through(proposals(content, whole[:known])) == whole[known:]


def test_a_list_that_grew_gives_the_new_trials_only_under_new_numbers():
    known = through(proposals(GRID))
    longer = {"kind": "grid", "axes": {"optimizer.name": NAMES, "optimizer.lr": [0.1, 0.3, 0.2]}}
    added = through(proposals(longer, known))
    assert [(trial.number, trial.values["optimizer.lr"]) for trial in added] == [(4, 0.3), (5, 0.3)]


def test_a_list_that_shrank_keeps_what_is_known_of_the_removed_trials():
    known = through(proposals(GRID), most=3)
    shorter = {"kind": "grid", "axes": {"optimizer.name": NAMES, "optimizer.lr": [0.2]}}
    added = through(proposals(shorter, known))
    assert values_of(added) == [{"optimizer.name": "adam", "optimizer.lr": 0.2}]


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_points_come_first_and_count_as_trials(kind):
    content = {**SAMPLED, "kind": kind}
    ended = through(proposals(content))
    assert values_of(ended[:2]) == SAMPLED["points"]
    assert [trial.number for trial in ended] == list(range(SAMPLED["trials"]))


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_what_a_point_leaves_open_is_drawn_and_the_point_is_tried_once(kind):
    points = [{"optimizer.name": "adam"}, {"optimizer.lr": 0.01, "epochs": 10}]
    content = {**SAMPLED, "kind": kind, "points": points}
    whole = through(proposals(content))
    for trial, point in zip(whole, points, strict=False):
        assert set(trial.values) == set(SAMPLED["axes"])
        assert point.items() <= trial.values.items()
    tried = through(proposals(content, whole[:1]))
    assert points[1].items() <= tried[0].values.items()
    assert len(tried) == SAMPLED["trials"] - 1
    assert len(through(proposals(content, whole[:2]))) == SAMPLED["trials"] - 2
    assert {len(values) for values in check_draws(space(content), frozenset({"epochs"}), 3)} == {3}


def test_a_trial_answers_one_point_the_one_that_says_the_same_before_one_that_says_less():
    points = [
        {"optimizer.name": "adam"},
        {"optimizer.name": "adam", "optimizer.lr": 0.01, "epochs": 5.0},
    ]
    tried = PastTrial(0, {"optimizer.name": "adam", "optimizer.lr": 0.01, "epochs": 5}, 0.5, False)
    other = PastTrial(1, {**tried.values, "optimizer.lr": 0.001}, 0.5, False)
    for order in (points, points[::-1]):
        fewer = proposals({**SAMPLED, "points": order}, [other, tried])
        assert fewer.next()[0] == 2
        assert not fewer._listed, "both have their answer"
    source = proposals({**SAMPLED, "points": points}, [tried])
    values = [source.next()[1] for _ in range(2)]
    assert values[0]["optimizer.name"] == "adam"
    assert values[0] != tried.values
    assert set(SAMPLED["axes"]) == set(values[1]), "then the sampler's own"


def test_what_a_point_leaves_open_is_drawn_anew_where_it_is_known():
    axes = {"optimizer.name": NAMES, "optimizer.lr": [0.1, 0.01]}
    points = [{"optimizer.name": "adam", "optimizer.lr": 0.1}, {"optimizer.name": "adam"}]
    for seed in range(10):
        source = proposals(
            {"kind": "random", "trials": 4, "axes": axes, "points": points}, seed=seed
        )
        assert [source.next()[1]["optimizer.lr"] for _ in range(2)] == [0.1, 0.01]


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_samples_lie_on_their_axes(kind):
    for values in values_of(through(proposals({**SAMPLED, "kind": kind}))):
        assert values["optimizer.name"] in NAMES
        assert 1e-5 <= values["optimizer.lr"] <= 1e-1
        assert values["epochs"] in (5, 10, 15, 20)
        assert type(values["epochs"]) is int


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_the_same_seed_gives_the_same_proposals_and_another_seed_others(kind):
    content = {**SAMPLED, "kind": kind}
    first, again, other = (through(proposals(content, seed=seed)) for seed in (5, 5, 6))
    assert first == again
    assert values_of(first[2:]) != values_of(other[2:])


def test_random_samples_differ_from_trial_to_trial_and_between_neighbouring_seeds():
    content = {**SAMPLED, "kind": "random", "points": []}
    drawn = [through(proposals(content, seed=seed)) for seed in (0, 1)]
    rates = [trial.values["optimizer.lr"] for trials in drawn for trial in trials]
    assert len(set(rates)) == 2 * SAMPLED["trials"]


def test_it_is_known_when_there_are_no_more():
    for content in (GRID, ROWS, SAMPLED):
        source = proposals(content)
        while not source.exhausted():
            number, values = source.next()
            source.tell(number, score(values))
        assert source.next() is None


def test_tpe_learns_from_scores_where_random_does_not():
    def all_the_same(source):
        ended = []
        while (proposal := source.next()) is not None:
            source.tell(proposal[0], 0.5 + len(ended) / 100)
            ended.append(proposal)
        return ended

    for kind, learns in (("tpe", True), ("random", False)):
        content = {**SAMPLED, "kind": kind}
        scored = [(trial.number, trial.values) for trial in through(proposals(content))]
        assert (all_the_same(proposals(content)) != scored) is learns


@pytest.mark.parametrize("kind", ["tpe", "random"])
@pytest.mark.parametrize("known", [0, 1, 2, 7, 12, 17])
def test_a_resumed_study_proposes_what_the_undisturbed_one_would_have(kind, known):
    content = {**SAMPLED, "kind": kind}
    whole = through(proposals(content))
    assert through(proposals(content, whole[:known])) == whole[known:]


def test_trials_that_were_open_are_told_after_a_resume_and_others_do_not_change():
    source = proposals(SAMPLED)
    ended = through(source, most=12)
    number, values = source.next()
    beyond = source.next()
    still_open = PastTrial(number, values, None, open=True)
    resumed = proposals(SAMPLED, [*ended, still_open])
    assert resumed.next() == beyond
    resumed.tell(number, 0.7)
    source.tell(number, 0.7)
    for one in (resumed, source):
        one.tell(beyond[0], None)
    assert through(resumed) == through(source)


def test_a_past_trial_outside_a_range_that_was_narrowed_does_not_stop_the_study():
    ended = through(proposals(SAMPLED), most=12)
    axes = {**SAMPLED["axes"], "optimizer.lr": {"low": 0.04, "high": 0.06}}
    narrowed = {**SAMPLED, "axes": axes, "points": []}
    assert any(not 0.04 <= trial.values["optimizer.lr"] <= 0.06 for trial in ended)
    added = through(proposals(narrowed, ended))
    assert [trial.number for trial in added] == list(range(12, 18))
    assert all(0.04 <= trial.values["optimizer.lr"] <= 0.06 for trial in added)


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_a_value_that_was_taken_off_a_list_is_not_drawn_any_more(kind):
    axes = {"model.name": ["main", "baseline"], "optimizer.lr": {"low": 0.01, "high": 0.1}}
    content = {"kind": kind, "axes": axes, "trials": 8}
    ended = through(proposals(content))
    assert {trial.values["model.name"] for trial in ended} == {"main", "baseline"}
    shorter = {**content, "axes": {**axes, "model.name": ["main"]}, "trials": 24}
    added = through(proposals(shorter, ended))
    assert len(added) == 16
    assert {trial.values["model.name"] for trial in added} == {"main"}


def test_what_was_learnt_stays_where_an_axis_is_taken_away():
    axes = {"optimizer.lr": {"low": 0.001, "high": 0.1}, "batch_size": [32, 64]}
    content = {"kind": "tpe", "axes": axes, "trials": 20}
    ended = through(proposals(content))
    fewer = {**content, "axes": {"optimizer.lr": axes["optimizer.lr"]}, "trials": 22}
    source = proposals(fewer, ended)
    assert len(source._study.get_trials()) == 20
    number, values = source.next()
    assert (number, list(values)) == (20, ["optimizer.lr"])


def test_checks_draw_every_listed_trial_or_points_and_as_many_samples_as_asked():
    whole = frozenset({"epochs"})
    assert list(check_draws(space(GRID), whole, 7)) == list(space(GRID).listed())
    drawn = list(check_draws(space(SAMPLED), whole, 7))
    assert drawn[:2] == SAMPLED["points"]
    assert len(drawn) == 2 + 7


@pytest.mark.parametrize("content", [GRID, ROWS, SAMPLED], ids=["grid", "rows", "tpe"])
def test_nothing_is_warned_of(content):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        through(proposals(content))
