import random

from orchestrator.results.field_importance import MIN_TRIALS, importance_of
from orchestrator.results.study_fold import fold
from tests.unit.fake_study import end, epoch, head, trial


def study(num_trials, score):
    draw = random.Random(0)
    records = [head()]
    for k in range(num_trials):
        values = {"lr": draw.uniform(0.0, 1.0), "name": draw.choice(["adam", "sgd"]), "same": 1}
        records += [trial(k, f"l{k}", 1, values), epoch(f"l{k}", 1, score(values)), end(k, 1)]
    return fold(records)


def test_the_field_that_decides_the_score_has_the_largest_share():
    found = importance_of(study(20, lambda values: values["lr"] / 2))
    assert found.why == ""
    assert found.num_trials == 20
    assert list(found.shares) == ["lr", "name"]
    assert found.shares["lr"] > 0.8
    assert abs(sum(found.shares.values()) - 1) < 1e-6  # shares of one whole, in floats


def test_a_field_of_words_can_decide_too():
    found = importance_of(study(20, lambda values: 0.9 if values["name"] == "adam" else 0.1))
    assert max(found.shares, key=found.shares.get) == "name"


def test_few_trials_tell_nothing_and_it_is_said_how_many_are_needed():
    found = importance_of(study(MIN_TRIALS - 1, lambda values: values["lr"]))
    assert not found.shares
    assert f"needs {MIN_TRIALS} finished trials" in found.why


def test_equal_scores_tell_nothing():
    assert importance_of(study(20, lambda values: 0.5)).why == "all trials have the same score"


def test_a_field_that_only_some_trials_have_is_weighed_among_these():
    records, draw = [head()], random.Random(0)
    for k in range(40):
        values = {"lr": draw.uniform(0.0, 1.0), "name": ["adam", "sgd"][k % 2]}
        if values["name"] == "sgd":
            values["momentum"] = draw.uniform(0.0, 0.9)
        score = 0.1 * values["lr"] + values.get("momentum", 0.5)
        records += [trial(k, f"l{k}", 1, values), epoch(f"l{k}", 1, score), end(k, 1)]
    found = importance_of(fold(records))
    assert sorted(found.shares) == ["lr", "name"]
    assert list(found.within) == ["momentum"]
    assert found.within["momentum"].num_trials == 20
    assert found.within["momentum"].share > 0.8
    few = importance_of(fold(records[: 1 + 3 * 2 * (MIN_TRIALS - 1)]))
    assert few.shares
    assert not few.within, "too few have it"
