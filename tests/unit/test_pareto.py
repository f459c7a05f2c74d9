"""The front of two objectives: what is beaten in both is not on it."""

from orchestrator.results.pareto import front_lines, front_of
from orchestrator.results.study_fold import fold
from tests.unit.fake_study import end, epoch, head, trial


def study(*outcomes):
    """Trial k took so many seconds for such a score, and ended in this state."""
    records = [head()]
    for k, (seconds, score, state) in enumerate(outcomes):
        record = epoch(f"l{k}", 1, score)
        record["metrics"]["seconds"] = {"train": seconds}
        records += [trial(k, f"l{k}", 1), record, end(k, 1, state)]
    return fold(records)


def test_what_another_trial_beats_or_equals_in_both_is_not_on_the_front():
    view = study(
        (9, 0.7, "finished"),
        (3, 0.5, "finished"),
        (4, 0.4, "finished"),
        (3, 0.5, "finished"),
        (12, 0.7, "finished"),
    )
    assert [row.trial for row in front_of(view)] == [1, 0]
    assert "trial 1  macro-F1 0.500" in front_lines(view)[1]


def test_stopped_and_failed_trials_are_not_on_it():
    view = study((1, 0.9, "stopped"), (2, 0.8, "failed"), (3, 0.5, "finished"))
    assert [row.trial for row in front_of(view)] == [2]
    assert front_lines(study((1, 0.9, "failed"))) == ()
